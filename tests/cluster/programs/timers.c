// SPDX-License-Identifier: MIT OR Apache-2.0
// POSIX timers. `timers` checks itself; `timers beat MS COUNT` prints the number of each beat of a timer, and
// what was missed between.
#define _GNU_SOURCE
#include "check.h"
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>

static volatile sig_atomic_t heard, last_code, last_value;
static volatile long threads_heard;

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    heard++;
    last_code = info->si_code;
    last_value = info->si_value.sival_int;
}

static void on_thread(union sigval value) { __atomic_add_fetch(&threads_heard, value.sival_int, __ATOMIC_SEQ_CST); }

static struct itimerspec in_ms(long value, long interval) {
    struct itimerspec spec = {{interval / 1000, interval % 1000 * 1000000}, {value / 1000, value % 1000 * 1000000}};
    return spec;
}

static void sleep_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) < 0 && errno == EINTR) {}
}

static long ms_left(timer_t timer) {
    struct itimerspec now;
    SAME(timer_gettime(timer, &now), 0);
    return now.it_value.tv_sec * 1000 + now.it_value.tv_nsec / 1000000;
}

static timer_t make(clockid_t clock, int notify, int number, int value) {
    struct sigevent event = {.sigev_notify = notify, .sigev_signo = number, .sigev_value.sival_int = value};
    timer_t timer = NULL;
    SAME(timer_create(clock, &event, &timer), 0);
    return timer;
}

static void once_and_again(void) {
    timer_t timer = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 42);
    struct itimerspec spec = in_ms(20, 0), old;
    heard = 0;
    SAME(timer_settime(timer, 0, &spec, NULL), 0);
    long left = ms_left(timer);
    CHECK(left <= 20);
    while (!heard) sleep_ms(1);
    SAME(last_code, SI_TIMER);
    SAME(last_value, 42);
    SAME(ms_left(timer), 0);
    spec = in_ms(5, 5);
    SAME(timer_settime(timer, 0, &spec, &old), 0);
    SAME(old.it_value.tv_nsec + old.it_value.tv_sec, 0);
    while (heard < 4) sleep_ms(1);
    spec = in_ms(0, 0);
    SAME(timer_settime(timer, 0, &spec, &old), 0);
    SAME(old.it_interval.tv_nsec, 5000000);
    int before = heard;
    sleep_ms(30);
    SAME(heard, before);
    SAME(timer_delete(timer), 0);
    // With the C library's word for its number gone, only the call itself can say so.
    SAME(syscall(SYS_timer_delete, 4711), -1);
    SAME(errno, EINVAL);
}

static void absolute(void) {
    clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME};
    for (int i = 0; i < 3; i++) {
        timer_t timer = make(clocks[i], SIGEV_SIGNAL, SIGUSR1, i);
        struct itimerspec spec = {0};
        SAME(clock_gettime(clocks[i], &spec.it_value), 0);
        heard = 0;
        // A time that has passed: at once.
        SAME(timer_settime(timer, TIMER_ABSTIME, &spec, NULL), 0);
        while (!heard) sleep_ms(1);
        SAME(last_value, i);
        SAME(clock_gettime(clocks[i], &spec.it_value), 0);
        spec.it_value.tv_sec += 100;
        SAME(timer_settime(timer, TIMER_ABSTIME, &spec, NULL), 0);
        long left = ms_left(timer);
        CHECK(left > 90000 && left <= 100000);
        SAME(timer_delete(timer), 0);
    }
}

static void overruns(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    timer_t timer = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR2, 9);
    struct itimerspec spec = in_ms(2, 2);
    SAME(timer_settime(timer, 0, &spec, NULL), 0);
    sleep_ms(60);
    siginfo_t info;
    SAME(sigwaitinfo(&set, &info), SIGUSR2);
    SAME(info.si_code, SI_TIMER);
    SAME(info.si_value.sival_int, 9);
    CHECK(info.si_overrun >= 5);
    CHECK(timer_getoverrun(timer) >= 5);
    SAME(timer_delete(timer), 0);
    struct timespec none = {0, 0};
    // One may have come before the timer was deleted.
    while (sigtimedwait(&set, &info, &none) > 0) {}
    SAME(errno, EAGAIN);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void without_a_signal(void) {
    timer_t timer = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
    struct itimerspec spec = in_ms(10000, 0);
    SAME(timer_settime(timer, 0, &spec, NULL), 0);
    long left = ms_left(timer);
    CHECK(left > 5000 && left <= 10000);
    SAME(timer_delete(timer), 0);
    timer = make(CLOCK_MONOTONIC, SIGEV_THREAD, 0, 1);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 1, .sigev_notify_function = on_thread};
    timer_delete(timer);
    SAME(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    spec = in_ms(5, 5);
    SAME(timer_settime(timer, 0, &spec, NULL), 0);
    while (__atomic_load_n(&threads_heard, __ATOMIC_SEQ_CST) < 3) sleep_ms(1);
    SAME(timer_delete(timer), 0);
}

static void of_a_thread(void) {
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 5};
    event._sigev_un._tid = (int)syscall(SYS_gettid);
    timer_t timer;
    SAME(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    struct itimerspec spec = in_ms(5, 0);
    heard = 0;
    SAME(timer_settime(timer, 0, &spec, NULL), 0);
    while (!heard) sleep_ms(1);
    SAME(last_value, 5);
    SAME(timer_delete(timer), 0);
    event._sigev_un._tid = 1 << 28;
    FAILS(timer_create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
}

static void mistakes(void) {
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 65};
    FAILS(timer_create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
    event.sigev_signo = SIGUSR1;
    FAILS(timer_create(12345, &event, &timer), EINVAL);
    SAME(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    struct itimerspec spec = {{0, 0}, {0, 1000000000}};
    FAILS(timer_settime(timer, 0, &spec, NULL), EINVAL);
    SAME(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, (void *)8), -1);
    SAME(errno, EFAULT);
    SAME(timer_delete(timer), 0);
}

static void children(void) {
    timer_t timer = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 1);
    struct itimerspec spec = in_ms(10000, 0);
    SAME(timer_settime(timer, 0, &spec, NULL), 0);
    pid_t child = fork();
    if (child == 0) {
        struct itimerspec now;
        // No timer is a child's.
        _exit(syscall(SYS_timer_gettime, 0, &now) == -1 && errno == EINVAL ? 7 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    SAME(WEXITSTATUS(status), 7);
    SAME(timer_delete(timer), 0);
}

static int beat(long ms, int count) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    timer_t timer = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 3);
    struct itimerspec spec = in_ms(ms, ms);
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    timer_settime(timer, 0, &spec, NULL);
    int beats = 0;
    while (beats < count) {
        siginfo_t info;
        if (sigwaitinfo(&set, &info) != SIGRTMIN || info.si_value.sival_int != 3) return 1;
        beats += 1 + info.si_overrun;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    long took = (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
    printf("%s\n", took >= ms * count - 1 ? "in time" : "too early");
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4) return beat(atol(argv[2]), atoi(argv[3]));
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    once_and_again();
    absolute();
    overruns();
    without_a_signal();
    of_a_thread();
    mistakes();
    children();
    return check_end("timers");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// Timers and signals that are files, and times of calls at sockets; `timerfd tick N` counts N times a timer that another
// process has, too, `timerfd signals N` reads N signals, wherever they are.
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>

static long ms(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

static struct itimerspec value(long first_ms, long interval_ms) {
    struct itimerspec it = {{interval_ms / 1000, interval_ms % 1000 * 1000000},
                            {first_ms / 1000, first_ms % 1000 * 1000000}};
    return it;
}

static int readable(int fd, int wait_ms) {
    struct pollfd looks = {.fd = fd, .events = POLLIN};
    return poll(&looks, 1, wait_ms);
}

static void check_timers(clockid_t clock) {
    uint64_t count = 0;
    int timer = timerfd_create(clock, TFD_NONBLOCK | TFD_CLOEXEC);
    SAME(fcntl(timer, F_GETFD), FD_CLOEXEC);
    FAILS(read(timer, &count, 8), EAGAIN);
    FAILS(read(timer, &count, 7), EINVAL);
    FAILS(write(timer, &count, 8), EINVAL);
    struct itimerspec it = value(40, 0), was;
    SAME(timerfd_settime(timer, 0, &it, NULL), 0);
    SAME(timerfd_gettime(timer, &was), 0);
    CHECK(was.it_value.tv_nsec > 0 && was.it_value.tv_nsec <= 40000000);
    SAME(was.it_interval.tv_nsec, 0);
    SAME(readable(timer, 10000), 1);
    SAME(timerfd_gettime(timer, &was), 0);
    SAME(was.it_value.tv_sec + was.it_value.tv_nsec, 0);
    SAME(read(timer, &count, 8), 8);
    SAME(count, 1);
    FAILS(read(timer, &count, 8), EAGAIN);
    // A time that is over: it has run out at once, as often as it would have.
    it = value(ms(clock) - 1050, 100);
    SAME(timerfd_settime(timer, TFD_TIMER_ABSTIME, &it, NULL), 0);
    SAME(readable(timer, 10000), 1);
    SAME(read(timer, &count, 8), 8);
    CHECK(count >= 11 && count < 100);
    it = value(0, 0);
    SAME(timerfd_settime(timer, 0, &it, &was), 0);
    SAME(was.it_interval.tv_nsec, 100000000);
    CHECK(was.it_value.tv_sec == 0 && was.it_value.tv_nsec > 0 && was.it_value.tv_nsec <= 100000000);
    SAME(readable(timer, 150), 0);
    // One that is to come.
    long start = ms(CLOCK_MONOTONIC);
    it = value(ms(clock) + 120, 0);
    SAME(timerfd_settime(timer, TFD_TIMER_ABSTIME, &it, NULL), 0);
    SAME(fcntl(timer, F_SETFL, 0), 0);
    SAME(read(timer, &count, 8), 8);
    SAME(count, 1);
    CHECK(ms(CLOCK_MONOTONIC) - start >= 118);
    // An interval that nobody reads.
    it = value(5, 10);
    SAME(timerfd_settime(timer, 0, &it, NULL), 0);
    usleep(100000);
    SAME(read(timer, &count, 8), 8);
    CHECK(count >= 9);
    close(timer);
}

static void check_errors(void) {
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec it = value(10, 0);
    FAILS(timerfd_create(99, 0), EINVAL);
    FAILS(timerfd_create(CLOCK_MONOTONIC, 1), EINVAL);
    FAILS(timerfd_settime(timer, 0x100, &it, NULL), EINVAL);
    FAILS(timerfd_settime(0, 0, &it, NULL), EINVAL);
    FAILS(timerfd_settime(999, 0, &it, NULL), EBADF);
    FAILS(timerfd_settime(timer, 0, (void *)8, NULL), EFAULT);
    it.it_value.tv_nsec = 1000000000;
    FAILS(timerfd_settime(timer, 0, &it, NULL), EINVAL);
    FAILS(timerfd_gettime(0, &it), EINVAL);
    FAILS(timerfd_gettime(timer, (void *)8), EFAULT);
    close(timer);
}

static void check_epoll(void) {
    int at = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    SAME(epoll_ctl(at, EPOLL_CTL_ADD, timer, &event), 0);
    SAME(epoll_wait(at, &event, 1, 0), 0);
    struct itimerspec it = value(20, 20);
    SAME(timerfd_settime(timer, 0, &it, NULL), 0);
    SAME(epoll_wait(at, &event, 1, 20000), 1);
    // It stands still until it is read.
    SAME(epoll_wait(at, &event, 1, 100), 0);
    uint64_t count;
    SAME(read(timer, &count, 8), 8);
    CHECK(count >= 4);
    SAME(epoll_wait(at, &event, 1, 20000), 1);
    close(at), close(timer);
}

static void check_signals(void) {
    sigset_t set, other;
    struct signalfd_siginfo info[3];
    sigemptyset(&set), sigaddset(&set, SIGUSR1), sigaddset(&set, SIGRTMIN);
    sigemptyset(&other), sigaddset(&other, SIGUSR2);
    sigset_t both = set;
    sigaddset(&both, SIGUSR2), sigaddset(&both, SIGCHLD);
    sigprocmask(SIG_BLOCK, &both, NULL);
    FAILS(signalfd(-1, &set, 1), EINVAL);
    FAILS(signalfd(0, &set, 0), EINVAL);
    FAILS(signalfd(999, &set, 0), EBADF);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
    FAILS(read(fd, info, sizeof info[0]), EAGAIN);
    FAILS(read(fd, info, sizeof info[0] - 1), EINVAL);
    FAILS(write(fd, info, sizeof info[0]), EINVAL);
    SAME(readable(fd, 0), 0);
    raise(SIGUSR2);
    SAME(readable(fd, 0), 0);
    kill(getpid(), SIGUSR1);
    union sigval with = {.sival_int = 77};
    sigqueue(getpid(), SIGRTMIN, with), with.sival_int = 78, sigqueue(getpid(), SIGRTMIN, with);
    SAME(readable(fd, 0), 1);
    SAME(read(fd, info, sizeof info), sizeof info);
    SAME(info[0].ssi_signo, SIGUSR1);
    SAME(info[0].ssi_code, SI_USER);
    SAME(info[0].ssi_pid, getpid());
    SAME(info[0].ssi_uid, getuid());
    SAME(info[1].ssi_signo, SIGRTMIN);
    SAME(info[1].ssi_code, SI_QUEUE);
    SAME(info[1].ssi_int, 77);
    SAME(info[2].ssi_int, 78);
    SAME(readable(fd, 0), 0);
    // Another set.
    SAME(signalfd(fd, &other, 0), fd);
    SAME(readable(fd, 0), 1);
    SAME(read(fd, info, sizeof info), sizeof info[0]);
    SAME(info[0].ssi_signo, SIGUSR2);
    // The end of a child, which is waited for.
    sigaddset(&other, SIGCHLD);
    SAME(signalfd(fd, &other, 0), fd);
    SAME(fcntl(fd, F_SETFL, 0), 0);
    pid_t child = fork();
    if (child == 0) usleep(50000), _exit(7);
    SAME(read(fd, info, sizeof info), sizeof info[0]);
    SAME(info[0].ssi_signo, SIGCHLD);
    SAME(info[0].ssi_pid, child);
    SAME(info[0].ssi_status, 7);
    SAME(info[0].ssi_code, CLD_EXITED);
    SAME(wait_for(child), 7 << 8);
    child = fork();
    if (child == 0) usleep(50000), kill(getppid(), SIGUSR2), _exit(0);
    SAME(readable(fd, 20000), 1);
    SAME(read(fd, info, sizeof info[0]), sizeof info[0]);
    SAME(wait_for(child), 0);
    // A child's own signals are its own.
    child = fork();
    if (child == 0) {
        SAME(readable(fd, 0), 0);
        raise(SIGUSR2);
        SAME(read(fd, info, sizeof info[0]), sizeof info[0]);
        SAME(info[0].ssi_pid, getpid());
        CHILD_END();
    }
    CHILD(child);
    while (readable(fd, 0)) (void)!read(fd, info, sizeof info);
    close(fd);
    sigprocmask(SIG_UNBLOCK, &both, NULL);
}

static void check_socket_times(void) {
    int pair[2];
    char bytes[4096] = {0};
    struct timeval wait = {0, 80000}, told = {0};
    socklen_t len = sizeof told;
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    SAME(getsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &told, &len), 0);
    SAME(len, sizeof told);
    SAME(told.tv_sec + told.tv_usec, 0);
    SAME(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
    SAME(getsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &told, &len), 0);
    SAME(told.tv_usec, 80000);
    long start = ms(CLOCK_MONOTONIC);
    FAILS(read(pair[0], bytes, 1), EAGAIN);
    CHECK(ms(CLOCK_MONOTONIC) - start >= 79);
    SAME(write(pair[1], "x", 1), 1);
    SAME(recv(pair[0], bytes, 2, MSG_WAITALL), 1);
    wait.tv_usec = 1000000;
    FAILS(setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait), EDOM);
    FAILS(setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &wait, 4), EINVAL);
    wait.tv_usec = 80000;
    SAME(setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait), 0);
    long sent = 0, part;
    start = ms(CLOCK_MONOTONIC);
    while ((part = write(pair[0], bytes, sizeof bytes)) > 0) sent += part;
    SAME(errno, EAGAIN);
    CHECK(sent > 0 && ms(CLOCK_MONOTONIC) - start >= 79);
    wait.tv_usec = 0;
    SAME(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
    pid_t child = fork();
    if (child == 0) usleep(200000), _exit(write(pair[1], "y", 1) != 1);
    SAME(read(pair[0], bytes, 1), 1);
    CHILD(child);
    close(pair[0]), close(pair[1]);
    // Nobody connects, nobody sends.
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path + 1, 40, "times-%d", getpid());
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), datagrams = socket(AF_UNIX, SOCK_DGRAM, 0);
    SAME(bind(listener, (void *)&name, sizeof name), 0);
    SAME(listen(listener, 1), 0);
    wait.tv_usec = 50000;
    SAME(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
    FAILS(accept(listener, NULL, NULL), EAGAIN);
    SAME(setsockopt(datagrams, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
    FAILS(recv(datagrams, bytes, 1, 0), EAGAIN);
    close(listener), close(datagrams);
}

static int tick(int times) {
    int timer = timerfd_create(CLOCK_MONOTONIC, 0), at = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    struct itimerspec it = value(10, 10);
    uint64_t count, total = 0;
    epoll_ctl(at, EPOLL_CTL_ADD, timer, &event);
    long start = ms(CLOCK_MONOTONIC);
    if (timerfd_settime(timer, 0, &it, NULL)) return 1;
    while (total < (uint64_t)times) {
        if (epoll_wait(at, &event, 1, 60000) != 1) return printf("no tick\n"), 1;
        if (read(timer, &count, 8) != 8 || count == 0) return printf("no count\n"), 1;
        total += count;
    }
    // The clock of a program stands still while it moves.
    long took = ms(CLOCK_MONOTONIC) - start;
    printf("%s\n", took >= times * 10L - 2000 ? "all ticks in their time" : "too fast");
    return 0;
}

// Its parent is told where it is, and sends.
static int signals(int times) {
    sigset_t set;
    struct signalfd_siginfo info;
    struct pollfd looks = {.events = POLLIN};
    sigemptyset(&set), sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    looks.fd = signalfd(-1, &set, 0);
    pid_t reader = getpid();
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < times; i++) {
            union sigval with = {.sival_int = i};
            while (sigqueue(reader, SIGRTMIN, with)) usleep(1000);
            usleep(2000);
        }
        _exit(0);
    }
    int wrong = 0;
    for (int i = 0; i < times; i++) {
        if (i % 2 && poll(&looks, 1, 60000) != 1) return printf("no signal\n"), 1;
        if (read(looks.fd, &info, sizeof info) != sizeof info) return printf("nothing read %d\n", errno), 1;
        wrong += info.ssi_int != i || info.ssi_pid != (unsigned)child;
    }
    printf("%d signals, %d wrong, child %d\n", times, wrong, wait_for(child));
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "tick")) return tick(atoi(argv[2]));
    if (argc > 2 && !strcmp(argv[1], "signals")) return signals(atoi(argv[2]));
    check_timers(CLOCK_MONOTONIC);
    check_timers(CLOCK_REALTIME);
    check_timers(CLOCK_BOOTTIME);
    check_errors();
    check_epoll();
    check_signals();
    check_socket_times();
    return check_end("timerfd");
}

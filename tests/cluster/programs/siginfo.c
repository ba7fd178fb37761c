// SPDX-License-Identifier: MIT OR Apache-2.0
// Signals in detail: what handlers are told, their order and nesting, children that stop, groups,
// sleeping calls, what fork and exec keep.
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static siginfo_t infos[64];
static volatile int count, depth, deepest;

static void note(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    if (++depth > deepest) deepest = depth;
    if (count < 64) infos[count++] = *info;
    if (info->si_value.sival_int == 1000 && count == 1) raise(SIGUSR1), raise(SIGUSR2);
    depth--;
}

static void set(int number, int flags, int masked) {
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | flags};
    if (masked) sigaddset(&action.sa_mask, masked);
    SAME(sigaction(number, &action, NULL), 0);
    count = depth = deepest = 0;
}

static sigset_t only(int number) {
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, number);
    return set;
}

static void check_info(void) {
    union sigval value = {.sival_int = 77};
    set(SIGUSR1, 0, 0);
    SAME(kill(getpid(), SIGUSR1), 0);
    SAME(count, 1);
    SAME(infos[0].si_code, SI_USER);
    SAME(infos[0].si_pid, getpid());
    SAME(infos[0].si_signo, SIGUSR1);
    SAME(sigqueue(getpid(), SIGUSR1, value), 0);
    SAME(infos[1].si_code, SI_QUEUE);
    SAME(infos[1].si_value.sival_int, 77);
    // Standard signals are one while they wait; real-time ones are all, lowest first, in order.
    sigset_t blocked = only(SIGUSR1), before;
    set(SIGUSR1, 0, 0), set(SIGRTMIN + 1, 0, 0), set(SIGRTMIN, 0, 0);
    sigaddset(&blocked, SIGRTMIN), sigaddset(&blocked, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    for (int i = 0; i < 3; i++) {
        value.sival_int = i;
        kill(getpid(), SIGUSR1);
        sigqueue(getpid(), SIGRTMIN + 1, value);
        sigqueue(getpid(), SIGRTMIN, value);
    }
    SAME(count, 0);
    sigset_t wanted = only(SIGRTMIN);
    siginfo_t taken;
    SAME(sigwaitinfo(&wanted, &taken), SIGRTMIN);
    SAME(taken.si_value.sival_int, 0);
    sigset_t one = only(SIGRTMIN + 1);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    SAME(count, 3);
    for (int i = 0; i < 3; i++) SAME(infos[i].si_value.sival_int, i);
    sigprocmask(SIG_SETMASK, &before, NULL);
    SAME(count, 6);
    struct timespec soon = {0, 20000000};
    FAILS(sigtimedwait(&wanted, &taken, &soon), EAGAIN);
    FAILS(sigaction(SIGKILL, &(struct sigaction){.sa_handler = SIG_IGN}, NULL), EINVAL);
    FAILS(kill(getpid(), 65), EINVAL);
    FAILS(kill(4194303, SIGTERM), ESRCH);
}

static void check_nesting(void) {
    union sigval value = {.sival_int = 1000};
    set(SIGUSR2, 0, 0), set(SIGUSR1, 0, SIGUSR2);
    sigqueue(getpid(), SIGUSR1, value);
    // Its own signal and the one of its mask wait until it returns.
    SAME(count, 3);
    SAME(deepest, 1);
    set(SIGUSR2, 0, 0), set(SIGUSR1, SA_NODEFER, 0);
    sigqueue(getpid(), SIGUSR1, value);
    SAME(deepest, 2);
    set(SIGUSR1, SA_RESETHAND, 0);
    raise(SIGUSR1);
    struct sigaction action;
    sigaction(SIGUSR1, NULL, &action);
    CHECK(action.sa_handler == SIG_DFL);
}

// A wait may see a child stop or go on before SIGCHLD tells of it, on Linux too.
static void await_signals(int wanted) {
    struct timespec moment = {0, 1000000};
    for (int i = 0; count < wanted && i < 10000; i++) nanosleep(&moment, NULL);
    SAME(count, wanted);
}

static void check_children(void) {
    int status;
    set(SIGCHLD, SA_RESTART, 0);
    pid_t child = fork();
    if (child == 0) {
        for (;;) pause();
    }
    SAME(kill(child, SIGSTOP), 0);
    SAME(waitpid(child, &status, WUNTRACED), child);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    await_signals(1);
    SAME(infos[0].si_code, CLD_STOPPED);
    SAME(kill(child, SIGCONT), 0);
    SAME(waitpid(child, &status, WCONTINUED), child);
    CHECK(WIFCONTINUED(status));
    await_signals(2);
    SAME(infos[1].si_code, CLD_CONTINUED);
    SAME(waitpid(child, &status, WNOHANG), 0);
    SAME(kill(child, SIGINT), 0);
    SAME(waitpid(child, &status, 0), child);
    SAME(status, SIGINT);
    SAME(count, 3);
    SAME(infos[2].si_code, CLD_KILLED);
    SAME(infos[2].si_pid, child);
    SAME(infos[2].si_status, SIGINT);
    FAILS(waitpid(child, &status, 0), ECHILD);
    FAILS(waitpid(-1, &status, 0), ECHILD);
    child = fork();
    if (child == 0) _exit(44);
    siginfo_t info;
    SAME(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    SAME(info.si_status, 44);
    SAME(waitpid(-1, &status, 0), child);
    SAME(WEXITSTATUS(status), 44);
    // Nobody waits for children when SIGCHLD is ignored.
    signal(SIGCHLD, SIG_IGN);
    child = fork();
    if (child == 0) _exit(0);
    FAILS(waitpid(child, &status, 0), ECHILD);
    signal(SIGCHLD, SIG_DFL);
}

static void check_groups(void) {
    pid_t leader = fork();
    if (leader == 0) {
        setpgid(0, 0);
        for (int i = 0; i < 3; i++)
            if (fork() == 0)
                for (;;) pause();
        for (int status, i = 0; i < 3; i++) {
            signal(SIGTERM, SIG_IGN);
            if (i == 0) usleep(20000), kill(0, SIGTERM);
            if (wait(&status) < 0 || status != SIGTERM) _exit(1);
        }
        _exit(getpgrp() != getpid());
    }
    CHILD(leader);
    FAILS(kill(-leader, 0), ESRCH);
    pid_t child = fork();
    if (child == 0) {
        SAME(setsid(), getpid());
        SAME(getsid(0), getpid());
        SAME(getpgrp(), getpid());
        FAILS(setsid(), EPERM);
        FAILS(open("/dev/tty", O_RDWR), ENXIO);
        CHILD_END();
    }
    CHILD(child);
    // An orphan's parent is another process than the one that has gone.
    int ends[2];
    char byte = 1;
    SAME(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        pid_t parent = getpid();
        if (fork() == 0) {
            for (int i = 0; i < 1000 && getppid() == parent; i++) usleep(1000);
            byte = getppid() == parent;
            _exit(write(ends[1], &byte, 1) != 1);
        }
        _exit(0);
    }
    CHILD(child);
    SAME(read(ends[0], &byte, 1), 1);
    SAME(byte, 0);
    close(ends[0]), close(ends[1]);
}

static void check_sleep(void) {
    struct itimerval soon = {{0, 0}, {0, 30000}}, left;
    struct timespec wanted = {60, 0}, rest;
    set(SIGALRM, SA_RESTART, 0);
    setitimer(ITIMER_REAL, &soon, NULL);
    FAILS(nanosleep(&wanted, &rest), EINTR);
    SAME(count, 1);
    CHECK(rest.tv_sec == 59);
    setitimer(ITIMER_REAL, &soon, NULL);
    SAME(pause(), -1);
    SAME(count, 2);
    soon.it_value.tv_sec = 100;
    setitimer(ITIMER_REAL, &soon, NULL);
    SAME(getitimer(ITIMER_REAL, &left), 0);
    CHECK(left.it_value.tv_sec >= 99);
    SAME(alarm(0) >= 99, 1);
    // A repeated timer goes on.
    struct itimerval often = {{0, 10000}, {0, 10000}}, never = {{0, 0}, {0, 0}};
    count = 0;
    setitimer(ITIMER_REAL, &often, NULL);
    while (count < 5) pause();
    setitimer(ITIMER_REAL, &never, NULL);
    CHECK(count >= 5);
    // Stopped and continued, a sleep lasts as long as it should.
    pid_t child = fork();
    if (child == 0) {
        struct timespec start, end, half = {0, 150000000};
        clock_gettime(CLOCK_MONOTONIC, &start);
        int slept = nanosleep(&half, NULL);
        clock_gettime(CLOCK_MONOTONIC, &end);
        long ms = (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000;
        _exit(slept != 0 || ms < 149);
    }
    usleep(20000), kill(child, SIGSTOP), usleep(20000), kill(child, SIGCONT);
    CHILD(child);
}

// Run again by exec: ignored signals and the mask stay, handlers do not.
static int after_exec(void) {
    struct sigaction action;
    sigset_t mask, pending;
    sigaction(SIGUSR1, NULL, &action);
    CHECK(action.sa_handler == SIG_DFL);
    sigaction(SIGUSR2, NULL, &action);
    CHECK(action.sa_handler == SIG_IGN);
    sigprocmask(SIG_BLOCK, NULL, &mask), sigpending(&pending);
    CHECK(sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGINT) == 0);
    CHECK(sigismember(&pending, SIGTERM) == 1);
    CHILD_END();
}

static void check_exec(char *path) {
    pid_t child = fork();
    if (child == 0) {
        sigset_t mask = only(SIGTERM), pending;
        sigprocmask(SIG_BLOCK, &mask, NULL);
        raise(SIGTERM);
        set(SIGUSR1, 0, 0), signal(SIGUSR2, SIG_IGN);
        if (fork() == 0) {
            // What is pending is not the child's.
            sigpending(&pending);
            _exit(sigismember(&pending, SIGTERM));
        }
        int status;
        if (wait(&status) < 0 || status) _exit(97);
        execl("/proc/self/exe", path, "again", (char *)NULL);
        execlp(path, path, "again", (char *)NULL);
        _exit(96);
    }
    CHILD(child);
}

int main(int argc, char **argv) {
    if (argc > 1) return after_exec();
    check_info();
    check_nesting();
    check_children();
    check_groups();
    check_sleep();
    check_exec(argv[0]);
    return check_end("siginfo");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// epoll: levels, edges, EPOLLONESHOT, ends and errors, instances in instances, closed and shared descriptors, time,
// signals; `epoll relay N` counts through what it watches, with a child, wherever the two are.
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

enum { MANY = 100, ROUND = 64 };

static char bytes[1 << 17];

static int ctl(int epoll, int op, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u64 = 0x1234567800000000ull + (unsigned)fd};
    return epoll_ctl(epoll, op, fd, &event);
}

// The events of one descriptor that are told now; -1: others, or more.
static long now(int epoll, int fd) {
    struct epoll_event events[8];
    int count = epoll_wait(epoll, events, 8, 0);
    if (count == 0) return 0;
    if (count != 1 || events[0].data.u64 != 0x1234567800000000ull + (unsigned)fd) return -1;
    return events[0].events;
}

static long ms(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

static void check_errors(void) {
    int ends[2], at = epoll_create1(EPOLL_CLOEXEC), file = open("/tmp", O_RDONLY);
    SAME(fcntl(at, F_GETFD), FD_CLOEXEC);
    FAILS(epoll_create(0), EINVAL);
    FAILS(epoll_create1(1), EINVAL);
    SAME(pipe(ends), 0);
    FAILS(ctl(at, EPOLL_CTL_ADD, file, EPOLLIN), EPERM);
    FAILS(ctl(at, EPOLL_CTL_ADD, 999, EPOLLIN), EBADF);
    FAILS(ctl(999, EPOLL_CTL_ADD, ends[0], EPOLLIN), EBADF);
    FAILS(ctl(ends[1], EPOLL_CTL_ADD, ends[0], EPOLLIN), EINVAL);
    FAILS(ctl(at, EPOLL_CTL_ADD, at, EPOLLIN), EINVAL);
    FAILS(ctl(at, 9, ends[0], EPOLLIN), EINVAL);
    FAILS(syscall(SYS_epoll_ctl, at, EPOLL_CTL_ADD, ends[0], 8), EFAULT);
    FAILS(ctl(at, EPOLL_CTL_MOD, ends[0], EPOLLIN), ENOENT);
    FAILS(ctl(at, EPOLL_CTL_DEL, ends[0], 0), ENOENT);
    SAME(ctl(at, EPOLL_CTL_ADD, ends[0], EPOLLIN), 0);
    FAILS(ctl(at, EPOLL_CTL_ADD, ends[0], EPOLLIN), EEXIST);
    SAME(epoll_ctl(at, EPOLL_CTL_DEL, ends[0], NULL), 0);
    FAILS(ctl(at, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT), EINVAL);
    SAME(ctl(at, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLEXCLUSIVE), 0);
    FAILS(ctl(at, EPOLL_CTL_MOD, ends[0], EPOLLIN), EINVAL);
    SAME(write(ends[1], "x", 1), 1);
    SAME(now(at, ends[0]), EPOLLIN);
    struct epoll_event event;
    FAILS(epoll_wait(at, &event, 0, 0), EINVAL);
    FAILS(syscall(SYS_epoll_wait, at, &event, -1, 0), EINVAL);
    FAILS(epoll_wait(ends[0], &event, 1, 0), EINVAL);
    FAILS(epoll_wait(999, &event, 1, 0), EBADF);
    FAILS(syscall(SYS_epoll_wait, at, 8, 1, 0), EFAULT);
    FAILS(read(at, bytes, 8), EINVAL);
    FAILS(write(at, bytes, 8), EINVAL);
    close(at), close(ends[0]), close(ends[1]), close(file);
}

static void check_level_and_edge(void) {
    int level = epoll_create1(0), edge = epoll_create1(0), once = epoll_create1(0), ends[2];
    SAME(pipe(ends), 0);
    SAME(ctl(level, EPOLL_CTL_ADD, ends[0], EPOLLIN), 0);
    SAME(ctl(edge, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLET), 0);
    SAME(ctl(once, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLONESHOT), 0);
    for (int round = 0; round < 3; round++) {
        SAME(write(ends[1], "ab", 2), 2);
        for (int i = 0; i < 3; i++) SAME(now(level, ends[0]), EPOLLIN);
        SAME(now(edge, ends[0]), EPOLLIN);
        SAME(now(edge, ends[0]), 0);
        SAME(now(once, ends[0]), round == 0 ? EPOLLIN : 0);
        SAME(read(ends[0], bytes, 1), 1);
        SAME(now(edge, ends[0]), 0);
    }
    SAME(ctl(once, EPOLL_CTL_MOD, ends[0], EPOLLIN | EPOLLONESHOT), 0);
    SAME(now(once, ends[0]), EPOLLIN);
    SAME(now(once, ends[0]), 0);
    SAME(ctl(edge, EPOLL_CTL_MOD, ends[0], EPOLLIN | EPOLLET), 0);
    SAME(now(edge, ends[0]), EPOLLIN);
    SAME(read(ends[0], bytes, 100), 3);
    SAME(now(level, ends[0]), 0);
    // What comes and goes again before it is asked for is not told.
    SAME(write(ends[1], "c", 1), 1);
    SAME(read(ends[0], bytes, 1), 1);
    SAME(now(level, ends[0]), 0);
    SAME(now(edge, ends[0]), 0);
    close(ends[1]);
    SAME(now(level, ends[0]), EPOLLHUP);
    SAME(now(edge, ends[0]), EPOLLHUP);
    SAME(now(edge, ends[0]), 0);
    SAME(now(once, ends[0]), 0);
    close(ends[0]), close(level), close(edge), close(once);
}

static void check_room(void) {
    int at = epoll_create1(0), ends[2];
    SAME(pipe2(ends, O_NONBLOCK), 0);
    SAME(ctl(at, EPOLL_CTL_ADD, ends[1], EPOLLOUT | EPOLLET), 0);
    SAME(now(at, ends[1]), EPOLLOUT);
    SAME(write(ends[1], "x", 1), 1);
    SAME(read(ends[0], bytes, 1), 1);
    SAME(now(at, ends[1]), 0);
    while (write(ends[1], bytes, 4096) > 0) {}
    SAME(errno, EAGAIN);
    SAME(now(at, ends[1]), 0);
    SAME(read(ends[0], bytes, 4096 * 16), 4096 * 16);
    SAME(now(at, ends[1]), EPOLLOUT);
    close(ends[0]);
    SAME(now(at, ends[1]), EPOLLOUT | EPOLLERR);
    SAME(now(at, ends[1]), 0);
    close(at), close(ends[1]);
}

static void check_counter(void) {
    int at = epoll_create1(0), counter = eventfd(0, EFD_NONBLOCK);
    uint64_t value = 1;
    SAME(ctl(at, EPOLL_CTL_ADD, counter, EPOLLIN | EPOLLOUT | EPOLLET), 0);
    SAME(now(at, counter), EPOLLOUT);
    SAME(now(at, counter), 0);
    SAME(write(counter, &value, 8), 8);
    SAME(now(at, counter), EPOLLIN | EPOLLOUT);
    SAME(write(counter, &value, 8), 8);
    SAME(write(counter, &value, 8), 8);
    SAME(now(at, counter), EPOLLIN | EPOLLOUT);
    SAME(now(at, counter), 0);
    SAME(read(counter, &value, 8), 8);
    SAME(value, 3);
    SAME(now(at, counter), EPOLLOUT);
    close(at), close(counter);
}

static void check_sockets(void) {
    int at = epoll_create1(0), pair[2];
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    SAME(ctl(at, EPOLL_CTL_ADD, pair[0], EPOLLIN | EPOLLRDHUP | EPOLLET), 0);
    SAME(now(at, pair[0]), 0);
    SAME(write(pair[1], "ab", 2), 2);
    SAME(now(at, pair[0]), EPOLLIN);
    SAME(read(pair[0], bytes, 1), 1);
    SAME(now(at, pair[0]), 0);
    SAME(shutdown(pair[1], SHUT_WR), 0);
    SAME(now(at, pair[0]), EPOLLIN | EPOLLRDHUP);
    SAME(now(at, pair[0]), 0);
    close(pair[1]);
    SAME(now(at, pair[0]), EPOLLIN | EPOLLRDHUP | EPOLLHUP);
    close(pair[0]);
    SAME(now(at, pair[0]), 0);
    close(at);
}

static void check_nests(void) {
    int outer = epoll_create1(0), inner = epoll_create1(0), ends[2];
    SAME(pipe(ends), 0);
    SAME(ctl(outer, EPOLL_CTL_ADD, inner, EPOLLIN), 0);
    FAILS(ctl(inner, EPOLL_CTL_ADD, outer, EPOLLIN), ELOOP);
    SAME(ctl(inner, EPOLL_CTL_ADD, ends[0], EPOLLIN), 0);
    struct pollfd looks = {.fd = outer, .events = POLLIN};
    SAME(now(outer, inner), 0);
    SAME(poll(&looks, 1, 0), 0);
    SAME(write(ends[1], "x", 1), 1);
    SAME(poll(&looks, 1, 0), 1);
    SAME(looks.revents, POLLIN);
    SAME(now(outer, inner), EPOLLIN);
    SAME(now(inner, ends[0]), EPOLLIN);
    SAME(read(ends[0], bytes, 1), 1);
    SAME(now(outer, inner), 0);
    SAME(poll(&looks, 1, 0), 0);
    SAME(write(ends[1], "x", 1), 1);
    SAME(now(outer, inner), EPOLLIN);
    close(inner);
    SAME(now(outer, inner), 0);
    close(outer), close(ends[0]), close(ends[1]);
    // No more than five stand on each other.
    int tower[8];
    for (int i = 0; i < 8; i++) tower[i] = epoll_create1(0);
    for (int i = 0; i < 4; i++) SAME(ctl(tower[i + 1], EPOLL_CTL_ADD, tower[i], EPOLLIN), 0);
    FAILS(ctl(tower[5], EPOLL_CTL_ADD, tower[4], EPOLLIN), ELOOP);
    FAILS(ctl(tower[0], EPOLL_CTL_ADD, tower[4], EPOLLIN), ELOOP);
    for (int i = 0; i < 8; i++) close(tower[i]);
}

static void check_closing(void) {
    int at = epoll_create1(0), ends[2];
    SAME(pipe(ends), 0);
    SAME(ctl(at, EPOLL_CTL_ADD, ends[0], EPOLLIN), 0);
    SAME(write(ends[1], "x", 1), 1);
    // The file is watched as long as anybody has it open, under the number that it had.
    int copy = dup(ends[0]), old = ends[0];
    close(ends[0]);
    SAME(now(at, old), EPOLLIN);
    FAILS(ctl(at, EPOLL_CTL_DEL, old, 0), EBADF);
    FAILS(ctl(at, EPOLL_CTL_DEL, copy, 0), ENOENT);
    SAME(ctl(at, EPOLL_CTL_ADD, copy, EPOLLIN | EPOLLET), 0);
    SAME(dup2(copy, old), old);
    SAME(ctl(at, EPOLL_CTL_DEL, old, 0), 0);
    SAME(now(at, copy), EPOLLIN);
    close(copy), close(old);
    SAME(now(at, copy), 0);
    close(at), close(ends[1]);
}

static void check_sharing(void) {
    int at = epoll_create1(0), ends[2], back[2];
    SAME(pipe(ends), 0);
    SAME(pipe(back), 0);
    pid_t child = fork();
    if (child == 0) {
        // What the child adds its parent is told of.
        SAME(ctl(at, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLET), 0);
        SAME(write(back[1], "x", 1), 1);
        struct epoll_event event;
        SAME(epoll_wait(at, &event, 1, 20000), 1);
        SAME(write(back[1], "x", 1), 1);
        CHILD_END();
    }
    SAME(read(back[0], bytes, 1), 1);
    SAME(now(at, ends[0]), 0);
    SAME(write(ends[1], "x", 1), 1);
    SAME(read(back[0], bytes, 1), 1);
    SAME(now(at, ends[0]), 0);
    CHILD(child);
    SAME(write(ends[1], "x", 1), 1);
    SAME(now(at, ends[0]), EPOLLIN);
    close(at), close(ends[0]), close(ends[1]), close(back[0]), close(back[1]);
}

static void check_many(void) {
    int at = epoll_create1(0), counters[MANY];
    uint64_t value = 1;
    for (int i = 0; i < MANY; i++) {
        counters[i] = eventfd(0, EFD_NONBLOCK);
        SAME(ctl(at, EPOLL_CTL_ADD, counters[i], EPOLLIN | EPOLLET), 0);
    }
    struct epoll_event events[MANY];
    SAME(epoll_wait(at, events, MANY, 0), 0);
    for (int i = 0; i < MANY; i++) SAME(write(counters[i], &value, 8), 8);
    int seen = 0, part;
    while ((part = epoll_wait(at, events, 7, 0)) > 0) seen += part, CHECK(part <= 7);
    SAME(seen, MANY);
    for (int i = 0; i < MANY; i++) close(counters[i]);
    close(at);
}

static volatile int alarms;
static void on_alarm(int number) { (void)number, alarms++; }

static void check_time_and_signals(void) {
    int at = epoll_create1(0);
    struct epoll_event event;
    long start = ms();
    SAME(epoll_wait(at, &event, 1, 60), 0);
    CHECK(ms() - start >= 59);
    struct timespec wait = {0, 50000000};
    start = ms();
    SAME(syscall(SYS_epoll_pwait2, at, &event, 1, &wait, NULL, 0), 0);
    CHECK(ms() - start >= 49);
    wait.tv_nsec = -1;
    FAILS(syscall(SYS_epoll_pwait2, at, &event, 1, &wait, NULL, 0), EINVAL);
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    sigset_t block, open;
    sigemptyset(&block), sigaddset(&block, SIGALRM), sigemptyset(&open);
    alarm(1);
    FAILS(epoll_wait(at, &event, 1, 20000), EINTR);
    SAME(alarms, 1);
    sigprocmask(SIG_BLOCK, &block, NULL);
    raise(SIGALRM);
    SAME(epoll_wait(at, &event, 1, 10), 0);
    SAME(alarms, 1);
    FAILS(epoll_pwait(at, &event, 1, 20000, &open), EINTR);
    SAME(alarms, 2);
    FAILS(syscall(SYS_epoll_pwait, at, &event, 1, 0, &open, 3), EINVAL);
    sigset_t present;
    sigprocmask(SIG_UNBLOCK, &block, &present);
    CHECK(sigismember(&present, SIGALRM));
    close(at);
}

static int shared_at, thread_ends[2];
static int taken[3];

static void *taker(void *at) {
    struct epoll_event event;
    char byte;
    for (;;) {
        if (epoll_wait(shared_at, &event, 1, 20000) != 1) return "no event";
        if (read(thread_ends[0], &byte, 1) != 1) return "no byte";
        if (byte == 'e') return NULL;
        __atomic_add_fetch((int *)at, 1, __ATOMIC_RELAXED);
        ctl(shared_at, EPOLL_CTL_MOD, thread_ends[0], EPOLLIN | EPOLLONESHOT);
    }
}

// Each byte wakes one of three threads, and none is lost.
static void check_threads(void) {
    pthread_t threads[3];
    shared_at = epoll_create1(0);
    SAME(pipe(thread_ends), 0);
    SAME(ctl(shared_at, EPOLL_CTL_ADD, thread_ends[0], EPOLLIN | EPOLLONESHOT), 0);
    for (int i = 0; i < 3; i++) SAME(pthread_create(&threads[i], NULL, taker, &taken[i]), 0);
    for (int i = 0; i < 60; i++) SAME(write(thread_ends[1], "x", 1), 1);
    for (int i = 0; i < 3; i++) {
        SAME(write(thread_ends[1], "e", 1), 1);
        // One that has ended does not watch for the others.
        while (ctl(shared_at, EPOLL_CTL_MOD, thread_ends[0], EPOLLIN | EPOLLONESHOT)) {}
        for (int left = 1; left > 0; ioctl(thread_ends[0], 0x541b, &left)) usleep(1000);
    }
    ctl(shared_at, EPOLL_CTL_MOD, thread_ends[0], EPOLLIN);
    void *wrong;
    for (int i = 0; i < 3; i++) SAME(pthread_join(threads[i], &wrong), 0), SAME(wrong, NULL);
    SAME(taken[0] + taken[1] + taken[2], 60);
    close(shared_at), close(thread_ends[0]), close(thread_ends[1]);
}

// The child sends numbers over a pipe and a socket, and counts up a counter; the parent is told of all by one
// instance, and answers each round over another pipe.
static int relay(int rounds) {
    int at = epoll_create1(0), ends[2], pair[2], back[2], counter = eventfd(0, EFD_NONBLOCK);
    uint64_t total = 0, value, one = 1;
    long from_pipe = 0, from_socket = 0, wrong = 0;
    if (pipe2(ends, O_NONBLOCK) || pipe(back) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return 1;
    ctl(at, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLET);
    ctl(at, EPOLL_CTL_ADD, pair[0], EPOLLIN);
    ctl(at, EPOLL_CTL_ADD, counter, EPOLLIN | EPOLLONESHOT);
    pid_t child = fork();
    if (child == 0) {
        int inner = epoll_create1(0), outer = epoll_create1(0);
        ctl(inner, EPOLL_CTL_ADD, back[0], EPOLLIN);
        ctl(outer, EPOLL_CTL_ADD, inner, EPOLLIN);
        for (long i = 0; i < rounds; i++) {
            struct epoll_event event;
            if (write(ends[1], &i, sizeof i) != sizeof i) _exit(10);
            if (write(pair[1], &i, sizeof i) != sizeof i) _exit(11);
            if (write(counter, &one, 8) != 8) _exit(12);
            if (i % ROUND) continue;
            if (epoll_wait(outer, &event, 1, -1) != 1) _exit(13);
            if (epoll_wait(inner, &event, 1, 0) != 1) _exit(14);
            if (read(back[0], bytes, 1) != 1) _exit(15);
        }
        _exit(0);
    }
    FILE *file = fopen("child", "w");
    if (!file) return 1;
    fprintf(file, "%d\n", child), fclose(file);
    long answered = 0;
    while (from_pipe < rounds || from_socket < rounds || total < (uint64_t)rounds) {
        struct epoll_event events[4];
        int count = epoll_wait(at, events, 4, 60000);
        if (count <= 0) {
            printf("count %d errno %d: %ld %ld %ld\n", count, errno, from_pipe, from_socket, (long)total);
            return 1;
        }
        for (int i = 0; i < count; i++) {
            int fd = (int)events[i].data.u32;
            long numbers[32];
            ssize_t got;
            if (fd == ends[0]) {
                while ((got = read(fd, numbers, sizeof numbers)) > 0)
                    for (int k = 0; k < got / 8; k++) wrong += numbers[k] != from_pipe++;
            } else if (fd == pair[0]) {
                got = read(fd, numbers, sizeof numbers[0]);
                wrong += got != sizeof numbers[0] || numbers[0] != from_socket++;
            } else {
                if (read(counter, &value, 8) == 8) total += value;
                else wrong++;
                ctl(at, EPOLL_CTL_MOD, counter, EPOLLIN | EPOLLONESHOT);
            }
        }
        while (answered * ROUND < from_pipe) answered++, wrong += write(back[1], "x", 1) != 1;
    }
    int status = wait_for(child);
    printf("%d rounds, %ld wrong, child %d\n", rounds, wrong, status);
    return wrong != 0;
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "relay")) return relay(atoi(argv[2]));
    check_errors();
    check_level_and_edge();
    check_room();
    check_counter();
    check_sockets();
    check_nests();
    check_closing();
    check_sharing();
    check_many();
    check_time_and_signals();
    check_threads();
    return check_end("epoll");
}

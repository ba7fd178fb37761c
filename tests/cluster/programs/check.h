// SPDX-License-Identifier: MIT OR Apache-2.0
// What the programs that check themselves share: failures are printed as they are found, with their
// line, and one last line says how many there were. Each program prints the same on Linux.
#pragma once
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int checks_done, checks_failed;
// Where the last failure was found: a child is not to blame for what its parent had found.
static pid_t failed_in;
static volatile int last_line;

// A signal may interrupt it; what was found must not be lost for that.
static inline void check_print(const char *text, int length) {
    while (write(1, text, (size_t)length) < 0)
        if (errno != EINTR) _exit(99);
}

// `timeout -s QUIT` shows where a program hangs.
static void check_hangs(int number) {
    char text[64];
    (void)number;
    int length = snprintf(text, sizeof text, "HANGS after line %d\n", last_line);
    check_print(text, length);
    _exit(97);
}

__attribute__((constructor)) static void check_start(void) { signal(SIGQUIT, check_hangs); }

// Prints at once and in one write, so that a crash afterwards hides nothing.
static inline void check_that(int right, const char *what, int line) {
    char text[256];
    int saved = errno;
    last_line = line;
    __atomic_add_fetch(&checks_done, 1, __ATOMIC_RELAXED);
    if (right) return;
    __atomic_add_fetch(&checks_failed, 1, __ATOMIC_RELAXED);
    failed_in = getpid();
    int length = snprintf(text, sizeof text, "FAIL line %d: %s (errno %d)\n", line, what, saved);
    check_print(text, length < 255 ? length : 255);
}

static inline void check_same(long got, long wanted, const char *what, int line) {
    char text[200];
    int saved = errno;
    snprintf(text, sizeof text, "%s is %ld, not %ld", what, got, wanted);
    errno = saved;
    check_that(got == wanted, text, line);
}

// A condition; a value; a call that must fail with an errno.
#define CHECK(condition) check_that(!!(condition), #condition, __LINE__)
#define SAME(got, wanted) check_same((long)(got), (long)(wanted), #got, __LINE__)
#define FAILS(call, number)                                        \
    do {                                                           \
        errno = 0;                                                 \
        long result_ = (long)(call);                               \
        int errno_ = errno;                                        \
        check_same(result_, -1, #call, __LINE__);                  \
        check_same(errno_, number, "errno of " #call, __LINE__);   \
    } while (0)

// Ends a child with what it found; its parent's CHILD counts that as one check.
#define CHILD_END() _exit(failed_in == getpid() ? 98 : 0)
#define CHILD(pid) check_same(wait_for(pid), 0, "status of the child " #pid, __LINE__)

static inline int wait_for(pid_t child) {
    int status;
    pid_t got;
    do got = waitpid(child, &status, 0);
    while (got < 0 && errno == EINTR);
    return got == child ? status : -1;
}

static inline int check_end(const char *name) {
    printf("%s: %d checks, %d failed\n", name, checks_done, checks_failed);
    return checks_failed != 0;
}

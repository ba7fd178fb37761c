// SPDX-License-Identifier: MIT OR Apache-2.0
// storm N: a child writes N numbers to a pipe, one system call each, while it is stopped and resumed
// all the time. No number may be missing, and none may come twice.
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_numbers(int to, uint32_t count) {
    for (uint32_t n = 0; n < count; n++)
        if (write(to, &n, sizeof n) != sizeof n) _exit(1);
    _exit(0);
}

static void stop_and_resume(pid_t whom) {
    uint64_t random = 88172645463325252u;
    for (;;) {
        if (kill(whom, SIGSTOP) || kill(whom, SIGCONT)) _exit(errno != ESRCH);
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        for (volatile uint64_t i = 0; i < random % 3000; i++) {}
    }
}

int main(int argc, char **argv) {
    uint32_t count = argc > 1 ? (uint32_t)atoi(argv[1]) : 20000, next = 0, wrong = 0, n;
    int ends[2], status;
    if (pipe(ends)) return 2;
    pid_t writer = fork();
    if (writer == 0) write_numbers(ends[1], count);
    pid_t storm = fork();
    if (storm == 0) {
        close(ends[0]), close(ends[1]);
        stop_and_resume(writer);
    }
    close(ends[1]);
    for (;;) {
        ssize_t got = read(ends[0], &n, sizeof n);
        if (got < 0 && errno == EINTR) continue;
        if (got != sizeof n) break;
        if (n != next) wrong++;
        next = n + 1;
    }
    kill(storm, SIGKILL);
    waitpid(storm, &status, 0);
    kill(writer, SIGCONT);
    waitpid(writer, &status, 0);
    printf("%u numbers, %u out of order, writer %s\n", next, wrong,
           WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "content" : "failed");
    return wrong || next != count;
}

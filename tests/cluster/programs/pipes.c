// SPDX-License-Identifier: MIT OR Apache-2.0
// Pipes: ends, limits, whole writes, waiting without blocking, descriptors over exec; event counters.
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

enum { CAPACITY = 65536, RECORD = 100, WRITERS = 6, RECORDS = 200 };

static char buffer[CAPACITY + 4096];

static void check_basics(void) {
    int ends[2];
    SAME(pipe(ends), 0);
    SAME(write(ends[1], "abcdef", 6), 6);
    SAME(read(ends[0], buffer, 4), 4);
    SAME(memcmp(buffer, "abcd", 4), 0);
    int count = 0;
    SAME(ioctl(ends[0], FIONREAD, &count), 0);
    SAME(count, 2);
    struct iovec parts[2] = {{"gh", 2}, {"ij", 2}}, to[2] = {{buffer, 3}, {buffer + 10, 20}};
    SAME(writev(ends[1], parts, 2), 4);
    // A pipe may give less than it has.
    ssize_t got = readv(ends[0], to, 2);
    CHECK(got == 6 || (got == 3 && read(ends[0], buffer + 10, 20) == 3));
    SAME(memcmp(buffer, "efg", 3) | memcmp(buffer + 10, "hij", 3), 0);
    SAME(write(ends[1], "", 0), 0);
    FAILS(lseek(ends[0], 0, SEEK_CUR), ESPIPE);
    FAILS(pread(ends[0], buffer, 1, 0), ESPIPE);
    FAILS(read(ends[1], buffer, 1), EBADF);
    FAILS(write(ends[0], buffer, 1), EBADF);
    struct stat status;
    SAME(fstat(ends[0], &status), 0);
    CHECK(S_ISFIFO(status.st_mode));
    close(ends[1]);
    SAME(read(ends[0], buffer, 1), 0);
    close(ends[0]);
    FAILS(read(ends[0], buffer, 1), EBADF);
    SAME(pipe(ends), 0);
    close(ends[0]);
    FAILS(write(ends[1], "x", 1), EPIPE);
    close(ends[1]);
}

static void check_sigpipe(void) {
    pid_t child = fork();
    if (child == 0) {
        int ends[2];
        signal(SIGPIPE, SIG_DFL);
        if (pipe(ends) == 0) close(ends[0]), (void)!write(ends[1], "x", 1);
        _exit(1);
    }
    SAME(wait_for(child), SIGPIPE);
}

static void check_without_blocking(void) {
    int ends[2], writable = 0;
    SAME(pipe2(ends, O_NONBLOCK), 0);
    CHECK(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    FAILS(read(ends[0], buffer, 1), EAGAIN);
    struct pollfd polls[2] = {{ends[0], POLLIN, 0}, {ends[1], POLLOUT, 0}};
    SAME(poll(polls, 2, 0), 1);
    SAME(polls[1].revents, POLLOUT);
    for (ssize_t got; (got = write(ends[1], buffer, 4096)) > 0;) writable += (int)got;
    SAME(errno, EAGAIN);
    SAME(writable, CAPACITY);
    SAME(poll(polls, 2, 0), 1);
    SAME(polls[0].revents, POLLIN);
    fd_set reads, writes;
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_SET(ends[0], &reads);
    FD_SET(ends[1], &writes);
    struct timeval soon = {0, 1000};
    SAME(select(ends[1] + 1, &reads, &writes, NULL, &soon), 1);
    CHECK(FD_ISSET(ends[0], &reads) && !FD_ISSET(ends[1], &writes));
    SAME(read(ends[0], buffer, sizeof buffer), CAPACITY);
    close(ends[1]);
    SAME(poll(polls, 1, 1000), 1);
    CHECK(polls[0].revents & POLLHUP);
    SAME(fcntl(ends[0], F_SETFL, 0), 0);
    SAME(read(ends[0], buffer, 1), 0);
    close(ends[0]);
    SAME(pipe(ends), 0);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    struct pollfd one = {ends[0], POLLIN, 0};
    SAME(poll(&one, 1, 30), 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000 >= 29);
    pid_t child = fork();
    if (child == 0) {
        usleep(20000);
        _exit(write(ends[1], "x", 1) != 1);
    }
    SAME(poll(&one, 1, 20000), 1);
    SAME(one.revents, POLLIN);
    CHILD(child);
    close(ends[0]), close(ends[1]);
}

// Writes of up to PIPE_BUF bytes are whole, whoever else writes.
static void check_whole_writes(void) {
    int ends[2], wrong = 0, seen[WRITERS] = {0};
    char record[RECORD];
    pid_t children[WRITERS];
    SAME(pipe(ends), 0);
    for (int i = 0; i < WRITERS; i++) {
        children[i] = fork();
        if (children[i] != 0) continue;
        memset(record, 'A' + i, RECORD);
        for (int n = 0; n < RECORDS; n++)
            if (write(ends[1], record, RECORD) != RECORD) _exit(1);
        _exit(0);
    }
    close(ends[1]);
    for (;;) {
        int got = 0;
        while (got < RECORD) {
            ssize_t more = read(ends[0], record + got, (size_t)(RECORD - got));
            if (more <= 0) break;
            got += (int)more;
        }
        if (got == 0) break;
        for (int i = 1; i < RECORD; i++) wrong += record[i] != record[0];
        if (record[0] >= 'A' && record[0] < 'A' + WRITERS) seen[record[0] - 'A']++;
    }
    SAME(wrong, 0);
    for (int i = 0; i < WRITERS; i++) SAME(seen[i], RECORDS);
    for (int i = 0; i < WRITERS; i++) CHILD(children[i]);
    close(ends[0]);
}

static void check_stream(void) {
    int ends[2];
    SAME(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        uint32_t next = 0;
        // Sizes that fit nowhere, and one write larger than the pipe.
        static uint32_t numbers[50000];
        for (int n = 0; n < 50000; n++) numbers[n] = next++;
        for (size_t at = 0, size = 1; at < sizeof numbers; at += size, size = size * 7 % 9973 + 1) {
            if (size > sizeof numbers - at) size = sizeof numbers - at;
            if (write(ends[1], (char *)numbers + at, size) != (ssize_t)size) _exit(1);
        }
        for (int n = 0; n < 50000; n++) numbers[n] = next++;
        _exit(write(ends[1], numbers, sizeof numbers) != sizeof numbers);
    }
    close(ends[1]);
    uint32_t next = 0, number = 0, wrong = 0;
    size_t have = 0;
    for (ssize_t got; (got = read(ends[0], buffer, 1 + next % 7001)) > 0;)
        for (ssize_t i = 0; i < got; i++) {
            ((char *)&number)[have++] = buffer[i];
            if (have == 4) have = 0, wrong += number != next++;
        }
    SAME(wrong, 0);
    SAME(next, 100000);
    CHILD(child);
    close(ends[0]);
}

static void check_descriptors(char *path) {
    int ends[2], copy;
    SAME(pipe(ends), 0);
    copy = fcntl(ends[1], F_DUPFD, 50);
    SAME(copy, 50);
    SAME(dup2(ends[1], 60), 60);
    SAME(fcntl(60, F_SETFD, FD_CLOEXEC), 0);
    SAME(fcntl(60, F_GETFD), FD_CLOEXEC);
    SAME(dup2(60, 60), 60);
    FAILS(dup2(59, 3), EBADF);
    FAILS(dup3(60, 60, 0), EINVAL);
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", path, "descriptors", (char *)NULL);
        execlp(path, path, "descriptors", (char *)NULL);
        _exit(1);
    }
    close(ends[1]), close(copy);
    SAME(read(ends[0], buffer, 10), 4);
    SAME(memcmp(buffer, "here", 4), 0);
    CHILD(child);
    SAME(write(60, "x", 1), 1);
    SAME(read(ends[0], buffer, 10), 1);
    close(60);
    SAME(read(ends[0], buffer, 10), 0);
    close(ends[0]);
}

static void check_counters(void) {
    uint64_t value = 0;
    int fd = eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(fd >= 0);
    SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    value = 4;
    SAME(write(fd, &value, 8), 8);
    SAME(read(fd, &value, 8), 8);
    SAME(value, 7);
    FAILS(read(fd, &value, 8), EAGAIN);
    FAILS(read(fd, &value, 4), EINVAL);
    value = UINT64_MAX;
    FAILS(write(fd, &value, 8), EINVAL);
    value = UINT64_MAX - 1;
    SAME(write(fd, &value, 8), 8);
    struct pollfd wait = {.fd = fd, .events = POLLIN | POLLOUT};
    SAME(poll(&wait, 1, 0), 1);
    SAME(wait.revents, POLLIN);
    value = 1;
    FAILS(write(fd, &value, 8), EAGAIN);
    FAILS(pread(fd, &value, 8, 0), ESPIPE);
    close(fd);
    FAILS(eventfd(0, 0x10), EINVAL);
    fd = eventfd(2, EFD_SEMAPHORE);
    SAME(read(fd, &value, 8), 8);
    SAME(value, 1);
    pid_t child = fork();
    if (child == 0) {
        // One is left, then the parent gives three more.
        for (int i = 0; i < 4; i++) SAME(read(fd, &value, 8), 8);
        CHILD_END();
    }
    usleep(50000);
    value = 3;
    SAME(write(fd, &value, 8), 8);
    CHILD(child);
    wait.fd = fd;
    SAME(poll(&wait, 1, 0), 1);
    SAME(wait.revents, POLLOUT);
    close(fd);
}

int main(int argc, char **argv) {
    if (argc > 1) return write(50, "here", 4) != 4 || write(60, "x", 1) != -1 || errno != EBADF;
    signal(SIGPIPE, SIG_IGN);
    check_basics();
    check_sigpipe();
    check_without_blocking();
    check_whole_writes();
    check_stream();
    check_descriptors(argv[0]);
    check_counters();
    return check_end("pipes");
}

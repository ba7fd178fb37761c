// SPDX-License-Identifier: MIT OR Apache-2.0
// Advisory locks: flock, record locks of processes and of open files, waits, signals, rings of waits.
// With arguments it is a part of scenarios with several nodes: see `scenario`.
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

static struct flock ask(short type, off_t start, off_t len) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

static int set(int file, short type, off_t start, off_t len) {
    struct flock lock = ask(type, start, len);
    return fcntl(file, F_SETLK, &lock);
}

static int wait_set(int file, short type, off_t start, off_t len) {
    struct flock lock = ask(type, start, len);
    return fcntl(file, F_SETLKW, &lock);
}

static int ofd(int file, short type, off_t start, off_t len) {
    struct flock lock = ask(type, start, len);
    return fcntl(file, F_OFD_SETLK, &lock);
}

// What another process sees in the way: type, start, length and owner.
static void check_way(int file, short type, off_t start, off_t len, pid_t owner, int line) {
    int ends[2];
    struct flock lock = ask(F_WRLCK, 0, 0);
    if (pipe(ends)) _exit(99);
    pid_t child = fork();
    if (child == 0) {
        fcntl(file, F_GETLK, &lock);
        _exit(write(ends[1], &lock, sizeof lock) != sizeof lock);
    }
    check_same(wait_for(child), 0, "child", line);
    check_same(read(ends[0], &lock, sizeof lock), sizeof lock, "read", line);
    close(ends[0]), close(ends[1]);
    check_same(lock.l_type, type, "l_type", line);
    if (type == F_UNLCK) return;
    check_same(lock.l_start, start, "l_start", line);
    check_same(lock.l_len, len, "l_len", line);
    check_same(lock.l_pid, owner, "l_pid", line);
}
#define WAY(file, type, start, len, owner) check_way(file, type, start, len, owner, __LINE__)

static void check_flock(void) {
    int file = open("a", O_RDWR | O_CREAT, 0644), other = open("a", O_RDONLY), copy = dup(file);
    SAME(flock(file, LOCK_EX), 0);
    FAILS(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    SAME(flock(copy, LOCK_EX | LOCK_NB), 0);
    SAME(close(file), 0);
    FAILS(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    SAME(flock(copy, LOCK_SH), 0);
    SAME(flock(other, LOCK_SH | LOCK_NB), 0);
    FAILS(flock(other, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    // The change that failed has let the lock before go.
    SAME(flock(copy, LOCK_EX | LOCK_NB), 0);
    // A child has the same open file.
    pid_t child = fork();
    if (child == 0) {
        SAME(flock(copy, LOCK_SH | LOCK_NB), 0);
        SAME(flock(other, LOCK_SH | LOCK_NB), 0);
        SAME(flock(copy, LOCK_UN), 0);
        SAME(flock(other, LOCK_EX | LOCK_NB), 0);
        CHILD_END();
    }
    CHILD(child);
    FAILS(flock(copy, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    SAME(close(other), 0);
    SAME(flock(copy, LOCK_SH | LOCK_NB), 0);
    FAILS(flock(copy, 0), EINVAL);
    FAILS(flock(copy, LOCK_SH | LOCK_EX), EINVAL);
    FAILS(flock(77, LOCK_SH), EBADF);
    int path = open("a", O_PATH);
    FAILS(flock(path, LOCK_SH), EBADF);
    close(path), close(copy);
    // A folder, and a file of the system.
    mkdir("d", 0755);
    int folders[] = {open("d", O_RDONLY), open("d", O_RDONLY)};
    SAME(flock(folders[0], LOCK_EX | LOCK_NB), 0);
    FAILS(flock(folders[1], LOCK_SH | LOCK_NB), EWOULDBLOCK);
    SAME(close(folders[0]), 0);
    SAME(flock(folders[1], LOCK_SH | LOCK_NB), 0);
    close(folders[1]);
}

static void check_ranges(void) {
    int file = open("b", O_RDWR | O_CREAT, 0644);
    pid_t me = getpid();
    SAME(set(file, F_WRLCK, 0, 0), 0);
    WAY(file, F_WRLCK, 0, 0, me);
    SAME(set(file, F_UNLCK, 0, 10), 0);
    WAY(file, F_WRLCK, 10, 0, me);
    SAME(set(file, F_RDLCK, 0, 5), 0);
    SAME(set(file, F_RDLCK, 5, 5), 0);
    WAY(file, F_RDLCK, 0, 10, me);
    SAME(set(file, F_UNLCK, 0, 0), 0);
    WAY(file, F_UNLCK, 0, 0, 0);
    // From the offset, from the end, and backwards.
    SAME(write(file, "0123456789", 10), 10);
    SAME(lseek(file, 4, SEEK_SET), 4);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = 1, .l_len = 2};
    SAME(fcntl(file, F_SETLK, &lock), 0);
    WAY(file, F_WRLCK, 5, 2, me);
    SAME(set(file, F_UNLCK, 0, 0), 0);
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -2, .l_len = -3};
    SAME(fcntl(file, F_SETLK, &lock), 0);
    WAY(file, F_WRLCK, 5, 3, me);
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = -2};
    FAILS(fcntl(file, F_SETLK, &lock), EINVAL);
    lock.l_whence = 9;
    FAILS(fcntl(file, F_SETLK, &lock), EINVAL);
    lock = ask(F_WRLCK, -1, 5);
    FAILS(fcntl(file, F_SETLK, &lock), EINVAL);
    lock = ask(F_WRLCK, 0x7fffffffffffffff, 2);
    FAILS(fcntl(file, F_SETLK, &lock), EOVERFLOW);
    lock = ask(9, 0, 0);
    FAILS(fcntl(file, F_SETLK, &lock), EINVAL);
    lock = ask(F_UNLCK, 0, 0);
    FAILS(fcntl(file, F_GETLK, &lock), EINVAL);
    FAILS(set(77, F_RDLCK, 0, 0), EBADF);
    int reads = open("b", O_RDONLY), writes = open("b", O_WRONLY);
    FAILS(set(reads, F_WRLCK, 0, 0), EBADF);
    FAILS(set(writes, F_RDLCK, 0, 0), EBADF);
    // It is the process's: a child has none, and any descriptor that closes ends them.
    pid_t child = fork();
    if (child == 0) {
        FAILS(set(file, F_RDLCK, 5, 1), EAGAIN);
        SAME(set(file, F_WRLCK, 0, 5), 0);
        CHILD_END();
    }
    CHILD(child);
    WAY(file, F_WRLCK, 5, 3, me);
    close(reads);
    WAY(file, F_UNLCK, 0, 0, 0);
    SAME(set(file, F_WRLCK, 0, 0), 0);
    SAME(dup2(file, writes), writes);
    WAY(file, F_UNLCK, 0, 0, 0);
    // flock and record locks know nothing of each other.
    SAME(flock(file, LOCK_EX | LOCK_NB), 0);
    SAME(set(writes, F_WRLCK, 0, 0), 0);
    close(writes), close(file);
}

static void check_open_file_locks(void) {
    int file = open("c", O_RDWR | O_CREAT, 0644), other = open("c", O_RDWR);
    SAME(ofd(file, F_WRLCK, 10, 10), 0);
    FAILS(ofd(other, F_RDLCK, 19, 1), EAGAIN);
    FAILS(set(file, F_RDLCK, 10, 1), EAGAIN);
    SAME(ofd(other, F_WRLCK, 20, 0), 0);
    struct flock lock = ask(F_RDLCK, 0, 0);
    SAME(fcntl(other, F_OFD_GETLK, &lock), 0);
    SAME(lock.l_type, F_WRLCK);
    SAME(lock.l_start, 10);
    SAME(lock.l_len, 10);
    SAME(lock.l_pid, -1);
    lock = ask(F_RDLCK, 0, 0);
    lock.l_pid = 5;
    FAILS(fcntl(other, F_OFD_SETLK, &lock), EINVAL);
    // They outlive a descriptor, and go to children.
    int copy = dup(file);
    close(file);
    FAILS(ofd(other, F_RDLCK, 19, 1), EAGAIN);
    pid_t child = fork();
    if (child == 0) {
        SAME(ofd(copy, F_UNLCK, 10, 5), 0);
        CHILD_END();
    }
    CHILD(child);
    SAME(ofd(other, F_RDLCK, 10, 5), 0);
    FAILS(ofd(other, F_RDLCK, 15, 1), EAGAIN);
    close(copy);
    SAME(ofd(other, F_RDLCK, 15, 1), 0);
    close(other);
}

static volatile sig_atomic_t rang;
static void ring(int number) { (void)number, rang++; }

static void check_waits(void) {
    int file = open("e", O_RDWR | O_CREAT, 0644), ends[2], back[2];
    char byte;
    SAME(pipe(ends) | pipe(back), 0);
    // A child waits, and gets it when it is let go.
    SAME(set(file, F_WRLCK, 0, 0), 0);
    pid_t child = fork();
    if (child == 0) {
        SAME(write(ends[1], "x", 1), 1);
        SAME(wait_set(file, F_WRLCK, 0, 0), 0);
        SAME(write(ends[1], "y", 1), 1);
        SAME(read(back[0], &byte, 1), 1);
        CHILD_END();
    }
    SAME(read(ends[0], &byte, 1), 1);
    struct timespec moment = {0, 50000000};
    nanosleep(&moment, NULL);
    SAME(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    FAILS(read(ends[0], &byte, 1), EAGAIN);
    SAME(fcntl(ends[0], F_SETFL, 0), 0);
    SAME(set(file, F_UNLCK, 0, 0), 0);
    SAME(read(ends[0], &byte, 1), 1);
    FAILS(set(file, F_RDLCK, 0, 0), EAGAIN);
    // A signal ends a wait, if its handler does not say that it goes on.
    struct sigaction action = {.sa_handler = ring};
    sigaction(SIGALRM, &action, NULL);
    alarm(1);
    FAILS(wait_set(file, F_RDLCK, 0, 0), EINTR);
    SAME(rang, 1);
    // With the end of a process its locks are free.
    SAME(write(back[1], "z", 1), 1);
    SAME(wait_set(file, F_WRLCK, 0, 0), 0);
    CHILD(child);
    child = fork();
    if (child == 0) {
        int own = open("e", O_RDWR);
        SAME(flock(own, LOCK_EX), 0);
        SAME(write(ends[1], "x", 1), 1);
        pause();
    }
    SAME(read(ends[0], &byte, 1), 1);
    alarm(1);
    FAILS(flock(file, LOCK_SH), EINTR);
    SAME(rang, 2);
    kill(child, SIGKILL);
    SAME(flock(file, LOCK_SH), 0);
    SAME(wait_for(child), SIGKILL);
    close(ends[0]), close(ends[1]), close(back[0]), close(back[1]), close(file);
}

static void check_ring(void) {
    int files[] = {open("f", O_RDWR | O_CREAT, 0644), open("g", O_RDWR | O_CREAT, 0644)};
    int ends[2];
    char byte;
    SAME(pipe(ends), 0);
    SAME(set(files[0], F_WRLCK, 0, 0), 0);
    pid_t child = fork();
    if (child == 0) {
        SAME(set(files[1], F_WRLCK, 0, 0), 0);
        SAME(write(ends[1], "x", 1), 1);
        SAME(wait_set(files[0], F_RDLCK, 0, 0), 0);
        CHILD_END();
    }
    SAME(read(ends[0], &byte, 1), 1);
    struct timespec moment = {0, 200000000};
    nanosleep(&moment, NULL);
    FAILS(wait_set(files[1], F_RDLCK, 0, 0), EDEADLK);
    SAME(set(files[0], F_UNLCK, 0, 0), 0);
    CHILD(child);
    SAME(wait_set(files[1], F_RDLCK, 0, 0), 0);
    close(files[0]), close(files[1]), close(ends[0]), close(ends[1]);
}

// Many that each add one to a number under a lock: none is lost.
static void check_counting(void) {
    pid_t children[4];
    long number = 0;
    int file = open("h", O_RDWR | O_CREAT, 0644);
    SAME(pwrite(file, &number, sizeof number, 0), sizeof number);
    for (int i = 0; i < 4; i++) {
        children[i] = fork();
        if (children[i]) continue;
        int own = open("h", O_RDWR);
        for (int round = 0; round < 25; round++) {
            SAME(i % 2 ? flock(own, LOCK_EX) : wait_set(own, F_WRLCK, 0, 8), 0);
            if (i % 2) SAME(wait_set(own, F_WRLCK, 0, 8), 0);
            SAME(pread(own, &number, sizeof number, 0), sizeof number);
            number++;
            SAME(pwrite(own, &number, sizeof number, 0), sizeof number);
            SAME(set(own, F_UNLCK, 0, 0) | flock(own, LOCK_UN), 0);
        }
        CHILD_END();
    }
    for (int i = 0; i < 4; i++) CHILD(children[i]);
    SAME(pread(file, &number, sizeof number, 0), sizeof number);
    SAME(number, 100);
    close(file);
}

static int scenario(char **args) {
    int file = open(args[2], O_RDWR | O_CREAT, 0644);
    struct flock lock = ask(F_WRLCK, 0, 0);
    if (!strcmp(args[1], "hold")) {
        if (set(file, F_WRLCK, 0, 0)) return perror("hold"), 1;
        for (int left = atoi(args[3]); left > 0;) left = (int)sleep((unsigned)left);
        return puts("held"), 0;
    }
    if (!strcmp(args[1], "wait")) {
        if (wait_set(file, F_WRLCK, 0, 0)) return perror("wait"), 1;
        return puts("got it"), 0;
    }
    // `ring FILE OTHER`: locks the one, and after a while the other.
    if (!strcmp(args[1], "ring")) {
        int other = open(args[3], O_RDWR | O_CREAT, 0644);
        struct timespec moment = {1, 0};
        if (wait_set(file, F_WRLCK, 0, 0)) return perror("first"), 1;
        nanosleep(&moment, NULL);
        if (wait_set(other, F_WRLCK, 0, 0)) return puts(errno == EDEADLK ? "ring" : "error"), 0;
        return puts("both"), 0;
    }
    if (fcntl(file, F_GETLK, &lock)) return perror("try"), 1;
    if (lock.l_type == F_UNLCK) return puts("free"), 0;
    printf("locked by %d\n", lock.l_pid);
    return 1;
}

int main(int count, char **args) {
    if (count > 2) return scenario(args);
    check_flock();
    check_ranges();
    check_open_file_locks();
    check_waits();
    check_ring();
    check_counting();
    return check_end("locks");
}

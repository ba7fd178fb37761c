// SPDX-License-Identifier: MIT OR Apache-2.0
// Bad pointers to system calls: each gets EFAULT, and the system goes on.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const char *name_of(long result) {
    return result != -1 ? "no error" : errno == EFAULT ? "EFAULT" : strerror(errno);
}

static void try_all(const char *what, uintptr_t bad) {
    int file = open("pointers.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600), ends[2];
    if (write(file, "some text", 9) != 9 || pipe(ends)) puts("cannot prepare");
    lseek(file, 0, SEEK_SET);
    printf("%s:\n", what);
#define TRY(label, ...) printf("  %s %s\n", label, name_of(syscall(__VA_ARGS__)))
    TRY("read", SYS_read, file, bad, 9);
    TRY("write", SYS_write, file, bad, 9);
    TRY("pread", SYS_pread64, file, bad, 9, 0);
    TRY("pipe write", SYS_write, ends[1], bad, 9);
    TRY("open", SYS_open, bad, O_RDONLY);
    TRY("stat", SYS_stat, ".", bad);
    TRY("stat path", SYS_stat, bad, &file);
    TRY("fstat", SYS_fstat, file, bad);
    TRY("pipe", SYS_pipe, bad);
    TRY("getcwd", SYS_getcwd, bad, 4096);
    TRY("readlink", SYS_readlink, bad, bad, 10);
    TRY("uname", SYS_uname, bad);
    TRY("clock_gettime", SYS_clock_gettime, CLOCK_MONOTONIC, bad);
    TRY("nanosleep", SYS_nanosleep, bad, NULL);
    TRY("rt_sigaction", SYS_rt_sigaction, SIGUSR1, bad, NULL, 8);
    TRY("rt_sigprocmask", SYS_rt_sigprocmask, SIG_BLOCK, bad, NULL, 8);
    TRY("poll", SYS_poll, bad, 1, 0);
    TRY("writev", SYS_writev, file, bad, 1);
    TRY("execve", SYS_execve, bad, NULL, NULL);
    close(ends[0]), close(ends[1]), close(file), unlink("pointers.tmp");
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096);
    try_all("no memory", (uintptr_t)page + 4096);
    try_all("null", 1);
    try_all("kernel", 0xffffffff80000000);
    try_all("hole", 0x0000800000000000);
    memset(page, 'x', 4096);
    int file = open("pointers.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600);
    errno = 0;
    printf("across the end: %s\n", name_of(syscall(SYS_write, file, page + 4090, 100) > 6 ? 0 : -1));
    struct iovec parts[2] = {{page, 4}, {page + 4096, 4}};
    long sum = writev(file, parts, 2);
    printf("second part bad: %s\n", sum == 4 ? "4 bytes" : name_of(sum));
    unlink("pointers.tmp");
    return 0;
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// Bad pointers to system calls: unmapped, read-only, null, not the program's, no address at all, and
// buffers that begin well and end badly. Each call answers EFAULT, and nothing is half done.
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

enum { PAGE = 4096 };

static char *page, *read_only;
static int file, ends[2];

#define BAD(...) FAILS(syscall(__VA_ARGS__), EFAULT)

static void check_read_by_kernel(uintptr_t bad) {
    char *arguments[] = {(char *)bad, NULL};
    BAD(SYS_write, file, bad, 9);
    BAD(SYS_pwrite64, file, bad, 9, 0);
    BAD(SYS_write, ends[1], bad, 9);
    BAD(SYS_writev, file, bad, 1);
    BAD(SYS_open, bad, O_RDONLY);
    BAD(SYS_openat, AT_FDCWD, bad, O_RDONLY, 0);
    BAD(SYS_stat, bad, page);
    BAD(SYS_lstat, bad, page);
    BAD(SYS_access, bad, 0);
    BAD(SYS_chdir, bad);
    BAD(SYS_mkdir, bad, 0700);
    BAD(SYS_rmdir, bad);
    BAD(SYS_unlink, bad);
    BAD(SYS_rename, "x", bad);
    BAD(SYS_rename, bad, "x");
    BAD(SYS_link, bad, "x");
    BAD(SYS_symlink, bad, "x");
    BAD(SYS_readlink, bad, page, 10);
    BAD(SYS_chmod, bad, 0600);
    BAD(SYS_truncate, bad, 0);
    BAD(SYS_execve, bad, NULL, NULL);
    BAD(SYS_execve, "/proc/self/exe", bad, NULL);
    BAD(SYS_execve, "/proc/self/exe", arguments, NULL);
    BAD(SYS_nanosleep, bad, NULL);
    BAD(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, bad, NULL);
    BAD(SYS_rt_sigaction, SIGUSR1, bad, NULL, 8);
    BAD(SYS_rt_sigprocmask, SIG_BLOCK, bad, NULL, 8);
    BAD(SYS_rt_sigsuspend, bad, 8);
    BAD(SYS_rt_sigtimedwait, bad, NULL, NULL, 8);
    BAD(SYS_sigaltstack, bad, NULL);
    BAD(SYS_setitimer, ITIMER_REAL, bad, NULL);
    BAD(SYS_poll, bad, 1, 0);
    BAD(SYS_select, 1, bad, NULL, NULL, NULL);
    BAD(SYS_setrlimit, RLIMIT_NOFILE, bad);
    BAD(SYS_ioctl, ends[0], FIONBIO, bad);
    BAD(SYS_utimensat, AT_FDCWD, ".", bad, 0);
}

static void check_written_by_kernel(uintptr_t bad) {
    BAD(SYS_read, file, bad, 9);
    BAD(SYS_pread64, file, bad, 9, 0);
    BAD(SYS_stat, ".", bad);
    BAD(SYS_fstat, file, bad);
    BAD(SYS_newfstatat, AT_FDCWD, ".", bad, 0);
    BAD(SYS_pipe, bad);
    BAD(SYS_getcwd, bad, PAGE);
    BAD(SYS_readlink, "/proc/self/exe", bad, 10);
    BAD(SYS_uname, bad);
    BAD(SYS_clock_gettime, CLOCK_MONOTONIC, bad);
    BAD(SYS_clock_getres, CLOCK_MONOTONIC, bad);
    BAD(SYS_gettimeofday, bad, NULL);
    BAD(SYS_rt_sigaction, SIGUSR1, NULL, bad, 8);
    BAD(SYS_rt_sigprocmask, SIG_BLOCK, NULL, bad, 8);
    BAD(SYS_rt_sigpending, bad, 8);
    BAD(SYS_sigaltstack, NULL, bad);
    BAD(SYS_getitimer, ITIMER_REAL, bad);
    BAD(SYS_getrlimit, RLIMIT_NOFILE, bad);
    BAD(SYS_getrusage, RUSAGE_SELF, bad);
    BAD(SYS_times, bad);
    BAD(SYS_sysinfo, bad);
    BAD(SYS_getrandom, bad, 10, 0);
    BAD(SYS_getresuid, bad, bad, bad);
    BAD(SYS_ioctl, ends[0], FIONREAD, bad);
    int folder = open(".", O_RDONLY | O_DIRECTORY);
    BAD(SYS_getdents64, folder, bad, 1000);
    close(folder);
    // A child's end is not lost with the answer.
    pid_t child = fork();
    if (child == 0) _exit(3);
    siginfo_t seen;
    SAME(waitid(P_PID, (id_t)child, &seen, WEXITED | WNOWAIT), 0);
    BAD(SYS_wait4, child, bad, 0, NULL);
    // Data in a pipe is still there after a read that failed.
    SAME(write(ends[1], "data", 4), 4);
    BAD(SYS_read, ends[0], bad, 4);
    char text[8];
    SAME(read(ends[0], text, 8), 4);
    SAME(memcmp(text, "data", 4), 0);
}

static void try_all(uintptr_t bad, int readable) {
    lseek(file, 0, SEEK_SET);
    if (!readable) check_read_by_kernel(bad);
    check_written_by_kernel(bad);
    SAME(lseek(file, 0, SEEK_CUR), 0);
}

static void check_edges(void) {
    // What lies before the bad part is used, what a whole object needs is refused.
    char *end = page + PAGE;
    memset(page, 'x', PAGE);
    lseek(file, 0, SEEK_SET);
    struct iovec parts[2] = {{end - 4, 4}, {end, 4}};
    SAME(writev(file, parts, 2), 4);
    FAILS(syscall(SYS_stat, ".", end - 8), EFAULT);
    FAILS(syscall(SYS_uname, end - 100), EFAULT);
    memset(page, 'x', PAGE);
    FAILS(syscall(SYS_open, end - 4, O_RDONLY), EFAULT);
    memcpy(end - 4, ".\0\0", 4);
    FAILS(syscall(SYS_unlink, end - 1), ENOENT);
    SAME(access(end - 4, F_OK), 0);
    int zero = open("/dev/zero", O_RDONLY);
    SAME(read(zero, end - 16, 16), 16);
    close(zero);
    // A length that wraps around the address space.
    FAILS(syscall(SYS_write, ends[1], page, (size_t)-1), EFAULT);
    FAILS(syscall(SYS_read, file, UINTPTR_MAX - 5, 100), EFAULT);
    // Nothing to read or write is no fault, wherever it is.
    SAME(syscall(SYS_write, file, end, 0), 0);
    SAME(syscall(SYS_read, file, end, 0), 0);
    SAME(syscall(SYS_poll, end, 0, 0), 0);
}

// A signal whose frame fits nowhere ends the process, and nothing else.
static void check_stack(uintptr_t bad) {
    pid_t child = fork();
    if (child == 0) {
        signal(SIGUSR1, SIG_DFL), signal(SIGSEGV, SIG_DFL);
        struct sigaction action = {.sa_handler = (void (*)(int))1};
        sigaction(SIGUSR1, &action, NULL);
        __asm__ volatile("mov %0, %%rsp\n\tsyscall" ::"r"(bad), "a"(SYS_kill), "D"(getpid()), "S"(SIGUSR1)
                         : "rcx", "r11", "memory");
        _exit(0);
    }
    SAME(wait_for(child) & 0x7f, SIGSEGV);
}

int main(void) {
    page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    read_only = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SAME(munmap(page + PAGE, PAGE), 0);
    file = open("efault.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600);
    SAME(write(file, "some text", 9), 9);
    SAME(pipe(ends), 0);
    uintptr_t bad[] = {(uintptr_t)page + PAGE, 1, 0xffffffff80000000, 0x0000800000000000, UINTPTR_MAX - 3};
    for (int i = 0; i < 5; i++) try_all(bad[i], 0);
    try_all((uintptr_t)read_only, 1);
    check_edges();
    check_stack((uintptr_t)page + PAGE + 128);
    check_stack(8);
    unlink("efault.tmp");
    return check_end("efault");
}

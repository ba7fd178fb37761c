// SPDX-License-Identifier: MIT OR Apache-2.0
// bench [OPERATION]: prints "NAME REPETITIONS LEAST MEDIAN" for every operation, in ticks of the time stamp counter
// for one repetition. Under QEMU's `-icount shift=0` one tick is one instruction; `loop` says whether
// it is: 1,000 turns of two instructions.
//
// Around each batch stands a call whose number no Linux has: MARK + the operation's number before it,
// MARK_END + that number after it. A log of the kernel's entries is cut at these calls.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MARK = 0x4b00, MARK_END = 0x4b80, BATCHES = 15, PAGE = 4096, BLOCK = 64 * 1024 };

static char *pages;
static int file, there[2], back[2];
static char buffer[BLOCK], *self;

static void must(int ok, const char *what) {
    if (ok) return;
    perror(what);
    exit(1);
}

static void loop(int times) {
    for (int i = 0; i < times; i++) {
        uint64_t turns = 1000;
        __asm__ volatile("1:\n\tdec %0\n\tjnz 1b" : "+r"(turns));
    }
}

static void null_call(int times) {
    for (int i = 0; i < times; i++) syscall(SYS_getppid);
}

static void map_pages(int times) {
    pages = mmap(0, (size_t)times * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(pages != MAP_FAILED, "mmap");
    // The first pages of a mapping pay for its page tables; Linux's baseline leaves that out too.
    pages[0] = 1;
}

static void touch_pages(int times) {
    for (int i = 1; i < times; i++) pages[(size_t)i * PAGE] = 1;
}

static void unmap_pages(int times) {
    munmap(pages, (size_t)times * PAGE);
}

static void map_and_unmap(int times) {
    for (int i = 0; i < times; i++) {
        map_pages(1);
        unmap_pages(1);
    }
}

static void fork_exit_wait(int times) {
    for (int i = 0; i < times; i++) {
        pid_t child = fork();
        must(child >= 0, "fork");
        if (child == 0) _exit(0);
        must(waitpid(child, 0, 0) == child, "waitpid");
    }
}

static void fork_exec_wait(int times) {
    for (int i = 0; i < times; i++) {
        pid_t child = fork();
        must(child >= 0, "fork");
        if (child == 0) {
            execl(self, self, "nothing", (char *)0);
            _exit(1);
        }
        must(waitpid(child, 0, 0) == child, "waitpid");
    }
}

static void echo_start(int times) {
    must(pipe(there) == 0 && pipe(back) == 0, "pipe");
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child != 0) {
        // The first round may pay for copied pages.
        char byte = 0;
        must(write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1, "pipe");
        return;
    }
    char byte;
    for (int i = 0; i <= times; i++)
        if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1) _exit(1);
    _exit(0);
}

static void echo(int times) {
    char byte = 0;
    for (int i = 0; i < times; i++)
        must(write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1, "pipe");
}

static void echo_end(int times) {
    (void)times;
    for (int i = 0; i < 2; i++) close(there[i]), close(back[i]);
    must(wait(0) > 0, "wait");
}

static void stat_file(int times) {
    struct stat stat_;
    for (int i = 0; i < times; i++) must(stat("/tmp/bench", &stat_) == 0, "stat");
}

static void open_close(int times) {
    for (int i = 0; i < times; i++) close(open("/tmp/bench", O_RDONLY));
}

static void read_4k(int times) {
    for (int i = 0; i < times; i++) must(pread(file, buffer, PAGE, 0) == PAGE, "read");
}

static void read_64k(int times) {
    for (int i = 0; i < times; i++) must(pread(file, buffer, BLOCK, 0) == BLOCK, "read");
}

static void write_64k(int times) {
    for (int i = 0; i < times; i++) must(pwrite(file, buffer, BLOCK, 0) == BLOCK, "write");
}

static const struct {
    const char *name;
    int times, unmeasured;
    void (*before)(int), (*run)(int), (*after)(int);
} operations[] = {
    {"loop", 10, 0, 0, loop, 0},
    {"null_syscall", 200, 0, 0, null_call, 0},
    {"page_fault", 65, 1, map_pages, touch_pages, unmap_pages},
    {"fork_exit_wait", 5, 0, 0, fork_exit_wait, 0},
    {"fork_exec_wait", 3, 0, 0, fork_exec_wait, 0},
    {"pipe_rtt", 50, 0, echo_start, echo, echo_end},
    {"mmap_munmap", 50, 0, 0, map_and_unmap, 0},
    {"stat", 50, 0, 0, stat_file, 0},
    {"open_close", 50, 0, 0, open_close, 0},
    {"file_read_4KiB", 50, 0, 0, read_4k, 0},
    {"file_read_64KiB", 20, 0, 0, read_64k, 0},
    {"file_rewrite_64KiB", 20, 0, 0, write_64k, 0},
};

static uint64_t now(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void measure(int number) {
    uint64_t ticks[BATCHES];
    int times = operations[number].times, counted = times - operations[number].unmeasured;
    for (int i = 0; i < BATCHES; i++) {
        if (operations[number].before) operations[number].before(times);
        syscall(MARK + number);
        uint64_t start = now();
        operations[number].run(times);
        ticks[i] = (now() - start) / (uint64_t)counted;
        syscall(MARK_END + number);
        if (operations[number].after) operations[number].after(times);
    }
    qsort(ticks, BATCHES, sizeof *ticks, ascending);
    printf("%s %d %lu %lu\n", operations[number].name, counted, ticks[0], ticks[BATCHES / 2]);
    fflush(stdout);
}

int main(int argc, char **argv) {
    int count = sizeof operations / sizeof *operations;
    self = argv[0];
    if (argc > 1 && strcmp(argv[1], "nothing") == 0) return 0;
    file = open("/tmp/bench", O_RDWR | O_CREAT | O_TRUNC, 0600);
    must(file >= 0 && write(file, buffer, BLOCK) == BLOCK, "/tmp/bench");
    for (int i = 0; i < count; i++)
        if (argc < 2 || strcmp(argv[1], operations[i].name) == 0) measure(i);
    return 0;
}

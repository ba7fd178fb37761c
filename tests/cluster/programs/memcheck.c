// SPDX-License-Identifier: MIT OR Apache-2.0
// Memory: mapping, protecting, moving, copy-on-write, faults as signals, the stack, files as memory.
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { PAGE = 4096, PAGES = 200 };

static sigjmp_buf back;
static siginfo_t seen;
static char alternate[64 << 10];

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    seen = *info;
    siglongjmp(back, number);
}

// The signal that an access ends in, or 0.
#define FAULT(access)                       \
    ({                                      \
        int fault_ = sigsetjmp(back, 1);    \
        if (!fault_) { access; }            \
        fault_;                             \
    })

static volatile uint8_t *pages(size_t count, int protection, int flags) {
    void *memory = mmap(NULL, count * PAGE, protection, flags | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static void check_maps(void) {
    volatile uint8_t *p = pages(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    int sum = 0;
    for (int i = 0; i < PAGES; i++) sum += p[i * PAGE] + p[i * PAGE + PAGE - 1];
    SAME(sum, 0);
    for (int i = 0; i < PAGES; i++) p[i * PAGE + i] = (uint8_t)(i + 1);
    SAME(munmap((void *)(p + 10 * PAGE), 5 * PAGE), 0);
    SAME(FAULT((void)p[12 * PAGE]), SIGSEGV);
    SAME(seen.si_code, SEGV_MAPERR);
    CHECK(seen.si_addr == (void *)(p + 12 * PAGE));
    SAME(p[9 * PAGE + 9], 10);
    SAME(p[15 * PAGE + 15], 16);
    void *again = mmap((void *)(p + 10 * PAGE), 5 * PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(again == p + 10 * PAGE);
    SAME(p[12 * PAGE + 12], 0);
    CHECK(mmap((void *)p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
    SAME(p[0], 0);
    SAME(FAULT(p[0] = 1), SIGSEGV);
    SAME(munmap((void *)p, PAGES * PAGE), 0);
    SAME(FAULT((void)p[20 * PAGE]), SIGSEGV);
    FAILS(munmap((void *)(p + 1), PAGE), EINVAL);
    FAILS(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
    FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
    volatile uint8_t *sparse = pages(1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
    for (size_t at = 0; at < (size_t)1 << 30; at += (size_t)1 << 26) sparse[at] = 7;
    SAME(sparse[(size_t)15 << 26], 7);
    SAME(munmap((void *)sparse, (size_t)1 << 30), 0);
}

static void check_protection(void) {
    volatile uint8_t *p = pages(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    for (int i = 0; i < 8; i++) p[i * PAGE] = (uint8_t)(i + 1);
    SAME(mprotect((void *)(p + 2 * PAGE), 3 * PAGE, PROT_READ), 0);
    SAME(FAULT(p[3 * PAGE + 5] = 1), SIGSEGV);
    SAME(seen.si_code, SEGV_ACCERR);
    CHECK(seen.si_addr == (void *)(p + 3 * PAGE + 5));
    SAME(p[3 * PAGE], 4);
    SAME(FAULT(p[1 * PAGE] = 9; p[5 * PAGE] = 9), 0);
    SAME(mprotect((void *)(p + 2 * PAGE), PAGE, PROT_NONE), 0);
    SAME(FAULT((void)p[2 * PAGE]), SIGSEGV);
    SAME(seen.si_code, SEGV_ACCERR);
    SAME(mprotect((void *)p, 8 * PAGE, PROT_READ | PROT_WRITE), 0);
    SAME(FAULT(p[2 * PAGE + 1] = 1; p[3 * PAGE + 5] = 1), 0);
    SAME(p[2 * PAGE], 3);
    SAME(p[5 * PAGE], 9);
    // mov $42, %eax; ret
    static const uint8_t code[] = {0xb8, 42, 0, 0, 0, 0xc3};
    memcpy((void *)p, code, sizeof code);
    int (*volatile function)(void) = (int (*)(void))p;
    // Whether it ran before is the machine's affair: not every one can forbid it.
    SAME(mprotect((void *)p, PAGE, PROT_READ | PROT_EXEC), 0);
    SAME(function(), 42);
    SAME(munmap((void *)(p + 4 * PAGE), PAGE), 0);
    FAILS(mprotect((void *)p, 8 * PAGE, PROT_READ), ENOMEM);
    FAILS(mprotect((void *)(p + 1), PAGE, PROT_READ), EINVAL);
    SAME(munmap((void *)p, 8 * PAGE), 0);
}

static void check_remap(void) {
    volatile uint8_t *p = pages(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE), *q;
    for (int i = 0; i < PAGES; i++) p[i * PAGE + 1] = (uint8_t)i;
    q = mremap((void *)p, PAGES * PAGE, 50 * PAGE, 0);
    CHECK(q == p);
    SAME(FAULT((void)p[50 * PAGE]), SIGSEGV);
    // Something stands behind it, so it must move to grow.
    mmap((void *)(p + 50 * PAGE), PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    FAILS(mremap((void *)p, 50 * PAGE, 100 * PAGE, 0), ENOMEM);
    q = mremap((void *)p, 50 * PAGE, 100 * PAGE, MREMAP_MAYMOVE);
    CHECK(q != MAP_FAILED && q != p);
    SAME(FAULT((void)p[0]), SIGSEGV);
    int wrong = 0;
    for (int i = 0; i < 50; i++) wrong += q[i * PAGE + 1] != (uint8_t)i;
    for (int i = 50; i < 100; i++) wrong += q[i * PAGE + 1] != 0;
    SAME(wrong, 0);
    SAME(madvise((void *)q, 10 * PAGE, MADV_DONTNEED), 0);
    SAME(q[5 * PAGE + 1], 0);
    SAME(q[11 * PAGE + 1], 11);
    SAME(munmap((void *)q, 100 * PAGE), 0);
    SAME(munmap((void *)(p + 50 * PAGE), PAGE), 0);
}

static void check_brk(void) {
    char *start = sbrk(0);
    CHECK(sbrk(20 * PAGE) == start);
    memset(start, 5, 20 * PAGE);
    CHECK(sbrk(-10 * PAGE) != (void *)-1);
    CHECK(sbrk(10 * PAGE) != (void *)-1);
    SAME(start[9 * PAGE], 5);
    int sum = 0;
    for (int i = 10 * PAGE; i < 20 * PAGE; i++) sum += start[i];
    SAME(sum, 0);
    sbrk(-20 * PAGE);
}

static int count_wrong(volatile uint8_t *p, int value) {
    int wrong = 0;
    for (int i = 0; i < PAGES; i++) wrong += p[i * PAGE + i] != (uint8_t)(value + i);
    return wrong;
}

static void fill(volatile uint8_t *p, int value) {
    for (int i = 0; i < PAGES; i++) p[i * PAGE + i] = (uint8_t)(value + i);
}

static void check_fork(void) {
    volatile uint8_t *own = pages(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    volatile uint8_t *shared = pages(PAGES, PROT_READ | PROT_WRITE, MAP_SHARED);
    int to_child[2], to_parent[2];
    char byte;
    fill(own, 1), fill(shared, 1);
    SAME(pipe(to_child) | pipe(to_parent), 0);
    pid_t child = fork();
    if (child == 0) {
        // A grandchild sees what the child has, and its writes are its own.
        fill(own, 2);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            SAME(count_wrong(own, 2), 0);
            fill(own, 3), fill(shared, 4);
            SAME(count_wrong(own, 3), 0);
            CHILD_END();
        }
        CHILD(grandchild);
        SAME(count_wrong(own, 2), 0);
        SAME(count_wrong(shared, 4), 0);
        // The parent writes while its pages are shared.
        SAME(write(to_parent[1], "x", 1), 1);
        SAME(read(to_child[0], &byte, 1), 1);
        SAME(count_wrong(own, 2), 0);
        SAME(count_wrong(shared, 9), 0);
        CHILD_END();
    }
    SAME(read(to_parent[0], &byte, 1), 1);
    SAME(count_wrong(own, 1), 0);
    fill(own, 8), fill(shared, 9);
    SAME(write(to_child[1], "x", 1), 1);
    CHILD(child);
    SAME(count_wrong(own, 8), 0);
    SAME(munmap((void *)shared, PAGES * PAGE), 0);

    // A system call that writes to a page that is shared for reading breaks the sharing too.
    child = fork();
    if (child == 0) {
        SAME(write(to_child[1], "0123456789", 10), 10);
        SAME(read(to_child[0], (void *)(own + PAGE - 5), 10), 10);
        SAME(own[PAGE - 1], '4');
        SAME(own[PAGE], '5');
        CHILD_END();
    }
    CHILD(child);
    SAME(own[PAGE - 1], 0);
    SAME(own[PAGE + 1], 9);
    // Sixty children at a time, each with its own copy, the parent's pages untouched.
    pid_t children[60];
    for (int i = 0; i < 60; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            fill(own, i + 20);
            usleep(1000);
            _exit(count_wrong(own, i + 20) != 0);
        }
    }
    for (int i = 0; i < 60; i++) CHILD(children[i]);
    SAME(count_wrong(own, 8), 0);
    SAME(munmap((void *)own, PAGES * PAGE), 0);
    for (int i = 0; i < 2; i++) close(to_child[i]), close(to_parent[i]);
}

static void check_files(void) {
    int file = open("memcheck.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600), sum = 0;
    char text[PAGE];
    for (int i = 0; i < PAGE; i++) text[i] = (char)('a' + i % 26);
    for (int i = 0; i < 3; i++) SAME(write(file, text, PAGE), PAGE);
    SAME(write(file, text, 100), 100);
    volatile char *own = mmap(NULL, 6 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    volatile char *shared = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    volatile char *second = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, PAGE);
    CHECK(own != MAP_FAILED && shared != MAP_FAILED && second != MAP_FAILED);
    SAME(own[PAGE + 3], 'a' + 3);
    SAME(own[3 * PAGE + 99], text[99]);
    for (int i = 100; i < PAGE; i++) sum += own[3 * PAGE + i];
    SAME(sum, 0);
    SAME(FAULT((void)own[4 * PAGE]), SIGBUS);
    own[0] = 'X';
    shared[PAGE] = 'Y';
    SAME(second[0], 'Y');
    SAME(pread(file, text, 1, 0), 1);
    SAME(text[0], 'a');
    SAME(pread(file, text, 1, PAGE), 1);
    SAME(text[0], 'Y');
    SAME(pwrite(file, "Z", 1, 2 * PAGE + 7), 1);
    SAME(shared[2 * PAGE + 7], 'Z');
    pid_t child = fork();
    if (child == 0) {
        shared[5] = 'C', own[6] = 'D';
        CHILD_END();
    }
    CHILD(child);
    SAME(shared[5], 'C');
    SAME(own[6], 'a' + 6);
    SAME(unlink("memcheck.tmp"), 0);
    close(file);
    SAME(shared[2 * PAGE + 7], 'Z');
    SAME(munmap((void *)own, 6 * PAGE) | munmap((void *)shared, 4 * PAGE), 0);
    file = open("/proc/self/exe", O_RDONLY);
    FAILS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), EACCES);
    close(file);
}

static __attribute__((noinline)) int deep(int left) {
    volatile char space[PAGE];
    space[0] = (char)left, space[PAGE - 1] = 1;
    int below = left ? deep(left - 1) : 0;
    return below + space[PAGE - 1] + (space[0] - (char)left);
}

static void check_stack(void) {
    SAME(deep(700), 701);
    pid_t child = fork();
    if (child == 0) {
        // Out of stack: the signal comes, on the alternate stack.
        struct rlimit small = {1 << 20, 1 << 20};
        setrlimit(RLIMIT_STACK, &small);
        SAME(FAULT(deep(100000)), SIGSEGV);
        CHILD_END();
    }
    CHILD(child);
}

int main(void) {
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&stack, NULL);
    sigaction(SIGSEGV, &action, NULL), sigaction(SIGBUS, &action, NULL);
    check_maps();
    check_protection();
    check_remap();
    check_brk();
    check_fork();
    check_files();
    check_stack();
    return check_end("memcheck");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// sharer PAGES: parent and child share so many pages and take turns: each checks that all of them have what the
// other wrote, and writes the next. The parent says "round N" after each of its own, its first
// line is the child's number. As many pages more are only read after the start, so that both nodes have them. When
// its parent is gone the child says how many pages of both kinds are whole; the others are lost (SIGBUS). "wrong"
// is a page that has something else.
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / 8 };

static volatile uint64_t *memory;
static uint64_t pages;
static sigjmp_buf lost;

static void bus(int number) {
    (void)number;
    siglongjmp(lost, 1);
}

static uint64_t pattern(uint64_t word, uint64_t round) { return (word + 1) * 0x9e3779b97f4a7c15u ^ round; }

// Whether all words of a page were written in one of two rounds. The first page's first word says whose turn it is.
static int has(uint64_t page, uint64_t round, uint64_t other) {
    for (uint64_t i = page * WORDS + (page ? 0 : 1); i < (page + 1) * WORDS; i++) {
        uint64_t word = memory[i];
        if (word != pattern(i, round) && word != pattern(i, other)) return 0;
    }
    return 1;
}

static void fill(uint64_t page, uint64_t round) {
    for (uint64_t i = page ? 0 : 1; i < WORDS; i++) memory[page * WORDS + i] = pattern(page * WORDS + i, round);
}

// What the child has when its parent is gone: of the round that it wrote last, or of the one that the parent was in.
static void count(uint64_t round) {
    static volatile uint64_t page, whole[2];
    for (page = 0; page < 2 * pages; page++) {
        int kept = page >= pages;
        if (sigsetjmp(lost, 1)) continue;
        if (kept ? has(page, 0, 0) : has(page, round, round + 1))
            whole[kept]++;
        else
            printf("wrong: page %lu after round %lu\n", (unsigned long)page, (unsigned long)round);
    }
    printf("alone: %lu of %lu pages that were read are whole, %lu of those that were written\n",
           (unsigned long)whole[1], (unsigned long)pages, (unsigned long)whole[0]);
    exit(0);
}

static void turn(uint64_t round) {
    if (sigsetjmp(lost, 1)) count(round);
    for (uint64_t page = 0; page < 2 * pages; page++) {
        uint64_t wanted = page < pages ? round : 0;
        if (!has(page, wanted, wanted))
            printf("wrong: page %lu in round %lu\n", (unsigned long)page, (unsigned long)round);
        if (page < pages) fill(page, round + 1);
    }
}

// Waits for this side's turn.
static void await(uint64_t round, pid_t parent) {
    for (;;) {
        if (sigsetjmp(lost, 1)) count(round - 1);
        if (__atomic_load_n(&memory[0], __ATOMIC_ACQUIRE) == round) return;
        if (parent && getppid() != parent) count(round - 1);
        usleep(2000);
    }
}

int main(int argc, char **argv) {
    pages = argc > 1 ? strtoul(argv[1], 0, 10) : 0;
    if (!pages) return 2;
    setvbuf(stdout, 0, _IOLBF, 0);
    signal(SIGBUS, bus);
    memory = mmap(0, 2 * pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 3;
    for (uint64_t page = 0; page < 2 * pages; page++) fill(page, 0);
    pid_t parent = getpid(), child = fork();
    if (child < 0) return 4;
    if (child) printf("child %d\n", (int)child);
    // The parent has even rounds, the child odd ones.
    for (uint64_t round = child ? 0 : 1;; round += 2) {
        await(round, child ? 0 : parent);
        turn(round);
        __atomic_store_n(&memory[0], round + 1, __ATOMIC_RELEASE);
        if (child) printf("round %lu\n", (unsigned long)round);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// hold MIB [WAIT_US]: holds that much memory, says "holds", and then reads a word of a page every
// millisecond, in an order that prefetch does not guess, until it has read TOUCHES. Then it says how many
// reads took longer than WAIT_US, as they waited for a page, how long the least and the median of these
// took, and how many words were wrong. It ends when it is killed.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

// A prime above the pages of the largest mapping: a walk by it comes to every page once.
enum { PAGE_WORDS = 512, STRIDE = 1000003, TOUCHES = 1500 };

static uint64_t ticks[TOUCHES];

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}


// A call for the time would be longer than many a wait.
static uint64_t now_ticks(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv) {
    uint64_t pages = strtoull(argc > 1 ? argv[1] : "1", 0, 10) * 256, wrong = 0;
    double wait_ns = (argc > 2 ? atof(argv[2]) : 100) * 1000;
    uint64_t *words = mmap(0, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (words == MAP_FAILED || pages == 0) return 1;
    for (uint64_t i = 0; i < pages; i++) words[i * PAGE_WORDS] = i * 3 + 1;
    printf("holds\n");
    fflush(stdout);
    uint64_t start_ns = now_ns(), start_ticks = now_ticks();
    for (uint64_t i = 0; i < TOUCHES; i++) {
        uint64_t page = i * STRIDE % pages;
        usleep(1000);
        uint64_t before = now_ticks();
        uint64_t word = *(volatile uint64_t *)&words[page * PAGE_WORDS];
        ticks[i] = now_ticks() - before;
        wrong += word != page * 3 + 1;
    }
    double tick_ns = (double)(now_ns() - start_ns) / (double)(now_ticks() - start_ticks);
    qsort(ticks, TOUCHES, sizeof *ticks, ascending);
    int first = 0;
    while (first < TOUCHES && (double)ticks[first] * tick_ns < wait_ns) first++;
    int waits = TOUCHES - first;
    if (waits == 0)
        printf("no waits, ");
    else
        printf("%d waits, least %.0f us, median %.0f us, ", waits, (double)ticks[first] * tick_ns / 1000,
               (double)ticks[first + waits / 2] * tick_ns / 1000);
    printf("%lu wrong\n", (unsigned long)wrong);
    fflush(stdout);
    // `migrate` asks for its pages until all have come: it must not end before.
    pause();
    return 0;
}

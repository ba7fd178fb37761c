// SPDX-License-Identifier: MIT OR Apache-2.0
// state ROUNDS [MIB]: memory with a pattern, x87 and SSE registers, a stopped thread's loop, and open
// files at odd offsets, checked over and over while others migrate, stop or disturb the process.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t *memory, words;
static volatile uint64_t thread_count;
static volatile int wrong;

static uint64_t pattern(uint64_t word, uint64_t round) {
    return (word + 1) * 0x9e3779b97f4a7c15u ^ round * 0xbf58476d1ce4e5b9u;
}

static void complain(const char *what, uint64_t round) {
    printf("%s is wrong in round %lu\n", what, (unsigned long)round);
    fflush(stdout);
    wrong++;
}

// Holds values in registers across a stretch of time that is long enough to be interrupted in.
static void check_registers(uint64_t round) {
    long double x87 = 1.0L / 3 + (long double)round;
    double in[2] = {(double)round + 0.5, (double)round * 3}, out[2];
    long double back;
    uint64_t turns = 20000;
    __asm__ volatile("movupd %3, %%xmm7\n\tfldt %4\n"
                     "1:\n\tdec %2\n\tjnz 1b\n\t"
                     "fstpt %1\n\tmovupd %%xmm7, %0"
                     : "=m"(out), "=m"(back), "+r"(turns)
                     : "m"(in), "m"(x87)
                     : "xmm7", "st", "memory");
    if (memcmp(in, out, sizeof in)) complain("an SSE register", round);
    if (x87 != back) complain("an x87 register", round);
}

static void check_file(int file, uint64_t round) {
    char line[8], wanted[8];
    snprintf(wanted, sizeof wanted, "%07lu", (unsigned long)(round % 1000));
    if (read(file, line, 7) != 7 || memcmp(line, wanted, 7)) complain("a file's offset", round);
    if (round % 1000 == 999) lseek(file, 3, SEEK_SET);
}

static void *count_up(void *unused) {
    (void)unused;
    for (;;) thread_count++;
    return NULL;
}

static int open_file(void) {
    int file = open("state.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || write(file, "odd", 3) != 3) return -1;
    for (unsigned n = 0; n < 1000; n++) {
        char line[8];
        snprintf(line, sizeof line, "%07u", n);
        if (write(file, line, 7) != 7) return -1;
    }
    lseek(file, 3, SEEK_SET);
    unlink("state.tmp");
    return file;
}

int main(int argc, char **argv) {
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    words = (argc > 2 ? strtoull(argv[2], NULL, 10) : 64) << 17;
    memory = malloc(words * 8);
    int file = open_file();
    if (!memory || file < 0) return 2;
    for (uint64_t i = 0; i < words; i++) memory[i] = pattern(i, 0);
    pthread_t thread;
    if (pthread_create(&thread, NULL, count_up, NULL)) return 2;
    uint64_t last = 0, step = words / 64;
    for (uint64_t round = 0; round < rounds; round++) {
        // A part of the memory is checked and renewed each round, all of it every 64 rounds.
        for (uint64_t i = round % 64 * step; i < (round % 64 + 1) * step; i++) {
            if (memory[i] != pattern(i, round / 64)) { complain("memory", round); break; }
            memory[i] = pattern(i, round / 64 + 1);
        }
        check_registers(round);
        check_file(file, round);
        if (round % 100 == 99) {
            if (thread_count == last) usleep(100000);
            if (thread_count == last) complain("the other thread", round);
            last = thread_count;
        }
    }
    printf("%lu rounds, %d wrong\n", (unsigned long)rounds, wrong);
    return wrong != 0;
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// walker MIB [ROUNDS]: holds MIB of memory with a pattern, values in x87 and SSE registers, threads,
// signals and open files at odd offsets, checks all of them again and again (for ever without
// ROUNDS), and prints "ok N" after each round. It ends with 1 at the first thing that is wrong.
// SIGTERM ends it after a last round over all its memory.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { LINES = 1000, LINE = 7, PARTS = 16, THREADS = 2 };

static uint64_t *memory, words;
static volatile uint64_t thread_rounds[THREADS];
static volatile sig_atomic_t alarms, ending;
static int pipe_ends[2];
static pid_t own_pid;

static void fail(const char *what, uint64_t round) {
    char text[100];
    int length = snprintf(text, sizeof text, "wrong: %s in round %lu\n", what, (unsigned long)round);
    if (write(1, text, (size_t)length) < 0) _exit(3);
    _exit(1);
}

static uint64_t pattern(uint64_t word, uint64_t generation) {
    return (word + 1) * 0x9e3779b97f4a7c15u ^ generation * 0xbf58476d1ce4e5b9u;
}

// A part of the memory is checked and renewed in each round, all of it in PARTS rounds.
static void check_memory(uint64_t round) {
    uint64_t step = words / PARTS, first = round % PARTS * step, generation = round / PARTS;
    for (uint64_t i = first; i < first + step; i++) {
        if (memory[i] != pattern(i, generation)) fail("memory", round);
        memory[i] = pattern(i, generation + 1);
    }
}

static void check_all_memory(uint64_t round) {
    uint64_t step = words / PARTS;
    for (uint64_t i = 0; i < step * PARTS; i++)
        if (memory[i] != pattern(i, round / PARTS + (i / step < round % PARTS))) fail("memory at the end", round);
}

// Holds values in registers across a stretch of time that is long enough to be moved in.
static void check_registers(uint64_t round, uint64_t turns) {
    long double x87 = 1.0L / 3 + (long double)round, back;
    double in[2] = {(double)round + 0.5, (double)round * 3}, out[2];
    __asm__ volatile("movupd %3, %%xmm7\n\tmovapd %%xmm7, %%xmm15\n\tfldt %4\n"
                     "1:\n\tdec %2\n\tjnz 1b\n\t"
                     "fstpt %1\n\tandpd %%xmm15, %%xmm7\n\tmovupd %%xmm7, %0"
                     : "=m"(out), "=m"(back), "+r"(turns)
                     : "m"(in), "m"(x87)
                     : "xmm7", "xmm15", "st", "memory");
    if (memcmp(in, out, sizeof in)) fail("an SSE register", round);
    if (x87 != back) fail("an x87 register", round);
}

static int open_file(void) {
    char name[40], line[LINE + 1];
    snprintf(name, sizeof name, "walker.%d", own_pid);
    int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || write(file, "odd", 3) != 3) return -1;
    for (unsigned n = 0; n < LINES; n++) {
        snprintf(line, sizeof line, "%07u", n);
        if (write(file, line, LINE) != LINE) return -1;
    }
    lseek(file, 3, SEEK_SET);
    unlink(name);
    return file;
}

static void check_file(int file, uint64_t round) {
    char line[LINE + 1], wanted[LINE + 1];
    snprintf(wanted, sizeof wanted, "%07lu", (unsigned long)(round % LINES));
    if (read(file, line, LINE) != LINE || memcmp(line, wanted, LINE)) fail("a file's offset", round);
    if (round % LINES == LINES - 1) lseek(file, 3, SEEK_SET);
}

// The threads compute, write to a pipe that the first one reads, and wait.
static void *thread_main(void *number) {
    uint64_t sum = 0;
    for (uint64_t round = 1;; round++) {
        for (uint64_t i = 0; i < 20000; i++) sum = sum * 6364136223846793005u + i;
        check_registers(round + sum % 1000, 1000);
        uint64_t message = round << 8 | (uint64_t)(uintptr_t)number;
        if (write(pipe_ends[1], &message, sizeof message) != sizeof message) fail("a pipe", round);
        thread_rounds[(uintptr_t)number] = round;
    }
    return NULL;
}

static void check_threads(uint64_t round) {
    static uint64_t last[THREADS];
    for (int i = 0; i < 2 * THREADS; i++) {
        uint64_t message;
        ssize_t got;
        do got = read(pipe_ends[0], &message, sizeof message);
        while (got < 0 && errno == EINTR);
        uint64_t number = message & 0xff;
        if (got != sizeof message || number >= THREADS) fail("a message", round);
        if (message >> 8 != ++last[number]) fail("the order of messages", round);
    }
}

static void on_signal(int number) {
    if (number == SIGTERM) ending = 1;
    else alarms++;
}

static void start(uint64_t mib) {
    own_pid = getpid();
    words = mib << 17;
    memory = malloc(words * 8);
    if (!memory || pipe(pipe_ends)) exit(2);
    for (uint64_t i = 0; i < words; i++) memory[i] = pattern(i, 0);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL), sigaction(SIGTERM, &action, NULL);
    sigset_t mask, before;
    sigfillset(&mask);
    pthread_sigmask(SIG_BLOCK, &mask, &before);
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, thread_main, (void *)i)) exit(2);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    struct itimerval often = {{0, 20000}, {0, 20000}};
    setitimer(ITIMER_REAL, &often, NULL);
}

int main(int argc, char **argv) {
    uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 64;
    uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : UINT64_MAX, round = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    start(mib);
    int file = open_file();
    if (file < 0) return 2;
    while (round < rounds && !ending) {
        int before = alarms;
        check_memory(round);
        check_registers(round, 20000);
        check_file(file, round);
        check_threads(round);
        if (getpid() != own_pid) fail("its process id", round);
        for (int i = 0; alarms == before && !ending; i++) {
            if (i == 5000) fail("the timer", round);
            usleep(1000);
        }
        printf("ok %lu\n", (unsigned long)++round);
    }
    check_all_memory(round);
    printf("walker: %lu rounds, nothing wrong\n", (unsigned long)round);
    return 0;
}

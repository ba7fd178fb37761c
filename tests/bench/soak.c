// SPDX-License-Identifier: MIT OR Apache-2.0
// soak FILE PIDFILE: keeps the processor busy and counts the instructions that others execute. On SIGUSR1 it
// appends "TICKS OTHERS" to FILE: the time stamp counter since its start, and how much of that passed in
// the kernel, in servers and in other programs. It writes its number to PIDFILE when SIGUSR1 may come.
//
// It is meant for QEMU's `-icount shift=0`, where one tick is one instruction. A turn of its loop always
// executes the same number of instructions; the shortest turn is one in which nobody else ran, so that
// whatever a turn is longer was executed by others.
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

enum { SPINS = 2000, LEARN = 2000 };

static volatile sig_atomic_t asked;

static void ask(int number) {
    (void)number;
    asked = 1;
}

static uint64_t now(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

static void spin(void) {
    uint64_t turns = SPINS;
    __asm__ volatile("1:\n\tdec %0\n\tjnz 1b" : "+r"(turns));
}

// Runs turns until somebody asks, `turns` at most (0: without end); their time together, and the
// shortest one's, goes to *shortest.
static uint64_t soak(uint64_t turns, uint64_t *count, uint64_t *shortest) {
    uint64_t start = now(), last = start, least = UINT64_MAX, done = 0;
    do {
        spin();
        uint64_t time = now(), took = time - last;
        last = time;
        least = took < least ? took : least;
        done++;
    } while (!asked && done != turns);
    *count = done;
    *shortest = least;
    return last - start;
}

// Puts a line into a file; the file's node may not answer, for a moment.
static int say(const char *path, const char *line) {
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file < 0) return 0;
    int said = dprintf(file, "%s\n", line) > 0;
    close(file);
    return said;
}

int main(int argc, char **argv) {
    if (argc < 3) return 1;
    struct sigaction action = {.sa_handler = ask, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, 0);
    uint64_t count, turn, total = 0, turns = 0;
    soak(LEARN, &count, &turn);
    char line[64];
    snprintf(line, sizeof line, "%d", (int)getpid());
    while (!say(argv[2], line)) usleep(100000);
    for (;;) {
        uint64_t shortest;
        total += soak(0, &count, &shortest);
        turns += count;
        turn = shortest < turn ? shortest : turn;
        if (!asked) continue;
        snprintf(line, sizeof line, "%lu %lu", (unsigned long)total, (unsigned long)(total - turns * turn));
        if (say(argv[1], line)) asked = 0;
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// fetch FILE: reads one word of each page of FILE, which rests on another node, through a shared mapping,
// one after the other; then again, when they are here. It says how long the reads took.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES_MAX = 1024 };

static uint64_t took[PAGES_MAX];

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t median(const volatile char *bytes, size_t pages) {
    for (size_t i = 0; i < pages; i++) {
        uint64_t before = now_us();
        (void)bytes[i * PAGE];
        took[i] = now_us() - before;
    }
    qsort(took, pages, sizeof *took, ascending);
    return took[pages / 2];
}

int main(int argc, char **argv) {
    struct stat stat_;
    int file = open(argc > 1 ? argv[1] : "", O_RDONLY);
    if (file < 0 || fstat(file, &stat_) != 0) return perror("fetch: open"), 1;
    size_t pages = (size_t)stat_.st_size / PAGE;
    if (pages == 0 || pages > PAGES_MAX) return fprintf(stderr, "fetch: 1 to 1024 pages\n"), 1;
    const char *bytes = mmap(0, pages * PAGE, PROT_READ, MAP_SHARED, file, 0);
    if (bytes == MAP_FAILED) return perror("fetch: mmap"), 1;
    uint64_t first = median(bytes, pages), again = median(bytes, pages);
    printf("%zu pages, median %lu us, again %lu us\n", pages, (unsigned long)first, (unsigned long)again);
    return 0;
}

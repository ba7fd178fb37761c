// SPDX-License-Identifier: MIT OR Apache-2.0
// exhaust STEP [PAGES]: maps memory and writes to one page in each STEP bytes, until it is killed or has
// written to PAGES of them. A mapping is 256 GiB: memory ends before it does, so that it is a page that is refused.
#include <stdlib.h>
#include <sys/mman.h>

static const size_t CHUNK = 1ul << 38;

int main(int argc, char **argv) {
    size_t step = argc > 1 ? strtoul(argv[1], 0, 10) : 4096;
    size_t left = argc > 2 ? strtoul(argv[2], 0, 10) : (size_t)-1;
    for (;;) {
        char *chunk = mmap(0, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (chunk == MAP_FAILED || step == 0) return 1;
        for (size_t at = 0; at < CHUNK; at += step) {
            if (left-- == 0) return 0;
            chunk[at] = 1;
        }
    }
}

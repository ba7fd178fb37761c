// SPDX-License-Identifier: MIT OR Apache-2.0
// ticker COUNT [MS]: prints the numbers from 0, one write each, with a pause after each.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    long count = argc > 1 ? atol(argv[1]) : 100, pause_ms = argc > 2 ? atol(argv[2]) : 0;
    for (long n = 0; n < count; n++) {
        char line[24];
        int length = snprintf(line, sizeof line, "%ld\n", n);
        if (write(1, line, (size_t)length) != length) return 1;
        if (pause_ms) usleep((useconds_t)pause_ms * 1000);
    }
    return 0;
}

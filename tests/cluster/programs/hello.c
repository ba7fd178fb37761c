// SPDX-License-Identifier: MIT OR Apache-2.0
// A static glibc program: start-up, arguments, environment, heap, stdio, floating point, exit status.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void at_exit(void) { puts("at exit"); }

static int check_heap(void) {
    char *blocks[200];
    for (int i = 0; i < 200; i++) {
        size_t bytes = 1 + (size_t)i * 997;
        blocks[i] = malloc(bytes);
        if (!blocks[i]) return 1;
        memset(blocks[i], i, bytes);
    }
    for (int i = 0; i < 200; i++) {
        size_t bytes = 1 + (size_t)i * 997;
        if (blocks[i][0] != (char)i || blocks[i][bytes - 1] != (char)i) return 1;
        free(blocks[i]);
    }
    char *large = calloc(1, 8 << 20);
    if (!large || large[(8 << 20) - 1]) return 1;
    free(large);
    return 0;
}

int main(int argc, char **argv) {
    atexit(at_exit);
    for (int i = 1; i < argc; i++) printf("argument %d: %s\n", i, argv[i]);
    printf("WORD=%s\n", getenv("WORD") ? getenv("WORD") : "(none)");
    printf("heap %s\n", check_heap() ? "wrong" : "right");
    printf("sqrt(2) = %.15f, 1/3 = %.17Lg\n", sqrt((double)argc + 1), 1.0L / 3);
    errno = 0;
    printf("open: %s\n", fopen("/no/such/file", "r") ? "there" : strerror(errno));
    printf("clock %s\n", time(NULL) > 1000000000 ? "right" : "wrong");
    printf("parent %s\n", getppid() > 0 && getpid() > 0 ? "right" : "wrong");
    fflush(stdout);
    return 5;
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// as ID PROGRAM ARGS: runs a program with this number as its user and group.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: as ID PROGRAM ARGS\n");
        return 2;
    }
    unsigned id = strtoul(argv[1], NULL, 10);
    if (setgid(id) || setuid(id)) {
        perror("as");
        return 126;
    }
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return 127;
}

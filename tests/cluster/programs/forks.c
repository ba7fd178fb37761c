// SPDX-License-Identifier: MIT OR Apache-2.0
// forks N: N children that write their copy of memory and exit, and N that run this program again.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char memory[64 << 10];

static int child_status(pid_t child, int wanted) {
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) return 1;
    return !(WIFEXITED(status) && WEXITSTATUS(status) == wanted);
}

int main(int argc, char **argv) {
    if (argc > 2) return atoi(argv[2]);
    int count = argc > 1 ? atoi(argv[1]) : 100, wrong = 0;
    memset(memory, 1, sizeof memory);
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            memset(memory, 2, sizeof memory);
            _exit(memory[i % sizeof memory] == 2 ? i % 200 : 255);
        }
        wrong += child_status(child, i % 200);
        if (memory[i % sizeof memory] != 1) wrong++;
    }
    for (int i = 0; i < count; i++) {
        char number[12];
        snprintf(number, sizeof number, "%d", i % 200);
        pid_t child = fork();
        if (child == 0) {
            execl("/proc/self/exe", argv[0], "exit", number, (char *)NULL);
            execlp(argv[0], argv[0], "exit", number, (char *)NULL);
            _exit(255);
        }
        wrong += child_status(child, i % 200);
    }
    printf("%d forks and %d execs, %d wrong\n", 2 * count, count, wrong);
    return wrong != 0;
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// A fork bomb that counts: processes, each with so many more threads as the argument says, until there may be no more.
// Then all of them end.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void *waits(void *unused) {
    for (;;) pause();
    return unused;
}

static void child(int threads, int go) {
    char failed = 0;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 0; i < threads && !failed; i++) {
        pthread_t thread;
        failed = pthread_create(&thread, &small, waits, NULL) != 0;
    }
    if (write(go, &failed, 1) != 1) _exit(1);
    waits(NULL);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 0, go[2], count = 0, error = 0;
    if (pipe(go) != 0) return 1;
    pid_t *all = malloc(100000 * sizeof *all);
    for (char failed = 0; !error && !failed && count < 100000;) {
        pid_t pid = fork();
        if (pid == 0) child(threads, go[1]);
        if (pid < 0) {
            error = errno;
            break;
        }
        all[count++] = pid;
        if (read(go[0], &failed, 1) != 1) break;
        if (failed) error = EAGAIN;
    }
    for (int i = 0; i < count; i++) kill(all[i], SIGKILL);
    for (int i = 0; i < count; i++) waitpid(all[i], NULL, 0);
    printf("%s: %s\n", count > 50 ? "many" : "few", error == EAGAIN ? "EAGAIN" : error == ENOMEM ? "ENOMEM" : "something else");
    fprintf(stderr, "%d processes\n", count);
    return 0;
}

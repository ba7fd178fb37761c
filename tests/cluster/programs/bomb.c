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
    close(go);
    waits(NULL);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 0, count = 0;
    const char *why = "something else";
    static pid_t all[10000];
    while (count < 10000) {
        int go[2];
        char failed;
        if (pipe(go) != 0) break;
        pid_t pid = fork();
        if (pid == 0) {
            close(go[0]);
            child(threads, go[1]);
        }
        if (pid < 0) why = errno == EAGAIN ? "EAGAIN" : errno == ENOMEM ? "ENOMEM" : why;
        else all[count++] = pid;
        close(go[1]);
        // A child that is killed for want of memory says nothing.
        int said = pid > 0 && read(go[0], &failed, 1) == 1;
        close(go[0]);
        if (pid > 0 && !said) why = "killed";
        if (said && failed) why = "no more threads";
        if (!said || failed) break;
    }
    for (int i = 0; i < count; i++) kill(all[i], SIGKILL);
    for (int i = 0; i < count; i++) waitpid(all[i], NULL, 0);
    printf("%d processes: %s\n", count, why);
    return 0;
}

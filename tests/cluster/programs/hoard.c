// SPDX-License-Identifier: MIT OR Apache-2.0
// hoard pipes|ends|sockets|counters|epolls|timers|ports|files|semaphores|queues|areas|maps: makes so many, and fills them, until it is refused; says with
// which error (ends: pipes that stay empty), gives all back, and ends with 0 if it was refused in good order.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

static char bytes[65536];
static struct { long type; char text[8192]; } message = {1, {0}};

static int is_refusal(int error) { return error == ENFILE || error == ENOSPC || error == ENOMEM || error == ENOBUFS; }

// Fills a descriptor that does not block: the error, unless it is full.
static int fill(int fd) {
    for (;;)
        if (write(fd, bytes, sizeof bytes) < 0) return errno == EAGAIN ? 0 : errno;
}

static int make(const char *what, int number) {
    int ends[2];
    char name[64];
    if (!strcmp(what, "pipes")) return pipe2(ends, O_NONBLOCK) ? errno : fill(ends[1]);
    if (!strcmp(what, "ends")) return pipe2(ends, O_NONBLOCK) ? errno : 0;
    if (!strcmp(what, "sockets")) return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) ? errno : fill(ends[1]);
    if (!strcmp(what, "counters")) return eventfd(0, 0) < 0 ? errno : 0;
    if (!strcmp(what, "epolls")) return epoll_create1(0) < 0 ? errno : 0;
    if (!strcmp(what, "timers")) return timerfd_create(CLOCK_MONOTONIC, 0) < 0 ? errno : 0;
    if (!strcmp(what, "ports")) {
        struct sockaddr_in any = {.sin_family = AF_INET};
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        return fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) ? errno : 0;
    }
    snprintf(name, sizeof name, "hoard/%d", number);
    int fd = open(name, O_CREAT | O_WRONLY, 0600);
    return fd < 0 ? errno : (close(fd), 0);
}

// Descriptors, in as many processes as it takes: the error that ended it.
static int descriptors(const char *what) {
    struct rlimit most;
    getrlimit(RLIMIT_NOFILE, &most);
    most.rlim_cur = most.rlim_max;
    setrlimit(RLIMIT_NOFILE, &most);
    pid_t children[16];
    int count = 0, error = EMFILE;
    // Not a pipe: that could be refused, too.
    volatile int *answer = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    while (error == EMFILE && count < 16) {
        *answer = 0;
        if (!(children[count++] = fork())) {
            for (error = 0; !error;) error = make(what, 0);
            *answer = error;
            for (;;) pause();
        }
        while (!*answer) usleep(10000);
        error = *answer;
    }
    for (int i = 0; i < count; i++) kill(children[i], SIGKILL), waitpid(children[i], 0, 0);
    return error;
}

static int files(void) {
    int count = 0, error = 0;
    char name[64];
    mkdir("hoard", 0700);
    while (!(error = make("files", count))) count++;
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "hoard/%d", i);
        if (unlink(name)) return errno;
    }
    return rmdir("hoard") ? errno : error;
}

static int objects(int queues) {
    static int ids[4096];
    int count = 0, error = 0;
    while (!error && count < 4096) {
        int id = queues ? msgget(IPC_PRIVATE, 0600) : semget(IPC_PRIVATE, 256, 0600);
        if (id < 0) {
            error = errno;
            break;
        }
        ids[count++] = id;
        while (queues && !error)
            if (msgsnd(id, &message, sizeof message.text, IPC_NOWAIT)) {
                if (errno == EAGAIN) break;
                error = errno;
            }
    }
    for (int i = 0; i < count; i++)
        if (queues ? msgctl(ids[i], IPC_RMID, 0) : semctl(ids[i], 0, IPC_RMID)) return errno;
    return error;
}

// Areas of memory: every second page of a large one has other rights, or one page is mapped again and again.
static int areas(int mapped) {
    const size_t most = 1ul << 30;
    char *memory = mmap(0, most, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return errno;
    int fd = open("hoard", O_CREAT | O_RDWR, 0600), error = 0;
    if (fd < 0 || ftruncate(fd, 4096)) return errno;
    for (size_t at = 0; !error && at < most; at += 8192) {
        int failed = mapped ? mmap(memory + at, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED
                            : mprotect(memory + at, 4096, PROT_READ);
        if (failed) error = errno;
    }
    unlink("hoard");
    return munmap(memory, most) ? errno : error;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    int error = !strcmp(what, "files")        ? files()
                : !strcmp(what, "semaphores") ? objects(0)
                : !strcmp(what, "queues")     ? objects(1)
                : !strcmp(what, "areas")      ? areas(0)
                : !strcmp(what, "maps")       ? areas(1)
                                              : descriptors(what);
    if (is_refusal(error)) return printf("%s: refused\n", what) < 0;
    printf("%s: ended with %s\n", what, strerror(error));
    return 1;
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// POSIX shared memory and semaphores, named and unnamed, and locks that processes share.
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { PAGE = 4096 };

struct shared {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_barrier_t barrier;
    sem_t semaphore;
    uint64_t count, other, turn;
};

static void *map(const char *name, size_t bytes, int flags) {
    int fd = shm_open(name, flags | O_RDWR, 0600);
    if (fd < 0) return MAP_FAILED;
    if (flags & O_CREAT && ftruncate(fd, (off_t)bytes)) return MAP_FAILED;
    void *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return at;
}

static void memory(void) {
    volatile uint32_t *first = map("/posixipc-memory", 3 * PAGE, O_CREAT | O_EXCL);
    CHECK(first != MAP_FAILED);
    FAILS(shm_open("/posixipc-memory", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
    volatile uint32_t *second = map("/posixipc-memory", 3 * PAGE, 0);
    CHECK(second != MAP_FAILED);
    first[2000] = 4711;
    SAME(second[2000], 4711);
    pid_t child = fork();
    if (!child) {
        SAME(second[2000], 4711);
        first[1] = 4712;
        CHILD_END();
    }
    CHILD(child);
    SAME(second[1], 4712);
    struct stat status;
    int fd = shm_open("/posixipc-memory", O_RDONLY, 0);
    SAME(fstat(fd, &status), 0);
    SAME(status.st_size, 3 * PAGE);
    SAME(shm_unlink("/posixipc-memory"), 0);
    FAILS(shm_open("/posixipc-memory", O_RDWR, 0), ENOENT);
    SAME(second[2000], 4711);
    uint32_t word;
    SAME(pread(fd, &word, 4, 4), 4);
    SAME(word, 4712);
    close(fd);
}

static void semaphores(void) {
    sem_t *named = sem_open("/posixipc-semaphore", O_CREAT | O_EXCL, 0600, 1);
    CHECK(named != SEM_FAILED);
    SAME(sem_open("/posixipc-semaphore", O_CREAT | O_EXCL, 0600, 1) == SEM_FAILED, 1);
    SAME(sem_wait(named), 0);
    FAILS(sem_trywait(named), EAGAIN);
    struct timespec past = {1, 0};
    FAILS(sem_timedwait(named, &past), ETIMEDOUT);
    pid_t child = fork();
    if (!child) {
        sem_t *again = sem_open("/posixipc-semaphore", 0);
        CHECK(again != SEM_FAILED);
        SAME(sem_wait(again), 0);
        SAME(sem_post(named), 0);
        CHILD_END();
    }
    SAME(sem_post(named), 0);
    CHILD(child);
    int value = 0;
    SAME(sem_getvalue(named, &value), 0);
    SAME(value, 1);
    SAME(sem_close(named), 0);
    SAME(sem_unlink("/posixipc-semaphore"), 0);
    CHECK(sem_open("/posixipc-semaphore", 0) == SEM_FAILED && errno == ENOENT);
}

static int make(const char *name) {
    struct shared *it = map(name, sizeof *it, O_CREAT | O_TRUNC);
    if (it == MAP_FAILED) return perror("make"), 1;
    pthread_mutexattr_t lock;
    pthread_condattr_t changed;
    pthread_mutexattr_init(&lock);
    pthread_mutexattr_setpshared(&lock, PTHREAD_PROCESS_SHARED);
    pthread_condattr_init(&changed);
    pthread_condattr_setpshared(&changed, PTHREAD_PROCESS_SHARED);
    return pthread_mutex_init(&it->lock, &lock) || pthread_cond_init(&it->changed, &changed) ||
           sem_init(&it->semaphore, 1, 1);
}

// Counts so often, under the lock and then under the semaphore, and rests so many microseconds each time.
static int count(const char *name, int times, long rest_us) {
    struct shared *it = map(name, sizeof *it, 0);
    if (it == MAP_FAILED) return perror("count"), 1;
    for (int i = 0; i < times; i++) {
        pthread_mutex_lock(&it->lock);
        volatile uint64_t *number = &it->count;
        *number = *number + 1;
        pthread_mutex_unlock(&it->lock);
        while (sem_wait(&it->semaphore)) {}
        number = &it->other;
        *number = *number + 1;
        sem_post(&it->semaphore);
        struct timespec rest = {rest_us / 1000000, rest_us % 1000000 * 1000};
        if (rest_us) nanosleep(&rest, 0);
    }
    return 0;
}

// Takes so many turns with another one: `me` is 0 or 1.
static int turns(const char *name, uint64_t me, uint64_t times) {
    struct shared *it = map(name, sizeof *it, 0);
    if (it == MAP_FAILED) return perror("turns"), 1;
    for (uint64_t i = 0; i < times; i++) {
        pthread_mutex_lock(&it->lock);
        while (it->turn % 2 != me) pthread_cond_wait(&it->changed, &it->lock);
        it->turn++;
        pthread_cond_broadcast(&it->changed);
        pthread_mutex_unlock(&it->lock);
    }
    return 0;
}

static int show(const char *name) {
    struct shared *it = map(name, sizeof *it, 0);
    if (it == MAP_FAILED) return perror("show"), 1;
    printf("%lu %lu %lu\n", (unsigned long)it->count, (unsigned long)it->other, (unsigned long)it->turn);
    return shm_unlink(name);
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "make")) return make(argv[2]);
    if (argc > 3 && !strcmp(argv[1], "count")) return count(argv[2], atoi(argv[3]), argc > 4 ? atol(argv[4]) : 0);
    if (argc > 4 && !strcmp(argv[1], "turns")) return turns(argv[2], (uint64_t)atoi(argv[3]), (uint64_t)atoi(argv[4]));
    if (argc > 2 && !strcmp(argv[1], "show")) return show(argv[2]);
    memory();
    semaphores();
    if (make("/posixipc-self")) return 1;
    pid_t counters[3];
    for (int i = 0; i < 3; i++)
        if (!(counters[i] = fork())) _exit(count("/posixipc-self", 300, 0));
    for (int i = 0; i < 3; i++) CHILD(counters[i]);
    for (int i = 0; i < 2; i++)
        if (!(counters[i] = fork())) _exit(turns("/posixipc-self", (uint64_t)i, 100));
    for (int i = 0; i < 2; i++) CHILD(counters[i]);
    show("/posixipc-self");
    return check_end("posixipc");
}

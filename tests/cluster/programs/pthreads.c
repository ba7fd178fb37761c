// SPDX-License-Identifier: MIT OR Apache-2.0
// POSIX threads: locks, conditions, thread-local memory, joining, cancelling, signals to one thread,
// forks and ends of a process that has threads.
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>

enum { THREADS = 8, ROUNDS = 3000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static long counter, turn;
static __thread long own = 5;
static __thread char own_zero[3000];
static sem_t posts;
static volatile pid_t handled_by;
static volatile int cleaned;

static pid_t thread_id(void) { return (pid_t)syscall(SYS_gettid); }

static void *add(void *number) {
    CHECK(own == 5 && own_zero[2999] == 0);
    own = (long)number, own_zero[2999] = 1;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        long now = counter;
        if (i % 64 == 0) sched_yield();
        counter = now + 1;
        pthread_mutex_unlock(&lock);
    }
    return (void *)(own * 2);
}

static void check_locks(void) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (long i = 0; i < THREADS; i++) SAME(pthread_create(&threads[i], NULL, add, (void *)i), 0);
    for (long i = 0; i < THREADS; i++) {
        void *result;
        SAME(pthread_join(threads[i], &result), 0);
        SAME(result, i * 2);
    }
    SAME(counter, THREADS * ROUNDS);
    SAME(own, 5);
}

static void *take_turns(void *number) {
    for (long round = 0; round < 200; round++) {
        pthread_mutex_lock(&lock);
        while (turn != round * 4 + (long)number) pthread_cond_wait(&condition, &lock);
        turn++;
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void check_conditions(void) {
    pthread_t threads[4];
    for (long i = 0; i < 4; i++) pthread_create(&threads[i], NULL, take_turns, (void *)i);
    for (long i = 0; i < 4; i++) SAME(pthread_join(threads[i], NULL), 0);
    SAME(turn, 800);
    struct timespec start, when, end;
    clock_gettime(CLOCK_REALTIME, &when);
    clock_gettime(CLOCK_MONOTONIC, &start);
    when.tv_nsec += 30000000;
    if (when.tv_nsec >= 1000000000) when.tv_sec++, when.tv_nsec -= 1000000000;
    pthread_mutex_lock(&lock);
    SAME(pthread_cond_timedwait(&condition, &lock, &when), ETIMEDOUT);
    pthread_mutex_unlock(&lock);
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK((end.tv_sec - start.tv_sec) * 1000000000 + end.tv_nsec - start.tv_nsec > 29000000);
}

static void *post(void *unused) {
    sem_post(&posts);
    return unused;
}

// Threads come and go, joined and detached, and their stacks with them.
static void check_many(void) {
    sem_init(&posts, 0, 0);
    for (int i = 0; i < 150; i++) {
        pthread_t thread;
        SAME(pthread_create(&thread, NULL, post, &posts), 0);
        if (i % 2) pthread_detach(thread);
        else SAME(pthread_join(thread, NULL), 0);
        while (sem_wait(&posts)) {}
    }
    pthread_t all[50];
    for (int i = 0; i < 50; i++) SAME(pthread_create(&all[i], NULL, post, NULL), 0);
    for (int i = 0; i < 50; i++) SAME(pthread_join(all[i], NULL), 0);
}

static void handler(int number) { (void)number, handled_by = thread_id(); }

static void *wait_for_signal(void *id) {
    *(volatile pid_t *)id = thread_id();
    while (handled_by == 0) usleep(1000);
    return NULL;
}

static void check_signals(void) {
    signal(SIGUSR1, handler);
    pthread_t threads[3];
    volatile pid_t ids[3] = {0, 0, 0};
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, wait_for_signal, (void *)&ids[i]);
    while (!ids[0] || !ids[1] || !ids[2]) usleep(1000);
    SAME(pthread_kill(threads[1], SIGUSR1), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    SAME(handled_by, ids[1]);
    CHECK(ids[0] != ids[1] && ids[0] != getpid());
    FAILS(syscall(SYS_tgkill, getpid(), ids[1], 0), ESRCH);
    // A signal for the process goes to the one thread that does not block it.
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGUSR1);
    handled_by = 0, ids[0] = 0;
    pthread_create(&threads[0], NULL, wait_for_signal, (void *)&ids[0]);
    while (!ids[0]) usleep(1000);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR1);
    pthread_join(threads[0], NULL);
    SAME(handled_by, ids[0]);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void clean(void *unused) { (void)unused, cleaned = 1; }

static void *block_for_ever(void *ends) {
    char byte;
    pthread_cleanup_push(clean, NULL);
    if (read(*(int *)ends, &byte, 1) >= 0) cleaned = 2;
    pthread_cleanup_pop(0);
    return NULL;
}

static void check_cancel(void) {
    pthread_t thread;
    int ends[2];
    void *result;
    SAME(pipe(ends), 0);
    pthread_create(&thread, NULL, block_for_ever, ends);
    usleep(20000);
    SAME(pthread_cancel(thread), 0);
    SAME(pthread_join(thread, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    SAME(cleaned, 1);
    close(ends[0]), close(ends[1]);
}

static void *end_process(void *status) {
    usleep(5000);
    exit((int)(long)status);
}

static void *exec_program(void *path) {
    execl("/proc/self/exe", path, "exit", "23", (char *)NULL);
    execlp(path, path, "exit", "23", (char *)NULL);
    return NULL;
}

// Forks of a process with threads have one; exits and execs of one thread end the others.
static void check_processes(char *path) {
    pthread_t blocked, thread;
    int ends[2];
    SAME(pipe(ends), 0);
    pthread_create(&blocked, NULL, block_for_ever, ends);
    for (int i = 0; i < 4; i++) {
        pid_t child = fork();
        if (child == 0) {
            SAME(thread_id(), getpid());
            if (i == 0) CHILD_END();
            pthread_create(&thread, NULL, block_for_ever, ends);
            usleep(2000);
            if (i == 1) exit(22);
            pthread_create(&thread, NULL, i == 2 ? end_process : exec_program, i == 2 ? (void *)24 : path);
            for (;;) pause();
        }
        static const int status[] = {0, 22, 24, 23};
        SAME(wait_for(child), status[i] << 8);
    }
    pthread_cancel(blocked), pthread_join(blocked, NULL);
    close(ends[0]), close(ends[1]);
    // A thread forks, and another thread waits for the child.
    pid_t child = fork();
    if (child == 0) {
        pthread_create(&thread, NULL, end_process, (void *)0);
        pthread_exit(NULL);
    }
    CHILD(child);
}

int main(int argc, char **argv) {
    if (argc > 2) return atoi(argv[2]);
    check_locks();
    check_conditions();
    // A detached thread may live a little longer: it must not take what check_signals sends.
    sigset_t set, before;
    sigemptyset(&set), sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    check_many();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    check_signals();
    check_cancel();
    check_processes(argv[0]);
    return check_end("pthreads");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// System V shared memory, semaphores and message queues, as Linux has them.
#define _GNU_SOURCE
#include "check.h"
#include <stdint.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <time.h>

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
    struct seminfo *info;
};

struct message {
    long type;
    char text[9000];
};

enum { KEY = 0x4b520001, PAGE = 4096 };

static void interrupted(int number) { (void)number; }

static int operate(int id, unsigned short number, short value, short flags) {
    struct sembuf one = {number, value, flags};
    return semop(id, &one, 1);
}

static int value(int id, int number) { return semctl(id, number, GETVAL); }

static void pause_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) < 0) {}
}

static void keys(void) {
    int id = semget(KEY, 3, IPC_CREAT | IPC_EXCL | 0600);
    CHECK(id >= 0);
    FAILS(semget(KEY, 3, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
    SAME(semget(KEY, 3, 0600), id);
    SAME(semget(KEY, 0, 0), id);
    FAILS(semget(KEY, 4, 0600), EINVAL);
    FAILS(semget(KEY + 1, 3, 0600), ENOENT);
    FAILS(semget(IPC_PRIVATE, 0, 0600), EINVAL);
    int private = semget(IPC_PRIVATE, 1, 0600);
    CHECK(private >= 0 && private != id);
    SAME(semctl(private, 0, IPC_RMID), 0);
    FAILS(semctl(private, 0, GETVAL), EINVAL);
    FAILS(semctl(-1, 0, IPC_RMID), EINVAL);
    // The same key is another one for each kind.
    int queue = msgget(KEY, IPC_CREAT | 0600), memory = shmget(KEY, 5000, IPC_CREAT | 0600);
    CHECK(queue >= 0 && memory >= 0);
    SAME(msgctl(queue, IPC_RMID, 0), 0);
    SAME(shmctl(memory, IPC_RMID, 0), 0);
    FAILS(msgget(KEY, 0), ENOENT);
    SAME(semctl(id, 0, IPC_RMID), 0);
}

static void values(void) {
    int id = semget(IPC_PRIVATE, 3, 0640);
    unsigned short all[3] = {1, 2, 3}, found[3] = {0};
    union semun arg = {.array = all};
    SAME(semctl(id, 0, SETALL, arg), 0);
    SAME(value(id, 2), 3);
    arg.val = 7;
    SAME(semctl(id, 1, SETVAL, arg), 0);
    arg.array = found;
    SAME(semctl(id, 0, GETALL, arg), 0);
    CHECK(found[0] == 1 && found[1] == 7 && found[2] == 3);
    SAME(semctl(id, 1, GETPID), getpid());
    FAILS(semctl(id, 3, GETVAL), EINVAL);
    arg.val = 32768;
    FAILS(semctl(id, 0, SETVAL, arg), ERANGE);
    struct sembuf both[2] = {{0, -1, IPC_NOWAIT}, {1, -8, IPC_NOWAIT}};
    FAILS(semop(id, both, 2), EAGAIN);
    SAME(value(id, 0), 1);
    both[1].sem_op = -7;
    SAME(semop(id, both, 2), 0);
    SAME(value(id, 0), 0);
    SAME(value(id, 1), 0);
    FAILS(operate(id, 3, 1, 0), EFBIG);
    FAILS(semop(id, both, 0), EINVAL);
    FAILS(semop(id, (void *)8, 1), EFAULT);
    SAME(operate(id, 0, 32767, 0), 0);
    FAILS(operate(id, 0, 1, 0), ERANGE);
    struct semid_ds status;
    arg.buf = &status;
    SAME(semctl(id, 0, IPC_STAT, arg), 0);
    SAME(status.sem_nsems, 3);
    SAME(status.sem_perm.mode, 0640);
    SAME(status.sem_perm.uid, getuid());
    CHECK(labs(status.sem_otime - time(0)) < 60 && labs(status.sem_ctime - time(0)) < 60);
    status.sem_perm.mode = 0600;
    SAME(semctl(id, 0, IPC_SET, arg), 0);
    SAME(semctl(id, 0, IPC_STAT, arg), 0);
    SAME(status.sem_perm.mode, 0600);
    SAME(semctl(id, 0, IPC_RMID), 0);
    FAILS(operate(id, 0, 1, 0), EINVAL);
}

static void waits(void) {
    int id = semget(IPC_PRIVATE, 2, 0600);
    pid_t child = fork();
    if (!child) {
        SAME(operate(id, 0, -2, 0), 0);
        SAME(operate(id, 1, 1, 0), 0);
        CHILD_END();
    }
    while (semctl(id, 0, GETNCNT) != 1) pause_ms(5);
    SAME(operate(id, 0, 1, 0), 0);
    SAME(semctl(id, 0, GETNCNT), 1);
    SAME(operate(id, 0, 1, 0), 0);
    SAME(operate(id, 1, -1, 0), 0);
    CHILD(child);
    SAME(value(id, 0), 0);

    // Waits for zero.
    SAME(operate(id, 0, 1, 0), 0);
    child = fork();
    if (!child) {
        SAME(operate(id, 0, 0, 0), 0);
        CHILD_END();
    }
    while (semctl(id, 0, GETZCNT) != 1) pause_ms(5);
    SAME(operate(id, 0, -1, 0), 0);
    CHILD(child);

    struct timespec short_time = {0, 30000000}, wrong = {0, -1};
    struct sembuf less = {0, -1, 0};
    FAILS(semtimedop(id, &less, 1, &short_time), EAGAIN);
    FAILS(semtimedop(id, &less, 1, &wrong), EINVAL);

    // A signal's handler ends it, SA_RESTART or not.
    struct sigaction action = {.sa_handler = interrupted, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, 0);
    pid_t parent = getpid();
    child = fork();
    if (!child) {
        while (semctl(id, 0, GETNCNT) != 1) pause_ms(5);
        kill(parent, SIGUSR1);
        _exit(0);
    }
    FAILS(operate(id, 0, -1, 0), EINTR);
    CHILD(child);

    // The end of the set ends what waits at it.
    child = fork();
    if (!child) {
        FAILS(operate(id, 0, -1, 0), EIDRM);
        CHILD_END();
    }
    while (semctl(id, 0, GETNCNT) != 1) pause_ms(5);
    SAME(semctl(id, 0, IPC_RMID), 0);
    CHILD(child);
}

static void undo(void) {
    int id = semget(IPC_PRIVATE, 2, 0600);
    union semun arg = {.val = 3};
    semctl(id, 0, SETVAL, arg);
    pid_t child = fork();
    if (!child) {
        SAME(operate(id, 0, -2, SEM_UNDO), 0);
        SAME(operate(id, 1, 5, SEM_UNDO), 0);
        // A child of its own has nothing to undo.
        pid_t grandchild = fork();
        if (!grandchild) _exit(0);
        CHILD(grandchild);
        SAME(value(id, 0), 1);
        SAME(value(id, 1), 5);
        CHILD_END();
    }
    CHILD(child);
    SAME(value(id, 0), 3);
    SAME(value(id, 1), 0);
    // One that is killed while it holds what another waits for.
    child = fork();
    if (!child) {
        SAME(operate(id, 0, -3, SEM_UNDO), 0);
        for (;;) pause();
    }
    while (value(id, 0)) pause_ms(5);
    kill(child, SIGKILL);
    SAME(operate(id, 0, -3, 0), 0);
    SAME(wait_for(child), SIGKILL);
    // exec keeps it, the end does it.
    SAME(operate(id, 0, 1, 0), 0);
    child = fork();
    if (!child) {
        SAME(operate(id, 0, -1, SEM_UNDO), 0);
        execl("/proc/self/exe", "sysv", "exit", NULL);
        _exit(96);
    }
    SAME(wait_for(child), 0);
    SAME(value(id, 0), 1);
    semctl(id, 0, IPC_RMID);
}

static void queues(void) {
    static struct message out, in;
    int id = msgget(IPC_PRIVATE, 0600);
    CHECK(id >= 0);
    out.type = 0;
    FAILS(msgsnd(id, &out, 1, 0), EINVAL);
    out.type = 1;
    FAILS(msgsnd(id, &out, 8193, 0), EINVAL);
    FAILS(msgsnd(id, (void *)8, 1, 0), EFAULT);
    long types[5] = {3, 1, 2, 1, 9};
    for (int i = 0; i < 5; i++) {
        out.type = types[i];
        sprintf(out.text, "text %d", i);
        SAME(msgsnd(id, &out, strlen(out.text) + 1, 0), 0);
    }
    struct msqid_ds status;
    SAME(msgctl(id, IPC_STAT, &status), 0);
    SAME(status.msg_qnum, 5);
    SAME(status.__msg_cbytes, 35);
    SAME(status.msg_qbytes, 16384);
    SAME(status.msg_lspid, getpid());
    SAME(status.msg_lrpid, 0);
    SAME(msgrcv(id, &in, sizeof in.text, 2, 0), 7);
    CHECK(in.type == 2 && !strcmp(in.text, "text 2"));
    SAME(msgrcv(id, &in, sizeof in.text, -2, 0), 7);
    CHECK(in.type == 1 && !strcmp(in.text, "text 1"));
    SAME(msgrcv(id, &in, sizeof in.text, 3, MSG_EXCEPT), 7);
    CHECK(in.type == 1 && !strcmp(in.text, "text 3"));
    FAILS(msgrcv(id, &in, 3, 0, 0), E2BIG);
    SAME(msgrcv(id, &in, 4, 0, MSG_NOERROR), 4);
    CHECK(in.type == 3 && !memcmp(in.text, "text", 4));
    FAILS(msgrcv(id, &in, sizeof in.text, 7, IPC_NOWAIT), ENOMSG);
    SAME(msgrcv(id, &in, sizeof in.text, 0, 0), 7);
    SAME(in.type, 9);

    // Full.
    out.type = 5;
    SAME(msgsnd(id, &out, 8192, IPC_NOWAIT), 0);
    SAME(msgsnd(id, &out, 8192, IPC_NOWAIT), 0);
    FAILS(msgsnd(id, &out, 1, IPC_NOWAIT), EAGAIN);
    pid_t child = fork();
    if (!child) {
        out.type = 6;
        strcpy(out.text, "waited");
        SAME(msgsnd(id, &out, 7, 0), 0);
        CHILD_END();
    }
    pause_ms(50);
    SAME(msgrcv(id, &in, sizeof in.text, 0, 0), 8192);
    SAME(msgrcv(id, &in, sizeof in.text, 6, 0), 7);
    CHECK(!strcmp(in.text, "waited"));
    CHILD(child);
    SAME(msgrcv(id, &in, sizeof in.text, 0, 0), 8192);

    // Who waits for one type is not woken by another.
    child = fork();
    if (!child) {
        SAME(msgrcv(id, &in, sizeof in.text, 77, 0), 4);
        CHECK(!memcmp(in.text, "mine", 4));
        CHILD_END();
    }
    pause_ms(50);
    out.type = 76;
    strcpy(out.text, "not mine");
    SAME(msgsnd(id, &out, 9, 0), 0);
    out.type = 77;
    strcpy(out.text, "mine");
    SAME(msgsnd(id, &out, 4, 0), 0);
    CHILD(child);
    SAME(msgrcv(id, &in, sizeof in.text, 0, 0), 9);

    child = fork();
    if (!child) {
        FAILS(msgrcv(id, &in, sizeof in.text, 0, 0), EIDRM);
        CHILD_END();
    }
    pause_ms(50);
    SAME(msgctl(id, IPC_RMID, 0), 0);
    CHILD(child);
    FAILS(msgsnd(id, &out, 1, 0), EINVAL);
}

static unsigned long attached(int id) {
    struct shmid_ds status;
    SAME(shmctl(id, IPC_STAT, &status), 0);
    return status.shm_nattch;
}

static void memory(void) {
    int id = shmget(IPC_PRIVATE, 3 * PAGE - 5, 0600);
    CHECK(id >= 0);
    volatile uint32_t *first = shmat(id, 0, 0), *second = shmat(id, 0, SHM_RDONLY);
    CHECK(first != (void *)-1 && second != (void *)-1 && first != second);
    SAME(first[0], 0);
    first[700] = 4711;
    SAME(second[700], 4711);
    SAME(attached(id), 2);
    FAILS(shmat(id, (void *)(uintptr_t)first, 0), EINVAL);
    FAILS(shmat(id, (char *)(uintptr_t)first + 1, 0), EINVAL);
    struct shmid_ds status;
    SAME(shmctl(id, IPC_STAT, &status), 0);
    SAME(status.shm_segsz, 3 * PAGE - 5);
    SAME(status.shm_cpid, getpid());
    SAME(status.shm_lpid, getpid());
    pid_t child = fork();
    if (!child) {
        SAME(attached(id), 4);
        SAME(second[700], 4711);
        first[1400] = 4712;
        SAME(shmdt((void *)(uintptr_t)second), 0);
        SAME(attached(id), 3);
        CHILD_END();
    }
    CHILD(child);
    SAME(second[1400], 4712);
    SAME(attached(id), 2);
    SAME(shmdt((void *)(uintptr_t)second), 0);
    FAILS(shmdt((void *)(uintptr_t)second), EINVAL);
    SAME(attached(id), 1);

    // At a given place, and over what is there.
    char *place = mmap(0, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FAILS(shmat(id, place, 0), EINVAL);
    CHECK(shmat(id, place + 7, SHM_RND | SHM_REMAP) == place);
    SAME(((uint32_t *)place)[1400], 4712);
    SAME(shmdt(place), 0);

    // It goes with the last one that has it.
    SAME(shmctl(id, IPC_RMID, 0), 0);
    SAME(shmctl(id, IPC_STAT, &status), 0);
    CHECK(status.shm_perm.mode & SHM_DEST);
    first[0] = 1;
    SAME(shmdt((void *)(uintptr_t)first), 0);
    FAILS(shmctl(id, IPC_STAT, &status), EINVAL);
    FAILS(shmget(IPC_PRIVATE, 0, 0600), EINVAL);

    // exec lets go of it.
    id = shmget(IPC_PRIVATE, PAGE, 0600);
    child = fork();
    if (!child) {
        CHECK(shmat(id, 0, 0) != (void *)-1);
        execl("/proc/self/exe", "sysv", "exit", NULL);
        _exit(96);
    }
    SAME(wait_for(child), 0);
    SAME(attached(id), 0);
    SAME(shmctl(id, IPC_RMID, 0), 0);
}

static void lists(void) {
    struct shm_info used;
    int before = shmctl(0, SHM_INFO, (void *)&used);
    CHECK(before >= 0);
    int count = used.used_ids;
    int id = shmget(KEY, PAGE, IPC_CREAT | 0600);
    int highest = shmctl(0, SHM_INFO, (void *)&used), found = 0;
    SAME(used.used_ids, count + 1);
    struct shmid_ds status;
    for (int i = 0; i <= highest; i++)
        if (shmctl(i, SHM_STAT, &status) == id) found += status.shm_perm.__key == KEY;
    SAME(found, 1);
    SAME(shmctl(id, IPC_RMID, 0), 0);
    struct seminfo limits;
    union semun arg = {.info = &limits};
    CHECK(semctl(0, 0, IPC_INFO, arg) >= 0);
    SAME(limits.semvmx, 32767);
    struct msginfo messages;
    CHECK(msgctl(0, IPC_INFO, (void *)&messages) >= 0);
    SAME(messages.msgmax, 8192);
    SAME(messages.msgmnb, 16384);
}

// sysv counter ID MEMORY TIMES [MS]: adds 1 to a number in shared memory so often, under a semaphore that is given
// back if this program dies, and rests so many milliseconds each time.
static int counter(char **args) {
    int set = atoi(args[0]), times = atoi(args[2]), rest_ms = args[3] ? atoi(args[3]) : 0;
    volatile uint64_t *number = shmat(atoi(args[1]), 0, 0);
    if (number == (void *)-1) return perror("shmat"), 1;
    for (int i = 0; i < times; i++) {
        if (operate(set, 0, -1, SEM_UNDO)) return perror("semop"), 1;
        uint64_t old = number[0];
        number[1] = old;
        number[0] = old + 1;
        if (number[1] != old) return puts("two at a time"), 1;
        if (operate(set, 0, 1, SEM_UNDO)) return perror("semop"), 1;
        if (rest_ms) pause_ms(rest_ms);
    }
    return 0;
}

// sysv make: a set with one semaphore, 1, and memory; prints their ids. sysv show ID MEMORY: what they hold.
static int make(void) {
    int set = semget(KEY, 1, IPC_CREAT | 0600), memory = shmget(KEY, PAGE, IPC_CREAT | 0600);
    union semun arg = {.val = 1};
    if (set < 0 || memory < 0 || semctl(set, 0, SETVAL, arg)) return perror("make"), 1;
    return printf("%d %d\n", set, memory) < 0;
}

static int show(char **args) {
    volatile uint64_t *number = shmat(atoi(args[1]), 0, 0);
    if (number == (void *)-1) return perror("shmat"), 1;
    return printf("semaphore %d, counted %lu\n", value(atoi(args[0]), 0), (unsigned long)number[0]) < 0;
}

// sysv take ID: takes the semaphore and gives it back.
static int take(char **args) {
    if (operate(atoi(args[0]), 0, -1, 0) || operate(atoi(args[0]), 0, 1, 0)) return perror("semop"), 1;
    return puts("taken and given back") < 0;
}

// sysv echo KEY: answers each message of type 1 with one of type 2, until one is empty.
static int echo(char **args) {
    static struct message it;
    int queue = msgget((key_t)strtol(args[0], 0, 0), IPC_CREAT | 0600);
    for (;;) {
        ssize_t bytes = msgrcv(queue, &it, 4096, 1, 0);
        if (bytes < 0) return perror("msgrcv"), 1;
        if (!bytes) return msgctl(queue, IPC_RMID, 0);
        it.type = 2;
        if (msgsnd(queue, &it, (size_t)bytes, 0)) return perror("msgsnd"), 1;
    }
}

// sysv talk KEY TIMES: sends so many messages, and checks each answer.
static int talk(char **args) {
    static struct message it;
    int queue = msgget((key_t)strtol(args[0], 0, 0), IPC_CREAT | 0600), times = atoi(args[1]);
    for (int i = 0; i < times; i++) {
        it.type = 1;
        size_t bytes = (size_t)(1 + i * 37 % 4000);
        memset(it.text, 'a' + i % 26, bytes);
        if (msgsnd(queue, &it, bytes, 0)) return perror("msgsnd"), 1;
        memset(&it, 0, sizeof it);
        if (msgrcv(queue, &it, 4096, 2, 0) != (ssize_t)bytes) return perror("msgrcv"), 1;
        for (size_t at = 0; at < bytes; at++)
            if (it.text[at] != 'a' + i % 26) return puts("wrong"), 1;
    }
    it.type = 1;
    if (msgsnd(queue, &it, 0, 0)) return perror("msgsnd"), 1;
    return printf("%d answers, nothing wrong\n", times) < 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "exit")) return 0;
    if (argc > 1 && !strcmp(argv[1], "make")) return make();
    if (argc > 3 && !strcmp(argv[1], "show")) return show(argv + 2);
    if (argc > 4 && !strcmp(argv[1], "counter")) return counter(argv + 2);
    if (argc > 2 && !strcmp(argv[1], "take")) return take(argv + 2);
    if (argc > 2 && !strcmp(argv[1], "echo")) return echo(argv + 2);
    if (argc > 3 && !strcmp(argv[1], "talk")) return talk(argv + 2);
    keys();
    values();
    waits();
    undo();
    queues();
    memory();
    lists();
    return check_end("sysv");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
// Signals: handlers, masks, EINTR and restart, alternate stack, faults, default actions, alarm.
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t seen, on_stack;
static sigjmp_buf back;
static char stack[64 << 10];
static void *volatile address;

static void note(int number) { seen = number; }

static void fault(int number, siginfo_t *info, void *context) {
    (void)context;
    char here;
    on_stack = &here > stack && &here < stack + sizeof stack;
    address = info->si_addr;
    siglongjmp(back, number);
}

static void set(int number, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(number, &action, NULL);
}

static void check_read(const char *what, int flags) {
    int ends[2], done;
    if (pipe(ends)) return;
    set(SIGALRM, note, flags);
    seen = 0;
    struct itimerval soon = {.it_value = {.tv_usec = 50000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    pid_t child = fork();
    if (child == 0) {
        usleep(200000);
        done = (int)write(ends[1], "x", 1);
        _exit(done != 1);
    }
    char byte;
    ssize_t got = read(ends[0], &byte, 1);
    printf("%s: %s, handler %s\n", what, got == 1 ? "data" : errno == EINTR ? "EINTR" : "error",
           seen == SIGALRM ? "ran" : "did not run");
    waitpid(child, &done, 0);
    close(ends[0]), close(ends[1]);
}

static void check_faults(void) {
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alternate, NULL);
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    int numbers[] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS};
    for (int i = 0; i < 4; i++) sigaction(numbers[i], &action, NULL);
    volatile int zero = 0, *volatile bad = (int *)0x123000;
    if (!sigsetjmp(back, 1)) *bad = 1;
    printf("SIGSEGV at %p, own stack %d\n", address, on_stack);
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int number = sigsetjmp(back, 1);
    if (!number) *page = 1;
    printf("read-only: %s, address %s\n", strsignal(number), address == page ? "right" : "wrong");
    number = sigsetjmp(back, 1);
    if (!number) printf("%d", 100 / zero);
    puts(strsignal(number));
    number = sigsetjmp(back, 1);
    if (!number) __asm__ volatile("ud2");
    puts(strsignal(number));
}

static void check_child(const char *what, int number) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        signal(number, SIG_DFL);
        raise(number);
        _exit(7);
    }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) printf("%s: killed by %d\n", what, WTERMSIG(status));
    else printf("%s: exit %d\n", what, WEXITSTATUS(status));
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    set(SIGUSR1, note, 0);
    raise(SIGUSR1);
    printf("handler %s\n", seen == SIGUSR1 ? "ran" : "did not run");
    sigset_t mask, pending, none;
    sigemptyset(&none), sigemptyset(&mask), sigaddset(&mask, SIGUSR1);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    seen = 0;
    raise(SIGUSR1);
    sigpending(&pending);
    printf("blocked: seen %d, pending %d\n", (int)seen, sigismember(&pending, SIGUSR1));
    sigsuspend(&none);
    printf("after sigsuspend: seen %s\n", seen == SIGUSR1 ? "yes" : "no");
    check_read("without SA_RESTART", 0);
    check_read("with SA_RESTART", SA_RESTART);
    check_faults();
    check_child("SIGTERM", SIGTERM);
    check_child("SIGKILL", SIGKILL);
    check_child("SIGCHLD", SIGCHLD);
    check_child("SIGABRT", SIGABRT);
    return 0;
}

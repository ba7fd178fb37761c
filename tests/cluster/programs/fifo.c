// SPDX-License-Identifier: MIT OR Apache-2.0
// FIFOs: making, opens that wait and that do not, ends, signals, poll and epoll, names that go; `fifo send NAME N` and
// `fifo take NAME N` are the two ends of what two nodes do.
#define _GNU_SOURCE
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const char *name = "a-fifo";
static char bytes[70000];

static int readable(int fd, int wait_ms) {
    struct pollfd looks = {.fd = fd, .events = POLLIN};
    int found = poll(&looks, 1, wait_ms);
    return found == 1 ? looks.revents : found;
}

static void check_names(void) {
    struct stat status;
    umask(022);
    SAME(mkfifo(name, 0666), 0);
    FAILS(mkfifo(name, 0666), EEXIST);
    FAILS(mkfifo("none/fifo", 0666), ENOENT);
    FAILS(mkfifo("a-fifo/fifo", 0666), ENOTDIR);
    SAME(stat(name, &status), 0);
    SAME(status.st_mode, S_IFIFO | 0644);
    SAME(status.st_size, 0);
    SAME(chmod(name, 0600), 0);
    SAME(mknod("b-fifo", S_IFIFO | 0600, 0), 0);
    SAME(rename("b-fifo", "c-fifo"), 0);
    SAME(link("c-fifo", "b-fifo"), 0);
    SAME(stat("b-fifo", &status), 0);
    SAME(status.st_nlink, 2);
    SAME(unlink("b-fifo") | unlink("c-fifo"), 0);
    FAILS(truncate(name, 0), EINVAL);
    FAILS(open("a-fifo/", O_RDONLY | O_NONBLOCK), ENOTDIR);
    FAILS(open(name, O_RDONLY | O_CREAT | O_EXCL, 0600), EEXIST);
    DIR *folder = opendir(".");
    struct dirent *entry;
    int type = -1;
    while (folder && (entry = readdir(folder)))
        if (!strcmp(entry->d_name, name)) type = entry->d_type;
    SAME(type, DT_FIFO);
    closedir(folder);
}

static void check_without_waiting(void) {
    FAILS(open(name, O_WRONLY | O_NONBLOCK), ENXIO);
    int reader = open(name, O_RDONLY | O_NONBLOCK);
    CHECK(reader >= 0);
    SAME(read(reader, bytes, 1), 0);
    SAME(readable(reader, 0), 0);
    int writer = open(name, O_WRONLY | O_NONBLOCK);
    FAILS(read(reader, bytes, 1), EAGAIN);
    FAILS(read(writer, bytes, 1), EBADF);
    FAILS(write(reader, bytes, 1), EBADF);
    FAILS(lseek(reader, 0, SEEK_CUR), ESPIPE);
    SAME(write(writer, "abc", 3), 3);
    int count = 0;
    SAME(ioctl(reader, FIONREAD, &count), 0);
    SAME(count, 3);
    SAME(readable(reader, 0), POLLIN);
    SAME(read(reader, bytes, 9), 3);
    struct stat status;
    SAME(fstat(reader, &status), 0);
    CHECK(S_ISFIFO(status.st_mode));
    close(writer);
    SAME(readable(reader, 0), POLLHUP);
    SAME(read(reader, bytes, 1), 0);
    writer = open(name, O_WRONLY);
    close(reader);
    signal(SIGPIPE, SIG_IGN);
    FAILS(write(writer, "x", 1), EPIPE);
    close(writer);
    int both = open(name, O_RDWR);
    SAME(write(both, "ab", 2), 2);
    SAME(read(both, bytes, 9), 2);
    close(both);
}

static volatile int alarms;
static void on_alarm(int number) { (void)number, alarms++; }

static void check_waiting(void) {
    pid_t child = fork();
    if (child == 0) {
        usleep(100000);
        int writer = open(name, O_WRONLY);
        SAME(write(writer, "late", 4), 4);
        CHILD_END();
    }
    int reader = open(name, O_RDONLY);
    CHECK(reader >= 0);
    SAME(read(reader, bytes, 9), 4);
    CHILD(child);
    SAME(read(reader, bytes, 9), 0);
    close(reader);
    child = fork();
    if (child == 0) {
        usleep(100000);
        reader = open(name, O_RDONLY);
        SAME(read(reader, bytes, 9), 5);
        CHILD_END();
    }
    int writer = open(name, O_WRONLY);
    SAME(write(writer, "early", 5), 5);
    CHILD(child);
    close(writer);
    // A signal ends an open, and nothing is left of it.
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    alarm(1);
    FAILS(open(name, O_RDONLY), EINTR);
    SAME(alarms, 1);
    FAILS(open(name, O_WRONLY | O_NONBLOCK), ENXIO);
    child = fork();
    if (child == 0) open(name, O_WRONLY), _exit(0);
    usleep(100000);
    kill(child, SIGKILL);
    SAME(wait_for(child), SIGKILL);
    reader = open(name, O_RDONLY | O_NONBLOCK);
    SAME(readable(reader, 0), 0);
    close(reader);
}

static void check_unlinked(void) {
    int reader = open(name, O_RDONLY | O_NONBLOCK), writer = open(name, O_WRONLY), at = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    SAME(epoll_ctl(at, EPOLL_CTL_ADD, reader, &event), 0);
    SAME(unlink(name), 0);
    FAILS(open(name, O_RDONLY | O_NONBLOCK), ENOENT);
    SAME(mkfifo(name, 0600), 0);
    FAILS(open(name, O_WRONLY | O_NONBLOCK), ENXIO);
    SAME(epoll_wait(at, &event, 1, 0), 0);
    SAME(write(writer, "still", 5), 5);
    SAME(epoll_wait(at, &event, 1, 0), 1);
    SAME(event.events, EPOLLIN);
    SAME(read(reader, bytes, 9), 5);
    close(writer);
    SAME(epoll_wait(at, &event, 1, 0), 1);
    SAME(event.events, EPOLLHUP);
    close(reader), close(at);
    SAME(unlink(name), 0);
}

static int send_all(const char *to, int count) {
    int fd = open(to, O_WRONLY);
    for (int i = 0; i < count; i++)
        if (write(fd, &i, sizeof i) != sizeof i) return printf("not sent: %d\n", errno), 1;
    return 0;
}

static int take_all(const char *from, int count) {
    int fd = open(from, O_RDONLY), wrong = 0, number, taken = 0;
    while (read(fd, &number, sizeof number) == sizeof number) wrong += number != taken++;
    printf("%d of %d taken, %d wrong\n", taken, count, wrong);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 3 && !strcmp(argv[1], "send")) return send_all(argv[2], atoi(argv[3]));
    if (argc > 3 && !strcmp(argv[1], "take")) return take_all(argv[2], atoi(argv[3]));
    unlink(name);
    check_names();
    check_without_waiting();
    check_waiting();
    check_unlinked();
    return check_end("fifo");
}

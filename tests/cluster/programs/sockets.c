// SPDX-License-Identifier: MIT OR Apache-2.0
// Unix sockets: pairs, names, connections, messages, waiting without blocking, credentials. With an argument it
// is one side of what two nodes do: `serve NAME N`, `ask NAME N`; `hand NAME`, `fetch NAME`.
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>

static char buffer[300000];

// An abstract name.
static socklen_t name(struct sockaddr_un *at, const char *text) {
    memset(at, 0, sizeof *at);
    at->sun_family = AF_UNIX;
    memcpy(at->sun_path + 1, text, strlen(text));
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(text));
}

static int option(int fd, int number) {
    int value = -1;
    socklen_t len = sizeof value;
    SAME(getsockopt(fd, SOL_SOCKET, number, &value, &len), 0);
    SAME(len, sizeof value);
    return value;
}

static int ready(int fd) {
    struct pollfd wait = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    CHECK(poll(&wait, 1, 0) >= 0);
    return wait.revents;
}

static void check_stream(void) {
    int ends[2], count = 0;
    SAME(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    SAME(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
    SAME(write(ends[0], "hello ", 6), 6);
    SAME(send(ends[0], "world", 5, 0), 5);
    SAME(ioctl(ends[1], FIONREAD, &count), 0);
    SAME(count, 11);
    SAME(recv(ends[1], buffer, 4, MSG_PEEK), 4);
    SAME(read(ends[1], buffer, 100), 11);
    SAME(memcmp(buffer, "hello world", 11), 0);
    FAILS(recv(ends[1], buffer, 1, MSG_DONTWAIT), EAGAIN);
    struct iovec parts[2] = {{"ab", 2}, {"cde", 3}}, to[2] = {{buffer, 1}, {buffer + 10, 20}};
    SAME(writev(ends[1], parts, 2), 5);
    SAME(readv(ends[0], to, 2), 5);
    CHECK(buffer[0] == 'a' && memcmp(buffer + 10, "bcde", 4) == 0);
    FAILS(lseek(ends[0], 0, SEEK_CUR), ESPIPE);
    struct stat status;
    SAME(fstat(ends[0], &status), 0);
    CHECK(S_ISSOCK(status.st_mode));
    char path[64], target[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    CHECK(readlink(path, target, sizeof target - 1) > 0);
    SAME(strncmp(target, "socket:[", 8), 0);
    SAME(option(ends[0], SO_TYPE), SOCK_STREAM);
    SAME(option(ends[0], SO_DOMAIN), AF_UNIX);
    SAME(option(ends[0], SO_PROTOCOL), 0);
    SAME(option(ends[0], SO_ERROR), 0);
    SAME(option(ends[0], SO_ACCEPTCONN), 0);
    struct ucred who;
    socklen_t len = sizeof who;
    SAME(getsockopt(ends[0], SOL_SOCKET, SO_PEERCRED, &who, &len), 0);
    CHECK(who.pid == getpid() && who.uid == getuid() && who.gid == getgid());
    FAILS(getsockopt(ends[0], SOL_SOCKET, 9999, &count, &len), ENOPROTOOPT);
    SAME(ready(ends[0]), POLLOUT);
    SAME(write(ends[0], "x", 1), 1);
    SAME(ready(ends[1]), POLLIN | POLLOUT);
    SAME(shutdown(ends[0], SHUT_WR), 0);
    SAME(ready(ends[1]), POLLIN | POLLOUT | POLLRDHUP);
    FAILS(send(ends[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    SAME(read(ends[1], buffer, 9), 1);
    SAME(read(ends[1], buffer, 9), 0);
    SAME(write(ends[1], "still", 5), 5);
    close(ends[1]);
    SAME(read(ends[0], buffer, 9), 5);
    SAME(ready(ends[0]), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    SAME(read(ends[0], buffer, 9), 0);
    close(ends[0]);
    // Bytes that were not read reset the other end.
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    SAME(write(ends[0], "x", 1), 1);
    close(ends[1]);
    FAILS(read(ends[0], buffer, 9), ECONNRESET);
    FAILS(write(ends[0], "x", 1), EPIPE);
    close(ends[0]);
}

static void check_sigpipe(void) {
    pid_t child = fork();
    if (child == 0) {
        int ends[2];
        signal(SIGPIPE, SIG_DFL);
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0)
            close(ends[0]), (void)!write(ends[1], "x", 1);
        _exit(1);
    }
    SAME(wait_for(child), SIGPIPE);
}

static void check_messages(int type) {
    int ends[2];
    SAME(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, ends), 0);
    SAME(option(ends[0], SO_TYPE), type);
    SAME(send(ends[0], "one", 3, 0), 3);
    SAME(write(ends[0], "second", 6), 6);
    struct iovec parts[3] = {{"thi", 3}, {NULL, 0}, {"rd", 2}};
    SAME(writev(ends[0], parts, 3), 5);
    SAME(recv(ends[1], buffer, 100, MSG_PEEK), 3);
    SAME(recv(ends[1], buffer, 100, 0), 3);
    struct iovec to = {buffer, 4};
    struct msghdr header = {.msg_iov = &to, .msg_iovlen = 1};
    SAME(recvmsg(ends[1], &header, 0), 4);
    SAME(header.msg_flags & MSG_TRUNC, MSG_TRUNC);
    SAME(header.msg_controllen, 0);
    SAME(recv(ends[1], buffer, 2, MSG_TRUNC), 5);
    FAILS(read(ends[1], buffer, 9), EAGAIN);
    SAME(send(ends[0], "", 0, 0), 0);
    SAME(ready(ends[1]) & POLLIN, POLLIN);
    SAME(recv(ends[1], buffer, 9, 0), 0);
    close(ends[0]);
    close(ends[1]);
}

static void check_names(void) {
    struct sockaddr_un at, got;
    socklen_t len = name(&at, "korrigan-names"), got_len = sizeof got;
    int a = socket(AF_UNIX, SOCK_STREAM, 0), b = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(a >= 0 && b >= 0);
    SAME(ready(a), POLLOUT | POLLHUP);
    SAME(getsockname(a, (void *)&got, &got_len), 0);
    SAME(got_len, 2);
    FAILS(getpeername(a, (void *)&got, &got_len), ENOTCONN);
    FAILS(listen(a, 1), EINVAL);
    FAILS(accept(a, NULL, NULL), EINVAL);
    FAILS(read(a, buffer, 1), EINVAL);
    FAILS(write(a, buffer, 1), ENOTCONN);
    FAILS(connect(a, (void *)&at, len), ECONNREFUSED);
    FAILS(bind(a, (void *)&at, 1), EINVAL);
    SAME(bind(a, (void *)&at, len), 0);
    FAILS(bind(b, (void *)&at, len), EADDRINUSE);
    FAILS(bind(a, (void *)&at, len), EINVAL);
    FAILS(connect(b, (void *)&at, len), ECONNREFUSED);
    got_len = sizeof got;
    SAME(getsockname(a, (void *)&got, &got_len), 0);
    CHECK(got_len == len && memcmp(&got, &at, len) == 0);
    int d = socket(AF_UNIX, SOCK_DGRAM, 0);
    FAILS(connect(d, (void *)&at, len), ECONNREFUSED);
    close(a);
    SAME(bind(b, (void *)&at, len), 0);
    at.sun_family = AF_UNIX;
    SAME(bind(d, (void *)&at, sizeof at.sun_family), 0);
    got_len = sizeof got;
    SAME(getsockname(d, (void *)&got, &got_len), 0);
    CHECK(got_len == 8 && got.sun_path[0] == 0);
    close(b), close(d);
    FAILS(socket(AF_UNIX, 77, 0), EINVAL);
    FAILS(socket(AF_UNIX, SOCK_STREAM, 5), EPROTONOSUPPORT);
    int ends[2];
    SAME(pipe(ends), 0);
    FAILS(getsockname(ends[0], (void *)&got, &got_len), ENOTSOCK);
    FAILS(getsockname(99, (void *)&got, &got_len), EBADF);
    close(ends[0]), close(ends[1]);
}

static void check_connections(int type) {
    struct sockaddr_un at, got;
    socklen_t len = name(&at, "korrigan-server"), got_len = sizeof got;
    int server = socket(AF_UNIX, type, 0);
    SAME(bind(server, (void *)&at, len), 0);
    SAME(listen(server, 0), 0);
    SAME(option(server, SO_ACCEPTCONN), 1);
    int client = socket(AF_UNIX, type, 0);
    SAME(connect(client, (void *)&at, len), 0);
    SAME(ready(server), POLLIN);
    SAME(write(client, "early", 5), 5);
    // As many as may wait and one do wait already.
    int other = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
    FAILS(connect(other, (void *)&at, len), EAGAIN);
    close(other);
    pid_t child = fork();
    if (child == 0) {
        int late = socket(AF_UNIX, type, 0);
        SAME(connect(late, (void *)&at, len), 0);
        SAME(write(late, "late", 4), 4);
        SAME(read(late, buffer, 9), 3);
        CHILD_END();
    }
    usleep(50000);
    int end = accept4(server, (void *)&got, &got_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK(end >= 0);
    SAME(got_len, 2);
    CHECK(fcntl(end, F_GETFL) & O_NONBLOCK);
    SAME(fcntl(end, F_GETFD), FD_CLOEXEC);
    SAME(read(end, buffer, 9), 5);
    got_len = sizeof got;
    SAME(getpeername(client, (void *)&got, &got_len), 0);
    CHECK(got_len == len && memcmp(&got, &at, len) == 0);
    struct ucred who;
    socklen_t who_len = sizeof who;
    SAME(getsockopt(end, SOL_SOCKET, SO_PEERCRED, &who, &who_len), 0);
    SAME(who.pid, getpid());
    int second = accept(server, NULL, NULL);
    SAME(read(second, buffer, 9), 4);
    who_len = sizeof who;
    SAME(getsockopt(second, SOL_SOCKET, SO_PEERCRED, &who, &who_len), 0);
    SAME(who.pid, child);
    SAME(write(second, "bye", 3), 3);
    CHILD(child);
    FAILS(connect(client, (void *)&at, len), EISCONN);
    SAME(read(second, buffer, 9), 0);
    close(second), close(client);
    SAME(read(end, buffer, 9), 0);
    close(end);
    // What waits when the server closes is reset.
    client = socket(AF_UNIX, type, 0);
    SAME(connect(client, (void *)&at, len), 0);
    close(server);
    FAILS(read(client, buffer, 9), ECONNRESET);
    close(client);
}

static void check_datagrams(void) {
    struct sockaddr_un at, from, got;
    socklen_t len = name(&at, "korrigan-d"), from_len = name(&from, "korrigan-c"), got_len = sizeof got;
    int server = socket(AF_UNIX, SOCK_DGRAM, 0), client = socket(AF_UNIX, SOCK_DGRAM, 0);
    SAME(bind(server, (void *)&at, len), 0);
    SAME(sendto(client, "anonymous", 9, 0, (void *)&at, len), 9);
    SAME(recvfrom(server, buffer, 100, 0, (void *)&got, &got_len), 9);
    SAME(got_len, 0);
    SAME(bind(client, (void *)&from, from_len), 0);
    SAME(sendto(client, "named", 5, 0, (void *)&at, len), 5);
    got_len = sizeof got;
    SAME(recvfrom(server, buffer, 100, 0, (void *)&got, &got_len), 5);
    CHECK(got_len == from_len && memcmp(&got, &from, from_len) == 0);
    FAILS(write(client, "x", 1), ENOTCONN);
    SAME(connect(client, (void *)&at, len), 0);
    SAME(write(client, "connected", 9), 9);
    SAME(sendto(server, "answer", 6, 0, (void *)&got, got_len), 6);
    SAME(read(client, buffer, 9), 6);
    SAME(read(server, buffer, 100), 9);
    FAILS(accept(server, NULL, NULL), EOPNOTSUPP);
    FAILS(listen(server, 1), EOPNOTSUPP);
    close(server);
    FAILS(write(client, "x", 1), ECONNREFUSED);
    close(client);
}

static void check_paths(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "socket-of-a-test"}, got;
    socklen_t len = sizeof at, got_len = sizeof got;
    struct stat status;
    unlink(at.sun_path);
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    FAILS(connect(client, (void *)&at, len), ENOENT);
    umask(022);
    SAME(bind(server, (void *)&at, len), 0);
    SAME(stat(at.sun_path, &status), 0);
    CHECK(S_ISSOCK(status.st_mode) && (status.st_mode & 0777) == 0755);
    FAILS(open(at.sun_path, O_RDWR), ENXIO);
    int other = socket(AF_UNIX, SOCK_STREAM, 0);
    FAILS(bind(other, (void *)&at, len), EADDRINUSE);
    FAILS(connect(client, (void *)&at, len), ECONNREFUSED);
    SAME(listen(server, 2), 0);
    SAME(connect(client, (void *)&at, len), 0);
    int end = accept(server, NULL, NULL);
    SAME(getsockname(server, (void *)&got, &got_len), 0);
    SAME(got_len, 2 + strlen(at.sun_path) + 1);
    SAME(strcmp(got.sun_path, at.sun_path), 0);
    // Without its name a connection goes on, but nobody finds the server any more.
    SAME(unlink(at.sun_path), 0);
    SAME(write(client, "on", 2), 2);
    SAME(read(end, buffer, 9), 2);
    FAILS(connect(other, (void *)&at, len), ENOENT);
    int file = open(at.sun_path, O_CREAT | O_RDWR, 0666);
    FAILS(connect(other, (void *)&at, len), ECONNREFUSED);
    FAILS(bind(other, (void *)&at, len), EADDRINUSE);
    unlink(at.sun_path), close(file);
    int d = socket(AF_UNIX, SOCK_DGRAM, 0), from = socket(AF_UNIX, SOCK_DGRAM, 0);
    SAME(bind(d, (void *)&at, len), 0);
    SAME(sendto(from, "hi", 2, 0, (void *)&at, len), 2);
    SAME(read(d, buffer, 9), 2);
    FAILS(connect(other, (void *)&at, len), EPROTOTYPE);
    close(d);
    // The name is there, and nobody has it.
    FAILS(sendto(from, "hi", 2, 0, (void *)&at, len), ECONNREFUSED);
    SAME(unlink(at.sun_path), 0);
    close(from), close(server), close(client), close(end), close(other);
}

static void check_credentials(void) {
    int ends[2], on = 1;
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    SAME(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
    SAME(option(ends[1], SO_PASSCRED), 1);
    SAME(write(ends[0], "who", 3), 3);
    char control[200];
    struct iovec to = {buffer, 100};
    struct msghdr header = {
        .msg_iov = &to, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    SAME(recvmsg(ends[1], &header, 0), 3);
    struct cmsghdr *it = CMSG_FIRSTHDR(&header);
    CHECK(it && it->cmsg_level == SOL_SOCKET && it->cmsg_type == SCM_CREDENTIALS);
    struct ucred who;
    if (it) memcpy(&who, CMSG_DATA(it), sizeof who), SAME(who.pid, getpid());
    SAME(write(ends[0], "who", 3), 3);
    header.msg_controllen = 4;
    SAME(recvmsg(ends[1], &header, 0), 3);
    SAME(header.msg_flags & MSG_CTRUNC, MSG_CTRUNC);
    close(ends[0]), close(ends[1]);
}

// Sends descriptors with one byte.
static ssize_t give(int fd, const int *given, int count) {
    char control[CMSG_SPACE(sizeof(int) * 16)] = "";
    struct iovec from = {"x", 1};
    struct msghdr header = {.msg_iov = &from, .msg_iovlen = 1, .msg_control = control};
    header.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
    struct cmsghdr *it = CMSG_FIRSTHDR(&header);
    it->cmsg_level = SOL_SOCKET, it->cmsg_type = SCM_RIGHTS;
    it->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
    memcpy(CMSG_DATA(it), given, sizeof(int) * (size_t)count);
    return sendmsg(fd, &header, 0);
}

// Receives at most `room` of them; how many there are.
static int take(int fd, int *taken, int room, int *flags) {
    char control[CMSG_SPACE(sizeof(int) * 16)];
    struct iovec to = {buffer, 100};
    struct msghdr header = {.msg_iov = &to, .msg_iovlen = 1, .msg_control = control};
    header.msg_controllen = CMSG_LEN(sizeof(int) * (size_t)room);
    SAME(recvmsg(fd, &header, *flags), 1);
    *flags = header.msg_flags;
    struct cmsghdr *it = CMSG_FIRSTHDR(&header);
    if (!it || it->cmsg_type != SCM_RIGHTS) return 0;
    int count = (int)((it->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(taken, CMSG_DATA(it), sizeof(int) * (size_t)count);
    return count;
}

static void check_descriptors(void) {
    int ends[2], pipes[2], got[16], flags = MSG_CMSG_CLOEXEC;
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    SAME(pipe(pipes), 0);
    SAME(give(ends[0], pipes, 2), 1);
    // In flight they are open, whoever closes them.
    close(pipes[0]), close(pipes[1]);
    SAME(take(ends[1], got, 16, &flags), 2);
    SAME(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    SAME(write(got[1], "through", 7), 7);
    SAME(read(got[0], buffer, 9), 7);
    close(got[1]);
    SAME(read(got[0], buffer, 9), 0);
    close(got[0]);
    // A message that nobody receives lets go of them.
    SAME(pipe(pipes), 0);
    SAME(give(ends[0], pipes + 1, 1), 1);
    close(pipes[1]);
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    FAILS(read(pipes[0], buffer, 1), EAGAIN);
    SAME(read(ends[1], buffer, 1), 1);
    // It may take a moment.
    struct pollfd wait = {.fd = pipes[0], .events = POLLIN};
    SAME(poll(&wait, 1, 5000), 1);
    SAME(read(pipes[0], buffer, 1), 0);
    int three[3] = {ends[0], ends[1], pipes[0]};
    SAME(give(ends[0], three, 3), 1);
    flags = 0;
    SAME(take(ends[1], got, 1, &flags), 1);
    SAME(flags & MSG_CTRUNC, MSG_CTRUNC);
    close(got[0]);
    int bad = 99;
    FAILS(give(ends[0], &bad, 1), EBADF);
    close(pipes[0]);
    // To a child that has nothing else.
    SAME(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        close(pipes[0]), close(pipes[1]), close(ends[0]);
        flags = 0;
        SAME(take(ends[1], got, 16, &flags), 1);
        SAME(write(got[0], "child", 5), 5);
        CHILD_END();
    }
    SAME(give(ends[0], pipes + 1, 1), 1);
    close(pipes[1]);
    CHILD(child);
    SAME(read(pipes[0], buffer, 9), 5);
    SAME(read(pipes[0], buffer, 9), 0);
    close(pipes[0]), close(ends[0]), close(ends[1]);
}

static void check_waiting(void) {
    int ends[2];
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    memset(buffer, 'x', sizeof buffer);
    pid_t child = fork();
    if (child == 0) {
        // More than fits at once, both ways of reading.
        size_t total = 0;
        usleep(50000);
        SAME(recv(ends[1], buffer, 100000, MSG_WAITALL), 100000);
        for (ssize_t got; total < 200000 && (got = read(ends[1], buffer, 7777)) > 0;) total += (size_t)got;
        SAME(total, 200000);
        usleep(50000);
        SAME(write(ends[1], "done", 4), 4);
        CHILD_END();
    }
    SAME(write(ends[0], buffer, 300000), 300000);
    struct pollfd wait = {.fd = ends[0], .events = POLLIN};
    SAME(poll(&wait, 1, 5000), 1);
    SAME(read(ends[0], buffer, 9), 4);
    CHILD(child);
    SAME(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    ssize_t sent, all = 0;
    while ((sent = write(ends[0], buffer, 5000)) > 0) all += sent;
    CHECK(sent == -1 && errno == EAGAIN && all > 20000);
    SAME(ready(ends[0]) & POLLOUT, 0);
    close(ends[0]), close(ends[1]);
}

// A server that answers N connections, each with what it asked: `n` is told as `n + 1`.
static int serve(const char *text, int count) {
    struct sockaddr_un at;
    socklen_t len = name(&at, text);
    int server = socket(AF_UNIX, SOCK_STREAM, 0), wrong = 0;
    if (bind(server, (void *)&at, len) || listen(server, 5)) return perror("serve"), 1;
    for (int i = 0; i < count; i++) {
        int end = accept(server, NULL, NULL);
        uint64_t number;
        if (end < 0) return perror("accept"), 1;
        while (read(end, &number, sizeof number) == sizeof number) {
            number++;
            wrong += write(end, &number, sizeof number) != sizeof number;
        }
        close(end);
    }
    printf("served %d, %d wrong\n", count, wrong);
    return 0;
}

static int ask(const char *text, int count) {
    struct sockaddr_un at;
    socklen_t len = name(&at, text);
    int client = socket(AF_UNIX, SOCK_STREAM, 0), wrong = 0;
    // The server may not be there yet.
    for (int tries = 0; connect(client, (void *)&at, len); tries++) {
        if (errno != ECONNREFUSED || tries == 200) return perror("connect"), 1;
        usleep(100000);
    }
    for (uint64_t i = 0; i < (uint64_t)count; i++) {
        uint64_t number = i * 3;
        if (write(client, &number, sizeof number) != sizeof number) return perror("write"), 1;
        if (recv(client, &number, sizeof number, MSG_WAITALL) != sizeof number) return perror("read"), 1;
        wrong += number != i * 3 + 1;
    }
    printf("asked %d, %d wrong\n", count, wrong);
    return 0;
}

// Hands the writing end of a pipe to whoever connects, and prints what comes through it.
static int hand(const char *text) {
    struct sockaddr_un at;
    socklen_t len = name(&at, text);
    int server = socket(AF_UNIX, SOCK_STREAM, 0), pipes[2];
    if (bind(server, (void *)&at, len) || listen(server, 5) || pipe(pipes)) return perror("hand"), 1;
    int end = accept(server, NULL, NULL);
    if (end < 0 || give(end, pipes + 1, 1) != 1) return perror("give"), 1;
    close(pipes[1]);
    ssize_t got;
    while ((got = read(pipes[0], buffer, sizeof buffer)) > 0) check_print(buffer, (int)got);
    if (got < 0) return perror("read"), 1;
    return read(end, buffer, 1) != 0;
}

// Takes it, and writes.
static int fetch(const char *text) {
    struct sockaddr_un at;
    socklen_t len = name(&at, text);
    int client = socket(AF_UNIX, SOCK_STREAM, 0), got[16], flags = 0;
    for (int tries = 0; connect(client, (void *)&at, len); tries++) {
        if (errno != ECONNREFUSED || tries == 200) return perror("connect"), 1;
        usleep(100000);
    }
    if (take(client, got, 16, &flags) != 1) return perror("take"), 1;
    return write(got[0], "from afar\n", 10) != 10;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    if (argc == 4 && strcmp(argv[1], "serve") == 0) return serve(argv[2], atoi(argv[3]));
    if (argc == 4 && strcmp(argv[1], "ask") == 0) return ask(argv[2], atoi(argv[3]));
    if (argc == 3 && strcmp(argv[1], "hand") == 0) return hand(argv[2]);
    if (argc == 3 && strcmp(argv[1], "fetch") == 0) return fetch(argv[2]);
    check_stream();
    check_sigpipe();
    check_messages(SOCK_DGRAM);
    check_messages(SOCK_SEQPACKET);
    check_names();
    check_connections(SOCK_STREAM);
    check_connections(SOCK_SEQPACKET);
    check_datagrams();
    check_paths();
    check_credentials();
    check_descriptors();
    check_waiting();
    return check_end("sockets");
}

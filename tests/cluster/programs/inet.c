// SPDX-License-Identifier: MIT OR Apache-2.0
// Sockets of the Internet on the loopback: names, connections and their ends, datagrams, both versions, options.
// With an argument it is one side of what two nodes do: `serve PORT N`, `ask PORT N`; `echo PORT N`, `call PORT N`
// are the same with datagrams.
#define _GNU_SOURCE
#include "check.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static char buffer[300000];

static struct sockaddr_in v4(const char *ip, int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, ip, &at.sin_addr);
    return at;
}

static struct sockaddr_in6 v6(const char *ip, int port) {
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    inet_pton(AF_INET6, ip, &at.sin6_addr);
    return at;
}

#define AT(address) (struct sockaddr *)&(address), sizeof(address)

static int option(int fd, int level, int number) {
    int value = -1;
    socklen_t len = sizeof value;
    SAME(getsockopt(fd, level, number, &value, &len), 0);
    return value;
}

static int set(int fd, int level, int number, int value) {
    return setsockopt(fd, level, number, &value, sizeof value);
}

static int ready(int fd) {
    struct pollfd wait = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    CHECK(poll(&wait, 1, 0) >= 0);
    return wait.revents;
}

// Waits: on Linux what is sent takes a moment.
static int becomes(int fd, int events) {
    struct pollfd wait = {.fd = fd, .events = (short)events};
    return poll(&wait, 1, 5000) == 1 ? wait.revents : -1;
}

static int port_of(int fd) {
    struct sockaddr_in6 at;
    socklen_t len = sizeof at;
    SAME(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    return ntohs(at.sin6_port);
}

// Whether a name of the socket is this one.
static int is_name(int fd, int peer, const char *ip, int port) {
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    if ((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&at, &len) != 0) return 0;
    return len == sizeof at && at.sin_family == AF_INET && at.sin_port == htons((uint16_t)port)
        && at.sin_addr.s_addr == inet_addr(ip);
}

static int is_name6(int fd, int peer, const char *ip, int port) {
    struct sockaddr_in6 at, wanted = v6(ip, port);
    socklen_t len = sizeof at;
    if ((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&at, &len) != 0) return 0;
    return len == sizeof at && at.sin6_family == AF_INET6 && at.sin6_port == wanted.sin6_port
        && memcmp(&at.sin6_addr, &wanted.sin6_addr, 16) == 0;
}

static int listener(int domain, const char *ip) {
    int fd = socket(domain, SOCK_STREAM, 0);
    struct sockaddr_in at = v4(ip, 0);
    struct sockaddr_in6 at6 = v6(ip, 0);
    if (domain == AF_INET) SAME(bind(fd, AT(at)), 0);
    else SAME(bind(fd, AT(at6)), 0);
    SAME(listen(fd, 5), 0);
    return fd;
}

static void connected(int listens, int ends[2]) {
    struct sockaddr_in at = v4("127.0.0.1", port_of(listens));
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    SAME(connect(ends[0], AT(at)), 0);
    ends[1] = accept(listens, NULL, NULL);
    CHECK(ends[1] >= 0);
}

static void check_names(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP), other;
    SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK(is_name(fd, 0, "0.0.0.0", 0));
    struct sockaddr_in at = v4("127.0.0.1", 0), away = v4("192.0.2.1", 80), none = v4("127.0.0.1", 1);
    struct sockaddr_in6 six = v6("::1", 0);
    struct sockaddr_in6 room;
    socklen_t len = sizeof room;
    FAILS(getpeername(fd, (struct sockaddr *)&room, &len), ENOTCONN);
    FAILS(bind(fd, (struct sockaddr *)&at, 8), EINVAL);
    FAILS(bind(fd, AT(six)), EAFNOSUPPORT);
    FAILS(bind(fd, AT(away)), EADDRNOTAVAIL);
    SAME(bind(fd, AT(at)), 0);
    int port = port_of(fd);
    CHECK(port >= 32768 && port <= 60999);
    CHECK(is_name(fd, 0, "127.0.0.1", port));
    FAILS(bind(fd, AT(at)), EINVAL);
    // A name that is taken, in part or as a whole; another protocol and another address have their own.
    at.sin_port = htons((uint16_t)port);
    other = socket(AF_INET, SOCK_STREAM, 0);
    FAILS(bind(other, AT(at)), EADDRINUSE);
    struct sockaddr_in any = v4("0.0.0.0", port), two = v4("127.0.0.2", port);
    FAILS(bind(other, AT(any)), EADDRINUSE);
    SAME(set(other, SOL_SOCKET, SO_REUSEADDR, 1), 0);
    SAME(option(other, SOL_SOCKET, SO_REUSEADDR), 1);
    FAILS(bind(other, AT(at)), EADDRINUSE);
    SAME(bind(other, AT(two)), 0);
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    SAME(bind(udp, AT(at)), 0);
    close(udp);
    close(other);
    // Bound, but nobody listens.
    other = socket(AF_INET, SOCK_STREAM, 0);
    FAILS(connect(other, AT(at)), ECONNREFUSED);
    FAILS(connect(other, AT(none)), ECONNREFUSED);
    close(other);
    close(fd);
    // Both say that they share, until one listens.
    fd = socket(AF_INET, SOCK_STREAM, 0);
    other = socket(AF_INET, SOCK_STREAM, 0);
    SAME(set(fd, SOL_SOCKET, SO_REUSEADDR, 1), 0);
    SAME(set(other, SOL_SOCKET, SO_REUSEADDR, 1), 0);
    SAME(bind(fd, AT(at)), 0);
    SAME(bind(other, AT(any)), 0);
    SAME(listen(fd, 1), 0);
    FAILS(listen(other, 1), EADDRINUSE);
    close(other);
    other = socket(AF_INET, SOCK_STREAM, 0);
    SAME(set(other, SOL_SOCKET, SO_REUSEADDR, 1), 0);
    FAILS(bind(other, AT(at)), EADDRINUSE);
    close(fd);
    SAME(bind(other, AT(at)), 0);
    close(other);
    // Who listens without a name gets one.
    fd = socket(AF_INET, SOCK_STREAM, 0);
    SAME(listen(fd, 1), 0);
    CHECK(is_name(fd, 0, "0.0.0.0", port_of(fd)) && port_of(fd) != 0);
    close(fd);
    FAILS(socketpair(AF_INET, SOCK_STREAM, 0, ((int[2]){0, 0})), EOPNOTSUPP);
    FAILS(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
}

static void check_privilege(void) {
    if (getuid() != 0) return;
    pid_t child = fork();
    if (child == 0) {
        struct sockaddr_in at = v4("127.0.0.1", 79);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        SAME(setuid(1000), 0);
        FAILS(bind(fd, AT(at)), EACCES);
        CHILD_END();
    }
    CHILD(child);
}

static void check_connection(void) {
    int listens = listener(AF_INET, "0.0.0.0"), port = port_of(listens), count = 0;
    SAME(option(listens, SOL_SOCKET, SO_ACCEPTCONN), 1);
    SAME(option(listens, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    SAME(option(listens, SOL_SOCKET, SO_DOMAIN), AF_INET);
    SAME(option(listens, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
    SAME(ready(listens), 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    SAME(ready(client), POLLOUT | POLLHUP);
    FAILS(recv(client, buffer, 1, 0), ENOTCONN);
    FAILS(send(client, "x", 1, MSG_NOSIGNAL), EPIPE);
    FAILS(shutdown(client, SHUT_WR), ENOTCONN);
    close(client);
    client = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = v4("0.0.0.0", port), from;
    SAME(connect(client, AT(at)), 0);
    FAILS(connect(client, AT(at)), EISCONN);
    FAILS(listen(client, 1), EINVAL);
    CHECK(is_name(client, 1, "127.0.0.1", port));
    SAME(becomes(listens, POLLIN), POLLIN);
    socklen_t len = sizeof from;
    int end = accept4(listens, (struct sockaddr *)&from, &len, SOCK_NONBLOCK);
    CHECK(end >= 0);
    SAME(len, sizeof from);
    CHECK(from.sin_family == AF_INET && from.sin_addr.s_addr == inet_addr("127.0.0.1"));
    CHECK(is_name(client, 0, "127.0.0.1", ntohs(from.sin_port)));
    CHECK(is_name(end, 0, "127.0.0.1", port));
    CHECK(is_name(end, 1, "127.0.0.1", ntohs(from.sin_port)));
    FAILS(recv(end, buffer, 1, 0), EAGAIN);
    SAME(send(client, "hello ", 6, MSG_MORE), 6);
    SAME(sendto(client, "world", 5, 0, AT(at)), 5);
    SAME(becomes(end, POLLIN), POLLIN);
    usleep(20000);
    SAME(ioctl(end, FIONREAD, &count), 0);
    SAME(count, 11);
    SAME(recv(end, buffer, 4, MSG_PEEK), 4);
    len = sizeof from;
    SAME(recvfrom(end, buffer, 100, 0, (struct sockaddr *)&from, &len), 11);
    SAME(len, 0);
    SAME(memcmp(buffer, "hello world", 11), 0);
    SAME(ready(client), POLLOUT);
    // One direction ends, the other goes on.
    SAME(shutdown(client, SHUT_WR), 0);
    FAILS(send(client, "x", 1, MSG_NOSIGNAL), EPIPE);
    SAME(becomes(end, POLLIN) & POLLIN, POLLIN);
    SAME(ready(end), POLLIN | POLLOUT | POLLRDHUP);
    SAME(read(end, buffer, 10), 0);
    SAME(write(end, "back", 4), 4);
    SAME(recv(client, buffer, 4, MSG_WAITALL), 4);
    close(end);
    SAME(read(client, buffer, 10), 0);
    close(client);
    SAME(fcntl(listens, F_SETFL, O_NONBLOCK), 0);
    FAILS(accept(listens, NULL, NULL), EAGAIN);
    close(listens);
}

static void check_ends(void) {
    int listens = listener(AF_INET, "127.0.0.1"), ends[2];
    // The other end closes: bytes, the end of the file, a write that is in vain, and then an error.
    connected(listens, ends);
    SAME(write(ends[1], "last", 4), 4);
    close(ends[1]);
    usleep(20000);
    SAME(ready(ends[0]), POLLIN | POLLOUT | POLLRDHUP);
    SAME(read(ends[0], buffer, 10), 4);
    SAME(read(ends[0], buffer, 10), 0);
    SAME(send(ends[0], "x", 1, MSG_NOSIGNAL), 1);
    usleep(20000);
    CHECK(ready(ends[0]) & POLLHUP);
    FAILS(send(ends[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    FAILS(send(ends[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    SAME(read(ends[0], buffer, 10), 0);
    close(ends[0]);
    // It closes with something unread: a reset.
    connected(listens, ends);
    SAME(write(ends[0], "unread", 6), 6);
    usleep(20000);
    close(ends[1]);
    usleep(20000);
    CHECK((ready(ends[0]) & (POLLIN | POLLERR | POLLHUP)) == (POLLIN | POLLERR | POLLHUP));
    FAILS(read(ends[0], buffer, 10), ECONNRESET);
    SAME(read(ends[0], buffer, 10), 0);
    FAILS(send(ends[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    close(ends[0]);
    // It closes with SO_LINGER of no time: a reset, too.
    connected(listens, ends);
    struct linger hard = {1, 0}, got;
    socklen_t len = sizeof got;
    SAME(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    SAME(getsockopt(ends[1], SOL_SOCKET, SO_LINGER, &got, &len), 0);
    CHECK(len == sizeof got && got.l_onoff == 1 && got.l_linger == 0);
    close(ends[1]);
    usleep(20000);
    SAME(option(ends[0], SOL_SOCKET, SO_ERROR), ECONNRESET);
    SAME(option(ends[0], SOL_SOCKET, SO_ERROR), 0);
    close(ends[0]);
    // Nobody accepts: the listener closes.
    struct sockaddr_in at = v4("127.0.0.1", port_of(listens));
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    SAME(connect(ends[0], AT(at)), 0);
    close(listens);
    usleep(20000);
    FAILS(read(ends[0], buffer, 10), ECONNRESET);
    close(ends[0]);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    FAILS(connect(ends[0], AT(at)), ECONNREFUSED);
    close(ends[0]);
}

static volatile int pipes_broken;
static void broken(int number) { pipes_broken += number == SIGPIPE; }

static void check_signal(void) {
    int listens = listener(AF_INET, "127.0.0.1"), ends[2];
    connected(listens, ends);
    signal(SIGPIPE, broken);
    shutdown(ends[0], SHUT_WR);
    FAILS(write(ends[0], "x", 1), EPIPE);
    SAME(pipes_broken, 1);
    FAILS(send(ends[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    SAME(pipes_broken, 1);
    signal(SIGPIPE, SIG_IGN);
    close(ends[0]), close(ends[1]), close(listens);
}

static void check_waiting(void) {
    int listens = listener(AF_INET, "127.0.0.1"), port = port_of(listens), ends[2];
    struct sockaddr_in at = v4("127.0.0.1", port);
    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    FAILS(connect(ends[0], AT(at)), EINPROGRESS);
    SAME(becomes(ends[0], POLLOUT), POLLOUT);
    SAME(option(ends[0], SOL_SOCKET, SO_ERROR), 0);
    ends[1] = accept(listens, NULL, NULL);
    // Full, and room again.
    long sent = 0;
    while (send(ends[0], buffer, sizeof buffer, 0) > 0) sent++;
    SAME(errno, EAGAIN);
    CHECK(sent > 0);
    usleep(20000);
    while (send(ends[0], buffer, 1000, 0) > 0) {}
    SAME(ready(ends[0]) & POLLOUT, 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        while (read(ends[1], buffer, sizeof buffer) > 0) {}
        CHILD_END();
    }
    close(ends[1]);
    SAME(becomes(ends[0], POLLOUT) & POLLOUT, POLLOUT);
    close(ends[0]);
    CHILD(child);
    close(listens);
    // Nobody is there.
    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    FAILS(connect(ends[0], AT(at)), EINPROGRESS);
    CHECK(becomes(ends[0], POLLOUT) & POLLERR);
    SAME(option(ends[0], SOL_SOCKET, SO_ERROR), ECONNREFUSED);
    close(ends[0]);
}

static void check_v6(void) {
    // One listener for both versions.
    int listens = listener(AF_INET6, "::"), port = port_of(listens), end;
    CHECK(is_name6(listens, 0, "::", port));
    SAME(option(listens, SOL_SOCKET, SO_DOMAIN), AF_INET6);
    SAME(option(listens, IPPROTO_IPV6, IPV6_V6ONLY), 0);
    FAILS(set(listens, IPPROTO_IPV6, IPV6_V6ONLY, 1), EINVAL);
    struct sockaddr_in any = v4("0.0.0.0", port), at = v4("127.0.0.1", port);
    int other = socket(AF_INET, SOCK_STREAM, 0);
    FAILS(bind(other, AT(any)), EADDRINUSE);
    SAME(connect(other, AT(at)), 0);
    int from = port_of(other);
    struct sockaddr_in6 name;
    socklen_t len = sizeof name;
    end = accept(listens, (struct sockaddr *)&name, &len);
    SAME(len, sizeof name);
    CHECK(is_name6(end, 1, "::ffff:127.0.0.1", from));
    CHECK(is_name6(end, 0, "::ffff:127.0.0.1", port));
    SAME(memcmp(&name.sin6_addr, &((struct sockaddr_in6[]){v6("::ffff:127.0.0.1", 0)})->sin6_addr, 16), 0);
    close(other), close(end);
    other = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 six = v6("::1", port), mapped = v6("::ffff:127.0.0.1", port);
    FAILS(connect(other, (struct sockaddr *)&six, 16), EINVAL);
    SAME(connect(other, AT(six)), 0);
    end = accept(listens, NULL, NULL);
    CHECK(is_name6(end, 1, "::1", port_of(other)));
    close(other), close(end);
    other = socket(AF_INET6, SOCK_STREAM, 0);
    SAME(connect(other, AT(mapped)), 0);
    end = accept(listens, NULL, NULL);
    CHECK(is_name6(other, 0, "::ffff:127.0.0.1", port_of(other)));
    close(other), close(end), close(listens);
    // One for each.
    listens = socket(AF_INET6, SOCK_STREAM, 0);
    SAME(set(listens, IPPROTO_IPV6, IPV6_V6ONLY, 1), 0);
    six = v6("::", port);
    SAME(bind(listens, AT(six)), 0);
    SAME(listen(listens, 1), 0);
    other = socket(AF_INET, SOCK_STREAM, 0);
    SAME(bind(other, AT(any)), 0);
    close(other);
    other = socket(AF_INET, SOCK_STREAM, 0);
    FAILS(connect(other, AT(at)), ECONNREFUSED);
    close(other), close(listens);
}

static void check_datagrams(void) {
    int server = socket(AF_INET, SOCK_DGRAM, 0), client = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in at = v4("0.0.0.0", 0), from;
    socklen_t len = sizeof from;
    SAME(bind(server, AT(at)), 0);
    int port = port_of(server);
    SAME(option(server, SOL_SOCKET, SO_PROTOCOL), IPPROTO_UDP);
    FAILS(send(client, "x", 1, 0), EDESTADDRREQ);
    FAILS(listen(server, 1), EOPNOTSUPP);
    struct sockaddr_in to = v4("127.0.0.1", port);
    SAME(ready(server), POLLOUT);
    SAME(sendto(client, "one", 3, 0, AT(to)), 3);
    SAME(sendto(client, "", 0, 0, AT(to)), 0);
    SAME(becomes(server, POLLIN) & POLLIN, POLLIN);
    SAME(recvfrom(server, buffer, 2, MSG_TRUNC, (struct sockaddr *)&from, &len), 3);
    CHECK(len == sizeof from && from.sin_addr.s_addr == inet_addr("127.0.0.1"));
    SAME(ntohs(from.sin_port), port_of(client));
    SAME(recv(server, buffer, 10, 0), 0);
    CHECK(is_name(client, 0, "0.0.0.0", port_of(client)));
    // Connected: from the peer alone.
    SAME(connect(client, AT(to)), 0);
    CHECK(is_name(client, 0, "127.0.0.1", port_of(client)));
    CHECK(is_name(client, 1, "127.0.0.1", port));
    struct sockaddr_in back = v4("127.0.0.1", port_of(client));
    int stranger = socket(AF_INET, SOCK_DGRAM, 0);
    SAME(sendto(stranger, "no", 2, 0, AT(back)), 2);
    SAME(sendto(server, "yes", 3, 0, AT(back)), 3);
    SAME(recv(client, buffer, 10, 0), 3);
    FAILS(recv(client, buffer, 10, MSG_DONTWAIT), EAGAIN);
    // Nobody hears: the next call is told.
    close(server);
    SAME(send(client, "lost", 4, 0), 4);
    CHECK(becomes(client, POLLIN) & POLLERR);
    FAILS(send(client, "lost", 4, 0), ECONNREFUSED);
    SAME(send(client, "lost", 4, 0), 4);
    FAILS(recv(client, buffer, 10, 0), ECONNREFUSED);
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    SAME(connect(client, &none, sizeof none), 0);
    FAILS(getpeername(client, (struct sockaddr *)&from, &len), ENOTCONN);
    SAME(sendto(stranger, "lost", 4, 0, AT(to)), 4);
    FAILS(recv(stranger, buffer, 10, MSG_DONTWAIT), EAGAIN);
    to.sin_port = 0;
    FAILS(sendto(stranger, "x", 1, 0, AT(to)), EINVAL);
    close(client), close(stranger);
}

static void check_options(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), six = socket(AF_INET6, SOCK_STREAM, 0);
    SAME(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    SAME(set(fd, IPPROTO_TCP, TCP_NODELAY, 1), 0);
    SAME(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    SAME(set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60), 0);
    SAME(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    SAME(set(fd, SOL_SOCKET, SO_KEEPALIVE, 1), 0);
    SAME(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    SAME(set(fd, IPPROTO_IP, IP_TOS, 16), 0);
    SAME(option(fd, IPPROTO_IP, IP_TOS), 16);
    unsigned char tos = 8;
    SAME(setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, 1), 0);
    SAME(set(six, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9), 0);
    SAME(option(six, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 9);
    FAILS(set(fd, SOL_SOCKET, 9999, 1), ENOPROTOOPT);
    CHECK(option(fd, SOL_SOCKET, SO_SNDBUF) > 0);
    CHECK(option(fd, SOL_SOCKET, SO_RCVBUF) > 0);
    close(fd), close(six);
}

static void check_interfaces(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq lo = {.ifr_name = "lo"}, list[16];
    SAME(ioctl(fd, SIOCGIFADDR, &lo), 0);
    SAME(((struct sockaddr_in *)&lo.ifr_addr)->sin_addr.s_addr, inet_addr("127.0.0.1"));
    SAME(ioctl(fd, SIOCGIFFLAGS, &lo), 0);
    SAME(lo.ifr_flags & (IFF_UP | IFF_LOOPBACK), IFF_UP | IFF_LOOPBACK);
    SAME(ioctl(fd, SIOCGIFINDEX, &lo), 0);
    SAME(lo.ifr_ifindex, 1);
    SAME(ioctl(fd, SIOCGIFNAME, &lo), 0);
    SAME(strcmp(lo.ifr_name, "lo"), 0);
    struct ifconf all = {.ifc_len = sizeof list, .ifc_req = list};
    SAME(ioctl(fd, SIOCGIFCONF, &all), 0);
    CHECK(all.ifc_len >= (int)sizeof list[0]);
    SAME(strcmp(list[0].ifr_name, "lo"), 0);
    strcpy(lo.ifr_name, "none9");
    FAILS(ioctl(fd, SIOCGIFADDR, &lo), ENODEV);
    close(fd);
}

// Descriptors of connections go along with fork and with messages.
static void check_handing(void) {
    int listens = listener(AF_INET, "127.0.0.1"), ends[2], pair[2];
    connected(listens, ends);
    SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    pid_t child = fork();
    if (child == 0) {
        char room[CMSG_SPACE(sizeof(int))];
        struct iovec one = {buffer, 1};
        struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
        close(ends[0]), close(ends[1]);
        SAME(recvmsg(pair[1], &message, 0), 1);
        int got = *(int *)CMSG_DATA(CMSG_FIRSTHDR(&message)), copy = dup(got);
        SAME(write(copy, "from the child", 14), 14);
        CHILD_END();
    }
    char room[CMSG_SPACE(sizeof(int))] = "";
    struct iovec one = {"x", 1};
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(head), &ends[1], sizeof(int));
    SAME(sendmsg(pair[0], &message, 0), 1);
    close(ends[1]);
    SAME(recv(ends[0], buffer, 14, MSG_WAITALL), 14);
    SAME(memcmp(buffer, "from the child", 14), 0);
    CHILD(child);
    SAME(read(ends[0], buffer, 1), 0);
    close(ends[0]), close(pair[0]), close(pair[1]), close(listens);
}

static int serve(int port, int clients) {
    int listens = socket(AF_INET, SOCK_STREAM, 0), wrong = 0;
    struct sockaddr_in at = v4("0.0.0.0", port);
    set(listens, SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(listens, AT(at)) != 0 || listen(listens, 8) != 0) return perror("serve"), 1;
    for (int served = 0; served < clients; served++) {
        int end = accept(listens, NULL, NULL);
        long number, wanted = 0;
        while (recv(end, &number, sizeof number, MSG_WAITALL) == sizeof number) {
            wrong += number != wanted++;
            number = -number;
            if (write(end, &number, sizeof number) != sizeof number) break;
        }
        close(end);
    }
    printf("served %d, %d wrong\n", clients, wrong);
    return wrong != 0;
}

static int ask(int port, long count) {
    struct sockaddr_in at = v4("127.0.0.1", port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    long wrong = 0, asked = 0;
    for (int tries = 0; connect(fd, AT(at)) != 0; tries++) {
        if (errno != ECONNREFUSED || tries == 600) return perror("ask"), 1;
        usleep(50000);
    }
    for (; asked < count; asked++) {
        long number = asked, answer = 0;
        if (write(fd, &number, sizeof number) != sizeof number) break;
        if (recv(fd, &answer, sizeof answer, MSG_WAITALL) != sizeof answer) break;
        wrong += answer != -number;
    }
    printf("asked %ld, %ld wrong\n", asked, wrong);
    return wrong != 0 || asked != count;
}

static int echo(int port, int count) {
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 at = v6("::", port), from;
    if (bind(fd, AT(at)) != 0) return perror("echo"), 1;
    for (int done = 0; done < count; done++) {
        socklen_t len = sizeof from;
        ssize_t got = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &len);
        if (got < 0 || sendto(fd, buffer, (size_t)got, 0, (struct sockaddr *)&from, len) != got) return perror("echo"), 1;
    }
    return 0;
}

static int call(int port, int count) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), wrong = 0;
    struct sockaddr_in at = v4("127.0.0.1", port);
    if (connect(fd, AT(at)) != 0) return perror("call"), 1;
    for (int done = 0, tries = 0; done < count;) {
        int answer = -1;
        if (send(fd, &done, sizeof done, 0) == sizeof done && recv(fd, &answer, sizeof answer, 0) == sizeof answer) {
            wrong += answer != done++;
        } else if (errno != ECONNREFUSED || tries++ == 600) {
            return perror("call"), 1;
        } else {
            usleep(50000);
        }
    }
    printf("called %d, %d wrong\n", count, wrong);
    return wrong != 0;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    if (argc == 4 && strcmp(argv[1], "serve") == 0) return serve(atoi(argv[2]), atoi(argv[3]));
    if (argc == 4 && strcmp(argv[1], "ask") == 0) return ask(atoi(argv[2]), atol(argv[3]));
    if (argc == 4 && strcmp(argv[1], "echo") == 0) return echo(atoi(argv[2]), atoi(argv[3]));
    if (argc == 4 && strcmp(argv[1], "call") == 0) return call(atoi(argv[2]), atoi(argv[3]));
    check_names();
    check_privilege();
    check_connection();
    check_ends();
    check_signal();
    check_waiting();
    check_v6();
    check_datagrams();
    check_options();
    check_interfaces();
    check_handing();
    return check_end("inet");
}

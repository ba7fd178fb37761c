// SPDX-License-Identifier: MIT OR Apache-2.0
// Files: shared offsets, appending, folders, renaming, links, sizes, holes, descriptors, errors.
#define _GNU_SOURCE
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

static char text[20000];

static off_t size_of(const char *path) {
    struct stat status;
    return stat(path, &status) ? -1 : status.st_size;
}

static void check_offsets(void) {
    int file = open("a", O_RDWR | O_CREAT | O_EXCL, 0644);
    CHECK(file >= 0);
    FAILS(open("a", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
    SAME(write(file, "0123456789", 10), 10);
    SAME(lseek(file, 2, SEEK_SET), 2);
    // One offset for all descriptors of one open file, over dup and fork.
    int copy = dup(file), other = open("a", O_RDONLY);
    pid_t child = fork();
    if (child == 0) {
        SAME(read(copy, text, 3), 3);
        SAME(memcmp(text, "234", 3), 0);
        SAME(read(other, text, 1), 1);
        CHILD_END();
    }
    CHILD(child);
    SAME(lseek(file, 0, SEEK_CUR), 5);
    SAME(read(other, text, 1), 1);
    SAME(text[0], '1');
    SAME(pread(file, text, 4, 8), 2);
    SAME(pwrite(file, "XY", 2, 0), 2);
    SAME(lseek(copy, 0, SEEK_CUR), 5);
    SAME(lseek(file, -1, SEEK_END), 9);
    SAME(read(copy, text, 9), 1);
    SAME(read(copy, text, 9), 0);
    FAILS(lseek(file, -1, SEEK_SET), EINVAL);
    FAILS(write(other, "x", 1), EBADF);
    SAME(close(copy) | close(other) | close(file), 0);
    FAILS(close(file), EBADF);
}

static void check_append(void) {
    pid_t children[4];
    int file = open("b", O_WRONLY | O_CREAT | O_APPEND, 0600);
    for (int i = 0; i < 4; i++) {
        children[i] = fork();
        if (children[i]) continue;
        char line[8];
        int own = open("b", O_WRONLY | O_APPEND);
        memset(line, 'a' + i, 7), line[7] = '\n';
        for (int n = 0; n < 100; n++) SAME(write(n % 2 ? own : file, line, 8), 8);
        CHILD_END();
    }
    for (int i = 0; i < 4; i++) CHILD(children[i]);
    close(file);
    SAME(size_of("b"), 3200);
    int wrong = 0;
    file = open("b", O_RDONLY);
    while (read(file, text, 8) == 8)
        for (int i = 1; i < 7; i++) wrong += text[i] != text[0];
    SAME(wrong, 0);
    close(file);
}

static void check_sizes(void) {
    int file = open("c", O_RDWR | O_CREAT | O_TRUNC, 0600), wrong = 0;
    for (int i = 0; i < 5000; i++) text[i] = (char)i;
    // A hole reads as zero, and so does what a shorter size cut off.
    SAME(pwrite(file, "end", 3, 100000), 3);
    SAME(size_of("c"), 100003);
    SAME(pread(file, text + 5000, 5000, 50000), 5000);
    for (int i = 0; i < 5000; i++) wrong += text[5000 + i] != 0;
    SAME(pwrite(file, text, 5000, 0), 5000);
    SAME(ftruncate(file, 4097), 0);
    SAME(ftruncate(file, 9000), 0);
    SAME(pread(file, text + 5000, 5000, 0), 5000);
    for (int i = 0; i < 5000; i++) wrong += text[5000 + i] != (i < 4097 ? (char)i : 0);
    SAME(wrong, 0);
    SAME(pread(file, text + 5000, 5000, 8999), 1);
    SAME(truncate("c", 0), 0);
    SAME(read(file, text + 5000, 10), 0);
    // Odd pieces over page boundaries.
    uint32_t sum = 0, again = 0, random = 1;
    for (int n = 0; n < 300; n++) {
        size_t bytes = (random = random * 1103515245 + 12345) >> 16 & 0xfff;
        for (size_t i = 0; i < bytes; i++) text[i] = (char)(random >> (i % 24)), sum = sum * 31 + (uint8_t)text[i];
        wrong += write(file, text, bytes) != (ssize_t)bytes;
    }
    lseek(file, 0, SEEK_SET);
    for (ssize_t got; (got = read(file, text, 7777)) > 0;)
        for (ssize_t i = 0; i < got; i++) again = again * 31 + (uint8_t)text[i];
    SAME(wrong, 0);
    CHECK(sum == again);
    struct iovec parts[3] = {{"one", 3}, {"", 0}, {"two", 3}};
    SAME(pwritev(file, parts, 3, 1), 6);
    SAME(pread(file, text, 6, 1), 6);
    SAME(memcmp(text, "onetwo", 6), 0);
    SAME(fsync(file) | close(file), 0);
    file = open("c", O_RDONLY | O_TRUNC);
    close(file), file = open("c", O_WRONLY | O_TRUNC);
    SAME(size_of("c"), 0);
    close(file);
}

static void check_names(void) {
    struct stat one, two;
    int file = open("d", O_RDWR | O_CREAT, 0600);
    SAME(write(file, "kept", 4), 4);
    SAME(link("d", "e"), 0);
    SAME(stat("d", &one) | stat("e", &two), 0);
    CHECK(one.st_ino == two.st_ino && two.st_nlink == 2);
    SAME(unlink("d") | unlink("e"), 0);
    SAME(fstat(file, &one), 0);
    SAME(one.st_nlink, 0);
    SAME(pread(file, text, 4, 0), 4);
    SAME(memcmp(text, "kept", 4), 0);
    close(file);
    FAILS(stat("d", &one), ENOENT);
    SAME(rename("b", "c"), 0);
    SAME(size_of("c"), 3200);
    FAILS(rename("b", "x"), ENOENT);
    SAME(symlink("c", "s") | symlink("s2", "s1") | symlink("s1", "s2"), 0);
    SAME(readlink("s", text, 100), 1);
    SAME(size_of("s"), 3200);
    SAME(lstat("s", &one), 0);
    CHECK(S_ISLNK(one.st_mode));
    FAILS(open("s1", O_RDONLY), ELOOP);
    FAILS(open("s", O_RDONLY | O_NOFOLLOW), ELOOP);
    FAILS(symlink("c", "s"), EEXIST);
    SAME(chmod("c", 0751) | stat("c", &one), 0);
    SAME(one.st_mode & 07777, 0751);
    struct timespec times[2] = {{1000000000, 5}, {1100000000, 7}};
    SAME(utimensat(AT_FDCWD, "c", times, 0) | stat("c", &one), 0);
    SAME(one.st_mtim.tv_sec, 1100000000);
    SAME(one.st_mtim.tv_nsec, 7);
    SAME(access("c", R_OK | W_OK | X_OK), 0);
    FAILS(access("nothing", F_OK), ENOENT);
    umask(027);
    close(open("u", O_CREAT | O_WRONLY, 0666));
    SAME(stat("u", &one), 0);
    SAME(one.st_mode & 0777, 0640);
    umask(022);
}

static int count_entries(const char *path) {
    DIR *folder = opendir(path);
    int count = 0;
    if (!folder) return -1;
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static void check_folders(void) {
    char name[40], here[PATH_MAX];
    SAME(mkdir("f", 0755) | mkdir("f/g", 0700) | mkdir("f/g/h", 0700), 0);
    FAILS(mkdir("f", 0755), EEXIST);
    FAILS(rmdir("f"), ENOTEMPTY);
    FAILS(rename("f", "f/g/x"), EINVAL);
    FAILS(unlink("f"), EISDIR);
    FAILS(rmdir("c"), ENOTDIR);
    FAILS(open("f", O_WRONLY), EISDIR);
    FAILS(open("c/x", O_RDONLY), ENOTDIR);
    FAILS(open("c", O_RDONLY | O_DIRECTORY), ENOTDIR);
    FAILS(open("missing/x", O_CREAT | O_WRONLY, 0600), ENOENT);
    FAILS(open("", O_RDONLY), ENOENT);
    memset(text, 'n', 300), text[300] = 0;
    FAILS(open(text, O_RDONLY), ENAMETOOLONG);
    memset(text, '/', 5000), text[5000] = 0;
    FAILS(open(text, O_RDONLY), ENAMETOOLONG);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "f/g/a file with number %d", i);
        close(open(name, O_CREAT | O_WRONLY, 0600));
    }
    SAME(count_entries("f/g"), 303);
    for (int i = 0; i < 300; i += 2) {
        snprintf(name, sizeof name, "f/g/a file with number %d", i);
        SAME(unlink(name), 0);
    }
    SAME(count_entries("f/g"), 153);
    int folder = open("f", O_RDONLY | O_DIRECTORY);
    SAME(mkdirat(folder, "k", 0700), 0);
    SAME(renameat(folder, "g", folder, "k/g"), 0);
    int file = openat(folder, "k/g/new", O_CREAT | O_WRONLY, 0600);
    CHECK(file >= 0);
    close(file);
    SAME(fchdir(folder), 0);
    CHECK(getcwd(here, sizeof here) && strlen(here) > 2 && !strcmp(here + strlen(here) - 2, "/f"));
    SAME(access("k/g/../../k/./g//new", F_OK), 0);
    SAME(unlinkat(folder, "k/g/h", AT_REMOVEDIR), 0);
    SAME(chdir(".."), 0);
    FAILS(read(folder, text, 10), EISDIR);
    close(folder);
    struct stat status;
    SAME(stat("f", &status), 0);
    CHECK(S_ISDIR(status.st_mode));
}

static void check_devices(void) {
    int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_RDWR), wrong = 0;
    memset(text, 1, 100);
    SAME(read(zero, text, 100), 100);
    for (int i = 0; i < 100; i++) wrong += text[i];
    SAME(wrong, 0);
    SAME(read(null, text, 100), 0);
    SAME(write(null, text, 100), 100);
    close(zero), close(null);
    int random = open("/dev/urandom", O_RDONLY);
    SAME(read(random, text, 32), 32);
    for (int i = 0; i < 32; i++) wrong += text[i] == text[0];
    CHECK(wrong < 16);
    close(random);
}

static void check_descriptors(void) {
    struct rlimit limit = {64, 64};
    int last = -1, next;
    SAME(fcntl(0, F_DUPFD, 63) >= 63, 1);
    pid_t child = fork();
    if (child == 0) {
        SAME(setrlimit(RLIMIT_NOFILE, &limit), 0);
        while ((next = open("c", O_RDONLY)) >= 0) last = next;
        SAME(errno, EMFILE);
        CHECK(last <= 62);
        close(10);
        SAME(open("c", O_RDONLY), 10);
        CHILD_END();
    }
    CHILD(child);
    int file = open("c", O_RDWR);
    SAME(fcntl(file, F_SETFL, O_APPEND), 0);
    SAME(fcntl(file, F_GETFL) & (O_ACCMODE | O_APPEND), O_RDWR | O_APPEND);
    SAME(write(file, "tail", 4), 4);
    SAME(size_of("c"), 3204);
    close(file);
    FAILS(fcntl(file, F_GETFL), EBADF);
    FAILS(fcntl(-1, F_GETFD), EBADF);
    FAILS(dup(1 << 30), EBADF);
}

int main(void) {
    if (system("rm -rf files.tmp") || mkdir("files.tmp", 0700) || chdir("files.tmp")) return 2;
    check_offsets();
    check_append();
    check_sizes();
    check_names();
    check_folders();
    check_devices();
    check_descriptors();
    CHECK(chdir("..") == 0 && system("rm -r files.tmp") == 0);
    return check_end("files");
}

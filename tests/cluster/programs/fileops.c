// SPDX-License-Identifier: MIT OR Apache-2.0
// What POSIX and Linux say of files beyond reading and writing: room and holes, attributes, files without
// names, renames, names and permissions. Runs as root; other users are children.
#define _GNU_SOURCE
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

enum { PAGE = 4096 };
static char page[PAGE];

static blkcnt_t blocks_of(int file) {
    struct stat status;
    return fstat(file, &status) ? -1 : status.st_blocks;
}

static off_t size_of(int file) {
    struct stat status;
    return fstat(file, &status) ? -1 : status.st_size;
}

static int page_is(int file, off_t offset, char byte) {
    char got[PAGE], wanted[PAGE];
    memset(wanted, byte, PAGE);
    return pread(file, got, PAGE, offset) == PAGE && !memcmp(got, wanted, PAGE);
}

static void check_room(void) {
    int file = open("a", O_RDWR | O_CREAT | O_TRUNC, 0644);
    memset(page, 'x', PAGE);
    SAME(fallocate(file, 0, 0, 4 * PAGE), 0);
    SAME(size_of(file), 4 * PAGE);
    CHECK(blocks_of(file) >= 32);
    CHECK(page_is(file, PAGE, 0));
    SAME(pwrite(file, page, PAGE, PAGE), PAGE);
    SAME(fallocate(file, 0, 0, 2 * PAGE), 0);
    SAME(size_of(file), 4 * PAGE);
    CHECK(page_is(file, PAGE, 'x'));
    SAME(fallocate(file, FALLOC_FL_KEEP_SIZE, 4 * PAGE, PAGE), 0);
    SAME(size_of(file), 4 * PAGE);
    SAME(posix_fallocate(file, 5 * PAGE, 10), 0);
    SAME(size_of(file), 5 * PAGE + 10);
    FAILS(fallocate(file, 0, -1, 10), EINVAL);
    FAILS(fallocate(file, 0, 0, 0), EINVAL);
    FAILS(fallocate(file, 0, 0, -5), EINVAL);
    FAILS(fallocate(file, 0x400, 0, PAGE), EOPNOTSUPP);
    FAILS(fallocate(file, FALLOC_FL_PUNCH_HOLE, 0, PAGE), EOPNOTSUPP);
    FAILS(fallocate(file, 0, 0x7fffffffffffffff, 10), EFBIG);
    FAILS(fallocate(77, 0, 0, PAGE), EBADF);
    int reads = open("a", O_RDONLY), folder = open(".", O_RDONLY), ends[2];
    FAILS(fallocate(reads, 0, 0, PAGE), EBADF);
    FAILS(fallocate(folder, 0, 0, PAGE), EBADF);
    SAME(pipe(ends), 0);
    FAILS(fallocate(ends[1], 0, 0, PAGE), ESPIPE);
    SAME(posix_fallocate(ends[1], 0, PAGE), ESPIPE);
    close(ends[0]), close(ends[1]), close(folder), close(reads), close(file);
}

static void check_holes(void) {
    int file = open("b", O_RDWR | O_CREAT | O_TRUNC, 0644);
    memset(page, 'y', PAGE);
    for (int at = 0; at < 8; at++) SAME(pwrite(file, page, PAGE, at * PAGE), PAGE);
    blkcnt_t before = blocks_of(file);
    SAME(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * PAGE, 3 * PAGE), 0);
    SAME(size_of(file), 8 * PAGE);
    SAME(before - blocks_of(file), 3 * PAGE / 512);
    CHECK(page_is(file, PAGE, 'y') && page_is(file, 2 * PAGE, 0));
    CHECK(page_is(file, 4 * PAGE, 0) && page_is(file, 5 * PAGE, 'y'));
    SAME(lseek(file, 0, SEEK_HOLE), 2 * PAGE);
    SAME(lseek(file, 3 * PAGE + 5, SEEK_HOLE), 3 * PAGE + 5);
    SAME(lseek(file, 3 * PAGE + 5, SEEK_DATA), 5 * PAGE);
    SAME(lseek(file, 5 * PAGE + 5, SEEK_DATA), 5 * PAGE + 5);
    SAME(lseek(file, 5 * PAGE, SEEK_HOLE), 8 * PAGE);
    SAME(lseek(file, 0, SEEK_CUR), 8 * PAGE);
    FAILS(lseek(file, 8 * PAGE, SEEK_DATA), ENXIO);
    FAILS(lseek(file, 8 * PAGE, SEEK_HOLE), ENXIO);
    FAILS(lseek(file, -1, SEEK_DATA), ENXIO);
    FAILS(lseek(file, 0, 5), EINVAL);
    // A part of a page is zeroed.
    SAME(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10, 5), 0);
    SAME(pread(file, page, 20, 0), 20);
    SAME(memcmp(page, "yyyyyyyyyy\0\0\0\0\0yyyyy", 20), 0);
    SAME(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE - 2, 4), 0);
    SAME(pread(file, page, 8, PAGE - 4), 8);
    SAME(memcmp(page, "yy\0\0\0\0yy", 8), 0);
    // Beyond the end nothing happens; a hole at the end stays in the size.
    SAME(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 7 * PAGE, 9 * PAGE), 0);
    SAME(size_of(file), 8 * PAGE);
    FAILS(lseek(file, 7 * PAGE, SEEK_DATA), ENXIO);
    SAME(lseek(file, 7 * PAGE, SEEK_HOLE), 7 * PAGE);
    if (!fallocate(file, FALLOC_FL_ZERO_RANGE, 6 * PAGE + 1, 3 * PAGE)) {
        SAME(size_of(file), 9 * PAGE + 1);
        SAME(pread(file, page, 3, 6 * PAGE), 3);
        SAME(memcmp(page, "y\0\0", 3), 0);
        CHECK(page_is(file, 7 * PAGE, 0));
        SAME(fallocate(file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 20 * PAGE), 0);
        SAME(size_of(file), 9 * PAGE + 1);
        CHECK(page_is(file, PAGE, 0));
    } else {
        SAME(errno, EOPNOTSUPP);
    }
    // What is mapped sees the hole.
    SAME(ftruncate(file, 2 * PAGE), 0);
    memset(page, 'z', PAGE);
    SAME(pwrite(file, page, PAGE, 0), PAGE);
    char *map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(map != MAP_FAILED);
    map[PAGE] = 'm';
    SAME(map[5], 'z');
    // Of what other machines may have mapped it cannot be made everywhere.
    if (!fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE))
        SAME(map[5], 0);
    else
        SAME(errno, EOPNOTSUPP);
    SAME(map[PAGE], 'm');
    SAME(lseek(file, 1, SEEK_DATA) <= PAGE, 1);
    SAME(munmap(map, 2 * PAGE), 0);
    SAME(pread(file, page, 1, PAGE), 1);
    SAME(page[0], 'm');
    close(file);
    // A file of a TiB, with a byte at its end.
    file = open("c", O_RDWR | O_CREAT | O_TRUNC, 0644);
    off_t far = (1LL << 40) - PAGE;
    SAME(ftruncate(file, far), 0);
    SAME(blocks_of(file), 0);
    SAME(lseek(file, 0, SEEK_HOLE), 0);
    FAILS(lseek(file, 0, SEEK_DATA), ENXIO);
    SAME(pwrite(file, "e", 1, far - 1), 1);
    SAME(lseek(file, 0, SEEK_DATA), far - PAGE);
    SAME(pread(file, page, 5, far - 5), 5);
    SAME(memcmp(page, "\0\0\0\0e", 5), 0);
    CHECK(blocks_of(file) <= 64);
    SAME(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, far), 0);
    SAME(blocks_of(file), 0);
    close(file);
    unlink("c");
}

static int user_sets(const char *path, const char *name) {
    pid_t child = fork();
    if (child == 0) {
        if (setgid(5) || setuid(5)) _exit(99);
        _exit(setxattr(path, name, "u", 1, 0) ? errno : 0);
    }
    int status = wait_for(child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void check_attributes(void) {
    char value[5000], names[200];
    int file = open("x", O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (setxattr("x", "user.a", "one", 3, 0) && errno == EOPNOTSUPP) return;
    SAME(getxattr("x", "user.a", value, sizeof value), 3);
    SAME(memcmp(value, "one", 3), 0);
    SAME(fgetxattr(file, "user.a", NULL, 0), 3);
    FAILS(getxattr("x", "user.a", value, 2), ERANGE);
    FAILS(getxattr("x", "user.b", value, 2), ENODATA);
    FAILS(setxattr("x", "user.a", "two", 3, XATTR_CREATE), EEXIST);
    FAILS(setxattr("x", "user.b", "two", 3, XATTR_REPLACE), ENODATA);
    SAME(setxattr("x", "user.a", "three", 5, XATTR_REPLACE), 0);
    SAME(fsetxattr(file, "user.empty", NULL, 0, XATTR_CREATE), 0);
    SAME(getxattr("x", "user.empty", value, sizeof value), 0);
    FAILS(setxattr("x", "user.a", "two", 3, 8), EINVAL);
    FAILS(setxattr("x", "", "two", 3, 0), ERANGE);
    FAILS(setxattr("x", "user.", "two", 3, 0), EINVAL);
    FAILS(setxattr("x", "nothing.a", "two", 3, 0), EOPNOTSUPP);
    FAILS(setxattr("x", "user", "two", 3, 0), EOPNOTSUPP);
    memset(value, 'n', 300);
    memcpy(value, "user.", 5);
    value[300] = 0;
    FAILS(setxattr("x", value, "two", 3, 0), ERANGE);
    volatile size_t much = 1 << 20;
    FAILS(setxattr("x", "user.big", value, much, 0), E2BIG);
    FAILS(setxattr("missing", "user.a", "two", 3, 0), ENOENT);
    FAILS(fsetxattr(77, "user.a", "two", 3, 0), EBADF);
    ssize_t len = listxattr("x", names, sizeof names);
    CHECK(len >= 18);
    int found = 0;
    for (char *name = names; name < names + len; name += strlen(name) + 1)
        found += !strcmp(name, "user.a") + !strcmp(name, "user.empty");
    SAME(found, 2);
    SAME(flistxattr(file, NULL, 0), len);
    FAILS(listxattr("x", names, 5), ERANGE);
    SAME(removexattr("x", "user.empty"), 0);
    FAILS(fremovexattr(file, "user.empty"), ENODATA);
    // Whose they are.
    SAME(chmod(".", 0755) | chmod("x", 0644), 0);
    SAME(user_sets("x", "user.u"), EACCES);
    SAME(user_sets("x", "trusted.u"), EPERM);
    SAME(user_sets("x", "security.u"), EPERM);
    SAME(chmod("x", 0666), 0);
    SAME(user_sets("x", "user.u"), 0);
    SAME(setxattr("x", "trusted.a", "t", 1, 0), 0);
    SAME(setxattr("x", "security.a", "s", 1, 0), 0);
    SAME(getxattr("x", "security.a", value, sizeof value), 1);
    // Of folders too; links have none but root's; names that move take them along.
    mkdir("xd", 0755);
    SAME(setxattr("xd", "user.d", "d", 1, 0), 0);
    SAME(symlink("x", "xl"), 0);
    SAME(getxattr("xl", "user.a", value, sizeof value), 5);
    FAILS(lsetxattr("xl", "user.a", "l", 1, 0), EPERM);
    FAILS(lgetxattr("xl", "user.a", value, sizeof value), ENODATA);
    SAME(lsetxattr("xl", "trusted.l", "l", 1, 0), 0);
    SAME(lgetxattr("xl", "trusted.l", value, sizeof value), 1);
    SAME(rename("x", "y"), 0);
    SAME(getxattr("y", "user.a", value, sizeof value), 5);
    SAME(unlink("y"), 0);
    SAME(fgetxattr(file, "user.a", value, sizeof value), 5);
    unlink("xl"), rmdir("xd"), close(file);
}

static void check_nameless(void) {
    char path[64];
    int file = open(".", O_TMPFILE | O_RDWR, 0640);
    if (file < 0 && errno == EOPNOTSUPP) return;
    struct stat status;
    SAME(fstat(file, &status), 0);
    SAME(status.st_nlink, 0);
    SAME(status.st_mode, S_IFREG | 0640);
    SAME(write(file, "text", 4), 4);
    SAME(linkat(file, "", AT_FDCWD, "n", AT_EMPTY_PATH), 0);
    SAME(stat("n", &status), 0);
    SAME(status.st_nlink, 1);
    SAME(status.st_size, 4);
    SAME(linkat(file, "", AT_FDCWD, "n2", AT_EMPTY_PATH), 0);
    FAILS(linkat(file, "", AT_FDCWD, "n2", AT_EMPTY_PATH), EEXIST);
    SAME(unlink("n") | unlink("n2"), 0);
    FAILS(linkat(file, "", AT_FDCWD, "n", AT_EMPTY_PATH), ENOENT);
    FAILS(linkat(file, "", AT_FDCWD, "n", 0), ENOENT);
    FAILS(linkat(AT_FDCWD, "x", AT_FDCWD, "n", 0x40), EINVAL);
    close(file);
    file = open(".", O_TMPFILE | O_WRONLY, 0600);
    CHECK(file >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    SAME(linkat(AT_FDCWD, path, AT_FDCWD, "m", AT_SYMLINK_FOLLOW), 0);
    SAME(unlink("m"), 0);
    close(file);
    file = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
    FAILS(linkat(file, "", AT_FDCWD, "m", AT_EMPTY_PATH), ENOENT);
    close(file);
    FAILS(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
    FAILS(open("missing", O_TMPFILE | O_RDWR, 0600), ENOENT);
    FAILS(open("a", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
}

static void put_text(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    SAME(write(file, text, strlen(text)), (ssize_t)strlen(text));
    close(file);
}

static int has_text(const char *path, const char *text) {
    char got[64] = {0};
    int file = open(path, O_RDONLY);
    ssize_t len = read(file, got, sizeof got - 1);
    close(file);
    return len == (ssize_t)strlen(text) && !strcmp(got, text);
}

static void check_exchange(void) {
    put_text("e1", "one");
    put_text("e2", "two");
    SAME(renameat2(AT_FDCWD, "e1", AT_FDCWD, "e2", RENAME_EXCHANGE), 0);
    CHECK(has_text("e1", "two") && has_text("e2", "one"));
    FAILS(renameat2(AT_FDCWD, "e1", AT_FDCWD, "e2", RENAME_NOREPLACE), EEXIST);
    FAILS(renameat2(AT_FDCWD, "e1", AT_FDCWD, "e3", RENAME_EXCHANGE), ENOENT);
    FAILS(renameat2(AT_FDCWD, "e3", AT_FDCWD, "e1", RENAME_EXCHANGE), ENOENT);
    FAILS(renameat2(AT_FDCWD, "e1", AT_FDCWD, "e2", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
    FAILS(renameat2(AT_FDCWD, "e1", AT_FDCWD, "e2", 64), EINVAL);
    SAME(renameat2(AT_FDCWD, "e1", AT_FDCWD, "e3", RENAME_NOREPLACE), 0);
    // A folder and a file, in different folders; the links count.
    struct stat status;
    SAME(mkdir("ed", 0755) | mkdir("ed/in", 0755) | mkdir("ee", 0755), 0);
    put_text("ed/in/f", "deep");
    SAME(renameat2(AT_FDCWD, "ed/in", AT_FDCWD, "ee", RENAME_EXCHANGE), 0);
    CHECK(has_text("ee/f", "deep"));
    SAME(renameat2(AT_FDCWD, "ee", AT_FDCWD, "e2", RENAME_EXCHANGE), 0);
    CHECK(has_text("e2/f", "deep") && has_text("ee", "one"));
    SAME(stat("ed", &status), 0);
    CHECK(status.st_nlink == 3 || status.st_nlink == 1);
    FAILS(renameat2(AT_FDCWD, "ed", AT_FDCWD, "ed/in", RENAME_EXCHANGE), EINVAL);
    FAILS(renameat2(AT_FDCWD, "ed/in", AT_FDCWD, "ed", RENAME_EXCHANGE), EINVAL);
    SAME(renameat2(AT_FDCWD, "ee", AT_FDCWD, "ee", RENAME_EXCHANGE), 0);
    SAME(unlink("e2/f") | rmdir("e2") | rmdir("ed/in") | rmdir("ed"), 0);
    SAME(unlink("e3") | unlink("ee"), 0);
}

static void check_names(void) {
    static char name[300], path[5000];
    memset(name, 'n', 256);
    FAILS(open(name, O_WRONLY | O_CREAT, 0644), ENAMETOOLONG);
    FAILS(mkdir(name, 0755), ENAMETOOLONG);
    name[255] = 0;
    put_text(name, "long");
    CHECK(has_text(name, "long"));
    SAME(unlink(name), 0);
    memset(path, '/', sizeof path - 1);
    FAILS(open(path, O_RDONLY), ENAMETOOLONG);
    path[4096] = 0;
    FAILS(open(path, O_RDONLY), ENAMETOOLONG);
    path[700] = 0;
    int root = open(path, O_RDONLY | O_DIRECTORY);
    CHECK(root >= 0);
    close(root);
    SAME(symlink("l2", "l1") | symlink("l1", "l2"), 0);
    FAILS(open("l1", O_RDONLY), ELOOP);
    FAILS(open("l1", O_RDONLY | O_NOFOLLOW), ELOOP);
    int link = open("l1", O_PATH | O_NOFOLLOW);
    (void)link;
    if (link >= 0) close(link);
    FAILS(open("a", O_RDONLY | O_DIRECTORY), ENOTDIR);
    SAME(unlink("l1") | unlink("l2"), 0);
    int file = open("a", O_PATH);
    FAILS(read(file, name, 1), EBADF);
    FAILS(fchmod(file, 0600), EBADF);
    FAILS(fchown(file, 0, 0), EBADF);
    SAME(fchownat(file, "", 0, 0, AT_EMPTY_PATH), 0);
    struct stat status;
    SAME(fstat(file, &status), 0);
    close(file);
    // Of a sticky folder only owners take names.
    SAME(mkdir("s", 0777) | chmod("s", 01777), 0);
    put_text("s/root", "x");
    pid_t child = fork();
    if (child == 0) {
        SAME(setgid(5) | setuid(5), 0);
        FAILS(unlink("s/root"), EPERM);
        FAILS(rename("s/root", "s/mine"), EPERM);
        put_text("s/own", "x");
        SAME(unlink("s/own"), 0);
        FAILS(chown("s", 5, 5), EPERM);
        FAILS(open("s/root", O_WRONLY), EACCES);
        int reads = open("s/root", O_RDONLY);
        FAILS(fchmod(reads, 0666), EPERM);
        FAILS(futimens(reads, NULL), EACCES);
        struct timespec times[2] = {{5, 0}, {5, 0}};
        FAILS(utimensat(AT_FDCWD, "s/root", times, 0), EPERM);
        times[0].tv_nsec = times[1].tv_nsec = UTIME_OMIT;
        SAME(utimensat(AT_FDCWD, "s/root", times, 0), 0);
        close(reads);
        CHILD_END();
    }
    CHILD(child);
    SAME(unlink("s/root") | rmdir("s"), 0);
    // chown takes set-user-id away, from files that can be run.
    put_text("c", "x");
    SAME(chmod("c", 06755), 0);
    SAME(chown("c", 5, 5), 0);
    SAME(stat("c", &status), 0);
    SAME(status.st_mode & 07777, 0755);
    struct statfs figures;
    SAME(statfs(".", &figures), 0);
    CHECK(figures.f_bsize > 0 && figures.f_blocks >= figures.f_bfree && figures.f_namelen == 255);
    SAME(unlink("c"), 0);
}

int main(void) {
    umask(022);
    check_room();
    check_holes();
    check_attributes();
    check_nameless();
    check_exchange();
    check_names();
    return check_end("fileops");
}

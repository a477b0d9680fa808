/* A disk that fails where a test says so. Preloaded into a process, it lets the calls that make files
 * durable fail as the file $FAILING_DISK says: "CALL ERRNO PART" is about files with PART in their
 * path. What failed is written to $FAILING_DISK.hits, one letter each, so that a test can prove it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(const char *call, int fd, const char *path)
{
    char rule[512] = "", wanted[32], part[256], place[64], name[4096] = "", hits[4096];
    const char *control = getenv("FAILING_DISK");
    int number, before = errno;
    if (control == NULL)
        return 0;
    int file = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        errno = before;
        return 0;
    }
    syscall(SYS_read, file, rule, sizeof rule - 1);
    syscall(SYS_close, file);
    errno = before;
    if (sscanf(rule, "%31s %d %255s", wanted, &number, part) != 3 || strcmp(wanted, call) != 0)
        return 0;
    if (path == NULL) {
        snprintf(place, sizeof place, "/proc/self/fd/%d", fd);
        if (readlink(place, name, sizeof name - 1) < 0)
            name[0] = 0;
        path = name;
    }
    if (strstr(path, part) == NULL) {
        errno = before;
        return 0;
    }
    snprintf(hits, sizeof hits, "%s.hits", control);
    file = syscall(SYS_openat, AT_FDCWD, hits, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (file >= 0) {
        syscall(SYS_write, file, "x", 1);
        syscall(SYS_close, file);
    }
    errno = number;
    return 1;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "write");
    return fails("write", fd, NULL) ? -1 : real(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    static ssize_t (*real)(int, const struct iovec *, int);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "writev");
    return fails("writev", fd, NULL) ? -1 : real(fd, parts, count);
}

int fsync(int fd)
{
    static int (*real)(int);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "fsync");
    return fails("fsync", fd, NULL) ? -1 : real(fd);
}

int fdatasync(int fd)
{
    static int (*real)(int);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "fdatasync");
    return fails("fdatasync", fd, NULL) ? -1 : real(fd);
}

int rename(const char *from, const char *to)
{
    static int (*real)(const char *, const char *);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "rename");
    return fails("rename", -1, from) ? -1 : real(from, to);
}

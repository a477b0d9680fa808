/* A file system that several machines share by NFS, as far as its locks go: only a file has one that
 * the others see, and only one that is open for writing can have an exclusive one. Preloaded into a
 * process it refuses all other locks with EBADF, and writes down in $SHARED_DISK, a letter each, that
 * it refused (r) or let one pass (p). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static void note(const char *letter)
{
    const char *place = getenv("SHARED_DISK");
    int file = place == NULL ? -1 : open(place, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (file >= 0) {
        (void)!write(file, letter, 1);
        close(file);
    }
}

int flock(int fd, int operation)
{
    static int (*real)(int, int);
    struct stat status;
    int mode = fcntl(fd, F_GETFL) & O_ACCMODE;
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "flock");
    if (fstat(fd, &status) < 0)
        return -1;
    if (!S_ISREG(status.st_mode) || ((operation & LOCK_EX) && mode == O_RDONLY)) {
        note("r");
        errno = EBADF;
        return -1;
    }
    note("p");
    return real(fd, operation);
}

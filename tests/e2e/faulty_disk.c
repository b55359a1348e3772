/*
 * LD_PRELOADed into posternd: while the file that FAULTY_DISK names exists, fsync (its content "sync") or writes to
 * files ("write") fail with EIO, or fsync takes as long as the file is there ("slow").  Each failure, and each look
 * of a slow one, adds a byte to FAULTY_DISK.log, so that a test can count the tries.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(const char *what)
{
    char mode[8] = "", log[4096];
    const char *file = getenv("FAULTY_DISK");
    int fd = file == NULL ? -1 : open(file, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return 0;
    ssize_t n = read(fd, mode, sizeof mode - 1);
    close(fd);
    if (n <= 0 || strcmp(mode, what) != 0)
        return 0;
    snprintf(log, sizeof log, "%s.log", file);
    fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    n = write(fd, ".", 1);
    close(fd);
    errno = EIO;
    return n == 1;
}

static void hold(void)
{
    while (fails("slow"))
        usleep(10000);
}

int fsync(int fd)
{
    hold();
    return fails("sync") ? -1 : ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd)
{
    hold();
    return fails("sync") ? -1 : ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    typedef ssize_t real(int, const void *, size_t, off64_t);
    return fails("write") ? -1 : ((real *)dlsym(RTLD_NEXT, "pwrite64"))(fd, p, n, at);
}

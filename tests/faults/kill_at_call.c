/*
 * LD_PRELOADed into posternd: its n-th call to the kernel is its last.  KILL_AT_CALL names a file of two 32-bit
 * numbers that test and process share: how many calls until then (0: never; a test writes it and the count begins),
 * and whether it came to pass.  Calls that touch a disk, the network or a descriptor count.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
    _Atomic int32_t left, killed;
};
static struct control *control;

__attribute__((constructor)) static void find_control(void)
{
    const char *name = getenv("KILL_AT_CALL");
    int fd = name == NULL ? -1 : open(name, O_RDWR | O_CLOEXEC);
    if (fd == -1)
        return;
    void *p = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p != MAP_FAILED)
        control = p;
}

static void count(void)
{
    if (control == NULL || control->left == 0 || atomic_fetch_sub(&control->left, 1) != 1)
        return;
    control->killed = 1;
    kill(getpid(), SIGKILL);
}

#define COUNTED(type, name, parameters, arguments)                                                                     \
    type name parameters                                                                                               \
    {                                                                                                                  \
        static __typeof__(&name) real;                                                                                 \
        if (real == NULL)                                                                                              \
            real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                                         \
        count();                                                                                                       \
        return real arguments;                                                                                         \
    }

COUNTED(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n))
COUNTED(ssize_t, pread64, (int fd, void *p, size_t n, off64_t at), (fd, p, n, at))
COUNTED(ssize_t, readv, (int fd, const struct iovec *v, int n), (fd, v, n))
COUNTED(ssize_t, recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags))
COUNTED(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
COUNTED(ssize_t, pwrite64, (int fd, const void *p, size_t n, off64_t at), (fd, p, n, at))
COUNTED(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
COUNTED(ssize_t, send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags))
COUNTED(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
COUNTED(int, fsync, (int fd), (fd))
COUNTED(int, fdatasync, (int fd), (fd))
COUNTED(int, ftruncate64, (int fd, off64_t n), (fd, n))
COUNTED(int, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
COUNTED(int, socket, (int domain, int type, int protocol), (domain, type, protocol))
COUNTED(int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags))
COUNTED(int, close, (int fd), (fd))
COUNTED(int, epoll_wait, (int fd, struct epoll_event *e, int n, int ms), (fd, e, n, ms))
COUNTED(int, epoll_ctl, (int fd, int op, int of, struct epoll_event *e), (fd, op, of, e))

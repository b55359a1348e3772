/*
 * LD_PRELOADed into a program: counts its calls to the heap and to the kernel, and lets the n-th of one kind fail,
 * once or from then on.  It speaks to the driver by the file that TORTURE names, mapped as struct torture below: the
 * driver writes `on` last.  What cannot fail in life (an eventfd, an epoll) is left alone.
 * TORTURE_TRACE: whose call failed first, and where the program crashed, goes to the file of that name.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { ALLOC, LARGE, READ, WRITE, SYNC, CONNECT, OPEN, KINDS };

/* In words of 32 bits; torture.mjs knows the order. */
struct torture {
    _Atomic uint32_t on, kind, nth, for_ever, fired;
    _Atomic uint32_t calls[KINDS];
};

static struct torture *shared;
static int trace_fd = -1;
static _Thread_local int sheltered; /* inside what does not look whether it got memory */
static _Thread_local int tracing;

#define REAL(name) ((__typeof__(&name))real(#name, &real_##name))
#define KEEP(name) static void *_Atomic real_##name

static void *real(const char *name, void *_Atomic *kept)
{
    void *p = atomic_load(kept);
    if (p == NULL) {
        p = dlsym(RTLD_NEXT, name);
        atomic_store(kept, p);
    }
    return p;
}

static void trace(void)
{
    void *frames[40];
    tracing = 1;
    backtrace_symbols_fd(frames, backtrace(frames, 40), trace_fd);
    tracing = 0;
    dprintf(trace_fd, "--\n");
}

static void on_crash(int signo)
{
    dprintf(trace_fd, "signal %d\n", signo);
    trace();
    _exit(128 + signo);
}

__attribute__((constructor)) static void begin(void)
{
    const char *file = getenv("TORTURE"), *trace = getenv("TORTURE_TRACE");
    int fd = file == NULL ? -1 : open(file, O_RDWR | O_CLOEXEC);
    if (fd == -1)
        return;
    void *none[1];
    if (trace != NULL && backtrace(none, 1) >= 0) /* its first call loads a library */
        trace_fd = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    static char stack[1 << 16];
    if (trace_fd != -1 && sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL) == 0)
        sigaction(SIGSEGV, &(struct sigaction){.sa_handler = on_crash, .sa_flags = SA_ONSTACK}, NULL);
    void *p = mmap(NULL, sizeof(struct torture), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p != MAP_FAILED)
        shared = p;
}

static int fails(enum kind kind, int errno_once, int errno_for_ever)
{
    if (shared == NULL || tracing || sheltered || atomic_load(&shared->on) == 0)
        return 0;
    uint32_t n = atomic_fetch_add(&shared->calls[kind], 1) + 1;
    uint32_t nth = atomic_load(&shared->nth), for_ever = atomic_load(&shared->for_ever);
    if (atomic_load(&shared->kind) != kind || n < nth || (n > nth && !for_ever))
        return 0;
    if (atomic_fetch_add(&shared->fired, 1) == 0 && trace_fd != -1)
        trace();
    errno = for_ever ? errno_for_ever : errno_once;
    return 1;
}

/* Files run full and break, streams end. */
static int io_fails(enum kind kind, int fd)
{
    struct stat st;
    if (shared == NULL || atomic_load(&shared->on) == 0 || fd == trace_fd || fstat(fd, &st) != 0)
        return 0;
    if (S_ISREG(st.st_mode))
        return fails(kind, EIO, kind == WRITE ? ENOSPC : EIO);
    if (S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode))
        return fails(kind, kind == WRITE ? EPIPE : ECONNRESET, kind == WRITE ? ECONNRESET : EIO);
    return 0;
}

/* --- the heap ----------------------------------------------------------------------------------------------------- */

/* From so many bytes on it is peers that decide how many (LARGE_BYTES of postern/base.h). */
static int heap_fails(size_t n)
{
    return fails(n >= 65536 ? LARGE : ALLOC, ENOMEM, ENOMEM);
}

KEEP(malloc);
KEEP(calloc);
KEEP(realloc);
KEEP(posix_memalign);
KEEP(aligned_alloc);

void *malloc(size_t n)
{
    return heap_fails(n) ? NULL : REAL(malloc)(n);
}

void *calloc(size_t n, size_t size)
{
    return heap_fails(n * size) ? NULL : REAL(calloc)(n, size);
}

void *realloc(void *p, size_t n)
{
    return heap_fails(n) ? NULL : REAL(realloc)(p, n);
}

int posix_memalign(void **p, size_t alignment, size_t n)
{
    return heap_fails(n) ? ENOMEM : REAL(posix_memalign)(p, alignment, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    return heap_fails(n) ? NULL : REAL(aligned_alloc)(alignment, n);
}

/* --- libexttextcat ------------------------------------------------------------------------------------------------ */

/* It does not look whether it got its memory: base/language.c asks first whether there is some, and that may fail. */
void *special_textcat_Init(const char *list, const char *prefix);
int textcat_ClassifyFull(void *textcat, const char *text, size_t n, void *answers);
KEEP(special_textcat_Init);
KEEP(textcat_ClassifyFull);

void *special_textcat_Init(const char *list, const char *prefix)
{
    sheltered = 1;
    void *textcat = REAL(special_textcat_Init)(list, prefix);
    sheltered = 0;
    return textcat;
}

int textcat_ClassifyFull(void *textcat, const char *text, size_t n, void *answers)
{
    sheltered = 1;
    int found = REAL(textcat_ClassifyFull)(textcat, text, n, answers);
    sheltered = 0;
    return found;
}

/* --- bytes in ----------------------------------------------------------------------------------------------------- */

/* A signal wakes libevent's loop by a byte through a socket pair: that can be full, but not fail. */
static int is_wake_up(int fd, size_t n)
{
    int domain = 0;
    socklen_t size = sizeof domain;
    return (n == 1 || n == 1024) && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

KEEP(read);
KEEP(readv);
KEEP(recv);
KEEP(pread64);

ssize_t read(int fd, void *p, size_t n)
{
    return !is_wake_up(fd, n) && io_fails(READ, fd) ? -1 : REAL(read)(fd, p, n);
}

ssize_t readv(int fd, const struct iovec *v, int n)
{
    return io_fails(READ, fd) ? -1 : REAL(readv)(fd, v, n);
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
    return !is_wake_up(fd, n) && io_fails(READ, fd) ? -1 : REAL(recv)(fd, p, n, flags);
}

ssize_t pread64(int fd, void *p, size_t n, off64_t at)
{
    return io_fails(READ, fd) ? -1 : REAL(pread64)(fd, p, n, at);
}

/* --- bytes out ---------------------------------------------------------------------------------------------------- */

KEEP(write);
KEEP(writev);
KEEP(send);
KEEP(sendmsg);
KEEP(pwrite64);
KEEP(ftruncate64);

ssize_t write(int fd, const void *p, size_t n)
{
    return !is_wake_up(fd, n) && io_fails(WRITE, fd) ? -1 : REAL(write)(fd, p, n);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    return io_fails(WRITE, fd) ? -1 : REAL(writev)(fd, v, n);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    return !is_wake_up(fd, n) && io_fails(WRITE, fd) ? -1 : REAL(send)(fd, p, n, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    return io_fails(WRITE, fd) ? -1 : REAL(sendmsg)(fd, m, flags);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    return io_fails(WRITE, fd) ? -1 : REAL(pwrite64)(fd, p, n, at);
}

int ftruncate64(int fd, off64_t n)
{
    return io_fails(WRITE, fd) ? -1 : REAL(ftruncate64)(fd, n);
}

/* --- the disk, the network, descriptors --------------------------------------------------------------------------- */

KEEP(fsync);
KEEP(fdatasync);
KEEP(connect);
KEEP(open);
KEEP(open64);
KEEP(fopen);
KEEP(fopen64);
KEEP(socket);
KEEP(accept4);

int fsync(int fd)
{
    return fails(SYNC, EIO, EIO) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    return fails(SYNC, EIO, EIO) ? -1 : REAL(fdatasync)(fd);
}

int connect(int fd, const struct sockaddr *a, socklen_t n)
{
    return fails(CONNECT, ECONNREFUSED, ETIMEDOUT) ? -1 : REAL(connect)(fd, a, n);
}

static mode_t mode_of(int flags, va_list args)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return fails(OPEN, EMFILE, EMFILE) ? -1 : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return fails(OPEN, EMFILE, EMFILE) ? -1 : REAL(open64)(path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
    return fails(OPEN, EMFILE, EMFILE) ? NULL : REAL(fopen)(path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
    return fails(OPEN, EMFILE, EMFILE) ? NULL : REAL(fopen64)(path, mode);
}

int socket(int domain, int type, int protocol)
{
    return fails(OPEN, EMFILE, EMFILE) ? -1 : REAL(socket)(domain, type, protocol);
}

int accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    return fails(OPEN, EMFILE, EMFILE) ? -1 : REAL(accept4)(fd, a, n, flags);
}

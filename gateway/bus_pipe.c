/*
 * Framing of the bus: a header of fixed size, then the body.  Knows no meaning of a message.  The one idea: bytes that
 * are not a whole message wait in a buffer that is bounded by the largest one.
 */
#include "bus_pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct frame {
    uint32_t kind;
    uint32_t n;
    uint64_t id;
};

/* Frames are padded, so that each body stands aligned. */
static size_t frame_bytes(size_t body)
{
    return sizeof(struct frame) + (body + 7) / 8 * 8;
}

#define READ_BYTES 65536u

/* Bytes from..n of p are there. */
struct bytes {
    char *p;
    size_t from, n, size;
};

struct bus_pipe {
    int fd;
    bool gone;
    struct bytes in, out;
};

/* Room for n more behind what is there, which moves to the front: a frame stands aligned. */
static char *bytes_room(struct bytes *b, size_t n)
{
    if (b->from > 0) {
        memmove(b->p, b->p + b->from, b->n - b->from);
        b->n -= b->from;
        b->from = 0;
    }
    if (b->size - b->n < n) {
        b->size = b->n + n;
        b->p = xrealloc(b->p, b->size, 1);
    }
    return b->p + b->n;
}

struct bus_pipe *bus_pipe_new(int fd)
{
    struct bus_pipe *p = xcalloc(1, sizeof(*p));
    p->fd = fd;
    ensure(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
    return p;
}

void bus_pipe_free(struct bus_pipe **pp)
{
    struct bus_pipe *p = take(pp);
    if (p == NULL)
        return;
    close(p->fd);
    free(p->in.p);
    free(p->out.p);
    free(p);
}

int bus_pipe_fd(const struct bus_pipe *p)
{
    return p->fd;
}

bool bus_pipe_is_gone(const struct bus_pipe *p)
{
    return p->gone;
}

bool bus_pipe_is_full(const struct bus_pipe *p)
{
    return !p->gone && p->out.n > p->out.from;
}

bool bus_pipe_flush(struct bus_pipe *p)
{
    while (bus_pipe_is_full(p)) {
        ssize_t n = send(p->fd, p->out.p + p->out.from, p->out.n - p->out.from, MSG_NOSIGNAL);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1 && errno == EAGAIN)
            break;
        p->gone = n == -1;
        p->out.from += n > 0 ? (size_t)n : 0;
    }
    return !p->gone;
}

bool bus_pipe_send(struct bus_pipe *p, const struct bus_message *m)
{
    struct frame f = {.kind = m->kind, .n = (uint32_t)m->body.n, .id = m->id};

    size_t bytes = frame_bytes(m->body.n);

    ensure(m->body.n <= BUS_BODY_MAX);
    if (p->gone || p->out.n - p->out.from + bytes > BUS_QUEUE_MAX)
        return false;
    char *to = bytes_room(&p->out, bytes);
    memset(to + bytes - 8, 0, 8);
    memcpy(to, &f, sizeof(f));
    if (m->body.n > 0)
        memcpy(to + sizeof(f), m->body.p, m->body.n);
    p->out.n += bytes;
    return bus_pipe_flush(p);
}

/* The next whole message.  False: there is none, or *bad. */
static bool next(struct bus_pipe *p, struct bus_message *m, bool *bad)
{
    size_t left = p->in.n - p->in.from;
    struct frame f;

    if (left < sizeof(f))
        return false;
    memcpy(&f, p->in.p + p->in.from, sizeof(f));
    *bad = f.kind >= BUS_KIND_N || f.n > BUS_BODY_MAX;
    if (*bad || left < frame_bytes(f.n))
        return false;
    *m = (struct bus_message){(enum bus_kind)f.kind, f.id, {p->in.p + p->in.from + sizeof(f), f.n}};
    p->in.from += frame_bytes(f.n);
    return true;
}

bool bus_pipe_read(struct bus_pipe *p, void (*each)(const struct bus_message *m, void *arg), void *arg)
{
    struct bus_message m;
    bool bad = false;

    while (!p->gone) {
        char *to = bytes_room(&p->in, READ_BYTES);
        ssize_t n = recv(p->fd, to, READ_BYTES, 0);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1 && errno == EAGAIN)
            break;
        p->gone = n <= 0;
        p->in.n += n > 0 ? (size_t)n : 0;
        while (next(p, &m, &bad))
            each(&m, arg);
        p->gone = p->gone || bad;
    }
    return !p->gone;
}

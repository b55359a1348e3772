/*
 * The worker's end of the bus: reads what the parent sends, keeps the lease, remembers who waits for which change.
 * Knows nothing of what changed.
 */
#include "bus.h"

#include <poll.h>
#include <stdlib.h>

#include "bus_pipe.h"
#include "loop.h"
#include "postern/clock.h"
#include "postern/log.h"

struct waiting {
    struct bus *bus;
    struct waiting *next, **prev;
    uint64_t id;
    bus_cb *cb;
    void *arg;
    struct loop_task *task; /* without workers: the end of the turn */
};

struct bus {
    struct loop *loop;
    const struct bus_user *user;
    void *arg;
    struct bus_pipe *pipe; /* NULL: no workers */
    struct loop_watch *watch;
    bool lost;
    int64_t fresh_until_mono_ms;
    uint64_t last_id;
    struct waiting *waiting;
};

static void waiting_free(struct waiting *w)
{
    *w->prev = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    loop_cancel(&w->task);
    free(w);
}

static void finish(void *arg)
{
    struct waiting *w = arg;
    bus_cb *cb = w->cb;
    void *cb_arg = w->arg;

    w->task = NULL;
    waiting_free(w);
    cb(cb_arg);
}

/* --- the parent's end is gone ----------------------------------------------------------- */

/* Nobody would tell us any more what changes, and nobody would start us again. */
static void lose(struct bus *b)
{
    if (b->lost)
        return;
    b->lost = true;
    b->fresh_until_mono_ms = 0;
    loop_watch_free(&b->watch);
    log_line(LOG_ERROR_, NULL, "bus", "parent_gone", "then=\"this worker ends\"");
    b->user->drain(b->arg, true);
}

static void want(struct bus *b)
{
    if (b->watch != NULL)
        loop_watch_want(b->watch, LOOP_READ | (bus_pipe_is_full(b->pipe) ? LOOP_WRITE : LOOP_NONE));
}

static void tell(struct bus *b, enum bus_kind kind, uint64_t id, const void *body, size_t n)
{
    if (!b->lost && !bus_pipe_send(b->pipe, &(struct bus_message){kind, id, {body, n}}))
        lose(b);
    want(b);
}

/* --- what comes in ------------------------------------------------------------------------ */

static bool read_number(const struct bus_message *m, int64_t *out)
{
    bool whole = m->body.n == sizeof(*out);
    if (whole)
        memcpy(out, m->body.p, sizeof(*out));
    return whole;
}

static void on_ping(struct bus *b, const struct bus_message *m)
{
    int64_t sent_ms, stuck_ms = b->user->stuck_ms(b->arg);

    if (read_number(m, &sent_ms))
        b->fresh_until_mono_ms = sent_ms + BUS_LEASE_MS;
    tell(b, BUS_PONG, m->id, &stuck_ms, sizeof(stuck_ms));
}

static void on_changed(struct bus *b, const struct bus_message *m)
{
    b->user->changed(b->arg, (const uint64_t *)(const void *)m->body.p, m->body.n / sizeof(uint64_t));
    tell(b, BUS_APPLIED, m->id, NULL, 0);
}

static void on_clock(struct bus *b, const struct bus_message *m)
{
    int64_t now_ms;

    if (read_number(m, &now_ms))
        b->user->clock(b->arg, now_ms);
    tell(b, BUS_APPLIED, m->id, NULL, 0);
}

static void on_due(struct bus *b, const struct bus_message *m)
{
    struct bus_due due;

    if (m->body.n != sizeof(due))
        return;
    memcpy(&due, m->body.p, sizeof(due));
    b->user->due(b->arg, &due);
}

static void on_in_force(struct bus *b, uint64_t id)
{
    struct waiting *w = b->waiting;

    while (w != NULL && w->id != id)
        w = w->next;
    if (w != NULL)
        finish(w);
}

static void on_message(const struct bus_message *m, void *arg)
{
    struct bus *b = arg;

    switch (m->kind) {
    case BUS_PING:
        on_ping(b, m);
        break;
    case BUS_CHANGED:
        on_changed(b, m);
        break;
    case BUS_CLOCK:
        on_clock(b, m);
        break;
    case BUS_IN_FORCE:
        on_in_force(b, m->id);
        break;
    case BUS_DUE:
        on_due(b, m);
        break;
    case BUS_DRAIN:
    case BUS_STOP:
        b->user->drain(b->arg, m->kind == BUS_STOP);
        break;
    case BUS_RELOAD:
        b->user->reload(b->arg, m->id, m->body);
        break;
    case BUS_RELOAD_END:
        b->user->reload_end(b->arg, m->body);
        break;
    case BUS_READY:
    case BUS_PONG:
    case BUS_APPLIED:
    case BUS_RELOADED:
    case BUS_KIND_N:
        break; /* a worker's to say */
    }
}

static void on_pipe(int fd, unsigned ready, void *arg)
{
    struct bus *b = arg;

    (void)fd;
    bool lives = (ready & LOOP_WRITE) == 0 || bus_pipe_flush(b->pipe);
    lives = lives && ((ready & LOOP_READ) == 0 || bus_pipe_read(b->pipe, on_message, b));
    if (!lives)
        lose(b);
    want(b);
}

/* --- for the gateway ------------------------------------------------------------------------ */

struct bus *bus_new(struct loop *loop, int fd, const struct bus_user *user, void *arg)
{
    struct bus *b = xcalloc(1, sizeof(*b));

    *b = (struct bus){.loop = loop, .user = user, .arg = arg};
    if (fd == -1)
        return b;
    b->pipe = bus_pipe_new(fd);
    b->watch = loop_watch_fd(loop, fd, LOOP_READ, on_pipe, b);
    return b;
}

void bus_free(struct bus **bp)
{
    struct bus *b = take(bp);
    if (b == NULL)
        return;
    for (struct waiting *w = b->waiting, *next; w != NULL; w = next) {
        next = w->next;
        loop_cancel(&w->task);
        free(w);
    }
    loop_watch_free(&b->watch);
    bus_pipe_free(&b->pipe);
    free(b);
}

void bus_ready(struct bus *b)
{
    if (b->pipe == NULL)
        return;
    struct pollfd fd = {.fd = bus_pipe_fd(b->pipe), .events = POLLIN};
    int64_t until_ms = clock_mono_ms() + BUS_LEASE_MS;

    tell(b, BUS_READY, 0, NULL, 0);
    while (!b->lost && !bus_fresh(b) && clock_mono_ms() < until_ms) {
        if (poll(&fd, 1, 10) > 0)
            on_pipe(fd.fd, LOOP_READ, b);
    }
}

bool bus_has_parent(const struct bus *b)
{
    return b->pipe != NULL;
}

bool bus_fresh(const struct bus *b)
{
    return b->pipe == NULL || clock_mono_ms() < b->fresh_until_mono_ms;
}

static void ask(struct bus *b, enum bus_kind kind, const void *body, size_t n, const struct waiting *who)
{
    struct waiting *w = xcalloc(1, sizeof(*w));

    *w = (struct waiting){.bus = b, .next = b->waiting, .prev = &b->waiting, .cb = who->cb, .arg = who->arg};
    if (w->next != NULL)
        w->next->prev = &w->next;
    b->waiting = w;
    w->id = ++b->last_id;
    if (b->pipe == NULL)
        w->task = loop_defer(b->loop, finish, w);
    else
        tell(b, kind, w->id, body, n);
}

void bus_changed(struct bus *b, const uint64_t *hashes, size_t n, bus_cb *cb, void *arg)
{
    ask(b, BUS_CHANGED, hashes, n * sizeof(*hashes), &(struct waiting){.cb = cb, .arg = arg});
}

void bus_clock(struct bus *b, int64_t now_ms, bus_cb *cb, void *arg)
{
    ask(b, BUS_CLOCK, &now_ms, sizeof(now_ms), &(struct waiting){.cb = cb, .arg = arg});
}

void bus_due(struct bus *b, const struct bus_due *due)
{
    if (b->pipe != NULL)
        tell(b, BUS_DUE, 0, due, sizeof(*due));
}

void bus_reloaded(struct bus *b, uint64_t id, const char *why)
{
    if (b->pipe != NULL)
        tell(b, BUS_RELOADED, id, why, why != NULL ? strlen(why) : 0);
}

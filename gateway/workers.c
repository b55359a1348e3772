/*
 * The parent of the workers: holds what must outlive one of them (the store's lock, the listening sockets, the memory
 * of the metrics), hears what they say and passes it on.  It opens nothing that it would share across a fork: no loop,
 * no database, no thread.  The one idea: one turn reads what came in, then looks after what is due.
 */
#include "workers.h"

#include <poll.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "listen_socket.h"
#include "postern/clock.h"
#include "postern/hash.h"
#include "postern/log.h"
#include "postern/zone.h"
#include "workers_parts.h"

#define LOCK_MS 3000 /* the workers of a parent that was killed are gone by then */

/* --- what workers say ------------------------------------------------------------------------ */

struct heard {
    struct workers *ws;
    struct worker *by;
};

static int64_t number_of(const struct bus_message *m)
{
    int64_t n = 0;

    if (m->body.n == sizeof(n))
        memcpy(&n, m->body.p, sizeof(n));
    return n;
}

static void on_message(const struct bus_message *m, void *arg)
{
    const struct heard *h = arg;

    h->by->heard_mono_ms = clock_mono_ms();
    switch (m->kind) {
    case BUS_READY:
        workers_ready(h->ws, h->by);
        break;
    case BUS_PONG:
        h->by->stuck_ms = number_of(m);
        h->by->ping_open = h->by->fenced = false;
        break;
    case BUS_CLOCK:
        clock_set(number_of(m)); /* those that start later inherit it */
        workers_change(h->ws, h->by, m);
        break;
    case BUS_CHANGED:
        workers_change(h->ws, h->by, m);
        break;
    case BUS_APPLIED:
        workers_applied(h->ws, h->by, m->id);
        break;
    case BUS_DUE:
        workers_send(&h->ws->worker[STORE_RELEASING_OWNER], BUS_DUE, 0, m->body);
        break;
    case BUS_RELOADED:
        workers_reload_answered(h->ws, h->by, m);
        break;
    case BUS_PING:
    case BUS_IN_FORCE:
    case BUS_DRAIN:
    case BUS_STOP:
    case BUS_RELOAD:
    case BUS_RELOAD_END:
    case BUS_KIND_N:
        break;
    }
}

void workers_read(struct workers *ws, struct worker *w)
{
    struct heard h = {ws, w};

    if (!bus_pipe_read(w->pipe, on_message, &h))
        workers_lost(w);
}

/* --- the loop -------------------------------------------------------------------------------------- */

static void on_signals(struct workers *ws)
{
    struct signalfd_siginfo s;

    while (read(ws->signal_fd, &s, sizeof(s)) == (ssize_t)sizeof(s)) {
        if (s.ssi_signo == SIGCHLD)
            continue; /* several deaths may be one signal: workers_reap() looks at all */
        if (s.ssi_signo == SIGHUP) {
            if (!ws->draining)
                workers_reload(ws);
            continue;
        }
        log_line(LOG_INFO, NULL, "workers", "draining", "signal=%u", s.ssi_signo);
        workers_drain(ws);
    }
    workers_reap(ws);
}

/* One turn: what came in, then what is due. */
static void turn(struct workers *ws)
{
    struct pollfd fds[METRICS_WORKERS_MAX + 1] = {{.fd = ws->signal_fd, .events = POLLIN}};

    for (size_t i = 0; i < ws->n; i++) {
        const struct worker *w = &ws->worker[i];
        if (w->pipe == NULL || w->lost_mono_ms != 0)
            fds[i + 1].fd = -1;
        else
            fds[i + 1] = (struct pollfd){.fd = bus_pipe_fd(w->pipe),
                                         .events = (short)(POLLIN | (bus_pipe_is_full(w->pipe) ? POLLOUT : 0))};
    }
    if (poll(fds, (nfds_t)ws->n + 1, workers_wait_ms(ws)) > 0) {
        for (size_t i = 0; i < ws->n; i++) {
            struct worker *w = &ws->worker[i];
            if ((fds[i + 1].revents & POLLOUT) != 0 && !bus_pipe_flush(w->pipe))
                workers_lost(w);
            if ((fds[i + 1].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
                workers_read(ws, w);
        }
        if (fds[0].revents != 0)
            on_signals(ws);
    }
    workers_tick(ws);
}

static bool over(const struct workers *ws)
{
    for (size_t i = 0; i < ws->n; i++) {
        if (ws->worker[i].pid != 0)
            return false;
    }
    return ws->draining;
}

/* --- start and end ----------------------------------------------------------------------------------- */

/* Workers of a parent that was killed are killed with it, and hold the lock until they are gone. */
static int take_lock(const char *url, struct errmsg *e)
{
    int64_t until_ms = clock_mono_ms() + LOCK_MS;
    int fd = store_lock(url, e);

    while (fd == -1 && clock_mono_ms() < until_ms) {
        usleep(20000);
        fd = store_lock(url, e);
    }
    return fd;
}

/* Once, before there are workers: migrates, and takes back what any owner left. */
static bool open_once(struct workers *ws, struct errmsg *e)
{
    struct store_options o = {
        .url = ws->conf->store_url,
        .audit_key = slice_of(ws->conf->audit_key),
        .now_ms = clock_wall_ms(),
        .sharing = STORE_BEFORE_WORKERS,
    };
    struct store *s;

    ws->lock_fd = take_lock(o.url, e);
    s = ws->lock_fd != -1 ? store_open(&o, e) : NULL;
    if (s == NULL)
        return false;
    store_close(&s);
    return true;
}

static bool open_queues(struct workers *ws, struct errmsg *e)
{
    const char *const address[LISTENER_N] = {[LISTENER_HTTP] = ws->conf->listen_http,
                                             [LISTENER_SMTP] = ws->conf->listen_smtp,
                                             [LISTENER_SMTPS] = ws->conf->listen_smtps};
    int fds[METRICS_WORKERS_MAX];

    for (size_t i = 0; i < ws->n; i++)
        ws->worker[i] = (struct worker){.n = (uint32_t)i, .fd = {-1, -1, -1}};
    for (size_t l = 0; l < LISTENER_N; l++) {
        if (address[l] == NULL)
            continue;
        if (!listen_sockets_open(address[l], fds, ws->n, e))
            return false;
        for (size_t i = 0; i < ws->n; i++)
            ws->worker[i].fd[l] = fds[i];
    }
    return true;
}

static bool set_up(struct workers *ws, struct errmsg *e)
{
    sigset_t mask;

    if (!open_once(ws, e) || !open_queues(ws, e))
        return false;
    ws->board = metrics_board_new(ws->n);
    (void)hash_siphash("", 0); /* draws its key: all workers call an address by the same hash */
    (void)zone_load_all();     /* read once, for all: a worker starts in a fraction of the time */
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGCHLD);
    sigaddset(&mask, SIGHUP);
    ensure(sigprocmask(SIG_BLOCK, &mask, &ws->mask_before) == 0);
    ws->signal_fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
    ensure(ws->signal_fd != -1);
    return true;
}

int workers_run(struct conf *conf)
{
    struct workers ws = {.conf = conf, .n = conf->workers, .lock_fd = -1, .signal_fd = -1};
    struct errmsg e;

    if (!set_up(&ws, &e)) {
        fprintf(stderr, "posternd: %s\n", e.text);
        conf_free(&ws.conf);
        return 1;
    }
    for (size_t i = 0; i < ws.n; i++)
        workers_start(&ws, &ws.worker[i]);
    while (!over(&ws))
        turn(&ws);
    workers_end_changes(&ws);
    log_line(LOG_INFO, NULL, "workers", "stopped", "workers=%zu", ws.n);
    metrics_board_free(&ws.board);
    close(ws.signal_fd);
    close(ws.lock_fd);
    conf_free(&ws.reload.fresh);
    conf_free(&ws.conf);
    return ws.failed ? 1 : 0;
}

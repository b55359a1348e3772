/*
 * The parent of the workers: holds what must outlive one of them (the store's lock, the listening sockets, the memory
 * of the metrics), starts a dead one again, ends one that is stuck, and passes on what they tell each other.  It opens
 * nothing that it would share across a fork: no loop, no database, no thread.  The one idea: a worker may die at any
 * instant, and what it would still have said is assumed.
 */
#include "workers.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus.h"
#include "bus_pipe.h"
#include "gateway.h"
#include "listen_socket.h"
#include "postern/clock.h"
#include "postern/hash.h"
#include "postern/log.h"
#include "postern/zone.h"

#define PING_MS   250
#define SILENT_MS 10000 /* without an answer to a ping: ended */
#define SILENT_STUCK_MS                                                                                                \
    1000 /* likewise, when another's store waits as long: it may hold the turn (store/sqlite_share.c) */
#define START_MS    60000 /* to open a large store and read the log of sends */
#define LIVED_MS    5000  /* who dies sooner waits before he is started again, */
#define WAIT_MIN_MS 1000
#define WAIT_MAX_MS 30000
#define EXIT_MS     2000  /* from the end of its pipe to its own */
#define DRAIN_MS    35000 /* more than a worker gives itself */
#define LOCK_MS     3000  /* the workers of a parent that was killed are gone by then */

struct worker {
    uint32_t n;
    int fd[LISTENER_N];    /* its queues of connections, whoever accepts from them; -1: none, or draining */
    pid_t pid;             /* 0: none runs */
    struct bus_pipe *pipe; /* NULL: none runs */
    bool ready;
    const char *killed;   /* why we ended it, or NULL */
    int64_t lost_mono_ms; /* when it closed its end; it is about to exit; 0: it did not */
    int64_t started_mono_ms, heard_mono_ms;
    int64_t ping_mono_ms;    /* when the last ping was sent: its lease ends BUS_LEASE_MS after that at the latest */
    bool ping_open;          /* not answered yet; until then there is no other, so that the silent get no new lease */
    bool fenced;             /* told once that it holds up nobody any more */
    int64_t restart_mono_ms; /* none runs: when the next one starts */
    int64_t wait_ms;         /* before that; doubles */
    int64_t stuck_ms;        /* how long its store had not answered, by its last word */
};

/* Something that all workers but its origin are to apply before the origin hears that it is in force. */
struct change {
    struct change *next;
    uint64_t id;
    struct worker *origin; /* NULL: it died, or nobody asked */
    uint64_t origin_id;
    uint64_t awaited; /* bit set of workers */
};

/*
 * All workers change to a configuration or none: the parent reads the file once and compiles it, then each worker
 * does, and when all are ready they are told to put it in force.  Who starts meanwhile waits for the end of it.
 */
struct reloading {
    struct conf *fresh; /* NULL: none is under way */
    uint64_t id;
    uint64_t awaited; /* bit set of workers */
    int64_t until_mono_ms;
    bool again; /* asked for meanwhile */
};

struct workers {
    struct conf *conf;
    struct reloading reload;
    size_t n;
    struct worker worker[METRICS_WORKERS_MAX];
    struct metrics_board *board;
    struct change *changes;
    uint64_t last_id;
    sigset_t mask_before;
    int signal_fd, lock_fd;
    bool served; /* some worker was ready once */
    bool draining;
    int64_t drain_until_mono_ms;
    bool failed; /* something did not end as it should: the exit status */
};

static void worker_kill(struct worker *w, const char *why)
{
    if (w->pid == 0 || w->killed != NULL)
        return;
    w->killed = why;
    kill(w->pid, SIGKILL);
}

/* It exits, and its status will say how: no reason to kill it. */
static void worker_lost(struct worker *w)
{
    if (w->lost_mono_ms == 0)
        w->lost_mono_ms = clock_mono_ms();
}

static void send_to(struct worker *w, enum bus_kind kind, uint64_t id, struct slice body)
{
    if (w->pipe == NULL || bus_pipe_send(w->pipe, &(struct bus_message){kind, id, body}))
        return;
    if (bus_pipe_is_gone(w->pipe))
        worker_lost(w);
    else
        worker_kill(w, "does not read"); /* what it does not take it would miss: it starts anew instead */
}

/* --- changes ------------------------------------------------------------------------------- */

static void change_finish(struct workers *ws, struct change *c)
{
    struct change **at = &ws->changes;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    if (c->origin != NULL)
        send_to(c->origin, BUS_IN_FORCE, c->origin_id, (struct slice){0});
    free(c);
}

static void change_tell(struct workers *ws, struct worker *origin, const struct bus_message *m)
{
    struct change *c = xcalloc(1, sizeof(*c));

    *c = (struct change){.next = ws->changes, .id = ++ws->last_id, .origin = origin, .origin_id = m->id};
    ws->changes = c;
    for (size_t i = 0; i < ws->n; i++) {
        struct worker *w = &ws->worker[i];
        if (w == origin || w->pipe == NULL)
            continue;
        c->awaited |= UINT64_C(1) << i;
        send_to(w, m->kind, c->id, m->body);
    }
    if (c->awaited == 0)
        change_finish(ws, c);
}

static void change_applied(struct workers *ws, const struct worker *by, uint64_t id)
{
    struct change *c = ws->changes;

    while (c != NULL && c->id != id)
        c = c->next;
    if (c == NULL)
        return;
    c->awaited &= ~(UINT64_C(1) << by->n);
    if (c->awaited == 0)
        change_finish(ws, c);
}

/* The dead apply nothing, and wait for nothing. */
static void changes_forget(struct workers *ws, struct worker *dead)
{
    struct change *next;

    for (struct change *c = ws->changes; c != NULL; c = next) {
        next = c->next;
        if (c->origin == dead)
            c->origin = NULL;
        c->awaited &= ~(UINT64_C(1) << dead->n);
        if (c->awaited == 0)
            change_finish(ws, c);
    }
}

static int64_t lease_end_ms(const struct worker *w)
{
    return w->ping_mono_ms + BUS_LEASE_MS;
}

/* Who has no lease, or whose has run out, sends nothing that needs consent until it has read what was sent meanwhile.
 */
static void worker_fence(struct workers *ws, struct worker *w)
{
    struct change *next;

    for (struct change *c = ws->changes; c != NULL; c = next) {
        next = c->next;
        if ((c->awaited >> w->n & 1) != 0 && w->ready && !w->fenced) {
            w->fenced = true;
            log_line(LOG_WARN, NULL, "workers", "fenced", "worker=%u silent_ms=%lld", w->n,
                     (long long)(clock_mono_ms() - w->heard_mono_ms));
        }
        change_applied(ws, w, c->id);
    }
}

/* --- reload -------------------------------------------------------------------------------- */

static void tell_all(struct workers *ws, enum bus_kind kind, struct slice body)
{
    for (size_t i = 0; i < ws->n; i++)
        send_to(&ws->worker[i], kind, 0, body);
}

static void reload_begin(struct workers *ws);

/* why: NULL: all are ready. */
static void reload_end(struct workers *ws, const char *why)
{
    bool again = ws->reload.again;

    if (why != NULL) {
        log_line(LOG_ERROR_, NULL, "workers", "reload_refused", "why=%s", LOG_Q(slice_of(why)));
        conf_free(&ws->reload.fresh);
    } else {
        conf_free(&ws->conf);
        ws->conf = take(&ws->reload.fresh);
        log_set_level((enum log_level)ws->conf->log_level);
        log_line(LOG_INFO, NULL, "workers", "reload_applied", "policy=%08x", ws->conf->policy.version);
    }
    tell_all(ws, BUS_RELOAD_END, slice_of(why));
    ws->reload = (struct reloading){.id = ws->reload.id};
    if (again && !ws->draining)
        reload_begin(ws);
}

static void reload_begin(struct workers *ws)
{
    struct errmsg e;
    size_t n = 0;

    if (ws->reload.fresh != NULL) {
        ws->reload.again = true;
        return;
    }
    char *bytes = conf_bytes_read(ws->conf->path, &n, &e);
    if (bytes != NULL)
        ws->reload.fresh = conf_load_bytes(ws->conf->path, (struct slice){bytes, n}, ws->conf, &e);
    if (ws->reload.fresh == NULL) {
        conf_bytes_free(&bytes, n);
        reload_end(ws, e.text);
        return;
    }
    ws->reload.id++;
    ws->reload.until_mono_ms = clock_mono_ms() + START_MS;
    for (size_t i = 0; i < ws->n; i++) {
        if (ws->worker[i].pipe == NULL)
            continue;
        ws->reload.awaited |= UINT64_C(1) << i;
        send_to(&ws->worker[i], BUS_RELOAD, ws->reload.id, (struct slice){bytes, n});
    }
    conf_bytes_free(&bytes, n);
    if (ws->reload.awaited == 0)
        reload_end(ws, NULL);
}

/* A worker is ready, or is gone and will start with what is in force then. */
static void reload_ready(struct workers *ws, const struct worker *w)
{
    if (ws->reload.fresh == NULL)
        return;
    ws->reload.awaited &= ~(UINT64_C(1) << w->n);
    if (ws->reload.awaited == 0)
        reload_end(ws, NULL);
}

static void reload_answered(struct workers *ws, const struct worker *by, const struct bus_message *m)
{
    char why[256];

    if (ws->reload.fresh == NULL || m->id != ws->reload.id)
        return;
    snprintf(why, sizeof(why), "%.*s", SLICE_ARG(m->body));
    if (m->body.n > 0)
        reload_end(ws, why);
    else
        reload_ready(ws, by);
}

/* --- what workers say ------------------------------------------------------------------------ */

struct heard {
    struct workers *ws;
    struct worker *by;
};

static void worker_ready(struct workers *ws, struct worker *w)
{
    w->ready = ws->served = true;
    metrics_board_up(ws->board, w->n, true);
    log_line(LOG_INFO, NULL, "workers", "worker_ready", "worker=%u pid=%d took_ms=%lld", w->n, (int)w->pid,
             (long long)(clock_mono_ms() - w->started_mono_ms));
}

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
        worker_ready(h->ws, h->by);
        break;
    case BUS_PONG:
        h->by->stuck_ms = number_of(m);
        h->by->ping_open = h->by->fenced = false;
        break;
    case BUS_CLOCK:
        clock_set(number_of(m)); /* those that start later inherit it */
        change_tell(h->ws, h->by, m);
        break;
    case BUS_CHANGED:
        change_tell(h->ws, h->by, m);
        break;
    case BUS_APPLIED:
        change_applied(h->ws, h->by, m->id);
        break;
    case BUS_DUE:
        send_to(&h->ws->worker[STORE_RELEASING_OWNER], BUS_DUE, 0, m->body);
        break;
    case BUS_RELOADED:
        reload_answered(h->ws, h->by, m);
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

static void worker_read(struct workers *ws, struct worker *w)
{
    struct heard h = {ws, w};

    if (!bus_pipe_read(w->pipe, on_message, &h))
        worker_lost(w);
}

/* --- birth ------------------------------------------------------------------------------------ */

static void queues_close(struct worker *w)
{
    for (size_t i = 0; i < LISTENER_N; i++) {
        if (w->fd[i] != -1)
            close(w->fd[i]);
        w->fd[i] = -1;
    }
}

static void queues_pause(const struct worker *w)
{
    for (size_t i = 0; i < LISTENER_N; i++) {
        if (w->fd[i] != -1)
            listen_socket_pause(w->fd[i]);
    }
}

/* False, with errno. */
static bool queues_again(const struct worker *w)
{
    for (size_t i = 0; i < LISTENER_N; i++) {
        if (w->fd[i] != -1 && !listen_socket_again(w->fd[i]))
            return false;
    }
    return true;
}

/* The child's: nothing of the parent's stays open but the store's lock, which ends with the last of the family. */
static _Noreturn void worker_main(struct workers *ws, struct worker *me, int bus_fd, pid_t parent)
{
    struct gateway_place place = {.worker = me->n, .bus_fd = bus_fd, .board = ws->board};
    struct errmsg e;
    char name[16];

    /* Without the parent nobody would tell this process of opt-outs, nor start it again. */
    ensure(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0);
    if (getppid() != parent)
        _exit(1);
    close(ws->signal_fd);
    for (size_t i = 0; i < ws->n; i++) {
        struct worker *w = &ws->worker[i];
        bus_pipe_free(&w->pipe);
        if (w != me)
            queues_close(w);
    }
    memcpy(place.listen_fd, me->fd, sizeof(place.listen_fd));
    snprintf(name, sizeof(name), "worker=%u", me->n);
    log_set_process(name);
    ensure(sigprocmask(SIG_SETMASK, &ws->mask_before, NULL) == 0);
    struct gateway *g = gateway_new(ws->conf, &place, &e);
    if (g == NULL) {
        log_line(LOG_ERROR_, NULL, "workers", "cannot_start", "why=%s", LOG_Q(slice_of(e.text)));
        exit(1);
    }
    gateway_exit(&g, gateway_run(g));
}

static void cannot_start(const struct worker *w)
{
    log_line(LOG_ERROR_, NULL, "workers", "cannot_start", "worker=%u why=\"%s\"", w->n, strerror(errno));
    queues_pause(w);
}

static void worker_start(struct workers *ws, struct worker *w)
{
    pid_t parent = getpid();
    int ends[2];

    w->restart_mono_ms = clock_mono_ms() + WAIT_MIN_MS; /* should it fail for want of memory or descriptors */
    if (!queues_again(w) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == -1) {
        cannot_start(w);
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        worker_main(ws, w, ends[1], parent);
    }
    close(ends[1]);
    if (pid == -1) {
        cannot_start(w);
        close(ends[0]);
        return;
    }
    w->pid = pid;
    w->pipe = bus_pipe_new(ends[0]);
    w->ready = false;
    w->killed = NULL;
    w->lost_mono_ms = w->ping_mono_ms = w->stuck_ms = 0;
    w->ping_open = w->fenced = false;
    w->started_mono_ms = w->heard_mono_ms = clock_mono_ms();
    if (ws->draining)
        send_to(w, BUS_DRAIN, 0, (struct slice){0});
}

/* --- drain ------------------------------------------------------------------------------------- */

static void drain(struct workers *ws)
{
    if (ws->draining) {
        tell_all(ws, BUS_STOP, (struct slice){0});
        return;
    }
    ws->draining = true;
    ws->drain_until_mono_ms = clock_mono_ms() + DRAIN_MS;
    for (size_t i = 0; i < ws->n; i++)
        queues_close(&ws->worker[i]);
    tell_all(ws, BUS_DRAIN, (struct slice){0});
}

/* --- death ------------------------------------------------------------------------------------- */

static void log_death(const struct workers *ws, const struct worker *w, int how)
{
    bool expected = ws->draining && WIFEXITED(how) && WEXITSTATUS(how) == 0;

    log_line(expected ? LOG_INFO : LOG_WARN, NULL, "workers", "worker_ended",
             "worker=%u pid=%d %s=%d killed_because=\"%s\" lived_ms=%lld", w->n, (int)w->pid,
             WIFSIGNALED(how) ? "signal" : "status", WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how),
             w->killed != NULL ? w->killed : "", (long long)(clock_mono_ms() - w->started_mono_ms));
}

static void plan_restart(struct workers *ws, struct worker *w)
{
    int64_t now_ms = clock_mono_ms();

    if (!ws->served) {
        /* Not one ever served: the next one would fare no better, and whoever started us wants to know. */
        ws->failed = true;
        drain(ws);
        return;
    }
    if (now_ms - w->started_mono_ms >= LIVED_MS)
        w->wait_ms = 0;
    else
        w->wait_ms = w->wait_ms == 0 ? WAIT_MIN_MS : w->wait_ms * 2;
    if (w->wait_ms > WAIT_MAX_MS)
        w->wait_ms = WAIT_MAX_MS;
    w->restart_mono_ms = now_ms + w->wait_ms;
    if (w->wait_ms > 0)
        queues_pause(w); /* or clients would wait as long, for nobody */
}

static void worker_died(struct workers *ws, struct worker *w, int how)
{
    worker_read(ws, w); /* its last words */
    log_death(ws, w, how);
    bus_pipe_free(&w->pipe);
    w->pid = 0;
    w->ready = false;
    metrics_board_up(ws->board, w->n, false);
    changes_forget(ws, w);
    reload_ready(ws, w);
    if (ws->draining) {
        ws->failed |= !WIFEXITED(how) || WEXITSTATUS(how) != 0;
        return;
    }
    /* It may have made a change durable and died before it could say so. */
    change_tell(ws, NULL, &(struct bus_message){.kind = BUS_CHANGED});
    metrics_board_restarted(ws->board, w->n);
    plan_restart(ws, w);
}

static void reap(struct workers *ws)
{
    int how;

    for (size_t i = 0; i < ws->n; i++) {
        struct worker *w = &ws->worker[i];
        if (w->pid != 0 && waitpid(w->pid, &how, WNOHANG) == w->pid)
            worker_died(ws, w, how);
    }
}

/* --- time ---------------------------------------------------------------------------------------- */

static bool somebody_is_stuck(const struct workers *ws, const struct worker *but)
{
    for (size_t i = 0; i < ws->n; i++) {
        if (&ws->worker[i] != but && ws->worker[i].pid != 0 && ws->worker[i].stuck_ms >= SILENT_STUCK_MS)
            return true;
    }
    return false;
}

static void look_after(struct workers *ws, struct worker *w, int64_t now_ms)
{
    int64_t silent_ms = now_ms - w->heard_mono_ms;

    if (w->pid == 0) {
        if (!ws->draining && ws->reload.fresh == NULL && now_ms >= w->restart_mono_ms)
            worker_start(ws, w);
        return;
    }
    if (ws->draining ? now_ms >= ws->drain_until_mono_ms : silent_ms >= (w->ready ? SILENT_MS : START_MS))
        worker_kill(w, ws->draining ? "does not drain" : "does not answer");
    else if (w->ready && silent_ms >= SILENT_STUCK_MS && somebody_is_stuck(ws, w))
        worker_kill(w, "does not answer, and holds up the store");
    else if (w->lost_mono_ms != 0 && now_ms - w->lost_mono_ms >= EXIT_MS)
        worker_kill(w, "closed its end and did not exit");
}

static void ping(struct worker *w)
{
    int64_t now_ms = w->ping_mono_ms = clock_mono_ms();

    w->ping_open = true;
    send_to(w, BUS_PING, 0, (struct slice){(const char *)&now_ms, sizeof(now_ms)});
}

/* When there is something to do for it next. */
static int64_t next_look_ms(const struct workers *ws, const struct worker *w)
{
    if (w->pid == 0)
        return ws->draining || ws->reload.fresh != NULL ? INT64_MAX : w->restart_mono_ms;
    if (w->ping_open && ws->changes != NULL && lease_end_ms(w) > clock_mono_ms())
        return lease_end_ms(w);
    return w->ping_open || !w->ready ? INT64_MAX : w->ping_mono_ms + PING_MS;
}

static void tick(struct workers *ws)
{
    if (ws->reload.fresh != NULL && clock_mono_ms() >= ws->reload.until_mono_ms)
        reload_end(ws, "a worker does not answer");
    for (size_t i = 0; i < ws->n; i++) {
        struct worker *w = &ws->worker[i];
        look_after(ws, w, clock_mono_ms());
        if (w->ready && !w->ping_open && clock_mono_ms() >= w->ping_mono_ms + PING_MS)
            ping(w);
        if (clock_mono_ms() >= lease_end_ms(w))
            worker_fence(ws, w);
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int wait_ms(const struct workers *ws)
{
    int64_t now_ms = clock_mono_ms(), next_ms = now_ms + PING_MS;

    for (size_t i = 0; i < ws->n; i++)
        next_ms = earlier(next_ms, next_look_ms(ws, &ws->worker[i]));
    next_ms -= now_ms;
    return next_ms > 0 ? (int)next_ms : 0;
}

/* --- the loop -------------------------------------------------------------------------------------- */

static void on_signals(struct workers *ws)
{
    struct signalfd_siginfo s;

    while (read(ws->signal_fd, &s, sizeof(s)) == (ssize_t)sizeof(s)) {
        if (s.ssi_signo == SIGCHLD)
            continue; /* several deaths may be one signal: reap() looks at all */
        if (s.ssi_signo == SIGHUP) {
            if (!ws->draining)
                reload_begin(ws);
            continue;
        }
        log_line(LOG_INFO, NULL, "workers", "draining", "signal=%u", s.ssi_signo);
        drain(ws);
    }
    reap(ws);
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
    if (poll(fds, (nfds_t)ws->n + 1, wait_ms(ws)) > 0) {
        for (size_t i = 0; i < ws->n; i++) {
            struct worker *w = &ws->worker[i];
            if ((fds[i + 1].revents & POLLOUT) != 0 && !bus_pipe_flush(w->pipe))
                worker_lost(w);
            if ((fds[i + 1].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
                worker_read(ws, w);
        }
        if (fds[0].revents != 0)
            on_signals(ws);
    }
    tick(ws);
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
        worker_start(&ws, &ws.worker[i]);
    while (!over(&ws))
        turn(&ws);
    while (ws.changes != NULL)
        change_finish(&ws, ws.changes);
    log_line(LOG_INFO, NULL, "workers", "stopped", "workers=%zu", ws.n);
    metrics_board_free(&ws.board);
    close(ws.signal_fd);
    close(ws.lock_fd);
    conf_free(&ws.reload.fresh);
    conf_free(&ws.conf);
    return ws.failed ? 1 : 0;
}

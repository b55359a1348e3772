/*
 * Birth and death of workers: forks them, pings them, ends one that is stuck, starts a dead one again.  In the child:
 * leaves the parent's things behind and becomes a gateway.  The one idea: a worker may die at any instant, and what it
 * would still have said is assumed.
 */
#include "workers_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "listen_socket.h"
#include "postern/clock.h"
#include "postern/log.h"

#define PING_MS         250
#define SILENT_MS       10000 /* without an answer to a ping: ended */
#define SILENT_STUCK_MS 1000  /* likewise, when another's store waits: it may hold the turn (store/sqlite_share.c) */
#define LIVED_MS        5000  /* who dies sooner waits before he is started again, */
#define WAIT_MIN_MS     1000
#define WAIT_MAX_MS     30000
#define EXIT_MS         2000  /* from the end of its pipe to its own */
#define DRAIN_MS        35000 /* more than a worker gives itself */

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

void workers_start(struct workers *ws, struct worker *w)
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
        workers_send(w, BUS_DRAIN, 0, (struct slice){0});
}

void workers_ready(struct workers *ws, struct worker *w)
{
    w->ready = ws->served = true;
    metrics_board_up(ws->board, w->n, true);
    log_line(LOG_INFO, NULL, "workers", "worker_ready", "worker=%u pid=%d took_ms=%lld", w->n, (int)w->pid,
             (long long)(clock_mono_ms() - w->started_mono_ms));
}

/* --- drain ------------------------------------------------------------------------------------- */

void workers_drain(struct workers *ws)
{
    if (ws->draining) {
        workers_send_all(ws, BUS_STOP, (struct slice){0});
        return;
    }
    ws->draining = true;
    ws->drain_until_mono_ms = clock_mono_ms() + DRAIN_MS;
    for (size_t i = 0; i < ws->n; i++)
        queues_close(&ws->worker[i]);
    workers_send_all(ws, BUS_DRAIN, (struct slice){0});
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
        workers_drain(ws);
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
    workers_read(ws, w); /* its last words */
    log_death(ws, w, how);
    bus_pipe_free(&w->pipe);
    w->pid = 0;
    w->ready = false;
    metrics_board_up(ws->board, w->n, false);
    workers_forget(ws, w);
    workers_reload_ready(ws, w);
    if (ws->draining) {
        ws->failed |= !WIFEXITED(how) || WEXITSTATUS(how) != 0;
        return;
    }
    /* It may have made a change durable and died before it could say so. */
    workers_change(ws, NULL, &(struct bus_message){.kind = BUS_CHANGED});
    metrics_board_restarted(ws->board, w->n);
    plan_restart(ws, w);
}

void workers_reap(struct workers *ws)
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
            workers_start(ws, w);
        return;
    }
    if (ws->draining ? now_ms >= ws->drain_until_mono_ms : silent_ms >= (w->ready ? SILENT_MS : WORKERS_START_MS))
        workers_kill(w, ws->draining ? "does not drain" : "does not answer");
    else if (w->ready && silent_ms >= SILENT_STUCK_MS && somebody_is_stuck(ws, w))
        workers_kill(w, "does not answer, and holds up the store");
    else if (w->lost_mono_ms != 0 && now_ms - w->lost_mono_ms >= EXIT_MS)
        workers_kill(w, "closed its end and did not exit");
}

static int64_t lease_end_ms(const struct worker *w)
{
    return w->ping_mono_ms + BUS_LEASE_MS;
}

static void ping(struct worker *w)
{
    int64_t now_ms = w->ping_mono_ms = clock_mono_ms();

    w->ping_open = true;
    workers_send(w, BUS_PING, 0, (struct slice){(const char *)&now_ms, sizeof(now_ms)});
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

void workers_tick(struct workers *ws)
{
    workers_reload_look(ws);
    for (size_t i = 0; i < ws->n; i++) {
        struct worker *w = &ws->worker[i];
        look_after(ws, w, clock_mono_ms());
        if (w->ready && !w->ping_open && clock_mono_ms() >= w->ping_mono_ms + PING_MS)
            ping(w);
        if (clock_mono_ms() >= lease_end_ms(w))
            workers_fence(ws, w);
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int workers_wait_ms(const struct workers *ws)
{
    int64_t now_ms = clock_mono_ms(), next_ms = now_ms + PING_MS;

    for (size_t i = 0; i < ws->n; i++)
        next_ms = earlier(next_ms, next_look_ms(ws, &ws->worker[i]));
    next_ms -= now_ms;
    return next_ms > 0 ? (int)next_ms : 0;
}

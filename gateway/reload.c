/*
 * Reloading.  Knows who has to hear of another configuration; not what is in one.
 *
 * The one idea: everything that can fail or take time is done beside the loop, or
 * before anything has changed; the change itself is a handful of assignments.
 */
#include "reload.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "callback.h"
#include "place.h"
#include "postern/clock.h"
#include "postern/hash.h"
#include "postern/log.h"
#include "postern/zone.h"
#include "process.h"
#include "release.h"
#include "retime.h"
#include "smtp_listen.h"

#define ZONES_LOOK_MS 60000

enum stage_of_reload {
    RELOAD_IDLE,
    RELOAD_ZONES,   /* the thread looks at tzdata; what is asked for comes after it */
    RELOAD_COMPILE, /* the thread makes a configuration */
    RELOAD_READY    /* one is ready: reload_commit or reload_abandon is next */
};

/* What the thread works on: its own from start to join. */
struct work {
    struct conf *running; /* held */
    char *bytes;          /* NULL: read the file */
    size_t n;
    struct zone_tables *zones;
    struct conf *fresh;
    struct listen_tls *tls[LISTENER_N]; /* of those that speak TLS */
    struct errmsg why;                  /* when fresh is NULL */
};

struct reload {
    struct gateway *g;
    enum stage_of_reload stage;
    bool asked;       /* by reload_request: begins when what is under way is over */
    bool compiles;    /* after the zones */
    reload_ready *cb; /* NULL: of reload_request */
    bool abandoned;   /* while it was made: dropped as soon as it is */
    void *arg;
    struct work work;
    int fd; /* eventfd: the thread is done */
    struct loop_watch *watch;
    struct loop_task *look;
    struct reload_state state;
};

/* --- beside the loop ------------------------------------------------------------------ */

/* One for each listener: each says what it speaks. */
static bool prepare_tls(struct work *w)
{
    const struct conf *c = w->fresh;
    const bool listens[LISTENER_N] = {
        [LISTENER_HTTP] = true, [LISTENER_SMTP] = c->listen_smtp != NULL, [LISTENER_SMTPS] = c->listen_smtps != NULL};

    if (c->tls_certificate == NULL || c->tls_key == NULL)
        return true;
    for (size_t i = 0; i < LISTENER_N; i++) {
        if (!listens[i])
            continue;
        w->tls[i] = listen_tls_new(c->tls_certificate, c->tls_key, &w->why);
        if (w->tls[i] == NULL)
            return false;
    }
    return true;
}

static void compile(struct work *w)
{
    const char *path = w->running->path;

    if (w->bytes == NULL)
        w->bytes = conf_bytes_read(path, &w->n, &w->why);
    if (w->bytes != NULL)
        w->fresh = conf_load_bytes(path, (struct slice){w->bytes, w->n}, w->running, &w->why);
    if (w->fresh != NULL && !prepare_tls(w))
        conf_free(&w->fresh);
}

static void *thread_main(void *arg)
{
    struct reload *r = arg;
    const uint64_t one = 1;

    if (r->stage == RELOAD_COMPILE)
        compile(&r->work);
    else if (zone_data_changed())
        r->work.zones = zone_data_read();
    ignore(write(r->fd, &one, sizeof(one))); /* an eventfd takes it */
    return NULL;
}

/* Signals are the loop's.  What the thread was given is ours again when fd says so: it touches nothing after that. */
static void start_thread(struct reload *r, enum stage_of_reload stage)
{
    sigset_t all, before;
    pthread_t thread;

    r->stage = stage;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, NULL, thread_main, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ensure(rc == 0 && pthread_detach(thread) == 0); /* to join it the loop might have to wait for a processor */
}

/* --- on the loop ------------------------------------------------------------------------ */

static void start(struct reload *r, bool compiles)
{
    r->compiles = compiles;
    start_thread(r, RELOAD_ZONES);
}

/* Nothing is under way any more: is something asked for? */
static void finish(struct reload *r)
{
    confs_drop(&r->work.running);
    conf_bytes_free(&r->work.bytes, r->work.n);
    for (size_t i = 0; i < LISTENER_N; i++)
        listen_tls_free(&r->work.tls[i]);
    r->work = (struct work){0};
    r->cb = NULL;
    r->compiles = r->abandoned = false;
    r->stage = RELOAD_IDLE;
    if (r->asked && !r->g->draining) {
        r->asked = false;
        start(r, true);
    }
}

static void refuse(struct reload *r, const char *why)
{
    metrics_reloaded(r->g->metrics, false);
    r->state.last_applied = false;
    log_line(LOG_ERROR_, NULL, "reload", "refused", "why=%s then=\"the configuration before it stays in force\"",
             LOG_Q(slice_of(why)));
}

struct audit {
    char json[160];
    struct store_audit_note note;
};

static void on_audited(enum err status, void *arg)
{
    if (status != OK)
        log_line(LOG_WARN, NULL, "reload", "not_audited", "status=%d", status);
    free(arg);
}

/* Decisions carry the policy's version: the audit says what was meant by it. */
static void audit(struct gateway *g)
{
    struct audit *a = xcalloc(1, sizeof(*a));
    char hex[2 * SHA256_BYTES + 1];

    snprintf(a->json, sizeof(a->json), "{\"policy_version\":\"%08x\",\"digest\":\"sha256:%s\"}",
             g->conf->policy.version, hash_hex(g->conf->digest.b, SHA256_BYTES, hex));
    a->note = (struct store_audit_note){
        .r = {.kind = STORE_AUDIT_NOTE, .cb = on_audited, .arg = a},
        .now_ms = clock_wall_ms(),
        .kind = SLICE("policy"),
        .json = slice_of(a->json),
    };
    store_submit(g->store, &a->note.r);
}

/* Everybody who keeps something of a configuration beside g->conf. */
static void tell(struct gateway *g, struct listen_tls *tls[LISTENER_N])
{
    const struct conf *c = g->conf;

    log_set_level((enum log_level)c->log_level);
    gateway_set_limits(g);
    if (tls[LISTENER_HTTP] != NULL)
        http_listener_set_tls(g->listener, &tls[LISTENER_HTTP]);
    for (size_t i = LISTENER_SMTP; i < LISTENER_N; i++) {
        if (tls[i] != NULL)
            smtp_listener_set_tls(g->smtp[i], &tls[i]);
    }
    profiles_reloaded(g->profiles, c->cache_bytes, c->policy.default_zone);
    callbacks_reloaded(g->callbacks);
    releaser_wake(g->releaser); /* a route may lead to a provider that is up */
}

void reload_commit(struct reload *r)
{
    struct gateway *g = r->g;
    struct conf *old = g->conf;

    ensure(r->stage == RELOAD_READY && r->work.fresh != NULL);
    g->conf = take(&r->work.fresh);
    tell(g, r->work.tls);
    if (g->worker == STORE_RELEASING_OWNER)
        audit(g); /* once, whoever else reloads */
    metrics_reloaded(g->metrics, true);
    r->state.last_applied = true;
    r->state.configured_at_ms = clock_wall_ms();
    log_line(LOG_INFO, NULL, "reload", "applied", "policy=%08x before=%08x", g->conf->policy.version,
             old->policy.version);
    confs_drop(&old);
    finish(r);
}

void reload_abandon(struct reload *r, const char *why)
{
    refuse(r, why);
    if (r->stage == RELOAD_READY) {
        confs_drop(&r->work.fresh);
        finish(r);
    } else {
        r->abandoned = r->cb != NULL;
    }
}

/* What can still fail, its providers, is opened here: after this it can be put in force and nothing can go wrong. */
static void on_compiled(struct reload *r)
{
    struct work *w = &r->work;
    reload_ready *cb = r->cb;

    if (r->abandoned) {
        conf_free(&w->fresh);
        finish(r);
        return;
    }
    if (w->fresh != NULL && confs_open(r->g->confs, w->fresh, r->g->conf, &w->why) != OK)
        conf_free(&w->fresh);
    if (w->fresh == NULL) {
        struct errmsg why = w->why;
        void *arg = r->arg;
        if (cb == NULL)
            refuse(r, why.text);
        finish(r);
        if (cb != NULL)
            cb(ERR_SYNTAX, &why, arg);
        return;
    }
    r->stage = RELOAD_READY;
    if (cb != NULL)
        cb(OK, &w->why, r->arg);
    else
        reload_commit(r);
}

static void on_zones(struct reload *r)
{
    char before[32];

    if (r->work.zones != NULL) {
        snprintf(before, sizeof(before), "%s", zone_data_version());
        zone_data_adopt(&r->work.zones);
        place_load(clock_wall_ms());
        confs_zones_changed(r->g->confs);
        r->state.zone_reloads++;
        log_line(LOG_INFO, NULL, "reload", "zones", "tzdata=%s before=%s", zone_data_version(), before);
        if (r->g->worker == STORE_RELEASING_OWNER)
            retime_all(r->g);
    }
    if (!r->compiles) {
        finish(r);
        return;
    }
    r->work.running = confs_hold(r->g->conf);
    start_thread(r, RELOAD_COMPILE);
}

static void take_done(struct reload *r)
{
    uint64_t n;
    ignore(read(r->fd, &n, sizeof(n))); /* it is there: one write, one read */
}

static void on_done(int fd, unsigned ready, void *arg)
{
    struct reload *r = arg;

    (void)fd;
    (void)ready;
    take_done(r);
    if (r->stage == RELOAD_ZONES)
        on_zones(r);
    else
        on_compiled(r);
}

static void on_look(void *arg)
{
    struct reload *r = arg;

    r->look = loop_after(r->g->loop, ZONES_LOOK_MS, on_look, r);
    if (r->stage == RELOAD_IDLE && !r->g->draining)
        start(r, false);
}

void reload_request(struct reload *r)
{
    if (r->stage == RELOAD_IDLE && !r->g->draining)
        start(r, true);
    else
        r->asked = true;
}

enum err reload_prepare(struct reload *r, struct slice bytes, reload_ready *cb, void *arg)
{
    if (r->stage == RELOAD_COMPILE || r->stage == RELOAD_READY || r->compiles || r->g->draining)
        return ERR_CONFLICT;
    r->work.bytes = xstrndup(bytes.p, bytes.n);
    r->work.n = bytes.n;
    r->cb = cb;
    r->arg = arg;
    r->compiles = true;
    if (r->stage == RELOAD_IDLE)
        start(r, true);
    return OK;
}

struct reload_state reload_state(const struct reload *r)
{
    return r->state;
}

struct reload *reload_new(struct gateway *g)
{
    struct reload *r = xcalloc(1, sizeof(*r));

    r->g = g;
    r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ensure(r->fd != -1);
    r->watch = loop_watch_fd(g->loop, r->fd, LOOP_READ, on_done, r);
    r->look = loop_after(g->loop, 0, on_look, r); /* a worker starts with the zones that its parent read */
    r->state = (struct reload_state){.last_applied = true, .configured_at_ms = clock_wall_ms()};
    return r;
}

void reload_free(struct reload **rp)
{
    struct reload *r = take(rp);

    if (r == NULL)
        return;
    struct pollfd done = {.fd = r->fd, .events = POLLIN};
    bool busy = r->stage == RELOAD_ZONES || r->stage == RELOAD_COMPILE;
    while (busy && poll(&done, 1, -1) != 1)
        ; /* a signal */
    if (r->work.fresh != NULL && r->work.fresh->use == NULL)
        conf_free(&r->work.fresh);
    confs_drop(&r->work.fresh);
    zone_data_free(&r->work.zones);
    r->asked = false;
    finish(r);
    loop_cancel(&r->look);
    loop_watch_free(&r->watch);
    close(r->fd);
    free(r);
}

/*
 * The wiring: opens the parts in their order, runs the loop until it has drained, and
 * takes them down again.  Knows every part by its header and none by its inside.
 */
#include "gateway.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "aside.h"
#include "callback.h"
#include "duplicates.h"
#include "gateway_parts.h"
#include "postern/clock.h"
#include "postern/language.h"
#include "postern/log.h"
#include "postern/zone.h"
#include "process.h"
#include "release.h"
#include "reload.h"
#include "retime.h"
#include "submission.h"
#include "submission_smtp.h"

#define STALL_LOOK_MS 1000
#define DRAIN_MAX_MS  30000
#define REBUILD_MS    (INT64_C(32) * MS_PER_DAY) /* the longest calendar window, and a day for zones */

/* --- parts ----------------------------------------------------------------------------- */

struct rebuild {
    struct gateway *g;
    uint64_t n;
};

static void on_send(const struct store_send *s, void *arg)
{
    struct rebuild *r = arg;
    counters_rebuild(r->g->counters, s);
    r->n++;
}

/* Space that a submission of the largest body may still need when it is accepted. */
static int64_t reserve_bytes(const struct conf *c)
{
    size_t largest = c->max_body_bytes != 0 ? c->max_body_bytes : LIMIT_HTTP_BODY_BYTES;
    return (int64_t)(largest + largest / 2);
}

static bool open_counters(struct gateway *g, struct errmsg *e)
{
    const struct conf *c = g->conf;
    struct counters_redis_options o = {
        .host = c->redis.host,
        .port = c->redis.port,
        .db = c->redis.db,
        .tls = c->redis.tls,
        .ca_file = c->redis.ca_file,
        .username = c->redis.username,
        .password = c->redis.password,
        .deadline_ms = c->redis.deadline_ms,
        .store = g->store,
    };
    struct rebuild r = {g, 0};

    if (c->counters == COUNTERS_REDIS) {
        g->counters = counters_redis_new(g->loop, &o, e);
        return g->counters != NULL;
    }
    g->counters = counters_new(g->loop);
    if (store_sends(g->store, clock_wall_ms() - REBUILD_MS, on_send, &r) != OK) {
        errmsg_set(e, "%s: the log of sends cannot be read; run: posternctl audit verify", c->store_url);
        return false;
    }
    log_line(LOG_INFO, NULL, "gateway", "counters_rebuilt", "sends=%llu", (unsigned long long)r.n);
    return true;
}

static bool open_store(struct gateway *g, const struct gateway_place *place, struct errmsg *e)
{
    const struct conf *c = g->conf;
    struct store_options o = {
        .url = c->store_url,
        .reserve_bytes = reserve_bytes(c),
        .audit_key = slice_of(c->audit_key),
        .now_ms = clock_wall_ms(),
        .sharing = place != NULL ? STORE_SHARED : STORE_ALONE,
        .owner = g->worker,
    };
    struct digest key;

    g->store = store_open(&o, e);
    if (g->store == NULL || !open_counters(g, e))
        return false;
    store_derive_key(g->store, "override tokens", &key);
    memcpy(g->token_key, key.b, sizeof(g->token_key));
    store_derive_key(g->store, "addresses in logs", &key);
    log_set_address_key((struct slice){(const char *)key.b, sizeof(key.b)});
    g->profiles = profiles_new(g->loop, g->store, c->cache_bytes, c->policy.default_zone);
    return true;
}

static bool open_listener(struct gateway *g, const struct gateway_place *place, struct errmsg *e)
{
    const struct conf *c = g->conf;
    struct http_listen_options o = {
        .address = c->listen_http,
        .fd = place != NULL ? place->listen_fd[LISTENER_HTTP] : 0,
        .tls_certificate = c->tls_certificate,
        .tls_key = c->tls_key,
        .on_request = gateway_on_request,
        .shape_error = gateway_shape_error,
        .arg = g,
        .max_connections = process_connections(c),
        .max_inflight_bytes = c->max_inflight_bytes,
        .max_body_bytes = c->max_body_bytes,
        .head_ms = c->head_ms,
    };
    g->listener = http_listener_new(loop_base(g->loop), &o, e);
    return g->listener != NULL;
}

void gateway_set_limits(struct gateway *g)
{
    const struct conf *c = g->conf;

    store_set_reserve(g->store, reserve_bytes(c));
    http_listener_set_limits(g->listener, &(struct http_listen_options){
                                              .max_connections = process_connections(c),
                                              .max_inflight_bytes = c->max_inflight_bytes,
                                              .max_body_bytes = c->max_body_bytes,
                                              .head_ms = c->head_ms,
                                          });
    submission_smtp_set_limits(g);
}

/* Without it a content's language is unknown: no remark is made. */
static void open_languages(void)
{
    struct errmsg e;

    if (language_open(&e) != OK)
        log_line(LOG_WARN, NULL, "gateway", "no_language", "error=\"%s\"", e.text);
}

/* --- start and end --------------------------------------------------------------------- */

struct gateway *gateway_new(struct conf *conf, const struct gateway_place *place, struct errmsg *e)
{
    struct gateway *g = xcalloc(1, sizeof(*g));

    g->conf = conf;
    g->loop = loop_new();
    g->confs = confs_new(g->loop);
    g->worker = place != NULL ? place->worker : 0;
    g->metrics = metrics_new(place != NULL ? place->board : NULL, g->worker);
    g->bus = bus_new(g->loop, place != NULL ? place->bus_fd : -1, &gateway_bus_user, g);
    g->duplicates = duplicates_new();
    g->started_mono_ms = clock_mono_ms();
    open_languages();
    if (!open_store(g, place, e) || confs_open(g->confs, conf, NULL, e) != OK)
        goto fail;
    g->callbacks = callbacks_new(g);
    g->releaser = releaser_new(g);
    g->reload = reload_new(g);
    g->aside = aside_new(g->loop);
    if (!open_listener(g, place, e) || !submission_smtp_open(g, place, e))
        goto fail;
    return g;
fail:
    gateway_free(&g);
    return NULL;
}

void gateway_free(struct gateway **gp)
{
    struct gateway *g = take(gp);
    if (g == NULL)
        return;
    reload_free(&g->reload);
    aside_free(&g->aside); /* what it reads is the listeners' */
    http_listener_free(&g->listener);
    submission_smtp_close(g);
    releaser_free(&g->releaser);
    callbacks_free(&g->callbacks);
    if (g->conf->use == NULL)
        conf_free(&g->conf);
    profiles_free(&g->profiles);
    duplicates_free(&g->duplicates);
    counters_free(&g->counters);
    store_close(&g->store); /* its last callbacks may still tell the others something */
    bus_free(&g->bus);
    submission_forget_unwritten(g);
    metrics_free(&g->metrics);
    arena_clear(&g->metrics_page.arena);
    language_close();
    confs_free(&g->confs);
    loop_free(&g->loop);
    free(g);
}

/* --- in between ------------------------------------------------------------------------ */

static void on_store(int fd, unsigned ready, void *arg)
{
    struct gateway *g = arg;
    (void)fd;
    (void)ready;
    store_poll(g->store);
}

static void on_empty(void *arg)
{
    struct gateway *g = arg;
    ensure(g->listeners_open > 0);
    g->listeners_open--;
}

void gateway_drain(struct gateway *g, bool at_once)
{
    if (at_once)
        loop_stop(g->loop);
    if (at_once || g->draining)
        return;
    log_line(LOG_INFO, NULL, "gateway", "draining", "submissions=%zu", g->submissions);
    g->draining = true;
    g->drain_until_mono_ms = clock_mono_ms() + DRAIN_MAX_MS;
    releaser_drain(g->releaser);
    http_listener_drain(g->listener, on_empty, g);
    g->listeners_open = 1 + submission_smtp_drain(g, on_empty, g);
}

static void on_signal(int signo, unsigned ready, void *arg)
{
    struct gateway *g = arg;
    (void)signo;
    (void)ready;
    gateway_drain(g, g->draining);
}

static void on_hangup(int signo, unsigned ready, void *arg)
{
    struct gateway *g = arg;

    (void)ready;
    log_line(LOG_INFO, NULL, "gateway", "reloading", "signal=%d", signo);
    reload_request(g->reload);
}

/* Nothing is under way that points into the gateway. */
static bool at_rest(const struct gateway *g)
{
    int64_t age_ms;
    return g->draining && g->listeners_open == 0 && g->submissions == 0 && releaser_active(g->releaser) == 0 &&
           store_backlog(g->store, &age_ms) == 0;
}

static bool drained(const struct gateway *g)
{
    return at_rest(g) || (g->draining && clock_mono_ms() >= g->drain_until_mono_ms);
}

static void on_look(void *arg)
{
    struct gateway *g = arg;
    bool soon = g->draining || gateway_starting(g) != NULL; /* somebody waits for it */
    metrics_loop_stall(g->metrics, loop_take_longest_turn_ms(g->loop));
    metrics_loop_cost(g->metrics, loop_take_costliest_turn_us(g->loop));
    metrics_publish(g->metrics, g);
    submission_watch(g);
    submission_sweep_keys(g);
    (void)loop_after(g->loop, soon ? 20 : STALL_LOOK_MS, on_look, g);
}

static void on_linger(void *arg)
{
    struct gateway *g = arg;
    g->linger = NULL; /* the end of this turn flushes */
}

static void flush_store(struct gateway *g)
{
    int64_t again_ms = store_flush(g->store);

    if (again_ms > 0 && g->linger == NULL)
        g->linger = loop_after(g->loop, again_ms, on_linger, g);
}

int gateway_run(struct gateway *g)
{
    struct loop_watch *store = loop_watch_fd(g->loop, store_fd(g->store), LOOP_READ, on_store, g);
    struct loop_watch *term = loop_watch_signal(g->loop, SIGTERM, on_signal, g);
    struct loop_watch *interrupt = loop_watch_signal(g->loop, SIGINT, on_signal, g);
    /* The parent of workers reads the file once for all of them. */
    struct loop_watch *hangup = bus_has_parent(g->bus) ? NULL : loop_watch_signal(g->loop, SIGHUP, on_hangup, g);

    on_look(g);
    log_line(LOG_INFO, NULL, "gateway", "ready", "http=%s port=%u smtp_port=%u smtps_port=%u tzdata=%s zones=%zu",
             g->conf->listen_http, http_listener_port(g->listener), submission_smtp_port(g, LISTENER_SMTP),
             submission_smtp_port(g, LISTENER_SMTPS), zone_data_version(), zone_load_all());
    if (g->worker == STORE_RELEASING_OWNER)
        retime_all(g); /* zones may have changed since these rows were written */
    bus_ready(g->bus);
    store_cork(g->store);
    do
        flush_store(g);
    while (!drained(g) && loop_turn(g->loop, true));
    loop_cancel(&g->linger);
    log_line(LOG_INFO, NULL, "gateway", "stopped", "submissions=%zu", g->submissions);
    loop_watch_free(&hangup);
    loop_watch_free(&interrupt);
    loop_watch_free(&term);
    loop_watch_free(&store);
    return at_rest(g) ? 0 : 1;
}

void gateway_exit(struct gateway **g, int status)
{
    if (status == 0) {
        gateway_free(g);
        exit(0);
    }
    /* What is under way points into everything: it ends as by a crash, and the next start names it. */
    store_finish((*g)->store);
    _exit(status);
}

/*
 * The wiring: opens the parts in their order, routes requests to them, and
 * takes them down again.  Knows every part by its header and none by its inside.
 */
#include "gateway.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api.h"
#include "bus.h"
#include "callback.h"
#include "duplicates.h"
#include "kept.h"
#include "pages.h"
#include "postern/clock.h"
#include "postern/hash.h"
#include "postern/language.h"
#include "postern/log.h"
#include "postern/zone.h"
#include "process.h"
#include "release.h"
#include "reload.h"
#include "retime.h"
#include "revocation.h"
#include "submission.h"
#include "submission_smtp.h"

#define STALL_LOOK_MS      1000
#define DRAIN_MAX_MS       30000
#define METRICS_PAGE_BYTES (8u << 20)
#define UNCOUNTED_MS       5000  /* how long a start waits for Redis to answer before it serves without counters ... */
#define COUNTING_MS        60000 /* ... and for the sends of the store to be read into it */
#define REBUILD_MS         (INT64_C(32) * MS_PER_DAY) /* the longest calendar window, and a day for zones */

/* --- requests ------------------------------------------------------------------------ */

const char *gateway_unready(const struct gateway *g)
{
    const char *why = NULL;

    if (g->draining)
        return "draining";
    switch (store_health(g->store, &why)) {
    case STORE_OK:
        return NULL;
    case STORE_FULL:
    case STORE_FAILED:
        return why != NULL ? why : "the store of record does not work";
    }
    never("a health");
}

static void reply_text(struct http_request *r, int status, struct slice text)
{
    http_reply(r, &(struct http_reply){.status = status, .content_type = "text/plain; charset=utf-8", .body = text});
}

/* Made once a turn, however many ask: the page costs a hundred times what its request does. */
static struct slice metrics_page(struct gateway *g)
{
    struct gateway_page *page = &g->metrics_page;

    if (page->text.p == NULL || page->turn != loop_turns(g->loop)) {
        struct buf b;
        arena_clear(&page->arena);
        arena_init(&page->arena, METRICS_PAGE_BYTES);
        buf_init(&b, &page->arena, METRICS_PAGE_BYTES);
        metrics_format(g->metrics, g, &b);
        page->text = b.failed ? (struct slice){0} : buf_slice(&b);
        page->turn = loop_turns(g->loop);
    }
    return page->text;
}

static void reply_metrics(struct gateway *g, struct http_request *r)
{
    struct slice text = metrics_page(g);

    if (text.p == NULL) {
        reply_text(r, 500, SLICE("the page needs more memory than it may have\n"));
        return;
    }
    http_reply(r, &(struct http_reply){
                      .status = 200, .content_type = "text/plain; version=0.0.4; charset=utf-8", .body = text});
}

static void reply_health(struct gateway *g, struct http_request *r)
{
    (void)g;
    reply_text(r, 200, SLICE("alive\n"));
}

/* Who is told "ready" sends at once: at a start not before the counters hold what was sent, or it all would wait. */
static const char *starting(struct gateway *g)
{
    int64_t since_ms = clock_mono_ms() - g->started_mono_ms;

    if (!g->has_counted) {
        metrics_publish(g->metrics, g);
        g->has_counted = metrics_counters_up(g->metrics) || since_ms >= COUNTING_MS ||
                         (since_ms >= UNCOUNTED_MS && counters_state(g->counters).breaker_open);
    }
    return g->has_counted ? NULL : "the frequency counters are being loaded";
}

static void reply_ready(struct gateway *g, struct http_request *r)
{
    const char *why = gateway_unready(g);
    why = why == NULL ? starting(g) : why;
    char *text = why == NULL ? NULL : arena_printf(r->arena, "not ready: %s\n", why);
    reply_text(r, why == NULL ? 200 : 503, why == NULL ? SLICE("ready\n") : slice_of(text));
}

static const struct {
    const char *path;
    void (*reply)(struct gateway *g, struct http_request *r);
} operations[] = {
    {"/healthz", reply_health},
    {"/readyz", reply_ready},
    {"/metrics", reply_metrics},
};

/* True when the path is one of operations'. */
static bool operate(struct gateway *g, struct http_request *r)
{
    static const struct http_header allow = {SLICE_INIT("Allow"), SLICE_INIT("GET, HEAD")};

    for (size_t i = 0; i < N_ELEMENTS(operations); i++) {
        if (!slice_eq_cstr(r->path, operations[i].path))
            continue;
        if (r->method == HTTP_GET || r->method == HTTP_HEAD)
            operations[i].reply(g, r);
        else
            http_reply(r, &(struct http_reply){.status = 405, .headers = &allow, .n_headers = 1});
        return true;
    }
    return false;
}

bool gateway_credentials(struct http_request *r, struct slice *account, struct slice *secret)
{
    struct slice h = http_request_header(r, "authorization");

    *account = (struct slice){0};
    if (http_request_header_count(r, "authorization") != 1)
        return false;
    if (h.n > 7 && slice_ieq((struct slice){h.p, 7}, SLICE("bearer "))) {
        *secret = slice_trim((struct slice){h.p + 7, h.n - 7});
        return true;
    }
    if (h.n <= 6 || !slice_ieq((struct slice){h.p, 6}, SLICE("basic ")))
        return false;
    struct slice pair = hash_unbase64(r->arena, slice_trim((struct slice){h.p + 6, h.n - 6}));
    const char *colon = pair.p != NULL ? memchr(pair.p, ':', pair.n) : NULL;
    if (colon == NULL)
        return false;
    *account = (struct slice){pair.p, (size_t)(colon - pair.p)};
    *secret = (struct slice){colon + 1, pair.n - account->n - 1};
    return true;
}

static const struct conf_key *key_of(struct gateway *g, struct http_request *r, const struct route *route)
{
    struct slice account, secret;
    const struct conf_key *key;

    if (!gateway_credentials(r, &account, &secret))
        return NULL;
    key = conf_authenticate(g->conf, account, secret);
    if (key == NULL || (key->roles & ROLE_SENDER) == 0)
        return NULL;
    /* Twilio's path names the account once more: both must be the key's. */
    if (route->account.n > 0 && (key->account == NULL || !slice_eq_cstr(route->account, key->account)))
        return NULL;
    return key;
}

static void refuse(struct gateway *g, struct http_request *r, const struct connector *c, const struct route *route,
                   enum fault_kind kind)
{
    struct fault f = {.kind = kind};
    const char *why = gateway_unready(g);

    if (kind == FAULT_AUTH) {
        errmsg_set(&f.message, "The provided authorization grant is invalid, expired, or revoked");
    } else if (kind == FAULT_OVERLOAD) {
        f.retry_after_ms = 2000;
        errmsg_set(&f.message, "too many requests");
    } else {
        f.retry_after_ms = 5000;
        errmsg_set(&f.message, "nothing was accepted: %s; try again later", why != NULL ? why : "not ready");
    }
    submission_http_fault(g, r, c, route, &f);
}

bool gateway_overloaded(const struct gateway *g)
{
    int64_t oldest_ms = 0;
    return g->submissions >= LIMIT_SUBMISSIONS ||
           (store_backlog(g->store, &oldest_ms) > 0 && oldest_ms > LIMIT_STORE_LAG_MS);
}

static void dialect(struct gateway *g, struct http_request *r, const struct connector *c, const struct route *route)
{
    const struct conf_key *key = key_of(g, r, route);

    if (key == NULL)
        refuse(g, r, c, route, FAULT_AUTH);
    else if (route->call != CALL_SEND)
        kept_on_request(g, r, c, route, key);
    else if (gateway_unready(g) != NULL && !g->draining)
        refuse(g, r, c, route, FAULT_UNAVAILABLE);
    else if (gateway_overloaded(g))
        refuse(g, r, c, route, FAULT_OVERLOAD);
    else
        submission_http_start(g, r, c, route, key);
}

void gateway_on_request(struct http_request *r, void *arg)
{
    struct gateway *g = arg;
    struct wire_request wire;
    struct route route = {0};

    loop_mark(g->loop);
    if (operate(g, r))
        return;
    if (callback_in_on_request(g, r))
        return;
    if (slice_starts(r->path, "/postern/")) {
        api_on_request(g, r);
        return;
    }
    if (pages_on_request(g, r))
        return;
    const struct connector *c = submission_http_wire(r, r->arena, &wire) == OK ? connector_for(&wire, &route) : NULL;
    if (c != NULL)
        dialect(g, r, c, &route);
    else
        reply_text(r, 404,
                   SLICE("no such path: Postern serves its providers' paths, /postern/v1/, /sandbox, /healthz, "
                         "/readyz and /metrics\n"));
}

/* A request that never became whole, in the words of the dialect whose path it names. */
static bool shape_error(enum http_fault fault, const char *detail, struct slice path, struct arena *arena,
                        struct http_reply *reply, void *arg)
{
    static const struct wire_field none[1];
    struct wire_request wire = {.method = SLICE("POST"), .path = path, .fields = none};
    struct route route = {0};
    struct fault f = {.kind = FAULT_SYNTAX, .retry_after_ms = 2000};
    struct wire_reply w = {0};
    int status = http_fault_status(fault);

    (void)arg;
    const struct connector *c = path.n > 0 ? connector_for(&wire, &route) : NULL;
    if (c == NULL)
        return false;
    if (status == 413)
        f.kind = FAULT_TOO_LARGE;
    else if (status == 415)
        f.kind = FAULT_MEDIA_TYPE;
    else if (status == 503)
        f.kind = FAULT_UNAVAILABLE;
    errmsg_set(&f.message, "%s", detail);
    if (c->fault_reply(&f, &route, arena, &w) != OK)
        return false;
    reply->content_type = "application/json; charset=utf-8";
    reply->body = w.body;
    return true;
}

/* --- start and stop -------------------------------------------------------------------- */

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
        .shape_error = shape_error,
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

/* --- what the other workers, or the parent, ask for --------------------------------------- */

static void on_changed(void *arg, const uint64_t *hashes, size_t n)
{
    revocation_here(arg, hashes, n);
}

static void on_clock(void *arg, int64_t now_ms)
{
    struct gateway *g = arg;

    clock_set(now_ms);
    if (g->worker == STORE_RELEASING_OWNER)
        releaser_clock_set(g->releaser);
}

static void on_due(void *arg, const struct bus_due *due)
{
    struct gateway *g = arg;

    if (due->any)
        releaser_wake(g->releaser);
    else
        releaser_notice_nth(g->releaser, due->nth, due->at_ms);
}

static void on_drain(void *arg, bool at_once)
{
    gateway_drain(arg, at_once);
}

static void on_reload_ready(enum err status, const struct errmsg *e, void *arg)
{
    struct gateway *g = arg;
    bus_reloaded(g->bus, g->reload_id, status == OK ? NULL : e->text);
}

static void on_reload(void *arg, uint64_t id, struct slice bytes)
{
    struct gateway *g = arg;

    g->reload_id = id;
    if (reload_prepare(g->reload, bytes, on_reload_ready, g) != OK)
        bus_reloaded(g->bus, id, "another reload is under way, or this worker ends");
}

static void on_reload_end(void *arg, struct slice why)
{
    struct gateway *g = arg;
    char text[sizeof(((struct errmsg *)0)->text)];

    snprintf(text, sizeof(text), "%.*s", SLICE_ARG(why));
    if (why.n == 0)
        reload_commit(g->reload);
    else
        reload_abandon(g->reload, text);
}

static int64_t stuck_ms(void *arg)
{
    const struct gateway *g = arg;
    int64_t oldest_ms;

    ignore(store_backlog(g->store, &oldest_ms)); /* how many does not matter */
    return oldest_ms;
}

static const struct bus_user bus_user = {
    .changed = on_changed,
    .clock = on_clock,
    .due = on_due,
    .drain = on_drain,
    .reload = on_reload,
    .reload_end = on_reload_end,
    .stuck_ms = stuck_ms,
};

/* Without it a content's language is unknown: no remark is made. */
static void open_languages(void)
{
    struct errmsg e;

    if (language_open(&e) != OK)
        log_line(LOG_WARN, NULL, "gateway", "no_language", "error=\"%s\"", e.text);
}

struct gateway *gateway_new(struct conf *conf, const struct gateway_place *place, struct errmsg *e)
{
    struct gateway *g = xcalloc(1, sizeof(*g));

    g->conf = conf;
    g->loop = loop_new();
    g->confs = confs_new(g->loop);
    g->worker = place != NULL ? place->worker : 0;
    g->metrics = metrics_new(place != NULL ? place->board : NULL, g->worker);
    g->bus = bus_new(g->loop, place != NULL ? place->bus_fd : -1, &bus_user, g);
    g->duplicates = duplicates_new();
    g->started_mono_ms = clock_mono_ms();
    open_languages();
    if (!open_store(g, place, e) || confs_open(g->confs, conf, NULL, e) != OK)
        goto fail;
    g->callbacks = callbacks_new(g);
    g->releaser = releaser_new(g);
    g->reload = reload_new(g);
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
    bool soon = g->draining || starting(g) != NULL; /* somebody waits for it */
    metrics_loop_stall(g->metrics, loop_take_longest_turn_ms(g->loop));
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

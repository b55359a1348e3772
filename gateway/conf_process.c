/*
 * What the process needs: where it listens, where it keeps, through whom it
 * sends.  Words that a later build will know (postgresql://, mailgun)
 * are told apart from mistakes.
 */
#include "conf_build.h"

#include "metrics.h"
#include "postern/log.h"

/* --- listeners, store, clock -------------------------------------------------------- */

static enum err build_listen(struct conf_build *b, bool *loopback)
{
    const struct yaml_listen *y = &b->yaml->listen;

    enum err err = conf_listen_address(b, y->http, "listen.http", loopback);
    if (err == OK)
        err = conf_readable(b, y->tls.certificate, "listen.tls.certificate");
    if (err == OK)
        err = conf_readable(b, y->tls.key, "listen.tls.key");
    b->conf->listen_http = conf_keep(b, y->http);
    b->conf->tls_certificate = conf_keep(b, y->tls.certificate);
    b->conf->tls_key = conf_keep(b, y->tls.key);
    return err;
}

static enum err build_public_url(struct conf_build *b)
{
    static const char *const web[2] = {"https", "http"};
    struct conf *c = b->conf;

    c->public_url = conf_keep(b, b->yaml->public_url);
    c->public_url_given = c->public_url != NULL;
    if (c->public_url != NULL)
        return conf_origin(b, c->public_url, "public_url", web);
    c->public_url = arena_printf(&c->arena, "%s://%s", web[c->tls_certificate == NULL], c->listen_http);
    ensure(c->public_url != NULL);
    return OK;
}

static enum err build_store(struct conf_build *b)
{
    const char *store = b->yaml->store != NULL ? b->yaml->store : "sqlite:postern.db";
    struct slice s = slice_of(store);

    if (slice_starts(s, "postgresql://") || slice_starts(s, "postgres://"))
        return REFUSE(b, "store", "PostgreSQL is not carried by this build yet; use sqlite:postern.db");
    if (!slice_starts(s, "sqlite:") || s.n == strlen("sqlite:"))
        return REFUSE(b, "store", "\"%.60s\" is no store: write sqlite:postern.db", store);
    b->conf->store_url = conf_keep(b, store);
    return OK;
}

static enum err build_clock(struct conf_build *b, bool loopback)
{
    const char *clock = b->yaml->clock != NULL ? b->yaml->clock : "system";

    b->conf->clock_settable = strcmp(clock, "settable") == 0;
    if (!b->conf->clock_settable && strcmp(clock, "system") != 0)
        return REFUSE(b, "clock", "\"%.40s\" is none of system, settable", clock);
    if (b->conf->clock_settable && !loopback)
        return REFUSE(b, "clock", "settable is for tests and needs listen.http on loopback, not %s",
                      b->conf->listen_http);
    return OK;
}

/* --- workers ---------------------------------------------------------------------------- */

static enum err build_workers(struct conf_build *b)
{
    int64_t workers = 1;

    enum err err = conf_number(b, b->yaml->workers, "workers", 1, METRICS_WORKERS_MAX, &workers);
    if (err == OK && workers > 1 && b->conf->counters == COUNTERS_EMBEDDED)
        err = REFUSE(b, "workers",
                     "%lld needs counters: redis://...: counters inside one process do not see what the others send",
                     (long long)workers);
    b->conf->workers = (uint32_t)workers;
    return err;
}

/* --- limits -------------------------------------------------------------------------- */

#define CACHE_DEFAULT_BYTES (INT64_C(256) << 20)
#define CACHE_MIN_BYTES     (INT64_C(1) << 20)
#define CACHE_MAX_BYTES     (INT64_C(1) << 40)

/* A part of what all may hold, in which a body fits. */
static size_t share_inflight(uint32_t workers, size_t inflight, size_t body)
{
    if (workers == 1)
        return inflight;
    size_t part = (inflight != 0 ? inflight : LIMIT_HTTP_INFLIGHT_BYTES) / workers;
    size_t largest = body != 0 ? body : LIMIT_HTTP_BODY_BYTES;
    return part > largest ? part : largest;
}

static enum err build_limits(struct conf_build *b)
{
    const struct yaml_limits *y = &b->yaml->limits;
    int64_t body = 0, connections = 0, inflight = 0, cache = CACHE_DEFAULT_BYTES;

    enum err err = conf_number(b, y->body_bytes, "limits.body_bytes", 1024, LIMIT_HTTP_BODY_BYTES, &body);
    if (err == OK)
        err = conf_number(b, y->connections, "limits.connections", 1, LIMIT_HTTP_CONNECTIONS, &connections);
    if (err == OK)
        err = conf_number(b, y->inflight_bytes, "limits.inflight_bytes", 65536, LIMIT_HTTP_INFLIGHT_BYTES, &inflight);
    if (err == OK)
        err = conf_number(b, y->head_ms, "limits.head_ms", 100, LIMIT_HTTP_HEAD_MS, &b->conf->head_ms);
    if (err == OK)
        err = conf_number(b, y->cache_bytes, "limits.cache_bytes", CACHE_MIN_BYTES, CACHE_MAX_BYTES, &cache);
    b->conf->max_body_bytes = (size_t)body;
    b->conf->max_connections = (size_t)connections; /* of each worker: the kernel does not deal them out evenly */
    b->conf->max_inflight_bytes = share_inflight(b->conf->workers, (size_t)inflight, (size_t)body);
    b->conf->cache_bytes = (size_t)cache / b->conf->workers;
    return err;
}

#define AUDIT_KEY_MIN_BYTES 16u

enum err conf_build_process(struct conf_build *b)
{
    struct conf *c = b->conf;
    bool loopback = false;

    c->log_level = b->yaml->log_level == 0 ? LOG_INFO : b->yaml->log_level - 1;
    enum err err = build_listen(b, &loopback);
    if (err == OK)
        err = build_public_url(b);
    if (err == OK)
        err = conf_build_smtp(b);
    if (err == OK)
        err = build_store(b);
    if (err == OK)
        err = conf_build_counters(b);
    if (err == OK)
        err = build_clock(b, loopback);
    if (err == OK)
        err = build_workers(b);
    if (err == OK)
        err = build_limits(b);
    if (err == OK)
        err = conf_secret(b, b->yaml->audit_key, "audit_key", &c->audit_key);
    if (err == OK && c->audit_key != NULL && strlen(c->audit_key) < AUDIT_KEY_MIN_BYTES)
        err = REFUSE(b, "audit_key", "is shorter than %u bytes; make one with: openssl rand -hex 32",
                     AUDIT_KEY_MIN_BYTES);
    return err;
}

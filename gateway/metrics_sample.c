/*
 * The gauges of this worker, and what its parts count for themselves: read off them into its slab, each second and
 * when the page is made.  Knows each part by what it says of itself, and nothing of the page.
 */
#include "metrics_slab.h"

#include <stdio.h>

#include "postern/clock.h"
#include "release.h"
#include "reload.h"
#include "smtp_listen.h"

static void set(struct metrics_slab *slab, enum metric id, double value)
{
    bool sums = metric_families[id].is_counter && metric_families[id].merge == MERGE_SUM;
    slab->value[id] = sums ? slab->before[id] + value : value;
}

static void sample_store(struct metrics_slab *slab, const struct gateway *g)
{
    struct store_counters c = store_counters(g->store);
    const char *why;
    int64_t age_ms;

    set(slab, METRIC_READY, gateway_unready(g) == NULL);
    enum store_health health = store_health(g->store, &why);
    set(slab, METRIC_STORE_UP, health == STORE_OK);
    set(slab, METRIC_STORE_FULL, health == STORE_FULL);
    set(slab, METRIC_STORE_BACKLOG, (double)store_backlog(g->store, &age_ms));
    set(slab, METRIC_STORE_COMMITS, (double)c.commits);
    set(slab, METRIC_STORE_ROWS, (double)c.rows);
    set(slab, METRIC_STORE_COMMIT_SECONDS, (double)c.commit_us_total / 1e6);
    set(slab, METRIC_STORE_FAILED, (double)c.failed);
}

static void sample_memory(struct metrics_slab *slab, const struct gateway *g)
{
    struct profiles_state p = profiles_state(g->profiles);
    struct counters_state c = counters_state(g->counters);

    set(slab, METRIC_CACHE_ENTRIES, (double)p.entries);
    set(slab, METRIC_CACHE_BYTES, (double)p.bytes);
    set(slab, METRIC_CACHE_HITS, (double)p.hits);
    set(slab, METRIC_CACHE_MISSES, (double)p.misses);
    set(slab, METRIC_COUNTER_CONTACTS, (double)c.contacts);
    set(slab, METRIC_COUNTER_ENTRIES, (double)c.entries);
    set(slab, METRIC_COUNTER_RESERVED, (double)c.reservations);
    set(slab, METRIC_COUNTERS_UP, c.up);
    set(slab, METRIC_COUNTERS_BREAKER, c.breaker_open);
    set(slab, METRIC_COUNTERS_LOSSES, (double)c.losses);
    set(slab, METRIC_COUNTERS_REBUILDS, (double)c.rebuilds);
    set(slab, METRIC_COUNTERS_MISSING, (double)c.missing);
    set(slab, METRIC_COUNTERS_KEPT, (double)c.kept);
    set(slab, METRIC_COUNTERS_COMMANDS, (double)c.commands);
    set(slab, METRIC_COUNTERS_SECONDS, (double)c.commands_us / 1e6);
    set(slab, METRIC_COUNTERS_TIMEOUTS, (double)c.timeouts);
    set(slab, METRIC_COUNTERS_FAILURES, (double)c.failures);
    set(slab, METRIC_COUNTERS_EVICTED, (double)c.evicted);
    set(slab, METRIC_COUNTERS_MAY_EVICT, c.may_evict);
}

static void sample_time(struct metrics_slab *slab, const struct gateway *g)
{
    const struct clock_watch *clock = releaser_clock(g->releaser);
    struct reload_state reload = reload_state(g->reload);

    set(slab, METRIC_RELOAD_OK, reload.last_applied);
    set(slab, METRIC_RELOAD_TIME, (double)reload.configured_at_ms / 1000);
    set(slab, METRIC_ZONE_RELOADS, (double)reload.zone_reloads);
    set(slab, METRIC_CONFIGURATIONS, (double)confs_count(g->confs));
    set(slab, METRIC_CLOCK_JUMPS, (double)clock->jumps);
    set(slab, METRIC_RELEASES_HELD, clock->held);
}

static void sample_http(struct metrics_slab *slab, const struct gateway *g)
{
    const struct http_counters *c = http_listener_counters(g->listener);

    set(slab, METRIC_HTTP_CONNECTIONS, (double)c->open);
    set(slab, METRIC_HTTP_ACCEPTED, (double)c->accepted);
    set(slab, METRIC_HTTP_REQUESTS, (double)c->requests);
    set(slab, METRIC_HTTP_INFLIGHT, (double)c->inflight_bytes);
    for (size_t i = 0; i < HTTP_FAULT_COUNT; i++)
        slab->http_faults[i] = slab->http_faults_before[i] + c->faults[i];
}

/* The ports of SMTP as one. */
static void sample_smtp(struct metrics_slab *slab, const struct gateway *g)
{
    struct metrics_smtp now = slab->smtp_before;
    struct smtp_counters all = {0};

    for (size_t l = 0; l < LISTENER_N; l++) {
        if (g->smtp[l] == NULL)
            continue;
        const struct smtp_counters *c = smtp_listener_counters(g->smtp[l]);
        all.open += c->open;
        all.accepted += c->accepted;
        all.refused_connections += c->refused_connections;
        all.timeouts += c->timeouts;
        all.messages += c->messages;
        all.recipients += c->recipients;
        all.inflight_bytes += c->inflight_bytes;
        for (size_t i = 0; i < SMTP_PROTO_FAULT_COUNT; i++)
            now.faults[i] += c->faults[i];
        now.logins[METRICS_LOGIN_OK] += c->logins;
        now.logins[METRICS_LOGIN_WRONG] += c->logins_wrong;
        now.logins[METRICS_LOGIN_THROTTLED] += c->logins_throttled;
        now.handshakes[0] += c->tls_failures;
        now.handshakes[1] += c->tls_handshakes;
    }
    slab->smtp = now;
    set(slab, METRIC_SMTP_CONNECTIONS, (double)all.open);
    set(slab, METRIC_SMTP_ACCEPTED, (double)all.accepted);
    set(slab, METRIC_SMTP_REFUSED, (double)all.refused_connections);
    set(slab, METRIC_SMTP_TIMEOUTS, (double)all.timeouts);
    set(slab, METRIC_SMTP_MESSAGES, (double)all.messages);
    set(slab, METRIC_SMTP_RECIPIENTS, (double)all.recipients);
    set(slab, METRIC_SMTP_INFLIGHT, (double)all.inflight_bytes);
}

static double upstream_value(const struct upstream_state *s, enum metric id)
{
    if (id == METRIC_UPSTREAM_UP)
        return s->breaker == UPSTREAM_BREAKER_OPEN;
    if (id == METRIC_UPSTREAM_PAUSED)
        return (double)s->paused_ms / 1000;
    return id == METRIC_UPSTREAM_FLIGHT ? s->in_flight : s->queued;
}

static void sample_upstreams(struct metrics_slab *slab, const struct gateway *g)
{
    struct upstream_state s;
    uint32_t n = 0;

    for (size_t i = 0; i < g->conf->n_providers && n < METRICS_PROVIDERS; i++) {
        const struct upstream *u = confs_upstream(g->conf, &g->conf->providers[i]);
        if (u == NULL)
            continue;
        upstream_state(u, &s);
        (void)metrics_row_of(&slab->results, s.name, result_name(RESULT_UNKNOWN), 0);
        struct metrics_upstream *row = &slab->upstreams[n++];
        snprintf(row->name, sizeof(row->name), "%s", s.name);
        for (enum metric id = METRIC_UPSTREAM_UP; id <= METRIC_UPSTREAM_PAUSED; id++)
            row->value[id - METRIC_UPSTREAM_UP] = upstream_value(&s, id);
    }
    atomic_store_explicit(&slab->n_upstreams, n, memory_order_release);
}

void metrics_sample(struct metrics_slab *slab, const struct gateway *g)
{
    sample_store(slab, g);
    sample_memory(slab, g);
    sample_http(slab, g);
    sample_smtp(slab, g);
    sample_upstreams(slab, g);
    sample_time(slab, g);
    set(slab, METRIC_SUBMISSIONS, (double)g->submissions);
    set(slab, METRIC_UPTIME, (double)(clock_mono_ms() - g->started_mono_ms) / 1000);
}

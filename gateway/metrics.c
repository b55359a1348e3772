/*
 * Counters of what happened, and the text of /metrics.  On a message's way only
 * array increments; names, HELP and TYPE come from metrics.def.
 */
#include "metrics.h"

#include <stdlib.h>

#include "gateway.h"
#include "postern/clock.h"
#include "postern/zone.h"

#define STAGE_NAME(id, name) name,
static const char *const stage_names[] = {STAGES(STAGE_NAME)};

enum metric {
#define METRIC(id, name, type, help) METRIC_##id,
#include "metrics.def"
#undef METRIC
};

static const struct {
    const char *name, *type, *help;
} families[] = {
#define METRIC(id, name, type, help) {name, type, help},
#include "metrics.def"
#undef METRIC
};

static const int64_t bucket_us[] = {50,    100,   250,    500,    1000,    2500,    5000,    10000,
                                    25000, 50000, 100000, 250000, 1000000, 2500000, 10000000};

struct histogram {
    uint64_t bucket[N_ELEMENTS(bucket_us) + 1];
    uint64_t sum_us;
};

/* A count by words that are few and not known beforehand. */
struct row {
    char *a, *b;
    int c;
    uint64_t n;
};
struct rows {
    struct row *row;
    size_t n;
};

struct metrics {
    uint64_t decisions[OUTCOME_N][REASON_N][CLASS_N][CHANNEL_N];
    uint64_t would_have[OUTCOME_N];
    uint64_t violations[RULE_N][LEVEL_HARD + 1][CLASS_N][2];
    uint64_t degraded[CLASS_N];
    uint64_t adherence_sent, adherence_kept;
    uint64_t opt_outs[SCOPE_N][SOURCE_N];
    struct histogram stages[STAGE_N];
    struct rows results, faults, releases;
    int64_t stall_ms;
};

const char *stage_name(enum stage s)
{
    ensure((size_t)s < N_ELEMENTS(stage_names));
    return stage_names[s];
}

struct metrics *metrics_new(void)
{
    return xcalloc(1, sizeof(struct metrics));
}

static void rows_clear(struct rows *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->row[i].a);
        free(r->row[i].b);
    }
    free(r->row);
}

void metrics_free(struct metrics **mp)
{
    struct metrics *m = take(mp);
    if (m == NULL)
        return;
    rows_clear(&m->results);
    rows_clear(&m->faults);
    rows_clear(&m->releases);
    free(m);
}

static void rows_count(struct rows *r, const char *a, const char *b, int c)
{
    for (size_t i = 0; i < r->n; i++) {
        struct row *row = &r->row[i];
        if (row->c == c && strcmp(row->a, a) == 0 && strcmp(row->b, b) == 0) {
            row->n++;
            return;
        }
    }
    r->row = xrealloc(r->row, r->n + 1, sizeof(*r->row));
    r->row[r->n++] = (struct row){xstrdup(a), xstrdup(b), c, 1};
}

void metrics_decision(struct metrics *m, const struct message *msg, const struct decision *d)
{
    enum message_class class = msg->category->class;

    m->decisions[d->outcome][d->reason][class][msg->channel]++;
    m->degraded[class] += d->degraded;
    if (d->would_have != d->outcome)
        m->would_have[d->would_have]++;
    for (size_t i = 0; i < d->n_violations; i++) {
        const struct violation *v = &d->violations[i];
        m->violations[v->rule][v->level][class][v->shadow]++;
    }
}

/* Where somebody is, is no wish. */
static bool stated_a_wish(const struct profile *p)
{
    for (size_t i = 0; i < p->n_preferences; i++) {
        if (p->preferences[i].key != PREFERENCE_ZONE && p->preferences[i].text.n > 0)
            return true;
    }
    return false;
}

/* Did a rule that reads the recipient's own preferences fire, at whatever level? */
static bool against_a_wish(const struct decision *d)
{
    for (size_t i = 0; i < d->n_violations; i++) {
        switch (d->violations[i].rule) {
        case RULE_CHANNEL_NEVER:
        case RULE_CHANNEL_OTHER:
        case RULE_HOURS_CONTACT:
        case RULE_CAP_CUSTOMER:
        case RULE_MIN_GAP:
        case RULE_DIGEST:
        case RULE_NOTIFY:
        case RULE_LANGUAGE:
        case RULE_FORMAT:
        case RULE_FORMALITY:
        case RULE_TECHNICAL_DEPTH:
            return true;
        case RULE_DO_NOT_CONTACT:
        case RULE_ADDRESS:
        case RULE_OPT_OUT_GLOBAL:
        case RULE_OPT_OUT_CHANNEL:
        case RULE_OPT_OUT_CATEGORY:
        case RULE_OPT_OUT_TOPIC:
        case RULE_CONSENT:
        case RULE_COOLING_OFF:
        case RULE_SCHEDULE:
        case RULE_HOURS_LEGAL:
        case RULE_HOURS_ORGANISATION:
        case RULE_CAP_REGULATORY:
        case RULE_CAP_ORGANISATION:
        case RULE_DUPLICATE:
        case RULE_COUNTERS:
        case RULE_FRESHNESS:
            break;
        case RULE_N:
            never("a rule");
        }
    }
    return false;
}

void metrics_sent(struct metrics *m, const struct profile *p, const struct decision *d)
{
    if (!stated_a_wish(p))
        return;
    m->adherence_sent++;
    m->adherence_kept += !against_a_wish(d);
}

void metrics_stage(struct metrics *m, enum stage s, int64_t took_us)
{
    struct histogram *h = &m->stages[s];
    size_t i = 0;

    while (i < N_ELEMENTS(bucket_us) && took_us > bucket_us[i])
        i++;
    h->bucket[i]++;
    h->sum_us += (uint64_t)(took_us > 0 ? took_us : 0);
}

void metrics_result(struct metrics *m, const char *provider, enum result r, int provider_status)
{
    rows_count(&m->results, provider, result_name(r), provider_status);
}

void metrics_fault(struct metrics *m, const char *dialect, const char *kind)
{
    rows_count(&m->faults, dialect, kind, 0);
}

void metrics_release(struct metrics *m, const char *end)
{
    rows_count(&m->releases, end, "", 0);
}

void metrics_opt_out(struct metrics *m, enum opt_out_scope scope, enum source source)
{
    m->opt_outs[scope][source]++;
}

void metrics_loop_stall(struct metrics *m, int64_t ms)
{
    if (ms > m->stall_ms)
        m->stall_ms = ms;
}

/* --- text ------------------------------------------------------------------------ */

static void family(struct buf *b, enum metric id)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", families[id].name, families[id].help, families[id].name,
               families[id].type);
}

static void single(struct buf *b, enum metric id, double value)
{
    family(b, id);
    buf_printf(b, "%s %.15g\n", families[id].name, value);
}

static void decisions(const struct metrics *m, struct buf *b)
{
    family(b, METRIC_DECISIONS);
    for (size_t o = 0; o < OUTCOME_N; o++)
        for (size_t r = 0; r < REASON_N; r++)
            for (size_t c = 0; c < CLASS_N; c++)
                for (size_t h = 0; h < CHANNEL_N; h++)
                    if (m->decisions[o][r][c][h] > 0)
                        buf_printf(b, "%s{outcome=\"%s\",reason=\"%s\",class=\"%s\",channel=\"%s\"} %llu\n",
                                   families[METRIC_DECISIONS].name, outcome_name((enum outcome)o),
                                   reason_name((enum reason)r), class_name((enum message_class)c),
                                   channel_name((enum channel)h), (unsigned long long)m->decisions[o][r][c][h]);
    family(b, METRIC_WOULD_HAVE);
    for (size_t o = 0; o < OUTCOME_N; o++)
        buf_printf(b, "%s{outcome=\"%s\"} %llu\n", families[METRIC_WOULD_HAVE].name, outcome_name((enum outcome)o),
                   (unsigned long long)m->would_have[o]);
}

static void violations(const struct metrics *m, struct buf *b)
{
    family(b, METRIC_VIOLATIONS);
    for (size_t r = 0; r < RULE_N; r++)
        for (size_t l = 0; l <= LEVEL_HARD; l++)
            for (size_t c = 0; c < CLASS_N; c++)
                for (size_t s = 0; s < 2; s++)
                    if (m->violations[r][l][c][s] > 0)
                        buf_printf(b, "%s{rule=\"%s\",level=\"%s\",class=\"%s\",shadow=\"%s\"} %llu\n",
                                   families[METRIC_VIOLATIONS].name, rule_name((enum rule)r), level_name((enum level)l),
                                   class_name((enum message_class)c), s != 0 ? "true" : "false",
                                   (unsigned long long)m->violations[r][l][c][s]);
    family(b, METRIC_DEGRADED);
    for (size_t c = 0; c < CLASS_N; c++)
        buf_printf(b, "%s{class=\"%s\"} %llu\n", families[METRIC_DEGRADED].name, class_name((enum message_class)c),
                   (unsigned long long)m->degraded[c]);
}

static void stages(const struct metrics *m, struct buf *b)
{
    const char *name = families[METRIC_STAGE].name;

    family(b, METRIC_STAGE);
    for (size_t s = 0; s < STAGE_N; s++) {
        const struct histogram *h = &m->stages[s];
        uint64_t sum = 0;
        for (size_t i = 0; i < N_ELEMENTS(bucket_us); i++) {
            sum += h->bucket[i];
            buf_printf(b, "%s_bucket{stage=\"%s\",le=\"%g\"} %llu\n", name, stage_names[s], (double)bucket_us[i] / 1e6,
                       (unsigned long long)sum);
        }
        sum += h->bucket[N_ELEMENTS(bucket_us)];
        buf_printf(b, "%s_bucket{stage=\"%s\",le=\"+Inf\"} %llu\n", name, stage_names[s], (unsigned long long)sum);
        buf_printf(b, "%s_sum{stage=\"%s\"} %g\n%s_count{stage=\"%s\"} %llu\n", name, stage_names[s],
                   (double)h->sum_us / 1e6, name, stage_names[s], (unsigned long long)sum);
    }
}

static void words(const struct metrics *m, struct buf *b)
{
    family(b, METRIC_RESULTS);
    for (size_t i = 0; i < m->results.n; i++)
        buf_printf(b, "%s{provider=\"%s\",result=\"%s\",status=\"%d\"} %llu\n", families[METRIC_RESULTS].name,
                   m->results.row[i].a, m->results.row[i].b, m->results.row[i].c,
                   (unsigned long long)m->results.row[i].n);
    family(b, METRIC_FAULTS);
    for (size_t i = 0; i < m->faults.n; i++)
        buf_printf(b, "%s{dialect=\"%s\",kind=\"%s\"} %llu\n", families[METRIC_FAULTS].name, m->faults.row[i].a,
                   m->faults.row[i].b, (unsigned long long)m->faults.row[i].n);
    family(b, METRIC_RELEASES);
    for (size_t i = 0; i < m->releases.n; i++)
        buf_printf(b, "%s{end=\"%s\"} %llu\n", families[METRIC_RELEASES].name, m->releases.row[i].a,
                   (unsigned long long)m->releases.row[i].n);
    family(b, METRIC_OPT_OUTS);
    for (size_t s = 0; s < SCOPE_N; s++)
        for (size_t o = 0; o < SOURCE_N; o++)
            if (m->opt_outs[s][o] > 0)
                buf_printf(b, "%s{scope=\"%s\",source=\"%s\"} %llu\n", families[METRIC_OPT_OUTS].name,
                           opt_out_scope_name((enum opt_out_scope)s), source_name((enum source)o),
                           (unsigned long long)m->opt_outs[s][o]);
}

static void queue(const struct gateway *g, struct buf *b)
{
    struct store_queue_depth q = store_queue_depth(g->store);
    int64_t age_ms = q.oldest_enqueued_ms != 0 ? clock_wall_ms() - q.oldest_enqueued_ms : 0;

    family(b, METRIC_QUEUE);
    for (size_t s = 0; s < DEFERRED_STATE_N; s++)
        buf_printf(b, "%s{state=\"%s\"} %llu\n", families[METRIC_QUEUE].name,
                   deferred_state_name((enum deferred_state)s), (unsigned long long)q.n[s]);
    single(b, METRIC_QUEUE_AGE, (double)(age_ms > 0 ? age_ms : 0) / 1000);
}

static double upstream_value(const struct upstream_state *s, enum metric id)
{
    if (id == METRIC_UPSTREAM_UP)
        return s->breaker == UPSTREAM_BREAKER_OPEN;
    if (id == METRIC_UPSTREAM_PAUSED)
        return (double)s->paused_ms / 1000;
    return id == METRIC_UPSTREAM_FLIGHT ? s->in_flight : s->queued;
}

static void upstreams(const struct gateway *g, struct buf *b)
{
    struct upstream_state s;

    for (enum metric id = METRIC_UPSTREAM_UP; id <= METRIC_UPSTREAM_PAUSED; id++) {
        family(b, id);
        for (size_t i = 0; i < g->conf->n_providers; i++) {
            if (g->upstreams[i] == NULL)
                continue;
            upstream_state(g->upstreams[i], &s);
            buf_printf(b, "%s{provider=\"%s\"} %g\n", families[id].name, s.name, upstream_value(&s, id));
        }
    }
}

static void store(const struct gateway *g, struct buf *b)
{
    struct store_counters c = store_counters(g->store);
    const char *why;
    int64_t age_ms;

    single(b, METRIC_STORE_UP, store_health(g->store, &why) == STORE_OK);
    single(b, METRIC_STORE_BACKLOG, (double)store_backlog(g->store, &age_ms));
    single(b, METRIC_STORE_COMMITS, (double)c.commits);
    single(b, METRIC_STORE_ROWS, (double)c.rows);
    single(b, METRIC_STORE_COMMIT_SECONDS, (double)c.commit_us_total / 1e6);
    single(b, METRIC_STORE_FAILED, (double)c.failed);
}

static void memory(const struct gateway *g, struct buf *b)
{
    struct profiles_state p = profiles_state(g->profiles);
    struct counters_state c = counters_state(g->counters);

    single(b, METRIC_CACHE_ENTRIES, (double)p.entries);
    single(b, METRIC_CACHE_BYTES, (double)p.bytes);
    single(b, METRIC_CACHE_HITS, (double)p.hits);
    single(b, METRIC_CACHE_MISSES, (double)p.misses);
    single(b, METRIC_COUNTER_CONTACTS, (double)c.contacts);
    single(b, METRIC_COUNTER_ENTRIES, (double)c.entries);
    single(b, METRIC_COUNTER_RESERVED, (double)c.reservations);
}

static void http(const struct gateway *g, struct buf *b)
{
    const struct http_counters *c = http_listener_counters(g->listener);

    single(b, METRIC_HTTP_CONNECTIONS, (double)c->open);
    single(b, METRIC_HTTP_ACCEPTED, (double)c->accepted);
    single(b, METRIC_HTTP_REQUESTS, (double)c->requests);
    single(b, METRIC_HTTP_INFLIGHT, (double)c->inflight_bytes);
    family(b, METRIC_HTTP_FAULTS);
    for (size_t i = 0; i < HTTP_FAULT_COUNT; i++) {
        if (c->faults[i] > 0)
            buf_printf(b, "%s{reason=\"%s\"} %llu\n", families[METRIC_HTTP_FAULTS].name,
                       http_fault_label((enum http_fault)i), (unsigned long long)c->faults[i]);
    }
}

void metrics_format(const struct metrics *m, const struct gateway *g, struct buf *b)
{
    decisions(m, b);
    violations(m, b);
    single(b, METRIC_ADHERENCE_SENT, (double)m->adherence_sent);
    single(b, METRIC_ADHERENCE_KEPT, (double)m->adherence_kept);
    stages(m, b);
    words(m, b);
    queue(g, b);
    upstreams(g, b);
    store(g, b);
    memory(g, b);
    http(g, b);
    single(b, METRIC_SUBMISSIONS, (double)g->submissions);
    single(b, METRIC_STALL, (double)m->stall_ms / 1000);
    single(b, METRIC_UPTIME, (double)(clock_mono_ms() - g->started_mono_ms) / 1000);
    family(b, METRIC_TZDATA);
    buf_printf(b, "%s{version=\"%s\"} 1\n", families[METRIC_TZDATA].name, zone_data_version());
    family(b, METRIC_POLICY);
    buf_printf(b, "%s{version=\"%08x\"} 1\n", families[METRIC_POLICY].name, g->conf->policy.version);
}

/*
 * The text of /metrics: what all workers have counted, as one.  Counters of workers that are gone go on counting;
 * gauges are those of the workers that serve now, as they last published them (a second ago at most).
 */
#include "metrics_slab.h"

#include <stddef.h>

#include "gateway.h"
#include "postern/clock.h"
#include "postern/zone.h"

const struct metric_family metric_families[METRIC_N] = {
#define METRIC(id, name, type, merge, help) {name, type, help, MERGE_##merge, (type)[0] == 'c'},
#include "metrics.def"
#undef METRIC
};

/* --- the workers' figures as one --------------------------------------------------------- */

struct page {
    struct buf *b;
    const struct metrics_board *board;
    size_t own; /* which of them makes the page */
};

/* The sum over all workers of the figure that stands in each slab where field stands in this one. */
static uint64_t sum(const struct page *p, const uint64_t *field)
{
    size_t offset = (size_t)((const char *)field - (const char *)&p->board->slabs[0]);
    uint64_t n = 0;

    for (size_t w = 0; w < p->board->n; w++)
        n += *(const uint64_t *)(const void *)((const char *)&p->board->slabs[w] + offset);
    return n;
}

static double merge(enum metric_merge how, double a, double b)
{
    switch (how) {
    case MERGE_SUM:
        return a + b;
    case MERGE_MAX:
        return a > b ? a : b;
    case MERGE_MIN:
        return a < b ? a : b;
    case MERGE_OWN:
        return a;
    }
    never("a way to merge");
}

/* Gauges are those of the living, and of the one that is asked. */
static bool shows(const struct page *p, size_t worker, enum metric id)
{
    return metric_families[id].is_counter || worker == p->own || atomic_load(&p->board->worker[worker].up);
}

static double merged(const struct page *p, enum metric id)
{
    double v = p->board->slabs[p->own].value[id];

    for (size_t w = 0; w < p->board->n; w++) {
        if (w != p->own && shows(p, w, id))
            v = merge(metric_families[id].merge, v, p->board->slabs[w].value[id]);
    }
    return v;
}

/* --- text -------------------------------------------------------------------------------- */

static void family(const struct page *p, enum metric id)
{
    const struct metric_family *f = &metric_families[id];
    buf_printf(p->b, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, f->type);
}

static void line(const struct page *p, enum metric id, double value)
{
    family(p, id);
    buf_printf(p->b, "%s %.15g\n", metric_families[id].name, value);
}

static void single(const struct page *p, enum metric id)
{
    line(p, id, merged(p, id));
}

/* One of a family that is counted by one word. */
static void counted(const struct page *p, enum metric id, const char *label, const char *word, const uint64_t *n)
{
    buf_printf(p->b, "%s{%s=\"%s\"} %llu\n", metric_families[id].name, label, word, (unsigned long long)sum(p, n));
}

static void decisions(const struct page *p)
{
    const struct metrics_slab *m = &p->board->slabs[0];

    family(p, METRIC_DECISIONS);
    for (size_t o = 0; o < OUTCOME_N; o++)
        for (size_t r = 0; r < REASON_N; r++)
            for (size_t c = 0; c < CLASS_N; c++)
                for (size_t h = 0; h < CHANNEL_N; h++) {
                    uint64_t n = sum(p, &m->decisions[o][r][c][h]);
                    if (n > 0)
                        buf_printf(p->b, "%s{outcome=\"%s\",reason=\"%s\",class=\"%s\",channel=\"%s\"} %llu\n",
                                   metric_families[METRIC_DECISIONS].name, outcome_name((enum outcome)o),
                                   reason_name((enum reason)r), class_name((enum message_class)c),
                                   channel_name((enum channel)h), (unsigned long long)n);
                }
    family(p, METRIC_WOULD_HAVE);
    for (size_t o = 0; o < OUTCOME_N; o++)
        counted(p, METRIC_WOULD_HAVE, "outcome", outcome_name((enum outcome)o), &m->would_have[o]);
}

static void shadows(const struct page *p)
{
    const struct metrics_slab *m = &p->board->slabs[0];

    family(p, METRIC_SHADOW);
    for (size_t r = 0; r < RULE_N; r++)
        for (size_t o = 0; o < OUTCOME_N; o++) {
            uint64_t n = sum(p, &m->shadow[r][o]);
            if (n > 0)
                buf_printf(p->b, "%s{rule=\"%s\",outcome=\"%s\"} %llu\n", metric_families[METRIC_SHADOW].name,
                           rule_name((enum rule)r), outcome_name((enum outcome)o), (unsigned long long)n);
        }
}

static void violations(const struct page *p)
{
    const struct metrics_slab *m = &p->board->slabs[0];

    family(p, METRIC_VIOLATIONS);
    for (size_t r = 0; r < RULE_N; r++)
        for (size_t l = 0; l <= LEVEL_HARD; l++)
            for (size_t c = 0; c < CLASS_N; c++)
                for (size_t s = 0; s < 2; s++) {
                    uint64_t n = sum(p, &m->violations[r][l][c][s]);
                    if (n > 0)
                        buf_printf(p->b, "%s{rule=\"%s\",level=\"%s\",class=\"%s\",shadow=\"%s\"} %llu\n",
                                   metric_families[METRIC_VIOLATIONS].name, rule_name((enum rule)r),
                                   level_name((enum level)l), class_name((enum message_class)c),
                                   s != 0 ? "true" : "false", (unsigned long long)n);
                }
    family(p, METRIC_DEGRADED);
    for (size_t c = 0; c < CLASS_N; c++)
        counted(p, METRIC_DEGRADED, "class", class_name((enum message_class)c), &m->degraded[c]);
}

static void stages(const struct page *p)
{
    const char *name = metric_families[METRIC_STAGE].name;

    family(p, METRIC_STAGE);
    for (size_t s = 0; s < STAGE_N; s++) {
        const struct metrics_histogram *h = &p->board->slabs[0].stages[s];
        const char *stage = stage_name((enum stage)s);
        uint64_t n = 0;
        for (size_t i = 0; i < METRICS_BUCKETS; i++) {
            n += sum(p, &h->bucket[i]);
            buf_printf(p->b, "%s_bucket{stage=\"%s\",le=\"%g\"} %llu\n", name, stage,
                       (double)metrics_bucket_us[i] / 1e6, (unsigned long long)n);
        }
        n += sum(p, &h->bucket[METRICS_BUCKETS]);
        buf_printf(p->b, "%s_bucket{stage=\"%s\",le=\"+Inf\"} %llu\n", name, stage, (unsigned long long)n);
        buf_printf(p->b, "%s_sum{stage=\"%s\"} %g\n%s_count{stage=\"%s\"} %llu\n", name, stage,
                   (double)sum(p, &h->sum_us) / 1e6, name, stage, (unsigned long long)n);
    }
}

static bool same_words(const struct metrics_row *a, const struct metrics_row *b)
{
    return a->c == b->c && strcmp(a->a, b->a) == 0 && strcmp(a->b, b->b) == 0;
}

/* A row of one worker's list, as the sum over all workers' lists; false: an earlier worker has shown it. */
static bool row_total(const struct page *p, size_t list_offset, size_t worker, const struct metrics_row *row,
                      uint64_t *total)
{
    *total = 0;
    for (size_t w = 0; w < p->board->n; w++) {
        const struct metrics_rows *rows = (const void *)((const char *)&p->board->slabs[w] + list_offset);
        uint32_t n = atomic_load_explicit(&rows->n, memory_order_acquire);
        for (uint32_t i = 0; i < n; i++) {
            if (!same_words(&rows->row[i], row))
                continue;
            if (w < worker)
                return false;
            *total += rows->row[i].n;
        }
    }
    return true;
}

static void words(const struct page *p, enum metric id, size_t list_offset,
                  void (*labels)(struct buf *b, const struct metrics_row *row))
{
    family(p, id);
    for (size_t w = 0; w < p->board->n; w++) {
        const struct metrics_rows *rows = (const void *)((const char *)&p->board->slabs[w] + list_offset);
        uint32_t n = atomic_load_explicit(&rows->n, memory_order_acquire);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t total;
            if (!row_total(p, list_offset, w, &rows->row[i], &total))
                continue;
            buf_printf(p->b, "%s{", metric_families[id].name);
            labels(p->b, &rows->row[i]);
            buf_printf(p->b, "} %llu\n", (unsigned long long)total);
        }
    }
}

/* Prometheus wants base units: days would be another dimension to whoever compares. */
#define SECONDS_PER_DAY 86400LL

static void packs(const struct page *p, const struct conf *c)
{
    int32_t today = (int32_t)(clock_wall_ms() / MS_PER_DAY);

    family(p, METRIC_PACK_AGE);
    for (size_t i = 0; i < c->n_packs; i++)
        buf_printf(p->b, "%s{pack=\"%s\"} %lld\n", metric_families[METRIC_PACK_AGE].name, c->packs[i].name,
                   conf_pack_age_days(&c->packs[i], today) * SECONDS_PER_DAY);
    family(p, METRIC_PACK_REVIEW);
    for (size_t i = 0; i < c->n_packs; i++)
        buf_printf(p->b, "%s{pack=\"%s\"} %lld\n", metric_families[METRIC_PACK_REVIEW].name, c->packs[i].name,
                   conf_pack_review_days(&c->packs[i], today) * SECONDS_PER_DAY);
}

static void result_labels(struct buf *b, const struct metrics_row *row)
{
    buf_printf(b, "provider=\"%s\",result=\"%s\",status=\"%d\"", row->a, row->b, row->c);
}

static void fault_labels(struct buf *b, const struct metrics_row *row)
{
    buf_printf(b, "dialect=\"%s\",kind=\"%s\"", row->a, row->b);
}

static void release_labels(struct buf *b, const struct metrics_row *row)
{
    buf_printf(b, "end=\"%s\"", row->a);
}

static void opt_outs(const struct page *p)
{
    family(p, METRIC_OPT_OUTS);
    for (size_t s = 0; s < SCOPE_N; s++)
        for (size_t o = 0; o < SOURCE_N; o++) {
            uint64_t n = sum(p, &p->board->slabs[0].opt_outs[s][o]);
            if (n > 0)
                buf_printf(p->b, "%s{scope=\"%s\",source=\"%s\"} %llu\n", metric_families[METRIC_OPT_OUTS].name,
                           opt_out_scope_name((enum opt_out_scope)s), source_name((enum source)o),
                           (unsigned long long)n);
        }
}

/* The store is one, whoever is asked. */
static void queue(const struct page *p, const struct gateway *g)
{
    struct store_queue_depth q = store_queue_depth(g->store);
    int64_t age_ms = q.oldest_enqueued_ms != 0 ? clock_wall_ms() - q.oldest_enqueued_ms : 0;

    family(p, METRIC_QUEUE);
    for (size_t s = 0; s < DEFERRED_STATE_N; s++)
        buf_printf(p->b, "%s{state=\"%s\"} %llu\n", metric_families[METRIC_QUEUE].name,
                   deferred_state_name((enum deferred_state)s), (unsigned long long)q.n[s]);
    line(p, METRIC_QUEUE_AGE, (double)(age_ms > 0 ? age_ms : 0) / 1000);
}

static double upstream_merged(const struct page *p, enum metric id, const char *name)
{
    double v = 0;

    for (size_t w = 0; w < p->board->n; w++) {
        const struct metrics_slab *slab = &p->board->slabs[w];
        uint32_t n = atomic_load_explicit(&slab->n_upstreams, memory_order_acquire);
        for (uint32_t i = 0; i < n && shows(p, w, id); i++) {
            if (strcmp(slab->upstreams[i].name, name) == 0)
                v = merge(metric_families[id].merge, v, slab->upstreams[i].value[id - METRIC_UPSTREAM_UP]);
        }
    }
    return v;
}

static void upstreams(const struct page *p)
{
    const struct metrics_slab *own = &p->board->slabs[p->own];

    for (enum metric id = METRIC_UPSTREAM_UP; id <= METRIC_UPSTREAM_PAUSED; id++) {
        family(p, id);
        for (uint32_t i = 0; i < atomic_load(&own->n_upstreams); i++)
            buf_printf(p->b, "%s{provider=\"%s\"} %g\n", metric_families[id].name, own->upstreams[i].name,
                       upstream_merged(p, id, own->upstreams[i].name));
    }
}

static void idempotency(const struct page *p)
{
    static const char *const met[] = {
        [KEY_CLAIMED] = "first", [KEY_BUSY] = "in_progress", [KEY_REUSED] = "reused", [KEY_ANSWERED] = "replayed"};

    family(p, METRIC_IDEMPOTENCY);
    for (size_t i = 0; i < N_ELEMENTS(met); i++)
        counted(p, METRIC_IDEMPOTENCY, "met", met[i], &p->board->slabs[0].keys[i]);
}

static void http_faults(const struct page *p)
{
    family(p, METRIC_HTTP_FAULTS);
    for (size_t i = 0; i < HTTP_FAULT_COUNT; i++) {
        uint64_t n = sum(p, &p->board->slabs[0].http_faults[i]);
        if (n > 0)
            buf_printf(p->b, "%s{reason=\"%s\"} %llu\n", metric_families[METRIC_HTTP_FAULTS].name,
                       http_fault_label((enum http_fault)i), (unsigned long long)n);
    }
}

static void smtp(const struct page *p)
{
    static const char *const logins[] = {
        [METRICS_LOGIN_OK] = "ok", [METRICS_LOGIN_WRONG] = "wrong", [METRICS_LOGIN_THROTTLED] = "throttled"};
    const struct metrics_smtp *s = &p->board->slabs[0].smtp;

    family(p, METRIC_SMTP_LOGINS);
    for (size_t i = 0; i < METRICS_LOGINS; i++)
        counted(p, METRIC_SMTP_LOGINS, "result", logins[i], &s->logins[i]);
    family(p, METRIC_SMTP_HANDSHAKES);
    counted(p, METRIC_SMTP_HANDSHAKES, "result", "failed", &s->handshakes[0]);
    counted(p, METRIC_SMTP_HANDSHAKES, "result", "ok", &s->handshakes[1]);
    family(p, METRIC_SMTP_FAULTS);
    for (size_t i = SMTP_PROTO_FAULT_NONE + 1; i < SMTP_PROTO_FAULT_COUNT; i++)
        counted(p, METRIC_SMTP_FAULTS, "reason", smtp_proto_fault_label((enum smtp_proto_fault)i), &s->faults[i]);
}

static void workers(const struct page *p)
{
    family(p, METRIC_WORKER_UP);
    for (size_t w = 0; w < p->board->n; w++)
        buf_printf(p->b, "%s{worker=\"%zu\"} %d\n", metric_families[METRIC_WORKER_UP].name, w,
                   atomic_load(&p->board->worker[w].up));
    family(p, METRIC_WORKER_RESTARTS);
    for (size_t w = 0; w < p->board->n; w++)
        buf_printf(p->b, "%s{worker=\"%zu\"} %llu\n", metric_families[METRIC_WORKER_RESTARTS].name, w,
                   (unsigned long long)atomic_load(&p->board->worker[w].restarts));
}

/* All workers reload together; one that was dead meanwhile counted less. */
static uint64_t reloads_of(const struct page *p, bool applied)
{
    uint64_t most = 0;

    for (size_t w = 0; w < p->board->n; w++) {
        uint64_t n = p->board->slabs[w].reloads[applied];
        most = n > most ? n : most;
    }
    return most;
}

static void reloads(const struct page *p)
{
    const char *name = metric_families[METRIC_RELOADS].name;

    family(p, METRIC_RELOADS);
    buf_printf(p->b, "%s{result=\"applied\"} %llu\n%s{result=\"refused\"} %llu\n", name,
               (unsigned long long)reloads_of(p, true), name, (unsigned long long)reloads_of(p, false));
}

static void singles(const struct page *p, enum metric first, enum metric last)
{
    for (enum metric id = first; id <= last; id++)
        single(p, id);
}

void metrics_format(struct metrics *m, const struct gateway *g, struct buf *b)
{
    struct page page = {b, m->board, (size_t)(m->slab - m->board->slabs)}, *p = &page;

    metrics_sample(m->slab, g);
    decisions(p);
    shadows(p);
    violations(p);
    singles(p, METRIC_ADHERENCE_SENT, METRIC_ADHERENCE_KEPT);
    stages(p);
    words(p, METRIC_RESULTS, offsetof(struct metrics_slab, results), result_labels);
    words(p, METRIC_FAULTS, offsetof(struct metrics_slab, faults), fault_labels);
    words(p, METRIC_RELEASES, offsetof(struct metrics_slab, releases), release_labels);
    opt_outs(p);
    idempotency(p);
    queue(p, g);
    upstreams(p);
    singles(p, METRIC_READY, METRIC_HTTP_INFLIGHT);
    http_faults(p);
    singles(p, METRIC_SMTP_CONNECTIONS, METRIC_SMTP_INFLIGHT);
    smtp(p);
    singles(p, METRIC_SUBMISSIONS, METRIC_UPTIME);
    family(p, METRIC_TZDATA);
    buf_printf(b, "%s{version=\"%s\"} 1\n", metric_families[METRIC_TZDATA].name, zone_data_version());
    line(p, METRIC_TZDATA_TIME, (double)zone_data_made_ms() / 1000);
    family(p, METRIC_POLICY);
    buf_printf(b, "%s{version=\"%08x\"} 1\n", metric_families[METRIC_POLICY].name, g->conf->policy.version);
    packs(p, g->conf);
    reloads(p);
    singles(p, METRIC_RELOAD_OK, METRIC_RELEASES_HELD);
    workers(p);
}

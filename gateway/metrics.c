/*
 * Counters of what happened.  On a message's way only array increments.  Knows no text: metrics_text.c makes the page.
 * The one idea: the arrays stand in memory that all workers share, so that any of them can show the sum.
 */
#include "metrics_slab.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define STALL_MS 20 /* no turn of the loop may be longer */

#define STAGE_NAME(id, name) name,
static const char *const stage_names[] = {STAGES(STAGE_NAME)};

const int64_t metrics_bucket_us[METRICS_BUCKETS] = {50,    100,   250,    500,    1000,    2500,    5000,    10000,
                                                    25000, 50000, 100000, 250000, 1000000, 2500000, 10000000};

const char *stage_name(enum stage s)
{
    ensure((size_t)s < N_ELEMENTS(stage_names));
    return stage_names[s];
}

/* --- slabs ------------------------------------------------------------------------- */

struct metrics_board *metrics_board_new(size_t workers)
{
    ensure(workers > 0 && workers <= METRICS_WORKERS_MAX);
    size_t bytes = sizeof(struct metrics_board) + workers * sizeof(struct metrics_slab);
    struct metrics_board *b = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ensure(b != MAP_FAILED); /* pages are taken as they are touched: a slab that counts little costs little */
    b->n = workers;
    b->bytes = bytes;
    return b;
}

void metrics_board_free(struct metrics_board **bp)
{
    struct metrics_board *b = take(bp);
    if (b != NULL)
        munmap(b, b->bytes);
}

void metrics_board_up(struct metrics_board *b, size_t worker, bool up)
{
    atomic_store(&b->worker[worker].up, up);
}

void metrics_board_restarted(struct metrics_board *b, size_t worker)
{
    atomic_fetch_add(&b->worker[worker].restarts, 1);
}

/* Counters that a part keeps begin at 0 with it: what was counted before them is added. */
static void go_on(struct metrics_slab *slab)
{
    for (size_t i = 0; i < METRIC_N; i++) {
        slab->before[i] = metric_families[i].is_counter ? slab->value[i] : 0;
        slab->value[i] = slab->before[i];
    }
    memcpy(slab->http_faults_before, slab->http_faults, sizeof(slab->http_faults));
    slab->smtp_before = slab->smtp;
    atomic_store(&slab->n_upstreams, 0);
}

struct metrics *metrics_new(struct metrics_board *board, size_t worker)
{
    struct metrics *m = xcalloc(1, sizeof(*m));

    if (board == NULL) {
        board = m->own = metrics_board_new(1);
        worker = 0;
        metrics_board_up(board, worker, true);
    }
    ensure(worker < board->n);
    m->board = board;
    m->slab = &board->slabs[worker];
    go_on(m->slab);
    return m;
}

void metrics_free(struct metrics **mp)
{
    struct metrics *m = take(mp);
    if (m == NULL)
        return;
    metrics_board_free(&m->own);
    free(m);
}

void metrics_publish(struct metrics *m, const struct gateway *g)
{
    metrics_sample(m->slab, g);
}

bool metrics_counters_up(const struct metrics *m)
{
    for (size_t i = 0; i < m->board->n; i++) {
        if (m->board->slabs[i].value[METRIC_COUNTERS_UP] <= 0)
            return false;
    }
    return true;
}

/* --- counting ------------------------------------------------------------------------ */

struct metrics_row *metrics_row_of(struct metrics_rows *r, const char *a, const char *b, int c)
{
    struct metrics_row *row;
    uint32_t n = atomic_load_explicit(&r->n, memory_order_relaxed);

    for (uint32_t i = 0; i < n; i++) {
        row = &r->row[i];
        if (row->c == c && strcmp(row->a, a) == 0 && strcmp(row->b, b) == 0)
            return row;
    }
    bool last = n >= METRICS_ROWS - 1;
    row = &r->row[last ? METRICS_ROWS - 1 : n];
    if (n < METRICS_ROWS) {
        snprintf(row->a, sizeof(row->a), "%s", last ? "other" : a);
        snprintf(row->b, sizeof(row->b), "%s", last ? "other" : b);
        row->c = last ? 0 : c;
        atomic_store_explicit(&r->n, n + 1, memory_order_release);
    }
    return row;
}

void metrics_decision(struct metrics *m, const struct message *msg, const struct decision *d)
{
    enum message_class class = msg->category->class;

    m->slab->decisions[d->outcome][d->reason][class][msg->channel]++;
    m->slab->degraded[class] += d->degraded;
    if (d->would_have != d->outcome)
        m->slab->would_have[d->would_have]++;
    for (size_t i = 0; i < d->n_violations; i++) {
        const struct violation *v = &d->violations[i];
        m->slab->violations[v->rule][v->level][class][v->shadow]++;
        m->slab->shadow[v->rule][v->outcome] += v->shadow;
    }
}

/* Where somebody is, is no wish. */
static bool stated_a_wish(const struct profile *p)
{
    for (size_t i = 0; i < p->n_preferences; i++) {
        if (!preference_key_is_place(p->preferences[i].key) && p->preferences[i].text.n > 0)
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
        case RULE_REASK:
        case RULE_SCHEDULE:
        case RULE_HOURS_LEGAL:
        case RULE_NIGHT_CONSENT:
        case RULE_HOURS_ORGANISATION:
        case RULE_CAP_REGULATORY:
        case RULE_CAP_ORGANISATION:
        case RULE_DUPLICATE:
        case RULE_CARD_NUMBER:
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
    m->slab->value[METRIC_ADHERENCE_SENT] += 1;
    m->slab->value[METRIC_ADHERENCE_KEPT] += !against_a_wish(d);
}

void metrics_stage(struct metrics *m, enum stage s, int64_t took_us)
{
    struct metrics_histogram *h = &m->slab->stages[s];
    size_t i = 0;

    while (i < METRICS_BUCKETS && took_us > metrics_bucket_us[i])
        i++;
    h->bucket[i]++;
    h->sum_us += (uint64_t)(took_us > 0 ? took_us : 0);
}

void metrics_result(struct metrics *m, const char *provider, enum result r, int provider_status)
{
    metrics_row_of(&m->slab->results, provider, result_name(r), provider_status)->n++;
}

void metrics_fault(struct metrics *m, const char *dialect, const char *kind)
{
    metrics_row_of(&m->slab->faults, dialect, kind, 0)->n++;
}

void metrics_release(struct metrics *m, const char *end)
{
    metrics_row_of(&m->slab->releases, end, "", 0)->n++;
}

void metrics_idempotency(struct metrics *m, enum key_claim met)
{
    m->slab->keys[met]++;
}

void metrics_opt_out(struct metrics *m, enum opt_out_scope scope, enum source source)
{
    m->slab->opt_outs[scope][source]++;
}

void metrics_reloaded(struct metrics *m, bool applied)
{
    m->slab->reloads[applied]++;
}

void metrics_retimed(struct metrics *m, size_t messages)
{
    m->slab->value[METRIC_RETIMED] += (double)messages;
}

void metrics_loop_stall(struct metrics *m, int64_t ms)
{
    double s = (double)ms / 1000;

    if (s > m->slab->value[METRIC_STALL])
        m->slab->value[METRIC_STALL] = s;
    m->slab->value[METRIC_STALLS] += ms > STALL_MS;
}

void metrics_loop_cost(struct metrics *m, int64_t cpu_us)
{
    double s = (double)cpu_us / 1e6;

    if (s > m->slab->value[METRIC_TURN_CPU])
        m->slab->value[METRIC_TURN_CPU] = s;
}

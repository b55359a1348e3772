/*
 * The walk of a replay: asks each recorded decision again, and repeats the steps
 * of a submission: decide, reserve, what cannot go without the others, result.  The
 * one idea: everything that a rule reads is either in the row, or in the store with
 * the time since when it holds.
 */
#include "replay.h"

#include <stdio.h>
#include <stdlib.h>

#include "../gateway/counters.h"
#include "replay_counts.h"
#include "replay_known.h"
#include "replay_later.h"
#include "replay_row.h"
#include "replay_settle.h"

#define ARENA_BYTES   LIMIT_ARENA_BYTES
#define SEEDS_MS      (INT64_C(33) * MS_PER_DAY) /* sends before the first decision that windows reach */
#define PROGRESS_ROWS 256
#define VERSIONS_MAX  1024u

struct replay {
    const struct conf *conf;
    struct store *store;
    struct replay_counts *counts;
    struct replay_sum *sum;
    replay_progress *progress;
    void *arg;
    int64_t since_ms;
    struct replay_laters *laters;
    uint32_t versions[VERSIONS_MAX];

    struct replay_queue queue;
    struct arena row; /* what is known of one recipient */

    /* the submission: rows that were recorded together */
    struct arena arena;
    char submission[64];
    const struct conf_key *key;
    int64_t last_index;
    struct replay_item *items;
    size_t n, cap;
};

static uint32_t fired_now(const struct decision *d)
{
    uint32_t fired = 0;

    for (size_t i = 0; i < d->n_violations; i++) {
        if (!d->violations[i].shadow)
            fired |= UINT32_C(1) << d->violations[i].rule;
    }
    return fired;
}

/* --- deciding --------------------------------------------------------------------------- */

static void take_slot(struct replay *r, const struct facts *f, struct replay_item *item)
{
    const struct message *m = f->message;

    replay_counts_add(r->counts, item->contact_hash,
                      &(struct replay_send){.decision = item->id,
                                            .at_ms = f->now_ms,
                                            .category_id = m->category->id,
                                            .subject_id = message_subject_id(m),
                                            .class = m->category->class,
                                            .channel = m->channel,
                                            .counts = m->category->counts});
    item->reserved = true;
}

static void reserve(struct replay *r, struct facts *f, bool peek, struct replay_item *item)
{
    policy_caps(f);
    if (f->n_checks == 0 && f->message->category->counts == COUNTS_NOWHERE)
        return;
    if (replay_counts_ask(r->counts, item->contact_hash, f->checks, f->n_checks, f->now_ms, f->counts)) {
        f->counts_known = KNOWN;
        policy_decide(f, &item->decision);
        return;
    }
    if (!peek)
        take_slot(r, f, item);
}

static enum err decide(struct replay *r, const struct replay_question *q, struct replay_item *item)
{
    struct profile p;
    struct message m = q->message;
    enum err err = replay_known(r->store, q, r->conf->policy.default_zone, &r->row, &p);
    if (err != OK)
        return err;
    m.sender = replay_sender(q, &p);
    struct facts f = {
        .policy = &r->conf->policy,
        .message = &m,
        .profile = &p,
        .now_ms = q->at_ms,
        .deferrals = q->deferrals,
        .profile_stale = q->profile_stale,
    };
    item->contact_hash = counters_contact_hash(&p, &m.to);
    policy_prepare(&f);
    policy_decide(&f, &item->decision);
    if (item->decision.outcome == OUTCOME_FORWARD && q->counters_down) {
        f.counters_down = true;
        policy_decide(&f, &item->decision);
        if (item->decision.outcome == OUTCOME_FORWARD) /* counted when the counters were back */
            take_slot(r, &f, item);
    } else if (item->decision.outcome == OUTCOME_FORWARD) {
        reserve(r, &f, q->sandbox_mode, item);
    }
    return OK;
}

/* --- what the other policy keeps ------------------------------------------------------------ */

/* The question that its release will be, as gateway/release.c asks it; without the spread. */
static struct replay_question *release_of(const struct replay_question *q, const struct decision *d)
{
    struct replay_question *next = replay_question_keep(q);

    next->at_ms = d->release_at_ms;
    next->deferrals++;
    next->message.not_before_ms = 0;
    next->message.expires_at_ms = d->expires_at_ms;
    next->message.fingerprint = 0;
    next->same_content_ms = 0;
    next->profile_stale = next->counters_down = false;
    return next;
}

/* What no recorded row tells of: releases of what was newly kept, up to that instant. */
static enum err release_due(struct replay *r, int64_t by_ms)
{
    struct replay_question *q;

    while ((q = replay_queue_take(&r->queue, by_ms)) != NULL) {
        AUTO(replay_question_free) struct replay_question *due = q;
        struct replay_item item = {.id = due->decision};
        enum err err = decide(r, due, &item);
        arena_clear(&r->row);
        if (err != OK && err != ERR_NOT_FOUND)
            return err;
        if (err == OK && item.decision.outcome == OUTCOME_DEFER)
            replay_queue_add(&r->queue, release_of(due, &item.decision));
        else if (err == OK)
            r->sum->later[item.decision.outcome]++;
    }
    return OK;
}

/* --- a submission ------------------------------------------------------------------------ */

static void note(struct replay_examples *x, uint64_t decision)
{
    if (x->n < REPLAY_EXAMPLES)
        x->decision[x->n] = decision;
    x->n++;
}

static void sum_rules(struct replay_sum *sum, const struct replay_item *item)
{
    for (unsigned rule = 0; rule < RULE_N; rule++) {
        bool then = (item->fired_then >> rule & 1) != 0, now = (item->fired_now >> rule & 1) != 0;
        if (now && !then)
            note(&sum->fires[rule], item->id);
        else if (then && !now)
            note(&sum->ends[rule], item->id);
    }
    for (size_t i = 0; i < item->decision.n_violations; i++) {
        const struct violation *v = &item->decision.violations[i];
        if (v->shadow)
            note(&sum->shadow[v->rule][v->outcome], item->id);
    }
    if (item->decision.would_have != item->decision.outcome)
        sum->would_have[item->decision.would_have]++;
}

/* Later rows speak of what was kept or sent, then or now; of a refusal none does. */
static void remember(struct replay *r, const struct replay_item *item)
{
    bool gone = item->gone || replay_is_kept(item->then) != replay_is_kept(item->now) ||
                (item->then == OUTCOME_FORWARD) != (item->now == OUTCOME_FORWARD);

    if (gone || item->reserved)
        replay_laters_add(r->laters, item->id, (struct replay_later){item->contact_hash, item->reserved, gone});
}

static void finish_submission(struct replay *r)
{
    if (r->n > 1)
        replay_settle(r->items, r->n, r->counts);
    bool all_or_nothing = r->n > 1 && r->key != NULL && r->key->partial == PARTIAL_REJECT;
    bool refused = all_or_nothing && replay_settle_partial(r->items, r->n, r->counts);
    for (size_t i = 0; i < r->n; i++) {
        struct replay_item *item = &r->items[i];
        item->now = item->decision.outcome;
        item->fired_now = fired_now(&item->decision);
        remember(r, item);
        if (item->release != NULL && !refused)
            replay_queue_add(&r->queue, take(&item->release));
        replay_question_free(&item->release);
        if (item->gone) {
            r->sum->not_asked++;
            continue;
        }
        r->sum->decided++;
        r->sum->changed += item->then != item->now;
        note(&r->sum->outcomes[item->then][item->now], item->id);
        sum_rules(r->sum, item);
        if (item->then == item->now && replay_is_kept(item->now) &&
            item->release_then_ms != item->decision.release_at_ms)
            note(&r->sum->moved, item->id);
    }
    r->n = 0;
    r->submission[0] = '\0';
    arena_clear(&r->arena);
}

/* --- the rows, in order --------------------------------------------------------------------- */

static struct replay_item *add_item(struct replay *r, const struct replay_row *row)
{
    if (r->n == r->cap) {
        r->cap = r->cap == 0 ? 16 : r->cap * 2;
        r->items = xrealloc(r->items, r->cap, sizeof(*r->items));
    }
    struct replay_item *item = &r->items[r->n++];
    *item = (struct replay_item){
        .id = row->question.decision,
        .then = row->answer.outcome,
        .fired_then = row->answer.fired,
        .release_then_ms = row->answer.release_at_ms,
        .field = arena_slice(&r->arena, row->field),
    };
    const struct replay_later *parent = replay_laters_get(r->laters, row->parent);
    item->gone = parent != NULL && parent->gone;
    r->last_index = row->question.message.index;
    return item;
}

/* Rows of one submission stand together, by rising index; a second lap begins anew. */
static enum err begin_submission(struct replay *r, const struct replay_row *row)
{
    if (r->n > 0 && slice_eq_cstr(row->submission, r->submission) && row->question.message.index > r->last_index)
        return OK;
    finish_submission(r);
    snprintf(r->submission, sizeof(r->submission), "%.*s", SLICE_ARG(row->submission));
    r->key = conf_key_named(r->conf, row->key);
    return release_due(r, row->question.at_ms);
}

static void note_version(struct replay *r, uint32_t version)
{
    for (uint64_t i = 0; i < r->sum->versions; i++) {
        if (r->versions[i] == version)
            return;
    }
    if (r->sum->versions < VERSIONS_MAX)
        r->versions[r->sum->versions++] = version;
}

static enum err on_row(struct replay *r, const struct replay_row *row)
{
    const struct replay_question *q = &row->question;
    enum err err = begin_submission(r, row);
    if (err != OK)
        return err;
    struct replay_item *item = add_item(r, row);
    note_version(r, row->answer.policy_version);
    r->sum->first_ms = r->sum->first_ms == 0 ? q->at_ms : r->sum->first_ms;
    r->sum->last_ms = q->at_ms;
    if (item->gone)
        return OK;
    err = decide(r, q, item);
    if (err == OK && item->decision.outcome == OUTCOME_DEFER && !replay_is_kept(item->then) && !q->sandbox_mode)
        item->release = release_of(q, &item->decision);
    if (err != ERR_NOT_FOUND)
        return err;
    r->sum->erased++; /* the contact that it names is gone */
    r->n--;
    return OK;
}

static enum err on_decision(struct replay *r, const struct store_event *e)
{
    AUTO(replay_row_clear) struct replay_row row;
    enum err err = OK;

    switch (replay_row_read(e, r->conf, &row)) {
    case ROW_READ:
        err = on_row(r, &row);
        break;
    case ROW_ERASED:
        r->sum->erased++;
        break;
    case ROW_WITHOUT_CATEGORY:
        r->sum->without_category++;
        break;
    case ROW_UNREADABLE:
        r->sum->unreadable++;
        break;
    }
    arena_clear(&r->row);
    return err;
}

/* What surely did not leave gives its slot back. */
static void on_result(struct replay *r, const struct store_event *e)
{
    finish_submission(r);
    const struct replay_later *later = replay_laters_get(r->laters, e->ref);
    if (later == NULL)
        return;
    if (later->reserved && !replay_result_may_be_out(e))
        replay_counts_remove(r->counts, later->contact_hash, e->ref);
    if (!later->gone)
        replay_laters_drop(r->laters, e->ref);
}

struct walk {
    struct replay *r;
    enum err status;
};

static bool on_event(const struct store_event *e, void *arg)
{
    struct walk *w = arg;
    struct replay *r = w->r;

    if (e->is_result)
        on_result(r, e);
    else
        w->status = on_decision(r, e);
    if (r->progress != NULL && e->row % PROGRESS_ROWS == 0)
        r->progress(e->row, e->rows, r->arg);
    return w->status == OK;
}

/* What was sent before the first decision that is replayed. */
static void on_seed(const struct store_send *s, void *arg)
{
    struct replay *r = arg;

    if (s->at_ms >= r->since_ms)
        return;
    replay_counts_add(r->counts, s->contact_hash,
                      &(struct replay_send){.at_ms = s->at_ms,
                                            .category_id = slice_id(s->category),
                                            .subject_id = s->subject_id,
                                            .class = s->class,
                                            .channel = s->channel,
                                            .counts = s->counts_in_any_only ? COUNTS_IN_ANY : COUNTS_EVERYWHERE});
}

static void replay_clear(struct replay *r)
{
    replay_laters_free(&r->laters);
    replay_counts_free(&r->counts);
    replay_queue_clear(&r->queue);
    free(r->items);
    arena_clear(&r->arena);
    arena_clear(&r->row);
}

enum err replay_run(const struct conf *conf, struct store *store, int64_t since_ms, replay_progress *progress,
                    void *arg, struct replay_sum *out)
{
    AUTO(replay_clear)
    struct replay r = {.conf = conf,
                       .store = store,
                       .counts = replay_counts_new(),
                       .laters = replay_laters_new(),
                       .sum = out,
                       .progress = progress,
                       .arg = arg,
                       .since_ms = since_ms};
    struct walk walk = {&r, OK};

    *out = (struct replay_sum){0};
    arena_init(&r.arena, ARENA_BYTES);
    arena_init(&r.row, ARENA_BYTES);
    enum err err = store_sends(store, since_ms - SEEDS_MS, on_seed, &r);
    if (err == OK)
        err = store_history(store, since_ms, on_event, &walk);
    finish_submission(&r);
    if (err == OK && walk.status == OK)
        walk.status = release_due(&r, out->last_ms);
    out->waiting = r.queue.n;
    return err != OK ? err : walk.status;
}

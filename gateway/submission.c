/*
 * The way of a submission: a table of steps and one short driver.
 *
 * Knows the order of things and who waits for whom; knows no dialect, no SQL, no
 * socket.  The idea to hold in mind: a step either finishes, or starts
 * operations that each call back once; the last one to come back goes on.
 */
#include "submission_parts.h"

#include <stdio.h>
#include <stdlib.h>

#include "bus.h"
#include "duplicates.h"
#include "postern/clock.h"
#include "postern/hash.h"
#include "postern/log.h"

/* A submission whose profile changes this often while it is being decided is refused: something churns. */
#define LAPS_MAX       8
#define RETRY_AFTER_MS 5000
#define DOWN_AFTER_MS  30000 /* a provider is not back as soon */

static enum step_next submission_gather(struct submission *s);
static enum step_next submission_decide(struct submission *s);
static enum step_next submission_reserve(struct submission *s);

static const struct {
    const char *name;
    enum step_next (*run)(struct submission *s);
    enum stage stage;
} steps[] = {
#define X(id, name) {#name, submission_##name, STAGE_##id},
    STEPS(X)
#undef X
};

void submission_fail(struct submission *s, enum fault_kind kind, const char *text)
{
    s->faulted = true;
    s->fault.kind = kind;
    s->fault.retry_after_ms = kind == FAULT_UNAVAILABLE     ? RETRY_AFTER_MS
                              : kind == FAULT_UPSTREAM_DOWN ? DOWN_AFTER_MS
                                                            : 0;
    errmsg_set(&s->fault.message, "%s", text);
}

/* The step is over: which one comes now? */
static void advance(struct submission *s)
{
    int64_t now_us = clock_mono_us();
    metrics_stage(s->g->metrics, steps[s->step].stage, now_us - s->step_us);
    s->step_us = now_us;

    if (s->again && !s->faulted && ++s->laps > LAPS_MAX)
        submission_fail(s, FAULT_UNAVAILABLE,
                        "the recipient's profile keeps changing; nothing was sent, try again later");
    if (s->faulted || s->replayed)
        s->step = STEP_REPLY;
    else if (s->again)
        s->step = STEP_GATHER;
    else
        s->step = (enum step)(s->step + 1);
    s->again = false;
    ensure(s->step < STEP_N);
}

static void run(struct submission *s)
{
    s->running = true;
    for (;;) {
        enum step_next next = steps[s->step].run(s);
        if (next == STEP_END)
            return;
        if (next == STEP_WAIT && s->waiting > 0)
            break;
        advance(s);
    }
    s->running = false;
}

void submission_resume(struct submission *s)
{
    ensure(s->waiting > 0);
    if (--s->waiting > 0 || s->running)
        return;
    advance(s);
    run(s);
}

/* arena: the request's, or NULL for one of its own; a body of that size can be cut in it. */
static struct submission *submission_new(struct gateway *g, struct arena *arena, size_t body_bytes)
{
    struct submission *s = xcalloc(1, sizeof(*s));
    s->g = g;
    s->conf = confs_hold(g->conf);
    arena_init(&s->own_arena, LIMIT_ARENA_BYTES + 2 * body_bytes);
    s->arena = arena != NULL ? arena : &s->own_arena;
    if (arena != NULL)
        arena->max_bytes += body_bytes;
    s->started_us = s->step_us = clock_mono_us();
    hash_random_id("", 8, s->id, sizeof(s->id));
    g->submissions++;
    s->live_next = g->live;
    s->live_prev = &g->live;
    if (s->live_next != NULL)
        s->live_next->live_prev = &s->live_next;
    g->live = s;
    return s;
}

void submission_free(struct submission **sp)
{
    struct submission *s = take(sp);
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n_items; i++) {
        profiles_cancel(&s->items[i].fetch);
        counters_cancel(&s->items[i].reserve);
        submission_release_slot(s, &s->items[i]);
    }
    upstream_op_cancel(&s->op);
    metrics_stage(s->g->metrics, STAGE_TOTAL, clock_mono_us() - s->started_us);
    s->g->submissions--;
    *s->live_prev = s->live_next;
    if (s->live_next != NULL)
        s->live_next->live_prev = s->live_prev;
    confs_drop(&s->conf);
    arena_clear(&s->own_arena);
    free(s);
}

void submission_watch(struct gateway *g)
{
    int64_t now_us = clock_mono_us();

    for (struct submission *s = g->live; s != NULL; s = s->live_next) {
        int64_t since_us = s->told_us > s->step_us ? s->told_us : s->step_us;
        if (now_us - since_us < LIMIT_STUCK_MS * INT64_C(1000))
            continue;
        s->told_us = now_us;
        log_line(LOG_WARN, s->id, "submission", "stuck", "step=%s waiting=%u step_ms=%lld provider=%s",
                 steps[s->step].name, s->waiting, (long long)((now_us - s->step_us) / 1000),
                 s->provider != NULL ? s->provider->name : "-");
    }
}

void submission_start(struct gateway *g, const struct submission_ask *ask)
{
    struct submission *s = submission_new(g, ask->arena, ask->wire.body.n);
    s->answered = ask->answered;
    s->answered_arg = ask->arg;
    s->peer = ask->peer;
    s->connector = ask->connector;
    s->route = ask->route;
    s->key = ask->key;
    s->wire = ask->wire;
    s->early = ask->early;
    run(s);
}

void submission_release(struct gateway *g, const struct deferred *d, submission_released *done, void *arg)
{
    struct submission *s = submission_new(g, NULL, d->submission.body.n);
    s->deferred = d;
    s->released = done;
    s->released_arg = arg;
    run(s);
}

/* --- GATHER -------------------------------------------------------------------- */

static void on_profile(enum err status, void *arg)
{
    struct item *item = arg;
    item->fetch = NULL;
    item->fetched = status;
    submission_resume(item->submission);
}

static enum step_next submission_gather(struct submission *s)
{
    s->epoch = profiles_epoch(s->g->profiles);
    for (size_t i = 0; i < s->n_items; i++) {
        struct item *item = &s->items[i];
        item->fetched = OK;
        facts_clear(&item->facts);
        if (profiles_get(s->g->profiles, &item->message->to, s->arena, &item->profile))
            continue;
        s->waiting++;
        item->fetch = profiles_fetch(s->g->profiles, &item->message->to, s->arena, &item->profile, on_profile, item);
    }
    return s->waiting > 0 ? STEP_WAIT : STEP_DONE;
}

/* --- DECIDE -------------------------------------------------------------------- */

static void decide_item(struct submission *s, struct item *item)
{
    struct facts *f = &item->facts;

    /* A second lap decides anew: the first lap's decision is this one's parent. */
    if (item->id != 0)
        item->parent = item->id;
    item->id = store_decision_id(s->g->store);
    f->policy = &s->conf->policy;
    f->message = item->message;
    f->profile = &item->profile;
    f->now_ms = s->now_ms;
    f->profile_stale = !bus_fresh(s->g->bus);
    f->deferrals = s->deferred != NULL ? s->deferred->deferrals : 0;
    item->contact_hash = counters_contact_hash(&item->profile, &item->message->to);
    item->profile.last_same_content_ms =
        duplicates_last_ms(s->g->duplicates, item->contact_hash, item->message->fingerprint);
    policy_prepare(f);
    submission_tell_language(s, item);
    policy_decide(f, &item->decision);
}

static enum step_next submission_decide(struct submission *s)
{
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i].fetched == OK)
            continue;
        submission_fail(s, FAULT_UNAVAILABLE, "the store of record does not answer; nothing was accepted");
        return STEP_DONE;
    }
    s->now_ms = clock_wall_ms();
    for (size_t i = 0; i < s->n_items; i++) {
        if (!s->items[i].kept) /* by the lap before: decided again when it is due */
            decide_item(s, &s->items[i]);
    }
    return STEP_DONE;
}

/* --- RESERVE ------------------------------------------------------------------- */

void submission_release_slot(struct submission *s, struct item *item)
{
    if (item->reservation != 0)
        counters_release(s->g->counters, item->reservation);
    item->reservation = 0;
}

static void on_reserved(const struct counters_answer *a, void *arg);

/* n_checks: of how many caps there must be room; 0: it goes whatever they hold, and is counted. */
static void ask_counters(struct submission *s, struct item *item, size_t n_checks)
{
    const struct category *category = item->message->category;
    struct counters_request r = {
        .decision = item->id,
        .contact_hash = item->contact_hash,
        .checks = item->facts.checks,
        .n_checks = n_checks,
        .class = category->class,
        .channel = item->message->channel,
        .category_id = category->id,
        .subject_id = message_subject_id(item->message),
        .counts = category->counts,
        .now_ms = s->now_ms,
    };
    s->waiting++;
    item->reserve = s->parsed.sandbox_mode || s->early ? counters_peek(s->g->counters, &r, on_reserved, item)
                                                       : counters_reserve(s->g->counters, &r, on_reserved, item);
}

static void on_reserved(const struct counters_answer *a, void *arg)
{
    struct item *item = arg;
    struct submission *s = item->submission;

    item->reserve = NULL;
    if (a->status != OK) {
        item->facts.counters_down = true;
        item->reservation = a->reservation; /* what is sent all the same is counted when they are back */
        policy_decide(&item->facts, &item->decision);
        if (item->decision.outcome != OUTCOME_FORWARD)
            submission_release_slot(s, item);
    } else if (a->reserved) {
        item->reservation = a->reservation;
    } else {
        memcpy(item->facts.counts, a->counts, a->n_checks * sizeof(a->counts[0]));
        item->facts.counts_known = KNOWN;
        policy_decide(&item->facts, &item->decision);
        /* A full cap that only notes, or is in shadow: the send counts like any other. */
        if (item->decision.outcome == OUTCOME_FORWARD && !s->parsed.sandbox_mode && !s->early && a->n_checks > 0)
            ask_counters(s, item, 0);
    }
    submission_resume(s);
}

static void reserve_item(struct submission *s, struct item *item)
{
    policy_caps(&item->facts);
    if (item->facts.n_checks > 0 || item->message->category->counts != COUNTS_NOWHERE)
        ask_counters(s, item, item->facts.n_checks);
}

static enum step_next submission_reserve(struct submission *s)
{
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i].decision.outcome == OUTCOME_FORWARD)
            reserve_item(s, &s->items[i]);
    }
    return s->waiting > 0 ? STEP_WAIT : STEP_DONE;
}

/* --- dry run ------------------------------------------------------------------- */

struct dry_run {
    struct gateway *g;
    struct submission_dry_run *d;
    void (*cb)(enum err status, void *arg);
    void *arg;
};

static void dry_finish(struct dry_run *run_, enum err status)
{
    void (*cb)(enum err, void *) = run_->cb;
    void *arg = run_->arg;
    free(run_);
    cb(status, arg);
}

static void on_dry_counts(const struct counters_answer *a, void *arg)
{
    struct dry_run *dry = arg;
    struct facts *f = &dry->d->facts;

    f->counters_down = a->status != OK;
    if (a->status == OK) {
        memcpy(f->counts, a->counts, a->n_checks * sizeof(a->counts[0]));
        f->counts_known = KNOWN;
    }
    policy_decide(f, &dry->d->decision);
    dry_finish(dry, OK);
}

static void on_dry_profile(enum err status, void *arg)
{
    struct dry_run *dry = arg;
    struct submission_dry_run *d = dry->d;
    struct facts *f = &d->facts;

    if (status != OK) {
        dry_finish(dry, status);
        return;
    }
    f->policy = d->policy;
    f->message = &d->message;
    f->profile = &d->profile;
    f->now_ms = d->at_ms;
    f->profile_stale = !bus_fresh(dry->g->bus);
    policy_prepare(f);
    policy_caps(f);
    struct counters_request r = {
        .contact_hash = counters_contact_hash(&d->profile, &d->message.to),
        .checks = f->checks,
        .n_checks = f->n_checks,
        .class = d->message.category->class,
        .channel = d->message.channel,
        .category_id = d->message.category->id,
        .subject_id = message_subject_id(&d->message),
        .counts = d->message.category->counts,
        .now_ms = d->at_ms,
    };
    (void)counters_peek(dry->g->counters, &r, on_dry_counts, dry);
}

void submission_dry_run(struct gateway *g, struct submission_dry_run *d, void (*cb)(enum err status, void *arg),
                        void *arg)
{
    struct dry_run *dry = xcalloc(1, sizeof(*dry));
    *dry = (struct dry_run){g, d, cb, arg};
    submission_look_dry(g, d);
    (void)profiles_fetch(g->profiles, &d->message.to, d->arena, &d->profile, on_dry_profile, dry);
}

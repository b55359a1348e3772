/*
 * Frequency counters in Redis: one string a contact, one script a message.  Knows
 * slots and what is to be delivered about them; whether Redis' counts are whole is
 * counters_epoch.c's.
 *
 * The idea: a send is named by its decision, everywhere.  So a commit may be
 * delivered twice, late, or into counts that were rebuilt meanwhile: it is the same
 * send, and counts once.
 */
#include "counters_redis.h"

#include <stdio.h>
#include <stdlib.h>

#include <uthash.h>

#include "loop.h"
#include "postern/clock.h"
#include "postern/hash.h"
#include "postern/log.h"

#define SETTLE_MS  1000 /* nobody waits for a commit: only the connection's end hurries it */
#define DRAIN_MAX  256  /* kept ones under way at once */
#define ERRORS_MAX 3    /* of one commit, in which Redis says that the script fails: then it is left out */

/* uthash is macros: their branches are not this file's.  NOLINTBEGIN(readability-function-size) */

/* Between the question and its commit or release. */
struct slot {
    uint64_t decision; /* its handle */
    uint64_t contact_hash;
    struct counters_entry entry;
    bool asked;   /* Redis may have it */
    bool counted; /* Redis said so */
    uint64_t epoch_n;
    int64_t asked_mono_ms;
    UT_hash_handle hh;
};

/* A commit or a release on its way. */
struct settle {
    TAILQ_ENTRY(settle) link; /* kept or under_way */
    struct shared *shared;
    struct redis_op *op;
    uint64_t contact_hash;
    struct counters_entry entry;
    bool commits, whole_script;
    unsigned errors; /* replies that were one */
};

struct op {
    struct counters_op base;
    struct loop_task *task; /* down: told at the end of the turn */
    struct redis_op *ask;
    bool whole_script; /* Redis had forgotten it: it went along */
    counters_cb *cb;
    void *arg;
    struct slot *slot; /* NULL: a peek */
    uint64_t contact_hash;
    struct counters_entry entry;
    size_t n_checks;
    uint8_t checks[CAP_CHECKS_MAX * COUNTERS_CHECK_BYTES];
    struct cap_count counts[CAP_CHECKS_MAX];
    struct counters_answer answer;
};

static struct shared *shared_of(struct counters *base)
{
    return (struct shared *)base; /* its first member */
}

char *shared_key(uint64_t contact_hash, char out[COUNTERS_KEY])
{
    snprintf(out, COUNTERS_KEY, COUNTERS_PREFIX "c:%016llx", (unsigned long long)contact_hash);
    return out;
}

bool shared_usable(const struct shared *c)
{
    const struct epoch *e = &c->epoch;
    return redis_is_up(c->redis) && c->sha[0] != '\0' && e->verified && e->live && !c->draining &&
           strncmp(e->loaded, e->text, EPOCH_ID_HEX) == 0;
}

void shared_changed(struct shared *c, const char *why)
{
    bool usable = shared_usable(c);

    if (usable == c->told_usable)
        return;
    c->told_usable = usable;
    log_line(usable ? LOG_INFO : LOG_WARN, NULL, "counters", usable ? "up" : "down", "why=%s kept=%zu epoch=%.16s",
             LOG_Q(slice_of(why)), c->n_kept, c->epoch.text);
}

static struct redis_op *run(struct shared *c, const char *act, uint64_t contact_hash, struct slice entry,
                            struct slice checks, bool whole_script, int64_t deadline_ms, redis_cb *cb, void *arg)
{
    char key[COUNTERS_KEY];
    struct slice args[] = {
        whole_script ? SLICE("EVAL") : SLICE("EVALSHA"),
        whole_script ? counters_lua : slice_of(c->sha),
        SLICE("2"),
        SLICE(COUNTERS_PREFIX "epoch"),
        slice_of(shared_key(contact_hash, key)),
        slice_of(act),
        slice_of(c->epoch.text),
        entry,
        checks,
    };
    return redis_ask(c->redis, args, N_ELEMENTS(args), deadline_ms, cb, arg);
}

static struct slice entry_slice(const struct counters_entry *e)
{
    return (struct slice){(const char *)e->b, sizeof(e->b)};
}

static bool is_refusal(const struct redis_reply *r)
{
    return r->kind == REDIS_NUMBER && r->number == -1;
}

static bool is_done(const struct redis_reply *r)
{
    return r->kind == REDIS_NUMBER && r->number == 1;
}

static bool is_noscript(const struct redis_reply *r)
{
    return r->kind == REDIS_ERROR && slice_starts(r->text, "NOSCRIPT");
}

/* --- commits and releases ------------------------------------------------------------- */

static void settle_free(struct settle *s)
{
    redis_op_cancel(&s->op);
    free(s);
}

void shared_forget_kept(struct shared *c)
{
    struct settle *s;

    while ((s = TAILQ_FIRST(&c->kept)) != NULL) {
        TAILQ_REMOVE(&c->kept, s, link);
        settle_free(s);
    }
    c->n_kept = 0;
}

static void keep(struct shared *c, struct settle *s)
{
    if (c->n_kept >= COUNTERS_KEPT_MAX && s->commits && !c->epoch.give_up) {
        c->epoch.give_up = true;
        log_line(LOG_ERROR_, NULL, "counters", "given_up", "kept=%zu then=\"counted again from the store\"", c->n_kept);
        shared_forget_kept(c);
    }
    if (c->epoch.give_up || c->n_kept >= COUNTERS_KEPT_MAX) {
        settle_free(s); /* the rebuild reads it in the store; a reservation ends by itself */
        return;
    }
    TAILQ_INSERT_TAIL(&c->kept, s, link);
    c->n_kept++;
}

static void on_settled(enum err status, const struct redis_reply *reply, void *arg);

static void deliver(struct shared *c, struct settle *s)
{
    TAILQ_INSERT_TAIL(&c->under_way, s, link);
    c->n_under_way++;
    s->op = run(c, s->commits ? "commit" : "release", s->contact_hash, entry_slice(&s->entry), (struct slice){0},
                s->whole_script, SETTLE_MS, on_settled, s);
}

static bool can_deliver(const struct shared *c)
{
    return redis_is_up(c->redis) && c->sha[0] != '\0' && c->epoch.verified && c->epoch.live;
}

void shared_drain(struct shared *c)
{
    struct settle *s;

    while (can_deliver(c) && c->n_under_way < DRAIN_MAX && (s = TAILQ_FIRST(&c->kept)) != NULL) {
        TAILQ_REMOVE(&c->kept, s, link);
        c->n_kept--;
        deliver(c, s);
    }
    if (c->draining && c->n_kept == 0 && c->n_under_way == 0 && can_deliver(c)) {
        c->draining = false;
        shared_changed(c, "what was kept is delivered");
    }
}

static void on_settled(enum err status, const struct redis_reply *reply, void *arg)
{
    struct settle *s = arg;
    struct shared *c = s->shared;

    s->op = NULL;
    TAILQ_REMOVE(&c->under_way, s, link);
    c->n_under_way--;
    if (status == OK && is_done(reply)) {
        settle_free(s);
        shared_drain(c);
        return;
    }
    if (status == OK && is_refusal(reply))
        epoch_lost(c, "flushed, or another epoch is in force");
    if (status == OK && is_noscript(reply) && !s->whole_script) {
        s->whole_script = true;
        deliver(c, s);
        return;
    }
    s->whole_script = false;
    if (status == OK && reply->kind == REDIS_ERROR && slice_starts(reply->text, "ERR") && ++s->errors >= ERRORS_MAX) {
        log_line(LOG_ERROR_, NULL, "counters", "left_out", "key=%016llx why=%s", (unsigned long long)s->contact_hash,
                 LOG_Q(reply->text));
        settle_free(s);
        return;
    }
    keep(c, s); /* tried again when the state is asked for next */
}

static void settle(struct shared *c, struct slot *slot, bool commits)
{
    struct settle *s = xcalloc(1, sizeof(*s));

    s->shared = c;
    s->contact_hash = slot->contact_hash;
    s->entry = slot->entry;
    s->commits = commits;
    if (can_deliver(c))
        deliver(c, s);
    else
        keep(c, s);
}

/* --- slots ----------------------------------------------------------------------------- */

static struct slot *slot_get(const struct shared *c, uint64_t decision)
{
    struct slot *slot;

    HASH_FIND(hh, c->slots, &decision, sizeof(decision), slot);
    return slot;
}

static struct slot *slot_new(struct shared *c, const struct counters_request *r, const struct counters_entry *entry)
{
    struct slot *slot = xcalloc(1, sizeof(*slot));

    ensure(r->decision != 0 && slot_get(c, r->decision) == NULL);
    slot->decision = r->decision;
    slot->contact_hash = r->contact_hash;
    slot->entry = *entry;
    slot->asked_mono_ms = clock_mono_ms();
    slot->epoch_n = c->epoch.n;
    HASH_ADD(hh, c->slots, decision, sizeof(slot->decision), slot);
    return slot;
}

static void slot_free(struct shared *c, struct slot *slot)
{
    HASH_DEL(c->slots, slot);
    free(slot);
}

static void shared_commit(struct counters *base, uint64_t reservation, int64_t now_ms)
{
    struct shared *c = shared_of(base);
    struct slot *slot = slot_get(c, reservation);

    if (slot == NULL)
        return;
    counters_entry_time(&slot->entry, now_ms);
    settle(c, slot, true);
    slot_free(c, slot);
}

static void shared_release(struct counters *base, uint64_t reservation)
{
    struct shared *c = shared_of(base);
    struct slot *slot = slot_get(c, reservation);

    if (slot == NULL)
        return;
    /* What Redis never saw may be in a rebuild by now, as an open intent. */
    if (slot->asked || c->epoch.n != slot->epoch_n || !c->epoch.live)
        settle(c, slot, false);
    slot_free(c, slot);
}

static bool shared_holds(const struct counters *base, uint64_t reservation)
{
    const struct shared *c = (const struct shared *)base;
    const struct slot *slot = slot_get(c, reservation);

    if (slot == NULL || !slot->counted)
        return true;
    return c->epoch.live && c->epoch.n == slot->epoch_n && clock_mono_ms() - slot->asked_mono_ms < COUNTERS_HOLD_MS;
}

/* --- questions --------------------------------------------------------------------------- */

static void pack_check(uint8_t *p, const struct cap_check *k)
{
    counters_put_ms(p, k->since_ms);
    counters_put(p + 6, 4, k->limit > 0 ? (uint64_t)k->limit : 0);
    counters_put(p + 10, 4, k->classes);
    counters_put(p + 14, 4, k->channels);
    counters_put(p + 18, 4, k->category_id);
    counters_put(p + 22, 4, k->subject_id);
    counters_put_ms(p + 26, k->gap_ms);
    counters_put(p + 32, 4, k->gap_category_id);
}

/* Frees op. */
static void op_answer(struct op *op)
{
    counters_cb *cb = op->cb;

    op->answer.n_checks = op->answer.status == OK && !op->answer.reserved ? op->n_checks : 0;
    op->answer.counts = op->counts;
    cb(&op->answer, op->arg);
    free(op);
}

static void answer_down(struct op *op)
{
    op->answer.status = ERR_UNAVAILABLE;
    op->answer.reservation = op->slot != NULL ? op->slot->decision : 0;
    op_answer(op);
}

static void on_down(void *arg)
{
    struct op *op = arg;
    op->task = NULL;
    answer_down(op);
}

static bool read_counts(struct op *op, const struct redis_reply *reply)
{
    if (reply->kind != REDIS_TEXT || reply->text.n != op->n_checks * COUNTERS_COUNT_BYTES)
        return false;
    for (size_t i = 0; i < op->n_checks; i++) {
        const char *p = reply->text.p + i * COUNTERS_COUNT_BYTES;
        op->counts[i] = (struct cap_count){.count = (int32_t)counters_take(p, 4),
                                           .oldest_ms = (int64_t)counters_take(p + 4, 6),
                                           .latest_ms = (int64_t)counters_take(p + 10, 6)};
    }
    return true;
}

static void on_counted(enum err status, const struct redis_reply *reply, void *arg);

static void op_run(struct op *op)
{
    struct shared *c = shared_of(op->base.counters);
    struct slice checks = {(const char *)op->checks, op->n_checks * COUNTERS_CHECK_BYTES};

    op->ask = run(c, op->slot != NULL ? "reserve" : "peek", op->contact_hash, entry_slice(&op->entry), checks,
                  op->whole_script, 0, on_counted, op);
}

static void on_counted(enum err status, const struct redis_reply *reply, void *arg)
{
    struct op *op = arg;
    struct shared *c = shared_of(op->base.counters);

    op->ask = NULL;
    if (status == OK && is_noscript(reply) && !op->whole_script) {
        op->whole_script = true;
        op_run(op);
        return;
    }
    if (status == OK && op->slot != NULL && is_done(reply)) {
        op->slot->counted = true;
        op->answer.reserved = true;
        op->answer.reservation = op->slot->decision;
    } else if (status == OK && read_counts(op, reply)) {
        if (op->slot != NULL)
            slot_free(c, op->slot);
    } else {
        if (status == OK && is_refusal(reply))
            epoch_lost(c, "flushed, or another epoch is in force");
        else if (status == OK)
            log_line(LOG_WARN, NULL, "counters", "refused", "by=redis why=%s",
                     LOG_Q(reply->kind == REDIS_ERROR ? reply->text : SLICE("an answer of another form")));
        answer_down(op);
        return;
    }
    op_answer(op);
}

static struct counters_op *shared_ask(struct counters *base, const struct counters_request *r, bool take_slot,
                                      counters_cb *cb, void *arg)
{
    struct shared *c = shared_of(base);
    struct op *op = xcalloc(1, sizeof(*op));
    struct counters_send send = {
        .store = c->identity,
        .decision = r->decision,
        .at_ms = r->now_ms,
        .class = r->class,
        .channel = r->channel,
        .counts = r->counts,
        .category_id = r->category_id,
        .subject_id = r->subject_id,
    };

    op->base.counters = base;
    op->cb = cb;
    op->arg = arg;
    op->contact_hash = r->contact_hash;
    counters_entry_pack(&op->entry, &send);
    op->n_checks = r->n_checks;
    for (size_t i = 0; i < r->n_checks; i++)
        pack_check(op->checks + i * COUNTERS_CHECK_BYTES, &r->checks[i]);
    if (take_slot)
        op->slot = slot_new(c, r, &op->entry);
    if (!shared_usable(c)) {
        op->task = loop_defer(c->loop, on_down, op);
        return &op->base;
    }
    if (op->slot != NULL)
        op->slot->asked = true;
    op_run(op);
    return &op->base;
}

static void shared_cancel(struct counters_op *base)
{
    struct op *op = (struct op *)base;

    redis_op_cancel(&op->ask);
    loop_cancel(&op->task);
    if (op->slot != NULL)
        shared_release(base->counters, op->slot->decision);
    free(op);
}

/* --- start, end, state ------------------------------------------------------------------- */

static void on_script(enum err status, const struct redis_reply *reply, void *arg)
{
    struct shared *c = arg;

    c->script = NULL;
    if (status != OK || reply->kind != REDIS_TEXT || reply->text.n != sizeof(c->sha) - 1) {
        redis_reconnect(c->redis, status == OK && reply->kind == REDIS_ERROR ? reply->text.p : "it takes no script");
        return;
    }
    memcpy(c->sha, reply->text.p, sizeof(c->sha) - 1);
    epoch_ask(c);
}

static void on_state(bool up, void *arg)
{
    struct shared *c = arg;

    c->sha[0] = '\0';
    c->draining = true;
    redis_op_cancel(&c->script);
    epoch_connected(c, up);
    if (up)
        c->script = redis_ask(c->redis, (struct slice[]){SLICE("SCRIPT"), SLICE("LOAD"), counters_lua}, 3, SETTLE_MS,
                              on_script, c);
    shared_changed(c, "the connection to Redis is gone");
}

static void shared_free(struct counters *base)
{
    struct shared *c = shared_of(base);
    struct slot *slot, *next_slot;
    struct settle *s;

    epoch_clear(c);
    redis_op_cancel(&c->script);
    shared_forget_kept(c);
    while ((s = TAILQ_FIRST(&c->under_way)) != NULL) {
        TAILQ_REMOVE(&c->under_way, s, link);
        settle_free(s);
    }
    HASH_ITER(hh, c->slots, slot, next_slot)
    {
        /* The analyzer loses the list within uthash.  NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        slot_free(c, slot);
    }
    redis_free(&c->redis);
    free(c);
}

static struct counters_state shared_state(const struct counters *base)
{
    const struct shared *c = (const struct shared *)base;
    struct redis_counters r = redis_counters(c->redis);
    struct counters_state s = c->seen;

    s.reservations = HASH_COUNT(c->slots);
    s.up = shared_usable(c);
    s.breaker_open = !redis_is_up(c->redis);
    s.kept = c->n_kept + c->n_under_way;
    s.commands = r.commands;
    s.timeouts = r.timeouts;
    s.failures = r.failures;
    s.commands_us = r.answered_us;
    return s;
}

static const struct counters_ops redis_ops = {
    .ask = shared_ask,
    .cancel = shared_cancel,
    .commit = shared_commit,
    .release = shared_release,
    .holds = shared_holds,
    .state = shared_state,
    .free = shared_free,
};

struct counters *counters_redis_new(struct loop *loop, const struct counters_redis_options *o, struct errmsg *e)
{
    struct shared *c = xcalloc(1, sizeof(*c));
    struct redis_options redis = {
        .host = o->host,
        .port = o->port,
        .db = o->db,
        .tls = o->tls,
        .ca_file = o->ca_file,
        .username = o->username,
        .password = o->password,
        .deadline_ms = o->deadline_ms,
        .on_state = on_state,
        .arg = c,
    };

    c->base.ops = &redis_ops;
    c->loop = loop;
    c->store = o->store;
    TAILQ_INIT(&c->kept);
    TAILQ_INIT(&c->under_way);
    if (store_identity(o->store, &c->identity) != OK) {
        errmsg_set(e, "the store cannot say which one it is; run: posternctl audit verify");
        free(c);
        return NULL;
    }
    epoch_init(c);
    c->redis = redis_new(loop, &redis, e);
    if (c->redis == NULL) {
        free(c);
        return NULL;
    }
    return &c->base;
}

/* NOLINTEND(readability-function-size) */

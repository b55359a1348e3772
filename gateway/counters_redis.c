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
#define BATCH_MAX  64   /* commits in one script: half a millisecond of Redis' time */
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

/* A commit or a release that is to be delivered. */
struct settle {
    TAILQ_ENTRY(settle) link; /* fresh, kept, or of a batch */
    uint64_t contact_hash;
    struct counters_entry entry;
    bool commits;
    bool alone;      /* a batch with it failed: it goes by itself */
    unsigned errors; /* replies that were one */
};

/* Some of them on their way, in one script. */
struct batch {
    TAILQ_ENTRY(batch) link;
    struct shared *shared;
    struct redis_op *op;
    struct settle_list settles;
    size_t n;
    bool whole_script;
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

static struct slice script(const struct shared *c, bool whole)
{
    return whole ? counters_lua : slice_of(c->sha);
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

static void free_list(struct settle_list *l)
{
    struct settle *s;

    while ((s = TAILQ_FIRST(l)) != NULL) {
        TAILQ_REMOVE(l, s, link);
        free(s);
    }
}

void shared_forget_kept(struct shared *c)
{
    free_list(&c->kept);
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
        free(s); /* the rebuild reads it in the store; a reservation ends by itself */
        return;
    }
    TAILQ_INSERT_TAIL(&c->kept, s, link);
    c->n_kept++;
}

static void on_settled(enum err status, const struct redis_reply *reply, void *arg);

static void batch_send(struct batch *b)
{
    struct shared *c = b->shared;
    struct slice args[BATCH_MAX + 8]; /* four words before the contacts' keys, four behind */
    char keys[BATCH_MAX][COUNTERS_KEY], n_keys[12], acts[BATCH_MAX];
    uint8_t entries[BATCH_MAX * COUNTERS_ENTRY_BYTES];
    const struct settle *s;
    size_t n = 0, i = 0;

    snprintf(n_keys, sizeof(n_keys), "%zu", b->n + 1);
    args[n++] = b->whole_script ? SLICE("EVAL") : SLICE("EVALSHA");
    args[n++] = script(c, b->whole_script);
    args[n++] = slice_of(n_keys);
    args[n++] = SLICE(COUNTERS_PREFIX "epoch");
    TAILQ_FOREACH(s, &b->settles, link)
    {
        args[n++] = slice_of(shared_key(s->contact_hash, keys[i]));
        memcpy(entries + i * COUNTERS_ENTRY_BYTES, s->entry.b, COUNTERS_ENTRY_BYTES);
        acts[i++] = s->commits ? 'c' : 'r';
    }
    args[n++] = SLICE("settle");
    args[n++] = slice_of(c->epoch.text);
    args[n++] = (struct slice){(const char *)entries, i * COUNTERS_ENTRY_BYTES};
    args[n++] = (struct slice){acts, i};
    b->op = redis_ask(c->redis, args, n, SETTLE_MS, on_settled, b);
}

/* Takes the first ones of from. */
static size_t deliver(struct shared *c, struct settle_list *from)
{
    struct batch *b = xcalloc(1, sizeof(*b));
    struct settle *s;

    b->shared = c;
    TAILQ_INIT(&b->settles);
    while (b->n < BATCH_MAX && (s = TAILQ_FIRST(from)) != NULL && (b->n == 0 || !s->alone)) {
        bool alone = s->alone;
        TAILQ_REMOVE(from, s, link);
        TAILQ_INSERT_TAIL(&b->settles, s, link);
        b->n++;
        if (alone)
            break;
    }
    TAILQ_INSERT_TAIL(&c->batches, b, link);
    c->n_under_way += b->n;
    batch_send(b);
    return b->n;
}

static bool can_deliver(const struct shared *c)
{
    return redis_is_up(c->redis) && c->sha[0] != '\0' && c->epoch.verified && c->epoch.live;
}

void shared_drain(struct shared *c)
{
    while (can_deliver(c) && c->n_under_way < DRAIN_MAX && !TAILQ_EMPTY(&c->kept))
        c->n_kept -= deliver(c, &c->kept);
    if (c->draining && c->n_kept == 0 && c->n_under_way == 0 && can_deliver(c)) {
        c->draining = false;
        shared_changed(c, "what was kept is delivered");
    }
}

/* One that Redis will never take is not tried for ever, and does not hold up the others. */
static bool is_hopeless(struct settle *s, const struct redis_reply *error)
{
    s->alone = true;
    if (++s->errors < ERRORS_MAX)
        return false;
    log_line(LOG_ERROR_, NULL, "counters", "left_out", "key=%016llx why=%s", (unsigned long long)s->contact_hash,
             LOG_Q(error->text));
    return true;
}

static void batch_end(struct batch *b, bool delivered, const struct redis_reply *error)
{
    struct shared *c = b->shared;
    struct settle *s;

    TAILQ_REMOVE(&c->batches, b, link);
    c->n_under_way -= b->n;
    while ((s = TAILQ_FIRST(&b->settles)) != NULL) {
        TAILQ_REMOVE(&b->settles, s, link);
        if (delivered || (error != NULL && is_hopeless(s, error)))
            free(s);
        else
            keep(c, s); /* tried again when the state is asked for next */
    }
    free(b);
    if (delivered)
        shared_drain(c);
}

static void on_settled(enum err status, const struct redis_reply *reply, void *arg)
{
    struct batch *b = arg;
    struct shared *c = b->shared;

    b->op = NULL;
    if (status == OK && is_noscript(reply) && !b->whole_script) {
        b->whole_script = true;
        batch_send(b);
        return;
    }
    if (status == OK && is_refusal(reply))
        epoch_lost(c, "flushed, or another epoch is in force");
    bool failed = status == OK && reply->kind == REDIS_ERROR && slice_starts(reply->text, "ERR");
    batch_end(b, status == OK && is_done(reply), failed ? reply : NULL);
}

/* The turn's commits and releases go out together, with what else leaves. */
static void before_write(void *arg)
{
    struct shared *c = arg;
    struct settle *s;

    while (can_deliver(c) && !TAILQ_EMPTY(&c->fresh))
        c->n_fresh -= deliver(c, &c->fresh);
    while ((s = TAILQ_FIRST(&c->fresh)) != NULL) {
        TAILQ_REMOVE(&c->fresh, s, link);
        c->n_fresh--;
        keep(c, s);
    }
}

static void settle(struct shared *c, const struct slot *slot, bool commits)
{
    struct settle *s = xcalloc(1, sizeof(*s));

    s->contact_hash = slot->contact_hash;
    s->entry = slot->entry;
    s->commits = commits;
    TAILQ_INSERT_TAIL(&c->fresh, s, link);
    c->n_fresh++;
    if (can_deliver(c))
        redis_write_soon(c->redis);
    else
        before_write(c); /* to those that are kept */
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
    /* The analyzer loses the list within uthash.  NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
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
    char key[COUNTERS_KEY];
    struct slice args[] = {
        op->whole_script ? SLICE("EVAL") : SLICE("EVALSHA"),
        script(c, op->whole_script),
        SLICE("2"),
        SLICE(COUNTERS_PREFIX "epoch"),
        slice_of(shared_key(op->contact_hash, key)),
        op->slot != NULL ? SLICE("reserve") : SLICE("peek"),
        slice_of(c->epoch.text),
        {(const char *)op->entry.b, sizeof(op->entry.b)},
        {(const char *)op->checks, op->n_checks * COUNTERS_CHECK_BYTES},
    };
    op->ask = redis_ask(c->redis, args, N_ELEMENTS(args), 0, on_counted, op);
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
    before_write(c);
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
    struct batch *b;

    epoch_clear(c);
    redis_op_cancel(&c->script);
    free_list(&c->fresh);
    shared_forget_kept(c);
    while ((b = TAILQ_FIRST(&c->batches)) != NULL) {
        TAILQ_REMOVE(&c->batches, b, link);
        redis_op_cancel(&b->op);
        free_list(&b->settles);
        free(b);
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
    s.kept = c->n_fresh + c->n_kept + c->n_under_way;
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
        .before_write = before_write,
        .arg = c,
    };

    c->base.ops = &redis_ops;
    c->loop = loop;
    c->store = o->store;
    TAILQ_INIT(&c->kept);
    TAILQ_INIT(&c->fresh);
    TAILQ_INIT(&c->batches);
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

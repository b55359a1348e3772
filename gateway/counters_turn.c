/*
 * What a turn has to say to Redis, in one script: its questions, and the commits and
 * releases since the last one.  Knows packed questions and settled slots, not what
 * they are about.
 *
 * The ideas: a commit waits a few ms for a question that leaves, because what costs
 * is waking Redis; until it is there, its reservation holds the place.  And what
 * could not be delivered is kept, and delivered first when Redis is back: it may be
 * delivered twice, for a send is named by its decision and counts once.
 */
#include "counters_redis.h"

#include <stdio.h>
#include <stdlib.h>

#include "loop.h"
#include "postern/hash.h"
#include "postern/log.h"

#define WAIT_MS    5   /* a commit, for company */
#define BATCH_MAX  64  /* questions in one script, and as many settled: a third of a millisecond of Redis' time */
#define DRAIN_MAX  256 /* kept ones under way at once */
#define ERRORS_MAX 3   /* of one that was settled, in which Redis says that the script fails: then it is left out */

/* On their way, in one script. */
struct batch {
    TAILQ_ENTRY(batch) link;
    struct shared *shared;
    struct redis_op *op;
    bool whole_script; /* Redis had forgotten it: it goes along */
    struct slot_list settled;
    size_t n_settled;
    size_t n_asks;
    struct ask *asks[BATCH_MAX]; /* NULL: cancelled meanwhile */
    uint8_t n_checks[BATCH_MAX]; /* of each */
};

static bool can_deliver(const struct shared *c)
{
    return redis_is_up(c->redis) && c->sha[0] != '\0' && c->epoch.verified && c->epoch.live;
}

/* --- what is kept ---------------------------------------------------------------------- */

static void free_list(struct slot_list *l)
{
    struct slot *s;

    while ((s = TAILQ_FIRST(l)) != NULL) {
        TAILQ_REMOVE(l, s, link);
        free(s);
    }
}

static void keep(struct shared *c, struct slot *s)
{
    if (c->n_kept >= COUNTERS_KEPT_MAX && !s->released && !c->epoch.give_up) {
        c->epoch.give_up = true;
        log_line(LOG_ERROR_, NULL, "counters", "given_up", "kept=%zu then=\"counted again from the store\"", c->n_kept);
        free_list(&c->kept);
        c->n_kept = 0;
    }
    if (c->epoch.give_up || c->n_kept >= COUNTERS_KEPT_MAX) {
        free(s); /* the rebuild reads it in the store; a reservation ends by itself */
        return;
    }
    TAILQ_INSERT_TAIL(&c->kept, s, link);
    c->n_kept++;
}

/* One that Redis will never take is not tried for ever, and does not hold up the others. */
static bool is_hopeless(struct slot *s, struct slice error)
{
    s->alone = true;
    if (++s->errors < ERRORS_MAX)
        return false;
    log_line(LOG_ERROR_, NULL, "counters", "left_out", "key=%016llx why=%s", (unsigned long long)s->contact_hash,
             LOG_Q(error));
    return true;
}

/* --- a batch, packed --------------------------------------------------------------------- */

/* Its words: keys, then what to do with each, its entry, and the checks. */
struct packed {
    struct slice args[2 * BATCH_MAX + 9];
    size_t n_args, n_keys, n_acts, n_check_bytes;
    char keys[2 * BATCH_MAX][COUNTERS_KEY];
    char acts[2 * BATCH_MAX];
    uint8_t entries[2 * BATCH_MAX][COUNTERS_ENTRY_BYTES];
    uint8_t checks[BATCH_MAX * (COUNTERS_CHECKS_HEAD + CAP_CHECKS_MAX * COUNTERS_CHECK_BYTES)];
};

static uint8_t *pack_contact(struct packed *p, uint64_t contact_hash, const struct counters_entry *entry)
{
    uint8_t *at = p->entries[p->n_keys];

    p->args[p->n_args++] = (struct slice){shared_key(contact_hash, p->keys[p->n_keys]), COUNTERS_KEY - 1};
    memcpy(at, entry->b, COUNTERS_ENTRY_BYTES);
    p->n_keys++;
    return at;
}

static void pack_settled(struct packed *p, const struct batch *b, bool released)
{
    const struct slot *s;

    TAILQ_FOREACH(s, &b->settled, link)
    {
        if (s->released != released)
            continue;
        pack_contact(p, s->contact_hash, &s->entry);
        if (released)
            p->acts[p->n_acts++] = 'x';
    }
}

static void pack_ask(struct packed *p, struct ask *a, int64_t redis_s)
{
    uint8_t *checks = p->checks + p->n_check_bytes;
    size_t n = COUNTERS_CHECKS_HEAD + a->n_checks * COUNTERS_CHECK_BYTES;

    counters_entry_reserve(pack_contact(p, a->contact_hash, &a->entry), redis_s);
    p->acts[p->n_acts++] = a->slot != NULL ? 'r' : 'p';
    memcpy(checks, a->checks, n);
    p->n_check_bytes += n;
    if (a->slot != NULL)
        a->slot->asked = true;
}

/* Those that were cancelled since it was filled are not asked. */
static void close_gaps(struct batch *b)
{
    size_t n = 0;

    for (size_t i = 0; i < b->n_asks; i++) {
        struct ask *a = b->asks[i];
        if (a == NULL)
            continue;
        a->place = n;
        b->n_checks[n] = (uint8_t)a->n_checks;
        b->asks[n++] = a;
    }
    b->n_asks = n;
}

static void on_answer(enum err status, const struct redis_reply *reply, void *arg);

static void batch_send(struct batch *b)
{
    static struct packed p; /* the loop's alone, and too big for a stack */
    struct shared *c = b->shared;
    int64_t redis_s = epoch_redis_s(c);
    char n_keys[12], clock[24];

    close_gaps(b);
    p.n_keys = p.n_acts = p.n_check_bytes = 0;
    p.n_args = 4;
    pack_settled(&p, b, true);
    for (size_t i = 0; i < b->n_asks; i++)
        pack_ask(&p, b->asks[i], redis_s);
    pack_settled(&p, b, false);

    snprintf(n_keys, sizeof(n_keys), "%zu", p.n_keys + 1);
    snprintf(clock, sizeof(clock), "%lld", (long long)redis_s);
    p.args[0] = b->whole_script ? SLICE("EVAL") : SLICE("EVALSHA");
    p.args[1] = b->whole_script ? counters_lua : slice_of(c->sha);
    p.args[2] = slice_of(n_keys);
    p.args[3] = SLICE(COUNTERS_PREFIX "epoch");
    p.args[p.n_args++] = slice_of(c->epoch.text);
    p.args[p.n_args++] = slice_of(clock);
    p.args[p.n_args++] = (struct slice){p.acts, p.n_acts};
    p.args[p.n_args++] = (struct slice){(const char *)p.entries, p.n_keys * COUNTERS_ENTRY_BYTES};
    p.args[p.n_args++] = (struct slice){(const char *)p.checks, p.n_check_bytes};
    b->op = redis_ask(c->redis, p.args, p.n_args, b->n_asks > 0 ? 0 : COUNTERS_SETTLE_MS, on_answer, b);
}

/* --- a batch, filled --------------------------------------------------------------------- */

static bool asks_about(const struct batch *b, uint64_t contact_hash)
{
    for (size_t i = 0; i < b->n_asks; i++) {
        if (b->asks[i]->contact_hash == contact_hash)
            return true;
    }
    return false;
}

static struct batch *batch_new(struct shared *c)
{
    struct batch *b = xcalloc(1, sizeof(*b));
    b->shared = c;
    TAILQ_INIT(&b->settled);
    TAILQ_INSERT_TAIL(&c->batches, b, link);
    return b;
}

/* The script looks at a contact once: a second question about it goes in the next. */
static void fill_asks(struct batch *b)
{
    struct shared *c = b->shared;
    struct ask *a;

    while (b->n_asks < BATCH_MAX && (a = TAILQ_FIRST(&c->asks)) != NULL && !asks_about(b, a->contact_hash)) {
        TAILQ_REMOVE(&c->asks, a, in_turn);
        a->batch = b;
        b->asks[b->n_asks++] = a;
    }
}

/* Takes the first ones of from. */
static void fill_settled(struct batch *b, struct slot_list *from, size_t *n_from)
{
    struct slot *s;
    bool alone = false;

    while (b->n_settled < BATCH_MAX && !alone && (s = TAILQ_FIRST(from)) != NULL && (b->n_settled == 0 || !s->alone)) {
        alone = s->alone;
        TAILQ_REMOVE(from, s, link);
        TAILQ_INSERT_TAIL(&b->settled, s, link);
        b->n_settled++;
        (*n_from)--;
    }
    b->shared->n_under_way += b->n_settled;
}

void turn_drain(struct shared *c)
{
    while (can_deliver(c) && c->n_under_way < DRAIN_MAX && !TAILQ_EMPTY(&c->kept)) {
        struct batch *b = batch_new(c);
        fill_settled(b, &c->kept, &c->n_kept);
        batch_send(b);
    }
    if (c->draining && c->n_kept == 0 && c->n_under_way == 0 && can_deliver(c)) {
        c->draining = false;
        shared_changed(c, "what was kept is delivered");
    }
}

void turn_end(struct shared *c)
{
    struct ask *a;
    struct slot *s;

    while (!shared_usable(c) && (a = TAILQ_FIRST(&c->asks)) != NULL) {
        TAILQ_REMOVE(&c->asks, a, in_turn);
        ask_down(a);
    }
    while (can_deliver(c) && !(TAILQ_EMPTY(&c->asks) && TAILQ_EMPTY(&c->fresh))) {
        struct batch *b = batch_new(c);
        fill_asks(b);
        fill_settled(b, &c->fresh, &c->n_fresh);
        batch_send(b);
    }
    while ((s = TAILQ_FIRST(&c->fresh)) != NULL) {
        TAILQ_REMOVE(&c->fresh, s, link);
        c->n_fresh--;
        keep(c, s);
    }
}

/* --- a batch, answered --------------------------------------------------------------------- */

/* True: all that were asked have their answer. */
static bool answer_asks(struct batch *b, struct slice text)
{
    size_t i = 0;

    for (bool good = true; i < b->n_asks && good; i += good) {
        struct ask *a = b->asks[i];
        b->asks[i] = NULL;
        good = a != NULL ? ask_answer(a, &text) : ask_pass(b->n_checks[i], &text);
        if (!good)
            b->asks[i] = a;
    }
    return i == b->n_asks && text.n == 0;
}

static void asks_down(struct batch *b)
{
    for (size_t i = 0; i < b->n_asks; i++) {
        struct ask *a = b->asks[i];
        b->asks[i] = NULL;
        if (a != NULL)
            ask_down(a);
    }
}

/* error: what Redis says of the script; NULL when it says nothing of the kind. */
static void batch_end(struct batch *b, bool delivered, const struct redis_reply *error)
{
    struct shared *c = b->shared;
    struct slot *s;

    c->n_under_way -= b->n_settled;
    while ((s = TAILQ_FIRST(&b->settled)) != NULL) {
        TAILQ_REMOVE(&b->settled, s, link);
        if (delivered || (error != NULL && is_hopeless(s, error->text)))
            free(s);
        else
            keep(c, s); /* tried again when the state is asked for next */
    }
    asks_down(b);
    TAILQ_REMOVE(&c->batches, b, link);
    free(b);
    if (delivered)
        turn_drain(c);
}

static void on_answer(enum err status, const struct redis_reply *reply, void *arg)
{
    struct batch *b = arg;

    b->op = NULL;
    if (status == OK && reply->kind == REDIS_ERROR && slice_starts(reply->text, "NOSCRIPT") && !b->whole_script) {
        b->whole_script = true;
        batch_send(b);
        return;
    }
    bool refused = status == OK && reply->kind == REDIS_NUMBER && reply->number == -1;
    if (refused)
        epoch_lost(b->shared, "flushed, or another epoch is in force");
    if (status != OK || refused) {
        batch_end(b, false, NULL);
        return;
    }
    bool good = reply->kind == REDIS_TEXT && answer_asks(b, reply->text);
    if (!good && b->n_asks > 0)
        log_line(LOG_WARN, NULL, "counters", "refused", "by=redis why=%s",
                 LOG_Q(reply->kind == REDIS_ERROR ? reply->text : SLICE("an answer of another form")));
    bool fails = reply->kind == REDIS_ERROR && (slice_starts(reply->text, "ERR") || slice_starts(reply->text, "WRONG"));
    batch_end(b, reply->kind == REDIS_TEXT, fails ? reply : NULL);
}

/* --- what comes in a turn --------------------------------------------------------------------------------- */

void turn_init(struct shared *c)
{
    TAILQ_INIT(&c->asks);
    TAILQ_INIT(&c->fresh);
    TAILQ_INIT(&c->kept);
    TAILQ_INIT(&c->batches);
}

void turn_ask(struct shared *c, struct ask *a)
{
    TAILQ_INSERT_TAIL(&c->asks, a, in_turn);
    redis_write_soon(c->redis);
}

void turn_cancel(struct shared *c, struct ask *a)
{
    if (a->batch != NULL)
        a->batch->asks[a->place] = NULL;
    else
        TAILQ_REMOVE(&c->asks, a, in_turn);
}

static void on_settling(void *arg)
{
    struct shared *c = arg;

    c->settling = NULL;
    if (!TAILQ_EMPTY(&c->fresh))
        redis_write_soon(c->redis);
}

void turn_settle(struct shared *c, struct slot *slot)
{
    if (!can_deliver(c)) {
        keep(c, slot);
        return;
    }
    TAILQ_INSERT_TAIL(&c->fresh, slot, link);
    c->n_fresh++;
    if (slot->released || c->n_fresh >= BATCH_MAX) /* others may wait for the place */
        redis_write_soon(c->redis);
    else if (c->settling == NULL)
        c->settling = loop_after(c->loop, WAIT_MS, on_settling, c);
}

void turn_clear(struct shared *c)
{
    struct batch *b;
    struct ask *a;

    while ((a = TAILQ_FIRST(&c->asks)) != NULL) {
        TAILQ_REMOVE(&c->asks, a, in_turn);
        free(a);
    }
    turn_end(c); /* commits need nobody to wait for them */
    redis_write_now(c->redis);
    loop_cancel(&c->settling);
    free_list(&c->kept);
    while ((b = TAILQ_FIRST(&c->batches)) != NULL) {
        TAILQ_REMOVE(&c->batches, b, link);
        redis_op_cancel(&b->op);
        free_list(&b->settled);
        for (size_t i = 0; i < b->n_asks; i++)
            free(b->asks[i]);
        free(b);
    }
}

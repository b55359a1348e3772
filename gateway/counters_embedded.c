/*
 * Frequency counters in the process: for each contact, when it was sent what.
 * Exact for calendar and rolling caps alike, because the times themselves are
 * kept; exact under concurrency, because one loop owns them.  Lost with the
 * process and rebuilt from the store's log of sends.
 */
#include "counters_ops.h"

#include <stdlib.h>

#include <uthash.h>

#include "loop.h"
#include "postern/clock.h"
#include "postern/hash.h"

#define SWEEP_PER_CALL 2

/* uthash is macros: their branches are not this file's.  NOLINTBEGIN(readability-function-size) */

struct send {
    int64_t at_ms;
    uint32_t category_id, subject_id;
    uint8_t class;
    uint8_t channel;
    uint8_t counts; /* enum cap_counting */
};

struct reservation {
    uint64_t id;
    struct tally *tally;
    struct reservation *next; /* of the same contact, the latest first */
    struct send send;
    int64_t since_mono_ms;
    UT_hash_handle hh;
};

/* One contact.  sends ascend by time. */
struct tally {
    uint64_t contact_hash;
    struct send *sends;
    uint32_t n, cap;
    struct reservation *reservations;
    UT_hash_handle hh;
};

struct op {
    struct counters_op base;
    struct loop_task *task;
    counters_cb *cb;
    void *arg;
    struct counters_answer answer;
    struct cap_count counts[CAP_CHECKS_MAX];
};

struct embedded {
    struct counters base;
    struct loop *loop;
    struct tally *tallies;
    struct tally *sweep; /* looked at next for sends that no window reaches any more */
    struct reservation *reservations;
    uint64_t last_id;
    size_t entries;
};

static struct embedded *embedded_of(struct counters *base)
{
    return (struct embedded *)base; /* its first member */
}

/* --- tallies --------------------------------------------------------------------- */

static struct tally *tally_get(struct embedded *c, uint64_t contact_hash)
{
    struct tally *t;

    HASH_FIND(hh, c->tallies, &contact_hash, sizeof(contact_hash), t);
    return t;
}

static struct tally *tally_make(struct embedded *c, uint64_t contact_hash)
{
    struct tally *t = tally_get(c, contact_hash);

    if (t != NULL)
        return t;
    t = xcalloc(1, sizeof(*t));
    t->contact_hash = contact_hash;
    HASH_ADD(hh, c->tallies, contact_hash, sizeof(t->contact_hash), t);
    return t;
}

static void tally_add(struct embedded *c, struct tally *t, struct send s)
{
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 2 : t->cap * 2;
        t->sends = xrealloc(t->sends, t->cap, sizeof(*t->sends));
    }
    uint32_t at = t->n++;
    for (; at > 0 && t->sends[at - 1].at_ms > s.at_ms; at--)
        t->sends[at] = t->sends[at - 1];
    t->sends[at] = s;
    c->entries++;
}

static void tally_prune(struct embedded *c, struct tally *t, int64_t now_ms)
{
    uint32_t old = 0;

    while (old < t->n && t->sends[old].at_ms < now_ms - COUNTERS_KEEP_MS)
        old++;
    if (old > 0) {
        memmove(t->sends, t->sends + old, (t->n - old) * sizeof(*t->sends));
        t->n -= old;
        c->entries -= old;
    }
    if (t->n > 0 || t->reservations != NULL)
        return;
    if (c->sweep == t)
        c->sweep = t->hh.next;
    HASH_DEL(c->tallies, t);
    free(t->sends);
    free(t);
}

static void sweep(struct embedded *c, int64_t now_ms)
{
    for (int i = 0; i < SWEEP_PER_CALL && c->tallies != NULL; i++) {
        struct tally *t = c->sweep != NULL ? c->sweep : c->tallies;
        c->sweep = t->hh.next;
        tally_prune(c, t, now_ms);
    }
}

/* --- counting -------------------------------------------------------------------- */

static bool matches(const struct cap_check *k, const struct send *s)
{
    bool class_fits = k->classes == 0 ? s->counts >= COUNTS_IN_ANY
                                      : s->counts == COUNTS_EVERYWHERE && (k->classes >> s->class & 1) != 0;
    return class_fits && s->at_ms >= k->since_ms && (k->channels == 0 || (k->channels >> s->channel & 1) != 0) &&
           (k->category_id == UINT32_MAX || k->category_id == s->category_id) &&
           (k->subject_id == UINT32_MAX || k->subject_id == s->subject_id);
}

/* Newest first: the send that makes the count reach the limit is the oldest of the `limit` latest. */
static void count_send(const struct cap_check *k, const struct send *s, struct cap_count *out)
{
    if (matches(k, s)) {
        out->count++;
        if (out->count == k->limit)
            out->oldest_ms = s->at_ms;
    }
    if (k->gap_ms > 0 && s->category_id == k->gap_category_id && s->at_ms > out->latest_ms)
        out->latest_ms = s->at_ms;
}

static bool holds(const struct reservation *r)
{
    return clock_mono_ms() - r->since_mono_ms < LIMIT_RESERVATION_MS;
}

static void count(const struct tally *t, const struct cap_check *k, struct cap_count *out)
{
    *out = (struct cap_count){0};
    if (t == NULL)
        return;
    const struct reservation *r = t->reservations;
    uint32_t i = t->n;
    while (r != NULL || i > 0) { /* newest first */
        if (r == NULL || (i > 0 && t->sends[i - 1].at_ms > r->send.at_ms)) {
            count_send(k, &t->sends[--i], out);
            continue;
        }
        if (holds(r))
            count_send(k, &r->send, out);
        r = r->next;
    }
}

static uint64_t reserve(struct embedded *c, const struct counters_request *r)
{
    struct reservation *slot = xcalloc(1, sizeof(*slot));

    slot->id = ++c->last_id;
    slot->tally = tally_make(c, r->contact_hash);
    slot->send = (struct send){
        .at_ms = r->now_ms,
        .category_id = r->category_id,
        .subject_id = r->subject_id,
        .class = (uint8_t)r->class,
        .channel = (uint8_t)r->channel,
        .counts = (uint8_t)r->counts,
    };
    slot->since_mono_ms = clock_mono_ms();
    struct reservation **at = &slot->tally->reservations;
    while (*at != NULL && (*at)->send.at_ms > r->now_ms)
        at = &(*at)->next;
    slot->next = *at;
    *at = slot;
    HASH_ADD(hh, c->reservations, id, sizeof(slot->id), slot);
    return slot->id;
}

static void on_turn_end(void *arg)
{
    struct op *op = arg;
    op->cb(&op->answer, op->arg);
    free(op);
}

static struct counters_op *embedded_ask(struct counters *base, const struct counters_request *r, bool take_slot,
                                        counters_cb *cb, void *arg)
{
    struct embedded *c = embedded_of(base);
    struct op *op = xcalloc(1, sizeof(*op));
    const struct tally *t = tally_get(c, r->contact_hash);
    bool fits = true;

    for (size_t i = 0; i < r->n_checks; i++) {
        count(t, &r->checks[i], &op->counts[i]);
        fits &= !counters_full(&r->checks[i], &op->counts[i], r->now_ms);
    }
    op->base.counters = base;
    op->cb = cb;
    op->arg = arg;
    op->answer = (struct counters_answer){.status = OK, .n_checks = r->n_checks, .counts = op->counts};
    if (take_slot && fits) {
        op->answer.reserved = true;
        op->answer.reservation = reserve(c, r);
    }
    sweep(c, r->now_ms);
    op->task = loop_defer(c->loop, on_turn_end, op);
    return &op->base;
}

static struct reservation *reservation_get(const struct embedded *c, uint64_t id)
{
    struct reservation *r;

    HASH_FIND(hh, c->reservations, &id, sizeof(id), r);
    return r;
}

/* Takes the reservation off its contact; NULL when there is none of that id. */
static struct reservation *reservation_take(struct embedded *c, uint64_t id)
{
    struct reservation *r = reservation_get(c, id);

    if (r == NULL)
        return NULL;
    struct reservation **at = &r->tally->reservations;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    HASH_DEL(c->reservations, r);
    return r;
}

static void embedded_commit(struct counters *base, uint64_t id, int64_t now_ms)
{
    struct embedded *c = embedded_of(base);
    struct reservation *r = reservation_take(c, id);
    if (r == NULL)
        return;
    r->send.at_ms = now_ms;
    tally_add(c, r->tally, r->send);
    free(r);
}

static void embedded_release(struct counters *base, uint64_t id)
{
    struct embedded *c = embedded_of(base);
    struct reservation *r = reservation_take(c, id);
    if (r == NULL)
        return;
    tally_prune(c, r->tally, r->send.at_ms);
    free(r);
}

static void embedded_cancel(struct counters_op *base)
{
    struct op *op = (struct op *)base;
    if (op->answer.reserved)
        embedded_release(base->counters, op->answer.reservation);
    loop_cancel(&op->task);
    free(op);
}

static bool embedded_holds(const struct counters *base, uint64_t id)
{
    const struct reservation *r = reservation_get((const struct embedded *)base, id);
    return r == NULL || holds(r);
}

/* --- start, end, state -------------------------------------------------------------- */

void counters_rebuild(struct counters *base, const struct store_send *s)
{
    struct embedded *c = embedded_of(base);
    struct send send = {
        .at_ms = s->at_ms,
        .category_id = slice_id(s->category),
        .subject_id = s->subject_id,
        .class = (uint8_t)s->class,
        .channel = (uint8_t)s->channel,
        .counts = (uint8_t)(s->counts_in_any_only ? COUNTS_IN_ANY : COUNTS_EVERYWHERE),
    };
    if (s->at_ms != 0) /* an open intent is another process's: it counts when its result is there */
        tally_add(c, tally_make(c, s->contact_hash), send);
}

static void embedded_free(struct counters *base)
{
    struct embedded *c = embedded_of(base);
    struct tally *t, *next_t;
    struct reservation *r, *next_r;

    HASH_ITER(hh, c->reservations, r, next_r)
    {
        /* The analyzer loses the list within uthash.  NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        HASH_DEL(c->reservations, r);
        free(r);
    }
    HASH_ITER(hh, c->tallies, t, next_t)
    {
        HASH_DEL(c->tallies, t); /* the same.  NOLINT(clang-analyzer-unix.Malloc) */
        free(t->sends);
        free(t);
    }
    free(c);
}

static struct counters_state embedded_state(const struct counters *base)
{
    const struct embedded *c = (const struct embedded *)base;

    return (struct counters_state){
        .contacts = HASH_COUNT(c->tallies),
        .entries = c->entries,
        .reservations = HASH_COUNT(c->reservations),
        .bytes = HASH_COUNT(c->tallies) * sizeof(struct tally) + c->entries * sizeof(struct send),
        .up = true,
    };
}

static const struct counters_ops embedded_ops = {
    .ask = embedded_ask,
    .cancel = embedded_cancel,
    .commit = embedded_commit,
    .release = embedded_release,
    .holds = embedded_holds,
    .state = embedded_state,
    .free = embedded_free,
};

struct counters *counters_new(struct loop *loop)
{
    struct embedded *c = xcalloc(1, sizeof(*c));
    c->base.ops = &embedded_ops;
    c->loop = loop;
    return &c->base;
}

/* NOLINTEND(readability-function-size) */

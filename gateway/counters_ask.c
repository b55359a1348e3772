/*
 * A question to the counters in Redis: packed, and its part of a script's answer
 * read.  Knows nothing of how many others go with it.
 */
#include "counters_redis.h"

#include <stdlib.h>

#include "loop.h"
#include "postern/clock.h"

static void pack_check(uint8_t *p, const struct cap_check *k)
{
    counters_put_ms(p, k->since_ms);
    counters_put(p + 6, 4, k->limit > 0 ? (uint64_t)k->limit : 0);
    counters_put_ms(p + 10, k->gap_ms);
    counters_put(p + 16, 4, k->classes);
    counters_put(p + 20, 4, k->channels);
    counters_put(p + 24, 4, k->category_id);
    counters_put(p + 28, 4, k->subject_id);
    counters_put(p + 32, 4, k->gap_category_id);
}

/* Before them how many they are, and how few entries may fill one, whatever they are: with a gap one may. */
static void pack_checks(uint8_t *p, const struct cap_check *checks, size_t n)
{
    uint64_t least = UINT32_MAX;

    for (size_t i = 0; i < n; i++) {
        uint64_t fill = checks[i].gap_ms > 0 || checks[i].limit <= 0 ? 0 : (uint64_t)checks[i].limit;
        least = fill < least ? fill : least;
        pack_check(p + COUNTERS_CHECKS_HEAD + i * COUNTERS_CHECK_BYTES, &checks[i]);
    }
    p[0] = (uint8_t)n;
    counters_put(p + 1, 4, least);
}

static struct shared *shared_of(const struct ask *a)
{
    return (struct shared *)a->base.counters; /* its first member */
}

/* --- answers ----------------------------------------------------------------------------- */

static void tell(struct ask *a, struct counters_answer *answer)
{
    static const struct cap_count none; /* whoever copies no counts copies them from somewhere */
    counters_cb *cb = a->cb;
    void *arg = a->arg;

    if (answer->n_checks == 0)
        answer->counts = &none;
    free(a);
    cb(answer, arg);
}

void ask_down(struct ask *a)
{
    tell(a,
         &(struct counters_answer){.status = ERR_UNAVAILABLE, .reservation = a->slot != NULL ? a->slot->decision : 0});
}

static void on_down(void *arg)
{
    struct ask *a = arg;
    a->task = NULL;
    ask_down(a);
}

static void skip(struct slice *s, size_t n)
{
    *s = (struct slice){s->p + n, s->n - n};
}

static bool take_counts(size_t n_checks, struct slice *rest, struct cap_count *counts)
{
    if (rest->n < 1 + n_checks * COUNTERS_COUNT_BYTES || rest->p[0] != '0')
        return false;
    for (size_t i = 0; i < n_checks; i++) {
        const char *p = rest->p + 1 + i * COUNTERS_COUNT_BYTES;
        counts[i] = (struct cap_count){.count = (int32_t)counters_take(p, 4),
                                       .oldest_ms = (int64_t)counters_take(p + 4, 6),
                                       .latest_ms = (int64_t)counters_take(p + 10, 6)};
    }
    skip(rest, 1 + n_checks * COUNTERS_COUNT_BYTES);
    return true;
}

static bool take_yes(struct slice *rest)
{
    if (rest->n == 0 || rest->p[0] != '1')
        return false;
    skip(rest, 1);
    return true;
}

bool ask_pass(size_t n_checks, struct slice *rest)
{
    struct cap_count counts[CAP_CHECKS_MAX];
    return take_yes(rest) || take_counts(n_checks, rest, counts);
}

bool ask_answer(struct ask *a, struct slice *rest)
{
    struct cap_count counts[CAP_CHECKS_MAX];

    if (a->slot != NULL && take_yes(rest)) {
        a->slot->counted = true;
        tell(a, &(struct counters_answer){.reserved = true, .reservation = a->slot->decision});
        return true;
    }
    if (!take_counts(a->n_checks, rest, counts))
        return false;
    if (a->slot != NULL)
        shared_slot_free(shared_of(a), a->slot);
    tell(a, &(struct counters_answer){.n_checks = a->n_checks, .counts = counts});
    return true;
}

/* --- questions --------------------------------------------------------------------------- */

struct counters_op *ask_new(struct counters *base, const struct counters_request *r, bool take_slot, counters_cb *cb,
                            void *arg)
{
    struct shared *c = (struct shared *)base;
    struct ask *a = xcalloc(1, sizeof(*a) + COUNTERS_CHECKS_HEAD + r->n_checks * COUNTERS_CHECK_BYTES);
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

    a->base.counters = base;
    a->cb = cb;
    a->arg = arg;
    a->contact_hash = r->contact_hash;
    counters_entry_pack(&a->entry, &send);
    a->n_checks = r->n_checks;
    pack_checks(a->checks, r->checks, r->n_checks);
    if (take_slot)
        a->slot = shared_slot_new(c, r, &a->entry);
    if (shared_usable(c))
        turn_ask(c, a);
    else
        a->task = loop_defer(c->loop, on_down, a);
    return &a->base;
}

void ask_cancel(struct counters_op *base)
{
    struct ask *a = (struct ask *)base; /* its first member */

    if (a->task != NULL)
        loop_cancel(&a->task);
    else
        turn_cancel(shared_of(a), a);
    if (a->slot != NULL)
        shared_release(base->counters, a->slot->decision);
    free(a);
}

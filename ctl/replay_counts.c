/*
 * Counting for a replay: for each contact its sends in order of time.  One thread,
 * no clock: a send counts from its decision on, until its result says that it did
 * not leave.  What a check counts is said in postern/policy.h, struct cap_check.
 */
#include "replay_counts.h"

#include <stdlib.h>

#include <uthash.h>

#include "postern/civil.h"

#define KEEP_MS (INT64_C(33) * MS_PER_DAY) /* the longest calendar window, and days for zones */

/* uthash is macros: their branches are not this file's.  NOLINTBEGIN(readability-function-size) */

struct tally {
    uint64_t contact_hash;
    struct replay_send *sends; /* ascend by time */
    size_t n, cap;
    UT_hash_handle hh;
};

struct replay_counts {
    struct tally *tallies;
};

struct replay_counts *replay_counts_new(void)
{
    return xcalloc(1, sizeof(struct replay_counts));
}

void replay_counts_free(struct replay_counts **cp)
{
    struct replay_counts *c = take(cp);
    struct tally *t, *next;

    if (c == NULL)
        return;
    HASH_ITER(hh, c->tallies, t, next)
    {
        HASH_DEL(c->tallies, t); /* the analyzer loses the list.  NOLINT(clang-analyzer-unix.Malloc) */
        free(t->sends);
        free(t);
    }
    free(c);
}

static struct tally *tally_get(const struct replay_counts *c, uint64_t contact_hash)
{
    struct tally *t;

    HASH_FIND(hh, c->tallies, &contact_hash, sizeof(contact_hash), t);
    return t;
}

static bool matches(const struct cap_check *k, const struct replay_send *s)
{
    bool class_fits = k->classes == 0 ? s->counts >= COUNTS_IN_ANY
                                      : s->counts == COUNTS_EVERYWHERE && (k->classes >> s->class & 1) != 0;
    return class_fits && s->at_ms >= k->since_ms && (k->channels == 0 || (k->channels >> s->channel & 1) != 0) &&
           (k->category_id == UINT32_MAX || k->category_id == s->category_id) &&
           (k->subject_id == UINT32_MAX || k->subject_id == s->subject_id);
}

/* Newest first: the send that makes the count reach the limit is the oldest of the `limit` latest. */
static struct cap_count count(const struct tally *t, const struct cap_check *k)
{
    struct cap_count out = {0};

    for (size_t i = t != NULL ? t->n : 0; i > 0; i--) {
        const struct replay_send *s = &t->sends[i - 1];
        if (matches(k, s) && ++out.count == k->limit)
            out.oldest_ms = s->at_ms;
        if (k->gap_ms > 0 && s->category_id == k->gap_category_id && s->at_ms > out.latest_ms)
            out.latest_ms = s->at_ms;
    }
    return out;
}

bool replay_counts_ask(const struct replay_counts *c, uint64_t contact_hash, const struct cap_check *checks, size_t n,
                       int64_t now_ms, struct cap_count *counts)
{
    const struct tally *t = tally_get(c, contact_hash);
    bool full = false;

    for (size_t i = 0; i < n; i++) {
        const struct cap_check *k = &checks[i];
        counts[i] = count(t, k);
        full |= counts[i].count >= k->limit ||
                (k->gap_ms > 0 && counts[i].latest_ms != 0 && now_ms - counts[i].latest_ms < k->gap_ms);
    }
    return full;
}

static void forget_old(struct tally *t, int64_t now_ms)
{
    size_t old = 0;

    while (old < t->n && t->sends[old].at_ms < now_ms - KEEP_MS)
        old++;
    if (old == 0)
        return;
    memmove(t->sends, t->sends + old, (t->n - old) * sizeof(*t->sends));
    t->n -= old;
}

void replay_counts_add(struct replay_counts *c, uint64_t contact_hash, const struct replay_send *s)
{
    struct tally *t = tally_get(c, contact_hash);

    if (t == NULL) {
        t = xcalloc(1, sizeof(*t));
        t->contact_hash = contact_hash;
        HASH_ADD(hh, c->tallies, contact_hash, sizeof(t->contact_hash), t);
    }
    forget_old(t, s->at_ms);
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 2 : t->cap * 2;
        t->sends = xrealloc(t->sends, t->cap, sizeof(*t->sends));
    }
    size_t at = t->n++;
    for (; at > 0 && t->sends[at - 1].at_ms > s->at_ms; at--)
        t->sends[at] = t->sends[at - 1];
    t->sends[at] = *s;
}

void replay_counts_remove(struct replay_counts *c, uint64_t contact_hash, uint64_t decision)
{
    struct tally *t = tally_get(c, contact_hash);

    for (size_t i = t != NULL ? t->n : 0; i > 0; i--) {
        if (t->sends[i - 1].decision != decision)
            continue;
        memmove(t->sends + i - 1, t->sends + i, (t->n - i) * sizeof(*t->sends));
        t->n--;
        return;
    }
}

/* NOLINTEND(readability-function-size) */

/*
 * The law's hours, remembered: a campaign asks the same of thousands of recipients
 * whose regions and zones are the same, and one decision asks it several times.
 * Knows openings, not what they are made of.
 *
 * The one idea: an opening [from, until) that was asked for at one instant is the
 * answer for every instant from there until it ends.  When it ends before it starts
 * (the hours of two laws that do not meet yet) it is one only until it starts.
 */
#include "policy/rule.h"

/* For so long an "end" that was beyond the horizon of the hours may stand. */
#define KEPT_MS (7 * MS_PER_DAY)

/* Two independent hashes; 128 bits of few thousand sets of places meet by no accident. */
struct key {
    uint64_t a, b;
};

static void mix(struct key *k, uint64_t v)
{
    k->a = (k->a ^ v) * UINT64_C(0x9E3779B97F4A7C15);
    k->a ^= k->a >> 29;
    k->b = (k->b + v) * UINT64_C(0xD6E8FEB86659FD93);
    k->b ^= k->b >> 32;
}

static uint64_t region_bits(const struct region *r)
{
    uint64_t v = 0;
    for (const char *c = r->country; *c != '\0'; c++)
        v = v << 8 | (uint8_t)*c;
    for (const char *c = r->division; *c != '\0'; c++)
        v = v << 8 | (uint8_t)*c;
    return v;
}

/* All that the law's hours depend on but the time; a zone that changed in place has other transitions. */
static struct key key_of(const struct facts *f, enum rule rule)
{
    const struct region *regions;
    const struct zone *const *zones;
    size_t n_regions = facts_regions(f, &regions), n_zones = facts_zones(f, &zones);
    const struct policy *p = f->policy;
    struct key k = {(uint64_t)(uintptr_t)p->legal + p->n_legal,
                    (uint64_t)(uintptr_t)p->legal_consents + p->n_legal_consents};
    mix(&k, (uint64_t)rule << 24 | (uint64_t)f->message->category->class << 16 | (uint64_t)f->message->channel << 8 |
                n_regions);
    for (size_t i = 0; i < n_regions; i++)
        mix(&k, region_bits(&regions[i]));
    for (size_t i = 0; i < n_zones; i++)
        mix(&k, (uint64_t)(uintptr_t)zones[i] ^ (uint64_t)(uintptr_t)zones[i]->transitions << 16);
    return k;
}

static bool answers(const struct hours_memo_row *row, const struct key *k, int64_t at_ms)
{
    int64_t last_ms = row->until_ms > row->from_ms ? row->until_ms : row->from_ms;
    return row->key[0] == k->a && row->key[1] == k->b && at_ms >= row->asked_ms && at_ms < last_ms &&
           at_ms - row->asked_ms < KEPT_MS;
}

/* The row that answers, or the one of its bucket that was of no use for longest. */
static struct hours_memo_row *row_of(struct hours_memo *memo, const struct key *k, int64_t at_ms)
{
    struct hours_memo_row *bucket = memo->rows[k->a % N_ELEMENTS(memo->rows)], *stale = bucket;
    for (size_t i = 0; i < N_ELEMENTS(memo->rows[0]); i++) {
        if (answers(&bucket[i], k, at_ms))
            return &bucket[i];
        if (bucket[i].used < stale->used)
            stale = &bucket[i];
    }
    return stale;
}

void policy_forget(const struct policy *p)
{
    if (p->hours_memo != NULL)
        *p->hours_memo = (struct hours_memo){0};
}

struct opening hours_memo_ask(const struct facts *f, enum rule rule, int64_t at_ms, rule_opening *ask)
{
    if (f->policy->hours_memo == NULL)
        return ask(f, at_ms);
    struct key k = key_of(f, rule);
    struct hours_memo_row *row = row_of(f->policy->hours_memo, &k, at_ms);
    if (!answers(row, &k, at_ms)) {
        struct opening o = ask(f, at_ms);
        *row = (struct hours_memo_row){
            .key = {k.a, k.b},
            .asked_ms = at_ms,
            .from_ms = o.from_ms,
            .until_ms = o.until_ms,
            .zone = o.zone,
            .law = o.law,
        };
    }
    row->used = ++f->policy->hours_memo->uses;
    if (row->from_ms <= at_ms)
        return (struct opening){.from_ms = at_ms, .until_ms = row->until_ms};
    return (struct opening){row->from_ms, row->until_ms, row->zone, row->law};
}

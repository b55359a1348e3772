/*
 * What the messages of one submission mean to each other: who does not go without another, and all or nothing.  Knows
 * the places of recipients in a request (message.field), and of a dialect no more.
 */
#include "replay_settle.h"

bool replay_is_kept(enum outcome o)
{
    return o == OUTCOME_DEFER || o == OUTCOME_DIGEST || o == OUTCOME_HOLD;
}

static void give_back(struct replay_counts *counts, struct replay_item *item)
{
    if (item->reserved)
        replay_counts_remove(counts, item->contact_hash, item->id);
    item->reserved = false;
}

/* "personalizations.0.cc.1.email": up to the role; is it a primary recipient? */
static struct slice envelope_of(const struct replay_item *item, bool *primary)
{
    struct slice f = item->field;
    const char *end = f.p != NULL ? memmem(f.p, f.n, ".to.", 4) : NULL;

    *primary = end != NULL;
    if (end == NULL && f.p != NULL)
        end = memmem(f.p, f.n, ".cc.", 4);
    if (end == NULL && f.p != NULL)
        end = memmem(f.p, f.n, ".bcc.", 5);
    return (struct slice){f.p, end != NULL ? (size_t)(end - f.p) : 0};
}

void replay_settle(struct replay_item *items, size_t n, struct replay_counts *counts)
{
    for (size_t i = 0; i < n; i++) {
        struct replay_item *copy = &items[i];
        bool primary, goes = false, stays = false;
        struct slice envelope = envelope_of(copy, &primary);
        if (primary || envelope.n == 0 || copy->gone || copy->decision.outcome != OUTCOME_FORWARD)
            continue;
        for (size_t j = 0; j < n; j++) {
            const struct replay_item *other = &items[j];
            bool is_primary;
            if (!slice_eq(envelope_of(other, &is_primary), envelope) || !is_primary || other->gone)
                continue;
            goes |= other->decision.outcome == OUTCOME_FORWARD;
            stays |= replay_is_kept(other->decision.outcome);
        }
        if (goes)
            continue;
        give_back(counts, copy);
        copy->decision.outcome = copy->decision.would_have = stays ? OUTCOME_DEFER : OUTCOME_BLOCK;
    }
}

bool replay_settle_partial(struct replay_item *items, size_t n, struct replay_counts *counts)
{
    size_t passing = 0;

    for (size_t i = 0; i < n; i++)
        passing += items[i].decision.outcome <= OUTCOME_DIGEST;
    if (passing == 0 || passing == n)
        return false;
    for (size_t i = 0; i < n; i++)
        give_back(counts, &items[i]);
    return true;
}

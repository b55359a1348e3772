/*
 * Which counters: the contract's functions, handed to those that were opened.  Knows
 * what both have in common and nothing of how they count.
 */
#include "counters_ops.h"

#include "postern/hash.h"

uint64_t counters_contact_hash(const struct profile *p, const struct address *to)
{
    struct address folded;
    struct slice parts[2];
    uint64_t hash;

    if (p->known == KNOWN) {
        parts[0] = SLICE("contact:");
        parts[1] = p->contact_id;
    } else {
        address_fold(to, &folded);
        parts[0] = SLICE("address:");
        parts[1] = slice_of(folded.text);
    }
    struct digest d = hash_sha256_parts(parts, N_ELEMENTS(parts));
    memcpy(&hash, d.b, sizeof(hash));
    return hash;
}

struct counters_op *counters_reserve(struct counters *c, const struct counters_request *r, counters_cb *cb, void *arg)
{
    ensure(r->n_checks <= CAP_CHECKS_MAX);
    return c->ops->ask(c, r, true, cb, arg);
}

struct counters_op *counters_peek(struct counters *c, const struct counters_request *r, counters_cb *cb, void *arg)
{
    ensure(r->n_checks <= CAP_CHECKS_MAX);
    return c->ops->ask(c, r, false, cb, arg);
}

void counters_cancel(struct counters_op **opp)
{
    struct counters_op *op = take(opp);
    if (op != NULL)
        op->counters->ops->cancel(op);
}

void counters_commit(struct counters *c, uint64_t reservation, int64_t now_ms)
{
    c->ops->commit(c, reservation, now_ms);
}

void counters_release(struct counters *c, uint64_t reservation)
{
    c->ops->release(c, reservation);
}

bool counters_holds(const struct counters *c, uint64_t reservation)
{
    return c->ops->holds(c, reservation);
}

struct counters_state counters_state(const struct counters *c)
{
    return c->ops->state(c);
}

void counters_free(struct counters **cp)
{
    struct counters *c = take(cp);
    if (c != NULL)
        c->ops->free(c);
}

/*
 * May a change be applied?  (Semantics 3, lifting; semantics 4, what overwrites
 * what.)  Knows what stands and who asks; stores nothing.
 *
 * The one idea: restricting is free, loosening needs a claim at least as strong as
 * what it loosens.
 *
 * Rulings:
 *  - Withdrawing consent is applied always, from anybody, at once.
 *  - Granting where nothing was denied: customer, agent, import, sync and the
 *    organisation may; behaviour and providers never grant.
 *  - Granting over a denial (an opt-out or withdrawal of any overlapping scope, or a
 *    grant still pending): the customer, after the cooling-off; an agent with
 *    evidence, who has acknowledged the banner, after the cooling-off too; others
 *    never.  Inside the cooling-off it is pending.  The cooling-off runs from the
 *    latest of the overlapping denials.
 *  - A consent for the night lifts nothing; a denial of the day denies the night too, one
 *    of the night not the day.
 *  - A grant is recorded under a wider opt-out, and lifts nothing (consent_lifts);
 *    nothing is granted to whom must not be contacted.
 *  - Preferences: an import or sync over a customer's or an agent's value only
 *    restricts; what an application detects never replaces what was said; a weaker
 *    or older claim does not replace a stronger or newer one; equal claims that
 *    differ keep the stricter value, the looser one is pending review.  What replaces
 *    nothing may stand beside (policy/merge.c says which is in force).
 */
#include "policy/rule.h"

static bool imported(enum source s)
{
    return s == SOURCE_IMPORT || s == SOURCE_SYNC;
}

/* --- preferences ---------------------------------------------------------------- */

static bool detected(const struct preference *p)
{
    return p->source == SOURCE_BEHAVIOUR || p->authority == AUTHORITY_BEHAVIOUR || p->confidence != CONFIDENCE_HIGH;
}

static bool looser(const struct preference *before, const struct preference *after)
{
    return merge_looseness(after->key, after->text) >= merge_looseness(before->key, before->text);
}

static enum change_verdict refuse(struct errmsg *e, const char *what, const struct preference *before)
{
    errmsg_set(e, "%s: %s; the value in force is from %s (source %s)", preference_key_name(before->key), what,
               before->authority == AUTHORITY_CONTACT ? "the contact" : "a stronger or equal authority",
               source_name(before->source));
    return CHANGE_REFUSE;
}

enum change_verdict change_preference(const struct preference *before, const struct preference *after, struct errmsg *e)
{
    if (before == NULL || slice_eq(before->text, after->text))
        return CHANGE_APPLY;
    bool said = before->source == SOURCE_CUSTOMER || before->source == SOURCE_AGENT;
    if (imported(after->source) && said)
        return looser(before, after) ? refuse(e, "an import or sync can only restrict", before) : CHANGE_APPLY;
    if (detected(after) && !detected(before))
        return refuse(e, "a detected value never replaces a stated one", before);
    int by = merge_compare(before, after);
    if (by < 0)
        return refuse(e, "a weaker or older value does not replace it", before);
    return by == 0 && looser(before, after) ? CHANGE_PENDING : CHANGE_APPLY;
}

/* --- consent -------------------------------------------------------------------- */

/* An empty category stands for all of them. */
static bool categories_overlap(struct slice a, struct slice b)
{
    return a.n == 0 || b.n == 0 || slice_eq(a, b);
}

static bool channels_overlap(bool any_a, enum channel a, bool any_b, enum channel b)
{
    return any_a || any_b || a == b;
}

static bool opt_out_denies(const struct opt_out *o, const struct consent_change *c)
{
    bool channel = channels_overlap(o->any_channel, o->channel, c->any_channel, c->channel);
    switch (o->scope) {
    case SCOPE_DO_NOT_CONTACT:
    case SCOPE_GLOBAL:
        return true;
    case SCOPE_CHANNEL:
        return channel;
    case SCOPE_CATEGORY:
        return channel && categories_overlap(o->category, c->category);
    case SCOPE_ADDRESS: /* says nothing about what the contact wants */
    case SCOPE_TOPIC:   /* no consent is given by topic */
    case SCOPE_N:
        break;
    }
    return false;
}

struct denial {
    bool any;
    bool for_ever; /* do-not-contact */
    int64_t at_ms; /* the latest */
};

static void deny(struct denial *d, int64_t at_ms)
{
    d->any = true;
    if (at_ms > d->at_ms)
        d->at_ms = at_ms;
}

static struct denial denial_of(const struct profile *p, const struct consent_change *c)
{
    struct denial d = {.any = false};
    for (size_t i = 0; i < p->n_opt_outs; i++) {
        if (!opt_out_denies(&p->opt_outs[i], c))
            continue;
        deny(&d, p->opt_outs[i].at_ms);
        d.for_ever = d.for_ever || p->opt_outs[i].scope == SCOPE_DO_NOT_CONTACT;
    }
    for (size_t i = 0; i < p->n_consents; i++) {
        const struct consent *had = &p->consents[i];
        if (had->state == CONSENT_GRANTED || (had->night && !c->night) ||
            !categories_overlap(had->category, c->category) ||
            !channels_overlap(had->any_channel, had->channel, c->any_channel, c->channel))
            continue;
        /* A pending grant has the time at which it was asked for; the denial before it is the latest opt-out. */
        deny(&d, had->state == CONSENT_PENDING ? p->opted_out_at_ms : had->at_ms);
    }
    return d;
}

static enum change_verdict grant_anew(const struct consent_change *c, struct errmsg *e)
{
    switch (c->source) {
    case SOURCE_CUSTOMER:
    case SOURCE_AGENT:
    case SOURCE_IMPORT:
    case SOURCE_SYNC:
    case SOURCE_ORGANISATION:
        return CHANGE_APPLY;
    case SOURCE_PROVIDER:
    case SOURCE_BEHAVIOUR:
    case SOURCE_N:
        break;
    }
    errmsg_set(e, "consent cannot come from source %s: it is given by the customer, or recorded by an agent or import",
               source_name(c->source));
    return CHANGE_REFUSE;
}

/* Who revoked decides who may lift: staff only with the customer's word on record. */
static bool may_lift(const struct consent_change *c, struct errmsg *e)
{
    if (c->source == SOURCE_CUSTOMER)
        return true;
    if (c->source != SOURCE_AGENT)
        errmsg_set(
            e, "the customer opted out: source %s can only restrict; the customer lifts it, or an agent with evidence",
            source_name(c->source));
    else if (!c->has_evidence)
        errmsg_set(e, "the customer opted out: an agent lifts that only with evidence of the customer's wish");
    else if (!c->banner_acknowledged)
        errmsg_set(e, "the customer opted out: the agent must acknowledge the opt-out banner first");
    return c->source == SOURCE_AGENT && c->has_evidence && c->banner_acknowledged;
}

enum change_verdict change_consent(const struct profile *p, const struct consent_change *c, int64_t now_ms,
                                   int64_t cooling_off_s, struct errmsg *e)
{
    if (c->state == CONSENT_REVOKED)
        return CHANGE_APPLY;
    struct denial denial = denial_of(p, c);
    if (denial.for_ever) {
        errmsg_set(e, "this recipient must not be contacted: no consent lifts that");
        return CHANGE_REFUSE;
    }
    if (denial.any && !may_lift(c, e))
        return CHANGE_REFUSE;
    if (!denial.any && grant_anew(c, e) == CHANGE_REFUSE)
        return CHANGE_REFUSE;
    bool cooling = denial.any && now_ms - denial.at_ms < cooling_off_s * 1000;
    return cooling || c->state == CONSENT_PENDING ? CHANGE_PENDING : CHANGE_APPLY;
}

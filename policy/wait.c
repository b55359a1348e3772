/*
 * Waiting: the first instant at which all timing rules that bind are met together,
 * and what becomes of a message for which that is too late.  Knows openings, not
 * which rule is behind one.
 *
 * The one idea: ask every rule for its opening at an instant; when one names a later
 * instant, ask all of them again there; what does not move any more is the answer.
 *
 * Rulings:
 *  - All timing rules that bind count, also those that are met now: a slot that
 *    frees at night is no use before the morning.  Shadow ones and notices do not.
 *  - Expiry runs from when the sender wanted the message to leave: from now, or from
 *    its own schedule if that is later.  For a digest it runs from the digest; only
 *    the message's own expiry can end before it.
 *  - otp and safety never wait, but for their own sender's schedule.
 *  - Later than the expiry: refused at once, and both times are named.  An agent who
 *    is asked (soft_block) is offered the time all the same.
 *  - A message whose own expiry is past is not sent.
 */
#include "policy/rule.h"

#include "postern/local_rule.h"

/* Two or three openings a day: hours that never meet are given up after about half a year. */
#define ROUNDS_MAX 500

static rule_opening *const openings[RULE_N] = {
    [RULE_SCHEDULE] = rule_schedule_opening,
    [RULE_HOURS_LEGAL] = rule_hours_legal_opening,
    [RULE_NIGHT_CONSENT] = rule_night_consent_opening,
    [RULE_HOURS_ORGANISATION] = rule_hours_organisation_opening,
    [RULE_HOURS_CONTACT] = rule_hours_contact_opening,
    [RULE_CAP_REGULATORY] = rule_cap_regulatory_opening,
    [RULE_CAP_ORGANISATION] = rule_cap_organisation_opening,
    [RULE_CAP_CUSTOMER] = rule_cap_customer_opening,
    [RULE_MIN_GAP] = rule_min_gap_opening,
    [RULE_COUNTERS] = rule_counters_opening,
    [RULE_FRESHNESS] = rule_freshness_opening,
};

bool rule_has_opening(enum rule rule)
{
    return openings[rule] != NULL;
}

struct opening opening_always(int64_t at_ms)
{
    return (struct opening){.from_ms = at_ms, .until_ms = NEVER_MS};
}

struct opening opening_from(int64_t from_ms, int64_t at_ms)
{
    return opening_always(from_ms > at_ms ? from_ms : at_ms);
}

/* One round: *o moves to the latest of the openings at its start. */
static void narrow(const struct facts *f, uint32_t rules, struct opening *o)
{
    const int64_t at_ms = o->from_ms;
    o->until_ms = NEVER_MS;
    for (uint32_t left = rules; left != 0; left &= left - 1) { /* mostly one: rule by rule */
        unsigned rule = (unsigned)__builtin_ctz(left);
        ensure(rule < RULE_N && openings[rule] != NULL);
        struct opening here = openings[rule](f, at_ms);
        if (here.from_ms > o->from_ms) {
            o->from_ms = here.from_ms;
            o->zone = here.zone;
            o->law = here.law;
        }
        if (here.until_ms < o->until_ms)
            o->until_ms = here.until_ms;
    }
}

struct opening rules_open(const struct facts *f, uint32_t rules, int64_t at_ms)
{
    struct opening o = opening_always(at_ms);
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        int64_t before_ms = o.from_ms;
        narrow(f, rules, &o);
        if (o.from_ms == before_ms)
            return o;
        if (o.from_ms == NEVER_MS || o.from_ms > at_ms + HORIZON_MS)
            break;
    }
    return (struct opening){.from_ms = NEVER_MS, .until_ms = NEVER_MS, .law = o.law};
}

/* The rules that a release must meet: those that act on this class and sender.  (A policy in shadow releases none.) */
static uint32_t binding(const struct facts *f)
{
    uint32_t rules = 0;
    for (unsigned rule = 0; rule < RULE_N; rule++) {
        const struct verdict *cell = facts_verdict(f, (enum rule)rule);
        if (openings[rule] != NULL && cell->outcome != OUTCOME_FORWARD && !cell->shadow)
            rules |= RULE_BIT(rule);
    }
    return rules;
}

static int64_t next_digest_in(const struct facts *f, const struct zone *z, bool weekly)
{
    int32_t day = zone_to_local(z, f->now_ms).days;
    for (;; day++) {
        int64_t at_ms = zone_to_utc_ms(z, day, f->policy->digest_minute, ZONE_LATEST);
        if (at_ms > f->now_ms && (!weekly || date_weekday(day) == MONDAY))
            return at_ms;
    }
}

/* In several candidate zones the latest: by then it is digest time in all. */
static struct opening next_digest(const struct facts *f)
{
    const struct zone *const *zones;
    size_t n = facts_zones(f, &zones);
    struct opening latest = {.until_ms = NEVER_MS};
    for (size_t i = 0; i < n; i++) {
        int64_t here = next_digest_in(f, zones[i], f->preferences.digest == DIGEST_WEEKLY);
        if (here > latest.from_ms)
            latest = (struct opening){.from_ms = here, .until_ms = NEVER_MS, .zone = zones[i]};
    }
    return latest;
}

/* The instant from which all that binds is met; whose clock set it, if one did. */
static struct opening next_chance(const struct facts *f, bool digest)
{
    struct opening from = digest ? next_digest(f) : opening_always(f->now_ms);
    struct opening o = rules_open(f, binding(f), from.from_ms);
    if (o.zone == NULL && o.from_ms == from.from_ms)
        o.zone = from.zone;
    return o;
}

static int64_t expires_ms(const struct message *m, int64_t from_ms)
{
    int64_t by_class = (m->not_before_ms > from_ms ? m->not_before_ms : from_ms) + m->category->expiry_s * 1000;
    return m->expires_at_ms != 0 && m->expires_at_ms < by_class ? m->expires_at_ms : by_class;
}

static void refuse(struct decision *d, struct violation *v, enum reason reason)
{
    d->outcome = v->outcome = OUTCOME_BLOCK;
    d->level = v->level = LEVEL_HARD;
    d->reason = v->reason = reason;
    d->overridable = false;
}

static void offer(const struct facts *f, struct decision *d, const struct opening *o)
{
    const struct zone *const *zones;
    facts_zones(f, &zones);
    d->release_at_ms = o->from_ms;
    d->window_end_ms = o->until_ms == NEVER_MS ? 0 : o->until_ms;
    local_rule_format(o->zone != NULL ? o->zone : zones[0], o->from_ms, o->zone == NULL, d->local_rule);
}

/* The message is kept: say until when, or refuse what could not be kept. */
static void keep(const struct facts *f, struct decision *d, struct violation *named)
{
    char from[RFC3339_MAX], to[RFC3339_MAX];
    bool digest = d->outcome == OUTCOME_DIGEST;
    struct opening o = next_chance(f, digest);
    if (o.from_ms == NEVER_MS) {
        violation_detail(named, "empty window: no time at which all hours and caps agree");
        refuse(d, named, named->reason);
        return;
    }
    if (!digest && f->deferrals >= LIMIT_DEFERRALS) {
        violation_detail(named, "deferred %u times before", f->deferrals);
        refuse(d, named, REASON_TOO_MANY_DEFERRALS);
        return;
    }
    d->expires_at_ms = expires_ms(f->message, digest ? o.from_ms : f->now_ms);
    if (o.from_ms > d->expires_at_ms) {
        violation_detail(named, "would pass at %s, expires at %s", rfc3339_format(o.from_ms, from),
                         rfc3339_format(d->expires_at_ms, to));
        refuse(d, named, REASON_WOULD_EXPIRE);
        return;
    }
    offer(f, d, &o);
}

static bool expired(const struct facts *f)
{
    return f->message->expires_at_ms != 0 && f->message->expires_at_ms <= f->now_ms && !f->policy->shadow;
}

void decision_wait(const struct facts *f, struct decision *d, struct violation *named)
{
    const struct message *m = f->message;
    bool never_waits = m->category->expiry_s == 0 && m->not_before_ms <= f->now_ms;
    d->expires_at_ms = never_waits ? 0 : expires_ms(m, f->now_ms);
    if (expired(f) && d->outcome != OUTCOME_BLOCK) {
        struct violation none = {0};
        refuse(d, &none, REASON_EXPIRED);
        return;
    }
    if (d->outcome == OUTCOME_DEFER || d->outcome == OUTCOME_DIGEST) {
        keep(f, d, named);
    } else if (d->outcome == OUTCOME_SOFT_BLOCK && d->timing_only) {
        struct opening o = rules_open(f, binding(f), f->now_ms);
        if (o.from_ms != NEVER_MS)
            offer(f, d, &o);
    }
}

/*
 * What Postern itself does not know right now: counters that do not answer, consent
 * data older than its lease (semantics 10).  Per class the level table says whether
 * that waits or passes; here is only how long it waits.
 *
 * Rulings: a try every 5 minutes.  A verdict that is soft waits three of them, at
 * most 15 minutes, and then asks (soft_block); a message that was deferred before
 * for another cause asks sooner.  A hard one (marketing, collections) goes on
 * waiting, until it expires or was deferred too often.
 */
#include "policy/rule.h"

#define RETRY_MS       (5 * MS_PER_MINUTE)
#define SOFT_WAITS_MAX 3

static struct opening retry_opening(const struct facts *f, bool unknown, int64_t at_ms)
{
    return opening_from(unknown ? f->now_ms + RETRY_MS : 0, at_ms);
}

struct opening rule_counters_opening(const struct facts *f, int64_t at_ms)
{
    return retry_opening(f, f->counters_down, at_ms);
}

struct opening rule_freshness_opening(const struct facts *f, int64_t at_ms)
{
    return retry_opening(f, f->profile_stale, at_ms);
}

static bool degraded(const struct facts *f, enum reason reason, const char *what, struct violation *v)
{
    v->reason = reason;
    violation_detail(v, "%s, deferred %u times before", what, f->deferrals);
    if (v->level == LEVEL_SOFT && v->outcome == OUTCOME_DEFER && f->deferrals >= SOFT_WAITS_MAX)
        v->outcome = OUTCOME_SOFT_BLOCK;
    return true;
}

bool rule_counters(const struct facts *f, struct violation *v)
{
    return degraded(f, REASON_COUNTERS_DOWN, "counters did not answer", v);
}

bool rule_freshness(const struct facts *f, struct violation *v)
{
    return degraded(f, REASON_STALE_CONSENT, "consent data is older than its lease", v);
}

/*
 * What the rules ask of the facts more than once, and words for people.  Knows no
 * rule.  policy_prepare is the one step between gathering facts and deciding.
 */
#include "policy/rule.h"

#include <stdarg.h>
#include <stdio.h>

#include "policy/weekday.h"

static struct merge merged(const struct facts *f)
{
    struct merge g = {.message = f->message};
    merge_offer(&g, f->profile->preferences, f->profile->n_preferences);
    merge_offer(&g, f->policy->defaults, f->policy->n_defaults);
    return g;
}

void policy_prepare(struct facts *f)
{
    const struct merge g = merged(f);
    merge_finish(&g, &f->preferences);
}

void policy_preferences(const struct facts *f, const struct preference *in_force[PREFERENCE_N], uint32_t *flagged)
{
    const struct merge g = merged(f);
    memcpy(in_force, g.best, sizeof g.best);
    *flagged = g.flagged;
}

size_t facts_zones(const struct facts *f, const struct zone *const **out)
{
    static const struct zone utc = {.name = "UTC"};
    static const struct zone *const no_default = &utc;
    if (f->profile->n_zones > 0) {
        *out = f->profile->zones;
        return f->profile->n_zones;
    }
    *out = f->policy->default_zone != NULL ? &f->policy->default_zone : &no_default;
    return 1;
}

size_t facts_regions(const struct facts *f, const struct region **out)
{
    if (f->profile->n_regions > 0) {
        *out = f->profile->regions;
        return f->profile->n_regions;
    }
    *out = &f->policy->default_region;
    return f->message->channel == CHANNEL_EMAIL && f->policy->default_region.country[0] != '\0' ? 1 : 0;
}

void facts_zone_words(const struct facts *f, char out[DECISION_ZONES_MAX])
{
    const struct zone *const *zones;
    size_t n = facts_zones(f, &zones);
    const char *basis = zone_basis_name(f->profile->n_zones > 0 ? f->profile->zone_basis : ZONE_BASIS_DEFAULT);
    char digits[U64_TEXT_MAX];
    size_t at = text_add(out, DECISION_ZONES_MAX, 0, slice_of(zones[0]->name));
    if (n > 1) {
        at = text_add(out, DECISION_ZONES_MAX, at, SLICE(" and "));
        at = text_add(out, DECISION_ZONES_MAX, at, u64_text(n - 1, digits));
        at = text_add(out, DECISION_ZONES_MAX, at, SLICE(" more"));
    }
    at = text_add(out, DECISION_ZONES_MAX, at, SLICE(" ("));
    at = text_add(out, DECISION_ZONES_MAX, at, slice_of(basis));
    text_add(out, DECISION_ZONES_MAX, at, SLICE(")"));
}

const struct verdict *facts_verdict(const struct facts *f, enum rule rule)
{
    return &f->policy->verdicts[rule][f->message->category->class][f->message->sender_kind];
}

bool message_claims_urgency(const struct message *m)
{
    return m->priority == PRIORITY_P0 || m->priority == PRIORITY_P1;
}

/* P0 with an incident lifts more than this; until incidents exist it lifts what P1 does. */
bool facts_urgent(const struct facts *f)
{
    switch (f->preferences.urgency_override) {
    case URGENCY_NONE:
        return false;
    case URGENCY_P0:
        return f->message->priority == PRIORITY_P0;
    case URGENCY_P1:
        return message_claims_urgency(f->message);
    }
    return false;
}

void violation_note(struct violation *v)
{
    v->level = LEVEL_INFO;
    v->outcome = OUTCOME_FORWARD;
}

void violation_detail(struct violation *v, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(v->detail, sizeof v->detail, fmt, args);
    va_end(args);
    ensure(n >= 0);
}

char *local_words(const struct zone *z, int64_t at_ms, char out[LOCAL_WORDS_MAX])
{
    struct local_time local = zone_to_local(z, at_ms);
    snprintf(out, LOCAL_WORDS_MAX, "%s %02d:%02d %s", weekday_name(local.weekday), local.minute / 60, local.minute % 60,
             z->name);
    return out;
}

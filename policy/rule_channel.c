/*
 * The channel that the recipient wants.  Knows the merged preferences only.
 *
 * Rulings: "never" binds whom a channel opt-out binds.  The fallback is as welcome
 * as the primary.  Without a primary no channel is another one.  A message is
 * redirected only to a channel that the contact named as primary or fallback, and
 * for which the submission holds a body.
 */
#include "policy/rule.h"

static bool holds(uint32_t set, enum channel c)
{
    return (set & (UINT32_C(1) << c)) != 0;
}

static bool welcome(const struct preferences *p, enum channel c)
{
    if (holds(p->never, c))
        return false;
    return (p->has_primary == KNOWN && p->primary == c) || (p->has_fallback == KNOWN && p->fallback == c);
}

bool facts_redirect(const struct facts *f, enum channel *to)
{
    const struct preferences *p = &f->preferences;
    const enum channel candidates[] = {p->primary, p->fallback};
    for (size_t i = 0; i < N_ELEMENTS(candidates); i++) {
        *to = candidates[i];
        if (*to != f->message->channel && welcome(p, *to) && holds(f->message->other_channels, *to))
            return true;
    }
    return false;
}

bool rule_channel_never(const struct facts *f, struct violation *v)
{
    if (!holds(f->preferences.never, f->message->channel))
        return false;
    v->reason = REASON_CHANNEL_NEVER;
    violation_detail(v, "never %s", channel_name(f->message->channel));
    return true;
}

bool rule_channel_other(const struct facts *f, struct violation *v)
{
    const struct preferences *p = &f->preferences;
    enum channel c = f->message->channel;
    if (p->has_primary == UNKNOWN || holds(p->never, c) || welcome(p, c))
        return false;
    v->reason = REASON_CHANNEL_OTHER;
    violation_detail(v, "prefers %s, not %s", channel_name(p->primary), channel_name(c));
    return true;
}

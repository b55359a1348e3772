/*
 * Which opt-outs a consent takes back.  The store asks, in the transaction that records the consent; may it be recorded
 * at all is policy/change.c's.
 */
#include "postern/profile.h"

bool consent_lifts(const struct consent *c, const struct opt_out *o)
{
    bool same_channel = c->any_channel ? o->any_channel : !o->any_channel && o->channel == c->channel;
    if (c->state != CONSENT_GRANTED || c->night)
        return false;
    switch (o->scope) {
    case SCOPE_GLOBAL:
        return c->any_channel && c->category.n == 0;
    case SCOPE_CHANNEL:
        return same_channel && c->category.n == 0;
    case SCOPE_CATEGORY:
        return same_channel && c->category.n > 0 && slice_eq(o->category, c->category);
    case SCOPE_DO_NOT_CONTACT:
    case SCOPE_ADDRESS:
    case SCOPE_TOPIC:
    case SCOPE_N:
        break;
    }
    return false;
}

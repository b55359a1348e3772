/*
 * Whom an opt-out or a revoked consent binds among the messages that wait.  Pure.
 * The rules of policy decide again at release in any case; this empties the queue
 * at once, so that it shows what will happen.  It cancels only what would be blocked.
 */
#include "store/binding.h"

static bool is_exempt(enum message_class c)
{
    return c == CLASS_OTP || c == CLASS_SAFETY;
}

static bool global_binds(const struct deferred *d)
{
    if (d->class == CLASS_TRANSACTIONAL)
        return d->channel != CHANNEL_EMAIL;
    return !is_exempt(d->class);
}

static bool channel_matches(const struct opt_out *o, const struct deferred *d)
{
    return o->any_channel || o->channel == d->channel;
}

/* A STOP to one number or brand; a waiting message that does not say its sender is taken for that one's. */
static bool sender_matches(const struct opt_out *o, const struct deferred *d)
{
    return o->sender.n == 0 || d->sender.n == 0 || slice_ieq(o->sender, d->sender);
}

bool binding_opt_out(const struct opt_out *o, const struct deferred *d, bool same_address)
{
    if (!sender_matches(o, d))
        return false;
    switch (o->scope) {
    case SCOPE_DO_NOT_CONTACT:
        return true;
    case SCOPE_ADDRESS:
        return same_address;
    case SCOPE_GLOBAL:
        return global_binds(d);
    case SCOPE_CHANNEL:
        return channel_matches(o, d) && !is_exempt(d->class);
    case SCOPE_CATEGORY:
        return channel_matches(o, d) && !is_exempt(d->class) && slice_eq(o->category, d->category);
    case SCOPE_TOPIC:
        return channel_matches(o, d) && !is_exempt(d->class) && slice_eq(o->topic, d->topic);
    case SCOPE_N:
        break;
    }
    never("a scope");
}

bool binding_revocation(const struct consent *c, const struct deferred *d)
{
    if (!c->any_channel && c->channel != d->channel)
        return false;
    if (c->category.n > 0)
        return slice_eq(c->category, d->category) && !is_exempt(d->class);
    return d->class == CLASS_MARKETING;
}

/*
 * Opt-outs: deny overrides (semantics 3, items 1 to 6).  Knows the opt-outs that
 * stand in the profile and nothing of consent.
 *
 * The one idea: each rule looks only for opt-outs of its own scope, so that a wider
 * one is never lifted by anything narrower, and all that bind are recorded.
 *
 * Rulings:
 *  - An opt-out with a sender (STOP to one number) binds the messages of that
 *    sender; a message that does not say its sender is bound too.
 *  - An address that bounced for ever or complained is one channel's: a dead e-mail
 *    address does not silence the phone.
 *  - A global opt-out and do-not-contact bind every channel whatever the row says.
 */
#include "policy/rule.h"

static bool same_channel(const struct opt_out *o, const struct message *m)
{
    return o->any_channel || o->channel == m->channel;
}

static bool same_sender(const struct opt_out *o, const struct message *m)
{
    return o->sender.n == 0 || m->sender.n == 0 || slice_ieq(o->sender, m->sender);
}

static bool binds(const struct opt_out *o, const struct message *m)
{
    if (!same_sender(o, m))
        return false;
    switch (o->scope) {
    case SCOPE_DO_NOT_CONTACT:
    case SCOPE_GLOBAL:
        return true;
    case SCOPE_ADDRESS:
    case SCOPE_CHANNEL:
        return same_channel(o, m);
    case SCOPE_CATEGORY:
        return same_channel(o, m) && slice_eq_cstr(o->category, m->category->name);
    case SCOPE_TOPIC:
        return same_channel(o, m) && o->topic.n > 0 && slice_eq(o->topic, m->topic);
    case SCOPE_N:
        break;
    }
    return true;
}

static bool opted_out(const struct facts *f, enum opt_out_scope scope, enum reason reason, struct violation *v)
{
    for (size_t i = 0; i < f->profile->n_opt_outs; i++) {
        const struct opt_out *o = &f->profile->opt_outs[i];
        if (o->scope != scope || !binds(o, f->message))
            continue;
        char at[RFC3339_MAX];
        v->reason = reason;
        violation_detail(v, "%s opt-out by %s since %s", opt_out_scope_name(scope), source_name(o->source),
                         rfc3339_format(o->at_ms, at));
        return true;
    }
    return false;
}

bool rule_do_not_contact(const struct facts *f, struct violation *v)
{
    return opted_out(f, SCOPE_DO_NOT_CONTACT, REASON_DO_NOT_CONTACT, v);
}

bool rule_address(const struct facts *f, struct violation *v)
{
    return opted_out(f, SCOPE_ADDRESS, REASON_ADDRESS_INVALID, v);
}

/* "Transactional on every channel but e-mail": a receipt still arrives, with a notice. */
bool rule_opt_out_global(const struct facts *f, struct violation *v)
{
    if (f->message->category->class == CLASS_TRANSACTIONAL && f->message->channel == CHANNEL_EMAIL)
        violation_note(v);
    return opted_out(f, SCOPE_GLOBAL, REASON_OPTED_OUT, v);
}

/* Every class but otp and safety; a carrier that enforces STOP itself would refuse those too. */
bool rule_opt_out_channel(const struct facts *f, struct violation *v)
{
    enum message_class class = f->message->category->class;
    bool carrier = f->policy->carrier_enforces_stop && f->message->channel == CHANNEL_SMS;
    if ((class == CLASS_OTP || class == CLASS_SAFETY) && !carrier)
        violation_note(v);
    return opted_out(f, SCOPE_CHANNEL, REASON_OPTED_OUT_CHANNEL, v);
}

bool rule_opt_out_category(const struct facts *f, struct violation *v)
{
    return opted_out(f, SCOPE_CATEGORY, REASON_OPTED_OUT_CATEGORY, v);
}

bool rule_opt_out_topic(const struct facts *f, struct violation *v)
{
    return opted_out(f, SCOPE_TOPIC, REASON_OPTED_OUT_TOPIC, v);
}

/*
 * Consent and cooling-off (semantics 3, items 7 and 8).  Knows the consents in
 * force, not their history, and nothing of opt-outs.
 *
 * The one idea: of all consents whose scope covers the message the most restrictive
 * is the answer: withdrawn, then pending, then expired, then granted.  So a grant,
 * narrow or wide, never outweighs a withdrawal, and of two systems that disagree the
 * stricter wins.
 *
 * Rulings:
 *  - A category that needs no consent is still stopped by a withdrawal that names it,
 *    as by an opt-out of that category; a wide one leaves it alone, so that nobody
 *    loses a sign-in mail with a newsletter.  For otp and safety it is a notice.
 *  - Pending is not granted, and where an opt-out suffices it still denies.
 *  - An opt-out lifted before the cooling-off was over never activates by itself:
 *    cooling_off binds until it is lifted again, later.  While the opt-out that
 *    started the cooling-off still stands, what was lifted was another one.
 */
#include "policy/rule.h"

/* Weakest claim last: the larger one wins. */
enum standing { STANDING_ABSENT, STANDING_GRANTED, STANDING_EXPIRED, STANDING_PENDING, STANDING_WITHDRAWN };

static enum standing standing_of(const struct consent *c, int64_t now_ms)
{
    switch (c->state) {
    case CONSENT_GRANTED:
        return c->expires_at_ms != 0 && c->expires_at_ms <= now_ms ? STANDING_EXPIRED : STANDING_GRANTED;
    case CONSENT_PENDING:
        return STANDING_PENDING;
    case CONSENT_REVOKED:
        return STANDING_WITHDRAWN;
    }
    return STANDING_WITHDRAWN;
}

/* named_only: consents for every category are passed over. */
static enum standing standing(const struct facts *f, bool named_only, const struct consent **by)
{
    const struct message *m = f->message;
    enum standing worst = STANDING_ABSENT;
    *by = NULL;
    for (size_t i = 0; i < f->profile->n_consents; i++) {
        const struct consent *c = &f->profile->consents[i];
        bool named = slice_eq_cstr(c->category, m->category->name);
        if ((!c->any_channel && c->channel != m->channel) || (!named && (named_only || c->category.n > 0)))
            continue;
        enum standing s = standing_of(c, f->now_ms);
        if (s > worst) {
            worst = s;
            *by = c;
        }
    }
    return worst;
}

static bool denied(enum standing s, enum consent_need need)
{
    switch (s) {
    case STANDING_ABSENT:
    case STANDING_EXPIRED:
        return need == CONSENT_OPT_IN;
    case STANDING_GRANTED:
        return false;
    case STANDING_PENDING:
        return need != CONSENT_NONE;
    case STANDING_WITHDRAWN:
        return true;
    }
    return true;
}

static enum reason reason_of(enum standing s)
{
    switch (s) {
    case STANDING_EXPIRED:
        return REASON_CONSENT_EXPIRED;
    case STANDING_WITHDRAWN:
        return REASON_CONSENT_WITHDRAWN;
    case STANDING_ABSENT:
    case STANDING_GRANTED:
    case STANDING_PENDING:
        break;
    }
    return REASON_NO_CONSENT;
}

static void describe(struct violation *v, enum standing s, const struct consent *by)
{
    char at[RFC3339_MAX];
    if (s == STANDING_EXPIRED)
        violation_detail(v, "consent by %s expired at %s", source_name(by->source),
                         rfc3339_format(by->expires_at_ms, at));
    else if (by != NULL)
        violation_detail(v, "consent %s by %s at %s",
                         s == STANDING_PENDING ? "asked for and not confirmed" : "withdrawn", source_name(by->source),
                         rfc3339_format(by->at_ms, at));
    else
        violation_detail(v, "no consent on record");
}

bool rule_consent(const struct facts *f, struct violation *v)
{
    const struct category *c = f->message->category;
    bool unknown_sms =
        f->profile->known == UNKNOWN && c->class == CLASS_MARKETING && f->message->channel == CHANNEL_SMS;
    enum consent_need need = unknown_sms ? CONSENT_OPT_IN : c->consent;
    const struct consent *by;
    enum standing s = standing(f, need == CONSENT_NONE, &by);
    if (!denied(s, need))
        return false;
    if (need == CONSENT_NONE && (c->class == CLASS_OTP || c->class == CLASS_SAFETY))
        violation_note(v);
    v->reason = reason_of(s);
    describe(v, s, by);
    return true;
}

/* The latest opt-out was lifted, and sooner than the cooling-off allows. */
static bool lifted_too_soon(const struct facts *f)
{
    const struct profile *p = f->profile;
    if (p->opted_out_at_ms == 0 || p->resubscribed_at_ms < p->opted_out_at_ms)
        return false;
    for (size_t i = 0; i < p->n_opt_outs; i++) {
        if (p->opt_outs[i].at_ms == p->opted_out_at_ms)
            return false;
    }
    return p->resubscribed_at_ms - p->opted_out_at_ms < f->policy->cooling_off_s * 1000;
}

bool rule_cooling_off(const struct facts *f, struct violation *v)
{
    const struct consent *by;
    bool pending = standing(f, false, &by) == STANDING_PENDING;
    if (!pending && !lifted_too_soon(f))
        return false;
    char opted_out[RFC3339_MAX];
    v->reason = REASON_COOLING_OFF;
    violation_detail(v, "opted out at %s, asked to come back before the cooling-off was over: to be confirmed",
                     rfc3339_format(f->profile->opted_out_at_ms, opted_out));
    return true;
}

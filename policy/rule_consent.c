/*
 * Consent, cooling-off and asking again (semantics 3, items 7 and 8; rule packs).  Knows the consents in
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
 *  - A law may ask for more than the category, let a consent end sooner than it says
 *    itself, or count only some bases of it; never for less.  Of several the strictest.
 *  - A consent for the night covers the night alone, and one for the day not the night.
 *  - Asking again is asked of a category that asks for consent, whatever its class.  The
 *    law's interval runs from the latest refusal that stands, whoever
 *    it was said to; one that was lifted is none any more, and a dead mailbox never was.
 *  - An opt-out lifted before the cooling-off was over never activates by itself:
 *    cooling_off binds until it is lifted again, later.  While the opt-out that
 *    started the cooling-off still stands, what was lifted was another one.
 */
#include "policy/rule.h"

/* Weakest claim last: the larger one wins. */
enum standing {
    STANDING_ABSENT,
    STANDING_UNACCEPTED, /* given, but not on a basis that the law accepts */
    STANDING_GRANTED,
    STANDING_EXPIRED,
    STANDING_PENDING,
    STANDING_WITHDRAWN
};

/* What of the consents on record is asked for. */
enum asked { ASKED_ALL, ASKED_NAMED /* those for every category are passed over */, ASKED_NIGHT };

/* The answer, what it rests on, and the law that made it so (or NULL). */
struct finding {
    enum standing standing;
    const struct consent *by;
    const struct law *law;
    int64_t expires_ms;
};

static bool is_one_of(struct slice word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (slice_ieq(word, slice_of(words[i])))
            return true;
    }
    return false;
}

/* A law lets it end sooner than it says itself, or does not count it at all. */
static void apply_law(const struct legal_consent *l, struct finding *x)
{
    const struct consent *c = x->by;
    if (!law_span_is_none(&l->expires) && (l->n_basis == 0 || is_one_of(c->basis, l->basis, l->n_basis))) {
        int64_t ends_ms = law_span_after(&l->expires, c->at_ms);
        if (x->expires_ms == 0 || ends_ms < x->expires_ms) {
            x->expires_ms = ends_ms;
            x->law = &l->law;
        }
    }
    if (l->n_accepts > 0 && !is_one_of(c->basis, l->accepts, l->n_accepts)) {
        x->standing = STANDING_UNACCEPTED;
        x->law = &l->law;
    }
}

static struct finding granted(const struct facts *f, const struct consent *c)
{
    struct finding x = {STANDING_GRANTED, c, NULL, c->expires_at_ms};
    for (size_t i = 0; i < f->policy->n_legal_consents; i++) {
        const struct legal_consent *l = &f->policy->legal_consents[i];
        bool looks = !law_span_is_none(&l->expires) || l->n_accepts > 0;
        if (looks && law_in_force(f, &l->law, f->now_ms))
            apply_law(l, &x);
    }
    if (x.standing == STANDING_GRANTED && x.expires_ms != 0 && x.expires_ms <= f->now_ms)
        x.standing = STANDING_EXPIRED;
    return x;
}

static struct finding finding_of(const struct facts *f, const struct consent *c)
{
    switch (c->state) {
    case CONSENT_GRANTED:
        return granted(f, c);
    case CONSENT_PENDING:
        return (struct finding){.standing = STANDING_PENDING, .by = c};
    case CONSENT_REVOKED:
        break;
    }
    return (struct finding){.standing = STANDING_WITHDRAWN, .by = c};
}

static bool covers(const struct consent *c, const struct message *m, enum asked asked)
{
    bool named = slice_eq_cstr(c->category, m->category->name);
    return c->night == (asked == ASKED_NIGHT) && (c->any_channel || c->channel == m->channel) &&
           (named || (asked != ASKED_NAMED && c->category.n == 0));
}

static struct finding find(const struct facts *f, enum asked asked)
{
    struct finding worst = {.standing = STANDING_ABSENT};
    for (size_t i = 0; i < f->profile->n_consents; i++) {
        const struct consent *c = &f->profile->consents[i];
        if (!covers(c, f->message, asked))
            continue;
        struct finding x = finding_of(f, c);
        if (worst.by == NULL || x.standing > worst.standing)
            worst = x;
    }
    return worst;
}

bool facts_night_consent(const struct facts *f)
{
    return find(f, ASKED_NIGHT).standing == STANDING_GRANTED;
}

static bool denied(enum standing s, enum consent_need need)
{
    switch (s) {
    case STANDING_ABSENT:
    case STANDING_UNACCEPTED:
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
    case STANDING_UNACCEPTED:
    case STANDING_GRANTED:
    case STANDING_PENDING:
        break;
    }
    return REASON_NO_CONSENT;
}

static void describe(struct violation *v, const struct finding *x)
{
    char at[RFC3339_MAX];
    const char *law = x->law != NULL ? x->law->name : "";
    const char *sep = law[0] != '\0' ? ": " : "";
    switch (x->standing) {
    case STANDING_ABSENT:
        violation_detail(v, "%s%sno consent on record", law, sep);
        break;
    case STANDING_UNACCEPTED:
        violation_detail(v, "%s%sconsent on the basis \"%.*s\" does not suffice", law, sep, SLICE_ARG(x->by->basis));
        break;
    case STANDING_EXPIRED:
        violation_detail(v, "%s%sconsent by %s expired at %s", law, sep, source_name(x->by->source),
                         rfc3339_format(x->expires_ms, at));
        break;
    case STANDING_GRANTED:
    case STANDING_PENDING:
    case STANDING_WITHDRAWN:
        violation_detail(v, "consent %s by %s at %s",
                         x->standing == STANDING_PENDING ? "asked for and not confirmed" : "withdrawn",
                         source_name(x->by->source), rfc3339_format(x->by->at_ms, at));
        break;
    }
}

/* The strictest need of the category and of the laws that bind; *law: the one that asks for more than the category. */
static enum consent_need need_of(const struct facts *f, const struct law **law)
{
    const struct category *c = f->message->category;
    bool unknown_sms =
        f->profile->known == UNKNOWN && c->class == CLASS_MARKETING && f->message->channel == CHANNEL_SMS;
    enum consent_need need = unknown_sms ? CONSENT_OPT_IN : c->consent;
    *law = NULL;
    for (size_t i = 0; i < f->policy->n_legal_consents; i++) {
        const struct legal_consent *l = &f->policy->legal_consents[i];
        if (l->need > need && law_in_force(f, &l->law, f->now_ms)) {
            need = l->need;
            *law = &l->law;
        }
    }
    return need;
}

bool rule_consent(const struct facts *f, struct violation *v)
{
    const struct category *c = f->message->category;
    const struct law *law;
    enum consent_need need = need_of(f, &law);
    struct finding x = find(f, need == CONSENT_NONE ? ASKED_NAMED : ASKED_ALL);
    if (!denied(x.standing, need))
        return false;
    if (need == CONSENT_NONE && (c->class == CLASS_OTP || c->class == CLASS_SAFETY))
        violation_note(v);
    if (x.law == NULL)
        x.law = law;
    v->reason = reason_of(x.standing);
    describe(v, &x);
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
    bool pending = find(f, ASKED_ALL).standing == STANDING_PENDING;
    if (!pending && !lifted_too_soon(f))
        return false;
    char opted_out[RFC3339_MAX];
    v->reason = REASON_COOLING_OFF;
    violation_detail(v, "opted out at %s, asked to come back before the cooling-off was over: to be confirmed",
                     rfc3339_format(f->profile->opted_out_at_ms, opted_out));
    return true;
}

/* --- asking again ---------------------------------------------------------------- */

static int64_t refused_at_ms(const struct profile *p)
{
    int64_t at_ms = 0;
    for (size_t i = 0; i < p->n_opt_outs; i++) {
        if (p->opt_outs[i].scope != SCOPE_ADDRESS && p->opt_outs[i].at_ms > at_ms)
            at_ms = p->opt_outs[i].at_ms;
    }
    for (size_t i = 0; i < p->n_consents; i++) {
        if (p->consents[i].state == CONSENT_REVOKED && p->consents[i].at_ms > at_ms)
            at_ms = p->consents[i].at_ms;
    }
    return at_ms;
}

bool rule_reask(const struct facts *f, struct violation *v)
{
    int64_t refused_ms = f->message->category->asks_consent ? refused_at_ms(f->profile) : 0, until_ms = f->now_ms;
    const struct law *law = NULL;
    for (size_t i = 0; i < f->policy->n_legal_opt_outs && refused_ms != 0; i++) {
        const struct legal_opt_out *o = &f->policy->legal_opt_outs[i];
        int64_t ends_ms = law_span_after(&o->reask_after, refused_ms);
        if (ends_ms > until_ms && law_reaches(f, &o->law) && law_holds(f, &o->law, f->now_ms)) {
            until_ms = ends_ms;
            law = &o->law;
        }
    }
    if (law == NULL)
        return false;
    char refused[RFC3339_MAX], until[RFC3339_MAX];
    v->reason = REASON_REASK;
    violation_detail(v, "%s: refused at %s, not to be asked before %s", law->name, rfc3339_format(refused_ms, refused),
                     rfc3339_format(until_ms, until));
    return true;
}

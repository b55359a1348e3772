/*
 * When a message may leave: the sender's schedule, the law's hours, the
 * organisation's, the contact's (semantics 6).  Knows windows and zones; which of
 * these binds whom is in the level table.
 *
 * The one idea: a set of hours is met at an instant only when every zone that the
 * contact may be in has its window open then, and open for longer than the margin.
 *
 * Rulings:
 *  - Conversation: [inbound, inbound + 15 min) on the same channel is open whatever
 *    the hours say.  An automated campaign is not a reply: marketing is exempt only
 *    when an agent sends it.
 *  - P1 (and P0, until incidents exist) lifts contact hours, never the law's or the
 *    organisation's, and only as far as the contact's urgency_override goes.
 *  - A law that begins or ends bounds what it says: who waits for it waits no longer
 *    than it lasts.
 *  - Hours for which a law wants a consent of their own (night) are hours like the
 *    law's to whoever has not given it: the message waits for the morning.
 *  - Hours that never open (a contact's own, with days.never taken out) block.
 */
#include "policy/rule.h"

#define CONVERSATION_MS (15 * MS_PER_MINUTE)

static struct opening earlier_end(struct opening o, int64_t until_ms)
{
    if (until_ms < o.until_ms)
        o.until_ms = until_ms;
    return o;
}

/* A window is open until margin_ms before its end: what is handed over later may arrive outside. */
static struct opening open_in_zone(const struct window_set *s, const struct zone *z, int64_t margin_ms, int64_t at_ms)
{
    struct opening o = {.zone = z};
    o.from_ms = window_next(s, z, at_ms, &o.until_ms);
    while (o.from_ms != NEVER_MS && o.until_ms != NEVER_MS && o.from_ms >= o.until_ms - margin_ms) {
        o.from_ms = window_next(s, z, o.until_ms, &o.until_ms);
        if (o.from_ms > at_ms + HORIZON_MS) /* no window is longer than the margin */
            o.from_ms = o.until_ms = NEVER_MS;
    }
    if (o.until_ms != NEVER_MS)
        o.until_ms -= margin_ms;
    return o;
}

static void meet(struct opening *o, struct opening here)
{
    if (here.from_ms > o->from_ms) {
        o->from_ms = here.from_ms;
        o->zone = here.zone;
        o->law = here.law;
    }
    *o = earlier_end(*o, here.until_ms);
}

/* Narrows *o, which starts no earlier than what was asked for, by s in every candidate zone. */
static void narrow(const struct facts *f, const struct window_set *s, int64_t margin_s, struct opening *o)
{
    const struct zone *const *zones;
    size_t n = facts_zones(f, &zones);
    for (size_t i = 0; i < n && o->from_ms != NEVER_MS; i++)
        meet(o, open_in_zone(s, zones[i], margin_s * 1000, o->from_ms));
}

static bool is_reply(const struct facts *f, int64_t at_ms)
{
    int64_t inbound_ms = f->profile->last_inbound_ms[f->message->channel];
    bool campaign = f->message->category->class == CLASS_MARKETING && f->message->sender_kind == SENDER_AUTOMATED;
    return inbound_ms != 0 && !campaign && at_ms >= inbound_ms && at_ms < inbound_ms + CONVERSATION_MS;
}

/* Closed hours are open to a reply, while the conversation lasts. */
static struct opening or_conversation(const struct facts *f, struct opening hours, int64_t at_ms)
{
    if (hours.from_ms <= at_ms || !is_reply(f, at_ms))
        return hours;
    struct opening o = opening_always(at_ms);
    return earlier_end(o, f->profile->last_inbound_ms[f->message->channel] + CONVERSATION_MS);
}

/* --- the sender's schedule ----------------------------------------------------- */

struct opening rule_schedule_opening(const struct facts *f, int64_t at_ms)
{
    return opening_from(f->message->not_before_ms, at_ms);
}

bool rule_schedule(const struct facts *f, struct violation *v)
{
    char at[RFC3339_MAX];
    v->reason = REASON_SCHEDULED;
    violation_detail(v, "not before %s", rfc3339_format(f->message->not_before_ms, at));
    return true;
}

/* --- legal hours --------------------------------------------------------------- */

/* A law that binds, by the clock of one zone. */
struct dated_hours {
    const struct law *law;
    const struct window_set *set;
    const struct zone *zone;
    int64_t margin_ms;
    struct law_dates dates;
};

/* What it leaves open at or after at_ms, while it holds. */
static struct opening open_while_held(const struct dated_hours *h, int64_t at_ms)
{
    struct opening o = open_in_zone(h->set, h->zone, h->margin_ms, at_ms);
    if (o.from_ms >= h->dates.to_ms)
        o = (struct opening){.from_ms = h->dates.to_ms, .until_ms = NEVER_MS, .zone = h->zone};
    else if (o.until_ms >= h->dates.to_ms)
        o.until_ms = NEVER_MS;
    o.law = h->law;
    return o;
}

/* What it leaves open: all before it begins and after it has ended. */
static struct opening open_by_law(const struct dated_hours *h, int64_t at_ms)
{
    struct opening o = opening_always(at_ms);
    if (at_ms >= h->dates.to_ms)
        return o;
    if (at_ms >= h->dates.from_ms)
        return open_while_held(h, at_ms);
    struct opening first = open_while_held(h, h->dates.from_ms);
    return earlier_end(o, first.from_ms > h->dates.from_ms ? h->dates.from_ms : first.until_ms);
}

/* Narrows *o by a law that binds, in every candidate zone. */
static void narrow_by(const struct facts *f, const struct law *law, const struct window_set *s, int64_t margin_s,
                      struct opening *o)
{
    const struct zone *const *zones;
    size_t n = facts_zones(f, &zones);
    for (size_t i = 0; i < n && o->from_ms != NEVER_MS; i++) {
        struct dated_hours h = {law, s, zones[i], margin_s * 1000, law_dates(law, zones[i])};
        meet(o, open_by_law(&h, o->from_ms));
    }
}

static void narrow_by_law(const struct facts *f, const struct legal_window *w, struct opening *o)
{
    narrow_by(f, &w->law, &w->set, w->counts_delivery ? f->policy->delivery_margin_s : f->policy->margin_s, o);
}

static struct opening open_by_all_laws(const struct facts *f, int64_t at_ms)
{
    struct opening o = opening_always(at_ms);
    for (size_t i = 0; i < f->policy->n_legal; i++) {
        if (law_binds(f, &f->policy->legal[i].law))
            narrow_by_law(f, &f->policy->legal[i], &o);
    }
    return o;
}

struct opening rule_hours_legal_opening(const struct facts *f, int64_t at_ms)
{
    if (f->policy->n_legal == 0)
        return opening_always(at_ms);
    return or_conversation(f, hours_memo_ask(f, RULE_HOURS_LEGAL, at_ms, open_by_all_laws), at_ms);
}

/* Whose law is it that names the time?  Of two that do, the first in the order of packs. */
static const char *law_behind(const struct facts *f, enum rule rule)
{
    const struct law *law = rules_open(f, RULE_BIT(rule), f->now_ms).law;
    ensure(law != NULL);
    return law->name;
}

static void describe_opening(const struct facts *f, struct violation *v, const char *whose)
{
    const struct zone *const *zones;
    char words[LOCAL_WORDS_MAX];
    facts_zones(f, &zones);
    if (v->passes_at_ms != 0) {
        violation_detail(v, "%s: next open %s", whose, local_words(zones[0], v->passes_at_ms, words));
        return;
    }
    violation_detail(v, "empty window: %s never open in every zone", whose);
    if (v->outcome != OUTCOME_FORWARD) {
        v->level = LEVEL_HARD;
        v->outcome = OUTCOME_BLOCK;
    }
}

bool rule_hours_legal(const struct facts *f, struct violation *v)
{
    v->reason = REASON_LEGAL_HOURS;
    describe_opening(f, v, law_behind(f, v->rule));
    return true;
}

/* --- nights that need a consent of their own ----------------------------------- */

static bool asks_for_night(const struct facts *f, const struct legal_consent *c)
{
    return law_binds(f, &c->law) && !window_set_is_empty(&c->night);
}

static struct opening open_by_nights(const struct facts *f, int64_t at_ms)
{
    struct opening o = opening_always(at_ms);
    for (size_t i = 0; i < f->policy->n_legal_consents; i++) {
        const struct legal_consent *c = &f->policy->legal_consents[i];
        if (asks_for_night(f, c))
            narrow_by(f, &c->law, &c->night, f->policy->margin_s, &o);
    }
    return o;
}

struct opening rule_night_consent_opening(const struct facts *f, int64_t at_ms)
{
    bool asked = false;
    for (size_t i = 0; i < f->policy->n_legal_consents && !asked; i++)
        asked = asks_for_night(f, &f->policy->legal_consents[i]);
    if (!asked || facts_night_consent(f))
        return opening_always(at_ms);
    return or_conversation(f, hours_memo_ask(f, RULE_NIGHT_CONSENT, at_ms, open_by_nights), at_ms);
}

bool rule_night_consent(const struct facts *f, struct violation *v)
{
    v->reason = REASON_NIGHT_CONSENT;
    describe_opening(f, v, law_behind(f, v->rule));
    return true;
}

/* --- the organisation's hours -------------------------------------------------- */

struct opening rule_hours_organisation_opening(const struct facts *f, int64_t at_ms)
{
    const struct window_set *s = &f->policy->organisation_hours[f->message->category->class][f->message->channel];
    struct opening o = opening_always(at_ms);
    if (!window_set_is_empty(s))
        narrow(f, s, f->policy->margin_s, &o);
    return or_conversation(f, o, at_ms);
}

bool rule_hours_organisation(const struct facts *f, struct violation *v)
{
    v->reason = REASON_QUIET_HOURS;
    describe_opening(f, v, "organisation's hours");
    return true;
}

/* --- the contact's hours ------------------------------------------------------- */

struct opening rule_hours_contact_opening(const struct facts *f, int64_t at_ms)
{
    struct opening o = opening_always(at_ms);
    if (f->preferences.hours_known == UNKNOWN || facts_urgent(f))
        return o;
    narrow(f, &f->preferences.hours, f->policy->margin_s, &o);
    return or_conversation(f, o, at_ms);
}

bool rule_hours_contact(const struct facts *f, struct violation *v)
{
    v->reason = REASON_CONTACT_HOURS;
    describe_opening(f, v, "contact's hours");
    return true;
}

/* --- for those who ask --------------------------------------------------------- */

size_t policy_hours(const struct facts *f, struct hours_in_force *out, size_t max)
{
    const struct policy *p = f->policy;
    const struct window_set *organisation = &p->organisation_hours[f->message->category->class][f->message->channel];
    struct opening o[2] = {opening_always(f->now_ms), opening_always(f->now_ms)};
    size_t n = 0;
    for (size_t i = 0; i < p->n_legal && n < max; i++) {
        struct opening law = opening_always(f->now_ms);
        if (!law_in_force(f, &p->legal[i].law, f->now_ms))
            continue;
        narrow_by_law(f, &p->legal[i], &law);
        out[n++] = (struct hours_in_force){"legal", &p->legal[i].law, &p->legal[i].set, law.from_ms, law.until_ms};
    }
    if (!window_set_is_empty(organisation) && n < max) {
        narrow(f, organisation, p->margin_s, &o[0]);
        out[n++] = (struct hours_in_force){"organisation", NULL, organisation, o[0].from_ms, o[0].until_ms};
    }
    if (f->preferences.hours_known == KNOWN && n < max) {
        narrow(f, &f->preferences.hours, p->margin_s, &o[1]);
        out[n++] = (struct hours_in_force){"contact", NULL, &f->preferences.hours, o[1].from_ms, o[1].until_ms};
    }
    return n;
}

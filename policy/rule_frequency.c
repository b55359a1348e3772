/*
 * Frequency caps (semantics 5): which caps match a message, what a counter must
 * count for each, and what its answer means.  Counts nothing itself.
 *
 * The one idea: a cap is made concrete as a struct cap_check (since when, how many,
 * of what); rules only compare counts with limits, so count >= limit is written once.
 *
 * Rulings:
 *  - Calendar windows run on the contact's clock; of several candidate zones the
 *    window starts with the earliest and ends with the latest.  After a change of
 *    zone the running day keeps the old one.  Weeks start on Monday.
 *  - A rolling window is (now - span, now]: a slot is free exactly one span after the
 *    send that held it.
 *  - The contact's own cap counts what it was stated for: one for SMS counts SMS.  One
 *    for a topic counts the topic's category, which is more.
 *  - The organisation's caps bind the categories that obey caps; a law's cap binds the
 *    classes that the law names, and no category can be taken out of it.
 *  - A law's cap over the other channels (a second channel in one week) counts what was
 *    sent there, and is full with its limit like every other.
 *  - The contact's min_gap is for P2 and P3; an organisation's is for all.
 *  - Support of low importance (P3) that would wait for a slot goes into the digest.
 *  - Counts that were not asked for yet violate nothing.
 */
#include "policy/rule.h"

#include <stdio.h>

/* --- windows ------------------------------------------------------------------- */

struct span {
    int64_t since_ms, next_ms;
};

static int32_t month_start(int32_t days, int32_t months_later)
{
    struct date d = date_from_days(days);
    int32_t month = d.year * 12 + d.month - 1 + months_later;
    return date_to_days((struct date){month / 12, month % 12 + 1, 1});
}

static struct span calendar_span(const struct zone *z, enum cap_period period, int64_t now_ms)
{
    struct local_time local = zone_to_local(z, now_ms);
    int32_t first = local.days, after = local.days + 1;
    switch (period) {
    case PERIOD_DAY:
        break;
    case PERIOD_WEEK:
        first = local.days - (int32_t)local.weekday;
        after = first + 7;
        break;
    case PERIOD_MONTH:
        first = month_start(local.days, 0);
        after = month_start(local.days, 1);
        break;
    }
    return (struct span){zone_to_utc_ms(z, first, 0, ZONE_EARLIEST), zone_to_utc_ms(z, after, 0, ZONE_LATEST)};
}

/* The zone that the running day keeps, or NULL. */
static const struct zone *kept_zone(const struct facts *f)
{
    const struct profile *p = f->profile;
    if (p->previous_zone == NULL)
        return NULL;
    struct span day = calendar_span(p->previous_zone, PERIOD_DAY, f->now_ms);
    bool changed_today = p->zone_changed_at_ms >= day.since_ms && p->zone_changed_at_ms < day.next_ms;
    return changed_today ? p->previous_zone : NULL;
}

static struct span widest_span(const struct facts *f, enum cap_period period)
{
    const struct zone *kept = kept_zone(f);
    if (kept != NULL)
        return calendar_span(kept, period, f->now_ms);
    const struct zone *const *zones;
    size_t n = facts_zones(f, &zones);
    struct span widest = calendar_span(zones[0], period, f->now_ms);
    for (size_t i = 1; i < n; i++) {
        struct span s = calendar_span(zones[i], period, f->now_ms);
        if (s.since_ms < widest.since_ms)
            widest.since_ms = s.since_ms;
        if (s.next_ms > widest.next_ms)
            widest.next_ms = s.next_ms;
    }
    return widest;
}

/* --- which caps match ---------------------------------------------------------- */

uint32_t message_subject_id(const struct message *m)
{
    return m->topic.n > 0 ? slice_id(m->topic) : m->category->id;
}

bool cap_concerns(const struct cap *c, enum message_class class, enum channel channel)
{
    uint32_t classes = c->law != NULL ? c->law->classes : c->classes;
    uint32_t channels = c->law != NULL ? c->law->channels : c->channels;
    return (classes == 0 || (classes >> class & 1) != 0) && (channels == 0 || (channels >> channel & 1) != 0);
}

static bool matches(const struct facts *f, const struct cap *c)
{
    const struct message *m = f->message;
    if (!cap_concerns(c, m->category->class, m->channel) || (c->category != NULL && c->category->id != m->category->id))
        return false;
    return c->law != NULL ? law_in_force(f, c->law, f->now_ms) : m->category->obeys_cap;
}

/* The order of enum message_class is the rank: a larger one is lower. */
static int32_t limit_for(const struct cap *c, enum message_class class)
{
    int32_t kept = c->reserves && class > c->reserve_class ? c->reserve_slots : 0;
    return c->limit > kept ? c->limit - kept : 0;
}

static struct cap_check concrete(const struct facts *f, const struct cap *c)
{
    const struct message *m = f->message;
    struct span s = {f->now_ms - c->rolling_s * 1000 + 1, 0};
    if (c->kind == CAP_CALENDAR)
        s = widest_span(f, c->period);
    uint32_t own_channel = UINT32_C(1) << m->channel;
    bool own_category = c->category != NULL || c->per_category;
    bool gap = c->min_gap_s > 0 && !(c->origin == CAP_OF_CUSTOMER && message_claims_urgency(m));
    return (struct cap_check){
        .cap = c,
        .since_ms = s.since_ms,
        .next_ms = s.next_ms,
        .limit = limit_for(c, m->category->class),
        .classes = c->classes,
        .channels = c->other_channels ? c->channels & ~own_channel : c->channels,
        .category_id = own_category ? m->category->id : UINT32_MAX,
        .subject_id = c->per_subject ? message_subject_id(m) : UINT32_MAX,
        .gap_ms = gap ? c->min_gap_s * 1000 : 0,
        .gap_category_id = m->category->id,
    };
}

static void add_check(struct facts *f, const struct cap *c)
{
    if (!matches(f, c))
        return;
    ensure(f->n_checks < CAP_CHECKS_MAX);
    f->checks[f->n_checks++] = concrete(f, c);
}

static struct cap customer_cap(const struct facts *f, enum cap_period period)
{
    static const char *const names[] = {"customer-day", "customer-week", "customer-month"};
    enum specificity scope = f->preferences.max_scope[period];
    bool of_category = scope == SPECIFICITY_CATEGORY || scope == SPECIFICITY_TOPIC;
    return (struct cap){
        .name = names[period],
        .origin = CAP_OF_CUSTOMER,
        .kind = CAP_CALENDAR,
        .period = period,
        .limit = f->preferences.max_per[period],
        .channels = scope == SPECIFICITY_CHANNEL ? UINT32_C(1) << f->message->channel : 0,
        .category = of_category ? f->message->category : NULL,
        .min_gap_s = f->policy->customer_min_gap_s,
    };
}

/* The customer's come first: policy_check keeps the others few enough to fit behind them. */
void policy_caps(struct facts *f)
{
    f->n_checks = 0;
    for (unsigned period = 0; period < N_ELEMENTS(f->customer_caps); period++) {
        if (f->preferences.max_per[period] < 0 || !f->message->category->obeys_cap || facts_urgent(f))
            continue;
        f->customer_caps[period] = customer_cap(f, (enum cap_period)period);
        add_check(f, &f->customer_caps[period]);
    }
    for (size_t i = 0; i < f->policy->n_caps; i++)
        add_check(f, &f->policy->caps[i]);
}

/* --- what the counts mean ------------------------------------------------------ */

/* When a slot of check i is free again; 0: there is one now. */
static int64_t slot_at_ms(const struct facts *f, size_t i)
{
    const struct cap_check *check = &f->checks[i];
    if (f->counts[i].count < check->limit)
        return 0;
    if (check->limit <= 0)
        return NEVER_MS;
    return check->cap->kind == CAP_CALENDAR ? check->next_ms : f->counts[i].oldest_ms + check->cap->rolling_s * 1000;
}

/* The check of that origin whose slot comes last; n_checks: all have one. */
static size_t fullest(const struct facts *f, enum cap_origin origin, int64_t *slot_ms)
{
    size_t at = f->n_checks;
    *slot_ms = 0;
    for (size_t i = 0; f->counts_known == KNOWN && i < f->n_checks; i++) {
        int64_t here = slot_at_ms(f, i);
        if (f->checks[i].cap->origin == origin && here > *slot_ms) {
            *slot_ms = here;
            at = i;
        }
    }
    return at;
}

static struct opening cap_opening(const struct facts *f, enum cap_origin origin, int64_t at_ms)
{
    int64_t slot_ms;
    fullest(f, origin, &slot_ms);
    return opening_from(slot_ms, at_ms);
}

struct opening rule_cap_regulatory_opening(const struct facts *f, int64_t at_ms)
{
    return cap_opening(f, CAP_OF_REGULATION, at_ms);
}

struct opening rule_cap_organisation_opening(const struct facts *f, int64_t at_ms)
{
    return cap_opening(f, CAP_OF_ORGANISATION, at_ms);
}

struct opening rule_cap_customer_opening(const struct facts *f, int64_t at_ms)
{
    return cap_opening(f, CAP_OF_CUSTOMER, at_ms);
}

/* "Daily" for the prompt, "today" for the detail. */
static const char *span_words(const struct cap *c, char name[CAP_SPAN_MAX], char span[CAP_SPAN_MAX])
{
    static const char *const calendar[][2] = {{"Daily", "today"}, {"Weekly", "this week"}, {"Monthly", "this month"}};
    if (c->kind == CAP_CALENDAR) {
        snprintf(name, CAP_SPAN_MAX, "%s", calendar[c->period][0]);
        return calendar[c->period][1];
    }
    bool days = c->rolling_s % 86400 == 0 && c->rolling_s > 86400;
    bool hours = c->rolling_s % 3600 == 0;
    int64_t n = days ? c->rolling_s / 86400 : hours ? c->rolling_s / 3600 : c->rolling_s / 60;
    snprintf(name, CAP_SPAN_MAX, "%lld-%s", (long long)(n % 100000), days ? "day" : hours ? "hour" : "minute");
    snprintf(span, CAP_SPAN_MAX, "in %lld %s", (long long)(n % 100000), days ? "d" : hours ? "h" : "min");
    return span;
}

/* Low importance need not wait for a slot of its own. */
static void fold_unimportant(const struct facts *f, struct violation *v)
{
    bool unimportant = f->message->category->class == CLASS_SUPPORT && f->message->priority == PRIORITY_P3;
    if (unimportant && v->level == LEVEL_SOFT && v->outcome == OUTCOME_DEFER && v->passes_at_ms != 0)
        v->outcome = OUTCOME_DIGEST;
}

static bool cap_full(const struct facts *f, enum cap_origin origin, enum reason reason, struct violation *v)
{
    int64_t slot_ms;
    size_t i = fullest(f, origin, &slot_ms);
    ensure(i < f->n_checks); /* the rule fires when there is one */
    char span[CAP_SPAN_MAX];
    const struct cap_check *check = &f->checks[i];
    const char *when = span_words(check->cap, v->cap_span, span);
    v->reason = reason;
    v->cap_limit = check->limit;
    violation_detail(v, "cap %s: %d of %d %s", check->cap->name, f->counts[i].count, check->limit, when);
    fold_unimportant(f, v);
    return true;
}

bool rule_cap_regulatory(const struct facts *f, struct violation *v)
{
    return cap_full(f, CAP_OF_REGULATION, REASON_CAP_REGULATORY, v);
}

bool rule_cap_organisation(const struct facts *f, struct violation *v)
{
    return cap_full(f, CAP_OF_ORGANISATION, REASON_CAP_ORGANISATION, v);
}

bool rule_cap_customer(const struct facts *f, struct violation *v)
{
    return cap_full(f, CAP_OF_CUSTOMER, REASON_CAP_CUSTOMER, v);
}

struct opening rule_min_gap_opening(const struct facts *f, int64_t at_ms)
{
    int64_t over_ms = 0;
    for (size_t i = 0; f->counts_known == KNOWN && i < f->n_checks; i++) {
        /* Nothing sent yet is 0, long ago. */
        int64_t here = f->counts[i].latest_ms + f->checks[i].gap_ms;
        if (f->checks[i].gap_ms > 0 && here > over_ms)
            over_ms = here;
    }
    return opening_from(over_ms, at_ms);
}

bool rule_min_gap(const struct facts *f, struct violation *v)
{
    char at[RFC3339_MAX];
    v->reason = REASON_MIN_GAP;
    violation_detail(v, "category %s: not before %s", f->message->category->name, rfc3339_format(v->passes_at_ms, at));
    fold_unimportant(f, v);
    return true;
}

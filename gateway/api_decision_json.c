/*
 * A decision that was only asked for, as JSON: outcome, what every rule said, and
 * the facts that the rules read.  Reads the policy's structs, decides nothing.
 */
#include "api_decisions.h"

#include <stdio.h>

#include "api_law.h"
#include "api_preferences.h"

#define HOURS_MAX 32 /* shown of one message: packs, organisation, contact */

/* --- rules ------------------------------------------------------------------------------ */

static const struct violation *violation_of(const struct decision *d, enum rule rule)
{
    for (size_t i = 0; i < d->n_violations; i++) {
        if (d->violations[i].rule == rule)
            return &d->violations[i];
    }
    return NULL;
}

/* "pass", "does not bind", "notice", or what the rule alone would lead to. */
static const char *verdict_of(const struct facts *f, const struct decision *d, enum rule rule)
{
    const struct violation *v = violation_of(d, rule);
    const struct message *m = f->message;

    if (v != NULL)
        return v->outcome == OUTCOME_FORWARD ? "notice" : outcome_name(v->outcome);
    bool binds = f->policy->verdicts[rule][m->category->class][m->sender_kind].level != LEVEL_NONE;
    return binds ? "pass" : "does not bind";
}

static void put_rules(struct buf *b, const struct facts *f, const struct decision *d)
{
    api_put_in(b, "rules", '[');
    for (unsigned i = 0; i < RULE_N; i++) {
        enum rule rule = (enum rule)i;
        const struct violation *v = violation_of(d, rule);
        api_put_open(b, '{');
        api_put_word(b, "rule", rule_name(rule));
        api_put_word(b, "verdict", verdict_of(f, d, rule));
        if (v != NULL && v->shadow)
            api_put_flag(b, "shadow", true);
        api_put_close(b, '}');
    }
    api_put_close(b, ']');
}

static void put_violations(struct buf *b, const struct decision *d)
{
    api_put_in(b, "violations", '[');
    for (size_t i = 0; i < d->n_violations; i++) {
        const struct violation *v = &d->violations[i];
        api_put_open(b, '{');
        api_put_word(b, "rule", rule_name(v->rule));
        api_put_word(b, "reason", reason_name(v->reason));
        api_put_word(b, "level", level_name(v->level));
        api_put_word(b, "severity", severity_name(v->severity));
        api_put_word(b, "outcome", outcome_name(v->outcome));
        api_put_flag(b, "shadow", v->shadow);
        api_put_word(b, "detail", v->detail);
        api_put_time(b, "passes_at", v->passes_at_ms);
        api_put_close(b, '}');
    }
    api_put_close(b, ']');
}

/* --- facts ------------------------------------------------------------------------------ */

static void put_contact(struct buf *b, const struct profile *p)
{
    api_put_in(b, "contact", '{');
    api_put_flag(b, "known", p->known == KNOWN);
    api_put_text(b, "id", p->contact_id);
    api_put_text(b, "account", p->account);
    api_put_in(b, "regions", '[');
    for (size_t i = 0; i < p->n_regions; i++) {
        char region[REGION_MAX];
        api_put_item(b, slice_of(region_format(&p->regions[i], region)));
    }
    api_put_close(b, ']');
    api_put_time(b, "opted_out_at", p->opted_out_at_ms);
    api_put_time(b, "resubscribed_at", p->resubscribed_at_ms);
    api_put_close(b, '}');
}

/* Where the person may be; nothing known: the organisation's default. */
static void put_zones(struct buf *b, const struct facts *f)
{
    const struct profile *p = f->profile;

    api_put_in(b, "zone", '{');
    api_put_word(b, "basis", zone_basis_name(p->n_zones > 0 ? p->zone_basis : ZONE_BASIS_DEFAULT));
    api_put_in(b, "candidates", '[');
    for (size_t i = 0; i < p->n_zones; i++)
        api_put_item(b, slice_of(p->zones[i]->name));
    if (p->n_zones == 0 && f->policy->default_zone != NULL)
        api_put_item(b, slice_of(f->policy->default_zone->name));
    api_put_close(b, ']');
    api_put_close(b, '}');
}

static void put_stated(struct buf *b, const struct profile *p)
{
    api_put_in(b, "preferences", '[');
    for (size_t i = 0; i < p->n_preferences; i++) {
        api_put_open(b, '{');
        api_put_word(b, "key", preference_key_name(p->preferences[i].key));
        api_put_text(b, "scope", p->preferences[i].scope);
        api_preference_put(b, &p->preferences[i]);
        api_put_close(b, '}');
    }
    api_put_close(b, ']');
}

static void put_in_force(struct buf *b, const struct facts *f)
{
    const struct preference *in_force[PREFERENCE_N];
    uint32_t flagged;

    policy_preferences(f, in_force, &flagged);
    api_put_in(b, "preferences_in_force", '{');
    for (unsigned i = 0; i < PREFERENCE_N; i++) {
        if (in_force[i] == NULL)
            continue;
        api_put_in(b, preference_key_name((enum preference_key)i), '{');
        api_preference_put(b, in_force[i]);
        api_put_flag(b, "flagged", (flagged >> i & 1) != 0);
        api_put_close(b, '}');
    }
    api_put_close(b, '}');
}

/* {"mon": ["08:00-12:00", "13:00-18:00"], ...}: days without a window are left out */
static void put_week(struct buf *b, const struct window_set *s)
{
    static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    char text[32];

    api_put_in(b, "week", '{');
    for (size_t day = 0; day < N_ELEMENTS(days); day++) {
        if (s->weekday[day].n == 0)
            continue;
        api_put_in(b, days[day], '[');
        for (size_t i = 0; i < s->weekday[day].n; i++) {
            struct window w = s->weekday[day].w[i];
            unsigned end = w.end_min > MINUTES_PER_DAY ? w.end_min - MINUTES_PER_DAY : w.end_min;
            snprintf(text, sizeof(text), "%02u:%02u-%02u:%02u", w.start_min / 60u, w.start_min % 60u, end / 60u,
                     end % 60u);
            api_put_item(b, slice_of(text));
        }
        api_put_close(b, ']');
    }
    api_put_close(b, '}');
}

/* Hours that are open at this instant say until when; closed ones, when they open. */
static void put_windows(struct buf *b, const struct facts *f)
{
    struct hours_in_force hours[HOURS_MAX];
    size_t n = policy_hours(f, hours, N_ELEMENTS(hours));

    api_put_in(b, "windows", '[');
    for (size_t i = 0; i < n; i++) {
        const struct hours_in_force *h = &hours[i];
        api_put_open(b, '{');
        api_put_word(b, "of", h->of);
        api_put_word(b, "pack", h->law != NULL ? h->law->pack : "");
        api_put_word(b, "rule", h->law != NULL ? h->law->name : "");
        api_put_word(b, "sense", h->set->sense == WINDOW_QUIET ? "quiet" : "allowed");
        put_week(b, h->set);
        api_put_number(b, "dates", (int64_t)h->set->n_dates);
        api_put_word(b, "holidays", h->set->holidays != NULL ? h->set->holidays->name : "");
        api_put_flag(b, "open", h->opens_ms <= f->now_ms);
        api_put_time(b, "opens_at", h->opens_ms);
        api_put_time(b, "closes_at", h->closes_ms);
        api_put_close(b, '}');
    }
    api_put_close(b, ']');
}

static void put_caps(struct buf *b, const struct facts *f)
{
    static const char *const origins[] = {
        [CAP_OF_REGULATION] = "regulation", [CAP_OF_ORGANISATION] = "organisation", [CAP_OF_CUSTOMER] = "customer"};
    api_put_in(b, "caps", '[');
    for (size_t i = 0; i < f->n_checks; i++) {
        const struct cap_check *check = &f->checks[i];
        api_put_open(b, '{');
        api_put_word(b, "name", check->cap->name);
        api_put_word(b, "origin", origins[check->cap->origin]);
        api_put_number(b, "limit", check->limit);
        if (f->counts_known == KNOWN)
            api_put_number(b, "count", f->counts[i].count);
        api_put_time(b, "since", check->since_ms);
        api_put_time(b, "until", check->next_ms);
        if (f->counts_known == KNOWN && check->gap_ms > 0)
            api_put_time(b, "latest_of_category", f->counts[i].latest_ms);
        api_put_close(b, '}');
    }
    api_put_close(b, ']');
}

/* What is seen of the content, when one was given; what cannot be told is null. */
static void put_content(struct buf *b, const struct body_facts *body)
{
    api_put_in(b, "content", '{');
    api_put_number(b, "bytes", (int64_t)body->bytes);
    api_put_number(b, "words", body->words);
    api_put_flag(b, "text", body->has_text);
    api_put_flag(b, "html", body->has_html);
    api_put_word(b, "language", body->language);
    api_put_flag(b, "card_number", body->has_card_number);
    api_put_flag(b, "cut", body->cut);
    api_put_close(b, '}');
}

static void put_facts(struct buf *b, const struct facts *f)
{
    const struct message *m = f->message;
    const struct profile *p = f->profile;

    api_put_in(b, "facts", '{');
    api_put_time(b, "at", f->now_ms);
    api_put_word(b, "channel", channel_name(m->channel));
    api_put_word(b, "category", m->category->name);
    api_put_word(b, "class", class_name(m->category->class));
    api_put_word(b, "priority", priority_name(m->priority));
    api_put_word(b, "sender_kind", sender_kind_name(m->sender_kind));
    if (m->body != NULL)
        put_content(b, m->body);
    put_contact(b, p);
    put_zones(b, f);
    api_put_opt_outs(b, "opt_outs", p->opt_outs, p->n_opt_outs);
    api_put_consents(b, "consents", p->consents, p->n_consents);
    put_stated(b, p);
    put_in_force(b, f);
    put_windows(b, f);
    put_caps(b, f);
    api_put_laws(b, f);
    if (p->opted_out_at_ms != 0)
        api_put_deadlines(b, "opt_out_deadlines", f->policy, p, 0, p->opted_out_at_ms);
    api_put_flag(b, "counters_down", f->counters_down);
    api_put_close(b, '}');
}

void api_decision_put(struct buf *b, const struct facts *f, const struct decision *d)
{
    char code[PST_CODE_MAX];

    api_put_open(b, '{');
    api_put_flag(b, "dry_run", true);
    api_put_word(b, "outcome", outcome_name(d->outcome));
    api_put_word(b, "level", level_name(d->level));
    api_put_word(b, "code", decision_code(d, code));
    api_put_word(b, "reason", reason_name(d->reason));
    api_put_word(b, "would_have", outcome_name(d->would_have));
    api_put_time(b, "release_at", d->release_at_ms);
    api_put_time(b, "expires_at", d->expires_at_ms);
    api_put_word(b, "local_rule", d->local_rule);
    api_put_word(b, "zones", d->zones);
    api_put_flag(b, "overridable", d->overridable);
    api_put_flag(b, "degraded", d->degraded);
    api_put_number(b, "policy_version", d->policy_version);
    put_violations(b, d);
    put_rules(b, f, d);
    put_facts(b, f);
    api_put_close(b, '}');
}

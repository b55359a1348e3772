/*
 * Facts from words, for tables of the policy engine.
 *
 * A word is key=value; a value with blanks stands in double quotes; a time is RFC 3339
 * (seconds may be left out) or "-15m", "+2h", "+1s", "-3d" from now.  The words are the
 * rows of givens[], "count.CAP" for what the counters hold of one cap, and "pref.KEY",
 * "default.KEY" for a preference of the contact or the organisation: see add_preference.
 */
#ifndef POSTERN_TESTS_POLICY_BENCH_H
#define POSTERN_TESTS_POLICY_BENCH_H

#include "tests/policy/bench_contact.h"
#include "tests/policy/bench_law.h"
#include "tests/policy/bench_message.h"
#include "tests/policy/bench_policy.h"

static const struct {
    const char *key;
    void (*set)(struct bench *b, struct slice v);
} givens[] = {
    {"class", given_class},
    {"category", given_category},
    {"need", given_need},
    {"obeys", given_obeys},
    {"expiry", given_expiry},
    {"dedupe", given_dedupe},
    {"channel", given_channel},
    {"priority", given_priority},
    {"by", given_by},
    {"from", given_from},
    {"topic", given_topic},
    {"other", given_other},
    {"not_before", given_not_before},
    {"valid_until", given_valid_until},
    {"is_language", given_is_language},
    {"is_format", given_is_format},
    {"is_formality", given_is_formality},
    {"is_depth", given_is_depth},
    {"words", given_words},
    {"cut", given_cut},
    {"seen_language", given_seen_language},
    {"card", given_card},
    {"same_content", given_same_content},
    {"fingerprint", given_fingerprint},
    {"now", given_now},
    {"deferrals", given_deferrals},
    {"known", given_known},
    {"region", given_region},
    {"default_region", given_default_region},
    {"zone", given_zone},
    {"basis", given_basis},
    {"previous_zone", given_previous_zone},
    {"zone_changed", given_zone_changed},
    {"inbound", given_inbound},
    {"opted_out", given_opted_out},
    {"resubscribed", given_resubscribed},
    {"stale", given_stale},
    {"opt_out", given_opt_out},
    {"consent", given_consent},
    {"cap", given_cap},
    {"count", given_count},
    {"oldest", given_oldest},
    {"latest", given_latest},
    {"counters", given_counters},
    {"legal", given_legal},
    {"law_consent", given_law_consent},
    {"law_opt_out", given_law_opt_out},
    {"asks", given_asks},
    {"categories", given_categories},
    {"holidays", given_holidays},
    {"quiet", given_quiet},
    {"open", given_open},
    {"default_zone", given_default_zone},
    {"carrier_stops", given_carrier_stops},
    {"shadow", given_shadow},
    {"verdict", given_verdict},
};

static void give(struct bench *b, struct slice key, struct slice v)
{
    for (size_t i = 0; i < N_ELEMENTS(givens); i++) {
        if (slice_eq_cstr(key, givens[i].key)) {
            givens[i].set(b, v);
            return;
        }
    }
    if (slice_starts(key, "count."))
        given_cap_count(b, (struct slice){key.p + 6, key.n - 6}, v);
    else if (slice_starts(key, "pref."))
        add_preference(b, &b->preferences[row(&b->profile.n_preferences)], (struct slice){key.p + 5, key.n - 5}, v);
    else if (slice_starts(key, "default."))
        add_preference(b, &b->defaults[row(&b->policy.n_defaults)], (struct slice){key.p + 8, key.n - 8}, v);
    else
        wrong(b, "\"%.*s\" is not a word", SLICE_ARG(key));
}

/* The next word: key, and the value with its quotes off. */
static bool next_word(struct slice *rest, struct slice *key, struct slice *v)
{
    *rest = slice_trim(*rest);
    size_t n = 0;
    bool quoted = false;
    for (; n < rest->n && (quoted || rest->p[n] != ' '); n++)
        quoted ^= rest->p[n] == '"';
    *v = (struct slice){rest->p, n};
    *rest = (struct slice){rest->p + n, rest->n - n};
    *key = cases_column(v, '=');
    if (v->n > 1 && v->p[0] == '"')
        *v = (struct slice){v->p + 1, v->n - 2};
    return key->n > 0;
}

static void give_words(struct bench *b, struct slice words)
{
    struct slice key, v;
    while (next_word(&words, &key, &v))
        give(b, key, v);
}

/* Tuesday 11:00 in New York; a support e-mail of P2, automated, to a known contact. */
static void bench_reset(struct bench *b)
{
    arena_clear(&b->arena);
    policy_init(&b->policy);
    b->policy.default_zone = zone_get("America/New_York");
    b->policy.caps = b->caps;
    b->policy.legal = b->legal;
    b->policy.legal_consents = b->legal_consents;
    b->policy.legal_opt_outs = b->legal_opt_outs;
    b->n_regions = 0;
    b->holidays = (struct holiday_calendar){0};
    b->n_cap_counts = 0;
    b->memo = (struct hours_memo){0};
    b->policy.hours_memo = b->remembers ? &b->memo : NULL;
    b->policy.defaults = b->defaults;
    b->message = (struct message){.category = &b->category, .priority = PRIORITY_P2, .fingerprint = 1};
    b->body = (struct body_facts){0};
    b->profile = (struct profile){
        .known = KNOWN, .opt_outs = b->opt_outs, .consents = b->consents, .preferences = b->preferences};
    b->facts = (struct facts){.policy = &b->policy, .message = &b->message, .profile = &b->profile};
    b->facts.now_ms = instant(b, SLICE("2026-03-10T15:00Z"));
    b->counts = (struct slice){NULL, 0};
    b->oldest_ms = b->latest_ms = 0;
    category_init(&b->other_category, CLASS_MARKETING);
    b->other_category.id = 8;
    given_class(b, SLICE("support"));
}

#endif

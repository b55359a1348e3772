/*
 * What a rule is, to the engine.  Private to policy.
 *
 * check: does the rule fire for this message?  *v arrives filled from the level
 * table (rule, level, outcome, severity, shadow, and for a timing rule
 * passes_at_ms); the rule adds reason and detail, and may soften or sharpen level
 * and outcome where the table is too coarse.
 *
 * opening: only timing rules have one, and nothing else says when they are met:
 * a timing rule fires when its opening at now_ms starts later, so the time that a
 * deferral names is by construction the time at which the rule passes.
 */
#ifndef POSTERN_POLICY_RULE_H
#define POSTERN_POLICY_RULE_H

#include "postern/policy.h"

#define NEVER_MS   INT64_MAX
#define HORIZON_MS (400 * MS_PER_DAY) /* what opens later opens never */

/* [from_ms, until_ms): a stretch of time in which a rule is met. */
struct opening {
    int64_t from_ms;         /* NEVER_MS: none within the horizon */
    int64_t until_ms;        /* NEVER_MS: no end in sight */
    const struct zone *zone; /* whose clock set from_ms; NULL: no clock, an instant */
    const struct law *law;   /* whose law did; NULL: none */
};

typedef bool rule_check(const struct facts *f, struct violation *v);

/*
 * Starts at at_ms exactly when the rule is met at at_ms; otherwise names a later
 * instant before which it is not met (and at which it may still fail: the engine
 * asks again until nothing moves).
 */
typedef struct opening rule_opening(const struct facts *f, int64_t at_ms);

#define RULE(id, name, function) rule_check function;
#include "postern/rules.def"
#undef RULE

rule_opening rule_schedule_opening, rule_hours_legal_opening, rule_night_consent_opening,
    rule_hours_organisation_opening, rule_hours_contact_opening, rule_cap_regulatory_opening,
    rule_cap_organisation_opening, rule_cap_customer_opening, rule_min_gap_opening, rule_counters_opening,
    rule_freshness_opening;

/* A set of rules, by enum rule. */
_Static_assert(RULE_N <= 32, "a set of rules is 32 bits");
#define RULE_BIT(rule) (UINT32_C(1) << (rule))

/* The first stretch at or after at_ms in which all of those timing rules are met; NEVER_MS when there is none. */
struct opening rules_open(const struct facts *f, uint32_t rules, int64_t at_ms);

/* Timing and caps: only these can make a decision timing_only. */
#define RULES_OF_TIMING                                                                                                \
    (RULE_BIT(RULE_SCHEDULE) | RULE_BIT(RULE_HOURS_LEGAL) | RULE_BIT(RULE_HOURS_ORGANISATION) |                        \
     RULE_BIT(RULE_NIGHT_CONSENT) | RULE_BIT(RULE_HOURS_CONTACT) | RULE_BIT(RULE_CAP_REGULATORY) |                     \
     RULE_BIT(RULE_CAP_ORGANISATION) | RULE_BIT(RULE_CAP_CUSTOMER) | RULE_BIT(RULE_MIN_GAP))

bool rule_has_opening(enum rule rule);

struct opening opening_always(int64_t at_ms);
struct opening opening_from(int64_t from_ms, int64_t at_ms);

/* When a kept message is due, or why it cannot be kept; named: the violation that named the outcome, or NULL. */
void decision_wait(const struct facts *f, struct decision *d, struct violation *named);

/* It is worth a note and no more. */
void violation_note(struct violation *v);
void violation_detail(struct violation *v, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The zones that the contact may be in; the organisation's default when nothing is known.  Never 0. */
size_t facts_zones(const struct facts *f, const struct zone *const **out);

/* "America/Denver (explicit)", "America/New_York and 3 more (area_code)" */
void facts_zone_words(const struct facts *f, char out[DECISION_ZONES_MAX]);
/* The cell of the level table. */
const struct verdict *facts_verdict(const struct facts *f, enum rule rule);

/* P0 or P1, and the contact's urgency_override is wide enough: contact hours and the contact's caps are lifted. */
bool facts_urgent(const struct facts *f);
/* P0 and P1 are urgent as claimed: never digested, no min_gap of the contact's. */
bool message_claims_urgency(const struct message *m);

/* The regions where the recipient may be; the organisation's default when nothing is known of a mail's.  0: unknown. */
size_t facts_regions(const struct facts *f, const struct region **out);
/* Where a redirected message goes: a channel that the contact named and for which there is a body. */
bool facts_redirect(const struct facts *f, enum channel *to);

#define LOCAL_WORDS_MAX (ZONE_NAME_MAX + 16)
/* "mon 08:00 America/New_York".  Returns out. */
char *local_words(const struct zone *z, int64_t at_ms, char out[LOCAL_WORDS_MAX]);

/* --- law.c ---------------------------------------------------------------------- */

/* Is it about this recipient and channel, this class too, does its date hold (begun in one zone, not ended in all),
 * all? */
bool law_reaches(const struct facts *f, const struct law *law);
bool law_binds(const struct facts *f, const struct law *law);
bool law_holds(const struct facts *f, const struct law *law, int64_t at_ms);
bool law_in_force(const struct facts *f, const struct law *law, int64_t at_ms);
/* When its dates begin and end by the clock of that zone. */
struct law_dates {
    int64_t from_ms, to_ms; /* INT64_MIN, NEVER_MS */
};
struct law_dates law_dates(const struct law *law, const struct zone *z);
/* The instant a calendar span after at_ms ends (UTC's calendar); business days are not asked here. */
int64_t law_span_after(const struct law_span *s, int64_t at_ms);
bool law_span_is_none(const struct law_span *s);

/* --- hours_memo.c --------------------------------------------------------------- */

/*
 * What ask would say at at_ms for that rule, from the policy's memo when it is there already.  ask may depend on
 * nothing of the facts but class, channel, regions and zones.
 */
struct opening hours_memo_ask(const struct facts *f, enum rule rule, int64_t at_ms, rule_opening *ask);

/* --- of one rule for another ------------------------------------------------------ */

/* Can a message of that class and channel meet the cap at all? */
bool cap_concerns(const struct cap *c, enum message_class class, enum channel channel);
/* Is a consent for the night on record and in force? */
bool facts_night_consent(const struct facts *f);

/* --- levels.c ------------------------------------------------------------------ */

enum severity rule_severity(enum rule r);

/* --- merge.c: the merge of several lists, in any order ------------------------- */

struct merge {
    const struct message *message;
    const struct preference *best[PREFERENCE_N];
    uint32_t union_of[PREFERENCE_N]; /* lists: the values in force, joined; bit set */
    uint32_t flagged;
};
void merge_offer(struct merge *g, const struct preference *values, size_t n);
void merge_finish(const struct merge *g, struct preferences *out);

/*
 * Which of two values of one key comes first by authority, specificity, time, system and
 * confidence: < 0 a, > 0 b, 0 neither.
 */
int merge_compare(const struct preference *a, const struct preference *b);
/* How much a value lets through; of two the smaller sends less.  Equal for keys without such an order. */
int64_t merge_looseness(enum preference_key key, struct slice text);

#endif

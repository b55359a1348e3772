/*
 * What was decided for one message, and why: every violation is kept, the
 * outcome is the strongest of those that act.
 */
#ifndef POSTERN_DECISION_H
#define POSTERN_DECISION_H

#include "postern/profile.h"

/* Weakest first: the order is the strength. */
/* clang-format off */
#define OUTCOMES(X) \
    X(FORWARD, "forward")       \
    X(REDIRECT, "redirect")     \
    X(DEFER, "defer")           \
    X(DIGEST, "digest")         \
    X(SOFT_BLOCK, "soft_block") \
    X(HOLD, "hold")             \
    X(BLOCK, "block")
/* clang-format on */

enum outcome {
#define X(id, name) OUTCOME_##id,
    OUTCOMES(X)
#undef X
        OUTCOME_N
};
const char *outcome_name(enum outcome o);
bool outcome_parse(struct slice s, enum outcome *out);

enum level { LEVEL_NONE, LEVEL_INFO, LEVEL_SOFT, LEVEL_HARD };
const char *level_name(enum level l);
bool level_parse(struct slice s, enum level *out);

enum severity { SEVERITY_LOW, SEVERITY_MEDIUM, SEVERITY_HIGH, SEVERITY_CRITICAL };
const char *severity_name(enum severity s);

enum reason {
#define REASON(id, name, family, sentence) REASON_##id,
#include "postern/reason.def"
#undef REASON
    REASON_N
};
const char *reason_name(enum reason r);
const char *reason_family(enum reason r);
const char *reason_sentence(enum reason r);
bool reason_parse(struct slice s, enum reason *out);

enum rule {
#define RULE(id, name, function) RULE_##id,
#include "postern/rules.def"
#undef RULE
    RULE_N
};
const char *rule_name(enum rule r);
bool rule_parse(struct slice s, enum rule *out);

#define DETAIL_MAX   128
#define CAP_SPAN_MAX 16

struct violation {
    enum rule rule;
    enum reason reason;
    enum level level;
    enum severity severity;
    enum outcome outcome;        /* what this violation alone would lead to */
    bool shadow;                 /* evaluated and recorded, does not act */
    int64_t passes_at_ms;        /* when this rule would pass next; 0 = not by waiting */
    int32_t cap_limit;           /* caps: how many may be sent ... */
    char cap_span[CAP_SPAN_MAX]; /* ... in what: "Daily", "24-hour"; empty for other rules */
    char detail[DETAIL_MAX];     /* "cap marketing-any: 3 of 3 today"; no address in it */
};

#define PST_CODE_MAX       32
#define ZONE_RULE_MAX      96
#define DECISION_ZONES_MAX 96

struct decision {
    enum outcome outcome;
    enum level level;   /* of the violation that named the outcome; LEVEL_INFO with notices; else NONE */
    enum reason reason; /* of that violation */
    size_t n_violations;
    enum outcome would_have; /* with the shadow rules acting; == outcome when they change nothing */
    int64_t release_at_ms; /* defer, digest: the first instant at which every timing rule passes; soft_block on timing:
                              same, as an offer */
    int64_t window_end_ms; /* release must start before this (margin included); 0 = no window bounds it */
    int64_t expires_at_ms; /* the message's; 0 = never waits */
    char local_rule[ZONE_RULE_MAX]; /* the rule behind release_at: "2026-11-23T08:00 America/New_York" (local_rule.h) */
    char zones[DECISION_ZONES_MAX]; /* zone or candidates, and how found: "America/Denver (explicit)" */
    bool overridable;               /* soft_block with no hard violation beside it */
    bool timing_only;               /* only timing and caps stand in the way */
    bool degraded;                  /* something that should have been known was not; the violations say what */
    uint32_t policy_version;        /* of the policy that decided */
    /* Last, for it is large: what lies behind n_violations is nothing. */
    struct violation violations[RULE_N];
};

/*
 * "PST-SOFT-FREQUENCY", "PST-HARD-OPTOUT", "PST-DEFER-QUIET", "PST-INFO-LANGUAGE",
 * "PST-UPSTREAM-DOWN"; "PST-NONE" for a message that simply passes.  Returns out.
 */
char *decision_code(const struct decision *d, char out[PST_CODE_MAX]);

#endif

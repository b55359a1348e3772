/*
 * What a violation means: the default table rule x class x sender kind, as data,
 * and the defaults of a policy and of a category.  Knows no facts.
 *
 * Rulings that the table holds:
 *  - A hard rule is never overridable, so one that defers an automated send defers
 *    an agent's too; a soft one asks the agent.
 *  - The sender's own schedule is a wish, not an obstacle: it defers everybody.
 *  - Where a class is not bound, but should be known to pass against a wish, the
 *    cell is a notice and not empty: it is recorded and counted.
 *  - otp and safety are bound by do-not-contact, by the address, by a consent that
 *    their category was configured to need, and by a law that names their class.
 * What a cell cannot say (channel, priority, who was asked) is in the rules.
 */
#include "policy/rule.h"

struct grade {
    char letter;
    struct verdict of[SENDER_N];
};

/*
 * -  does not bind                  B  hard: blocks
 * i  a notice                       D  hard: waits, an agent's too
 * S  soft: asks                     w  soft: waits, an agent's too
 * g  digest; an agent's own goes    d  soft: waits; an agent is asked
 */
static const struct grade grades[] = {
    {'-', {{LEVEL_NONE, OUTCOME_FORWARD, false}, {LEVEL_NONE, OUTCOME_FORWARD, false}}},
    {'i', {{LEVEL_INFO, OUTCOME_FORWARD, false}, {LEVEL_INFO, OUTCOME_FORWARD, false}}},
    {'S', {{LEVEL_SOFT, OUTCOME_SOFT_BLOCK, false}, {LEVEL_SOFT, OUTCOME_SOFT_BLOCK, false}}},
    {'g', {{LEVEL_SOFT, OUTCOME_DIGEST, false}, {LEVEL_INFO, OUTCOME_FORWARD, false}}},
    {'B', {{LEVEL_HARD, OUTCOME_BLOCK, false}, {LEVEL_HARD, OUTCOME_BLOCK, false}}},
    {'D', {{LEVEL_HARD, OUTCOME_DEFER, false}, {LEVEL_HARD, OUTCOME_DEFER, false}}},
    {'w', {{LEVEL_SOFT, OUTCOME_DEFER, false}, {LEVEL_SOFT, OUTCOME_DEFER, false}}},
    {'d', {{LEVEL_SOFT, OUTCOME_DEFER, false}, {LEVEL_SOFT, OUTCOME_SOFT_BLOCK, false}}},
};

/* One letter a class, in the order of CLASSES: otp, safety, transactional, support, collections, marketing. */
static const struct row {
    enum severity severity;
    const char classes[CLASS_N + 1];
} rows[RULE_N] = {
    [RULE_DO_NOT_CONTACT] = {SEVERITY_CRITICAL, "BBBBBB"},
    [RULE_ADDRESS] = {SEVERITY_CRITICAL, "BBBBBB"},
    [RULE_OPT_OUT_GLOBAL] = {SEVERITY_CRITICAL, "iiBBBB"},  /* a note on transactional e-mail */
    [RULE_OPT_OUT_CHANNEL] = {SEVERITY_CRITICAL, "BBBBBB"}, /* a note on otp and safety, mostly */
    [RULE_OPT_OUT_CATEGORY] = {SEVERITY_CRITICAL, "iiBBBB"},
    [RULE_OPT_OUT_TOPIC] = {SEVERITY_CRITICAL, "iiBBBB"},
    [RULE_CONSENT] = {SEVERITY_HIGH, "BBBBBB"},
    [RULE_COOLING_OFF] = {SEVERITY_HIGH, "iiiBBB"},
    [RULE_REASK] = {SEVERITY_HIGH, "BBBBBB"}, /* binds the categories that ask for consent */
    [RULE_CHANNEL_NEVER] = {SEVERITY_HIGH, "iiBBBB"},
    [RULE_CHANNEL_OTHER] = {SEVERITY_MEDIUM, "iiSSSS"},
    [RULE_SCHEDULE] = {SEVERITY_LOW, "wwwwww"},
    [RULE_HOURS_LEGAL] = {SEVERITY_HIGH, "DDDDDD"},   /* binds the classes that the law names */
    [RULE_NIGHT_CONSENT] = {SEVERITY_HIGH, "DDDDDD"}, /* likewise */
    [RULE_HOURS_ORGANISATION] = {SEVERITY_MEDIUM, "iiddDD"},
    [RULE_HOURS_CONTACT] = {SEVERITY_MEDIUM, "iiddDD"},
    [RULE_CAP_REGULATORY] = {SEVERITY_HIGH, "iiDDBB"}, /* caps bind the categories that obey them */
    [RULE_CAP_ORGANISATION] = {SEVERITY_MEDIUM, "iiddBB"},
    [RULE_CAP_CUSTOMER] = {SEVERITY_MEDIUM, "iiddBB"},
    [RULE_MIN_GAP] = {SEVERITY_MEDIUM, "iiddBB"},
    [RULE_DIGEST] = {SEVERITY_LOW, "---g-g"},
    [RULE_NOTIFY] = {SEVERITY_LOW, "--iiii"},
    [RULE_DUPLICATE] = {SEVERITY_LOW, "iiiiii"},
    [RULE_CARD_NUMBER] = {SEVERITY_HIGH, "iiiiii"}, /* policy.card_numbers: block makes it "BBBBBB" */
    [RULE_LANGUAGE] = {SEVERITY_LOW, "iiiiii"},
    [RULE_FORMAT] = {SEVERITY_LOW, "iiiiii"},
    [RULE_FORMALITY] = {SEVERITY_LOW, "iiiiii"},
    [RULE_TECHNICAL_DEPTH] = {SEVERITY_LOW, "iiiiii"},
    [RULE_COUNTERS] = {SEVERITY_MEDIUM, "iiiwDD"},
    [RULE_FRESHNESS] = {SEVERITY_HIGH, "iiiwDD"},
};

static const struct grade *grade_of(char letter)
{
    size_t i = 0;
    while (grades[i].letter != letter)
        ensure(++i < N_ELEMENTS(grades));
    return &grades[i];
}

enum severity rule_severity(enum rule r)
{
    return rows[r].severity;
}

void policy_init(struct policy *p)
{
    *p = (struct policy){
        .margin_s = 120,
        .delivery_margin_s = 600,
        .customer_min_gap_s = 3600,
        .cooling_off_s = 86400,
        .digest_minute = 9 * 60,
    };
    for (unsigned rule = 0; rule < RULE_N; rule++) {
        for (unsigned i = 0; i < CLASS_N; i++)
            memcpy(p->verdicts[rule][i], grade_of(rows[rule].classes[i])->of, sizeof p->verdicts[rule][i]);
    }
}

#define HOUR_S INT64_C(3600)

/* Semantics 3, 5, 6: consent, the two flags of caps, expiry.  A collections message obeys and counts like marketing. */
static const struct category defaults[CLASS_N] = {
    [CLASS_OTP] = {.consent = CONSENT_NONE, .counts = COUNTS_NOWHERE, .expiry_s = 0},
    [CLASS_SAFETY] = {.consent = CONSENT_NONE, .counts = COUNTS_NOWHERE, .expiry_s = 0},
    [CLASS_TRANSACTIONAL] = {.consent = CONSENT_NONE, .counts = COUNTS_IN_ANY, .expiry_s = 12 * HOUR_S},
    [CLASS_SUPPORT] = {.consent = CONSENT_NONE,
                       .counts = COUNTS_EVERYWHERE,
                       .obeys_cap = true,
                       .expiry_s = 72 * HOUR_S},
    [CLASS_COLLECTIONS] = {.consent = CONSENT_NONE,
                           .counts = COUNTS_EVERYWHERE,
                           .obeys_cap = true,
                           .expiry_s = 24 * HOUR_S},
    [CLASS_MARKETING] = {.consent = CONSENT_OPT_IN,
                         .counts = COUNTS_EVERYWHERE,
                         .obeys_cap = true,
                         .expiry_s = 24 * HOUR_S},
};

void category_init(struct category *c, enum message_class class)
{
    *c = defaults[class];
    c->class = class;
    c->dedupe_s = 600;
}

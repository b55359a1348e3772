/*
 * The engine: run every rule, keep every violation, let the strongest name the
 * outcome.  Knows no rule by name and no reason; a rule is a row in rules.def, its
 * meaning per class and sender a row in levels.c.
 *
 * Rulings:
 *  - The outcome is the strongest of the violations that act; of equals the first in
 *    rules.def names it.  Shadow ones are recorded and only raise would_have.
 *  - overridable: a soft block with no hard violation beside it, also when the hard
 *    one's own outcome is the weaker (legal hours defer, the wrong channel asks).
 *  - A redirect with no welcome channel to go to becomes the block of its level.
 *  - A deferral that no waiting ends is a block: never accept and lose.
 */
#include "policy/rule.h"

#include <stdio.h>

/* Up to and with the first byte of the text: most rules find nothing, and the rest would be cleared for each. */
#define VIOLATION_CLEARED_BYTES (offsetof(struct violation, detail) + 1)

static rule_check *const checks[RULE_N] = {
#define RULE(id, name, function) function,
#include "postern/rules.def"
#undef RULE
};

static void settle_redirect(const struct facts *f, struct violation *v)
{
    enum channel to;
    if (v->outcome != OUTCOME_REDIRECT)
        return;
    if (!facts_redirect(f, &to)) {
        v->outcome = v->level == LEVEL_HARD ? OUTCOME_BLOCK : OUTCOME_SOFT_BLOCK;
        return;
    }
    size_t n = strlen(v->detail);
    snprintf(v->detail + n, sizeof v->detail - n, "; redirect to %s", channel_name(to));
}

static void settle_wait(struct violation *v)
{
    if (v->outcome == OUTCOME_DEFER && v->passes_at_ms == 0) {
        v->level = LEVEL_HARD;
        v->outcome = OUTCOME_BLOCK;
    }
}

/* A timing rule fires when its opening is later; the others say so themselves. */
static bool fires(const struct facts *f, struct violation *v)
{
    if (rule_has_opening(v->rule)) {
        struct opening o = rules_open(f, RULE_BIT(v->rule), f->now_ms);
        if (o.from_ms <= f->now_ms)
            return false;
        v->passes_at_ms = o.from_ms == NEVER_MS ? 0 : o.from_ms;
    }
    return checks[v->rule](f, v);
}

static void run(const struct facts *f, enum rule rule, struct decision *d)
{
    const struct verdict *cell = facts_verdict(f, rule);
    if (cell->level == LEVEL_NONE)
        return;
    struct violation *v = &d->violations[d->n_violations];
    memset(v, 0, VIOLATION_CLEARED_BYTES);
    v->rule = rule;
    v->level = cell->level;
    v->severity = rule_severity(rule);
    v->outcome = cell->outcome;
    v->shadow = cell->shadow || f->policy->shadow;
    if (!fires(f, v))
        return;
    settle_redirect(f, v);
    settle_wait(v);
    d->n_violations++;
}

/* The strongest violation, the first of equals; NULL when there is none. */
static struct violation *strongest(struct decision *d, bool with_shadow)
{
    struct violation *best = NULL;
    for (size_t i = 0; i < d->n_violations; i++) {
        struct violation *v = &d->violations[i];
        if ((with_shadow || !v->shadow) && (best == NULL || v->outcome > best->outcome))
            best = v;
    }
    return best;
}

/* What stands beside the outcome: may it be overridden, would waiting alone help? */
static void look_around(struct decision *d)
{
    bool hard = false, timing = d->outcome != OUTCOME_FORWARD;
    for (size_t i = 0; i < d->n_violations; i++) {
        const struct violation *v = &d->violations[i];
        if (v->shadow)
            continue;
        hard = hard || v->level == LEVEL_HARD;
        timing = timing && (v->outcome == OUTCOME_FORWARD || (RULE_BIT(v->rule) & RULES_OF_TIMING) != 0);
    }
    d->overridable = d->outcome == OUTCOME_SOFT_BLOCK && !hard;
    d->timing_only = timing;
}

void policy_decide(const struct facts *f, struct decision *out)
{
    memset(out, 0, offsetof(struct decision, violations));
    out->policy_version = f->policy->version;
    out->degraded = f->counters_down || f->profile_stale;
    facts_zone_words(f, out->zones);

    for (unsigned rule = 0; rule < RULE_N; rule++)
        run(f, (enum rule)rule, out);

    struct violation *named = strongest(out, false);
    if (named != NULL) {
        out->outcome = named->outcome;
        out->level = named->level;
        out->reason = named->reason;
    }
    look_around(out);
    decision_wait(f, out, named);

    const struct violation *would = strongest(out, true);
    out->would_have = would != NULL && would->outcome > out->outcome ? would->outcome : out->outcome;
}

/*
 * A policy that cannot work is refused when it is configured, not discovered when
 * nothing is sent any more.  Knows the rules only through rules_open: what is checked
 * is what will be asked at decision time.
 */
#include "policy/rule.h"

/* A Monday of no common holiday.  Five weeks from it: a week of holidays is no empty policy. */
#define MONDAY_MS INT64_C(1772409600000) /* 2026-03-02T00:00:00Z */
#define WEEKS_MS  (35 * MS_PER_DAY)

static bool opens(const struct facts *f, uint32_t rules)
{
    return rules_open(f, rules, MONDAY_MS).from_ms < MONDAY_MS + WEEKS_MS;
}

/* The organisation's hours alone, and with the law of each country that has one. */
static enum err check_hours(const struct policy *p, enum message_class class, enum channel channel, struct errmsg *e)
{
    struct category c;
    category_init(&c, class);
    struct message m = {.category = &c, .channel = channel};
    struct profile who = {.known = KNOWN};
    struct facts f = {.policy = p, .message = &m, .profile = &who, .now_ms = MONDAY_MS};
    if (!opens(&f, RULE_BIT(RULE_HOURS_ORGANISATION))) {
        errmsg_set(e, "organisation hours leave no time for %s by %s: widen them", class_name(class),
                   channel_name(channel));
        return ERR_CONFLICT;
    }
    for (size_t i = 0; i < p->n_legal; i++) {
        /* An empty country would be bound by every country's law; no law is written for "--". */
        memcpy(who.country, p->legal[i].country[0] != '\0' ? p->legal[i].country : "--", sizeof who.country);
        if (!facts_law_binds(&f, &p->legal[i]) ||
            opens(&f, RULE_BIT(RULE_HOURS_ORGANISATION) | RULE_BIT(RULE_HOURS_LEGAL)))
            continue;
        errmsg_set(e,
                   "organisation hours and legal hours of pack %s leave no time for %s by %s: widen the organisation's",
                   p->legal[i].pack, class_name(class), channel_name(channel));
        return ERR_CONFLICT;
    }
    return OK;
}

static enum err check_caps(const struct policy *p, struct errmsg *e)
{
    const size_t max = CAP_CHECKS_MAX - N_ELEMENTS(((struct facts *)NULL)->customer_caps);
    if (p->n_caps > max) {
        errmsg_set(e, "%zu caps: at most %zu can be checked for one message", p->n_caps, max);
        return ERR_LIMIT;
    }
    for (size_t i = 0; i < p->n_caps; i++) {
        const struct cap *c = &p->caps[i];
        const char *wrong = NULL;
        if (c->limit < 0)
            wrong = "limit is negative: write 0 for none, or leave the cap out for no limit";
        else if (c->kind == CAP_ROLLING && c->rolling_s <= 0)
            wrong = "rolling needs a number of seconds above 0";
        else if (c->min_gap_s < 0 || c->reserve_slots < 0)
            wrong = "min_gap and reserved slots are not negative";
        if (wrong != NULL) {
            errmsg_set(e, "cap %s: %s", c->name, wrong);
            return ERR_SYNTAX;
        }
    }
    return OK;
}

enum err policy_check(const struct policy *p, struct errmsg *e)
{
    enum err err = check_caps(p, e);
    for (unsigned cell = 0; cell < CLASS_N * CHANNEL_N && err == OK; cell++)
        err = check_hours(p, (enum message_class)(cell / CHANNEL_N), (enum channel)(cell % CHANNEL_N), e);
    return err;
}

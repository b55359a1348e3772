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
    return rules_open(f, rules, f->now_ms).from_ms < f->now_ms + WEEKS_MS;
}

/* A Monday on which that law holds; the first it may be, for what it meets is in force by then or not of its time. */
static int64_t monday_of(const struct law *law)
{
    int32_t days = (int32_t)(MONDAY_MS / MS_PER_DAY);
    if (law->from_days > days)
        days = law->from_days + 7 - (int32_t)date_weekday(law->from_days);
    return days * MS_PER_DAY;
}

/* The organisation's hours with that law and all that hold where it holds. */
static bool law_leaves_time(struct facts *f, struct profile *who, const struct law *law)
{
    /* Without a region she would be bound by every region's law; no law is written for "--". */
    static const struct region nowhere = {"--", ""};
    const struct region *regions = law->n_regions > 0 ? law->regions : &nowhere;
    f->now_ms = monday_of(law);
    who->n_regions = 1;
    for (size_t i = 0; i < law->n_regions || i == 0; i++) {
        who->regions[0] = regions[i];
        if (law_in_force(f, law, f->now_ms) &&
            !opens(f, RULE_BIT(RULE_HOURS_ORGANISATION) | RULE_BIT(RULE_HOURS_LEGAL)))
            return false;
    }
    return true;
}

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
        const struct law *law = &p->legal[i].law;
        if (law_leaves_time(&f, &who, law))
            continue;
        errmsg_set(e, "organisation hours and legal hours of %s leave no time for %s by %s: widen the organisation's",
                   law->name, class_name(class), channel_name(channel));
        return ERR_CONFLICT;
    }
    return OK;
}

static const char *wrong_with(const struct cap *c)
{
    if (c->limit < 0)
        return "limit is negative: write 0 for none, or leave the cap out for no limit";
    if (c->kind == CAP_ROLLING && c->rolling_s <= 0)
        return "rolling needs a number of seconds above 0";
    if (c->kind == CAP_ROLLING && c->rolling_s > LIMIT_CAP_SPAN_S)
        return "looks back further than sends are counted: at most 32 days (32d)";
    if (c->min_gap_s > LIMIT_CAP_SPAN_S)
        return "min_gap looks back further than sends are counted: at most 32 days (32d)";
    if (c->min_gap_s < 0 || c->reserve_slots < 0)
        return "min_gap and reserved slots are not negative";
    return NULL;
}

/* A law's cap over what nobody counts would never be full. */
static enum err check_counting(const struct policy *p, const struct cap *c, struct errmsg *e)
{
    enum cap_counting least = c->classes == 0 ? COUNTS_IN_ANY : COUNTS_EVERYWHERE;
    for (size_t i = 0; c->law != NULL && i < p->n_categories; i++) {
        const struct category *category = &p->categories[i];
        if ((c->law->classes >> category->class & 1) == 0 || category->counts >= least)
            continue;
        errmsg_set(e, "cap %s binds category %s, whose sends do not count toward it: set its counts to %s", c->name,
                   category->name, least == COUNTS_IN_ANY ? "any or everywhere" : "everywhere");
        return ERR_CONFLICT;
    }
    return OK;
}

/* Wherever the recipient may be: of nobody knows where, the law of every region binds. */
static enum err check_room(const struct policy *p, enum message_class class, enum channel channel, struct errmsg *e)
{
    const size_t max = CAP_CHECKS_MAX - N_ELEMENTS(((struct facts *)NULL)->customer_caps);
    size_t n = 0;
    for (size_t i = 0; i < p->n_caps; i++)
        n += cap_concerns(&p->caps[i], class, channel);
    if (n <= max)
        return OK;
    errmsg_set(e, "%zu caps for %s by %s: at most %zu can be checked for one message", n, class_name(class),
               channel_name(channel), max);
    return ERR_LIMIT;
}

enum err policy_check(const struct policy *p, struct errmsg *e)
{
    enum err err = OK;
    for (size_t i = 0; i < p->n_caps && err == OK; i++) {
        const char *wrong = wrong_with(&p->caps[i]);
        if (wrong != NULL) {
            errmsg_set(e, "cap %s: %s", p->caps[i].name, wrong);
            return ERR_SYNTAX;
        }
        err = check_counting(p, &p->caps[i], e);
    }
    for (unsigned cell = 0; cell < CLASS_N * CHANNEL_N && err == OK; cell++) {
        enum message_class class = (enum message_class)(cell / CHANNEL_N);
        enum channel channel = (enum channel)(cell % CHANNEL_N);
        err = check_room(p, class, channel, e);
        if (err == OK)
            err = check_hours(p, class, channel, e);
    }
    return err;
}

/*
 * The policy as configured: categories, caps, the level table and single values.
 * Starts from what semantics fix (policy_init, category_init) and changes only
 * what the file says.
 */
#include "conf_build.h"

/* --- categories ---------------------------------------------------------------------- */

static enum err build_category(struct conf_build *b, size_t i, struct category *c)
{
    const struct yaml_category *y = &b->yaml->categories[i];

    category_init(c, (enum message_class)(y->class - 1));
    c->name = conf_keep(b, y->name);
    if (y->consent != 0)
        c->consent = (enum consent_need)(y->consent - 1);
    if (y->obeys_cap != FLAG_ABSENT)
        c->obeys_cap = y->obeys_cap == FLAG_TRUE;
    if (y->counts != 0)
        c->counts = (enum cap_counting)(y->counts - 1);
    c->asks_consent = y->asks_consent == FLAG_TRUE;
    enum err err = conf_name(b, y->name, AT("categories[%zu].name", i));
    if (err == OK && (strcmp(y->name, CONF_UNCLASSIFIED) == 0 || strcmp(y->name, CONF_REPORTS) == 0))
        err = REFUSE(b, AT("categories[%zu].name", i), "\"%s\" is built in; choose another name", y->name);
    if (err == OK)
        err = conf_duration(b, y->expiry, AT("categories[%zu].expiry", i), &c->expiry_s);
    if (err == OK)
        err = conf_duration(b, y->dedupe, AT("categories[%zu].dedupe", i), &c->dedupe_s);
    return err;
}

static const char *category_name(const struct yaml_conf *y, size_t i)
{
    return y->categories[i].name;
}

enum err conf_build_categories(struct conf_build *b)
{
    size_t n = b->yaml->categories_count;
    struct category *categories = conf_alloc(b, n + 2, sizeof *categories);

    category_init(&categories[n], CLASS_MARKETING);
    categories[n].name = CONF_UNCLASSIFIED;
    category_init(&categories[n + 1], CLASS_TRANSACTIONAL);
    categories[n + 1].name = CONF_REPORTS;
    categories[n + 1].counts = COUNTS_NOWHERE;
    enum err err = conf_distinct(b, "categories", n, category_name);
    for (size_t i = 0; i < n && err == OK; i++)
        err = build_category(b, i, &categories[i]);
    for (size_t i = 0; i < n + 2 && err == OK; i++) {
        categories[i].id = slice_id(slice_of(categories[i].name));
        for (size_t k = 0; k < i && err == OK; k++) {
            if (categories[k].id == categories[i].id)
                err = REFUSE(b, AT("categories[%zu].name", k), "\"%s\" and \"%s\" have the same number; rename one",
                             categories[k].name, categories[i].name);
        }
    }
    b->conf->policy.categories = categories;
    b->conf->policy.n_categories = n + 2;
    return err;
}

/* --- caps ----------------------------------------------------------------------------- */

static enum err build_span(struct conf_build *b, const struct yaml_cap *y, size_t i, struct cap *c)
{
    const char *at = AT("policy.caps[%zu]", i);

    if ((y->calendar != 0) == (y->rolling != NULL))
        return REFUSE(b, at, "needs one of calendar (day, week, month) and rolling (like 24h)");
    if (y->calendar != 0) {
        c->kind = CAP_CALENDAR;
        c->period = (enum cap_period)(y->calendar - 1);
        return OK;
    }
    c->kind = CAP_ROLLING;
    at = AT("policy.caps[%zu].rolling", i);
    enum err err = conf_duration(b, y->rolling, at, &c->rolling_s);
    if (err == OK && c->rolling_s == 0)
        err = REFUSE(b, at, "a cap over no time counts nothing: write a duration like 24h");
    return err;
}

static enum err build_reserve(struct conf_build *b, const struct yaml_cap *y, size_t i, struct cap *c)
{
    int64_t slots = 0;

    if (y->reserve.class == 0)
        return OK;
    c->reserves = true;
    c->reserve_class = (enum message_class)(y->reserve.class - 1);
    enum err err = conf_number(b, y->reserve.slots, AT("policy.caps[%zu].reserve.slots", i), 1, c->limit, &slots);
    c->reserve_slots = (int32_t)slots;
    return err;
}

static enum err build_cap(struct conf_build *b, size_t i, struct cap *c)
{
    const struct yaml_cap *y = &b->yaml->policy.caps[i];
    int64_t limit = 0;

    *c = (struct cap){
        .name = conf_keep(b, y->name),
        .origin = CAP_OF_ORGANISATION,
        .classes = y->classes,
        .channels = y->channels,
    };
    enum err err = conf_name(b, y->name, AT("policy.caps[%zu].name", i));
    if (err == OK)
        err = build_span(b, y, i, c);
    if (err == OK)
        err = conf_number(b, &y->limit, AT("policy.caps[%zu].limit", i), 0, INT32_MAX, &limit);
    c->limit = (int32_t)limit;
    if (err == OK && y->category != NULL)
        err = conf_category_named(b, y->category, AT("policy.caps[%zu].category", i), &c->category);
    if (err == OK)
        err = conf_duration(b, y->min_gap, AT("policy.caps[%zu].min_gap", i), &c->min_gap_s);
    return err == OK ? build_reserve(b, y, i, c) : err;
}

static const char *cap_name(const struct yaml_conf *y, size_t i)
{
    return y->policy.caps[i].name;
}

static enum err build_caps(struct conf_build *b)
{
    size_t n = b->yaml->policy.caps_count;
    struct cap *caps = conf_alloc(b, n, sizeof *caps);

    enum err err = conf_distinct(b, "policy.caps", n, cap_name);
    for (size_t i = 0; i < n && err == OK; i++)
        err = build_cap(b, i, &caps[i]);
    b->conf->policy.caps = caps;
    b->conf->policy.n_caps = n;
    return err;
}

/* --- levels --------------------------------------------------------------------------- */

/* What goes with a level when the file names none: the cell's own outcome where it fits. */
static enum outcome outcome_for(enum level level, enum outcome own)
{
    switch (level) {
    case LEVEL_NONE:
    case LEVEL_INFO:
        return OUTCOME_FORWARD;
    case LEVEL_SOFT:
        return own == OUTCOME_FORWARD || own == OUTCOME_BLOCK ? OUTCOME_SOFT_BLOCK : own;
    case LEVEL_HARD:
        return own == OUTCOME_FORWARD || own == OUTCOME_SOFT_BLOCK ? OUTCOME_BLOCK : own;
    }
    return own;
}

/* A soft block asks, and nobody may answer a hard one; what stops a message is no notice. */
static bool fits(enum level level, enum outcome outcome)
{
    if (level == LEVEL_NONE || level == LEVEL_INFO)
        return outcome == OUTCOME_FORWARD;
    return outcome != OUTCOME_FORWARD && (level == LEVEL_SOFT || outcome != OUTCOME_SOFT_BLOCK);
}

static enum err set_verdict(struct conf_build *b, const struct yaml_level *y, const char *at, struct verdict *v)
{
    if (y->level != 0) {
        v->level = (enum level)(y->level - 1);
        v->outcome = outcome_for(v->level, v->outcome);
    }
    if (y->outcome != 0)
        v->outcome = (enum outcome)(y->outcome - 1);
    if (y->shadow != FLAG_ABSENT)
        v->shadow = y->shadow == FLAG_TRUE;
    if (fits(v->level, v->outcome))
        return OK;
    return REFUSE(b, at, "level %s does not go with outcome %s: none and info forward, hard does not ask; write both",
                  level_name(v->level), outcome_name(v->outcome));
}

static enum err build_level(struct conf_build *b, size_t i)
{
    const struct yaml_level *y = &b->yaml->policy.levels[i];
    const char *at = AT("policy.levels[%zu]", i);
    enum err err = OK;

    if (y->level == 0 && y->outcome == 0 && y->shadow == FLAG_ABSENT)
        return REFUSE(b, at, "changes nothing: write level, outcome or shadow");
    for (int class = 0; class < CLASS_N; class ++) {
        for (int sender = 0; sender < SENDER_N && err == OK; sender++) {
            bool meant = (y->class == 0 || y->class == class + 1) && (y->sender == 0 || y->sender == sender + 1);
            if (meant)
                err = set_verdict(b, y, at, &b->conf->policy.verdicts[y->rule - 1][class][sender]);
        }
    }
    return err;
}

/* --- single values ---------------------------------------------------------------------- */

#define MARGIN_MAX_S 7200 /* beyond, an ordinary day's window is gone */

static enum err build_digest_at(struct conf_build *b)
{
    const char *text = b->yaml->policy.digest_at;
    uint64_t hour = 0, minute = 0;

    if (text == NULL)
        return OK;
    bool good = strlen(text) == 5 && text[2] == ':' && slice_to_u64((struct slice){text, 2}, 23, &hour) &&
                slice_to_u64((struct slice){text + 3, 2}, 59, &minute);
    if (!good)
        return REFUSE(b, "policy.digest_at", "\"%.40s\" is no time of day: write HH:MM, like 09:00", text);
    b->conf->policy.digest_minute = (int32_t)(hour * 60 + minute);
    return OK;
}

static enum err build_values(struct conf_build *b)
{
    const struct yaml_policy *y = &b->yaml->policy;
    struct policy *p = &b->conf->policy;

    p->shadow = y->shadow == FLAG_TRUE;
    p->carrier_enforces_stop = y->carrier_enforces_stop == FLAG_TRUE;
    enum err err =
        conf_zone(b, y->default_zone != NULL ? y->default_zone : "UTC", "policy.default_zone", &p->default_zone);
    if (err == OK)
        err = conf_region(b, y->default_region, "policy.default_region", &p->default_region);
    if (err == OK)
        err = conf_number(b, y->margin_s, "policy.margin_s", 0, MARGIN_MAX_S, &p->margin_s);
    if (err == OK)
        err = conf_number(b, y->delivery_margin_s, "policy.delivery_margin_s", 0, MARGIN_MAX_S, &p->delivery_margin_s);
    if (err == OK)
        err = conf_duration(b, y->cooling_off, "policy.cooling_off", &p->cooling_off_s);
    return err == OK ? build_digest_at(b) : err;
}

/* Their rule's cells; single ones may still be said otherwise in levels. */
static void build_card_numbers(struct conf_build *b)
{
    if (b->yaml->policy.card_numbers != CARDS_BLOCK)
        return;
    for (int class = 0; class < CLASS_N; class ++) {
        for (int sender = 0; sender < SENDER_N; sender++)
            b->conf->policy.verdicts[RULE_CARD_NUMBER][class][sender] =
                (struct verdict){.level = LEVEL_HARD, .outcome = OUTCOME_BLOCK};
    }
}

enum err conf_build_policy(struct conf_build *b)
{
    struct errmsg why;

    enum err err = build_values(b);
    if (err == OK)
        err = conf_build_hours(b);
    if (err == OK)
        err = build_caps(b);
    build_card_numbers(b);
    for (size_t i = 0; i < b->yaml->policy.levels_count && err == OK; i++)
        err = build_level(b, i);
    if (err == OK)
        err = conf_build_defaults(b);
    if (err == OK)
        err = conf_build_packs(b);
    if (err == OK && policy_check(&b->conf->policy, &why) != OK)
        err = REFUSE(b, "policy", "%s", why.text);
    return err;
}

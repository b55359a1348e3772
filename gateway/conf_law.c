/*
 * One rule of a rule pack: its provenance for people, its hours, cap, consent,
 * opt-out or keywords for the policy.  What is off does not reach the policy at all, but is
 * checked like the rest.  Dates do reach it: they are asked at each decision, by the
 * recipient's own calendar.
 */
#include "conf_build.h"

#define AT_RULE(i, key) AT("rules[%zu].%s", (i), (key))

/* --- spans of time ---------------------------------------------------------------------- */

#define SPAN_MAX 3660 /* ten years of days: beyond is a slip of the pen */

static bool read_span(const char *text, struct law_span *out)
{
    static const struct {
        const char *unit;
        size_t member;
        int32_t times;
    } units[] = {
        {"mo", offsetof(struct law_span, months), 1},
        {"d", offsetof(struct law_span, days), 1},
        {" days", offsetof(struct law_span, days), 1},
        {" business days", offsetof(struct law_span, business_days), 1},
        {"h", offsetof(struct law_span, seconds), 3600},
        {"m", offsetof(struct law_span, seconds), 60},
    };
    size_t digits = strspn(text, "0123456789");
    uint64_t n = 0;

    *out = (struct law_span){0};
    if (!slice_to_u64((struct slice){text, digits}, SPAN_MAX, &n) || n == 0)
        return false;
    for (size_t i = 0; i < N_ELEMENTS(units); i++) {
        if (strcmp(text + digits, units[i].unit) == 0) {
            int32_t value = (int32_t)n * units[i].times;
            memcpy((char *)out + units[i].member, &value, sizeof value);
            return true;
        }
    }
    return false;
}

static enum err build_span(struct conf_build *b, const char *text, const char *at, struct law_span *out)
{
    if (text == NULL || read_span(text, out))
        return OK;
    return REFUSE(b, at, "\"%.40s\" is no span: write 5m, 24h, 21d, 24mo or \"10 business days\", at most %d of them",
                  text, SPAN_MAX);
}

/* --- the kinds ----------------------------------------------------------------------- */

/* Room for one more at the end of a list of the policy. */
static void *one_more(struct conf_build *b, const void *list, size_t n, size_t size)
{
    char *longer = conf_alloc(b, n + 1, size);
    if (n > 0)
        memcpy(longer, list, n * size);
    return longer;
}

static enum err build_hours(struct conf_build *b, const struct yaml_law_hours *y, size_t i, const struct law *law,
                            struct legal_window *w)
{
    const struct holiday_calendar *calendar;

    *w = (struct legal_window){.law = *law, .counts_delivery = y->counts_delivery == FLAG_TRUE};
    enum err err = conf_build_named_calendar(b, y->holidays, AT_RULE(i, "hours.holidays"), &calendar);
    return err == OK ? conf_build_windows(b, y->allowed, AT_RULE(i, "hours.allowed"), WINDOW_ALLOWED, calendar, &w->set)
                     : err;
}

static enum err build_cap(struct conf_build *b, const struct yaml_law_cap *y, size_t i, const struct law *law,
                          struct cap *c)
{
    struct law *kept = conf_alloc(b, 1, sizeof *kept);
    int64_t limit = 0;

    *kept = *law;
    *c = (struct cap){
        .name = law->name,
        .origin = CAP_OF_REGULATION,
        .kind = y->calendar != 0 ? CAP_CALENDAR : CAP_ROLLING,
        .period = y->calendar != 0 ? (enum cap_period)(y->calendar - 1) : PERIOD_DAY,
        .classes = y->per == CONF_PER_ANY ? 0 : law->classes,
        .channels = law->channels,
        .per_subject = y->per == CONF_PER_SUBJECT,
        .per_category = y->per == CONF_PER_CATEGORY,
        .other_channels = y->other_channels == FLAG_TRUE,
        .law = kept,
    };
    if ((y->calendar != 0) == (y->rolling != NULL))
        return REFUSE(b, AT_RULE(i, "cap"), "needs one of calendar (day, week, month) and rolling (like 24h)");
    enum err err = conf_number(b, &y->limit, AT_RULE(i, "cap.limit"), 0, INT32_MAX, &limit);
    c->limit = (int32_t)limit;
    if (err == OK)
        err = conf_duration(b, y->rolling, AT_RULE(i, "cap.rolling"), &c->rolling_s);
    if (err == OK && c->kind == CAP_ROLLING && c->rolling_s == 0)
        err = REFUSE(b, AT_RULE(i, "cap.rolling"), "a cap over no time counts nothing: write a duration like 24h");
    if (err == OK && c->other_channels && (law->channels & (law->channels - 1)) == 0)
        err = REFUSE(b, AT_RULE(i, "cap.other_channels"), "the rule names one channel: there is no other to count");
    return err;
}

static const char *const *keep_words(struct conf_build *b, char *const *words, size_t n)
{
    const char **kept = conf_alloc(b, n, sizeof *kept);
    for (size_t i = 0; i < n; i++)
        kept[i] = conf_keep(b, words[i]);
    return kept;
}

static enum err build_consent(struct conf_build *b, const struct yaml_law_consent *y, size_t i, const struct law *law,
                              struct legal_consent *c)
{
    *c = (struct legal_consent){
        .law = *law,
        .need = y->need != 0 ? (enum consent_need)(y->need - 1) : CONSENT_NONE,
        .accepts = keep_words(b, y->accepts, y->accepts_count),
        .n_accepts = y->accepts_count,
        .basis = keep_words(b, y->basis, y->basis_count),
        .n_basis = y->basis_count,
        .night = {.sense = WINDOW_QUIET},
    };
    if (y->need == 0 && y->expires == NULL && y->night == NULL)
        return REFUSE(b, AT_RULE(i, "consent"), "asks for nothing: write need, expires or night");
    if (y->accepts_count > 0 && c->need == CONSENT_NONE)
        return REFUSE(b, AT_RULE(i, "consent.accepts"), "says which consents count, but the rule needs none");
    if (y->basis_count > 0 && y->expires == NULL)
        return REFUSE(b, AT_RULE(i, "consent.basis"), "says which consents expire, but expires is not there");
    enum err err = build_span(b, y->expires, AT_RULE(i, "consent.expires"), &c->expires);
    if (err == OK && c->expires.business_days != 0)
        err =
            REFUSE(b, AT_RULE(i, "consent.expires"), "a consent does not expire in business days: write 24mo or 180d");
    if (err == OK && y->night != NULL)
        err = conf_build_windows(b, y->night, AT_RULE(i, "consent.night"), WINDOW_QUIET, NULL, &c->night);
    if (err == OK && y->night != NULL && window_set_is_empty(&c->night))
        err = REFUSE(b, AT_RULE(i, "consent.night"), "names no time at all: leave the key out");
    return err;
}

static enum err build_opt_out(struct conf_build *b, const struct yaml_law_opt_out *y, size_t i, const struct law *law,
                              struct legal_opt_out *o)
{
    *o = (struct legal_opt_out){.law = *law};
    if (y->within == NULL && y->reask_after == NULL && y->confirmation_within == NULL)
        return REFUSE(b, AT_RULE(i, "opt_out"), "says nothing: write within, reask_after or confirmation_within");
    enum err err = build_span(b, y->within, AT_RULE(i, "opt_out.within"), &o->within);
    if (err == OK && y->holidays != NULL && o->within.business_days == 0)
        err = REFUSE(b, AT_RULE(i, "opt_out.holidays"), "only business days pass over holidays");
    if (err == OK)
        err = conf_build_named_calendar(b, y->holidays, AT_RULE(i, "opt_out.holidays"), &o->holidays);
    if (err == OK)
        err = build_span(b, y->reask_after, AT_RULE(i, "opt_out.reask_after"), &o->reask_after);
    if (err == OK && o->reask_after.business_days != 0)
        err = REFUSE(b, AT_RULE(i, "opt_out.reask_after"), "is not counted in business days: write 12mo or 90d");
    if (err == OK)
        err = build_span(b, y->confirmation_within, AT_RULE(i, "opt_out.confirmation_within"), &o->confirmation_within);
    return err;
}

static void build_keywords(struct conf_build *b, const struct yaml_law_keywords *y, const struct law *law,
                           struct legal_keywords *k)
{
    *k = (struct legal_keywords){
        .law = *law,
        .means = (enum keyword_meaning)(y->means - 1),
        .words = keep_words(b, y->words, y->words_count),
        .n_words = y->words_count,
    };
}

/* Checks all, and adds to the policy what is on. */
static enum err build_kind(struct conf_build *b, const struct yaml_law *y, size_t i, const struct law *law, bool on)
{
    struct policy *p = &b->conf->policy;
    enum err err = OK;

    if (y->hours != NULL) {
        struct legal_window *w = one_more(b, p->legal, p->n_legal, sizeof *w);
        err = build_hours(b, y->hours, i, law, &w[p->n_legal]);
        p->legal = w;
        p->n_legal += on;
    } else if (y->cap != NULL) {
        struct cap *c = one_more(b, p->caps, p->n_caps, sizeof *c);
        err = build_cap(b, y->cap, i, law, &c[p->n_caps]);
        p->caps = c;
        p->n_caps += on;
    } else if (y->consent != NULL) {
        struct legal_consent *c = one_more(b, p->legal_consents, p->n_legal_consents, sizeof *c);
        err = build_consent(b, y->consent, i, law, &c[p->n_legal_consents]);
        p->legal_consents = c;
        p->n_legal_consents += on;
    } else if (y->keywords != NULL) {
        struct legal_keywords *k = one_more(b, p->legal_keywords, p->n_legal_keywords, sizeof *k);
        build_keywords(b, y->keywords, law, &k[p->n_legal_keywords]);
        p->legal_keywords = k;
        p->n_legal_keywords += on;
    } else if (y->opt_out != NULL) {
        struct legal_opt_out *o = one_more(b, p->legal_opt_outs, p->n_legal_opt_outs, sizeof *o);
        err = build_opt_out(b, y->opt_out, i, law, &o[p->n_legal_opt_outs]);
        p->legal_opt_outs = o;
        p->n_legal_opt_outs += on;
    }
    return err;
}

/* --- the rule ------------------------------------------------------------------------------- */

static enum err build_dates(struct conf_build *b, const struct yaml_law *y, size_t i, struct conf_law *out)
{
    enum err err = conf_date(b, y->as_of, AT_RULE(i, "as_of"), &out->as_of_days);
    if (err == OK)
        err = conf_date(b, y->review_by, AT_RULE(i, "review_by"), &out->review_days);
    if (err == OK && out->review_days <= out->as_of_days)
        err = REFUSE(b, AT_RULE(i, "review_by"), "is not after as_of");
    if (err == OK)
        err = conf_date(b, y->effective_from, AT_RULE(i, "effective_from"), &out->from_days);
    if (err == OK)
        err = conf_date(b, y->effective_to, AT_RULE(i, "effective_to"), &out->to_days);
    if (err == OK && out->to_days <= out->from_days)
        err =
            REFUSE(b, AT_RULE(i, "effective_to"), "is not after effective_from: it is the first day without the rule");
    return err;
}

/* policy.pack_rules has the last word over the confidence. */
static void set_switch(struct conf_build *b, struct conf_law *out)
{
    const struct yaml_policy *y = &b->yaml->policy;

    out->on = out->confidence != 'C';
    for (size_t i = 0; i < y->pack_rules_count; i++) {
        if (strcmp(y->pack_rules[i].rule, out->full_name) != 0)
            continue;
        out->on = y->pack_rules[i].on == FLAG_TRUE;
        out->switched = conf_keep(b, y->pack_rules[i].reason);
    }
}

/* Of one that has exactly one. */
static enum law_kind kind_of(const struct yaml_law *y)
{
    if (y->hours != NULL)
        return LAW_HOURS;
    if (y->cap != NULL)
        return LAW_CAP;
    if (y->consent != NULL)
        return LAW_CONSENT;
    return y->keywords != NULL ? LAW_KEYWORDS : LAW_OPT_OUT;
}

enum err conf_build_law(struct conf_build *b, const struct conf_pack *pack, const struct yaml_law *y, size_t i,
                        struct conf_law *out)
{
    int kinds =
        (y->hours != NULL) + (y->cap != NULL) + (y->consent != NULL) + (y->opt_out != NULL) + (y->keywords != NULL);

    enum err err = conf_name(b, y->name, AT_RULE(i, "name"));
    if (err == OK && kinds != 1)
        err =
            REFUSE(b, AT("rules[%zu]", i), "needs one of hours, cap, consent, opt_out and keywords, and has %d", kinds);
    if (err != OK)
        return err;
    *out = (struct conf_law){
        .name = conf_keep(b, y->name),
        .full_name = arena_printf(&b->conf->arena, "%s/%s", pack->name, y->name),
        .source = conf_keep(b, y->source),
        .note = conf_keep(b, y->note),
        .kind = kind_of(y),
        .classes = y->classes,
        .channels = y->channels,
        .confidence = (char)y->confidence,
        .from_days = INT32_MIN,
        .to_days = INT32_MAX,
    };
    ensure(out->full_name != NULL);
    err = build_dates(b, y, i, out);
    if (err != OK)
        return err;
    set_switch(b, out);
    const struct law law = {
        .pack = pack->name,
        .name = out->full_name,
        .classes = y->classes,
        .channels = y->channels,
        .regions = pack->regions,
        .n_regions = pack->n_regions,
        .from_days = out->from_days,
        .to_days = out->to_days,
    };
    return build_kind(b, y, i, &law, out->on);
}

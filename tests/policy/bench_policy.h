/* The words that give the policy: caps and their counts, hours, holidays, verdicts.  Part of bench.h. */
#ifndef POSTERN_TESTS_POLICY_BENCH_POLICY_H
#define POSTERN_TESTS_POLICY_BENCH_POLICY_H

#include "tests/policy/bench_values.h"

static int32_t date(struct bench *b, struct slice s, int32_t none)
{
    struct holiday h;
    struct errmsg e;
    if (s.n == 0)
        return none;
    if (holiday_parse(s, &h, &e) != OK || h.kind != HOLIDAY_DATE) {
        wrong(b, "\"%.*s\" is no date", SLICE_ARG(s));
        return none;
    }
    return date_to_days((struct date){h.year, h.month, h.day});
}

/*
 * NAME/CLASSES/CHANNELS/REGIONS, and *v is what stands behind; "*": marketing and collections, every channel,
 * everywhere.  NAME may have dates: "NAME@FROM..TO", one of them or both.
 */
static struct law law(struct bench *b, struct slice *v)
{
    struct slice dates = cases_column(v, '/');
    struct slice name = cases_column(&dates, '@');
    struct law out = {.pack = text(b, name), .name = text(b, name), .regions = &b->regions[b->n_regions]};
    out.from_days = date(b, cases_column(&dates, '.'), INT32_MIN);
    out.to_days = date(b, dates.n > 0 ? (struct slice){dates.p + 1, dates.n - 1} : dates, INT32_MAX);
    out.classes = classes(b, cases_column(v, '/'));
    if (out.classes == 0)
        out.classes = UINT32_C(1) << CLASS_MARKETING | UINT32_C(1) << CLASS_COLLECTIONS;
    out.channels = channels(b, cases_column(v, '/'));
    if (out.channels == 0)
        out.channels = (UINT32_C(1) << CHANNEL_N) - 1;
    struct slice regions = cases_column(v, '/');
    while (regions.n > 0 && !slice_eq_cstr(regions, "*")) {
        struct slice word = cases_column(&regions, ',');
        if (!region_parse(word, &b->regions[b->n_regions++]))
            wrong(b, "\"%.*s\" is no region", SLICE_ARG(word));
        out.n_regions++;
    }
    return out;
}

/*
 * cap="name=N origin=O calendar=day|rolling=S limit=N classes=.. channels=.. gap=S reserve=CLASS:N of=category|other
 * law=NAME/CLASSES/CHANNELS/REGIONS per=subject|category|channels"; law= first: it gives name, classes and channels
 */
static void cap_word(struct bench *b, struct cap *c, struct slice key, struct slice v)
{
    static const char *const periods[] = {"day", "week", "month"};
    if (slice_eq_cstr(key, "name")) {
        c->name = text(b, v);
    } else if (slice_eq_cstr(key, "origin")) {
        c->origin = slice_eq_cstr(v, "regulation") ? CAP_OF_REGULATION : CAP_OF_ORGANISATION;
    } else if (slice_eq_cstr(key, "calendar")) {
        for (unsigned i = 0; i < N_ELEMENTS(periods); i++)
            c->period = slice_eq_cstr(v, periods[i]) ? (enum cap_period)i : c->period;
    } else if (slice_eq_cstr(key, "rolling")) {
        c->kind = CAP_ROLLING;
        c->rolling_s = number(b, v);
    } else if (slice_eq_cstr(key, "limit")) {
        c->limit = (int32_t)number(b, v);
    } else if (slice_eq_cstr(key, "classes")) {
        c->classes = classes(b, v);
    } else if (slice_eq_cstr(key, "channels")) {
        c->channels = channels(b, v);
    } else if (slice_eq_cstr(key, "gap")) {
        c->min_gap_s = number(b, v);
    } else if (slice_eq_cstr(key, "reserve")) {
        c->reserves = true;
        c->reserve_class = PARSED(enum message_class, class_parse, cases_column(&v, ':'));
        c->reserve_slots = (int32_t)number(b, v);
    } else if (slice_eq_cstr(key, "law")) {
        struct law *l = &b->cap_laws[c - b->caps];
        *l = law(b, &v);
        *c = (struct cap){.name = l->name, .origin = CAP_OF_REGULATION, .classes = l->classes, .channels = l->channels};
        c->law = l;
    } else if (slice_eq_cstr(key, "per")) {
        c->per_subject = slice_eq_cstr(v, "subject");
        c->per_category = slice_eq_cstr(v, "category");
        c->other_channels = slice_eq_cstr(v, "channels");
    } else if (slice_eq_cstr(key, "of")) {
        c->category = slice_eq_cstr(v, "other") ? &b->other_category : &b->category;
    } else {
        wrong(b, "\"%.*s\" is no word of a cap", SLICE_ARG(key));
    }
}

static void given_cap(struct bench *b, struct slice v)
{
    struct cap *c = &b->caps[b->policy.n_caps++];
    *c = (struct cap){.name = "cap", .origin = CAP_OF_ORGANISATION};
    while (v.n > 0) {
        struct slice word = cases_column(&v, ' ');
        struct slice key = cases_column(&word, '=');
        cap_word(b, c, key, word);
    }
}

static void given_count(struct bench *b, struct slice v)
{
    b->counts = v;
}

/* count.CAP=COUNT/OLDEST/LATEST */
static void given_cap_count(struct bench *b, struct slice cap, struct slice v)
{
    struct cap_count *c = &b->cap_counts[b->n_cap_counts];
    b->cap_counts_of[b->n_cap_counts++] = text(b, cap);
    c->count = (int32_t)number(b, cases_column(&v, '/'));
    struct slice oldest = cases_column(&v, '/');
    c->oldest_ms = oldest.n > 0 ? instant(b, oldest) : 0;
    c->latest_ms = v.n > 0 ? instant(b, v) : 0;
}

static void given_oldest(struct bench *b, struct slice v)
{
    b->oldest_ms = instant(b, v);
}

static void given_latest(struct bench *b, struct slice v)
{
    b->latest_ms = instant(b, v);
}

static void given_counters(struct bench *b, struct slice v)
{
    b->facts.counters_down = slice_eq_cstr(v, "down");
}

/* The policy has the message's category; after class= and what changes it. */
static void given_categories(struct bench *b, struct slice v)
{
    b->policy.categories = &b->category;
    b->policy.n_categories = yes(b, v) ? 1 : 0;
}

static void given_asks(struct bench *b, struct slice v)
{
    b->category.asks_consent = yes(b, v);
}

/* holidays="12-25 observed; easter+1", of the organisation's hours and the law's that are given after it */
static void given_holidays(struct bench *b, struct slice v)
{
    struct holiday *rules = arena_calloc(&b->arena, ROWS_MAX, sizeof *rules);
    struct errmsg e;
    for (b->holidays = (struct holiday_calendar){.name = "given", .rules = rules}; v.n > 0; b->holidays.n++) {
        if (holiday_parse(cases_column(&v, ';'), &rules[b->holidays.n], &e) != OK)
            wrong(b, "%s", e.text);
    }
}

static void given_quiet(struct bench *b, struct slice v)
{
    b->policy.organisation_hours[b->category.class][b->message.channel] = windows(b, v, WINDOW_QUIET);
}

static void given_open(struct bench *b, struct slice v)
{
    b->policy.organisation_hours[b->category.class][b->message.channel] = windows(b, v, WINDOW_ALLOWED);
}

static void given_default_zone(struct bench *b, struct slice v)
{
    b->policy.default_zone = slice_eq_cstr(v, "none") ? NULL : zone(b, v);
}

static void given_carrier_stops(struct bench *b, struct slice v)
{
    b->policy.carrier_enforces_stop = yes(b, v);
}

/* shadow=policy or shadow=RULE */
static void given_shadow(struct bench *b, struct slice v)
{
    if (slice_eq_cstr(v, "policy")) {
        b->policy.shadow = true;
        return;
    }
    struct verdict(*of)[SENDER_N] = b->policy.verdicts[PARSED(enum rule, rule_parse, v)];
    for (unsigned cell = 0; cell < CLASS_N * SENDER_N; cell++)
        of[cell / SENDER_N][cell % SENDER_N].shadow = true;
}

/* verdict=RULE/LEVEL/OUTCOME, for every class and sender */
static void given_verdict(struct bench *b, struct slice v)
{
    enum rule rule = PARSED(enum rule, rule_parse, cases_column(&v, '/'));
    enum level level = PARSED(enum level, level_parse, cases_column(&v, '/'));
    enum outcome outcome = PARSED(enum outcome, outcome_parse, v);
    for (unsigned cell = 0; cell < CLASS_N * SENDER_N; cell++)
        b->policy.verdicts[rule][cell / SENDER_N][cell % SENDER_N] = (struct verdict){level, outcome, false};
}

#endif

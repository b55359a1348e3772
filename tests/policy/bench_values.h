/* What a case is made of, and the values of its words: times, numbers, sets, zones.  Part of bench.h. */
#ifndef POSTERN_TESTS_POLICY_BENCH_VALUES_H
#define POSTERN_TESTS_POLICY_BENCH_VALUES_H

#include <check.h>
#include <stdarg.h>

#include "postern/policy.h"
#include "postern/zone.h"
#include "tests/policy/cases.h"

#define ROWS_MAX 64 /* of each kind: the oracle's scenes give up to 20 preferences */
#define TEXT_MAX 400

struct bench {
    struct arena arena;
    struct category category, other_category;
    struct policy policy;
    struct cap caps[CAP_CHECKS_MAX];
    struct law cap_laws[CAP_CHECKS_MAX];
    struct legal_window legal[ROWS_MAX];
    bool remembers; /* the policy has a memo of its hours */
    bool promises;  /* nothing but time changes while a message waits */
    struct hours_memo memo;
    struct legal_consent legal_consents[ROWS_MAX];
    struct legal_opt_out legal_opt_outs[ROWS_MAX];
    struct region regions[4 * ROWS_MAX];
    size_t n_regions;
    struct holiday_calendar holidays; /* of the hours that are given after it */
    struct cap_count cap_counts[CAP_CHECKS_MAX];
    const char *cap_counts_of[CAP_CHECKS_MAX];
    size_t n_cap_counts;
    struct preference defaults[ROWS_MAX], preferences[ROWS_MAX];
    struct opt_out opt_outs[ROWS_MAX];
    struct consent consents[ROWS_MAX];
    struct message message;
    struct body_facts body;
    struct profile profile;
    struct facts facts;
    struct slice counts;
    int64_t oldest_ms, latest_ms;
    struct decision decision;
    const char *file;
    int line;
    struct slice name;
    unsigned failures;
    unsigned cases;
};

static void wrong(struct bench *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void wrong(struct bench *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s:%d: %.*s: ", b->file, b->line, SLICE_ARG(b->name));
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    b->failures++;
}

/* The place of one more row; a case with more than there is room for says so. */
static size_t row(size_t *n)
{
    ensure(*n < ROWS_MAX);
    return (*n)++;
}

/* --- values --------------------------------------------------------------------- */

static char *text(struct bench *b, struct slice s)
{
    return arena_strndup(&b->arena, s.p, s.n);
}

static int64_t number(struct bench *b, struct slice s)
{
    char *end, *t = text(b, s);
    long long n = strtoll(t, &end, 10);
    if (*end != '\0' || s.n == 0)
        wrong(b, "\"%s\" is not a number", t);
    return n;
}

static int64_t unit_ms(struct bench *b, char unit)
{
    switch (unit) {
    case 's':
        return 1000;
    case 'm':
        return MS_PER_MINUTE;
    case 'h':
        return 60 * MS_PER_MINUTE;
    case 'd':
        return MS_PER_DAY;
    default:
        wrong(b, "'%c' is not a unit of time", unit);
        return 0;
    }
}

static int64_t instant(struct bench *b, struct slice s)
{
    char with_seconds[64];
    int64_t at = 0;
    if (s.n > 2 && (s.p[0] == '-' || s.p[0] == '+'))
        return b->facts.now_ms + number(b, (struct slice){s.p, s.n - 1}) * unit_ms(b, s.p[s.n - 1]);
    bool short_form = s.n > 16 && s.p[16] != ':';
    snprintf(with_seconds, sizeof with_seconds, "%.*s%s%.*s", short_form ? 16 : (int)s.n, s.p, short_form ? ":00" : "",
             short_form ? (int)s.n - 16 : 0, short_form ? s.p + 16 : "");
    if (!rfc3339_parse(slice_of(with_seconds), &at))
        wrong(b, "\"%.*s\" is not a time", SLICE_ARG(s));
    return at;
}

static bool yes(struct bench *b, struct slice s)
{
    if (!slice_eq_cstr(s, "yes") && !slice_eq_cstr(s, "no"))
        wrong(b, "\"%.*s\" is neither yes nor no", SLICE_ARG(s));
    return slice_eq_cstr(s, "yes");
}

static const struct zone *zone(struct bench *b, struct slice s)
{
    const struct zone *z = zone_get(text(b, s));
    if (z == NULL)
        wrong(b, "no zone %.*s", SLICE_ARG(s));
    return z;
}

/* PARSED(channel, "sms"): the enum of that name, or a failure of the case. */
#define PARSED(type, parse, s)                                                                                         \
    __extension__({                                                                                                    \
        type parsed_ = (type)0;                                                                                        \
        if (!parse(s, &parsed_))                                                                                       \
            wrong(b, "\"%.*s\" is no " #type, SLICE_ARG(s));                                                           \
        parsed_;                                                                                                       \
    })

/* "a,b" as bits of what one word means; "*" is 0: any. */
static uint32_t classes(struct bench *b, struct slice s)
{
    uint32_t bits = 0;
    while (s.n > 0 && !slice_eq_cstr(s, "*")) {
        struct slice word = cases_column(&s, ',');
        bits |= UINT32_C(1) << PARSED(enum message_class, class_parse, word);
    }
    return bits;
}

static uint32_t channels(struct bench *b, struct slice s)
{
    uint32_t bits = 0;
    while (s.n > 0 && !slice_eq_cstr(s, "*")) {
        struct slice word = cases_column(&s, ',');
        bits |= UINT32_C(1) << PARSED(enum channel, channel_parse, word);
    }
    return bits;
}

static struct window_set windows(struct bench *b, struct slice s, enum window_sense sense)
{
    struct window_set set = {.sense = sense};
    struct errmsg e = {""};
    if (window_parse(slice_of(text(b, s)), sense, &b->arena, &set, &e) != OK)
        wrong(b, "%s", e.text);
    set.holidays = b->holidays.n > 0 ? &b->holidays : NULL;
    return set;
}

#endif

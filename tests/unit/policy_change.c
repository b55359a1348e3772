/* May a change be applied: the tables tests/policy/change_preference.cases, change_consent.cases and
 * consent_lifts.cases (base/consent.c). */
#include <check.h>

#include "postern/policy.h"
#include "tests/policy/preference_case.h"

#define NOW_MS   INT64_C(1773154800000) /* 2026-03-10T15:00:00Z */
#define ROWS_MAX 4

static const char *const verdicts[] = {"apply", "pending", "refuse"};
static const char *const states[] = {"granted", "revoked", "pending"};

/* "refuse PART OF THE TEXT" */
static bool as_expected(struct slice expected, enum change_verdict got, const struct errmsg *e)
{
    char part[128];
    struct slice word = cases_column(&expected, ' ');
    snprintf(part, sizeof part, "%.*s", SLICE_ARG(expected));
    bool text = got == CHANGE_REFUSE ? e->text[0] != '\0' && strstr(e->text, part) != NULL : e->text[0] == '\0';
    return slice_eq_cstr(word, verdicts[got]) && text;
}

START_TEST(preferences)
{
    struct cases c;
    struct slice line;
    unsigned n = 0;
    CASES_OPEN(&c, "change_preference.cases");
    for (; cases_next(&c, &line); n++) {
        struct errmsg e = {""};
        struct slice name = cases_column(&line, '|'), in_force = cases_column(&line, '|');
        bool first = slice_eq_cstr(in_force, "none");
        const struct preference before = first ? (struct preference){.version = 1} : preference_case(in_force);
        const struct preference after = preference_case(cases_column(&line, '|'));
        enum change_verdict got = change_preference(first ? NULL : &before, &after, &e);
        ck_assert_msg(as_expected(slice_trim(line), got, &e), "line %d: %.*s: got %s \"%s\"", c.number, SLICE_ARG(name),
                      verdicts[got], e.text);
    }
    ck_assert_uint_ge(n, 30);
}
END_TEST

/* "-1h", "-23.9h" */
static int64_t hours_ago(struct slice s)
{
    char text[32];
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(s));
    return NOW_MS + (int64_t)(strtod(text, NULL) * 3600000.0);
}

static bool read_channel(struct slice s, enum channel *out)
{
    bool any = s.n == 0 || slice_eq_cstr(s, "*");
    ck_assert_msg(any || channel_parse(s, out), "no channel \"%.*s\"", SLICE_ARG(s));
    return any;
}

static struct slice any_or(struct slice s)
{
    return slice_eq_cstr(s, "*") ? SLICE("") : s;
}

static struct opt_out read_opt_out(struct slice s)
{
    struct opt_out o = {.source = SOURCE_CUSTOMER};
    ck_assert(opt_out_scope_parse(cases_column(&s, '/'), &o.scope));
    o.any_channel = read_channel(cases_column(&s, '/'), &o.channel);
    struct slice name = any_or(cases_column(&s, '/'));
    o.category = o.scope == SCOPE_CATEGORY ? name : SLICE("");
    o.topic = o.scope == SCOPE_TOPIC ? name : SLICE("");
    o.sender = s;
    return o;
}

static struct consent read_consent(struct slice s)
{
    struct consent c = {.source = SOURCE_CUSTOMER};
    c.state = (enum consent_state)preference_word(cases_column(&s, '/'), states, N_ELEMENTS(states));
    c.any_channel = read_channel(cases_column(&s, '/'), &c.channel);
    c.category = any_or(cases_column(&s, '/'));
    c.at_ms = hours_ago(cases_column(&s, '/'));
    c.night = slice_eq_cstr(s, "night");
    return c;
}

static struct consent_change read_change(struct slice s)
{
    struct consent_change c = {.any_channel = false};
    c.state = (enum consent_state)preference_word(cases_column(&s, ' '), states, N_ELEMENTS(states));
    ck_assert(source_parse(cases_column(&s, ' '), &c.source));
    c.any_channel = read_channel(cases_column(&s, ' '), &c.channel);
    c.category = any_or(cases_column(&s, ' '));
    while (s.n > 0) {
        struct slice word = cases_column(&s, ' ');
        c.night = c.night || slice_eq_cstr(word, "night");
        c.has_evidence = c.has_evidence || slice_eq_cstr(word, "evidence");
        c.banner_acknowledged = c.banner_acknowledged || slice_eq_cstr(word, "banner");
    }
    return c;
}

static void read_standing(struct slice s, struct profile *p, struct opt_out *opt_outs, struct consent *consents)
{
    *p = (struct profile){.known = KNOWN, .opt_outs = opt_outs, .consents = consents};
    while (s.n > 0) {
        struct slice word = cases_column(&s, ' ');
        struct slice key = cases_column(&word, '=');
        if (slice_eq_cstr(key, "opt_out")) {
            struct opt_out *o = &opt_outs[p->n_opt_outs++];
            *o = read_opt_out(word);
            o->at_ms = hours_ago(o->sender);
            o->sender = SLICE("");
        } else if (slice_eq_cstr(key, "consent")) {
            consents[p->n_consents++] = read_consent(word);
        } else {
            ck_assert(slice_eq_cstr(key, "opted_out"));
            p->opted_out_at_ms = hours_ago(word);
        }
    }
}

START_TEST(consents)
{
    struct cases c;
    struct slice line;
    unsigned n = 0;
    CASES_OPEN(&c, "change_consent.cases");
    for (; cases_next(&c, &line); n++) {
        struct errmsg e = {""};
        struct opt_out opt_out_rows[ROWS_MAX];
        struct consent consent_rows[ROWS_MAX];
        struct profile p;
        struct slice name = cases_column(&line, '|');
        read_standing(cases_column(&line, '|'), &p, opt_out_rows, consent_rows);
        const struct consent_change change = read_change(cases_column(&line, '|'));
        enum change_verdict got = change_consent(&p, &change, NOW_MS, 86400, &e);
        ck_assert_msg(as_expected(slice_trim(line), got, &e), "line %d: %.*s: got %s \"%s\"", c.number, SLICE_ARG(name),
                      verdicts[got], e.text);
    }
    ck_assert_uint_ge(n, 35);
}
END_TEST

START_TEST(lifts)
{
    struct cases c;
    struct slice line;
    unsigned n = 0;
    CASES_OPEN(&c, "consent_lifts.cases");
    for (; cases_next(&c, &line); n++) {
        struct slice name = cases_column(&line, '|');
        const struct opt_out o = read_opt_out(cases_column(&line, '|'));
        const struct consent_change change = read_change(cases_column(&line, '|'));
        const struct consent grant = {.any_channel = change.any_channel,
                                      .channel = change.channel,
                                      .category = change.category,
                                      .state = change.state,
                                      .night = change.night};
        bool got = consent_lifts(&grant, &o);
        ck_assert_msg(slice_eq_cstr(slice_trim(line), got ? "yes" : "no"), "line %d: %.*s", c.number, SLICE_ARG(name));
    }
    ck_assert_uint_ge(n, 20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy_change");
    TCase *tables = tcase_create("tables");
    tcase_add_test(tables, preferences);
    tcase_add_test(tables, consents);
    tcase_add_test(tables, lifts);
    suite_add_tcase(suite, tables);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

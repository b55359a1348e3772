/* Rule packs beside decisions: spans, deadlines, and that remembered hours are the hours. */
#include "tests/policy/bench.h"

static struct bench b;

static int32_t day(const char *text)
{
    return date(&b, slice_of(text), 0);
}

static void reset(void)
{
    b = (struct bench){.file = "policy_law"};
    arena_init(&b.arena, 1 << 20);
    bench_reset(&b);
}

/* --- spans -------------------------------------------------------------------------- */

START_TEST(spans)
{
    struct cases c;
    struct slice line;
    unsigned n = 0;
    reset();
    CASES_OPEN(&c, "law_span.cases");
    for (; cases_next(&c, &line); n++) {
        struct holiday rules[ROWS_MAX];
        struct holiday_calendar holidays = {.name = "h", .rules = rules};
        struct slice name = cases_column(&line, '|'), from = cases_column(&line, '|'), s = cases_column(&line, '|');
        struct slice days = cases_column(&line, '|');
        struct errmsg e;
        while (days.n > 0)
            ck_assert_int_eq(holiday_parse(cases_column(&days, ','), &rules[holidays.n++], &e), OK);
        struct law_span of = span(&b, s);
        int32_t end = law_span_end(&of, holidays.n > 0 ? &holidays : NULL, date(&b, from, 0));
        ck_assert_msg(end == date(&b, slice_trim(line), 0), "line %d: %.*s", c.number, SLICE_ARG(name));
    }
    ck_assert_uint_eq(b.failures, 0);
    ck_assert_uint_ge(n, 25);
    arena_clear(&b.arena);
}
END_TEST

/* Seven days a week off: the search has an end. */
START_TEST(a_span_without_business_days_ends)
{
    struct holiday rules[12 * 7];
    struct holiday_calendar never = {.name = "never", .rules = rules};
    static const struct law_span one = {.business_days = 1};
    for (int32_t month = 1; month <= 12; month++)
        for (int32_t nth = 1; nth <= 5; nth++)
            rules[never.n++] =
                (struct holiday){.kind = HOLIDAY_NTH_WEEKDAY, .month = month, .nth = nth, .weekday = TUESDAY};
    ck_assert_int_eq(law_span_end(&one, &never, date_to_days((struct date){2026, 3, 9})),
                     date_to_days((struct date){2026, 3, 11}));
    struct holiday all[366];
    struct holiday_calendar closed = {.name = "closed", .rules = all};
    for (int32_t d = 0; d < 366; d++) {
        struct date of = date_from_days(date_to_days((struct date){2028, 1, 1}) + d);
        all[closed.n++] = (struct holiday){.kind = HOLIDAY_FIXED, .month = of.month, .day = of.day};
    }
    ck_assert_int_gt(law_span_end(&one, &closed, 0), 0);
}
END_TEST

/* --- deadlines ---------------------------------------------------------------------- */

static size_t deadlines(uint32_t channels, const char *at, struct law_deadline *out, size_t max)
{
    return policy_deadlines(&b.policy, &b.profile, channels, instant(&b, slice_of(at)), out, max);
}

START_TEST(deadlines_of_where_somebody_may_be)
{
    struct law_deadline d[4];
    reset();
    give_words(&b, SLICE("region=US-FL law_opt_out=\"us/marketing/*/US/within=10b\" "
                         "law_opt_out=\"fl/marketing/sms/US-FL/within=15d\" law_opt_out=\"mail/*/email/*/within=2d\" "
                         "law_opt_out=\"fr/marketing/*/FR/within=1d\" law_opt_out=\"ask/marketing/*/US/reask=12mo\" "
                         "law_opt_out=\"new@2026-03-11../marketing/*/US/within=1d\" "
                         "law_opt_out=\"gone@..2026-03-01/marketing/*/US/within=1d\""));
    /* 03:59 UTC is still the 10th in New York. */
    ck_assert_uint_eq(deadlines(0, "2026-03-11T03:59Z", d, 4), 3);
    ck_assert_str_eq(d[0].law->name, "mail");
    ck_assert_int_eq(d[0].days, day("2026-03-12"));
    ck_assert_str_eq(d[1].law->name, "us");
    ck_assert_int_eq(d[1].days, day("2026-03-24"));
    ck_assert_str_eq(d[2].law->name, "fl");
    ck_assert_int_eq(d[2].days, day("2026-03-25"));
    ck_assert_uint_eq(deadlines(0, "2026-03-11T04:00Z", d, 4), 4);
    ck_assert_str_eq(d[0].law->name, "new");
    /* One channel; no room: the latest falls off. */
    ck_assert_uint_eq(deadlines(UINT32_C(1) << CHANNEL_SMS, "2026-03-10T12:00Z", d, 4), 2);
    ck_assert_uint_eq(deadlines(0, "2026-03-10T12:00Z", d, 2), 2);
    ck_assert_str_eq(d[1].law->name, "us");
    ck_assert_uint_eq(deadlines(0, "2026-03-10T12:00Z", d, 0), 0);
    /* Nobody knows where: every law. */
    b.profile.n_regions = 0;
    ck_assert_uint_eq(deadlines(0, "2026-03-10T12:00Z", d, 4), 4);
    ck_assert_str_eq(d[0].law->name, "fr");
    ck_assert_uint_eq(b.failures, 0);
    arena_clear(&b.arena);
}
END_TEST

/* --- what speaks to a message ---------------------------------------------------------- */

START_TEST(laws_that_speak_to_a_message)
{
    struct law_in_force laws[8];
    struct hours_in_force hours[8];
    reset();
    given_class(&b, SLICE("marketing"));
    give_words(&b,
               SLICE("channel=sms region=US-FL pref.hours=10:00-12:00 quiet=21:00-08:00 "
                     "legal=us/*/*/US/08:00-21:00 legal=fr/*/*/FR/08:00-21:00 legal=n@2027-01-01../*/*/US/08:00-21:00 "
                     "cap=\"limit=9\" cap=\"law=cap/*/*/US rolling=86400 limit=3\" "
                     "law_consent=\"con/*/*/US/need=opt_in\" law_opt_out=\"out/*/*/US/within=10b\" "
                     "law_opt_out=\"mail/*/email/US/within=10b\""));
    static const struct legal_keywords stop = {
        .law = {.name = "stop", .classes = ~0u, .channels = ~0u, .from_days = INT32_MIN, .to_days = INT32_MAX}};
    b.policy.legal_keywords = &stop;
    b.policy.n_legal_keywords = 1;
    static const struct {
        const char *name;
        enum law_kind kind;
    } want[] = {
        {"us", LAW_HOURS}, {"cap", LAW_CAP}, {"con", LAW_CONSENT}, {"out", LAW_OPT_OUT}, {"stop", LAW_KEYWORDS}};
    ck_assert_uint_eq(policy_laws(&b.facts, laws, N_ELEMENTS(laws)), N_ELEMENTS(want));
    for (size_t i = 0; i < N_ELEMENTS(want); i++) {
        ck_assert_str_eq(laws[i].law->name, want[i].name);
        ck_assert_int_eq(laws[i].kind, want[i].kind);
    }
    ck_assert_uint_eq(policy_laws(&b.facts, laws, 2), 2);

    policy_prepare(&b.facts);
    ck_assert_uint_eq(policy_hours(&b.facts, hours, N_ELEMENTS(hours)), 3);
    ck_assert_str_eq(hours[0].of, "legal");
    ck_assert_str_eq(hours[0].law->name, "us");
    ck_assert_str_eq(hours[1].of, "organisation");
    ck_assert_ptr_null(hours[1].law);
    ck_assert_str_eq(hours[2].of, "contact");
    ck_assert_int_eq(hours[2].closes_ms, instant(&b, SLICE("2026-03-10T15:58Z")));
    for (size_t max = 0; max < 3; max++)
        ck_assert_uint_eq(policy_hours(&b.facts, hours, max), max);
    ck_assert_uint_eq(b.failures, 0);
    arena_clear(&b.arena);
}
END_TEST

/* --- the memo ------------------------------------------------------------------------ */

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    return *x ^= *x << 17;
}

/* At thousands of instants, in any order, of several places: as without. */
START_TEST(what_is_remembered_is_what_would_be_found)
{
    static const char *const places[] = {"region=US-FL zone=America/New_York",
                                         "region=US zone=America/New_York,America/Denver", "region=KR zone=Asia/Seoul",
                                         "region=US-FL zone=America/Chicago"};
    static struct hours_memo memo;
    static struct decision with, without;
    uint64_t x = 88172645463325252;
    unsigned deferred = 0;
    reset();
    given_class(&b, SLICE("marketing"));
    give_words(&b, SLICE("need=none expiry=9999999 channel=sms legal=us/*/*/US/08:00-21:00 "
                         "legal=\"fl@2026-03-12../*/*/US-FL/mon-sat 09:00-12:00,13:00-20:00\" "
                         "legal=\"late@..2026-03-20/*/*/US/10:00-24:00\" "
                         "law_consent=\"kr@2026-03-14../*/sms/KR/night=21:00-08:00\""));
    memo = (struct hours_memo){0};
    for (unsigned i = 0; i < 20000; i++) {
        give_words(&b, slice_of(places[next_random(&x) % N_ELEMENTS(places)]));
        /* Three weeks around a change of clocks, in New York on 8 March. */
        b.facts.now_ms = INT64_C(1772600000000) + (int64_t)(next_random(&x) % UINT64_C(1814400)) * 1000;
        b.policy.hours_memo = NULL;
        policy_decide(&b.facts, &without);
        b.policy.hours_memo = &memo;
        policy_decide(&b.facts, &with);
        ck_assert_int_eq(with.outcome, without.outcome);
        ck_assert_int_eq(with.release_at_ms, without.release_at_ms);
        ck_assert_int_eq(with.window_end_ms, without.window_end_ms);
        ck_assert_str_eq(with.local_rule, without.local_rule);
        for (size_t v = 0; v < without.n_violations; v++)
            ck_assert_str_eq(with.violations[v].detail, without.violations[v].detail);
        deferred += with.outcome == OUTCOME_DEFER;
    }
    ck_assert_uint_gt(deferred, 5000);
    ck_assert_uint_lt(deferred, 15000);
    arena_clear(&b.arena);
}
END_TEST

START_TEST(what_is_remembered_can_be_forgotten)
{
    static struct hours_memo memo, empty;
    static struct decision d;
    reset();
    given_class(&b, SLICE("marketing"));
    give_words(&b, SLICE("need=none region=US legal=us/*/*/US/08:00-21:00"));
    b.policy.hours_memo = &memo;
    policy_decide(&b.facts, &d);
    ck_assert_int_ne(memcmp(&memo, &empty, sizeof memo), 0);
    policy_forget(&b.policy);
    ck_assert_int_eq(memcmp(&memo, &empty, sizeof memo), 0);
    b.policy.hours_memo = NULL;
    policy_forget(&b.policy);
    arena_clear(&b.arena);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy_law");
    TCase *t = tcase_create("law");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, spans);
    tcase_add_test(t, a_span_without_business_days_ends);
    tcase_add_test(t, deadlines_of_where_somebody_may_be);
    tcase_add_test(t, laws_that_speak_to_a_message);
    tcase_add_test(t, what_is_remembered_is_what_would_be_found);
    tcase_add_test(t, what_is_remembered_can_be_forgotten);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

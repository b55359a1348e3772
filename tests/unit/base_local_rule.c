/* Local times as text: what is written is read back, and another law makes another instant of it. */
#include <check.h>
#include <stdlib.h>

#include "postern/local_rule.h"

static const struct zone west8 = {.name = "America/Vancouver", .first_offset_s = -8 * 3600};
static const struct zone west7 = {.name = "America/Vancouver", .first_offset_s = -7 * 3600};

static int64_t at(const char *text)
{
    int64_t ms;
    ck_assert_msg(rfc3339_parse(slice_of(text), &ms), "%s", text);
    return ms;
}

START_TEST(written_and_read)
{
    static const struct {
        const char *instant;
        bool is_instant;
        const char *text;
    } rows[] = {
        {"2026-11-23T16:00:00Z", false, "2026-11-23T08:00 America/Vancouver"},
        {"2026-11-23T16:01:30Z", false, "2026-11-23T08:01:30 America/Vancouver"},
        {"2026-11-23T07:59:00Z", false, "2026-11-22T23:59 America/Vancouver"},
        {"2026-11-23T16:00:30.500Z", true, "2026-11-23T16:00:30Z America/Vancouver"},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        char text[LOCAL_RULE_MAX];
        struct local_rule rule;
        ck_assert_str_eq(local_rule_format(&west8, at(rows[i].instant), rows[i].is_instant, text), rows[i].text);
        ck_assert_msg(local_rule_parse(slice_of(text), &rule) == !rows[i].is_instant, "%s", text);
        if (rows[i].is_instant)
            continue;
        ck_assert_str_eq(rule.zone, "America/Vancouver");
        ck_assert_int_eq(local_rule_at_ms(&rule, &west8), at(rows[i].instant));
        ck_assert_int_eq(local_rule_at_ms(&rule, &west7), at(rows[i].instant) - 3600000);
    }
}
END_TEST

START_TEST(no_rule)
{
    static const char *const rows[] = {"",
                                       "mon 08:00 America/New_York",
                                       "2026-11-23T08:00",
                                       "2026-11-23T08:00 ",
                                       "2026-11-23T08:0 UTC",
                                       "2026-13-23T08:00 UTC",
                                       "2026-11-23T08:00:00+01:00 UTC",
                                       "2026-11-23T08:00 a/zone/that/is/much/longer/than/any/zone/has/ever/been/named"};
    struct local_rule rule;
    for (size_t i = 0; i < N_ELEMENTS(rows); i++)
        ck_assert_msg(!local_rule_parse(slice_of(rows[i]), &rule), "\"%s\"", rows[i]);
}
END_TEST

START_TEST(a_time_that_is_there_twice)
{
    /* Clocks go back at 2026-11-01T09:00Z, 02:00 -> 01:00 */
    static const struct zone_transition back = {INT64_C(1793523600), -8 * 3600};
    const struct zone z = {.name = "X", .first_offset_s = -7 * 3600, .n = 1, .transitions = &back};
    struct local_rule rule;
    ck_assert(local_rule_parse(SLICE("2026-11-01T01:30 X"), &rule));
    ck_assert_int_eq(local_rule_at_ms(&rule, &z), at("2026-11-01T09:30:00Z"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("local_rule");
    TCase *tc = tcase_create("local_rule");
    tcase_add_test(tc, written_and_read);
    tcase_add_test(tc, no_rule);
    tcase_add_test(tc, a_time_that_is_there_twice);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Zones by name: what is a name and what is not, links, suggestions, countries, the version. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "postern/clock.h"
#include "postern/zone.h"
#include "tests/unit/own_time.h"

START_TEST(names)
{
    static const char *const good[] = {"America/New_York", "UTC",          "Etc/UTC",
                                       "Europe/Kyiv",      "Asia/Kolkata", "America/Argentina/ComodRivadavia",
                                       "Antarctica/Troll"};
    for (size_t i = 0; i < N_ELEMENTS(good); i++) {
        const struct zone *z = zone_get(good[i]);
        ck_assert_msg(z != NULL, "%s", good[i]);
        ck_assert_str_eq(z->name, good[i]);
        ck_assert_ptr_eq(zone_get(good[i]), z);
    }
    static const char *const bad[] = {"",
                                      "Mars/Olympus",
                                      "america/new_york",
                                      "America/New_York ",
                                      "America",
                                      "+05:00",
                                      "UTC+5",
                                      "<+03>-3",
                                      "EST5EDT,M3.2.0,M11.1.0",
                                      "/usr/share/zoneinfo/UTC",
                                      "../zoneinfo/UTC",
                                      "Europe/../UTC",
                                      ":UTC",
                                      "posixrules",
                                      "posix/UTC",
                                      "right/UTC",
                                      "localtime",
                                      "Factory",
                                      "tzdata.zi"};
    for (size_t i = 0; i < N_ELEMENTS(bad); i++)
        ck_assert_msg(zone_get(bad[i]) == NULL, "%s is no zone", bad[i]);
    ck_assert_ptr_null(zone_get(NULL));
}
END_TEST

START_TEST(links_share_their_table)
{
    const struct zone *kolkata = zone_get("Asia/Kolkata"), *calcutta = zone_get("Asia/Calcutta");
    ck_assert_str_eq(calcutta->name, "Asia/Calcutta");
    ck_assert_ptr_eq(calcutta->transitions, kolkata->transitions);
    ck_assert_int_eq(calcutta->first_offset_s, 19800);
    ck_assert_int_eq(zone_offset_s(zone_get("UTC"), 0), 0);
}
END_TEST

START_TEST(suggestions)
{
    static const char *const rows[][2] = {
        {"America/NewYork", "America/New_York"},  {"America/New York", "America/New_York"},
        {"america/new_york", "America/New_York"}, {"new york", "America/New_York"},
        {"Europ/Berlin", "Europe/Berlin"},        {"Paris", "Europe/Paris"},
        {"Pacific/Apai", "Pacific/Apia"},         {"US/Estern", "US/Eastern"}};
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        const char *name = zone_suggest(rows[i][0]);
        ck_assert_msg(name != NULL && strcmp(name, rows[i][1]) == 0, "%s: %s", rows[i][0], name == NULL ? "-" : name);
    }
    static const char *const none[] = {"",
                                       "PST",
                                       "Mars/Olympus",
                                       "qqqqqqqqqqqq",
                                       "+05:00",
                                       "a name that is much longer than any name of a time zone can be"};
    for (size_t i = 0; i < N_ELEMENTS(none); i++)
        ck_assert_msg(zone_suggest(none[i]) == NULL, "%s: %s", none[i], zone_suggest(none[i]));
}
END_TEST

START_TEST(countries)
{
    const struct zone *zones[64];
    size_t n = zone_of_country("US", zones, N_ELEMENTS(zones));
    ck_assert_uint_gt(n, 20);
    ck_assert_str_eq(zones[0]->name, "America/New_York");
    ck_assert_uint_eq(zone_of_country("US", zones, 3), 3);
    ck_assert_uint_eq(zone_of_country("FR", zones, N_ELEMENTS(zones)), 1);
    ck_assert_str_eq(zones[0]->name, "Europe/Paris");
    ck_assert_uint_eq(zone_of_country("XX", zones, N_ELEMENTS(zones)), 0);
    ck_assert_uint_eq(zone_of_country("", zones, N_ELEMENTS(zones)), 0);
}
END_TEST

START_TEST(version)
{
    const char *text = zone_data_version();
    ck_assert_uint_ge(strlen(text), 5); /* "2026f" */
    ck_assert_uint_eq(strspn(text, "0123456789"), 4);
}
END_TEST

START_TEST(all_are_loaded_within_a_second)
{
    int64_t start_ms = own_ms();
    size_t n = zone_load_all();
    int64_t took_ms = own_ms() - start_ms;
    ck_assert_uint_gt(n, 400);
    ck_assert_int_lt(took_ms, 1000);
    start_ms = own_ms();
    ck_assert_uint_eq(zone_load_all(), n);
    ck_assert_int_lt(own_ms() - start_ms, 50);
}
END_TEST

START_TEST(without_tzdata)
{
    ck_assert_int_eq(setenv("TZDIR", "/nonexistent", 1), 0); /* in this test's own process */
    ck_assert_str_eq(zone_data_version(), "unknown");
    ck_assert_ptr_null(zone_get("America/New_York"));
    ck_assert_ptr_null(zone_suggest("America/NewYork"));
    const struct zone *zones[4];
    ck_assert_uint_eq(zone_of_country("US", zones, 4), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("zone");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, names);
    tcase_add_test(tests, links_share_their_table);
    tcase_add_test(tests, suggestions);
    tcase_add_test(tests, countries);
    tcase_add_test(tests, version);
    tcase_add_test(tests, all_are_loaded_within_a_second);
    tcase_add_test(tests, without_tzdata);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

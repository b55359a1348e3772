/* When to come back, as each provider says it. */
#include <check.h>
#include <stdlib.h>

#include "gateway/upstream_answer.h"

#define NOW_MS INT64_C(1640032391000) /* 2021-12-20T20:33:11Z */
#define SAID(when)                                                                                                     \
    "{\"message\":\"Domain example.com is not allowed to send: request limit exceeded, try again after " when "\"}"

static const struct {
    int status;
    const char *field, *body;
    int64_t ms;
} rows[] = {
    {429, "", "", 0},
    {429, "Retry-After: 2", "", 2000},
    {503, "Retry-After: 2", "", 2000},
    {429, "Retry-After: Mon, 20 Dec 2021 20:33:21 GMT", "", 10000},
    {429, "Retry-After: Mon, 20 Dec 2021 20:33:01 GMT", "", 0},
    {429, "X-RateLimit-Reset: 1640032401", "", 10000},
    {503, "X-RateLimit-Reset: 1640032401", "", 0},
    {429, "X-RateLimit-Reset: 1640032401", SAID("120 seconds"), 10000},
    {429, "Retry-After: soon", SAID("120 seconds"), 120000},
    {429, "", SAID("120 seconds"), 120000},
    {503, "", SAID("120 seconds"), 0},
    {429, "", SAID("99999999 seconds"), 0},
    {429, "", SAID("-1 seconds"), 0},
    {429, "", SAID(" seconds"), 0},
    {429, "", SAID("seconds"), 0},
    {429, "", SAID("120 minutes"), 0},
    {429, "", SAID("Mon, 20 Dec 2021 20:33:21 UTC"), 10000},
    {429, "", SAID("Mon, 20 Dec 2021 20:33:01 UTC"), 0},
    {429, "", SAID("Mon, 20 Dec 2121 20:33:01 UTC"), 86400000},
    {429, "", SAID(""), 0},
    {429, "", "try again after ", 0},
    {429, "", "try again after 120 seconds", 0},
    {429, "", "{\"message\":\"too many\"}", 0},
};

START_TEST(when_to_come_back)
{
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct arena arena;
        struct upstream_answer a;
        arena_init(&arena, 1u << 20);
        upstream_answer_init(&a, &arena, 4096);
        ck_assert_int_eq(upstream_answer_line(&a, slice_of(rows[i].field)), OK);
        ck_assert_int_eq(upstream_answer_body(&a, slice_of(rows[i].body)), OK);
        int64_t ms = upstream_answer_retry_ms(&a, rows[i].status, NOW_MS);
        ck_assert_msg(ms == rows[i].ms, "row %zu: %lld", i, (long long)ms);
        arena_clear(&arena);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway_upstream_answer");
    TCase *tcase = tcase_create("retry");
    tcase_add_test(tcase, when_to_come_back);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

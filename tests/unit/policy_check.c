/* Policies that cannot work: the table tests/policy/check.cases, and a policy of too many caps. */
#include "tests/policy/bench.h"

static struct bench b;

START_TEST(table)
{
    struct cases c;
    struct slice line;
    unsigned n = 0;
    b = (struct bench){.file = "check.cases"};
    arena_init(&b.arena, 1 << 20);
    CASES_OPEN(&c, "check.cases");
    for (; cases_next(&c, &line); n++) {
        struct errmsg e = {""};
        char expected[TEXT_MAX];
        b.line = c.number;
        b.name = cases_column(&line, '|');
        bench_reset(&b);
        give_words(&b, cases_column(&line, '|'));
        snprintf(expected, sizeof expected, "%.*s", SLICE_ARG(slice_trim(line)));
        enum err err = policy_check(&b.policy, &e);
        bool good = strcmp(expected, "ok") == 0 ? err == OK : err != OK && strstr(e.text, expected) != NULL;
        if (!good)
            wrong(&b, "expected \"%s\", got %d \"%s\"", expected, err, e.text);
    }
    arena_clear(&b.arena);
    ck_assert_uint_eq(b.failures, 0);
    ck_assert_uint_ge(n, 19);
}
END_TEST

/* So that every cap that matches a message has its place in struct facts. */
START_TEST(caps_fit)
{
    struct errmsg e = {""};
    struct cap many[CAP_CHECKS_MAX];
    for (size_t i = 0; i < N_ELEMENTS(many); i++)
        many[i] = (struct cap){.name = "many", .limit = 1};
    policy_init(&b.policy);
    b.policy.caps = many;
    b.policy.n_caps = CAP_CHECKS_MAX - 3;
    ck_assert_int_eq(policy_check(&b.policy, &e), OK);
    b.policy.n_caps++;
    ck_assert_int_eq(policy_check(&b.policy, &e), ERR_LIMIT);
    ck_assert_str_eq(e.text, "30 caps for otp by email: at most 29 can be checked for one message");
}
END_TEST

/* Those that no message meets together are no crowd: laws of other classes and channels. */
START_TEST(caps_of_other_classes_need_no_room)
{
    struct errmsg e = {""};
    static struct law laws[2 * CAP_CHECKS_MAX];
    static struct cap many[2 * CAP_CHECKS_MAX];
    for (size_t i = 0; i < N_ELEMENTS(many); i++) {
        uint32_t class = i % 2 == 0 ? CLASS_MARKETING : CLASS_COLLECTIONS;
        laws[i] =
            (struct law){.name = "x/many", .classes = UINT32_C(1) << class, .channels = UINT32_C(1) << CHANNEL_SMS};
        many[i] = (struct cap){.name = "x/many", .kind = CAP_ROLLING, .rolling_s = 60, .limit = 1, .law = &laws[i]};
    }
    policy_init(&b.policy);
    b.policy.caps = many;
    b.policy.n_caps = 2 * (CAP_CHECKS_MAX - 3);
    ck_assert_msg(policy_check(&b.policy, &e) == OK, "%s", e.text);
    b.policy.n_caps++;
    ck_assert_int_eq(policy_check(&b.policy, &e), ERR_LIMIT);
    ck_assert_str_eq(e.text, "30 caps for marketing by sms: at most 29 can be checked for one message");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy_check");
    TCase *tables = tcase_create("tables");
    tcase_set_timeout(tables, 60); /* two cores, and others at work */
    tcase_add_test(tables, table);
    tcase_add_test(tables, caps_fit);
    tcase_add_test(tables, caps_of_other_classes_need_no_room);
    suite_add_tcase(suite, tables);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

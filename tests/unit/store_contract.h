/*
 * What the programs of the store's contract share: what people say (opt-outs,
 * consents), and suites of cases that each begin with an empty store.
 */
#ifndef TESTS_STORE_CONTRACT_H
#define TESTS_STORE_CONTRACT_H

#include "tests/unit/store_harness.h"

UNUSED static struct store_opt_out_add opt_out(const char *address, struct opt_out o)
{
    o.source = SOURCE_CUSTOMER;
    o.at_ms = NOW;
    struct store_opt_out_add add = {
        .arena = &arena, .address = address_of(address), .opt_out = o, .reason = SLICE("page"), .now_ms = NOW};
    ASK_OK(&add, OPT_OUT_ADD);
    return add;
}

UNUSED static const struct opt_out everything = {.scope = SCOPE_GLOBAL, .any_channel = true};

UNUSED static void add_consent(struct consent consent, bool lifts, struct store_consent_add *add)
{
    *add = (struct store_consent_add){.arena = &arena,
                                      .contact_id = SLICE("ann"),
                                      .consent = consent,
                                      .evidence = SLICE("ip 192.0.2.1"),
                                      .lifts = lifts,
                                      .now_ms = NOW};
    ASK_OK(add, CONSENT_ADD);
}

static TCase *tests(const char *name, const TTest *const *list, size_t n)
{
    TCase *c = tcase_create(name);
    tcase_add_checked_fixture(c, harness_setup, harness_teardown);
    tcase_set_timeout(c, 60);
    for (size_t i = 0; i < n; i++)
        tcase_add_test(c, list[i]);
    return c;
}

#define TESTS(name, ...)                                                                                               \
    tests(name, (const TTest *const[]){__VA_ARGS__}, sizeof((const TTest *const[]){__VA_ARGS__}) / sizeof(TTest *))

static int run_suite(Suite *s)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

#endif

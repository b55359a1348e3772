/*
 * What may be tried, by address and by login, in a time that the test makes.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/auth_backoff.h"

#define MINUTE_MS INT64_C(60000)

static struct auth_attempt attempt(const char *address, const char *login, const char *secret)
{
    return (struct auth_attempt){slice_of(address), slice_of(login), slice_of(secret)};
}

/* True: it reached the verifier, and was wrong. */
static bool guess(struct auth_backoff *b, const char *address, const char *login, unsigned i, int64_t now_ms)
{
    char secret[32];
    snprintf(secret, sizeof(secret), "secret-%u", i);
    struct auth_attempt a = attempt(address, login, secret);
    bool admitted = auth_backoff_admits(b, &a, now_ms);
    if (admitted)
        auth_backoff_failed(b, &a, now_ms);
    return admitted;
}

/* However they are spread: over one login or many, in a burst or evenly. */
static void at_most_20_in_any_minute(unsigned n_logins, int64_t step_ms)
{
    enum { N = 10000 };
    static int64_t admitted_ms[N];
    struct auth_backoff *b = auth_backoff_new(20);
    unsigned n = 0;
    char login[32];

    for (unsigned i = 0; i < N; i++) {
        snprintf(login, sizeof(login), "login-%u", i % n_logins);
        if (guess(b, "192.0.2.1", login, i, i * step_ms))
            admitted_ms[n++] = i * step_ms;
    }
    ck_assert_uint_ge(n, 5);
    for (unsigned i = 20; i < n; i++)
        ck_assert_int_gt(admitted_ms[i] - admitted_ms[i - 20], MINUTE_MS);
    auth_backoff_free(&b);
}

START_TEST(test_guesses_of_an_address)
{
    static const unsigned logins[] = {1, 3, 100, 10000};
    static const int64_t steps_ms[] = {0, 1, 7, 100, 1999};
    for (size_t i = 0; i < N_ELEMENTS(logins); i++) {
        for (size_t k = 0; k < N_ELEMENTS(steps_ms); k++)
            at_most_20_in_any_minute(logins[i], steps_ms[k]);
    }
}
END_TEST

/* Five at once, then longer and longer; after a quarter of an hour it begins anew. */
START_TEST(test_guesses_at_a_login)
{
    struct auth_backoff *b = auth_backoff_new(20);
    unsigned i = 0;
    int64_t now_ms = 1000;
    while (guess(b, "a", "l", i, now_ms))
        i++;
    ck_assert_uint_eq(i, 5);
    static const int64_t waits_ms[] = {15000, 30000, 60000, 60000};
    for (size_t k = 0; k < N_ELEMENTS(waits_ms); k++) {
        ck_assert(!guess(b, "a", "l", i, now_ms + waits_ms[k] - 1));
        now_ms += waits_ms[k];
        ck_assert(guess(b, "a", "l", i++, now_ms));
    }
    now_ms += 15 * MINUTE_MS;
    for (unsigned k = 0; k < 5; k++)
        ck_assert(guess(b, "a", "l", i++, now_ms));
    ck_assert(!guess(b, "a", "l", i, now_ms));
    auth_backoff_free(&b);
}
END_TEST

START_TEST(test_others_are_not_affected)
{
    struct auth_backoff *b = auth_backoff_new(20);
    struct auth_attempt known = attempt("a", "shop", "right"), elsewhere = attempt("b", "shop", "right");
    struct auth_attempt other = attempt("a", "desk", "right as well");
    auth_backoff_passed(b, &known, 0);
    for (unsigned i = 0; i < 10000; i++) {
        (void)guess(b, "a", "shop", i, i);
        ck_assert(auth_backoff_admits(b, &known, i)); /* right before, at the login that is guessed at */
        ck_assert(auth_backoff_admits(b, &elsewhere, i));
        ck_assert(auth_backoff_admits(b, &other, i)); /* never seen, another login: the address has some left */
    }
    for (unsigned i = 0; i < 10000; i++) { /* at all logins: who was not seen before has to be patient */
        char login[32];
        snprintf(login, sizeof(login), "login-%u", i);
        (void)guess(b, "a", login, i, 10000 + i);
        ck_assert(auth_backoff_admits(b, &known, 10000 + i));
        ck_assert(auth_backoff_admits(b, &elsewhere, 10000 + i));
    }
    ck_assert(auth_backoff_admits(b, &other, 20000 + 5001));
    auth_backoff_free(&b);
}
END_TEST

/* An application with an old password tries for ever: it does not use up what others need, and neither do logins that
 * are right. */
START_TEST(test_the_same_again)
{
    struct auth_backoff *b = auth_backoff_new(20);
    struct auth_attempt old = attempt("a", "apikey", "old");
    unsigned n = 0;
    for (int64_t now_ms = 0; now_ms < 10 * MINUTE_MS; now_ms += 100) {
        bool admitted = auth_backoff_admits(b, &old, now_ms);
        n += admitted;
        if (admitted)
            auth_backoff_failed(b, &old, now_ms);
        struct auth_attempt fresh = attempt("a", "apikey", "fresh");
        if (now_ms < 3 * MINUTE_MS)
            ck_assert(admitted || auth_backoff_admits(b, &fresh, now_ms));
    }
    ck_assert_uint_le(n, 11);
    ck_assert_uint_ge(n, 5);
    for (unsigned i = 0; i < 10000; i++) {
        char secret[32];
        snprintf(secret, sizeof(secret), "right-%u", i);
        struct auth_attempt a = attempt("c", "apikey", secret);
        ck_assert(auth_backoff_admits(b, &a, 0));
        auth_backoff_passed(b, &a, 0);
    }
    auth_backoff_free(&b);
}
END_TEST

/* A configuration changed: what was right may be wrong, and the other way round. */
START_TEST(test_keys_changed)
{
    struct auth_backoff *b = auth_backoff_new(20);
    struct auth_attempt right = attempt("a", "l", "right"), wrong = attempt("a", "l", "wrong");
    auth_backoff_passed(b, &right, 0);
    auth_backoff_failed(b, &wrong, 0);
    ck_assert(!auth_backoff_admits(b, &wrong, 1));
    auth_backoff_keys_changed(b);
    ck_assert(auth_backoff_admits(b, &wrong, 1));
    for (unsigned i = 0; i < 100; i++)
        (void)guess(b, "a", "l", i, 2);
    ck_assert(!auth_backoff_admits(b, &right, 3)); /* a guess like others now */
    auth_backoff_free(&b);
}
END_TEST

/* However many addresses there are, the memory is the same; and the smallest share holds too. */
START_TEST(test_bounded)
{
    struct auth_backoff *b = auth_backoff_new(1);
    char address[32];
    for (unsigned i = 0; i < 200000; i++) {
        snprintf(address, sizeof(address), "address-%u", i);
        ck_assert(guess(b, address, "l", 0, i));
        ck_assert(!guess(b, address, "l", 1, i));
    }
    auth_backoff_free(&b);
    ck_assert_ptr_null(b);
}
END_TEST

int main(void)
{
    static const TTest *const *const tests[] = {
        &test_guesses_of_an_address, &test_guesses_at_a_login, &test_others_are_not_affected,
        &test_the_same_again,        &test_keys_changed,       &test_bounded};
    Suite *s = suite_create("gateway_auth_backoff");
    TCase *t = tcase_create("all");
    for (size_t i = 0; i < N_ELEMENTS(tests); i++)
        tcase_add_test(t, *tests[i]);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

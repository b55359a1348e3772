/*
 * The contract of postern/store.h for mails that come again: recorded once in 72 h, forgotten when
 * nothing was accepted, and by a crash before its results.
 */
#include "tests/unit/store_contract.h"

#include "postern/limits.h"

/* Recorded as the mail with that first byte of its digest. */
static enum err record_mail(uint8_t digest, int64_t now_ms, struct store_mail *m, uint64_t *decision)
{
    struct sample s;
    static const char *const ids[] = {"first", "second", "third"};
    static size_t n;

    *m = (struct store_mail){.digest = {digest}, .kept_id = slice_of(ids[n++ % N_ELEMENTS(ids)])};
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_FORWARD);
    s.record.arena = &arena;
    s.record.mail = m;
    s.record.now_ms = now_ms;
    *decision = s.row.id;
    return ASK(&s.record, RECORD);
}

static void result_of(uint64_t decision, enum result result, const struct store_mail *forgets)
{
    struct record_result row = {.decision = decision, .result = result, .provider = SLICE("relay")};
    struct store_result r = {.now_ms = NOW, .results = &row, .n = 1, .forgets = forgets};
    ASK_OK(&r, RESULT);
}

START_TEST(the_same_again_is_known_by_the_first_ones_id)
{
    struct store_mail first, again;
    uint64_t decision, none;

    ck_assert_int_eq(record_mail(1, NOW, &first, &decision), OK);
    struct slice id = first.kept_id;
    ck_assert_int_eq(record_mail(1, NOW, &again, &none), ERR_CONFLICT);
    ck_assert(again.under_way);
    result_of(decision, RESULT_FORWARDED, NULL);
    ck_assert_int_eq(record_mail(1, NOW, &again, &none), ERR_CONFLICT);
    ck_assert(!again.under_way);
    ck_assert(slice_eq(again.first_id, id));
    ck_assert_int_eq(record_mail(2, NOW, &again, &none), OK);
}
END_TEST

START_TEST(what_is_known_writes_nothing)
{
    struct store_mail m;
    uint64_t decision, none;

    ck_assert_int_eq(record_mail(1, NOW, &m, &decision), OK);
    struct store_decision_get get = {.arena = &arena};
    ck_assert_int_eq(record_mail(1, NOW, &m, &none), ERR_CONFLICT);
    get.id = none;
    ck_assert_int_eq(ASK(&get, DECISION_GET), ERR_NOT_FOUND);
}
END_TEST

START_TEST(one_of_which_nothing_was_accepted_may_come_again)
{
    struct store_mail m;
    uint64_t decision;

    ck_assert_int_eq(record_mail(1, NOW, &m, &decision), OK);
    result_of(decision, RESULT_REFUSED, &m);
    ck_assert_int_eq(record_mail(1, NOW, &m, &decision), OK);
}
END_TEST

START_TEST(after_a_crash_what_was_under_way_may_come_again_and_the_rest_is_known)
{
    struct store_mail m;
    uint64_t decision;

    ck_assert_int_eq(record_mail(1, NOW, &m, &decision), OK);
    result_of(decision, RESULT_FORWARDED, NULL);
    ck_assert_int_eq(record_mail(2, NOW, &m, &decision), OK);
    harness_reopen();
    ck_assert_int_eq(record_mail(1, NOW, &m, &decision), ERR_CONFLICT);
    ck_assert_int_eq(record_mail(2, NOW, &m, &decision), OK);
}
END_TEST

START_TEST(it_is_new_after_72_hours)
{
    struct store_mail m;
    uint64_t decision;

    ck_assert_int_eq(record_mail(1, NOW, &m, &decision), OK);
    result_of(decision, RESULT_FORWARDED, NULL);
    ck_assert_int_eq(record_mail(1, NOW + LIMIT_IDEMPOTENCY_MS - 1, &m, &decision), ERR_CONFLICT);
    ck_assert_int_eq(record_mail(1, NOW + LIMIT_IDEMPOTENCY_MS, &m, &decision), OK);
}
END_TEST

START_TEST(the_oldest_go_in_batches)
{
    struct store_idempotency_sweep sweep = {.now_ms = NOW + LIMIT_IDEMPOTENCY_MS, .max = 2};
    struct store_mail m;
    uint64_t decision;

    for (uint8_t i = 0; i < 3; i++)
        ck_assert_int_eq(record_mail(i, NOW, &m, &decision), OK);
    ck_assert_int_eq(record_mail(3, NOW + 1, &m, &decision), OK);
    for (size_t left = 3; left > 0; left -= sweep.swept) {
        ASK_OK(&sweep, IDEMPOTENCY_SWEEP);
        ck_assert_uint_eq(sweep.swept, left > 2 ? 2 : left);
    }
    ASK_OK(&sweep, IDEMPOTENCY_SWEEP);
    ck_assert_uint_eq(sweep.swept, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_contract_mail");
    suite_add_tcase(s, TESTS("mails", the_same_again_is_known_by_the_first_ones_id, what_is_known_writes_nothing,
                             one_of_which_nothing_was_accepted_may_come_again,
                             after_a_crash_what_was_under_way_may_come_again_and_the_rest_is_known));
    suite_add_tcase(s, TESTS("expiry", it_is_new_after_72_hours, the_oldest_go_in_batches));
    return run_suite(s);
}

/*
 * The contract of postern/store.h for idempotency keys: who may act, what a replay
 * hears, what a crash leaves, and when it all goes.
 */
#include "tests/unit/store_contract.h"

#include "postern/limits.h"

static const struct stored_field reply_fields[] = {{{"X-Message-Id", 12}, {"abc", 3}}, {{"Content-Type", 12}, {"", 0}}};

static struct store_idempotency_claim claim_at(const char *api_key, const char *key, const char *request,
                                               int64_t now_ms)
{
    static struct slice part;
    part = slice_of(request);
    struct store_idempotency_claim c = {.arena = &arena,
                                        .api_key = slice_of(api_key),
                                        .key = slice_of(key),
                                        .parts = &part,
                                        .n_parts = 1,
                                        .now_ms = now_ms};
    ASK_OK(&c, IDEMPOTENCY_CLAIM);
    return c;
}

static struct store_idempotency_claim claim(const char *key)
{
    return claim_at("shop", key, "POST hello", NOW);
}

static struct key_settlement settlement(uint64_t id, enum key_becomes becomes, const char *body)
{
    return (struct key_settlement){
        .id = id,
        .becomes = becomes,
        .answer = {.status = 202, .fields = reply_fields, .n_fields = 2, .body = slice_of(body)}};
}

static void record(uint64_t id, enum key_becomes becomes, const char *body)
{
    struct sample s;
    struct key_settlement k = settlement(id, becomes, body);
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_FORWARD);
    s.record.settlement = &k;
    ASK_OK(&s.record, RECORD);
}

static enum err settle(uint64_t id, enum key_becomes becomes, const char *body)
{
    struct key_settlement k = settlement(id, becomes, body);
    struct store_result r = {.now_ms = NOW, .settlement = &k};
    return ASK(&r, RESULT);
}

static void assert_answer(const struct store_idempotency_claim *c, const char *body)
{
    ck_assert_int_eq(c->state, KEY_ANSWERED);
    ck_assert_int_eq(c->answer.status, 202);
    ck_assert_uint_eq(c->answer.n_fields, 2);
    ck_assert(slice_eq_cstr(c->answer.fields[0].name, "X-Message-Id"));
    ck_assert(slice_eq_cstr(c->answer.fields[0].value, "abc"));
    ck_assert_uint_eq(c->answer.fields[1].value.n, 0);
    ck_assert(slice_eq_cstr(c->answer.body, body));
}

START_TEST(one_acts_others_wait_then_hear_its_answer)
{
    struct store_idempotency_claim first = claim("k");
    ck_assert_int_eq(first.state, KEY_CLAIMED);
    ck_assert_int_eq(claim("k").state, KEY_BUSY);
    record(first.id, KEY_IS_RECORDED, "unknown");
    ck_assert_int_eq(claim("k").state, KEY_BUSY);
    ck_assert_int_eq(settle(first.id, KEY_IS_ANSWERED, "sent"), OK);
    struct store_idempotency_claim again = claim("k");
    assert_answer(&again, "sent");
    ck_assert_int_eq(claim_at("shop", "k", "POST other", NOW).state, KEY_REUSED);
    ck_assert_int_eq(claim_at("desk", "k", "POST hello", NOW).state, KEY_CLAIMED);
    ck_assert_int_eq(claim("K").state, KEY_CLAIMED);
}
END_TEST

START_TEST(another_request_is_told_so_while_the_first_is_under_way)
{
    ck_assert_int_eq(claim("k").state, KEY_CLAIMED);
    ck_assert_int_eq(claim_at("shop", "k", "POST other", NOW).state, KEY_REUSED);
}
END_TEST

START_TEST(an_answer_of_no_bytes_is_one)
{
    struct store_idempotency_claim first = claim("k");
    ck_assert_int_eq(settle(first.id, KEY_IS_ANSWERED, ""), OK);
    struct store_idempotency_claim again = claim("k");
    assert_answer(&again, "");
}
END_TEST

START_TEST(an_answer_is_never_changed)
{
    struct store_idempotency_claim first = claim("k");
    ck_assert_int_eq(settle(first.id, KEY_IS_ANSWERED, "sent"), OK);
    ck_assert_int_eq(settle(first.id, KEY_IS_ANSWERED, "other"), OK);
    ck_assert_int_eq(settle(first.id, KEY_IS_FREE, ""), OK);
    struct store_idempotency_claim again = claim("k");
    assert_answer(&again, "sent");
}
END_TEST

START_TEST(what_was_not_final_frees_the_key)
{
    struct store_idempotency_claim first = claim("k");
    record(first.id, KEY_IS_RECORDED, "unknown");
    ck_assert_int_eq(settle(first.id, KEY_IS_FREE, ""), OK);
    ck_assert_int_eq(claim_at("shop", "k", "POST other", NOW).state, KEY_CLAIMED);
}
END_TEST

START_TEST(what_was_recorded_can_be_left_to_stand)
{
    struct store_idempotency_claim first = claim("k");
    record(first.id, KEY_IS_RECORDED, "unknown");
    ck_assert_int_eq(settle(first.id, KEY_STANDS, ""), OK);
    struct store_idempotency_claim again = claim("k");
    assert_answer(&again, "unknown");
}
END_TEST

START_TEST(after_a_crash_the_recorded_answer_stands_and_a_bare_claim_is_free)
{
    struct store_idempotency_claim bare = claim("bare"), recorded = claim("recorded"), done = claim("done");
    ck_assert_int_eq(bare.state, KEY_CLAIMED);
    record(recorded.id, KEY_IS_RECORDED, "unknown");
    record(done.id, KEY_IS_ANSWERED, "blocked");
    harness_reopen(); /* nothing was settled: to the store a crash */
    ck_assert_int_eq(claim("bare").state, KEY_CLAIMED);
    struct store_idempotency_claim again = claim("recorded");
    assert_answer(&again, "unknown");
    again = claim("done");
    assert_answer(&again, "blocked");
}
END_TEST

START_TEST(a_record_that_fails_settles_nothing)
{
    struct sample s;
    struct store_idempotency_claim first = claim("k");
    struct key_settlement k = settlement(first.id, KEY_IS_ANSWERED, "sent");
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_BLOCK);
    s.record.settles = 4711;
    s.record.settlement = &k;
    ck_assert_int_eq(ASK(&s.record, RECORD), ERR_CONFLICT);
    ck_assert_int_eq(claim("k").state, KEY_BUSY);
}
END_TEST

START_TEST(a_key_is_new_after_72_hours)
{
    struct store_idempotency_claim first = claim("k");
    ck_assert_int_eq(settle(first.id, KEY_IS_ANSWERED, "sent"), OK);
    struct store_idempotency_claim late = claim_at("shop", "k", "POST hello", NOW + LIMIT_IDEMPOTENCY_MS - 1);
    assert_answer(&late, "sent");
    ck_assert_int_eq(claim_at("shop", "k", "POST other", NOW + LIMIT_IDEMPOTENCY_MS).state, KEY_CLAIMED);
}
END_TEST

START_TEST(one_under_way_does_not_expire)
{
    ck_assert_int_eq(claim("k").state, KEY_CLAIMED);
    ck_assert_int_eq(claim_at("shop", "k", "POST hello", NOW + 2 * LIMIT_IDEMPOTENCY_MS).state, KEY_BUSY);
}
END_TEST

static size_t sweep(int64_t now_ms, size_t max)
{
    struct store_idempotency_sweep s = {.now_ms = now_ms, .max = max};
    ASK_OK(&s, IDEMPOTENCY_SWEEP);
    return s.swept;
}

START_TEST(expired_keys_go_in_batches)
{
    enum { N = 10 };
    for (int i = 0; i < N; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        ck_assert_int_eq(settle(claim(key).id, KEY_IS_ANSWERED, "sent"), OK);
    }
    ck_assert_int_eq(claim("under way").state, KEY_CLAIMED);
    int64_t later = NOW + LIMIT_IDEMPOTENCY_MS;
    ck_assert_uint_eq(sweep(later - 1, 100), 0);
    ck_assert_uint_eq(sweep(later, 4), 4);
    ck_assert_int_eq(claim_at("shop", "new", "POST hello", later).state, KEY_CLAIMED); /* takes two along */
    ck_assert_uint_eq(sweep(later, 100), 4);
    ck_assert_uint_eq(sweep(later, 100), 0);
}
END_TEST

START_TEST(little_free_disk_refuses_claims_and_takes_settlements)
{
    struct store_idempotency_claim first = claim("k");
    record(first.id, KEY_IS_RECORDED, "unknown");
    store_close(&store);
    harness_open(INT64_MAX - 1);
    struct slice part = SLICE("POST hello");
    struct store_idempotency_claim c = {
        .arena = &arena, .api_key = SLICE("shop"), .key = SLICE("new"), .parts = &part, .n_parts = 1, .now_ms = NOW};
    ck_assert_int_eq(ASK(&c, IDEMPOTENCY_CLAIM), ERR_UNAVAILABLE);
    ck_assert_int_eq(settle(first.id, KEY_IS_FREE, ""), OK);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_contract_idempotency");
    suite_add_tcase(s, TESTS("keys", one_acts_others_wait_then_hear_its_answer,
                             another_request_is_told_so_while_the_first_is_under_way, an_answer_of_no_bytes_is_one,
                             an_answer_is_never_changed, what_was_not_final_frees_the_key,
                             what_was_recorded_can_be_left_to_stand));
    suite_add_tcase(s,
                    TESTS("crash", after_a_crash_the_recorded_answer_stands_and_a_bare_claim_is_free,
                          a_record_that_fails_settles_nothing, little_free_disk_refuses_claims_and_takes_settlements));
    suite_add_tcase(
        s, TESTS("expiry", a_key_is_new_after_72_hours, one_under_way_does_not_expire, expired_keys_go_in_batches));
    return run_suite(s);
}

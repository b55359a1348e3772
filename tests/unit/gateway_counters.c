/*
 * Embedded counters: exact, all or nothing, the same after a rebuild.
 */
#include <check.h>
#include <stdlib.h>

#include "gateway/counters.h"
#include "gateway/loop.h"
#include "postern/clock.h"

#define NOW INT64_C(1900000000000)
#define DAY MS_PER_DAY

static struct loop *loop;
static struct counters *counters;

static void setup(void)
{
    loop = loop_new();
    counters = counters_new(loop);
}

static void teardown(void)
{
    counters_free(&counters);
    loop_free(&loop);
}

struct seen {
    int calls;
    bool reserved;
    uint64_t reservation;
    struct cap_count counts[CAP_CHECKS_MAX];
};

static void on_answer(const struct counters_answer *a, void *arg)
{
    struct seen *s = arg;
    s->calls++;
    s->reserved = a->reserved;
    s->reservation = a->reservation;
    memcpy(s->counts, a->counts, a->n_checks * sizeof(a->counts[0]));
}

static struct cap_check day_cap(int32_t limit)
{
    return (struct cap_check){.since_ms = NOW - DAY,
                              .next_ms = NOW + DAY,
                              .limit = limit,
                              .category_id = UINT32_MAX,
                              .subject_id = UINT32_MAX,
                              .gap_category_id = slice_id(SLICE("news"))};
}

static struct counters_request ask(uint64_t contact, const struct cap_check *checks, size_t n)
{
    return (struct counters_request){.contact_hash = contact,
                                     .checks = checks,
                                     .n_checks = n,
                                     .class = CLASS_MARKETING,
                                     .channel = CHANNEL_EMAIL,
                                     .category_id = slice_id(SLICE("news")),
                                     .subject_id = 9,
                                     .counts = COUNTS_EVERYWHERE,
                                     .now_ms = NOW};
}

static struct seen reserve(struct counters_request r)
{
    struct seen s = {0};
    (void)counters_reserve(counters, &r, on_answer, &s);
    ck_assert_int_eq(s.calls, 0); /* never before it returns */
    loop_turn(loop, false);
    ck_assert_int_eq(s.calls, 1);
    return s;
}

static struct seen peek(struct counters_request r)
{
    struct seen s = {0};
    (void)counters_peek(counters, &r, on_answer, &s);
    loop_turn(loop, false);
    ck_assert_int_eq(s.calls, 1);
    return s;
}

START_TEST(cap_of_one_lets_exactly_one_through)
{
    struct cap_check cap = day_cap(1);
    struct seen first = reserve(ask(1, &cap, 1));
    struct seen second = reserve(ask(1, &cap, 1));
    ck_assert(first.reserved);
    ck_assert(!second.reserved);
    ck_assert_int_eq(second.counts[0].count, 1);
    ck_assert(reserve(ask(2, &cap, 1)).reserved); /* another contact's day */
}
END_TEST

START_TEST(cap_of_zero_lets_none_through)
{
    struct cap_check cap = day_cap(0);
    ck_assert(!reserve(ask(1, &cap, 1)).reserved);
}
END_TEST

START_TEST(four_hundred_at_once_get_three_slots)
{
    struct cap_check cap = day_cap(3);
    struct counters_request r = ask(1, &cap, 1);
    struct seen seen[400] = {0};
    int reserved = 0;
    for (int i = 0; i < 400; i++)
        (void)counters_reserve(counters, &r, on_answer, &seen[i]);
    loop_turn(loop, false);
    for (int i = 0; i < 400; i++)
        reserved += seen[i].reserved;
    ck_assert_int_eq(reserved, 3);
}
END_TEST

START_TEST(all_caps_or_none)
{
    struct cap_check caps[2] = {day_cap(5), day_cap(1)};
    ck_assert(reserve(ask(1, caps, 2)).reserved);
    ck_assert(!reserve(ask(1, caps, 2)).reserved);
    /* The refused one took no slot of the wider cap. */
    ck_assert_int_eq(peek(ask(1, &caps[0], 1)).counts[0].count, 1);
}
END_TEST

START_TEST(a_released_slot_is_free_again_and_a_committed_one_is_not)
{
    struct cap_check cap = day_cap(1);
    struct seen s = reserve(ask(1, &cap, 1));
    counters_release(counters, s.reservation);
    counters_release(counters, s.reservation);
    s = reserve(ask(1, &cap, 1));
    ck_assert(s.reserved);
    counters_commit(counters, s.reservation, NOW);
    counters_release(counters, s.reservation);
    ck_assert(!reserve(ask(1, &cap, 1)).reserved);
    ck_assert_uint_eq(counters_state(counters).reservations, 0);
}
END_TEST

START_TEST(a_cancelled_question_keeps_no_slot)
{
    struct cap_check cap = day_cap(1);
    struct counters_request r = ask(1, &cap, 1);
    struct seen s = {0};
    struct counters_op *op = counters_reserve(counters, &r, on_answer, &s);
    counters_cancel(&op);
    ck_assert_ptr_null(op);
    ck_assert(reserve(r).reserved);
    ck_assert_int_eq(s.calls, 0);
}
END_TEST

static void sent(uint64_t contact, int64_t at_ms, enum message_class class, bool any_only)
{
    struct store_send s = {.at_ms = at_ms,
                           .contact_hash = contact,
                           .channel = CHANNEL_EMAIL,
                           .class = class,
                           .category = SLICE("news"),
                           .counts_in_any_only = any_only};
    counters_rebuild(counters, &s);
}

START_TEST(window_start_is_inclusive)
{
    struct cap_check cap = day_cap(9);
    sent(1, cap.since_ms - 1, CLASS_MARKETING, false);
    sent(1, cap.since_ms, CLASS_MARKETING, false);
    ck_assert_int_eq(peek(ask(1, &cap, 1)).counts[0].count, 1);
}
END_TEST

START_TEST(rolling_slot_frees_with_the_oldest_of_the_latest)
{
    struct cap_check cap = day_cap(2);
    sent(1, NOW - 3000, CLASS_MARKETING, false);
    sent(1, NOW - 1000, CLASS_MARKETING, false);
    sent(1, NOW - 2000, CLASS_MARKETING, false);
    struct seen s = peek(ask(1, &cap, 1));
    ck_assert_int_eq(s.counts[0].count, 3);
    ck_assert_int_eq(s.counts[0].oldest_ms, NOW - 2000);
}
END_TEST

START_TEST(classes_channels_and_flags_choose_what_counts)
{
    struct cap_check any = day_cap(9), marketing = day_cap(9), sms = day_cap(9);
    marketing.classes = 1u << CLASS_MARKETING;
    sms.channels = 1u << CHANNEL_SMS;
    sent(1, NOW - 1000, CLASS_MARKETING, false);
    sent(1, NOW - 1000, CLASS_TRANSACTIONAL, true);
    struct cap_check checks[] = {any, marketing, sms};
    struct seen s = peek(ask(1, checks, 3));
    ck_assert_int_eq(s.counts[0].count, 2);
    ck_assert_int_eq(s.counts[1].count, 1);
    ck_assert_int_eq(s.counts[2].count, 0);
}
END_TEST

START_TEST(min_gap_looks_at_the_same_category)
{
    struct cap_check cap = day_cap(9);
    cap.gap_ms = 60 * MS_PER_MINUTE;
    sent(1, NOW - 59 * MS_PER_MINUTE, CLASS_MARKETING, false);
    struct seen s = reserve(ask(1, &cap, 1));
    ck_assert(!s.reserved);
    ck_assert_int_eq(s.counts[0].latest_ms, NOW - 59 * MS_PER_MINUTE);
    cap.gap_category_id = 8;
    ck_assert(reserve(ask(1, &cap, 1)).reserved);
}
END_TEST

START_TEST(old_sends_leave_memory)
{
    for (uint64_t i = 0; i < 100; i++)
        sent(i, NOW - 40 * DAY, CLASS_MARKETING, false);
    ck_assert_uint_eq(counters_state(counters).contacts, 100);
    struct cap_check cap = day_cap(1);
    for (int i = 0; i < 100; i++)
        (void)peek(ask(1000, &cap, 1));
    ck_assert_uint_eq(counters_state(counters).contacts, 0);
    ck_assert_uint_eq(counters_state(counters).entries, 0);
}
END_TEST

START_TEST(one_person_has_one_hash_over_all_spellings)
{
    struct address a, b;
    struct errmsg e;
    struct profile nobody = {0}, known = {.known = KNOWN, .contact_id = SLICE("c1")};
    ck_assert_int_eq(address_parse_email(SLICE("Ann+x@Example.com"), &a, &e), OK);
    ck_assert_int_eq(address_parse_email(SLICE("ann@example.com"), &b, &e), OK);
    ck_assert_uint_eq(counters_contact_hash(&nobody, &a), counters_contact_hash(&nobody, &b));
    ck_assert_uint_ne(counters_contact_hash(&nobody, &a), counters_contact_hash(&known, &a));
    ck_assert_uint_eq(counters_contact_hash(&known, &a), counters_contact_hash(&known, &b));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway/counters");
    TCase *t = tcase_create("embedded");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, cap_of_one_lets_exactly_one_through);
    tcase_add_test(t, cap_of_zero_lets_none_through);
    tcase_add_test(t, four_hundred_at_once_get_three_slots);
    tcase_add_test(t, all_caps_or_none);
    tcase_add_test(t, a_released_slot_is_free_again_and_a_committed_one_is_not);
    tcase_add_test(t, a_cancelled_question_keeps_no_slot);
    tcase_add_test(t, window_start_is_inclusive);
    tcase_add_test(t, rolling_slot_frees_with_the_oldest_of_the_latest);
    tcase_add_test(t, classes_channels_and_flags_choose_what_counts);
    tcase_add_test(t, min_gap_looks_at_the_same_category);
    tcase_add_test(t, old_sends_leave_memory);
    tcase_add_test(t, one_person_has_one_hash_over_all_spellings);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

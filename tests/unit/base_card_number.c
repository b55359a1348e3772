/* Payment cards' numbers: which there are, which only look like it, and what is left for people's eyes. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "postern/card_number.h"

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, 1u << 20);
}

static void teardown(void)
{
    arena_clear(&arena);
}

/* The numbers are those that networks and payment providers publish for tests.  NULL: there is none. */
static const struct {
    const char *text, *masked;
} rows[] = {
    /* Each network and length. */
    {"4111111111111111", "************1111"},
    {"4222222222222", "*********2222"},
    {"4000000000000000006", "***************0006"},
    {"378282246310005", "***********0005"},
    {"341111111111111", "***********1111"},
    {"6011111111111117", "************1117"},
    {"6500000000000002", "************0002"},
    {"30569309025904", "**********5904"},
    {"38520000023237", "**********3237"},
    {"3530111333300000", "************0000"},
    {"5555555555554444", "************4444"},
    {"2223003122003222", "************3222"},
    {"2200000000000004", "************0004"},
    {"6200000000000005", "************0005"},
    {"6759649826438453", "************8453"},
    {"5018000000000009", "************0009"},
    /* Groups as printed on cards. */
    {"4111 1111 1111 1111", "**** **** **** 1111"},
    {"4111-1111-1111-1111", "****-****-****-1111"},
    {"3782 822463 10005", "**** ****** *0005"},
    {"3056 930902 5904", "**** ****** 5904"},
    {"4000 0000 0000 0000 006", "**** **** **** ***0 006"},
    {"4222 2222 2222 2", "**** **** *222 2"},
    /* Among words. */
    {"Card 4111 1111 1111 1111 12/28 123", "Card **** **** **** 1111 12/28 123"},
    {"Card: 4111111111111111, thank you.", "Card: ************1111, thank you."},
    {"(4111111111111111)", "(************1111)"},
    {"#4111111111111111.", "#************1111."},
    {"No. 12 4111 1111 1111 1111", "No. 12 **** **** **** 1111"},
    {"\xC3\xBC"
     "4111111111111111\xC3\xBC",
     "\xC3\xBC"
     "************1111\xC3\xBC"},
    {"4111111111111111- 1", "************1111- 1"},
    {"4111111111111111-", "************1111-"},
    {"4111111111111111;5555555555554444\n378282246310005", "************1111;************4444\n***********0005"},
    {"4111 1111 1111 1111 2028 123", "**** **** **** 1111 2028 123"},
    {"4111 1111 1111 1111 4111 1111 1111 1111", "**** **** **** 1111 **** **** **** 1111"},
    /* The check digit, the length, the range. */
    {"4111111111111112", NULL},
    {"4111 1111 1111 1112", NULL},
    {"411111111111111", NULL},
    {"41111111111111111", NULL},
    {"42222222222", NULL},
    {"9111111111111111", NULL},
    {"1234567890123452", NULL},
    {"0000000000000000", NULL},
    {"00000000000000000000", NULL},
    {"5500000000000", NULL},
    /* Not grouped so. */
    {"41 11111 11111 1111", NULL},
    {"4111  1111  1111  1111", NULL},
    {"4111 1111-1111 1111", NULL},
    {"4111\n1111\n1111\n1111", NULL},
    {"411111 1111111111", NULL},
    {"4111 111111 111111", NULL},
    {"4111 1111", NULL},
    {"4111 111 1111 1111", NULL},
    {"4111 1111 111 1111", NULL},
    {"4111 1111 1111 11111", NULL},
    {"4111 1111 1111 111 11", NULL},
    {"4111-1111-1111-1111-1111", NULL},
    {"3782 822463 100", NULL},
    {"3782 822463 100055", NULL},
    {"4111 ", NULL},
    {"4111-1111-1111-1111-1", NULL},
    {"4111-1111-1111-1111-11111", NULL},
    /* A piece of something else. */
    {"14111111111111111", NULL},
    {"41111111111111110", NULL},
    {"order4111111111111111", NULL},
    {"4111111111111111x", NULL},
    {"4111111111111111_a", NULL},
    {"_4111111111111111", NULL},
    {"https://example.test/o/4111111111111111", NULL},
    {"?id=4111111111111111&x", NULL},
    {"a@4111111111111111", NULL},
    {"4111111111111111@example.test", NULL},
    {"%4111111111111111", NULL},
    {"4111111111111111%20", NULL},
    {"4111111111111111=", NULL},
    {"uuid-4111111111111111", NULL},
    {"4111111111111111-2", NULL},
    {"4111111111111111.00", NULL},
    {"0.4111111111111111", NULL},
    {"+4915123456789", NULL},
    {"+378282246310005", NULL},
    {"2026-11-22 2026-11-22 10:00:00", NULL},
    {"", NULL},
    {"4", NULL},
};

START_TEST(numbers_are_masked)
{
    struct slice text = slice_of(rows[_i].text), masked = card_number_mask(text, &arena);
    if (rows[_i].masked == NULL) {
        ck_assert_msg(masked.p == text.p, "\"%s\" became \"%.*s\"", rows[_i].text, SLICE_ARG(masked));
        return;
    }
    ck_assert_msg(slice_eq_cstr(masked, rows[_i].masked), "\"%s\" became \"%.*s\"", rows[_i].text, SLICE_ARG(masked));
}
END_TEST

/* Eight bytes at a time: wherever it stands, it is seen, and where it is looked for from. */
START_TEST(seen_at_each_offset)
{
    char text[96];
    struct card_number card;
    static const char *const forms[] = {"4111111111111111", "4111 1111 1111 1111", "4222222222222", "4222 2222 2222 2"};
    for (size_t f = 0; f < N_ELEMENTS(forms); f++) {
        size_t n = strlen(forms[f]);
        for (size_t at = 0; at + n <= sizeof(text); at++) {
            memset(text, 'a', sizeof(text));
            if (at > 0)
                text[at - 1] = ' ';
            memcpy(text + at, forms[f], n);
            struct slice whole = {text, sizeof(text)}, cut = {text, at + n};
            if (at + n < sizeof(text))
                text[at + n] = ' ';
            for (size_t from = 0; from <= at; from++)
                ck_assert(card_number_find(whole, from, &card) && card.start == at && card.end == at + n);
            ck_assert(!card_number_find(whole, at + 1, &card));
            ck_assert(card_number_possible(whole) && card_number_possible(cut));
            ck_assert(card_number_find(cut, 0, &card) && card.end == cut.n);
            cut.n--;
            ck_assert(!card_number_find(cut, 0, &card) || card.end < cut.n + 1);
        }
    }
}
END_TEST

/* A text may hold any byte. */
START_TEST(behind_a_nul)
{
    struct card_number card;
    ck_assert(card_number_find(SLICE("a\0"
                                     "4111111111111111\0"),
                               0, &card) &&
              card.start == 2);
}
END_TEST

START_TEST(no_memory_shows_nothing)
{
    struct arena small;
    arena_init(&small, 8);
    ck_assert(card_number_mask(SLICE("4111111111111111"), &small).p == NULL);
    arena_clear(&small);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("card_number");
    TCase *c = tcase_create("card_number");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, numbers_are_masked, 0, N_ELEMENTS(rows));
    tcase_add_test(c, seen_at_each_offset);
    tcase_add_test(c, behind_a_nul);
    tcase_add_test(c, no_memory_shows_nothing);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

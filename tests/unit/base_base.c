/* Borrowed bytes, numbers, error texts; ownership helpers; clock; assertions that stop the process. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>

#include "postern/base.h"
#include "postern/clock.h"

START_TEST(slices)
{
    struct slice none = slice_of(NULL);
    ck_assert_uint_eq(none.n, 0);
    ck_assert(slice_eq(none, slice_of("")));
    ck_assert(slice_eq_cstr(SLICE("abc"), "abc"));
    ck_assert(!slice_eq_cstr(SLICE("abc"), "ab"));
    ck_assert(!slice_eq(SLICE("a\0b"), SLICE("a\0c")));
    ck_assert(slice_ieq(SLICE("Content-Type"), SLICE("cOnTENT-tYPE")));
    ck_assert(!slice_ieq(SLICE("a@"), SLICE("a`"))); /* one bit apart, as letters' cases are */
    ck_assert(!slice_ieq(SLICE("\xC3\x84"), SLICE("\xC3\xA4")));
    const struct slice names[] = {SLICE("Date"), SLICE("Trailer")};
    ck_assert(slice_ieq_any(SLICE("tRAILER"), names, N_ELEMENTS(names)));
    ck_assert(!slice_ieq_any(SLICE("Traile"), names, N_ELEMENTS(names)));
    ck_assert(slice_starts(SLICE("env:X"), "env:"));
    ck_assert(!slice_starts(SLICE("env"), "env:"));
    ck_assert(slice_starts(none, ""));
    ck_assert(slice_eq_cstr(slice_trim(SLICE(" \t a b\t ")), "a b"));
    ck_assert(slice_eq_cstr(slice_trim(SLICE("\na\n")), "\na\n"));
    ck_assert_uint_eq(slice_trim(SLICE(" \t ")).n, 0);
    ck_assert_uint_eq(slice_trim(none).n, 0);
}
END_TEST

START_TEST(numbers)
{
    static const struct {
        const char *text;
        uint64_t max;
        bool good;
        uint64_t value;
    } rows[] = {
        {"0", 0, true, 0},
        {"1", 0, false, 0},
        {"007", 7, true, 7},
        {"8", 7, false, 0},
        {"255", 255, true, 255},
        {"256", 255, false, 0},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, false, 0},
        {"99999999999999999999", UINT64_MAX, false, 0},
        {"", 10, false, 0},
        {"+1", 10, false, 0},
        {"-1", 10, false, 0},
        {" 1", 10, false, 0},
        {"1 ", 10, false, 0},
        {"0x1", 10, false, 0},
        {"1.0", 10, false, 0},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        uint64_t value = 42;
        bool good = slice_to_u64(slice_of(rows[i].text), rows[i].max, &value);
        ck_assert_msg(good == rows[i].good, "row %zu", i);
        ck_assert_uint_eq(value, good ? rows[i].value : 42);
    }
}
END_TEST

START_TEST(texts)
{
    char text[8], digits[U64_TEXT_MAX];
    size_t n = text_add(text, sizeof text, 0, SLICE("abc"));
    ck_assert_uint_eq(n, 3);
    n = text_add(text, sizeof text, n, (struct slice){NULL, 0});
    ck_assert_uint_eq(n, 3);
    n = text_add(text, sizeof text, n, SLICE("defgh")); /* one too many */
    ck_assert_uint_eq(n, 7);
    ck_assert_str_eq(text, "abcdefg");
    ck_assert_uint_eq(text_add(text, sizeof text, n, SLICE("x")), 7);
    ck_assert_str_eq(text, "abcdefg");
    ck_assert(slice_eq_cstr(u64_text(0, digits), "0"));
    ck_assert(slice_eq_cstr(u64_text(1090, digits), "1090"));
    ck_assert(slice_eq_cstr(u64_text(UINT64_MAX, digits), "18446744073709551615"));
}
END_TEST

START_TEST(clean_text)
{
    ck_assert(slice_is_clean(SLICE("plain \xC3\xA9 \xF0\x9F\x98\x80")));
    ck_assert(slice_is_clean((struct slice){NULL, 0}));
    static const struct slice bad[] = {
        {"a\r\nb", 4},   {"a\0b", 3}, {"a\tb", 3},         {"a\x7f", 2},    {"a\x1b[1m", 5},
        {"\xC0\xAF", 2}, {"\xFF", 1}, {"\xED\xA0\x80", 3}, {"\xE2\x82", 2}, {"\xF4\x90\x80\x80", 4}};
    for (size_t i = 0; i < N_ELEMENTS(bad); i++)
        ck_assert_msg(!slice_is_clean(bad[i]), "row %zu", i);
    ck_assert(slice_is_utf8(SLICE("a\r\n\0")));
}
END_TEST

/* Against the definition, byte by byte: each length, each place, each byte. */
START_TEST(plain_text)
{
    char text[67];
    for (size_t n = 0; n <= 50; n++) {
        for (size_t at = 0; at < n; at++) {
            for (int c = 0; c < 256; c++) {
                memset(text, '"', sizeof(text)); /* a stop before and behind: nobody looks there */
                memset(text + 8, 'a', n);
                text[8 + at] = (char)c;
                bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != 0x7F;
                ck_assert_uint_eq(slice_plain((struct slice){text + 8, n}, "\"\\\x7F"), plain ? n : at);
            }
        }
    }
    ck_assert_uint_eq(slice_plain(SLICE("ab\x7F"
                                        "cd"),
                                  "ccc"),
                      3);
    ck_assert_uint_eq(slice_plain((struct slice){NULL, 0}, "ccc"), 0);
}
END_TEST

START_TEST(error_texts)
{
    struct errmsg e;
    errmsg_set(&e, "%s: %d", "line", 3);
    ck_assert_str_eq(e.text, "line: 3");
    errmsg_set(&e, "a\r\nb\x1b\xff\xc3\xa9");
    ck_assert_str_eq(e.text, "a??b??\xc3\xa9");
    char text[1000];
    for (size_t i = 0; i + 1 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    text[sizeof text - 1] = '\0';
    errmsg_set(&e, "%.*s", (int)sizeof text - 2, text);
    ck_assert_uint_eq(strlen(e.text), sizeof e.text - 1);
    ck_assert(slice_is_utf8(slice_of(e.text)));
    errmsg_set(NULL, "nobody asks");
}
END_TEST

static int freed;

static void count_free(char **p)
{
    freed += *p != NULL ? 1 : 0;
    free(*p);
    *p = NULL;
}

static char *make_or_not(bool give)
{
    AUTO(count_free) char *p = xstrdup("x");
    if (!give)
        return NULL;
    return take(&p);
}

START_TEST(ownership)
{
    ck_assert_ptr_null(make_or_not(false));
    ck_assert_int_eq(freed, 1);
    char *p = make_or_not(true);
    ck_assert_str_eq(p, "x");
    ck_assert_int_eq(freed, 1);
    free(p);
}
END_TEST

START_TEST(heap)
{
    uint8_t *p = xcalloc(10, 10);
    for (size_t i = 0; i < 100; i++)
        ck_assert_uint_eq(p[i], 0);
    p = xrealloc(p, 1000, 10);
    p[9999] = 1;
    free(p);
    p = xcalloc(0, 10);
    ck_assert_ptr_nonnull(p);
    p = xrealloc(p, 0, 0);
    ck_assert_ptr_nonnull(p);
    free(p);
    char *s = xstrndup("hello", 3);
    ck_assert_str_eq(s, "hel");
    free(s);
    s = xstrndup("hello", SIZE_MAX - 1);
    ck_assert_str_eq(s, "hello");
    free(s);
}
END_TEST

START_TEST(wrapped_size_stops)
{
    free(xrealloc(NULL, SIZE_MAX / 2, 3));
}
END_TEST

START_TEST(ensure_stops)
{
    ensure(1 + 1 == 2);
    ensure(1 + 1 == 3);
}
END_TEST

START_TEST(clocks)
{
    int64_t mono_us = clock_mono_us(), mono_ms = clock_mono_ms();
    ck_assert_int_ge(mono_ms, mono_us / 1000);
    ck_assert_int_gt(clock_wall_ms(), INT64_C(1700000000000));
    clock_set(INT64_C(1000000));
    int64_t wall_ms = clock_wall_ms();
    ck_assert(wall_ms >= 1000000 && wall_ms < 1000000 + 60000);
    int64_t spin_until_ms = clock_mono_ms() + 5;
    while (clock_mono_ms() < spin_until_ms)
        ;
    ck_assert_int_ge(clock_wall_ms(), wall_ms + 4);
    ck_assert_int_ge(clock_mono_ms(), mono_ms);
    clock_set(0);
    ck_assert_int_lt(clock_wall_ms(), 60000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, slices);
    tcase_add_test(tests, numbers);
    tcase_add_test(tests, texts);
    tcase_add_test(tests, clean_text);
    tcase_add_test(tests, plain_text);
    tcase_add_test(tests, error_texts);
    tcase_add_test(tests, ownership);
    tcase_add_test(tests, heap);
    tcase_add_test(tests, clocks);
    tcase_add_test_raise_signal(tests, wrapped_size_stops, SIGABRT);
    tcase_add_test_raise_signal(tests, ensure_stops, SIGABRT);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Buffers: growth, the maximum, sticky failure, and the three escapings. */
#include <check.h>
#include <stdlib.h>

#include "postern/buf.h"

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, 1u << 20);
}

static void teardown(void)
{
    arena_clear(&arena);
}

START_TEST(grows_and_stays_terminated)
{
    struct buf b;
    buf_init(&b, &arena, 100000);
    ck_assert_uint_eq(buf_slice(&b).n, 0);
    for (int i = 0; i < 10000; i++) {
        buf_printf(&b, "%d,", i % 10);
        ck_assert_int_eq(b.p[b.n], '\0');
    }
    ck_assert(!b.failed);
    ck_assert_uint_eq(b.n, 20000);
    ck_assert_mem_eq(b.p + 19980, "0,1,2,3,4,5,6,7,8,9,", 20);
}
END_TEST

START_TEST(maximum_is_exact_and_failure_sticks)
{
    struct buf b;
    buf_init(&b, &arena, 5);
    buf_add_cstr(&b, "12345");
    ck_assert(!b.failed);
    buf_add_cstr(&b, "");
    ck_assert(!b.failed);
    buf_init(&b, &arena, 5);
    buf_add_cstr(&b, "123");
    buf_add_cstr(&b, "456");
    ck_assert(b.failed);
    buf_add_cstr(&b, "4");
    buf_printf(&b, "%d", 4);
    ck_assert(b.failed);
    ck_assert_str_eq(b.p, "123");
}
END_TEST

START_TEST(spent_arena_fails_the_buffer)
{
    struct arena small;
    arena_init(&small, 300);
    struct buf b;
    buf_init(&b, &small, 100000);
    for (int i = 0; i < 300; i++)
        buf_add_cstr(&b, "x");
    ck_assert(b.failed);
    ck_assert_uint_eq(strlen(b.p), b.n);
    arena_clear(&small);
}
END_TEST

START_TEST(a_maximum_without_end_does_not_wrap)
{
    struct buf b;
    buf_init(&b, &arena, SIZE_MAX);
    buf_add_cstr(&b, "abc");
    ck_assert(!b.failed);
    ck_assert_str_eq(b.p, "abc");
    buf_add(&b, "", SIZE_MAX - 3);
    ck_assert(b.failed);
}
END_TEST

struct escape_row {
    struct slice in;
    const char *out;
};

static void check_escapes(void (*add)(struct buf *, struct slice), const struct escape_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct buf b;
        buf_init(&b, &arena, 1000);
        add(&b, rows[i].in);
        ck_assert_msg(slice_eq_cstr(buf_slice(&b), rows[i].out), "row %zu: %s", i, b.p);
    }
}

START_TEST(json)
{
    static const struct escape_row rows[] = {
        {{"", 0}, "\"\""},
        {{"plain", 5}, "\"plain\""},
        {{"a\"b\\c/", 6}, "\"a\\\"b\\\\c/\""},
        {{"\n\r\t\b\0\x1b\x7f", 7}, "\"\\n\\r\\t\\u0008\\u0000\\u001b\\u007f\""},
        {{"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 9}, "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\""},
        {{"a\xFFz", 3}, "\"a\xEF\xBF\xBDz\""},
        {{"\xC3", 1}, "\"\xEF\xBF\xBD\""},
        {{"\xC0\xAF", 2}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {{"\xED\xA0\x80", 3}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {{"\xE2\x82\"", 3}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\\\"\""},
    };
    check_escapes(buf_add_json, rows, N_ELEMENTS(rows));
}
END_TEST

START_TEST(form)
{
    static const struct escape_row rows[] = {
        {{"", 0}, ""},
        {{"aZ09-._*", 8}, "aZ09-._*"},
        {{"a b+c&d=e%", 10}, "a+b%2Bc%26d%3De%25"},
        {{"~/\0\xC3\xA9", 5}, "%7E%2F%00%C3%A9"},
        {{"\r\n", 2}, "%0D%0A"},
    };
    check_escapes(buf_add_form, rows, N_ELEMENTS(rows));
}
END_TEST

START_TEST(html)
{
    static const struct escape_row rows[] = {
        {{"<a href=\"x\">'&amp;", 18}, "&lt;a href=&quot;x&quot;&gt;&#39;&amp;amp;"},
        {{"\xC3\xA9", 2}, "\xC3\xA9"},
    };
    check_escapes(buf_add_html, rows, N_ELEMENTS(rows));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("buf");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, grows_and_stays_terminated);
    tcase_add_test(tests, maximum_is_exact_and_failure_sticks);
    tcase_add_test(tests, spent_arena_fails_the_buffer);
    tcase_add_test(tests, a_maximum_without_end_does_not_wrap);
    tcase_add_test(tests, json);
    tcase_add_test(tests, form);
    tcase_add_test(tests, html);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Log lines: one call is one line of printable text, whatever a peer sent; addresses only as keyed hashes. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "postern/clock.h"
#include "postern/log.h"

static char captured[65536];

/* Collect what `body` writes on stderr; everything fits a pipe's buffer. */
static const char *capture(void (*body)(void))
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    int saved = dup(STDERR_FILENO);
    ck_assert_int_ne(dup2(ends[1], STDERR_FILENO), -1);
    close(ends[1]);
    body();
    ck_assert_int_ne(dup2(saved, STDERR_FILENO), -1);
    close(saved);
    size_t n = 0;
    ssize_t got;
    while ((got = read(ends[0], captured + n, sizeof captured - 1 - n)) > 0)
        n += (size_t)got;
    close(ends[0]);
    captured[n] = '\0';
    ck_assert_uint_eq(strlen(captured), n);
    return captured;
}

static void write_plain(void)
{
    clock_set(INT64_C(1692853305123));
    log_line(LOG_INFO, "7f3c", "submission", "decided", "outcome=%s took_ms=%d", "defer", 3);
    log_line(LOG_WARN, NULL, "store", "slow", "%s", "");
}

START_TEST(form_of_a_line)
{
    const char *text = capture(write_plain);
    ck_assert_int_eq(strncmp(text, "ts=2023-08-24T05:01:45", 22), 0);
    ck_assert_ptr_nonnull(
        strstr(text, "Z level=info id=7f3c module=submission event=decided outcome=defer took_ms=3\n"));
    ck_assert_ptr_nonnull(strstr(text, " level=warn module=store event=slow\n"));
}
END_TEST

static const char hostile[] = "a\nts=x level=error\r\x1b[31m\x7f\xff\xc2\x9b\xe2\x80\xa8\xe2\x80\xae\"\\\xc3\xa9";

static void write_hostile(void)
{
    log_line(LOG_ERROR_, hostile, hostile, hostile, "raw=%s quoted=%s", hostile, LOG_Q(slice_of(hostile)));
}

START_TEST(one_call_is_one_line)
{
    const char *text = capture(write_hostile);
    ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
    for (const char *p = text; p[1] != '\0'; p++)
        ck_assert_msg((unsigned char)*p >= 0x20 && *p != 0x7F, "byte %02x", (unsigned)(unsigned char)*p);
    ck_assert(slice_is_utf8(slice_of(text)));
    ck_assert_ptr_null(strstr(text, "\xc2\x9b"));
    ck_assert_ptr_null(strstr(text, "\xe2\x80\xa8"));
    ck_assert_ptr_null(strstr(text, "\xe2\x80\xae"));
    ck_assert_ptr_nonnull(strstr(text, "quoted=\"a\\x0ats=x level=error\\x0d\\x1b[31m\\x7f\\xff\\xc2\\x9b"
                                       "\\xe2\\x80\\xa8\\xe2\\x80\\xae\\\"\\\\\xc3\xa9\"\n"));
}
END_TEST

static void write_long(void)
{
    static char x[20001], controls[20001];
    memset(x, 'x', 20000);
    memset(controls, '\n', 20000);
    log_line(LOG_INFO, NULL, "m", "e", "%s", x);
    log_line(LOG_INFO, NULL, "m", "e", "%s", controls);
    log_line(LOG_INFO, x, "m", "e", "k=%d", 1);
}

START_TEST(a_long_line_is_cut)
{
    const char *text = capture(write_long);
    int lines = 0;
    for (const char *line = text; *line != '\0'; lines++) {
        size_t n = strcspn(line, "\n");
        ck_assert_uint_gt(n, 4000);
        ck_assert_uint_le(n, 4096);
        line += n + 1;
    }
    ck_assert_int_eq(lines, 3);
}
END_TEST

static void write_levels(void)
{
    log_set_level(LOG_WARN);
    log_line(LOG_ERROR_, NULL, "m", "one", "%s", "");
    log_line(LOG_WARN, NULL, "m", "two", "%s", "");
    log_line(LOG_INFO, NULL, "m", "three", "%s", "");
    log_set_level(LOG_DEBUG);
    log_line(LOG_DEBUG, NULL, "m", "four", "%s", "");
}

START_TEST(levels)
{
    const char *text = capture(write_levels);
    ck_assert_ptr_nonnull(strstr(text, "event=one"));
    ck_assert_ptr_nonnull(strstr(text, "event=two"));
    ck_assert_ptr_null(strstr(text, "event=three"));
    ck_assert_ptr_nonnull(strstr(text, "level=debug module=m event=four"));
}
END_TEST

START_TEST(quoted_values_are_bounded)
{
    static const char letter[] = {'\xc3', '\xa9'};
    char text[2000];
    struct log_quoted q;
    memset(text, 'x', sizeof text);
    for (size_t n = 490; n < 530; n++) {
        log_quote((struct slice){text, n}, &q);
        size_t length = strlen(q.text);
        ck_assert_uint_lt(length, LOG_Q_MAX);
        ck_assert(q.text[0] == '"' && q.text[length - 1] == '"');
        ck_assert_int_eq(n > 506, strstr(q.text, "...\"") != NULL);
    }
    /* No escape and no character is cut in two. */
    for (size_t i = 0; i < sizeof text; i += 2)
        memcpy(text + i, letter, sizeof letter);
    log_quote((struct slice){text, sizeof text}, &q);
    ck_assert(slice_is_utf8(slice_of(q.text)));
    memset(text, '"', sizeof text);
    log_quote((struct slice){text, sizeof text}, &q);
    ck_assert_ptr_nonnull(strstr(q.text, "\\\"...\""));
    ck_assert_str_eq(log_quote((struct slice){NULL, 0}, &q), "\"\"");
}
END_TEST

START_TEST(addresses_are_keyed_hashes)
{
    struct address ann, bob;
    struct errmsg e;
    ck_assert_int_eq(address_parse(SLICE("ann@example.com"), &ann, &e), OK);
    ck_assert_int_eq(address_parse(SLICE("bob@example.com"), &bob, &e), OK);
    char first[LOG_ADDRESS_MAX], second[LOG_ADDRESS_MAX];
    log_address(&ann, first);
    ck_assert_uint_eq(strlen(first), 18);
    ck_assert_int_eq(strncmp(first, "a:", 2), 0);
    ck_assert_uint_eq(strspn(first + 2, "0123456789abcdef"), 16);
    ck_assert_str_eq(log_address(&ann, second), first);
    ck_assert_str_ne(log_address(&bob, second), first);
    log_set_address_key(SLICE("key of the store"));
    char keyed[LOG_ADDRESS_MAX];
    ck_assert_str_ne(log_address(&ann, keyed), first);
    log_set_address_key(SLICE("another key"));
    ck_assert_str_ne(log_address(&ann, second), keyed);
    log_set_address_key(SLICE("key of the store"));
    ck_assert_str_eq(log_address(&ann, second), keyed);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, form_of_a_line);
    tcase_add_test(tests, one_call_is_one_line);
    tcase_add_test(tests, a_long_line_is_cut);
    tcase_add_test(tests, levels);
    tcase_add_test(tests, quoted_values_are_bounded);
    tcase_add_test(tests, addresses_are_keyed_hashes);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

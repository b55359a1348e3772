/* The header of a mail: where each field stands, what is no header and what too much of one, and what a person reads.
 */
#include <check.h>
#include <stdlib.h>

#include "connectors/mime.h"
#include "postern/limits.h"

static struct arena arena;
static struct mail_head head;
static struct fault fault;

static void setup(void)
{
    arena_init(&arena, 64u << 20);
}

static void teardown(void)
{
    arena_clear(&arena);
}

static enum err head_of(struct slice content)
{
    fault = (struct fault){.kind = FAULT_INTERNAL};
    return mail_head_read(content, &arena, &head, &fault);
}
#define READ(literal) head_of(SLICE(literal))

static void check_text(const struct mail_field *field, const char *text)
{
    ck_assert_ptr_nonnull(field);
    struct slice got = mail_field_text(field, &arena);
    ck_assert_msg(slice_eq_cstr(got, text), "\"%.*s\"", SLICE_ARG(got));
}

START_TEST(offsets)
{
    static const char mail[] = "From: a@b.c\r\nSubject:  one\r\n\ttwo \r\nX:\r\n\r\nText\r\n";
    ck_assert_int_eq(READ(mail), OK);
    ck_assert_uint_eq(head.n, 3);
    ck_assert(slice_eq_cstr(head.fields[1].name, "Subject"));
    ck_assert(slice_eq_cstr(head.fields[1].value, "  one\r\n\ttwo "));
    ck_assert_uint_eq(head.fields[1].start, 13);
    ck_assert_uint_eq(head.fields[1].end, head.fields[2].start);
    ck_assert_str_eq(mail + head.body, "Text\r\n");
    check_text(&head.fields[0], "a@b.c");
    check_text(&head.fields[1], "one\ttwo");
    check_text(&head.fields[2], "");
}
END_TEST

START_TEST(ends)
{
    ck_assert_int_eq(READ(""), OK);
    ck_assert_uint_eq(head.n + head.body, 0);
    ck_assert_int_eq(READ("\r\nText"), OK);
    ck_assert_uint_eq(head.n, 0);
    ck_assert_uint_eq(head.body, 2);
    ck_assert_int_eq(READ("A: 1\r\n"), OK);
    ck_assert_uint_eq(head.n, 1);
    ck_assert_uint_eq(head.body, 6);
    /* The last line may lack its end. */
    ck_assert_int_eq(READ("A: 1\r\nB: 2\r\n 3"), OK);
    ck_assert_uint_eq(head.n, 2);
    ck_assert_uint_eq(head.fields[1].end, 14);
    check_text(&head.fields[1], "2 3");
}
END_TEST

START_TEST(by_name)
{
    ck_assert_int_eq(READ("To: 1\r\nX: 2\r\ntO: 3\r\n\r\n"), OK);
    check_text(mail_head_get(&head, "to", 0), "1");
    check_text(mail_head_get(&head, "TO", 1), "3");
    ck_assert_ptr_null(mail_head_get(&head, "to", 2));
    ck_assert_ptr_null(mail_head_get(&head, "t", 0));
}
END_TEST

static const struct {
    struct slice mail;
    const char *says;
} broken[] = {
    {SLICE_INIT("A: 1\rB: 2\r\n"), "line 1 has a CR without LF"},
    {SLICE_INIT("A: 1\r"), "line 1 has a CR without LF"},
    {SLICE_INIT("A: 1\r\nB: 2\nC: 3\r\n"), "line 2 has a LF without CR"},
    {SLICE_INIT("A: 1\0\r\n"), "line 1 has a control"},
    {SLICE_INIT("A: 1\x0b\r\n"), "line 1 has a control"},
    {SLICE_INIT("A: 1\x7f\r\n"), "line 1 has a control"},
    {SLICE_INIT("A\r\n"), "line 1 is no header field"},
    {SLICE_INIT("A :1\r\n"), "line 1 is no header field"},
    {SLICE_INIT(": 1\r\n"), "line 1 is no header field"},
    {SLICE_INIT("\xc3\xa4: 1\r\n"), "line 1 is no header field"},
    {SLICE_INIT("Abc"), "line 1 is no header field"},
    {SLICE_INIT("A: 1\r\nno field\r\n\r\n"), "line 2 is no header field"},
    {SLICE_INIT(" A: 1\r\n"), "line 1 begins with a blank"},
    {SLICE_INIT("A: 1\r\n \t\r\nB: 2\r\n"), "line 2 has nothing but blanks"},
    {SLICE_INIT("A: 1\r\n "), "line 2 has nothing but blanks"},
};

START_TEST(is_broken)
{
    ck_assert_int_eq(head_of(broken[_i].mail), ERR_SYNTAX);
    ck_assert_int_eq(fault.kind, FAULT_SYNTAX);
    ck_assert_msg(strstr(fault.message.text, broken[_i].says) != NULL, "%s", fault.message.text);
}
END_TEST

/* "A: xxx...\r\n" of n bytes in all, and more bytes behind it. */
static struct slice mail_of(size_t n, const char *behind)
{
    size_t n_behind = strlen(behind);
    char *mail = arena_alloc(&arena, n + n_behind);
    ck_assert_ptr_nonnull(mail);
    memset(mail, 'x', n);
    memcpy(mail, "A: ", 3);
    memcpy(mail + n - 2, "\r\n", 2);
    memcpy(mail + n, behind, n_behind);
    return (struct slice){mail, n + n_behind};
}

START_TEST(limits)
{
    ck_assert_int_eq(head_of(mail_of(LIMIT_MAIL_HEADER_BYTES, "\r\nText")), OK);
    ck_assert_uint_eq(head.body, LIMIT_MAIL_HEADER_BYTES + 2);
    ck_assert_int_eq(head_of(mail_of(LIMIT_MAIL_HEADER_BYTES + 1, "\r\nText")), ERR_LIMIT);
    ck_assert_int_eq(fault.kind, FAULT_TOO_LARGE);
    ck_assert_int_eq(head_of(mail_of(LIMIT_MAIL_HEADER_BYTES - 2, "B:2\r\n")), ERR_LIMIT);
    /* A line that does not end is not read to the end of 16 MiB. */
    ck_assert_int_eq(head_of(mail_of(16u << 20, "\r\n")), ERR_LIMIT);
}
END_TEST

static const struct {
    const char *text, *shown;
} words[] = {
    {"", ""},
    {"plain = text?", "plain = text?"},
    {"=?utf-8?B?R3LDtsOfZQ==?=", "Größe"},
    {"=?UTF-8?q?Gr=C3=B6=c3=9fe_42?= left", "Größe 42 left"},
    {"left =?iso-8859-1*de?Q?Gr=F6=DFe?=", "left Größe"},
    {"=?iso-8859-1?b?R3L239/f?=", "Größßß"},
    {"=?us-ascii?Q?a?= \t=?us-ascii?Q?b?= c =?us-ascii?Q?d?=", "ab c d"},
    /* A character over two words is whole in the end. */
    {"=?utf-8?Q?=C3?= =?utf-8?Q?=B6?=", "ö"},
    {"=?utf-8?Q?=C3?=", "=?utf-8?Q?=C3?="},
    {"=?utf-8?Q?a=?=", "a="},
    {"=?utf-8?Q?=4?=", "=4"},
    {"=?utf-8?Q?=G0=0G?=", "=G0=0G"},
    {"=?koi8-r?Q?=C3?= =?us-ascii?Q?b?=", "=?koi8-r?Q?=C3?= b"},
    {"=?utf-8?B?a?=", "=?utf-8?B?a?="},
    {"=?utf-8?X?a?=", "=?utf-8?X?a?="},
    {"=?utf-8?BB?YQ==?=", "=?utf-8?BB?YQ==?="},
    {"=?utf-8?Q?a b?=", "=?utf-8?Q?a b?="},
    {"=?utf-8?Q?a?", "=?utf-8?Q?a?"},
    {"=?utf-8?Q?a?x", "=?utf-8?Q?a?x"},
    {"=?utf-8?Q", "=?utf-8?Q"},
    {"=?utf 8?Q?a?=", "=?utf 8?Q?a?="},
    {"=?", "=?"},
};

START_TEST(encoded_words)
{
    struct slice shown = mail_words(slice_of(words[_i].text), &arena);
    ck_assert_msg(slice_eq_cstr(shown, words[_i].shown), "%s: \"%.*s\"", words[_i].text, SLICE_ARG(shown));
}
END_TEST

START_TEST(no_memory)
{
    ck_assert_int_eq(READ("A: 1\r\n 2\r\n"), OK);
    struct mail_field folded = head.fields[0];
    struct arena small;
    arena_init(&small, 16);
    ck_assert_ptr_nonnull(arena_alloc(&small, 16));
    ck_assert_ptr_null(mail_field_text(&folded, &small).p);
    ck_assert_int_eq(mail_head_read(SLICE("A: 1\r\n"), &small, &head, &fault), ERR_LIMIT);
    ck_assert_int_eq(fault.kind, FAULT_TOO_LARGE);
    arena_clear(&small);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connectors_mail_head");
    TCase *tcase = tcase_create("head");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, offsets);
    tcase_add_test(tcase, ends);
    tcase_add_test(tcase, by_name);
    tcase_add_loop_test(tcase, is_broken, 0, (int)N_ELEMENTS(broken));
    tcase_add_test(tcase, limits);
    tcase_add_loop_test(tcase, encoded_words, 0, (int)N_ELEMENTS(words));
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

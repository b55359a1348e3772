/* Address lists: what stands in them, by offsets, and what is refused with its place. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors/mailbox.h"

/* "start-end name|address" of each, by ' & '; or the error. */
static const struct {
    const char *list;
    const char *read;
} rows[] = {
    {"", ""},
    {" \t ", ""},
    {" , ,, ", ""},
    {"a@b.test", "0-8 |a@b.test"},
    {"  a@b.test\t", "2-10 |a@b.test"},
    {"a@b.test,c@d.test", "0-8 |a@b.test & 9-17 |c@d.test"},
    {"a@b.test , c@d.test ,", "0-8 |a@b.test & 11-19 |c@d.test"},
    {",, a@b.test,,c@d.test", "3-11 |a@b.test & 13-21 |c@d.test"},
    {"Jane <j@b.test>", "0-15 Jane|j@b.test"},
    {"Jane Q. Doe <j@b.test> ", "0-22 Jane Q. Doe|j@b.test"},
    {"\"Doe, Jane\" <j@b.test>, bob@b.test", "0-22 \"Doe, Jane\"|j@b.test & 24-34 |bob@b.test"},
    {"\"Doe \\\"J\\\" <x@y.test>, \" <j@b.test>", "0-35 \"Doe \\\"J\\\" <x@y.test>, \"|j@b.test"},
    {"\"j@b.test\" <j@b.test>", "0-21 \"j@b.test\"|j@b.test"},
    {"\"A\" B \"C\" <j@b.test>", "0-20 \"A\" B \"C\"|j@b.test"},
    {"=?utf-8?q?Zo=C3=AB=2C?= <z@b.test>", "0-34 =?utf-8?q?Zo=C3=AB=2C?=|z@b.test"},
    {"Zo\xC3\xAB <z@b.test>", "0-15 Zo\xC3\xAB|z@b.test"},
    {"<j@b.test>", "0-10 |j@b.test"},
    {"< j@b.test >", "0-12 |j@b.test"},
    {"<>", "0-2 |"},
    {"<\"a>b, c\"@b.test>,d@e.test", "0-17 |\"a>b, c\"@b.test & 18-26 |d@e.test"},
    {"\"a b\"@b.test", "0-12 |\"a b\"@b.test"},
    {"\"a,b\"@b.test,c@d.test", "0-12 |\"a,b\"@b.test & 13-21 |c@d.test"},
    {"Bob", "0-3 |Bob"},
    {"Doe, Jane <j@b.test>", "0-3 |Doe & 5-20 Jane|j@b.test"},
    {"a@b.test c@d.test", "0-17 |a@b.test c@d.test"},

    {"a@b.test;c@d.test", "at byte 8: expected no group; separate addresses by commas"},
    {"Friends: a@b.test, c@d.test;", "at byte 7: expected no group; separate addresses by commas"},
    {"Jane (home) <j@b.test>", "at byte 5: expected no comment; put the name in quotes, or leave the brackets out"},
    {"j@b.test)", "at byte 8: expected no comment; put the name in quotes, or leave the brackets out"},
    {"x@y.test <j@b.test>", "at byte 1: expected a name with '@' in quotes"},
    {"a, x@y@z <j@b.test>", "at byte 4: expected a name with '@' in quotes"},
    {"Jane <j@b.test> Doe", "at byte 16: expected a comma or the end after '>'"},
    {"Jane <j@b.test> <k@b.test>", "at byte 16: expected a comma or the end after '>'"},
    {"Jane <j@b.test", "at byte 5: expected a '>' for this '<'"},
    {"Jane <<j@b.test>>", "at byte 6: expected an address and '>' after '<'"},
    {"Jane <j(x)@b.test>", "at byte 7: expected an address and '>' after '<'"},
    {"Jane <j@b.test\r\n>", "at byte 14: expected an address and '>' after '<'"},
    {"Jane <\"j@b.test>", "at byte 6: expected a closing quote for this one"},
    {"Jane> j@b.test", "at byte 4: expected this character in quotes only"},
    {"[Acme] <j@b.test>", "at byte 0: expected this character in quotes only"},
    {"j@[10.0.0.1]", "at byte 2: expected this character in quotes only"},
    {"Acme] <j@b.test>", "at byte 4: expected this character in quotes only"},
    {"J\\ane <j@b.test>", "at byte 1: expected this character in quotes only"},
    {"\"Jane <j@b.test>", "at byte 0: expected a closing quote for this one"},
    {"\"Jane\\", "at byte 0: expected a closing quote for this one"},
    {"\"Ja\nne\" <j@b.test>", "at byte 3: expected no control character in a quoted name"},
    {"\"Ja\\\rne\" <j@b.test>", "at byte 4: expected no control character in a quoted name"},
    {"\"Ja\tne\" <j@b.test>", "0-18 \"Ja\tne\"|j@b.test"},
    {"a@b.test,\r\n c@d.test", "at byte 9: expected no control character"},
    {"a\x7F@b.test", "at byte 1: expected no control character"},
};

static void read_list(struct slice text, char *out, size_t size)
{
    struct mailbox_list list = {.text = text};
    struct mailbox one;
    struct errmsg e;
    enum err err;
    size_t n = 0;
    out[0] = '\0';
    while ((err = mailbox_next(&list, &one, &e)) == OK)
        n += (size_t)snprintf(out + n, size - n, "%s%zu-%zu %.*s|%.*s", n > 0 ? " & " : "", one.start, one.end,
                              SLICE_ARG(one.name), SLICE_ARG(one.address));
    if (err != ERR_NOT_FOUND) {
        ck_assert_int_eq(err, ERR_SYNTAX);
        snprintf(out, size, "%s", e.text);
    }
}

START_TEST(lists)
{
    char got[512];
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        read_list(slice_of(rows[i].list), got, sizeof got);
        ck_assert_msg(strcmp(got, rows[i].read) == 0, "%s\nexpected %s\ngot      %s", rows[i].list, rows[i].read, got);
    }
}
END_TEST

/* A NUL is a control like any other, and the text's end is its length. */
START_TEST(bytes_not_strings)
{
    char got[512];
    read_list((struct slice){"a\0@b.test", 9}, got, sizeof got);
    ck_assert_str_eq(got, "at byte 1: expected no control character");
    read_list((struct slice){"a@b.test,c@d.test", 8}, got, sizeof got);
    ck_assert_str_eq(got, "0-8 |a@b.test");
    read_list((struct slice){NULL, 0}, got, sizeof got);
    ck_assert_str_eq(got, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connectors_mailbox");
    TCase *tcase = tcase_create("lists");
    tcase_add_test(tcase, lists);
    tcase_add_test(tcase, bytes_not_strings);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

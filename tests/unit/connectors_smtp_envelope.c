/* The arguments of MAIL and RCPT: what is read, and what is refused with which reply. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors/smtp_envelope.h"

#define A50  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A60  A50 "aaaaaaaaaa"
#define A100 A50 A50
#define A500 A100 A100 A100 A100 A100
/* 64 + 1 + 189: 254 in all, the longest that there is. */
#define LONGEST_DOMAIN A60 "." A60 "." A60 ".aaaaaa"

static struct slice of(const char *text)
{
    return slice_of(text);
}

START_TEST(mail_is_read)
{
    struct smtp_mail m;
    struct smtp_fault f;
    ck_assert_int_eq(
        smtp_mail_parse(of("FROM:<a@b.example> SIZE=1200 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B+7E+20 AUTH=<>"),
                        &m, &f),
        OK);
    ck_assert(slice_eq_cstr(m.path, "a@b.example") && slice_eq_cstr(m.size, "1200") &&
              slice_eq_cstr(m.envid, "QQ+2B+7E+20"));
    ck_assert_uint_eq(m.size_bytes, 1200);
    ck_assert(m.body_8bit && m.smtputf8 && m.ret == SMTP_RET_HDRS);
    ck_assert_int_eq(smtp_mail_parse(of("from:<>"), &m, &f), OK);
    ck_assert(m.path.n == 0 && m.size.n == 0 && m.size_bytes == 0 && m.envid.n == 0);
    ck_assert(!m.body_8bit && !m.smtputf8 && m.ret == SMTP_RET_UNSAID);
    ck_assert_int_eq(smtp_mail_parse(of("From: <a@b.example>   body=7bit  ret=full "), &m, &f), OK);
    ck_assert(!m.body_8bit && m.ret == SMTP_RET_FULL);
    ck_assert_int_eq(smtp_mail_parse(of("FROM:<\"a> b\\\"c\"@b.example> SIZE=1"), &m, &f), OK);
    ck_assert(slice_eq_cstr(m.path, "\"a> b\\\"c\"@b.example") && m.size_bytes == 1);
    ck_assert_int_eq(smtp_mail_parse(of("FROM:<\xc3\xa4@b.example> SMTPUTF8"), &m, &f), OK);
}
END_TEST

START_TEST(rcpt_is_read)
{
    struct smtp_rcpt r;
    struct smtp_fault f;
    ck_assert_int_eq(smtp_rcpt_parse(of("TO:<d@e.example>"), false, &r, &f), OK);
    ck_assert(slice_eq_cstr(r.path, "d@e.example") && r.notify == SMTP_NOTIFY_UNSAID && r.orcpt.n == 0);
    ck_assert_int_eq(smtp_rcpt_parse(of("to: <d@e.example> ORCPT=rfc822;d+2Be@e.example notify=success,FAILURE,Delay"),
                                     false, &r, &f),
                     OK);
    ck_assert(slice_eq_cstr(r.orcpt, "rfc822;d+2Be@e.example"));
    ck_assert_uint_eq(r.notify, SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY);
    ck_assert_int_eq(smtp_rcpt_parse(of("TO:<d@e.example> NOTIFY=NEVER"), false, &r, &f), OK);
    ck_assert_uint_eq(r.notify, SMTP_NOTIFY_NEVER);
    ck_assert_int_eq(smtp_rcpt_parse(of("TO:<\xc3\xb6@\xc3\xbc.example>"), true, &r, &f), OK);
    ck_assert_int_eq(smtp_rcpt_parse(of("TO:<d@e.example> ORCPT=utf-8;\\x{E4}@e.example"), false, &r, &f), OK);
}
END_TEST

START_TEST(each_limit_passes)
{
    static const char *const mails[] = {"FROM:<" A60 "aaaa@" LONGEST_DOMAIN ">", "FROM:<a@b.example> ENVID=" A100,
                                        "FROM:<a@b.example> AUTH=" A500, "FROM:<a@b.example> SIZE=18446744073709551615",
                                        "FROM:<a@b.example> SIZE=00000000000000000001"};
    struct smtp_mail m;
    struct smtp_rcpt r;
    struct smtp_fault f;
    for (size_t i = 0; i < N_ELEMENTS(mails); i++)
        ck_assert_msg(smtp_mail_parse(of(mails[i]), &m, &f) == OK, "%s: %s", mails[i], f.text);
    ck_assert_int_eq(
        smtp_rcpt_parse(of("TO:<d@e.example> ORCPT=rfc822;" A100 A100 A100 A100 A60 "aaaaaaaaaaaaaaaaaaaaaaaaa"
                           "aaaaaaaa"),
                        false, &r, &f),
        OK);
    ck_assert_uint_eq(r.orcpt.n, 500);
}
END_TEST

struct refused {
    const char *argument;
    int code;
    const char *enhanced, *says; /* somewhere in the text */
};

static const struct refused mails[] = {
    {"", 501, "5.5.4", "Syntax: MAIL FROM:<address>"},
    {"FROM", 501, "5.5.4", "Syntax: MAIL FROM:<address>"},
    {"TO:<a@b.example>", 501, "5.5.4", "Syntax: MAIL FROM:<address>"},
    {"FROM :<a@b.example>", 501, "5.5.4", "Syntax: MAIL FROM:<address>"},
    {"FROM:", 501, "5.1.7", "Bad sender's mailbox address syntax: expected <name@domain>, in angle brackets"},
    {"FROM: ", 501, "5.1.7", "in angle brackets"},
    {"FROM:  <a@b.example>", 501, "5.1.7", "in angle brackets"},
    {"FROM:a@b.example", 501, "5.1.7", "in angle brackets"},
    {"FROM:<a@b.example", 501, "5.1.7", "expected '>' behind the address"},
    {"FROM:<\"a>@b.example>", 501, "5.1.7", "expected '>' behind the address"},
    {"FROM:<\"a\\\">@b.example", 501, "5.1.7", "expected '>' behind the address"},
    {"FROM:<\"a\\", 501, "5.1.7", "expected '>' behind the address"},
    {"FROM:<a@b.example>x", 501, "5.1.7", "expected a blank or nothing behind '>'"},
    {"FROM:<a@b.example>>", 501, "5.1.7", "expected a blank or nothing behind '>'"},
    {"FROM:<a@b.example>SIZE=1", 501, "5.1.7", "expected a blank or nothing behind '>'"},
    {"FROM:<@x.example:a@b.example>", 501, "5.1.7", "source routes are not accepted"},
    {"FROM:<a%x.example@b.example>", 501, "5.1.7", "a route"},
    {"FROM:<x!a@b.example>", 501, "5.1.7", "a route"},
    {"FROM:<\"a@x\"@b.example>", 501, "5.1.7", "a route"},
    {"FROM:<a@[192.0.2.1]>", 501, "5.1.7", "IP address"},
    {"FROM:<a\\b@c.example>", 501, "5.1.7", "must be quoted"},
    {"FROM:<a>", 501, "5.1.7", "no @"},
    {"FROM:<a@b@c.example>", 501, "5.1.7", "more than one @"},
    {"FROM:<a@b.example.>", 501, "5.1.7", "dot at the end"},
    {"FROM:<a\tb@c.example>", 501, "5.1.7", "control character"},
    {"FROM:<" A60 "aaaaa@b.example>", 501, "5.1.7", "more than 64 bytes"},
    {"FROM:<" A60 "aaaa@" LONGEST_DOMAIN "a>", 501, "5.1.7", "longer than 254 bytes"},
    {"FROM:<\xc3\xa4@b.example>", 553, "5.6.7", "SMTPUTF8"},
    {"FROM:<\xc3@b.example> SMTPUTF8", 501, "5.1.7", "UTF-8"},
    {"FROM:<a@b.example> =", 501, "5.5.4", "expected a parameter"},
    {"FROM:<a@b.example> SI_ZE=1", 501, "5.5.4", "expected a parameter"},
    {"FROM:<a@b.example> S.IZE=1", 501, "5.5.4", "expected a parameter"},
    {"FROM:<a@b.example> SI:ZE=1", 501, "5.5.4", "expected a parameter"},
    {"FROM:<a@b.example> size}=1", 501, "5.5.4", "expected a parameter"},
    {"FROM:<a@b.example> S\xc3\xa4=1", 501, "5.5.4", "expected a parameter"},
    {"FROM:<a@b.example> NOTIFY=NEVER", 555, "5.5.4", "Unsupported parameter NOTIFY"},
    {"FROM:<a@b.example> X-Y9", 555, "5.5.4", "Unsupported parameter X-Y9"},
    {"FROM:<a@b.example> " A60 "=1", 555, "5.5.4", "Unsupported parameter aaaa"},
    {"FROM:<a@b.example> SIZE", 501, "5.5.4", "Syntax: SIZE=<bytes>"},
    {"FROM:<a@b.example> SIZE=", 501, "5.5.4", "Syntax: SIZE=<bytes>"},
    {"FROM:<a@b.example> SIZE=-1", 501, "5.5.4", "Syntax: SIZE=<bytes>"},
    {"FROM:<a@b.example> SIZE=1=1", 501, "5.5.4", "Syntax: SIZE=<bytes>"},
    {"FROM:<a@b.example> SIZE=18446744073709551616", 501, "5.5.4", "Syntax: SIZE=<bytes>"},
    {"FROM:<a@b.example> SIZE=000000000000000000001", 501, "5.5.4", "Syntax: SIZE=<bytes>"},
    {"FROM:<a@b.example> SIZE=1 BODY=7BIT size=1", 501, "5.5.4", "Syntax: SIZE stands twice"},
    {"FROM:<a@b.example> BODY=BINARYMIME", 501, "5.5.4", "Syntax: BODY=7BIT or BODY=8BITMIME"},
    {"FROM:<a@b.example> BODY", 501, "5.5.4", "Syntax: BODY=7BIT or BODY=8BITMIME"},
    {"FROM:<a@b.example> SMTPUTF8=1", 501, "5.5.4", "Syntax: SMTPUTF8"},
    {"FROM:<a@b.example> RET=ALL", 501, "5.5.4", "Syntax: RET=FULL or RET=HDRS"},
    {"FROM:<a@b.example> ENVID=", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=" A100 "a", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=a=b", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=\xc3\xa4", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=a\x7f", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=a+", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=a+2", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=a+2b", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=a+2/", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=a+2:", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=a+2G", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=a+0D+0A", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=a+7F", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> ENVID=a+80", 501, "5.5.4", "Syntax: ENVID="},
    {"FROM:<a@b.example> AUTH=", 501, "5.5.4", "Syntax: AUTH="},
    {"FROM:<a@b.example> AUTH=" A500 "a", 501, "5.5.4", "Syntax: AUTH="},
};
static const struct refused rcpts[] = {
    {"FROM:<a@b.example>", 501, "5.5.4", "Syntax: RCPT TO:<address>"},
    {"TO:<>", 501, "5.1.3", "Bad destination mailbox address syntax: an empty address"},
    {"TO:<postmaster>", 501, "5.1.3", "no @"},
    {"TO:<@x.example,@y.example:a@b.example>", 501, "5.1.3", "source routes are not accepted"},
    {"TO:<a%x.example@b.example>", 501, "5.1.3", "a route"},
    {"TO:<\"x!a\"@b.example>", 501, "5.1.3", "a route"},
    {"TO:<a@b.example> SIZE=1", 555, "5.5.4", "Unsupported parameter SIZE"},
    {"TO:<\xc3\xa4@b.example>", 553, "5.6.7", "SMTPUTF8"},
    {"TO:<a@b.example> NOTIFY", 501, "5.5.4", "Syntax: NOTIFY="},
    {"TO:<a@b.example> NOTIFY=", 501, "5.5.4", "Syntax: NOTIFY="},
    {"TO:<a@b.example> NOTIFY=ALWAYS", 501, "5.5.4", "Syntax: NOTIFY="},
    {"TO:<a@b.example> NOTIFY=NEVER,DELAY", 501, "5.5.4", "Syntax: NOTIFY="},
    {"TO:<a@b.example> NOTIFY=DELAY,", 501, "5.5.4", "Syntax: NOTIFY="},
    {"TO:<a@b.example> NOTIFY=DELAY,DELAY", 501, "5.5.4", "Syntax: NOTIFY="},
    {"TO:<a@b.example> NOTIFY=DELAY NOTIFY=DELAY", 501, "5.5.4", "Syntax: NOTIFY stands twice"},
    {"TO:<a@b.example> ORCPT", 501, "5.5.4", "Syntax: ORCPT="},
    {"TO:<a@b.example> ORCPT=a@b.example", 501, "5.5.4", "Syntax: ORCPT="},
    {"TO:<a@b.example> ORCPT=;a@b.example", 501, "5.5.4", "Syntax: ORCPT="},
    {"TO:<a@b.example> ORCPT=rfc 822;a", 501, "5.5.4", "Syntax: ORCPT="},
    {"TO:<a@b.example> ORCPT=rfc822;", 501, "5.5.4", "Syntax: ORCPT="},
    {"TO:<a@b.example> ORCPT=rfc822;a+0A", 501, "5.5.4", "Syntax: ORCPT="},
    {"TO:<a@b.example> ORCPT=rfc822;" A500, 501, "5.5.4", "Syntax: ORCPT="},
};

static void check_fault(const struct refused *row, enum err err, const struct smtp_fault *f)
{
    ck_assert_msg(err == ERR_SYNTAX, "%s was read", row->argument);
    ck_assert_msg(f->code == row->code && strcmp(f->enhanced, row->enhanced) == 0 && strstr(f->text, row->says) != NULL,
                  "%s: %d %s %s", row->argument, f->code, f->enhanced, f->text);
    for (const char *c = f->text; *c != '\0'; c++)
        ck_assert(*c >= ' ' && *c < 0x7F);
}

START_TEST(mail_is_refused)
{
    struct smtp_mail m;
    struct smtp_fault f;
    check_fault(&mails[_i], smtp_mail_parse(of(mails[_i].argument), &m, &f), &f);
}
END_TEST

START_TEST(rcpt_is_refused)
{
    struct smtp_rcpt r;
    struct smtp_fault f;
    check_fault(&rcpts[_i], smtp_rcpt_parse(of(rcpts[_i].argument), false, &r, &f), &f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("smtp_envelope");
    TCase *tests = tcase_create("smtp_envelope");
    tcase_add_test(tests, mail_is_read);
    tcase_add_test(tests, rcpt_is_read);
    tcase_add_test(tests, each_limit_passes);
    tcase_add_loop_test(tests, mail_is_refused, 0, (int)N_ELEMENTS(mails));
    tcase_add_loop_test(tests, rcpt_is_refused, 0, (int)N_ELEMENTS(rcpts));
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

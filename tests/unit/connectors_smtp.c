/*
 * Byte for byte: each mail of tests/connectors/smtp/mails, real-shaped or broken, leaves as it came; and with fields
 * that speak to Postern put in anywhere in its header, it leaves as it was without them.
 */
#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors/mime.h"
#include "connectors/registry.h"
#include "postern/buf.h"

#define NOW_MS INT64_C(1795341600000) /* 2026-11-22T10:00:00Z */

static const struct wire_field fields[] = {{SLICE_INIT("MAIL"), SLICE_INIT("FROM:<shop@example.com>")},
                                           {SLICE_INIT("RCPT"), SLICE_INIT("TO:<ann@example.net>")},
                                           {SLICE_INIT("CLIENT"), SLICE_INIT("app.example.com")}};
static const struct provider_login login;

static struct arena arena;
static glob_t mails;
static char text[1u << 20];

static void setup(void)
{
    arena_init(&arena, 256u << 20);
}

static void teardown(void)
{
    arena_clear(&arena);
}

static struct slice mail_of(int i)
{
    FILE *f = fopen(mails.gl_pathv[i], "rb");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    ck_assert_uint_lt(n, sizeof text);
    return (struct slice){text, n};
}

/* The content that leaves when all are sent to, or all but the last. */
static struct slice forwarded(struct slice content, bool all, const char *name)
{
    struct wire_request r = {
        .method = SLICE("SMTP"), .fields = fields, .n_fields = N_ELEMENTS(fields), .body = content};
    struct forward_options options = {.login = &login, .now_ms = NOW_MS};
    struct route route;
    struct parsed parsed;
    struct fault fault;
    struct outgoing out;
    bool send[8] = {false};
    ck_assert_int_eq(smtp_connector.match(&r, &route), CALL_SEND);
    ck_assert_msg(smtp_connector.parse(&r, &route, NOW_MS, &arena, &parsed, &fault) == OK, "%s: %s", name,
                  fault.message.text);
    ck_assert_uint_le(parsed.n_messages, N_ELEMENTS(send));
    for (size_t i = 0; i < parsed.n_messages; i++)
        send[i] = all || i + 1 < parsed.n_messages;
    ck_assert_int_eq(smtp_connector.forward(&r, &route, &parsed, send, &options, &arena, &out), OK);
    ck_assert_uint_eq(out.envelope->n_recipients, 1);
    return out.body;
}

START_TEST(untouched)
{
    struct slice content = mail_of(_i);
    struct slice out = forwarded(content, true, mails.gl_pathv[_i]);
    ck_assert_msg(out.p == content.p && out.n == content.n, "%s was written anew", mails.gl_pathv[_i]);
}
END_TEST

/* put stands in front of the field that begins at `at`, or of the empty line. */
static struct slice with(struct slice content, size_t at, const char *put)
{
    struct buf b;
    buf_init(&b, &arena, 2u << 20);
    buf_add(&b, content.p, at);
    buf_add_cstr(&b, put);
    buf_add(&b, content.p + at, content.n - at);
    ck_assert(!b.failed);
    return buf_slice(&b);
}

static void check_without(struct slice content, size_t at, int i)
{
    static const char ours[] =
        "X-Postern-Category: newsletter\r\nx-postern-override:\r\n ovr_bdbdd7d316cc73a4\r\n\tfold\r\n"
        "Idempotency-Key: k-1\r\n";
    struct slice out = forwarded(with(content, at, ours), true, mails.gl_pathv[i]);
    ck_assert_msg(slice_eq(out, content), "%s: differs when ours stand at byte %zu", mails.gl_pathv[i], at);
}

START_TEST(only_ours_are_cut)
{
    struct slice content = mail_of(_i);
    struct mail_head head;
    struct fault fault;
    ck_assert_int_eq(mail_head_read(content, &arena, &head, &fault), OK);
    for (size_t k = 0; k < head.n; k++)
        check_without(content, head.fields[k].start, _i);
    if (head.n > 0)
        check_without(content, head.fields[head.n - 1].end, _i);
}
END_TEST

/* The recipients' order is pruned, every other byte stays. */
START_TEST(only_the_order_is_pruned)
{
    struct slice content = mail_of(_i);
    struct mail_head head;
    struct fault fault;
    ck_assert_int_eq(mail_head_read(content, &arena, &head, &fault), OK);
    if (head.n == 0 || mail_head_get(&head, "X-SMTPAPI", 0) != NULL)
        return;
    size_t at = head.fields[head.n - 1].end;
    struct slice given =
        with(content, at, "X-SMTPAPI: {\"to\":[\"a@b.c\",\r\n \"d@b.c\"],\r\n \"sub\":{\"-x-\":[\"1\", \"2\"]}}\r\n");
    struct slice wanted = with(content, at, "X-SMTPAPI: {\"to\":[\"a@b.c\"],\r\n \"sub\":{\"-x-\":[\"1\"]}}\r\n");
    ck_assert_msg(slice_eq(forwarded(given, false, mails.gl_pathv[_i]), wanted), "%s", mails.gl_pathv[_i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connectors_smtp");
    TCase *tcase = tcase_create("mails");
    if (glob(TESTS_DIR "/connectors/smtp/mails/*.eml", 0, NULL, &mails) != 0 || mails.gl_pathc < 40)
        return 1;
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, untouched, 0, (int)mails.gl_pathc);
    tcase_add_loop_test(tcase, only_ours_are_cut, 0, (int)mails.gl_pathc);
    tcase_add_loop_test(tcase, only_the_order_is_pruned, 0, (int)mails.gl_pathc);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    globfree(&mails);
    return failed == 0 ? 0 : 1;
}

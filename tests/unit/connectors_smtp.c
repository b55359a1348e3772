/*
 * Byte for byte: each mail of tests/connectors/smtp/mails, real-shaped or broken, leaves as it came; and with fields
 * that speak to Postern put in anywhere in its header, it leaves as it was without them.  Beside that, what the cases
 * of tests/connectors/smtp cannot say: every fault, every code of a relay, limits, fingerprints.
 */
#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors/mime.h"
#include "connectors/smtp.h"
#include "postern/connector.h"
#include "postern/buf.h"

extern const struct connector smtp_connector;

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

/* --- replies ------------------------------------------------------------------- */

#define FAULT(kind_, field_, text_)                                                                                    \
    {                                                                                                                  \
        .kind = FAULT_##kind_, .field = field_, .message = { text_ }                                                   \
    }
static const struct {
    struct fault fault;
    const char *reply;
} faults[] = {
    {FAULT(SYNTAX, "", "x"), "554 5.6.0 x\r\n"},
    {FAULT(SYNTAX, "", ""), "554 5.6.0 Message not accepted\r\n"},
    {FAULT(NO_SENDER, "", "x"), "554 5.6.0 x\r\n"},
    {FAULT(NO_BODY, "", "x"), "554 5.6.0 x\r\n"},
    {FAULT(MEDIA_TYPE, "", "x"), "554 5.6.1 x\r\n"},
    {FAULT(NO_RECIPIENT, "", "x"), "554 5.5.1 No valid recipients\r\n"},
    {FAULT(ADDRESS, "RCPT", "x"), "553 5.1.3 x\r\n"},
    {FAULT(ADDRESS, "MAIL", "x"), "553 5.1.7 x\r\n"},
    {FAULT(TOO_LONG, "", "x"), "554 5.5.3 x\r\n"},
    {FAULT(TOO_LARGE, "", ""), "552 5.3.4 Message too big for system\r\n"},
    {FAULT(TOO_LARGE, "", "x"), "552 5.3.4 x\r\n"},
    {FAULT(AUTH, "", "x"), "535 5.7.8 Authentication credentials invalid\r\n"},
    {FAULT(FORBIDDEN, "", "x"), "550 5.7.1 x\r\n"},
    {FAULT(CATEGORY, "", "x"), "550 5.7.1 x\r\n"},
    {FAULT(NOT_FOUND, "", "x"), "554 5.5.0 x\r\n"},
    {FAULT(METHOD, "", "x"), "502 5.5.1 x\r\n"},
    {FAULT(CONFLICT, "Received", "x"), "554 5.4.6 x\r\n"},
    {FAULT(CONFLICT, "", "x"), "554 5.5.0 x\r\n"},
    {FAULT(IN_PROGRESS, "", "x"), "451 4.3.0 x (PST-IN-PROGRESS)\r\n"},
    {FAULT(KEY_REUSED, "", "x"), "554 5.5.0 x (PST-KEY-REUSED)\r\n"},
    {FAULT(OVERLOAD, "", "x"), "451 4.3.2 System not accepting messages: gateway overloaded, try again later\r\n"},
    {FAULT(UNAVAILABLE, "", "x"), "451 4.3.0 Temporary local problem, message not accepted\r\n"},
    {FAULT(UNAVAILABLE, "disk", "x"), "452 4.3.1 Mail system full\r\n"},
    {FAULT(UPSTREAM_DOWN, "", "x"), "451 4.4.1 Upstream provider does not answer, try again later\r\n"},
    {FAULT(INTERNAL, "", "x"), "451 4.3.0 Temporary local problem, message not accepted\r\n"},
    {FAULT(SYNTAX, "", "two\r\nlines, \x1b[31mred, and caf\xc3\xa9"), "554 5.6.0 two  lines,  [31mred, and caf?\r\n"},
};

START_TEST(fault)
{
    struct wire_reply reply;
    ck_assert_int_eq(smtp_connector.fault_reply(&faults[_i].fault, NULL, &arena, &reply), OK);
    ck_assert_msg(slice_eq_cstr(reply.body, faults[_i].reply), "%.*s", SLICE_ARG(reply.body));
    ck_assert_int_eq(reply.status / 100, reply.body.p[0] - '0');
    ck_assert_uint_eq(reply.n_fields, 0);
}
END_TEST

static const struct recipient_answer two[] = {{550, SLICE_INIT("no")}, {250, SLICE_INIT("queued as Q\r1")}};

static const struct {
    struct provider_answer answer;
    size_t nth;
    enum send_status status;
    const char *id;
} answers[] = {
    {{.status = 250}, 0, SEND_ACCEPTED, ""},
    {{.status = 250, .body = SLICE_INIT("Ok: queued as ")}, 0, SEND_ACCEPTED, ""},
    {{.status = 250, .body = SLICE_INIT("Ok: queued as a1 (x)")}, 0, SEND_ACCEPTED, "a1"},
    {{.status = 250, .body = SLICE_INIT("Ok: queued as a1\x7f")}, 0, SEND_ACCEPTED, "a1"},
    {{.status = 250, .recipients = two, .n_recipients = 2}, 0, SEND_REFUSED, ""},
    {{.status = 250, .recipients = two, .n_recipients = 2}, 1, SEND_ACCEPTED, "Q"},
    {{.status = 450, .recipients = two, .n_recipients = 2}, 2, SEND_RETRY, ""},
    /* X-SMTPAPI: one carrier for all. */
    {{.status = 250, .recipients = two, .n_recipients = 1}, 7, SEND_REFUSED, ""},
    {{.status = 421}, 0, SEND_RETRY, ""},
    {{.status = 599}, 0, SEND_REFUSED, ""},
    {{.status = 600}, 0, SEND_UNKNOWN, ""},
    {{.status = 354}, 0, SEND_UNKNOWN, ""},
    {{.status = 0}, 0, SEND_UNKNOWN, ""},
};

START_TEST(classified)
{
    struct send_result result;
    smtp_connector.classify(&answers[_i].answer, answers[_i].nth, &result);
    ck_assert_int_eq(result.status, answers[_i].status);
    ck_assert_msg(slice_eq_cstr(result.provider_id, answers[_i].id), "%.*s", SLICE_ARG(result.provider_id));
}
END_TEST

START_TEST(minted)
{
    const uint8_t random[16] = {0, 1, 2, 253, 254, 255};
    char id[SID_MAX];
    smtp_connector.mint_id(NULL, random, id);
    ck_assert_str_eq(id, "000102fdfeff00000000000000000000");
}
END_TEST

/* One soft block, told by a Postern of which little is configured. */
static void check_soft(struct answer answer, struct slice public_url, const char *expected)
{
    struct message message = {.index = 0};
    struct decision decision = {
        .outcome = OUTCOME_SOFT_BLOCK, .level = LEVEL_SOFT, .reason = REASON_CAP_ORGANISATION, .overridable = true};
    struct wire_reply reply;
    answer.message = &message;
    answer.decision = &decision;
    struct send_report report = {.answers = &answer, .n_answers = 1, .public_url = public_url};
    ck_assert_int_eq(smtp_connector.reply(&report, &arena, &reply), OK);
    ck_assert_msg(slice_eq_cstr(reply.body, expected), "%.*s", SLICE_ARG(reply.body));
}

START_TEST(soft_block)
{
    check_soft((struct answer){.id = "dec_1"}, SLICE(""),
               "550-5.7.1 Blocked by customer preference: PST-SOFT-FREQUENCY frequency cap reached\r\n"
               "550-5.7.1 Decision dec_1\r\n"
               "550 5.7.1 Override allowed: approve decision dec_1 (PST-SOFT-FREQUENCY)\r\n");
    check_soft((struct answer){.id = "dec_1", .token = "ovr_2", .prompt = "Send anyway?"}, SLICE("https://p.test"),
               "550-5.7.1 Blocked by customer preference: PST-SOFT-FREQUENCY frequency cap reached. Send anyway?\r\n"
               "550-5.7.1 Decision https://p.test/o/dec_1\r\n"
               "550 5.7.1 Override allowed: resend with header X-Postern-Override: ovr_2\r\n");
}
END_TEST

/* Memory for a reply, or none: ERR_LIMIT, never half of one. */
START_TEST(short_of_bytes)
{
    struct message message = {.index = 0};
    struct decision decisions[2] = {{.outcome = OUTCOME_FORWARD}, {.outcome = OUTCOME_BLOCK}};
    struct answer rows[2] = {{.message = &message, .decision = &decisions[0], .id = "dec_1"},
                             {.message = &message, .decision = &decisions[1], .id = "dec_2"}};
    struct provider_answer provider = {.status = 250, .body = SLICE("queued as 0123456789abcdef0123456789")};
    struct send_report report = {.answers = rows, .n_answers = 2, .provider = &provider};
    struct wire_reply reply;
    enum err err = ERR_LIMIT;
    for (size_t bytes = 16; err != OK; bytes += 16) {
        struct arena small;
        arena_init(&small, bytes);
        err = smtp_connector.reply(&report, &small, &reply);
        ck_assert(err == OK || err == ERR_LIMIT);
        ck_assert_uint_lt(bytes, 8192);
        arena_clear(&small);
    }
}
END_TEST

/* A redirected message counts as one that was sent. */
START_TEST(redirected)
{
    struct message message = {.index = 0};
    struct decision decision = {.outcome = OUTCOME_REDIRECT};
    struct answer answer = {.message = &message, .decision = &decision, .id = "dec_1"};
    struct provider_answer provider = {.status = 250, .body = SLICE("queued as q")};
    struct send_report report = {.answers = &answer, .n_answers = 1, .provider = &provider};
    struct wire_reply reply;
    ck_assert_int_eq(smtp_connector.reply(&report, &arena, &reply), OK);
    ck_assert(slice_eq_cstr(reply.body, "250 2.0.0 Ok: queued as q\r\n"));
}
END_TEST

/* Memory for what leaves, or none: a field in encoded words is written anew, which takes the most of it. */
START_TEST(forward_short_of_bytes)
{
    struct wire_request r = {.method = SLICE("SMTP"),
                             .fields = fields,
                             .n_fields = 3,
                             .body = SLICE("X-SMTPAPI: =?utf-8?Q?{\"to\":[\"a@b.c\",\"d@b.c\"]}?=\r\n\r\nx\r\n")};
    struct forward_options options = {.login = &login, .now_ms = NOW_MS};
    const bool send[2] = {true, false};
    struct parsed parsed;
    struct fault f;
    struct outgoing out;
    enum err err = ERR_LIMIT;
    ck_assert_int_eq(smtp_connector.parse(&r, NULL, NOW_MS, &arena, &parsed, &f), OK);
    for (size_t bytes = 16; err != OK; bytes += 16) {
        struct arena small;
        arena_init(&small, bytes);
        err = smtp_connector.forward(&r, NULL, &parsed, send, &options, &small, &out);
        ck_assert(err == OK || err == ERR_LIMIT);
        ck_assert_uint_lt(bytes, 8192);
        if (err == OK)
            ck_assert(slice_eq_cstr(out.body, "X-SMTPAPI: {\"to\":[\"a@b.c\"]}\r\n\r\nx\r\n"));
        arena_clear(&small);
    }
}
END_TEST

/* --- limits and odd contents ---------------------------------------------------- */

static enum err parse(const struct wire_field *envelope, size_t n, struct slice content, struct parsed *parsed,
                      struct fault *f)
{
    struct wire_request r = {.method = SLICE("SMTP"), .fields = envelope, .n_fields = n, .body = content};
    return smtp_connector.parse(&r, NULL, NOW_MS, &arena, parsed, f);
}

START_TEST(thousand_recipients)
{
    struct wire_field *many = arena_calloc(&arena, 1003, sizeof *many);
    struct parsed parsed;
    struct fault f;
    ck_assert_ptr_nonnull(many);
    many[0] = fields[0];
    for (size_t i = 1; i < 1003; i++)
        many[i] = (struct wire_field){SLICE("RCPT"), slice_of(arena_printf(&arena, "TO:<u%zu@x.test>", i))};
    ck_assert_int_eq(parse(many, 1001, SLICE("Subject: x\r\n\r\nx\r\n"), &parsed, &f), OK);
    ck_assert_uint_eq(parsed.n_messages, 1000);
    ck_assert_int_eq(parse(many, 1002, SLICE("Subject: x\r\n\r\nx\r\n"), &parsed, &f), ERR_LIMIT);
    ck_assert_int_eq(f.kind, FAULT_TOO_LONG);
}
END_TEST

START_TEST(thousand_in_the_order)
{
    struct parsed parsed;
    struct fault f;
    for (size_t n = 1000; n <= 1001; n++) {
        struct buf b;
        buf_init(&b, &arena, 1u << 20);
        buf_add_cstr(&b, "X-SMTPAPI: {\"to\":[");
        for (size_t i = 0; i < n; i++)
            buf_printf(&b, "%s\"u%zu@x.test\"", i == 0 ? "" : ",\r\n ", i);
        buf_add_cstr(&b, "]}\r\n\r\nx\r\n");
        ck_assert_int_eq(parse(fields, 3, buf_slice(&b), &parsed, &f), n == 1000 ? OK : ERR_LIMIT);
    }
    ck_assert_int_eq(f.kind, FAULT_TOO_LONG);
}
END_TEST

/* Which mails go back whole in a report: those that any server takes. */
static const struct {
    struct slice content; /* n of a large one is more than stands here */
    bool whole;
} returned[] = {
    {SLICE_INIT("Subject: x\r\n\r\nx\r\n"), true},
    {SLICE_INIT("Subject: x\r\n\r\n"), true},
    {SLICE_INIT(""), false},
    {SLICE_INIT("Subject: x\r\n\r\nno end"), false},
    {SLICE_INIT("Subject: x\r\n\r\n\nx\r\n"), false},
    {SLICE_INIT("Subject: x\r\n\r\nx\ny\r\n"), false},
    {SLICE_INIT("Subject: x\r\n\r\nx\ry\r\n"), false},
    {SLICE_INIT("Subject: x\r\n\r\nx\0y\r\n"), false},
};

static bool is_returned_whole(struct slice content)
{
    static const struct wire_field envelope[] = {{SLICE_INIT("MAIL"), SLICE_INIT("FROM:<s@x.test> RET=FULL")},
                                                 {SLICE_INIT("RCPT"), SLICE_INIT("TO:<a@b.c>")}};
    struct wire_request r = {.method = SLICE("SMTP"), .fields = envelope, .n_fields = 2, .body = content}, out;
    struct report_options options = {.now_ms = NOW_MS, .arrived_ms = NOW_MS, .host = "h.test", .id = "1"};
    struct parsed parsed;
    struct fault f;
    ck_assert_int_eq(parse(envelope, 2, content, &parsed, &f), OK);
    struct report_row row = {.message = parsed.messages, .action = REPORT_FAILED, .status = SLICE("5.1.1")};
    ck_assert_int_eq(smtp_connector.report(&r, &parsed, &row, 1, &options, &arena, &out), OK);
    bool whole = memmem(out.body.p, out.body.n, "message/rfc822\r\n", 16) != NULL;
    ck_assert(whole || memmem(out.body.p, out.body.n, "text/rfc822-headers\r\n", 21) != NULL);
    return whole;
}

START_TEST(returned_whole)
{
    ck_assert_int_eq(is_returned_whole(returned[_i].content), returned[_i].whole);
}
END_TEST

START_TEST(returned_up_to_64_kib)
{
    const size_t limit = 65536;
    char *content = arena_alloc(&arena, limit + 2);
    ck_assert_ptr_nonnull(content);
    for (size_t i = 0; i < limit + 2; i += 2)
        memcpy(content + i, "\r\n", 2);
    ck_assert(is_returned_whole((struct slice){content, limit}));
    ck_assert(!is_returned_whole((struct slice){content, limit + 2}));
}
END_TEST

/* What differs from mail to mail, and is not read by anybody, is no part of what a mail says. */
START_TEST(fingerprints)
{
    static const struct slice contents[] = {
        SLICE_INIT("Subject: a\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\n\r\nx\r\n--b1--\r\n"),
        SLICE_INIT("Message-ID: <1@x>\r\nDate: now\r\nSubject: a\r\n"
                   "Content-Type: multipart/mixed; boundary=b2\r\n\r\n--b2\r\n\r\nx\r\n--b2--\r\n"),
        SLICE_INIT("Subject: a\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\n\r\ny\r\n--b1--\r\n"),
        SLICE_INIT("Subject: b\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\n\r\nx\r\n--b1--\r\n")};
    uint64_t h[N_ELEMENTS(contents)];
    struct parsed parsed;
    struct fault f;
    for (size_t i = 0; i < N_ELEMENTS(contents); i++) {
        ck_assert_int_eq(parse(fields, 3, contents[i], &parsed, &f), OK);
        h[i] = parsed.messages[0].fingerprint;
    }
    ck_assert(h[0] == h[1]);
    ck_assert(h[0] != h[2] && h[0] != h[3] && h[2] != h[3]);
}
END_TEST

/* Of a mail that can be known again: the time that it bears, where 32 bits hold it. */
static const struct {
    const char *date;
    uint32_t at_s;
} dates[] = {
    {"Date: Mon, 6 Jan 2025 12:00:00 +0000\r\n", 1736164800},
    {"Date: Mon, 6 Jan 2025\r\n 13:00:00 +0100\r\n", 1736164800}, /* folded */
    {"Date: Sun, 7 Feb 2106 06:28:15 +0000\r\n", UINT32_MAX},
    {"Date: Sun, 7 Feb 2106 06:28:16 +0000\r\n", 0},
    {"Date: Wed, 31 Dec 1969 23:59:59 +0000\r\n", 0},
    {"Date: today\r\n", 0},
    {"", 0},
};

START_TEST(times)
{
    struct parsed parsed, without;
    struct fault f;
    const char *mail = arena_printf(&arena, "%sMessage-ID: <1@x>\r\n\r\nx\r\n", dates[_i].date);
    const char *nameless = arena_printf(&arena, "%s\r\nx\r\n", dates[_i].date);
    ck_assert_int_eq(parse(fields, 3, slice_of(mail), &parsed, &f), OK);
    ck_assert_uint_eq(parsed.mail_at_s, dates[_i].at_s);
    ck_assert_uint_eq(parsed.mail_key.n, 64);
    ck_assert_int_eq(parse(fields, 3, slice_of(nameless), &without, &f), OK);
    ck_assert_uint_eq(without.mail_key.n, 0);
}
END_TEST

/* Memory for what a mail is known by, or none. */
START_TEST(identity_short_of_bytes)
{
    const struct slice content = SLICE("Date: Mon, 6 Jan 2025\r\n 13:00:00 +0100\r\nMessage-ID:\r\n <1@x>\r\n"
                                       "Subject: a\r\n b\r\nContent-Type: text/plain;\r\n charset=utf-8\r\n\r\nx\r\n");
    const struct wire_request r = {.method = SLICE("SMTP"), .fields = fields, .n_fields = 3, .body = content};
    struct mail_head head;
    struct fault f;
    ck_assert_int_eq(mail_head_read(content, &arena, &head, &f), OK);
    enum err said = ERR_LIMIT, known = ERR_LIMIT;
    for (size_t bytes = 8; said != OK || known != OK; bytes += 8) {
        struct parsed parsed = {.n_messages = 0};
        struct arena small;
        uint64_t fingerprint;
        arena_init(&small, bytes);
        said = smtp_identity_fingerprint(content, &head, &small, &fingerprint);
        arena_clear(&small);
        arena_init(&small, bytes);
        known = smtp_identity_key(&r, &head, &small, &parsed);
        ck_assert(known == OK || parsed.mail_key.p == NULL);
        arena_clear(&small);
        ck_assert_uint_lt(bytes, 4096);
    }
}
END_TEST

START_TEST(facts)
{
    struct parsed parsed;
    struct fault f;
    ck_assert_int_eq(parse(fields, 3, SLICE("From: a@b.c\r\n\r\nfour words are here\r\n"), &parsed, &f), OK);
    ck_assert_uint_eq(parsed.messages[0].body->words, 4);
    ck_assert(parsed.messages[0].body->has_text);
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
    tcase_add_loop_test(tcase, fault, 0, (int)N_ELEMENTS(faults));
    tcase_add_loop_test(tcase, classified, 0, (int)N_ELEMENTS(answers));
    tcase_add_test(tcase, minted);
    tcase_add_test(tcase, soft_block);
    tcase_add_test(tcase, short_of_bytes);
    tcase_add_test(tcase, forward_short_of_bytes);
    tcase_add_test(tcase, redirected);
    tcase_add_loop_test(tcase, returned_whole, 0, (int)N_ELEMENTS(returned));
    tcase_add_test(tcase, thousand_recipients);
    tcase_add_test(tcase, thousand_in_the_order);
    tcase_add_test(tcase, returned_up_to_64_kib);
    tcase_add_test(tcase, fingerprints);
    tcase_add_loop_test(tcase, times, 0, (int)N_ELEMENTS(dates));
    tcase_add_test(tcase, identity_short_of_bytes);
    tcase_add_test(tcase, facts);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    globfree(&mails);
    return failed == 0 ? 0 : 1;
}

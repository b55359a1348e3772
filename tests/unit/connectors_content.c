/* What SendGrid's and Twilio's requests hold, as the rules are told: body facts and the text for people. */
#include <check.h>
#include <stdlib.h>

#include "postern/connector.h"
#include "postern/buf.h"
#include "postern/limits.h"

extern const struct connector sendgrid_connector;
extern const struct connector twilio_connector;

#define NOW_MS INT64_C(1795341600000)

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, LIMIT_ARENA_BYTES);
}

static void teardown(void)
{
    arena_clear(&arena);
}

static enum err parse(const struct connector *c, const char *path, const char *type, struct slice body, struct arena *a,
                      struct parsed *out)
{
    struct wire_field field = {SLICE("Content-Type"), slice_of(type)};
    struct wire_request r = {
        .method = SLICE("POST"), .path = slice_of(path), .fields = &field, .n_fields = 1, .body = body};
    struct route route;
    struct fault fault;
    ck_assert_int_eq(c->match(&r, &route), CALL_SEND);
    return c->parse(&r, &route, NOW_MS, a, out, &fault);
}

static struct slice mail_about(const char *subject, const char *members)
{
    return slice_of(
        arena_printf(&arena,
                     "{\"personalizations\":[{\"to\":[{\"email\":\"a@example.test\"}]},{\"to\":[{\"email\":"
                     "\"b@example.test\"}]}],\"from\":{\"email\":\"c@example.test\"},\"subject\":\"%s\",%s}",
                     subject, members));
}

static struct slice mail(const char *members)
{
    return mail_about("s", members);
}

#define TEXT(value) "{\"type\":\"text/plain\",\"value\":\"" value "\"}"
#define HTML(value) "{\"type\":\"text/html\",\"value\":\"" value "\"}"

static const struct seen {
    const char *members;
    bool text, html, card;
    uint32_t words, attachments;
    const char *shown;
} mails[] = {
    {"\"content\":[" TEXT("Hello Ann") "]", true, false, false, 2, 0, "Hello Ann"},
    {"\"content\":[" TEXT("Hello\\nAnn\\tand Bea") "]", true, false, false, 4, 0, "Hello\nAnn\tand Bea"},
    {"\"content\":[" HTML("<p>Hello <b>Ann</b></p>") "]", false, true, false, 2, 0, "<p>Hello <b>Ann</b></p>"},
    {"\"content\":[" TEXT("Hello") "," HTML("<p>Hello you all</p>") "]", true, true, false, 1, 0, "Hello"},
    {"\"content\":[" HTML("<p>Hello you all</p>") "," TEXT("Hello") "]", true, true, false, 1, 0, "Hello"},
    {"\"content\":[" HTML("<p>a b") "," HTML("<p>c") "]", false, true, false, 3, 0, "<p>a b"},
    {"\"content\":[" TEXT("a b") "," TEXT("c") "]", true, false, false, 3, 0, "a b"},
    /* A card's number, behind escapes, in either. */
    {"\"content\":[" TEXT("4111111111111111") "]", true, false, true, 1, 0, "4111111111111111"},
    {"\"content\":[" TEXT("a\\n4111 1111 1111 1111") "]", true, false, true, 5, 0, "a\n4111 1111 1111 1111"},
    {"\"content\":[" TEXT("a") "," HTML("\\u003cp>\\n4111111111111111") "]", true, true, true, 1, 0, "a"},
    {"\"content\":[" TEXT("a") "," HTML("<p>4111111111111111") "]", true, true, true, 1, 0, "a"},
    {"\"content\":[" TEXT("a") "," HTML("<p>4111111111111112") "]", true, true, false, 1, 0, "a"},
    /* Other parts, other types, none. */
    {"\"content\":[" TEXT("a") ",{\"type\":\"text/calendar\",\"value\":\"4111111111111111\"}]", true, false, false, 1,
     0, "a"},
    {"\"content\":[{\"type\":\"text/calendar\",\"value\":\"b\"}," HTML("<p>a") "]", false, true, false, 1, 0, "b"},
    {"\"content\":[{\"type\":\"text\\/plain; charset=utf-8\",\"value\":\"a b\"}]", true, false, false, 2, 0, "a b"},
    {"\"content\":[{\"type\":7,\"value\":\"a\"},{\"value\":\"b\"},{\"type\":\"text/plain\",\"value\":7},7]", false,
     false, false, 0, 0, "a"},
    {"\"template_id\":\"d-1\"", false, false, false, 0, 0, ""},
    {"\"content\":[" TEXT("a") "],\"attachments\":[{},{}]", true, false, false, 1, 2, "a"},
    {"\"content\":[" TEXT("a") "],\"attachments\":7", true, false, false, 1, 0, "a"},
};

START_TEST(a_mail_is_seen)
{
    const struct seen *row = &mails[_i];
    struct slice body = mail(row->members);
    struct parsed parsed;
    ck_assert_int_eq(parse(&sendgrid_connector, "/v3/mail/send", "application/json", body, &arena, &parsed), OK);
    ck_assert_uint_eq(parsed.n_messages, 2);
    const struct body_facts *facts = parsed.messages[1].body;
    ck_assert_ptr_eq(facts, parsed.messages[0].body);
    ck_assert_msg(facts->has_text == row->text && facts->has_html == row->html && facts->has_card_number == row->card,
                  "text %d, html %d, card %d", facts->has_text, facts->has_html, facts->has_card_number);
    ck_assert_uint_eq(facts->words, row->words);
    ck_assert_uint_eq(facts->attachments, row->attachments);
    ck_assert_uint_eq(facts->bytes, body.n);
    ck_assert(!facts->cut);
    ck_assert_msg(slice_eq_cstr(parsed.text, row->shown), "shown: %.*s", SLICE_ARG(parsed.text));
}
END_TEST

/* Wherever memory ends, it is said. */
START_TEST(a_mail_in_little_memory)
{
    struct slice body = mail_about(
        "\\n4111111111111111",
        "\"content\":[" TEXT("a\\n") "," HTML(
            "\\n4111111111111111") ",{\"type\":\"text\\/x-and-a-name-that-is-longer-than-the-number-before\","
                                   "\"value\":\"\\n\"}]");
    bool passed = false;
    for (size_t max = 64; !passed && max < 65536; max += 16) {
        struct arena small;
        struct parsed parsed;
        arena_init(&small, max);
        enum err err = parse(&sendgrid_connector, "/v3/mail/send", "application/json", body, &small, &parsed);
        ck_assert(err == OK || err == ERR_LIMIT);
        passed = err == OK;
        arena_clear(&small);
    }
    ck_assert(passed);
}
END_TEST

/* Of a long one the words of the beginning count, and a card's number wherever it stands. */
START_TEST(a_long_mail_is_cut)
{
    struct buf b;
    struct parsed parsed;
    buf_init(&b, &arena, 1u << 20);
    buf_add_cstr(&b, "\"content\":[" TEXT("a") ",{\"type\":\"text/html\",\"value\":\"");
    for (unsigned i = 0; i < 20000; i++)
        buf_add_cstr(&b, "word\\n");
    buf_add_cstr(&b, "4111111111111111\"}]");
    struct slice body = mail(b.p);
    ck_assert_int_eq(parse(&sendgrid_connector, "/v3/mail/send", "application/json", body, &arena, &parsed), OK);
    ck_assert(parsed.messages[0].body->cut && parsed.messages[0].body->has_card_number);
    ck_assert_uint_eq(parsed.messages[0].body->words, 1);
}
END_TEST

START_TEST(a_text_message_is_seen)
{
    struct parsed parsed;
    struct slice body = SLICE("To=%2B15005550006&From=%2B15005550001&Body=Card+4111+1111+1111+1111&MediaUrl="
                              "https%3A%2F%2Fa.test%2F1&MediaUrl=https%3A%2F%2Fa.test%2F2");
    const char *path = "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages.json";
    ck_assert_int_eq(parse(&twilio_connector, path, "application/x-www-form-urlencoded", body, &arena, &parsed), OK);
    const struct body_facts *facts = parsed.messages[0].body;
    ck_assert(facts->has_text && !facts->has_html && facts->has_card_number);
    ck_assert_uint_eq(facts->words, 5);
    ck_assert_uint_eq(facts->attachments, 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("content");
    TCase *c = tcase_create("content");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, a_mail_is_seen, 0, N_ELEMENTS(mails));
    tcase_add_test(c, a_mail_in_little_memory);
    tcase_add_test(c, a_long_mail_is_cut);
    tcase_add_test(c, a_text_message_is_seen);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

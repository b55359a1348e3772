/*
 * Twilio's own posts about a message that Postern released: genuine or not, and what
 * the application is handed on.  The first vector is that of Twilio's SDKs (their tests
 * of validateRequest); the rest are made with its own rule.
 */
#include <check.h>
#include <stdio.h>

#include "postern/connector.h"
#include "postern/hash.h"

#define TO   "https%3A%2F%2Fapp.example%2Fcb%3Fa%3D1"
#define FORM "application/x-www-form-urlencoded"
#define POST                                                                                                           \
    "AccountSid=AC99999999999999999999999999999999&MessageSid=SM77777777777777777777777777777777&MessageStatus="       \
    "delivered&SmsSid=SM77777777777777777777777777777777&SmsStatus=delivered&To=%2B15550100001&RawDlrDoneDate="        \
    "2611221000&Extra=AC99999999999999999999999999999999%2Fx"

static const struct provider_login login = {.account = SLICE_INIT("AC99999999999999999999999999999999"),
                                            .secret = SLICE_INIT("provider-token")};
static struct arena arena;

static void set_up(void)
{
    arena_init(&arena, 1u << 20);
}

static void tear_down(void)
{
    arena_clear(&arena);
}

static bool genuine(struct slice url, const char *body, const char *signature, struct slice secret)
{
    struct wire_field fields[] = {{SLICE("Content-Type"), SLICE(FORM)},
                                  {SLICE("X-Twilio-Signature"), slice_of(signature)}};
    struct wire_request r = {.fields = fields, .n_fields = signature == NULL ? 1 : 2, .body = slice_of(body)};
    struct provider_login own = {.account = login.account, .secret = secret};
    return connector_get(SLICE("twilio"))->is_genuine(&r, url, &own, &arena);
}

START_TEST(the_sdks_vector_holds)
{
    struct slice url = SLICE("https://mycompany.com/myapp.php?foo=1&bar=2");
    const char *body =
        "To=%2B18005551212&Digits=1234&CallSid=CA1234567890ABCDE&From=%2B12349013030&Caller=%2B12349013030";
    ck_assert(genuine(url, body, "0/KCTR6DLpKmkAf8muzZqo1nDgQ=", SLICE("12345")));
    ck_assert(!genuine(url, body, "0/KCTR6DLpKmkAf8muzZqo1nDgR=", SLICE("12345")));
    ck_assert(!genuine(url, body, "0/KCTR6DLpKmkAf8muzZqo1nDgQ=", SLICE("12346")));
    ck_assert(!genuine(SLICE("https://mycompany.com/myapp.php?foo=1&bar=3"), body,
                       "0/KCTR6DLpKmkAf8muzZqo1nDgQ=", SLICE("12345")));
    ck_assert(!genuine(url, "To=%2B18005551212", "0/KCTR6DLpKmkAf8muzZqo1nDgQ=", SLICE("12345")));
    ck_assert(!genuine(url, body, "", SLICE("12345")));
    ck_assert(!genuine(url, body, NULL, SLICE("12345")));
    ck_assert(!genuine(url, "To=a&To=b", "0/KCTR6DLpKmkAf8muzZqo1nDgQ=", SLICE("12345")));
}
END_TEST

static enum err relay_post(const char *post, struct slice query, struct slice *url, struct outgoing *out)
{
    static const struct wire_field type = {SLICE_INIT("Content-Type"), SLICE_INIT(FORM)};
    struct wire_request r = {.query = query, .fields = &type, .n_fields = 1, .body = slice_of(post)};
    struct relay_options o = {.login = &login,
                              .id = SLICE("SM33333333333333333333333333333333"),
                              .account = SLICE("AC00000000000000000000000000000001"),
                              .secret = SLICE("auth_token")};
    return connector_get(SLICE("twilio"))->relay(&r, &o, &arena, url, out);
}

static enum err relay(struct slice query, struct slice *url, struct outgoing *out)
{
    return relay_post(POST, query, url, out);
}

START_TEST(the_application_hears_its_own_names)
{
    struct slice url;
    struct outgoing out;
    ck_assert_int_eq(relay(SLICE("to=" TO), &url, &out), OK);
    ck_assert(slice_eq_cstr(url, "https://app.example/cb?a=1"));
    ck_assert(slice_eq_cstr(out.path_and_query, "/cb?a=1"));
    ck_assert(slice_eq_cstr(out.body, "AccountSid=AC00000000000000000000000000000001&"
                                      "MessageSid=SM33333333333333333333333333333333&MessageStatus=delivered&"
                                      "RawDlrDoneDate=2611221000&SmsSid=SM33333333333333333333333333333333&"
                                      "SmsStatus=delivered&To=%2B15550100001"));
    /* What the application would check. */
    struct wire_request seen = {.fields = out.fields, .n_fields = out.n_fields, .body = out.body};
    struct provider_login own = {.secret = SLICE("auth_token")};
    ck_assert(connector_get(SLICE("twilio"))->is_genuine(&seen, url, &own, &arena));
}
END_TEST

START_TEST(nowhere_to_go_on_to)
{
    struct slice url;
    struct outgoing out;
    ck_assert_int_eq(relay((struct slice){0}, &url, &out), ERR_NOT_FOUND);
    ck_assert_int_eq(relay(SLICE("to=not+a+URL"), &url, &out), ERR_SYNTAX);
    ck_assert_int_eq(relay(SLICE("to=https%3A%2F%2Fapp.example%2F%0d%0a"), &url, &out), ERR_SYNTAX);
    ck_assert_int_eq(relay(SLICE("to=a&to=b"), &url, &out), ERR_SYNTAX);
}
END_TEST

/* A field that names the provider's message stays behind; a post that names none has nothing to hide. */
START_TEST(other_names_of_the_message)
{
    struct slice url;
    struct outgoing out;
    ck_assert_int_eq(relay_post("MessageSid=SM7&Media=%2Fx%2FSM7&To=%2B15550100001", SLICE("to=" TO), &url, &out), OK);
    ck_assert(slice_eq_cstr(out.body, "MessageSid=SM33333333333333333333333333333333&To=%2B15550100001"));
    ck_assert_int_eq(relay_post("Media=%2Fx%2FSM7", SLICE("to=" TO), &url, &out), OK);
    ck_assert(slice_eq_cstr(out.body, "Media=%2Fx%2FSM7"));
}
END_TEST

static bool genuine_as(const char *type, const char *body)
{
    struct wire_field fields[] = {{SLICE("Content-Type"), slice_of(type)}, {SLICE("X-Twilio-Signature"), SLICE("x")}};
    struct wire_request r = {.fields = fields, .n_fields = 2, .body = slice_of(body)};
    return connector_get(SLICE("twilio"))->is_genuine(&r, SLICE("https://a.example/"), &login, &arena);
}

/* What the application would have to understand first is not relayed: other types, hundreds of fields. */
START_TEST(posts_that_are_none)
{
    char many[4096] = "a=1";
    for (int i = 0; i < 300; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "&f%d=1", i);
    ck_assert(!genuine_as("application/json", "{}"));
    ck_assert(!genuine_as(FORM, many));
    ck_assert(!genuine_as(FORM, "a=%zz"));
}
END_TEST

/* Where a URL has no path, a fragment, names of which one begins another. */
static const struct {
    const char *to, *target;
} targets[] = {
    {"to=https%3A%2F%2Fapp.example", "/"},
    {"to=https%3A%2F%2Fapp.example%3Fa%3D1", "/?a=1"},
    {"to=https%3A%2F%2Fapp.example%2Fcb%23part", "/cb"},
    {"to=https%3A%2F%2Fapp.example%23part", "/"},
    {"to=https%3A%2F%2Fapp.example%2Fc+b", NULL},
};

START_TEST(targets_of_urls)
{
    struct slice url;
    struct outgoing out;
    enum err err = relay(slice_of(targets[_i].to), &url, &out);
    ck_assert_int_eq(err, targets[_i].target == NULL ? ERR_SYNTAX : OK);
    if (err == OK)
        ck_assert(slice_eq_cstr(out.path_and_query, targets[_i].target));
}
END_TEST

/* A signature or a relay that memory is not enough for is none; with enough, both are what they were. */
START_TEST(posts_short_of_bytes)
{
    struct arena whole = arena;
    bool was_spent = false;
    for (size_t bytes = 16; bytes < 16384; bytes += 16) {
        struct slice url;
        struct outgoing out;
        arena_init(&arena, bytes);
        enum err err = relay(SLICE("to=" TO), &url, &out);
        was_spent = was_spent || err != OK;
        if (err == OK)
            ck_assert(slice_starts(out.body, "AccountSid=AC00000000000000000000000000000001&"));
        arena_clear(&arena);
        arena_init(&arena, bytes);
        bool good = genuine(SLICE("https://mycompany.com/myapp.php?foo=1&bar=2"),
                            "To=%2B18005551212&Digits=1234&CallSid=CA1234567890ABCDE&From=%2B12349013030&Caller=%2B"
                            "12349013030",
                            "0/KCTR6DLpKmkAf8muzZqo1nDgQ=", SLICE("12345"));
        ck_assert(good || bytes < 4096);
        arena_clear(&arena);
    }
    ck_assert(was_spent);
    arena = whole;
}
END_TEST

START_TEST(names_of_which_one_begins_another)
{
    struct slice url = SLICE("https://a.example/");
    const char *body = "Ab=2&A=1&Abc=3";
    uint8_t mac[SHA1_BYTES];
    hash_hmac_sha1(SLICE("12345"), SLICE("https://a.example/A1Ab2Abc3"), mac);
    ck_assert(genuine(url, body, hash_base64(&arena, mac, sizeof mac), SLICE("12345")));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("connectors_callback");
    TCase *t = tcase_create("twilio");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, the_sdks_vector_holds);
    tcase_add_test(t, the_application_hears_its_own_names);
    tcase_add_test(t, nowhere_to_go_on_to);
    tcase_add_test(t, other_names_of_the_message);
    tcase_add_test(t, posts_that_are_none);
    tcase_add_loop_test(t, targets_of_urls, 0, (int)N_ELEMENTS(targets));
    tcase_add_test(t, posts_short_of_bytes);
    tcase_add_test(t, names_of_which_one_begins_another);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

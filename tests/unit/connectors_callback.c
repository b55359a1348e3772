/*
 * Twilio's own posts about a message that Postern released: genuine or not, and what
 * the application is handed on.  The first vector is that of Twilio's SDKs (their tests
 * of validateRequest); the rest are made with its own rule.
 */
#include <check.h>

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

static enum err relay(struct slice query, struct slice *url, struct outgoing *out)
{
    static const struct wire_field type = {SLICE_INIT("Content-Type"), SLICE_INIT(FORM)};
    struct wire_request r = {.query = query, .fields = &type, .n_fields = 1, .body = SLICE(POST)};
    struct relay_options o = {.login = &login,
                              .id = SLICE("SM33333333333333333333333333333333"),
                              .account = SLICE("AC00000000000000000000000000000001"),
                              .secret = SLICE("auth_token")};
    return connector_get(SLICE("twilio"))->relay(&r, &o, &arena, url, out);
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

int main(void)
{
    Suite *s = suite_create("connectors_callback");
    TCase *t = tcase_create("twilio");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, the_sdks_vector_holds);
    tcase_add_test(t, the_application_hears_its_own_names);
    tcase_add_test(t, nowhere_to_go_on_to);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

/*
 * A contact's change: what the body says, whose word it is, and what of it changes:
 * nothing that is the same, nothing that a stronger claim forbids, all or nothing.
 */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/api_contacts.h"
#include "postern/json.h"

#define NOW_MS INT64_C(1795341600000)

static struct arena arena;
static struct http_request request;
static struct category categories[1];
static struct conf conf;
static struct gateway gateway;
static struct api_call call;
static struct api_fault fault;
static struct contact_wish wish;
static struct store_contact_put put;
static struct contact before;
static struct contact_address addresses[2];
static struct preference stated[1];

static void setup(void)
{
    arena_init(&arena, 4u << 20);
    request = (struct http_request){.arena = &arena};
    categories[0] = (struct category){.name = "newsletter"};
    conf = (struct conf){.policy = {.categories = categories, .n_categories = 1}};
    gateway = (struct gateway){.conf = &conf};
    call = (struct api_call){.g = &gateway, .r = &request, .conf = &conf};
    ck_assert(address_parse_email(SLICE("ada@mail.example"), &addresses[0].address, &fault.why) == OK);
    ck_assert(address_parse_phone(SLICE("+12125550100"), &addresses[1].address, &fault.why) == OK);
    stated[0] = (struct preference){.key = PREFERENCE_FORMAT,
                                    .text = SLICE("concise"),
                                    .authority = AUTHORITY_CONTACT,
                                    .source = SOURCE_CUSTOMER,
                                    .confidence = CONFIDENCE_HIGH,
                                    .at_ms = NOW_MS - 1000,
                                    .version = 3};
    before = (struct contact){.id = SLICE("ada"),
                              .account = SLICE("acme"),
                              .version = 7,
                              .addresses = addresses,
                              .n_addresses = 2,
                              .preferences = stated,
                              .n_preferences = 1};
}

static void teardown(void)
{
    json_decref(call.body);
    arena_clear(&arena);
}

static bool read_body(const char *text)
{
    struct errmsg e;
    json_decref(call.body);
    call.body = json_parse(slice_of(text), &e);
    ck_assert_msg(call.body != NULL, "%s: %s", text, e.text);
    fault = (struct api_fault){0};
    return contact_wish_read(&call, NOW_MS, &wish, &fault);
}

static enum contact_verdict apply(const char *text)
{
    ck_assert_msg(read_body(text), "%s: %s", text, fault.why.text);
    put = (struct store_contact_put){.arena = &arena, .now_ms = NOW_MS};
    return contact_wish_apply(&wish, &before, &put, &fault);
}

START_TEST(the_same_again_changes_nothing)
{
    ck_assert_int_eq(apply("{}"), CONTACT_SAME);
    ck_assert_int_eq(apply("{\"preferences\":{\"format\":\"concise\"}}"), CONTACT_SAME);
    ck_assert_int_eq(apply("{\"account\":\"acme\",\"addresses\":{\"email\":[\"ada@MAIL.example\"]}}"), CONTACT_SAME);
    ck_assert_int_eq(apply("{\"preferences\":{\"digest\":null}}"), CONTACT_SAME);
    /* said by another it is a row of its own, for the day when the first takes it back */
    ck_assert_int_eq(apply("{\"source\":\"import\",\"preferences\":{\"format\":\"concise\"}}"), CONTACT_CHANGES);
}
END_TEST

START_TEST(only_what_changed_becomes_a_version)
{
    ck_assert_int_eq(apply("{\"preferences\":{\"format\":\"detailed\",\"digest\":\"daily\"}}"), CONTACT_CHANGES);
    ck_assert_uint_eq(put.n_preferences, 2);
    ck_assert_int_eq(apply("{\"preferences\":{\"format\":\"concise\",\"digest\":\"daily\"}}"), CONTACT_CHANGES);
    ck_assert_uint_eq(put.n_preferences, 1);
    ck_assert_int_eq(put.preferences[0].key, PREFERENCE_DIGEST);
    ck_assert_ptr_null(put.addresses);
    ck_assert(slice_eq_cstr(put.account, "acme"));
}
END_TEST

START_TEST(null_clears)
{
    ck_assert_int_eq(apply("{\"preferences\":{\"format\":null},\"account\":null}"), CONTACT_CHANGES);
    ck_assert_uint_eq(put.n_preferences, 1);
    ck_assert_uint_eq(put.preferences[0].text.n, 0);
    ck_assert_uint_eq(put.account.n, 0);
}
END_TEST

START_TEST(a_kind_of_address_that_is_left_out_stays)
{
    ck_assert_int_eq(apply("{\"addresses\":{\"email\":[\"new@mail.example\",\"new@mail.example\"]}}"), CONTACT_CHANGES);
    ck_assert_uint_eq(put.n_addresses, 2);
    ck_assert_str_eq(put.addresses[0].text, "new@mail.example");
    ck_assert_str_eq(put.addresses[1].text, "+12125550100");
    ck_assert_int_eq(apply("{\"addresses\":{\"sms\":null}}"), CONTACT_CHANGES);
    ck_assert_uint_eq(put.n_addresses, 1);
    ck_assert_str_eq(put.addresses[0].text, "ada@mail.example");
}
END_TEST

START_TEST(all_or_nothing)
{
    ck_assert_int_eq(apply("{\"confidence\":\"low\",\"preferences\":{\"digest\":\"daily\",\"format\":\"detailed\"}}"),
                     CONTACT_REFUSED);
    ck_assert_str_eq(fault.field, "preferences.format");
    ck_assert(strstr(fault.why.text, "detected") != NULL);
}
END_TEST

/* Everyone has a row of their own; who is in force is said by the merge. */
START_TEST(a_weaker_value_stands_beside_a_stronger)
{
    static const char *const claims[] = {"\"source\":\"agent\"", "\"source\":\"behaviour\"",
                                         "\"source\":\"sync\",\"system\":\"crm\""};
    static const enum authority authorities[] = {AUTHORITY_AGENT, AUTHORITY_BEHAVIOUR, AUTHORITY_ACCOUNT};
    for (size_t i = 0; i < N_ELEMENTS(claims); i++) {
        char text[200];
        snprintf(text, sizeof text, "{%s,\"preferences\":{\"format\":\"detailed\"}}", claims[i]);
        ck_assert_int_eq(apply(text), CONTACT_CHANGES);
        ck_assert_uint_eq(put.n_preferences, 1);
        ck_assert_int_eq(put.preferences[0].authority, authorities[i]);
    }
}
END_TEST

static void state_cap(const char *text)
{
    stated[0].key = PREFERENCE_MAX_PER_DAY;
    stated[0].text = slice_of(text);
}

START_TEST(an_import_takes_the_rank_of_what_it_restricts)
{
    state_cap("5");
    ck_assert_int_eq(apply("{\"source\":\"import\",\"system\":\"crm\",\"preferences\":{\"frequency.max_per_day\":2}}"),
                     CONTACT_CHANGES);
    ck_assert_int_eq(put.preferences[0].authority, AUTHORITY_CONTACT);
    ck_assert_int_gt(put.preferences[0].at_ms, stated[0].at_ms);
    ck_assert_int_eq(apply("{\"source\":\"import\",\"system\":\"crm\",\"preferences\":{\"frequency.max_per_day\":9}}"),
                     CONTACT_CHANGES);
    ck_assert_int_eq(put.preferences[0].authority, AUTHORITY_ACCOUNT);
    ck_assert_int_eq(apply("{\"source\":\"sync\",\"preferences\":{\"frequency.max_per_day\":null}}"), CONTACT_SAME);
}
END_TEST

/* The customer's own value is as before, but an import's stricter one is in force: said again, it is news. */
START_TEST(the_customer_lifts_what_an_import_restricted_by_saying_it_again)
{
    struct preference both[2];
    state_cap("5");
    both[0] = both[1] = stated[0];
    both[1].text = SLICE("2");
    both[1].source = SOURCE_IMPORT;
    both[1].system = SLICE("crm");
    both[1].at_ms++;
    before.preferences = both;
    before.n_preferences = 2;
    ck_assert_int_eq(apply("{\"preferences\":{\"frequency.max_per_day\":5}}"), CONTACT_CHANGES);
    ck_assert_int_gt(put.preferences[0].at_ms, both[1].at_ms);
    ck_assert_int_eq(apply("{\"source\":\"import\",\"system\":\"crm\",\"preferences\":{\"frequency.max_per_day\":2}}"),
                     CONTACT_SAME);
}
END_TEST

START_TEST(an_older_statement_does_not_replace_a_newer)
{
    ck_assert_int_eq(apply("{\"stated_at\":\"2020-01-01T00:00:00Z\",\"preferences\":{\"format\":\"detailed\"}}"),
                     CONTACT_REFUSED);
    ck_assert(strstr(fault.why.text, "older") != NULL);
}
END_TEST

static struct preference zone_said(const char *name, enum authority authority, int64_t at_ms)
{
    return (struct preference){.key = PREFERENCE_ZONE,
                               .text = slice_of(name),
                               .authority = authority,
                               .confidence = CONFIDENCE_HIGH,
                               .at_ms = at_ms,
                               .version = 1};
}

START_TEST(a_zone_that_changes_is_kept_for_the_day)
{
    stated[0] = zone_said("America/New_York", AUTHORITY_CONTACT, NOW_MS - 1000);
    ck_assert_int_eq(apply("{\"zone\":\"America/Los_Angeles\"}"), CONTACT_CHANGES);
    ck_assert(slice_eq_cstr(put.previous_zone, "America/New_York"));
    ck_assert_int_eq(apply("{\"source\":\"agent\",\"zone\":\"America/Los_Angeles\"}"), CONTACT_CHANGES);
    ck_assert_uint_eq(put.previous_zone.n, 0); /* beside the customer's: the zone in force is the same */

    /* Changed again on the same day: the day keeps the zone in which it began. */
    before.previous_zone = SLICE("Asia/Tokyo");
    before.zone_changed_at_ms = NOW_MS - 60000;
    ck_assert_int_eq(apply("{\"zone\":\"America/Los_Angeles\"}"), CONTACT_CHANGES);
    ck_assert(slice_eq_cstr(put.previous_zone, "Asia/Tokyo"));
    before.zone_changed_at_ms = NOW_MS - 2 * MS_PER_DAY;
    ck_assert_int_eq(apply("{\"zone\":\"America/Los_Angeles\"}"), CONTACT_CHANGES);
    ck_assert(slice_eq_cstr(put.previous_zone, "America/New_York"));
}
END_TEST

START_TEST(the_first_zone_changes_none)
{
    ck_assert_int_eq(apply("{\"zone\":\"America/Los_Angeles\"}"), CONTACT_CHANGES);
    ck_assert_uint_eq(put.previous_zone.n, 0);
}
END_TEST

START_TEST(a_clock_that_stepped_back_does_not_silence_the_customer)
{
    stated[0].at_ms = NOW_MS + 60000;
    ck_assert_int_eq(apply("{\"preferences\":{\"format\":\"detailed\"}}"), CONTACT_CHANGES);
    ck_assert_int_gt(put.preferences[0].at_ms, stated[0].at_ms);
}
END_TEST

START_TEST(the_customers_word_over_an_inferred_value_is_news)
{
    stated[0].authority = AUTHORITY_BEHAVIOUR;
    stated[0].source = SOURCE_BEHAVIOUR;
    stated[0].confidence = CONFIDENCE_LOW;
    ck_assert_int_eq(apply("{\"preferences\":{\"format\":\"concise\"}}"), CONTACT_CHANGES);
    ck_assert_int_eq(put.preferences[0].authority, AUTHORITY_CONTACT);
}
END_TEST

START_TEST(who_says_it_is_its_authority)
{
    static const struct {
        const char *claim;
        enum authority authority;
        enum confidence confidence;
    } cases[] = {
        {"\"source\":\"customer\"", AUTHORITY_CONTACT, CONFIDENCE_HIGH},
        {"\"source\":\"agent\",\"confidence\":\"low\"", AUTHORITY_AGENT, CONFIDENCE_LOW},
        {"\"source\":\"behaviour\"", AUTHORITY_BEHAVIOUR, CONFIDENCE_LOW},
        {"\"source\":\"behaviour\",\"confidence\":\"medium\"", AUTHORITY_BEHAVIOUR, CONFIDENCE_MEDIUM},
        {"\"source\":\"import\",\"system\":\"crm\"", AUTHORITY_ACCOUNT, CONFIDENCE_HIGH},
        {"\"source\":\"sync\"", AUTHORITY_ACCOUNT, CONFIDENCE_HIGH},
        {"\"source\":\"organisation\"", AUTHORITY_ORGANISATION, CONFIDENCE_HIGH},
        {"\"locked\":true", AUTHORITY_LOCKED, CONFIDENCE_HIGH},
    };
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        char text[200];
        snprintf(text, sizeof text, "{%s,\"zone\":\"America/Chicago\"}", cases[i].claim);
        ck_assert_msg(read_body(text), "%s: %s", text, fault.why.text);
        ck_assert_uint_eq(wish.n_preferences, 1);
        ck_assert_int_eq(wish.preferences[0].key, PREFERENCE_ZONE);
        ck_assert_int_eq(wish.preferences[0].authority, cases[i].authority);
        ck_assert_int_eq(wish.preferences[0].confidence, cases[i].confidence);
    }
    ck_assert(slice_eq_cstr(wish.preferences[0].system, ""));
}
END_TEST

START_TEST(scopes)
{
    ck_assert(read_body("{\"by_channel\":{\"sms\":{\"frequency.max_per_day\":1}},\"by_category\":{\"newsletter\":"
                        "{\"digest\":\"weekly\"}},\"by_topic\":{\"running shoes\":{\"format\":\"concise\"}}}"));
    ck_assert_uint_eq(wish.n_preferences, 3);
    ck_assert_int_eq(wish.preferences[0].specificity, SPECIFICITY_CHANNEL);
    ck_assert(slice_eq_cstr(wish.preferences[0].scope, "sms"));
    ck_assert_int_eq(wish.preferences[1].specificity, SPECIFICITY_CATEGORY);
    ck_assert_int_eq(wish.preferences[2].specificity, SPECIFICITY_TOPIC);
    ck_assert(slice_eq_cstr(wish.preferences[2].scope, "running shoes"));
}
END_TEST

static const struct {
    const char *body, *field, *says;
} refused[] = {
    {"{\"surprise\":1}", "surprise", "addresses"},
    {"{\"addresses\":[]}", "addresses", "object"},
    {"{\"addresses\":{\"fax\":[]}}", "addresses.fax", "email, sms"},
    {"{\"addresses\":{\"email\":\"a@b.c\"}}", "addresses.email", "array"},
    {"{\"addresses\":{\"email\":[\"a@b.example\",\"no address\"]}}", "addresses.email", "item 1"},
    {"{\"addresses\":{\"sms\":[12]}}", "addresses.sms", "item 0"},
    {"{\"preferences\":{\"no.such\":1}}", "preferences.no.such", "channel.primary"},
    {"{\"preferences\":{\"zone\":\"UTC\"}}", "preferences.zone", "contact itself"},
    {"{\"language\":\"en\",\"preferences\":{\"language\":\"de\"}}", "language", "twice"},
    {"{\"by_channel\":{\"fax\":{}}}", "by_channel.fax", "email, sms"},
    {"{\"by_category\":{\"no-such\":{}}}", "by_category.no-such", "category"},
    {"{\"by_topic\":{\"\":{}}}", "by_topic.", "1 to"},
    {"{\"by_channel\":{\"sms\":{\"digest\":\"hourly\"}}}", "by_channel.sms.digest", "daily"},
    {"{\"source\":\"provider\"}", "source", "provider"},
    {"{\"source\":\"god\"}", "source", "customer"},
    {"{\"locked\":true,\"source\":\"customer\"}", "locked", "organisation"},
    {"{\"locked\":1}", "locked", "true or false"},
    {"{\"confidence\":\"total\"}", "confidence", "low, medium, high"},
    {"{\"stated_at\":\"yesterday\"}", "stated_at", "RFC 3339"},
    {"{\"stated_at\":\"2099-01-01T00:00:00Z\"}", "stated_at", "future"},
};

START_TEST(what_cannot_be_used_is_refused_by_name)
{
    ck_assert_msg(!read_body(refused[_i].body), "%s", refused[_i].body);
    ck_assert_str_eq(fault.field, refused[_i].field);
    ck_assert_msg(strstr(fault.why.text, refused[_i].says) != NULL, "%s: %s", refused[_i].body, fault.why.text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gateway_api_contacts");
    TCase *t = tcase_create("contacts");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_same_again_changes_nothing);
    tcase_add_test(t, only_what_changed_becomes_a_version);
    tcase_add_test(t, null_clears);
    tcase_add_test(t, a_kind_of_address_that_is_left_out_stays);
    tcase_add_test(t, all_or_nothing);
    tcase_add_test(t, a_weaker_value_stands_beside_a_stronger);
    tcase_add_test(t, an_import_takes_the_rank_of_what_it_restricts);
    tcase_add_test(t, the_customer_lifts_what_an_import_restricted_by_saying_it_again);
    tcase_add_test(t, an_older_statement_does_not_replace_a_newer);
    tcase_add_test(t, a_zone_that_changes_is_kept_for_the_day);
    tcase_add_test(t, the_first_zone_changes_none);
    tcase_add_test(t, a_clock_that_stepped_back_does_not_silence_the_customer);
    tcase_add_test(t, the_customers_word_over_an_inferred_value_is_news);
    tcase_add_test(t, who_says_it_is_its_authority);
    tcase_add_test(t, scopes);
    tcase_add_loop_test(t, what_cannot_be_used_is_refused_by_name, 0, N_ELEMENTS(refused));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

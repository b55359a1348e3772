/*
 * The native API's JSON: strict reading (unknown members, types, words, texts), and
 * preferences there and back.
 */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/api_json.h"
#include "gateway/api_preferences.h"
#include "gateway/place.h"
#include "postern/json.h"

static struct arena arena;
static struct api_fault fault;
static json_t *json;

static void load_places(void)
{
    place_load(0);
}

static void setup(void)
{
    arena_init(&arena, 1u << 20);
    fault = (struct api_fault){0};
}

static void teardown(void)
{
    json_decref(json);
    json = NULL;
    arena_clear(&arena);
}

static struct api_object open_with(const char *text, struct api_words known)
{
    struct errmsg e;
    struct api_object o;
    json_decref(json);
    json = json_parse(slice_of(text), &e);
    ck_assert_msg(json != NULL, "%s: %s", text, e.text);
    fault = (struct api_fault){0};
    api_object_open(&o, json, known, &fault);
    return o;
}

static struct api_object open(const char *text)
{
    static const char *const known[] = {"a", "b", "c"};
    return open_with(text, API_WORDS(known));
}

static void assert_refused(const char *field, const char *says)
{
    ck_assert_msg(fault.set, "%s is refused", field);
    ck_assert_str_eq(fault.field, field);
    ck_assert_msg(strstr(fault.why.text, says) != NULL, "\"%s\" says \"%s\"", fault.why.text, says);
}

START_TEST(an_unknown_member_is_named_with_the_known_ones)
{
    open("{\"a\":1,\"d\":2}");
    assert_refused("d", "a, b, c");
    open("{\"a\":1,\"b\":2}");
    ck_assert(!fault.set);
}
END_TEST

START_TEST(the_first_fault_stands)
{
    struct api_object o = open("{\"a\":1,\"b\":2}");
    (void)api_text(&o, "a", 10);
    (void)api_text(&o, "b", 10);
    assert_refused("a", "string");
}
END_TEST

START_TEST(texts_are_strings_not_empty_not_long_and_clean)
{
    struct api_object o = open("{\"a\":\"12345\",\"b\":null}");
    ck_assert(slice_eq_cstr(api_text(&o, "a", 5), "12345"));
    ck_assert_ptr_null(api_text(&o, "b", 5).p);
    ck_assert_ptr_null(api_text(&o, "c", 5).p);
    ck_assert(!fault.set);
    (void)api_text(&o, "a", 4);
    assert_refused("a", "5 bytes");
    o = open("{\"a\":\"\"}");
    (void)api_text(&o, "a", 5);
    assert_refused("a", "empty");
    o = open("{\"a\":\"x\\ny\"}");
    ck_assert(slice_eq_cstr(api_prose(&o, "a"), "x\ny"));
    (void)api_text(&o, "a", 5);
    assert_refused("a", "control");
}
END_TEST

START_TEST(words_flags_times)
{
    unsigned word;
    int64_t at_ms;
    struct api_object o = open("{\"a\":\"sms\",\"b\":true,\"c\":\"2026-11-22T10:00:00Z\"}");
    ck_assert(api_word(&o, "a", api_channels, &word));
    ck_assert_uint_eq(word, CHANNEL_SMS);
    ck_assert(api_flag(&o, "b"));
    ck_assert(api_time(&o, "c", &at_ms));
    ck_assert_int_eq(at_ms, INT64_C(1795341600000));
    ck_assert(!fault.set);
    ck_assert(!api_word(&o, "c", api_channels, &word));
    assert_refused("c", "email, sms, voice");
    o = open("{\"b\":1}");
    ck_assert(!api_flag(&o, "b"));
    assert_refused("b", "true or false");
    o = open("{\"c\":\"tomorrow\"}");
    ck_assert(!api_time(&o, "c", &at_ms));
    assert_refused("c", "RFC 3339");
}
END_TEST

START_TEST(an_inner_object_names_its_path)
{
    struct api_object in, o = open("{\"a\":{\"x\":1},\"b\":[]}");
    ck_assert(api_object_in(&o, "a", &in));
    (void)api_text(&in, "x", 5);
    assert_refused("a.x", "string");
    o = open("{\"b\":[]}");
    ck_assert(!api_object_in(&o, "b", &in));
    assert_refused("b", "object");
}
END_TEST

START_TEST(ids)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t id;
    } cases[] = {
        {"def_0000000000000001", true, 1},  {"def_ffffffffffffffff", true, UINT64_MAX}, {"def_1", false, 0},
        {"dec_0000000000000001", false, 0}, {"def_00000000000000001", false, 0},        {"", false, 0},
        {"def_000000000000000g", false, 0},
    };
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        uint64_t id = 0;
        ck_assert_msg(api_id_parse(slice_of(cases[i].text), "def_", &id) == cases[i].good, "%s", cases[i].text);
        if (cases[i].good)
            ck_assert_uint_eq(id, cases[i].id);
    }
}
END_TEST

START_TEST(commas_stand_where_they_belong)
{
    struct buf b;
    buf_init(&b, &arena, 4096);
    api_put_open(&b, '{');
    api_put_word(&b, "a", "x{");
    api_put_text(&b, "b", (struct slice){NULL, 0});
    api_put_in(&b, "c", '[');
    api_put_item(&b, SLICE("1["));
    api_put_item(&b, SLICE("2:"));
    api_put_open(&b, '{');
    api_put_flag(&b, "d", true);
    api_put_id(&b, "e", "def_", 10);
    api_put_close(&b, '}');
    api_put_close(&b, ']');
    api_put_time(&b, "f", INT64_MAX);
    api_put_number(&b, "g", -1);
    api_put_close(&b, '}');
    ck_assert_str_eq(b.p, "{\"a\":\"x{\",\"b\":null,\"c\":[\"1[\",\"2:\",{\"d\":true,\"e\":\"def_000000000000000a\"}],"
                          "\"f\":null,\"g\":-1}");
}
END_TEST

/* JSON in, canonical text, JSON out (NULL: as it came in). */
static const struct {
    enum preference_key key;
    const char *in, *text, *out;
} values[] = {
    {PREFERENCE_CHANNEL_PRIMARY, "\"email\"", "email", NULL},
    {PREFERENCE_CHANNEL_NEVER, "[\"voice\",\"sms\",\"voice\"]", "sms,voice", "[\"sms\",\"voice\"]"},
    {PREFERENCE_CHANNEL_NEVER, "[]", "", "null"},
    {PREFERENCE_HOURS, "{\"mon-fri\":\"08:00-18:00\"}", "mon-fri 08:00-18:00", NULL},
    {PREFERENCE_HOURS, "{\"mon-fri\":[\"08:00-12:00\",\"13:00-18:00\"],\"sat\":\"none\"}",
     "mon-fri 08:00-12:00,13:00-18:00; sat none", NULL},
    {PREFERENCE_HOURS, "{\"mon,wed\":[\"22:00-06:00\"]}", "mon,wed 22:00-06:00", "{\"mon,wed\":\"22:00-06:00\"}"},
    {PREFERENCE_HOURS, "null", "", NULL},
    {PREFERENCE_DAYS_NEVER, "[\"sun\",\"sat\"]", "sat,sun", "[\"sat\",\"sun\"]"},
    {PREFERENCE_MAX_PER_DAY, "0", "0", NULL},
    {PREFERENCE_MAX_PER_MONTH, "2147483647", "2147483647", NULL},
    {PREFERENCE_MAX_PER_WEEK, "null", "", NULL},
    {PREFERENCE_DIGEST, "\"weekly\"", "weekly", NULL},
    {PREFERENCE_LANGUAGE, "\"pt-BR\"", "pt-BR", NULL},
    {PREFERENCE_LANGUAGE, "\"zh-Hant-TW\"", "zh-Hant-TW", NULL},
    {PREFERENCE_FORMALITY, "\"formal\"", "formal", NULL},
    {PREFERENCE_NOTIFY, "\"action\"", "action", NULL},
    {PREFERENCE_URGENCY_OVERRIDE, "\"P1\"", "P1", NULL},
    {PREFERENCE_ZONE, "\"America/Chicago\"", "America/Chicago", NULL},
    {PREFERENCE_REGION, "\"US-FL\"", "US-FL", NULL},
    {PREFERENCE_REGION, "\"FR\"", "FR", NULL},
    {PREFERENCE_REGION, "null", "", NULL},
};

static struct slice read_value(enum preference_key key, const char *value)
{
    char text[256];
    static const char *const known[] = {"v"};
    snprintf(text, sizeof text, "{\"v\":%s}", value);
    struct api_object o = open_with(text, API_WORDS(known));
    return api_preference_read(&o, "v", key, &arena);
}

START_TEST(a_preference_there_and_back)
{
    struct buf b;
    struct slice text = read_value(values[_i].key, values[_i].in);
    ck_assert_msg(!fault.set, "%s: %s", values[_i].in, fault.why.text);
    ck_assert_msg(slice_eq_cstr(text, values[_i].text), "%.*s", SLICE_ARG(text));
    buf_init(&b, &arena, 4096);
    api_preference_value(&b, values[_i].key, text);
    ck_assert_str_eq(b.p, values[_i].out != NULL ? values[_i].out : values[_i].in);
}
END_TEST

static const struct {
    enum preference_key key;
    const char *in, *says;
} refused[] = {
    {PREFERENCE_CHANNEL_PRIMARY, "\"pigeon\"", "email, sms"},
    {PREFERENCE_CHANNEL_PRIMARY, "[\"sms\"]", "string"},
    {PREFERENCE_CHANNEL_NEVER, "\"sms\"", "array"},
    {PREFERENCE_CHANNEL_NEVER, "[\"sms\",\"fax\"]", "item 1"},
    {PREFERENCE_CHANNEL_NEVER, "[1]", "item 0"},
    {PREFERENCE_HOURS, "\"mon-fri 08:00-18:00\"", "object"},
    {PREFERENCE_HOURS, "{}", "empty"},
    {PREFERENCE_HOURS, "{\"mon\":\"08:00-08:00\"}", "ends where it starts"},
    {PREFERENCE_HOURS, "{\"mon\":\"08:00-25:00\"}", "25:00"},
    {PREFERENCE_HOURS, "{\"monday\":\"08:00-18:00\"}", "monday"},
    {PREFERENCE_HOURS, "{\"mon-tue\":\"08:00-09:00\",\"tue\":\"08:00-09:00\"}", "twice"},
    {PREFERENCE_HOURS, "{\"mon\":[\"08:00-12:00\",\"11:00-13:00\"]}", "overlaps"},
    {PREFERENCE_HOURS, "{\"mon\":[]}", "no window"},
    {PREFERENCE_HOURS, "{\"mon\":8}", "window like"},
    {PREFERENCE_HOURS, "{\"2026-12-24\":\"08:00-12:00\"}", "date"},
    {PREFERENCE_HOURS, "{\"mon 08:00-09:00; tue\":\"08:00-12:00\"}", "not a day"},
    {PREFERENCE_HOURS, "{\"mon\":\"08:00-09:00; tue 08:00-09:00\"}", "window like"},
    {PREFERENCE_DAYS_NEVER, "[\"sunday\"]", "mon, tue"},
    {PREFERENCE_MAX_PER_DAY, "-1", "0 or more"},
    {PREFERENCE_MAX_PER_DAY, "1.5", "whole"},
    {PREFERENCE_MAX_PER_DAY, "\"3\"", "whole"},
    {PREFERENCE_MAX_PER_DAY, "2147483648", "whole"},
    {PREFERENCE_DIGEST, "\"hourly\"", "none, daily, weekly"},
    {PREFERENCE_LANGUAGE, "\"e\"", "language tag"},
    {PREFERENCE_LANGUAGE, "\"en_US\"", "language tag"},
    {PREFERENCE_LANGUAGE, "\"en-\"", "language tag"},
    {PREFERENCE_LANGUAGE, "\"12\"", "language tag"},
    {PREFERENCE_FORMALITY, "\"Very Formal\"", "word"},
    {PREFERENCE_ZONE, "\"America/New_Yorkk\"", "America/New_York\""},
    {PREFERENCE_ZONE, "\"+05:00\"", "not a time zone"},
    {PREFERENCE_ZONE, "\"../../etc/passwd\"", "not a time zone"},
    {PREFERENCE_REGION, "\"US-XX\"", "\"US-XX\" is no region"},
    {PREFERENCE_REGION, "\"us-fl\"", "is no region"},
    {PREFERENCE_REGION, "\"Florida\"", "is no region"},
    {PREFERENCE_REGION, "\"Connecticut\"", "v"},
    {PREFERENCE_REGION, "12", "v"},
};

START_TEST(a_preference_that_cannot_be_used_is_refused)
{
    (void)read_value(refused[_i].key, refused[_i].in);
    ck_assert_msg(fault.set, "%s", refused[_i].in);
    ck_assert_msg(strstr(fault.why.text, refused[_i].says) != NULL || strstr(fault.field, refused[_i].says) != NULL,
                  "%s: %s: %s", refused[_i].in, fault.field, fault.why.text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gateway_api_json");
    TCase *t = tcase_create("json");
    tcase_add_unchecked_fixture(t, load_places, NULL);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_unknown_member_is_named_with_the_known_ones);
    tcase_add_test(t, the_first_fault_stands);
    tcase_add_test(t, texts_are_strings_not_empty_not_long_and_clean);
    tcase_add_test(t, words_flags_times);
    tcase_add_test(t, an_inner_object_names_its_path);
    tcase_add_test(t, ids);
    tcase_add_test(t, commas_stand_where_they_belong);
    tcase_add_loop_test(t, a_preference_there_and_back, 0, N_ELEMENTS(values));
    tcase_add_loop_test(t, a_preference_that_cannot_be_used_is_refused, 0, N_ELEMENTS(refused));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/*
 * The scanner against jansson (json_parse): both must agree whether a text is valid,
 * and on what stands in it.  Deliberate differences, and no others:
 *   - numbers: jansson refuses what does not fit a long long or a double, the
 *     scanner only looks at the form (a number that it does not read leaves as it came);
 *   - a text longer than the arena's budget of values is ERR_LIMIT.
 */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors/json_scan.h"
#include "postern/buf.h"
#include "postern/json.h"
#include "postern/limits.h"

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, LIMIT_ARENA_BYTES);
}

static void teardown(void)
{
    arena_clear(&arena);
}

static enum err scan(struct slice text, struct json_scan *s, struct errmsg *e)
{
    *s = (struct json_scan){.arena = &arena};
    e->text[0] = '\0';
    return json_scan_parse(s, text, e);
}

/* --- the oracle --------------------------------------------------------------- */

static bool is_number_range(const struct errmsg *e)
{
    return strstr(e->text, "too big") != NULL || strstr(e->text, "overflow") != NULL;
}

static void same_tree(const struct json_scan *s, uint32_t node, const json_t *oracle);

static void same_members(const struct json_scan *s, uint32_t node, const json_t *oracle)
{
    ck_assert_uint_eq(json_scan_count(s, node), json_object_size(oracle));
    for (uint32_t c = node + 1; c < s->nodes[node].next; c = s->nodes[c].next) {
        const struct json_node *n = &s->nodes[c];
        struct json_scan key = *s;
        struct json_node as_value = {
            .start = n->key_start, .end = n->key_end, .kind = JSON_KIND_STRING, .escaped = n->key_escaped};
        struct slice name;
        key.nodes = &as_value;
        ck_assert(json_scan_text(&key, 0, &arena, &name));
        json_t *value = json_object_getn(oracle, name.p, name.n);
        ck_assert_msg(value != NULL, "no member %.*s", SLICE_ARG(name));
        same_tree(s, c, value);
    }
}

static void same_tree(const struct json_scan *s, uint32_t node, const json_t *oracle)
{
    struct slice text;
    size_t i = 0;
    switch ((enum json_kind)s->nodes[node].kind) {
    case JSON_KIND_OBJECT:
        ck_assert(json_is_object(oracle));
        same_members(s, node, oracle);
        break;
    case JSON_KIND_ARRAY:
        ck_assert(json_is_array(oracle));
        ck_assert_uint_eq(json_scan_count(s, node), json_array_size(oracle));
        for (uint32_t c = node + 1; c < s->nodes[node].next; c = s->nodes[c].next)
            same_tree(s, c, json_array_get(oracle, i++));
        break;
    case JSON_KIND_STRING:
        ck_assert(json_is_string(oracle) && json_scan_text(s, node, &arena, &text));
        ck_assert(slice_eq(text, (struct slice){json_string_value(oracle), json_string_length(oracle)}));
        break;
    case JSON_KIND_NUMBER:
        ck_assert(json_is_number(oracle));
        break;
    case JSON_KIND_TRUE:
        ck_assert(json_is_true(oracle));
        break;
    case JSON_KIND_FALSE:
        ck_assert(json_is_false(oracle));
        break;
    case JSON_KIND_NULL:
        ck_assert(json_is_null(oracle));
        break;
    }
}

/* True when the text is valid. */
static bool agree(struct slice text)
{
    struct json_scan s;
    struct errmsg ours, theirs = {""};
    enum err err = scan(text, &s, &ours);
    json_t *oracle = json_parse(text, &theirs);
    if (oracle != NULL && err == OK)
        same_tree(&s, 0, oracle);
    else if (!(err == OK && is_number_range(&theirs)))
        ck_assert_msg((err == OK) == (oracle != NULL), "ours: %s; jansson: %s; text: %.*s",
                      err == OK ? "valid" : ours.text, oracle != NULL ? "valid" : theirs.text,
                      (int)(text.n < 400 ? text.n : 400), text.p);
    json_decref(oracle);
    arena_clear(&arena);
    return err == OK;
}

#define TEXT(lit)                                                                                                      \
    {                                                                                                                  \
        lit, sizeof(lit) - 1                                                                                           \
    }

static const struct slice valid[] = {
    TEXT("{}"),
    TEXT("[]"),
    TEXT(" \t\r\n[ ] \n"),
    TEXT("{\"\":1}"),
    TEXT("{\"a\":{\"a\":{\"a\":[]}},\"b\":[{\"a\":1},{\"a\":2}]}"),
    TEXT("[0,-0,1,-1,10,0.5,-0.5e1,1E+2,1e-2,123456789012]"),
    TEXT("[true,false,null]"),
    TEXT("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u4e2d\\uD83D\\uDE00\"]"),
    TEXT("[\"\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80\x7F\"]"),
    TEXT("[\"\xEF\xBF\xBF\xF4\x8F\xBF\xBF\xED\x9F\xBF\xEE\x80\x80\"]"),
    TEXT("{\"a\\u0062\":1,\"\\u0061b2\":2}"),
    TEXT("[\"\\uFFFF\\uD7FF\\uE000\\uDBFF\\uDFFF\"]"),
    TEXT("[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"),
};

static const struct slice invalid[] = {
    TEXT(""),
    TEXT(" "),
    TEXT("{"),
    TEXT("["),
    TEXT("]"),
    TEXT("{]"),
    TEXT("[}"),
    TEXT("1"),
    TEXT("\"a\""),
    TEXT("null"),
    TEXT("[1,]"),
    TEXT("[,1]"),
    TEXT("[1 2]"),
    TEXT("{\"a\":1,}"),
    TEXT("{,}"),
    TEXT("{\"a\"}"),
    TEXT("{\"a\":}"),
    TEXT("{\"a\" 1}"),
    TEXT("{a:1}"),
    TEXT("{'a':1}"),
    TEXT("{1:1}"),
    TEXT("[1][2]"),
    TEXT("{} x"),
    TEXT("{}\0"),
    TEXT("[01]"),
    TEXT("[-]"),
    TEXT("[+1]"),
    TEXT("[.5]"),
    TEXT("[1.]"),
    TEXT("[1e]"),
    TEXT("[1e+]"),
    TEXT("[0x1]"),
    TEXT("[--1]"),
    TEXT("[Infinity]"),
    TEXT("[NaN]"),
    TEXT("[tru]"),
    TEXT("[True]"),
    TEXT("[nul]"),
    TEXT("[truee]"),
    TEXT("[a value]"),
    TEXT("[\"]"),
    TEXT("[\"a]"),
    TEXT("[\"\\\"]"),
    TEXT("[\"\\x\"]"),
    TEXT("[\"\\u12\"]"),
    TEXT("[\"\\u12g4\"]"),
    TEXT("[\"\\"),
    TEXT("[\"\\u0000\"]"),
    TEXT("{\"\\u0000\":1}"),
    TEXT("[\"\\uD800\"]"),
    TEXT("[\"\\uDC00\"]"),
    TEXT("[\"\\uD800\\uD800\"]"),
    TEXT("[\"\\uD800x\"]"),
    TEXT("[\"\\uD800\\u0041\"]"),
    TEXT("[\"\\uD800\\"),
    TEXT("[\"\n\"]"),
    TEXT("[\"\x01\"]"),
    TEXT("[\"\0\"]"),
    TEXT("[\"\x80\"]"),
    TEXT("[\"\xC0\x80\"]"),
    TEXT("[\"\xC1\xBF\"]"),
    TEXT("[\"\xC3\"]"),
    TEXT("[\"\xE0\x80\x80\"]"),
    TEXT("[\"\xED\xA0\x80\"]"),
    TEXT("[\"\xF0\x80\x80\x80\"]"),
    TEXT("[\"\xF4\x90\x80\x80\"]"),
    TEXT("[\"\xF5\x80\x80\x80\"]"),
    TEXT("[\"\xE2\x82\"]"),
    TEXT("[\"\xFF\"]"),
    TEXT("\xEF\xBB\xBF[]"),
    TEXT("[\xC2\xA0]"),
    TEXT("[1]//x"),
    TEXT("/**/[1]"),
    TEXT("{\"to\":1,\"to\":2}"),
    TEXT("{\"to\":1,\"\\u0074o\":2}"),
    TEXT("{\"\xC3\xA9\":1,\"\\u00e9\":2}"),
    TEXT("{\"\":1,\"\":2}"),
    TEXT("{\"\\/\":1,\"/\":2}"),
    TEXT("{\"\\uD83D\\uDE00\":1,\"\xF0\x9F\x98\x80\":2}"),
    TEXT("[{\"a\":[{\"b\":1,\"b\":1}]}]"),
    TEXT("[\"\\\0\"]"),
    TEXT("[\"\\u12"),
    TEXT("[\"\\u123"),
};

START_TEST(valid_texts)
{
    ck_assert(agree(valid[_i]));
}
END_TEST

START_TEST(invalid_texts)
{
    ck_assert(!agree(invalid[_i]));
}
END_TEST

/* --- mutations -------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static const struct slice seeds[] = {
    TEXT("{\"personalizations\":[{\"to\":[{\"email\":\"a@b.c\",\"name\":\"\\u00c4\"}],\"cc\":[]}],\"subject\":\"x\","
         "\"send_at\":-12.5e3}"),
    TEXT("[{\"a\":1,\"b\":\"\\ud83d\\ude00\",\"\\u0063\":null},[true,false],\"\xE2\x82\xAC\",0.1]"),
    TEXT("{\"k1\":1,\"k2\":2,\"k3\":3,\"k4\":4,\"k5\":5,\"k6\":6,\"k7\":7,\"k8\":8,\"k9\":9,\"ka\":1,\"kb\":2,\"kc\":3,"
         "\"kd\":4,"
         "\"ke\":5,\"kf\":6,\"kg\":7,\"kh\":8,\"k\\u0069\":9}"),
};

static size_t mutate(uint64_t *random, char *text, size_t n, size_t cap)
{
    static const char useful[] = "{}[]\",:\\u0d8dcDFe1.-+tfn \n\x01\x80\xC3\xED\xA0\xF4k2";
    uint64_t r = next_random(random);
    size_t at = n == 0 ? 0 : (size_t)(r >> 8) % n;
    char c = useful[(r >> 40) % (sizeof useful - 1)];
    if (n > 0 && r % 3 == 0) {
        text[at] = c;
    } else if (n > 0 && r % 3 == 1) {
        memmove(text + at, text + at + 1, n - at - 1);
        n--;
    } else if (n < cap) {
        memmove(text + at + 1, text + at, n - at);
        text[at] = c;
        n++;
    }
    return n;
}

START_TEST(mutations)
{
    uint64_t random = UINT64_C(0x2545F4914F6CDD1D);
    size_t n_valid = 0, rounds = 60000;
    for (size_t i = 0; i < rounds; i++) {
        char text[512];
        struct slice seed = seeds[i % N_ELEMENTS(seeds)];
        size_t n = seed.n, edits = 1 + (size_t)(next_random(&random) % 3);
        memcpy(text, seed.p, n);
        for (size_t k = 0; k < edits; k++)
            n = mutate(&random, text, n, sizeof text);
        n_valid += agree((struct slice){text, n});
    }
    /* Both kinds must have been seen, or the mutations prove nothing. */
    ck_assert_uint_gt(n_valid, rounds / 50);
    ck_assert_uint_lt(n_valid, rounds - rounds / 50);
}
END_TEST

/* --- limits and places ------------------------------------------------------------- */

static enum err scan_nested(unsigned depth)
{
    struct json_scan s;
    struct errmsg e;
    char text[2 * (LIMIT_JSON_DEPTH + 1)];
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    return scan((struct slice){text, 2 * (size_t)depth}, &s, &e);
}

START_TEST(depth_has_a_limit)
{
    ck_assert_int_eq(scan_nested(LIMIT_JSON_DEPTH), OK);
    ck_assert_int_eq(scan_nested(LIMIT_JSON_DEPTH + 1), ERR_SYNTAX);
}
END_TEST

START_TEST(errors_name_their_place)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"{\"a\":1,\n  \"b\" 2}", "JSON at byte 14 (line 2, column 7): expected ':' after a key"},
        {"{\"a\":1", "JSON at byte 6 (line 1, column 7): expected ',' or '}', but the text ends"},
        {"[1 2]", "JSON at byte 3 (line 1, column 4): expected ',' or ']'"},
        {"{\"to\":1,\"\\u0074o\":2}",
         "JSON at byte 8 (line 1, column 9): this key stands a second time in its object; give it once"},
        {"[]x", "JSON at byte 2 (line 1, column 3): expected nothing more after the end of the value"},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct json_scan s;
        struct errmsg e;
        ck_assert_int_eq(scan(slice_of(rows[i].text), &s, &e), ERR_SYNTAX);
        ck_assert_str_eq(e.text, rows[i].message);
    }
}
END_TEST

/* n keys "k0", "k1", ...; then one more. */
static struct slice many_keys(size_t n, const char *last)
{
    struct buf b;
    buf_init(&b, &arena, 8u << 20);
    buf_add_cstr(&b, "{");
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "\"k%zu\":%zu,", i, i);
    buf_printf(&b, "\"%s\":0}", last);
    ck_assert(!b.failed);
    return buf_slice(&b);
}

START_TEST(many_keys_are_compared_too)
{
    struct json_scan s;
    struct errmsg e;
    ck_assert_int_eq(scan(many_keys(20000, "k"), &s, &e), OK);
    ck_assert_uint_eq(json_scan_count(&s, 0), 20001);
    ck_assert_int_eq(scan(many_keys(20000, "k19999"), &s, &e), ERR_SYNTAX);
    ck_assert_int_eq(scan(many_keys(20000, "\\u006b0"), &s, &e), ERR_SYNTAX);
    ck_assert_int_eq(scan(many_keys(17, "k16"), &s, &e), ERR_SYNTAX);
}
END_TEST

START_TEST(nodes_of_the_caller_are_a_limit)
{
    struct json_node nodes[4];
    struct errmsg e;
    struct json_scan s = {.nodes = nodes, .cap = N_ELEMENTS(nodes)};
    ck_assert_int_eq(json_scan_parse(&s, SLICE("[1,2,3]"), &e), OK);
    ck_assert_int_eq(json_scan_parse(&s, SLICE("[1,2,3,4]"), &e), ERR_LIMIT);
}
END_TEST

START_TEST(a_spent_arena_is_a_limit)
{
    struct json_scan s;
    struct errmsg e;
    struct buf b;
    buf_init(&b, &arena, 4u << 20);
    buf_add_cstr(&b, "[0");
    for (size_t i = 0; i < 600000; i++)
        buf_add_cstr(&b, ",0");
    buf_add_cstr(&b, "]");
    ck_assert(!b.failed);
    ck_assert_int_eq(scan(buf_slice(&b), &s, &e), ERR_LIMIT);
}
END_TEST

/* Keys are compared in memory of the arena: where it ends, so does the reading, and no key is passed over. */
START_TEST(keys_in_a_spent_arena)
{
    static const char text[] =
        "{\"k1\":1,\"k2\":2,\"k3\":3,\"k4\":4,\"k5\":5,\"k6\":6,\"k7\":7,\"k8\":8,\"k9\":9,\"ka\":1,"
        "\"kb\":2,\"kc\":3,\"kd\":4,\"ke\":5,\"kf\":6,\"kg\":7,\"\\u006bh\":8,\"k\\u0067\":9}";
    unsigned limits = 0;
    for (size_t bytes = 16; bytes < 8192; bytes += 16) {
        struct arena small;
        struct errmsg e;
        arena_init(&small, bytes);
        struct json_scan s = {.arena = &small};
        enum err err = json_scan_parse(&s, SLICE(text), &e);
        ck_assert(err == ERR_LIMIT || err == ERR_SYNTAX);
        limits += err == ERR_LIMIT;
        arena_clear(&small);
    }
    ck_assert_uint_gt(limits, 0);
    struct json_scan s = {.arena = &arena};
    struct errmsg e;
    ck_assert_int_eq(json_scan_parse(&s, SLICE(text), &e), ERR_SYNTAX);
    ck_assert_int_eq(json_scan_parse(&s, (struct slice){text, UINT32_MAX}, &e), ERR_LIMIT);
}
END_TEST

START_TEST(keys_compare_with_and_without_case)
{
    static const struct {
        const char *text, *name;
        enum json_key expected;
    } rows[] = {
        {"{\"cc\":1}", "cc", JSON_KEY_SAME},           {"{\"\\u0063c\":1}", "cc", JSON_KEY_SAME},
        {"{\"Cc\":1}", "cc", JSON_KEY_FOLDS},          {"{\"\\u0043c\":1}", "cc", JSON_KEY_FOLDS},
        {"{\"c\":1}", "cc", JSON_KEY_OTHER},           {"{\"ccc\":1}", "cc", JSON_KEY_OTHER},
        {"{\"a\xC5\xBFm\":1}", "asm", JSON_KEY_FOLDS}, {"{\"a\\u017fm\":1}", "asm", JSON_KEY_FOLDS},
        {"{\"\xE2\x84\xAA\":1}", "k", JSON_KEY_FOLDS}, {"{\"\xC5\xBE\":1}", "s", JSON_KEY_OTHER},
        {"{\"\xE2\x84\xAB\":1}", "k", JSON_KEY_OTHER}, {"{\"\":1}", "", JSON_KEY_SAME},
        {"{\"\xE2\x80\x9C\":1}", "k", JSON_KEY_OTHER}, {"{\"{\":1}", "k", JSON_KEY_OTHER},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct json_scan s;
        struct errmsg e;
        ck_assert_int_eq(scan(slice_of(rows[i].text), &s, &e), OK);
        ck_assert_msg(json_scan_key(&s, 1, rows[i].name) == rows[i].expected, "%s", rows[i].text);
    }
}
END_TEST

/* Whatever a key begins with: nothing, a letter of either case, what sorts before or behind letters, an escape. */
START_TEST(members_are_found_by_name)
{
    static const char *const names[] = {"to", "cc", ""};
    struct json_scan s;
    struct errmsg e;
    uint32_t nodes[3];
    size_t which;
    ck_assert_int_eq(scan(SLICE("{\"\":1,\"1\":2,\"~\":3,\"t\":4,\"\\u0063c\":5,\"to\":6}"), &s, &e), OK);
    ck_assert_uint_eq(json_scan_members(&s, 0, names, 3, nodes, &which), JSON_NONE);
    ck_assert(slice_eq_cstr(json_scan_raw(&s, nodes[0]), "6"));
    ck_assert(slice_eq_cstr(json_scan_raw(&s, nodes[1]), "5"));
    ck_assert(slice_eq_cstr(json_scan_raw(&s, nodes[2]), "1"));
    ck_assert_uint_eq(json_scan_member(&s, 0, ""), nodes[2]);
    ck_assert_uint_eq(json_scan_member(&s, 0, "cc"), nodes[1]);
    ck_assert_int_eq(scan(SLICE("{\"x\":1,\"TO\":2}"), &s, &e), OK);
    uint32_t folds = json_scan_members(&s, 0, names, 3, nodes, &which);
    ck_assert(slice_eq_cstr(json_scan_raw(&s, folds), "2"));
    ck_assert_uint_eq(which, 0);
}
END_TEST

START_TEST(offsets_are_those_of_the_text)
{
    struct json_scan s;
    struct errmsg e;
    struct slice text = SLICE("{ \"a\" : [ 1 , \"b\\n\" ] }");
    ck_assert_int_eq(scan(text, &s, &e), OK);
    uint32_t a = json_scan_member(&s, 0, "a");
    ck_assert_uint_eq(a, 1);
    ck_assert(slice_eq_cstr(json_scan_raw(&s, a), "[ 1 , \"b\\n\" ]"));
    ck_assert_uint_eq(s.nodes[a].key_start, 2);
    ck_assert_uint_eq(s.nodes[a].key_end, 5);
    ck_assert_uint_eq(s.nodes[a].next, 4);
    ck_assert(slice_eq_cstr(json_scan_raw(&s, 3), "\"b\\n\""));
    ck_assert_uint_eq(json_scan_member(&s, 0, "b"), JSON_NONE);
    ck_assert_uint_eq(json_scan_member(&s, a, "a"), JSON_NONE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connectors_json_scan");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, valid_texts, 0, (int)N_ELEMENTS(valid));
    tcase_add_loop_test(tcase, invalid_texts, 0, (int)N_ELEMENTS(invalid));
    tcase_add_test(tcase, mutations);
    tcase_add_test(tcase, depth_has_a_limit);
    tcase_add_test(tcase, errors_name_their_place);
    tcase_add_test(tcase, many_keys_are_compared_too);
    tcase_add_test(tcase, nodes_of_the_caller_are_a_limit);
    tcase_add_test(tcase, a_spent_arena_is_a_limit);
    tcase_add_test(tcase, keys_compare_with_and_without_case);
    tcase_add_test(tcase, keys_in_a_spent_arena);
    tcase_add_test(tcase, members_are_found_by_name);
    tcase_add_test(tcase, offsets_are_those_of_the_text);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

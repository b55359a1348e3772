/* JSON is read strictly: no duplicate keys, bounded depth, one object or array, and errors that say where. */
#include <check.h>
#include <jansson.h>
#include <stdlib.h>

#include "postern/json.h"
#include "postern/limits.h"

START_TEST(refused)
{
    static const struct {
        struct slice text;
        const char *says;
    } rows[] = {
        {{"", 0}, "empty"},
        {{"{\"to\":1,\"to\":2}", 15}, "duplicate object key"},
        {{"{\"to\":1,\"\\u0074o\":2}", 20}, "duplicate object key"},
        {{"[{\"a\":{\"b\":1,\"b\":1}}]", 21}, "duplicate object key"},
        {{"{}x", 3}, "end of file expected"},
        {{"{}{}", 4}, "end of file expected"},
        {{"{}\0", 3}, "JSON at byte 2: a NUL byte"},
        {{"{\"a\":\"\0\"}", 9}, "JSON at byte 6: a NUL byte"},
        {{"[null\0]", 7}, "JSON at byte 5: a NUL byte"},
        {{"[1\0]", 4}, "JSON at byte 2: a NUL byte"},
        {{"{\"a\":\"\\u0000\"}", 14}, "JSON at line 1"},
        {{"{\"a\\u0000b\":1}", 14}, "JSON at line 1"},
        {{"123", 3}, "'[' or '{' expected"},
        {{"\"a\"", 3}, "'[' or '{' expected"},
        {{"null", 4}, "'[' or '{' expected"},
        {{"{\"a\":1,}", 8}, "JSON at line 1"},
        {{"[1,\n2,\n x]", 10}, "JSON at line 3, column 2 (byte 9)"},
        {{"{\"a\":\"\xff\"}", 9}, "decode byte 0xff"},
        {{"{\"a\":\"\xed\xa0\x80\"}", 11}, "decode byte"},
        {{"{'a':1}", 7}, "JSON at line 1"},
        {{"[NaN]", 5}, "JSON at line 1"},
        {{"[01]", 4}, "JSON at line 1"},
        {{"[1e999]", 7}, "JSON at line 1"},
        {{"[99999999999999999999]", 22}, "too big integer"},
        {{"\xEF\xBB\xBF{}", 5}, "JSON at line 1"},
        {{"/**/{}", 6}, "JSON at line 1"},
        {{"[\"\\", 3}, "JSON at line 1"},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct errmsg e = {""};
        json_t *root = json_parse(rows[i].text, &e);
        ck_assert_msg(root == NULL, "row %zu was read", i);
        ck_assert_msg(strstr(e.text, rows[i].says) != NULL, "row %zu: %s", i, e.text);
    }
}
END_TEST

START_TEST(input_is_not_echoed)
{
    struct errmsg e;
    ck_assert_ptr_null(json_parse(SLICE("{\"key\": \"SG.secret\nrest\"}"), &e));
    ck_assert_ptr_null(strstr(e.text, "secret"));
    ck_assert_ptr_null(strchr(e.text, '\n'));
    ck_assert_ptr_null(json_parse(SLICE("{\"key\": secret}"), &e));
    ck_assert_ptr_null(strstr(e.text, "secret"));
}
END_TEST

static json_t *parse_nested(unsigned depth, char open, char close)
{
    char text[2 * 100];
    memset(text, open, depth);
    memset(text + depth, close, depth);
    struct errmsg e = {""};
    json_t *root = json_parse((struct slice){text, 2 * (size_t)depth}, &e);
    if (root == NULL)
        ck_assert_ptr_nonnull(strstr(e.text, "deeper than 64"));
    return root;
}

START_TEST(depth)
{
    ck_assert_uint_eq(LIMIT_JSON_DEPTH, 64);
    json_t *root = parse_nested(64, '[', ']');
    ck_assert_ptr_nonnull(root);
    json_decref(root);
    ck_assert_ptr_null(parse_nested(65, '[', ']'));
}
END_TEST

START_TEST(depth_counts_nesting_only)
{
    struct errmsg e = {""};
    json_t *root =
        json_parse(SLICE("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[\","
                         "[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],"
                         "[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],"
                         "[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]"),
                   &e);
    ck_assert_msg(root != NULL, "%s", e.text);
    json_decref(root);
}
END_TEST

START_TEST(accepted)
{
    struct errmsg e = {""};
    json_t *root = json_parse(SLICE(" {\"a\": [1, \"\\u00e9\", null, true, 1.5], \"A\": {}} \r\n"), &e);
    ck_assert_msg(root != NULL, "%s", e.text);
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(root, "a"), 1)), "\xC3\xA9");
    json_decref(root);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, refused);
    tcase_add_test(tests, input_is_not_echoed);
    tcase_add_test(tests, depth);
    tcase_add_test(tests, depth_counts_nesting_only);
    tcase_add_test(tests, accepted);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

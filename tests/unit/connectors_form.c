/* Forms: what is read, what is refused with its place, and cuts by offset. */
#include <check.h>
#include <stdlib.h>

#include "connectors/edit.h"
#include "connectors/form.h"
#include "postern/buf.h"
#include "postern/limits.h"

static struct arena arena;
static const char *const repeatable[] = {"MediaUrl", NULL};

static void setup(void)
{
    arena_init(&arena, LIMIT_ARENA_BYTES);
}

static void teardown(void)
{
    arena_clear(&arena);
}

static enum err parse(struct slice body, struct form *f, struct errmsg *e)
{
    return form_parse(body, repeatable, &arena, f, e);
}

START_TEST(values_are_decoded)
{
    struct form f;
    struct errmsg e;
    struct slice body = SLICE("To=%2B1555&Body=a+b%26c%3d%C3%A9&Empty=&MediaUrl=1&%4dediaUrl=2&x=a=b");
    ck_assert_int_eq(parse(body, &f, &e), OK);
    ck_assert_uint_eq(f.n, 6);
    ck_assert(slice_eq_cstr(form_get(&f, "To"), "+1555"));
    ck_assert(slice_eq_cstr(form_get(&f, "Body"), "a b&c=\xC3\xA9"));
    ck_assert(form_get(&f, "Empty").p != NULL && form_get(&f, "Empty").n == 0);
    ck_assert(slice_eq_cstr(form_get(&f, "x"), "a=b"));
    ck_assert(form_get(&f, "to").p == NULL);
    ck_assert_uint_eq(form_count(&f, "MediaUrl"), 2);
    ck_assert_uint_eq(f.fields[1].start, 11);
    ck_assert_uint_eq(f.fields[1].end, 32);
}
END_TEST

START_TEST(nothing_is_an_empty_form)
{
    struct form f;
    struct errmsg e;
    ck_assert_int_eq(parse((struct slice){NULL, 0}, &f, &e), OK);
    ck_assert_uint_eq(f.n, 0);
}
END_TEST

static const struct {
    struct slice body;
    const char *message;
} refused[] = {
    {{"a=%", 3}, "Form at byte 2: expected two hex digits after '%'"},
    {{"a=%4", 4}, "Form at byte 2: expected two hex digits after '%'"},
    {{"a=%4&b=1", 8}, "Form at byte 2: expected two hex digits after '%'"},
    {{"a=%4g", 5}, "Form at byte 2: expected two hex digits after '%'"},
    {{"a=%00", 5}, "Form at byte 2: expected no NUL (%00)"},
    {{"a=x\ny", 5}, "Form at byte 3: expected a % escape for this character"},
    {{"a=x\0y", 5}, "Form at byte 3: expected a % escape for this character"},
    {{"a=x;b=y", 7}, "Form at byte 3: expected a % escape for this character"},
    {{"a=%FF", 5}, "Form at byte 2: expected valid UTF-8"},
    {{"a=\xC3", 3}, "Form at byte 2: expected valid UTF-8"},
    {{"a=%ED%A0%80", 11}, "Form at byte 2: expected valid UTF-8"},
    {{"a", 1}, "Form at byte 0: expected '=' after a field's name"},
    {{"=a", 2}, "Form at byte 0: expected a field's name before '='"},
    {{"a=1&", 4}, "Form at byte 4: expected a field; there is an empty one"},
    {{"&a=1", 4}, "Form at byte 0: expected a field; there is an empty one"},
    {{"a=1&&b=2", 8}, "Form at byte 4: expected a field; there is an empty one"},
    {{"a=1&b=2&a=1", 11}, "Form at byte 8: field a stands twice; give it once"},
    {{"a=1&%61=2", 9}, "Form at byte 4: field a stands twice; give it once"},
    {{"a=1&%0D%0Aa=2", 13}, "Form at byte 4: expected a field's name without control characters"},
};

START_TEST(what_two_readers_could_read_differently_is_refused)
{
    struct form f;
    struct errmsg e;
    ck_assert_int_eq(parse(refused[_i].body, &f, &e), ERR_SYNTAX);
    ck_assert_str_eq(e.text, refused[_i].message);
}
END_TEST

START_TEST(fields_have_a_limit)
{
    struct form f;
    struct errmsg e;
    struct buf b;
    buf_init(&b, &arena, 1u << 20);
    buf_add_cstr(&b, "f=1");
    for (unsigned i = 1; i < LIMIT_FORM_FIELDS; i++)
        buf_printf(&b, "&f%u=1", i);
    ck_assert_int_eq(parse(buf_slice(&b), &f, &e), OK);
    ck_assert_uint_eq(f.n, LIMIT_FORM_FIELDS);
    buf_add_cstr(&b, "&one=more");
    ck_assert_int_eq(parse(buf_slice(&b), &f, &e), ERR_LIMIT);
}
END_TEST

/* Each subset of the fields cut, against a body built from what is left. */
START_TEST(any_fields_can_be_cut)
{
    static const char *const fields[] = {"a=1", "bb=22", "c=", "d=4"};
    struct slice body = SLICE("a=1&bb=22&c=&d=4"), out;
    struct form f;
    struct errmsg e;
    ck_assert_int_eq(parse(body, &f, &e), OK);
    for (unsigned cut = 0; cut < 16; cut++) {
        struct edits edits = {.arena = &arena};
        struct edit_row row = {.edits = &edits};
        struct buf expected;
        buf_init(&expected, &arena, 64);
        buf_add_cstr(&expected, "");
        for (size_t i = 0; i < f.n; i++) {
            bool goes = (cut >> i & 1) != 0;
            size_t next = i + 1 < f.n ? f.fields[i + 1].start : SIZE_MAX;
            edit_row_item(&row, f.fields[i].start, f.fields[i].end, next, goes);
            if (!goes)
                buf_printf(&expected, "%s%s", expected.n > 0 ? "&" : "", fields[i]);
        }
        ck_assert_int_eq(edit_apply(&edits, body, &out), OK);
        ck_assert_msg(slice_eq(out, buf_slice(&expected)), "cut %x gave %.*s", cut, SLICE_ARG(out));
        ck_assert(cut != 0 || out.p == body.p);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connectors_form");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, values_are_decoded);
    tcase_add_test(tcase, nothing_is_an_empty_form);
    tcase_add_loop_test(tcase, what_two_readers_could_read_differently_is_refused, 0, (int)N_ELEMENTS(refused));
    tcase_add_test(tcase, fields_have_a_limit);
    tcase_add_test(tcase, any_fields_can_be_cut);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

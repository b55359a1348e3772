/* Whose call is it?  tests/connectors/paths.table, one row after the other: dialects share the tree of paths. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors_cases_text.h"

static const struct {
    const char *word;
    struct wire_field field;
} logins[] = {
    {"bearer", {SLICE_INIT("Authorization"), SLICE_INIT("Bearer SG.x.y")}},
    {"api", {SLICE_INIT("authorization"), SLICE_INIT("basic YXBpOmtleQ==")}},
    {"basic", {SLICE_INIT("Authorization"), SLICE_INIT("Basic YXBpa2V5OmtleQ==")}}, /* apikey:key */
    {"key", {SLICE_INIT("Authorization"), SLICE_INIT("Token YXBpOmtleQ==")}},
};

static void describe(const struct connector *c, const struct route *route, char *out, size_t size)
{
    static const char *const calls[] = {"none", "send", "fetch", "list", "change", "batch_change", "pass"};
    if (c == NULL)
        snprintf(out, size, "-");
    else
        snprintf(out, size, "%s %s%s%.*s%s%.*s", c->name, calls[route->call], route->id.n > 0 ? " id=" : "",
                 SLICE_ARG(route->id), route->domain.n > 0 ? " domain=" : "", SLICE_ARG(route->domain));
}

static void check_row(struct slice line)
{
    char got[400];
    struct wire_field field = {.name = SLICE("Accept"), .value = SLICE("*/*")};
    struct slice whole = line, method = word_take(&line), path = word_take(&line), login = word_take(&line);
    struct slice arrow = word_take(&line);
    struct wire_request r = {.method = method, .path = path, .fields = &field, .n_fields = 1};
    struct route route;
    ck_assert_msg(slice_eq_cstr(arrow, "->"), "no row: %.*s", SLICE_ARG(whole));
    for (size_t i = 0; i < N_ELEMENTS(logins); i++) {
        if (slice_eq_cstr(login, logins[i].word))
            field = logins[i].field;
    }
    describe(connector_for(&r, &route), &route, got, sizeof got);
    ck_assert_msg(slice_eq_cstr(line, got), "%.*s\ngot %s", SLICE_ARG(whole), got);
}

START_TEST(paths)
{
    static char text[65536];
    FILE *f = fopen(TESTS_DIR "/connectors/paths.table", "rb");
    ck_assert_msg(f != NULL, "paths.table cannot be read");
    struct slice rest = {text, fread(text, 1, sizeof text, f)};
    size_t n = 0;
    fclose(f);
    while (rest.n > 0) {
        struct slice line = line_take(&rest);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        check_row(line);
        n++;
    }
    ck_assert_uint_gt(n, 80);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connectors_paths");
    TCase *tcase = tcase_create("paths");
    tcase_add_test(tcase, paths);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

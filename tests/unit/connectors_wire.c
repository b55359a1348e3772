/* What dialects share: paths that two servers could read differently, fields that may leave, faults as statuses. */
#include <check.h>
#include <stdio.h>

#include "connectors/edit.h"
#include "connectors/wire.h"

static struct arena arena;

static void set_up(void)
{
    arena_init(&arena, 1u << 20);
}

static void tear_down(void)
{
    arena_clear(&arena);
}

static const struct {
    const char *path;
    size_t segments; /* 0: no call of ours */
    bool trailing_slash;
} paths[] = {
    {"/a", 1, 0},
    {"/a/b/", 2, 1},
    {"/a%40b/c%3Fd", 2, 0},
    {"/a~b_c-d.e", 1, 0},
    {"/...a", 1, 0},
    {"", 0, 0},
    {"a/b", 0, 0},
    {"//", 0, 0},
    {"/a//b", 0, 0},
    {"/.", 0, 0},
    {"/a/../b", 0, 0},
    {"/a/%2e%2E/b", 0, 0},
    {"/a;b", 0, 0},
    {"/a%3bb", 0, 0},
    {"/a\\b", 0, 0},
    {"/a%5Cb", 0, 0},
    {"/a%2Fb", 0, 0},
    {"/a%00b", 0, 0},
    {"/a\x1F"
     "b",
     0, 0},
    {"/a%7Fb", 0, 0},
    {"/a\x7F", 0, 0},
    {"/a%61", 0, 0},
    {"/a%7A", 0, 0},
    {"/a%41", 0, 0},
    {"/a%5a", 0, 0},
    {"/a%30", 0, 0},
    {"/a%39", 0, 0},
    {"/a%2D", 0, 0},
    {"/a%2E", 0, 0},
    {"/a%5F", 0, 0},
    {"/a%7E", 0, 0},
    {"/a%7B%5B%3A%60", 1, 0},
    {"/a%", 0, 0},
    {"/a%4", 0, 0},
    {"/a%4g", 0, 0},
    {"/a%g4", 0, 0},
    {"/1/2/3/4/5/6/7/8/9/10/11/12", 12, 0},
    {"/1/2/3/4/5/6/7/8/9/10/11/12/13", 0, 0},
};

START_TEST(paths_that_are_plain)
{
    struct wire_path p;
    bool good = wire_path_split(slice_of(paths[_i].path), &p);
    ck_assert_msg(good == (paths[_i].segments > 0), "%s", paths[_i].path);
    if (good) {
        ck_assert_uint_eq(p.n, paths[_i].segments);
        ck_assert(p.trailing_slash == paths[_i].trailing_slash);
    }
}
END_TEST

START_TEST(fields_that_leave)
{
    static const char *const names[] = {"X-A", "X-B", NULL};
    struct outgoing out = {.n_fields = 0};
    ck_assert_int_eq(wire_outgoing_add(&out, "X-A", SLICE("a\r\nX-B: c")), ERR_SYNTAX);
    ck_assert_int_eq(wire_outgoing_add(&out, "X-A", SLICE("\xFF")), ERR_SYNTAX);
    for (size_t i = 0; i < OUTGOING_FIELDS; i++)
        ck_assert_int_eq(wire_outgoing_add(&out, "X-A", SLICE("a")), OK);
    ck_assert_int_eq(wire_outgoing_add(&out, "X-A", SLICE("a")), ERR_LIMIT);
    ck_assert_uint_eq(out.n_fields, OUTGOING_FIELDS);

    struct wire_field fields[] = {{SLICE("x-b"), SLICE("b")}, {SLICE("X-C"), SLICE("c")}};
    struct wire_request r = {.fields = fields, .n_fields = 2};
    ck_assert_int_eq(wire_outgoing_copy(&out, &r, names), ERR_LIMIT);
    out.n_fields = 0;
    ck_assert_int_eq(wire_outgoing_copy(&out, &r, names), OK);
    ck_assert_uint_eq(out.n_fields, 1);
    ck_assert(slice_eq_cstr(out.fields[0].name, "X-B") && slice_eq_cstr(out.fields[0].value, "b"));
}
END_TEST

/* A provider with a hundred fields leaves room for ours; what could break out of its line stays behind. */
START_TEST(fields_of_a_provider)
{
    struct wire_field fields[100];
    struct provider_answer answer = {.status = 202, .fields = fields};
    struct wire_reply reply = {.status = 0};
    fields[answer.n_fields++] = (struct wire_field){SLICE("X-Bad"), SLICE("a\nb")};
    fields[answer.n_fields++] = (struct wire_field){SLICE("keep-alive"), SLICE("a")};
    fields[answer.n_fields++] = (struct wire_field){SLICE("x-postern-code"), SLICE("a")};
    while (answer.n_fields < N_ELEMENTS(fields))
        fields[answer.n_fields++] = (struct wire_field){SLICE("X-Theirs"), SLICE("a")};
    wire_reply_provider(&reply, &answer);
    ck_assert_uint_ge(WIRE_REPLY_FIELDS - reply.n_fields, 14);
    for (size_t i = 0; i < reply.n_fields; i++)
        ck_assert(slice_eq_cstr(reply.fields[i].name, "X-Theirs"));
    for (size_t i = 0; i < WIRE_REPLY_FIELDS; i++)
        wire_reply_add(&reply, "X-Ours", SLICE("a"));
    ck_assert_uint_eq(reply.n_fields, WIRE_REPLY_FIELDS);
}
END_TEST

static const struct {
    enum fault_kind kind;
    int status;
    const char *code;
} faults[] = {
    {FAULT_SYNTAX, 400, NULL},
    {FAULT_NO_RECIPIENT, 400, NULL},
    {FAULT_ADDRESS, 400, NULL},
    {FAULT_NO_SENDER, 400, NULL},
    {FAULT_NO_BODY, 400, NULL},
    {FAULT_TOO_LONG, 400, NULL},
    {FAULT_CATEGORY, 400, NULL},
    {FAULT_AUTH, 401, "PST-AUTH"},
    {FAULT_FORBIDDEN, 403, NULL},
    {FAULT_NOT_FOUND, 404, NULL},
    {FAULT_METHOD, 405, NULL},
    {FAULT_CONFLICT, 409, NULL},
    {FAULT_IN_PROGRESS, 409, "PST-IN-PROGRESS"},
    {FAULT_TOO_LARGE, 413, NULL},
    {FAULT_MEDIA_TYPE, 415, NULL},
    {FAULT_KEY_REUSED, 422, "PST-KEY-REUSED"},
    {FAULT_OVERLOAD, 429, "PST-OVERLOAD"},
    {FAULT_INTERNAL, 500, NULL},
    {FAULT_UNAVAILABLE, 503, "PST-UNAVAILABLE"},
    {FAULT_UPSTREAM_DOWN, 503, "PST-UPSTREAM-DOWN"},
};

/* In both dialects: the status, our code where there is one, and when to come back. */
START_TEST(faults_are_told)
{
    const struct fault f = {.kind = faults[_i].kind, .retry_after_ms = 1500, .now_ms = INT64_C(1795341600000)};
    const struct route route = {.call = CALL_SEND};
    static const char *const dialects[] = {"sendgrid", "twilio"};
    for (size_t i = 0; i < N_ELEMENTS(dialects); i++) {
        struct wire_reply reply;
        ck_assert_int_eq(connector_get(slice_of(dialects[i]))->fault_reply(&f, &route, &arena, &reply), OK);
        ck_assert_int_eq(reply.status, faults[_i].status);
        struct slice code = wire_field_get(reply.fields, reply.n_fields, "X-Postern-Code");
        ck_assert(slice_eq(code, slice_of(faults[_i].code)));
        ck_assert(slice_eq_cstr(wire_field_get(reply.fields, reply.n_fields, "Retry-After"), "2"));
        struct arena none;
        arena_init(&none, 1);
        ck_assert_int_eq(connector_get(slice_of(dialects[i]))->fault_reply(&f, &route, &none, &reply), ERR_LIMIT);
    }
}
END_TEST

/* More edits than there is room for at first, in a row as recipients are cut. */
START_TEST(many_edits)
{
    char body[201] = "", want[201] = "";
    struct edits e = {.arena = &arena};
    struct slice out;
    for (size_t i = 0; i < 100; i++) {
        body[2 * i] = (char)('a' + i % 26);
        body[2 * i + 1] = ',';
        if (i % 2 == 0)
            edit_cut(&e, 2 * i, 2 * i + 2);
        else
            snprintf(want + strlen(want), 3, "%c,", 'a' + (int)(i % 26));
    }
    ck_assert_int_eq(edit_apply(&e, slice_of(body), &out), OK);
    ck_assert(slice_eq_cstr(out, want));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connectors_wire");
    TCase *t = tcase_create("wire");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, paths_that_are_plain, 0, (int)N_ELEMENTS(paths));
    tcase_add_test(t, fields_that_leave);
    tcase_add_test(t, fields_of_a_provider);
    tcase_add_loop_test(t, faults_are_told, 0, (int)N_ELEMENTS(faults));
    tcase_add_test(t, many_edits);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

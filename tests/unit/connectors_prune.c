/*
 * No second reading: for every subset of a mail's recipients, settled or not, the
 * body that leaves is read again by jansson and names those of the subset, in their
 * order, and nobody else.
 */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "postern/connector.h"
#include "postern/buf.h"
#include "postern/json.h"
#include "postern/limits.h"

extern const struct connector sendgrid_connector;

#define NOW_MS INT64_C(1795341600000)

static const struct wire_field fields[] = {{{"Content-Type", 12}, {"application/json", 16}}};
static const struct provider_login login = {.secret = {"SG.x", 4}};

/* Blanks, orders of members, escapes and nested decoys of every kind that a client may send. */
static const char *const bodies[] = {
    "{\"personalizations\":[{\"to\":[{\"email\":\"a@x.test\"},{\"email\":\"b@x.test\"}],\"cc\":[{\"email\":\"c@x."
    "test\"}],"
    "\"bcc\":[{\"email\":\"d@x.test\"},{\"email\":\"e@x.test\"},{\"email\":\"f@x.test\"}]}],\"from\":{\"email\":\"s@x."
    "test\"},"
    "\"template_id\":\"d-1\"}",
    "{ \"from\" : {\"email\":\"s@x.test\"} , \"personalizations\" :\n[ { \"bcc\" : [ { \"email\" : \"a@x.test\" } , { "
    "\"email\" : "
    "\"b@x.test\" } ] , \"to\" : [ { \"name\" : \"] , { \\\" }\" , \"email\" : \"c@x.test\" } ] } ,\n { "
    "\"subject\":\"\\\"to\\\":[]\","
    "\"to\" : [ { \"email\" : \"d@x.test\" }\n,\n{ \"email\" : \"\\u0065@x.test\" } ] , \"cc\" : [ ] } , "
    "{\"to\":[{\"email\":"
    "\"f@x.test\"}],\"cc\":[{\"email\":\"g@x.test\"}],\"dynamic_template_data\":{\"to\":[{\"email\":\"no@x.test\"}]}} "
    "] , "
    "\"template_id\" : \"d-1\" }",
    "{\"custom_args\":{\"postern_topic\":\"t\",\"k\":\"v\"},\"mail_settings\":{\"bcc\":{\"email\":\"z@x.test\","
    "\"enable\":true},"
    "\"bypass_list_management\":{\"enable\":true}},\"personalizations\":[{\"send_at\":1,\"to\":[{\"email\":\"a@x."
    "test\"}],"
    "\"headers\":{\"X-Postern-Topic\":\"t\"}},{\"to\":[{\"email\":\"b@x.test\"}],\"cc\":[{\"email\":\"c@x.test\"},{"
    "\"email\":"
    "\"d@x.test\"}]}],\"send_at\":1,\"from\":{\"email\":\"s@x.test\"},\"template_id\":\"d-1\"}",
};

static void add_list(const json_t *person, const char *name, struct buf *b)
{
    size_t i;
    json_t *one, *list = json_object_get(person, name);
    /* SendGrid refuses an empty array; one that came empty may stay. */
    json_array_foreach(list, i, one) buf_printf(b, "%s ", json_string_value(json_object_get(one, "email")));
}

/* Who gets the mail, as jansson reads the body. */
static void read_recipients(struct slice body, struct buf *b)
{
    struct errmsg e;
    size_t i;
    json_t *person, *root = json_parse(body, &e);
    ck_assert_msg(root != NULL, "%s: %.*s", e.text, SLICE_ARG(body));
    json_array_foreach(json_object_get(root, "personalizations"), i, person)
    {
        ck_assert_uint_gt(json_array_size(json_object_get(person, "to")), 0);
        add_list(person, "to", b);
        add_list(person, "cc", b);
        add_list(person, "bcc", b);
        ck_assert(json_object_get(person, "send_at") == NULL);
    }
    json_t *settings = json_object_get(root, "mail_settings"), *bcc = json_object_get(settings, "bcc");
    if (json_is_true(json_object_get(bcc, "enable")))
        buf_printf(b, "%s ", json_string_value(json_object_get(bcc, "email")));
    ck_assert(!json_is_true(json_object_get(json_object_get(settings, "bypass_list_management"), "enable")));
    ck_assert(memmem(body.p, body.n, "ostern", 6) == NULL);
    json_decref(root);
}

static void try_subset(const struct wire_request *r, const struct route *route, const struct parsed *p, unsigned subset,
                       bool settled, struct arena *a)
{
    bool send[16];
    struct buf expected, got;
    struct outgoing out;
    struct forward_options options = {.login = &login, .now_ms = NOW_MS};
    size_t left = 0;
    buf_init(&expected, a, 4096);
    buf_init(&got, a, 4096);
    for (size_t i = 0; i < p->n_messages; i++)
        send[i] = (subset >> i & 1) != 0;
    if (settled)
        ck_assert_uint_le(sendgrid_connector.settle(p, send), p->n_messages);
    for (size_t i = 0; i < p->n_messages; i++) {
        left += send[i];
        if (send[i])
            buf_printf(&expected, "%s ", p->messages[i].to.text);
    }
    enum err err = sendgrid_connector.forward(r, route, p, send, &options, a, &out);
    ck_assert_int_eq(err, left == 0 ? ERR_CONFLICT : OK);
    if (err != OK)
        return;
    read_recipients(out.body, &got);
    ck_assert_msg(slice_eq(buf_slice(&expected), buf_slice(&got)), "subset %x: %.*s", subset, SLICE_ARG(out.body));
}

START_TEST(every_subset)
{
    struct arena arena;
    struct route route;
    struct parsed parsed;
    struct fault fault;
    struct wire_request r = {.method = SLICE("POST"),
                             .path = SLICE("/v3/mail/send"),
                             .fields = fields,
                             .n_fields = 1,
                             .body = slice_of(bodies[_i])};
    arena_init(&arena, LIMIT_ARENA_BYTES);
    ck_assert_int_eq(sendgrid_connector.match(&r, &route), CALL_SEND);
    enum err err = sendgrid_connector.parse(&r, &route, NOW_MS, &arena, &parsed, &fault);
    ck_assert_msg(err == OK, "%s", fault.message.text);
    ck_assert_uint_ge(parsed.n_messages, 5);
    for (unsigned subset = 0; subset < 1u << parsed.n_messages; subset++) {
        try_subset(&r, &route, &parsed, subset, true, &arena);
        try_subset(&r, &route, &parsed, subset, false, &arena);
    }
    arena_clear(&arena);
}
END_TEST

/* 1000 recipients pass, 1001 do not; an address given twice is found among 1000. */
static enum err parse_many(size_t n, const char *last, struct fault *fault)
{
    struct arena arena;
    struct route route;
    struct parsed parsed;
    struct buf b;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    buf_init(&b, &arena, 1u << 20);
    buf_add_cstr(&b, "{\"from\":{\"email\":\"s@x.test\"},\"template_id\":\"d\",\"personalizations\":[{\"to\":[");
    for (size_t i = 1; i < n; i++)
        buf_printf(&b, "{\"email\":\"r%zu@x.test\"},", i);
    buf_printf(&b, "{\"email\":\"%s\"}]}]}", last);
    struct wire_request r = {.method = SLICE("POST"),
                             .path = SLICE("/v3/mail/send"),
                             .fields = fields,
                             .n_fields = 1,
                             .body = buf_slice(&b)};
    sendgrid_connector.match(&r, &route);
    enum err err = sendgrid_connector.parse(&r, &route, NOW_MS, &arena, &parsed, fault);
    ck_assert(err != OK || parsed.n_messages == n);
    arena_clear(&arena);
    return err;
}

START_TEST(recipients_have_a_limit)
{
    struct fault fault;
    ck_assert_int_eq(parse_many(LIMIT_RECIPIENTS, "last@x.test", &fault), OK);
    ck_assert_int_eq(parse_many(LIMIT_RECIPIENTS + 1, "last@x.test", &fault), ERR_LIMIT);
    ck_assert_int_eq(fault.kind, FAULT_TOO_LONG);
    ck_assert_int_eq(parse_many(LIMIT_RECIPIENTS, "R500@X.test", &fault), ERR_SYNTAX);
    ck_assert_str_eq(fault.field, "personalizations.0.to.999.email");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connectors_prune");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, every_subset, 0, (int)N_ELEMENTS(bodies));
    tcase_add_test(tcase, recipients_have_a_limit);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

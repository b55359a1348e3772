/*
 * Mailgun beyond what a case can show: limits, ids, faults without a parse, texts with bare LF in multipart, and every
 * subset of a message's recipients, read again by the dialect itself.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors/mailgun.h"
#include "postern/limits.h"

extern const struct connector mailgun_connector;

#define NOW_MS INT64_C(1795341661000) /* 2026-11-22T10:01:01Z */
#define PATH   "/v3/mg.example.com/messages"
#define FORM   "application/x-www-form-urlencoded"
#define PARTS  "multipart/form-data; boundary=xyz"

struct read {
    struct arena arena;
    struct wire_field field;
    struct wire_request request;
    struct route route;
    struct parsed parsed;
    struct fault fault;
};

static enum err read_call(struct read *r, const char *path, const char *type, struct slice body)
{
    arena_init(&r->arena, LIMIT_ARENA_BYTES + 2 * body.n);
    r->field = (struct wire_field){SLICE("Content-Type"), slice_of(type)};
    r->request = (struct wire_request){
        .method = SLICE("POST"), .path = slice_of(path), .fields = &r->field, .n_fields = 1, .body = body};
    ck_assert_int_eq(mailgun_connector.match(&r->request, &r->route), CALL_SEND);
    return mailgun_connector.parse(&r->request, &r->route, NOW_MS, &r->arena, &r->parsed, &r->fault);
}

static enum err forward(struct read *r, const bool *send, struct outgoing *out)
{
    static const struct provider_login login = {.secret = SLICE_INIT("key")};
    struct forward_options options = {.login = &login, .now_ms = NOW_MS};
    return mailgun_connector.forward(&r->request, &r->route, &r->parsed, send, &options, &r->arena, out);
}

/* --- limits --------------------------------------------------------------------- */

/* n recipients, each in a field of its own when apart; n_variables keys. */
static struct slice many(struct buf *b, size_t n, bool apart, size_t n_variables)
{
    buf_add_cstr(b, "from=s@x.test&text=t");
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%sr%zu@x.test", i == 0 || apart ? "&to=" : ",", i);
    if (n_variables > 0)
        buf_add_cstr(b, "&recipient-variables=%7B");
    for (size_t i = 0; i < n_variables; i++)
        buf_printf(b, "%s%%22v%zu@x.test%%22:1", i == 0 ? "" : ",", i);
    if (n_variables > 0)
        buf_add_cstr(b, "%7D");
    ck_assert(!b->failed);
    return buf_slice(b);
}

START_TEST(recipients)
{
    static const struct {
        size_t n;
        bool apart;
        size_t n_variables;
        enum err err;
        const char *message;
    } rows[] = {
        {1000, false, 0, OK, ""},
        {1000, true, 1000, OK, ""},
        {1001, false, 0, ERR_LIMIT, "Too many recipients, max is 1000"},
        {1001, true, 0, ERR_LIMIT, "Too many recipients, max is 1000"},
        {1300, true, 0, ERR_LIMIT, "Form of 1302 fields; at most 1200 are read"},
        {1, false, 1001, ERR_LIMIT, "'recipient-variables' has 1001 recipients, max is 1000"},
        {1, true, 1000, OK, ""},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct read r;
        struct arena own;
        struct buf b;
        arena_init(&own, 16u << 20);
        buf_init(&b, &own, 1u << 20);
        enum err err = read_call(&r, PATH, FORM, many(&b, rows[i].n, rows[i].apart, rows[i].n_variables));
        ck_assert_int_eq(err, rows[i].err);
        ck_assert_str_eq(r.fault.message.text, rows[i].message);
        if (err == OK)
            ck_assert_uint_eq(r.parsed.n_messages, rows[i].n);
        arena_clear(&r.arena);
        arena_clear(&own);
    }
}
END_TEST

START_TEST(message_bytes)
{
    static const char start[] = "from=s@x.test&to=a@x.test&text=";
    const size_t most = 25u << 20, head = sizeof start - 1;
    char *body = malloc(head + most + 1);
    ck_assert_ptr_nonnull(body);
    memcpy(body, start, head);
    memset(body + head, 'x', most + 1);
    struct read r;
    ck_assert_int_eq(read_call(&r, PATH, FORM, (struct slice){body, head + most}), OK);
    ck_assert(r.parsed.messages[0].body->cut);
    arena_clear(&r.arena);
    ck_assert_int_eq(read_call(&r, PATH, FORM, (struct slice){body, head + most + 1}), ERR_LIMIT);
    ck_assert_int_eq(r.fault.kind, FAULT_TOO_LARGE);
    arena_clear(&r.arena);
    free(body);
}
END_TEST

/* A header of LF lines is read in a copy: its size is looked at first. */
START_TEST(header_bytes)
{
    static const char start[] = "to=a@x.test&message=X:+", end[] = "%0A%0Ahello";
    for (size_t more = 0; more < 2; more++) {
        struct read r;
        struct arena own;
        struct buf b;
        arena_init(&own, 16u << 20);
        buf_init(&b, &own, 1u << 20);
        buf_add_cstr(&b, start);
        /* "X: ", lines of 1022 bytes, "\n\n" */
        size_t left = LIMIT_MAIL_HEADER_BYTES - 5 + more;
        for (size_t n = 0; n < left; n++)
            buf_add_cstr(&b, n % 1023 == 1021 ? "%0A" : n % 1023 == 1022 ? "+" : "x");
        buf_add_cstr(&b, end);
        ck_assert(!b.failed);
        enum err err = read_call(&r, PATH ".mime", FORM, buf_slice(&b));
        ck_assert_int_eq(err, ERR_LIMIT); /* with CRLF it is a few bytes more than the limit in any case */
        ck_assert_int_eq(r.fault.kind, FAULT_TOO_LARGE);
        arena_clear(&r.arena);
        arena_clear(&own);
    }
}
END_TEST

/* --- bare LF ------------------------------------------------------------------------ */

START_TEST(bare_lf_in_multipart)
{
    static const char body[] =
        "--xyz\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\na@x.test\r\n"
        "--xyz\r\nContent-Disposition: form-data; name=\"message\"; filename=\"m\"\r\n\r\n"
        "From: s@x.test\nX-Postern-Topic: t\n of\nSubject: x\nX-Postern-Any: 1\n\nhello\n\r\n--xyz--";
    static const char left[] = "--xyz\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\na@x.test\r\n"
                               "--xyz\r\nContent-Disposition: form-data; name=\"message\"; filename=\"m\"\r\n\r\n"
                               "From: s@x.test\nSubject: x\n\nhello\n\r\n--xyz--";
    struct read r;
    struct outgoing out;
    bool send = true;
    ck_assert_int_eq(read_call(&r, PATH ".mime", PARTS, SLICE(body)), OK);
    ck_assert(slice_eq_cstr(r.parsed.messages[0].topic, "t of"));
    ck_assert(slice_eq_cstr(r.parsed.subject, "x"));
    ck_assert_int_eq(forward(&r, &send, &out), OK);
    ck_assert_msg(slice_eq(out.body, SLICE(left)), "%.*s", SLICE_ARG(out.body));
    arena_clear(&r.arena);
}
END_TEST

/* The same text under another header is the same message; another text is not. */
START_TEST(fingerprints)
{
    static const struct {
        const char *path, *body;
        int same; /* rows of one number are one content */
    } rows[] = {
        {PATH, "from=s@x.test&to=a@x.test&text=t", 1},
        {PATH, "from=s@x.test&to=b@x.test&text=t&o:tag=x", 1},
        {PATH, "from=s@x.test&to=a@x.test&text=u", 2},
        {PATH, "from=s@x.test&to=a@x.test&html=t", 3},
        {PATH, "from=s@x.test&to=a@x.test&text=t&recipient-variables=%7B%22a@x.test%22:1%7D", 4},
        {PATH, "from=s@x.test&to=a@x.test&text=t&recipient-variables=%7B%22b@x.test%22:1%7D", 1},
        {PATH, "from=s@x.test&to=a@x.test&text=t&attachment=12", 5},
        {PATH ".mime", "to=a@x.test&message=Date:+1%0ASubject:+x%0A%0Ahello", 6},
        {PATH ".mime", "to=a@x.test&message=Date:+22%0D%0ASubject:+x%0D%0A%0D%0Ahello", 6},
        {PATH ".mime", "to=a@x.test&message=Subject:+x%0A%0Ahallo", 7},
        {"/v3/domains/mg.example.com/messages/k1", "to=a@x.test", 8},
        {"/v3/domains/mg.example.com/messages/k2", "to=a@x.test", 9},
    };
    uint64_t seen[N_ELEMENTS(rows)];
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct read r;
        ck_assert_int_eq(read_call(&r, rows[i].path, FORM, slice_of(rows[i].body)), OK);
        seen[i] = r.parsed.messages[0].fingerprint;
        arena_clear(&r.arena);
        for (size_t k = 0; k < i; k++)
            ck_assert_msg((seen[i] == seen[k]) == (rows[i].same == rows[k].same), "rows %zu and %zu", k, i);
    }
}
END_TEST

/* --- every subset ---------------------------------------------------------------------- */

#define PART(name, value) "--xyz\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"

static const struct {
    const char *type, *body;
} bodies[] = {
    {FORM, "to=a@x.test,%22b,%20c%22+%3Cb@x.test%3E&from=s@x.test&cc=c@x.test&cc=d@x.test,a@x.test&bcc=e@x.test&text=t&"
           "h:X-Postern-Topic=t&recipient-variables=%7B%22a@x.test%22:1,%22d@x.test%22:2,%22z@x.test%22:3%7D"},
    {PARTS, PART("v:postern_topic", "t") PART("to", "a@x.test") PART("cc", "b@x.test, c@x.test") PART("bcc", "d@x.test")
                PART("bcc", "e@x.test") PART("from", "s@x.test") PART("text", "t")
                    PART("recipient-variables", "{\"e@x.test\":{}, \"b@x.test\":{}}") "--xyz--\r\n"},
};

static bool is_among(const struct parsed *p, const char *address)
{
    for (size_t i = 0; i < p->n_messages; i++) {
        if (strcmp(p->messages[i].to.text, address) == 0)
            return true;
    }
    return false;
}

static void try_subset(struct read *r, unsigned subset, size_t which)
{
    bool send[8];
    struct outgoing out;
    struct read again;
    size_t left = 0;
    for (size_t i = 0; i < r->parsed.n_messages; i++) {
        send[i] = (subset >> i & 1) != 0;
        left += send[i];
    }
    ck_assert_int_eq(forward(r, send, &out), left == 0 ? ERR_CONFLICT : OK);
    if (left == 0)
        return;
    ck_assert_int_eq(read_call(&again, PATH, bodies[which].type, out.body), OK);
    ck_assert_uint_eq(again.parsed.n_messages, left);
    for (size_t i = 0; i < r->parsed.n_messages; i++) {
        const char *address = r->parsed.messages[i].to.text;
        ck_assert_int_eq(is_among(&again.parsed, address), send[i]);
        ck_assert(send[i] || memmem(out.body.p, out.body.n, address, strlen(address)) == NULL);
    }
    ck_assert(memmem(out.body.p, out.body.n, "ostern", 6) == NULL);
    ck_assert(memmem(out.body.p, out.body.n, "recipient-variables", 19) != NULL);
    arena_clear(&again.arena);
}

START_TEST(every_subset)
{
    struct read r;
    size_t which = (size_t)_i;
    ck_assert_int_eq(read_call(&r, PATH, bodies[which].type, slice_of(bodies[which].body)), OK);
    ck_assert_uint_eq(r.parsed.n_messages, 5);
    for (unsigned subset = 0; subset < 32; subset++)
        try_subset(&r, subset, which);
    arena_clear(&r.arena);
}
END_TEST

/* --- ids and faults ----------------------------------------------------------------------- */

START_TEST(minted_ids)
{
    static const uint8_t random[16] = {0x1a, 0xa9, 0xa4, 0x80, 0x9f, 0xee, 0x15, 0x86};
    char domain[254] = "", path[320], expected[SID_MAX], id[SID_MAX];
    struct read r;
    ck_assert_int_eq(read_call(&r, PATH, FORM, SLICE("from=s@x.test&to=a@x.test&text=t")), OK);
    mailgun_connector.mint_id(&r.parsed, random, id);
    ck_assert_str_eq(id, "<20261122100101.1aa9a4809fee1586@mg.example.com>");
    arena_clear(&r.arena);
    while (strlen(domain) < 250)
        memcpy(domain + strlen(domain), "d.", 3);
    memcpy(domain + 250, "abc", 4);
    snprintf(path, sizeof path, "/v3/%s/messages", domain);
    ck_assert_int_eq(read_call(&r, path, FORM, SLICE("from=s@x.test&to=a@x.test&text=t")), OK);
    mailgun_connector.mint_id(&r.parsed, random, id);
    snprintf(expected, sizeof expected, "<20261122100101.1aa9a4809fee1586@%s>", domain);
    ck_assert_str_eq(id, expected);
    arena_clear(&r.arena);
    struct wire_request too_long = {.method = SLICE("POST"), .path = slice_of(path)};
    snprintf(path, sizeof path, "/v3/%sd/messages", domain);
    too_long.path = slice_of(path);
    ck_assert_int_eq(mailgun_connector.match(&too_long, &r.route), CALL_NONE);
}
END_TEST

static const struct {
    enum fault_kind kind;
    const char *message;
    int64_t retry_after_ms, now_ms;
    int status;
    const char *body;
} faults[] = {
    {FAULT_AUTH, "x", 0, 0, 401, "Forbidden"},
    {FAULT_FORBIDDEN, "", 0, 0, 403, "{\"message\":\"access forbidden\"}"},
    {FAULT_FORBIDDEN, "not this \"one\"", 0, 0, 403, "{\"message\":\"not this \\\"one\\\"\"}"},
    {FAULT_NOT_FOUND, "", 0, 0, 404, "{\"message\":\"not found\"}"},
    {FAULT_METHOD, "", 0, 0, 405, "{\"message\":\"method not allowed\"}"},
    {FAULT_TOO_LARGE, "", 0, 0, 413, "{\"message\":\"content too large\"}"},
    {FAULT_INTERNAL, "", 0, 0, 500, "{\"message\":\"the request could not be handled\"}"},
    {FAULT_OVERLOAD, "too many requests", 2000, NOW_MS, 429,
     "{\"message\":\"Domain mg.example.com is not allowed to send: request limit exceeded, try again after Sun, 22 Nov "
     "2026 10:01:03 UTC\",\"error\":\"PST-OVERLOAD\",\"postern\":{\"outcome\":\"refused\",\"code\":\"PST-OVERLOAD\"}}"},
    {FAULT_OVERLOAD, "too many requests", 1500, 0, 429,
     "{\"message\":\"Domain mg.example.com is not allowed to send: request limit exceeded, try again after 2 seconds\","
     "\"error\":\"PST-OVERLOAD\",\"postern\":{\"outcome\":\"refused\",\"code\":\"PST-OVERLOAD\"}}"},
    {FAULT_UPSTREAM_DOWN, "x", 30000, NOW_MS, 503,
     "{\"message\":\"upstream provider unavailable, message not "
     "accepted\",\"error\":\"PST-UPSTREAM-DOWN\",\"postern\":{"
     "\"outcome\":\"refused\",\"code\":\"PST-UPSTREAM-DOWN\"}}"},
    {FAULT_KEY_REUSED, "used before", 0, 0, 422,
     "{\"message\":\"used "
     "before\",\"error\":\"PST-KEY-REUSED\",\"postern\":{\"outcome\":\"refused\",\"code\":\"PST-KEY-"
     "REUSED\"}}"},
};

static enum err fault_reply(size_t row, const struct route *route, size_t arena_bytes, struct arena *a,
                            struct wire_reply *out)
{
    struct fault f = {
        .kind = faults[row].kind, .retry_after_ms = faults[row].retry_after_ms, .now_ms = faults[row].now_ms};
    errmsg_set(&f.message, "%s", faults[row].message);
    arena_init(a, arena_bytes);
    return mailgun_connector.fault_reply(&f, route, a, out);
}

START_TEST(fault_replies)
{
    struct route route = {.domain = SLICE("mg.example.com")};
    for (size_t i = 0; i < N_ELEMENTS(faults); i++) {
        struct arena a;
        struct wire_reply out;
        ck_assert_int_eq(fault_reply(i, &route, 1u << 20, &a, &out), OK);
        ck_assert_int_eq(out.status, faults[i].status);
        ck_assert_msg(slice_eq_cstr(out.body, faults[i].body), "%.*s", SLICE_ARG(out.body));
        const char *type =
            faults[i].kind == FAULT_AUTH ? "text/plain; charset=utf-8" : "application/json; charset=utf-8";
        ck_assert(slice_eq_cstr(wire_field_get(out.fields, out.n_fields, "Content-Type"), type));
        size_t used = a.used_bytes;
        arena_clear(&a);
        for (size_t bytes = 16; bytes < used; bytes += 16) {
            enum err err = fault_reply(i, &route, bytes, &a, &out);
            ck_assert(err == ERR_LIMIT || (err == OK && slice_eq_cstr(out.body, faults[i].body)));
            arena_clear(&a);
        }
    }
}
END_TEST

/* A call of the account has no domain to name. */
START_TEST(slow_down_without_a_domain)
{
    static const struct route none;
    const struct route *const routes[] = {NULL, &none};
    for (size_t i = 0; i < N_ELEMENTS(routes); i++) {
        struct arena a;
        struct wire_reply out;
        ck_assert_int_eq(fault_reply(8, routes[i], 1u << 20, &a, &out), OK);
        ck_assert(slice_starts(out.body, "{\"message\":\"Domain of this account is not allowed to send: "));
        arena_clear(&a);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connectors_mailgun");
    TCase *tcase = tcase_create("mailgun");
    tcase_set_timeout(tcase, 60); /* 25 MB under sanitizers */
    tcase_add_test(tcase, recipients);
    tcase_add_test(tcase, message_bytes);
    tcase_add_test(tcase, header_bytes);
    tcase_add_test(tcase, bare_lf_in_multipart);
    tcase_add_test(tcase, fingerprints);
    tcase_add_loop_test(tcase, every_subset, 0, (int)N_ELEMENTS(bodies));
    tcase_add_test(tcase, minted_ids);
    tcase_add_test(tcase, fault_replies);
    tcase_add_test(tcase, slow_down_without_a_domain);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

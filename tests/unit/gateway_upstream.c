/*
 * The egress seam on the wire: what a provider sees, byte for byte and how often,
 * and what the caller is told about it.
 */
#include "gateway_upstream_fake.h"

/* --- what goes out, what comes back --- */

START_TEST(answers_are_whole)
{
    struct fake *f = fake_start(0, FAKE_ANSWER,
                                "HTTP/1.1 100 Continue\r\nX-Message-Id: no\r\n\r\n"
                                "HTTP/1.1 201 Created\r\nX-Message-ID:  m7 \r\nTransfer-Encoding: chunked\r\n\r\n"
                                "3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Trailer: t\r\n\r\n");
    struct upstream *u = upstream_to(f->port, DEFAULTS);
    struct seen s;
    send_and_wait(u, request("POST", "x"), &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 201);
    ck_assert_str_eq(s.header, "m7");
    ck_assert_str_eq(s.body, "abcdefg");
    ck_assert_uint_eq(s.n_headers, 2);
    ck_assert(s.took_us > 0);
    upstream_free(&u);
}
END_TEST

START_TEST(bytes_on_the_wire)
{
    struct fake *f = fake_start(0, FAKE_ANSWER, OK_202);
    struct upstream *u = upstream_to(f->port, DEFAULTS);
    static const struct upstream_field fields[] = {
        {{"Authorization", 13}, {"Bearer k", 8}},
        {{"Content-Type", 12}, {"application/json", 16}},
        {{"X-Empty", 7}, {"", 0}},
        {{"X-Blank", 7}, {"  ", 2}},
        {{"Host", 4}, {"evil.example", 12}},
        {{"content-length", 14}, {"999", 3}},
        {{"Transfer-Encoding", 17}, {"chunked", 7}},
        {{"Connection", 10}, {"keep-alive, X-Hop", 17}},
        {{"x-hop", 5}, {"1", 1}},
        {{"Expect", 6}, {"100-continue", 12}},
        {{"TE", 2}, {"trailers", 8}},
        {{"User-Agent", 10}, {"sdk/1", 5}},
    };
    struct upstream_request req = request("POST", "{\"a\":1}");
    req.path_and_query = SLICE("/a/../b//%2e?q=[1]&x=%20'");
    req.headers = fields;
    req.n_headers = N_ELEMENTS(fields);
    struct seen s;
    send_and_wait(u, req, &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 202);
    char want[600];
    snprintf(want, sizeof want,
             "POST /a/../b//%%2e?q=[1]&x=%%20' HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAuthorization: Bearer k\r\n"
             "Content-Type: application/json\r\nX-Empty:\r\nX-Blank:\r\nUser-Agent: sdk/1\r\n"
             "Content-Length: 7\r\n\r\n{\"a\":1}",
             f->port);
    ck_assert_uint_eq(strlen(want), strlen(f->last));
    for (const char *line = want; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        char one[200];
        snprintf(one, sizeof one, "%.*s", (int)strcspn(line, "\n"), line);
        ck_assert_msg(strstr(f->last, one) != NULL, "no %s in %s", one, f->last);
    }
    upstream_free(&u);
}
END_TEST

START_TEST(methods_and_empty_bodies)
{
    static const struct {
        const char *method, *body, *want;
    } rows[] = {
        {"GET", "", "GET /v3/mail/send HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n"},
        {"POST", "", "POST /v3/mail/send HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Length: 0\r\n\r\n"},
        {"DELETE", "", "DELETE /v3/mail/send HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Length: 0\r\n\r\n"},
        {"PATCH", "ab", "PATCH /v3/mail/send HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Length: 2\r\n\r\nab"},
        {"GET", "ab", "GET /v3/mail/send HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Length: 2\r\n\r\nab"},
        {"PUT", "ab", "PUT /v3/mail/send HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Length: 2\r\n\r\nab"},
        {"GET", "", "GET /v3/mail/send HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n"},
    };
    struct fake *f = fake_start(0, FAKE_ANSWER, OK_202);
    struct upstream *u = upstream_to(f->port, DEFAULTS);
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct seen s;
        send_and_wait(u, request(rows[i].method, rows[i].body), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 202);
        char port[8], want[300];
        const char *u_at = strstr(rows[i].want, "%u");
        snprintf(port, sizeof port, "%u", f->port);
        snprintf(want, sizeof want, "%.*s%s%s", (int)(u_at - rows[i].want), rows[i].want, port, u_at + 2);
        ck_assert_str_eq(f->last, want);
    }
    ck_assert_int_eq(f->n_connections, 1);
    f->answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    struct seen s;
    send_and_wait(u, request("HEAD", ""), &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 200);
    upstream_free(&u);
}
END_TEST

START_TEST(redirects_and_proxies_are_not_followed)
{
    struct fake *f =
        fake_start(0, FAKE_ANSWER, "HTTP/1.1 307 Temporary Redirect\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    struct upstream *u = upstream_to(f->port, DEFAULTS);
    struct seen s;
    send_and_wait(u, request("POST", "x"), &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 307);
    ck_assert_int_eq(f->n_requests, 1);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    upstream_free(&u);
}
END_TEST

/* --- once --- */

/* The reason for this seam: libcurl by itself sends each second message twice here. */
START_TEST(reused_connection_that_dies_sends_once)
{
    static const struct {
        const char *method;
        size_t body_n;
    } rows[] = {{"POST", 10}, {"POST", 0}, {"POST", 200000}, {"PUT", 10}, {"DELETE", 0}, {"GET", 0}, {"GET", 5}};
    static char big[200001];
    memset(big, 'x', sizeof big - 1);
    struct fake *f = fake_start(0, FAKE_CLOSE_REUSED, OK_202);
    struct upstream_options opt = DEFAULTS;
    opt.pace.breaker_failures = 100;
    struct upstream *u = upstream_to(f->port, opt);
    int sent = 0, unknown = 0;
    for (size_t i = 0; i < N_ELEMENTS(rows) * 6; i++) {
        struct upstream_request req = request(rows[i / 6].method, "");
        struct seen s;
        req.body = (struct slice){big, rows[i / 6].body_n};
        send_and_wait(u, req, &s);
        sent++;
        ck_assert_msg(f->n_requests == sent, "%s of %zu: %d messages seen as %d", req.method, req.body.n, sent,
                      f->n_requests);
        if (s.status == UPSTREAM_ANSWERED)
            continue;
        expect(&s, UPSTREAM_UNKNOWN, "connection_lost", 0);
        unknown++;
    }
    ck_assert_int_eq(unknown, sent / 2);
    upstream_free(&u);
}
END_TEST

/* Whatever the provider does: sent once means seen once, not sent means never seen, and unknown never means twice. */
START_TEST(chaos_never_sends_twice)
{
    struct fake *f = fake_start(0, FAKE_CHAOS, OK_202);
    struct upstream_options opt = DEFAULTS;
    opt.pace.breaker_failures = UINT32_MAX;
    opt.pace.max_concurrency = 16;
    opt.max_queue = CHAOS_MESSAGES;
    opt.total_ms = 60000; /* no message's time is up before its turn comes, however slow the machine */
    struct upstream *u = upstream_to(f->port, opt);
    static struct seen seen[CHAOS_MESSAGES];
    static char bodies[CHAOS_MESSAGES][12];
    int n[3] = {0};
    for (int i = 0; i < CHAOS_MESSAGES; i++) {
        snprintf(bodies[i], sizeof bodies[i], "%d", i);
        send_one(u, request(i % 2 ? "POST" : "PUT", bodies[i]), &seen[i]);
    }
    for (int i = 0; i < CHAOS_MESSAGES; i++) {
        UNTIL(seen[i].calls > 0);
        n[seen[i].status]++;
    }
    run_for(20);
    for (int i = 0; i < CHAOS_MESSAGES; i++) {
        int low = seen[i].status == UPSTREAM_ANSWERED ? 1 : 0;
        int high = seen[i].status == UPSTREAM_NOT_SENT ? 0 : 1;
        ck_assert_int_eq(seen[i].calls, 1);
        ck_assert_msg(f->seen[i] >= low && f->seen[i] <= high, "message %d: %s, seen %d times", i, seen[i].reason,
                      f->seen[i]);
    }
    /* Each kind of ending came about, else this proves nothing. */
    ck_assert_int_gt(n[UPSTREAM_ANSWERED], CHAOS_MESSAGES / 3);
    ck_assert_int_gt(n[UPSTREAM_NOT_SENT], 0);
    ck_assert_int_gt(n[UPSTREAM_UNKNOWN], CHAOS_MESSAGES / 10);
    upstream_free(&u);
}
END_TEST

START_TEST(reads_may_be_repeated)
{
    struct fake *f = fake_start(0, FAKE_CLOSE_REUSED, OK_202);
    struct upstream *u = upstream_to(f->port, DEFAULTS);
    struct seen s;
    struct upstream_request req = request("GET", "");
    req.at_most_once = false;
    for (int i = 0; i < 4; i++) {
        send_and_wait(u, req, &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 202);
    }
    ck_assert_int_eq(f->n_requests, 7);
    req.method = "POST";
    send_and_wait(u, req, &s);
    expect(&s, UPSTREAM_UNKNOWN, "connection_lost", 0);
    ck_assert_int_eq(f->n_requests, 8);
    upstream_free(&u);
}
END_TEST

START_TEST(connection_closed_while_idle_is_replaced)
{
    struct fake *f = fake_start(0, FAKE_CLOSE_AFTER, OK_202);
    struct upstream *u = upstream_to(f->port, DEFAULTS);
    for (int i = 1; i <= 4; i++) {
        struct seen s;
        send_and_wait(u, request("POST", "x"), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 202);
        UNTIL(!f->connections[i - 1].bev);
        run_for(5);
        ck_assert_int_eq(f->n_requests, i);
    }
    ck_assert_int_eq(f->n_connections, 4);
    upstream_free(&u);
}
END_TEST

static void shut(void *arg)
{
    const struct fake_connection *c = arg;
    ck_assert_int_eq(shutdown(bufferevent_getfd(c->bev), SHUT_RDWR), 0);
}

/* The loop asks about all sockets, then the close comes, then the request leaves: all in one turn. */
START_TEST(connection_closed_in_this_turn_is_replaced)
{
    struct fake *f = fake_start(0, FAKE_ANSWER, OK_202);
    struct upstream *u = upstream_to(f->port, DEFAULTS);
    struct seen s;
    send_and_wait(u, request("POST", "x"), &s);
    run_for(5);
    ck_assert_ptr_nonnull(loop_defer(loop, shut, &f->connections[0]));
    send_and_wait(u, request("POST", "y"), &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 202);
    ck_assert_int_eq(f->n_connections, 2);
    upstream_free(&u);
}
END_TEST

/* --- not sent, unknown --- */

START_TEST(broken_answers_are_unknown)
{
    static const struct {
        enum fake_mode mode;
        const char *answer, *reason;
        int http_status;
    } rows[] = {
        {FAKE_CUT, "HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\nabc", "connection_lost", 202},
        {FAKE_CUT, "HTTP/1.1 202 Acc", "connection_lost", 0},
        {FAKE_CLOSE_AFTER, "HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\nabc", "answer_cut_short", 202},
        {FAKE_CLOSE_AFTER, "HTTP/1.1 202 Accepted\r\nContent-Type: appli", "answer_cut_short", 202},
        {FAKE_CLOSE_AFTER, "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "answer_cut_short",
         202},
        {FAKE_CLOSE_AFTER, "", "connection_lost", 0},
        {FAKE_CUT, "", "connection_lost", 0},
        {FAKE_CLOSE_AFTER, "+OK POP3 ready\r\n", "bad_answer", 0},
        {FAKE_ANSWER, "HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\nabc", "timeout", 202},
        {FAKE_STALL, "", "timeout", 0},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct fake *f = fake_start(0, rows[i].mode, rows[i].answer);
        struct upstream *u = upstream_to(f->port, DEFAULTS);
        struct upstream_request req = request("POST", "x");
        struct seen s;
        req.deadline_ms = strcmp(rows[i].reason, "timeout") == 0 ? 60 : 3000;
        send_and_wait(u, req, &s);
        ck_assert_msg(s.status == UPSTREAM_UNKNOWN, "row %zu: %d %s", i, (int)s.status, s.reason);
        ck_assert_msg(strcmp(s.reason, rows[i].reason) == 0, "row %zu: %s", i, s.reason);
        ck_assert_msg(s.http_status == rows[i].http_status, "row %zu: %d", i, s.http_status);
        ck_assert_int_eq(f->n_requests, 1);
        upstream_free(&u);
        fake_stop(f);
    }
}
END_TEST

START_TEST(answer_over_the_cap_is_unknown)
{
    static char answer[LIMIT_UPSTREAM_ANSWER_BYTES + 200];
    int head =
        snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", LIMIT_UPSTREAM_ANSWER_BYTES);
    memset(answer + head, 'b', LIMIT_UPSTREAM_ANSWER_BYTES);
    struct fake *f = fake_start(0, FAKE_ANSWER, answer);
    struct upstream *u = upstream_to(f->port, DEFAULTS);
    struct seen s;
    send_and_wait(u, request("POST", "x"), &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 200);
    ck_assert_uint_eq(s.body_n, LIMIT_UPSTREAM_ANSWER_BYTES);
    memset(answer + head, 'b', LIMIT_UPSTREAM_ANSWER_BYTES + 1);
    snprintf(answer, (size_t)head, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r", LIMIT_UPSTREAM_ANSWER_BYTES + 1);
    answer[head - 1] = '\n';
    send_and_wait(u, request("POST", "x"), &s);
    expect(&s, UPSTREAM_UNKNOWN, "answer_too_big", 200);
    upstream_free(&u);
}
END_TEST

START_TEST(nothing_listens)
{
    struct fake *f = fake_start(0, FAKE_ANSWER, OK_202);
    struct upstream *u = upstream_to(f->port, DEFAULTS);
    fake_stop(f);
    struct seen s;
    send_and_wait(u, request("POST", "x"), &s);
    expect(&s, UPSTREAM_NOT_SENT, "connect_failed", 0);
    upstream_free(&u);
}
END_TEST

START_TEST(no_tls_there)
{
    struct fake *f = fake_start(0, FAKE_CLOSE_AFTER, OK_202);
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%u", f->port);
    struct upstream *u = upstream_to(f->port, (struct upstream_options){.url = url, .total_ms = 100});
    struct seen s;
    send_and_wait(u, request("POST", "x\r\n\r\n"), &s);
    ck_assert_int_eq(s.status, UPSTREAM_NOT_SENT);
    upstream_free(&u);
}
END_TEST

static bool never_mind(void *arg)
{
    (*(int *)arg)++;
    return false;
}

START_TEST(what_is_withdrawn_at_the_first_byte_is_not_sent)
{
    enum { TRIES = 12 }; /* more than the failures that open the breaker: it says nothing about the provider */
    struct fake *f = fake_start(0, FAKE_ANSWER, OK_202);
    struct upstream *u = upstream_to(f->port, DEFAULTS);
    struct upstream_state state;
    struct seen s;
    int asked = 0;
    for (int i = 0; i < TRIES; i++) {
        struct upstream_request r = request("POST", "x");
        r.may_write = never_mind;
        r.may_write_arg = &asked;
        send_and_wait(u, r, &s);
        expect(&s, UPSTREAM_NOT_SENT, "withdrawn", 0);
    }
    ck_assert_int_eq(asked, TRIES);
    ck_assert_int_eq(f->n_requests, 0);
    upstream_state(u, &state);
    ck_assert_int_eq(state.breaker, UPSTREAM_BREAKER_CLOSED);
    send_and_wait(u, request("POST", "x"), &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 202);
    ck_assert_int_eq(f->n_requests, 1);
    upstream_free(&u);
}
END_TEST

START_TEST(name_does_not_resolve)
{
    struct upstream *u =
        upstream_to(1, (struct upstream_options){.url = "http://no-such-host.invalid", .total_ms = 4000});
    struct seen s;
    send_and_wait(u, request("POST", "x"), &s);
    ck_assert_int_eq(s.status, UPSTREAM_NOT_SENT);
    /* Giving up while a look-up runs must not wait for it. */
    struct upstream_op *op = send_one(u, request("POST", "x"), &s);
    loop_turn(loop, false);
    upstream_op_cancel(&op);
    upstream_free(&u);
}
END_TEST

int main(void)
{
    log_set_level(LOG_ERROR_);
    Suite *suite = suite_create("gateway_upstream");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, answers_are_whole);
    tcase_add_test(t, bytes_on_the_wire);
    tcase_add_test(t, methods_and_empty_bodies);
    tcase_add_test(t, redirects_and_proxies_are_not_followed);
    tcase_add_test(t, reused_connection_that_dies_sends_once);
    tcase_add_test(t, chaos_never_sends_twice);
    tcase_add_test(t, reads_may_be_repeated);
    tcase_add_test(t, connection_closed_while_idle_is_replaced);
    tcase_add_test(t, connection_closed_in_this_turn_is_replaced);
    tcase_add_test(t, broken_answers_are_unknown);
    tcase_add_test(t, answer_over_the_cap_is_unknown);
    tcase_add_test(t, nothing_listens);
    tcase_add_test(t, no_tls_there);
    tcase_add_test(t, what_is_withdrawn_at_the_first_byte_is_not_sent);
    tcase_add_test(t, name_does_not_resolve);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

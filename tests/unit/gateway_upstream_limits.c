/*
 * What the egress seam refuses and holds back: addresses, options, injections,
 * pauses, breaker, slots; and ops that are cancelled or freed.
 */
#include "gateway_upstream_fake.h"

/* --- where to --- */

START_TEST(names_may_not_stand_for_private_addresses)
{
    struct fake *f = fake_start(0, FAKE_ANSWER, OK_202);
    static const char *const addresses[] = {"127.0.0.1", "[::ffff:127.0.0.1]", "[::1]",     "0.0.0.0",
                                            "10.0.0.1",  "169.254.169.254",    "[fe80::1]", "[fd00::1]"};
    char url[64], resolve[100];
    struct seen s;
    snprintf(url, sizeof url, "http://provider.test:%u", f->port);
    for (size_t i = 0; i < N_ELEMENTS(addresses); i++) {
        snprintf(resolve, sizeof resolve, "provider.test:%u:%s", f->port, addresses[i]);
        struct upstream *u = upstream_to(f->port, (struct upstream_options){.url = url, .resolve = resolve});
        send_and_wait(u, request("POST", "x"), &s);
        expect(&s, UPSTREAM_NOT_SENT, "address_refused", 0);
        upstream_free(&u);
    }
    ck_assert_int_eq(f->n_connections, 0);
    snprintf(resolve, sizeof resolve, "provider.test:%u:127.0.0.1", f->port);
    struct upstream_options named = {.url = url, .resolve = resolve, .allow_private = true};
    struct upstream *u = upstream_to(f->port, named);
    send_and_wait(u, request("POST", "x"), &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 202);
    upstream_free(&u);
}
END_TEST

START_TEST(options_are_checked)
{
    static const char *const bad[] = {
        "",
        "api.example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "http://user@127.0.0.1",
        "http://127.0.0.1/path",
        "http://127.0.0.1/?q",
        "http://127.0.0.1/#f",
        "http://127.1",
        "http://2130706433",
        "http://0x7f.1",
        "http://0177.0.0.1",
        "http://127.0.0.1:0",
        "http://127.0.0.1:99999",
        "http://a b",
        "http://a\r\nb",
        "http:///x",
    };
    struct errmsg e;
    for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
        e.text[0] = '\0';
        struct upstream *u = upstream_new(loop, &(struct upstream_options){.name = "x", .url = bad[i]}, &e);
        ck_assert_msg(u == NULL, "%s was taken", bad[i]);
        ck_assert_ptr_nonnull(strstr(e.text, "https://api.example.com"));
    }
    struct upstream_options no_ca = {.name = "x", .url = "https://api.example.com", .ca_file = "/no/such"};
    ck_assert_ptr_null(upstream_new(loop, &no_ca, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "/no/such"));
    static const char *const good[] = {"https://api.sendgrid.com", "https://API.sendgrid.com/", "http://[::1]:8025",
                                       "http://localhost:1"};
    for (size_t i = 0; i < N_ELEMENTS(good); i++) {
        struct upstream *u = upstream_new(loop, &(struct upstream_options){.name = "x", .url = good[i]}, &e);
        ck_assert_msg(u != NULL, "%s: %s", good[i], e.text);
        upstream_free(&u);
    }
}
END_TEST

START_TEST(injections_never_leave)
{
    static const struct {
        const char *method;
        struct slice target, name, value;
    } rows[] = {
        {"POST", SLICE("/a"), SLICE("X-A"), SLICE("b\r\nX-Injected: yes")},
        {"POST", SLICE("/a"), SLICE("X-A"), SLICE("b\nX")},
        {"POST", SLICE("/a"), SLICE("X-A"), SLICE("b\0c")},
        {"POST", SLICE("/a"), SLICE("X-A"), SLICE("b\x7f")},
        {"POST", SLICE("/a"), SLICE("X-A"), SLICE("b\xff")},
        {"POST", SLICE("/a"), SLICE("X-A\r\nB"), SLICE("c")},
        {"POST", SLICE("/a"), SLICE("X A"), SLICE("c")},
        {"POST", SLICE("/a"), SLICE("X-A:"), SLICE("c")},
        {"POST", SLICE("/a"), SLICE(""), SLICE("c")},
        {"POST", SLICE("/a\r\nX: y"), SLICE("X"), SLICE("c")},
        {"POST", SLICE("/a b"), SLICE("X"), SLICE("c")},
        {"POST", SLICE("/a\0b"), SLICE("X"), SLICE("c")},
        {"POST", SLICE("/a#f"), SLICE("X"), SLICE("c")},
        {"POST", SLICE("/\xc3\xa9"), SLICE("X"), SLICE("c")},
        {"POST", SLICE("http://evil.example/"), SLICE("X"), SLICE("c")},
        {"POST", SLICE(""), SLICE("X"), SLICE("c")},
        {"PO ST", SLICE("/a"), SLICE("X"), SLICE("c")},
        {"POST /x HTTP/1.1\r\nA:", SLICE("/a"), SLICE("X"), SLICE("c")},
        {"", SLICE("/a"), SLICE("X"), SLICE("c")},
    };
    struct fake *f = fake_start(0, FAKE_ANSWER, OK_202);
    struct upstream *u = upstream_to(f->port, DEFAULTS);
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct upstream_field field = {rows[i].name, rows[i].value};
        struct upstream_request req = {.method = rows[i].method,
                                       .path_and_query = rows[i].target,
                                       .headers = &field,
                                       .n_headers = 1,
                                       .at_most_once = true};
        struct seen s;
        send_and_wait(u, req, &s);
        ck_assert_msg(s.status == UPSTREAM_NOT_SENT && strcmp(s.reason, "bad_request") == 0, "row %zu: %s", i,
                      s.reason);
    }
    ck_assert_int_eq(f->n_connections, 0);
    upstream_free(&u);
}
END_TEST

/* --- pace --- */

START_TEST(retry_after_pauses)
{
    char reset[200], date[200];
    snprintf(reset, sizeof reset, "HTTP/1.1 429 Too Many\r\nX-RateLimit-Reset: %lld\r\nContent-Length: 0\r\n\r\n",
             (long long)clock_wall_ms() / 1000 + 3);
    snprintf(date, sizeof date,
             "HTTP/1.1 429 Too Many\r\nRetry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n");
    const struct {
        const char *answer;
        int http_status;
        int64_t low_ms, high_ms;
    } rows[] = {
        {"HTTP/1.1 429 Too Many\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n", 429, 1000, 2000},
        {"HTTP/1.1 503 Busy\r\nretry-after: 2\r\nContent-Length: 0\r\n\r\n", 503, 1000, 2000},
        {reset, 429, 1000, 3000},
        {date, 429, 290000, 300000},
        {"HTTP/1.1 429 Too Many\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", 429, 0, 0},
        {"HTTP/1.1 202 OK\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n", 202, 0, 0},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct fake *f = fake_start(0, FAKE_ANSWER, rows[i].answer);
        struct upstream *u = upstream_to(f->port, DEFAULTS);
        struct upstream_state state;
        struct seen s;
        send_and_wait(u, request("POST", "x"), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", rows[i].http_status);
        upstream_state(u, &state);
        ck_assert_msg(state.paused_ms >= rows[i].low_ms && state.paused_ms <= rows[i].high_ms, "row %zu: %lld", i,
                      (long long)state.paused_ms);
        if (rows[i].high_ms > 0) {
            ck_assert(s.retry_after_ms >= rows[i].low_ms);
            send_and_wait(u, request("POST", "x"), &s);
            expect(&s, UPSTREAM_NOT_SENT, "paused", 0);
            ck_assert(s.retry_after_ms >= rows[i].low_ms - 500 && s.retry_after_ms <= rows[i].high_ms);
            ck_assert_int_eq(f->n_requests, 1);
        }
        upstream_free(&u);
        fake_stop(f);
    }
}
END_TEST

START_TEST(breaker_opens_and_closes)
{
    struct fake *f = fake_start(0, FAKE_ANSWER, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
    struct upstream *u = upstream_to(f->port, (struct upstream_options){.total_ms = 3000, .pace.breaker_open_ms = 80});
    struct upstream_state state;
    struct seen s;
    for (int i = 0; i < 5; i++) {
        send_and_wait(u, request("POST", "x"), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 500);
    }
    upstream_state(u, &state);
    ck_assert_int_eq(state.breaker, UPSTREAM_BREAKER_OPEN);
    send_and_wait(u, request("POST", "x"), &s);
    expect(&s, UPSTREAM_NOT_SENT, "breaker_open", 0);
    ck_assert(s.retry_after_ms > 0 && s.retry_after_ms <= 80);
    ck_assert_int_eq(f->n_requests, 5);
    run_for(90);
    f->answer = OK_202;
    struct seen second;
    send_one(u, request("POST", "x"), &s);
    send_and_wait(u, request("POST", "x"), &second);
    expect(&second, UPSTREAM_NOT_SENT, "breaker_open", 0);
    UNTIL(s.calls == 1);
    expect(&s, UPSTREAM_ANSWERED, "answered", 202);
    upstream_state(u, &state);
    ck_assert_int_eq(state.breaker, UPSTREAM_BREAKER_CLOSED);
    ck_assert_uint_eq(state.answered, 6);
    ck_assert_uint_eq(state.not_sent, 2);
    ck_assert_uint_eq(state.in_flight, 0);
    upstream_free(&u);
}
END_TEST

START_TEST(concurrency_and_queue_are_bounded)
{
    struct fake *f = fake_start(0, FAKE_STALL, OK_202);
    struct upstream *u =
        upstream_to(f->port, (struct upstream_options){.total_ms = 3000, .max_queue = 5, .pace.max_concurrency = 2});
    struct seen s[6];
    for (int i = 0; i < 6; i++)
        send_one(u, request("POST", "x"), &s[i]);
    UNTIL(s[5].calls == 1);
    expect(&s[5], UPSTREAM_NOT_SENT, "queue_full", 0);
    UNTIL(f->n_waiting == 2);
    run_for(20);
    struct upstream_state state;
    upstream_state(u, &state);
    ck_assert_uint_eq(state.in_flight, 2);
    ck_assert_uint_eq(state.queued, 3);
    while (f->n_requests < 5) {
        int before = f->n_requests;
        fake_release(f);
        UNTIL(f->n_requests > before);
    }
    fake_release(f);
    UNTIL(s[0].calls && s[1].calls && s[2].calls && s[3].calls && s[4].calls);
    ck_assert_int_eq(f->max_waiting, 2);
    ck_assert_int_eq(f->n_connections, 2);
    upstream_free(&u);
}
END_TEST

START_TEST(pacing_spreads)
{
    struct fake *f = fake_start(0, FAKE_ANSWER, OK_202);
    struct upstream *u =
        upstream_to(f->port, (struct upstream_options){.total_ms = 3000, .pace.rate_per_s = 50, .pace.burst = 2});
    struct seen s[5];
    int64_t began_ms = clock_mono_ms();
    for (int i = 0; i < 5; i++)
        send_one(u, request("POST", "x"), &s[i]);
    UNTIL(s[1].calls);
    ck_assert_int_eq(s[2].calls, 0);
    UNTIL(s[4].calls);
    ck_assert(clock_mono_ms() - began_ms >= 59);
    ck_assert_int_eq(f->n_requests, 5);
    upstream_free(&u);
}
END_TEST

START_TEST(hanging_provider_does_not_hold_another)
{
    struct fake *a = fake_start(0, FAKE_STALL, OK_202);
    struct fake *b = fake_start(1, FAKE_ANSWER, OK_202);
    struct upstream *ua = upstream_to(a->port, (struct upstream_options){.pace.max_concurrency = 2});
    struct upstream *ub = upstream_to(b->port, DEFAULTS);
    struct seen hang[10], s;
    for (int i = 0; i < 10; i++)
        send_one(ua, request("POST", "x"), &hang[i]);
    UNTIL(a->n_waiting == 2);
    for (int i = 0; i < 50; i++) {
        send_and_wait(ub, request("POST", "x"), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 202);
        ck_assert(s.took_us < 1000000);
    }
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(hang[i].calls, 0);
    upstream_free(&ua);
    upstream_free(&ub);
}
END_TEST

/* --- ops --- */

START_TEST(cancelled_ops_do_not_call_back)
{
    struct fake *f = fake_start(0, FAKE_STALL, OK_202);
    struct upstream *u = upstream_to(f->port, (struct upstream_options){.total_ms = 40, .pace.max_concurrency = 1});
    struct seen flying, queued, early, bad;
    struct upstream_op *op_flying = send_one(u, request("POST", "x"), &flying);
    struct upstream_op *op_queued = send_one(u, request("POST", "x"), &queued);
    struct upstream_op *op_early = send_one(u, request("POST", "x"), &early);
    struct upstream_op *op_bad = send_one(u, request("", "x"), &bad);
    ck_assert(!upstream_op_sent(op_flying));
    upstream_op_cancel(&op_early);
    upstream_op_cancel(&op_bad);
    ck_assert_ptr_null(op_early);
    UNTIL(f->n_waiting == 1);
    ck_assert(upstream_op_sent(op_flying));
    ck_assert(!upstream_op_sent(op_queued));
    upstream_op_cancel(&op_queued);
    upstream_op_cancel(&op_flying);
    upstream_op_cancel(&op_flying);
    run_for(80);
    ck_assert_int_eq(flying.calls + queued.calls + early.calls + bad.calls, 0);
    struct upstream_state state;
    upstream_state(u, &state);
    ck_assert_uint_eq(state.in_flight + state.queued, 0);
    f->mode = FAKE_ANSWER;
    send_and_wait(u, request("POST", "x"), &flying);
    expect(&flying, UPSTREAM_ANSWERED, "answered", 202);
    upstream_free(&u);
}
END_TEST

struct resend {
    struct upstream *u;
    int left;
    int calls;
};

static void on_result_send_again(void *arg, const struct upstream_result *r)
{
    struct resend *again = arg;
    (void)r;
    again->calls++;
    if (again->left-- > 0)
        ignore(upstream_send(again->u, &(struct upstream_request){.method = "POST", .path_and_query = SLICE("/")},
                             on_result_send_again, again)); /* the callback is all that is wanted */
}

START_TEST(callbacks_may_send)
{
    struct fake *f = fake_start(0, FAKE_ANSWER, OK_202);
    struct resend again = {.u = upstream_to(f->port, DEFAULTS), .left = 20};
    on_result_send_again(&again, NULL);
    UNTIL(again.calls == 21);
    ck_assert_int_eq(f->n_requests, 20);
    upstream_free(&again.u);
}
END_TEST

START_TEST(freeing_with_ops_under_way)
{
    struct fake *f = fake_start(0, FAKE_STALL, OK_202);
    struct upstream *u = upstream_to(f->port, (struct upstream_options){.pace.max_concurrency = 2});
    struct seen s[4];
    for (int i = 0; i < 4; i++)
        send_one(u, request("POST", "x"), &s[i]);
    UNTIL(f->n_waiting == 2);
    upstream_free(&u);
    ck_assert_ptr_null(u);
    UNTIL(f->n_waiting == 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(s[i].calls, 0);
}
END_TEST

int main(void)
{
    log_set_level(LOG_ERROR_);
    Suite *suite = suite_create("gateway_upstream_limits");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, names_may_not_stand_for_private_addresses);
    tcase_add_test(t, options_are_checked);
    tcase_add_test(t, injections_never_leave);
    tcase_add_test(t, retry_after_pauses);
    tcase_add_test(t, breaker_opens_and_closes);
    tcase_add_test(t, concurrency_and_queue_are_bounded);
    tcase_add_test(t, pacing_spreads);
    tcase_add_test(t, hanging_provider_does_not_hold_another);
    tcase_add_test(t, cancelled_ops_do_not_call_back);
    tcase_add_test(t, callbacks_may_send);
    tcase_add_test(t, freeing_with_ops_under_way);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

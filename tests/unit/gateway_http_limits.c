/* The HTTP listener on real sockets: deadlines of clients, caps on connections, bytes and descriptors. */
#include "tests/unit/gateway_http_client.h"

#include <sys/resource.h>

#include "postern/clock.h"

static void on_dribble(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    bufferevent_write(arg, "x", 1);
}

/* A byte now and then does not help: the deadline of a head is absolute, a body has a minimum rate. */
static void slow_client(const char *begin, struct http_listen_options o, const char *expected)
{
    start(o);
    int64_t since_ms = clock_mono_ms();
    struct client *c = client_new();
    say(c, begin);
    struct event *dribble = event_new(base, -1, EV_PERSIST, on_dribble, c->bev);
    event_add(dribble, &(struct timeval){.tv_usec = 20000});
    WAIT(c->closed);
    event_free(dribble);
    ck_assert_int_ge(clock_mono_ms() - since_ms, 140);
    ck_assert_msg(expected[0] == '\0' ? c->n == 0 : has(c, expected), "%s", c->text);
    client_free(c);
    ck_assert_uint_eq(http_listener_counters(listener)->requests, 0);
    ck_assert_uint_eq(http_listener_counters(listener)->inflight_bytes, 0);
    stop();
}

START_TEST(test_slow_head)
{
    slow_client("GET / HTTP/1.1\r\nHo", (struct http_listen_options){.head_ms = 150}, "HTTP/1.1 408 Request Timeout");
}
END_TEST

START_TEST(test_slow_body)
{
    slow_client("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n",
                (struct http_listen_options){.body_window_ms = 150}, "\"reason\":\"body_too_slow\"");
}
END_TEST

/* 8 bytes a window are wanted, 40 come: a machine that stands still for a third of a second is borne. */
START_TEST(test_body_fast_enough)
{
    start((struct http_listen_options){.body_window_ms = 400, .body_min_bytes_s = 20});
    int64_t since_ms = clock_mono_ms();
    struct client *c = client_new();
    say(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
    struct event *dribble = event_new(base, -1, EV_PERSIST, on_dribble, c->bev);
    event_add(dribble, &(struct timeval){.tv_usec = 10000});
    WAIT(user.n == 1);
    event_free(dribble);
    ck_assert_int_ge(clock_mono_ms() - since_ms, 800); /* over several windows */
    ck_assert_uint_eq(user.kept[0]->body.n, 100);
    reply_text(user.kept[0], 200, "ok");
    WAIT(has(c, "\r\n\r\nok"));
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_idle)
{
    user.at_once = true;
    start((struct http_listen_options){.idle_ms = 60});
    struct client *fresh = client_new(), *used = client_new();
    say(used, GET "\r\n");
    WAIT(fresh->closed && used->closed);
    ck_assert_uint_eq(fresh->n, 0);
    ck_assert(has(used, "200 OK") && !has(used, "408"));
    ck_assert_uint_eq(faults(HTTP_FAULT_IDLE_TIMEOUT), 2);
    client_free(fresh);
    client_free(used);
    stop();
}
END_TEST

/* While the user works the client may wait longer than any deadline of reading. */
START_TEST(test_slow_user)
{
    start((struct http_listen_options){.idle_ms = 30, .head_ms = 30, .body_window_ms = 30});
    struct client *c = client_new();
    say(c, GET);
    WAIT(user.n == 1);
    int64_t since_ms = clock_mono_ms();
    struct event *tick = event_new(base, -1, EV_PERSIST, on_guard, &(bool){false});
    event_add(tick, &(struct timeval){.tv_usec = 10000});
    WAIT(clock_mono_ms() - since_ms > 120);
    event_free(tick);
    reply_text(user.kept[0], 200, "late");
    WAIT(has(c, "late"));
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_connection_cap)
{
    start((struct http_listen_options){.max_connections = 1, .linger_ms = 50});
    struct client *first = client_new();
    WAIT(http_listener_counters(listener)->open == 1);
    struct client *second = client_new();
    say(second, GET);
    WAIT(second->closed);
    ck_assert(has(second, "HTTP/1.1 503 Service Unavailable\r\n"));
    ck_assert(has(second, "Retry-After: 5\r\n"));
    ck_assert_uint_eq(faults(HTTP_FAULT_TOO_MANY_CONNECTIONS), 1);
    client_free(second);
    WAIT(http_listener_counters(listener)->open == 1);
    say(first, GET);
    WAIT(user.n == 1);
    reply_text(user.kept[0], 200, "ok");
    WAIT(has(first, "ok"));
    client_free(first);
    WAIT(http_listener_counters(listener)->open == 0);
    struct client *third = client_new();
    say(third, GET);
    WAIT(user.n == 2);
    client_free(third);
    reply_text(user.kept[1], 200, "to nobody");
    stop();
}
END_TEST

START_TEST(test_inflight_cap)
{
    start((struct http_listen_options){.max_inflight_bytes = 200000});
    struct client *a = client_new(), *b = client_new(), *c = client_new(), *d = client_new();
    say_body(a, 150000, false);
    WAIT(user.n == 1);
    ck_assert_uint_eq(user.kept[0]->body.n, 150000);
    ck_assert_uint_eq(http_listener_counters(listener)->inflight_bytes, 150000);
    say_body(b, 60000, false); /* known at once */
    say_body(c, 60000, true);  /* noticed as it comes */
    WAIT(b->closed && c->closed);
    ck_assert(has(b, "503 Service Unavailable") && has(b, "Retry-After: 5\r\n") && has(b, "too_many_bytes"));
    ck_assert(has(c, "503 Service Unavailable"));
    reply_text(user.kept[0], 200, "ok");
    ck_assert_uint_eq(http_listener_counters(listener)->inflight_bytes, 0);
    say_body(d, 60000, true);
    WAIT(user.n == 2);
    ck_assert_uint_eq(user.kept[1]->body.n, 60000);
    for (size_t i = 0; i < 60000; i++) {
        ck_assert_int_eq(user.kept[1]->body.p[i], 'b');
    }
    reply_text(user.kept[1], 200, "ok");
    WAIT(has(a, "ok") && has(d, "ok"));
    client_free(a);
    client_free(b);
    client_free(c);
    client_free(d);
    stop();
}
END_TEST

START_TEST(test_unread_reply)
{
    start((struct http_listen_options){.write_ms = 150});
    struct client *c = client_new();
    bufferevent_disable(c->bev, EV_READ);
    say(c, GET);
    WAIT(user.n == 1);
    size_t n = 64u << 20; /* more than the sockets' buffers take */
    char *big = xcalloc(1, n);
    http_reply(user.kept[0], &(struct http_reply){.status = 200, .body = {big, n}});
    free(big);
    ck_assert_uint_eq(http_listener_counters(listener)->open, 1);
    WAIT(http_listener_counters(listener)->open == 0);
    ck_assert_uint_eq(faults(HTTP_FAULT_WRITE_TIMEOUT), 1);
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_descriptors_run_out)
{
    user.at_once = true;
    start((struct http_listen_options){0});
    struct client *c = client_new();
    struct rlimit before, low;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    close(next);
    low = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    say(c, GET);
    WAIT(faults(HTTP_FAULT_FDS_EXHAUSTED) == 2);
    ck_assert_uint_eq(http_listener_counters(listener)->open, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    WAIT(has(c, "200 OK"));
    ck_assert_uint_le(faults(HTTP_FAULT_FDS_EXHAUSTED), 3);
    client_free(c);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const list[] = {test_slow_head,    test_slow_body,    test_body_fast_enough,
                                 test_idle,         test_slow_user,    test_connection_cap,
                                 test_inflight_cap, test_unread_reply, test_descriptors_run_out};
    return run_tests("gateway_http_limits", list, N_ELEMENTS(list));
}

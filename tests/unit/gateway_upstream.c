/*
 * The egress seam against a fake provider that lives in the same loop: what it
 * saw, byte for byte, and what the caller was told.  The fake misbehaves as real
 * ones do: closes reused connections, stalls, resets, cuts answers short.
 */
#include "gateway/upstream.h"

#include <arpa/inet.h>
#include <check.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/loop.h"
#include "postern/clock.h"
#include "postern/log.h"

/* --- the fake provider --- */

enum fake_mode {
    FAKE_ANSWER,       /* .answer, connection kept */
    FAKE_CLOSE_REUSED, /* .answer to the first request of a connection; the second is read whole, then closed on */
    FAKE_CLOSE_AFTER,  /* .answer, then close without having said so */
    FAKE_STALL,        /* read, never answer; fake_release() answers all that wait */
    FAKE_CUT,          /* .answer, then reset */
    FAKE_CHAOS         /* any of these, and resets without an answer, by .dice */
};

#define OK_202          "HTTP/1.1 202 Accepted\r\nX-Message-Id: m1\r\nContent-Length: 0\r\n\r\n"
#define MAX_CONNECTIONS 4000
#define CHAOS_MESSAGES  3000

struct fake_connection {
    struct fake *fake;
    struct bufferevent *bev;
    int requests;
    bool waiting;
};

struct fake {
    enum fake_mode mode;
    const char *answer;
    struct evconnlistener *listener;
    struct loop_task *reopen;
    uint16_t port;
    struct fake_connection connections[MAX_CONNECTIONS];
    int n_connections;
    int n_requests;
    int n_waiting;
    int max_waiting;
    uint32_t dice;
    uint8_t seen[CHAOS_MESSAGES]; /* how often the message whose body is that number was read whole */
    char last[300000];            /* the last request, whole */
    size_t last_n;
};

static struct loop *loop;
static struct fake fakes[2];

static void fake_close(struct fake_connection *c, bool reset)
{
    if (!c->bev)
        return;
    if (reset) {
        struct linger now = {.l_onoff = 1};
        setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    if (c->waiting)
        c->fake->n_waiting--;
    c->waiting = false;
    bufferevent_free(c->bev);
    c->bev = NULL;
}

static void fake_close_flushed(struct bufferevent *bev, void *arg)
{
    struct fake_connection *c = arg;
    (void)bev;
    fake_close(c, c->fake->mode == FAKE_CUT);
}

static void fake_reply(struct fake_connection *c)
{
    bufferevent_write(c->bev, c->fake->answer, strlen(c->fake->answer));
}

/* A small linear congruence: the same chaos each time. */
static uint32_t fake_roll(struct fake *f, uint32_t sides)
{
    f->dice = f->dice * 1664525u + 1013904223u;
    return (f->dice >> 16) % sides;
}

static void fake_chaos(struct fake_connection *c)
{
    struct fake *f = c->fake;
    f->seen[strtoul(strstr(f->last, "\r\n\r\n") + 4, NULL, 10)]++;
    uint32_t roll = fake_roll(f, 20);
    if (roll < 12) {
        fake_reply(c);
    } else if (roll < 15) {
        fake_close(c, roll == 12);
    } else if (roll < 18) {
        bufferevent_setcb(c->bev, NULL, fake_close_flushed, NULL, c);
        fake_reply(c);
    } else {
        static const char part[] = "HTTP/1.1 202 Acc";
        bufferevent_setcb(c->bev, NULL, fake_close_flushed, NULL, c);
        bufferevent_write(c->bev, part, sizeof part - 1);
    }
}

static void fake_request(struct fake_connection *c)
{
    struct fake *f = c->fake;
    f->n_requests++;
    c->requests++;
    switch (f->mode) {
    case FAKE_ANSWER:
        fake_reply(c);
        break;
    case FAKE_CLOSE_REUSED:
        if (c->requests == 1)
            fake_reply(c);
        else
            fake_close(c, false);
        break;
    case FAKE_CLOSE_AFTER:
    case FAKE_CUT:
        if (f->answer[0] == '\0') {
            fake_close(c, f->mode == FAKE_CUT);
            break;
        }
        bufferevent_setcb(c->bev, NULL, fake_close_flushed, NULL, c);
        fake_reply(c);
        break;
    case FAKE_STALL:
        c->waiting = true;
        if (++f->n_waiting > f->max_waiting)
            f->max_waiting = f->n_waiting;
        break;
    case FAKE_CHAOS:
        fake_chaos(c);
        break;
    }
}

/* Whole requests only: what comes after a head that is never completed is not a message. */
static void fake_on_read(struct bufferevent *bev, void *arg)
{
    struct fake_connection *c = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    while (c->bev) {
        struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
        if (end.pos < 0)
            return;
        size_t head = (size_t)end.pos + 4;
        char *bytes = (char *)evbuffer_pullup(in, (ssize_t)head);
        char *length = memmem(bytes, head, "Content-Length: ", 16);
        size_t total = head + (length ? strtoul(length + 16, NULL, 10) : 0);
        if (evbuffer_get_length(in) < total)
            return;
        ck_assert(total < sizeof c->fake->last);
        evbuffer_remove(in, c->fake->last, total);
        c->fake->last[total] = '\0';
        c->fake->last_n = total;
        fake_request(c);
    }
}

static void fake_on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    (void)what;
    fake_close(arg, false);
}

static void fake_listen(void *arg);

static void fake_on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int n, void *arg)
{
    struct fake *f = arg;
    (void)l;
    (void)sa;
    (void)n;
    ck_assert(f->n_connections < MAX_CONNECTIONS);
    struct fake_connection *c = &f->connections[f->n_connections++];
    *c = (struct fake_connection){.fake = f};
    c->bev = bufferevent_socket_new(loop_base(loop), fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(c->bev, fake_on_read, NULL, fake_on_event, c);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    if (f->mode == FAKE_CHAOS && fake_roll(f, 10) == 0)
        fake_close(c, true);
    if (f->mode == FAKE_CHAOS && fake_roll(f, 50) == 0) {
        evconnlistener_free(l); /* connections are refused for a while */
        f->listener = NULL;
        f->reopen = loop_after(loop, 1, fake_listen, f);
    }
}

static void fake_listen(void *arg)
{
    struct fake *f = arg;
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    f->reopen = NULL;
    f->listener = evconnlistener_new_bind(loop_base(loop), fake_on_accept, f, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE,
                                          16, (struct sockaddr *)&in, (int)n);
    ck_assert_ptr_nonnull(f->listener);
    ck_assert_int_eq(getsockname(evconnlistener_get_fd(f->listener), (struct sockaddr *)&in, &n), 0);
    f->port = ntohs(in.sin_port);
}

static struct fake *fake_start(int at, enum fake_mode mode, const char *answer)
{
    struct fake *f = &fakes[at];
    memset(f, 0, sizeof *f);
    f->mode = mode;
    f->answer = answer;
    fake_listen(f);
    return f;
}

static void fake_release(struct fake *f)
{
    for (int i = 0; i < f->n_connections; i++) {
        if (!f->connections[i].waiting)
            continue;
        f->connections[i].waiting = false;
        f->n_waiting--;
        fake_reply(&f->connections[i]);
    }
}

static void fake_stop(struct fake *f)
{
    for (int i = 0; i < f->n_connections; i++)
        fake_close(&f->connections[i], false);
    loop_cancel(&f->reopen);
    if (f->listener)
        evconnlistener_free(f->listener);
    f->listener = NULL;
}

/* --- the caller's side --- */

struct seen {
    int calls;
    enum upstream_status status;
    char reason[40];
    int http_status;
    char header[100]; /* X-Message-Id */
    char body[200];
    size_t body_n;
    size_t n_headers;
    int64_t retry_after_ms;
    int64_t took_us;
};

static void on_result(void *arg, const struct upstream_result *r)
{
    struct seen *s = arg;
    s->calls++;
    s->status = r->status;
    snprintf(s->reason, sizeof s->reason, "%s", r->reason);
    s->http_status = r->http_status;
    struct slice id = upstream_result_header(r, "x-message-id");
    snprintf(s->header, sizeof s->header, "%.*s", SLICE_ARG(id));
    s->body_n = r->body.n;
    snprintf(s->body, sizeof s->body, "%.*s", r->body.n < 199 ? (int)r->body.n : 199, r->body.n ? r->body.p : "");
    s->n_headers = r->n_headers;
    s->retry_after_ms = r->retry_after_ms;
    s->took_us = r->took_us;
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

/* Turns until cond holds; 5 s at most. */
#define UNTIL(cond)                                                                                                    \
    do {                                                                                                               \
        bool late_ = false;                                                                                            \
        struct loop_task *guard_ = loop_after(loop, 5000, set_flag, &late_);                                           \
        while (!(cond) && !late_)                                                                                      \
            loop_turn(loop, true);                                                                                     \
        ck_assert_msg(!late_, "waited 5 s for %s", #cond);                                                             \
        loop_cancel(&guard_);                                                                                          \
    } while (0)

static void run_for(int64_t ms)
{
    bool over = false;
    loop_after(loop, ms, set_flag, &over);
    while (!over)
        loop_turn(loop, true);
}

static struct upstream *upstream_to(uint16_t port, struct upstream_options opt)
{
    char url[64];
    struct errmsg e = {{0}};
    snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    opt.name = opt.name ? opt.name : "fake";
    opt.url = opt.url ? opt.url : url;
    struct upstream *u = upstream_new(loop, &opt, &e);
    ck_assert_msg(u != NULL, "%s", e.text);
    return u;
}

#define DEFAULTS ((struct upstream_options){.total_ms = 3000})

static struct upstream_request request(const char *method, const char *body)
{
    return (struct upstream_request){
        .method = method, .path_and_query = SLICE("/v3/mail/send"), .body = slice_of(body), .at_most_once = true};
}

static struct upstream_op *send_one(struct upstream *u, struct upstream_request req, struct seen *s)
{
    *s = (struct seen){0};
    struct upstream_op *op = upstream_send(u, &req, on_result, s);
    ck_assert_int_eq(s->calls, 0);
    return op;
}

static void send_and_wait(struct upstream *u, struct upstream_request req, struct seen *s)
{
    ck_assert_ptr_nonnull(send_one(u, req, s));
    UNTIL(s->calls > 0);
    ck_assert_int_eq(s->calls, 1);
}

static void expect(const struct seen *s, enum upstream_status status, const char *reason, int http_status)
{
    ck_assert_str_eq(s->reason, reason);
    ck_assert_int_eq(s->status, status);
    ck_assert_int_eq(s->http_status, http_status);
}

static void setup(void)
{
    loop = loop_new();
}

static void teardown(void)
{
    fake_stop(&fakes[0]);
    fake_stop(&fakes[1]);
    loop_free(&loop);
}

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
        req.deadline_ms = 60;
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
    tcase_add_test(t, broken_answers_are_unknown);
    tcase_add_test(t, answer_over_the_cap_is_unknown);
    tcase_add_test(t, nothing_listens);
    tcase_add_test(t, no_tls_there);
    tcase_add_test(t, name_does_not_resolve);
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

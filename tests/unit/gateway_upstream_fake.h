/*
 * A fake provider in the test's own loop, and a caller that notes what it was
 * told.  The fake misbehaves as real ones do: closes reused connections, stalls,
 * resets, cuts answers short.  For the tests of gateway/upstream.c.
 */
#ifndef POSTERN_TESTS_GATEWAY_UPSTREAM_FAKE_H
#define POSTERN_TESTS_GATEWAY_UPSTREAM_FAKE_H

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

static inline void fake_close(struct fake_connection *c, bool reset)
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

static inline void fake_close_flushed(struct bufferevent *bev, void *arg)
{
    struct fake_connection *c = arg;
    (void)bev;
    fake_close(c, c->fake->mode == FAKE_CUT);
}

static inline void fake_reply(struct fake_connection *c)
{
    bufferevent_write(c->bev, c->fake->answer, strlen(c->fake->answer));
}

/* A small linear congruence: the same chaos each time. */
static inline uint32_t fake_roll(struct fake *f, uint32_t sides)
{
    f->dice = f->dice * 1664525u + 1013904223u;
    return (f->dice >> 16) % sides;
}

static inline void fake_chaos(struct fake_connection *c)
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

static inline void fake_request(struct fake_connection *c)
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
static inline void fake_on_read(struct bufferevent *bev, void *arg)
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

static inline void fake_on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    (void)what;
    fake_close(arg, false);
}

static void fake_listen(void *arg);

static inline void fake_on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int n, void *arg)
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

static inline void fake_listen(void *arg)
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

static inline struct fake *fake_start(int at, enum fake_mode mode, const char *answer)
{
    struct fake *f = &fakes[at];
    memset(f, 0, sizeof *f);
    f->mode = mode;
    f->answer = answer;
    fake_listen(f);
    return f;
}

static inline void fake_release(struct fake *f)
{
    for (int i = 0; i < f->n_connections; i++) {
        if (!f->connections[i].waiting)
            continue;
        f->connections[i].waiting = false;
        f->n_waiting--;
        fake_reply(&f->connections[i]);
    }
}

static inline void fake_stop(struct fake *f)
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

static inline void on_result(void *arg, const struct upstream_result *r)
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

static inline void set_flag(void *arg)
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

static inline void run_for(int64_t ms)
{
    bool over = false;
    loop_after(loop, ms, set_flag, &over);
    while (!over)
        loop_turn(loop, true);
}

static inline struct upstream *upstream_to(uint16_t port, struct upstream_options opt)
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

static inline struct upstream_request request(const char *method, const char *body)
{
    return (struct upstream_request){
        .method = method, .path_and_query = SLICE("/v3/mail/send"), .body = slice_of(body), .at_most_once = true};
}

static inline struct upstream_op *send_one(struct upstream *u, struct upstream_request req, struct seen *s)
{
    *s = (struct seen){0};
    struct upstream_op *op = upstream_send(u, &req, on_result, s);
    ck_assert_int_eq(s->calls, 0);
    return op;
}

static inline void send_and_wait(struct upstream *u, struct upstream_request req, struct seen *s)
{
    ck_assert_ptr_nonnull(send_one(u, req, s));
    UNTIL(s->calls > 0);
    ck_assert_int_eq(s->calls, 1);
}

static inline void expect(const struct seen *s, enum upstream_status status, const char *reason, int http_status)
{
    ck_assert_str_eq(s->reason, reason);
    ck_assert_int_eq(s->status, status);
    ck_assert_int_eq(s->http_status, http_status);
}

static inline void setup(void)
{
    loop = loop_new();
}

static inline void teardown(void)
{
    fake_stop(&fakes[0]);
    fake_stop(&fakes[1]);
    loop_free(&loop);
}

#endif

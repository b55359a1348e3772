/*
 * What the tests of the HTTP listener share: a listener with its user, and clients,
 * bufferevents on the same loop.  A test waits for what it expects, and fails after
 * GUARD_MS.  Header only, as each test file is a program.
 */
#ifndef TESTS_GATEWAY_HTTP_CLIENT_H
#define TESTS_GATEWAY_HTTP_CLIENT_H

#include <arpa/inet.h>
#include <check.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/http_listen.h"

#define GUARD_MS 5000
#define GET      "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define UNUSED   __attribute__((unused))

/* The application side of the test: keeps requests, or answers at once. */
struct user {
    bool at_once;
    bool reply_closes;
    struct http_request *kept[64];
    size_t n; /* asked so far */
};

struct client {
    struct bufferevent *bev;
    char *text; /* all that came, NUL-terminated */
    size_t n;
    bool closed;
};

static struct event_base *base;
static struct http_listener *listener;
static struct user user;

UNUSED static void reply_text(struct http_request *r, int status, const char *text)
{
    struct http_reply reply = {
        .status = status, .content_type = "text/plain", .body = slice_of(text), .close = user.reply_closes};
    http_reply(r, &reply);
}

UNUSED static void on_request(struct http_request *r, void *arg)
{
    ck_assert_ptr_eq(arg, &user);
    if (user.at_once) {
        user.n++;
        reply_text(r, 200, "ok");
        return;
    }
    ck_assert_uint_lt(user.n, N_ELEMENTS(user.kept));
    user.kept[user.n++] = r;
}

UNUSED static void start(struct http_listen_options o)
{
    struct errmsg e = {""};
    if (base == NULL) {
        base = event_base_new();
    }
    o.address = o.address == NULL ? "127.0.0.1:0" : o.address;
    o.on_request = on_request;
    o.arg = &user;
    listener = http_listener_new(base, &o, &e);
    ck_assert_msg(listener != NULL, "%s", e.text);
}

UNUSED static void stop(void)
{
    http_listener_free(&listener);
    ck_assert_ptr_null(listener);
    event_base_free(base);
}

UNUSED static void client_take(struct bufferevent *bev, void *arg)
{
    struct client *c = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    size_t n = evbuffer_get_length(in);
    c->text = xrealloc(c->text, 1, c->n + n + 1);
    ck_assert_int_eq(evbuffer_remove(in, c->text + c->n, n), (int)n);
    c->n += n;
    c->text[c->n] = '\0';
}

UNUSED static void client_event(struct bufferevent *bev, short what, void *arg)
{
    struct client *c = arg;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) {
        client_take(bev, c);
        c->closed = true;
    }
}

UNUSED static struct sockaddr_in listener_address(void)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(http_listener_port(listener)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

UNUSED static struct client *client_new_tls(SSL *ssl)
{
    struct client *c = xcalloc(1, sizeof(*c));
    c->text = xstrdup("");
    c->bev = ssl == NULL
                 ? bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE)
                 : bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_CONNECTING, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(c->bev, client_take, NULL, client_event, c);
    struct sockaddr_in to = listener_address();
    ck_assert_int_eq(bufferevent_socket_connect(c->bev, (struct sockaddr *)&to, sizeof(to)), 0);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    return c;
}

UNUSED static struct client *client_new(void)
{
    return client_new_tls(NULL);
}

UNUSED static void client_free(struct client *c)
{
    if (c->bev != NULL) {
        bufferevent_free(c->bev);
    }
    free(c->text);
    free(c);
}

/* Leave with a RST: a FIN alone could be a client that still waits for its reply. */
UNUSED static void client_reset(struct client *c)
{
    struct linger reset = {.l_onoff = 1};
    ck_assert_int_eq(setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    client_free(c);
}

UNUSED static void say(struct client *c, const char *text)
{
    bufferevent_write(c->bev, text, strlen(text));
}

UNUSED static void on_guard(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    *(bool *)arg = true;
}

/* Turn the loop until cond holds. */
#define WAIT(cond)                                                                                                     \
    do {                                                                                                               \
        bool late_ = false;                                                                                            \
        struct event *guard_ = evtimer_new(base, on_guard, &late_);                                                    \
        evtimer_add(guard_, &(struct timeval){.tv_sec = GUARD_MS / 1000});                                             \
        while (!(cond) && !late_) {                                                                                    \
            event_base_loop(base, EVLOOP_ONCE);                                                                        \
        }                                                                                                              \
        event_free(guard_);                                                                                            \
        ck_assert_msg(!late_, "waited too long for " #cond);                                                           \
    } while (0)

UNUSED static bool has(const struct client *c, const char *text)
{
    return strstr(c->text, text) != NULL;
}

UNUSED static size_t count_of(const struct client *c, const char *text)
{
    size_t n = 0;
    for (const char *p = strstr(c->text, text); p != NULL; p = strstr(p + 1, text)) {
        n++;
    }
    return n;
}

UNUSED static uint64_t faults(enum http_fault f)
{
    return http_listener_counters(listener)->faults[f];
}

UNUSED static void say_body(struct client *c, size_t n, bool chunked)
{
    char head[128], *body = xcalloc(1, n);
    memset(body, 'b', n);
    snprintf(head, sizeof(head),
             "POST / HTTP/1.1\r\nHost: h\r\n%s: ", chunked ? "Transfer-Encoding" : "Content-Length");
    say(c, head);
    snprintf(head, sizeof(head), chunked ? "chunked\r\n\r\n%zx\r\n" : "%zu\r\n\r\n", n);
    say(c, head);
    bufferevent_write(c->bev, body, n);
    say(c, chunked ? "\r\n0\r\n\r\n" : "");
    free(body);
}

static int run_tests(const char *name, const TTest *const *list, size_t n)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *s = suite_create(name);
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 30);
    for (size_t i = 0; i < n; i++)
        tcase_add_test(t, list[i]);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

#endif

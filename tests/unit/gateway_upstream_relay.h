/*
 * A fake relay in the test's own loop, and a caller that notes what it was told.  The relay misbehaves as real ones do:
 * closes kept connections, says 421, stalls, resets.  For the tests of gateway/upstream_smtp.c.
 */
#ifndef POSTERN_TESTS_GATEWAY_UPSTREAM_RELAY_H
#define POSTERN_TESTS_GATEWAY_UPSTREAM_RELAY_H

#include "gateway/upstream.h"

#include <arpa/inet.h>
#include <check.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/loop.h"
#include "postern/log.h"

/* At which command it does what it does; DOT: the end of the data. */
enum at { AT_NOTHING, AT_GREETING, AT_EHLO, AT_STARTTLS, AT_AUTH, AT_MAIL, AT_RCPT, AT_DATA, AT_DOT, AT_RSET };
enum deed { DEED_STALL, DEED_CLOSE, DEED_RESET, DEED_SAY, DEED_SAY_AND_CLOSE };

#define MAX_CONNECTIONS 4000
#define CHAOS_MAILS     2000

struct relay_connection {
    struct relay *relay;
    struct bufferevent *bev;
    int n_mails;     /* MAIL commands */
    size_t searched; /* of the content, for its end */
    bool in_data, tls, waiting;
};

struct relay {
    enum at at;
    enum deed deed;
    int from_mail;    /* the deed is done from this mail of a connection on (1, 2, ...); 0: always */
    int left;         /* how often it is done yet; -1: always */
    const char *says; /* DEED_SAY: a whole reply */
    const char *offers;
    SSL_CTX *tls;
    bool implicit, chaos;
    uint16_t port;
    struct evconnlistener *listener;
    struct relay_connection connections[MAX_CONNECTIONS];
    int n_connections, n_open, max_open, n_messages, n_resumed, n_waiting, n_quit;
    uint32_t dice;
    uint8_t seen[CHAOS_MAILS]; /* how often the message with that number was read whole */
    char said[20000];          /* all commands of all connections, as they came */
    struct evbuffer *content;  /* of the last message, as it came, with the dot */
};

static struct loop *loop;
static struct relay relay;

static inline void relay_close(struct relay_connection *c, bool reset)
{
    if (!c->bev)
        return;
    if (reset) {
        struct linger now = {.l_onoff = 1};
        setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    bufferevent_free(c->bev);
    c->bev = NULL;
    relay.n_open--;
}

static inline void relay_close_flushed(struct bufferevent *bev, void *arg)
{
    (void)bev;
    relay_close(arg, false);
}

static inline void relay_say(struct relay_connection *c, const char *reply)
{
    bufferevent_write(c->bev, reply, strlen(reply));
}

static inline uint32_t relay_roll(uint32_t sides)
{
    relay.dice = relay.dice * 1664525u + 1013904223u;
    return (relay.dice >> 16) % sides;
}

static inline void relay_do(struct relay_connection *c, enum deed deed)
{
    switch (deed) {
    case DEED_STALL:
        c->waiting = true;
        relay.n_waiting++;
        return;
    case DEED_CLOSE:
    case DEED_RESET:
        relay_close(c, deed == DEED_RESET);
        return;
    case DEED_SAY:
        relay_say(c, relay.says);
        return;
    case DEED_SAY_AND_CLOSE:
        bufferevent_setcb(c->bev, NULL, relay_close_flushed, NULL, c);
        relay_say(c, relay.says);
        return;
    }
}

/* True when the relay did something else than to answer. */
static inline bool relay_misbehaves(struct relay_connection *c, enum at at)
{
    if (relay.chaos && relay_roll(25) == 0) {
        relay.says = "421 4.3.2 chaos\r\n";
        relay_do(c, (enum deed[]){DEED_CLOSE, DEED_RESET, DEED_SAY_AND_CLOSE}[relay_roll(3)]);
        return true;
    }
    if (relay.at != at || c->n_mails < relay.from_mail || relay.left == 0)
        return false;
    relay.left -= relay.left > 0;
    relay_do(c, relay.deed);
    return true;
}

static inline void relay_hear(struct relay_connection *c, enum at at, const char *reply)
{
    if (!relay_misbehaves(c, at))
        relay_say(c, reply);
}

static void relay_on_read(struct bufferevent *bev, void *arg);
static void relay_on_event(struct bufferevent *bev, short what, void *arg);

static inline void relay_start_tls(struct relay_connection *c)
{
    SSL *ssl = SSL_new(relay.tls);
    relay_say(c, "220 go\r\n");
    c->bev = bufferevent_openssl_filter_new(loop_base(loop), c->bev, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                            BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    c->tls = true;
    bufferevent_setcb(c->bev, relay_on_read, NULL, relay_on_event, c);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

static inline void relay_command(struct relay_connection *c, const char *line)
{
    size_t n = strlen(relay.said);
    if (!relay.chaos && n + strlen(line) + 2 < sizeof relay.said)
        snprintf(relay.said + n, sizeof relay.said - n, "%s\n", line);
    if (strncmp(line, "EHLO", 4) == 0) {
        char reply[300];
        snprintf(reply, sizeof reply, "250-relay\r\n%s%s250 HELP\r\n", relay.offers,
                 relay.tls && !c->tls ? "250-STARTTLS\r\n" : "");
        relay_hear(c, AT_EHLO, reply);
    } else if (strcmp(line, "STARTTLS") == 0) {
        if (!relay_misbehaves(c, AT_STARTTLS))
            relay_start_tls(c);
    } else if (strncmp(line, "AUTH", 4) == 0) {
        relay_hear(c, AT_AUTH, "235 2.7.0 ok\r\n");
    } else if (strncmp(line, "MAIL", 4) == 0) {
        c->n_mails++;
        relay_hear(c, AT_MAIL, "250 2.1.0 ok\r\n");
    } else if (strncmp(line, "RCPT", 4) == 0) {
        relay_hear(c, AT_RCPT, strstr(line, "no@") ? "550 5.1.1 nobody\r\n" : "250 2.1.5 ok\r\n");
    } else if (strcmp(line, "DATA") == 0) {
        if (relay_misbehaves(c, AT_DATA))
            return;
        relay_say(c, "354 go\r\n");
        c->in_data = true;
    } else if (strcmp(line, "RSET") == 0) {
        relay_hear(c, AT_RSET, "250 ok\r\n");
    } else if (strcmp(line, "QUIT") == 0) {
        relay.n_quit++;
        relay_close(c, false);
    }
}

/* True when the message is whole. */
static inline bool relay_take_content(struct relay_connection *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    struct evbuffer_ptr from, end;
    evbuffer_ptr_set(in, &from, c->searched, EVBUFFER_PTR_SET);
    end = evbuffer_search(in, "\r\n.\r\n", 5, &from);
    if (end.pos < 0) {
        c->searched = evbuffer_get_length(in) < 4 ? 0 : evbuffer_get_length(in) - 4;
        return false;
    }
    c->searched = 0;
    evbuffer_drain(relay.content, evbuffer_get_length(relay.content));
    evbuffer_remove_buffer(in, relay.content, (size_t)end.pos + 5);
    c->in_data = false;
    relay.n_messages++;
    if (relay.chaos) {
        char number[12] = "";
        evbuffer_copyout(relay.content, number, sizeof number - 1);
        relay.seen[strtoul(number, NULL, 10)]++;
    }
    relay_hear(c, AT_DOT, "250 2.0.0 queued\r\n");
    return true;
}

static void relay_on_read(struct bufferevent *bev, void *arg)
{
    struct relay_connection *c = arg;
    (void)bev;
    while (c->bev && !c->waiting) {
        if (c->in_data) {
            if (!relay_take_content(c))
                return;
            continue;
        }
        char *line = evbuffer_readln(bufferevent_get_input(c->bev), NULL, EVBUFFER_EOL_CRLF_STRICT);
        if (!line)
            return;
        relay_command(c, line);
        free(line);
    }
}

static void relay_on_event(struct bufferevent *bev, short what, void *arg)
{
    struct relay_connection *c = arg;
    if (what & BEV_EVENT_CONNECTED) {
        relay.n_resumed += SSL_session_reused(bufferevent_openssl_get_ssl(bev)) == 1;
        if (relay.implicit)
            relay_hear(c, AT_GREETING, "220 relay\r\n");
        return;
    }
    relay_close(c, false);
}

static inline void relay_on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int n, void *arg)
{
    (void)l;
    (void)sa;
    (void)n;
    (void)arg;
    ck_assert(relay.n_connections < MAX_CONNECTIONS);
    struct relay_connection *c = &relay.connections[relay.n_connections++];
    *c = (struct relay_connection){.relay = &relay, .tls = relay.implicit};
    relay.n_open++;
    relay.max_open = relay.n_open > relay.max_open ? relay.n_open : relay.max_open;
    c->bev = relay.implicit ? bufferevent_openssl_socket_new(loop_base(loop), fd, SSL_new(relay.tls),
                                                             BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE)
                            : bufferevent_socket_new(loop_base(loop), fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(c->bev, relay_on_read, NULL, relay_on_event, c);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    if (!relay.implicit)
        relay_hear(c, AT_GREETING, "220 relay\r\n");
}

#define OFFERS "250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE\r\n250-DSN\r\n"

static inline void relay_start(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    relay = (struct relay){.offers = OFFERS, .left = -1, .content = evbuffer_new()};
    relay.listener =
        evconnlistener_new_bind(loop_base(loop), relay_on_accept, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 64,
                                (struct sockaddr *)&in, (int)n);
    ck_assert_ptr_nonnull(relay.listener);
    ck_assert_int_eq(getsockname(evconnlistener_get_fd(relay.listener), (struct sockaddr *)&in, &n), 0);
    relay.port = ntohs(in.sin_port);
}

/* Its connections take little at a time: writes to it have to wait. */
static inline void relay_takes_little(void)
{
    int bytes = 8192;
    ck_assert_int_eq(setsockopt(evconnlistener_get_fd(relay.listener), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
}

static inline void relay_stop(void)
{
    for (int i = 0; i < relay.n_connections; i++)
        relay_close(&relay.connections[i], false);
    if (relay.listener)
        evconnlistener_free(relay.listener);
    if (relay.content)
        evbuffer_free(relay.content);
    SSL_CTX_free(relay.tls);
    relay = (struct relay){0};
}

/* Those that stall go on with that reply. */
static inline void relay_release(const char *reply)
{
    relay.at = AT_NOTHING;
    for (int i = 0; i < relay.n_connections; i++) {
        struct relay_connection *c = &relay.connections[i];
        if (!c->waiting || !c->bev)
            continue;
        c->waiting = false;
        relay_say(c, reply);
        relay_on_read(c->bev, c);
    }
    relay.n_waiting = 0;
}

/* --- the caller's side --- */

struct seen {
    int calls;
    enum upstream_status status;
    char reason[40];
    int code;
    bool dsn;
    char text[200];
    size_t n_recipients;
    int codes[8];
    char texts[8][60];
};

static inline void on_result(void *arg, const struct upstream_result *r)
{
    struct seen *s = arg;
    s->calls++;
    s->status = r->status;
    snprintf(s->reason, sizeof s->reason, "%s", r->reason);
    s->code = r->http_status;
    s->dsn = r->dsn;
    snprintf(s->text, sizeof s->text, "%.*s", SLICE_ARG(r->body));
    s->n_recipients = r->n_recipients;
    for (size_t i = 0; i < r->n_recipients && i < 8; i++) {
        s->codes[i] = r->recipients[i].code;
        snprintf(s->texts[i], sizeof s->texts[i], "%.*s", SLICE_ARG(r->recipients[i].text));
    }
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

static const struct mail_recipient one_rcpt[] = {{.path = {"c@d.example", 11}}};
static const struct mail_recipient three_rcpts[] = {
    {.path = {"c@d.example", 11}}, {.path = {"no@d.example", 12}}, {.path = {"e@f.example", 11}}};
static const struct mail_envelope one = {.from = {"a@b.example", 11}, .recipients = one_rcpt, .n_recipients = 1};
static const struct mail_envelope three = {.from = {"a@b.example", 11}, .recipients = three_rcpts, .n_recipients = 3};

static inline struct upstream_request mail_to(const struct mail_envelope *envelope, const char *content)
{
    return (struct upstream_request){.envelope = envelope, .body = slice_of(content)};
}
#define HELLO "Subject: hi\r\n\r\nhello\r\n"

/* To the fake, by address or by name. */
static inline struct upstream *upstream_to(const char *scheme, const char *host, struct upstream_options opt)
{
    char url[100], resolve[100];
    struct errmsg e = {{0}};
    snprintf(url, sizeof url, "%s://%s:%u", scheme, host, relay.port);
    snprintf(resolve, sizeof resolve, "%s:%u:127.0.0.1", host, relay.port);
    opt.name = "relay";
    opt.url = url;
    opt.resolve = resolve;
    opt.allow_private = true;
    opt.total_ms = opt.total_ms > 0 ? opt.total_ms : 4000;
    struct upstream *u = upstream_new(loop, &opt, &e);
    ck_assert_msg(u != NULL, "%s", e.text);
    return u;
}
#define PLAIN(...) upstream_to("smtp", "127.0.0.1", (struct upstream_options){__VA_ARGS__})

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

static inline void expect(const struct seen *s, enum upstream_status status, const char *reason, int code)
{
    ck_assert_str_eq(s->reason, reason);
    ck_assert_int_eq(s->status, status);
    ck_assert_int_eq(s->code, code);
}

static inline void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    loop = loop_new();
    relay_start();
}

static inline void teardown(void)
{
    relay_stop();
    loop_free(&loop);
}

#endif

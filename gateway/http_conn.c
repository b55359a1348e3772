/*
 * One connection of the HTTP listener: reads and parses as far as it may,
 * keeps its deadlines, closes so that the last reply arrives.  Does not know
 * what requests mean, nor how connections come to be.
 *
 * The one idea: callbacks only change the state; http_conn_settle looks at the
 * whole and decides what is read, when it is over and when to look again.
 */
#include "http_conn.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "postern/clock.h"

#define CONN_MAGIC 0x48747043u
#define NEVER_MS   INT64_MAX

static struct http_conn *conn_of(void *arg)
{
    struct http_conn *c = arg;
    ensure(c->magic == CONN_MAGIC);
    return c;
}

/* Forward only, in the order of the enum. */
static void set_state(struct http_conn *c, enum http_conn_state state)
{
    ensure(state > c->state);
    c->state = state;
    c->since_ms = clock_mono_ms();
    if (state >= HTTP_CONN_CLOSING && c->receiving != NULL) {
        http_exchange_free(c->receiving);
        c->receiving = NULL;
    }
}

static size_t unread_bytes(const struct http_conn *c)
{
    return evbuffer_get_length(bufferevent_get_input(c->bev));
}

static size_t unsent_bytes(const struct http_conn *c)
{
    return evbuffer_get_length(bufferevent_get_output(c->bev)) + evbuffer_get_length(c->out);
}

/* Neither a request nor a reply is under way. */
static bool is_idle(const struct http_conn *c)
{
    return TAILQ_EMPTY(&c->exchanges) && http_proto_is_idle(&c->proto) && unread_bytes(c) == 0 && unsent_bytes(c) == 0;
}

bool http_conn_is_spare(const struct http_conn *c)
{
    return c->state == HTTP_CONN_OPEN && is_idle(c) && clock_mono_ms() - c->since_ms >= LIMIT_HTTP_SPARE_MS;
}

/* Deadlines. */

struct due {
    int64_t at_ms;
    enum http_fault fault;
};

static struct due receiving_due(const struct http_conn *c)
{
    const struct http_listen_options *o = &c->listener->options;
    if (http_proto_is_idle(&c->proto)) {
        bool waits = TAILQ_EMPTY(&c->exchanges);
        return (struct due){waits ? c->since_ms + o->idle_ms : NEVER_MS, HTTP_FAULT_IDLE_TIMEOUT};
    }
    if (c->proto.state == HTTP_STATE_LINE || c->proto.state == HTTP_STATE_FIELDS) {
        return (struct due){c->head_since_ms + o->head_ms, HTTP_FAULT_HEAD_TIMEOUT};
    }
    return (struct due){c->window_since_ms + o->body_window_ms, HTTP_FAULT_BODY_TOO_SLOW};
}

static struct due next_due(const struct http_conn *c)
{
    const struct http_listen_options *o = &c->listener->options;
    struct due due = {NEVER_MS, HTTP_FAULT_NONE};
    switch (c->state) {
    case HTTP_CONN_HANDSHAKE:
        return (struct due){c->since_ms + o->head_ms, HTTP_FAULT_HANDSHAKE_FAILED};
    case HTTP_CONN_OPEN:
        if (c->reading) {
            due = receiving_due(c);
        }
        break;
    case HTTP_CONN_CLOSING:
        break;
    case HTTP_CONN_LINGER:
        return (struct due){c->since_ms + o->linger_ms, HTTP_FAULT_NONE};
    case HTTP_CONN_DEAD:
        return due;
    }
    if (c->write_since_ms != 0 && c->write_since_ms + o->write_ms < due.at_ms) {
        due = (struct due){c->write_since_ms + o->write_ms, HTTP_FAULT_WRITE_TIMEOUT};
    }
    return due;
}

/* The timer only moves forward by firing: a deadline that moved away costs nothing until then. */
static void arm(struct http_conn *c)
{
    int64_t at_ms = next_due(c).at_ms;
    if (at_ms >= c->armed_ms) {
        return;
    }
    int64_t in_ms = at_ms - clock_mono_ms();
    in_ms = in_ms < 1 ? 1 : in_ms;
    struct timeval tv = {.tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000};
    ensure(evtimer_add(&c->timer, &tv) == 0);
    c->armed_ms = at_ms;
}

static uint64_t taken_bytes(const struct http_conn *c)
{
    return c->queued_bytes - unsent_bytes(c);
}

/* Fast enough over the window: a new one begins. */
static bool renew_window(struct http_conn *c, enum http_fault f, int64_t now_ms)
{
    const struct http_listen_options *o = &c->listener->options;
    if (f == HTTP_FAULT_BODY_TOO_SLOW &&
        c->window_bytes >= (uint64_t)(o->body_min_bytes_s * o->body_window_ms / 1000)) {
        c->window_since_ms = now_ms;
        c->window_bytes = 0;
        return true;
    }
    if (f == HTTP_FAULT_WRITE_TIMEOUT &&
        taken_bytes(c) - c->write_mark >= (uint64_t)(o->body_min_bytes_s * o->write_ms / 1000)) {
        c->write_since_ms = now_ms;
        c->write_mark = taken_bytes(c);
        return true;
    }
    return false;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct http_conn *c = conn_of(arg);
    c->armed_ms = NEVER_MS;
    struct due due = next_due(c);
    int64_t now_ms = clock_mono_ms();
    if (due.at_ms > now_ms || renew_window(c, due.fault, now_ms)) {
        arm(c);
    } else if (http_fault_status(due.fault) != 0) {
        http_conn_refuse(c, due.fault, c->proto.at);
    } else {
        http_conn_kill(c, due.fault);
    }
}

/* Closing. */

void http_conn_kill(struct http_conn *c, enum http_fault f)
{
    if (c->state == HTTP_CONN_DEAD) {
        return;
    }
    struct http_listener *l = c->listener;
    l->counters.faults[f] += f != HTTP_FAULT_NONE;
    l->counters.open--;
    set_state(c, HTTP_CONN_DEAD);
    bufferevent_setcb(c->bev, NULL, NULL, NULL, NULL);
    ignore(bufferevent_disable(c->bev, EV_READ | EV_WRITE)); /* it goes away anyway */
    if (!c->is_tls) {
        event_del(&c->readable);
    }
    evtimer_del(&c->timer);
    struct http_exchange *x = NULL;
    while ((x = TAILQ_FIRST(&c->exchanges)) != NULL) {
        TAILQ_REMOVE(&c->exchanges, x, in_conn);
        http_exchange_orphan(x);
    }
    c->n_exchanges = 0;
    TAILQ_REMOVE(&l->all, c, all);
    if (c->ready) {
        TAILQ_REMOVE(&l->ready, c, turn);
    }
    TAILQ_INSERT_TAIL(&l->doomed, c, turn);
    http_listener_wake(l);
}

/*
 * All is written.  Shut our side and read on for a while: closing with unread
 * input makes the kernel send a RST, which can destroy the reply on its way
 * (RFC 9112 section 9.6).
 */
static void linger(struct http_conn *c)
{
    if (c->eof) {
        http_conn_kill(c, HTTP_FAULT_NONE);
        return;
    }
    set_state(c, HTTP_CONN_LINGER);
    SSL *ssl = bufferevent_openssl_get_ssl(c->bev);
    if (ssl != NULL) {
        SSL_shutdown(ssl);
    }
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    struct evbuffer *in = bufferevent_get_input(c->bev);
    evbuffer_drain(in, evbuffer_get_length(in));
}

void http_conn_refuse(struct http_conn *c, enum http_fault f, uint64_t at)
{
    c->listener->counters.faults[f]++;
    struct http_exchange *x = c->receiving != NULL ? c->receiving : http_exchange_new(c);
    c->receiving = NULL;
    x->request.method = c->proto.head.method;
    TAILQ_INSERT_TAIL(&c->exchanges, x, in_conn);
    c->n_exchanges++;
    set_state(c, HTTP_CONN_CLOSING);
    http_exchange_refuse(x, f, at, c->proto.head.path);
}

/* Reading. */

static bool may_parse(const struct http_conn *c)
{
    return c->state == HTTP_CONN_OPEN && c->n_exchanges < LIMIT_HTTP_PIPELINE &&
           unsent_bytes(c) < LIMIT_HTTP_OUTPUT_BYTES;
}

static void set_reading(struct http_conn *c, bool on)
{
    if (c->reading == on) {
        return;
    }
    c->reading = on;
    if (c->is_tls) {
        ensure((on ? bufferevent_enable(c->bev, EV_READ) : bufferevent_disable(c->bev, EV_READ)) == 0);
    } else {
        ensure((on ? event_add(&c->readable, NULL) : event_del(&c->readable)) == 0);
    }
    c->head_since_ms = c->window_since_ms = clock_mono_ms(); /* while we did not read, nobody was slow */
    c->window_bytes = 0;
}

/*
 * Straight to the socket when it can take it: a bufferevent would wait for the
 * next turn and cost two calls of epoll_ctl for each reply.
 */
static void push(struct http_conn *c)
{
    if (evbuffer_get_length(c->out) == 0) {
        return;
    }
    struct evbuffer *queue = bufferevent_get_output(c->bev);
    bool direct = !c->is_tls && evbuffer_get_length(queue) == 0;
    if (direct && evbuffer_write(c->out, bufferevent_getfd(c->bev)) == -1 && errno != EAGAIN && errno != EINTR) {
        http_conn_kill(c, HTTP_FAULT_CLIENT_LEFT);
        return;
    }
    ensure(evbuffer_add_buffer(queue, c->out) == 0);
}

static void watch_output(struct http_conn *c)
{
    bool waits = unsent_bytes(c) > 0;
    if (waits && c->write_since_ms == 0) {
        c->write_since_ms = clock_mono_ms();
        c->write_mark = taken_bytes(c);
    } else if (!waits) {
        c->write_since_ms = 0;
    }
}

void http_conn_settle(struct http_conn *c)
{
    if (c->state == HTTP_CONN_DEAD || c->parsing) {
        return;
    }
    push(c);
    bool unread = unread_bytes(c) > 0;
    bool left = c->eof && !unread;
    if (c->state == HTTP_CONN_OPEN && (left || (c->listener->draining && is_idle(c)))) {
        bool midway = left && !http_proto_is_idle(&c->proto);
        c->listener->counters.faults[HTTP_FAULT_CLIENT_LEFT] += midway;
        set_state(c, HTTP_CONN_CLOSING);
    }
    if (c->state == HTTP_CONN_CLOSING && TAILQ_EMPTY(&c->exchanges) && unsent_bytes(c) == 0) {
        linger(c);
    }
    if (c->state == HTTP_CONN_DEAD) {
        return;
    }
    bool may = may_parse(c);
    set_reading(c, (may && !c->eof) || c->state == HTTP_CONN_LINGER || c->state == HTTP_CONN_HANDSHAKE);
    if (may && unread && !c->ready) {
        c->ready = true;
        TAILQ_INSERT_TAIL(&c->listener->ready, c, turn);
        http_listener_wake(c->listener);
    }
    watch_output(c);
    arm(c);
}

/* Said once nothing else is to be said before it (RFC 9110 section 15.2.1). */
static void pay_continue(struct http_conn *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (c->owes_continue && TAILQ_EMPTY(&c->exchanges) && c->state == HTTP_CONN_OPEN) {
        c->owes_continue = false;
        ensure(evbuffer_add(c->out, text, sizeof(text) - 1) == 0);
        c->queued_bytes += sizeof(text) - 1;
    }
}

static enum http_fault on_head(struct http_conn *c)
{
    struct http_exchange *x = c->receiving;
    struct http_listener *l = c->listener;
    enum http_fault f = http_body_init(&x->body, &c->proto.head, l->options.max_body_bytes, &x->arena, &l->budget);
    if (f == HTTP_FAULT_NONE) {
        c->owes_continue = c->proto.head.expect_continue;
        pay_continue(c);
        c->window_since_ms = clock_mono_ms();
        c->window_bytes = 0;
    }
    return f;
}

static enum http_fault on_end(struct http_conn *c)
{
    struct http_exchange *x = c->receiving;
    enum http_fault f = http_body_end(&x->body);
    if (f != HTTP_FAULT_NONE) {
        return f;
    }
    c->receiving = NULL;
    c->owes_continue = false;
    TAILQ_INSERT_TAIL(&c->exchanges, x, in_conn);
    c->n_exchanges++;
    if (!c->proto.head.keep_alive) {
        set_state(c, HTTP_CONN_CLOSING);
    }
    http_exchange_ask(x, &c->proto.head);
    return HTTP_FAULT_NONE;
}

static enum http_fault on_proto_event(struct http_conn *c, enum http_event event)
{
    switch (event) {
    case HTTP_NONE:
        return HTTP_FAULT_NONE;
    case HTTP_HEAD_READY:
        return on_head(c);
    case HTTP_BODY:
        c->window_bytes += c->proto.piece.n;
        return http_body_add(&c->receiving->body, c->proto.piece);
    case HTTP_END:
        return on_end(c);
    case HTTP_REFUSED:
        return c->proto.fault;
    }
    return HTTP_FAULT_NONE;
}

/* One event's worth of input, and the end of the request when that is due. */
static void parse(struct http_conn *c, struct slice *in)
{
    if (c->receiving == NULL) {
        c->receiving = http_exchange_new(c);
        http_proto_next(&c->proto, &c->receiving->arena);
    }
    if (http_proto_is_idle(&c->proto)) {
        c->head_since_ms = clock_mono_ms();
    }
    enum http_fault f = HTTP_FAULT_NONE;
    do {
        f = on_proto_event(c, http_proto_step(&c->proto, in));
    } while (f == HTTP_FAULT_NONE && c->proto.state == HTTP_STATE_END);
    if (f != HTTP_FAULT_NONE) {
        http_conn_refuse(c, f, c->proto.state == HTTP_STATE_REFUSED ? c->proto.fault_at : c->proto.at);
    }
}

static void parse_on(struct http_conn *c, struct slice *in)
{
    while (in->n > 0 && may_parse(c)) {
        parse(c, in);
    }
}

void http_conn_read(struct http_conn *c)
{
    struct evbuffer *input = bufferevent_get_input(c->bev);
    struct evbuffer_iovec piece;
    c->parsing = true;
    while (may_parse(c) && evbuffer_peek(input, -1, NULL, &piece, 1) > 0 && piece.iov_len > 0) {
        struct slice in = {piece.iov_base, piece.iov_len};
        parse_on(c, &in);
        evbuffer_drain(input, piece.iov_len - in.n);
    }
    c->parsing = false;
    http_conn_settle(c);
}

/* Just received.  Only what may not be parsed yet is kept. */
static void take_input(struct http_conn *c, struct slice in)
{
    struct evbuffer *input = bufferevent_get_input(c->bev);
    if (evbuffer_get_length(input) == 0) {
        c->parsing = true;
        parse_on(c, &in);
        c->parsing = false;
    }
    ensure(in.n == 0 || evbuffer_add(input, in.p, in.n) == 0);
    http_conn_settle(c);
}

void http_conn_answered(struct http_conn *c)
{
    bool closes = http_exchange_flush(c);
    if (closes && c->state < HTTP_CONN_CLOSING) {
        set_state(c, HTTP_CONN_CLOSING);
    }
    pay_continue(c);
    if (TAILQ_EMPTY(&c->exchanges) && c->state == HTTP_CONN_OPEN) {
        c->since_ms = clock_mono_ms(); /* idle from now on */
    }
    http_conn_settle(c);
}

/* Callbacks of libevent. */

static void on_read(struct bufferevent *bev, void *arg)
{
    struct http_conn *c = conn_of(arg);
    if (c->state == HTTP_CONN_LINGER) {
        struct evbuffer *in = bufferevent_get_input(bev);
        evbuffer_drain(in, evbuffer_get_length(in));
        return;
    }
    http_conn_read(c);
}

/* The output is empty. */
static void on_write(struct bufferevent *bev, void *arg)
{
    (void)bev;
    http_conn_settle(conn_of(arg));
}

/* Whoever was to read on finds the end; perhaps only of its sending side: what was asked is still answered. */
static void on_end_of_input(struct http_conn *c, bool in_order)
{
    if (c->state == HTTP_CONN_HANDSHAKE || c->state == HTTP_CONN_LINGER) {
        bool handshake = c->state == HTTP_CONN_HANDSHAKE;
        http_conn_kill(c, handshake ? HTTP_FAULT_HANDSHAKE_FAILED : HTTP_FAULT_NONE);
    } else if (in_order) {
        c->eof = true;
        http_conn_settle(c);
    } else {
        http_conn_kill(c, is_idle(c) ? HTTP_FAULT_NONE : HTTP_FAULT_CLIENT_LEFT);
    }
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    struct http_conn *c = conn_of(arg);
    if (what & BEV_EVENT_CONNECTED) {
        set_state(c, HTTP_CONN_OPEN);
        http_conn_settle(c);
        return;
    }
    on_end_of_input(c, (what & BEV_EVENT_EOF) != 0);
}

/* One recv, where a bufferevent asks first how much there is and copies. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct http_conn *c = conn_of(arg);
    char *in = c->listener->in;
    ssize_t n = recv(fd, in, HTTP_READ_BYTES, MSG_DONTWAIT);
    if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        on_end_of_input(c, n == 0);
    } else if (c->state != HTTP_CONN_LINGER) { /* then it is thrown away */
        take_input(c, (struct slice){in, (size_t)n});
    }
}

struct http_conn *http_conn_new(struct http_listener *l, int fd, struct ssl_st *tls, const char *peer)
{
    struct http_conn *c = xcalloc(1, sizeof(*c));
    c->magic = CONN_MAGIC;
    c->listener = l;
    c->armed_ms = NEVER_MS;
    c->since_ms = clock_mono_ms();
    memcpy(c->peer, peer, strnlen(peer, sizeof(c->peer) - 1));
    TAILQ_INIT(&c->exchanges);
    c->out = evbuffer_new();
    ensure(c->out != NULL);
    http_proto_init(&c->proto, l->options.max_body_bytes);
    evtimer_assign(&c->timer, l->base, on_timer, c);
    c->is_tls = tls != NULL;
    if (tls != NULL) {
        c->bev = bufferevent_openssl_socket_new(l->base, fd, tls, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
        ensure(c->bev != NULL);
        bufferevent_openssl_set_allow_dirty_shutdown(c->bev, 1); /* the framing tells a cut request from a whole one */
    } else {
        c->state = HTTP_CONN_OPEN;
        c->bev = bufferevent_socket_new(l->base, fd, BEV_OPT_CLOSE_ON_FREE);
        ensure(c->bev != NULL);
        ensure(evbuffer_unfreeze(bufferevent_get_input(c->bev), 0) == 0); /* it is we who fill it */
        event_assign(&c->readable, l->base, fd, EV_READ | EV_PERSIST, on_readable, c);
    }
    bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
    TAILQ_INSERT_TAIL(&l->all, c, all);
    l->counters.open++;
    http_conn_settle(c);
    return c;
}

void http_conn_free(struct http_conn *c)
{
    bufferevent_free(c->bev);
    evbuffer_free(c->out);
    free(c);
}

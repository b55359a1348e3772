/*
 * The HTTP listener: its address, its certificate, accepting within caps,
 * draining, counters.  Connections are http_conn.c's.
 *
 * The one idea: whatever is over (dead connections, an empty listener) is seen
 * to at the end of the loop turn, so no callback pulls away what its caller
 * still stands on.
 */
#include "http_listen.h"

#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "http_conn.h"
#include "listen_socket.h"

#define LISTENER_MAGIC  0x4874704Cu
#define ACCEPT_PAUSE_US 100000L /* after descriptors ran out */
#define SPARE_LOOKS     64u     /* connections looked at for one that can go, from the oldest */

static struct http_listener *listener_of(void *arg)
{
    struct http_listener *l = arg;
    ensure(l->magic == LISTENER_MAGIC);
    return l;
}

void http_listener_set_tls(struct http_listener *l, struct listen_tls **tls)
{
    ensure(l->tls != NULL);
    listen_tls_free(&l->tls); /* counted: open connections hold it */
    l->tls = take(tls);
    listen_tls_speaks(l->tls, LISTEN_HTTP);
}

/* Accepting. */

/* An idle connection gives way to a new one: whoever only holds connections does not keep others out. */
static bool make_room(struct http_listener *l)
{
    struct http_conn *c = TAILQ_FIRST(&l->all);
    for (unsigned i = 0; c != NULL && i < SPARE_LOOKS; i++, c = TAILQ_NEXT(c, all)) {
        if (http_conn_is_spare(c)) {
            http_conn_kill(c, HTTP_FAULT_IDLE_TIMEOUT);
            return true;
        }
    }
    return false;
}

/* How many above the cap may hear why not. */
static size_t refused_max(const struct http_listener *l)
{
    size_t max = l->options.max_connections;
    return max < LIMIT_HTTP_REFUSED_CONNECTIONS ? max : LIMIT_HTTP_REFUSED_CONNECTIONS;
}

static void on_accept(struct evconnlistener *accept, evutil_socket_t fd, struct sockaddr *sa, int sa_n, void *arg)
{
    (void)accept, (void)sa_n;
    struct http_listener *l = listener_of(arg);
    l->counters.accepted++;
    bool full = l->counters.open >= l->options.max_connections && !make_room(l);
    bool deaf = l->tls != NULL || l->counters.open >= l->options.max_connections + refused_max(l);
    if (full && deaf) { /* no handshake only to say no */
        l->counters.faults[HTTP_FAULT_TOO_MANY_CONNECTIONS]++;
        close(fd);
        return;
    }
    int on = 1;
    ignore(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))); /* only slower without it */
    char peer[LISTEN_PEER_MAX];
    listen_peer_format(sa, peer);
    struct http_conn *c = http_conn_new(l, fd, l->tls != NULL ? listen_tls_session(l->tls) : NULL, peer);
    if (full) {
        http_conn_refuse(c, HTTP_FAULT_TOO_MANY_CONNECTIONS, 0);
    }
}

/* Descriptors or memory of the kernel ran out: an accept loop would spin. */
static void on_accept_error(struct evconnlistener *accept, void *arg)
{
    struct http_listener *l = listener_of(arg);
    l->counters.faults[HTTP_FAULT_FDS_EXHAUSTED]++;
    evconnlistener_disable(accept);
    struct timeval pause = {.tv_usec = ACCEPT_PAUSE_US};
    evtimer_add(l->accept_again, &pause);
}

static void on_accept_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct http_listener *l = listener_of(arg);
    if (l->accept != NULL) {
        evconnlistener_enable(l->accept);
    }
}

/* The end of a loop turn. */

static void free_doomed(struct http_listener *l)
{
    struct http_conn *c = NULL;
    while ((c = TAILQ_FIRST(&l->doomed)) != NULL) {
        TAILQ_REMOVE(&l->doomed, c, turn);
        http_conn_free(c);
    }
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct http_listener *l = listener_of(arg);
    struct http_conn *last = TAILQ_LAST(&l->ready, http_conn_list), *c = NULL;
    while (last != NULL && c != last && (c = TAILQ_FIRST(&l->ready)) != NULL) {
        TAILQ_REMOVE(&l->ready, c, turn);
        c->ready = false;
        http_conn_read(c); /* what comes back to the list is for the next turn */
    }
    free_doomed(l);
    if (l->on_empty != NULL && TAILQ_EMPTY(&l->all) && TAILQ_EMPTY(&l->asked)) {
        void (*on_empty)(void *) = l->on_empty;
        l->on_empty = NULL;
        on_empty(l->on_empty_arg); /* may free the listener */
    }
}

void http_listener_wake(struct http_listener *l)
{
    event_active(l->turn, EV_TIMEOUT, 0);
}

/* Made, drained, freed. */

static void fill_options(struct http_listen_options *o)
{
    o->max_connections = o->max_connections != 0 ? o->max_connections : LIMIT_HTTP_CONNECTIONS;
    o->max_inflight_bytes = o->max_inflight_bytes != 0 ? o->max_inflight_bytes : LIMIT_HTTP_INFLIGHT_BYTES;
    o->max_body_bytes = o->max_body_bytes != 0 ? o->max_body_bytes : LIMIT_HTTP_BODY_BYTES;
    o->head_ms = o->head_ms != 0 ? o->head_ms : LIMIT_HTTP_HEAD_MS;
    o->idle_ms = o->idle_ms != 0 ? o->idle_ms : LIMIT_HTTP_IDLE_MS;
    o->body_window_ms = o->body_window_ms != 0 ? o->body_window_ms : LIMIT_HTTP_BODY_WINDOW_MS;
    o->body_min_bytes_s = o->body_min_bytes_s != 0 ? o->body_min_bytes_s : LIMIT_HTTP_BODY_MIN_BYTES_S;
    o->write_ms = o->write_ms != 0 ? o->write_ms : LIMIT_HTTP_WRITE_MS;
    o->linger_ms = o->linger_ms != 0 ? o->linger_ms : LIMIT_HTTP_LINGER_MS;
}

static bool open_socket(struct http_listener *l, const char *address, struct errmsg *e)
{
    struct listen_address a;
    if (!listen_address_parse(address, &a, e)) {
        return false;
    }
    l->loopback = listen_address_is_loopback(&a);
    int fd = l->options.fd > 0 ? l->options.fd : listen_socket_open(&a, address, e);
    if (fd == -1) {
        return false;
    }
    l->accept = evconnlistener_new(l->base, on_accept, l, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    ensure(l->accept != NULL);
    evconnlistener_set_error_cb(l->accept, on_accept_error);
    l->port = listen_socket_port(fd);
    return true;
}

struct http_listener *http_listener_new(struct event_base *base, const struct http_listen_options *options,
                                        struct errmsg *e)
{
    struct http_listener *l = xcalloc(1, sizeof(*l));
    l->magic = LISTENER_MAGIC;
    l->base = base;
    l->options = *options;
    fill_options(&l->options);
    l->budget.max_bytes = l->options.max_inflight_bytes;
    TAILQ_INIT(&l->all);
    TAILQ_INIT(&l->ready);
    TAILQ_INIT(&l->doomed);
    TAILQ_INIT(&l->asked);
    l->turn = event_new(base, -1, 0, on_turn, l);
    l->accept_again = evtimer_new(base, on_accept_again, l);
    ensure(l->turn != NULL && l->accept_again != NULL);
    if ((options->tls_certificate == NULL) != (options->tls_key == NULL)) {
        errmsg_set(e, "TLS needs both a certificate and a key");
        goto fail;
    }
    if (options->tls_certificate != NULL) {
        l->tls = listen_tls_new(options->tls_certificate, options->tls_key, e);
        if (l->tls == NULL) {
            goto fail;
        }
        listen_tls_speaks(l->tls, LISTEN_HTTP);
    }
    if (!open_socket(l, options->address, e)) {
        goto fail;
    }
    l->options.address = l->options.tls_certificate = l->options.tls_key = NULL;
    return l;
fail:
    http_listener_free(&l);
    return NULL;
}

void http_listener_set_limits(struct http_listener *l, const struct http_listen_options *o)
{
    l->options.max_connections = o->max_connections;
    l->options.max_inflight_bytes = o->max_inflight_bytes;
    l->options.max_body_bytes = o->max_body_bytes;
    l->options.head_ms = o->head_ms;
    fill_options(&l->options);
    l->budget.max_bytes = l->options.max_inflight_bytes;
}

uint16_t http_listener_port(const struct http_listener *l)
{
    return l->port;
}

const struct http_counters *http_listener_counters(struct http_listener *l)
{
    l->counters.inflight_bytes = l->budget.used_bytes;
    return &l->counters;
}

void http_listener_drain(struct http_listener *l, void (*on_empty)(void *arg), void *arg)
{
    l->draining = true;
    l->on_empty = on_empty;
    l->on_empty_arg = arg;
    if (l->accept != NULL) {
        evconnlistener_free(l->accept);
        l->accept = NULL;
    }
    struct http_conn *c = NULL, *next = NULL;
    for (c = TAILQ_FIRST(&l->all); c != NULL; c = next) {
        next = TAILQ_NEXT(c, all);
        if (c->state == HTTP_CONN_HANDSHAKE) {
            http_conn_kill(c, HTTP_FAULT_DRAINING);
        } else {
            http_conn_settle(c);
        }
    }
    http_listener_wake(l);
}

void http_listener_free(struct http_listener **lp)
{
    struct http_listener *l = *lp;
    *lp = NULL;
    if (l == NULL) {
        return;
    }
    struct http_conn *c = NULL;
    while ((c = TAILQ_FIRST(&l->all)) != NULL) {
        http_conn_kill(c, HTTP_FAULT_DRAINING);
    }
    free_doomed(l);
    struct http_exchange *x = NULL;
    while ((x = TAILQ_FIRST(&l->asked)) != NULL) {
        TAILQ_REMOVE(&l->asked, x, in_listener);
        x->listener = NULL;
        x->body.budget = NULL;
    }
    if (l->accept != NULL) {
        evconnlistener_free(l->accept);
    }
    event_free(l->accept_again);
    event_free(l->turn);
    listen_tls_free(&l->tls);
    free(l);
}

/*
 * The HTTP listener: its address, its certificate, accepting within caps,
 * draining, counters.  Connections are http_conn.c's.
 *
 * The one idea: whatever is over (dead connections, an empty listener) is seen
 * to at the end of the loop turn, so no callback pulls away what its caller
 * still stands on.
 */
#include "http_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "http_conn.h"

#define LISTENER_MAGIC  0x4874704Cu
#define ACCEPT_BACKLOG  4096    /* the kernel caps it at net.core.somaxconn */
#define ACCEPT_PAUSE_US 100000L /* after descriptors ran out */
#define SPARE_LOOKS     64u     /* connections looked at for one that can go, from the oldest */

static struct http_listener *listener_of(void *arg)
{
    struct http_listener *l = arg;
    ensure(l->magic == LISTENER_MAGIC);
    return l;
}

/* Addresses. */

struct socket_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t n;
};

static bool parse_host(struct slice host, uint16_t port, struct socket_address *out)
{
    char text[INET6_ADDRSTRLEN + 1] = {0};
    if (host.n == 0 || host.n >= sizeof(text)) {
        return false;
    }
    memcpy(text, host.p, host.n);
    *out = (struct socket_address){.n = sizeof(out->v4)};
    if (text[0] != '[') {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        return inet_pton(AF_INET, text, &out->v4.sin_addr) == 1;
    }
    if (text[host.n - 1] != ']') {
        return false;
    }
    text[host.n - 1] = '\0';
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(port);
    out->n = sizeof(out->v6);
    return inet_pton(AF_INET6, text + 1, &out->v6.sin6_addr) == 1;
}

static bool parse_address(const char *address, struct socket_address *out)
{
    const char *colon = address == NULL ? NULL : strrchr(address, ':');
    uint64_t port = 0;
    return colon != NULL && slice_to_u64(slice_of(colon + 1), UINT16_MAX, &port) &&
           parse_host((struct slice){address, (size_t)(colon - address)}, (uint16_t)port, out);
}

static bool is_loopback(const struct socket_address *a)
{
    if (a->any.sa_family == AF_INET) {
        return ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
    }
    return IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr);
}

static void format_peer(const struct sockaddr *sa, char out[HTTP_PEER_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)sa;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        snprintf(out, HTTP_PEER_MAX, "%s:%u", host, ntohs(v4->sin_port));
    } else {
        const struct sockaddr_in6 *v6 = (const void *)sa;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        snprintf(out, HTTP_PEER_MAX, "[%s]:%u", host, ntohs(v6->sin6_port));
    }
}

/* TLS. */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
                           unsigned in_n, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl, (void)arg;
    unsigned char *chosen = NULL;
    int rc = SSL_select_next_proto(&chosen, out_n, ours, sizeof(ours) - 1, in, in_n);
    *out = chosen;
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void tls_error(struct errmsg *e, const char *what, const char *file)
{
    char text[160] = "";
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
    errmsg_set(e, "%s %s: %s", what, file, text);
    ERR_clear_error();
}

static SSL_CTX *tls_new(const char *certificate, const char *key, struct errmsg *e)
{
    ERR_clear_error();
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    ensure(tls != NULL);
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);                          /* idle connections keep no buffers */
    ensure(SSL_CTX_set_cipher_list(tls, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1); /* of TLS 1.2; 1.3 has its own */
    SSL_CTX_set_alpn_select_cb(tls, choose_protocol, NULL);
    if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1) {
        tls_error(e, "cannot use the TLS certificate", certificate);
    } else if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
        tls_error(e, "cannot use the TLS key", key);
    } else {
        return tls;
    }
    SSL_CTX_free(tls);
    return NULL;
}

/* The context itself, under a name that needs no header of OpenSSL. */
struct http_tls *http_tls_new(const char *certificate, const char *key, struct errmsg *e)
{
    return (struct http_tls *)tls_new(certificate, key, e);
}

void http_tls_free(struct http_tls **tls)
{
    SSL_CTX_free((SSL_CTX *)take(tls));
}

void http_listener_set_tls(struct http_listener *l, struct http_tls **tls)
{
    ensure(l->tls != NULL);
    SSL_CTX_free(l->tls); /* counted: open connections hold it */
    l->tls = (SSL_CTX *)take(tls);
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
    SSL *ssl = NULL;
    if (l->tls != NULL) {
        ssl = SSL_new(l->tls);
        ensure(ssl != NULL);
    }
    char peer[HTTP_PEER_MAX];
    format_peer(sa, peer);
    struct http_conn *c = http_conn_new(l, fd, ssl, peer);
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
    struct socket_address a;
    if (!parse_address(address, &a)) {
        errmsg_set(e, "'%s' is no address to listen on; write 127.0.0.1:8080 or [::1]:8080",
                   address == NULL ? "" : address);
        return false;
    }
    l->loopback = is_loopback(&a);
    unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE;
    if (l->options.fd > 0)
        l->accept = evconnlistener_new(l->base, on_accept, l, flags, 0, l->options.fd); /* it listens already */
    else
        l->accept = evconnlistener_new_bind(l->base, on_accept, l, flags, ACCEPT_BACKLOG, &a.any, (int)a.n);
    if (l->accept == NULL) {
        errmsg_set(e, "cannot listen on %s: %s", address, strerror(errno));
        return false;
    }
    evconnlistener_set_error_cb(l->accept, on_accept_error);
    struct socket_address bound = {.n = sizeof(bound.v6)};
    ensure(getsockname(evconnlistener_get_fd(l->accept), &bound.any, &bound.n) == 0);
    l->port = ntohs(a.any.sa_family == AF_INET ? bound.v4.sin_port : bound.v6.sin6_port);
    return true;
}

/* -1, with errno.  Without shared nobody else may have the address, so that a stranger's socket is not joined. */
static int listening_socket(const struct socket_address *a, bool shared)
{
    int on = 1, fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) && bind(fd, &a->any, a->n) == 0 &&
        (!shared || listen(fd, ACCEPT_BACKLOG) == 0))
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

bool http_listen_sockets(const char *address, int *fds, size_t n, struct errmsg *e)
{
    struct socket_address a;
    if (!parse_address(address, &a)) {
        errmsg_set(e, "'%s' is no address to listen on; write 127.0.0.1:8080 or [::1]:8080", address);
        return false;
    }
    int probe = listening_socket(&a, false);
    bool ok = probe != -1 && getsockname(probe, &a.any, &a.n) == 0; /* of port 0: the one that all shall have */
    if (probe != -1)
        close(probe);
    size_t made = 0;
    while (ok && made < n) {
        fds[made] = listening_socket(&a, true);
        ok = fds[made] != -1;
        made += ok;
    }
    if (ok)
        return true;
    errmsg_set(e, "cannot listen on %s: %s", address, strerror(errno));
    while (made > 0)
        close(fds[--made]);
    return false;
}

/* Linux: a listening socket that is shut down leaves its group and stays bound. */
void http_listen_pause(int fd)
{
    ensure(shutdown(fd, SHUT_RD) == 0 || errno == ENOTCONN); /* it does not listen already */
}

bool http_listen_again(int fd)
{
    return listen(fd, ACCEPT_BACKLOG) == 0;
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
    if (options->tls_certificate != NULL && (l->tls = tls_new(options->tls_certificate, options->tls_key, e)) == NULL) {
        goto fail;
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
    SSL_CTX_free(l->tls);
    free(l);
}

/*
 * One connection to a Redis server, made again whenever it is of no use: dialling,
 * TLS, password, database and PING, reading, and the reason in the log.  Knows no
 * commands but those of the greeting.
 *
 * The idea: a bufferevent of ours under a parser of bytes; and the breaker is no
 * more than having no connection that has answered a PING.
 */
#include "redis_link.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>

#include "loop.h"
#include "postern/clock.h"
#include "postern/log.h"

#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 500
#define STEADY_MS    5000 /* a connection that lived so long starts the retries anew */

/* --- the connection's end -------------------------------------------------------------- */

static void on_retry(void *arg);

static void on_tell(void *arg)
{
    struct redis *r = arg;
    bool up = r->state == REDIS_UP;

    r->tell = NULL;
    if (up == r->told_up)
        return;
    r->told_up = up;
    r->options.on_state(up, r->options.arg);
}

static void tell(struct redis *r)
{
    if (r->tell == NULL)
        r->tell = loop_defer(r->loop, on_tell, r);
}

/* The same trouble is named once, not at each try. */
static void say_down(struct redis *r, const char *why)
{
    if (strncmp(r->said, why, sizeof(r->said) - 1) == 0)
        return;
    snprintf(r->said, sizeof(r->said), "%s", why);
    log_line(LOG_WARN, NULL, "redis", r->state == REDIS_UP ? "lost" : "unreachable", "host=%s port=%u why=%s",
             LOG_Q(slice_of(r->options.host)), r->options.port, LOG_Q(slice_of(why)));
}

static void hang_up(struct redis *r)
{
    if (r->bev != NULL)
        bufferevent_free(r->bev);
    r->bev = NULL;
    redis_reader_free(&r->reader);
    evbuffer_drain(r->out, evbuffer_get_length(r->out));
    loop_cancel(&r->flush);
    loop_cancel(&r->timer);
}

void redis_link_drop(struct redis *r, const char *why)
{
    int64_t now_ms = clock_mono_ms();

    if (r->state == REDIS_UP && now_ms - r->up_since_ms > STEADY_MS) {
        r->retry_ms = RETRY_MIN_MS;
        r->said[0] = '\0'; /* new trouble, even of the same name */
    }
    say_down(r, why);
    r->counters.failures += r->state == REDIS_UP;
    r->state = REDIS_DOWN;
    hang_up(r);
    redis_fail_all(r);
    tell(r);
    loop_cancel(&r->retry);
    r->retry = loop_after(r->loop, r->retry_ms, on_retry, r);
    r->retry_ms = r->retry_ms * 2 < RETRY_MAX_MS ? r->retry_ms * 2 : RETRY_MAX_MS;
}

void redis_reconnect(struct redis *r, const char *why)
{
    if (r->state != REDIS_DOWN)
        redis_link_drop(r, why);
}

void redis_link_write(struct redis *r)
{
    if (r->bev == NULL)
        return;
    /* Without TLS the turn's commands go out at once; what the socket does not take waits in the bufferevent. */
    if (r->tls == NULL && evbuffer_get_length(bufferevent_get_output(r->bev)) == 0)
        ignore(evbuffer_write(r->out, bufferevent_getfd(r->bev))); /* an error shows as the connection's */
    if (evbuffer_get_length(r->out) > 0)
        bufferevent_write_buffer(r->bev, r->out);
}

/* --- in -------------------------------------------------------------------------------- */

/* Errors that say that this server, now, is not one to ask. */
static bool is_fatal(const struct redis_reply *reply)
{
    static const char *const words[] = {"LOADING ", "READONLY ",  "MASTERDOWN ", "NOAUTH ",
                                        "BUSY ",    "WRONGPASS ", "CLUSTERDOWN "};

    for (size_t i = 0; i < N_ELEMENTS(words) && reply->kind == REDIS_ERROR; i++) {
        if (slice_starts(reply->text, words[i]))
            return true;
    }
    return false;
}

static void drop_for(struct redis *r, struct slice error)
{
    char why[120];
    snprintf(why, sizeof(why), "%.*s", (int)(error.n < 100 ? error.n : 100), error.p);
    redis_link_drop(r, why);
}

/* An answer to AUTH, SELECT or PING. */
static void greeted(struct redis *r, const struct redis_reply *reply)
{
    if (reply->kind == REDIS_ERROR) {
        drop_for(r, reply->text);
        return;
    }
    if (--r->greetings > 0)
        return;
    r->state = REDIS_UP;
    r->up_since_ms = clock_mono_ms();
    log_line(LOG_INFO, NULL, "redis", "connected", "host=%s port=%u db=%d tls=%d", LOG_Q(slice_of(r->options.host)),
             r->options.port, r->options.db, r->tls != NULL);
    tell(r);
}

static void answered(struct redis *r, const struct redis_reply *reply)
{
    r->heard_us = clock_mono_us();
    r->counters.failures += reply->kind == REDIS_ERROR;
    if (is_fatal(reply))
        drop_for(r, reply->text); /* and all that wait are told that nobody answers */
    else if (!redis_answered(r, reply))
        redis_link_drop(r, "it answers what was not asked");
}

static void read_replies(struct redis *r)
{
    const struct bufferevent *bev = r->bev;

    while (r->bev == bev) { /* a callback may have had the connection dropped */
        struct redis_reply *reply;
        if (!redis_reader_next(r->reader, &reply)) {
            redis_link_drop(r, "its reply cannot be read");
            return;
        }
        if (reply == NULL)
            return;
        if (r->state == REDIS_GREETING)
            greeted(r, reply);
        else
            answered(r, reply);
        redis_reply_free(reply);
    }
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct redis *r = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    size_t n;

    loop_mark(r->loop);
    while ((n = evbuffer_get_contiguous_space(in)) > 0) {
        bool fed = redis_reader_feed(r->reader, (struct slice){(const char *)evbuffer_pullup(in, (ev_ssize_t)n), n});
        evbuffer_drain(in, n);
        if (!fed) {
            redis_link_drop(r, "its reply cannot be read");
            return;
        }
    }
    read_replies(r);
    if (r->state == REDIS_UP)
        redis_arm(r);
}

/* --- connecting -------------------------------------------------------------------------- */

static void greet(struct redis *r)
{
    const struct redis_options *o = &r->options;
    struct slice auth[3] = {SLICE("AUTH"), slice_of(o->username), slice_of(o->password)};
    char db[12];
    int one = 1;

    r->state = REDIS_GREETING;
    r->greetings = 1;
    ignore(setsockopt(bufferevent_getfd(r->bev), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
    bool ok = true;
    if (o->password != NULL) {
        if (o->username == NULL)
            auth[1] = auth[2];
        ok = redis_wire_add(r->out, auth, o->username != NULL ? 3 : 2);
        r->greetings++;
    }
    if (o->db != 0) {
        snprintf(db, sizeof(db), "%d", o->db);
        ok = redis_wire_add(r->out, (struct slice[]){SLICE("SELECT"), slice_of(db)}, 2) && ok;
        r->greetings++;
    }
    if (!redis_wire_add(r->out, (struct slice[]){SLICE("PING")}, 1) || !ok)
        redis_link_drop(r, "no memory for the greeting");
    else
        redis_link_write(r);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct redis *r = arg;
    unsigned long tls_error = r->tls != NULL ? bufferevent_get_openssl_error(bev) : 0;
    char why[160];

    loop_mark(r->loop);
    if ((what & BEV_EVENT_CONNECTED) != 0) {
        greet(r);
        return;
    }
    if (r->tls != NULL && r->state == REDIS_CONNECTING) {
        long verified = SSL_get_verify_result(bufferevent_openssl_get_ssl(bev));
        const char *reason =
            verified != X509_V_OK ? X509_verify_cert_error_string(verified) : ERR_reason_error_string(tls_error);
        snprintf(why, sizeof(why), "TLS: %s", reason != NULL ? reason : strerror(EVUTIL_SOCKET_ERROR()));
    } else if (bufferevent_socket_get_dns_error(bev) != 0) {
        snprintf(why, sizeof(why), "%s", evutil_gai_strerror(bufferevent_socket_get_dns_error(bev)));
    } else {
        bool ended = (what & BEV_EVENT_EOF) != 0;
        snprintf(why, sizeof(why), "%s", ended ? "it closed the connection" : strerror(EVUTIL_SOCKET_ERROR()));
    }
    redis_link_drop(r, why);
}

static struct bufferevent *bev_tls(struct redis *r)
{
    SSL *ssl = SSL_new(r->tls);
    const char *host = r->options.host;
    struct in6_addr address;

    ensure(ssl != NULL);
    bool literal = evutil_inet_pton(AF_INET, host, &address) == 1 || evutil_inet_pton(AF_INET6, host, &address) == 1;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    if (literal)
        ensure(X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1);
    else
        ensure(SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1);
    return bufferevent_openssl_socket_new(loop_base(r->loop), -1, ssl, BUFFEREVENT_SSL_CONNECTING,
                                          BEV_OPT_CLOSE_ON_FREE);
}

static void start_connecting(struct redis *r)
{
    r->bev = r->tls != NULL ? bev_tls(r) : bufferevent_socket_new(loop_base(r->loop), -1, BEV_OPT_CLOSE_ON_FREE);
    ensure(r->bev != NULL);
    r->reader = redis_reader_new();
    r->state = REDIS_CONNECTING;
    r->heard_us = clock_mono_us();
    bufferevent_setcb(r->bev, on_read, NULL, on_event, r);
    bufferevent_enable(r->bev, EV_READ | EV_WRITE);
    redis_arm(r);
    if (bufferevent_socket_connect_hostname(r->bev, r->dns, AF_UNSPEC, r->options.host, r->options.port) != 0 &&
        r->state == REDIS_CONNECTING)
        redis_link_drop(r, strerror(errno));
}

static void on_retry(void *arg)
{
    struct redis *r = arg;
    r->retry = NULL;
    start_connecting(r);
}

/* --- the whole ----------------------------------------------------------------------------- */

void redis_link_init(struct redis *r)
{
    struct event_base *base = loop_base(r->loop);

    r->retry_ms = RETRY_MIN_MS;
    r->out = evbuffer_new();
    r->dns = evdns_base_new(base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (r->dns == NULL) { /* no name server configured: addresses and /etc/hosts still work */
        r->dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
        ignore(evdns_base_load_hosts(r->dns, NULL));
    }
    ensure(r->out != NULL && r->dns != NULL);
    r->retry = loop_defer(r->loop, on_retry, r);
}

bool redis_link_secure(struct redis *r, const char *ca_file, struct errmsg *e)
{
    r->tls = SSL_CTX_new(TLS_client_method());
    ensure(r->tls != NULL);
    SSL_CTX_set_verify(r->tls, SSL_VERIFY_PEER, NULL);
    bool ok = SSL_CTX_set_min_proto_version(r->tls, TLS1_2_VERSION) == 1 &&
              (ca_file != NULL ? SSL_CTX_load_verify_locations(r->tls, ca_file, NULL)
                               : SSL_CTX_set_default_verify_paths(r->tls)) == 1;
    if (!ok)
        errmsg_set(e, "redis: %s holds no certificates that can be read",
                   ca_file != NULL ? ca_file : "the system's store");
    return ok;
}

void redis_link_clear(struct redis *r)
{
    hang_up(r);
    loop_cancel(&r->retry);
    loop_cancel(&r->tell);
    evdns_base_free(r->dns, 0);
    evbuffer_free(r->out);
    SSL_CTX_free(r->tls);
}

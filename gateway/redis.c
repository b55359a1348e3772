/*
 * The connection to Redis, on a bufferevent of ours: hiredis 0.14.1 knows neither
 * deadlines nor TLS nor reconnecting, so only its formatter and its parser are used.
 * Knows commands and replies, not what they are for.
 *
 * The ideas: replies come in the order of the commands, so a command whose deadline
 * passed stays in the row as one that nobody waits for; and the breaker is no more
 * than having no connection that has answered a PING.
 */
#include "redis.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "loop.h"
#include "postern/clock.h"
#include "postern/log.h"
#include "postern/secret.h"

#define GREET_MS     1000 /* to connect and to answer PING */
#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 500
#define STEADY_MS    5000     /* a connection that lived so long starts the retries anew */
#define REPLY_ITEMS  4096     /* of one list: our scripts answer with far fewer */
#define REPLY_BYTES  1048576u /* of one reply that is not whole yet */

struct redis_op {
    struct redis *redis;
    redis_cb *cb; /* NULL: nobody waits any more */
    void *arg;
    int64_t asked_us, deadline_us;
    struct loop_task *failing;    /* never sent: told at the end of the turn */
    TAILQ_ENTRY(redis_op) in_row; /* in the order of replies */
    TAILQ_ENTRY(redis_op) in_due; /* of those with a cb, by deadline */
    bool timed;
};
TAILQ_HEAD(redis_row, redis_op);

enum state { DOWN, CONNECTING, GREETING, UP };

struct redis {
    struct loop *loop;
    struct redis_options options; /* its texts are ours */
    char *password;
    SSL_CTX *tls;
    struct evdns_base *dns;
    struct bufferevent *bev;
    redisReader *reader;
    enum state state;
    bool told_up, flushing;
    unsigned greetings; /* replies of the greeting still to come */
    int64_t heard_us;   /* a reply came, or the first of the row was sent */
    int64_t up_since_ms, retry_ms;
    struct evbuffer *out; /* of this turn */
    struct loop_task *flush, *retry, *timer, *tell;
    int64_t timer_us; /* when it looks */
    struct redis_row row, due, failing;
    char said[160]; /* the reason that the log named last */
    struct redis_counters counters;
};

/* --- replies: our own objects, so that a mad server cannot make us allocate ------------- */

static void reply_free(void *p)
{
    struct redis_reply *r = p;
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n; i++)
        reply_free(r->items[i]);
    free(r->items);
    free((char *)r->text.p);
    free(r);
}

static struct redis_reply *reply_new(const redisReadTask *task, enum redis_kind kind)
{
    struct redis_reply *r = xcalloc(1, sizeof(*r));
    r->kind = kind;
    if (task->parent != NULL)
        ((struct redis_reply *)task->parent->obj)->items[task->idx] = r;
    return r;
}

static void *reply_text(const redisReadTask *task, char *p, size_t n)
{
    char *copy = calloc(n + 1, 1);
    if (copy == NULL)
        return NULL; /* the connection is given up */
    memcpy(copy, p, n);
    struct redis_reply *r = reply_new(task, task->type == REDIS_REPLY_ERROR ? REDIS_ERROR : REDIS_TEXT);
    r->text = (struct slice){copy, n};
    return r;
}

static void *reply_list(const redisReadTask *task, int n)
{
    if (n < 0 || n > REPLY_ITEMS)
        return NULL; /* the parser calls that being out of memory, and stops */
    struct redis_reply *r = reply_new(task, REDIS_LIST);
    r->items = xcalloc(n > 0 ? (size_t)n : 1, sizeof(void *));
    r->n = (size_t)n;
    return r;
}

static void *reply_number(const redisReadTask *task, long long n)
{
    struct redis_reply *r = reply_new(task, REDIS_NUMBER);
    r->number = n;
    return r;
}

static void *reply_nothing(const redisReadTask *task)
{
    return reply_new(task, REDIS_NOTHING);
}

static redisReplyObjectFunctions reply_functions = {reply_text, reply_list, reply_number, reply_nothing, reply_free};

/* --- ops ------------------------------------------------------------------------------ */

/* The first of the row, taken out of it; NULL: there is none. */
static struct redis_op *row_take(struct redis *r)
{
    struct redis_op *op = TAILQ_FIRST(&r->row);

    if (op == NULL)
        return NULL;
    TAILQ_REMOVE(&r->row, op, in_row);
    if (op->timed)
        TAILQ_REMOVE(&r->due, op, in_due);
    op->timed = false;
    return op;
}

/* It is over for the one who asked; the op, of no list any more, is gone. */
static void op_end(struct redis_op *op, enum err status, const struct redis_reply *reply)
{
    redis_cb *cb = op->cb;
    void *arg = op->arg;

    free(op);
    if (cb != NULL)
        cb(status, reply, arg);
}

static void on_failing(void *arg)
{
    struct redis_op *op = arg;
    TAILQ_REMOVE(&op->redis->failing, op, in_row);
    op_end(op, ERR_UNAVAILABLE, NULL);
}

void redis_op_cancel(struct redis_op **opp)
{
    struct redis_op *op = take(opp);
    if (op == NULL)
        return;
    op->cb = NULL;
    if (op->failing != NULL) {
        loop_cancel(&op->failing);
        TAILQ_REMOVE(&op->redis->failing, op, in_row);
        free(op);
        return;
    }
    if (op->timed)
        TAILQ_REMOVE(&op->redis->due, op, in_due);
    op->timed = false;
}

/* Deadlines are of two or three lengths: almost always the last place. */
static void due_add(struct redis *r, struct redis_op *op)
{
    struct redis_op *before = TAILQ_LAST(&r->due, redis_row);

    while (before != NULL && before->deadline_us > op->deadline_us)
        before = TAILQ_PREV(before, redis_row, in_due);
    if (before != NULL)
        TAILQ_INSERT_AFTER(&r->due, before, op, in_due);
    else
        TAILQ_INSERT_HEAD(&r->due, op, in_due);
    op->timed = true;
}

/* --- the connection's end -------------------------------------------------------------- */

static void on_retry(void *arg);

static void on_tell(void *arg)
{
    struct redis *r = arg;
    bool up = r->state == UP;

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
    log_line(LOG_WARN, NULL, "redis", r->state == UP ? "lost" : "unreachable", "host=%s port=%u why=%s",
             LOG_Q(slice_of(r->options.host)), r->options.port, LOG_Q(slice_of(why)));
}

static void hang_up(struct redis *r)
{
    if (r->bev != NULL)
        bufferevent_free(r->bev);
    r->bev = NULL;
    if (r->reader != NULL)
        redisReaderFree(r->reader);
    r->reader = NULL;
    evbuffer_drain(r->out, evbuffer_get_length(r->out));
    loop_cancel(&r->flush);
    loop_cancel(&r->timer);
}

/* The connection is of no use any more: whoever waits is told at the end of the turn, and another is tried. */
static void drop(struct redis *r, const char *why)
{
    struct redis_op *op;
    int64_t now_ms = clock_mono_ms();

    if (r->state == UP && now_ms - r->up_since_ms > STEADY_MS) {
        r->retry_ms = RETRY_MIN_MS;
        r->said[0] = '\0'; /* new trouble, even of the same name */
    }
    say_down(r, why);
    r->counters.failures += r->state == UP;
    r->state = DOWN;
    hang_up(r);
    while ((op = row_take(r)) != NULL) {
        if (op->cb == NULL) {
            free(op);
            continue;
        }
        TAILQ_INSERT_TAIL(&r->failing, op, in_row);
        op->failing = loop_defer(r->loop, on_failing, op);
    }
    tell(r);
    loop_cancel(&r->retry);
    r->retry = loop_after(r->loop, r->retry_ms, on_retry, r);
    r->retry_ms = r->retry_ms * 2 < RETRY_MAX_MS ? r->retry_ms * 2 : RETRY_MAX_MS;
}

void redis_reconnect(struct redis *r, const char *why)
{
    if (r->state != DOWN)
        drop(r, why);
}

/* --- deadlines ------------------------------------------------------------------------- */

static void on_timer(void *arg);

static void arm(struct redis *r)
{
    const struct redis_op *first = TAILQ_FIRST(&r->row), *due = TAILQ_FIRST(&r->due);
    int64_t at_us = due != NULL ? due->deadline_us : INT64_MAX;

    if (r->state == GREETING || r->state == CONNECTING)
        at_us = r->heard_us + GREET_MS * INT64_C(1000);
    else if (first != NULL && r->heard_us + REDIS_SILENCE * r->options.deadline_ms * 1000 < at_us)
        at_us = r->heard_us + REDIS_SILENCE * r->options.deadline_ms * 1000;
    if (at_us == INT64_MAX || (r->timer != NULL && r->timer_us <= at_us))
        return;
    loop_cancel(&r->timer);
    r->timer_us = at_us;
    r->timer = loop_after(r->loop, (at_us - clock_mono_us() + 999) / 1000, on_timer, r);
}

static void on_timer(void *arg)
{
    struct redis *r = arg;
    int64_t now_us = clock_mono_us();
    struct redis_op *op;

    r->timer = NULL;
    if (r->state != UP) {
        if (now_us - r->heard_us >= GREET_MS * INT64_C(1000)) {
            drop(r, r->state == CONNECTING ? "no connection within a second" : "no answer to the greeting");
            return;
        }
        arm(r);
        return;
    }
    if (TAILQ_FIRST(&r->row) != NULL && now_us - r->heard_us >= REDIS_SILENCE * r->options.deadline_ms * 1000) {
        drop(r, "it does not answer");
        return;
    }
    while ((op = TAILQ_FIRST(&r->due)) != NULL && op->deadline_us <= now_us) {
        redis_cb *cb = op->cb;
        ensure(cb != NULL); /* who cancels leaves the list */
        TAILQ_REMOVE(&r->due, op, in_due);
        op->timed = false;
        op->cb = NULL; /* stays in the row: its reply will come, for nobody */
        r->counters.timeouts++;
        cb(ERR_TIMEOUT, NULL, op->arg);
        if (r->state != UP)
            return;
    }
    arm(r);
}

/* --- out ------------------------------------------------------------------------------- */

static void on_flush(void *arg)
{
    struct redis *r = arg;

    r->flush = NULL;
    r->flushing = true;
    if (r->state == UP && r->options.before_write != NULL)
        r->options.before_write(r->options.arg);
    r->flushing = false;
    if (r->bev == NULL)
        return;
    /* Without TLS the turn's commands go out at once; what the socket does not take waits in the bufferevent. */
    if (r->tls == NULL && evbuffer_get_length(bufferevent_get_output(r->bev)) == 0)
        ignore(evbuffer_write(r->out, bufferevent_getfd(r->bev))); /* an error shows as the connection's */
    if (evbuffer_get_length(r->out) > 0)
        bufferevent_write_buffer(r->bev, r->out);
}

void redis_write_soon(struct redis *r)
{
    if (r->flush == NULL && !r->flushing && r->state == UP)
        r->flush = loop_defer(r->loop, on_flush, r);
}

static bool format(struct redis *r, const struct slice *args, size_t n)
{
    const char *argv[600];
    size_t lens[600];
    char *command = NULL;

    ensure(n <= N_ELEMENTS(argv));
    for (size_t i = 0; i < n; i++) {
        argv[i] = args[i].p != NULL ? args[i].p : "";
        lens[i] = args[i].n;
    }
    int len = redisFormatCommandArgv(&command, (int)n, argv, lens);
    bool ok = len > 0 && evbuffer_add(r->out, command, (size_t)len) == 0;
    redisFreeCommand(command);
    if (ok && r->flush == NULL && !r->flushing)
        r->flush = loop_defer(r->loop, on_flush, r);
    return ok;
}

struct redis_op *redis_ask(struct redis *r, const struct slice *args, size_t n_args, int64_t deadline_ms, redis_cb *cb,
                           void *arg)
{
    struct redis_op *op = xcalloc(1, sizeof(*op));

    op->redis = r;
    op->cb = cb;
    op->arg = arg;
    op->asked_us = clock_mono_us();
    op->deadline_us = op->asked_us + (deadline_ms != 0 ? deadline_ms : r->options.deadline_ms) * 1000;
    r->counters.commands++;
    if (r->state != UP || !format(r, args, n_args)) {
        TAILQ_INSERT_TAIL(&r->failing, op, in_row);
        op->failing = loop_defer(r->loop, on_failing, op);
        return op;
    }
    if (TAILQ_EMPTY(&r->row))
        r->heard_us = op->asked_us;
    TAILQ_INSERT_TAIL(&r->row, op, in_row);
    due_add(r, op);
    arm(r);
    return op;
}

/* --- in -------------------------------------------------------------------------------- */

/* Errors that say that this server, now, is not one to ask. */
static bool is_fatal(struct slice error)
{
    static const char *const words[] = {"LOADING ", "READONLY ",  "MASTERDOWN ", "NOAUTH ",
                                        "BUSY ",    "WRONGPASS ", "CLUSTERDOWN "};

    for (size_t i = 0; i < N_ELEMENTS(words); i++) {
        if (slice_starts(error, words[i]))
            return true;
    }
    return false;
}

static void drop_for(struct redis *r, struct slice error)
{
    char why[120];
    snprintf(why, sizeof(why), "%.*s", (int)(error.n < 100 ? error.n : 100), error.p);
    drop(r, why);
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
    r->state = UP;
    r->up_since_ms = clock_mono_ms();
    log_line(LOG_INFO, NULL, "redis", "connected", "host=%s port=%u db=%d tls=%d", LOG_Q(slice_of(r->options.host)),
             r->options.port, r->options.db, r->tls != NULL);
    tell(r);
}

static void answered(struct redis *r, const struct redis_reply *reply)
{
    int64_t now_us = clock_mono_us();

    r->heard_us = now_us;
    r->counters.failures += reply->kind == REDIS_ERROR;
    if (reply->kind == REDIS_ERROR && is_fatal(reply->text)) {
        drop_for(r, reply->text); /* and all that wait are told that nobody answers */
        return;
    }
    struct redis_op *op = row_take(r);
    if (op == NULL) {
        drop(r, "it answers what was not asked");
        return;
    }
    if (reply->kind != REDIS_ERROR)
        r->counters.answered_us += now_us - op->asked_us;
    op_end(op, OK, reply);
}

static void read_replies(struct redis *r)
{
    const struct bufferevent *bev = r->bev;

    while (r->bev == bev) { /* a callback may have had the connection dropped */
        void *reply = NULL;
        if (redisReaderGetReply(r->reader, &reply) != REDIS_OK) {
            drop(r, "its reply cannot be read");
            return;
        }
        if (reply == NULL)
            break;
        if (r->state == GREETING)
            greeted(r, reply);
        else
            answered(r, reply);
        reply_free(reply);
    }
    if (r->bev == bev && r->reader->len - r->reader->pos > REPLY_BYTES)
        drop(r, "its reply has no end");
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct redis *r = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    size_t n;

    loop_mark(r->loop);
    while ((n = evbuffer_get_contiguous_space(in)) > 0) {
        bool fed = redisReaderFeed(r->reader, (const char *)evbuffer_pullup(in, (ev_ssize_t)n), n) == REDIS_OK;
        evbuffer_drain(in, n);
        if (!fed) {
            drop(r, "its reply cannot be read");
            return;
        }
    }
    read_replies(r);
    if (r->state == UP)
        arm(r);
}

/* --- connecting -------------------------------------------------------------------------- */

static void greet(struct redis *r)
{
    const struct redis_options *o = &r->options;
    struct slice auth[3] = {SLICE("AUTH"), slice_of(o->username), slice_of(o->password)};
    char db[12];
    int one = 1;

    r->state = GREETING;
    r->greetings = 1;
    ignore(setsockopt(bufferevent_getfd(r->bev), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
    bool ok = true;
    if (o->password != NULL) {
        if (o->username == NULL)
            auth[1] = auth[2];
        ok = format(r, auth, o->username != NULL ? 3 : 2);
        r->greetings++;
    }
    if (o->db != 0) {
        snprintf(db, sizeof(db), "%d", o->db);
        ok = format(r, (struct slice[]){SLICE("SELECT"), slice_of(db)}, 2) && ok;
        r->greetings++;
    }
    if (!format(r, (struct slice[]){SLICE("PING")}, 1) || !ok)
        drop(r, "no memory for the greeting");
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
    if (r->tls != NULL && r->state == CONNECTING) {
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
    drop(r, why);
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
    r->reader = redisReaderCreateWithFunctions(&reply_functions);
    ensure(r->bev != NULL && r->reader != NULL);
    r->state = CONNECTING;
    r->heard_us = clock_mono_us();
    bufferevent_setcb(r->bev, on_read, NULL, on_event, r);
    bufferevent_enable(r->bev, EV_READ | EV_WRITE);
    arm(r);
    if (bufferevent_socket_connect_hostname(r->bev, r->dns, AF_UNSPEC, r->options.host, r->options.port) != 0 &&
        r->state == CONNECTING)
        drop(r, strerror(errno));
}

static void on_retry(void *arg)
{
    struct redis *r = arg;
    r->retry = NULL;
    start_connecting(r);
}

static SSL_CTX *tls_new(const char *ca_file, struct errmsg *e)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

    ensure(tls != NULL);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    bool ok = SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1 &&
              (ca_file != NULL ? SSL_CTX_load_verify_locations(tls, ca_file, NULL)
                               : SSL_CTX_set_default_verify_paths(tls)) == 1;
    if (ok)
        return tls;
    errmsg_set(e, "redis: %s holds no certificates that can be read", ca_file != NULL ? ca_file : "the system's store");
    SSL_CTX_free(tls);
    return NULL;
}

/* The configuration that they come from may be freed, and another one be in force. */
static void keep_options(struct redis *r, const struct redis_options *o)
{
    r->options = *o;
    r->options.host = xstrdup(o->host);
    r->options.ca_file = o->ca_file != NULL ? xstrdup(o->ca_file) : NULL;
    r->options.username = o->username != NULL ? xstrdup(o->username) : NULL;
    r->options.password = r->password = o->password != NULL ? xstrdup(o->password) : NULL;
}

static void free_options(struct redis *r)
{
    free((char *)r->options.host);
    free((char *)r->options.ca_file);
    free((char *)r->options.username);
    secret_free(&r->password);
}

struct redis *redis_new(struct loop *loop, const struct redis_options *o, struct errmsg *e)
{
    struct redis *r = xcalloc(1, sizeof(*r));

    r->loop = loop;
    keep_options(r, o);
    r->retry_ms = RETRY_MIN_MS;
    TAILQ_INIT(&r->row);
    TAILQ_INIT(&r->due);
    TAILQ_INIT(&r->failing);
    r->out = evbuffer_new();
    r->dns = evdns_base_new(loop_base(loop), EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (r->dns == NULL) { /* no name server configured: addresses and /etc/hosts still work */
        r->dns = evdns_base_new(loop_base(loop), EVDNS_BASE_DISABLE_WHEN_INACTIVE);
        ignore(evdns_base_load_hosts(r->dns, NULL));
    }
    ensure(r->out != NULL && r->dns != NULL);
    if (o->tls && (r->tls = tls_new(o->ca_file, e)) == NULL) {
        redis_free(&r);
        return NULL;
    }
    r->retry = loop_defer(loop, on_retry, r);
    return r;
}

void redis_free(struct redis **rp)
{
    struct redis *r = take(rp);
    struct redis_op *op;

    if (r == NULL)
        return;
    hang_up(r);
    while ((op = row_take(r)) != NULL)
        free(op);
    while ((op = TAILQ_FIRST(&r->failing)) != NULL) {
        TAILQ_REMOVE(&r->failing, op, in_row);
        loop_cancel(&op->failing);
        free(op);
    }
    loop_cancel(&r->retry);
    loop_cancel(&r->tell);
    evdns_base_free(r->dns, 0);
    evbuffer_free(r->out);
    SSL_CTX_free(r->tls);
    free_options(r);
    free(r);
}

bool redis_is_up(const struct redis *r)
{
    return r->state == UP;
}

struct redis_counters redis_counters(const struct redis *r)
{
    return r->counters;
}

/*
 * The SMTP listener: its address, its certificate, accepting within caps, deadlines, draining, counters.  Sessions are
 * smtp_session.c's.
 *
 * The one idea: thousands of slow clients cost what they send and nothing else: no session has a timer, one sweep a
 * second looks at all of them.
 */
#include "smtp_listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth_backoff.h"
#include "loop.h"
#include "postern/clock.h"
#include "smtp_session.h"

#define LISTENER_MAGIC   0x536D704Cu
#define ACCEPTS_A_TURN   64u /* then others have theirs */
#define ACCEPT_PAUSE_MS  100 /* after descriptors ran out */
#define SWEEP_MIN_MS     5
#define SWEEP_MAX_MS     1000
#define SWEEPS_TO_A_TIME 8 /* how far a deadline may be missed: an eighth of it */

#define OVERLOADED  "421 4.3.2 Service not available: too many connections\r\n"
#define TOO_MANY_OF "421 4.7.0 Too many connections from your address\r\n"

static struct smtp_listener *listener_of(void *arg)
{
    struct smtp_listener *l = arg;
    ensure(l->magic == LISTENER_MAGIC);
    return l;
}

bool smtp_listener_is_loaded(const struct smtp_listener *l)
{
    return l->draining || 3 * l->counters.open > 2 * (size_t)l->options.max_connections;
}

/* --- where clients come from ------------------------------------------------------------------ */

static void address_key(const struct sockaddr *sa, uint8_t key[16])
{
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};

    memset(key, 0, 16);
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)sa;
        memcpy(key, mapped, sizeof(mapped));
        memcpy(key + sizeof(mapped), &v4->sin_addr, 4);
        return;
    }
    const struct sockaddr_in6 *v6 = (const void *)sa;
    bool is_mapped = memcmp(&v6->sin6_addr, mapped, sizeof(mapped)) == 0;
    memcpy(key, &v6->sin6_addr, is_mapped ? 16 : 8);
}

/* uthash is macros: their branches are not this file's.  NOLINTBEGIN(readability-function-size) */
static struct smtp_address *address_of(struct smtp_listener *l, const struct sockaddr *sa)
{
    struct smtp_address *a = NULL;
    uint8_t key[16];

    address_key(sa, key);
    HASH_FIND(hh, l->addresses, key, sizeof(key), a);
    if (a == NULL) {
        a = xcalloc(1, sizeof(*a));
        memcpy(a->key, key, sizeof(key));
        HASH_ADD(hh, l->addresses, key, sizeof(a->key), a);
    }
    return a;
}

static void address_drop_unused(struct smtp_listener *l, struct smtp_address *a)
{
    if (a->sessions > 0)
        return;
    HASH_DEL(l->addresses, a);
    free(a);
}
/* NOLINTEND(readability-function-size) */

void smtp_listener_left(struct smtp_listener *l, struct smtp_address *a)
{
    ensure(a->sessions > 0);
    a->sessions--;
    address_drop_unused(l, a);
}

/* --- the end of a loop turn --------------------------------------------------------------------- */

static void free_doomed(struct smtp_listener *l)
{
    struct smtp_session *s;

    while ((s = TAILQ_FIRST(&l->doomed)) != NULL) {
        TAILQ_REMOVE(&l->doomed, s, turn);
        smtp_session_free(s);
    }
}

static void on_turn(void *arg)
{
    struct smtp_listener *l = listener_of(arg);
    struct smtp_session *last = TAILQ_LAST(&l->ready, smtp_session_list), *s = NULL;

    l->turn = NULL;
    while (last != NULL && s != last && (s = TAILQ_FIRST(&l->ready)) != NULL) {
        TAILQ_REMOVE(&l->ready, s, turn);
        smtp_session_resume(s); /* what comes back to the list is for the next turn */
    }
    free_doomed(l);
    if (l->on_empty != NULL && TAILQ_EMPTY(&l->all) && TAILQ_EMPTY(&l->asked)) {
        void (*on_empty)(void *) = l->on_empty;
        l->on_empty = NULL;
        on_empty(l->on_empty_arg); /* may free the listener */
    }
}

void smtp_listener_wake(struct smtp_listener *l)
{
    if (l->turn == NULL)
        l->turn = loop_defer(l->loop, on_turn, l);
}

/* --- deadlines ------------------------------------------------------------------------------------ */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t sweep_ms(const struct smtp_listen_options *o)
{
    int64_t ms = least(least(o->handshake_ms, o->command_ms), least(o->data_ms, o->data_window_ms));
    ms = least(ms, least(least(o->load_ms, o->write_ms), o->linger_ms)) / SWEEPS_TO_A_TIME;
    return ms < SWEEP_MIN_MS ? SWEEP_MIN_MS : least(ms, SWEEP_MAX_MS);
}

static void look_at_all(struct smtp_listener *l)
{
    int64_t now_ms = clock_mono_ms();

    for (struct smtp_session *s = TAILQ_FIRST(&l->all), *next = NULL; s != NULL; s = next) {
        next = TAILQ_NEXT(s, all);
        smtp_session_look(s, now_ms);
    }
}

static void on_sweep(void *arg)
{
    struct smtp_listener *l = listener_of(arg);

    l->sweep = NULL;
    look_at_all(l);
    if (!TAILQ_EMPTY(&l->all))
        l->sweep = loop_after(l->loop, sweep_ms(&l->options), on_sweep, l);
}

/* --- accepting -------------------------------------------------------------------------------------- */

/* NULL: welcome. */
static const char *refusal(const struct smtp_listener *l, const struct smtp_address *a)
{
    if (l->counters.open - l->n_refused >= l->options.max_connections)
        return OVERLOADED;
    return a->sessions >= l->options.max_address_connections ? TOO_MANY_OF : NULL;
}

static void accepted(struct smtp_listener *l, int fd, const struct sockaddr *sa)
{
    char peer[LISTEN_PEER_MAX];
    struct smtp_address *a = address_of(l, sa);
    const char *why = refusal(l, a);

    l->counters.accepted++;
    l->counters.refused_connections += why != NULL;
    if (why != NULL)
        address_drop_unused(l, a);
    /* No handshake only to say no, and not to too many. */
    if (why != NULL && (l->options.implicit_tls || l->n_refused >= LIMIT_SMTP_REFUSED_CONNECTIONS)) {
        close(fd);
        return;
    }
    if (why != NULL)
        l->n_refused++;
    else
        a->sessions++;
    listen_peer_format(sa, peer);
    smtp_session_new(l, fd, peer, why == NULL ? a : NULL, why);
    if (l->sweep == NULL)
        l->sweep = loop_after(l->loop, sweep_ms(&l->options), on_sweep, l);
}

static void on_accept_again(void *arg)
{
    struct smtp_listener *l = listener_of(arg);

    l->accept_again = NULL;
    loop_watch_want(l->accept, LOOP_READ);
}

/* Of descriptors or memory of the kernel: an accept loop would spin. */
static bool has_run_out(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void on_connection(int fd, unsigned ready, void *arg)
{
    struct smtp_listener *l = listener_of(arg);
    struct listen_address from;

    (void)ready;
    for (unsigned i = 0; i < ACCEPTS_A_TURN; i++) {
        from.n = sizeof(from.v6);
        int client = accept4(fd, &from.any, &from.n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client != -1) {
            accepted(l, client, &from.any);
            continue;
        }
        if (has_run_out(errno)) {
            l->counters.refused_connections++;
            loop_watch_want(l->accept, LOOP_NONE);
            l->accept_again = loop_after(l->loop, ACCEPT_PAUSE_MS, on_accept_again, l);
        }
        return; /* nobody is there, or who was has left: there will be another call */
    }
}

/* --- made, drained, freed ------------------------------------------------------------------------------ */

#define FILL(field, limit) o->field = o->field != 0 ? o->field : (limit)

static void fill_options(struct smtp_listen_options *o)
{
    FILL(max_message_bytes, LIMIT_SMTP_MESSAGE_BYTES);
    FILL(max_recipients, LIMIT_SMTP_RECIPIENTS);
    FILL(max_connections, LIMIT_SMTP_CONNECTIONS);
    FILL(max_address_connections, LIMIT_SMTP_ADDRESS_CONNECTIONS);
    FILL(max_inflight_bytes, LIMIT_SMTP_INFLIGHT_BYTES);
    FILL(handshake_ms, LIMIT_SMTP_HANDSHAKE_MS);
    FILL(command_ms, LIMIT_SMTP_COMMAND_MS);
    FILL(data_ms, LIMIT_SMTP_DATA_MS);
    FILL(data_window_ms, LIMIT_SMTP_DATA_WINDOW_MS);
    FILL(load_ms, LIMIT_SMTP_LOAD_MS);
    FILL(write_ms, LIMIT_SMTP_WRITE_MS);
    FILL(linger_ms, LIMIT_SMTP_LINGER_MS);
    FILL(login_ms, LIMIT_SMTP_LOGIN_MS);
}

static bool take_certificate(struct smtp_listener *l, const struct smtp_listen_options *o, struct errmsg *e)
{
    if ((o->tls_certificate == NULL) != (o->tls_key == NULL) || (o->implicit_tls && o->tls_key == NULL)) {
        errmsg_set(e, "TLS needs both a certificate and a key");
        return false;
    }
    if (o->tls_key == NULL)
        return true;
    l->tls = listen_tls_new(o->tls_certificate, o->tls_key, e);
    if (l->tls == NULL)
        return false;
    listen_tls_speaks(l->tls, LISTEN_SMTP);
    return true;
}

static bool open_socket(struct smtp_listener *l, const struct smtp_listen_options *o, struct errmsg *e)
{
    struct listen_address a;
    int on = 1;

    if (!listen_address_parse(o->address, &a, e))
        return false;
    if (o->auth_in_clear && !listen_address_is_loopback(&a)) {
        errmsg_set(e, "%s is not on loopback: no login is taken there in clear", o->address);
        return false;
    }
    l->fd = o->fd > 0 ? o->fd : listen_socket_open(&a, o->address, e);
    if (l->fd == -1)
        return false;
    ignore(setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))); /* for its connections; slower without it */
    l->port = listen_socket_port(l->fd);
    l->accept = loop_watch_fd(l->loop, l->fd, LOOP_READ, on_connection, l);
    return true;
}

struct smtp_listener *smtp_listener_new(struct loop *loop, const struct smtp_listen_options *options, struct errmsg *e)
{
    struct smtp_listener *l = xcalloc(1, sizeof(*l));

    ensure(options->message != NULL && options->login != NULL);
    l->magic = LISTENER_MAGIC;
    l->loop = loop;
    l->fd = -1;
    l->options = *options;
    fill_options(&l->options);
    l->host = xstrdup(options->host);
    l->budget.max_bytes = l->options.max_inflight_bytes;
    TAILQ_INIT(&l->all);
    TAILQ_INIT(&l->ready);
    TAILQ_INIT(&l->doomed);
    TAILQ_INIT(&l->asked);
    if (options->backoff == NULL)
        l->options.backoff = l->own_backoff = auth_backoff_new(LIMIT_SMTP_LOGINS_MIN);
    if (!take_certificate(l, options, e) || !open_socket(l, options, e)) {
        smtp_listener_free(&l);
        return NULL;
    }
    l->options.address = l->options.host = l->options.tls_certificate = l->options.tls_key = NULL;
    return l;
}

uint16_t smtp_listener_port(const struct smtp_listener *l)
{
    return l->port;
}

void smtp_listener_set_limits(struct smtp_listener *l, const struct smtp_listen_options *o)
{
    l->options.max_message_bytes = o->max_message_bytes;
    l->options.max_recipients = o->max_recipients;
    l->options.max_connections = o->max_connections;
    l->options.max_address_connections = o->max_address_connections;
    l->options.max_inflight_bytes = o->max_inflight_bytes;
    fill_options(&l->options);
    l->budget.max_bytes = l->options.max_inflight_bytes;
    auth_backoff_keys_changed(l->options.backoff);
}

void smtp_listener_set_tls(struct smtp_listener *l, struct listen_tls **tls)
{
    ensure(l->tls != NULL);
    listen_tls_free(&l->tls); /* counted: open connections hold it */
    l->tls = take(tls);
    listen_tls_speaks(l->tls, LISTEN_SMTP);
}

const struct smtp_counters *smtp_listener_counters(struct smtp_listener *l)
{
    l->counters.inflight_bytes = l->budget.used_bytes;
    return &l->counters;
}

static void stop_accepting(struct smtp_listener *l)
{
    loop_cancel(&l->accept_again);
    loop_watch_free(&l->accept);
    if (l->fd != -1)
        close(l->fd);
    l->fd = -1;
}

void smtp_listener_drain(struct smtp_listener *l, void (*on_empty)(void *arg), void *arg)
{
    l->draining = true;
    l->on_empty = on_empty;
    l->on_empty_arg = arg;
    stop_accepting(l);
    for (struct smtp_session *s = TAILQ_FIRST(&l->all), *next = NULL; s != NULL; s = next) {
        next = TAILQ_NEXT(s, all);
        if (s->state == SMTP_SESSION_HANDSHAKE)
            smtp_session_kill(s);
    }
    look_at_all(l);
    smtp_listener_wake(l);
}

void smtp_listener_free(struct smtp_listener **lp)
{
    struct smtp_listener *l = take(lp);
    struct smtp_session *s;
    struct smtp_exchange *x;

    if (l == NULL)
        return;
    while ((s = TAILQ_FIRST(&l->all)) != NULL)
        smtp_session_kill(s);
    free_doomed(l);
    while ((x = TAILQ_FIRST(&l->asked)) != NULL) {
        TAILQ_REMOVE(&l->asked, x, in_listener);
        x->listener = NULL;
        x->body.budget = NULL;
    }
    stop_accepting(l);
    loop_cancel(&l->sweep);
    loop_cancel(&l->turn);
    listen_tls_free(&l->tls);
    auth_backoff_free(&l->own_backoff);
    free(l->host);
    free(l);
}

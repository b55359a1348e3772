/*
 * One session of the SMTP listener: how it begins, what is awaited, deadlines, how it closes so that the last reply
 * arrives.  What is read and answered is smtp_session_talk.c's.
 *
 * The one idea: callbacks only change the state; settle looks at the whole and decides what is awaited, what goes on by
 * itself and when it is over.
 */
#include "smtp_session.h"

#include <stdlib.h>

#include "loop.h"
#include "postern/clock.h"

#define SESSION_MAGIC 0x536D7470u

#define TIMEOUT  SLICE("421 4.4.2 Timeout, closing transmission channel\r\n")
#define DRAINING SLICE("421 4.3.2 Service not available, closing transmission channel\r\n")

static struct smtp_session *session_of(void *arg)
{
    struct smtp_session *s = arg;
    ensure(s->magic == SESSION_MAGIC);
    return s;
}

void smtp_session_set_state(struct smtp_session *s, enum smtp_session_state state)
{
    ensure(state > s->state || (s->state == SMTP_SESSION_OPEN && state == SMTP_SESSION_HANDSHAKE));
    s->state = state;
    s->since_ms = clock_mono_ms();
    if (state >= SMTP_SESSION_CLOSING) {
        if (s->exchange != NULL)
            smtp_exchange_orphan(s->exchange);
        s->exchange = NULL;
        loop_cancel(&s->penalty);
    }
}

void smtp_session_kill(struct smtp_session *s)
{
    struct smtp_listener *l = s->listener;

    if (s->state == SMTP_SESSION_DEAD)
        return;
    smtp_session_set_state(s, SMTP_SESSION_DEAD);
    loop_watch_free(&s->watch);
    smtp_socket_close(&s->socket);
    l->counters.open--;
    if (s->address != NULL)
        smtp_listener_left(l, s->address);
    else
        l->n_refused--;
    TAILQ_REMOVE(&l->all, s, all);
    if (s->ready)
        TAILQ_REMOVE(&l->ready, s, turn);
    TAILQ_INSERT_TAIL(&l->doomed, s, turn);
    smtp_listener_wake(l);
}

void smtp_session_free(struct smtp_session *s)
{
    free(s->kept);
    free(s);
}

/* --- beginnings --------------------------------------------------------------------------------- */

/* Who speaks before it is no client that follows the protocol. */
static void greet(struct smtp_session *s)
{
    const struct smtp_listen_options *o = &s->listener->options;
    const char *why = o->refuses != NULL ? o->refuses(true, o->arg) : NULL;

    if (why != NULL) {
        smtp_session_end(s, slice_of(why));
        return;
    }
    smtp_session_read(s);
    if (s->state == SMTP_SESSION_OPEN && s->proto.state == SMTP_STATE_GREETING)
        ignore(smtp_session_step(s, NULL, 0));
}

static void shake_hands(struct smtp_session *s)
{
    switch (smtp_socket_handshake(&s->socket)) {
    case SMTP_IO_OK:
        s->listener->counters.tls_handshakes++;
        smtp_session_set_state(s, SMTP_SESSION_OPEN);
        if (s->proto.state == SMTP_STATE_GREETING)
            greet(s);
        else
            smtp_proto_tls_on(&s->proto);
        break;
    case SMTP_IO_AGAIN:
        break;
    case SMTP_IO_END:
    case SMTP_IO_BROKEN:
        s->listener->counters.tls_failures++;
        smtp_session_kill(s);
        break;
    }
}

/* On the socket itself: whatever was sent behind STARTTLS in the clear is no handshake, and fails it. */
static void begin_tls(struct smtp_session *s)
{
    ensure(s->n_kept == 0);
    smtp_socket_begin_tls(&s->socket, listen_tls_session(s->listener->tls));
    smtp_session_set_state(s, SMTP_SESSION_HANDSHAKE);
    shake_hands(s);
}

/* --- ends --------------------------------------------------------------------------------------- */

/*
 * All is written.  Shut our side and read on for a while: closing with unread input makes the kernel send a RST, which
 * can destroy the reply on its way.  Who said QUIT sends nothing more: closing is enough.
 */
static void finish(struct smtp_session *s)
{
    smtp_socket_farewell(&s->socket);
    if (s->eof || s->polite) {
        smtp_session_kill(s);
        return;
    }
    smtp_socket_shut(&s->socket);
    smtp_session_set_state(s, SMTP_SESSION_LINGER);
}

static void make_ready(struct smtp_session *s)
{
    if (s->ready)
        return;
    s->ready = true;
    TAILQ_INSERT_TAIL(&s->listener->ready, s, turn);
    smtp_listener_wake(s->listener);
}

static unsigned wants(const struct smtp_session *s)
{
    bool writes = s->socket.n_unsent > 0 || s->socket.tls_writes, reads = false;

    switch (s->state) {
    case SMTP_SESSION_HANDSHAKE:
        return s->socket.tls_writes ? LOOP_WRITE : LOOP_READ;
    case SMTP_SESSION_OPEN:
        reads = !s->eof && s->n_kept < LIMIT_SMTP_KEPT_BYTES;
        break;
    case SMTP_SESSION_CLOSING:
    case SMTP_SESSION_DEAD:
        break;
    case SMTP_SESSION_LINGER:
        return LOOP_READ;
    }
    return (reads ? LOOP_READ : LOOP_NONE) | (writes ? LOOP_WRITE : LOOP_NONE);
}

void smtp_session_settle(struct smtp_session *s)
{
    if (s->proto.state == SMTP_STATE_HANDSHAKE && smtp_session_may_step(s) && s->n_kept == 0)
        begin_tls(s);
    if (smtp_session_may_step(s) && s->n_kept == 0) {
        if (s->listener->draining && smtp_proto_is_idle(&s->proto))
            smtp_session_end(s, DRAINING);
        else if (s->eof)
            smtp_session_set_state(s, SMTP_SESSION_CLOSING);
    }
    if (s->state == SMTP_SESSION_CLOSING && s->socket.n_unsent == 0)
        finish(s);
    if (s->state == SMTP_SESSION_DEAD)
        return;
    if (smtp_session_may_step(s) && (s->n_kept > 0 || smtp_socket_has_more(&s->socket)))
        make_ready(s);
    loop_watch_want(s->watch, wants(s));
}

static void on_ready(int fd, unsigned ready, void *arg)
{
    struct smtp_session *s = session_of(arg);
    struct smtp_listener *l = s->listener;

    (void)fd;
    if (s->state == SMTP_SESSION_HANDSHAKE) {
        shake_hands(s);
    } else if (s->state == SMTP_SESSION_LINGER) {
        enum smtp_io io = smtp_socket_discard(&s->socket, l->in, sizeof(l->in));
        if (io == SMTP_IO_END || io == SMTP_IO_BROKEN)
            smtp_session_kill(s);
    } else if ((ready & LOOP_WRITE) != 0 && smtp_socket_flush(&s->socket) != SMTP_IO_OK) {
        smtp_session_kill(s);
    } else if (s->state == SMTP_SESSION_OPEN && !s->eof && s->n_kept < LIMIT_SMTP_KEPT_BYTES) {
        smtp_session_read(s);
    }
    smtp_session_settle(s);
}

/* --- deadlines ------------------------------------------------------------------------------------ */

static int64_t patience_ms(const struct smtp_session *s, int64_t ms)
{
    int64_t load_ms = s->listener->options.load_ms;
    return smtp_listener_is_loaded(s->listener) && load_ms < ms ? load_ms : ms;
}

static bool is_slow(const struct smtp_session *s, int64_t now_ms)
{
    int64_t took_ms = now_ms - s->data_ms;
    return s->proto.state == SMTP_STATE_DATA && took_ms >= patience_ms(s, s->listener->options.data_window_ms) &&
           (int64_t)s->data_bytes * 1000 < took_ms * LIMIT_SMTP_DATA_MIN_BYTES_S;
}

/* False: it has time, or waits for us. */
static bool is_late(const struct smtp_session *s, int64_t now_ms)
{
    const struct smtp_listen_options *o = &s->listener->options;
    int64_t idle_ms = now_ms - s->since_ms;

    switch (s->state) {
    case SMTP_SESSION_HANDSHAKE:
        return idle_ms >= o->handshake_ms;
    case SMTP_SESSION_OPEN:
        if (s->socket.n_unsent > 0)
            return idle_ms >= o->write_ms;
        return !smtp_session_is_asking(s) &&
               (is_slow(s, now_ms) ||
                idle_ms >= patience_ms(s, s->proto.state == SMTP_STATE_DATA ? o->data_ms : o->command_ms));
    case SMTP_SESSION_CLOSING:
        return idle_ms >= o->write_ms;
    case SMTP_SESSION_LINGER:
        return idle_ms >= o->linger_ms;
    case SMTP_SESSION_DEAD:
        break;
    }
    return false;
}

void smtp_session_look(struct smtp_session *s, int64_t now_ms)
{
    if (is_late(s, now_ms)) {
        s->listener->counters.timeouts += s->state != SMTP_SESSION_LINGER;
        if (smtp_session_may_step(s))
            smtp_session_end(s, TIMEOUT);
        else
            smtp_session_kill(s);
    }
    smtp_session_settle(s);
}

void smtp_session_new(struct smtp_listener *l, int fd, const char *peer, struct smtp_address *address,
                      const char *refusal)
{
    const struct smtp_listen_options *o = &l->options;
    struct smtp_session *s = xrealloc(NULL, 1, sizeof(*s));

    memset(s, 0, offsetof(struct smtp_session, proto));
    s->magic = SESSION_MAGIC;
    s->listener = l;
    s->address = address;
    s->socket.fd = fd;
    s->since_ms = clock_mono_ms();
    s->watch = loop_watch_fd(l->loop, fd, LOOP_NONE, on_ready, s);
    memcpy(s->peer, peer, strnlen(peer, sizeof(s->peer) - 1));
    smtp_proto_init(&s->proto, &(struct smtp_proto_options){
                                   .host = l->host,
                                   .offers_tls = l->tls != NULL && !o->implicit_tls,
                                   .tls_on = o->implicit_tls,
                                   .auth_in_clear = o->auth_in_clear,
                                   .max_message_bytes = o->max_message_bytes,
                                   .max_recipients = o->max_recipients,
                                   .max_commands = LIMIT_SMTP_COMMANDS,
                                   .max_errors = LIMIT_SMTP_ERRORS,
                                   .max_messages = LIMIT_SMTP_MESSAGES,
                               });
    TAILQ_INSERT_TAIL(&l->all, s, all);
    l->counters.open++;
    if (o->implicit_tls) {
        smtp_socket_begin_tls(&s->socket, listen_tls_session(l->tls));
        shake_hands(s);
    } else {
        smtp_session_set_state(s, SMTP_SESSION_OPEN);
        if (refusal != NULL)
            smtp_session_end(s, slice_of(refusal));
        else
            greet(s);
    }
    smtp_session_settle(s);
}

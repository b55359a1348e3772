/*
 * One session of the SMTP listener: reads, steps the machine as far as nothing waits, writes, keeps deadlines, closes
 * so that the last reply arrives.  Does not know what commands mean, nor how connections come to be.
 *
 * The one idea: callbacks only change the state; settle() looks at the whole and decides what is awaited, what goes on
 * by itself and when it is over.
 */
#include "smtp_session.h"

#include <assert.h>
#include <stdlib.h>

#include "auth_backoff.h"
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

/* Forward, but for STARTTLS. */
static void set_state(struct smtp_session *s, enum smtp_session_state state)
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
    set_state(s, SMTP_SESSION_DEAD);
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

/* --- replies ------------------------------------------------------------------------------- */

static void write_out(struct smtp_session *s, struct slice bytes)
{
    if (s->state != SMTP_SESSION_DEAD && smtp_socket_write(&s->socket, bytes) != SMTP_IO_OK)
        smtp_session_kill(s);
}

static void flush(struct smtp_session *s)
{
    if (s->out != NULL && s->out->n > 0)
        write_out(s, (struct slice){s->out->bytes, s->out->n});
    if (s->out != NULL)
        s->out->n = 0;
}

/* A reply is never torn: it leaves with those before it, or after them. */
static void put(struct smtp_session *s, struct slice reply)
{
    if (s->out == NULL || reply.n > sizeof(s->out->bytes) - s->out->n)
        flush(s);
    if (s->out == NULL || reply.n > sizeof(s->out->bytes)) {
        write_out(s, reply);
        return;
    }
    if (reply.n > 0)
        memcpy(s->out->bytes + s->out->n, reply.p, reply.n);
    s->out->n += reply.n;
}

static void end(struct smtp_session *s, struct slice reply)
{
    put(s, reply);
    if (s->state < SMTP_SESSION_CLOSING)
        set_state(s, SMTP_SESSION_CLOSING);
}

/* --- the machine ----------------------------------------------------------------------------- */

static bool is_asking(const struct smtp_session *s)
{
    return (s->exchange != NULL && s->exchange->state != SMTP_EXCHANGE_READING) || s->penalty != NULL;
}

static bool may_step(const struct smtp_session *s)
{
    return s->state == SMTP_SESSION_OPEN && s->socket.n_unsent == 0 && !is_asking(s);
}

static void count_fault(struct smtp_session *s)
{
    s->listener->counters.faults[s->proto.fault] += s->proto.fault != SMTP_PROTO_FAULT_NONE;
}

static void make_ready(struct smtp_session *s)
{
    if (s->ready)
        return;
    s->ready = true;
    TAILQ_INSERT_TAIL(&s->listener->ready, s, turn);
    smtp_listener_wake(s->listener);
}

static void settle(struct smtp_session *s);
static void go_on(struct smtp_session *s);

static void on_penalty(void *arg)
{
    struct smtp_session *s = session_of(arg);
    s->penalty = NULL;
    put(s, s->proto.reply);
    go_on(s);
}

/* Doubled with each, so that a session is no place to guess in; the same whether the verifier was asked or not. */
static int64_t penalty_ms(struct smtp_session *s)
{
    int64_t ms = s->listener->options.login_ms;

    for (uint32_t i = 0; i < s->wrong_logins && ms < LIMIT_SMTP_LOGIN_MAX_MS; i++)
        ms *= 2;
    s->wrong_logins++;
    return ms < LIMIT_SMTP_LOGIN_MAX_MS ? ms : LIMIT_SMTP_LOGIN_MAX_MS;
}

static void on_auth(struct smtp_session *s)
{
    struct smtp_listener *l = s->listener;
    const struct smtp_listen_options *o = &l->options;
    struct slice address = {(const char *)s->address->key, sizeof(s->address->key)};
    struct auth_attempt a = {address, s->proto.user, s->proto.secret};
    int64_t now_ms = clock_mono_ms();
    bool admitted = auth_backoff_admits(o->backoff, &a, now_ms);

    s->login = admitted ? o->login(a.login, a.secret, s->peer, o->arg) : NULL;
    if (s->login != NULL) {
        auth_backoff_passed(o->backoff, &a, now_ms);
        l->counters.logins++;
        smtp_proto_auth(&s->proto, SMTP_AUTH_OK);
        put(s, s->proto.reply);
        return;
    }
    if (admitted)
        auth_backoff_failed(o->backoff, &a, now_ms);
    l->counters.logins_wrong += admitted;
    l->counters.logins_throttled += !admitted;
    smtp_proto_auth(&s->proto, SMTP_AUTH_WRONG);
    count_fault(s);
    s->penalty = loop_after(l->loop, penalty_ms(s), on_penalty, s);
}

static void on_mail(struct smtp_session *s)
{
    smtp_proto_answer(&s->proto, smtp_exchange_begin(s));
    put(s, s->proto.reply);
}

static void on_proto_event(struct smtp_session *s, enum smtp_event event)
{
    switch (event) {
    case SMTP_NONE:
        return;
    case SMTP_REPLY:
    case SMTP_STARTTLS:
        put(s, s->proto.reply);
        break;
    case SMTP_AUTH:
        on_auth(s);
        break;
    case SMTP_MAIL:
        on_mail(s);
        break;
    case SMTP_RCPT:
        smtp_exchange_recipient(s->exchange, s->proto.argument);
        break;
    case SMTP_DATA:
        put(s, s->proto.reply);
        s->data_ms = clock_mono_ms();
        s->data_bytes = 0;
        break;
    case SMTP_PIECE:
        s->data_bytes += s->proto.piece.n;
        smtp_exchange_add(s->exchange, s->proto.piece);
        break;
    case SMTP_MESSAGE:
        smtp_exchange_message(s->exchange);
        break;
    case SMTP_CLOSE:
        end(s, s->proto.reply);
        break;
    }
    if (s->exchange != NULL && s->exchange->state == SMTP_EXCHANGE_READING && !s->proto.in_mail) {
        smtp_exchange_free(s->exchange); /* RSET, or a 552 */
        s->exchange = NULL;
    }
}

/* As far as nothing waits; the replies leave together.  How many bytes were consumed. */
static size_t step_on(struct smtp_session *s, char *bytes, size_t n)
{
    struct smtp_out out; /* not initialised: only what n says is looked at */
    struct slice in = {bytes, n};
    bool may_be_secret = !s->proto.authenticated, moved = false;

    out.n = 0;
    s->out = &out;
    s->proto.opt.max_errors = smtp_listener_is_loaded(s->listener) ? 1 : LIMIT_SMTP_ERRORS;
    for (enum smtp_event event = SMTP_REPLY; event != SMTP_NONE && may_step(s);) {
        event = smtp_proto_step(&s->proto, &in);
        count_fault(s);
        s->polite = event == SMTP_CLOSE && s->proto.fault == SMTP_PROTO_FAULT_NONE && in.n == 0;
        on_proto_event(s, event);
        moved = moved || event != SMTP_NONE;
    }
    flush(s);
    s->out = NULL;
    if (may_be_secret && n > in.n)
        explicit_bzero(bytes, n - in.n);
    if (moved)
        s->since_ms = clock_mono_ms();
    return n - in.n;
}

static void drop_kept(struct smtp_session *s, size_t n)
{
    s->n_kept -= n;
    if (s->n_kept > 0) {
        memmove(s->kept, s->kept + n, s->n_kept);
        return;
    }
    free(s->kept);
    s->kept = NULL;
}

static void keep(struct smtp_session *s, const char *bytes, size_t n)
{
    if (n == 0 || s->state >= SMTP_SESSION_CLOSING)
        return;
    s->kept = xrealloc(s->kept, 1, s->n_kept + n);
    memcpy(s->kept + s->n_kept, bytes, n);
    s->n_kept += n;
}

/* Something that was waited for is here.  With bytes at hand users may be asked again: not within his own call. */
static void go_on(struct smtp_session *s)
{
    s->since_ms = clock_mono_ms();
    if (s->n_kept == 0)
        ignore(step_on(s, NULL, 0)); /* it may have to close */
    settle(s);
}

void smtp_session_answered(struct smtp_session *s, struct slice reply)
{
    smtp_proto_answer(&s->proto, reply);
    put(s, s->proto.reply);
    if (s->out == NULL)
        go_on(s);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void take_input(struct smtp_session *s, size_t n)
{
    char *in = s->listener->in;
    size_t used = s->n_kept == 0 ? step_on(s, in, n) : 0;

    keep(s, in + used, n - used);
    if (!s->proto.authenticated)
        explicit_bzero(in + used, n - used);
}

static void read_on(struct smtp_session *s)
{
    size_t n = 0, room = LIMIT_SMTP_KEPT_BYTES - s->n_kept;

    static_assert(LIMIT_SMTP_KEPT_BYTES <= SMTP_READ_BYTES, "what is read may all have to be kept");
    switch (smtp_socket_read(&s->socket, s->listener->in, room, &n)) {
    case SMTP_IO_OK:
        take_input(s, n);
        break;
    case SMTP_IO_AGAIN:
        break;
    case SMTP_IO_END:
        s->eof = true; /* perhaps only of its sending side: what was asked is still answered */
        break;
    case SMTP_IO_BROKEN:
        smtp_session_kill(s);
        break;
    }
}

void smtp_session_resume(struct smtp_session *s)
{
    s->ready = false;
    if (may_step(s) && s->n_kept > 0)
        drop_kept(s, step_on(s, s->kept, s->n_kept));
    if (may_step(s) && s->n_kept == 0 && smtp_socket_has_more(&s->socket))
        read_on(s);
    settle(s);
}

/* --- beginnings --------------------------------------------------------------------------------- */

/* Who speaks before it is no client that follows the protocol. */
static void greet(struct smtp_session *s)
{
    const struct smtp_listen_options *o = &s->listener->options;
    const char *why = o->refuses != NULL ? o->refuses(true, o->arg) : NULL;

    if (why != NULL) {
        end(s, slice_of(why));
        return;
    }
    read_on(s);
    if (s->state == SMTP_SESSION_OPEN && s->proto.state == SMTP_STATE_GREETING)
        ignore(step_on(s, NULL, 0));
}

static void shake_hands(struct smtp_session *s)
{
    switch (smtp_socket_handshake(&s->socket)) {
    case SMTP_IO_OK:
        s->listener->counters.tls_handshakes++;
        set_state(s, SMTP_SESSION_OPEN);
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
    set_state(s, SMTP_SESSION_HANDSHAKE);
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
    set_state(s, SMTP_SESSION_LINGER);
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

/* After anything changed. */
static void settle(struct smtp_session *s)
{
    if (s->proto.state == SMTP_STATE_HANDSHAKE && may_step(s) && s->n_kept == 0)
        begin_tls(s);
    if (may_step(s) && s->n_kept == 0) {
        if (s->listener->draining && smtp_proto_is_idle(&s->proto))
            end(s, DRAINING);
        else if (s->eof)
            set_state(s, SMTP_SESSION_CLOSING);
    }
    if (s->state == SMTP_SESSION_CLOSING && s->socket.n_unsent == 0)
        finish(s);
    if (s->state == SMTP_SESSION_DEAD)
        return;
    if (may_step(s) && (s->n_kept > 0 || smtp_socket_has_more(&s->socket)))
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
        read_on(s);
    }
    settle(s);
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
        return !is_asking(s) &&
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
        if (may_step(s))
            end(s, TIMEOUT);
        else
            smtp_session_kill(s);
    }
    settle(s);
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
        set_state(s, SMTP_SESSION_OPEN);
        if (refusal != NULL)
            end(s, slice_of(refusal));
        else
            greet(s);
    }
    settle(s);
}

/*
 * What a session of the SMTP listener reads and answers: steps the machine as far as nothing waits, asks the user,
 * writes the replies.  Does not know what commands mean, nor when a session is over.
 *
 * The one idea: replies that are due at once leave together and whole; what was read and cannot be stepped yet is kept.
 */
#include "smtp_session.h"

#include <assert.h>
#include <stdlib.h>

#include "auth_backoff.h"
#include "loop.h"
#include "postern/clock.h"

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

void smtp_session_end(struct smtp_session *s, struct slice reply)
{
    put(s, reply);
    if (s->state < SMTP_SESSION_CLOSING)
        smtp_session_set_state(s, SMTP_SESSION_CLOSING);
}

/* --- the machine ----------------------------------------------------------------------------- */

bool smtp_session_is_asking(const struct smtp_session *s)
{
    return (s->exchange != NULL && s->exchange->state != SMTP_EXCHANGE_READING) || s->penalty != NULL;
}

bool smtp_session_may_step(const struct smtp_session *s)
{
    return s->state == SMTP_SESSION_OPEN && s->socket.n_unsent == 0 && !smtp_session_is_asking(s);
}

static void count_fault(struct smtp_session *s)
{
    s->listener->counters.faults[s->proto.fault] += s->proto.fault != SMTP_PROTO_FAULT_NONE;
}

static void go_on(struct smtp_session *s);

static void on_penalty(void *arg)
{
    struct smtp_session *s = arg;
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
        smtp_session_end(s, s->proto.reply);
        break;
    }
    if (s->exchange != NULL && s->exchange->state == SMTP_EXCHANGE_READING && !s->proto.in_mail) {
        smtp_exchange_free(s->exchange); /* RSET, or a 552 */
        s->exchange = NULL;
    }
}

size_t smtp_session_step(struct smtp_session *s, char *bytes, size_t n)
{
    struct smtp_out out; /* not initialised: only what n says is looked at */
    struct slice in = {bytes, n};
    bool may_be_secret = !s->proto.authenticated, moved = false;

    out.n = 0;
    s->out = &out;
    s->proto.opt.max_errors = smtp_listener_is_loaded(s->listener) ? 1 : LIMIT_SMTP_ERRORS;
    for (enum smtp_event event = SMTP_REPLY; event != SMTP_NONE && smtp_session_may_step(s);) {
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
        ignore(smtp_session_step(s, NULL, 0)); /* it may have to close */
    smtp_session_settle(s);
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
    size_t used = s->n_kept == 0 ? smtp_session_step(s, in, n) : 0;

    keep(s, in + used, n - used);
    if (!s->proto.authenticated)
        explicit_bzero(in + used, n - used);
}

void smtp_session_read(struct smtp_session *s)
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
    if (smtp_session_may_step(s) && s->n_kept > 0)
        drop_kept(s, smtp_session_step(s, s->kept, s->n_kept));
    if (smtp_session_may_step(s) && s->n_kept == 0 && smtp_socket_has_more(&s->socket))
        smtp_session_read(s);
    smtp_session_settle(s);
}

/*
 * The SMTP server's state machine: cuts bytes into lines and data, gives out events, and keeps the counts that end a
 * session.  What a command means is in smtp_proto_command.c, AUTH in smtp_proto_auth.c, the content in
 * smtp_proto_data.c.  No socket, no clock, no memory but the struct's own.
 *
 * The one idea: each byte is looked at in order and each fault belongs to one byte, so the events are the same however
 * the input was cut.
 */
#include "smtp_proto_parts.h"

#include <stdio.h>

const char *smtp_proto_fault_label(enum smtp_proto_fault f)
{
    static const char *const labels[] = {[SMTP_PROTO_FAULT_NONE] = "none",
#define FAULT_ROW(name, label) [SMTP_PROTO_FAULT_##name] = (label),
                                         SMTP_FAULTS(FAULT_ROW)
#undef FAULT_ROW
    };
    return labels[f];
}

enum smtp_event smtp_proto_reply(struct smtp_proto *p, const char *reply)
{
    p->reply = slice_of(reply);
    return SMTP_REPLY;
}

enum smtp_event smtp_proto_close(struct smtp_proto *p, enum smtp_proto_fault f, const char *reply)
{
    smtp_proto_end_mail(p);
    p->state = SMTP_STATE_CLOSED;
    p->fault = f;
    p->reply = slice_of(reply);
    return SMTP_CLOSE;
}

enum smtp_event smtp_proto_close_bytes(struct smtp_proto *p, enum smtp_proto_fault f)
{
    return smtp_proto_close(p, f,
                            f == SMTP_PROTO_FAULT_NUL ? "521 5.5.2 NUL bytes are not accepted (RFC 5321, 2.4)\r\n"
                                                      : "521 5.5.2 CR and LF must come as CRLF (RFC 5321, 2.3.8)\r\n");
}

enum smtp_event smtp_proto_reply_idle(struct smtp_proto *p, const char *reply)
{
    if (++p->n_commands > p->opt.max_commands)
        return smtp_proto_close(p, SMTP_PROTO_FAULT_TOO_MANY_COMMANDS,
                                "421 4.7.0 Too many commands without a message, closing transmission channel\r\n");
    return smtp_proto_reply(p, reply);
}

enum smtp_event smtp_proto_refuse_free(struct smtp_proto *p, enum smtp_proto_fault f, const char *reply)
{
    p->fault = f;
    return smtp_proto_reply(p, reply);
}

enum smtp_event smtp_proto_refuse(struct smtp_proto *p, enum smtp_proto_fault f, const char *reply)
{
    if (++p->n_errors > p->opt.max_errors)
        return smtp_proto_close(p, SMTP_PROTO_FAULT_TOO_MANY_ERRORS,
                                "421 4.7.0 Too many errors, closing transmission channel\r\n");
    return smtp_proto_refuse_free(p, f, reply);
}

void smtp_proto_end_mail(struct smtp_proto *p)
{
    p->in_mail = p->utf8 = p->group_lost = p->content_near = false;
    p->n_rcpts = p->n_accepted = 0;
}

enum smtp_event smtp_proto_ask(struct smtp_proto *p, enum smtp_event event)
{
    p->asked = event;
    p->state = SMTP_STATE_WAITS;
    p->content_near = false;
    return event;
}

static size_t bytes_before(struct slice s, size_t n, int byte)
{
    const char *found = memchr(s.p, byte, n);
    return found == NULL ? n : (size_t)(found - s.p);
}

size_t smtp_proto_text_bytes(struct slice s)
{
    size_t n = bytes_before(s, s.n, '\n'); /* lines are short: so the other two do not look far */
    n = bytes_before(s, n, '\r');
    return bytes_before(s, n, '\0');
}

static void consume(struct slice *in, size_t n)
{
    in->p += n;
    in->n -= n;
}

static void append(struct smtp_proto *p, struct slice *in, size_t n)
{
    size_t room = SMTP_AUTH_LINE_MAX - 2 - p->n_line;
    size_t taken = n < room ? n : room;
    memcpy(p->line + p->n_line, in->p, taken);
    p->n_line += taken;
    p->too_long = p->too_long || taken < n;
    consume(in, n);
}

/* Bytes up to and including a CRLF.  True: the line is whole; false: bring more, or *fault. */
static bool take_line(struct smtp_proto *p, struct slice *in, enum smtp_proto_fault *fault)
{
    while (in->n > 0) {
        append(p, in, p->after_cr ? 0 : smtp_proto_text_bytes(*in));
        if (in->n == 0)
            return false;
        char c = in->p[0];
        if (p->after_cr != (c == '\n')) {
            *fault = p->after_cr ? SMTP_PROTO_FAULT_BARE_CR : SMTP_PROTO_FAULT_BARE_LF;
            return false;
        }
        if (c == '\0') {
            *fault = SMTP_PROTO_FAULT_NUL;
            return false;
        }
        consume(in, 1);
        p->after_cr = c == '\r';
        if (c == '\n')
            return true;
    }
    return false;
}

/* Of a line that is longer than others may be. */
static bool is_auth(struct slice line)
{
    return slice_ieq((struct slice){line.p, 5}, SLICE("AUTH "));
}

static enum smtp_event end_line(struct smtp_proto *p, bool more)
{
    struct slice line = {p->line, p->n_line};
    bool in_auth = p->state != SMTP_STATE_COMMAND;
    bool too_long = p->too_long || (!in_auth && line.n > SMTP_LINE_MAX - 2 && !is_auth(line));
    p->too_long = false;
    if (too_long) {
        p->state = SMTP_STATE_COMMAND;
        return smtp_proto_refuse(p, SMTP_PROTO_FAULT_LINE_TOO_LONG,
                                 in_auth || is_auth(line) ? "500 5.5.6 Authentication exchange line is too long\r\n"
                                                          : "500 5.5.2 Line too long\r\n");
    }
    return in_auth ? smtp_proto_auth_line(p, line, more) : smtp_proto_command(p, line, more);
}

/* What a line said may be a password. */
static void forget_line(struct smtp_proto *p)
{
    explicit_bzero(p->line, p->n_line);
    p->n_line = 0;
}

static enum smtp_event step_line(struct smtp_proto *p, struct slice *in)
{
    enum smtp_proto_fault fault = SMTP_PROTO_FAULT_NONE;
    if (!take_line(p, in, &fault))
        return fault == SMTP_PROTO_FAULT_NONE ? SMTP_NONE : smtp_proto_close_bytes(p, fault);
    enum smtp_event event = end_line(p, in->n > 0);
    if (p->state != SMTP_STATE_WAITS)
        forget_line(p);
    return event;
}

static enum smtp_event greet(struct smtp_proto *p, const struct slice *in)
{
    if (in->n > 0)
        return smtp_proto_close(p, SMTP_PROTO_FAULT_EARLY_TALKER,
                                "554 5.5.0 Wait for the greeting before speaking (RFC 5321, 3.1)\r\n");
    p->state = SMTP_STATE_COMMAND;
    snprintf(p->out, sizeof p->out, "220 %s ESMTP Postern\r\n", p->opt.host);
    return smtp_proto_reply(p, p->out);
}

void smtp_proto_init(struct smtp_proto *p, const struct smtp_proto_options *options)
{
    ensure(strlen(options->host) <= SMTP_CLIENT_MAX);
    memset(p, 0, offsetof(struct smtp_proto, name)); /* not the buffers: many connections never fill theirs */
    p->opt = *options;
    p->tls_on = options->tls_on;
}

enum smtp_event smtp_proto_step(struct smtp_proto *p, struct slice *in)
{
    p->fault = SMTP_PROTO_FAULT_NONE;
    p->reply = (struct slice){NULL, 0};
    switch (p->state) {
    case SMTP_STATE_GREETING:
        return greet(p, in);
    case SMTP_STATE_COMMAND:
    case SMTP_STATE_AUTH_PLAIN:
    case SMTP_STATE_AUTH_USER:
    case SMTP_STATE_AUTH_SECRET:
        return step_line(p, in);
    case SMTP_STATE_DATA:
        return smtp_proto_data_step(p, in);
    case SMTP_STATE_HANDSHAKE:
        return in->n == 0 ? SMTP_NONE : smtp_proto_close(p, SMTP_PROTO_FAULT_TLS_INJECTION, SMTP_REPLY_INJECTION);
    case SMTP_STATE_CLOSED:
        return SMTP_CLOSE;
    case SMTP_STATE_WAITS:
        break;
    }
    never("stepped before the answer");
}

void smtp_proto_auth(struct smtp_proto *p, enum smtp_auth result)
{
    ensure(p->state == SMTP_STATE_WAITS && p->asked == SMTP_AUTH);
    p->state = SMTP_STATE_COMMAND;
    p->user = p->secret = (struct slice){NULL, 0};
    explicit_bzero(p->login, p->n_user);
    forget_line(p);
    switch (result) {
    case SMTP_AUTH_OK:
        p->authenticated = true;
        smtp_proto_reply(p, "235 2.7.0 Authentication successful\r\n");
        break;
    case SMTP_AUTH_WRONG:
        smtp_proto_refuse(p, SMTP_PROTO_FAULT_AUTH_FAILED, "535 5.7.8 Authentication credentials invalid\r\n");
        break;
    case SMTP_AUTH_DOWN:
        smtp_proto_reply_idle(p, "454 4.7.0 Temporary authentication failure\r\n");
        break;
    }
}

static void answer_mail(struct smtp_proto *p, bool accepted)
{
    p->in_mail = accepted;
    p->utf8 = accepted && p->mail.smtputf8;
    p->group_lost = !accepted;
    if (accepted)
        p->n_messages++;
    else
        p->n_commands++;
}

static void answer_message(struct smtp_proto *p, bool accepted)
{
    smtp_proto_end_mail(p);
    if (accepted)
        p->n_commands = p->n_errors = 0;
}

void smtp_proto_answer(struct smtp_proto *p, struct slice reply)
{
    ensure(p->state == SMTP_STATE_WAITS && p->asked != SMTP_AUTH && (reply.n > 0 || p->asked != SMTP_MESSAGE));
    bool accepted = reply.n == 0 || reply.p[0] == '2';
    p->state = SMTP_STATE_COMMAND;
    if (p->asked == SMTP_MAIL)
        answer_mail(p, accepted);
    else if (p->asked == SMTP_RCPT)
        p->n_accepted += accepted ? 1 : 0;
    else
        answer_message(p, accepted);
    forget_line(p);
    if (slice_starts(reply, "421") || slice_starts(reply, "521"))
        smtp_proto_close(p, SMTP_PROTO_FAULT_NONE, "");
    p->reply = reply.n > 0 ? reply : p->asked == SMTP_MAIL ? SLICE("250 2.1.0 Ok\r\n") : SLICE("250 2.1.5 Ok\r\n");
}

void smtp_proto_tls_on(struct smtp_proto *p)
{
    ensure(p->state == SMTP_STATE_HANDSHAKE);
    p->state = SMTP_STATE_COMMAND;
    p->tls_on = true;
    p->is_esmtp = p->authenticated = false; /* RFC 3207 section 4.2: what was said in the clear is forgotten */
    p->client = (struct slice){NULL, 0};
}

bool smtp_proto_is_idle(const struct smtp_proto *p)
{
    return p->state == SMTP_STATE_COMMAND && !p->in_mail && p->n_line == 0 && !p->after_cr;
}

/*
 * The client's machine: what is said next, and what each reply means for each
 * recipient.  It must not know of sockets, deadlines, pools and providers.
 *
 * The idea: a message is accepted only by the reply that follows its final dot,
 * and only the bytes that were taken count.  Whatever goes wrong before that is
 * surely not sent; a reply that nobody asked for ends the connection.
 */
#include "smtp_client_parts.h"

/* --- writing ----------------------------------------------------------------------- */

void smtp_client_put(struct smtp_client *c, struct slice s)
{
    ensure(s.n <= sizeof c->buffer - c->out.n);
    if (s.n > 0)
        memcpy(c->buffer + c->out.n, s.p, s.n);
    c->out.n += s.n;
}

size_t smtp_client_room(const struct smtp_client *c)
{
    return sizeof c->buffer - c->out.n;
}

/* Only when all before was taken: what is written stays in order. */
void smtp_client_open_out(struct smtp_client *c)
{
    ensure(c->out.n == 0);
    c->out.p = c->buffer;
}

void smtp_client_say(struct smtp_client *c, enum smtp_client_state next, struct slice words, struct slice rest)
{
    smtp_client_open_out(c);
    smtp_client_put(c, words);
    smtp_client_put(c, rest);
    smtp_client_put(c, SLICE("\r\n"));
    c->n_owed++;
    c->state = next;
}

/* --- how it ends --------------------------------------------------------------------- */

struct slice smtp_client_reply_text(const struct smtp_client *c)
{
    return (struct slice){c->reply.text, c->reply.n_text};
}

void smtp_client_end(struct smtp_client *c, bool polite)
{
    c->state = SMTP_CLIENT_OVER;
    c->due = SMTP_CLIENT_CLOSED;
    ensure(!polite || c->out.n == 0); /* not behind half a command */
    c->out = polite ? SLICE("QUIT\r\n") : (struct slice){0};
}

void smtp_client_fail(struct smtp_client *c, const char *reason, bool polite)
{
    smtp_client_known(c, reason, &c->result);
    if (c->work.mail)
        smtp_client_tell(c);
    smtp_client_end(c, polite);
}

void smtp_client_fail_refused(struct smtp_client *c, const char *reason, bool polite)
{
    smtp_client_fail(c, reason, polite);
    c->result.code = c->reply.code;
    c->result.text = smtp_client_reply_text(c);
}

void smtp_client_be_idle(struct smtp_client *c)
{
    c->state = SMTP_CLIENT_IDLE;
    c->due = SMTP_CLIENT_READY;
}

/* --- replies ------------------------------------------------------------------------------------ */

/* Which replies besides 4yz and 5yz a state can be answered with. */
static bool is_sensible(const struct smtp_client *c, int class)
{
    enum { OF_2 = 1 << 2, OF_3 = 1 << 3 };
    static const unsigned classes[] = {
        [SMTP_CLIENT_GREETING] = OF_2,
        [SMTP_CLIENT_EHLO] = OF_2,
        [SMTP_CLIENT_HELO] = OF_2,
        [SMTP_CLIENT_START] = OF_2,
        [SMTP_CLIENT_AUTH_LOGIN] = OF_3,
        [SMTP_CLIENT_AUTH_USER] = OF_3,
        [SMTP_CLIENT_AUTH_PLAIN] = OF_2 | OF_3,
        [SMTP_CLIENT_AUTH_SECRET] = OF_2,
        [SMTP_CLIENT_MAIL] = OF_2,
        [SMTP_CLIENT_RCPT] = OF_2,
        [SMTP_CLIENT_DATA] = OF_2 | OF_3,
        [SMTP_CLIENT_CONTENT] = OF_2,
        [SMTP_CLIENT_RSET] = OF_2,
        [SMTP_CLIENT_DOT] = OF_2,
        [SMTP_CLIENT_OVER] = 0,
    };
    return class >= 4 || (classes[c->state] & 1u << class) != 0;
}

/* 421: the server closes, whatever it was asked (RFC 5321 section 3.8). */
static void on_closing(struct smtp_client *c)
{
    if (c->work.mail) {
        smtp_client_finish(c);
        smtp_client_end(c, false);
        return;
    }
    bool greeting = c->state == SMTP_CLIENT_GREETING;
    smtp_client_fail_refused(c, greeting ? "greeting_refused" : "closing", false);
}

/* Before the end of the data was out, a refusal is an answer, and all else is nonsense. */
static void on_unasked(struct smtp_client *c)
{
    if (c->state == SMTP_CLIENT_CONTENT && c->reply.code >= 400) {
        smtp_client_finish(c);
        smtp_client_end(c, false);
    } else {
        smtp_client_fail(c, "syntax", false);
    }
}

static void on_asked(struct smtp_client *c)
{
    int class = c->reply.code / 100;
    c->n_owed--;
    if (!is_sensible(c, class)) {
        smtp_client_fail(c, "syntax", false);
        return;
    }
    c->work.answered = true;
    if (c->state < SMTP_CLIENT_IDLE)
        smtp_client_on_hello(c, class);
    else
        smtp_client_on_mail(c, class);
}

static void read_reply(struct smtp_client *c, struct slice *in)
{
    struct smtp_client_reply *r = &c->reply;
    if (smtp_client_reply_is_idle(r))
        c->unasked = c->n_owed == 0 || (c->n_owed == 1 && c->out.n > 0);
    enum smtp_client_reply_event event = smtp_client_reply_feed(r, in);
    if (event == SMTP_CLIENT_REPLY_BAD)
        smtp_client_fail(c, "syntax", false);
    if (event == SMTP_CLIENT_REPLY_NONE || event == SMTP_CLIENT_REPLY_BAD)
        return;
    if (c->state == SMTP_CLIENT_EHLO && r->code == 250 && !r->is_first)
        smtp_client_take_offer(c, r->line);
    if (event == SMTP_CLIENT_REPLY_LINE)
        return;
    if (r->code == 421)
        on_closing(c);
    else if (c->unasked)
        on_unasked(c);
    else
        on_asked(c);
}

/* --- the way in --------------------------------------------------------------------------------- */

void smtp_client_init(struct smtp_client *c, const struct smtp_client_options *options)
{
    ensure(strlen(options->host) <= SMTP_CLIENT_HOST_MAX);
    ensure(options->user.n <= SMTP_CLIENT_LOGIN_MAX && options->secret.n <= SMTP_CLIENT_LOGIN_MAX);
    *c = (struct smtp_client){.opt = options, .tls_on = options->tls == SMTP_CLIENT_TLS_ON, .n_owed = 1};
}

enum smtp_client_event smtp_client_step(struct smtp_client *c, struct slice *in)
{
    for (;;) {
        if (c->done_due) {
            c->done_due = false;
            return SMTP_CLIENT_DONE;
        }
        if (c->due == SMTP_CLIENT_STARTTLS && in->n > 0) /* it would be read as if TLS had brought it */
            smtp_client_fail(c, "tls_injection", false);
        enum smtp_client_event due = c->due;
        if (due != SMTP_CLIENT_CLOSED)
            c->due = SMTP_CLIENT_NONE;
        if (due != SMTP_CLIENT_NONE)
            return due;
        if (in->n == 0)
            break;
        read_reply(c, in);
    }
    if (c->out.n == 0)
        smtp_client_fill(c);
    return c->out.n > 0 ? SMTP_CLIENT_WRITE : SMTP_CLIENT_NONE;
}

void smtp_client_wrote(struct smtp_client *c, size_t n)
{
    ensure(n <= c->out.n);
    c->out = (struct slice){c->out.p + n, c->out.n - n};
}

void smtp_client_tls_on(struct smtp_client *c)
{
    ensure(c->state == SMTP_CLIENT_HANDSHAKE);
    c->tls_on = true;
    smtp_client_hello(c);
}

void smtp_client_data(struct smtp_client *c, bool yes)
{
    ensure(c->state == SMTP_CLIENT_LOOK);
    if (yes) {
        c->state = SMTP_CLIENT_CONTENT;
        return;
    }
    smtp_client_fail(c, "withdrawn", false);
    c->result.is_own = true;
}

void smtp_client_quit(struct smtp_client *c)
{
    ensure(c->state == SMTP_CLIENT_IDLE);
    smtp_client_fail(c, "quit", true);
}

void smtp_client_lost(struct smtp_client *c, const char *reason, struct smtp_client_result *out)
{
    smtp_client_known(c, reason, out);
    c->work.mail = NULL;
    c->state = SMTP_CLIENT_OVER;
}

bool smtp_client_sent(const struct smtp_client *c)
{
    return c->work.began;
}

bool smtp_client_answered(const struct smtp_client *c)
{
    return c->work.answered;
}

/*
 * A transaction: MAIL, RCPT, DATA and the content out, and what each reply to them
 * means for each recipient.  It must not know how the connection came to be ready.
 *
 * The idea: a recipient's answer is RCPT's when that refused, else the one to the
 * end of the data; until that is out nothing was sent.
 */
#include "smtp_client_parts.h"

#include "postern/buf.h"

/* --- how it ends --------------------------------------------------------------------- */

static bool all_answered(const struct smtp_client_work *w)
{
    for (size_t i = 0; i < w->mail->envelope->n_recipients; i++)
        if (w->answers[i].code < 400)
            return false;
    return true;
}

static struct smtp_client_result answered(const struct smtp_client *c, int code, struct slice text)
{
    return (struct smtp_client_result){
        .end = SMTP_CLIENT_ANSWERED,
        .reason = "answered",
        .recipients = c->work.answers,
        .n_recipients = c->work.mail->envelope->n_recipients,
        .code = code,
        .text = text,
        .dsn = (c->extensions & EXT_DSN) != 0,
    };
}

/* Of a transaction that no reply to its data has ended. */
void smtp_client_known(const struct smtp_client *c, const char *reason, struct smtp_client_result *out)
{
    const struct smtp_client_work *w = &c->work;
    *out = (struct smtp_client_result){.end = SMTP_CLIENT_NOT_SENT, .reason = reason};
    if (!w->mail)
        return;
    if (w->answers && all_answered(w)) {
        const struct recipient_answer *last = &w->answers[w->mail->envelope->n_recipients - 1];
        *out = answered(c, last->code, last->text);
    } else if (w->ended && c->out.n == 0) {
        out->end = SMTP_CLIENT_UNKNOWN;
    }
}

void smtp_client_tell(struct smtp_client *c)
{
    c->done_due = true;
    c->work.mail = NULL;
}

/* The reply is the answer to all recipients that are not refused already. */
static void answer_rest(struct smtp_client *c)
{
    struct smtp_client_work *w = &c->work;
    struct slice text = arena_slice(w->arena, smtp_client_reply_text(c));
    for (size_t i = 0; i < w->mail->envelope->n_recipients; i++)
        if (w->answers[i].code < 400)
            w->answers[i] = (struct recipient_answer){c->reply.code, text};
}

void smtp_client_finish(struct smtp_client *c)
{
    answer_rest(c);
    c->result = answered(c, c->reply.code, smtp_client_reply_text(c));
    smtp_client_tell(c);
}

#define SIZE_DIGITS_MAX 20u

/* --- a transaction: out -------------------------------------------------------------------- */

/* " RET=FULL", when there is a value. */
static void put_parameter(struct smtp_client *c, struct slice name, struct slice value)
{
    if (value.n == 0)
        return;
    smtp_client_put(c, name);
    smtp_client_put(c, value);
}

static void put_mail(struct smtp_client *c)
{
    const struct mail_envelope *e = c->work.mail->envelope;
    smtp_client_put(c, SLICE("MAIL FROM:<"));
    smtp_client_put(c, e->from);
    smtp_client_put(c, SLICE(">"));
    if (c->extensions & EXT_SIZE) { /* RFC 1870: with all line ends, without the dots that are stuffed */
        struct slice content = c->work.mail->content;
        bool whole = content.n == 0 || content.p[content.n - 1] == '\n';
        struct buf digits;
        buf_init(&digits, c->work.arena, SIZE_DIGITS_MAX);
        buf_add_u64(&digits, content.n + (whole ? 0 : 2));
        put_parameter(c, SLICE(" SIZE="), buf_slice(&digits));
    }
    if ((c->extensions & EXT_8BITMIME) && (c->work.is_8bit || e->body_8bit))
        smtp_client_put(c, SLICE(" BODY=8BITMIME"));
    if (e->smtputf8)
        smtp_client_put(c, SLICE(" SMTPUTF8"));
    if (c->extensions & EXT_DSN) {
        put_parameter(c, SLICE(" RET="), e->ret);
        put_parameter(c, SLICE(" ENVID="), e->envid);
    }
}

static void put_rcpt(struct smtp_client *c, const struct mail_recipient *r)
{
    smtp_client_put(c, SLICE("RCPT TO:<"));
    smtp_client_put(c, r->path);
    smtp_client_put(c, SLICE(">"));
    if (c->extensions & EXT_DSN) {
        put_parameter(c, SLICE(" NOTIFY="), r->notify);
        put_parameter(c, SLICE(" ORCPT="), r->orcpt);
    }
}

/* MAIL, RCPT, DATA: as many as there is room for, or one where the server wants them one by one (RFC 2920). */
static void put_group(struct smtp_client *c)
{
    struct smtp_client_work *w = &c->work;
    const struct mail_envelope *e = w->mail->envelope;
    size_t n = e->n_recipients + 2;
    smtp_client_open_out(c);
    while (w->n_said < n && smtp_client_room(c) >= SMTP_CLIENT_COMMAND_MAX && (w->pipelined || c->n_owed == 0)) {
        if (w->n_said == 0)
            put_mail(c);
        else if (w->n_said < n - 1)
            put_rcpt(c, &e->recipients[w->n_said - 1]);
        else
            smtp_client_put(c, SLICE("DATA"));
        smtp_client_put(c, SLICE("\r\n"));
        w->n_said++;
        c->n_owed++;
    }
}

/* A line of the content, or as much of it as there is room for.  RFC 5321 section 4.5.2: a dot before a first dot. */
static void put_line(struct smtp_client *c, struct slice rest)
{
    struct smtp_client_work *w = &c->work;
    if (!w->in_line && rest.p[0] == '.')
        smtp_client_put(c, SLICE("."));
    size_t n = rest.n < smtp_client_room(c) ? rest.n : smtp_client_room(c);
    const char *lf = memchr(rest.p, '\n', n);
    if (lf)
        n = (size_t)(lf - rest.p) + 1;
    smtp_client_put(c, (struct slice){rest.p, n});
    w->at += n;
    w->in_line = !lf;
}

#define LINE_ROOM 8u /* for a byte with its dot, or the end of the data */

static void put_content(struct smtp_client *c)
{
    struct smtp_client_work *w = &c->work;
    struct slice content = w->mail->content;
    smtp_client_open_out(c);
    w->began = true;
    while (w->at < content.n && smtp_client_room(c) >= LINE_ROOM)
        put_line(c, (struct slice){content.p + w->at, content.n - w->at});
    if (w->at < content.n || smtp_client_room(c) < LINE_ROOM)
        return;
    smtp_client_put(c, w->in_line ? SLICE("\r\n.\r\n") : SLICE(".\r\n"));
    w->ended = true;
    c->n_owed++;
}

void smtp_client_fill(struct smtp_client *c)
{
    const struct smtp_client_work *w = &c->work;
    if (c->state == SMTP_CLIENT_MAIL || c->state == SMTP_CLIENT_RCPT || c->state == SMTP_CLIENT_DATA)
        put_group(c);
    else if (c->state == SMTP_CLIENT_CONTENT && !w->ended)
        put_content(c);
}

/* --- a transaction: in ----------------------------------------------------------------------- */

/* Nobody was accepted.  What the server may still think of the transaction is taken back. */
static void settle(struct smtp_client *c)
{
    bool is_open = !c->work.is_refused;
    smtp_client_known(c, "refused", &c->result);
    smtp_client_tell(c);
    if (is_open)
        smtp_client_say(c, SMTP_CLIENT_RSET, SLICE("RSET"), (struct slice){0});
    else
        smtp_client_be_idle(c);
}

static void on_mail(struct smtp_client *c, int class)
{
    struct smtp_client_work *w = &c->work;
    c->state = SMTP_CLIENT_RCPT;
    if (class == 2)
        return;
    w->is_refused = true;
    answer_rest(c);
    if (!w->pipelined)
        settle(c);
}

static void on_rcpt(struct smtp_client *c, int class)
{
    struct smtp_client_work *w = &c->work;
    struct recipient_answer *answer = &w->answers[w->n_heard++];
    if (w->is_refused) { /* they have MAIL's */
        w->is_strange |= class == 2;
    } else {
        answer->code = c->reply.code;
        answer->text = class == 2 ? (struct slice){0} : arena_slice(w->arena, smtp_client_reply_text(c));
        w->n_accepted += class == 2;
    }
    if (w->n_heard < w->mail->envelope->n_recipients)
        return;
    c->state = SMTP_CLIENT_DATA;
    if (w->n_accepted == 0 && !w->pipelined)
        settle(c);
}

/*
 * RFC 2920 section 3.1: a server that says 354 to DATA though it took no recipient waits for the dot.  One that refused
 * the sender and took recipients has a transaction of its own in mind, and would send them the empty mail.
 */
static void on_data_for_nobody(struct smtp_client *c, int class)
{
    if (c->work.is_strange) {
        smtp_client_fail(c, "syntax", class != 3);
        return;
    }
    if (class != 3) {
        settle(c);
        return;
    }
    smtp_client_known(c, "refused", &c->result);
    smtp_client_tell(c);
    smtp_client_say(c, SMTP_CLIENT_DOT, SLICE("."), (struct slice){0});
}

static void on_data(struct smtp_client *c, int class)
{
    if (c->work.n_accepted == 0) {
        on_data_for_nobody(c, class);
    } else if (class == 3) {
        c->state = SMTP_CLIENT_LOOK;
        c->due = SMTP_CLIENT_MAY_DATA;
    } else if (class == 2) {
        smtp_client_fail(c, "syntax", false);
    } else {
        smtp_client_finish(c);
        smtp_client_say(c, SMTP_CLIENT_RSET, SLICE("RSET"), (struct slice){0});
    }
}

void smtp_client_on_mail(struct smtp_client *c, int class)
{
    if (c->state == SMTP_CLIENT_MAIL) {
        on_mail(c, class);
    } else if (c->state == SMTP_CLIENT_RCPT) {
        on_rcpt(c, class);
    } else if (c->state == SMTP_CLIENT_DATA) {
        on_data(c, class);
    } else if (c->state == SMTP_CLIENT_RSET && class != 2) {
        smtp_client_fail_refused(c, "reset_refused", true); /* MAIL would be refused, and its recipients with it */
    } else {
        if (c->state == SMTP_CLIENT_CONTENT)
            smtp_client_finish(c);
        smtp_client_be_idle(c);
    }
}

/* --- the way in ------------------------------------------------------------------------------ */

/* What the server did not offer is its answer, in the codes of RFC 6152 section 3 and RFC 6531 section 3.5. */
static void answer_locally(struct smtp_client *c, int code, struct slice text)
{
    struct smtp_client_work *w = &c->work;
    for (size_t i = 0; i < w->mail->envelope->n_recipients; i++)
        w->answers[i] = (struct recipient_answer){code, text};
    w->answered = true;
    c->result = answered(c, code, text);
    smtp_client_tell(c);
    smtp_client_be_idle(c);
}

static void refuse_mail(struct smtp_client *c, const char *reason)
{
    c->work.answered = true;
    smtp_client_known(c, reason, &c->result);
    c->result.is_own = true;
    smtp_client_tell(c);
    smtp_client_be_idle(c);
}

void smtp_client_send(struct smtp_client *c, const struct smtp_client_mail *mail, struct arena *arena)
{
    const struct mail_envelope *e = mail->envelope;
    struct smtp_client_work *w = &c->work;
    ensure(c->state == SMTP_CLIENT_IDLE && c->due == SMTP_CLIENT_NONE && !w->mail);
    *w = (struct smtp_client_work){.mail = mail, .arena = arena, .pipelined = (c->extensions & EXT_PIPELINING) != 0};
    enum smtp_content seen = mail->seen == SMTP_CONTENT_UNSEEN ? smtp_client_look(mail->content) : mail->seen;
    if (!smtp_client_check_envelope(e) || seen == SMTP_CONTENT_BAD) {
        refuse_mail(c, "bad_request");
        return;
    }
    w->is_8bit = seen == SMTP_CONTENT_8BIT;
    w->answers = arena_calloc(arena, e->n_recipients, sizeof *w->answers);
    if (!w->answers)
        refuse_mail(c, "out_of_memory");
    else if (e->smtputf8 && !(c->extensions & EXT_SMTPUTF8))
        answer_locally(c, 553, SLICE("5.6.7 The relay takes no internationalized mail (SMTPUTF8)"));
    else if (w->is_8bit && !(c->extensions & EXT_8BITMIME))
        answer_locally(c, 554, SLICE("5.6.3 The relay takes no 8-bit content (8BITMIME)"));
    else
        c->state = SMTP_CLIENT_MAIL;
}

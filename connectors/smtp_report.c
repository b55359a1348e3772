/*
 * What the sender of an accepted mail is told of those whom it did not reach, as a
 * mail of its own: RFC 3464 in the frame of RFC 6522, asked for as RFC 3461 says.
 * Knows what was decided and what a relay said, not how either came about.  The one
 * idea: the first part is for a person, and says what happened, to whom, and what to
 * do now; the second says the same to programs; the third reminds which mail it was.
 */
#include "smtp.h"

#include "postern/civil.h"
#include "postern/hash.h"

#define REPORT_MAX_BYTES   4194304u /* a thousand recipients are 1 MiB */
#define RETURNED_MAX_BYTES 65536u   /* of a mail that is returned whole; of a larger one the header */
#define LINE_MAX_BYTES     998u     /* RFC 5322 section 2.1.1 */
#define DIAGNOSTIC_BYTES   400u

struct writing {
    const struct wire_request *request;
    const struct parsed *parsed;
    const struct smtp *smtp;
    const struct report_row **rows; /* of those who want to be told */
    size_t n_rows;
    const struct report_options *options;
    struct arena *arena;
    struct slice returned; /* what the third part holds */
    bool whole;            /* the mail, not only its header */
    bool utf8;             /* an address needs SMTPUTF8 (RFC 6531), and the forms of RFC 6533 */
    bool is_8bit;
    struct buf b;
};

/* --- whom to tell ---------------------------------------------------------------- */

/* X-SMTPAPI's recipients have no RCPT of their own: their carrier speaks for them. */
static const struct smtp_rcpt *rcpt_of(const struct smtp *smtp, const struct message *m)
{
    bool of_api = smtp->api != NULL && smtp->api->n_to > 0;
    return &smtp->rcpts[of_api ? 0 : m->index];
}

/* RFC 3461 section 4.1: nothing said asks for failures. */
static bool is_wanted(const struct smtp *smtp, const struct report_row *row)
{
    uint32_t notify = rcpt_of(smtp, row->message)->notify;
    switch (row->action) {
    case REPORT_FAILED:
        return notify == SMTP_NOTIFY_UNSAID || (notify & SMTP_NOTIFY_FAILURE) != 0;
    case REPORT_DELAYED:
        return (notify & SMTP_NOTIFY_DELAY) != 0;
    case REPORT_RELAYED:
        return (notify & SMTP_NOTIFY_SUCCESS) != 0;
    }
    never("an action");
}

static enum report_action worst_of(const struct writing *w)
{
    enum report_action worst = REPORT_RELAYED;
    for (size_t i = 0; i < w->n_rows; i++) {
        if (w->rows[i]->action < worst)
            worst = w->rows[i]->action;
    }
    return worst;
}

/* --- for people -------------------------------------------------------------------- */

static const char *what_happened(const struct report_row *row)
{
    if (row->action == REPORT_RELAYED)
        return "Handed on to a server that sends no reports of this kind";
    if (row->action == REPORT_DELAYED)
        return "Not delivered yet";
    return row->remote.n > 0 ? "Not delivered: the receiving server refused it" : "Not sent";
}

static const char *what_to_do(const struct report_row *row)
{
    if (row->action == REPORT_RELAYED)
        return "There is nothing to do; this is the last report.";
    if (row->action == REPORT_DELAYED)
        return "It is tried again by itself. Do not send it a second time.";
    if (row->remote.n > 0)
        return "Check the address, and what the server says, before you send it again.";
    if (slice_starts(row->status, "5.7."))
        return "Do not send it again: the recipient's wishes, or a rule, stand against it.";
    return "If it still matters, send it again.";
}

static void add_diagnostic(struct writing *w, const struct report_row *row)
{
    struct slice text = row->diagnostic;
    text.n = text.n < DIAGNOSTIC_BYTES ? text.n : DIAGNOSTIC_BYTES;
    smtp_add_clean(&w->b, text);
    buf_add(&w->b, "\r\n", 2);
}

static void add_words(struct writing *w)
{
    char time[RFC2822_MAX];
    struct buf *b = &w->b;
    buf_printf(b,
               "This is the mail gateway at %s. It writes about the mail that it took from\r\n"
               "you on %s",
               w->options->host, rfc2822_format(w->options->arrived_ms, time));
    if (w->options->kept_id.n > 0)
        buf_printf(b, " (queued as %.*s)", SLICE_ARG(w->options->kept_id));
    buf_add_cstr(b, ".\r\n");
    for (size_t i = 0; i < w->n_rows; i++) {
        const struct report_row *row = w->rows[i];
        buf_printf(b, "\r\n<%.*s>\r\n    %s", SLICE_ARG(row->message->to_text), what_happened(row));
        if (row->remote.n > 0) {
            buf_add_cstr(b, "\r\n    (");
            smtp_add_clean(b, row->remote);
            buf_add_cstr(b, ")");
        }
        buf_add_cstr(b, row->diagnostic.n > 0 ? ":\r\n    " : ".");
        add_diagnostic(w, row);
        if (row->action == REPORT_DELAYED && row->will_retry_until_ms != 0)
            buf_printf(b, "    It is tried until %s.\r\n", rfc2822_format(row->will_retry_until_ms, time));
        buf_printf(b, "    %s\r\n", what_to_do(row));
    }
}

/* --- for programs -------------------------------------------------------------------- */

/* "name: text" with RFC 3461's xtext undone; the envelope's parser saw that it stands for visible ASCII. */
static void add_xtext(struct buf *b, const char *name, struct slice s)
{
    if (s.n == 0)
        return;
    buf_printf(b, "%s: ", name);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '+') {
            c = (char)(hash_hex_digit(s.p[i + 1]) * 16 + hash_hex_digit(s.p[i + 2]));
            i += 2;
        }
        buf_add(b, &c, 1);
    }
    buf_add(b, "\r\n", 2);
}

static void add_row(struct writing *w, const struct report_row *row)
{
    static const char *const actions[] = {"failed", "delayed", "relayed"};
    char time[RFC2822_MAX];
    struct buf *b = &w->b;
    struct slice to = row->message->to_text;
    bool of_api = w->smtp->api != NULL && w->smtp->api->n_to > 0;
    buf_add_cstr(b, "\r\n");
    if (!of_api)
        add_xtext(b, "Original-Recipient", rcpt_of(w->smtp, row->message)->orcpt);
    buf_printf(b, "Final-Recipient: %s; %.*s\r\n", smtp_is_ascii(to) ? "rfc822" : "utf-8", SLICE_ARG(to));
    buf_printf(b, "Action: %s\r\nStatus: %.*s\r\n", actions[row->action], SLICE_ARG(row->status));
    if (row->remote.n > 0) {
        buf_add_cstr(b, "Remote-MTA: dns; ");
        smtp_add_clean(b, row->remote);
        buf_add_cstr(b, "\r\n");
    }
    if (row->diagnostic.n > 0) {
        buf_printf(b, "Diagnostic-Code: %s; ", row->remote.n > 0 ? "smtp" : "X-Postern");
        add_diagnostic(w, row);
    }
    buf_printf(b, "Last-Attempt-Date: %s\r\n", rfc2822_format(w->options->now_ms, time));
    if (row->action == REPORT_DELAYED && row->will_retry_until_ms != 0)
        buf_printf(b, "Will-Retry-Until: %s\r\n", rfc2822_format(row->will_retry_until_ms, time));
}

static void add_status(struct writing *w)
{
    char time[RFC2822_MAX];
    buf_printf(&w->b, "Reporting-MTA: dns; %s\r\n", w->options->host);
    if (!slice_starts(w->smtp->mail.envid, "ovr_")) /* a token that came this way is nobody's to read */
        add_xtext(&w->b, "Original-Envelope-Id", w->smtp->mail.envid);
    if (w->options->kept_id.n > 0)
        buf_printf(&w->b, "X-Postern-Queue-Id: %.*s\r\n", SLICE_ARG(w->options->kept_id));
    buf_printf(&w->b, "Arrival-Date: %s\r\n", rfc2822_format(w->options->arrived_ms, time));
    for (size_t i = 0; i < w->n_rows; i++)
        add_row(w, w->rows[i]);
}

/* --- what is returned -------------------------------------------------------------------- */

/* Not empty; lines of a length that every server takes, and each ended by CRLF. */
static bool is_returnable(struct slice s)
{
    for (size_t at = 0; at < s.n;) {
        const char *lf = memchr(s.p + at, '\n', s.n - at);
        size_t n = lf == NULL ? 0 : (size_t)(lf - s.p) - at;
        if (n == 0 || n > LINE_MAX_BYTES + 1 || lf[-1] != '\r' || memchr(s.p + at, '\r', n) != lf - 1)
            return false;
        at += n + 1;
    }
    return memchr(s.p, '\0', s.n) == NULL;
}

/*
 * The header without what spoke to us, what speaks to a relay, and what cannot be sent.  With the text when that was
 * asked for, which counts for failures only (RFC 3461 section 4.3).
 */
static enum err choose_returned(struct writing *w)
{
    const struct smtp *smtp = w->smtp;
    struct slice content = w->request->body;
    struct buf b;
    w->whole = smtp->mail.ret == SMTP_RET_FULL && worst_of(w) == REPORT_FAILED && content.n > 0 &&
               content.n <= RETURNED_MAX_BYTES && is_returnable(content);
    buf_init(&b, w->arena, REPORT_MAX_BYTES);
    for (size_t i = 0; i < smtp->head.n; i++) {
        const struct mail_field *field = &smtp->head.fields[i];
        struct slice bytes = {content.p + field->start, field->end - field->start};
        if (!smtp_is_own_field(field->name) && !slice_ieq(field->name, SLICE("X-SMTPAPI")) && is_returnable(bytes))
            buf_add_slice(&b, bytes);
    }
    if (w->whole) {
        buf_add(&b, "\r\n", 2);
        buf_add(&b, content.p + smtp->head.body, content.n - smtp->head.body);
    }
    w->returned = buf_slice(&b);
    return b.failed ? ERR_LIMIT : OK;
}

/* --- the mail ------------------------------------------------------------------------------ */

static const char *encoding(const struct writing *w)
{
    return w->is_8bit ? "8bit" : "7bit";
}

static void add_part(struct writing *w, const char *type)
{
    buf_printf(&w->b, "--=_postern_%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n", w->options->id,
               type, encoding(w));
}

static void add_header(struct writing *w)
{
    static const char *const subjects[] = {"Mail not delivered", "Mail delayed", "Mail handed on"};
    char time[RFC2822_MAX];
    const struct report_options *o = w->options;
    buf_printf(&w->b, "Date: %s\r\nFrom: Mail gateway <MAILER-DAEMON@%s>\r\nTo: <%.*s>\r\n",
               rfc2822_format(o->now_ms, time), o->host, SLICE_ARG(w->smtp->mail.path));
    buf_printf(&w->b, "Subject: %s\r\nMessage-ID: <%s@%s>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n",
               subjects[worst_of(w)], o->id, o->host);
    buf_printf(&w->b,
               "Content-Type: multipart/report; report-type=%s;\r\n boundary=\"=_postern_%s\"\r\n"
               "Content-Transfer-Encoding: %s\r\n\r\n",
               w->utf8 ? "global-delivery-status" : "delivery-status", o->id, encoding(w));
}

static void add_mail(struct writing *w)
{
    add_header(w);
    add_part(w, w->is_8bit ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii");
    add_words(w);
    buf_add_cstr(&w->b, "\r\n");
    add_part(w, w->utf8 ? "message/global-delivery-status" : "message/delivery-status");
    add_status(w);
    buf_add_cstr(&w->b, "\r\n");
    if (w->whole)
        add_part(w, w->utf8 ? "message/global" : "message/rfc822");
    else
        add_part(w, w->utf8 ? "message/global-headers" : "text/rfc822-headers");
    buf_add_slice(&w->b, w->returned);
    buf_printf(&w->b, "\r\n--=_postern_%s--\r\n", w->options->id);
}

/* From the null sender, which no report answers (RFC 3461 section 6.1). */
static enum err make_request(const struct writing *w, struct wire_request *out)
{
    struct wire_field *fields = arena_calloc(w->arena, 3, sizeof *fields);
    const char *mail =
        arena_printf(w->arena, "FROM:<>%s%s", w->is_8bit ? " BODY=8BITMIME" : "", w->utf8 ? " SMTPUTF8" : "");
    const char *rcpt = arena_printf(w->arena, "TO:<%.*s>", SLICE_ARG(w->smtp->mail.path));
    if (fields == NULL || mail == NULL || rcpt == NULL || w->b.failed)
        return ERR_LIMIT;
    fields[0] = (struct wire_field){SLICE("MAIL"), slice_of(mail)};
    fields[1] = (struct wire_field){SLICE("RCPT"), slice_of(rcpt)};
    fields[2] = (struct wire_field){SLICE("CLIENT"), slice_of(w->options->host)};
    *out = (struct wire_request){.method = SLICE("SMTP"), .fields = fields, .n_fields = 3, .body = buf_slice(&w->b)};
    return OK;
}

/* The parameters are the contract's.  NOLINTNEXTLINE(readability-function-size) */
enum err smtp_report(const struct wire_request *r, const struct parsed *p, const struct report_row *rows, size_t n,
                     const struct report_options *options, struct arena *a, struct wire_request *out)
{
    struct writing w = {.request = r, .parsed = p, .smtp = p->dialect, .options = options, .arena = a};
    w.rows = arena_calloc(a, n + 1, sizeof(const struct report_row *));
    if (w.rows == NULL)
        return ERR_LIMIT;
    w.utf8 = !smtp_is_ascii(w.smtp->mail.path);
    for (size_t i = 0; i < n; i++) {
        if (!is_wanted(w.smtp, &rows[i]))
            continue;
        w.rows[w.n_rows++] = &rows[i];
        w.utf8 = w.utf8 || !smtp_is_ascii(rows[i].message->to_text);
    }
    if (w.n_rows == 0 || w.smtp->mail.path.n == 0)
        return ERR_NOT_FOUND;
    enum err err = choose_returned(&w);
    if (err != OK)
        return err;
    w.is_8bit = w.utf8 || !smtp_is_ascii(w.returned);
    buf_init(&w.b, a, REPORT_MAX_BYTES);
    add_mail(&w);
    return make_request(&w, out);
}

/*
 * What leaves for a relay: the envelope of those who are sent to, and the content as
 * received, less the fields that speak to us.  The one idea: nothing is written anew,
 * so a mail that asks for nothing leaves as the very same bytes, its DKIM signature
 * with it.
 */
#include "smtp.h"

#include "postern/address.h"

/* --- the envelope ------------------------------------------------------------------ */

bool smtp_is_ascii(struct slice s)
{
    size_t i = 0;
    while (i < s.n && (unsigned char)s.p[i] < 0x80)
        i++;
    return i == s.n;
}

struct slice smtp_notify_text(uint32_t notify)
{
    static const char *const texts[] = {NULL,    "SUCCESS",       "FAILURE",       "SUCCESS,FAILURE",
                                        "DELAY", "SUCCESS,DELAY", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"};
    if ((notify & SMTP_NOTIFY_NEVER) != 0)
        return SLICE("NEVER");
    return slice_of(texts[notify / SMTP_NOTIFY_SUCCESS % N_ELEMENTS(texts)]);
}

static struct mail_recipient recipient_of(const struct smtp_rcpt *r)
{
    return (struct mail_recipient){r->path, smtp_notify_text(r->notify), r->orcpt};
}

/*
 * Whom the mail is handed to when X-SMTPAPI names the recipients.  SendGrid looks at that alone; another relay would
 * send to whom RCPT says.  So it says one who was decided about: the client's own carrier if that is one of them, else
 * the first whom every relay can be told.
 */
static struct mail_recipient carrier_of(const struct smtp *smtp, const struct parsed *p, const bool *send)
{
    struct mail_recipient carrier = recipient_of(&smtp->rcpts[0]);
    struct address own = {.kind = ADDRESS_NONE};
    struct errmsg why;
    size_t first = SIZE_MAX;
    ignore(address_parse_email(carrier.path, &own, &why)); /* the envelope's parser took it for one */
    for (size_t i = 0; i < p->n_messages; i++) {
        if (!send[i])
            continue;
        if (strcmp(p->messages[i].to.text, own.text) == 0)
            return carrier;
        if (first == SIZE_MAX ||
            (!smtp_is_ascii(slice_of(p->messages[first].to.text)) && smtp_is_ascii(slice_of(p->messages[i].to.text))))
            first = i;
    }
    carrier.path = slice_of(p->messages[first].to.text);
    carrier.orcpt = (struct slice){NULL, 0};
    return carrier;
}

/* An override token may come as ENVID, from clients that can add no field: it is for us. */
static struct slice envid_of(const struct smtp_mail *mail)
{
    return slice_starts(mail->envid, "ovr_") ? (struct slice){NULL, 0} : mail->envid;
}

static struct mail_envelope *envelope_of(const struct smtp *smtp, const struct parsed *p, const bool *send, size_t n,
                                         struct arena *a)
{
    static const char *const rets[] = {NULL, "FULL", "HDRS"};
    bool of_api = smtp->api != NULL && smtp->api->n_to > 0;
    struct mail_envelope *e = arena_alloc(a, sizeof *e);
    struct mail_recipient *recipients = arena_calloc(a, of_api ? 1 : n, sizeof *recipients);
    if (e == NULL || recipients == NULL)
        return NULL;
    *e = (struct mail_envelope){.from = smtp->mail.path,
                                .body_8bit = smtp->mail.body_8bit,
                                .smtputf8 = smtp->mail.smtputf8,
                                .ret = slice_of(rets[smtp->mail.ret]),
                                .envid = envid_of(&smtp->mail),
                                .recipients = recipients};
    if (of_api) {
        recipients[e->n_recipients++] = carrier_of(smtp, p, send);
        e->smtputf8 |= !smtp_is_ascii(recipients[0].path);
    }
    for (size_t i = 0; !of_api && i < p->n_messages; i++) {
        if (send[i])
            recipients[e->n_recipients++] = recipient_of(&smtp->rcpts[i]);
    }
    return e;
}

/* --- the content --------------------------------------------------------------------- */

/* Mailgun would choose the time (page "Sending via SMTP", 2024-07), and nobody was asked whether it may be then. */
static bool is_others_schedule(struct slice name)
{
    return slice_ieq(name, SLICE("X-Mailgun-Delivery-Time-Optimize-Period")) ||
           slice_ieq(name, SLICE("X-Mailgun-Time-Zone-Localize"));
}

/* Cuts what is ours, what has passed, and what would have another time chosen. */
static void edit_fields(const struct smtp *smtp, const bool *send, int64_t now_ms, struct edits *edits)
{
    for (size_t i = 0; i < smtp->head.n; i++) {
        const struct mail_field *field = &smtp->head.fields[i];
        bool passed = field == smtp->own_schedule && smtp->deliver_by_ms <= now_ms;
        if (smtp_is_own_field(field->name) || is_others_schedule(field->name) || passed)
            edit_cut(edits, field->start, field->end);
        else if (smtp->api != NULL && field == smtp->api->field)
            smtp_api_prune(smtp->api, send, now_ms, edits);
    }
}

/* The parameters are the contract's.  NOLINTNEXTLINE(readability-function-size) */
enum err smtp_forward(const struct wire_request *r, const struct route *route, const struct parsed *p, const bool *send,
                      const struct forward_options *options, struct arena *a, struct outgoing *out)
{
    (void)route;
    const struct smtp *smtp = p->dialect;
    struct edits edits = {.arena = a};
    size_t n = 0;
    *out = (struct outgoing){.method = r->method};
    for (size_t i = 0; i < p->n_messages; i++)
        n += send[i];
    if (n == 0)
        return ERR_CONFLICT;
    out->envelope = envelope_of(smtp, p, send, n, a);
    edit_fields(smtp, send, options->now_ms, &edits);
    enum err err = edit_apply(&edits, r->body, &out->body);
    return out->envelope == NULL ? ERR_LIMIT : err;
}

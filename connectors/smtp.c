/*
 * The dialect of mail submission (RFC 5321, 6409), and a relay as a provider: which
 * requests are its, what an answer means, ids.  Reading a transaction is
 * smtp_parse.c, what leaves smtp_forward.c, what the client hears smtp_reply.c, what
 * its sender is told later smtp_report.c.
 */
#include "smtp.h"

#include "postern/hash.h"

static enum call smtp_match(const struct wire_request *r, struct route *out)
{
    /* No HTTP request has this method: the listener knows those that it takes. */
    if (!slice_eq_cstr(r->method, "SMTP"))
        return CALL_NONE;
    *out = (struct route){.call = CALL_SEND};
    return out->call;
}

/* What stands behind "queued as " in a reply's text; empty when nothing does. */
static struct slice queue_id(struct slice text)
{
    static const char words[] = "queued as ";
    const char *at = text.n == 0 ? NULL : memmem(text.p, text.n, words, sizeof words - 1);
    if (at == NULL)
        return (struct slice){NULL, 0};
    struct slice id = {at + sizeof words - 1, 0};
    while (id.p + id.n < text.p + text.n && id.p[id.n] > ' ' && id.p[id.n] < 0x7F)
        id.n++;
    return id;
}

/* A relay answers for each recipient; one answer stands for all when one recipient carried them (X-SMTPAPI). */
void smtp_classify(const struct provider_answer *answer, size_t nth, struct send_result *out)
{
    struct recipient_answer whole = {answer->status, answer->body};
    const struct recipient_answer *one = &whole;
    if (nth < answer->n_recipients)
        one = &answer->recipients[nth];
    else if (answer->n_recipients == 1)
        one = &answer->recipients[0];
    *out = (struct send_result){.status = SEND_UNKNOWN};
    if (one->code >= 200 && one->code < 300) {
        out->status = SEND_ACCEPTED;
        out->provider_id = queue_id(one->text);
    } else if (one->code >= 400 && one->code < 500) {
        out->status = SEND_RETRY;
    } else if (one->code >= 500 && one->code < 600) {
        out->status = SEND_REFUSED;
    }
}

static void smtp_mint_id(const struct parsed *p, const uint8_t random[16], char out[SID_MAX])
{
    (void)p;
    hash_hex(random, 16, out);
}

const struct connector smtp_connector = {
    .name = "smtp",
    .channel = CHANNEL_EMAIL,
    .transport = TRANSPORT_SMTP,
    .match = smtp_match,
    .parse = smtp_parse,
    .settle = NULL,
    .forward = smtp_forward,
    .classify = smtp_classify,
    .reply = smtp_reply,
    .fault_reply = smtp_fault_reply,
    .report = smtp_report,
    .accept = smtp_accept,
    .mint_id = smtp_mint_id,
};

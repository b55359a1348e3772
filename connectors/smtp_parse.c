/*
 * A mail transaction as its recipients will see it: each RCPT is a message, or each
 * address of X-SMTPAPI's `to` where there is one; what else is looked at stands in
 * header fields.  The content stays bytes.  The one idea: a field that decides
 * something stands once, or the mail is refused; all others may be as odd as they are
 * in real mail.
 */
#include "smtp.h"

#include "claims.h"
#include "mailbox.h"
#include "postern/civil.h"
#include "postern/limits.h"

#define ALSO_KEY_FIELD "X-Postern-Idempotency-Key"
#define FIELD_NAME_MAX 48u /* of a message: a word and an index */

struct reading {
    const struct wire_request *request;
    int64_t now_ms;
    struct arena *arena;
    struct smtp *smtp;
    struct parsed *out;
    struct fault *fault;
    struct claims claims;
    struct message common; /* what all messages share */
};

static enum err out_of_memory(struct reading *g)
{
    return wire_fault(g->fault, FAULT_TOO_LARGE, NULL, "The message has too many values to be read");
}

static enum err field_text(struct reading *g, const struct mail_field *field, struct slice *out)
{
    *out = mail_field_text(field, g->arena);
    return out->p == NULL ? out_of_memory(g) : OK;
}

/* The same with its encoded words undone: what only we read, or people. */
static enum err field_words(struct reading *g, const struct mail_field *field, struct slice *out)
{
    enum err err = field_text(g, field, out);
    if (err == OK)
        *out = mail_words(*out, g->arena);
    return out->p == NULL ? out_of_memory(g) : err;
}

/* --- the envelope ---------------------------------------------------------------- */

static enum err refuse_argument(struct reading *g, const char *command, const struct smtp_fault *why)
{
    bool address = slice_starts(slice_of(why->enhanced), "5.1.");
    return wire_fault(g->fault, address ? FAULT_ADDRESS : FAULT_SYNTAX, command, "%s: %s", command, why->text);
}

static enum err read_rcpts(struct reading *g, size_t n)
{
    const struct wire_request *r = g->request;
    struct smtp_rcpt *rcpts = arena_calloc(g->arena, n, sizeof *rcpts);
    struct smtp_fault why;
    size_t k = 0;
    if (rcpts == NULL)
        return out_of_memory(g);
    for (size_t i = 0; i < r->n_fields; i++) {
        if (!slice_eq_cstr(r->fields[i].name, "RCPT"))
            continue;
        if (smtp_rcpt_parse(r->fields[i].value, g->smtp->mail.smtputf8, &rcpts[k++], &why) != OK)
            return refuse_argument(g, "RCPT", &why);
        g->out->wants_receipts |= (rcpts[k - 1].notify & SMTP_NOTIFY_SUCCESS) != 0;
    }
    g->smtp->rcpts = rcpts;
    g->smtp->n_rcpts = n;
    return OK;
}

static enum err read_envelope(struct reading *g)
{
    const struct wire_request *r = g->request;
    struct slice mail = wire_field_get(r->fields, r->n_fields, "MAIL");
    struct smtp_fault why;
    size_t n = 0;
    if (smtp_mail_parse(mail, &g->smtp->mail, &why) != OK)
        return refuse_argument(g, "MAIL", &why);
    for (size_t i = 0; i < r->n_fields; i++)
        n += slice_eq_cstr(r->fields[i].name, "RCPT");
    if (n == 0)
        return wire_fault(g->fault, FAULT_NO_RECIPIENT, "RCPT", "No valid recipients");
    if (n > LIMIT_RECIPIENTS)
        return wire_fault(g->fault, FAULT_TOO_LONG, "RCPT", "Too many recipients: %zu, at most %u are taken", n,
                          LIMIT_RECIPIENTS);
    return read_rcpts(g, n);
}

/* --- fields that decide something ---------------------------------------------------- */

bool smtp_is_own_field(struct slice name)
{
    static const char prefix[] = "X-Postern-";
    if (name.n < sizeof prefix - 1)
        return false;
    return slice_ieq((struct slice){name.p, sizeof prefix - 1}, SLICE(prefix)) ||
           slice_ieq(name, slice_of(claims_field(CLAIM_IDEMPOTENCY_KEY)));
}

static enum err read_claim(struct reading *g, const struct mail_field *field)
{
    for (enum claim claim = 0; claim < CLAIM_N; claim++) {
        bool also = claim == CLAIM_IDEMPOTENCY_KEY && slice_ieq(field->name, SLICE(ALSO_KEY_FIELD));
        if (!also && !slice_ieq(field->name, slice_of(claims_field(claim))))
            continue;
        struct slice value;
        enum err err = field_words(g, field, &value);
        return err != OK ? err : claims_say(&g->claims, claim, value, g->fault);
    }
    return OK;
}

static enum err check_once(struct reading *g)
{
    static const char *const names[] = {"From", "Sender", "Message-ID", "X-SMTPAPI", "X-Mailgun-Deliver-By"};
    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        if (mail_head_get(&g->smtp->head, names[i], 1) != NULL)
            return wire_fault(g->fault, FAULT_SYNTAX, names[i],
                              "The header has two fields %s, and readers differ about which counts; give one",
                              names[i]);
    }
    return OK;
}

static enum err read_head(struct reading *g)
{
    struct mail_head *head = &g->smtp->head;
    size_t hops = 0;
    enum err err = mail_head_read(g->request->body, g->arena, head, g->fault);
    if (err == OK)
        err = mime_check(g->request->body, head, g->fault);
    if (err == OK)
        err = check_once(g);
    for (size_t i = 0; i < head->n && err == OK; i++) {
        hops += slice_ieq(head->fields[i].name, SLICE("Received"));
        if (smtp_is_own_field(head->fields[i].name))
            err = read_claim(g, &head->fields[i]);
    }
    if (err == OK && hops > LIMIT_MAIL_HOPS)
        return wire_fault(g->fault, FAULT_CONFLICT, "Received",
                          "Too many hops: %zu fields Received, at most %u are taken; the mail goes round in a loop",
                          hops, LIMIT_MAIL_HOPS);
    return err;
}

static enum err read_api(struct reading *g)
{
    const struct mail_field *field = mail_head_get(&g->smtp->head, "X-SMTPAPI", 0);
    if (field == NULL)
        return OK;
    struct smtp_api *api = arena_alloc(g->arena, sizeof *api);
    if (api == NULL)
        return out_of_memory(g);
    g->smtp->api = api;
    return smtp_api_read(field, g->smtp->n_rcpts, g->now_ms, g->arena, api, g->fault);
}

/* X-Mailgun-Deliver-By, as Mailgun's relay reads it (documentation.mailgun.com, "Sending via SMTP", as of 2024-07). */
static enum err read_schedule(struct reading *g)
{
    const struct mail_field *field = mail_head_get(&g->smtp->head, "X-Mailgun-Deliver-By", 0);
    struct slice text;
    if (field == NULL)
        return OK;
    enum err err = field_text(g, field, &text);
    if (err != OK)
        return err;
    if (!rfc2822_parse(text, &g->smtp->deliver_by_ms))
        return wire_fault(g->fault, FAULT_SYNTAX, "X-Mailgun-Deliver-By",
                          "X-Mailgun-Deliver-By \"%.*s\" is no time; write it like Fri, 14 Oct 2011 23:10:10 +0000",
                          SLICE_HEAD(text, 60));
    g->smtp->own_schedule = field;
    return OK;
}

/* --- sender and labels ---------------------------------------------------------------- */

static enum err add_label(struct reading *g, struct slice label)
{
    struct parsed *out = g->out;
    if (label.p == NULL)
        return out_of_memory(g);
    if (out->n_labels == N_ELEMENTS(out->labels))
        return wire_fault(g->fault, FAULT_SYNTAX, "X-Mailgun-Tag", "The message has more than %zu categories and tags",
                          N_ELEMENTS(out->labels));
    out->labels[out->n_labels++] = label;
    return OK;
}

static enum err add_tags(struct reading *g)
{
    const struct mail_field *field;
    enum err err = OK;
    for (size_t i = 0; err == OK && (field = mail_head_get(&g->smtp->head, "X-Mailgun-Tag", i)) != NULL; i++) {
        struct slice tag;
        err = field_words(g, field, &tag);
        if (err == OK)
            err = add_label(g, tag);
    }
    return err;
}

/* "The news <news.x.test>": what stands in brackets is the list (RFC 2919 section 2). */
static enum err add_list(struct reading *g)
{
    const struct mail_field *field = mail_head_get(&g->smtp->head, "List-Id", 0);
    struct slice text;
    if (field == NULL)
        return OK;
    enum err err = field_text(g, field, &text);
    if (err != OK)
        return err;
    const char *open = memrchr(text.p, '<', text.n);
    const char *close = open == NULL ? NULL : memchr(open, '>', (size_t)(text.p + text.n - open));
    if (close != NULL)
        text = (struct slice){open + 1, (size_t)(close - open) - 1};
    return add_label(g, slice_of(arena_printf(g->arena, "list:%.*s", SLICE_ARG(text))));
}

/* The address in From, or MAIL's when there is none that can be read: cron writes "root (Cron Daemon)". */
static enum err read_sender(struct reading *g)
{
    const struct mail_field *field = mail_head_get(&g->smtp->head, "From", 0);
    struct slice address = g->smtp->mail.path;
    struct address canonical;
    struct errmsg why;
    if (field != NULL) {
        struct mailbox_list list = {.at = 0};
        struct mailbox first;
        enum err err = field_text(g, field, &list.text);
        if (err != OK)
            return err;
        if (mailbox_next(&list, &first, &why) == OK)
            address = first.address;
    }
    if (address_parse_email(address, &canonical, &why) != OK)
        return OK; /* the null sender, with nothing readable beside it */
    g->common.sender = arena_slice(g->arena, slice_of(canonical.text));
    g->out->from = g->common.sender;
    return g->common.sender.p == NULL ? out_of_memory(g) : OK;
}

static enum err read_labels(struct reading *g)
{
    enum err err = g->smtp->api == NULL ? OK : smtp_api_labels(g->smtp->api, g->arena, g->out, g->fault);
    if (err == OK)
        err = add_tags(g);
    if (err == OK)
        err = add_list(g);
    return err != OK || g->out->from.n == 0 ? err : add_label(g, g->out->from);
}

/* --- what it says ------------------------------------------------------------------------ */

static enum err read_fingerprint(struct reading *g)
{
    enum err err = smtp_identity_fingerprint(g->request->body, &g->smtp->head, g->arena, &g->common.fingerprint);
    return err == OK ? OK : out_of_memory(g);
}

static enum err read_subject(struct reading *g)
{
    const struct mail_field *field = mail_head_get(&g->smtp->head, "Subject", 0);
    return field == NULL ? OK : field_words(g, field, &g->out->subject);
}

static enum err look_inside(struct reading *g)
{
    struct body_facts *facts = arena_alloc(g->arena, sizeof *facts);
    if (facts == NULL || mime_look(g->request->body, g->arena, facts, &g->out->text) != OK)
        return out_of_memory(g);
    body_find_card(g->out->subject, false, facts);
    g->common.body = facts;
    return OK;
}

static enum err read_language(struct reading *g)
{
    const struct mail_field *field = mail_head_get(&g->smtp->head, "Content-Language", 0);
    struct slice text;
    if (field == NULL || g->common.form.language.n > 0)
        return OK;
    enum err err = field_text(g, field, &text);
    /* One tag declares a language; a list of them (RFC 3282) says only who may understand it. */
    if (err == OK && text.n > 0 && text.n <= 35 && memchr(text.p, ',', text.n) == NULL && slice_is_clean(text))
        g->common.form.language = text;
    return err;
}

static enum err read_content(struct reading *g)
{
    enum err err = claims_apply(&g->claims, &g->common, g->fault);
    g->out->category = g->claims.value[CLAIM_CATEGORY];
    if (err == OK)
        err = read_sender(g);
    if (err == OK)
        err = read_labels(g);
    /* Before the content is known a recipient is asked about without it. */
    if (err != OK || g->request->body.n == 0)
        return err;
    err = read_fingerprint(g);
    if (err == OK)
        err = read_subject(g);
    if (err == OK)
        err = read_language(g);
    return err != OK ? err : look_inside(g);
}

/* --- messages ---------------------------------------------------------------------------- */

/* The one address that `to`'s ith entry holds. */
static enum err read_to_entry(struct reading *g, size_t i, struct slice *address)
{
    struct mailbox_list list = {.at = 0};
    struct mailbox box, other;
    struct errmsg why;
    if (!smtp_api_to(g->smtp->api, i, g->arena, &list.text))
        return out_of_memory(g);
    if (mailbox_next(&list, &box, &why) != OK)
        return wire_fault(g->fault, FAULT_ADDRESS, "X-SMTPAPI", "X-SMTPAPI: \"to\" %zu holds no address", i);
    if (mailbox_next(&list, &other, &why) != ERR_NOT_FOUND)
        return wire_fault(g->fault, FAULT_ADDRESS, "X-SMTPAPI", "X-SMTPAPI: \"to\" %zu holds more than one address", i);
    *address = box.address;
    return OK;
}

/* "RCPT.0" */
static struct slice field_name(struct reading *g, const char *of, size_t i)
{
    struct buf b;
    buf_init(&b, g->arena, FIELD_NAME_MAX);
    buf_add_cstr(&b, of);
    buf_add(&b, ".", 1);
    buf_add_u64(&b, i);
    return b.failed ? (struct slice){NULL, 0} : buf_slice(&b);
}

static enum err add_message(struct reading *g, size_t i)
{
    const struct smtp_api *api = g->smtp->api;
    struct message *m = &g->out->messages[i];
    bool of_api = api != NULL && api->n_to > 0;
    struct errmsg why;
    *m = g->common;
    m->index = (uint32_t)i;
    m->channel = CHANNEL_EMAIL;
    m->field = field_name(g, of_api ? "X-SMTPAPI.to" : "RCPT", i);
    if (m->field.p == NULL)
        return out_of_memory(g);
    if (of_api) {
        enum err err = read_to_entry(g, i, &m->to_text);
        if (err != OK)
            return err;
    } else {
        m->to_text = g->smtp->rcpts[i].path;
    }
    if (address_parse_email(m->to_text, &m->to, &why) != OK)
        return wire_fault(g->fault, FAULT_ADDRESS, m->field.p, "%s: Bad destination mailbox address syntax: %s",
                          m->field.p, why.text);
    return OK;
}

static enum err read_messages(struct reading *g)
{
    const struct smtp *smtp = g->smtp;
    size_t n = smtp->api != NULL && smtp->api->n_to > 0 ? smtp->api->n_to : smtp->n_rcpts;
    enum err err = OK;
    g->common.not_before_ms = smtp->deliver_by_ms > g->now_ms ? smtp->deliver_by_ms : 0;
    g->out->bypass_asked = smtp->api != NULL && smtp_api_bypasses(smtp->api);
    g->out->messages = arena_calloc(g->arena, n, sizeof *g->out->messages);
    if (g->out->messages == NULL)
        return out_of_memory(g);
    for (; g->out->n_messages < n && err == OK; g->out->n_messages++)
        err = add_message(g, g->out->n_messages);
    if (err == OK && smtp->api != NULL)
        smtp_api_tell(smtp->api, g->out->messages, n);
    for (size_t i = 0; i < n; i++)
        g->out->messages[i].fingerprint += g->out->messages[i].fingerprint == 0; /* 0 stands for none */
    return err;
}

enum err smtp_parse(const struct wire_request *r, const struct route *route, int64_t now_ms, struct arena *a,
                    struct parsed *out, struct fault *fault)
{
    (void)route;
    *out = (struct parsed){0};
    *fault = (struct fault){0};
    struct reading g = {.request = r, .now_ms = now_ms, .arena = a, .out = out, .fault = fault};
    g.smtp = arena_alloc(a, sizeof *g.smtp);
    if (g.smtp == NULL)
        return out_of_memory(&g);
    out->dialect = g.smtp;
    enum err err = read_envelope(&g);
    if (err == OK)
        err = read_head(&g);
    if (err == OK)
        err = read_api(&g);
    if (err == OK)
        err = read_schedule(&g);
    if (err == OK)
        err = read_content(&g);
    if (err == OK)
        err = read_messages(&g);
    if (err != OK)
        return err;
    out->idempotency_key = g.claims.value[CLAIM_IDEMPOTENCY_KEY];
    if (out->idempotency_key.p != NULL)
        return OK;
    return smtp_identity_key(r, &g.smtp->head, a, out) == OK ? OK : out_of_memory(&g);
}

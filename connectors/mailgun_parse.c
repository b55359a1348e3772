/*
 * A call that sends, as Mailgun reads it (OpenAPI document of 2026-07; documentation.
 * mailgun.com): messages, messages.mime, and the sending again of a stored message.
 * Who gets it is mailgun_lists.c's, the header of a MIME text mailgun_mime.c's.  Only
 * what says who, when and for what gets read; everything else stays bytes.
 */
#include <stdio.h>

#include "mailbox.h"
#include "mailgun_reading.h"
#include "postern/civil.h"
#include "postern/limits.h"

#define MESSAGE_MAX_BYTES  26214400u /* 25 MB */
#define OPTIONS_MAX_BYTES  16384u    /* of all o:, h: and v: */
#define TAGS_MAX           10u       /* of one message */
#define SCHEDULE_MAX_MS    (7 * MS_PER_DAY)
#define WITHIN_MIN_MINUTES 5u
#define WITHIN_MAX_MINUTES 1440u
#define FINGERPRINT_BYTES  262144u /* of a text: its length stands for the rest */

enum err mailgun_out_of_memory(struct mailgun_reading *g)
{
    return wire_fault(g->fault, FAULT_TOO_LARGE, NULL, "The request has too many values to be read");
}

static struct slice value_of(const struct mailgun_reading *g, enum mailgun_param which)
{
    const struct mailgun_field *field = mailgun_field_get(g->mg, which);
    return field == NULL ? (struct slice){NULL, 0} : field->value;
}

/* --- options ----------------------------------------------------------------------- */

enum err mailgun_say(struct mailgun_reading *g, enum mailgun_param which, struct slice value)
{
    const char *name = mailgun_param_name(which);
    if (g->said[which].p != NULL)
        return wire_fault(g->fault, FAULT_SYNTAX, name, "%s is given twice, as a parameter or a header; give it once",
                          name);
    g->said[which] = value;
    return OK;
}

enum err mailgun_add_label(struct mailgun_reading *g, struct slice label)
{
    if (g->out->n_labels == TAGS_MAX)
        return wire_fault(g->fault, FAULT_SYNTAX, "o:tag", "A message can have no more than %u tags", TAGS_MAX);
    g->out->labels[g->out->n_labels++] = label;
    return OK;
}

static enum err read_own(struct mailgun_reading *g, const struct mailgun_field *field)
{
    struct slice name = {field->name.p + 2, field->name.n - 2}; /* behind "h:" or "v:" */
    enum claim claim = claims_of_field(name);
    if (field->name.p[0] == 'v') {
        claim = 0;
        while (claim < CLAIM_N && !slice_eq_cstr(name, claims_key(claim)))
            claim++;
    }
    return claim == CLAIM_N ? OK : claims_say(&g->claims, claim, field->value, g->fault);
}

/* Those that are parameters; an option among h: is one that the mail's header gives. */
static enum err read_parameters(struct mailgun_reading *g)
{
    const struct mailgun *m = g->mg;
    size_t bytes = 0;
    enum err err = OK;
    for (size_t i = 0; i < m->n_fields && err == OK; i++) {
        const struct mailgun_field *field = &m->fields[i];
        bool option =
            slice_starts(field->name, "o:") || slice_starts(field->name, "h:") || slice_starts(field->name, "v:");
        if (field->param == MG_OWN)
            err = read_own(g, field);
        else if (field->param == MG_O_TAG)
            err = mailgun_add_label(g, field->value);
        else if (field->param >= MG_RECIPIENT_VARIABLES && field->param < MG_OTHER)
            err = mailgun_say(g, field->param, field->value);
        bytes += option && field->param != MG_OWN ? field->value.n : 0;
    }
    if (err == OK && bytes > OPTIONS_MAX_BYTES)
        return wire_fault(g->fault, FAULT_TOO_LONG, NULL,
                          "Send options (parameters starting with o:, h:, or v:) are limited to 16KB total");
    return err;
}

/* --- time ---------------------------------------------------------------------------- */

static enum err read_schedule(struct mailgun_reading *g)
{
    static const char name[] = "o:deliverytime";
    struct slice text = g->said[MG_O_DELIVERYTIME];
    struct mailgun *m = g->mg;
    if (text.p == NULL)
        return OK;
    if (!rfc2822_parse(slice_trim(text), &m->deliver_at_ms))
        return wire_fault(g->fault, FAULT_SYNTAX, name,
                          "%s parameter \"%.*s\" is no time of RFC 2822; write it like Fri, 14 Oct 2011 12:00:00 +0000",
                          name, SLICE_HEAD(text, 60));
    if (m->deliver_at_ms > m->now_ms + SCHEDULE_MAX_MS)
        return wire_fault(g->fault, FAULT_SYNTAX, name, "%s parameter is more than 7 days ahead", name);
    g->common.not_before_ms = m->deliver_at_ms > m->now_ms ? m->deliver_at_ms : 0;
    return OK;
}

/* Digits and the unit behind them, off *s; 0 when they are not there. */
static uint64_t take_amount(struct slice *s, char unit)
{
    const char *at = s->n == 0 ? NULL : memchr(s->p, unit, s->n);
    uint64_t n = 0;
    size_t digits = at == NULL ? 0 : (size_t)(at - s->p);
    if (at == NULL || !slice_to_u64((struct slice){s->p, digits}, WITHIN_MAX_MINUTES, &n))
        return 0;
    *s = (struct slice){at + 1, s->n - digits - 1};
    return n;
}

/* "1h30m", "30m", "24h" from the time it is to go. */
static enum err read_within(struct mailgun_reading *g)
{
    static const char name[] = "o:deliver-within";
    struct slice text = g->said[MG_O_DELIVER_WITHIN], rest = text;
    if (text.p == NULL)
        return OK;
    uint64_t minutes = take_amount(&rest, 'h') * 60;
    minutes += take_amount(&rest, 'm');
    if (rest.n > 0 || minutes < WITHIN_MIN_MINUTES || minutes > WITHIN_MAX_MINUTES)
        return wire_fault(g->fault, FAULT_SYNTAX, name,
                          "%s parameter \"%.*s\" is none of 5m to 24h; write it like 1h30m", name,
                          SLICE_HEAD(text, 60));
    int64_t from_ms = g->common.not_before_ms != 0 ? g->common.not_before_ms : g->mg->now_ms;
    int64_t end_ms = from_ms + (int64_t)minutes * MS_PER_MINUTE;
    if (g->common.expires_at_ms == 0 || end_ms < g->common.expires_at_ms)
        g->common.expires_at_ms = end_ms;
    return OK;
}

/* --- what ------------------------------------------------------------------------------ */

static bool is_content(enum mailgun_param which)
{
    return which == MG_TEXT || which == MG_HTML || which == MG_AMP_HTML || which == MG_ATTACHMENT ||
           which == MG_INLINE || which == MG_MESSAGE;
}

/* What is there, and what each kind of call needs. */
static enum err check_content(struct mailgun_reading *g)
{
    struct mailgun *m = g->mg;
    struct fault *f = g->fault;
    size_t bytes = 0;
    for (size_t i = 0; i < m->n_fields; i++)
        bytes += is_content(m->fields[i].param) ? m->fields[i].value.n : 0;
    if (bytes > MESSAGE_MAX_BYTES)
        return wire_fault(f, FAULT_TOO_LARGE, NULL, "The message has more than 25 MB");
    bool template = value_of(g, MG_TEMPLATE).n > 0;
    m->message = mailgun_field_get(m, MG_MESSAGE);
    if (m->kind == MG_RESEND)
        return OK;
    if (m->kind == MG_MIME)
        return m->message != NULL && m->message->value.n > 0
                   ? OK
                   : wire_fault(f, FAULT_NO_BODY, "message", "message parameter is missing");
    m->message = NULL; /* nobody reads it there */
    if (value_of(g, MG_FROM).n == 0 && !template)
        return wire_fault(f, FAULT_NO_SENDER, "from", "from parameter is missing");
    if (template || value_of(g, MG_TEXT).n > 0 || value_of(g, MG_HTML).n > 0 || value_of(g, MG_AMP_HTML).n > 0)
        return OK;
    return wire_fault(f, FAULT_NO_BODY, "text", "Need at least one of 'text' or 'html' parameters specified");
}

/* An empty one counts as well, so that a text is not the same as HTML. */
static uint64_t mix_part(uint64_t h, struct slice s)
{
    return wire_mix(h * 31 + s.n, (struct slice){s.p, s.n < FINGERPRINT_BYTES ? s.n : FINGERPRINT_BYTES});
}

static void read_fingerprint(struct mailgun_reading *g)
{
    static const enum mailgun_param said[] = {MG_SUBJECT, MG_TEXT, MG_HTML, MG_AMP_HTML, MG_TEMPLATE, MG_T_VARIABLES};
    const struct mailgun *m = g->mg;
    uint64_t h = mix_part(1, m->message != NULL ? g->out->subject : g->request->path);
    for (size_t i = 0; i < N_ELEMENTS(said); i++)
        h = mix_part(h, value_of(g, said[i]));
    if (m->message != NULL) {
        struct slice value = m->message->value;
        size_t head = m->head_lf_bytes > 0 ? m->head_lf_bytes : m->head.body;
        h = mix_part(h, (struct slice){value.p + head, value.n - head});
    }
    for (size_t i = 0; i < m->n_fields; i++) {
        if (m->fields[i].param == MG_ATTACHMENT || m->fields[i].param == MG_INLINE)
            h = h * 31 + m->fields[i].value.n; /* its length stands for it */
    }
    g->common.fingerprint = h == 0 ? 1 : h;
}

static enum err look_at_content(struct mailgun_reading *g)
{
    struct mailgun *m = g->mg;
    struct body_facts *facts = arena_alloc(g->arena, sizeof *facts);
    if (facts == NULL)
        return mailgun_out_of_memory(g);
    g->common.body = facts;
    if (m->message != NULL) {
        if (mime_look(m->message->value, g->arena, facts, &g->out->text) != OK)
            return mailgun_out_of_memory(g);
        body_find_card(g->out->subject, false, facts);
        return OK;
    }
    body_find_card(g->out->subject, false, facts);
    struct slice text = value_of(g, MG_TEXT), html = value_of(g, MG_HTML);
    body_look(text, false, facts);
    body_look(html, true, facts);
    facts->bytes = 0;
    for (size_t i = 0; i < m->n_fields; i++) {
        enum mailgun_param which = m->fields[i].param;
        facts->bytes += is_content(which) ? m->fields[i].value.n : 0;
        facts->attachments += which == MG_ATTACHMENT || which == MG_INLINE;
    }
    g->out->text = text.n > 0 ? text : html;
    return OK;
}

/* A client that repeats a multipart draws its boundary anew: each part by itself, after its length. */
static enum err read_pieces(struct mailgun_reading *g)
{
    const struct mailgun *m = g->mg;
    if (!m->multipart || g->out->idempotency_key.n == 0)
        return OK;
    struct slice *pieces = arena_calloc(g->arena, m->n_fields, 2 * sizeof *pieces);
    if (pieces == NULL)
        return mailgun_out_of_memory(g);
    for (size_t i = 0; i < m->n_fields; i++) {
        struct slice part = {m->body.p + m->fields[i].head, m->fields[i].end - m->fields[i].head};
        pieces[2 * i] = slice_of(arena_printf(g->arena, "%zu\n", part.n));
        pieces[2 * i + 1] = part;
        if (pieces[2 * i].p == NULL)
            return mailgun_out_of_memory(g);
    }
    g->out->content = pieces;
    g->out->n_content = 2 * m->n_fields;
    return OK;
}

/* --- who sends ---------------------------------------------------------------------------- */

/* One mailbox. */
static enum err read_from(struct mailgun_reading *g, struct slice text)
{
    struct mailbox_list list = {.text = text};
    struct mailbox one, more;
    struct address ignored;
    struct errmsg why;
    enum err err = mailbox_next(&list, &one, &why);
    if (err == OK)
        err = address_parse_email(one.address, &ignored, &why);
    if (err == ERR_NOT_FOUND || (err == OK && mailbox_next(&list, &more, &why) != ERR_NOT_FOUND)) {
        errmsg_set(&why, "expected one address");
        err = ERR_SYNTAX;
    }
    if (err != OK)
        return mailgun_refuse_address(g, "from", &why);
    g->common.sender = g->out->from = one.address;
    return OK;
}

/* The MIME text's own; what cannot be read there is Mailgun's to judge. */
static enum err read_mail_from(struct mailgun_reading *g)
{
    const struct mail_field *from = mail_head_get(&g->mg->head, "From", 0);
    const struct mail_field *subject = mail_head_get(&g->mg->head, "Subject", 0);
    struct mailbox_list list = {.at = 0};
    struct mailbox one;
    struct errmsg why;
    if (subject != NULL) {
        struct slice text = mail_field_text(subject, g->arena);
        if (text.p != NULL)
            g->out->subject = mail_words(text, g->arena);
        if (g->out->subject.p == NULL)
            return mailgun_out_of_memory(g);
    }
    if (from == NULL)
        return OK;
    list.text = mail_field_text(from, g->arena);
    if (list.text.p == NULL)
        return mailgun_out_of_memory(g);
    struct address ignored;
    if (mailbox_next(&list, &one, &why) == OK && address_parse_email(one.address, &ignored, &why) == OK)
        g->common.sender = g->out->from = one.address;
    return OK;
}

static enum err read_sender(struct mailgun_reading *g)
{
    struct slice from = value_of(g, MG_FROM);
    g->out->subject = value_of(g, MG_SUBJECT);
    if (g->mg->message != NULL)
        return read_mail_from(g);
    return from.n > 0 ? read_from(g, from) : OK;
}

/* --- the whole ------------------------------------------------------------------------------- */

static enum mailgun_kind kind_of(const struct wire_request *r, const struct route *route)
{
    static const char mime[] = ".mime";
    size_t n = sizeof mime - 1; /* less than any path that match() let through */
    if (route->id.n > 0)
        return MG_RESEND;
    return memcmp(r->path.p + r->path.n - n, mime, n) == 0 ? MG_MIME : MG_MESSAGES;
}

static enum err read_common(struct mailgun_reading *g)
{
    enum err err = claims_apply(&g->claims, &g->common, g->fault);
    if (err == OK)
        err = read_schedule(g);
    if (err == OK)
        err = read_within(g);
    if (err == OK)
        err = read_sender(g);
    if (err == OK)
        err = look_at_content(g);
    g->out->category = g->claims.value[CLAIM_CATEGORY];
    g->out->idempotency_key = g->claims.value[CLAIM_IDEMPOTENCY_KEY];
    if (err == OK)
        err = read_pieces(g);
    /* Only "yes": what Mailgun might send after all is counted. */
    g->out->sandbox_mode = slice_eq_cstr(g->said[MG_O_TESTMODE], "yes");
    return err;
}

enum err mailgun_parse(const struct wire_request *r, const struct route *route, int64_t now_ms, struct arena *a,
                       struct parsed *out, struct fault *fault)
{
    *out = (struct parsed){0};
    *fault = (struct fault){0};
    struct mailgun *m = arena_alloc(a, sizeof *m);
    struct mailgun_reading *g = arena_alloc(a, sizeof *g);
    if (m == NULL || g == NULL)
        return wire_fault(fault, FAULT_TOO_LARGE, NULL, "The request has too many values to be read");
    *m = (struct mailgun){.kind = kind_of(r, route), .domain = route->domain, .now_ms = now_ms};
    *g = (struct mailgun_reading){
        .request = r, .arena = a, .mg = m, .out = out, .fault = fault, .common = {.channel = CHANNEL_EMAIL}};
    out->dialect = m;
    enum err err = mailgun_read_fields(r, a, m, fault);
    if (err == OK)
        err = check_content(g);
    if (err == OK)
        err = claims_read_fields(&g->claims, r, fault);
    if (err == OK)
        err = read_parameters(g);
    if (err == OK && m->message != NULL)
        err = mailgun_read_head(g, m->message->value);
    if (err == OK)
        err = read_common(g);
    if (err != OK)
        return err;
    read_fingerprint(g);
    err = mailgun_read_lists(g);
    return err != OK ? err : mailgun_read_variables(g);
}

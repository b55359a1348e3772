/*
 * Messages.json create as Twilio reads it (OpenAPI 2010-04-01 of 2026-04-14; page
 * "Messages resource"): one To, one message.  Names are case-sensitive there; one
 * that differs from a known one only in case is refused all the same, and so are
 * parameters in the query, for a servlet reads those as well.
 */
#include "twilio.h"

#include "claims.h"
#include "mime.h"
#include "postern/civil.h"
#include "postern/limits.h"

#define MEDIA_MAX      10u
#define VALIDITY_MAX_S 36000u
#define SEND_AT_MAX_MS (35 * MS_PER_DAY)

enum err twilio_form(struct slice body, struct arena *a, struct form *out, struct errmsg *e)
{
    static const char *const repeatable[] = {"MediaUrl", "PersistentAction", NULL};
    return form_parse(body, repeatable, a, out, e);
}

struct reading {
    int64_t now_ms;
    struct arena *arena;
    struct twilio *twilio;
    struct parsed *out;
    struct fault *fault;
};

static struct slice get(const struct reading *g, const char *name)
{
    return form_get(&g->twilio->form, name);
}

static enum err check_names(struct reading *g)
{
    static const char *const known[] = {
        "To",     "From",       "MessagingServiceSid", "Body",           "MediaUrl",
        "SendAt", "ContentSid", "ScheduleType",        "ValidityPeriod", "StatusCallback"};
    const struct form *f = &g->twilio->form;
    for (size_t i = 0; i < f->n; i++) {
        for (size_t k = 0; k < N_ELEMENTS(known); k++) {
            struct slice name = f->fields[i].name;
            if (slice_ieq(name, slice_of(known[k])) && !slice_eq_cstr(name, known[k]))
                return wire_fault(
                    g->fault, FAULT_SYNTAX, known[k],
                    "The field at byte %zu is %s but for upper and lower case; write it so, or remove it.",
                    f->fields[i].start, known[k]);
        }
    }
    return OK;
}

/* --- who --------------------------------------------------------------------------- */

static struct slice without_channel(struct slice to)
{
    static const char *const carried[] = {"whatsapp:", "rcs:"};
    for (size_t i = 0; i < N_ELEMENTS(carried); i++) {
        size_t n = strlen(carried[i]);
        if (slice_starts(to, carried[i]))
            return (struct slice){to.p + n, to.n - n};
    }
    return to;
}

static enum err read_to(struct reading *g, struct message *m)
{
    struct slice to = get(g, "To");
    struct errmsg why;
    if (to.n == 0)
        return wire_fault(g->fault, FAULT_NO_RECIPIENT, "To", "A 'To' phone number is required.");
    m->to_text = to;
    m->field = SLICE("To");
    if (slice_starts(to, "messenger:"))
        return wire_fault(g->fault, FAULT_ADDRESS, "To",
                          "The 'To' number %.*s is not a valid phone number. Messenger is not carried here; give a "
                          "number in E.164.",
                          SLICE_HEAD(to, 80));
    if (address_parse_phone(without_channel(to), &m->to, &why) != OK)
        return wire_fault(g->fault, FAULT_ADDRESS, "To", "The 'To' number %.*s is not a valid phone number. (%s)",
                          SLICE_HEAD(to, 80), why.text);
    return OK;
}

static enum err read_sender(struct reading *g, struct message *m)
{
    struct slice service = get(g, "MessagingServiceSid"), from = get(g, "From");
    if (service.n == 0 && from.n == 0)
        return wire_fault(g->fault, FAULT_NO_SENDER, "From", "A 'From' phone number is required.");
    /* A STOP holds for all numbers of a service, so the service is the scope. */
    m->sender = service.n > 0 ? service : from;
    g->out->from = m->sender;
    return OK;
}

/* --- what ---------------------------------------------------------------------------- */

static size_t count_characters(struct slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

static enum err read_body(struct reading *g, struct message *m)
{
    struct slice body = get(g, "Body");
    size_t media = form_count(&g->twilio->form, "MediaUrl");
    if (body.n == 0 && media == 0 && get(g, "ContentSid").n == 0)
        return wire_fault(g->fault, FAULT_NO_BODY, "Body", "Message body is required.");
    if (count_characters(body) > LIMIT_SMS_BODY_CHARS)
        return wire_fault(g->fault, FAULT_TOO_LONG, "Body",
                          "The concatenated message body exceeds the %u character limit.", LIMIT_SMS_BODY_CHARS);
    if (media > MEDIA_MAX)
        return wire_fault(g->fault, FAULT_SYNTAX, "MediaUrl", "There are %zu MediaUrl fields; at most %u may be sent.",
                          media, MEDIA_MAX);
    g->out->text = body;
    body_look(body, false, &g->twilio->body);
    g->twilio->body.attachments = (uint32_t)media;
    m->body = &g->twilio->body;
    static const char *const content[] = {"Body", "MediaUrl", "ContentSid", "ContentVariables"};
    const struct form *f = &g->twilio->form;
    for (size_t i = 0; i < f->n; i++) {
        for (size_t k = 0; k < N_ELEMENTS(content); k++) {
            if (slice_eq_cstr(f->fields[i].name, content[k]))
                m->fingerprint = wire_mix(m->fingerprint + k + 1, f->fields[i].value);
        }
    }
    return OK;
}

/* --- when ------------------------------------------------------------------------------ */

/* Without a Messaging Service Twilio sends such a message at once ("treated as non-scheduled"). */
static enum err read_schedule(struct reading *g, struct message *m)
{
    struct slice send_at = get(g, "SendAt"), type = get(g, "ScheduleType");
    if (send_at.p == NULL || get(g, "MessagingServiceSid").n == 0)
        return OK;
    if (!slice_eq_cstr(type, "fixed"))
        return wire_fault(g->fault, FAULT_SYNTAX, "ScheduleType", "SendAt needs ScheduleType=fixed.");
    int64_t at_ms;
    if (!rfc3339_parse(send_at, &at_ms))
        return wire_fault(g->fault, FAULT_SYNTAX, "SendAt",
                          "SendAt must be an ISO 8601 time like 2026-11-22T10:00:00Z.");
    if (at_ms > g->now_ms + SEND_AT_MAX_MS)
        return wire_fault(g->fault, FAULT_SYNTAX, "SendAt", "SendAt is more than 35 days ahead; give an earlier time.");
    g->twilio->send_at_ms = at_ms;
    m->not_before_ms = at_ms > g->now_ms ? at_ms : 0;
    return OK;
}

static enum err read_validity(struct reading *g, struct message *m)
{
    struct slice period = get(g, "ValidityPeriod");
    uint64_t seconds;
    if (period.p == NULL)
        return OK;
    if (!slice_to_u64(period, VALIDITY_MAX_S, &seconds) || seconds == 0)
        return wire_fault(g->fault, FAULT_SYNTAX, "ValidityPeriod", "ValidityPeriod must be 1 to %u seconds.",
                          VALIDITY_MAX_S);
    /* Of a scheduled message the period runs from its time. */
    int64_t from_ms = m->not_before_ms != 0 ? m->not_before_ms : g->now_ms;
    int64_t at_ms = from_ms + (int64_t)seconds * 1000;
    if (m->expires_at_ms == 0 || at_ms < m->expires_at_ms)
        m->expires_at_ms = at_ms;
    return OK;
}

/* --- the whole ----------------------------------------------------------------------------- */

static void add_label(struct parsed *out, struct slice label)
{
    if (label.n > 0)
        out->labels[out->n_labels++] = label;
}

static enum err read_claims(struct reading *g, const struct wire_request *r, struct message *m)
{
    struct claims claims = {0};
    enum err err = claims_read_fields(&claims, r, g->fault);
    g->out->category = claims.value[CLAIM_CATEGORY];
    g->out->idempotency_key = claims.value[CLAIM_IDEMPOTENCY_KEY];
    return err != OK ? err : claims_apply(&claims, m, g->fault);
}

static enum err read_message(struct reading *g, const struct wire_request *r, struct message *m)
{
    m->channel = CHANNEL_SMS;
    enum err err = check_names(g);
    if (err == OK)
        err = read_to(g, m);
    if (err == OK)
        err = read_sender(g, m);
    if (err == OK)
        err = read_body(g, m);
    if (err == OK)
        err = read_claims(g, r, m);
    if (err == OK)
        err = read_schedule(g, m);
    return err != OK ? err : read_validity(g, m);
}

static enum err check_request(const struct wire_request *r, struct fault *fault)
{
    struct slice type = wire_field_get(r->fields, r->n_fields, "Content-Type");
    if (!wire_is_media_type(type, "application/x-www-form-urlencoded"))
        return wire_fault(fault, FAULT_MEDIA_TYPE, NULL,
                          "Content-Type must be application/x-www-form-urlencoded; it is \"%.*s\".",
                          SLICE_HEAD(type, 80));
    if (r->query.n > 0)
        return wire_fault(fault, FAULT_SYNTAX, NULL, "Parameters of a message belong in the body, not in the URL.");
    return OK;
}

enum err twilio_parse(const struct wire_request *r, const struct route *route, int64_t now_ms, struct arena *a,
                      struct parsed *out, struct fault *fault)
{
    (void)route;
    *out = (struct parsed){0};
    *fault = (struct fault){0};
    enum err err = check_request(r, fault);
    if (err != OK)
        return err;
    struct twilio *t = arena_alloc(a, sizeof *t);
    struct message *m = arena_alloc(a, sizeof *m);
    struct reading g = {.now_ms = now_ms, .arena = a, .twilio = t, .out = out, .fault = fault};
    struct errmsg why = {"too many fields"};
    err = t == NULL || m == NULL ? ERR_LIMIT : twilio_form(r->body, a, &t->form, &why);
    if (err != OK)
        return wire_fault(fault, err == ERR_LIMIT ? FAULT_TOO_LARGE : FAULT_SYNTAX, NULL, "%s.", why.text);
    err = read_message(&g, r, m);
    out->messages = m;
    out->n_messages = err == OK;
    out->dialect = t;
    out->status_callback = get(&g, "StatusCallback");
    add_label(out, get(&g, "MessagingServiceSid"));
    add_label(out, get(&g, "From"));
    add_label(out, get(&g, "MessageIntent"));
    return err;
}

/*
 * Messages that Postern keeps, under the sid that it answered: fetch, list, cancel
 * (page "Messages resource").  To the application they look like messages that
 * Twilio keeps.  What is told about them unasked is twilio_callback.c.
 */
#include "twilio.h"

#define SOON_MS   60000 /* a release this near is "queued", one further off "scheduled" */
#define PAGE_SIZE 50    /* Twilio's default */

/* --- as objects -------------------------------------------------------------------- */

const char *twilio_kept_status(const struct kept_message *k, const struct form *f)
{
    switch (k->state) {
    case KEPT_WAITING:
        return k->release_at_ms - k->updated_at_ms < SOON_MS ? twilio_first_status(f) : "scheduled";
    case KEPT_SENDING:
        return "sending";
    case KEPT_SENT:
        return k->relayed ? twilio_first_status(f) : "sent";
    case KEPT_CANCELLED:
        return "canceled";
    case KEPT_FAILED:
        return "failed";
    }
    return "failed";
}

/* Twilio's own codes where it has one (21610, 30610, 30036, 30008: its pages of errors), else those of a refusal. */
struct twilio_error twilio_kept_error(const struct kept_message *k)
{
    static const struct {
        const char *family;
        struct twilio_error error;
    } rows[] = {
        {"OPTOUT", {21610, "Attempt to send to unsubscribed recipient"}},
        {"QUIET", {30610, "Message blocked during quiet hours"}},
        {"EXPIRY", {30036, "Validity Period Expired"}},
        {"NONE", {30008, "Unknown error"}},
        {"NOCONSENT", {7740301, NULL}},
        {"CHANNEL", {7740302, NULL}},
        {"FREQUENCY", {7740303, NULL}},
    };
    struct twilio_error error = {0, NULL};
    if (k->state != KEPT_FAILED)
        return error;
    error = (struct twilio_error){7740300, reason_sentence(k->reason)};
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        if (strcmp(reason_family(k->reason), rows[i].family) == 0)
            error =
                (struct twilio_error){rows[i].error.code, rows[i].error.text != NULL ? rows[i].error.text : error.text};
    }
    return error;
}

/* The text goes when a message has ended; who it was for does not. */
enum err twilio_kept_form(const struct kept_message *k, struct arena *a, struct form *out)
{
    struct errmsg why;
    if (k->body.n > 0)
        return twilio_form(k->body, a, out, &why) == OK ? OK : ERR_INTERNAL; /* it was read when it came in */
    *out = (struct form){.fields = arena_calloc(a, 2, sizeof *out->fields)};
    if (out->fields == NULL)
        return ERR_LIMIT;
    const char *from = slice_starts(k->from, "MG") ? "MessagingServiceSid" : "From";
    out->fields[out->n++] = (struct form_field){.name = SLICE("To"), .value = k->to};
    if (k->from.n > 0)
        out->fields[out->n++] = (struct form_field){.name = slice_of(from), .value = k->from};
    return OK;
}

static enum err add_kept(struct buf *b, const struct route *route, const struct kept_message *k, struct arena *a)
{
    struct form form;
    enum err err = twilio_kept_form(k, a, &form);
    if (err != OK)
        return err;
    twilio_add_message(b, &(struct twilio_message){.account = route->account,
                                                   .sid = k->id,
                                                   .form = &form,
                                                   .status = twilio_kept_status(k, &form),
                                                   .segments = k->state == KEPT_SENT ? "1" : "0",
                                                   .created_at_ms = k->created_at_ms,
                                                   .updated_at_ms = k->updated_at_ms,
                                                   .sent_at_ms = k->state == KEPT_SENT ? k->updated_at_ms : 0,
                                                   .error = twilio_kept_error(k)});
    return OK;
}

static enum err reply_one(const struct route *route, const struct kept_message *k, struct arena *a,
                          struct wire_reply *out)
{
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    enum err err = add_kept(&b, route, k, a);
    if (err != OK)
        return err;
    wire_reply_json(out, 200, &b);
    return b.failed ? ERR_LIMIT : OK;
}

static enum err reply_fetch(const struct route *route, const struct kept_message *kept, size_t n,
                            const struct provider_answer *provider, struct arena *a, struct wire_reply *out)
{
    enum err err = wire_kept_fetch(route, kept, n, provider, a, out);
    if (err != ERR_NOT_FOUND)
        return err;
    if (n == 0)
        return twilio_fault_reply(&(struct fault){.kind = FAULT_NOT_FOUND}, route, a, out);
    return reply_one(route, &kept[0], a, out);
}

/* --- lists ------------------------------------------------------------------------------------ */

static enum err add_all(struct buf *b, const struct route *route, const struct kept_message *kept, size_t n,
                        struct arena *a)
{
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_add_cstr(b, ",");
        enum err err = add_kept(b, route, &kept[i], a);
        if (err != OK)
            return err;
    }
    return OK;
}

static enum err reply_own_list(const struct route *route, size_t n, struct slice messages, struct arena *a,
                               struct wire_reply *out)
{
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    buf_printf(&b, "{\"first_page_uri\":\"/2010-04-01/Accounts/%.*s/Messages.json?PageSize=%d&Page=0\",\"end\":%zu,",
               SLICE_ARG(route->account), PAGE_SIZE, n == 0 ? 0 : n - 1);
    buf_printf(&b, "\"previous_page_uri\":null,\"uri\":\"/2010-04-01/Accounts/%.*s/Messages.json\",",
               SLICE_ARG(route->account));
    buf_printf(&b, "\"page_size\":%d,\"start\":0,\"page\":0,\"next_page_uri\":null,\"messages\":[", PAGE_SIZE);
    buf_add_slice(&b, messages);
    buf_add_cstr(&b, "]}");
    wire_reply_json(out, 200, &b);
    return b.failed ? ERR_LIMIT : OK;
}

static enum err reply_list(const struct route *route, const struct kept_message *kept, size_t n,
                           const struct provider_answer *provider, struct arena *a, struct wire_reply *out)
{
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    enum err err = add_all(&b, route, kept, n, a);
    if (err != OK || b.failed)
        return err != OK ? err : ERR_LIMIT;
    return provider != NULL ? wire_kept_list(provider, "messages", buf_slice(&b), a, out)
                            : reply_own_list(route, n, buf_slice(&b), a, out);
}

/* Does a kept message answer to the filters of a list?  Nothing that is kept has a DateSent. */
static bool passes_filters(const struct kept_message *k, const struct form *filters, struct arena *a)
{
    struct form form;
    struct slice to = form_get(filters, "To"), from = form_get(filters, "From");
    for (size_t i = 0; i < filters->n; i++) {
        if (slice_starts(filters->fields[i].name, "DateSent"))
            return false;
    }
    if (twilio_kept_form(k, a, &form) != OK)
        return false;
    return (to.n == 0 || slice_eq(to, form_get(&form, "To"))) &&
           (from.n == 0 || slice_eq(from, form_get(&form, "From")));
}

static enum err list_filtered(const struct route *route, const struct kept_message *kept, size_t n,
                              const struct provider_answer *provider, struct arena *a, struct wire_reply *out)
{
    struct form filters;
    struct errmsg why;
    struct kept_message *shown = arena_calloc(a, n, sizeof *shown);
    size_t n_shown = 0;
    if (shown == NULL)
        return ERR_LIMIT;
    /* Filters that cannot be read are the provider's to refuse. */
    if (twilio_form(route->query, a, &filters, &why) != OK)
        n = 0;
    for (size_t i = 0; i < n; i++) {
        if (passes_filters(&kept[i], &filters, a))
            shown[n_shown++] = kept[i];
    }
    return reply_list(route, shown, n_shown, provider, a, out);
}

enum err twilio_kept_reply(const struct route *route, const struct kept_message *kept, size_t n,
                           const struct provider_answer *provider, struct arena *a, struct wire_reply *out)
{
    *out = (struct wire_reply){.status = 204};
    if (route->call == CALL_MESSAGE_LIST)
        return list_filtered(route, kept, n, provider, a, out);
    if (route->deletes && n > 0 && provider == NULL)
        return OK;
    return reply_fetch(route, kept, n, provider, a, out);
}

/* --- changes -------------------------------------------------------------------------------------- */

/* A DELETE cancels: Twilio itself refuses it while a message waits, but what was asked is that it never goes. */
enum err twilio_change(const struct wire_request *r, const struct route *route, struct arena *a,
                       struct kept_change *out, struct fault *fault)
{
    *out = (struct kept_change){.action = route->deletes ? KEPT_CANCEL : KEPT_READ};
    *fault = (struct fault){0};
    if (route->deletes)
        return OK;
    struct form form;
    struct errmsg why = {"too many fields"};
    if (twilio_form(r->body, a, &form, &why) != OK)
        return wire_fault(fault, FAULT_SYNTAX, NULL, "%s.", why.text);
    struct slice status = form_get(&form, "Status"), body = form_get(&form, "Body");
    if (status.p != NULL && body.p != NULL)
        return wire_fault(fault, FAULT_SYNTAX, "Status", "Give either Status=canceled or an empty Body, not both.");
    /* Anything else is the provider's to answer. */
    if (status.p != NULL && slice_eq_cstr(status, "canceled"))
        out->action = KEPT_CANCEL;
    else if (body.p != NULL && body.n == 0)
        out->action = KEPT_REDACT;
    return OK;
}

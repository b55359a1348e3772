/*
 * Messages that Postern keeps, under the sid that it answered: fetch, list, cancel
 * (page "Messages resource").  To the application they look like messages that
 * Twilio keeps.  What is told about them unasked is twilio_callback.c.
 */
#include "twilio.h"

#include "edit.h"
#include "json_scan.h"

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

static enum err reply_not_found(const struct route *route, struct arena *a, struct wire_reply *out)
{
    return twilio_fault_reply(&(struct fault){.kind = FAULT_NOT_FOUND}, route, a, out);
}

/* --- the provider's answer, seen under our sid -------------------------------------------- */

/* Twilio's sid everywhere in the answer (sid, uri, subresource_uris, a refusal's text) becomes ours. */
static enum err rename_sid(struct slice body, const struct kept_message *k, struct arena *a, struct slice *out)
{
    struct edits edits = {.arena = a};
    struct slice theirs = k->their_id;
    for (size_t at = 0; at < body.n && theirs.n > 0; at += theirs.n) {
        const char *found = memmem(body.p + at, body.n - at, theirs.p, theirs.n);
        if (found == NULL)
            break;
        at = (size_t)(found - body.p);
        edit_replace(&edits, at, at + theirs.n, k->id);
    }
    return edit_apply(&edits, body, out);
}

/* Of a message that we released the provider knows more than we do; should it deny that, we still say what we know. */
static enum err reply_fetch(const struct route *route, const struct kept_message *kept, size_t n,
                            const struct provider_answer *provider, struct arena *a, struct wire_reply *out)
{
    bool denied = route->call == CALL_MESSAGE_FETCH && n > 0 && provider != NULL && provider->status != 200;
    if (provider != NULL && !denied) {
        wire_reply_provider(out, provider);
        return n == 0 ? OK : rename_sid(provider->body, &kept[0], a, &out->body);
    }
    return n == 0 ? reply_not_found(route, a, out) : reply_one(route, &kept[0], a, out);
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

static enum err reply_own_list(const struct route *route, const struct kept_message *kept, size_t n, struct arena *a,
                               struct wire_reply *out)
{
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    buf_printf(&b, "{\"first_page_uri\":\"/2010-04-01/Accounts/%.*s/Messages.json?PageSize=%d&Page=0\",\"end\":%zu,",
               SLICE_ARG(route->account), PAGE_SIZE, n == 0 ? 0 : n - 1);
    buf_printf(&b, "\"previous_page_uri\":null,\"uri\":\"/2010-04-01/Accounts/%.*s/Messages.json\",",
               SLICE_ARG(route->account));
    buf_printf(&b, "\"page_size\":%d,\"start\":0,\"page\":0,\"next_page_uri\":null,\"messages\":[", PAGE_SIZE);
    enum err err = add_all(&b, route, kept, n, a);
    buf_add_cstr(&b, "]}");
    if (err != OK)
        return err;
    wire_reply_json(out, 200, &b);
    return b.failed ? ERR_LIMIT : OK;
}

/* Ours go in front of the provider's, whose bytes stay as they came. */
static enum err reply_list(const struct route *route, const struct kept_message *kept, size_t n,
                           const struct provider_answer *provider, struct arena *a, struct wire_reply *out)
{
    if (provider == NULL)
        return reply_own_list(route, kept, n, a, out);
    wire_reply_provider(out, provider);
    struct json_scan s = {.arena = a};
    struct errmsg why;
    if (provider->status != 200 || n == 0 || json_scan_parse(&s, provider->body, &why) != OK)
        return OK;
    uint32_t messages = json_scan_member(&s, 0, "messages");
    if (!json_scan_is(&s, messages, JSON_KIND_ARRAY))
        return OK;
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    enum err err = add_all(&b, route, kept, n, a);
    if (err != OK)
        return err;
    if (json_scan_count(&s, messages) > 0)
        buf_add_cstr(&b, ",");
    struct edits edits = {.arena = a};
    size_t at = s.nodes[messages].start + 1;
    edit_replace(&edits, at, at, buf_slice(&b));
    return b.failed ? ERR_LIMIT : edit_apply(&edits, provider->body, &out->body);
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
    if (slice_eq_cstr(status, "canceled"))
        out->action = KEPT_CANCEL;
    else if (body.p != NULL && body.n == 0)
        out->action = KEPT_REDACT;
    return OK;
}

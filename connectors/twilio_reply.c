/*
 * What the application hears, in Twilio's shapes: the message object of a 201, and
 * {"code","message","more_info","status"} with our decision under "details", the only
 * extra key that the SDKs hand on (read in twilio-node 5.13 and 6.2).  Never "type" and
 * "title" together: with them twilio-node takes the body for another error form.
 */
#include "twilio.h"

#include <stdio.h>

#include "postern/civil.h"

#define DOCS         "https://www.twilio.com/docs/errors/"
#define OWN_CODE_MIN 7700000 /* Twilio's have five digits; ours are 77, the status, two digits */

/* --- the message object ---------------------------------------------------------- */

static void add_member(struct buf *b, const char *name, struct slice value)
{
    buf_printf(b, ",\"%s\":", name);
    if (value.p == NULL)
        buf_add_cstr(b, "null");
    else
        buf_add_json(b, value);
}

static void add_date(struct buf *b, const char *name, int64_t wall_ms)
{
    char text[RFC2822_MAX];
    add_member(b, name, slice_of(wall_ms == 0 ? NULL : rfc2822_format(wall_ms, text)));
}

static struct slice or_empty(struct slice s)
{
    return s.p == NULL ? SLICE("") : s;
}

const char *twilio_first_status(const struct form *f)
{
    return form_get(f, "MessagingServiceSid").n > 0 ? "accepted" : "queued";
}

static void add_uri(struct buf *b, const char *name, const struct twilio_message *m, const char *tail)
{
    buf_printf(b, "\"%s\":\"/2010-04-01/Accounts/%.*s/Messages/%.*s%s\"", name, SLICE_ARG(m->account),
               SLICE_ARG(m->sid), tail);
}

void twilio_add_message(struct buf *b, const struct twilio_message *m)
{
    buf_add_cstr(b, "{\"account_sid\":");
    buf_add_json(b, m->account);
    add_member(b, "api_version", SLICE("2010-04-01"));
    add_member(b, "body", or_empty(form_get(m->form, "Body")));
    add_date(b, "date_created", m->created_at_ms);
    add_date(b, "date_sent", m->sent_at_ms);
    add_date(b, "date_updated", m->updated_at_ms);
    add_member(b, "direction", SLICE("outbound-api"));
    if (m->error.code != 0)
        buf_printf(b, ",\"error_code\":%d", m->error.code);
    else
        buf_add_cstr(b, ",\"error_code\":null");
    add_member(b, "error_message", slice_of(m->error.text));
    add_member(b, "from", form_get(m->form, "From"));
    buf_printf(b, ",\"num_media\":\"%zu\"", form_count(m->form, "MediaUrl"));
    add_member(b, "num_segments", slice_of(m->segments));
    buf_add_cstr(b, ",\"price\":null,\"price_unit\":null");
    add_member(b, "messaging_service_sid", form_get(m->form, "MessagingServiceSid"));
    add_member(b, "sid", m->sid);
    add_member(b, "status", slice_of(m->status));
    buf_add_cstr(b, ",\"subresource_uris\":{");
    add_uri(b, "media", m, "/Media.json");
    buf_add_cstr(b, "}");
    add_member(b, "to", or_empty(form_get(m->form, "To")));
    buf_add_cstr(b, ",");
    add_uri(b, "uri", m, ".json");
    buf_add_cstr(b, "}");
}

/* --- refusals ------------------------------------------------------------------------ */

static const struct refusal {
    const char *code;
    int twilio, status;
} refusals[] = {
    {"PST-HARD-OPTOUT", 21610, 400},
    {"PST-HARD-QUIET", 30610, 400},
    /* Not 21610: applications record that as an opt-out. */
    {"PST-HARD-NOCONSENT", 7740301, 403},
    {"PST-HARD-CHANNEL", 7740302, 403},
    {"PST-HARD-FREQUENCY", 7740303, 403},
    {"PST-SOFT-QUIET", 7740901, 409},
    {"PST-SOFT-FREQUENCY", 7740902, 409},
    {"PST-SOFT-CHANNEL", 7740903, 409},
    {"PST-SOFT-LANGUAGE", 7740904, 409},
};

static struct refusal refusal_of(const struct send_report *r, const struct answer *a)
{
    char code[PST_CODE_MAX];
    wire_code(r, a, code);
    for (size_t i = 0; i < N_ELEMENTS(refusals); i++) {
        if (strcmp(code, refusals[i].code) == 0)
            return refusals[i];
    }
    bool soft = a->decision->outcome == OUTCOME_SOFT_BLOCK && a->decision->overridable;
    return soft ? (struct refusal){NULL, 7740900, 409} : (struct refusal){NULL, 7740300, 403};
}

static void add_error(struct buf *b, int code, struct slice message, int status, struct slice public_url)
{
    buf_printf(b, "{\"code\":%d,\"message\":", code);
    buf_add_json(b, message);
    if (code < OWN_CODE_MIN)
        buf_printf(b, ",\"more_info\":\"" DOCS "%d\"", code);
    else if (public_url.n > 0)
        buf_printf(b, ",\"more_info\":\"%.*s/docs/codes/%d\"", SLICE_ARG(public_url), code);
    buf_printf(b, ",\"status\":%d", status);
}

static void reply_blocked(const struct send_report *r, const struct wire_tally *t, struct buf *b,
                          struct wire_reply *out)
{
    char text[WIRE_TEXT_MAX];
    struct refusal refusal = refusal_of(r, t->speaks);
    if (refusal.twilio == 21610)
        add_error(b, refusal.twilio, SLICE("Attempt to send to unsubscribed recipient"), refusal.status, r->public_url);
    else
        add_error(b, refusal.twilio, slice_of(wire_text(t->speaks, text)), refusal.status, r->public_url);
    buf_add_cstr(b, ",\"details\":");
    wire_add_decision(b, r, t->speaks);
    buf_add_cstr(b, "}");
    wire_reply_json(out, refusal.status, b);
}

/* --- what we keep ------------------------------------------------------------------------ */

static void reply_kept(const struct send_report *r, struct buf *b, struct wire_reply *out)
{
    const struct twilio *t = r->parsed->dialect;
    bool soon = r->queued_now || r->unknown;
    twilio_add_message(b, &(struct twilio_message){.account = r->route->account,
                                                   .sid = slice_of(r->kept_id),
                                                   .form = &t->form,
                                                   .status = soon ? twilio_first_status(&t->form) : "scheduled",
                                                   .segments = "0",
                                                   .created_at_ms = r->now_ms,
                                                   .updated_at_ms = r->now_ms});
    wire_reply_json(out, 201, b);
}

enum err twilio_reply(const struct send_report *report, struct arena *a, struct wire_reply *out)
{
    struct wire_tally tally;
    struct buf b;
    *out = (struct wire_reply){0};
    buf_init(&b, a, WIRE_BODY_MAX);
    wire_tally(report, &tally);
    if (report->provider != NULL)
        wire_reply_provider(out, report->provider);
    else if (tally.kept + tally.unknown > 0)
        reply_kept(report, &b, out);
    else
        reply_blocked(report, &tally, &b, out);
    return b.failed ? ERR_LIMIT : wire_add_fields(out, report, &tally, a);
}

/* --- faults ----------------------------------------------------------------------------------- */

static int fault_code(enum fault_kind kind)
{
    switch (kind) {
    case FAULT_SYNTAX:
        return 7740000;
    case FAULT_CATEGORY:
        return 7740001;
    case FAULT_NO_RECIPIENT:
        return 21604;
    case FAULT_ADDRESS:
        return 21211;
    case FAULT_NO_SENDER:
        return 21603;
    case FAULT_NO_BODY:
        return 21602;
    case FAULT_TOO_LONG:
        return 21617;
    case FAULT_TOO_LARGE:
        return 7741300;
    case FAULT_MEDIA_TYPE:
        return 7741500;
    case FAULT_AUTH:
        return 20003;
    case FAULT_FORBIDDEN:
        return 7740310;
    case FAULT_NOT_FOUND:
        return 20404;
    case FAULT_METHOD:
        return 20004;
    case FAULT_CONFLICT:
        return 7740910;
    case FAULT_IN_PROGRESS:
        return 7740911;
    case FAULT_KEY_REUSED:
        return 7742200;
    case FAULT_OVERLOAD:
        return 20429;
    case FAULT_UNAVAILABLE:
        return 7750300;
    case FAULT_UPSTREAM_DOWN:
        return 7750301;
    case FAULT_INTERNAL:
        return 20500;
    }
    return 20500;
}

static struct slice fault_text(const struct fault *f, const struct route *route, struct arena *a)
{
    if (f->kind == FAULT_AUTH)
        return SLICE("Authenticate");
    if (f->kind == FAULT_OVERLOAD)
        return SLICE("Too Many Requests");
    if (f->message.text[0] != '\0')
        return slice_of(f->message.text);
    if (f->kind == FAULT_NOT_FOUND && route != NULL && route->id.n > 0)
        return slice_of(
            arena_printf(a, "The requested resource /2010-04-01/Accounts/%.*s/Messages/%.*s.json was not found",
                         SLICE_ARG(route->account), SLICE_ARG(route->id)));
    if (f->kind == FAULT_NOT_FOUND)
        return SLICE("The requested resource was not found");
    if (f->kind == FAULT_UPSTREAM_DOWN)
        return SLICE("Upstream provider unavailable, message not accepted");
    if (f->kind == FAULT_METHOD)
        return SLICE("Method not allowed");
    return SLICE("The request could not be handled");
}

static void add_fault_details(struct buf *b, const struct fault *f)
{
    const char *code = wire_fault_code(f->kind);
    if (f->kind == FAULT_AUTH || (code == NULL && f->field[0] == '\0'))
        return;
    buf_add_cstr(b, ",\"details\":{\"outcome\":\"refused\"");
    if (code != NULL)
        add_member(b, "code", slice_of(code));
    if (f->field[0] != '\0')
        add_member(b, "field", slice_of(f->field));
    buf_add_cstr(b, "}");
}

enum err twilio_fault_reply(const struct fault *f, const struct route *route, struct arena *a, struct wire_reply *out)
{
    struct buf b;
    int status = wire_fault_status(f->kind);
    *out = (struct wire_reply){0};
    buf_init(&b, a, WIRE_BODY_MAX);
    add_error(&b, fault_code(f->kind), fault_text(f, route, a), status, (struct slice){NULL, 0});
    if (f->kind == FAULT_AUTH)
        add_member(&b, "detail", SLICE("Your AccountSid or AuthToken was incorrect."));
    add_fault_details(&b, f);
    buf_add_cstr(&b, "}");
    wire_reply_json(out, status, &b);
    if (f->kind == FAULT_AUTH)
        wire_reply_add(out, "WWW-Authenticate", SLICE("Basic realm=\"Twilio API\""));
    enum err err = wire_fault_fields(out, f, a);
    return b.failed ? ERR_LIMIT : err;
}

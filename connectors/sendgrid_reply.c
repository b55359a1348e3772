/*
 * What the application hears, in SendGrid's shapes: its 202 without a body, its
 * {"errors":[...]}.  @sendgrid/mail shows status, fields and body of an error to its
 * caller and retries nothing, so 409 and 403 are safe to use.
 */
#include "sendgrid.h"

static void add_error(struct buf *b, struct slice message, struct slice field)
{
    buf_add_cstr(b, "{\"message\":");
    buf_add_json(b, message);
    buf_add_cstr(b, ",\"field\":");
    if (field.n == 0)
        buf_add_cstr(b, "null");
    else
        buf_add_json(b, field);
    buf_add_cstr(b, ",\"help\":");
}

static void add_blocked(struct buf *b, const struct send_report *r, const struct answer *a)
{
    char text[WIRE_TEXT_MAX];
    add_error(b, slice_of(wire_text(a, text)), a->message->field);
    if (a->decision->outcome == OUTCOME_SOFT_BLOCK && a->decision->overridable) {
        buf_add_cstr(b, "{\"postern\":");
        wire_add_decision(b, r, a);
        buf_add_cstr(b, "}}");
    } else {
        buf_add_cstr(b, "null}");
    }
}

/* Nothing was sent and nothing kept: one error for each recipient that was refused. */
static void reply_blocked(const struct send_report *r, const struct wire_tally *t, struct buf *b,
                          struct wire_reply *out)
{
    buf_add_cstr(b, "{\"errors\":[");
    const char *comma = "";
    for (size_t i = 0; i < r->n_answers; i++) {
        if (wire_fate(r, &r->answers[i]) != FATE_BLOCKED)
            continue;
        buf_add_cstr(b, comma);
        add_blocked(b, r, &r->answers[i]);
        comma = ",";
    }
    buf_add_cstr(b, "],\"id\":");
    buf_add_json(b, slice_of(t->speaks->id));
    buf_add_cstr(b, ",\"postern\":");
    wire_add_postern(b, r, t);
    buf_add_cstr(b, "}");
    wire_reply_json(out, t->overridable == t->blocked ? 409 : 403, b);
}

enum err sendgrid_reply(const struct send_report *report, struct arena *a, struct wire_reply *out)
{
    struct wire_tally tally;
    struct buf b;
    bool spent = false;
    *out = (struct wire_reply){0};
    buf_init(&b, a, WIRE_BODY_MAX);
    wire_tally(report, &tally);
    if (report->provider != NULL) {
        wire_reply_provider(out, report->provider);
    } else if (tally.kept > 0 && report->parsed->sandbox_mode) {
        out->status = 200; /* it would have been kept; sandbox_mode keeps nothing, so there is no id to give */
    } else if (tally.kept + tally.unknown > 0) {
        out->status = 202;
        if (report->kept_id[0] != '\0') {
            struct slice id = arena_slice(a, slice_of(report->kept_id));
            wire_reply_add(out, "X-Message-Id", id);
            spent = id.p == NULL;
        }
    } else {
        reply_blocked(report, &tally, &b, out);
    }
    return spent || b.failed ? ERR_LIMIT : wire_add_fields(out, report, &tally, a);
}

/* --- faults --------------------------------------------------------------------------------- */

static struct slice fault_text(const struct fault *f)
{
    /* The provider's own words where callers may look for them. */
    if (f->kind == FAULT_AUTH)
        return SLICE("The provided authorization grant is invalid, expired, or revoked");
    if (f->kind == FAULT_OVERLOAD)
        return SLICE("too many requests");
    return wire_fault_text(f);
}

/* Clients that pace themselves look at these three; 150 is what SendGrid's page on rate limits shows. */
static enum err add_rate_limit(struct wire_reply *out, const struct fault *f, struct arena *a)
{
    if (f->kind != FAULT_OVERLOAD)
        return OK;
    wire_reply_add(out, "X-RateLimit-Limit", SLICE("150"));
    wire_reply_add(out, "X-RateLimit-Remaining", SLICE("0"));
    if (f->now_ms == 0)
        return OK;
    const char *reset = arena_printf(a, "%lld", (long long)((f->now_ms + f->retry_after_ms + 999) / 1000));
    wire_reply_add(out, "X-RateLimit-Reset", slice_of(reset));
    return reset == NULL ? ERR_LIMIT : OK;
}

enum err sendgrid_fault_reply(const struct fault *f, const struct route *route, struct arena *a, struct wire_reply *out)
{
    (void)route;
    struct buf b;
    *out = (struct wire_reply){0};
    buf_init(&b, a, WIRE_BODY_MAX);
    buf_add_cstr(&b, "{\"errors\":[");
    add_error(&b, fault_text(f), slice_of(f->field));
    buf_add_cstr(&b, "null}]");
    wire_fault_add_postern(&b, f->kind);
    buf_add_cstr(&b, "}");
    wire_reply_json(out, wire_fault_status(f->kind), &b);
    enum err err = add_rate_limit(out, f, a);
    if (err == OK)
        err = wire_fault_fields(out, f, a);
    return b.failed ? ERR_LIMIT : err;
}

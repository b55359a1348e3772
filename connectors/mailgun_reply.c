/*
 * What the application hears, in Mailgun's shapes: {"id","message"}, {"message"}.
 * mailgun.js hands its caller `message` (as details) and `error` (as message) of an
 * error, and the whole body of a success; applications compare a success with
 * "Queued. Thank you.", so every accepted outcome says exactly that.
 */
#include <stdio.h>

#include "json_scan.h"
#include "mailgun.h"
#include "postern/civil.h"

void mailgun_add_queued(struct buf *b, struct slice id)
{
    buf_add_cstr(b, "{");
    if (id.n > 0) {
        buf_add_cstr(b, "\"id\":");
        buf_add_json(b, id);
        buf_add_cstr(b, ",");
    }
    buf_add_cstr(b, "\"message\":\"Queued. Thank you.\"");
}

/* Ends the object with what became of each. */
static void add_postern(struct buf *b, const struct send_report *r, const struct wire_tally *t)
{
    buf_add_cstr(b, ",\"postern\":");
    wire_add_postern(b, r, t);
    buf_add_cstr(b, "}");
}

static void reply_kept(const struct send_report *r, const struct wire_tally *t, struct buf *b, struct wire_reply *out)
{
    bool nothing_kept = r->parsed->sandbox_mode; /* so there is no id to give */
    mailgun_add_queued(b, nothing_kept ? (struct slice){NULL, 0} : slice_of(r->kept_id));
    add_postern(b, r, t);
    wire_reply_json(out, 200, b);
}

static void reply_blocked(const struct send_report *r, const struct wire_tally *t, struct buf *b,
                          struct wire_reply *out)
{
    char text[WIRE_TEXTS_MAX], code[PST_CODE_MAX];
    buf_add_cstr(b, "{\"message\":");
    buf_add_json(b, slice_of(wire_texts(r, t->speaks, text)));
    buf_add_cstr(b, ",\"error\":");
    buf_add_json(b, slice_of(wire_code(r, t->speaks, code)));
    add_postern(b, r, t);
    wire_reply_json(out, t->overridable == t->blocked ? 409 : 403, b);
}

/* Mailgun's own acceptance of some of several, and beside its members what became of the others. */
static enum err reply_partial(const struct send_report *r, const struct wire_tally *t, struct arena *a, struct buf *b,
                              struct wire_reply *out)
{
    struct json_scan s = {.arena = a};
    struct errmsg why;
    enum err err = json_scan_parse(&s, r->provider->body, &why);
    if (err == ERR_LIMIT)
        return err;
    if (err != OK || !json_scan_is(&s, 0, JSON_KIND_OBJECT) || json_scan_count(&s, 0) == 0)
        return OK; /* as it came */
    buf_add(b, r->provider->body.p, s.nodes[0].end - 1);
    add_postern(b, r, t);
    out->body = buf_slice(b);
    return OK;
}

enum err mailgun_reply(const struct send_report *report, struct arena *a, struct wire_reply *out)
{
    struct wire_tally tally;
    struct buf b;
    enum err err = OK;
    *out = (struct wire_reply){0};
    buf_init(&b, a, WIRE_BODY_MAX);
    wire_tally(report, &tally);
    if (report->provider != NULL) {
        wire_reply_provider(out, report->provider);
        if (tally.forwarded > 0 && tally.forwarded < report->n_answers)
            err = reply_partial(report, &tally, a, &b, out);
    } else if (tally.kept + tally.unknown > 0) {
        reply_kept(report, &tally, &b, out);
    } else {
        reply_blocked(report, &tally, &b, out);
    }
    if (err != OK)
        return err;
    return b.failed ? ERR_LIMIT : wire_add_fields(out, report, &tally, a);
}

/* --- faults ------------------------------------------------------------------------- */

/* Its words of a domain that sends too much; the date in Mailgun's form. */
static struct slice slow_down(const struct fault *f, const struct route *route, struct arena *a)
{
    char when[RFC2822_MAX];
    struct slice domain = route != NULL && route->domain.n > 0 ? route->domain : SLICE("of this account");
    long long seconds = (long long)((f->retry_after_ms + 999) / 1000);
    if (f->now_ms == 0)
        return slice_of(arena_printf(a,
                                     "Domain %.*s is not allowed to send: request limit exceeded, try again after %lld "
                                     "seconds",
                                     SLICE_ARG(domain), seconds));
    rfc2822_format(f->now_ms + seconds * 1000, when);
    return slice_of(arena_printf(a,
                                 "Domain %.*s is not allowed to send: request limit exceeded, try again after "
                                 "%.*s UTC",
                                 SLICE_ARG(domain), (int)(strlen(when) - strlen(" +0000")), when));
}

static struct slice fault_text(const struct fault *f, const struct route *route, struct arena *a)
{
    return f->kind == FAULT_OVERLOAD ? slow_down(f, route, a) : wire_fault_text(f);
}

enum err mailgun_fault_reply(const struct fault *f, const struct route *route, struct arena *a, struct wire_reply *out)
{
    struct buf b;
    const char *code = wire_fault_code(f->kind);
    *out = (struct wire_reply){0};
    if (f->kind == FAULT_AUTH) {
        out->status = wire_fault_status(f->kind);
        out->body = SLICE("Forbidden");
        wire_reply_add(out, "Content-Type", SLICE("text/plain; charset=utf-8"));
        return wire_fault_fields(out, f, a);
    }
    struct slice text = fault_text(f, route, a);
    if (text.p == NULL)
        return ERR_LIMIT;
    buf_init(&b, a, WIRE_BODY_MAX);
    buf_add_cstr(&b, "{\"message\":");
    buf_add_json(&b, text);
    if (code != NULL)
        buf_printf(&b, ",\"error\":\"%s\"", code);
    wire_fault_add_postern(&b, f->kind);
    buf_add_cstr(&b, "}");
    wire_reply_json(out, wire_fault_status(f->kind), &b);
    enum err err = wire_fault_fields(out, f, a);
    return b.failed ? ERR_LIMIT : err;
}

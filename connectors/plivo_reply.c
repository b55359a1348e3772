/*
 * What the application hears, in Plivo's shapes: 202 with a uuid for each number, or
 * {"api_id","error"}.  plivo-node (4.40 and 4.79) keeps of a refusal one string,
 * "error", and that only of 400, 401, 404, 405 and 500: so these are the statuses,
 * and the sentence is complete.
 */
#include "plivo.h"

#include <stdio.h>

void plivo_add_api_id(struct buf *b, struct slice of, const char *name)
{
    char id[SID_MAX];
    plivo_uuid_of(of, slice_of(name), id);
    buf_printf(b, "{\"api_id\":\"%s\"", id);
}

/* --- 202 --------------------------------------------------------------------------- */

static void add_id(struct buf *b, const char **comma, struct slice id)
{
    buf_add_cstr(b, *comma);
    buf_add_json(b, id);
    *comma = ",";
}

static void add_own_id(struct buf *b, const char **comma, const char *kept_id, uint32_t index)
{
    char id[SID_MAX];
    plivo_message_id(kept_id, index, id);
    add_id(b, comma, slice_of(id));
}

static void add_queued(struct buf *b, const char *kept_id, size_t n)
{
    const char *comma = "";
    plivo_add_api_id(b, slice_of(kept_id), "api");
    buf_add_cstr(b, ",\"message\":\"message(s) queued\",\"message_uuid\":[");
    for (uint32_t i = 0; i < n; i++)
        add_own_id(b, &comma, kept_id, i);
    buf_add_cstr(b, "]}");
}

/*
 * Some of several left: in the provider's list each of the others gets an id of ours, in the order of the request.
 * The sandbox has named all of them already, those that did not leave as well.
 */
static bool merge_ids(const struct send_report *r, struct buf *b, struct slice *list)
{
    struct plivo_ids ids;
    plivo_ids_begin(r->provider, &ids);
    *list = ids.uuids;
    bool all_named = plivo_ids_count(ids.uuids) == r->n_answers;
    const char *comma = "";
    for (size_t i = 0; i < r->n_answers; i++) {
        const struct answer *a = &r->answers[i];
        struct slice id = {NULL, 0};
        bool left = all_named || wire_fate(r, a) == FATE_FORWARDED, valid = true;
        if (left)
            valid = plivo_ids_next(&ids, a->message, &id);
        if (id.n > 0)
            add_id(b, &comma, id);
        else if (valid && left)
            return false; /* fewer than it sent: nobody knows whose are there */
        else if (!left)
            add_own_id(b, &comma, r->kept_id, a->message->index);
    }
    return true;
}

static void reply_provider(const struct send_report *r, const struct wire_tally *t, struct arena *a,
                           struct wire_reply *out, bool *spent)
{
    struct buf ids, body;
    struct slice list, theirs = r->provider->body;
    wire_reply_provider(out, r->provider);
    buf_init(&ids, a, WIRE_BODY_MAX);
    buf_init(&body, a, WIRE_BODY_MAX);
    if (t->forwarded == r->n_answers || t->forwarded == 0 || !merge_ids(r, &ids, &list))
        return;
    size_t before = (size_t)(list.p - theirs.p);
    buf_add(&body, theirs.p, before);
    buf_add_slice(&body, buf_slice(&ids));
    buf_add(&body, list.p + list.n, theirs.n - before - list.n);
    out->body = buf_slice(&body);
    *spent = ids.failed || body.failed;
}

/* --- 400 ------------------------------------------------------------------------------ */

static void reply_blocked(const struct send_report *r, const struct wire_tally *t, struct buf *b,
                          struct wire_reply *out)
{
    char text[WIRE_TEXTS_MAX];
    plivo_add_api_id(b, slice_of(r->kept_id), "api");
    buf_add_cstr(b, ",\"error\":");
    buf_add_json(b, slice_of(wire_texts(r, t->speaks, text)));
    buf_add_cstr(b, ",\"postern\":");
    wire_add_postern(b, r, t);
    buf_add_cstr(b, "}");
    wire_reply_json(out, 400, b);
}

enum err plivo_reply(const struct send_report *report, struct arena *a, struct wire_reply *out)
{
    struct wire_tally tally;
    struct buf b;
    bool spent = false;
    *out = (struct wire_reply){0};
    buf_init(&b, a, WIRE_BODY_MAX);
    wire_tally(report, &tally);
    if (report->provider != NULL) {
        reply_provider(report, &tally, a, out, &spent);
    } else if (tally.kept + tally.unknown > 0) {
        add_queued(&b, report->kept_id, report->n_answers);
        wire_reply_json(out, 202, &b);
    } else {
        reply_blocked(report, &tally, &b, out);
    }
    return spent || b.failed ? ERR_LIMIT : wire_add_fields(out, report, &tally, a);
}

enum err plivo_accept(const struct parsed *p, const struct route *route, const char *id, int64_t now_ms,
                      struct arena *a, struct wire_reply *out)
{
    (void)route;
    (void)now_ms;
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    *out = (struct wire_reply){0};
    add_queued(&b, id, p->n_messages);
    wire_reply_json(out, 202, &b);
    return b.failed ? ERR_LIMIT : OK;
}

/* --- faults ----------------------------------------------------------------------------- */

/* Of the statuses of Plivo's page "Response", those of which its SDKs keep the text; 429 says enough by itself. */
static int fault_status(enum fault_kind kind)
{
    int status = wire_fault_status(kind);
    if (status == 401 || status == 404 || status == 405 || status == 429)
        return status;
    return status >= 500 ? 500 : 400;
}

static struct slice fault_text(const struct fault *f)
{
    if (f->kind == FAULT_AUTH)
        return SLICE("authentication failed: auth_id or auth_token is wrong");
    if (f->kind == FAULT_OVERLOAD)
        return SLICE("too many requests");
    return wire_fault_text(f);
}

enum err plivo_fault_reply(const struct fault *f, const struct route *route, struct arena *a, struct wire_reply *out)
{
    (void)route;
    struct buf b;
    char now[24];
    int status = fault_status(f->kind);
    struct slice text = fault_text(f);
    *out = (struct wire_reply){0};
    buf_init(&b, a, WIRE_BODY_MAX);
    snprintf(now, sizeof now, "%lld", (long long)f->now_ms);
    plivo_add_api_id(&b, text, now);
    buf_add_cstr(&b, ",\"error\":");
    buf_add_json(&b, text);
    wire_fault_add_postern(&b, f->kind);
    buf_add_cstr(&b, "}");
    wire_reply_json(out, status, &b);
    if (f->kind == FAULT_AUTH)
        wire_reply_add(out, "WWW-Authenticate", SLICE("Basic realm=\"Plivo API\""));
    enum err err = wire_fault_fields(out, f, a);
    return b.failed ? ERR_LIMIT : err;
}

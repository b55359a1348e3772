/*
 * The SendGrid v3 dialect, and SendGrid as a provider: which calls are whose, what
 * an answer means, the small calls beside mail/send.  Reading mail/send is
 * sendgrid_parse.c, pruning it sendgrid_forward.c, answering sendgrid_reply.c.
 */
#include "sendgrid.h"

/* --- calls --------------------------------------------------------------------- */

/* How the path's segments from `from` on compare with words. */
static enum wire_match match_words(const struct wire_path *p, size_t from, const char *const *words, size_t n)
{
    enum wire_match all = WIRE_SAME;
    if (p->n < from + n)
        return WIRE_OTHER;
    for (size_t i = 0; i < n; i++) {
        enum wire_match one = wire_segment_match(p->segments[from + i], words[i]);
        if (one == WIRE_OTHER)
            return WIRE_OTHER;
        if (one == WIRE_LIKE)
            all = WIRE_LIKE;
    }
    return all;
}

static enum call match_scheduled(const struct wire_request *r, const struct wire_path *p, struct route *out)
{
    if (slice_eq_cstr(r->method, "GET"))
        return CALL_PASS;
    if (p->n == 4)
        out->id = p->segments[3];
    bool known = p->n == 3 ? slice_eq_cstr(r->method, "POST")
                           : p->n == 4 && (slice_eq_cstr(r->method, "PATCH") || slice_eq_cstr(r->method, "DELETE"));
    return known ? CALL_BATCH_CHANGE : CALL_PASS;
}

static enum call sendgrid_match(const struct wire_request *r, struct route *out)
{
    static const char *const send[] = {"v3", "mail", "send"};
    static const char *const scheduled[] = {"v3", "user", "scheduled_sends"};
    struct wire_path p;
    *out = (struct route){.call = CALL_NONE};
    if (!wire_path_split(r->path, &p) || p.n < 2 || wire_segment_match(p.segments[0], "v3") != WIRE_SAME)
        return CALL_NONE;
    /* /v3/<domain>/messages is Mailgun's. */
    if (memchr(p.segments[1].p, '.', p.segments[1].n) != NULL)
        return CALL_NONE;
    enum wire_match is_send = match_words(&p, 0, send, N_ELEMENTS(send));
    enum wire_match is_scheduled = match_words(&p, 0, scheduled, N_ELEMENTS(scheduled));
    /* Another spelling of a call that is evaluated must not pass as one that is not. */
    if (is_send == WIRE_LIKE || is_scheduled == WIRE_LIKE || (is_send == WIRE_SAME && p.trailing_slash))
        return CALL_NONE;
    if (is_send == WIRE_SAME && p.n == 3 && slice_eq_cstr(r->method, "POST"))
        out->call = CALL_SEND;
    else if (is_scheduled == WIRE_SAME && !p.trailing_slash)
        out->call = match_scheduled(r, &p, out);
    else
        out->call = CALL_PASS;
    return out->call;
}

/* --- to the provider --------------------------------------------------------------- */

enum err sendgrid_outgoing_fields(const struct wire_request *r, const struct provider_login *login, struct arena *a,
                                  struct outgoing *out)
{
    static const char *const copied[] = {"Content-Type", "Accept", "User-Agent", "On-Behalf-Of", NULL};
    enum err err = wire_outgoing_copy(out, r, copied);
    if (err != OK)
        return err;
    struct slice bearer = arena_join(a, SLICE("Bearer "), login->secret);
    return bearer.p == NULL ? ERR_LIMIT : wire_outgoing_add(out, "Authorization", bearer);
}

static enum err sendgrid_pass(const struct wire_request *r, const struct route *route,
                              const struct provider_login *login, struct arena *a, struct outgoing *out)
{
    (void)route;
    *out = (struct outgoing){.method = r->method, .path_and_query = wire_target(r->path, r->query, a), .body = r->body};
    return out->path_and_query.p == NULL ? ERR_LIMIT : sendgrid_outgoing_fields(r, login, a, out);
}

static void sendgrid_classify(const struct provider_answer *answer, size_t nth, struct send_result *out)
{
    (void)nth; /* all or none */
    *out = (struct send_result){.status = SEND_UNKNOWN};
    if (answer->status >= 200 && answer->status < 300) {
        out->status = SEND_ACCEPTED;
        out->provider_id = wire_field_get(answer->fields, answer->n_fields, "X-Message-Id");
    } else if (answer->status == 429) {
        out->status = SEND_RETRY;
    } else if (answer->status >= 300 && answer->status < 500) {
        out->status = SEND_REFUSED;
    }
}

/* --- the sandbox, and ids --------------------------------------------------------------- */

static enum err sendgrid_accept(const struct parsed *p, const struct route *route, const char *id, int64_t now_ms,
                                struct arena *a, struct wire_reply *out)
{
    (void)route;
    (void)now_ms;
    *out = (struct wire_reply){.status = p->sandbox_mode ? 200 : 202};
    if (!p->sandbox_mode)
        wire_reply_add(out, "X-Message-Id", arena_slice(a, slice_of(id)));
    return p->sandbox_mode || out->n_fields == 1 ? OK : ERR_LIMIT;
}

/* 22 characters of base64url, as X-Message-Id looks. */
static void sendgrid_mint_id(const struct parsed *p, const uint8_t random[16], char out[SID_MAX])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (void)p;
    size_t n = 0;
    for (unsigned bit = 0; bit < 128; bit += 6) {
        unsigned two = (unsigned)random[bit / 8] << 8 | (bit / 8 + 1 < 16 ? random[bit / 8 + 1] : 0u);
        out[n++] = digits[two >> (10 - bit % 8) & 63];
    }
    out[n] = '\0';
}

/* --- scheduled sends ------------------------------------------------------------------------ */

static enum err read_change(const struct wire_request *r, struct arena *a, struct kept_change *out, struct fault *fault)
{
    struct json_scan s = {.arena = a};
    struct errmsg why;
    struct slice status = {NULL, 0};
    if (json_scan_parse(&s, r->body, &why) != OK)
        return wire_fault(fault, FAULT_SYNTAX, NULL, "Bad Request: %s.", why.text);
    uint32_t id = json_scan_member(&s, 0, "batch_id");
    if (out->batch_id.n == 0 && !json_scan_text(&s, id, a, &out->batch_id))
        return wire_fault(fault, FAULT_SYNTAX, "batch_id", "batch_id is required and must be a string");
    if (!json_scan_text(&s, json_scan_member(&s, 0, "status"), a, &status))
        return wire_fault(fault, FAULT_SYNTAX, "status", "status is required and must be a string");
    if (slice_eq_cstr(status, "cancel"))
        out->action = KEPT_CANCEL;
    else if (slice_eq_cstr(status, "pause"))
        out->action = KEPT_PAUSE;
    else
        return wire_fault(fault, FAULT_SYNTAX, "status", "status must be cancel or pause");
    return OK;
}

static enum err sendgrid_change(const struct wire_request *r, const struct route *route, struct arena *a,
                                struct kept_change *out, struct fault *fault)
{
    *out = (struct kept_change){.action = KEPT_RESUME, .batch_id = route->id};
    *fault = (struct fault){0};
    return slice_eq_cstr(r->method, "DELETE") ? OK : read_change(r, a, out, fault);
}

/* SendGrid's answer counts when it was asked; else ours, from the messages of the batch that we keep. */
static enum err sendgrid_kept_reply(const struct route *route, const struct kept_message *kept, size_t n,
                                    const struct provider_answer *provider, struct arena *a, struct wire_reply *out)
{
    *out = (struct wire_reply){.status = 204};
    if (provider != NULL && (provider->status < 400 || n == 0)) {
        wire_reply_provider(out, provider);
        return OK;
    }
    if (n == 0) {
        struct fault f;
        ignore(wire_fault(&f, FAULT_NOT_FOUND, "batch_id", "batch id not found")); /* the reply says it */
        return sendgrid_fault_reply(&f, route, a, out);
    }
    if (route->id.n > 0)
        return OK;
    struct json_scan s = {.arena = a};
    struct errmsg why;
    struct slice id = {NULL, 0};
    if (json_scan_parse(&s, kept[0].body, &why) != OK ||
        !json_scan_text(&s, json_scan_member(&s, 0, "batch_id"), a, &id))
        return ERR_INTERNAL;
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    buf_add_cstr(&b, "{\"batch_id\":");
    buf_add_json(&b, id);
    buf_printf(&b, ",\"status\":\"%s\"}", kept[0].state == KEPT_CANCELLED ? "cancel" : "pause");
    wire_reply_json(out, 201, &b);
    return b.failed ? ERR_LIMIT : OK;
}

const struct connector sendgrid_connector = {
    .name = "sendgrid",
    .channel = CHANNEL_EMAIL,
    .match = sendgrid_match,
    .parse = sendgrid_parse,
    .settle = sendgrid_settle,
    .forward = sendgrid_forward,
    .pass = sendgrid_pass,
    .classify = sendgrid_classify,
    .reply = sendgrid_reply,
    .fault_reply = sendgrid_fault_reply,
    .accept = sendgrid_accept,
    .mint_id = sendgrid_mint_id,
    .kept_reply = sendgrid_kept_reply,
    .change = sendgrid_change,
    .callback = NULL,
    .is_genuine = NULL,
    .relay = NULL,
};

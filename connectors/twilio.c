/*
 * The Twilio 2010-04-01 dialect, and Twilio as a provider: which calls are whose,
 * what leaves, what an answer means.  Reading a create is twilio_parse.c, answering
 * twilio_reply.c, messages that we keep twilio_kept.c, what is told about them twilio_callback.c.
 */
#include "twilio.h"

#include "account.h"
#include "edit.h"
#include "json_scan.h"
#include "postern/hash.h"

/* --- calls ---------------------------------------------------------------------- */

/* "SM123.json": the part before the last dot. */
static struct slice without_extension(struct slice s)
{
    const char *dot = memrchr(s.p, '.', s.n);
    return dot == NULL ? s : (struct slice){s.p, (size_t)(dot - s.p)};
}

static enum wire_match match_segment(const struct wire_path *p, size_t i, const char *word)
{
    return i < p->n ? wire_segment_match(without_extension(p->segments[i]), word) : WIRE_OTHER;
}

static bool has_method(const struct wire_request *r, const char *method)
{
    return slice_eq_cstr(r->method, method);
}

/* What we keep is shown on the first page only; the further ones carry a token. */
static bool is_first_page(struct slice query)
{
    return query.n == 0 || memmem(query.p, query.n, "PageToken=", strlen("PageToken=")) == NULL;
}

/* at: the index of "Messages". */
static enum call match_messages(const struct wire_request *r, const struct wire_path *p, size_t at, struct route *out)
{
    if (p->trailing_slash)
        return CALL_NONE;
    if (p->n == at + 1) {
        if (has_method(r, "POST"))
            return CALL_SEND;
        out->query = r->query;
        bool json = slice_eq_cstr(p->segments[at], "Messages.json");
        return has_method(r, "GET") && json && is_first_page(r->query) ? CALL_MESSAGE_LIST : CALL_PASS;
    }
    out->id = without_extension(p->segments[at + 1]);
    if (p->n > at + 2)
        return CALL_PASS; /* its media, its feedback */
    if (has_method(r, "GET"))
        return CALL_MESSAGE_FETCH;
    out->deletes = has_method(r, "DELETE");
    return has_method(r, "POST") || out->deletes ? CALL_MESSAGE_CHANGE : CALL_PASS;
}

static enum call twilio_match(const struct wire_request *r, struct route *out)
{
    struct wire_path p;
    *out = (struct route){.call = CALL_NONE};
    if (!wire_path_split(r->path, &p) || p.n == 0 || !slice_eq_cstr(p.segments[0], "2010-04-01"))
        return CALL_NONE;
    /* Accounts/{sid}/SMS/Messages is the older name of the same. */
    enum wire_match accounts = match_segment(&p, 1, "Accounts"), sms = match_segment(&p, 3, "SMS");
    size_t at = sms == WIRE_OTHER ? 3 : 4;
    enum wire_match messages = match_segment(&p, at, "Messages");
    /* Another spelling of a call that is evaluated must not pass as one that is not. */
    if (accounts == WIRE_LIKE || (messages != WIRE_OTHER && (sms == WIRE_LIKE || messages == WIRE_LIKE)))
        return CALL_NONE;
    out->call = CALL_PASS;
    if (accounts == WIRE_SAME && p.n > 2)
        out->account = without_extension(p.segments[2]);
    if (accounts == WIRE_SAME && messages == WIRE_SAME)
        out->call = match_messages(r, &p, at, out);
    return out->call;
}

/* --- to the provider ---------------------------------------------------------------- */

#define ACCOUNT_SEGMENT 2 /* /2010-04-01/Accounts/{sid} */

static const char *const copied[] = {"Content-Type", "Accept", "Accept-Charset", "User-Agent", NULL};

/* Is this field of the form to stay behind? */
static bool is_dropped(const struct twilio *t, struct slice name, const struct forward_options *options)
{
    bool passed = t->send_at_ms != 0 && t->send_at_ms <= options->now_ms;
    if (slice_eq_cstr(name, "SendAt") || slice_eq_cstr(name, "ScheduleType"))
        return passed;
    return options->own_callback && options->callback_url.n == 0 && slice_eq_cstr(name, "StatusCallback");
}

/* Twilio posts to us, and we to where the application wanted it. */
static bool redirect_callback(const struct form_field *f, const struct forward_options *options, struct edits *edits,
                              struct arena *a)
{
    if (options->callback_url.n == 0 || f->value.n == 0 || !slice_eq_cstr(f->name, "StatusCallback"))
        return true;
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    buf_add_cstr(&b, "StatusCallback=");
    buf_add_form(&b, twilio_callback_url(options->callback_url, f->value, a));
    edit_replace(edits, f->start, f->end, buf_slice(&b));
    return !b.failed;
}

/* The parameters are the contract's.  NOLINTNEXTLINE(readability-function-size) */
static enum err twilio_forward(const struct wire_request *r, const struct route *route, const struct parsed *p,
                               const bool *send, const struct forward_options *options, struct arena *a,
                               struct outgoing *out)
{
    const struct twilio *t = p->dialect;
    const struct form *f = &t->form;
    struct edits edits = {.arena = a};
    struct edit_row row = {.edits = &edits};
    if (!send[0])
        return ERR_CONFLICT;
    for (size_t i = 0; i < f->n; i++) {
        size_t next = i + 1 < f->n ? f->fields[i + 1].start : SIZE_MAX;
        if (!redirect_callback(&f->fields[i], options, &edits, a))
            return ERR_LIMIT;
        edit_row_item(&row, f->fields[i].start, f->fields[i].end, next, is_dropped(t, f->fields[i].name, options));
    }
    *out = (struct outgoing){.method = SLICE("POST"),
                             .path_and_query = account_target(r, route, ACCOUNT_SEGMENT, options->login, a),
                             .at_most_once = true};
    enum err err = edit_apply(&edits, r->body, &out->body);
    if (err != OK || out->path_and_query.p == NULL)
        return ERR_LIMIT;
    return account_fields(r, copied, options->login, a, out);
}

static enum err twilio_pass(const struct wire_request *r, const struct route *route, const struct provider_login *login,
                            struct arena *a, struct outgoing *out)
{
    *out = (struct outgoing){.method = r->method,
                             .path_and_query = account_target(r, route, ACCOUNT_SEGMENT, login, a),
                             .body = r->body,
                             .at_most_once = !has_method(r, "GET")};
    return out->path_and_query.p == NULL ? ERR_LIMIT : account_fields(r, copied, login, a, out);
}

/* --- what an answer means ------------------------------------------------------------- */

#define ANSWER_NODES 256 /* a message object has 24 values */

static void twilio_classify(const struct provider_answer *answer, size_t nth, struct send_result *out)
{
    struct json_node nodes[ANSWER_NODES];
    struct json_scan s = {.nodes = nodes, .cap = ANSWER_NODES};
    struct errmsg why;
    bool readable = json_scan_parse(&s, answer->body, &why) == OK;
    (void)nth; /* one message a request */
    *out = (struct send_result){.status = SEND_UNKNOWN};
    if (answer->status >= 200 && answer->status < 300) {
        out->status = SEND_ACCEPTED;
        uint32_t sid = readable ? json_scan_member(&s, 0, "sid") : JSON_NONE;
        if (json_scan_is(&s, sid, JSON_KIND_STRING) && !nodes[sid].escaped)
            ignore(json_scan_text(&s, sid, NULL, &out->provider_id)); /* no escapes: cannot fail */
    } else if (answer->status == 429) {
        out->status = SEND_RETRY;
    } else if (answer->status >= 300 && answer->status < 500) {
        uint32_t code = readable ? json_scan_member(&s, 0, "code") : JSON_NONE;
        bool opted_out = code != JSON_NONE && slice_eq_cstr(json_scan_raw(&s, code), "21610");
        out->status = opted_out ? SEND_OPTED_OUT : SEND_REFUSED;
    }
}

/* --- the sandbox, and ids --------------------------------------------------------------- */

static enum err twilio_accept(const struct parsed *p, const struct route *route, const char *id, int64_t now_ms,
                              struct arena *a, struct wire_reply *out)
{
    const struct twilio *t = p->dialect;
    bool service = form_get(&t->form, "MessagingServiceSid").n > 0;
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    *out = (struct wire_reply){0};
    twilio_add_message(&b, &(struct twilio_message){.account = route->account,
                                                    .sid = slice_of(id),
                                                    .form = &t->form,
                                                    .status = twilio_first_status(&t->form),
                                                    .segments = service ? "0" : "1",
                                                    .created_at_ms = now_ms,
                                                    .updated_at_ms = now_ms});
    wire_reply_json(out, 201, &b);
    return b.failed ? ERR_LIMIT : OK;
}

static void twilio_mint_id(const struct parsed *p, const uint8_t random[16], char out[SID_MAX])
{
    const struct twilio *t = p == NULL ? NULL : p->dialect;
    memcpy(out, t != NULL && form_count(&t->form, "MediaUrl") > 0 ? "MM" : "SM", 2);
    hash_hex(random, 16, out + 2);
}

const struct connector twilio_connector = {
    .name = "twilio",
    .channel = CHANNEL_SMS,
    .transport = TRANSPORT_HTTP,
    .has_account = true,
    .match = twilio_match,
    .parse = twilio_parse,
    .settle = NULL,
    .forward = twilio_forward,
    .pass = twilio_pass,
    .classify = twilio_classify,
    .reply = twilio_reply,
    .fault_reply = twilio_fault_reply,
    .accept = twilio_accept,
    .mint_id = twilio_mint_id,
    .kept_reply = twilio_kept_reply,
    .change = twilio_change,
    .callback = twilio_callback,
    .is_genuine = twilio_is_genuine,
    .relay = twilio_relay,
};

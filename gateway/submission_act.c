/*
 * ACT: the call to the provider, and what became of it.  The one thing to hold
 * in mind: after a byte was written, an SMS is never sent again; what is not
 * known is called unknown.
 */
#include "submission_parts.h"

#include <stdio.h>
#include <stdlib.h>

#include "bus.h"
#include "callback.h"
#include "duplicates.h"
#include "postern/clock.h"
#include "postern/log.h"
#include "release.h"
#include "revocation.h"

#define PROFILE_CHANGED "profile changed, or may have, before the first byte: decided again"

/* --- taking back ----------------------------------------------------------------- */

static void acting_leave(struct submission *s)
{
    if (s->acting_prev == NULL)
        return;
    *s->acting_prev = s->acting_next;
    if (s->acting_next != NULL)
        s->acting_next->acting_prev = s->acting_prev;
    s->acting_prev = NULL;
    s->acting_next = NULL;
}

static void acting_enter(struct submission *s)
{
    s->acting_next = s->g->acting;
    s->acting_prev = &s->g->acting;
    if (s->acting_next != NULL)
        s->acting_next->acting_prev = &s->acting_next;
    s->g->acting = s;
}

static bool sends_to(const struct submission *s, const uint64_t *hashes, size_t n)
{
    for (size_t i = 0; i < s->n_items; i++) {
        uint64_t have = s->items[i].send ? profiles_hash(&s->items[i].message->to) : 0;
        if (s->items[i].send && n == 0)
            return true;
        for (size_t k = 0; k < n && s->items[i].send; k++) {
            if (hashes[k] == have)
                return true;
        }
    }
    return false;
}

void submission_revoked(struct gateway *g, const uint64_t *hashes, size_t n)
{
    struct submission *next;

    for (struct submission *s = g->acting; s != NULL; s = next) {
        next = s->acting_next;
        if (!sends_to(s, hashes, n) || s->op == NULL || upstream_op_sent(s->op))
            continue;
        upstream_op_cancel(&s->op);
        acting_leave(s);
        submission_take_back(s, PROFILE_CHANGED);
        submission_resume(s);
    }
}

/* --- the last look ------------------------------------------------------------------ */

/* Has anything changed for those to whom a byte is about to leave? */
static bool changed_meanwhile(const struct submission *s)
{
    if (profiles_epoch(s->g->profiles) == s->epoch)
        return false;
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i].send && profiles_dropped_since(s->g->profiles, &s->items[i].message->to, s->epoch))
            return true;
    }
    return false;
}

/* Might it have, and nobody told this worker?  What was decided knowing that may go. */
static bool lapsed(const struct submission *s)
{
    if (bus_fresh(s->g->bus))
        return false;
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i].send && !s->items[i].facts.profile_stale)
            return true;
    }
    return false;
}

/* Asked once more when the connection is there: between the call and its first byte lie look-ups and handshakes. */
static bool may_write(void *arg)
{
    struct submission *s = arg;

    s->withdrawn = changed_meanwhile(s) || lapsed(s);
    return !s->withdrawn;
}

/* --- the provider's answer ----------------------------------------------------------- */

static void opted_out_there(struct submission *s, const struct item *item)
{
    const struct message *m = item->message;

    revocation_by_provider(s->g, &m->to, m->channel, m->sender, s->provider->name);
    s->end_reason = REASON_OPTED_OUT;
}

/* A relay's for the nth that was sent, NULL when there is none: its only recipient may have carried several. */
static const struct recipient_answer *relay_answer(const struct provider_answer *a, size_t nth)
{
    if (nth < a->n_recipients)
        return &a->recipients[nth];
    return a->n_recipients == 1 ? a->recipients : NULL;
}

/* What the answer means for one message. */
static void answered_one(struct submission *s, struct item *item, size_t nth)
{
    struct send_result r = {0};
    bool email = s->connector->channel == CHANNEL_EMAIL;
    const struct recipient_answer *relayed = relay_answer(&s->answer, nth);

    s->connector->classify(&s->answer, nth, &r);
    item->sent = (struct sent){
        .provider_id = r.provider_id,
        .status = relayed != NULL ? relayed->code : s->answer.status,
        .answer = relayed,
    };
    switch (r.status) {
    case SEND_ACCEPTED:
        item->sent.result = RESULT_FORWARDED;
        item->sent.detail = "";
        return;
    case SEND_OPTED_OUT:
    case SEND_REFUSED:
        item->sent.result = RESULT_REFUSED;
        item->sent.detail = "refused by the provider";
        if (r.status == SEND_OPTED_OUT)
            opted_out_there(s, item);
        return;
    case SEND_RETRY:
        /* A new submission's sender hears an API's own 429; a mail, and a released message, wait. */
        item->sent.result = RESULT_NOT_SENT;
        item->sent.detail = "the provider asks to slow down";
        item->sent.again = s->deferred != NULL || relayed != NULL;
        return;
    case SEND_UNKNOWN:
        /* E-mail is sent at least once, an SMS at most once (semantics 11). */
        item->sent.result = email ? RESULT_NOT_SENT : RESULT_UNKNOWN;
        item->sent.detail = "the provider answered with a server error: it may have been sent";
        item->sent.again = email;
        s->unknown |= !email;
        s->has_answer = false; /* on record; the client hears what became of the message instead */
        return;
    }
    never("a send status");
}

static void answered(struct submission *s, const struct upstream_result *u)
{
    size_t nth = 0;

    s->end_reason = REASON_NONE;
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i].send)
            answered_one(s, &s->items[i], nth++);
    }
    submission_conclude(s, u->retry_after_ms);
}

/* What the call asked for, in order; NULL: no memory. */
static const struct message **messages_sent(struct submission *s, size_t *n)
{
    const struct message **sent = arena_calloc(s->arena, s->n_items, sizeof(const struct message *));

    *n = 0;
    for (size_t i = 0; sent != NULL && i < s->n_items; i++) {
        if (s->items[i].send)
            sent[(*n)++] = s->items[i].message;
    }
    return sent;
}

/* The answer as connectors read it; false: no memory. */
static bool read_answer(struct submission *s, const struct upstream_result *u)
{
    struct wire_field *fields = arena_calloc(s->arena, u->n_headers, sizeof(*fields));
    struct recipient_answer *recipients = arena_calloc(s->arena, u->n_recipients, sizeof(*recipients));
    size_t n_sent;
    const struct message **sent = messages_sent(s, &n_sent);

    for (size_t i = 0; fields != NULL && i < u->n_headers; i++)
        fields[i] = (struct wire_field){u->headers[i].name, u->headers[i].value};
    /* A relay's words go into the report, which outlives the call. */
    for (size_t i = 0; recipients != NULL && i < u->n_recipients; i++)
        recipients[i] = (struct recipient_answer){u->recipients[i].code, arena_slice(s->arena, u->recipients[i].text)};
    s->answer = (struct provider_answer){
        .status = u->http_status,
        .fields = fields,
        .n_fields = fields != NULL ? u->n_headers : 0,
        .body = u->body,
        .recipients = u->n_recipients > 0 ? recipients : NULL,
        .n_recipients = u->n_recipients,
        .sent = sent,
        .n_sent = sent != NULL ? n_sent : 0,
    };
    s->has_answer = true;
    return recipients != NULL;
}

/* Bytes were written, and nobody knows: a mail goes at least once, all else at most once. */
static void lost(struct submission *s, const struct upstream_result *u)
{
    bool mail = s->connector->transport == TRANSPORT_SMTP;

    s->unknown = !mail;
    submission_sent_all(s, RESULT_UNKNOWN, u->reason, mail);
    submission_conclude(s, u->retry_after_ms);
}

static void on_upstream(void *arg, const struct upstream_result *u)
{
    struct submission *s = arg;

    s->op = NULL;
    s->relay_reports = u->dsn;
    acting_leave(s);
    switch (u->status) {
    case UPSTREAM_ANSWERED:
        if (read_answer(s, u))
            answered(s, u);
        else
            lost(s, u);
        break;
    case UPSTREAM_NOT_SENT:
        if (s->withdrawn) {
            submission_take_back(s, PROFILE_CHANGED);
        } else {
            log_line(LOG_INFO, s->id, "submission", "not_sent", "provider=%s reason=%s", s->provider->name, u->reason);
            submission_sent_all(s, RESULT_NOT_SENT, u->reason, true);
            submission_conclude(s, u->retry_after_ms);
        }
        s->withdrawn = false;
        break;
    case UPSTREAM_UNKNOWN:
        lost(s, u);
        break;
    }
    /* The answer is borrowed: REPLY runs before this returns, unless a kept message is waited for, which has none. */
    submission_resume(s);
}

/* --- ACT --------------------------------------------------------------------------- */

static bool *send_mask(struct submission *s, bool *any)
{
    bool *send = arena_calloc(s->arena, s->parsed.n_messages, sizeof(*send));

    *any = false;
    for (size_t i = 0; i < s->n_items && send != NULL; i++) {
        send[s->items[i].message->index] = s->items[i].send;
        *any |= s->items[i].send;
    }
    return send;
}

/* Counters that were lost meanwhile may have given the same slot to another. */
static bool slots_hold(const struct submission *s)
{
    for (size_t i = 0; i < s->n_items; i++) {
        const struct item *item = &s->items[i];
        if (item->send && item->reservation != 0 && !counters_holds(s->g->counters, item->reservation))
            return false;
    }
    return true;
}

static void send_to_sandbox(struct submission *s, const struct outgoing *out)
{
    struct wire_reply *reply = arena_alloc(s->arena, sizeof(*reply));
    char id[SID_MAX];

    snprintf(id, sizeof(id), "%s", submission_kept_id(s));
    if (reply == NULL || s->connector->accept(&s->parsed, &s->route, id, s->now_ms, s->arena, reply) != OK) {
        submission_sent_all(s, RESULT_NOT_SENT, "the submission needs more memory than one may have", false);
        submission_conclude(s, 0);
        submission_fail(s, FAULT_TOO_LARGE, "the submission needs more memory than one may have");
        return;
    }
    s->answer = (struct provider_answer){
        .status = reply->status, .fields = reply->fields, .n_fields = reply->n_fields, .body = reply->body};
    s->has_answer = true;
    submission_sent_all(s, RESULT_SANDBOX, "", false);
    submission_conclude_sandbox(s, out->body);
}

static void send_to_provider(struct submission *s, const struct outgoing *out, enum smtp_content seen)
{
    struct upstream_field fields[OUTGOING_FIELDS];

    for (size_t i = 0; i < out->n_fields; i++)
        fields[i] = (struct upstream_field){out->fields[i].name, out->fields[i].value};
    char *method = arena_strndup(s->arena, out->method.p, out->method.n);
    struct upstream_request r = {
        .method = method != NULL ? method : "POST",
        .path_and_query = out->path_and_query,
        .headers = fields,
        .n_headers = out->n_fields,
        .body = out->body,
        .envelope = out->envelope,
        .seen = seen,
        .at_most_once = out->at_most_once,
        .may_write = may_write,
        .may_write_arg = s,
    };
    s->waiting++;
    acting_enter(s);
    s->op = upstream_send(confs_upstream(s->conf, s->provider), &r, on_upstream, s);
}

/* Where the provider is to tell what becomes of a message that the application knows by our id; empty: nowhere. */
static struct slice callback_url(struct submission *s)
{
    const struct conf *conf = s->conf;

    if (s->deferred == NULL || !callbacks_relayed(conf, s->connector))
        return (struct slice){0};
    return slice_of(arena_printf(s->arena, "%s" CALLBACK_IN_PREFIX "%s/%.*s", conf->public_url, s->connector->name,
                                 SLICE_ARG(s->deferred->kept_id)));
}

/* The call to the provider, as its dialect writes it. */
struct upstream_call {
    struct submission *s;
    bool *send;
    struct forward_options options;
    struct outgoing out;
    enum smtp_content seen; /* of a mail */
    enum err built;
};

/* Runs beside the loop when the submission is long: of s only what the dialect reads, and the arena. */
static void build(void *arg)
{
    struct upstream_call *call = arg;
    struct submission *s = call->s;

    call->built =
        s->connector->forward(&s->wire, &s->route, &s->parsed, call->send, &call->options, s->arena, &call->out);
    if (call->built == OK && call->out.envelope != NULL)
        call->seen = smtp_client_look(call->out.body);
}

static enum step_next not_built(struct submission *s, enum err why)
{
    bool again = s->deferred != NULL && s->arena->starved;

    submission_sent_all(s, RESULT_NOT_SENT, "no request could be built from it", again);
    submission_conclude(s, 0);
    if (!again && why == ERR_LIMIT)
        submission_fail(s, FAULT_TOO_LARGE, "the submission needs more memory than one may have");
    else if (!again)
        submission_fail(s, FAULT_SYNTAX, "no request to the provider could be built: a value holds control characters");
    return STEP_WAIT; /* when there is something to wait for */
}

/* The last look and the first write, in one turn. */
static enum step_next leave(struct submission *s, const struct upstream_call *call)
{
    if (changed_meanwhile(s) || lapsed(s)) {
        submission_take_back(s, PROFILE_CHANGED);
        return STEP_DONE;
    }
    if (!slots_hold(s)) {
        submission_take_back(s, "its slot was lost before the first byte: decided again");
        return STEP_DONE;
    }
    if (call == NULL || call->built != OK)
        return not_built(s, call == NULL ? ERR_LIMIT : call->built);
    if (s->provider->connector == NULL) {
        send_to_sandbox(s, &call->out);
        return STEP_DONE;
    }
    send_to_provider(s, &call->out, call->seen);
    return STEP_WAIT;
}

static void on_built(void *arg)
{
    struct upstream_call *call = arg;

    ignore(leave(call->s, call)); /* what is waited for counts itself */
    submission_resume(call->s);
}

enum step_next submission_act(struct submission *s)
{
    bool any;
    bool *send = send_mask(s, &any);
    struct upstream_call *call = arena_alloc(s->arena, sizeof(*call));

    s->provider = conf_route(s->conf, s->connector);
    if (send != NULL && !any)
        return STEP_DONE;
    if (send == NULL || call == NULL)
        return leave(s, NULL);
    *call = (struct upstream_call){
        .s = s,
        .send = send,
        .options =
            {
                .login = &s->provider->login,
                .now_ms = s->now_ms > s->scheduled_ms ? s->now_ms : s->scheduled_ms,
                .own_callback = s->deferred != NULL,
                .callback_url = callback_url(s),
            },
    };
    if (s->wire.body.n <= LIMIT_READ_BYTES) {
        build(call);
        return leave(s, call);
    }
    s->aside = (struct aside_work){.run = build, .done = on_built, .arg = call};
    s->waiting++;
    aside_submit(s->g->aside, &s->aside);
    return STEP_WAIT;
}

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

/* A message that a provider did not take tries again after this. */
#define RETRY_MIN_MS INT64_C(5000)
#define RETRY_MAX_MS INT64_C(300000)

#define PROFILE_CHANGED "profile changed, or may have, before the first byte: decided again"

#define RESULT_AGAIN_MS 200 /* as often as the store looks for space */

/* --- results ------------------------------------------------------------------- */

/* A result is written behind the answer: it owns what it points to. */
struct posted {
    struct submission *waits;    /* NULL: nobody waits for it */
    struct submission *answers;  /* its answer goes to the client once it was tried; NULL: none */
    bool built;                  /* there is an answer */
    struct posted *next, **prev; /* among the gateway's unwritten, while it waits for space; else NULL */
    struct loop_task *again;
    struct gateway *g;
    struct conf *conf; /* held: names of keys, providers and categories are its texts */
    enum channel channel;
    int64_t notice_ms; /* a kept message is due then; 0 = none */
    struct arena arena;
    struct store_result result;
};

static void posted_free(struct posted *p)
{
    if (p->prev != NULL) {
        *p->prev = p->next;
        if (p->next != NULL)
            p->next->prev = p->prev;
    }
    loop_cancel(&p->again);
    confs_drop(&p->conf);
    arena_clear(&p->arena);
    free(p);
}

void submission_forget_unwritten(struct gateway *g)
{
    for (struct posted *p = g->unwritten, *next; p != NULL; p = next) {
        next = p->next;
        posted_free(p);
    }
}

static void on_again(void *arg)
{
    struct posted *p = arg;
    p->again = NULL;
    store_submit(p->g->store, &p->result.r);
}

/* A disk without space takes it later: what became of a message that is out must not stay untold until the restart. */
static bool waits_for_space(struct posted *p)
{
    const char *why;

    if (p->g->draining || store_health(p->g->store, &why) == STORE_FAILED)
        return false;
    if (p->prev == NULL) {
        p->next = p->g->unwritten;
        p->prev = &p->g->unwritten;
        if (p->next != NULL)
            p->next->prev = &p->next;
        p->g->unwritten = p;
    }
    p->again = loop_after(p->g->loop, RESULT_AGAIN_MS, on_again, p);
    return true;
}

static void on_posted(enum err status, void *arg)
{
    struct posted *p = arg;
    struct submission *s = p->waits;

    if (p->answers != NULL)
        submission_send(take(&p->answers), p->built);
    if (status == ERR_UNAVAILABLE && s == NULL && waits_for_space(p))
        return;
    if (status == ERR_UNAVAILABLE && s == NULL)
        log_line(LOG_ERROR_, NULL, "submission", "result_unwritten", "rows=%zu then=\"unknown after the restart\"",
                 p->result.n);
    if (status == OK && p->notice_ms != 0)
        releaser_notice(p->g->releaser, p->channel, p->notice_ms);
    if (s != NULL && status == OK)
        submission_key_settled(s, p->result.settlement);
    if (s != NULL && status != OK)
        submission_fail(s, FAULT_UNAVAILABLE, "the store of record cannot write; the message was not accepted");
    posted_free(p);
    if (s != NULL)
        submission_resume(s);
}

static struct posted *posted_new(struct submission *s, enum deferred_state settle_state)
{
    struct posted *p = xcalloc(1, sizeof(*p));

    p->g = s->g;
    p->conf = confs_hold(s->conf);
    p->channel = s->deferred != NULL ? s->deferred->channel : s->connector->channel;
    arena_init(&p->arena, SIZE_MAX);
    p->result = (struct store_result){
        .r = {.kind = STORE_RESULT, .cb = on_posted, .arg = p},
        .now_ms = clock_wall_ms(),
        .key = slice_of(s->key != NULL ? s->key->name : ""),
        .dialect = slice_of(s->connector != NULL ? s->connector->name : ""),
    };
    if (s->deferred != NULL && settle_state != DEFERRED_LEASED) {
        p->result.settles = s->deferred->id;
        p->result.fence = s->deferred->fence;
        p->result.settle_state = settle_state;
        p->result.settle_reason = s->end_reason;
        s->end_state = settle_state;
        s->settled = true;
    }
    return p;
}

static void post(struct posted *p)
{
    store_submit(p->g->store, &p->result.r);
}

/* The last word on what was sent: with a claimed key it waits for the answer, so that one commit takes both. */
static void post_last(struct submission *s, struct posted *p)
{
    if (s->claim != 0 && s->last == NULL && !s->again)
        s->last = p;
    else
        post(p);
}

void submission_post_answer(struct submission *s, bool built)
{
    struct posted *p = s->last != NULL ? take(&s->last) : posted_new(s, DEFERRED_LEASED);
    struct wire_reply *w = arena_calloc(&p->arena, 1, sizeof(*w));
    struct key_settlement *k;

    ensure(w != NULL);
    if (built)
        *w = *s->reply;
    k = submission_settlement(s, w, &p->arena);
    ensure(k != NULL);
    if (!built && !s->faulted)
        k->becomes = KEY_STANDS;
    /* What the provider answered is borrowed until this returns. */
    w->body = arena_slice(&p->arena, w->body);
    for (size_t i = 0; i < w->n_fields; i++)
        w->fields[i] = (struct wire_field){k->answer.fields[i].name, k->answer.fields[i].value};
    s->reply = w;
    p->result.settlement = k;
    p->answers = s;
    p->built = built;
    post(p);
}

/* One row for each message that was to be sent. */
static struct record_result *result_rows(struct submission *s, struct posted *p, enum result result, const char *detail)
{
    struct record_result *rows = arena_calloc(&p->arena, s->n_items, sizeof(*rows));
    size_t n = 0;

    ensure(rows != NULL);
    for (size_t i = 0; i < s->n_items; i++) {
        const struct item *item = &s->items[i];
        const struct category *category = item->message->category;
        bool may_be_out = result == RESULT_FORWARDED || result == RESULT_SANDBOX || result == RESULT_UNKNOWN;
        if (!item->send)
            continue;
        rows[n++] = (struct record_result){
            .decision = item->id,
            .result = result,
            .provider_status = s->has_answer ? s->answer.status : 0,
            .provider = slice_of(s->provider->name),
            .detail = arena_slice(&p->arena, slice_of(detail)),
            .counts = may_be_out && category->counts != COUNTS_NOWHERE && !s->parsed.sandbox_mode,
            .contact_hash = item->contact_hash,
            .subject_id = message_subject_id(item->message),
            .channel = item->message->channel,
            .class = category->class,
            .category = slice_of(category->name),
            .counts_in_any_only = category->counts == COUNTS_IN_ANY,
        };
        metrics_result(s->g->metrics, s->provider->name, result, s->has_answer ? s->answer.status : 0);
    }
    p->result.results = rows;
    p->result.n = n;
    return rows;
}

/* Slots become sends, or are given back. */
static void settle_slots(struct submission *s, bool sent)
{
    for (size_t i = 0; i < s->n_items; i++) {
        struct item *item = &s->items[i];
        if (!sent || !item->send)
            submission_release_slot(s, item);
        else if (item->reservation != 0)
            counters_commit(s->g->counters, item->reservation, s->now_ms);
        if (sent && item->send && !s->unknown)
            metrics_sent(s->g->metrics, &item->profile, &item->decision);
        if (sent && item->send)
            duplicates_note(s->g->duplicates, item->contact_hash, item->message->fingerprint, s->now_ms);
        item->reservation = 0;
    }
}

static void post_results(struct submission *s, enum result result, const struct slice *provider_id, const char *detail,
                         enum deferred_state end)
{
    struct posted *p = posted_new(s, end);
    struct record_result *rows = result_rows(s, p, result, detail);

    for (size_t i = 0; i < p->result.n && provider_id != NULL; i++)
        rows[i].provider_id = arena_slice(&p->arena, *provider_id);
    post_last(s, p);
}

void submission_give_back(struct submission *s)
{
    bool passing = s->fault.kind == FAULT_UNAVAILABLE;
    struct posted *p = posted_new(s, passing ? DEFERRED_WAITING : DEFERRED_ENDED);

    p->result.settle_release_at_ms = clock_wall_ms() + RETRY_MIN_MS;
    p->notice_ms = passing ? p->result.settle_release_at_ms : 0;
    post(p);
}

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

static void take_back(struct submission *s, const char *why)
{
    s->again = true;
    post_results(s, RESULT_NOT_SENT, NULL, why, DEFERRED_LEASED);
    settle_slots(s, false);
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
        take_back(s, PROFILE_CHANGED);
        submission_resume(s);
    }
}

/* --- the provider is down ---------------------------------------------------------- */

/* When the provider says, else after a time that doubles with each try. */
static int64_t retry_at(const struct submission *s, int64_t retry_after_ms)
{
    uint32_t attempts = s->deferred != NULL ? s->deferred->attempts : 0;
    int64_t wait = RETRY_MIN_MS << (attempts < 10 ? attempts : 10);

    if (wait > RETRY_MAX_MS)
        wait = RETRY_MAX_MS;
    return clock_wall_ms() + (retry_after_ms > 0 ? retry_after_ms : wait);
}

static bool can_wait(const struct item *item, int64_t until_ms)
{
    return item->decision.expires_at_ms != 0 && until_ms < item->decision.expires_at_ms;
}

/* A released message goes back into the queue, or ends when it would expire there. */
static void retry_release(struct submission *s, int64_t at_ms, const char *detail)
{
    bool waits = can_wait(&s->items[0], at_ms);
    s->end_reason = waits ? REASON_NONE : REASON_EXPIRED;
    struct posted *p = posted_new(s, waits ? DEFERRED_WAITING : DEFERRED_ENDED);

    (void)result_rows(s, p, RESULT_NOT_SENT, waits ? detail : "expired while the provider was unavailable");
    p->result.settle_release_at_ms = at_ms;
    p->notice_ms = waits ? at_ms : 0;
    p->waits = s;
    s->waiting++;
    post(p);
}

/* The answer that says so, for a claimed key; NULL: none, or none could be made. */
static struct key_settlement *kept_settlement(struct submission *s, struct posted *p)
{
    struct wire_reply *w = s->claim != 0 ? arena_calloc(s->arena, 1, sizeof(*w)) : NULL;

    if (w == NULL || !submission_answer(s, false, w))
        return NULL;
    s->reply = w;
    return submission_settlement(s, w, &p->arena);
}

/* A new message is kept, durably, before the client hears of it. */
static void keep_new(struct submission *s, int64_t at_ms, const char *detail)
{
    struct posted *p = posted_new(s, DEFERRED_LEASED);
    struct record_result *rows = result_rows(s, p, RESULT_NOT_SENT, detail);
    size_t row = 0, kept = 0;

    for (size_t i = 0; i < s->n_items; i++) {
        struct item *item = &s->items[i];
        if (!item->send)
            continue;
        struct record_result *r = &rows[row++];
        if (!can_wait(item, at_ms) || s->parsed.sandbox_mode)
            continue;
        struct deferred *d = arena_alloc(&p->arena, sizeof(*d));
        ensure(d != NULL);
        item->decision.outcome = OUTCOME_DEFER;
        item->decision.reason = REASON_UPSTREAM_DOWN;
        item->decision.release_at_ms = at_ms;
        submission_keep(s, item, DEFERRED_RETRY, at_ms, d);
        item->kept = true;
        r->result = RESULT_DEFERRED;
        r->deferred = d;
        kept++;
    }
    s->queued_now = kept > 0;
    if (kept == 0) {
        submission_fail(s, FAULT_UPSTREAM_DOWN, "upstream provider unavailable, message not accepted");
    } else {
        p->result.submission = submission_stored(s);
        s->has_answer = false; /* on record; the client hears what became of the message instead */
        p->result.settlement = kept_settlement(s, p);
        p->notice_ms = at_ms;
        p->waits = s;
        s->waiting++;
    }
    post(p);
}

static void not_sent(struct submission *s, int64_t retry_after_ms, const char *detail)
{
    int64_t at_ms = retry_at(s, retry_after_ms);

    settle_slots(s, false);
    if (s->deferred != NULL)
        retry_release(s, at_ms, detail);
    else
        keep_new(s, at_ms, detail);
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

static void refused_there(struct submission *s, const struct send_result *r)
{
    for (size_t i = 0; i < s->n_items && r->status == SEND_OPTED_OUT; i++) {
        const struct message *m = s->items[i].message;
        if (s->items[i].send)
            revocation_by_provider(s->g, &m->to, m->channel, m->sender, s->provider->name);
    }
    s->end_reason = r->status == SEND_OPTED_OUT ? REASON_OPTED_OUT : REASON_NONE;
    post_results(s, RESULT_REFUSED, &r->provider_id, "refused by the provider", DEFERRED_ENDED);
    settle_slots(s, false);
}

static void unknown(struct submission *s, const char *detail)
{
    s->unknown = true;
    post_results(s, RESULT_UNKNOWN, NULL, detail, DEFERRED_ENDED);
    settle_slots(s, true);
}

static void answered(struct submission *s, const struct upstream_result *u)
{
    struct send_result r = {0};
    bool email = s->connector->channel == CHANNEL_EMAIL;

    s->connector->classify(&s->answer, 0, &r);
    switch (r.status) {
    case SEND_ACCEPTED:
        post_results(s, RESULT_FORWARDED, &r.provider_id, "", DEFERRED_RELEASED);
        settle_slots(s, true);
        return;
    case SEND_REFUSED:
    case SEND_OPTED_OUT:
        refused_there(s, &r);
        return;
    case SEND_RETRY:
        /* A new submission's sender hears the provider's own 429; a released message waits as it says. */
        if (s->deferred != NULL) {
            not_sent(s, u->retry_after_ms, "the provider asks to slow down");
            return;
        }
        post_results(s, RESULT_NOT_SENT, NULL, "the provider asks to slow down", DEFERRED_LEASED);
        settle_slots(s, false);
        return;
    case SEND_UNKNOWN:
        /* E-mail is sent at least once, an SMS at most once (semantics 11). */
        if (email)
            not_sent(s, u->retry_after_ms, "the provider answered with a server error: it may have been sent");
        else
            unknown(s, "the provider answered with a server error: it may have been sent");
        s->has_answer = false; /* likewise */
        return;
    }
    never("a send status");
}

static void on_upstream(void *arg, const struct upstream_result *u)
{
    struct submission *s = arg;

    s->op = NULL;
    acting_leave(s);
    switch (u->status) {
    case UPSTREAM_ANSWERED: {
        struct wire_field *fields = arena_calloc(s->arena, u->n_headers, sizeof(*fields));
        for (size_t i = 0; fields != NULL && i < u->n_headers; i++)
            fields[i] = (struct wire_field){u->headers[i].name, u->headers[i].value};
        s->answer = (struct provider_answer){
            .status = u->http_status, .fields = fields, .n_fields = fields != NULL ? u->n_headers : 0, .body = u->body};
        s->has_answer = true;
        answered(s, u);
        break;
    }
    case UPSTREAM_NOT_SENT:
        if (s->withdrawn)
            take_back(s, PROFILE_CHANGED);
        else
            not_sent(s, u->retry_after_ms, u->reason);
        s->withdrawn = false;
        break;
    case UPSTREAM_UNKNOWN:
        unknown(s, u->reason);
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
    struct sandbox_message *rows;
    char id[SID_MAX];
    size_t n = 0;

    snprintf(id, sizeof(id), "%s", submission_kept_id(s));
    if (reply == NULL || s->connector->accept(&s->parsed, &s->route, id, s->now_ms, s->arena, reply) != OK) {
        post_results(s, RESULT_NOT_SENT, NULL, "the submission needs more memory than one may have", DEFERRED_ENDED);
        submission_fail(s, FAULT_TOO_LARGE, "the submission needs more memory than one may have");
        return;
    }
    struct posted *p = posted_new(s, DEFERRED_RELEASED);
    s->answer = (struct provider_answer){
        .status = reply->status, .fields = reply->fields, .n_fields = reply->n_fields, .body = reply->body};
    s->has_answer = true;
    (void)result_rows(s, p, RESULT_SANDBOX, "");
    rows = arena_calloc(&p->arena, s->n_items, sizeof(*rows));
    ensure(rows != NULL);
    struct slice head = {out->body.p, out->body.n < LIMIT_SANDBOX_BODY_BYTES ? out->body.n : LIMIT_SANDBOX_BODY_BYTES};
    struct slice body = arena_slice(&p->arena, head);
    for (size_t i = 0; i < s->n_items; i++) {
        const struct item *item = &s->items[i];
        if (!item->send || s->parsed.sandbox_mode)
            continue;
        rows[n++] = (struct sandbox_message){
            .at_ms = s->now_ms,
            .decision = item->id,
            .dialect = slice_of(s->connector->name),
            .category = slice_of(item->message->category->name),
            .channel = item->message->channel,
            .to = arena_slice(&p->arena, item->message->to_text),
            .from = arena_slice(&p->arena, s->parsed.from),
            .subject = arena_slice(&p->arena, s->parsed.subject),
            .text = arena_slice(&p->arena, s->parsed.text),
            .body = body,
        };
    }
    p->result.sandbox = rows;
    p->result.n_sandbox = n;
    post_last(s, p);
    settle_slots(s, true);
}

static void send_to_provider(struct submission *s, const struct outgoing *out)
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

enum step_next submission_act(struct submission *s)
{
    struct outgoing out = {0};
    bool any;
    bool *send = send_mask(s, &any);

    s->provider = conf_route(s->conf, s->connector);
    if (send != NULL && !any)
        return STEP_DONE;
    if (changed_meanwhile(s) || lapsed(s)) {
        take_back(s, PROFILE_CHANGED);
        return STEP_DONE;
    }
    if (!slots_hold(s)) {
        take_back(s, "its slot was lost before the first byte: decided again");
        return STEP_DONE;
    }
    struct forward_options options = {
        .login = &s->provider->login,
        .now_ms = s->now_ms > s->scheduled_ms ? s->now_ms : s->scheduled_ms,
        .own_callback = s->deferred != NULL,
        .callback_url = callback_url(s),
    };
    if (send == NULL || s->connector->forward(&s->wire, &s->route, &s->parsed, send, &options, s->arena, &out) != OK) {
        post_results(s, RESULT_NOT_SENT, NULL, "no request could be built from it", DEFERRED_ENDED);
        submission_fail(s, FAULT_SYNTAX, "no request to the provider could be built: a value holds control characters");
        return STEP_DONE;
    }
    if (s->provider->connector == NULL) {
        send_to_sandbox(s, &out);
        return STEP_DONE;
    }
    send_to_provider(s, &out);
    return STEP_WAIT;
}

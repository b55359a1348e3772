/*
 * What became of each message that was to be sent: on record, its slot settled,
 * kept when it may be tried again.  Knows no dialect and no provider; the one idea:
 * a result is one transaction with all that follows from it (the row that waits
 * again, the answer under an idempotency key, the report to the sender).
 */
#include "submission_parts.h"

#include <stdlib.h>

#include "duplicates.h"
#include "postern/clock.h"
#include "postern/log.h"
#include "release.h"
#include "report.h"

/* What a provider did not take tries again after this, doubled with each try. */
#define RETRY_MIN_MS INT64_C(5000)
#define RETRY_MAX_MS INT64_C(300000)
/* A relay's "later" is meant in minutes (greylisting); the end is Postfix's maximal_backoff_time. */
#define RELAY_MIN_MS INT64_C(60000)
#define RELAY_MAX_MS INT64_C(4000000)

#define RESULT_AGAIN_MS 200 /* as often as the store looks for space */

/* A result is written behind the answer: it owns what it points to. */
struct posted {
    struct submission *waits;    /* NULL: nobody waits for it */
    struct submission *answers;  /* its answer goes to the client once it was tried; NULL: none */
    bool built;                  /* there is an answer */
    struct posted *next, **prev; /* among the gateway's unwritten, while it waits for space; else NULL */
    struct loop_task *again;
    struct gateway *g;
    struct conf *conf;                 /* held: names of keys, providers and categories are its texts */
    const struct connector *connector; /* NULL: its dialect is not known any more */
    int64_t notice_ms;                 /* a kept message is due then; 0 = none */
    struct arena arena;
    struct record_result *rows; /* of the result */
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

/* The client hears that it was not accepted: nothing of it is kept, and it may come again, once that can be written. */
static void keep_nothing(struct posted *p, struct submission *s)
{
    for (size_t i = 0; i < p->result.n; i++) {
        p->rows[i].deferred = NULL;
        if (p->rows[i].result == RESULT_DEFERRED)
            p->rows[i].result = RESULT_NOT_SENT;
    }
    p->result.submission = NULL;
    p->result.settlement = NULL;
    p->result.report = NULL;
    p->notice_ms = 0;
    p->result.forgets = submission_mail_refused(s, &p->arena);
}

static void on_posted(enum err status, void *arg)
{
    struct posted *p = arg;
    struct submission *s = take(&p->waits);
    bool again = s == NULL || s->deferred == NULL; /* a lease that is not settled ends with the submission */

    if (p->answers != NULL && p->result.report != NULL && status != OK)
        submission_send_unrecorded(take(&p->answers)); /* nobody would hear of who got nothing */
    else if (p->answers != NULL)
        submission_send(take(&p->answers), p->built);
    if (s != NULL && status != OK) {
        submission_fail(s, FAULT_UNAVAILABLE, "the store of record cannot write; the message was not accepted");
        keep_nothing(p, s);
    } else if (s != NULL) {
        submission_key_settled(s, p->result.settlement);
    }
    again = again && status == ERR_UNAVAILABLE && waits_for_space(p);
    if (status == ERR_UNAVAILABLE && s == NULL && !again)
        log_line(LOG_ERROR_, NULL, "submission", "result_unwritten", "rows=%zu then=\"unknown after the restart\"",
                 p->result.n);
    if (status == OK && p->notice_ms != 0)
        releaser_notice(p->g->releaser, p->connector, p->notice_ms);
    if (status == OK && p->result.report != NULL)
        releaser_notice(p->g->releaser, p->connector, p->result.report->deferred.release_at_ms);
    if (!again)
        posted_free(p);
    if (s != NULL)
        submission_resume(s);
}

static struct posted *posted_new(struct submission *s, enum deferred_state settle_state)
{
    struct posted *p = xcalloc(1, sizeof(*p));

    p->g = s->g;
    p->conf = confs_hold(s->conf);
    p->connector = s->connector;
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
    p->result.r.may_linger = p->waits == NULL && p->answers == NULL && p->result.settles == 0 && p->notice_ms == 0;
    store_submit(p->g->store, &p->result.r);
}

/* The last word on what was sent: with a claimed key, or a report, it waits for the answer: one commit takes them all.
 */
static void post_last(struct submission *s, struct posted *p)
{
    bool with_answer = s->claim != 0 || submission_owes_report(s);

    if (with_answer && s->last == NULL && !s->again)
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
    p->result.settlement = s->claim != 0 ? k : NULL;
    p->result.report = submission_report(s, &p->arena);
    p->answers = s;
    p->built = built;
    post(p);
}

static bool may_be_out(enum result result)
{
    return result == RESULT_FORWARDED || result == RESULT_SANDBOX || result == RESULT_UNKNOWN;
}

/* One row for each message that was to be sent. */
static struct record_result *result_rows(struct submission *s, struct posted *p)
{
    struct record_result *rows = arena_calloc(&p->arena, s->n_items, sizeof(*rows));
    size_t n = 0;

    ensure(rows != NULL);
    for (size_t i = 0; i < s->n_items; i++) {
        const struct item *item = &s->items[i];
        const struct sent *sent = &item->sent;
        const struct category *category = item->message->category;
        if (!item->send)
            continue;
        rows[n++] = (struct record_result){
            .decision = item->id,
            .result = sent->result,
            .provider_status = sent->status,
            .provider = slice_of(s->provider->name),
            .provider_id = arena_slice(&p->arena, sent->provider_id),
            .detail = arena_slice(&p->arena, slice_of(sent->detail)),
            .counts = may_be_out(sent->result) && category->counts != COUNTS_NOWHERE && !s->parsed.sandbox_mode,
            .contact_hash = item->contact_hash,
            .subject_id = message_subject_id(item->message),
            .channel = item->message->channel,
            .class = category->class,
            .category = slice_of(category->name),
            .counts_in_any_only = category->counts == COUNTS_IN_ANY,
        };
        metrics_result(s->g->metrics, s->provider->name, sent->result, sent->status);
    }
    p->rows = rows;
    p->result.results = rows;
    p->result.n = n;
    return rows;
}

/* Slots become sends, or are given back. */
static void settle_slots(struct submission *s)
{
    for (size_t i = 0; i < s->n_items; i++) {
        struct item *item = &s->items[i];
        bool out = item->send && may_be_out(item->sent.result);
        if (!out)
            submission_release_slot(s, item);
        else if (item->reservation != 0)
            counters_commit(s->g->counters, item->reservation, s->now_ms);
        if (out && item->sent.result != RESULT_UNKNOWN)
            metrics_sent(s->g->metrics, &item->profile, &item->decision);
        if (out)
            duplicates_note(s->g->duplicates, item->contact_hash, item->message->fingerprint, s->now_ms);
        item->reservation = 0;
    }
}

void submission_sent_all(struct submission *s, enum result result, const char *detail, bool again)
{
    for (size_t i = 0; i < s->n_items; i++)
        s->items[i].sent = (struct sent){
            .result = result, .detail = detail, .status = s->has_answer ? s->answer.status : 0, .again = again};
}

void submission_take_back(struct submission *s, const char *why)
{
    s->again = true;
    submission_sent_all(s, RESULT_NOT_SENT, why, false);
    struct posted *p = posted_new(s, DEFERRED_LEASED);
    (void)result_rows(s, p);
    p->result.forgets = submission_mail_forgets(s, &p->arena);
    post(p);
    settle_slots(s);
}

void submission_give_back(struct submission *s)
{
    bool passing = s->fault.kind == FAULT_UNAVAILABLE;
    struct posted *p = posted_new(s, passing ? DEFERRED_WAITING : DEFERRED_ENDED);

    p->result.settle_release_at_ms = clock_wall_ms() + RETRY_MIN_MS;
    p->notice_ms = passing ? p->result.settle_release_at_ms : 0;
    if (!passing)
        p->result.report = report_of_ended(p->conf, s->deferred, s->fault.message.text, p->result.now_ms, &p->arena);
    post(p);
}

/* --- once more, later ------------------------------------------------------------------ */

/* When the provider says, else after a time that doubles with each try. */
static int64_t retry_at(const struct submission *s, int64_t retry_after_ms)
{
    bool relay = s->connector->transport == TRANSPORT_SMTP;
    uint32_t attempts = s->deferred != NULL ? s->deferred->attempts : 0;
    int64_t wait = (relay ? RELAY_MIN_MS : RETRY_MIN_MS) << (attempts < 10 ? attempts : 10);
    int64_t max = relay ? RELAY_MAX_MS : RETRY_MAX_MS;

    if (wait > max)
        wait = max;
    return clock_wall_ms() + (retry_after_ms > 0 ? retry_after_ms : wait);
}

/* Until when that may go on; 0: not at all.  A mail has the days that its sender's own server would have given it. */
static int64_t retry_until(const struct submission *s, const struct item *item)
{
    int64_t until_ms = item->decision.expires_at_ms;

    if (s->connector->transport == TRANSPORT_SMTP && until_ms != 0 && item->message->expires_at_ms == 0)
        until_ms = s->now_ms + LIMIT_MAIL_RETRY_MS;
    return until_ms;
}

/* A released message goes back into the queue, or ends, when it would expire there too. */
static void conclude_release(struct submission *s, int64_t at_ms)
{
    struct item *item = &s->items[0];
    bool waits = item->sent.again && at_ms < retry_until(s, item);
    bool out = item->sent.result == RESULT_FORWARDED || item->sent.result == RESULT_SANDBOX;

    if (item->sent.again && !waits) {
        item->sent.detail = "expired while the provider was unavailable";
        s->end_reason = REASON_EXPIRED;
    }
    struct posted *p = posted_new(s, waits ? DEFERRED_WAITING : out ? DEFERRED_RELEASED : DEFERRED_ENDED);
    (void)result_rows(s, p);
    if (waits) {
        p->result.settle_release_at_ms = at_ms;
        p->notice_ms = at_ms;
    } else {
        p->result.report = submission_report(s, &p->arena);
    }
    if (item->sent.again) {
        p->waits = s;
        s->waiting++;
    }
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

/* A row for each new message that is tried again; how many. */
static size_t keep_rows(struct submission *s, struct posted *p, struct record_result *rows, int64_t at_ms)
{
    size_t row = 0, kept = 0;

    for (size_t i = 0; i < s->n_items; i++) {
        struct item *item = &s->items[i];
        if (!item->send)
            continue;
        struct record_result *r = &rows[row++];
        if (!item->sent.again || at_ms >= retry_until(s, item) || s->parsed.sandbox_mode)
            continue;
        struct deferred *d = arena_alloc(&p->arena, sizeof(*d));
        ensure(d != NULL);
        submission_keep(s, item, DEFERRED_RETRY, at_ms, d);
        d->expires_at_ms = retry_until(s, item);
        item->decision.outcome = OUTCOME_DEFER;
        item->decision.reason = REASON_UPSTREAM_DOWN;
        item->decision.release_at_ms = at_ms;
        item->kept = true;
        if (r->result == RESULT_NOT_SENT)
            r->result = RESULT_DEFERRED;
        r->deferred = d;
        kept++;
    }
    return kept;
}

static bool any_answered(const struct submission *s)
{
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i].send && (s->items[i].sent.answer != NULL || !s->items[i].sent.again))
            return true;
    }
    return false;
}

/* A new message is kept, durably, before the client hears of it. */
static void conclude_new(struct submission *s, int64_t at_ms)
{
    struct posted *p = posted_new(s, DEFERRED_LEASED);
    struct record_result *rows = result_rows(s, p);
    size_t kept = keep_rows(s, p, rows, at_ms);

    s->queued_now = kept > 0;
    if (kept == 0 && !any_answered(s))
        submission_fail(s, FAULT_UPSTREAM_DOWN, "upstream provider unavailable, message not accepted");
    p->result.forgets = submission_mail_forgets(s, &p->arena);
    if (kept == 0) {
        post_last(s, p);
        return;
    }
    p->result.submission = submission_stored(s);
    if (s->connector->transport == TRANSPORT_HTTP)
        s->has_answer = false; /* on record; the client hears what became of the message instead */
    p->result.settlement = kept_settlement(s, p);
    p->result.report = submission_report(s, &p->arena);
    p->notice_ms = at_ms;
    p->waits = s;
    s->waiting++;
    post(p);
}

void submission_conclude(struct submission *s, int64_t retry_after_ms)
{
    int64_t at_ms = retry_at(s, retry_after_ms);

    settle_slots(s);
    if (s->deferred != NULL)
        conclude_release(s, at_ms);
    else
        conclude_new(s, at_ms);
}

/* --- the sandbox ------------------------------------------------------------------------- */

void submission_conclude_sandbox(struct submission *s, struct slice out_body)
{
    struct posted *p = posted_new(s, DEFERRED_RELEASED);
    struct sandbox_message *rows = arena_calloc(&p->arena, s->n_items, sizeof(*rows));
    struct shown_content shown;
    size_t n = 0;

    ensure(rows != NULL);
    submission_show(s, out_body, &p->arena, &shown);
    (void)result_rows(s, p);
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
            .subject = shown.subject,
            .text = shown.text,
            .body = shown.body,
        };
    }
    p->result.sandbox = rows;
    p->result.n_sandbox = n;
    post_last(s, p);
    settle_slots(s);
}

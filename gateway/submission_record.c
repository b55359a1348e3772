/*
 * RECORD: every decision becomes a durable row, in one group commit, before
 * anything leaves.  What is to wait is kept in the same transaction: from the
 * commit on, Postern owes it to the client.
 */
#include "submission_parts.h"

#include <stdio.h>

#include "callback.h"
#include "postern/clock.h"
#include "postern/hash.h"
#include "postern/log.h"
#include "release.h"

/* Messages that wait for the same opening are spread over this time (semantics 6, Release). */
#define JITTER_MS 120000

/* Header fields without which a kept submission would read differently later.  Never credentials. */
static bool worth_keeping(struct slice name)
{
    static const struct slice names[] = {
        SLICE_INIT("content-type"),   SLICE_INIT("user-agent"),   SLICE_INIT("accept"),
        SLICE_INIT("accept-charset"), SLICE_INIT("on-behalf-of"), SLICE_INIT("idempotency-key"),
        SLICE_INIT("mail"),           SLICE_INIT("rcpt"),         SLICE_INIT("client")};
    if (slice_ieq_any(name, names, N_ELEMENTS(names)))
        return true;
    struct slice head = {name.p, name.n < 10 ? name.n : 10};
    return slice_ieq(head, SLICE("x-postern-")) && !slice_ieq(name, SLICE("x-postern-override"));
}

const struct stored_submission *submission_stored(struct submission *s)
{
    struct stored_submission *out = &s->stored;
    if (out->dialect.p != NULL)
        return out;
    struct stored_field *fields = arena_calloc(s->arena, s->wire.n_fields, sizeof(*fields));
    size_t n = 0;
    for (size_t i = 0; fields != NULL && i < s->wire.n_fields; i++) {
        if (worth_keeping(s->wire.fields[i].name))
            fields[n++] = (struct stored_field){s->wire.fields[i].name, s->wire.fields[i].value};
    }
    if (fields == NULL)
        return NULL;
    *out = (struct stored_submission){
        .dialect = slice_of(s->connector->name),
        .method = s->wire.method,
        .path = s->wire.path,
        .query = s->wire.query,
        .fields = fields,
        .n_fields = n,
        .body = s->wire.body,
    };
    return out;
}

const char *submission_kept_id(struct submission *s)
{
    if (s->kept_id[0] == '\0') {
        uint8_t random[16];
        hash_random(random, sizeof(random));
        s->connector->mint_id(&s->parsed, random, s->kept_id);
    }
    return s->kept_id;
}

/* The id of one of its messages, where each has its own. */
static struct slice message_id(struct submission *s, uint32_t index)
{
    const char *whole = submission_kept_id(s);
    char *own = s->connector->message_id != NULL ? arena_alloc(s->arena, SID_MAX) : NULL;

    if (own == NULL)
        return slice_of(whole);
    s->connector->message_id(whole, index, own);
    return slice_of(own);
}

void submission_keep(struct submission *s, const struct item *item, enum deferred_kind kind, int64_t due_ms,
                     struct deferred *out)
{
    const struct message *m = item->message;
    const struct decision *d = &item->decision;
    const struct deferred *before = s->deferred;

    *out = (struct deferred){
        .decision = item->id,
        .kind = kind,
        .state = DEFERRED_WAITING,
        .message_index = m->index,
        .kept_id = before != NULL ? before->kept_id : message_id(s, m->index),
        .key = slice_of(s->key->name),
        .account = s->route.account,
        .contact_id = item->profile.contact_id,
        .to = m->to,
        .channel = m->channel,
        .category = slice_of(m->category->name),
        .class = m->category->class,
        .priority = m->priority,
        .reason = kind == DEFERRED_RETRY ? REASON_UPSTREAM_DOWN : d->reason,
        .batch_id = s->parsed.batch_id,
        .collapse_key = m->collapse_key,
        .local_rule = slice_of(d->local_rule),
        .enqueued_at_ms = before != NULL ? before->enqueued_at_ms : s->now_ms,
        .updated_at_ms = s->now_ms,
        .release_at_ms = due_ms,
        .expires_at_ms = d->expires_at_ms,
        .deferrals = (before != NULL ? before->deferrals : 0) + (kind == DEFERRED_RETRY ? 0 : 1),
    };
}

/* A message's share of the spread: inside window and expiry, none unless many wait for the same opening. */
static int64_t spread_ms(const struct item *item)
{
    const struct decision *d = &item->decision;
    int64_t spread = (int64_t)(item->id * UINT64_C(0x9E3779B97F4A7C15) >> 33) % JITTER_MS;

    if (strcmp(reason_family(d->reason), "QUIET") != 0)
        return 0;
    if (d->window_end_ms != 0 && spread >= d->window_end_ms - d->release_at_ms)
        spread = d->window_end_ms - d->release_at_ms - 1;
    if (d->expires_at_ms != 0 && spread > d->expires_at_ms - d->release_at_ms)
        spread = d->expires_at_ms - d->release_at_ms;
    return spread > 0 ? spread : 0;
}

static bool kind_of(enum outcome o, enum deferred_kind *kind)
{
    switch (o) {
    case OUTCOME_DEFER:
        *kind = DEFERRED_TIMED;
        return true;
    case OUTCOME_DIGEST:
        *kind = DEFERRED_DIGEST;
        return true;
    case OUTCOME_HOLD:
        *kind = DEFERRED_HELD;
        return true;
    case OUTCOME_FORWARD:
    case OUTCOME_REDIRECT:
    case OUTCOME_SOFT_BLOCK:
    case OUTCOME_BLOCK:
        return false;
    case OUTCOME_N:
        break;
    }
    never("an outcome");
}

static void add_name(struct buf *b, const char *name)
{
    buf_add(b, ",\"", 2);
    buf_add_cstr(b, name);
    buf_add(b, "\":", 2);
}

static void add_text(struct buf *b, const char *name, struct slice value)
{
    if (value.n == 0)
        return;
    add_name(b, name);
    buf_add_json(b, value);
}

static void add_ms(struct buf *b, const char *name, int64_t ms)
{
    if (ms == 0)
        return;
    add_name(b, name);
    buf_add(b, "-", ms < 0);
    buf_add_u64(b, ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms);
}

/* The sender is read by an opt-out that names one, and may be a person's: its digest tells whether it was that one. */
static bool sender_was_read(const struct profile *p)
{
    for (size_t i = 0; i < p->n_opt_outs; i++) {
        if (p->opt_outs[i].sender.n > 0)
            return true;
    }
    return false;
}

/* What the message says of itself that rules read and the row does not hold elsewhere: for a replay of the decision. */
static void add_message(struct buf *b, const struct submission *s, const struct item *item)
{
    const struct message *m = item->message;

    add_text(b, "topic", m->topic);
    add_text(b, "language", m->form.language);
    add_text(b, "format", m->form.format);
    add_text(b, "formality", m->form.formality);
    add_text(b, "technical_depth", m->form.technical_depth);
    submission_add_content(b, item);
    add_ms(b, "not_before_ms", m->not_before_ms);
    add_ms(b, "expires_ms", m->expires_at_ms);
    add_ms(b, "same_content_ms", item->profile.last_same_content_ms);
    if (sender_was_read(&item->profile))
        buf_printf(b, ",\"sender\":%u", slice_id(m->sender));
    if (s->parsed.sandbox_mode)
        buf_add_cstr(b, ",\"sandbox_mode\":true");
    if (item->facts.counters_down)
        buf_add_cstr(b, ",\"counters_down\":true");
    if (item->facts.profile_stale)
        buf_add_cstr(b, ",\"profile_stale\":true");
}

/* What the rules read, for whoever asks later why: no addresses. */
static struct slice facts_json(struct submission *s, const struct item *item)
{
    const struct facts *f = &item->facts;
    struct buf b;

    buf_init(&b, s->arena, 4096);
    buf_add_cstr(&b, "{\"profile_version\":");
    buf_add_u64(&b, item->profile.version);
    buf_add_cstr(&b, item->profile.known == KNOWN ? ",\"contact_known\":true" : ",\"contact_known\":false");
    if (s->deferred != NULL)
        buf_printf(&b, ",\"deferrals\":%u", s->deferred->deferrals);
    add_message(&b, s, item);
    if (s->parsed.bypass_asked)
        buf_add_cstr(&b, ",\"bypass_refused\":true");
    if (f->counts_known == KNOWN) {
        buf_add_cstr(&b, ",\"caps\":[");
        for (size_t i = 0; i < f->n_checks; i++) {
            buf_add_cstr(&b, i == 0 ? "{\"cap\":" : ",{\"cap\":");
            buf_add_json(&b, slice_of(f->checks[i].cap->name));
            buf_printf(&b, ",\"count\":%d,\"limit\":%d}", f->counts[i].count, f->checks[i].limit);
        }
        buf_add_cstr(&b, "]");
    }
    buf_add_cstr(&b, "}");
    return b.failed ? (struct slice){0} : buf_slice(&b);
}

/* All or nothing, when the key wants it so. */
static void apply_partial(struct submission *s)
{
    size_t passing = 0;

    for (size_t i = 0; i < s->n_items; i++)
        passing += s->items[i].decision.outcome <= OUTCOME_DIGEST;
    s->partial_reject = s->deferred == NULL && s->key->partial == PARTIAL_REJECT && passing < s->n_items && passing > 0;
}

struct recording {
    struct submission *s;
    struct store_record record;
};

static void on_recorded(enum err status, void *arg)
{
    struct recording *r = arg;
    struct submission *s = r->s;

    if (status == ERR_CONFLICT && r->record.mail != NULL) {
        submission_mail_known(s);
    } else if (status == ERR_CONFLICT && s->deferred != NULL) {
        submission_fail(s, FAULT_CONFLICT, "the lease ran out: the message is another's now");
    } else if (status != OK) {
        submission_fail(s, FAULT_UNAVAILABLE, "the store of record cannot write; nothing was accepted");
    } else {
        s->settled = s->deferred != NULL && !s->items[0].send;
        s->end_reason = s->settled ? s->items[0].decision.reason : REASON_NONE;
        submission_key_settled(s, r->record.settlement);
        s->mail_recorded = r->record.mail != NULL;
        for (size_t i = 0; i < r->record.n; i++)
            metrics_decision(s->g->metrics, r->record.decisions[i].message, r->record.decisions[i].decision);
        for (size_t i = 0; i < r->record.n_superseded; i++) {
            metrics_release(s->g->metrics, "superseded");
            callbacks_post(s->g->callbacks, &r->record.superseded[i], KEPT_FAILED, REASON_SUPERSEDED);
        }
        if (r->record.report != NULL)
            releaser_notice(s->g->releaser, s->connector, r->record.report->deferred.release_at_ms);
        for (size_t i = 0; i < r->record.n; i++) {
            if (r->record.decisions[i].deferred != NULL)
                releaser_notice(s->g->releaser, s->connector, r->record.decisions[i].deferred->release_at_ms);
        }
    }
    submission_resume(s);
}

/* The state of the deferred row once this decision is durable. */
static enum deferred_state settle_state(const struct item *item)
{
    if (item->send)
        return DEFERRED_LEASED;
    if (item->kept)
        return DEFERRED_WAITING;
    return item->decision.reason == REASON_TOO_MANY_DEFERRALS ? DEFERRED_DEAD : DEFERRED_ENDED;
}

static bool fill(struct submission *s, struct item *item, struct record_decision *row)
{
    enum deferred_kind kind;
    bool keep = kind_of(item->decision.outcome, &kind) && !s->parsed.sandbox_mode && !s->partial_reject;

    item->send = item->decision.outcome == OUTCOME_FORWARD && !s->partial_reject;
    item->kept = keep;
    *row = (struct record_decision){
        .id = item->id,
        .parent = item->parent,
        .message = item->message,
        .decision = &item->decision,
        .contact_id = item->profile.contact_id,
        .intent = item->send,
        .at_least_once = item->send && s->deferred != NULL && s->connector->transport == TRANSPORT_SMTP,
        .facts = facts_json(s, item),
        .contact_hash = item->contact_hash,
        .subject_id = message_subject_id(item->message),
    };
    if (!keep)
        return true;
    struct deferred *d = arena_alloc(s->arena, sizeof(*d));
    if (d == NULL)
        return false;
    submission_keep(s, item, kind, item->decision.release_at_ms, d);
    d->spread_ms = spread_ms(item);
    row->deferred = d;
    return true;
}

static bool keeps(const struct item *item)
{
    enum deferred_kind kind;
    return kind_of(item->decision.outcome, &kind);
}

/* A passing copy whose primary recipient waits, waits as long; one that has none left is blocked. */
static void follow_primary(struct submission *s, struct item *item, bool waits)
{
    struct decision *d = &item->decision;

    submission_release_slot(s, item);
    d->reason = REASON_NO_PRIMARY;
    d->level = waits ? LEVEL_SOFT : LEVEL_HARD;
    d->outcome = waits ? OUTCOME_DEFER : OUTCOME_BLOCK;
    d->release_at_ms = INT64_MAX;
    for (size_t i = 0; i < s->n_items && waits; i++) {
        if (&s->items[i] != item && keeps(&s->items[i]) && s->items[i].decision.release_at_ms < d->release_at_ms)
            d->release_at_ms = s->items[i].decision.release_at_ms;
    }
}

/* What a dialect does not send without the others: see connector.settle. */
static bool settle(struct submission *s)
{
    if (s->connector->settle == NULL || s->deferred != NULL || s->n_items == 1)
        return true;
    bool *stays = arena_calloc(s->arena, s->parsed.n_messages, sizeof(*stays));
    bool *passes = arena_calloc(s->arena, s->parsed.n_messages, sizeof(*passes));
    if (stays == NULL || passes == NULL)
        return false;
    for (size_t i = 0; i < s->n_items; i++) {
        uint32_t at = s->items[i].message->index;
        passes[at] = s->items[i].decision.outcome == OUTCOME_FORWARD;
        stays[at] = passes[at] || keeps(&s->items[i]);
    }
    size_t cleared = s->connector->settle(&s->parsed, passes) + s->connector->settle(&s->parsed, stays);
    for (size_t i = 0; i < s->n_items && cleared > 0; i++) {
        uint32_t at = s->items[i].message->index;
        if (s->items[i].decision.outcome == OUTCOME_FORWARD && !passes[at])
            follow_primary(s, &s->items[i], stays[at]);
    }
    return true;
}

static bool is_refused(enum outcome o)
{
    return o == OUTCOME_BLOCK || o == OUTCOME_SOFT_BLOCK;
}

enum step_next submission_record(struct submission *s)
{
    if (s->early && !is_refused(s->items[0].decision.outcome))
        return STEP_DONE;
    struct recording *r = arena_alloc(s->arena, sizeof(*r));
    struct record_decision *rows = arena_calloc(s->arena, s->n_items, sizeof(*rows));
    bool any_kept = false;
    size_t n = 0;

    if (!settle(s))
        rows = NULL;
    apply_partial(s);
    for (size_t i = 0; i < s->n_items && rows != NULL; i++) {
        if (s->items[i].kept) /* by the lap before */
            continue;
        if (!fill(s, &s->items[i], &rows[n]))
            rows = NULL;
        else
            any_kept |= rows[n++].deferred != NULL;
    }
    const struct stored_submission *kept = any_kept ? submission_stored(s) : NULL;
    struct key_settlement *settlement = rows != NULL && s->claim != 0 ? submission_settle_recorded(s) : NULL;
    if (r == NULL || rows == NULL || (any_kept && kept == NULL) || (s->claim != 0 && settlement == NULL)) {
        submission_fail(s, FAULT_TOO_LARGE, "the submission needs more memory than one may have");
        return STEP_DONE;
    }
    r->s = s;
    r->record = (struct store_record){
        .r = {.kind = STORE_RECORD, .cb = on_recorded, .arg = r},
        .arena = s->arena,
        .submission_id = slice_of(s->id),
        .key = slice_of(s->key->name),
        .dialect = slice_of(s->connector->name),
        .now_ms = s->now_ms,
        .decisions = rows,
        .n = n,
        .submission = s->deferred == NULL ? kept : NULL,
        .settlement = settlement,
        .mail = rows != NULL ? submission_mail(s) : NULL,
    };
    if (s->deferred != NULL) {
        r->record.settles = s->deferred->id;
        r->record.fence = s->deferred->fence;
        r->record.settle_state = s->end_state = settle_state(&s->items[0]);
        if (s->end_state == DEFERRED_ENDED || s->end_state == DEFERRED_DEAD)
            r->record.report = submission_report(s, s->arena);
    }
    s->waiting++;
    store_submit(s->g->store, &r->record.r);
    return STEP_WAIT;
}

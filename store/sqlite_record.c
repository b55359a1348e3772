/*
 * Decisions and results: what is written on a message's way.  A decision is an audit row,
 * and an intent when it goes to a provider now; a result is an audit row, ends the
 * intent and may count as a send.  Intents and sends are written once a commit.
 */
#include "store/sqlite.h"

#include "postern/limits.h"
#include "postern/policy.h"

#define SANDBOX_KEPT 1000
#define BODY_MAX     LIMIT_JSON_API_BYTES

/* The lease that a release holds must still be the row's. */
static enum err lease_check(struct backend *b, uint64_t id, uint64_t fence)
{
    sqlite3_stmt *st = SQL_START(b, SQL_DEFERRED_STATE_OF, V_INT(id));
    if (!sql_row(b, st))
        return sql_done(b, ERR_CONFLICT);
    bool held = col_int(st, 0) == DEFERRED_LEASED && (uint64_t)col_int(st, 1) == fence;
    sql_end(st);
    return held ? OK : ERR_CONFLICT;
}

/* mail: its row, or 0. */
static void open_intent(struct backend *b, const struct record_decision *d, int64_t mail)
{
    const struct category *c = d->message->category;
    struct packed_message m = {.decision = d->id,
                               .contact_hash = d->contact_hash,
                               .subject_id = d->subject_id,
                               .channel = (uint8_t)d->message->channel,
                               .class = (uint8_t)(c == NULL ? CLASS_MARKETING : c->class),
                               .counting = (uint8_t)(c == NULL ? COUNTS_EVERYWHERE : c->counts),
                               .mail = mail,
                               .category = slice_of(c == NULL ? NULL : c->name)};
    intent_open(b, &m);
}

static void append_decision(struct backend *b, const struct store_record *r, const struct record_decision *d,
                            uint64_t deferred_id)
{
    struct arena *a = scratch_new(b);
    struct buf body, personal;
    buf_init(&body, a, BODY_MAX);
    buf_init(&personal, a, BODY_MAX);
    audit_decision_body(&body, r, d, deferred_id);
    audit_decision_personal(&personal, d);
    audit_append(b, r->now_ms, "decision", d->id, &body, &personal);
}

static void defer_again(struct backend *b, const struct store_record *r, const struct deferred *d)
{
    SQL_RUN(b, SQL_DEFERRED_AGAIN, V_INT(r->settles), V_INT(r->decisions[0].id), V_INT(d->kind),
            V_TEXT(slice_of(reason_name(d->reason))), V_TEXT(d->local_rule), V_INT(d->release_at_ms),
            V_INT(d->expires_at_ms == 0 ? INT64_MAX : d->expires_at_ms), V_INT(d->deferrals), V_INT(d->spread_ms));
}

/* The row that this release leased goes on: kept for its result, deferred again, or at its end. */
static void settle_record(struct backend *b, const struct store_record *r)
{
    const struct record_decision *d = &r->decisions[0];
    bool stays = r->settle_state == DEFERRED_LEASED;
    SQL_RUN(b, SQL_DEFERRED_SET_DECISION, V_INT(r->settles), V_INT(d->id), V_INT(stays && d->intent ? d->id : 0),
            V_INT(r->now_ms));
    if (stays)
        return;
    if (r->settle_state == DEFERRED_WAITING && d->deferred != NULL)
        defer_again(b, r, d->deferred);
    bool ends = r->settle_state != DEFERRED_WAITING && r->settle_state != DEFERRED_RELEASED;
    struct slice end_reason = slice_of(ends ? reason_name(d->decision->reason) : NULL);
    deferred_set_state(b, r->settles, DEFERRED_LEASED, r->settle_state, r->now_ms, end_reason);
}

/* A newer message with the same collapse key takes the place of those that wait (semantics: release). */
static void supersede(struct backend *b, struct store_record *r, const struct record_decision *d, struct rows *ended)
{
    struct arena *a = r->arena != NULL ? r->arena : scratch_new(b);
    struct address folded;
    if (d->message->collapse_key.n == 0 || (!d->intent && d->deferred == NULL) || r->settles != 0)
        return;
    address_fold(&d->message->to, &folded);
    for (;;) {
        sqlite3_stmt *st = SQL_START(b, SQL_DEFERRED_SUPERSEDED, V_TEXT(slice_of(folded.text)),
                                     V_TEXT(d->message->collapse_key), V_TEXT(r->key));
        if (!sql_row(b, st))
            return;
        struct deferred old;
        int64_t submission = deferred_read(b, st, a, &old);
        enum deferred_state was = old.state;
        sql_end(st);
        deferred_read_small_submission(b, submission, a, &old.submission);
        old.state = DEFERRED_ENDED;
        old.end_reason = slice_of(reason_name(REASON_SUPERSEDED));
        old.updated_at_ms = r->now_ms;
        struct deferred *told = r->arena == NULL ? NULL : rows_add(b, ended, a, sizeof old);
        if (told != NULL)
            *told = old;
        if (b->arena_spent)
            return;
        deferred_set_state(b, old.id, was, old.state, r->now_ms, old.end_reason);
        deferred_audit(b, &old, was, "supersede", r->key, r->now_ms);
    }
}

static void record_one(struct backend *b, struct store_record *r, size_t i, int64_t mail, struct rows *superseded,
                       int64_t *submission_row)
{
    const struct record_decision *d = &r->decisions[i];
    uint64_t leased = i == 0 ? r->settles : 0; /* the row that this release holds, or 0 */
    uint64_t deferred_id = leased;
    supersede(b, r, d, superseded);
    if (leased == 0 && d->deferred != NULL)
        deferred_id = deferred_insert(b, d->deferred, d->message, d->id, r->submission, submission_row);
    append_decision(b, r, d, deferred_id);
    if (b->arena_spent)
        return;
    if (d->parent != 0)
        SQL_RUN(b, SQL_CHILD_INSERT, V_INT(d->parent), V_INT(d->id));
    if (d->intent)
        open_intent(b, d, d->at_least_once ? MAIL_RELEASED : mail);
}

static void insert_report(struct backend *b, const struct kept_report *report)
{
    int64_t submission_row = 0;
    (void)deferred_insert(b, &report->deferred, NULL, report->deferred.decision, &report->submission, &submission_row);
}

enum err sqlite_record(struct backend *b, struct store_record *r)
{
    ensure(r->settles == 0 || r->n > 0);
    enum err lease = r->settles == 0 ? OK : lease_check(b, r->settles, r->fence);
    if (lease != OK)
        return lease;
    int64_t mail = 0;
    enum err known = r->mail == NULL ? OK : mail_take(b, r->mail, r->now_ms, r->arena, &mail);
    if (known != OK)
        return known;
    int64_t submission_row = 0;
    struct rows superseded = {0};
    for (size_t i = 0; i < r->n && !b->arena_spent; i++)
        record_one(b, r, i, mail, &superseded, &submission_row);
    if (r->settles != 0 && !b->arena_spent)
        settle_record(b, r);
    if (r->report != NULL && !b->arena_spent)
        insert_report(b, r->report);
    if (!b->arena_spent)
        idempotency_settle(b, r->settlement);
    r->superseded = superseded.items;
    r->n_superseded = superseded.n;
    return sql_done(b, OK);
}

static void append_result(struct backend *b, const struct record_result *x, int64_t now_ms, uint64_t deferred_id)
{
    struct buf body;
    buf_init(&body, scratch_new(b), BODY_MAX);
    audit_result_body(&body, x, deferred_id);
    audit_append(b, now_ms, "result", x->decision, &body, NULL);
}

static void add_send(struct backend *b, const struct record_result *x, int64_t now_ms)
{
    struct packed_message m = {.decision = x->decision,
                               .at_ms = now_ms,
                               .contact_hash = x->contact_hash,
                               .subject_id = x->subject_id,
                               .channel = (uint8_t)x->channel,
                               .class = (uint8_t)x->class,
                               .counting = (uint8_t)(x->counts_in_any_only ? COUNTS_IN_ANY : COUNTS_EVERYWHERE),
                               .category = x->category};
    send_add(b, &m);
}

static void settle_result(struct backend *b, const struct store_result *r)
{
    struct slice end_reason = {0};
    if (r->settle_state == DEFERRED_WAITING)
        SQL_RUN(b, SQL_DEFERRED_RETRY, V_INT(r->settles), V_INT(r->settle_release_at_ms));
    else if (r->settle_state != DEFERRED_RELEASED && r->settle_reason != REASON_NONE)
        end_reason = slice_of(reason_name(r->settle_reason));
    else if (r->settle_state != DEFERRED_RELEASED && r->n > 0)
        end_reason = slice_of(result_name(r->results[0].result));
    deferred_set_state(b, r->settles, DEFERRED_LEASED, r->settle_state, r->now_ms, end_reason);
}

static void insert_sandbox(struct backend *b, const struct sandbox_message *m)
{
    SQL_RUN(b, SQL_SANDBOX_INSERT, V_INT(m->at_ms), V_INT(m->decision), V_TEXT(m->dialect), V_TEXT(m->category),
            V_INT(m->channel), V_TEXT(m->to), V_TEXT(m->from), V_TEXT(m->subject), V_TEXT(m->text), V_BLOB(m->body));
    SQL_RUN(b, SQL_SANDBOX_PRUNE, V_INT(sql_last_id(b) - SANDBOX_KEPT));
}

static void result_one(struct backend *b, const struct store_result *r, const struct record_result *x, uint64_t leased,
                       int64_t *submission_row)
{
    uint64_t deferred_id = leased;
    if (leased == 0 && x->deferred != NULL)
        deferred_id = deferred_insert(b, x->deferred, NULL, x->decision, r->submission, submission_row);
    append_result(b, x, r->now_ms, deferred_id);
    if (b->arena_spent)
        return;
    intent_end(b, x->decision);
    if (x->counts)
        add_send(b, x, r->now_ms);
}

enum err sqlite_result(struct backend *b, struct store_result *r)
{
    enum err lease = r->settles == 0 ? OK : lease_check(b, r->settles, r->fence);
    if (lease != OK)
        return lease;
    int64_t submission_row = 0;
    for (size_t i = 0; i < r->n && !b->arena_spent; i++)
        result_one(b, r, &r->results[i], i == 0 ? r->settles : 0, &submission_row);
    for (size_t i = 0; i < r->n_sandbox && !b->arena_spent; i++)
        insert_sandbox(b, &r->sandbox[i]);
    if (r->settles != 0 && !b->arena_spent)
        settle_result(b, r);
    if (r->report != NULL && !b->arena_spent)
        insert_report(b, r->report);
    if (!b->arena_spent)
        idempotency_settle(b, r->settlement);
    if (r->forgets != NULL && !b->arena_spent)
        mail_forget(b, r->forgets);
    return sql_done(b, OK);
}

/* --- after a crash ------------------------------------------------------------------------ */

/* Bytes may have left: it is unknown, it counts, and it is never sent again, unless it goes at least once. */
static void close_intent(struct backend *b, const struct packed_message *m, int64_t now_ms)
{
    struct record_result x = {.decision = m->decision,
                              .contact_hash = m->contact_hash,
                              .subject_id = m->subject_id,
                              .channel = (enum channel)m->channel,
                              .class = (enum message_class)m->class,
                              .category = m->category,
                              .result = RESULT_UNKNOWN,
                              .detail = SLICE("interrupted"),
                              .counts = m->counting != COUNTS_NOWHERE,
                              .counts_in_any_only = m->counting == COUNTS_IN_ANY};
    int64_t leased = SQL_GET(b, SQL_DEFERRED_LEASED_BY, 0, V_INT(x.decision));
    append_result(b, &x, now_ms, (uint64_t)leased);
    if (x.counts)
        add_send(b, &x, now_ms);
    if (m->mail > 0)
        mail_interrupted(b, m->mail);
    if (leased != 0 && m->mail != MAIL_RELEASED) /* whose lease is given back with the others */
        deferred_set_state(b, (uint64_t)leased, DEFERRED_LEASED, DEFERRED_ENDED, now_ms, SLICE("unknown"));
}

enum err sqlite_recover(struct backend *b, bool every, int64_t now_ms)
{
    int64_t owner = every ? INT64_C(-1) : (int64_t)b->owner;
    intents_recover(b, every, close_intent, now_ms);
    idempotency_recover(b, owner);
    int64_t id;
    while (b->owner == STORE_RELEASING_OWNER && (id = sql_get(b, SQL_DEFERRED_LEASED, 0, NULL, 0)) != 0 &&
           b->fault == FAULT_NONE) {
        SQL_RUN(b, SQL_DEFERRED_UNLEASE, V_INT(id));
        deferred_set_state(b, (uint64_t)id, DEFERRED_LEASED, DEFERRED_WAITING, now_ms, (struct slice){0});
    }
    return sql_done(b, OK);
}

/* --- the sandbox's inbox -------------------------------------------------------------------- */

enum err sqlite_sandbox_list(struct backend *b, struct store_sandbox_list *r)
{
    struct rows rows = {0};
    sqlite3_stmt *st = SQL_START(b, SQL_SANDBOX_LIST, V_INT(r->max));
    while (sql_row(b, st)) {
        struct sandbox_message *m = rows_add(b, &rows, r->arena, sizeof *m);
        if (m == NULL) {
            sql_end(st);
            break;
        }
        *m = (struct sandbox_message){.at_ms = col_int(st, 0),
                                      .decision = (uint64_t)col_int(st, 1),
                                      .dialect = col_slice(b, st, 2, r->arena),
                                      .category = col_slice(b, st, 3, r->arena),
                                      .channel = (enum channel)col_int(st, 4),
                                      .to = col_slice(b, st, 5, r->arena),
                                      .from = col_slice(b, st, 6, r->arena),
                                      .subject = col_slice(b, st, 7, r->arena),
                                      .text = col_slice(b, st, 8, r->arena),
                                      .body = col_slice(b, st, 9, r->arena)};
    }
    r->rows = rows.items;
    r->n = rows.n;
    return sql_done(b, OK);
}

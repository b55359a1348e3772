/*
 * Deferred rows on their way out: claims under a lease, look-ups, and changes by
 * people.  Due rows first enter an active set of bounded growth (column ready),
 * and claims are taken from it in release order: a million rows due at 08:00 cost
 * a claim no more than a hundred.
 */
#include "store/sqlite.h"

#define ACTIVATE_MAX 500 /* rows that enter the active set per claim */

/* --- claim ---------------------------------------------------------------------------------- */

/* Leases that ran out, their intents apart (a result must come for them), are due again. */
static void end_leases(struct backend *b, int64_t now_ms)
{
    int64_t id;
    while ((id = SQL_GET(b, SQL_DEFERRED_LEASE_OUT, 0, V_INT(now_ms))) != 0)
        deferred_set_state(b, (uint64_t)id, DEFERRED_LEASED, DEFERRED_WAITING, now_ms, (struct slice){0});
}

static bool claim_next(struct backend *b, struct store_deferred_claim *r, struct deferred *d)
{
    sqlite3_stmt *st = SQL_START(b, SQL_DEFERRED_NEXT_READY, V_TEXT(r->dialect));
    if (!sql_row(b, st))
        return false;
    int64_t submission = deferred_read(b, st, r->arena, d);
    sql_end(st);
    deferred_read_submission(b, submission, r->arena, &d->submission);
    if (b->arena_spent)
        return false;
    SQL_RUN(b, SQL_DEFERRED_LEASE, V_INT(d->id), V_INT(r->lease_until_ms), V_INT(r->now_ms));
    b->depth.n[DEFERRED_WAITING]--;
    b->depth.n[DEFERRED_LEASED]++;
    d->state = DEFERRED_LEASED;
    d->fence++;
    return true;
}

static int64_t next_due(struct backend *b, struct slice dialect, int64_t now_ms)
{
    if (SQL_GET(b, SQL_DEFERRED_ANY_READY, 0, V_TEXT(dialect)) != 0)
        return now_ms;
    int64_t due = SQL_GET(b, SQL_DEFERRED_NEXT_DUE, INT64_MAX, V_TEXT(dialect));
    int64_t lease = sql_get(b, SQL_DEFERRED_NEXT_LEASE_OUT, INT64_MAX, NULL, 0);
    return due < lease ? due : lease;
}

enum err sqlite_deferred_claim(struct backend *b, struct store_deferred_claim *r)
{
    end_leases(b, r->now_ms);
    SQL_RUN(b, SQL_DEFERRED_ACTIVATE, V_INT(r->now_ms), V_INT(ACTIVATE_MAX), V_TEXT(r->dialect));
    r->n = 0;
    r->rows = sql_alloc(b, r->arena, r->max, sizeof *r->rows);
    while (!b->arena_spent && r->n < r->max && claim_next(b, r, &r->rows[r->n]))
        r->n++;
    if (r->n > 0)
        b->arena_spent = false; /* what fitted is enough; the rest is claimed next */
    r->next_due_ms = next_due(b, r->dialect, r->now_ms);
    return sql_done(b, OK);
}

/* --- list ----------------------------------------------------------------------------------- */

static sqlite3_stmt *start_list(struct backend *b, const struct store_deferred_list *r)
{
    if (r->id != 0)
        return SQL_START(b, SQL_DEFERRED_BY_ID, V_INT(r->id));
    if (r->kept_id.n > 0)
        return SQL_START(b, SQL_DEFERRED_BY_KEPT, V_TEXT(r->kept_id), V_INT(r->after_id));
    if (r->batch_id.n > 0)
        return SQL_START(b, SQL_DEFERRED_BY_BATCH, V_TEXT(r->batch_id), V_INT(r->after_id));
    if (r->contact_id.n > 0)
        return SQL_START(b, SQL_DEFERRED_BY_CONTACT, V_TEXT(r->contact_id), V_INT(r->after_id));
    if (r->address.kind != ADDRESS_NONE) {
        struct address *folded = sql_alloc(b, scratch_new(b), 1, sizeof *folded);
        address_fold(&r->address, folded);
        return SQL_START(b, SQL_DEFERRED_BY_ADDRESS, V_TEXT(slice_of(folded->text)), V_INT(r->after_id));
    }
    return SQL_START(b, SQL_DEFERRED_ALL, V_INT(r->after_id), V_INT(r->states == 0 ? UINT32_MAX : r->states));
}

static bool text_passes(struct slice filter, struct slice value)
{
    return filter.n == 0 || slice_eq(filter, value);
}

/* The filters that the statement did not apply. */
static bool list_passes(const struct store_deferred_list *r, const struct deferred *d)
{
    return d->id > r->after_id && text_passes(r->kept_id, d->kept_id) && text_passes(r->batch_id, d->batch_id) &&
           text_passes(r->contact_id, d->contact_id) && text_passes(r->account, d->account) &&
           (r->address.kind == ADDRESS_NONE || strcmp(r->address.text, d->to.text) == 0);
}

static void read_provider_id(struct backend *b, struct arena *a, struct deferred *d)
{
    audit_flush(b);
    sqlite3_stmt *st = SQL_START(b, SQL_PROVIDER_ID_OF, V_INT((int64_t)d->decision));
    if (!sql_row(b, st))
        return;
    d->provider_id = col_slice(b, st, 0, a);
    sql_end(st);
}

enum err sqlite_deferred_list(struct backend *b, struct store_deferred_list *r)
{
    struct rows rows = {0};
    sqlite3_stmt *st = start_list(b, r);
    while (sql_row(b, st) && !b->arena_spent) {
        if (r->states != 0 && (r->states >> col_int(st, 3) & 1) == 0)
            continue;
        struct deferred d;
        int64_t submission = deferred_read(b, st, r->arena, &d);
        if (!list_passes(r, &d))
            continue;
        if (r->with_submission)
            deferred_read_submission(b, submission, r->arena, &d.submission);
        if (r->with_submission && d.state == DEFERRED_RELEASED)
            read_provider_id(b, r->arena, &d);
        struct deferred *kept = rows_add(b, &rows, r->arena, sizeof d);
        if (kept != NULL)
            *kept = d;
        if (rows.n >= r->max)
            break;
    }
    sql_end(st);
    r->rows = rows.items;
    r->n = rows.n;
    return sql_done(b, OK);
}

/* --- change --------------------------------------------------------------------------------- */

static sqlite3_stmt *start_change(struct backend *b, const struct store_deferred_change *r)
{
    if (r->id != 0)
        return SQL_START(b, SQL_DEFERRED_BY_ID, V_INT(r->id));
    if (r->kept_id.n > 0)
        return SQL_START(b, SQL_DEFERRED_BY_KEPT, V_TEXT(r->kept_id), V_INT(0));
    return SQL_START(b, SQL_DEFERRED_BY_BATCH, V_TEXT(r->batch_id), V_INT(0));
}

static const uint32_t open_states = 1u << DEFERRED_WAITING | 1u << DEFERRED_PAUSED | 1u << DEFERRED_DEAD;
static const struct {
    const char *name;
    uint32_t from;
} actions[] = {
    [DEFERRED_DO_CANCEL] = {"cancel", open_states},
    [DEFERRED_DO_RELEASE] = {"release", open_states},
    [DEFERRED_DO_PAUSE] = {"pause", 1u << DEFERRED_WAITING},
    [DEFERRED_DO_RESUME] = {"resume", 1u << DEFERRED_PAUSED},
    [DEFERRED_DO_REDACT] = {"redact", UINT32_MAX & ~(1u << DEFERRED_WAITING | 1u << DEFERRED_LEASED)},
};

static void change_one(struct backend *b, const struct store_deferred_change *r, struct deferred *d)
{
    enum deferred_state from = d->state;
    d->updated_at_ms = r->now_ms;
    switch (r->action) {
    case DEFERRED_DO_CANCEL:
        deferred_cancel(b, d, r->reason == REASON_NONE ? REASON_CANCELLED : r->reason, r->actor, r->now_ms);
        return;
    case DEFERRED_DO_RELEASE:
        /* Whatever it waited for, it is due now and will be decided again in full. */
        d->kind = DEFERRED_TIMED;
        d->release_at_ms = r->now_ms;
        d->deferrals = from == DEFERRED_DEAD ? 0 : d->deferrals;
        d->state = DEFERRED_WAITING;
        SQL_RUN(b, SQL_DEFERRED_RELEASE_NOW, V_INT(d->id), V_INT(r->now_ms), V_INT(d->deferrals));
        break;
    case DEFERRED_DO_PAUSE:
        d->state = DEFERRED_PAUSED;
        break;
    case DEFERRED_DO_RESUME:
        d->state = DEFERRED_WAITING;
        break;
    case DEFERRED_DO_REDACT:
        /* Of a submission of one message, as those that can be redacted are. */
        SQL_RUN(b, SQL_SUBMISSION_REDACT, V_INT(d->id));
        break;
    }
    if (d->state != from || r->action == DEFERRED_DO_RELEASE)
        deferred_set_state(b, d->id, from, d->state, r->now_ms, (struct slice){0});
    deferred_audit(b, d, from, actions[r->action].name, r->actor, r->now_ms);
}

enum err sqlite_deferred_change(struct backend *b, struct store_deferred_change *r)
{
    struct rows rows = {0};
    size_t matching = 0;
    sqlite3_stmt *st = start_change(b, r);
    while (sql_row(b, st) && !b->arena_spent) {
        struct deferred d;
        int64_t submission = deferred_read(b, st, r->arena, &d);
        if (!text_passes(r->key, d.key))
            continue;
        matching++;
        if ((actions[r->action].from >> d.state & 1) == 0)
            continue;
        deferred_read_small_submission(b, submission, r->arena, &d.submission);
        struct deferred *kept = rows_add(b, &rows, r->arena, sizeof d);
        if (kept != NULL)
            *kept = d;
    }
    sql_end(st);
    r->rows = rows.items;
    r->n = rows.n;
    for (size_t i = 0; i < r->n && !b->arena_spent; i++)
        change_one(b, r, &r->rows[i]);
    return sql_done(b, matching == 0 ? ERR_NOT_FOUND : rows.n == 0 ? ERR_CONFLICT : OK);
}

/* --- the same local time, another instant ------------------------------------------------------- */

enum err sqlite_deferred_retime(struct backend *b, struct store_deferred_retime *r)
{
    r->changed = 0;
    for (size_t i = 0; i < r->n; i++) {
        const struct deferred_retime *row = &r->rows[i];
        SQL_RUN(b, SQL_DEFERRED_RETIME, V_INT((int64_t)row->id), V_INT(row->from_ms), V_INT(row->to_ms),
                V_TEXT(row->local_rule), V_INT(r->now_ms));
        r->changed += (size_t)sqlite3_changes(b->db);
    }
    return sql_done(b, OK);
}

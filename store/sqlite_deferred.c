/*
 * Deferred rows: writing, reading, and the one function that changes their state.
 * The stored submission is one row for all messages of it; it goes when the last
 * message that may need it has ended.
 */
#include "store/sqlite.h"

#include "postern/limits.h"

#define LENGTH_BYTES 4

/* --- the stored submission ---------------------------------------------------------------- */

static void put_piece(struct buf *out, struct slice s)
{
    uint8_t n[LENGTH_BYTES];
    for (int i = 0; i < LENGTH_BYTES; i++)
        n[i] = (uint8_t)(s.n >> (24 - 8 * i));
    buf_add(out, n, sizeof n);
    buf_add_slice(out, s);
}

static bool take_piece(struct slice *in, struct slice *out)
{
    if (in->n < LENGTH_BYTES)
        return false;
    size_t n = 0;
    for (int i = 0; i < LENGTH_BYTES; i++)
        n = n << 8 | (uint8_t)in->p[i];
    if (in->n - LENGTH_BYTES < n)
        return false;
    *out = (struct slice){in->p + LENGTH_BYTES, n};
    *in = (struct slice){in->p + LENGTH_BYTES + n, in->n - LENGTH_BYTES - n};
    return true;
}

struct slice fields_pack(struct backend *b, const struct stored_field *fields, size_t n)
{
    struct buf packed;
    buf_init(&packed, scratch_new(b), LIMIT_STORED_FIELDS_BYTES);
    for (size_t i = 0; i < n; i++) {
        put_piece(&packed, fields[i].name);
        put_piece(&packed, fields[i].value);
    }
    b->arena_spent |= packed.failed;
    return packed.failed ? (struct slice){0} : buf_slice(&packed);
}

const struct stored_field *fields_unpack(struct backend *b, struct slice packed, struct arena *a, size_t *n)
{
    struct rows rows = {0};
    struct stored_field f;
    *n = 0;
    while (take_piece(&packed, &f.name) && take_piece(&packed, &f.value)) {
        struct stored_field *kept = rows_add(b, &rows, a, sizeof *kept);
        if (kept == NULL)
            return NULL;
        *kept = f;
    }
    *n = rows.n;
    return rows.items;
}

static int64_t insert_submission(struct backend *b, const struct stored_submission *s)
{
    struct slice fields = fields_pack(b, s->fields, s->n_fields);
    if (b->arena_spent)
        return 0;
    SQL_RUN(b, SQL_SUBMISSION_INSERT, V_TEXT(s->dialect), V_TEXT(s->method), V_TEXT(s->path), V_TEXT(s->query),
            V_BLOB(fields), V_BLOB(s->body));
    return sql_last_id(b);
}

static void read_submission(struct backend *b, sqlite3_stmt *st, struct arena *a, struct stored_submission *out)
{
    if (!sql_row(b, st))
        return;
    *out = (struct stored_submission){.dialect = col_slice(b, st, 0, a),
                                      .method = col_slice(b, st, 1, a),
                                      .path = col_slice(b, st, 2, a),
                                      .query = col_slice(b, st, 3, a),
                                      .body = col_slice(b, st, 5, a)};
    out->fields = fields_unpack(b, col_slice(b, st, 4, a), a, &out->n_fields);
    sql_end(st);
}

void deferred_read_submission(struct backend *b, int64_t row, struct arena *a, struct stored_submission *out)
{
    if (row != 0)
        read_submission(b, SQL_START(b, SQL_SUBMISSION_GET, V_INT(row)), a, out);
}

void deferred_read_small_submission(struct backend *b, int64_t row, struct arena *a, struct stored_submission *out)
{
    if (row != 0)
        read_submission(b, SQL_START(b, SQL_SUBMISSION_GET_SMALL, V_INT(row)), a, out);
}

/* --- rows ----------------------------------------------------------------------------------- */

static struct slice either(struct slice first, struct slice second)
{
    return first.n > 0 ? first : second;
}

uint64_t deferred_insert(struct backend *b, const struct deferred *d, const struct message *m, uint64_t decision,
                         const struct stored_submission *s, int64_t *submission_row)
{
    if (*submission_row == 0 && s != NULL)
        *submission_row = insert_submission(b, s);
    if (b->arena_spent)
        return 0;
    struct address folded;
    address_fold(&d->to, &folded);
    struct slice none = {0};
    SQL_RUN(b, SQL_DEFERRED_INSERT, V_INT(decision), V_INT(d->kind), V_INT(d->state), V_INT(*submission_row),
            V_INT(d->message_index), V_TEXT(d->kept_id), V_TEXT(d->key), V_TEXT(d->account), V_TEXT(d->contact_id),
            V_INT(d->to.kind), V_TEXT(slice_of(d->to.text)), V_TEXT(slice_of(folded.text)), V_INT(d->channel),
            V_TEXT(d->category), V_INT(d->class), V_INT(d->priority), V_TEXT(slice_of(reason_name(d->reason))),
            V_TEXT(d->batch_id), V_TEXT(d->collapse_key), V_TEXT(either(d->topic, m == NULL ? none : m->topic)),
            V_TEXT(either(d->sender, m == NULL ? none : m->sender)), V_TEXT(d->local_rule), V_INT(d->enqueued_at_ms),
            V_INT(d->enqueued_at_ms), V_INT(d->release_at_ms), V_INT(d->spread_ms),
            V_INT(d->expires_at_ms == 0 ? INT64_MAX : d->expires_at_ms), V_INT(d->deferrals),
            V_TEXT(s == NULL ? none : s->dialect));
    uint64_t id = (uint64_t)sql_last_id(b);
    b->depth.n[d->state]++;
    if (*submission_row != 0)
        SQL_RUN(b, SQL_SUBMISSION_REF, V_INT(*submission_row), V_INT(1));
    return id;
}

int64_t deferred_read(struct backend *b, sqlite3_stmt *st, struct arena *a, struct deferred *d)
{
    *d = (struct deferred){.id = (uint64_t)col_int(st, 0),
                           .decision = (uint64_t)col_int(st, 1),
                           .kind = (enum deferred_kind)col_int(st, 2),
                           .state = (enum deferred_state)col_int(st, 3),
                           .message_index = (uint32_t)col_int(st, 4),
                           .kept_id = col_slice(b, st, 5, a),
                           .key = col_slice(b, st, 6, a),
                           .account = col_slice(b, st, 7, a),
                           .contact_id = col_slice(b, st, 8, a),
                           .channel = (enum channel)col_int(st, 11),
                           .category = col_slice(b, st, 12, a),
                           .class = (enum message_class)col_int(st, 13),
                           .priority = (enum priority)col_int(st, 14),
                           .batch_id = col_slice(b, st, 16, a),
                           .collapse_key = col_slice(b, st, 17, a),
                           .topic = col_slice(b, st, 18, a),
                           .sender = col_slice(b, st, 19, a),
                           .local_rule = col_slice(b, st, 20, a),
                           .enqueued_at_ms = col_int(st, 21),
                           .updated_at_ms = col_int(st, 22),
                           .release_at_ms = col_int(st, 23),
                           .expires_at_ms = col_int(st, 24) == INT64_MAX ? 0 : col_int(st, 24),
                           .deferrals = (uint32_t)col_int(st, 25),
                           .fence = (uint64_t)col_int(st, 26),
                           .end_reason = col_slice(b, st, 27, a),
                           .attempts = (uint32_t)col_int(st, 29)};
    col_address(st, 9, 10, &d->to);
    /* A reason that a newer posternd wrote and this one does not know: the row still works. */
    if (!reason_parse(col_borrow(st, 15), &d->reason))
        d->reason = REASON_NONE;
    return col_int(st, 28);
}

static bool is_final(enum deferred_state s)
{
    switch (s) {
    case DEFERRED_WAITING:
    case DEFERRED_PAUSED:
    case DEFERRED_LEASED:
    case DEFERRED_DEAD: /* may be released by hand */
        return false;
    case DEFERRED_RELEASED:
    case DEFERRED_CANCELLED:
    case DEFERRED_ENDED:
        return true;
    case DEFERRED_STATE_N:
        break;
    }
    never("a deferred state");
}

void deferred_set_state(struct backend *b, uint64_t id, enum deferred_state from, enum deferred_state to,
                        int64_t now_ms, struct slice end_reason)
{
    ensure(!is_final(from));
    sqlite3_stmt *st = SQL_START(b, SQL_DEFERRED_STATE_OF, V_INT(id));
    if (!sql_row(b, st))
        return;
    ensure(col_int(st, 0) == (int64_t)from);
    int64_t submission = col_int(st, 2);
    sql_end(st);
    bool drops = is_final(to) && submission != 0;
    SQL_RUN(b, SQL_DEFERRED_SET_STATE, V_INT(id), V_INT(to), V_INT(now_ms), V_TEXT(end_reason),
            V_INT(drops ? 0 : submission));
    b->depth.n[from]--;
    b->depth.n[to]++;
    if (drops) {
        SQL_RUN(b, SQL_SUBMISSION_REF, V_INT(submission), V_INT(-1));
        SQL_RUN(b, SQL_SUBMISSION_DROP, V_INT(submission));
    }
}

void deferred_audit(struct backend *b, const struct deferred *d, enum deferred_state from, const char *action,
                    struct slice actor, int64_t now_ms)
{
    struct buf body;
    buf_init(&body, scratch_new(b), LIMIT_JSON_API_BYTES);
    buf_add_cstr(&body, "{\"action\":\"");
    buf_add_cstr(&body, action);
    buf_add_cstr(&body, "\"");
    audit_add_id(&body, "deferred_id", "def_", d->id);
    audit_add_id(&body, "decision", "dec_", d->decision);
    audit_add_text(&body, "from", slice_of(deferred_state_name(from)));
    audit_add_text(&body, "to", slice_of(deferred_state_name(d->state)));
    audit_add_text(&body, "reason", d->end_reason);
    audit_add_text(&body, "actor", actor);
    buf_add_cstr(&body, "}");
    audit_append(b, now_ms, "deferred", d->decision, &body, NULL);
}

void deferred_cancel(struct backend *b, struct deferred *d, enum reason reason, struct slice actor, int64_t now_ms)
{
    enum deferred_state from = d->state;
    d->end_reason = slice_of(reason_name(reason));
    d->updated_at_ms = now_ms;
    d->state = DEFERRED_CANCELLED;
    deferred_set_state(b, d->id, from, DEFERRED_CANCELLED, now_ms, d->end_reason);
    deferred_audit(b, d, from, "cancel", actor, now_ms);
}

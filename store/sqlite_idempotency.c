/*
 * What must not be done twice.  Idempotency keys: a claim before the first decision, the answer in the transaction
 * that makes the decisions or their results durable.  Knows no dialect: an answer is
 * a status, fields and a body.  The one idea: what a replay would hear after a crash
 * is written together with the decisions, so recovery only has to let it stand.
 */
#include "store/sqlite.h"

#include "postern/hash.h"
#include "postern/limits.h"

#define SWEEP_WITH_CLAIM 2 /* a claim removes at least as many expired rows as it adds */

enum key_state { KEY_UNDER_WAY, KEY_RECORDED, KEY_FINISHED };

static void sweep(struct backend *b, int64_t now_ms, size_t max)
{
    SQL_RUN(b, SQL_IDEMPOTENCY_SWEEP, V_INT(now_ms), V_INT(max));
}

static void read_answer(struct backend *b, sqlite3_stmt *st, struct arena *a, struct kept_answer *out)
{
    out->status = (int)col_int(st, 3);
    out->fields = fields_unpack(b, col_slice(b, st, 4, a), a, &out->n_fields);
    out->body = col_slice(b, st, 5, a);
}

static enum err take_key(struct backend *b, struct store_idempotency_claim *r, struct slice digest)
{
    SQL_RUN(b, SQL_IDEMPOTENCY_INSERT, V_TEXT(r->api_key), V_TEXT(r->key), V_BLOB(digest), V_INT(b->owner),
            V_INT(r->now_ms + LIMIT_IDEMPOTENCY_MS));
    r->id = (uint64_t)sql_last_id(b);
    r->state = KEY_CLAIMED;
    return sql_done(b, OK);
}

enum err sqlite_idempotency_claim(struct backend *b, struct store_idempotency_claim *r)
{
    struct digest d = hash_sha256_parts(r->parts, r->n_parts);
    struct slice digest = {(const char *)d.b, sizeof d.b};
    sweep(b, r->now_ms, SWEEP_WITH_CLAIM);
    SQL_RUN(b, SQL_IDEMPOTENCY_EXPIRE, V_TEXT(r->api_key), V_TEXT(r->key), V_INT(r->now_ms));
    sqlite3_stmt *st = SQL_START(b, SQL_IDEMPOTENCY_GET, V_TEXT(r->api_key), V_TEXT(r->key));
    if (!sql_row(b, st)) {
        enum err looked = sql_done(b, OK);
        return looked != OK ? looked : take_key(b, r, digest);
    }
    r->id = (uint64_t)col_int(st, 0);
    bool same = slice_eq(col_borrow(st, 1), digest);
    bool finished = col_int(st, 2) == KEY_FINISHED;
    r->state = !same ? KEY_REUSED : finished ? KEY_ANSWERED : KEY_BUSY;
    if (r->state == KEY_ANSWERED)
        read_answer(b, st, r->arena, &r->answer);
    sql_end(st);
    return sql_done(b, OK);
}

enum err sqlite_idempotency_sweep(struct backend *b, struct store_idempotency_sweep *r)
{
    sweep(b, r->now_ms, r->max);
    r->swept = (size_t)sqlite3_changes(b->db);
    SQL_RUN(b, SQL_MAIL_SWEEP, V_INT(r->now_ms - LIMIT_IDEMPOTENCY_MS), V_INT(r->max));
    size_t mails = (size_t)sqlite3_changes(b->db);
    r->swept = mails > r->swept ? mails : r->swept;
    return sql_done(b, OK);
}

static void write_answer(struct backend *b, const struct key_settlement *k, enum key_state state)
{
    struct slice fields = fields_pack(b, k->answer.fields, k->answer.n_fields);
    if (!b->arena_spent)
        SQL_RUN(b, SQL_IDEMPOTENCY_ANSWER, V_INT(k->id), V_INT(state), V_INT(k->answer.status), V_BLOB(fields),
                V_BLOB(k->answer.body));
}

void idempotency_settle(struct backend *b, const struct key_settlement *k)
{
    if (k == NULL)
        return;
    switch (k->becomes) {
    case KEY_IS_FREE:
        SQL_RUN(b, SQL_IDEMPOTENCY_FREE, V_INT(k->id));
        return;
    case KEY_IS_RECORDED:
        write_answer(b, k, KEY_RECORDED);
        return;
    case KEY_IS_ANSWERED:
        write_answer(b, k, KEY_FINISHED);
        return;
    case KEY_STANDS:
        SQL_RUN(b, SQL_IDEMPOTENCY_FINISH, V_INT(k->id));
        return;
    }
    never("what a key becomes");
}

void idempotency_recover(struct backend *b, int64_t owner)
{
    SQL_RUN(b, SQL_IDEMPOTENCY_FREE_OF, V_INT(owner));
    SQL_RUN(b, SQL_IDEMPOTENCY_FINISH_OF, V_INT(owner));
}

/* --- mails ------------------------------------------------------------------------------- */

static struct slice digest_of(const struct store_mail *m)
{
    return (struct slice){(const char *)m->digest, sizeof m->digest};
}

static bool insert_mail(struct backend *b, const struct store_mail *m, int64_t now_ms, int64_t *row)
{
    SQL_RUN(b, SQL_MAIL_INSERT, V_BLOB(digest_of(m)), V_TEXT(m->kept_id), V_INT(now_ms));
    *row = sql_last_id(b);
    return sqlite3_changes(b->db) > 0;
}

enum err mail_take(struct backend *b, struct store_mail *m, int64_t now_ms, struct arena *a, int64_t *row)
{
    if (insert_mail(b, m, now_ms, row))
        return OK;
    sqlite3_stmt *st = SQL_START(b, SQL_MAIL_GET, V_BLOB(digest_of(m)));
    if (!sql_row(b, st))
        return sql_done(b, OK);
    m->first_id = col_slice(b, st, 0, a);
    int64_t first = col_int(st, 1), at_ms = col_int(st, 2);
    sql_end(st);
    m->under_way = intent_of_mail_is_open(b, first);
    bool expired = at_ms <= now_ms - LIMIT_IDEMPOTENCY_MS && !m->under_way;
    if (!expired)
        return sql_done(b, ERR_CONFLICT);
    mail_forget(b, m);
    (void)insert_mail(b, m, now_ms, row);
    return sql_done(b, OK);
}

void mail_forget(struct backend *b, const struct store_mail *m)
{
    SQL_RUN(b, SQL_MAIL_FORGET, V_BLOB(digest_of(m)));
}

void mail_interrupted(struct backend *b, int64_t row)
{
    SQL_RUN(b, SQL_MAIL_INTERRUPTED, V_INT(row));
}

/*
 * Appending to the audit.  A row's hash needs the row before it, its place in the table does not: rows wait until
 * there are enough of them for one statement, or somebody in the transaction reads the table, or it is marked or
 * commits.
 */
#include "store/sqlite.h"

#define COLUMNS 8

static struct slice digest_slice(const struct digest *d)
{
    return (struct slice){(const char *)d->b, sizeof d->b};
}

static void put_values(struct sql_value *to, const struct audit_waiting *w)
{
    const struct audit_row *r = &w->row;
    to[0] = V_INT(r->seq);
    to[1] = V_INT(r->at_ms);
    to[2] = V_TEXT(r->kind);
    to[3] = V_INT(r->ref);
    to[4] = V_TEXT(r->body);
    to[5] = r->has_personal ? V_TEXT(r->personal) : V_NULL;
    to[6] = V_BLOB(r->has_personal ? digest_slice(&w->personal_digest) : (struct slice){0});
    to[7] = V_BLOB(digest_slice(&w->hash));
}

static void insert_one(struct backend *b, const struct audit_waiting *w)
{
    struct sql_value values[COLUMNS];
    put_values(values, w);
    sql_run(b, SQL_AUDIT_INSERT, values, COLUMNS);
}

static void insert_all(struct backend *b, const struct audit_waiting *w)
{
    struct sql_value values[AUDIT_WAITING_MAX * COLUMNS];
    for (size_t i = 0; i < AUDIT_WAITING_MAX; i++)
        put_values(values + i * COLUMNS, &w[i]);
    sql_run(b, SQL_AUDIT_INSERT_ALL, values, N_ELEMENTS(values));
}

void audit_flush(struct backend *b)
{
    struct audit_queue *q = &b->audit_queue;
    size_t n = q->n;
    q->n = q->used = 0;
    if (n == AUDIT_WAITING_MAX)
        insert_all(b, q->rows);
    else
        for (size_t i = 0; i < n; i++)
            insert_one(b, &q->rows[i]);
}

void audit_drop(struct backend *b)
{
    b->audit_queue.n = b->audit_queue.used = 0;
}

static struct slice keep(struct audit_queue *q, struct slice s)
{
    char *at = q->text + q->used;
    if (s.n > 0)
        memcpy(at, s.p, s.n);
    q->used += s.n;
    return (struct slice){at, s.n};
}

static void enqueue(struct backend *b, const struct audit_waiting *w)
{
    struct audit_queue *q = &b->audit_queue;
    size_t bytes = w->row.kind.n + w->row.body.n + w->row.personal.n;
    if (q->n == AUDIT_WAITING_MAX || bytes > sizeof q->text - q->used)
        audit_flush(b);
    if (bytes > sizeof q->text) {
        insert_one(b, w);
        return;
    }
    struct audit_waiting *kept = &q->rows[q->n++];
    *kept = *w;
    kept->row.kind = keep(q, w->row.kind);
    kept->row.body = keep(q, w->row.body);
    kept->row.personal = keep(q, w->row.personal);
}

uint64_t audit_append(struct backend *b, int64_t at_ms, const char *kind, uint64_t ref, const struct buf *body,
                      const struct buf *personal)
{
    if (body->failed || (personal != NULL && personal->failed)) {
        b->arena_spent = true;
        return 0;
    }
    struct audit_waiting w = {
        .row = {.seq = b->chain.seq + 1, .at_ms = at_ms, .kind = slice_of(kind), .ref = ref, .body = buf_slice(body)}};
    if (personal != NULL) {
        w.row.has_personal = true;
        w.row.personal = buf_slice(personal);
        w.personal_digest = hash_sha256(w.row.personal.p, w.row.personal.n);
        w.row.personal_digest = digest_slice(&w.personal_digest);
    }
    w.hash = audit_row_hash(&b->chain, &w.row);
    b->chain = (struct audit_chain){w.row.seq, w.hash};
    enqueue(b, &w);
    return w.row.seq;
}

bool audit_has_result(struct backend *b, uint64_t decision)
{
    audit_flush(b);
    return SQL_GET(b, SQL_RESULT_IS_THERE, 0, V_INT(decision)) != 0;
}

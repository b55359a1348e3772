/*
 * The audit table: signing the head of its chain in the transaction that appends, and walking it.  What is hashed and
 * what counts as broken is audit.c's business. Walks use a connection of their own, so that a long one does not hold up
 * the thread; a read transaction gives it head and rows of one instant.
 */
#include "store/sqlite.h"

#define PROGRESS_ROWS 10000

struct arena *scratch_new(struct backend *b)
{
    arena_clear(&b->scratch);
    return &b->scratch;
}

static struct slice digest_slice(const struct digest *d)
{
    return (struct slice){(const char *)d->b, sizeof d->b};
}

static bool digest_from(struct slice s, struct digest *out)
{
    if (s.n != sizeof out->b)
        return false;
    memcpy(out->b, s.p, s.n);
    return true;
}

void sqlite_audit_sign(struct backend *b)
{
    struct digest mac = audit_head_mac(b->audit_key, &b->chain);
    SQL_RUN(b, SQL_AUDIT_SIGN, V_INT(b->chain.seq), V_BLOB(digest_slice(&b->chain.hash)), V_BLOB(digest_slice(&mac)));
}

bool audit_head_read(struct backend *b, struct audit_chain *head, struct digest *mac)
{
    sqlite3_stmt *st = sql_start(b, SQL_AUDIT_HEAD, NULL, 0);
    if (!sql_row(b, st))
        return false;
    head->seq = (uint64_t)col_int(st, 0);
    bool whole = digest_from(col_borrow(st, 1), &head->hash) && digest_from(col_borrow(st, 2), mac);
    sql_end(st);
    return whole;
}

/* The head is read, its signature and the last row's hash checked: an audit that was cut is not written on. */
bool sqlite_audit_open(struct backend *b, bool read_only, struct errmsg *e)
{
    struct audit_chain head = {0}, last = {0};
    struct digest mac = {0};
    bool has_head = audit_head_read(b, &head, &mac);
    sqlite3_stmt *st = sql_start(b, SQL_AUDIT_LAST, NULL, 0);
    if (sql_row(b, st)) {
        last.seq = (uint64_t)col_int(st, 0);
        ignore(digest_from(col_borrow(st, 1), &last.hash)); /* of another size: stays zero, and does not match */
        sql_end(st);
    }
    if (b->fault != FAULT_NONE) {
        errmsg_set(e, "%s", b->why.text);
        return false;
    }
    b->chain = b->chain_committed = head;
    struct audit_verdict v = {0};
    bool is_new = !has_head && last.seq == 0 && sql_get(b, SQL_OPENINGS, 0, NULL, 0) == 0;
    if (read_only || is_new || audit_walk_end(&last, b->audit_key, &head, digest_slice(&mac), &v))
        return true; /* read_only: `audit verify` wants to open it and say more */
    errmsg_set(e, "%s: audit %s; run posternctl audit verify, and bring back a whole copy", b->path, v.why.text);
    return false;
}

enum err sqlite_audit_note(struct backend *b, struct store_audit_note *r)
{
    struct arena *a = scratch_new(b);
    struct buf body, personal;
    char *kind = arena_strndup(a, r->kind.p, r->kind.n);
    buf_init(&body, a, r->json.n);
    buf_add_slice(&body, r->json);
    buf_init(&personal, a, LIMIT_JSON_API_BYTES);
    audit_personal_open(&personal);
    audit_add_text(&personal, "path", r->path);
    buf_add_cstr(&personal, "}");
    if (kind == NULL || personal.failed)
        return ERR_LIMIT;
    audit_append(b, r->now_ms, kind, 0, &body, r->path.n > 0 ? &personal : NULL);
    return sql_done(b, OK);
}

/* --- on a connection of their own ------------------------------------------------------- */

void reader_close(sqlite3 **db)
{
    sqlite3_close(*db);
}

void statement_free(sqlite3_stmt **st)
{
    sqlite3_finalize(*st);
}

sqlite3 *reader_open(const struct backend *b)
{
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(b->path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
        sqlite3_busy_timeout(db, 2000) == SQLITE_OK && sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK)
        return db;
    sqlite3_close(db);
    return NULL;
}

enum err sqlite_identity(struct backend *b, uint64_t *out)
{
    AUTO(reader_close) sqlite3 *db = reader_open(b);
    AUTO(statement_free) sqlite3_stmt *st = NULL;
    if (db == NULL || sqlite3_prepare_v2(db, "SELECT id FROM identity", -1, &st, NULL) != SQLITE_OK ||
        sqlite3_step(st) != SQLITE_ROW)
        return ERR_UNAVAILABLE;
    *out = (uint64_t)col_int(st, 0);
    return OK;
}

/* Types are looked at too: a blob with the bytes of the text hashes alike, and is a change all the same. */
static bool read_row(sqlite3_stmt *st, struct audit_row *row, struct slice *hash)
{
    static const int types[] = {SQLITE_INTEGER, SQLITE_INTEGER, SQLITE_TEXT, SQLITE_INTEGER,
                                SQLITE_TEXT,    SQLITE_NULL,    SQLITE_BLOB, SQLITE_BLOB};
    for (int i = 0; i < (int)N_ELEMENTS(types); i++) {
        int type = sqlite3_column_type(st, i);
        bool erasable = types[i] == SQLITE_NULL && type == SQLITE_TEXT;
        if (type != types[i] && !erasable)
            return false;
    }
    *row = (struct audit_row){.seq = (uint64_t)col_int(st, 0),
                              .at_ms = col_int(st, 1),
                              .kind = col_borrow(st, 2),
                              .ref = (uint64_t)col_int(st, 3),
                              .body = col_borrow(st, 4),
                              .has_personal = sqlite3_column_type(st, 5) == SQLITE_TEXT,
                              .personal = col_borrow(st, 5),
                              .personal_digest = col_borrow(st, 6)};
    *hash = col_borrow(st, 7);
    return true;
}

struct head {
    struct audit_chain chain;
    struct digest mac;
    bool present;
};

static enum err read_head(sqlite3 *db, struct head *out)
{
    AUTO(statement_free) sqlite3_stmt *st = NULL;
    *out = (struct head){0};
    if (sqlite3_prepare_v2(db, "SELECT seq, hash, mac FROM audit_head", -1, &st, NULL) != SQLITE_OK)
        return ERR_UNAVAILABLE;
    int rc = sqlite3_step(st);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? OK : ERR_UNAVAILABLE;
    out->chain.seq = (uint64_t)col_int(st, 0);
    out->present = digest_from(col_borrow(st, 1), &out->chain.hash) && digest_from(col_borrow(st, 2), &out->mac);
    return OK;
}

/* Of a row by its number; INT64_MAX: there is none, or it cannot be read. */
static int64_t at_ms_of(sqlite3_stmt *st, int64_t seq)
{
    sqlite3_reset(st);
    sqlite3_bind_int64(st, 1, seq);
    return sqlite3_step(st) == SQLITE_ROW ? col_int(st, 0) : INT64_MAX;
}

/* The first row that is late enough: rows are in order of time, but for a clock that was set back.  0: unreadable. */
static int64_t first_since(sqlite3 *db, int64_t last, int64_t since_ms)
{
    AUTO(statement_free) sqlite3_stmt *st = NULL;
    int64_t low = 1, high = last + 1;
    if (sqlite3_prepare_v2(db, "SELECT at_ms FROM audit WHERE seq = ?", -1, &st, NULL) != SQLITE_OK)
        return 0;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (at_ms_of(st, middle) >= since_ms)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

enum err sqlite_history(struct backend *b, int64_t since_ms, store_history_cb *each, void *arg)
{
    static const char text[] = "SELECT kind, ref, at_ms, body, personal, seq FROM audit "
                               "WHERE seq >= ? AND kind IN ('decision', 'result') ORDER BY seq";
    AUTO(reader_close) sqlite3 *db = reader_open(b);
    AUTO(statement_free) sqlite3_stmt *st = NULL;
    struct head head;
    if (db == NULL || read_head(db, &head) != OK || sqlite3_prepare_v2(db, text, -1, &st, NULL) != SQLITE_OK)
        return ERR_UNAVAILABLE;
    int64_t last = (int64_t)head.chain.seq, first = first_since(db, last, since_ms);
    if (first == 0)
        return ERR_UNAVAILABLE;
    sqlite3_bind_int64(st, 1, first);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct store_event e = {.is_result = slice_eq_cstr(col_borrow(st, 0), "result"),
                                .ref = (uint64_t)col_int(st, 1),
                                .at_ms = col_int(st, 2),
                                .body = col_borrow(st, 3),
                                .personal = col_borrow(st, 4),
                                .row = (uint64_t)(col_int(st, 5) - first + 1),
                                .rows = (uint64_t)(last - first + 1)};
        if (!each(&e, arg))
            return OK;
    }
    return rc == SQLITE_DONE ? OK : ERR_UNAVAILABLE;
}

static bool unreadable(sqlite3 *db, uint64_t seq, struct audit_verdict *out)
{
    out->holds = false;
    out->first_bad = seq;
    errmsg_set(&out->why, "row %llu: cannot be read: %s", (unsigned long long)seq, sqlite3_errmsg(db));
    return false;
}

static bool walk_rows(sqlite3 *db, struct audit_chain *walk, uint64_t total,
                      void (*progress)(uint64_t rows, uint64_t total, void *arg), void *arg, struct audit_verdict *out)
{
    AUTO(statement_free) sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(
            db, "SELECT seq, at_ms, kind, ref, body, personal, personal_digest, hash FROM audit ORDER BY seq", -1, &st,
            NULL) != SQLITE_OK)
        return unreadable(db, 1, out);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct audit_row row;
        struct slice hash;
        if (!read_row(st, &row, &hash)) {
            out->first_bad = (uint64_t)col_int(st, 0);
            errmsg_set(&out->why, "row %llu: a column has another type than was written: changed after it was written",
                       (unsigned long long)out->first_bad);
            return false;
        }
        if (!audit_walk_row(walk, &row, hash, out))
            return false;
        if (progress != NULL && walk->seq % PROGRESS_ROWS == 0)
            progress(walk->seq, total, arg);
    }
    return rc == SQLITE_DONE || unreadable(db, walk->seq + 1, out);
}

enum err sqlite_verify(struct backend *b, void (*progress)(uint64_t rows, uint64_t total, void *arg), void *arg,
                       struct audit_verdict *out)
{
    *out = (struct audit_verdict){0};
    AUTO(reader_close) sqlite3 *db = reader_open(b);
    struct head head;
    if (db == NULL || read_head(db, &head) != OK)
        return ERR_UNAVAILABLE;
    struct audit_chain walk = {0};
    if (!walk_rows(db, &walk, head.chain.seq, progress, arg, out))
        return OK;
    if (head.present) {
        ignore(audit_walk_end(&walk, b->audit_key, &head.chain, digest_slice(&head.mac), out));
    } else {
        out->first_bad = walk.seq + 1;
        errmsg_set(&out->why, "row %llu: the signed head of the chain is missing or misshapen: removed",
                   (unsigned long long)out->first_bad);
    }
    return OK;
}

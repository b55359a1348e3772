/*
 * Statements: bind, step, read columns, and what an SQLite error means for the store.
 * Knows no table.  The one idea: errors stick in the backend, so that a request's
 * code is straight and asks once, at its end.
 */
#include "store/sqlite.h"

/* sqlite3.h casts SQLITE_STATIC from 0: the bytes stay ours while the statement runs. */
static int bind(sqlite3_stmt *st, int i, const struct sql_value *v)
{
    const char *p = v->s.p == NULL ? "" : v->s.p;
    switch (v->type) {
    case SQL_INT:
        return sqlite3_bind_int64(st, i, v->i);
    case SQL_TEXT:
        return sqlite3_bind_text64(st, i, p, v->s.n, SQLITE_STATIC, SQLITE_UTF8);
    case SQL_BLOB:
        return sqlite3_bind_blob64(st, i, p, v->s.n, SQLITE_STATIC);
    case SQL_NULL:
        return sqlite3_bind_null(st, i);
    }
    never("a type of value");
}

enum store_fault sql_fault_kind(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM: /* rolled back like any other; the next batch may find memory */
        return FAULT_BUSY;
    case SQLITE_FULL:
        return FAULT_FULL;
    default:
        /* I/O errors, damage, a file that became read-only, and our own mistakes: nothing to be tried again. */
        return FAULT_FATAL;
    }
}

void sql_fault(struct backend *b, int rc)
{
    if (b->fault != FAULT_NONE)
        return; /* the first one says why */
    b->fault = sql_fault_kind(rc);
    errmsg_set(&b->why, "%s: %s (SQLite error %d)", b->path, sqlite3_errmsg(b->db), sqlite3_extended_errcode(b->db));
}

sqlite3_stmt *sql_start(struct backend *b, enum sql id, const struct sql_value *values, size_t n)
{
    sqlite3_stmt *st = b->statements[id];
    ensure((size_t)sqlite3_bind_parameter_count(st) == n);
    for (size_t i = 0; i < n; i++) {
        int rc = bind(st, (int)i + 1, &values[i]);
        if (rc != SQLITE_OK)
            sql_fault(b, rc);
    }
    return st;
}

void sql_end(sqlite3_stmt *st)
{
    sqlite3_reset(st);
}

bool sql_row(struct backend *b, sqlite3_stmt *st)
{
    if (b->fault == FAULT_NONE) {
        int rc = sqlite3_step(st);
        if (rc == SQLITE_ROW)
            return true;
        if (rc != SQLITE_DONE)
            sql_fault(b, rc);
    }
    sql_end(st);
    return false;
}

void sql_run(struct backend *b, enum sql id, const struct sql_value *values, size_t n)
{
    sqlite3_stmt *st = sql_start(b, id, values, n);
    while (sql_row(b, st))
        ;
}

int64_t sql_get(struct backend *b, enum sql id, int64_t otherwise, const struct sql_value *values, size_t n)
{
    sqlite3_stmt *st = sql_start(b, id, values, n);
    if (!sql_row(b, st))
        return otherwise;
    int64_t v = sqlite3_column_type(st, 0) == SQLITE_NULL ? otherwise : sqlite3_column_int64(st, 0);
    sql_end(st);
    return v;
}

enum err sql_done(struct backend *b, enum err status)
{
    if (b->fault != FAULT_NONE)
        return ERR_UNAVAILABLE;
    if (b->arena_spent) {
        b->arena_spent = false;
        return ERR_LIMIT;
    }
    return status;
}

int64_t sql_last_id(struct backend *b)
{
    return sqlite3_last_insert_rowid(b->db);
}

int64_t col_int(sqlite3_stmt *st, int i)
{
    return sqlite3_column_int64(st, i);
}

struct slice col_borrow(sqlite3_stmt *st, int i)
{
    const char *p = sqlite3_column_blob(st, i);
    int n = sqlite3_column_bytes(st, i);
    return p == NULL ? (struct slice){NULL, 0} : (struct slice){p, (size_t)n};
}

struct slice col_slice(struct backend *b, sqlite3_stmt *st, int i, struct arena *a)
{
    struct slice s = col_borrow(st, i);
    if (s.n == 0)
        return (struct slice){NULL, 0};
    struct slice copy = arena_slice(a, s);
    if (copy.p == NULL)
        b->arena_spent = true;
    return copy;
}

void col_address(sqlite3_stmt *st, int kind, int text, struct address *out)
{
    struct slice s = col_borrow(st, text);
    *out = (struct address){.kind = (enum address_kind)col_int(st, kind)};
    size_t n = s.n < sizeof out->text - 1 ? s.n : sizeof out->text - 1;
    if (n > 0)
        memcpy(out->text, s.p, n);
}

void *sql_alloc(struct backend *b, struct arena *a, size_t n, size_t size)
{
    void *p = arena_calloc(a, n, size);
    if (p == NULL)
        b->arena_spent = true;
    return p;
}

void *rows_add(struct backend *b, struct rows *rows, struct arena *a, size_t size)
{
    if (rows->n == rows->cap) {
        size_t cap = rows->cap == 0 ? 4 : rows->cap * 2;
        void *items = sql_alloc(b, a, cap, size);
        if (items == NULL)
            return NULL;
        if (rows->n > 0)
            memcpy(items, rows->items, rows->n * size);
        rows->items = items;
        rows->cap = cap;
    }
    return (char *)rows->items + rows->n++ * size;
}

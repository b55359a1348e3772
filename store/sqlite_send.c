/*
 * The log of sends: what counts against caps, in order of time.  Sends of one commit are one row, whose number begins
 * with the time of its earliest; the others are less than SPAN_MS later, so that a reader knows from which row on it
 * has to read.  Rows of several processes overlap in time: the reader holds back what a later row may still precede.
 */
#include <stdlib.h>

#include "store/sqlite.h"

#include "postern/policy.h"

#define SPAN_MS   1000
#define ROWS_A_MS INT64_C(32768)

void send_add(struct backend *b, const struct packed_message *m)
{
    packed_add(&b->sends, m);
}

static void insert_row(struct backend *b, int64_t first_ms, struct slice entries)
{
    /* The audit's number is another one in each commit; should two rows meet all the same, the later one moves on. */
    int64_t id = first_ms * ROWS_A_MS + (int64_t)(b->chain.seq % (uint64_t)ROWS_A_MS);
    for (bool is_in = false; !is_in && b->fault == FAULT_NONE; id++) {
        SQL_RUN(b, SQL_SENDS_INSERT, V_INT(id), V_BLOB(entries));
        is_in = sqlite3_changes(b->db) > 0;
    }
}

void sends_write(struct backend *b)
{
    struct slice rest = {b->sends.p, b->sends.n};
    while (rest.n > 0) {
        struct slice row = rest, at = rest;
        struct packed_message m;
        int64_t first_ms = 0;
        for (bool is_first = true; packed_take(&at, &m); is_first = false) {
            if (is_first)
                first_ms = m.at_ms;
            if (m.at_ms < first_ms || m.at_ms - first_ms >= SPAN_MS)
                break;
            rest = at;
        }
        row.n -= rest.n;
        ensure(row.n > 0);
        insert_row(b, first_ms, row);
    }
}

/* --- reading, on a connection of its own --------------------------------------------------------- */

struct reading {
    void (*each)(const struct store_send *, void *arg);
    void *arg;
    int64_t since_ms;
    struct store_send *held; /* until no later row can precede it */
    size_t n_held, cap;
    char **names; /* of categories: a row's bytes are gone with the next row */
    size_t n_names;
};

static void reading_clear(struct reading *r)
{
    for (size_t i = 0; i < r->n_names; i++)
        free(r->names[i]);
    free(r->names);
    free(r->held);
}

static struct slice name_of(struct reading *r, struct slice category)
{
    for (size_t i = 0; i < r->n_names; i++) {
        if (slice_eq_cstr(category, r->names[i]))
            return slice_of(r->names[i]);
    }
    r->names = xrealloc(r->names, r->n_names + 1, sizeof *r->names);
    r->names[r->n_names++] = xstrndup(category.p, category.n);
    return slice_of(r->names[r->n_names - 1]);
}

static struct store_send send_of(const struct packed_message *m)
{
    return (struct store_send){.at_ms = m->at_ms,
                               .decision = m->decision,
                               .contact_hash = m->contact_hash,
                               .subject_id = m->subject_id,
                               .channel = (enum channel)m->channel,
                               .class = (enum message_class)m->class,
                               .category = m->category,
                               .counts_in_any_only = m->counting == COUNTS_IN_ANY};
}

static int by_time(const void *ap, const void *bp)
{
    const struct store_send *a = ap, *b = bp;
    if (a->at_ms != b->at_ms)
        return a->at_ms < b->at_ms ? -1 : 1;
    return a->decision < b->decision ? -1 : a->decision > b->decision;
}

/* Those before until_ms, each once. */
static void tell_held(struct reading *r, int64_t until_ms)
{
    size_t told = 0;
    if (r->n_held > 0)
        qsort(r->held, r->n_held, sizeof *r->held, by_time);
    for (; told < r->n_held && r->held[told].at_ms < until_ms; told++) {
        if (told == 0 || by_time(&r->held[told - 1], &r->held[told]) != 0)
            r->each(&r->held[told], r->arg);
    }
    if (told > 0 && told < r->n_held)
        memmove(r->held, r->held + told, (r->n_held - told) * sizeof *r->held);
    r->n_held -= told;
}

static void hold(struct reading *r, struct slice entries)
{
    struct packed_message m;
    while (packed_take(&entries, &m)) {
        if (m.at_ms < r->since_ms)
            continue;
        if (r->n_held == r->cap) {
            r->cap = r->cap == 0 ? 64 : r->cap * 2;
            r->held = xrealloc(r->held, r->cap, sizeof *r->held);
        }
        m.category = name_of(r, m.category);
        r->held[r->n_held++] = send_of(&m);
    }
}

static int read_sends(sqlite3_stmt *st, struct reading *r)
{
    int rc;
    sqlite3_bind_int64(st, 1, (r->since_ms - SPAN_MS) * ROWS_A_MS);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        tell_held(r, col_int(st, 0) / ROWS_A_MS);
        hold(r, col_borrow(st, 1));
    }
    if (rc == SQLITE_DONE)
        tell_held(r, INT64_MAX);
    return rc;
}

/* SQLITE_DONE: it has none. */
static int step_result_of(sqlite3_stmt *result, uint64_t decision)
{
    sqlite3_reset(result);
    sqlite3_bind_int64(result, 1, (int64_t)decision);
    return sqlite3_step(result);
}

static int read_intents(sqlite3_stmt *st, sqlite3_stmt *result, const struct reading *r)
{
    int rc, has = SQLITE_DONE;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct slice entries = col_borrow(st, 0);
        struct packed_message m;
        while (packed_take(&entries, &m)) {
            if (m.counting == COUNTS_NOWHERE || (has = step_result_of(result, m.decision)) == SQLITE_ROW)
                continue;
            if (has != SQLITE_DONE)
                return has;
            struct store_send send = send_of(&m);
            r->each(&send, r->arg);
        }
    }
    return rc;
}

enum err sqlite_sends(struct backend *b, int64_t since_ms, void (*each)(const struct store_send *, void *arg),
                      void *arg)
{
    static const char sends[] = "SELECT id, entries FROM sends WHERE id >= ? ORDER BY id";
    static const char intents[] = "SELECT entries FROM intents";
    static const char result[] = "SELECT 1 FROM audit WHERE ref = ? AND ref <> 0 AND kind = 'result' LIMIT 1";
    /* The reader holds one transaction: an intent that ends meanwhile is not missed, and not seen twice. */
    AUTO(reader_close) sqlite3 *db = reader_open(b);
    AUTO(statement_free) sqlite3_stmt *st = NULL;
    AUTO(statement_free) sqlite3_stmt *open = NULL;
    AUTO(statement_free) sqlite3_stmt *of = NULL;
    if (db == NULL || sqlite3_prepare_v2(db, sends, -1, &st, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, intents, -1, &open, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, result, -1, &of, NULL) != SQLITE_OK)
        return ERR_UNAVAILABLE;
    AUTO(reading_clear) struct reading r = {.each = each, .arg = arg, .since_ms = since_ms};
    int rc = read_sends(st, &r);
    if (rc == SQLITE_DONE)
        rc = read_intents(open, of, &r);
    return rc == SQLITE_DONE ? OK : ERR_UNAVAILABLE;
}

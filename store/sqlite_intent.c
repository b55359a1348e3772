/*
 * Intents: what was recorded to leave and has no result yet.  Those of one commit are one row; it goes when the last
 * of them has its result.  Which row a decision is in, and how many of it are open, the process that wrote it keeps in
 * memory; whoever else asks (another process, the next start) reads the rows, and asks the audit which of their
 * messages have a result.  Nothing in memory moves before the commit has succeeded.
 */
#include <stdlib.h>

#include "store/sqlite.h"

#include <uthash.h>

#define OWNER_SHIFT 32

/* uthash is macros: their branches are not this file's.  NOLINTBEGIN(readability-function-size) */

struct open_intent {
    uint64_t decision;
    uint32_t place;
    bool ends; /* by the running transaction: then it is in a list, the latest first */
    struct open_intent *ended_before;
    UT_hash_handle hh;
};

/* A row, or room for one: open 0. */
struct place {
    uint32_t open;
    uint32_t ending; /* of them, by the running transaction, as far as it is written */
};

struct intents {
    struct open_intent *by_decision;
    struct place *places;
    size_t n_places, free_from; /* no place before free_from is free */

    /* of the running transaction: */
    struct packed opened;
    size_t place_of_opened; /* once it is written */
    struct open_intent *ended;
    size_t opened_marked;
    struct open_intent *ended_marked;
};

struct intents *intents_new(void)
{
    return xcalloc(1, sizeof(struct intents));
}

void intents_free(struct intents **ip)
{
    struct intents *i = *ip;
    struct open_intent *o, *next;
    if (i == NULL)
        return;
    HASH_ITER(hh, i->by_decision, o, next)
    {
        HASH_DEL(i->by_decision, o); /* NOLINT(clang-analyzer-unix.Malloc): it loses the list within uthash */
        free(o);
    }
    packed_clear(&i->opened);
    free(i->places);
    free(i);
    *ip = NULL;
}

void intent_open(struct backend *b, const struct packed_message *m)
{
    packed_add(&b->intents->opened, m);
}

void intent_end(struct backend *b, uint64_t decision)
{
    struct intents *i = b->intents;
    struct open_intent *o = NULL;
    HASH_FIND(hh, i->by_decision, &decision, sizeof decision, o);
    if (o == NULL || o->ends)
        return;
    o->ends = true;
    o->ended_before = i->ended;
    i->ended = o;
}

/* --- around a transaction ------------------------------------------------------------------- */

static int64_t row_of(const struct backend *b, size_t place)
{
    return ((int64_t)b->owner << OWNER_SHIFT) + (int64_t)place;
}

static size_t take_place(struct intents *i)
{
    while (i->free_from < i->n_places && i->places[i->free_from].open > 0)
        i->free_from++;
    if (i->free_from == i->n_places) {
        i->n_places = i->n_places == 0 ? 16 : i->n_places * 2;
        i->places = xrealloc(i->places, i->n_places, sizeof *i->places);
        memset(i->places + i->free_from, 0, (i->n_places - i->free_from) * sizeof *i->places);
    }
    return i->free_from;
}

void intents_write(struct backend *b)
{
    struct intents *i = b->intents;
    for (const struct open_intent *o = i->ended; o != NULL; o = o->ended_before) {
        struct place *place = &i->places[o->place];
        if (++place->ending == place->open)
            SQL_RUN(b, SQL_INTENTS_DROP, V_INT(row_of(b, o->place)));
    }
    if (i->opened.n == 0)
        return;
    i->place_of_opened = take_place(i);
    SQL_RUN(b, SQL_INTENTS_INSERT, V_INT(row_of(b, i->place_of_opened)),
            V_BLOB(((struct slice){i->opened.p, i->opened.n})));
}

void intents_committed(struct backend *b)
{
    struct intents *i = b->intents;
    struct slice opened = {i->opened.p, i->opened.n};
    struct packed_message m;
    for (struct open_intent *o = i->ended, *before; o != NULL; o = before) {
        struct place *place = &i->places[o->place];
        before = o->ended_before;
        place->ending = 0;
        if (--place->open == 0 && o->place < i->free_from)
            i->free_from = o->place;
        HASH_DEL(i->by_decision, o); /* NOLINT(clang-analyzer-core.NullDereference): as above */
        free(o);
    }
    while (packed_take(&opened, &m)) {
        struct open_intent *o = xcalloc(1, sizeof *o);
        *o = (struct open_intent){.decision = m.decision, .place = (uint32_t)i->place_of_opened};
        HASH_ADD(hh, i->by_decision, decision, sizeof o->decision, o);
        i->places[i->place_of_opened].open++;
    }
    i->ended = NULL;
    i->opened.n = 0;
}

void intents_mark(struct backend *b)
{
    b->intents->opened_marked = b->intents->opened.n;
    b->intents->ended_marked = b->intents->ended;
}

static void undo_to(struct intents *i, size_t opened, const struct open_intent *ended)
{
    for (; i->ended != ended; i->ended = i->ended->ended_before) {
        i->ended->ends = false;
        i->places[i->ended->place].ending = 0;
    }
    i->opened.n = opened;
}

void intents_undo(struct backend *b)
{
    undo_to(b->intents, b->intents->opened_marked, b->intents->ended_marked);
}

void intents_rolled_back(struct backend *b)
{
    undo_to(b->intents, 0, NULL);
}

/* --- who asks ------------------------------------------------------------------------------- */

/* One of a decision, or one of a mail (decision 0). */
struct wanted {
    uint64_t decision;
    int64_t mail;
};

static bool has_open(struct backend *b, struct slice entries, const struct wanted *w)
{
    struct packed_message m;
    while (packed_take(&entries, &m)) {
        bool fits = w->decision != 0 ? m.decision == w->decision : m.mail == w->mail;
        if (fits && !audit_has_result(b, m.decision))
            return true;
    }
    return false;
}

static bool find_open(struct backend *b, const struct wanted *w)
{
    bool found = has_open(b, (struct slice){b->intents->opened.p, b->intents->opened.n}, w);
    if (found)
        return true;
    sqlite3_stmt *st = sql_start(b, SQL_INTENTS_ALL, NULL, 0);
    while (!found && sql_row(b, st))
        found = has_open(b, col_borrow(st, 0), w);
    sql_end(st);
    return found;
}

bool intent_is_open(struct backend *b, uint64_t decision)
{
    return find_open(b, &(struct wanted){.decision = decision});
}

bool intent_of_mail_is_open(struct backend *b, int64_t mail)
{
    return find_open(b, &(struct wanted){.mail = mail});
}

void intents_recover(struct backend *b, bool every, intent_left_cb *left, int64_t now_ms)
{
    int64_t first = every ? 0 : row_of(b, 0), last = every ? INT64_MAX : row_of(b, UINT32_MAX);
    sqlite3_stmt *st = SQL_START(b, SQL_INTENTS_OF, V_INT(first), V_INT(last));
    while (sql_row(b, st)) {
        struct slice entries = col_borrow(st, 0);
        struct packed_message m;
        while (packed_take(&entries, &m)) {
            if (!audit_has_result(b, m.decision))
                left(b, &m, now_ms);
        }
    }
    SQL_RUN(b, SQL_INTENTS_CLEAR, V_INT(first), V_INT(last));
}
/* NOLINTEND(readability-function-size) */

/*
 * A table of decisions: those under way, and those that ended otherwise than on
 * record.  Small, because a decision that agrees leaves it with its result.
 */
#include "replay_later.h"

#include <stdlib.h>

#include <uthash.h>

/* uthash is macros: their branches are not this file's.  NOLINTBEGIN(readability-function-size) */

struct row {
    uint64_t decision;
    struct replay_later later;
    UT_hash_handle hh;
};

struct replay_laters {
    struct row *rows;
};

struct replay_laters *replay_laters_new(void)
{
    return xcalloc(1, sizeof(struct replay_laters));
}

void replay_laters_free(struct replay_laters **lp)
{
    struct replay_laters *l = take(lp);
    struct row *row, *next;

    if (l == NULL)
        return;
    HASH_ITER(hh, l->rows, row, next)
    {
        HASH_DEL(l->rows, row); /* the analyzer loses the list.  NOLINT(clang-analyzer-unix.Malloc) */
        free(row);
    }
    free(l);
}

static struct row *find(const struct replay_laters *l, uint64_t decision)
{
    struct row *row;

    HASH_FIND(hh, l->rows, &decision, sizeof(decision), row);
    return row;
}

const struct replay_later *replay_laters_get(const struct replay_laters *l, uint64_t decision)
{
    const struct row *row = find(l, decision);

    return row != NULL ? &row->later : NULL;
}

void replay_laters_add(struct replay_laters *l, uint64_t decision, struct replay_later later)
{
    struct row *row = find(l, decision);

    if (row != NULL)
        return;
    row = xcalloc(1, sizeof(*row));
    row->decision = decision;
    row->later = later;
    HASH_ADD(hh, l->rows, decision, sizeof(row->decision), row);
}

void replay_laters_drop(struct replay_laters *l, uint64_t decision)
{
    struct row *row = find(l, decision);

    if (row == NULL)
        return;
    HASH_DEL(l->rows, row);
    free(row);
}

/* NOLINTEND(readability-function-size) */

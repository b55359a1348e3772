/*
 * A list of cuts and replacements in a body, in the order of its bytes, applied
 * once.  A body that nothing was asked of stays the very same bytes.
 */
#ifndef CONNECTORS_EDIT_H
#define CONNECTORS_EDIT_H

#include "postern/arena.h"

struct edit {
    size_t start, end; /* bytes taken out */
    struct slice put;  /* what stands there instead; empty: a cut */
};

/* Zero bytes plus the arena make a valid empty list. */
struct edits {
    struct arena *arena;
    struct edit *list;
    size_t n, cap;
    bool failed; /* the arena is spent */
};

/* Each edit begins at or behind the end of the one before. */
void edit_replace(struct edits *e, size_t start, size_t end, struct slice put);
void edit_cut(struct edits *e, size_t start, size_t end);

/* The edited body: body itself, same pointer, when the list is empty.  ERR_LIMIT: arena spent. */
enum err edit_apply(const struct edits *e, struct slice body, struct slice *out) NODISCARD;

/*
 * Items with one separator between two neighbours (',' or '&', blanks around it).
 * Walk all of them in order: item() for each; those with cut set go with one separator each.
 */
struct edit_row {
    struct edits *edits;
    size_t end_before; /* of the item before */
    bool kept_before;  /* one that stays came before */
};
/* next_start: of the item behind; SIZE_MAX for the last. */
void edit_row_item(struct edit_row *r, size_t start, size_t end, size_t next_start, bool cut);

#endif

/*
 * An arena: memory that is freed all at once.  Everything that belongs to a
 * submission comes from its arena, so step code has no clean-up on errors.
 */
#ifndef POSTERN_ARENA_H
#define POSTERN_ARENA_H

#include "postern/base.h"

struct arena_block;

/* Zero bytes plus arena_init make a valid empty arena. */
struct arena {
    struct arena_block *head; /* newest block first */
    size_t used_bytes;        /* handed out, rounding included */
    size_t held_bytes;        /* taken from the heap */
    size_t max_bytes;         /* arena_alloc refuses beyond this */
    bool starved;             /* it was the heap that refused, not the budget: later there may be memory */
};

/* max_bytes > 0: the most that arena_alloc will ever hand out. */
void arena_init(struct arena *a, size_t max_bytes);
/* Give everything back; the arena is empty again and may be used. */
void arena_clear(struct arena *a);

/*
 * n zeroed bytes aligned for any type, valid until arena_clear.
 * NULL when the budget is spent, or when there is no memory for a large piece: answer ERR_LIMIT.
 */
void *arena_alloc(struct arena *a, size_t n) NODISCARD;
/* The same, not zeroed: for bytes that are written at once. */
void *arena_bytes(struct arena *a, size_t n) NODISCARD;
/* n * size with overflow check. */
void *arena_calloc(struct arena *a, size_t n, size_t size) NODISCARD;
/* Copies, NUL-terminated; NULL as above. */
char *arena_strndup(struct arena *a, const char *s, size_t n) NODISCARD;
struct slice arena_slice(struct arena *a, struct slice s); /* p == NULL when the budget is spent */
struct slice arena_join(struct arena *a, struct slice left, struct slice right); /* the same */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3) NODISCARD;

/* What is taken from here on is given back by arena_rewind, in one piece: for what is looked at and not kept. */
struct arena_mark {
    struct arena_block *head, *next;
    size_t head_used, used_bytes, held_bytes;
};
struct arena_mark arena_mark(const struct arena *a);
void arena_rewind(struct arena *a, const struct arena_mark *m);

#endif

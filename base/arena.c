/*
 * Arenas: a list of blocks, handed out from the newest, freed together.
 * The budget (max_bytes) counts what was handed out, so a submission is
 * stopped by its own appetite and never by the block size.  Blocks double up
 * to a bound; a request larger than a block gets one of its own.  Blocks of
 * usual size go round: each thread keeps some for its next arenas, so that a
 * submission costs no malloc; bytes are zeroed as they are handed out.
 */
#include "postern/arena.h"

#include <stdarg.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_MIN_BYTES 4096u
#define BLOCK_MAX_BYTES 262144u
#define KEPT_SIZES      3u       /* 4, 8 and 16 KiB */
#define KEPT_MAX_BYTES  2097152u /* of each size, for each thread */
#define ALIGN           alignof(max_align_t)

struct arena_block {
    struct arena_block *next;
    size_t size;
    size_t used;
    alignas(max_align_t) char bytes[];
};

/* Sanitizers are to see each block's end. */
#if defined(__SANITIZE_ADDRESS__)
#define KEEPS_BLOCKS false
#elif defined(__has_feature)
#define KEEPS_BLOCKS (!__has_feature(address_sanitizer))
#else
#define KEEPS_BLOCKS true
#endif

static _Thread_local struct kept {
    struct arena_block *first;
    size_t n;
} kept[KEPT_SIZES];

/* NULL: no memory for one that is large. */
static struct arena_block *block_taken(size_t size)
{
    return size >= LARGE_BYTES ? malloc(sizeof(struct arena_block) + size)
                               : xrealloc(NULL, 1, sizeof(struct arena_block) + size);
}

/* NULL: blocks of that size are not kept. */
static struct kept *kept_of(size_t size)
{
    for (size_t i = 0; KEEPS_BLOCKS && i < KEPT_SIZES; i++)
        if (size == (size_t)BLOCK_MIN_BYTES << i)
            return &kept[i];
    return NULL;
}

static struct arena_block *block_new(size_t size)
{
    struct kept *k = kept_of(size);
    struct arena_block *block;
    if (k != NULL && k->first != NULL) {
        block = k->first;
        k->first = block->next;
        k->n--;
    } else {
        block = block_taken(size);
    }
    if (block == NULL)
        return NULL;
    *block = (struct arena_block){.size = size};
    return block;
}

static void block_free(struct arena_block *block)
{
    struct kept *k = kept_of(block->size);
    if (k == NULL || k->n == KEPT_MAX_BYTES / block->size) {
        free(block);
        return;
    }
    block->next = k->first;
    k->first = block;
    k->n++;
}

void arena_init(struct arena *a, size_t max_bytes)
{
    ensure(max_bytes > 0);
    *a = (struct arena){.max_bytes = max_bytes};
}

void arena_clear(struct arena *a)
{
    struct arena_block *block = a->head;
    while (block != NULL) {
        struct arena_block *next = block->next;
        block_free(block);
        block = next;
    }
    *a = (struct arena){.max_bytes = a->max_bytes};
}

struct arena_mark arena_mark(const struct arena *a)
{
    struct arena_mark m = {.head = a->head, .used_bytes = a->used_bytes, .held_bytes = a->held_bytes};
    if (a->head != NULL) {
        m.next = a->head->next;
        m.head_used = a->head->used;
    }
    return m;
}

/* Blocks are put before the head, or right behind it. */
void arena_rewind(struct arena *a, const struct arena_mark *m)
{
    struct arena_block *block = a->head;
    while (block != m->next) {
        struct arena_block *next = block->next;
        if (block != m->head)
            block_free(block);
        block = next;
    }
    a->head = m->head;
    if (a->head != NULL) {
        a->head->next = m->next;
        a->head->used = m->head_used;
    }
    a->used_bytes = m->used_bytes;
    a->held_bytes = m->held_bytes;
}

/* Of a block for n bytes alone: a size that is kept, if there is one. */
static size_t size_alone(size_t n)
{
    for (size_t size = BLOCK_MIN_BYTES; size < (size_t)BLOCK_MIN_BYTES << KEPT_SIZES; size *= 2)
        if (n <= size && KEEPS_BLOCKS)
            return size;
    return n;
}

/*
 * A block with room for n bytes becomes the head, unless n fills a block alone: then the head keeps its free room.
 * NULL: no memory.  Not in line, so that the usual way in arena_bytes saves no registers for it.
 */
__attribute__((noinline)) static struct arena_block *block_for(struct arena *a, size_t n)
{
    size_t size = BLOCK_MIN_BYTES;
    while (size < a->held_bytes && size < BLOCK_MAX_BYTES)
        size *= 2;
    bool alone = n > size / 2;
    struct arena_block *block = block_new(alone ? size_alone(n) : size);
    if (block == NULL) {
        a->starved = true;
        return NULL;
    }
    a->held_bytes += block->size;
    if (alone && a->head != NULL) {
        block->next = a->head->next;
        a->head->next = block;
    } else {
        block->next = a->head;
        a->head = block;
    }
    return block;
}

void *arena_bytes(struct arena *a, size_t n)
{
    if (n > a->max_bytes || n > PTRDIFF_MAX / 2) /* so that no sum below can wrap */
        return NULL;
    size_t rounded = (n + ALIGN - 1) / ALIGN * ALIGN;
    if (rounded == 0)
        rounded = ALIGN;
    if (rounded > a->max_bytes - a->used_bytes)
        return NULL;
    struct arena_block *block = a->head;
    if (block == NULL || block->size - block->used < rounded)
        block = block_for(a, rounded);
    if (block == NULL)
        return NULL;
    void *p = block->bytes + block->used;
    block->used += rounded;
    a->used_bytes += rounded;
    return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
    void *p = arena_bytes(a, n);
    if (p != NULL)
        memset(p, 0, n);
    return p;
}

void *arena_calloc(struct arena *a, size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / size)
        return NULL;
    return arena_alloc(a, n * size);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *copy = arena_bytes(a, n + 1);
    if (copy == NULL)
        return NULL;
    if (n > 0)
        memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

struct slice arena_slice(struct arena *a, struct slice s)
{
    char *copy = arena_strndup(a, s.p, s.n);
    return (struct slice){copy, copy == NULL ? 0 : s.n};
}

struct slice arena_join(struct arena *a, struct slice left, struct slice right)
{
    char *both = right.n < SIZE_MAX - left.n ? arena_bytes(a, left.n + right.n + 1) : NULL;
    if (both == NULL)
        return (struct slice){NULL, 0};
    text_add(both + left.n, right.n + 1, 0, right);
    if (left.n > 0)
        memcpy(both, left.p, left.n);
    return (struct slice){both, left.n + right.n};
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    ensure(n >= 0);
    char *text = arena_bytes(a, (size_t)n + 1);
    if (text == NULL)
        return NULL;
    va_start(args, fmt);
    n = vsnprintf(text, (size_t)n + 1, fmt, args);
    va_end(args);
    ensure(n >= 0);
    return text;
}

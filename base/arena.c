/*
 * Arenas: a list of blocks, handed out from the newest, freed together.
 * The budget (max_bytes) counts what was handed out, so a submission is
 * stopped by its own appetite and never by the block size.  Blocks double up
 * to a bound; a request larger than a block gets one of its own.
 */
#include "postern/arena.h"

#include <stdarg.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_MIN_BYTES 4096u
#define BLOCK_MAX_BYTES 262144u
#define ALIGN           alignof(max_align_t)

struct arena_block {
    struct arena_block *next;
    size_t size;
    size_t used;
    alignas(max_align_t) char bytes[];
};

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
        free(block);
        block = next;
    }
    *a = (struct arena){.max_bytes = a->max_bytes};
}

static struct arena_block *block_new(size_t size)
{
    struct arena_block *block = xcalloc(1, sizeof *block + size);
    block->size = size;
    return block;
}

/* A block with room for n bytes becomes the head, unless n fills a block alone: then the head keeps its free room. */
static struct arena_block *block_for(struct arena *a, size_t n)
{
    size_t size = a->held_bytes;
    if (size < BLOCK_MIN_BYTES)
        size = BLOCK_MIN_BYTES;
    if (size > BLOCK_MAX_BYTES)
        size = BLOCK_MAX_BYTES;
    bool alone = n > size / 2;
    struct arena_block *block = block_new(alone ? n : size);
    a->held_bytes += sizeof *block + block->size;
    if (alone && a->head != NULL) {
        block->next = a->head->next;
        a->head->next = block;
    } else {
        block->next = a->head;
        a->head = block;
    }
    return block;
}

void *arena_alloc(struct arena *a, size_t n)
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
    void *p = block->bytes + block->used;
    block->used += rounded;
    a->used_bytes += rounded;
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
    char *copy = arena_alloc(a, n + 1);
    if (copy != NULL && n > 0)
        memcpy(copy, s, n);
    return copy;
}

struct slice arena_slice(struct arena *a, struct slice s)
{
    char *copy = arena_strndup(a, s.p, s.n);
    return (struct slice){copy, copy == NULL ? 0 : s.n};
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    ensure(n >= 0);
    char *text = arena_alloc(a, (size_t)n + 1);
    if (text == NULL)
        return NULL;
    va_start(args, fmt);
    n = vsnprintf(text, (size_t)n + 1, fmt, args);
    va_end(args);
    ensure(n >= 0);
    return text;
}

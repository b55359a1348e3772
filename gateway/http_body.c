/*
 * Bodies of requests: growth within a limit and a shared budget, and gzip.
 * Knows nothing of connections or of what a body means.
 *
 * The one idea: memory is reserved as bytes arrive, never on the word of a
 * Content-Length or of a compression ratio.
 */
#include "http_body.h"

#include <stdlib.h>

#define ZLIB_CONST /* next_in is not written to, and says so */
#include <zlib.h>

#define ARENA_BODY_BYTES 16384u /* most messages; larger ones go to the heap */
#define FIRST_BODY_BYTES 4096u  /* of unknown length */
#define FIRST_HEAP_BYTES 65536u
#define SMALL_BODY_BYTES (FIRST_HEAP_BYTES + INFLATE_BYTES) /* of the budget */
#define INFLATE_BYTES    49152u                             /* zlib's state: a window of 32 KiB and tables */
#define GZIP_ONLY        (16 + MAX_WBITS)

struct http_inflate {
    z_stream z;
    bool begun, ended;
};

/* Large bodies leave an eighth to small ones: attachments that wait for room must not keep messages out. */
static size_t budget_for(const struct http_body *b, size_t cap)
{
    size_t all = b->budget->max_bytes;
    size_t most = all - all / 8;
    return cap <= SMALL_BODY_BYTES || most < b->max ? all : most;
}

static bool has_room(const struct http_body *b, size_t n)
{
    size_t most = budget_for(b, b->reserved_bytes + n);
    return n <= most && b->budget->used_bytes <= most - n;
}

static bool reserve(struct http_body *b, size_t n)
{
    if (!has_room(b, n)) {
        return false;
    }
    b->budget->used_bytes += n;
    b->reserved_bytes += n;
    return true;
}

static void unreserve(struct http_body *b, size_t n)
{
    if (b->budget != NULL) {
        b->budget->used_bytes -= n;
    }
    b->reserved_bytes -= n;
}

/* At least one byte more, at most limit in all. */
static bool grow(struct http_body *b, size_t limit)
{
    size_t cap = b->cap == 0 ? FIRST_BODY_BYTES : 2 * b->cap;
    if (b->likely > b->cap && (b->likely <= ARENA_BODY_BYTES || cap > b->likely)) {
        cap = b->likely;
    }
    bool to_heap = cap > ARENA_BODY_BYTES;
    if (to_heap && !b->on_heap) { /* twice what fits the arena at most, and so less */
        cap = FIRST_HEAP_BYTES;
    }
    if (cap > limit) {
        cap = limit;
    }
    if (!reserve(b, cap - b->cap)) {
        return false;
    }
    char *p = to_heap ? realloc(b->on_heap ? b->p : NULL, cap) : arena_alloc(b->arena, cap);
    if (p == NULL) {
        unreserve(b, cap - b->cap);
        return false;
    }
    if (!b->on_heap && b->n > 0) {
        memcpy(p, b->p, b->n);
    }
    b->on_heap = b->on_heap || to_heap;
    b->p = p;
    b->cap = cap;
    return true;
}

static enum http_fault add_plain(struct http_body *b, struct slice piece)
{
    if (piece.n > b->max - b->n) {
        return HTTP_FAULT_BODY_TOO_LARGE;
    }
    while (piece.n > b->cap - b->n) {
        if (!grow(b, b->max)) {
            return HTTP_FAULT_TOO_MANY_BYTES;
        }
    }
    memcpy(b->p + b->n, piece.p, piece.n);
    b->n += piece.n;
    return HTTP_FAULT_NONE;
}

/* The buffer may grow one byte beyond the limit: that is how crossing it is noticed. */
static enum http_fault add_gzip(struct http_body *b, struct slice piece)
{
    struct http_inflate *i = b->inflate;
    i->begun = true;
    i->z.next_in = (const Bytef *)piece.p;
    i->z.avail_in = (uInt)piece.n;
    do {
        if (i->ended) {
            return HTTP_FAULT_GZIP_TRAILING;
        }
        if (b->n == b->cap && !grow(b, b->max + 1)) {
            return HTTP_FAULT_TOO_MANY_BYTES;
        }
        i->z.next_out = (Bytef *)(b->p + b->n);
        i->z.avail_out = (uInt)(b->cap - b->n);
        int rc = inflate(&i->z, Z_NO_FLUSH);
        b->n = b->cap - i->z.avail_out;
        if (b->n > b->max) {
            return HTTP_FAULT_BODY_TOO_LARGE;
        }
        i->ended = rc == Z_STREAM_END;
        if (rc == Z_MEM_ERROR) {
            return HTTP_FAULT_TOO_MANY_BYTES;
        }
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
            return HTTP_FAULT_GZIP_BROKEN;
        }
    } while (i->z.avail_in > 0 || (i->z.avail_out == 0 && !i->ended));
    return HTTP_FAULT_NONE;
}

static void end_inflate(struct http_body *b)
{
    if (b->inflate != NULL) {
        inflateEnd(&b->inflate->z);
        free(b->inflate);
        b->inflate = NULL;
        unreserve(b, INFLATE_BYTES);
    }
}

enum http_fault http_body_init(struct http_body *b, const struct http_head *head, size_t max, struct arena *arena,
                               struct http_budget *budget)
{
    *b = (struct http_body){.max = max, .arena = arena, .budget = budget};
    if (!has_room(b, (size_t)head->content_length)) {
        return HTTP_FAULT_TOO_MANY_BYTES; /* said before the client sends it; not reserved yet */
    }
    if (!head->gzip) {
        b->likely = (size_t)head->content_length;
        return HTTP_FAULT_NONE;
    }
    if (!reserve(b, INFLATE_BYTES)) {
        return HTTP_FAULT_TOO_MANY_BYTES;
    }
    b->inflate = xcalloc(1, sizeof(*b->inflate));
    int rc = inflateInit2(&b->inflate->z, GZIP_ONLY);
    ensure(rc == Z_OK || rc == Z_MEM_ERROR);
    return rc == Z_OK ? HTTP_FAULT_NONE : HTTP_FAULT_TOO_MANY_BYTES;
}

enum http_fault http_body_add(struct http_body *b, struct slice piece)
{
    return b->inflate != NULL ? add_gzip(b, piece) : add_plain(b, piece);
}

enum http_fault http_body_end(struct http_body *b)
{
    bool cut = b->inflate != NULL && b->inflate->begun && !b->inflate->ended;
    end_inflate(b);
    return cut ? HTTP_FAULT_GZIP_BROKEN : HTTP_FAULT_NONE;
}

void http_body_clear(struct http_body *b)
{
    end_inflate(b);
    if (b->on_heap) {
        free(b->p);
    }
    unreserve(b, b->reserved_bytes);
    *b = (struct http_body){0};
}

/*
 * A bounded, growing buffer on an arena: the only way to build bytes of
 * unknown length.  A failed append sticks: test once, at the end.
 */
#ifndef POSTERN_BUF_H
#define POSTERN_BUF_H

#include "postern/arena.h"

struct buf {
    struct arena *arena; /* borrowed; outlives the buffer */
    char *p;             /* always NUL-terminated once anything was appended */
    size_t n;            /* bytes in use */
    size_t cap;
    size_t max;  /* more than this fails the buffer */
    bool failed; /* an append did not fit, or the arena is spent; contents are what fitted before */
};

void buf_init(struct buf *b, struct arena *arena, size_t max);
void buf_add(struct buf *b, const void *bytes, size_t n);
/* Here, so that the length of a literal costs nothing. */
static inline void buf_add_cstr(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}
static inline void buf_add_slice(struct buf *b, struct slice s)
{
    buf_add(b, s.p, s.n);
}
/* In decimal; what a message's way needs of buf_printf, at a tenth of its price. */
void buf_add_u64(struct buf *b, uint64_t value);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A JSON string with its quotes; controls escaped; invalid UTF-8 becomes U+FFFD. */
void buf_add_json(struct buf *b, struct slice s);
/* Percent-encoded for application/x-www-form-urlencoded. */
void buf_add_form(struct buf *b, struct slice s);
/* Escaped for HTML text and double-quoted attributes. */
void buf_add_html(struct buf *b, struct slice s);
struct slice buf_slice(const struct buf *b);

#endif

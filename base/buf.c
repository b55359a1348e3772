/*
 * Bounded growing buffers, and the three escapings that put foreign text into
 * JSON, forms and HTML.  Growth copies into a larger piece of the arena; the
 * old piece is lost until the arena is cleared, at most as much again as the
 * buffer holds.  A failed buffer takes nothing more: a later, shorter append
 * must not hide that an earlier one is missing.
 */
#include "postern/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistr.h>

#define FIRST_CAP 256u

void buf_init(struct buf *b, struct arena *arena, size_t max)
{
    /* No object is larger; so no sum below can wrap. */
    *b = (struct buf){.arena = arena, .max = max < PTRDIFF_MAX / 2 ? max : PTRDIFF_MAX / 2};
}

/* Room for n more bytes and the NUL. */
static bool buf_reserve(struct buf *b, size_t n)
{
    if (b->failed || n > b->max - b->n) {
        b->failed = true;
        return false;
    }
    size_t need = b->n + n + 1;
    if (need <= b->cap)
        return true;
    size_t cap = b->cap == 0 ? FIRST_CAP : b->cap * 2;
    if (cap > b->max + 1)
        cap = b->max + 1;
    if (cap < need)
        cap = need;
    char *moved = arena_bytes(b->arena, cap);
    if (moved == NULL) {
        b->failed = true;
        return false;
    }
    if (b->n > 0)
        memcpy(moved, b->p, b->n);
    b->p = moved;
    b->cap = cap;
    return true;
}

void buf_add(struct buf *b, const void *bytes, size_t n)
{
    if (!buf_reserve(b, n))
        return;
    if (n > 0)
        memcpy(b->p + b->n, bytes, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void buf_add_u64(struct buf *b, uint64_t value)
{
    char digits[U64_TEXT_MAX];
    buf_add_slice(b, u64_text(value, digits));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    ensure(n >= 0);
    if (!buf_reserve(b, (size_t)n))
        return;
    va_start(args, fmt);
    n = vsnprintf(b->p + b->n, (size_t)n + 1, fmt, args);
    va_end(args);
    ensure(n >= 0);
    b->n += (size_t)n;
}

static void add_json_ascii(struct buf *b, char c)
{
    switch (c) {
    case '"':
        buf_add(b, "\\\"", 2);
        break;
    case '\\':
        buf_add(b, "\\\\", 2);
        break;
    case '\n':
        buf_add(b, "\\n", 2);
        break;
    case '\r':
        buf_add(b, "\\r", 2);
        break;
    case '\t':
        buf_add(b, "\\t", 2);
        break;
    default:
        buf_printf(b, "\\u%04x", (unsigned)(unsigned char)c);
    }
}

void buf_add_json(struct buf *b, struct slice s)
{
    buf_add(b, "\"", 1);
    size_t i = 0;
    while (i < s.n) {
        size_t plain = slice_plain((struct slice){s.p + i, s.n - i}, "\"\\\x7F");
        buf_add(b, s.p + i, plain);
        i += plain;
        if (i == s.n)
            break;
        if ((s.p[i] & 0x80) == 0) {
            add_json_ascii(b, s.p[i++]);
            continue;
        }
        int length = u8_mblen((const uint8_t *)s.p + i, s.n - i);
        if (length > 0) {
            buf_add(b, s.p + i, (size_t)length);
            i += (size_t)length;
        } else {
            buf_add_cstr(b, "\xEF\xBF\xBD");
            i++;
        }
    }
    buf_add(b, "\"", 1);
}

static bool form_is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '*';
}

void buf_add_form(struct buf *b, struct slice s)
{
    /* WHATWG URL, section 5.2: a blank is '+'; all but letters, digits and "*-._" is escaped. */
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (form_is_plain(s.p[i]))
            buf_add(b, &s.p[i], 1);
        else if (c == ' ')
            buf_add(b, "+", 1);
        else
            buf_add(b, (const char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
    }
}

void buf_add_html(struct buf *b, struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        switch (s.p[i]) {
        case '&':
            buf_add_cstr(b, "&amp;");
            break;
        case '<':
            buf_add_cstr(b, "&lt;");
            break;
        case '>':
            buf_add_cstr(b, "&gt;");
            break;
        case '"':
            buf_add_cstr(b, "&quot;");
            break;
        case '\'':
            buf_add_cstr(b, "&#39;");
            break;
        default:
            buf_add(b, &s.p[i], 1);
        }
    }
}

struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->p, b->n};
}

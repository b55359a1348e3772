/*
 * The ground: error texts, borrowed bytes, heap that cannot fail, assertions.
 * Knows nothing of messages.  The one idea: what can fail because of input
 * returns a value, what can fail only because of us or of an empty heap stops
 * the process with a log line.
 */
#include "postern/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistr.h>

#include "postern/log.h"

/* An error text may quote a peer's bytes: keep it one line of valid UTF-8. */
static void errmsg_scrub(struct errmsg *e)
{
    for (char *p = e->text; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            *p = '?';
    }
    size_t n = strlen(e->text);
    const uint8_t *bad;
    while ((bad = u8_check((const uint8_t *)e->text, n)) != NULL)
        e->text[bad - (const uint8_t *)e->text] = '?';
}

void errmsg_set(struct errmsg *e, const char *fmt, ...)
{
    if (e == NULL)
        return;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    ensure(n >= 0);
    errmsg_scrub(e);
}

uint32_t slice_id(struct slice s)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (uint8_t)s.p[i]) * 16777619u;
    return h == 0 || h == UINT32_MAX ? 1 : h;
}

bool slice_ieq_bytes(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char differ = (char)(a[i] ^ b[i]), lower = (char)(a[i] | 0x20);
        if (differ != 0 && (differ != 0x20 || lower < 'a' || lower > 'z'))
            return false;
    }
    return true;
}

bool slice_ieq_any(struct slice s, const struct slice *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (slice_ieq(s, names[i]))
            return true;
    }
    return false;
}

bool slice_starts(struct slice a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.n >= n && (n == 0 || memcmp(a.p, prefix, n) == 0);
}

bool slice_to_u64(struct slice s, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (digit > max || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (s.n == 0)
        return false;
    *out = value;
    return true;
}

size_t text_add(char *out, size_t cap, size_t n, struct slice s)
{
    size_t added = s.n < cap - 1 - n ? s.n : cap - 1 - n;
    if (added > 0)
        memcpy(out + n, s.p, added);
    out[n + added] = '\0';
    return n + added;
}

struct slice u64_text(uint64_t value, char out[U64_TEXT_MAX])
{
    size_t at = U64_TEXT_MAX;
    do
        out[--at] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    return (struct slice){out + at, U64_TEXT_MAX - at};
}

bool slice_is_utf8(struct slice s)
{
    return s.n == 0 || u8_check((const uint8_t *)s.p, s.n) == NULL;
}

bool slice_is_clean(struct slice s)
{
    size_t plain = slice_plain(s, "\x7F\x7F\x7F");
    for (size_t i = plain; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7F)
            return false;
    }
    return plain == s.n || slice_is_utf8(s);
}

NORETURN static void out_of_memory(size_t n, size_t size)
{
    log_line(LOG_ERROR_, NULL, "base", "out_of_memory", "count=%zu size_bytes=%zu", n, size);
    abort();
}

void *xcalloc(size_t n, size_t size)
{
    /* calloc(0) may give NULL; one byte keeps "NULL means no memory" true. */
    void *p = n == 0 || size == 0 ? calloc(1, 1) : calloc(n, size);
    if (p == NULL)
        out_of_memory(n, size);
    return p;
}

void *xrealloc(void *p, size_t n, size_t size)
{
    void *moved = n == 0 || size == 0 ? realloc(p, 1) : reallocarray(p, n, size);
    if (moved == NULL)
        out_of_memory(n, size);
    return moved;
}

char *xstrdup(const char *s)
{
    return xstrndup(s, strlen(s));
}

char *xstrndup(const char *s, size_t n)
{
    n = strnlen(s, n);
    char *copy = xcalloc(n + 1, 1);
    memcpy(copy, s, n);
    return copy;
}

void ensure_failed(const char *expr, const char *file, int line)
{
    log_line(LOG_ERROR_, NULL, "base", "ensure_failed", "expr=%s file=%s line=%d", LOG_Q(slice_of(expr)), file, line);
    abort();
}

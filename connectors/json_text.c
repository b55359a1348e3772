/*
 * Escapes undone: a string that the scanner has passed, byte by byte.  Knows only
 * the inside of a string.  The one idea: comparing, folding and copying all read
 * the same way, and none needs the text in memory first.
 */
#include "json_text.h"

#include "postern/hash.h"

int32_t json_text_hex4(const uint8_t *p, const uint8_t *end)
{
    if (end - p < 4)
        return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hash_hex_digit((char)p[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

struct json_text json_text_begin(struct slice inner)
{
    return (struct json_text){.p = (const uint8_t *)inner.p, .end = (const uint8_t *)inner.p + inner.n};
}

static void pend(struct json_text *t, uint32_t c)
{
    t->at_pending = 0;
    if (c < 0x80) {
        t->pending[0] = (uint8_t)c;
        t->n_pending = 1;
        return;
    }
    t->n_pending = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (uint8_t i = t->n_pending; i-- > 1; c >>= 6)
        t->pending[i] = (uint8_t)(0x80 | (c & 0x3F));
    t->pending[0] = (uint8_t)((0xF00 >> t->n_pending & 0xF0) | c);
}

/* The scanner has seen the escape: it is well-formed. */
static void unescape_one(struct json_text *t)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    uint8_t c = t->p[1];
    t->p += 2;
    if (c != 'u') {
        const char *found = strchr(from, c);
        pend(t, found == NULL ? c : (uint8_t)to[found - from]);
        return;
    }
    uint32_t unit = (uint32_t)json_text_hex4(t->p, t->end);
    t->p += 4;
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        uint32_t low = (uint32_t)json_text_hex4(t->p + 2, t->end);
        t->p += 6;
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }
    pend(t, unit);
}

int json_text_next(struct json_text *t)
{
    if (t->at_pending < t->n_pending)
        return t->pending[t->at_pending++];
    if (t->p == t->end)
        return -1;
    if (*t->p != '\\')
        return *t->p++;
    unescape_one(t);
    return t->pending[t->at_pending++];
}

struct slice json_text_key(const struct json_scan *s, uint32_t node)
{
    const struct json_node *n = &s->nodes[node];
    ensure(n->key_end > 0); /* a member of an object */
    return (struct slice){s->text.p + n->key_start + 1, n->key_end - n->key_start - 2};
}

bool json_text_copy(struct slice inner, struct arena *a, struct slice *out)
{
    char *text = arena_alloc(a, inner.n + 1);
    if (text == NULL)
        return false;
    struct json_text t = json_text_begin(inner);
    size_t n = 0;
    for (int c = json_text_next(&t); c >= 0; c = json_text_next(&t))
        text[n++] = (char)c;
    *out = (struct slice){text, n};
    return true;
}

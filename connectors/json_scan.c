/*
 * One pass over the text with a stack of open containers instead of recursion;
 * the nodes that come out are offsets, nothing is copied.  Strings are most of a
 * body, so plain bytes in them are passed over many at a time.  Keys are compared
 * when their object closes: pairwise when they are few, by a keyed hash when they
 * are many, so that a body made of keys costs no more than one made of anything.
 */
#include "json_scan.h"

#include <stdio.h>

#include "json_text.h"
#include "postern/hash.h"
#include "postern/limits.h"

#define FIRST_NODES 64u
#define FEW_KEYS    16u

struct frame {
    uint32_t node;
    uint32_t count; /* children so far */
    bool object;
};

struct scanner {
    struct json_scan *out;
    const uint8_t *begin, *p, *end;
    struct frame stack[LIMIT_JSON_DEPTH];
    uint32_t depth;
    enum err err;
    const char *wrong; /* what is wrong at p */
};

static bool fail(struct scanner *s, const char *wrong)
{
    s->err = ERR_SYNTAX;
    s->wrong = wrong;
    return false;
}

static bool fail_limit(struct scanner *s, const char *wrong)
{
    s->err = ERR_LIMIT;
    s->wrong = wrong;
    return false;
}

static uint32_t offset(const struct scanner *s, const uint8_t *p)
{
    return (uint32_t)(p - s->begin);
}

static bool at(const struct scanner *s, uint8_t c)
{
    return s->p < s->end && *s->p == c;
}

static void skip_blanks(struct scanner *s)
{
    while (s->p < s->end && *s->p <= ' ' && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
}

/* --- strings ------------------------------------------------------------------ */

/* Bytes of the well-formed sequence at p (Unicode 15, table 3-7), 0 when it is none. */
static size_t utf8_length(const uint8_t *p, const uint8_t *end)
{
    size_t n = *p >= 0xF0 ? 4 : *p >= 0xE0 ? 3 : 2;
    if (*p < 0xC2 || *p > 0xF4 || (size_t)(end - p) < n)
        return 0;
    uint8_t low = *p == 0xE0 ? 0xA0 : *p == 0xF0 ? 0x90 : 0x80;
    uint8_t high = *p == 0xED ? 0x9F : *p == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    }
    return n;
}

/* At the 'u' of an escape. */
static bool scan_unicode_escape(struct scanner *s)
{
    int32_t unit = json_text_hex4(s->p + 1, s->end);
    if (unit < 0)
        return fail(s, "expected four hex digits after \\u");
    if (unit == 0)
        return fail(s, "\\u0000 ends the text for some readers; leave it out");
    if (unit >= 0xDC00 && unit <= 0xDFFF)
        return fail(s, "expected a high surrogate before this low one");
    s->p += 5;
    if (unit < 0xD800 || unit > 0xDBFF)
        return true;
    int32_t low = s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u' ? json_text_hex4(s->p + 2, s->end) : -1;
    if (low < 0xDC00 || low > 0xDFFF)
        return fail(s, "expected a low surrogate (\\uDC00 to \\uDFFF) after the high one");
    s->p += 6;
    return true;
}

/* At a backslash. */
static bool scan_escape(struct scanner *s)
{
    s->p++;
    if (at(s, 'u'))
        return scan_unicode_escape(s);
    if (s->p == s->end || *s->p == '\0' || strchr("\"\\/bfnrt", *s->p) == NULL)
        return fail(s, "expected one of \" \\ / b f n r t u after a backslash");
    s->p++;
    return true;
}

/* At the opening quote; leaves p behind the closing one. */
static bool scan_string(struct scanner *s, bool *escaped)
{
    *escaped = false;
    s->p++;
    for (;;) {
        s->p += slice_plain((struct slice){(const char *)s->p, (size_t)(s->end - s->p)}, "\"\\\\");
        if (s->p == s->end)
            return fail(s, "expected the closing quote of a string");
        if (*s->p == '"') {
            s->p++;
            return true;
        }
        if (*s->p == '\\') {
            *escaped = true;
            if (!scan_escape(s))
                return false;
        } else if (*s->p < 0x20) {
            return fail(s, "expected an escape (\\n, \\t, \\u00XX) for this control character");
        } else {
            size_t n = utf8_length(s->p, s->end);
            if (n == 0)
                return fail(s, "expected valid UTF-8");
            s->p += n;
        }
    }
}

/* --- duplicate keys --------------------------------------------------------------- */

static bool same_key(const struct json_scan *s, uint32_t a, uint32_t b)
{
    struct slice left = json_text_key(s, a), right = json_text_key(s, b);
    if (!s->nodes[a].key_escaped && !s->nodes[b].key_escaped)
        return slice_eq(left, right);
    struct json_text l = json_text_begin(left), r = json_text_begin(right);
    int c;
    do {
        c = json_text_next(&l);
        if (c != json_text_next(&r))
            return false;
    } while (c >= 0);
    return true;
}

/* p goes to the second of two keys for the message. */
static bool fail_duplicate(struct scanner *s, uint32_t node)
{
    s->p = s->begin + s->out->nodes[node].key_start;
    return fail(s, "this key stands a second time in its object; give it once");
}

static bool check_few_keys(struct scanner *s, uint32_t object)
{
    const struct json_node *nodes = s->out->nodes;
    for (uint32_t b = object + 1; b < nodes[object].next; b = nodes[b].next) {
        for (uint32_t a = object + 1; a < b; a = nodes[a].next) {
            if (same_key(s->out, a, b))
                return fail_duplicate(s, b);
        }
    }
    return true;
}

/* Open addressing over node numbers; 0 is free, for node 0 has no key. */
static bool check_many_keys(struct scanner *s, uint32_t object, uint32_t count)
{
    struct json_scan *out = s->out;
    size_t size = 64;
    while (size < 2 * (size_t)count)
        size *= 2;
    uint32_t *slots = arena_calloc(out->arena, size, sizeof *slots);
    if (slots == NULL)
        return fail_limit(s, "an object with too many keys");
    for (uint32_t i = object + 1; i < out->nodes[object].next; i = out->nodes[i].next) {
        struct slice key = json_text_key(out, i);
        if (out->nodes[i].key_escaped && !json_text_copy(key, out->arena, &key))
            return fail_limit(s, "an object with too many keys");
        size_t slot = (size_t)hash_siphash(key.p, key.n) & (size - 1);
        for (; slots[slot] != 0; slot = (slot + 1) & (size - 1)) {
            if (same_key(out, slots[slot], i))
                return fail_duplicate(s, i);
        }
        slots[slot] = i;
    }
    return true;
}

/* --- values ------------------------------------------------------------------------- */

static bool nodes_grow(struct scanner *s)
{
    struct json_scan *out = s->out;
    if (out->arena == NULL)
        return fail_limit(s, "too many values");
    uint32_t cap = out->cap == 0 ? FIRST_NODES : out->cap * 2;
    struct json_node *moved = arena_calloc(out->arena, cap, sizeof *moved);
    if (moved == NULL)
        return fail_limit(s, "too many values");
    if (out->n > 0)
        memcpy(moved, out->nodes, out->n * sizeof *moved);
    out->nodes = moved;
    out->cap = cap;
    return true;
}

static bool scan_digits(struct scanner *s)
{
    const uint8_t *first = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    if (s->p == first)
        return fail(s, "expected a digit");
    return true;
}

static bool scan_number(struct scanner *s)
{
    if (at(s, '-'))
        s->p++;
    if (at(s, '0'))
        s->p++;
    else if (!scan_digits(s))
        return false;
    if (at(s, '.')) {
        s->p++;
        if (!scan_digits(s))
            return false;
    }
    if (at(s, 'e') || at(s, 'E')) {
        s->p++;
        if (at(s, '+') || at(s, '-'))
            s->p++;
        return scan_digits(s);
    }
    return true;
}

static bool fail_no_value(struct scanner *s)
{
    return fail(s, "expected a value: string, number, object, array, true, false or null");
}

static bool scan_word(struct scanner *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return fail_no_value(s);
    s->p += n;
    return true;
}

static bool open_container(struct scanner *s)
{
    if (s->depth == LIMIT_JSON_DEPTH)
        return fail(s, "nested deeper than 64 levels");
    s->stack[s->depth++] = (struct frame){.node = s->out->n - 1, .object = *s->p == '{'};
    s->p++;
    return true;
}

static bool close_container(struct scanner *s)
{
    struct frame f = s->stack[--s->depth];
    struct json_node *node = &s->out->nodes[f.node];
    node->end = offset(s, ++s->p);
    node->next = s->out->n;
    if (!f.object || f.count < 2)
        return true;
    if (f.count <= FEW_KEYS || s->out->arena == NULL)
        return check_few_keys(s, f.node);
    return check_many_keys(s, f.node, f.count);
}

/* The bytes of a value that is no container. */
static bool scan_scalar(struct scanner *s, struct json_node *node)
{
    switch (*s->p) {
    case '"':
        node->kind = JSON_KIND_STRING;
        return scan_string(s, &node->escaped);
    case 't':
        node->kind = JSON_KIND_TRUE;
        return scan_word(s, "true");
    case 'f':
        node->kind = JSON_KIND_FALSE;
        return scan_word(s, "false");
    case 'n':
        node->kind = JSON_KIND_NULL;
        return scan_word(s, "null");
    default:
        node->kind = JSON_KIND_NUMBER;
        if (*s->p != '-' && (*s->p < '0' || *s->p > '9'))
            return fail_no_value(s);
        return scan_number(s);
    }
}

/* A value, or the opening of one; its node has its key already. */
static bool scan_value(struct scanner *s, struct json_node seed)
{
    if (s->p == s->end)
        return fail(s, "expected a value");
    if (s->out->n == s->out->cap && !nodes_grow(s))
        return false;
    struct json_node *node = &s->out->nodes[s->out->n++];
    *node = seed;
    node->start = offset(s, s->p);
    if (*s->p == '{' || *s->p == '[') {
        node->kind = *s->p == '{' ? JSON_KIND_OBJECT : JSON_KIND_ARRAY;
        return open_container(s);
    }
    node->next = s->out->n;
    if (!scan_scalar(s, node))
        return false;
    node->end = offset(s, s->p);
    return true;
}

static bool scan_key(struct scanner *s, struct json_node *seed)
{
    if (!at(s, '"'))
        return fail(s, "expected a key in double quotes");
    seed->key_start = offset(s, s->p);
    if (!scan_string(s, &seed->key_escaped))
        return false;
    seed->key_end = offset(s, s->p);
    skip_blanks(s);
    if (!at(s, ':'))
        return fail(s, "expected ':' after a key");
    s->p++;
    skip_blanks(s);
    return true;
}

/* In a container: its end, or one more item of it. */
static bool scan_item(struct scanner *s)
{
    struct frame *f = &s->stack[s->depth - 1];
    const bool object = f->object;
    skip_blanks(s);
    if (at(s, object ? '}' : ']'))
        return close_container(s);
    if (f->count > 0) {
        if (!at(s, ','))
            return fail(s, object ? "expected ',' or '}'" : "expected ',' or ']'");
        s->p++;
        skip_blanks(s);
    }
    f->count++;
    struct json_node seed = {0};
    if (object && !scan_key(s, &seed))
        return false;
    return scan_value(s, seed);
}

static bool scan_all(struct scanner *s)
{
    if (s->end - s->p >= 3 && memcmp(s->p, "\xEF\xBB\xBF", 3) == 0)
        return fail(s, "a byte order mark, which JSON must not begin with (RFC 8259, section 8.1); leave it out");
    skip_blanks(s);
    if (!at(s, '{') && !at(s, '['))
        return fail(s, "expected an object or an array");
    if (!scan_value(s, (struct json_node){0}))
        return false;
    while (s->depth > 0) {
        if (!scan_item(s))
            return false;
    }
    skip_blanks(s);
    if (s->p < s->end)
        return fail(s, "expected nothing more after the end of the value");
    return true;
}

char *json_scan_place(struct slice text, size_t at_byte, char out[JSON_PLACE_MAX])
{
    size_t line = 1, line_start = 0;
    for (size_t i = 0; i < at_byte; i++) {
        if (text.p[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    }
    snprintf(out, JSON_PLACE_MAX, "byte %zu (line %zu, column %zu)", at_byte, line, at_byte - line_start + 1);
    return out;
}

enum err json_scan_parse(struct json_scan *s, struct slice text, struct errmsg *e)
{
    s->text = text;
    s->n = 0;
    if (text.n >= UINT32_MAX) {
        errmsg_set(e, "JSON of %zu bytes is too long", text.n);
        return ERR_LIMIT;
    }
    const uint8_t *begin = (const uint8_t *)(text.n == 0 ? "" : text.p);
    struct scanner scanner = {.out = s, .begin = begin, .p = begin, .end = begin + text.n};
    if (scan_all(&scanner))
        return OK;
    char place[JSON_PLACE_MAX];
    errmsg_set(e, "JSON at %s: %s%s", json_scan_place(text, offset(&scanner, scanner.p), place), scanner.wrong,
               scanner.p == scanner.end ? ", but the text ends" : "");
    return scanner.err;
}

/*
 * Reading the nodes of a scan: members by name, keys compared exactly and as a
 * case-blind reader would, strings as text.
 */
#include "json_text.h"

bool json_scan_is(const struct json_scan *s, uint32_t node, enum json_kind kind)
{
    return node != JSON_NONE && s->nodes[node].kind == kind;
}

size_t json_scan_count(const struct json_scan *s, uint32_t node)
{
    size_t n = 0;
    for (uint32_t c = node + 1; c < s->nodes[node].next; c = s->nodes[c].next)
        n++;
    return n;
}

static int ascii_lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

/* Most keys differ in it.  In lower case; -1: the key begins with something else, which may still fold to one. */
static int first_letter(struct slice key)
{
    int c = key.n > 0 ? ascii_lower(key.p[0]) : -1;
    return c >= 'a' && c <= 'z' ? c : -1;
}

/* The next byte folded to lower case; U+017F is an s and U+212A a k. */
static int folded_next(struct json_text *u)
{
    struct json_text ahead = *u;
    int a = json_text_next(&ahead);
    int b = a == 0xC5 || a == 0xE2 ? json_text_next(&ahead) : -1;
    if (a == 0xC5 && b == 0xBF) {
        *u = ahead;
        return 's';
    }
    if (a == 0xE2 && b == 0x84 && json_text_next(&ahead) == 0xAA) {
        *u = ahead;
        return 'k';
    }
    return ascii_lower(json_text_next(u));
}

enum json_key json_scan_key(const struct json_scan *s, uint32_t node, const char *name)
{
    struct slice key = json_text_key(s, node);
    bool escaped = s->nodes[node].key_escaped;
    if (!escaped && slice_eq_cstr(key, name))
        return JSON_KEY_SAME;
    struct json_text folded = json_text_begin(key), exact = folded;
    bool same = escaped;
    for (const char *p = name; *p != '\0'; p++) {
        if (folded_next(&folded) != ascii_lower((uint8_t)*p))
            return JSON_KEY_OTHER;
        same = same && json_text_next(&exact) == (uint8_t)*p;
    }
    if (json_text_next(&folded) >= 0)
        return JSON_KEY_OTHER;
    return same ? JSON_KEY_SAME : JSON_KEY_FOLDS;
}

bool json_scan_key_starts(const struct json_scan *s, uint32_t node, const char *prefix, bool fold)
{
    struct json_text u = json_text_begin(json_text_key(s, node));
    for (; *prefix != '\0'; prefix++) {
        int c = json_text_next(&u);
        if ((fold ? ascii_lower(c) : c) != (uint8_t)*prefix)
            return false;
    }
    return true;
}

uint32_t json_scan_member(const struct json_scan *s, uint32_t node, const char *name)
{
    if (!json_scan_is(s, node, JSON_KIND_OBJECT))
        return JSON_NONE;
    const struct slice wanted = slice_of(name);
    for (uint32_t c = node + 1; c < s->nodes[node].next; c = s->nodes[c].next) {
        bool same = s->nodes[c].key_escaped ? json_scan_key(s, c, name) == JSON_KEY_SAME
                                            : slice_eq(json_text_key(s, c), wanted);
        if (same)
            return c;
    }
    return JSON_NONE;
}

/* Of a message's keys nearly all are told apart by their first letters: before a call for each name. */
uint32_t json_scan_members(const struct json_scan *s, uint32_t node, const char *const *names, size_t n,
                           uint32_t *nodes, size_t *which)
{
    for (size_t i = 0; i < n; i++)
        nodes[i] = JSON_NONE;
    for (uint32_t c = node + 1; c < s->nodes[node].next; c = s->nodes[c].next) {
        enum json_key key = JSON_KEY_OTHER;
        int first = first_letter(json_text_key(s, c));
        for (size_t i = 0; i < n && key == JSON_KEY_OTHER; i++) {
            if (first >= 0 && first != ascii_lower(names[i][0]))
                continue;
            key = json_scan_key(s, c, names[i]);
            *which = i;
        }
        if (key == JSON_KEY_FOLDS)
            return c;
        if (key == JSON_KEY_SAME)
            nodes[*which] = c;
    }
    return JSON_NONE;
}

struct slice json_scan_raw(const struct json_scan *s, uint32_t node)
{
    const struct json_node *n = &s->nodes[node];
    return (struct slice){s->text.p + n->start, n->end - n->start};
}

bool json_scan_text(const struct json_scan *s, uint32_t node, struct arena *a, struct slice *out)
{
    if (!json_scan_is(s, node, JSON_KIND_STRING))
        return false;
    struct slice raw = json_scan_raw(s, node);
    struct slice inner = {raw.p + 1, raw.n - 2};
    if (s->nodes[node].escaped)
        return json_text_copy(inner, a, out);
    *out = inner;
    return true;
}

/*
 * A strict JSON scanner that keeps byte offsets: what is cut out of a body is cut
 * by bytes, what nobody asked to change is never written anew.
 *
 * RFC 8259, and whatever two readers could read differently is refused: a key that
 * stands twice in an object (after unescaping: "to" and "\u0074o" are one key),
 * bad UTF-8, lone surrogates, \u0000, nesting deeper than LIMIT_JSON_DEPTH, bytes
 * behind the text.  On top stands an object or an array.  Numbers are checked for
 * their form only: none is too large.
 *
 * The nodes are one array in the order of the text.  The children of node i begin
 * at i + 1; nodes[i].next is the first node behind i and all that is in it, so:
 *     for (uint32_t c = i + 1; c < s->nodes[i].next; c = s->nodes[c].next)
 */
#ifndef CONNECTORS_JSON_SCAN_H
#define CONNECTORS_JSON_SCAN_H

#include "postern/arena.h"

enum json_kind {
    JSON_KIND_OBJECT,
    JSON_KIND_ARRAY,
    JSON_KIND_STRING,
    JSON_KIND_NUMBER,
    JSON_KIND_TRUE,
    JSON_KIND_FALSE,
    JSON_KIND_NULL
};

struct json_node {
    uint32_t start, end;         /* of the value, quotes and brackets included */
    uint32_t key_start, key_end; /* of its key, quotes included; both 0 in an array and on top */
    uint32_t next;               /* index of the first node behind this one's subtree */
    uint8_t kind;                /* enum json_kind */
    bool escaped;                /* a string with backslashes */
    bool key_escaped;
};

struct json_scan {
    struct slice text;       /* borrowed: outlives the scan */
    struct json_node *nodes; /* nodes[0] is the whole */
    uint32_t n, cap;
    struct arena *arena; /* NULL: the caller's nodes, never more */
};

#define JSON_NONE UINT32_MAX

/*
 * OK; ERR_SYNTAX with e naming byte, line, column and what was expected; ERR_LIMIT
 * when the arena is spent, or the caller's nodes (arena NULL, nodes and cap set).
 */
enum err json_scan_parse(struct json_scan *s, struct slice text, struct errmsg *e) NODISCARD;

/* "byte 12 (line 1, column 13)" of an offset into the text, for messages.  Returns out. */
#define JSON_PLACE_MAX 80
char *json_scan_place(struct slice text, size_t at, char out[JSON_PLACE_MAX]);

/* The member of that name; JSON_NONE when there is none, or node is no object. */
uint32_t json_scan_member(const struct json_scan *s, uint32_t node, const char *name);
bool json_scan_is(const struct json_scan *s, uint32_t node, enum json_kind kind); /* false for JSON_NONE */
size_t json_scan_count(const struct json_scan *s, uint32_t node);                 /* children */

/* How a member's key compares with a name. */
enum json_key { JSON_KEY_OTHER, JSON_KEY_SAME, JSON_KEY_FOLDS /* the same but for case */ };
/* Case is folded as Go's encoding/json does it, U+017F and U+212A included: a reader that takes "CC" for "cc" is real.
 */
enum json_key json_scan_key(const struct json_scan *s, uint32_t node, const char *name);
/*
 * Fill nodes[i] with the member called names[i], or JSON_NONE.  Returns the first member whose key is one of the names
 * but for case, *which being that one; JSON_NONE: there is none.
 */
uint32_t json_scan_members(const struct json_scan *s, uint32_t node, const char *const *names, size_t n,
                           uint32_t *nodes, size_t *which) NODISCARD;
/* Does the key begin with prefix (ASCII, lower case), case ignored when fold is set? */
bool json_scan_key_starts(const struct json_scan *s, uint32_t node, const char *prefix, bool fold);

struct slice json_scan_raw(const struct json_scan *s, uint32_t node); /* the value's bytes as they stand */
/* A string's text, unescaped: of the body itself when it has no escapes, else in the arena.  False: no string, or arena
 * spent. */
bool json_scan_text(const struct json_scan *s, uint32_t node, struct arena *a, struct slice *out) NODISCARD;

#endif

/*
 * jansson with the only settings that are safe for us: duplicate keys refused
 * (two readings of {"to":"opted-out","to":"ok"} are a way past policy), an
 * object or array on top, and a depth that is checked before jansson recurses.
 */
#include "postern/json.h"

#include <jansson.h>

#include "postern/limits.h"

/* The offset of the bracket that goes too deep, or n.  Right for valid JSON; jansson refuses the rest anyway. */
static size_t find_too_deep(struct slice text)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > LIMIT_JSON_DEPTH)
                return i;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return text.n;
}

struct json_t *json_parse(struct slice text, struct errmsg *e)
{
    if (text.n == 0) {
        errmsg_set(e, "JSON is empty; an object or array is expected");
        return NULL;
    }
    const char *nul = memchr(text.p, '\0', text.n);
    if (nul != NULL) { /* jansson passes over one that follows a number or a word: [null\0] */
        errmsg_set(e, "JSON at byte %zu: a NUL byte", (size_t)(nul - text.p));
        return NULL;
    }
    size_t deep = find_too_deep(text);
    if (deep < text.n) {
        errmsg_set(e, "JSON at byte %zu: nested deeper than %u levels", deep, LIMIT_JSON_DEPTH);
        return NULL;
    }
    json_error_t error;
    json_t *root = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        /* jansson ends with "near '...'", a piece of the input, which may be a credential. */
        const char *near = strstr(error.text, " near '");
        int n = near == NULL ? (int)strlen(error.text) : (int)(near - error.text);
        errmsg_set(e, "JSON at line %d, column %d (byte %d): %.*s", error.line, error.column, error.position, n,
                   error.text);
    }
    return root;
}

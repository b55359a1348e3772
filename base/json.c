/*
 * jansson with the only settings that are safe for us: duplicate keys refused
 * (two readings of {"to":"opted-out","to":"ok"} are a way past policy), an
 * object or array on top, and a depth that is checked before jansson recurses.
 */
#include "postern/json.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "postern/limits.h"

/*
 * Where memory is short, jansson 2.14 cuts a string that it reads, and leaves out a member that is set, without a word:
 * an opt-out would be that of another address.  So small pieces abort, and a large one that was missed spoils the
 * whole.
 */
static _Thread_local bool starved;

static void *json_alloc(size_t n)
{
    void *p = n < LARGE_BYTES ? xcalloc(n, 1) : malloc(n);
    starved = starved || p == NULL;
    return p;
}

__attribute__((constructor)) static void use_our_heap(void)
{
    json_set_alloc_funcs(json_alloc, free);
}

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
    errno = 0;
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
    starved = false;
    json_t *root = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &error);
    if (starved) {
        json_decref(root);
        errmsg_set(e, "JSON of %zu bytes: there is no memory for it now", text.n);
        errno = ENOMEM;
        return NULL;
    }
    if (root == NULL) {
        /* jansson ends with "near '...'", a piece of the input, which may be a credential. */
        const char *near = strstr(error.text, " near '");
        int n = near == NULL ? (int)strlen(error.text) : (int)(near - error.text);
        errmsg_set(e, "JSON at line %d, column %d (byte %d): %.*s", error.line, error.column, error.position, n,
                   error.text);
    }
    return root;
}

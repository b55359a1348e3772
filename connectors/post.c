/*
 * Forms that tell what became of a message, as far as every provider's are alike.
 * Knows no provider's parameters and no signature.  The one idea: the URL is the
 * application's own and goes out as it was given, or not at all.
 */
#include "post.h"

void post_add(struct form *f, const char *name, struct slice value)
{
    if (value.n > 0)
        f->fields[f->n++] = (struct form_field){.name = slice_of(name), .value = value};
}

static bool comes_before(struct slice a, struct slice b)
{
    int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return order != 0 ? order < 0 : a.n < b.n;
}

void post_sort(struct form *f)
{
    for (size_t i = 1; i < f->n; i++) {
        struct form_field one = f->fields[i];
        size_t k = i;
        for (; k > 0 && comes_before(one.name, f->fields[k - 1].name); k--)
            f->fields[k] = f->fields[k - 1];
        f->fields[k] = one;
    }
}

bool post_read(const struct wire_request *r, struct arena *a, struct form *out)
{
    static const char *const none[] = {NULL};
    struct slice type = wire_field_get(r->fields, r->n_fields, "Content-Type");
    struct errmsg why;
    return wire_is_media_type(type, "application/x-www-form-urlencoded") &&
           form_parse(r->body, none, a, out, &why) == OK && out->n <= POST_FIELDS_MAX;
}

bool post_holds(struct slice s, struct slice part)
{
    return part.n > 0 && s.n >= part.n && memmem(s.p, s.n, part.p, part.n) != NULL;
}

/* What follows scheme and authority; "/" when nothing does. */
static struct slice target_of(struct slice url, struct arena *a)
{
    const char *authority = memmem(url.p, url.n, "://", 3);
    if (authority == NULL)
        return (struct slice){NULL, 0};
    const char *end = url.p + url.n;
    const char *hash = memchr(url.p, '#', url.n);
    if (hash != NULL)
        end = hash;
    for (const char *p = authority + 3; p < end; p++) {
        if (*p == '/')
            return (struct slice){p, (size_t)(end - p)};
        if (*p == '?')
            return slice_of(arena_printf(a, "/%.*s", (int)(end - p), p));
    }
    return SLICE("/");
}

static void add_all(struct buf *b, const struct form *f)
{
    for (size_t i = 0; i < f->n; i++) {
        if (i > 0)
            buf_add_cstr(b, "&");
        buf_add_form(b, f->fields[i].name);
        buf_add_cstr(b, "=");
        buf_add_form(b, f->fields[i].value);
    }
}

enum err post_make(struct slice method, struct slice url, const struct form *f, struct arena *a, struct outgoing *out)
{
    struct slice target = target_of(url, a);
    if (target.p == NULL || !slice_is_clean(url) || memchr(url.p, ' ', url.n) != NULL)
        return ERR_SYNTAX;
    bool in_query = slice_eq_cstr(method, "GET");
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    if (in_query) {
        buf_add_slice(&b, target);
        buf_add_cstr(&b, memchr(target.p, '?', target.n) == NULL ? "?" : "&");
    }
    add_all(&b, f);
    *out = (struct outgoing){.method = method, .path_and_query = in_query ? buf_slice(&b) : target};
    if (b.failed || in_query)
        return b.failed ? ERR_LIMIT : OK;
    out->body = buf_slice(&b);
    return wire_outgoing_add(out, "Content-Type", SLICE("application/x-www-form-urlencoded; charset=utf-8"));
}

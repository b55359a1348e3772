/*
 * Forms as the WHATWG URL Standard (section 5.1) decodes them, less everything
 * that another reader could decode differently.  Knows no field's meaning.
 */
#include "form.h"

#include "postern/hash.h"
#include "postern/limits.h"

struct reader {
    struct slice body;
    struct arena *arena;
    struct errmsg *e;
};

static enum err refuse(const struct reader *r, size_t at, const char *why)
{
    errmsg_set(r->e, "Form at byte %zu: %s", at, why);
    return ERR_SYNTAX;
}

/* What no encoder writes raw. */
static bool is_raw_forbidden(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7F || c == ';';
}

/* body[start, end) decoded. */
static enum err decode(const struct reader *r, size_t start, size_t end, struct slice *out)
{
    const char *p = r->body.p;
    size_t i = start;
    while (i < end && p[i] != '%' && p[i] != '+' && !is_raw_forbidden(p[i]))
        i++;
    *out = (struct slice){p + start, end - start};
    if (i == end)
        return slice_is_utf8(*out) ? OK : refuse(r, start, "expected valid UTF-8");
    char *text = arena_alloc(r->arena, end - start + 1);
    if (text == NULL)
        return ERR_LIMIT;
    size_t n = 0;
    for (i = start; i < end; i++) {
        if (is_raw_forbidden(p[i]))
            return refuse(r, i, "expected a % escape for this character");
        if (p[i] != '%') {
            text[n++] = p[i] == '+' ? ' ' : p[i];
            continue;
        }
        int high = end - i > 2 ? hash_hex_digit(p[i + 1]) : -1;
        int low = end - i > 2 ? hash_hex_digit(p[i + 2]) : -1;
        if (high < 0 || low < 0)
            return refuse(r, i, "expected two hex digits after '%'");
        if (high == 0 && low == 0)
            return refuse(r, i, "expected no NUL (%00)");
        text[n++] = (char)(high * 16 + low);
        i += 2;
    }
    *out = (struct slice){text, n};
    return slice_is_utf8(*out) ? OK : refuse(r, start, "expected valid UTF-8");
}

static size_t find(struct slice body, char c, size_t from, size_t to)
{
    const char *found = from < to ? memchr(body.p + from, c, to - from) : NULL;
    return found == NULL ? to : (size_t)(found - body.p);
}

static enum err read_field(const struct reader *r, size_t start, size_t end, struct form_field *out)
{
    size_t equals = find(r->body, '=', start, end);
    if (start == end)
        return refuse(r, start, "expected a field; there is an empty one");
    if (equals == end)
        return refuse(r, start, "expected '=' after a field's name");
    if (equals == start)
        return refuse(r, start, "expected a field's name before '='");
    out->start = start;
    out->end = end;
    enum err err = decode(r, start, equals, &out->name);
    if (err == OK && !slice_is_clean(out->name))
        return refuse(r, start, "expected a field's name without control characters");
    return err != OK ? err : decode(r, equals + 1, end, &out->value);
}

static bool may_repeat(struct slice name, const char *const *repeatable)
{
    for (; *repeatable != NULL; repeatable++) {
        if (slice_eq_cstr(name, *repeatable))
            return true;
    }
    return false;
}

/* At most LIMIT_FORM_FIELDS names: comparing all pairs stays under a millisecond. */
static enum err check_once(const struct reader *r, const struct form *f, const char *const *repeatable)
{
    for (size_t i = 1; i < f->n; i++) {
        struct slice name = f->fields[i].name;
        size_t before = 0;
        while (before < i && !slice_eq(f->fields[before].name, name))
            before++;
        if (before == i || may_repeat(name, repeatable))
            continue;
        errmsg_set(r->e, "Form at byte %zu: field %.*s stands twice; give it once", f->fields[i].start,
                   SLICE_HEAD(name, 64));
        return ERR_SYNTAX;
    }
    return OK;
}

enum err form_parse(struct slice body, const char *const *repeatable, struct arena *a, struct form *out,
                    struct errmsg *e)
{
    struct reader r = {body, a, e};
    *out = (struct form){0};
    if (body.n == 0)
        return OK;
    size_t n = 1;
    for (size_t i = 0; i < body.n; i++)
        n += body.p[i] == '&';
    if (n > LIMIT_FORM_FIELDS) {
        errmsg_set(e, "Form of %zu fields; at most %u are read", n, LIMIT_FORM_FIELDS);
        return ERR_LIMIT;
    }
    out->fields = arena_calloc(a, n, sizeof *out->fields);
    if (out->fields == NULL)
        return ERR_LIMIT;
    for (size_t start = 0, end; out->n < n; start = end + 1) {
        end = find(body, '&', start, body.n);
        enum err err = read_field(&r, start, end, &out->fields[out->n]);
        if (err != OK)
            return err;
        out->n++;
    }
    return repeatable == NULL ? OK : check_once(&r, out, repeatable);
}

struct slice form_get(const struct form *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++) {
        if (slice_eq_cstr(f->fields[i].name, name))
            return f->fields[i].value;
    }
    return (struct slice){NULL, 0};
}

size_t form_count(const struct form *f, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++)
        n += slice_eq_cstr(f->fields[i].name, name);
    return n;
}

/*
 * RFC 7578 over RFC 2046 section 5.1, less everything that another reader could
 * take apart differently.  Knows no part's meaning.  The one idea: every occurrence
 * of the delimiter in the body must be one, so nobody can find another part.
 */
#include "multipart.h"

#include "postern/hash.h"
#include "postern/limits.h"

#define BOUNDARY_MAX   70u   /* RFC 2046, section 5.1.1 */
#define HEAD_MAX_BYTES 8192u /* of a part */
#define HEADERS_MAX    16u   /* likewise */
#define FIRST_PARTS    32u

struct reader {
    struct slice body;
    struct arena *arena;
    struct errmsg *e;
    struct slice delimiter; /* "--boundary" */
    struct multipart *out;
    size_t cap;
};

static struct slice piece(struct slice s, size_t start, size_t end)
{
    return (struct slice){s.p + start, end - start};
}

static enum err refuse(const struct reader *r, size_t at, const char *why)
{
    errmsg_set(r->e, "Multipart at byte %zu (part %zu): %s", at, r->out->n, why);
    return ERR_SYNTAX;
}

/* --- header values ----------------------------------------------------------- */

/* RFC 2045's token. */
static bool is_token(char c)
{
    static const char others[] = "!#$%&'*+-.^_`{|}~";
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           memchr(others, c, sizeof others - 1) != NULL;
}

static struct slice take_token(struct slice *s)
{
    size_t n = 0;
    while (n < s->n && is_token(s->p[n]))
        n++;
    struct slice token = {s->p, n};
    *s = piece(*s, n, s->n);
    return token;
}

static bool take_char(struct slice *s, char c)
{
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = piece(*s, 1, s->n);
    return true;
}

/* s begins with a quote.  Between the quotes; a backslash before one ends the text for some readers and not for others.
 */
static bool take_quoted(struct slice *s, struct slice *out)
{
    const char *end = memchr(s->p + 1, '"', s->n - 1);
    if (end == NULL || end[-1] == '\\')
        return false;
    size_t n = (size_t)(end - s->p);
    *out = piece(*s, 1, n);
    *s = piece(*s, n + 1, s->n);
    return true;
}

/* "; name=value" at the front of *s: OK and taken off, ERR_NOT_FOUND at its end, ERR_SYNTAX. */
static enum err take_parameter(struct slice *s, struct slice *name, struct slice *value)
{
    *s = slice_trim(*s);
    if (s->n == 0)
        return ERR_NOT_FOUND;
    if (!take_char(s, ';'))
        return ERR_SYNTAX;
    *s = slice_trim(*s);
    *name = take_token(s);
    if (name->n == 0 || !take_char(s, '='))
        return ERR_SYNTAX;
    if (s->n > 0 && s->p[0] == '"')
        return take_quoted(s, value) ? OK : ERR_SYNTAX;
    *value = take_token(s);
    return value->n > 0 ? OK : ERR_SYNTAX;
}

static bool is_boundary(struct slice s)
{
    static const char others[] = "'()+_,-./:=? ";
    bool good = s.n > 0 && s.n <= BOUNDARY_MAX && s.p[s.n - 1] != ' ';
    for (size_t i = 0; i < s.n && good; i++)
        good = is_token(s.p[i]) || memchr(others, s.p[i], sizeof others - 1) != NULL;
    return good;
}

/* The media type, then boundary once; what else it says is nobody's. */
static enum err read_boundary(struct reader *r, struct slice type)
{
    static const char media[] = "multipart/form-data";
    struct slice rest = type, name, value, boundary = {NULL, 0};
    enum err err = ERR_SYNTAX;
    if (rest.n >= sizeof media - 1 && slice_ieq(piece(rest, 0, sizeof media - 1), SLICE(media))) {
        rest = piece(rest, sizeof media - 1, rest.n);
        while ((err = take_parameter(&rest, &name, &value)) == OK) {
            if (slice_ieq(name, SLICE("boundary")) && boundary.p == NULL)
                boundary = value;
            else if (name.n >= 8 && slice_ieq(piece(name, 0, 8), SLICE("boundary")))
                break; /* twice, or RFC 2231's boundary*0 */
        }
    }
    if (err == ERR_NOT_FOUND && is_boundary(boundary)) {
        const char *text = arena_printf(r->arena, "--%.*s", SLICE_ARG(boundary));
        r->delimiter = slice_of(text);
        return text == NULL ? ERR_LIMIT : OK;
    }
    errmsg_set(r->e, "Content-Type must be multipart/form-data with one boundary of 1 to %u characters (RFC 2046)",
               BOUNDARY_MAX);
    return ERR_SYNTAX;
}

/* --- a part's head --------------------------------------------------------------- */

struct head {
    bool disposition, type, encoding; /* seen */
    bool filename, filename_star;
};

/* A reader that undoes backslashes, % escapes or encoded words would read another name. */
static bool is_plain_name(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool escape =
            s.p[i] == '%' && i + 2 < s.n && hash_hex_digit(s.p[i + 1]) >= 0 && hash_hex_digit(s.p[i + 2]) >= 0;
        if (escape || s.p[i] == '\\')
            return false;
    }
    return s.n > 0 && !slice_starts(s, "=?") && slice_is_clean(s);
}

static enum err read_disposition(struct reader *r, struct slice value, struct head *h, struct multipart_part *out)
{
    size_t at = (size_t)(value.p - r->body.p);
    struct slice name, text;
    enum err err = ERR_SYNTAX;
    if (slice_ieq(take_token(&value), SLICE("form-data"))) {
        while ((err = take_parameter(&value, &name, &text)) == OK) {
            bool *seen = slice_ieq(name, SLICE("filename"))    ? &h->filename
                         : slice_ieq(name, SLICE("filename*")) ? &h->filename_star
                                                               : NULL;
            bool again = seen != NULL ? *seen : out->name.p != NULL;
            if (again || (seen == NULL && !slice_ieq(name, SLICE("name"))))
                return refuse(r, at, "expected name once, filename and filename* at most once, and nothing else");
            if (seen != NULL)
                *seen = true;
            else
                out->name = text;
        }
    }
    out->file = h->filename || h->filename_star;
    if (err != ERR_NOT_FOUND || out->name.p == NULL)
        return refuse(r, at, "expected Content-Disposition: form-data; name=\"...\"");
    return is_plain_name(out->name) ? OK : refuse(r, at, "expected a name without escapes, quotes and controls");
}

static enum err read_type(struct reader *r, struct slice value, struct multipart_part *out)
{
    static const char nested[] = "multipart/";
    out->type = value;
    if (value.n >= sizeof nested - 1 && slice_ieq(piece(value, 0, sizeof nested - 1), SLICE(nested)))
        return refuse(r, (size_t)(value.p - r->body.p), "expected no multipart within a part; send each by itself");
    return OK;
}

/* RFC 7578, section 4.7: deprecated; those that change no byte do no harm. */
static enum err check_encoding(struct reader *r, struct slice value)
{
    static const char *const identity[] = {"7bit", "8bit", "binary"};
    for (size_t i = 0; i < N_ELEMENTS(identity); i++) {
        if (slice_ieq(value, slice_of(identity[i])))
            return OK;
    }
    return refuse(r, (size_t)(value.p - r->body.p), "expected no Content-Transfer-Encoding but 7bit, 8bit or binary");
}

/* line: without CRLF, not empty. */
static enum err read_header(struct reader *r, struct slice line, struct head *h, struct multipart_part *out)
{
    size_t at = (size_t)(line.p - r->body.p);
    struct slice rest = line;
    struct slice name = take_token(&rest);
    for (size_t i = 0; i < line.n; i++) {
        if (((unsigned char)line.p[i] < 0x20 && line.p[i] != '\t') || line.p[i] == 0x7F)
            return refuse(r, at + i, "expected no control character in a part's head");
    }
    if (name.n == 0 || !take_char(&rest, ':'))
        return refuse(r, at, "expected a header \"Name: value\", not folded");
    rest = slice_trim(rest);
    bool *seen = slice_ieq(name, SLICE("Content-Disposition"))         ? &h->disposition
                 : slice_ieq(name, SLICE("Content-Type"))              ? &h->type
                 : slice_ieq(name, SLICE("Content-Transfer-Encoding")) ? &h->encoding
                                                                       : NULL;
    if (seen == NULL)
        return OK;
    if (*seen)
        return refuse(r, at, "expected this header once");
    *seen = true;
    if (seen == &h->disposition)
        return read_disposition(r, rest, h, out);
    return seen == &h->type ? read_type(r, rest, out) : check_encoding(r, rest);
}

/* [at, end): behind the delimiter's line, up to the CRLF before the next one. */
static enum err read_part(struct reader *r, size_t at, size_t end, struct multipart_part *out)
{
    struct head h = {0};
    const char *p = r->body.p;
    size_t limit = end - at < HEAD_MAX_BYTES ? end : at + HEAD_MAX_BYTES;
    for (size_t n = 0;; n++) {
        const char *lf = at < limit ? memchr(p + at, '\n', limit - at) : NULL;
        size_t line_end = lf == NULL ? limit : (size_t)(lf - p);
        if (lf == NULL && limit < end) {
            errmsg_set(r->e, "Multipart part %zu: its head has more than %u bytes", r->out->n, HEAD_MAX_BYTES);
            return ERR_LIMIT;
        }
        if (lf == NULL)
            return refuse(r, at, "expected an empty line behind a part's headers");
        if (line_end == at || p[line_end - 1] != '\r')
            return refuse(r, line_end, "expected CRLF at the end of a header");
        if (line_end - 1 == at) {
            at += 2;
            break;
        }
        if (n == HEADERS_MAX)
            return refuse(r, at, "expected at most 16 headers in a part");
        enum err err = read_header(r, piece(r->body, at, line_end - 1), &h, out);
        if (err != OK)
            return err;
        at = line_end + 1;
    }
    out->value = piece(r->body, at, end);
    return h.disposition ? OK : refuse(r, at, "expected a Content-Disposition in each part");
}

/* --- the whole --------------------------------------------------------------------- */

static struct multipart_part *add_part(struct reader *r)
{
    struct multipart *m = r->out;
    if (m->n == LIMIT_FORM_FIELDS) {
        errmsg_set(r->e, "Multipart of more than %u parts", LIMIT_FORM_FIELDS);
        return NULL;
    }
    if (m->n == r->cap) {
        r->cap = r->cap == 0 ? FIRST_PARTS : r->cap * 2;
        struct multipart_part *moved = arena_calloc(r->arena, r->cap, sizeof *moved);
        if (moved == NULL)
            return NULL;
        if (m->n > 0)
            memcpy(moved, m->parts, m->n * sizeof *moved);
        m->parts = moved;
    }
    return &m->parts[m->n];
}

static size_t find_delimiter(const struct reader *r, size_t from)
{
    const char *found = memmem(r->body.p + from, r->body.n - from, r->delimiter.p, r->delimiter.n);
    return found == NULL ? SIZE_MAX : (size_t)(found - r->body.p);
}

/* The delimiter of the next part or the end; it must stand at the beginning of a line. */
static enum err next_delimiter(struct reader *r, size_t from, size_t *at)
{
    *at = find_delimiter(r, from);
    if (*at == SIZE_MAX)
        return refuse(r, r->body.n, "expected the closing delimiter; the body is cut off");
    if (*at < from + 2 || r->body.p[*at - 1] != '\n' || r->body.p[*at - 2] != '\r')
        return refuse(r, *at, "expected the delimiter at the beginning of a line, behind CRLF, and nowhere else");
    return OK;
}

/* Does s stand at body[at]? */
static bool stands(const struct reader *r, size_t at, const char *s)
{
    return slice_starts(piece(r->body, at, r->body.n), s);
}

static enum err read_parts(struct reader *r)
{
    if (r->body.n == 0 || !stands(r, 0, r->delimiter.p))
        return refuse(r, 0, "expected the delimiter first: -- and the boundary of Content-Type");
    for (size_t start = 0;;) {
        size_t at = start + r->delimiter.n, next;
        if (stands(r, at, "--"))
            return at + 2 == r->body.n || (at + 4 == r->body.n && stands(r, at + 2, "\r\n"))
                       ? OK
                       : refuse(r, at + 2, "expected nothing behind the closing delimiter");
        if (!stands(r, at, "\r\n"))
            return refuse(r, at, "expected CRLF or -- behind the delimiter");
        enum err err = next_delimiter(r, at + 2, &next);
        if (err != OK)
            return err;
        struct multipart_part *part = add_part(r);
        if (part == NULL)
            return ERR_LIMIT;
        err = read_part(r, at + 2, next - 2, part);
        if (err != OK)
            return err;
        part->start = start;
        part->head = at + 2;
        part->end = next;
        r->out->n++;
        start = next;
    }
}

enum err multipart_parse(struct slice content_type, struct slice body, struct arena *a, struct multipart *out,
                         struct errmsg *e)
{
    struct reader r = {.body = body, .arena = a, .e = e, .out = out};
    *out = (struct multipart){0};
    *e = (struct errmsg){0};
    enum err err = read_boundary(&r, content_type);
    return err != OK ? err : read_parts(&r);
}

bool multipart_is_utf8(const struct multipart_part *part)
{
    static const char *const supersets[] = {"us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252"};
    struct slice rest = part->type, name, value;
    const char *parameters = rest.n == 0 ? NULL : memchr(rest.p, ';', rest.n);
    bool ascii = true, known = true;
    rest = parameters == NULL ? (struct slice){NULL, 0} : piece(rest, (size_t)(parameters - rest.p), rest.n);
    while (take_parameter(&rest, &name, &value) == OK) {
        if (!slice_ieq(name, SLICE("charset")) || slice_ieq(value, SLICE("utf-8")))
            continue;
        known = false;
        for (size_t i = 0; i < N_ELEMENTS(supersets); i++)
            known = known || slice_ieq(value, slice_of(supersets[i]));
        for (size_t i = 0; i < part->value.n; i++)
            ascii = ascii && (part->value.p[i] & 0x80) == 0;
    }
    return known && ascii && slice_is_utf8(part->value);
}

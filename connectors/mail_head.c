/*
 * The header of a mail (RFC 5322 section 2.2), strictly and by offsets: fields are
 * cut out by bytes, never written anew.  Knows no field by name.  The one idea: what
 * two readers could part at different places is no header at all: a blank before the
 * colon, a line of blanks (to some the end of the header), a control that some take
 * for a line's end.
 */
#include "mime.h"
#include "postern/limits.h"
#include "wire.h"

static enum err refuse(struct fault *f, size_t line, const char *why)
{
    return wire_fault(f, FAULT_SYNTAX, NULL, "The header's line %zu %s", line, why);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* RFC 5322 section 3.6.8: visible ASCII up to the colon. */
static bool has_name(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && (unsigned char)(p[i] - '!') <= '~' - '!' && p[i] != ':')
        i++;
    return i > 0 && i < n && p[i] == ':';
}

/* The bytes of the line that begins at p, without its end; a line beyond all limits is not read to its end. */
static enum err line_read(const char *p, size_t most, size_t line, size_t *n, struct fault *f)
{
    size_t i = 0;
    while (i < most && i <= LIMIT_MAIL_HEADER_BYTES && ((unsigned char)p[i] >= ' ' || p[i] == '\t') && p[i] != 0x7F)
        i++;
    *n = i;
    if (i == most || i > LIMIT_MAIL_HEADER_BYTES || (p[i] == '\r' && i + 1 < most && p[i + 1] == '\n'))
        return OK;
    if (p[i] == '\r')
        return refuse(f, line, "has a CR without LF; end each line with CRLF");
    if (p[i] == '\n')
        return refuse(f, line, "has a LF without CR; end each line with CRLF");
    return refuse(f, line, "has a control character; encode it as RFC 2047 says");
}

static enum err line_check(const char *p, size_t n, size_t line, struct fault *f)
{
    size_t blanks = 0;
    if (!is_blank(p[0]))
        return has_name(p, n) ? OK
                              : refuse(f, line,
                                       "is no header field; write \"Name: value\", no blank before the colon, and an "
                                       "empty line before the text");
    if (line == 1)
        return refuse(f, line, "begins with a blank, and there is no field that it could continue");
    while (blanks < n && is_blank(p[blanks]))
        blanks++;
    return blanks < n ? OK : refuse(f, line, "has nothing but blanks; leave it out, or empty to end the header");
}

/* Checks every line, counts the fields, finds the body. */
static enum err check(struct slice content, struct mail_head *out, struct fault *f)
{
    size_t at = 0, n = 0;
    for (size_t line = 1; at < content.n; line++) {
        enum err err = line_read(content.p + at, content.n - at, line, &n, f);
        if (err != OK)
            return err;
        size_t end = at + n == content.n ? content.n : at + n + 2;
        if (n == 0) {
            out->body = end;
            return OK;
        }
        err = line_check(content.p + at, n, line, f);
        if (err != OK)
            return err;
        if (end > LIMIT_MAIL_HEADER_BYTES)
            return wire_fault(f, FAULT_TOO_LARGE, NULL, "The header has more than %u bytes", LIMIT_MAIL_HEADER_BYTES);
        out->n += !is_blank(content.p[at]);
        at = end;
    }
    out->body = content.n;
    return OK;
}

/* The field that begins at `at`; every line was checked. */
static struct mail_field field_at(struct slice content, size_t at, size_t end_of_head)
{
    const char *colon = memchr(content.p + at, ':', end_of_head - at);
    size_t value = (size_t)(colon - content.p) + 1, end = at, last = at;
    do {
        const char *lf = memchr(content.p + end, '\n', end_of_head - end);
        end = lf == NULL ? end_of_head : (size_t)(lf - content.p) + 1;
        last = lf == NULL ? end : end - 2;
    } while (end < end_of_head && is_blank(content.p[end]));
    return (struct mail_field){
        .name = {content.p + at, value - 1 - at}, .value = {content.p + value, last - value}, .start = at, .end = end};
}

enum err mail_head_read(struct slice content, struct arena *a, struct mail_head *out, struct fault *f)
{
    *out = (struct mail_head){.n = 0};
    enum err err = check(content, out, f);
    if (err != OK)
        return err;
    out->fields = arena_calloc(a, out->n + 1, sizeof *out->fields);
    if (out->fields == NULL)
        return wire_fault(f, FAULT_TOO_LARGE, NULL, "The header has too many fields to be read");
    size_t at = 0;
    for (size_t i = 0; i < out->n; i++) {
        out->fields[i] = field_at(content, at, out->body);
        at = out->fields[i].end;
    }
    return OK;
}

const struct mail_field *mail_head_get(const struct mail_head *h, const char *name, size_t nth)
{
    struct slice wanted = slice_of(name);
    for (size_t i = 0; i < h->n; i++) {
        /* Lengths first: a dozen names are asked for of each mail. */
        if (h->fields[i].name.n == wanted.n && slice_ieq(h->fields[i].name, wanted) && nth-- == 0)
            return &h->fields[i];
    }
    return NULL;
}

struct slice mail_field_text(const struct mail_field *field, struct arena *a)
{
    struct slice raw = field->value;
    if (raw.n == 0 || memchr(raw.p, '\r', raw.n) == NULL)
        return slice_trim(raw);
    char *text = arena_alloc(a, raw.n);
    size_t n = 0;
    if (text == NULL)
        return (struct slice){NULL, 0};
    for (size_t i = 0; i < raw.n; i++) {
        if (raw.p[i] != '\r' && raw.p[i] != '\n')
            text[n++] = raw.p[i];
    }
    return slice_trim((struct slice){text, n});
}

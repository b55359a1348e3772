/*
 * RFC 5322 section 3.4, less what two readers could split or name differently.
 * Knows where a mailbox begins and ends and which part of it is the address; what
 * makes an address valid is base/address.c's.  The one idea: a comma separates
 * unless it stands in quotes or angle brackets, and nothing else does.
 */
#include "mailbox.h"

struct reader {
    struct slice text;
    size_t at;
    struct errmsg *e;
};

static enum err refuse(struct reader *r, size_t at, const char *why)
{
    errmsg_set(r->e, "at byte %zu: %s", at, why);
    return ERR_SYNTAX;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7F;
}

/* From the opening quote to behind the closing one. */
static enum err skip_quoted(struct reader *r)
{
    const char *p = r->text.p;
    size_t open = r->at++;
    for (; r->at < r->text.n && p[r->at] != '"'; r->at++) {
        if (p[r->at] == '\\')
            r->at++;
        if (r->at < r->text.n && is_control(p[r->at]))
            return refuse(r, r->at, "expected no control character in a quoted name");
    }
    if (r->at >= r->text.n)
        return refuse(r, open, "expected a closing quote for this one");
    r->at++;
    return OK;
}

/* From '<' to behind '>'. */
static enum err read_angle(struct reader *r, struct slice *address)
{
    size_t open = r->at++;
    while (r->at < r->text.n && r->text.p[r->at] != '>') {
        char c = r->text.p[r->at];
        enum err err = OK;
        if (c == '"')
            err = skip_quoted(r);
        else if (c == '<' || c == '(' || is_control(c))
            err = refuse(r, r->at, "expected an address and '>' after '<'");
        else
            r->at++;
        if (err != OK)
            return err;
    }
    if (r->at == r->text.n)
        return refuse(r, open, "expected a '>' for this '<'");
    *address = slice_trim((struct slice){r->text.p + open + 1, r->at - open - 1});
    r->at++;
    while (r->at < r->text.n && is_blank(r->text.p[r->at]))
        r->at++;
    if (r->at < r->text.n && r->text.p[r->at] != ',')
        return refuse(r, r->at, "expected a comma or the end after '>'");
    return OK;
}

/* A character that stands neither in quotes nor in angle brackets. */
static enum err check_bare(struct reader *r, char c)
{
    switch (c) {
    case '(':
    case ')':
        return refuse(r, r->at, "expected no comment; put the name in quotes, or leave the brackets out");
    case ':':
    case ';':
        return refuse(r, r->at, "expected no group; separate addresses by commas");
    case '>':
    case '[':
    case ']':
    case '\\':
        return refuse(r, r->at, "expected this character in quotes only");
    default:
        return is_control(c) ? refuse(r, r->at, "expected no control character") : OK;
    }
}

/* Up to the comma behind it, or the end; *angle: where '<' stands, or SIZE_MAX. */
static enum err read_one(struct reader *r, size_t *angle, struct slice *address)
{
    size_t sign = SIZE_MAX; /* the first bare '@' */
    *angle = SIZE_MAX;
    while (r->at < r->text.n && r->text.p[r->at] != ',') {
        char c = r->text.p[r->at];
        enum err err;
        if (c == '<') {
            *angle = r->at;
            err = sign == SIZE_MAX ? read_angle(r, address) : refuse(r, sign, "expected a name with '@' in quotes");
        } else if (c == '"') {
            err = skip_quoted(r);
        } else {
            if (c == '@' && sign == SIZE_MAX)
                sign = r->at;
            err = check_bare(r, c);
            r->at++;
        }
        if (err != OK)
            return err;
    }
    return OK;
}

enum err mailbox_next(struct mailbox_list *list, struct mailbox *out, struct errmsg *e)
{
    struct reader r = {list->text, list->at, e};
    const char *p = list->text.p;
    *out = (struct mailbox){0};
    while (r.at < r.text.n && (is_blank(p[r.at]) || p[r.at] == ','))
        r.at++;
    if (r.at == r.text.n)
        return ERR_NOT_FOUND;
    size_t angle;
    out->start = r.at;
    enum err err = read_one(&r, &angle, &out->address);
    if (err != OK)
        return err;
    struct slice whole = slice_trim((struct slice){p + out->start, r.at - out->start});
    out->end = out->start + whole.n;
    if (angle == SIZE_MAX)
        out->address = whole;
    else
        out->name = slice_trim((struct slice){p + out->start, angle - out->start});
    list->at = r.at;
    return OK;
}

/*
 * Where the parts of a mail begin and end.  Knows delimiters and three header fields, and nothing of what is in a
 * part.  The idea to hold in mind: what is open is a stack of delimiters; a delimiter line ends everything above its
 * own level (RFC 2046 section 5.1.2), the end of the mail ends all.
 *
 * Rulings:
 *  - A line is a delimiter when nothing but blanks follows the boundary.  Of two equal ones the inner is meant.
 *  - Where a part's header is broken, what is left of it is its content.  Of a field given twice the first counts.
 *  - A multipart without a usable boundary is one part, of no kind that is read.
 */
#include "mime_walk.h"

#include "wire.h"

#define BOUNDARY_MAX 255u /* RFC 2046 has 70; a longer one than this is not looked for */

void mime_walk_begin(struct mime_walk *w, struct slice content)
{
    w->content = content;
    w->at = 0;
    w->depth = w->inner = w->parts = 0;
    w->header = true;
}

/* --- lines ------------------------------------------------------------------------ */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trim(struct slice s)
{
    while (s.n > 0 && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* The offset behind the line that begins at `at`. */
static size_t line_after(struct slice s, size_t at)
{
    const char *nl = memchr(s.p + at, '\n', s.n - at);
    return nl == NULL ? s.n : (size_t)(nl - s.p) + 1;
}

/*
 * The first line behind the one at `at` that begins with "--"; s.n when there is none.  Of each such pair one byte is
 * at an odd distance from `at`: every second byte is looked at, which is what 30 MB of base64 cost.
 */
static size_t next_dashes(struct slice s, size_t at)
{
    const char *p = s.p;
    for (size_t k = at + 1; k < s.n; k += 2) {
        if (p[k] != '-')
            continue;
        if (p[k - 1] == '\n' && k + 1 < s.n && p[k + 1] == '-')
            return k;
        if (p[k - 1] == '-' && k >= at + 2 && p[k - 2] == '\n')
            return k - 1;
    }
    return s.n;
}

/* --- delimiters ------------------------------------------------------------------------ */

struct delimiter {
    size_t start, end; /* of its line, the line's end included */
    size_t level;
    bool closes;
};

/* Behind the last place in the order whose mix is at most this. */
static size_t place_behind(const struct mime_walk *w, uint64_t mix)
{
    size_t low = 0, high = w->depth;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (w->levels[w->order[middle]].mix <= mix)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* How many levels are open down to the innermost with that boundary, it included; 0: there is none. */
static size_t depth_of(const struct mime_walk *w, struct slice boundary)
{
    uint64_t mix = wire_mix(0, boundary);
    for (size_t i = place_behind(w, mix); i > 0 && w->levels[w->order[i - 1]].mix == mix; i--) {
        const struct mime_level *l = &w->levels[w->order[i - 1]];
        if (slice_eq(l->boundary, boundary))
            return w->order[i - 1] + (size_t)1;
    }
    return 0;
}

/* Is the line at `at` one of the open delimiters? */
static bool delimiter_at(const struct mime_walk *w, size_t at, struct delimiter *out)
{
    struct slice s = w->content;
    if (s.n - at < 3 || s.p[at] != '-' || s.p[at + 1] != '-' || is_blank(s.p[at + 2]))
        return false;
    size_t end = line_after(s, at);
    struct slice line = {s.p + at + 2, end - at - 2};
    while (is_blank(line.p[line.n - 1]))
        line.n--;
    bool may_close = line.n > 2 && memcmp(line.p + line.n - 2, "--", 2) == 0;
    size_t opens = depth_of(w, line), closes = may_close ? depth_of(w, (struct slice){line.p, line.n - 2}) : 0;
    if (opens == 0 && closes == 0)
        return false;
    bool is_close = closes > opens;
    *out = (struct delimiter){.start = at, .end = end, .level = (is_close ? closes : opens) - 1, .closes = is_close};
    return true;
}

/* The first at or behind the line that begins at w->at. */
static bool find_delimiter(const struct mime_walk *w, struct delimiter *out)
{
    for (size_t at = w->at; w->depth > 0 && at < w->content.n; at = next_dashes(w->content, at)) {
        if (delimiter_at(w, at, out))
            return true;
    }
    return false;
}

static void drop_levels(struct mime_walk *w, size_t depth)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->depth; i++) {
        if (w->order[i] < depth)
            w->order[kept++] = w->order[i];
    }
    while (w->depth > depth)
        w->inner -= w->levels[--w->depth].boundary.n == 0;
}

/* To the header of the next part. */
static enum err advance(struct mime_walk *w)
{
    struct delimiter d;
    while (find_delimiter(w, &d)) {
        drop_levels(w, d.closes ? d.level : d.level + 1);
        w->at = d.end;
        if (d.closes)
            continue;
        if (w->parts++ == LIMIT_MIME_PARTS)
            return ERR_LIMIT;
        w->header = true;
        return OK;
    }
    drop_levels(w, 0);
    w->at = w->content.n;
    return ERR_NOT_FOUND;
}

static enum err enter(struct mime_walk *w, struct slice boundary, bool digest)
{
    if (w->depth == LIMIT_MIME_DEPTH)
        return ERR_LIMIT;
    uint64_t mix = wire_mix(0, boundary);
    size_t place = place_behind(w, mix);
    memmove(w->order + place + 1, w->order + place, w->depth - place);
    w->order[place] = (uint8_t)w->depth;
    w->levels[w->depth++] = (struct mime_level){.boundary = boundary, .mix = mix, .digest = digest};
    w->inner += boundary.n == 0;
    return OK;
}

/* --- fields ----------------------------------------------------------------------------- */

static bool is(struct slice s, const char *word)
{
    return slice_ieq(s, slice_of(word));
}

/* The text before the first ';' that is not in quotes, blanks off; *rest: what is behind it. */
static struct slice until_semicolon(struct slice s, struct slice *rest)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < s.n && (quoted || s.p[i] != ';'); i++) {
        if (s.p[i] == '"')
            quoted = !quoted;
        else if (s.p[i] == '\\' && quoted && i + 1 < s.n)
            i++;
    }
    *rest = i < s.n ? (struct slice){s.p + i + 1, s.n - i - 1} : (struct slice){NULL, 0};
    return trim((struct slice){s.p, i});
}

static struct slice unquote(struct slice s)
{
    if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"')
        s = (struct slice){s.p + 1, s.n - 2};
    return s;
}

static void read_parameter(struct slice piece, struct mime_part *out)
{
    const char *equals = piece.n > 0 ? memchr(piece.p, '=', piece.n) : NULL;
    if (equals == NULL)
        return;
    struct slice name = trim((struct slice){piece.p, (size_t)(equals - piece.p)});
    struct slice value = unquote(trim((struct slice){equals + 1, piece.n - (size_t)(equals + 1 - piece.p)}));
    if (is(name, "boundary") && out->boundary.n == 0 && value.n <= BOUNDARY_MAX)
        out->boundary = value;
    else if (is(name, "charset") && out->charset.n == 0)
        out->charset = value;
}

void mime_type_read(struct slice value, struct mime_part *out)
{
    struct slice rest;
    struct slice type = until_semicolon(value, &rest);
    while (rest.n > 0)
        read_parameter(until_semicolon(rest, &rest), out);
    struct slice head = {type.p, type.n < 10 ? type.n : 10};
    bool delimited = is(head, "multipart/") && out->boundary.n > 0;
    out->kind = delimited                                                   ? MIME_MULTIPART
                : type.n == 0 || is(type, "text/plain") || is(type, "text") ? MIME_TEXT
                : is(type, "text/html")                                     ? MIME_HTML
                : is(type, "message/rfc822") || is(type, "message/global")  ? MIME_MESSAGE
                                                                            : MIME_OTHER;
    out->digest = delimited && is(type, "multipart/digest");
}

static void read_encoding(struct slice value, struct mime_part *out)
{
    struct slice word = trim(value);
    out->encoding = is(word, "base64") ? MIME_BASE64 : is(word, "quoted-printable") ? MIME_QUOTED : MIME_AS_IT_IS;
}

static void read_disposition(struct slice value, struct mime_part *out)
{
    struct slice rest;
    out->attached = is(until_semicolon(value, &rest), "attachment");
}

static const struct {
    const char *name;
    void (*read)(struct slice value, struct mime_part *out);
} fields[] = {
    {"Content-Type", mime_type_read},
    {"Content-Transfer-Encoding", read_encoding},
    {"Content-Disposition", read_disposition},
};

/* seen: bit set of fields. */
static void read_field(struct slice name, struct slice value, unsigned *seen, struct mime_part *out)
{
    if (name.n < 12 || (name.p[0] | 0x20) != 'c')
        return;
    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        if ((*seen >> i & 1) != 0 || !is(name, fields[i].name))
            continue;
        *seen |= 1u << i;
        fields[i].read(value, out);
    }
}

/* The offset behind the field at `at`, the lines that continue it included. */
static size_t field_after(struct slice s, size_t at)
{
    do
        at = line_after(s, at);
    while (at < s.n && (s.p[at] == ' ' || s.p[at] == '\t'));
    return at;
}

/* The header at w->at; leaves w->at at the content. */
static void read_header(struct mime_walk *w, struct mime_part *out)
{
    struct slice s = w->content;
    struct delimiter d;
    unsigned seen = 0;
    bool digest = w->depth > 0 && w->levels[w->depth - 1].digest;
    *out = (struct mime_part){.kind = digest ? MIME_MESSAGE : MIME_TEXT, .inner = w->inner > 0};
    while (w->at < s.n && !delimiter_at(w, w->at, &d)) {
        size_t line_end = line_after(s, w->at);
        if (trim((struct slice){s.p + w->at, line_end - w->at}).n == 0) {
            w->at = line_end;
            return;
        }
        size_t end = field_after(s, w->at);
        struct slice field = {s.p + w->at, end - w->at};
        const char *colon = memchr(field.p, ':', field.n);
        if (colon == NULL)
            return;
        struct slice value = {colon + 1, field.n - (size_t)(colon + 1 - field.p)};
        read_field(trim((struct slice){field.p, (size_t)(colon - field.p)}), value, &seen, out);
        w->at = end;
    }
}

/* --- parts -------------------------------------------------------------------------------- */

/* The content of the part at w->at ends before the line end that stands before the next delimiter. */
static void find_end(struct mime_walk *w, struct mime_part *out)
{
    struct delimiter d = {.start = w->content.n};
    const char *p = w->content.p;
    bool found = find_delimiter(w, &d);
    out->start = w->at;
    out->end = w->at = d.start;
    if (found && out->end > out->start)
        out->end--;
    if (found && out->end > out->start && p[out->end - 1] == '\r')
        out->end--;
}

enum err mime_walk_next(struct mime_walk *w, struct mime_part *out)
{
    for (;;) {
        enum err err = w->header ? OK : advance(w);
        if (err != OK)
            return err;
        read_header(w, out);
        w->header = out->kind == MIME_MESSAGE;
        if (out->kind == MIME_TEXT || out->kind == MIME_HTML || out->kind == MIME_OTHER) {
            find_end(w, out);
            return OK;
        }
        if (out->kind == MIME_MESSAGE)
            out->boundary = (struct slice){NULL, 0};
        err = enter(w, out->boundary, out->digest);
        if (err != OK || out->kind == MIME_MESSAGE) {
            out->start = out->end = w->at;
            return err;
        }
    }
}

/*
 * The texts of a mail, decoded.  The only file that knows GMime, and it asks only for what holds no state and takes no
 * memory: transfer encodings.  Where the parts are is mime_walk's to say: GMime's own parser recurses once a level and
 * reads a mail of 30 MB to its end, however little of it we would look at.
 *
 * The idea to hold in mind: a budget.  What is decoded and kept is at most MIME_LOOK_BYTES in all.  Beyond it only
 * cards' numbers are looked for, a part at a time, and no more is kept.
 */
#include "mime.h"

#include <errno.h>

#include <gmime/gmime-encodings.h>
#include <iconv.h>

#include "mime_walk.h"
#include "postern/limits.h"

struct look {
    struct slice content;
    struct arena *arena;
    struct body_facts *out;
    size_t left, parts_left; /* of the budget */
    struct slice text, html; /* the first of each that is not empty */
};

/* --- character sets ------------------------------------------------------------------- */

/* Those that are converted: a list, because the C library loads code by the name that it is given. */
static const struct charset {
    const char *name;
    bool beyond_ascii; /* the bytes below 0x80 are not ASCII, or not always */
} charsets[] = {
    {"iso-8859-1", false},   {"iso-8859-2", false},   {"iso-8859-3", false},   {"iso-8859-4", false},
    {"iso-8859-5", false},   {"iso-8859-6", false},   {"iso-8859-7", false},   {"iso-8859-8", false},
    {"iso-8859-9", false},   {"iso-8859-10", false},  {"iso-8859-13", false},  {"iso-8859-14", false},
    {"iso-8859-15", false},  {"iso-8859-16", false},  {"windows-1250", false}, {"windows-1251", false},
    {"windows-1252", false}, {"windows-1253", false}, {"windows-1254", false}, {"windows-1255", false},
    {"windows-1256", false}, {"windows-1257", false}, {"windows-1258", false}, {"koi8-r", false},
    {"koi8-u", false},       {"gb2312", false},       {"gbk", false},          {"gb18030", false},
    {"big5", false},         {"shift_jis", false},    {"euc-jp", false},       {"euc-kr", false},
    {"tis-620", false},      {"iso-2022-jp", true},   {"iso-2022-kr", true},   {"utf-16", true},
    {"utf-16le", true},      {"utf-16be", true},      {"utf-7", true},
};

static const struct charset *charset_of(struct slice name)
{
    if (name.n == 0) /* most texts do not say */
        return NULL;
    for (size_t i = 0; i < N_ELEMENTS(charsets); i++) {
        if (slice_ieq(name, slice_of(charsets[i].name)))
            return &charsets[i];
    }
    return NULL;
}

static bool is_ascii(struct slice s)
{
    uint64_t all = 0, w;
    size_t i = 0;
    for (; s.n - i >= sizeof w; i += sizeof w) {
        memcpy(&w, s.p + i, sizeof w);
        all |= w;
    }
    for (; i < s.n; i++)
        all |= (unsigned char)s.p[i];
    return (all & UINT64_C(0x8080808080808080)) == 0;
}

/* Without the character that a cut has left unfinished at the end. */
static struct slice whole_characters(struct slice s)
{
    size_t back = 0;
    while (back < 3 && back < s.n && ((unsigned char)s.p[s.n - 1 - back] & 0xC0) == 0x80)
        back++;
    if (back < s.n && ((unsigned char)s.p[s.n - 1 - back] & 0xC0) == 0xC0) {
        struct slice last = {s.p + s.n - 1 - back, back + 1};
        if (!slice_is_utf8(last))
            s.n -= last.n;
    }
    return s;
}

static bool is_open(iconv_t cd)
{
    return cd != (iconv_t)-1; /* as POSIX has it.  NOLINT(performance-no-int-to-ptr) */
}

/* What cannot be converted is passed over, byte by byte.  p == NULL: the arena is spent. */
static struct slice convert(struct slice s, const char *charset, struct arena *a)
{
    size_t room = s.n * 3, left = s.n; /* no character of these sets grows more */
    char *out = arena_bytes(a, room), *at = out, *in;
    if (out == NULL)
        return (struct slice){NULL, 0};
    iconv_t cd = iconv_open("UTF-8", charset);
    if (!is_open(cd))
        return s;
    memcpy(&in, &s.p, sizeof in); /* iconv only reads there, but does not say so */
    while (left > 0 && iconv(cd, &in, &left, &at, &room) == (size_t)-1 && errno == EILSEQ) {
        in++;
        left--;
    }
    iconv_close(cd);
    return (struct slice){out, (size_t)(at - out)};
}

/* In UTF-8; what does not say what it is and is none is read as windows-1252, as mail programs do. */
static struct slice to_utf8(struct slice s, struct slice name, struct arena *a)
{
    const struct charset *charset = charset_of(name);
    if (charset == NULL || !charset->beyond_ascii) {
        if (is_ascii(s))
            return s;
        struct slice whole = whole_characters(s);
        if (charset == NULL && slice_is_utf8(whole))
            return whole;
    }
    return convert(s, charset == NULL ? "windows-1252" : charset->name, a);
}

/* --- transfer encodings ---------------------------------------------------------------------- */

/* At most `most` bytes of it, decoded; *cut: there was more.  p == NULL: the arena is spent. */
static struct slice decode(struct slice s, enum mime_encoding encoding, size_t most, bool *cut, struct arena *a)
{
    GMimeEncoding state;
    struct slice raw = {s.p, s.n < most * 2 ? s.n : most * 2};
    if (encoding == MIME_AS_IT_IS) {
        *cut = s.n > most;
        return (struct slice){s.p, *cut ? most : s.n};
    }
    g_mime_encoding_init_decode(&state, encoding == MIME_BASE64 ? GMIME_CONTENT_ENCODING_BASE64
                                                                : GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE);
    char *out = arena_bytes(a, g_mime_encoding_outlen(&state, raw.n) + 1);
    if (out == NULL)
        return (struct slice){NULL, 0};
    size_t n = g_mime_encoding_step(&state, raw.p, raw.n, out);
    *cut = raw.n < s.n || n > most;
    return (struct slice){out, n < most ? n : most};
}

/* --- parts ------------------------------------------------------------------------------------ */

/*
 * All of a part of which the budget lets only the beginning be read, for the sake of a card's number.  Digits stand for
 * themselves in most character sets; where they do not, it is converted.
 */
static enum err find_card(struct look *k, const struct mime_part *part, struct slice raw)
{
    bool cut;
    const struct charset *charset = charset_of(part->charset);
    bool converts = charset != NULL && charset->beyond_ascii;
    if (k->out->has_card_number)
        return OK;
    struct arena_mark mark = arena_mark(k->arena);
    struct slice text = decode(raw, part->encoding, raw.n, &cut, k->arena);
    if (text.n > 0 && converts)
        text = convert(text, charset->name, k->arena);
    enum err err = text.p == NULL ? ERR_LIMIT : OK;
    if (err == OK)
        body_find_card(text, part->kind == MIME_HTML, k->out);
    arena_rewind(k->arena, &mark);
    return err;
}

static enum err look_at_text(struct look *k, const struct mime_part *part)
{
    bool cut, html = part->kind == MIME_HTML;
    struct slice *first = html ? &k->html : &k->text;
    struct slice raw = {k->content.p + part->start, part->end - part->start};
    if (k->parts_left == 0 || k->left == 0) {
        k->out->cut = true;
        return find_card(k, part, raw);
    }
    k->parts_left--;
    struct slice text = decode(raw, part->encoding, k->left, &cut, k->arena);
    k->left -= text.n;
    if (text.n > 0)
        text = to_utf8(text, part->charset, k->arena);
    if (text.p == NULL)
        return ERR_LIMIT;
    body_count(text, html, k->out);
    k->out->cut |= cut;
    if (first->n == 0)
        *first = text;
    if (cut)
        return find_card(k, part, raw);
    body_find_card(text, html, k->out);
    return OK;
}

/* A text that is an attachment, a picture in a page, a whole mail: all are attachments; what is in such a mail is its.
 */
static enum err look_at(struct look *k, const struct mime_part *part)
{
    if (part->inner)
        return OK;
    if (part->attached || (part->kind != MIME_TEXT && part->kind != MIME_HTML)) {
        k->out->attachments++;
        return OK;
    }
    return look_at_text(k, part);
}

enum err mime_look(struct slice content, struct arena *a, struct body_facts *out, struct slice *text)
{
    struct mime_walk w;
    struct mime_part part;
    struct look k = {
        .content = content, .arena = a, .out = out, .left = MIME_LOOK_BYTES, .parts_left = MIME_LOOK_PARTS};
    enum err err = OK;
    *out = (struct body_facts){0};
    mime_walk_begin(&w, content);
    while (err == OK) {
        err = mime_walk_next(&w, &part);
        if (err == OK)
            err = look_at(&k, &part);
    }
    out->bytes = content.n;
    if (text != NULL)
        *text = k.text.n > 0 ? k.text : k.html;
    return err == ERR_NOT_FOUND ? OK : err;
}

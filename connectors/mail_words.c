/*
 * Encoded words (RFC 2047) turned into text, for people: what a subject says.
 * Nothing is decided by it, so it is lenient: a word that is none, or of a character
 * set other than the three that need no table, stays as it stands.
 */
#include "mime.h"
#include "postern/hash.h"

struct word {
    struct slice charset, text;
    char encoding; /* 'b' or 'q' */
    size_t n;      /* of the whole */
};

/* Up to the next '?', which is left behind; false when there is none, or a blank stands before it. */
static bool part_take(struct slice *rest, struct slice *out)
{
    size_t n = 0;
    while (n < rest->n && rest->p[n] > ' ' && rest->p[n] != '?')
        n++;
    *out = (struct slice){rest->p, n};
    if (n == rest->n || rest->p[n] != '?')
        return false;
    *rest = (struct slice){rest->p + n + 1, rest->n - n - 1};
    return true;
}

static bool word_at(struct slice s, struct word *out)
{
    struct slice rest = {s.p + 2, s.n - 2}, encoding;
    if (!part_take(&rest, &out->charset) || !part_take(&rest, &encoding) || !part_take(&rest, &out->text) ||
        rest.n == 0 || rest.p[0] != '=' || encoding.n != 1)
        return false;
    out->encoding = (char)(encoding.p[0] | 0x20);
    out->n = (size_t)(rest.p - s.p) + 1;
    return out->encoding == 'b' || out->encoding == 'q';
}

/* "iso-8859-1*de": a language may follow (RFC 2231 section 5). */
static bool is_charset(struct slice charset, const char *name)
{
    const char *star = memchr(charset.p, '*', charset.n);
    if (star != NULL)
        charset.n = (size_t)(star - charset.p);
    return slice_ieq(charset, slice_of(name));
}

static size_t decode_q(struct slice text, uint8_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        int high = text.p[i] == '=' && i + 2 < text.n ? hash_hex_digit(text.p[i + 1]) : -1;
        int low = high >= 0 ? hash_hex_digit(text.p[i + 2]) : -1;
        out[n] = (uint8_t)(text.p[i] == '_' ? ' ' : text.p[i]);
        if (low >= 0) {
            out[n] = (uint8_t)(high * 16 + low);
            i += 2;
        }
        n++;
    }
    return n;
}

/* Into out, of twice the word's bytes; false: it stays as it stands. */
static bool decode(const struct word *w, uint8_t *bytes, char *out, size_t *n_out)
{
    bool latin = is_charset(w->charset, "iso-8859-1");
    size_t n = 0, k = 0;
    if (!latin && !is_charset(w->charset, "utf-8") && !is_charset(w->charset, "us-ascii"))
        return false;
    if (w->encoding == 'q')
        n = decode_q(w->text, bytes);
    else if (!hash_unbase64_into(w->text, bytes, &n))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool two = latin && bytes[i] >= 0x80;
        if (two)
            out[k++] = (char)(0xC0 | bytes[i] >> 6);
        out[k++] = (char)(two ? 0x80 | (bytes[i] & 0x3F) : bytes[i]);
    }
    *n_out = k;
    return true;
}

static bool is_blank(struct slice s)
{
    return slice_trim(s).n == 0;
}

bool mail_has_words(struct slice text)
{
    const char *at = text.p, *end = text.p + text.n;
    struct word w;
    while (at < end && (at = memmem(at, (size_t)(end - at), "=?", 2)) != NULL) {
        if (word_at((struct slice){at, (size_t)(end - at)}, &w))
            return true;
        at += 2;
    }
    return false;
}

struct slice mail_words(struct slice text, struct arena *a)
{
    struct word w;
    if (text.n == 0 || memmem(text.p, text.n, "=?", 2) == NULL)
        return text;
    const char *end = text.p + text.n, *copied = text.p, *at = text.p;
    char *out = arena_alloc(a, 2 * text.n + 1);
    uint8_t *bytes = arena_alloc(a, text.n + 1);
    size_t n = 0, n_word;
    if (out == NULL || bytes == NULL)
        return (struct slice){NULL, 0};
    while ((at = memmem(at, (size_t)(end - at), "=?", 2)) != NULL) {
        struct slice gap = {copied, (size_t)(at - copied)};
        if (!word_at((struct slice){at, (size_t)(end - at)}, &w)) {
            at += 2;
            continue;
        }
        /* Section 6.2: blanks between two words are not shown. */
        size_t skip = copied > text.p && is_blank(gap) ? 0 : gap.n;
        at += w.n;
        if (!decode(&w, bytes, out + n + skip, &n_word))
            continue;
        memcpy(out + n, gap.p, skip);
        n += skip + n_word;
        copied = at;
    }
    memcpy(out + n, copied, (size_t)(end - copied));
    struct slice decoded = {out, n + (size_t)(end - copied)};
    return slice_is_utf8(decoded) ? decoded : text;
}

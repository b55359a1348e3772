/*
 * What a person would read of HTML, roughly: between tags.  Knows three elements whose content is no text, and nothing
 * of nesting; each byte is looked at once, whatever the document.
 */
#include "postern/markup.h"

static void skip(struct slice *s, size_t n)
{
    n = n < s->n ? n : s->n;
    s->p += n;
    s->n -= n;
}

/* The offset behind the next such byte; s.n when there is none. */
static size_t behind(struct slice s, char c)
{
    const char *at = s.n > 0 ? memchr(s.p, c, s.n) : NULL;
    return at == NULL ? s.n : (size_t)(at - s.p) + 1;
}

static bool is_letter(char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* Does s begin with that name of an element (in lower case), and not with a longer one? */
static bool is_named(struct slice s, struct slice name)
{
    return s.n >= name.n && (s.p[0] | 0x20) == name.p[0] && slice_ieq((struct slice){s.p, name.n}, name) &&
           (s.n == name.n || !is_letter(s.p[name.n]));
}

/* "<b", "</b", "<!", "<?"; a '<' before anything else is text. */
static bool is_tag(struct slice s)
{
    if (s.n < 2)
        return false;
    char c = s.p[1];
    return is_letter(c) || c == '/' || c == '!' || c == '?';
}

static void skip_comment(struct slice *s)
{
    const char *end = s->n > 4 ? memmem(s->p + 4, s->n - 4, "-->", 3) : NULL;
    skip(s, end == NULL ? s->n : (size_t)(end - s->p) + 3);
}

/* To the tag that closes the element: the next "</" and its name. */
static void skip_element(struct slice *s, struct slice name)
{
    while (s->n > 0) {
        size_t n = behind(*s, '<');
        skip(s, n);
        struct slice rest = {s->p + 1, s->n > 0 ? s->n - 1 : 0};
        if (s->n > 0 && s->p[0] == '/' && is_named(rest, name))
            break;
    }
    skip(s, behind(*s, '>'));
}

static void skip_tag(struct slice *s)
{
    static const struct slice opaque[] = {SLICE_INIT("style"), SLICE_INIT("script"), SLICE_INIT("title")};
    struct slice name = {s->p + 1, s->n - 1};
    if (name.n >= 3 && memcmp(name.p, "!--", 3) == 0) {
        skip_comment(s);
        return;
    }
    skip(s, behind(*s, '>'));
    for (size_t i = 0; i < N_ELEMENTS(opaque); i++) {
        if (is_named(name, opaque[i]))
            skip_element(s, opaque[i]);
    }
}

/* "&nbsp;" and its like fill cells: a piece that is nothing else is no text. */
static bool is_filler(struct slice s)
{
    while (s.n > 0 && (unsigned char)s.p[0] <= ' ')
        skip(&s, 1);
    while (s.n > 0 && (unsigned char)s.p[s.n - 1] <= ' ')
        s.n--;
    return s.n == 0 || (s.p[0] == '&' && s.p[s.n - 1] == ';' && memchr(s.p, ' ', s.n) == NULL);
}

/* The length of the text that html begins with, one byte at least: to the next tag. */
static size_t text_length(struct slice html)
{
    for (size_t n = 1; n < html.n; n++) {
        const char *next = memchr(html.p + n, '<', html.n - n);
        n = next == NULL ? html.n : (size_t)(next - html.p);
        if (next == NULL || is_tag((struct slice){next, html.n - n}))
            return n;
    }
    return html.n;
}

bool markup_next(struct slice *html, struct slice *text)
{
    while (html->n > 0) {
        if (html->p[0] == '<' && is_tag(*html)) {
            skip_tag(html);
            continue;
        }
        *text = (struct slice){html->p, text_length(*html)};
        skip(html, text->n);
        if (!is_filler(*text))
            return true;
    }
    return false;
}

/*
 * Pages as HTML, from the templates of web/.
 *
 * The one idea: text from outside gets into a page only through pages_fill, which
 * escapes it; {{&name}} takes HTML that came out of pages_fill before.
 */
#include "pages_html.h"

#include <stdio.h>

#include "pages_web.h"
#include "postern/civil.h"

#define FRAGMENT_MAX  (4u << 20)
#define BODY_SHOWN    65536u
#define TITLE_BYTES   90u
#define SNIPPET_BYTES 160u

#define VALUES(array) (array), N_ELEMENTS(array)

static const struct page_value *find(struct slice name, const struct page_value *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (slice_eq_cstr(name, values[i].name))
            return &values[i];
    }
    never("a name of a template");
}

void pages_fill(struct buf *b, struct slice template, const struct page_value *values, size_t n)
{
    while (template.n > 0) {
        const char *open = memmem(template.p, template.n, "{{", 2);
        size_t before = open != NULL ? (size_t)(open - template.p) : template.n;
        buf_add(b, template.p, before);
        if (open == NULL)
            return;
        const char *close = memmem(open, template.n - before, "}}", 2);
        ensure(close != NULL);
        bool is_html = open[2] == '&';
        const char *name = open + (is_html ? 3 : 2);
        const struct page_value *v = find((struct slice){name, (size_t)(close - name)}, values, n);
        if (is_html)
            buf_add_slice(b, v->value);
        else
            buf_add_html(b, v->value);
        template = (struct slice){close + 2, template.n - (size_t)(close + 2 - template.p)};
    }
}

void pages_frame(struct buf *b, const char *title, bool is_sandbox, struct slice main)
{
    const struct page_value values[] = {
        {"title", slice_of(title)},
        {"sandbox_current", is_sandbox ? SLICE(" aria-current=\"true\"") : (struct slice){0}},
        {"main", main},
        {"version", SLICE(POSTERN_VERSION)},
    };
    pages_fill(b, web_frame_html, VALUES(values));
}

/* --- words ------------------------------------------------------------------------------ */

/* Not more than max bytes, cut between characters, blanks and line ends as one blank each. */
static struct slice shorten(struct arena *a, struct slice s, size_t max)
{
    bool cut = s.n > max;
    size_t n = cut ? max : s.n;

    while (cut && n > 0 && ((unsigned char)s.p[n] & 0xC0) == 0x80)
        n--;
    char *out = arena_printf(a, "%.*s%s", (int)n, n > 0 ? s.p : "", cut ? "\xE2\x80\xA6" : "");
    for (char *p = out; p != NULL && *p != '\0'; p++) {
        if (*p == '\n' || *p == '\r' || *p == '\t')
            *p = ' ';
    }
    return slice_of(out);
}

/* A message without a subject is known by its first words. */
static struct slice title_of(struct arena *a, const struct sandbox_message *m)
{
    struct slice text = slice_trim(m->subject.n > 0 ? m->subject : m->text);
    return text.n > 0 ? shorten(a, text, TITLE_BYTES) : SLICE("(no subject)");
}

/* "2026-11-22 10:00:00 UTC" */
static struct slice time_words(struct arena *a, int64_t at_ms)
{
    char text[RFC3339_MAX];
    rfc3339_format(at_ms / 1000 * 1000, text);
    return slice_of(arena_printf(a, "%.10s %.8s UTC", text, text + 11));
}

static struct slice time_machine(struct arena *a, int64_t at_ms)
{
    char text[RFC3339_MAX];
    return slice_of(arena_printf(a, "%s", rfc3339_format(at_ms, text)));
}

static struct slice id_of(struct arena *a, const struct sandbox_message *m)
{
    char text[32];
    return slice_of(arena_printf(a, "%s", decision_id_format(m->decision, text)));
}

/* --- the inbox --------------------------------------------------------------------------- */

static void put_row(struct buf *b, const struct sandbox_message *m)
{
    struct arena *a = b->arena;
    const struct page_value values[] = {
        {"id", id_of(a, m)},
        {"title", title_of(a, m)},
        {"snippet", m->subject.n > 0 ? shorten(a, slice_trim(m->text), SNIPPET_BYTES) : (struct slice){0}},
        {"to", m->to},
        {"from", m->from},
        {"channel", slice_of(channel_name(m->channel))},
        {"category", m->category},
        {"at", time_machine(a, m->at_ms)},
        {"at_words", time_words(a, m->at_ms)},
    };
    pages_fill(b, web_sandbox_row_html, VALUES(values));
}

static struct slice link_to(struct arena *a, size_t page, const char *words)
{
    struct buf b;
    const struct page_value values[] = {
        {"href", slice_of(page > 1 ? arena_printf(a, "/sandbox?page=%zu", page) : "/sandbox")},
        {"words", slice_of(words)},
    };
    buf_init(&b, a, 512);
    pages_fill(&b, web_link_html, VALUES(values));
    return buf_slice(&b);
}

static struct slice pager(struct arena *a, size_t page, bool older)
{
    struct slice none = {0};
    struct buf b;
    const struct page_value values[] = {
        {"newer", page > 1 ? link_to(a, page - 1, "Newer") : none},
        {"older", older ? link_to(a, page + 1, "Older") : none},
    };
    if (page == 1 && !older)
        return none;
    buf_init(&b, a, 2048);
    pages_fill(&b, web_sandbox_pager_html, VALUES(values));
    return buf_slice(&b);
}

void pages_sandbox(struct buf *b, const struct sandbox_message *rows, size_t n, size_t page)
{
    struct buf list, main;
    size_t end = page * PAGES_ROWS < n ? page * PAGES_ROWS : n;
    size_t first = (page - 1) * PAGES_ROWS < end ? (page - 1) * PAGES_ROWS : end;
    const char *count = page == 1 && n <= end ? "" : arena_printf(b->arena, ": %zu to %zu", first + 1, end);

    buf_init(&list, b->arena, FRAGMENT_MAX);
    buf_init(&main, b->arena, FRAGMENT_MAX);
    for (size_t i = first; i < end; i++)
        put_row(&list, &rows[i]);
    const struct page_value values[] = {
        {"count", slice_of(count)},
        {"rows", buf_slice(&list)},
        {"pager", pager(b->arena, page, n > end)},
    };
    pages_fill(&main, web_sandbox_html, VALUES(values));
    pages_frame(b, "Sandbox", true, buf_slice(&main));
    b->failed = b->failed || list.failed || main.failed; /* half a page is none */
}

void pages_sandbox_empty(struct buf *b, const char *hint, const char *url)
{
    struct buf main;
    const struct page_value values[] = {{"hint", slice_of(hint)}, {"url", slice_of(url)}};

    buf_init(&main, b->arena, FRAGMENT_MAX);
    pages_fill(&main, web_sandbox_empty_html, VALUES(values));
    pages_frame(b, "Sandbox", true, buf_slice(&main));
}

void pages_message(struct buf *b, const struct sandbox_message *m)
{
    struct arena *a = b->arena;
    struct slice title = title_of(a, m);
    struct slice body = {m->body.p, m->body.n < BODY_SHOWN ? m->body.n : BODY_SHOWN};
    struct buf main;
    const struct page_value values[] = {
        {"title", title},
        {"to", m->to},
        {"from", m->from},
        {"channel", slice_of(channel_name(m->channel))},
        {"category", m->category},
        {"at", time_machine(a, m->at_ms)},
        {"at_words", time_words(a, m->at_ms)},
        {"id", id_of(a, m)},
        {"dialect", m->dialect},
        {"text", m->text.n > 0 ? m->text : SLICE("(no plain text)")},
        {"body", body},
        {"body_note", body.n < m->body.n ? slice_of(arena_printf(a, "The first %zu of %zu bytes.", body.n, m->body.n))
                                         : (struct slice){0}},
    };
    buf_init(&main, a, FRAGMENT_MAX);
    pages_fill(&main, web_message_html, VALUES(values));
    pages_frame(b, title.p, true, buf_slice(&main));
    b->failed = b->failed || main.failed;
}

void pages_problem(struct buf *b, const char *title, const char *detail)
{
    struct buf main;
    const struct page_value values[] = {{"title", slice_of(title)}, {"detail", slice_of(detail)}};

    buf_init(&main, b->arena, FRAGMENT_MAX);
    pages_fill(&main, web_problem_html, VALUES(values));
    pages_frame(b, title, false, buf_slice(&main));
}

/*
 * A mail of any bytes: what the walk gives stays inside it and inside the limits, and what is seen of it is of the
 * budget.  The first pass is mime_check's, the second mime_look's: they agree on what is too much.
 */
#include "connectors/mime.h"
#include "connectors/mime_walk.h"
#include "postern/markup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static enum err walk(struct slice content)
{
    struct mime_walk w;
    struct mime_part part;
    enum err err = OK;
    mime_walk_begin(&w, content);
    while (err == OK) {
        size_t before = w.at;
        err = mime_walk_next(&w, &part);
        ensure(w.depth <= LIMIT_MIME_DEPTH && w.inner <= w.depth && w.at >= before && w.at <= content.n);
        ensure(err != OK || (part.start <= part.end && part.end <= content.n && part.kind != MIME_MULTIPART));
    }
    ensure((err == ERR_LIMIT) == (w.parts > LIMIT_MIME_PARTS || w.depth == LIMIT_MIME_DEPTH));
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice content = {(const char *)data, n}, html = content, piece, text;
    struct mail_field type = {.name = SLICE("Content-Type"), .value = SLICE("multipart/mixed; boundary=any")};
    struct mail_head head = {.fields = &type, .n = 1};
    struct body_facts facts;
    struct fault fault = {0};
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    bool too_much = walk(content) == ERR_LIMIT;
    enum err checked = mime_check(content, &head, &fault);
    ensure(checked == OK || fault.kind == FAULT_TOO_LARGE);
    ensure(checked == ERR_LIMIT || !too_much);
    ensure(mime_look(content, &arena, &facts, &text) == (too_much ? ERR_LIMIT : OK));
    ensure(facts.bytes == n && facts.words <= MIME_LOOK_BYTES && text.n <= 3u * MIME_LOOK_BYTES);
    ensure(text.n == 0 || facts.has_text || facts.has_html);
    ensure(slice_is_utf8(text));
    while (markup_next(&html, &piece))
        ensure(piece.n > 0 && piece.p + piece.n <= html.p && html.p + html.n == content.p + content.n);
    arena_clear(&arena);
    return 0;
}

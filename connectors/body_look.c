/*
 * What can be seen of a text without understanding it.  Runs over every message's text, so it goes eight bytes at a
 * time and takes nothing apart that it need not: a microsecond for a kilobyte and more (docs/PERFORMANCE.md).
 */
#include <endian.h>

#include "mime.h"

#include "postern/card_number.h"
#include "postern/markup.h"

#define ONES  UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

static bool is_blank(char c)
{
    return (unsigned char)c <= ' ';
}

/* Bytes that are no blank behind one that is. */
static uint32_t count_words(struct slice s)
{
    uint64_t before = 0; /* the high bit: the last byte was of a word */
    size_t i = 0;
    uint32_t n = 0;
    for (; i + 8 <= s.n; i += 8) {
        uint64_t w;
        memcpy(&w, s.p + i, sizeof w);
        w = le64toh(w);
        uint64_t in_word = (((w | HIGHS) - ONES * (' ' + 1)) | w) & HIGHS;
        uint64_t begins = in_word & ~(in_word << 8 | before >> 56);
        n += (uint32_t)((begins >> 7) * ONES >> 56);
        before = in_word;
    }
    bool in_word = before >> 63 != 0;
    for (; i < s.n; i++) {
        n += !in_word && !is_blank(s.p[i]);
        in_word = !is_blank(s.p[i]);
    }
    return n;
}

/* What stands in tags (links, ids) is no text: where the document has a number, its pieces are asked. */
static bool markup_has_card(struct slice html)
{
    struct card_number card;
    struct slice piece;
    if (!card_number_find(html, 0, &card))
        return false;
    while (markup_next(&html, &piece)) {
        if (card_number_find(piece, 0, &card))
            return true;
    }
    return false;
}

static uint32_t markup_words(struct slice html)
{
    struct slice piece;
    uint32_t n = 0;
    while (markup_next(&html, &piece))
        n += count_words(piece);
    return n;
}

void body_count(struct slice text, bool html, struct body_facts *out)
{
    struct slice head = {text.p, text.n < MIME_LOOK_BYTES ? text.n : MIME_LOOK_BYTES};
    if (text.n == 0)
        return;
    out->bytes += text.n;
    out->cut |= head.n < text.n;
    if (html) {
        /* The same in another form: a text's words are those that count. */
        out->words += out->has_text ? 0 : markup_words(head);
        out->has_html = true;
        return;
    }
    if (!out->has_text)
        out->words = 0;
    out->words += count_words(head);
    out->has_text = true;
}

void body_find_card(struct slice text, bool html, struct body_facts *out)
{
    struct card_number card;
    if (!out->has_card_number)
        out->has_card_number = html ? markup_has_card(text) : card_number_find(text, 0, &card);
}

void body_look(struct slice text, bool html, struct body_facts *out)
{
    body_count(text, html, out);
    body_find_card(text, html, out);
}

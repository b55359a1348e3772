/*
 * What is seen of a mail, its limits, and the same mails as GMime's own parser reads them: where both are sure, they
 * say the same.  The mails are the fuzz target's corpus.
 */
#include <check.h>
#include <gmime/gmime.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors/mime.h"
#include "connectors/mime_walk.h"
#include "postern/buf.h"
#include "postern/limits.h"
#include "postern/markup.h"

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, 1u << 28);
}

static void teardown(void)
{
    arena_clear(&arena);
}

static struct slice load(const char *name)
{
    char *path = arena_printf(&arena, "%s/fuzz/corpus/mime/%s.eml", TESTS_DIR, name);
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s is not there", path);
    char *bytes = arena_alloc(&arena, 65536);
    size_t n = fread(bytes, 1, 65536, file);
    fclose(file);
    return (struct slice){bytes, n};
}

/* --- what is seen ------------------------------------------------------------------------- */

static const struct seen {
    const char *name;
    bool text, html;
    uint32_t words, attachments;
    bool card;
    const char *begins; /* the text for people */
    bool gmime;         /* GMime's reading is the same */
} seen[] = {
    {"plain", true, false, 8, 0, false, "Hello Ann,", true},
    {"bare", true, false, 8, 0, false, "Hello Ann,", true},
    {"html", false, true, 9, 0, false, "<html>", true},
    {"alternative", true, true, 8, 0, false, "Hello Ann,", true},
    {"html_first", true, true, 2, 0, false, "Hello Ann.", true},
    {"mixed", true, true, 8, 2, false, "Hello Ann,", true},
    {"related", false, true, 3, 1, false,
     "<p>Gr\xC3\xBC\xC3\x9F"
     "e aus K\xC3\xB6ln",
     true},
    {"quoted", true, false, 7, 0, false,
     "Gr\xC3\xBC\xC3\x9F"
     "e aus K\xC3\xB6ln, die Bestellung ist",
     true},
    {"base64", true, false, 8, 0, false, "Hello Ann,", true},
    {"latin1_8bit", true, false, 3, 0, false,
     "Gr\xC3\xBC\xC3\x9F"
     "e aus K\xC3\xB6ln",
     true},
    {"unnamed_8bit", true, false, 5, 0, false,
     "Gr\xC3\xBC\xC3\x9F"
     "e aus K\xC3\xB6ln \xE2\x82\xAC 5",
     false},
    {"utf8_unnamed", true, false, 3, 0, false,
     "Gr\xC3\xBC\xC3\x9F"
     "e aus K\xC3\xB6ln",
     true},
    {"utf16", true, false, 2, 0, false, "Hello Ann", true},
    {"iso2022jp", true, false, 2, 0, false, "\xE3\x81\x93\xE3\x82\x93\xE3\x81\xAB\xE3\x81\xA1\xE3\x81\xAF Ann", true},
    {"unknown_charset", true, false, 1, 0, false,
     "Gr\xC3\xBC\xC3\x9F"
     "e",
     false},
    {"card", true, false, 8, 0, true, "Your card", true},
    {"card_in_html", false, true, 5, 0, true, "<p>Your card", true},
    {"card_in_link", false, true, 3, 0, false, "<p>Your", true},
    {"message", true, false, 2, 1, false, "See below.", true},
    {"digest", false, false, 0, 2, false, "", true},
    {"report", true, false, 2, 2, false, "It failed.", true},
    /* Broken ones. */
    {"no_end", true, true, 8, 0, false, "Hello Ann,", true},
    {"no_boundary", false, false, 0, 1, false, "", false},
    {"no_blank_line", true, false, 5, 0, false, "Hello Ann without", false},
    {"outer_ends_inner", true, false, 1, 1, false, "Hello", true},
    {"same_boundary", true, false, 1, 0, false, "Hello", false},
    {"prefix_boundary", true, false, 2, 0, false, "one", true},
    {"boundary_is_dashes", true, false, 1, 0, false, "Hello", false},
    {"twice", true, false, 5, 0, false, "--b", false},
    {"folded", false, true, 2, 0, false, "<b>Hello</b> Ann", false},
    {"quotes", true, false, 1, 0, false, "Hello", true},
    {"bare_lf", true, true, 8, 0, false, "Hello Ann,", true},
    {"only_header", false, false, 0, 0, false, "", true},
    {"nothing", false, false, 0, 0, false, "", false},
    {"uuencoded", true, false, 6, 0, false, "begin 644", false},
    {"bad_base64", false, false, 0, 0, false, "", false},
    {"bad_quoted", true, false, 3, 0, false, "A=G0 b", false},
    {"markup", false, true, 6, 0, false, "<<<p>>a", true},
};

START_TEST(a_mail_is_seen)
{
    const struct seen *row = &seen[_i];
    struct body_facts facts;
    struct slice text, mail = load(row->name);
    ck_assert_int_eq(mime_look(mail, &arena, &facts, &text), OK);
    ck_assert_msg(facts.has_text == row->text && facts.has_html == row->html, "%s: text %d, html %d", row->name,
                  facts.has_text, facts.has_html);
    ck_assert_msg(facts.words == row->words, "%s: %u words", row->name, facts.words);
    ck_assert_msg(facts.attachments == row->attachments, "%s: %u attachments", row->name, facts.attachments);
    ck_assert_msg(facts.has_card_number == row->card, "%s: card %d", row->name, facts.has_card_number);
    ck_assert_msg(slice_starts(text, row->begins), "%s: begins \"%.*s\"", row->name, SLICE_HEAD(text, 60));
    ck_assert_uint_eq(facts.bytes, mail.n);
    ck_assert(!facts.cut && facts.language[0] == '\0');
    /* Nobody wants the text. */
    struct body_facts again;
    ck_assert_int_eq(mime_look(mail, &arena, &again, NULL), OK);
    ck_assert_mem_eq(&facts, &again, sizeof(facts));
}
END_TEST

/* --- as GMime reads it ------------------------------------------------------------------------- */

struct parts {
    uint32_t texts, attachments;
    char *text; /* the first one's */
    bool plain; /* it is text/plain */
};

static void count_part(GMimeObject *object, struct parts *out)
{
    if (GMIME_IS_MULTIPART(object)) {
        GMimeMultipart *multipart = GMIME_MULTIPART(object);
        for (int i = 0; i < g_mime_multipart_get_count(multipart); i++)
            count_part(g_mime_multipart_get_part(multipart, i), out);
        return;
    }
    GMimeContentType *type = g_mime_object_get_content_type(object);
    const char *disposition = g_mime_object_get_disposition(object);
    bool plain = g_mime_content_type_is_type(type, "text", "plain");
    bool attached = disposition != NULL && strcasecmp(disposition, "attachment") == 0;
    if (attached || (!plain && !g_mime_content_type_is_type(type, "text", "html"))) {
        out->attachments++;
        return;
    }
    out->texts++;
    if (out->text != NULL && (out->plain || !plain))
        return;
    g_free(out->text);
    out->text = g_mime_text_part_get_text(GMIME_TEXT_PART(object));
    out->plain = plain;
}

/* Lines may end differently, and there may be one more. */
static struct slice without_line_ends(const char *p, size_t n)
{
    char *out = arena_alloc(&arena, n + 1);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '\r' && p[i] != '\n')
            out[k++] = p[i];
    }
    return (struct slice){out, k};
}

START_TEST(gmime_reads_the_same)
{
    const struct seen *row = &seen[_i];
    struct parts parts = {0};
    struct body_facts facts;
    struct slice text, mail = load(row->name);
    if (!row->gmime)
        return;
    ck_assert_int_eq(mime_look(mail, &arena, &facts, &text), OK);
    g_mime_init();
    GMimeStream *stream = g_mime_stream_mem_new_with_buffer(mail.p, mail.n);
    GMimeParser *parser = g_mime_parser_new_with_stream(stream);
    GMimeMessage *message = g_mime_parser_construct_message(parser, NULL);
    ck_assert(message != NULL);
    count_part(g_mime_message_get_mime_part(message), &parts);
    ck_assert_msg(facts.attachments == parts.attachments, "%s: %u of GMime", row->name, parts.attachments);
    struct slice theirs = parts.text == NULL ? (struct slice){NULL, 0} : slice_of(parts.text);
    struct slice a = without_line_ends(text.p, text.n), b = without_line_ends(theirs.p, theirs.n);
    ck_assert_msg(slice_eq(a, b), "%s: \"%.*s\" is \"%.*s\" to GMime", row->name, SLICE_ARG(a), SLICE_ARG(b));
    g_free(parts.text);
    g_object_unref(message);
    g_object_unref(parser);
    g_object_unref(stream);
}
END_TEST

/* --- limits ----------------------------------------------------------------------------------- */

static struct buf b;

static void mail_begin(void)
{
    buf_init(&b, &arena, 64u << 20);
    buf_add_cstr(&b, "From: a@example.test\r\n");
}

/* As mail_head_read gives it: the fields of a mail of ours, none of them folded. */
static struct mail_head head_of(struct slice mail)
{
    struct mail_head head = {.fields = arena_calloc(&arena, 8, sizeof(struct mail_field))};
    const char *p = mail.p;
    while (p < mail.p + mail.n && *p != '\r') {
        const char *end = strstr(p, "\r\n"), *colon = strchr(p, ':');
        head.fields[head.n++] =
            (struct mail_field){.name = {p, (size_t)(colon - p)}, .value = {colon + 1, (size_t)(end - colon - 1)}};
        p = end + 2;
    }
    head.body = (size_t)(p + 2 - mail.p);
    return head;
}

static const char *refused(struct slice mail)
{
    static struct fault fault;
    struct mail_head head = head_of(mail);
    fault = (struct fault){0};
    enum err err = mime_check(mail, &head, &fault);
    ck_assert_int_eq(err, fault.message.text[0] == '\0' ? OK : ERR_LIMIT);
    ck_assert(err == OK || fault.kind == FAULT_TOO_LARGE);
    return err == OK ? "" : fault.message.text;
}

static struct slice nested(unsigned depth, const char *innermost)
{
    mail_begin();
    for (unsigned i = 0; i < depth; i++) {
        if (i > 0)
            buf_printf(&b, "--b%u\r\n", i - 1);
        buf_printf(&b, "Content-Type: multipart/mixed; boundary=b%u\r\n\r\n", i);
    }
    buf_printf(&b, "--b%u\r\n%s", depth - 1, innermost);
    return buf_slice(&b);
}

START_TEST(fifty_deep_pass)
{
    struct body_facts facts;
    const char *text = "\r\nHello\r\n", *mail = "Content-Type: message/rfc822\r\n\r\n\r\nHello\r\n";
    ck_assert_str_eq(refused(nested(LIMIT_MIME_DEPTH, text)), "");
    ck_assert_int_eq(mime_look(buf_slice(&b), &arena, &facts, NULL), OK);
    ck_assert_uint_eq(facts.words, 1);
    ck_assert_str_eq(refused(nested(LIMIT_MIME_DEPTH + 1, text)),
                     "The mail's parts are more than 50 deep in each other; flatten them.");
    ck_assert_int_eq(mime_look(buf_slice(&b), &arena, &facts, NULL), ERR_LIMIT);
    /* A mail inside the mail is a level. */
    ck_assert_str_eq(refused(nested(LIMIT_MIME_DEPTH - 1, mail)), "");
    ck_assert_str_ne(refused(nested(LIMIT_MIME_DEPTH, mail)), "");
    /* The same delimiter over and over is a level each. */
    mail_begin();
    for (unsigned i = 0; i <= LIMIT_MIME_DEPTH; i++)
        buf_add_cstr(&b, i == 0 ? "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
                                : "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n");
    ck_assert_str_ne(refused(buf_slice(&b)), "");
    /* Mails in each other without a multipart. */
    mail_begin();
    for (unsigned i = 0; i <= LIMIT_MIME_DEPTH; i++)
        buf_add_cstr(&b, "Content-Type: message/rfc822\r\n\r\n");
    ck_assert_str_ne(refused(buf_slice(&b)), "");
}
END_TEST

static struct slice many(unsigned parts)
{
    mail_begin();
    buf_add_cstr(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (unsigned i = 0; i < parts; i++)
        buf_add_cstr(&b, i % 2 == 0 ? "--b\r\n\r\nHello\r\n" : "--b\r\n");
    buf_add_cstr(&b, "--b--\r\n");
    return buf_slice(&b);
}

START_TEST(a_thousand_parts_pass)
{
    struct body_facts facts;
    ck_assert_str_eq(refused(many(LIMIT_MIME_PARTS)), "");
    ck_assert_int_eq(mime_look(buf_slice(&b), &arena, &facts, NULL), OK);
    ck_assert_msg(facts.cut && facts.words == MIME_LOOK_PARTS / 2, "%u words", facts.words);
    ck_assert_str_eq(refused(many(LIMIT_MIME_PARTS + 1)), "The mail has more than 1000 parts; send fewer.");
    ck_assert_int_eq(mime_look(buf_slice(&b), &arena, &facts, NULL), ERR_LIMIT);
}
END_TEST

static const struct {
    unsigned before; /* bytes of other lines */
    unsigned n;
    const char *end, *after;
    bool pass;
} lines[] = {
    {0, LIMIT_MAIL_LINE_BYTES, "\r\n", "", true},
    {0, LIMIT_MAIL_LINE_BYTES, "\r\n", "more\r\n", true},
    {0, LIMIT_MAIL_LINE_BYTES, "", "", true},
    {0, LIMIT_MAIL_LINE_BYTES, "\n", "more\r\n", true},
    {0, LIMIT_MAIL_LINE_BYTES + 1 - 24, "\n", "more\r\n", true}, /* 24 bytes of header before it */
    {0, LIMIT_MAIL_LINE_BYTES + 1, "\r\n", "", false},
    {0, LIMIT_MAIL_LINE_BYTES + 1, "\n", "more\r\n", false},
    {0, LIMIT_MAIL_LINE_BYTES + 1, "", "", false},
    {70, LIMIT_MAIL_LINE_BYTES, "\r\n", "more\r\n", true},
    {70, LIMIT_MAIL_LINE_BYTES + 1, "\r\n", "more\r\n", false},
    {70, LIMIT_MAIL_LINE_BYTES + 1, "\n", "", false},
    {200000, LIMIT_MAIL_LINE_BYTES, "\r\n", "", true},
    {200000, LIMIT_MAIL_LINE_BYTES + 1, "\r\n", "", false},
};

START_TEST(a_line_may_be_so_long)
{
    mail_begin();
    buf_add_cstr(&b, "\r\n");
    for (unsigned i = 0; i < lines[_i].before; i += 20)
        buf_add_cstr(&b, "a line of 18 bytes\r\n");
    size_t at = b.n;
    for (unsigned i = 0; i < lines[_i].n; i++)
        buf_add_cstr(&b, "x");
    buf_add_cstr(&b, lines[_i].end);
    buf_add_cstr(&b, lines[_i].after);
    char *expected = arena_printf(&arena, "The line at byte %zu is longer than 65536 bytes; fold it.", at);
    ck_assert_str_eq(refused(buf_slice(&b)), lines[_i].pass ? "" : expected);
}
END_TEST

/* Of 64 KiB of text, decoded, words are looked at, wherever they come from; what is cut in half is no character. */
START_TEST(a_budget_bounds_the_look)
{
    static const char *const heads[] = {"Content-Transfer-Encoding: 8bit\r\n\r\n",
                                        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"};
    for (size_t k = 0; k < N_ELEMENTS(heads); k++) {
        struct body_facts facts;
        struct slice text;
        mail_begin();
        buf_add_cstr(&b, heads[k]);
        for (unsigned i = 0; i < 50000; i++)
            buf_add_cstr(&b, "\xC3\xBC ");
        buf_add_cstr(&b, "4111111111111111");
        ck_assert_int_eq(mime_look(buf_slice(&b), &arena, &facts, &text), OK);
        ck_assert(facts.cut && facts.has_card_number && facts.bytes == b.n);
        ck_assert_msg(text.n == MIME_LOOK_BYTES - 1 && facts.words == MIME_LOOK_BYTES / 3, "%zu bytes", text.n);
        ck_assert(slice_is_utf8(text));
    }
}
END_TEST

/* As many bytes as the budget has, or a few more of a part that is short enough to be decoded whole; a second one. */
START_TEST(a_budget_is_spent)
{
    struct body_facts facts;
    mail_begin();
    buf_add_cstr(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
                     "Content-Transfer-Encoding: quoted-printable\r\n\r\n");
    for (unsigned i = 0; i < MIME_LOOK_BYTES / 2 + 1; i++)
        buf_add_cstr(&b, "a\n");
    buf_add_cstr(&b, "--b\r\n\r\n4111111111111111\r\n--b\r\n\r\nno more\r\n--b--\r\n");
    ck_assert_int_eq(mime_look(buf_slice(&b), &arena, &facts, NULL), OK);
    ck_assert(facts.cut && facts.words == MIME_LOOK_BYTES / 2 && facts.has_card_number);
}
END_TEST

/* --- ends of characters, types, parameters: mails that are made here ------------------------------ */

static const struct {
    const char *header, *body, *text;
    bool html;
    uint32_t attachments;
} made[] = {
    {"Content-Type: text/plain; charset=iso-8859-1; charset=utf-8", "\xFC", "\xC3\xBC", false, 0},
    {"Content-Type: text", "a", "a", false, 0},
    {"Content-Type:", "a", "a", false, 0},
    {"Content-Type: ; charset=iso-8859-1", "\xFC", "\xC3\xBC", false, 0},
    {"Content-Type: text/html;; a; =b;", "<p>a", "<p>a", true, 0},
    {"Content-Type: text/plain", "a\xF0\x9F\x98\x80", "a\xF0\x9F\x98\x80", false, 0},
    {"Content-Type: text/plain", "\x80\x80", "\xE2\x82\xAC\xE2\x82\xAC", false, 0},
    {"Content-Type: text/plain", "a\x80\x80\x80\x80", "a\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC", false, 0},
    {"Content-Type: text/plain; charset=iso-2022-kr", "a\x0E", "a", false, 0},
    {"Content-Type: text/plain; charset=utf-16be", "\xD8\x41 a b", "\xE4\x84\xA0\xE6\x84\xA0", false, 0},
    {"Content-Type: text/plain; charset=windows-1252", "a\x81\xFC", "a\xC3\xBC", false, 0},
    {"Content-Type: text/plain; charset=windows-1252", "a\xFC\x81", "a\xC3\xBC", false, 0},
    {"Content-Type: message/global", "a", "", false, 1},
    {"Content-Type: multipart/mixed; boundary=b; boundary=c", "--c\n\nno\n--b\n\na\n--b--\n", "a", false, 0},
    {"Content-Type: multipart/mixed; boundary=\"b", "--\"b\n\na\n--\"b--\n", "a", false, 0},
    {"Content-Type: multipart/mixed; boundary=\"", "--\"\n\na\n--\"--\n", "a", false, 0},
    {"Content-Type: multipart/mixed; name=\"a\\\";boundary=c\\\\\"; boundary=b", "--b\n\na\n--b--\n", "a", false, 0},
    {"Content-Type: multipart/mixed; boundary=b; name=\"a\\", "--b\n\na\n--b--\n", "a", false, 0},
    {"Content-Type: multipart/mixed; boundary=b; name=a\\b", "--b\n\na\n--b--\n", "a", false, 0},
    /* What nearly is a delimiter. */
    {"Content-Type: multipart/mixed; boundary=bb", "--bb\n\na\n-- \nb--c\n-d\n--b\n--b--\n--cc\n--cc--\n--bb--x\n--",
     "a", false, 0},
    {"Content-Type: multipart/mixed; boundary=bb", "--bb\n-x: y\n\na\n-", "a", false, 0},
    {"Content-Type: multipart/mixed; boundary=bb", "--bb\n\naa\n-", "aa", false, 0},
    {"Content-Type: multipart/mixed; boundary=bb", "--bb\n\n--bb\n\nxy--\n--bb--\n--bb\n\nb", "xy--", false, 0},
};

START_TEST(a_mail_that_is_made)
{
    struct body_facts facts;
    struct slice text;
    mail_begin();
    buf_printf(&b, "%s\r\n\r\n%s", made[_i].header, made[_i].body);
    ck_assert_int_eq(mime_look(buf_slice(&b), &arena, &facts, &text), OK);
    ck_assert_uint_eq(facts.attachments, made[_i].attachments);
    ck_assert(facts.has_html == made[_i].html);
    ck_assert_msg(slice_starts(text, made[_i].text) && (text.n > 0) == (made[_i].text[0] != '\0'), "text: \"%.*s\"",
                  SLICE_ARG(text));
}
END_TEST

START_TEST(a_header_that_breaks_off)
{
    struct body_facts facts;
    ck_assert_int_eq(mime_look(SLICE("Content-Type: text/html; name=\"a\\"), &arena, &facts, NULL), OK);
    ck_assert(!facts.has_html && facts.attachments == 0);
}
END_TEST

/* A boundary that is longer than any program writes is not looked for: nobody asks for so much. */
START_TEST(an_endless_boundary)
{
    struct body_facts facts;
    char boundary[257];
    memset(boundary, 'b', sizeof(boundary));
    for (int n = 255; n <= 256; n++) {
        mail_begin();
        buf_printf(&b, "Content-Type: multipart/mixed; boundary=%.*s\r\n\r\n--%.*s\r\n\r\na\r\n", n, boundary, n,
                   boundary);
        ck_assert_int_eq(mime_look(buf_slice(&b), &arena, &facts, NULL), OK);
        ck_assert(facts.has_text == (n == 255));
    }
}
END_TEST

/* --- cards' numbers, wherever in a long mail -------------------------------------------------------- */

#define CARD "4111 1111 1111 1111"

static const struct {
    const char *header;
    const char *line; /* over and over */
    const char *card;
    bool found;
} long_texts[] = {
    {"text/plain", "Hello to you and to you.\r\n", "Card " CARD "\r\n", true},
    {"text/plain", "Hello to you and to you.\r\n", "Card 4111 1111 1111 1112\r\n", false},
    {"text/plain; charset=iso-8859-1", "Hello to you and to you.\r\n", "Card " CARD "\r\n", true},
    {"text/html", "<p>Hello to you.</p>\r\n", "<p>" CARD "</p>\r\n", true},
    {"text/html", "<p>Hello to you.</p>\r\n", "<a href=\"x/4111111111111111\">x</a>\r\n", false},
    {"text/plain\r\nContent-Transfer-Encoding: quoted-printable", "Hello to you and to you.=\r\n",
     " =34=31=31=31=20=31111=\r\n 1111 1111\r\n", true},
    {"text/plain\r\nContent-Transfer-Encoding: base64", "SGVsbG8gdG8geW91IGFuZCB0byB5b3Ug\r\n",
     "NDExMSAxMTExIDExMTEgMTExMQ==\r\n", true},
    {"text/plain; charset=utf-16be\r\nContent-Transfer-Encoding: base64", "AEgAZQBsAGwAbwAg\r\n",
     "ADQAMQAxADEAIAAxADEAMQAxACAAMQAxADEAMQAgADEAMQAxADE=\r\n", true},
    /* Twenty digits, of which the end of what is counted leaves sixteen. */
    {"text/plain", "a41111111111111111111 41111111111111111111 41111111111111111111 xxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
     "", false},
};

START_TEST(a_card_number_behind_a_long_text)
{
    for (unsigned parts = 1; parts <= 2; parts++) {
        struct body_facts facts;
        mail_begin();
        if (parts == 2) { /* more than are read */
            buf_add_cstr(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
            for (unsigned i = 0; i <= MIME_LOOK_PARTS; i++)
                buf_add_cstr(&b, "--b\r\n\r\nHello\r\n");
            buf_add_cstr(&b, "--b\r\n");
        }
        buf_printf(&b, "Content-Type: %s\r\n\r\n", long_texts[_i].header);
        for (size_t n = 0; n < (parts == 1 ? 3 * MIME_LOOK_BYTES : 10); n += strlen(long_texts[_i].line))
            buf_add_cstr(&b, long_texts[_i].line);
        buf_printf(&b, "%s", long_texts[_i].card);
        size_t used = arena.used_bytes;
        ck_assert_int_eq(mime_look(buf_slice(&b), &arena, &facts, NULL), OK);
        ck_assert(facts.cut && facts.has_card_number == long_texts[_i].found);
        ck_assert_uint_lt(arena.used_bytes - used, 6 * MIME_LOOK_BYTES); /* the rest is not kept */
    }
}
END_TEST

/* --- a text that is there already ----------------------------------------------------------------- */

START_TEST(texts_add_up)
{
    struct body_facts facts = {0};
    body_look(SLICE(""), false, &facts);
    ck_assert(!facts.has_text && facts.bytes == 0);
    body_look(SLICE("<p>Five words are in here</p>"), true, &facts);
    ck_assert(facts.has_html && !facts.has_text && facts.words == 5);
    body_look(SLICE(" two  words\r\n"), false, &facts);
    ck_assert(facts.has_text && facts.words == 2 && facts.bytes == 42);
    body_look(SLICE("and\tthree more"), false, &facts);
    ck_assert_uint_eq(facts.words, 5);
    body_look(SLICE("<p>not counted</p>"), true, &facts);
    ck_assert(facts.words == 5 && !facts.has_card_number && !facts.cut);
    body_look(SLICE("<p>4111111111111111</p>"), true, &facts);
    ck_assert(facts.has_card_number);
    body_look(SLICE("none"), false, &facts);
    ck_assert(facts.has_card_number && !facts.cut);
}
END_TEST

/* Eight bytes at a time or one: the same count at every offset. */
START_TEST(words_are_counted)
{
    static const char text[] =
        "a bc  def\tghij\nklmno \xC3\xBC\xC3\xBC\xC3\xBC!  pqrstuvwxyz 0123456789abcdef \x01\x7F x";
    for (size_t from = 0; from < sizeof(text) - 1; from++) {
        for (size_t to = from; to < sizeof(text); to++) {
            struct body_facts facts = {0};
            uint32_t n = 0;
            for (size_t i = from; i < to; i++)
                n += (unsigned char)text[i] > ' ' && (i == from || (unsigned char)text[i - 1] <= ' ');
            body_look((struct slice){text + from, to - from}, false, &facts);
            ck_assert_msg(facts.words == n, "%zu to %zu: %u, not %u", from, to, facts.words, n);
        }
    }
}
END_TEST

/* There is room for what is read of it, and none for the rest. */
START_TEST(the_arena_may_be_spent_by_a_long_text)
{
    struct arena small;
    struct body_facts facts;
    mail_begin();
    buf_add_cstr(&b, "Content-Transfer-Encoding: base64\r\n\r\n");
    for (unsigned i = 0; i < 4 * MIME_LOOK_BYTES; i += 34)
        buf_add_cstr(&b, "SGVsbG8gdG8geW91IGFuZCB0byB5b3Ug\r\n");
    arena_init(&small, 3 * MIME_LOOK_BYTES);
    ck_assert_int_eq(mime_look(buf_slice(&b), &small, &facts, NULL), ERR_LIMIT);
    ck_assert_uint_eq(facts.words, MIME_LOOK_BYTES / 24 * 6 + 4); /* "Hello to you and to you " */
    arena_clear(&small);
}
END_TEST

START_TEST(the_arena_may_be_spent)
{
    struct body_facts facts;
    struct slice mail = load("quoted"), text;
    for (size_t max = 1; max < 400; max += 8) {
        struct arena small;
        arena_init(&small, max);
        enum err err = mime_look(mail, &small, &facts, &text);
        ck_assert(err == ERR_LIMIT || (err == OK && facts.words == 7));
        arena_clear(&small);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mime");
    TCase *c = tcase_create("mime");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, a_mail_is_seen, 0, N_ELEMENTS(seen));
    tcase_add_loop_test(c, a_card_number_behind_a_long_text, 0, N_ELEMENTS(long_texts));
    tcase_add_loop_test(c, gmime_reads_the_same, 0, N_ELEMENTS(seen));
    tcase_add_test(c, fifty_deep_pass);
    tcase_add_test(c, a_thousand_parts_pass);
    tcase_add_loop_test(c, a_line_may_be_so_long, 0, N_ELEMENTS(lines));
    tcase_add_test(c, a_budget_bounds_the_look);
    tcase_add_test(c, a_budget_is_spent);
    tcase_add_loop_test(c, a_mail_that_is_made, 0, N_ELEMENTS(made));
    tcase_add_test(c, a_header_that_breaks_off);
    tcase_add_test(c, an_endless_boundary);
    tcase_add_test(c, texts_add_up);
    tcase_add_test(c, words_are_counted);
    tcase_add_test(c, the_arena_may_be_spent);
    tcase_add_test(c, the_arena_may_be_spent_by_a_long_text);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

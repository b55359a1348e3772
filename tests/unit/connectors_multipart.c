/* multipart/form-data: parts by offsets, and all that is refused, each with its place. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors/multipart.h"
#include "postern/buf.h"
#include "postern/limits.h"

#define TYPE "multipart/form-data; boundary=xyz"

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, LIMIT_ARENA_BYTES);
}

static void teardown(void)
{
    arena_clear(&arena);
}

/* "name=value" of each part, "name@type=value" for files, by ' & '; or the error. */
static void read_body(const char *type, struct slice body, char *out, size_t size)
{
    struct multipart m;
    struct errmsg e;
    size_t n = 0;
    out[0] = '\0';
    if (multipart_parse(slice_of(type), body, &arena, &m, &e) != OK) {
        snprintf(out, size, "%s", e.text);
        return;
    }
    for (size_t i = 0; i < m.n; i++) {
        const struct multipart_part *p = &m.parts[i];
        n += (size_t)snprintf(out + n, size - n, "%s%.*s%s%.*s=%.*s", n > 0 ? " & " : "", SLICE_ARG(p->name),
                              p->file ? "@" : "", SLICE_ARG(p->type), SLICE_ARG(p->value));
        ck_assert_uint_eq(p->start, i == 0 ? 0 : m.parts[i - 1].end);
        ck_assert(slice_starts((struct slice){body.p + p->end, body.n - p->end}, "--"));
    }
}

#define PART(head, value)  "--xyz\r\n" head "\r\n\r\n" value "\r\n"
#define FIELD(name, value) PART("Content-Disposition: form-data; name=\"" name "\"", value)
#define END                "--xyz--\r\n"
#define DISPOSITION        "Content-Disposition: form-data; "

static const struct {
    const char *body;
    const char *read;
} rows[] = {
    {END, ""},
    {"--xyz--", ""},
    {FIELD("to", "a@b.test") END, "to=a@b.test"},
    {FIELD("to", "a@b.test") "--xyz--", "to=a@b.test"},
    {FIELD("a", "") FIELD("b", "\r\n") FIELD("c", "\r\n\r\n--xy") END, "a= & b=\r\n & c=\r\n\r\n--xy"},
    {PART("content-disposition:form-data;name=to", "1") END, "to=1"},
    {PART(DISPOSITION "name=a{b", "1") END, "a{b=1"},
    {PART("Content-Disposition:  Form-Data ;\tName=\"to\"", "1") END, "to=1"},
    {PART(DISPOSITION "name=\"f\"; filename=\"a b.txt\"\r\nContent-Type: text/plain", "1") END, "f@text/plain=1"},
    {PART(DISPOSITION "name=\"f\"; filename=\"\"", "1") END, "f@=1"},
    {PART(DISPOSITION "filename*=utf-8''%C3%A9.txt; name=f", "1") END, "f@=1"},
    {PART(DISPOSITION "name=f; filename=e.txt; filename*=utf-8''%C3%A9.txt", "1") END, "f@=1"},
    {PART(DISPOSITION "name=\"f\"; filename=\"\xC3\xA9 %22q%22 C:\\x.txt\"", "1") END, "f@=1"},
    {PART(DISPOSITION "name=\"v:\xC3\xA9 100% {x}\"", "1") END, "v:\xC3\xA9 100% {x}=1"},
    {PART(DISPOSITION "name=\"a%2\"", "1") END, "a%2=1"},
    {PART(DISPOSITION "name=\"a%zz\"", "1") END, "a%zz=1"},
    {PART(DISPOSITION "name=\"a%2z\"", "1") END, "a%2z=1"},
    {PART("Content-Transfer-Encoding: 8bit\r\n" DISPOSITION "name=\"a\"\r\nX-Any: x", "1") END, "a=1"},
    {PART("Content-Type: application/octet-stream\r\n" DISPOSITION "name=\"a\"", "1") END,
     "aapplication/octet-stream=1"},

    {"", "Multipart at byte 0 (part 0): expected the delimiter first: -- and the boundary of Content-Type"},
    {"\r\n" FIELD("to", "1") END,
     "Multipart at byte 0 (part 0): expected the delimiter first: -- and the boundary of Content-Type"},
    {"preamble\r\n" FIELD("to", "1") END,
     "Multipart at byte 0 (part 0): expected the delimiter first: -- and the boundary of Content-Type"},
    {"--xyz", "Multipart at byte 5 (part 0): expected CRLF or -- behind the delimiter"},
    {"--xyz-", "Multipart at byte 5 (part 0): expected CRLF or -- behind the delimiter"},
    {"--xyz \r\n", "Multipart at byte 5 (part 0): expected CRLF or -- behind the delimiter"},
    {"--xyz\n" DISPOSITION "name=a\r\n\r\n1\r\n" END,
     "Multipart at byte 5 (part 0): expected CRLF or -- behind the delimiter"},
    {"--xyz--\r\n\r\n", "Multipart at byte 7 (part 0): expected nothing behind the closing delimiter"},
    {"--xyz--x", "Multipart at byte 7 (part 0): expected nothing behind the closing delimiter"},
    {"--xyz--\rx", "Multipart at byte 7 (part 0): expected nothing behind the closing delimiter"},
    {FIELD("a", "1") END FIELD("b", "2") END,
     "Multipart at byte 61 (part 1): expected nothing behind the closing delimiter"},
    {FIELD("a", "1"), "Multipart at byte 54 (part 0): expected the closing delimiter; the body is cut off"},
    {FIELD("a", "1") "--xy", "Multipart at byte 58 (part 0): expected the closing delimiter; the body is cut off"},
    {"--xyz\r\n--xyz--",
     "Multipart at byte 7 (part 0): expected the delimiter at the beginning of a line, behind CRLF, and nowhere else"},
    {FIELD("a", "x--xyz") END,
     "Multipart at byte 52 (part 0): expected the delimiter at the beginning of a line, behind CRLF, and nowhere else"},
    {FIELD("a", "\n--xyz\r\n") END,
     "Multipart at byte 52 (part 0): expected the delimiter at the beginning of a line, behind CRLF, and nowhere else"},
    {FIELD("a", "\r\n--xyz0\r\n") END, "Multipart at byte 58 (part 1): expected CRLF or -- behind the delimiter"},
    {"--xyz\r\n\r\n\r\n" END, "Multipart at byte 9 (part 0): expected a Content-Disposition in each part"},
    {PART("Content-Type: text/plain", "1") END,
     "Multipart at byte 35 (part 0): expected a Content-Disposition in each part"},
    {"--xyz\r\n" DISPOSITION "name=a\r\n\r\n" END,
     "Multipart at byte 47 (part 0): expected an empty line behind a part's headers"},
    {"--xyz\r\n" DISPOSITION "name=a\r\n" END,
     "Multipart at byte 7 (part 0): expected an empty line behind a part's headers"},
    {"--xyz\r\n" DISPOSITION "name=a\n\n1\r\n" END,
     "Multipart at byte 45 (part 0): expected CRLF at the end of a header"},
    {"--xyz\r\n" DISPOSITION "name=a\r\n\n1\r\n" END,
     "Multipart at byte 47 (part 0): expected CRLF at the end of a header"},
    {PART(DISPOSITION "name=a\r\n ; filename=b", "1") END,
     "Multipart at byte 47 (part 0): expected a header \"Name: value\", not folded"},
    {PART(DISPOSITION "name=a\r\nnothing", "1") END,
     "Multipart at byte 47 (part 0): expected a header \"Name: value\", not folded"},
    {PART(DISPOSITION "name=a\r\nX : y", "1") END,
     "Multipart at byte 47 (part 0): expected a header \"Name: value\", not folded"},
    {PART(DISPOSITION "name=\"a\rb\"", "1") END,
     "Multipart at byte 46 (part 0): expected no control character in a part's head"},
    {PART(DISPOSITION "name=\"a\x7F\"", "1") END,
     "Multipart at byte 46 (part 0): expected no control character in a part's head"},
    {PART(DISPOSITION "name=a\r\n" DISPOSITION "name=a", "1") END,
     "Multipart at byte 47 (part 0): expected this header once"},
    {PART("Content-Type: a/b\r\ncontent-type: a/b\r\n" DISPOSITION "name=a", "1") END,
     "Multipart at byte 26 (part 0): expected this header once"},
    {PART("Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: 7bit\r\n" DISPOSITION "name=a", "1") END,
     "Multipart at byte 40 (part 0): expected this header once"},
    {PART("Content-Transfer-Encoding: base64\r\n" DISPOSITION "name=a", "1") END,
     "Multipart at byte 34 (part 0): expected no Content-Transfer-Encoding but 7bit, 8bit or binary"},
    {PART("Content-Type: Multipart/mixed; boundary=b\r\n" DISPOSITION "name=a", "1") END,
     "Multipart at byte 21 (part 0): expected no multipart within a part; send each by itself"},
    {PART("Content-Disposition: attachment; name=a", "1") END,
     "Multipart at byte 28 (part 0): expected Content-Disposition: form-data; name=\"...\""},
    {PART("Content-Disposition: form-data", "1") END,
     "Multipart at byte 28 (part 0): expected Content-Disposition: form-data; name=\"...\""},
    {PART(DISPOSITION "filename=a", "1") END,
     "Multipart at byte 28 (part 0): expected Content-Disposition: form-data; name=\"...\""},
    {PART(DISPOSITION "name=a;", "1") END,
     "Multipart at byte 28 (part 0): expected Content-Disposition: form-data; name=\"...\""},
    {PART(DISPOSITION "name=a b", "1") END,
     "Multipart at byte 28 (part 0): expected Content-Disposition: form-data; name=\"...\""},
    {PART(DISPOSITION "name", "1") END,
     "Multipart at byte 28 (part 0): expected Content-Disposition: form-data; name=\"...\""},
    {PART(DISPOSITION "name=a:b", "1") END,
     "Multipart at byte 28 (part 0): expected Content-Disposition: form-data; name=\"...\""},
    {PART(DISPOSITION "name=", "1") END,
     "Multipart at byte 28 (part 0): expected Content-Disposition: form-data; name=\"...\""},
    {PART(DISPOSITION "name = a", "1") END,
     "Multipart at byte 28 (part 0): expected Content-Disposition: form-data; name=\"...\""},
    {PART(DISPOSITION "name=\"a", "1") END,
     "Multipart at byte 28 (part 0): expected Content-Disposition: form-data; name=\"...\""},
    {PART(DISPOSITION "name=\"", "1") END,
     "Multipart at byte 28 (part 0): expected Content-Disposition: form-data; name=\"...\""},
    {PART(DISPOSITION "name=f; filename=\"a\\\"; name=\"to\"", "1") END,
     "Multipart at byte 28 (part 0): expected Content-Disposition: form-data; name=\"...\""},
    {PART(DISPOSITION "name=a; name=b", "1") END,
     "Multipart at byte 28 (part 0): expected name once, filename and filename* at most once, and nothing else"},
    {PART(DISPOSITION "name=a; filename=b; filename=b", "1") END,
     "Multipart at byte 28 (part 0): expected name once, filename and filename* at most once, and nothing else"},
    {PART(DISPOSITION "name=a; filename*=b; filename*=b", "1") END,
     "Multipart at byte 28 (part 0): expected name once, filename and filename* at most once, and nothing else"},
    {PART(DISPOSITION "name*=utf-8''to", "1") END,
     "Multipart at byte 28 (part 0): expected name once, filename and filename* at most once, and nothing else"},
    {PART(DISPOSITION "name=\"\"", "1") END,
     "Multipart at byte 28 (part 0): expected a name without escapes, quotes and controls"},
    {PART(DISPOSITION "name=\"t%6F\"", "1") END,
     "Multipart at byte 28 (part 0): expected a name without escapes, quotes and controls"},
    {PART(DISPOSITION "name=\"t\\o\"", "1") END,
     "Multipart at byte 28 (part 0): expected a name without escapes, quotes and controls"},
    {PART(DISPOSITION "name=\"=?utf-8?q?to?=\"", "1") END,
     "Multipart at byte 28 (part 0): expected a name without escapes, quotes and controls"},
    {PART(DISPOSITION "name=\"t\to\"", "1") END,
     "Multipart at byte 28 (part 0): expected a name without escapes, quotes and controls"},
    {PART(DISPOSITION "name=\"\xFF\"", "1") END,
     "Multipart at byte 28 (part 0): expected a name without escapes, quotes and controls"},
};

START_TEST(bodies)
{
    char got[512];
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        read_body(TYPE, slice_of(rows[i].body), got, sizeof got);
        ck_assert_msg(strcmp(got, rows[i].read) == 0, "%s\nexpected %s\ngot      %s", rows[i].body, rows[i].read, got);
    }
}
END_TEST

static const struct {
    const char *type;
    bool good;
} types[] = {
    {"multipart/form-data; boundary=xyz", true},
    {"Multipart/Form-Data;Boundary=\"xyz\"", true},
    {"multipart/form-data; charset=utf-8; boundary=xyz", true},
    {"multipart/form-data; boundary=xyz; charset=\"utf-8\"", true},
    {"multipart/form-data; another-one=1; boundary=xyz; x=2", true},
    {"", false},
    {"multipart/form-data", false},
    {"multipart/form-data;", false},
    {"multipart/form-dataX; boundary=xyz", false},
    {"multipart/mixed; boundary=xyz", false},
    {"multipart/form-data; boundary=", false},
    {"multipart/form-data; boundary=\"\"", false},
    {"multipart/form-data; boundary=\"xyz", false},
    {"multipart/form-data; boundary=\"xyz \"", false},
    {"multipart/form-data; boundary=\"x\\yz\"", false},
    {"multipart/form-data; boundary=\"xyz\xC3\xA9\"", false},
    {"multipart/form-data; boundary=xyz; boundary=xyz", false},
    {"multipart/form-data; boundary=xyz; boundary*0=a", false},
    {"multipart/form-data; boundary*=utf-8''xyz", false},
    {"multipart/form-data; boundary=xyz, multipart/form-data", false},
    {"multipart/form-data; boundary=01234567890123456789012345678901234567890123456789012345678901234567890", false},
};

START_TEST(content_types)
{
    char got[512];
    for (size_t i = 0; i < N_ELEMENTS(types); i++) {
        read_body(types[i].type, slice_of(FIELD("a", "1") END), got, sizeof got);
        const char *expected = types[i].good ? "a=1"
                                             : "Content-Type must be multipart/form-data with one boundary of 1 to 70 "
                                               "characters (RFC 2046)";
        ck_assert_msg(strcmp(got, expected) == 0, "%s: %s", types[i].type, got);
    }
    read_body("multipart/form-data; boundary=\"a b'()+_,-./:=?\"",
              SLICE("--a b'()+_,-./:=?\r\n" DISPOSITION "name=a\r\n\r\n1\r\n--a b'()+_,-./:=?--"), got, sizeof got);
    ck_assert_str_eq(got, "a=1");
    char type[128], body[256], boundary[71];
    memset(boundary, 'b', 70);
    boundary[70] = '\0';
    snprintf(type, sizeof type, "multipart/form-data; boundary=%s", boundary);
    snprintf(body, sizeof body, "--%s\r\n" DISPOSITION "name=a\r\n\r\n1\r\n--%s--", boundary, boundary);
    read_body(type, slice_of(body), got, sizeof got);
    ck_assert_str_eq(got, "a=1");
}
END_TEST

/* Every byte there is, and every cut of a body is refused. */
START_TEST(any_bytes)
{
    struct multipart m;
    struct errmsg e;
    struct buf b;
    char all[256];
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (char)i;
    buf_init(&b, &arena, 4096);
    buf_add_cstr(&b, "--xyz\r\n" DISPOSITION "name=\"f\"; filename=\"f\"\r\n\r\n");
    buf_add(&b, all, sizeof all);
    buf_add_cstr(&b, "\r\n" FIELD("to", "a@b.test") "--xyz--");
    struct slice body = buf_slice(&b);
    ck_assert_int_eq(multipart_parse(SLICE(TYPE), body, &arena, &m, &e), OK);
    ck_assert_uint_eq(m.n, 2);
    ck_assert(slice_eq(m.parts[0].value, (struct slice){all, sizeof all}));
    ck_assert(slice_eq_cstr(m.parts[1].value, "a@b.test"));
    for (size_t n = 0; n < body.n; n++)
        ck_assert_msg(multipart_parse(SLICE(TYPE), (struct slice){body.p, n}, &arena, &m, &e) == ERR_SYNTAX,
                      "%zu bytes of it were read", n);
}
END_TEST

static enum err parse_many(size_t n_parts, size_t n_headers, size_t header_bytes, struct errmsg *e)
{
    struct arena own;
    struct multipart m;
    struct buf b;
    arena_init(&own, LIMIT_ARENA_BYTES);
    buf_init(&b, &own, 1u << 20);
    for (size_t i = 0; i < n_parts; i++) {
        buf_add_cstr(&b, "--xyz\r\n" DISPOSITION "name=a");
        for (size_t k = 1; k < n_headers; k++)
            buf_add_cstr(&b, "\r\nX: y");
        if (header_bytes > 0)
            buf_printf(&b, "\r\nX: %0*d", (int)header_bytes, 0);
        buf_add_cstr(&b, "\r\n\r\n\r\n");
    }
    buf_add_cstr(&b, END);
    ck_assert(!b.failed);
    enum err err = multipart_parse(SLICE(TYPE), buf_slice(&b), &own, &m, e);
    arena_clear(&own);
    return err;
}

/* Of a part's head, less "\r\nX: " and what else stands in it. */
#define FILL (8192 - (sizeof(DISPOSITION "name=a") - 1) - 5 - 4)

START_TEST(limits)
{
    struct errmsg e;
    ck_assert_int_eq(parse_many(LIMIT_FORM_FIELDS, 1, 0, &e), OK);
    ck_assert_int_eq(parse_many(LIMIT_FORM_FIELDS + 1, 1, 0, &e), ERR_LIMIT);
    ck_assert_str_eq(e.text, "Multipart of more than 1200 parts");
    ck_assert_int_eq(parse_many(2, 16, 0, &e), OK);
    ck_assert_int_eq(parse_many(2, 17, 0, &e), ERR_SYNTAX);
    ck_assert_str_eq(e.text, "Multipart at byte 137 (part 0): expected at most 16 headers in a part");
    ck_assert_int_eq(parse_many(2, 1, FILL, &e), OK);
    ck_assert_int_eq(parse_many(2, 1, FILL + 1, &e), ERR_LIMIT);
    ck_assert_str_eq(e.text, "Multipart part 0: its head has more than 8192 bytes");
}
END_TEST

/* With any amount of memory: the whole, or a refusal that says so by its code. */
START_TEST(short_of_memory)
{
    static const char body[] = FIELD("a", "1") FIELD("b", "2") END;
    size_t n_spent = 0;
    for (size_t bytes = 1; bytes < 8192; bytes += 16) {
        struct arena own;
        struct multipart m;
        struct errmsg e;
        arena_init(&own, bytes);
        enum err err = multipart_parse(SLICE(TYPE), SLICE(body), &own, &m, &e);
        ck_assert(err == OK ? m.n == 2 : err == ERR_LIMIT && e.text[0] == '\0');
        n_spent += err != OK;
        arena_clear(&own);
    }
    ck_assert_uint_gt(n_spent, 1);
}
END_TEST

START_TEST(charsets)
{
    static const struct {
        const char *type, *value;
        bool utf8;
    } parts[] = {
        {"", "a", true},
        {"", "\xC3\xA9", true},
        {"", "\xE9", false},
        {"text/plain", "\xC3\xA9", true},
        {"text/plain; charset=UTF-8", "\xC3\xA9", true},
        {"text/plain; charset=\"utf-8\"; format=flowed", "\xC3\xA9", true},
        {"text/plain; charset=ISO-8859-1", "a", true},
        {"text/plain; charset=ISO-8859-1", "\xC3\xA9", false},
        {"text/plain; charset=us-ascii", "a", true},
        {"text/plain; charset=utf-16", "a", false},
        {"text/plain; charset=utf-7", "+AGE-", false},
    };
    for (size_t i = 0; i < N_ELEMENTS(parts); i++) {
        struct multipart_part part = {.type = slice_of(parts[i].type), .value = slice_of(parts[i].value)};
        ck_assert_msg(multipart_is_utf8(&part) == parts[i].utf8, "%s: %s", parts[i].type, parts[i].value);
    }
    struct multipart_part none = {.file = false};
    ck_assert(multipart_is_utf8(&none));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connectors_multipart");
    TCase *tcase = tcase_create("parts");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, bodies);
    tcase_add_test(tcase, content_types);
    tcase_add_test(tcase, any_bytes);
    tcase_add_test(tcase, limits);
    tcase_add_test(tcase, short_of_memory);
    tcase_add_test(tcase, charsets);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

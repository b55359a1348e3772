/*
 * The HTTP/1.1 parser against raw requests in files (tests/http).  Each file is
 * fed whole, byte by byte, and split at every point; what comes out must be the
 * same each time, and as expected.txt says: one line a file,
 *     name  event | event | ...
 * Pieces are copied to blocks of their exact size, so that a sanitizer sees a
 * read beyond them.
 */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "gateway/http_body.h"
#include "gateway/http_write.h"
#include "postern/buf.h"

#define MAX_BODY_BYTES   4096u
#define TRANSCRIPT_BYTES 65536u
#define SHOWN_BYTES      24u

struct run {
    struct http_proto proto;
    struct http_body body;
    struct http_budget budget;
    struct arena request, text;
    struct buf out;
    bool begun, refused;
};

static struct slice read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    ensure(f != NULL);
    char *bytes = xcalloc(1, 1u << 20);
    size_t n = fread(bytes, 1, 1u << 20, f);
    fclose(f);
    return (struct slice){bytes, n};
}

static void show_refused(struct run *r, enum http_fault f, uint64_t at)
{
    buf_printf(&r->out, "%d %s at %llu | ", http_fault_status(f), http_fault_label(f), (unsigned long long)at);
    r->refused = true;
}

static void show_head(struct run *r)
{
    const struct http_head *h = &r->proto.head;
    buf_printf(&r->out, "%s %.*s", http_method_name(h->method), SLICE_ARG(h->path));
    if (h->query.p != NULL) {
        buf_printf(&r->out, " query=%.*s", SLICE_ARG(h->query));
    }
    buf_printf(&r->out, " host=%.*s headers=%zu%s%s%s%s", SLICE_ARG(h->host), h->n_headers, h->is_1_0 ? " 1.0" : "",
               h->chunked ? " chunked" : "", h->expect_continue ? " expect" : "", h->keep_alive ? "" : " close");
    for (size_t i = 0; i < h->n_headers; i++) {
        if (slice_ieq(h->headers[i].name, SLICE("x-value"))) {
            buf_add_cstr(&r->out, " x=");
            buf_add_json(&r->out, h->headers[i].value);
        }
    }
    buf_add_cstr(&r->out, " | ");
}

static void show_body(struct run *r)
{
    buf_printf(&r->out, "body %zu", r->body.n);
    if (r->body.n > 0) {
        buf_add_cstr(&r->out, " ");
        buf_add_json(&r->out, (struct slice){r->body.p, r->body.n < SHOWN_BYTES ? r->body.n : SHOWN_BYTES});
    }
    buf_add_cstr(&r->out, " | ");
}

static void run_event(struct run *r, enum http_event event)
{
    enum http_fault f = HTTP_FAULT_NONE;
    switch (event) {
    case HTTP_NONE:
        break;
    case HTTP_HEAD_READY:
        show_head(r);
        f = http_body_init(&r->body, &r->proto.head, MAX_BODY_BYTES, &r->request, &r->budget);
        break;
    case HTTP_BODY:
        f = http_body_add(&r->body, r->proto.piece);
        break;
    case HTTP_END:
        f = http_body_end(&r->body);
        if (f == HTTP_FAULT_NONE) {
            show_body(r);
            http_body_clear(&r->body);
            arena_clear(&r->request);
            r->begun = false;
        }
        break;
    case HTTP_REFUSED:
        show_refused(r, r->proto.fault, r->proto.fault_at);
        break;
    }
    if (f != HTTP_FAULT_NONE) { /* where a broken gzip body is noticed depends on the cut: no position */
        buf_printf(&r->out, "%d %s | ", http_fault_status(f), http_fault_label(f));
        r->refused = true;
    }
}

static void run_feed(struct run *r, const char *p, size_t n)
{
    char *exact = xcalloc(n > 0 ? n : 1, 1);
    if (n > 0) {
        memcpy(exact, p, n);
    }
    struct slice in = {exact, n};
    while (!r->refused && (in.n > 0 || r->proto.state == HTTP_STATE_END)) {
        if (!r->begun) {
            http_proto_next(&r->proto, &r->request);
            r->begun = true;
        }
        run_event(r, http_proto_step(&r->proto, &in));
    }
    free(exact);
}

/* The events of input cut into pieces: first bytes alone, then step bytes each. */
static char *transcript_in(size_t arena_bytes, struct slice input, size_t first, size_t step)
{
    struct run r = {.budget = {.max_bytes = 1u << 20}};
    arena_init(&r.request, arena_bytes);
    arena_init(&r.text, 1u << 20);
    buf_init(&r.out, &r.text, TRANSCRIPT_BYTES);
    http_proto_init(&r.proto, MAX_BODY_BYTES);
    run_feed(&r, input.p, first);
    for (size_t at = first; at < input.n; at += step) {
        run_feed(&r, input.p + at, input.n - at < step ? input.n - at : step);
    }
    if (!r.refused && !http_proto_is_idle(&r.proto)) {
        buf_add_cstr(&r.out, "wants more");
    }
    char *text = xstrndup(r.out.n > 0 ? r.out.p : "nothing", r.out.n > 0 ? r.out.n : strlen("nothing"));
    ensure(!r.out.failed);
    http_body_clear(&r.body);
    ensure(r.budget.used_bytes == 0);
    arena_clear(&r.request);
    arena_clear(&r.text);
    for (size_t n = strlen(text); n > 0 && (text[n - 1] == ' ' || text[n - 1] == '|'); n--) {
        text[n - 1] = '\0';
    }
    return text;
}

static char *transcript(struct slice input, size_t first, size_t step)
{
    return transcript_in(1u << 20, input, first, step);
}

static void expect_cut(const char *name, struct slice input, const char *expected, size_t first, size_t step)
{
    char *got = transcript(input, first, step);
    ck_assert_msg(strcmp(got, expected) == 0, "%s, cut at %zu by %zu:\n  expected %s\n  got      %s", name, first, step,
                  expected, got);
    free(got);
}

static void check_file(const char *name, const char *expected)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/http/%s.raw", TESTS_DIR, name);
    struct slice input = read_file(path);
    expect_cut(name, input, expected, input.n, 1);
    expect_cut(name, input, expected, 0, 1);
    expect_cut(name, input, expected, 0, 7);
    /* Every point of an ordinary request; of the huge ones some 500. */
    size_t stride = input.n / 500 + 1;
    for (size_t at = 0; at <= input.n; at += stride) {
        expect_cut(name, input, expected, at, input.n);
    }
    free((char *)(uintptr_t)input.p);
}

START_TEST(test_files)
{
    struct slice table = read_file(TESTS_DIR "/http/expected.txt");
    char *text = (char *)(uintptr_t)table.p;
    size_t n = 0;
    for (char *line = text, *next = NULL; *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        ck_assert_msg(*next == '\n', "expected.txt: no newline at the end");
        *next++ = '\0';
        char *gap = strstr(line, "  ");
        ck_assert_msg(gap != NULL, "expected.txt: no two blanks in '%s'", line);
        *gap = '\0';
        check_file(line, gap + strspn(gap + 1, " ") + 1);
        n++;
    }
    free(text);
    size_t n_files = 0;
    DIR *dir = opendir(TESTS_DIR "/http");
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        n_files += strstr(d->d_name, ".raw") != NULL;
    }
    closedir(dir);
    ck_assert_uint_eq(n, n_files); /* no file is forgotten, none runs twice */
    ck_assert_uint_gt(n, 100);
}
END_TEST

/* Build "prefix + n bytes + suffix" and check its events. */
static void expect_filled(const char *prefix, char fill, size_t n, const char *suffix, const char *expected_end)
{
    struct arena a;
    arena_init(&a, 1u << 20);
    struct buf b;
    buf_init(&b, &a, 1u << 19);
    buf_add_cstr(&b, prefix);
    for (size_t i = 0; i < n; i++) {
        buf_add(&b, &fill, 1);
    }
    buf_add_cstr(&b, suffix);
    for (size_t step = 1; step < 100000; step *= 50) {
        char *got = transcript(buf_slice(&b), 0, step);
        size_t len = strlen(got), want = strlen(expected_end);
        ck_assert_msg(len >= want && strcmp(got + len - want, expected_end) == 0, "%zu of '%c': %s", n, fill, got);
        free(got);
    }
    arena_clear(&a);
}

START_TEST(test_limits)
{
    size_t line = LIMIT_HTTP_LINE_BYTES - strlen("GET / HTTP/1.1");
    expect_filled("GET /", 'a', line, " HTTP/1.1\r\nHost: h\r\n\r\n", " host=h headers=1 | body 0");
    expect_filled("GET /", 'a', line + 1, " HTTP/1.1\r\nHost: h\r\n\r\n", "414 line_too_long at 8192");
    const char *head = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
    size_t room = LIMIT_HTTP_HEAD_BYTES - strlen(head);
    expect_filled(head, 'b', room, "\r\n\r\n", " host=h headers=2 | body 0");
    expect_filled(head, 'b', room + 1, "\r\n\r\n", "431 head_too_large at 65536");
    const char *trailer = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    expect_filled(trailer, 'c', 20, ": x\r\n\r\n", " chunked | body 0");
    expect_filled(trailer, 'c', LIMIT_HTTP_TRAILERS_BYTES + 1, ": x\r\n\r\n", "431 trailers_too_large at 8251");
    const char *post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4096\r\n\r\n";
    expect_filled(post, 'd', MAX_BODY_BYTES, "", " | body 4096 \"dddddddddddddddddddddddd\"");
}
END_TEST

START_TEST(test_header_count)
{
    for (size_t n = LIMIT_HTTP_HEADERS - 1; n <= LIMIT_HTTP_HEADERS; n++) {
        struct arena a;
        arena_init(&a, 1u << 20);
        struct buf b;
        buf_init(&b, &a, 1u << 16);
        buf_add_cstr(&b, "GET / HTTP/1.1\r\nHost: h\r\n");
        for (size_t i = 0; i < n; i++) {
            buf_add_cstr(&b, "A: b\r\n");
        }
        buf_add_cstr(&b, "\r\n");
        char *got = transcript(buf_slice(&b), 0, 3);
        ck_assert_str_eq(got,
                         n < LIMIT_HTTP_HEADERS ? "GET / host=h headers=100 | body 0" : "431 too_many_headers at 619");
        free(got);
        arena_clear(&a);
    }
}
END_TEST

/* With any byte replaced by any that means something somewhere, the cut changes nothing, and nobody reads too far. */
START_TEST(test_mutations)
{
    static const char *const requests[] = {
        "GET http://a.example:80/x?y=%20 HTTP/1.0\r\nX-A: b\r\n\r\n",
        "GET /%2Ea%7F/b%3b HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "POST /a%40b?x[]=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: b\r\n\r\n",
    };
    static const char bytes[] = "\r\n\t \x01\x7F\xC3\xFF/\\?#%&*+-.:;<=@[]^_`|~!,\"(){}0129AFGafgxz";
    for (size_t i = 0; i < N_ELEMENTS(requests); i++) {
        for (size_t at = 0; at < strlen(requests[i]); at++) {
            for (const char *c = bytes; *c != '\0'; c++) {
                char text[256];
                int n = snprintf(text, sizeof(text), "%s", requests[i]);
                text[at] = *c;
                struct slice input = {text, (size_t)n};
                char *whole = transcript(input, input.n, 1), *by_byte = transcript(input, 0, 1);
                if (strcmp(whole, by_byte) != 0)
                    ck_abort_msg("%s:\n  %s\n  %s", text, whole, by_byte);
                free(whole);
                free(by_byte);
            }
        }
    }
}
END_TEST

/* A head that the arena has no room for is refused as too large, wherever the arena ends. */
START_TEST(test_short_of_bytes)
{
    static const char head[] = "GET http://a.example HTTP/1.1\r\nHost: a.example\r\n";
    char text[4096];
    size_t n = (size_t)snprintf(text, sizeof(text), "%s", head);
    for (int i = 0; i < 60; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "X-Field-%d: something to say\r\n", i);
    n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
    struct slice input = {text, n};
    for (size_t bytes = 16; bytes < 16384; bytes += 16) {
        char *got = transcript_in(bytes, input, 0, 97);
        ck_assert_msg(slice_starts(slice_of(got), "414 ") || slice_starts(slice_of(got), "431 ") ||
                          strcmp(got, "GET / host=a.example headers=61 | body 0") == 0,
                      "%zu bytes: %s", bytes, got);
        free(got);
    }
}
END_TEST

/* Trailers are few, as headers are. */
START_TEST(test_trailer_count)
{
    char text[2048];
    for (size_t trailers = LIMIT_HTTP_HEADERS; trailers <= LIMIT_HTTP_HEADERS + 1; trailers++) {
        size_t n = (size_t)snprintf(text, sizeof(text),
                                    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
        for (size_t i = 0; i < trailers; i++)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "a: b\r\n");
        n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
        char *got = transcript((struct slice){text, n}, 0, 5);
        bool good = trailers == LIMIT_HTTP_HEADERS;
        ck_assert_msg((strstr(got, "431 trailers_too_large") == NULL) == good, "%zu: %s", trailers, got);
        free(got);
    }
}
END_TEST

/* What a body may not be, whoever calls: longer than said, or than there are bytes for. */
START_TEST(test_body_limits)
{
    struct arena a;
    struct http_body b;
    arena_init(&a, 1u << 20);
    struct http_budget budget = {.max_bytes = 50000};
    struct http_head head = {.chunked = true};
    char bytes[1001] = {0};
    ck_assert_int_eq(http_body_init(&b, &head, 1000, &a, &budget), HTTP_FAULT_NONE);
    ck_assert_int_eq(http_body_add(&b, (struct slice){bytes, 1001}), HTTP_FAULT_BODY_TOO_LARGE);
    http_body_clear(&b);

    struct arena small;
    arena_init(&small, 100);
    ck_assert_int_eq(http_body_init(&b, &head, 1000, &small, &budget), HTTP_FAULT_NONE);
    ck_assert_int_eq(http_body_add(&b, (struct slice){bytes, 1000}), HTTP_FAULT_TOO_MANY_BYTES);
    http_body_clear(&b);
    ck_assert_uint_eq(budget.used_bytes, 0);
    arena_clear(&small);

    Bytef zipped[256];
    z_stream z = {0};
    static Bytef zeros[20000];
    ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = zeros;
    z.avail_in = sizeof(zeros);
    z.next_out = zipped;
    z.avail_out = sizeof(zipped);
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    struct slice gzip = {(const char *)zipped, z.total_out};
    deflateEnd(&z);
    head.gzip = true;
    for (budget.max_bytes = 1000; budget.max_bytes < 90000; budget.max_bytes += 1000) {
        enum http_fault f = http_body_init(&b, &head, sizeof(zeros), &a, &budget);
        if (f == HTTP_FAULT_NONE)
            f = http_body_add(&b, gzip);
        if (f == HTTP_FAULT_NONE)
            f = http_body_end(&b);
        ck_assert_int_eq(f, budget.max_bytes < 70000 ? HTTP_FAULT_TOO_MANY_BYTES : HTTP_FAULT_NONE);
        http_body_clear(&b);
        ck_assert_uint_eq(budget.used_bytes, 0);
    }
    arena_clear(&a);
}
END_TEST

/* The budget is charged for what arrived, and is whole again afterwards. */
START_TEST(test_budget)
{
    struct arena a;
    arena_init(&a, 1u << 20);
    struct http_budget budget = {.max_bytes = 100000};
    struct http_head head = {.content_length = 100001};
    struct http_body b;
    ck_assert_int_eq(http_body_init(&b, &head, 1u << 20, &a, &budget), HTTP_FAULT_TOO_MANY_BYTES);
    head.content_length = 90000;
    ck_assert_int_eq(http_body_init(&b, &head, 1u << 20, &a, &budget), HTTP_FAULT_NONE);
    ck_assert_uint_eq(budget.used_bytes, 0); /* a promise costs nothing */
    char bytes[1000] = {0};
    for (int i = 0; i < 90; i++) {
        ck_assert_int_eq(http_body_add(&b, (struct slice){bytes, sizeof(bytes)}), HTTP_FAULT_NONE);
    }
    ck_assert_uint_eq(b.n, 90000);
    ck_assert_uint_eq(budget.used_bytes, 90000); /* exact: the length was announced */
    struct http_body other;
    head = (struct http_head){.chunked = true};
    ck_assert_int_eq(http_body_init(&other, &head, 1u << 20, &a, &budget), HTTP_FAULT_NONE);
    enum http_fault f = HTTP_FAULT_NONE;
    for (int i = 0; i < 20 && f == HTTP_FAULT_NONE; i++) {
        f = http_body_add(&other, (struct slice){bytes, sizeof(bytes)});
    }
    ck_assert_int_eq(f, HTTP_FAULT_TOO_MANY_BYTES);
    http_body_clear(&other);
    http_body_clear(&b);
    ck_assert_uint_eq(budget.used_bytes, 0);
    arena_clear(&a);
}
END_TEST

START_TEST(test_write)
{
    char date[HTTP_DATE_MAX];
    ck_assert_str_eq(http_write_date(INT64_C(784111777000), date), "Sun, 06 Nov 1994 08:49:37 GMT");
    struct http_header extra = {SLICE("X-Message-Id"), SLICE("m1")};
    struct http_reply reply = {.status = 202, .headers = &extra, .n_headers = 1};
    char out[512] = "";
    size_t n = http_write_head(&reply, HTTP_PERSIST, date, NULL, 0);
    ck_assert_uint_eq(http_write_head(&reply, HTTP_PERSIST, date, out, sizeof(out)), n);
    ck_assert_str_eq(out, "HTTP/1.1 202 Accepted\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Message-Id: m1\r\n"
                          "Content-Length: 0\r\n\r\n");
    memset(out, 0, sizeof(out));
    reply = (struct http_reply){.status = 204};
    http_write_head(&reply, HTTP_CLOSE, date, out, sizeof(out));
    ck_assert_str_eq(out, "HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                          "Connection: close\r\n\r\n");
}
END_TEST

START_TEST(test_clean_headers)
{
    static const struct {
        const char *name;
        struct slice value;
        bool clean;
    } rows[] = {
        {"X-Reason", SLICE("quiet hours"), true},
        {"X-Reason", SLICE(""), true},
        {"X-Reason", SLICE("a\r\nSet-Cookie: b"), false},
        {"X-Reason", SLICE("a\nb"), false},
        {"X-Reason", SLICE("a\0b"), false},
        {"X-Reason", SLICE("a\x7f"), false},
        {"X-Reason", SLICE(" a"), false},
        {"X-Reason", SLICE("\xff"), false},
        {"X Reason", SLICE("a"), false},
        {"", SLICE("a"), false},
        {"X:", SLICE("a"), false},
        {"content-length", SLICE("5"), false},
        {"Transfer-Encoding", SLICE("chunked"), false},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct http_header h = {slice_of(rows[i].name), rows[i].value};
        ck_assert_msg(http_header_is_clean(h) == rows[i].clean, "row %zu: %s", i, rows[i].name);
    }
}
END_TEST

START_TEST(test_dirty_header_aborts)
{
    struct http_header extra = {SLICE("X-Reason"), SLICE("a\r\nb: c")};
    struct http_reply reply = {.status = 200, .headers = &extra, .n_headers = 1};
    http_write_head(&reply, HTTP_PERSIST, "", NULL, 0);
}
END_TEST

/* Print the events of a file, to write its line in expected.txt. */
static int show(const char *path)
{
    struct slice input = read_file(path);
    char *text = transcript(input, 0, 1);
    puts(text);
    free(text);
    free((char *)(uintptr_t)input.p);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2) {
        return show(argv[1]);
    }
    Suite *s = suite_create("gateway_http_proto");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_files);
    tcase_add_test(t, test_limits);
    tcase_add_test(t, test_header_count);
    tcase_add_test(t, test_budget);
    tcase_add_test(t, test_mutations);
    tcase_add_test(t, test_short_of_bytes);
    tcase_add_test(t, test_trailer_count);
    tcase_add_test(t, test_body_limits);
    tcase_add_test(t, test_write);
    tcase_add_test(t, test_clean_headers);
    tcase_add_test_raise_signal(t, test_dirty_header_aborts, 6);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

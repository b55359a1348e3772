/* Answers of providers by rows: the bytes, and what must be read out of them, whole and cut at every byte. */
#include "gateway/upstream_parse.h"

#include <check.h>
#include <stdlib.h>

#define ANSWER_MAX 64u
#define OK_HEAD    "HTTP/1.1 200 OK\r\n"

struct row {
    const char *bytes;
    enum upstream_parse_state state;
    int http_status;
    const char *body, *rest; /* rest: bytes that belong to nobody */
    size_t n_fields;
    bool closes, to_head;
};

#define WHOLE UPSTREAM_PARSE_DONE
#define BAD   UPSTREAM_PARSE_BAD

static const struct row rows[] = {
    {"HTTP/1.1 202 Accepted\r\nX-Message-Id: a\r\nContent-Length: 0\r\n\r\n", WHOLE, 202, "", "", 2, 0, 0},
    {"HTTP/1.1 202\r\ncontent-LENGTH:3\r\n\r\nabcHTTP", WHOLE, 202, "abc", "HTTP", 1, 0, 0},
    {OK_HEAD "Connection: x, Close\r\nContent-Length: 1\r\n\r\na", WHOLE, 200, "a", "", 2, 1, 0},
    {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", WHOLE, 200, "a", "", 1, 1, 0},
    {"HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\nHTTP/1.1 103 \r\n\r\n" OK_HEAD "Content-Length: 2\r\n\r\nab", WHOLE, 200,
     "ab", "", 1, 0, 0},
    {OK_HEAD "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n00A;x=y\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n", WHOLE, 200,
     "abc0123456789", "", 1, 0, 0},
    {"HTTP/1.1 204 No Content\r\n\r\nx", WHOLE, 204, "", "x", 0, 0, 0},
    {"HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n", WHOLE, 304, "", "", 1, 0, 0},
    {OK_HEAD "Content-Length: 9\r\n\r\n", WHOLE, 200, "", "", 1, 0, 1},
    {OK_HEAD "\r\nuntil the end", UPSTREAM_PARSE_TO_EOF, 200, "until the end", "", 0, 1, 0},
    {OK_HEAD "Content-Length: 9\r\n\r\nabc", UPSTREAM_PARSE_LENGTH, 200, "abc", "", 1, 0, 0},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nab", UPSTREAM_PARSE_CHUNK, 200, "ab", "", 1, 0, 0},
    {"HTTP/1.1 20", UPSTREAM_PARSE_STATUS, 0, "", "", 0, 0, 0},
    {OK_HEAD "X-A: b\r", UPSTREAM_PARSE_FIELDS, 200, "", "", 0, 0, 0},
    {OK_HEAD "Connection: keep-alive, x, y\r\nContent-Length: 0\r\n\r\n", WHOLE, 200, "", "", 2, 0, 0},
    /* What can be read two ways, or not at all. */
    {"\n", BAD, 0, "", "", 0, 0, 0},
    {"HTTP/1.1 099 x\r\n", BAD, 0, "", "", 0, 0, 0},
    {"HTTP/1.1x200 x\r\n", BAD, 0, "", "", 0, 0, 0},
    {OK_HEAD "X-A: \x7F\r\n", BAD, 200, "", "", 0, 0, 0},
    {"+OK POP3 ready\r\n", BAD, 0, "", "", 0, 0, 0},
    {"\r\n" OK_HEAD, BAD, 0, "", "", 0, 0, 0},
    {"HTTP/1.1 99 x\r\n", BAD, 0, "", "", 0, 0, 0},
    {"HTTP/1.1 600 x\r\n", BAD, 0, "", "", 0, 0, 0},
    {"HTTP/1.1 2000 x\r\n", BAD, 0, "", "", 0, 0, 0},
    {"HTTP/1.1  200 x\r\n", BAD, 0, "", "", 0, 0, 0},
    {"HTTP/2.0 200 x\r\n", BAD, 0, "", "", 0, 0, 0},
    {"http/1.1 200 x\r\n", BAD, 0, "", "", 0, 0, 0},
    {"HTTP/1.1 200 OK\n", BAD, 0, "", "", 0, 0, 0},
    {"HTTP/1.1 200 O\rK\r\n", BAD, 0, "", "", 0, 0, 0},
    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", BAD, 0, "", "", 1, 0, 0},
    {OK_HEAD "Content-Length: 1\r\nContent-Length: 1\r\n", BAD, 200, "", "", 1, 0, 0},
    {OK_HEAD "Content-Length: 1, 1\r\n", BAD, 200, "", "", 0, 0, 0},
    {OK_HEAD "Content-Length: +1\r\n", BAD, 200, "", "", 0, 0, 0},
    {OK_HEAD "Content-Length: 0x1\r\n", BAD, 200, "", "", 0, 0, 0},
    {OK_HEAD "Content-Length: 99999999999999999999\r\n", BAD, 200, "", "", 0, 0, 0},
    {OK_HEAD "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", BAD, 200, "", "", 2, 0, 0},
    {OK_HEAD "Transfer-Encoding: gzip, chunked\r\n", BAD, 200, "", "", 0, 0, 0},
    {OK_HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BAD, 200, "", "", 1, 0, 0},
    {OK_HEAD "Content-Length : 1\r\n", BAD, 200, "", "", 0, 0, 0},
    {OK_HEAD "X-A: b\r\n c\r\n", BAD, 200, "", "", 1, 0, 0},
    {OK_HEAD "no colon\r\n", BAD, 200, "", "", 0, 0, 0},
    {OK_HEAD ": x\r\n", BAD, 200, "", "", 0, 0, 0},
    {OK_HEAD "X-A: \x01\r\n", BAD, 200, "", "", 0, 0, 0},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n\r\n", BAD, 200, "", "", 1, 0, 0},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n-1\r\n", BAD, 200, "", "", 1, 0, 0},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n1 x\r\n", BAD, 200, "", "", 1, 0, 0},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n0000000000000001\r\n", BAD, 200, "", "", 1, 0, 0},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", BAD, 200, "a", "", 1, 0, 0},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n", BAD, 200, "", "", 1, 0, 0},
    {OK_HEAD "Content-Length: 65\r\n\r\n01234567890123456789012345678901234567890123456789012345678901234", BAD, 200,
     NULL, "", 1, 0, 0},
};

/* Reads the row's bytes, so many at a time; what is left over is counted. */
static size_t read_row(const struct row *r, size_t step, struct upstream_parse *p)
{
    size_t n = strlen(r->bytes), left = 0;
    for (size_t at = 0; at < n; at += step) {
        struct slice in = {r->bytes + at, n - at < step ? n - at : step};
        upstream_parse_feed(p, &in);
        left += in.n;
    }
    return left;
}

START_TEST(answers)
{
    const struct row *r = &rows[_i];
    for (size_t step = 1; step <= strlen(r->bytes); step++) {
        struct arena arena;
        struct upstream_answer answer;
        struct upstream_parse p;
        arena_init(&arena, 1u << 20);
        upstream_answer_init(&answer, &arena, ANSWER_MAX);
        upstream_parse_init(&p, &answer, r->to_head);
        size_t left = read_row(r, step, &p);
        ck_assert_msg(p.state == r->state, "row %d by %zu: state %d", _i, step, (int)p.state);
        ck_assert_int_eq(p.http_status, r->http_status);
        ck_assert_uint_eq(answer.n_fields, r->n_fields);
        ck_assert(p.state == BAD ? p.why != NULL : p.closes == r->closes);
        if (p.state != BAD)
            ck_assert_uint_eq(left, strlen(r->rest));
        if (r->body != NULL)
            ck_assert(slice_eq_cstr(buf_slice(&answer.body), r->body));
        else
            ck_assert_str_eq(p.why, "answer_too_big");
        upstream_parse_eof(&p);
        ck_assert(p.state == (r->state == UPSTREAM_PARSE_TO_EOF ? WHOLE : r->state));
        arena_clear(&arena);
    }
}
END_TEST

/* A byte replaced by any that means something somewhere: however it is cut, the same is read. */
START_TEST(answers_mutated)
{
    static const char bytes[] = "\r\n\t \x01\x7F\xFF:,;/.0129AFafgx";
    const struct row *r = &rows[_i];
    size_t n = strlen(r->bytes);
    for (size_t at = 0; at < n; at++) {
        for (const char *c = bytes; *c != '\0'; c++) {
            char text[512];
            struct arena arena;
            struct upstream_answer answer[2];
            struct upstream_parse p[2];
            ck_assert_uint_lt(n, sizeof text);
            memcpy(text, r->bytes, n + 1);
            text[at] = *c;
            arena_init(&arena, 1u << 20);
            for (size_t i = 0; i < 2; i++) {
                upstream_answer_init(&answer[i], &arena, ANSWER_MAX);
                upstream_parse_init(&p[i], &answer[i], r->to_head);
                read_row(&(struct row){.bytes = text}, i == 0 ? n : 1, &p[i]);
            }
            bool same = p[0].state == p[1].state && p[0].http_status == p[1].http_status &&
                        answer[0].n_fields == answer[1].n_fields &&
                        (p[0].state == BAD || slice_eq(buf_slice(&answer[0].body), buf_slice(&answer[1].body)));
            ck_assert_msg(same, "row %d, byte %zu is %d", _i, at, *c);
            arena_clear(&arena);
        }
    }
}
END_TEST

/* Where memory ends the answer is bad, and not half of one. */
START_TEST(answers_short_of_bytes)
{
    const struct row *r = &rows[_i];
    for (size_t bytes = 16; bytes < 4096; bytes += 16) {
        struct arena arena;
        struct upstream_answer answer;
        struct upstream_parse p;
        arena_init(&arena, bytes);
        upstream_answer_init(&answer, &arena, ANSWER_MAX);
        upstream_parse_init(&p, &answer, r->to_head);
        read_row(r, 5, &p);
        ck_assert_msg(p.state == r->state || (p.state == BAD && p.why != NULL), "row %d, %zu bytes", _i, bytes);
        if (p.state == WHOLE)
            ck_assert_uint_eq(answer.n_fields, r->n_fields);
        arena_clear(&arena);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway_upstream_parse");
    TCase *t = tcase_create("all");
    tcase_add_loop_test(t, answers, 0, (int)N_ELEMENTS(rows));
    tcase_add_loop_test(t, answers_mutated, 0, (int)N_ELEMENTS(rows));
    tcase_add_loop_test(t, answers_short_of_bytes, 0, (int)N_ELEMENTS(rows));
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

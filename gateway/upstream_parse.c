/*
 * The state machine of answers: cuts bytes into lines, chunks and pieces of body.
 * The grammar of fields is the listener's own (http_grammar); collecting under
 * caps is upstream_answer's.
 */
#include "upstream_parse.h"

#include "http_grammar.h"
#include "postern/hash.h"
#include "postern/limits.h"

#define CHUNK_DIGITS_MAX 15u

void upstream_parse_init(struct upstream_parse *p, struct upstream_answer *answer, bool to_head)
{
    *p = (struct upstream_parse){.answer = answer, .to_head = to_head};
    buf_init(&p->line, answer->arena, LIMIT_HTTP_HEAD_BYTES);
}

static void bad(struct upstream_parse *p, const char *why)
{
    p->state = UPSTREAM_PARSE_BAD;
    p->why = why;
}

static void consume(struct slice *in, size_t n)
{
    in->p += n;
    in->n -= n;
}

/* A line that is whole, without its CRLF.  False: more is needed, or it was bad. */
static bool take_line(struct upstream_parse *p, struct slice *in, struct slice *line)
{
    const char *end = memchr(in->p, '\n', in->n);
    size_t n = end ? (size_t)(end - in->p) + 1 : in->n;
    *line = (struct slice){in->p, n};
    if (!end || p->line.n > 0) {
        buf_add_slice(&p->line, *line);
        *line = buf_slice(&p->line);
    }
    consume(in, n);
    if (p->line.failed) {
        bad(p, "answer_too_big");
        return false;
    }
    if (!end)
        return false;
    p->line.n = 0;
    if (line->n < 2 || line->p[line->n - 2] != '\r') {
        bad(p, "bad_answer");
        return false;
    }
    line->n -= 2;
    if (http_grammar_text(*line) == line->n)
        return true;
    bad(p, "bad_answer");
    return false;
}

/* HTTP/1.x SP 3DIGIT [SP reason] (RFC 9112 section 4; some servers leave the second blank out). */
static void status_line(struct upstream_parse *p, struct slice line)
{
    uint64_t status = 0;
    bool form = line.n >= 12 && memcmp(line.p, "HTTP/1.", 7) == 0 && (line.p[7] == '0' || line.p[7] == '1') &&
                line.p[8] == ' ' && slice_to_u64((struct slice){line.p + 9, 3}, 599, &status) && status >= 100 &&
                (line.n == 12 || line.p[12] == ' ');
    if (!form) {
        bad(p, "bad_answer");
        return;
    }
    p->http_status = (int)status;
    p->closes = line.p[7] == '0';
    p->has_length = p->chunked = false;
    p->state = UPSTREAM_PARSE_FIELDS;
}

static bool has_option(struct slice list, struct slice option)
{
    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t n = comma ? (size_t)(comma - list.p) : list.n;
        if (slice_ieq(slice_trim((struct slice){list.p, n}), option))
            return true;
        consume(&list, comma ? n + 1 : n);
    }
    return false;
}

/* False: the framing can be read two ways, or not at all. */
static bool framing(struct upstream_parse *p, const struct http_header *f)
{
    if (slice_ieq(f->name, SLICE("content-length"))) {
        bool first = !p->has_length;
        p->has_length = true;
        return first && slice_to_u64(f->value, INT64_MAX, &p->left);
    }
    if (slice_ieq(f->name, SLICE("transfer-encoding"))) {
        bool first = !p->chunked;
        p->chunked = true;
        return first && slice_ieq(f->value, SLICE("chunked"));
    }
    if (slice_ieq(f->name, SLICE("connection")))
        p->closes |= has_option(f->value, SLICE("close"));
    return true;
}

static void field_line(struct upstream_parse *p, struct slice line)
{
    struct http_header field = {0};
    const char *where = NULL;
    bool good = p->state == UPSTREAM_PARSE_TRAILERS
                    ? http_grammar_trailer(line, &where) == HTTP_FAULT_NONE
                    : http_grammar_field(line, &field, &where) == HTTP_FAULT_NONE && framing(p, &field);
    if (!good)
        bad(p, "bad_answer");
}

/* The head is whole: what follows it?  RFC 9112 section 6.3. */
static void end_head(struct upstream_parse *p)
{
    if (p->http_status < 200) {
        p->state = UPSTREAM_PARSE_STATUS;
        if (p->http_status == 101) /* we never ask to change the protocol */
            bad(p, "bad_answer");
        p->http_status = 0;
        return;
    }
    bool no_body = p->to_head || p->http_status == 204 || p->http_status == 304;
    if (p->chunked && p->has_length)
        bad(p, "bad_answer");
    else if (no_body || (p->has_length && p->left == 0))
        p->state = UPSTREAM_PARSE_DONE;
    else if (p->chunked)
        p->state = UPSTREAM_PARSE_CHUNK_SIZE;
    else if (p->has_length)
        p->state = UPSTREAM_PARSE_LENGTH;
    else
        p->state = UPSTREAM_PARSE_TO_EOF;
    p->closes |= p->state == UPSTREAM_PARSE_TO_EOF;
}

/* Extensions are ignored, as RFC 9112 section 7.1.1 wants it of a recipient. */
static void chunk_size(struct upstream_parse *p, struct slice line)
{
    size_t n = 0;
    for (p->left = 0; n < line.n && hash_hex_digit(line.p[n]) >= 0; n++)
        p->left = p->left << 4 | (uint64_t)hash_hex_digit(line.p[n]);
    struct slice rest = slice_trim((struct slice){line.p + n, line.n - n});
    if (n == 0 || n > CHUNK_DIGITS_MAX || (rest.n > 0 && rest.p[0] != ';'))
        bad(p, "bad_answer");
    else
        p->state = p->left > 0 ? UPSTREAM_PARSE_CHUNK : UPSTREAM_PARSE_TRAILERS;
}

static void on_line(struct upstream_parse *p, struct slice line)
{
    bool in_head = p->state == UPSTREAM_PARSE_STATUS || p->state == UPSTREAM_PARSE_FIELDS;
    if (p->state == UPSTREAM_PARSE_STATUS)
        status_line(p, line);
    else if (p->state == UPSTREAM_PARSE_CHUNK_SIZE)
        chunk_size(p, line);
    else if (p->state == UPSTREAM_PARSE_CHUNK_END && line.n == 0)
        p->state = UPSTREAM_PARSE_CHUNK_SIZE;
    else if (p->state == UPSTREAM_PARSE_CHUNK_END)
        bad(p, "bad_answer");
    else if (line.n > 0)
        field_line(p, line);
    if (p->state != UPSTREAM_PARSE_BAD && in_head && upstream_answer_line(p->answer, line) != OK)
        bad(p, "answer_too_big");
    if (line.n == 0 && p->state == UPSTREAM_PARSE_FIELDS)
        end_head(p);
    else if (line.n == 0 && p->state == UPSTREAM_PARSE_TRAILERS)
        p->state = UPSTREAM_PARSE_DONE;
}

static void take_body(struct upstream_parse *p, struct slice *in)
{
    bool measured = p->state != UPSTREAM_PARSE_TO_EOF;
    size_t n = measured && p->left < in->n ? (size_t)p->left : in->n;
    if (upstream_answer_body(p->answer, (struct slice){in->p, n}) != OK) {
        bad(p, "answer_too_big");
        return;
    }
    consume(in, n);
    p->left -= measured ? n : 0;
    if (measured && p->left == 0)
        p->state = p->state == UPSTREAM_PARSE_CHUNK ? UPSTREAM_PARSE_CHUNK_END : UPSTREAM_PARSE_DONE;
}

void upstream_parse_feed(struct upstream_parse *p, struct slice *in)
{
    p->any |= in->n > 0;
    while (in->n > 0) {
        struct slice line;
        switch (p->state) {
        case UPSTREAM_PARSE_STATUS:
        case UPSTREAM_PARSE_FIELDS:
        case UPSTREAM_PARSE_CHUNK_SIZE:
        case UPSTREAM_PARSE_CHUNK_END:
        case UPSTREAM_PARSE_TRAILERS:
            if (take_line(p, in, &line))
                on_line(p, line);
            break;
        case UPSTREAM_PARSE_LENGTH:
        case UPSTREAM_PARSE_CHUNK:
        case UPSTREAM_PARSE_TO_EOF:
            take_body(p, in);
            break;
        case UPSTREAM_PARSE_DONE:
        case UPSTREAM_PARSE_BAD:
            return;
        }
    }
}

void upstream_parse_eof(struct upstream_parse *p)
{
    if (p->state == UPSTREAM_PARSE_TO_EOF)
        p->state = UPSTREAM_PARSE_DONE;
}

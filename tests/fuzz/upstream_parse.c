/*
 * The parser of providers' answers on arbitrary bytes.  The first byte says how
 * the rest is cut; what the cut bytes mean must be what the whole means.
 */
#include "gateway/upstream_parse.h"

#define MAX_BODY_BYTES 4096u

struct tally {
    enum upstream_parse_state state;
    int http_status;
    bool closes;
    size_t n_fields, n_body;
    uint64_t sum;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tally drive(const uint8_t *data, size_t size, size_t step, bool to_head)
{
    struct arena arena;
    struct upstream_answer answer;
    struct upstream_parse p;
    struct tally t = {0};
    arena_init(&arena, 1u << 20);
    upstream_answer_init(&answer, &arena, MAX_BODY_BYTES);
    upstream_parse_init(&p, &answer, to_head);
    for (size_t at = 0; at < size; at += step) {
        struct slice in = {(const char *)data + at, size - at < step ? size - at : step};
        upstream_parse_feed(&p, &in);
    }
    t.state = p.state;
    if (p.state != UPSTREAM_PARSE_BAD) { /* how much of a bad one was kept depends on the cut */
        t.http_status = p.http_status;
        t.closes = p.closes;
        t.n_fields = answer.n_fields;
        t.n_body = answer.body.n;
        for (size_t i = 0; i < answer.body.n; i++)
            t.sum = t.sum * 31 + (unsigned char)answer.body.p[i];
    }
    upstream_parse_eof(&p);
    ensure(p.state == t.state || t.state == UPSTREAM_PARSE_TO_EOF);
    arena_clear(&arena);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    bool to_head = data[0] & 0x80;
    struct tally whole = drive(data + 1, size - 1, size, to_head);
    struct tally cut = drive(data + 1, size - 1, data[0] % 64u + 1u, to_head);
    ensure(whole.state == cut.state && whole.http_status == cut.http_status && whole.closes == cut.closes);
    ensure(whole.n_fields == cut.n_fields && whole.n_body == cut.n_body && whole.sum == cut.sum);
    return 0;
}

/*
 * The HTTP/1.1 parser and its bodies on arbitrary bytes.  The first byte says
 * how the rest is cut; the events of the cut input must be those of the whole.
 */
#include <stdlib.h>

#include "gateway/http_body.h"

#define MAX_BODY_BYTES 65536u

struct tally {
    uint64_t requests, headers, body_bytes, body_sum;
    enum http_fault fault;
    uint64_t fault_at;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum http_fault take_event(struct http_proto *p, enum http_event event, struct http_body *body,
                                  struct http_budget *budget, struct arena *arena, struct tally *t)
{
    switch (event) {
    case HTTP_NONE:
        return HTTP_FAULT_NONE;
    case HTTP_HEAD_READY:
        t->headers += p->head.n_headers;
        return http_body_init(body, &p->head, MAX_BODY_BYTES, arena, budget);
    case HTTP_BODY:
        return http_body_add(body, p->piece);
    case HTTP_END:
        t->requests++;
        t->body_bytes += body->n;
        for (size_t i = 0; i < body->n; i++) {
            t->body_sum = t->body_sum * 31 + (unsigned char)body->p[i];
        }
        return http_body_end(body);
    case HTTP_REFUSED:
        t->fault_at = p->fault_at;
        return p->fault;
    }
    return HTTP_FAULT_NONE;
}

static struct tally drive(const uint8_t *data, size_t size, size_t step)
{
    struct tally t = {0};
    struct http_budget budget = {.max_bytes = 4u * MAX_BODY_BYTES};
    struct http_body body = {0};
    struct http_proto p;
    struct arena arena;
    bool begun = false;
    arena_init(&arena, 1u << 20);
    http_proto_init(&p, MAX_BODY_BYTES);
    for (size_t at = 0; at < size && t.fault == HTTP_FAULT_NONE; at += step) {
        struct slice in = {(const char *)data + at, size - at < step ? size - at : step};
        while (t.fault == HTTP_FAULT_NONE && (in.n > 0 || p.state == HTTP_STATE_END)) {
            if (!begun) {
                http_proto_next(&p, &arena);
                begun = true;
            }
            enum http_event event = http_proto_step(&p, &in);
            t.fault = take_event(&p, event, &body, &budget, &arena, &t);
            if (event == HTTP_END) {
                http_body_clear(&body);
                arena_clear(&arena);
                begun = false;
            }
        }
    }
    http_body_clear(&body);
    arena_clear(&arena);
    ensure(budget.used_bytes == 0);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct tally whole = drive(data + 1, size - 1, size), cut = drive(data + 1, size - 1, data[0] % 64u + 1u);
    bool gzip = whole.fault >= HTTP_FAULT_GZIP_BROKEN; /* which of two gzip faults comes first depends on the cut */
    ensure(whole.requests == cut.requests && whole.headers == cut.headers);
    ensure(whole.body_bytes == cut.body_bytes && whole.body_sum == cut.body_sum);
    ensure(gzip || (whole.fault == cut.fault && whole.fault_at == cut.fault_at));
    return 0;
}

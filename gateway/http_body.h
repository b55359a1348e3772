/*
 * A request's body as it grows: one contiguous buffer, inflated on the way in
 * when the client sent gzip.  Small bodies lie in the request's arena; larger
 * ones on the heap, where growing moves pages instead of copying bytes.
 */
#ifndef GATEWAY_HTTP_BODY_H
#define GATEWAY_HTTP_BODY_H

#include "http_proto.h"

/* Bytes that all bodies of a listener may hold together. */
struct http_budget {
    size_t used_bytes, max_bytes;
};

struct http_inflate;

/* Zero bytes are the empty body. */
struct http_body {
    char *p;
    size_t n, cap;
    size_t max;    /* inflated */
    size_t likely; /* grow to this and not beyond unless more comes; 0: not known */
    bool on_heap;
    size_t reserved_bytes;      /* taken from the budget */
    struct http_budget *budget; /* borrowed; NULL: nothing to give back any more */
    struct arena *arena;
    struct http_inflate *inflate; /* while a gzip body comes in */
};

/* As head announces it; max: inflated bytes.  HTTP_FAULT_TOO_MANY_BYTES when the budget cannot hold it. */
enum http_fault http_body_init(struct http_body *b, const struct http_head *head, size_t max, struct arena *arena,
                               struct http_budget *budget) NODISCARD;
enum http_fault http_body_add(struct http_body *b, struct slice piece) NODISCARD;
/* After the last piece: a gzip stream must be complete. */
enum http_fault http_body_end(struct http_body *b) NODISCARD;
void http_body_clear(struct http_body *b);

#endif

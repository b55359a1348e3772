/*
 * One HTTP transfer at a time over a pool of connections to one host; only
 * upstream.c calls this.  It knows nothing of queues, breakers and deadlines.
 */
#ifndef POSTERN_UPSTREAM_HTTP_H
#define POSTERN_UPSTREAM_HTTP_H

#include "upstream.h"
#include "upstream_answer.h"

struct upstream_http;     /* the pool */
struct upstream_head;     /* a request as bytes, checked */
struct upstream_transfer; /* one under way */

struct upstream_end {
    bool whole;         /* the answer is complete */
    bool wrote;         /* at least one byte of the request was taken by the kernel or by TLS */
    bool withdrawn;     /* may_write said no: that says nothing about the provider */
    int http_status;    /* what was seen, or 0 */
    const char *reason; /* static; "answered" when whole */
};

/* A transfer came to its end: it is dead, and arg is what upstream_http_begin() was given. */
typedef void upstream_end_fn(void *arg, const struct upstream_end *end);

/* NULL with the reason in e.  At most max_transfers at a time may be begun. */
struct upstream_http *upstream_http_new(struct loop *loop, const struct upstream_options *opt, uint32_t max_transfers,
                                        upstream_end_fn *on_end, struct errmsg *e) NODISCARD;
/* Transfers under way end without on_end.  Accepts a pointer to NULL. */
void upstream_http_free(struct upstream_http **http);

/* The only way from a caller's strings to the wire.  In the arena, a large body borrowed; NULL when the request cannot
 * go out as it is. */
struct upstream_head *upstream_http_head(const struct upstream_http *http, struct arena *arena,
                                         const struct upstream_request *req) NODISCARD;

/* head and answer are kept until the end.  Nothing happens before upstream_http_kick(). */
struct upstream_transfer *upstream_http_begin(struct upstream_http *http, const struct upstream_head *head,
                                              struct upstream_answer *answer, void *arg) NODISCARD;
/* What was begun is written as far as kept connections take it.  May call on_end. */
void upstream_http_kick(struct upstream_http *http);

bool upstream_http_wrote(const struct upstream_transfer *t);
/* Break it off: its connection is closed, on_end does not run. *out says how far it came. */
void upstream_http_stop(struct upstream_transfer *t, struct upstream_end *out);

#endif

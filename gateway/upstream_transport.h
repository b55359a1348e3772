/*
 * What carries requests to one provider: HTTP (upstream_http.c) or SMTP (upstream_smtp.c).  Only upstream.c calls these
 * functions; it picks the table by the URL's scheme.  A transport knows nothing of queues, breakers and deadlines.
 *
 * A normal case: prepare() makes what goes out of a request; begin() and kick() send it on a connection; on_end() runs
 * once.  A bad case: the deadline passes; stop() breaks it off, says how far it came, and on_end() does not run.
 */
#ifndef POSTERN_UPSTREAM_TRANSPORT_H
#define POSTERN_UPSTREAM_TRANSPORT_H

#include "upstream.h"
#include "upstream_answer.h"

/* Each transport has its own of these. */
struct upstream_pool;     /* the connections */
struct upstream_prepared; /* a request, checked, as it goes out */
struct upstream_transfer; /* one under way */

struct upstream_end {
    bool whole;         /* the answer is complete */
    bool wrote;         /* HTTP: a byte was taken by the kernel or by TLS; SMTP: the end of the data was */
    const char *reason; /* static; "answered" when whole */
    int status;         /* of HTTP or the SMTP reply's code: what was seen, or 0 */
    bool dsn;           /* as in struct upstream_result */
    const struct recipient_answer *recipients; /* SMTP, whole: one for each; in the answer's arena */
    size_t n_recipients;
    enum upstream_pace_end pace; /* what it says about the provider */
};

/* A transfer came to its end: it is dead, and arg is what begin() was given. */
typedef void upstream_end_fn(void *arg, const struct upstream_end *end);

struct upstream_transport {
    /* NULL with the reason in e.  At most max_transfers at a time may be begun. */
    struct upstream_pool *(*open)(struct loop *loop, const struct upstream_options *opt, uint32_t max_transfers,
                                  upstream_end_fn *on_end, struct errmsg *e);
    /* Transfers under way end without on_end. */
    void (*close)(struct upstream_pool **pool);

    /* The only way from a caller's strings to the wire.  In the arena, the body borrowed where it is large; NULL when
     * the request cannot go out as it is. */
    struct upstream_prepared *(*prepare)(const struct upstream_pool *pool, struct arena *arena,
                                         const struct upstream_request *req);

    /* prepared and answer are kept until the end.  Nothing happens before kick(). */
    struct upstream_transfer *(*begin)(struct upstream_pool *pool, const struct upstream_prepared *prepared,
                                       struct upstream_answer *answer, void *arg);
    /* What was begun is written as far as kept connections take it.  May call on_end. */
    void (*kick)(struct upstream_pool *pool);
    /* Has a byte of it been written (SMTP: of the content)?  Then it may not be taken back unnoticed. */
    bool (*wrote)(const struct upstream_transfer *t);
    /* Break it off: its connection is closed, on_end does not run.  *out says how far it came. */
    void (*stop)(struct upstream_transfer *t, struct upstream_end *out);
};

extern const struct upstream_transport upstream_http;
extern const struct upstream_transport upstream_smtp;

#endif

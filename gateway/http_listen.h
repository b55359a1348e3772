/*
 * HTTP/1.1 and HTTPS ingress: sockets, deadlines and caps around http_proto.
 * Calls on_request once for each complete request; the user answers with
 * http_reply, at once or later.  Replies leave in the order of the requests.
 * Everything here belongs to the loop's thread; the process ignores SIGPIPE.
 *
 * A normal case: on_request(r) -> the user keeps r, works, http_reply(r, ...):
 * r and its arena are gone.  A bad one: the client leaves meanwhile; r stays
 * whole, http_reply(r, ...) drops the reply and frees r.  Exactly one
 * http_reply for each on_request, whatever happens.
 */
#ifndef GATEWAY_HTTP_LISTEN_H
#define GATEWAY_HTTP_LISTEN_H

#include "http_proto.h"
#include "listen_tls.h"

struct event_base;
struct http_listener;

struct http_request {
    enum http_method method;
    struct slice target; /* as sent */
    struct slice path;   /* starts with '/' (or is "*"); no query.  Safe to compare: no empty or dot segment, and what
                            is percent-encoded is neither a letter, digit, one of "-._~/;\\" nor a control character */
    struct slice query;  /* without '?'; p == NULL when there is none */
    struct slice host;   /* Host header */
    struct http_header *headers;
    size_t n_headers;
    struct slice body; /* whole, contiguous, inflated when was_gzip */
    bool was_gzip;
    bool loopback_listener; /* the listener is bound to 127.0.0.0/8 or ::1 */
    bool tls;
    const char *peer;    /* "192.0.2.1:51324" */
    struct arena *arena; /* the request's own, LIMIT_ARENA_BYTES beside the body; freed with it */
    void *owner;         /* the user's */
};

/* The first header of that name, case ignored; p == NULL when there is none. */
struct slice http_request_header(const struct http_request *r, const char *name);
/* All of one name: start with *i = 0; NULL at the end. */
const struct http_header *http_request_header_next(const struct http_request *r, const char *name, size_t *i);
size_t http_request_header_count(const struct http_request *r, const char *name);

struct http_reply {
    int status;                        /* 200..599 */
    const char *content_type;          /* NULL: no Content-Type header */
    const struct http_header *headers; /* further ones; not Content-Length, Content-Type, Date, Connection,
                                          Transfer-Encoding: those are the listener's */
    size_t n_headers;
    struct slice body; /* not sent for HEAD, 204 and 304 */
    bool close;        /* close the connection afterwards */
};

/*
 * Answer and give up r; all of reply is copied.  Header names and values must
 * be clean (no controls): anything else is our mistake and aborts, so text
 * from outside is checked with http_header_is_clean before it gets here.
 */
void http_reply(struct http_request *r, const struct http_reply *reply);
/* True when it can leave as a header: name a token, value without controls and not empty-padded. */
bool http_header_is_clean(struct http_header h);

/*
 * Shape the answer to a request that never became complete, by its path (empty
 * when not even that was read), so that a 413 on one provider's path is in
 * that provider's dialect.  status and text come from fault; detail names the
 * byte too.  Fill *reply (from arena, or static) and return true; false: RFC 9457
 * problem details.  The status stays the fault's.
 */
typedef bool http_shape_error(enum http_fault fault, const char *detail, struct slice path, struct arena *arena,
                              struct http_reply *reply, void *arg);

typedef void http_on_request(struct http_request *r, void *arg);

/* Zero fields stand for the limits of limits.h. */
struct http_listen_options {
    const char *address;         /* "127.0.0.1:8080", "[::1]:8080"; port 0: any free one */
    int fd;                      /* a socket of listen_sockets_open, taken; 0: it opens its own */
    const char *tls_certificate; /* PEM file, chain included; NULL with tls_key: plain TCP */
    const char *tls_key;         /* PEM file */
    http_on_request *on_request;
    http_shape_error *shape_error; /* or NULL */
    void *arg;                     /* for both */
    size_t max_connections;
    size_t max_inflight_bytes; /* bodies being received or held by unanswered requests */
    size_t max_body_bytes;     /* inflated */
    int64_t head_ms;           /* absolute, from the first byte; also for the TLS handshake */
    int64_t idle_ms;
    int64_t body_window_ms; /* the minimum rate is averaged over this */
    int64_t body_min_bytes_s;
    int64_t write_ms;  /* a reply that is not taken by then */
    int64_t linger_ms; /* reading on after an error reply, so that the client gets to see it */
};

/* NULL with the reason in e: bad address, port in use, unreadable certificate.  Keeps base; copies the options. */
struct http_listener *http_listener_new(struct event_base *base, const struct http_listen_options *options,
                                        struct errmsg *e) NODISCARD;
/* Taken for new connections of a listener that has TLS; those that are open keep theirs. */
void http_listener_set_tls(struct http_listener *l, struct listen_tls **tls);
/* Caps and deadlines (0: of limits.h), for connections and requests to come. */
void http_listener_set_limits(struct http_listener *l, const struct http_listen_options *o);

uint16_t http_listener_port(const struct http_listener *l);

/*
 * Stop accepting, close idle connections, finish what was begun, then call
 * on_empty once (never before this returns).  Requests whose clients left count
 * until they are answered.
 */
void http_listener_drain(struct http_listener *l, void (*on_empty)(void *arg), void *arg);

/* Not from within on_request.  Close everything now, and set *l to NULL.  Requests not answered yet stay valid:
 * http_reply then only frees them. */
void http_listener_free(struct http_listener **l);

struct http_counters {
    uint64_t accepted; /* connections */
    uint64_t requests; /* given to on_request */
    uint64_t replies;  /* that left for a client */
    size_t open;       /* connections now */
    size_t unanswered; /* requests now in the user's hands */
    size_t inflight_bytes;
    uint64_t faults[HTTP_FAULT_COUNT]; /* by reason: http_fault_label */
};
const struct http_counters *http_listener_counters(struct http_listener *l); /* borrows; as of this call */

#endif

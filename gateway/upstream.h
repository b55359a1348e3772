/*
 * The egress seam: one request to one provider, answered exactly once with what
 * is known about it.  How that is done is the transport's: upstream_http.c with
 * upstream_parse.c, or upstream_smtp.c with smtp_client_proto.c, over upstream_link.c.
 *
 * The one question that matters is whether the message may be sent again:
 *   UPSTREAM_ANSWERED   a whole HTTP answer is here; its status decides
 *   UPSTREAM_NOT_SENT   not one byte of the request was written (SMTP: not the end of the data): surely not sent
 *   UPSTREAM_UNKNOWN    bytes were written and no whole answer came: perhaps sent
 * A request whose bytes were written is never written again, not even when a reused
 * connection died (reads excepted, see below).
 *
 * A normal case: upstream_send() copies all but the body and returns an op; at
 * the end of the turn the request leaves, later cb(arg, result) runs once, and
 * with its return result and op are gone.  A bad case: the provider accepts and
 * stalls: at the deadline cb gets UPSTREAM_UNKNOWN, reason "timeout".
 */
#ifndef POSTERN_UPSTREAM_H
#define POSTERN_UPSTREAM_H

#include "postern/connector.h"
#include "smtp_client_check.h"
#include "upstream_pace.h"

struct loop;
struct upstream;
struct upstream_op;

struct upstream_field {
    struct slice name;
    struct slice value;
};

/* One provider: one pool of connections, one breaker, one queue.  Strings are copied.  Zero takes the default. */
struct upstream_options {
    const char *name; /* a word for logs and metrics; required */
    const char *url;  /* "https://api.sendgrid.com", "smtp://127.0.0.1:1025": scheme, host, port and no more.  smtp:
                         STARTTLS when it is offered, but to loopback only when starttls is set; smtps: TLS from the
                         first byte */
    bool starttls;    /* smtp: nothing is sent without it */
    const char *host; /* smtp: own name for EHLO; NULL: "localhost" */
    struct slice user, secret; /* smtp: AUTH, under TLS only unless the relay is on loopback; user empty: none */
    const char *ca_file;       /* NULL: the system's certificates */
    const char *resolve;       /* NULL, or "host:port:address" that stands for a DNS answer (and is guarded like one) */
    int64_t connect_ms;        /* LIMIT_UPSTREAM_CONNECT_MS */
    int64_t total_ms;          /* LIMIT_UPSTREAM_TOTAL_MS; queueing included */
    int64_t idle_ms;           /* smtp: a kept connection is closed after; LIMIT_UPSTREAM_IDLE_MS */
    uint32_t max_queue;        /* requests that wait for a slot or a token; 1024 */
    bool allow_private;        /* the host's name may stand for loopback and private addresses; a literal address
                                  and localhost always may: the operator named them */
    struct upstream_pace_options pace;
};

/* NULL with the reason in e when an option is wrong.  The loop is kept. */
struct upstream *upstream_new(struct loop *loop, const struct upstream_options *opt, struct errmsg *e) NODISCARD;
/* Ops that are left are cancelled.  Not from a callback of an op of its own.  Accepts a pointer to NULL. */
void upstream_free(struct upstream **u);

struct upstream_request {
    const char *method;          /* token, upper case */
    struct slice path_and_query; /* encoded: "/v3/mail/send?x=1"; goes out byte for byte */
    const struct upstream_field *headers;
    size_t n_headers;
    struct slice body;                    /* borrowed until the callback or the cancel */
    const struct mail_envelope *envelope; /* smtp: instead of method, path and headers; borrowed likewise */
    enum smtp_content seen;               /* smtp: of the body, by smtp_client_look; or UNSEEN */
    int64_t deadline_ms;                  /* from now; 0, or more than total_ms: total_ms */
    size_t max_answer_bytes;              /* 0: LIMIT_UPSTREAM_ANSWER_BYTES */
    bool at_most_once;                    /* GET and HEAD too go out once at most; everything else always does */
    /* Asked when the connection is there and the first byte is about to leave (SMTP: of the envelope, and of the
     * content); false: NOT_SENT, "withdrawn".  May look at what is the caller's, and do nothing.  NULL: yes. */
    bool (*may_write)(void *arg);
    void *may_write_arg;
};

enum upstream_status { UPSTREAM_ANSWERED, UPSTREAM_NOT_SENT, UPSTREAM_UNKNOWN };

#define LIMIT_UPSTREAM_ANSWER_BYTES 1048576u /* body of an answer; beyond: UPSTREAM_UNKNOWN, "answer_too_big" */

/* All borrowed, valid during the callback. */
struct upstream_result {
    enum upstream_status status;
    const char *reason; /* a word for logs, metrics and audit: "answered", "timeout", "breaker_open"... static */
    int http_status;    /* answered: 100..599; else what was seen of it, or 0.  SMTP: the reply's code */
    const struct upstream_field *headers; /* as received, of the final answer */
    size_t n_headers;
    struct slice body;                         /* as received, without transfer coding; SMTP: the reply's text */
    const struct recipient_answer *recipients; /* SMTP, answered: one for each of the envelope, in order */
    size_t n_recipients;
    bool dsn; /* SMTP: the relay offers DSN (RFC 3461) and was told the wishes: it reports; else nobody will */
    int64_t retry_after_ms; /* when to try again: the provider's word, or the end of pause or breaker; 0: unknown */
    int64_t took_us;        /* from upstream_send */
};

typedef void upstream_fn(void *arg, const struct upstream_result *result);

/*
 * Never NULL; cb runs once, never before this returns, and then the op is dead.
 * A request that no header or target can be made of is answered NOT_SENT, "bad_request".
 * Host, Content-Length, Transfer-Encoding, Expect and hop-by-hop fields are ours: given ones are dropped.
 */
struct upstream_op *upstream_send(struct upstream *u, const struct upstream_request *req, upstream_fn *cb,
                                  void *arg) NODISCARD;
/* cb will not run.  What was written stays written: note it as unknown.  Sets *op to NULL; accepts a pointer to NULL.
 */
void upstream_op_cancel(struct upstream_op **op);
/* True once a byte of the request (SMTP: of the content) was written: what a caller that cancels must record. */
bool upstream_op_sent(const struct upstream_op *op);

struct upstream_state {
    const char *name;
    enum upstream_breaker breaker;
    uint32_t in_flight;
    uint32_t queued;
    int64_t paused_ms; /* still to go */
    uint64_t answered;
    uint64_t not_sent;
    uint64_t unknown;
};

void upstream_state(const struct upstream *u, struct upstream_state *out);

/* The first value of that name (ASCII case ignored), or an empty slice with p == NULL. */
struct slice upstream_result_header(const struct upstream_result *result, const char *name);

/* One checked builder for all that becomes a URL, a header or a form field (upstream_guard.c). */
enum upstream_part {
    UPSTREAM_NAME,  /* a field name or method: token bytes, RFC 9110 5.6.2 */
    UPSTREAM_VALUE, /* a field value: no byte < 0x20, no 0x7F, valid UTF-8 */
    UPSTREAM_TARGET /* origin form: starts with '/', visible ASCII, no '#' */
};
/* OK or ERR_SYNTAX. */
enum err upstream_check_field(enum upstream_part part, struct slice s) NODISCARD;

#endif

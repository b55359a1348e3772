/*
 * Exchanges: a request's life from its first byte to its reply, the order of
 * replies on a connection, and the answers that the listener gives itself.
 * Does not know how bytes are read or when a connection dies.
 *
 * The one idea: an exchange belongs to the user from on_request to http_reply;
 * what happens to the client meanwhile only changes where the reply goes.
 */
#include "http_conn.h"

#include <event2/buffer.h>
#include <stdio.h>

#include "postern/buf.h"
#include "postern/clock.h"

#define RETRY_AFTER   "5" /* seconds; bytes in flight turn over within a few */
#define COPY_TOGETHER 16384u
#define PROBLEM_BYTES 1024u
#define EXCHANGE_MAX_BYTES                                                                                             \
    ((size_t)LIMIT_ARENA_BYTES + (size_t)4 * LIMIT_HTTP_HEAD_BYTES) /* heads double as they grow */

struct slice http_request_header(const struct http_request *r, const char *name)
{
    size_t i = 0;
    const struct http_header *h = http_request_header_next(r, name, &i);
    return h == NULL ? (struct slice){0} : h->value;
}

const struct http_header *http_request_header_next(const struct http_request *r, const char *name, size_t *i)
{
    while (*i < r->n_headers) {
        const struct http_header *h = &r->headers[(*i)++];
        if (slice_ieq(h->name, slice_of(name))) {
            return h;
        }
    }
    return NULL;
}

size_t http_request_header_count(const struct http_request *r, const char *name)
{
    size_t n = 0, i = 0;
    while (http_request_header_next(r, name, &i) != NULL) {
        n++;
    }
    return n;
}

struct http_exchange *http_exchange_new(struct http_conn *c)
{
    struct arena arena;
    arena_init(&arena, EXCHANGE_MAX_BYTES);
    struct http_exchange *x = arena_alloc(&arena, sizeof(*x));
    ensure(x != NULL);
    x->arena = arena;
    x->listener = c->listener;
    x->conn = c;
    return x;
}

void http_exchange_free(struct http_exchange *x)
{
    http_body_clear(&x->body);
    if (x->held != NULL) {
        evbuffer_free(x->held);
    }
    struct arena arena = x->arena;
    arena_clear(&arena);
}

void http_exchange_ask(struct http_exchange *x, const struct http_head *head)
{
    struct http_listener *l = x->listener;
    x->request = (struct http_request){
        .method = head->method,
        .target = head->target,
        .path = head->path,
        .query = head->query,
        .host = head->host,
        .headers = head->headers,
        .n_headers = head->n_headers,
        .body = {x->body.p, x->body.n},
        .was_gzip = head->gzip,
        .loopback_listener = l->loopback,
        .tls = l->tls != NULL,
        .peer = arena_strndup(&x->arena, x->conn->peer, strlen(x->conn->peer)),
        .arena = &x->arena,
    };
    ensure(x->request.peer != NULL);
    x->is_1_0 = head->is_1_0;
    x->last = !head->keep_alive;
    x->state = HTTP_EXCHANGE_ASKED;
    TAILQ_INSERT_TAIL(&l->asked, x, in_listener);
    l->counters.requests++;
    l->counters.unanswered++;
    l->options.on_request(&x->request, l->options.arg);
}

static const char *date_now(struct http_listener *l)
{
    int64_t wall_ms = clock_wall_ms();
    if (l->date_s != wall_ms / 1000 || l->date[0] == '\0') {
        l->date_s = wall_ms / 1000;
        http_write_date(wall_ms, l->date);
    }
    return l->date;
}

/* While draining, the last reply that a connection can have says so. */
static bool closes(const struct http_exchange *x, const struct http_reply *reply)
{
    const struct http_conn *c = x->conn;
    bool last_of_all = TAILQ_NEXT(x, in_conn) == NULL && http_proto_is_idle(&c->proto);
    return x->last || reply->close || (x->listener->draining && last_of_all);
}

/* One contiguous piece when the body is small: one writev, one copy. */
static void encode(struct http_exchange *x, const struct http_reply *reply, struct evbuffer *out)
{
    x->last = closes(x, reply);
    enum http_persistence persistence = x->is_1_0 ? HTTP_PERSIST_1_0 : HTTP_PERSIST;
    persistence = x->last ? HTTP_CLOSE : persistence;
    const char *date = date_now(x->listener);
    bool with_body = x->request.method != HTTP_HEAD && http_write_has_body(reply->status);
    size_t body_n = with_body ? reply->body.n : 0;
    size_t room = http_write_room(reply) + (body_n <= COPY_TOGETHER ? body_n : 0);
    if (body_n >= LARGE_BYTES && evbuffer_expand(out, room + body_n) != 0) {
        /* What the body says may be done already: no Retry-After. */
        encode(x, &(struct http_reply){.status = 500, .close = true}, out);
        return;
    }
    struct evbuffer_iovec space;
    ensure(evbuffer_reserve_space(out, (ev_ssize_t)room, &space, 1) == 1);
    size_t n = http_write_head(reply, persistence, date, space.iov_base, room);
    ensure(n <= room);
    space.iov_len = n;
    ensure(evbuffer_commit_space(out, &space, 1) == 0);
    ensure(body_n == 0 || evbuffer_add(out, reply->body.p, body_n) == 0);
    x->conn->queued_bytes += n + body_n;
}

void http_exchange_orphan(struct http_exchange *x)
{
    x->conn = NULL;
    if (x->state != HTTP_EXCHANGE_ASKED) {
        http_exchange_free(x);
    }
}

/* Asked after the one that closes: RFC 9112 section 9.6 has them dropped. */
static void drop_rest(struct http_conn *c)
{
    struct http_exchange *x = NULL;
    while ((x = TAILQ_FIRST(&c->exchanges)) != NULL) {
        TAILQ_REMOVE(&c->exchanges, x, in_conn);
        c->n_exchanges--;
        http_exchange_orphan(x);
    }
}

bool http_exchange_flush(struct http_conn *c)
{
    struct http_exchange *x = TAILQ_FIRST(&c->exchanges);
    while (x != NULL && x->state == HTTP_EXCHANGE_ANSWERED) {
        if (x->held != NULL) {
            ensure(evbuffer_add_buffer(c->out, x->held) == 0);
        }
        bool last = x->last;
        TAILQ_REMOVE(&c->exchanges, x, in_conn);
        c->n_exchanges--;
        c->listener->counters.replies++;
        http_exchange_free(x);
        if (last) {
            drop_rest(c);
            return true;
        }
        x = TAILQ_FIRST(&c->exchanges);
    }
    return false;
}

/* The reply is written at once when nothing waits before it. */
static void answer(struct http_exchange *x, const struct http_reply *reply)
{
    struct http_conn *c = x->conn;
    struct evbuffer *out = c->out;
    ensure(x->listener != NULL); /* a connection never outlives it */
    if (TAILQ_FIRST(&c->exchanges) != x) {
        out = x->held = evbuffer_new();
        ensure(out != NULL);
    }
    encode(x, reply, out);
    http_body_clear(&x->body);
    x->state = HTTP_EXCHANGE_ANSWERED;
    http_conn_answered(c);
}

void http_reply(struct http_request *r, const struct http_reply *reply)
{
    struct http_exchange *x = (struct http_exchange *)r;
    ensure(x->state == HTTP_EXCHANGE_ASKED);
    if (x->listener != NULL) {
        TAILQ_REMOVE(&x->listener->asked, x, in_listener);
        x->listener->counters.unanswered--;
    }
    if (x->conn != NULL) {
        answer(x, reply);
        return;
    }
    if (x->listener != NULL && x->listener->draining) {
        http_listener_wake(x->listener); /* this may have been the last */
    }
    http_exchange_free(x);
}

static void problem_details(enum http_fault f, const char *detail, struct buf *body)
{
    buf_printf(body, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"reason\":\"%s\",\"detail\":",
               http_write_phrase(http_fault_status(f)), http_fault_status(f), http_fault_label(f));
    buf_add_json(body, slice_of(detail));
    buf_add_cstr(body, "}\n");
}

void http_exchange_refuse(struct http_exchange *x, enum http_fault f, uint64_t at, struct slice path)
{
    const struct http_listen_options *o = &x->listener->options;
    char detail[300];
    snprintf(detail, sizeof(detail), "%s (at byte %llu of the request)", http_fault_text(f), (unsigned long long)at);
    struct http_reply reply = {0};
    if (o->shape_error == NULL || !o->shape_error(f, detail, path, &x->arena, &reply, o->arg)) {
        struct buf body;
        buf_init(&body, &x->arena, PROBLEM_BYTES);
        problem_details(f, detail, &body);
        reply = (struct http_reply){.content_type = "application/problem+json", .body = buf_slice(&body)};
    }
    reply.status = http_fault_status(f);
    struct http_header retry = {SLICE("Retry-After"), SLICE(RETRY_AFTER)};
    if (reply.status == 503 && reply.n_headers == 0) {
        reply.headers = &retry;
        reply.n_headers = 1;
    }
    x->last = true;
    answer(x, &reply);
}

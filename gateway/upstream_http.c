/*
 * HTTP/1.1 out: requests written once, answers read whole, connections kept.  It
 * must not know of queues, breakers, messages, providers, nor how a connection
 * comes up (upstream_link) or how an answer is spelt (upstream_parse).
 *
 * The idea: a request belongs to one connection until it is over, and a byte that
 * a connection took is never written again, unless the request may be repeated.
 */
#include "upstream_transport.h"

#include <stdlib.h>

#include "loop.h"
#include "upstream_guard.h"
#include "upstream_link.h"
#include "upstream_parse.h"
#include "postern/clock.h"
#include "postern/limits.h"

/* Below the 60 s after which common load balancers close an idle connection: fewer races with their close. */
#define IDLE_MAX_MS     50000
#define BODY_WITH_HEAD  16384u /* smaller bodies go out in one piece with the head */
#define READ_BYTES      16384u
#define READS_PER_EVENT 64

struct upstream_prepared {
    struct slice pieces[2]; /* head with a small body; a larger body */
    bool is_head;           /* the method is HEAD */
    bool may_repeat;        /* GET or HEAD that was not forbidden to */
    bool (*may_write)(void *arg);
    void *may_write_arg;
};

struct connection {
    struct upstream_pool *http;
    struct upstream_link *link;
    struct upstream_transfer *transfer; /* NULL: idle, on the list */
    struct connection *prev, *next;
    int64_t idle_since_ms;
    bool used; /* it has carried a request before this one */
};

struct upstream_transfer {
    struct upstream_pool *http;
    void *arg;
    const struct upstream_prepared *head;
    struct connection *connection; /* NULL: not begun, or over */
    struct upstream_parse parse;
    struct upstream_answer *answer;
    size_t sent_bytes;              /* of all pieces */
    bool fresh;                     /* wants a connection of its own: a kept one failed it */
    bool wrote;                     /* a byte may have left */
    struct upstream_transfer *next; /* free, or begun */
};

struct upstream_pool {
    struct loop *loop;
    upstream_end_fn *on_end;
    struct upstream_links *links;
    struct upstream_transfer *transfers; /* max_transfers of them */
    uint32_t max_transfers;
    struct upstream_transfer *free_transfers, *begun;
    struct upstream_transfer **begun_end;
    struct connection *idle; /* the last used first */
    char in[READ_BYTES];
};

static void on_link(void *arg, enum upstream_link_event event);
static void start(struct upstream_transfer *t);

/* --- connections ------------------------------------------------------------------ */

static void idle_remove(struct connection *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->http->idle = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->prev = c->next = NULL;
}

static struct connection *idle_pop(struct upstream_pool *http)
{
    struct connection *c = http->idle;
    if (!c)
        return NULL;
    http->idle = c->next;
    if (c->next)
        c->next->prev = NULL;
    c->next = NULL;
    return c;
}

static void idle_add(struct connection *c)
{
    struct upstream_pool *http = c->http;
    upstream_link_want_write(c->link, false);
    c->transfer = NULL;
    c->used = true;
    c->idle_since_ms = clock_mono_ms();
    c->prev = NULL;
    c->next = http->idle;
    if (c->next)
        c->next->prev = c;
    http->idle = c;
}

/* Neither idle nor in use. */
static void connection_free(struct connection *c)
{
    upstream_link_free(&c->link);
    free(c);
}

static struct connection *connection_new(struct upstream_pool *http)
{
    struct connection *c = xcalloc(1, sizeof *c);
    c->http = http;
    c->link = upstream_link_dial(http->links, on_link, c);
    return c;
}

/*
 * What was closed, or spoke unasked, or was idle for long, is not used.  Each is looked at now: a close may have come
 * since the loop last asked about all sockets, and what is written after it stays unknown.
 */
static struct connection *idle_take(struct upstream_pool *http)
{
    int64_t now_ms = clock_mono_ms();
    struct connection *c;
    while ((c = idle_pop(http))) {
        if (now_ms - c->idle_since_ms < IDLE_MAX_MS && upstream_link_is_quiet(c->link))
            return c;
        connection_free(c);
    }
    return NULL;
}

/* --- the end of a transfer ---------------------------------------------------------- */

/* Its connection is kept for others, or closed; the transfer is free. */
static void let_go(struct upstream_transfer *t, bool keep)
{
    struct connection *c = t->connection;
    t->connection = NULL;
    if (c && keep)
        idle_add(c);
    else if (c)
        connection_free(c);
    t->head = NULL;
    t->next = t->http->free_transfers;
    t->http->free_transfers = t;
}

static void end_of(const struct upstream_transfer *t, const char *reason, struct upstream_end *out)
{
    bool whole = t->parse.state == UPSTREAM_PARSE_DONE;
    *out = (struct upstream_end){.whole = whole, .wrote = t->wrote, .reason = reason, .status = t->parse.http_status};
    out->pace = whole && out->status < 500 ? PACE_GOOD : PACE_BAD;
}

static void finish(struct upstream_transfer *t, const char *reason)
{
    struct upstream_pool *http = t->http;
    void *arg = t->arg;
    struct upstream_end end;
    end_of(t, reason, &end);
    let_go(t, false);
    http->on_end(arg, &end);
}

static size_t request_bytes(const struct upstream_prepared *head)
{
    return head->pieces[0].n + head->pieces[1].n;
}

static void finish_whole(struct upstream_transfer *t, bool more_came)
{
    struct upstream_pool *http = t->http;
    void *arg = t->arg;
    struct upstream_end end;
    end_of(t, "answered", &end);
    let_go(t, !more_came && !t->parse.closes && t->sent_bytes == request_bytes(t->head));
    http->on_end(arg, &end);
}

/* The connection is gone.  A kept one may have been closed before it knew of the request: then on a fresh one. */
static void lost(struct upstream_transfer *t, const char *reason)
{
    bool again = t->connection->used && !t->parse.any && (t->head->may_repeat || !t->wrote);
    if (!again) {
        finish(t, reason);
        return;
    }
    connection_free(t->connection);
    t->connection = NULL;
    t->sent_bytes = 0;
    t->wrote = false;
    t->fresh = true;
    start(t);
}

/* --- writing and reading --------------------------------------------------------------- */

static struct slice unsent(const struct upstream_transfer *t)
{
    const struct slice *p = t->head->pieces;
    size_t at = t->sent_bytes;
    if (at < p[0].n)
        return (struct slice){p[0].p + at, p[0].n - at};
    at -= p[0].n;
    if (at == p[1].n) /* there may be no body to point into */
        return (struct slice){0};
    return (struct slice){p[1].p + at, p[1].n - at};
}

/* False: the connection would take no more, for now or for ever. */
static bool write_some(struct upstream_transfer *t, struct slice bytes)
{
    struct connection *c = t->connection;
    size_t n;
    switch (upstream_link_send(c->link, bytes, &n)) {
    case UPSTREAM_LINK_OK:
        t->sent_bytes += n;
        t->wrote = true;
        return true;
    case UPSTREAM_LINK_AGAIN:
        t->wrote |= upstream_link_is_tls(c->link);
        upstream_link_want_write(c->link, true);
        return false;
    case UPSTREAM_LINK_EOF:
    case UPSTREAM_LINK_LOST:
        upstream_link_want_write(c->link, false);
        if (!t->wrote)
            lost(t, "connection_lost");
        return false; /* after the first byte there may be an answer to read; if not, reading finds the loss */
    }
    return false;
}

/* Asked before the first byte, with the connection there.  No: nothing is wrong with it, others may have it. */
static bool is_withdrawn(struct upstream_transfer *t)
{
    struct upstream_pool *http = t->http;
    void *arg = t->arg;
    struct upstream_end end;
    if (t->wrote || !t->head->may_write || t->head->may_write(t->head->may_write_arg))
        return false;
    end_of(t, "withdrawn", &end);
    end.pace = PACE_NEITHER;
    let_go(t, true);
    http->on_end(arg, &end);
    return true;
}

static void write_on(struct upstream_transfer *t)
{
    if (is_withdrawn(t))
        return;
    for (struct slice left = unsent(t); left.n > 0; left = unsent(t))
        if (!write_some(t, left))
            return;
    upstream_link_want_write(t->connection->link, false);
}

static void at_eof(struct upstream_transfer *t)
{
    upstream_parse_eof(&t->parse);
    if (t->parse.state == UPSTREAM_PARSE_DONE)
        finish_whole(t, false);
    else
        lost(t, t->parse.any ? "answer_cut_short" : "connection_lost");
}

/* False: the transfer is over. */
static bool feed(struct upstream_transfer *t, size_t n)
{
    struct slice in = {t->http->in, n};
    upstream_parse_feed(&t->parse, &in);
    if (t->parse.state == UPSTREAM_PARSE_BAD)
        finish(t, t->parse.why);
    else if (t->parse.state == UPSTREAM_PARSE_DONE)
        finish_whole(t, in.n > 0);
    else
        return true;
    return false;
}

/* A read that did not fill the buffer took all there was; TLS may hold more than it gave. */
static void read_on(struct upstream_transfer *t)
{
    struct upstream_link *link = t->connection->link;
    bool more = true;
    for (int i = 0; i < READS_PER_EVENT && more; i++) {
        size_t n;
        switch (upstream_link_recv(link, t->http->in, READ_BYTES, &n)) {
        case UPSTREAM_LINK_OK:
            more = n == READ_BYTES || upstream_link_is_tls(link);
            if (!feed(t, n))
                return;
            break;
        case UPSTREAM_LINK_AGAIN:
            return;
        case UPSTREAM_LINK_EOF:
            at_eof(t);
            return;
        case UPSTREAM_LINK_LOST:
            lost(t, "connection_lost");
            return;
        }
    }
}

static void on_link(void *arg, enum upstream_link_event event)
{
    struct connection *c = arg;
    if (!c->transfer) { /* idle: the provider closed it, or speaks unasked */
        idle_remove(c);
        connection_free(c);
        return;
    }
    switch (event) {
    case UPSTREAM_LINK_UP:
    case UPSTREAM_LINK_WRITABLE:
        write_on(c->transfer);
        return;
    case UPSTREAM_LINK_FAILED:
        finish(c->transfer, upstream_link_why(c->link));
        return;
    case UPSTREAM_LINK_READABLE:
        read_on(c->transfer);
        return;
    }
}

/* --- the way in --------------------------------------------------------------------------- */

static void start(struct upstream_transfer *t)
{
    struct connection *kept = t->fresh ? NULL : idle_take(t->http);
    t->connection = kept ? kept : connection_new(t->http);
    t->connection->transfer = t;
    if (kept)
        write_on(t);
}

static struct upstream_pool *http_open(struct loop *loop, const struct upstream_options *opt, uint32_t max_transfers,
                                       upstream_end_fn *on_end, struct errmsg *e)
{
    struct upstream_links *links = upstream_links_new(loop, opt, e);
    if (!links)
        return NULL;
    struct upstream_pool *http = xcalloc(1, sizeof *http);
    http->loop = loop;
    http->on_end = on_end;
    http->links = links;
    http->begun_end = &http->begun;
    http->max_transfers = max_transfers;
    http->transfers = xcalloc(max_transfers, sizeof *http->transfers);
    for (uint32_t i = max_transfers; i-- > 0;) {
        http->transfers[i].http = http;
        http->transfers[i].next = http->free_transfers;
        http->free_transfers = &http->transfers[i];
    }
    return http;
}

static void http_close(struct upstream_pool **pp)
{
    struct upstream_pool *http = *pp;
    *pp = NULL;
    if (!http)
        return;
    for (uint32_t i = 0; i < http->max_transfers; i++)
        if (http->transfers[i].connection)
            connection_free(http->transfers[i].connection);
    struct connection *c;
    while ((c = idle_pop(http)))
        connection_free(c);
    upstream_links_free(&http->links);
    free(http->transfers);
    free(http);
}

static size_t field_bytes(const struct upstream_field *f)
{
    return f->name.n + f->value.n + 4;
}

static char *put(char *at, struct slice s)
{
    if (s.n > 0)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

static char *put_field(char *at, struct slice name, struct slice value)
{
    at = put(at, name);
    at = put(at, value.n > 0 ? SLICE(": ") : SLICE(":"));
    at = put(at, value);
    return put(at, SLICE("\r\n"));
}

/* GET and HEAD without a body say nothing about one. */
static char *put_length(char *at, const struct upstream_request *req, bool reads)
{
    char digits[U64_TEXT_MAX];
    if (reads && req->body.n == 0)
        return at;
    return put_field(at, SLICE("Content-Length"), u64_text(req->body.n, digits));
}

static struct upstream_prepared *http_prepare(const struct upstream_pool *http, struct arena *arena,
                                              const struct upstream_request *req)
{
    if (upstream_guard_request(req) != OK)
        return NULL;
    struct slice method = slice_of(req->method), host = upstream_links_host(http->links);
    bool is_head = slice_eq_cstr(method, "HEAD"), reads = is_head || slice_eq_cstr(method, "GET");
    bool together = req->body.n <= BODY_WITH_HEAD;
    size_t cap = method.n + req->path_and_query.n + host.n + (together ? req->body.n : 0) + 100;
    for (size_t i = 0; i < req->n_headers; i++)
        cap += field_bytes(&req->headers[i]);
    struct upstream_prepared *head = arena_bytes(arena, sizeof *head);
    char *bytes = arena_bytes(arena, cap);
    if (!head || !bytes)
        return NULL;
    char *at = put(put(bytes, method), SLICE(" "));
    at = put(put(at, req->path_and_query), SLICE(" HTTP/1.1\r\n"));
    at = put_field(at, SLICE("Host"), host);
    for (size_t i = 0; i < req->n_headers; i++)
        if (upstream_guard_passes(req, req->headers[i].name))
            at = put_field(at, req->headers[i].name, slice_trim(req->headers[i].value));
    at = put(put_length(at, req, reads), SLICE("\r\n"));
    if (together)
        at = put(at, req->body);
    ensure((size_t)(at - bytes) <= cap);
    *head = (struct upstream_prepared){
        .is_head = is_head,
        .may_repeat = reads && !req->at_most_once,
        .may_write = req->may_write,
        .may_write_arg = req->may_write_arg,
    };
    head->pieces[0] = (struct slice){bytes, (size_t)(at - bytes)};
    head->pieces[1] = together ? (struct slice){0} : req->body;
    return head;
}

static struct upstream_transfer *http_begin(struct upstream_pool *http, const struct upstream_prepared *head,
                                            struct upstream_answer *answer, void *arg)
{
    struct upstream_transfer *t = http->free_transfers;
    ensure(t);
    http->free_transfers = t->next;
    *t = (struct upstream_transfer){.http = http, .arg = arg, .head = head, .answer = answer};
    upstream_parse_init(&t->parse, answer, head->is_head);
    *http->begun_end = t;
    http->begun_end = &t->next;
    return t;
}

static void begun_remove(struct upstream_transfer *t)
{
    struct upstream_pool *http = t->http;
    for (struct upstream_transfer **at = &http->begun; *at; at = &(*at)->next) {
        if (*at != t)
            continue;
        *at = t->next;
        if (!*at)
            http->begun_end = at;
        return;
    }
}

static void http_kick(struct upstream_pool *http)
{
    while (http->begun) {
        struct upstream_transfer *t = http->begun;
        begun_remove(t);
        start(t);
    }
}

static bool http_wrote(const struct upstream_transfer *t)
{
    return t->wrote;
}

static void http_stop(struct upstream_transfer *t, struct upstream_end *out)
{
    end_of(t, "stopped", out);
    begun_remove(t);
    let_go(t, false);
}

const struct upstream_transport upstream_http = {
    .open = http_open,
    .close = http_close,
    .prepare = http_prepare,
    .begin = http_begin,
    .kick = http_kick,
    .wrote = http_wrote,
    .stop = http_stop,
};

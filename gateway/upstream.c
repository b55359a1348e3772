/*
 * What happens to a request before and after the wire: it waits in a queue, is
 * let go by the pace, has one deadline, and ends in exactly one callback.
 *
 * The idea: upstream_send() only queues.  All else happens at the end of the
 * turn (pump) or in a later one, so no callback can run before it returns.
 * What was written and what came back is the transport's to know.
 */
#include "upstream.h"

#include <stdlib.h>
#include <strings.h>

#include "loop.h"
#include "upstream_answer.h"
#include "upstream_transport.h"
#include "postern/clock.h"
#include "postern/limits.h"
#include "postern/log.h"

/* An answer's body grows by doubling in the arena: up to four times its cap; the rest is heads. */
#define OP_ARENA_BYTES(answer) (4 * (answer) + (size_t)4 * LIMIT_HTTP_HEAD_BYTES)
#define QUEUE_DEFAULT          1024u

enum op_stage {
    OP_REFUSED, /* answered at the end of the turn */
    OP_QUEUED,  /* on u->queue */
    OP_FLYING   /* transfer is set */
};

struct op_list {
    struct upstream_op *first, *last;
    uint32_t n;
};

struct upstream_op {
    struct upstream *u;
    upstream_fn *cb;
    void *arg;
    enum op_stage stage;
    struct op_list *on; /* u->queue or u->others */
    struct upstream_op *prev, *next;
    struct loop_task *refusal;          /* refused only */
    int64_t began_us, due_ms;           /* mono; due: its deadline */
    struct arena arena;                 /* this struct lies in it; holds prepared and answer */
    struct upstream_prepared *prepared; /* NULL: refused */
    struct upstream_answer answer;
    uint32_t ticket; /* of the pace; flying only */
    struct upstream_transfer *transfer;
};

struct upstream {
    struct loop *loop;
    char *name;
    const struct upstream_transport *transport;
    struct upstream_pool *pool;
    int64_t total_ms;
    uint32_t max_queue;
    struct upstream_pace pace;
    struct op_list queue, others;
    struct loop_task *pump; /* end of this turn */
    struct loop_task *wake; /* when there is a token */
    /* One timer for all deadlines: it fires at the earliest that was known when it was set, long after most have ended.
     */
    struct loop_task *watch;
    int64_t watch_ms;
    bool in_callback;
    uint64_t answered, not_sent, unknown;
};

static void pump_soon(struct upstream *u);

static void op_link(struct op_list *list, struct upstream_op *op)
{
    op->on = list;
    op->prev = list->last;
    op->next = NULL;
    if (list->last)
        list->last->next = op;
    else
        list->first = op;
    list->last = op;
    list->n++;
}

static void op_unlink(struct upstream_op *op)
{
    struct op_list *list = op->on;
    if (op->prev)
        op->prev->next = op->next;
    else
        list->first = op->next;
    if (op->next)
        op->next->prev = op->prev;
    else
        list->last = op->prev;
    list->n--;
}

/* The transfer is gone: give its slot back and let the pace learn from it. */
static void op_land(struct upstream_op *op, enum upstream_pace_end end)
{
    struct upstream *u = op->u;
    enum upstream_breaker before = u->pace.breaker;
    op->transfer = NULL;
    upstream_pace_done(&u->pace, op->ticket, end, clock_mono_ms());
    if (u->pace.breaker != before)
        log_line(LOG_WARN, NULL, "upstream",
                 u->pace.breaker == UPSTREAM_BREAKER_OPEN ? "breaker_opens" : "breaker_closes", "name=%s", u->name);
    if (u->queue.n > 0)
        pump_soon(u);
}

/* Unlinked already. */
static void op_free(struct upstream_op *op)
{
    loop_cancel(&op->refusal);
    struct arena arena = op->arena;
    arena_clear(&arena);
}

static void ops_free(struct op_list *list)
{
    for (struct upstream_op *op = list->first, *next; op; op = next) {
        next = op->next;
        op_free(op);
    }
}

/* The one place where an op ends with a callback. */
static void op_finish(struct upstream_op *op, struct upstream_result *result)
{
    struct upstream *u = op->u;
    result->took_us = clock_mono_us() - op->began_us;
    switch (result->status) {
    case UPSTREAM_ANSWERED:
        u->answered++;
        break;
    case UPSTREAM_NOT_SENT:
        u->not_sent++;
        break;
    case UPSTREAM_UNKNOWN:
        u->unknown++;
        break;
    }
    bool outer = u->in_callback;
    u->in_callback = true;
    op->cb(op->arg, result);
    u->in_callback = outer;
    op_unlink(op);
    op_free(op);
}

static void op_finish_unsent(struct upstream_op *op, const char *reason, int64_t retry_after_ms)
{
    op_finish(
        op, &(struct upstream_result){.status = UPSTREAM_NOT_SENT, .reason = reason, .retry_after_ms = retry_after_ms});
}

static int64_t note_pause(struct upstream_op *op, int status)
{
    struct upstream *u = op->u;
    if (status != 429 && status != 503)
        return 0;
    int64_t ms = upstream_answer_retry_ms(&op->answer, status, clock_wall_ms());
    if (ms > 0) {
        upstream_pace_pause(&u->pace, ms, clock_mono_ms());
        log_line(LOG_WARN, NULL, "upstream", "paused", "name=%s status=%d retry_after_ms=%lld", u->name, status,
                 (long long)ms);
    }
    return ms;
}

/* The transfer ended (on_end of the transport), or was stopped at its deadline. */
static void on_transfer_end(void *arg, const struct upstream_end *end)
{
    struct upstream_op *op = arg;
    struct upstream_result result = {
        .status = end->whole   ? UPSTREAM_ANSWERED
                  : end->wrote ? UPSTREAM_UNKNOWN
                               : UPSTREAM_NOT_SENT,
        .reason = end->reason,
        .http_status = end->status,
        .headers = op->answer.fields,
        .n_headers = op->answer.n_fields,
        .body = buf_slice(&op->answer.body),
        .recipients = end->recipients,
        .n_recipients = end->n_recipients,
        .dsn = end->dsn,
    };
    op_land(op, end->pace);
    if (end->whole)
        result.retry_after_ms = note_pause(op, end->status);
    op_finish(op, &result);
}

static void op_expire(struct upstream_op *op)
{
    if (op->stage != OP_FLYING) {
        op_finish_unsent(op, "timeout", 0);
        return;
    }
    struct upstream_end end;
    op->u->transport->stop(op->transfer, &end);
    if (!end.whole)
        end.reason = "timeout";
    on_transfer_end(op, &end);
}

static struct upstream_op *overdue_on(const struct op_list *list, int64_t now_ms)
{
    struct upstream_op *op = list->first;
    while (op && (op->stage == OP_REFUSED || op->due_ms > now_ms))
        op = op->next;
    return op;
}

static void watch_until(struct upstream *u, int64_t due_ms);

static void watch_rest(struct upstream *u, const struct op_list *list)
{
    for (const struct upstream_op *op = list->first; op; op = op->next)
        if (op->stage != OP_REFUSED)
            watch_until(u, op->due_ms);
}

/* A callback may end others, or begin new ones: after each the lists are looked at anew. */
static void on_watch(void *arg)
{
    struct upstream *u = arg;
    u->watch = NULL;
    int64_t now_ms = clock_mono_ms();
    struct upstream_op *op;
    while ((op = overdue_on(&u->queue, now_ms)) || (op = overdue_on(&u->others, now_ms)))
        op_expire(op);
    watch_rest(u, &u->queue);
    watch_rest(u, &u->others);
}

static void watch_until(struct upstream *u, int64_t due_ms)
{
    if (u->watch && u->watch_ms <= due_ms)
        return;
    loop_cancel(&u->watch);
    u->watch_ms = due_ms;
    u->watch = loop_after(u->loop, due_ms - clock_mono_ms(), on_watch, u);
}

static void on_refused(void *arg)
{
    struct upstream_op *op = arg;
    op->refusal = NULL;
    op_finish_unsent(op, op->prepared ? "queue_full" : "bad_request", 0);
}

static void on_wake(void *arg)
{
    struct upstream *u = arg;
    u->wake = NULL;
    pump_soon(u);
}

static void op_take_off(struct upstream_op *op, uint32_t ticket)
{
    struct upstream *u = op->u;
    op_unlink(op);
    op_link(&u->others, op);
    op->stage = OP_FLYING;
    op->ticket = ticket;
    op->transfer = u->transport->begin(u->pool, op->prepared, &op->answer, op);
}

/* The first of the queue goes, ends, or stays.  False: nothing more can go now. */
static bool pump_one(struct upstream *u)
{
    uint32_t ticket = 0;
    int64_t wait_ms = 0;
    switch (upstream_pace_admit(&u->pace, clock_mono_ms(), &ticket, &wait_ms)) {
    case PACE_GO:
        op_take_off(u->queue.first, ticket);
        return true;
    case PACE_PAUSED:
        op_finish_unsent(u->queue.first, "paused", wait_ms);
        return true;
    case PACE_OPEN:
        op_finish_unsent(u->queue.first, "breaker_open", wait_ms);
        return true;
    case PACE_WAIT:
        loop_cancel(&u->wake);
        u->wake = loop_after(u->loop, wait_ms, on_wake, u);
        return false;
    case PACE_BUSY: /* the next that lands calls again */
        return false;
    }
    return false;
}

/* Only those that wait now: what callbacks add meanwhile is for the next turn. */
static void pump(void *arg)
{
    struct upstream *u = arg;
    u->pump = NULL;
    for (uint32_t left = u->queue.n; left > 0 && u->queue.first; left--)
        if (!pump_one(u))
            break;
    u->transport->kick(u->pool); /* where a connection is there, the first write happens in this turn */
}

static void pump_soon(struct upstream *u)
{
    if (!u->pump)
        u->pump = loop_defer(u->loop, pump, u);
}

static const struct upstream_transport *transport_of(const char *url)
{
    bool mail = strncasecmp(url, "smtp://", 7) == 0 || strncasecmp(url, "smtps://", 8) == 0;
    return mail ? &upstream_smtp : &upstream_http;
}

struct upstream *upstream_new(struct loop *loop, const struct upstream_options *opt, struct errmsg *e)
{
    ensure(opt->name);
    struct upstream *u = xcalloc(1, sizeof *u);
    u->loop = loop;
    u->name = xstrdup(opt->name);
    u->total_ms = opt->total_ms > 0 ? opt->total_ms : LIMIT_UPSTREAM_TOTAL_MS;
    u->max_queue = opt->max_queue > 0 ? opt->max_queue : QUEUE_DEFAULT;
    upstream_pace_init(&u->pace, &opt->pace, clock_mono_ms());
    u->transport = transport_of(opt->url ? opt->url : "");
    u->pool = u->transport->open(loop, opt, u->pace.opt.max_concurrency, on_transfer_end, e);
    if (!u->pool)
        upstream_free(&u);
    return u;
}

void upstream_free(struct upstream **pp)
{
    struct upstream *u = *pp;
    if (!u)
        return;
    ensure(!u->in_callback);
    u->transport->close(&u->pool); /* before the ops: the transfers use what is theirs */
    ops_free(&u->queue);
    ops_free(&u->others);
    loop_cancel(&u->pump);
    loop_cancel(&u->wake);
    loop_cancel(&u->watch);
    free(u->name);
    free(u);
    *pp = NULL;
}

struct upstream_op *upstream_send(struct upstream *u, const struct upstream_request *req, upstream_fn *cb, void *arg)
{
    size_t max_bytes = req->max_answer_bytes > 0 ? req->max_answer_bytes : LIMIT_UPSTREAM_ANSWER_BYTES;
    struct arena arena;
    arena_init(&arena, OP_ARENA_BYTES(max_bytes));
    struct upstream_op *op = arena_bytes(&arena, sizeof *op);
    ensure(op);
    *op = (struct upstream_op){.u = u, .cb = cb, .arg = arg, .arena = arena, .began_us = clock_mono_us()};
    upstream_answer_init(&op->answer, &op->arena, max_bytes);
    op->prepared = u->transport->prepare(u->pool, &op->arena, req);
    if (!op->prepared || u->queue.n >= u->max_queue) {
        op->stage = OP_REFUSED;
        op->refusal = loop_defer(u->loop, on_refused, op);
        op_link(&u->others, op);
        return op;
    }
    int64_t ms = req->deadline_ms > 0 && req->deadline_ms < u->total_ms ? req->deadline_ms : u->total_ms;
    op->stage = OP_QUEUED;
    op->due_ms = op->began_us / 1000 + ms;
    op_link(&u->queue, op);
    watch_until(u, op->due_ms);
    pump_soon(u);
    return op;
}

void upstream_op_cancel(struct upstream_op **pp)
{
    struct upstream_op *op = *pp;
    if (!op)
        return;
    if (op->transfer) {
        struct upstream_end end;
        op->u->transport->stop(op->transfer, &end);
        op_land(op, PACE_NEITHER);
    }
    op_unlink(op);
    op_free(op);
    *pp = NULL;
}

bool upstream_op_sent(const struct upstream_op *op)
{
    return op->transfer && op->u->transport->wrote(op->transfer);
}

void upstream_state(const struct upstream *u, struct upstream_state *out)
{
    int64_t paused_ms = u->pace.paused_until_ms - clock_mono_ms();
    *out = (struct upstream_state){
        .name = u->name,
        .breaker = u->pace.breaker,
        .in_flight = u->pace.in_flight,
        .queued = u->queue.n,
        .paused_ms = paused_ms > 0 ? paused_ms : 0,
        .answered = u->answered,
        .not_sent = u->not_sent,
        .unknown = u->unknown,
    };
}

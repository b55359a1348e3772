/*
 * Commands to Redis and what becomes of each.  Knows commands and replies, not what
 * they are for, and not how the connection is made.
 *
 * The idea: replies come in the order of the commands, so a command whose deadline
 * passed stays in the row as one that nobody waits for.
 */
#include "redis.h"

#include <stdlib.h>

#include "loop.h"
#include "postern/clock.h"
#include "postern/secret.h"
#include "redis_link.h"

/* --- ops ------------------------------------------------------------------------------ */

/* The first of the row, taken out of it; NULL: there is none. */
static struct redis_op *row_take(struct redis *r)
{
    struct redis_op *op = TAILQ_FIRST(&r->row);

    if (op == NULL)
        return NULL;
    TAILQ_REMOVE(&r->row, op, in_row);
    if (op->timed)
        TAILQ_REMOVE(&r->due, op, in_due);
    op->timed = false;
    return op;
}

/* It is over for the one who asked; the op, of no list any more, is gone. */
static void op_end(struct redis_op *op, enum err status, const struct redis_reply *reply)
{
    redis_cb *cb = op->cb;
    void *arg = op->arg;

    free(op);
    if (cb != NULL)
        cb(status, reply, arg);
}

static void on_failing(void *arg)
{
    struct redis_op *op = arg;
    TAILQ_REMOVE(&op->redis->failing, op, in_row);
    op_end(op, ERR_UNAVAILABLE, NULL);
}

void redis_fail_all(struct redis *r)
{
    struct redis_op *op;

    while ((op = row_take(r)) != NULL) {
        if (op->cb == NULL) {
            free(op);
            continue;
        }
        TAILQ_INSERT_TAIL(&r->failing, op, in_row);
        op->failing = loop_defer(r->loop, on_failing, op);
    }
}

void redis_op_cancel(struct redis_op **opp)
{
    struct redis_op *op = take(opp);
    if (op == NULL)
        return;
    op->cb = NULL;
    if (op->failing != NULL) {
        loop_cancel(&op->failing);
        TAILQ_REMOVE(&op->redis->failing, op, in_row);
        free(op);
        return;
    }
    if (op->timed)
        TAILQ_REMOVE(&op->redis->due, op, in_due);
    op->timed = false;
}

/* Deadlines are of two or three lengths: almost always the last place. */
static void due_add(struct redis *r, struct redis_op *op)
{
    struct redis_op *before = TAILQ_LAST(&r->due, redis_row);

    while (before != NULL && before->deadline_us > op->deadline_us)
        before = TAILQ_PREV(before, redis_row, in_due);
    if (before != NULL)
        TAILQ_INSERT_AFTER(&r->due, before, op, in_due);
    else
        TAILQ_INSERT_HEAD(&r->due, op, in_due);
    op->timed = true;
}

/* --- deadlines ------------------------------------------------------------------------- */

static void on_timer(void *arg);

void redis_arm(struct redis *r)
{
    const struct redis_op *first = TAILQ_FIRST(&r->row), *due = TAILQ_FIRST(&r->due);
    int64_t at_us = due != NULL ? due->deadline_us : INT64_MAX;

    if (r->state == REDIS_GREETING || r->state == REDIS_CONNECTING)
        at_us = r->heard_us + REDIS_GREET_MS * INT64_C(1000);
    else if (first != NULL && r->heard_us + REDIS_SILENCE * r->options.deadline_ms * 1000 < at_us)
        at_us = r->heard_us + REDIS_SILENCE * r->options.deadline_ms * 1000;
    if (at_us == INT64_MAX || (r->timer != NULL && r->timer_us <= at_us))
        return;
    loop_cancel(&r->timer);
    r->timer_us = at_us;
    r->timer = loop_after(r->loop, (at_us - clock_mono_us() + 999) / 1000, on_timer, r);
}

static void on_timer(void *arg)
{
    struct redis *r = arg;
    int64_t now_us = clock_mono_us();
    struct redis_op *op;

    r->timer = NULL;
    if (r->state != REDIS_UP) {
        if (now_us - r->heard_us >= REDIS_GREET_MS * INT64_C(1000)) {
            redis_link_drop(r, r->state == REDIS_CONNECTING ? "no connection within a second"
                                                            : "no answer to the greeting");
            return;
        }
        redis_arm(r);
        return;
    }
    if (TAILQ_FIRST(&r->row) != NULL && now_us - r->heard_us >= REDIS_SILENCE * r->options.deadline_ms * 1000) {
        redis_link_drop(r, "it does not answer");
        return;
    }
    while ((op = TAILQ_FIRST(&r->due)) != NULL && op->deadline_us <= now_us) {
        redis_cb *cb = op->cb;
        ensure(cb != NULL); /* who cancels leaves the list */
        TAILQ_REMOVE(&r->due, op, in_due);
        op->timed = false;
        op->cb = NULL; /* stays in the row: its reply will come, for nobody */
        r->counters.timeouts++;
        cb(ERR_TIMEOUT, NULL, op->arg);
        if (r->state != REDIS_UP)
            return;
    }
    redis_arm(r);
}

/* --- out ------------------------------------------------------------------------------- */

static void on_flush(void *arg)
{
    struct redis *r = arg;

    r->flush = NULL;
    r->flushing = true;
    if (r->state == REDIS_UP && r->options.before_write != NULL)
        r->options.before_write(r->options.arg);
    r->flushing = false;
    redis_link_write(r);
}

void redis_write_soon(struct redis *r)
{
    if (r->flush == NULL && !r->flushing && r->state == REDIS_UP)
        r->flush = loop_defer(r->loop, on_flush, r);
}

void redis_write_now(struct redis *r)
{
    redis_link_write(r);
}

struct redis_op *redis_ask(struct redis *r, const struct slice *args, size_t n_args, int64_t deadline_ms, redis_cb *cb,
                           void *arg)
{
    struct redis_op *op = xcalloc(1, sizeof(*op));

    op->redis = r;
    op->cb = cb;
    op->arg = arg;
    op->asked_us = clock_mono_us();
    op->deadline_us = op->asked_us + (deadline_ms != 0 ? deadline_ms : r->options.deadline_ms) * 1000;
    r->counters.commands++;
    if (r->state != REDIS_UP || !redis_wire_add(r->out, args, n_args)) {
        TAILQ_INSERT_TAIL(&r->failing, op, in_row);
        op->failing = loop_defer(r->loop, on_failing, op);
        return op;
    }
    redis_write_soon(r);
    if (TAILQ_EMPTY(&r->row))
        r->heard_us = op->asked_us;
    TAILQ_INSERT_TAIL(&r->row, op, in_row);
    due_add(r, op);
    redis_arm(r);
    return op;
}

bool redis_answered(struct redis *r, const struct redis_reply *reply)
{
    struct redis_op *op = row_take(r);

    if (op == NULL)
        return false;
    if (reply->kind != REDIS_ERROR)
        r->counters.answered_us += r->heard_us - op->asked_us;
    op_end(op, OK, reply);
    return true;
}

/* --- the whole ----------------------------------------------------------------------------- */

/* The configuration that they come from may be freed, and another one be in force. */
static void keep_options(struct redis *r, const struct redis_options *o)
{
    r->options = *o;
    r->options.host = xstrdup(o->host);
    r->options.ca_file = o->ca_file != NULL ? xstrdup(o->ca_file) : NULL;
    r->options.username = o->username != NULL ? xstrdup(o->username) : NULL;
    r->options.password = r->password = o->password != NULL ? xstrdup(o->password) : NULL;
}

static void free_options(struct redis *r)
{
    free((char *)r->options.host);
    free((char *)r->options.ca_file);
    free((char *)r->options.username);
    secret_free(&r->password);
}

struct redis *redis_new(struct loop *loop, const struct redis_options *o, struct errmsg *e)
{
    struct redis *r = xcalloc(1, sizeof(*r));

    r->loop = loop;
    keep_options(r, o);
    TAILQ_INIT(&r->row);
    TAILQ_INIT(&r->due);
    TAILQ_INIT(&r->failing);
    redis_link_init(r);
    if (o->tls && !redis_link_secure(r, o->ca_file, e)) {
        redis_free(&r);
        return NULL;
    }
    return r;
}

void redis_free(struct redis **rp)
{
    struct redis *r = take(rp);
    struct redis_op *op;

    if (r == NULL)
        return;
    redis_link_clear(r);
    while ((op = row_take(r)) != NULL)
        free(op);
    while ((op = TAILQ_FIRST(&r->failing)) != NULL) {
        TAILQ_REMOVE(&r->failing, op, in_row);
        loop_cancel(&op->failing);
        free(op);
    }
    free_options(r);
    free(r);
}

bool redis_is_up(const struct redis *r)
{
    return r->state == REDIS_UP;
}

struct redis_counters redis_counters(const struct redis *r)
{
    return r->counters;
}

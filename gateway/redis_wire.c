/*
 * Commands written straight into the bytes that leave; replies read by hiredis'
 * parser into objects of ours, so that a mad server cannot make us allocate.  The
 * only file that knows hiredis: 0.14.1 has no deadline of a command, no TLS and does
 * not reconnect.
 */
#include "redis_wire.h"

#include <event2/buffer.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>

#define REPLY_ITEMS 4096     /* of one list: our scripts answer with far fewer */
#define REPLY_BYTES 1048576u /* of one reply that is not whole yet */
#define HEAD_MAX    23       /* of "$" or "*", a length, and the end of the line */

/* --- commands ---------------------------------------------------------------------------- */

static char *put_end(char *p)
{
    p[0] = '\r';
    p[1] = '\n';
    return p + 2;
}

static char *put_head(char *p, char sign, size_t n)
{
    char digits[20];
    size_t at = sizeof(digits);

    do
        digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    *p++ = sign;
    memcpy(p, digits + at, sizeof(digits) - at);
    p += sizeof(digits) - at;
    return put_end(p);
}

bool redis_wire_add(struct evbuffer *out, const struct slice *args, size_t n)
{
    struct evbuffer_iovec place;
    size_t most = HEAD_MAX;

    for (size_t i = 0; i < n; i++)
        most += HEAD_MAX + args[i].n + 2;
    if (evbuffer_reserve_space(out, (ev_ssize_t)most, &place, 1) != 1)
        return false;
    char *p = put_head(place.iov_base, '*', n);
    for (size_t i = 0; i < n; i++) {
        p = put_head(p, '$', args[i].n);
        if (args[i].n > 0)
            memcpy(p, args[i].p, args[i].n);
        p = put_end(p + args[i].n);
    }
    place.iov_len = (size_t)(p - (char *)place.iov_base);
    return evbuffer_commit_space(out, &place, 1) == 0;
}

/* --- replies ----------------------------------------------------------------------------- */

void redis_reply_free(struct redis_reply *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n; i++)
        redis_reply_free(r->items[i]);
    free(r->items);
    free((char *)r->text.p);
    free(r);
}

static void free_object(void *p)
{
    redis_reply_free(p);
}

static struct redis_reply *reply_new(const redisReadTask *task, enum redis_kind kind)
{
    struct redis_reply *r = xcalloc(1, sizeof(*r));
    r->kind = kind;
    if (task->parent != NULL)
        ((struct redis_reply *)task->parent->obj)->items[task->idx] = r;
    return r;
}

static void *reply_text(const redisReadTask *task, char *p, size_t n)
{
    char *copy = calloc(n + 1, 1);
    if (copy == NULL)
        return NULL; /* the connection is given up */
    memcpy(copy, p, n);
    struct redis_reply *r = reply_new(task, task->type == REDIS_REPLY_ERROR ? REDIS_ERROR : REDIS_TEXT);
    r->text = (struct slice){copy, n};
    return r;
}

static void *reply_list(const redisReadTask *task, int n)
{
    if (n < 0 || n > REPLY_ITEMS)
        return NULL; /* the parser calls that being out of memory, and stops */
    struct redis_reply *r = reply_new(task, REDIS_LIST);
    r->items = xcalloc(n > 0 ? (size_t)n : 1, sizeof(void *));
    r->n = (size_t)n;
    return r;
}

static void *reply_number(const redisReadTask *task, long long n)
{
    struct redis_reply *r = reply_new(task, REDIS_NUMBER);
    r->number = n;
    return r;
}

static void *reply_nothing(const redisReadTask *task)
{
    return reply_new(task, REDIS_NOTHING);
}

static redisReplyObjectFunctions reply_functions = {reply_text, reply_list, reply_number, reply_nothing, free_object};

/* hiredis' own, under our name. */
struct redis_reader {
    redisReader reader;
};

struct redis_reader *redis_reader_new(void)
{
    redisReader *r = redisReaderCreateWithFunctions(&reply_functions);
    ensure(r != NULL);
    return (struct redis_reader *)r;
}

void redis_reader_free(struct redis_reader **rp)
{
    struct redis_reader *r = take(rp);
    if (r != NULL)
        redisReaderFree(&r->reader);
}

bool redis_reader_feed(struct redis_reader *r, struct slice bytes)
{
    return redisReaderFeed(&r->reader, bytes.p, bytes.n) == REDIS_OK;
}

bool redis_reader_next(struct redis_reader *r, struct redis_reply **reply)
{
    void *object = NULL;

    *reply = NULL;
    if (redisReaderGetReply(&r->reader, &object) != REDIS_OK)
        return false;
    *reply = object;
    return object != NULL || r->reader.len - r->reader.pos <= REPLY_BYTES;
}

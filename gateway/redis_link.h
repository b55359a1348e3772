/*
 * What the files of the connection to Redis share.
 *   redis.c       commands: in a row, each with a deadline, and what becomes of it
 *   redis_link.c  the connection: made, greeted, read, given up, made again
 *   redis_wire.c  the protocol
 */
#ifndef GATEWAY_REDIS_LINK_H
#define GATEWAY_REDIS_LINK_H

#include <openssl/types.h>
#include <sys/queue.h>

#include "redis.h"
#include "redis_wire.h"

#define REDIS_GREET_MS 1000 /* to connect and to answer PING */

struct bufferevent;
struct evdns_base;

struct redis_op {
    struct redis *redis;
    redis_cb *cb; /* NULL: nobody waits any more */
    void *arg;
    int64_t asked_us, deadline_us;
    struct loop_task *failing;    /* never sent: told at the end of the turn */
    TAILQ_ENTRY(redis_op) in_row; /* in the order of replies */
    TAILQ_ENTRY(redis_op) in_due; /* of those with a cb, by deadline */
    bool timed;
};
TAILQ_HEAD(redis_row, redis_op);

enum redis_state { REDIS_DOWN, REDIS_CONNECTING, REDIS_GREETING, REDIS_UP };

struct redis {
    struct loop *loop;
    struct redis_options options; /* its texts are ours */
    char *password;
    SSL_CTX *tls;
    struct evdns_base *dns;
    struct bufferevent *bev;
    struct redis_reader *reader;
    enum redis_state state;
    bool told_up, flushing;
    unsigned greetings; /* replies of the greeting still to come */
    int64_t heard_us;   /* a reply came, or the first of the row was sent */
    int64_t up_since_ms, retry_ms;
    struct evbuffer *out; /* of this turn */
    struct loop_task *flush, *retry, *timer, *tell;
    int64_t timer_us; /* when it looks */
    struct redis_row row, due, failing;
    char said[160]; /* the reason that the log named last */
    struct redis_counters counters;
};

/* redis_link.c */
void redis_link_init(struct redis *r);
/* False with the reason in e: the CA file. */
bool redis_link_secure(struct redis *r, const char *ca_file, struct errmsg *e) NODISCARD;
void redis_link_clear(struct redis *r);
/* The connection is of no use any more: whoever waits is told at the end of the turn, and another is tried. */
void redis_link_drop(struct redis *r, const char *why);
/* What waits in out leaves. */
void redis_link_write(struct redis *r);

/* redis.c */
/* False: nothing was asked. */
bool redis_answered(struct redis *r, const struct redis_reply *reply) NODISCARD;
/* Those in the row hear at the end of the turn that nobody answers. */
void redis_fail_all(struct redis *r);
/* The timer looks when the next deadline is due. */
void redis_arm(struct redis *r);

#endif

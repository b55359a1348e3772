/*
 * One connection to a Redis server, kept up: commands out in one write a turn,
 * each with a deadline, replies in order; a breaker that opens when nothing comes
 * back; TLS, password and database at each connect.  Knows no counters.
 *
 * A normal case: redis_ask() in any callback of a turn; the bytes leave at the
 * turn's end together with those of others; cb gets the reply.
 * A bad case: the server stops.  Each command gets ERR_TIMEOUT at its deadline; when
 * nothing at all came back for REDIS_SILENCE deadlines, the breaker opens: the
 * connection is given up, what waits gets ERR_UNAVAILABLE, and a new one is tried
 * until it answers a PING.
 */
#ifndef GATEWAY_REDIS_H
#define GATEWAY_REDIS_H

#include "postern/base.h"

struct loop;
struct redis;
struct redis_op;

#define REDIS_SILENCE 5 /* deadlines without a byte from the server: it is gone */

struct redis_options {
    const char *host;
    uint16_t port;
    int db;
    bool tls;
    const char *ca_file;             /* or NULL: the system's */
    const char *username, *password; /* or NULL */
    int64_t deadline_ms;             /* of a command that names none */
    /* The connection is there, or gone.  Never from within a call to these functions. */
    void (*on_state)(bool up, void *arg);
    /* The turn's commands are about to leave: the last chance to add some.  NULL: nobody asks. */
    void (*before_write)(void *arg);
    void *arg;
};

enum redis_kind { REDIS_NOTHING, REDIS_NUMBER, REDIS_TEXT, REDIS_LIST, REDIS_ERROR };
struct redis_reply {
    enum redis_kind kind;
    int64_t number;
    struct slice text; /* of REDIS_TEXT and REDIS_ERROR */
    size_t n;
    struct redis_reply **items;
};

/* NULL with the reason in e: the CA file.  Connects by itself, and again. */
struct redis *redis_new(struct loop *loop, const struct redis_options *o, struct errmsg *e) NODISCARD;
/* Outstanding commands are dropped uncalled. */
void redis_free(struct redis **r);
bool redis_is_up(const struct redis *r);
/* Give this connection up and make another: what it said cannot be right. */
void redis_reconnect(struct redis *r, const char *why);

/* reply: when status is OK; REDIS_ERROR is a reply too.  Borrowed during the callback. */
typedef void redis_cb(enum err status, const struct redis_reply *reply, void *arg);
/*
 * cb exactly once, never before this returns.  ERR_TIMEOUT: not answered in time, it may be carried out all the
 * same; ERR_UNAVAILABLE: no connection, or it went away.  deadline_ms 0: the usual one.
 */
struct redis_op *redis_ask(struct redis *r, const struct slice *args, size_t n_args, int64_t deadline_ms, redis_cb *cb,
                           void *arg);
/* cb is not called any more; the command may be carried out. */
void redis_op_cancel(struct redis_op **op);
/* before_write will be called at the end of this turn, when there is a connection. */
void redis_write_soon(struct redis *r);
/* There will be no end of this turn: what was asked leaves now. */
void redis_write_now(struct redis *r);

struct redis_counters {
    uint64_t commands, timeouts, failures; /* failures: error replies, and connections that broke */
    int64_t answered_us;                   /* in all */
};
struct redis_counters redis_counters(const struct redis *r);

#endif

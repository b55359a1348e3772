/*
 * One end of a stream that carries small messages between the parent and a worker: framing and a bounded queue, no
 * loop, no meaning.  Both ends are the same program on the same machine, so numbers travel as they stand in memory.
 */
#ifndef GATEWAY_BUS_PIPE_H
#define GATEWAY_BUS_PIPE_H

#include "postern/base.h"

/* X(id, name): name is for logs; bodies are never logged. */
enum bus_kind {
    BUS_READY,      /* worker: serves now */
    BUS_PING,       /* parent: int64_t, its monotonic clock: what the worker knows is fresh from then */
    BUS_PONG,       /* worker: int64_t, how long its store has not answered, in ms */
    BUS_CHANGED,    /* hashes of addresses (uint64_t each): what is known of them is void; none: of all */
    BUS_CLOCK,      /* int64_t: the test clock reads this now */
    BUS_APPLIED,    /* worker: the CHANGED or CLOCK of this id is in force here */
    BUS_IN_FORCE,   /* parent, to whoever told it: in force everywhere */
    BUS_DUE,        /* struct bus_due: a deferred message is due then, if that is sooner than known */
    BUS_DRAIN,      /* parent: take nothing new, finish, end */
    BUS_STOP,       /* parent: end now */
    BUS_RELOAD,     /* parent: bytes of a configuration */
    BUS_RELOADED,   /* worker: empty: it could be put in force; else why it is refused */
    BUS_RELOAD_END, /* parent: empty: put it in force; else why the one before it stays */
    BUS_KIND_N
};

#define BUS_BODY_MAX  (4u << 20)  /* of one message: a configuration is the largest */
#define BUS_QUEUE_MAX (16u << 20) /* not taken by the other end yet; beyond: it is as good as gone */

struct bus_message {
    enum bus_kind kind;
    uint64_t id;       /* of the exchange; an answer has its question's */
    struct slice body; /* aligned for any type; borrowed */
};

struct bus_pipe;

/* Takes the descriptor of a stream socket. */
struct bus_pipe *bus_pipe_new(int fd) NODISCARD;
void bus_pipe_free(struct bus_pipe **p);
int bus_pipe_fd(const struct bus_pipe *p);

/* Sends now as far as the socket takes it, the rest by bus_pipe_flush.  False: the queue is full, or the end is gone.
 */
bool bus_pipe_send(struct bus_pipe *p, const struct bus_message *m) NODISCARD;
/* False: the other end is gone. */
bool bus_pipe_flush(struct bus_pipe *p) NODISCARD;
bool bus_pipe_is_full(const struct bus_pipe *p); /* something waits for bus_pipe_flush */
bool bus_pipe_is_gone(const struct bus_pipe *p); /* the other end */

/*
 * Hands over each message that is whole now.  False: the other end is gone, or what it sent is none of ours; what
 * came before that has been handed over.  The callback may send, and must not free the pipe.
 */
bool bus_pipe_read(struct bus_pipe *p, void (*each)(const struct bus_message *m, void *arg), void *arg) NODISCARD;

#endif

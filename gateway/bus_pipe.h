/*
 * One end of a stream that carries small messages between the parent and a worker: framing and a bounded queue, no
 * loop, no meaning.  Both ends are the same program on the same machine, so numbers travel as they stand in memory.
 */
#ifndef GATEWAY_BUS_PIPE_H
#define GATEWAY_BUS_PIPE_H

#include "postern/base.h"

/* X(id, name): name is for logs; bodies are never logged. */
/* clang-format off */
#define BUS_KINDS(X) \
    X(READY, "ready")       /* worker: serves now */                                                          \
    X(PING, "ping")         /* parent: int64_t, its monotonic clock: what the worker knows is fresh from then */ \
    X(PONG, "pong")         /* worker: int64_t, how long its store has not answered, in ms */                 \
    X(CHANGED, "changed")   /* hashes of addresses (uint64_t each): what is known of them is void; none: of all */ \
    X(CLOCK, "clock")       /* int64_t: the test clock reads this now */                                      \
    X(APPLIED, "applied")   /* worker: the CHANGED or CLOCK of this id is in force here */                    \
    X(IN_FORCE, "in_force") /* parent, to whoever told it: in force everywhere */                             \
    X(DUE, "due")           /* struct bus_due: a deferred message is due then, if that is sooner than known */ \
    X(DRAIN, "drain")       /* parent: take nothing new, finish, end */                                       \
    X(STOP, "stop")         /* parent: end now */                                                             \
    X(RELOAD, "reload")     /* parent: bytes of a configuration */                                            \
    X(RELOADED, "reloaded") /* worker: empty: it could be put in force; else why it is refused */             \
    X(RELOAD_END, "reload_end") /* parent: empty: put it in force; else why the one before it stays */
/* clang-format on */
enum bus_kind {
#define X(id, name) BUS_##id,
    BUS_KINDS(X)
#undef X
        BUS_KIND_N
};
const char *bus_kind_name(enum bus_kind k);

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

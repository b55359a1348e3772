/*
 * What the files of the Redis counters share.
 *   counters_redis.c   slots: reserve, commit, release, and what waits for Redis' return
 *   counters_epoch.c   the epoch: is what Redis holds whole, and how it becomes so again
 *   counters_load.c    a store's sends, read by a thread
 *   counters.lua, counters_epoch.lua  what Redis runs
 */
#ifndef GATEWAY_COUNTERS_REDIS_H
#define GATEWAY_COUNTERS_REDIS_H

#include <sys/queue.h>

#include "counters_load.h"
#include "counters_ops.h"
#include "redis.h"

#define COUNTERS_HOLD_MS  2000 /* a reservation older than this is not acted upon */
#define COUNTERS_KEPT_MAX 100000
#define COUNTERS_PREFIX   "postern:"

#define EPOCH_ID_HEX 16
#define EPOCH_MAX    128
#define STORES_MAX   64
#define RUN_ID_MAX   64
#define COUNTERS_KEY (sizeof(COUNTERS_PREFIX "c:") - 1 + 16 + 1)

struct slot;
struct settle;
struct batch;
TAILQ_HEAD(settle_list, settle);
TAILQ_HEAD(batch_list, batch);

/* Is what Redis holds whole?  counters_epoch.c's. */
struct epoch {
    struct redis_op *ask;
    struct loop_task *next;
    bool again;    /* ask once more when this one is back */
    bool verified; /* on this connection: it is the server that the epoch was made on */
    bool live;     /* text names one that was in force when last heard of */
    char text[EPOCH_MAX];
    uint64_t n;                    /* of epochs: what a slot was counted in */
    char loaded[EPOCH_ID_HEX + 1]; /* whose rows this process has loaded */
    int64_t upto_ms;               /* all of the store's before that is in them */
    bool give_up;                  /* text is not to be trusted any more */
    char process[EPOCH_ID_HEX + 1], store[EPOCH_ID_HEX + 1];
    char known[STORES_MAX][EPOCH_ID_HEX + 1]; /* stores seen alive */
    size_t n_known;
    char run_id[RUN_ID_MAX];
    char evicted[24];
    struct counters_load *load;
    char loading[EPOCH_ID_HEX + 1]; /* for which epoch */
    int64_t load_began_ms;
    struct redis_op *loading_chunk;
};

struct shared {
    struct counters base;
    struct loop *loop;
    struct redis *redis;
    struct store *store;
    uint64_t identity;
    struct redis_op *script; /* being loaded */
    char sha[41];
    struct epoch epoch;
    struct slot *slots;
    struct settle_list fresh;  /* of this turn */
    struct settle_list kept;   /* wait for Redis */
    struct batch_list batches; /* on their way */
    size_t n_fresh, n_kept, n_under_way;
    bool draining; /* what was kept is delivered before anything is counted */
    bool told_usable;
    struct counters_state seen;
};

/* They answer, and what they hold is whole. */
bool shared_usable(const struct shared *c);
/* Something that shared_usable looks at may have changed. */
void shared_changed(struct shared *c, const char *why);
/* Deliver what was kept. */
void shared_drain(struct shared *c);
/* Nothing of what was kept is needed: a rebuild takes it from the store. */
void shared_forget_kept(struct shared *c);
char *shared_key(uint64_t contact_hash, char out[COUNTERS_KEY]);

/* counters_epoch.c */
void epoch_init(struct shared *c);
void epoch_clear(struct shared *c);
/* The connection is there, or gone. */
void epoch_connected(struct shared *c, bool up);
/* Ask for the state now. */
void epoch_ask(struct shared *c);
/* A script was refused: another epoch is in force, or none. */
void epoch_lost(struct shared *c, const char *why);

extern const struct slice counters_lua, counters_epoch_lua;

#endif

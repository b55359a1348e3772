/*
 * What the files of the Redis counters share.
 *   counters_redis.c   the contract: slots from question to commit or release; start, end, state
 *   counters_ask.c     a question and its answer
 *   counters_turn.c    one script for what a turn has to say, and what waits for Redis' return
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

#include <uthash.h> /* behind base.h, which gives it its malloc */

#define COUNTERS_HOLD_MS   2000 /* a reservation older than this is not acted upon */
#define COUNTERS_KEPT_MAX  100000
#define COUNTERS_SETTLE_MS 1000           /* nobody waits for a commit: only the connection's end hurries it */
#define COUNTERS_FORMER    "postern:seen" /* stores that count in the format before this one */
#define COUNTERS_PREFIX    "postern:2:"   /* another format of what is below it is another number */

#define EPOCH_ID_HEX 16
#define EPOCH_MAX    128
#define STORES_MAX   64
#define RUN_ID_MAX   64
#define COUNTERS_KEY (sizeof(COUNTERS_PREFIX "c:") - 1 + 16 + 1)

struct batch;

/* From the question until its commit or release is delivered. */
struct slot {
    uint64_t decision; /* its handle */
    uint64_t contact_hash;
    struct counters_entry entry;
    bool asked;   /* Redis may have it */
    bool counted; /* Redis said so */
    uint64_t epoch_n;
    int64_t asked_mono_ms;
    UT_hash_handle hh; /* until it is settled */

    TAILQ_ENTRY(slot) link; /* from then on: fresh, kept, or of a batch */
    bool released;          /* else committed */
    bool alone;             /* a batch with it failed: it goes by itself */
    unsigned errors;        /* replies that were one */
};
TAILQ_HEAD(slot_list, slot);

/* A question, until it is answered. */
struct ask {
    struct counters_op base;
    struct loop_task *task;   /* down: told at the end of the turn */
    TAILQ_ENTRY(ask) in_turn; /* waits for the turn's end, when it is neither down nor in a batch */
    struct batch *batch;      /* on its way */
    size_t place;             /* in it */
    counters_cb *cb;
    void *arg;
    struct slot *slot; /* NULL: a peek */
    uint64_t contact_hash;
    struct counters_entry entry;
    size_t n_checks;
    uint8_t checks[]; /* packed */
};
TAILQ_HEAD(ask_list, ask);
TAILQ_HEAD(batch_list, batch);

/* Is what Redis holds whole?  counters_epoch.c's. */
struct epoch {
    struct redis_op *ask;
    int64_t redis_minus_boot_ms; /* its clock, against ours that runs evenly */
    struct loop_task *next;
    bool again;    /* ask once more when this one is back */
    bool older;    /* somebody counts in the format before: no epoch is made */
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
    struct ask_list asks;      /* of this turn */
    struct slot_list fresh;    /* settled, of this turn and a few ms */
    struct slot_list kept;     /* wait for Redis */
    struct batch_list batches; /* on their way */
    size_t n_fresh, n_kept, n_under_way;
    struct loop_task *settling; /* fresh ones leave when it comes, at the latest */
    bool draining;              /* what was kept is delivered before anything is counted */
    bool told_usable;
    struct counters_state seen;
};

/* They answer, and what they hold is whole. */
bool shared_usable(const struct shared *c);
/* Something that shared_usable looks at may have changed. */
void shared_changed(struct shared *c, const char *why);
struct slot *shared_slot_new(struct shared *c, const struct counters_request *r, const struct counters_entry *entry);
void shared_slot_free(struct shared *c, struct slot *slot);
void shared_release(struct counters *base, uint64_t reservation);
char *shared_key(uint64_t contact_hash, char out[COUNTERS_KEY]);

/* counters_ask.c */
struct counters_op *ask_new(struct counters *base, const struct counters_request *r, bool take_slot, counters_cb *cb,
                            void *arg);
void ask_cancel(struct counters_op *base);
/* Its part of the script's answer, taken off the front; frees it.  False, and nothing done: it is of another form. */
bool ask_answer(struct ask *a, struct slice *rest) NODISCARD;
/* The same part, when nobody waits for it any more. */
bool ask_pass(size_t n_checks, struct slice *rest) NODISCARD;
/* Nobody answers.  Frees it. */
void ask_down(struct ask *a);

/* counters_turn.c */
void turn_init(struct shared *c);
void turn_ask(struct shared *c, struct ask *a);
/* It is neither asked nor answered any more. */
void turn_cancel(struct shared *c, struct ask *a);
/* The turn is over: its questions and what was settled leave, or it is known that they cannot. */
void turn_end(struct shared *c);
/* The slot, of no list any more, was committed or released. */
void turn_settle(struct shared *c, struct slot *slot);
/* Deliver what was kept. */
void turn_drain(struct shared *c);
/* What was settled leaves, as far as it can; all is freed. */
void turn_clear(struct shared *c);

/* counters_epoch.c */
/* Redis' clock, to a second. */
int64_t epoch_redis_s(const struct shared *c);
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

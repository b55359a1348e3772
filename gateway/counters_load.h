/* A store's log of sends, read by a thread of its own and handed to the loop in chunks. */
#ifndef GATEWAY_COUNTERS_LOAD_H
#define GATEWAY_COUNTERS_LOAD_H

#include "counters_entry.h"
#include "postern/store.h"

#define COUNTERS_LOAD_ROWS 256 /* less than a millisecond of Redis' time */

struct loop;
struct counters_load;

struct counters_load_chunk {
    size_t n;
    uint64_t contact[COUNTERS_LOAD_ROWS];
    struct counters_entry entry[COUNTERS_LOAD_ROWS];
};

struct counters_load_options {
    struct store *store;
    uint64_t identity; /* the store's */
    int64_t since_ms;
    int64_t now_ms; /* the time of open intents */
    bool with_intents;
    void (*ready)(void *arg); /* in the loop: there is something to take, or it ended */
    void *arg;
};

struct counters_load *counters_load_new(struct loop *loop, const struct counters_load_options *o);
/* NULL: none yet, or none any more. */
const struct counters_load_chunk *counters_load_chunk(struct counters_load *l);
/* The chunk has been used: the next one may come. */
void counters_load_next(struct counters_load *l);
/* All rows were read and taken, or it failed: err says which. */
bool counters_load_ended(struct counters_load *l, enum err *err);
/* Nothing more is wanted; ready is called once more, when the thread has ended. */
void counters_load_cancel(struct counters_load *l);
/* Waits for the thread: at once when it has ended. */
void counters_load_free(struct counters_load **l);

#endif

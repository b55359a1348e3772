/* The decisions of one submission, and what they mean to each other. */
#ifndef CTL_REPLAY_SETTLE_H
#define CTL_REPLAY_SETTLE_H

#include "replay_counts.h"
#include "replay_row.h"

/* One decision of the submission that is being read. */
struct replay_item {
    uint64_t id;
    enum outcome then, now;
    uint32_t fired_then, fired_now; /* rules that act, bit sets */
    int64_t release_then_ms;
    uint64_t contact_hash;
    bool reserved;
    bool gone; /* it would not have been asked */
    struct slice field;
    struct replay_question *release; /* of one that is newly kept; or NULL */
    struct decision decision;
};

bool replay_is_kept(enum outcome o);
/* What a dialect does not send without its primary recipient (connector.settle) waits for one, or is blocked. */
void replay_settle(struct replay_item *items, size_t n, struct replay_counts *counts);
/* All or nothing: true when some do not pass, and then nothing takes a slot. */
bool replay_settle_partial(struct replay_item *items, size_t n, struct replay_counts *counts);

#endif

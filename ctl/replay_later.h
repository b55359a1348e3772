/* Replayed decisions that later rows speak of: by their results, and by the decisions that follow from them. */
#ifndef CTL_REPLAY_LATER_H
#define CTL_REPLAY_LATER_H

#include "postern/base.h"

struct replay_later {
    uint64_t contact_hash; /* whose slot it holds */
    bool reserved;
    bool gone; /* what follows from it would not have come about */
};

struct replay_laters;
struct replay_laters *replay_laters_new(void);
void replay_laters_free(struct replay_laters **l);

/* NULL: none. */
const struct replay_later *replay_laters_get(const struct replay_laters *l, uint64_t decision);
/* The first one said of a decision stays. */
void replay_laters_add(struct replay_laters *l, uint64_t decision, struct replay_later later);
void replay_laters_drop(struct replay_laters *l, uint64_t decision);

#endif

/*
 * A replay: recorded decisions, asked again of another policy with what was known at
 * their time.  Walks them in the order in which they were made and counts as it
 * goes; sends nothing, writes nothing.
 *
 * A normal case: a recorded "forward" is decided again, still passes, and takes its
 * slot in the counts until its result says otherwise.
 * A bad case: a deferral that the new policy lets go at once: the decision at its
 * release would never have been asked; it is left out and counted as such.
 */
#ifndef CTL_REPLAY_H
#define CTL_REPLAY_H

#include "../gateway/conf.h"
#include "postern/store.h"

#define REPLAY_EXAMPLES 3

struct replay_examples {
    uint64_t n; /* of all; the first are kept */
    uint64_t decision[REPLAY_EXAMPLES];
};

struct replay_sum {
    uint64_t decided;                                      /* asked again */
    uint64_t changed;                                      /* another outcome */
    struct replay_examples outcomes[OUTCOME_N][OUTCOME_N]; /* recorded, replayed */
    struct replay_examples fires[RULE_N], ends[RULE_N];    /* rules that act: now and not then, then and not now */
    struct replay_examples shadow[RULE_N][OUTCOME_N];      /* rules in shadow, by what each alone would lead to */
    uint64_t would_have[OUTCOME_N];                        /* decisions, had the rules in shadow acted */
    struct replay_examples moved;                          /* kept until another time */
    uint64_t later[OUTCOME_N];                     /* what was newly kept, by how its release would have ended */
    uint64_t waiting;                              /* newly kept, and due after the last decision on record */
    uint64_t not_asked;                            /* releases that would not have come about */
    uint64_t erased, without_category, unreadable; /* not replayed */
    uint64_t versions;                             /* of the policies that decided */
    int64_t first_ms, last_ms;
};

/* Called now and then; rows of total are read. */
typedef void replay_progress(uint64_t row, uint64_t rows, void *arg);

/* store: opened read_only.  ERR_UNAVAILABLE: it could not be read to its end. */
enum err replay_run(const struct conf *conf, struct store *store, int64_t since_ms, replay_progress *progress,
                    void *arg, struct replay_sum *out) NODISCARD;

/* For people, and for machines. */
void replay_print(const struct replay_sum *sum, const struct conf *conf, int64_t since_ms);
void replay_print_json(const struct replay_sum *sum, const struct conf *conf, int64_t since_ms);

#endif

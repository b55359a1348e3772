/* When contacts were sent what, while decisions are replayed: frequency counters without a process around them. */
#ifndef CTL_REPLAY_COUNTS_H
#define CTL_REPLAY_COUNTS_H

#include "postern/policy.h"

struct replay_counts;
struct replay_counts *replay_counts_new(void);
void replay_counts_free(struct replay_counts **c);

struct replay_send {
    uint64_t decision; /* to take it back; 0 = never */
    int64_t at_ms;
    uint32_t category_id, subject_id;
    enum message_class class;
    enum channel channel;
    enum cap_counting counts;
};

/* Fills counts for the checks; true: one of them is full. */
bool replay_counts_ask(const struct replay_counts *c, uint64_t contact_hash, const struct cap_check *checks, size_t n,
                       int64_t now_ms, struct cap_count *counts);
void replay_counts_add(struct replay_counts *c, uint64_t contact_hash, const struct replay_send *s);
/* It was not sent after all. */
void replay_counts_remove(struct replay_counts *c, uint64_t contact_hash, uint64_t decision);

#endif

/* What each kind of counters fills; the promises are counters.h's. */
#ifndef GATEWAY_COUNTERS_OPS_H
#define GATEWAY_COUNTERS_OPS_H

#include "counters.h"

struct counters_ops {
    struct counters_op *(*ask)(struct counters *c, const struct counters_request *r, bool take_slot, counters_cb *cb,
                               void *arg);
    void (*cancel)(struct counters_op *op);
    void (*commit)(struct counters *c, uint64_t reservation, int64_t now_ms);
    void (*release)(struct counters *c, uint64_t reservation);
    bool (*holds)(const struct counters *c, uint64_t reservation);
    struct counters_state (*state)(const struct counters *c);
    void (*free)(struct counters *c);
};

/* First member of each kind's own. */
struct counters {
    const struct counters_ops *ops;
};

struct counters_op {
    struct counters *counters;
};

/* The longest calendar window is a month; a day more for zones. */
#define COUNTERS_KEEP_MS (INT64_C(1000) * LIMIT_CAP_SPAN_S)

static inline bool counters_full(const struct cap_check *k, const struct cap_count *n, int64_t now_ms)
{
    return n->count >= k->limit || (k->gap_ms > 0 && n->latest_ms != 0 && now_ms - n->latest_ms < k->gap_ms);
}

#endif

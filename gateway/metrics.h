/* What /metrics shows.  Counting is an array increment; the text is made when it is asked for. */
#ifndef GATEWAY_METRICS_H
#define GATEWAY_METRICS_H

#include "postern/buf.h"
#include "postern/decision.h"
#include "postern/store.h"

/* The seven steps, and the whole. */
/* clang-format off */
#define STAGES(X) \
    X(READ, "read")       \
    X(GATHER, "gather")   \
    X(DECIDE, "decide")   \
    X(RESERVE, "reserve") \
    X(RECORD, "record")   \
    X(ACT, "act")         \
    X(REPLY, "reply")     \
    X(TOTAL, "total")
/* clang-format on */
enum stage {
#define X(id, name) STAGE_##id,
    STAGES(X)
#undef X
        STAGE_N
};
const char *stage_name(enum stage s);

/*
 * Where all workers of one parent count: made by it before it forks.  A worker is up while it serves; the figures
 * of one that is gone stay, and the next one in its place goes on with them.
 */
#define METRICS_WORKERS_MAX 64
struct metrics_board;
struct metrics_board *metrics_board_new(size_t workers);
void metrics_board_free(struct metrics_board **b);
void metrics_board_up(struct metrics_board *b, size_t worker, bool up);
void metrics_board_restarted(struct metrics_board *b, size_t worker);

struct metrics;
/* Counts as that worker; board NULL: one process alone. */
struct metrics *metrics_new(struct metrics_board *board, size_t worker);
void metrics_free(struct metrics **m);

/* One decision: by outcome, rule (of each violation), class, channel; degraded and shadow ones apart. */
void metrics_decision(struct metrics *m, const struct message *msg, const struct decision *d);
/*
 * A message left.  Adherence is sent as the recipient stated it, over sent to people who stated something;
 * what was blocked is in neither.
 */
void metrics_sent(struct metrics *m, const struct profile *p, const struct decision *d);
void metrics_stage(struct metrics *m, enum stage s, int64_t took_us);
void metrics_result(struct metrics *m, const char *provider, enum result r, int provider_status);
void metrics_fault(struct metrics *m, const char *dialect, const char *kind);
void metrics_release(struct metrics *m,
                     const char *end); /* a deferred message left the queue: "released", "expired", ... */
void metrics_idempotency(struct metrics *m, enum key_claim met);
void metrics_opt_out(struct metrics *m, enum opt_out_scope scope, enum source source);
void metrics_reloaded(struct metrics *m, bool applied);
void metrics_retimed(struct metrics *m, size_t messages); /* other instants for the same local times */
void metrics_loop_stall(struct metrics *m, int64_t ms);
void metrics_loop_cost(struct metrics *m, int64_t cpu_us); /* of a turn */

struct gateway;
/* In every worker, as last published. */
bool metrics_counters_up(const struct metrics *m);
/* Let the other workers see this one's gauges; each second. */
void metrics_publish(struct metrics *m, const struct gateway *g);
/*
 * The whole page, over all workers: counters above and gauges read from the gateways' parts.  Prometheus text format
 * 0.0.4, with HELP and TYPE.
 */
void metrics_format(struct metrics *m, const struct gateway *g, struct buf *out);

#endif

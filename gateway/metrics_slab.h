/*
 * Where the figures of /metrics stand, private to metrics.c and metrics_text.c: a slab for each worker, all of them
 * in memory that the processes share.  A slab is written by its worker alone and read by all; it has no pointers,
 * and a worker that takes the place of a dead one goes on in it.  Figures are aligned words: a reader that meets a
 * writer sees the one before or the one after.
 */
#ifndef GATEWAY_METRICS_SLAB_H
#define GATEWAY_METRICS_SLAB_H

#include <stdatomic.h>

#include "gateway.h"
#include "smtp_proto.h"

enum metric {
#define METRIC(id, name, type, merge, help) METRIC_##id,
#include "metrics.def"
#undef METRIC
    METRIC_N
};

/* How the workers' figures become one. */
enum metric_merge {
    MERGE_SUM,
    MERGE_MAX,
    MERGE_MIN,
    MERGE_OWN /* all workers would say the same, or its own function knows: metrics_text.c */
};

struct metric_family {
    const char *name, *type, *help;
    enum metric_merge merge;
    bool is_counter;
};
extern const struct metric_family metric_families[METRIC_N];

#define METRICS_BUCKETS 15
extern const int64_t metrics_bucket_us[METRICS_BUCKETS];

struct metrics_histogram {
    uint64_t bucket[METRICS_BUCKETS + 1];
    uint64_t sum_us;
};

/* A count by words that are few and not known beforehand.  What finds no row any more is counted in the last one. */
#define METRICS_ROWS 256u
#define METRICS_WORD 64
struct metrics_row {
    char a[METRICS_WORD], b[METRICS_WORD];
    int c;
    uint64_t n;
};
struct metrics_rows {
    _Atomic uint32_t n; /* raised when the row is whole */
    struct metrics_row row[METRICS_ROWS];
};

/* Gauges by provider, as last published. */
#define METRICS_PROVIDERS 64u
struct metrics_upstream {
    char name[METRICS_WORD];
    double value[METRIC_UPSTREAM_PAUSED - METRIC_UPSTREAM_UP + 1];
};

/* What all SMTP listeners of a worker count by words. */
enum { METRICS_LOGIN_OK, METRICS_LOGIN_WRONG, METRICS_LOGIN_THROTTLED, METRICS_LOGINS };
struct metrics_smtp {
    uint64_t faults[SMTP_PROTO_FAULT_COUNT], logins[METRICS_LOGINS];
    uint64_t handshakes[2]; /* failed, done */
};

struct metrics_slab {
    uint64_t decisions[OUTCOME_N][REASON_N][CLASS_N][CHANNEL_N];
    uint64_t would_have[OUTCOME_N];
    uint64_t shadow[RULE_N][OUTCOME_N];
    uint64_t violations[RULE_N][LEVEL_HARD + 1][CLASS_N][2];
    uint64_t degraded[CLASS_N];
    uint64_t opt_outs[SCOPE_N][SOURCE_N];
    uint64_t reloads[2]; /* refused, applied */
    uint64_t keys[KEY_ANSWERED + 1];
    struct metrics_histogram stages[STAGE_N];
    struct metrics_rows results, faults, releases;

    double value[METRIC_N];  /* families of one figure */
    double before[METRIC_N]; /* of counters that a part keeps: what earlier workers of this slab had come to */
    uint64_t http_faults[HTTP_FAULT_COUNT], http_faults_before[HTTP_FAULT_COUNT];
    struct metrics_smtp smtp, smtp_before;
    _Atomic uint32_t n_upstreams;
    struct metrics_upstream upstreams[METRICS_PROVIDERS];
};

struct metrics_board {
    size_t n;     /* workers */
    size_t bytes; /* mapped */
    struct {
        _Atomic bool up;
        _Atomic uint64_t restarts;
    } worker[METRICS_WORKERS_MAX];
    struct metrics_slab slabs[];
};

struct metrics {
    struct metrics_slab *slab; /* this worker's */
    struct metrics_board *board;
    struct metrics_board *own; /* of a process without workers, else NULL */
};

/* The row of these words; a new one begins at 0, so that Prometheus sees its first increment. */
struct metrics_row *metrics_row_of(struct metrics_rows *r, const char *a, const char *b, int c);

/* Families of one figure that a part of the gateway knows, into the slab. */
void metrics_sample(struct metrics_slab *slab, const struct gateway *g);

#endif

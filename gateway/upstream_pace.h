/*
 * May the next request go to this provider now?  Breaker, token bucket, pause
 * and concurrency as one plain struct.  Pure: no clock, no memory, no I/O; time
 * is the monotonic clock, given by the caller.
 *
 * A normal case: admit gives PACE_GO and a ticket, the request ends, done(ticket,
 * PACE_GOOD).  A bad one: the fifth PACE_BAD in a row opens the breaker; admit
 * says PACE_OPEN for open_ms, then lets one request through as a probe; the
 * probe's end closes the breaker or opens it again.  Requests that were under
 * way when the breaker changed carry an old ticket and no longer move it.
 */
#ifndef POSTERN_UPSTREAM_PACE_H
#define POSTERN_UPSTREAM_PACE_H

#include "postern/base.h"

/* Zero in a field takes the default. */
struct upstream_pace_options {
    uint32_t max_concurrency;  /* requests under way at once; 64 */
    uint32_t rate_per_s;       /* sustained; 0: not paced */
    uint32_t burst;            /* tokens that can pile up; rate_per_s */
    uint32_t breaker_failures; /* in a row, that open the breaker; 5 */
    int64_t breaker_open_ms;   /* until a probe; 1000 */
    int64_t max_pause_ms;      /* the longest that a provider can make us pause; 300000 */
};

enum upstream_breaker { UPSTREAM_BREAKER_CLOSED = 0, UPSTREAM_BREAKER_OPEN, UPSTREAM_BREAKER_HALF_OPEN };

enum upstream_pace_verdict {
    PACE_GO,     /* counted as under way; upstream_pace_done() is owed */
    PACE_BUSY,   /* all slots taken: ask again when one ends */
    PACE_WAIT,   /* no token yet: ask again after *wait_ms */
    PACE_PAUSED, /* the provider asked for a pause of *wait_ms more */
    PACE_OPEN    /* the breaker is open, or its probe is out: *wait_ms more, or so */
};

enum upstream_pace_end {
    PACE_GOOD,   /* the provider answered, and not with 5xx */
    PACE_BAD,    /* no answer, or 5xx */
    PACE_NEITHER /* cancelled by us: says nothing about the provider */
};

struct upstream_pace {
    struct upstream_pace_options opt;
    enum upstream_breaker breaker;
    uint32_t ticket;   /* of the present breaker period */
    uint32_t failures; /* in a row; closed only */
    bool probing;      /* half-open only: the probe is out */
    uint32_t in_flight;
    int64_t open_until_ms;   /* open only */
    int64_t paused_until_ms; /* 0: never paused */
    int64_t tokens_milli;    /* thousandths of a token */
    int64_t filled_ms;       /* when tokens_milli was right */
};

void upstream_pace_init(struct upstream_pace *pace, const struct upstream_pace_options *opt, int64_t mono_ms);
/* Fills *ticket on PACE_GO and *wait_ms on PACE_WAIT, PACE_PAUSED, PACE_OPEN. */
enum upstream_pace_verdict upstream_pace_admit(struct upstream_pace *pace, int64_t mono_ms, uint32_t *ticket,
                                               int64_t *wait_ms);
void upstream_pace_done(struct upstream_pace *pace, uint32_t ticket, enum upstream_pace_end end, int64_t mono_ms);
/* The provider asked for ms of silence: bounded by max_pause_ms, never shortens a pause. */
void upstream_pace_pause(struct upstream_pace *pace, int64_t ms, int64_t mono_ms);

#endif

/*
 * Does the wall clock run, or does it jump?  Pure: it is told both clocks.  A jump is a change of their difference
 * by more than CLOCK_JUMP_MS between two looks; what NTP slews is not seen.  After one nobody knows which time is
 * right, so what waits for a time is held: until the clock is back where it was, or has run evenly for
 * CLOCK_HOLD_MS, longer than NTP takes to step it back (its first polls are 64 s apart).
 */
#ifndef GATEWAY_CLOCK_WATCH_H
#define GATEWAY_CLOCK_WATCH_H

#include "postern/base.h"

#define CLOCK_JUMP_MS INT64_C(30000)
#define CLOCK_HOLD_MS INT64_C(300000)

struct clock_watch {
    bool begun, held;
    int64_t skew_ms;    /* wall minus even clock at the last look */
    int64_t trusted_ms; /* the same, as it was before the jump */
    int64_t held_until_even_ms;
    int64_t jumped_ms; /* the last jump; < 0: back */
    uint64_t jumps;
};

enum clock_news { CLOCK_EVEN, CLOCK_JUMPED, CLOCK_SETTLED };

/* even_ms: a clock that never jumps, sleep of the machine included. */
enum clock_news clock_watch_look(struct clock_watch *w, int64_t wall_ms, int64_t even_ms);
/* Somebody set it on purpose: that is the time now. */
void clock_watch_trust(struct clock_watch *w);

#endif

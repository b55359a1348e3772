/*
 * Jumps of the wall clock.  Knows two numbers and no clock, so that a test can be
 * the clock.
 */
#include "clock_watch.h"

static bool far(int64_t a, int64_t b)
{
    int64_t d = a - b;
    return d > CLOCK_JUMP_MS || d < -CLOCK_JUMP_MS;
}

static enum clock_news settled(struct clock_watch *w)
{
    w->held = false;
    w->trusted_ms = w->skew_ms;
    return CLOCK_SETTLED;
}

enum clock_news clock_watch_look(struct clock_watch *w, int64_t wall_ms, int64_t even_ms)
{
    int64_t before_ms = w->skew_ms;

    w->skew_ms = wall_ms - even_ms;
    if (!w->begun) {
        w->begun = true;
        w->trusted_ms = w->skew_ms;
        return CLOCK_EVEN;
    }
    if (w->held && !far(w->skew_ms, w->trusted_ms))
        return settled(w);
    if (far(w->skew_ms, before_ms)) {
        w->jumped_ms = w->skew_ms - before_ms;
        w->jumps++;
        w->held = true;
        w->held_until_even_ms = even_ms + CLOCK_HOLD_MS;
        return CLOCK_JUMPED;
    }
    if (!w->held) {
        w->trusted_ms = w->skew_ms; /* slewed */
        return CLOCK_EVEN;
    }
    return even_ms >= w->held_until_even_ms ? settled(w) : CLOCK_EVEN;
}

void clock_watch_trust(struct clock_watch *w)
{
    w->begun = false;
    w->held = false;
}

/*
 * Breaker, pause, token bucket and slots of one provider: arithmetic on a plain
 * struct, tested by tables.  It must not know what a request is, nor the time.
 *
 * The idea: one place moves the breaker (breaker_move), and each move starts a
 * new ticket; an end that carries another ticket frees its slot and does no more.
 */
#include "upstream_pace.h"

#define TOKEN INT64_C(1000)

static void breaker_move(struct upstream_pace *pace, enum upstream_breaker to, int64_t mono_ms)
{
    pace->breaker = to;
    pace->ticket++;
    pace->failures = 0;
    pace->probing = false;
    pace->open_until_ms = to == UPSTREAM_BREAKER_OPEN ? mono_ms + pace->opt.breaker_open_ms : 0;
}

static void refill(struct upstream_pace *pace, int64_t mono_ms)
{
    int64_t full = pace->opt.burst * TOKEN;
    int64_t passed_ms = mono_ms - pace->filled_ms;
    pace->filled_ms = mono_ms;
    /* A rate per second is the same number of thousandths per ms; a bucket fills in full / rate ms. */
    if (passed_ms >= full / pace->opt.rate_per_s + 1)
        pace->tokens_milli = full;
    else
        pace->tokens_milli += passed_ms * pace->opt.rate_per_s;
    if (pace->tokens_milli > full)
        pace->tokens_milli = full;
}

/* How long until there is a token; 0: there is one, and it is taken. */
static int64_t token_wait_ms(struct upstream_pace *pace, int64_t mono_ms)
{
    if (pace->opt.rate_per_s == 0)
        return 0;
    refill(pace, mono_ms);
    if (pace->tokens_milli < TOKEN)
        return (TOKEN - pace->tokens_milli + pace->opt.rate_per_s - 1) / pace->opt.rate_per_s;
    pace->tokens_milli -= TOKEN;
    return 0;
}

void upstream_pace_init(struct upstream_pace *pace, const struct upstream_pace_options *opt, int64_t mono_ms)
{
    *pace = (struct upstream_pace){.opt = *opt, .filled_ms = mono_ms};
    struct upstream_pace_options *o = &pace->opt;
    if (o->max_concurrency == 0)
        o->max_concurrency = 64;
    if (o->burst == 0)
        o->burst = o->rate_per_s;
    if (o->breaker_failures == 0)
        o->breaker_failures = 5;
    if (o->breaker_open_ms <= 0)
        o->breaker_open_ms = 1000;
    if (o->max_pause_ms <= 0)
        o->max_pause_ms = 300000;
    pace->tokens_milli = o->burst * TOKEN;
}

enum upstream_pace_verdict upstream_pace_admit(struct upstream_pace *pace, int64_t mono_ms, uint32_t *ticket,
                                               int64_t *wait_ms)
{
    if (mono_ms < pace->paused_until_ms) {
        *wait_ms = pace->paused_until_ms - mono_ms;
        return PACE_PAUSED;
    }
    if (pace->breaker == UPSTREAM_BREAKER_OPEN) {
        if (mono_ms < pace->open_until_ms) {
            *wait_ms = pace->open_until_ms - mono_ms;
            return PACE_OPEN;
        }
        breaker_move(pace, UPSTREAM_BREAKER_HALF_OPEN, mono_ms);
    }
    if (pace->probing) {
        *wait_ms = pace->opt.breaker_open_ms;
        return PACE_OPEN;
    }
    if (pace->in_flight >= pace->opt.max_concurrency)
        return PACE_BUSY;
    *wait_ms = token_wait_ms(pace, mono_ms);
    if (*wait_ms > 0)
        return PACE_WAIT;
    pace->probing = pace->breaker == UPSTREAM_BREAKER_HALF_OPEN;
    pace->in_flight++;
    *ticket = pace->ticket;
    return PACE_GO;
}

void upstream_pace_done(struct upstream_pace *pace, uint32_t ticket, enum upstream_pace_end end, int64_t mono_ms)
{
    ensure(pace->in_flight > 0);
    pace->in_flight--;
    if (ticket != pace->ticket)
        return;
    bool was_probe = pace->probing;
    pace->probing = false;
    switch (end) {
    case PACE_NEITHER:
        break;
    case PACE_GOOD:
        pace->failures = 0;
        if (was_probe)
            breaker_move(pace, UPSTREAM_BREAKER_CLOSED, mono_ms);
        break;
    case PACE_BAD:
        if (was_probe || ++pace->failures >= pace->opt.breaker_failures)
            breaker_move(pace, UPSTREAM_BREAKER_OPEN, mono_ms);
        break;
    }
}

void upstream_pace_pause(struct upstream_pace *pace, int64_t ms, int64_t mono_ms)
{
    int64_t until_ms = mono_ms + (ms < pace->opt.max_pause_ms ? ms : pace->opt.max_pause_ms);
    if (until_ms > pace->paused_until_ms)
        pace->paused_until_ms = until_ms;
}

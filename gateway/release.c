/*
 * The queue of deferred messages.  It asks the store for what is due when
 * something is due, holds a lease on at most ACTIVE_MAX rows of a dialect, and sends
 * each through GATHER again.  A dialect whose provider is down gets one row a
 * second, to see whether it is back: what waits costs nothing meanwhile.
 *
 * Of several workers one releases; the others tell it what is due sooner than it
 * may know.
 */
#include "release.h"

#include <stdlib.h>

#include "bus.h"
#include "callback.h"
#include "postern/clock.h"
#include "postern/log.h"
#include "submission.h"

#define ACTIVE_MAX 64u
#define PROBE_MS   1000
#define HELD_BYTES (2 * (size_t)LIMIT_HTTP_BODY_BYTES + LIMIT_ARENA_BYTES) /* of a claim: the largest body fits */
#define TICK_MS    200 /* how late a due message may be noticed; the store is asked only when one is due */

/* What waits for one dialect's provider. */
struct lane {
    struct releaser *releaser;
    const struct connector *connector;
    int64_t next_due_ms;   /* wall clock; nothing is due before */
    int64_t probe_mono_ms; /* while the provider is down: the next row may try */
    bool claiming;
    size_t active;
    size_t held_bytes; /* of open claims: from half of HELD_BYTES on nothing more is taken */
};

struct releaser {
    struct gateway *g;
    bool elsewhere; /* another worker releases: next_due_ms is what it is still to be told */
    struct loop_task *tick;
    struct lane *lanes; /* as many as there are connectors */
    size_t n_lanes;
    struct clock_watch clock;
    bool draining;
};

struct claim;
struct releasing {
    struct claim *claim;
    const struct deferred *row;
};

/* One claim: its rows, their arena, and how many are still under way. */
struct claim {
    struct lane *lane;
    struct arena arena;
    struct store_deferred_claim request;
    size_t open;
    size_t counted_bytes;              /* in lane->held_bytes */
    struct releasing each[ACTIVE_MAX]; /* not of the arena: rows may have filled it */
};

static void claim_free(struct claim *c)
{
    c->lane->held_bytes -= c->counted_bytes;
    arena_clear(&c->arena);
    free(c);
}

static const char *end_word(enum deferred_state state)
{
    switch (state) {
    case DEFERRED_RELEASED:
        return "released";
    case DEFERRED_WAITING:
    case DEFERRED_PAUSED:
        return "deferred_again";
    case DEFERRED_ENDED:
        return "refused";
    case DEFERRED_DEAD:
        return "dead_letter";
    case DEFERRED_CANCELLED:
        return "cancelled";
    case DEFERRED_LEASED:
        return "interrupted";
    case DEFERRED_STATE_N:
        break;
    }
    never("a state");
}

static void on_released(struct gateway *g, enum deferred_state state, enum reason why, void *arg)
{
    struct releasing *one = arg;
    struct claim *c = one->claim;

    metrics_release(g->metrics, end_word(state));
    if (state == DEFERRED_RELEASED)
        callbacks_post(g->callbacks, one->row, KEPT_SENT, REASON_NONE);
    else if (state == DEFERRED_ENDED || state == DEFERRED_DEAD)
        callbacks_post(g->callbacks, one->row, KEPT_FAILED, why);
    c->lane->active--;
    if (--c->open == 0)
        claim_free(c);
}

static void on_claimed(enum err status, void *arg)
{
    struct claim *c = arg;
    struct lane *lane = c->lane;
    const struct store_deferred_claim *q = &c->request;

    lane->claiming = false;
    if (status != OK) {
        log_line(LOG_WARN, NULL, "release", "claim_failed", "status=%d", status);
        lane->next_due_ms = clock_wall_ms() + 1000;
        claim_free(c);
        return;
    }
    if (q->next_due_ms < lane->next_due_ms)
        lane->next_due_ms = q->next_due_ms;
    lane->active += q->n;
    lane->held_bytes += c->counted_bytes = c->arena.used_bytes;
    c->open = q->n;
    if (q->n == 0) {
        claim_free(c);
        return;
    }
    for (size_t i = 0, n = q->n; i < n; i++) {
        c->each[i] = (struct releasing){c, &q->rows[i]};
        submission_release(lane->releaser->g, &q->rows[i], on_released, &c->each[i]);
    }
}

static void claim(struct lane *lane, size_t max)
{
    struct claim *c = xcalloc(1, sizeof(*c));

    c->lane = lane;
    /* Bodies come along; rows that do not fit stay for the next claim. */
    arena_init(&c->arena, HELD_BYTES);
    c->request = (struct store_deferred_claim){
        .r = {.kind = STORE_DEFERRED_CLAIM, .cb = on_claimed, .arg = c},
        .arena = &c->arena,
        .dialect = slice_of(lane->connector->name),
        .now_ms = clock_wall_ms(),
        /* One process owns its store: a lease ends with its settling, or with the process (store_open gives
           it back).  A time limit would let a jump of the clock release a message twice. */
        .lease_until_ms = INT64_MAX,
        .max = max,
    };
    lane->claiming = true;
    lane->next_due_ms = INT64_MAX; /* releaser_notice may lower it while the store is asked */
    store_submit(lane->releaser->g->store, &c->request.r);
}

enum readiness { PROVIDER_PAUSED, PROVIDER_BROKEN, PROVIDER_READY };

static enum readiness readiness(const struct lane *lane)
{
    const struct conf *conf = lane->releaser->g->conf;
    const struct conf_provider *p = conf_route(conf, lane->connector);
    struct upstream_state state;

    if (p == NULL)
        return PROVIDER_PAUSED; /* until there is a route again */
    if (p->connector == NULL)
        return PROVIDER_READY;
    upstream_state(confs_upstream(conf, p), &state);
    if (state.paused_ms > 0)
        return PROVIDER_PAUSED;
    return state.breaker == UPSTREAM_BREAKER_CLOSED ? PROVIDER_READY : PROVIDER_BROKEN;
}

/* How many rows may try now. */
static size_t room(struct lane *lane)
{
    switch (readiness(lane)) {
    case PROVIDER_READY:
        return ACTIVE_MAX - lane->active;
    case PROVIDER_PAUSED:
        return 0;
    case PROVIDER_BROKEN:
        break;
    }
    if (lane->active > 0 || clock_mono_ms() < lane->probe_mono_ms)
        return 0;
    lane->probe_mono_ms = clock_mono_ms() + PROBE_MS;
    return 1;
}

/* After a jump of the wall clock nobody knows what is due: false, until it can be trusted again. */
static bool clock_is_good(struct releaser *r, int64_t now_ms)
{
    switch (clock_watch_look(&r->clock, now_ms, clock_boot_ms())) {
    case CLOCK_EVEN:
        break;
    case CLOCK_JUMPED:
        log_line(LOG_ERROR_, NULL, "release", "clock_jumped", "by_ms=%lld then=\"releases are held for %lld s\"",
                 (long long)r->clock.jumped_ms, (long long)CLOCK_HOLD_MS / 1000);
        break;
    case CLOCK_SETTLED:
        log_line(LOG_WARN, NULL, "release", "clock_settled", "then=\"releases go on\"");
        for (size_t i = 0; i < r->n_lanes; i++)
            r->lanes[i].next_due_ms = 0;
        break;
    }
    return !r->clock.held;
}

static void look(struct releaser *r)
{
    int64_t now_ms = clock_wall_ms();

    if (!clock_is_good(r, now_ms))
        return;
    for (size_t i = 0; i < r->n_lanes && !r->draining; i++) {
        struct lane *lane = &r->lanes[i];
        bool may = !lane->claiming && now_ms >= lane->next_due_ms && lane->held_bytes < HELD_BYTES / 2;
        size_t n = may ? room(lane) : 0;
        if (n > 0)
            claim(lane, n);
    }
}

static void on_tick(void *arg)
{
    struct releaser *r = arg;
    r->tick = loop_after(r->g->loop, TICK_MS, on_tick, r);
    look(r);
}

struct releaser *releaser_new(struct gateway *g)
{
    struct releaser *r = xcalloc(1, sizeof(*r));
    r->g = g;
    r->elsewhere = g->worker != STORE_RELEASING_OWNER;
    while (connectors[r->n_lanes] != NULL)
        r->n_lanes++;
    r->lanes = xcalloc(r->n_lanes, sizeof(*r->lanes));
    for (size_t i = 0; i < r->n_lanes; i++)
        r->lanes[i] =
            (struct lane){.releaser = r, .connector = connectors[i], .next_due_ms = r->elsewhere ? INT64_MAX : 0};
    if (!r->elsewhere)
        r->tick = loop_after(g->loop, 0, on_tick, r);
    return r;
}

void releaser_free(struct releaser **rp)
{
    struct releaser *r = take(rp);
    if (r == NULL)
        return;
    loop_cancel(&r->tick);
    free(r->lanes);
    free(r);
}

/* What a turn kept is told once, at its end. */
static void on_tell(void *arg)
{
    struct releaser *r = arg;

    r->tick = NULL;
    for (size_t i = 0; i < r->n_lanes; i++) {
        struct bus_due due = {.at_ms = r->lanes[i].next_due_ms, .nth = (int32_t)i};
        if (due.at_ms != INT64_MAX)
            bus_due(r->g->bus, &due);
        r->lanes[i].next_due_ms = INT64_MAX;
    }
}

void releaser_notice_nth(struct releaser *r, int32_t nth, int64_t release_at_ms)
{
    if (nth < 0 || (size_t)nth >= r->n_lanes)
        return;
    if (release_at_ms < r->lanes[nth].next_due_ms)
        r->lanes[nth].next_due_ms = release_at_ms;
    if (r->elsewhere && r->tick == NULL)
        r->tick = loop_defer(r->g->loop, on_tell, r);
}

void releaser_notice(struct releaser *r, const struct connector *c, int64_t release_at_ms)
{
    for (size_t i = 0; i < r->n_lanes; i++) {
        if (r->lanes[i].connector == c)
            releaser_notice_nth(r, (int32_t)i, release_at_ms);
    }
}

void releaser_wake(struct releaser *r)
{
    if (r->elsewhere) {
        bus_due(r->g->bus, &(struct bus_due){.any = 1});
        return;
    }
    for (size_t i = 0; i < r->n_lanes; i++)
        r->lanes[i].next_due_ms = 0;
    look(r);
}

void releaser_clock_set(struct releaser *r)
{
    clock_watch_trust(&r->clock);
    releaser_wake(r);
}

const struct clock_watch *releaser_clock(const struct releaser *r)
{
    return &r->clock;
}

void releaser_drain(struct releaser *r)
{
    r->draining = true;
}

size_t releaser_active(const struct releaser *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_lanes; i++)
        n += r->lanes[i].active + (r->lanes[i].claiming ? 1 : 0);
    return n;
}

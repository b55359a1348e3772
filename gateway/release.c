/*
 * The queue of deferred messages.  It asks the store for what is due when
 * something is due, holds a lease on at most ACTIVE_MAX rows, and sends each
 * through GATHER again.
 */
#include "release.h"

#include <stdlib.h>

#include "callback.h"
#include "postern/clock.h"
#include "postern/log.h"
#include "submission.h"

#define ACTIVE_MAX 64u
#define TICK_MS    200 /* how late a due message may be noticed; the store is asked only when one is due */

struct releaser {
    struct gateway *g;
    struct loop_task *tick;
    int64_t next_due_ms; /* wall clock; nothing is due before */
    bool claiming;
    bool draining;
    size_t active;
};

/* One claim: its rows, their arena, and how many are still under way. */
struct claim {
    struct releaser *releaser;
    struct arena arena;
    struct store_deferred_claim request;
    size_t open;
};

struct releasing {
    struct claim *claim;
    const struct deferred *row;
};

static void claim_free(struct claim *c)
{
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

static void on_released(struct gateway *g, enum deferred_state state, void *arg)
{
    struct releasing *one = arg;
    struct claim *c = one->claim;

    metrics_release(g->metrics, end_word(state));
    if (state == DEFERRED_RELEASED)
        callbacks_post(g->callbacks, one->row, KEPT_SENT, "");
    else if (state == DEFERRED_ENDED || state == DEFERRED_DEAD)
        callbacks_post(g->callbacks, one->row, KEPT_FAILED, "30610");
    c->releaser->active--;
    if (--c->open == 0)
        claim_free(c);
}

static void on_claimed(enum err status, void *arg)
{
    struct claim *c = arg;
    struct releaser *r = c->releaser;
    const struct store_deferred_claim *q = &c->request;

    r->claiming = false;
    if (status != OK) {
        log_line(LOG_WARN, NULL, "release", "claim_failed", "status=%d", status);
        r->next_due_ms = clock_wall_ms() + 1000;
        claim_free(c);
        return;
    }
    r->next_due_ms = q->n == q->max ? 0 : q->next_due_ms < r->next_due_ms ? q->next_due_ms : r->next_due_ms;
    r->active += q->n;
    c->open = q->n;
    if (q->n == 0) {
        claim_free(c);
        return;
    }
    struct releasing *each = arena_calloc(&c->arena, q->n, sizeof(*each));
    ensure(each != NULL);
    for (size_t i = 0, n = q->n; i < n; i++) {
        each[i] = (struct releasing){c, &q->rows[i]};
        submission_release(r->g, &q->rows[i], on_released, &each[i]);
    }
}

static void look(struct releaser *r)
{
    int64_t now_ms = clock_wall_ms();

    if (r->draining || r->claiming || r->active >= ACTIVE_MAX || now_ms < r->next_due_ms)
        return;
    struct claim *c = xcalloc(1, sizeof(*c));
    c->releaser = r;
    /* Bodies come along: bounded by the number of rows and the largest body, not by a submission's budget. */
    arena_init(&c->arena, SIZE_MAX);
    c->request = (struct store_deferred_claim){
        .r = {.kind = STORE_DEFERRED_CLAIM, .cb = on_claimed, .arg = c},
        .arena = &c->arena,
        .now_ms = now_ms,
        /* One process owns its store: a lease ends with its settling, or with the process (store_open gives
           it back).  A time limit would let a jump of the clock release a message twice. */
        .lease_until_ms = INT64_MAX,
        .max = ACTIVE_MAX - r->active,
    };
    r->claiming = true;
    r->next_due_ms = INT64_MAX; /* releaser_notice may lower it while the store is asked */
    store_submit(r->g->store, &c->request.r);
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
    r->tick = loop_after(g->loop, 0, on_tick, r);
    return r;
}

void releaser_free(struct releaser **rp)
{
    struct releaser *r = take(rp);
    if (r == NULL)
        return;
    loop_cancel(&r->tick);
    free(r);
}

void releaser_notice(struct releaser *r, int64_t release_at_ms)
{
    if (release_at_ms < r->next_due_ms)
        r->next_due_ms = release_at_ms;
}

void releaser_wake(struct releaser *r)
{
    r->next_due_ms = 0;
    look(r);
}

void releaser_drain(struct releaser *r)
{
    r->draining = true;
}

size_t releaser_active(const struct releaser *r)
{
    return r->active + (r->claiming ? 1 : 0);
}

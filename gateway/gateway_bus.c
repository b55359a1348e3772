/*
 * What the other workers, or the parent, ask of this gateway (bus.h): opt-outs, clocks, due messages, a drain, another
 * configuration.  Does none of it itself: each line goes to the part whose work it is.
 */
#include "gateway_parts.h"

#include <stdio.h>

#include "postern/clock.h"
#include "release.h"
#include "reload.h"
#include "revocation.h"

static void on_changed(void *arg, const uint64_t *hashes, size_t n)
{
    revocation_here(arg, hashes, n);
}

static void on_clock(void *arg, int64_t now_ms)
{
    struct gateway *g = arg;

    clock_set(now_ms);
    if (g->worker == STORE_RELEASING_OWNER)
        releaser_clock_set(g->releaser);
}

static void on_due(void *arg, const struct bus_due *due)
{
    struct gateway *g = arg;

    if (due->any)
        releaser_wake(g->releaser);
    else
        releaser_notice_nth(g->releaser, due->nth, due->at_ms);
}

static void on_drain(void *arg, bool at_once)
{
    gateway_drain(arg, at_once);
}

static void on_reload_ready(enum err status, const struct errmsg *e, void *arg)
{
    struct gateway *g = arg;
    bus_reloaded(g->bus, g->reload_id, status == OK ? NULL : e->text);
}

static void on_reload(void *arg, uint64_t id, struct slice bytes)
{
    struct gateway *g = arg;

    g->reload_id = id;
    if (reload_prepare(g->reload, bytes, on_reload_ready, g) != OK)
        bus_reloaded(g->bus, id, "another reload is under way, or this worker ends");
}

static void on_reload_end(void *arg, struct slice why)
{
    struct gateway *g = arg;
    char text[sizeof(((struct errmsg *)0)->text)];

    snprintf(text, sizeof(text), "%.*s", SLICE_ARG(why));
    if (why.n == 0)
        reload_commit(g->reload);
    else
        reload_abandon(g->reload, text);
}

static int64_t stuck_ms(void *arg)
{
    const struct gateway *g = arg;
    int64_t oldest_ms;

    ignore(store_backlog(g->store, &oldest_ms)); /* how many does not matter */
    return oldest_ms;
}

const struct bus_user gateway_bus_user = {
    .changed = on_changed,
    .clock = on_clock,
    .due = on_due,
    .drain = on_drain,
    .reload = on_reload,
    .reload_end = on_reload_end,
    .stuck_ms = stuck_ms,
};

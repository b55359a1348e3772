/*
 * The connections of a pool to one relay: which is taken next, how long one stays,
 * how many there may be.  It must not know what is said on them.
 *
 * The idea: one list, those that are ready before all others, the last used
 * first: so the ones that are not needed grow old, and a sweep closes them.
 */
#include "upstream_smtp_parts.h"

#include <stdlib.h>

#include "loop.h"
#include "postern/clock.h"

static void unlink_connection(struct smtp_connection *c)
{
    struct upstream_pool *pool = c->pool;
    if (c->prev)
        c->prev->next = c->next;
    else
        pool->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    else
        pool->last = c->prev;
    c->prev = c->next = NULL;
}

static void link_first(struct smtp_connection *c)
{
    struct upstream_pool *pool = c->pool;
    c->next = pool->first;
    if (c->next)
        c->next->prev = c;
    else
        pool->last = c;
    pool->first = c;
}

static void link_last(struct smtp_connection *c)
{
    struct upstream_pool *pool = c->pool;
    c->prev = pool->last;
    if (c->prev)
        c->prev->next = c;
    else
        pool->first = c;
    pool->last = c;
}

void upstream_smtp_free(struct smtp_connection *c)
{
    unlink_connection(c);
    c->pool->n_connections--;
    upstream_link_free(&c->link);
    free(c);
}

void upstream_smtp_say_last(struct smtp_connection *c)
{
    size_t n;
    if (c->client.out.n > 0 && c->up && !c->deaf)
        ignore(upstream_link_send(c->link, c->client.out, &n));
}

void upstream_smtp_close(struct smtp_connection *c)
{
    struct slice none = {0};
    if (c->is_ready) {
        smtp_client_quit(&c->client);
        ensure(smtp_client_step(&c->client, &none) == SMTP_CLIENT_CLOSED);
        upstream_smtp_say_last(c);
    }
    upstream_smtp_free(c);
}

static void on_sweep(void *arg);

static void sweep_after(struct upstream_pool *pool, int64_t ms)
{
    if (!pool->sweep)
        pool->sweep = loop_after(pool->loop, ms, on_sweep, pool);
}

/* Those without a transfer do not stay for long, nor do those that cannot be tidied up. */
static void on_sweep(void *arg)
{
    struct upstream_pool *pool = arg;
    int64_t now_ms = clock_mono_ms(), next_ms = pool->idle_ms;
    bool left = false;
    pool->sweep = NULL;
    for (struct smtp_connection *c = pool->first, *next; c; c = next) {
        next = c->next;
        int64_t age_ms = now_ms - c->let_go_ms;
        if (c->transfer)
            continue;
        if (age_ms >= pool->idle_ms) {
            upstream_smtp_close(c);
            continue;
        }
        left = true;
        next_ms = pool->idle_ms - age_ms < next_ms ? pool->idle_ms - age_ms : next_ms;
    }
    if (left)
        sweep_after(pool, next_ms);
}

void upstream_smtp_let_go(struct smtp_connection *c)
{
    c->transfer = NULL;
    c->let_go_ms = clock_mono_ms();
    sweep_after(c->pool, c->pool->idle_ms);
}

void upstream_smtp_set_ready(struct smtp_connection *c, bool ready)
{
    c->is_ready = ready;
    unlink_connection(c);
    if (ready)
        link_first(c);
    else
        link_last(c);
}

/* Whether it is still open shows when it is used. */
struct smtp_connection *upstream_smtp_take_ready(const struct upstream_pool *pool)
{
    return pool->first && pool->first->is_ready ? pool->first : NULL;
}

/* No more connections than transfers may be under way: one that is tidied up makes room. */
static void make_room(struct upstream_pool *pool)
{
    struct smtp_connection *c = pool->last;
    if (pool->n_connections < pool->max_transfers)
        return;
    while (c && c->transfer)
        c = c->prev;
    ensure(c);
    upstream_smtp_close(c);
}

struct smtp_connection *upstream_smtp_dial(struct upstream_pool *pool)
{
    make_room(pool);
    struct smtp_connection *c = xcalloc(1, sizeof *c);
    c->pool = pool;
    smtp_client_init(&c->client, &pool->options);
    c->link = upstream_link_dial(pool->links, upstream_smtp_on_link, c);
    pool->n_connections++;
    link_last(c);
    return c;
}

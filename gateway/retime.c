/*
 * Walks what waits: a page is read by the store, computed here, where the zones
 * are, and written back in one small transaction, then the next page.  A row that
 * changes meanwhile is left alone by the store; one that is due already is left
 * alone here.
 */
#include "retime.h"

#include <stdlib.h>

#include "postern/clock.h"
#include "postern/local_rule.h"
#include "postern/log.h"
#include "postern/zone.h"
#include "release.h"

#define PAGE 256

struct walk {
    struct gateway *g;
    const struct zone *zone; /* NULL: each row's own */
    char *contact_id;        /* NULL: everybody's */
    struct arena arena;      /* of the page */
    struct store_deferred_list list;
    struct store_deferred_retime retime;
    struct deferred_retime rows[PAGE];
    size_t changed;
};

static void on_page(enum err status, void *arg);

static void walk_end(struct walk *w)
{
    if (w->changed > 0)
        log_line(LOG_INFO, NULL, "retime", "recomputed", "messages=%zu tzdata=%s", w->changed, zone_data_version());
    arena_clear(&w->arena);
    free(w->contact_id);
    free(w);
}

static void next_page(struct walk *w, uint64_t after_id)
{
    arena_clear(&w->arena);
    arena_init(&w->arena, LIMIT_ARENA_BYTES);
    w->list = (struct store_deferred_list){
        .r = {.kind = STORE_DEFERRED_LIST, .cb = on_page, .arg = w},
        .arena = &w->arena,
        .contact_id = slice_of(w->contact_id),
        .states = 1u << DEFERRED_WAITING | 1u << DEFERRED_PAUSED,
        .after_id = after_id,
        .max = PAGE,
    };
    store_submit(w->g->store, &w->list.r);
}

/* More than a page is behind it only when it was full. */
static void page_done(struct walk *w)
{
    if (w->list.n < PAGE || w->g->draining)
        walk_end(w);
    else
        next_page(w, w->list.rows[w->list.n - 1].id);
}

static void on_written(enum err status, void *arg)
{
    struct walk *w = arg;

    if (status != OK) {
        log_line(LOG_WARN, NULL, "retime", "not_written", "status=%d", status);
        walk_end(w);
        return;
    }
    w->changed += w->retime.changed;
    metrics_retimed(w->g->metrics, w->retime.changed);
    for (size_t i = 0; i < w->retime.n; i++) {
        for (size_t k = 0; connectors[k] != NULL; k++)
            releaser_notice(w->g->releaser, connectors[k], w->rows[i].to_ms);
    }
    page_done(w);
}

/* False: it waits for no local time, is due already, or nothing changes. */
static bool recompute(struct walk *w, const struct deferred *d, int64_t now_ms, struct deferred_retime *out)
{
    struct local_rule rule;
    char text[LOCAL_RULE_MAX];

    if ((d->kind != DEFERRED_TIMED && d->kind != DEFERRED_DIGEST) || d->release_at_ms <= now_ms ||
        !local_rule_parse(d->local_rule, &rule))
        return false;
    const struct zone *z = w->zone != NULL ? w->zone : zone_get(rule.zone);
    if (z == NULL)
        return false;
    *out = (struct deferred_retime){.id = d->id, .from_ms = d->release_at_ms, .to_ms = local_rule_at_ms(&rule, z)};
    if (strcmp(rule.zone, z->name) != 0)
        out->local_rule = arena_slice(&w->arena, slice_of(local_rule_format(z, out->to_ms, false, text)));
    return out->to_ms != out->from_ms || out->local_rule.n > 0;
}

static void on_page(enum err status, void *arg)
{
    struct walk *w = arg;
    int64_t now_ms = clock_wall_ms();
    size_t n = 0;

    if (status != OK) {
        log_line(LOG_WARN, NULL, "retime", "not_read", "status=%d", status);
        walk_end(w);
        return;
    }
    for (size_t i = 0; i < w->list.n; i++)
        n += recompute(w, &w->list.rows[i], now_ms, &w->rows[n]);
    if (n == 0) {
        page_done(w);
        return;
    }
    w->retime = (struct store_deferred_retime){
        .r = {.kind = STORE_DEFERRED_RETIME, .cb = on_written, .arg = w},
        .rows = w->rows,
        .n = n,
        .now_ms = now_ms,
    };
    store_submit(w->g->store, &w->retime.r);
}

static struct walk *walk_new(struct gateway *g)
{
    struct walk *w = xcalloc(1, sizeof(*w));
    w->g = g;
    arena_init(&w->arena, LIMIT_ARENA_BYTES);
    return w;
}

void retime_all(struct gateway *g)
{
    next_page(walk_new(g), 0);
}

void retime_contact(struct gateway *g, struct slice contact_id, const struct zone *zone)
{
    struct walk *w = walk_new(g);
    w->contact_id = xstrndup(contact_id.p, contact_id.n);
    w->zone = zone;
    next_page(w, 0);
}

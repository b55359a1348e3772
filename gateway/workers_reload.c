/*
 * SIGHUP in the parent: one file, read once, for all workers or for none.  What a configuration means is conf.c's, what
 * a worker does with it reload.c's.  The one idea: each worker makes ready first; only when all are does any change.
 */
#include "workers_parts.h"

#include <stdio.h>

#include "postern/clock.h"
#include "postern/log.h"

/* why: NULL: all are ready. */
static void reload_end(struct workers *ws, const char *why)
{
    bool again = ws->reload.again;

    if (why != NULL) {
        log_line(LOG_ERROR_, NULL, "workers", "reload_refused", "why=%s", LOG_Q(slice_of(why)));
        conf_free(&ws->reload.fresh);
    } else {
        conf_free(&ws->conf);
        ws->conf = take(&ws->reload.fresh);
        log_set_level((enum log_level)ws->conf->log_level);
        log_line(LOG_INFO, NULL, "workers", "reload_applied", "policy=%08x", ws->conf->policy.version);
    }
    workers_send_all(ws, BUS_RELOAD_END, slice_of(why));
    ws->reload = (struct reloading){.id = ws->reload.id};
    if (again && !ws->draining)
        workers_reload(ws);
}

void workers_reload(struct workers *ws)
{
    struct errmsg e;
    size_t n = 0;

    if (ws->reload.fresh != NULL) {
        ws->reload.again = true;
        return;
    }
    char *bytes = conf_bytes_read(ws->conf->path, &n, &e);
    if (bytes != NULL)
        ws->reload.fresh = conf_load_bytes(ws->conf->path, (struct slice){bytes, n}, ws->conf, &e);
    if (ws->reload.fresh == NULL) {
        conf_bytes_free(&bytes, n);
        reload_end(ws, e.text);
        return;
    }
    ws->reload.id++;
    ws->reload.until_mono_ms = clock_mono_ms() + WORKERS_START_MS;
    for (size_t i = 0; i < ws->n; i++) {
        if (ws->worker[i].pipe == NULL)
            continue;
        ws->reload.awaited |= UINT64_C(1) << i;
        workers_send(&ws->worker[i], BUS_RELOAD, ws->reload.id, (struct slice){bytes, n});
    }
    conf_bytes_free(&bytes, n);
    if (ws->reload.awaited == 0)
        reload_end(ws, NULL);
}

void workers_reload_ready(struct workers *ws, const struct worker *w)
{
    if (ws->reload.fresh == NULL)
        return;
    ws->reload.awaited &= ~(UINT64_C(1) << w->n);
    if (ws->reload.awaited == 0)
        reload_end(ws, NULL);
}

void workers_reload_answered(struct workers *ws, const struct worker *by, const struct bus_message *m)
{
    char why[256];

    if (ws->reload.fresh == NULL || m->id != ws->reload.id)
        return;
    snprintf(why, sizeof(why), "%.*s", SLICE_ARG(m->body));
    if (m->body.n > 0)
        reload_end(ws, why);
    else
        workers_reload_ready(ws, by);
}

void workers_reload_look(struct workers *ws)
{
    if (ws->reload.fresh != NULL && clock_mono_ms() >= ws->reload.until_mono_ms)
        reload_end(ws, "a worker does not answer");
}

/*
 * What the parent tells its workers: a line to one or to all, and changes (an opt-out, a clock) that all apply before
 * their origin hears that they are in force.  Reads nothing, starts nobody.  The one idea: nobody waits for ever, for
 * who is dead or has no lease counts as one that has applied it; it sends nothing before it has read it.
 */
#include "workers_parts.h"

#include <stdlib.h>

#include "postern/clock.h"
#include "postern/log.h"

void workers_kill(struct worker *w, const char *why)
{
    if (w->pid == 0 || w->killed != NULL)
        return;
    w->killed = why;
    kill(w->pid, SIGKILL);
}

void workers_lost(struct worker *w)
{
    if (w->lost_mono_ms == 0)
        w->lost_mono_ms = clock_mono_ms();
}

void workers_send(struct worker *w, enum bus_kind kind, uint64_t id, struct slice body)
{
    if (w->pipe == NULL || bus_pipe_send(w->pipe, &(struct bus_message){kind, id, body}))
        return;
    if (bus_pipe_is_gone(w->pipe))
        workers_lost(w);
    else
        workers_kill(w, "does not read"); /* what it does not take it would miss: it starts anew instead */
}

void workers_send_all(struct workers *ws, enum bus_kind kind, struct slice body)
{
    for (size_t i = 0; i < ws->n; i++)
        workers_send(&ws->worker[i], kind, 0, body);
}

static void change_finish(struct workers *ws, struct change *c)
{
    struct change **at = &ws->changes;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    if (c->origin != NULL)
        workers_send(c->origin, BUS_IN_FORCE, c->origin_id, (struct slice){0});
    free(c);
}

void workers_change(struct workers *ws, struct worker *origin, const struct bus_message *m)
{
    struct change *c = xcalloc(1, sizeof(*c));

    *c = (struct change){.next = ws->changes, .id = ++ws->last_id, .origin = origin, .origin_id = m->id};
    ws->changes = c;
    for (size_t i = 0; i < ws->n; i++) {
        struct worker *w = &ws->worker[i];
        if (w == origin || w->pipe == NULL)
            continue;
        c->awaited |= UINT64_C(1) << i;
        workers_send(w, m->kind, c->id, m->body);
    }
    if (c->awaited == 0)
        change_finish(ws, c);
}

void workers_applied(struct workers *ws, const struct worker *by, uint64_t id)
{
    struct change *c = ws->changes;

    while (c != NULL && c->id != id)
        c = c->next;
    if (c == NULL)
        return;
    c->awaited &= ~(UINT64_C(1) << by->n);
    if (c->awaited == 0)
        change_finish(ws, c);
}

void workers_forget(struct workers *ws, struct worker *dead)
{
    struct change *next;

    for (struct change *c = ws->changes; c != NULL; c = next) {
        next = c->next;
        if (c->origin == dead)
            c->origin = NULL;
        workers_applied(ws, dead, c->id);
    }
}

void workers_fence(struct workers *ws, struct worker *w)
{
    struct change *next;

    for (struct change *c = ws->changes; c != NULL; c = next) {
        next = c->next;
        if ((c->awaited >> w->n & 1) != 0 && w->ready && !w->fenced) {
            w->fenced = true;
            log_line(LOG_WARN, NULL, "workers", "fenced", "worker=%u silent_ms=%lld", w->n,
                     (long long)(clock_mono_ms() - w->heard_mono_ms));
        }
        workers_applied(ws, w, c->id);
    }
}

void workers_end_changes(struct workers *ws)
{
    while (ws->changes != NULL)
        change_finish(ws, ws->changes);
}

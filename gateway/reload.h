/*
 * A configuration takes the place of another while the process runs, whole or not at all.
 *
 * A normal case: SIGHUP, reload_request(); a short-lived thread looks whether tzdata changed, another reads the file,
 * its secrets and its packs and compiles them; between two turns of the loop the new one is in force; who began under
 * the old one ends under it (confs.h).  A bad case: the file has a mistake: the old one stays in force, the log holds
 * the error with file, line and key, the metric says refused.
 *
 * Several processes behind one parent take two steps, so that all change or none: reload_prepare() in each, and when
 * all are ready reload_commit(), else reload_abandon().
 */
#ifndef GATEWAY_RELOAD_H
#define GATEWAY_RELOAD_H

#include "gateway.h"

struct reload;

struct reload *reload_new(struct gateway *g) NODISCARD;
/* Waits for its thread.  Accepts a pointer to NULL. */
void reload_free(struct reload **r);

/* Read the file again and change to it.  While that is under way: once more afterwards, however often it is asked. */
void reload_request(struct reload *r);

/*
 * Compile those bytes (copied; of the file that the process was started with) up to where nothing can fail any more.
 * cb: once, never before this returns; status OK: call reload_commit or reload_abandon next; else e says why not,
 * and reload_abandon counts it.
 * ERR_CONFLICT at once, and no cb: another reload is under way.
 */
typedef void reload_ready(enum err status, const struct errmsg *e, void *arg);
enum err reload_prepare(struct reload *r, struct slice bytes, reload_ready *cb, void *arg) NODISCARD;
void reload_commit(struct reload *r);
/* why: what hinders another process, or all; counted as refused, also when nothing was prepared. */
void reload_abandon(struct reload *r, const char *why);

struct reload_state {
    bool last_applied;        /* true at the start */
    int64_t configured_at_ms; /* wall clock: start, or the last that was applied */
    uint64_t zone_reloads;
};
struct reload_state reload_state(const struct reload *r);

#endif

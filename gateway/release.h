/*
 * The queue of deferred messages: takes what is due under a lease, a bounded
 * number at a time, and sends each through GATHER again.  Where there are workers
 * the first of them does, and the others tell it what they kept.
 */
#ifndef GATEWAY_RELEASE_H
#define GATEWAY_RELEASE_H

#include "clock_watch.h"
#include "gateway.h"

struct releaser *releaser_new(struct gateway *g);
void releaser_free(struct releaser **r);

/* Something of that dialect is due at release_at_ms: look then, if that is sooner than what is known. */
void releaser_notice(struct releaser *r, const struct connector *c, int64_t release_at_ms);
/* The same, from another worker: the dialect by its place among the connectors. */
void releaser_notice_nth(struct releaser *r, int32_t nth, int64_t release_at_ms);
/* Something may be due sooner than is known: look now. */
void releaser_wake(struct releaser *r);
/* The wall clock was set on purpose: no jump; look now. */
void releaser_clock_set(struct releaser *r);
/* What it has seen of the clock; held: nothing is released. */
const struct clock_watch *releaser_clock(const struct releaser *r);
/* Start nothing new. */
void releaser_drain(struct releaser *r);
/* Releases under way. */
size_t releaser_active(const struct releaser *r);

#endif

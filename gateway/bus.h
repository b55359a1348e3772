/*
 * What the workers of one parent tell each other, by way of it.  One code path for callers: without workers there is
 * nobody to tell, and the callback comes at the end of the turn.
 *
 * The heart of it is a lease.  A worker caches what it knows of people; a change is acknowledged to a client only when
 * no worker can send any more on the strength of what was known before: each has said that it dropped it, or its lease
 * has run out.  The lease runs from the instant at which the parent sent the last ping that was read here, by the
 * machine's monotonic clock, and whatever the parent sent before that ping was read before it.  So a worker that was
 * stopped finds its lease run out when it runs again, and gets a new one only behind the changes that it missed.
 *
 * Addresses do not travel: their hashes do, by a key that all workers inherit from their parent.
 */
#ifndef GATEWAY_BUS_H
#define GATEWAY_BUS_H

#include "postern/message.h"

struct loop;
struct bus;

#define BUS_LEASE_MS 1800 /* so that a change is acknowledged within 2 s, whoever does not answer */

/* A deferred message of the nth connector is due at at_ms; any: look at all of them now. */
struct bus_due {
    int64_t at_ms;
    int32_t nth;
    int32_t any;
};

/* What the gateway does when the parent or another worker says so; not called when the bus is freed. */
struct bus_user {
    /* Void, from the return on: what is known of addresses with these hashes (profiles_hash); n 0: of everybody. */
    void (*changed)(void *arg, const uint64_t *hashes, size_t n);
    void (*clock)(void *arg, int64_t now_ms);
    void (*due)(void *arg, const struct bus_due *due);
    void (*drain)(void *arg, bool at_once);
    /* A new configuration: make it ready, and say with bus_reloaded(id), now or later, whether it is. */
    void (*reload)(void *arg, uint64_t id, struct slice configuration);
    /* why empty: all are ready, put it in force; else the one before it stays, in all.  Also of a file that was refused
     * before anybody was asked. */
    void (*reload_end)(void *arg, struct slice why);
    /* How long the store has not answered, in ms. */
    int64_t (*stuck_ms)(void *arg);
};

/* fd: the worker's end, taken; -1: there are no workers.  user is kept. */
struct bus *bus_new(struct loop *loop, int fd, const struct bus_user *user, void *arg) NODISCARD;
void bus_free(struct bus **b);

/* Is there a parent, who gets the signals? */
bool bus_has_parent(const struct bus *b);

/* This worker serves: said once, before it takes its first request.  Waits for its first lease, 2 s at most. */
void bus_ready(struct bus *b);

/* May what is cached be relied on?  Ask before anything is decided by it, and again before a byte leaves. */
bool bus_fresh(const struct bus *b);

typedef void bus_cb(void *arg);
/*
 * Tell all others; cb (never before this returns, exactly once, not after bus_free) when the change is in force
 * everywhere, 2 s from now at the latest while the parent lives.  It is in force here already.
 */
void bus_changed(struct bus *b, const uint64_t *hashes, size_t n, bus_cb *cb, void *arg);
void bus_clock(struct bus *b, int64_t now_ms, bus_cb *cb, void *arg);
/* Nobody waits for this. */
void bus_due(struct bus *b, const struct bus_due *due);
/* why: NULL: the configuration of that reload could be put in force here. */
void bus_reloaded(struct bus *b, uint64_t id, const char *why);

#endif

/*
 * Frequency counters: who was sent what, when.  A slot is reserved over all
 * matching caps at once, all or nothing; committed when the provider accepts;
 * released when it does not; a reservation that is neither ends after
 * LIMIT_RESERVATION_MS.  Never the record: rebuilt from the store's log of sends.
 *
 * Embedded counters live in the process; others fill the same functions.
 */
#ifndef GATEWAY_COUNTERS_H
#define GATEWAY_COUNTERS_H

#include "postern/policy.h"
#include "postern/store.h"

struct loop;
struct counters;

/* Stable over restarts: of the contact's id, else of the folded address. */
uint64_t counters_contact_hash(const struct profile *p, const struct address *to);

struct counters *counters_new(struct loop *loop);
void counters_free(struct counters **c);
/* At start: one send of the log.  Order of time. */
void counters_rebuild(struct counters *c, const struct store_send *s);

/* What is asked of the counters for one message. */
struct counters_request {
    uint64_t contact_hash;
    const struct cap_check *checks; /* borrowed during the call */
    size_t n_checks;
    enum message_class class;
    enum channel channel;
    uint32_t category_id, subject_id;
    enum cap_counting counts; /* how this send will count, once committed */
    int64_t now_ms;
};

struct counters_answer {
    enum err status;      /* OK; ERR_UNAVAILABLE: the counters are down */
    bool reserved;        /* false: some cap is full: counts say which */
    uint64_t reservation; /* when reserved */
    size_t n_checks;
    const struct cap_count *counts; /* one a check; borrowed during the callback */
};
typedef void counters_cb(const struct counters_answer *answer, void *arg);

struct counters_op;
/* cb exactly once, never before this returns, not at all after the cancel (what it reserved is then released). */
struct counters_op *counters_reserve(struct counters *c, const struct counters_request *r, counters_cb *cb, void *arg);
/* Count without reserving (dry run, explain). */
struct counters_op *counters_peek(struct counters *c, const struct counters_request *r, counters_cb *cb, void *arg);
void counters_cancel(struct counters_op **op);

/* Twice, or after the reservation expired: commit counts it all the same (it was sent), release does nothing. */
void counters_commit(struct counters *c, uint64_t reservation, int64_t now_ms);
void counters_release(struct counters *c, uint64_t reservation);

struct counters_state {
    size_t contacts, entries, reservations, bytes;
};
struct counters_state counters_state(const struct counters *c);

#endif

/*
 * Frequency counters: who was sent what, when.  A slot is reserved over all
 * matching caps at once, all or nothing; committed when the provider accepts;
 * released when it does not; a reservation that is neither ends after
 * LIMIT_RESERVATION_MS.  Never the record: rebuilt from the store's log of sends.
 *
 * Embedded counters live in the process; Redis counters are shared by processes
 * and machines.  Both fill the same functions.
 *
 * A normal case: counters_reserve answers reserved; RECORD makes the intent durable;
 * counters_holds is asked in the turn of the first byte; counters_commit.
 * A bad case: the counters do not answer.  status is ERR_UNAVAILABLE and reservation
 * is given all the same: what is sent without having been counted is committed with
 * it, and counted when they are back.
 */
#ifndef GATEWAY_COUNTERS_H
#define GATEWAY_COUNTERS_H

#include "postern/policy.h"
#include "postern/store.h"

struct loop;
struct counters;

/* Stable over restarts: of the contact's id, else of the folded address. */
uint64_t counters_contact_hash(const struct profile *p, const struct address *to);

/* In the process. */
struct counters *counters_new(struct loop *loop);

struct counters_redis_options {
    const char *host; /* a name or an address */
    uint16_t port;
    int db;
    bool tls;                        /* verified, always */
    const char *ca_file;             /* or NULL: the system's */
    const char *username, *password; /* or NULL */
    int64_t deadline_ms;             /* of one command */
    struct store *store;             /* whose sends are this node's to count; must outlive the counters */
};
/* In Redis.  Starts without it, and is down until it answers.  NULL with the reason in e: the CA file, the store. */
struct counters *counters_redis_new(struct loop *loop, const struct counters_redis_options *o,
                                    struct errmsg *e) NODISCARD;
void counters_free(struct counters **c);
/* Embedded, at start: one send of the log.  Order of time. */
void counters_rebuild(struct counters *c, const struct store_send *s);

/* What is asked of the counters for one message. */
struct counters_request {
    uint64_t decision; /* names the send in the store's log; 0 when nothing is to be reserved */
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
    enum err status;                /* OK; ERR_UNAVAILABLE: the counters are down */
    bool reserved;                  /* false: some cap is full: counts say which */
    uint64_t reservation;           /* when reserved, or down: to be committed or released; else 0 */
    size_t n_checks;                /* 0 when reserved by Redis: nobody asks */
    const struct cap_count *counts; /* one a check; borrowed during the callback */
};
typedef void counters_cb(const struct counters_answer *answer, void *arg);

struct counters_op;
/* cb exactly once, never before this returns, not at all after the cancel (what it reserved is then released). */
struct counters_op *counters_reserve(struct counters *c, const struct counters_request *r, counters_cb *cb, void *arg);
/* Count without reserving (dry run, explain). */
struct counters_op *counters_peek(struct counters *c, const struct counters_request *r, counters_cb *cb, void *arg);
void counters_cancel(struct counters_op **op);

/*
 * May it be acted upon now?  False: what it was counted in is gone or too old, another send may have its slot;
 * release it and decide again.  True for what was never counted: it holds nothing.
 */
bool counters_holds(const struct counters *c, uint64_t reservation);
/* Twice, or after the reservation expired: commit counts it all the same (it was sent), release does nothing. */
void counters_commit(struct counters *c, uint64_t reservation, int64_t now_ms);
void counters_release(struct counters *c, uint64_t reservation);

struct counters_state {
    size_t contacts, entries, bytes; /* embedded only */
    size_t reservations;             /* of this process */
    bool up;                         /* they answer, and what they hold is whole */
    /* Redis only: */
    bool breaker_open; /* no connection that answers */
    bool older;        /* a Postern that counts in the format before is in it, and is waited for */
    bool may_evict;    /* its configuration lets it drop keys when memory is short */
    size_t kept;       /* commits and releases that wait for its return */
    size_t missing;    /* stores whose sends were not waited for when the counts went live */
    uint64_t rebuilds; /* epochs that this process saw begin */
    uint64_t losses;   /* and lost: flushed, evicted from, another server, given up */
    uint64_t commands, timeouts, failures;
    uint64_t evicted;    /* keys that the server says it evicted */
    int64_t commands_us; /* in all, of those that were answered */
};
struct counters_state counters_state(const struct counters *c);

#endif

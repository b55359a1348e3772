/*
 * What a backend of the store fills: synchronous functions, called by the store's
 * thread only (open before it starts, close after it ended; sends, identity and verify by any
 * thread, on a connection of their own).
 *
 * The thread calls begin, then for each request its function, then commit.  A
 * function that returns ERR_UNAVAILABLE has left a fault: the transaction cannot
 * go on.  Any other error is the request's own (not found, conflict, arena spent);
 * what it wrote is undone by undo when may_fail asked for a mark.
 */
#ifndef STORE_OPS_H
#define STORE_OPS_H

#include "postern/store.h"

struct backend;

enum store_fault {
    FAULT_NONE,
    FAULT_BUSY, /* somebody else holds the database, or memory is short: rolled back, the next batch may work */
    FAULT_FULL, /* the disk is full: rolled back cleanly */
    FAULT_FATAL /* an I/O error or damage: what is on the disk is not known any more */
};

/* What the loop thread is shown of the backend after each commit. */
struct store_figures {
    struct store_queue_depth depth;
    uint64_t audit_rows;
};

struct store_ops {
    const char *scheme; /* of the URL, with its colon */
    /* where: the URL after the scheme.  decision_base: the first decision id of this opening. */
    struct backend *(*open)(const struct store_options *o, struct slice where, uint64_t *decision_base,
                            struct errmsg *e);
    /* After a fatal fault, without touching the disk again. */
    void (*close)(struct backend **b);

    enum err (*begin)(struct backend *b, bool writes);
    enum err (*commit)(struct backend *b);
    void (*rollback)(struct backend *b);
    bool (*may_fail)(const struct store_request *r);
    enum err (*mark)(struct backend *b);
    enum err (*keep)(struct backend *b);
    enum err (*undo)(struct backend *b);
#define X(id, name) enum err (*name)(struct backend * b, struct store_##name * r);
    STORE_REQUESTS(X)
#undef X
    /* Upkeep after a commit; its callbacks are on their way already. */
    enum err (*tend)(struct backend *b);

    /* The fault since the last call, with its text; clears it. */
    enum store_fault (*fault)(struct backend *b, struct errmsg *why);
    void (*stop_writing)(struct backend *b);
    int64_t (*free_bytes)(struct backend *b); /* on the disk; INT64_MAX: not for us to know */
    struct store_figures (*figures)(struct backend *b);
    int (*lock)(struct slice where, struct errmsg *e); /* of the family of processes; -1 with the reason in e */
    struct slice (*secret)(struct backend *b);         /* the audit key */

    enum err (*sends)(struct backend *b, int64_t since_ms, void (*each)(const struct store_send *, void *arg),
                      void *arg);
    enum err (*identity)(struct backend *b, uint64_t *out);
    enum err (*history)(struct backend *b, int64_t since_ms, store_history_cb *each, void *arg);
    enum err (*profile_at)(struct backend *b, struct store_profile_at *r);
    enum err (*verify)(struct backend *b, void (*progress)(uint64_t rows, uint64_t total, void *arg), void *arg,
                       struct audit_verdict *out);
};

extern const struct store_ops sqlite_ops;

#endif

/*
 * The cache of profiles: bounded, compact, dropped at once when something
 * changes.  "Nobody has this address" is cached too.  A miss asks the store.
 */
#ifndef GATEWAY_PROFILES_H
#define GATEWAY_PROFILES_H

#include "postern/profile.h"
#include "postern/store.h"

struct loop;
struct profiles;
struct profiles_op;

/* default_zone: for those of whom nothing is known (semantics 6: the organisation's for e-mail, the country's set for
 * sms). */
struct profiles *profiles_new(struct loop *loop, struct store *store, size_t max_bytes,
                              const struct zone *default_zone);
void profiles_free(struct profiles **p);
/* Another configuration: the zone holds from the next look-up on; another size empties the cache. */
void profiles_reloaded(struct profiles *p, size_t max_bytes, const struct zone *default_zone);

/* Filled from the cache, all memory from the arena, zones resolved for the address's kind; false: not cached. */
bool profiles_get(struct profiles *p, const struct address *to, struct arena *a, struct profile *out);

typedef void profiles_cb(enum err status, void *arg);
/* Cache or store; a and out are kept until cb (exactly once, never before this returns; not after the cancel). */
struct profiles_op *profiles_fetch(struct profiles *p, const struct address *to, struct arena *a, struct profile *out,
                                   profiles_cb *cb, void *arg);
void profiles_cancel(struct profiles_op **op);

/* What an address and every spelling that folds to it are known by; the same in all workers of one parent. */
uint64_t profiles_hash(const struct address *to);
/* The address's entry, and that of every spelling that folds to the same key, is gone; a fetch under way is repeated.
 */
void profiles_drop(struct profiles *p, uint64_t hash);
/* Everybody's. */
void profiles_drop_all(struct profiles *p);
/* Rises with every drop: unchanged since a profile was read means that the profile still holds. */
uint64_t profiles_epoch(const struct profiles *p);
/* The last suppression look: was this very address dropped after that epoch?  Errs to true. */
bool profiles_dropped_since(const struct profiles *p, const struct address *to, uint64_t epoch);

struct profiles_state {
    size_t entries, bytes;
    uint64_t hits, misses, evictions;
};
struct profiles_state profiles_state(const struct profiles *p);

#endif

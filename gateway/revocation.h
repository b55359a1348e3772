/* What happens between a revocation's commit and its acknowledgement (promise P1). */
#ifndef GATEWAY_REVOCATION_H
#define GATEWAY_REVOCATION_H

#include "gateway.h"

/*
 * A change of what is known of people is durable.  When cb is called (never before this returns, exactly once; NULL:
 * nobody waits), no worker starts anything to these addresses by what was known before: profiles are read anew, calls
 * not yet begun are taken back and decided again.  Here that is so from the return on.
 */
void revocation_in_force(struct gateway *g, const struct address *touched, size_t n, void (*cb)(void *arg), void *arg);
/* The part of it that is done here, by hash: what another worker asks for.  n 0: everybody. */
void revocation_here(struct gateway *g, const uint64_t *hashes, size_t n);
/* Deferred messages that the same transaction emptied: who is owed a callback for them gets it. */
void revocation_cancelled(struct gateway *g, const struct deferred *cancelled, size_t n);

/* The provider says that the recipient opted out there: recorded as theirs; nobody waits for it. */
void revocation_by_provider(struct gateway *g, const struct address *to, enum channel channel, struct slice sender,
                            const char *provider);

#endif

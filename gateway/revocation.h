/* What happens between a revocation's commit and its acknowledgement (promise P1). */
#ifndef GATEWAY_REVOCATION_H
#define GATEWAY_REVOCATION_H

#include "gateway.h"

/*
 * From the return on, nothing starts to these addresses that the revocation binds: their profiles
 * are read anew, calls not yet begun are taken back.  cancelled: deferred messages that the same
 * transaction emptied; who is owed a callback for them gets it.
 */
void revocation_in_force(struct gateway *g, const struct address *touched, size_t n_touched,
                         const struct deferred *cancelled, size_t n_cancelled);

/* The provider says that the recipient opted out there: recorded as theirs; nobody waits for it. */
void revocation_by_provider(struct gateway *g, const struct address *to, enum channel channel, struct slice sender,
                            const char *provider);

#endif

/* Whom an opt-out binds among the messages that wait.  Pure. */
#ifndef STORE_BINDING_H
#define STORE_BINDING_H

#include "postern/store.h"

/* d is of the same address (folded) or contact; same_address says which.  Semantics, section 3. */
bool binding_opt_out(const struct opt_out *o, const struct deferred *d, bool same_address);
/* A consent that was revoked: its category, or all marketing when it names none. */
bool binding_revocation(const struct consent *c, const struct deferred *d);

#endif

/* What rule packs say of a message or a refusal, as JSON. */
#ifndef GATEWAY_API_LAW_H
#define GATEWAY_API_LAW_H

#include "postern/buf.h"
#include "postern/policy.h"

/* "law": [{"rule": "us-fl/hours", "kind": "hours"}, ...]: those that speak to this message now. */
void api_put_laws(struct buf *b, const struct facts *f);
/*
 * "law": [{"rule": "us-federal/revocation", "in_force_by": "2026-12-08"}, ...]: by when each law wants a refusal of
 * at_ms honoured, the earliest first.  channels as in policy_deadlines.
 */
void api_put_deadlines(struct buf *b, const char *name, const struct policy *p, const struct profile *who,
                       uint32_t channels, int64_t at_ms);

#endif

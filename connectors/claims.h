/*
 * What a client says of its own message to Postern, beside the provider's fields:
 * as HTTP fields in every dialect, and where a dialect's body has a place for
 * them.  A thing said twice with two values is refused.
 */
#ifndef CONNECTORS_CLAIMS_H
#define CONNECTORS_CLAIMS_H

#include "postern/connector.h"

/* X(id, HTTP field, key in a body) */
/* clang-format off */
#define CLAIMS(X) \
    X(CATEGORY, "X-Postern-Category", "postern_category") \
    X(PRIORITY, "X-Postern-Priority", "postern_priority") \
    X(TOPIC, "X-Postern-Topic", "postern_topic") \
    X(COLLAPSE_KEY, "X-Postern-Collapse-Key", "postern_collapse_key") \
    X(LANGUAGE, "X-Postern-Language", "postern_language") \
    X(FORMAT, "X-Postern-Format", "postern_format") \
    X(FORMALITY, "X-Postern-Formality", "postern_formality") \
    X(TECHNICAL_DEPTH, "X-Postern-Technical-Depth", "postern_technical_depth") \
    X(EXPIRES_AT, "X-Postern-Expires-At", "postern_expires_at") \
    X(IDEMPOTENCY_KEY, "Idempotency-Key", "postern_idempotency_key")
/* clang-format on */

enum claim {
#define X(id, field, key) CLAIM_##id,
    CLAIMS(X)
#undef X
        CLAIM_N
};

struct claims {
    struct slice value[CLAIM_N]; /* p == NULL: not said */
};

const char *claims_field(enum claim c);
const char *claims_key(enum claim c);

/* Does a header field of that name speak to us (X-Postern-*, Idempotency-Key)?  Then it never goes on. */
bool claims_is_own_field(struct slice name);
/* What a mail's header field of that name claims, X-Postern-Idempotency-Key for Idempotency-Key too; CLAIM_N: nothing.
 */
enum claim claims_of_field(struct slice name);

/* Said once more: ERR_SYNTAX when it was said differently before, or cannot be a value at all. */
enum err claims_say(struct claims *c, enum claim claim, struct slice value, struct fault *f) NODISCARD;
/* Those among a request's HTTP fields. */
enum err claims_read_fields(struct claims *c, const struct wire_request *r, struct fault *f) NODISCARD;
/* Into the message: all but category and idempotency key, which are the submission's. */
enum err claims_apply(const struct claims *c, struct message *m, struct fault *f) NODISCARD;

#endif

/*
 * The one table of what clients may claim, and the reading of it.  Knows no
 * provider; whether a claim is granted is not decided here.
 */
#include "claims.h"

#include "postern/civil.h"
#include "postern/limits.h"
#include "wire.h"

#define CLAIM_MAX_BYTES 256u

static const struct {
    struct slice field;
    const char *key;
} names[] = {
#define X(id, field, key) {{field, sizeof(field) - 1}, key},
    CLAIMS(X)
#undef X
};

const char *claims_field(enum claim c)
{
    return names[c].field.p;
}

const char *claims_key(enum claim c)
{
    return names[c].key;
}

bool claims_is_own_field(struct slice name)
{
    static const char prefix[] = "X-Postern-";
    return slice_ieq(name, names[CLAIM_IDEMPOTENCY_KEY].field) ||
           (name.n >= sizeof prefix - 1 && slice_ieq((struct slice){name.p, sizeof prefix - 1}, SLICE(prefix)));
}

enum claim claims_of_field(struct slice name)
{
    enum claim claim = 0;
    if (slice_ieq(name, SLICE("X-Postern-Idempotency-Key")))
        return CLAIM_IDEMPOTENCY_KEY;
    while (claim < CLAIM_N && !slice_ieq(name, names[claim].field))
        claim++;
    return claim;
}

/* It is compared byte for byte, and people search for it in logs. */
static bool is_key(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)(s.p[i] - '!') > '~' - '!')
            return false;
    }
    return s.n <= LIMIT_IDEMPOTENCY_BYTES;
}

enum err claims_say(struct claims *c, enum claim claim, struct slice value, struct fault *f)
{
    const char *name = names[claim].field.p;
    if (value.n == 0)
        return wire_fault(f, FAULT_SYNTAX, name, "%s is empty; leave it out, or give a value", name);
    if (value.n > CLAIM_MAX_BYTES)
        return wire_fault(f, FAULT_SYNTAX, name, "%s has %zu bytes; at most %u are read", name, value.n,
                          CLAIM_MAX_BYTES);
    if (!slice_is_clean(value))
        return wire_fault(f, FAULT_SYNTAX, name, "%s has control characters or bad UTF-8", name);
    if (claim == CLAIM_IDEMPOTENCY_KEY && !is_key(value))
        return wire_fault(f, FAULT_SYNTAX, name, "%s has %zu bytes or other than visible ASCII; give 1 to %u of ! to ~",
                          name, value.n, LIMIT_IDEMPOTENCY_BYTES);
    if (c->value[claim].p != NULL && !slice_eq(c->value[claim], value))
        return wire_fault(f, FAULT_SYNTAX, name, "%s (or %s in the body) is given twice with two values; give one",
                          name, names[claim].key);
    c->value[claim] = value;
    return OK;
}

enum err claims_read_fields(struct claims *c, const struct wire_request *r, struct fault *f)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        for (enum claim claim = 0; claim < CLAIM_N; claim++) {
            if (!slice_ieq(r->fields[i].name, names[claim].field))
                continue;
            enum err err = claims_say(c, claim, r->fields[i].value, f);
            if (err != OK)
                return err;
        }
    }
    return OK;
}

enum err claims_apply(const struct claims *c, struct message *m, struct fault *f)
{
    struct slice priority = c->value[CLAIM_PRIORITY], expires = c->value[CLAIM_EXPIRES_AT];
    m->priority = PRIORITY_P2;
    if (priority.p != NULL && !priority_parse(priority, &m->priority))
        return wire_fault(f, FAULT_SYNTAX, claims_field(CLAIM_PRIORITY), "%s \"%.*s\" is none of P0, P1, P2, P3",
                          claims_field(CLAIM_PRIORITY), SLICE_ARG(priority));
    if (expires.p != NULL && !rfc3339_parse(expires, &m->expires_at_ms))
        return wire_fault(f, FAULT_SYNTAX, claims_field(CLAIM_EXPIRES_AT),
                          "%s \"%.*s\" is no RFC 3339 time; write it like 2026-11-22T10:00:00Z",
                          claims_field(CLAIM_EXPIRES_AT), SLICE_ARG(expires));
    m->topic = c->value[CLAIM_TOPIC];
    m->collapse_key = c->value[CLAIM_COLLAPSE_KEY];
    m->form = (struct message_form){.language = c->value[CLAIM_LANGUAGE],
                                    .format = c->value[CLAIM_FORMAT],
                                    .formality = c->value[CLAIM_FORMALITY],
                                    .technical_depth = c->value[CLAIM_TECHNICAL_DEPTH]};
    return OK;
}

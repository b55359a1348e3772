/*
 * The store's own words (deferred states, results) and the outside form of decision
 * ids.  Pure; one table each, in store.h.
 */
#include "postern/store.h"

#include "postern/hash.h"

#define ID_PREFIX "dec_"

static const char *const state_names[] = {
#define X(id, name) name,
    DEFERRED_STATES(X)
#undef X
};

const char *deferred_state_name(enum deferred_state s)
{
    ensure((size_t)s < N_ELEMENTS(state_names));
    return state_names[s];
}

bool deferred_state_parse(struct slice s, enum deferred_state *out)
{
    for (size_t i = 0; i < N_ELEMENTS(state_names); i++) {
        if (slice_eq_cstr(s, state_names[i])) {
            *out = (enum deferred_state)i;
            return true;
        }
    }
    return false;
}

const char *deferred_kind_name(enum deferred_kind k)
{
    static const char *const names[] = {
        [DEFERRED_TIMED] = "timed", [DEFERRED_DIGEST] = "digest", [DEFERRED_HELD] = "held", [DEFERRED_RETRY] = "retry"};
    ensure((size_t)k < N_ELEMENTS(names));
    return names[k];
}

static const char *const result_names[] = {
#define X(id, name) name,
    RESULTS(X)
#undef X
};

const char *result_name(enum result r)
{
    ensure((size_t)r < N_ELEMENTS(result_names));
    return result_names[r];
}

char *decision_id_format(uint64_t id, char out[32])
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(id >> (56 - 8 * i));
    memcpy(out, ID_PREFIX, sizeof ID_PREFIX);
    hash_hex(bytes, sizeof bytes, out + sizeof ID_PREFIX - 1);
    return out;
}

bool decision_id_parse(struct slice s, uint64_t *out)
{
    uint8_t bytes[8];
    size_t prefix_n = sizeof ID_PREFIX - 1;
    if (!slice_starts(s, ID_PREFIX) || !hash_unhex((struct slice){s.p + prefix_n, s.n - prefix_n}, bytes, sizeof bytes))
        return false;
    uint64_t id = 0;
    for (int i = 0; i < 8; i++)
        id = id << 8 | bytes[i];
    *out = id;
    return true;
}

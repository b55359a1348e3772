/* A profile as few bytes, and back: what the cache holds. */
#ifndef GATEWAY_PROFILE_PACK_H
#define GATEWAY_PROFILE_PACK_H

#include "postern/arena.h"
#include "postern/profile.h"

/* Owned by the caller (free).  NULL with *n == 0 when nothing is known of the address. */
uint8_t *profile_pack(const struct profile *p, uint32_t *n) NODISCARD;
/* Everything but the zones; all memory from the arena.  False: the arena is spent. */
bool profile_unpack(const uint8_t *blob, uint32_t n, struct arena *a, struct profile *out) NODISCARD;

#endif

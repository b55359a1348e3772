/* Where is this person?  What is stated, else what the address allows for (semantics 6, Zone). */
#ifndef GATEWAY_ZONE_GUESS_H
#define GATEWAY_ZONE_GUESS_H

#include "postern/profile.h"

/*
 * Fills zones, zone_basis and regions from the preferences zone and region with the highest authority; where they
 * are not certain, or not there, with what the address leaves possible too.  No region: unknown.
 * default_zone: the organisation's, for addresses that say nothing.  After place_load.
 */
void zone_guess(struct profile *p, const struct address *to, const struct zone *default_zone);

#endif

/* Where is this person?  What is stated, else what a number's country allows for (semantics 6, Zone). */
#ifndef GATEWAY_ZONE_GUESS_H
#define GATEWAY_ZONE_GUESS_H

#include "postern/profile.h"

/*
 * Fills p->zones, n_zones, zone_basis and regions (of a phone number) from the zone preference with the highest
 * authority; when that is not certain, or there is none, with every zone that the address leaves possible.
 * default_zone: the organisation's, for addresses that say nothing.
 */
void zone_guess(struct profile *p, const struct address *to, const struct zone *default_zone);

#endif

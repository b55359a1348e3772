/*
 * Where a phone number was issued, and what zones a region has.  A number tells where it was issued,
 * not where the person is: so the zones of an area code come with their neighbours.
 */
#ifndef GATEWAY_PLACE_H
#define GATEWAY_PLACE_H

#include "postern/profile.h"

struct place {
    enum zone_basis basis; /* AREA_CODE or COUNTRY */
    const struct region *regions;
    size_t n_regions; /* 0: no country has this number */
    const struct zone *const *zones;
    size_t n_own;   /* of the place itself */
    size_t n_zones; /* with those an hour to each side */
};

/*
 * Make the tables ready, at start and whenever zones were loaded anew: places borrowed before are void then.
 * wall_ms: offsets are compared over the year from there.  Loop thread only, as zone_get.
 */
void place_load(int64_t wall_ms);

/* The place of a number in E.164 form; never NULL.  Pure and O(1) once place_load has run. */
const struct place *place_of_number(const char *number);

/* Zones of a country, state or province, the first ones when there are more than max; how many. */
size_t place_zones(const struct region *r, const struct zone **out, size_t max);

/*
 * "US-FL", "FR": a region that exists.  A territory of the United States is one of its parts: "PR" is read
 * as US-PR.  False for others; states of the US and provinces of Canada are known, other parts are taken as they are.
 */
bool place_region(struct slice text, struct region *out);
/* The same without the tables, and slowly: of a configuration, which is read before they are made or beside the loop.
 */
bool place_region_read(struct slice text, struct region *out);

#endif

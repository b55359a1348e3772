/* Time zones by name, from the system's tzdata.  base/zone.c is the only file that knows GLib. */
#ifndef POSTERN_ZONE_H
#define POSTERN_ZONE_H

#include "postern/civil.h"

/*
 * The zone of that IANA name ("America/New_York", "UTC"), or NULL when tzdata
 * has none.  Names only: no offsets, no POSIX TZ strings, no absolute paths.
 * The first look-up of a name reads a file and takes about 2 ms: gateway calls
 * zone_load_all at start.  Loop thread only.
 */
const struct zone *zone_get(const char *name);
/* Load every zone of zone1970.tab and tzdata's backward names in use; returns how many. */
size_t zone_load_all(void);
/* The known name nearest to a misspelt one, or NULL. */
const char *zone_suggest(const char *name);
/* tzdata's version ("2026f"), or "unknown". */
const char *zone_data_version(void);
/* The time of tzdata's file, which packages keep: when it was made; 0 when it is missing. */
int64_t zone_data_made_ms(void);
/* Zones of an ISO 3166 country ("US") by zone.tab; returns how many names (borrowed for ever) are in out. */
size_t zone_of_country(const char *country, const struct zone **out, size_t max);

#endif

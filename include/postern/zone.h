/* Time zones by name, from the system's tzdata.  base/zone_compiled.c is the only file that knows GLib. */
#ifndef POSTERN_ZONE_H
#define POSTERN_ZONE_H

#include "postern/civil.h"

/*
 * The zone of that IANA name ("America/New_York", "UTC"), or NULL when tzdata
 * has none.  Names only: no offsets, no POSIX TZ strings, no absolute paths.
 * The first look-up of a name reads a file and takes about 2 ms: gateway calls
 * zone_load_all at start, and from then on any thread may look names up.
 */
const struct zone *zone_get(const char *name);
/* Load every zone on tzdata's list, those that are links to others as well; returns how many. */
size_t zone_load_all(void);
/* The known name nearest to a misspelt one, or NULL. */
const char *zone_suggest(const char *name);
/*
 * tzdata changes a few times a year, and a process lives longer.  changed: have its files, since they were read?
 * Looks at them and reads none.  read: all of it anew; NULL while the files are being written or make no sense.
 * adopt: puts it in force; every zone that was handed out stays valid and follows.
 * changed and read: any thread, one at a time, after zone_load_all, while nobody adopts.  adopt: the loop's thread,
 * while no other thread reads zones.
 */
struct zone_tables;
bool zone_data_changed(void);
struct zone_tables *zone_data_read(void) NODISCARD;
void zone_data_adopt(struct zone_tables **t);
void zone_data_free(struct zone_tables **t);
/* tzdata's version ("2026f"), or "unknown". */
const char *zone_data_version(void);
/* The time of tzdata's file, which packages keep: when it was made; 0 when it is missing. */
int64_t zone_data_made_ms(void);
/* Zones of an ISO 3166 country ("US") by zone.tab; returns how many names (borrowed for ever) are in out. */
size_t zone_of_country(const char *country, const struct zone **out, size_t max);

#endif

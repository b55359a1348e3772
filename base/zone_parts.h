/*
 * What the files of zones share.  zone.c: the tables in force.  zone_list.c: tzdata's own lists of names, as text.
 * zone_compiled.c: the transitions of one name, by GLib.
 */
#ifndef BASE_ZONE_PARTS_H
#define BASE_ZONE_PARTS_H

#include "postern/zone.h"

struct zone_row {
    char name[ZONE_NAME_MAX];
    char target[ZONE_NAME_MAX]; /* what a link stands for; empty when the name is a zone of its own */
    bool tried;                 /* zone == NULL then means that the compiled file is not installed */
    bool shares;                /* zone->transitions is the target's */
    struct zone *zone;
};

struct country_row {
    char country[3];
    char name[ZONE_NAME_MAX];
};

struct zone_tables {
    bool read;
    char version[16];
    int64_t made_ms;       /* tzdata.zi's time of change */
    uint64_t stamp;        /* of all the files */
    struct zone_row *rows; /* ascending by name */
    size_t n;
    struct country_row *countries;
    size_t n_countries;
};

/* --- zone_list.c ---------------------------------------------------------------------------- */

/* Of an empty table: fills rows, countries, version.  Does nothing the second time. */
void zone_list_read(struct zone_tables *t);
/* The names of old that t does not know, but that somebody may have written down: they stay, a link as a link. */
void zone_list_keep(struct zone_tables *t, const struct zone_tables *old);
struct zone_row *zone_list_find(const struct zone_tables *t, const char *name);
/* Changes when any file of tzdata does. */
uint64_t zone_list_stamp(const struct zone_tables *t);

void zone_copy_name(char out[ZONE_NAME_MAX], struct slice name);

/* --- zone_compiled.c ------------------------------------------------------------------------ */

/* NULL: its file is not installed. */
struct zone *zone_compiled(const char *name);
/* Of that name, without transitions. */
struct zone *zone_new(const char *name);

#endif

/*
 * Zones by name.  A zone, once handed out, stays where it is for the life of the process.  When tzdata changes, its
 * table is what is replaced, between two turns of the loop: so whoever holds a zone, in a policy or in a profile,
 * follows the law of the day without being told.  Which names there are is zone_list.c's, what each has is
 * zone_compiled.c's.
 */
#include "postern/zone.h"

#include <stdlib.h>

#include "postern/spelling.h"
#include "zone_parts.h"

static struct zone_tables in_force;

/* A link shares its target's table, and is read itself only where the target is not on the list. */
static const struct zone *row_load(struct zone_tables *t, struct zone_row *row)
{
    if (row->tried)
        return row->zone;
    row->tried = true;
    struct zone_row *target = row->target[0] == '\0' ? NULL : zone_list_find(t, row->target);
    if (target != NULL && target->target[0] == '\0' && row_load(t, target) != NULL) {
        row->zone = zone_new(row->name);
        row->zone->first_offset_s = target->zone->first_offset_s;
        row->zone->n = target->zone->n;
        row->zone->transitions = target->zone->transitions;
        row->shares = true;
    } else {
        row->zone = zone_compiled(row->name);
    }
    return row->zone;
}

const struct zone *zone_get(const char *name)
{
    zone_list_read(&in_force);
    struct zone_row *row = name == NULL ? NULL : zone_list_find(&in_force, name);
    return row == NULL ? NULL : row_load(&in_force, row);
}

/* How many of them could be. */
static size_t load_rows(struct zone_tables *t)
{
    size_t loaded = 0;
    for (size_t i = 0; i < t->n; i++)
        loaded += row_load(t, &t->rows[i]) != NULL ? 1 : 0;
    return loaded;
}

size_t zone_load_all(void)
{
    zone_list_read(&in_force);
    return load_rows(&in_force);
}

static unsigned nearer(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

const char *zone_suggest(const char *name)
{
    zone_list_read(&in_force);
    size_t n = name == NULL ? 0 : strlen(name);
    if (n == 0 || n >= ZONE_NAME_MAX)
        return NULL;
    struct zone_row *best = NULL;
    unsigned best_distance = (unsigned)(n / 4 + 1); /* as far is no longer "misspelt": PST is not EST */
    for (size_t i = 0; i < in_force.n; i++) {
        struct zone_row *row = &in_force.rows[i];
        const char *slash = strrchr(row->name, '/');
        unsigned distance = spelling_distance(name, row->name);
        /* "Paris" alone: compare with the city.  A full name that fits as well comes first. */
        if (strchr(name, '/') == NULL && slash != NULL)
            distance = nearer(distance, spelling_distance(name, slash + 1));
        bool better = distance < best_distance ||
                      (distance == best_distance && best != NULL && best->target[0] != '\0' && row->target[0] == '\0');
        if (better && row_load(&in_force, row) != NULL) {
            best = row;
            best_distance = distance;
        }
    }
    return best == NULL ? NULL : best->name;
}

const char *zone_data_version(void)
{
    zone_list_read(&in_force);
    return in_force.version;
}

int64_t zone_data_made_ms(void)
{
    zone_list_read(&in_force);
    return in_force.made_ms;
}

size_t zone_of_country(const char *country, const struct zone **out, size_t max)
{
    zone_list_read(&in_force);
    size_t n = 0;
    for (size_t i = 0; i < in_force.n_countries && n < max; i++) {
        if (strcmp(in_force.countries[i].country, country) != 0)
            continue;
        const struct zone *z = zone_get(in_force.countries[i].name);
        if (z != NULL)
            out[n++] = z;
    }
    return n;
}

/* --- when tzdata changes ------------------------------------------------------------------- */

bool zone_data_changed(void)
{
    return in_force.read && zone_list_stamp(&in_force) != in_force.stamp;
}

struct zone_tables *zone_data_read(void)
{
    struct zone_tables *t = xcalloc(1, sizeof *t);

    zone_list_read(t);
    zone_list_keep(t, &in_force);
    (void)load_rows(t);
    struct zone_row *utc = zone_list_find(t, "UTC");
    if (utc == NULL || zone_list_stamp(t) != t->stamp) /* not there, or just being written */
        zone_data_free(&t);
    return t;
}

static void row_clear(struct zone_row *row)
{
    if (row->zone != NULL && !row->shares)
        free((void *)row->zone->transitions);
    free(row->zone);
    row->zone = NULL;
}

void zone_data_free(struct zone_tables **tp)
{
    struct zone_tables *t = take(tp);

    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n; i++)
        row_clear(&t->rows[i]);
    free(t->rows);
    free(t->countries);
    free(t);
}

/* The new row takes over the zone that was handed out; the old row is left with what can be freed. */
static void row_adopt(struct zone_row *fresh, struct zone_row *old)
{
    struct zone was = *old->zone;

    if (fresh->zone == NULL) { /* its file is gone: it stays as it was, and what it shared must be its own */
        fresh->shares = false;
        fresh->zone = zone_new(fresh->name);
        fresh->zone->first_offset_s = was.first_offset_s;
        fresh->zone->n = was.n;
        struct zone_transition *copy = was.n == 0 ? NULL : xcalloc(was.n, sizeof *copy);
        if (was.n > 0)
            memcpy(copy, was.transitions, was.n * sizeof *copy);
        fresh->zone->transitions = copy;
    }
    *old->zone = *fresh->zone;
    *fresh->zone = was;
    struct zone *shell = fresh->zone;
    fresh->zone = old->zone;
    old->zone = shell;
}

void zone_data_adopt(struct zone_tables **tp)
{
    struct zone_tables *t = *tp, old = in_force;

    for (size_t i = 0; i < old.n; i++) {
        if (old.rows[i].zone != NULL)
            row_adopt(zone_list_find(t, old.rows[i].name),
                      &old.rows[i]); /* zone_list_keep saw to it that there is one */
    }
    in_force = *t;
    *t = old;
    zone_data_free(tp);
}

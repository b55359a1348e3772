/*
 * Which zones there are: tzdata's own lists, tzdata.zi and zone.tab, read as text; and whether any of its files has
 * changed.  Knows no transitions and not GLib.  The one idea: a name that is not on the list does not exist.
 */
#include "zone_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "postern/hash.h"

#define DEFAULT_DIR "/usr/share/zoneinfo"

static void file_close(FILE **f)
{
    if (*f != NULL)
        fclose(*f);
}

#define PATH_BYTES 4096

/* False: too long. */
static bool path_of(const char *file, char path[PATH_BYTES])
{
    const char *dir = getenv("TZDIR"); /* as GLib reads it */
    int n = snprintf(path, PATH_BYTES, "%s/%s", dir != NULL ? dir : DEFAULT_DIR, file);
    return n < PATH_BYTES;
}

static FILE *open_tzdata(const char *file)
{
    char path[PATH_BYTES];
    return path_of(file, path) ? fopen(path, "re") : NULL;
}

/* The next piece of *rest up to one of the separators, which are skipped; empty at the end. */
static struct slice next_word(struct slice *rest, const char *separators)
{
    while (rest->n > 0 && strchr(separators, rest->p[0]) != NULL) {
        rest->p++;
        rest->n--;
    }
    struct slice word = {rest->p, 0};
    while (word.n < rest->n && strchr(separators, rest->p[word.n]) == NULL)
        word.n++;
    rest->p += word.n;
    rest->n -= word.n;
    return word;
}

void zone_copy_name(char out[ZONE_NAME_MAX], struct slice name)
{
    ensure(name.n < ZONE_NAME_MAX);
    if (name.n > 0)
        memcpy(out, name.p, name.n);
    out[name.n] = '\0';
}

static void add_row(struct zone_tables *t, struct slice name, struct slice target)
{
    /* "Factory" is tzdata's word for "not set up yet": nobody lives there. */
    if (name.n == 0 || name.n >= ZONE_NAME_MAX || target.n >= ZONE_NAME_MAX || slice_eq_cstr(name, "Factory"))
        return;
    t->rows = xrealloc(t->rows, t->n + 1, sizeof *t->rows);
    struct zone_row *row = &t->rows[t->n++];
    *row = (struct zone_row){.tried = false};
    zone_copy_name(row->name, name);
    zone_copy_name(row->target, target);
}

/* tzdata.zi (zic(8)'s input, shortened): "# version 2026f", "Z name ...", "L target name"; the rest is rules. */
static void read_names(struct zone_tables *t)
{
    AUTO(file_close) FILE *f = open_tzdata("tzdata.zi");
    struct stat st;
    if (f == NULL)
        return;
    if (fstat(fileno(f), &st) == 0)
        t->made_ms = (int64_t)st.st_mtim.tv_sec * 1000;
    char line[512];
    while (fgets(line, sizeof line, f) != NULL) {
        struct slice rest = slice_of(line);
        struct slice kind = next_word(&rest, " \n");
        struct slice first = next_word(&rest, " \n");
        struct slice second = next_word(&rest, " \n");
        if (slice_eq_cstr(kind, "Z"))
            add_row(t, first, (struct slice){NULL, 0});
        else if (slice_eq_cstr(kind, "L"))
            add_row(t, second, first);
        else if (slice_eq_cstr(kind, "#") && slice_eq_cstr(first, "version") && t->version[0] == '\0')
            snprintf(t->version, sizeof t->version, "%.*s", SLICE_ARG(second));
    }
}

/* zone.tab: country, coordinates, name, comment, parted by tabs.  When tzdata.zi is missing, its names are the list. */
static void read_countries(struct zone_tables *t)
{
    AUTO(file_close) FILE *f = open_tzdata("zone.tab");
    bool names_too = t->n == 0;
    char line[512];
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        struct slice rest = slice_of(line);
        struct slice country = next_word(&rest, "\t\n");
        next_word(&rest, "\t\n");
        struct slice name = next_word(&rest, "\t\n");
        if (country.n != 2 || name.n == 0 || name.n >= ZONE_NAME_MAX)
            continue;
        t->countries = xrealloc(t->countries, t->n_countries + 1, sizeof *t->countries);
        struct country_row *row = &t->countries[t->n_countries++];
        *row = (struct country_row){.country = {country.p[0], country.p[1]}};
        zone_copy_name(row->name, name);
        if (names_too)
            add_row(t, name, (struct slice){NULL, 0});
    }
    if (names_too)
        add_row(t, SLICE("UTC"), (struct slice){NULL, 0});
}

/* Of all files: which, how large, since when.  A package manager puts new ones in the place of old ones. */
static uint64_t stamp_file(const char *file, uint64_t seed)
{
    char path[PATH_BYTES];
    struct stat st;

    if (!path_of(file, path) || stat(path, &st) != 0)
        return seed;
    struct {
        uint64_t seed, dev, ino, size, s, ns;
    } seen = {seed,
              (uint64_t)st.st_dev,
              (uint64_t)st.st_ino,
              (uint64_t)st.st_size,
              (uint64_t)st.st_mtim.tv_sec,
              (uint64_t)st.st_mtim.tv_nsec};
    return hash_siphash((const char *)&seen, sizeof seen);
}

uint64_t zone_list_stamp(const struct zone_tables *t)
{
    uint64_t stamp = stamp_file("zone.tab", stamp_file("tzdata.zi", 1));
    for (size_t i = 0; i < t->n; i++)
        stamp = stamp_file(t->rows[i].name, stamp);
    return stamp;
}

static int compare_rows(const void *a, const void *b)
{
    return strcmp(((const struct zone_row *)a)->name, ((const struct zone_row *)b)->name);
}

void zone_list_read(struct zone_tables *t)
{
    if (t->read)
        return;
    read_names(t);
    read_countries(t);
    qsort(t->rows, t->n, sizeof *t->rows, compare_rows);
    if (t->version[0] == '\0')
        snprintf(t->version, sizeof t->version, "unknown");
    t->stamp = zone_list_stamp(t);
    t->read = true;
}

static int compare_name(const void *name, const void *row)
{
    return strcmp(name, ((const struct zone_row *)row)->name);
}

struct zone_row *zone_list_find(const struct zone_tables *t, const char *name)
{
    return bsearch(name, t->rows, t->n, sizeof *t->rows, compare_name);
}

void zone_list_keep(struct zone_tables *t, const struct zone_tables *old)
{
    size_t known = t->n;

    for (size_t i = 0; i < old->n; i++) {
        const struct zone_row *row = &old->rows[i];
        if (bsearch(row->name, t->rows, known, sizeof *t->rows, compare_name) == NULL)
            add_row(t, slice_of(row->name), slice_of(row->target));
    }
    qsort(t->rows, t->n, sizeof *t->rows, compare_rows);
    t->stamp = zone_list_stamp(t); /* with those */
}

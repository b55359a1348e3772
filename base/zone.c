/*
 * Zones by name: the names come from tzdata's own list (tzdata.zi), the
 * transitions from GLib, which reads the compiled files of the same package.
 * This is the only file that knows GLib.  A name that is not on the list does
 * not exist: so offsets, POSIX strings and paths never reach GLib, which would
 * take them.
 *
 * A zone, once handed out, stays where it is for the life of the process.  When
 * tzdata changes, its table is what is replaced, between two turns of the loop: so
 * whoever holds a zone, in a policy or in a profile, follows the law of the day
 * without being told.
 */
#include "postern/zone.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "postern/hash.h"

#define FIRST_S INT64_C(631152000)  /* 1990-01-01 */
#define LAST_S  INT64_C(2871763199) /* 2060-12-31T23:59:59Z */

#define DEFAULT_DIR "/usr/share/zoneinfo"

/*
 * GLib formats its last words ("failed to allocate") on the heap; where there is no memory for these either, it calls
 * itself until the stack is gone (seen with 2.74.6).  It asks this function of libc for them, and gets ours, which
 * stops as all of ours does.
 */
__attribute__((format(printf, 3, 0))) int __vasprintf_chk(char **out, int flag, const char *fmt, va_list args);

int __vasprintf_chk(char **out, int flag, const char *fmt, va_list args)
{
    ignore(flag);
    va_list measured;
    va_copy(measured, args);
    int n = vsnprintf(NULL, 0, fmt, measured);
    va_end(measured);
    ensure(n >= 0);
    *out = xcalloc((size_t)n + 1, 1);
    return vsnprintf(*out, (size_t)n + 1, fmt, args);
}

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

static struct zone_tables in_force;

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

static void copy_name(char out[ZONE_NAME_MAX], struct slice name)
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
    copy_name(row->name, name);
    copy_name(row->target, target);
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
        copy_name(row->name, name);
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

static uint64_t stamp_of(const struct zone_tables *t)
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

static void read_list(struct zone_tables *t)
{
    if (t->read)
        return;
    read_names(t);
    read_countries(t);
    qsort(t->rows, t->n, sizeof *t->rows, compare_rows);
    if (t->version[0] == '\0')
        snprintf(t->version, sizeof t->version, "unknown");
    t->stamp = stamp_of(t);
    t->read = true;
}

static int compare_name(const void *name, const void *row)
{
    return strcmp(name, ((const struct zone_row *)row)->name);
}

static struct zone_row *find_row(const struct zone_tables *t, const char *name)
{
    return bsearch(name, t->rows, t->n, sizeof *t->rows, compare_name);
}

static int interval_at(GTimeZone *tz, int64_t utc_s)
{
    return g_time_zone_find_interval(tz, G_TIME_TYPE_UNIVERSAL, utc_s);
}

/* The first second of the interval that follows the one of from_s; there is one at or before LAST_S. */
static int64_t next_interval_s(GTimeZone *tz, int64_t from_s)
{
    int now = interval_at(tz, from_s);
    int64_t low = from_s, high = LAST_S;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (interval_at(tz, middle) == now)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/*
 * GLib gives no list of transitions, but numbers the intervals between them:
 * bisecting for the end of each finds every one to the second, however near
 * to the next.  Intervals that differ only in name or "is DST" are joined.
 */
static void fill_transitions(struct zone *z, GTimeZone *tz)
{
    z->first_offset_s = g_time_zone_get_offset(tz, interval_at(tz, FIRST_S));
    int32_t offset_s = z->first_offset_s;
    int last = interval_at(tz, LAST_S);
    struct zone_transition *all = NULL;
    for (int64_t at_s = FIRST_S; interval_at(tz, at_s) != last;) {
        at_s = next_interval_s(tz, at_s);
        int32_t next_offset_s = g_time_zone_get_offset(tz, interval_at(tz, at_s));
        if (next_offset_s == offset_s)
            continue;
        offset_s = next_offset_s;
        all = xrealloc(all, z->n + 1, sizeof *all);
        all[z->n++] = (struct zone_transition){at_s, offset_s};
    }
    z->transitions = all;
}

static struct zone *zone_new(const char *name)
{
    struct zone *z = xcalloc(1, sizeof *z);
    copy_name(z->name, slice_of(name));
    return z;
}

static struct zone *zone_from_glib(const char *name)
{
    GTimeZone *tz = g_time_zone_new_identifier(name);
    if (tz == NULL)
        return NULL;
    struct zone *z = zone_new(name);
    fill_transitions(z, tz);
    g_time_zone_unref(tz);
    return z;
}

/* A link shares its target's table, and is read itself only where the target is not on the list. */
static const struct zone *row_load(struct zone_tables *t, struct zone_row *row)
{
    if (row->tried)
        return row->zone;
    row->tried = true;
    struct zone_row *target = row->target[0] == '\0' ? NULL : find_row(t, row->target);
    if (target != NULL && target->target[0] == '\0' && row_load(t, target) != NULL) {
        row->zone = zone_new(row->name);
        row->zone->first_offset_s = target->zone->first_offset_s;
        row->zone->n = target->zone->n;
        row->zone->transitions = target->zone->transitions;
        row->shares = true;
    } else {
        row->zone = zone_from_glib(row->name);
    }
    return row->zone;
}

const struct zone *zone_get(const char *name)
{
    read_list(&in_force);
    struct zone_row *row = name == NULL ? NULL : find_row(&in_force, name);
    return row == NULL ? NULL : row_load(&in_force, row);
}

size_t zone_load_all(void)
{
    read_list(&in_force);
    size_t loaded = 0;
    for (size_t i = 0; i < in_force.n; i++)
        loaded += row_load(&in_force, &in_force.rows[i]) != NULL ? 1 : 0;
    return loaded;
}

/* People write "new york" for "New_York". */
static char fold_char(char c)
{
    return c == ' ' ? '_' : g_ascii_tolower(c);
}

/* Changes of one letter (put in, left out, replaced) from a to b, as Levenshtein counts; both below ZONE_NAME_MAX. */
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned row[ZONE_NAME_MAX];
    size_t n = strlen(b);
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            unsigned replaced = diagonal + (fold_char(a[i - 1]) == fold_char(b[j - 1]) ? 0 : 1);
            unsigned added = MIN(row[j], row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = MIN(replaced, added);
        }
    }
    return row[n];
}

const char *zone_suggest(const char *name)
{
    read_list(&in_force);
    size_t n = name == NULL ? 0 : strlen(name);
    if (n == 0 || n >= ZONE_NAME_MAX)
        return NULL;
    struct zone_row *best = NULL;
    unsigned best_distance = (unsigned)(n / 4 + 1); /* as far is no longer "misspelt": PST is not EST */
    for (size_t i = 0; i < in_force.n; i++) {
        struct zone_row *row = &in_force.rows[i];
        const char *slash = strrchr(row->name, '/');
        unsigned distance = edit_distance(name, row->name);
        /* "Paris" alone: compare with the city.  A full name that fits as well comes first. */
        if (strchr(name, '/') == NULL && slash != NULL)
            distance = MIN(distance, edit_distance(name, slash + 1));
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
    read_list(&in_force);
    return in_force.version;
}

int64_t zone_data_made_ms(void)
{
    read_list(&in_force);
    return in_force.made_ms;
}

size_t zone_of_country(const char *country, const struct zone **out, size_t max)
{
    read_list(&in_force);
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
    return in_force.read && stamp_of(&in_force) != in_force.stamp;
}

static void load_rows(struct zone_tables *t)
{
    for (size_t i = 0; i < t->n; i++)
        row_load(t, &t->rows[i]);
}

/* A name that the new tables do not know, but that somebody may have written down: it stays, a link as a link. */
static void keep_name(struct zone_tables *t, size_t known, const struct zone_row *old)
{
    if (bsearch(old->name, t->rows, known, sizeof *t->rows, compare_name) == NULL)
        add_row(t, slice_of(old->name), slice_of(old->target));
}

struct zone_tables *zone_data_read(void)
{
    struct zone_tables *t = xcalloc(1, sizeof *t);

    read_list(t);
    size_t known = t->n;
    for (size_t i = 0; i < in_force.n; i++)
        keep_name(t, known, &in_force.rows[i]);
    qsort(t->rows, t->n, sizeof *t->rows, compare_rows);
    t->stamp = stamp_of(t); /* with those */
    load_rows(t);
    struct zone_row *utc = find_row(t, "UTC");
    if (utc == NULL || stamp_of(t) != t->stamp) /* not there, or just being written */
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
            row_adopt(find_row(t, old.rows[i].name), &old.rows[i]); /* keep_name saw to it that there is one */
    }
    in_force = *t;
    *t = old;
    zone_data_free(tp);
}

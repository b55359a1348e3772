/*
 * Phone numbers, countries and states as places: regions and zones.  Reads the
 * area codes of rules/nanp.csv and the countries of zone.tab once; knows nothing
 * of contacts.  The one idea: everything is worked out by place_load, so that a
 * look-up is two array indexes.
 */
#include "place.h"

#include "nanp.h"
#include "place_codes.h"
#include "postern/arena.h"
#include "postern/policy.h"
#include "postern/zone.h"

#define WEEKS          52
#define S_PER_WEEK     INT64_C(604800)
#define S_PER_HOUR     3600
#define DIVISIONS_MAX  96   /* states and provinces of rules/nanp.csv, 69 of them in 2026 */
#define NEIGHBOURS_MAX 64   /* their zones, 33 */
#define CODES          1000 /* of countries: at most three digits */
#define TABLES_BYTES   1048576u

/*
 * +1 of which no more is known, and toll-free: the fifty states, Eastern to Hawaii.  Guam and Samoa are left
 * out on purpose: with them no hour of the day would be open everywhere.
 */
static const char north_america[] = "America/New_York America/Chicago America/Denver America/Phoenix "
                                    "America/Los_Angeles America/Anchorage Pacific/Honolulu";

/*
 * The zones of which one is an hour beside another, west to east.  Guam, the Marianas and Samoa are too far
 * away from all of them to have a neighbour.
 */
static const char ladder[] = "Pacific/Honolulu America/Adak America/Anchorage America/Los_Angeles America/Denver "
                             "America/Chicago America/New_York America/Halifax America/Miquelon America/Nuuk "
                             "Atlantic/Cape_Verde";

struct zones {
    const struct zone *z[LIMIT_CANDIDATE_ZONES];
    size_t n;
};

struct neighbours {
    const struct zone *of;
    struct zones zones;
};

struct division {
    struct region region;
    struct zones zones;
};

static struct {
    bool loaded;
    struct arena arena;
    struct place area[NANP_CODES];
    struct place country[CODES];
    struct place anywhere; /* +1 and no more */
    struct place nowhere;
    struct division divisions[DIVISIONS_MAX];
    size_t n_divisions;
    struct zones ladder;
    struct neighbours neighbours[NEIGHBOURS_MAX];
    size_t n_neighbours;
    int64_t from_s; /* offsets are compared over the year from here */
} tables;

/* --- lists ---------------------------------------------------------------------------- */

static void add(struct zones *list, const struct zone *z)
{
    for (size_t i = 0; i < list->n; i++) {
        if (list->z[i] == z)
            return;
    }
    if (z != NULL && list->n < LIMIT_CANDIDATE_ZONES)
        list->z[list->n++] = z;
}

static struct slice next_word(const char **text)
{
    struct slice word = {*text, strcspn(*text, " ")};

    *text += word.n;
    *text += **text == ' ';
    return word;
}

static void add_named(struct zones *list, const char *names)
{
    char name[ZONE_NAME_MAX];

    while (*names != '\0') {
        struct slice word = next_word(&names);
        ensure(word.n < sizeof(name));
        memcpy(name, word.p, word.n);
        name[word.n] = '\0';
        add(list, zone_get(name));
    }
}

static void add_country(struct zones *list, const char *country)
{
    const struct zone *all[LIMIT_CANDIDATE_ZONES];
    size_t n = zone_of_country(country, all, N_ELEMENTS(all));

    for (size_t i = 0; i < n; i++)
        add(list, all[i]);
}

/* --- an hour to each side -------------------------------------------------------------- */

/* The rung nearest to z, at least one hour and at most two to that side of it (-1 west, 1 east) at that time. */
static const struct zone *rung_beside(const struct zone *z, int side, int64_t at_s)
{
    const struct zone *best = NULL;
    int32_t best_s = 0, own_s = zone_offset_s(z, at_s);

    for (size_t i = 0; i < tables.ladder.n; i++) {
        int32_t apart_s = side * (zone_offset_s(tables.ladder.z[i], at_s) - own_s);
        if (apart_s >= S_PER_HOUR && apart_s <= 2 * S_PER_HOUR && (best == NULL || apart_s < best_s)) {
            best = tables.ladder.z[i];
            best_s = apart_s;
        }
    }
    return best;
}

/* Clocks change on different days, and some never: a zone may have other neighbours in summer than in winter. */
static const struct neighbours *neighbours_of(const struct zone *z)
{
    for (size_t i = 0; i < tables.n_neighbours; i++) {
        if (tables.neighbours[i].of == z)
            return &tables.neighbours[i];
    }
    ensure(tables.n_neighbours < NEIGHBOURS_MAX);
    struct neighbours *n = &tables.neighbours[tables.n_neighbours++];
    n->of = z;
    for (int64_t week = 0; week < WEEKS; week++) {
        add(&n->zones, rung_beside(z, -1, tables.from_s + week * S_PER_WEEK));
        add(&n->zones, rung_beside(z, 1, tables.from_s + week * S_PER_WEEK));
    }
    return n;
}

static void widen(struct zones *list)
{
    size_t own = list->n;

    for (size_t i = 0; i < own; i++) {
        const struct zones *beside = &neighbours_of(list->z[i])->zones;
        for (size_t k = 0; k < beside->n; k++)
            add(list, beside->z[k]);
    }
}

/* --- places ------------------------------------------------------------------------------ */

static void *keep(const void *list, size_t n, size_t size)
{
    void *kept = arena_calloc(&tables.arena, n > 0 ? n : 1, size);

    ensure(kept != NULL);
    if (n > 0)
        memcpy(kept, list, n * size);
    return kept;
}

static void set_regions(struct place *p, const char *names)
{
    struct region regions[LIMIT_CANDIDATE_REGIONS];

    p->n_regions = 0;
    while (*names != '\0') {
        ensure(p->n_regions < N_ELEMENTS(regions));
        ensure(region_parse(next_word(&names), &regions[p->n_regions]));
        p->n_regions++;
    }
    p->regions = keep(regions, p->n_regions, sizeof(regions[0]));
}

static void set_zones(struct place *p, const struct zones *list, size_t n_own)
{
    p->n_own = n_own;
    p->n_zones = list->n;
    p->zones = keep(list->z, list->n, sizeof(const struct zone *));
}

static struct division *division_of(const struct region *r)
{
    for (size_t i = 0; i < tables.n_divisions; i++) {
        if (memcmp(&tables.divisions[i].region, r, sizeof(*r)) == 0)
            return &tables.divisions[i];
    }
    return NULL;
}

static void add_to_division(const struct region *r, const struct zones *list)
{
    struct division *d = division_of(r);

    if (d == NULL) {
        ensure(tables.n_divisions < DIVISIONS_MAX);
        d = &tables.divisions[tables.n_divisions++];
        *d = (struct division){.region = *r};
    }
    for (size_t i = 0; i < list->n; i++)
        add(&d->zones, list->z[i]);
}

static void load_area_code(struct place *p, const struct nanp_row *row)
{
    struct zones list = {.n = 0};

    *p = (struct place){.basis = ZONE_BASIS_AREA_CODE};
    set_regions(p, row->regions);
    add_named(&list, row->zones);
    size_t own = list.n;
    for (size_t i = 0; i < p->n_regions; i++) {
        if (p->regions[i].division[0] != '\0')
            add_to_division(&p->regions[i], &list);
    }
    /* Within the United States and Canada people keep their number when they move; an island's is a country's. */
    if (p->regions[0].division[0] != '\0')
        widen(&list);
    set_zones(p, &list, own);
}

static void load_country(struct place *p, const char *countries)
{
    struct zones list = {.n = 0};
    char country[3] = "";

    *p = (struct place){.basis = ZONE_BASIS_COUNTRY};
    set_regions(p, countries);
    for (size_t i = 0; i < p->n_regions; i++) {
        memcpy(country, p->regions[i].country, 2);
        add_country(&list, country);
    }
    set_zones(p, &list, list.n);
}

static void load_anywhere(struct place *p)
{
    struct zones list = {.n = 0};

    *p = (struct place){.basis = ZONE_BASIS_COUNTRY};
    set_regions(p, "US CA");
    add_named(&list, north_america);
    set_zones(p, &list, list.n);
}

void place_load(int64_t wall_ms)
{
    if (tables.loaded)
        arena_clear(&tables.arena);
    memset(&tables, 0, sizeof(tables));
    arena_init(&tables.arena, TABLES_BYTES);
    tables.from_s = wall_ms / 1000;
    add_named(&tables.ladder, ladder);
    for (size_t i = 0; i < NANP_CODES; i++) {
        const struct nanp_row *row = &nanp_rows[i];
        if (row->regions != NULL && strcmp(row->zones, NANP_ANYWHERE) != 0)
            load_area_code(&tables.area[i], row);
    }
    for (const struct place_code *c = place_codes; c->code != NULL; c++) {
        uint64_t code;
        ensure(slice_to_u64(slice_of(c->code), CODES - 1, &code));
        load_country(&tables.country[code], c->countries);
    }
    load_anywhere(&tables.anywhere);
    tables.nowhere = (struct place){.basis = ZONE_BASIS_DEFAULT};
    tables.loaded = true;
}

const struct place *place_of_number(const char *number)
{
    size_t code = 0;

    ensure(tables.loaded);
    if (strncmp(number, "+1", 2) == 0) {
        for (size_t i = 2; i < 5 && number[i] >= '0' && number[i] <= '9'; i++)
            code = code * 10 + (size_t)(number[i] - '0');
        return tables.area[code].n_regions > 0 ? &tables.area[code] : &tables.anywhere;
    }
    for (size_t i = 1; i < 4 && number[i] >= '0' && number[i] <= '9'; i++) {
        code = code * 10 + (size_t)(number[i] - '0');
        if (tables.country[code].n_regions > 0)
            return &tables.country[code];
    }
    return &tables.nowhere;
}

size_t place_zones(const struct region *r, const struct zone **out, size_t max)
{
    ensure(tables.loaded);
    const struct division *d = division_of(r);

    if (d == NULL)
        return zone_of_country(r->country, out, max);
    size_t n = d->zones.n < max ? d->zones.n : max;
    memcpy(out, d->zones.z, n * sizeof(const struct zone *));
    return n;
}

/* In form, and by the name that it has here. */
static bool canonical(struct slice text, struct region *out)
{
    static const char *const territories[] = {"PR", "VI", "GU", "AS", "MP"};

    if (!region_parse(text, out))
        return false;
    for (size_t i = 0; i < N_ELEMENTS(territories); i++) {
        if (slice_eq_cstr(text, territories[i]))
            *out = (struct region){"US", {territories[i][0], territories[i][1]}};
    }
    return true;
}

/* Of these countries all parts are known. */
static bool is_known_division(const struct region *r)
{
    return r->division[0] != '\0' && (strcmp(r->country, "US") == 0 || strcmp(r->country, "CA") == 0);
}

static bool country_exists(const struct region *r)
{
    const struct zone *any;
    return zone_of_country(r->country, &any, 1) > 0;
}

bool place_region(struct slice text, struct region *out)
{
    ensure(tables.loaded);
    if (!canonical(text, out))
        return false;
    return is_known_division(out) ? division_of(out) != NULL : country_exists(out);
}

static bool has_region(const struct nanp_row *row, const struct region *r)
{
    struct region one;

    for (const char *names = row->regions != NULL ? row->regions : ""; *names != '\0';) {
        if (region_parse(next_word(&names), &one) && memcmp(&one, r, sizeof(one)) == 0)
            return true;
    }
    return false;
}

bool place_region_read(struct slice text, struct region *out)
{
    bool found = false;

    if (!canonical(text, out))
        return false;
    if (!is_known_division(out))
        return country_exists(out);
    for (size_t i = 0; i < NANP_CODES && !found; i++)
        found = has_region(&nanp_rows[i], out);
    return found;
}

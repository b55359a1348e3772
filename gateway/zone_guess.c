/*
 * Where one recipient may be: the zones, all of whose windows a message has to
 * keep, and the regions, all of whose law binds it.  Takes what is stated, as far
 * as it is certain, else what the address leaves possible; knows neither area
 * codes nor countries (place.c).
 */
#include "zone_guess.h"

#include "place.h"
#include "postern/policy.h"
#include "postern/zone.h"

static void add(struct profile *p, const struct zone *z)
{
    for (size_t i = 0; i < p->n_zones; i++) {
        if (p->zones[i] == z)
            return;
    }
    if (z != NULL && p->n_zones < LIMIT_CANDIDATE_ZONES)
        p->zones[p->n_zones++] = z;
}

static void add_region(struct profile *p, const struct region *r)
{
    for (size_t i = 0; i < p->n_regions; i++) {
        if (memcmp(&p->regions[i], r, sizeof(*r)) == 0)
            return;
    }
    if (p->n_regions < LIMIT_CANDIDATE_REGIONS)
        p->regions[p->n_regions++] = *r;
}

/* --- what is stated --------------------------------------------------------------------- */

static const struct preference *stated(const struct profile *p, enum preference_key key)
{
    const struct preference any = {.key = key};
    const struct preference *v = merge_standing(p->preferences, p->n_preferences, &any, NULL);

    return v != NULL && v->text.n > 0 ? v : NULL;
}

static enum zone_basis basis_of(const struct preference *v)
{
    switch (v->source) {
    case SOURCE_CUSTOMER:
        return ZONE_BASIS_EXPLICIT;
    case SOURCE_AGENT:
        return ZONE_BASIS_AGENT;
    case SOURCE_BEHAVIOUR:
        return ZONE_BASIS_DEVICE;
    case SOURCE_IMPORT:
    case SOURCE_SYNC:
    case SOURCE_PROVIDER:
    case SOURCE_ORGANISATION:
        return ZONE_BASIS_POSTAL;
    case SOURCE_N:
        break;
    }
    never("a source");
}

static const struct zone *zone_of(struct slice name)
{
    char text[ZONE_NAME_MAX];

    if (name.n >= sizeof(text))
        return NULL;
    text_add(text, sizeof(text), 0, name);
    return zone_get(text);
}

/* What somebody said, and whether that is enough. */
struct claim {
    const struct preference *said; /* NULL: nothing, or nothing that exists */
    bool certain;
    const struct zone *zone;
    struct region region;
};

static struct claim claim_of(const struct profile *p, enum preference_key key)
{
    struct claim c = {.said = stated(p, key)};
    bool exists = false;

    if (c.said != NULL && key == PREFERENCE_ZONE) {
        c.zone = zone_of(c.said->text);
        exists = c.zone != NULL;
    } else if (c.said != NULL) {
        exists = place_region(c.said->text, &c.region);
    }
    c.said = exists ? c.said : NULL;
    c.certain = exists && c.said->confidence == CONFIDENCE_HIGH;
    return c;
}

/* --- regions and zones ---------------------------------------------------------------------- */

static void set_regions(struct profile *p, const struct claim *region, const struct place *number)
{
    p->n_regions = 0;
    if (region->said != NULL)
        add_region(p, &region->region);
    for (size_t i = 0; i < number->n_regions && !region->certain; i++)
        add_region(p, &number->regions[i]);
}

static void add_zones_of(struct profile *p, const struct region *r)
{
    const struct zone *zones[LIMIT_CANDIDATE_ZONES];
    size_t n = place_zones(r, zones, N_ELEMENTS(zones));

    for (size_t i = 0; i < n; i++)
        add(p, zones[i]);
}

/* A zone says more than a region, and a region more than a number; what is not certain only adds candidates. */
static void set_zones(struct profile *p, const struct claim *zone, const struct claim *region,
                      const struct place *number)
{
    p->n_zones = 0;
    p->zone_basis = number->basis;
    if (region->said != NULL)
        p->zone_basis = basis_of(region->said);
    if (zone->said != NULL) {
        p->zone_basis = basis_of(zone->said);
        add(p, zone->zone);
    }
    if (zone->certain)
        return;
    if (region->said != NULL)
        add_zones_of(p, &region->region);
    for (size_t i = 0; i < number->n_zones && !region->certain; i++)
        add(p, number->zones[i]);
}

void zone_guess(struct profile *p, const struct address *to, const struct zone *default_zone)
{
    static const struct place unknown = {.basis = ZONE_BASIS_DEFAULT};
    const struct place *number = to->kind == ADDRESS_PHONE ? place_of_number(to->text) : &unknown;
    const struct claim zone = claim_of(p, PREFERENCE_ZONE);
    const struct claim region = claim_of(p, PREFERENCE_REGION);

    p->previous_zone = p->previous_zone_name.n > 0 ? zone_of(p->previous_zone_name) : NULL;
    set_regions(p, &region, number);
    set_zones(p, &zone, &region, number);
    /* Nothing but a zone that is not certain: the default is as likely. */
    if (p->n_zones == 0 || (!zone.certain && region.said == NULL && number->n_zones == 0))
        add(p, default_zone);
}

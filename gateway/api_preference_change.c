/*
 * What a wish's preferences change: which become new versions, at what rank, and
 * whether the zone in force changes with them.
 *
 * The one idea: everyone has a row of their own.  A value stands beside what
 * others said of the same key and scope, and policy/merge.c says which is in
 * force; so a stronger value is never lost to a weaker one, and the weaker one is
 * there when the stronger is taken back.  Only an import or sync that restricts
 * what a person said takes that person's rank: it has to be in force, until the
 * person speaks again.
 */
#include "api_contacts.h"

#include <stdio.h>

#include "postern/zone.h"

static bool imported(const struct preference *p)
{
    return p->source == SOURCE_IMPORT || p->source == SOURCE_SYNC;
}

static bool same_place(const struct preference *a, const struct preference *b)
{
    return a->key == b->key && a->specificity == b->specificity && slice_eq(a->scope, b->scope);
}

/* What the same authority and system said before. */
static const struct preference *own(const struct contact *c, const struct preference *p)
{
    for (size_t i = 0; i < c->n_preferences; i++) {
        const struct preference *had = &c->preferences[i];
        if (same_place(had, p) && had->authority == p->authority && slice_eq(had->system, p->system))
            return had;
    }
    return NULL;
}

/* The value of a customer or an agent, the customer's first. */
static const struct preference *said_by_person(const struct contact *c, const struct preference *p)
{
    const struct preference *said = NULL;

    for (size_t i = 0; i < c->n_preferences; i++) {
        const struct preference *had = &c->preferences[i];
        bool person = had->source == SOURCE_CUSTOMER || had->source == SOURCE_AGENT;
        if (person && same_place(had, p) && had->text.n > 0 && (said == NULL || had->authority < said->authority))
            said = had;
    }
    return said;
}

static void take_rank(const struct contact *c, struct preference *p)
{
    const struct preference *said = said_by_person(c, p);
    struct errmsg unused;

    if (said == NULL || p->confidence != CONFIDENCE_HIGH || slice_eq(said->text, p->text))
        return;
    if (change_preference(said, p, &unused) == CHANGE_APPLY && said->authority < p->authority)
        p->authority = said->authority;
}

/* Another of the same rank stands in the way of what a person says again. */
static bool is_outvoted(const struct contact *c, const struct preference *had, const struct preference *p)
{
    for (size_t i = 0; i < c->n_preferences; i++) {
        const struct preference *other = &c->preferences[i];
        if (same_place(other, p) && other->authority == p->authority && !slice_eq(other->system, p->system) &&
            other->text.n > 0 && !slice_eq(other->text, p->text) && (had == NULL || other->at_ms >= had->at_ms))
            return true;
    }
    return false;
}

/* Says nothing new: the same value, and no better founded. */
static bool is_same(const struct contact *c, const struct preference *p)
{
    const struct preference *had = own(c, p);
    bool same = had == NULL ? p->text.n == 0 : slice_eq(had->text, p->text) && p->confidence <= had->confidence;

    return same && (imported(p) || !is_outvoted(c, had, p));
}

/* What arrives is newer than what the same authority said, also when the wall clock stepped back. */
static void make_newest(const struct contact *c, struct preference *p)
{
    for (size_t i = 0; i < c->n_preferences; i++) {
        const struct preference *had = &c->preferences[i];
        if (same_place(had, p) && had->authority == p->authority && had->at_ms >= p->at_ms)
            p->at_ms = had->at_ms + 1;
    }
}

static void name_preference(const struct preference *p, struct api_fault *f, const char *why)
{
    static const char *const scopes[] = {[SPECIFICITY_ANY] = "preferences",
                                         [SPECIFICITY_CHANNEL] = "by_channel",
                                         [SPECIFICITY_CATEGORY] = "by_category",
                                         [SPECIFICITY_TOPIC] = "by_topic"};
    char field[API_FIELD_MAX];
    const char *key = preference_key_name(p->key);

    if (preference_key_is_place(p->key))
        snprintf(field, sizeof(field), "%s", key);
    else if (p->specificity == SPECIFICITY_ANY)
        snprintf(field, sizeof(field), "%s.%s", scopes[p->specificity], key);
    else
        snprintf(field, sizeof(field), "%s.%.*s.%s", scopes[p->specificity], p->scope.n < 64 ? (int)p->scope.n : 64,
                 p->scope.p, key);
    api_fault_set(f, field, "%s", why);
}

bool contact_preferences_apply(const struct contact_wish *w, const struct contact *before,
                               struct store_contact_put *put, struct api_fault *f)
{
    struct preference *changed = arena_calloc(put->arena, w->n_preferences + 1, sizeof(*changed));
    struct errmsg e = {{0}};

    put->n_preferences = 0;
    if (changed == NULL) {
        api_fault_set(f, "", "the body needs more memory than it may have");
        return false;
    }
    for (size_t i = 0; i < w->n_preferences && !f->set; i++) {
        struct preference p = w->preferences[i];
        if (imported(&p))
            take_rank(before, &p);
        if (is_same(before, &p))
            continue;
        if (!w->dated)
            make_newest(before, &p);
        switch (change_preference(own(before, &p), &p, &e)) {
        case CHANGE_APPLY:
            changed[put->n_preferences++] = p;
            break;
        case CHANGE_PENDING:
            name_preference(&p, f,
                            "an equal claim states a stricter value, which stays in force until someone reviews it");
            break;
        case CHANGE_REFUSE:
            name_preference(&p, f, e.text);
            break;
        }
    }
    put->preferences = changed;
    return !f->set;
}

/* --- the zone ----------------------------------------------------------------------------- */

static const struct preference any_zone = {.key = PREFERENCE_ZONE};

static struct slice zone_in_force(const struct preference *values, size_t n)
{
    const struct preference *p = merge_standing(values, n, &any_zone, NULL);
    return p != NULL ? p->text : (struct slice){0};
}

struct slice contact_zone(const struct contact *c)
{
    return zone_in_force(c->preferences, c->n_preferences);
}

/* The zones as they will stand; NULL: no memory. */
static struct preference *zones_after(const struct contact *before, const struct store_contact_put *put, size_t *n)
{
    struct preference *after = arena_calloc(put->arena, before->n_preferences + put->n_preferences + 1, sizeof(*after));

    *n = 0;
    for (size_t i = 0; after != NULL && i < put->n_preferences; i++) {
        if (put->preferences[i].key == PREFERENCE_ZONE)
            after[(*n)++] = put->preferences[i];
    }
    const struct contact changed = {.preferences = after, .n_preferences = *n};
    for (size_t i = 0; after != NULL && i < before->n_preferences; i++) {
        const struct preference *had = &before->preferences[i];
        if (had->key == PREFERENCE_ZONE && own(&changed, had) == NULL)
            after[(*n)++] = *had;
    }
    return after;
}

/* A zone that changed earlier on the running day is what the day keeps: changing twice does not begin a new one. */
static struct slice kept_by_the_day(const struct contact *before, struct slice in_force, int64_t now_ms,
                                    struct arena *a)
{
    struct slice kept = before->previous_zone;
    const char *name = kept.n > 0 ? arena_strndup(a, kept.p, kept.n) : NULL;
    const struct zone *z = name != NULL ? zone_get(name) : NULL;

    if (z != NULL && zone_to_local(z, before->zone_changed_at_ms).days == zone_to_local(z, now_ms).days)
        return kept;
    return in_force;
}

void contact_zone_apply(const struct contact *before, struct store_contact_put *put)
{
    struct slice was = zone_in_force(before->preferences, before->n_preferences);
    size_t n;
    const struct preference *after = zones_after(before, put, &n);

    if (was.n > 0 && after != NULL && !slice_eq(was, zone_in_force(after, n)))
        put->previous_zone = kept_by_the_day(before, was, put->now_ms, put->arena);
}

/*
 * What was known of a recipient when a recorded decision was made: the profile of that instant, and its zones.  Decides
 * nothing.  The one idea: what holds is in the store with the time since when.
 */
#include "replay_known.h"

#include "../gateway/zone_guess.h"
#include "postern/zone.h"

#define ZONE_KEPT_MS     (INT64_C(2) * MS_PER_DAY) /* the day of a change is over everywhere by then */
#define ZONE_CHANGES_MAX 8

static struct slice zone_in_force(const struct profile *p)
{
    static const struct preference zone = {.key = PREFERENCE_ZONE};
    const struct preference *v = merge_standing(p->preferences, p->n_preferences, &zone, NULL);

    return v != NULL ? v->text : (struct slice){0};
}

/* The zone that the running day keeps: the one before the first change of that day. */
static enum err previous_zone(struct store *store, const struct store_profile_at *at, struct profile *p)
{
    struct store_profile_at before = *at;
    int64_t changed_ms = p->zone_changed_at_ms;

    for (int i = 0; i < ZONE_CHANGES_MAX && changed_ms > at->at_ms - ZONE_KEPT_MS; i++) {
        before.at_ms = changed_ms - 1;
        enum err err = store_profile_at(store, &before);
        if (err != OK)
            return err;
        struct slice was = zone_in_force(&before.profile), is = zone_in_force(p);
        char *name = was.n > 0 && !slice_eq(was, is) ? arena_strndup(at->arena, was.p, was.n) : NULL;
        const struct zone *z = name != NULL ? zone_get(name) : NULL;
        if (z != NULL && zone_to_local(z, changed_ms).days == zone_to_local(z, at->at_ms).days) {
            p->previous_zone_name = was;
            p->zone_changed_at_ms = changed_ms;
        }
        changed_ms = before.profile.zone_changed_at_ms;
    }
    return OK;
}

enum err replay_known(struct store *store, const struct replay_question *q, const struct zone *default_zone,
                      struct arena *a, struct profile *p)
{
    struct store_profile_at at = {.arena = a, .to = q->message.to, .contact_id = q->contact, .at_ms = q->at_ms};
    enum err err = store_profile_at(store, &at);
    *p = at.profile;
    if (err != OK)
        return err;
    err = previous_zone(store, &at, p);
    zone_guess(p, &q->message.to, default_zone);
    p->last_same_content_ms = q->same_content_ms;
    return err;
}

struct slice replay_sender(const struct replay_question *q, const struct profile *p)
{
    for (size_t i = 0; q->sender_known && i < p->n_opt_outs; i++) {
        if (slice_id(p->opt_outs[i].sender) == q->sender)
            return p->opt_outs[i].sender;
    }
    return SLICE("?");
}

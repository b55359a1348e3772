/*
 * Preferences in force: of all stated values of a key the one with the strongest
 * claim (semantics 4).  Knows what the texts mean; what follows from them is for the
 * rules.
 *
 * The one idea: a total order by claim (authority, specificity, time, system,
 * confidence), and only when that is exhausted and the values differ, the one that
 * lets less through, flagged for review.  Nothing is deleted: a narrower choice
 * stands untouched beside a wider one (Novu's global switch wiped them, PR 6767),
 * a weaker one beside a stronger, and null only takes back what its own authority
 * said before: then the weaker one is in force again.
 *
 * Rulings: a text that cannot be read lets nothing through (hours, numbers) or says
 * nothing (names).  Two lists of channels or days that tie are joined.
 */
#include "policy/rule.h"

#include "policy/weekday.h"

#define MINUTES_PER_WEEK (INT64_C(7) * MINUTES_PER_DAY)

/* --- the claim ------------------------------------------------------------------ */

static bool applies(const struct preference *p, const struct message *m)
{
    switch (p->specificity) {
    case SPECIFICITY_ANY:
        return true;
    case SPECIFICITY_CHANNEL:
        return slice_eq_cstr(p->scope, channel_name(m->channel));
    case SPECIFICITY_CATEGORY:
        return slice_eq_cstr(p->scope, m->category->name);
    case SPECIFICITY_TOPIC:
        return m->topic.n > 0 && slice_eq(p->scope, m->topic);
    }
    return false;
}

static int compare(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

/* Help desk beats CRM; other systems are equals between them. */
static int system_rank(struct slice system)
{
    return slice_eq_cstr(system, "helpdesk") ? 0 : slice_eq_cstr(system, "crm") ? 2 : 1;
}

int merge_compare(const struct preference *a, const struct preference *b)
{
    int by = compare(a->authority, b->authority);
    if (by == 0)
        by = compare(b->specificity, a->specificity);
    if (by == 0)
        by = compare(b->at_ms, a->at_ms);
    if (by == 0)
        by = compare(system_rank(a->system), system_rank(b->system));
    if (by == 0)
        by = compare(b->confidence, a->confidence);
    return by;
}

static bool same_place(const struct preference *a, const struct preference *b)
{
    return a->key == b->key && a->specificity == b->specificity && slice_eq(a->scope, b->scope);
}

/* Does a null of v's own authority stand before v (< 0: v is taken back) or beside it (0)? */
static int null_against(const struct preference *values, size_t n, const struct preference *v)
{
    int least = 1;
    for (size_t i = 0; i < n; i++) {
        const struct preference *null = &values[i];
        if (null->text.n > 0 || null->authority != v->authority || !same_place(null, v))
            continue;
        int by = merge_compare(null, v);
        least = by < least ? by : least;
    }
    return least;
}

/* --- the texts ------------------------------------------------------------------ */

/* Calls each word of a list "sms,voice"; the bits of those that are names. */
static uint32_t read_list(struct slice text, bool (*bit_of)(struct slice, unsigned *))
{
    uint32_t set = 0;
    while (text.n > 0) {
        const char *comma = memchr(text.p, ',', text.n);
        size_t n = comma == NULL ? text.n : (size_t)(comma - text.p);
        unsigned bit;
        if (bit_of(slice_trim((struct slice){text.p, n}), &bit))
            set |= UINT32_C(1) << bit;
        n += comma != NULL;
        text = (struct slice){text.p + n, text.n - n};
    }
    return set;
}

static bool channel_bit(struct slice s, unsigned *bit)
{
    enum channel c;
    if (!channel_parse(s, &c))
        return false;
    *bit = c;
    return true;
}

static bool weekday_bit(struct slice s, unsigned *bit)
{
    enum weekday d;
    if (!weekday_parse(s, &d))
        return false;
    *bit = d;
    return true;
}

static uint32_t list_of(enum preference_key key, struct slice text)
{
    if (key == PREFERENCE_CHANNEL_NEVER)
        return read_list(text, channel_bit);
    return key == PREFERENCE_DAYS_NEVER ? read_list(text, weekday_bit) : 0;
}

/* The position of text in words, or 0. */
static unsigned word_of(struct slice text, const char *const words[3])
{
    for (unsigned i = 1; i < 3; i++) {
        if (slice_eq_cstr(text, words[i]))
            return i;
    }
    return 0;
}

static const char *const digest_words[3] = {"none", "daily", "weekly"};
static const char *const notify_words[3] = {"all", "summary", "action"};
static const char *const urgency_words[3] = {"none", "P0", "P1"};

/* What is no number is 0: none may be sent. */
static int32_t cap_of(struct slice text)
{
    uint64_t n = 0;
    return slice_to_u64(text, INT32_MAX, &n) ? (int32_t)n : 0;
}

/* What cannot be read is never open. */
static struct window_set hours_of(struct slice text)
{
    struct window_set set;
    if (window_parse(text, WINDOW_ALLOWED, NULL, &set, NULL) != OK)
        set = (struct window_set){.sense = WINDOW_ALLOWED};
    return set;
}

static int64_t minutes_a_week(struct slice text)
{
    if (text.n == 0)
        return MINUTES_PER_WEEK;
    const struct window_set set = hours_of(text);
    int64_t minutes = 0;
    for (size_t day = 0; day < N_ELEMENTS(set.weekday); day++) {
        for (size_t i = 0; i < set.weekday[day].n; i++)
            minutes += set.weekday[day].w[i].end_min - set.weekday[day].w[i].start_min;
    }
    return minutes;
}

/* The longer list of what is never wanted lets less through. */
static int64_t list_looseness(uint32_t set)
{
    int64_t n = 0;
    for (; set != 0; set &= set - 1)
        n--;
    return n;
}

int64_t merge_looseness(enum preference_key key, struct slice text)
{
    switch (key) {
    case PREFERENCE_CHANNEL_NEVER:
    case PREFERENCE_DAYS_NEVER:
        return list_looseness(list_of(key, text));
    case PREFERENCE_HOURS:
        return minutes_a_week(text);
    case PREFERENCE_MAX_PER_DAY:
    case PREFERENCE_MAX_PER_WEEK:
    case PREFERENCE_MAX_PER_MONTH:
        return text.n == 0 ? INT64_MAX : cap_of(text);
    case PREFERENCE_DIGEST:
        return -(int64_t)word_of(text, digest_words);
    case PREFERENCE_NOTIFY:
        return -(int64_t)word_of(text, notify_words);
    case PREFERENCE_URGENCY_OVERRIDE:
        return word_of(text, urgency_words);
    case PREFERENCE_CHANNEL_PRIMARY:
    case PREFERENCE_CHANNEL_FALLBACK:
    case PREFERENCE_LANGUAGE:
    case PREFERENCE_FORMAT:
    case PREFERENCE_FORMALITY:
    case PREFERENCE_TECHNICAL_DEPTH:
    case PREFERENCE_ZONE:
    case PREFERENCE_REGION:
    case PREFERENCE_N:
        break;
    }
    return 0;
}

/* --- the merge ------------------------------------------------------------------ */

static void set_flag(uint32_t *set, unsigned bit, bool on)
{
    *set = on ? *set | (UINT32_C(1) << bit) : *set & ~(UINT32_C(1) << bit);
}

/* contested: a null claims as much. */
static void offer_one(struct merge *g, const struct preference *p, bool contested)
{
    const struct preference **best = &g->best[p->key];
    int by = *best == NULL ? 1 : merge_compare(*best, p);
    uint32_t list = list_of(p->key, p->text);
    if (by > 0) {
        *best = p;
        g->union_of[p->key] = list;
        set_flag(&g->flagged, p->key, contested);
    } else if (by == 0 && (contested || !slice_eq((*best)->text, p->text))) {
        if (merge_looseness(p->key, p->text) < merge_looseness(p->key, (*best)->text))
            *best = p;
        g->union_of[p->key] |= list;
        set_flag(&g->flagged, p->key, true);
    }
}

void merge_offer(struct merge *g, const struct preference *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct preference *p = &values[i];
        int null = p->text.n > 0 && applies(p, g->message) ? null_against(values, n, p) : -1;
        if (null >= 0)
            offer_one(g, p, null == 0);
    }
}

const struct preference *merge_standing(const struct preference *values, size_t n, const struct preference *of,
                                        bool *flagged)
{
    struct merge g = {.message = NULL};
    const struct preference *cleared = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct preference *p = &values[i];
        if (!same_place(p, of))
            continue;
        int null = p->text.n > 0 ? null_against(values, n, p) : -1;
        if (null >= 0)
            offer_one(&g, p, null == 0);
        else if (p->text.n == 0 && (cleared == NULL || merge_compare(p, cleared) < 0))
            cleared = p;
    }
    if (flagged != NULL)
        *flagged = g.flagged != 0;
    return g.best[of->key] != NULL ? g.best[of->key] : cleared;
}

static struct slice text_of(const struct merge *g, enum preference_key key)
{
    return g->best[key] == NULL ? (struct slice){NULL, 0} : g->best[key]->text;
}

static enum known channel_of(const struct merge *g, enum preference_key key, enum channel *out)
{
    return channel_parse(text_of(g, key), out) ? KNOWN : UNKNOWN;
}

/* A day that is never wanted is closed from midnight to midnight, also to a window of the evening before. */
static void close_days(struct window_set *s, uint32_t never)
{
    for (unsigned day = 0; day < N_ELEMENTS(s->weekday); day++) {
        struct day_windows *today = &s->weekday[day];
        if (never >> day & 1)
            today->n = 0;
        bool tomorrow_never = never >> (day + 1) % 7 & 1;
        for (size_t i = 0; tomorrow_never && i < today->n; i++) {
            if (today->w[i].end_min > MINUTES_PER_DAY)
                today->w[i].end_min = MINUTES_PER_DAY;
        }
    }
}

static void finish_hours(const struct merge *g, struct preferences *out)
{
    struct slice text = text_of(g, PREFERENCE_HOURS);
    uint32_t never = g->union_of[PREFERENCE_DAYS_NEVER];
    if (text.n == 0 && never == 0)
        return;
    out->hours_known = KNOWN;
    out->hours = hours_of(text.n > 0 ? text : SLICE("00:00-24:00"));
    close_days(&out->hours, never);
}

static void finish_caps(const struct merge *g, struct preferences *out)
{
    static const enum preference_key keys[] = {PREFERENCE_MAX_PER_DAY, PREFERENCE_MAX_PER_WEEK,
                                               PREFERENCE_MAX_PER_MONTH};
    for (size_t i = 0; i < N_ELEMENTS(keys); i++) {
        const struct preference *best = g->best[keys[i]];
        out->max_per[i] = best == NULL ? -1 : cap_of(best->text);
        out->max_scope[i] = best == NULL ? SPECIFICITY_ANY : best->specificity;
    }
}

void merge_finish(const struct merge *g, struct preferences *out)
{
    *out = (struct preferences){
        .never = g->union_of[PREFERENCE_CHANNEL_NEVER],
        .language = text_of(g, PREFERENCE_LANGUAGE),
        .format = text_of(g, PREFERENCE_FORMAT),
        .formality = text_of(g, PREFERENCE_FORMALITY),
        .technical_depth = text_of(g, PREFERENCE_TECHNICAL_DEPTH),
        .flagged = g->flagged,
    };
    out->digest = word_of(text_of(g, PREFERENCE_DIGEST), digest_words);
    out->notify = word_of(text_of(g, PREFERENCE_NOTIFY), notify_words);
    out->urgency_override = word_of(text_of(g, PREFERENCE_URGENCY_OVERRIDE), urgency_words);
    out->has_primary = channel_of(g, PREFERENCE_CHANNEL_PRIMARY, &out->primary);
    out->has_fallback = channel_of(g, PREFERENCE_CHANNEL_FALLBACK, &out->fallback);
    finish_caps(g, out);
    finish_hours(g, out);
}

void merge_preferences(const struct preference *values, size_t n, const struct message *m, struct preferences *out)
{
    struct merge g = {.message = m};
    merge_offer(&g, values, n);
    merge_finish(&g, out);
}

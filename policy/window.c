/*
 * The next instant that a set of local wall-clock windows allows.  Knows no rules
 * and no messages; time and zone are parameters.  window_parse.c reads the sets.
 *
 * The one idea: windows are joined on a line of local minutes first, and only
 * the ends of the open stretches become instants, each by the reading that sends
 * less: an opening is the latest instant with that local time, a closing the
 * earliest.  So an hour that exists twice is quiet both times, and all between,
 * when either reading is; and a day that joins the next at 24:00 has no end there
 * although that midnight may exist twice.
 *
 * A window belongs, with its part after midnight, to the day on which it starts:
 * "fri 22:00-08:00" reaches into a Saturday whatever that Saturday's own windows
 * are, and when the Friday has windows of its own (a date, a holiday), nothing of
 * the weekday's reaches over midnight.  One exception, to send less: see windows_of.
 */
#include "postern/policy.h"

#define HORIZON_DAYS 400
#define WEEK_MINUTES (7 * MINUTES_PER_DAY)

/* [from, to) in local minutes since walk.first_day 00:00. */
struct span {
    int32_t from;
    int32_t to;
};
#define ENDLESS INT32_MAX

/* [from_ms, to_ms) */
struct stretch {
    int64_t from_ms;
    int64_t to_ms;
};

/* A walk over the windows of consecutive days. */
struct walk {
    const struct window_set *set;
    const struct zone *zone;
    bool weekly; /* no dates, no holidays: what is open for a week is open for ever */
    int32_t first_day, day, last_day;
    struct day_windows windows; /* of day */
    unsigned next;              /* the first of windows that was not taken yet */
    int32_t closed_until;       /* WINDOW_QUIET: where the quiet run taken last ended */
};

static const struct day_windows *windows_of_date(const struct window_set *s, int32_t day)
{
    size_t low = 0, high = s->n_dates;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->dates[middle].days < day)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->n_dates && s->dates[low].days == day ? &s->dates[low].windows : NULL;
}

/*
 * Dates beat holidays beat weekdays.  A date or holiday that is quiet from 00:00 to
 * 24:00 keeps the part after midnight of the weekday that it replaces: else a quiet
 * Christmas would open the night after it, which is quiet on every other day.
 */
static struct day_windows windows_of(const struct window_set *s, int32_t day)
{
    const struct day_windows *usual = &s->weekday[date_weekday(day)];
    const struct day_windows *special = windows_of_date(s, day);
    if (special == NULL && s->holidays != NULL && holiday_is(s->holidays, day))
        special = &s->on_holidays;
    if (special == NULL)
        return *usual;
    struct day_windows out = *special;
    bool whole_day = out.n == 1 && out.w[0].start_min == 0 && out.w[0].end_min == MINUTES_PER_DAY;
    for (unsigned i = 0; s->sense == WINDOW_QUIET && whole_day && i < usual->n; i++) {
        if (usual->w[i].end_min > out.w[0].end_min)
            out.w[0].end_min = usual->w[i].end_min;
    }
    return out;
}

static void walk_init(struct walk *k, const struct window_set *s, const struct zone *z, int64_t at_ms)
{
    /*
     * Two days back: yesterday's windows may reach into today, and where the clock goes back over
     * midnight yesterday's evening is still to come after an instant of today.
     */
    int32_t today = zone_to_local(z, at_ms).days;
    *k = (struct walk){.set = s,
                       .zone = z,
                       .weekly = s->n_dates == 0 && s->holidays == NULL,
                       .first_day = today - 2,
                       .day = today - 2,
                       .last_day = today + HORIZON_DAYS + 2};
    k->windows = windows_of(s, k->day);
}

static bool walk_peek(struct walk *k, struct span *out)
{
    while (k->next >= k->windows.n) {
        if (k->day >= k->last_day)
            return false;
        k->windows = windows_of(k->set, ++k->day);
        k->next = 0;
    }
    int32_t midnight = (k->day - k->first_day) * MINUTES_PER_DAY;
    const struct window *w = &k->windows.w[k->next];
    *out = (struct span){midnight + w->start_min, midnight + w->end_min};
    return true;
}

/* The next windows that touch or overlap, as one. */
static bool walk_run(struct walk *k, struct span *run)
{
    if (!walk_peek(k, run))
        return false;
    struct span next = *run;
    while (next.from <= run->to) {
        if (next.to > run->to)
            run->to = next.to;
        k->next++;
        if (k->weekly && run->to - run->from >= WEEK_MINUTES) {
            run->to = ENDLESS;
            k->day = k->last_day;
            k->next = k->windows.n;
        }
        if (!walk_peek(k, &next))
            break;
    }
    return true;
}

/* The next span that is open by the local clock. */
static bool walk_span(struct walk *k, struct span *open)
{
    if (k->set->sense == WINDOW_ALLOWED)
        return walk_run(k, open);
    if (k->closed_until == ENDLESS)
        return false;
    struct span quiet;
    if (!walk_run(k, &quiet))
        quiet = (struct span){ENDLESS, ENDLESS};
    *open = (struct span){k->closed_until, quiet.from};
    k->closed_until = quiet.to;
    return true;
}

/*
 * The next stretch that is open and ends after at_ms; false when there is none.  What closes before
 * it opens, where an hour comes twice, is not open at all.
 */
static bool walk_open(struct walk *k, int64_t at_ms, struct stretch *out)
{
    struct span open;
    while (walk_span(k, &open)) {
        out->to_ms = open.to == ENDLESS ? INT64_MAX : zone_to_utc_ms(k->zone, k->first_day, open.to, ZONE_EARLIEST);
        if (out->to_ms <= at_ms)
            continue;
        out->from_ms = zone_to_utc_ms(k->zone, k->first_day, open.from, ZONE_LATEST);
        if (out->from_ms < out->to_ms)
            return true;
    }
    return false;
}

bool window_set_is_empty(const struct window_set *s)
{
    for (size_t i = 0; i < N_ELEMENTS(s->weekday); i++) {
        if (s->weekday[i].n > 0)
            return false;
    }
    for (size_t i = 0; i < s->n_dates; i++) {
        if (s->dates[i].windows.n > 0)
            return false;
    }
    return s->holidays == NULL || s->on_holidays.n == 0;
}

int64_t window_next(const struct window_set *s, const struct zone *z, int64_t at_ms, int64_t *until_ms)
{
    *until_ms = INT64_MAX;
    if (window_set_is_empty(s))
        return s->sense == WINDOW_QUIET ? at_ms : INT64_MAX;
    /* So that the answer "never" of one set can be asked of the next. */
    if (at_ms > INT64_MAX - HORIZON_DAYS * MS_PER_DAY)
        return INT64_MAX;
    const int64_t horizon_ms = at_ms + HORIZON_DAYS * MS_PER_DAY;

    struct walk k;
    struct stretch open, next;
    walk_init(&k, s, z, at_ms);
    if (!walk_open(&k, at_ms, &open) || open.from_ms > horizon_ms)
        return INT64_MAX;
    /* Where the clock goes forward over all that parts two stretches, they are one. */
    while (open.to_ms <= horizon_ms && walk_open(&k, at_ms, &next) && next.from_ms <= open.to_ms)
        open.to_ms = next.to_ms;
    if (open.to_ms <= horizon_ms)
        *until_ms = open.to_ms;
    return open.from_ms > at_ms ? open.from_ms : at_ms;
}

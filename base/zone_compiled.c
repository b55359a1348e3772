/*
 * The transitions of a zone, from GLib, which reads tzdata's compiled files.  This is the only file that knows GLib.
 * It is asked for names of the list (zone_list.c) and no others: so offsets, POSIX strings and paths, which it would
 * take, never reach it.
 */
#include "zone_parts.h"

#include <glib.h>
#include <stdio.h>

#define FIRST_S INT64_C(631152000)  /* 1990-01-01 */
#define LAST_S  INT64_C(2871763199) /* 2060-12-31T23:59:59Z */

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

static int interval_at(GTimeZone *tz, int64_t utc_s)
{
    return g_time_zone_find_interval(tz, G_TIME_TYPE_UNIVERSAL, utc_s);
}

/* Does the interval numbered now end right before this second? */
static bool ends_before(GTimeZone *tz, int now, int64_t at_s)
{
    return interval_at(tz, at_s - 1) == now && interval_at(tz, at_s) != now;
}

/*
 * The first second of the interval that follows the one of from_s; there is one at or before LAST_S.  Most clocks
 * change on the same weekday of the same week each year: 52 or 53 weeks after year_ago_s, where the one before from_s's
 * ended.
 */
static int64_t next_interval_s(GTimeZone *tz, int64_t from_s, int64_t year_ago_s)
{
    int now = interval_at(tz, from_s);
    for (int weeks = 52; weeks <= 53; weeks++) {
        int64_t guess_s = year_ago_s + weeks * INT64_C(604800);
        if (ends_before(tz, now, guess_s))
            return guess_s;
    }
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
 * looking for the end of each finds every one to the second, however near
 * to the next.  Intervals that differ only in name or "is DST" are joined.
 */
static void fill_transitions(struct zone *z, GTimeZone *tz)
{
    z->first_offset_s = g_time_zone_get_offset(tz, interval_at(tz, FIRST_S));
    int32_t offset_s = z->first_offset_s;
    int last = interval_at(tz, LAST_S);
    struct zone_transition *all = NULL;
    for (int64_t at_s = FIRST_S, before_s = FIRST_S; interval_at(tz, at_s) != last;) {
        int64_t next_s = next_interval_s(tz, at_s, before_s);
        before_s = at_s;
        at_s = next_s;
        int32_t next_offset_s = g_time_zone_get_offset(tz, interval_at(tz, at_s));
        if (next_offset_s == offset_s)
            continue;
        offset_s = next_offset_s;
        all = xrealloc(all, z->n + 1, sizeof *all);
        all[z->n++] = (struct zone_transition){at_s, offset_s};
    }
    z->transitions = all;
}

struct zone *zone_new(const char *name)
{
    struct zone *z = xcalloc(1, sizeof *z);
    zone_copy_name(z->name, slice_of(name));
    return z;
}

struct zone *zone_compiled(const char *name)
{
    GTimeZone *tz = g_time_zone_new_identifier(name);
    if (tz == NULL)
        return NULL;
    struct zone *z = zone_new(name);
    fill_transitions(z, tz);
    g_time_zone_unref(tz);
    return z;
}

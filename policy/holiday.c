/*
 * Public holidays by rule: a fixed day, the nth weekday of a month, the first
 * weekday from a day on, days from Easter, one date.  Knows dates only, neither zones nor windows.  The one idea:
 * nothing is enumerated; a date is asked against each rule.  A rule with a shift
 * makes two days: the day itself and the day on which it is observed, for nobody
 * is at work on Christmas because it is a Saturday; the observed one may fall
 * into the neighbouring year (1 January on a Saturday: 31 December).
 */
#include "postern/policy.h"

#include "policy/weekday.h"

#define DAYS_PER_WEEK 7

/* The earliest Easter is day 81 of its year and the latest 115: within this, a rule stays in Easter's year. */
#define EASTER_SPAN_DAYS 80

/* How much of a wrong text an error quotes. */
#define QUOTE_MAX 40

#define HOLIDAY_FORMS                                                                                                  \
    "write 12-25, \"12-25 observed\" (US), \"12-25 monday\" or \"12-25 sunday\" (kept on Monday), "                    \
    "\"1st mon 09\", \"last mon 05\", \"mon from 05-18\", easter-2 or 2026-06-19"

static bool same_day_of_year(const struct holiday *h, struct date date)
{
    return h->month == date.month && h->day == date.day;
}

/* Asked the other way round: is it the Monday or Friday of a weekend that holds the day?  So years do not matter. */
static bool fixed_is(const struct holiday *h, int32_t days, struct date date)
{
    if (same_day_of_year(h, date))
        return true;
    if (h->shift == SHIFT_NONE)
        return false;
    enum weekday weekday = date_weekday(days);
    if (weekday == FRIDAY)
        return h->shift == SHIFT_OBSERVED_US && same_day_of_year(h, date_from_days(days + 1));
    if (weekday != MONDAY)
        return false;
    return same_day_of_year(h, date_from_days(days - 1)) ||
           (h->shift == SHIFT_NEXT_MONDAY && same_day_of_year(h, date_from_days(days - 2)));
}

static bool nth_weekday_is(const struct holiday *h, int32_t days, struct date date)
{
    if (h->month != date.month || h->weekday != date_weekday(days))
        return false;
    if (h->nth == -1)
        return date_from_days(days + DAYS_PER_WEEK).month != date.month;
    return (date.day - 1) / DAYS_PER_WEEK + 1 == h->nth;
}

/* Asked the other way round again: does one of the week that ends on this day bear the date? */
static bool weekday_from_is(const struct holiday *h, int32_t days)
{
    if (h->weekday != date_weekday(days))
        return false;
    for (int32_t back = 0; back < DAYS_PER_WEEK; back++) {
        if (same_day_of_year(h, date_from_days(days - back)))
            return true;
    }
    return false;
}

static bool rule_is(const struct holiday *h, int32_t days, struct date date)
{
    switch (h->kind) {
    case HOLIDAY_FIXED:
        return fixed_is(h, days, date);
    case HOLIDAY_NTH_WEEKDAY:
        return nth_weekday_is(h, days, date);
    case HOLIDAY_WEEKDAY_FROM:
        return weekday_from_is(h, days);
    case HOLIDAY_EASTER:
        return date_to_days(date_easter(date.year)) + h->day == days;
    case HOLIDAY_DATE:
        return h->year == date.year && same_day_of_year(h, date);
    }
    return false;
}

bool holiday_is(const struct holiday_calendar *c, int32_t days)
{
    struct date date = date_from_days(days);
    for (size_t i = 0; i < c->n; i++) {
        if (rule_is(&c->rules[i], days, date))
            return true;
    }
    return false;
}

/* Exactly n digits, which s has room for; false on anything else. */
static bool digits(struct slice s, size_t at, size_t n, int32_t *out)
{
    uint64_t value;
    if (!slice_to_u64((struct slice){s.p + at, n}, INT32_MAX, &value))
        return false;
    *out = (int32_t)value;
    return true;
}

/* "2026-06-19" */
static bool date_rule(struct slice s, struct holiday *out)
{
    if (s.n != 10 || s.p[4] != '-' || s.p[7] != '-')
        return false;
    out->kind = HOLIDAY_DATE;
    return digits(s, 0, 4, &out->year) && digits(s, 5, 2, &out->month) && digits(s, 8, 2, &out->day) &&
           date_is_valid((struct date){out->year, out->month, out->day});
}

/* "12-25", and the shift when there is one.  29 February is a holiday in leap years. */
static bool fixed_rule(struct slice s, struct slice shift, struct holiday *out)
{
    if (s.n != 5 || s.p[2] != '-')
        return false;
    out->kind = HOLIDAY_FIXED;
    if (slice_ieq(shift, SLICE("observed")))
        out->shift = SHIFT_OBSERVED_US;
    else if (slice_ieq(shift, SLICE("monday")))
        out->shift = SHIFT_NEXT_MONDAY;
    else if (slice_ieq(shift, SLICE("sunday")))
        out->shift = SHIFT_SUNDAY_MONDAY;
    else if (shift.n > 0)
        return false;
    const int32_t leap_year = 2000;
    return digits(s, 0, 2, &out->month) && digits(s, 3, 2, &out->day) &&
           date_is_valid((struct date){leap_year, out->month, out->day});
}

/* "1st mon 09", "last mon 05" */
static bool nth_rule(struct slice nth, struct slice weekday, struct slice month, struct holiday *out)
{
    static const char *const ordinals[] = {"1st", "2nd", "3rd", "4th", "5th"};
    out->kind = HOLIDAY_NTH_WEEKDAY;
    if (slice_ieq(nth, SLICE("last")))
        out->nth = -1;
    for (size_t i = 0; i < N_ELEMENTS(ordinals); i++) {
        if (slice_ieq(nth, slice_of(ordinals[i])))
            out->nth = (int32_t)i + 1;
    }
    return out->nth != 0 && weekday_parse(weekday, &out->weekday) && month.n == 2 && digits(month, 0, 2, &out->month) &&
           out->month >= 1 && out->month <= 12;
}

/* "mon from 05-18": the first Monday on or after that day */
static bool from_rule(struct slice weekday, struct slice from, struct slice day, struct holiday *out)
{
    if (!slice_ieq(from, SLICE("from")) || !fixed_rule(day, (struct slice){NULL, 0}, out))
        return false;
    out->kind = HOLIDAY_WEEKDAY_FROM;
    return weekday_parse(weekday, &out->weekday);
}

/* "easter", "easter-2", "easter+1" */
static bool easter_rule(struct slice s, struct holiday *out)
{
    const size_t name = sizeof "easter" - 1;
    if (s.n < name || !slice_ieq((struct slice){s.p, name}, SLICE("easter")))
        return false;
    out->kind = HOLIDAY_EASTER;
    if (s.n == name)
        return true;
    uint64_t days;
    if ((s.p[name] != '-' && s.p[name] != '+') ||
        !slice_to_u64((struct slice){s.p + name + 1, s.n - name - 1}, EASTER_SPAN_DAYS, &days))
        return false;
    out->day = s.p[name] == '-' ? -(int32_t)days : (int32_t)days;
    return true;
}

/* The words of s, at most max; returns how many there are, max + 1 for more. */
static size_t split(struct slice s, struct slice *words, size_t max)
{
    size_t n = 0;
    for (s = slice_trim(s); s.n > 0; s = slice_trim(s)) {
        if (n == max)
            return max + 1;
        struct slice *w = &words[n++];
        *w = (struct slice){s.p, 0};
        while (s.n > 0 && *s.p != ' ' && *s.p != '\t') {
            w->n++;
            s.p++;
            s.n--;
        }
    }
    return n;
}

enum err holiday_parse(struct slice text, struct holiday *out, struct errmsg *e)
{
    struct slice w[3] = {{NULL, 0}};
    size_t n = split(text, w, N_ELEMENTS(w));
    *out = (struct holiday){.kind = HOLIDAY_FIXED};
    bool read = false;
    if (n == 1)
        read = date_rule(w[0], out) || easter_rule(w[0], out) || fixed_rule(w[0], w[1], out);
    else if (n == 2)
        read = fixed_rule(w[0], w[1], out);
    else if (n == 3)
        read = from_rule(w[0], w[1], w[2], out) || nth_rule(w[0], w[1], w[2], out);
    if (read)
        return OK;
    errmsg_set(e, "\"%.*s\" is not a holiday: " HOLIDAY_FORMS, SLICE_HEAD(text, QUOTE_MAX));
    return ERR_SYNTAX;
}

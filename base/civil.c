/*
 * Dates, and local time by a table of transitions.  Pure arithmetic: no clock,
 * no files, no allocation.  The one idea: a local time is tried against every
 * offset in force around it; the offsets under which it really occurs are its
 * instants (none in a gap, two in an overlap).
 */
#include "postern/civil.h"

#include <stdio.h>

#define S_PER_DAY     INT64_C(86400)
#define MS_PER_S      INT64_C(1000)
#define DAYS_PER_ERA  146097 /* 400 Gregorian years */
#define DAYS_TO_EPOCH 719468 /* from 0000-03-01 to 1970-01-01 */

/* Years 0000 to 9999, so that any int64_t a peer may send has a date of four digits. */
#define WALL_MIN_MS INT64_C(-62167219200000)
#define WALL_MAX_MS INT64_C(253402300799999)

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0 ? 1 : 0);
}

static int64_t clamp_wall(int64_t wall_ms)
{
    if (wall_ms < WALL_MIN_MS)
        return WALL_MIN_MS;
    return wall_ms > WALL_MAX_MS ? WALL_MAX_MS : wall_ms;
}

/* Years are counted from March, so that the leap day is the last of its year (Howard Hinnant, "chrono-compatible
 * low-level date algorithms", 2013). */
int32_t date_to_days(struct date d)
{
    int64_t year = (int64_t)d.year - (d.month <= 2 ? 1 : 0);
    int64_t era = floor_div(year, 400);
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (int64_t)(d.month > 2 ? d.month - 3 : d.month + 9) + 2) / 5 + d.day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int32_t)(era * DAYS_PER_ERA + day_of_era - DAYS_TO_EPOCH);
}

struct date date_from_days(int32_t days)
{
    int64_t z = (int64_t)days + DAYS_TO_EPOCH;
    int64_t era = floor_div(z, DAYS_PER_ERA);
    int64_t day_of_era = z - era * DAYS_PER_ERA;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march_month = (5 * day_of_year + 2) / 153;
    struct date d = {.month = (int32_t)(march_month < 10 ? march_month + 3 : march_month - 9),
                     .day = (int32_t)(day_of_year - (153 * march_month + 2) / 5 + 1)};
    d.year = (int32_t)(year_of_era + era * 400 + (d.month <= 2 ? 1 : 0));
    return d;
}

static bool year_is_leap(int32_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

bool date_is_valid(struct date d)
{
    static const int32_t length[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (d.year < 0 || d.year > 9999 || d.month < 1 || d.month > 12 || d.day < 1)
        return false;
    return d.day <= length[d.month - 1] + (d.month == 2 && year_is_leap(d.year) ? 1 : 0);
}

enum weekday date_weekday(int32_t days)
{
    int64_t since_monday = (int64_t)days + 3; /* 1970-01-01 was a Thursday */
    return (enum weekday)(since_monday - floor_div(since_monday, 7) * 7);
}

/* The "anonymous Gregorian" rule (Nature, 1876; Meeus, Astronomical Algorithms, chapter 8), with its letters. */
struct date date_easter(int32_t year)
{
    int32_t a = year % 19, b = year / 100, c = year % 100;
    int32_t g = (8 * b + 13) / 25;
    int32_t h = (19 * a + b - b / 4 - g + 15) % 30;
    int32_t l = (32 + 2 * (b % 4) + 2 * (c / 4) - h - c % 4) % 7;
    int32_t m = (a + 11 * h + 22 * l) / 451;
    int32_t n = h + l - 7 * m + 114;
    return (struct date){year, n / 31, n % 31 + 1};
}

/* How many transitions are at or before utc_s. */
static uint32_t transitions_until(const struct zone *z, int64_t utc_s)
{
    uint32_t low = 0, high = z->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (z->transitions[middle].at_s <= utc_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Segment 0 is before the first transition, segment i from transition i - 1 on. */
static int32_t segment_offset_s(const struct zone *z, uint32_t segment)
{
    return segment == 0 ? z->first_offset_s : z->transitions[segment - 1].offset_s;
}

int32_t zone_offset_s(const struct zone *z, int64_t utc_s)
{
    return segment_offset_s(z, transitions_until(z, utc_s));
}

struct local_time zone_to_local(const struct zone *z, int64_t wall_ms)
{
    int64_t utc_s = floor_div(clamp_wall(wall_ms), MS_PER_S);
    int32_t offset_s = zone_offset_s(z, utc_s);
    int64_t local_s = utc_s + offset_s;
    int64_t days = floor_div(local_s, S_PER_DAY);
    int32_t second = (int32_t)(local_s - days * S_PER_DAY);
    return (struct local_time){.days = (int32_t)days,
                               .minute = second / 60,
                               .second = second % 60,
                               .weekday = date_weekday((int32_t)days),
                               .offset_s = offset_s};
}

int64_t zone_to_utc_ms(const struct zone *z, int32_t days, int32_t minute, enum zone_pick pick)
{
    int64_t local_s = days * S_PER_DAY + minute * INT64_C(60);
    /* No offset is beyond a day, so only segments that touch these two days can hold the instant. */
    uint32_t last = transitions_until(z, local_s + S_PER_DAY);
    bool found = false;
    int64_t found_s = 0;
    for (uint32_t i = transitions_until(z, local_s - S_PER_DAY); i <= last; i++) {
        int64_t utc_s = local_s - segment_offset_s(z, i);
        if (i > 0 && utc_s < z->transitions[i - 1].at_s) {
            if (!found)
                return z->transitions[i - 1].at_s * MS_PER_S; /* after the segment before, before this one: a gap */
            break;
        }
        if (i < z->n && utc_s >= z->transitions[i].at_s)
            continue;
        found_s = utc_s;
        found = true;
        if (pick == ZONE_EARLIEST)
            break;
    }
    ensure(found);
    return found_s * MS_PER_S;
}

/* Exactly n digits at the front of *s, taken off. */
static bool take_number(struct slice *s, size_t n, int32_t *out)
{
    uint64_t value;
    if (s->n < n || !slice_to_u64((struct slice){s->p, n}, INT32_MAX, &value))
        return false;
    *out = (int32_t)value;
    *s = (struct slice){s->p + n, s->n - n};
    return true;
}

/* The text at the front of *s, ASCII case ignored, taken off. */
static bool take_text(struct slice *s, const char *text)
{
    size_t n = strlen(text);
    if (s->n < n || !slice_ieq((struct slice){s->p, n}, slice_of(text)))
        return false;
    *s = (struct slice){s->p + n, s->n - n};
    return true;
}

struct day_time {
    int32_t hour, minute, second;
};

static bool take_day_time(struct slice *s, struct day_time *t)
{
    return take_number(s, 2, &t->hour) && take_text(s, ":") && take_number(s, 2, &t->minute) && take_text(s, ":") &&
           take_number(s, 2, &t->second) && t->hour <= 23 && t->minute <= 59 && t->second <= 60;
}

static int64_t instant_s(struct date d, struct day_time t)
{
    return date_to_days(d) * S_PER_DAY + t.hour * INT64_C(3600) + t.minute * INT64_C(60) + t.second;
}

/* ".123": ms, further digits are cut off. */
static bool take_fraction_ms(struct slice *s, int32_t *ms)
{
    *ms = 0;
    if (!take_text(s, "."))
        return true;
    int32_t digit, weight = 100;
    bool any = false;
    while (take_number(s, 1, &digit)) {
        *ms += digit * weight;
        weight /= 10;
        any = true;
    }
    return any;
}

static bool take_offset_s(struct slice *s, int64_t *offset_s)
{
    *offset_s = 0;
    if (take_text(s, "Z"))
        return true;
    int64_t sign = take_text(s, "-") ? -1 : 1;
    int32_t hour, minute;
    if ((sign == 1 && !take_text(s, "+")) || !take_number(s, 2, &hour) || !take_text(s, ":") ||
        !take_number(s, 2, &minute) || hour > 23 || minute > 59)
        return false;
    *offset_s = sign * (hour * 3600 + minute * 60);
    return true;
}

bool rfc3339_parse(struct slice s, int64_t *wall_ms)
{
    struct date d;
    struct day_time t;
    int32_t ms;
    int64_t offset_s;
    if (!take_number(&s, 4, &d.year) || !take_text(&s, "-") || !take_number(&s, 2, &d.month) || !take_text(&s, "-") ||
        !take_number(&s, 2, &d.day) || !date_is_valid(d) || !take_text(&s, "T"))
        return false;
    if (!take_day_time(&s, &t) || !take_fraction_ms(&s, &ms) || !take_offset_s(&s, &offset_s) || s.n != 0)
        return false;
    int64_t utc_s = instant_s(d, t) - offset_s;
    /* Section 5.6: a leap second is only at the end of a UTC day; it reads as the first second of the next one. */
    if (t.second == 60 && utc_s != floor_div(utc_s, S_PER_DAY) * S_PER_DAY)
        return false;
    *wall_ms = utc_s * MS_PER_S + ms;
    return true;
}

struct utc_time {
    struct date date;
    int32_t days, hour, minute, second, ms;
};

static struct utc_time utc_time_of(int64_t wall_ms)
{
    wall_ms = clamp_wall(wall_ms);
    int32_t days = (int32_t)floor_div(wall_ms, MS_PER_DAY);
    int32_t ms = (int32_t)(wall_ms - days * MS_PER_DAY);
    return (struct utc_time){.date = date_from_days(days),
                             .days = days,
                             .hour = ms / 3600000,
                             .minute = ms / 60000 % 60,
                             .second = ms / 1000 % 60,
                             .ms = ms % 1000};
}

/* Every field is within its range by utc_time_of; masking tells the compiler how many digits there can be. */
#define D2(x) ((unsigned)(x) % 100)
#define D3(x) ((unsigned)(x) % 1000)
#define D4(x) ((unsigned)(x) % 10000)

/* Not printf: each decision writes three of these. */
static char *put_digits(char *at, unsigned value, int digits, char then)
{
    for (int i = digits; i-- > 0; value /= 10)
        at[i] = (char)('0' + value % 10);
    at[digits] = then;
    return at + digits + 1;
}

char *rfc3339_format(int64_t wall_ms, char out[RFC3339_MAX])
{
    struct utc_time t = utc_time_of(wall_ms);
    char *at = put_digits(out, D4(t.date.year), 4, '-');
    at = put_digits(at, D2(t.date.month), 2, '-');
    at = put_digits(at, D2(t.date.day), 2, 'T');
    at = put_digits(at, D2(t.hour), 2, ':');
    at = put_digits(at, D2(t.minute), 2, ':');
    at = put_digits(at, D2(t.second), 2, t.ms != 0 ? '.' : 'Z');
    if (t.ms != 0)
        at = put_digits(at, D3(t.ms), 3, 'Z');
    *at = '\0';
    return out;
}

static const char *const weekday_names[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                            "Friday", "Saturday", "Sunday"};
static const char *const month_names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

char *rfc2822_format(int64_t wall_ms, char out[RFC2822_MAX])
{
    struct utc_time t = utc_time_of(wall_ms);
    snprintf(out, RFC2822_MAX, "%.3s, %02u %s %04u %02u:%02u:%02u +0000", weekday_names[date_weekday(t.days)],
             D2(t.date.day), month_names[t.date.month - 1], D4(t.date.year), D2(t.hour), D2(t.minute), D2(t.second));
    return out;
}

static bool take_month(struct slice *s, int32_t *month)
{
    for (size_t i = 0; i < N_ELEMENTS(month_names); i++) {
        if (take_text(s, month_names[i])) {
            *month = (int32_t)i + 1;
            return true;
        }
    }
    return false;
}

static bool take_weekday(struct slice *s)
{
    for (size_t i = 0; i < N_ELEMENTS(weekday_names); i++) {
        char brief[4] = {weekday_names[i][0], weekday_names[i][1], weekday_names[i][2], '\0'};
        if (take_text(s, weekday_names[i]) || take_text(s, brief))
            return true;
    }
    return false;
}

/* "24 Aug 2023" (IMF-fixdate) or "24-Aug-23" (RFC 850), after the weekday. */
static bool take_day_month_year(struct slice *s, struct date *d)
{
    if (!take_number(s, 2, &d->day))
        return false;
    if (take_text(s, " "))
        return take_month(s, &d->month) && take_text(s, " ") && take_number(s, 4, &d->year);
    if (!take_text(s, "-") || !take_month(s, &d->month) || !take_text(s, "-") || !take_number(s, 2, &d->year))
        return false;
    d->year += d->year < 70 ? 2000 : 1900;
    return true;
}

/* "Aug 24 05:01:45 2023" (asctime), after the weekday; a day below ten has a blank for its first digit. */
static bool take_asctime(struct slice *s, struct date *d, struct day_time *t)
{
    return take_month(s, &d->month) && take_text(s, " ") &&
           (take_text(s, " ") ? take_number(s, 1, &d->day) : take_number(s, 2, &d->day)) && take_text(s, " ") &&
           take_day_time(s, t) && take_text(s, " ") && take_number(s, 4, &d->year);
}

/* RFC 5322 section 3.3, with the names that section 4.3 gives a meaning; the military letters have none. */
static bool take_mail_zone(struct slice *s, int64_t *offset_s)
{
    static const struct {
        const char *name;
        int hours;
    } names[] = {{"GMT", 0},  {"UTC", 0},  {"UT", 0},   {"EST", -5}, {"EDT", -4}, {"CST", -6},
                 {"CDT", -5}, {"MST", -7}, {"MDT", -6}, {"PST", -8}, {"PDT", -7}};
    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        if (take_text(s, names[i].name)) {
            *offset_s = names[i].hours * INT64_C(3600);
            return true;
        }
    }
    int64_t sign = take_text(s, "-") ? -1 : 1;
    int32_t hour, minute;
    if ((sign == 1 && !take_text(s, "+")) || !take_number(s, 2, &hour) || !take_number(s, 2, &minute) || minute > 59)
        return false;
    *offset_s = sign * (hour * INT64_C(3600) + minute * INT64_C(60));
    return true;
}

/* A mail's time leaves out the seconds if it likes. */
static bool take_mail_time(struct slice *s, struct day_time *t)
{
    t->second = 0;
    if (!take_number(s, 2, &t->hour) || !take_text(s, ":") || !take_number(s, 2, &t->minute))
        return false;
    if (take_text(s, ":") && !take_number(s, 2, &t->second))
        return false;
    return t->hour <= 23 && t->minute <= 59 && t->second <= 60;
}

bool rfc2822_parse(struct slice s, int64_t *wall_ms)
{
    struct date d;
    struct day_time t;
    int64_t offset_s;
    if (take_weekday(&s) && !take_text(&s, ", "))
        return false;
    if (!take_number(&s, 2, &d.day) && !take_number(&s, 1, &d.day))
        return false;
    if (!take_text(&s, " ") || !take_month(&s, &d.month) || !take_text(&s, " ") || !take_number(&s, 4, &d.year) ||
        !take_text(&s, " ") || !take_mail_time(&s, &t) || !take_text(&s, " ") || !take_mail_zone(&s, &offset_s))
        return false;
    if (s.n != 0 || !date_is_valid(d))
        return false;
    *wall_ms = (instant_s(d, t) - offset_s) * MS_PER_S;
    return true;
}

/* RFC 9110 section 5.6.7: a recipient reads all three forms.  The weekday is not checked against the date. */
bool http_date_parse(struct slice s, int64_t *wall_ms)
{
    struct date d;
    struct day_time t;
    if (!take_weekday(&s))
        return false;
    bool good = take_text(&s, ", ") ? take_day_month_year(&s, &d) && take_text(&s, " ") && take_day_time(&s, &t) &&
                                          take_text(&s, " GMT")
                                    : take_text(&s, " ") && take_asctime(&s, &d, &t);
    if (!good || s.n != 0 || !date_is_valid(d))
        return false;
    *wall_ms = instant_s(d, t) * MS_PER_S;
    return true;
}

bool retry_after_parse(struct slice s, int64_t now_ms, int64_t *wall_ms)
{
    uint64_t delay_s;
    if (!slice_to_u64(s, RETRY_AFTER_MAX_S, &delay_s))
        return http_date_parse(s, wall_ms);
    *wall_ms = now_ms + (int64_t)delay_s * MS_PER_S;
    return true;
}

/*
 * Civil time as plain data: dates, weekdays, and a time zone as a table of
 * transitions.  Pure: no clock, no files; zone.h loads the tables.
 *
 * A local time that does not exist (the clock went forward over it) stands for
 * the first instant after the gap.  One that exists twice is resolved by the
 * caller, who knows which reading sends less.
 */
#ifndef POSTERN_CIVIL_H
#define POSTERN_CIVIL_H

#include "postern/base.h"

#define MINUTES_PER_DAY 1440
#define MS_PER_MINUTE   INT64_C(60000)
#define MS_PER_DAY      INT64_C(86400000)

enum weekday { MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY };

struct date {
    int32_t year;
    int32_t month; /* 1..12 */
    int32_t day;   /* 1..31 */
};

/* Days since 1970-01-01, proleptic Gregorian; the date must be valid (date_is_valid). */
int32_t date_to_days(struct date d);
struct date date_from_days(int32_t days);
bool date_is_valid(struct date d);
enum weekday date_weekday(int32_t days);
struct date date_easter(int32_t year); /* Gregorian Easter Sunday */

/* From at_s (UTC seconds) on, local = UTC + offset_s. */
struct zone_transition {
    int64_t at_s;
    int32_t offset_s;
};

#define ZONE_NAME_MAX 48

/* One IANA zone, 1990 to 2060; ascending transitions.  Lives as long as the process; only zone_data_adopt writes. */
struct zone {
    char name[ZONE_NAME_MAX];
    int32_t first_offset_s; /* before the first transition */
    uint32_t n;
    const struct zone_transition *transitions;
};

struct local_time {
    int32_t days;   /* local date, days since 1970-01-01 */
    int32_t minute; /* 0..1439 */
    int32_t second; /* 0..59 */
    enum weekday weekday;
    int32_t offset_s;
};

int32_t zone_offset_s(const struct zone *z, int64_t utc_s);
struct local_time zone_to_local(const struct zone *z, int64_t wall_ms);

enum zone_pick { ZONE_EARLIEST, ZONE_LATEST };

/* The instant (UTC ms) of minute (may be < 0 or >= 1440: carried over to neighbouring days) on a local date. */
int64_t zone_to_utc_ms(const struct zone *z, int32_t days, int32_t minute, enum zone_pick pick);

/* "2026-11-22T10:00:00Z"; seconds' fractions and offsets are read; text must be used up.  RFC 3339. */
bool rfc3339_parse(struct slice s, int64_t *wall_ms);
#define RFC3339_MAX 32
/* "2026-11-22T10:00:00Z", with ".123" when there are ms.  Returns out. */
char *rfc3339_format(int64_t wall_ms, char out[RFC3339_MAX]);
#define RFC2822_MAX 40
/* "Thu, 24 Aug 2023 05:01:45 +0000".  Returns out. */
char *rfc2822_format(int64_t wall_ms, char out[RFC2822_MAX]);
/* "Thu, 24 Aug 2023 05:01:45 +0000", weekday and seconds left out or not, GMT and the zones of North America by name
   (RFC 5322 sections 3.3 and 4.3); one blank between words, no comments; text must be used up. */
bool rfc2822_parse(struct slice s, int64_t *wall_ms);
/* "Thu, 24 Aug 2023 05:01:45 GMT" and the two obsolete forms of RFC 9110 section 5.6.7; text must be used up. */
bool http_date_parse(struct slice s, int64_t *wall_ms);
#define RETRY_AFTER_MAX_S 31536000u
/* Retry-After: a date, or up to a year of seconds counted from now_ms; false when neither. */
bool retry_after_parse(struct slice s, int64_t now_ms, int64_t *wall_ms);

#endif

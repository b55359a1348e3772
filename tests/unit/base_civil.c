/*
 * Civil time: dates, the texts of instants, and local time in every zone of
 * tzdata around each of its changes from 2024 to 2030, against GLib.
 */
#include <check.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

#include "postern/civil.h"
#include "postern/zone.h"

/* Check notes each assertion in a file; the loops over millions of instants cannot wait for that. */
#define expect(cond, ...)                                                                                              \
    do {                                                                                                               \
        if (!(cond))                                                                                                   \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
    } while (0)

static int32_t days_of(int32_t year, int32_t month, int32_t day)
{
    return date_to_days((struct date){year, month, day});
}

START_TEST(dates)
{
    ck_assert_int_eq(days_of(1970, 1, 1), 0);
    ck_assert_int_eq(days_of(1969, 12, 31), -1);
    ck_assert_int_eq(days_of(2000, 2, 29), 11016);
    ck_assert_int_eq(days_of(0, 1, 1), -719528);
    ck_assert_int_eq(days_of(9999, 12, 31), 2932896);
    ck_assert_int_eq(date_weekday(0), THURSDAY);
    ck_assert_int_eq(date_weekday(-1), WEDNESDAY);
    ck_assert_int_eq(date_weekday(days_of(2026, 11, 22)), SUNDAY);
    ck_assert_int_eq(date_weekday(days_of(1900, 1, 1)), MONDAY);
}
END_TEST

START_TEST(days_run_through_the_calendar)
{
    GDate *g = g_date_new_dmy(1, G_DATE_JANUARY, 1600);
    for (int32_t days = days_of(1600, 1, 1); days < days_of(2500, 1, 1); days++) {
        struct date d = date_from_days(days);
        expect(d.year == g_date_get_year(g), "day %d", (int)days);
        expect(d.month == (int)g_date_get_month(g), "day %d", (int)days);
        expect(d.day == g_date_get_day(g), "day %d", (int)days);
        expect((int)date_weekday(days) + 1 == (int)g_date_get_weekday(g), "day %d", (int)days);
        expect(date_to_days(d) == days, "day %d", (int)days);
        expect(date_is_valid(d), "day %d", (int)days);
        g_date_add_days(g, 1);
    }
    g_date_free(g);
}
END_TEST

START_TEST(invalid_dates)
{
    static const struct date bad[] = {{2026, 0, 1},  {2026, 13, 1}, {2026, 1, 0},  {2026, 1, 32}, {2026, 4, 31},
                                      {2026, 2, 29}, {1900, 2, 29}, {2024, 2, 30}, {-1, 1, 1},    {10000, 1, 1}};
    for (size_t i = 0; i < N_ELEMENTS(bad); i++)
        ck_assert_msg(!date_is_valid(bad[i]), "row %zu", i);
    ck_assert(date_is_valid((struct date){2024, 2, 29}));
    ck_assert(date_is_valid((struct date){2000, 2, 29}));
}
END_TEST

START_TEST(easter)
{
    static const struct date rows[] = {{1818, 3, 22}, {1954, 4, 18}, {1981, 4, 19}, {2000, 4, 23}, {2008, 3, 23},
                                       {2011, 4, 24}, {2019, 4, 21}, {2024, 3, 31}, {2025, 4, 20}, {2026, 4, 5},
                                       {2027, 3, 28}, {2028, 4, 16}, {2029, 4, 1},  {2030, 4, 21}, {2038, 4, 25},
                                       {2049, 4, 18}, {2076, 4, 19}, {2100, 3, 28}, {2285, 3, 22}};
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct date d = date_easter(rows[i].year);
        ck_assert_msg(d.month == rows[i].month && d.day == rows[i].day && d.year == rows[i].year, "%d: %d-%d",
                      (int)rows[i].year, (int)d.month, (int)d.day);
    }
}
END_TEST

/* What zone_to_utc_ms should find, by trying the offset of each of GLib's intervals around it. */
static void check_against_glib(const char *name, GTimeZone *tz, const struct zone *z, int32_t days, int32_t minute)
{
    int64_t local_s = days * INT64_C(86400) + minute * INT64_C(60);
    int64_t earliest = INT64_MAX, latest = INT64_MIN;
    int from = g_time_zone_find_interval(tz, G_TIME_TYPE_UNIVERSAL, local_s - 172800);
    int to = g_time_zone_find_interval(tz, G_TIME_TYPE_UNIVERSAL, local_s + 172800);
    for (int interval = from; interval <= to; interval++) {
        int64_t utc_s = local_s - g_time_zone_get_offset(tz, interval);
        if (g_time_zone_find_interval(tz, G_TIME_TYPE_UNIVERSAL, utc_s) != interval)
            continue;
        earliest = MIN(earliest, utc_s);
        latest = MAX(latest, utc_s);
    }
    int64_t first_ms = zone_to_utc_ms(z, days, minute, ZONE_EARLIEST);
    int64_t last_ms = zone_to_utc_ms(z, days, minute, ZONE_LATEST);
    if (earliest != INT64_MAX) {
        expect(first_ms == earliest * 1000, "%s %d %d: earliest", name, (int)days, (int)minute);
        expect(last_ms == latest * 1000, "%s %d %d: latest", name, (int)days, (int)minute);
        return;
    }
    /* A gap: the last second before is earlier than this local time, the first one after is later. */
    expect(first_ms == last_ms, "%s %d %d: a gap has one end", name, (int)days, (int)minute);
    int64_t at_s = first_ms / 1000;
    int before = g_time_zone_find_interval(tz, G_TIME_TYPE_UNIVERSAL, at_s - 1);
    int after = g_time_zone_find_interval(tz, G_TIME_TYPE_UNIVERSAL, at_s);
    expect(at_s - 1 + g_time_zone_get_offset(tz, before) < local_s &&
               at_s + g_time_zone_get_offset(tz, after) > local_s,
           "%s %d %d: not the end of the gap", name, (int)days, (int)minute);
}

static void check_to_local(const char *name, GTimeZone *tz, const struct zone *z, int64_t utc_s)
{
    int32_t offset_s = g_time_zone_get_offset(tz, g_time_zone_find_interval(tz, G_TIME_TYPE_UNIVERSAL, utc_s));
    struct local_time local = zone_to_local(z, utc_s * 1000 + 999);
    expect(zone_offset_s(z, utc_s) == offset_s && local.offset_s == offset_s, "%s at %lld: offset", name,
           (long long)utc_s);
    expect(local.days * INT64_C(86400) + local.minute * INT64_C(60) + local.second == utc_s + offset_s, "%s", name);
    expect(local.weekday == date_weekday(local.days), "%s: weekday", name);
    expect(local.minute >= 0 && local.minute < MINUTES_PER_DAY && local.second >= 0 && local.second < 60, "%s", name);
}

/* The hours around one transition, minute by minute where clocks change, then wider. */
static void check_transition(const char *name, GTimeZone *tz, const struct zone *z, int64_t at_s)
{
    for (int64_t s = at_s - 5; s <= at_s + 5; s++)
        check_to_local(name, tz, z, s);
    struct local_time local = zone_to_local(z, (at_s - 1) * 1000);
    for (int32_t minute = local.minute - 200; minute <= local.minute + 200; minute++)
        check_against_glib(name, tz, z, local.days, minute);
    for (int32_t minute = -2 * MINUTES_PER_DAY; minute <= 3 * MINUTES_PER_DAY; minute += 77)
        check_against_glib(name, tz, z, local.days, minute);
}

static size_t check_zone(const char *name)
{
    const struct zone *z = zone_get(name);
    GTimeZone *tz = g_time_zone_new_identifier(name);
    ck_assert_msg(z != NULL && tz != NULL, "%s", name);
    ck_assert_str_eq(z->name, name);
    int64_t from_s = (int64_t)days_of(2024, 1, 1) * 86400, to_s = (int64_t)days_of(2031, 1, 1) * 86400;
    size_t transitions = 0;
    for (uint32_t i = 0; i < z->n; i++) {
        if (i > 0)
            ck_assert_int_lt(z->transitions[i - 1].at_s, z->transitions[i].at_s);
        if (z->transitions[i].at_s < from_s || z->transitions[i].at_s >= to_s)
            continue;
        check_transition(name, tz, z, z->transitions[i].at_s);
        transitions++;
    }
    for (int64_t s = from_s; s < to_s; s += 6 * 3600 + 61) /* and none is missing */
        check_to_local(name, tz, z, s);
    g_time_zone_unref(tz);
    return transitions;
}

START_TEST(every_zone_and_transition)
{
    size_t zones = 0, transitions = 0;
    gchar *text = NULL;
    ck_assert(g_file_get_contents("/usr/share/zoneinfo/zone1970.tab", &text, NULL, NULL));
    gchar **lines = g_strsplit(text, "\n", -1);
    for (gchar **line = lines; *line != NULL; line++) {
        gchar **columns = g_strsplit(*line, "\t", -1);
        if (**line != '#' && g_strv_length(columns) >= 3) {
            transitions += check_zone(columns[2]);
            zones++;
        }
        g_strfreev(columns);
    }
    g_strfreev(lines);
    g_free(text);
    ck_assert_uint_gt(zones, 300);
    ck_assert_uint_gt(transitions, 1000);
}
END_TEST

struct instant_row {
    const char *zone;
    struct date date;
    int32_t minute;
    const char *earliest, *latest;
};

START_TEST(known_instants)
{
    static const struct instant_row rows[] = {
        {"America/New_York", {2026, 3, 8}, 119, "2026-03-08T06:59:00Z", "2026-03-08T06:59:00Z"},
        {"America/New_York", {2026, 3, 8}, 120, "2026-03-08T07:00:00Z", "2026-03-08T07:00:00Z"},
        {"America/New_York", {2026, 3, 8}, 150, "2026-03-08T07:00:00Z", "2026-03-08T07:00:00Z"},
        {"America/New_York", {2026, 3, 8}, 180, "2026-03-08T07:00:00Z", "2026-03-08T07:00:00Z"},
        {"America/New_York", {2026, 11, 1}, 59, "2026-11-01T04:59:00Z", "2026-11-01T04:59:00Z"},
        {"America/New_York", {2026, 11, 1}, 60, "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"},
        {"America/New_York", {2026, 11, 1}, 119, "2026-11-01T05:59:00Z", "2026-11-01T06:59:00Z"},
        {"America/New_York", {2026, 11, 1}, 120, "2026-11-01T07:00:00Z", "2026-11-01T07:00:00Z"},
        /* carried over to the day after and the day before */
        {"America/New_York", {2026, 10, 31}, 1440 + 60, "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"},
        {"America/New_York", {2026, 11, 2}, -1440 + 60, "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"},
        /* half an hour of summer time */
        {"Australia/Lord_Howe", {2026, 10, 4}, 135, "2026-10-03T15:30:00Z", "2026-10-03T15:30:00Z"},
        {"Australia/Lord_Howe", {2026, 10, 4}, 150, "2026-10-03T15:30:00Z", "2026-10-03T15:30:00Z"},
        {"Australia/Lord_Howe", {2026, 4, 5}, 105, "2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"},
        /* a day that was left out */
        {"Pacific/Apia", {2011, 12, 29}, 1439, "2011-12-30T09:59:00Z", "2011-12-30T09:59:00Z"},
        {"Pacific/Apia", {2011, 12, 30}, 0, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z"},
        {"Pacific/Apia", {2011, 12, 30}, 720, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z"},
        {"Pacific/Apia", {2011, 12, 31}, 0, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z"},
        /* Ramadan of 2024: standard time from 10 March, back on 14 April */
        {"Africa/Casablanca", {2024, 3, 10}, 150, "2024-03-10T01:30:00Z", "2024-03-10T02:30:00Z"},
        {"Africa/Casablanca", {2024, 4, 14}, 150, "2024-04-14T02:00:00Z", "2024-04-14T02:00:00Z"},
        {"Asia/Kathmandu", {2026, 6, 1}, 0, "2026-05-31T18:15:00Z", "2026-05-31T18:15:00Z"},
        {"Europe/Dublin", {2026, 3, 29}, 90, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"},
        {"UTC", {2026, 3, 29}, 90, "2026-03-29T01:30:00Z", "2026-03-29T01:30:00Z"},
        {"UTC", {1950, 3, 29}, 90, "1950-03-29T01:30:00Z", "1950-03-29T01:30:00Z"},
    };
    char text[RFC3339_MAX];
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        const struct zone *z = zone_get(rows[i].zone);
        int32_t days = date_to_days(rows[i].date);
        rfc3339_format(zone_to_utc_ms(z, days, rows[i].minute, ZONE_EARLIEST), text);
        ck_assert_msg(strcmp(text, rows[i].earliest) == 0, "row %zu: earliest %s", i, text);
        rfc3339_format(zone_to_utc_ms(z, days, rows[i].minute, ZONE_LATEST), text);
        ck_assert_msg(strcmp(text, rows[i].latest) == 0, "row %zu: latest %s", i, text);
    }
}
END_TEST

START_TEST(extreme_instants)
{
    const struct zone *z = zone_get("America/New_York");
    struct local_time last = zone_to_local(z, INT64_MAX), first = zone_to_local(z, INT64_MIN);
    ck_assert_int_eq(date_from_days(last.days).year, 9999);
    ck_assert_int_eq(date_from_days(first.days).year, -1); /* 31 December, west of Greenwich */
    char text[RFC3339_MAX];
    ck_assert_str_eq(rfc3339_format(INT64_MAX, text), "9999-12-31T23:59:59.999Z");
    ck_assert_str_eq(rfc3339_format(INT64_MIN, text), "0000-01-01T00:00:00Z");
    ck_assert_int_gt(zone_to_utc_ms(z, INT32_MAX, INT32_MAX, ZONE_LATEST), 0);
    ck_assert_int_lt(zone_to_utc_ms(z, INT32_MIN, INT32_MIN, ZONE_EARLIEST), 0);
}
END_TEST

START_TEST(rfc3339)
{
    static const struct {
        const char *text;
        int64_t wall_ms;
        const char *formatted;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"},
        {"1969-12-31T23:59:59.999Z", -1, "1969-12-31T23:59:59.999Z"},
        {"2026-11-22T10:00:00Z", INT64_C(1795341600000), "2026-11-22T10:00:00Z"},
        {"2026-11-22t10:00:00z", INT64_C(1795341600000), "2026-11-22T10:00:00Z"},
        {"2026-11-22T10:00:00.5Z", INT64_C(1795341600500), "2026-11-22T10:00:00.500Z"},
        {"2026-11-22T10:00:00.1239999999Z", INT64_C(1795341600123), "2026-11-22T10:00:00.123Z"},
        {"2026-11-22T15:30:00+05:30", INT64_C(1795341600000), "2026-11-22T10:00:00Z"},
        {"2026-11-21T22:00:00-12:00", INT64_C(1795341600000), "2026-11-22T10:00:00Z"},
        {"2026-11-22T10:00:00-00:00", INT64_C(1795341600000), "2026-11-22T10:00:00Z"},
        {"2016-12-31T23:59:60Z", INT64_C(1483228800000), "2017-01-01T00:00:00Z"},
        {"2017-01-01T00:59:60+01:00", INT64_C(1483228800000), "2017-01-01T00:00:00Z"},
        {"2024-02-29T12:00:00Z", INT64_C(1709208000000), "2024-02-29T12:00:00Z"},
    };
    char text[RFC3339_MAX];
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        int64_t wall_ms = -7;
        ck_assert_msg(rfc3339_parse(slice_of(rows[i].text), &wall_ms), "%s", rows[i].text);
        ck_assert_msg(wall_ms == rows[i].wall_ms, "%s: %lld", rows[i].text, (long long)wall_ms);
        ck_assert_str_eq(rfc3339_format(wall_ms, text), rows[i].formatted);
    }
}
END_TEST

START_TEST(rfc3339_refused)
{
    static const char *const bad[] = {"",
                                      "2026-11-22",
                                      "2026-11-22 10:00:00Z",
                                      "2026-11-22T10:00:00",
                                      "2026-11-22T10:00Z",
                                      "2026-11-22T10:00:00Zx",
                                      "2026-11-22T10:00:00Z ",
                                      " 2026-11-22T10:00:00Z",
                                      "2026-11-22T10:00:00.Z",
                                      "2026-11-22T10:00:00,5Z",
                                      "2026-11-22T24:00:00Z",
                                      "2026-11-22T10:60:00Z",
                                      "2026-11-22T10:00:60Z",
                                      "2026-11-22T23:59:61Z",
                                      "2026-11-31T10:00:00Z",
                                      "2026-02-29T10:00:00Z",
                                      "2026-13-01T10:00:00Z",
                                      "26-11-22T10:00:00Z",
                                      "2026-1-22T10:00:00Z",
                                      "+2026-11-22T10:00:00Z",
                                      "2026-11-22T10:00:00+0530",
                                      "2026-11-22T10:00:00+24:00",
                                      "2026-11-22T10:00:00+05:60",
                                      "2026-11-22T10:00:00+5:30",
                                      "2026-11-22T10:00:00--05:30",
                                      "2026-11-22T1O:00:00Z"};
    for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
        int64_t wall_ms;
        ck_assert_msg(!rfc3339_parse(slice_of(bad[i]), &wall_ms), "%s was read", bad[i]);
    }
}
END_TEST

/* No byte of a date can be another one, and none can be left out at the end. */
static void each_byte_counts(const char *good, bool (*parse)(struct slice s, int64_t *wall_ms))
{
    char text[64];
    int64_t wall_ms;
    size_t n = strlen(good);
    ck_assert(parse(slice_of(good), &wall_ms));
    for (size_t i = 0; i < n; i++) {
        snprintf(text, sizeof text, "%s", good);
        text[i] = '?';
        ck_assert_msg(!parse(slice_of(text), &wall_ms), "%s was read", text);
        ck_assert_msg(!parse((struct slice){good, i}, &wall_ms), "%.*s was read", (int)i, good);
    }
}

START_TEST(each_byte_of_a_date_counts)
{
    each_byte_counts("2026-11-22T10:00:00Z", rfc3339_parse);
    each_byte_counts("2026-11-22T10:00:00+05:30", rfc3339_parse);
    each_byte_counts("Thu, 24 Aug 2023 05:01:45 GMT", http_date_parse);
    each_byte_counts("Thursday, 24-Aug-23 05:01:45 GMT", http_date_parse);
    each_byte_counts("Thu Aug 24 05:01:45 2023", http_date_parse);
    each_byte_counts("Sun Nov  6 08:49:37 1994", http_date_parse);
    each_byte_counts("Fri, 14 Oct 2011 23:10:10 -0330", rfc2822_parse);
    each_byte_counts("4 Oct 2011 23:10 PDT", rfc2822_parse);
}
END_TEST

START_TEST(mail_dates)
{
    static const struct {
        const char *text;
        const char *instant;
    } good[] = {
        {"Fri, 14 Oct 2011 23:10:10 -0000", "2011-10-14T23:10:10Z"},
        {"Fri, 14 Oct 2011 23:10:10 GMT", "2011-10-14T23:10:10Z"},
        {"14 Oct 2011 23:10:10 UTC", "2011-10-14T23:10:10Z"},
        {"14 Oct 2011 23:10 UT", "2011-10-14T23:10:00Z"},
        {"4 Oct 2011 23:10 +0530", "2011-10-04T17:40:00Z"},
        {"friday, 14 oct 2011 23:10:10 est", "2011-10-15T04:10:10Z"},
        {"14 Oct 2011 23:10:10 PDT", "2011-10-15T06:10:10Z"},
        {"Sat, 31 Dec 2016 23:59:60 +0000", "2017-01-01T00:00:00Z"},
    };
    static const char *const bad[] = {"",
                                      "Fri",
                                      "Fri 14 Oct 2011 23:10:10 +0000",
                                      "Fri, 14 Oct 11 23:10:10 +0000",
                                      "Fri, 31 Feb 2011 23:10:10 +0000",
                                      "Fri, 14 Oct 2011 24:10:10 +0000",
                                      "Fri, 14 Oct 2011 23:60:10 +0000",
                                      "Fri, 14 Oct 2011 23:10:61 +0000",
                                      "Fri, 14 Oct 2011 23:10:10 +0060",
                                      "Fri, 14 Oct 2011 23:10:10 +00:00",
                                      "Fri, 14 Oct 2011 23:10:10 Z",
                                      "Fri, 14 Oct 2011 23:10:10 +0000 (UTC)",
                                      "2011-10-14T23:10:10Z",
                                      "1318633810"};
    char text[RFC3339_MAX];
    int64_t wall_ms = 0;
    for (size_t i = 0; i < N_ELEMENTS(good); i++) {
        ck_assert_msg(rfc2822_parse(slice_of(good[i].text), &wall_ms), "%s", good[i].text);
        ck_assert_str_eq(rfc3339_format(wall_ms, text), good[i].instant);
    }
    for (size_t i = 0; i < N_ELEMENTS(bad); i++)
        ck_assert_msg(!rfc2822_parse(slice_of(bad[i]), &wall_ms), "%s was read", bad[i]);
}
END_TEST

START_TEST(http_dates)
{
    static const char *const good[] = {"Thu, 24 Aug 2023 05:01:45 GMT", "Thursday, 24-Aug-23 05:01:45 GMT",
                                       "Thu Aug 24 05:01:45 2023"};
    int64_t wall_ms;
    for (size_t i = 0; i < N_ELEMENTS(good); i++) {
        wall_ms = 0;
        ck_assert_msg(http_date_parse(slice_of(good[i]), &wall_ms), "%s", good[i]);
        ck_assert_int_eq(wall_ms, INT64_C(1692853305000));
    }
    ck_assert(http_date_parse(SLICE("Sun Nov  6 08:49:37 1994"), &wall_ms));
    ck_assert_int_eq(wall_ms, INT64_C(784111777000));
    ck_assert(http_date_parse(SLICE("Sunday, 06-Nov-94 08:49:37 GMT"), &wall_ms));
    ck_assert_int_eq(wall_ms, INT64_C(784111777000));
    static const char *const bad[] = {"",
                                      "Thu",
                                      "120",
                                      "Thu, 24 Aug 2023 05:01:45",
                                      "Thu, 24 Aug 2023 05:01:45 EST",
                                      "Thu, 24 Aug 2023 05:01:45 GMT ",
                                      "Thu, 24 Aug 2023 05:01:45 +0000",
                                      "Thu, 31 Jun 2023 05:01:45 GMT",
                                      "Thu, 24 Foo 2023 05:01:45 GMT",
                                      "Thu, 24 Aug 2023 25:01:45 GMT",
                                      "Foo, 24 Aug 2023 05:01:45 GMT",
                                      "24 Aug 2023 05:01:45 GMT"};
    for (size_t i = 0; i < N_ELEMENTS(bad); i++)
        ck_assert_msg(!http_date_parse(slice_of(bad[i]), &wall_ms), "%s was read", bad[i]);
    char text[RFC2822_MAX];
    ck_assert_str_eq(rfc2822_format(INT64_C(1692853305000), text), "Thu, 24 Aug 2023 05:01:45 +0000");
    ck_assert_str_eq(rfc2822_format(INT64_C(784111777999), text), "Sun, 06 Nov 1994 08:49:37 +0000");
}
END_TEST

START_TEST(retry_after)
{
    int64_t wall_ms = 0;
    ck_assert(retry_after_parse(SLICE("120"), 5000, &wall_ms));
    ck_assert_int_eq(wall_ms, 125000);
    ck_assert(retry_after_parse(SLICE("Thu, 24 Aug 2023 05:01:45 GMT"), 5000, &wall_ms));
    ck_assert_int_eq(wall_ms, INT64_C(1692853305000));
    ck_assert(!retry_after_parse(SLICE("-1"), 5000, &wall_ms));
    ck_assert(!retry_after_parse(SLICE("1.5"), 5000, &wall_ms));
    ck_assert(!retry_after_parse(SLICE("99999999999"), 5000, &wall_ms));
    ck_assert(!retry_after_parse(SLICE(""), 5000, &wall_ms));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("civil");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 120); /* sanitizers */
    tcase_add_test(tests, dates);
    tcase_add_test(tests, days_run_through_the_calendar);
    tcase_add_test(tests, invalid_dates);
    tcase_add_test(tests, easter);
    tcase_add_test(tests, every_zone_and_transition);
    tcase_add_test(tests, known_instants);
    tcase_add_test(tests, extreme_instants);
    tcase_add_test(tests, rfc3339);
    tcase_add_test(tests, rfc3339_refused);
    tcase_add_test(tests, http_dates);
    tcase_add_test(tests, each_byte_of_a_date_counts);
    tcase_add_test(tests, mail_dates);
    tcase_add_test(tests, retry_after);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Windows: the tables of tests/policy/window.cases and window_parse.cases, and what tables cannot say. */
#include <check.h>

#include "postern/policy.h"
#include "postern/zone.h"
#include "tests/policy/cases.h"

#define RULES_MAX 8

/* A section of window.cases. */
struct section {
    struct arena arena;
    struct window_set set;
    const struct zone *zone;
    struct holiday rules[RULES_MAX];
    struct holiday_calendar calendar;
};

static void read_holidays(struct section *s, struct slice text, int line)
{
    while (text.n > 0) {
        struct errmsg e = {""};
        ck_assert_uint_lt(s->calendar.n, RULES_MAX);
        enum err err = holiday_parse(cases_column(&text, ';'), &s->rules[s->calendar.n++], &e);
        ck_assert_msg(err == OK, "line %d: %s", line, e.text);
    }
    s->calendar.rules = s->rules;
    if (s->calendar.n > 0)
        s->set.holidays = &s->calendar;
}

/* "= quiet 21:00-08:00 | UTC | 12-25" */
static void read_section(struct section *s, struct slice text, int line)
{
    arena_clear(&s->arena);
    *s = (struct section){.zone = NULL};
    arena_init(&s->arena, 65536);
    text = slice_trim((struct slice){text.p + 1, text.n - 1});
    struct slice set = cases_column(&text, '|');
    struct slice zone = cases_column(&text, '|');
    struct slice sense = cases_column(&set, ' ');
    ck_assert_msg(slice_eq_cstr(sense, "quiet") || slice_eq_cstr(sense, "allowed"), "line %d", line);
    struct errmsg e = {""};
    enum err err =
        window_parse(set, slice_eq_cstr(sense, "quiet") ? WINDOW_QUIET : WINDOW_ALLOWED, &s->arena, &s->set, &e);
    ck_assert_msg(err == OK, "line %d: %s", line, e.text);
    char name[ZONE_NAME_MAX];
    snprintf(name, sizeof name, "%.*s", SLICE_ARG(zone));
    s->zone = zone_get(name);
    ck_assert_msg(s->zone != NULL, "line %d: no zone %s", line, name);
    read_holidays(s, slice_trim(text), line);
}

/* RFC 3339, with the seconds left out when they are zero. */
static int64_t read_instant(struct slice s, int line)
{
    char text[64];
    bool seconds = s.n > 16 && s.p[16] == ':';
    ck_assert_msg(s.n > 16, "line %d: \"%.*s\"", line, SLICE_ARG(s));
    snprintf(text, sizeof text, "%.16s%s%.*s", s.p, seconds ? "" : ":00", (int)s.n - 16, s.p + 16);
    int64_t ms = 0;
    ck_assert_msg(rfc3339_parse(slice_of(text), &ms), "line %d: %s", line, text);
    return ms;
}

static void check_instant(const char *what, int line, int64_t found, int64_t wanted)
{
    char a[RFC3339_MAX] = "never", b[RFC3339_MAX] = "never";
    if (found != INT64_MAX)
        rfc3339_format(found, a);
    if (wanted != INT64_MAX)
        rfc3339_format(wanted, b);
    ck_assert_msg(found == wanted, "window.cases line %d: %s is %s, not %s", line, what, a, b);
}

START_TEST(next_table)
{
    struct cases cases;
    struct slice line;
    struct section section = {.zone = NULL};
    int n = 0;
    CASES_OPEN(&cases, "window.cases");
    while (cases_next(&cases, &line)) {
        if (line.p[0] == '=') {
            read_section(&section, line, cases.number);
            continue;
        }
        struct slice at_text = cases_column(&line, ' ');
        struct slice release_text = cases_column(&line, ' ');
        struct slice until_text = slice_trim(line);
        int64_t at = read_instant(at_text, cases.number);
        int64_t release = at, until = INT64_MAX, found_until;
        if (slice_eq_cstr(release_text, "never"))
            release = INT64_MAX;
        else if (!slice_eq_cstr(release_text, "open"))
            release = read_instant(release_text, cases.number);
        if (!slice_eq_cstr(until_text, "never"))
            until = read_instant(until_text, cases.number);
        check_instant("release", cases.number, window_next(&section.set, section.zone, at, &found_until), release);
        check_instant("until", cases.number, found_until, until);
        n++;
    }
    arena_clear(&section.arena);
    ck_assert_int_gt(n, 140);
}
END_TEST

/* --- reading --- */

struct text {
    char p[1024];
    size_t n;
};

static void add(struct text *t, const char *piece)
{
    t->n += (size_t)snprintf(t->p + t->n, sizeof t->p - t->n, "%s", piece);
    ck_assert_uint_lt(t->n, sizeof t->p);
}

static void add_windows(struct text *t, const char *day, const struct day_windows *w, bool even_none)
{
    if (w->n == 0 && !even_none)
        return;
    if (t->n > 0)
        add(t, "; ");
    add(t, day);
    add(t, w->n == 0 ? " none" : "");
    for (unsigned i = 0; i < w->n; i++) {
        char piece[32];
        snprintf(piece, sizeof piece, "%s%02d:%02d-%02d:%02d", i == 0 ? " " : ",", w->w[i].start_min / 60,
                 w->w[i].start_min % 60, w->w[i].end_min / 60, w->w[i].end_min % 60);
        add(t, piece);
    }
}

static void format_set(struct text *t, const struct window_set *s)
{
    static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    for (size_t i = 0; i < N_ELEMENTS(days); i++)
        add_windows(t, days[i], &s->weekday[i], false);
    add_windows(t, "holidays", &s->on_holidays, false);
    for (size_t i = 0; i < s->n_dates; i++) {
        struct date d = date_from_days(s->dates[i].days);
        char name[16];
        snprintf(name, sizeof name, "%04d-%02d-%02d", d.year % 10000, d.month % 100, d.day % 100);
        add_windows(t, name, &s->dates[i].windows, true);
    }
}

static const char *err_text(enum err err)
{
    switch (err) {
    case OK:
        return "OK";
    case ERR_SYNTAX:
        return "ERR_SYNTAX";
    case ERR_LIMIT:
        return "ERR_LIMIT";
    case ERR_CONFLICT:
        return "ERR_CONFLICT";
    case ERR_NOT_FOUND:
    case ERR_TIMEOUT:
    case ERR_UNAVAILABLE:
    case ERR_INTERNAL:
        break;
    }
    return "an error that reading never gives";
}

START_TEST(parse_table)
{
    struct cases cases;
    struct slice line;
    int n = 0;
    CASES_OPEN(&cases, "window_parse.cases");
    while (cases_next(&cases, &line)) {
        struct slice text = cases_column(&line, '|');
        struct slice wanted = slice_trim(line);
        struct slice code = SLICE("OK");
        if (slice_starts(wanted, "!")) {
            code = cases_column(&wanted, '|');
            code = slice_trim((struct slice){code.p + 1, code.n - 1});
            wanted = slice_trim(wanted);
        }
        struct arena arena = {.head = NULL};
        struct window_set set;
        struct errmsg e = {""};
        struct text found = {.n = 0};
        arena_init(&arena, 65536);
        enum err err = window_parse(text, WINDOW_ALLOWED, &arena, &set, &e);
        ck_assert_msg(slice_eq_cstr(code, err_text(err)), "line %d: %s %s", cases.number, err_text(err), e.text);
        if (err == OK)
            format_set(&found, &set);
        ck_assert_msg(slice_eq_cstr(wanted, err == OK ? found.p : e.text), "line %d: \"%s\"", cases.number,
                      err == OK ? found.p : e.text);
        arena_clear(&arena);
        n++;
    }
    ck_assert_int_gt(n, 45);
}
END_TEST

START_TEST(holidays_are_closed_unless_stated)
{
    struct window_set set;
    ck_assert_int_eq(window_parse(SLICE("21:00-08:00"), WINDOW_QUIET, NULL, &set, NULL), OK);
    ck_assert_int_eq(set.sense, WINDOW_QUIET);
    ck_assert_uint_eq(set.on_holidays.n, 1);
    ck_assert_uint_eq(set.on_holidays.w[0].start_min, 0);
    ck_assert_uint_eq(set.on_holidays.w[0].end_min, 1440);
    ck_assert_int_eq(window_parse(SLICE("21:00-08:00; holidays none"), WINDOW_QUIET, NULL, &set, NULL), OK);
    ck_assert_uint_eq(set.on_holidays.n, 0);
    ck_assert_int_eq(window_parse(SLICE("08:00-21:00"), WINDOW_ALLOWED, NULL, &set, NULL), OK);
    ck_assert_int_eq(set.sense, WINDOW_ALLOWED);
    ck_assert_uint_eq(set.on_holidays.n, 0);
}
END_TEST

START_TEST(dates_need_an_arena)
{
    struct window_set set;
    struct errmsg e;
    ck_assert_int_eq(window_parse(SLICE("2026-12-24 none"), WINDOW_ALLOWED, NULL, &set, &e), ERR_SYNTAX);
    ck_assert_str_eq(e.text, "\"2026-12-24\": dates cannot stand here, only days of the week");
}
END_TEST

/* A year of dates is read, in any order; one more is refused, before memory is asked for it. */
START_TEST(dates_are_limited)
{
    static char text[64 * (WINDOW_DATES_MAX + 1)];
    size_t used = 0;
    int32_t first = date_to_days((struct date){2026, 1, 1});
    for (int i = WINDOW_DATES_MAX; i >= 0; i--) {
        struct date d = date_from_days(first + i);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%04d-%02d-%02d 08:00-09:00",
                                 i == WINDOW_DATES_MAX ? "" : ";", d.year, d.month, d.day);
    }
    struct arena arena = {.head = NULL};
    struct window_set set;
    struct errmsg e;
    arena_init(&arena, 65536);
    struct slice all = slice_of(text);
    size_t one = sizeof ";2026-01-01 08:00-09:00" - 1;
    ck_assert_int_eq(window_parse((struct slice){all.p, all.n - one}, WINDOW_ALLOWED, &arena, &set, &e), OK);
    ck_assert_uint_eq(set.n_dates, WINDOW_DATES_MAX);
    for (size_t i = 1; i < set.n_dates; i++)
        ck_assert_int_eq(set.dates[i].days, set.dates[i - 1].days + 1);
    ck_assert_int_eq(window_parse(all, WINDOW_ALLOWED, &arena, &set, &e), ERR_LIMIT);
    ck_assert_str_eq(e.text, "\"2026-01-01\": too many dates, at most 366");
    arena_clear(&arena);
    arena_init(&arena, 64);
    ck_assert_int_eq(window_parse(all, WINDOW_ALLOWED, &arena, &set, &e), ERR_LIMIT);
    arena_clear(&arena);
}
END_TEST

/* Every prefix of a good text and every single wrong byte in it: read or refused, never worse. */
START_TEST(parse_survives_anything)
{
    static const char good[] =
        "mon-fri 08:00-12:00,13:00-18:00; holidays none; 2026-12-24 08:00-12:00; sat 21:00-24:00";
    char *text = malloc(sizeof good); /* so that a sanitizer sees a read past the end */
    struct arena arena = {.head = NULL};
    arena_init(&arena, 65536);
    for (size_t n = 0; n < sizeof good; n++) {
        struct window_set set;
        char *exact = malloc(n == 0 ? 1 : n);
        memcpy(exact, good, n);
        struct errmsg e = {""};
        if (window_parse((struct slice){exact, n}, WINDOW_QUIET, &arena, &set, &e) != OK)
            ck_assert_str_ne(e.text, "");
        free(exact);
    }
    for (size_t i = 0; i < sizeof good - 1; i++) {
        for (int byte = 0; byte < 256; byte++) {
            struct window_set set;
            struct errmsg e = {""};
            memcpy(text, good, sizeof good - 1);
            text[i] = (char)byte;
            arena_clear(&arena);
            if (window_parse((struct slice){text, sizeof good - 1}, WINDOW_QUIET, &arena, &set, &e) != OK)
                ck_assert_str_ne(e.text, "");
        }
    }
    arena_clear(&arena);
    free(text);
}
END_TEST

START_TEST(empty_means_no_window_at_all)
{
    struct date_windows closed = {.days = 20000};
    struct date_windows open = {.days = 20000, .windows = {.w = {{480, 540}}, .n = 1}};
    struct holiday_calendar calendar = {"none", NULL, 0};
    struct window_set set = {.sense = WINDOW_ALLOWED};
    ck_assert(window_set_is_empty(&set));
    set.dates = &closed;
    set.n_dates = 1;
    ck_assert(window_set_is_empty(&set));
    set.dates = &open;
    ck_assert(!window_set_is_empty(&set));
    set.n_dates = 0;
    set.on_holidays.n = 1;
    ck_assert(window_set_is_empty(&set)); /* without a calendar there are no holidays */
    set.holidays = &calendar;
    ck_assert(!window_set_is_empty(&set));
    set = (struct window_set){.sense = WINDOW_QUIET};
    ck_assert(window_set_is_empty(&set));
    set.weekday[SUNDAY].n = 1;
    ck_assert(!window_set_is_empty(&set));
}
END_TEST

START_TEST(never_stays_never)
{
    struct window_set set;
    int64_t until;
    ck_assert_int_eq(window_parse(SLICE("08:00-21:00"), WINDOW_ALLOWED, NULL, &set, NULL), OK);
    ck_assert_int_eq(window_next(&set, zone_get("UTC"), INT64_MAX, &until), INT64_MAX);
    ck_assert_int_eq(until, INT64_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy/window");
    TCase *tcase = tcase_create("window");
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, next_table);
    tcase_add_test(tcase, parse_table);
    tcase_add_test(tcase, holidays_are_closed_unless_stated);
    tcase_add_test(tcase, dates_need_an_arena);
    tcase_add_test(tcase, dates_are_limited);
    tcase_add_test(tcase, parse_survives_anything);
    tcase_add_test(tcase, empty_means_no_window_at_all);
    tcase_add_test(tcase, never_stays_never);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/*
 * Windows against every zone of the tz database, 2024 to 2030: each minute of the three hours on both sides of
 * every clock change, and random instants.  The oracle knows no boundaries and no conversion from local time: it
 * reads the local clock minute by minute and looks at what the clock says.
 */
#include <check.h>

#include "postern/policy.h"
#include "postern/zone.h"
#include "tests/policy/cases.h"

#define WEEK_MINUTES    (7 * MINUTES_PER_DAY)
#define VIEW_BEFORE     (2 * MINUTES_PER_DAY)
#define VIEW_MINUTES    (5 * MINUTES_PER_DAY)
#define VIEW_TRUSTED    (VIEW_MINUTES - 1440) /* a clock change at the very end is seen by half */
#define LOCAL_MINUTES   (VIEW_MINUTES + 3 * MINUTES_PER_DAY)
#define AROUND_MINUTES  180
#define RANDOM_PER_ZONE 4
#define ZONES_MAX       1000

/* Most begin or end at night, where clocks change. */
static const struct {
    enum window_sense sense;
    const char *text;
} set_texts[] = {
    {WINDOW_QUIET, "21:00-08:00"},
    {WINDOW_ALLOWED, "mon-sat 09:00-20:00; sun 12:00-20:00"},
    {WINDOW_ALLOWED, "mon-fri 10:00-13:00,14:00-20:00"},
    {WINDOW_QUIET, "01:30-02:30"},
    {WINDOW_QUIET, "00:00-00:15,01:10-01:20,02:10-02:50,23:30-23:45"},
    {WINDOW_ALLOWED, "00:20-00:40,01:00-01:35,02:15-02:45,22:50-00:10"},
    {WINDOW_QUIET, "sat 22:00-01:40; sun 02:20-01:50; mon 23:50-03:00"},
    {WINDOW_ALLOWED, "sat 20:00-24:00; sun 00:00-02:00,03:00-24:00; mon-fri 00:00-24:00"},
};
#define SETS N_ELEMENTS(set_texts)

static struct window_set sets[SETS];
static bool quiet_by_clock[SETS][WEEK_MINUTES]; /* by weekday and minute */

static void prepare_sets(void)
{
    for (size_t i = 0; i < SETS; i++) {
        struct errmsg e = {""};
        enum err err = window_parse(slice_of(set_texts[i].text), set_texts[i].sense, NULL, &sets[i], &e);
        ck_assert_msg(err == OK, "%s: %s", set_texts[i].text, e.text);
        for (int m = 0; m < WEEK_MINUTES; m++)
            quiet_by_clock[i][m] = set_texts[i].sense == WINDOW_ALLOWED;
        for (int m = 0; m < WEEK_MINUTES; m++) {
            const struct day_windows *w = &sets[i].weekday[m / MINUTES_PER_DAY];
            for (unsigned k = 0; k < w->n; k++) {
                if (w->w[k].start_min != m % MINUTES_PER_DAY)
                    continue;
                for (int on = 0; on < w->w[k].end_min - w->w[k].start_min; on++)
                    quiet_by_clock[i][(m + on) % WEEK_MINUTES] = set_texts[i].sense == WINDOW_QUIET;
            }
        }
    }
}

/* Five days of a zone, minute by minute. */
struct view {
    const struct zone *zone;
    int64_t start_ms;
    int clock[VIEW_MINUTES];      /* minutes since local midnight of the first day */
    int week_start;               /* weekday of that midnight, in minutes */
    bool quiet[VIEW_MINUTES];     /* for one set */
    int next_open[VIEW_MINUTES];  /* index; VIEW_MINUTES: not in view */
    int next_quiet[VIEW_MINUTES]; /* likewise */
};

static void view_read(struct view *v, const struct zone *z, int64_t middle_ms)
{
    v->zone = z;
    v->start_ms = middle_ms - middle_ms % MS_PER_MINUTE - (int64_t)VIEW_BEFORE * MS_PER_MINUTE;
    struct local_time first = zone_to_local(z, v->start_ms);
    int32_t day = first.days - 1; /* the clock may go back over the first midnight */
    v->week_start = (int)date_weekday(day) * MINUTES_PER_DAY;
    bool whole_minutes = true;
    for (int i = 0; i < VIEW_MINUTES; i++) {
        struct local_time l = zone_to_local(z, v->start_ms + i * MS_PER_MINUTE);
        v->clock[i] = (l.days - day) * MINUTES_PER_DAY + l.minute;
        whole_minutes = whole_minutes && l.second == 0 && v->clock[i] >= 0 && v->clock[i] < LOCAL_MINUTES;
    }
    ck_assert(whole_minutes); /* once: Check writes to a pipe at each assertion */
}

/*
 * An instant is quiet when its clock says so, and when it lies between two instants of one quiet stretch of the
 * clock: where an hour comes twice, the stretch lasts from its first reading to its last, and "until 01:00" means
 * the second 01:00.
 */
static void view_mark(struct view *v, const bool *quiet_clock)
{
    static int stretch[LOCAL_MINUTES], first[LOCAL_MINUTES], last[LOCAL_MINUTES];
    int n = 0;
    for (int m = 0; m < LOCAL_MINUTES; m++) {
        bool quiet = quiet_clock[(v->week_start + m) % WEEK_MINUTES];
        if (quiet && (m == 0 || stretch[m - 1] < 0)) {
            first[n] = VIEW_MINUTES;
            last[n++] = -1;
        }
        stretch[m] = quiet ? n - 1 : -1;
    }
    for (int i = 0; i < VIEW_MINUTES; i++) {
        int s = stretch[v->clock[i]];
        if (s >= 0 && first[s] > i)
            first[s] = i;
        if (s >= 0)
            last[s] = i;
        else if (v->clock[i] > 0 && stretch[v->clock[i] - 1] >= 0)
            last[stretch[v->clock[i] - 1]] = i - 1;
        v->quiet[i] = false;
    }
    for (int s = 0; s < n; s++) {
        for (int i = first[s]; i <= last[s]; i++)
            v->quiet[i] = true;
    }
    int open = VIEW_MINUTES, quiet = VIEW_MINUTES;
    for (int i = VIEW_MINUTES - 1; i >= 0; i--) {
        open = v->quiet[i] ? open : i;
        quiet = v->quiet[i] ? i : quiet;
        v->next_open[i] = open;
        v->next_quiet[i] = quiet;
    }
}

static int64_t view_instant(const struct view *v, int index)
{
    return v->start_ms + index * MS_PER_MINUTE;
}

/* A boundary that the oracle sees must be the one found; one beyond the view must be found beyond it. */
static bool agrees(const struct view *v, int index, int64_t found_ms)
{
    if (index < VIEW_TRUSTED)
        return found_ms == view_instant(v, index);
    return found_ms >= view_instant(v, VIEW_TRUSTED);
}

static void report(const struct view *v, size_t set, int64_t at_ms, int64_t release_ms, int64_t until_ms,
                   const char *what)
{
    char at[RFC3339_MAX], release[RFC3339_MAX] = "never", until[RFC3339_MAX] = "never";
    rfc3339_format(at_ms, at);
    if (release_ms != INT64_MAX)
        rfc3339_format(release_ms, release);
    if (until_ms != INT64_MAX)
        rfc3339_format(until_ms, until);
    ck_abort_msg("%s, \"%s\", at %s: release %s until %s: %s", v->zone->name, set_texts[set].text, at, release, until,
                 what);
}

static void check_instant(const struct view *v, size_t set, int64_t at_ms)
{
    int i = (int)((at_ms - v->start_ms) / MS_PER_MINUTE);
    int64_t until, until_again;
    int64_t release = window_next(&sets[set], v->zone, at_ms, &until);
    const char *wrong = NULL;
    if (release < at_ms)
        wrong = "earlier than asked";
    else if (!v->quiet[i] && release != at_ms)
        wrong = "held back although it is open";
    else if (v->quiet[i] && !agrees(v, v->next_open[i], release))
        wrong = "not the first open instant";
    else if (until <= release && release != INT64_MAX)
        wrong = "ends before it opens";
    int64_t index = release == INT64_MAX ? INT64_MAX : (release - v->start_ms) / MS_PER_MINUTE;
    if (wrong == NULL && index < VIEW_TRUSTED) {
        if (v->quiet[index])
            wrong = "quiet at release";
        else if (release != at_ms && !v->quiet[index - 1])
            wrong = "open just before it opens";
        else if (!agrees(v, v->next_quiet[index], until))
            wrong = "not the first quiet instant after it";
        else if (release != at_ms &&
                 (window_next(&sets[set], v->zone, release, &until_again) != release || until_again != until))
            wrong = "another answer when asked again at release";
    }
    if (wrong != NULL)
        report(v, set, at_ms, release, until, wrong);
}

/* Numerical Recipes' 64-bit generator: the same instants in each run. */
static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 16;
}

static size_t read_zones(const struct zone **zones)
{
    const char *dir = getenv("TZDIR");
    char path[512], line[512];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/tzdata.zi", dir != NULL ? dir : "/usr/share/zoneinfo");
    FILE *f = fopen(path, "re");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    while (fgets(line, sizeof line, f) != NULL) {
        /* "Z name ..." is a zone; "L target name" only another name for one */
        struct slice rest = slice_of(line);
        if (!slice_eq_cstr(cases_column(&rest, ' '), "Z"))
            continue;
        struct slice word = cases_column(&rest, ' ');
        char name[ZONE_NAME_MAX];
        snprintf(name, sizeof name, "%.*s", SLICE_ARG(word));
        if (strcmp(name, "Factory") == 0) /* tzdata's "not set up yet" */
            continue;
        ck_assert_uint_lt(n, ZONES_MAX);
        zones[n] = zone_get(name);
        ck_assert_msg(zones[n] != NULL, "no zone %s", name);
        n++;
    }
    fclose(f);
    return n;
}

static struct view view;

START_TEST(every_clock_change)
{
    const struct zone *zones[ZONES_MAX];
    size_t n = read_zones(zones), changes = 0;
    int64_t from_s = date_to_days((struct date){2024, 1, 1}) * INT64_C(86400);
    int64_t to_s = date_to_days((struct date){2031, 1, 1}) * INT64_C(86400);
    ck_assert_uint_gt(n, 300);
    for (size_t z = 0; z < n; z++) {
        for (uint32_t t = 0; t < zones[z]->n; t++) {
            int64_t at_s = zones[z]->transitions[t].at_s;
            if (at_s < from_s || at_s >= to_s)
                continue;
            changes++;
            view_read(&view, zones[z], at_s * 1000);
            for (size_t set = 0; set < SETS; set++) {
                view_mark(&view, quiet_by_clock[set]);
                for (int m = -AROUND_MINUTES; m <= AROUND_MINUTES; m++)
                    check_instant(&view, set, at_s * 1000 + m * MS_PER_MINUTE);
                check_instant(&view, set, at_s * 1000 - 1);
            }
        }
    }
    ck_assert_uint_gt(changes, 1000);
}
END_TEST

START_TEST(random_instants)
{
    const struct zone *zones[ZONES_MAX];
    size_t n = read_zones(zones);
    uint64_t state = 20261122;
    int64_t from_ms = date_to_days((struct date){2024, 1, 1}) * MS_PER_DAY;
    int64_t to_ms = date_to_days((struct date){2031, 1, 1}) * MS_PER_DAY;
    for (size_t z = 0; z < n; z++) {
        for (int i = 0; i < RANDOM_PER_ZONE; i++) {
            view_read(&view, zones[z], from_ms + (int64_t)(next_random(&state) % (uint64_t)(to_ms - from_ms)));
            for (size_t set = 0; set < SETS; set++) {
                view_mark(&view, quiet_by_clock[set]);
                for (int k = 0; k < 50; k++) /* anywhere in the view's third day, to the millisecond */
                    check_instant(&view, set,
                                  view_instant(&view, VIEW_BEFORE) + (int64_t)(next_random(&state) % MS_PER_DAY));
            }
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy/window_zones");
    TCase *tcase = tcase_create("zones");
    tcase_set_timeout(tcase, 120);
    tcase_add_unchecked_fixture(tcase, prepare_sets, NULL);
    tcase_add_test(tcase, every_clock_change);
    tcase_add_test(tcase, random_instants);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

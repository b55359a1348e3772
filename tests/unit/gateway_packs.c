/*
 * The packs of rules/ as they are: provenance, review dates, holidays of whole years, and for every hours rule
 * the minutes around its boundaries, made up from the rule itself and decided by the engine with the pack loaded.
 * POSTERN_RULES_DATE=2027-06-01 asks what is due on that day; today when it is not set.
 */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/conf.h"
#include "gateway/place.h"
#include "postern/clock.h"
#include "postern/policy.h"
#include "postern/zone.h"

#define RULES_DIR       TESTS_DIR "/../rules"
#define PACKS_MAX       64
#define REVIEW_DAYS_MAX 180
#define FIRST_YEAR      2024
#define LAST_YEAR       2030

static char names[PACKS_MAX][64];
static size_t n_names;

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void setup(void)
{
    DIR *dir = opendir(RULES_DIR);
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        char *dot = strrchr(d->d_name, '.');
        if (dot == NULL || strcmp(dot, ".yaml") != 0)
            continue;
        ck_assert_uint_lt(n_names, PACKS_MAX);
        snprintf(names[n_names++], sizeof(names[0]), "%.*s", (int)(dot - d->d_name), d->d_name);
    }
    closedir(dir);
    qsort(names, n_names, sizeof(names[0]), compare_names);
    zone_load_all();
    place_load(clock_wall_ms());
}

/* A configuration of those packs; switches: more of policy. */
static struct conf *load(const char *packs, const char *switches)
{
    char path[] = "/tmp/postern_packs_XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    ck_assert_ptr_nonnull(f);
    fprintf(f, "listen: { http: 127.0.0.1:0 }\nrules_dir: %s\npolicy:\n  packs: [%s]\n%s", RULES_DIR, packs, switches);
    fclose(f);
    struct errmsg e = {""};
    struct conf *c = conf_load(path, &e);
    unlink(path);
    ck_assert_msg(c != NULL, "%s: %s", packs, e.text);
    return c;
}

static struct conf *load_all(void)
{
    char packs[PACKS_MAX * 66] = "";
    size_t used = 0;
    for (size_t i = 0; i < n_names; i++)
        used += (size_t)snprintf(packs + used, sizeof(packs) - used, "%s%s", i > 0 ? ", " : "", names[i]);
    return load(packs, "");
}

/* One pack with all of its rules on, whatever their confidence. */
static struct conf *load_whole(const char *name)
{
    char switches[4096] = "  pack_rules:\n";
    size_t used = strlen(switches);
    AUTO(conf_free) struct conf *c = load(name, "");
    for (size_t i = 0; i < c->packs[0].n_rules; i++)
        used += (size_t)snprintf(switches + used, sizeof(switches) - used,
                                 "    - { rule: %s, switch: on, reason: test }\n", c->packs[0].rules[i].full_name);
    ck_assert_uint_lt(used, sizeof(switches));
    return load(name, switches);
}

static char *date_text(int32_t days, char out[16])
{
    struct date d = date_from_days(days);
    snprintf(out, 16, "%04d-%02d-%02d", d.year % 10000, d.month % 100, d.day % 100);
    return out;
}

/* --- provenance ------------------------------------------------------------------------- */

START_TEST(the_packs_are_there)
{
    static const char *const wanted[] = {"us-federal", "us-strict", "us-fl",     "us-ok",       "us-md", "us-tx",
                                         "us-wa",      "us-regf",   "ca-casl",   "eu-base",     "uk",    "fr",
                                         "de",         "in",        "au",        "za",          "co",    "kr",
                                         "ae",         "sg",        "mail-bulk", "sms-keywords"};
    for (size_t i = 0; i < N_ELEMENTS(wanted); i++)
        ck_assert_msg(bsearch(wanted[i], names, n_names, sizeof(names[0]), compare_names) != NULL, "%s", wanted[i]);
}
END_TEST

/* From the law's text or a page about it: on.  From memory: off.  All of it with source and dates. */
START_TEST(every_rule_says_where_it_comes_from)
{
    AUTO(conf_free) struct conf *c = load_all();
    size_t n = 0;
    for (size_t i = 0; i < c->n_packs; i++) {
        for (size_t k = 0; k < c->packs[i].n_rules; k++, n++) {
            const struct conf_law *l = &c->packs[i].rules[k];
            ck_assert_msg(strlen(l->source) >= 10, "%s", l->full_name);
            ck_assert_msg(l->on == (l->confidence != 'C'), "%s", l->full_name);
            ck_assert_msg(l->review_days - l->as_of_days <= REVIEW_DAYS_MAX, "%s: review_by is more than %d days off",
                          l->full_name, REVIEW_DAYS_MAX);
        }
    }
    ck_assert_uint_gt(n, 60);
}
END_TEST

START_TEST(nothing_is_due_for_review)
{
    AUTO(conf_free) struct conf *c = load_all();
    const char *asked = getenv("POSTERN_RULES_DATE");
    int32_t today = (int32_t)(clock_wall_ms() / MS_PER_DAY);
    char due[4096] = "", day[16], review[16];
    size_t used = 0;
    if (asked != NULL) {
        struct holiday date;
        struct errmsg e;
        ck_assert_msg(holiday_parse(slice_of(asked), &date, &e) == OK && date.kind == HOLIDAY_DATE,
                      "POSTERN_RULES_DATE=%s is no date", asked);
        today = date_to_days((struct date){date.year, date.month, date.day});
    }
    for (size_t i = 0; i < c->n_packs; i++) {
        for (size_t k = 0; k < c->packs[i].n_rules; k++) {
            const struct conf_law *l = &c->packs[i].rules[k];
            if (today > l->review_days && used < sizeof(due))
                used += (size_t)snprintf(due + used, sizeof(due) - used, "\n  %s: review_by %s", l->full_name,
                                         date_text(l->review_days, review));
        }
    }
    for (const struct conf_calendar *h = c->calendars; h != NULL; h = h->next) {
        if (today > h->review_days && used < sizeof(due))
            used += (size_t)snprintf(due + used, sizeof(due) - used, "\n  holidays/%s: review_by %s", h->name,
                                     date_text(h->review_days, review));
    }
    ck_assert_msg(used == 0,
                  "on %s these are due: read the source again, then set as_of and review_by (or the rule) anew%s",
                  date_text(today, day), due);
}
END_TEST

/* --- holidays --------------------------------------------------------------------------- */

/* All holidays of a year, without the year. */
static void list_year(const struct holiday_calendar *c, int32_t year, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (int32_t day = date_to_days((struct date){year, 1, 1}); date_from_days(day).year == year; day++) {
        char text[16];
        if (holiday_is(c, day))
            used += (size_t)snprintf(out + used, size - used, " %s", date_text(day, text) + 5);
        ck_assert_uint_lt(used, size);
    }
}

/* tests/rules/holidays.txt, which tests/rules/calendars.py holds against another calendar. */
START_TEST(holidays_of_whole_years)
{
    AUTO(conf_free) struct conf *c = load_all();
    char line[1024], want[1024], found[1000];
    FILE *f = fopen(TESTS_DIR "/rules/holidays.txt", "r");
    ck_assert_ptr_nonnull(f);
    do
        ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
    while (line[0] == '#');
    size_t n = 0;
    for (const char *name = NULL;; n++) {
        /* The table is sorted by name and year; the list of calendars is not. */
        const struct conf_calendar *next = NULL;
        for (const struct conf_calendar *h = c->calendars; h != NULL; h = h->next) {
            if ((name == NULL || strcmp(h->name, name) > 0) && (next == NULL || strcmp(h->name, next->name) < 0))
                next = h;
        }
        if (next == NULL)
            break;
        name = next->name;
        for (int32_t year = FIRST_YEAR; year <= LAST_YEAR; year++) {
            list_year(&next->days, year, found, sizeof(found));
            snprintf(want, sizeof(want), "%s %d:%s\n", name, year, found);
            ck_assert_str_eq(line, want);
            if (fgets(line, sizeof(line), f) == NULL)
                line[0] = '\0';
        }
    }
    fclose(f);
    ck_assert_str_eq(line, "");
    ck_assert_uint_ge(n, 12);
}
END_TEST

/* --- boundaries ------------------------------------------------------------------------- */

/* What is asked of the engine: one rule, one place. */
struct asked {
    struct policy policy; /* the pack's, with one hours rule left */
    struct category category;
    struct message message;
    struct profile profile;
    const char *rule;
};

static bool is_open(const struct asked *a, int64_t at_ms)
{
    struct facts f = {.policy = &a->policy, .message = &a->message, .profile = &a->profile, .now_ms = at_ms};
    struct decision d;
    policy_prepare(&f);
    policy_caps(&f);
    policy_decide(&f, &d);
    for (size_t i = 0; i < d.n_violations; i++) {
        if (d.violations[i].rule == RULE_HOURS_LEGAL)
            return false;
    }
    return true;
}

static void expect(const struct asked *a, const char *what, int64_t at_ms, bool open)
{
    char at[RFC3339_MAX];
    ck_assert_msg(is_open(a, at_ms) == open, "%s in %s: %s, %s, must be %s", a->rule, a->profile.zones[0]->name, what,
                  rfc3339_format(at_ms, at), open ? "open" : "closed");
}

static const struct day_windows *windows_of(const struct window_set *s, int32_t days)
{
    bool holiday = s->holidays != NULL && holiday_is(s->holidays, days);
    return holiday ? &s->on_holidays : &s->weekday[date_weekday(days)];
}

/* The boundaries of one local date; how many. */
static size_t check_day(const struct asked *a, const struct legal_window *w, int32_t days)
{
    const struct zone *z = a->profile.zones[0];
    const struct day_windows *d = windows_of(&w->set, days);
    int64_t margin_ms = (w->counts_delivery ? a->policy.delivery_margin_s : a->policy.margin_s) * 1000;
    if (d->n == 0)
        expect(a, "noon of a day without hours", zone_to_utc_ms(z, days, 720, ZONE_EARLIEST), false);
    for (unsigned i = 0; i < d->n; i++) {
        int64_t start = zone_to_utc_ms(z, days, d->w[i].start_min, ZONE_LATEST);
        int64_t end = zone_to_utc_ms(z, days, d->w[i].end_min, ZONE_EARLIEST);
        expect(a, "the minute before the start", start - MS_PER_MINUTE, false);
        expect(a, "the start", start, true);
        expect(a, "the last minute before the margin", end - margin_ms - MS_PER_MINUTE, true);
        expect(a, "within the margin", end - margin_ms, false);
        expect(a, "the end", end, false);
    }
    return 5u * d->n + (d->n == 0);
}

/* The first holiday of 2027 on which the weekday alone would be open; 0: none. */
static int32_t open_but_for_the_holiday(const struct window_set *s)
{
    int32_t first = date_to_days((struct date){2027, 1, 1});
    for (int32_t day = first; s->holidays != NULL && day < first + 365; day++) {
        if (holiday_is(s->holidays, day) && s->weekday[date_weekday(day)].n > 0)
            return day;
    }
    return 0;
}

static size_t check_zone(const struct asked *a, const struct legal_window *w)
{
    const struct zone *z = a->profile.zones[0];
    int32_t monday = date_to_days((struct date){2027, 6, 7});
    size_t n = 0;
    ck_assert_int_eq(date_weekday(monday), MONDAY);
    for (int32_t day = monday; day < monday + 7; day++)
        n += check_day(a, w, day);
    int32_t holiday = open_but_for_the_holiday(&w->set);
    if (w->set.holidays != NULL) {
        ck_assert_msg(holiday != 0, "%s: no holiday matters", a->rule);
        ck_assert_uint_eq(windows_of(&w->set, holiday)->n, w->set.on_holidays.n);
        n += check_day(a, w, holiday);
    }
    /* Clock changes of 2027: the day before, the day, the day after. */
    for (uint32_t i = 0; i < z->n; i++) {
        int32_t day = zone_to_local(z, z->transitions[i].at_s * 1000).days;
        if (date_from_days(day).year != 2027)
            continue;
        for (int32_t around = day - 1; around <= day + 1; around++)
            n += check_day(a, w, around);
    }
    return n;
}

static unsigned lowest_bit(uint32_t set)
{
    unsigned bit = 0;
    while ((set >> bit & 1) == 0)
        bit++;
    return bit;
}

/* In the first and the last zone of each region: where there are several, these are far apart. */
static size_t check_hours_rule(struct asked *a, const struct legal_window *w)
{
    size_t n = 0;
    a->rule = w->law.name;
    a->policy.legal = w;
    a->policy.n_legal = 1;
    policy_forget(&a->policy); /* what was remembered of the rule before */
    category_init(&a->category, (enum message_class)lowest_bit(w->law.classes));
    a->category.name = "any";
    a->category.consent = CONSENT_NONE;
    a->message = (struct message){.category = &a->category, .sender_kind = SENDER_AUTOMATED};
    ck_assert_uint_gt(w->law.n_regions, 0);
    for (unsigned channel = 0; channel < CHANNEL_N; channel++) {
        if ((w->law.channels >> channel & 1) == 0)
            continue;
        a->message.channel = (enum channel)channel;
        for (size_t r = 0; r < w->law.n_regions; r++) {
            const struct zone *zones[LIMIT_CANDIDATE_ZONES];
            size_t n_zones = place_zones(&w->law.regions[r], zones, N_ELEMENTS(zones));
            ck_assert_msg(n_zones > 0, "%s: a region without zones", a->rule);
            for (size_t z = 0; z<n_zones; z += n_zones> 1 ? n_zones - 1 : 1) {
                a->profile = (struct profile){.known = KNOWN, .n_zones = 1, .n_regions = 1};
                a->profile.zones[0] = zones[z];
                a->profile.regions[0] = w->law.regions[r];
                n += check_zone(a, w);
            }
        }
    }
    return n;
}

START_TEST(hours_at_their_boundaries)
{
    size_t rules = 0, checks = 0;
    for (size_t i = 0; i < n_names; i++) {
        AUTO(conf_free) struct conf *c = load_whole(names[i]);
        struct asked *a = xcalloc(1, sizeof(*a));
        for (size_t k = 0; k < c->policy.n_legal; k++, rules++) {
            a->policy = c->policy;
            checks += check_hours_rule(a, &c->policy.legal[k]);
        }
        free(a);
    }
    ck_assert_uint_ge(rules, 20);
    ck_assert_uint_gt(checks, 3000);
}
END_TEST

/* A few hours as the sources say them, by hand: a slip in the data would make its own boundaries. */
static const struct {
    const char *pack, *region, *zone;
    enum message_class class;
    enum channel channel;
    struct date date;
    int hour, minute;
    bool open;
} by_hand[] = {
    {"us-federal", "US-CA", "America/Los_Angeles", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 6}, 20, 57, true},
    {"us-federal", "US-CA", "America/Los_Angeles", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 6}, 20, 58, false},
    {"us-federal", "US-CA", "America/Los_Angeles", CLASS_TRANSACTIONAL, CHANNEL_SMS, {2027, 6, 6}, 23, 0, true},
    {"us-federal", "US-CA", "America/Los_Angeles", CLASS_MARKETING, CHANNEL_EMAIL, {2027, 6, 6}, 23, 0, true},
    {"us-strict", "US-NV", "America/Los_Angeles", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 6}, 11, 59, false},
    {"us-strict", "US-NV", "America/Los_Angeles", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 6}, 12, 0, true},
    {"us-strict", "US-NV", "America/Los_Angeles", CLASS_MARKETING, CHANNEL_SMS, {2027, 7, 5}, 12, 0, false}, /* kept */
    {"us-fl", "US-FL", "America/Chicago", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 8}, 19, 57, true},
    {"us-fl", "US-FL", "America/Chicago", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 8}, 20, 0, false},
    {"us-tx", "US-TX", "America/Chicago", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 5}, 9, 0, true},
    {"us-tx", "US-TX", "America/Chicago", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 6}, 11, 59, false},
    {"us-al", "US-AL", "America/Chicago", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 6}, 12, 0, false},
    {"us-regf", "US-OH", "America/New_York", CLASS_COLLECTIONS, CHANNEL_EMAIL, {2027, 6, 8}, 7, 59, false},
    {"us-regf", "US-OH", "America/New_York", CLASS_COLLECTIONS, CHANNEL_EMAIL, {2027, 6, 8}, 8, 0, true},
    {"us-regf", "US-OH", "America/New_York", CLASS_MARKETING, CHANNEL_EMAIL, {2027, 6, 8}, 7, 59, true},
    {"fr", "FR", "Europe/Paris", CLASS_MARKETING, CHANNEL_VOICE, {2027, 6, 8}, 10, 0, true},
    {"fr", "FR", "Europe/Paris", CLASS_MARKETING, CHANNEL_VOICE, {2027, 6, 8}, 13, 30, false},
    {"fr", "FR", "Europe/Paris", CLASS_MARKETING, CHANNEL_VOICE, {2027, 6, 8}, 14, 0, true},
    {"fr", "FR", "Europe/Paris", CLASS_MARKETING, CHANNEL_VOICE, {2027, 6, 5}, 12, 0, false},  /* Saturday */
    {"fr", "FR", "Europe/Paris", CLASS_MARKETING, CHANNEL_VOICE, {2027, 7, 14}, 12, 0, false}, /* a Wednesday */
    {"in", "IN", "Asia/Kolkata", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 8}, 9, 59, false},
    {"in", "IN", "Asia/Kolkata", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 8}, 10, 0, true},
    {"au", "AU", "Australia/Perth", CLASS_MARKETING, CHANNEL_VOICE, {2027, 6, 5}, 16, 57, true},
    {"au", "AU", "Australia/Perth", CLASS_MARKETING, CHANNEL_VOICE, {2027, 6, 5}, 17, 0, false},
    {"au", "AU", "Australia/Perth", CLASS_MARKETING, CHANNEL_VOICE, {2027, 12, 28}, 12, 0, false}, /* Boxing Day kept */
    {"za", "ZA", "Africa/Johannesburg", CLASS_MARKETING, CHANNEL_EMAIL, {2027, 6, 5}, 12, 57, true},
    {"za", "ZA", "Africa/Johannesburg", CLASS_MARKETING, CHANNEL_EMAIL, {2027, 6, 5}, 13, 0, false},
    {"za", "ZA", "Africa/Johannesburg", CLASS_MARKETING, CHANNEL_EMAIL, {2027, 3, 22}, 12, 0, false}, /* the Monday */
    {"co", "CO", "America/Bogota", CLASS_COLLECTIONS, CHANNEL_SMS, {2027, 6, 8}, 6, 59, false},
    {"co", "CO", "America/Bogota", CLASS_COLLECTIONS, CHANNEL_SMS, {2027, 6, 8}, 7, 0, true},
    {"co", "CO", "America/Bogota", CLASS_MARKETING, CHANNEL_EMAIL, {2027, 1, 11}, 12, 0, false}, /* Reyes, moved */
    {"ae", "AE", "Asia/Dubai", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 8}, 17, 57, true},
    {"ae", "AE", "Asia/Dubai", CLASS_MARKETING, CHANNEL_SMS, {2027, 6, 8}, 18, 0, false},
};

START_TEST(hours_as_the_sources_say)
{
    for (size_t i = 0; i < N_ELEMENTS(by_hand); i++) {
        AUTO(conf_free) struct conf *c = load(by_hand[i].pack, "");
        struct asked a = {.policy = c->policy, .rule = by_hand[i].pack};
        char what[64];
        snprintf(what, sizeof(what), "row %zu", i);
        category_init(&a.category, by_hand[i].class);
        a.message = (struct message){.channel = by_hand[i].channel, .category = &a.category};
        a.profile = (struct profile){.known = KNOWN, .n_zones = 1, .n_regions = 1};
        a.profile.zones[0] = zone_get(by_hand[i].zone);
        ck_assert(region_parse(slice_of(by_hand[i].region), &a.profile.regions[0]));
        expect(&a, what,
               zone_to_utc_ms(a.profile.zones[0], date_to_days(by_hand[i].date),
                              by_hand[i].hour * 60 + by_hand[i].minute, ZONE_EARLIEST),
               by_hand[i].open);
    }
}
END_TEST

/* The neighbouring state is free: a pack binds nobody else. */
START_TEST(a_pack_binds_its_region_only)
{
    AUTO(conf_free) struct conf *c = load("us-fl", "");
    struct asked a = {.policy = c->policy, .rule = "us-fl/hours"};
    int64_t night;
    ck_assert(rfc3339_parse(SLICE("2027-06-08T02:00:00Z"), &night)); /* 22:00 Eastern */
    category_init(&a.category, CLASS_MARKETING);
    a.message = (struct message){.channel = CHANNEL_SMS, .category = &a.category};
    a.profile = (struct profile){.known = KNOWN, .n_zones = 1, .n_regions = 1};
    a.profile.zones[0] = zone_get("America/New_York");
    a.profile.regions[0] = (struct region){"US", "GA"};
    expect(&a, "Georgia", night, true);
    a.profile.regions[0] = (struct region){"US", "FL"};
    expect(&a, "Florida", night, false);
    a.profile.regions[0] = (struct region){"US", ""};
    expect(&a, "the United States, one does not know where", night, false);
    a.profile.n_regions = 0;
    expect(&a, "unknown", night, false);
}
END_TEST

/* Whoever is there is known as a part of the US: a territory by its own code must be the same one. */
START_TEST(a_territory_is_one_by_either_name)
{
    AUTO(conf_free) struct conf *c = load("us-fl", "  default_region: PR\n");
    const struct region *r = &c->policy.default_region;

    ck_assert(region_overlaps(r, &place_of_number("+17875550100")->regions[0]));
    ck_assert_str_eq(r->country, "US");
    ck_assert_str_eq(r->division, "PR");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway/packs");
    TCase *t = tcase_create("packs");
    tcase_set_timeout(t, 120);
    tcase_add_unchecked_fixture(t, setup, NULL);
    tcase_add_test(t, the_packs_are_there);
    tcase_add_test(t, every_rule_says_where_it_comes_from);
    tcase_add_test(t, nothing_is_due_for_review);
    tcase_add_test(t, holidays_of_whole_years);
    tcase_add_test(t, hours_at_their_boundaries);
    tcase_add_test(t, hours_as_the_sources_say);
    tcase_add_test(t, a_pack_binds_its_region_only);
    tcase_add_test(t, a_territory_is_one_by_either_name);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

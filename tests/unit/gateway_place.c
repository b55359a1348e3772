/*
 * Where a recipient may be: numbers, regions, what is stated, and that no candidate is passed over (R17).
 * The instants are fixed: 2027 is the year whose offsets are compared.
 */
#include <check.h>
#include <stdio.h>

#include "gateway/nanp.h"
#include "gateway/place.h"
#include "gateway/zone_guess.h"
#include "postern/policy.h"
#include "postern/zone.h"

#define HOUR_MS INT64_C(3600000)

static int64_t at(const char *rfc3339)
{
    int64_t ms;
    ck_assert(rfc3339_parse(slice_of(rfc3339), &ms));
    return ms;
}

static void setup(void)
{
    zone_load_all();
    place_load(at("2027-01-15T12:00:00Z"));
}

static char *names(const struct zone *const *zones, size_t n, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? " " : "", zones[i]->name);
    ck_assert_uint_lt(used, size);
    return out;
}

static char *region_names(const struct region *regions, size_t n, char *out, size_t size)
{
    char text[REGION_MAX];
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? " " : "", region_format(&regions[i], text));
    ck_assert_uint_lt(used, size);
    return out;
}

/* --- numbers ---------------------------------------------------------------------------- */

static const struct {
    const char *number, *basis, *regions, *own, *beside;
} numbers[] = {
    {"+12125550100", "area_code", "US-NY", "America/New_York", "America/Chicago America/Halifax"},
    {"+13055550100", "area_code", "US-FL", "America/New_York", "America/Chicago America/Halifax"},
    {"+18505550100", "area_code", "US-FL", "America/New_York America/Chicago", "America/Halifax America/Denver"},
    {"+16025550100", "area_code", "US-AZ", "America/Phoenix",
     "America/Los_Angeles America/Chicago America/Anchorage America/Denver"},
    {"+18085550100", "area_code", "US-HI", "Pacific/Honolulu", "America/Anchorage America/Adak"},
    {"+19075550100", "area_code", "US-AK", "America/Anchorage America/Adak", "Pacific/Honolulu America/Los_Angeles"},
    {"+19025550100", "area_code", "CA-NS CA-PE", "America/Halifax", "America/New_York America/Miquelon"},
    {"+17095550100", "area_code", "CA-NL", "America/St_Johns America/Goose_Bay",
     "America/New_York America/Nuuk Atlantic/Cape_Verde America/Miquelon"},
    {"+17875550100", "area_code", "US-PR", "America/Puerto_Rico",
     "America/New_York America/Miquelon America/Chicago America/Halifax"},
    /* Too far out to have neighbours; excluded from what an unknown number may be. */
    {"+16715550100", "area_code", "US-GU", "Pacific/Guam", ""},
    {"+18765550100", "area_code", "JM", "America/Jamaica", ""},
    {"+15550100001", "country", "US CA",
     "America/New_York America/Chicago America/Denver America/Phoenix America/Los_Angeles America/Anchorage "
     "Pacific/Honolulu",
     ""},
    {"+18005550100", "country", "US CA",
     "America/New_York America/Chicago America/Denver America/Phoenix America/Los_Angeles America/Anchorage "
     "Pacific/Honolulu",
     ""},
    {"+442071838750", "country", "GB GG JE IM", "Europe/London Europe/Guernsey Europe/Jersey Europe/Isle_of_Man", ""},
    {"+33123456789", "country", "FR", "Europe/Paris", ""},
    {"+2125550100", "country", "MA EH", "Africa/Casablanca Africa/El_Aaiun", ""},
    {"+88312345678", "default", "", "", ""}, /* of no country */
};

static void check_number(size_t i)
{
    const struct place *p = place_of_number(numbers[i].number);
    char text[1024];
    ck_assert_msg(strcmp(zone_basis_name(p->basis), numbers[i].basis) == 0, "%s: %s", numbers[i].number,
                  zone_basis_name(p->basis));
    ck_assert_str_eq(region_names(p->regions, p->n_regions, text, sizeof(text)), numbers[i].regions);
    ck_assert_str_eq(names(p->zones, p->n_own, text, sizeof(text)), numbers[i].own);
    ck_assert_uint_ge(p->n_zones, p->n_own);
    const struct zone *const *beside = p->n_zones > p->n_own ? p->zones + p->n_own : NULL;
    ck_assert_str_eq(names(beside, p->n_zones - p->n_own, text, sizeof(text)), numbers[i].beside);
}

START_TEST(a_number_is_a_place)
{
    for (size_t i = 0; i < N_ELEMENTS(numbers); i++)
        check_number(i);
}
END_TEST

/* These span zones, so each of them is a set. */
START_TEST(codes_that_span_zones_are_sets)
{
    static const int spanning[] = {208, 219, 220, 250, 270, 308, 418, 423, 541, 574, 605, 606, 620,
                                   701, 709, 775, 785, 807, 812, 850, 867, 879, 906, 907, 928, 986};
    char number[24];
    for (size_t i = 0; i < N_ELEMENTS(spanning); i++) {
        snprintf(number, sizeof(number), "+1%d5550100", spanning[i]);
        ck_assert_msg(place_of_number(number)->n_own >= 2, "%d", spanning[i]);
    }
}
END_TEST

/* Every hour of a year, of every code: some candidate is an hour to each side of every zone that the code has. */
START_TEST(a_code_has_its_neighbours_all_year)
{
    char number[24];
    size_t seen = 0;
    for (int code = 200; code < NANP_CODES; code++) {
        snprintf(number, sizeof(number), "+1%03d5550100", code);
        const struct place *p = place_of_number(number);
        if (p->basis != ZONE_BASIS_AREA_CODE || p->n_zones == p->n_own)
            continue;
        seen++;
        for (int64_t day = 0; day < 365; day += 5) {
            int64_t s = (at("2027-01-15T12:00:00Z") + day * MS_PER_DAY) / 1000;
            int32_t west = INT32_MAX, east = INT32_MIN, own_west = INT32_MAX, own_east = INT32_MIN;
            for (size_t i = 0; i < p->n_zones; i++) {
                int32_t offset = zone_offset_s(p->zones[i], s);
                west = offset < west ? offset : west;
                east = offset > east ? offset : east;
                own_west = i < p->n_own && offset < own_west ? offset : own_west;
                own_east = i < p->n_own && offset > own_east ? offset : own_east;
            }
            bool westmost = own_west <= -36000; /* Hawaii: Samoa is left out on purpose */
            ck_assert_msg(westmost || west <= own_west - 3600, "%d has no neighbour to the west on day %d", code,
                          (int)day);
            ck_assert_msg(east >= own_east + 3600, "%d has no neighbour to the east on day %d", code, (int)day);
        }
    }
    ck_assert_uint_gt(seen, 400);
}
END_TEST

/* --- regions ------------------------------------------------------------------------------ */

static const struct {
    const char *text, *region, *zones; /* region NULL: refused */
} regions[] = {
    {"US-FL", "US-FL", "America/New_York America/Chicago"},
    {"US-TX", "US-TX", "America/Chicago America/Denver"},
    {"CA-PE", "CA-PE", "America/Halifax"},
    {"PR", "US-PR", "America/Puerto_Rico"},
    {"FR", "FR", "Europe/Paris"},
    {"DE-BY", "DE-BY", "Europe/Berlin Europe/Busingen"},
    {"US-XX", NULL, NULL},
    {"CA-TX", NULL, NULL},
    {"us-fl", NULL, NULL},
    {"XX", NULL, NULL},
    {"Florida", NULL, NULL},
    {"US-", NULL, NULL},
    {"", NULL, NULL},
};

static void check_region(size_t i)
{
    struct region r;
    const struct zone *zones[LIMIT_CANDIDATE_ZONES];
    char text[256];
    bool known = place_region(slice_of(regions[i].text), &r);
    ck_assert_msg(known == (regions[i].region != NULL), "%s", regions[i].text);
    if (!known)
        return;
    ck_assert_str_eq(region_format(&r, text), regions[i].region);
    ck_assert_str_eq(names(zones, place_zones(&r, zones, N_ELEMENTS(zones)), text, sizeof(text)), regions[i].zones);
    ck_assert_uint_le(place_zones(&r, zones, 1), 1);
}

START_TEST(a_region_has_zones)
{
    for (size_t i = 0; i < N_ELEMENTS(regions); i++)
        check_region(i);
}
END_TEST

/* --- what is stated and what is guessed ------------------------------------------------------ */

#define HIGH CONFIDENCE_HIGH
#define LOW  CONFIDENCE_LOW

/* zone and region as stated ("" = not), with source and confidence; what comes of it. */
static const struct {
    const char *to, *zone;
    enum source zone_source;
    enum confidence zone_confidence;
    const char *region;
    enum source region_source;
    enum confidence region_confidence;
    const char *basis, *regions, *zones;
} guesses[] = {
    {"+12125550100", "", 0, 0, "", 0, 0, "area_code", "US-NY", "America/New_York America/Chicago America/Halifax"},
    /* A certain zone is the zone; the number still says whose law binds. */
    {"+12125550100", "America/Denver", SOURCE_CUSTOMER, HIGH, "", 0, 0, "explicit", "US-NY", "America/Denver"},
    /* A certain region takes the number's place, for zones and for law. */
    {"+12125550100", "", 0, 0, "US-FL", SOURCE_CUSTOMER, HIGH, "explicit", "US-FL", "America/New_York America/Chicago"},
    {"+12125550100", "", 0, 0, "FR", SOURCE_IMPORT, HIGH, "postal", "FR", "Europe/Paris"},
    {"+12125550100", "America/Chicago", SOURCE_AGENT, HIGH, "US-FL", SOURCE_CUSTOMER, HIGH, "agent", "US-FL",
     "America/Chicago"},
    /* What is not certain adds candidates. */
    {"+12125550100", "", 0, 0, "US-TX", SOURCE_BEHAVIOUR, LOW, "device", "US-TX US-NY",
     "America/Chicago America/Denver America/New_York America/Halifax"},
    {"+12125550100", "America/Denver", SOURCE_BEHAVIOUR, LOW, "", 0, 0, "device", "US-NY",
     "America/Denver America/New_York America/Chicago America/Halifax"},
    {"+12125550100", "America/Denver", SOURCE_BEHAVIOUR, LOW, "US-FL", SOURCE_AGENT, HIGH, "device", "US-FL",
     "America/Denver America/New_York America/Chicago"},
    /* An address that says nothing. */
    {"ann@example.com", "", 0, 0, "", 0, 0, "default", "", "Europe/Berlin"},
    {"ann@example.com", "", 0, 0, "US-FL", SOURCE_CUSTOMER, HIGH, "explicit", "US-FL",
     "America/New_York America/Chicago"},
    {"ann@example.com", "Asia/Tokyo", SOURCE_IMPORT, HIGH, "", 0, 0, "postal", "", "Asia/Tokyo"},
    {"ann@example.com", "Asia/Tokyo", SOURCE_BEHAVIOUR, LOW, "", 0, 0, "device", "", "Asia/Tokyo Europe/Berlin"},
    /* What does not exist (any more) says nothing. */
    {"+12125550100", "Mars/Olympus", SOURCE_CUSTOMER, HIGH, "US-XX", SOURCE_CUSTOMER, HIGH, "area_code", "US-NY",
     "America/New_York America/Chicago America/Halifax"},
    {"+88312345678", "", 0, 0, "", 0, 0, "default", "", "Europe/Berlin"},
};

static void check_guess(size_t i)
{
    struct preference said[2];
    struct profile p = {.known = KNOWN, .preferences = said};
    struct address to;
    struct errmsg e;
    char text[512];
    if (guesses[i].zone[0] != '\0')
        said[p.n_preferences++] = (struct preference){.key = PREFERENCE_ZONE,
                                                      .text = slice_of(guesses[i].zone),
                                                      .source = guesses[i].zone_source,
                                                      .confidence = guesses[i].zone_confidence};
    if (guesses[i].region[0] != '\0')
        said[p.n_preferences++] = (struct preference){.key = PREFERENCE_REGION,
                                                      .text = slice_of(guesses[i].region),
                                                      .source = guesses[i].region_source,
                                                      .confidence = guesses[i].region_confidence};
    bool phone = guesses[i].to[0] == '+';
    ck_assert_int_eq(phone ? address_parse_phone(slice_of(guesses[i].to), &to, &e)
                           : address_parse_email(slice_of(guesses[i].to), &to, &e),
                     OK);
    zone_guess(&p, &to, zone_get("Europe/Berlin"));
    ck_assert_msg(strcmp(zone_basis_name(p.zone_basis), guesses[i].basis) == 0, "row %zu: %s", i,
                  zone_basis_name(p.zone_basis));
    ck_assert_str_eq(region_names(p.regions, p.n_regions, text, sizeof(text)), guesses[i].regions);
    ck_assert_str_eq(names(p.zones, p.n_zones, text, sizeof(text)), guesses[i].zones);
}

START_TEST(a_guess_takes_what_is_certain)
{
    for (size_t i = 0; i < N_ELEMENTS(guesses); i++)
        check_guess(i);
}
END_TEST

/* --- R17: no hour that a candidate forbids ------------------------------------------------------ */

/* Days of 2027: both clock changes of the continent with their eves, and one a month. */
static const char *const sampled[] = {"2027-03-13", "2027-03-14", "2027-11-06", "2027-11-07", "2027-01-15",
                                      "2027-02-15", "2027-04-15", "2027-05-15", "2027-06-15", "2027-07-15",
                                      "2027-08-15", "2027-09-15", "2027-10-15", "2027-12-15"};

static bool open_by_clock(const struct zone *z, int64_t at_ms)
{
    struct local_time t = zone_to_local(z, at_ms);
    return t.minute >= 8 * 60 && t.minute < 21 * 60;
}

START_TEST(no_hour_is_allowed_that_a_candidate_forbids)
{
    static struct legal_window law = {.law = {.pack = "test",
                                              .name = "test/hours",
                                              .classes = 1u << CLASS_MARKETING,
                                              .channels = 1u << CHANNEL_SMS,
                                              .from_days = INT32_MIN,
                                              .to_days = INT32_MAX}};
    static struct policy policy;
    struct category category = {.name = "offers"};
    struct errmsg e;
    size_t allowed = 0, refused = 0;
    policy_init(&policy);
    category_init(&category, CLASS_MARKETING);
    category.consent = CONSENT_NONE;
    ck_assert_int_eq(window_parse(SLICE("08:00-21:00"), WINDOW_ALLOWED, NULL, &law.set, &e), OK);
    policy.legal = &law;
    policy.n_legal = 1;
    policy.default_zone = zone_get("UTC");
    for (int code = 200; code < NANP_CODES; code++) {
        char number[24];
        struct address to;
        struct profile p = {.known = KNOWN};
        struct message m = {.channel = CHANNEL_SMS, .category = &category, .sender_kind = SENDER_AUTOMATED};
        snprintf(number, sizeof(number), "+1%03d5550100", code);
        if (nanp_rows[code].regions == NULL || address_parse_phone(slice_of(number), &to, &e) != OK)
            continue;
        zone_guess(&p, &to, policy.default_zone);
        const struct place *place = place_of_number(number);
        for (size_t d = 0; d < N_ELEMENTS(sampled); d++) {
            char text[RFC3339_MAX];
            snprintf(text, sizeof(text), "%sT00:00:00Z", sampled[d]);
            for (int hour = 0; hour < 24; hour++) {
                struct facts f = {.policy = &policy, .message = &m, .profile = &p, .now_ms = at(text) + hour * HOUR_MS};
                struct hours_in_force in_force[4];
                policy_prepare(&f);
                ck_assert_uint_eq(policy_hours(&f, in_force, N_ELEMENTS(in_force)), 1);
                bool open = in_force[0].opens_ms <= f.now_ms;
                (*(open ? &allowed : &refused))++;
                for (size_t z = 0; open && z < place->n_zones; z++)
                    ck_assert_msg(open_by_clock(place->zones[z], f.now_ms), "%d on %s, %d UTC: closed in %s", code,
                                  sampled[d], hour, place->zones[z]->name);
            }
        }
    }
    ck_assert_uint_gt(allowed, 40000);
    ck_assert_uint_gt(refused, 40000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway/place");
    TCase *t = tcase_create("places");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, setup, NULL);
    tcase_add_test(t, a_number_is_a_place);
    tcase_add_test(t, codes_that_span_zones_are_sets);
    tcase_add_test(t, a_code_has_its_neighbours_all_year);
    tcase_add_test(t, a_region_has_zones);
    tcase_add_test(t, a_guess_takes_what_is_certain);
    tcase_add_test(t, no_hour_is_allowed_that_a_candidate_forbids);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/*
 * The zone, or the candidates, of one recipient.  A phone number's country says
 * in which zones the person may be; a message then has to be inside its window
 * in all of them.  A number tells where it was issued, not where the person is:
 * the decision records how the zone was found.
 */
#include "zone_guess.h"

#include <stdio.h>

#include "postern/policy.h"
#include "postern/zone.h"

/* ITU-T E.164 country codes (list of 2016-11-01 and later notices), longest first where one begins another. */
static const struct {
    const char *code;
    const char *countries; /* ISO 3166, by blanks */
} calling_codes[] = {
    {"20", "EG"},          {"211", "SS"}, {"212", "MA EH"}, {"213", "DZ"},    {"216", "TN"}, {"218", "LY"},
    {"220", "GM"},         {"221", "SN"}, {"222", "MR"},    {"223", "ML"},    {"224", "GN"}, {"225", "CI"},
    {"226", "BF"},         {"227", "NE"}, {"228", "TG"},    {"229", "BJ"},    {"230", "MU"}, {"231", "LR"},
    {"232", "SL"},         {"233", "GH"}, {"234", "NG"},    {"235", "TD"},    {"236", "CF"}, {"237", "CM"},
    {"238", "CV"},         {"239", "ST"}, {"240", "GQ"},    {"241", "GA"},    {"242", "CG"}, {"243", "CD"},
    {"244", "AO"},         {"245", "GW"}, {"246", "IO"},    {"247", "SH"},    {"248", "SC"}, {"249", "SD"},
    {"250", "RW"},         {"251", "ET"}, {"252", "SO"},    {"253", "DJ"},    {"254", "KE"}, {"255", "TZ"},
    {"256", "UG"},         {"257", "BI"}, {"258", "MZ"},    {"260", "ZM"},    {"261", "MG"}, {"262", "RE YT TF"},
    {"263", "ZW"},         {"264", "NA"}, {"265", "MW"},    {"266", "LS"},    {"267", "BW"}, {"268", "SZ"},
    {"269", "KM"},         {"27", "ZA"},  {"290", "SH"},    {"291", "ER"},    {"297", "AW"}, {"298", "FO"},
    {"299", "GL"},         {"30", "GR"},  {"31", "NL"},     {"32", "BE"},     {"33", "FR"},  {"34", "ES"},
    {"350", "GI"},         {"351", "PT"}, {"352", "LU"},    {"353", "IE"},    {"354", "IS"}, {"355", "AL"},
    {"356", "MT"},         {"357", "CY"}, {"358", "FI AX"}, {"359", "BG"},    {"36", "HU"},  {"370", "LT"},
    {"371", "LV"},         {"372", "EE"}, {"373", "MD"},    {"374", "AM"},    {"375", "BY"}, {"376", "AD"},
    {"377", "MC"},         {"378", "SM"}, {"379", "VA"},    {"380", "UA"},    {"381", "RS"}, {"382", "ME"},
    {"383", "RS"},         {"385", "HR"}, {"386", "SI"},    {"387", "BA"},    {"389", "MK"}, {"39", "IT VA"},
    {"40", "RO"},          {"41", "CH"},  {"420", "CZ"},    {"421", "SK"},    {"423", "LI"}, {"43", "AT"},
    {"44", "GB GG JE IM"}, {"45", "DK"},  {"46", "SE"},     {"47", "NO SJ"},  {"48", "PL"},  {"49", "DE"},
    {"500", "FK GS"},      {"501", "BZ"}, {"502", "GT"},    {"503", "SV"},    {"504", "HN"}, {"505", "NI"},
    {"506", "CR"},         {"507", "PA"}, {"508", "PM"},    {"509", "HT"},    {"51", "PE"},  {"52", "MX"},
    {"53", "CU"},          {"54", "AR"},  {"55", "BR"},     {"56", "CL"},     {"57", "CO"},  {"58", "VE"},
    {"590", "GP BL MF"},   {"591", "BO"}, {"592", "GY"},    {"593", "EC"},    {"594", "GF"}, {"595", "PY"},
    {"596", "MQ"},         {"597", "SR"}, {"598", "UY"},    {"599", "CW BQ"}, {"60", "MY"},  {"61", "AU CX CC"},
    {"62", "ID"},          {"63", "PH"},  {"64", "NZ PN"},  {"65", "SG"},     {"66", "TH"},  {"670", "TL"},
    {"672", "NF AQ"},      {"673", "BN"}, {"674", "NR"},    {"675", "PG"},    {"676", "TO"}, {"677", "SB"},
    {"678", "VU"},         {"679", "FJ"}, {"680", "PW"},    {"681", "WF"},    {"682", "CK"}, {"683", "NU"},
    {"685", "WS"},         {"686", "KI"}, {"687", "NC"},    {"688", "TV"},    {"689", "PF"}, {"690", "TK"},
    {"691", "FM"},         {"692", "MH"}, {"7", "RU KZ"},   {"81", "JP"},     {"82", "KR"},  {"84", "VN"},
    {"850", "KP"},         {"852", "HK"}, {"853", "MO"},    {"855", "KH"},    {"856", "LA"}, {"86", "CN"},
    {"880", "BD"},         {"886", "TW"}, {"90", "TR"},     {"91", "IN"},     {"92", "PK"},  {"93", "AF"},
    {"94", "LK"},          {"95", "MM"},  {"960", "MV"},    {"961", "LB"},    {"962", "JO"}, {"963", "SY"},
    {"964", "IQ"},         {"965", "KW"}, {"966", "SA"},    {"967", "YE"},    {"968", "OM"}, {"970", "PS"},
    {"971", "AE"},         {"972", "IL"}, {"973", "BH"},    {"974", "QA"},    {"975", "BT"}, {"976", "MN"},
    {"977", "NP"},         {"98", "IR"},  {"992", "TJ"},    {"993", "TM"},    {"994", "AZ"}, {"995", "GE"},
    {"996", "KG"},         {"998", "UZ"},
};

/*
 * +1 without a table of area codes: the fifty states, Eastern to Hawaii.  Guam and Samoa are left
 * out on purpose: with them no hour of the day would be open everywhere.
 */
static const char *const north_america[] = {"America/New_York", "America/Chicago",     "America/Denver",
                                            "America/Phoenix",  "America/Los_Angeles", "America/Anchorage",
                                            "Pacific/Honolulu"};

static void add(struct profile *p, const struct zone *z)
{
    for (size_t i = 0; i < p->n_zones; i++) {
        if (p->zones[i] == z)
            return;
    }
    if (z != NULL && p->n_zones < LIMIT_CANDIDATE_ZONES)
        p->zones[p->n_zones++] = z;
}

static void add_countries(struct profile *p, const char *countries)
{
    const struct zone *zones[LIMIT_CANDIDATE_ZONES];
    char country[3] = "";

    for (const char *c = countries; *c != '\0'; c += c[2] == ' ' ? 3 : 2) {
        memcpy(country, c, 2);
        size_t n = zone_of_country(country, zones, N_ELEMENTS(zones));
        for (size_t i = 0; i < n && i < N_ELEMENTS(zones); i++)
            add(p, zones[i]);
    }
}

/* The countries of a number, by blanks, the largest first; NULL for +1 and for codes of no country. */
static const char *countries_of(const char *number)
{
    for (size_t i = 0; i < N_ELEMENTS(calling_codes); i++) {
        if (strncmp(number + 1, calling_codes[i].code, strlen(calling_codes[i].code)) == 0)
            return calling_codes[i].countries;
    }
    return NULL;
}

static void add_number(struct profile *p, const char *number)
{
    const char *countries = countries_of(number);

    if (countries != NULL)
        add_countries(p, countries);
    for (size_t i = 0; number[1] == '1' && i < N_ELEMENTS(north_america); i++)
        add(p, zone_get(north_america[i]));
}

/* +1 stays without a region until its area code is known: then the law of each binds. */
static void set_regions(struct profile *p, const struct address *to)
{
    const char *countries = to->kind == ADDRESS_PHONE ? countries_of(to->text) : NULL;

    p->n_regions = 0;
    for (const char *c = countries; c != NULL && *c != '\0'; c += c[2] == ' ' ? 3 : 2) {
        ensure(p->n_regions < LIMIT_CANDIDATE_REGIONS); /* of the table above */
        struct region *r = &p->regions[p->n_regions++];
        *r = (struct region){.country = {c[0], c[1]}};
    }
}

static const struct preference *stated(const struct profile *p)
{
    static const struct preference zone = {.key = PREFERENCE_ZONE};
    const struct preference *v = merge_standing(p->preferences, p->n_preferences, &zone, NULL);

    return v != NULL && v->text.n > 0 ? v : NULL;
}

static enum zone_basis basis_of(const struct preference *v)
{
    switch (v->source) {
    case SOURCE_CUSTOMER:
        return ZONE_BASIS_EXPLICIT;
    case SOURCE_AGENT:
        return ZONE_BASIS_AGENT;
    case SOURCE_BEHAVIOUR:
        return ZONE_BASIS_DEVICE;
    case SOURCE_IMPORT:
    case SOURCE_SYNC:
    case SOURCE_PROVIDER:
    case SOURCE_ORGANISATION:
        return ZONE_BASIS_POSTAL;
    case SOURCE_N:
        break;
    }
    never("a source");
}

static const struct zone *zone_of(struct slice name)
{
    char text[ZONE_NAME_MAX];

    if (name.n >= sizeof(text))
        return NULL;
    snprintf(text, sizeof(text), "%.*s", SLICE_ARG(name));
    return zone_get(text);
}

void zone_guess(struct profile *p, const struct address *to, const struct zone *default_zone)
{
    const struct preference *v = stated(p);
    const struct zone *z = v != NULL ? zone_of(v->text) : NULL;

    set_regions(p, to);
    p->previous_zone = p->previous_zone_name.n > 0 ? zone_of(p->previous_zone_name) : NULL;
    p->n_zones = 0;
    if (z != NULL) {
        p->zone_basis = basis_of(v);
        add(p, z);
        if (v->confidence == CONFIDENCE_HIGH)
            return;
    } else {
        p->zone_basis = to->kind == ADDRESS_PHONE ? ZONE_BASIS_COUNTRY : ZONE_BASIS_DEFAULT;
    }
    if (to->kind == ADDRESS_PHONE)
        add_number(p, to->text);
    if (p->n_zones == 0 || (z != NULL && to->kind != ADDRESS_PHONE)) {
        p->zone_basis = z != NULL ? p->zone_basis : ZONE_BASIS_DEFAULT;
        add(p, default_zone);
    }
}

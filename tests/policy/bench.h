/*
 * Facts from words, for tables of the policy engine.
 *
 * A word is key=value; a value with blanks stands in double quotes; a time is RFC 3339
 * (seconds may be left out) or "-15m", "+2h", "+1s", "-3d" from now.  The words are the
 * rows of givens[], "count.CAP" for what the counters hold of one cap, and "pref.KEY",
 * "default.KEY" for a preference of the contact or the organisation: see add_preference.
 */
#ifndef POSTERN_TESTS_POLICY_BENCH_H
#define POSTERN_TESTS_POLICY_BENCH_H

#include <check.h>
#include <stdarg.h>

#include "postern/policy.h"
#include "postern/zone.h"
#include "tests/policy/cases.h"

#define ROWS_MAX 16
#define TEXT_MAX 400

struct bench {
    struct arena arena;
    struct category category, other_category;
    struct policy policy;
    struct cap caps[CAP_CHECKS_MAX];
    struct law cap_laws[CAP_CHECKS_MAX];
    struct legal_window legal[ROWS_MAX];
    bool remembers; /* the policy has a memo of its hours */
    bool promises;  /* nothing but time changes while a message waits */
    struct hours_memo memo;
    struct legal_consent legal_consents[ROWS_MAX];
    struct legal_opt_out legal_opt_outs[ROWS_MAX];
    struct region regions[4 * ROWS_MAX];
    size_t n_regions;
    struct holiday_calendar holidays; /* of the hours that are given after it */
    struct cap_count cap_counts[CAP_CHECKS_MAX];
    const char *cap_counts_of[CAP_CHECKS_MAX];
    size_t n_cap_counts;
    struct preference defaults[ROWS_MAX], preferences[ROWS_MAX];
    struct opt_out opt_outs[ROWS_MAX];
    struct consent consents[ROWS_MAX];
    struct message message;
    struct body_facts body;
    struct profile profile;
    struct facts facts;
    struct slice counts;
    int64_t oldest_ms, latest_ms;
    struct decision decision;
    const char *file;
    int line;
    struct slice name;
    unsigned failures;
    unsigned cases;
};

static void wrong(struct bench *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void wrong(struct bench *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s:%d: %.*s: ", b->file, b->line, SLICE_ARG(b->name));
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    b->failures++;
}

/* --- values --------------------------------------------------------------------- */

static char *text(struct bench *b, struct slice s)
{
    return arena_strndup(&b->arena, s.p, s.n);
}

static int64_t number(struct bench *b, struct slice s)
{
    char *end, *t = text(b, s);
    long long n = strtoll(t, &end, 10);
    if (*end != '\0' || s.n == 0)
        wrong(b, "\"%s\" is not a number", t);
    return n;
}

static int64_t unit_ms(struct bench *b, char unit)
{
    switch (unit) {
    case 's':
        return 1000;
    case 'm':
        return MS_PER_MINUTE;
    case 'h':
        return 60 * MS_PER_MINUTE;
    case 'd':
        return MS_PER_DAY;
    default:
        wrong(b, "'%c' is not a unit of time", unit);
        return 0;
    }
}

static int64_t instant(struct bench *b, struct slice s)
{
    char with_seconds[64];
    int64_t at = 0;
    if (s.n > 2 && (s.p[0] == '-' || s.p[0] == '+'))
        return b->facts.now_ms + number(b, (struct slice){s.p, s.n - 1}) * unit_ms(b, s.p[s.n - 1]);
    bool short_form = s.n > 16 && s.p[16] != ':';
    snprintf(with_seconds, sizeof with_seconds, "%.*s%s%.*s", short_form ? 16 : (int)s.n, s.p, short_form ? ":00" : "",
             short_form ? (int)s.n - 16 : 0, short_form ? s.p + 16 : "");
    if (!rfc3339_parse(slice_of(with_seconds), &at))
        wrong(b, "\"%.*s\" is not a time", SLICE_ARG(s));
    return at;
}

static bool yes(struct bench *b, struct slice s)
{
    if (!slice_eq_cstr(s, "yes") && !slice_eq_cstr(s, "no"))
        wrong(b, "\"%.*s\" is neither yes nor no", SLICE_ARG(s));
    return slice_eq_cstr(s, "yes");
}

static const struct zone *zone(struct bench *b, struct slice s)
{
    const struct zone *z = zone_get(text(b, s));
    if (z == NULL)
        wrong(b, "no zone %.*s", SLICE_ARG(s));
    return z;
}

/* PARSED(channel, "sms"): the enum of that name, or a failure of the case. */
#define PARSED(type, parse, s)                                                                                         \
    __extension__({                                                                                                    \
        type parsed_ = (type)0;                                                                                        \
        if (!parse(s, &parsed_))                                                                                       \
            wrong(b, "\"%.*s\" is no " #type, SLICE_ARG(s));                                                           \
        parsed_;                                                                                                       \
    })

/* "a,b" as bits of what one word means; "*" is 0: any. */
static uint32_t classes(struct bench *b, struct slice s)
{
    uint32_t bits = 0;
    while (s.n > 0 && !slice_eq_cstr(s, "*")) {
        struct slice word = cases_column(&s, ',');
        bits |= UINT32_C(1) << PARSED(enum message_class, class_parse, word);
    }
    return bits;
}

static uint32_t channels(struct bench *b, struct slice s)
{
    uint32_t bits = 0;
    while (s.n > 0 && !slice_eq_cstr(s, "*")) {
        struct slice word = cases_column(&s, ',');
        bits |= UINT32_C(1) << PARSED(enum channel, channel_parse, word);
    }
    return bits;
}

static struct window_set windows(struct bench *b, struct slice s, enum window_sense sense)
{
    struct window_set set = {.sense = sense};
    struct errmsg e = {""};
    if (window_parse(slice_of(text(b, s)), sense, &b->arena, &set, &e) != OK)
        wrong(b, "%s", e.text);
    set.holidays = b->holidays.n > 0 ? &b->holidays : NULL;
    return set;
}

/* --- what is given ---------------------------------------------------------------- */

static void given_class(struct bench *b, struct slice v)
{
    category_init(&b->category, PARSED(enum message_class, class_parse, v));
    b->category.name = class_name(b->category.class);
    b->category.id = 7;
}

static void given_category(struct bench *b, struct slice v)
{
    b->category.name = text(b, v);
}

static void given_need(struct bench *b, struct slice v)
{
    static const char *const words[] = {"none", "opt_out", "opt_in"};
    for (unsigned i = 0; i < N_ELEMENTS(words); i++) {
        if (slice_eq_cstr(v, words[i]))
            b->category.consent = (enum consent_need)i;
    }
}

static void given_obeys(struct bench *b, struct slice v)
{
    b->category.obeys_cap = yes(b, v);
}

static void given_expiry(struct bench *b, struct slice v)
{
    b->category.expiry_s = number(b, v);
}

static void given_dedupe(struct bench *b, struct slice v)
{
    b->category.dedupe_s = number(b, v);
}

static void given_channel(struct bench *b, struct slice v)
{
    b->message.channel = PARSED(enum channel, channel_parse, v);
}

static void given_priority(struct bench *b, struct slice v)
{
    b->message.priority = PARSED(enum priority, priority_parse, v);
}

static void given_by(struct bench *b, struct slice v)
{
    b->message.sender_kind = PARSED(enum sender_kind, sender_kind_parse, v);
}

static void given_from(struct bench *b, struct slice v)
{
    b->message.sender = v;
}

static void given_topic(struct bench *b, struct slice v)
{
    b->message.topic = v;
}

static void given_other(struct bench *b, struct slice v)
{
    b->message.other_channels = channels(b, v);
}

static void given_not_before(struct bench *b, struct slice v)
{
    b->message.not_before_ms = instant(b, v);
}

static void given_valid_until(struct bench *b, struct slice v)
{
    b->message.expires_at_ms = instant(b, v);
}

static void given_is_language(struct bench *b, struct slice v)
{
    b->message.form.language = v;
}

static void given_is_format(struct bench *b, struct slice v)
{
    b->message.form.format = v;
}

/* What can be seen of its content. */
static void given_words(struct bench *b, struct slice v)
{
    b->body.words = (uint32_t)number(b, v);
    b->message.body = &b->body;
}

static void given_cut(struct bench *b, struct slice v)
{
    b->body.cut = slice_eq_cstr(v, "yes");
    b->message.body = &b->body;
}

static void given_seen_language(struct bench *b, struct slice v)
{
    snprintf(b->body.language, sizeof b->body.language, "%.*s", SLICE_ARG(v));
    b->message.body = &b->body;
}

static void given_card(struct bench *b, struct slice v)
{
    b->body.has_card_number = slice_eq_cstr(v, "yes");
    b->message.body = &b->body;
}

static void given_is_formality(struct bench *b, struct slice v)
{
    b->message.form.formality = v;
}

static void given_is_depth(struct bench *b, struct slice v)
{
    b->message.form.technical_depth = v;
}

static void given_same_content(struct bench *b, struct slice v)
{
    b->profile.last_same_content_ms = instant(b, v);
}

static void given_fingerprint(struct bench *b, struct slice v)
{
    b->message.fingerprint = (uint64_t)number(b, v);
}

static void given_now(struct bench *b, struct slice v)
{
    b->facts.now_ms = instant(b, v);
}

static void given_deferrals(struct bench *b, struct slice v)
{
    b->facts.deferrals = (uint32_t)number(b, v);
}

static void given_known(struct bench *b, struct slice v)
{
    b->profile.known = yes(b, v) ? KNOWN : UNKNOWN;
}

/* region=US-FL,US-NY: candidates */
static void given_region(struct bench *b, struct slice v)
{
    b->profile.n_regions = 0;
    while (v.n > 0) {
        struct slice word = cases_column(&v, ',');
        if (!region_parse(word, &b->profile.regions[b->profile.n_regions++]))
            wrong(b, "\"%.*s\" is no region", SLICE_ARG(word));
    }
}

static void given_default_region(struct bench *b, struct slice v)
{
    if (!region_parse(v, &b->policy.default_region))
        wrong(b, "\"%.*s\" is no region", SLICE_ARG(v));
}

static void given_zone(struct bench *b, struct slice v)
{
    b->profile.n_zones = 0;
    while (v.n > 0)
        b->profile.zones[b->profile.n_zones++] = zone(b, cases_column(&v, ','));
}

static void given_basis(struct bench *b, struct slice v)
{
    for (unsigned i = 0; i < ZONE_BASIS_N; i++) {
        if (slice_eq_cstr(v, zone_basis_name((enum zone_basis)i)))
            b->profile.zone_basis = (enum zone_basis)i;
    }
}

static void given_previous_zone(struct bench *b, struct slice v)
{
    b->profile.previous_zone = zone(b, v);
}

static void given_zone_changed(struct bench *b, struct slice v)
{
    b->profile.zone_changed_at_ms = instant(b, v);
}

static void given_inbound(struct bench *b, struct slice v)
{
    b->profile.last_inbound_ms[b->message.channel] = instant(b, v);
}

static void given_opted_out(struct bench *b, struct slice v)
{
    b->profile.opted_out_at_ms = instant(b, v);
}

static void given_resubscribed(struct bench *b, struct slice v)
{
    b->profile.resubscribed_at_ms = instant(b, v);
}

static void given_stale(struct bench *b, struct slice v)
{
    b->facts.profile_stale = yes(b, v);
}

/* opt_out=SCOPE/CHANNEL/NAME/SENDER/TIME; "*" or nothing = any */
static void given_opt_out(struct bench *b, struct slice v)
{
    struct opt_out *o = &b->opt_outs[b->profile.n_opt_outs++];
    *o = (struct opt_out){.scope = PARSED(enum opt_out_scope, opt_out_scope_parse, cases_column(&v, '/'))};
    struct slice channel = cases_column(&v, '/'), name = cases_column(&v, '/');
    o->any_channel = channel.n == 0 || slice_eq_cstr(channel, "*");
    if (!o->any_channel)
        o->channel = PARSED(enum channel, channel_parse, channel);
    o->category = o->scope == SCOPE_CATEGORY ? name : SLICE("");
    o->topic = o->scope == SCOPE_TOPIC ? name : SLICE("");
    o->sender = cases_column(&v, '/');
    o->at_ms = v.n > 0 ? instant(b, v) : INT64_C(1767225600000);
}

/* consent=STATE/CHANNEL/CATEGORY/EXPIRY/BASIS/TIME/night; "*" or nothing = any */
static void given_consent(struct bench *b, struct slice v)
{
    static const char *const states[] = {"granted", "revoked", "pending"};
    struct consent *c = &b->consents[b->profile.n_consents++];
    struct slice state = cases_column(&v, '/'), channel = cases_column(&v, '/'), category = cases_column(&v, '/');
    *c = (struct consent){.any_channel = channel.n == 0 || slice_eq_cstr(channel, "*"), .at_ms = 1767225600000};
    for (unsigned i = 0; i < N_ELEMENTS(states); i++) {
        if (slice_eq_cstr(state, states[i]))
            c->state = (enum consent_state)i;
    }
    if (!c->any_channel)
        c->channel = PARSED(enum channel, channel_parse, channel);
    c->category = slice_eq_cstr(category, "*") ? SLICE("") : category;
    struct slice expiry = cases_column(&v, '/'), basis = cases_column(&v, '/'), at = cases_column(&v, '/');
    c->expires_at_ms = expiry.n > 0 ? instant(b, expiry) : 0;
    c->basis = basis;
    c->at_ms = at.n > 0 ? instant(b, at) : c->at_ms;
    c->night = slice_eq_cstr(v, "night");
}

/* "AUTHORITY/SYSTEM/CONFIDENCE/TIME": who said it, and when; nothing = the contact, none, high, 2026-01-01 */
static void say_who(struct bench *b, struct preference *p, struct slice who)
{
    static const char *const authorities[] = {"contact", "locked", "agent", "behaviour", "account", "organisation"};
    static const char *const confidences[] = {"low", "medium", "high"};
    struct slice authority = cases_column(&who, '/');
    p->system = cases_column(&who, '/');
    struct slice confidence = cases_column(&who, '/');
    for (unsigned i = 0; i < N_ELEMENTS(authorities); i++)
        p->authority = slice_eq_cstr(authority, authorities[i]) ? (enum authority)i : p->authority;
    for (unsigned i = 0; i < N_ELEMENTS(confidences); i++)
        p->confidence = slice_eq_cstr(confidence, confidences[i]) ? (enum confidence)i : p->confidence;
    p->at_ms = who.n > 0 ? instant(b, who) : p->at_ms;
}

/*
 * KEY, KEY@SCOPE, KEY@SCOPE/AUTHORITY/SYSTEM/CONFIDENCE/TIME.  SCOPE is what it was stated for: a channel, "category"
 * or "topic" of the message, or "category:NAME", "topic:NAME".
 */
static void add_preference(struct bench *b, struct preference *p, struct slice key, struct slice v)
{
    struct slice who = key;
    struct slice scope = cases_column(&who, '/');
    struct slice name = cases_column(&scope, '@');
    struct slice of = scope;
    struct slice kind = cases_column(&of, ':');
    enum channel channel;
    *p = (struct preference){.key = PARSED(enum preference_key, preference_key_parse, name),
                             .scope = scope,
                             .text = v,
                             .confidence = CONFIDENCE_HIGH,
                             .at_ms = 1767225600000};
    if (slice_eq_cstr(kind, "category")) {
        p->specificity = SPECIFICITY_CATEGORY;
        p->scope = of.n > 0 ? of : slice_of(b->category.name);
    } else if (slice_eq_cstr(kind, "topic")) {
        p->specificity = SPECIFICITY_TOPIC;
        p->scope = of.n > 0 ? of : b->message.topic;
    } else if (channel_parse(scope, &channel)) {
        p->specificity = SPECIFICITY_CHANNEL;
    }
    say_who(b, p, who);
}

/*
 * NAME/CLASSES/CHANNELS/REGIONS, and *v is what stands behind; "*": marketing and collections, every channel,
 * everywhere.  NAME may have dates: "NAME@FROM..TO", one of them or both.
 */
static struct law law(struct bench *b, struct slice *v);

/*
 * cap="name=N origin=O calendar=day|rolling=S limit=N classes=.. channels=.. gap=S reserve=CLASS:N of=category|other
 * law=NAME/CLASSES/CHANNELS/REGIONS per=subject|category|channels"; law= first: it gives name, classes and channels
 */
static void cap_word(struct bench *b, struct cap *c, struct slice key, struct slice v)
{
    static const char *const periods[] = {"day", "week", "month"};
    if (slice_eq_cstr(key, "name")) {
        c->name = text(b, v);
    } else if (slice_eq_cstr(key, "origin")) {
        c->origin = slice_eq_cstr(v, "regulation") ? CAP_OF_REGULATION : CAP_OF_ORGANISATION;
    } else if (slice_eq_cstr(key, "calendar")) {
        for (unsigned i = 0; i < N_ELEMENTS(periods); i++)
            c->period = slice_eq_cstr(v, periods[i]) ? (enum cap_period)i : c->period;
    } else if (slice_eq_cstr(key, "rolling")) {
        c->kind = CAP_ROLLING;
        c->rolling_s = number(b, v);
    } else if (slice_eq_cstr(key, "limit")) {
        c->limit = (int32_t)number(b, v);
    } else if (slice_eq_cstr(key, "classes")) {
        c->classes = classes(b, v);
    } else if (slice_eq_cstr(key, "channels")) {
        c->channels = channels(b, v);
    } else if (slice_eq_cstr(key, "gap")) {
        c->min_gap_s = number(b, v);
    } else if (slice_eq_cstr(key, "reserve")) {
        c->reserves = true;
        c->reserve_class = PARSED(enum message_class, class_parse, cases_column(&v, ':'));
        c->reserve_slots = (int32_t)number(b, v);
    } else if (slice_eq_cstr(key, "law")) {
        struct law *l = &b->cap_laws[c - b->caps];
        *l = law(b, &v);
        *c = (struct cap){.name = l->name, .origin = CAP_OF_REGULATION, .classes = l->classes, .channels = l->channels};
        c->law = l;
    } else if (slice_eq_cstr(key, "per")) {
        c->per_subject = slice_eq_cstr(v, "subject");
        c->per_category = slice_eq_cstr(v, "category");
        c->other_channels = slice_eq_cstr(v, "channels");
    } else if (slice_eq_cstr(key, "of")) {
        c->category = slice_eq_cstr(v, "other") ? &b->other_category : &b->category;
    } else {
        wrong(b, "\"%.*s\" is no word of a cap", SLICE_ARG(key));
    }
}

static void given_cap(struct bench *b, struct slice v)
{
    struct cap *c = &b->caps[b->policy.n_caps++];
    *c = (struct cap){.name = "cap", .origin = CAP_OF_ORGANISATION};
    while (v.n > 0) {
        struct slice word = cases_column(&v, ' ');
        struct slice key = cases_column(&word, '=');
        cap_word(b, c, key, word);
    }
}

static void given_count(struct bench *b, struct slice v)
{
    b->counts = v;
}

/* count.CAP=COUNT/OLDEST/LATEST */
static void given_cap_count(struct bench *b, struct slice cap, struct slice v)
{
    struct cap_count *c = &b->cap_counts[b->n_cap_counts];
    b->cap_counts_of[b->n_cap_counts++] = text(b, cap);
    c->count = (int32_t)number(b, cases_column(&v, '/'));
    struct slice oldest = cases_column(&v, '/');
    c->oldest_ms = oldest.n > 0 ? instant(b, oldest) : 0;
    c->latest_ms = v.n > 0 ? instant(b, v) : 0;
}

static void given_oldest(struct bench *b, struct slice v)
{
    b->oldest_ms = instant(b, v);
}

static void given_latest(struct bench *b, struct slice v)
{
    b->latest_ms = instant(b, v);
}

static void given_counters(struct bench *b, struct slice v)
{
    b->facts.counters_down = slice_eq_cstr(v, "down");
}

static int32_t date(struct bench *b, struct slice s, int32_t none)
{
    struct holiday h;
    struct errmsg e;
    if (s.n == 0)
        return none;
    if (holiday_parse(s, &h, &e) != OK || h.kind != HOLIDAY_DATE) {
        wrong(b, "\"%.*s\" is no date", SLICE_ARG(s));
        return none;
    }
    return date_to_days((struct date){h.year, h.month, h.day});
}

static struct law law(struct bench *b, struct slice *v)
{
    struct slice dates = cases_column(v, '/');
    struct slice name = cases_column(&dates, '@');
    struct law out = {.pack = text(b, name), .name = text(b, name), .regions = &b->regions[b->n_regions]};
    out.from_days = date(b, cases_column(&dates, '.'), INT32_MIN);
    out.to_days = date(b, dates.n > 0 ? (struct slice){dates.p + 1, dates.n - 1} : dates, INT32_MAX);
    out.classes = classes(b, cases_column(v, '/'));
    if (out.classes == 0)
        out.classes = UINT32_C(1) << CLASS_MARKETING | UINT32_C(1) << CLASS_COLLECTIONS;
    out.channels = channels(b, cases_column(v, '/'));
    if (out.channels == 0)
        out.channels = (UINT32_C(1) << CHANNEL_N) - 1;
    struct slice regions = cases_column(v, '/');
    while (regions.n > 0 && !slice_eq_cstr(regions, "*")) {
        struct slice word = cases_column(&regions, ',');
        if (!region_parse(word, &b->regions[b->n_regions++]))
            wrong(b, "\"%.*s\" is no region", SLICE_ARG(word));
        out.n_regions++;
    }
    return out;
}

#include "tests/policy/bench_law.h"

/* The policy has the message's category; after class= and what changes it. */
static void given_categories(struct bench *b, struct slice v)
{
    b->policy.categories = &b->category;
    b->policy.n_categories = yes(b, v) ? 1 : 0;
}

static void given_asks(struct bench *b, struct slice v)
{
    b->category.asks_consent = yes(b, v);
}

/* holidays="12-25 observed; easter+1", of the organisation's hours and the law's that are given after it */
static void given_holidays(struct bench *b, struct slice v)
{
    struct holiday *rules = arena_calloc(&b->arena, ROWS_MAX, sizeof *rules);
    struct errmsg e;
    for (b->holidays = (struct holiday_calendar){.name = "given", .rules = rules}; v.n > 0; b->holidays.n++) {
        if (holiday_parse(cases_column(&v, ';'), &rules[b->holidays.n], &e) != OK)
            wrong(b, "%s", e.text);
    }
}

static void given_quiet(struct bench *b, struct slice v)
{
    b->policy.organisation_hours[b->category.class][b->message.channel] = windows(b, v, WINDOW_QUIET);
}

static void given_open(struct bench *b, struct slice v)
{
    b->policy.organisation_hours[b->category.class][b->message.channel] = windows(b, v, WINDOW_ALLOWED);
}

static void given_default_zone(struct bench *b, struct slice v)
{
    b->policy.default_zone = slice_eq_cstr(v, "none") ? NULL : zone(b, v);
}

static void given_carrier_stops(struct bench *b, struct slice v)
{
    b->policy.carrier_enforces_stop = yes(b, v);
}

/* shadow=policy or shadow=RULE */
static void given_shadow(struct bench *b, struct slice v)
{
    if (slice_eq_cstr(v, "policy")) {
        b->policy.shadow = true;
        return;
    }
    struct verdict(*of)[SENDER_N] = b->policy.verdicts[PARSED(enum rule, rule_parse, v)];
    for (unsigned cell = 0; cell < CLASS_N * SENDER_N; cell++)
        of[cell / SENDER_N][cell % SENDER_N].shadow = true;
}

/* verdict=RULE/LEVEL/OUTCOME, for every class and sender */
static void given_verdict(struct bench *b, struct slice v)
{
    enum rule rule = PARSED(enum rule, rule_parse, cases_column(&v, '/'));
    enum level level = PARSED(enum level, level_parse, cases_column(&v, '/'));
    enum outcome outcome = PARSED(enum outcome, outcome_parse, v);
    for (unsigned cell = 0; cell < CLASS_N * SENDER_N; cell++)
        b->policy.verdicts[rule][cell / SENDER_N][cell % SENDER_N] = (struct verdict){level, outcome, false};
}

static const struct {
    const char *key;
    void (*set)(struct bench *b, struct slice v);
} givens[] = {
    {"class", given_class},
    {"category", given_category},
    {"need", given_need},
    {"obeys", given_obeys},
    {"expiry", given_expiry},
    {"dedupe", given_dedupe},
    {"channel", given_channel},
    {"priority", given_priority},
    {"by", given_by},
    {"from", given_from},
    {"topic", given_topic},
    {"other", given_other},
    {"not_before", given_not_before},
    {"valid_until", given_valid_until},
    {"is_language", given_is_language},
    {"is_format", given_is_format},
    {"is_formality", given_is_formality},
    {"is_depth", given_is_depth},
    {"words", given_words},
    {"cut", given_cut},
    {"seen_language", given_seen_language},
    {"card", given_card},
    {"same_content", given_same_content},
    {"fingerprint", given_fingerprint},
    {"now", given_now},
    {"deferrals", given_deferrals},
    {"known", given_known},
    {"region", given_region},
    {"default_region", given_default_region},
    {"zone", given_zone},
    {"basis", given_basis},
    {"previous_zone", given_previous_zone},
    {"zone_changed", given_zone_changed},
    {"inbound", given_inbound},
    {"opted_out", given_opted_out},
    {"resubscribed", given_resubscribed},
    {"stale", given_stale},
    {"opt_out", given_opt_out},
    {"consent", given_consent},
    {"cap", given_cap},
    {"count", given_count},
    {"oldest", given_oldest},
    {"latest", given_latest},
    {"counters", given_counters},
    {"legal", given_legal},
    {"law_consent", given_law_consent},
    {"law_opt_out", given_law_opt_out},
    {"asks", given_asks},
    {"categories", given_categories},
    {"holidays", given_holidays},
    {"quiet", given_quiet},
    {"open", given_open},
    {"default_zone", given_default_zone},
    {"carrier_stops", given_carrier_stops},
    {"shadow", given_shadow},
    {"verdict", given_verdict},
};

static void give(struct bench *b, struct slice key, struct slice v)
{
    for (size_t i = 0; i < N_ELEMENTS(givens); i++) {
        if (slice_eq_cstr(key, givens[i].key)) {
            givens[i].set(b, v);
            return;
        }
    }
    if (slice_starts(key, "count."))
        given_cap_count(b, (struct slice){key.p + 6, key.n - 6}, v);
    else if (slice_starts(key, "pref."))
        add_preference(b, &b->preferences[b->profile.n_preferences++], (struct slice){key.p + 5, key.n - 5}, v);
    else if (slice_starts(key, "default."))
        add_preference(b, &b->defaults[b->policy.n_defaults++], (struct slice){key.p + 8, key.n - 8}, v);
    else
        wrong(b, "\"%.*s\" is not a word", SLICE_ARG(key));
}

/* The next word: key, and the value with its quotes off. */
static bool next_word(struct slice *rest, struct slice *key, struct slice *v)
{
    *rest = slice_trim(*rest);
    size_t n = 0;
    bool quoted = false;
    for (; n < rest->n && (quoted || rest->p[n] != ' '); n++)
        quoted ^= rest->p[n] == '"';
    *v = (struct slice){rest->p, n};
    *rest = (struct slice){rest->p + n, rest->n - n};
    *key = cases_column(v, '=');
    if (v->n > 1 && v->p[0] == '"')
        *v = (struct slice){v->p + 1, v->n - 2};
    return key->n > 0;
}

static void give_words(struct bench *b, struct slice words)
{
    struct slice key, v;
    while (next_word(&words, &key, &v))
        give(b, key, v);
}

/* Tuesday 11:00 in New York; a support e-mail of P2, automated, to a known contact. */
static void bench_reset(struct bench *b)
{
    arena_clear(&b->arena);
    policy_init(&b->policy);
    b->policy.default_zone = zone_get("America/New_York");
    b->policy.caps = b->caps;
    b->policy.legal = b->legal;
    b->policy.legal_consents = b->legal_consents;
    b->policy.legal_opt_outs = b->legal_opt_outs;
    b->n_regions = 0;
    b->holidays = (struct holiday_calendar){0};
    b->n_cap_counts = 0;
    b->memo = (struct hours_memo){0};
    b->policy.hours_memo = b->remembers ? &b->memo : NULL;
    b->policy.defaults = b->defaults;
    b->message = (struct message){.category = &b->category, .priority = PRIORITY_P2, .fingerprint = 1};
    b->body = (struct body_facts){0};
    b->profile = (struct profile){
        .known = KNOWN, .opt_outs = b->opt_outs, .consents = b->consents, .preferences = b->preferences};
    b->facts = (struct facts){.policy = &b->policy, .message = &b->message, .profile = &b->profile};
    b->facts.now_ms = instant(b, SLICE("2026-03-10T15:00Z"));
    b->counts = (struct slice){NULL, 0};
    b->oldest_ms = b->latest_ms = 0;
    category_init(&b->other_category, CLASS_MARKETING);
    b->other_category.id = 8;
    given_class(b, SLICE("support"));
}

#endif

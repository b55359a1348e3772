/*
 * The engine and its rules: the tables tests/policy/rules*.cases.
 *
 *   = section
 *   always WORDS                      given to every case of the section
 *   NAME | WORDS | OUTCOME EXPECTED   a case
 *   grid RULE | WORDS | CLASS=AUTOMATED/AGENT ...   what the rule says for each class and sender
 *
 * A word is key=value; a value with blanks stands in double quotes; a time is RFC 3339
 * (seconds may be left out) or "-15m", "+2h", "+1s", "-3d" from now.  The words are the
 * rows of givens[] and expecteds[] below.  A word in EXPECTED that names a rule says what
 * that rule alone leads to: note, ask, wait (soft defer), defer (hard), digest, block, "-" for nothing.
 */
#include <check.h>
#include <stdarg.h>

#include "postern/policy.h"
#include "postern/zone.h"
#include "tests/policy/cases.h"

#define ROWS_MAX 8
#define TEXT_MAX 400

struct bench {
    struct arena arena;
    struct category category, other_category;
    struct policy policy;
    struct cap caps[CAP_CHECKS_MAX];
    struct legal_window legal[ROWS_MAX];
    struct preference defaults[ROWS_MAX], preferences[ROWS_MAX];
    struct opt_out opt_outs[ROWS_MAX];
    struct consent consents[ROWS_MAX];
    struct message message;
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

static void given_country(struct bench *b, struct slice v)
{
    snprintf(b->profile.country, sizeof b->profile.country, "%.*s", SLICE_ARG(v));
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

/* consent=STATE/CHANNEL/CATEGORY/EXPIRY; "*" or nothing = any */
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
    c->expires_at_ms = v.n > 0 ? instant(b, v) : 0;
}

/* "max_per_day@sms": the key, and what it was stated for: a channel, "category" or "topic" of the message. */
static void add_preference(struct bench *b, struct preference *p, struct slice key, struct slice v)
{
    struct slice scope = key;
    struct slice name = cases_column(&scope, '@');
    enum channel channel;
    *p = (struct preference){.key = PARSED(enum preference_key, preference_key_parse, name),
                             .scope = scope,
                             .text = v,
                             .confidence = CONFIDENCE_HIGH,
                             .at_ms = 1767225600000};
    if (slice_eq_cstr(scope, "category")) {
        p->specificity = SPECIFICITY_CATEGORY;
        p->scope = slice_of(b->category.name);
    } else if (slice_eq_cstr(scope, "topic")) {
        p->specificity = SPECIFICITY_TOPIC;
        p->scope = b->message.topic;
    } else if (channel_parse(scope, &channel)) {
        p->specificity = SPECIFICITY_CHANNEL;
    }
}

/* cap="name=N origin=O calendar=day|rolling=S limit=N classes=.. channels=.. gap=S reserve=CLASS:N of=category|other"
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

/* legal=PACK/CLASSES/CHANNELS/COUNTRY/WINDOWS, allowed; a pack whose name begins with "delivery" counts delivery */
static void given_legal(struct bench *b, struct slice v)
{
    struct legal_window *w = &b->legal[b->policy.n_legal++];
    struct slice pack = cases_column(&v, '/');
    *w = (struct legal_window){.pack = text(b, pack), .counts_delivery = slice_starts(pack, "delivery")};
    w->classes = classes(b, cases_column(&v, '/'));
    w->channels = channels(b, cases_column(&v, '/'));
    struct slice country = cases_column(&v, '/');
    if (!slice_eq_cstr(country, "*"))
        snprintf(w->country, sizeof w->country, "%.*s", SLICE_ARG(country));
    w->set = windows(b, v, WINDOW_ALLOWED);
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
    for (unsigned class = 0; class < CLASS_N; class ++) {
        for (unsigned sender = 0; sender < SENDER_N; sender++)
            of[class][sender].shadow = true;
    }
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
    {"same_content", given_same_content},
    {"fingerprint", given_fingerprint},
    {"now", given_now},
    {"deferrals", given_deferrals},
    {"known", given_known},
    {"country", given_country},
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
    if (slice_starts(key, "pref."))
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

/* --- deciding --------------------------------------------------------------------- */

/* Tuesday 11:00 in New York; a support e-mail of P2, automated, to a known contact. */
static void bench_reset(struct bench *b)
{
    arena_clear(&b->arena);
    policy_init(&b->policy);
    b->policy.default_zone = zone_get("America/New_York");
    b->policy.caps = b->caps;
    b->policy.legal = b->legal;
    b->policy.defaults = b->defaults;
    b->message = (struct message){.category = &b->category, .priority = PRIORITY_P2, .fingerprint = 1};
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

/* One count for every check, or "2,0,1" in their order. */
static void bench_count(struct bench *b)
{
    policy_caps(&b->facts);
    if (b->counts.n == 0)
        return;
    b->facts.counts_known = KNOWN;
    int32_t count = 0;
    for (size_t i = 0; i < b->facts.n_checks; i++) {
        if (b->counts.n > 0)
            count = (int32_t)number(b, cases_column(&b->counts, ','));
        b->facts.counts[i] = (struct cap_count){count, b->oldest_ms, b->latest_ms};
    }
}

static void bench_decide(struct bench *b)
{
    policy_prepare(&b->facts);
    bench_count(b);
    policy_decide(&b->facts, &b->decision);
}

/* --- what is expected ------------------------------------------------------------- */

static void same_text(struct bench *b, const char *what, struct slice expected, const char *got)
{
    if (!slice_eq_cstr(expected, got))
        wrong(b, "%s: expected \"%.*s\", got \"%s\"", what, SLICE_ARG(expected), got);
}

static void same_flag(struct bench *b, const char *what, struct slice expected, bool got)
{
    same_text(b, what, expected, got ? "yes" : "no");
}

static void same_number(struct bench *b, const char *what, struct slice expected, int64_t got)
{
    if (number(b, expected) != got)
        wrong(b, "%s: expected %.*s, got %lld", what, SLICE_ARG(expected), (long long)got);
}

static void same_time(struct bench *b, const char *what, struct slice expected, int64_t got)
{
    char words[RFC3339_MAX];
    int64_t at = slice_eq_cstr(expected, "none") ? 0 : instant(b, expected);
    if (at != got)
        wrong(b, "%s: expected %.*s, got %s", what, SLICE_ARG(expected),
              got == 0 ? "none" : rfc3339_format(got, words));
}

/* Names of the violations in their order; "none" for none. */
static const char *rules_text(const struct decision *d, bool shadow_only, char out[TEXT_MAX])
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < d->n_violations; i++) {
        if (!shadow_only || d->violations[i].shadow)
            n += (size_t)snprintf(out + n, TEXT_MAX - n, "%s%s", n == 0 ? "" : ",", rule_name(d->violations[i].rule));
    }
    return n == 0 ? "none" : out;
}

static void same_detail(struct bench *b, struct slice expected)
{
    const char *part = text(b, expected);
    for (size_t i = 0; i < b->decision.n_violations; i++) {
        if (strstr(b->decision.violations[i].detail, part) != NULL)
            return;
    }
    wrong(b, "no detail holds \"%s\", the first is \"%s\"", part, b->decision.violations[0].detail);
}

static const char *cell_of(const struct decision *d, enum rule rule)
{
    static const char *const cells[][4] = {
        [OUTCOME_FORWARD] = {"?", "note", "?", "?"},         [OUTCOME_REDIRECT] = {"?", "?", "redirect", "redirect"},
        [OUTCOME_DEFER] = {"?", "?", "wait", "defer"},       [OUTCOME_DIGEST] = {"?", "?", "digest", "?"},
        [OUTCOME_SOFT_BLOCK] = {"?", "?", "ask", "?"},       [OUTCOME_HOLD] = {"?", "?", "hold", "hold"},
        [OUTCOME_BLOCK] = {"?", "?", "soft-block", "block"},
    };
    for (size_t i = 0; i < d->n_violations; i++) {
        if (d->violations[i].rule == rule)
            return cells[d->violations[i].outcome][d->violations[i].level];
    }
    return "-";
}

/* What the counters are asked, for the first check. */
static bool expect_check(struct bench *b, const char *key, struct slice v)
{
    const struct cap_check *c = &b->facts.checks[0];
    if (strcmp(key, "checks") == 0)
        same_number(b, key, v, (int64_t)b->facts.n_checks);
    else if (strcmp(key, "since") == 0)
        same_time(b, key, v, c->since_ms);
    else if (strcmp(key, "next") == 0)
        same_time(b, key, v, c->next_ms);
    else if (strcmp(key, "limit") == 0)
        same_number(b, key, v, c->limit);
    else if (strcmp(key, "gap_s") == 0)
        same_number(b, key, v, c->gap_ms / 1000);
    else if (strcmp(key, "counts_channels") == 0)
        same_number(b, key, v, c->channels);
    else if (strcmp(key, "counts_classes") == 0)
        same_number(b, key, v, c->classes);
    else if (strcmp(key, "counts_category") == 0)
        same_text(b, key, v, c->category_id == UINT32_MAX ? "any" : "own");
    else
        return false;
    return true;
}

static bool expect_time(struct bench *b, const char *key, struct slice v)
{
    const struct decision *d = &b->decision;
    if (strcmp(key, "release") == 0)
        same_time(b, key, v, d->release_at_ms);
    else if (strcmp(key, "window_end") == 0)
        same_time(b, key, v, d->window_end_ms);
    else if (strcmp(key, "expires") == 0)
        same_time(b, key, v, d->expires_at_ms);
    else if (strcmp(key, "passes") == 0)
        same_time(b, key, v, d->violations[0].passes_at_ms);
    else
        return false;
    return true;
}

static bool expect_flag(struct bench *b, const char *key, struct slice v)
{
    const struct decision *d = &b->decision;
    if (strcmp(key, "overridable") == 0)
        same_flag(b, key, v, d->overridable);
    else if (strcmp(key, "timing") == 0)
        same_flag(b, key, v, d->timing_only);
    else if (strcmp(key, "degraded") == 0)
        same_flag(b, key, v, d->degraded);
    else
        return false;
    return true;
}

static bool expect_text(struct bench *b, const char *key, struct slice v)
{
    const struct decision *d = &b->decision;
    char code[PST_CODE_MAX], prompt[PROMPT_MAX], rules[TEXT_MAX];
    if (strcmp(key, "level") == 0)
        same_text(b, key, v, level_name(d->level));
    else if (strcmp(key, "reason") == 0)
        same_text(b, key, v, reason_name(d->reason));
    else if (strcmp(key, "severity") == 0)
        same_text(b, key, v, severity_name(d->violations[0].severity));
    else if (strcmp(key, "rules") == 0)
        same_text(b, key, v, rules_text(d, false, rules));
    else if (strcmp(key, "shadows") == 0)
        same_text(b, key, v, rules_text(d, true, rules));
    else if (strcmp(key, "would") == 0)
        same_text(b, key, v, outcome_name(d->would_have));
    else if (strcmp(key, "code") == 0)
        same_text(b, key, v, decision_code(d, code));
    else if (strcmp(key, "prompt") == 0)
        same_text(b, key, v, policy_prompt(d, &b->message, prompt));
    else if (strcmp(key, "local") == 0)
        same_text(b, key, v, d->local_rule);
    else if (strcmp(key, "zones") == 0)
        same_text(b, key, v, d->zones);
    else
        return false;
    return true;
}

static void expect(struct bench *b, struct slice key, struct slice v)
{
    enum rule rule;
    const char *word = text(b, key);
    if (rule_parse(key, &rule))
        same_text(b, word, v, cell_of(&b->decision, rule));
    else if (slice_eq_cstr(key, "detail"))
        same_detail(b, v);
    else if (!expect_time(b, word, v) && !expect_flag(b, word, v) && !expect_text(b, word, v) &&
             !expect_check(b, word, v))
        wrong(b, "\"%s\" cannot be expected", word);
}

/* --- the files --------------------------------------------------------------------- */

static void run_case(struct bench *b, struct slice always, struct slice words, struct slice expected)
{
    struct slice key, v;
    bench_reset(b);
    give_words(b, always);
    give_words(b, words);
    bench_decide(b);
    struct slice outcome = cases_column(&expected, ' ');
    same_text(b, "outcome", outcome, outcome_name(b->decision.outcome));
    while (next_word(&expected, &key, &v))
        expect(b, key, v);
    b->cases++;
}

/* "support=wait/ask": automated and agent */
static void run_grid(struct bench *b, struct slice always, struct slice words, struct slice cells)
{
    enum rule rule = PARSED(enum rule, rule_parse, b->name);
    struct slice class, cell;
    unsigned seen = 0;
    while (next_word(&cells, &class, &cell)) {
        for (unsigned sender = 0; sender < SENDER_N; sender++) {
            char what[64];
            bench_reset(b);
            given_class(b, class);
            b->message.sender_kind = (enum sender_kind)sender;
            give_words(b, always);
            give_words(b, words);
            bench_decide(b);
            snprintf(what, sizeof what, "%.*s by %s", SLICE_ARG(class), sender_kind_name((enum sender_kind)sender));
            same_text(b, what, cases_column(&cell, '/'), cell_of(&b->decision, rule));
            b->cases++;
        }
        seen++;
    }
    if (seen != CLASS_N)
        wrong(b, "a grid has every class");
}

static void run_line(struct bench *b, struct slice always, struct slice line)
{
    b->name = cases_column(&line, '|');
    struct slice words = cases_column(&line, '|');
    if (slice_starts(b->name, "grid ")) {
        b->name = slice_trim((struct slice){b->name.p + 5, b->name.n - 5});
        run_grid(b, always, words, slice_trim(line));
    } else {
        run_case(b, always, words, slice_trim(line));
    }
}

static void run_file(struct cases *c, unsigned cases_min)
{
    static struct bench b;
    struct slice line;
    char always[TEXT_MAX] = "";
    b = (struct bench){.file = c->name};
    arena_init(&b.arena, 1 << 20);
    while (cases_next(c, &line)) {
        b.line = c->number;
        if (line.p[0] == '=')
            always[0] = '\0';
        else if (slice_starts(line, "always "))
            snprintf(always, sizeof always, "%.*s", (int)line.n - 7, line.p + 7);
        else
            run_line(&b, slice_of(always), line);
    }
    arena_clear(&b.arena);
    ck_assert_msg(b.failures == 0, "%u of %u cases failed in %s", b.failures, b.cases, c->name);
    ck_assert_msg(b.cases >= cases_min, "only %u cases in %s", b.cases, c->name);
}

#define FILE_TEST(name_, file_, cases_min_)                                                                            \
    START_TEST(name_)                                                                                                  \
    {                                                                                                                  \
        struct cases c;                                                                                                \
        CASES_OPEN(&c, file_);                                                                                         \
        run_file(&c, cases_min_);                                                                                      \
    }                                                                                                                  \
    END_TEST

FILE_TEST(levels, "rules_levels.cases", 300)
FILE_TEST(optouts, "rules_optout.cases", 60)
FILE_TEST(channels_and_wishes, "rules_wishes.cases", 40)
FILE_TEST(hours, "rules_hours.cases", 60)
FILE_TEST(frequency, "rules_frequency.cases", 50)
FILE_TEST(outcomes, "rules_outcomes.cases", 50)

int main(void)
{
    Suite *suite = suite_create("policy_rules");
    TCase *files = tcase_create("files");
    tcase_add_test(files, levels);
    tcase_add_test(files, optouts);
    tcase_add_test(files, channels_and_wishes);
    tcase_add_test(files, hours);
    tcase_add_test(files, frequency);
    tcase_add_test(files, outcomes);
    suite_add_tcase(suite, files);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

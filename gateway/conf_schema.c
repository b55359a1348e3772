/*
 * The keys of postern.yaml and of a rule pack: one row a key, with its type and
 * its words.  These tables are both what libcyaml fills structs by and what
 * conf_check.c refuses by, so a key exists in one place.
 */
#include "conf_schema.h"

#include "postern/log.h"

/* --- words: value + 1, so that 0 is "absent" --------------------------------------- */

static const cyaml_strval_t flag_words[] = {{"false", FLAG_FALSE}, {"true", FLAG_TRUE}};

#define X(id, name) {name, CLASS_##id + 1},
static const cyaml_strval_t class_words[] = {CLASSES(X)};
#undef X
#define X(id, name) {name, SENDER_##id + 1},
static const cyaml_strval_t sender_words[] = {SENDERS(X)};
#undef X
#define X(id, name) {name, OUTCOME_##id + 1},
static const cyaml_strval_t outcome_words[] = {OUTCOMES(X)};
#undef X
#define RULE(id, name, function) {name, RULE_##id + 1},
static const cyaml_strval_t rule_words[] = {
#include "postern/rules.def"
};
#undef RULE

static const cyaml_strval_t level_words[] = {
    {"none", LEVEL_NONE + 1}, {"info", LEVEL_INFO + 1}, {"soft", LEVEL_SOFT + 1}, {"hard", LEVEL_HARD + 1}};
static const cyaml_strval_t card_words[] = {{"mask", CARDS_MASK}, {"block", CARDS_BLOCK}};
static const cyaml_strval_t consent_words[] = {
    {"none", CONSENT_NONE + 1}, {"opt_out", CONSENT_OPT_OUT + 1}, {"opt_in", CONSENT_OPT_IN + 1}};
static const cyaml_strval_t counts_words[] = {
    {"nowhere", COUNTS_NOWHERE + 1}, {"any", COUNTS_IN_ANY + 1}, {"everywhere", COUNTS_EVERYWHERE + 1}};
static const cyaml_strval_t period_words[] = {
    {"day", PERIOD_DAY + 1}, {"week", PERIOD_WEEK + 1}, {"month", PERIOD_MONTH + 1}};
static const cyaml_strval_t per_words[] = {
    {"subject", CONF_PER_SUBJECT}, {"category", CONF_PER_CATEGORY}, {"class", CONF_PER_CLASS}, {"any", CONF_PER_ANY}};
static const cyaml_strval_t meaning_words[] = {
    {"stop", KEYWORD_STOP + 1}, {"start", KEYWORD_START + 1}, {"help", KEYWORD_HELP + 1}};
static const cyaml_strval_t switch_words[] = {{"off", FLAG_FALSE}, {"on", FLAG_TRUE}};
static const cyaml_strval_t partial_words[] = {{"forward", PARTIAL_FORWARD + 1}, {"reject", PARTIAL_REJECT + 1}};
static const cyaml_strval_t reports_words[] = {{"dsn", REPORTS_DSN + 1}, {"none", REPORTS_NONE + 1}};
static const cyaml_strval_t log_words[] = {
    {"error", LOG_ERROR_ + 1}, {"warn", LOG_WARN + 1}, {"info", LOG_INFO + 1}, {"debug", LOG_DEBUG + 1}};
static const cyaml_strval_t confidence_words[] = {{"A", 'A'}, {"B", 'B'}, {"C", 'C'}};

/* --- sets: bits ------------------------------------------------------------------- */

#define X(id, name) {name, INT64_C(1) << CLASS_##id},
static const cyaml_strval_t class_bits[] = {CLASSES(X)};
#undef X
#define X(id, name) {name, INT64_C(1) << CHANNEL_##id},
static const cyaml_strval_t channel_bits[] = {CHANNELS(X)};
#undef X
static const cyaml_strval_t role_bits[] = {{"sender", ROLE_SENDER}, {"agent", ROLE_AGENT}, {"admin", ROLE_ADMIN}};
static const cyaml_strval_t day_bits[] = {{"mon", 1 << MONDAY},   {"tue", 1 << TUESDAY}, {"wed", 1 << WEDNESDAY},
                                          {"thu", 1 << THURSDAY}, {"fri", 1 << FRIDAY},  {"sat", 1 << SATURDAY},
                                          {"sun", 1 << SUNDAY}};

/* --- rows ------------------------------------------------------------------------- */

#define OPTIONAL CYAML_FLAG_OPTIONAL
#define NEEDED   CYAML_FLAG_DEFAULT

#define TEXT(key, need, of, member)                                                                                    \
    CYAML_FIELD_STRING_PTR(key, (need) | CYAML_FLAG_POINTER, struct of, member, 1, CYAML_UNLIMITED)
#define NUMBER(key, of, member) CYAML_FIELD_INT_PTR(key, OPTIONAL | CYAML_FLAG_POINTER, struct of, member)
#define WORD(key, need, of, member, words)                                                                             \
    CYAML_FIELD_ENUM(key, (need) | CYAML_FLAG_STRICT, struct of, member, words, N_ELEMENTS(words))
#define SET(key, need, of, member, bits)                                                                               \
    CYAML_FIELD_FLAGS(key, (need) | CYAML_FLAG_STRICT, struct of, member, bits, N_ELEMENTS(bits))
/* NULL when it is not there. */
#define MAP_PTR(key, of, member, fields)                                                                               \
    CYAML_FIELD_MAPPING_PTR(key, OPTIONAL | CYAML_FLAG_POINTER, struct of, member, fields)
#define MAP(key, need, of, member, fields) CYAML_FIELD_MAPPING(key, need, struct of, member, fields)
/* Lists are bounded: their arrays' sizes are products of these. */
#define LIST(key, of, member, entry)                                                                                   \
    CYAML_FIELD_SEQUENCE(key, OPTIONAL | CYAML_FLAG_POINTER, struct of, member, entry, 0, 10000)
/* Where absent means all, an empty list would be read as none. */
#define LIST_SOME(key, of, member, entry)                                                                              \
    CYAML_FIELD_SEQUENCE(key, OPTIONAL | CYAML_FLAG_POINTER, struct of, member, entry, 1, 10000)

#define END CYAML_FIELD_END

static const cyaml_schema_value_t text_entry = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, CYAML_UNLIMITED)};
#define ENTRY(of, fields)                                                                                              \
    {                                                                                                                  \
        CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct of, fields)                                                     \
    }

static const cyaml_schema_field_t tls_fields[] = {
    TEXT("certificate", NEEDED, yaml_tls, certificate),
    TEXT("key", NEEDED, yaml_tls, key),
    END,
};

static const cyaml_schema_field_t listen_fields[] = {
    TEXT("http", NEEDED, yaml_listen, http),
    TEXT("smtp", OPTIONAL, yaml_listen, smtp),
    TEXT("smtps", OPTIONAL, yaml_listen, smtps),
    MAP("tls", OPTIONAL, yaml_listen, tls, tls_fields),
    END,
};

static const cyaml_schema_field_t smtp_fields[] = {
    TEXT("host", OPTIONAL, yaml_smtp, host),
    WORD("auth_in_clear", OPTIONAL, yaml_smtp, auth_in_clear, flag_words),
    NUMBER("max_recipients", yaml_smtp, max_recipients),
    NUMBER("max_connections", yaml_smtp, max_connections),
    NUMBER("max_address_connections", yaml_smtp, max_address_connections),
    END,
};

static const cyaml_schema_field_t limits_fields[] = {
    NUMBER("body_bytes", yaml_limits, body_bytes),         NUMBER("connections", yaml_limits, connections),
    NUMBER("inflight_bytes", yaml_limits, inflight_bytes), NUMBER("head_ms", yaml_limits, head_ms),
    NUMBER("cache_bytes", yaml_limits, cache_bytes),       END,
};

static const cyaml_schema_field_t redis_fields[] = {
    TEXT("username", OPTIONAL, yaml_redis, username),
    TEXT("password", OPTIONAL, yaml_redis, password),
    TEXT("ca_file", OPTIONAL, yaml_redis, ca_file),
    NUMBER("deadline_ms", yaml_redis, deadline_ms),
    END,
};

static const cyaml_schema_field_t provider_fields[] = {
    TEXT("name", NEEDED, yaml_provider, name),
    TEXT("kind", NEEDED, yaml_provider, kind),
    TEXT("url", OPTIONAL, yaml_provider, url),
    TEXT("account", OPTIONAL, yaml_provider, account),
    TEXT("secret", OPTIONAL, yaml_provider, secret),
    TEXT("ca_file", OPTIONAL, yaml_provider, ca_file),
    WORD("allow_private", OPTIONAL, yaml_provider, allow_private, flag_words),
    WORD("starttls", OPTIONAL, yaml_provider, starttls, flag_words),
    NUMBER("connect_ms", yaml_provider, connect_ms),
    NUMBER("total_ms", yaml_provider, total_ms),
    NUMBER("max_concurrency", yaml_provider, max_concurrency),
    NUMBER("rate_per_s", yaml_provider, rate_per_s),
    END,
};
static const cyaml_schema_value_t provider_entry = ENTRY(yaml_provider, provider_fields);

static const cyaml_schema_field_t routes_fields[] = {
    TEXT("email", OPTIONAL, yaml_routes, email),
    TEXT("sms", OPTIONAL, yaml_routes, sms),
    TEXT("smtp", OPTIONAL, yaml_routes, smtp),
    END,
};

static const cyaml_schema_field_t category_fields[] = {
    TEXT("name", NEEDED, yaml_category, name),
    WORD("class", NEEDED, yaml_category, class, class_words),
    WORD("consent", OPTIONAL, yaml_category, consent, consent_words),
    WORD("obeys_cap", OPTIONAL, yaml_category, obeys_cap, flag_words),
    WORD("counts", OPTIONAL, yaml_category, counts, counts_words),
    WORD("asks_consent", OPTIONAL, yaml_category, asks_consent, flag_words),
    TEXT("expiry", OPTIONAL, yaml_category, expiry),
    TEXT("dedupe", OPTIONAL, yaml_category, dedupe),
    END,
};
static const cyaml_schema_value_t category_entry = ENTRY(yaml_category, category_fields);

static const cyaml_schema_field_t key_fields[] = {
    TEXT("name", NEEDED, yaml_key, name),
    TEXT("account", OPTIONAL, yaml_key, account),
    TEXT("login", OPTIONAL, yaml_key, login),
    TEXT("secret", NEEDED, yaml_key, secret),
    SET("roles", NEEDED, yaml_key, roles, role_bits),
    TEXT("default_category", OPTIONAL, yaml_key, default_category),
    LIST_SOME("categories", yaml_key, categories, &text_entry),
    WORD("sender_kind", OPTIONAL, yaml_key, sender_kind, sender_words),
    WORD("partial", OPTIONAL, yaml_key, partial, partial_words),
    WORD("reports", OPTIONAL, yaml_key, reports, reports_words),
    END,
};
static const cyaml_schema_value_t key_entry = ENTRY(yaml_key, key_fields);

static const cyaml_schema_field_t mapping_fields[] = {
    TEXT("label", NEEDED, yaml_mapping, label),
    TEXT("category", NEEDED, yaml_mapping, category),
    END,
};
static const cyaml_schema_value_t mapping_entry = ENTRY(yaml_mapping, mapping_fields);

static const cyaml_schema_field_t callbacks_fields[] = {
    LIST("allow", yaml_callbacks, allow, &text_entry),
    END,
};

static const cyaml_schema_field_t channels_fields[] = {
#define X(id, name) TEXT(name, OPTIONAL, yaml_channels, channel[CHANNEL_##id]),
    CHANNELS(X)
#undef X
        END,
};

static const cyaml_schema_field_t hours_fields[] = {
#define X(id, name) MAP(name, OPTIONAL, yaml_hours, class[CLASS_##id], channels_fields),
    CLASSES(X)
#undef X
        END,
};

static const cyaml_schema_field_t holidays_fields[] = {
    TEXT("name", NEEDED, yaml_holidays, name),
    LIST("days", yaml_holidays, days, &text_entry),
    END,
};
static const cyaml_schema_value_t holidays_entry = ENTRY(yaml_holidays, holidays_fields);

static const cyaml_schema_field_t reserve_fields[] = {
    WORD("class", NEEDED, yaml_reserve, class, class_words),
    CYAML_FIELD_INT_PTR("slots", CYAML_FLAG_POINTER, struct yaml_reserve, slots),
    END,
};

static const cyaml_schema_field_t cap_fields[] = {
    TEXT("name", NEEDED, yaml_cap, name),
    SET("classes", OPTIONAL, yaml_cap, classes, class_bits),
    SET("channels", OPTIONAL, yaml_cap, channels, channel_bits),
    TEXT("category", OPTIONAL, yaml_cap, category),
    WORD("calendar", OPTIONAL, yaml_cap, calendar, period_words),
    TEXT("rolling", OPTIONAL, yaml_cap, rolling),
    CYAML_FIELD_INT("limit", NEEDED, struct yaml_cap, limit),
    TEXT("min_gap", OPTIONAL, yaml_cap, min_gap),
    MAP("reserve", OPTIONAL, yaml_cap, reserve, reserve_fields),
    END,
};
static const cyaml_schema_value_t cap_entry = ENTRY(yaml_cap, cap_fields);

static const cyaml_schema_field_t level_fields[] = {
    WORD("rule", NEEDED, yaml_level, rule, rule_words),
    WORD("class", OPTIONAL, yaml_level, class, class_words),
    WORD("sender", OPTIONAL, yaml_level, sender, sender_words),
    WORD("level", OPTIONAL, yaml_level, level, level_words),
    WORD("outcome", OPTIONAL, yaml_level, outcome, outcome_words),
    WORD("shadow", OPTIONAL, yaml_level, shadow, flag_words),
    END,
};
static const cyaml_schema_value_t level_entry = ENTRY(yaml_level, level_fields);

/* The keys of the contacts' API; the lists come as lists and are no texts here. */
static const cyaml_schema_field_t defaults_fields[] = {
    SET("channel.never", OPTIONAL, yaml_defaults, channels_never, channel_bits),
    SET("days.never", OPTIONAL, yaml_defaults, days_never, day_bits),
#define X(id, name) TEXT(name, OPTIONAL, yaml_defaults, text[PREFERENCE_##id]),
    PREFERENCE_KEYS(X)
#undef X
        END,
};

static const cyaml_schema_field_t pack_rule_fields[] = {
    TEXT("rule", NEEDED, yaml_pack_rule, rule),
    WORD("switch", NEEDED, yaml_pack_rule, on, switch_words),
    TEXT("reason", NEEDED, yaml_pack_rule, reason),
    END,
};
static const cyaml_schema_value_t pack_rule_entry = ENTRY(yaml_pack_rule, pack_rule_fields);

static const cyaml_schema_field_t policy_fields[] = {
    TEXT("default_zone", OPTIONAL, yaml_policy, default_zone),
    TEXT("default_region", OPTIONAL, yaml_policy, default_region),
    MAP("quiet_hours", OPTIONAL, yaml_policy, quiet_hours, hours_fields),
    MAP("allowed_hours", OPTIONAL, yaml_policy, allowed_hours, hours_fields),
    LIST("holidays", yaml_policy, holidays, &holidays_entry),
    TEXT("holidays_apply", OPTIONAL, yaml_policy, holidays_apply),
    LIST("caps", yaml_policy, caps, &cap_entry),
    LIST("packs", yaml_policy, packs, &text_entry),
    LIST("pack_rules", yaml_policy, pack_rules, &pack_rule_entry),
    LIST("levels", yaml_policy, levels, &level_entry),
    WORD("shadow", OPTIONAL, yaml_policy, shadow, flag_words),
    NUMBER("margin_s", yaml_policy, margin_s),
    NUMBER("delivery_margin_s", yaml_policy, delivery_margin_s),
    TEXT("cooling_off", OPTIONAL, yaml_policy, cooling_off),
    TEXT("digest_at", OPTIONAL, yaml_policy, digest_at),
    WORD("carrier_enforces_stop", OPTIONAL, yaml_policy, carrier_enforces_stop, flag_words),
    WORD("card_numbers", OPTIONAL, yaml_policy, card_numbers, card_words),
    MAP("defaults", OPTIONAL, yaml_policy, defaults, defaults_fields),
    END,
};

static const cyaml_schema_field_t conf_fields[] = {
    MAP("listen", NEEDED, yaml_conf, listen, listen_fields),
    MAP("smtp", OPTIONAL, yaml_conf, smtp, smtp_fields),
    TEXT("public_url", OPTIONAL, yaml_conf, public_url),
    TEXT("store", OPTIONAL, yaml_conf, store),
    TEXT("counters", OPTIONAL, yaml_conf, counters),
    MAP("redis", OPTIONAL, yaml_conf, redis, redis_fields),
    TEXT("clock", OPTIONAL, yaml_conf, clock),
    TEXT("audit_key", OPTIONAL, yaml_conf, audit_key),
    TEXT("rules_dir", OPTIONAL, yaml_conf, rules_dir),
    WORD("log_level", OPTIONAL, yaml_conf, log_level, log_words),
    NUMBER("workers", yaml_conf, workers),
    MAP("limits", OPTIONAL, yaml_conf, limits, limits_fields),
    LIST("providers", yaml_conf, providers, &provider_entry),
    MAP("routes", OPTIONAL, yaml_conf, routes, routes_fields),
    LIST("categories", yaml_conf, categories, &category_entry),
    LIST("keys", yaml_conf, keys, &key_entry),
    LIST("mappings", yaml_conf, mappings, &mapping_entry),
    MAP("callbacks", OPTIONAL, yaml_conf, callbacks, callbacks_fields),
    MAP("policy", OPTIONAL, yaml_conf, policy, policy_fields),
    END,
};

const cyaml_schema_value_t conf_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct yaml_conf, conf_fields)};

static const cyaml_schema_field_t law_hours_fields[] = {
    TEXT("allowed", NEEDED, yaml_law_hours, allowed),
    TEXT("holidays", OPTIONAL, yaml_law_hours, holidays),
    WORD("counts_delivery", OPTIONAL, yaml_law_hours, counts_delivery, flag_words),
    END,
};

static const cyaml_schema_field_t law_cap_fields[] = {
    CYAML_FIELD_INT("limit", NEEDED, struct yaml_law_cap, limit),
    TEXT("rolling", OPTIONAL, yaml_law_cap, rolling),
    WORD("calendar", OPTIONAL, yaml_law_cap, calendar, period_words),
    WORD("per", NEEDED, yaml_law_cap, per, per_words),
    WORD("other_channels", OPTIONAL, yaml_law_cap, other_channels, flag_words),
    END,
};

static const cyaml_schema_field_t law_consent_fields[] = {
    WORD("need", OPTIONAL, yaml_law_consent, need, consent_words),
    LIST_SOME("accepts", yaml_law_consent, accepts, &text_entry),
    TEXT("expires", OPTIONAL, yaml_law_consent, expires),
    LIST_SOME("basis", yaml_law_consent, basis, &text_entry),
    TEXT("night", OPTIONAL, yaml_law_consent, night),
    END,
};

static const cyaml_schema_field_t law_opt_out_fields[] = {
    TEXT("within", OPTIONAL, yaml_law_opt_out, within),
    TEXT("holidays", OPTIONAL, yaml_law_opt_out, holidays),
    TEXT("reask_after", OPTIONAL, yaml_law_opt_out, reask_after),
    TEXT("confirmation_within", OPTIONAL, yaml_law_opt_out, confirmation_within),
    END,
};

static const cyaml_schema_field_t law_keywords_fields[] = {
    WORD("means", NEEDED, yaml_law_keywords, means, meaning_words),
    CYAML_FIELD_SEQUENCE("words", CYAML_FLAG_POINTER, struct yaml_law_keywords, words, &text_entry, 1, 1000),
    END,
};

static const cyaml_schema_field_t law_fields[] = {
    TEXT("name", NEEDED, yaml_law, name),
    TEXT("source", NEEDED, yaml_law, source),
    TEXT("as_of", NEEDED, yaml_law, as_of),
    WORD("confidence", NEEDED, yaml_law, confidence, confidence_words),
    TEXT("review_by", NEEDED, yaml_law, review_by),
    TEXT("effective_from", OPTIONAL, yaml_law, effective_from),
    TEXT("effective_to", OPTIONAL, yaml_law, effective_to),
    TEXT("note", OPTIONAL, yaml_law, note),
    SET("classes", NEEDED, yaml_law, classes, class_bits),
    SET("channels", NEEDED, yaml_law, channels, channel_bits),
    MAP_PTR("hours", yaml_law, hours, law_hours_fields),
    MAP_PTR("cap", yaml_law, cap, law_cap_fields),
    MAP_PTR("consent", yaml_law, consent, law_consent_fields),
    MAP_PTR("opt_out", yaml_law, opt_out, law_opt_out_fields),
    MAP_PTR("keywords", yaml_law, keywords, law_keywords_fields),
    END,
};
static const cyaml_schema_value_t law_entry = ENTRY(yaml_law, law_fields);

static const cyaml_schema_field_t pack_fields[] = {
    CYAML_FIELD_INT("version", NEEDED, struct yaml_pack, version),
    TEXT("name", NEEDED, yaml_pack, name),
    TEXT("title", NEEDED, yaml_pack, title),
    TEXT("note", OPTIONAL, yaml_pack, note),
    LIST_SOME("region", yaml_pack, region, &text_entry),
    CYAML_FIELD_SEQUENCE("rules", CYAML_FLAG_POINTER, struct yaml_pack, rules, &law_entry, 1, 1000),
    END,
};

const cyaml_schema_value_t conf_schema_pack = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct yaml_pack, pack_fields)};

static const cyaml_schema_field_t calendar_fields[] = {
    CYAML_FIELD_INT("version", NEEDED, struct yaml_calendar, version),
    TEXT("name", NEEDED, yaml_calendar, name),
    TEXT("title", NEEDED, yaml_calendar, title),
    TEXT("source", NEEDED, yaml_calendar, source),
    TEXT("as_of", NEEDED, yaml_calendar, as_of),
    WORD("confidence", NEEDED, yaml_calendar, confidence, confidence_words),
    TEXT("review_by", NEEDED, yaml_calendar, review_by),
    TEXT("note", OPTIONAL, yaml_calendar, note),
    CYAML_FIELD_SEQUENCE("days", CYAML_FLAG_POINTER, struct yaml_calendar, days, &text_entry, 1, 1000),
    END,
};

const cyaml_schema_value_t conf_schema_calendar = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct yaml_calendar, calendar_fields)};

/*
 * What libcyaml makes of a YAML file: one struct a mapping, one member a key, in
 * the order of docs.  Values are as written; conf_compile.c and its neighbours
 * give them their meaning.
 *
 * Absent is: NULL for texts and numbers, 0 for lists, flags and words.  A word
 * (an enum of ours) is its value + 1.
 */
#ifndef GATEWAY_CONF_SCHEMA_H
#define GATEWAY_CONF_SCHEMA_H

#include <cyaml/cyaml.h>

#include "conf.h"

/* What a law's cap counts. */
enum conf_per { CONF_PER_SUBJECT = 1, CONF_PER_CATEGORY, CONF_PER_CLASS, CONF_PER_ANY };

enum yaml_flag { FLAG_ABSENT, FLAG_FALSE, FLAG_TRUE };

struct yaml_tls {
    char *certificate, *key;
};

struct yaml_listen {
    char *http, *smtp, *smtps;
    struct yaml_tls tls;
};

struct yaml_smtp {
    char *host;
    int auth_in_clear;
    int64_t *max_recipients, *max_connections, *max_address_connections;
};

struct yaml_limits {
    int64_t *body_bytes, *connections, *inflight_bytes, *head_ms, *cache_bytes;
};

struct yaml_redis {
    char *username, *password, *ca_file;
    int64_t *deadline_ms;
};

struct yaml_provider {
    char *name, *kind, *url, *account, *secret, *ca_file;
    int allow_private, starttls;
    int64_t *connect_ms, *total_ms, *max_concurrency, *rate_per_s;
};

struct yaml_routes {
    char *email, *sms, *smtp;
};

struct yaml_category {
    char *name;
    int class, consent, obeys_cap, counts, asks_consent;
    char *expiry, *dedupe;
};

struct yaml_key {
    char *name, *account, *login, *secret;
    uint32_t roles;
    char *default_category;
    char **categories;
    uint32_t categories_count;
    int sender_kind, partial, reports;
};

struct yaml_mapping {
    char *label, *category;
};

struct yaml_callbacks {
    char **allow;
    uint32_t allow_count;
};

/* class -> channel -> windows */
struct yaml_channels {
    char *channel[CHANNEL_N];
};
struct yaml_hours {
    struct yaml_channels class[CLASS_N];
};

struct yaml_holidays {
    char *name;
    char **days;
    uint32_t days_count;
};

struct yaml_reserve {
    int class;
    int64_t *slots;
};

struct yaml_cap {
    char *name;
    uint32_t classes, channels;
    char *category;
    int calendar;
    char *rolling;
    int64_t limit;
    char *min_gap;
    struct yaml_reserve reserve;
};

struct yaml_level {
    int rule, class, sender, level, outcome, shadow;
};

struct yaml_defaults {
    char *text[PREFERENCE_N];
    uint32_t channels_never, days_never;
};

struct yaml_pack_rule {
    char *rule;
    int on;
    char *reason;
};

enum yaml_card_numbers { CARDS_ABSENT, CARDS_MASK, CARDS_BLOCK };

struct yaml_policy {
    char *default_zone, *default_region;
    struct yaml_hours quiet_hours, allowed_hours;
    struct yaml_holidays *holidays;
    uint32_t holidays_count;
    char *holidays_apply;
    struct yaml_cap *caps;
    uint32_t caps_count;
    char **packs;
    uint32_t packs_count;
    struct yaml_pack_rule *pack_rules;
    uint32_t pack_rules_count;
    struct yaml_level *levels;
    uint32_t levels_count;
    int shadow;
    int64_t *margin_s, *delivery_margin_s;
    char *cooling_off, *digest_at;
    int carrier_enforces_stop;
    int card_numbers;
    struct yaml_defaults defaults;
};

struct yaml_conf {
    struct yaml_listen listen;
    struct yaml_smtp smtp;
    char *public_url, *store, *counters, *clock, *audit_key, *rules_dir;
    int log_level;
    int64_t *workers;
    struct yaml_redis redis;
    struct yaml_limits limits;
    struct yaml_provider *providers;
    uint32_t providers_count;
    struct yaml_routes routes;
    struct yaml_category *categories;
    uint32_t categories_count;
    struct yaml_key *keys;
    uint32_t keys_count;
    struct yaml_mapping *mappings;
    uint32_t mappings_count;
    struct yaml_callbacks callbacks;
    struct yaml_policy policy;
};

/* A rule pack: one of hours, cap, consent, opt_out, keywords in each rule; the others are NULL. */
struct yaml_law_hours {
    char *allowed, *holidays;
    int counts_delivery;
};

struct yaml_law_cap {
    int64_t limit;
    char *rolling;
    int calendar, per, other_channels;
};

struct yaml_law_consent {
    int need;
    char **accepts;
    uint32_t accepts_count;
    char *expires;
    char **basis;
    uint32_t basis_count;
    char *night;
};

struct yaml_law_opt_out {
    char *within, *holidays, *reask_after, *confirmation_within;
};

struct yaml_law_keywords {
    int means;
    char **words;
    uint32_t words_count;
};

struct yaml_law {
    char *name, *source, *as_of;
    int confidence;
    char *review_by, *effective_from, *effective_to, *note;
    uint32_t classes, channels;
    struct yaml_law_hours *hours;
    struct yaml_law_cap *cap;
    struct yaml_law_consent *consent;
    struct yaml_law_opt_out *opt_out;
    struct yaml_law_keywords *keywords;
};

struct yaml_pack {
    int64_t version;
    char *name, *title, *note;
    char **region;
    uint32_t region_count;
    struct yaml_law *rules;
    uint32_t rules_count;
};

/* A holiday calendar that packs share. */
struct yaml_calendar {
    int64_t version;
    char *name, *title, *source, *as_of;
    int confidence;
    char *review_by, *note;
    char **days;
    uint32_t days_count;
};

extern const cyaml_schema_value_t conf_schema;
extern const cyaml_schema_value_t conf_schema_pack;
extern const cyaml_schema_value_t conf_schema_calendar;

#endif

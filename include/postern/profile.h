/*
 * What is known of one recipient: the person behind an address, or only the
 * address.  Plain data; filled by the store, packed by the gateway's cache,
 * read by the rules.
 */
#ifndef POSTERN_PROFILE_H
#define POSTERN_PROFILE_H

#include "postern/civil.h"
#include "postern/limits.h"
#include "postern/message.h"

/* Semantics 3: widest first; the order is that of evaluation. */
/* clang-format off */
#define OPT_OUT_SCOPES(X) \
    X(DO_NOT_CONTACT, "do_not_contact") \
    X(ADDRESS, "address")               \
    X(GLOBAL, "global")                 \
    X(CHANNEL, "channel")               \
    X(CATEGORY, "category")             \
    X(TOPIC, "topic")
/* clang-format on */

enum opt_out_scope {
#define X(id, name) SCOPE_##id,
    OPT_OUT_SCOPES(X)
#undef X
        SCOPE_N
};
const char *opt_out_scope_name(enum opt_out_scope s);
bool opt_out_scope_parse(struct slice s, enum opt_out_scope *out);

/* Who said a thing.  customer: page, reply, double opt-in.  provider: bounce, complaint, 21610. */
/* clang-format off */
#define SOURCES(X) \
    X(CUSTOMER, "customer")         \
    X(AGENT, "agent")               \
    X(IMPORT, "import")             \
    X(SYNC, "sync")                 \
    X(PROVIDER, "provider")         \
    X(BEHAVIOUR, "behaviour")       \
    X(ORGANISATION, "organisation")
/* clang-format on */

enum source {
#define X(id, name) SOURCE_##id,
    SOURCES(X)
#undef X
        SOURCE_N
};
const char *source_name(enum source s);
bool source_parse(struct slice s, enum source *out);

struct opt_out {
    enum opt_out_scope scope;
    bool any_channel;      /* scope category and topic without a channel; global */
    enum channel channel;  /* when !any_channel */
    struct slice category; /* scope category */
    struct slice topic;    /* scope topic */
    struct slice sender;   /* STOP: the number, service or brand it was said to; empty = all */
    enum source source;
    int64_t at_ms;
};

enum consent_state { CONSENT_GRANTED, CONSENT_REVOKED, CONSENT_PENDING };

/* The consent in force for a channel and category; the latest that counts, not the history. */
struct consent {
    bool any_channel;
    enum channel channel;
    struct slice category; /* empty = every category */
    enum consent_state state;
    enum source source;
    int64_t at_ms;
    int64_t expires_at_ms; /* 0 = never */
    struct slice basis;    /* "purchase", "written", ...: laws may speak of it; or empty */
    bool night;            /* given (or withdrawn) for the night alone, beside the one for the day */
};

/*
 * Does that consent, once it is in force, lift this opt-out?  Only one of exactly its own scope: a narrower grant never
 * lifts a wider opt-out, a wider one leaves narrower choices alone.
 */
bool consent_lifts(const struct consent *c, const struct opt_out *o);

/* Semantics 4, strongest first: smaller wins. */
/* clang-format off */
#define AUTHORITIES(X) \
    X(CONTACT, "contact")           \
    X(LOCKED, "locked")             \
    X(AGENT, "agent")               \
    X(BEHAVIOUR, "behaviour")       \
    X(ACCOUNT, "account")           \
    X(ORGANISATION, "organisation")
/* clang-format on */

enum authority {
#define X(id, name) AUTHORITY_##id,
    AUTHORITIES(X)
#undef X
        AUTHORITY_N
};

enum confidence { CONFIDENCE_LOW, CONFIDENCE_MEDIUM, CONFIDENCE_HIGH };

enum specificity { SPECIFICITY_ANY, SPECIFICITY_CHANNEL, SPECIFICITY_CATEGORY, SPECIFICITY_TOPIC };

/* One row a key that product documentation fixes: id, key, how two values compare (see policy/merge.c). */
/* clang-format off */
#define PREFERENCE_KEYS(X) \
    X(CHANNEL_PRIMARY, "channel.primary")       \
    X(CHANNEL_FALLBACK, "channel.fallback")     \
    X(CHANNEL_NEVER, "channel.never")           \
    X(HOURS, "hours")                           \
    X(DAYS_NEVER, "days.never")                 \
    X(MAX_PER_DAY, "frequency.max_per_day")     \
    X(MAX_PER_WEEK, "frequency.max_per_week")   \
    X(MAX_PER_MONTH, "frequency.max_per_month") \
    X(DIGEST, "digest")                         \
    X(LANGUAGE, "language")                     \
    X(FORMAT, "format")                         \
    X(FORMALITY, "formality")                   \
    X(TECHNICAL_DEPTH, "technical_depth")       \
    X(NOTIFY, "notify")                         \
    X(URGENCY_OVERRIDE, "urgency_override")     \
    X(ZONE, "zone")                             \
    X(REGION, "region")
/* clang-format on */

enum preference_key {
#define X(id, name) PREFERENCE_##id,
    PREFERENCE_KEYS(X)
#undef X
        PREFERENCE_N
};
const char *preference_key_name(enum preference_key k);
bool preference_key_parse(struct slice s, enum preference_key *out);
/* Zone and region say where somebody is, not what they wish: members of the contact itself. */
bool preference_key_is_place(enum preference_key k);

/*
 * One stated value; several may stand for one key.  text is canonical:
 * channels "sms,voice"; hours "mon-fri 08:00-18:00, sat 09:00-12:00" (policy/window.c
 * reads it); days "sat,sun"; numbers in decimal; empty = null (no cap, no wish).
 */
struct preference {
    enum preference_key key;
    enum specificity specificity;
    struct slice scope; /* channel, category or topic name; empty for SPECIFICITY_ANY */
    struct slice text;
    enum authority authority;
    enum source source;
    struct slice system; /* "helpdesk", "crm", ... or empty */
    enum confidence confidence;
    int64_t at_ms;
    uint32_t version; /* 1.. per key and scope, whoever says it */
};

/* How the zone was found; strongest first (semantics 6). */
/* clang-format off */
#define ZONE_BASES(X) \
    X(EXPLICIT, "explicit")   \
    X(AGENT, "agent")         \
    X(DEVICE, "device")       \
    X(POSTAL, "postal")       \
    X(AREA_CODE, "area_code") \
    X(IP, "ip")               \
    X(COUNTRY, "country")     \
    X(DEFAULT, "default")
/* clang-format on */

enum zone_basis {
#define X(id, name) ZONE_BASIS_##id,
    ZONE_BASES(X)
#undef X
        ZONE_BASIS_N
};
const char *zone_basis_name(enum zone_basis b);

/* Whose law may bind: ISO 3166-1 ("US"), and the part of ISO 3166-2 behind the dash ("FL"); "" = all of the country. */
struct region {
    char country[3];
    char division[4];
};
/* "US", "US-FL"; false for anything else. */
bool region_parse(struct slice s, struct region *out);
#define REGION_MAX 8
char *region_format(const struct region *r, char out[REGION_MAX]); /* returns out */
/* May a person of the one be bound by the law of the other?  A country overlaps each of its parts. */
bool region_overlaps(const struct region *a, const struct region *b);

struct profile {
    enum known known; /* UNKNOWN: no contact has this address */
    struct slice contact_id;
    struct slice account;
    /* Where the person may be.  Several: the law of each binds.  None: unknown, and every law binds. */
    struct region regions[LIMIT_CANDIDATE_REGIONS];
    size_t n_regions;
    uint64_t version; /* rises with every change to anything below */

    const struct opt_out *opt_outs;
    size_t n_opt_outs;
    const struct consent *consents;
    size_t n_consents;
    const struct preference *preferences;
    size_t n_preferences;

    /* One zone: certain enough.  Several: a message must be inside its window in all of them. */
    const struct zone *zones[LIMIT_CANDIDATE_ZONES];
    size_t n_zones;
    enum zone_basis zone_basis;
    /* The zone that the running day keeps after a change, or NULL; the store knows its name only. */
    const struct zone *previous_zone;
    struct slice previous_zone_name;
    int64_t zone_changed_at_ms;

    int64_t last_inbound_ms[CHANNEL_N]; /* 0 = never: a reply within 15 min is a conversation */
    int64_t resubscribed_at_ms;         /* last lift of an opt-out; 0 = never: cooling-off */
    int64_t opted_out_at_ms;            /* last opt-out; 0 = never */
    int64_t last_same_content_ms;       /* 0 = no message with this fingerprint in the dedupe window */
};

#endif

/*
 * postern.yaml, read and compiled: libcyaml checks keys and types, this file's
 * functions the values.  A configuration is whole or not at all, and immutable
 * once loaded.
 */
#ifndef GATEWAY_CONF_H
#define GATEWAY_CONF_H

#include "postern/connector.h"
#include "postern/hash.h"
#include "postern/policy.h"

/* The category that always exists, for sends of which nothing is known: marketing, opt_in. */
#define CONF_UNCLASSIFIED "unclassified"
/* The category of what Postern itself writes to a sender (RFC 3464): transactional, counts nowhere; no key's. */
#define CONF_REPORTS "delivery-report"

/* roles, bit set */
enum conf_role { ROLE_SENDER = 1, ROLE_AGENT = 2, ROLE_ADMIN = 4 };

struct conf_provider {
    const char *name;
    const struct connector *connector; /* NULL: the sandbox */
    const char *url;
    struct provider_login login; /* secret resolved */
    const char *ca_file;         /* or NULL */
    bool allow_private;
    bool starttls;                /* of a relay: nothing is sent without TLS */
    int64_t connect_ms, total_ms; /* 0 = default */
    uint32_t max_concurrency;     /* 0 = default */
    uint32_t rate_per_s;          /* 0 = unpaced */
};

enum conf_partial { PARTIAL_FORWARD, PARTIAL_REJECT };
/* What the sender of a mail hears of recipients that an accepted one did not reach. */
enum conf_reports { REPORTS_DSN, REPORTS_NONE };

struct conf_key {
    const char *name;
    const char *account; /* Twilio AC sid that the application logs in with; or NULL */
    const char *login;   /* a Twilio SK sid that may stand in the account's place when logging in; or NULL */
    struct slice secret;
    struct digest secret_digest;
    uint32_t roles;
    const struct category *default_category;  /* never NULL: CONF_UNCLASSIFIED when the file names none */
    const struct category *const *categories; /* those it may use, default_category among them */
    size_t n_categories;
    enum sender_kind sender_kind;
    enum conf_partial partial;
    enum conf_reports reports;
};

/* "what a label of the dialect means": SendGrid category, "asm:123", MG..., From -> category */
struct conf_mapping {
    const char *label;
    const struct category *category;
};

/* One rule of a pack: where it comes from, and whether it is on. */
struct conf_law {
    const char *name;      /* "hours"; policy's struct law has "us-fl/hours" */
    const char *full_name; /* that */
    const char *source, *note;
    enum law_kind kind;
    uint32_t classes, channels;
    char confidence; /* 'A' from the law's text, 'B' from a page about it, 'C' from memory */
    int32_t as_of_days, review_days;
    int32_t from_days, to_days; /* in force in [from, to); INT32_MIN, INT32_MAX: no bound */
    bool on;                    /* part of the policy; its dates are asked at each decision */
    const char *switched; /* why somebody switched it on or off by policy.pack_rules; NULL: its confidence decides */
};

struct conf_pack {
    const char *name, *title, *note;
    const struct region *regions; /* none: everywhere */
    size_t n_regions;
    const struct conf_law *rules;
    size_t n_rules;
};

/* A holiday calendar of rules/holidays that a pack in use speaks of. */
struct conf_calendar {
    const char *name, *title, *source, *note;
    char confidence;
    int32_t as_of_days, review_days;
    struct holiday_calendar days;
    struct conf_calendar *next;
};

struct conf_use; /* confs.c */

struct conf_redis {
    const char *host;
    uint16_t port;
    int db;
    bool tls;
    const char *ca_file;             /* or NULL */
    const char *username, *password; /* or NULL; resolved */
    int64_t deadline_ms;
};

struct conf {
    const char *path;
    const char *listen_http;                /* never NULL */
    const char *listen_smtp, *listen_smtps; /* or NULL */
    const char *smtp_host;                  /* own name in SMTP, never NULL */
    bool smtp_auth_in_clear;                /* listen_smtp is on loopback, and may take a login without TLS */
    uint32_t smtp_max_recipients, smtp_max_connections, smtp_max_address_connections; /* 0 = limits.h */
    const char *tls_certificate, *tls_key;
    const char *store_url;
    const char *audit_key;  /* resolved secret, or NULL */
    const char *public_url; /* no trailing slash; default http://<listen.http> */
    bool public_url_given;  /* by the configuration: others can reach it */
    bool clock_settable;
    enum { COUNTERS_EMBEDDED, COUNTERS_REDIS } counters;
    struct conf_redis redis;
    int log_level;                                              /* enum log_level */
    uint32_t workers;                                           /* processes that serve; 1: this one alone */
    size_t cache_bytes;                                         /* profiles, of one worker; default 256 MiB in all */
    size_t max_body_bytes, max_connections, max_inflight_bytes; /* 0 = limits.h */
    int64_t head_ms;                                            /* 0 = limits.h */

    const struct conf_provider *providers;
    size_t n_providers;
    const struct conf_provider *route[CHANNEL_N]; /* email, sms; the sandbox by default; see conf_route */
    const struct conf_provider *route_smtp;       /* a relay, or the sandbox (default) */
    const struct conf_key *keys;
    size_t n_keys;
    const struct conf_mapping *mappings;
    size_t n_mappings;
    const char *const *callback_allow; /* origins that status callbacks may be posted to: "https://app.example:8443" */
    size_t n_callback_allow;
    const struct conf_pack *packs;
    size_t n_packs;
    struct conf_calendar *calendars;

    struct policy policy;
    struct digest digest; /* of all that was read: the file and the packs; policy.version is its beginning */
    struct arena arena;   /* owns all of the above */
    struct conf_use *use; /* NULL: not in use yet */
};

/*
 * NULL with "postern.yaml:12: keys[1].secret: ..." in e.  Unknown keys, wrong types, empty windows,
 * unknown zones (nearest name suggested), dangling names, duplicate names or secrets, a settable
 * clock on a listener that is not loopback, unreadable files: all refused.
 */
struct conf *conf_load(const char *path, struct errmsg *e) NODISCARD;
/*
 * The same of bytes that were read before (several processes then see one file); path says where packs are looked
 * for and how errors name it.  running: the one in force, or NULL: what only a restart can change is refused by
 * line and key when it differs.  Any thread; nothing of running is written.
 */
struct conf *conf_load_bytes(const char *path, struct slice bytes, const struct conf *running,
                             struct errmsg *e) NODISCARD;
/* The file as it is, for conf_load_bytes; NULL with the reason in e.  It may hold secrets: conf_bytes_free wipes. */
char *conf_bytes_read(const char *path, size_t *n, struct errmsg *e) NODISCARD;
void conf_bytes_free(char **bytes, size_t n);
void conf_free(struct conf **c);

/*
 * "switched off: ...", "confidence C", "begins 2027-01-31", "ended 2026-08-11"; "" when it is on and its dates hold
 * today (days since 1970-01-01).  Returns out.
 */
#define CONF_WHY_MAX 128
char *conf_law_why_off(const struct conf_law *l, int32_t today, char out[CONF_WHY_MAX]);
/* Days since the oldest as_of of its rules that are on (all of them when none is), and days until the first review. */
int32_t conf_pack_age_days(const struct conf_pack *p, int32_t today);
int32_t conf_pack_review_days(const struct conf_pack *p, int32_t today); /* < 0: overdue */

/*
 * Who carries what came in that dialect: the route of its channel (SMTP: of smtp) when that speaks it or is the
 * sandbox, else the first provider that speaks it; NULL: none does.  Nothing is translated from one dialect to another.
 */
const struct conf_provider *conf_route(const struct conf *c, const struct connector *dialect);

const struct category *conf_category(const struct conf *c, struct slice name);
const struct conf_key *conf_key_named(const struct conf *c, struct slice name);
bool conf_key_may_use(const struct conf_key *k, const struct category *c);

/* Who is that?  Constant time over all keys; account may be empty.  NULL: nobody. */
const struct conf_key *conf_authenticate(const struct conf *c, struct slice account, struct slice secret);
/* The same of SMTP's user: what the provider's host wants for one, or the key's own name.  The work is the same for
 * names that there are and for others. */
const struct conf_key *conf_authenticate_user(const struct conf *c, struct slice user, struct slice secret);

#endif

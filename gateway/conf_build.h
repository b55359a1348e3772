/*
 * The parts of conf.c: how values as written become struct conf.  Each part
 * returns OK, or ERR_SYNTAX with "file:line: path: ..." in build.e.
 */
#ifndef GATEWAY_CONF_BUILD_H
#define GATEWAY_CONF_BUILD_H

#include "conf.h"
#include "conf_document.h"
#include "conf_schema.h"

struct conf_build {
    struct conf *conf;
    const struct yaml_conf *yaml;
    const struct conf_document *doc; /* that at-paths speak of */
    struct errmsg *e;
    struct category *categories; /* conf->policy.categories while they are made */
    struct digest digest;        /* of all that was read: the policy's version */
};

/* conf_refuse for the document at hand. */
#define REFUSE(b, at, ...) conf_refuse((b)->doc, (b)->e, (at), __VA_ARGS__)

/* conf_policy.c: in this order. */
enum err conf_build_categories(struct conf_build *b) NODISCARD;
enum err conf_build_policy(struct conf_build *b) NODISCARD;
/* conf_hours.c, conf_defaults.c, conf_pack.c: called by conf_build_policy, packs last. */
enum err conf_build_hours(struct conf_build *b) NODISCARD;
enum err conf_build_defaults(struct conf_build *b) NODISCARD;
enum err conf_build_packs(struct conf_build *b) NODISCARD;
/* The days of a calendar, e.g. {"12-25 observed", "last mon 05"}, that stand at the path `at`. */
enum err conf_build_calendar(struct conf_build *b, const char *name, char *const *days, size_t n, const char *at,
                             struct holiday_calendar *out) NODISCARD;
/* Windows; calendar may be NULL, and then the text must not speak of holidays. */
enum err conf_build_windows(struct conf_build *b, const char *text, const char *at, enum window_sense sense,
                            const struct holiday_calendar *calendar, struct window_set *out) NODISCARD;
/* conf_law.c: rule i of the pack at hand (b->doc is the pack's) into the policy, and what people see of it. */
enum err conf_build_law(struct conf_build *b, const struct conf_pack *pack, const struct yaml_law *y, size_t i,
                        struct conf_law *out) NODISCARD;
/* conf_pack.c: the calendar rules/holidays/NAME.yaml, read once; at: where it is named. */
enum err conf_build_named_calendar(struct conf_build *b, const char *name, const char *at,
                                   const struct holiday_calendar **out) NODISCARD;
/* conf_fixed.c: what only a restart changes must be as it is in the running one. */
enum err conf_check_fixed(struct conf_build *b, const struct conf *running) NODISCARD;
/* conf_process.c, conf_keys.c */
enum err conf_build_process(struct conf_build *b) NODISCARD;   /* listen, store, clock, limits */
enum err conf_build_smtp(struct conf_build *b) NODISCARD;      /* its listeners; behind listen and public_url */
enum err conf_build_counters(struct conf_build *b) NODISCARD;  /* and redis */
enum err conf_build_providers(struct conf_build *b) NODISCARD; /* and routes */
enum err conf_build_keys(struct conf_build *b) NODISCARD;      /* and mappings, callbacks */

/* --- conf_value.c: single values.  NULL texts and numbers are absent and leave *out as it is. -------------- */

void *conf_alloc(struct conf_build *b, size_t n, size_t size); /* of the configuration's arena; never NULL */
const char *conf_keep(struct conf_build *b, const char *text); /* NULL for NULL */
/* Letters, digits, '_', '-', '.': names go into headers, metrics and URLs. */
enum err conf_name(struct conf_build *b, const char *name, const char *at) NODISCARD;
/* The same name twice in a list; get(list, i) names the i-th. */
enum err conf_distinct(struct conf_build *b, const char *list_at, size_t n,
                       const char *(*get)(const struct yaml_conf *y, size_t i)) NODISCARD;
/* "2026-11-22" as days since 1970-01-01 */
enum err conf_date(struct conf_build *b, const char *text, const char *at, int32_t *out_days) NODISCARD;
/* "US", "US-FL" */
enum err conf_region(struct conf_build *b, const char *text, const char *at, struct region *out) NODISCARD;
/* "90s", "60m", "24h", "7d", "0" */
enum err conf_duration(struct conf_build *b, const char *text, const char *at, int64_t *out_s) NODISCARD;
enum err conf_number(struct conf_build *b, const int64_t *value, const char *at, int64_t min, int64_t max,
                     int64_t *out) NODISCARD;
/* Resolved by secret_load; in the arena, wiped by conf_free. */
enum err conf_secret(struct conf_build *b, const char *ref, const char *at, const char **out) NODISCARD;
/* "https://host:8443": a scheme of those, a host, perhaps a port, and no more. */
enum err conf_origin(struct conf_build *b, const char *url, const char *at, const char *const schemes[2]) NODISCARD;
/* "127.0.0.1:8080", "[::1]:8080" */
enum err conf_listen_address(struct conf_build *b, const char *text, const char *at, bool *loopback) NODISCARD;
enum err conf_readable(struct conf_build *b, const char *path, const char *at) NODISCARD;
enum err conf_zone(struct conf_build *b, const char *name, const char *at, const struct zone **out) NODISCARD;
/* A category by name; refused with the nearest name. */
enum err conf_category_named(struct conf_build *b, const char *name, const char *at,
                             const struct category **out) NODISCARD;

#endif

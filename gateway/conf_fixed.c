/*
 * What only a restart changes: where it listens, where it keeps, whose clock it goes by, what signs the audit.  A
 * new configuration that differs there from the running one is refused whole: half of a file in force would be
 * neither what was written nor what runs.
 */
#include "conf_build.h"

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Where the counters are: the URL. */
static bool same_place(const struct conf_redis *a, const struct conf_redis *b)
{
    return same_text(a->host, b->host) && a->port == b->port && a->db == b->db && a->tls == b->tls;
}

static bool same_redis_settings(const struct conf_redis *a, const struct conf_redis *b)
{
    return same_text(a->ca_file, b->ca_file) && same_text(a->username, b->username) &&
           same_text(a->password, b->password) && a->deadline_ms == b->deadline_ms;
}

/* X(name, path of the key, is it the same in a and b?) */
/* clang-format off */
#define FIXED(X) \
    X(http, "listen.http", same_text(a->listen_http, b->listen_http))                                \
    X(smtp, "listen.smtp", same_text(a->listen_smtp, b->listen_smtp))                                \
    X(smtps, "listen.smtps", same_text(a->listen_smtps, b->listen_smtps))                            \
    X(smtp_host, "smtp.host", same_text(a->smtp_host, b->smtp_host))                                 \
    X(smtp_clear, "smtp.auth_in_clear", a->smtp_auth_in_clear == b->smtp_auth_in_clear)              \
    X(tls, "listen.tls", (a->tls_certificate == NULL) == (b->tls_certificate == NULL))                \
    X(workers, "workers", a->workers == b->workers)                                                  \
    X(store, "store", same_text(a->store_url, b->store_url))                                         \
    X(counters, "counters", a->counters == b->counters && same_place(&a->redis, &b->redis))          \
    X(redis, "redis", same_redis_settings(&a->redis, &b->redis))                                     \
    X(clock, "clock", a->clock_settable == b->clock_settable)                                        \
    X(audit_key, "audit_key", same_text(a->audit_key, b->audit_key))
/* clang-format on */

#define X(name, at, same)                                                                                              \
    static bool same_##name(const struct conf *a, const struct conf *b)                                                \
    {                                                                                                                  \
        return same;                                                                                                   \
    }
FIXED(X)
#undef X

static const struct {
    const char *at;
    bool (*same)(const struct conf *a, const struct conf *b);
} fixed[] = {
#define X(name, at, same) {at, same_##name},
    FIXED(X)
#undef X
};

enum err conf_check_fixed(struct conf_build *b, const struct conf *running)
{
    for (size_t i = 0; i < N_ELEMENTS(fixed); i++) {
        if (!fixed[i].same(running, b->conf))
            return REFUSE(b, fixed[i].at,
                          "is not what it was, and cannot change while posternd runs: restart to "
                          "change it");
    }
    return OK;
}

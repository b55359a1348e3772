/*
 * Where frequency counters live: in the process, or in a Redis that several share.
 * The URL may hold a password, so no message of this file repeats it.
 */
#include "conf_build.h"

#include "postern/hash.h"

#define REDIS_PORT         6379
#define REDIS_DATABASES    1024u /* more than anybody configures */
#define REDIS_DEADLINE_MS  10
#define REDIS_DEADLINE_MAX 1000
#define URL_FORM           "write redis://host:6379/0, or rediss:// for TLS"

/* "%40" to "@" in place; NULL: not well formed, empty, or with control characters. */
static const char *decode(struct conf_build *b, struct slice s)
{
    char *out = conf_alloc(b, s.n + 1, 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        uint8_t byte = (uint8_t)s.p[i];
        if (byte == '%') {
            if (s.n - i < 3 || !hash_unhex((struct slice){s.p + i + 1, 2}, &byte, 1))
                return NULL;
            i += 2;
        }
        out[n++] = (char)byte;
    }
    return n > 0 && slice_is_clean((struct slice){out, n}) ? out : NULL;
}

static struct slice until(struct slice *rest, char c, bool last)
{
    size_t at = rest->n;

    for (size_t i = 0; i < rest->n && (last || at == rest->n); i++) {
        if (rest->p[i] == c)
            at = i;
    }
    struct slice head = {rest->p, at < rest->n ? at : 0};
    if (at < rest->n)
        *rest = (struct slice){rest->p + at + 1, rest->n - at - 1};
    return head;
}

/* "user:password@", ":password@", "password@" */
static enum err build_login(struct conf_build *b, struct slice login)
{
    struct conf_redis *r = &b->conf->redis;
    struct slice password = login, user = until(&password, ':', false);

    if (user.n > 0 && (r->username = decode(b, user)) == NULL)
        return REFUSE(b, "counters", "the user name in the URL is not well formed: write %%40 for @");
    if ((r->password = decode(b, password)) == NULL)
        return REFUSE(b, "counters", "the password in the URL is not well formed: write %%40 for @, %%2F for /");
    return OK;
}

static bool is_host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == ':';
}

static enum err build_host(struct conf_build *b, struct slice host, struct slice port)
{
    uint64_t number = REDIS_PORT;

    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = (struct slice){host.p + 1, host.n - 2};
    for (size_t i = 0; i < host.n; i++) {
        if (!is_host_char(host.p[i]))
            return REFUSE(b, "counters", "the host in the URL is none: " URL_FORM);
    }
    if (host.n == 0 || host.n > 253)
        return REFUSE(b, "counters", "the URL names no host: " URL_FORM);
    if (port.n > 0 && (!slice_to_u64(port, UINT16_MAX, &number) || number == 0))
        return REFUSE(b, "counters", "\"%.20s\" is no port: " URL_FORM, AT("%.*s", SLICE_ARG(port)));
    char *kept = conf_alloc(b, host.n + 1, 1);
    memcpy(kept, host.p, host.n);
    b->conf->redis.host = kept;
    b->conf->redis.port = (uint16_t)number;
    return OK;
}

static enum err build_url(struct conf_build *b, struct slice rest)
{
    struct slice path = rest, place = until(&path, '/', false);
    uint64_t db = 0;

    if (place.n == 0) {
        place = rest;
        path = (struct slice){0};
    }
    if (path.n > 0 && !slice_to_u64(path, REDIS_DATABASES, &db))
        return REFUSE(b, "counters", "what follows the last / in the URL is no database number: " URL_FORM);
    b->conf->redis.db = (int)db;
    struct slice host = place, login = until(&host, '@', true);
    enum err err = login.n > 0 ? build_login(b, login) : OK;
    struct slice port = {0};
    bool has_port = host.n > 0 && host.p[host.n - 1] != ']' && memchr(host.p, ':', host.n) != NULL;
    if (has_port) {
        port = host;
        host = until(&port, ':', true);
    }
    return err == OK ? build_host(b, host, port) : err;
}

static enum err build_redis(struct conf_build *b)
{
    const struct yaml_redis *y = &b->yaml->redis;
    struct conf_redis *r = &b->conf->redis;

    if (y->username != NULL && r->username != NULL)
        return REFUSE(b, "redis.username", "stands in the URL of counters too: keep one of them");
    if (y->password != NULL && r->password != NULL)
        return REFUSE(b, "redis.password", "stands in the URL of counters too: keep one of them");
    if (y->username != NULL)
        r->username = conf_keep(b, y->username);
    enum err err = conf_secret(b, y->password, "redis.password", &r->password);
    if (err == OK && r->username != NULL && r->password == NULL)
        return REFUSE(b, y->username != NULL ? "redis.username" : "counters", "a user name needs a password");
    if (err == OK && y->ca_file != NULL && !r->tls)
        return REFUSE(b, "redis.ca_file", "is of no use without TLS: write rediss:// in counters");
    if (err == OK)
        err = conf_readable(b, y->ca_file, "redis.ca_file");
    r->ca_file = conf_keep(b, y->ca_file);
    r->deadline_ms = REDIS_DEADLINE_MS;
    if (err == OK)
        err = conf_number(b, y->deadline_ms, "redis.deadline_ms", 1, REDIS_DEADLINE_MAX, &r->deadline_ms);
    return err;
}

enum err conf_build_counters(struct conf_build *b)
{
    static const char plain[] = "redis://", tls[] = "rediss://";
    const struct yaml_redis *y = &b->yaml->redis;
    struct slice s = slice_of(b->yaml->counters);
    bool stated = y->username != NULL || y->password != NULL || y->ca_file != NULL || y->deadline_ms != NULL;

    b->conf->counters = COUNTERS_EMBEDDED;
    if (s.n == 0 || slice_eq_cstr(s, "embedded"))
        return stated ? REFUSE(b, "redis", "is of no use: counters is embedded") : OK;
    b->conf->redis.tls = slice_starts(s, tls);
    if (!b->conf->redis.tls && !slice_starts(s, plain))
        return REFUSE(b, "counters", "is no kind of counters: write embedded, or redis://host:6379/0");
    size_t n = b->conf->redis.tls ? sizeof(tls) - 1 : sizeof(plain) - 1;
    b->conf->counters = COUNTERS_REDIS;
    enum err err = build_url(b, (struct slice){s.p + n, s.n - n});
    return err == OK ? build_redis(b) : err;
}

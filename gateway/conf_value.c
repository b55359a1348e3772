/*
 * Single values of a configuration: names, durations, secrets, addresses.  Each
 * is checked where it is read, so that an error names its line; nothing here
 * knows what the value is for.
 */
#include "conf_build.h"

#include <stdio.h>
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <unistd.h>

#include "place.h"
#include "postern/secret.h"
#include "postern/zone.h"

void *conf_alloc(struct conf_build *b, size_t n, size_t size)
{
    void *p = arena_calloc(&b->conf->arena, n == 0 ? 1 : n, size);
    ensure(p != NULL); /* lists and files are bounded far below the arena */
    return p;
}

const char *conf_keep(struct conf_build *b, const char *text)
{
    if (text == NULL)
        return NULL;
    char *kept = arena_strndup(&b->conf->arena, text, strlen(text));
    ensure(kept != NULL);
    return kept;
}

#define NAME_MAX_BYTES 64u

static bool is_name(struct slice s)
{
    if (s.n == 0 || s.n > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                    c == '-' || c == '.';
        if (!good || (i == 0 && c == '.'))
            return false;
    }
    return true;
}

enum err conf_name(struct conf_build *b, const char *name, const char *at)
{
    if (is_name(slice_of(name)))
        return OK;
    return REFUSE(b, at, "\"%.64s\" is no name: write up to %u letters, digits, '_', '-' and '.'", name,
                  NAME_MAX_BYTES);
}

enum err conf_distinct(struct conf_build *b, const char *list_at, size_t n,
                       const char *(*get)(const struct yaml_conf *y, size_t i))
{
    for (size_t i = 1; i < n; i++) {
        const char *name = get(b->yaml, i);
        size_t same = 0;
        while (same < i && strcmp(get(b->yaml, same), name) != 0)
            same++;
        if (same < i)
            return REFUSE(b, AT("%s[%zu]", list_at, i), "\"%.64s\" is named in line %zu already", name,
                          conf_document_line(b->doc, AT("%s[%zu]", list_at, same)));
    }
    return OK;
}

enum err conf_date(struct conf_build *b, const char *text, const char *at, int32_t *out_days)
{
    struct holiday date;

    if (text == NULL)
        return OK;
    if (holiday_parse(slice_of(text), &date, &(struct errmsg){""}) != OK || date.kind != HOLIDAY_DATE)
        return REFUSE(b, at, "\"%.40s\" is no date: write YYYY-MM-DD", text);
    *out_days = date_to_days((struct date){date.year, date.month, date.day});
    return OK;
}

enum err conf_region(struct conf_build *b, const char *text, const char *at, struct region *out)
{
    if (text == NULL || place_region_read(slice_of(text), out))
        return OK;
    if (region_parse(slice_of(text), out))
        return REFUSE(b, at,
                      "there is no region \"%s\": nobody would be bound by it; ISO 3166 has GB for the United Kingdom, "
                      "US-FL for Florida",
                      text);
    return REFUSE(b, at, "\"%.40s\" is no region: write a country (US) or a part of one (US-FL), as ISO 3166 does",
                  text);
}

#define DURATION_MAX_S (INT64_C(3660) * 86400) /* ten years: beyond is a slip of the pen */

enum err conf_duration(struct conf_build *b, const char *text, const char *at, int64_t *out_s)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};

    if (text == NULL)
        return OK;
    size_t n = strlen(text);
    uint64_t count = 0;
    int64_t seconds = strcmp(text, "0") == 0 ? 1 : 0;
    for (size_t i = 0; i < N_ELEMENTS(units); i++) {
        if (n > 1 && text[n - 1] == units[i].unit)
            seconds = units[i].seconds;
    }
    size_t digits = n > 1 ? n - 1 : n;
    if (seconds == 0 || !slice_to_u64((struct slice){text, digits}, (uint64_t)(DURATION_MAX_S / seconds), &count))
        return REFUSE(b, at, "\"%.40s\" is no duration: write 90s, 60m, 24h, 7d or 0", text);
    *out_s = (int64_t)count * seconds;
    return OK;
}

enum err conf_number(struct conf_build *b, const int64_t *value, const char *at, int64_t min, int64_t max, int64_t *out)
{
    if (value == NULL)
        return OK;
    if (*value < min || *value > max)
        return REFUSE(b, at, "%lld is not between %lld and %lld", (long long)*value, (long long)min, (long long)max);
    *out = *value;
    return OK;
}

enum err conf_secret(struct conf_build *b, const char *ref, const char *at, const char **out)
{
    struct errmsg why;

    if (ref == NULL)
        return OK;
    AUTO(secret_free) char *secret = secret_load(ref, &why);
    if (secret == NULL) {
        bool from_env = strncmp(ref, "env:", strlen("env:")) == 0;
        return REFUSE(b, at, "%s%s", why.text, from_env ? "; export it before posternd is started" : "");
    }
    if (!slice_is_clean(slice_of(secret)))
        return REFUSE(b, at, "the secret holds control characters");
    *out = conf_keep(b, secret);
    return OK;
}

/* --- addresses --------------------------------------------------------------------- */

static bool is_port(struct slice s, uint64_t min)
{
    uint64_t port = 0;
    return slice_to_u64(s, UINT16_MAX, &port) && port >= min;
}

static bool is_ipv6(struct slice s, struct in6_addr *out)
{
    char text[INET6_ADDRSTRLEN] = "";

    if (s.n < 3 || s.n - 2 >= sizeof text || s.p[0] != '[' || s.p[s.n - 1] != ']')
        return false;
    memcpy(text, s.p + 1, s.n - 2);
    return inet_pton(AF_INET6, text, out) == 1;
}

/* A DNS name or an IPv4 address, as far as its characters go. */
static bool is_host(struct slice s)
{
    if (s.n == 0 || s.n > 253)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '.' && s.p[i] != '-')
            return false;
    }
    return true;
}

static struct slice split_port(struct slice s, struct slice *port)
{
    size_t n = s.n;

    while (n > 0 && s.p[n - 1] != ':' && s.p[n - 1] != ']')
        n--;
    if (n == 0 || s.p[n - 1] == ']') {
        *port = (struct slice){NULL, 0};
        return s;
    }
    *port = (struct slice){s.p + n, s.n - n};
    return (struct slice){s.p, n - 1};
}

enum err conf_origin(struct conf_build *b, const char *url, const char *at, const char *const schemes[2])
{
    struct slice rest = {NULL, 0}, port;
    struct in6_addr v6;

    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(schemes[i]);
        if (strncmp(url, schemes[i], n) == 0 && strncmp(url + n, "://", 3) == 0)
            rest = slice_of(url + n + 3);
    }
    struct slice host = split_port(rest, &port);
    bool good = (is_host(host) || is_ipv6(host, &v6)) && (port.p == NULL || is_port(port, 1));
    if (good)
        return OK;
    return REFUSE(b, at, "\"%.80s\" must be %s://host or %s://host, perhaps :port, and nothing behind it", url,
                  schemes[0], schemes[1]);
}

enum err conf_listen_address(struct conf_build *b, const char *text, const char *at, bool *loopback)
{
    char v4_text[INET_ADDRSTRLEN] = "";
    struct in_addr v4;
    struct in6_addr v6;
    struct slice port, host = split_port(slice_of(text), &port);

    if (host.n < sizeof v4_text)
        snprintf(v4_text, sizeof v4_text, "%.*s", SLICE_ARG(host));
    bool is_v4 = inet_pton(AF_INET, v4_text, &v4) == 1;
    bool is_v6 = is_ipv6(host, &v6);
    if ((!is_v4 && !is_v6) || !is_port(port, 0))
        return REFUSE(b, at, "\"%.60s\" is no address to listen on: write 127.0.0.1:8080 or [::1]:8080", text);
    *loopback = is_v4 ? ntohl(v4.s_addr) >> 24 == 127 : IN6_IS_ADDR_LOOPBACK(&v6) != 0;
    return OK;
}

enum err conf_readable(struct conf_build *b, const char *path, const char *at)
{
    if (path == NULL || access(path, R_OK) == 0)
        return OK;
    return REFUSE(b, at, "%.120s cannot be read: %s", path, strerror(errno));
}

/* --- things by name ---------------------------------------------------------------- */

enum err conf_zone(struct conf_build *b, const char *name, const char *at, const struct zone **out)
{
    *out = zone_get(name);
    if (*out != NULL)
        return OK;
    struct conf_guess guess = {.word = name, .best = zone_suggest(name)};
    return REFUSE(b, at, "there is no time zone \"%.48s\"%s", name, HINT(&guess));
}

enum err conf_category_named(struct conf_build *b, const char *name, const char *at, const struct category **out)
{
    struct conf_guess guess = {.word = name};

    *out = conf_category(b->conf, slice_of(name));
    if (*out != NULL)
        return OK;
    for (size_t i = 0; i < b->conf->policy.n_categories; i++)
        conf_guess_offer(&guess, b->conf->policy.categories[i].name);
    return REFUSE(b, at, "there is no category \"%.64s\"%s", name, HINT(&guess));
}

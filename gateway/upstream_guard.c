/*
 * The one checked builder's checks, and the address guard: nothing reaches the
 * wire, and no address is dialled, that did not pass here.
 *
 * The idea: text is judged by the bytes that it has, addresses by the bytes that
 * are dialled.  No spelling of a URL and no change of DNS gets around that.
 */
#include "upstream_guard.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "http_grammar.h"
#include "postern/limits.h"

/* RFC 9112 section 3.2.1, a little wider: providers' SDKs send '[' and '|' unencoded in queries. */
static bool is_target(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= 0x20 || s.p[i] >= 0x7F || s.p[i] == '#')
            return false;
    return s.n > 0 && s.p[0] == '/';
}

enum err upstream_check_field(enum upstream_part part, struct slice s)
{
    bool good = false;
    switch (part) {
    case UPSTREAM_NAME:
        good = http_grammar_is_token(s);
        break;
    case UPSTREAM_VALUE:
        good = slice_is_clean(s);
        break;
    case UPSTREAM_TARGET:
        good = is_target(s);
        break;
    }
    return good ? OK : ERR_SYNTAX;
}

enum err upstream_guard_request(const struct upstream_request *req)
{
    struct slice method = slice_of(req->method);
    if (upstream_check_field(UPSTREAM_NAME, method) != OK ||
        upstream_check_field(UPSTREAM_TARGET, req->path_and_query) != OK)
        return ERR_SYNTAX;
    size_t bytes = method.n + req->path_and_query.n;
    for (size_t i = 0; i < req->n_headers; i++) {
        const struct upstream_field *f = &req->headers[i];
        if (upstream_check_field(UPSTREAM_NAME, f->name) != OK || upstream_check_field(UPSTREAM_VALUE, f->value) != OK)
            return ERR_SYNTAX;
        bytes += f->name.n + f->value.n + 4;
    }
    return bytes > LIMIT_HTTP_HEAD_BYTES || req->n_headers > LIMIT_HTTP_HEADERS ? ERR_LIMIT : OK;
}

static bool lists_token(struct slice list, struct slice token)
{
    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t n = comma ? (size_t)(comma - list.p) : list.n;
        if (slice_ieq(slice_trim((struct slice){list.p, n}), token))
            return true;
        n += comma ? 1 : 0;
        list = (struct slice){list.p + n, list.n - n};
    }
    return false;
}

bool upstream_guard_passes(const struct upstream_request *req, struct slice name)
{
    static const struct slice ours[] = {
        SLICE_INIT("host"),
        SLICE_INIT("content-length"),
        SLICE_INIT("transfer-encoding"),
        SLICE_INIT("expect"),
        SLICE_INIT("connection"),
        SLICE_INIT("keep-alive"),
        SLICE_INIT("te"),
        SLICE_INIT("trailer"),
        SLICE_INIT("upgrade"),
        SLICE_INIT("proxy-connection"),
        SLICE_INIT("proxy-authorization"),
        SLICE_INIT("http2-settings"),
    };
    if (slice_ieq_any(name, ours, N_ELEMENTS(ours)))
        return false;
    for (size_t i = 0; i < req->n_headers; i++)
        if (slice_ieq(req->headers[i].name, SLICE("connection")) && lists_token(req->headers[i].value, name))
            return false;
    return true;
}

enum reach { REACH_PUBLIC, REACH_PRIVATE, REACH_NEVER };

struct range {
    uint8_t prefix[16];
    uint8_t bits;
    enum reach reach;
};

/* IANA special-purpose address registries (IPv4 and IPv6, as of 2025), what is not global in them. */
static const struct range ranges4[] = {
    {{0}, 8, REACH_NEVER},             /* this network; Linux dials 0.0.0.0 as loopback */
    {{10}, 8, REACH_PRIVATE},          /* RFC 1918 */
    {{100, 64}, 10, REACH_PRIVATE},    /* carrier-grade NAT, RFC 6598 */
    {{127}, 8, REACH_PRIVATE},         /* loopback */
    {{169, 254}, 16, REACH_NEVER},     /* link-local: cloud metadata services */
    {{172, 16}, 12, REACH_PRIVATE},    /* RFC 1918 */
    {{192, 0, 0}, 24, REACH_NEVER},    /* protocol assignments */
    {{192, 0, 2}, 24, REACH_NEVER},    /* documentation */
    {{192, 168}, 16, REACH_PRIVATE},   /* RFC 1918 */
    {{198, 18}, 15, REACH_PRIVATE},    /* benchmarks, RFC 2544 */
    {{198, 51, 100}, 24, REACH_NEVER}, /* documentation */
    {{203, 0, 113}, 24, REACH_NEVER},  /* documentation */
    {{224}, 4, REACH_NEVER},           /* multicast */
    {{240}, 4, REACH_NEVER},           /* reserved, and broadcast */
};
static const struct range ranges6[] = {
    {{[15] = 1}, 128, REACH_PRIVATE},            /* ::1 */
    {{0}, 128, REACH_NEVER},                     /* :: */
    {{0x01, 0x00}, 64, REACH_NEVER},             /* discard, RFC 6666 */
    {{0x20, 0x01, 0x00, 0x00}, 23, REACH_NEVER}, /* protocol assignments: Teredo and others */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, REACH_NEVER}, /* documentation */
    {{0x3f, 0xff}, 20, REACH_NEVER},             /* documentation, RFC 9637 */
    {{0x5f, 0x00}, 16, REACH_NEVER},             /* segment routing, RFC 9602 */
    {{0xfc}, 7, REACH_PRIVATE},                  /* unique local, RFC 4193 */
    {{0xfe, 0x80}, 10, REACH_NEVER},             /* link-local */
    {{0xfe, 0xc0}, 10, REACH_PRIVATE},           /* site-local, deprecated */
    {{0xff}, 8, REACH_NEVER},                    /* multicast */
};

/* IPv6 prefixes that carry an IPv4 address; it is judged as what it is. */
static const struct embedding {
    uint8_t prefix[16];
    uint8_t bits;
    uint8_t at; /* the IPv4 address's first byte */
} embeddings[] = {
    {{[10] = 0xff, [11] = 0xff}, 96, 12},           /* v4-mapped */
    {{0x00, 0x64, 0xff, 0x9b}, 96, 12},             /* NAT64, RFC 6052 */
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, 12}, /* local NAT64, RFC 8215 */
    {{0x20, 0x02}, 16, 2},                          /* 6to4 */
    {{0}, 96, 12},                                  /* v4-compatible, deprecated */
};

static bool has_prefix(const uint8_t *bytes, const uint8_t *prefix, unsigned bits)
{
    if (memcmp(bytes, prefix, bits / 8) != 0)
        return false;
    unsigned rest = bits % 8;
    return rest == 0 || (bytes[bits / 8] ^ prefix[bits / 8]) >> (8 - rest) == 0;
}

static enum reach reach_of(const uint8_t *bytes, const struct range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (has_prefix(bytes, ranges[i].prefix, ranges[i].bits))
            return ranges[i].reach;
    return REACH_PUBLIC;
}

static enum reach reach6(const uint8_t *bytes)
{
    enum reach reach = reach_of(bytes, ranges6, N_ELEMENTS(ranges6));
    if (reach != REACH_PUBLIC)
        return reach;
    for (size_t i = 0; i < N_ELEMENTS(embeddings); i++)
        if (has_prefix(bytes, embeddings[i].prefix, embeddings[i].bits))
            return reach_of(bytes + embeddings[i].at, ranges4, N_ELEMENTS(ranges4));
    return REACH_PUBLIC;
}

const char *upstream_guard_refuses(const struct sockaddr *sa, uint16_t port, bool allow_private)
{
    enum reach reach = REACH_NEVER;
    uint16_t dialled = 0;
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof in);
        reach = reach_of((const uint8_t *)&in.sin_addr, ranges4, N_ELEMENTS(ranges4));
        dialled = ntohs(in.sin_port);
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof in6);
        reach = reach6(in6.sin6_addr.s6_addr);
        dialled = ntohs(in6.sin6_port);
    } else {
        return "not an internet address";
    }
    if (dialled != port)
        return "not the configured port";
    switch (reach) {
    case REACH_PUBLIC:
        return NULL;
    case REACH_PRIVATE:
        return allow_private ? NULL : "a private or loopback address";
    case REACH_NEVER:
        return "an address that no provider can have";
    }
    return "an address that no provider can have";
}

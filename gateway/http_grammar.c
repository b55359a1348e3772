/*
 * The grammar of a request's head: request line, target, fields, and what the
 * framing headers together mean.  Pure; knows nothing of buffers or sockets.
 *
 * The one idea: a spelling that another program might read differently is a
 * fault, also where the RFCs would let a recipient repair it.
 */
#include "http_grammar.h"

#include <strings.h>

#include "postern/hash.h"

enum { TOKEN = 1, UNRESERVED = 2, SUB_DELIM = 4, HEX = 8 };

/* RFC 9110 section 5.6.2 (token), RFC 3986 sections 2.2 and 2.3. */
static const unsigned char classes_of[256] = {
    ['0' ... '9'] = TOKEN | UNRESERVED | HEX,
    ['A' ... 'F'] = TOKEN | UNRESERVED | HEX,
    ['G' ... 'Z'] = TOKEN | UNRESERVED,
    ['a' ... 'f'] = TOKEN | UNRESERVED | HEX,
    ['g' ... 'z'] = TOKEN | UNRESERVED,
    ['-'] = TOKEN | UNRESERVED,
    ['.'] = TOKEN | UNRESERVED,
    ['_'] = TOKEN | UNRESERVED,
    ['~'] = TOKEN | UNRESERVED,
    ['!'] = TOKEN | SUB_DELIM,
    ['$'] = TOKEN | SUB_DELIM,
    ['&'] = TOKEN | SUB_DELIM,
    ['\''] = TOKEN | SUB_DELIM,
    ['*'] = TOKEN | SUB_DELIM,
    ['+'] = TOKEN | SUB_DELIM,
    ['('] = SUB_DELIM,
    [')'] = SUB_DELIM,
    [','] = SUB_DELIM,
    [';'] = SUB_DELIM,
    ['='] = SUB_DELIM,
    ['#'] = TOKEN,
    ['%'] = TOKEN,
    ['^'] = TOKEN,
    ['`'] = TOKEN,
    ['|'] = TOKEN,
};

static bool is(char c, unsigned classes)
{
    return (classes_of[(unsigned char)c] & classes) != 0;
}

static bool ieq(struct slice s, const char *lower)
{
    return s.n == strlen(lower) && strncasecmp(s.p, lower, s.n) == 0;
}

size_t http_grammar_text(struct slice s)
{
    size_t n = 0;
    for (;;) {
        n += slice_plain((struct slice){s.p + n, s.n - n}, "\x7F\x7F\x7F");
        if (n == s.n || (s.p[n] != '\t' && (s.p[n] & 0x80) == 0)) {
            return n;
        }
        n++;
    }
}

bool http_grammar_is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is(s.p[i], TOKEN)) {
            return false;
        }
    }
    return s.n > 0;
}

static enum http_fault fault(enum http_fault f, const char *at, const char **where)
{
    *where = at;
    return f;
}

/* The part of s up to the first byte that is c (or all), cut off its front. */
static struct slice cut(struct slice *s, char c)
{
    const char *end = s->n > 0 ? memchr(s->p, c, s->n) : NULL;
    size_t n = end == NULL ? s->n : (size_t)(end - s->p);
    struct slice front = {s->p, n};
    size_t skip = end == NULL ? n : n + 1;
    *s = (struct slice){s->p + skip, s->n - skip};
    return front;
}

/* host [":" port] of RFC 3986 section 3.2, never empty, no user part. */
static bool is_host(struct slice s)
{
    size_t i = 0;
    if (s.n > 0 && s.p[0] == '[') {
        for (i = 1; i < s.n && (is(s.p[i], HEX) || s.p[i] == ':' || s.p[i] == '.'); i++) {
        }
        if (i < 4 || i == s.n || s.p[i] != ']') { /* the shortest is "[::]" less its bracket */
            return false;
        }
        i++;
    } else {
        while (i < s.n && is(s.p[i], UNRESERVED)) {
            i++;
        }
    }
    if (i == 0 || i == s.n) {
        return i > 0;
    }
    uint64_t port = 0;
    return s.p[i] == ':' && slice_to_u64((struct slice){s.p + i + 1, s.n - i - 1}, UINT16_MAX, &port);
}

/* Characters and escapes of a path or query.  Brackets come raw from clients that build "filter[x]=1". */
static enum http_fault check_url_bytes(struct slice s, bool query, const char **where)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            if (s.n - i < 3 || !is(s.p[i + 1], HEX) || !is(s.p[i + 2], HEX)) {
                return fault(HTTP_FAULT_TARGET_ESCAPE, s.p + i, where);
            }
            i += 2;
        } else if (c == '#') {
            return fault(HTTP_FAULT_TARGET_FRAGMENT, s.p + i, where);
        } else if (!is(c, UNRESERVED | SUB_DELIM) && c != ':' && c != '@' && c != '/' &&
                   !(query && (c == '?' || c == '[' || c == ']'))) {
            return fault(HTTP_FAULT_TARGET_BYTE, s.p + i, where);
        }
    }
    return HTTP_FAULT_NONE;
}

/*
 * Routes are chosen by comparing paths.  A path that we take for one call and
 * the provider, after normalising it, for another would be a way around every
 * rule; so only the normal spelling is let in (RFC 3986 section 6.2.2), and no
 * segment parameters, which some servers cut off.
 */
static enum http_fault check_path(struct slice path, const char **where)
{
    for (struct slice rest = {path.p + 1, path.n - 1}; rest.n > 0;) {
        struct slice segment = cut(&rest, '/');
        bool dots = slice_eq_cstr(segment, ".") || slice_eq_cstr(segment, "..");
        if (segment.n == 0 || dots) {
            return fault(HTTP_FAULT_PATH_NOT_NORMAL, segment.p, where);
        }
    }
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] == ';') {
            return fault(HTTP_FAULT_PATH_NOT_NORMAL, path.p + i, where);
        }
        if (path.p[i] == '%') {
            unsigned c = (unsigned)hash_hex_digit(path.p[i + 1]) << 4 | (unsigned)hash_hex_digit(path.p[i + 2]);
            if (c < 0x20 || c == 0x7F || c == '/' || c == '\\' || c == ';' || (c < 0x80 && is((char)c, UNRESERVED))) {
                return fault(HTTP_FAULT_PATH_NOT_NORMAL, path.p + i, where);
            }
        }
    }
    return HTTP_FAULT_NONE;
}

/* Take "http://host" off the front of an absolute-form target. */
static enum http_fault cut_authority(struct slice *rest, struct http_head *h, const char **where)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < N_ELEMENTS(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (rest->n < n || strncasecmp(rest->p, schemes[i], n) != 0) {
            continue;
        }
        const char *from = rest->p + n;
        size_t left = rest->n - n, end = 0;
        while (end < left && from[end] != '/' && from[end] != '?' && from[end] != '#') {
            end++;
        }
        h->authority = (struct slice){from, end};
        *rest = (struct slice){from + end, left - end};
        return is_host(h->authority) ? HTTP_FAULT_NONE : fault(HTTP_FAULT_HOST_SYNTAX, from, where);
    }
    return fault(HTTP_FAULT_TARGET_FORM, rest->p, where);
}

static enum http_fault parse_target(struct http_head *h, const char **where)
{
    struct slice rest = h->target;
    if (slice_eq_cstr(rest, "*")) {
        h->path = rest;
        return h->method == HTTP_OPTIONS ? HTTP_FAULT_NONE : fault(HTTP_FAULT_TARGET_FORM, rest.p, where);
    }
    enum http_fault f = rest.p[0] == '/' ? HTTP_FAULT_NONE : cut_authority(&rest, h, where);
    if (f != HTTP_FAULT_NONE) {
        return f;
    }
    bool has_query = rest.n > 0 && memchr(rest.p, '?', rest.n) != NULL;
    h->path = cut(&rest, '?');
    h->query = has_query ? rest : (struct slice){0};
    if (h->path.n == 0) {
        h->path = SLICE("/"); /* "http://host" (RFC 9112 section 3.2.1) */
    }
    f = check_url_bytes(h->path, false, where);
    if (f == HTTP_FAULT_NONE && has_query) {
        f = check_url_bytes(h->query, true, where);
    }
    return f == HTTP_FAULT_NONE ? check_path(h->path, where) : f;
}

static enum http_fault parse_version(struct slice v, struct http_head *h, const char **where)
{
    bool form = v.n == 8 && memcmp(v.p, "HTTP/", 5) == 0 && v.p[5] >= '1' && v.p[5] <= '9' && v.p[6] == '.' &&
                v.p[7] >= '0' && v.p[7] <= '9';
    if (!form) {
        return fault(HTTP_FAULT_VERSION_SYNTAX, v.p, where);
    }
    if (v.p[5] != '1' || v.p[7] > '1') {
        return fault(HTTP_FAULT_VERSION_UNKNOWN, v.p, where);
    }
    h->is_1_0 = v.p[7] == '0';
    return HTTP_FAULT_NONE;
}

static bool parse_method(struct slice s, enum http_method *out)
{
#define METHOD_ROW(name)                                                                                               \
    if (slice_eq_cstr(s, #name)) {                                                                                     \
        *out = HTTP_##name;                                                                                            \
        return true;                                                                                                   \
    }
    HTTP_METHODS(METHOD_ROW)
#undef METHOD_ROW
    return false;
}

enum http_fault http_grammar_request_line(struct slice line, struct http_head *h, const char **where)
{
    struct slice rest = line;
    struct slice method = cut(&rest, ' ');
    h->target = cut(&rest, ' ');
    if (!http_grammar_is_token(method) || h->target.n == 0 || rest.n == 0 || memchr(rest.p, ' ', rest.n) != NULL) {
        return fault(HTTP_FAULT_REQUEST_LINE, line.p, where);
    }
    enum http_fault f = parse_version(rest, h, where);
    if (f != HTTP_FAULT_NONE) {
        return f;
    }
    if (!parse_method(method, &h->method)) {
        return fault(HTTP_FAULT_METHOD_UNKNOWN, line.p, where);
    }
    return parse_target(h, where);
}

/* Headers that decide about body or connection: a row each. */

static enum http_fault on_host(struct http_head *h, struct slice value)
{
    if (h->host.p != NULL) {
        return HTTP_FAULT_HOST_TWICE;
    }
    h->host = value;
    if (!is_host(value)) {
        return HTTP_FAULT_HOST_SYNTAX;
    }
    return h->authority.p == NULL || slice_ieq(h->authority, value) ? HTTP_FAULT_NONE : HTTP_FAULT_HOST_DIFFERS;
}

static enum http_fault on_length(struct http_head *h, struct slice value)
{
    if (h->has_length) {
        return HTTP_FAULT_LENGTH_TWICE;
    }
    h->has_length = true;
    bool octal_look = value.n > 1 && value.p[0] == '0';
    bool ok = !octal_look && slice_to_u64(value, UINT64_MAX, &h->content_length);
    return ok ? HTTP_FAULT_NONE : HTTP_FAULT_LENGTH_SYNTAX;
}

static enum http_fault on_coding(struct http_head *h, struct slice value)
{
    if (h->chunked) {
        return HTTP_FAULT_CODING_TWICE;
    }
    h->chunked = ieq(value, "chunked");
    if (!h->chunked) {
        return HTTP_FAULT_CODING_UNKNOWN;
    }
    return h->is_1_0 ? HTTP_FAULT_CODING_IN_1_0 : HTTP_FAULT_NONE;
}

static enum http_fault on_content_coding(struct http_head *h, struct slice value)
{
    bool ok = !h->gzip && (ieq(value, "gzip") || ieq(value, "x-gzip")); /* RFC 9110 section 8.4.1.3 */
    h->gzip = true;
    return ok ? HTTP_FAULT_NONE : HTTP_FAULT_CONTENT_CODING;
}

static enum http_fault on_expect(struct http_head *h, struct slice value)
{
    h->expect_continue = ieq(value, "100-continue");
    return h->expect_continue ? HTTP_FAULT_NONE : HTTP_FAULT_EXPECT_UNKNOWN;
}

static enum http_fault on_connection(struct http_head *h, struct slice value)
{
    while (value.n > 0) {
        struct slice option = slice_trim(cut(&value, ','));
        h->asks_close |= ieq(option, "close");
        h->asks_keep_alive |= ieq(option, "keep-alive");
    }
    return HTTP_FAULT_NONE;
}

static enum http_fault on_lookalike(struct http_head *h, struct slice value)
{
    (void)h, (void)value;
    return HTTP_FAULT_NAME_LOOKALIKE;
}

struct framing_row {
    const char *name;
    size_t n;
    enum http_fault (*on)(struct http_head *h, struct slice value);
};

#define FRAMING_ROW(name, on)                                                                                          \
    {                                                                                                                  \
        name, sizeof(name) - 1, on                                                                                     \
    }

static const struct framing_row framing_rows[] = {
    FRAMING_ROW("host", on_host),
    FRAMING_ROW("content-length", on_length),
    FRAMING_ROW("transfer-encoding", on_coding),
    FRAMING_ROW("content-encoding", on_content_coding),
    FRAMING_ROW("expect", on_expect),
    FRAMING_ROW("connection", on_connection),
    FRAMING_ROW("content_length", on_lookalike),
    FRAMING_ROW("transfer_encoding", on_lookalike),
};

static const struct framing_row *framing_row_of(struct slice name)
{
    for (size_t i = 0; i < N_ELEMENTS(framing_rows); i++) {
        const struct framing_row *row = &framing_rows[i];
        if (name.n == row->n && strncasecmp(name.p, row->name, row->n) == 0) {
            return row;
        }
    }
    return NULL;
}

enum http_fault http_grammar_field(struct slice line, struct http_header *out, const char **where)
{
    if (line.p[0] == ' ' || line.p[0] == '\t') {
        return fault(HTTP_FAULT_OBS_FOLD, line.p, where);
    }
    const char *colon = memchr(line.p, ':', line.n);
    if (colon == line.p) {
        return fault(HTTP_FAULT_NAME_EMPTY, line.p, where);
    }
    size_t n = colon == NULL ? line.n : (size_t)(colon - line.p);
    for (size_t i = 0; i < n; i++) {
        if (is(line.p[i], TOKEN)) {
            continue;
        }
        bool blank = i + 1 == n && (line.p[i] == ' ' || line.p[i] == '\t');
        return fault(blank ? HTTP_FAULT_NAME_BLANK : HTTP_FAULT_NAME_BYTE, line.p + i, where);
    }
    if (colon == NULL) {
        return fault(HTTP_FAULT_NAME_BYTE, line.p + line.n, where);
    }
    out->name = (struct slice){line.p, n};
    if (framing_row_of(out->name) != NULL && memchr(line.p, '\t', line.n) != NULL) {
        return fault(HTTP_FAULT_FRAMING_TAB, line.p, where); /* a blank to RFC 9110 section 5.6.3, not to everybody */
    }
    out->value = slice_trim((struct slice){colon + 1, line.n - n - 1});
    return HTTP_FAULT_NONE;
}

enum http_fault http_grammar_trailer(struct slice line, const char **where)
{
    struct http_header field = {0};
    enum http_fault f = http_grammar_field(line, &field, where);
    if (f == HTTP_FAULT_NONE && framing_row_of(field.name) != NULL) {
        return fault(HTTP_FAULT_TRAILER_FORBIDDEN, line.p, where); /* RFC 9110 section 6.5.1 */
    }
    return f;
}

enum http_fault http_grammar_framing(struct http_head *h, uint64_t max_body_bytes, const char **where)
{
    const char *framing = h->target.p; /* the last header that frames the body */
    *where = h->target.p;
    for (size_t i = 0; i < h->n_headers; i++) {
        const struct framing_row *row = framing_row_of(h->headers[i].name);
        if (row == NULL) {
            continue;
        }
        enum http_fault f = row->on(h, h->headers[i].value);
        if (f != HTTP_FAULT_NONE) {
            return fault(f, h->headers[i].name.p, where);
        }
        if (row->on == on_length || row->on == on_coding) {
            framing = h->headers[i].name.p;
        }
    }
    if (h->host.p == NULL && !h->is_1_0) {
        return HTTP_FAULT_HOST_MISSING;
    }
    if (h->host.p == NULL && h->authority.p != NULL) {
        h->host = h->authority;
    }
    if (h->chunked && h->has_length) {
        return fault(HTTP_FAULT_LENGTH_AND_CODING, framing, where);
    }
    if (h->content_length > max_body_bytes) {
        return fault(HTTP_FAULT_BODY_TOO_LARGE, framing, where);
    }
    bool has_body = h->chunked || h->content_length > 0;
    h->expect_continue = h->expect_continue && has_body && !h->is_1_0; /* RFC 9110 section 10.1.1 */
    h->keep_alive = !h->asks_close && (!h->is_1_0 || h->asks_keep_alive);
    return HTTP_FAULT_NONE;
}

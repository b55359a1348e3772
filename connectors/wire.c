/*
 * Fields and paths of HTTP as every dialect needs them, and faults.  Knows no
 * provider.  The one idea: what goes out is listed by name; a field that nobody
 * listed stays behind, and a value that could break out of its line is refused.
 */
#include "wire.h"

#include <stdarg.h>
#include <stdio.h>

#include "postern/hash.h"

#define FIELDS_FOR_US 14 /* X-Postern-*, Content-Type, Retry-After */

struct slice wire_field_get(const struct wire_field *fields, size_t n, const char *name)
{
    struct slice wanted = slice_of(name);
    for (size_t i = 0; i < n; i++) {
        if (slice_ieq(fields[i].name, wanted))
            return fields[i].value;
    }
    return (struct slice){NULL, 0};
}

/* --- fields ------------------------------------------------------------------ */

void wire_reply_add(struct wire_reply *r, const char *name, struct slice value)
{
    if (value.p != NULL && r->n_fields < WIRE_REPLY_FIELDS)
        r->fields[r->n_fields++] = (struct wire_field){slice_of(name), value};
}

void wire_reply_json(struct wire_reply *r, int status, const struct buf *body)
{
    r->status = status;
    r->body = buf_slice(body);
    wire_reply_add(r, "Content-Type", SLICE("application/json; charset=utf-8"));
}

/* RFC 9110, section 7.6.1, and what the ingress writes itself. */
static bool is_hop_by_hop(struct slice name)
{
    static const struct slice names[] = {SLICE_INIT("Connection"),
                                         SLICE_INIT("Keep-Alive"),
                                         SLICE_INIT("Proxy-Connection"),
                                         SLICE_INIT("Proxy-Authenticate"),
                                         SLICE_INIT("TE"),
                                         SLICE_INIT("Trailer"),
                                         SLICE_INIT("Transfer-Encoding"),
                                         SLICE_INIT("Upgrade"),
                                         SLICE_INIT("Content-Length"),
                                         SLICE_INIT("Date")};
    return slice_ieq_any(name, names, N_ELEMENTS(names));
}

static bool is_ours(struct slice name)
{
    static const char prefix[] = "X-Postern-";
    return name.n >= sizeof prefix - 1 && slice_ieq((struct slice){name.p, sizeof prefix - 1}, SLICE(prefix));
}

void wire_reply_provider(struct wire_reply *r, const struct provider_answer *answer)
{
    r->status = answer->status;
    r->body = answer->body;
    for (size_t i = 0; i < answer->n_fields; i++) {
        struct wire_field f = answer->fields[i];
        if (is_hop_by_hop(f.name) || is_ours(f.name) || !slice_is_clean(f.value))
            continue;
        if (r->n_fields < WIRE_REPLY_FIELDS - FIELDS_FOR_US)
            r->fields[r->n_fields++] = f;
    }
}

enum err wire_outgoing_add(struct outgoing *out, const char *name, struct slice value)
{
    if (!slice_is_clean(value))
        return ERR_SYNTAX;
    if (out->n_fields == OUTGOING_FIELDS)
        return ERR_LIMIT;
    out->fields[out->n_fields++] = (struct wire_field){slice_of(name), value};
    return OK;
}

enum err wire_outgoing_copy(struct outgoing *out, const struct wire_request *r, const char *const *names)
{
    for (; *names != NULL; names++) {
        struct slice value = wire_field_get(r->fields, r->n_fields, *names);
        enum err err = value.p == NULL ? OK : wire_outgoing_add(out, *names, value);
        if (err != OK)
            return err;
    }
    return OK;
}

struct slice wire_target(struct slice path, struct slice query, struct arena *a)
{
    if (query.n == 0)
        return path;
    return slice_of(arena_printf(a, "%.*s?%.*s", SLICE_ARG(path), SLICE_ARG(query)));
}

bool wire_is_media_type(struct slice content_type, const char *media_type)
{
    const char *end = content_type.n == 0 ? NULL : memchr(content_type.p, ';', content_type.n);
    if (end != NULL)
        content_type.n = (size_t)(end - content_type.p);
    return slice_ieq(slice_trim(content_type), slice_of(media_type));
}

/* --- paths --------------------------------------------------------------------- */

/* The byte at *i, its % escape undone; moves *i on; -1 for an escape that is none. */
static int path_next(struct slice s, size_t *i)
{
    char c = s.p[(*i)++];
    if (c != '%')
        return (unsigned char)c;
    int high = *i < s.n ? hash_hex_digit(s.p[*i]) : -1;
    int low = *i + 1 < s.n ? hash_hex_digit(s.p[*i + 1]) : -1;
    *i += 2;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* RFC 3986, section 2.3: escaping one of these changes nothing, so nobody does it who does not want to hide it. */
static bool is_unreserved(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

static bool segment_is_plain(struct slice s)
{
    bool only_dots = true;
    for (size_t i = 0; i < s.n;) {
        bool escaped = s.p[i] == '%';
        int c = path_next(s, &i);
        if (c < 0x20 || c == 0x7F || c == '/' || c == '\\' || c == ';' || (escaped && is_unreserved(c)))
            return false;
        only_dots = only_dots && c == '.';
    }
    return !only_dots; /* an empty one is refused with them */
}

bool wire_path_split(struct slice path, struct wire_path *out)
{
    *out = (struct wire_path){0};
    if (path.n == 0 || path.p[0] != '/')
        return false;
    for (size_t start = 1; start <= path.n;) {
        const char *slash = start < path.n ? memchr(path.p + start, '/', path.n - start) : NULL;
        size_t end = slash == NULL ? path.n : (size_t)(slash - path.p);
        struct slice segment = {path.p + start, end - start};
        if (segment.n == 0 && end == path.n) {
            out->trailing_slash = true;
            return true;
        }
        if (out->n == WIRE_SEGMENTS || !segment_is_plain(segment))
            return false;
        out->segments[out->n++] = segment;
        start = end + 1;
    }
    return true;
}

enum wire_match wire_segment_match(struct slice segment, const char *word)
{
    if (slice_eq_cstr(segment, word))
        return WIRE_SAME;
    return slice_ieq(segment, slice_of(word)) ? WIRE_LIKE : WIRE_OTHER;
}

/* --- content ------------------------------------------------------------------------ */

static const uint64_t mix_prime = UINT64_C(0x9E3779B97F4A7C15);

static uint64_t mix_word(uint64_t h, uint64_t w)
{
    h = (h ^ w) * mix_prime;
    return h ^ h >> 29;
}

uint64_t wire_mix(uint64_t h, struct slice s)
{
    uint64_t w;
    size_t i = 0;
    h ^= s.n * mix_prime;
    for (; s.n - i >= sizeof w; i += sizeof w) {
        memcpy(&w, s.p + i, sizeof w);
        h = mix_word(h, w);
    }
    if (i == s.n)
        return h;
    w = 0;
    memcpy(&w, s.p + i, s.n - i);
    return mix_word(h, w);
}

/* --- faults --------------------------------------------------------------------- */

int wire_fault_status(enum fault_kind kind)
{
    switch (kind) {
    case FAULT_SYNTAX:
    case FAULT_NO_RECIPIENT:
    case FAULT_ADDRESS:
    case FAULT_NO_SENDER:
    case FAULT_NO_BODY:
    case FAULT_TOO_LONG:
    case FAULT_CATEGORY:
        return 400;
    case FAULT_AUTH:
        return 401;
    case FAULT_FORBIDDEN:
        return 403;
    case FAULT_NOT_FOUND:
        return 404;
    case FAULT_METHOD:
        return 405;
    case FAULT_CONFLICT:
    case FAULT_IN_PROGRESS:
        return 409;
    case FAULT_TOO_LARGE:
        return 413;
    case FAULT_MEDIA_TYPE:
        return 415;
    case FAULT_KEY_REUSED:
        return 422;
    case FAULT_OVERLOAD:
        return 429;
    case FAULT_INTERNAL:
        return 500;
    case FAULT_UNAVAILABLE:
    case FAULT_UPSTREAM_DOWN:
        return 503;
    }
    return 500;
}

const char *wire_fault_code(enum fault_kind kind)
{
    if (kind == FAULT_AUTH)
        return "PST-AUTH";
    if (kind == FAULT_IN_PROGRESS)
        return "PST-IN-PROGRESS";
    if (kind == FAULT_KEY_REUSED)
        return "PST-KEY-REUSED";
    if (kind == FAULT_OVERLOAD)
        return "PST-OVERLOAD";
    if (kind == FAULT_UNAVAILABLE)
        return "PST-UNAVAILABLE";
    if (kind == FAULT_UPSTREAM_DOWN)
        return "PST-UPSTREAM-DOWN";
    return NULL;
}

struct slice wire_fault_text(const struct fault *f)
{
    if (f->kind == FAULT_UPSTREAM_DOWN)
        return SLICE("upstream provider unavailable, message not accepted");
    if (f->message.text[0] != '\0')
        return slice_of(f->message.text);
    if (f->kind == FAULT_FORBIDDEN)
        return SLICE("access forbidden");
    if (f->kind == FAULT_TOO_LARGE)
        return SLICE("content too large");
    if (f->kind == FAULT_NOT_FOUND)
        return SLICE("not found");
    if (f->kind == FAULT_METHOD)
        return SLICE("method not allowed");
    return SLICE("the request could not be handled");
}

void wire_fault_add_postern(struct buf *b, enum fault_kind kind)
{
    const char *code = wire_fault_code(kind);
    if (code != NULL && kind != FAULT_AUTH)
        buf_printf(b, ",\"postern\":{\"outcome\":\"refused\",\"code\":\"%s\"}", code);
}

enum err wire_fault_fields(struct wire_reply *reply, const struct fault *f, struct arena *a)
{
    wire_reply_add(reply, "X-Postern-Outcome", SLICE("refused"));
    wire_reply_add(reply, "X-Postern-Code", slice_of(wire_fault_code(f->kind)));
    if (f->retry_after_ms <= 0)
        return OK;
    const char *seconds = arena_printf(a, "%lld", (long long)((f->retry_after_ms + 999) / 1000));
    wire_reply_add(reply, "Retry-After", slice_of(seconds));
    return seconds == NULL ? ERR_LIMIT : OK;
}

enum err wire_fault(struct fault *f, enum fault_kind kind, const char *field, const char *fmt, ...)
{
    char text[sizeof f->message.text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args); /* what does not fit is cut, as errmsg_set would */
    va_end(args);
    *f = (struct fault){.kind = kind};
    errmsg_set(&f->message, "%s", text);
    snprintf(f->field, sizeof f->field, "%s", field == NULL ? "" : field);
    return kind == FAULT_TOO_LARGE || kind == FAULT_TOO_LONG ? ERR_LIMIT : ERR_SYNTAX;
}

/*
 * Status line and headers of a reply.  Pure: bytes in, bytes out; the date is
 * a parameter.
 *
 * The one idea: framing headers are written here and nowhere else, and nothing
 * with a control character in it can become a header.
 */
#include "http_write.h"

#include <stdio.h>

#include "http_grammar.h"
#include "postern/civil.h"

static const struct {
    int status;
    const char *phrase;
} phrases[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {207, "Multi-Status"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

#define OWN_FIELDS_BYTES 256u /* status line, Date, Content-Type, Content-Length, Connection */

/* Headers that only the listener writes. */
static const struct slice own_headers[] = {
    SLICE_INIT("content-length"),    SLICE_INIT("content-type"), SLICE_INIT("date"),    SLICE_INIT("connection"),
    SLICE_INIT("transfer-encoding"), SLICE_INIT("keep-alive"),   SLICE_INIT("upgrade"), SLICE_INIT("trailer")};

struct writer {
    char *out;
    size_t n, cap;
};

static void put(struct writer *w, struct slice s)
{
    if (s.n > 0 && w->n + s.n <= w->cap) {
        memcpy(w->out + w->n, s.p, s.n);
    }
    w->n += s.n;
}

static void put_header(struct writer *w, struct slice name, struct slice value)
{
    put(w, name);
    put(w, SLICE(": "));
    put(w, value);
    put(w, SLICE("\r\n"));
}

/* An unknown status has an empty phrase (RFC 9112 section 4). */
const char *http_write_phrase(int status)
{
    for (size_t i = 0; i < N_ELEMENTS(phrases); i++) {
        if (phrases[i].status == status) {
            return phrases[i].phrase;
        }
    }
    return "";
}

static bool is_value(struct slice s)
{
    return slice_is_clean(s) && slice_trim(s).n == s.n;
}

bool http_header_is_clean(struct http_header h)
{
    return http_grammar_is_token(h.name) && is_value(h.value) &&
           !slice_ieq_any(h.name, own_headers, N_ELEMENTS(own_headers));
}

bool http_write_has_body(int status)
{
    return status != 204 && status != 304;
}

char *http_write_date(int64_t wall_ms, char out[HTTP_DATE_MAX])
{
    char text[RFC2822_MAX];
    rfc2822_format(wall_ms, text); /* differs in the zone only: "+0000" */
    snprintf(out, HTTP_DATE_MAX, "%.*sGMT", (int)(strlen(text) - strlen("+0000")), text);
    return out;
}

size_t http_write_room(const struct http_reply *reply)
{
    size_t n = OWN_FIELDS_BYTES + (reply->content_type != NULL ? strlen(reply->content_type) : 0);
    for (size_t i = 0; i < reply->n_headers; i++) {
        n += reply->headers[i].name.n + reply->headers[i].value.n + strlen(": \r\n");
    }
    return n;
}

size_t http_write_head(const struct http_reply *reply, enum http_persistence persistence, const char *date, char *out,
                       size_t cap)
{
    ensure(reply->status >= 200 && reply->status <= 599);
    struct writer w = {.out = out, .cap = cap};
    char digits[U64_TEXT_MAX];
    put(&w, SLICE("HTTP/1.1 "));
    put(&w, u64_text((uint64_t)reply->status, digits));
    put(&w, SLICE(" "));
    put(&w, slice_of(http_write_phrase(reply->status)));
    put(&w, SLICE("\r\n"));
    put_header(&w, SLICE("Date"), slice_of(date));
    if (reply->content_type != NULL) {
        ensure(is_value(slice_of(reply->content_type)));
        put_header(&w, SLICE("Content-Type"), slice_of(reply->content_type));
    }
    for (size_t i = 0; i < reply->n_headers; i++) {
        ensure(http_header_is_clean(reply->headers[i]));
        put_header(&w, reply->headers[i].name, reply->headers[i].value);
    }
    if (http_write_has_body(reply->status)) {
        put_header(&w, SLICE("Content-Length"), u64_text(reply->body.n, digits));
    }
    if (persistence != HTTP_PERSIST) {
        put_header(&w, SLICE("Connection"), slice_of(persistence == HTTP_CLOSE ? "close" : "keep-alive"));
    }
    put(&w, SLICE("\r\n"));
    return w.n;
}

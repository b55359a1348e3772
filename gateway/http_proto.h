/*
 * A strict HTTP/1.1 parser, server side, without I/O: bytes in, events out.
 *
 * What can be read two ways is refused, never resolved by a guess: another
 * program on the way may have guessed otherwise, and what was decided upon
 * must be what is acted upon (RFC 9112 section 11.2).  It owns no socket and
 * no clock, and allocates only from the arena that it is given, so it can be
 * driven a byte at a time; how the bytes are cut never changes the events.
 *
 * A normal case:
 *     http_proto_next(&p, &arena);                 one arena per request
 *     http_proto_step(&p, &in)  -> HTTP_NONE       all of in consumed: bring more
 *     http_proto_step(&p, &in)  -> HTTP_HEAD_READY p.head is filled, its bytes are in the arena
 *     http_proto_step(&p, &in)  -> HTTP_BODY       p.piece borrows from in; any number of times
 *     http_proto_step(&p, &in)  -> HTTP_END        in holds what follows: the next request
 * A bad one:
 *     http_proto_step(&p, &in)  -> HTTP_REFUSED    p.fault and p.fault_at say why and where;
 *                                                  answer, close, and never step it again
 */
#ifndef GATEWAY_HTTP_PROTO_H
#define GATEWAY_HTTP_PROTO_H

#include "postern/arena.h"
#include "postern/limits.h"

/*
 * Why a request is refused or a connection is closed: name, status (0: closed
 * without an answer), metric label, and what a person is told.  Each row is
 * also a counter.  Rows up to GZIP_TRAILING come from the request's own bytes;
 * the others from the listener.
 */
#define HTTP_FAULTS(X)                                                                                                 \
    X(BARE_CR, 400, "bare_cr", "CR without LF; lines end with CRLF")                                                   \
    X(BARE_LF, 400, "bare_lf", "LF without CR; lines end with CRLF")                                                   \
    X(CONTROL_BYTE, 400, "control_byte", "a control character or NUL in the head")                                     \
    X(EMPTY_LINES, 400, "empty_lines", "more than one empty line before the request line")                             \
    X(REQUEST_LINE, 400, "request_line", "the request line is not 'METHOD SP target SP HTTP/1.1'")                     \
    X(METHOD_UNKNOWN, 501, "method_unknown", "the method is not one of GET HEAD POST PUT PATCH DELETE OPTIONS")        \
    X(VERSION_SYNTAX, 400, "version_syntax", "the version is not 'HTTP/1.1' or 'HTTP/1.0'")                            \
    X(VERSION_UNKNOWN, 505, "version_unknown", "only HTTP/1.1 and HTTP/1.0 are spoken here")                           \
    X(TARGET_FORM, 400, "target_form", "the target is neither a path nor an http URL ('*' only with OPTIONS)")         \
    X(TARGET_BYTE, 400, "target_byte", "a byte in the target that a URL may not hold unencoded")                       \
    X(TARGET_FRAGMENT, 400, "target_fragment", "a fragment ('#') in the target")                                       \
    X(TARGET_ESCAPE, 400, "target_escape", "'%' in the target without two hexadecimal digits")                         \
    X(PATH_NOT_NORMAL, 400, "path_not_normal",                                                                         \
      "the path has another spelling: an empty or dot segment, ';', or an encoded slash, control or unreserved "       \
      "character")                                                                                                     \
    X(LINE_TOO_LONG, 414, "line_too_long", "the request line is too long")                                             \
    X(HEAD_TOO_LARGE, 431, "head_too_large", "the headers are too large")                                              \
    X(TOO_MANY_HEADERS, 431, "too_many_headers", "too many header fields")                                             \
    X(OBS_FOLD, 400, "obs_fold", "a header line starts with a blank (folded lines are obsolete)")                      \
    X(NAME_EMPTY, 400, "name_empty", "a header without a name")                                                        \
    X(NAME_BYTE, 400, "name_byte", "a byte in a header name that is no token character, or no colon")                  \
    X(NAME_BLANK, 400, "name_blank", "a blank between header name and colon")                                          \
    X(NAME_LOOKALIKE, 400, "name_lookalike", "a framing header spelt with '_', which some servers read as '-'")        \
    X(FRAMING_TAB, 400, "framing_tab", "a tab in a header that decides where the request ends")                        \
    X(HOST_MISSING, 400, "host_missing", "HTTP/1.1 needs a Host header")                                               \
    X(HOST_TWICE, 400, "host_twice", "more than one Host header")                                                      \
    X(HOST_SYNTAX, 400, "host_syntax", "the Host header is not 'host' or 'host:port'")                                 \
    X(HOST_DIFFERS, 400, "host_differs", "the target names another host than the Host header")                         \
    X(LENGTH_TWICE, 400, "length_twice", "more than one Content-Length header")                                        \
    X(LENGTH_SYNTAX, 400, "length_syntax", "Content-Length is not a plain decimal number")                             \
    X(LENGTH_AND_CODING, 400, "length_and_coding", "Content-Length together with Transfer-Encoding")                   \
    X(CODING_TWICE, 400, "coding_twice", "more than one Transfer-Encoding header")                                     \
    X(CODING_UNKNOWN, 400, "coding_unknown", "Transfer-Encoding is not exactly 'chunked'")                             \
    X(CODING_IN_1_0, 400, "coding_in_1_0", "Transfer-Encoding in an HTTP/1.0 request")                                 \
    X(CONTENT_CODING, 415, "content_coding", "Content-Encoding is not 'gzip'")                                         \
    X(EXPECT_UNKNOWN, 417, "expect_unknown", "Expect is not '100-continue'")                                           \
    X(BODY_TOO_LARGE, 413, "body_too_large", "the body is too large")                                                  \
    X(CHUNK_SIZE, 400, "chunk_size", "a chunk size is not 1 to 16 hexadecimal digits")                                 \
    X(CHUNK_EXTENSION, 400, "chunk_extension", "chunk extensions are not accepted")                                    \
    X(CHUNK_END, 400, "chunk_end", "no CRLF after a chunk's bytes")                                                    \
    X(TRAILERS_TOO_LARGE, 431, "trailers_too_large", "the trailer section is too large")                               \
    X(TRAILER_FORBIDDEN, 400, "trailer_forbidden", "a framing header in the trailer section")                          \
    X(GZIP_BROKEN, 400, "gzip_broken", "the body is not valid gzip")                                                   \
    X(GZIP_TRAILING, 400, "gzip_trailing", "bytes after the end of the gzip member")                                   \
    X(HEAD_TIMEOUT, 408, "head_timeout", "the request's head did not arrive in time")                                  \
    X(BODY_TOO_SLOW, 408, "body_too_slow", "the request's body arrives too slowly")                                    \
    X(TOO_MANY_CONNECTIONS, 503, "too_many_connections", "too many connections; try again shortly")                    \
    X(TOO_MANY_BYTES, 503, "too_many_bytes", "too many bytes are being received; try again shortly")                   \
    X(DRAINING, 0, "draining", "the server is stopping")                                                               \
    X(IDLE_TIMEOUT, 0, "idle_timeout", "no request for too long")                                                      \
    X(HANDSHAKE_FAILED, 0, "handshake_failed", "the TLS handshake failed or took too long")                            \
    X(WRITE_TIMEOUT, 0, "write_timeout", "the client did not read its reply in time")                                  \
    X(CLIENT_LEFT, 0, "client_left", "the client left before its request or its reply was complete")                   \
    X(FDS_EXHAUSTED, 0, "fds_exhausted", "no file descriptor left to accept a connection")

enum http_fault {
    HTTP_FAULT_NONE = 0,
#define HTTP_FAULT_ENUM(name, status, label, text) HTTP_FAULT_##name,
    HTTP_FAULTS(HTTP_FAULT_ENUM)
#undef HTTP_FAULT_ENUM
        HTTP_FAULT_COUNT
};

int http_fault_status(enum http_fault f);
const char *http_fault_label(enum http_fault f); /* for metrics: "bare_lf" */
const char *http_fault_text(enum http_fault f);  /* for people */

#define HTTP_METHODS(X) X(GET) X(HEAD) X(POST) X(PUT) X(PATCH) X(DELETE) X(OPTIONS)

enum http_method {
#define HTTP_METHOD_ENUM(name) HTTP_##name,
    HTTP_METHODS(HTTP_METHOD_ENUM)
#undef HTTP_METHOD_ENUM
};

const char *http_method_name(enum http_method m); /* "GET" */

struct http_header {
    struct slice name, value; /* the name as sent; the value without blanks around it */
};

/* Everything before the body.  All bytes lie in the request's arena. */
struct http_head {
    enum http_method method;
    bool is_1_0;
    struct slice target;    /* as sent */
    struct slice path;      /* "/v3/mail/send": still percent-encoded; "*" for the server itself */
    struct slice query;     /* without the '?'; p == NULL when there is none */
    struct slice authority; /* of an absolute-form target; the same as host */
    struct slice host;      /* the Host header's value; empty only in HTTP/1.0 */
    struct http_header *headers;
    size_t n_headers, cap_headers;
    uint64_t content_length; /* 0 when chunked or without a body */
    bool chunked;
    bool gzip;                                    /* Content-Encoding: gzip */
    bool expect_continue;                         /* a 100 is waited for: HTTP/1.1, and a body follows */
    bool keep_alive;                              /* what version and Connection ask for */
    bool has_length, asks_close, asks_keep_alive; /* as the headers say it */
};

enum http_event { HTTP_NONE, HTTP_HEAD_READY, HTTP_BODY, HTTP_END, HTTP_REFUSED };

enum http_proto_state {
    HTTP_STATE_LINE,       /* in the request line, or before it */
    HTTP_STATE_FIELDS,     /* in the header fields */
    HTTP_STATE_LENGTH,     /* in a body with a Content-Length */
    HTTP_STATE_CHUNK_SIZE, /* in a chunk-size line */
    HTTP_STATE_CHUNK,      /* in a chunk's bytes */
    HTTP_STATE_CHUNK_END,  /* at the CRLF after them */
    HTTP_STATE_TRAILERS,   /* after the last chunk */
    HTTP_STATE_END,        /* the body is complete; HTTP_END is due */
    HTTP_STATE_DONE,       /* HTTP_END was given: http_proto_next */
    HTTP_STATE_REFUSED
};

struct http_proto {
    /* For the caller, valid with the event that says so. */
    struct http_head head; /* HTTP_HEAD_READY and after */
    struct slice piece;    /* HTTP_BODY: bytes of the body, borrowed from the input */
    enum http_fault fault; /* HTTP_REFUSED */
    uint64_t fault_at;     /* HTTP_REFUSED: byte of the request, counted from 0 */

    /* Its own. */
    enum http_proto_state state;
    struct arena *arena;
    uint64_t max_body_bytes;
    uint64_t at;         /* bytes of this request consumed */
    uint64_t left;       /* to come of the body or of the chunk; the size while its digits are read */
    uint64_t body_bytes; /* promised by the chunks so far */
    char *bytes;         /* the head as it came, later the trailers; CRLFs included */
    size_t n_bytes, cap_bytes;
    size_t line_from;  /* where the current line starts in them */
    uint64_t bytes_at; /* where in the request they start */
    size_t n_trailers;
    unsigned digits; /* of the chunk size */
    bool after_cr;   /* the next byte must be LF */
    bool skipped_crlf;
};

/* max_body_bytes: of the body as it is on the wire. */
void http_proto_init(struct http_proto *p, uint64_t max_body_bytes);
/* Before the first byte of each request.  Keeps arena until HTTP_END or HTTP_REFUSED. */
void http_proto_next(struct http_proto *p, struct arena *arena);
/* Nothing of the next request has come yet, or nothing but one empty line (RFC 9112 section 2.2). */
bool http_proto_is_idle(const struct http_proto *p);
/* Consumes from the front of *in; one event. */
enum http_event http_proto_step(struct http_proto *p, struct slice *in) NODISCARD;

#endif

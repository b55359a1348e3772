/*
 * Replies as bytes.  Pure.  Every header that leaves goes through here and is
 * checked: what cannot stand in a header aborts, it never reaches the wire.
 */
#ifndef GATEWAY_HTTP_WRITE_H
#define GATEWAY_HTTP_WRITE_H

#include "http_listen.h"

enum http_persistence {
    HTTP_PERSIST,     /* HTTP/1.1: no Connection header needed */
    HTTP_PERSIST_1_0, /* Connection: keep-alive */
    HTTP_CLOSE        /* Connection: close */
};

#define HTTP_DATE_MAX 40
/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7).  Returns out. */
char *http_write_date(int64_t wall_ms, char out[HTTP_DATE_MAX]);

/*
 * Status line and headers up to and including the empty line.  Writes at most
 * cap bytes and returns how many there are in all, so that a call with cap 0
 * measures.
 */
size_t http_write_head(const struct http_reply *reply, enum http_persistence persistence, const char *date, char *out,
                       size_t cap);
/* At least as much as that head can take, without looking at its bytes. */
size_t http_write_room(const struct http_reply *reply);
const char *http_write_phrase(int status); /* "Bad Request"; "" when not known */
/* 204 and 304 have none (RFC 9110 section 6.4.1). */
bool http_write_has_body(int status);

#endif

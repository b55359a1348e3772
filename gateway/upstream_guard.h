/* What may leave, and to where: checks that stand between callers and the HTTP library.  Pure. */
#ifndef POSTERN_UPSTREAM_GUARD_H
#define POSTERN_UPSTREAM_GUARD_H

#include "upstream.h"

struct sockaddr;

/* OK when method, target and every field can go out as they are; ERR_SYNTAX, or ERR_LIMIT when the head is too large.
 */
enum err upstream_guard_request(const struct upstream_request *req) NODISCARD;

/* False for the fields that belong to one connection or to the framing: Host, Content-Length, Connection and what it
 * names, ... (RFC 9110 section 7.6.1). */
bool upstream_guard_passes(const struct upstream_request *req, struct slice name);

/*
 * NULL when the resolved address may be dialled on this port, or the reason why not (static text).
 * allow_private: loopback and private addresses are meant; multicast, unspecified and the like never are.
 */
const char *upstream_guard_refuses(const struct sockaddr *sa, uint16_t port, bool allow_private);

#endif

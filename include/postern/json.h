/* jansson with our settings.  For everything that is not on a message's way; bodies of messages are scanned. */
#ifndef POSTERN_JSON_H
#define POSTERN_JSON_H

#include "postern/base.h"

struct json_t;

/*
 * Strict: an object or array, UTF-8, duplicate keys refused, depth at most
 * LIMIT_JSON_DEPTH, no trailing bytes.  The caller owns the result (json_decref).
 * NULL with the position and the reason in e; errno is ENOMEM when memory was short, and only then.
 */
struct json_t *json_parse(struct slice text, struct errmsg *e) NODISCARD;

#endif

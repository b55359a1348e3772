/* Redis' protocol: commands as bytes, bytes as replies. */
#ifndef GATEWAY_REDIS_WIRE_H
#define GATEWAY_REDIS_WIRE_H

#include "redis.h"

struct evbuffer;
struct redis_reader;

/* False: no memory for it, and nothing was added. */
bool redis_wire_add(struct evbuffer *out, const struct slice *args, size_t n) NODISCARD;

struct redis_reader *redis_reader_new(void) NODISCARD;
void redis_reader_free(struct redis_reader **r);
/* False: it can be read no further. */
bool redis_reader_feed(struct redis_reader *r, struct slice bytes) NODISCARD;
/* False likewise.  *reply: the next one, the caller's, or NULL when it is not whole yet. */
bool redis_reader_next(struct redis_reader *r, struct redis_reply **reply) NODISCARD;
void redis_reply_free(struct redis_reply *reply);

#endif

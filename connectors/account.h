/* Providers whose path names the account, and who are logged in at with account and token (Basic, RFC 7617). */
#ifndef CONNECTORS_ACCOUNT_H
#define CONNECTORS_ACCOUNT_H

#include "wire.h"

/* Path and query as received, our account in place of the route's, which begins that segment; p == NULL: the arena is
   spent. */
struct slice account_target(const struct wire_request *r, const struct route *route, size_t segment,
                            const struct provider_login *login, struct arena *a);
/* The request's fields that are named (NULL ends the list), as received, and our Authorization. */
enum err account_fields(const struct wire_request *r, const char *const *names, const struct provider_login *login,
                        struct arena *a, struct outgoing *out) NODISCARD;

#endif

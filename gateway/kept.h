/*
 * Calls of a provider's API that are not messages to decide on: look-up, list and
 * change of messages that Postern keeps, and everything that is passed through.
 */
#ifndef GATEWAY_KEPT_H
#define GATEWAY_KEPT_H

#include "gateway.h"

/* Takes the request: it is answered exactly once.  route->call is none of CALL_NONE and CALL_SEND. */
void kept_on_request(struct gateway *g, struct http_request *r, const struct connector *c, const struct route *route,
                     const struct conf_key *key);

#endif

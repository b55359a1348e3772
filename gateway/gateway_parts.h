/* What the files of the wiring share: gateway.c opens and closes, gateway_requests.c routes, gateway_bus.c is asked. */
#ifndef GATEWAY_GATEWAY_PARTS_H
#define GATEWAY_GATEWAY_PARTS_H

#include "bus.h"
#include "gateway.h"

/* Routes a request: operations, callbacks, native API, pages, dialects. */
void gateway_on_request(struct http_request *r, void *gateway);
/* A request that never became whole, in the words of the dialect whose path it names.  False: of none. */
bool gateway_shape_error(enum http_fault fault, const char *detail, struct slice path, struct arena *arena,
                         struct http_reply *reply, void *arg);
/* Who is told "ready" sends at once: at a start not before the counters hold what was sent, or it all would wait. */
const char *gateway_starting(struct gateway *g);

extern const struct bus_user gateway_bus_user;

#endif

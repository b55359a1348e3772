/* Pages for people: plain HTML that works without JavaScript, by keyboard, in a screen reader, on a phone. */
#ifndef GATEWAY_PAGES_H
#define GATEWAY_PAGES_H

#include "gateway.h"

/* True when the path is a page's; the request is then answered.  "/", "/sandbox", "/sandbox/dec_...", "/style.css",
 * "/icon.svg". */
bool pages_on_request(struct gateway *g, struct http_request *r);

#endif

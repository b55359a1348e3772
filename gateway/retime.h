/*
 * Messages wait until a local time somewhere.  When the law of clocks there changes, or the person's zone does, that
 * is another instant: it is computed anew for what waits, a page of rows at a time.  Whatever comes of it, a message
 * is decided again in full when it is due.
 */
#ifndef GATEWAY_RETIME_H
#define GATEWAY_RETIME_H

#include "gateway.h"

/* Every message that waits, by the zones in force now.  In the background; a log line says what changed. */
void retime_all(struct gateway *g);
/* The contact lives in that zone now: the local times that its messages wait for are meant there. */
void retime_contact(struct gateway *g, struct slice contact_id, const struct zone *zone);

#endif

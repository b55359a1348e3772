/* A row of the queue as the message that a dialect tells of. */
#ifndef GATEWAY_KEPT_ROW_H
#define GATEWAY_KEPT_ROW_H

#include "postern/connector.h"
#include "postern/store.h"

/* Borrows from d. */
struct kept_message kept_row(const struct deferred *d);

#endif

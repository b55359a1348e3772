/*
 * State callbacks that an application is owed for messages that Postern keeps:
 * Twilio's StatusCallback, signed with the secret that the application logs in
 * with.  Posted only to origins that the configuration allows; three tries.
 */
#ifndef GATEWAY_CALLBACK_H
#define GATEWAY_CALLBACK_H

#include "gateway.h"

struct callbacks *callbacks_new(struct gateway *g);
void callbacks_free(struct callbacks **c);

/* The kept message reached that state; all is copied.  Does nothing when its dialect or its sender asked for none. */
void callbacks_post(struct callbacks *c, const struct deferred *d, enum kept_state state, const char *error_code);

#endif

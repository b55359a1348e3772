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
/* Another configuration is in force: what goes to origins that it does not allow any more is finished, and no more. */
void callbacks_reloaded(struct callbacks *c);

/* The kept message reached that state, failed for that reason; all is copied.  Nothing when nobody asked for it. */
void callbacks_post(struct callbacks *c, const struct deferred *d, enum kept_state state, enum reason reason);

/*
 * Of one submission: messages that it did not keep, which failed for these reasons.  All is copied; a few are posted
 * each turn, for there may be a thousand.
 */
void callbacks_post_failed(struct callbacks *c, const struct deferred *rows, const enum reason *reasons, size_t n);

/*
 * A provider's own posts about messages that we released come in at <public_url>/postern/v1/callbacks/<dialect>/<id>
 * and go on to the application under the id that it knows.
 */
#define CALLBACK_IN_PREFIX "/postern/v1/callbacks/"
/* Does the dialect's provider post there?  It has posts, it is one, and the configuration says under which name we
 * can be reached. */
bool callbacks_relayed(const struct conf *conf, const struct connector *connector);
/* Post it to url when its origin is allowed; all is copied. */
void callbacks_send(struct callbacks *c, struct slice url, const struct outgoing *out);
/* Takes the request when its path is such a URL's. */
bool callback_in_on_request(struct gateway *g, struct http_request *r);

#endif

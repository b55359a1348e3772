/* Posts to an application's status callback, and a provider's posts about a message: forms either way. */
#ifndef CONNECTORS_POST_H
#define CONNECTORS_POST_H

#include "form.h"
#include "wire.h"

#define POST_FIELDS_MAX 100 /* of a provider's post: they send about twenty, and more "can be added at any time" */

/* An empty value is left out; there is room for it. */
void post_add(struct form *f, const char *name, struct slice value);
/* Byte order of names: each name stands once. */
void post_sort(struct form *f);
/* The form of a provider's post; false: it is none that could be handed on. */
bool post_read(const struct wire_request *r, struct arena *a, struct form *out) NODISCARD;
/* Is the part to be found in s?  An empty one never is. */
bool post_holds(struct slice s, struct slice part);

/* The request of these parameters to that URL, as POST or in the query of a GET; a signature is still to be added.
   ERR_SYNTAX: it is no URL that can be asked for; ERR_LIMIT: the arena is spent. */
enum err post_make(struct slice method, struct slice url, const struct form *f, struct arena *a,
                   struct outgoing *out) NODISCARD;

#endif

/*
 * Preferences on the outside (JSON values by key) and inside (canonical text of
 * struct preference), and back.
 */
#ifndef GATEWAY_API_PREFERENCES_H
#define GATEWAY_API_PREFERENCES_H

#include "api_json.h"

/* A JSON value of that key as canonical text; null gives the empty text.  What is wrong goes to o's fault. */
struct slice api_preference_read(const struct api_object *o, const char *name, enum preference_key key,
                                 struct arena *a);
/* The value as JSON; a name or a bracket stands before it. */
void api_preference_value(struct buf *b, enum preference_key key, struct slice text);
/* {"value":...,"source":...,"confidence":...,"authority":...,"version":n,"updated_at":...} */
void api_preference_put(struct buf *b, const struct preference *p);

extern const struct api_words api_confidences;

#endif

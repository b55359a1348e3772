/* What was known of a recipient at the time of a recorded decision. */
#ifndef CTL_REPLAY_KNOWN_H
#define CTL_REPLAY_KNOWN_H

#include "replay_row.h"

/* ERR_NOT_FOUND: the contact that the question names is gone.  p lies in the arena. */
enum err replay_known(struct store *store, const struct replay_question *q, const struct zone *default_zone,
                      struct arena *a, struct profile *p) NODISCARD;
/* The sender is on record as a digest: is it one of those that an opt-out names? */
struct slice replay_sender(const struct replay_question *q, const struct profile *p);

#endif

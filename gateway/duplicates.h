/* Who was just sent the same content: facts for the rule against duplicates.  In memory only: the rule only notes. */
#ifndef GATEWAY_DUPLICATES_H
#define GATEWAY_DUPLICATES_H

#include "postern/base.h"

struct duplicates;

struct duplicates *duplicates_new(void);
void duplicates_free(struct duplicates **d);

/* When this contact was last sent this content; 0: not known (any more).  fingerprint 0 is no content. */
int64_t duplicates_last_ms(const struct duplicates *d, uint64_t contact_hash, uint64_t fingerprint);
void duplicates_note(struct duplicates *d, uint64_t contact_hash, uint64_t fingerprint, int64_t now_ms);

#endif

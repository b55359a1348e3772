/*
 * Messages packed one after the other into the blob of a row: the intents of one commit, the sends of one commit.
 * Pure.  A row for each of them would cost a statement, and its place in a tree, a message.
 */
#ifndef STORE_PACKED_H
#define STORE_PACKED_H

#include "postern/base.h"

struct packed_message {
    uint64_t decision;
    int64_t at_ms; /* a send's; 0: an intent, which has no time yet */
    uint64_t contact_hash;
    uint32_t subject_id;
    uint8_t channel, class, counting; /* enum channel, message_class, cap_counting */
    int64_t mail;                     /* an intent's: row of its mail, 0, or MAIL_RELEASED */
    struct slice category;
};

/* Bytes on the heap, one message after the other; zero bytes are an empty one. */
struct packed {
    char *p;
    size_t n, cap;
};

void packed_add(struct packed *to, const struct packed_message *m);
void packed_clear(struct packed *p);
/* The next one of in, which moves on; its category borrows from in.  False: the end, or no such bytes. */
bool packed_take(struct slice *in, struct packed_message *out);

#endif

/* One reading of a message create under way; shared by plivo_parse.c and plivo_dst.c. */
#ifndef CONNECTORS_PLIVO_READING_H
#define CONNECTORS_PLIVO_READING_H

#include "plivo.h"

struct plivo_reading {
    const struct wire_request *request;
    int64_t now_ms;
    struct arena *arena;
    struct plivo *plivo;
    struct parsed *out;
    struct fault *fault;
    struct message *messages;
    uint64_t *numbers; /* of the messages: their digits */
};

enum err plivo_out_of_memory(struct fault *fault);
/* A string, or nothing (null is nothing); out stays empty then. */
enum err plivo_read_string(struct plivo_reading *g, enum plivo_root which, struct slice *out) NODISCARD;

/* plivo_dst.c: a message for each number. */
enum err plivo_read_dst(struct plivo_reading *g) NODISCARD;

#endif

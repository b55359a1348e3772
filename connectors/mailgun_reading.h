/* One reading of a call to Mailgun under way; shared by mailgun_parse.c, mailgun_mime.c and mailgun_lists.c. */
#ifndef CONNECTORS_MAILGUN_READING_H
#define CONNECTORS_MAILGUN_READING_H

#include "mailgun.h"

/* Addresses to messages; open addressing, at most half full. */
struct mailgun_table {
    uint32_t *slots; /* index + 1; 0: free */
    size_t mask;
};

struct mailgun_reading {
    const struct wire_request *request;
    struct arena *arena;
    struct mailgun *mg;
    struct parsed *out;
    struct fault *fault;
    struct claims claims;
    struct slice said[MG_OTHER]; /* options, whether in a parameter or a header field; p == NULL: not said */
    struct message common;       /* what all messages share */
    struct mailgun_table table;  /* of the recipients */
};

enum err mailgun_out_of_memory(struct mailgun_reading *g) NODISCARD;
/* An option that may be said once only, in whichever way. */
enum err mailgun_say(struct mailgun_reading *g, enum mailgun_param which, struct slice value) NODISCARD;
enum err mailgun_add_label(struct mailgun_reading *g, struct slice label) NODISCARD;

/* mailgun_mime.c: the head of the MIME text, and what it says to Mailgun and to us. */
enum err mailgun_read_head(struct mailgun_reading *g, struct slice content) NODISCARD;

/* mailgun_lists.c: messages out of to, cc and bcc; then whose the recipient-variables are. */
enum err mailgun_read_lists(struct mailgun_reading *g) NODISCARD;
enum err mailgun_read_variables(struct mailgun_reading *g) NODISCARD;
enum err mailgun_refuse_address(struct mailgun_reading *g, const char *name, const struct errmsg *why) NODISCARD;

#endif

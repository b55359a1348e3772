/* One reading of a mail/send under way; shared by sendgrid_parse.c and sendgrid_envelope.c. */
#ifndef CONNECTORS_SENDGRID_READING_H
#define CONNECTORS_SENDGRID_READING_H

#include "claims.h"
#include "sendgrid.h"

struct sendgrid_reading {
    const struct wire_request *request;
    int64_t now_ms;
    struct arena *arena;
    struct sendgrid *sg;
    struct parsed *out;
    struct fault *fault;
    struct claims claims;  /* of the request: HTTP fields */
    struct claims body;    /* and of the body's top level over them */
    int64_t not_before_ms; /* send_at of the top level */
    uint64_t fingerprint;  /* of the top level */
    uint64_t *addresses;   /* hashes of one personalization's addresses, to find one given twice */
};

/* Faults. */
enum err sendgrid_out_of_memory(struct sendgrid_reading *g) NODISCARD;
enum err sendgrid_refuse_type(struct sendgrid_reading *g, const char *field, uint32_t node,
                              const char *expected) NODISCARD;

/* Fill nodes[i] with the member called names[i], or JSON_NONE.  path: of the object, for messages; "" on top. */
enum err sendgrid_find_members(struct sendgrid_reading *g, uint32_t object, const char *path, const char *const *names,
                               size_t n, uint32_t *nodes) NODISCARD;
#define SENDGRID_FIND_MEMBERS(g, object, path, names, nodes)                                                           \
    sendgrid_find_members(g, object, path, names, N_ELEMENTS(names), nodes)

/* *out stays when there is none; 0 when it has passed: SendGrid then sends at once. */
enum err sendgrid_read_send_at(struct sendgrid_reading *g, uint32_t node, const char *path, int64_t *out) NODISCARD;
uint64_t sendgrid_mix_node(const struct json_scan *s, uint64_t h, uint32_t node);
/* The address of a `from`; *out stays when node is JSON_NONE. */
enum err sendgrid_read_sender(struct sendgrid_reading *g, uint32_t node, const char *path, struct slice *out) NODISCARD;

/* sendgrid_content.c: the text for people, and what can be seen of the content. */
enum err sendgrid_read_content(struct sendgrid_reading *g) NODISCARD;

/* sendgrid_envelope.c, in this order. */
enum err sendgrid_open_envelopes(struct sendgrid_reading *g, size_t *n_recipients) NODISCARD;
enum err sendgrid_read_top_claims(struct sendgrid_reading *g) NODISCARD;
enum err sendgrid_read_envelopes(struct sendgrid_reading *g, size_t n_recipients) NODISCARD;
enum err sendgrid_read_bcc_setting(struct sendgrid_reading *g, struct slice email) NODISCARD;

#endif

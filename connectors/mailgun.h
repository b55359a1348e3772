/* The Mailgun connector's own: what parse found, by offsets, for forward and reply. */
#ifndef CONNECTORS_MAILGUN_H
#define CONNECTORS_MAILGUN_H

#include "claims.h"
#include "json_scan.h"
#include "mime.h"
#include "wire.h"

/*
 * Parameters that are looked at: X(id, name, the header field that says the same).  The first three are the lists of
 * recipients; up to O_TAG they may repeat.
 */
/* clang-format off */
#define MAILGUN_PARAMS(X) \
    X(TO, "to", NULL) X(CC, "cc", NULL) X(BCC, "bcc", NULL) \
    X(ATTACHMENT, "attachment", NULL) X(INLINE, "inline", NULL) \
    X(O_TAG, "o:tag", "X-Mailgun-Tag") \
    X(FROM, "from", NULL) X(SUBJECT, "subject", NULL) X(TEXT, "text", NULL) X(HTML, "html", NULL) \
    X(AMP_HTML, "amp-html", NULL) X(TEMPLATE, "template", NULL) X(T_VARIABLES, "t:variables", NULL) \
    X(MESSAGE, "message", NULL) \
    X(RECIPIENT_VARIABLES, "recipient-variables", "X-Mailgun-Recipient-Variables") \
    X(O_DELIVERYTIME, "o:deliverytime", "X-Mailgun-Deliver-By") \
    X(O_DELIVER_WITHIN, "o:deliver-within", "X-Mailgun-Deliver-Within") \
    X(O_OPTIMIZE, "o:deliverytime-optimize-period", "X-Mailgun-Delivery-Time-Optimize-Period") \
    X(O_LOCALIZE, "o:time-zone-localize", "X-Mailgun-Time-Zone-Localize") \
    X(O_TESTMODE, "o:testmode", "X-Mailgun-Drop-Message")
/* clang-format on */

#define MAILGUN_ID_(id, name, header) MG_##id,
enum mailgun_param {
    MAILGUN_PARAMS(MAILGUN_ID_) MG_OTHER, /* nothing that is looked at */
    MG_OWN                                /* said to Postern: never goes on */
};
#undef MAILGUN_ID_
#define MG_LISTS MG_ATTACHMENT

enum mailgun_kind { MG_MESSAGES, MG_MIME, MG_RESEND };

/* A parameter of the body, of a form or of multipart. */
struct mailgun_field {
    enum mailgun_param param;
    bool file;
    struct slice name, value; /* decoded */
    size_t start, end;        /* all of it: a form's without '&', a part with its delimiter */
    size_t head;              /* of a part: behind the delimiter */
    size_t name_at, name_end; /* as it stands in the body */
    size_t value_at;          /* likewise */
    uint32_t first, n;        /* of a list: its places */
};

/* Where an address stands in the value of a list. */
struct mailgun_place {
    size_t start, end;
    uint32_t message;
};

/* What is said for each recipient: {"a@b.c":{...}}, a parameter or a header field of the MIME text. */
struct mailgun_variables {
    size_t at; /* where the JSON begins: in the parameter's value, or as offsets of the head count */
    struct json_scan scan;
    uint32_t *owners; /* of the members in order: a message, or MAILGUN_NOBODY */
};
#define MAILGUN_NOBODY UINT32_MAX

struct mailgun {
    enum mailgun_kind kind;
    bool multipart;
    struct slice body, domain;
    struct mailgun_field *fields;
    size_t n_fields;
    struct mailgun_place *places;
    uint8_t *lists; /* of each message: bits 1 << MG_TO, ... */
    struct mailgun_variables variables;
    const struct mailgun_field *message; /* the MIME text; NULL: none */
    struct mail_head head;               /* its header */
    enum mailgun_param *head_params;     /* of its fields */
    size_t head_lf_bytes;                /* of the header in the message, when its lines end in LF; else 0 */
    struct slice head_text; /* what the head's offsets count in; likewise; p == NULL: the message's value itself */
    int64_t deliver_at_ms;  /* 0 = now */
    int64_t now_ms;
};

/* mailgun_fields.c: the body's parameters into m, each known by its enum, none twice that may not be. */
enum err mailgun_read_fields(const struct wire_request *r, struct arena *a, struct mailgun *m,
                             struct fault *f) NODISCARD;
/* The first of that name; NULL. */
const struct mailgun_field *mailgun_field_get(const struct mailgun *m, enum mailgun_param which);
const char *mailgun_param_name(enum mailgun_param which);
/* The parameter that a header field of that name stands for, MG_OWN, or MG_OTHER. */
enum mailgun_param mailgun_header_param(struct slice name);

enum err mailgun_parse(const struct wire_request *r, const struct route *route, int64_t now_ms, struct arena *a,
                       struct parsed *out, struct fault *fault);
size_t mailgun_settle(const struct parsed *p, bool *send);
enum err mailgun_forward(const struct wire_request *r, const struct route *route, const struct parsed *p,
                         const bool *send, const struct forward_options *options, struct arena *a,
                         struct outgoing *out);
enum err mailgun_reply(const struct send_report *report, struct arena *a, struct wire_reply *out);
enum err mailgun_fault_reply(const struct fault *fault, const struct route *route, struct arena *a,
                             struct wire_reply *out);
/* {"id":"...","message":"Queued. Thank you." and no end yet. */
void mailgun_add_queued(struct buf *b, struct slice id);

/* Fields of every call to Mailgun: the application's own, and our key. */
enum err mailgun_outgoing_fields(const struct wire_request *r, const struct provider_login *login, struct arena *a,
                                 struct outgoing *out);

#endif

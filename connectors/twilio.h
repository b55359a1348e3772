/* The Twilio connector's own. */
#ifndef CONNECTORS_TWILIO_H
#define CONNECTORS_TWILIO_H

#include "form.h"
#include "wire.h"

struct twilio {
    struct form form;
    int64_t send_at_ms; /* 0: not scheduled, or Twilio would not take it for scheduled */
};

/* The form of a create; fields that may repeat do. */
enum err twilio_form(struct slice body, struct arena *a, struct form *out, struct errmsg *e) NODISCARD;
enum err twilio_parse(const struct wire_request *r, const struct route *route, int64_t now_ms, struct arena *a,
                      struct parsed *out, struct fault *fault);
enum err twilio_reply(const struct send_report *report, struct arena *a, struct wire_reply *out);
enum err twilio_fault_reply(const struct fault *fault, const struct route *route, struct arena *a,
                            struct wire_reply *out);
enum err twilio_kept_reply(const struct route *route, const struct kept_message *kept, size_t n,
                           const struct provider_answer *provider, struct arena *a, struct wire_reply *out);
enum err twilio_change(const struct wire_request *r, const struct route *route, struct arena *a,
                       struct kept_change *out, struct fault *fault);
enum err twilio_callback(const struct kept_message *kept, struct slice account, struct slice secret, struct arena *a,
                         struct slice *url, struct outgoing *out);

/* What a message object is made of. */
struct twilio_message {
    struct slice account, sid;
    const struct form *form;
    const char *status;
    const char *segments;
    int64_t created_at_ms, updated_at_ms, sent_at_ms; /* sent_at_ms 0: null */
    struct slice error_code;                          /* decimal, or empty: null */
};
void twilio_add_message(struct buf *b, const struct twilio_message *m);
/* "accepted" with a Messaging Service, else "queued": the first status of a message that goes out now. */
const char *twilio_first_status(const struct form *f);
/* Of the error codes that a kept message may have failed with; NULL when there is none for it. */
const char *twilio_error_text(struct slice code);

#endif

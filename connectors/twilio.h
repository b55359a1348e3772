/* The Twilio connector's own. */
#ifndef CONNECTORS_TWILIO_H
#define CONNECTORS_TWILIO_H

#include "form.h"
#include "wire.h"

struct twilio {
    struct form form;
    struct body_facts body;
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
/* url with the application's own in its query: where Twilio is to post; p == NULL: the arena is spent. */
struct slice twilio_callback_url(struct slice url, struct slice application, struct arena *a);
bool twilio_is_genuine(const struct wire_request *r, struct slice url, const struct provider_login *login,
                       struct arena *a);
enum err twilio_relay(const struct wire_request *r, const struct relay_options *options, struct arena *a,
                      struct slice *url, struct outgoing *out);

/* What is known of a kept message, as the form of its create. */
enum err twilio_kept_form(const struct kept_message *k, struct arena *a, struct form *out) NODISCARD;
/* Twilio's word for its state. */
const char *twilio_kept_status(const struct kept_message *k, const struct form *f);

/* Why a message failed. */
struct twilio_error {
    int code; /* 0: it did not */
    const char *text;
};
struct twilio_error twilio_kept_error(const struct kept_message *k);

/* What a message object is made of. */
struct twilio_message {
    struct slice account, sid;
    const struct form *form;
    const char *status;
    const char *segments;
    int64_t created_at_ms, updated_at_ms, sent_at_ms; /* sent_at_ms 0: null */
    struct twilio_error error;
};
void twilio_add_message(struct buf *b, const struct twilio_message *m);
/* "accepted" with a Messaging Service, else "queued": the first status of a message that goes out now. */
const char *twilio_first_status(const struct form *f);

#endif

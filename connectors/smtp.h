/* The SMTP connector's own: what parse found, by offsets into the content, for forward, reply and report. */
#ifndef CONNECTORS_SMTP_H
#define CONNECTORS_SMTP_H

#include "smtp_api.h"
#include "smtp_envelope.h"
#include "wire.h"

struct smtp {
    struct mail_head head;
    struct smtp_mail mail;
    const struct smtp_rcpt *rcpts; /* of the envelope, in order */
    size_t n_rcpts;
    const struct smtp_api *api;            /* X-SMTPAPI; NULL: there is none */
    const struct mail_field *own_schedule; /* X-Mailgun-Deliver-By, and its time; or NULL */
    int64_t deliver_by_ms;
};

enum err smtp_parse(const struct wire_request *r, const struct route *route, int64_t now_ms, struct arena *a,
                    struct parsed *out, struct fault *fault);
enum err smtp_forward(const struct wire_request *r, const struct route *route, const struct parsed *p, const bool *send,
                      const struct forward_options *options, struct arena *a, struct outgoing *out);
void smtp_classify(const struct provider_answer *answer, size_t nth, struct send_result *out);
enum err smtp_reply(const struct send_report *report, struct arena *a, struct wire_reply *out);
enum err smtp_fault_reply(const struct fault *fault, const struct route *route, struct arena *a,
                          struct wire_reply *out);
/* "250 2.0.0 Ok: queued as <id>", whole. */
enum err smtp_accept(const struct parsed *p, const struct route *route, const char *id, int64_t now_ms, struct arena *a,
                     struct wire_reply *out);
enum err smtp_report(const struct wire_request *r, const struct parsed *p, const struct report_row *rows, size_t n,
                     const struct report_options *options, struct arena *a, struct wire_request *out);

/* Of what a recipient reads: neither who gets it nor Message-ID, Date or what relays wrote.  ERR_LIMIT: no memory. */
enum err smtp_identity_fingerprint(struct slice content, const struct mail_head *head, struct arena *a, uint64_t *out);
/* mail_key and mail_at_s, of a mail that has a Message-ID.  ERR_LIMIT: no memory. */
enum err smtp_identity_key(const struct wire_request *r, const struct mail_head *head, struct arena *a,
                           struct parsed *out);

/* A header field that speaks to us, and never goes on: X-Postern-*, Idempotency-Key. */
bool smtp_is_own_field(struct slice name);
/* "SUCCESS,FAILURE", as NOTIFY= is written; empty when it was not said. */
struct slice smtp_notify_text(uint32_t notify);
/* Of the "5.1.1" at the head of a reply's text, of the code's own class (RFC 3463, RFC 2034); 0: there is none. */
size_t smtp_status_length(int code, struct slice text);
bool smtp_is_ascii(struct slice s);
/* Visible ASCII and blanks of it, one '?' for any other character, a blank for a control. */
void smtp_add_clean(struct buf *b, struct slice text);

#endif

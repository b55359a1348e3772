/* The SendGrid connector's own: what parse found, by offsets, for forward and reply. */
#ifndef CONNECTORS_SENDGRID_H
#define CONNECTORS_SENDGRID_H

#include "json_scan.h"
#include "wire.h"

/* Members that are looked at; a key that is one of these but for case is refused. */
/* clang-format off */
#define SENDGRID_ROOT(X) \
    X(PERSONALIZATIONS, "personalizations") X(FROM, "from") X(SUBJECT, "subject") \
    X(CONTENT, "content") X(TEMPLATE_ID, "template_id") X(ATTACHMENTS, "attachments") \
    X(SECTIONS, "sections") X(HEADERS, "headers") X(CATEGORIES, "categories") \
    X(CUSTOM_ARGS, "custom_args") X(SEND_AT, "send_at") X(BATCH_ID, "batch_id") \
    X(ASM, "asm") X(MAIL_SETTINGS, "mail_settings")
#define SENDGRID_PERSON(X) \
    X(TO, "to") X(CC, "cc") X(BCC, "bcc") \
    X(FROM, "from") X(SUBJECT, "subject") X(HEADERS, "headers") \
    X(SUBSTITUTIONS, "substitutions") X(DYNAMIC, "dynamic_template_data") X(CUSTOM_ARGS, "custom_args") \
    X(SEND_AT, "send_at")
/* The bypasses come first. */
#define SENDGRID_SETTING(X) \
    X(BYPASS_LIST, "bypass_list_management") X(BYPASS_UNSUBSCRIBE, "bypass_unsubscribe_management") \
    X(BYPASS_SPAM, "bypass_spam_management") X(BYPASS_BOUNCE, "bypass_bounce_management") \
    X(SANDBOX, "sandbox_mode") X(BCC, "bcc")
/* clang-format on */

#define SENDGRID_ID_(id, name) SG_ROOT_##id,
enum sendgrid_root { SENDGRID_ROOT(SENDGRID_ID_) SG_ROOT_N };
#undef SENDGRID_ID_
#define SENDGRID_ID_(id, name) SG_PERSON_##id,
enum sendgrid_person { SENDGRID_PERSON(SENDGRID_ID_) SG_PERSON_N };
#undef SENDGRID_ID_
#define SENDGRID_ID_(id, name) SG_SETTING_##id,
enum sendgrid_setting { SENDGRID_SETTING(SENDGRID_ID_) SG_SETTING_N };
#undef SENDGRID_ID_
#define SG_BYPASSES (SG_SETTING_BYPASS_BOUNCE + 1)
#define SG_LISTS    (SG_PERSON_BCC + 1) /* to, cc, bcc */

struct sendgrid_list {
    uint32_t first, n; /* messages */
};

struct sendgrid_envelope {
    uint32_t node;                 /* the personalization */
    uint32_t members[SG_PERSON_N]; /* JSON_NONE: not there */
    struct sendgrid_list lists[SG_LISTS];
};

struct sendgrid {
    struct json_scan scan;
    uint32_t root[SG_ROOT_N];
    uint32_t settings[SG_SETTING_N];
    uint32_t enables[SG_SETTING_N]; /* settings[i].enable */
    struct sendgrid_envelope *envelopes;
    size_t n_envelopes;
    uint32_t n_listed; /* messages of the envelopes; one more is mail_settings.bcc */
    bool bcc_setting;
    uint32_t bcc_email;     /* its string */
    struct body_facts body; /* of all messages */
};

enum err sendgrid_parse(const struct wire_request *r, const struct route *route, int64_t now_ms, struct arena *a,
                        struct parsed *out, struct fault *fault);
size_t sendgrid_settle(const struct parsed *p, bool *send);
enum err sendgrid_forward(const struct wire_request *r, const struct route *route, const struct parsed *p,
                          const bool *send, const struct forward_options *options, struct arena *a,
                          struct outgoing *out);
enum err sendgrid_reply(const struct send_report *report, struct arena *a, struct wire_reply *out);
enum err sendgrid_fault_reply(const struct fault *fault, const struct route *route, struct arena *a,
                              struct wire_reply *out);

/* A send_at; false when it is no whole number of seconds. */
bool sendgrid_send_at(const struct json_scan *s, uint32_t node, int64_t *at_ms);
/* Fields of every call to SendGrid: the application's own, and our key. */
enum err sendgrid_outgoing_fields(const struct wire_request *r, const struct provider_login *login, struct arena *a,
                                  struct outgoing *out);

/* A member of `headers` that speaks to us, and never goes on: X-Postern-*, Idempotency-Key. */
bool sendgrid_is_own_header(const struct json_scan *s, uint32_t member);

#endif

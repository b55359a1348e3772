/*
 * X-SMTPAPI: what SendGrid's relay takes for orders in a mail's header (docs.sendgrid.com, "Building an X-SMTPAPI
 * header", as of 2021-06): JSON in a field that may be folded anywhere.  Its `to` is who gets the mail, whatever RCPT
 * says; `sub` and `send_each_at` go with it by index.
 *
 * The field is read unfolded; offsets of the scan are turned back into offsets of the content, so that what is cut out
 * is cut by bytes and every fold that stays, stays.
 */
#ifndef CONNECTORS_SMTP_API_H
#define CONNECTORS_SMTP_API_H

#include "edit.h"
#include "json_scan.h"
#include "mime.h"

/* Members that are looked at; a key that is one of these but for case is refused. */
/* clang-format off */
#define SMTP_API_ROOT(X) \
    X(TO, "to") X(SUB, "sub") X(SECTION, "section") X(CATEGORY, "category") X(CATEGORIES, "categories") \
    X(FILTERS, "filters") X(SEND_AT, "send_at") X(SEND_EACH_AT, "send_each_at") X(ASM, "asm_group_id")
/* The bypasses come first. */
#define SMTP_API_FILTER(X) \
    X(BYPASS_LIST, "bypass_list_management") X(BYPASS_UNSUBSCRIBE, "bypass_unsubscribe_management") \
    X(BYPASS_SPAM, "bypass_spam_management") X(BYPASS_BOUNCE, "bypass_bounce_management") X(BCC, "bcc")
/* clang-format on */

#define SMTP_API_ID_(id, name) SMTP_API_##id,
enum smtp_api_root { SMTP_API_ROOT(SMTP_API_ID_) SMTP_API_ROOT_N };
#undef SMTP_API_ID_
#define SMTP_API_ID_(id, name) SMTP_API_FILTER_##id,
enum smtp_api_filter { SMTP_API_FILTER(SMTP_API_ID_) SMTP_API_FILTER_N };
#undef SMTP_API_ID_
#define SMTP_API_BYPASSES SMTP_API_FILTER_BCC

struct smtp_api {
    const struct mail_field *field;
    struct json_scan scan; /* of the value, unfolded */
    const size_t *folds;   /* offsets in the scan's text before which a CRLF was taken out, ascending */
    size_t n_folds;
    size_t raw_start; /* of the scan's text in the content */
    bool encoded;     /* it came in encoded words (RFC 2047): the scan's text is no part of the content */
    uint32_t root[SMTP_API_ROOT_N];
    uint32_t enables[SMTP_API_BYPASSES]; /* filters.X.settings.enable that is set; else JSON_NONE */
    size_t n_to;                         /* 0: there is no `to` */
    const uint32_t *to;                  /* its strings */
    int64_t now_ms;                      /* when it was read */
};

/* n_rcpt: recipients of the envelope.  ERR_* with *f filled. */
enum err smtp_api_read(const struct mail_field *field, size_t n_rcpt, int64_t now_ms, struct arena *a,
                       struct smtp_api *out, struct fault *f) NODISCARD;

/* The ith (0..) of `to`, unescaped: "Name <a@b>" or bare.  False: the arena is spent. */
bool smtp_api_to(const struct smtp_api *api, size_t i, struct arena *a, struct slice *out) NODISCARD;
/*
 * To all messages, of `to` or of the one RCPT: when each is to be sent (send_each_at, else send_at, when that is later
 * than what it says already), and what it gets beside the content (its substitutions, the sections) into its
 * fingerprint.
 */
void smtp_api_tell(const struct smtp_api *api, struct message *messages, size_t n);
/* Categories and "asm:<group>" behind the labels that are there. */
enum err smtp_api_labels(const struct smtp_api *api, struct arena *a, struct parsed *out, struct fault *f) NODISCARD;
bool smtp_api_bypasses(const struct smtp_api *api);

/* The edits that leave only those of `to` with send[i], no bypass, and no time that has passed. */
void smtp_api_prune(const struct smtp_api *api, const bool *send, int64_t now_ms, struct edits *edits);

#endif

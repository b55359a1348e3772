/*
 * The seam to the providers' dialects.  A connector is pure: bytes in, structs
 * out, and back.  It never decides, never waits, never opens anything; memory is
 * the submission's arena.  It speaks both sides of one provider: what
 * applications send to us as if to the provider, and what we send to the provider.
 *
 * A normal case (SendGrid): match() says CALL_SEND for POST /v3/mail/send; parse()
 * scans the body once and lists each to, cc and bcc of each personalization as a
 * message; the gateway decides; forward() gives the body as received, with the
 * blocked recipients' bytes cut out; classify() reads the provider's 202; reply()
 * gives the provider's own answer with our X-Postern-* fields.
 * A bad case: parse() finds a duplicate key, fills the fault (what, at which byte,
 * what would be right); fault_reply() shapes it as SendGrid's {"errors":[...]}.
 */
#ifndef POSTERN_CONNECTOR_H
#define POSTERN_CONNECTOR_H

#include "postern/arena.h"
#include "postern/decision.h"
#include "postern/policy.h"

struct wire_field {
    struct slice name, value;
};

struct wire_request {
    struct slice method, path, query; /* query without '?' */
    const struct wire_field *fields;
    size_t n_fields;
    struct slice body;
};

/*
 * A mail's envelope (RFC 5321 section 2.3.1).  The request of an SMTP transaction has method "SMTP", no path, and for
 * fields the arguments of its commands as they came: one "MAIL" ("FROM:<a@b.c> BODY=8BITMIME"), then each accepted
 * "RCPT" ("TO:<d@e.f> NOTIFY=NEVER"), then "CLIENT" (what EHLO said); its body is the content, dots unstuffed.
 */
struct mail_recipient {
    struct slice path;          /* without < and > */
    struct slice notify, orcpt; /* the values of these DSN parameters (RFC 3461), or empty */
};
struct mail_envelope {
    struct slice from; /* without < and >; empty: the null sender */
    bool body_8bit, smtputf8;
    struct slice ret, envid; /* values of DSN parameters, or empty */
    const struct mail_recipient *recipients;
    size_t n_recipients;
};

/* First field of that name (ASCII case ignored); p == NULL when there is none. */
struct slice wire_field_get(const struct wire_field *fields, size_t n, const char *name);

#define WIRE_REPLY_FIELDS 48 /* a provider's own and ours; what does not fit of the provider's is left out */
struct wire_reply {
    int status;
    struct wire_field fields[WIRE_REPLY_FIELDS]; /* Content-Type among them when there is a body */
    size_t n_fields;
    struct slice body;
};

/* What a request asks for. */
enum call {
    CALL_NONE,           /* not of this dialect */
    CALL_SEND,           /* messages: evaluated */
    CALL_MESSAGE_FETCH,  /* one message by id: ours when we kept it, else passed on */
    CALL_MESSAGE_LIST,   /* several: the provider's, and ours that are kept */
    CALL_MESSAGE_CHANGE, /* cancel, redact, delete by id */
    CALL_BATCH_CHANGE,   /* SendGrid scheduled_sends: pause, cancel, resume a batch: ours, and passed on */
    CALL_PASS            /* anything else of the same SDK: passed on, audited, not evaluated; id when about a message */
};

struct route {
    enum call call;
    struct slice account; /* Twilio's AC sid in the path; empty elsewhere */
    struct slice domain;  /* Mailgun's in the path; empty elsewhere */
    struct slice id;      /* message sid, batch id */
    struct slice query;   /* of a list: its filters, for kept_reply */
    bool deletes;         /* a CALL_MESSAGE_CHANGE by DELETE */
};

/* Why a request is refused before or beside a decision. */
enum fault_kind {
    FAULT_SYNTAX, /* body or parameter malformed, or readable in two ways */
    FAULT_NO_RECIPIENT,
    FAULT_ADDRESS, /* an address or number that is none */
    FAULT_NO_SENDER,
    FAULT_NO_BODY,
    FAULT_TOO_LONG,  /* a value beyond the provider's limit */
    FAULT_TOO_LARGE, /* the request */
    FAULT_MEDIA_TYPE,
    FAULT_AUTH,      /* no or wrong credentials */
    FAULT_FORBIDDEN, /* the key may not do that */
    FAULT_CATEGORY,  /* unknown, or not bound to the key */
    FAULT_NOT_FOUND,
    FAULT_METHOD,
    FAULT_CONFLICT,      /* cannot be done in this state */
    FAULT_IN_PROGRESS,   /* the first request of that idempotency key is under way; retry_after_ms */
    FAULT_KEY_REUSED,    /* that idempotency key was another request's */
    FAULT_OVERLOAD,      /* retry_after_ms */
    FAULT_UNAVAILABLE,   /* store down, disk full, draining: nothing was accepted; retry_after_ms */
    FAULT_UPSTREAM_DOWN, /* provider down and the message not kept; retry_after_ms */
    FAULT_INTERNAL
};

#define FAULT_FIELD_MAX 96
struct fault {
    enum fault_kind kind;
    struct errmsg message;       /* what was wrong, where, what would be right */
    char field[FAULT_FIELD_MAX]; /* "personalizations.0.to.0.email"; empty when none */
    int64_t retry_after_ms;
    int64_t now_ms; /* for fields that name an instant (X-RateLimit-Reset); 0 leaves them out */
};

/* A submission as its dialect reads it. */
struct parsed {
    struct message *messages; /* category and sender_kind are left to the gateway */
    size_t n_messages;
    struct slice category;   /* claimed: X-Postern-Category, custom_args.postern_category; or empty */
    struct slice labels[16]; /* what mapping rules look at: SendGrid categories, "asm:<group_id>", MessagingServiceSid,
                                From, MessageIntent */
    size_t n_labels;
    struct slice batch_id;            /* or empty */
    struct slice status_callback;     /* Twilio; or empty */
    struct slice idempotency_key;     /* or empty */
    bool sandbox_mode;                /* SendGrid: validate only */
    struct slice mail_key;            /* of a mail with a Message-ID: another text for another mail; or empty */
    uint32_t mail_at_s;               /* of such a mail: when it was written, as it says; 0: it does not */
    bool wants_receipts;              /* a mail whose sender wants to hear of success (RFC 3461 NOTIFY=SUCCESS) */
    bool bypass_asked;                /* a bypass_* flag was set: it is forced off, and noted */
    struct slice from, subject, text; /* for people (sandbox, prompts); never logged */
    const struct slice *content;      /* the body in pieces, without what is drawn anew whenever it is sent: a */
    size_t n_content;                 /* multipart's boundary.  For idempotency keys; NULL: the body as it is */
    void *dialect;                    /* the connector's own: offsets into the body */
};

/* What a relay answered for one recipient: its reply to RCPT when that refused, else to the end of the data. */
struct recipient_answer {
    int code;          /* 250, 450, 550 ... */
    struct slice text; /* behind the code, of one line: "5.1.1 No such user" */
};

/* A provider's answer, or what stands for one. */
struct provider_answer {
    int status; /* of HTTP, or the code of the reply that decided */
    const struct wire_field *fields;
    size_t n_fields;
    struct slice body;                         /* SMTP: the text of that reply */
    const struct recipient_answer *recipients; /* SMTP: one for each that was sent, in order; else NULL */
    size_t n_recipients;
    const struct message *const *sent; /* what the call asked for, in order (Plivo's invalid_number); NULL: not told */
    size_t n_sent;
};

enum send_status {
    SEND_ACCEPTED,
    SEND_REFUSED,   /* permanent: the provider's 4xx */
    SEND_OPTED_OUT, /* permanent, and to be recorded as an opt-out (Twilio 21610) */
    SEND_RETRY,     /* surely not sent: 429 */
    SEND_UNKNOWN    /* 5xx after the body went out: may have been sent */
};
struct send_result {
    enum send_status status;
    struct slice provider_id; /* X-Message-Id, sid; or empty */
};

/* What we send to a provider. */
#define OUTGOING_FIELDS 24
struct outgoing {
    struct slice method;
    struct slice path_and_query; /* encoded */
    struct wire_field fields[OUTGOING_FIELDS];
    size_t n_fields;
    struct slice body;                    /* == the request's body, same pointer, when nothing had to change */
    bool at_most_once;                    /* SMS: never again once bytes were written */
    const struct mail_envelope *envelope; /* of SMTP, which has only this and the body; NULL: HTTP */
};

/* Postern's own credentials at the provider. */
struct provider_login {
    struct slice account; /* Twilio; empty for SendGrid */
    struct slice secret;
};

struct forward_options {
    const struct provider_login *login;
    int64_t now_ms;
    bool own_callback;         /* see forward() */
    struct slice callback_url; /* of ours, for this message, without a query; or empty */
};

/* Into whose words a provider's post about a message of ours is put. */
struct relay_options {
    const struct provider_login *login; /* what the post speaks of */
    struct slice id, account;           /* what the application knows instead */
    struct slice secret;                /* that the application logs in with */
};

/* What is to be done with kept messages. */
enum kept_action { KEPT_CANCEL, KEPT_PAUSE, KEPT_RESUME, KEPT_REDACT, KEPT_READ };
struct kept_change {
    enum kept_action action;
    struct slice batch_id; /* of a batch change; may stand in the body */
};

#define DECISION_ID_MAX 32
#define TOKEN_MAX       80
#define SID_MAX         288 /* Mailgun: "<20261122092101.1aa9a4809fee1585@" and a domain */

/* What became of one message, for reply(). */
struct answer {
    const struct message *message;
    const struct decision *decision;
    const struct recipient_answer *recipient; /* a relay's own for it; NULL: the provider's stands for all */
    char id[DECISION_ID_MAX];                 /* "dec_38fb5ff3103a487b" */
    char token[TOKEN_MAX];                    /* "ovr_..." for an overridable soft block; else empty */
    int64_t token_expires_at_ms;
    char prompt[PROMPT_MAX]; /* of a soft block (policy_prompt); else empty */
};

/* Everything that reply() may know. */
struct send_report {
    const struct parsed *parsed;
    const struct route *route;
    const struct answer *answers; /* one a message, in order */
    size_t n_answers;
    const struct provider_answer *provider; /* NULL: nothing was forwarded, or no answer came */
    char kept_id[SID_MAX];                  /* the id under which we keep what was deferred; minted by mint_id */
    bool queued_now;                        /* kept because the provider is down, tried again soon (Twilio: "queued") */
    bool unknown;                           /* bytes were written, no answer: accepted, result unknown */
    bool early;              /* before the content is known: of one recipient of a mail, who is refused */
    bool partial_reject;     /* the key wants all or nothing: nothing was forwarded because some are blocked */
    struct slice public_url; /* "https://postern.example"; for override and doc links */
    int64_t now_ms;
};

/* A recipient whom an accepted message did not reach, or has not reached yet. */
enum report_action { REPORT_FAILED, REPORT_DELAYED, REPORT_RELAYED };
struct report_row {
    const struct message *message;
    enum report_action action;
    struct slice status;         /* "5.7.1" (RFC 3463) */
    struct slice diagnostic;     /* one line for people: the relay's reply, or the reason of a block */
    struct slice remote;         /* host that said so; empty: Postern itself */
    int64_t will_retry_until_ms; /* of REPORT_DELAYED */
};
struct report_options {
    int64_t now_ms, arrived_ms;
    const char *host;     /* own name */
    const char *id;       /* fresh, for Message-ID and boundary */
    struct slice kept_id; /* what the client heard: "queued as ..." */
};

/* A message that Postern keeps or kept under an id of its own. */
enum kept_state { KEPT_WAITING, KEPT_SENDING, KEPT_SENT, KEPT_CANCELLED, KEPT_FAILED };
struct kept_message {
    struct slice id;       /* as answered to the application */
    struct slice their_id; /* what its provider calls it, once it was released; or empty */
    enum kept_state state;
    struct slice body;     /* the submission as received; empty when it is not kept any more */
    struct slice to, from; /* canonical; what is left then */
    int64_t created_at_ms, updated_at_ms, release_at_ms;
    enum reason reason; /* of KEPT_FAILED; REASON_NONE: a provider refused it, or nobody knows */
    bool relayed;       /* of KEPT_SENT: the provider's own posts follow, under our id */
};

enum transport { TRANSPORT_HTTP, TRANSPORT_SMTP };

struct connector {
    const char *name;         /* "sendgrid": dialect, and kind of provider */
    enum channel channel;     /* what it carries */
    enum transport transport; /* what carries it */
    bool has_account;         /* its providers are logged in at with an account beside the secret */

    enum call (*match)(const struct wire_request *r, struct route *out);

    /* OK, or ERR_* with *fault filled.  Strict: what can be read two ways is refused. */
    enum err (*parse)(const struct wire_request *r, const struct route *route, int64_t now_ms, struct arena *a,
                      struct parsed *out, struct fault *fault);

    /*
     * What cannot go without the others: clears send[i] of the messages whose like the dialect does not send
     * alone and returns how many.  SendGrid: cc and bcc of a personalization whose every `to` stays behind.
     * Call it before RECORD.  With send[i] set for what passes or is kept, those that it clears are to be
     * blocked; what it clears in the set of those that pass alone is to be kept with its `to`.
     * NULL: the dialect's messages all stand alone.
     */
    size_t (*settle)(const struct parsed *p, bool *send);

    /*
     * The call that sends exactly the messages with send[i] true: bytes as received, the others cut
     * out, our own fields stripped, times that have passed dropped.  A copy that is sent without its
     * primary recipient (a kept one at its release) becomes the primary one.  own_callback: the application
     * knows this message by our id: its StatusCallback is taken out (we post the states ourselves), or, with
     * callback_url, gives way to that URL with the application's own in its query, for relay().
     */
    enum err (*forward)(const struct wire_request *r, const struct route *route, const struct parsed *p,
                        const bool *send, const struct forward_options *options, struct arena *a, struct outgoing *out);

    /* A call that is not evaluated, with our login in place of the application's. */
    enum err (*pass)(const struct wire_request *r, const struct route *route, const struct provider_login *login,
                     struct arena *a, struct outgoing *out);

    /* What became of the nth (0..) of the messages that were sent. */
    void (*classify)(const struct provider_answer *answer, size_t nth, struct send_result *out);

    enum err (*reply)(const struct send_report *report, struct arena *a, struct wire_reply *out);
    enum err (*fault_reply)(const struct fault *fault, const struct route *route, struct arena *a,
                            struct wire_reply *out);

    /*
     * A message that tells the sender of an accepted submission what did not become of it (RFC 3464), as a request of
     * this dialect.  ERR_NOT_FOUND: nobody is to be told (null sender, NOTIFY=NEVER).  NULL: the dialect has none.
     */
    enum err (*report)(const struct wire_request *r, const struct parsed *p, const struct report_row *rows, size_t n,
                       const struct report_options *options, struct arena *a, struct wire_request *out);

    /* The provider's own acceptance, as the sandbox gives it. */
    enum err (*accept)(const struct parsed *p, const struct route *route, const char *id, int64_t now_ms,
                       struct arena *a, struct wire_reply *out);

    /* A fresh id in the provider's form, from 16 random bytes. */
    void (*mint_id)(const struct parsed *p, const uint8_t random[16], char out[SID_MAX]);

    /*
     * Under which id the message of that index is kept, where the provider owes one to each message of a submission:
     * made from the submission's (mint_id), so that reply() and the store agree without telling one another.  Index 0:
     * the submission's own.  NULL: one id for all.
     */
    void (*message_id)(const char kept_id[SID_MAX], uint32_t index, char out[SID_MAX]);

    /* Answers to fetch, list (merged into the provider's answer when there is one) and change of kept messages. */
    enum err (*kept_reply)(const struct route *route, const struct kept_message *kept, size_t n,
                           const struct provider_answer *provider, struct arena *a, struct wire_reply *out);

    /* What a CALL_MESSAGE_CHANGE or CALL_BATCH_CHANGE asks for.  NULL: match() gives none. */
    enum err (*change)(const struct wire_request *r, const struct route *route, struct arena *a,
                       struct kept_change *out, struct fault *fault);

    /*
     * The state callback that the application is owed for a kept message; signed with the secret that
     * the application itself logs in with.  ERR_NOT_FOUND when it asked for none.  NULL: the dialect has none.
     */
    enum err (*callback)(const struct kept_message *kept, struct slice account, struct slice secret, struct arena *a,
                         struct slice *url, struct outgoing *out);

    /*
     * The provider's posts to a forward_options.callback_url.  url is the whole URL that was posted to.
     * is_genuine: does the provider's signature hold?  relay: the same post with what the application
     * knows in place of what the provider knows, signed for it.  NULL: the dialect has none.
     */
    bool (*is_genuine)(const struct wire_request *r, struct slice url, const struct provider_login *login,
                       struct arena *a);
    enum err (*relay)(const struct wire_request *r, const struct relay_options *options, struct arena *a,
                      struct slice *url, struct outgoing *out);
};

/* All of them; NULL ends the list. */
extern const struct connector *const connectors[];
const struct connector *connector_get(struct slice name);
/* The one whose match() claims the request, with the route; NULL when none does. */
const struct connector *connector_for(const struct wire_request *r, struct route *route);

#endif

/*
 * The vocabulary: what a message is, to everybody.  A submission (one HTTP
 * request, one SMTP transaction, one due deferral) holds 1..n messages; a
 * message is one recipient's copy.  Names for the wire and for configuration
 * are in the tables below, nowhere else.
 */
#ifndef POSTERN_MESSAGE_H
#define POSTERN_MESSAGE_H

#include "postern/address.h"

/* clang-format off */
#define CHANNELS(X) \
    X(EMAIL, "email")   \
    X(SMS, "sms")       \
    X(VOICE, "voice")   \
    X(CHAT, "chat")     \
    X(IN_APP, "in_app") \
    X(PUSH, "push")     \
    X(POST, "post")     \
    X(SOCIAL, "social")
/* clang-format on */

/* Highest first: the order is the rank that reserved slots and release order use. */
/* clang-format off */
#define CLASSES(X) \
    X(OTP, "otp")                     \
    X(SAFETY, "safety")               \
    X(TRANSACTIONAL, "transactional") \
    X(SUPPORT, "support")             \
    X(COLLECTIONS, "collections")     \
    X(MARKETING, "marketing")
/* clang-format on */

#define PRIORITIES(X) X(P0, "P0") X(P1, "P1") X(P2, "P2") X(P3, "P3")

#define SENDERS(X) X(AUTOMATED, "automated") X(AGENT, "agent")

#define ENUM_ROW_(prefix, id) prefix##_##id

enum channel {
#define X(id, name) CHANNEL_##id,
    CHANNELS(X)
#undef X
        CHANNEL_N
};

enum message_class {
#define X(id, name) CLASS_##id,
    CLASSES(X)
#undef X
        CLASS_N
};

enum priority {
#define X(id, name) PRIORITY_##id,
    PRIORITIES(X)
#undef X
        PRIORITY_N
};

enum sender_kind {
#define X(id, name) SENDER_##id,
    SENDERS(X)
#undef X
        SENDER_N
};

/* A fact that can be missing says so. */
enum known { UNKNOWN = 0, KNOWN };

const char *channel_name(enum channel c);
bool channel_parse(struct slice s, enum channel *out);
const char *class_name(enum message_class c);
bool class_parse(struct slice s, enum message_class *out);
const char *priority_name(enum priority p);
bool priority_parse(struct slice s, enum priority *out);
const char *sender_kind_name(enum sender_kind k);
bool sender_kind_parse(struct slice s, enum sender_kind *out);

/* What a message says of itself where a preference could differ; empty when it does not say. */
struct message_form {
    struct slice language; /* BCP 47 */
    struct slice format;   /* "concise" | "detailed" */
    struct slice formality;
    struct slice technical_depth;
};

struct category; /* policy.h */

/* What can be seen of a content without understanding it; of all messages of a submission the same. */
struct body_facts {
    uint64_t bytes; /* of the whole content, attachments included */
    uint32_t words; /* of the text, or of the HTML's text; of what was looked at */
    uint32_t attachments;
    bool has_text, has_html;
    bool has_card_number; /* 13 to 19 digits that are a payment card's (Luhn) */
    bool cut;             /* the budget was spent: words, language and card number are of a part */
    char language[9];     /* detected, "de"; empty: declared, too short, or not to be told */
};

struct message {
    uint32_t index; /* position in its submission, 0.. */
    enum channel channel;
    struct address to;    /* canonical */
    struct slice to_text; /* as the client wrote it */
    struct slice field;   /* where it stood: "personalizations.0.to.1.email", "To" */
    const struct category *category;
    enum priority priority; /* P2 when the client claims none */
    enum sender_kind sender_kind;
    struct slice sender;       /* From address, number or Messaging Service: the scope of a STOP */
    struct slice topic;        /* or empty */
    struct slice collapse_key; /* or empty */
    struct message_form form;
    uint64_t fingerprint;          /* of the content without the recipient; 0 = none */
    int64_t not_before_ms;         /* the client's own schedule (send_at, SendAt); 0 = now */
    int64_t expires_at_ms;         /* the client's own expiry; 0 = the class's default */
    const struct body_facts *body; /* NULL: nobody looked */
    uint32_t other_channels;       /* bit set of channels for which the submission holds a body as well */
};

#endif

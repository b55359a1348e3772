/*
 * SMTP submission, server side, without I/O (RFC 5321, 6409, 3207, 4954, 2920, 2034): bytes in, events and whole
 * replies out.  It owns no socket and no clock; how the bytes are cut never changes the events.
 *
 * What can be read two ways is refused, never resolved by a guess: only CRLF ends a line, only CRLF.CRLF ends the data
 * (another receiver may read a bare LF as a line's end, and a message in a message would leave undecided).
 *
 * A normal case:
 *     smtp_proto_init(&p, &options);
 *     smtp_proto_step(&p, &in) -> SMTP_REPLY      in is empty: the greeting.  It is not: an early talker, SMTP_CLOSE
 *     smtp_proto_step(&p, &in) -> SMTP_NONE       all of in consumed: bring more
 *     smtp_proto_step(&p, &in) -> SMTP_REPLY      write p.reply, as a whole, at once; step on
 *     smtp_proto_step(&p, &in) -> SMTP_AUTH       p.user, p.secret: smtp_proto_auth() answers it
 *     smtp_proto_step(&p, &in) -> SMTP_MAIL       p.argument, p.mail: smtp_proto_answer() answers it
 *     smtp_proto_step(&p, &in) -> SMTP_RCPT       p.argument, p.rcpt: likewise
 *     smtp_proto_step(&p, &in) -> SMTP_DATA       354 is in p.reply: write it; SMTP_PIECEs follow
 *     smtp_proto_step(&p, &in) -> SMTP_PIECE      p.piece: bytes of the message, dots unstuffed, borrowed from in
 *     smtp_proto_step(&p, &in) -> SMTP_MESSAGE    the message is whole: smtp_proto_answer() answers it
 *     smtp_proto_step(&p, &in) -> SMTP_STARTTLS   write p.reply, then begin the handshake, then smtp_proto_tls_on()
 *     smtp_proto_step(&p, &in) -> SMTP_CLOSE      write p.reply (it may be empty) and close
 * After AUTH, MAIL, RCPT and MESSAGE it is not stepped until it was answered: what a client pipelined waits in the
 * caller's buffer, and replies stay in order.
 *
 * A bad case: a bare LF in the data: SMTP_CLOSE with "521 5.5.2 ...".  Another: after some SMTP_PIECEs SMTP_REPLY comes
 * with a 552, the message is too large.  After each event p.in_mail says whether a transaction is (still) open: when it
 * is not, and MESSAGE was not given, what the caller holds of it is thrown away.
 *
 * One thing depends on when bytes come, not on how they are cut: whether a client waited for a reply where it must
 * (RFC 2920 section 3.1).  Bytes that are already there behind HELO, EHLO, DATA, BDAT, STARTTLS and an AUTH that gives
 * no credentials were sent without waiting and end the session; what is brought later counts as sent after the reply.
 */
#ifndef GATEWAY_SMTP_PROTO_H
#define GATEWAY_SMTP_PROTO_H

#include "connectors/smtp_envelope.h"
#include "postern/limits.h"

/* Why a command is refused or a session ended: name and metric label.  The replies are in smtp_proto.c. */
#define SMTP_FAULTS(X)                                                                                                 \
    X(BARE_CR, "bare_cr")                                                                                              \
    X(BARE_LF, "bare_lf")                                                                                              \
    X(NUL, "nul")                                                                                                      \
    X(EARLY_TALKER, "early_talker")   /* bytes before the greeting was sent */                                         \
    X(TLS_INJECTION, "tls_injection") /* bytes behind STARTTLS, sent in the clear */                                   \
    X(PIPELINING, "pipelining")       /* bytes behind a command whose reply must be waited for */                      \
    X(LINE_TOO_LONG, "line_too_long")                                                                                  \
    X(SYNTAX, "syntax")                                                                                                \
    X(UNKNOWN_COMMAND, "unknown_command")                                                                              \
    X(WRONG_ORDER, "wrong_order")                                                                                      \
    X(NOT_AUTHENTICATED, "not_authenticated")                                                                          \
    X(AUTH_FAILED, "auth_failed")                                                                                      \
    X(ADDRESS, "address")                                                                                              \
    X(TOO_MANY_RECIPIENTS, "too_many_recipients")                                                                      \
    X(TOO_LARGE, "too_large")                                                                                          \
    X(TOO_MANY_COMMANDS, "too_many_commands")                                                                          \
    X(TOO_MANY_ERRORS, "too_many_errors")                                                                              \
    X(TOO_MANY_MESSAGES, "too_many_messages")

enum smtp_proto_fault {
    SMTP_PROTO_FAULT_NONE = 0,
#define SMTP_FAULT_ENUM(name, label) SMTP_PROTO_FAULT_##name,
    SMTP_FAULTS(SMTP_FAULT_ENUM)
#undef SMTP_FAULT_ENUM
        SMTP_PROTO_FAULT_COUNT
};
const char *smtp_proto_fault_label(enum smtp_proto_fault f);

struct smtp_proto_options {
    const char *host;           /* own name, in greeting and EHLO; no controls */
    bool offers_tls;            /* STARTTLS is offered, until TLS is on */
    bool tls_on;                /* implicit TLS */
    bool auth_in_clear;         /* AUTH is offered without TLS (a loopback listener that is configured so) */
    uint64_t max_message_bytes; /* SIZE: of the message as it is between 354 and the dot, unstuffed */
    uint32_t max_recipients;    /* RCPTs of a transaction, refused ones too */
    /* Both since the last message that was taken (a pooled client's session may be long); the next one gets 421. */
    uint32_t max_commands; /* that bring no message forward: NOOP, VRFY, EHLO, RSET without a transaction ... */
    uint32_t max_errors;   /* 5xx replies of ours, without those that answer() gave; may be changed at any time */
    uint32_t max_messages; /* transactions of a session */
};

enum smtp_event {
    SMTP_NONE,
    SMTP_REPLY,
    SMTP_AUTH,
    SMTP_MAIL,
    SMTP_RCPT,
    SMTP_DATA,
    SMTP_PIECE,
    SMTP_MESSAGE,
    SMTP_STARTTLS,
    SMTP_CLOSE
};

enum smtp_auth { SMTP_AUTH_OK, SMTP_AUTH_WRONG, SMTP_AUTH_DOWN };

#define SMTP_REPLY_MAX 1024u /* of its own replies */
#define SMTP_LINE_MAX                                                                                                  \
    2048u /* command line with CRLF: 512 (RFC 5321 4.5.3.1.4), and what SIZE, DSN, SMTPUTF8 and AUTH add */
#define SMTP_AUTH_LINE_MAX 12288u /* AUTH, and a response in its exchange, with CRLF (RFC 4954 section 4) */
#define SMTP_CLIENT_MAX    255u   /* what EHLO says */
#define SMTP_USER_MAX      255u   /* RFC 4616 section 2 */

enum smtp_proto_state {
    SMTP_STATE_GREETING,   /* it is due */
    SMTP_STATE_COMMAND,    /* between commands, or in one */
    SMTP_STATE_AUTH_PLAIN, /* 334 was sent: the response follows */
    SMTP_STATE_AUTH_USER,
    SMTP_STATE_AUTH_SECRET,
    SMTP_STATE_DATA,
    SMTP_STATE_WAITS,     /* for smtp_proto_auth() or smtp_proto_answer() */
    SMTP_STATE_HANDSHAKE, /* for smtp_proto_tls_on() */
    SMTP_STATE_CLOSED
};

/* Where in CRLF . CRLF the data stands. */
enum smtp_data_state {
    SMTP_DATA_LINE_START,
    SMTP_DATA_IN_LINE,
    SMTP_DATA_CR,
    SMTP_DATA_DOT,
    SMTP_DATA_DOT_CR,
    SMTP_DATA_END
};

struct smtp_proto {
    /* For the caller, valid with the event that says so. */
    struct slice reply; /* SMTP_REPLY, SMTP_DATA, SMTP_STARTTLS, SMTP_CLOSE, and after auth() and answer(): whole,
                           with CRLF; valid until the next call */
    struct slice user, secret;   /* SMTP_AUTH; user is clean (slice_is_clean); both are wiped by auth() */
    struct slice argument;       /* SMTP_MAIL, SMTP_RCPT: behind the verb, without CRLF and blanks around */
    struct smtp_mail mail;       /* SMTP_MAIL: borrows from argument */
    struct smtp_rcpt rcpt;       /* SMTP_RCPT: likewise */
    struct slice piece;          /* SMTP_PIECE */
    enum smtp_proto_fault fault; /* why the event refuses; NONE when it does not */
    struct slice client;         /* what EHLO or HELO said; in its own buffer */
    bool is_esmtp, tls_on, authenticated;
    bool in_mail; /* a transaction is open: MAIL was accepted */

    /* Its own. */
    struct smtp_proto_options opt;
    enum smtp_proto_state state;
    enum smtp_event asked; /* which one waits to be answered */
    enum smtp_data_state data;
    bool utf8;         /* the transaction's SMTPUTF8 */
    bool group_lost;   /* MAIL was refused: RCPT and DATA that were pipelined behind it fail, and are no errors */
    bool content_near; /* DATA or BDAT was refused: a client that does not listen sends its content now */
    bool after_cr;     /* of a command line: the next byte must be LF */
    bool too_long;     /* the rest of the line is thrown away, then 500 */
    bool too_large;    /* the rest of the data is thrown away, then 552 */
    uint32_t n_rcpts, n_accepted, n_commands, n_errors, n_messages;
    uint64_t message_bytes;
    size_t n_user, n_line;
    char name[SMTP_CLIENT_MAX]; /* client */
    char login[SMTP_USER_MAX];  /* AUTH LOGIN's user while its secret comes */
    char out[SMTP_REPLY_MAX];
    char line[SMTP_AUTH_LINE_MAX]; /* wiped after each line */
};

/* Options are copied, host is kept.  Whoever feeds it wipes what AUTH brought from his own buffer. */
void smtp_proto_init(struct smtp_proto *p, const struct smtp_proto_options *options);
/* Consumes from the front of *in; one event.  Stepped until SMTP_NONE: the next event may need no more bytes. */
enum smtp_event smtp_proto_step(struct smtp_proto *p, struct slice *in) NODISCARD;

/* After SMTP_AUTH: p.reply is to be written, p.fault says why when it refuses. */
void smtp_proto_auth(struct smtp_proto *p, enum smtp_auth result);
/*
 * After SMTP_MAIL, SMTP_RCPT and SMTP_MESSAGE: reply is whole, with CRLF, and borrowed until it is written: p.reply is
 * that.  Empty (MAIL and RCPT): the usual 250.  A 2xx takes the sender or recipient on; 421 and 521 close: the next
 * step gives SMTP_CLOSE with an empty reply.
 */
void smtp_proto_answer(struct smtp_proto *p, struct slice reply);
/*
 * The handshake is over: the session begins anew with EHLO.  What was read between STARTTLS and the handshake, in the
 * clear, is given to step() before: it refuses that.
 */
void smtp_proto_tls_on(struct smtp_proto *p);
/* Neither in a transaction, nor in a command or a login, which a drain lets finish. */
bool smtp_proto_is_idle(const struct smtp_proto *p);

#endif

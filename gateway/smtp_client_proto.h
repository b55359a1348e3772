/*
 * SMTP, client side, without I/O (RFC 5321, 2920, 3207, 4954, 3461): the server's twin.  Replies in, commands out.  It
 * owns no socket and no clock; how the bytes are cut never changes what it does.
 *
 * One connection carries one transaction after another.  What it writes was checked: an address or parameter with a
 * control character, a blank or a non-ASCII byte that the server cannot take makes the transaction fail before a byte
 * of it is written, and every line of the content ends in CRLF, with no other CR or LF on the wire, dots stuffed once.
 *
 * A normal case:
 *     smtp_client_init(&c, &options);
 *     smtp_client_step(&c, &in) -> SMTP_CLIENT_NONE      all of in consumed: bring more
 *     smtp_client_step(&c, &in) -> SMTP_CLIENT_WRITE     write c.out (smtp_client_wrote() when it was taken); step on
 *     smtp_client_step(&c, &in) -> SMTP_CLIENT_STARTTLS  do the handshake (nothing may be left in in), tls_on()
 *     smtp_client_step(&c, &in) -> SMTP_CLIENT_READY     idle: smtp_client_send() may begin a transaction, quit() end
 * it smtp_client_send(&c, &mail);  step ... -> SMTP_CLIENT_MAY_DATA  the last look: smtp_client_data(&c, true) step ...
 * -> SMTP_CLIENT_DONE                        c.result; READY follows, or CLOSED A bad one: the server answers 421 to
 * RCPT: DONE with what is known, then CLOSED.
 */
#ifndef GATEWAY_SMTP_CLIENT_PROTO_H
#define GATEWAY_SMTP_CLIENT_PROTO_H

#include "postern/connector.h"

enum smtp_client_tls {
    SMTP_CLIENT_TLS_NEVER,
    SMTP_CLIENT_TLS_MAY,  /* when it is offered */
    SMTP_CLIENT_TLS_MUST, /* without it nothing is sent, no login either */
    SMTP_CLIENT_TLS_ON    /* implicit: there already */
};

struct smtp_client_options {
    const char *host; /* own name, for EHLO */
    enum smtp_client_tls tls;
    struct slice user,
        secret;    /* AUTH (PLAIN, else LOGIN, as offered); user empty: none.  Only under TLS unless in_clear */
    bool in_clear; /* a login may go without TLS: the relay is on loopback */
};

/* One transaction.  All borrowed until SMTP_CLIENT_DONE. */
struct smtp_client_mail {
    const struct mail_envelope *envelope;
    struct slice content; /* lines with CRLF; unstuffed */
};

#define SMTP_CLIENT_TEXT 512u /* of a reply: its last line and what fits of those before, blanks for controls */

/* How far it came. */
enum smtp_client_end {
    SMTP_CLIENT_ANSWERED, /* each recipient's answer is known */
    SMTP_CLIENT_NOT_SENT, /* the end of the data was not written: surely not sent */
    SMTP_CLIENT_UNKNOWN   /* it was, and no whole answer came */
};
struct smtp_client_result {
    enum smtp_client_end end;
    const char *reason;                  /* static word: "answered", "tls_not_offered", "auth_refused", "syntax", ... */
    struct recipient_answer *recipients; /* ANSWERED: one each, in order; in the arena of smtp_client_send() */
    size_t n_recipients;
    int code;          /* of the reply that decided */
    struct slice text; /* that reply; in c's own buffer */
};

enum smtp_client_event {
    SMTP_CLIENT_NONE,
    SMTP_CLIENT_WRITE,
    SMTP_CLIENT_STARTTLS,
    SMTP_CLIENT_READY,
    SMTP_CLIENT_MAY_DATA, /* 354 has come, not a byte of the content has left: smtp_client_data() */
    SMTP_CLIENT_DONE,
    SMTP_CLIENT_CLOSED /* write c.out (it may be empty) and close; c.result.reason says why when no DONE came */
};

#define SMTP_CLIENT_LINE_MAX 2048u /* of a reply; a longer one is a fault of the server's: "syntax" */

struct smtp_client {
    /* For the caller, valid with the event that says so. */
    struct slice out; /* WRITE, CLOSED: what is still to be written; borrows from c or from the content */
    struct smtp_client_result result; /* DONE, CLOSED */

    /* Its own: below this line. */
};

void smtp_client_init(struct smtp_client *c, const struct smtp_client_options *options); /* options: kept */
enum smtp_client_event smtp_client_step(struct smtp_client *c, struct slice *in) NODISCARD;
/* n bytes of c.out were taken. */
void smtp_client_wrote(struct smtp_client *c, size_t n);
void smtp_client_tls_on(struct smtp_client *c);
/* Only when READY.  mail and arena are kept until DONE. */
void smtp_client_send(struct smtp_client *c, const struct smtp_client_mail *mail, struct arena *arena);
/* false: nothing of the content leaves; DONE (NOT_SENT, "withdrawn"), then CLOSED. */
void smtp_client_data(struct smtp_client *c, bool yes);
void smtp_client_quit(struct smtp_client *c);
/* The other side has closed, or a deadline passed: what is known then; *out as DONE would have given it. */
void smtp_client_lost(struct smtp_client *c, const char *reason, struct smtp_client_result *out);
/* True once a byte of the content was given to be written. */
bool smtp_client_sent(const struct smtp_client *c);

#endif

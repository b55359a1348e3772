/*
 * SMTP, client side, without I/O (RFC 5321, 2920, 3207, 4954, 3461): the server's twin.  Replies in, commands out.  It
 * owns no socket and no clock; how the bytes are cut never changes what it does.
 *
 * One connection carries one transaction after another.  What it writes was checked: an address or parameter with a
 * control character, a blank outside of a quoted string or a non-ASCII byte that the mail does not announce makes the
 * transaction fail before a byte of it is written, and so does content with a CR or LF that is not CRLF, or a NUL.
 * Dots are stuffed once.
 *
 * A normal case:
 *     smtp_client_init(&c, &options);
 *     smtp_client_step(&c, &in) -> SMTP_CLIENT_NONE      all of in consumed: bring more
 *     smtp_client_step(&c, &in) -> SMTP_CLIENT_WRITE     all of in consumed: write c.out, smtp_client_wrote(), step on;
 *                                                        what is not taken at once waits, and replies may come first
 *     smtp_client_step(&c, &in) -> SMTP_CLIENT_STARTTLS  do the handshake (nothing may be left in in), tls_on()
 *     smtp_client_step(&c, &in) -> SMTP_CLIENT_READY     idle: smtp_client_send() may begin a transaction, quit() end
 * it: smtp_client_send(&c, &mail); step ...
 *     smtp_client_step(&c, &in) -> SMTP_CLIENT_MAY_DATA  the last look: smtp_client_data(&c, true); step ...
 *     smtp_client_step(&c, &in) -> SMTP_CLIENT_DONE      c.result; step: READY follows, or CLOSED
 * A bad one: the server answers 421 to RCPT: DONE with what is known, then CLOSED.
 */
#ifndef GATEWAY_SMTP_CLIENT_PROTO_H
#define GATEWAY_SMTP_CLIENT_PROTO_H

#include "postern/connector.h"
#include "smtp_client_check.h"
#include "smtp_client_reply.h"

enum smtp_client_tls {
    SMTP_CLIENT_TLS_NEVER,
    SMTP_CLIENT_TLS_MAY,  /* when it is offered */
    SMTP_CLIENT_TLS_MUST, /* without it nothing is sent, no login either */
    SMTP_CLIENT_TLS_ON    /* implicit: there already */
};

struct smtp_client_options {
    const char *host; /* own name, for EHLO: visible ASCII, SMTP_CLIENT_HOST_MAX bytes at most */
    enum smtp_client_tls tls;
    /* AUTH (PLAIN, else LOGIN, as offered); user empty: none.  Only under TLS unless in_clear.  SMTP_CLIENT_LOGIN_MAX
     */
    struct slice user, secret;
    bool in_clear; /* a login may go without TLS: the relay is on loopback */
};

#define SMTP_CLIENT_HOST_MAX  255u
#define SMTP_CLIENT_LOGIN_MAX 4096u /* user and secret, each: a line of AUTH has 12288 bytes (RFC 4954 section 4) */

/* One transaction.  All borrowed until SMTP_CLIENT_DONE. */
struct smtp_client_mail {
    const struct mail_envelope *envelope;
    struct slice content;   /* lines with CRLF; unstuffed */
    enum smtp_content seen; /* by smtp_client_look; UNSEEN: it is looked at when it is sent */
};

/* How far it came. */
enum smtp_client_end {
    SMTP_CLIENT_ANSWERED, /* each recipient's answer is known */
    SMTP_CLIENT_NOT_SENT, /* the end of the data was not written: surely not sent */
    SMTP_CLIENT_UNKNOWN   /* it was, and no whole answer came */
};
struct smtp_client_result {
    enum smtp_client_end end;
    const char *reason; /* static word: "answered", "tls_not_offered", "auth_refused", "syntax", ... */
    const struct recipient_answer *recipients; /* ANSWERED: one each, in order; in the arena of smtp_client_send() */
    size_t n_recipients;
    int code;          /* of the reply that decided */
    struct slice text; /* that reply, without its code; until the next step, or in that arena */
    bool is_own;       /* NOT_SENT: for a reason of the mail's or of the caller's, not of the server's */
    bool dsn;          /* ANSWERED: the server offers DSN and heard the wishes: it reports.  Else nobody will */
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

enum smtp_client_state {
    SMTP_CLIENT_GREETING, /* its reply is awaited; so in all states but those that say otherwise */
    SMTP_CLIENT_EHLO,
    SMTP_CLIENT_HELO,
    SMTP_CLIENT_START,     /* STARTTLS was said */
    SMTP_CLIENT_HANDSHAKE, /* for smtp_client_tls_on() */
    SMTP_CLIENT_AUTH_PLAIN,
    SMTP_CLIENT_AUTH_LOGIN,
    SMTP_CLIENT_AUTH_USER,
    SMTP_CLIENT_AUTH_SECRET, /* all was said */
    SMTP_CLIENT_IDLE,        /* for smtp_client_send() */
    SMTP_CLIENT_MAIL,
    SMTP_CLIENT_RCPT,
    SMTP_CLIENT_DATA,
    SMTP_CLIENT_LOOK,    /* for smtp_client_data() */
    SMTP_CLIENT_CONTENT, /* it is being written, then its reply is awaited */
    SMTP_CLIENT_RSET,
    SMTP_CLIENT_DOT, /* a lone one, which ends the data that nobody gets */
    SMTP_CLIENT_OVER
};

/* The transaction under way. */
struct smtp_client_work {
    const struct smtp_client_mail *mail; /* NULL: none */
    struct arena *arena;
    struct recipient_answer *answers; /* code 0: none yet */
    size_t n_said;                    /* commands: MAIL, each RCPT, DATA */
    size_t n_heard;                   /* replies to RCPT */
    size_t n_accepted;
    size_t at;      /* of the content, so far written */
    bool pipelined; /* commands leave without waiting */
    bool is_8bit;
    bool answered;   /* something other than 421 came back */
    bool is_refused; /* MAIL was */
    bool is_strange; /* and RCPT was not */
    bool began;      /* a byte of the content was given to be written */
    bool in_line;    /* the last of them was no CRLF */
    bool ended;      /* the end of the data was given too */
};

#define SMTP_CLIENT_BUFFER 16384u /* as much as a TLS record holds */

struct smtp_client {
    /* For the caller, valid with the event that says so. */
    struct slice out;                 /* WRITE, CLOSED: what is still to be written */
    struct smtp_client_result result; /* DONE, CLOSED */

    /* Its own: below this line. */
    const struct smtp_client_options *opt;
    enum smtp_client_state state;
    bool tls_on;
    bool done_due;              /* DONE is to be told, before: */
    enum smtp_client_event due; /* READY, STARTTLS, MAY_DATA, CLOSED; NONE */
    uint32_t extensions;
    size_t n_owed; /* replies to what was put into out */
    bool unasked;  /* the reply that is coming in began before its command was out */
    struct smtp_client_work work;
    struct smtp_client_reply reply;
    char buffer[SMTP_CLIENT_BUFFER];
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
/* The other side has closed, or a deadline passed: what is known then; *out as DONE would have given it.  reason:
 * static. Nothing but this is asked of c from then on. */
void smtp_client_lost(struct smtp_client *c, const char *reason, struct smtp_client_result *out);
/* True once a byte of the content was given to be written. */
bool smtp_client_sent(const struct smtp_client *c);
/* True once the transaction had any reply but 421.  A kept connection that ends it before was closed while idle. */
bool smtp_client_answered(const struct smtp_client *c);

#endif

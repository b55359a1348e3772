/*
 * The arguments of MAIL and RCPT as RFC 5321 section 4.1.2, RFC 3461 (DSN), RFC 6152 (8BITMIME), RFC 1870 (SIZE) and
 * RFC 6531 (SMTPUTF8) write them: text to struct, one reading only.  The server's machine reads a client's commands
 * with it, the dialect reads them again from a kept submission, which holds the arguments as they came.
 *
 * A normal case: smtp_mail_parse("FROM:<a@b.c> SIZE=1200 ENVID=x1", ...) -> OK, from "a@b.c", size 1200.
 * A bad one: "FROM:<a@b.c> SIZE=1 SIZE=2" -> ERR_SYNTAX, f says 501 5.5.4 and why.
 */
#ifndef CONNECTORS_SMTP_ENVELOPE_H
#define CONNECTORS_SMTP_ENVELOPE_H

#include "postern/connector.h"

#define SMTP_FAULT_TEXT 320
/* A reply of one line that refuses: "501 5.5.4 Syntax: MAIL FROM:<address>". */
struct smtp_fault {
    int code;
    const char *enhanced; /* "5.5.4", static */
    char text[SMTP_FAULT_TEXT];
};

enum smtp_ret { SMTP_RET_UNSAID, SMTP_RET_FULL, SMTP_RET_HDRS };
enum smtp_notify {
    SMTP_NOTIFY_UNSAID = 0,
    SMTP_NOTIFY_NEVER = 1,
    SMTP_NOTIFY_SUCCESS = 2,
    SMTP_NOTIFY_FAILURE = 4,
    SMTP_NOTIFY_DELAY = 8
};

/* All slices borrow from the argument. */
struct smtp_mail {
    struct slice path; /* between < and >, as sent; empty: the null sender */
    struct slice size; /* digits as sent, or empty */
    uint64_t size_bytes;
    bool body_8bit; /* BODY=8BITMIME */
    bool smtputf8;
    enum smtp_ret ret;
    struct slice envid; /* xtext as sent, or empty */
};
struct smtp_rcpt {
    struct slice path;  /* as sent, never empty; no source route, no '%' hop, no '!' path */
    uint32_t notify;    /* set of enum smtp_notify */
    struct slice orcpt; /* "rfc822;xtext" as sent, or empty */
};

/*
 * What follows "MAIL " and "RCPT " on the line, without CRLF.  ERR_SYNTAX with f filled: 501 5.1.7 / 5.1.3 for a path
 * that is none (source routes, unknown quoting, controls, a literal as domain), 553 5.6.7 for one that is not ASCII
 * without SMTPUTF8, 555 5.5.4 for an unknown parameter, 501 5.5.4 for a parameter that is wrong or stands twice.
 */
enum err smtp_mail_parse(struct slice argument, struct smtp_mail *out, struct smtp_fault *f) NODISCARD;
/* utf8: the transaction said SMTPUTF8. */
enum err smtp_rcpt_parse(struct slice argument, bool utf8, struct smtp_rcpt *out, struct smtp_fault *f) NODISCARD;

#endif

/* SMTP replies as they arrive (RFC 5321 section 4.2): bytes in, one line at a time out.  Strict; no I/O, no memory. */
#ifndef GATEWAY_SMTP_CLIENT_REPLY_H
#define GATEWAY_SMTP_CLIENT_REPLY_H

#include "postern/base.h"

#define SMTP_CLIENT_LINE_MAX  2048u /* of a reply, with CRLF; a longer one is a fault of the server's: "syntax" */
#define SMTP_CLIENT_LINES_MAX 100u  /* of a reply; likewise */
#define SMTP_CLIENT_TEXT      512u  /* of a reply: its last line and what fits of those before, blanks for controls */

enum smtp_client_reply_event {
    SMTP_CLIENT_REPLY_NONE, /* all of in consumed: bring more */
    SMTP_CLIENT_REPLY_LINE, /* line is one of several, and not the last */
    SMTP_CLIENT_REPLY_LAST, /* line is the last: code and text are the reply's; the next byte begins another */
    SMTP_CLIENT_REPLY_BAD   /* not a reply: nothing more can be read */
};

/* Zero bytes: before the first reply. */
struct smtp_client_reply {
    int code;
    struct slice line; /* behind the code; until the next call */
    bool is_first;     /* line is */
    size_t n_lines;    /* 0: between two replies */
    size_t n_text;
    char text[SMTP_CLIENT_TEXT]; /* for people and logs: visible ASCII and blanks */
    size_t n_held;               /* of a line that is not whole */
    char held[SMTP_CLIENT_LINE_MAX];
};

/* Takes what belongs to one line, at most.  in is not empty. */
enum smtp_client_reply_event smtp_client_reply_feed(struct smtp_client_reply *r, struct slice *in) NODISCARD;
/* True when no byte of the next reply has come. */
bool smtp_client_reply_is_idle(const struct smtp_client_reply *r);

#endif

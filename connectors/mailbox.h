/*
 * Lists of mailboxes as people and programs write them (RFC 5322 section 3.4):
 *     "Doe, Jane" <jane@x.test>, bob@x.test, =?utf-8?q?Zo=C3=AB?= <zoe@x.test>
 * by offsets, so that one of them can be cut out.  What readers take in different ways is refused: comments, groups, a
 * ';' between two, routes, a name with a '@' that is not quoted.  Between two commas there may be nothing.
 *
 * A normal case: mailbox_next() gives jane@x.test from 0 to 26, then the others, then ERR_NOT_FOUND.
 * A bad one: "Jane (home) <jane@x.test>" -> ERR_SYNTAX, e names the byte and the remedy.
 */
#ifndef CONNECTORS_MAILBOX_H
#define CONNECTORS_MAILBOX_H

#include "postern/base.h"

struct mailbox {
    size_t start, end;    /* in the list, without the blanks around it */
    struct slice name;    /* as it stands, quotes and encoded words left alone; or empty */
    struct slice address; /* what ought to be an addr-spec: address_parse_email tells */
};

struct mailbox_list {
    struct slice text;
    size_t at; /* 0 to begin */
};

/* OK with the next one, ERR_NOT_FOUND behind the last, ERR_SYNTAX with e. */
enum err mailbox_next(struct mailbox_list *list, struct mailbox *out, struct errmsg *e) NODISCARD;

#endif

/*
 * A mail's content as far as it must be understood.  mail_* is our own, strict and by offsets (fields are cut out by
 * bytes, never written anew); mime_* reads by GMime, and only here.
 */
#ifndef CONNECTORS_MIME_H
#define CONNECTORS_MIME_H

#include "postern/connector.h"

/* One header field, by offsets into the content: name, colon, value (folded as it came), CRLF. */
struct mail_field {
    struct slice name;
    struct slice value; /* raw: as it stands behind the colon, without the last CRLF, folds inside */
    size_t start, end;  /* of the whole field with its last CRLF */
};
struct mail_head {
    struct mail_field *fields;
    size_t n;
    size_t body; /* offset of the first byte behind the empty line; == content.n when there is none */
};
/* ERR_SYNTAX or ERR_LIMIT with f filled (FAULT_SYNTAX, FAULT_TOO_LARGE).  A content without any field is one. */
enum err mail_head_read(struct slice content, struct arena *a, struct mail_head *out, struct fault *f) NODISCARD;
/* The nth (0..) field of that name, ASCII case ignored; NULL. */
const struct mail_field *mail_head_get(const struct mail_head *h, const char *name, size_t nth);
/* Unfolded and trimmed (RFC 5322 section 2.2.3); p == NULL: the arena is spent. */
struct slice mail_field_text(const struct mail_field *field, struct arena *a);
/* Such a text for people: encoded words (RFC 2047) of UTF-8, ISO-8859-1 and US-ASCII undone; others stay.
 * p == NULL: the arena is spent. */
struct slice mail_words(struct slice text, struct arena *a);
/* Is there one, of whatever character set? */
bool mail_has_words(struct slice text);

/*
 * Are depth (multiparts and mails in each other), parts (of all multiparts) and lines within limits.h?  By our own
 * scan, in one pass, before anything else reads the content.  ERR_LIMIT with FAULT_TOO_LARGE.
 */
enum err mime_check(struct slice content, const struct mail_head *head, struct fault *f) NODISCARD;

/*
 * Bytes of decoded text whose words and language are looked at, and parts: what bounds the time (docs/PERFORMANCE.md).
 * Cards' numbers are looked for to the end of each text: a rule may refuse for one.
 */
#define MIME_LOOK_BYTES 65536u
#define MIME_LOOK_PARTS 32u
/*
 * What can be seen of a mail.  *text (NULL: not wanted): the beginning of its first text part, else of its HTML as it
 * is, in UTF-8, of the content or in the arena; n == 0 when there is none.  ERR_LIMIT: the arena is spent, or
 * mime_check would have refused it; *out holds what was seen until then.
 */
enum err mime_look(struct slice content, struct arena *a, struct body_facts *out, struct slice *text) NODISCARD;

/*
 * The same of a text that is there already: SendGrid's content, an SMS.  Adds to *out; of a text and an HTML of the
 * same message the text's words are those that count, in whichever order they come.
 */
void body_look(struct slice text, bool html, struct body_facts *out);
/* Its two halves: what is counted of its beginning, and whether all of it, or a subject, holds a card's number. */
void body_count(struct slice text, bool html, struct body_facts *out);
void body_find_card(struct slice text, bool html, struct body_facts *out);

#endif

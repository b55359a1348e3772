/*
 * The parts of a mail by offsets (RFC 2046), one after the other, without recursion: a stack of LIMIT_MIME_DEPTH
 * delimiters is all the memory there is, and each byte is looked at once; a line that may be a delimiter costs six
 * comparisons at most.
 *
 * A normal case: multipart/alternative of two texts.  begin(); next() gives the text/plain part with the offsets of
 * its content, next() the text/html part, next() ERR_NOT_FOUND.
 * A bad case: a delimiter of an outer multipart stands inside an inner one: the inner one has ended there.  A part
 * that begins without a header is text.  The 51st multipart in a row: ERR_LIMIT.
 */
#ifndef CONNECTORS_MIME_WALK_H
#define CONNECTORS_MIME_WALK_H

#include "postern/base.h"
#include "postern/limits.h"

enum mime_kind { MIME_TEXT, MIME_HTML, MIME_OTHER, MIME_MULTIPART, MIME_MESSAGE };
enum mime_encoding { MIME_AS_IT_IS, MIME_BASE64, MIME_QUOTED };

struct mime_part {
    enum mime_kind kind; /* of what next() gives: any but MIME_MULTIPART */
    enum mime_encoding encoding;
    bool attached; /* Content-Disposition: attachment */
    bool inner;    /* of a mail that is a part of this one */
    bool digest;   /* a multipart whose parts are mails where they do not say otherwise */
    struct slice charset, boundary;
    size_t start, end; /* of its content in the mail; of a MIME_MESSAGE both its beginning: its parts come next */
};

struct mime_level {
    struct slice boundary; /* empty: of a mail inside a mail, which no delimiter of its own ends */
    uint64_t mix;          /* of the boundary */
    bool digest;
};

struct mime_walk {
    struct slice content;
    size_t at;
    size_t depth; /* levels in use */
    size_t inner; /* those of them that are mails */
    size_t parts; /* that began at a delimiter */
    bool header;  /* a header begins at `at` */
    struct mime_level levels[LIMIT_MIME_DEPTH];
    uint8_t order[LIMIT_MIME_DEPTH]; /* the levels by their mixes, of equal ones the outer first: a line is looked up */
};

/* content: header and body; borrowed. */
void mime_walk_begin(struct mime_walk *w, struct slice content);
/* The next part that is no multipart; ERR_NOT_FOUND: that was the last; ERR_LIMIT: deeper or more than limits.h has. */
enum err mime_walk_next(struct mime_walk *w, struct mime_part *out) NODISCARD;

/* A Content-Type's value, as far as a part of a mail is concerned; sets kind, digest, charset, boundary. */
void mime_type_read(struct slice value, struct mime_part *out);

#endif

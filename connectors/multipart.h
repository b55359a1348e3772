/*
 * multipart/form-data (RFC 7578, RFC 2046 section 5.1), strictly, by offsets; parts may hold any bytes.
 *
 * One reading only.  The delimiter stands at the beginning of lines and nowhere else; before the first and behind the
 * last there is nothing.  Each part has one Content-Disposition, its parameters once, a name that no reader unescapes
 * into another.  No parts in parts, no transfer encoding that changes bytes, no folded or nameless header lines.
 *
 * A normal case: the body of curl -F to=a@b.test -F attachment=@x.pdf -> two parts, the second with file set.
 * A bad one: name="to"; name="cc" -> ERR_SYNTAX, e: "Part 0 (byte 0): ...".
 */
#ifndef CONNECTORS_MULTIPART_H
#define CONNECTORS_MULTIPART_H

#include "postern/arena.h"

struct multipart_part {
    struct slice name;  /* as it stands in the body, without quotes */
    struct slice type;  /* Content-Type, or empty */
    struct slice value; /* of the body */
    bool file;          /* it has a filename */
    size_t start, end;  /* from its delimiter to the next one: what cutting it takes out */
    size_t head;        /* where its head begins, behind the delimiter's line */
};

struct multipart {
    struct multipart_part *parts; /* in the order of the body */
    size_t n;
};

/*
 * content_type: the request's, for the boundary.  ERR_SYNTAX with the part and byte in e; ERR_LIMIT with e for more
 * than LIMIT_FORM_FIELDS parts or a part's head that is too large; e->text is empty when the arena is spent.
 */
enum err multipart_parse(struct slice content_type, struct slice body, struct arena *a, struct multipart *out,
                         struct errmsg *e) NODISCARD;

/* Is the part's text UTF-8, as its Content-Type says and its bytes show?  Of a file, too. */
bool multipart_is_utf8(const struct multipart_part *part);

#endif

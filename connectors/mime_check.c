/*
 * Is a mail's structure within limits.h?  Asked of every mail before anything reads it, so it looks at each byte at
 * most twice and allocates nothing.  A mail whose header names no multipart costs the look at its lines.
 */
#include "mime.h"

#include "mime_walk.h"
#include "postern/limits.h"
#include "wire.h"

/* Longest line with its CRLF. */
#define SPAN (LIMIT_MAIL_LINE_BYTES + 2u)

/*
 * The offset of the first line that is too long; s.n when there is none.  The last line end within SPAN bytes is behind
 * all lines that begin there and are short, so a mail of short lines is asked once every 64 KiB.
 */
static size_t long_line(struct slice s)
{
    size_t at = 0;
    while (s.n - at > LIMIT_MAIL_LINE_BYTES) {
        size_t span = s.n - at < SPAN ? s.n - at : SPAN;
        const char *line = s.p + at;
        const char *nl = memrchr(line, '\n', span);
        size_t n = nl == NULL ? span : (size_t)(nl - line);
        /* The only line end there, and not a CRLF: a line that is one byte too long. */
        bool bare = n == SPAN - 1 && line[n - 1] != '\r' && memchr(line, '\n', n) == NULL;
        if (nl == NULL || bare)
            return at;
        at += n + 1;
    }
    return s.n;
}

/* Does the header name a multipart or a mail inside the mail? */
static bool has_parts(const struct mail_head *head)
{
    for (size_t i = 0; i < head->n; i++) {
        struct mime_part part = {.kind = MIME_TEXT};
        if (!slice_ieq(head->fields[i].name, SLICE("Content-Type")))
            continue;
        mime_type_read(head->fields[i].value, &part);
        if (part.kind == MIME_MULTIPART || part.kind == MIME_MESSAGE)
            return true;
    }
    return false;
}

enum err mime_check(struct slice content, const struct mail_head *head, struct fault *f)
{
    struct mime_walk w;
    struct mime_part part;
    enum err err = OK;
    size_t at = long_line(content);
    if (at < content.n)
        return wire_fault(f, FAULT_TOO_LARGE, NULL, "The line at byte %zu is longer than %u bytes; fold it.", at,
                          LIMIT_MAIL_LINE_BYTES);
    if (!has_parts(head))
        return OK;
    mime_walk_begin(&w, content);
    while (err == OK)
        err = mime_walk_next(&w, &part);
    if (err != ERR_LIMIT)
        return OK;
    if (w.parts > LIMIT_MIME_PARTS)
        return wire_fault(f, FAULT_TOO_LARGE, NULL, "The mail has more than %u parts; send fewer.", LIMIT_MIME_PARTS);
    return wire_fault(f, FAULT_TOO_LARGE, NULL, "The mail's parts are more than %u deep in each other; flatten them.",
                      LIMIT_MIME_DEPTH);
}

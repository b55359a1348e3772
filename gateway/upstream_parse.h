/*
 * A strict parser of HTTP/1.1 answers (RFC 9112): bytes in as they come, fields
 * and body into an upstream_answer.  Pure: no socket, no clock.  What can be read
 * two ways (two lengths, length and coding, a bare CR or LF in the head, folded
 * lines) is a bad answer: the message's fate is then unknown, not guessed.
 */
#ifndef POSTERN_UPSTREAM_PARSE_H
#define POSTERN_UPSTREAM_PARSE_H

#include "upstream_answer.h"

enum upstream_parse_state {
    UPSTREAM_PARSE_STATUS, /* also after an interim answer (1xx) */
    UPSTREAM_PARSE_FIELDS,
    UPSTREAM_PARSE_LENGTH,
    UPSTREAM_PARSE_CHUNK_SIZE,
    UPSTREAM_PARSE_CHUNK,
    UPSTREAM_PARSE_CHUNK_END,
    UPSTREAM_PARSE_TRAILERS,
    UPSTREAM_PARSE_TO_EOF, /* a body without a length ends with the connection */
    UPSTREAM_PARSE_DONE,
    UPSTREAM_PARSE_BAD /* why says so */
};

struct upstream_parse {
    enum upstream_parse_state state;
    struct upstream_answer *answer; /* borrowed */
    struct buf line;                /* the part of a line that has come */
    bool to_head;                   /* the request's method was HEAD: no body follows */
    bool any;                       /* at least one byte has come */
    bool closes;                    /* the connection is not to be used again */
    bool has_length, chunked;
    int http_status; /* of the status line, once it is whole; 0 */
    uint64_t left;   /* of body or chunk */
    const char *why; /* static; a bad answer's reason */
};

void upstream_parse_init(struct upstream_parse *p, struct upstream_answer *answer, bool to_head);
/* Takes bytes off the front of in until they are used up or the answer is DONE or BAD. */
void upstream_parse_feed(struct upstream_parse *p, struct slice *in);
/* The connection ended in good order: DONE when that is how the body ends. */
void upstream_parse_eof(struct upstream_parse *p);

#endif

/*
 * The grammar of a request's head, line by line (RFC 9112 sections 3 and 5,
 * RFC 9110 sections 5 and 7.2, RFC 3986).  Pure.  Lines come without their
 * CRLF and without control characters other than tabs: http_proto saw to that.
 * Each returns HTTP_FAULT_NONE, or the fault with *where at the byte to blame.
 */
#ifndef GATEWAY_HTTP_GRAMMAR_H
#define GATEWAY_HTTP_GRAMMAR_H

#include "http_proto.h"

/* Fills method, is_1_0, target, path, query, authority. */
enum http_fault http_grammar_request_line(struct slice line, struct http_head *h, const char **where) NODISCARD;
enum http_fault http_grammar_field(struct slice line, struct http_header *out, const char **where) NODISCARD;
/* A field of the trailer section: dropped by the caller, but no framing header may stand there. */
enum http_fault http_grammar_trailer(struct slice line, const char **where) NODISCARD;
/* What the headers together say about the body and the connection; fills the rest of *h. */
enum http_fault http_grammar_framing(struct http_head *h, uint64_t max_body_bytes, const char **where) NODISCARD;
bool http_grammar_is_token(struct slice s);
/* Of how many bytes at its beginning a line may consist: no controls but the tab.  Above 0x7F is judged elsewhere. */
size_t http_grammar_text(struct slice s);

#endif

/*
 * What the files of the SMTP server's machine share.  Each function that ends in an event returns it from step().
 */
#ifndef GATEWAY_SMTP_PROTO_PARTS_H
#define GATEWAY_SMTP_PROTO_PARTS_H

#include "smtp_proto.h"

/* smtp_proto.c.  A reply is whole, with CRLF, and a literal or in p->out. */
enum smtp_event smtp_proto_reply(struct smtp_proto *p, const char *reply);
/* A reply to a command that brings no message forward. */
enum smtp_event smtp_proto_reply_idle(struct smtp_proto *p, const char *reply);
/* Counts as an error; one too many closes. */
enum smtp_event smtp_proto_refuse(struct smtp_proto *p, enum smtp_proto_fault f, const char *reply);
/* Does not: a temporary one, or the consequence of another refusal. */
enum smtp_event smtp_proto_refuse_free(struct smtp_proto *p, enum smtp_proto_fault f, const char *reply);
enum smtp_event smtp_proto_close(struct smtp_proto *p, enum smtp_proto_fault f, const char *reply);
/* BARE_CR, BARE_LF, NUL. */
enum smtp_event smtp_proto_close_bytes(struct smtp_proto *p, enum smtp_proto_fault f);
/* The transaction, if there is one, is over. */
void smtp_proto_end_mail(struct smtp_proto *p);
/* event is the user's to answer. */
enum smtp_event smtp_proto_ask(struct smtp_proto *p, enum smtp_event event);
/* How many bytes come before the first CR, LF or NUL. */
size_t smtp_proto_text_bytes(struct slice s);

/* smtp_proto_command.c.  line is without CRLF; more: bytes behind it are already there. */
enum smtp_event smtp_proto_command(struct smtp_proto *p, struct slice line, bool more);

/* smtp_proto_auth.c */
bool smtp_proto_auth_is_allowed(const struct smtp_proto *p);
enum smtp_event smtp_proto_auth_begin(struct smtp_proto *p, struct slice argument, bool more);
enum smtp_event smtp_proto_auth_line(struct smtp_proto *p, struct slice line, bool more);

/* smtp_proto_data.c */
enum smtp_event smtp_proto_data_step(struct smtp_proto *p, struct slice *in);

#define SMTP_REPLY_INJECTION  "554 5.5.0 Bytes in the clear behind STARTTLS (RFC 3207)\r\n"
#define SMTP_REPLY_PIPELINING "503 5.5.0 Improper command pipelining: wait for the reply (RFC 2920)\r\n"

#endif

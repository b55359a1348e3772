/* What smtp_client_*.c share; nobody else includes it. */
#ifndef GATEWAY_SMTP_CLIENT_PARTS_H
#define GATEWAY_SMTP_CLIENT_PARTS_H

#include "smtp_client_proto.h"

/* What EHLO offered (bits). */
enum extension {
    EXT_PIPELINING = 1,
    EXT_SIZE = 2,
    EXT_8BITMIME = 4,
    EXT_SMTPUTF8 = 8,
    EXT_DSN = 16,
    EXT_STARTTLS = 32,
    EXT_AUTH_PLAIN = 64,
    EXT_AUTH_LOGIN = 128
};

/* smtp_client_proto.c: words out, and how it ends. */
void smtp_client_put(struct smtp_client *c, struct slice s);
size_t smtp_client_room(const struct smtp_client *c);
/* Only when all before was taken: what is written stays in order. */
void smtp_client_open_out(struct smtp_client *c);
/* A command that is answered in the state next. */
void smtp_client_say(struct smtp_client *c, enum smtp_client_state next, struct slice words, struct slice rest);
struct slice smtp_client_reply_text(const struct smtp_client *c);
/* CLOSED follows; polite: with QUIT. */
void smtp_client_end(struct smtp_client *c, bool polite);
/* DONE with what is known, when a transaction is under way, and CLOSED. */
void smtp_client_fail(struct smtp_client *c, const char *reason, bool polite);
/* The same: refused in words of the server's, which are kept. */
void smtp_client_fail_refused(struct smtp_client *c, const char *reason, bool polite);
void smtp_client_be_idle(struct smtp_client *c);

/* smtp_client_hello.c: the way to READY. */
void smtp_client_hello(struct smtp_client *c);
void smtp_client_take_offer(struct smtp_client *c, struct slice line);
/* A reply of that class in a state of EHLO to AUTH_SECRET. */
void smtp_client_on_hello(struct smtp_client *c, int class);

/* smtp_client_mail.c: a transaction. */
void smtp_client_fill(struct smtp_client *c);
/* A reply of that class in a state of MAIL to DATA, or to the end of the data. */
void smtp_client_on_mail(struct smtp_client *c, int class);
/* What is known when no reply to the data ended it; without a transaction: not sent. */
void smtp_client_known(const struct smtp_client *c, const char *reason, struct smtp_client_result *out);
/* DONE is due: c->result. */
void smtp_client_tell(struct smtp_client *c);
/* The reply is the answer to all recipients that are not refused already: DONE is due. */
void smtp_client_finish(struct smtp_client *c);

#endif

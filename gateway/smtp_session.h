/*
 * Inside the SMTP listener: one client's session, and one exchange (a transaction and its answer) in it.  Only
 * smtp_listen.c, smtp_session*.c and smtp_exchange.c include this.
 *
 * Who owns what: the listener its sessions; a session the exchange that it reads.  An exchange that the user was asked
 * about outlives its session (session == NULL) and its listener (listener == NULL).
 */
#ifndef GATEWAY_SMTP_SESSION_H
#define GATEWAY_SMTP_SESSION_H

#include <sys/queue.h>

#include "http_body.h"
#include "listen_socket.h"
#include "smtp_listen.h"
#include "smtp_socket.h"

#include <uthash.h> /* behind base.h, which gives it its malloc */

#define SMTP_READ_BYTES 65536u

/* Replies of one turn: they leave in one write, which is one TLS record at most. */
struct smtp_out {
    size_t n;
    char bytes[16384];
};

enum smtp_session_state {
    SMTP_SESSION_HANDSHAKE, /* TLS is being set up */
    SMTP_SESSION_OPEN,
    SMTP_SESSION_CLOSING, /* the last reply is on its way; nothing is read */
    SMTP_SESSION_LINGER,  /* it is sent and our side is shut; input is thrown away until the client closes */
    SMTP_SESSION_DEAD     /* off every list but doomed; freed at the end of the loop turn */
};

/* Where clients come from; one that has no connections is forgotten. */
struct smtp_address {
    uint8_t key[16]; /* IPv6, or IPv4 mapped into it; of IPv6 the /64, which is what one client is given */
    uint32_t sessions;
    UT_hash_handle hh;
};

struct smtp_session {
    unsigned magic;
    enum smtp_session_state state; /* set by set_state() in smtp_session.c only */
    struct smtp_listener *listener;
    struct smtp_address *address; /* NULL: refused, above a cap */
    struct smtp_socket socket;
    struct loop_watch *watch;
    struct smtp_exchange *exchange; /* from MAIL to its answer */
    const void *login;
    struct loop_task *penalty; /* a wrong login is answered later: p.reply waits */
    uint32_t wrong_logins;
    struct smtp_out *out; /* while the machine's loop is on the stack */
    bool ready;           /* on the listener's ready list */
    bool eof;             /* the client has shut its side */
    bool polite;          /* it said QUIT, and nothing behind that */
    int64_t since_ms;     /* mono: the last command, piece of data or reply; or this state began */
    int64_t data_ms;      /* mono: when the data began */
    uint64_t data_bytes;  /* of it so far */
    char *kept;           /* read, and not yet stepped */
    size_t n_kept;
    TAILQ_ENTRY(smtp_session) all, turn; /* turn: ready or doomed */
    char peer[LISTEN_PEER_MAX];
    struct smtp_proto proto; /* last: it is large, and not zeroed */
};
TAILQ_HEAD(smtp_session_list, smtp_session);

enum smtp_exchange_state {
    SMTP_EXCHANGE_READING,
    SMTP_EXCHANGE_RECIPIENT, /* the user is asked about one */
    SMTP_EXCHANGE_MESSAGE    /* in the user's hands */
};

struct smtp_exchange {
    struct smtp_transaction transaction; /* first: the user's pointer is ours */
    enum smtp_exchange_state state;
    struct smtp_listener *listener; /* NULL: freed meanwhile */
    struct smtp_session *session;   /* NULL: the client left */
    struct arena arena;             /* this struct lies in it */
    struct http_body body;          /* a content is kept as a request's body is */
    bool no_room;                   /* the rest of the content is thrown away */
    size_t cap_fields;
    TAILQ_ENTRY(smtp_exchange) in_listener; /* while the user is asked */
};

struct smtp_listener {
    unsigned magic;
    struct loop *loop;
    struct smtp_listen_options options; /* zeros filled in; address and file names are not kept */
    char *host;
    struct listen_tls *tls; /* NULL: none */
    int fd;                 /* -1 once draining */
    struct loop_watch *accept;
    struct loop_task *accept_again; /* after descriptors ran out */
    struct loop_task *turn;         /* end of the loop turn: resume, free, tell that all is empty */
    struct loop_task *sweep;        /* looks for deadlines that passed, while there are sessions */
    bool draining;
    uint16_t port;
    void (*on_empty)(void *arg);
    void *on_empty_arg;
    struct smtp_session_list all, ready, doomed;
    TAILQ_HEAD(, smtp_exchange) asked;
    struct smtp_address *addresses;
    struct auth_backoff *own_backoff; /* when the options name none */
    struct http_budget budget;
    struct smtp_counters counters;
    size_t n_refused;         /* sessions that only hear why not */
    char in[SMTP_READ_BYTES]; /* what a session has just sent */
};

/* Takes fd.  refusal: "421 ...": said instead of a greeting; NULL: none. */
void smtp_session_new(struct smtp_listener *l, int fd, const char *peer, struct smtp_address *address,
                      const char *refusal);
/* Whatever a deadline, or a drain, has to say. */
void smtp_session_look(struct smtp_session *s, int64_t now_ms);
/* Close at the end of this turn. */
void smtp_session_kill(struct smtp_session *s);
void smtp_session_free(struct smtp_session *s);
/* Forward, but for STARTTLS. */
void smtp_session_set_state(struct smtp_session *s, enum smtp_session_state state);
/* After anything changed: what is awaited now, what goes on by itself, whether it is over. */
void smtp_session_settle(struct smtp_session *s);

/* --- smtp_session_talk.c --- */

/* Go on with what was kept or is still in the TLS layer: called from the listener's end of turn. */
void smtp_session_resume(struct smtp_session *s);
/* The machine's question was answered; reply: what it says. */
void smtp_session_answered(struct smtp_session *s, struct slice reply);
/* The user is asked, or a penalty runs. */
bool smtp_session_is_asking(const struct smtp_session *s);
bool smtp_session_may_step(const struct smtp_session *s);
/* As far as nothing waits; the replies leave together.  How many bytes were consumed. */
size_t smtp_session_step(struct smtp_session *s, char *bytes, size_t n);
/* What the socket has, as much as may be kept. */
void smtp_session_read(struct smtp_session *s);
/* The last reply. */
void smtp_session_end(struct smtp_session *s, struct slice reply);

/* s->exchange begins with the machine's SMTP_MAIL.  Empty; or the reply that says why not, and there is none. */
struct slice smtp_exchange_begin(struct smtp_session *s);
/* The machine's SMTP_RCPT: asks the user, who answers at once or later. */
void smtp_exchange_recipient(struct smtp_exchange *x, struct slice argument);
void smtp_exchange_add(struct smtp_exchange *x, struct slice piece);
/* The machine's SMTP_MESSAGE: likewise. */
void smtp_exchange_message(struct smtp_exchange *x);
/* Its session goes away: freed, or the user's alone from now on. */
void smtp_exchange_orphan(struct smtp_exchange *x);
void smtp_exchange_free(struct smtp_exchange *x);

/* Run the listener's end of turn soon: something is ready, doomed or empty. */
void smtp_listener_wake(struct smtp_listener *l);
/* Many connections: deadlines are short, patience is less. */
bool smtp_listener_is_loaded(const struct smtp_listener *l);
/* A session of that address is gone. */
void smtp_listener_left(struct smtp_listener *l, struct smtp_address *a);

#endif

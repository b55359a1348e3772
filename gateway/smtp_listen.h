/*
 * SMTP submission ingress: sockets, TLS, deadlines and caps around smtp_proto.  Calls the user for each login,
 * recipient and message; the user answers, at once or later.  Everything here belongs to the loop's thread.
 *
 * A normal case: login(user, secret) gives a key; recipient(t) is answered with 250; message(t) is kept by the user,
 * who works and calls smtp_transaction_answer(t, reply): t and its arena are gone.  A bad one: the client leaves
 * meanwhile; t stays whole, smtp_transaction_answer drops the reply and frees t.
 */
#ifndef GATEWAY_SMTP_LISTEN_H
#define GATEWAY_SMTP_LISTEN_H

#include "listen_tls.h"
#include "smtp_proto.h"

struct auth_backoff;
struct loop;
struct smtp_listener;

/* From MAIL to the answer to its message.  Its memory is the arena's. */
struct smtp_transaction {
    struct arena *arena;       /* LIMIT_ARENA_BYTES beside the content */
    const void *login;         /* what the user gave for the session's login */
    struct wire_field *fields; /* as connector.h says: "MAIL", accepted "RCPT"s, "CLIENT" */
    size_t n_fields;
    struct slice rcpt;    /* the argument that recipient() is asked about; not among the fields yet */
    struct slice content; /* with message(): whole, contiguous */
    const char *peer;     /* "192.0.2.1:51324" */
    bool tls;
    void *owner; /* the user's */
};

struct smtp_listen_options {
    const char *address;                   /* "127.0.0.1:2525"; port 0: any free one */
    int fd;                                /* a socket of listen_sockets_open, taken; 0: it opens its own */
    const char *host;                      /* own name */
    const char *tls_certificate, *tls_key; /* PEM files; NULL: no TLS */
    bool implicit_tls;  /* from the first byte; else STARTTLS is offered when there is a certificate */
    bool auth_in_clear; /* AUTH without TLS; only for a loopback address */

    /* Who is that?  NULL: nobody.  The result is every transaction's login, and outlives the listener. */
    const void *(*login)(struct slice user, struct slice secret, const char *peer, void *arg);
    /* Answer once with smtp_transaction_answer(); empty: 250. */
    void (*recipient)(struct smtp_transaction *t, void *arg);
    void (*message)(struct smtp_transaction *t, void *arg);
    /* NULL, or a whole reply ("451 4.3.2 ...\r\n"): why nothing is taken now; asked at the greeting and at MAIL. */
    const char *(*refuses)(bool greeting, void *arg);
    void *arg;

    /* 0: of limits.h */
    uint64_t max_message_bytes;
    uint32_t max_recipients, max_connections, max_address_connections;
    size_t max_inflight_bytes;
    int64_t handshake_ms, command_ms, data_ms;
    int64_t load_ms; /* what command_ms and data_ms come down to when two thirds of the connections are taken */
    int64_t write_ms, linger_ms, login_ms, data_window_ms;
    struct auth_backoff *backoff; /* kept, shared with others; NULL: its own, of LIMIT_SMTP_LOGINS_MIN */
};

/* NULL with the reason in e.  Keeps loop; copies the options. */
struct smtp_listener *smtp_listener_new(struct loop *loop, const struct smtp_listen_options *options,
                                        struct errmsg *e) NODISCARD;
uint16_t smtp_listener_port(const struct smtp_listener *l);
/* The caps (0: of limits.h), for connections and transactions to come; and logins may be others than before. */
void smtp_listener_set_limits(struct smtp_listener *l, const struct smtp_listen_options *o);
/* Taken for new connections of a listener that has TLS; those that are open keep theirs. */
void smtp_listener_set_tls(struct smtp_listener *l, struct listen_tls **tls);
/* 421 to those who are idle, finish what was begun, then on_empty once (never before this returns). */
void smtp_listener_drain(struct smtp_listener *l, void (*on_empty)(void *arg), void *arg);
/* Not from a callback of its own.  Transactions in the user's hands stay valid. */
void smtp_listener_free(struct smtp_listener **l);

/*
 * To recipient(): t stays the listener's.  To message(): gives t up.  reply is copied: whole, CRLF at the end; empty:
 * 250 to a recipient.  Never from within the callback's caller's stack twice.
 */
void smtp_transaction_answer(struct smtp_transaction *t, struct slice reply);

struct smtp_counters {
    uint64_t accepted, messages, recipients, logins, logins_wrong, logins_throttled, tls_handshakes, tls_failures;
    uint64_t refused_connections; /* by a cap */
    uint64_t timeouts;
    size_t open, unanswered, inflight_bytes;
    uint64_t faults[SMTP_PROTO_FAULT_COUNT];
};
const struct smtp_counters *smtp_listener_counters(struct smtp_listener *l);

#endif

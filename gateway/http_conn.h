/*
 * Inside the HTTP listener: one connection, and one exchange (a request and its
 * reply) on it.  Only http_listen.c, http_conn.c and http_exchange.c include this.
 *
 * Who owns what: the listener its connections; a connection the exchanges that
 * are not in the user's hands.  An exchange in the user's hands outlives its
 * connection (conn == NULL) and its listener (listener == NULL).
 */
#ifndef GATEWAY_HTTP_CONN_H
#define GATEWAY_HTTP_CONN_H

#include <event2/bufferevent.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#include "http_body.h"
#include "http_listen.h"
#include "http_write.h"
#include "listen_socket.h"

#define HTTP_READ_BYTES 65536

enum http_conn_state {
    HTTP_CONN_HANDSHAKE, /* TLS is being set up; nothing is read yet */
    HTTP_CONN_OPEN,      /* requests are read, up to the pipeline's limit */
    HTTP_CONN_CLOSING,   /* no more requests are read; what was begun is answered */
    HTTP_CONN_LINGER,    /* all is written and our side is shut; input is thrown away until the client closes */
    HTTP_CONN_DEAD       /* off every list but doomed; freed at the end of the loop turn */
};

struct http_conn {
    unsigned magic;
    enum http_conn_state state; /* set by set_state() in http_conn.c only */
    struct http_listener *listener;
    struct bufferevent *bev;
    struct event readable; /* plain: bytes are read by us, straight into the parser; TLS: bev reads */
    bool is_tls;
    struct evbuffer *out; /* replies of this moment; http_conn_settle sends them, or leaves them to bev */
    struct http_proto proto;
    struct http_exchange *receiving;       /* the request being read; NULL before its first byte */
    TAILQ_HEAD(, http_exchange) exchanges; /* read and not yet written, in order */
    size_t n_exchanges;
    bool reading;                                           /* EV_READ is on */
    bool parsing;                                           /* http_conn_read is on the stack */
    bool ready;                                             /* on the listener's ready list */
    bool eof;                                               /* the client has shut its side */
    bool owes_continue;                                     /* a 100 waits for earlier replies */
    int64_t since_ms;                                       /* mono: this state, or this idleness, began */
    int64_t head_since_ms, window_since_ms, write_since_ms; /* mono; write: 0 when nothing waits */
    uint64_t window_bytes;                                  /* of the body in this window */
    uint64_t queued_bytes;                                  /* written in all */
    uint64_t write_mark; /* of them taken by the client when the write window began */
    struct event timer;
    int64_t armed_ms;                 /* mono; INT64_MAX: not armed */
    TAILQ_ENTRY(http_conn) all, turn; /* turn: ready or doomed */
    char peer[LISTEN_PEER_MAX];
};

enum http_exchange_state {
    HTTP_EXCHANGE_RECEIVING,
    HTTP_EXCHANGE_ASKED,   /* in the user's hands */
    HTTP_EXCHANGE_ANSWERED /* its bytes are in held, or sent */
};

struct http_exchange {
    struct http_request request; /* first: the user's pointer is ours */
    enum http_exchange_state state;
    struct http_listener *listener; /* NULL: freed meanwhile */
    struct http_conn *conn;         /* NULL: the client left */
    struct arena arena;             /* this struct lies in it */
    struct http_body body;
    struct evbuffer *held; /* a reply that waits for earlier ones */
    bool is_1_0;
    bool last; /* the connection closes after its reply */
    TAILQ_ENTRY(http_exchange) in_conn, in_listener;
};

TAILQ_HEAD(http_conn_list, http_conn);

struct http_listener {
    unsigned magic;
    struct event_base *base;
    struct http_listen_options options; /* zeros filled in; address and file names are not kept */
    struct evconnlistener *accept;      /* NULL once draining */
    struct event *accept_again;         /* after descriptors ran out */
    struct event *turn;                 /* end of the loop turn: resume, free, tell that all is empty */
    struct listen_tls *tls;             /* NULL: plain */
    bool loopback;
    bool draining;
    uint16_t port;
    void (*on_empty)(void *arg);
    void *on_empty_arg;
    struct http_conn_list all, ready, doomed;
    TAILQ_HEAD(, http_exchange) asked; /* in the user's hands */
    struct http_budget budget;
    struct http_counters counters;
    int64_t date_s; /* of date; wall clock */
    char date[HTTP_DATE_MAX];
    char in[HTTP_READ_BYTES]; /* what a connection has just sent, while it is parsed */
};

/* Takes fd.  tls: a new SSL for it, or NULL. */
struct http_conn *http_conn_new(struct http_listener *l, int fd, struct ssl_st *tls, const char *peer);
/* Read on: what is in the input, as far as it may be parsed now. */
void http_conn_read(struct http_conn *c);
/* After anything changed: reading on or off, closing when done, deadline. */
void http_conn_settle(struct http_conn *c);
/* To make room: idle for a while, so that its client has nothing under way. */
bool http_conn_is_spare(const struct http_conn *c);
/* An exchange was answered. */
void http_conn_answered(struct http_conn *c);
/* Answer with this fault after what was asked before, and close. */
void http_conn_refuse(struct http_conn *c, enum http_fault f, uint64_t at);
/* Close at the end of this turn; HTTP_FAULT_NONE: nothing to count. */
void http_conn_kill(struct http_conn *c, enum http_fault f);
void http_conn_free(struct http_conn *c);

struct http_exchange *http_exchange_new(struct http_conn *c);
void http_exchange_free(struct http_exchange *x);
/* Hand the complete request to the user. */
void http_exchange_ask(struct http_exchange *x, const struct http_head *head);
/* Answer it ourselves, at its place in the order. */
void http_exchange_refuse(struct http_exchange *x, enum http_fault f, uint64_t at, struct slice path);
/* Write the answered exchanges at the front.  True: one of them closes the connection. */
bool http_exchange_flush(struct http_conn *c);
/* Its connection goes away: freed, or the user's alone from now on. */
void http_exchange_orphan(struct http_exchange *x);

/* Run http_listener's end of turn soon: something is ready, doomed or empty. */
void http_listener_wake(struct http_listener *l);

#endif

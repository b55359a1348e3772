/*
 * What the files of SMTP out share; nobody else includes it.
 *   upstream_smtp.c         the transport's table: options, transfers that begin and are broken off
 *   upstream_smtp_kept.c    the connections of a pool: which is taken next, how long one stays
 *   upstream_smtp_drive.c   one connection: the machine's wishes, the link's events, how a transfer ends
 *
 * Who owns what: the pool its connections and transfers.  A connection belongs to one transfer until that is over.
 */
#ifndef GATEWAY_UPSTREAM_SMTP_PARTS_H
#define GATEWAY_UPSTREAM_SMTP_PARTS_H

#include "smtp_client_proto.h"
#include "upstream_link.h"
#include "upstream_transport.h"

#define UPSTREAM_SMTP_READ_BYTES 4096u

struct upstream_prepared {
    struct smtp_client_mail mail;
    struct arena *arena;
    bool (*may_write)(void *arg);
    void *may_write_arg;
};

struct smtp_connection {
    struct upstream_pool *pool;
    struct upstream_link *link;
    struct upstream_transfer *transfer;  /* NULL: idle, or tidying up */
    struct smtp_connection *prev, *next; /* all of the pool: those that are ready first, the last used before others */
    int64_t let_go_ms;                   /* without a transfer since */
    uint32_t n_messages;
    bool up, is_ready; /* is_ready: idle */
    bool deaf;         /* takes no more bytes; there may be a reply to read */
    struct smtp_client client;
};

struct upstream_transfer {
    struct upstream_pool *pool;
    void *arg;
    const struct upstream_prepared *prepared;
    struct upstream_answer *answer;
    struct smtp_connection *connection; /* NULL: not begun, or over */
    bool fresh;                         /* wants a connection of its own: a kept one failed it */
    struct upstream_transfer *next;     /* free, or begun */
};

struct upstream_pool {
    struct loop *loop;
    upstream_end_fn *on_end;
    struct upstream_links *links;
    struct smtp_client_options options;
    char *host, *user, *secret;
    struct upstream_transfer *transfers; /* max_transfers of them */
    int64_t idle_ms;
    uint32_t max_transfers, n_connections;
    struct upstream_transfer *free_transfers, *begun;
    struct upstream_transfer **begun_end;
    struct smtp_connection *first, *last;
    struct loop_task *sweep; /* while there are connections without a transfer */
    char in[UPSTREAM_SMTP_READ_BYTES];
};

/* upstream_smtp.c */
/* Back among the free ones. */
void upstream_smtp_release(struct upstream_transfer *t);

/* upstream_smtp_kept.c */
/* Dialled; in the place of one that is being tidied up when there are as many as there may be. */
struct smtp_connection *upstream_smtp_dial(struct upstream_pool *pool);
/* NULL: none is ready. */
struct smtp_connection *upstream_smtp_take_ready(const struct upstream_pool *pool);
/* The machine is idle; and then it is not. */
void upstream_smtp_set_ready(struct smtp_connection *c, bool ready);
/* Its transfer is over. */
void upstream_smtp_let_go(struct smtp_connection *c);
/* What the machine has left to say: QUIT at most, and nobody waits for it to arrive. */
void upstream_smtp_say_last(struct smtp_connection *c);
/* Without a transfer; politely. */
void upstream_smtp_close(struct smtp_connection *c);
void upstream_smtp_free(struct smtp_connection *c);

/* upstream_smtp_drive.c */
/* On a kept connection, else on a new one.  May call on_end. */
void upstream_smtp_start(struct upstream_transfer *t);
/* upstream_link_fn of a connection. */
void upstream_smtp_on_link(void *arg, enum upstream_link_event event);
/* What a transfer's end means for whoever asked for it. */
void upstream_smtp_end_of(const struct upstream_transfer *t, const struct smtp_client_result *r,
                          struct upstream_end *out);

#endif

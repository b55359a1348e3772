/*
 * One connection to a relay, driven by the machine of smtp_client_proto.c: what it
 * wants written, what the link brings, how a transfer ends.  It must not know of
 * queues, breakers, messages and providers, nor what is said on the wire.
 *
 * The idea: a kept connection that turns out to be closed costs nothing: while no
 * reply came and no content left, a fresh one tries again, once.
 */
#include "upstream_smtp_parts.h"

#define MESSAGES_MAX    500u /* of a connection: SendGrid takes 5000, others fewer */
#define READS_PER_EVENT 64
#define WRITES_AT_ONCE  128 /* of SMTP_CLIENT_BUFFER: 2 MiB in a ms or two, then others have their turn */

/* --- the end of a transfer ---------------------------------------------------------- */

static enum upstream_pace_end pace_of(const struct smtp_client_result *r)
{
    if (r->is_own)
        return PACE_NEITHER;
    return r->end == SMTP_CLIENT_ANSWERED && r->code != 421 ? PACE_GOOD : PACE_BAD;
}

void upstream_smtp_end_of(const struct upstream_transfer *t, const struct smtp_client_result *r,
                          struct upstream_end *out)
{
    *out = (struct upstream_end){
        .whole = r->end == SMTP_CLIENT_ANSWERED,
        .wrote = r->end == SMTP_CLIENT_UNKNOWN,
        .reason = r->reason,
        .status = r->code,
        .dsn = r->dsn,
        .recipients = r->recipients,
        .n_recipients = r->n_recipients,
        .pace = pace_of(r),
    };
    ignore(upstream_answer_body(t->answer, r->text)); /* for people; the code decides */
}

/* Its connection stays with the caller. */
static void finish(struct upstream_transfer *t, const struct smtp_client_result *r)
{
    struct upstream_pool *pool = t->pool;
    void *arg = t->arg;
    struct upstream_end end;
    upstream_smtp_end_of(t, r, &end);
    upstream_smtp_let_go(t->connection);
    upstream_smtp_release(t);
    pool->on_end(arg, &end);
}

/* It was closed while idle, and we did not know: nothing was done with the mail. */
static bool is_stale(const struct smtp_connection *c)
{
    return c->n_messages > 1 && !c->transfer->fresh && !smtp_client_answered(&c->client);
}

static void start_afresh(struct smtp_connection *c)
{
    struct upstream_transfer *t = c->transfer;
    upstream_smtp_free(c);
    t->connection = NULL;
    t->fresh = true;
    upstream_smtp_start(t);
}

static void lost(struct smtp_connection *c, const char *reason)
{
    struct smtp_client_result result;
    if (c->transfer && is_stale(c)) {
        start_afresh(c);
        return;
    }
    smtp_client_lost(&c->client, reason, &result);
    if (c->transfer)
        finish(c->transfer, &result);
    upstream_smtp_free(c);
}

/* --- what the machine wants ------------------------------------------------------------ */

static bool may_write(const struct upstream_prepared *p)
{
    return !p->may_write || p->may_write(p->may_write_arg);
}

static void begin_mail(struct smtp_connection *c)
{
    const struct upstream_prepared *p = c->transfer->prepared;
    if (!may_write(p)) { /* nothing is wrong with the connection, others may have it */
        finish(c->transfer,
               &(struct smtp_client_result){.end = SMTP_CLIENT_NOT_SENT, .reason = "withdrawn", .is_own = true});
        return;
    }
    upstream_smtp_set_ready(c, false);
    c->n_messages++;
    smtp_client_send(&c->client, &p->mail, p->arena);
}

static void on_ready(struct smtp_connection *c)
{
    upstream_smtp_set_ready(c, true);
    if (c->transfer)
        begin_mail(c);
    else if (c->n_messages >= MESSAGES_MAX)
        smtp_client_quit(&c->client);
}

/* False: the connection takes no more, for now or for ever. */
static bool write_some(struct smtp_connection *c)
{
    size_t n;
    if (c->deaf)
        return false;
    switch (upstream_link_send(c->link, c->client.out, &n)) {
    case UPSTREAM_LINK_OK:
        smtp_client_wrote(&c->client, n);
        return true;
    case UPSTREAM_LINK_AGAIN:
        upstream_link_want_write(c->link, true);
        return false;
    case UPSTREAM_LINK_EOF:
    case UPSTREAM_LINK_LOST:
        c->deaf = true; /* the server may have said why; if not, reading finds the loss */
        upstream_link_want_write(c->link, false);
        return false;
    }
    return false;
}

static void on_closed(struct smtp_connection *c)
{
    upstream_smtp_say_last(c);
    if (c->transfer)
        finish(c->transfer, &c->client.result);
    upstream_smtp_free(c);
}

enum turn { GO_ON, WAIT, GONE };

static enum turn follow(struct smtp_connection *c, enum smtp_client_event event)
{
    switch (event) {
    case SMTP_CLIENT_NONE:
        upstream_link_want_write(c->link, false);
        return WAIT;
    case SMTP_CLIENT_WRITE:
        return write_some(c) ? GO_ON : WAIT;
    case SMTP_CLIENT_STARTTLS:
        upstream_link_start_tls(c->link);
        return GONE;
    case SMTP_CLIENT_READY:
        on_ready(c);
        return GO_ON;
    case SMTP_CLIENT_MAY_DATA:
        smtp_client_data(&c->client, may_write(c->transfer->prepared));
        return GO_ON;
    case SMTP_CLIENT_DONE:
        if (is_stale(c)) {
            start_afresh(c);
            return GONE;
        }
        finish(c->transfer, &c->client.result);
        return GO_ON;
    case SMTP_CLIENT_CLOSED:
        on_closed(c);
        return GONE;
    }
    return GONE;
}

/* False: nothing is to be read now: the connection is gone, or TLS begins. */
static bool drive(struct smtp_connection *c, struct slice in)
{
    for (int writes = 0; writes < WRITES_AT_ONCE;) {
        enum smtp_client_event event = smtp_client_step(&c->client, &in);
        enum turn turn = follow(c, event);
        if (turn != GO_ON)
            return turn == WAIT;
        writes += event == SMTP_CLIENT_WRITE;
    }
    upstream_link_want_write(c->link, true);
    return true;
}

/* A read that did not fill the buffer took all there was; TLS may hold more than it gave. */
static void read_on(struct smtp_connection *c)
{
    struct upstream_pool *pool = c->pool;
    bool more = true;
    for (int i = 0; i < READS_PER_EVENT && more; i++) {
        size_t n;
        switch (upstream_link_recv(c->link, pool->in, UPSTREAM_SMTP_READ_BYTES, &n)) {
        case UPSTREAM_LINK_OK:
            more = n == UPSTREAM_SMTP_READ_BYTES || upstream_link_is_tls(c->link);
            if (!drive(c, (struct slice){pool->in, n}))
                return;
            break;
        case UPSTREAM_LINK_AGAIN:
            return;
        case UPSTREAM_LINK_EOF:
        case UPSTREAM_LINK_LOST:
            lost(c, "connection_lost");
            return;
        }
    }
}

static void on_up(struct smtp_connection *c)
{
    if (c->up)
        smtp_client_tls_on(&c->client);
    c->up = true;
    ignore(drive(c, (struct slice){0})); /* reading waits for the loop */
}

void upstream_smtp_on_link(void *arg, enum upstream_link_event event)
{
    struct smtp_connection *c = arg;
    switch (event) {
    case UPSTREAM_LINK_UP:
        on_up(c);
        return;
    case UPSTREAM_LINK_WRITABLE:
        ignore(drive(c, (struct slice){0}));
        return;
    case UPSTREAM_LINK_FAILED:
        lost(c, upstream_link_why(c->link));
        return;
    case UPSTREAM_LINK_READABLE:
        read_on(c);
        return;
    }
}

void upstream_smtp_start(struct upstream_transfer *t)
{
    struct smtp_connection *c = t->fresh ? NULL : upstream_smtp_take_ready(t->pool);
    bool ready = c != NULL;
    if (!c)
        c = upstream_smtp_dial(t->pool);
    c->transfer = t;
    t->connection = c;
    if (!ready)
        return;
    begin_mail(c);
    ignore(drive(c, (struct slice){0}));
}

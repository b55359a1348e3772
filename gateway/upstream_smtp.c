/*
 * SMTP out: transactions on kept connections to one relay, each driven by the
 * machine of smtp_client_proto.c.  It must not know of queues, breakers, messages
 * and providers, nor what is said on the wire.
 *
 * The idea: a connection belongs to one transaction until it is over, and is kept
 * when the machine is ready again.  A kept one that turns out to be closed costs
 * nothing: while no reply came and no content left, a fresh one tries again, once.
 */
#include "upstream_transport.h"

#include <stdlib.h>

#include "loop.h"
#include "smtp_client_proto.h"
#include "upstream_link.h"
#include "postern/clock.h"
#include "postern/limits.h"

#define MESSAGES_MAX    500u /* of a connection: SendGrid takes 5000, others fewer */
#define READ_BYTES      4096u
#define READS_PER_EVENT 64
#define WRITES_AT_ONCE  128 /* of SMTP_CLIENT_BUFFER: 2 MiB in a ms or two, then others have their turn */

struct upstream_prepared {
    struct smtp_client_mail mail;
    struct arena *arena;
    bool (*may_write)(void *arg);
    void *may_write_arg;
};

struct connection {
    struct upstream_pool *pool;
    struct upstream_link *link;
    struct upstream_transfer *transfer; /* NULL: idle, or tidying up */
    struct connection *prev, *next;     /* all of the pool, the last used first */
    int64_t let_go_ms;                  /* without a transfer since */
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
    struct connection *connection;  /* NULL: not begun, or over */
    bool fresh;                     /* wants a connection of its own: a kept one failed it */
    struct upstream_transfer *next; /* free, or begun */
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
    struct connection *first, *last;
    struct loop_task *sweep; /* while there are connections without a transfer */
    char in[READ_BYTES];
};

static void start(struct upstream_transfer *t);

/* --- connections ------------------------------------------------------------------ */

static void unlink_connection(struct connection *c)
{
    struct upstream_pool *pool = c->pool;
    if (c->prev)
        c->prev->next = c->next;
    else
        pool->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    else
        pool->last = c->prev;
    c->prev = c->next = NULL;
}

static void link_first(struct connection *c)
{
    struct upstream_pool *pool = c->pool;
    c->next = pool->first;
    if (c->next)
        c->next->prev = c;
    else
        pool->last = c;
    pool->first = c;
}

static void link_last(struct connection *c)
{
    struct upstream_pool *pool = c->pool;
    c->prev = pool->last;
    if (c->prev)
        c->prev->next = c;
    else
        pool->first = c;
    pool->last = c;
}

static void connection_free(struct connection *c)
{
    unlink_connection(c);
    c->pool->n_connections--;
    upstream_link_free(&c->link);
    free(c);
}

/* What the machine has left to say: QUIT at most, and nobody waits for it to arrive. */
static void say_last(struct connection *c)
{
    size_t n;
    if (c->client.out.n > 0 && c->up && !c->deaf)
        ignore(upstream_link_send(c->link, c->client.out, &n));
}

/* Without a transfer. */
static void connection_close(struct connection *c)
{
    struct slice none = {0};
    if (c->is_ready) {
        smtp_client_quit(&c->client);
        ensure(smtp_client_step(&c->client, &none) == SMTP_CLIENT_CLOSED);
        say_last(c);
    }
    connection_free(c);
}

static void on_sweep(void *arg);

static void sweep_after(struct upstream_pool *pool, int64_t ms)
{
    if (!pool->sweep)
        pool->sweep = loop_after(pool->loop, ms, on_sweep, pool);
}

/* Those without a transfer do not stay for long, nor do those that cannot be tidied up. */
static void on_sweep(void *arg)
{
    struct upstream_pool *pool = arg;
    int64_t now_ms = clock_mono_ms(), next_ms = pool->idle_ms;
    bool left = false;
    pool->sweep = NULL;
    for (struct connection *c = pool->first, *next; c; c = next) {
        next = c->next;
        int64_t age_ms = now_ms - c->let_go_ms;
        if (c->transfer)
            continue;
        if (age_ms >= pool->idle_ms) {
            connection_close(c);
            continue;
        }
        left = true;
        next_ms = pool->idle_ms - age_ms < next_ms ? pool->idle_ms - age_ms : next_ms;
    }
    if (left)
        sweep_after(pool, next_ms);
}

static void let_connection_go(struct connection *c)
{
    c->transfer = NULL;
    c->let_go_ms = clock_mono_ms();
    sweep_after(c->pool, c->pool->idle_ms);
}

/* Those that are ready stand before all others.  Whether it is still open shows when it is used. */
static struct connection *take_ready(const struct upstream_pool *pool)
{
    return pool->first && pool->first->is_ready ? pool->first : NULL;
}

/* No more connections than transfers may be under way: one that is tidied up makes room. */
static void make_room(struct upstream_pool *pool)
{
    struct connection *c = pool->last;
    if (pool->n_connections < pool->max_transfers)
        return;
    while (c && c->transfer)
        c = c->prev;
    ensure(c);
    connection_close(c);
}

static void on_link(void *arg, enum upstream_link_event event);

static struct connection *connection_new(struct upstream_pool *pool)
{
    make_room(pool);
    struct connection *c = xcalloc(1, sizeof *c);
    c->pool = pool;
    smtp_client_init(&c->client, &pool->options);
    c->link = upstream_link_dial(pool->links, on_link, c);
    pool->n_connections++;
    link_last(c);
    return c;
}

/* --- the end of a transfer ---------------------------------------------------------- */

static enum upstream_pace_end pace_of(const struct smtp_client_result *r)
{
    if (r->is_own)
        return PACE_NEITHER;
    return r->end == SMTP_CLIENT_ANSWERED && r->code != 421 ? PACE_GOOD : PACE_BAD;
}

static void end_of(const struct upstream_transfer *t, const struct smtp_client_result *r, struct upstream_end *out)
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

static void release(struct upstream_transfer *t)
{
    t->connection = NULL;
    t->prepared = NULL;
    t->next = t->pool->free_transfers;
    t->pool->free_transfers = t;
}

/* Its connection stays with the caller. */
static void finish(struct upstream_transfer *t, const struct smtp_client_result *r)
{
    struct upstream_pool *pool = t->pool;
    void *arg = t->arg;
    struct upstream_end end;
    end_of(t, r, &end);
    let_connection_go(t->connection);
    release(t);
    pool->on_end(arg, &end);
}

/* It was closed while idle, and we did not know: nothing was done with the mail. */
static bool is_stale(const struct connection *c)
{
    return c->n_messages > 1 && !c->transfer->fresh && !smtp_client_answered(&c->client);
}

static void start_afresh(struct connection *c)
{
    struct upstream_transfer *t = c->transfer;
    connection_free(c);
    t->connection = NULL;
    t->fresh = true;
    start(t);
}

static void lost(struct connection *c, const char *reason)
{
    struct smtp_client_result result;
    if (c->transfer && is_stale(c)) {
        start_afresh(c);
        return;
    }
    smtp_client_lost(&c->client, reason, &result);
    if (c->transfer)
        finish(c->transfer, &result);
    connection_free(c);
}

/* --- what the machine wants ------------------------------------------------------------ */

static bool may_write(const struct upstream_prepared *p)
{
    return !p->may_write || p->may_write(p->may_write_arg);
}

static void begin_mail(struct connection *c)
{
    const struct upstream_prepared *p = c->transfer->prepared;
    if (!may_write(p)) { /* nothing is wrong with the connection, others may have it */
        finish(c->transfer,
               &(struct smtp_client_result){.end = SMTP_CLIENT_NOT_SENT, .reason = "withdrawn", .is_own = true});
        return;
    }
    c->is_ready = false;
    c->n_messages++;
    unlink_connection(c);
    link_last(c);
    smtp_client_send(&c->client, &p->mail, p->arena);
}

static void on_ready(struct connection *c)
{
    c->is_ready = true;
    unlink_connection(c);
    link_first(c);
    if (c->transfer)
        begin_mail(c);
    else if (c->n_messages >= MESSAGES_MAX)
        smtp_client_quit(&c->client);
}

/* False: the connection takes no more, for now or for ever. */
static bool write_some(struct connection *c)
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

static void on_closed(struct connection *c)
{
    say_last(c);
    if (c->transfer)
        finish(c->transfer, &c->client.result);
    connection_free(c);
}

enum turn { GO_ON, WAIT, GONE };

static enum turn follow(struct connection *c, enum smtp_client_event event)
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
static bool drive(struct connection *c, struct slice in)
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
static void read_on(struct connection *c)
{
    struct upstream_pool *pool = c->pool;
    bool more = true;
    for (int i = 0; i < READS_PER_EVENT && more; i++) {
        size_t n;
        switch (upstream_link_recv(c->link, pool->in, READ_BYTES, &n)) {
        case UPSTREAM_LINK_OK:
            more = n == READ_BYTES || upstream_link_is_tls(c->link);
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

static void on_up(struct connection *c)
{
    if (c->up)
        smtp_client_tls_on(&c->client);
    c->up = true;
    ignore(drive(c, (struct slice){0})); /* reading waits for the loop */
}

static void on_link(void *arg, enum upstream_link_event event)
{
    struct connection *c = arg;
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

/* --- the way in --------------------------------------------------------------------------- */

static void start(struct upstream_transfer *t)
{
    struct connection *c = t->fresh ? NULL : take_ready(t->pool);
    bool ready = c != NULL;
    if (!c)
        c = connection_new(t->pool);
    c->transfer = t;
    t->connection = c;
    if (!ready)
        return;
    begin_mail(c);
    ignore(drive(c, (struct slice){0}));
}

/* What is wrong with the options, or NULL. */
static const char *refuses(const struct smtp_client_options *o)
{
    struct slice host = slice_of(o->host);
    if (host.n == 0 || host.n > SMTP_CLIENT_HOST_MAX)
        return "the host name for EHLO has 1 to 255 bytes";
    for (size_t i = 0; i < host.n; i++)
        if (host.p[i] <= 0x20 || host.p[i] >= 0x7F)
            return "the host name for EHLO is visible ASCII without blanks";
    if (o->user.n > SMTP_CLIENT_LOGIN_MAX || o->secret.n > SMTP_CLIENT_LOGIN_MAX)
        return "user and secret have 4096 bytes at most";
    return NULL;
}

/* Under TLS anybody could still read what goes to loopback, and nobody else what does not: only when it is asked for.
 */
static enum smtp_client_tls tls_of(const struct upstream_links *links, bool starttls)
{
    if (upstream_links_is_tls(links))
        return SMTP_CLIENT_TLS_ON;
    if (starttls)
        return SMTP_CLIENT_TLS_MUST;
    return upstream_links_is_local(links) ? SMTP_CLIENT_TLS_NEVER : SMTP_CLIENT_TLS_MAY;
}

static void wipe(char **secret, size_t n)
{
    if (*secret)
        explicit_bzero(*secret, n);
    free(*secret);
    *secret = NULL;
}

static void smtp_close(struct upstream_pool **pp)
{
    struct upstream_pool *pool = take(pp);
    if (!pool)
        return;
    for (struct connection *c = pool->first, *next; c; c = next) {
        next = c->next;
        connection_close(c);
    }
    loop_cancel(&pool->sweep);
    upstream_links_free(&pool->links);
    wipe(&pool->user, pool->options.user.n);
    wipe(&pool->secret, pool->options.secret.n);
    free(pool->host);
    free(pool->transfers);
    free(pool);
}

static void set_options(struct upstream_pool *pool, const struct upstream_options *opt)
{
    pool->host = xstrdup(opt->host ? opt->host : "localhost");
    pool->user = xstrndup(opt->user.n > 0 ? opt->user.p : "", opt->user.n);
    pool->secret = xstrndup(opt->secret.n > 0 ? opt->secret.p : "", opt->secret.n);
    pool->options = (struct smtp_client_options){
        .host = pool->host,
        .tls = tls_of(pool->links, opt->starttls),
        .user = {pool->user, opt->user.n},
        .secret = {pool->secret, opt->secret.n},
        .in_clear = upstream_links_is_local(pool->links),
    };
}

static struct upstream_pool *smtp_open(struct loop *loop, const struct upstream_options *opt, uint32_t max_transfers,
                                       upstream_end_fn *on_end, struct errmsg *e)
{
    struct upstream_pool *pool = xcalloc(1, sizeof *pool);
    pool->loop = loop;
    pool->on_end = on_end;
    pool->begun_end = &pool->begun;
    pool->idle_ms = opt->idle_ms > 0 ? opt->idle_ms : LIMIT_UPSTREAM_IDLE_MS;
    pool->max_transfers = max_transfers;
    pool->transfers = xcalloc(max_transfers, sizeof *pool->transfers);
    for (uint32_t i = max_transfers; i-- > 0;) {
        pool->transfers[i].pool = pool;
        release(&pool->transfers[i]);
    }
    pool->links = upstream_links_new(loop, opt, e);
    if (!pool->links)
        goto fail;
    set_options(pool, opt);
    const char *why = refuses(&pool->options);
    if (!why)
        return pool;
    errmsg_set(e, "%s", why);
fail:
    smtp_close(&pool);
    return NULL;
}

static struct upstream_prepared *smtp_prepare(const struct upstream_pool *pool, struct arena *arena,
                                              const struct upstream_request *req)
{
    (void)pool; /* the machine checks what it sends, whatever the relay */
    if (!req->envelope)
        return NULL;
    struct upstream_prepared *p = arena_alloc(arena, sizeof *p);
    if (p)
        *p = (struct upstream_prepared){{req->envelope, req->body}, arena, req->may_write, req->may_write_arg};
    return p;
}

static struct upstream_transfer *smtp_begin(struct upstream_pool *pool, const struct upstream_prepared *prepared,
                                            struct upstream_answer *answer, void *arg)
{
    struct upstream_transfer *t = pool->free_transfers;
    ensure(t);
    pool->free_transfers = t->next;
    *t = (struct upstream_transfer){.pool = pool, .arg = arg, .prepared = prepared, .answer = answer};
    *pool->begun_end = t;
    pool->begun_end = &t->next;
    return t;
}

static void begun_remove(struct upstream_transfer *t)
{
    struct upstream_pool *pool = t->pool;
    for (struct upstream_transfer **at = &pool->begun; *at; at = &(*at)->next) {
        if (*at != t)
            continue;
        *at = t->next;
        if (!*at)
            pool->begun_end = at;
        return;
    }
}

static void smtp_kick(struct upstream_pool *pool)
{
    while (pool->begun) {
        struct upstream_transfer *t = pool->begun;
        begun_remove(t);
        start(t);
    }
}

static bool smtp_wrote(const struct upstream_transfer *t)
{
    return t->connection && smtp_client_sent(&t->connection->client);
}

static void smtp_stop(struct upstream_transfer *t, struct upstream_end *out)
{
    struct smtp_client_result result = {.end = SMTP_CLIENT_NOT_SENT, .reason = "stopped"};
    struct connection *c = t->connection;
    if (c)
        smtp_client_lost(&c->client, "stopped", &result);
    end_of(t, &result, out);
    if (c)
        connection_free(c);
    begun_remove(t);
    release(t);
}

const struct upstream_transport upstream_smtp = {
    .open = smtp_open,
    .close = smtp_close,
    .prepare = smtp_prepare,
    .begin = smtp_begin,
    .kick = smtp_kick,
    .wrote = smtp_wrote,
    .stop = smtp_stop,
};

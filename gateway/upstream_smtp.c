/*
 * SMTP out: transactions on kept connections to one relay.  Here is the transport's
 * table: what its options may be, transfers that begin and are broken off.  It must
 * not know of queues, breakers, messages and providers.
 *
 * The idea: a connection belongs to one transaction until it is over, and is kept
 * when the machine is ready again.
 */
#include "upstream_smtp_parts.h"

#include <stdlib.h>

#include "loop.h"
#include "postern/limits.h"

/* --- the pool ------------------------------------------------------------------------- */

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
    for (struct smtp_connection *c = pool->first, *next; c; c = next) {
        next = c->next;
        upstream_smtp_close(c);
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

void upstream_smtp_release(struct upstream_transfer *t)
{
    t->connection = NULL;
    t->prepared = NULL;
    t->next = t->pool->free_transfers;
    t->pool->free_transfers = t;
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
        upstream_smtp_release(&pool->transfers[i]);
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

/* --- transfers -------------------------------------------------------------------------- */

static struct upstream_prepared *smtp_prepare(const struct upstream_pool *pool, struct arena *arena,
                                              const struct upstream_request *req)
{
    (void)pool; /* the machine checks what it sends, whatever the relay */
    if (!req->envelope)
        return NULL;
    struct upstream_prepared *p = arena_alloc(arena, sizeof *p);
    if (p)
        *p = (struct upstream_prepared){
            {req->envelope, req->body, req->seen}, arena, req->may_write, req->may_write_arg};
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
        upstream_smtp_start(t);
    }
}

static bool smtp_wrote(const struct upstream_transfer *t)
{
    return t->connection && smtp_client_sent(&t->connection->client);
}

static void smtp_stop(struct upstream_transfer *t, struct upstream_end *out)
{
    struct smtp_client_result result = {.end = SMTP_CLIENT_NOT_SENT, .reason = "stopped"};
    struct smtp_connection *c = t->connection;
    if (c)
        smtp_client_lost(&c->client, "stopped", &result);
    upstream_smtp_end_of(t, &result, out);
    if (c)
        upstream_smtp_free(c);
    begun_remove(t);
    upstream_smtp_release(t);
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

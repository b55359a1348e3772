/*
 * Counts who uses a configuration, and owns what was opened for it: the providers.
 * It must not know how one is read, nor when it changes.  The one idea: a provider
 * has users too, the configurations that name it with the same settings; the last
 * of them closes it, and by then no call of it is under way.
 */
#include "confs.h"

#include <stdlib.h>

#include "loop.h"

/* A provider that is open. */
struct egress {
    struct upstream *upstream; /* NULL: the sandbox */
    size_t users;              /* configurations */
};

struct conf_use {
    struct confs *confs;
    struct conf *conf;
    struct conf_use *next, **prev;
    size_t users;
    struct egress **egress; /* by conf->providers */
    struct loop_task *end;  /* nobody uses it: freed at the end of this turn */
};

struct confs {
    struct loop *loop;
    struct conf_use *first;
    size_t n;
};

/* --- providers --------------------------------------------------------------------- */

static bool is_relay(const struct conf_provider *p)
{
    return p->connector != NULL && p->connector->transport == TRANSPORT_SMTP;
}

static struct egress *egress_new(struct loop *loop, const struct conf *conf, const struct conf_provider *p,
                                 struct errmsg *e)
{
    struct upstream_options o = {
        .name = p->name,
        .url = p->url,
        .ca_file = p->ca_file,
        .connect_ms = p->connect_ms,
        .total_ms = p->total_ms,
        .allow_private = p->allow_private,
        .pace = {.max_concurrency = p->max_concurrency, .rate_per_s = p->rate_per_s},
        .starttls = p->starttls,
        .host = conf->smtp_host,
    };
    if (is_relay(p)) { /* a connection logs in; by HTTP each call does */
        o.user = p->login.account;
        o.secret = p->login.secret;
    }
    struct upstream *upstream = p->connector == NULL ? NULL : upstream_new(loop, &o, e);

    if (p->connector != NULL && upstream == NULL)
        return NULL;
    struct egress *egress = xcalloc(1, sizeof(*egress));
    *egress = (struct egress){upstream, 1};
    return egress;
}

static void egress_drop(struct egress **ep)
{
    struct egress *egress = take(ep);
    if (egress == NULL || --egress->users > 0)
        return;
    upstream_free(&egress->upstream);
    free(egress);
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_relay(const struct conf_provider *a, const struct conf_provider *b)
{
    return a->starttls == b->starttls && slice_eq(a->login.account, b->login.account) &&
           slice_eq(a->login.secret, b->login.secret);
}

/* Does what is open for a serve b as well?  By HTTP the login is no part of it: each call brings its own. */
static bool same_settings(const struct conf_provider *a, const struct conf_provider *b)
{
    return a->connector == b->connector && same_text(a->name, b->name) && same_text(a->url, b->url) &&
           same_text(a->ca_file, b->ca_file) && a->allow_private == b->allow_private &&
           a->connect_ms == b->connect_ms && a->total_ms == b->total_ms && a->max_concurrency == b->max_concurrency &&
           a->rate_per_s == b->rate_per_s && (!is_relay(a) || same_relay(a, b));
}

static struct egress *find_open(const struct conf *before, const struct conf_provider *p)
{
    for (size_t i = 0; before != NULL && i < before->n_providers; i++) {
        if (same_settings(&before->providers[i], p))
            return before->use->egress[i];
    }
    return NULL;
}

static enum err open_providers(struct conf_use *use, const struct conf *before, struct errmsg *e)
{
    for (size_t i = 0; i < use->conf->n_providers; i++) {
        const struct conf_provider *p = &use->conf->providers[i];
        struct egress *open = find_open(before, p);
        if (open != NULL)
            open->users++;
        else
            open = egress_new(use->confs->loop, use->conf, p, e);
        use->egress[i] = open;
        if (open == NULL)
            return ERR_SYNTAX;
    }
    return OK;
}

/* --- configurations ----------------------------------------------------------------- */

/* The configuration itself stays. */
static void use_free(struct conf_use *use)
{
    if (use->prev != NULL) {
        *use->prev = use->next;
        if (use->next != NULL)
            use->next->prev = use->prev;
        use->confs->n--;
    }
    loop_cancel(&use->end);
    for (size_t i = 0; i < use->conf->n_providers; i++)
        egress_drop(&use->egress[i]);
    use->conf->use = NULL;
    free(use->egress);
    free(use);
}

static void use_end(struct conf_use *use)
{
    struct conf *conf = use->conf;
    use_free(use);
    conf_free(&conf);
}

static void on_end(void *arg)
{
    struct conf_use *use = arg;
    use->end = NULL;
    use_end(use);
}

enum err confs_open(struct confs *c, struct conf *conf, const struct conf *before, struct errmsg *e)
{
    struct conf_use *use = xcalloc(1, sizeof(*use));

    ensure(conf->use == NULL);
    *use = (struct conf_use){.confs = c, .conf = conf, .users = 1};
    use->egress = xcalloc(conf->n_providers + 1, sizeof(struct egress *));
    conf->use = use;
    enum err err = open_providers(use, before, e);
    if (err != OK) {
        use_free(use);
        return err;
    }
    use->next = c->first;
    use->prev = &c->first;
    if (use->next != NULL)
        use->next->prev = &use->next;
    c->first = use;
    c->n++;
    return OK;
}

struct conf *confs_hold(struct conf *conf)
{
    ensure(conf->use->users > 0);
    conf->use->users++;
    return conf;
}

void confs_drop(struct conf **cp)
{
    struct conf *conf = take(cp);

    if (conf == NULL)
        return;
    struct conf_use *use = conf->use;
    ensure(use->users > 0);
    if (--use->users == 0)
        use->end = loop_defer(use->confs->loop, on_end, use);
}

struct upstream *confs_upstream(const struct conf *conf, const struct conf_provider *provider)
{
    return conf->use->egress[provider - conf->providers]->upstream;
}

void confs_zones_changed(struct confs *c)
{
    for (struct conf_use *use = c->first; use != NULL; use = use->next)
        policy_forget(&use->conf->policy);
}

size_t confs_count(const struct confs *c)
{
    return c->n;
}

struct confs *confs_new(struct loop *loop)
{
    struct confs *c = xcalloc(1, sizeof(*c));
    c->loop = loop;
    return c;
}

void confs_free(struct confs **cp)
{
    struct confs *c = take(cp);

    if (c == NULL)
        return;
    for (struct conf_use *use = c->first, *next; use != NULL; use = next) {
        next = use->next;
        use_end(use);
    }
    free(c);
}

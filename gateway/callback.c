/*
 * State callbacks for kept messages.  A URL from a client is dialled only when
 * its origin stands in the configuration (callbacks.allow), and then through the
 * same guarded egress as a provider.  Not the record: after three tries it is
 * given up, with a log line; the application can still ask by the message's id.
 */
#include "callback.h"

#include <stdio.h>
#include <stdlib.h>

#include "kept_row.h"
#include "postern/log.h"

#define TRIES_MAX   3
#define ORIGINS_MAX 64
#define BATCH_TURN  32    /* of a batch, at a time: reading a body with a thousand numbers takes 25 us */
#define POST_MS     15000 /* Twilio gives an application 15 s to answer */

static const int64_t wait_ms[TRIES_MAX] = {0, 5000, 30000};

struct origin {
    char *text;
    struct upstream *upstream;
};

/* Rows that are still to be posted. */
struct batch {
    struct callbacks *owner;
    struct batch *next, **prev;
    struct arena arena;
    struct deferred *rows;
    enum reason *reasons;
    size_t n, at;
    struct loop_task *task;
};

struct callbacks {
    struct gateway *g;
    struct origin origins[ORIGINS_MAX];
    size_t n_origins;
    struct post *posts;
    struct batch *batches;
};

struct post {
    struct callbacks *owner;
    struct post *next, **prev;
    struct arena arena;
    struct upstream *upstream;
    struct upstream_op *op;
    struct loop_task *timer;
    struct outgoing out;
    unsigned tries;
};

static void post_free(struct post *p)
{
    *p->prev = p->next;
    if (p->next != NULL)
        p->next->prev = p->prev;
    upstream_op_cancel(&p->op);
    loop_cancel(&p->timer);
    arena_clear(&p->arena);
    free(p);
}

static void try_post(void *arg);

static void on_posted(void *arg, const struct upstream_result *u)
{
    struct post *p = arg;

    p->op = NULL;
    bool done = u->status == UPSTREAM_ANSWERED && u->http_status < 500;
    if (!done && p->tries < TRIES_MAX) {
        p->timer = loop_after(p->owner->g->loop, wait_ms[p->tries], try_post, p);
        return;
    }
    if (!done)
        log_line(LOG_WARN, NULL, "callback", "given_up", "status=%d reason=%s", u->http_status, u->reason);
    post_free(p);
}

static void try_post(void *arg)
{
    struct post *p = arg;
    struct upstream_field fields[OUTGOING_FIELDS];

    p->timer = NULL;
    p->tries++;
    for (size_t i = 0; i < p->out.n_fields; i++)
        fields[i] = (struct upstream_field){p->out.fields[i].name, p->out.fields[i].value};
    struct upstream_request r = {
        .method = slice_eq_cstr(p->out.method, "GET") ? "GET" : "POST",
        .path_and_query = p->out.path_and_query,
        .headers = fields,
        .n_headers = p->out.n_fields,
        .body = p->out.body,
        .deadline_ms = POST_MS,
    };
    p->op = upstream_send(p->upstream, &r, on_posted, p);
}

/* "https://app.example/x" belongs to "https://app.example" and not to "https://app.example.evil". */
static bool is_of_origin(struct slice url, const char *origin)
{
    size_t n = strlen(origin);
    return slice_starts(url, origin) && (url.n == n || url.p[n] == '/' || url.p[n] == '?');
}

static struct upstream *open_origin(struct callbacks *c, const char *text)
{
    struct upstream_options o = {.name = "callback", .url = text};
    struct errmsg e;

    for (size_t i = 0; i < c->n_origins; i++) {
        if (strcmp(text, c->origins[i].text) == 0)
            return c->origins[i].upstream;
    }
    if (c->n_origins == ORIGINS_MAX)
        return NULL;
    struct upstream *u = upstream_new(c->g->loop, &o, &e);
    if (u == NULL)
        log_line(LOG_WARN, NULL, "callback", "origin_refused", "why=%s", LOG_Q(slice_of(e.text)));
    else
        c->origins[c->n_origins++] = (struct origin){xstrdup(text), u};
    return u;
}

static struct upstream *upstream_for(struct callbacks *c, struct slice url)
{
    const struct conf *conf = c->g->conf;

    for (size_t i = 0; i < conf->n_callback_allow; i++) {
        if (is_of_origin(url, conf->callback_allow[i]))
            return open_origin(c, conf->callback_allow[i]);
    }
    return NULL;
}

static bool is_allowed(const struct callbacks *c, const struct origin *o)
{
    const struct conf *conf = c->g->conf;

    for (size_t i = 0; i < conf->n_callback_allow; i++) {
        if (strcmp(o->text, conf->callback_allow[i]) == 0)
            return true;
    }
    return false;
}

static bool is_busy(const struct callbacks *c, const struct origin *o)
{
    for (const struct post *p = c->posts; p != NULL; p = p->next) {
        if (p->upstream == o->upstream)
            return true;
    }
    return false;
}

static void origin_clear(struct origin *o)
{
    upstream_free(&o->upstream);
    free(o->text);
}

void callbacks_reloaded(struct callbacks *c)
{
    for (size_t i = c->n_origins; i-- > 0;) {
        if (is_allowed(c, &c->origins[i]) || is_busy(c, &c->origins[i]))
            continue;
        origin_clear(&c->origins[i]);
        c->origins[i] = c->origins[--c->n_origins];
    }
}

bool callbacks_relayed(const struct conf *conf, const struct connector *connector)
{
    const struct conf_provider *provider = conf_route(conf, connector);
    return conf->public_url_given && connector->relay != NULL && provider != NULL && provider->connector == connector;
}

static struct upstream *allowed_upstream(struct callbacks *c, struct slice url)
{
    struct upstream *u = upstream_for(c, url);
    if (u == NULL)
        log_line(LOG_WARN, NULL, "callback", "not_allowed", "hint=%s",
                 LOG_Q(SLICE("add the origin of the StatusCallback to callbacks.allow")));
    return u;
}

/* What the post needs of the message, on the post's own arena; false: nobody is owed one. */
static bool build(struct callbacks *c, struct post *p, const struct deferred *d, enum kept_state state,
                  enum reason reason)
{
    const struct connector *connector = connector_get(d->submission.dialect);
    const struct conf_key *key = conf_key_named(c->g->conf, d->key);
    struct kept_message kept = kept_row(d);
    struct slice url = {0};

    if (connector == NULL || connector->callback == NULL || key == NULL)
        return false;
    kept.id = arena_slice(&p->arena, kept.id);
    kept.body = arena_slice(&p->arena, kept.body);
    kept.to = arena_slice(&p->arena, kept.to);
    kept.from = arena_slice(&p->arena, kept.from);
    kept.state = state; /* the row may be as it was before the change */
    kept.reason = reason;
    kept.relayed = callbacks_relayed(c->g->conf, connector);
    if (connector->callback(&kept, arena_slice(&p->arena, d->account), key->secret, &p->arena, &url, &p->out) != OK)
        return false;
    p->upstream = allowed_upstream(c, url);
    return p->upstream != NULL;
}

static struct post *post_new(struct callbacks *c)
{
    struct post *p = xcalloc(1, sizeof(*p));

    p->owner = c;
    p->next = c->posts;
    p->prev = &c->posts;
    if (p->next != NULL)
        p->next->prev = &p->next;
    c->posts = p;
    arena_init(&p->arena, LIMIT_ARENA_BYTES);
    return p;
}

void callbacks_post(struct callbacks *c, const struct deferred *d, enum kept_state state, enum reason reason)
{
    struct post *p = post_new(c);

    if (build(c, p, d, state, reason))
        try_post(p);
    else
        post_free(p);
}

static void batch_free(struct batch *b)
{
    *b->prev = b->next;
    if (b->next != NULL)
        b->next->prev = b->prev;
    loop_cancel(&b->task);
    arena_clear(&b->arena);
    free(b);
}

static void on_batch(void *arg)
{
    struct batch *b = arg;

    b->task = NULL;
    for (size_t i = 0; i < BATCH_TURN && b->at < b->n; i++, b->at++)
        callbacks_post(b->owner, &b->rows[b->at], KEPT_FAILED, b->reasons[b->at]);
    if (b->at < b->n)
        b->task = loop_after(b->owner->g->loop, 1, on_batch, b);
    else
        batch_free(b);
}

/* What callbacks_post reads of rows of one submission; false: it needs more memory than it may have. */
static bool batch_copy(struct batch *b, const struct deferred *rows, const enum reason *reasons)
{
    const struct deferred *first = &rows[0];
    struct slice body = arena_slice(&b->arena, first->submission.body), key = arena_slice(&b->arena, first->key);
    struct slice sender = arena_slice(&b->arena, first->sender), account = arena_slice(&b->arena, first->account);

    b->rows = arena_calloc(&b->arena, b->n, sizeof(*b->rows));
    b->reasons = arena_calloc(&b->arena, b->n, sizeof(*b->reasons));
    if (body.p == NULL || key.p == NULL || b->rows == NULL || b->reasons == NULL)
        return false;
    for (size_t i = 0; i < b->n; i++) {
        struct deferred *d = &b->rows[i];
        *d = rows[i];
        d->kept_id = arena_slice(&b->arena, rows[i].kept_id);
        d->key = key;
        d->sender = sender;
        d->account = account;
        d->submission.body = body;
        b->reasons[i] = reasons[i];
        if (d->kept_id.p == NULL)
            return false;
    }
    return true;
}

void callbacks_post_failed(struct callbacks *c, const struct deferred *rows, const enum reason *reasons, size_t n)
{
    struct batch *b = xcalloc(1, sizeof(*b));

    b->owner = c;
    b->n = n;
    b->next = c->batches;
    b->prev = &c->batches;
    if (b->next != NULL)
        b->next->prev = &b->next;
    c->batches = b;
    arena_init(&b->arena, LIMIT_ARENA_BYTES);
    if (batch_copy(b, rows, reasons)) {
        b->task = loop_defer(c->g->loop, on_batch, b);
        return;
    }
    log_line(LOG_WARN, NULL, "callback", "given_up", "reason=\"a submission that is too large to be told of\" n=%zu",
             n);
    batch_free(b);
}

void callbacks_send(struct callbacks *c, struct slice url, const struct outgoing *out)
{
    struct upstream *upstream = allowed_upstream(c, url);

    if (upstream == NULL)
        return;
    struct post *p = post_new(c);
    p->upstream = upstream;
    p->out = *out;
    p->out.method = arena_slice(&p->arena, out->method);
    p->out.path_and_query = arena_slice(&p->arena, out->path_and_query);
    p->out.body = arena_slice(&p->arena, out->body);
    for (size_t i = 0; i < out->n_fields; i++)
        p->out.fields[i] = (struct wire_field){arena_slice(&p->arena, out->fields[i].name),
                                               arena_slice(&p->arena, out->fields[i].value)};
    try_post(p);
}

struct callbacks *callbacks_new(struct gateway *g)
{
    struct callbacks *c = xcalloc(1, sizeof(*c));
    c->g = g;
    return c;
}

void callbacks_free(struct callbacks **cp)
{
    struct callbacks *c = take(cp);
    if (c == NULL)
        return;
    for (struct batch *b = c->batches, *next; b != NULL; b = next) {
        next = b->next;
        batch_free(b);
    }
    for (struct post *p = c->posts, *next; p != NULL; p = next) {
        next = p->next;
        post_free(p);
    }
    for (size_t i = 0; i < c->n_origins; i++)
        origin_clear(&c->origins[i]);
    free(c);
}

/*
 * Posts that a provider makes about messages that we released: to the provider
 * they have its id, to the application ours.  Nobody is let in by a key here: the
 * provider's signature over the whole URL and form is what counts, and is looked
 * at before anything else is.
 */
#include "callback.h"

#include "postern/log.h"
#include "submission.h"

struct relaying {
    struct gateway *g;
    struct conf *conf; /* held: the login is of it */
    struct http_request *r;
    const struct connector *connector;
    const struct provider_login *login;
    struct wire_request wire;
    struct store_deferred_list list;
};

static void reply_text(struct http_request *r, int status, struct slice text)
{
    http_reply(r, &(struct http_reply){.status = status, .content_type = "text/plain; charset=utf-8", .body = text});
}

/* It was looked up: what came of it goes to the provider, and on to the application. */
static void relay(struct relaying *x, enum err status)
{
    const struct deferred *d = x->list.rows;
    struct slice url;
    struct outgoing out;

    if (status != OK) {
        reply_text(x->r, 503, SLICE("the store of record does not answer; post it again later\n"));
        return;
    }
    const struct conf_key *key = x->list.n == 1 ? conf_key_named(x->conf, d->key) : NULL;
    if (key == NULL) {
        reply_text(x->r, 404, SLICE("no such message\n"));
        return;
    }
    struct relay_options options = {.login = x->login, .id = d->kept_id, .account = d->account, .secret = key->secret};
    enum err err = x->connector->relay(&x->wire, &options, x->r->arena, &url, &out);
    if (err == OK)
        callbacks_send(x->g->callbacks, url, &out);
    else
        log_line(LOG_WARN, NULL, "callback", "not_relayed", "dialect=%s status=%d", x->connector->name, err);
    /* It was received, whatever becomes of it: posting it once more would change nothing. */
    http_reply(x->r, &(struct http_reply){.status = 204});
}

static void on_found(enum err status, void *arg)
{
    struct relaying *x = arg;
    struct conf *conf = x->conf; /* x goes with the answer */

    relay(x, status);
    confs_drop(&conf);
}

static void look_up(struct gateway *g, struct http_request *r, const struct connector *connector, struct slice id)
{
    const struct conf_provider *provider = conf_route(g->conf, connector);
    struct relaying *x = arena_calloc(r->arena, 1, sizeof(*x));
    const char *url = arena_printf(r->arena, "%s%.*s%s%.*s", g->conf->public_url, SLICE_ARG(r->path),
                                   r->query.n > 0 ? "?" : "", SLICE_ARG(r->query));

    if (x == NULL || url == NULL || submission_http_wire(r, r->arena, &x->wire) != OK) {
        reply_text(r, 413, SLICE("too much\n"));
        return;
    }
    if (provider == NULL || !connector->is_genuine(&x->wire, slice_of(url), &provider->login, r->arena)) {
        log_line(LOG_WARN, NULL, "callback", "not_genuine", "dialect=%s peer=%s", connector->name, r->peer);
        reply_text(r, 403, SLICE("the provider's signature does not hold\n"));
        return;
    }
    x->g = g;
    x->conf = confs_hold(g->conf);
    x->r = r;
    x->connector = connector;
    x->login = &provider->login;
    x->list = (struct store_deferred_list){
        .r = {.kind = STORE_DEFERRED_LIST, .cb = on_found, .arg = x},
        .arena = r->arena,
        .kept_id = id,
        .max = 1,
    };
    store_submit(g->store, &x->list.r);
}

bool callback_in_on_request(struct gateway *g, struct http_request *r)
{
    static const struct http_header allow = {SLICE_INIT("Allow"), SLICE_INIT("POST")};
    const size_t n = sizeof(CALLBACK_IN_PREFIX) - 1;

    if (!slice_starts(r->path, CALLBACK_IN_PREFIX))
        return false;
    struct slice rest = {r->path.p + n, r->path.n - n};
    const char *slash = memchr(rest.p, '/', rest.n);
    struct slice dialect = {rest.p, slash != NULL ? (size_t)(slash - rest.p) : 0};
    const struct connector *connector = connector_get(dialect);
    if (slash == NULL || slash + 1 == rest.p + rest.n || connector == NULL || !callbacks_relayed(g->conf, connector))
        reply_text(r, 404, SLICE("no provider posts here\n"));
    else if (r->method != HTTP_POST)
        http_reply(r, &(struct http_reply){.status = 405, .headers = &allow, .n_headers = 1});
    else
        look_up(g, r, connector, (struct slice){slash + 1, rest.n - dialect.n - 1});
    return true;
}

/*
 * Everything of a provider's API that is not a send: asked for a message that we
 * keep, we answer; asked for anything else, the provider does, with our login in
 * place of the application's.  Each call is audited; none is evaluated.
 */
#include "kept.h"

#include <stdio.h>
#include <stdlib.h>

#include "callback.h"
#include "kept_row.h"
#include "postern/clock.h"
#include "postern/log.h"
#include "release.h"
#include "submission.h"

#define LIST_MAX         50
#define ANSWER_MAX_BYTES 16777216u /* of a call that is passed through: lists, exports */

struct kept_call {
    struct gateway *g;
    struct conf *conf; /* held: in force when it came */
    struct http_request *r;
    const struct connector *connector;
    struct route route;
    const struct conf_key *key;
    struct wire_request wire;
    struct kept_change change;
    struct store_deferred_list list;
    struct store_deferred_change request;
    struct kept_message *kept;
    size_t n_kept;
    struct slice their_id; /* of a message that we released: what its provider calls it; the call goes there */
};

struct audit {
    struct arena arena;
    struct store_audit_note note;
};

static void on_audited(enum err status, void *arg)
{
    struct audit *a = arg;
    if (status != OK)
        log_line(LOG_WARN, NULL, "pass", "not_audited", "status=%d", status);
    arena_clear(&a->arena);
    free(a);
}

static void audit_pass(const struct kept_call *c, int status)
{
    struct audit *a = xcalloc(1, sizeof(*a));
    struct buf b;

    arena_init(&a->arena, LIMIT_ARENA_BYTES);
    buf_init(&b, &a->arena, 8192);
    buf_add_cstr(&b, "{\"dialect\":");
    buf_add_json(&b, slice_of(c->connector->name));
    buf_add_cstr(&b, ",\"key\":");
    buf_add_json(&b, slice_of(c->key->name));
    buf_add_cstr(&b, ",\"method\":");
    buf_add_json(&b, c->wire.method);
    buf_printf(&b, ",\"status\":%d}", status);
    a->note = (struct store_audit_note){
        .r = {.kind = STORE_AUDIT_NOTE, .cb = on_audited, .arg = a},
        .now_ms = clock_wall_ms(),
        .kind = SLICE("pass"),
        .json = buf_slice(&b),
        .path = arena_slice(&a->arena, c->wire.path), /* SendGrid's suppressions have an address in it */
    };
    store_submit(c->g->store, &a->note.r);
}

static void fault(struct kept_call *c, enum fault_kind kind, const char *text)
{
    struct fault f = {.kind = kind, .retry_after_ms = kind == FAULT_UPSTREAM_DOWN ? 30000 : 5000};
    errmsg_set(&f.message, "%s", text);
    confs_drop(&c->conf);
    submission_http_fault(c->g, c->r, c->connector, &c->route, &f);
}

static void answer(struct kept_call *c, const struct provider_answer *provider)
{
    struct wire_reply w = {0};

    if (c->connector->kept_reply(&c->route, c->kept, c->n_kept, provider, c->r->arena, &w) == OK) {
        confs_drop(&c->conf);
        submission_http_reply(c->r, &w);
        return;
    }
    fault(c, FAULT_INTERNAL, "the answer needs more memory than it may have");
}

/* An account's own resource shows the token that we log in with (Twilio's auth_token): it is not the application's. */
static struct slice without_secret(struct slice body, struct slice secret, struct arena *a)
{
    char *copy = NULL;

    for (size_t at = 0; secret.n > 0 && at < body.n; at += secret.n) {
        const char *found = memmem(body.p + at, body.n - at, secret.p, secret.n);
        if (found == NULL)
            break;
        at = (size_t)(found - body.p);
        if (copy == NULL)
            copy = arena_strndup(a, body.p, body.n);
        if (copy == NULL)
            return SLICE("");
        memset(copy + at, '*', secret.n);
    }
    return copy == NULL ? body : (struct slice){copy, body.n};
}

/* --- the provider's half ------------------------------------------------------------ */

static void on_passed(void *arg, const struct upstream_result *u)
{
    struct kept_call *c = arg;

    if (u->status != UPSTREAM_ANSWERED) {
        audit_pass(c, 0);
        if (c->route.call == CALL_MESSAGE_FETCH && c->n_kept > 0)
            answer(c, NULL);
        else
            fault(c, FAULT_UPSTREAM_DOWN, "the provider does not answer");
        return;
    }
    audit_pass(c, u->http_status);
    struct wire_field *fields = arena_calloc(c->r->arena, u->n_headers, sizeof(*fields));
    for (size_t i = 0; fields != NULL && i < u->n_headers; i++)
        fields[i] = (struct wire_field){u->headers[i].name, u->headers[i].value};
    const struct conf_provider *provider = conf_route(c->conf, c->connector);
    struct slice body = without_secret(u->body, provider->login.secret, c->r->arena);
    struct provider_answer p = {
        .status = u->http_status, .fields = fields, .n_fields = fields != NULL ? u->n_headers : 0, .body = body};
    answer(c, &p);
}

/* The call as it is to be passed: of a message that we released, under the provider's own id. */
static enum err provider_call(const struct kept_call *c, struct wire_request *out)
{
    struct slice path = c->wire.path, id = c->route.id;

    *out = c->wire;
    if (c->their_id.n == 0)
        return OK;
    size_t at = (size_t)(id.p - path.p); /* the route's id lies in the path */
    out->path = slice_of(arena_printf(c->r->arena, "%.*s%.*s%.*s", (int)at, path.p, SLICE_ARG(c->their_id),
                                      (int)(path.n - at - id.n), id.p + id.n));
    return out->path.p != NULL ? OK : ERR_LIMIT;
}

static void pass(struct kept_call *c)
{
    const struct conf_provider *provider = conf_route(c->conf, c->connector);
    struct wire_request call;
    struct outgoing out = {0};
    struct upstream_field fields[OUTGOING_FIELDS];

    if (provider == NULL) {
        fault(c, FAULT_FORBIDDEN, "no provider of this kind is configured");
        return;
    }
    if (provider->connector == NULL) {
        if (c->route.call == CALL_PASS ||
            (c->n_kept == 0 && c->route.call != CALL_MESSAGE_LIST && c->route.call != CALL_BATCH_CHANGE))
            fault(c, FAULT_NOT_FOUND,
                  c->route.call == CALL_PASS ? "the sandbox keeps messages and has no other API" : "");
        else
            answer(c, NULL);
        return;
    }
    if (provider_call(c, &call) != OK ||
        c->connector->pass(&call, &c->route, &provider->login, c->r->arena, &out) != OK) {
        fault(c, FAULT_SYNTAX, "the call cannot be passed on: a value holds control characters");
        return;
    }
    for (size_t i = 0; i < out.n_fields; i++)
        fields[i] = (struct upstream_field){out.fields[i].name, out.fields[i].value};
    struct upstream_request r = {
        .method = http_method_name(c->r->method),
        .path_and_query = out.path_and_query,
        .headers = fields,
        .n_headers = out.n_fields,
        .body = out.body,
        .max_answer_bytes = ANSWER_MAX_BYTES,
        .at_most_once = out.at_most_once,
    };
    /* Nothing cancels it: the request lives until its answer. */
    ignore(upstream_send(confs_upstream(c->conf, provider), &r, on_passed, c));
}

/* --- our half ------------------------------------------------------------------------ */

static bool take_rows(struct kept_call *c, const struct deferred *rows, size_t n)
{
    c->kept = arena_calloc(c->r->arena, n, sizeof(*c->kept));
    if (c->kept == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        c->kept[i] = kept_row(&rows[i]);
    c->n_kept = n;
    return true;
}

static void on_changed(enum err status, void *arg)
{
    struct kept_call *c = arg;
    bool batch = c->route.call == CALL_BATCH_CHANGE;

    if (status == ERR_CONFLICT) {
        fault(c, FAULT_CONFLICT, "the message is not waiting any more and cannot be changed");
        return;
    }
    if (status != OK && status != ERR_NOT_FOUND) {
        fault(c, FAULT_UNAVAILABLE, "the store of record does not answer");
        return;
    }
    size_t n = status == OK ? c->request.n : 0;
    if (!take_rows(c, c->request.rows, n)) {
        fault(c, FAULT_UNAVAILABLE, "the answer needs more memory than it may have");
        return;
    }
    for (size_t i = 0; i < n && c->change.action == KEPT_CANCEL; i++) {
        metrics_release(c->g->metrics, "cancelled");
        callbacks_post(c->g->callbacks, &c->request.rows[i], KEPT_CANCELLED, REASON_CANCELLED);
    }
    releaser_wake(c->g->releaser);
    /* A batch may be ours and the provider's: it hears of it too.  A message is one or the other's. */
    if (batch || n == 0)
        pass(c);
    else
        answer(c, NULL);
}

static bool action_of(enum kept_action action, enum deferred_action *out)
{
    switch (action) {
    case KEPT_CANCEL:
        *out = DEFERRED_DO_CANCEL;
        return true;
    case KEPT_PAUSE:
        *out = DEFERRED_DO_PAUSE;
        return true;
    case KEPT_RESUME:
        *out = DEFERRED_DO_RESUME;
        return true;
    case KEPT_REDACT:
        *out = DEFERRED_DO_REDACT;
        return true;
    case KEPT_READ:
        return false;
    }
    never("an action");
}

static void change(struct kept_call *c)
{
    enum deferred_action action;
    bool batch = c->route.call == CALL_BATCH_CHANGE;

    if (!action_of(c->change.action, &action)) {
        answer(c, NULL); /* a POST that changes nothing: the message as it is */
        return;
    }
    c->request = (struct store_deferred_change){
        .r = {.kind = STORE_DEFERRED_CHANGE, .cb = on_changed, .arg = c},
        .arena = c->r->arena,
        .kept_id = batch ? (struct slice){0} : c->route.id,
        .batch_id = c->change.batch_id,
        .key = slice_of(c->key->name),
        .action = action,
        .actor = slice_of(c->key->name),
        .reason = REASON_CANCELLED,
        .now_ms = clock_wall_ms(),
    };
    store_submit(c->g->store, &c->request.r);
}

/* Released to the provider, under an id of its own there: the provider knows best, and must hear of a change. */
static bool is_theirs(const struct kept_call *c)
{
    const struct conf_provider *provider = conf_route(c->conf, c->connector);
    return c->route.call != CALL_MESSAGE_LIST && c->list.n == 1 && c->list.rows[0].provider_id.n > 0 &&
           provider != NULL && provider->connector == c->connector;
}

static void on_listed(enum err status, void *arg)
{
    struct kept_call *c = arg;

    if (status != OK || !take_rows(c, c->list.rows, c->list.n)) {
        fault(c, FAULT_UNAVAILABLE, "the store of record does not answer");
        return;
    }
    if (is_theirs(c))
        c->their_id = c->list.rows[0].provider_id;
    bool ours = c->n_kept > 0 && c->their_id.n == 0;
    if (c->route.call == CALL_MESSAGE_LIST || c->route.call == CALL_PASS || !ours)
        pass(c);
    else if (c->route.call == CALL_MESSAGE_FETCH)
        answer(c, NULL);
    else
        change(c);
}

static void look_up(struct kept_call *c)
{
    bool list = c->route.call == CALL_MESSAGE_LIST;

    c->list = (struct store_deferred_list){
        .r = {.kind = STORE_DEFERRED_LIST, .cb = on_listed, .arg = c},
        .arena = c->r->arena,
        .kept_id = list ? (struct slice){0} : c->route.id,
        .account = c->route.account,
        .states = list ? 1u << DEFERRED_WAITING | 1u << DEFERRED_PAUSED | 1u << DEFERRED_LEASED : 0,
        .max = list ? LIST_MAX : 1,
        .with_submission = true,
    };
    store_submit(c->g->store, &c->list.r);
}

static void begin_change(struct kept_call *c)
{
    struct fault f = {0};

    if (c->connector->change(&c->wire, &c->route, c->r->arena, &c->change, &f) != OK) {
        confs_drop(&c->conf);
        submission_http_fault(c->g, c->r, c->connector, &c->route, &f);
        return;
    }
    if (c->route.call == CALL_BATCH_CHANGE)
        change(c);
    else
        look_up(c);
}

void kept_on_request(struct gateway *g, struct http_request *r, const struct connector *connector,
                     const struct route *route, const struct conf_key *key)
{
    struct kept_call *c = arena_alloc(r->arena, sizeof(*c));

    ensure(c != NULL); /* the request's arena is fresh: a struct fits */
    *c = (struct kept_call){
        .g = g, .r = r, .conf = confs_hold(g->conf), .connector = connector, .route = *route, .key = key};
    if (submission_http_wire(r, r->arena, &c->wire) != OK) {
        fault(c, FAULT_TOO_LARGE, "too many header fields");
        return;
    }
    switch (route->call) {
    case CALL_MESSAGE_FETCH:
    case CALL_MESSAGE_LIST:
        look_up(c);
        return;
    case CALL_MESSAGE_CHANGE:
    case CALL_BATCH_CHANGE:
        begin_change(c);
        return;
    case CALL_PASS:
        if (c->route.id.n > 0)
            look_up(c);
        else
            pass(c);
        return;
    case CALL_NONE:
    case CALL_SEND:
        break;
    }
    never("a call that is kept's");
}

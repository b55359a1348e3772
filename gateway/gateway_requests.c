/*
 * Where a request goes: operations, providers' callbacks, native API, pages, and what is left to the dialects, once it
 * has logged in and there is room for it.  Knows whose a path is, and of what is behind it only the first call.
 */
#include "gateway_parts.h"

#include "api.h"
#include "callback.h"
#include "kept.h"
#include "pages.h"
#include "postern/clock.h"
#include "postern/hash.h"
#include "submission.h"

#define METRICS_PAGE_BYTES (8u << 20)
#define UNCOUNTED_MS       5000  /* how long a start waits for Redis to answer before it serves without counters ... */
#define COUNTING_MS        60000 /* ... and for the sends of the store to be read into it */

/* --- operations ---------------------------------------------------------------------- */

const char *gateway_unready(const struct gateway *g)
{
    const char *why = NULL;

    if (g->draining)
        return "draining";
    switch (store_health(g->store, &why)) {
    case STORE_OK:
        return NULL;
    case STORE_FULL:
    case STORE_FAILED:
        return why != NULL ? why : "the store of record does not work";
    }
    never("a health");
}

static void reply_text(struct http_request *r, int status, struct slice text)
{
    http_reply(r, &(struct http_reply){.status = status, .content_type = "text/plain; charset=utf-8", .body = text});
}

/* Made once a turn, however many ask: the page costs a hundred times what its request does. */
static struct slice metrics_page(struct gateway *g)
{
    struct gateway_page *page = &g->metrics_page;

    if (page->text.p == NULL || page->turn != loop_turns(g->loop)) {
        struct buf b;
        arena_clear(&page->arena);
        arena_init(&page->arena, METRICS_PAGE_BYTES);
        buf_init(&b, &page->arena, METRICS_PAGE_BYTES);
        metrics_loop_cost(g->metrics, loop_take_costliest_turn_us(g->loop));
        metrics_format(g->metrics, g, &b);
        page->text = b.failed ? (struct slice){0} : buf_slice(&b);
        page->turn = loop_turns(g->loop);
    }
    return page->text;
}

static void reply_metrics(struct gateway *g, struct http_request *r)
{
    struct slice text = metrics_page(g);

    if (text.p == NULL) {
        reply_text(r, 500, SLICE("the page needs more memory than it may have\n"));
        return;
    }
    http_reply(r, &(struct http_reply){
                      .status = 200, .content_type = "text/plain; version=0.0.4; charset=utf-8", .body = text});
}

static void reply_health(struct gateway *g, struct http_request *r)
{
    (void)g;
    reply_text(r, 200, SLICE("alive\n"));
}

const char *gateway_starting(struct gateway *g)
{
    int64_t since_ms = clock_mono_ms() - g->started_mono_ms;

    if (!g->has_counted) {
        struct counters_state c = counters_state(g->counters);
        metrics_publish(g->metrics, g);
        g->has_counted = metrics_counters_up(g->metrics) || since_ms >= COUNTING_MS ||
                         (since_ms >= UNCOUNTED_MS && (c.breaker_open || c.older));
    }
    return g->has_counted ? NULL : "the frequency counters are being loaded";
}

static void reply_ready(struct gateway *g, struct http_request *r)
{
    const char *why = gateway_unready(g);
    why = why == NULL ? gateway_starting(g) : why;
    char *text = why == NULL ? NULL : arena_printf(r->arena, "not ready: %s\n", why);
    reply_text(r, why == NULL ? 200 : 503, why == NULL ? SLICE("ready\n") : slice_of(text));
}

static const struct {
    const char *path;
    void (*reply)(struct gateway *g, struct http_request *r);
} operations[] = {
    {"/healthz", reply_health},
    {"/readyz", reply_ready},
    {"/metrics", reply_metrics},
};

/* True when the path is one of operations'. */
static bool operate(struct gateway *g, struct http_request *r)
{
    static const struct http_header allow = {SLICE_INIT("Allow"), SLICE_INIT("GET, HEAD")};

    for (size_t i = 0; i < N_ELEMENTS(operations); i++) {
        if (!slice_eq_cstr(r->path, operations[i].path))
            continue;
        if (r->method == HTTP_GET || r->method == HTTP_HEAD)
            operations[i].reply(g, r);
        else
            http_reply(r, &(struct http_reply){.status = 405, .headers = &allow, .n_headers = 1});
        return true;
    }
    return false;
}

/* --- dialects ------------------------------------------------------------------------ */

bool gateway_credentials(struct http_request *r, struct slice *account, struct slice *secret)
{
    struct slice h = http_request_header(r, "authorization");

    *account = (struct slice){0};
    if (http_request_header_count(r, "authorization") != 1)
        return false;
    if (h.n > 7 && slice_ieq((struct slice){h.p, 7}, SLICE("bearer "))) {
        *secret = slice_trim((struct slice){h.p + 7, h.n - 7});
        return true;
    }
    if (h.n <= 6 || !slice_ieq((struct slice){h.p, 6}, SLICE("basic ")))
        return false;
    struct slice pair = hash_unbase64(r->arena, slice_trim((struct slice){h.p + 6, h.n - 6}));
    const char *colon = pair.p != NULL ? memchr(pair.p, ':', pair.n) : NULL;
    if (colon == NULL)
        return false;
    *account = (struct slice){pair.p, (size_t)(colon - pair.p)};
    *secret = (struct slice){colon + 1, pair.n - account->n - 1};
    return true;
}

static const struct conf_key *key_of(struct gateway *g, struct http_request *r, const struct route *route)
{
    struct slice account, secret;
    const struct conf_key *key;

    if (!gateway_credentials(r, &account, &secret))
        return NULL;
    key = conf_authenticate(g->conf, account, secret);
    if (key == NULL || (key->roles & ROLE_SENDER) == 0)
        return NULL;
    /* Twilio's path names the account once more: both must be the key's. */
    if (route->account.n > 0 && (key->account == NULL || !slice_eq_cstr(route->account, key->account)))
        return NULL;
    return key;
}

static void refuse(struct gateway *g, struct http_request *r, const struct connector *c, const struct route *route,
                   enum fault_kind kind)
{
    struct fault f = {.kind = kind};
    const char *why = gateway_unready(g);

    if (kind == FAULT_AUTH) {
        errmsg_set(&f.message, "The provided authorization grant is invalid, expired, or revoked");
    } else if (kind == FAULT_OVERLOAD) {
        f.retry_after_ms = 2000;
        errmsg_set(&f.message, "too many requests");
    } else {
        f.retry_after_ms = 5000;
        errmsg_set(&f.message, "nothing was accepted: %s; try again later", why != NULL ? why : "not ready");
    }
    submission_http_fault(g, r, c, route, &f);
}

bool gateway_overloaded(const struct gateway *g)
{
    int64_t oldest_ms = 0;
    return g->submissions >= LIMIT_SUBMISSIONS ||
           (store_backlog(g->store, &oldest_ms) > 0 && oldest_ms > LIMIT_STORE_LAG_MS);
}

static void dialect(struct gateway *g, struct http_request *r, const struct connector *c, const struct route *route)
{
    const struct conf_key *key = key_of(g, r, route);

    if (key == NULL)
        refuse(g, r, c, route, FAULT_AUTH);
    else if (route->call != CALL_SEND)
        kept_on_request(g, r, c, route, key);
    else if (gateway_unready(g) != NULL && !g->draining)
        refuse(g, r, c, route, FAULT_UNAVAILABLE);
    else if (gateway_overloaded(g))
        refuse(g, r, c, route, FAULT_OVERLOAD);
    else
        submission_http_start(g, r, c, route, key);
}

/* --- all ----------------------------------------------------------------------------- */

void gateway_on_request(struct http_request *r, void *arg)
{
    struct gateway *g = arg;
    struct wire_request wire;
    struct route route = {0};

    loop_mark(g->loop);
    if (operate(g, r))
        return;
    if (callback_in_on_request(g, r))
        return;
    if (slice_starts(r->path, "/postern/")) {
        api_on_request(g, r);
        return;
    }
    if (pages_on_request(g, r))
        return;
    const struct connector *c = submission_http_wire(r, r->arena, &wire) == OK ? connector_for(&wire, &route) : NULL;
    if (c != NULL)
        dialect(g, r, c, &route);
    else
        reply_text(r, 404,
                   SLICE("no such path: Postern serves its providers' paths, /postern/v1/, /sandbox, /healthz, "
                         "/readyz and /metrics\n"));
}

bool gateway_shape_error(enum http_fault fault, const char *detail, struct slice path, struct arena *arena,
                         struct http_reply *reply, void *arg)
{
    static const struct wire_field none[1];
    struct wire_request wire = {.method = SLICE("POST"), .path = path, .fields = none};
    struct route route = {0};
    struct fault f = {.kind = FAULT_SYNTAX, .retry_after_ms = 2000};
    struct wire_reply w = {0};
    int status = http_fault_status(fault);

    (void)arg;
    const struct connector *c = path.n > 0 ? connector_for(&wire, &route) : NULL;
    if (c == NULL)
        return false;
    if (status == 413)
        f.kind = FAULT_TOO_LARGE;
    else if (status == 415)
        f.kind = FAULT_MEDIA_TYPE;
    else if (status == 503)
        f.kind = FAULT_UNAVAILABLE;
    errmsg_set(&f.message, "%s", detail);
    if (c->fault_reply(&f, &route, arena, &w) != OK)
        return false;
    reply->content_type = "application/json; charset=utf-8";
    reply->body = w.body;
    return true;
}

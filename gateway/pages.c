/*
 * Pages for people: which path shows what, to whom.
 *
 * Open without a key only on a loopback listener and under a loopback name: a page
 * in a browser reaches a loopback listener under its own host name (DNS rebinding),
 * and so does the world behind a reverse proxy.  Else any key's secret is the
 * password.
 */
#include "pages.h"

#include <stdlib.h>

#include "api.h"
#include "pages_codes.h"
#include "pages_html.h"
#include "pages_web.h"

#define PAGE_MAX_BYTES (8u << 20)
#define KEPT_MAX       1000u       /* as many as the store keeps */
#define ROWS_MAX_BYTES (64u << 20) /* rows come with their bodies */

struct page_call {
    struct gateway *g;
    struct http_request *r;
    uint64_t page;     /* 1.. */
    uint64_t decision; /* one message; 0: the inbox */
    struct arena arena;
    struct store_sandbox_list list;
};

/* --- answers ----------------------------------------------------------------------------- */

static void reply(struct http_request *r, int status, const struct buf *b, const struct http_header *extra)
{
    struct http_header headers[6] = {
        {SLICE("Content-Security-Policy"), SLICE("default-src 'none'; style-src 'self'; img-src 'self'; base-uri "
                                                 "'none'; form-action 'none'; frame-ancestors 'none'")},
        {SLICE("X-Content-Type-Options"), SLICE("nosniff")},
        {SLICE("Referrer-Policy"), SLICE("no-referrer")},
        {SLICE("Cache-Control"), SLICE("no-store")},
    };
    size_t n = 4;

    if (extra != NULL)
        headers[n++] = *extra;
    struct http_reply answer = {.status = status,
                                .content_type = "text/html; charset=utf-8",
                                .headers = headers,
                                .n_headers = n,
                                .body = buf_slice(b)};
    if (b->failed)
        answer = (struct http_reply){.status = 500,
                                     .content_type = "text/plain; charset=utf-8",
                                     .body = SLICE("the page needs more memory than it may have\n")};
    http_reply(r, &answer);
}

static void reply_problem(struct http_request *r, int status, const char *title, const char *detail,
                          const struct http_header *extra)
{
    struct buf b;

    buf_init(&b, r->arena, PAGE_MAX_BYTES);
    pages_problem(&b, title, detail);
    reply(r, status, &b, extra);
}

/* --- who ---------------------------------------------------------------------------------- */

static bool is_loopback_name(struct slice host)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        size_t n = strlen(names[i]);
        if (host.n >= n && slice_ieq((struct slice){host.p, n}, slice_of(names[i])) &&
            (host.n == n || host.p[n] == ':'))
            return true;
    }
    return false;
}

static bool may_see(struct gateway *g, struct http_request *r)
{
    struct slice account, secret;

    if (r->loopback_listener && is_loopback_name(r->host))
        return true;
    return gateway_credentials(r, &account, &secret) && conf_authenticate(g->conf, (struct slice){0}, secret) != NULL;
}

/* --- the sandbox --------------------------------------------------------------------------- */

static const char *empty_hint(const struct conf *c)
{
    bool leads_here = c->route[CHANNEL_EMAIL]->connector == NULL || c->route[CHANNEL_SMS]->connector == NULL;
    return leads_here ? "Send a message with a key of postern.yaml, and look again:"
                      : "No route leads to the sandbox: set routes: { email: sandbox, sms: sandbox } in postern.yaml "
                        "and restart. Then send a message with one of its keys:";
}

static void show_inbox(struct page_call *p)
{
    struct buf b;

    buf_init(&b, p->r->arena, PAGE_MAX_BYTES);
    if (p->list.n == 0)
        pages_sandbox_empty(&b, empty_hint(p->g->conf), p->g->conf->public_url);
    else
        pages_sandbox(&b, p->list.rows, p->list.n, (size_t)p->page);
    reply(p->r, 200, &b, NULL);
}

static void show_message(struct page_call *p)
{
    struct buf b;

    for (size_t i = 0; i < p->list.n; i++) {
        if (p->list.rows[i].decision != p->decision)
            continue;
        buf_init(&b, p->r->arena, PAGE_MAX_BYTES);
        pages_message(&b, &p->list.rows[i]);
        reply(p->r, 200, &b, NULL);
        return;
    }
    reply_problem(p->r, 404, "No such message", "The sandbox keeps the newest 1000 messages; this is none of them.",
                  NULL);
}

static void on_listed(enum err status, void *arg)
{
    struct page_call *p = arg;

    if (status != OK)
        reply_problem(p->r, 503, "The sandbox cannot be read",
                      "The store of record does not answer, or the messages are "
                      "too large to be shown together. Look again later.",
                      NULL);
    else if (p->decision != 0)
        show_message(p);
    else
        show_inbox(p);
    arena_clear(&p->arena);
    free(p);
}

static void sandbox(struct gateway *g, struct http_request *r, uint64_t decision)
{
    struct page_call *p = xcalloc(1, sizeof(*p));

    p->g = g;
    p->r = r;
    p->decision = decision;
    if (!api_query_number(r, "page", KEPT_MAX / PAGES_ROWS, 1, &p->page))
        p->page = 1;
    arena_init(&p->arena, ROWS_MAX_BYTES);
    p->list = (struct store_sandbox_list){
        .r = {.kind = STORE_SANDBOX_LIST, .cb = on_listed, .arg = p},
        .arena = &p->arena,
        .max = decision != 0 ? KEPT_MAX : (size_t)p->page * PAGES_ROWS + 1,
    };
    store_submit(g->store, &p->list.r);
}

/* --- the others ----------------------------------------------------------------------------- */

static void front(struct gateway *g, struct http_request *r)
{
    const char *why = gateway_unready(g);
    const struct page_value values[] = {
        {"status", why == NULL ? SLICE("Ready.") : SLICE("Not ready.")},
        {"status_detail", why == NULL ? SLICE("Messages are taken and decided.") : slice_of(why)},
        {"url", slice_of(g->conf->public_url)},
    };
    struct buf main, b;

    buf_init(&main, r->arena, PAGE_MAX_BYTES);
    buf_init(&b, r->arena, PAGE_MAX_BYTES);
    pages_fill(&main, web_index_html, values, N_ELEMENTS(values));
    pages_frame(&b, "The gate in front of your messages", false, buf_slice(&main));
    reply(r, 200, &b, NULL);
}

/* What pages are made with: the same for everybody. */
static void asset(struct http_request *r, const char *type, struct slice body)
{
    const struct http_header headers[] = {{SLICE("Cache-Control"), SLICE("max-age=300")},
                                          {SLICE("X-Content-Type-Options"), SLICE("nosniff")}};
    http_reply(
        r,
        &(struct http_reply){
            .status = 200, .content_type = type, .headers = headers, .n_headers = N_ELEMENTS(headers), .body = body});
}

static bool message_of(struct slice path, uint64_t *decision)
{
    size_t n = sizeof("/sandbox/") - 1;
    return slice_starts(path, "/sandbox/") && decision_id_parse((struct slice){path.p + n, path.n - n}, decision) &&
           *decision != 0;
}

#define CODES_PATH    "/docs/codes/"
#define OVERRIDE_PATH "/o/"

/* Where the "more_info" of a refusal leads. */
static void code_page(struct http_request *r)
{
    struct slice digits = {r->path.p + sizeof(CODES_PATH) - 1, r->path.n - (sizeof(CODES_PATH) - 1)};
    uint64_t code = 0;
    const struct pages_code *c = slice_to_u64(digits, UINT32_MAX, &code) ? pages_code_get(code) : NULL;

    if (c == NULL)
        reply_problem(r, 404, "No such code", "Codes of five digits are Twilio's own: see its documentation.", NULL);
    else
        reply_problem(r, 200, c->name, c->words, NULL);
}

/* Where the override link of a soft block leads. */
static void override_page(struct http_request *r)
{
    uint64_t decision;
    struct slice id = {r->path.p + sizeof(OVERRIDE_PATH) - 1, r->path.n - (sizeof(OVERRIDE_PATH) - 1)};

    if (decision_id_parse(id, &decision))
        reply_problem(r, 200, "Blocked by the recipient's preferences",
                      "This version does not take overrides yet. Schedule the message for the time that the answer "
                      "named, or ask posternctl explain what stands against it.",
                      NULL);
    else
        reply_problem(r, 404, "No such decision", "The link of an override ends in the decision's id, dec_...", NULL);
}

/* Pages that say only what is documented: open to whoever holds the link. */
static bool linked_from_answers(struct http_request *r)
{
    static const struct http_header allow = {SLICE("Allow"), SLICE("GET, HEAD")};
    bool is_code = slice_starts(r->path, CODES_PATH);

    if (!is_code && !slice_starts(r->path, OVERRIDE_PATH))
        return false;
    if (r->method != HTTP_GET && r->method != HTTP_HEAD)
        reply_problem(r, 405, "Only to be read", "This page is read with GET.", &allow);
    else if (is_code)
        code_page(r);
    else
        override_page(r);
    return true;
}

bool pages_on_request(struct gateway *g, struct http_request *r)
{
    static const struct http_header allow = {SLICE("Allow"), SLICE("GET, HEAD")};
    static const struct http_header ask = {SLICE("WWW-Authenticate"),
                                           SLICE("Basic realm=\"Postern\", charset=\"UTF-8\"")};
    bool is_front = slice_eq_cstr(r->path, "/"), is_style = slice_eq_cstr(r->path, "/style.css"),
         is_icon = slice_eq_cstr(r->path, "/icon.svg");
    bool is_sandbox = slice_eq_cstr(r->path, "/sandbox") || slice_starts(r->path, "/sandbox/");
    uint64_t decision = 0;

    if (linked_from_answers(r))
        return true;
    if (!is_front && !is_style && !is_icon && !is_sandbox)
        return false;
    if (r->method != HTTP_GET && r->method != HTTP_HEAD)
        reply_problem(r, 405, "Only to be read", "This page is read with GET.", &allow);
    else if (is_style)
        asset(r, "text/css; charset=utf-8", web_style_css);
    else if (is_icon)
        asset(r, "image/svg+xml", web_icon_svg);
    else if (is_front)
        front(g, r);
    else if (!may_see(g, r))
        reply_problem(r, 401, "Who is there?",
                      "The password is the secret of any key of postern.yaml; the name is free.", &ask);
    else if (r->path.n > sizeof("/sandbox") - 1 && !message_of(r->path, &decision))
        reply_problem(r, 404, "No such message", "Messages are listed at /sandbox.", NULL);
    else
        sandbox(g, r, decision);
    return true;
}

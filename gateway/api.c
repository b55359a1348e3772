/*
 * The native API's front: a table of routes, who may call them, bodies, answers,
 * problem details.  Knows no resource by its inside: each is a row here and a
 * function in api_*.c.
 *
 * Paths are matched segment by segment; "{id}" takes any segment, decoded.
 */
#include "api.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "api_json.h"
#include "postern/json.h"

#define PREFIX           "/postern/v1/"
#define ANSWER_MAX_BYTES (8u << 20)
#define ANYBODY          0u
#define ANY_KEY          (ROLE_SENDER | ROLE_AGENT | ROLE_ADMIN)
#define STAFF            (ROLE_AGENT | ROLE_ADMIN)
#define RETRY_AFTER_S    "5"

static const struct route_row {
    enum http_method method;
    const char *path; /* below PREFIX */
    uint32_t roles;   /* one of them is needed; ANYBODY: not even a key */
    void (*call)(struct api_call *c);
} routes[] = {
    {HTTP_GET, "contacts/{id}", STAFF, api_contact_get},
    {HTTP_PUT, "contacts/{id}", ANY_KEY, api_contact_put},
    {HTTP_POST, "contacts/{id}/consents", ANY_KEY, api_consent_post},
    {HTTP_POST, "opt-outs", ANY_KEY, api_opt_out_post},
    {HTTP_POST, "decisions", ANY_KEY, api_decision_post},
    {HTTP_GET, "decisions/{id}", ANY_KEY, api_decision_get},
    {HTTP_GET, "deferred", ANY_KEY, api_deferred_get},
    {HTTP_POST, "deferred/{id}/release", ANY_KEY, api_deferred_post},
    {HTTP_POST, "deferred/{id}/cancel", ANY_KEY, api_deferred_post},
    {HTTP_POST, "overrides/{id}", STAFF, api_override_post},
    {HTTP_GET, "sandbox/messages", ANY_KEY, api_sandbox_get},
    {HTTP_PUT, "test/clock", ANYBODY, api_clock_put},
};

/* --- answers -------------------------------------------------------------------------- */

static const char *title_of(int status)
{
    static const struct {
        int status;
        const char *title;
    } titles[] = {
        {400, "Bad Request"},       {401, "Unauthorized"},           {403, "Forbidden"},
        {404, "Not Found"},         {405, "Method Not Allowed"},     {409, "Conflict"},
        {413, "Content Too Large"}, {415, "Unsupported Media Type"}, {500, "Internal Server Error"},
        {501, "Not Implemented"},   {503, "Service Unavailable"},
    };
    for (size_t i = 0; i < N_ELEMENTS(titles); i++) {
        if (titles[i].status == status)
            return titles[i].title;
    }
    return "Error";
}

/* extra: one further header, or NULL. */
static void reply(struct api_call **cp, int status, const char *type, struct slice body,
                  const struct http_header *extra)
{
    struct api_call *c = take(cp);
    struct http_header headers[3] = {{SLICE("Cache-Control"), SLICE("no-store")},
                                     {SLICE("X-Content-Type-Options"), SLICE("nosniff")}};
    size_t n = 2;

    if (extra != NULL)
        headers[n++] = *extra;
    json_decref(c->body);
    confs_drop(&c->conf);
    http_reply(c->r, &(struct http_reply){
                         .status = status, .content_type = type, .headers = headers, .n_headers = n, .body = body});
}

void api_reply(struct api_call **c, int status, struct slice json)
{
    reply(c, status, "application/json", json, NULL);
}

void api_answer_init(struct api_call *c, struct buf *b)
{
    buf_init(b, c->r->arena, ANSWER_MAX_BYTES);
}

void api_answer(struct api_call **c, int status, const struct buf *b)
{
    if (b->failed)
        api_problem(c, 500, "the answer needs more memory than it may have; ask for less at a time");
    else
        api_reply(c, status, buf_slice(b));
}

/* field: path of the member that is wrong, or NULL. */
static void problem(struct api_call **c, int status, const char *field, const char *detail,
                    const struct http_header *extra)
{
    struct buf b;

    buf_init(&b, (*c)->r->arena, 8192);
    api_put_open(&b, '{');
    api_put_word(&b, "type", "about:blank");
    api_put_word(&b, "title", title_of(status));
    api_put_number(&b, "status", status);
    api_put_word(&b, "detail", detail);
    if (field != NULL)
        api_put_word(&b, "field", field);
    api_put_close(&b, '}');
    struct slice body = b.failed ? SLICE("{\"title\":\"out of memory\"}") : buf_slice(&b);
    reply(c, status, "application/problem+json", body, extra);
}

void api_problem(struct api_call **c, int status, const char *fmt, ...)
{
    static const struct http_header later = {SLICE("Retry-After"), SLICE(RETRY_AFTER_S)};
    char detail[640];
    va_list args;

    va_start(args, fmt);
    vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);
    problem(c, status, NULL, detail, status == 503 ? &later : NULL);
}

void api_problem_of_fault(struct api_call **c, const struct api_fault *f)
{
    char detail[API_FIELD_MAX + sizeof(f->why.text) + 2];

    snprintf(detail, sizeof(detail), "%s%s%s", f->field, f->field[0] != '\0' ? ": " : "", f->why.text);
    problem(c, 400, f->field[0] != '\0' ? f->field : NULL, detail, NULL);
}

void api_problem_of_store(struct api_call **c, enum err status)
{
    switch (status) {
    case ERR_NOT_FOUND:
        api_problem(c, 404, "there is no such thing");
        return;
    case ERR_CONFLICT:
        api_problem(c, 409, "it changed meanwhile; read it again and repeat the call");
        return;
    case ERR_LIMIT:
        api_problem(c, 500, "the answer needs more memory than it may have; ask for less at a time");
        return;
    case ERR_TIMEOUT:
    case ERR_UNAVAILABLE:
        api_problem(c, 503, "the store of record does not answer; nothing was changed, try again later");
        return;
    case OK:
    case ERR_SYNTAX:
    case ERR_INTERNAL:
        api_problem(c, 500, "an internal error; nothing was changed");
        return;
    }
    never("an error");
}

void *api_state(struct api_call *c, size_t bytes)
{
    void *p = arena_alloc(c->r->arena, bytes);
    ensure(p != NULL); /* the request's arena is fresh: a struct fits */
    return p;
}

/* --- queries -------------------------------------------------------------------------- */

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Percent-decoding; plus: '+' stands for a blank too.  p == NULL when it is broken, no text, or memory is gone. */
static struct slice decode(struct slice s, bool plus, struct arena *a)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;

    for (size_t i = 0; out != NULL && i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int high = i + 2 < s.n ? hex_of(s.p[i + 1]) : -1, low = i + 2 < s.n ? hex_of(s.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return (struct slice){0};
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        out[n++] = c;
    }
    struct slice decoded = {out, n};
    return out != NULL && slice_is_clean(decoded) ? decoded : (struct slice){0};
}

static struct slice cut(struct slice *rest, char at)
{
    const char *end = rest->n > 0 ? memchr(rest->p, at, rest->n) : NULL;
    size_t n = end != NULL ? (size_t)(end - rest->p) : rest->n;
    struct slice first = {rest->p, n};
    *rest = end != NULL ? (struct slice){end + 1, rest->n - n - 1} : (struct slice){0};
    return first;
}

static struct slice query_of(const struct http_request *r, const char *name)
{
    struct slice rest = r->query;

    while (rest.n > 0) {
        struct slice value = cut(&rest, '&');
        struct slice key = cut(&value, '=');
        if (slice_eq_cstr(key, name))
            return decode(value, true, r->arena);
    }
    return (struct slice){0};
}

struct slice api_query(const struct api_call *c, const char *name)
{
    return query_of(c->r, name);
}

bool api_query_number(const struct http_request *r, const char *name, uint64_t max, uint64_t fallback, uint64_t *out)
{
    struct slice s = query_of(r, name);

    *out = fallback;
    return s.p == NULL || (slice_to_u64(s, max, out) && *out > 0);
}

/* --- who ------------------------------------------------------------------------------ */

bool api_may(const struct api_call *c, uint32_t roles)
{
    return c->key != NULL && (c->key->roles & roles) != 0;
}

static const char *roles_text(uint32_t roles)
{
    if (roles == STAFF)
        return "agent or admin";
    return roles == ROLE_ADMIN ? "admin" : "sender, agent or admin";
}

static void refuse_role(struct api_call **c, uint32_t roles, const char *what)
{
    api_problem(c, 403, "%s needs a key with the role %s; this key has others", what, roles_text(roles));
}

bool api_source_allowed(struct api_call **c, enum source source)
{
    switch (source) {
    case SOURCE_CUSTOMER:
    case SOURCE_IMPORT:
    case SOURCE_SYNC:
    case SOURCE_PROVIDER:
    case SOURCE_BEHAVIOUR:
        return true;
    case SOURCE_AGENT:
        if (api_may(*c, STAFF))
            return true;
        refuse_role(c, STAFF, "source \"agent\"");
        return false;
    case SOURCE_ORGANISATION:
        if (api_may(*c, ROLE_ADMIN))
            return true;
        refuse_role(c, ROLE_ADMIN, "source \"organisation\"");
        return false;
    case SOURCE_N:
        break;
    }
    never("a source");
}

/* True when the caller may; else it is answered. */
static bool authenticate(struct api_call **cp, uint32_t roles)
{
    static const struct http_header ask = {SLICE("WWW-Authenticate"), SLICE("Bearer realm=\"postern\"")};
    struct api_call *c = *cp;
    struct slice account, secret;

    if (roles == ANYBODY)
        return true;
    if (gateway_credentials(c->r, &account, &secret))
        c->key = conf_authenticate(c->conf, (struct slice){0}, secret);
    if (c->key == NULL) {
        problem(cp, 401, NULL, "no valid key: send Authorization: Bearer <the secret of a key of postern.yaml>", &ask);
        return false;
    }
    if (api_may(c, roles))
        return true;
    refuse_role(cp, roles, "this call");
    return false;
}

/* --- the body ------------------------------------------------------------------------- */

static bool is_json(struct slice type)
{
    struct slice word = cut(&type, ';');
    return slice_ieq(slice_trim(word), SLICE("application/json"));
}

/* True when the call can go on; else it is answered. */
static bool read_body(struct api_call **cp)
{
    struct api_call *c = *cp;
    struct slice type = http_request_header(c->r, "content-type");
    struct errmsg e;

    if (c->r->body.n == 0)
        return true;
    if (c->r->body.n > LIMIT_JSON_API_BYTES) {
        api_problem(cp, 413, "the body is %zu bytes; at most %u are read", c->r->body.n, LIMIT_JSON_API_BYTES);
        return false;
    }
    if (type.p != NULL && !is_json(type)) {
        api_problem(cp, 415, "the body must be JSON: send Content-Type: application/json");
        return false;
    }
    c->body = json_parse(c->r->body, &e);
    if (c->body == NULL) {
        api_problem(cp, errno == ENOMEM ? 503 : 400, "%s", e.text);
        return false;
    }
    if (!json_is_object(c->body)) {
        api_problem(cp, 400, "the body must be a JSON object");
        return false;
    }
    return true;
}

/* --- routes --------------------------------------------------------------------------- */

/* Fills id and action when the path is the pattern's. */
static bool matches(struct slice path, const char *pattern, struct slice *id, struct slice *action)
{
    struct slice want = slice_of(pattern);
    bool after_id = false;

    *id = *action = (struct slice){0};
    while (path.n > 0 && want.n > 0) {
        struct slice have = cut(&path, '/'), segment = cut(&want, '/');
        if (slice_eq_cstr(segment, "{id}")) {
            *id = have;
            after_id = true;
        } else if (!slice_eq(have, segment)) {
            return false;
        } else if (after_id) {
            *action = have;
        }
    }
    return path.n == 0 && want.n == 0;
}

static void refuse_method(struct api_call **c, struct slice path)
{
    char allow[64] = "";
    size_t n = 0;
    struct slice id, action;

    for (size_t i = 0; i < N_ELEMENTS(routes); i++) {
        if (!matches(path, routes[i].path, &id, &action))
            continue;
        const char *name = routes[i].method == HTTP_GET ? "GET, HEAD" : http_method_name(routes[i].method);
        n += (size_t)snprintf(allow + n, sizeof(allow) - n, "%s%s", n > 0 ? ", " : "", name);
    }
    if (n == 0) {
        api_problem(c, 404, "there is no such path below " PREFIX);
        return;
    }
    char detail[128];
    snprintf(detail, sizeof(detail), "%s is not for this path; allowed: %s", http_method_name((*c)->r->method), allow);
    problem(c, 405, NULL, detail, &(struct http_header){SLICE("Allow"), slice_of(allow)});
}

static const struct route_row *find(struct api_call *c, struct slice path)
{
    enum http_method method = c->r->method == HTTP_HEAD ? HTTP_GET : c->r->method;

    for (size_t i = 0; i < N_ELEMENTS(routes); i++) {
        if (routes[i].method == method && matches(path, routes[i].path, &c->id, &c->action))
            return &routes[i];
    }
    return NULL;
}

void api_on_request(struct gateway *g, struct http_request *r)
{
    struct api_call *c = arena_alloc(r->arena, sizeof(*c));
    size_t n = sizeof(PREFIX) - 1;

    ensure(c != NULL); /* the request's arena is fresh: a struct fits */
    *c = (struct api_call){.g = g, .r = r, .conf = confs_hold(g->conf)};
    struct slice path =
        slice_starts(r->path, PREFIX) ? (struct slice){r->path.p + n, r->path.n - n} : (struct slice){0};
    const struct route_row *route = find(c, path);
    if (route == NULL) {
        if (authenticate(&c, ANY_KEY)) /* who has no key learns nothing of what is here */
            refuse_method(&c, path);
        return;
    }
    if (!authenticate(&c, route->roles) || !read_body(&c))
        return;
    c->id = decode(c->id, false, r->arena);
    if (strstr(route->path, "{id}") != NULL && (c->id.n == 0 || c->id.n > API_NAME_MAX))
        api_problem(&c, 400, "the id in the path must be 1 to %u bytes of UTF-8 without control characters",
                    API_NAME_MAX);
    else
        route->call(c);
}

/*
 * HTTP requests as submissions: what a request becomes for its dialect, and what
 * a dialect's answer becomes on the wire.  Knows nothing of how it is decided.
 */
#include "submission.h"

enum err submission_http_wire(const struct http_request *r, struct arena *a, struct wire_request *out)
{
    struct wire_field *fields = arena_calloc(a, r->n_headers, sizeof(*fields));
    if (fields == NULL)
        return ERR_LIMIT;
    for (size_t i = 0; i < r->n_headers; i++)
        fields[i] = (struct wire_field){r->headers[i].name, r->headers[i].value};
    *out = (struct wire_request){
        .method = slice_of(http_method_name(r->method)),
        .path = r->path,
        .query = r->query,
        .fields = fields,
        .n_fields = r->n_headers,
        .body = r->body,
    };
    return OK;
}

/* Fields that belong to the provider's connection (RFC 9110 7.6.1), beside those that the listener writes itself. */
static bool belongs_to_connection(struct slice name)
{
    static const struct slice names[] = {SLICE_INIT("te"), SLICE_INIT("proxy-connection")};
    return slice_ieq_any(name, names, N_ELEMENTS(names));
}

void submission_http_reply(struct http_request *r, const struct wire_reply *w)
{
    struct http_header headers[WIRE_REPLY_FIELDS];
    char *type = NULL;

    if (w == NULL) {
        http_reply(r, &(struct http_reply){.status = 500, .close = true});
        return;
    }
    struct http_reply reply = {.status = w->status, .headers = headers, .body = w->body};
    for (size_t i = 0; i < w->n_fields; i++) {
        struct http_header h = {w->fields[i].name, w->fields[i].value};
        if (slice_ieq(h.name, SLICE("content-type")))
            type = arena_strndup(r->arena, h.value.p, h.value.n);
        else if (http_header_is_clean(h) && !belongs_to_connection(h.name))
            headers[reply.n_headers++] = h;
    }
    reply.content_type = type;
    http_reply(r, &reply);
}

static void on_answered(void *arg, const struct wire_reply *w)
{
    submission_http_reply(arg, w);
}

void submission_http_start(struct gateway *g, struct http_request *r, const struct connector *c,
                           const struct route *route, const struct conf_key *key)
{
    struct submission_ask ask = {.connector = c,
                                 .route = *route,
                                 .key = key,
                                 .arena = r->arena,
                                 .peer = r->peer,
                                 .answered = on_answered,
                                 .arg = r};

    if (submission_http_wire(r, r->arena, &ask.wire) != OK) {
        struct fault f = {.kind = FAULT_TOO_LARGE};
        errmsg_set(&f.message, "too many header fields");
        submission_http_fault(g, r, c, route, &f);
        return;
    }
    submission_start(g, &ask);
}

void submission_http_fault(struct gateway *g, struct http_request *r, const struct connector *c,
                           const struct route *route, const struct fault *f)
{
    struct wire_reply w = {0};
    bool built = submission_fault_reply(g, &(struct submission_refusal){c, route, f, r->peer}, r->arena, &w);

    submission_http_reply(r, built ? &w : NULL);
}

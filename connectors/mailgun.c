/*
 * The Mailgun dialect (v3 messages; documentation.mailgun.com and its OpenAPI
 * document of 2026-07), and Mailgun as a provider: which calls are whose, what an
 * answer means.  Reading a call that sends is mailgun_parse.c and its neighbours',
 * pruning it mailgun_forward.c's, answering mailgun_reply.c's.
 */
#include "mailgun.h"

#include <stdio.h>

#include "account.h"
#include "postern/civil.h"
#include "postern/hash.h"

#define DOMAIN_MAX 253u

/* --- calls ---------------------------------------------------------------------- */

/* Calls that name no domain where others stand.  shared: SendGrid's API has that word too. */
static const struct {
    struct slice version, word;
    bool shared;
} account_calls[] = {
    {SLICE_INIT("v1"), SLICE_INIT("analytics"), false},
    {SLICE_INIT("v1"), SLICE_INIT("dkim"), false},
    {SLICE_INIT("v1"), SLICE_INIT("keys"), false},
    {SLICE_INIT("v2"), SLICE_INIT("x509"), false},
    {SLICE_INIT("v2"), SLICE_INIT("bounce-classification"), false},
    {SLICE_INIT("v3"), SLICE_INIT("domains"), false},
    {SLICE_INIT("v3"), SLICE_INIT("routes"), false},
    {SLICE_INIT("v3"), SLICE_INIT("lists"), false},
    {SLICE_INIT("v3"), SLICE_INIT("ip_pools"), false},
    {SLICE_INIT("v3"), SLICE_INIT("ips"), true},
    {SLICE_INIT("v3"), SLICE_INIT("stats"), true},
    {SLICE_INIT("v4"), SLICE_INIT("domains"), false},
    {SLICE_INIT("v4"), SLICE_INIT("address"), false},
    {SLICE_INIT("v4"), SLICE_INIT("inbox"), false},
    {SLICE_INIT("v5"), SLICE_INIT("accounts"), false},
    {SLICE_INIT("v5"), SLICE_INIT("sandbox"), false},
    {SLICE_INIT("v5"), SLICE_INIT("users"), false},
};

/* Does it log in as Mailgun's clients do, "api:<key>"?  SendGrid's send a Bearer. */
static bool logs_in_as_api(const struct wire_request *r)
{
    static const char start[] = "basic YXBpO"; /* "api:" and two bits more */
    struct slice login = wire_field_get(r->fields, r->n_fields, "Authorization");
    return login.n > sizeof start - 1 && slice_ieq((struct slice){login.p, 6}, (struct slice){start, 6}) &&
           memcmp(login.p + 6, start + 6, sizeof start - 7) == 0;
}

static bool is_account_call(const struct wire_request *r, const struct wire_path *p)
{
    for (size_t i = 0; i < N_ELEMENTS(account_calls); i++) {
        if (slice_eq(p->segments[1], account_calls[i].word) && slice_eq(p->segments[0], account_calls[i].version))
            return !account_calls[i].shared || logs_in_as_api(r);
    }
    return false;
}

/* A name of hosts with a dot; an underscore is found in real ones. */
static bool is_domain(struct slice s)
{
    bool dot = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                    c == '_' || c == '.';
        if (!good)
            return false;
        dot = dot || c == '.';
    }
    return dot && s.n <= DOMAIN_MAX;
}

/* Of /v3/<domain>/<word>, and what may follow. */
static enum call match_domain(const struct wire_request *r, const struct wire_path *p, struct route *out)
{
    out->domain = p->segments[1];
    enum wire_match messages = p->n > 2 ? wire_segment_match(p->segments[2], "messages") : WIRE_OTHER;
    enum wire_match mime = p->n > 2 ? wire_segment_match(p->segments[2], "messages.mime") : WIRE_OTHER;
    if (messages == WIRE_OTHER && mime == WIRE_OTHER)
        return CALL_PASS;
    /* Another spelling of a call that is evaluated must not pass as one that is not. */
    if (p->trailing_slash || messages == WIRE_LIKE || mime == WIRE_LIKE)
        return CALL_NONE;
    if (!slice_eq_cstr(r->method, "POST"))
        return CALL_PASS;
    if (p->n == 4 && messages == WIRE_SAME)
        out->id = p->segments[3];
    return p->n == 3 || out->id.n > 0 ? CALL_SEND : CALL_NONE;
}

/* /v3/domains/<domain>/messages/<key>: a POST sends a stored message again, to whom it likes. */
static enum call match_stored(const struct wire_request *r, const struct wire_path *p, struct route *out)
{
    enum wire_match messages = p->n > 3 ? wire_segment_match(p->segments[3], "messages") : WIRE_OTHER;
    if (messages == WIRE_OTHER || wire_segment_match(p->segments[1], "domains") == WIRE_OTHER)
        return CALL_PASS;
    if (p->trailing_slash || messages == WIRE_LIKE)
        return CALL_NONE;
    if (!slice_eq_cstr(r->method, "POST"))
        return CALL_PASS;
    out->domain = p->segments[2];
    if (p->n == 5)
        out->id = p->segments[4];
    return p->n == 5 && is_domain(out->domain) ? CALL_SEND : CALL_NONE;
}

static enum call mailgun_match(const struct wire_request *r, struct route *out)
{
    struct wire_path p;
    *out = (struct route){.call = CALL_NONE};
    if (!wire_path_split(r->path, &p) || p.n < 2)
        return CALL_NONE;
    if (slice_eq_cstr(p.segments[0], "v3") && is_domain(p.segments[1]))
        out->call = match_domain(r, &p, out);
    else if (is_account_call(r, &p))
        out->call = match_stored(r, &p, out);
    return out->call;
}

/* --- to the provider --------------------------------------------------------------- */

enum err mailgun_outgoing_fields(const struct wire_request *r, const struct provider_login *login, struct arena *a,
                                 struct outgoing *out)
{
    static const char *const copied[] = {"Content-Type", "Accept", "User-Agent", "X-Mailgun-On-Behalf-Of", NULL};
    struct provider_login as_api = {.account = SLICE("api"), .secret = login->secret};
    return account_fields(r, copied, &as_api, a, out);
}

static enum err mailgun_pass(const struct wire_request *r, const struct route *route,
                             const struct provider_login *login, struct arena *a, struct outgoing *out)
{
    (void)route;
    *out = (struct outgoing){.method = r->method, .path_and_query = wire_target(r->path, r->query, a), .body = r->body};
    return out->path_and_query.p == NULL ? ERR_LIMIT : mailgun_outgoing_fields(r, login, a, out);
}

#define ANSWER_NODES 64 /* {"id","message"} */

static void mailgun_classify(const struct provider_answer *answer, size_t nth, struct send_result *out)
{
    struct json_node nodes[ANSWER_NODES];
    struct json_scan s = {.nodes = nodes, .cap = ANSWER_NODES};
    struct errmsg why;
    (void)nth; /* all or none */
    *out = (struct send_result){.status = SEND_UNKNOWN};
    if (answer->status >= 200 && answer->status < 300) {
        out->status = SEND_ACCEPTED;
        uint32_t id = json_scan_parse(&s, answer->body, &why) == OK ? json_scan_member(&s, 0, "id") : JSON_NONE;
        if (json_scan_is(&s, id, JSON_KIND_STRING) && !nodes[id].escaped)
            ignore(json_scan_text(&s, id, NULL, &out->provider_id)); /* no escapes: cannot fail */
    } else if (answer->status == 429) {
        out->status = SEND_RETRY;
    } else if (answer->status >= 300 && answer->status < 500) {
        out->status = SEND_REFUSED;
    }
}

/* --- the sandbox, ids, and what was passed ---------------------------------------------- */

static enum err mailgun_accept(const struct parsed *p, const struct route *route, const char *id, int64_t now_ms,
                               struct arena *a, struct wire_reply *out)
{
    (void)p;
    (void)route;
    (void)now_ms;
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    *out = (struct wire_reply){0};
    mailgun_add_queued(&b, slice_of(id));
    buf_add_cstr(&b, "}");
    wire_reply_json(out, 200, &b);
    return b.failed ? ERR_LIMIT : OK;
}

/* "<20261122092101.1aa9a4809fee1585@mg.example.com>" */
static void mailgun_mint_id(const struct parsed *p, const uint8_t random[16], char out[SID_MAX])
{
    const struct mailgun *m = p->dialect;
    char now[RFC3339_MAX], digits[RFC3339_MAX], hex[17];
    size_t n = 0;
    rfc3339_format(m->now_ms, now);
    for (size_t i = 0; i < strlen("2026-11-22T09:21:01"); i++) {
        if (now[i] >= '0' && now[i] <= '9')
            digits[n++] = now[i];
    }
    digits[n] = '\0';
    hash_hex(random, 8, hex);
    snprintf(out, SID_MAX, "<%s.%s@%.*s>", digits, hex, SLICE_ARG(m->domain)); /* SID_MAX is made for it */
}

/* Only what was passed is asked about: what Postern keeps has no place in Mailgun's API, which knows no waiting. */
static enum err mailgun_kept_reply(const struct route *route, const struct kept_message *kept, size_t n,
                                   const struct provider_answer *provider, struct arena *a, struct wire_reply *out)
{
    (void)kept;
    (void)n;
    *out = (struct wire_reply){0};
    if (provider == NULL)
        return mailgun_fault_reply(&(struct fault){.kind = FAULT_NOT_FOUND}, route, a, out);
    wire_reply_provider(out, provider);
    return OK;
}

const struct connector mailgun_connector = {
    .name = "mailgun",
    .channel = CHANNEL_EMAIL,
    .match = mailgun_match,
    .parse = mailgun_parse,
    .settle = mailgun_settle,
    .forward = mailgun_forward,
    .pass = mailgun_pass,
    .classify = mailgun_classify,
    .reply = mailgun_reply,
    .fault_reply = mailgun_fault_reply,
    .accept = mailgun_accept,
    .mint_id = mailgun_mint_id,
    .kept_reply = mailgun_kept_reply,
    .change = NULL, /* no route asks for one */
    .callback = NULL,
    .is_genuine = NULL,
    .relay = NULL,
};

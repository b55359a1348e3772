/*
 * Message create: whatever is read, the body that leaves names those numbers that were to leave, once each and in their
 * order, and nobody else; answers can be read, and an answer's ids lie in it.
 */
#include "connectors/json_scan.h"
#include "postern/connector.h"
#include "postern/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define NOW_MS INT64_C(1795341600000)

static const struct wire_field fields[] = {{{"Content-Type", 12}, {"application/json", 16}}};

static void check_json(struct slice body, struct arena *a)
{
    struct json_scan s = {.arena = a};
    struct errmsg e;
    ensure(json_scan_parse(&s, body, &e) != ERR_SYNTAX);
}

static void check_same(const struct parsed *p, const bool *send, const struct parsed *again)
{
    size_t k = 0;
    for (size_t i = 0; i < p->n_messages; i++) {
        if (!send[i])
            continue;
        ensure(k < again->n_messages);
        ensure(strcmp(p->messages[i].to.text, again->messages[k++].to.text) == 0);
    }
    ensure(k == again->n_messages);
}

static void forward_it(const struct connector *c, const struct wire_request *r, const struct route *route,
                       const struct parsed *p, uint8_t how, struct arena *a)
{
    static const struct provider_login login = {.account = {"MA9", 3}, .secret = {"x", 1}};
    struct forward_options options = {.login = &login, .now_ms = NOW_MS, .own_callback = (how & 1) != 0};
    bool *send = arena_calloc(a, p->n_messages, sizeof *send);
    struct outgoing out;
    struct wire_reply reply;
    struct parsed again;
    struct fault fault;
    if (send == NULL)
        return;
    for (size_t i = 0; i < p->n_messages; i++)
        send[i] = (how >> (1 + i % 7) & 1) == 0;
    if (c->forward(r, route, p, send, &options, a, &out) != OK)
        return;
    struct wire_request sent = *r;
    sent.body = out.body;
    enum err err = c->parse(&sent, route, NOW_MS, a, &again, &fault);
    ensure(err == OK || fault.kind == FAULT_TOO_LARGE);
    if (err == OK) {
        check_same(p, send, &again);
        ensure(!options.own_callback || again.status_callback.n == 0);
    }
    if (c->accept(p, route, "33333333-3333-4333-8333-333333333333", NOW_MS, a, &reply) == OK)
        check_json(reply.body, a);
}

static void classify_it(const struct connector *c, const struct parsed *p, struct slice body)
{
    struct provider_answer answer = {.status = 202, .body = body};
    const struct message *sent[4];
    for (size_t i = 0; i < N_ELEMENTS(sent) && i < p->n_messages; i++)
        sent[answer.n_sent++] = &p->messages[i];
    answer.sent = sent;
    for (size_t i = 0; i < 6; i++) {
        struct send_result result;
        c->classify(&answer, i, &result);
        ensure(result.provider_id.n == 0 || (result.provider_id.p > body.p && result.provider_id.p < body.p + body.n));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct connector *c = connector_get(SLICE("plivo"));
    struct arena arena;
    struct route route;
    struct parsed parsed;
    struct fault fault;
    struct wire_reply reply;
    if (n == 0)
        return 0;
    struct wire_request r = {.method = SLICE("POST"),
                             .path = SLICE("/v1/Account/MA1/Message/"),
                             .fields = fields,
                             .n_fields = 1,
                             .body = {(const char *)data + 1, n - 1}};
    arena_init(&arena, LIMIT_ARENA_BYTES);
    ensure(c->match(&r, &route) == CALL_SEND);
    if (c->parse(&r, &route, NOW_MS, &arena, &parsed, &fault) == OK)
        forward_it(c, &r, &route, &parsed, data[0], &arena);
    else if (c->fault_reply(&fault, &route, &arena, &reply) == OK)
        check_json(reply.body, &arena);
    classify_it(c, &parsed, r.body);
    arena_clear(&arena);
    return 0;
}

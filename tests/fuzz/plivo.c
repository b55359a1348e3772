/*
 * Message create: whatever is read, the body that leaves names those numbers that were to leave, once each and in their
 * order, and nobody else; answers can be read, and an answer's ids lie in it.
 */
#include "dialect.h"

static const struct wire_field json = {SLICE_INIT("Content-Type"), SLICE_INIT("application/json")};

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

static void forward_it(struct dialect *d, uint8_t how)
{
    static const struct provider_login login = {.account = SLICE_INIT("MA9"), .secret = SLICE_INIT("x")};
    struct forward_options options = {.login = &login, .now_ms = NOW_MS, .own_callback = (how & 1) != 0};
    const struct parsed *p = &d->parsed;
    bool *send = arena_calloc(&d->arena, p->n_messages, sizeof *send);
    struct outgoing out;
    struct wire_reply reply;
    struct parsed again;
    struct fault fault;
    if (send == NULL)
        return;
    (void)dialect_pick(p, (uint8_t)(how >> 1), send);
    if (d->c->forward(&d->r, &d->route, p, send, &options, &d->arena, &out) != OK)
        return;
    if (dialect_read_again(d, out.body, &again, &fault)) {
        check_same(p, send, &again);
        ensure(!options.own_callback || again.status_callback.n == 0);
    } else {
        ensure(fault.kind == FAULT_TOO_LARGE);
    }
    if (d->c->accept(p, &d->route, "33333333-3333-4333-8333-333333333333", NOW_MS, &d->arena, &reply) == OK)
        dialect_check_json(d, reply.body);
}

static void classify_it(const struct dialect *d)
{
    struct slice body = d->r.body;
    struct provider_answer answer = {.status = 202, .body = body};
    const struct message *sent[4];
    for (size_t i = 0; i < N_ELEMENTS(sent) && i < d->parsed.n_messages; i++)
        sent[answer.n_sent++] = &d->parsed.messages[i];
    answer.sent = sent;
    for (size_t i = 0; i < 6; i++) {
        struct send_result result;
        d->c->classify(&answer, i, &result);
        ensure(result.provider_id.n == 0 || (result.provider_id.p > body.p && result.provider_id.p < body.p + body.n));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct dialect d;
    if (n == 0)
        return 0;
    if (dialect_begin(&d, "plivo", dialect_post("/v1/Account/MA1/Message/", &json, data + 1, n - 1)))
        forward_it(&d, data[0]);
    classify_it(&d);
    dialect_end(&d);
    return 0;
}

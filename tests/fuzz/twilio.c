/* Messages.json: whatever is read, the form that leaves has one To, the one that was read; answers can be read. */
#include "dialect.h"

static const struct wire_field form = {SLICE_INIT("Content-Type"), SLICE_INIT("application/x-www-form-urlencoded")};

static void forward_it(struct dialect *d, bool own)
{
    static const struct provider_login login = {.account = SLICE_INIT("AC9"), .secret = SLICE_INIT("x")};
    struct forward_options options = {.login = &login, .now_ms = NOW_MS, .own_callback = own};
    bool send = true;
    struct outgoing out;
    struct wire_reply reply;
    struct parsed again;
    struct fault fault;
    if (d->c->forward(&d->r, &d->route, &d->parsed, &send, &options, &d->arena, &out) != OK)
        return;
    if (dialect_read_again(d, out.body, &again, &fault))
        ensure(slice_eq(d->parsed.messages[0].to_text, again.messages[0].to_text) &&
               (!own || again.status_callback.p == NULL));
    else
        ensure(fault.kind == FAULT_TOO_LARGE);
    if (d->c->accept(&d->parsed, &d->route, "SM1", NOW_MS, &d->arena, &reply) == OK)
        dialect_check_json(d, reply.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct dialect d;
    struct send_result result;
    if (n == 0)
        return 0;
    if (dialect_begin(&d, "twilio", dialect_post("/2010-04-01/Accounts/AC1/Messages.json", &form, data + 1, n - 1)))
        forward_it(&d, (data[0] & 1) != 0);
    struct provider_answer answer = {.status = 200 + data[0], .body = d.r.body};
    d.c->classify(&answer, 0, &result);
    dialect_end(&d);
    return 0;
}

/*
 * mail/send: whatever is read, the body that leaves names exactly the recipients
 * that were to get it.  The first byte of the input picks whom.
 */
#include "dialect.h"

static const struct wire_field json = {SLICE_INIT("Content-Type"), SLICE_INIT("application/json")};

static void forward_some(struct dialect *d, uint8_t pick)
{
    static const struct provider_login login = {.secret = SLICE_INIT("SG.x")};
    struct forward_options options = {.login = &login, .now_ms = NOW_MS};
    const struct parsed *p = &d->parsed;
    bool send[LIMIT_RECIPIENTS + 1];
    struct outgoing out;
    struct parsed again;
    struct fault fault;
    size_t left = dialect_pick(p, pick, send);
    if ((pick & 0x80) != 0)
        left -= d->c->settle(p, send);
    enum err err = d->c->forward(&d->r, &d->route, p, send, &options, &d->arena, &out);
    ensure(left > 0 ? err == OK || err == ERR_LIMIT : err == ERR_CONFLICT);
    if (err != OK)
        return;
    if (!dialect_read_again(d, out.body, &again, &fault)) {
        ensure(fault.kind == FAULT_TOO_LARGE);
        return;
    }
    ensure(again.n_messages == left && !again.bypass_asked);
    for (size_t i = 0, k = 0; i < p->n_messages; i++) {
        if (send[i])
            ensure(slice_eq(p->messages[i].to_text, again.messages[k++].to_text));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct dialect d;
    if (n == 0)
        return 0;
    if (dialect_begin(&d, "sendgrid", dialect_post("/v3/mail/send", &json, data + 1, n - 1)))
        forward_some(&d, data[0]);
    dialect_end(&d);
    return 0;
}

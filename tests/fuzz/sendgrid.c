/*
 * mail/send: whatever is read, the body that leaves names exactly the recipients
 * that were to get it.  The first byte of the input picks whom.
 */
#include "postern/connector.h"
#include "postern/limits.h"

extern const struct connector sendgrid_connector;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct wire_field fields[] = {{{"Content-Type", 12}, {"application/json", 16}}};

static void forward_some(const struct wire_request *r, const struct route *route, const struct parsed *p, uint8_t pick,
                         struct arena *a)
{
    static const struct provider_login login = {.secret = {"SG.x", 4}};
    struct forward_options options = {.login = &login, .now_ms = INT64_C(1795341600000)};
    bool send[LIMIT_RECIPIENTS + 1];
    struct outgoing out;
    struct parsed again;
    struct fault fault;
    for (size_t i = 0; i < p->n_messages; i++)
        send[i] = (pick >> (i % 7) & 1) == 0;
    size_t left = 0;
    if ((pick & 0x80) != 0)
        ignore(sendgrid_connector.settle(p, send)); /* how many is not asked here */
    for (size_t i = 0; i < p->n_messages; i++)
        left += send[i];
    enum err err = sendgrid_connector.forward(r, route, p, send, &options, a, &out);
    ensure(left > 0 ? err == OK || err == ERR_LIMIT : err == ERR_CONFLICT);
    if (err != OK)
        return;
    struct wire_request sent = *r;
    sent.body = out.body;
    if (sendgrid_connector.parse(&sent, route, options.now_ms, a, &again, &fault) != OK) {
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
    struct arena arena;
    struct route route;
    struct parsed parsed;
    struct fault fault;
    struct wire_reply reply;
    if (n == 0)
        return 0;
    struct wire_request r = {.method = SLICE("POST"),
                             .path = SLICE("/v3/mail/send"),
                             .fields = fields,
                             .n_fields = 1,
                             .body = {(const char *)data + 1, n - 1}};
    arena_init(&arena, LIMIT_ARENA_BYTES);
    ensure(sendgrid_connector.match(&r, &route) == CALL_SEND);
    if (sendgrid_connector.parse(&r, &route, INT64_C(1795341600000), &arena, &parsed, &fault) == OK)
        forward_some(&r, &route, &parsed, data[0], &arena);
    else
        ensure(sendgrid_connector.fault_reply(&fault, &route, &arena, &reply) != ERR_INTERNAL);
    arena_clear(&arena);
    return 0;
}

/* Messages.json: whatever is read, the form that leaves has one To, the one that was read; answers can be read. */
#include "connectors/form.h"
#include "connectors/json_scan.h"
#include "postern/connector.h"
#include "postern/limits.h"

extern const struct connector twilio_connector;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define NOW_MS INT64_C(1795341600000)

static const struct wire_field fields[] = {{{"Content-Type", 12}, {"application/x-www-form-urlencoded", 33}}};

static void check_json(struct slice body, struct arena *a)
{
    struct json_scan s = {.arena = a};
    struct errmsg e;
    ensure(json_scan_parse(&s, body, &e) != ERR_SYNTAX);
}

static void forward_it(const struct wire_request *r, const struct route *route, const struct parsed *p, bool own,
                       struct arena *a)
{
    static const struct provider_login login = {.account = {"AC9", 3}, .secret = {"x", 1}};
    struct forward_options options = {.login = &login, .now_ms = NOW_MS, .own_callback = own};
    bool send = true;
    struct outgoing out;
    struct wire_reply reply;
    struct parsed again;
    struct fault fault;
    if (twilio_connector.forward(r, route, p, &send, &options, a, &out) != OK)
        return;
    struct wire_request sent = *r;
    sent.body = out.body;
    enum err err = twilio_connector.parse(&sent, route, NOW_MS, a, &again, &fault);
    ensure(err == OK || fault.kind == FAULT_TOO_LARGE);
    if (err == OK)
        ensure(slice_eq(p->messages[0].to_text, again.messages[0].to_text) &&
               (!own || again.status_callback.p == NULL));
    if (twilio_connector.accept(p, route, "SM1", NOW_MS, a, &reply) == OK)
        check_json(reply.body, a);
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
                             .path = SLICE("/2010-04-01/Accounts/AC1/Messages.json"),
                             .fields = fields,
                             .n_fields = 1,
                             .body = {(const char *)data + 1, n - 1}};
    arena_init(&arena, LIMIT_ARENA_BYTES);
    ensure(twilio_connector.match(&r, &route) == CALL_SEND);
    if (twilio_connector.parse(&r, &route, NOW_MS, &arena, &parsed, &fault) == OK)
        forward_it(&r, &route, &parsed, (data[0] & 1) != 0, &arena);
    else if (twilio_connector.fault_reply(&fault, &route, &arena, &reply) == OK)
        check_json(reply.body, &arena);
    struct provider_answer answer = {.status = 200 + data[0], .body = r.body};
    struct send_result result;
    twilio_connector.classify(&answer, 0, &result);
    arena_clear(&arena);
    return 0;
}

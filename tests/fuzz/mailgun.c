/*
 * Calls to Mailgun: whatever is read, the body that leaves names exactly the recipients that were to get it, and
 * nothing that was said to Postern.  The first byte of the input picks whom, the second which call and form.
 */
#include "connectors/mailgun.h"
#include "postern/connector.h"
#include "postern/limits.h"

extern const struct connector mailgun_connector;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define NOW_MS INT64_C(1795341600000)

static const struct wire_field forms[] = {
    {SLICE_INIT("Content-Type"), SLICE_INIT("application/x-www-form-urlencoded")},
    {SLICE_INIT("Content-Type"), SLICE_INIT("multipart/form-data; boundary=b")},
};
static const struct slice paths[] = {SLICE_INIT("/v3/x.test/messages"), SLICE_INIT("/v3/x.test/messages.mime"),
                                     SLICE_INIT("/v3/domains/x.test/messages/k")};

/* A copy that goes alone has become the recipient. */
static void check_lists(const struct parsed *p, const bool *send, const struct parsed *again)
{
    const struct mailgun *m = p->dialect;
    size_t left = 0, k = 0;
    for (size_t i = 0; i < p->n_messages; i++) {
        left += send[i];
        for (size_t j = 0; send[i] && j < again->n_messages; j++)
            k += strcmp(p->messages[i].to.text, again->messages[j].to.text) == 0;
        ensure(m->lists[i] != 0);
    }
    ensure(again->n_messages == left && k >= left);
}

static void check_said(const struct mailgun *m)
{
    for (size_t i = 0; i < m->n_fields; i++)
        ensure(m->fields[i].param != MG_OWN && m->fields[i].param != MG_O_LOCALIZE);
    for (size_t i = 0; i < m->head.n; i++)
        ensure(m->head_params[i] != MG_OWN && m->head_params[i] != MG_O_LOCALIZE);
}

static void forward_some(const struct wire_request *r, const struct route *route, const struct parsed *p, uint8_t pick,
                         struct arena *a)
{
    static const struct provider_login login = {.secret = SLICE_INIT("key")};
    struct forward_options options = {.login = &login, .now_ms = NOW_MS};
    bool send[LIMIT_RECIPIENTS];
    struct outgoing out;
    struct parsed again;
    struct fault fault;
    size_t left = 0;
    for (size_t i = 0; i < p->n_messages; i++)
        send[i] = (pick >> (i % 7) & 1) == 0;
    if ((pick & 0x80) != 0)
        ignore(mailgun_connector.settle(p, send)); /* how many is not asked here */
    for (size_t i = 0; i < p->n_messages; i++)
        left += send[i];
    enum err err = mailgun_connector.forward(r, route, p, send, &options, a, &out);
    ensure(left > 0 ? err == OK || err == ERR_LIMIT : err == ERR_CONFLICT);
    if (err != OK)
        return;
    struct wire_request sent = *r;
    sent.body = out.body;
    if (mailgun_connector.parse(&sent, route, NOW_MS, a, &again, &fault) != OK) {
        /* A MIME text may have had nothing but what was said to Postern. */
        ensure(fault.kind == FAULT_TOO_LARGE || fault.kind == FAULT_NO_BODY);
        return;
    }
    check_lists(p, send, &again);
    check_said(again.dialect);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena arena;
    struct route route;
    struct parsed parsed;
    struct fault fault;
    struct wire_reply reply;
    if (n < 2)
        return 0;
    struct wire_request r = {.method = SLICE("POST"),
                             .path = paths[data[1] % 3],
                             .fields = &forms[data[1] / 3 % 2],
                             .n_fields = 1,
                             .body = {(const char *)data + 2, n - 2}};
    arena_init(&arena, LIMIT_ARENA_BYTES);
    ensure(mailgun_connector.match(&r, &route) == CALL_SEND);
    if (mailgun_connector.parse(&r, &route, NOW_MS, &arena, &parsed, &fault) == OK)
        forward_some(&r, &route, &parsed, data[0], &arena);
    else
        ensure(mailgun_connector.fault_reply(&fault, &route, &arena, &reply) != ERR_INTERNAL);
    arena_clear(&arena);
    return 0;
}

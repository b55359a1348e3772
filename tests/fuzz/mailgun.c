/*
 * Calls to Mailgun: whatever is read, the body that leaves names exactly the recipients that were to get it, and
 * nothing that was said to Postern.  The first byte of the input picks whom, the second which call and form.
 */
#include "dialect.h"

#include "connectors/mailgun.h"

static const struct wire_field forms[] = {
    {SLICE_INIT("Content-Type"), SLICE_INIT("application/x-www-form-urlencoded")},
    {SLICE_INIT("Content-Type"), SLICE_INIT("multipart/form-data; boundary=b")},
};
static const char *const paths[] = {"/v3/x.test/messages", "/v3/x.test/messages.mime", "/v3/domains/x.test/messages/k"};

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

static void forward_some(struct dialect *d, uint8_t pick)
{
    static const struct provider_login login = {.secret = SLICE_INIT("key")};
    struct forward_options options = {.login = &login, .now_ms = NOW_MS};
    bool send[LIMIT_RECIPIENTS];
    struct outgoing out;
    struct parsed again;
    struct fault fault;
    size_t left = dialect_pick(&d->parsed, pick, send);
    if ((pick & 0x80) != 0)
        left -= d->c->settle(&d->parsed, send);
    enum err err = d->c->forward(&d->r, &d->route, &d->parsed, send, &options, &d->arena, &out);
    ensure(left > 0 ? err == OK || err == ERR_LIMIT : err == ERR_CONFLICT);
    if (err != OK)
        return;
    if (!dialect_read_again(d, out.body, &again, &fault)) {
        /* A MIME text may have had nothing but what was said to Postern. */
        ensure(fault.kind == FAULT_TOO_LARGE || fault.kind == FAULT_NO_BODY);
        return;
    }
    check_lists(&d->parsed, send, &again);
    check_said(again.dialect);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct dialect d;
    if (n < 2)
        return 0;
    if (dialect_begin(&d, "mailgun", dialect_post(paths[data[1] % 3], &forms[data[1] / 3 % 2], data + 2, n - 2)))
        forward_some(&d, data[0]);
    dialect_end(&d);
    return 0;
}

/*
 * The table of connectors: a new provider is a row here and a file beside it.
 * The sandbox is no row: it has no dialect of its own.  Whatever came in is given
 * to it by its own connector's forward() and answered by its accept().
 */
#include "postern/connector.h"

/* Mailgun before SendGrid: of what stands under /v3/ it claims what is its own, SendGrid the rest. */
/* clang-format off */
#define CONNECTORS(X) \
    X(mailgun)  \
    X(sendgrid) \
    X(twilio)   \
    X(plivo)    \
    X(smtp)
/* clang-format on */

#define X(name) extern const struct connector name##_connector;
CONNECTORS(X)
#undef X

const struct connector *const connectors[] = {
#define X(name) &name##_connector,
    CONNECTORS(X)
#undef X
        NULL};

const struct connector *connector_get(struct slice name)
{
    for (size_t i = 0; connectors[i] != NULL; i++) {
        if (slice_eq_cstr(name, connectors[i]->name))
            return connectors[i];
    }
    return NULL;
}

const struct connector *connector_for(const struct wire_request *r, struct route *route)
{
    for (size_t i = 0; connectors[i] != NULL; i++) {
        if (connectors[i]->match(r, route) != CALL_NONE)
            return connectors[i];
    }
    return NULL;
}

/* One extern per connector; the table is in registry.c. */
#ifndef CONNECTORS_REGISTRY_H
#define CONNECTORS_REGISTRY_H

#include "postern/connector.h"

extern const struct connector mailgun_connector;
extern const struct connector sendgrid_connector;
extern const struct connector twilio_connector;
extern const struct connector plivo_connector;
extern const struct connector smtp_connector;

#endif

/* What the files of the decision resource share. */
#ifndef GATEWAY_API_DECISIONS_H
#define GATEWAY_API_DECISIONS_H

#include "api.h"
#include "api_json.h"

/* A dry run's decision with every rule's verdict and the facts that were read. */
void api_decision_put(struct buf *b, const struct facts *f, const struct decision *d);

#endif

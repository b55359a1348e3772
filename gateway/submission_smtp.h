/*
 * SMTP transactions as submissions: see submission_smtp.c.
 */
#ifndef GATEWAY_SUBMISSION_SMTP_H
#define GATEWAY_SUBMISSION_SMTP_H

#include "gateway.h"

/* Opens g->smtp[] as the configuration says; none: OK.  False with the reason in e. */
bool submission_smtp_open(struct gateway *g, const struct gateway_place *place, struct errmsg *e) NODISCARD;
void submission_smtp_set_limits(struct gateway *g);
/* on_empty once for each listener that is open; how many are. */
size_t submission_smtp_drain(struct gateway *g, void (*on_empty)(void *arg), void *arg);
void submission_smtp_close(struct gateway *g);
unsigned submission_smtp_port(const struct gateway *g, enum listener l); /* 0: not configured */

#endif

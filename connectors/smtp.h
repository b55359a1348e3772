/* The SMTP connector's own: what parse found, by offsets into the content, for forward, reply and report. */
#ifndef CONNECTORS_SMTP_H
#define CONNECTORS_SMTP_H

#include "wire.h"

enum err smtp_reply(const struct send_report *report, struct arena *a, struct wire_reply *out);
enum err smtp_fault_reply(const struct fault *fault, const struct route *route, struct arena *a,
                          struct wire_reply *out);

void smtp_classify(const struct provider_answer *answer, size_t nth, struct send_result *out);
/* "250 2.0.0 Ok: queued as <id>", whole. */
enum err smtp_accept(const struct parsed *p, const struct route *route, const char *id, int64_t now_ms, struct arena *a,
                     struct wire_reply *out);

/* What stands behind "queued as " in a reply's text; empty when nothing does. */
struct slice smtp_queue_id(struct slice text);

#endif

/*
 * Reports to the sender of a mail: see submission_report.c.
 */
#ifndef GATEWAY_REPORT_H
#define GATEWAY_REPORT_H

#include "gateway.h"
#include "postern/store.h"

/* A kept message ended while it waited, by an opt-out: its sender, who was told that it was accepted, is told.  Copies.
 */
void report_ended(struct gateway *g, const struct deferred *d, enum reason reason, int64_t now_ms);

/* The row that tells of it, in a; why: a sentence for people.  NULL: nobody is to be told. */
struct kept_report *report_of_ended(const struct conf *conf, const struct deferred *d, const char *why, int64_t now_ms,
                                    struct arena *a);

/* Of what a report tells; borrowed. */
struct report_source {
    const struct conf *conf;
    const struct connector *connector;
    const struct wire_request *wire;
    const struct parsed *parsed;
    struct slice key;  /* name of the API key that sent it */
    uint64_t decision; /* that it tells of */
    int64_t now_ms, arrived_ms;
    struct slice kept_id;
};
/* The row that is to be kept; in a.  NULL: nobody is to be told. */
struct kept_report *report_build(const struct report_source *source, const struct report_row *rows, size_t n,
                                 struct arena *a);

#endif

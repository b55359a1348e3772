/*
 * Until when a message waits, in words that outlive the law of clocks:
 *   "2026-11-23T08:00 America/Vancouver"       eight in the morning there, whenever that turns out to be
 *   "2026-11-23T16:00:30Z America/Vancouver"   an instant (a cap frees, a schedule), shown to people of that zone
 */
#ifndef POSTERN_LOCAL_RULE_H
#define POSTERN_LOCAL_RULE_H

#include "postern/civil.h"

#define LOCAL_RULE_MAX (ZONE_NAME_MAX + RFC3339_MAX)

/* instant: no clock on a wall set it.  Seconds are left out when there are none.  Returns out. */
char *local_rule_format(const struct zone *z, int64_t at_ms, bool instant, char out[LOCAL_RULE_MAX]);

struct local_rule {
    int32_t days;   /* local date */
    int32_t second; /* of the day */
    char zone[ZONE_NAME_MAX];
};

/* False: an instant, or no such text. */
bool local_rule_parse(struct slice text, struct local_rule *out);
/* When that is in z; a time that exists twice stands for the later one: the wait is not shortened by it. */
int64_t local_rule_at_ms(const struct local_rule *r, const struct zone *z);

#endif

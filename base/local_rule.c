/*
 * Local times with their zone as text.  Pure: the zone is a parameter, so that the
 * same words give another instant after its law has changed.
 */
#include "postern/local_rule.h"

#include <stdio.h>

#define DATE_TIME_BYTES 16 /* "2026-11-23T08:00" */

char *local_rule_format(const struct zone *z, int64_t at_ms, bool instant, char out[LOCAL_RULE_MAX])
{
    struct local_time local = zone_to_local(z, at_ms);
    int64_t as_if_utc_s = ((int64_t)local.days * MINUTES_PER_DAY + local.minute) * 60 + local.second;
    char time[RFC3339_MAX];

    rfc3339_format(instant ? at_ms / 1000 * 1000 : as_if_utc_s * 1000, time);
    if (!instant)
        time[local.second == 0 ? DATE_TIME_BYTES : strlen(time) - 1] = '\0';
    snprintf(out, LOCAL_RULE_MAX, "%s %s", time, z->name);
    return out;
}

bool local_rule_parse(struct slice text, struct local_rule *out)
{
    const char *blank = text.n > 0 ? memchr(text.p, ' ', text.n) : NULL;
    size_t n = blank != NULL ? (size_t)(blank - text.p) : 0;
    size_t zone_n = blank != NULL ? text.n - n - 1 : 0;
    char time[RFC3339_MAX] = "";
    int64_t as_if_utc_ms;

    if (n < DATE_TIME_BYTES || n + sizeof(":00Z") > sizeof(time) || zone_n == 0 || zone_n >= sizeof(out->zone))
        return false;
    snprintf(time, sizeof(time), "%.*s%s", (int)n, text.p, n == DATE_TIME_BYTES ? ":00Z" : "Z");
    if (!rfc3339_parse(slice_of(time), &as_if_utc_ms) || as_if_utc_ms < 0)
        return false;
    *out = (struct local_rule){
        .days = (int32_t)(as_if_utc_ms / MS_PER_DAY),
        .second = (int32_t)(as_if_utc_ms % MS_PER_DAY / 1000),
    };
    memcpy(out->zone, blank + 1, zone_n);
    return true;
}

int64_t local_rule_at_ms(const struct local_rule *r, const struct zone *z)
{
    return zone_to_utc_ms(z, r->days, r->second / 60, ZONE_LATEST) + r->second % 60 * INT64_C(1000);
}

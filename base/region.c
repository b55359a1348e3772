/*
 * Regions as ISO 3166 writes them: a country, or a part of one.  Knows their form
 * only, not which exist.  The one idea: what is not said is not excluded, so a
 * country overlaps each of its parts, both ways.
 */
#include <stdio.h>

#include "postern/profile.h"

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

/* ISO 3166-2: two letters, a dash, one to three letters or digits. */
bool region_parse(struct slice s, struct region *out)
{
    *out = (struct region){.country = ""};
    if (s.n < 2 || s.n == 3 || s.n > 6 || !is_upper(s.p[0]) || !is_upper(s.p[1]) || (s.n > 2 && s.p[2] != '-'))
        return false;
    for (size_t i = 3; i < s.n; i++) {
        if (!is_upper(s.p[i]) && (s.p[i] < '0' || s.p[i] > '9'))
            return false;
    }
    memcpy(out->country, s.p, 2);
    if (s.n > 3)
        memcpy(out->division, s.p + 3, s.n - 3);
    return true;
}

char *region_format(const struct region *r, char out[REGION_MAX])
{
    snprintf(out, REGION_MAX, "%.2s%s%.3s", r->country, r->division[0] != '\0' ? "-" : "", r->division);
    return out;
}

bool region_overlaps(const struct region *a, const struct region *b)
{
    return strcmp(a->country, b->country) == 0 &&
           (a->division[0] == '\0' || b->division[0] == '\0' || strcmp(a->division, b->division) == 0);
}

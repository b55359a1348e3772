/*
 * The seven names of days that every text of policy uses: windows, holiday
 * rules, "days.never".  Knows only the names; which day a date is, civil.h says.
 */
#include "policy/weekday.h"

static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

const char *weekday_name(enum weekday d)
{
    return names[d];
}

bool weekday_parse(struct slice s, enum weekday *out)
{
    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        if (slice_ieq(s, slice_of(names[i]))) {
            *out = (enum weekday)i;
            return true;
        }
    }
    return false;
}

/* Names of weekdays as configuration and preferences write them: "mon" .. "sun".  Private to policy. */
#ifndef POSTERN_POLICY_WEEKDAY_H
#define POSTERN_POLICY_WEEKDAY_H

#include "postern/civil.h"

#define WEEKDAY_NAMES "mon, tue, wed, thu, fri, sat, sun"

const char *weekday_name(enum weekday d);
bool weekday_parse(struct slice s, enum weekday *out); /* ASCII case ignored */

#endif

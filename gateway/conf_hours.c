/*
 * The organisation's hours: quiet or allowed, per class and channel, and the
 * holiday calendar that all of them follow.
 */
#include "conf_build.h"

enum err conf_build_calendar(struct conf_build *b, const char *name, char *const *days, size_t n, const char *at,
                             struct holiday_calendar *out)
{
    struct holiday *rules = conf_alloc(b, n, sizeof *rules);
    struct errmsg why;

    *out = (struct holiday_calendar){.name = conf_keep(b, name), .rules = rules, .n = n};
    for (size_t i = 0; i < n; i++) {
        if (holiday_parse(slice_of(days[i]), &rules[i], &why) != OK)
            return REFUSE(b, AT("%s[%zu]", at, i), "%s", why.text);
    }
    return OK;
}

enum err conf_build_windows(struct conf_build *b, const char *text, const char *at, enum window_sense sense,
                            const struct holiday_calendar *calendar, struct window_set *out)
{
    struct errmsg why;

    if (window_parse(slice_of(text), sense, &b->conf->arena, out, &why) != OK)
        return REFUSE(b, at, "%s", why.text);
    if (sense == WINDOW_ALLOWED && window_set_is_empty(out))
        return REFUSE(b, at, "allows no time at all: to leave it unbound, leave the key out");
    if (calendar == NULL && strcasestr(text, "holidays") != NULL)
        return REFUSE(b, at, "speaks of holidays, but no calendar of them applies");
    if (!window_set_is_empty(out))
        out->holidays = calendar;
    return OK;
}

static const char *holidays_name(const struct yaml_conf *y, size_t i)
{
    return y->policy.holidays[i].name;
}

/* Every calendar is checked; the one that applies, or NULL, is in *out. */
static enum err build_holidays(struct conf_build *b, const struct holiday_calendar **out)
{
    const struct yaml_policy *y = &b->yaml->policy;
    struct holiday_calendar *calendars = conf_alloc(b, y->holidays_count, sizeof *calendars);
    struct conf_guess guess = {.word = y->holidays_apply};

    enum err err = conf_distinct(b, "policy.holidays", y->holidays_count, holidays_name);
    for (size_t i = 0; i < y->holidays_count && err == OK; i++) {
        const struct yaml_holidays *h = &y->holidays[i];
        err = conf_name(b, h->name, AT("policy.holidays[%zu].name", i));
        if (err == OK)
            err = conf_build_calendar(b, h->name, h->days, h->days_count, AT("policy.holidays[%zu].days", i),
                                      &calendars[i]);
    }
    *out = NULL;
    for (size_t i = 0; i < y->holidays_count && err == OK && y->holidays_apply != NULL; i++) {
        conf_guess_offer(&guess, calendars[i].name);
        if (strcmp(calendars[i].name, y->holidays_apply) == 0)
            *out = &calendars[i];
    }
    if (err == OK && y->holidays_apply != NULL && *out == NULL)
        err = REFUSE(b, "policy.holidays_apply", "there is no calendar \"%.64s\" in policy.holidays%s",
                     y->holidays_apply, HINT(&guess));
    return err;
}

static enum err build_cell(struct conf_build *b, enum message_class class, enum channel channel,
                           const struct holiday_calendar *calendar)
{
    const char *quiet = b->yaml->policy.quiet_hours.class[class].channel[channel];
    const char *allowed = b->yaml->policy.allowed_hours.class[class].channel[channel];
    const char *cell = AT("%s.%s", class_name(class), channel_name(channel));

    if (quiet == NULL && allowed == NULL)
        return OK;
    if (quiet != NULL && allowed != NULL)
        return REFUSE(b, AT("policy.allowed_hours.%s", cell), "policy.quiet_hours.%s is there too: state one", cell);
    return conf_build_windows(
        b, quiet != NULL ? quiet : allowed, AT("policy.%s_hours.%s", quiet != NULL ? "quiet" : "allowed", cell),
        quiet != NULL ? WINDOW_QUIET : WINDOW_ALLOWED, calendar, &b->conf->policy.organisation_hours[class][channel]);
}

enum err conf_build_hours(struct conf_build *b)
{
    const struct holiday_calendar *calendar;

    enum err err = build_holidays(b, &calendar);
    for (unsigned cell = 0; cell < CLASS_N * CHANNEL_N && err == OK; cell++)
        err = build_cell(b, cell / CHANNEL_N, cell % CHANNEL_N, calendar);
    return err;
}

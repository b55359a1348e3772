/*
 * Whom a rule of a rule pack binds, when, and by when it wants a refusal honoured.
 * Knows what every such rule has in common (struct law), not what it demands.
 *
 * Rulings:
 *  - Of several regions where a person may be, the law of each binds; of nobody knows
 *    where, the law of every region.
 *  - Its dates are the recipient's own: [from 00:00, to 00:00) local time; of several
 *    candidate zones it holds as soon as it begins in one and until it has ended in
 *    all.
 *  - Business days are Monday to Friday without the calendar's holidays, counted from
 *    the day after; the deadline is the last of them.
 *  - Months are calendar months: from the 31st, the last day of a shorter one.
 */
#include "policy/rule.h"

static bool region_binds(const struct law *law, const struct region *regions, size_t n)
{
    if (law->n_regions == 0 || n == 0)
        return true;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < law->n_regions; k++) {
            if (region_overlaps(&regions[i], &law->regions[k]))
                return true;
        }
    }
    return false;
}

bool law_reaches(const struct facts *f, const struct law *law)
{
    const struct region *regions;
    if ((law->channels >> f->message->channel & 1) == 0)
        return false;
    size_t n = facts_regions(f, &regions);
    return region_binds(law, regions, n);
}

bool law_binds(const struct facts *f, const struct law *law)
{
    return (law->classes >> f->message->category->class & 1) != 0 && law_reaches(f, law);
}

struct law_dates law_dates(const struct law *law, const struct zone *z)
{
    return (struct law_dates){
        .from_ms = law->from_days == INT32_MIN ? INT64_MIN : zone_to_utc_ms(z, law->from_days, 0, ZONE_EARLIEST),
        .to_ms = law->to_days == INT32_MAX ? NEVER_MS : zone_to_utc_ms(z, law->to_days, 0, ZONE_LATEST),
    };
}

/* A day that is over in one zone before it begins in another is one stretch all the same. */
bool law_holds(const struct facts *f, const struct law *law, int64_t at_ms)
{
    const struct zone *const *zones;
    bool begun = false, ended = true;
    if (law->from_days == INT32_MIN && law->to_days == INT32_MAX)
        return true;
    size_t n = facts_zones(f, &zones);
    for (size_t i = 0; i < n; i++) {
        struct law_dates d = law_dates(law, zones[i]);
        begun = begun || at_ms >= d.from_ms;
        ended = ended && at_ms >= d.to_ms;
    }
    return begun && !ended;
}

bool law_in_force(const struct facts *f, const struct law *law, int64_t at_ms)
{
    return law_binds(f, law) && law_holds(f, law, at_ms);
}

/* --- spans ---------------------------------------------------------------------- */

bool law_span_is_none(const struct law_span *s)
{
    return s->months == 0 && s->days == 0 && s->business_days == 0 && s->seconds == 0;
}

static int32_t months_later(int32_t days, int32_t months)
{
    struct date d = date_from_days(days);
    int32_t month = d.year * 12 + d.month - 1 + months;
    struct date out = {month / 12, month % 12 + 1, d.day};
    while (!date_is_valid(out))
        out.day--;
    return date_to_days(out);
}

/* A calendar on which nobody ever works ends no span: a hundred years. */
#define BUSINESS_DAYS_END 36525

static int32_t days_up(int64_t seconds)
{
    return (int32_t)((seconds + 86399) / 86400);
}

int32_t law_span_end(const struct law_span *s, const struct holiday_calendar *holidays, int32_t from_days)
{
    int32_t day = months_later(from_days, s->months) + s->days + days_up(s->seconds);
    const int32_t last = day + BUSINESS_DAYS_END;
    for (int32_t left = s->business_days; left > 0 && day < last;) {
        day++;
        if (date_weekday(day) < SATURDAY && (holidays == NULL || !holiday_is(holidays, day)))
            left--;
    }
    return day;
}

int64_t law_span_after(const struct law_span *s, int64_t at_ms)
{
    int64_t day_ms = at_ms / MS_PER_DAY * MS_PER_DAY;
    int32_t days = (int32_t)(day_ms / MS_PER_DAY);
    return months_later(days, s->months) * MS_PER_DAY + (at_ms - day_ms) + s->days * MS_PER_DAY +
           s->seconds * INT64_C(1000);
}

/* --- for those who ask ------------------------------------------------------------ */

struct listing {
    const struct facts *facts;
    struct law_in_force *out;
    size_t n, max;
};

static void list(struct listing *l, const struct law *law, enum law_kind kind)
{
    if (law != NULL && l->n < l->max && law_in_force(l->facts, law, l->facts->now_ms))
        l->out[l->n++] = (struct law_in_force){law, kind};
}

size_t policy_laws(const struct facts *f, struct law_in_force *out, size_t max)
{
    const struct policy *p = f->policy;
    struct listing l = {f, out, 0, max};
    for (size_t i = 0; i < p->n_legal; i++)
        list(&l, &p->legal[i].law, LAW_HOURS);
    for (size_t i = 0; i < p->n_caps; i++)
        list(&l, p->caps[i].law, LAW_CAP);
    for (size_t i = 0; i < p->n_legal_consents; i++)
        list(&l, &p->legal_consents[i].law, LAW_CONSENT);
    for (size_t i = 0; i < p->n_legal_opt_outs; i++)
        list(&l, &p->legal_opt_outs[i].law, LAW_OPT_OUT);
    for (size_t i = 0; i < p->n_legal_keywords; i++)
        list(&l, &p->legal_keywords[i].law, LAW_KEYWORDS);
    return l.n;
}

/* Keeps out sorted; when it is full the latest deadline falls off. */
static size_t insert(struct law_deadline *out, size_t n, size_t max, struct law_deadline d)
{
    size_t at = n;
    while (at > 0 && out[at - 1].days > d.days)
        at--;
    if (at == max)
        return n;
    size_t moved = n < max ? n - at : n - at - 1;
    memmove(&out[at + 1], &out[at], moved * sizeof *out);
    out[at] = d;
    return n < max ? n + 1 : n;
}

size_t policy_deadlines(const struct policy *p, const struct profile *who, uint32_t channels, int64_t at_ms,
                        struct law_deadline *out, size_t max)
{
    const struct category any = {.class = CLASS_MARKETING};
    const struct message m = {.category = &any, .channel = CHANNEL_EMAIL};
    const struct facts f = {.policy = p, .message = &m, .profile = who, .now_ms = at_ms};
    const struct zone *const *zones;
    const struct region *regions;
    size_t n_regions = facts_regions(&f, &regions), n = 0;
    facts_zones(&f, &zones);
    int32_t today = zone_to_local(zones[0], at_ms).days;
    for (size_t i = 0; i < p->n_legal_opt_outs; i++) {
        const struct legal_opt_out *o = &p->legal_opt_outs[i];
        bool speaks = !law_span_is_none(&o->within) && (channels == 0 || (channels & o->law.channels) != 0) &&
                      region_binds(&o->law, regions, n_regions) && today >= o->law.from_days && today < o->law.to_days;
        if (speaks)
            n = insert(out, n, max, (struct law_deadline){&o->law, law_span_end(&o->within, o->holidays, today)});
    }
    return n;
}

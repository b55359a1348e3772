/*
 * Reading window sets: "mon-fri 08:00-12:00,13:00-18:00; sat 09:00-13:00".
 *
 * The text is a list of parts between ',' and ';', each "[days] [window]".  A group
 * is some days and the windows after them: ';' always ends one, ',' only before a
 * day that follows a window.  Whatever could be read two ways is refused: a day given
 * twice, windows of one day that overlap, an end that is the start.
 */
#include "postern/policy.h"

#include "policy/weekday.h"

#define WINDOW_FORM "like 08:00-18:00"
#define DAY_FORMS   WEEKDAY_NAMES ", a range like mon-fri, holidays, or a date like 2026-12-24"

/* For "%.*s" of the operator's or contact's own text: how much of it an error quotes. */
#define QUOTE_MAX 40
#define QUOTE(s)  SLICE_HEAD(s, QUOTE_MAX)

#define HOLIDAYS_BIT 7u

/* Days and the windows that they get: "mon,wed 08:00-12:00,13:00-18:00". */
struct group {
    struct slice first; /* the first day as it was written, for errors; empty: every day */
    unsigned days;      /* bit set by enum weekday, and HOLIDAYS_BIT */
    bool is_date;       /* then days is 0 */
    int32_t date;
    bool none;
    struct day_windows windows;
};

struct reading {
    struct slice rest;  /* NULL: used up */
    char before, after; /* the separators around the part at hand: ',' or ';' */
    struct arena *arena;
    size_t dates_max;
    struct date_windows *dates; /* the array that set->dates borrows */
    unsigned given;             /* days that have their windows, as in group */
    struct group group;
    struct window_set *set;
    struct errmsg *e;
};

/* "08:00" */
static bool read_time(struct slice s, uint16_t *minute)
{
    uint64_t h, m;
    s = slice_trim(s);
    if (s.n != 5 || s.p[2] != ':' || !slice_to_u64((struct slice){s.p, 2}, 24, &h) ||
        !slice_to_u64((struct slice){s.p + 3, 2}, 59, &m) || (h == 24 && m > 0))
        return false;
    *minute = (uint16_t)(h * 60 + m);
    return true;
}

/* The bytes of s before the first c, which is dropped, and what follows it in *after; s whole when there is none. */
static struct slice cut(struct slice s, char c, struct slice *after)
{
    const char *at = memchr(s.p, c, s.n);
    size_t n = at == NULL ? s.n : (size_t)(at - s.p);
    *after = at == NULL ? (struct slice){NULL, 0} : (struct slice){at + 1, s.n - n - 1};
    return (struct slice){s.p, n};
}

/* "22:00-08:00" */
static enum err read_window(struct slice s, struct window *w, struct errmsg *e)
{
    struct slice end, start = cut(s, '-', &end);
    if (end.p == NULL) {
        errmsg_set(e, "\"%.*s\" is not a window: write start-end, " WINDOW_FORM, QUOTE(s));
        return ERR_SYNTAX;
    }
    bool start_good = read_time(start, &w->start_min) && w->start_min < MINUTES_PER_DAY;
    if (!start_good || !read_time(end, &w->end_min)) {
        struct slice bad = slice_trim(start_good ? end : start);
        errmsg_set(e, "\"%.*s\" is not a%s time: write HH:MM, 00:00 to %s", QUOTE(bad), start_good ? "n end" : " start",
                   start_good ? "24:00" : "23:59");
        return ERR_SYNTAX;
    }
    if (w->end_min == w->start_min) {
        errmsg_set(e, "\"%.*s\" ends where it starts: write 00:00-24:00 for the whole day, none for no window",
                   QUOTE(s));
        return ERR_CONFLICT;
    }
    if (w->end_min < w->start_min)
        w->end_min = (uint16_t)(w->end_min + MINUTES_PER_DAY);
    return OK;
}

/* Keeps the day's windows ascending. */
static enum err group_add(struct group *g, struct slice s, struct errmsg *e)
{
    if (slice_ieq(s, SLICE("none"))) {
        g->none = true;
        return OK;
    }
    struct window w;
    enum err err = read_window(s, &w, e);
    if (err != OK)
        return err;
    if (g->windows.n == WINDOWS_PER_DAY) {
        errmsg_set(e, "\"%.*s\" is one too many: a day has at most %d windows", QUOTE(s), WINDOWS_PER_DAY);
        return ERR_LIMIT;
    }
    unsigned i = g->windows.n++;
    for (; i > 0 && g->windows.w[i - 1].start_min > w.start_min; i--)
        g->windows.w[i] = g->windows.w[i - 1];
    g->windows.w[i] = w;
    bool overlaps = (i > 0 && g->windows.w[i - 1].end_min > w.start_min) ||
                    (i + 1u < g->windows.n && g->windows.w[i + 1].start_min < w.end_min);
    if (overlaps) {
        errmsg_set(e, "\"%.*s\" overlaps another window of the same day", QUOTE(s));
        return ERR_CONFLICT;
    }
    return OK;
}

/* "mon", "fri-sun", "holidays" as bits; 0 when it is none of these.  A range may run over Sunday. */
static unsigned read_days(struct slice s)
{
    enum weekday from, to;
    if (slice_ieq(s, SLICE("holidays")))
        return 1u << HOLIDAYS_BIT;
    if (weekday_parse(s, &from))
        return 1u << from;
    struct slice last, first = cut(s, '-', &last);
    if (!weekday_parse(first, &from) || !weekday_parse(last, &to) || from == to)
        return 0;
    unsigned days = 1u << to;
    for (unsigned day = from; day != (unsigned)to; day = (day + 1) % 7)
        days |= 1u << day;
    return days;
}

/* The days that a part begins with join the group. */
static enum err group_name(struct group *g, struct slice s, struct errmsg *e)
{
    struct holiday date;
    bool first = g->first.n == 0;
    unsigned days = read_days(s);
    bool is_date = days == 0 && holiday_parse(s, &date, NULL) == OK && date.kind == HOLIDAY_DATE;
    if (days == 0 && !is_date) {
        errmsg_set(e, "\"%.*s\" is not a day: write " DAY_FORMS, QUOTE(s));
        return ERR_SYNTAX;
    }
    if ((is_date && !first) || g->is_date) {
        errmsg_set(e,
                   "\"%.*s\": a date does not share its windows: give each date its own, like 2026-12-24 08:00-12:00",
                   QUOTE(s));
        return ERR_SYNTAX;
    }
    if (days & g->days) {
        errmsg_set(e, "\"%.*s\": a day is given twice", QUOTE(s));
        return ERR_CONFLICT;
    }
    if (first)
        g->first = s;
    g->days |= days;
    g->is_date = is_date;
    if (is_date)
        g->date = date_to_days((struct date){date.year, date.month, date.day});
    return OK;
}

/* Keeps the dates ascending. */
static enum err set_date(struct reading *r, const struct group *g)
{
    struct window_set *s = r->set;
    if (r->arena == NULL) {
        errmsg_set(r->e, "\"%.*s\": dates cannot stand here, only days of the week", QUOTE(g->first));
        return ERR_SYNTAX;
    }
    if (r->dates == NULL)
        r->dates = arena_calloc(r->arena, r->dates_max, sizeof *r->dates);
    if (r->dates == NULL || s->n_dates == r->dates_max) {
        errmsg_set(r->e, "\"%.*s\": too many dates, at most %d", QUOTE(g->first), WINDOW_DATES_MAX);
        return ERR_LIMIT;
    }
    size_t i = s->n_dates;
    for (; i > 0 && r->dates[i - 1].days >= g->date; i--) {
        if (r->dates[i - 1].days == g->date) {
            errmsg_set(r->e, "\"%.*s\" is given twice", QUOTE(g->first));
            return ERR_CONFLICT;
        }
    }
    memmove(&r->dates[i + 1], &r->dates[i], (s->n_dates - i) * sizeof *r->dates);
    r->dates[i] = (struct date_windows){.days = g->date, .windows = g->windows};
    s->dates = r->dates;
    s->n_dates++;
    return OK;
}

/* The group is complete: give its days their windows, and start the next. */
static enum err group_end(struct reading *r)
{
    const struct group g = r->group;
    r->group = (struct group){.none = false};
    if (g.windows.n == 0 && !g.none) {
        errmsg_set(r->e, "\"%.*s\" has no window: write one " WINDOW_FORM ", or none", QUOTE(g.first));
        return ERR_SYNTAX;
    }
    if (g.windows.n > 0 && g.none) {
        errmsg_set(r->e, "\"none\" stands beside a window of the same day");
        return ERR_CONFLICT;
    }
    if (g.is_date)
        return set_date(r, &g);
    if (g.days & r->given) {
        errmsg_set(r->e, "\"%.*s\": a day is given twice", QUOTE(g.first.n > 0 ? g.first : SLICE("every day")));
        return ERR_CONFLICT;
    }
    r->given |= g.days;
    for (unsigned day = 0; day < N_ELEMENTS(r->set->weekday); day++) {
        if (g.days & (1u << day))
            r->set->weekday[day] = g.windows;
    }
    if (g.days & (1u << HOLIDAYS_BIT))
        r->set->on_holidays = g.windows;
    return OK;
}

/* One part between separators: "[days] [window]". */
static enum err read_part(struct reading *r, struct slice part)
{
    struct group *g = &r->group;
    struct slice after, name = cut(part, ' ', &after);
    bool named = memchr(name.p, ':', name.n) == NULL && !slice_ieq(name, SLICE("none"));
    bool complete = g->windows.n > 0 || g->none;
    bool started = complete || g->days != 0 || g->is_date;
    if (started && (r->before == ';' || (named && complete))) {
        enum err err = group_end(r);
        if (err != OK)
            return err;
        started = false;
    }
    if (!named && !started)
        g->days = (1u << HOLIDAYS_BIT) - 1;
    if (!named)
        return group_add(g, part, r->e);
    enum err err = group_name(g, name, r->e);
    after = slice_trim(after);
    return err != OK || after.n == 0 ? err : group_add(g, after, r->e);
}

/* The next part, trimmed, and the separator before it; false at the end. */
static bool take_part(struct reading *r, struct slice *part)
{
    if (r->rest.p == NULL)
        return false;
    size_t n = 0;
    while (n < r->rest.n && r->rest.p[n] != ',' && r->rest.p[n] != ';')
        n++;
    *part = slice_trim((struct slice){r->rest.p, n});
    r->before = r->after;
    if (n < r->rest.n) {
        r->after = r->rest.p[n];
        r->rest = (struct slice){r->rest.p + n + 1, r->rest.n - n - 1};
    } else {
        r->rest = (struct slice){NULL, 0};
    }
    return true;
}

static size_t count_separators(struct slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == ',' || s.p[i] == ';';
    return n;
}

enum err window_parse(struct slice text, enum window_sense sense, struct arena *a, struct window_set *out,
                      struct errmsg *e)
{
    *out = (struct window_set){.sense = sense};
    /* A holiday is closed in both senses until the text says otherwise: the reading that sends less. */
    if (sense == WINDOW_QUIET)
        out->on_holidays = (struct day_windows){.w = {{0, MINUTES_PER_DAY}}, .n = 1};

    size_t parts = count_separators(text) + 1;
    struct reading r = {.rest = slice_trim(text), .after = ';', .arena = a, .set = out, .e = e};
    r.dates_max = parts < WINDOW_DATES_MAX ? parts : WINDOW_DATES_MAX;
    if (r.rest.n == 0) {
        errmsg_set(e, "the windows are empty: write none, or days and windows, like mon-fri 08:00-18:00");
        return ERR_SYNTAX;
    }
    struct slice part;
    while (take_part(&r, &part)) {
        if (part.n == 0) {
            errmsg_set(e, "\"%.*s\" has a separator with nothing beside it", QUOTE(text));
            return ERR_SYNTAX;
        }
        enum err err = read_part(&r, part);
        if (err != OK)
            return err;
    }
    return group_end(&r);
}

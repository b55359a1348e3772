/*
 * "packs": the rules of the packs in use, whether each is on and why, where it
 * comes from, how old that is, and what is due for review.  Reads the configuration
 * as the daemon does and asks no daemon.  The one idea: one row a rule, the one to
 * be reviewed first on top.
 */
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>

#include "../gateway/conf.h"
#include "ctl_text.h"
#include "postern/clock.h"

#define WHY_MAX  256
#define NAME_MAX 160
#define DATE_MAX 16

enum { OPTION_DUE, OPTION_AT };

/* A rule of a pack, or a calendar that rules speak of. */
struct row {
    char name[NAME_MAX];
    bool on;
    char why[WHY_MAX];
    char confidence;
    int32_t as_of_days, review_days;
    const char *source;
};

struct listing {
    int32_t today;
    struct row *rows;
    size_t n;
    size_t n_on, n_due;
};

static bool is_due(const struct listing *l, const struct row *r)
{
    return r->on && r->review_days < l->today;
}

static void add(struct listing *l, const struct row *r)
{
    l->rows = xrealloc(l->rows, l->n + 1, sizeof(*l->rows));
    l->rows[l->n++] = *r;
    l->n_on += r->on;
    l->n_due += is_due(l, r);
}

static const char *reading(char confidence)
{
    switch (confidence) {
    case 'A':
        return "its text was read";
    case 'B':
        return "a page about it was read";
    default:
        return "not verified";
    }
}

static void add_law(struct listing *l, const struct conf_law *law)
{
    struct row r = {
        .on = law->on,
        .confidence = law->confidence,
        .as_of_days = law->as_of_days,
        .review_days = law->review_days,
        .source = law->source,
    };
    char off[CONF_WHY_MAX];

    conf_law_why_off(law, l->today, off);
    snprintf(r.name, sizeof(r.name), "%s", law->full_name);
    if (law->switched != NULL)
        snprintf(r.why, sizeof(r.why), "switched %s: %s", law->on ? "on" : "off", law->switched);
    else
        snprintf(r.why, sizeof(r.why), "%s%s%s", reading(law->confidence), law->on && off[0] != '\0' ? "; " : "",
                 law->on ? off : "");
    add(l, &r);
}

static void add_calendar(struct listing *l, const struct conf_calendar *c)
{
    struct row r = {
        .on = true,
        .confidence = c->confidence,
        .as_of_days = c->as_of_days,
        .review_days = c->review_days,
        .source = c->source,
    };

    snprintf(r.name, sizeof(r.name), "holidays/%s", c->name);
    snprintf(r.why, sizeof(r.why), "rules speak of it");
    add(l, &r);
}

/* What is on first, and of that what is to be reviewed first. */
static int compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    if (x->on != y->on)
        return x->on ? -1 : 1;
    if (x->review_days != y->review_days)
        return x->review_days < y->review_days ? -1 : 1;
    return strcmp(x->name, y->name);
}

static char *date_text(int32_t days, char out[DATE_MAX])
{
    struct date d = date_from_days(days);

    snprintf(out, DATE_MAX, "%04d-%02d-%02d", d.year % 10000, d.month % 100, d.day % 100);
    return out;
}

static void print(const struct listing *l, bool due_only)
{
    static const char *const head[TABLE_COLUMNS] = {"RULE", "IS", "WHY", "CONFIDENCE", "AGE", "REVIEW", "SOURCE"};
    struct text_table table = {.n_columns = 7};

    text_table_add(&table, head);
    for (size_t i = 0; i < l->n; i++) {
        const struct row *r = &l->rows[i];
        char age[32], review[64], date[DATE_MAX];
        const char confidence[2] = {r->confidence, '\0'};
        int32_t left = r->review_days - l->today;
        if (due_only && !is_due(l, r))
            continue;
        snprintf(age, sizeof(age), "%d d", l->today - r->as_of_days);
        if (left < 0)
            snprintf(review, sizeof(review), "%s, %d d ago", date_text(r->review_days, date), -left);
        else
            snprintf(review, sizeof(review), "%s, in %d d", date_text(r->review_days, date), left);
        const char *cells[TABLE_COLUMNS] = {r->name, r->on ? "on" : "off", r->why, confidence, age, review, r->source};
        text_table_add(&table, cells);
    }
    if (table.n_rows > 1)
        text_table_print(&table, true, stdout);
    text_table_clear(&table);
}

static void print_sum(const struct listing *l, const struct conf *conf)
{
    char date[DATE_MAX];

    printf("%zu packs: %zu rules and calendars on, %zu off; ", conf->n_packs, l->n_on, l->n - l->n_on);
    if (l->n_due > 0)
        printf("%zu due for review\n", l->n_due);
    else if (l->n_on > 0)
        printf("nothing is due before %s\n", date_text(l->rows[0].review_days, date));
    else
        printf("nothing is due\n");
}

/* Today (UTC), or the day of --at. */
static bool read_day(const char *at, int32_t *out)
{
    struct errmsg e;
    struct holiday day;

    *out = (int32_t)(clock_wall_ms() / MS_PER_DAY);
    if (at == NULL)
        return true;
    if (holiday_parse(slice_of(at), &day, &e) != OK || day.kind != HOLIDAY_DATE) {
        ctl_complain("--at: \"%.40s\" is no date: write YYYY-MM-DD", at);
        return false;
    }
    *out = date_to_days((struct date){day.year, day.month, day.day});
    return true;
}

static enum ctl_exit run(const struct ctl_call *call)
{
    struct errmsg e;
    struct listing l = {.today = 0};
    bool due_only = call->values[OPTION_DUE] != NULL;

    if (!read_day(call->values[OPTION_AT], &l.today))
        return CTL_FAILED;
    AUTO(conf_free) struct conf *conf = conf_load(call->conf_path, &e);
    if (conf == NULL) {
        ctl_complain("%s", e.text);
        return CTL_FAILED;
    }
    for (size_t i = 0; i < conf->n_packs; i++) {
        for (size_t k = 0; k < conf->packs[i].n_rules; k++)
            add_law(&l, &conf->packs[i].rules[k]);
    }
    for (const struct conf_calendar *c = conf->calendars; c != NULL; c = c->next)
        add_calendar(&l, c);
    if (l.n > 0)
        qsort(l.rows, l.n, sizeof(*l.rows), compare);
    print(&l, due_only);
    print_sum(&l, conf);
    free(l.rows);
    return due_only && l.n_due > 0 ? CTL_NO : CTL_DONE;
}

const struct ctl_command ctl_packs = {
    .name = "packs",
    .summary = "the rules of the packs in use: on or off, source, age, what is due for review",
    .options =
        {
            [OPTION_DUE] = {"due", NULL, "only what is due for review; exit status 1 when something is", false},
            [OPTION_AT] = {"at", "DATE", "as of that day (YYYY-MM-DD); today when it is not given", false},
        },
    .help = "Reads the configuration and its packs, and asks no daemon. A rule is on when its confidence is A (its\n"
            "text was read) or B (a page about it was read), off when it is C (not verified), and what\n"
            "policy.pack_rules says comes before both. Not legal advice.\n"
            "Exit status: 0 listed; 1 something is due, and --due was given; 2 the configuration could not be read.\n",
    .run = run,
};

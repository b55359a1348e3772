/* Holidays by rule: whole years from tests/policy/holiday.cases, and what is refused. */
#include <check.h>

#include "postern/policy.h"
#include "tests/policy/cases.h"

#define RULES_MAX 16

static size_t read_rules(struct slice text, struct holiday rules[RULES_MAX], struct errmsg *e)
{
    size_t n = 0;
    do {
        struct slice rule = cases_column(&text, ';');
        ck_assert_uint_lt(n, RULES_MAX);
        if (holiday_parse(rule, &rules[n++], e) != OK)
            return 0;
    } while (text.n > 0);
    return n;
}

/* All holidays of a year, as the table writes them. */
static void list_year(const struct holiday_calendar *c, int32_t year, char *out, size_t size)
{
    int32_t end = date_to_days((struct date){year + 1, 1, 1});
    size_t used = 0;
    out[0] = '\0';
    for (int32_t day = date_to_days((struct date){year, 1, 1}); day < end; day++) {
        struct date d = date_from_days(day);
        if (holiday_is(c, day))
            used += (size_t)snprintf(out + used, size - used, "%s%04d-%02d-%02d", used > 0 ? " " : "", d.year, d.month,
                                     d.day);
        ck_assert_uint_lt(used, size);
    }
}

START_TEST(table)
{
    struct cases cases;
    struct slice line;
    int n = 0;
    CASES_OPEN(&cases, "holiday.cases");
    while (cases_next(&cases, &line)) {
        struct slice text = cases_column(&line, '|');
        struct slice year_text = cases_column(&line, '|');
        struct slice days = slice_trim(line);
        struct holiday rules[RULES_MAX];
        struct errmsg e = {""};
        struct holiday_calendar calendar = {"test", rules, read_rules(text, rules, &e)};
        n++;
        if (slice_eq_cstr(year_text, "!")) {
            ck_assert_msg(calendar.n == 0, "line %d was not refused", cases.number);
            char start[128];
            snprintf(start, sizeof start, "\"%.*s\" is not a holiday: write 12-25, ", SLICE_ARG(text));
            ck_assert_msg(slice_starts(slice_of(e.text), start), "line %d: %s", cases.number, e.text);
            continue;
        }
        uint64_t year;
        char found[512];
        ck_assert_msg(calendar.n > 0, "line %d: %s", cases.number, e.text);
        ck_assert(slice_to_u64(year_text, 9999, &year));
        list_year(&calendar, (int32_t)year, found, sizeof found);
        ck_assert_msg(slice_eq_cstr(days, found), "line %d: found \"%s\"", cases.number, found);
    }
    ck_assert_int_gt(n, 50);
}
END_TEST

START_TEST(message_says_every_form)
{
    struct holiday h;
    struct errmsg e;
    ck_assert_int_eq(holiday_parse(SLICE("xmas"), &h, &e), ERR_SYNTAX);
    ck_assert_str_eq(e.text, "\"xmas\" is not a holiday: write 12-25, \"12-25 observed\" (US), \"12-25 monday\" or "
                             "\"12-25 sunday\" (kept on Monday), \"1st mon 09\", \"last mon 05\", "
                             "\"mon from 05-18\", easter-2 or 2026-06-19");
}
END_TEST

START_TEST(empty_calendar_has_no_holiday)
{
    struct holiday_calendar none = {"none", NULL, 0};
    ck_assert(!holiday_is(&none, date_to_days((struct date){2026, 12, 25})));
}
END_TEST

/* Around each occurrence of a century: the day itself, and when that is a weekend one day at work more. */
START_TEST(shifts_over_a_century)
{
    static const char *const texts[] = {"01-01 observed", "12-31 monday", "07-04 observed", "01-01 monday"};
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        struct holiday h;
        ck_assert_int_eq(holiday_parse(slice_of(texts[i]), &h, NULL), OK);
        struct holiday_calendar calendar = {"one", &h, 1};
        for (int32_t year = 1990; year <= 2089; year++) {
            int32_t own = date_to_days((struct date){year, h.month, h.day});
            bool weekend = date_weekday(own) >= SATURDAY;
            int found = 0;
            for (int32_t day = own - 7; day <= own + 7; day++) {
                bool is = holiday_is(&calendar, day);
                found += is;
                if (is && day != own)
                    ck_assert(date_weekday(day) == MONDAY || date_weekday(day) == FRIDAY);
            }
            ck_assert(holiday_is(&calendar, own));
            ck_assert_int_eq(found, weekend ? 2 : 1);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy/holiday");
    TCase *tcase = tcase_create("holiday");
    tcase_add_test(tcase, table);
    tcase_add_test(tcase, message_says_every_form);
    tcase_add_test(tcase, empty_calendar_has_no_holiday);
    tcase_add_test(tcase, shifts_over_a_century);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/* Preferences in force: the table tests/policy/merge.cases. */
#include <check.h>

#include "postern/policy.h"
#include "tests/policy/preference_case.h"

#define VALUES_MAX 8
#define TEXT_MAX   128

static const char *join(char out[TEXT_MAX], uint32_t set, size_t n, const char *(*name)(unsigned))
{
    size_t used = 0;
    for (unsigned i = 0; i < n; i++) {
        if (set >> i & 1)
            used += (size_t)snprintf(out + used, TEXT_MAX - used, "%s%s", used == 0 ? "" : ",", name(i));
    }
    return used == 0 ? "none" : out;
}

static const char *channel_word(unsigned i)
{
    return channel_name((enum channel)i);
}

static const char *key_word(unsigned i)
{
    return preference_key_name((enum preference_key)i);
}

static const char *number_word(char out[TEXT_MAX], int64_t n)
{
    snprintf(out, TEXT_MAX, "%lld", (long long)n);
    return out;
}

static const char *slice_word(char out[TEXT_MAX], struct slice s)
{
    snprintf(out, TEXT_MAX, "%.*s", SLICE_ARG(s));
    return out;
}

/* Open minutes a week, or "unknown". */
static const char *hours_word(char out[TEXT_MAX], const struct preferences *p)
{
    int64_t minutes = 0;
    for (size_t day = 0; day < 7; day++) {
        for (size_t i = 0; i < p->hours.weekday[day].n; i++)
            minutes += p->hours.weekday[day].w[i].end_min - p->hours.weekday[day].w[i].start_min;
    }
    return p->hours_known == KNOWN ? number_word(out, minutes) : "unknown";
}

static const char *known_channel(enum known known, enum channel c)
{
    return known == KNOWN ? channel_name(c) : "none";
}

static const char *got(const struct preferences *p, const char *key, char out[TEXT_MAX])
{
    static const char *const digest[] = {"none", "daily", "weekly"};
    static const char *const notify[] = {"all", "summary", "action"};
    static const char *const urgency[] = {"none", "P0", "P1"};
    static const char *const scopes[] = {"any", "channel", "category", "topic"};
    const struct {
        const char *key, *value;
    } rows[] = {
        {"primary", known_channel(p->has_primary, p->primary)},
        {"fallback", known_channel(p->has_fallback, p->fallback)},
        {"digest", digest[p->digest]},
        {"notify", notify[p->notify]},
        {"urgency", urgency[p->urgency_override]},
        {"scope", scopes[p->max_scope[PERIOD_DAY]]},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        if (strcmp(key, rows[i].key) == 0)
            return rows[i].value;
    }
    const struct {
        const char *key;
        struct slice value;
    } texts[] = {
        {"language", p->language}, {"format", p->format}, {"formality", p->formality}, {"depth", p->technical_depth}};
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        if (strcmp(key, texts[i].key) == 0)
            return slice_word(out, texts[i].value);
    }
    const struct {
        const char *key;
        int32_t value;
    } caps[] = {
        {"day", p->max_per[PERIOD_DAY]}, {"week", p->max_per[PERIOD_WEEK]}, {"month", p->max_per[PERIOD_MONTH]}};
    for (size_t i = 0; i < N_ELEMENTS(caps); i++) {
        if (strcmp(key, caps[i].key) == 0)
            return number_word(out, caps[i].value);
    }
    if (strcmp(key, "never") == 0)
        return join(out, p->never, CHANNEL_N, channel_word);
    if (strcmp(key, "flagged") == 0)
        return join(out, p->flagged, PREFERENCE_N, key_word);
    return strcmp(key, "hours") == 0 ? hours_word(out, p) : "(no such word)";
}

static size_t read_values(struct slice s, struct preference values[VALUES_MAX])
{
    size_t n = 0;
    /* Blanks around the slash: zone names hold one too. */
    for (const char *slash; s.n > 0; n++) {
        ck_assert_uint_lt(n, VALUES_MAX);
        slash = memmem(s.p, s.n, " / ", 3);
        size_t len = slash == NULL ? s.n : (size_t)(slash - s.p);
        values[n] = preference_case((struct slice){s.p, len});
        size_t used = slash == NULL ? len : len + 3;
        s = (struct slice){s.p + used, s.n - used};
    }
    return n;
}

START_TEST(merges)
{
    struct cases c;
    struct slice line;
    unsigned n = 0, failures = 0;
    const struct category news = {.name = "news", .class = CLASS_MARKETING};
    const struct message m = {.category = &news, .channel = CHANNEL_EMAIL, .topic = SLICE("shoes")};
    CASES_OPEN(&c, "merge.cases");
    for (; cases_next(&c, &line); n++) {
        struct preference values[VALUES_MAX];
        struct preferences p;
        struct slice name = cases_column(&line, '|'), stated = cases_column(&line, '|');
        merge_preferences(values, read_values(stated, values), &m, &p);
        line = slice_trim(line);
        ck_assert_msg(line.n > 0, "line %d expects nothing", c.number);
        while (line.n > 0) {
            char key[TEXT_MAX], out[TEXT_MAX];
            struct slice expected = cases_column(&line, ' ');
            slice_word(key, cases_column(&expected, '='));
            const char *value = got(&p, key, out);
            if (!slice_eq_cstr(expected, value)) {
                fprintf(stderr, "merge.cases:%d: %.*s: %s: expected %.*s, got %s\n", c.number, SLICE_ARG(name), key,
                        SLICE_ARG(expected), value);
                failures++;
            }
        }
    }
    ck_assert_msg(failures == 0, "%u of %u cases failed", failures, n);
    ck_assert_uint_ge(n, 55);
}
END_TEST

/* Of what one place states: the value that stands, whether it is in dispute, and else what took it back. */
static const struct {
    const char *stated;
    size_t of, stands; /* places in stated; SIZE_MAX: none */
    bool flagged;
} standing[] = {
    {"language contact customer any t1 - high de", 0, 0, false},
    {"language contact customer any t1 - high de / language contact customer any t2 - high en", 0, 1, false},
    {"language contact customer any t1 - high de / language contact customer topic:hats t2 - high en", 0, 0, false},
    {"language contact customer topic:shoes t1 - high de / language contact customer topic:hats t2 - high en", 0, 0,
     false},
    {"language contact customer any t1 - high de / format contact customer any t2 - high brief", 0, 0, false},
    {"language contact import any t1 a high de / language contact import any t1 b high en", 0, 0, true},
    {"language contact customer any t1 - high de / language contact customer any t2 - high -", 0, 1, false},
    {"language contact customer any t1 - high - / language contact customer any t2 - high -", 0, 1, false},
    {"language contact customer any t3 - high - / language contact customer any t2 - high -", 0, 0, false},
};

START_TEST(what_stands)
{
    struct preference values[VALUES_MAX];
    size_t n = read_values(slice_of(standing[_i].stated), values);
    bool flagged = !standing[_i].flagged;
    const struct preference *p = merge_standing(values, n, &values[standing[_i].of], &flagged);
    ck_assert_ptr_eq(p, &values[standing[_i].stands]);
    ck_assert(flagged == standing[_i].flagged);
    ck_assert_ptr_eq(merge_standing(values, n, &values[standing[_i].of], NULL), p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy_merge");
    TCase *table = tcase_create("table");
    tcase_add_test(table, merges);
    tcase_add_loop_test(table, what_stands, 0, (int)N_ELEMENTS(standing));
    suite_add_tcase(suite, table);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

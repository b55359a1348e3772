/*
 * The engine and its rules: the tables tests/policy/rules_*.cases.
 *
 *   = section
 *   always WORDS                      given to every case of the section
 *   NAME | WORDS | OUTCOME EXPECTED   a case
 *   grid RULE | WORDS | CLASS=AUTOMATED/AGENT ...   what the rule says for each class and sender
 *
 * WORDS are those of bench.h.  A word in EXPECTED that names a rule says what that rule
 * alone leads to: note, ask, wait (soft defer), defer (hard), digest, block, "-" for nothing.
 */
#include "tests/policy/bench.h"

/* --- deciding --------------------------------------------------------------------- */

/* What is given of single caps; of the others nothing was sent. */
static void count_by_name(struct bench *b)
{
    for (size_t i = 0; i < b->facts.n_checks; i++) {
        b->facts.counts[i] = (struct cap_count){0};
        for (size_t k = 0; k < b->n_cap_counts; k++) {
            if (strcmp(b->facts.checks[i].cap->name, b->cap_counts_of[k]) == 0)
                b->facts.counts[i] = b->cap_counts[k];
        }
    }
}

/* One count for every check, or "2,0,1" in their order; or each by its name. */
static void bench_count(struct bench *b)
{
    policy_caps(&b->facts);
    if (b->counts.n == 0 && b->n_cap_counts == 0)
        return;
    b->facts.counts_known = KNOWN;
    if (b->n_cap_counts > 0) {
        count_by_name(b);
        return;
    }
    int32_t count = 0;
    for (size_t i = 0; i < b->facts.n_checks; i++) {
        if (b->counts.n > 0)
            count = (int32_t)number(b, cases_column(&b->counts, ','));
        b->facts.counts[i] = (struct cap_count){count, b->oldest_ms, b->latest_ms};
    }
}

static void bench_decide(struct bench *b)
{
    policy_prepare(&b->facts);
    bench_count(b);
    policy_decide(&b->facts, &b->decision);
}

/* --- what is expected ------------------------------------------------------------- */

static void same_text(struct bench *b, const char *what, struct slice expected, const char *got)
{
    if (!slice_eq_cstr(expected, got))
        wrong(b, "%s: expected \"%.*s\", got \"%s\"", what, SLICE_ARG(expected), got);
}

static void same_flag(struct bench *b, const char *what, struct slice expected, bool got)
{
    same_text(b, what, expected, got ? "yes" : "no");
}

static void same_number(struct bench *b, const char *what, struct slice expected, int64_t got)
{
    if (number(b, expected) != got)
        wrong(b, "%s: expected %.*s, got %lld", what, SLICE_ARG(expected), (long long)got);
}

static void same_time(struct bench *b, const char *what, struct slice expected, int64_t got)
{
    char words[RFC3339_MAX];
    int64_t at = slice_eq_cstr(expected, "none") ? 0 : instant(b, expected);
    if (at != got)
        wrong(b, "%s: expected %.*s, got %s", what, SLICE_ARG(expected),
              got == 0 ? "none" : rfc3339_format(got, words));
}

/* Names of the violations in their order; "none" for none. */
static const char *rules_text(const struct decision *d, bool shadow_only, char out[TEXT_MAX])
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < d->n_violations; i++) {
        if (!shadow_only || d->violations[i].shadow)
            n += (size_t)snprintf(out + n, TEXT_MAX - n, "%s%s", n == 0 ? "" : ",", rule_name(d->violations[i].rule));
    }
    return n == 0 ? "none" : out;
}

/* Keys that several say otherwise of, with equal claim. */
static const char *flagged_text(const struct facts *f, char out[TEXT_MAX])
{
    size_t n = 0;
    for (unsigned i = 0; i < PREFERENCE_N; i++) {
        if (f->preferences.flagged >> i & 1)
            n += (size_t)snprintf(out + n, TEXT_MAX - n, "%s%s", n == 0 ? "" : ",",
                                  preference_key_name((enum preference_key)i));
    }
    return n == 0 ? "none" : out;
}

static void same_detail(struct bench *b, struct slice expected)
{
    const char *part = text(b, expected);
    for (size_t i = 0; i < b->decision.n_violations; i++) {
        if (strstr(b->decision.violations[i].detail, part) != NULL)
            return;
    }
    wrong(b, "no detail holds \"%s\", the first is \"%s\"", part, b->decision.violations[0].detail);
}

static const char *cell_of(const struct decision *d, enum rule rule)
{
    static const char *const cells[][4] = {
        [OUTCOME_FORWARD] = {"?", "note", "?", "?"},         [OUTCOME_REDIRECT] = {"?", "?", "redirect", "redirect"},
        [OUTCOME_DEFER] = {"?", "?", "wait", "defer"},       [OUTCOME_DIGEST] = {"?", "?", "digest", "?"},
        [OUTCOME_SOFT_BLOCK] = {"?", "?", "ask", "?"},       [OUTCOME_HOLD] = {"?", "?", "hold", "hold"},
        [OUTCOME_BLOCK] = {"?", "?", "soft-block", "block"},
    };
    for (size_t i = 0; i < d->n_violations; i++) {
        if (d->violations[i].rule == rule)
            return cells[d->violations[i].outcome][d->violations[i].level];
    }
    return "-";
}

/* check.NAME=SINCE,NEXT,LIMIT,CLASSES,CHANNELS,any|own category,any|own subject,GAP_S: what is asked for that cap. */
static bool expect_named_check(struct bench *b, const char *key, struct slice v)
{
    char got[TEXT_MAX];
    if (strncmp(key, "check.", 6) != 0)
        return false;
    for (size_t i = 0; i < b->facts.n_checks; i++) {
        const struct cap_check *c = &b->facts.checks[i];
        if (strcmp(c->cap->name, key + 6) != 0)
            continue;
        snprintf(got, sizeof got, "%lld,%lld,%d,%u,%u,%s,%s,%lld", (long long)c->since_ms, (long long)c->next_ms,
                 c->limit, c->classes, c->channels, c->category_id == UINT32_MAX ? "any" : "own",
                 c->subject_id == UINT32_MAX ? "any" : "own", (long long)c->gap_ms / 1000);
        same_text(b, key, v, got);
        return true;
    }
    wrong(b, "%s: no such cap is asked", key);
    return true;
}

/* When one rule passes: passes.RULE=TIME, or none. */
static bool expect_passes(struct bench *b, const char *key, struct slice v)
{
    enum rule rule;
    if (strncmp(key, "passes.", 7) != 0 || !rule_parse(slice_of(key + 7), &rule))
        return false;
    for (size_t i = 0; i < b->decision.n_violations; i++) {
        if (b->decision.violations[i].rule != rule)
            continue;
        same_time(b, key, v, b->decision.violations[i].passes_at_ms);
        return true;
    }
    wrong(b, "%s: the rule did not fire", key);
    return true;
}

/* What the counters are asked, for the first check. */
static bool expect_check(struct bench *b, const char *key, struct slice v)
{
    const struct cap_check *c = &b->facts.checks[0];
    if (strcmp(key, "checks") == 0)
        same_number(b, key, v, (int64_t)b->facts.n_checks);
    else if (strcmp(key, "since") == 0)
        same_time(b, key, v, c->since_ms);
    else if (strcmp(key, "next") == 0)
        same_time(b, key, v, c->next_ms);
    else if (strcmp(key, "limit") == 0)
        same_number(b, key, v, c->limit);
    else if (strcmp(key, "gap_s") == 0)
        same_number(b, key, v, c->gap_ms / 1000);
    else if (strcmp(key, "counts_channels") == 0)
        same_number(b, key, v, c->channels);
    else if (strcmp(key, "counts_classes") == 0)
        same_number(b, key, v, c->classes);
    else if (strcmp(key, "counts_category") == 0)
        same_text(b, key, v, c->category_id == UINT32_MAX ? "any" : "own");
    else
        return false;
    return true;
}

static bool expect_time(struct bench *b, const char *key, struct slice v)
{
    const struct decision *d = &b->decision;
    if (strcmp(key, "release") == 0)
        same_time(b, key, v, d->release_at_ms);
    else if (strcmp(key, "window_end") == 0)
        same_time(b, key, v, d->window_end_ms);
    else if (strcmp(key, "expires") == 0)
        same_time(b, key, v, d->expires_at_ms);
    else if (strcmp(key, "passes") == 0)
        same_time(b, key, v, d->violations[0].passes_at_ms);
    else
        return false;
    return true;
}

static bool expect_flag(struct bench *b, const char *key, struct slice v)
{
    const struct decision *d = &b->decision;
    if (strcmp(key, "overridable") == 0)
        same_flag(b, key, v, d->overridable);
    else if (strcmp(key, "timing") == 0)
        same_flag(b, key, v, d->timing_only);
    else if (strcmp(key, "degraded") == 0)
        same_flag(b, key, v, d->degraded);
    else
        return false;
    return true;
}

static bool expect_text(struct bench *b, const char *key, struct slice v)
{
    const struct decision *d = &b->decision;
    char code[PST_CODE_MAX], prompt[PROMPT_MAX], rules[TEXT_MAX];
    if (strcmp(key, "level") == 0)
        same_text(b, key, v, level_name(d->level));
    else if (strcmp(key, "reason") == 0)
        same_text(b, key, v, reason_name(d->reason));
    else if (strcmp(key, "severity") == 0)
        same_text(b, key, v, severity_name(d->violations[0].severity));
    else if (strcmp(key, "rules") == 0)
        same_text(b, key, v, rules_text(d, false, rules));
    else if (strcmp(key, "shadows") == 0)
        same_text(b, key, v, rules_text(d, true, rules));
    else if (strcmp(key, "would") == 0)
        same_text(b, key, v, outcome_name(d->would_have));
    else if (strcmp(key, "code") == 0)
        same_text(b, key, v, decision_code(d, code));
    else if (strcmp(key, "prompt") == 0)
        same_text(b, key, v, policy_prompt(d, &b->message, prompt));
    else if (strcmp(key, "flagged") == 0)
        same_text(b, key, v, flagged_text(&b->facts, rules));
    else if (strcmp(key, "local") == 0)
        same_text(b, key, v, d->local_rule);
    else if (strcmp(key, "zones") == 0)
        same_text(b, key, v, d->zones);
    else
        return false;
    return true;
}

static void expect(struct bench *b, struct slice key, struct slice v)
{
    enum rule rule;
    const char *word = text(b, key);
    if (rule_parse(key, &rule))
        same_text(b, word, v, cell_of(&b->decision, rule));
    else if (slice_eq_cstr(key, "detail"))
        same_detail(b, v);
    else if (!expect_time(b, word, v) && !expect_flag(b, word, v) && !expect_text(b, word, v) &&
             !expect_check(b, word, v) && !expect_named_check(b, word, v) && !expect_passes(b, word, v))
        wrong(b, "\"%s\" cannot be expected", word);
}

/* --- the files --------------------------------------------------------------------- */

/* Decide the case again at another time: with the same obstacles, or with slots free and counters back. */
static enum outcome outcome_at(struct bench *b, int64_t at_ms, bool obstacles)
{
    struct facts f = b->facts;
    struct decision d;
    f.now_ms = at_ms;
    if (!obstacles) {
        f.counts_known = UNKNOWN;
        f.counters_down = f.profile_stale = false;
    }
    policy_decide(&f, &d);
    return d.outcome;
}

/* What every deferral promises: the first instant at which it passes, and until when. */
static void keeps_its_promise(struct bench *b)
{
    int64_t release_ms = b->decision.release_at_ms, end_ms = b->decision.window_end_ms;
    if (release_ms <= b->facts.now_ms)
        wrong(b, "deferred to no later time");
    if (outcome_at(b, release_ms - 1, true) <= OUTCOME_REDIRECT)
        wrong(b, "passes before its release");
    if (outcome_at(b, release_ms, false) > OUTCOME_REDIRECT)
        wrong(b, "does not pass at its release");
    if (end_ms != 0 && outcome_at(b, end_ms - 1, false) > OUTCOME_REDIRECT)
        wrong(b, "does not pass until the end of its window");
    if (end_ms != 0 && outcome_at(b, end_ms, false) <= OUTCOME_REDIRECT)
        wrong(b, "passes after the end of its window");
}

static void run_case(struct bench *b, struct slice always, struct slice words, struct slice expected)
{
    struct slice key, v;
    bench_reset(b);
    give_words(b, always);
    give_words(b, words);
    bench_decide(b);
    struct slice outcome = cases_column(&expected, ' ');
    same_text(b, "outcome", outcome, outcome_name(b->decision.outcome));
    while (next_word(&expected, &key, &v))
        expect(b, key, v);
    if (b->decision.outcome == OUTCOME_DEFER && b->promises)
        keeps_its_promise(b);
    b->cases++;
}

/* "support=wait/ask": automated and agent */
static void run_grid(struct bench *b, struct slice always, struct slice words, struct slice cells)
{
    enum rule rule = PARSED(enum rule, rule_parse, b->name);
    struct slice class, cell;
    unsigned seen = 0;
    while (next_word(&cells, &class, &cell)) {
        for (unsigned sender = 0; sender < SENDER_N; sender++) {
            char what[64];
            bench_reset(b);
            given_class(b, class);
            b->message.sender_kind = (enum sender_kind)sender;
            give_words(b, always);
            give_words(b, words);
            bench_decide(b);
            snprintf(what, sizeof what, "%.*s by %s", SLICE_ARG(class), sender_kind_name((enum sender_kind)sender));
            same_text(b, what, cases_column(&cell, '/'), cell_of(&b->decision, rule));
            b->cases++;
        }
        seen++;
    }
    if (seen != CLASS_N)
        wrong(b, "a grid has every class");
}

static void run_line(struct bench *b, struct slice always, struct slice line)
{
    b->name = cases_column(&line, '|');
    struct slice words = cases_column(&line, '|');
    if (slice_starts(b->name, "grid ")) {
        b->name = slice_trim((struct slice){b->name.p + 5, b->name.n - 5});
        run_grid(b, always, words, slice_trim(line));
    } else {
        run_case(b, always, words, slice_trim(line));
    }
}

/* Every case of c; returns what was run and what failed. */
static struct bench *run_all(struct cases *c, bool remembers, bool promises)
{
    static struct bench b;
    struct slice line;
    char always[TEXT_MAX] = "";
    b = (struct bench){.file = c->name, .remembers = remembers, .promises = promises};
    arena_init(&b.arena, 1 << 20);
    while (cases_next(c, &line)) {
        b.line = c->number;
        if (line.p[0] == '=')
            always[0] = '\0';
        else if (slice_starts(line, "always "))
            snprintf(always, sizeof always, "%.*s", (int)line.n - 7, line.p + 7);
        else
            run_line(&b, slice_of(always), line);
    }
    arena_clear(&b.arena);
    return &b;
}

static void run_file(struct cases *c, bool remembers, unsigned cases_min)
{
    const struct bench *b = run_all(c, remembers, true);
    ck_assert_msg(b->failures == 0, "%u of %u cases failed in %s", b->failures, b->cases, c->name);
    ck_assert_msg(b->cases >= cases_min, "only %u cases in %s", b->cases, c->name);
}

/* Cases that somebody else makes up and expects: tests/oracle.  There consents end while a message waits. */
static int run_stdin(void)
{
    struct cases c = {.file = stdin, .name = "stdin"};
    const struct bench *b = run_all(&c, true, false);
    printf("%u cases, %u differences\n", b->cases, b->failures);
    return b->cases > 0 && b->failures == 0 ? 0 : 1;
}

#define FILE_TEST(name_, file_, remembers_, cases_min_)                                                                \
    START_TEST(name_)                                                                                                  \
    {                                                                                                                  \
        struct cases c;                                                                                                \
        CASES_OPEN(&c, file_);                                                                                         \
        run_file(&c, remembers_, cases_min_);                                                                          \
    }                                                                                                                  \
    END_TEST

FILE_TEST(levels, "rules_levels.cases", false, 300)
FILE_TEST(optouts, "rules_optout.cases", false, 60)
FILE_TEST(channels_and_wishes, "rules_wishes.cases", false, 40)
FILE_TEST(hours, "rules_hours.cases", false, 60)
FILE_TEST(laws, "rules_law.cases", false, 90)
/* The memo changes no answer. */
FILE_TEST(hours_remembered, "rules_hours.cases", true, 60)
FILE_TEST(laws_remembered, "rules_law.cases", true, 90)
FILE_TEST(frequency, "rules_frequency.cases", false, 50)
FILE_TEST(outcomes, "rules_outcomes.cases", false, 50)

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "-") == 0)
        return run_stdin();
    Suite *suite = suite_create("policy_rules");
    TCase *files = tcase_create("files");
    tcase_set_timeout(files, 60); /* two cores, and others at work */
    tcase_add_test(files, levels);
    tcase_add_test(files, optouts);
    tcase_add_test(files, channels_and_wishes);
    tcase_add_test(files, hours);
    tcase_add_test(files, laws);
    tcase_add_test(files, hours_remembered);
    tcase_add_test(files, laws_remembered);
    tcase_add_test(files, frequency);
    tcase_add_test(files, outcomes);
    suite_add_tcase(suite, files);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

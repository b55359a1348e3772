/*
 * One stated value of a table: "KEY AUTHORITY SOURCE SCOPE tTIME SYSTEM CONFIDENCE TEXT", e.g.
 * "digest contact customer any t5 - high weekly".  SCOPE: any, or channel:NAME, category:NAME,
 * topic:NAME.  "-" is no system, and as TEXT it is null.  Slices point into the line.
 */
#ifndef POSTERN_TESTS_POLICY_PREFERENCE_CASE_H
#define POSTERN_TESTS_POLICY_PREFERENCE_CASE_H

#include <check.h>

#include "postern/profile.h"
#include "tests/policy/cases.h"

static inline size_t preference_word(struct slice word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (slice_eq_cstr(word, words[i]))
            return i;
    }
    ck_abort_msg("unknown word \"%.*s\"", SLICE_ARG(word));
}

static inline struct preference preference_case(struct slice s)
{
    static const char *const authorities[] = {"contact", "locked", "agent", "behaviour", "account", "organisation"};
    static const char *const confidences[] = {"low", "medium", "high"};
    static const char *const scopes[] = {"any", "channel", "category", "topic"};
    struct preference p = {.version = 1};
    struct slice key = cases_column(&s, ' ');
    ck_assert_msg(preference_key_parse(key, &p.key), "no key \"%.*s\"", SLICE_ARG(key));
    p.authority = (enum authority)preference_word(cases_column(&s, ' '), authorities, N_ELEMENTS(authorities));
    ck_assert(source_parse(cases_column(&s, ' '), &p.source));
    p.scope = cases_column(&s, ' ');
    p.specificity = (enum specificity)preference_word(cases_column(&p.scope, ':'), scopes, N_ELEMENTS(scopes));
    struct slice time = cases_column(&s, ' ');
    uint64_t at = 0;
    ck_assert(time.n > 1 && slice_to_u64((struct slice){time.p + 1, time.n - 1}, 1000000, &at));
    p.at_ms = (int64_t)at;
    struct slice system = cases_column(&s, ' ');
    p.system = slice_eq_cstr(system, "-") ? SLICE("") : system;
    p.confidence = (enum confidence)preference_word(cases_column(&s, ' '), confidences, N_ELEMENTS(confidences));
    p.text = slice_eq_cstr(slice_trim(s), "-") ? SLICE("") : slice_trim(s);
    return p;
}

#endif

/* The words that give laws: hours, consent and opt-outs of rule packs.  Part of bench.h. */
#ifndef POSTERN_TESTS_POLICY_BENCH_LAW_H
#define POSTERN_TESTS_POLICY_BENCH_LAW_H

#include "tests/policy/bench_policy.h"

/* legal=NAME/CLASSES/CHANNELS/REGIONS/WINDOWS, allowed; a rule whose name begins with "delivery" counts delivery */
static void given_legal(struct bench *b, struct slice v)
{
    struct legal_window *w = &b->legal[row(&b->policy.n_legal)];
    *w = (struct legal_window){.counts_delivery = slice_starts(v, "delivery")};
    w->law = law(b, &v);
    w->set = windows(b, v, WINDOW_ALLOWED);
}

/* "12mo", "90d", "10b" (business days), "5m" */
static struct law_span span(struct bench *b, struct slice s)
{
    bool months = s.n > 2 && slice_eq_cstr((struct slice){s.p + s.n - 2, 2}, "mo");
    size_t unit = months ? 2 : 1;
    int32_t n = (int32_t)number(b, (struct slice){s.p, s.n - unit});
    switch (months ? 'M' : s.p[s.n - 1]) {
    case 'M':
        return (struct law_span){.months = n};
    case 'd':
        return (struct law_span){.days = n};
    case 'b':
        return (struct law_span){.business_days = n};
    case 'm':
        return (struct law_span){.seconds = n * 60};
    default:
        wrong(b, "\"%.*s\" is no span", SLICE_ARG(s));
        return (struct law_span){0};
    }
}

/* "a,b" */
static const char *const *words_of(struct bench *b, struct slice s, size_t *n)
{
    const char **words = arena_calloc(&b->arena, ROWS_MAX, sizeof *words);
    for (*n = 0; s.n > 0; (*n)++)
        words[*n] = text(b, cases_column(&s, ','));
    return words;
}

/* law_consent="NAME/CLASSES/CHANNELS/REGIONS/need=.. accepts=a,b expires=SPAN basis=a,b night=WINDOWS" */
static void given_law_consent(struct bench *b, struct slice v)
{
    static const char *const needs[] = {"none", "opt_out", "opt_in"};
    struct legal_consent *c = &b->legal_consents[row(&b->policy.n_legal_consents)];
    *c = (struct legal_consent){.law = law(b, &v), .night = {.sense = WINDOW_QUIET}};
    while (v.n > 0) {
        struct slice word = cases_column(&v, ' ');
        struct slice key = cases_column(&word, '=');
        for (unsigned i = 0; i < N_ELEMENTS(needs) && slice_eq_cstr(key, "need"); i++)
            c->need = slice_eq_cstr(word, needs[i]) ? (enum consent_need)i : c->need;
        if (slice_eq_cstr(key, "accepts"))
            c->accepts = words_of(b, word, &c->n_accepts);
        if (slice_eq_cstr(key, "basis"))
            c->basis = words_of(b, word, &c->n_basis);
        if (slice_eq_cstr(key, "expires"))
            c->expires = span(b, word);
        if (slice_eq_cstr(key, "night"))
            c->night = windows(b, word, WINDOW_QUIET);
    }
}

/* law_opt_out="NAME/CLASSES/CHANNELS/REGIONS/within=SPAN reask=SPAN" */
static void given_law_opt_out(struct bench *b, struct slice v)
{
    struct legal_opt_out *o = &b->legal_opt_outs[row(&b->policy.n_legal_opt_outs)];
    *o = (struct legal_opt_out){.law = law(b, &v)};
    while (v.n > 0) {
        struct slice word = cases_column(&v, ' ');
        struct slice key = cases_column(&word, '=');
        *(slice_eq_cstr(key, "within") ? &o->within : &o->reask_after) = span(b, word);
    }
}

#endif

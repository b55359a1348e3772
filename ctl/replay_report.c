/*
 * What a replay found, for people and for machines.  Knows the sums only.  What is
 * not known is said as plainly as what is.
 */
#include "replay.h"

#include <jansson.h>
#include <stdio.h>

#include "ctl_text.h"

#define IDS_MAX (REPLAY_EXAMPLES * 24 + 8)
#define NUM_MAX 24

/* What no row holds: the reader of a replay has to know it. */
static const char *const limits[] = {
    "a message that would newly be kept is released when it is due, without the spread over the minutes after it",
    "a message that would newly go is taken as accepted by its provider",
    "\"same content\" is as it was found then, and channels for which a message held another body are not on record",
    "category and kind of sender are as recorded: mappings and keys of the other configuration are not asked",
    "an opt-out of one address of a contact is taken to bind its others from when it was said",
};

static const char *count_text(uint64_t n, char out[NUM_MAX])
{
    snprintf(out, NUM_MAX, "%llu", (unsigned long long)n);
    return out;
}

static const char *ids_text(const struct replay_examples *x, char out[IDS_MAX])
{
    char id[32];
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < REPLAY_EXAMPLES && i < x->n; i++)
        n += (size_t)snprintf(out + n, IDS_MAX - n, "%s%s", i == 0 ? "" : " ", decision_id_format(x->decision[i], id));
    if (x->n > REPLAY_EXAMPLES)
        snprintf(out + n, IDS_MAX - n, " ...");
    return out;
}

/* --- for people ---------------------------------------------------------------------------- */

static void print_outcomes(const struct replay_sum *s)
{
    struct text_table t = {.n_columns = 4, .indent = 2};
    char n[NUM_MAX], ids[IDS_MAX];

    text_table_add(&t, (const char *const[]){"recorded", "replayed", "decisions", "for example"});
    for (unsigned from = 0; from < OUTCOME_N; from++) {
        for (unsigned to = 0; to < OUTCOME_N; to++) {
            const struct replay_examples *x = &s->outcomes[from][to];
            if (x->n > 0)
                text_table_add(&t,
                               (const char *const[]){outcome_name((enum outcome)from), outcome_name((enum outcome)to),
                                                     count_text(x->n, n), from == to ? "" : ids_text(x, ids)});
        }
    }
    puts("\nOutcomes");
    text_table_print(&t, true, stdout);
    text_table_clear(&t);
}

static void print_later(const struct replay_sum *s)
{
    for (unsigned o = 0; o < OUTCOME_N; o++) {
        if (s->later[o] > 0)
            printf("  of those newly kept, %llu end as %s when they are due\n", (unsigned long long)s->later[o],
                   outcome_name((enum outcome)o));
    }
    if (s->waiting > 0)
        printf("  of those newly kept, %llu are due after the last decision on record\n",
               (unsigned long long)s->waiting);
}

static void print_rules(const struct replay_sum *s)
{
    struct text_table t = {.n_columns = 4, .indent = 2};
    char n[NUM_MAX], ids[IDS_MAX];

    text_table_add(&t, (const char *const[]){"rule", "change", "decisions", "for example"});
    for (unsigned rule = 0; rule < RULE_N; rule++) {
        const struct replay_examples *both[] = {&s->fires[rule], &s->ends[rule]};
        for (size_t i = 0; i < N_ELEMENTS(both); i++) {
            if (both[i]->n > 0)
                text_table_add(&t, (const char *const[]){rule_name((enum rule)rule),
                                                         i == 0 ? "fires now" : "fires no longer",
                                                         count_text(both[i]->n, n), ids_text(both[i], ids)});
        }
    }
    if (t.n_rows > 1) {
        puts("\nRules");
        text_table_print(&t, true, stdout);
    }
    text_table_clear(&t);
}

static void print_shadow(const struct replay_sum *s)
{
    struct text_table t = {.n_columns = 4, .indent = 2};
    char n[NUM_MAX], ids[IDS_MAX];

    text_table_add(&t, (const char *const[]){"rule in shadow", "would lead to", "decisions", "for example"});
    for (unsigned rule = 0; rule < RULE_N; rule++) {
        for (unsigned o = 0; o < OUTCOME_N; o++) {
            const struct replay_examples *x = &s->shadow[rule][o];
            if (x->n > 0)
                text_table_add(&t, (const char *const[]){rule_name((enum rule)rule), outcome_name((enum outcome)o),
                                                         count_text(x->n, n), ids_text(x, ids)});
        }
    }
    if (t.n_rows > 1) {
        puts("\nWould have, had the rules in shadow acted");
        text_table_print(&t, true, stdout);
        for (unsigned o = 0; o < OUTCOME_N; o++) {
            if (s->would_have[o] > 0)
                printf("  %llu decisions would have been %s instead\n", (unsigned long long)s->would_have[o],
                       outcome_name((enum outcome)o));
        }
    }
    text_table_clear(&t);
}

static void print_count(uint64_t n, const char *what)
{
    if (n > 0)
        printf("%llu %s\n", (unsigned long long)n, what);
}

void replay_print(const struct replay_sum *s, const struct conf *conf, int64_t since_ms)
{
    char since[RFC3339_MAX], ids[IDS_MAX];

    printf("replay: %llu decisions since %s, asked again of %s (policy %08x)\n", (unsigned long long)s->decided,
           rfc3339_format(since_ms, since), conf->path, conf->policy.version);
    printf("%llu would have another outcome, %llu the same\n", (unsigned long long)s->changed,
           (unsigned long long)(s->decided - s->changed));
    if (s->moved.n > 0)
        printf("%llu would be kept until another time: %s\n", (unsigned long long)s->moved.n, ids_text(&s->moved, ids));
    print_count(s->not_asked,
                "decisions would not have come about: what they followed from would have ended otherwise");
    if (s->versions > 1)
        printf("recorded under %llu versions of the policy\n", (unsigned long long)s->versions);
    print_outcomes(s);
    print_later(s);
    print_rules(s);
    print_shadow(s);
    puts("\nNot known");
    print_count(s->erased, "  decisions were left out: their recipients have been erased");
    print_count(s->without_category, "  decisions were left out: their category is not configured any more");
    print_count(s->unreadable, "  decisions were left out: of another version of Postern");
    for (size_t i = 0; i < N_ELEMENTS(limits); i++)
        printf("  %s\n", limits[i]);
}

/* --- for machines --------------------------------------------------------------------------- */

static json_t *ids_json(const struct replay_examples *x)
{
    json_t *ids = json_array();
    char id[32];

    for (size_t i = 0; i < REPLAY_EXAMPLES && i < x->n; i++)
        json_array_append_new(ids, json_string(decision_id_format(x->decision[i], id)));
    return ids;
}

static void add_row(json_t *rows, const char *a, const char *a_name, const char *b, const char *b_name,
                    const struct replay_examples *x)
{
    if (x->n > 0)
        json_array_append_new(rows, json_pack("{s:s, s:s, s:I, s:o}", a, a_name, b, b_name, "decisions",
                                              (json_int_t)x->n, "examples", ids_json(x)));
}

static json_t *outcomes_json(const struct replay_sum *s)
{
    json_t *rows = json_array();

    for (unsigned from = 0; from < OUTCOME_N; from++) {
        for (unsigned to = 0; to < OUTCOME_N; to++)
            add_row(rows, "recorded", outcome_name((enum outcome)from), "replayed", outcome_name((enum outcome)to),
                    &s->outcomes[from][to]);
    }
    return rows;
}

static json_t *rules_json(const struct replay_sum *s)
{
    json_t *rows = json_array();

    for (unsigned rule = 0; rule < RULE_N; rule++) {
        add_row(rows, "rule", rule_name((enum rule)rule), "change", "fires", &s->fires[rule]);
        add_row(rows, "rule", rule_name((enum rule)rule), "change", "ends", &s->ends[rule]);
    }
    return rows;
}

static json_t *shadow_json(const struct replay_sum *s)
{
    json_t *rows = json_array();

    for (unsigned rule = 0; rule < RULE_N; rule++) {
        for (unsigned o = 0; o < OUTCOME_N; o++)
            add_row(rows, "rule", rule_name((enum rule)rule), "outcome", outcome_name((enum outcome)o),
                    &s->shadow[rule][o]);
    }
    return rows;
}

static json_t *by_outcome_json(const uint64_t n[OUTCOME_N])
{
    json_t *counts = json_object();

    for (unsigned o = 0; o < OUTCOME_N; o++) {
        if (n[o] > 0)
            json_object_set_new(counts, outcome_name((enum outcome)o), json_integer((json_int_t)n[o]));
    }
    return counts;
}

static json_t *limits_json(void)
{
    json_t *lines = json_array();

    for (size_t i = 0; i < N_ELEMENTS(limits); i++)
        json_array_append_new(lines, json_string(limits[i]));
    return lines;
}

void replay_print_json(const struct replay_sum *s, const struct conf *conf, int64_t since_ms)
{
    char since[RFC3339_MAX], version[16];

    snprintf(version, sizeof(version), "%08x", conf->policy.version);
    json_t *all = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:{s:I, s:o}, s:I, s:{s:I, s:I, s:I}, s:o, s:o, s:o, s:o, s:o, s:I, s:o}",
        "since", rfc3339_format(since_ms, since), "policy", conf->path, "policy_version", version, "decisions",
        (json_int_t)s->decided, "changed", (json_int_t)s->changed, "not_asked", (json_int_t)s->not_asked, "moved",
        "decisions", (json_int_t)s->moved.n, "examples", ids_json(&s->moved), "recorded_versions",
        (json_int_t)s->versions, "left_out", "erased", (json_int_t)s->erased, "without_category",
        (json_int_t)s->without_category, "unreadable", (json_int_t)s->unreadable, "outcomes", outcomes_json(s), "rules",
        rules_json(s), "shadow", shadow_json(s), "would_have", by_outcome_json(s->would_have), "newly_kept",
        by_outcome_json(s->later), "newly_kept_waiting", (json_int_t)s->waiting, "not_known", limits_json());
    ensure(all != NULL);
    json_dumpf(all, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(all);
}

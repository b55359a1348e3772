/*
 * The names of the vocabulary, from the tables in message.h, profile.h, decision.h,
 * reason.def and rules.def.  One place turns a word of configuration, wire or log
 * into an enum and back; nothing here knows what the words mean.
 */
#include "postern/decision.h"

static bool find(const char *const *names, size_t n, struct slice s, size_t *out)
{
    for (size_t i = 0; i < n; i++) {
        if (slice_eq_cstr(s, names[i])) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* NAMES(channel, CHANNELS): channel_names[], channel_name(), and with PARSE also channel_parse(). */
#define NAME_ROW(id, name) name,
#define NAMES(word, type, ROWS)                                                                                        \
    static const char *const word##_names[] = {ROWS(NAME_ROW)};                                                        \
    const char *word##_name(type v)                                                                                    \
    {                                                                                                                  \
        ensure((size_t)v < N_ELEMENTS(word##_names));                                                                  \
        return word##_names[v];                                                                                        \
    }
#define PARSE(word, type)                                                                                              \
    bool word##_parse(struct slice s, type *out) /* a type.  NOLINT(bugprone-macro-parentheses) */                     \
    {                                                                                                                  \
        size_t i;                                                                                                      \
        if (!find(word##_names, N_ELEMENTS(word##_names), s, &i))                                                      \
            return false;                                                                                              \
        *out = (type)i;                                                                                                \
        return true;                                                                                                   \
    }

#define LEVELS(X)     X(NONE, "none") X(INFO, "info") X(SOFT, "soft") X(HARD, "hard")
#define SEVERITIES(X) X(LOW, "low") X(MEDIUM, "medium") X(HIGH, "high") X(CRITICAL, "critical")

NAMES(channel, enum channel, CHANNELS)
PARSE(channel, enum channel)
NAMES(class, enum message_class, CLASSES)
PARSE(class, enum message_class)
NAMES(priority, enum priority, PRIORITIES)
PARSE(priority, enum priority)
NAMES(sender_kind, enum sender_kind, SENDERS)
PARSE(sender_kind, enum sender_kind)
NAMES(opt_out_scope, enum opt_out_scope, OPT_OUT_SCOPES)
PARSE(opt_out_scope, enum opt_out_scope)
NAMES(source, enum source, SOURCES)
PARSE(source, enum source)
NAMES(preference_key, enum preference_key, PREFERENCE_KEYS)
PARSE(preference_key, enum preference_key)
NAMES(zone_basis, enum zone_basis, ZONE_BASES)
NAMES(outcome, enum outcome, OUTCOMES)
PARSE(outcome, enum outcome)
NAMES(level, enum level, LEVELS)
PARSE(level, enum level)
NAMES(severity, enum severity, SEVERITIES)

static const char *const reason_names[] = {
#define REASON(id, name, family, sentence) name,
#include "postern/reason.def"
#undef REASON
};
static const struct {
    const char *family, *sentence;
} reason_rows[] = {
#define REASON(id, name, family, sentence) {family, sentence},
#include "postern/reason.def"
#undef REASON
};

const char *reason_name(enum reason r)
{
    ensure((size_t)r < N_ELEMENTS(reason_names));
    return reason_names[r];
}
PARSE(reason, enum reason)

const char *reason_family(enum reason r)
{
    ensure((size_t)r < N_ELEMENTS(reason_rows));
    return reason_rows[r].family;
}

const char *reason_sentence(enum reason r)
{
    ensure((size_t)r < N_ELEMENTS(reason_rows));
    return reason_rows[r].sentence;
}

static const char *const rule_names[] = {
#define RULE(id, name, function) name,
#include "postern/rules.def"
#undef RULE
};

const char *rule_name(enum rule r)
{
    ensure((size_t)r < N_ELEMENTS(rule_names));
    return rule_names[r];
}
PARSE(rule, enum rule)

/* The word between "PST-" and the family: what the answer means to the client, not the level alone. */
static const char *code_word(const struct decision *d)
{
    switch (d->outcome) {
    case OUTCOME_FORWARD:
    case OUTCOME_REDIRECT:
        return "INFO";
    case OUTCOME_DEFER:
        return "DEFER";
    case OUTCOME_DIGEST:
        return "DIGEST";
    case OUTCOME_HOLD:
        return "HOLD";
    case OUTCOME_SOFT_BLOCK:
        return d->overridable ? "SOFT" : "HARD";
    case OUTCOME_BLOCK:
        return "HARD";
    case OUTCOME_N:
        break;
    }
    never("an outcome");
}

char *decision_code(const struct decision *d, char out[PST_CODE_MAX])
{
    size_t n = text_add(out, PST_CODE_MAX, 0, SLICE("PST-"));
    if (d->reason == REASON_NONE) {
        text_add(out, PST_CODE_MAX, n, SLICE("NONE"));
    } else if (d->reason == REASON_UPSTREAM_DOWN) {
        text_add(out, PST_CODE_MAX, n, SLICE("UPSTREAM-DOWN"));
    } else {
        n = text_add(out, PST_CODE_MAX, n, slice_of(code_word(d)));
        n = text_add(out, PST_CODE_MAX, n, SLICE("-"));
        text_add(out, PST_CODE_MAX, n, slice_of(reason_family(d->reason)));
    }
    return out;
}

bool preference_key_is_place(enum preference_key k)
{
    return k == PREFERENCE_ZONE || k == PREFERENCE_REGION;
}

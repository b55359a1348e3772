/*
 * The question that a soft block asks an agent: one ASCII line, because it travels
 * in headers, SMTP replies and single strings of SDKs.  Knows only the decision, and
 * shows no address.
 */
#include "policy/rule.h"

#include <stdio.h>

struct line {
    char *p;
    size_t n;
};

/* Whole phrases or nothing: keep_bytes of the line stay free for what must follow. */
static bool add(struct line *l, const char *phrase, size_t keep_bytes)
{
    size_t n = strlen(phrase);
    if (l->n + n + keep_bytes >= PROMPT_MAX)
        return false;
    memcpy(l->p + l->n, phrase, n + 1);
    l->n += n;
    return true;
}

static void phrase_of(const struct violation *v, const struct message *m, char *out, size_t out_size)
{
    if (v->cap_span[0] != '\0')
        snprintf(out, out_size, "%s cap of %d %s messages reached", v->cap_span, v->cap_limit,
                 class_name(m->category->class));
    else
        snprintf(out, out_size, "%s", reason_sentence(v->reason));
}

/* How the question ends: what can the agent do? */
static void ending_of(const struct decision *d, char *out, size_t out_size)
{
    char at[RFC3339_MAX] = "";
    if (d->release_at_ms != 0)
        rfc3339_format(d->release_at_ms, at);
    if (d->overridable && d->release_at_ms != 0)
        snprintf(out, out_size, ". Send anyway, or schedule for %s? Give a justification to send now.", at);
    else if (d->overridable)
        snprintf(out, out_size, ". Send anyway? Give a justification.");
    else if (d->release_at_ms != 0)
        snprintf(out, out_size, ". It cannot be sent now. Schedule it for %s?", at);
    else
        snprintf(out, out_size, ". It cannot be sent.");
}

/* Of a phrase, which begins with a letter or a digit. */
static char upper(char c)
{
    return (char)(c >= 'a' ? c - 'a' + 'A' : c);
}

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

char *policy_prompt(const struct decision *d, const struct message *m, char out[PROMPT_MAX])
{
    char ending[128], words[PROMPT_MAX], phrase[PROMPT_MAX + 2];
    struct line l = {out, 0};
    out[0] = '\0';
    ending_of(d, ending, sizeof ending);
    for (size_t i = 0; i < d->n_violations; i++) {
        const struct violation *v = &d->violations[i];
        if (v->shadow || v->outcome == OUTCOME_FORWARD)
            continue;
        phrase_of(v, m, words, sizeof words);
        words[0] = l.n == 0 ? upper(words[0]) : lower(words[0]);
        snprintf(phrase, sizeof phrase, "%s%s", l.n == 0 ? "" : "; ", words);
        if (!add(&l, phrase, strlen(ending)))
            break;
    }
    add(&l, ending, 0);
    return out;
}

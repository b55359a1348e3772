/*
 * Wishes about what arrives rather than when: digest, summaries, language, form,
 * and the same content twice.  Knows the merged preferences, what the message
 * says of itself, and of language and length what can be seen where it says nothing.
 *
 * Rulings:
 *  - Urgent means claimed P0 or P1: never digested, no note that summaries are wanted.
 *  - A language fits when one tag is the other or begins it ("en" and "en-GB" fit,
 *    "en-US" and "en-GB" do not; RFC 4647 section 3.3.1, both ways).
 */
#include "policy/rule.h"

/* A mail of more words is not concise, one of fewer is not detailed; between the two it may pass for both. */
#define FORMAT_CONCISE_WORDS  150u
#define FORMAT_DETAILED_WORDS 50u

bool rule_digest(const struct facts *f, struct violation *v)
{
    if (f->preferences.digest == DIGEST_NONE || message_claims_urgency(f->message))
        return false;
    v->reason = REASON_DIGEST;
    violation_detail(v, "wants a %s digest", f->preferences.digest == DIGEST_WEEKLY ? "weekly" : "daily");
    return true;
}

bool rule_notify(const struct facts *f, struct violation *v)
{
    if (f->preferences.notify == NOTIFY_ALL || message_claims_urgency(f->message))
        return false;
    v->reason = REASON_NOTIFY;
    violation_detail(v, "wants %s only", f->preferences.notify == NOTIFY_ACTION ? "what needs action" : "summaries");
    return true;
}

bool rule_duplicate(const struct facts *f, struct violation *v)
{
    int64_t age_ms = f->now_ms - f->profile->last_same_content_ms;
    int64_t dedupe_ms = f->message->category->dedupe_s * 1000;
    if (f->message->fingerprint == 0 || f->profile->last_same_content_ms == 0 || age_ms >= dedupe_ms)
        return false;
    v->reason = REASON_DUPLICATE;
    violation_detail(v, "same content %lld s ago", (long long)(age_ms / 1000));
    return true;
}

/* "en" begins "en-GB", not "eng". */
static bool tag_begins(struct slice whole, struct slice tag)
{
    return tag.n <= whole.n && slice_ieq(tag, (struct slice){whole.p, tag.n}) &&
           (tag.n == whole.n || whole.p[tag.n] == '-');
}

static bool same_words(struct slice a, struct slice b)
{
    return slice_ieq(a, b);
}

static bool same_language(struct slice a, struct slice b)
{
    return tag_begins(a, b) || tag_begins(b, a);
}

/* Both are stated, and differ. */
static bool differs(struct slice is, struct slice wanted, bool (*same)(struct slice, struct slice), enum reason reason,
                    struct violation *v)
{
    if (is.n == 0 || wanted.n == 0 || same(is, wanted))
        return false;
    v->reason = reason;
    violation_detail(v, "is %.*s, wanted %.*s", SLICE_ARG(is), SLICE_ARG(wanted));
    return true;
}

/* What the message says of itself counts as its level says; what was only seen in its content is worth a note. */
bool rule_language(const struct facts *f, struct violation *v)
{
    const struct message *m = f->message;
    if (m->form.language.n > 0 || m->body == NULL)
        return differs(m->form.language, f->preferences.language, same_language, REASON_LANGUAGE, v);
    if (!differs(slice_of(m->body->language), f->preferences.language, same_language, REASON_LANGUAGE, v))
        return false;
    violation_note(v);
    return true;
}

/* What a mail looks like by its length; empty: it may pass for both, or nobody knows. */
static struct slice seen_format(const struct message *m)
{
    const struct body_facts *body = m->body;
    if (body == NULL || m->channel != CHANNEL_EMAIL || body->words == 0)
        return (struct slice){NULL, 0};
    if (body->words > FORMAT_CONCISE_WORDS)
        return SLICE("detailed");
    return body->words < FORMAT_DETAILED_WORDS && !body->cut ? SLICE("concise") : (struct slice){NULL, 0};
}

bool rule_format(const struct facts *f, struct violation *v)
{
    const struct message *m = f->message;
    struct slice wanted = f->preferences.format;
    if (m->form.format.n > 0)
        return differs(m->form.format, wanted, same_words, REASON_FORMAT, v);
    if (!differs(seen_format(m), wanted, same_words, REASON_FORMAT, v))
        return false;
    violation_detail(v, "has %u words, wanted %.*s", m->body->words, SLICE_ARG(wanted));
    violation_note(v);
    return true;
}

bool rule_formality(const struct facts *f, struct violation *v)
{
    return differs(f->message->form.formality, f->preferences.formality, same_words, REASON_FORMALITY, v);
}

bool rule_technical_depth(const struct facts *f, struct violation *v)
{
    return differs(f->message->form.technical_depth, f->preferences.technical_depth, same_words, REASON_TECHNICAL_DEPTH,
                   v);
}

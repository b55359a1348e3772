/* The words that give the message, its category and the time.  Part of bench.h. */
#ifndef POSTERN_TESTS_POLICY_BENCH_MESSAGE_H
#define POSTERN_TESTS_POLICY_BENCH_MESSAGE_H

#include "tests/policy/bench_values.h"

static void given_class(struct bench *b, struct slice v)
{
    category_init(&b->category, PARSED(enum message_class, class_parse, v));
    b->category.name = class_name(b->category.class);
    b->category.id = 7;
}

static void given_category(struct bench *b, struct slice v)
{
    b->category.name = text(b, v);
}

static void given_need(struct bench *b, struct slice v)
{
    static const char *const words[] = {"none", "opt_out", "opt_in"};
    for (unsigned i = 0; i < N_ELEMENTS(words); i++) {
        if (slice_eq_cstr(v, words[i]))
            b->category.consent = (enum consent_need)i;
    }
}

static void given_obeys(struct bench *b, struct slice v)
{
    b->category.obeys_cap = yes(b, v);
}

static void given_expiry(struct bench *b, struct slice v)
{
    b->category.expiry_s = number(b, v);
}

static void given_dedupe(struct bench *b, struct slice v)
{
    b->category.dedupe_s = number(b, v);
}

static void given_channel(struct bench *b, struct slice v)
{
    b->message.channel = PARSED(enum channel, channel_parse, v);
}

static void given_priority(struct bench *b, struct slice v)
{
    b->message.priority = PARSED(enum priority, priority_parse, v);
}

static void given_by(struct bench *b, struct slice v)
{
    b->message.sender_kind = PARSED(enum sender_kind, sender_kind_parse, v);
}

static void given_from(struct bench *b, struct slice v)
{
    b->message.sender = v;
}

static void given_topic(struct bench *b, struct slice v)
{
    b->message.topic = v;
}

static void given_other(struct bench *b, struct slice v)
{
    b->message.other_channels = channels(b, v);
}

static void given_not_before(struct bench *b, struct slice v)
{
    b->message.not_before_ms = instant(b, v);
}

static void given_valid_until(struct bench *b, struct slice v)
{
    b->message.expires_at_ms = instant(b, v);
}

static void given_is_language(struct bench *b, struct slice v)
{
    b->message.form.language = v;
}

static void given_is_format(struct bench *b, struct slice v)
{
    b->message.form.format = v;
}

/* What can be seen of its content. */
static void given_words(struct bench *b, struct slice v)
{
    b->body.words = (uint32_t)number(b, v);
    b->message.body = &b->body;
}

static void given_cut(struct bench *b, struct slice v)
{
    b->body.cut = slice_eq_cstr(v, "yes");
    b->message.body = &b->body;
}

static void given_seen_language(struct bench *b, struct slice v)
{
    snprintf(b->body.language, sizeof b->body.language, "%.*s", SLICE_ARG(v));
    b->message.body = &b->body;
}

static void given_card(struct bench *b, struct slice v)
{
    b->body.has_card_number = slice_eq_cstr(v, "yes");
    b->message.body = &b->body;
}

static void given_is_formality(struct bench *b, struct slice v)
{
    b->message.form.formality = v;
}

static void given_is_depth(struct bench *b, struct slice v)
{
    b->message.form.technical_depth = v;
}

static void given_same_content(struct bench *b, struct slice v)
{
    b->profile.last_same_content_ms = instant(b, v);
}

static void given_fingerprint(struct bench *b, struct slice v)
{
    b->message.fingerprint = (uint64_t)number(b, v);
}

static void given_now(struct bench *b, struct slice v)
{
    b->facts.now_ms = instant(b, v);
}

static void given_deferrals(struct bench *b, struct slice v)
{
    b->facts.deferrals = (uint32_t)number(b, v);
}

#endif

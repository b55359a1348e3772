/* The words that give the contact: zones, opt-outs, consents, preferences.  Part of bench.h. */
#ifndef POSTERN_TESTS_POLICY_BENCH_CONTACT_H
#define POSTERN_TESTS_POLICY_BENCH_CONTACT_H

#include "tests/policy/bench_values.h"

static void given_known(struct bench *b, struct slice v)
{
    b->profile.known = yes(b, v) ? KNOWN : UNKNOWN;
}

/* region=US-FL,US-NY: candidates */
static void given_region(struct bench *b, struct slice v)
{
    b->profile.n_regions = 0;
    while (v.n > 0) {
        struct slice word = cases_column(&v, ',');
        if (!region_parse(word, &b->profile.regions[b->profile.n_regions++]))
            wrong(b, "\"%.*s\" is no region", SLICE_ARG(word));
    }
}

static void given_default_region(struct bench *b, struct slice v)
{
    if (!region_parse(v, &b->policy.default_region))
        wrong(b, "\"%.*s\" is no region", SLICE_ARG(v));
}

static void given_zone(struct bench *b, struct slice v)
{
    b->profile.n_zones = 0;
    while (v.n > 0)
        b->profile.zones[b->profile.n_zones++] = zone(b, cases_column(&v, ','));
}

static void given_basis(struct bench *b, struct slice v)
{
    for (unsigned i = 0; i < ZONE_BASIS_N; i++) {
        if (slice_eq_cstr(v, zone_basis_name((enum zone_basis)i)))
            b->profile.zone_basis = (enum zone_basis)i;
    }
}

static void given_previous_zone(struct bench *b, struct slice v)
{
    b->profile.previous_zone = zone(b, v);
}

static void given_zone_changed(struct bench *b, struct slice v)
{
    b->profile.zone_changed_at_ms = instant(b, v);
}

static void given_inbound(struct bench *b, struct slice v)
{
    b->profile.last_inbound_ms[b->message.channel] = instant(b, v);
}

static void given_opted_out(struct bench *b, struct slice v)
{
    b->profile.opted_out_at_ms = instant(b, v);
}

static void given_resubscribed(struct bench *b, struct slice v)
{
    b->profile.resubscribed_at_ms = instant(b, v);
}

static void given_stale(struct bench *b, struct slice v)
{
    b->facts.profile_stale = yes(b, v);
}

/* opt_out=SCOPE/CHANNEL/NAME/SENDER/TIME; "*" or nothing = any */
static void given_opt_out(struct bench *b, struct slice v)
{
    struct opt_out *o = &b->opt_outs[row(&b->profile.n_opt_outs)];
    *o = (struct opt_out){.scope = PARSED(enum opt_out_scope, opt_out_scope_parse, cases_column(&v, '/'))};
    struct slice channel = cases_column(&v, '/'), name = cases_column(&v, '/');
    o->any_channel = channel.n == 0 || slice_eq_cstr(channel, "*");
    if (!o->any_channel)
        o->channel = PARSED(enum channel, channel_parse, channel);
    o->category = o->scope == SCOPE_CATEGORY ? name : SLICE("");
    o->topic = o->scope == SCOPE_TOPIC ? name : SLICE("");
    o->sender = cases_column(&v, '/');
    o->at_ms = v.n > 0 ? instant(b, v) : INT64_C(1767225600000);
}

/* consent=STATE/CHANNEL/CATEGORY/EXPIRY/BASIS/TIME/night; "*" or nothing = any */
static void given_consent(struct bench *b, struct slice v)
{
    static const char *const states[] = {"granted", "revoked", "pending"};
    struct consent *c = &b->consents[row(&b->profile.n_consents)];
    struct slice state = cases_column(&v, '/'), channel = cases_column(&v, '/'), category = cases_column(&v, '/');
    *c = (struct consent){.any_channel = channel.n == 0 || slice_eq_cstr(channel, "*"), .at_ms = 1767225600000};
    for (unsigned i = 0; i < N_ELEMENTS(states); i++) {
        if (slice_eq_cstr(state, states[i]))
            c->state = (enum consent_state)i;
    }
    if (!c->any_channel)
        c->channel = PARSED(enum channel, channel_parse, channel);
    c->category = slice_eq_cstr(category, "*") ? SLICE("") : category;
    struct slice expiry = cases_column(&v, '/'), basis = cases_column(&v, '/'), at = cases_column(&v, '/');
    c->expires_at_ms = expiry.n > 0 ? instant(b, expiry) : 0;
    c->basis = basis;
    c->at_ms = at.n > 0 ? instant(b, at) : c->at_ms;
    c->night = slice_eq_cstr(v, "night");
}

/* "AUTHORITY/SYSTEM/CONFIDENCE/TIME": who said it, and when; nothing = the contact, none, high, 2026-01-01 */
static void say_who(struct bench *b, struct preference *p, struct slice who)
{
    static const char *const authorities[] = {"contact", "locked", "agent", "behaviour", "account", "organisation"};
    static const char *const confidences[] = {"low", "medium", "high"};
    struct slice authority = cases_column(&who, '/');
    p->system = cases_column(&who, '/');
    struct slice confidence = cases_column(&who, '/');
    for (unsigned i = 0; i < N_ELEMENTS(authorities); i++)
        p->authority = slice_eq_cstr(authority, authorities[i]) ? (enum authority)i : p->authority;
    for (unsigned i = 0; i < N_ELEMENTS(confidences); i++)
        p->confidence = slice_eq_cstr(confidence, confidences[i]) ? (enum confidence)i : p->confidence;
    p->at_ms = who.n > 0 ? instant(b, who) : p->at_ms;
}

/*
 * KEY, KEY@SCOPE, KEY@SCOPE/AUTHORITY/SYSTEM/CONFIDENCE/TIME.  SCOPE is what it was stated for: a channel, "category"
 * or "topic" of the message, or "category:NAME", "topic:NAME".
 */
static void add_preference(struct bench *b, struct preference *p, struct slice key, struct slice v)
{
    struct slice who = key;
    struct slice scope = cases_column(&who, '/');
    struct slice name = cases_column(&scope, '@');
    struct slice of = scope;
    struct slice kind = cases_column(&of, ':');
    enum channel channel;
    *p = (struct preference){.key = PARSED(enum preference_key, preference_key_parse, name),
                             .scope = scope,
                             .text = v,
                             .confidence = CONFIDENCE_HIGH,
                             .at_ms = 1767225600000};
    if (slice_eq_cstr(kind, "category")) {
        p->specificity = SPECIFICITY_CATEGORY;
        p->scope = of.n > 0 ? of : slice_of(b->category.name);
    } else if (slice_eq_cstr(kind, "topic")) {
        p->specificity = SPECIFICITY_TOPIC;
        p->scope = of.n > 0 ? of : b->message.topic;
    } else if (channel_parse(scope, &channel)) {
        p->specificity = SPECIFICITY_CHANNEL;
    }
    say_who(b, p, who);
}

#endif

/*
 * Configuration: what the samples become, and who a client is taken for.  What is refused: gateway_conf_refused.c.
 */
#include "gateway_conf.h"

/* --- what is taken --------------------------------------------------------------------- */

static const struct {
    const char *url, *host, *username, *password;
    uint16_t port;
    int db;
    bool tls;
} counters_urls[] = {
    {"redis://127.0.0.1", "127.0.0.1", NULL, NULL, 6379, 0, false},
    {"redis://127.0.0.1/", "127.0.0.1", NULL, NULL, 6379, 0, false},
    {"redis://redis.internal:7000/3", "redis.internal", NULL, NULL, 7000, 3, false},
    {"rediss://redis.internal/15", "redis.internal", NULL, NULL, 6379, 15, true},
    {"redis://[::1]:6380/1", "::1", NULL, NULL, 6380, 1, false},
    {"redis://[2001:db8::7]", "2001:db8::7", NULL, NULL, 6379, 0, false},
    {"redis://:p%40ss%2Fw%25@h:1", "h", NULL, "p@ss/w%", 1, 0, false},
    {"redis://ann:a:b@c@h/2", "h", "ann", "a:b@c", 6379, 2, false},
    {"redis://secret@h", "h", NULL, "secret", 6379, 0, false},
};

static void check_text(const char *got, const char *want)
{
    ck_assert_msg((got == NULL) == (want == NULL) && (got == NULL || strcmp(got, want) == 0), "\"%s\", not \"%s\"",
                  got != NULL ? got : "nothing", want != NULL ? want : "nothing");
}

START_TEST(counters_by_url)
{
    char text[200];
    snprintf(text, sizeof text, "listen: { http: \"127.0.0.1:8080\" }\ncounters: \"%s\"\n", counters_urls[_i].url);
    struct conf *c = load_text(text);
    ck_assert_int_eq(c->counters, COUNTERS_REDIS);
    check_text(c->redis.host, counters_urls[_i].host);
    check_text(c->redis.username, counters_urls[_i].username);
    check_text(c->redis.password, counters_urls[_i].password);
    ck_assert_uint_eq(c->redis.port, counters_urls[_i].port);
    ck_assert_int_eq(c->redis.db, counters_urls[_i].db);
    ck_assert(c->redis.tls == counters_urls[_i].tls);
    ck_assert_int_eq(c->redis.deadline_ms, 10);
    conf_free(&c);
}
END_TEST

START_TEST(smallest)
{
    AUTO(conf_free) struct conf *c = load_text("listen: { http: 127.0.0.1:0 }\n");
    ck_assert_str_eq(c->listen_http, "127.0.0.1:0");
    ck_assert_ptr_null(c->listen_smtp);
    ck_assert_str_eq(c->public_url, "http://127.0.0.1:0");
    ck_assert_str_eq(c->store_url, "sqlite:postern.db");
    ck_assert_int_eq(c->log_level, LOG_INFO);
    ck_assert_uint_eq(c->cache_bytes, (size_t)256 << 20);
    ck_assert(!c->clock_settable);
    ck_assert_uint_eq(c->n_providers, 1);
    ck_assert_str_eq(c->providers[0].name, "sandbox");
    ck_assert_ptr_null(c->providers[0].connector);
    ck_assert_ptr_eq(c->route[CHANNEL_EMAIL], &c->providers[0]);
    ck_assert_ptr_eq(c->route[CHANNEL_SMS], &c->providers[0]);
    ck_assert_ptr_null(c->route[CHANNEL_VOICE]);
    ck_assert_str_eq(c->policy.default_zone->name, "UTC");
    ck_assert_int_eq(c->policy.margin_s, 120);
    ck_assert_int_eq(c->policy.delivery_margin_s, 600);
    ck_assert_int_eq(c->policy.cooling_off_s, 86400);
    ck_assert_int_eq(c->policy.digest_minute, 540);
    const struct category *unknown = conf_category(c, SLICE("unclassified"));
    ck_assert_ptr_nonnull(unknown);
    ck_assert_int_eq(unknown->class, CLASS_MARKETING);
    ck_assert_int_eq(unknown->consent, CONSENT_OPT_IN);
    ck_assert_ptr_null(conf_category(c, SLICE("unclassifie")));
}
END_TEST

START_TEST(sample_of_the_documentation)
{
    AUTO(conf_free) struct conf *c = load(TESTS_DIR "/conf/product.yaml");
    ck_assert_str_eq(c->listen_smtp, "127.0.0.1:2525");
    ck_assert_uint_eq(c->n_providers, 4);
    ck_assert_str_eq(c->route_smtp->name, "relay");
    ck_assert_int_eq(c->route_smtp->connector->transport, TRANSPORT_SMTP);
    ck_assert_str_eq(c->route[CHANNEL_EMAIL]->connector->name, "sendgrid");
    ck_assert(slice_eq_cstr(c->route[CHANNEL_EMAIL]->login.secret, "SG.own"));
    ck_assert_str_eq(c->route[CHANNEL_SMS]->name, "main-sms");
    ck_assert(slice_eq_cstr(c->route[CHANNEL_SMS]->login.account, "AC..."));
    ck_assert_uint_eq(c->policy.n_categories, 5);
    ck_assert_int_eq(conf_category(c, SLICE("invoice"))->consent, CONSENT_NONE);
    ck_assert_int_eq(conf_category(c, SLICE("invoice"))->expiry_s, 12 * 3600);
    ck_assert_uint_eq(c->n_keys, 4);
    ck_assert_str_eq(c->keys[0].default_category->name, "newsletter");
    ck_assert(conf_key_may_use(&c->keys[0], conf_category(c, SLICE("invoice"))));
    ck_assert(!conf_key_may_use(&c->keys[0], conf_category(c, SLICE("helpdesk"))));
    ck_assert_int_eq(c->keys[2].sender_kind, SENDER_AGENT);
    ck_assert_uint_eq(c->keys[2].roles, ROLE_SENDER | ROLE_AGENT);
    ck_assert_str_eq(c->keys[3].default_category->name, "unclassified");

    const struct window_set *sms = &c->policy.organisation_hours[CLASS_MARKETING][CHANNEL_SMS];
    ck_assert_int_eq(sms->sense, WINDOW_QUIET);
    ck_assert_int_eq(sms->weekday[MONDAY].w[0].start_min, 21 * 60);
    ck_assert(window_set_is_empty(&c->policy.organisation_hours[CLASS_MARKETING][CHANNEL_EMAIL]));
    ck_assert_str_eq(c->policy.default_zone->name, "America/New_York");
    ck_assert_uint_eq(c->policy.n_caps, 1);
    ck_assert_uint_eq(c->policy.caps[0].classes, 1u << CLASS_MARKETING);
    ck_assert_int_eq(c->policy.caps[0].period, PERIOD_DAY);
    ck_assert_int_eq(c->policy.caps[0].limit, 3);
}
END_TEST

START_TEST(federal_pack)
{
    AUTO(conf_free) struct conf *c = load(TESTS_DIR "/../deploy/postern.yaml");
    ck_assert_uint_eq(c->n_packs, 1);
    ck_assert_str_eq(c->packs[0].name, "us-federal");
    const struct conf_law *hours = NULL;
    for (size_t i = 0; i < c->packs[0].n_rules; i++) {
        if (strcmp(c->packs[0].rules[i].full_name, "us-federal/hours") == 0)
            hours = &c->packs[0].rules[i];
    }
    ck_assert_ptr_nonnull(hours);
    ck_assert_int_eq(hours->confidence, 'B');
    ck_assert_ptr_nonnull(strstr(hours->source, "64.1200"));
    ck_assert_uint_eq(c->policy.n_legal, 1);
    const struct legal_window *w = &c->policy.legal[0];
    ck_assert_str_eq(w->law.name, "us-federal/hours");
    ck_assert_str_eq(w->law.regions[0].country, "US");
    ck_assert_uint_eq(w->law.classes, 1u << CLASS_MARKETING);
    ck_assert_uint_eq(w->law.channels, 1u << CHANNEL_SMS | 1u << CHANNEL_VOICE);
    ck_assert(!w->counts_delivery);
    ck_assert_int_eq(w->set.sense, WINDOW_ALLOWED);
    for (unsigned day = MONDAY; day <= SUNDAY; day++) {
        ck_assert_int_eq(w->set.weekday[day].n, 1);
        ck_assert_int_eq(w->set.weekday[day].w[0].start_min, 8 * 60);
        ck_assert_int_eq(w->set.weekday[day].w[0].end_min, 21 * 60);
    }
}
END_TEST

#define CONF_OF_PACK "listen: { http: 127.0.0.1:0 }\npolicy:\n  packs: [test]\n"

START_TEST(every_key_of_a_pack)
{
    AUTO(conf_free) struct conf *c = load(TESTS_DIR "/conf/packs/postern.yaml");
    const struct policy *p = &c->policy;
    ck_assert_str_eq(p->default_region.country, "US");
    ck_assert_str_eq(p->default_region.division, "FL");
    ck_assert_uint_eq(c->packs[0].n_regions, 2);
    ck_assert_str_eq(c->packs[0].regions[1].division, "NSW");
    ck_assert_uint_eq(c->packs[0].n_rules, 7);

    ck_assert_uint_eq(p->n_legal, 1);
    const struct legal_window *w = &p->legal[0];
    ck_assert_str_eq(w->law.pack, "every-key");
    ck_assert_str_eq(w->law.name, "every-key/hours");
    ck_assert(w->counts_delivery);
    ck_assert_uint_eq(w->law.n_regions, 2);
    ck_assert_int_eq(w->law.from_days, date_to_days((struct date){2026, 1, 1}));
    ck_assert_int_eq(w->law.to_days, date_to_days((struct date){2027, 1, 31}));
    ck_assert_str_eq(w->set.holidays->name, "every-key");
    ck_assert_uint_eq(w->set.weekday[MONDAY].n, 2);
    ck_assert_uint_eq(w->set.on_holidays.n, 1);

    ck_assert_uint_eq(p->n_caps, 2);
    const struct cap *subject = &p->caps[0], *others = &p->caps[1];
    ck_assert_str_eq(subject->name, "every-key/subject");
    ck_assert_int_eq(subject->origin, CAP_OF_REGULATION);
    ck_assert_int_eq(subject->kind, CAP_ROLLING);
    ck_assert_int_eq(subject->rolling_s, 86400);
    ck_assert_int_eq(subject->limit, 3);
    ck_assert(subject->per_subject && !subject->per_category && !subject->other_channels);
    ck_assert_uint_eq(subject->classes, 1u << CLASS_MARKETING);
    ck_assert_uint_eq(subject->law->classes, 1u << CLASS_MARKETING);
    ck_assert_int_eq(others->kind, CAP_CALENDAR);
    ck_assert_int_eq(others->period, PERIOD_WEEK);
    ck_assert(others->other_channels);
    ck_assert_uint_eq(others->classes, 0);

    ck_assert_uint_eq(p->n_legal_consents, 1);
    const struct legal_consent *consent = &p->legal_consents[0];
    ck_assert_int_eq(consent->need, CONSENT_OPT_IN);
    ck_assert_str_eq(consent->accepts[1], "purchase");
    ck_assert_int_eq(consent->expires.months, 24);
    ck_assert_str_eq(consent->basis[0], "purchase");
    ck_assert_int_eq(consent->night.weekday[SUNDAY].w[0].start_min, 21 * 60);

    ck_assert_uint_eq(p->n_legal_opt_outs, 1);
    const struct legal_opt_out *o = &p->legal_opt_outs[0];
    ck_assert_int_eq(o->within.business_days, 10);
    ck_assert_str_eq(o->holidays->name, "every-key");
    ck_assert_int_eq(o->reask_after.months, 12);
    ck_assert_int_eq(o->confirmation_within.seconds, 300);
    ck_assert_ptr_eq(o->holidays, w->set.holidays); /* read once */
    ck_assert_ptr_null(c->calendars->next);
    ck_assert_uint_eq(p->n_legal_keywords, 1);
    ck_assert_int_eq(p->legal_keywords[0].means, KEYWORD_HELP);
    ck_assert_str_eq(p->legal_keywords[0].words[1], "INFO");
    ck_assert_int_eq(c->calendars->confidence, 'A');
}
END_TEST

START_TEST(confidence_and_switches)
{
    char why[CONF_WHY_MAX];
    int32_t today = date_to_days((struct date){2026, 11, 22});
    write_file(
        pack,
        PACK_BASE "    hours: { allowed: \"08:00-20:00\" }\n" PACK_RULE(
            "b",
            "C") "    hours: { allowed: \"08:00-20:00\" }\n" PACK_RULE("c",
                                                                       "A") "    effective_from: 2027-01-31\n    "
                                                                            "hours: { allowed: \"08:00-20:00\" }\n");
    AUTO(conf_free) struct conf *c = load_text(CONF_OF_PACK);
    const struct conf_law *r = c->packs[0].rules;
    ck_assert_uint_eq(c->policy.n_legal, 2); /* c is in the policy: its date is asked at each decision */
    ck_assert_str_eq(conf_law_why_off(&r[0], today, why), "");
    ck_assert_str_eq(conf_law_why_off(&r[1], today, why), "confidence C");
    ck_assert_str_eq(conf_law_why_off(&r[2], today, why), "begins 2027-01-31");
    ck_assert_str_eq(conf_law_why_off(&r[2], r[2].from_days, why), "");
    /* The ages are those of the rules that are on. */
    ck_assert_int_eq(conf_pack_age_days(&c->packs[0], today), today - date_to_days((struct date){2025, 12, 1}));
    ck_assert_int_eq(conf_pack_review_days(&c->packs[0], today), 9);

    AUTO(conf_free)
    struct conf *other = load_text(CONF_OF_PACK "  pack_rules:\n"
                                                "    - { rule: test/b, switch: on, reason: read by counsel }\n"
                                                "    - { rule: test/c, switch: off, reason: not ours }\n");
    r = other->packs[0].rules;
    ck_assert_uint_eq(other->policy.n_legal, 2);
    ck_assert_str_eq(other->policy.legal[1].law.name, "test/b");
    ck_assert_str_eq(conf_law_why_off(&r[1], today, why), "");
    ck_assert_str_eq(r[1].switched, "read by counsel");
    ck_assert_str_eq(conf_law_why_off(&r[2], today, why), "switched off: not ours");

    /* Nothing is on: the ages are those of all. */
    write_file(pack, PACK_BASE "    effective_to: 2026-02-01\n    hours: { allowed: \"08:00-20:00\" }\n");
    AUTO(conf_free)
    struct conf *off = load_text(CONF_OF_PACK "  pack_rules: [ { rule: test/a, switch: off, reason: R } ]\n");
    ck_assert_uint_eq(off->policy.n_legal, 0);
    ck_assert_int_eq(conf_pack_review_days(&off->packs[0], today), 40);
    AUTO(conf_free) struct conf *ended = load_text(CONF_OF_PACK);
    ck_assert_str_eq(conf_law_why_off(&ended->packs[0].rules[0], today, why), "ended 2026-02-01");
}
END_TEST

START_TEST(every_key_process)
{
    AUTO(conf_free) struct conf *c = load(TESTS_DIR "/conf/full.yaml");
    ck_assert_str_eq(c->tls_certificate, "/dev/null");
    ck_assert_str_eq(c->listen_smtps, "[::1]:4650");
    ck_assert_str_eq(c->smtp_host, "mail.example");
    ck_assert(!c->smtp_auth_in_clear);
    ck_assert_uint_eq(c->smtp_max_recipients, 50);
    ck_assert_uint_eq(c->smtp_max_connections, 20);
    ck_assert_uint_eq(c->smtp_max_address_connections, 10);
    ck_assert_str_eq(c->public_url, "https://postern.example");
    ck_assert_str_eq(c->store_url, "sqlite:/var/lib/postern/postern.db");
    ck_assert_str_eq(c->audit_key, "0123456789abcdef");
    ck_assert(c->clock_settable);
    ck_assert_int_eq(c->log_level, LOG_WARN);
    ck_assert_uint_eq(c->max_body_bytes, 1048576);
    ck_assert_uint_eq(c->max_connections, 100);
    ck_assert_uint_eq(c->max_inflight_bytes, 2097152);
    ck_assert_int_eq(c->head_ms, 5000);
    ck_assert_uint_eq(c->cache_bytes, 4194304);
    const struct conf_provider *mail = c->route[CHANNEL_EMAIL];
    ck_assert_str_eq(mail->url, "http://127.0.0.1:8025");
    ck_assert(slice_eq_cstr(mail->login.secret, "the secret of a test"));
    ck_assert_str_eq(mail->ca_file, "/dev/null");
    ck_assert(mail->allow_private);
    ck_assert_int_eq(mail->connect_ms, 100);
    ck_assert_int_eq(mail->total_ms, 2000);
    ck_assert_uint_eq(mail->max_concurrency, 8);
    ck_assert_uint_eq(mail->rate_per_s, 50);
    ck_assert(!c->route[CHANNEL_SMS]->allow_private);
    ck_assert_str_eq(c->route_smtp->url, "smtp://127.0.0.1:2526");
    ck_assert(slice_eq_cstr(c->route_smtp->login.account, "postern"));
    ck_assert(c->route_smtp->starttls && !mail->starttls);
    ck_assert_uint_eq(c->n_mappings, 1);
    ck_assert_str_eq(c->mappings[0].label, "asm:123");
    ck_assert_ptr_eq(c->mappings[0].category, conf_category(c, SLICE("news")));
    ck_assert_uint_eq(c->n_callback_allow, 2);
    ck_assert_str_eq(c->callback_allow[1], "http://127.0.0.1:9000");
}
END_TEST

START_TEST(every_key_keys)
{
    AUTO(conf_free) struct conf *c = load(TESTS_DIR "/conf/full.yaml");
    const struct category *news = conf_category(c, SLICE("news")), *code = conf_category(c, SLICE("code"));
    const struct category *unknown = conf_category(c, SLICE("unclassified"));
    ck_assert_int_eq(news->consent, CONSENT_OPT_OUT);
    ck_assert(!news->obeys_cap);
    ck_assert_int_eq(news->counts, COUNTS_IN_ANY);
    ck_assert_int_eq(news->expiry_s, 172800);
    ck_assert_int_eq(news->dedupe_s, 0);
    ck_assert_uint_eq(code->id, slice_id(SLICE("code")));
    ck_assert_int_eq(c->keys[0].partial, PARTIAL_REJECT);
    ck_assert_int_eq(c->keys[1].partial, PARTIAL_FORWARD);
    ck_assert_int_eq(c->keys[1].sender_kind, SENDER_AUTOMATED);
    /* No categories: all.  Some, and no default: the built-in one beside them. */
    ck_assert(conf_key_may_use(&c->keys[0], news) && conf_key_may_use(&c->keys[0], unknown));
    ck_assert(conf_key_may_use(&c->keys[1], code) && conf_key_may_use(&c->keys[1], unknown));
    ck_assert(!conf_key_may_use(&c->keys[1], news));
    ck_assert_ptr_eq(c->keys[1].default_category, unknown);
}
END_TEST

static void check_default(const struct policy *p, enum preference_key key, const char *text)
{
    for (size_t i = 0; i < p->n_defaults; i++) {
        if (p->defaults[i].key != key)
            continue;
        ck_assert(slice_eq_cstr(p->defaults[i].text, text));
        ck_assert_int_eq(p->defaults[i].authority, AUTHORITY_ORGANISATION);
        return;
    }
    ck_abort_msg("no default of %s", preference_key_name(key));
}

START_TEST(every_key_policy)
{
    AUTO(conf_free) struct conf *c = load(TESTS_DIR "/conf/full.yaml");
    const struct policy *p = &c->policy;
    const struct window_set *sms = &p->organisation_hours[CLASS_MARKETING][CHANNEL_SMS];
    ck_assert_str_eq(sms->holidays->name, "de");
    ck_assert_uint_eq(sms->holidays->n, 4);
    ck_assert_uint_eq(sms->n_dates, 1);
    ck_assert_int_eq(sms->weekday[SATURDAY].w[0].start_min, 20 * 60);
    ck_assert_int_eq(p->organisation_hours[CLASS_SUPPORT][CHANNEL_EMAIL].sense, WINDOW_ALLOWED);
    ck_assert_ptr_null(p->organisation_hours[CLASS_MARKETING][CHANNEL_EMAIL].holidays);
    ck_assert_uint_eq(p->n_caps, 2);
    ck_assert_int_eq(p->caps[0].period, PERIOD_WEEK);
    ck_assert_uint_eq(p->caps[0].channels, 1u << CHANNEL_SMS);
    ck_assert_ptr_eq(p->caps[0].category, conf_category(c, SLICE("news")));
    ck_assert_int_eq(p->caps[0].min_gap_s, 5400);
    ck_assert(p->caps[0].reserves);
    ck_assert_int_eq(p->caps[0].reserve_class, CLASS_SUPPORT);
    ck_assert_int_eq(p->caps[0].reserve_slots, 2);
    ck_assert_int_eq(p->caps[1].kind, CAP_ROLLING);
    ck_assert_int_eq(p->caps[1].rolling_s, 86400);
    ck_assert_int_eq(p->caps[1].limit, 0);
    ck_assert(!p->caps[1].reserves);
    ck_assert(p->shadow && p->carrier_enforces_stop);
    ck_assert_int_eq(p->margin_s, 0);
    ck_assert_int_eq(p->delivery_margin_s, 300);
    ck_assert_int_eq(p->cooling_off_s, 172800);
    ck_assert_int_eq(p->digest_minute, 17 * 60 + 30);
    ck_assert_uint_eq(p->n_defaults, 8);
    check_default(p, PREFERENCE_CHANNEL_NEVER, "sms,voice");
    check_default(p, PREFERENCE_DAYS_NEVER, "sat,sun");
    check_default(p, PREFERENCE_MAX_PER_DAY, "2");
    check_default(p, PREFERENCE_HOURS, "mon-fri 08:00-20:00");
}
END_TEST

START_TEST(levels)
{
    AUTO(conf_free) struct conf *c = load(TESTS_DIR "/conf/full.yaml");
    const struct verdict(*language)[SENDER_N] = c->policy.verdicts[RULE_LANGUAGE];
    ck_assert_int_eq(language[CLASS_SUPPORT][SENDER_AGENT].level, LEVEL_SOFT);
    ck_assert_int_eq(language[CLASS_SUPPORT][SENDER_AGENT].outcome, OUTCOME_SOFT_BLOCK);
    ck_assert_int_eq(language[CLASS_SUPPORT][SENDER_AUTOMATED].level, LEVEL_INFO);
    ck_assert_int_eq(language[CLASS_MARKETING][SENDER_AGENT].level, LEVEL_INFO);
    /* A level alone brings the outcome that goes with it. */
    ck_assert_int_eq(c->policy.verdicts[RULE_FORMAT][CLASS_OTP][SENDER_AUTOMATED].outcome, OUTCOME_SOFT_BLOCK);
    ck_assert(c->policy.verdicts[RULE_DUPLICATE][CLASS_MARKETING][SENDER_AGENT].shadow);
    ck_assert(!language[CLASS_SUPPORT][SENDER_AGENT].shadow);
    /* card_numbers: block, but for one class. */
    const struct verdict(*cards)[SENDER_N] = c->policy.verdicts[RULE_CARD_NUMBER];
    ck_assert_int_eq(cards[CLASS_OTP][SENDER_AGENT].outcome, OUTCOME_BLOCK);
    ck_assert_int_eq(cards[CLASS_MARKETING][SENDER_AUTOMATED].level, LEVEL_HARD);
    ck_assert_int_eq(cards[CLASS_SAFETY][SENDER_AUTOMATED].outcome, OUTCOME_FORWARD);
}
END_TEST

START_TEST(version_follows_the_text)
{
    AUTO(conf_free) struct conf *a = load_text("listen: { http: 127.0.0.1:0 }\n");
    AUTO(conf_free) struct conf *same = load(file);
    AUTO(conf_free) struct conf *other = load_text("listen: { http: 127.0.0.1:0 }\npolicy: { margin_s: 60 }\n");
    ck_assert_uint_eq(a->policy.version, same->policy.version);
    ck_assert_uint_ne(a->policy.version, other->policy.version);

    write_file(file, "listen: { http: 127.0.0.1:0 }\npolicy: { packs: [test] }\n");
    write_file(pack, PACK_BASE "    hours: { allowed: \"08:00-20:00\" }\n");
    AUTO(conf_free) struct conf *with = load(file);
    write_file(pack, PACK_BASE "    hours: { allowed: \"08:00-21:00\" }\n");
    AUTO(conf_free) struct conf *changed = load(file);
    ck_assert_uint_ne(with->policy.version, changed->policy.version);
}
END_TEST

/* --- clients ---------------------------------------------------------------------------- */

START_TEST(authenticate)
{
    static const struct {
        const char *account, *secret, *name; /* NULL: nobody */
    } rows[] = {
        {"", "key-of-all-0123456789", "all"},
        {"apikey", "key-of-all-0123456789", "all"},
        {"api", "key-of-all-0123456789", "all"},
        {"AC2", "key-of-all-0123456789", NULL},
        {"AC2", "key-of-some-0123456789", "some"},
        {"", "key-of-some-0123456789", "some"},
        {"AC1", "key-of-some-0123456789", NULL},
        {"AC22", "key-of-some-0123456789", NULL},
        {"apikey", "key-of-some-0123456789", NULL},
        {"", "key-of-all-012345678", NULL},
        {"", "key-of-all-01234567890", NULL},
        {"", "KEY-of-all-0123456789", NULL},
        {"", "", NULL},
    };
    AUTO(conf_free) struct conf *c = load(TESTS_DIR "/conf/full.yaml");
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        const struct conf_key *k = conf_authenticate(c, slice_of(rows[i].account), slice_of(rows[i].secret));
        ck_assert_msg(rows[i].name == NULL ? k == NULL : k != NULL && strcmp(k->name, rows[i].name) == 0,
                      "\"%s\" \"%s\" is taken for %s", rows[i].account, rows[i].secret, k == NULL ? "nobody" : k->name);
    }
}
END_TEST

START_TEST(authenticate_by_account)
{
    /* One secret, two accounts: the account tells; without it nobody is meant. */
    AUTO(conf_free)
    struct conf *c = load_text("listen: { http: 127.0.0.1:0 }\nkeys:\n"
                               "  - { name: a, account: AC1, login: SK1, secret: 0123456789abcdef, roles: [sender] }\n"
                               "  - { name: b, account: AC2, secret: 0123456789abcdef, roles: [sender] }\n");
    struct slice secret = SLICE("0123456789abcdef");
    ck_assert_str_eq(conf_authenticate(c, SLICE("AC1"), secret)->name, "a");
    ck_assert_str_eq(conf_authenticate(c, SLICE("AC2"), secret)->name, "b");
    ck_assert_ptr_null(conf_authenticate(c, SLICE(""), secret));
    /* Twilio's API key of an account logs in with a sid of its own. */
    ck_assert_str_eq(conf_authenticate(c, SLICE("SK1"), secret)->name, "a");
    ck_assert_ptr_null(conf_authenticate(c, SLICE("SK2"), secret));
    ck_assert_ptr_null(conf_authenticate(c, SLICE("SK1"), SLICE("0123456789abcdeg")));
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("conf");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, smallest);
    tcase_add_loop_test(t, counters_by_url, 0, (int)N_ELEMENTS(counters_urls));
    tcase_add_test(t, sample_of_the_documentation);
    tcase_add_test(t, federal_pack);
    tcase_add_test(t, every_key_of_a_pack);
    tcase_add_test(t, confidence_and_switches);
    tcase_add_test(t, every_key_process);
    tcase_add_test(t, every_key_keys);
    tcase_add_test(t, every_key_policy);
    tcase_add_test(t, levels);
    tcase_add_test(t, version_follows_the_text);
    tcase_add_test(t, authenticate);
    tcase_add_test(t, authenticate_by_account);
    Suite *s = suite_create("gateway_conf");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

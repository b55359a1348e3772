/*
 * The contract of postern/store.h, against a URL: SQLite in a directory of its own,
 * or what POSTERN_STORE_URL names.  Nothing here knows a backend.
 */
#include "tests/unit/store_harness.h"

#include "postern/limits.h"

/* --- the seam -------------------------------------------------------------------------- */

struct order {
    int next;
    int bad;
};
struct numbered {
    struct sample sample;
    struct order *order;
    int number;
};

static void on_numbered(enum err status, void *arg)
{
    struct numbered *n = arg;
    if (status != OK || n->order->next++ != n->number)
        n->order->bad++;
}

START_TEST(callbacks_run_once_in_order)
{
    enum { N = 500 };
    struct order order = {0};
    struct numbered *all = calloc(N, sizeof *all);
    for (int i = 0; i < N; i++) {
        sample_init(&all[i].sample, "a@example.com", &newsletter, OUTCOME_FORWARD);
        all[i].order = &order;
        all[i].number = i;
        all[i].sample.record.r = (struct store_request){.kind = STORE_RECORD, .cb = on_numbered, .arg = &all[i]};
        store_submit(store, &all[i].sample.record.r);
    }
    int64_t oldest;
    ck_assert_uint_eq(store_backlog(store, &oldest), N);
    while (order.next < N)
        poll_store();
    ck_assert_int_eq(order.bad, 0);
    ck_assert_uint_eq(store_backlog(store, &oldest), 0);
    struct store_counters c = store_counters(store);
    ck_assert_uint_eq(c.requests, N);
    ck_assert_uint_lt(c.commits, N); /* they were grouped */
    ck_assert_uint_eq(c.rows, N);
    assert_chain_holds();
    free(all);
}
END_TEST

START_TEST(close_finishes_what_is_queued)
{
    enum { N = 50 };
    struct order order = {0};
    struct numbered *all = calloc(N, sizeof *all);
    for (int i = 0; i < N; i++) {
        sample_init(&all[i].sample, "a@example.com", &newsletter, OUTCOME_BLOCK);
        all[i].order = &order;
        all[i].number = i;
        all[i].sample.record.r = (struct store_request){.kind = STORE_RECORD, .cb = on_numbered, .arg = &all[i]};
        store_submit(store, &all[i].sample.record.r);
    }
    store_close(&store);
    ck_assert_int_eq(order.next, N);
    ck_assert_int_eq(order.bad, 0);
    harness_open(0);
    ck_assert_uint_eq(verify().rows, N);
    ASSERT_HAS(decision_json(all[N - 1].sample.row.id), "\"status\":\"blocked\"");
    free(all);
}
END_TEST

START_TEST(ids_rise_over_restarts)
{
    uint64_t first = store_decision_id(store);
    ck_assert_uint_eq(store_decision_id(store), first + 1);
    harness_reopen();
    ck_assert_uint_gt(store_decision_id(store), first + 1);
    char text[32];
    uint64_t back;
    ck_assert_str_eq(decision_id_format(0x38fb5ff3103a487b, text), "dec_38fb5ff3103a487b");
    ck_assert(decision_id_parse(slice_of(text), &back));
    ck_assert_uint_eq(back, 0x38fb5ff3103a487b);
    ck_assert(!decision_id_parse(SLICE("dec_38fb5ff3103a487"), &back));
    ck_assert(!decision_id_parse(SLICE("def_38fb5ff3103a487b"), &back));
    ck_assert(!decision_id_parse(SLICE("dec_38fb5ff3103a487bb"), &back));
}
END_TEST

START_TEST(a_read_sees_what_was_asked_before_it)
{
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_BLOCK);
    struct store_decision_get get = {.arena = &arena, .id = s.row.id};
    struct wait w1 = {0}, w2 = {0};
    s.record.r = (struct store_request){.kind = STORE_RECORD, .cb = on_done, .arg = &w1};
    get.r = (struct store_request){.kind = STORE_DECISION_GET, .cb = on_done, .arg = &w2};
    store_submit(store, &s.record.r);
    store_submit(store, &get.r);
    while (w2.calls == 0)
        poll_store();
    ck_assert_int_eq(w1.status, OK);
    ck_assert_int_eq(w2.status, OK);
    ASSERT_HAS(get.json.p, "\"recipient\":\"a@example.com\"");
}
END_TEST

START_TEST(a_failing_request_leaves_the_others_alone)
{
    struct sample good, bad, after;
    sample_init(&good, "a@example.com", &newsletter, OUTCOME_BLOCK);
    sample_init(&bad, "b@example.com", &newsletter, OUTCOME_BLOCK);
    sample_init(&after, "c@example.com", &newsletter, OUTCOME_BLOCK);
    bad.record.settles = 4711;
    struct sample *all[] = {&good, &bad, &after};
    struct wait w[3] = {{0}};
    for (int i = 0; i < 3; i++) {
        all[i]->record.r = (struct store_request){.kind = STORE_RECORD, .cb = on_done, .arg = &w[i]};
        store_submit(store, &all[i]->record.r);
    }
    while (w[2].calls == 0)
        poll_store();
    ck_assert_int_eq(w[0].status, OK);
    ck_assert_int_eq(w[1].status, ERR_CONFLICT);
    ck_assert_int_eq(w[2].status, OK);
    ck_assert_uint_eq(verify().rows, 2);
    struct store_decision_get get = {.arena = &arena, .id = bad.row.id};
    ck_assert_int_eq(ASK(&get, DECISION_GET), ERR_NOT_FOUND);
}
END_TEST

/* Half of it is written when the arena is spent: all of it goes. */
START_TEST(a_request_that_fails_half_way_writes_nothing)
{
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_FORWARD);
    char *big = calloc(1, LIMIT_JSON_API_BYTES + 1);
    memset(big, 'x', LIMIT_JSON_API_BYTES);
    struct record_decision two[] = {s.row, s.row};
    two[1].id = store_decision_id(store);
    two[1].facts = slice_of(big);
    s.record.decisions = two;
    s.record.n = 2;
    ck_assert_int_eq(ASK(&s.record, RECORD), ERR_LIMIT);
    ck_assert_uint_eq(verify().rows, 0);
    s.record.n = 1;
    s.record.decisions = &two[1];
    ck_assert_int_eq(ASK(&s.record, RECORD), ERR_LIMIT);
    ck_assert_uint_eq(verify().rows, 0);
    s.record.decisions = two;
    ASK_OK(&s.record, RECORD);
    assert_chain_holds();
    free(big);
}
END_TEST

START_TEST(a_second_opening_is_refused)
{
    struct errmsg e;
    struct store_options o = {.url = harness_url, .now_ms = NOW};
    ck_assert_ptr_null(store_open(&o, &e));
    ASSERT_HAS(e.text, "in use by another posternd");
    o.read_only = true; /* posternctl may look */
    struct store *reader = store_open(&o, &e);
    ck_assert_msg(reader != NULL, "%s", e.text);
    struct audit_verdict v;
    ck_assert_int_eq(store_audit_verify(reader, NULL, NULL, &v), OK);
    ck_assert(v.holds);
    struct wait w = {0};
    struct store_audit_note note = {.kind = SLICE("pass"), .json = SLICE("{}")};
    note.r = (struct store_request){.kind = STORE_AUDIT_NOTE, .cb = on_done, .arg = &w};
    store_submit(reader, &note.r);
    store_poll(reader);
    ck_assert_int_eq(w.calls, 1);
    ck_assert_int_eq(w.status, ERR_UNAVAILABLE);
    store_close(&reader);
    o.url = "mongodb://x";
    ck_assert_ptr_null(store_open(&o, &e));
    ASSERT_HAS(e.text, "mongodb://x");
    o.url = "sqlite:";
    ck_assert_ptr_null(store_open(&o, &e));
    ASSERT_HAS(e.text, "a file is expected");
}
END_TEST

/* --- decisions and results ---------------------------------------------------------------- */

START_TEST(a_decision_is_shown_whole)
{
    struct sample s;
    sample_init(&s, "Ann@example.com", &newsletter, OUTCOME_BLOCK);
    s.row.contact_id = SLICE("ann");
    s.decision.level = LEVEL_HARD;
    s.decision.reason = REASON_OPTED_OUT;
    s.decision.would_have = OUTCOME_BLOCK;
    s.decision.n_violations = 1;
    s.decision.violations[0] = (struct violation){.rule = RULE_OPT_OUT_GLOBAL,
                                                  .reason = REASON_OPTED_OUT,
                                                  .level = LEVEL_HARD,
                                                  .severity = SEVERITY_HIGH,
                                                  .outcome = OUTCOME_BLOCK,
                                                  .detail = "since \"2026\""};
    ASK_OK(&s.record, RECORD);
    const char *json = decision_json(s.row.id);
    static const char *const parts[] = {"\"recipient\":\"Ann@example.com\"",
                                        "\"status\":\"blocked\"",
                                        "\"outcome\":\"block\"",
                                        "\"level\":\"hard\"",
                                        "\"code\":\"PST-HARD-OPTOUT\"",
                                        "\"rule\":\"opt_out_global\"",
                                        "\"detail\":\"since \\\"2026\\\"\"",
                                        "\"decided_at\":\"2027-01-15T08:00:00Z\"",
                                        "\"release_at\":null",
                                        "\"result\":null",
                                        "\"parent_decision\":null",
                                        "\"child_decisions\":[]",
                                        "\"key\":\"shop\"",
                                        "\"dialect\":\"sendgrid\"",
                                        "\"channel\":\"email\"",
                                        "\"category\":\"newsletter\"",
                                        "\"class\":\"marketing\"",
                                        "\"priority\":\"P2\"",
                                        "\"field\":\"personalizations.0.to.0.email\"",
                                        "\"facts\":{\"profile_version\":3}",
                                        "\"policy_version\":7",
                                        "\"degraded\":false"};
    for (size_t i = 0; i < N_ELEMENTS(parts); i++)
        ASSERT_HAS(json, parts[i]);
    struct store_decision_get get = {.arena = &arena, .id = s.row.id + 1000};
    ck_assert_int_eq(ASK(&get, DECISION_GET), ERR_NOT_FOUND);
}
END_TEST

static enum err give_result(uint64_t decision, enum result result, bool counts)
{
    struct record_result x = {.decision = decision,
                              .result = result,
                              .provider_status = 202,
                              .provider = SLICE("main-mail"),
                              .provider_id = SLICE("xyz"),
                              .counts = counts,
                              .contact_hash = 42,
                              .channel = CHANNEL_EMAIL,
                              .class = CLASS_MARKETING,
                              .category = SLICE("newsletter")};
    struct store_result r = {.now_ms = NOW + 5, .results = &x, .n = 1};
    return ASK(&r, RESULT);
}

START_TEST(status_follows_outcome_and_result)
{
    static const struct {
        enum outcome outcome;
        int result; /* -1: none */
        const char *status;
    } cases[] = {
        {OUTCOME_FORWARD, -1, "sending"},
        {OUTCOME_FORWARD, RESULT_FORWARDED, "forwarded"},
        {OUTCOME_FORWARD, RESULT_SANDBOX, "forwarded"},
        {OUTCOME_FORWARD, RESULT_REFUSED, "refused"},
        {OUTCOME_FORWARD, RESULT_UNKNOWN, "unknown"},
        {OUTCOME_FORWARD, RESULT_NOT_SENT, "not_sent"},
        {OUTCOME_FORWARD, RESULT_DEFERRED, "deferred"},
        {OUTCOME_DEFER, -1, "deferred"},
        {OUTCOME_DIGEST, -1, "digested"},
        {OUTCOME_SOFT_BLOCK, -1, "soft_blocked"},
        {OUTCOME_HOLD, -1, "held"},
        {OUTCOME_BLOCK, -1, "blocked"},
    };
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        struct sample s;
        sample_init(&s, "a@example.com", &newsletter, cases[i].outcome);
        ASK_OK(&s.record, RECORD);
        if (cases[i].result >= 0)
            ck_assert_int_eq(give_result(s.row.id, (enum result)cases[i].result, false), OK);
        char want[40];
        snprintf(want, sizeof want, "\"status\":\"%s\"", cases[i].status);
        ASSERT_HAS(decision_json(s.row.id), want);
    }
    assert_chain_holds();
}
END_TEST

START_TEST(parent_and_children_are_named)
{
    struct sample first, second;
    sample_init(&first, "a@example.com", &newsletter, OUTCOME_DEFER);
    ASK_OK(&first.record, RECORD);
    sample_init(&second, "a@example.com", &newsletter, OUTCOME_FORWARD);
    second.row.parent = first.row.id;
    ASK_OK(&second.record, RECORD);
    char id[32], want[64];
    snprintf(want, sizeof want, "\"child_decisions\":[\"%s\"]", decision_id_format(second.row.id, id));
    ASSERT_HAS(decision_json(first.row.id), want);
    snprintf(want, sizeof want, "\"parent_decision\":\"%s\"", decision_id_format(first.row.id, id));
    ASSERT_HAS(decision_json(second.row.id), want);
}
END_TEST

struct seen_sends {
    int n;
    struct store_send last;
    char category[32];
};

static void on_send(const struct store_send *send, void *arg)
{
    struct seen_sends *seen = arg;
    ck_assert_int_ge(send->at_ms, seen->last.at_ms);
    seen->n++;
    seen->last = *send;
    snprintf(seen->category, sizeof seen->category, "%.*s", SLICE_ARG(send->category));
}

static int count_sends(int64_t since_ms, struct seen_sends *seen)
{
    *seen = (struct seen_sends){0};
    ck_assert_int_eq(store_sends(store, since_ms, on_send, seen), OK);
    return seen->n;
}

START_TEST(sends_that_count_are_listed_once)
{
    struct seen_sends seen;
    ck_assert_int_eq(give_result(1, RESULT_FORWARDED, true), OK);
    ck_assert_int_eq(give_result(1, RESULT_FORWARDED, true), OK);
    ck_assert_int_eq(give_result(2, RESULT_REFUSED, false), OK);
    ck_assert_int_eq(count_sends(NOW, &seen), 1);
    ck_assert_uint_eq(seen.last.contact_hash, 42);
    ck_assert_str_eq(seen.category, "newsletter");
    ck_assert_int_eq(seen.last.class, CLASS_MARKETING);
    ck_assert_int_eq(count_sends(NOW + 6, &seen), 0);
}
END_TEST

static void open_intent(const char *to, struct category *category, uint64_t *id)
{
    struct sample s;
    sample_init(&s, to, category, OUTCOME_FORWARD);
    ASK_OK(&s.record, RECORD);
    *id = s.row.id;
}

/* A restart finds an intent without a result, as after a crash. */
START_TEST(open_intents_become_unknown)
{
    uint64_t mail, bill, code, done;
    open_intent("a@example.com", &newsletter, &mail);
    open_intent("a@example.com", &invoice, &bill);
    open_intent("+15550100001", &otp, &code);
    open_intent("a@example.com", &newsletter, &done);
    ck_assert_int_eq(give_result(done, RESULT_FORWARDED, false), OK);
    harness_reopen();
    ASSERT_HAS(decision_json(mail), "\"status\":\"unknown\"");
    ASSERT_HAS(decision_json(mail), "\"detail\":\"interrupted\"");
    ASSERT_HAS(decision_json(code), "\"status\":\"unknown\"");
    ASSERT_HAS(decision_json(done), "\"status\":\"forwarded\"");
    struct seen_sends seen;
    ck_assert_int_eq(count_sends(0, &seen), 2); /* an otp counts nowhere */
    ck_assert_uint_eq(seen.last.contact_hash, 0xfedcba9876543210u);
    assert_chain_holds();
    uint64_t rows = verify().rows;
    harness_reopen(); /* and only once */
    ck_assert_uint_eq(verify().rows, rows);
}
END_TEST

START_TEST(the_sandbox_keeps_the_newest)
{
    struct record_result x = {.decision = 1, .result = RESULT_SANDBOX};
    for (int i = 0; i < 3; i++) {
        char subject[16];
        snprintf(subject, sizeof subject, "no %d", i);
        struct sandbox_message m = {.at_ms = NOW + i,
                                    .decision = 1,
                                    .dialect = SLICE("sendgrid"),
                                    .category = SLICE("newsletter"),
                                    .channel = CHANNEL_SMS,
                                    .to = SLICE("a@example.com"),
                                    .from = SLICE("b@example.com"),
                                    .subject = slice_of(subject),
                                    .text = SLICE("hello"),
                                    .body = {"\0\1", 2}};
        struct store_result r = {.now_ms = NOW, .results = &x, .n = 1, .sandbox = &m, .n_sandbox = 1};
        ASK_OK(&r, RESULT);
    }
    struct store_sandbox_list list = {.arena = &arena, .max = 2};
    ASK_OK(&list, SANDBOX_LIST);
    ck_assert_uint_eq(list.n, 2);
    ck_assert(slice_eq_cstr(list.rows[0].subject, "no 2"));
    ck_assert(slice_eq_cstr(list.rows[1].subject, "no 1"));
    ck_assert_int_eq(list.rows[0].channel, CHANNEL_SMS);
    ck_assert(slice_eq(list.rows[0].body, (struct slice){"\0\1", 2}));
    ck_assert(slice_eq_cstr(list.rows[0].from, "b@example.com"));
}
END_TEST

/* --- contacts ------------------------------------------------------------------------------- */

static enum err get_contact(const char *id, const char *address, struct contact *out)
{
    struct store_contact_get get = {.arena = &arena, .id = slice_of(id), .with_history = true, .contact = out};
    if (address != NULL)
        get.address = address_of(address);
    return ASK(&get, CONTACT_GET);
}

static void get_profile(const char *address, struct profile *out)
{
    struct store_profile_get get = {.arena = &arena, .to = address_of(address), .profile = out};
    ASK_OK(&get, PROFILE_GET);
}

START_TEST(a_contact_is_put_and_got)
{
    put_contact("ann", (const char *[]){"a@example.com", "+15550100001"}, 2, 0);
    struct contact c;
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert_uint_eq(c.version, 1);
    ck_assert(slice_eq_cstr(c.account, "acme"));
    ck_assert_uint_eq(c.n_addresses, 2);
    ck_assert_str_eq(c.addresses[0].address.text, "a@example.com");
    ck_assert(c.addresses[0].valid);
    ck_assert_int_eq(get_contact(NULL, "+15550100001", &c), OK);
    ck_assert(slice_eq_cstr(c.id, "ann"));
    ck_assert_int_eq(get_contact("bob", NULL, &c), ERR_NOT_FOUND);
    ck_assert_int_eq(get_contact(NULL, "b@example.com", &c), ERR_NOT_FOUND);
    ck_assert_int_eq(c.created_at_ms, NOW);
}
END_TEST

START_TEST(versions_and_addresses_conflict)
{
    put_contact("ann", (const char *[]){"a@example.com"}, 1, 0);
    put_contact("bob", (const char *[]){"b@example.com"}, 1, 0);
    struct address taken = address_of("a@example.com");
    struct store_contact_put put = {
        .arena = &arena, .id = SLICE("bob"), .now_ms = NOW, .addresses = &taken, .n_addresses = 1};
    ck_assert_int_eq(ASK(&put, CONTACT_PUT), ERR_CONFLICT); /* must not exist, but does */
    put.expected_version = 1;
    ck_assert_int_eq(ASK(&put, CONTACT_PUT), ERR_CONFLICT);
    ASSERT_HAS(put.conflict.p, "a@example.com belongs to contact \"ann\"");
    put.expected_version = 2;
    ck_assert_int_eq(ASK(&put, CONTACT_PUT), ERR_CONFLICT);
    struct contact c;
    ck_assert_int_eq(get_contact("bob", NULL, &c), OK);
    ck_assert_uint_eq(c.version, 1);
    put.addresses = NULL; /* unchanged */
    put.n_addresses = 0;
    put.expected_version = 1;
    ASK_OK(&put, CONTACT_PUT);
    ck_assert_uint_eq(put.n_touched, 1);
    ck_assert_int_eq(get_contact("bob", NULL, &c), OK);
    ck_assert_uint_eq(c.version, 2);
    ck_assert_uint_eq(c.n_addresses, 1);
    assert_chain_holds();
}
END_TEST

START_TEST(touched_names_old_and_new_addresses)
{
    put_contact("ann", (const char *[]){"a@example.com", "b@example.com"}, 2, 0);
    struct address list[] = {address_of("b@example.com"), address_of("c@example.com")};
    struct store_contact_put put = {
        .arena = &arena, .id = SLICE("ann"), .expected_version = 1, .now_ms = NOW, .addresses = list, .n_addresses = 2};
    ASK_OK(&put, CONTACT_PUT);
    ck_assert_uint_eq(put.n_touched, 3);
    ck_assert_str_eq(put.touched[2].text, "c@example.com");
    struct profile p;
    get_profile("a@example.com", &p);
    ck_assert_int_eq(p.known, UNKNOWN);
    get_profile("c@example.com", &p);
    ck_assert_int_eq(p.known, KNOWN);
}
END_TEST

START_TEST(preferences_have_versions)
{
    put_contact("ann", (const char *[]){"a@example.com"}, 1, 0);
    static const char *const hours[] = {"mon-fri 08:00-18:00", "mon-fri 09:00-17:00"};
    for (uint64_t i = 0; i < 2; i++) {
        struct preference p[] = {{.key = PREFERENCE_HOURS,
                                  .specificity = SPECIFICITY_CHANNEL,
                                  .scope = SLICE("sms"),
                                  .text = slice_of(hours[i]),
                                  .authority = AUTHORITY_AGENT,
                                  .source = SOURCE_AGENT,
                                  .system = SLICE("crm"),
                                  .confidence = CONFIDENCE_MEDIUM,
                                  .at_ms = NOW + (int64_t)i},
                                 {.key = PREFERENCE_LANGUAGE, .text = SLICE("de"), .confidence = CONFIDENCE_HIGH}};
        struct store_contact_put put = {.arena = &arena,
                                        .id = SLICE("ann"),
                                        .expected_version = 1 + i,
                                        .now_ms = NOW,
                                        .preferences = p,
                                        .n_preferences = 2 - i};
        ASK_OK(&put, CONTACT_PUT);
    }
    struct profile p;
    get_profile("a@example.com", &p);
    ck_assert_uint_eq(p.n_preferences, 2);
    const struct preference *h = &p.preferences[0];
    ck_assert_int_eq(h->key, PREFERENCE_HOURS);
    ck_assert_uint_eq(h->version, 2);
    ck_assert(slice_eq_cstr(h->text, hours[1]));
    ck_assert(slice_eq_cstr(h->scope, "sms"));
    ck_assert(slice_eq_cstr(h->system, "crm"));
    ck_assert_int_eq(h->specificity, SPECIFICITY_CHANNEL);
    ck_assert_int_eq(h->authority, AUTHORITY_AGENT);
    ck_assert_int_eq(h->confidence, CONFIDENCE_MEDIUM);
    ck_assert_int_eq(p.preferences[1].key, PREFERENCE_LANGUAGE);
    struct contact c;
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert_uint_eq(c.n_history, 3);
    ck_assert_uint_eq(c.n_preferences, 2);
    ck_assert(slice_eq_cstr(c.history[0].text, hours[1]));
}
END_TEST

static void add_consent(struct consent consent, bool lifts, struct store_consent_add *add)
{
    *add = (struct store_consent_add){.arena = &arena,
                                      .contact_id = SLICE("ann"),
                                      .consent = consent,
                                      .basis = SLICE("form"),
                                      .evidence = SLICE("ip 192.0.2.1"),
                                      .lifts = lifts,
                                      .now_ms = NOW};
    ASK_OK(add, CONSENT_ADD);
}

START_TEST(the_latest_consent_is_in_force)
{
    put_contact("ann", (const char *[]){"a@example.com", "+15550100001"}, 2, 0);
    struct store_consent_add add;
    struct consent sms = {.channel = CHANNEL_SMS, .category = SLICE("newsletter"), .at_ms = NOW};
    add_consent(sms, false, &add);
    ck_assert_uint_eq(add.n_touched, 2);
    sms.state = CONSENT_REVOKED;
    add_consent(sms, false, &add);
    sms.state = CONSENT_PENDING;
    add_consent(sms, false, &add);
    struct consent any = {.any_channel = true, .state = CONSENT_PENDING, .at_ms = NOW, .expires_at_ms = NOW + HOUR};
    add_consent(any, false, &add);
    struct profile p;
    get_profile("a@example.com", &p);
    ck_assert_uint_eq(p.n_consents, 2);
    ck_assert_int_eq(p.consents[0].state, CONSENT_REVOKED); /* a pending one does not stand over it */
    ck_assert_int_eq(p.consents[0].channel, CHANNEL_SMS);
    ck_assert_int_eq(p.consents[1].state, CONSENT_PENDING);
    ck_assert(p.consents[1].any_channel);
    ck_assert_int_eq(p.consents[1].expires_at_ms, NOW + HOUR);
    struct contact c;
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert_uint_eq(c.n_consents, 4);
    ck_assert_int_eq(c.consents[3].state, CONSENT_GRANTED);
    ck_assert_uint_eq(c.version, 5);
    add.expected_version = 4; /* decided over what has changed since */
    ck_assert_int_eq(ASK(&add, CONSENT_ADD), ERR_CONFLICT);
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert_uint_eq(c.n_consents, 4);
    add.expected_version = 5;
    ASK_OK(&add, CONSENT_ADD);
    add.expected_version = 4; /* of a reading that is out of date */
    ck_assert_int_eq(ASK(&add, CONSENT_ADD), ERR_CONFLICT);
    add.expected_version = 0;
    add.contact_id = SLICE("nobody");
    ck_assert_int_eq(ASK(&add, CONSENT_ADD), ERR_NOT_FOUND);
    assert_chain_holds();
}
END_TEST

/* --- opt-outs ---------------------------------------------------------------------------------- */

static struct store_opt_out_add opt_out(const char *address, struct opt_out o)
{
    o.source = SOURCE_CUSTOMER;
    o.at_ms = NOW;
    struct store_opt_out_add add = {
        .arena = &arena, .address = address_of(address), .opt_out = o, .reason = SLICE("page"), .now_ms = NOW};
    ASK_OK(&add, OPT_OUT_ADD);
    return add;
}

static const struct opt_out everything = {.scope = SCOPE_GLOBAL, .any_channel = true};

START_TEST(an_opt_out_of_an_unknown_address_folds)
{
    struct profile p;
    get_profile("ann@example.com", &p);
    ck_assert_uint_eq(p.n_opt_outs, 0);
    ck_assert_uint_eq(p.version, 0);
    struct store_opt_out_add add = opt_out("Ann+news@example.com", everything);
    ck_assert_uint_eq(add.contact_id.n, 0);
    ck_assert_uint_eq(add.n_touched, 1);
    get_profile("ANN@example.com", &p);
    ck_assert_int_eq(p.known, UNKNOWN);
    ck_assert_uint_eq(p.n_opt_outs, 1);
    ck_assert_int_eq(p.opt_outs[0].scope, SCOPE_GLOBAL);
    ck_assert_int_eq(p.opted_out_at_ms, NOW);
    ck_assert_uint_gt(p.version, 0);
    struct store_opt_out_add again = opt_out("ann@example.com", everything);
    ck_assert_uint_eq(again.opt_out_id, add.opt_out_id);
    ck_assert_uint_eq(verify().rows, 1);
    /* A contact that gets the address later inherits it, for its other addresses too. */
    put_contact("ann", (const char *[]){"ann@example.com", "+15550100001"}, 2, 0);
    uint64_t version = p.version;
    get_profile("+15550100001", &p);
    ck_assert_uint_eq(p.n_opt_outs, 1);
    ck_assert_uint_gt(p.version, version);
}
END_TEST

START_TEST(an_opt_out_binds_the_contact)
{
    put_contact("ann", (const char *[]){"a@example.com", "b@example.com", "+15550100001"}, 3, 0);
    struct store_opt_out_add add = opt_out("a@example.com", (struct opt_out){.scope = SCOPE_CHANNEL});
    ck_assert(slice_eq_cstr(add.contact_id, "ann"));
    ck_assert_uint_eq(add.n_touched, 3);
    ck_assert_str_eq(add.touched[0].text, "a@example.com");
    struct profile p;
    get_profile("b@example.com", &p);
    ck_assert_uint_eq(p.n_opt_outs, 1);
    ck_assert_int_eq(p.opt_outs[0].channel, CHANNEL_EMAIL);
    /* A bounce is of one address. */
    opt_out("a@example.com", (struct opt_out){.scope = SCOPE_ADDRESS});
    get_profile("b@example.com", &p);
    ck_assert_uint_eq(p.n_opt_outs, 1);
    get_profile("a@example.com", &p);
    ck_assert_uint_eq(p.n_opt_outs, 2);
    struct contact c;
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert(!c.addresses[0].valid);
    ck_assert(c.addresses[1].valid);
    ck_assert_uint_eq(c.version, 3);
}
END_TEST

START_TEST(a_contact_shows_each_opt_out_once)
{
    put_contact("ann", (const char *[]){"a@example.com", "b@example.com"}, 2, 0);
    opt_out("a@example.com", (struct opt_out){.scope = SCOPE_CHANNEL});
    opt_out("a@example.com", (struct opt_out){.scope = SCOPE_ADDRESS});
    struct contact c;
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert_uint_eq(c.n_opt_outs, 2);
}
END_TEST

START_TEST(a_consent_lifts_exactly_its_scope)
{
    put_contact("ann", (const char *[]){"a@example.com", "+15550100001"}, 2, 0);
    struct opt_out category = {.scope = SCOPE_CATEGORY, .channel = CHANNEL_EMAIL, .category = SLICE("newsletter")};
    opt_out("a@example.com", category);
    opt_out("a@example.com", everything);
    struct store_consent_add add;
    struct consent narrow = {.channel = CHANNEL_EMAIL, .category = SLICE("newsletter"), .at_ms = NOW};
    add_consent(narrow, true, &add);
    ck_assert_uint_eq(add.n_lifted, 1);
    struct profile p;
    get_profile("a@example.com", &p);
    ck_assert_uint_eq(p.n_opt_outs, 1);
    ck_assert_int_eq(p.opt_outs[0].scope, SCOPE_GLOBAL);
    ck_assert_int_eq(p.resubscribed_at_ms, NOW);
    add_consent(narrow, true, &add);
    ck_assert_uint_eq(add.n_lifted, 0);
    struct consent wide = {.any_channel = true, .at_ms = NOW};
    add_consent(wide, true, &add);
    ck_assert_uint_eq(add.n_lifted, 1);
    get_profile("+15550100001", &p);
    ck_assert_uint_eq(p.n_opt_outs, 0);
    uint64_t first = opt_out("a@example.com", everything).opt_out_id; /* may be said again */
    ck_assert_uint_gt(first, 2);
}
END_TEST

/* --- deferred ------------------------------------------------------------------------------------ */

static uint64_t defer(const char *to, struct category *category, int64_t release_at_ms, uint64_t *decision)
{
    struct sample s;
    sample_init(&s, to, category, OUTCOME_DEFER);
    sample_defer(&s, release_at_ms);
    ASK_OK(&s.record, RECORD);
    if (decision != NULL)
        *decision = s.row.id;
    struct store_deferred_list list = {.arena = &arena, .kept_id = SLICE("SM0123"), .max = 1000};
    ASK_OK(&list, DEFERRED_LIST);
    return list.rows[list.n - 1].id;
}

static struct deferred get_deferred(uint64_t id)
{
    struct store_deferred_list list = {.arena = &arena, .id = id, .max = 1, .with_submission = true};
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 1);
    return list.rows[0];
}

static struct store_deferred_claim claim_of(enum channel channel, int64_t now_ms, size_t max)
{
    struct store_deferred_claim c = {
        .arena = &arena, .channel = channel, .now_ms = now_ms, .lease_until_ms = now_ms + 60000, .max = max};
    ASK_OK(&c, DEFERRED_CLAIM);
    return c;
}

static struct store_deferred_claim claim(int64_t now_ms, size_t max)
{
    return claim_of(CHANNEL_EMAIL, now_ms, max);
}

START_TEST(a_deferred_message_is_kept_whole)
{
    uint64_t decision;
    uint64_t id = defer("a@example.com", &newsletter, NOW + HOUR, &decision);
    harness_reopen();
    struct deferred d = get_deferred(id);
    ck_assert_uint_eq(d.decision, decision);
    ck_assert_int_eq(d.kind, DEFERRED_TIMED);
    ck_assert_int_eq(d.state, DEFERRED_WAITING);
    ck_assert_str_eq(d.to.text, "a@example.com");
    ck_assert_int_eq(d.class, CLASS_MARKETING);
    ck_assert_int_eq(d.reason, REASON_QUIET_HOURS);
    ck_assert(slice_eq_cstr(d.local_rule, "fri 08:00 America/New_York"));
    ck_assert_int_eq(d.release_at_ms, NOW + HOUR);
    ck_assert_int_eq(d.expires_at_ms, 0);
    ck_assert(slice_eq_cstr(d.submission.path, "/v3/mail/send"));
    ck_assert(slice_eq(d.submission.body, (struct slice){"{\"a\":\0\"b\"}", 10}));
    ck_assert_uint_eq(d.submission.n_fields, 2);
    ck_assert(slice_eq_cstr(d.submission.fields[0].value, "application/json"));
    ck_assert(slice_eq_cstr(d.submission.fields[1].name, "X-Empty"));
    struct store_queue_depth depth = store_queue_depth(store);
    ck_assert_uint_eq(depth.n[DEFERRED_WAITING], 1);
    ck_assert_int_eq(depth.oldest_enqueued_ms, NOW);
    ASSERT_HAS(decision_json(decision), "\"status\":\"deferred\"");
    ASSERT_HAS(decision_json(decision), "\"release_at\":\"2027-01-15T09:00:00Z\"");
}
END_TEST

START_TEST(claims_take_what_is_due_in_release_order)
{
    uint64_t late = defer("a@example.com", &newsletter, NOW + 2 * HOUR, NULL);
    uint64_t low = defer("b@example.com", &newsletter, NOW, NULL);
    uint64_t high = defer("c@example.com", &invoice, NOW + 10, NULL);
    struct store_deferred_claim c = claim(NOW - 1, 10);
    ck_assert_uint_eq(c.n, 0);
    ck_assert_int_eq(c.next_due_ms, NOW);
    c = claim(NOW + HOUR, 1);
    ck_assert_uint_eq(c.n, 1);
    ck_assert_uint_eq(c.rows[0].id, high);
    ck_assert_int_eq(c.rows[0].state, DEFERRED_LEASED);
    ck_assert_uint_eq(c.rows[0].fence, 1);
    ck_assert_uint_eq(c.rows[0].submission.body.n, 10);
    ck_assert_int_eq(c.next_due_ms, NOW + HOUR); /* one is due already */
    c = claim(NOW + HOUR, 10);
    ck_assert_uint_eq(c.n, 1);
    ck_assert_uint_eq(c.rows[0].id, low);
    ck_assert_int_eq(c.next_due_ms, NOW + HOUR + 60000); /* when the leases run out */
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_LEASED], 2);
    c = claim(NOW + 2 * HOUR, 10); /* they ran out */
    ck_assert_uint_eq(c.n, 3);
    ck_assert_uint_eq(c.rows[0].id, high);
    ck_assert_uint_eq(c.rows[0].fence, 2);
    ck_assert_uint_eq(c.rows[1].id, late); /* deferred as early as the other, and before it */
    ck_assert_uint_eq(c.rows[2].id, low);
    harness_reopen(); /* leases of nobody */
    c = claim(NOW + 2 * HOUR, 10);
    ck_assert_uint_eq(c.n, 3);
    ck_assert_uint_ge(c.rows[0].fence, 4);
}
END_TEST

START_TEST(channels_are_claimed_apart)
{
    defer("a@example.com", &newsletter, NOW, NULL);
    uint64_t text = defer("+15550100001", &newsletter, NOW + HOUR, NULL);
    ck_assert_uint_eq(claim(NOW + HOUR, 5).n, 1);
    struct store_deferred_claim c = claim_of(CHANNEL_SMS, NOW, 5);
    ck_assert_uint_eq(c.n, 0);
    ck_assert_int_eq(c.next_due_ms, NOW + HOUR);
    c = claim_of(CHANNEL_SMS, NOW + HOUR, 5);
    ck_assert_uint_eq(c.n, 1);
    ck_assert_uint_eq(c.rows[0].id, text);
}
END_TEST

START_TEST(a_spread_delays_the_claim_alone)
{
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_DEFER);
    sample_defer(&s, NOW);
    s.deferred.spread_ms = 5000;
    ASK_OK(&s.record, RECORD);
    struct store_deferred_claim c = claim(NOW, 1);
    ck_assert_uint_eq(c.n, 0);
    ck_assert_int_eq(c.next_due_ms, NOW + 5000);
    c = claim(NOW + 5000, 1);
    ck_assert_uint_eq(c.n, 1);
    ck_assert_int_eq(c.rows[0].release_at_ms, NOW);
}
END_TEST

/* The release of a claimed row: decided again, with the outcome and what becomes of the row. */
static enum err settle(const struct deferred *d, struct sample *s, enum outcome outcome, enum deferred_state state)
{
    sample_init(s, d->to.text, &newsletter, outcome);
    s->row.parent = d->decision;
    s->record.settles = d->id;
    s->record.fence = d->fence;
    s->record.settle_state = state;
    return ASK(&s->record, RECORD);
}

START_TEST(a_release_is_forwarded)
{
    uint64_t first;
    uint64_t id = defer("a@example.com", &newsletter, NOW, &first);
    struct deferred d = claim(NOW, 1).rows[0];
    struct sample s;
    ck_assert_int_eq(settle(&d, &s, OUTCOME_FORWARD, DEFERRED_LEASED), OK);
    ck_assert_uint_eq(claim(NOW + HOUR, 1).n, 0); /* its intent holds the lease, however long */
    struct record_result x = {.decision = s.row.id, .result = RESULT_FORWARDED};
    struct store_result r = {
        .now_ms = NOW, .results = &x, .n = 1, .settles = id, .fence = d.fence, .settle_state = DEFERRED_RELEASED};
    ASK_OK(&r, RESULT);
    d = get_deferred(id);
    ck_assert_int_eq(d.state, DEFERRED_RELEASED);
    ck_assert_uint_eq(d.submission.body.n, 0); /* gone with the last message that needed it */
    ck_assert_uint_eq(d.decision, s.row.id);
    ASSERT_HAS(decision_json(s.row.id), "\"status\":\"forwarded\"");
    ck_assert_int_eq(ASK(&r, RESULT), ERR_CONFLICT);
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_LEASED], 0);
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_RELEASED], 1);
    assert_chain_holds();
}
END_TEST

START_TEST(an_old_fence_is_refused)
{
    defer("a@example.com", &newsletter, NOW, NULL);
    struct deferred d = claim(NOW, 1).rows[0];
    struct deferred taken_over = claim(NOW + HOUR, 1).rows[0];
    uint64_t rows = verify().rows;
    struct sample s;
    ck_assert_int_eq(settle(&d, &s, OUTCOME_FORWARD, DEFERRED_LEASED), ERR_CONFLICT);
    ck_assert_uint_eq(verify().rows, rows);
    ck_assert_int_eq(settle(&taken_over, &s, OUTCOME_FORWARD, DEFERRED_LEASED), OK);
}
END_TEST

START_TEST(a_release_may_defer_again)
{
    uint64_t id = defer("a@example.com", &newsletter, NOW, NULL);
    struct deferred d = claim(NOW, 1).rows[0];
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_DEFER);
    sample_defer(&s, NOW + 3 * HOUR);
    s.deferred.deferrals = 2;
    s.deferred.reason = REASON_CAP_ORGANISATION;
    s.row.parent = d.decision;
    s.record.settles = id;
    s.record.fence = d.fence;
    s.record.settle_state = DEFERRED_WAITING;
    ASK_OK(&s.record, RECORD);
    d = get_deferred(id);
    ck_assert_int_eq(d.state, DEFERRED_WAITING);
    ck_assert_int_eq(d.release_at_ms, NOW + 3 * HOUR);
    ck_assert_uint_eq(d.deferrals, 2);
    ck_assert_int_eq(d.reason, REASON_CAP_ORGANISATION);
    ck_assert_uint_eq(d.decision, s.row.id);
    ck_assert_uint_eq(d.submission.body.n, 10);
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_WAITING], 1); /* no second row */
    ck_assert_uint_eq(claim(NOW + HOUR, 1).n, 0);
}
END_TEST

START_TEST(a_release_may_end_or_try_later)
{
    uint64_t id = defer("a@example.com", &newsletter, NOW, NULL);
    struct deferred d = claim(NOW, 1).rows[0];
    struct sample s;
    ck_assert_int_eq(settle(&d, &s, OUTCOME_FORWARD, DEFERRED_LEASED), OK);
    struct record_result x = {.decision = s.row.id, .result = RESULT_DEFERRED};
    struct store_result r = {.now_ms = NOW,
                             .results = &x,
                             .n = 1,
                             .settles = id,
                             .fence = d.fence,
                             .settle_state = DEFERRED_WAITING,
                             .settle_release_at_ms = NOW + HOUR};
    ASK_OK(&r, RESULT);
    d = get_deferred(id);
    ck_assert_int_eq(d.kind, DEFERRED_RETRY);
    ck_assert_int_eq(d.release_at_ms, NOW + HOUR);
    d = claim(NOW + HOUR, 1).rows[0];
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_BLOCK);
    s.decision.reason = REASON_EXPIRED;
    s.record.settles = id;
    s.record.fence = d.fence;
    s.record.settle_state = DEFERRED_ENDED;
    ASK_OK(&s.record, RECORD);
    d = get_deferred(id);
    ck_assert_int_eq(d.state, DEFERRED_ENDED);
    ck_assert(slice_eq_cstr(d.end_reason, "expired"));
    ASSERT_HAS(decision_json(s.row.id), "\"status\":\"expired\"");
}
END_TEST

START_TEST(a_crash_during_a_release_ends_it_as_unknown)
{
    uint64_t id = defer("+15550100001", &newsletter, NOW, NULL);
    struct deferred d = claim_of(CHANNEL_SMS, NOW, 1).rows[0];
    struct sample s;
    ck_assert_int_eq(settle(&d, &s, OUTCOME_FORWARD, DEFERRED_LEASED), OK);
    harness_reopen();
    d = get_deferred(id);
    ck_assert_int_eq(d.state, DEFERRED_ENDED);
    ck_assert(slice_eq_cstr(d.end_reason, "unknown"));
    ck_assert_uint_eq(claim_of(CHANNEL_SMS, NOW + HOUR, 1).n, 0);
    ASSERT_HAS(decision_json(s.row.id), "\"status\":\"unknown\"");
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_LEASED], 0);
}
END_TEST

START_TEST(a_provider_that_is_down_keeps_the_message)
{
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_FORWARD);
    ASK_OK(&s.record, RECORD);
    struct sample kept;
    sample_init(&kept, "a@example.com", &newsletter, OUTCOME_FORWARD);
    sample_defer(&kept, NOW + 1000);
    kept.deferred.kind = DEFERRED_RETRY;
    struct record_result x = {.decision = s.row.id, .result = RESULT_DEFERRED, .deferred = &kept.deferred};
    struct store_result r = {.now_ms = NOW, .results = &x, .n = 1, .submission = &kept.submission};
    ASK_OK(&r, RESULT);
    ASSERT_HAS(decision_json(s.row.id), "\"status\":\"deferred\"");
    struct store_deferred_claim c = claim(NOW + 1000, 5);
    ck_assert_uint_eq(c.n, 1);
    ck_assert_uint_eq(c.rows[0].decision, s.row.id);
    ck_assert_int_eq(c.rows[0].kind, DEFERRED_RETRY);
}
END_TEST

static enum err change(uint64_t id, enum deferred_action action, size_t *n)
{
    struct store_deferred_change c = {
        .arena = &arena, .id = id, .action = action, .actor = SLICE("admin"), .now_ms = NOW};
    enum err status = ASK(&c, DEFERRED_CHANGE);
    *n = c.n;
    return status;
}

START_TEST(people_change_deferred_rows)
{
    uint64_t decision;
    uint64_t id = defer("a@example.com", &newsletter, NOW + HOUR, &decision);
    size_t n;
    ck_assert_int_eq(change(id, DEFERRED_DO_PAUSE, &n), OK);
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(claim(NOW + 2 * HOUR, 5).n, 0);
    ck_assert_int_eq(change(id, DEFERRED_DO_PAUSE, &n), ERR_CONFLICT);
    ck_assert_int_eq(change(id, DEFERRED_DO_RESUME, &n), OK);
    ck_assert_int_eq(change(id, DEFERRED_DO_RELEASE, &n), OK);
    ck_assert_uint_eq(claim(NOW, 5).n, 1);
    ck_assert_int_eq(change(id, DEFERRED_DO_CANCEL, &n), ERR_CONFLICT); /* on its way */
    claim(NOW + HOUR, 0);                                               /* its lease is out */
    ck_assert_int_eq(change(id, DEFERRED_DO_CANCEL, &n), OK);
    ck_assert_int_eq(change(id, DEFERRED_DO_RELEASE, &n), ERR_CONFLICT);
    ck_assert_int_eq(change(4711, DEFERRED_DO_CANCEL, &n), ERR_NOT_FOUND);
    struct deferred d = get_deferred(id);
    ck_assert_int_eq(d.state, DEFERRED_CANCELLED);
    ck_assert(slice_eq_cstr(d.end_reason, "cancelled"));
    ck_assert_uint_eq(d.submission.body.n, 0);
    ASSERT_HAS(decision_json(decision), "\"status\":\"cancelled\"");
    assert_chain_holds();
}
END_TEST

START_TEST(a_key_changes_only_its_own_rows)
{
    uint64_t id = defer("a@example.com", &newsletter, NOW + HOUR, NULL);
    struct store_deferred_change c = {.arena = &arena,
                                      .kept_id = SLICE("SM0123"),
                                      .key = SLICE("other"),
                                      .action = DEFERRED_DO_CANCEL,
                                      .now_ms = NOW};
    ck_assert_int_eq(ASK(&c, DEFERRED_CHANGE), ERR_NOT_FOUND);
    c.key = SLICE("shop");
    ASK_OK(&c, DEFERRED_CHANGE);
    ck_assert_uint_eq(c.n, 1);
    ck_assert_uint_eq(c.rows[0].id, id);
    ck_assert_int_eq(c.rows[0].state, DEFERRED_CANCELLED);
}
END_TEST

START_TEST(the_list_filters_and_pages)
{
    uint64_t ids[3];
    ids[0] = defer("a@example.com", &newsletter, NOW + HOUR, NULL);
    ids[1] = defer("A+x@example.com", &newsletter, NOW + HOUR, NULL);
    ids[2] = defer("b@example.com", &newsletter, NOW + HOUR, NULL);
    struct store_deferred_list list = {.arena = &arena, .max = 2};
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 2);
    list.after_id = list.rows[1].id;
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 1);
    ck_assert_uint_eq(list.rows[0].id, ids[2]);
    list = (struct store_deferred_list){.arena = &arena, .max = 9, .address = address_of("a@example.com")};
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 1);
    list = (struct store_deferred_list){.arena = &arena, .max = 9, .states = 1u << DEFERRED_CANCELLED};
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 0);
    size_t n;
    ck_assert_int_eq(change(ids[1], DEFERRED_DO_CANCEL, &n), OK);
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 1);
    ck_assert_uint_eq(list.rows[0].id, ids[1]);
}
END_TEST

START_TEST(a_newer_message_takes_the_place_of_an_older)
{
    struct sample s[3];
    for (int i = 0; i < 3; i++) {
        sample_init(&s[i], "a@example.com", &newsletter, OUTCOME_DEFER);
        sample_defer(&s[i], NOW + HOUR);
        s[i].message.collapse_key = s[i].deferred.collapse_key = i == 1 ? SLICE("other") : SLICE("cart");
        ASK_OK(&s[i].record, RECORD);
    }
    ASSERT_HAS(decision_json(s[0].row.id), "\"status\":\"superseded\"");
    ASSERT_HAS(decision_json(s[1].row.id), "\"status\":\"deferred\"");
    ASSERT_HAS(decision_json(s[2].row.id), "\"status\":\"deferred\"");
    ck_assert_uint_eq(verify().rows, 4); /* the change has its row, too */
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_WAITING], 2);
}
END_TEST

/* One body for three messages: the last one takes it along. */
START_TEST(a_shared_body_goes_with_the_last_row)
{
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_DEFER);
    sample_defer(&s, NOW + HOUR);
    struct record_decision rows[3];
    for (int i = 0; i < 3; i++) {
        rows[i] = s.row;
        rows[i].id = i == 0 ? s.row.id : store_decision_id(store);
    }
    s.record.decisions = rows;
    s.record.n = 3;
    ASK_OK(&s.record, RECORD);
    struct store_deferred_list list = {.arena = &arena, .max = 9};
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 3);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(get_deferred(list.rows[2].id).submission.body.n, 10);
        size_t n;
        ck_assert_int_eq(change(list.rows[i].id, DEFERRED_DO_CANCEL, &n), OK);
    }
    ck_assert_uint_eq(get_deferred(list.rows[2].id).submission.body.n, 0);
}
END_TEST

/* Which waiting messages an opt-out empties: semantics, section 3. */
START_TEST(an_opt_out_empties_the_queue)
{
    static struct category support = {.name = "helpdesk", .class = CLASS_SUPPORT};
    struct waiting {
        const char *to;
        struct category *category;
    };
    static const struct waiting waiting[] = {{"a@example.com", &newsletter}, {"a@example.com", &invoice},
                                             {"a@example.com", &support},    {"a@example.com", &otp},
                                             {"+15550100001", &newsletter},  {"+15550100001", &invoice},
                                             {"+15550100001", &otp},         {"z@example.com", &newsletter}};
    static const struct {
        const char *address;
        struct opt_out o;
        unsigned cancelled; /* bits of waiting[] */
    } cases[] = {
        {"a@example.com", {.scope = SCOPE_GLOBAL, .any_channel = true}, 0x35},
        {"a@example.com", {.scope = SCOPE_CHANNEL, .channel = CHANNEL_SMS}, 0x30},
        {"a@example.com", {.scope = SCOPE_CHANNEL, .channel = CHANNEL_EMAIL}, 0x07},
        {"A+tag@example.com", {.scope = SCOPE_ADDRESS, .any_channel = true}, 0x0f},
        {"+15550100001", {.scope = SCOPE_DO_NOT_CONTACT, .any_channel = true}, 0x7f},
        {"a@example.com", {.scope = SCOPE_CATEGORY, .any_channel = true, .category = {"invoice", 7}}, 0x22},
        {"a@example.com", {.scope = SCOPE_CATEGORY, .channel = CHANNEL_SMS, .category = {"invoice", 7}}, 0x20},
        {"a@example.com", {.scope = SCOPE_TOPIC, .any_channel = true, .topic = {"soccer", 6}}, 0x00},
        {"y@example.com", {.scope = SCOPE_GLOBAL, .any_channel = true}, 0x00},
        {"z@example.com", {.scope = SCOPE_GLOBAL, .any_channel = true, .sender = {"+15550109999", 12}}, 0x80},
    };
    for (size_t c = 0; c < N_ELEMENTS(cases); c++) {
        put_contact("ann", (const char *[]){"a@example.com", "+15550100001"}, 2, 0);
        uint64_t ids[N_ELEMENTS(waiting)];
        for (size_t i = 0; i < N_ELEMENTS(waiting); i++)
            ids[i] = defer(waiting[i].to, waiting[i].category, NOW + HOUR, NULL);
        struct store_opt_out_add add = opt_out(cases[c].address, cases[c].o);
        size_t want_n = 0;
        for (size_t i = 0; i < N_ELEMENTS(waiting); i++) {
            bool want = (cases[c].cancelled >> i & 1) != 0;
            want_n += want;
            struct deferred d = get_deferred(ids[i]);
            ck_assert_msg((d.state == DEFERRED_CANCELLED) == want, "case %zu, message %zu", c, i);
            if (want)
                ck_assert(slice_eq_cstr(d.end_reason, "opted_out_meanwhile"));
        }
        ck_assert_uint_eq(add.n_cancelled, want_n);
        ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_CANCELLED], want_n);
        assert_chain_holds();
        harness_teardown();
        harness_setup();
    }
}
END_TEST

START_TEST(a_revoked_consent_empties_the_queue)
{
    put_contact("ann", (const char *[]){"a@example.com"}, 1, 0);
    uint64_t news = defer("a@example.com", &newsletter, NOW + HOUR, NULL);
    uint64_t bill = defer("a@example.com", &invoice, NOW + HOUR, NULL);
    struct store_consent_add add;
    struct consent c = {.channel = CHANNEL_EMAIL, .state = CONSENT_REVOKED, .at_ms = NOW};
    add_consent(c, false, &add);
    ck_assert_uint_eq(add.n_cancelled, 1);
    ck_assert_uint_eq(add.cancelled[0].id, news);
    ck_assert_int_eq(get_deferred(bill).state, DEFERRED_WAITING);
}
END_TEST

/* --- health ------------------------------------------------------------------------------------------ */

START_TEST(little_free_disk_refuses_new_messages_only)
{
    store_close(&store);
    harness_open(INT64_MAX - 1);
    const char *why;
    ck_assert_int_eq(store_health(store, &why), STORE_FULL);
    ASSERT_HAS(why, "full");
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_FORWARD);
    ck_assert_int_eq(ASK(&s.record, RECORD), ERR_UNAVAILABLE);
    ck_assert_int_eq(give_result(1, RESULT_FORWARDED, true), OK);
    opt_out("a@example.com", everything);
    ck_assert_uint_eq(verify().rows, 2);
    harness_reopen();
    ck_assert_int_eq(store_health(store, &why), STORE_OK);
    ASK_OK(&s.record, RECORD);
}
END_TEST

START_TEST(notes_are_in_the_chain)
{
    struct store_audit_note note = {.now_ms = NOW, .kind = SLICE("pass"), .json = SLICE("{\"path\":\"/v3/asm\"}")};
    ASK_OK(&note, AUDIT_NOTE);
    ck_assert_uint_eq(verify().rows, 1);
    assert_chain_holds();
}
END_TEST

static TCase *tests(const char *name, const TTest *const *list, size_t n)
{
    TCase *c = tcase_create(name);
    tcase_add_checked_fixture(c, harness_setup, harness_teardown);
    tcase_set_timeout(c, 60);
    for (size_t i = 0; i < n; i++)
        tcase_add_test(c, list[i]);
    return c;
}

#define TESTS(name, ...)                                                                                               \
    tests(name, (const TTest *const[]){__VA_ARGS__}, sizeof((const TTest *const[]){__VA_ARGS__}) / sizeof(TTest *))

int main(void)
{
    Suite *s = suite_create("store_contract");
    suite_add_tcase(s, TESTS("seam", callbacks_run_once_in_order, close_finishes_what_is_queued, ids_rise_over_restarts,
                             a_read_sees_what_was_asked_before_it, a_failing_request_leaves_the_others_alone,
                             a_request_that_fails_half_way_writes_nothing, a_second_opening_is_refused));
    suite_add_tcase(s, TESTS("decisions", a_decision_is_shown_whole, status_follows_outcome_and_result,
                             parent_and_children_are_named, sends_that_count_are_listed_once,
                             open_intents_become_unknown, the_sandbox_keeps_the_newest));
    suite_add_tcase(s, TESTS("contacts", a_contact_is_put_and_got, versions_and_addresses_conflict,
                             touched_names_old_and_new_addresses, preferences_have_versions,
                             the_latest_consent_is_in_force));
    suite_add_tcase(s, TESTS("opt-outs", an_opt_out_of_an_unknown_address_folds, an_opt_out_binds_the_contact,
                             a_contact_shows_each_opt_out_once, a_consent_lifts_exactly_its_scope));
    suite_add_tcase(s, TESTS("deferred", a_deferred_message_is_kept_whole, claims_take_what_is_due_in_release_order,
                             channels_are_claimed_apart, a_spread_delays_the_claim_alone, a_release_is_forwarded,
                             an_old_fence_is_refused, a_release_may_defer_again, a_release_may_end_or_try_later,
                             a_crash_during_a_release_ends_it_as_unknown, a_provider_that_is_down_keeps_the_message,
                             people_change_deferred_rows, a_key_changes_only_its_own_rows, the_list_filters_and_pages,
                             a_newer_message_takes_the_place_of_an_older, a_shared_body_goes_with_the_last_row,
                             an_opt_out_empties_the_queue, a_revoked_consent_empties_the_queue));
    suite_add_tcase(s, TESTS("health", little_free_disk_refuses_new_messages_only, notes_are_in_the_chain));
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

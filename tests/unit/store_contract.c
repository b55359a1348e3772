/*
 * The contract of postern/store.h, against a URL: SQLite in a directory of its own,
 * or what POSTERN_STORE_URL names.  Nothing here knows a backend.  Here: the seam,
 * decisions and results, health; people and deferred messages have a file each.
 */
#include "tests/unit/store_contract.h"

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
    struct store_audit_note note = {
        .now_ms = NOW, .kind = SLICE("pass"), .json = SLICE("{\"status\":200}"), .path = SLICE("/v3/asm")};
    ASK_OK(&note, AUDIT_NOTE);
    ck_assert_uint_eq(verify().rows, 1);
    assert_chain_holds();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_contract");
    suite_add_tcase(s, TESTS("seam", callbacks_run_once_in_order, close_finishes_what_is_queued, ids_rise_over_restarts,
                             a_read_sees_what_was_asked_before_it, a_failing_request_leaves_the_others_alone,
                             a_request_that_fails_half_way_writes_nothing, a_second_opening_is_refused));
    suite_add_tcase(s, TESTS("decisions", a_decision_is_shown_whole, status_follows_outcome_and_result,
                             parent_and_children_are_named, sends_that_count_are_listed_once,
                             open_intents_become_unknown, the_sandbox_keeps_the_newest));
    suite_add_tcase(s, TESTS("health", little_free_disk_refuses_new_messages_only, notes_are_in_the_chain));
    return run_suite(s);
}

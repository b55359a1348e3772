/*
 * Intents and sends, which stand together in the row of their commit; and a store of the released schema 8, in which
 * each had a row, as the next posternd finds it: what was open is unknown and counts, what was sent counts on, and the
 * chain holds over the rows of both.
 */
#include <sqlite3.h>

#include "tests/unit/store_contract.h"

/* Schema 9 undone, so that the audit's rows are a store's own. */
static const char schema_8[] =
    "CREATE TABLE intent (decision INTEGER PRIMARY KEY, contact_hash INTEGER NOT NULL, channel INTEGER NOT NULL, "
    "class INTEGER NOT NULL, category TEXT NOT NULL, counting INTEGER NOT NULL, subject INTEGER NOT NULL DEFAULT 0, "
    "owner INTEGER NOT NULL DEFAULT 0, mail INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE send (at_ms INTEGER NOT NULL, decision INTEGER NOT NULL, contact_hash INTEGER NOT NULL, "
    "channel INTEGER NOT NULL, class INTEGER NOT NULL, category TEXT NOT NULL, any_only INTEGER NOT NULL, "
    "subject INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (at_ms, decision)) STRICT, WITHOUT ROWID;"
    "DROP TABLE intents; DROP TABLE sends; DELETE FROM schema_version WHERE version >= 9";

static sqlite3 *db;

static void run(const char *sql)
{
    ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s in %s", sqlite3_errmsg(db), sql);
}

static void insert(const char *format, uint64_t decision)
{
    char *sql = sqlite3_mprintf(format, (long long)decision);
    run(sql);
    sqlite3_free(sql);
}

static uint64_t record_intent(const char *to, struct category *category, struct store_mail *mail)
{
    struct sample s;
    sample_init(&s, to, category, OUTCOME_FORWARD);
    s.record.arena = &arena;
    s.record.mail = mail;
    ASK_OK(&s.record, RECORD);
    return s.row.id;
}

static struct store_send seen[8];
static size_t n_seen;

static void on_send(const struct store_send *send, void *arg)
{
    (void)arg;
    ck_assert_uint_lt(n_seen, N_ELEMENTS(seen));
    seen[n_seen] = *send;
    seen[n_seen++].category = arena_slice(&arena, send->category);
}

static void read_sends(int64_t since_ms)
{
    n_seen = 0;
    ck_assert_int_eq(store_sends(store, since_ms, on_send, NULL), OK);
}

START_TEST(a_store_of_schema_8_goes_on)
{
    struct store_mail mail = {.digest = {1}, .kept_id = SLICE("first")};
    uint64_t open = record_intent("a@example.com", &newsletter, &mail);
    uint64_t bill = record_intent("a@example.com", &invoice, NULL);
    uint64_t code = record_intent("+15550100001", &otp, NULL);
    store_close(&store);
    ck_assert_int_eq(sqlite3_open(harness_path, &db), SQLITE_OK);
    run(schema_8);
    insert("INSERT INTO intent VALUES (%lld, -42, 0, 5, 'newsletter', 2, 4000000000, 0, 1)", open);
    insert("INSERT INTO intent VALUES (%lld, 43, 0, 2, 'invoice', 1, 0, 3, 0)", bill);
    insert("INSERT INTO intent VALUES (%lld, 44, 1, 0, 'code', 0, 0, 0, 0)", code);
    run("INSERT INTO send VALUES (1799999000000, 71, 7, 0, 5, 'news', 0, 9), (1799999000000, 70, -6, 1, 2, '', 1, 0),"
        "(1799999000500, 1, 5, 0, 5, 'news', 0, 0)");
    sqlite3_close(db);
    harness_open(0);
    ASSERT_HAS(decision_json(open), "\"status\":\"unknown\"");
    ASSERT_HAS(decision_json(bill), "\"status\":\"unknown\"");
    ASSERT_HAS(decision_json(code), "\"status\":\"unknown\"");
    ck_assert_uint_eq(verify().rows, 6);
    assert_chain_holds();
    read_sends(0);
    ck_assert_uint_eq(n_seen, 5);
    ck_assert_uint_eq(seen[0].decision, 70);
    ck_assert_uint_eq(seen[0].contact_hash, (uint64_t)-6);
    ck_assert_int_eq(seen[0].channel, CHANNEL_SMS);
    ck_assert_int_eq(seen[0].class, CLASS_TRANSACTIONAL);
    ck_assert(seen[0].counts_in_any_only);
    ck_assert_uint_eq(seen[1].decision, 71);
    ck_assert_uint_eq(seen[1].subject_id, 9);
    ck_assert(slice_eq_cstr(seen[1].category, "news"));
    ck_assert(!seen[1].counts_in_any_only);
    ck_assert_int_eq(seen[2].at_ms, 1799999000500);
    ck_assert_uint_eq(seen[3].decision, open);
    ck_assert_uint_eq(seen[3].contact_hash, (uint64_t)-42);
    ck_assert_uint_eq(seen[3].subject_id, 4000000000u);
    ck_assert(!seen[3].counts_in_any_only);
    ck_assert_uint_eq(seen[4].decision, bill);
    ck_assert(seen[4].counts_in_any_only);
    read_sends(1799999000001);
    ck_assert_uint_eq(n_seen, 3);
    ck_assert_int_eq(seen[0].at_ms, 1799999000500);
    record_intent("a@example.com", &newsletter, &mail); /* interrupted: it may come again */
}
END_TEST

/* --- the log of sends ------------------------------------------------------------------------------- */

START_TEST(sends_are_told_in_order_whatever_the_clock_did)
{
    put_sends(1, 3, NOW);
    put_sends(4, 1, NOW + 2000);
    put_sends(5, 1, NOW - 400); /* set back */
    put_sends(6, 1, NOW + 1);
    put_sends(6, 1, NOW + 1); /* the same again */
    read_sends(0);
    static const uint64_t order[] = {5, 1, 2, 3, 6, 4};
    ck_assert_uint_eq(n_seen, N_ELEMENTS(order));
    for (size_t i = 0; i < n_seen; i++)
        ck_assert_uint_eq(seen[i].decision, order[i]);
    read_sends(NOW + 1);
    ck_assert_uint_eq(n_seen, 2);
}
END_TEST

static struct wait waits[4];
static struct record_result rows[4];
static struct store_result requests[4];

static void give_at(size_t i, int64_t at_ms)
{
    rows[i] = (struct record_result){
        .decision = i + 1, .result = RESULT_FORWARDED, .counts = true, .category = SLICE("news")};
    requests[i] = (struct store_result){.now_ms = at_ms, .results = &rows[i], .n = 1};
    requests[i].r = (struct store_request){.kind = STORE_RESULT, .cb = on_done, .arg = &waits[i]};
    store_submit(store, &requests[i].r);
}

START_TEST(sends_of_one_commit_may_be_far_apart)
{
    static const int64_t at_ms[] = {NOW, NOW + 5000, NOW + 10, NOW + 999};
    store_cork(store);
    for (size_t i = 0; i < N_ELEMENTS(at_ms); i++)
        give_at(i, at_ms[i]);
    ck_assert_int_eq(store_flush(store), 0);
    while (waits[N_ELEMENTS(at_ms) - 1].calls == 0)
        poll_store();
    read_sends(NOW + 5);
    ck_assert_uint_eq(n_seen, 3);
    ck_assert_int_eq(seen[0].at_ms, NOW + 10);
    ck_assert_int_eq(seen[1].at_ms, NOW + 999);
    ck_assert_int_eq(seen[2].at_ms, NOW + 5000);
}
END_TEST

/* --- intents of one commit ----------------------------------------------------------------------------- */

static struct sample samples[3];

static void record_together(void)
{
    store_cork(store);
    for (size_t i = 0; i < N_ELEMENTS(samples); i++) {
        sample_init(&samples[i], "a@example.com", &newsletter, OUTCOME_FORWARD);
        waits[i] = (struct wait){0};
        samples[i].record.r = (struct store_request){.kind = STORE_RECORD, .cb = on_done, .arg = &waits[i]};
        store_submit(store, &samples[i].record.r);
    }
    ck_assert_int_eq(store_flush(store), 0);
    while (waits[N_ELEMENTS(samples) - 1].calls == 0)
        poll_store();
}

static int64_t rows_of_intents(void)
{
    sqlite3_stmt *st;
    ck_assert_int_eq(sqlite3_open(harness_path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT count(*) FROM intents", -1, &st, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

/* A commit with some results of its own, as store_cork makes them. */
static void end_some(size_t from, size_t to)
{
    struct record_result ends[N_ELEMENTS(samples)];
    for (size_t i = from; i < to; i++)
        ends[i] = (struct record_result){.decision = samples[i].row.id, .result = RESULT_FORWARDED};
    struct store_result r = {.now_ms = NOW, .results = ends + from, .n = to - from};
    r.r = (struct store_request){.kind = STORE_RESULT, .cb = on_done, .arg = &waits[3]};
    waits[3].calls = 0;
    store_submit(store, &r.r);
    ck_assert_int_eq(store_flush(store), 0);
    while (waits[3].calls == 0)
        poll_store();
    ck_assert_int_eq(waits[3].status, OK);
}

START_TEST(a_row_goes_with_the_last_of_its_intents)
{
    record_together();
    ck_assert_int_eq(rows_of_intents(), 1);
    end_some(0, 2);
    ck_assert_int_eq(rows_of_intents(), 1);
    end_some(1, 2); /* the same again: the third is open still */
    ck_assert_int_eq(rows_of_intents(), 1);
    ck_assert_int_eq(rows_of_intents(), 1);
    end_some(2, 3);
    ck_assert_int_eq(rows_of_intents(), 0);
}
END_TEST

START_TEST(of_a_row_only_those_without_a_result_become_unknown)
{
    record_together();
    end_some(0, 2);
    read_sends(0);
    ck_assert_uint_eq(n_seen, 1);
    ck_assert_uint_eq(seen[0].decision, samples[2].row.id);
    ck_assert_int_eq(seen[0].at_ms, 0);
    uint64_t rows_before = verify().rows;
    harness_reopen();
    ck_assert_uint_eq(verify().rows, rows_before + 1);
    ASSERT_HAS(decision_json(samples[0].row.id), "\"status\":\"forwarded\"");
    ASSERT_HAS(decision_json(samples[2].row.id), "\"status\":\"unknown\"");
    ck_assert_int_eq(rows_of_intents(), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_packed");
    suite_add_tcase(s, TESTS("migration", a_store_of_schema_8_goes_on));
    suite_add_tcase(
        s, TESTS("sends", sends_are_told_in_order_whatever_the_clock_did, sends_of_one_commit_may_be_far_apart));
    suite_add_tcase(s, TESTS("intents", a_row_goes_with_the_last_of_its_intents,
                             of_a_row_only_those_without_a_result_become_unknown));
    return run_suite(s);
}

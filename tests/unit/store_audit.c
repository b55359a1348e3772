/*
 * The audit chain: the pure part on rows in memory, then every way to alter a
 * database of rows from outside, by SQL on a connection of its own.
 */
#include "tests/unit/store_harness.h"

#include <sqlite3.h>

#include "store/audit.h"

/* --- pure --------------------------------------------------------------------------- */

START_TEST(no_byte_moves_between_columns)
{
    struct audit_chain start = {0};
    struct audit_row a = {.seq = 1, .kind = SLICE("ab"), .body = SLICE("c")};
    struct audit_row b = {.seq = 1, .kind = SLICE("a"), .body = SLICE("bc")};
    struct digest da = audit_row_hash(&start, &a);
    struct digest db = audit_row_hash(&start, &b);
    ck_assert(memcmp(da.b, db.b, sizeof da.b) != 0);
    b = a;
    db = audit_row_hash(&start, &b);
    ck_assert(memcmp(da.b, db.b, sizeof da.b) == 0);
    start.hash.b[31] = 1;
    db = audit_row_hash(&start, &b);
    ck_assert(memcmp(da.b, db.b, sizeof da.b) != 0);
}
END_TEST

START_TEST(each_column_is_in_the_hash)
{
    struct audit_chain start = {0};
    struct audit_row row = {
        .seq = 1, .at_ms = 2, .kind = SLICE("k"), .ref = 3, .body = SLICE("b"), .personal_digest = SLICE("d")};
    struct digest first = audit_row_hash(&start, &row);
    struct audit_row changed[5];
    for (size_t i = 0; i < N_ELEMENTS(changed); i++)
        changed[i] = row;
    changed[0].seq++;
    changed[1].at_ms++;
    changed[2].ref++;
    changed[3].kind = SLICE("l");
    changed[4].personal_digest = SLICE("");
    for (size_t i = 0; i < N_ELEMENTS(changed); i++) {
        struct digest d = audit_row_hash(&start, &changed[i]);
        ck_assert(memcmp(first.b, d.b, sizeof d.b) != 0);
    }
}
END_TEST

START_TEST(the_head_is_signed)
{
    struct audit_chain walk = {.seq = 3};
    struct slice key = SLICE("key");
    struct digest mac = audit_head_mac(key, &walk);
    struct slice mac_bytes = {(const char *)mac.b, sizeof mac.b};
    struct audit_verdict v = {0};
    ck_assert(audit_walk_end(&walk, key, &walk, mac_bytes, &v));
    ck_assert(v.holds);
    ck_assert(!audit_walk_end(&walk, SLICE("other"), &walk, mac_bytes, &v));
    ASSERT_HAS(v.why.text, "signed head");
    struct audit_chain shorter = {.seq = 2};
    ck_assert(!audit_walk_end(&shorter, key, &walk, mac_bytes, &v));
    ck_assert_uint_eq(v.first_bad, 3);
    struct audit_chain longer = {.seq = 4};
    ck_assert(!audit_walk_end(&longer, key, &walk, mac_bytes, &v));
    ck_assert_uint_eq(v.first_bad, 4);
    ASSERT_HAS(v.why.text, "inserted");
}
END_TEST

/* --- a database altered from outside --------------------------------------------------- */

#define N_ROWS 40

static sqlite3 *vandal;

static void run(const char *sql)
{
    char *message = NULL;
    int rc = sqlite3_exec(vandal, sql, NULL, NULL, &message);
    ck_assert_msg(rc == SQLITE_OK, "%s: %s", sql, message);
}

static void runf(const char *format, long long a, long long b)
{
    char sql[512];
    sqlite3_snprintf(sizeof sql, sql, format, a, b);
    run(sql);
}

static void setup_rows(void)
{
    harness_setup();
    for (int i = 0; i < N_ROWS / 2; i++) {
        struct sample s;
        sample_init(&s, "ann@example.com", &newsletter, OUTCOME_FORWARD);
        ASK_OK(&s.record, RECORD);
        struct record_result x = {.decision = s.row.id, .result = RESULT_FORWARDED};
        struct store_result r = {.now_ms = NOW, .results = &x, .n = 1};
        ASK_OK(&r, RESULT);
    }
    ck_assert_int_eq(sqlite3_open(harness_path, &vandal), SQLITE_OK);
    sqlite3_busy_timeout(vandal, 5000);
    run("PRAGMA synchronous = OFF");
    run("CREATE TABLE saved AS SELECT * FROM audit");
    run("CREATE TABLE saved_head AS SELECT * FROM audit_head");
    struct audit_verdict v = verify();
    ck_assert_msg(v.holds, "%s", v.why.text);
    ck_assert_uint_eq(v.rows, N_ROWS);
}

static void teardown_rows(void)
{
    sqlite3_close(vandal);
    harness_teardown();
}

static void restore(void)
{
    run("DELETE FROM audit; INSERT INTO audit SELECT * FROM saved;"
        "DELETE FROM audit_head; INSERT INTO audit_head SELECT * FROM saved_head");
}

static void assert_broken_at(uint64_t seq, const char *what)
{
    struct audit_verdict v = verify();
    char name[32];
    snprintf(name, sizeof name, "row %llu:", (unsigned long long)seq);
    ck_assert_msg(!v.holds, "%s of row %llu was not found", what, (unsigned long long)seq);
    ck_assert_msg(v.first_bad == seq, "%s of row %llu: %s", what, (unsigned long long)seq, v.why.text);
    ASSERT_HAS(v.why.text, name);
}

/* A deterministic stream of numbers: a failing test fails again. */
static uint32_t next_random(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 16);
}

/* Flip one bit of a text or blob column, keeping its type. */
static bool flip_bit(const char *column, bool is_text, long long seq)
{
    char sql[160];
    sqlite3_stmt *st;
    sqlite3_snprintf(sizeof sql, sql, "SELECT %s FROM audit WHERE seq = %lld", column, seq);
    ck_assert_int_eq(sqlite3_prepare_v2(vandal, sql, -1, &st, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    int n = sqlite3_column_bytes(st, 0);
    if (n == 0) {
        sqlite3_finalize(st);
        return false;
    }
    unsigned char *copy = malloc((size_t)n);
    memcpy(copy, sqlite3_column_blob(st, 0), (size_t)n);
    sqlite3_finalize(st);
    copy[next_random() % (unsigned)n] ^= (unsigned char)(1u << next_random() % 8);
    sqlite3_snprintf(sizeof sql, sql, "UPDATE audit SET %s = ? WHERE seq = %lld", column, seq);
    ck_assert_int_eq(sqlite3_prepare_v2(vandal, sql, -1, &st, NULL), SQLITE_OK);
    if (is_text)
        sqlite3_bind_text(st, 1, (const char *)copy, n, SQLITE_STATIC);
    else
        sqlite3_bind_blob(st, 1, copy, n, SQLITE_STATIC);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_DONE);
    sqlite3_finalize(st);
    free(copy);
    return true;
}

START_TEST(every_flipped_bit_is_found)
{
    static const struct {
        const char *name;
        int type; /* 0 number, 1 text, 2 blob */
    } columns[] = {{"at_ms", 0},           {"ref", 0}, {"kind", 1}, {"body", 1}, {"personal", 1},
                   {"personal_digest", 2}, {"hash", 2}};
    int found = 0;
    for (int i = 0; i < 4000; i++) {
        size_t c = next_random() % N_ELEMENTS(columns);
        long long seq = 1 + next_random() % N_ROWS;
        char sql[160];
        run("BEGIN");
        if (columns[c].type == 0) {
            sqlite3_snprintf(sizeof sql, sql, "UPDATE audit SET %s = (%s | %lld) - (%s & %lld) WHERE seq = %lld",
                             columns[c].name, columns[c].name, 1LL << (i % 62), columns[c].name, 1LL << (i % 62), seq);
            run(sql);
        } else if (!flip_bit(columns[c].name, columns[c].type == 1, seq)) {
            run("ROLLBACK");
            continue;
        }
        run("COMMIT");
        assert_broken_at((uint64_t)seq, columns[c].name);
        found++;
        sqlite3_snprintf(sizeof sql, sql,
                         "UPDATE audit SET %s = (SELECT %s FROM saved WHERE saved.seq = audit.seq) WHERE seq = %lld",
                         columns[c].name, columns[c].name, seq);
        run(sql);
    }
    ck_assert_int_gt(found, 3000);
    assert_chain_holds();
}
END_TEST

START_TEST(every_removed_row_is_found)
{
    for (long long seq = 1; seq <= N_ROWS; seq++) {
        runf("DELETE FROM audit WHERE seq = %lld", seq, 0);
        assert_broken_at((uint64_t)seq, "removal");
        restore();
        runf("DELETE FROM audit WHERE seq >= %lld", seq, 0); /* cut off */
        assert_broken_at((uint64_t)seq, "truncation");
        restore();
        /* Removed, and those behind moved up to fill the gap. */
        runf("DELETE FROM audit WHERE seq = %lld", seq, 0);
        runf("UPDATE audit SET seq = -(seq - 1) WHERE seq > %lld", seq, 0);
        run("UPDATE audit SET seq = -seq WHERE seq < 0");
        assert_broken_at((uint64_t)seq, "removal and closing up");
        restore();
    }
    run("DELETE FROM audit; DELETE FROM audit_head");
    ck_assert(!verify().holds);
}
END_TEST

START_TEST(every_swap_is_found)
{
    for (int i = 0; i < 200; i++) {
        long long a = 1 + next_random() % (N_ROWS - 1);
        long long b = a + 1 + next_random() % (unsigned)(N_ROWS - a);
        runf("UPDATE audit SET seq = -1 WHERE seq = %lld; UPDATE audit SET seq = %lld WHERE seq = -1", a, 1000);
        runf("UPDATE audit SET seq = %lld WHERE seq = %lld", a, b);
        runf("UPDATE audit SET seq = %lld WHERE seq = 1000", b, 0);
        assert_broken_at((uint64_t)a, "swap");
        restore();
    }
}
END_TEST

START_TEST(every_insertion_is_found)
{
    for (long long seq = 1; seq <= N_ROWS; seq++) {
        /* A copy of a row is put in its place, and all from there on move down. */
        runf("UPDATE audit SET seq = -(seq + 1) WHERE seq >= %lld", seq, 0);
        run("UPDATE audit SET seq = -seq WHERE seq < 0");
        runf("INSERT INTO audit SELECT %lld, at_ms + 1, kind, ref, body, personal, personal_digest, hash FROM saved "
             "WHERE seq = %lld",
             seq, seq);
        assert_broken_at((uint64_t)seq, "insertion");
        restore();
    }
    run("INSERT INTO audit SELECT seq + 1, at_ms, kind, ref, body, personal, personal_digest, hash FROM saved "
        "ORDER BY seq DESC LIMIT 1");
    assert_broken_at(N_ROWS + 1, "insertion at the end");
    restore();
    run("INSERT INTO audit SELECT 0, at_ms, kind, ref, body, personal, personal_digest, hash FROM saved LIMIT 1");
    assert_broken_at(0, "insertion at the start");
    restore();
    run("INSERT INTO audit SELECT -5, at_ms, kind, ref, body, personal, personal_digest, hash FROM saved LIMIT 1");
    ck_assert(!verify().holds);
}
END_TEST

static struct slice column(sqlite3_stmt *st, int i)
{
    return (struct slice){sqlite3_column_blob(st, i), (size_t)sqlite3_column_bytes(st, i)};
}

/* Somebody who knows how rows are hashed, but not the key, rewrites the chain from a row on, head and all. */
START_TEST(a_rewritten_chain_does_not_fit_its_head)
{
    run("UPDATE audit SET body = '{}' WHERE seq = 7");
    sqlite3_stmt *st, *update;
    ck_assert_int_eq(sqlite3_prepare_v2(vandal,
                                        "SELECT seq, at_ms, kind, ref, body, personal_digest FROM audit ORDER BY seq",
                                        -1, &st, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(vandal, "UPDATE audit SET hash = ? WHERE seq = ?", -1, &update, NULL),
                     SQLITE_OK);
    struct audit_chain chain = {0};
    run("BEGIN");
    while (sqlite3_step(st) == SQLITE_ROW) {
        struct audit_row row = {.seq = (uint64_t)sqlite3_column_int64(st, 0),
                                .at_ms = sqlite3_column_int64(st, 1),
                                .kind = column(st, 2),
                                .ref = (uint64_t)sqlite3_column_int64(st, 3),
                                .body = column(st, 4),
                                .personal_digest = column(st, 5)};
        chain = (struct audit_chain){row.seq, audit_row_hash(&chain, &row)};
        sqlite3_bind_blob(update, 1, chain.hash.b, sizeof chain.hash.b, SQLITE_STATIC);
        sqlite3_bind_int64(update, 2, (sqlite3_int64)row.seq);
        ck_assert_int_eq(sqlite3_step(update), SQLITE_DONE);
        sqlite3_reset(update);
    }
    sqlite3_finalize(st);
    sqlite3_finalize(update);
    run("COMMIT");
    assert_broken_at(N_ROWS, "rewriting");
    run("UPDATE audit_head SET hash = (SELECT hash FROM audit ORDER BY seq DESC LIMIT 1)");
    assert_broken_at(N_ROWS, "rewriting with the head");
}
END_TEST

START_TEST(a_changed_head_is_found)
{
    static const char *const changes[] = {
        "DELETE FROM audit_head", "UPDATE audit_head SET seq = seq - 1; DELETE FROM audit WHERE seq = 40",
        "UPDATE audit_head SET mac = zeroblob(32)", "UPDATE audit_head SET hash = zeroblob(32)",
        "UPDATE audit_head SET mac = x''"};
    for (size_t i = 0; i < N_ELEMENTS(changes); i++) {
        run(changes[i]);
        ck_assert_msg(!verify().holds, "%s", changes[i]);
        restore();
    }
    assert_chain_holds();
}
END_TEST

START_TEST(an_erasure_leaves_the_chain_whole)
{
    runf("UPDATE audit SET personal = NULL WHERE seq >= %lld", 5, 0);
    assert_chain_holds();
    sqlite3_stmt *st;
    ck_assert_int_eq(sqlite3_prepare_v2(vandal, "SELECT ref FROM audit WHERE seq = 5", -1, &st, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    uint64_t id = (uint64_t)sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    ASSERT_HAS(decision_json(id), "\"recipient\":null");
    ASSERT_HAS(decision_json(id), "\"status\":\"forwarded\"");
    run("UPDATE audit SET personal = '{}' WHERE seq = 5"); /* put something in its place */
    assert_broken_at(5, "replacement after erasure");
}
END_TEST

START_TEST(bodies_are_free_of_the_recipient)
{
    sqlite3_stmt *st;
    ck_assert_int_eq(sqlite3_prepare_v2(vandal, "SELECT count(*) FROM audit WHERE body LIKE '%ann@%'", -1, &st, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_column_int(st, 0), 0);
    sqlite3_finalize(st);
    /* Equal content, different digests: the salt keeps an address from being guessed. */
    ck_assert_int_eq(sqlite3_prepare_v2(vandal,
                                        "SELECT count(*), count(DISTINCT personal_digest) FROM audit "
                                        "WHERE kind = 'decision'",
                                        -1, &st, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_column_int(st, 0), sqlite3_column_int(st, 1));
    sqlite3_finalize(st);
}
END_TEST

START_TEST(a_cut_audit_is_not_written_on)
{
    store_close(&store);
    run("DELETE FROM audit WHERE seq = 40");
    struct errmsg e;
    struct store_options o = {.url = harness_url, .now_ms = NOW};
    ck_assert_ptr_null(store_open(&o, &e));
    ASSERT_HAS(e.text, "row 40: missing");
    o.audit_key = SLICE("not the key");
    restore();
    ck_assert_ptr_null(store_open(&o, &e));
    ASSERT_HAS(e.text, "another audit key");
    char key_path[128];
    snprintf(key_path, sizeof key_path, "%s.audit-key", harness_path);
    ck_assert_int_eq(unlink(key_path), 0);
    o.audit_key = (struct slice){0};
    ck_assert_ptr_null(store_open(&o, &e));
    ASSERT_HAS(e.text, "bring it back");
}
END_TEST

START_TEST(a_newer_schema_is_refused)
{
    store_close(&store);
    run("INSERT INTO schema_version VALUES (99)");
    struct errmsg e;
    struct store_options o = {.url = harness_url, .now_ms = NOW};
    ck_assert_ptr_null(store_open(&o, &e));
    ASSERT_HAS(e.text, "database has schema 99, this posternd knows ");
    run("DROP TABLE schema_version");
    ck_assert_ptr_null(store_open(&o, &e));
    ASSERT_HAS(e.text, "not one of Postern's");
}
END_TEST

START_TEST(a_file_that_is_no_database_is_refused)
{
    store_close(&store);
    sqlite3_close(vandal);
    vandal = NULL;
    FILE *f = fopen(harness_path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is not a database\n", f);
    fclose(f);
    struct errmsg e;
    struct store_options o = {.url = harness_url, .now_ms = NOW};
    ck_assert_ptr_null(store_open(&o, &e));
    ASSERT_HAS(e.text, "not a database");
    o.url = "sqlite:/nowhere/at/all/postern.db";
    ck_assert_ptr_null(store_open(&o, &e));
    ASSERT_HAS(e.text, "/nowhere/at/all");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_audit");
    TCase *pure = tcase_create("pure");
    tcase_add_test(pure, no_byte_moves_between_columns);
    tcase_add_test(pure, each_column_is_in_the_hash);
    tcase_add_test(pure, the_head_is_signed);
    suite_add_tcase(s, pure);
    TCase *altered = tcase_create("altered");
    tcase_add_checked_fixture(altered, setup_rows, teardown_rows);
    tcase_set_timeout(altered, 120);
    tcase_add_test(altered, every_flipped_bit_is_found);
    tcase_add_test(altered, every_removed_row_is_found);
    tcase_add_test(altered, every_swap_is_found);
    tcase_add_test(altered, every_insertion_is_found);
    tcase_add_test(altered, a_rewritten_chain_does_not_fit_its_head);
    tcase_add_test(altered, a_changed_head_is_found);
    tcase_add_test(altered, an_erasure_leaves_the_chain_whole);
    tcase_add_test(altered, bodies_are_free_of_the_recipient);
    tcase_add_test(altered, a_cut_audit_is_not_written_on);
    tcase_add_test(altered, a_newer_schema_is_refused);
    tcase_add_test(altered, a_file_that_is_no_database_is_refused);
    suite_add_tcase(s, altered);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

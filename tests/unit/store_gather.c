/* Writes that are gathered, and another connection to the same file: it must find what the real VFS would have left. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/sqlite.h"

#include "tests/unit/store_shim.h"

/* The write that fails, once, counted down; 0: none does. */
static struct {
    int countdown;
    bool of_log; /* else of the database */
    bool fired;
} fault;

static int maybe_fail(struct shim_file *f, const void *p, int n, sqlite3_int64 at)
{
    (void)p;
    (void)n;
    (void)at;
    bool log = f->name != NULL && strlen(f->name) > 4 && strcmp(f->name + strlen(f->name) - 4, "-wal") == 0;
    if (fault.countdown == 0 || log != fault.of_log || --fault.countdown > 0)
        return SQLITE_OK;
    fault.fired = true;
    return SQLITE_FULL;
}

static void fail_write(int nth, bool of_log)
{
    fault.countdown = nth;
    fault.of_log = of_log;
    fault.fired = false;
}

static char dir[64], path[96];
static struct gather *gather;
static sqlite3 *gathered, *plain;

static void run(sqlite3 *db, const char *sql)
{
    ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s in %s", sqlite3_errmsg(db), sql);
}

static void ask(sqlite3 *db, const char *sql, char out[32])
{
    sqlite3_stmt *s;
    ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
    ck_assert_msg(sqlite3_step(s) == SQLITE_ROW, "%s in %s", sqlite3_errmsg(db), sql);
    snprintf(out, 32, "%s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
}

#define ASSERT_SAYS(db, sql, expected)                                                                                 \
    do {                                                                                                               \
        char said[32];                                                                                                 \
        ask(db, sql, said);                                                                                            \
        ck_assert_str_eq(said, expected);                                                                              \
    } while (0)

static sqlite3 *opened(const char *vfs)
{
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs), SQLITE_OK);
    run(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=4");
    return db;
}

static void setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/postern-gather-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/db", dir);
    if (sqlite3_vfs_find("shim") == NULL)
        shim_register((struct shim_hooks){.write = maybe_fail});
    gather = gather_new();
    gathered = opened(gather_name(gather));
    plain = opened(NULL);
    run(gathered, "CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)");
}

static void teardown(void)
{
    char other[112];
    sqlite3_close(plain);
    sqlite3_close(gathered);
    gather_free(&gather);
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < N_ELEMENTS(ends); i++) {
        snprintf(other, sizeof other, "%s%s", path, ends[i]);
        unlink(other);
    }
    rmdir(dir);
}

/* More than the cache holds: frames go to the log before the commit. */
#define MANY                                                                                                           \
    "WITH RECURSIVE c(n) AS (VALUES (%d) UNION ALL SELECT n + 1 FROM c WHERE n < %d) "                                 \
    "INSERT INTO t SELECT n, hex(randomblob(400)) FROM c"

static void add(sqlite3 *db, int from, int to)
{
    char sql[256];
    snprintf(sql, sizeof sql, MANY, from, to);
    run(db, sql);
}

START_TEST(what_was_taken_back_is_not_written_over_another)
{
    add(gathered, 1, 200);
    /* All pages are in the database, and none is new: then nothing of the log is read before it is taken back. */
    run(gathered, "PRAGMA wal_checkpoint(TRUNCATE)");
    run(gathered, "BEGIN IMMEDIATE; UPDATE t SET text = hex(randomblob(400)); ROLLBACK");
    add(plain, 1000, 1200);
    add(gathered, 5000, 5000);
    ASSERT_SAYS(plain, "SELECT count(*) FROM t", "402");
    ASSERT_SAYS(gathered, "SELECT count(*) FROM t", "402");
    sqlite3 *fresh = opened(NULL);
    ASSERT_SAYS(fresh, "SELECT count(*) FROM t", "402");
    ASSERT_SAYS(fresh, "PRAGMA integrity_check", "ok");
    sqlite3_close(fresh);
}
END_TEST

START_TEST(a_large_commit_is_whole_for_another)
{
    add(gathered, 1, 2000);
    ASSERT_SAYS(plain, "SELECT count(*) FROM t", "2000");
    run(gathered, "PRAGMA wal_checkpoint(TRUNCATE)");
    add(plain, 3000, 3500);
    add(gathered, 4000, 4500);
    ASSERT_SAYS(plain, "SELECT count(*) FROM t", "3002");
    ASSERT_SAYS(plain, "PRAGMA integrity_check", "ok");
}
END_TEST

/* All that was committed, as who opens the files anew finds it. */
static void assert_whole(const char *rows)
{
    sqlite3 *fresh = opened(NULL);
    ASSERT_SAYS(fresh, "SELECT count(*) FROM t", rows);
    ASSERT_SAYS(fresh, "PRAGMA integrity_check", "ok");
    sqlite3_close(fresh);
}

/* A checkpoint that could not write to the database has not happened: the log still stands, and is read. */
static void assert_checkpoints_fail_whole(bool behind_a_reader)
{
    bool fired = true;
    for (int nth = 1; fired; nth++) {
        ck_assert_int_lt(nth, 1000);
        run(gathered, "DELETE FROM t; PRAGMA wal_checkpoint(TRUNCATE)");
        add(gathered, 1, 50);
        sqlite3 *reader = opened(NULL);
        if (behind_a_reader)
            run(reader, "BEGIN; SELECT count(*) FROM t");
        add(plain, 51, 60);
        ASSERT_SAYS(gathered, "SELECT count(*) FROM t", "60");
        fail_write(nth, false);
        int rc = sqlite3_wal_checkpoint_v2(gathered, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        fired = fault.fired;
        fail_write(0, false);
        ck_assert_int_eq(rc, fired ? SQLITE_FULL : SQLITE_OK);
        assert_whole("60");
        sqlite3_close(reader);
    }
}

START_TEST(a_checkpoint_that_cannot_write_has_not_happened)
{
    assert_checkpoints_fail_whole(false);
}
END_TEST

START_TEST(nor_has_one_behind_a_reader)
{
    assert_checkpoints_fail_whole(true);
}
END_TEST

/* Frames go to the log before the commit; whichever of these writes fails, and whatever is done after it. */
START_TEST(what_the_log_lost_is_not_committed)
{
    bool fired = true;
    for (int nth = 1; fired; nth += 1 + nth / 6) {
        ck_assert_int_lt(nth, 1000);
        run(gathered, "DELETE FROM t; PRAGMA wal_checkpoint(TRUNCATE)");
        add(gathered, 1, 200);
        run(gathered, "BEGIN IMMEDIATE");
        fail_write(nth, true);
        sqlite3_exec(gathered, "UPDATE t SET text = hex(randomblob(400)) WHERE n % 3 = 0", NULL, NULL, NULL);
        sqlite3_exec(gathered, "SAVEPOINT s; UPDATE t SET text = '' WHERE n % 3 = 1", NULL, NULL, NULL);
        sqlite3_exec(gathered, "ROLLBACK TO s; INSERT INTO t SELECT n + 1000, text FROM t", NULL, NULL, NULL);
        bool committed = sqlite3_exec(gathered, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
        fired = fault.fired;
        fail_write(0, true);
        ck_assert(committed != fired);
        if (!sqlite3_get_autocommit(gathered))
            run(gathered, "ROLLBACK");
        assert_whole(committed ? "400" : "200");
        ASSERT_SAYS(gathered, "PRAGMA integrity_check", "ok");
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_gather");
    TCase *t = tcase_create("store_gather");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_was_taken_back_is_not_written_over_another);
    tcase_add_test(t, a_large_commit_is_whole_for_another);
    tcase_add_test(t, a_checkpoint_that_cannot_write_has_not_happened);
    tcase_add_test(t, nor_has_one_behind_a_reader);
    tcase_add_test(t, what_the_log_lost_is_not_committed);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r);
    srunner_free(r);
    return bad == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

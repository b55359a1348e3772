/*
 * Processes that write one file, some through the gathering VFS and one without it, commit, roll back more than their
 * cache holds, take checkpoints and are killed.  What one was told is committed stays, and the file stays whole.
 * STORE_PROCESSES_S=600 for a long run.
 */
#include <check.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/sqlite.h"

#include "postern/clock.h"

#define WRITERS      3  /* the last one writes without the VFS */
#define ROUND_MS     15 /* at most, until one is killed */
#define BUSY_MS      10000
#define ROWS_AT_ONCE 60

static char dir[64], path[96];
static _Atomic int64_t *told; /* of each writer: its rows up to this number are committed */

static int exec(sqlite3 *db, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *sql = sqlite3_vmprintf(format, args);
    va_end(args);
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
    return rc;
}

/* A number, or -1; "ok" is 1. */
static int64_t ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s = NULL;
    int64_t value = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(s, 0);
        value = text != NULL && strcmp(text, "ok") == 0 ? 1 : sqlite3_column_int64(s, 0);
    }
    sqlite3_finalize(s);
    return value;
}

static int64_t ask_of(sqlite3 *db, const char *format, int writer, int64_t up_to)
{
    char *sql = sqlite3_mprintf(format, writer, (long long)up_to);
    int64_t value = ask(db, sql);
    sqlite3_free(sql);
    return value;
}

static sqlite3 *opened(const char *vfs)
{
    sqlite3 *db;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs) != SQLITE_OK)
        abort();
    sqlite3_busy_timeout(db, BUSY_MS);
    if (exec(db,
             "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=5") !=
        SQLITE_OK)
        abort();
    return db;
}

/* --- a writer --------------------------------------------------------------------------------- */

struct writer {
    int nth;
    struct gather *gather; /* NULL: none */
    sqlite3 *db;
    int64_t last; /* of its rows that are committed */
};

static int64_t insert(const struct writer *w, int64_t after)
{
    int64_t until = after + 1 + rand() % ROWS_AT_ONCE;
    for (int64_t n = after + 1; n <= until; n++) {
        if (exec(w->db, "INSERT INTO t VALUES (%d, %lld, hex(zeroblob(%d)))", w->nth, (long long)n, (int)(n % 700)) !=
            SQLITE_OK)
            abort();
    }
    return until;
}

static void change_some(const struct writer *w)
{
    if (exec(w->db, "UPDATE t SET text = text || 'x' WHERE n %% 7 = %d AND n > %lld", rand() % 7,
             (long long)w->last - 100) != SQLITE_OK)
        abort();
}

static void write_once(struct writer *w)
{
    if (exec(w->db, "BEGIN IMMEDIATE") != SQLITE_OK)
        abort();
    int64_t last = insert(w, w->last);
    if (rand() % 3 == 0) {
        if (exec(w->db, "SAVEPOINT s") != SQLITE_OK)
            abort();
        insert(w, last);
        change_some(w);
        if (exec(w->db, "ROLLBACK TO s; RELEASE s") != SQLITE_OK)
            abort();
    }
    change_some(w);
    bool back = rand() % 4 == 0;
    if (exec(w->db, back ? "ROLLBACK" : "COMMIT") != SQLITE_OK)
        abort();
    if (!back)
        told[w->nth] = w->last = last;
}

static void copy_back(const struct writer *w)
{
    if (w->gather != NULL)
        gather_checkpoint(w->gather, true);
    int rc = sqlite3_wal_checkpoint_v2(w->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (w->gather != NULL)
        gather_checkpoint(w->gather, false);
    if (rc != SQLITE_OK && rc != SQLITE_BUSY)
        abort();
}

/* An old snapshot keeps checkpoints from copying everything. */
static void read_for_a_while(const struct writer *w)
{
    if (exec(w->db, "BEGIN; SELECT count(*) FROM t") != SQLITE_OK)
        abort();
    usleep(2000);
    if (exec(w->db, "SELECT sum(length(text)) FROM t; COMMIT") != SQLITE_OK)
        abort();
}

/* Until it is killed.  What fails ends it by itself, and the test with it. */
NORETURN static void writer_main(int nth)
{
    struct writer w = {.nth = nth, .gather = nth == WRITERS - 1 ? NULL : gather_new()};
    srand((unsigned)clock_mono_us());
    w.db = opened(w.gather == NULL ? NULL : gather_name(w.gather));
    w.last = ask_of(w.db, "SELECT coalesce(max(n), 0) FROM t WHERE writer = %d", nth, 0);
    if (w.last < told[nth])
        abort();
    for (;;) {
        int what = rand() % 8;
        if (what == 0)
            read_for_a_while(&w);
        else if (what <= 2)
            copy_back(&w);
        else
            write_once(&w);
    }
}

static pid_t writer_start(int nth)
{
    pid_t pid = fork();
    if (pid == 0)
        writer_main(nth);
    return pid;
}

/* --- who watches them -------------------------------------------------------------------------- */

static void assert_whole(void)
{
    sqlite3 *db = opened(NULL);
    for (int i = 0; i < WRITERS; i++) {
        int64_t up_to = told[i];
        ck_assert_int_eq(ask_of(db, "SELECT count(*) FROM t WHERE writer = %d AND n <= %lld", i, up_to), up_to);
    }
    ck_assert_int_eq(ask(db, "PRAGMA integrity_check"), 1);
    sqlite3_close(db);
}

static void kill_one(pid_t *pid)
{
    int how;
    kill(*pid, SIGKILL);
    ck_assert_int_eq(waitpid(*pid, &how, 0), *pid);
    ck_assert_msg(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL, "a writer failed by itself");
}

static void setup(void)
{
    snprintf(dir, sizeof dir, "%s/postern-processes-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/db", dir);
    told = mmap(NULL, WRITERS * sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(told != MAP_FAILED);
    sqlite3 *db = opened(NULL);
    ck_assert_int_eq(exec(db, "CREATE TABLE t (writer INTEGER, n INTEGER, text TEXT, PRIMARY KEY (writer, n))"), 0);
    sqlite3_close(db);
}

static void teardown(void)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < N_ELEMENTS(ends); i++) {
        char one[112];
        snprintf(one, sizeof one, "%s%s", path, ends[i]);
        unlink(one);
    }
    rmdir(dir);
    munmap((void *)told, WRITERS * sizeof *told);
}

static int64_t seconds(void)
{
    const char *wanted = getenv("STORE_PROCESSES_S");
    return wanted != NULL ? strtoll(wanted, NULL, 10) : 2;
}

START_TEST(what_was_told_stays_whoever_is_killed)
{
    pid_t pids[WRITERS];
    int64_t until_ms = clock_mono_ms() + seconds() * 1000;
    for (int i = 0; i < WRITERS; i++)
        pids[i] = writer_start(i);
    for (int round = 0; clock_mono_ms() < until_ms; round++) {
        usleep((useconds_t)(rand() % (ROUND_MS * 1000)));
        int nth = rand() % WRITERS;
        kill_one(&pids[nth]);
        if (round % 16 == 0)
            assert_whole();
        pids[nth] = writer_start(nth);
    }
    for (int i = 0; i < WRITERS; i++)
        kill_one(&pids[i]);
    assert_whole();
    for (int i = 0; i < WRITERS; i++)
        ck_assert_int_gt(told[i], 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_processes");
    TCase *t = tcase_create("processes");
    tcase_set_timeout(t, (double)seconds() + 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_was_told_stays_whoever_is_killed);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r);
    srunner_free(r);
    return bad == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

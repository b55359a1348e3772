/*
 * One database, several processes: rows of all stand in one chain, each sees what the others committed, the end of
 * one is cleared up by its successor alone, and whoever dies in the middle of a commit holds up nobody.
 */
#include "tests/unit/store_harness.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "postern/clock.h"
#include "postern/hash.h"
#include "tests/unit/own_time.h"

static int lock_fd;

static struct store *open_as(enum store_sharing sharing, uint32_t owner)
{
    struct errmsg e = {{0}};
    struct store_options o = {.url = harness_url, .now_ms = NOW, .sharing = sharing, .owner = owner};
    struct store *s = store_open(&o, &e);
    ck_assert_msg(s != NULL, "%s", e.text);
    return s;
}

/* As the parent of workers does: lock, migrate, close. */
static void setup(void)
{
    struct errmsg e;
    harness_new_dir();
    arena_init(&arena, 64u << 20);
    lock_fd = store_lock(harness_url, &e);
    ck_assert_int_ne(lock_fd, -1);
    struct store *first = open_as(STORE_BEFORE_WORKERS, 0);
    store_close(&first);
}

static void teardown(void)
{
    char turn[128];
    store_close(&store);
    close(lock_fd);
    arena_clear(&arena);
    snprintf(turn, sizeof turn, "%s.turn", harness_path);
    unlink(turn);
    harness_remove_dir();
}

static enum err ask_of(struct store *s, struct store_request *r, enum store_request_kind kind)
{
    struct store *other = store;
    store = s;
    enum err status = ask(r, kind);
    store = other;
    return status;
}

/* A decision that goes to a provider now, by s. */
static uint64_t record_by(struct store *s)
{
    struct store *other = store;
    struct sample one;
    store = s;
    sample_init(&one, "a@example.com", &newsletter, OUTCOME_FORWARD);
    ASK_OK(&one.record, RECORD);
    store = other;
    return one.row.id;
}

static void defer_by(struct store *s)
{
    struct store *other = store;
    struct sample one;
    store = s;
    sample_init(&one, "a@example.com", &newsletter, OUTCOME_DEFER);
    sample_defer(&one, NOW);
    ASK_OK(&one.record, RECORD);
    store = other;
}

START_TEST(commits_of_two_stores_stand_in_one_chain)
{
    struct store *a = open_as(STORE_SHARED, 0), *b = open_as(STORE_SHARED, 1);
    for (int i = 0; i < 20; i++) {
        record_by(i % 3 == 0 ? b : a);
        defer_by(i % 2 == 0 ? a : b);
    }
    store = a;
    struct audit_verdict v = verify();
    ck_assert_msg(v.holds, "%s", v.why.text);
    ck_assert_uint_eq(v.rows, 40);
    /* The one that wrote last knows all; the other one after a second without traffic. */
    ck_assert_uint_eq(store_queue_depth(b).n[DEFERRED_WAITING], 20);
    int64_t until = clock_mono_ms() + 5000;
    while (store_queue_depth(a).n[DEFERRED_WAITING] != 20 && clock_mono_ms() < until)
        usleep(20000);
    ck_assert_uint_eq(store_queue_depth(a).n[DEFERRED_WAITING], 20);
    store_close(&b);
}
END_TEST

/* A process of its own, that never closes what it opened. */
static pid_t worker(uint32_t owner, int rows)
{
    pid_t pid = fork();
    ck_assert_int_ne(pid, -1);
    if (pid != 0)
        return pid;
    store = open_as(STORE_SHARED, owner);
    for (int i = 0; rows == 0 || i < rows; i++)
        record_by(store);
    _exit(0);
}

static void await_end(pid_t pid, bool killed)
{
    int how;
    ck_assert_int_eq(waitpid(pid, &how, 0), pid);
    ck_assert(killed ? WIFSIGNALED(how) : WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

START_TEST(processes_commit_at_the_same_time)
{
    enum { WORKERS = 4, ROWS = 150 };
    pid_t pid[WORKERS];
    for (uint32_t i = 0; i < WORKERS; i++)
        pid[i] = worker(i, ROWS);
    for (size_t i = 0; i < WORKERS; i++)
        await_end(pid[i], false);
    store = open_as(STORE_BEFORE_WORKERS, 0);
    struct audit_verdict v = verify();
    ck_assert_msg(v.holds, "%s", v.why.text);
    /* Each decision once, and its intent named as unknown once, whoever left it. */
    ck_assert_uint_eq(v.rows, 2 * WORKERS * ROWS);
}
END_TEST

START_TEST(who_is_killed_in_a_commit_holds_up_nobody)
{
    enum { KILLS = 20 };
    store = open_as(STORE_SHARED, 0);
    record_by(store); /* its thread is up: a child that is born while one starts may inherit a held lock of malloc's */
    for (int i = 0; i < KILLS; i++) {
        pid_t pid = worker(1, 0);
        usleep((useconds_t)(3000 + i * 1700));
        kill(pid, SIGKILL);
        await_end(pid, true);
        int64_t start = own_ms();
        record_by(store);
        ck_assert_int_lt(own_ms() - start, 1000);
    }
    assert_chain_holds();
}
END_TEST

START_TEST(what_a_worker_left_waits_for_its_successor)
{
    pid_t pid = worker(3, 1); /* before a thread starts here: as above */
    await_end(pid, false);
    store = open_as(STORE_SHARED, 0);
    ck_assert_uint_eq(verify().rows, 1);
    struct store *other = open_as(STORE_SHARED, 2);
    ck_assert_uint_eq(verify().rows, 1);
    store_close(&other);
    struct store *successor = open_as(STORE_SHARED, 3);
    ck_assert_uint_eq(verify().rows, 2);
    store_close(&successor);
    uint64_t open = record_by(store);
    ASSERT_HAS(decision_json(open), "\"status\":\"sending\"");
}
END_TEST

static uint64_t record_large(struct store *s, char mark, size_t bytes)
{
    static char facts[400000];
    struct store *other = store;
    struct sample one;
    memset(facts, mark, bytes);
    memcpy(facts, "{\"a\":\"", 6);
    memcpy(facts + bytes - 2, "\"}", 2);
    store = s;
    sample_init(&one, "a@example.com", &newsletter, OUTCOME_BLOCK);
    one.row.facts = (struct slice){facts, bytes};
    ASK_OK(&one.record, RECORD);
    store = other;
    return one.row.id;
}

/* Of the database, which grows with a checkpoint only. */
static int64_t file_size(void)
{
    struct stat st;
    ck_assert_int_eq(stat(harness_path, &st), 0);
    return (int64_t)st.st_size;
}

/* How many of that size it took. */
static size_t record_to_checkpoint(size_t bytes)
{
    size_t n = 0;
    for (int64_t size = file_size(); file_size() == size; n++)
        decision_json(record_large(store, 'a', bytes)); /* answered after the checkpoint, if there was one */
    return n;
}

/*
 * What one has read for its checkpoint, the other one writes over: the log begins again.  It was longer once, so that
 * the checkpoint does not read to its end; and a reader who stays keeps the next one from taking it into the database.
 */
START_TEST(what_another_wrote_is_read_after_a_checkpoint)
{
    struct store *b = open_as(STORE_SHARED, 1);
    uint64_t written[200];
    sqlite3 *reader;
    store = open_as(STORE_SHARED, 0);
    record_to_checkpoint(400000);
    size_t n = record_to_checkpoint(50000);
    ck_assert_uint_lt(n, N_ELEMENTS(written));
    record_large(b, 'b', 50000);
    ck_assert_int_eq(sqlite3_open(harness_path, &reader), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM audit", NULL, NULL, NULL), SQLITE_OK);
    for (size_t i = 0; i < n; i++)
        written[i] = record_large(b, 'b', 50000);
    for (size_t i = 0; i < n; i++)
        ASSERT_HAS(decision_json(written[i]), "bbbb\"}");
    sqlite3_close(reader);
    assert_chain_holds();
    store_close(&b);
}
END_TEST

START_TEST(leases_end_with_the_releasing_worker_alone)
{
    struct store *releasing = open_as(STORE_SHARED, STORE_RELEASING_OWNER);
    defer_by(releasing);
    struct store_deferred_claim claim = {
        .arena = &arena, .dialect = SLICE("sendgrid"), .now_ms = NOW + 1, .lease_until_ms = INT64_MAX, .max = 1};
    ck_assert_int_eq(ask_of(releasing, &claim.r, STORE_DEFERRED_CLAIM), OK);
    ck_assert_uint_eq(claim.n, 1);
    store_close(&releasing);
    store = open_as(STORE_SHARED, 1);
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_LEASED], 1);
    releasing = open_as(STORE_SHARED, STORE_RELEASING_OWNER);
    ck_assert_uint_eq(store_queue_depth(releasing).n[DEFERRED_WAITING], 1);
    store_close(&releasing);
}
END_TEST

START_TEST(ids_differ)
{
    struct store *b = open_as(STORE_SHARED, 1);
    store = open_as(STORE_SHARED, 0);
    uint64_t first = store_decision_id(store), second = store_decision_id(b);
    ck_assert_uint_ne(first >> 40, second >> 40);
    store_close(&b);
}
END_TEST

START_TEST(a_forged_head_is_not_built_on)
{
    sqlite3 *db;
    const char *why;
    store = open_as(STORE_SHARED, 0);
    record_by(store);
    ck_assert_int_eq(sqlite3_open(harness_path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "UPDATE audit_head SET hash = zeroblob(32)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    struct sample one;
    sample_init(&one, "a@example.com", &newsletter, OUTCOME_FORWARD);
    ck_assert_int_eq(ASK(&one.record, RECORD), ERR_UNAVAILABLE);
    ck_assert_int_eq(store_health(store, &why), STORE_FAILED);
    ASSERT_HAS(why, "signature");
}
END_TEST

START_TEST(the_lock_keeps_strangers_out)
{
    struct errmsg e;
    struct store_options alone = {.url = harness_url, .now_ms = NOW};
    ck_assert_int_eq(store_lock(harness_url, &e), -1);
    ASSERT_HAS(e.text, "in use by another posternd");
    ck_assert_ptr_null(store_open(&alone, &e));
    ASSERT_HAS(e.text, "in use by another posternd");
    ck_assert_int_eq(store_lock("mysql:x", &e), -1);
}
END_TEST

START_TEST(a_derived_key_is_the_same_in_each)
{
    struct digest here, there, other;
    struct store *b = open_as(STORE_SHARED, 1);
    store = open_as(STORE_SHARED, 0);
    store_derive_key(store, "tokens", &here);
    store_derive_key(b, "tokens", &there);
    store_derive_key(b, "other", &other);
    ck_assert_mem_eq(&here, &there, sizeof here);
    ck_assert_mem_ne(&here, &other, sizeof here);
    store_close(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_share");
    TCase *t = tcase_create("share");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, commits_of_two_stores_stand_in_one_chain);
    tcase_add_test(t, processes_commit_at_the_same_time);
    tcase_add_test(t, who_is_killed_in_a_commit_holds_up_nobody);
    tcase_add_test(t, what_a_worker_left_waits_for_its_successor);
    tcase_add_test(t, what_another_wrote_is_read_after_a_checkpoint);
    tcase_add_test(t, leases_end_with_the_releasing_worker_alone);
    tcase_add_test(t, ids_differ);
    tcase_add_test(t, a_forged_head_is_not_built_on);
    tcase_add_test(t, the_lock_keeps_strangers_out);
    tcase_add_test(t, a_derived_key_is_the_same_in_each);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

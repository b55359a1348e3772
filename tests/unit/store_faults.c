/*
 * Disks that fail and processes that die.  A shim under SQLite fails the n-th write
 * or sync, once or for ever, for every n until a run meets no fault; a child that
 * records is killed at random moments.  What was called back with OK must be there.
 * STORE_FLIPS=100000 for a long run of bits that turn.
 */
#include "tests/unit/store_harness.h"

#include "tests/unit/store_shim.h"

#include <signal.h>
#include <sys/wait.h>

/* --- faults ----------------------------------------------------------------------------- */

/* The store's thread counts, the test arms and reads: between requests, and atomics order them. */
static struct {
    _Atomic int armed;
    _Atomic int countdown; /* of writes and syncs; at 0 it fails */
    int error;             /* SQLITE_IOERR or SQLITE_FULL */
    bool for_ever;
    bool syncs_only;
    _Atomic int fired;
    _Atomic int syncs_after; /* after the first failure */
    _Atomic int writes_after;
} shim;

static void shim_disarm(void)
{
    shim.armed = 0;
    shim.fired = shim.syncs_after = shim.writes_after = 0;
}

static void shim_arm(int n, int error, bool for_ever, bool syncs_only)
{
    shim_disarm();
    shim.countdown = n;
    shim.error = error;
    shim.for_ever = for_ever;
    shim.syncs_only = syncs_only;
    shim.armed = 1;
}

static bool shim_fails(bool is_sync)
{
    if (shim.armed == 0)
        return false;
    if (shim.fired > 0) {
        *(is_sync ? &shim.syncs_after : &shim.writes_after) += 1;
        shim.fired += shim.for_ever;
        return shim.for_ever;
    }
    if (shim.syncs_only && !is_sync)
        return false;
    if (--shim.countdown > 0)
        return false;
    shim.fired = 1;
    return true;
}

static int fault_write(struct shim_file *f, const void *p, int n, sqlite3_int64 at)
{
    (void)f;
    (void)p;
    (void)n;
    (void)at;
    if (!shim_fails(false))
        return SQLITE_OK;
    return shim.error == SQLITE_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int fault_sync(struct shim_file *f)
{
    (void)f;
    if (!shim_fails(true))
        return SQLITE_OK;
    return shim.error == SQLITE_FULL ? SQLITE_FULL : SQLITE_IOERR_FSYNC;
}

static const struct shim_hooks faults = {.write = fault_write, .sync = fault_sync};

/* --- a run under a fault ------------------------------------------------------------------ */

#define RUN_RECORDS 12
#define BIG_BYTES   900000 /* of facts: a few of them fill the log up to a checkpoint */

static struct slice big_facts(void)
{
    static char text[BIG_BYTES + 1];
    memset(text, 'x', BIG_BYTES);
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + BIG_BYTES - 2, "\"}", 2);
    return (struct slice){text, BIG_BYTES};
}

struct outcome_of_run {
    uint64_t ok[RUN_RECORDS];
    size_t n_ok;
    size_t n_refused;
};

static enum err record_one(bool big, uint64_t *id)
{
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_BLOCK);
    if (big)
        s.row.facts = big_facts();
    *id = s.row.id;
    return ASK(&s.record, RECORD);
}

static struct outcome_of_run record_some(void)
{
    struct outcome_of_run out = {0};
    for (int i = 0; i < RUN_RECORDS; i++) {
        uint64_t id;
        enum err status = record_one(i % 6 != 0, &id);
        ck_assert(status == OK || status == ERR_UNAVAILABLE);
        if (status == OK)
            out.ok[out.n_ok++] = id;
        else
            out.n_refused++;
    }
    return out;
}

static void assert_all_there(const struct outcome_of_run *run)
{
    for (size_t i = 0; i < run->n_ok; i++)
        ASSERT_HAS(decision_json(run->ok[i]), "\"status\":\"blocked\"");
    assert_chain_holds();
}

/* True when the fault came to pass. */
static bool run_with_fault(int n, int error, bool for_ever, bool syncs_only)
{
    harness_setup();
    uint64_t before;
    ck_assert_int_eq(record_one(false, &before), OK);
    shim_arm(n, error, for_ever, syncs_only);
    struct outcome_of_run run = record_some();
    bool fired = shim.fired > 0;
    if (!fired) {
        ck_assert_uint_eq(run.n_refused, 0);
        shim_disarm();
        harness_teardown();
        return false;
    }
    if (error == SQLITE_FULL) {
        /* As soon as the disk takes writes again, so does the store. */
        shim_disarm();
        uint64_t id;
        ck_assert_int_eq(record_one(false, &id), OK);
        ck_assert_int_eq(store_health(store, NULL), STORE_OK);
    } else {
        const char *why;
        uint64_t id;
        ck_assert_int_eq(record_one(false, &id), ERR_UNAVAILABLE);
        ck_assert_int_eq(store_health(store, &why), STORE_FAILED);
        ASSERT_HAS(why, "I/O error");
        ASSERT_HAS(decision_json(before), "\"status\":\"blocked\""); /* reads go on */
        store_close(&store);
        ck_assert_int_eq(shim.syncs_after, 0);
        ck_assert_int_eq(shim.writes_after, 0);
        shim_disarm();
        harness_open(0);
    }
    assert_all_there(&run);
    harness_teardown();
    return true;
}

/* Every n at first, where a commit is a handful of operations; then strides through the large ones. */
static int run_all(int error, bool for_ever, bool syncs_only)
{
    int runs = 0;
    for (int n = 1; run_with_fault(n, error, for_ever, syncs_only); n += syncs_only || n < 30 ? 1 : 1 + n / 3)
        runs++;
    return runs;
}

START_TEST(no_ok_without_a_durable_row)
{
    shim_register(faults);
    ck_assert_int_gt(run_all(SQLITE_IOERR, false, false), 30);
    ck_assert_int_gt(run_all(SQLITE_IOERR, true, false), 30);
}
END_TEST

START_TEST(a_failed_sync_is_not_tried_again)
{
    shim_register(faults);
    ck_assert_int_gt(run_all(SQLITE_IOERR, false, true), RUN_RECORDS); /* the checkpoint's too */
    ck_assert_int_gt(run_all(SQLITE_IOERR, true, true), RUN_RECORDS);
}
END_TEST

START_TEST(a_full_disk_passes)
{
    shim_register(faults);
    ck_assert_int_gt(run_all(SQLITE_FULL, false, false), 30);
    ck_assert_int_gt(run_all(SQLITE_FULL, true, false), 30);
}
END_TEST

/* A whole batch meets the failed commit: each of its callbacks comes, none with OK. */
START_TEST(a_failed_commit_fails_its_whole_batch)
{
    enum { N = 20 };
    shim_register(faults);
    harness_setup();
    struct sample *all = calloc(N, sizeof *all);
    struct wait w[N] = {{0}};
    shim_arm(1, SQLITE_IOERR, false, true);
    for (int i = 0; i < N; i++) {
        sample_init(&all[i], "a@example.com", &newsletter, OUTCOME_FORWARD);
        all[i].record.r = (struct store_request){.kind = STORE_RECORD, .cb = on_done, .arg = &w[i]};
        store_submit(store, &all[i].record.r);
    }
    int64_t oldest;
    while (store_backlog(store, &oldest) > 0)
        poll_store();
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(w[i].calls, 1);
        ck_assert_int_eq(w[i].status, ERR_UNAVAILABLE);
    }
    ck_assert_int_eq(store_health(store, NULL), STORE_FAILED);
    shim_disarm();
    free(all);
    harness_teardown();
}
END_TEST

/* --- bytes that rot in the file --------------------------------------------------------------- */

START_TEST(damage_in_the_file_is_named)
{
    harness_setup();
    for (int i = 0; i < 200; i++) {
        uint64_t id;
        ck_assert_int_eq(record_one(false, &id), OK);
    }
    store_close(&store);
    FILE *f = fopen(harness_path, "r");
    ck_assert_ptr_nonnull(f);
    static char image[4 << 20];
    size_t size = fread(image, 1, sizeof image, f);
    fclose(f);
    size_t n_flips = harness_count("STORE_FLIPS", 2000), found = 0, unharmed = 0;
    for (size_t i = 0; i < n_flips; i++) {
        size_t at = (i * 7919 + 13) % size;
        image[at] ^= (char)(1 << i % 8);
        f = fopen(harness_path, "w");
        ck_assert_uint_eq(fwrite(image, 1, size, f), size);
        fclose(f);
        image[at] ^= (char)(1 << i % 8);
        struct errmsg e;
        struct store_options o = {.url = harness_url, .now_ms = NOW, .read_only = true};
        struct store *reader = store_open(&o, &e);
        struct audit_verdict v = {0};
        bool holds = reader != NULL && store_audit_verify(reader, NULL, NULL, &v) == OK && v.holds;
        found += !holds;
        unharmed += holds; /* an index, another table, free space */
        if (holds)
            ck_assert_uint_eq(v.rows, 200);
        store_close(&reader);
    }
    ck_assert_uint_gt(found, n_flips / 8);
    ck_assert_uint_eq(found + unharmed, n_flips);
    arena_clear(&arena);
    harness_remove_dir();
}
END_TEST

/* --- kill -9 -------------------------------------------------------------------------------------- */

#define KILLS     30
#define IN_FLIGHT 8

struct slot {
    struct sample sample;
    int pipe;
};

static void submit_slot(struct slot *slot);

static void on_recorded(enum err status, void *arg)
{
    struct slot *slot = arg;
    if (status == OK)
        ignore(write(slot->pipe, &slot->sample.row.id, sizeof slot->sample.row.id));
    submit_slot(slot);
}

static void submit_slot(struct slot *slot)
{
    static int n;
    sample_init(&slot->sample, "a@example.com", &newsletter, ++n % 3 == 0 ? OUTCOME_FORWARD : OUTCOME_BLOCK);
    if (n % 5 == 0)
        sample_defer(&slot->sample, NOW);
    slot->sample.record.r = (struct store_request){.kind = STORE_RECORD, .cb = on_recorded, .arg = slot};
    store_submit(store, &slot->sample.record.r);
}

static void child(int out)
{
    static struct slot slots[IN_FLIGHT];
    harness_open(0);
    for (size_t i = 0; i < IN_FLIGHT; i++) {
        slots[i].pipe = out;
        submit_slot(&slots[i]);
    }
    for (;;)
        poll_store();
}

static size_t read_ids(int fd, uint64_t *ids, size_t n, size_t max)
{
    while (n < max) {
        ssize_t got = read(fd, &ids[n], sizeof ids[n]);
        if (got != (ssize_t)sizeof ids[n])
            break; /* the pipe's end: ids are written whole */
        n++;
    }
    return n;
}

START_TEST(a_killed_process_keeps_what_it_acknowledged)
{
    enum { MAX = 1 << 20 };
    uint64_t *ids = calloc(MAX, sizeof *ids);
    size_t n = 0;
    harness_new_dir();
    for (int k = 0; k < KILLS; k++) {
        int ends[2];
        ck_assert_int_eq(pipe(ends), 0);
        pid_t pid = fork();
        ck_assert_int_ne(pid, -1);
        if (pid == 0) {
            close(ends[0]);
            child(ends[1]);
        }
        close(ends[1]);
        /* At a moment counted in acknowledgements and a little more, so that it falls anywhere in a commit. */
        size_t first = n;
        n = read_ids(ends[0], ids, n, n + 1 + (size_t)(k * 37 % 300));
        ck_assert_uint_gt(n, first);
        usleep((useconds_t)(k * 7919 % 3000));
        kill(pid, SIGKILL);
        n = read_ids(ends[0], ids, n, MAX);
        close(ends[0]);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        arena_init(&arena, 1u << 30);
        harness_open(0);
        for (size_t i = first; i < n; i++) {
            const char *json = decision_json(ids[i]);
            ck_assert_msg(strstr(json, "\"status\":\"sending\"") == NULL, "an intent stayed open: %s", json);
        }
        assert_chain_holds();
        store_close(&store);
        arena_clear(&arena);
    }
    harness_remove_dir();
    free(ids);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_faults");
    TCase *c = tcase_create("faults");
    tcase_set_timeout(c, 240 + (double)harness_count("STORE_FLIPS", 0) / 10);
    tcase_add_test(c, no_ok_without_a_durable_row);
    tcase_add_test(c, a_failed_sync_is_not_tried_again);
    tcase_add_test(c, a_full_disk_passes);
    tcase_add_test(c, a_failed_commit_fails_its_whole_batch);
    tcase_add_test(c, damage_in_the_file_is_named);
    tcase_add_test(c, a_killed_process_keeps_what_it_acknowledged);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

/*
 * Redis counters on a real redis-server: the same answers as the embedded ones over
 * random histories; what a reservation is worth when the counts are lost; a big
 * store's rebuild.
 */
#include <check.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/counters.h"
#include "gateway/loop.h"
#include "postern/clock.h"
#include "postern/log.h"
#include "store_harness.h"

#define START    INT64_C(1900000000000)
#define CONTACTS 7

extern char **environ;

static pid_t server;
static uint16_t port;
static struct loop *loop;
static struct counters *shared, *embedded;

/* --- the server ----------------------------------------------------------------------------- */

static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert(fd != -1 && bind(fd, (struct sockaddr *)&a, n) == 0);
    ck_assert(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void start_server(void)
{
    char text[8];
    char *argv[] = {(char[]){"redis-server"},
                    (char[]){"--port"},
                    text,
                    (char[]){"--bind"},
                    (char[]){"127.0.0.1"},
                    (char[]){"--save"},
                    (char[]){""},
                    (char[]){"--loglevel"},
                    (char[]){"warning"},
                    (char[]){"--logfile"},
                    (char[]){"/dev/null"},
                    NULL};
    port = free_port();
    snprintf(text, sizeof text, "%u", port);
    ck_assert_msg(posix_spawnp(&server, "redis-server", NULL, NULL, argv, environ) == 0, "redis-server cannot be run");
}

static void stop_server(void)
{
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
}

/* One command whose reply nobody looks at, on a connection of its own. */
static void tell_server(const char *command)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char reply[64];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert(connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
    ck_assert(write(fd, command, strlen(command)) == (ssize_t)strlen(command));
    ck_assert(read(fd, reply, sizeof reply) > 0);
    ck_assert_int_eq(reply[0], '+');
    close(fd);
}

/* --- turns ------------------------------------------------------------------------------------ */

static void on_tick(void *arg)
{
    *(bool *)arg = true;
}

static void turn(void)
{
    bool ticked = false;
    struct loop_task *t = loop_after(loop, 5, on_tick, &ticked);
    loop_turn(loop, true);
    if (!ticked)
        loop_cancel(&t);
}

static void wait_until_up(int64_t ms)
{
    int64_t end = clock_mono_ms() + ms;
    while (!counters_state(shared).up && clock_mono_ms() < end)
        turn();
    ck_assert_msg(counters_state(shared).up, "the counters are not up within %lld ms", (long long)ms);
}

static void open_shared(void)
{
    struct errmsg e;
    struct counters_redis_options o = {.host = "127.0.0.1", .port = port, .deadline_ms = 1000, .store = store};
    shared = counters_redis_new(loop, &o, &e);
    ck_assert_msg(shared != NULL, "%s", e.text);
}

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_ERROR_);
    start_server();
    harness_setup();
    loop = loop_new();
    embedded = counters_new(loop);
    clock_set(START);
    open_shared();
}

static void teardown(void)
{
    counters_free(&shared);
    counters_free(&embedded);
    loop_free(&loop);
    harness_teardown();
    stop_server();
}

struct seen {
    bool called, reserved;
    enum err status;
    uint64_t reservation;
    size_t n;
    struct cap_count counts[CAP_CHECKS_MAX];
};

static void on_answer(const struct counters_answer *a, void *arg)
{
    struct seen *s = arg;
    ck_assert(!s->called);
    *s = (struct seen){.called = true, .reserved = a->reserved, .status = a->status, .reservation = a->reservation};
    s->n = a->n_checks;
    memcpy(s->counts, a->counts, a->n_checks * sizeof a->counts[0]);
}

static struct seen question(struct counters *c, const struct counters_request *r, bool reserve)
{
    struct seen s = {0};
    (void)(reserve ? counters_reserve(c, r, on_answer, &s) : counters_peek(c, r, on_answer, &s));
    ck_assert(!s.called);
    while (!s.called)
        turn();
    return s;
}

/* --- the same answers -------------------------------------------------------------------------- */

static uint64_t dice_state;
static uint32_t dice(uint32_t n)
{
    dice_state = dice_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(dice_state >> 33) % n;
}

static uint32_t some_category(void)
{
    static const char *const names[] = {"news", "offers", "invoices", "codes"};
    return slice_id(slice_of(names[dice(4)]));
}

static struct cap_check some_check(int64_t now_ms)
{
    struct cap_check k = {
        .since_ms = now_ms - (int64_t)dice(4) * MS_PER_DAY - (int64_t)dice(1000000) * 100,
        .limit = (int32_t)dice(6),
        .classes = dice(3) == 0 ? 0 : 1 + dice((1u << CLASS_N) - 1),
        .channels = dice(2) == 0 ? 0 : 1 + dice((1u << CHANNEL_N) - 1),
        .category_id = dice(3) == 0 ? some_category() : UINT32_MAX,
        .subject_id = dice(4) == 0 ? dice(3) : UINT32_MAX,
        .gap_ms = dice(5) == 0 ? (int64_t)dice(3600) * 1000 : 0,
        .gap_category_id = some_category(),
    };
    return k;
}

static void assert_same(const struct seen *a, const struct seen *b, int step)
{
    ck_assert_int_eq(b->status, OK);
    ck_assert_msg(a->reserved == b->reserved, "step %d: embedded %d, redis %d", step, a->reserved, b->reserved);
    for (size_t i = 0; i < b->n; i++) {
        ck_assert_msg(a->counts[i].count == b->counts[i].count, "step %d check %zu: %d, redis %d", step, i,
                      a->counts[i].count, b->counts[i].count);
        ck_assert_msg(a->counts[i].oldest_ms == b->counts[i].oldest_ms, "step %d check %zu: oldest", step, i);
        ck_assert_msg(a->counts[i].latest_ms == b->counts[i].latest_ms, "step %d check %zu: latest", step, i);
    }
}

struct pending {
    uint64_t embedded, shared;
};

static void settle(struct pending *p, int64_t now_ms)
{
    bool commits = dice(3) != 0;
    for (int times = dice(4) == 0 ? 2 : 1; times > 0; times--) {
        if (commits) {
            counters_commit(embedded, p->embedded, now_ms);
            counters_commit(shared, p->shared, now_ms);
        } else {
            counters_release(embedded, p->embedded);
            counters_release(shared, p->shared);
        }
    }
    *p = (struct pending){0};
}

START_TEST(random_histories_have_the_same_answers)
{
    struct pending pending[32] = {{0, 0}};
    struct cap_check checks[4];
    int64_t now_ms = START;
    int reserved = 0, refused = 0;

    dice_state = (uint64_t)_i + 1;
    wait_until_up(10000);
    for (int step = 0; step < 1500; step++) {
        now_ms += dice(10) == 0 ? (int64_t)dice(40000) * 1000 : dice(60000);
        struct pending *p = &pending[dice(N_ELEMENTS(pending))];
        if (p->shared != 0)
            settle(p, now_ms - (int64_t)dice(20) * 1000);
        struct counters_request r = {
            .decision = (uint64_t)step + 1,
            .contact_hash = dice(CONTACTS) * UINT64_C(0x9E3779B97F4A7C15),
            .checks = checks,
            .n_checks = dice(5),
            .class = (enum message_class)dice(CLASS_N),
            .channel = (enum channel)dice(CHANNEL_N),
            .category_id = some_category(),
            .subject_id = dice(3),
            .counts = (enum cap_counting)dice(3),
            .now_ms = now_ms,
        };
        for (size_t i = 0; i < r.n_checks; i++)
            checks[i] = some_check(now_ms);
        bool reserve = dice(5) != 0;
        struct seen a = question(embedded, &r, reserve), b = question(shared, &r, reserve);
        assert_same(&a, &b, step);
        if (a.reserved)
            *p = (struct pending){a.reservation, b.reservation};
        reserved += a.reserved;
        refused += reserve && !a.reserved;
    }
    ck_assert_int_gt(reserved, 100); /* else nothing was compared */
    ck_assert_int_gt(refused, 100);
    ck_assert_uint_eq(counters_state(shared).losses, 0);
}
END_TEST

/* --- what a reservation is worth ------------------------------------------------------------------ */

static const struct cap_check any_of_3 = {
    .since_ms = START - MS_PER_DAY, .limit = 3, .category_id = UINT32_MAX, .subject_id = UINT32_MAX};

static struct counters_request one(uint64_t decision)
{
    return (struct counters_request){.decision = decision,
                                     .contact_hash = 42,
                                     .checks = &any_of_3,
                                     .n_checks = 1,
                                     .class = CLASS_MARKETING,
                                     .category_id = 7,
                                     .subject_id = 7,
                                     .counts = COUNTS_EVERYWHERE,
                                     .now_ms = START};
}

static struct seen reserve_one(uint64_t decision)
{
    struct counters_request r = one(decision);
    return question(shared, &r, true);
}

static int32_t count_now(void)
{
    struct counters_request r = one(0);
    struct seen s = question(shared, &r, false);
    ck_assert_int_eq(s.status, OK);
    return s.counts[0].count;
}

static void wait_settled(void)
{
    while (counters_state(shared).kept > 0)
        turn();
}

START_TEST(a_reservation_holds_for_two_seconds_and_under_its_epoch)
{
    wait_until_up(10000);
    struct seen a = reserve_one(1);
    ck_assert(a.reserved && counters_holds(shared, a.reservation));
    ck_assert(counters_holds(shared, 0));
    tell_server("FLUSHALL\r\n");
    int64_t flushed = clock_mono_ms();
    while (counters_state(shared).losses == 0)
        turn();
    ck_assert_int_le(clock_mono_ms() - flushed, 1000); /* noticed by itself */
    ck_assert(!counters_holds(shared, a.reservation));
    struct seen b = reserve_one(2);
    ck_assert_int_eq(b.status, ERR_UNAVAILABLE);
    ck_assert(b.reservation != 0 && counters_holds(shared, b.reservation)); /* never counted: nothing to hold */
    wait_until_up(10000);
    ck_assert(!counters_holds(shared, a.reservation));
    struct seen c = reserve_one(3);
    ck_assert(c.reserved && counters_holds(shared, c.reservation));
    int64_t end = clock_mono_ms() + 2050;
    while (clock_mono_ms() < end)
        turn();
    ck_assert(!counters_holds(shared, c.reservation)); /* too old */
}
END_TEST

START_TEST(commits_of_the_lost_epoch_count_once_and_releases_not_at_all)
{
    wait_until_up(10000);
    struct seen a = reserve_one(1), b = reserve_one(2);
    counters_commit(shared, a.reservation, START);
    wait_settled();
    ck_assert_int_eq(count_now(), 2);
    tell_server("FLUSHALL\r\n");
    while (counters_state(shared).losses == 0)
        turn();
    struct seen degraded = reserve_one(3), deferred = reserve_one(4);
    counters_commit(shared, b.reservation, START);
    counters_commit(shared, degraded.reservation, START);
    counters_release(shared, deferred.reservation);
    ck_assert_uint_gt(counters_state(shared).kept, 0);
    wait_until_up(10000);
    wait_settled();
    ck_assert_int_eq(count_now(), 2); /* a's send is in no store here: that is what the log is for */
}
END_TEST

START_TEST(a_cancelled_question_keeps_no_slot)
{
    struct seen s = {0};
    struct counters_request r = one(1);
    wait_until_up(10000);
    struct counters_op *op = counters_reserve(shared, &r, on_answer, &s);
    counters_cancel(&op);
    wait_settled();
    ck_assert_int_eq(count_now(), 0);
    ck_assert(!s.called);
    ck_assert_uint_eq(counters_state(shared).reservations, 0);
    r = one(2);
    op = counters_peek(shared, &r, on_answer, &s);
    counters_cancel(&op);
    ck_assert_int_eq(count_now(), 0);
}
END_TEST

START_TEST(four_hundred_at_once_get_three_slots)
{
    static struct seen seen[400];
    int reserved = 0;
    memset(seen, 0, sizeof seen);
    wait_until_up(10000);
    for (uint64_t i = 0; i < 400; i++) {
        struct counters_request r = one(i + 1);
        (void)counters_reserve(shared, &r, on_answer, &seen[i]);
    }
    for (int i = 0; i < 400; i++) {
        while (!seen[i].called)
            turn();
        reserved += seen[i].reserved;
    }
    ck_assert_int_eq(reserved, 3);
}
END_TEST

/* A commit waits a few ms for company; the end of the process does not. */
START_TEST(what_was_settled_leaves_at_the_end)
{
    wait_until_up(10000);
    struct seen a = reserve_one(1), b = reserve_one(2);
    counters_commit(shared, a.reservation, START);
    counters_release(shared, b.reservation);
    counters_free(&shared);
    open_shared();
    wait_until_up(10000);
    ck_assert_int_eq(count_now(), 1);
    /* One entry, and it is a send. */
    tell_server("EVAL \"local s = redis.call('GET', KEYS[1]) return redis.status_reply(#s == 29 and "
                "struct.unpack('>I4', s, 26) == 0 and 'OK' or nil)\" 1 postern:2:c:000000000000002a\r\n");
}
END_TEST

/* One after the other, with room for all: appended, put in their places now and then, and none lost or counted twice.
 */
START_TEST(a_hundred_sends_to_one_contact_count_each)
{
    struct cap_check cap = any_of_3;
    wait_until_up(10000);
    cap.limit = 1000;
    for (uint64_t i = 1; i <= 100; i++) {
        struct counters_request r = one(i);
        r.checks = &cap;
        r.now_ms = START + (int64_t)i * 4 * 60 * MS_PER_MINUTE; /* every day some */
        struct seen s = question(shared, &r, true);
        ck_assert(s.reserved);
        if (i % 5 == 0)
            counters_release(shared, s.reservation);
        else
            counters_commit(shared, s.reservation, r.now_ms - (int64_t)(i % 3) * MS_PER_MINUTE);
        wait_settled();
    }
    ck_assert_int_eq(count_now(), 80);
}
END_TEST

/* More than one script takes: the first ones are full to the last place. */
START_TEST(two_hundred_commits_in_one_turn_count_each)
{
    static struct seen seen[200];
    memset(seen, 0, sizeof seen);
    wait_until_up(10000);
    for (uint64_t i = 0; i < N_ELEMENTS(seen); i++) {
        struct counters_request r = one(i + 1);
        r.n_checks = 0;
        (void)counters_reserve(shared, &r, on_answer, &seen[i]);
    }
    for (size_t i = 0; i < N_ELEMENTS(seen); i++) {
        while (!seen[i].called)
            turn();
    }
    for (size_t i = 0; i < N_ELEMENTS(seen); i++)
        counters_commit(shared, seen[i].reservation, START);
    wait_settled();
    ck_assert_int_eq(count_now(), N_ELEMENTS(seen));
    ck_assert_uint_eq(counters_state(shared).losses, 0);
}
END_TEST

/* --- a big store ------------------------------------------------------------------------------------ */

START_TEST(a_big_log_is_loaded_without_a_long_turn)
{
    const char *many = getenv("REDIS_RUNS");
    long rows = many != NULL ? 1000000 : 50000;

    counters_free(&shared);
    for (long i = 0; i < rows; i += 500)
        put_sends((uint64_t)i + 1, 500, START - rows + i);
    open_shared();
    int64_t began = clock_mono_ms(), longest = 0;
    while (!counters_state(shared).up && clock_mono_ms() - began < 30000) {
        turn();
        int64_t took = loop_take_longest_turn_ms(loop);
        longest = took > longest ? took : longest;
    }
    ck_assert_msg(counters_state(shared).up, "not loaded within 30 s");
    printf("%ld sends of as many contacts loaded in %lld ms, longest turn %lld ms\n", rows,
           (long long)(clock_mono_ms() - began), (long long)longest);
    ck_assert_int_le(longest, 100); /* a sanitizer on a shared machine; 1 to 5 ms else */
    struct counters_request r = one((uint64_t)rows + 1);
    r.contact_hash = (uint64_t)rows;
    ck_assert_int_eq(question(shared, &r, false).counts[0].count, 1);
}
END_TEST

/* Somebody to whom all alarms go.  Redis stood still while his sends were loaded one by one into a long string, so that
 * its silence was taken for its end, and the load began anew, for ever. */
START_TEST(a_contact_of_thousands_is_loaded)
{
    counters_free(&shared);
    for (uint64_t i = 0; i < 20; i++) /* the later ones first */
        put_sends_to(42, i * 500 + 1, 500, START - 1000 - (int64_t)i * 1000);
    open_shared();
    wait_until_up(10000);
    struct counters_request r = one(0);
    struct seen s = question(shared, &r, false); /* puts them in order, for which its deadline may be too short */
    for (int i = 0; i < 10 && s.status != OK; i++) {
        wait_until_up(10000);
        s = question(shared, &r, false);
    }
    ck_assert_int_eq(s.status, OK);
    ck_assert_int_eq(s.counts[0].count, 10000);
    ck_assert_uint_eq(counters_state(shared).losses, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway/counters_redis");
    TCase *t = tcase_create("redis");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, random_histories_have_the_same_answers, 0, 2);
    tcase_add_test(t, a_reservation_holds_for_two_seconds_and_under_its_epoch);
    tcase_add_test(t, commits_of_the_lost_epoch_count_once_and_releases_not_at_all);
    tcase_add_test(t, a_cancelled_question_keeps_no_slot);
    tcase_add_test(t, four_hundred_at_once_get_three_slots);
    tcase_add_test(t, what_was_settled_leaves_at_the_end);
    tcase_add_test(t, a_hundred_sends_to_one_contact_count_each);
    tcase_add_test(t, two_hundred_commits_in_one_turn_count_each);
    tcase_add_test(t, a_contact_of_thousands_is_loaded);
    tcase_add_test(t, a_big_log_is_loaded_without_a_long_turn);
    tcase_set_timeout(t, 120);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

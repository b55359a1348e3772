/* A store's sends on their way to Redis: all of them were taken, or the load has failed. */
#include <check.h>
#include <stdlib.h>

#include "gateway/counters_load.h"
#include "gateway/loop.h"
#include "store_harness.h"

static struct loop *loop;
static struct counters_load *load;

static void on_ready(void *arg)
{
    ++*(int *)arg;
}

static void setup(void)
{
    harness_setup();
    loop = loop_new();
    put_sends(1, 1, NOW);
}

static void teardown(void)
{
    counters_load_free(&load);
    loop_free(&loop);
    harness_teardown();
}

/* The only chunk is there. */
static const struct counters_load_chunk *begin(int *called)
{
    struct counters_load_options o = {.store = store, .since_ms = 1, .now_ms = NOW, .ready = on_ready, .arg = called};
    const struct counters_load_chunk *chunk;

    load = counters_load_new(loop, &o);
    while ((chunk = counters_load_chunk(load)) == NULL)
        loop_turn(loop, true);
    return chunk;
}

START_TEST(what_was_taken_whole_has_ended_well)
{
    int called = 0;
    enum err err = ERR_LIMIT;

    ck_assert_uint_eq(begin(&called)->n, 1);
    counters_load_next(load);
    while (called == 0 || !counters_load_ended(load, &err)) /* never called: Check's time runs out */
        loop_turn(loop, true);
    ck_assert_int_eq(err, OK);
}
END_TEST

/* The connection went away with the last rows in it: the thread has read all, and yet they are not in Redis. */
START_TEST(a_cancelled_load_has_not_ended_well)
{
    int called = 0;
    enum err err = OK;

    (void)begin(&called);
    counters_load_cancel(load);
    while (!counters_load_ended(load, &err))
        loop_turn(loop, true);
    ck_assert_int_ne(err, OK);
    ck_assert_ptr_null(counters_load_chunk(load));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway/counters_load");
    TCase *t = tcase_create("load");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_was_taken_whole_has_ended_well);
    tcase_add_test(t, a_cancelled_load_has_not_ended_well);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

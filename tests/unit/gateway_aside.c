/* Work beside the loop: in order, off the loop's thread, told on it in a later turn; and none is told after the end. */
#include "gateway/aside.h"

#include <check.h>
#include <pthread.h>
#include <sys/resource.h>

struct job {
    struct aside_work work;
    pthread_t ran_on;
    bool ran;
};

static struct loop *loop;
static struct aside *aside;
static struct job jobs[5];
static struct job *told[5];
static size_t n_told;

static void setup(void)
{
    loop = loop_new();
    aside = aside_new(loop);
    n_told = 0;
}

static void teardown(void)
{
    aside_free(&aside);
    ck_assert_ptr_null(aside);
    aside_free(&aside);
    loop_free(&loop);
}

static void run(void *arg)
{
    struct job *j = arg;
    j->ran_on = pthread_self();
    j->ran = true;
}

static void done(void *arg)
{
    struct job *j = arg;
    ck_assert(j->ran);
    told[n_told++] = j;
    if (n_told == N_ELEMENTS(jobs))
        loop_stop(loop);
}

static void submit_all(void)
{
    for (size_t i = 0; i < N_ELEMENTS(jobs); i++) {
        jobs[i] = (struct job){.work = {.run = run, .done = done, .arg = &jobs[i]}};
        aside_submit(aside, &jobs[i].work);
        ck_assert_uint_eq(n_told, 0); /* not before the call returns */
    }
}

static void assert_told_in_order(bool elsewhere)
{
    ck_assert_uint_eq(n_told, N_ELEMENTS(jobs));
    for (size_t i = 0; i < N_ELEMENTS(jobs); i++) {
        ck_assert_ptr_eq(told[i], &jobs[i]);
        ck_assert_int_eq(pthread_equal(jobs[i].ran_on, pthread_self()) == 0, elsewhere);
    }
}

START_TEST(runs_elsewhere_in_order)
{
    submit_all();
    loop_run(loop);
    assert_told_in_order(true);
    n_told = 0;
    submit_all(); /* the thread waits for more */
    loop_run(loop);
    assert_told_in_order(true);
}
END_TEST

START_TEST(tells_nothing_after_the_end)
{
    submit_all();
    aside_free(&aside);
    while (loop_turn(loop, false))
        ;
    ck_assert_uint_eq(n_told, 0);
}
END_TEST

START_TEST(without_descriptors_runs_here)
{
    struct rlimit none = {0, 0}, before;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    submit_all();
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    loop_run(loop);
    assert_told_in_order(false);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway_aside");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, runs_elsewhere_in_order);
    tcase_add_test(t, tells_nothing_after_the_end);
    tcase_add_test(t, without_descriptors_runs_here);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

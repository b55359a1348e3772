/* The loop's promises: order, the end of the turn, cancelling from anywhere, watches, the longest turn. */
#include "gateway/loop.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "postern/clock.h"

static struct loop *loop;
static char trace[64];

static void setup(void)
{
    loop = loop_new();
    trace[0] = '\0';
}

static void teardown(void)
{
    loop_free(&loop);
    ck_assert_ptr_null(loop);
}

static void note(void *letter)
{
    size_t n = strlen(trace);
    ck_assert(n + 1 < sizeof trace);
    trace[n] = *(const char *)letter;
    trace[n + 1] = '\0';
}

static void note_and_defer_d(void *letter)
{
    note(letter);
    loop_defer(loop, note, "d");
}

START_TEST(turns_end_in_order)
{
    loop_defer(loop, note_and_defer_d, "a");
    loop_defer(loop, note, "b");
    ck_assert_str_eq(trace, "");
    ck_assert(loop_turn(loop, true));
    ck_assert_str_eq(trace, "ab");
    ck_assert(!loop_turn(loop, true));
    ck_assert_str_eq(trace, "abd");
    loop_after(loop, 0, note_and_defer_d, "t");
    loop_run(loop);
    ck_assert_str_eq(trace, "abdtd");
}
END_TEST

START_TEST(timers_fire_by_time)
{
    int64_t began_ms = clock_mono_ms();
    loop_after(loop, 30, note, "c");
    loop_after(loop, 10, note, "b");
    loop_after(loop, -5, note, "a");
    loop_run(loop);
    ck_assert_str_eq(trace, "abc");
    ck_assert_int_ge(clock_mono_ms() - began_ms, 29);
}
END_TEST

static struct loop_task *later[3];

static void cancel_all(void *arg)
{
    note(arg);
    for (size_t i = 0; i < N_ELEMENTS(later); i++)
        loop_cancel(&later[i]);
}

START_TEST(cancelled_tasks_do_not_run)
{
    loop_defer(loop, cancel_all, "x");
    later[0] = loop_defer(loop, note, "1");
    later[1] = loop_after(loop, 1, note, "2");
    later[2] = loop_defer(loop, note, "3");
    loop_run(loop);
    ck_assert_str_eq(trace, "x");
    loop_cancel(&later[0]);
    later[0] = loop_after(loop, 1, note, "4");
    loop_after(loop, 2, note, "5"); /* dropped by loop_free */
    loop_cancel(&later[0]);
}
END_TEST

static void stop(void *arg)
{
    note(arg);
    loop_stop(loop);
    loop_defer(loop, note, "e");
}

START_TEST(stopping_finishes_the_turn)
{
    loop_after(loop, 100000, note, "n");
    loop_after(loop, 1, stop, "s");
    loop_run(loop);
    ck_assert_str_eq(trace, "se");
}
END_TEST

static struct loop_watch *watch;

static void on_readable(int fd, unsigned ready, void *arg)
{
    char c;
    ck_assert_uint_eq(ready, LOOP_READ);
    ck_assert_int_eq(read(fd, &c, 1), 1);
    note(&c);
    if (c == 'z')
        loop_watch_free((struct loop_watch **)arg);
}

static void on_writable(int fd, unsigned ready, void *arg)
{
    (void)fd;
    ck_assert_uint_eq(ready, LOOP_WRITE);
    note("w");
    loop_watch_want(*(struct loop_watch **)arg, LOOP_NONE);
}

START_TEST(descriptors)
{
    int fds[2];
    struct loop_watch *out;
    ck_assert_int_eq(pipe(fds), 0);
    watch = loop_watch_fd(loop, fds[0], LOOP_READ, on_readable, &watch);
    out = loop_watch_fd(loop, fds[1], LOOP_WRITE, on_writable, &out);
    loop_turn(loop, true);
    loop_turn(loop, false);
    ck_assert_str_eq(trace, "w");
    ck_assert_int_eq(write(fds[1], "ab", 2), 2);
    loop_turn(loop, true);
    loop_watch_want(watch, LOOP_NONE);
    loop_turn(loop, false);
    ck_assert_str_eq(trace, "wa");
    loop_watch_want(watch, LOOP_READ);
    loop_turn(loop, true);
    ck_assert_int_eq(write(fds[1], "z", 1), 1);
    loop_turn(loop, true);
    ck_assert_str_eq(trace, "wabz");
    ck_assert_ptr_null(watch);
    loop_watch_free(&watch);
    loop_watch_free(&out);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

static void on_signal(int signo, unsigned ready, void *arg)
{
    ck_assert_int_eq(signo, SIGUSR1);
    ck_assert_uint_eq(ready, LOOP_NONE);
    note("u");
    loop_watch_free((struct loop_watch **)arg);
}

START_TEST(signals)
{
    watch = loop_watch_signal(loop, SIGUSR1, on_signal, &watch);
    raise(SIGUSR1);
    loop_run(loop);
    ck_assert_str_eq(trace, "u");
}
END_TEST

static void hold_up(void *arg)
{
    int64_t until_us = clock_mono_us() + *(int64_t *)arg * 1000;
    while (clock_mono_us() < until_us)
        ;
}

START_TEST(longest_turn)
{
    int64_t ms = 20;
    uint64_t before = loop_turns(loop);
    loop_after(loop, 60, note, "a");
    loop_run(loop);
    ck_assert_int_lt(loop_take_longest_turn_ms(loop), 20); /* waiting is not holding up */
    loop_after(loop, 1, hold_up, &ms);
    loop_defer(loop, hold_up, &ms);
    loop_run(loop);
    ck_assert_int_ge(loop_take_longest_turn_ms(loop), 20);
    ck_assert_int_eq(loop_take_longest_turn_ms(loop), 0);
    ck_assert_uint_ge(loop_turns(loop), before + 2);
}
END_TEST

static void sleep_on(void *arg)
{
    nanosleep(&(struct timespec){.tv_nsec = *(long *)arg * 1000000}, NULL);
}

static void work(void *arg)
{
    int64_t until_us = clock_cpu_us() + *(long *)arg * 1000;
    while (clock_cpu_us() < until_us)
        ;
}

START_TEST(costliest_turn)
{
    long ms = 30;
    loop_after(loop, 1, sleep_on, &ms);
    loop_run(loop);
    ck_assert_int_ge(loop_take_longest_turn_ms(loop), ms);
    ck_assert_int_lt(loop_take_costliest_turn_us(loop), ms * 1000 / 2); /* held up, and worked little */
    loop_after(loop, 1, work, &ms);
    loop_run(loop);
    int64_t us = loop_take_costliest_turn_us(loop);
    ck_assert_int_ge(us, ms * 1000);
    ck_assert_int_lt(us, ms * 1000 * 2);
    ck_assert_int_eq(loop_take_costliest_turn_us(loop), 0);
    work(&ms); /* outside of a turn: not the next one's */
    loop_after(loop, 1, sleep_on, &(long){2});
    loop_run(loop);
    ck_assert_int_lt(loop_take_costliest_turn_us(loop), ms * 1000 / 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway_loop");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, turns_end_in_order);
    tcase_add_test(t, timers_fire_by_time);
    tcase_add_test(t, cancelled_tasks_do_not_run);
    tcase_add_test(t, stopping_finishes_the_turn);
    tcase_add_test(t, descriptors);
    tcase_add_test(t, signals);
    tcase_add_test(t, longest_turn);
    tcase_add_test(t, costliest_turn);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

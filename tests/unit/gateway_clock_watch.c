/* Jumps of the wall clock: what is one, how long it holds, what ends it. */
#include <check.h>
#include <stdlib.h>

#include "gateway/clock_watch.h"

#define HOUR INT64_C(3600000)

/* Rows in order of time: wall and even clock in ms, what is said, whether releases are held. */
struct row {
    int64_t even_ms, wall_ms;
    enum clock_news news;
    bool held;
};

static void play(const struct row *rows, size_t n)
{
    struct clock_watch w = {0};
    for (size_t i = 0; i < n; i++) {
        ck_assert_msg(clock_watch_look(&w, rows[i].wall_ms, rows[i].even_ms) == rows[i].news, "row %zu", i);
        ck_assert_msg(w.held == rows[i].held, "row %zu", i);
    }
}
#define PLAY(...)                                                                                                      \
    play((const struct row[]){__VA_ARGS__}, sizeof((const struct row[]){__VA_ARGS__}) / sizeof(struct row))

START_TEST(even)
{
    /* Steps of up to 30 s, and a slew that adds up to minutes, are none. */
    PLAY({0, 100, CLOCK_EVEN, false}, {200, 30300, CLOCK_EVEN, false}, {400, 60500, CLOCK_EVEN, false},
         {600, 30700, CLOCK_EVEN, false});
}
END_TEST

START_TEST(back_again)
{
    PLAY({0, 0, CLOCK_EVEN, false}, {200, HOUR, CLOCK_JUMPED, true}, {400, HOUR + 200, CLOCK_EVEN, true},
         {600, 700, CLOCK_SETTLED, false}, {800, 900, CLOCK_EVEN, false}, {1000, -HOUR, CLOCK_JUMPED, true},
         {1200, 1100, CLOCK_SETTLED, false});
}
END_TEST

START_TEST(the_time_now)
{
    PLAY({0, 0, CLOCK_EVEN, false}, {200, HOUR, CLOCK_JUMPED, true},
         {CLOCK_HOLD_MS + 199, CLOCK_HOLD_MS + HOUR, CLOCK_EVEN, true},
         {CLOCK_HOLD_MS + 200, CLOCK_HOLD_MS + HOUR, CLOCK_SETTLED, false},
         {CLOCK_HOLD_MS + 400, CLOCK_HOLD_MS + HOUR, CLOCK_EVEN, false});
}
END_TEST

START_TEST(twice)
{
    /* The hold begins anew with each jump. */
    PLAY({0, 0, CLOCK_EVEN, false}, {200, HOUR, CLOCK_JUMPED, true},
         {CLOCK_HOLD_MS, CLOCK_HOLD_MS + 24 * HOUR, CLOCK_JUMPED, true},
         {CLOCK_HOLD_MS + 200, CLOCK_HOLD_MS + 24 * HOUR, CLOCK_EVEN, true},
         {2 * CLOCK_HOLD_MS, 2 * CLOCK_HOLD_MS + 24 * HOUR, CLOCK_SETTLED, false});
}
END_TEST

START_TEST(on_purpose)
{
    struct clock_watch w = {0};
    clock_watch_look(&w, 0, 0);
    clock_watch_look(&w, HOUR, 200);
    ck_assert(w.held && w.jumps == 1 && w.jumped_ms == HOUR - 200);
    clock_watch_trust(&w);
    ck_assert(!w.held && clock_watch_look(&w, 2 * HOUR, 400) == CLOCK_EVEN && w.jumps == 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clock_watch");
    TCase *tc = tcase_create("clock_watch");
    tcase_add_test(tc, even);
    tcase_add_test(tc, back_again);
    tcase_add_test(tc, the_time_now);
    tcase_add_test(tc, twice);
    tcase_add_test(tc, on_purpose);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Breaker, pause, tokens and slots by scripts: each row is a time, a call, and what must come of it. */
#include "gateway/upstream_pace.h"

#include <check.h>
#include <stdlib.h>

enum step { ADMIT, GOOD, BAD, NEITHER, PAUSE, END };

struct row {
    int64_t at_ms;
    enum step step;
    int64_t arg;  /* ADMIT: the verdict; GOOD, BAD, NEITHER: of which admit (0..), PAUSE: ms */
    int64_t wait; /* ADMIT: *wait_ms when it is not GO or BUSY */
    enum upstream_breaker breaker;
};

#define CLOSED UPSTREAM_BREAKER_CLOSED
#define OPEN   UPSTREAM_BREAKER_OPEN
#define HALF   UPSTREAM_BREAKER_HALF_OPEN

static void play(const struct upstream_pace_options *opt, const struct row *rows)
{
    struct upstream_pace pace;
    uint32_t tickets[64];
    size_t n = 0;
    upstream_pace_init(&pace, opt, 0);
    for (size_t i = 0; rows[i].step != END; i++) {
        const struct row *r = &rows[i];
        int64_t wait = -1;
        switch (r->step) {
        case ADMIT: {
            enum upstream_pace_verdict verdict = upstream_pace_admit(&pace, r->at_ms, &tickets[n], &wait);
            ck_assert_msg(verdict == (enum upstream_pace_verdict)r->arg, "row %zu: verdict %d", i, (int)verdict);
            if (verdict == PACE_GO)
                n++;
            else if (verdict != PACE_BUSY)
                ck_assert_msg(wait == r->wait, "row %zu: wait %lld", i, (long long)wait);
            break;
        }
        case GOOD:
            upstream_pace_done(&pace, tickets[r->arg], PACE_GOOD, r->at_ms);
            break;
        case BAD:
            upstream_pace_done(&pace, tickets[r->arg], PACE_BAD, r->at_ms);
            break;
        case NEITHER:
            upstream_pace_done(&pace, tickets[r->arg], PACE_NEITHER, r->at_ms);
            break;
        case PAUSE:
            upstream_pace_pause(&pace, r->arg, r->at_ms);
            break;
        case END:
            break;
        }
        ck_assert_msg(pace.breaker == r->breaker, "row %zu: breaker %d", i, (int)pace.breaker);
    }
}

START_TEST(breaker)
{
    static const struct upstream_pace_options opt = {.breaker_failures = 3, .breaker_open_ms = 1000};
    static const struct row in_a_row_only[] = {
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, BAD, 0, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, BAD, 1, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, GOOD, 2, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, BAD, 3, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, BAD, 4, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {9, BAD, 5, 0, OPEN},
        {0, END, 0, 0, 0},
    };
    static const struct row probe_closes[] = {
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, BAD, 0, 0, CLOSED},
        {0, BAD, 1, 0, CLOSED},
        {500, BAD, 2, 0, OPEN},
        {500, ADMIT, PACE_OPEN, 1000, OPEN},
        {1499, ADMIT, PACE_OPEN, 1, OPEN},
        {1500, ADMIT, PACE_GO, 0, HALF},
        {1500, ADMIT, PACE_OPEN, 1000, HALF},
        {1600, GOOD, 3, 0, CLOSED},
        {1600, ADMIT, PACE_GO, 0, CLOSED},
        {1600, ADMIT, PACE_GO, 0, CLOSED},
        {1700, BAD, 4, 0, CLOSED},
        {1700, BAD, 5, 0, CLOSED},
        {0, END, 0, 0, 0},
    };
    static const struct row probe_reopens[] = {
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, BAD, 0, 0, CLOSED},
        {0, BAD, 1, 0, CLOSED},
        {0, BAD, 2, 0, OPEN},
        {1000, ADMIT, PACE_GO, 0, HALF},
        {1200, BAD, 3, 0, OPEN},
        {2199, ADMIT, PACE_OPEN, 1, OPEN},
        {2200, ADMIT, PACE_GO, 0, HALF},
        {2300, NEITHER, 4, 0, HALF},
        {2300, ADMIT, PACE_GO, 0, HALF},
        {2400, GOOD, 5, 0, CLOSED},
        {0, END, 0, 0, 0},
    };
    /* Those that were under way when it opened neither close nor lengthen, and are not taken for the probe. */
    static const struct row stragglers[] = {
        {0, ADMIT, PACE_GO, 0, CLOSED}, {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED}, {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED}, {0, BAD, 0, 0, CLOSED},
        {0, BAD, 1, 0, CLOSED},         {0, BAD, 2, 0, OPEN},
        {900, BAD, 3, 0, OPEN},         {1000, ADMIT, PACE_GO, 0, HALF},
        {1001, GOOD, 4, 0, HALF},       {1001, ADMIT, PACE_OPEN, 1000, HALF},
        {1002, BAD, 5, 0, OPEN},        {0, END, 0, 0, 0},
    };
    play(&opt, in_a_row_only);
    play(&opt, probe_closes);
    play(&opt, probe_reopens);
    play(&opt, stragglers);
}
END_TEST

START_TEST(tokens)
{
    static const struct row spread[] = {
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, ADMIT, PACE_WAIT, 100, CLOSED},
        {40, ADMIT, PACE_WAIT, 60, CLOSED},
        {99, ADMIT, PACE_WAIT, 1, CLOSED},
        {100, ADMIT, PACE_GO, 0, CLOSED},
        {100, ADMIT, PACE_WAIT, 100, CLOSED},
        {9000, ADMIT, PACE_GO, 0, CLOSED},
        {9000, ADMIT, PACE_GO, 0, CLOSED},
        {9000, ADMIT, PACE_WAIT, 100, CLOSED},
        {INT64_MAX / 2, ADMIT, PACE_GO, 0, CLOSED},
        {0, END, 0, 0, 0},
    };
    static const struct row thirds[] = {
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, ADMIT, PACE_WAIT, 334, CLOSED},
        {333, ADMIT, PACE_WAIT, 1, CLOSED},
        {334, ADMIT, PACE_GO, 0, CLOSED},
        {0, END, 0, 0, 0},
    };
    play(&(struct upstream_pace_options){.rate_per_s = 10, .burst = 2}, spread);
    play(&(struct upstream_pace_options){.rate_per_s = 3, .burst = 1}, thirds);

    /* Over an hour of asking each ms, the rate is kept to the message. */
    struct upstream_pace pace;
    uint32_t ticket;
    int64_t wait;
    int64_t went = 0;
    upstream_pace_init(&pace,
                       &(struct upstream_pace_options){.rate_per_s = 7, .burst = 1, .max_concurrency = UINT32_MAX}, 0);
    for (int64_t ms = 0; ms < 3600000; ms++)
        went += upstream_pace_admit(&pace, ms, &ticket, &wait) == PACE_GO;
    ck_assert_int_ge(went, 7 * 3600 - 40);
    ck_assert_int_le(went, 7 * 3600 + 1);
}
END_TEST

START_TEST(slots_and_pauses)
{
    static const struct row slots[] = {
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, ADMIT, PACE_GO, 0, CLOSED},
        {0, ADMIT, PACE_BUSY, 0, CLOSED},
        {1, NEITHER, 0, 0, CLOSED},
        {1, ADMIT, PACE_GO, 0, CLOSED},
        {1, ADMIT, PACE_BUSY, 0, CLOSED},
        {2, PAUSE, 100, 0, CLOSED},
        {2, ADMIT, PACE_PAUSED, 100, CLOSED},
        {3, PAUSE, 10, 0, CLOSED},
        {50, ADMIT, PACE_PAUSED, 52, CLOSED},
        {102, ADMIT, PACE_BUSY, 0, CLOSED},
        {102, GOOD, 1, 0, CLOSED},
        {102, ADMIT, PACE_GO, 0, CLOSED},
        {200, PAUSE, 999999999, 0, CLOSED},
        {200, ADMIT, PACE_PAUSED, 5000, CLOSED},
        {0, END, 0, 0, 0},
    };
    play(&(struct upstream_pace_options){.max_concurrency = 2, .max_pause_ms = 5000}, slots);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway_upstream_pace");
    TCase *t = tcase_create("all");
    tcase_add_test(t, breaker);
    tcase_add_test(t, tokens);
    tcase_add_test(t, slots_and_pauses);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

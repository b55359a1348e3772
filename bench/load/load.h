/*
 * What the bench's clients share: the clock, the people, and how long answers took, told in one line of JSON.  A
 * program is one file that includes this one.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FINE   1024 /* histogram: steps of 10 us below 10 ms, then of 1 ms */
#define COARSE 10000

static uint64_t started, answered, by_class[6], fine[FINE], coarse[COARSE];
static int64_t max_ns;
static uint64_t seed = 88172645463325252u;

static void die(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static uint64_t random_below(uint64_t n)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17; /* xorshift64 */
    return seed % n;
}

static void note_answer(int class, int64_t took_ns)
{
    by_class[class]++;
    answered++;
    max_ns = took_ns > max_ns ? took_ns : max_ns;
    if (took_ns < INT64_C(10000) * FINE)
        fine[took_ns / 10000]++;
    else
        coarse[took_ns / 1000000 < COARSE ? took_ns / 1000000 : COARSE - 1]++;
}

static int64_t percentile_us(double p)
{
    uint64_t want = (uint64_t)((double)answered * p), seen = 0;

    for (int i = 0; i < FINE; i++)
        if ((seen += fine[i]) > want)
            return i * 10 + 5;
    for (int i = 0; i < COARSE; i++)
        if ((seen += coarse[i]) > want)
            return i * 1000 + 500;
    return max_ns / 1000;
}

static void print_figures(int64_t start_ns)
{
    double seconds = (double)(now_ns() - start_ns) / 1e9;

    printf("{\"answered\":%" PRIu64 ",\"seconds\":%.3f,\"per_s\":%.0f,\"s2xx\":%" PRIu64 ",\"s4xx\":%" PRIu64
           ",\"s5xx\":%" PRIu64 ",\"p50_us\":%" PRId64 ",\"p99_us\":%" PRId64 ",\"max_us\":%" PRId64 "}\n",
           answered, seconds, (double)answered / seconds, by_class[2], by_class[4], by_class[5], percentile_us(0.5),
           percentile_us(0.99), max_ns / 1000);
}

#endif

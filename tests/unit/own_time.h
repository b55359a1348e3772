/*
 * Time as a thread that is never kept waiting for a processor would measure it: bounds of time then hold on a machine
 * that is busy with other things, and still say what they say.
 */
#ifndef POSTERN_TESTS_OWN_TIME_H
#define POSTERN_TESTS_OWN_TIME_H

#include <inttypes.h>
#include <stdio.h>

#include "postern/clock.h"

/* The monotonic clock less the time in which this thread could have run, and did not; without schedstats, the clock. */
static int64_t own_ms(void)
{
    uint64_t ran_ns = 0, stood_ns = 0;
    FILE *f = fopen("/proc/thread-self/schedstat", "r");
    if (f != NULL) {
        if (fscanf(f, "%" SCNu64 " %" SCNu64, &ran_ns, &stood_ns) != 2)
            stood_ns = 0;
        fclose(f);
    }
    return clock_mono_ms() - (int64_t)(stood_ns / 1000000);
}

#endif

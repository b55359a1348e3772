/*
 * The only file that asks the system for the time.  With `clock: settable`
 * the wall clock becomes the monotonic one plus a constant, so that it runs on
 * evenly from the time that was set, whatever the system's clock does.
 */
#include "postern/clock.h"

#include <stdatomic.h>
#include <time.h>

static atomic_bool set;
static _Atomic int64_t set_minus_mono_ms;

static int64_t read_us(clockid_t id)
{
    struct timespec now;
    int rc = clock_gettime(id, &now);
    ensure(rc == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

int64_t clock_cpu_us(void)
{
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}

int64_t clock_boot_ms(void)
{
    return read_us(CLOCK_BOOTTIME) / 1000;
}

int64_t clock_wall_ms(void)
{
    if (atomic_load(&set))
        return clock_mono_ms() + atomic_load(&set_minus_mono_ms);
    return read_us(CLOCK_REALTIME) / 1000;
}

void clock_set(int64_t wall_ms)
{
    atomic_store(&set_minus_mono_ms, wall_ms - clock_mono_ms());
    atomic_store(&set, true);
}

/*
 * The only place that asks the system for the time.  Wall clock and monotonic
 * clock are never mixed in one expression.  Everything else is given its time.
 */
#ifndef POSTERN_CLOCK_H
#define POSTERN_CLOCK_H

#include "postern/base.h"

int64_t clock_wall_ms(void); /* UTC, ms since 1970; follows clock_set when that was called */
int64_t clock_mono_ms(void); /* never goes back; not affected by clock_set */
int64_t clock_mono_us(void);
int64_t clock_cpu_us(void);  /* that this thread has used; a system call, unlike the others */
int64_t clock_boot_ms(void); /* like clock_mono_ms, and runs on while the machine sleeps */

/* For `clock: settable`: the wall clock reads wall_ms now and runs on from there. */
void clock_set(int64_t wall_ms);

#endif

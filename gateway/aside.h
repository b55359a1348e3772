/*
 * Work that would take a turn of the loop too long, done beside it: reading a submission of megabytes, of which every
 * byte may be made to be slow.  One thread, in order: a mail that takes long holds up others of its size, and nobody
 * else.
 *
 * What runs there is pure: it reads and writes what its argument holds, which nobody touches meanwhile, and an arena
 * of its own.
 */
#ifndef GATEWAY_ASIDE_H
#define GATEWAY_ASIDE_H

#include "loop.h"

struct aside;

struct aside_work {
    void (*run)(void *arg);  /* on the thread */
    void (*done)(void *arg); /* on the loop, once, in a later turn */
    void *arg;
    struct aside_work *next; /* aside's own */
};

struct aside *aside_new(struct loop *loop) NODISCARD;
/* Waits for what runs; what waits is not run, and nothing more is told. */
void aside_free(struct aside **a);

/* Keeps w until done.  Where the system has no thread for us, w runs at the end of this turn. */
void aside_submit(struct aside *a, struct aside_work *w);

#endif

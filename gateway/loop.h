/*
 * The one event loop of a process: timers, things to do at the end of the
 * turn, file descriptors, signals, and how long the longest turn took.
 *
 * A *turn* is one wake-up: every callback that was ready runs, then everything
 * that was put off with loop_defer, then the loop waits again.  One thread owns
 * the loop and everything on it; another thread talks to it through a file
 * descriptor (eventfd) that the loop watches.
 *
 * A normal case: op_send() stores cb, arg and calls loop_defer(loop, op_finish,
 * op); op_finish sets op->defer = NULL (a handle dies when its callback starts)
 * and calls cb.  A bad case: the owner goes away first; op_cancel() calls
 * loop_cancel(&op->defer), and op_finish never runs.
 */
#ifndef POSTERN_LOOP_H
#define POSTERN_LOOP_H

#include "postern/base.h"

struct event_base;
struct loop;
struct loop_task;  /* one thing to call once: a timer, or the end of this turn */
struct loop_watch; /* one file descriptor or signal */

/* Never NULL: without an event base there is no process to speak of. */
struct loop *loop_new(void) NODISCARD;
/* Tasks and watches that are left are dropped uncalled; their handles are then dead.  Accepts a pointer to NULL. */
void loop_free(struct loop **loop);

/* For bufferevents and listeners.  Their callbacks say loop_mark(), so that the turn's length is known. */
struct event_base *loop_base(struct loop *loop);

/* Turns until loop_stop(), or until nothing is left that could ever happen. */
void loop_run(struct loop *loop);
/* One turn; waits for something to happen when wait is set.  False when nothing is left or loop_stop() was called. */
bool loop_turn(struct loop *loop, bool wait);
/* loop_run() returns at the end of this turn, deferred tasks done. */
void loop_stop(struct loop *loop);

/* Call fn(arg) once after ms (0 and less: next turn).  The handle is dead when fn starts. */
struct loop_task *loop_after(struct loop *loop, int64_t ms, void (*fn)(void *arg), void *arg);

/*
 * Call fn(arg) once at the end of this turn, in the order of the calls.  What is deferred by
 * a deferred function runs at the end of the next turn, which does not wait.  Handle as above.
 */
struct loop_task *loop_defer(struct loop *loop, void (*fn)(void *arg), void *arg);

/* Not called after this.  Sets *task to NULL; accepts a pointer to NULL. */
void loop_cancel(struct loop_task **task);

enum loop_ready { LOOP_NONE = 0, LOOP_READ = 1, LOOP_WRITE = 2 }; /* bits */

/* Call fn whenever fd is ready (level-triggered) for a wanted bit.  fd stays the caller's: free first, close after. */
struct loop_watch *loop_watch_fd(struct loop *loop, int fd, unsigned want,
                                 void (*fn)(int fd, unsigned ready, void *arg), void *arg) NODISCARD;
/* Change what is wanted; LOOP_NONE pauses. */
void loop_watch_want(struct loop_watch *watch, unsigned want);
/* fn(signal number, LOOP_NONE, arg) in the loop, not in the signal. */
struct loop_watch *loop_watch_signal(struct loop *loop, int signo, void (*fn)(int signo, unsigned ready, void *arg),
                                     void *arg) NODISCARD;
/* May be called from its own callback.  Sets *watch to NULL; accepts a pointer to NULL. */
void loop_watch_free(struct loop_watch **watch);

/* The turn began at the latest now.  Tasks and watches call it themselves. */
void loop_mark(struct loop *loop);
/* The longest turn since this was last asked (the stall that every client felt), in ms rounded up. */
int64_t loop_take_longest_turn_ms(struct loop *loop);
/* The same in CPU time of this thread, whatever others run on the machine; too much by a millisecond at most. */
int64_t loop_take_costliest_turn_us(struct loop *loop);
uint64_t loop_turns(const struct loop *loop);

#endif

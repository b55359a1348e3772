/*
 * The event loop: a thin layer over libevent that adds what it lacks, a true
 * end of the turn and the length of a turn.  It knows nothing of what runs on it.
 *
 * The idea: libevent is run one turn at a time (EVLOOP_ONCE).  When it returns,
 * every ready callback has run, so the deferred tasks run then, and the clock
 * since the first callback of the turn is the time in which nobody was served.
 */
#include "loop.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>

#include "postern/clock.h"

#define CPU_LOOK_US 1000

struct loop_task {
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
    struct task_list *on; /* one of the loop's three */
    struct loop_task *prev, *next;
    struct event timer; /* in use on loop->timers only */
};

struct loop_watch {
    struct loop *loop;
    int fd; /* or the signal's number */
    unsigned want;
    void (*fn)(int fd, unsigned ready, void *arg);
    void *arg;
    struct loop_watch *prev, *next;
    struct event event;
};

struct task_list {
    struct loop_task *first, *last;
};

struct loop {
    struct event_base *base;
    struct task_list timers;
    struct task_list deferred; /* for the end of this turn */
    struct task_list ending;   /* those that run at the end of this turn, while they do */
    struct loop_watch *watches;
    bool stopped;
    int64_t turn_began_us; /* 0: no callback of this turn has run */
    int64_t longest_turn_us;
    int64_t costliest_turn_us;
    int64_t cpu_us, cpu_at_us; /* CPU time of this thread as last read, and when */
    uint64_t turns;
};

static void task_link(struct task_list *list, struct loop_task *t)
{
    t->on = list;
    t->prev = list->last;
    t->next = NULL;
    if (list->last)
        list->last->next = t;
    else
        list->first = t;
    list->last = t;
}

static void task_unlink(struct loop_task *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else
        t->on->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        t->on->last = t->prev;
}

static struct loop_task *task_pop(struct task_list *list)
{
    struct loop_task *t = list->first;
    if (!t)
        return NULL;
    list->first = t->next;
    if (list->first)
        list->first->prev = NULL;
    else
        list->last = NULL;
    return t;
}

/* Unlinked already. */
static void task_free(struct loop_task *t)
{
    if (t->on == &t->loop->timers)
        event_del(&t->timer);
    free(t);
}

/* The handle is dead before fn runs, so that fn may free whatever holds it. */
static void task_run(struct loop_task *t)
{
    void (*fn)(void *) = t->fn;
    void *arg = t->arg;
    loop_mark(t->loop);
    task_free(t);
    fn(arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    task_unlink(arg);
    task_run(arg);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct loop_watch *w = arg;
    unsigned ready = (what & EV_READ ? LOOP_READ : LOOP_NONE) | (what & EV_WRITE ? LOOP_WRITE : LOOP_NONE);
    loop_mark(w->loop);
    w->fn(fd, ready, w->arg);
}

/* Only those that are there now: what they defer belongs to the next turn. */
static void run_deferred(struct loop *loop)
{
    struct loop_task *t;
    while ((t = task_pop(&loop->deferred)))
        task_link(&loop->ending, t);
    while ((t = task_pop(&loop->ending)))
        task_run(t);
}

/*
 * The clock of CPU time is a system call, as much as a tenth of a short turn: it is read once in CPU_LOOK_US.  So what
 * a turn is said to have cost includes those just before it, of less than that together.
 */
static void look_at_cpu(struct loop *loop, int64_t now_us, int64_t took_us)
{
    if (now_us - loop->cpu_at_us < CPU_LOOK_US)
        return;
    int64_t cpu_us = clock_cpu_us(), cost_us = cpu_us - loop->cpu_us;
    if (cost_us > took_us)
        cost_us = took_us;
    if (cost_us > loop->costliest_turn_us)
        loop->costliest_turn_us = cost_us;
    loop->cpu_us = cpu_us;
    loop->cpu_at_us = now_us;
}

static void turn_ended(struct loop *loop)
{
    if (loop->turn_began_us == 0)
        return;
    int64_t now_us = clock_mono_us(), took_us = now_us - loop->turn_began_us;
    loop->turn_began_us = 0;
    loop->turns++;
    if (took_us > loop->longest_turn_us)
        loop->longest_turn_us = took_us;
    look_at_cpu(loop, now_us, took_us);
}

static struct loop_watch *watch_new(struct loop *loop, int fd, void (*fn)(int, unsigned, void *), void *arg)
{
    struct loop_watch *w = xcalloc(1, sizeof *w);
    *w = (struct loop_watch){.loop = loop, .fd = fd, .fn = fn, .arg = arg, .next = loop->watches};
    if (w->next)
        w->next->prev = w;
    loop->watches = w;
    return w;
}

struct loop *loop_new(void)
{
    struct event_config *config = event_config_new();
    ensure(config);
    /* Without PRECISE_TIMER a timer of 1 ms is up to 4 ms late; without NOLOCK each call takes a lock of ours alone. */
    event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER | EVENT_BASE_FLAG_NOLOCK);
    struct loop *loop = xcalloc(1, sizeof *loop);
    loop->base = event_base_new_with_config(config);
    event_config_free(config);
    ensure(loop->base);
    return loop;
}

void loop_free(struct loop **loop)
{
    if (!*loop)
        return;
    struct loop_task *t;
    while ((t = task_pop(&(*loop)->timers)) || (t = task_pop(&(*loop)->deferred)) || (t = task_pop(&(*loop)->ending)))
        task_free(t);
    for (struct loop_watch *w = (*loop)->watches, *next; w; w = next) {
        next = w->next;
        event_del(&w->event);
        free(w);
    }
    event_base_free((*loop)->base);
    free(*loop);
    *loop = NULL;
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

bool loop_turn(struct loop *loop, bool wait)
{
    if (loop->stopped)
        return false;
    bool work = loop->deferred.first != NULL;
    ensure(event_base_loop(loop->base, wait && !work ? EVLOOP_ONCE : EVLOOP_NONBLOCK) != -1);
    run_deferred(loop);
    turn_ended(loop);
    unsigned left = EVENT_BASE_COUNT_ADDED | EVENT_BASE_COUNT_ACTIVE;
    return !loop->stopped && (loop->deferred.first || event_base_get_num_events(loop->base, left) > 0);
}

void loop_run(struct loop *loop)
{
    while (loop_turn(loop, true))
        ;
    loop->stopped = false;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

struct loop_task *loop_after(struct loop *loop, int64_t ms, void (*fn)(void *arg), void *arg)
{
    if (ms < 0)
        ms = 0;
    struct loop_task *t = xcalloc(1, sizeof *t);
    t->loop = loop;
    t->fn = fn;
    t->arg = arg;
    task_link(&loop->timers, t);
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    evtimer_assign(&t->timer, loop->base, on_timer, t);
    ensure(evtimer_add(&t->timer, &tv) == 0);
    return t;
}

struct loop_task *loop_defer(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    struct loop_task *t = xcalloc(1, sizeof *t);
    t->loop = loop;
    t->fn = fn;
    t->arg = arg;
    task_link(&loop->deferred, t);
    return t;
}

void loop_cancel(struct loop_task **task)
{
    if (*task) {
        task_unlink(*task);
        task_free(*task);
    }
    *task = NULL;
}

struct loop_watch *loop_watch_fd(struct loop *loop, int fd, unsigned want,
                                 void (*fn)(int fd, unsigned ready, void *arg), void *arg)
{
    struct loop_watch *w = watch_new(loop, fd, fn, arg);
    event_assign(&w->event, loop->base, fd, EV_PERSIST, on_ready, w);
    loop_watch_want(w, want);
    return w;
}

void loop_watch_want(struct loop_watch *watch, unsigned want)
{
    if (watch->want == want)
        return;
    event_del(&watch->event);
    watch->want = want;
    if (want == LOOP_NONE)
        return;
    short what = (short)(EV_PERSIST | (want & LOOP_READ ? EV_READ : 0) | (want & LOOP_WRITE ? EV_WRITE : 0));
    event_assign(&watch->event, watch->loop->base, watch->fd, what, on_ready, watch);
    ensure(event_add(&watch->event, NULL) == 0);
}

struct loop_watch *loop_watch_signal(struct loop *loop, int signo, void (*fn)(int signo, unsigned ready, void *arg),
                                     void *arg)
{
    struct loop_watch *w = watch_new(loop, signo, fn, arg);
    evsignal_assign(&w->event, loop->base, signo, on_ready, w);
    ensure(evsignal_add(&w->event, NULL) == 0);
    return w;
}

void loop_watch_free(struct loop_watch **watch)
{
    struct loop_watch *w = *watch;
    if (!w)
        return;
    event_del(&w->event);
    if (w->prev)
        w->prev->next = w->next;
    else
        w->loop->watches = w->next;
    if (w->next)
        w->next->prev = w->prev;
    free(w);
    *watch = NULL;
}

void loop_mark(struct loop *loop)
{
    if (loop->turn_began_us == 0)
        loop->turn_began_us = clock_mono_us();
}

int64_t loop_take_longest_turn_ms(struct loop *loop)
{
    int64_t us = loop->longest_turn_us;
    loop->longest_turn_us = 0;
    return (us + 999) / 1000;
}

int64_t loop_take_costliest_turn_us(struct loop *loop)
{
    int64_t us = loop->costliest_turn_us;
    loop->costliest_turn_us = 0;
    return us;
}

uint64_t loop_turns(const struct loop *loop)
{
    return loop->turns;
}

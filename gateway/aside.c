/*
 * One thread beside the loop, from the first piece of work on.  Knows nothing of what the work is.  The idea: two lists
 * under one lock, what waits and what is done, and an eventfd that wakes the loop.
 */
#include "aside.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct work_list {
    struct aside_work *first, *last;
};

struct aside {
    struct loop *loop;
    bool runs; /* there is a thread, and all that is below */
    int fd;
    struct loop_watch *watch;
    pthread_t thread;
    pthread_cond_t wake;
    pthread_mutex_t lock;
    struct work_list waiting, done; /* under the lock, as is: */
    bool closing;
};

static void append(struct work_list *list, struct aside_work *w)
{
    w->next = NULL;
    if (list->last != NULL)
        list->last->next = w;
    else
        list->first = w;
    list->last = w;
}

static struct aside_work *take_first(struct work_list *list)
{
    struct aside_work *w = list->first;
    if (w == NULL)
        return NULL;
    list->first = w->next;
    if (list->first == NULL)
        list->last = NULL;
    return w;
}

/* --- the thread ------------------------------------------------------------------------ */

static void *thread_main(void *arg)
{
    struct aside *a = arg;
    const uint64_t one = 1;

    pthread_mutex_lock(&a->lock);
    while (!a->closing) {
        struct aside_work *w = take_first(&a->waiting);
        if (w == NULL) {
            pthread_cond_wait(&a->wake, &a->lock);
            continue;
        }
        pthread_mutex_unlock(&a->lock);
        w->run(w->arg);
        pthread_mutex_lock(&a->lock);
        append(&a->done, w);
        ensure(write(a->fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* --- the loop ---------------------------------------------------------------------------- */

static struct aside_work *take_done(struct aside *a)
{
    pthread_mutex_lock(&a->lock);
    struct aside_work *w = take_first(&a->done);
    pthread_mutex_unlock(&a->lock);
    return w;
}

/* One in a turn: what follows on one submission is work as well. */
static void on_done(int fd, unsigned ready, void *arg)
{
    struct aside *a = arg;
    uint64_t n;

    (void)ready;
    ensure(read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n));
    struct aside_work *w = take_done(a);
    if (w != NULL)
        w->done(w->arg);
}

/* Signals are the loop's. */
static bool start_thread(struct aside *a)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&a->thread, NULL, thread_main, a);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0;
}

static bool start(struct aside *a)
{
    /* A semaphore: as many turns as there is work that is done. */
    a->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    if (a->fd == -1)
        return false;
    if (!start_thread(a)) {
        close(a->fd);
        return false;
    }
    a->watch = loop_watch_fd(a->loop, a->fd, LOOP_READ, on_done, a);
    return true;
}

static void run_here(void *arg)
{
    struct aside_work *w = arg;

    w->run(w->arg);
    w->done(w->arg);
}

void aside_submit(struct aside *a, struct aside_work *w)
{
    a->runs = a->runs || start(a);
    if (!a->runs) {
        (void)loop_defer(a->loop, run_here, w);
        return;
    }
    pthread_mutex_lock(&a->lock);
    append(&a->waiting, w);
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

struct aside *aside_new(struct loop *loop)
{
    struct aside *a = xcalloc(1, sizeof(*a));

    a->loop = loop;
    ensure(pthread_mutex_init(&a->lock, NULL) == 0 && pthread_cond_init(&a->wake, NULL) == 0);
    return a;
}

void aside_free(struct aside **ap)
{
    struct aside *a = take(ap);

    if (a == NULL)
        return;
    if (a->runs) {
        pthread_mutex_lock(&a->lock);
        a->closing = true;
        pthread_cond_signal(&a->wake);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
        loop_watch_free(&a->watch);
        close(a->fd);
    }
    pthread_cond_destroy(&a->wake);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/*
 * The log of sends on its way to Redis.  A thread reads, because a million rows take
 * longer than a turn may; it knows the store and no Redis.  The one idea: a single
 * place between thread and loop; who comes first waits.
 */
#include "counters_load.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loop.h"

struct counters_load {
    struct counters_load_options options;
    struct loop_watch *watch;
    pthread_t thread;
    int fd;

    /* both, under lock: */
    pthread_mutex_t lock;
    pthread_cond_t taken;
    bool full; /* chunk waits for the loop */
    bool cancelled, ended;
    enum err err;
    struct counters_load_chunk chunk;

    /* the thread's: */
    struct counters_load_chunk filling;
};

static void wake(struct counters_load *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->fd, &one, sizeof(one));
    ensure(n == (ssize_t)sizeof(one) || errno == EAGAIN);
}

/* The thread hands over what it has; true when it shall go on. */
static bool hand_over(struct counters_load *l)
{
    pthread_mutex_lock(&l->lock);
    while (l->full && !l->cancelled)
        pthread_cond_wait(&l->taken, &l->lock);
    bool go_on = !l->cancelled;
    if (go_on && l->filling.n > 0) {
        l->chunk = l->filling;
        l->full = true;
        wake(l);
    }
    l->filling.n = 0;
    pthread_mutex_unlock(&l->lock);
    return go_on;
}

static bool is_cancelled(struct counters_load *l)
{
    pthread_mutex_lock(&l->lock);
    bool cancelled = l->cancelled;
    pthread_mutex_unlock(&l->lock);
    return cancelled;
}

static void on_send(const struct store_send *s, void *arg)
{
    struct counters_load *l = arg;
    struct counters_load_chunk *c = &l->filling;
    struct counters_send send = {
        .store = l->options.identity,
        .decision = s->decision,
        .at_ms = s->at_ms != 0 ? s->at_ms : l->options.now_ms,
        .class = s->class,
        .channel = s->channel,
        .counts = s->counts_in_any_only ? COUNTS_IN_ANY : COUNTS_EVERYWHERE,
        .category_id = slice_id(s->category),
        .subject_id = s->subject_id,
    };

    if ((s->at_ms == 0 && !l->options.with_intents) || (c->n == 0 && is_cancelled(l)))
        return;
    c->contact[c->n] = s->contact_hash;
    counters_entry_pack(&c->entry[c->n], &send);
    if (++c->n == COUNTERS_LOAD_ROWS)
        ignore(hand_over(l)); /* when it is cancelled, the rest is passed over */
}

static void *thread_main(void *arg)
{
    struct counters_load *l = arg;
    enum err err = store_sends(l->options.store, l->options.since_ms, on_send, l);

    if (!hand_over(l))
        err = ERR_UNAVAILABLE;
    pthread_mutex_lock(&l->lock);
    l->ended = true;
    l->err = err;
    pthread_mutex_unlock(&l->lock);
    wake(l);
    return NULL;
}

static void on_ready(int fd, unsigned ready, void *arg)
{
    struct counters_load *l = arg;
    uint64_t n;

    (void)ready;
    if (read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n))
        l->options.ready(l->options.arg); /* may free l */
}

struct counters_load *counters_load_new(struct loop *loop, const struct counters_load_options *o)
{
    struct counters_load *l = xcalloc(1, sizeof(*l));

    l->options = *o;
    l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ensure(l->fd != -1);
    ensure(pthread_mutex_init(&l->lock, NULL) == 0 && pthread_cond_init(&l->taken, NULL) == 0);
    l->watch = loop_watch_fd(loop, l->fd, LOOP_READ, on_ready, l);
    ensure(pthread_create(&l->thread, NULL, thread_main, l) == 0);
    return l;
}

const struct counters_load_chunk *counters_load_chunk(struct counters_load *l)
{
    pthread_mutex_lock(&l->lock);
    bool full = l->full && !l->cancelled;
    pthread_mutex_unlock(&l->lock);
    return full ? &l->chunk : NULL; /* the thread leaves it alone until it is taken */
}

void counters_load_next(struct counters_load *l)
{
    pthread_mutex_lock(&l->lock);
    l->full = false;
    pthread_cond_signal(&l->taken);
    pthread_mutex_unlock(&l->lock);
}

bool counters_load_ended(struct counters_load *l, enum err *err)
{
    pthread_mutex_lock(&l->lock);
    bool ended = l->ended && (!l->full || l->cancelled);
    *err = l->cancelled ? ERR_UNAVAILABLE : l->err; /* all may have been read, but the last chunk was not used */
    pthread_mutex_unlock(&l->lock);
    return ended;
}

void counters_load_cancel(struct counters_load *l)
{
    pthread_mutex_lock(&l->lock);
    l->cancelled = true;
    pthread_cond_signal(&l->taken);
    pthread_mutex_unlock(&l->lock);
}

void counters_load_free(struct counters_load **lp)
{
    struct counters_load *l = take(lp);

    if (l == NULL)
        return;
    counters_load_cancel(l);
    pthread_join(l->thread, NULL);
    loop_watch_free(&l->watch);
    pthread_cond_destroy(&l->taken);
    pthread_mutex_destroy(&l->lock);
    close(l->fd);
    free(l);
}

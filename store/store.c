/*
 * The store's thread: requests in, completions out, one transaction for all that
 * wait.  Knows no SQL and no backend beyond store_ops.h.  The one idea: while a
 * commit runs the next batch gathers, so its size follows the load by itself and
 * no timer is needed.
 */
#include "postern/store.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "postern/clock.h"
#include "postern/hash.h"
#include "postern/log.h"
#include "store/store_ops.h"

#define RECHECK_MS 200  /* how often free space is looked at while the disk is full */
#define IDLE_MS    1000 /* and while it is not and nothing is asked, so that readiness is true without traffic */
#define LOOK_MS    100  /* and at most, with traffic */

static const struct store_ops *const backends[] = {&sqlite_ops};

struct request_list {
    struct store_request *head, *tail;
};

struct store {
    const struct store_ops *ops;
    struct backend *backend;
    bool shared; /* with other processes */
    int fd;      /* eventfd: done is not empty */
    _Atomic int64_t reserve_bytes;

    /* the loop thread's: */
    uint64_t next_decision;
    bool corked;
    bool asked_urgent;         /* one of asked may not linger */
    struct request_list asked; /* of this turn; the queue's at the next flush */
    size_t outstanding;

    /* the store thread's: */
    bool write_failed_full; /* a write said so, whatever statvfs says */
    int64_t looked_mono_ms;

    /* written by the store thread, read by both: */
    _Atomic(enum store_health) health;
    struct errmsg failed_why; /* set once, before health becomes STORE_FAILED */

    /* both, under lock: */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool has_thread;
    pthread_t thread;
    struct request_list queue, done;
    const struct store_request *running; /* first of the batch in work, or NULL */
    bool closing;
    struct store_counters counters;
    struct store_queue_depth depth;
};

/* All of tail's follow l's; tail is empty afterwards. */
static void list_append(struct request_list *l, struct request_list *tail)
{
    if (l->tail == NULL)
        *l = *tail;
    else if (tail->head != NULL) {
        l->tail->next = tail->head;
        l->tail = tail->tail;
    }
    *tail = (struct request_list){0};
}

static void list_add(struct request_list *l, struct store_request *r)
{
    r->next = NULL;
    if (l->tail == NULL)
        l->head = r;
    else
        l->tail->next = r;
    l->tail = r;
}

/* --- the store thread ---------------------------------------------------------- */

static bool kind_writes(enum store_request_kind kind)
{
    switch (kind) {
    case STORE_PROFILE_GET:
    case STORE_CONTACT_GET:
    case STORE_DEFERRED_LIST:
    case STORE_DECISION_GET:
    case STORE_SANDBOX_LIST:
        return false;
    case STORE_RECORD:
    case STORE_RESULT:
    case STORE_CONTACT_PUT:
    case STORE_CONSENT_ADD:
    case STORE_OPT_OUT_ADD:
    case STORE_DEFERRED_CLAIM:
    case STORE_DEFERRED_CHANGE:
    case STORE_DEFERRED_RETIME:
    case STORE_AUDIT_NOTE:
    case STORE_IDEMPOTENCY_CLAIM:
    case STORE_IDEMPOTENCY_SWEEP:
        return true;
    case STORE_REQUEST_N:
        break;
    }
    never("a kind of request");
}

static bool batch_writes(const struct store_request *first)
{
    for (const struct store_request *r = first; r != NULL; r = r->next) {
        if (kind_writes(r->kind))
            return true;
    }
    return false;
}

static enum err dispatch(struct store *s, struct store_request *r)
{
    switch (r->kind) {
#define X(id, name)                                                                                                    \
    case STORE_##id:                                                                                                   \
        return s->ops->name(s->backend, (struct store_##name *)(void *)r);
        STORE_REQUESTS(X)
#undef X
    case STORE_REQUEST_N:
        break;
    }
    never("a kind of request");
}

static bool is_failed(struct store *s)
{
    return atomic_load(&s->health) == STORE_FAILED;
}

/* Refused without asking the backend.  On a full disk only what brings new work in: results and opt-outs may try. */
static bool is_refused(struct store *s, const struct store_request *r)
{
    switch (atomic_load(&s->health)) {
    case STORE_OK:
        return false;
    case STORE_FULL:
        return r->kind == STORE_RECORD || r->kind == STORE_IDEMPOTENCY_CLAIM;
    case STORE_FAILED:
        return kind_writes(r->kind);
    }
    never("a state of health");
}

/* ERR_UNAVAILABLE: a fault; the transaction cannot go on. */
static enum err run_one(struct store *s, struct store_request *r)
{
    bool guarded = s->ops->may_fail(r);
    if (guarded && s->ops->mark(s->backend) != OK)
        return ERR_UNAVAILABLE;
    enum err status = dispatch(s, r);
    if (!guarded || status == ERR_UNAVAILABLE)
        return status;
    enum err closed = status == OK ? s->ops->keep(s->backend) : s->ops->undo(s->backend);
    return closed == OK ? status : ERR_UNAVAILABLE;
}

/* After a fault nobody of the batch is told OK, and what the fault means for later batches is settled here. */
static void take_fault(struct store *s, bool writes)
{
    struct errmsg why;
    switch (s->ops->fault(s->backend, &why)) {
    case FAULT_NONE:
    case FAULT_BUSY:
        return;
    case FAULT_FULL:
        s->write_failed_full = true;
        if (!is_failed(s))
            atomic_store(&s->health, STORE_FULL);
        return;
    case FAULT_FATAL:
        if (!writes || is_failed(s))
            return; /* a read that failed has harmed nothing */
        s->failed_why = why;
        log_line(LOG_ERROR_, NULL, "store", "failed", "why=%s then=\"nothing is written until the next start\"",
                 LOG_Q(slice_of(why.text)));
        s->ops->stop_writing(s->backend);
        atomic_store(&s->health, STORE_FAILED);
        return;
    }
}

static bool run_transaction(struct store *s, struct store_request *first, bool writes)
{
    if (s->ops->begin(s->backend, writes) != OK)
        return false;
    for (struct store_request *r = first; r != NULL; r = r->next) {
        bool refused = is_refused(s, r);
        r->status = refused ? ERR_UNAVAILABLE : run_one(s, r);
        if (r->status == ERR_UNAVAILABLE && !refused)
            return false;
    }
    return s->ops->commit(s->backend) == OK;
}

static void run_batch(struct store *s, struct store_request *first)
{
    bool writes = batch_writes(first) && !is_failed(s);
    if (run_transaction(s, first, writes))
        return;
    s->ops->rollback(s->backend);
    take_fault(s, writes);
    for (struct store_request *r = first; r != NULL; r = r->next)
        r->status = ERR_UNAVAILABLE;
}

/* STORE_FULL comes and goes with the free space; STORE_FAILED stays. */
static void look_at_disk(struct store *s)
{
    enum store_health health = atomic_load(&s->health);
    int64_t now = clock_mono_ms();
    if (health == STORE_FAILED || (health == STORE_OK && s->looked_mono_ms != 0 && now - s->looked_mono_ms < LOOK_MS))
        return;
    s->looked_mono_ms = now;
    bool low = s->ops->free_bytes(s->backend) < s->reserve_bytes;
    /* With space again, the next write tells whether the disk takes it. */
    if (!low)
        s->write_failed_full = false;
    atomic_store(&s->health, low || s->write_failed_full ? STORE_FULL : STORE_OK);
}

static void count_batch(struct store *s, const struct store_request *first, int64_t took_us)
{
    struct store_figures f = s->ops->figures(s->backend);
    s->depth = f.depth;
    s->counters.rows = f.audit_rows;
    s->counters.commits++;
    s->counters.commit_us_total += took_us;
    if (took_us > s->counters.commit_us_max)
        s->counters.commit_us_max = took_us;
    for (const struct store_request *r = first; r != NULL; r = r->next) {
        s->counters.requests++;
        if (r->status != OK)
            s->counters.failed++;
    }
}

static void wake_loop(struct store *s)
{
    uint64_t one = 1;
    ssize_t n;
    do
        n = write(s->fd, &one, sizeof one);
    while (n == -1 && errno == EINTR);
    /* EAGAIN: the counter is at its maximum, so the fd is readable as it should be. */
    ensure(n == (ssize_t)sizeof one || errno == EAGAIN);
}

static void deliver(struct store *s, struct request_list batch, int64_t took_us)
{
    pthread_mutex_lock(&s->lock);
    count_batch(s, batch.head, took_us);
    bool was_empty = s->done.head == NULL;
    list_append(&s->done, &batch);
    s->running = NULL;
    pthread_mutex_unlock(&s->lock);
    if (was_empty)
        wake_loop(s);
}

/* What others have committed meanwhile shows here too, without traffic.  Called and returns with the lock. */
static void look_at_others(struct store *s)
{
    pthread_mutex_unlock(&s->lock);
    if (s->ops->begin(s->backend, false) != OK || s->ops->commit(s->backend) != OK) {
        s->ops->rollback(s->backend);
        take_fault(s, false);
    }
    struct store_figures f = s->ops->figures(s->backend);
    pthread_mutex_lock(&s->lock);
    s->depth = f.depth;
    s->counters.rows = f.audit_rows;
}

/* Waits for requests; false when the store closes and nothing is left. */
static bool take_batch(struct store *s, struct request_list *out)
{
    pthread_mutex_lock(&s->lock);
    while (s->queue.head == NULL && !s->closing) {
        int64_t until = clock_mono_ms() + (atomic_load(&s->health) == STORE_FULL ? RECHECK_MS : IDLE_MS);
        struct timespec ts = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
        if (pthread_cond_timedwait(&s->wake, &s->lock, &ts) != ETIMEDOUT)
            continue;
        look_at_disk(s);
        if (s->shared)
            look_at_others(s);
    }
    *out = s->queue;
    s->queue = (struct request_list){0};
    s->running = out->head;
    pthread_mutex_unlock(&s->lock);
    return out->head != NULL;
}

static void *thread_main(void *arg)
{
    struct store *s = arg;
    struct request_list batch;
    while (take_batch(s, &batch)) {
        look_at_disk(s);
        int64_t start = clock_mono_us();
        run_batch(s, batch.head);
        deliver(s, batch, clock_mono_us() - start);
        if (!is_failed(s) && s->ops->tend(s->backend) != OK)
            take_fault(s, true);
    }
    return NULL;
}

/* --- the loop thread ----------------------------------------------------------- */

/* NULL with the reason in e. */
static const struct store_ops *ops_of(const char *url_text, struct slice *where, struct errmsg *e)
{
    struct slice url = slice_of(url_text);
    for (size_t i = 0; i < N_ELEMENTS(backends); i++) {
        size_t n = strlen(backends[i]->scheme);
        *where = (struct slice){url.p + n, url.n - n};
        if (slice_starts(url, backends[i]->scheme))
            return backends[i];
    }
    errmsg_set(e, "store \"%s\": unknown kind; this posternd knows sqlite:FILE", url.n == 0 ? "" : url_text);
    return NULL;
}

int store_lock(const char *url, struct errmsg *e)
{
    struct slice where;
    const struct store_ops *ops = ops_of(url, &where, e);
    return ops == NULL ? -1 : ops->lock(where, e);
}

void store_derive_key(const struct store *s, const char *purpose, struct digest *out)
{
    struct slice part = slice_of(purpose);
    *out = hash_hmac_sha256(s->ops->secret(s->backend), &part, 1);
}

static struct backend *backend_open(struct store *s, const struct store_options *o, struct errmsg *e)
{
    struct slice where;
    s->ops = ops_of(o->url, &where, e);
    return s->ops == NULL ? NULL : s->ops->open(o, where, &s->next_decision, e);
}

static void start_thread(struct store *s)
{
    pthread_condattr_t attr;
    ensure(pthread_condattr_init(&attr) == 0);
    ensure(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    ensure(pthread_cond_init(&s->wake, &attr) == 0);
    pthread_condattr_destroy(&attr);
    ensure(pthread_create(&s->thread, NULL, thread_main, s) == 0);
    s->has_thread = true;
}

struct store *store_open(const struct store_options *o, struct errmsg *e)
{
    struct store *s = xcalloc(1, sizeof *s);
    s->fd = -1;
    s->shared = o->sharing == STORE_SHARED;
    s->reserve_bytes = o->reserve_bytes;
    ensure(pthread_mutex_init(&s->lock, NULL) == 0);
    s->backend = backend_open(s, o, e);
    if (s->backend == NULL)
        goto fail;
    s->depth = s->ops->figures(s->backend).depth;
    s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->fd == -1) {
        errmsg_set(e, "store: no eventfd: %s", strerror(errno));
        goto fail;
    }
    if (!o->read_only) {
        look_at_disk(s);
        start_thread(s);
    }
    return s;
fail:
    store_close(&s);
    return NULL;
}

static void join_thread(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    s->has_thread = false;
    pthread_cond_destroy(&s->wake);
}

void store_set_reserve(struct store *s, int64_t bytes)
{
    s->reserve_bytes = bytes;
}

/* A commit of results alone costs what one with decisions costs, and they come along for a tenth. */
static int64_t linger_ms(const struct store *s)
{
    int64_t left_ms = s->asked.head->submitted_mono_ms + STORE_LINGER_MS - clock_mono_ms();
    return s->asked_urgent || left_ms <= 0 ? 0 : left_ms;
}

static void hand_over(struct store *s)
{
    s->asked_urgent = false;
    pthread_mutex_lock(&s->lock);
    bool was_empty = s->queue.head == NULL;
    list_append(&s->queue, &s->asked);
    pthread_mutex_unlock(&s->lock);
    if (was_empty)
        pthread_cond_signal(&s->wake);
}

void store_finish(struct store *s)
{
    if (s->asked.head != NULL)
        hand_over(s);
    join_thread(s);
}

void store_close(struct store **sp)
{
    struct store *s = *sp;
    if (s == NULL)
        return;
    if (s->has_thread) {
        store_finish(s);
        while (s->outstanding > 0) /* a callback may submit: it is told ERR_UNAVAILABLE */
            store_poll(s);
    }
    if (s->backend != NULL)
        s->ops->close(&s->backend);
    if (s->fd != -1)
        close(s->fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *sp = NULL;
}

enum store_health store_health(const struct store *s, const char **why)
{
    enum store_health health = atomic_load(&s->health);
    if (why == NULL)
        return health;
    switch (health) {
    case STORE_OK:
        *why = "";
        break;
    case STORE_FULL:
        *why = "the disk of the store is full: less than the reserve is free";
        break;
    case STORE_FAILED:
        *why = s->failed_why.text;
        break;
    }
    return health;
}

int store_fd(const struct store *s)
{
    return s->fd;
}

void store_cork(struct store *s)
{
    s->corked = true;
}

int64_t store_flush(struct store *s)
{
    if (s->asked.head == NULL)
        return 0;
    int64_t left_ms = linger_ms(s);
    if (left_ms == 0)
        hand_over(s);
    return left_ms;
}

void store_submit(struct store *s, struct store_request *r)
{
    r->submitted_mono_ms = clock_mono_ms();
    r->status = OK;
    s->outstanding++;
    if (s->has_thread && !s->closing) { /* both are set by this thread */
        list_add(&s->asked, r);
        s->asked_urgent |= !r->may_linger;
        if (!s->corked)
            hand_over(s);
        return;
    }
    r->status = ERR_UNAVAILABLE;
    pthread_mutex_lock(&s->lock);
    list_add(&s->done, r);
    pthread_mutex_unlock(&s->lock);
    wake_loop(s);
}

void store_poll(struct store *s)
{
    uint64_t ignored_count;
    ssize_t n = read(s->fd, &ignored_count, sizeof ignored_count);
    ensure(n == (ssize_t)sizeof ignored_count || errno == EAGAIN || errno == EINTR);
    pthread_mutex_lock(&s->lock);
    struct store_request *r = s->done.head;
    s->done = (struct request_list){0};
    pthread_mutex_unlock(&s->lock);
    while (r != NULL) {
        struct store_request *next = r->next; /* cb may free r */
        s->outstanding--;
        r->cb(r->status, r->arg);
        r = next;
    }
}

size_t store_backlog(const struct store *cs, int64_t *oldest_ms)
{
    struct store *s = (struct store *)cs; /* the lock is not part of what const promises */
    pthread_mutex_lock(&s->lock);
    size_t n = s->outstanding;
    const struct store_request *oldest = s->done.head != NULL    ? s->done.head
                                         : s->running != NULL    ? s->running
                                         : s->queue.head != NULL ? s->queue.head
                                                                 : s->asked.head;
    int64_t since = oldest == NULL ? 0 : oldest->submitted_mono_ms;
    pthread_mutex_unlock(&s->lock);
    if (oldest_ms != NULL)
        *oldest_ms = since == 0 ? 0 : clock_mono_ms() - since;
    return n;
}

struct store_counters store_counters(const struct store *cs)
{
    struct store *s = (struct store *)cs;
    pthread_mutex_lock(&s->lock);
    struct store_counters c = s->counters;
    pthread_mutex_unlock(&s->lock);
    return c;
}

struct store_queue_depth store_queue_depth(const struct store *cs)
{
    struct store *s = (struct store *)cs;
    pthread_mutex_lock(&s->lock);
    struct store_queue_depth d = s->depth;
    pthread_mutex_unlock(&s->lock);
    return d;
}

uint64_t store_decision_id(struct store *s)
{
    return s->next_decision++;
}

enum err store_sends(struct store *s, int64_t since_ms, void (*each)(const struct store_send *, void *arg), void *arg)
{
    return s->ops->sends(s->backend, since_ms, each, arg);
}

enum err store_identity(struct store *s, uint64_t *out)
{
    return s->ops->identity(s->backend, out);
}

enum err store_history(struct store *s, int64_t since_ms, store_history_cb *each, void *arg)
{
    return s->ops->history(s->backend, since_ms, each, arg);
}

enum err store_profile_at(struct store *s, struct store_profile_at *r)
{
    ensure(!s->has_thread);
    return s->ops->profile_at(s->backend, r);
}

enum err store_audit_verify(struct store *s, void (*progress)(uint64_t rows, uint64_t total, void *arg), void *arg,
                            struct audit_verdict *out)
{
    return s->ops->verify(s->backend, progress, arg, out);
}

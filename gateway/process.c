/*
 * What the process settles with the kernel.  Knows nothing of messages.  The one
 * idea: what would hurt at a bad moment (a hang-up, a core full of secrets, no
 * descriptor left for the store) is ruled out at the start.
 */
#include "process.h"

#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "conf.h"
#include "postern/limits.h"
#include "postern/log.h"

#define FDS_OF_OURS         64u /* store, log, loop, name look-ups, callbacks */
#define CONCURRENCY_ASSUMED 64u /* of a provider that configures none: upstream_pace.c */

#define HEAP_KEPT_BYTES        (64 << 20)
#define HEAP_STEP_BYTES        (1 << 20)
#define HEAP_OWN_MAPPING_BYTES (256 << 10)

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED __has_feature(address_sanitizer)
#else
#define SANITIZED 0
#endif

/* A piped core_pattern ignores the limit, so the process is made not dumpable as well. */
static void forbid_cores(void)
{
    struct rlimit none = {0, 0};
    ignore(setrlimit(RLIMIT_CORE, &none)); /* lowering cannot be refused */
#if !SANITIZED /* LeakSanitizer looks at the process as a debugger would, which this forbids */
    ignore(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
#endif
}

/* The soft limit is low for programs that use select(); nothing here does. */
static void raise_descriptors(void)
{
    struct rlimit fds;
    if (getrlimit(RLIMIT_NOFILE, &fds) == 0 && fds.rlim_cur < fds.rlim_max) {
        fds.rlim_cur = fds.rlim_max;
        ignore(setrlimit(RLIMIT_NOFILE, &fds)); /* then it stays, and process_connections() goes by it */
    }
}

/*
 * One heap for both threads, and what was freed stays: the store's thread would otherwise give pages back and fault
 * them in again with each batch.  Large bodies keep their own mappings, which growing moves instead of copying.
 */
static void keep_heap(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, HEAP_KEPT_BYTES);
    mallopt(M_TOP_PAD, HEAP_STEP_BYTES);
    mallopt(M_MMAP_THRESHOLD, HEAP_OWN_MAPPING_BYTES);
}

void process_set_up(bool with_cores)
{
    keep_heap();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN); /* until the loop runs, which reloads at it: a closed terminal is no reason to stop */
    if (!with_cores)
        forbid_cores();
    raise_descriptors();
}

/* Each port has a right to as much as it wants, up to an eighth of what there is. */
uint32_t process_smtp_connections(const struct conf *c)
{
    uint32_t wanted = c->smtp_max_connections != 0 ? c->smtp_max_connections : LIMIT_SMTP_CONNECTIONS;
    struct rlimit fds;

    if (getrlimit(RLIMIT_NOFILE, &fds) == -1 || fds.rlim_cur == RLIM_INFINITY || fds.rlim_cur / 8 >= wanted)
        return wanted;
    return (uint32_t)(fds.rlim_cur / 8);
}

size_t process_connections(const struct conf *c)
{
    size_t wanted = c->max_connections != 0 ? c->max_connections : LIMIT_HTTP_CONNECTIONS;
    size_t reserve = FDS_OF_OURS;
    struct rlimit fds;

    if (getrlimit(RLIMIT_NOFILE, &fds) == -1 || fds.rlim_cur == RLIM_INFINITY)
        return wanted;
    for (size_t i = 0; i < c->n_providers; i++)
        reserve += c->providers[i].max_concurrency != 0 ? c->providers[i].max_concurrency : CONCURRENCY_ASSUMED;
    reserve += c->listen_smtp != NULL ? process_smtp_connections(c) : 0;
    reserve += c->listen_smtps != NULL ? process_smtp_connections(c) : 0;
    size_t all = (size_t)fds.rlim_cur;
    size_t left = all - (reserve < all / 2 ? reserve : all / 2);
    /* Those above the cap that still hear 503 hold descriptors too; the listener hears at most as many as the cap. */
    left = left > (size_t)2 * LIMIT_HTTP_REFUSED_CONNECTIONS ? left - LIMIT_HTTP_REFUSED_CONNECTIONS : left / 2;
    left = left > 1 ? left : 1;
    if (left >= wanted)
        return wanted;
    log_line(LOG_WARN, NULL, "process", "connections_lowered", "from=%zu to=%zu why=\"open files are limited to %zu\"",
             wanted, left, all);
    return left;
}

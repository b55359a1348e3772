/*
 * What the files of the parent share: what it knows of each worker, and of what all of them are being told.
 * workers.c: the loop.  workers_life.c: birth and death.  workers_tell.c: changes that all apply.
 * workers_reload.c: another configuration for all or none.
 */
#ifndef GATEWAY_WORKERS_PARTS_H
#define GATEWAY_WORKERS_PARTS_H

#include <signal.h>

#include "bus.h"
#include "bus_pipe.h"
#include "gateway.h"

#define WORKERS_START_MS 60000 /* to open a large store and read the log of sends */

struct worker {
    uint32_t n;
    int fd[LISTENER_N];    /* its queues of connections, whoever accepts from them; -1: none, or draining */
    pid_t pid;             /* 0: none runs */
    struct bus_pipe *pipe; /* NULL: none runs */
    bool ready;
    const char *killed;   /* why we ended it, or NULL */
    int64_t lost_mono_ms; /* when it closed its end; it is about to exit; 0: it did not */
    int64_t started_mono_ms, heard_mono_ms;
    int64_t ping_mono_ms;    /* when the last ping was sent: its lease ends BUS_LEASE_MS after that at the latest */
    bool ping_open;          /* not answered yet; until then there is no other, so that the silent get no new lease */
    bool fenced;             /* told once that it holds up nobody any more */
    int64_t restart_mono_ms; /* none runs: when the next one starts */
    int64_t wait_ms;         /* before that; doubles */
    int64_t stuck_ms;        /* how long its store had not answered, by its last word */
};

/* Something that all workers but its origin are to apply before the origin hears that it is in force. */
struct change {
    struct change *next;
    uint64_t id;
    struct worker *origin; /* NULL: it died, or nobody asked */
    uint64_t origin_id;
    uint64_t awaited; /* bit set of workers */
};

/*
 * All workers change to a configuration or none: the parent reads the file once and compiles it, then each worker
 * does, and when all are ready they are told to put it in force.  Who starts meanwhile waits for the end of it.
 */
struct reloading {
    struct conf *fresh; /* NULL: none is under way */
    uint64_t id;
    uint64_t awaited; /* bit set of workers */
    int64_t until_mono_ms;
    bool again; /* asked for meanwhile */
};

struct workers {
    struct conf *conf;
    struct reloading reload;
    size_t n;
    struct worker worker[METRICS_WORKERS_MAX];
    struct metrics_board *board;
    struct change *changes;
    uint64_t last_id;
    sigset_t mask_before;
    int signal_fd, lock_fd;
    bool served; /* some worker was ready once */
    bool draining;
    int64_t drain_until_mono_ms;
    bool failed; /* something did not end as it should: the exit status */
};

/* --- workers_tell.c ------------------------------------------------------------------------- */

void workers_kill(struct worker *w, const char *why);
/* It closed its end: it exits, and its status will say how. */
void workers_lost(struct worker *w);
/* Who does not read misses nothing: it is killed, and starts anew. */
void workers_send(struct worker *w, enum bus_kind kind, uint64_t id, struct slice body);
void workers_send_all(struct workers *ws, enum bus_kind kind, struct slice body);
/* All others are to apply m; when they have, origin hears it.  NULL: nobody waits. */
void workers_change(struct workers *ws, struct worker *origin, const struct bus_message *m);
void workers_applied(struct workers *ws, const struct worker *by, uint64_t id);
/* The dead apply nothing, and wait for nothing. */
void workers_forget(struct workers *ws, struct worker *dead);
/* Nobody waits any more for one whose lease has run out: it sends nothing that needs consent before it has read on. */
void workers_fence(struct workers *ws, struct worker *w);
void workers_end_changes(struct workers *ws);

/* --- workers_reload.c ----------------------------------------------------------------------- */

/* Reads the file; while a reload is under way: once more after it. */
void workers_reload(struct workers *ws);
void workers_reload_answered(struct workers *ws, const struct worker *by, const struct bus_message *m);
/* A worker is ready, or is gone and will start with what is in force then. */
void workers_reload_ready(struct workers *ws, const struct worker *w);
/* Gives it up when somebody does not answer. */
void workers_reload_look(struct workers *ws);

/* --- workers_life.c ------------------------------------------------------------------------- */

void workers_start(struct workers *ws, struct worker *w);
/* It serves. */
void workers_ready(struct workers *ws, struct worker *w);
/* Takes nothing new; said twice: ends. */
void workers_drain(struct workers *ws);
void workers_reap(struct workers *ws);
/* Pings, kills, starts again, gives up a reload: what is due. */
void workers_tick(struct workers *ws);
/* Until the next tick has something to do. */
int workers_wait_ms(const struct workers *ws);

/* --- workers.c ------------------------------------------------------------------------------ */

/* What w has said. */
void workers_read(struct workers *ws, struct worker *w);

#endif

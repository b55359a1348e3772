/*
 * The wiring: what the doing room holds.  One per process; everything belongs
 * to the loop's thread.
 */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "conf.h"
#include "confs.h"
#include "counters.h"
#include "http_listen.h"
#include "loop.h"
#include "metrics.h"
#include "postern/language.h"
#include "profiles.h"

struct bus;        /* bus.c */
struct duplicates; /* duplicates.c */
struct releaser;   /* release.c */
struct callbacks;  /* callback.c */
struct submission; /* submission.c */
struct posted;     /* submission_act.c */
struct reload;     /* reload.c */
struct smtp_login; /* submission_smtp.c */
struct smtp_listener;
struct auth_backoff;

enum listener { LISTENER_HTTP, LISTENER_SMTP /* or STARTTLS */, LISTENER_SMTPS, LISTENER_N };

/* A page of the turn in which it was first asked for. */
struct gateway_page {
    struct arena arena;
    struct slice text; /* in the arena */
    uint64_t turn;
};

#define GATEWAY_LANGUAGES 256
/* What a content's language was told to be: the next mail of a campaign has the same content. */
struct gateway_language {
    uint64_t fingerprint; /* 0: none */
    char code[LANGUAGE_MAX];
};

struct gateway {
    struct loop *loop;
    struct confs *confs;
    struct conf *conf; /* in force; another one after a reload: who comes back later holds his own (confs.h) */
    struct store *store;
    struct counters *counters;
    struct profiles *profiles;
    struct duplicates *duplicates;
    struct metrics *metrics;
    struct bus *bus;
    uint32_t worker; /* which of the workers this is; 0 where there are none */
    struct http_listener *listener;
    struct smtp_listener *smtp[LISTENER_N]; /* LISTENER_SMTP, LISTENER_SMTPS; NULL: not configured */
    struct smtp_login *smtp_logins;
    struct auth_backoff *smtp_backoff; /* of both */
    struct releaser *releaser;
    struct callbacks *callbacks;
    struct reload *reload;
    struct aside *aside;             /* reads long submissions */
    uint64_t reload_id;              /* of the parent's reload that is being made ready */
    uint8_t token_key[SHA256_BYTES]; /* MAC of override tokens; of the audit key, so the same in all workers */
    size_t submissions;              /* under way */
    struct submission *live;         /* all of them */
    struct posted *unwritten;        /* results that wait for space on the disk */
    struct submission *acting;       /* those whose call to a provider is under way */
    struct loop_task *linger;        /* the store is flushed then, for what may linger */
    int64_t sweep_mono_ms;           /* when idempotency keys are looked through again */
    bool draining;
    bool has_counted;      /* the counters were up in every worker, or have been waited for */
    size_t listeners_open; /* of which something is still open: counts down while draining */
    int64_t drain_until_mono_ms;
    int64_t started_mono_ms;
    struct gateway_page metrics_page;
    struct gateway_language languages[GATEWAY_LANGUAGES]; /* by fingerprint */
};

/* Where a worker stands among those of its parent (workers.c). */
struct gateway_place {
    uint32_t worker;
    int listen_fd[LISTENER_N]; /* taken; -1: not configured */
    int bus_fd;                /* taken */
    struct metrics_board *board;
};

/* NULL with the reason in e.  The configuration is taken.  place: NULL where there are no workers. */
struct gateway *gateway_new(struct conf *conf, const struct gateway_place *place, struct errmsg *e) NODISCARD;
/* Runs until SIGTERM or SIGINT, then drains.  The process's exit status. */
int gateway_run(struct gateway *g);
void gateway_free(struct gateway **g);
/* The end of the process after gateway_run: frees g when nothing is under way, and else writes what the store has. */
NORETURN void gateway_exit(struct gateway **g, int status);
/* Take nothing new, finish what was begun, at most 30 s; at_once: end now.  May be said twice. */
void gateway_drain(struct gateway *g, bool at_once);

/* The caps of the configuration in force, for what comes from now on. */
void gateway_set_limits(struct gateway *g);

/* NULL: ready.  Else why not: "store: disk is nearly full". */
const char *gateway_unready(const struct gateway *g);

/* Better said early than timed out late: more is under way than can be answered in time. */
bool gateway_overloaded(const struct gateway *g);

/* Authorization: "Bearer x" gives the secret alone, "Basic b64(user:password)" both; false: neither, or two of them. */
bool gateway_credentials(struct http_request *r, struct slice *account, struct slice *secret);

#endif

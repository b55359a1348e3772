/*
 * What the files of a submission share: its struct, and the hand-over points.
 *   submission.c         the steps and their driver
 *   submission_read.c    READ: request or deferred row -> messages
 *   submission_content.c what is looked for in the content at DECIDE
 *   submission_idempotency.c  the claim of a key at the end of READ, and what becomes of it
 *   submission_record.c  RECORD: decisions -> durable rows, kept messages
 *   submission_act.c     ACT: the call to the provider, and its answer
 *   submission_result.c  what became of each message: on record, slots settled, kept to be tried again
 *   submission_report.c  what the sender of a mail is told of recipients that it did not reach
 *   submission_reply.c   REPLY: the client's answer
 */
#ifndef GATEWAY_SUBMISSION_PARTS_H
#define GATEWAY_SUBMISSION_PARTS_H

#include "aside.h"
#include "submission.h"

/* clang-format off */
#define STEPS(X) \
    X(READ, read)       \
    X(GATHER, gather)   \
    X(DECIDE, decide)   \
    X(RESERVE, reserve) \
    X(RECORD, record)   \
    X(ACT, act)         \
    X(REPLY, reply)
/* clang-format on */

enum step {
#define X(id, name) STEP_##id,
    STEPS(X)
#undef X
        STEP_N
};

/* What a step tells the driver. */
enum step_next {
    STEP_DONE, /* go on: with REPLY after a fault, with GATHER when something changed, else with the next step */
    STEP_WAIT, /* operations are under way: submission_resume goes on when the last has come back */
    STEP_END   /* the submission is gone: touch nothing */
};

/* What became of a message that was to be sent. */
struct sent {
    enum result result;
    const char *detail;                    /* for the record; static */
    int status;                            /* the provider's, or its reply's code; 0: none */
    struct slice provider_id;              /* borrowed until the answer */
    const struct recipient_answer *answer; /* a relay's own for it; NULL: the submission's stands for all */
    bool again;                            /* it may be tried again later */
};

/* One message's own part. */
struct item {
    struct submission *submission;
    struct message *message; /* of parsed.messages */
    uint64_t id;             /* of the decision */
    uint64_t parent;         /* of the decision before it; 0 = first */
    uint64_t contact_hash;
    uint64_t reservation; /* 0 = none */
    bool send;            /* part of the call to the provider */
    struct sent sent;     /* then: what became of it */
    bool kept;            /* a deferred row holds it */
    int64_t counts_at_ms; /* cap counts of that instant are in facts */
    struct profiles_op *fetch;
    struct counters_op *reserve;
    enum err fetched;
    /* Large, so not cleared when the item begins: GATHER fills the profile and clears the facts, DECIDE decides. */
    struct profile profile;
    struct facts facts;
    struct decision decision;
};

struct submission {
    struct gateway *g;
    struct conf *conf; /* held: the one in force when it began */
    char id[24];       /* for logs */
    enum step step;
    unsigned waiting; /* operations under way */
    unsigned laps;    /* times that it went back to GATHER */
    bool again;       /* back to GATHER after this step: a profile changed meanwhile */
    bool running;     /* the driver is on the stack: a callback only counts down */

    struct arena *arena;
    struct arena own_arena;                                      /* release only */
    void (*answered)(void *arg, const struct wire_reply *reply); /* NULL: a release */
    void *answered_arg;
    const char *peer;
    bool early;                      /* see submission_ask */
    const struct deferred *deferred; /* NULL: from a client */
    submission_released *released;
    void *released_arg;
    enum deferred_state end_state; /* of the deferred row */
    enum reason end_reason;        /* why it ended without leaving; NONE: a provider or nobody knows */
    bool settled;                  /* that state is on its way to the store */

    const struct connector *connector;
    struct route route;
    const struct conf_key *key;
    struct wire_request wire;
    int64_t read_at_ms;      /* as of when it is read */
    struct aside_work aside; /* reading it, and writing the call, when it is long */
    struct parsed parsed;
    struct item *items;
    size_t n_items;

    int64_t now_ms;       /* of the last DECIDE */
    int64_t scheduled_ms; /* release: the sender's own schedule, which has been kept; 0 = none */
    int64_t started_us, step_us;
    uint64_t epoch; /* of the cache, when the profiles were read */
    bool partial_reject;
    bool language_told; /* the messages' body facts say what there is to be said of it */
    char kept_id[SID_MAX];
    struct stored_submission stored;

    const struct conf_provider *provider;
    struct upstream_op *op;
    const struct upstream_result *upstream; /* during the callback only */
    struct provider_answer answer;
    bool has_answer;
    bool withdrawn;  /* the last look, at the first byte, held it back */
    bool unknown;    /* bytes were written, nothing came back */
    bool queued_now; /* kept because the provider is down */
    int64_t retry_after_ms;
    struct fault fault;
    bool faulted; /* answered by a fault, not by decisions */

    uint64_t claim; /* of an idempotency key that is not settled; 0 = none */
    struct store_mail mail;
    bool mail_recorded;             /* mail is in the store */
    bool reported;                  /* the sender is told of what failed */
    bool relay_reports;             /* the relay tells of success, and was asked to */
    const struct wire_reply *reply; /* made before REPLY; NULL: REPLY makes it */
    bool replayed;                  /* reply is the first one's: nothing is decided */
    struct posted *last;            /* the result that goes to the store together with the answer */

    struct submission *live_next, **live_prev;     /* all that are under way */
    int64_t told_us;                               /* when the log last named it as stuck */
    struct submission *acting_next, **acting_prev; /* those with an op whose bytes may not be written yet */
};

/* submission.c */
void submission_resume(struct submission *s);
/* Answered by a fault, not by decisions: nothing (more) is accepted. */
void submission_fail(struct submission *s, enum fault_kind kind, const char *text);
void submission_free(struct submission **s);
/* Give back what was reserved for item. */
void submission_release_slot(struct submission *s, struct item *item);

/* submission_read.c */
enum step_next submission_read(struct submission *s);

/* submission_content.c */
/* Once the preferences are merged: the language of the content, when the recipient states one and the message none. */
void submission_tell_language(struct submission *s, const struct item *item);
/* Look at the content of a dry run as at one that is sent; nothing without one. */
void submission_look_dry(struct gateway *g, struct submission_dry_run *d);
/* A member of the decision's facts, behind another: what rules read of the content; nothing when they read nothing. */
void submission_add_content(struct buf *b, const struct item *item);
/* What people may see of a content: payment cards' numbers are masked, and a body with one is left out. */
struct shown_content {
    struct slice subject, text, body; /* in the arena */
};
void submission_show(const struct submission *s, struct slice body, struct arena *a, struct shown_content *out);

/* submission_idempotency.c */
/* The end of READ: claims the request's key, if it has one. */
enum step_next submission_claim(struct submission *s);
/* For the record: the answer, when nothing is sent; else what a replay hears if nothing more becomes known.
   NULL: the arena is spent. */
struct key_settlement *submission_settle_recorded(struct submission *s);
/* With w: kept when it is final, else the key is free again.  Copies; NULL: a is spent. */
struct key_settlement *submission_settlement(struct submission *s, const struct wire_reply *w, struct arena *a);
/* For the record, of a mail with a Message-ID of which something will be accepted; else NULL. */
struct store_mail *submission_mail(struct submission *s);
/* It was recorded before: the answer is that it was accepted, or that it is under way. */
void submission_mail_known(struct submission *s);
/* For the last result: nothing of it was accepted after all; in a.  NULL: it stands, or was never recorded. */
const struct store_mail *submission_mail_forgets(struct submission *s, struct arena *a);
/* The same whatever became of it: its client heard that it was not accepted, and sends it again. */
const struct store_mail *submission_mail_refused(struct submission *s, struct arena *a);
/* It is durable. */
void submission_key_settled(struct submission *s, const struct key_settlement *k);

/* submission_record.c */
enum step_next submission_record(struct submission *s);
/* Fill a row for item, due at due_ms. */
void submission_keep(struct submission *s, const struct item *item, enum deferred_kind kind, int64_t due_ms,
                     struct deferred *out);
/* The submission as a row; NULL when the arena is spent. */
const struct stored_submission *submission_stored(struct submission *s);
/* The id under which the application knows what is kept; minted once. */
const char *submission_kept_id(struct submission *s);

/* submission_act.c */
enum step_next submission_act(struct submission *s);

/* submission_result.c: s->items[].sent says what became of what was to be sent */
/* All of one kind. */
void submission_sent_all(struct submission *s, enum result result, const char *detail, bool again);
/*
 * On record, slots settled.  What may be tried again is kept (a new message) or waits again (a released one), at the
 * earliest after retry_after_ms; 0: after a time that doubles with each try.  A new submission of which nothing left
 * and nothing could be kept fails with FAULT_UPSTREAM_DOWN when no provider answered.
 */
void submission_conclude(struct submission *s, int64_t retry_after_ms);
/* Nothing was sent after all: decided again. */
void submission_take_back(struct submission *s, const char *why);
/* For the sandbox's inbox, together with the results. */
void submission_conclude_sandbox(struct submission *s, struct slice body);
/* A leased row that a fault kept from being decided: waits again when the fault will pass, else ends. */
void submission_give_back(struct submission *s);
/* Settles the claimed key and keeps the report, in one transaction with the last result; then submission_send, with
 * s->reply. */
void submission_post_answer(struct submission *s, bool built);

/* submission_report.c */
/*
 * What a mail's sender is told of those whom it did not reach: of a new submission that was answered as accepted, of a
 * released message that ends.  In arena a; NULL: nothing to tell, or nobody to be told.
 */
const struct kept_report *submission_report(struct submission *s, struct arena *a);
/* Would there be one? */
bool submission_owes_report(const struct submission *s);
/* Blocked ones of a submission that was accepted, to the application's state callback (Plivo); else nothing. */
void submission_tell_blocked(struct submission *s);

/* submission_reply.c */
enum step_next submission_reply(struct submission *s);
/* What the client hears of the decisions; unknown: as if what is sent never became known.  False: no memory. */
bool submission_answer(struct submission *s, bool unknown, struct wire_reply *w);
/* The answer is not given: what it promises could not be written.  The client hears so, and s ends. */
void submission_send_unrecorded(struct submission *s);
/* Puts s->reply on the wire, or 500 when it is not built, and ends s. */
void submission_send(struct submission *s, bool built);

#endif

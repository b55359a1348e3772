/*
 * One submission's way through the house: READ, GATHER, DECIDE, RESERVE, RECORD,
 * ACT, REPLY.  There is no side door: a due deferral enters at GATHER too.
 *
 * A normal case: submission_start parses the request into messages; each one's
 * profile comes from the cache or the store; the policy decides; caps are
 * reserved; decisions are durable in one group commit; what passes leaves in one
 * call to the provider; the answer goes back in the client's dialect.
 * A bad case: an opt-out is acknowledged while the decisions are being written:
 * the last look in ACT sees that the profile changed, the intents are closed as
 * not sent, and the submission goes back to GATHER.
 */
#ifndef GATEWAY_SUBMISSION_H
#define GATEWAY_SUBMISSION_H

#include "gateway.h"

struct submission;

/* Who asks, and what; all that it points to, and the arena, outlive the answer. */
struct submission_ask {
    const struct connector *connector;
    struct route route;
    const struct conf_key *key;
    struct wire_request wire;
    struct arena *arena; /* LIMIT_ARENA_BYTES beside the body: the submission's memory too */
    const char *peer;    /* for the log */
    /* Of a mail whose content is still to come: may its last recipient be taken on?  Decides, and puts a refusal on
     * record; reserves, keeps and sends nothing.  The answer of one who may has status 250 and no body. */
    bool early;
    /* Once, perhaps before submission_start returns; reply NULL: none could be built.  Borrowed. */
    void (*answered)(void *arg, const struct wire_reply *reply);
    void *arg;
};
/* It is answered exactly once, whatever happens. */
void submission_start(struct gateway *g, const struct submission_ask *ask);

/* Who is refused, and why. */
struct submission_refusal {
    const struct connector *connector;
    const struct route *route;
    const struct fault *fault;
    const char *peer; /* for the log */
};
/* In the dialect's words; counted, logged.  False: it does not fit into the arena. */
bool submission_fault_reply(struct gateway *g, const struct submission_refusal *r, struct arena *a,
                            struct wire_reply *out);

/* How a released message ended; why: of one that did not leave, REASON_NONE when a provider or nobody knows. */
typedef void submission_released(struct gateway *g, enum deferred_state state, enum reason why, void *arg);
/* One leased row; d and all it points to are kept until done(arg), which runs exactly once. */
void submission_release(struct gateway *g, const struct deferred *d, submission_released *done, void *arg);

/* What would be sent, as people read it; of an SMS the text. */
struct submission_content {
    struct slice subject, text, html; /* each may be empty */
};

/* Decide without acting: for the dry run.  facts and decision are the caller's; cb as usual, exactly once, later. */
struct submission_dry_run {
    struct arena *arena;
    const struct policy *policy; /* whose category the message has */
    struct message message;
    struct submission_content content;
    int64_t at_ms;
    struct body_facts body; /* what is seen of the content; in message.body when there is one */
    struct profile profile;
    struct facts facts;       /* out: what the rules read */
    struct decision decision; /* out */
};
void submission_dry_run(struct gateway *g, struct submission_dry_run *d, void (*cb)(enum err status, void *arg),
                        void *arg);

/*
 * A revocation for addresses with these hashes (profiles_hash; n 0: everybody) is durable and about to be acknowledged:
 * calls to a provider of which no byte has been written yet are taken back and decided again.
 */
void submission_revoked(struct gateway *g, const uint64_t *hashes, size_t n);

/* Results that still wait for space on the disk: after a restart their messages are unknown.  After store_close. */
void submission_forget_unwritten(struct gateway *g);

/* Name in the log what stands in one step for longer than LIMIT_STUCK_MS, and what it waits for. */
void submission_watch(struct gateway *g);

/* Now and then: idempotency keys that have expired go. */
void submission_sweep_keys(struct gateway *g);

/* --- submission_http.c: HTTP requests as submissions --- */

/* Takes the request: it is answered exactly once. */
void submission_http_start(struct gateway *g, struct http_request *r, const struct connector *c,
                           const struct route *route, const struct conf_key *key);
/* Put a fault on the wire in the dialect's words. */
void submission_http_fault(struct gateway *g, struct http_request *r, const struct connector *c,
                           const struct route *route, const struct fault *f);
/* The request as connectors read it; fields from the request's arena. */
enum err submission_http_wire(const struct http_request *r, struct arena *a, struct wire_request *out) NODISCARD;
/* Send what a connector made; NULL: 500. */
void submission_http_reply(struct http_request *r, const struct wire_reply *reply);

#endif

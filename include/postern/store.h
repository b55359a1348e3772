/*
 * The seam to the store of record: contacts, consents, opt-outs, decisions,
 * deferred messages, audit.  SQLite fills it for the processes of one machine, PostgreSQL for many.
 *
 * One thread owns the database.  The loop hands it requests; it takes all that
 * wait, runs them in one transaction, commits, and hands them back: batches form
 * while a commit runs (group commit).  Order is kept: a read sees what was asked
 * to be written before it.  A request that fails (not found, conflict) does not
 * disturb the others of its batch.
 *
 * A normal case: the loop fills a store_record (decisions of one submission),
 * calls store_submit; the fd of store_fd becomes readable; store_poll runs the
 * callback with OK: the rows are durable, the audit chain is longer.
 * A bad case: the commit's fsync fails.  Every request of the batch and every
 * later write gets ERR_UNAVAILABLE, store_health says STORE_FAILED and why; the
 * fsync is not tried again (it could succeed with the data gone); only a restart
 * opens the database again.  Reads go on.
 */
#ifndef POSTERN_STORE_H
#define POSTERN_STORE_H

#include "postern/arena.h"
#include "postern/decision.h"
#include "postern/hash.h"

struct store;

/* Who else has the database open for writing. */
enum store_sharing {
    STORE_ALONE,          /* nobody: the store takes the lock itself, and takes back what any owner left */
    STORE_BEFORE_WORKERS, /* nobody yet: as above, but the caller holds the lock (store_lock) */
    STORE_SHARED          /* the other workers of whoever holds the lock: takes back what its own owner left */
};
/* Only the worker that owns as this number may claim deferred messages: its start gives the leases back. */
#define STORE_RELEASING_OWNER 0

struct store_options {
    const char *url;        /* "sqlite:postern.db" */
    int64_t reserve_bytes;  /* new messages are refused when less is free on the disk: 1.5 x the largest message */
    struct slice audit_key; /* signs the head of the chain; empty: a key file beside the database, made at first open,
                               mode 0600 */
    int64_t now_ms;
    enum store_sharing sharing;
    uint32_t owner; /* of intents: 0 alone, else the worker's number */
    bool read_only; /* posternctl: no thread, no migration, no requests but the synchronous calls below */
};

/*
 * Opens, migrates to this version's schema, closes intents that a crash left open
 * (result "unknown", counted as sent).  NULL with the reason in e: file, what is
 * wrong, what would help ("database has schema 7, this posternd knows 3: start a newer one").
 */
struct store *store_open(const struct store_options *o, struct errmsg *e) NODISCARD;
/*
 * The lock that keeps a second posternd from the same store, for a parent that holds it for its workers: a
 * descriptor, which they inherit, so that it ends with the last of them.  -1 with the reason in e.
 */
int store_lock(const char *url, struct errmsg *e) NODISCARD;
/* A secret for another purpose, of the audit key: the same in each process that opens this store. */
struct digest;
void store_derive_key(const struct store *s, const char *purpose, struct digest *out);
/* Finishes what is queued, checkpoints, closes. */
void store_close(struct store **s);
/* Writes what was handed over, and calls nobody back any more: for a process that ends with things under way. */
void store_finish(struct store *s);

/* As store_options.reserve_bytes, from now on. */
void store_set_reserve(struct store *s, int64_t bytes);

enum store_health { STORE_OK, STORE_FULL, STORE_FAILED };
enum store_health store_health(const struct store *s, const char **why);
int store_fd(const struct store *s);
void store_poll(struct store *s);
/* Requests handed over and not yet called back; age of the oldest in ms. */
size_t store_backlog(const struct store *s, int64_t *oldest_ms);
struct store_counters {
    uint64_t commits, rows, requests, failed;
    int64_t commit_us_total, commit_us_max;
};
struct store_counters store_counters(const struct store *s);

/* The next decision id: rising, unique over restarts and processes.  Loop thread; never blocks. */
uint64_t store_decision_id(struct store *s);
/* "dec_" and 16 hex digits, and back. */
char *decision_id_format(uint64_t id, char out[32]);
bool decision_id_parse(struct slice s, uint64_t *out);

/* --- requests ------------------------------------------------------------------ */

/* clang-format off */
#define STORE_REQUESTS(X) \
    X(RECORD, record)                   \
    X(RESULT, result)                   \
    X(PROFILE_GET, profile_get)         \
    X(CONTACT_GET, contact_get)         \
    X(CONTACT_PUT, contact_put)         \
    X(CONSENT_ADD, consent_add)         \
    X(OPT_OUT_ADD, opt_out_add)         \
    X(DEFERRED_CLAIM, deferred_claim)   \
    X(DEFERRED_LIST, deferred_list)     \
    X(DEFERRED_CHANGE, deferred_change) \
    X(DEFERRED_RETIME, deferred_retime) \
    X(DECISION_GET, decision_get)       \
    X(SANDBOX_LIST, sandbox_list)       \
    X(AUDIT_NOTE, audit_note)           \
    X(IDEMPOTENCY_CLAIM, idempotency_claim) \
    X(IDEMPOTENCY_SWEEP, idempotency_sweep)
/* clang-format on */

enum store_request_kind {
#define X(id, name) STORE_##id,
    STORE_REQUESTS(X)
#undef X
        STORE_REQUEST_N
};

typedef void store_cb(enum err status, void *arg);

/* First member of every request; zero bytes and the three public fields make it ready. */
struct store_request {
    enum store_request_kind kind;
    store_cb *cb;
    void *arg;
    bool may_linger; /* nobody waits for it: it goes along with the next that cannot, at most STORE_LINGER_MS later */
    /* the store's own: */
    enum err status;
    struct store_request *next;
    int64_t submitted_mono_ms;
};

/*
 * Hand a request over.  The store keeps it, all that it points to, and its arena until cb runs
 * (from store_poll, never from here; exactly once).  Results are allocated from the request's arena.
 */
void store_submit(struct store *s, struct store_request *r);

/*
 * From now on what is submitted goes to the thread by store_flush(), all at once: the loop calls it at the end of
 * each turn, so that the requests of one turn make one batch and wake the thread once.
 */
void store_cork(struct store *s);
#define STORE_LINGER_MS 4
/* In how many ms it is to be called again, for those that may linger; 0: none is held. */
int64_t store_flush(struct store *s);

/* What is kept of a submission so that it can be read again at release. */
struct stored_field {
    struct slice name, value;
};
struct stored_submission {
    struct slice dialect; /* connector's name */
    struct slice method, path, query;
    const struct stored_field
        *fields; /* those worth keeping: Content-Type, User-Agent, X-Postern-*...; never Authorization */
    size_t n_fields;
    struct slice body;
};

/*
 * A mail that its sender may send again, not having heard the answer (semantics, section 11): recorded once in 72 h.
 * Forgotten when nothing of it was accepted after all, and by a crash before its results: then it may come again.
 */
struct store_mail {
    uint8_t digest[SHA256_BYTES]; /* of all that tells it from another one, its API key included */
    struct slice kept_id;         /* what its sender hears: queued as ... */
    struct slice first_id;        /* out, ERR_CONFLICT: it was recorded before, under that id; in the record's arena */
    bool under_way;               /* out, likewise: and what becomes of it is not known yet */
};

/* What a client was answered, for those who ask again with the same idempotency key. */
struct kept_answer {
    int status;
    const struct stored_field *fields;
    size_t n_fields;
    struct slice body;
};
/* What becomes of a claimed key, in the transaction of a record or a result. */
enum key_becomes {
    KEY_IS_FREE,     /* nothing final came of it: whoever comes next may try */
    KEY_IS_RECORDED, /* under way: answer is what stands if this process dies before it says more */
    KEY_IS_ANSWERED, /* answer is the one */
    KEY_STANDS       /* the answer that was recorded is the one */
};
struct key_settlement {
    uint64_t id; /* of the claim */
    enum key_becomes becomes;
    struct kept_answer answer;
};

enum deferred_kind {
    DEFERRED_TIMED /* release_at */,
    DEFERRED_DIGEST,
    DEFERRED_HELD,
    DEFERRED_RETRY /* provider down */
};

/* X(id, name): name is what the API shows. */
/* clang-format off */
#define DEFERRED_STATES(X) \
    X(WAITING, "waiting")                                            \
    X(PAUSED, "paused")                                              \
    X(LEASED, "releasing")                                           \
    X(RELEASED, "released")                                          \
    X(CANCELLED, "cancelled")                                        \
    X(ENDED, "ended") /* refused, expired or opted out at release */ \
    X(DEAD, "dead") /* too many deferrals */
/* clang-format on */

enum deferred_state {
#define X(id, name) DEFERRED_##id,
    DEFERRED_STATES(X)
#undef X
        DEFERRED_STATE_N
};
const char *deferred_state_name(enum deferred_state s);
bool deferred_state_parse(struct slice s, enum deferred_state *out);
const char *deferred_kind_name(enum deferred_kind k); /* "timed", "digest", "held", "retry" */

struct deferred {
    uint64_t id;       /* of the row: "def_" and hex on the outside */
    uint64_t decision; /* the decision that deferred it: parent of the next one */
    enum deferred_kind kind;
    enum deferred_state state;
    uint32_t message_index;  /* in the stored submission */
    struct slice kept_id;    /* the id that the application was given: SM..., 22 base64url */
    struct slice key;        /* name of the API key that sent it */
    struct slice account;    /* Twilio account of the path */
    struct slice contact_id; /* or empty */
    struct address to;
    enum channel channel;
    struct slice category;
    enum message_class class;
    enum priority priority;
    enum reason reason;
    struct slice batch_id, collapse_key;
    struct slice topic,
        sender; /* what topic opt-outs and STOPs are matched against; RECORD takes the message's when empty */
    struct slice local_rule; /* release_at in local words, with zone: recomputed when zone data changes */
    int64_t enqueued_at_ms;  /* of the first deferral */
    int64_t updated_at_ms;
    int64_t release_at_ms;
    int64_t spread_ms;     /* due that much after release_at_ms: messages of one opening are spread; write only */
    int64_t expires_at_ms; /* 0 = never */
    uint32_t deferrals;
    uint32_t attempts; /* how often a provider did not take it */
    uint64_t fence;    /* of the lease; a settle with an older one is refused */
    struct stored_submission
        submission;           /* claim: whole; list: when asked for; change and revocation: without a large body */
    struct slice end_reason;  /* why it ended, or empty */
    struct slice provider_id; /* list with_submission, of a released row: what its provider calls it; or empty */
};

/* A message of Postern's own to the sender, about others of his: kept in the transaction that ends them. */
struct kept_report {
    struct deferred deferred; /* WAITING; decision: the one that it tells of */
    struct stored_submission submission;
};

/* One decision, to be made durable before anything leaves. */
struct record_decision {
    uint64_t id;
    uint64_t parent; /* 0 = first */
    const struct message *message;
    const struct decision *decision;
    struct slice contact_id;         /* or empty */
    bool intent;                     /* it goes to a provider now: stays open until its result */
    bool at_least_once;              /* of a release: after a crash before its result it waits again; else it ends */
    struct slice facts;              /* JSON object: what the rules read (profile version, zone, counts); or empty */
    uint64_t contact_hash;           /* for the log of sends, as the counters key it: stable over restarts */
    uint32_t subject_id;             /* likewise */
    const struct deferred *deferred; /* NULL: not kept */
};

struct store_record {
    struct store_request r;
    struct arena *arena; /* for what comes out; NULL: nobody asks */
    struct slice submission_id;
    struct slice key;
    struct slice dialect;
    int64_t now_ms;
    const struct record_decision *decisions;
    size_t n;
    const struct stored_submission *submission; /* when one of them is kept */
    /* At release: the lease that this decision settles; the row gets that state in the same transaction. */
    uint64_t settles;                 /* deferred id, 0 = none */
    uint64_t fence;                   /* ERR_CONFLICT when it is not the row's: nothing is written */
    enum deferred_state settle_state; /* LEASED: stays leased, its result settles it; WAITING: deferred again with
                                         release_at of decisions[0].deferred */
    const struct key_settlement *settlement; /* NULL: no idempotency key */
    const struct kept_report *report;        /* or NULL */
    struct store_mail *mail;                 /* or NULL; known already: ERR_CONFLICT, nothing is written */
    const struct deferred *superseded;       /* out: messages that waited and were ended for these */
    size_t n_superseded;
};

/* X(id, name): what became of an intent. */
/* clang-format off */
#define RESULTS(X) \
    X(FORWARDED, "forwarded")                                            \
    X(REFUSED, "refused")                                                \
    X(UNKNOWN, "unknown")                                                \
    X(DEFERRED, "deferred")                                              \
    X(NOT_SENT, "not_sent")                                              \
    X(SANDBOX, "sandbox") /* kept by the sandbox: counts as forwarded */
/* clang-format on */
enum result {
#define X(id, name) RESULT_##id,
    RESULTS(X)
#undef X
        RESULT_N
};
const char *result_name(enum result r);

struct record_result {
    uint64_t decision;
    enum result result;
    int32_t provider_status; /* HTTP status, 0 = none */
    struct slice provider;   /* its configured name */
    struct slice provider_id;
    struct slice detail; /* short; no addresses, no bodies */
    bool counts;         /* put it into the log of sends */
    uint64_t contact_hash;
    uint32_t subject_id;
    enum channel channel;
    enum message_class class;
    struct slice category;
    bool counts_in_any_only;         /* enum cap_counting, for the rebuild of counters */
    const struct deferred *deferred; /* kept, to be tried again: RESULT_DEFERRED, or UNKNOWN (a mail's) */
};

struct sandbox_message {
    int64_t at_ms;
    uint64_t decision;
    struct slice dialect, category;
    enum channel channel;
    struct slice to, from, subject, text, body;
};

struct store_result {
    struct store_request r;
    int64_t now_ms;
    const struct record_result *results;
    size_t n;
    struct slice key, dialect;
    const struct stored_submission *submission; /* when one is kept */
    const struct sandbox_message *sandbox;      /* n_sandbox rows for the sandbox's inbox */
    size_t n_sandbox;
    uint64_t settles, fence;          /* as in store_record; */
    enum deferred_state settle_state; /* RELEASED, ENDED, or WAITING (retry) with release_at_ms below */
    enum reason settle_reason;        /* why it ENDED; NONE: the result's name says what there is to say */
    int64_t settle_release_at_ms;
    const struct key_settlement *settlement; /* NULL: no idempotency key */
    const struct kept_report *report;        /* or NULL; alone, with n 0, as well */
    const struct store_mail *forgets;        /* or NULL: that mail may come again */
};

/* Who may act under an idempotency key (semantics, section 11). */
enum key_claim {
    KEY_CLAIMED, /* this request: settle it by a record or a result */
    KEY_BUSY,    /* the first one is under way, here or in another process */
    KEY_REUSED,  /* it was another request's */
    KEY_ANSWERED /* answer is the first one's */
};
struct store_idempotency_claim {
    struct store_request r;
    struct arena *arena; /* for the answer */
    struct slice api_key, key;
    const struct slice *parts; /* the request: one of which these parts differ is another */
    size_t n_parts;
    int64_t now_ms;
    enum key_claim state; /* out */
    uint64_t id;          /* out */
    struct kept_answer answer;
};
/* Keys that have expired go, in small batches. */
struct store_idempotency_sweep {
    struct store_request r;
    int64_t now_ms;
    size_t max;
    size_t swept; /* out: == max: ask again */
};

/* By canonical address; opt-outs by the folded one. */
struct store_profile_get {
    struct store_request r;
    struct arena *arena;
    struct address to;
    struct profile
        *profile; /* caller's; zones are left to the caller: the zone preference's text and basis are in preferences */
};

struct contact_address {
    struct address address;
    bool valid;
};
struct contact {
    struct slice id, account;
    uint64_t version;
    int64_t created_at_ms, updated_at_ms;
    const struct contact_address *addresses;
    size_t n_addresses;
    const struct preference *preferences; /* the latest of each key, scope, authority and system: merge_standing */
    size_t n_preferences;
    const struct preference *history; /* all versions, newest first; filled on demand */
    size_t n_history;
    const struct consent *consents; /* every one, newest first */
    size_t n_consents;
    const struct opt_out *opt_outs; /* those in force */
    size_t n_opt_outs;
    struct slice previous_zone; /* before the latest change of the zone, or empty */
    int64_t zone_changed_at_ms;
};
struct store_contact_get {
    struct store_request r;
    struct arena *arena;
    struct slice id; /* or empty: by address */
    struct address address;
    bool with_history;
    struct contact *contact; /* ERR_NOT_FOUND when there is none */
};
/* Creates or changes; ERR_CONFLICT when the version is not expected_version (0 = must not exist) or an address is
 * another contact's. */
struct store_contact_put {
    struct store_request r;
    struct arena *arena;
    struct slice id, account, actor;
    uint64_t expected_version;
    int64_t now_ms;
    const struct address *addresses; /* the whole list; NULL: unchanged */
    size_t n_addresses;
    const struct preference *preferences; /* new versions of those that change; version set by the store */
    size_t n_preferences;
    struct slice previous_zone; /* the zone in force changes now: what the running day keeps; empty: it does not */
    struct slice conflict;      /* out: which address, and whose */
    struct address *touched;    /* out: every address, old and new: cache entries to drop */
    size_t n_touched;
};

struct store_consent_add {
    struct store_request r;
    struct arena *arena;
    struct slice contact_id;
    struct consent consent; /* as it is to be kept: state may be PENDING */
    struct slice evidence, actor;
    bool lifts;                /* lift opt-outs of exactly this scope */
    uint64_t expected_version; /* of the contact; another one: ERR_CONFLICT; 0 = any */
    int64_t now_ms;
    size_t n_lifted;         /* out */
    struct address *touched; /* out */
    size_t n_touched;
    const struct deferred *cancelled; /* out, of a revocation: deferred messages that it emptied */
    size_t n_cancelled;
};

struct store_opt_out_add {
    struct store_request r;
    struct arena *arena;
    struct address address;
    struct opt_out opt_out;
    struct slice reason, actor;
    int64_t now_ms;
    uint64_t opt_out_id;     /* out */
    struct slice contact_id; /* out, or empty */
    struct address *touched; /* out: this address and, for a contact, all of its */
    size_t n_touched;
    const struct deferred *cancelled; /* out */
    size_t n_cancelled;
};

/* Take due rows of one channel (DEFERRED_TIMED and _RETRY) under a lease: by priority, class, expires_at, enqueued_at.
 */
struct store_deferred_claim {
    struct store_request r;
    struct arena *arena;
    struct slice dialect; /* what waits for one provider */
    int64_t now_ms;
    int64_t lease_until_ms; /* a lease that has run out is due again */
    size_t max;
    struct deferred *rows; /* out */
    size_t n;
    int64_t next_due_ms; /* out: when to ask again; INT64_MAX = nothing waits */
};

struct store_deferred_list {
    struct store_request r;
    struct arena *arena;
    struct slice contact_id; /* filters; empty = any */
    struct slice kept_id, batch_id, account;
    struct address address; /* kind NONE = any */
    uint32_t states;        /* bit set; 0 = any */
    uint64_t id;            /* 0 = any */
    uint64_t after_id;      /* paging: rows with a greater id */
    size_t max;
    bool with_submission;
    struct deferred *rows; /* out, by id */
    size_t n;
};

enum deferred_action {
    DEFERRED_DO_CANCEL,
    DEFERRED_DO_RELEASE,
    DEFERRED_DO_PAUSE,
    DEFERRED_DO_RESUME,
    DEFERRED_DO_REDACT
};
struct store_deferred_change {
    struct store_request r;
    struct arena *arena;
    uint64_t id; /* one of the three */
    struct slice kept_id, batch_id;
    struct slice key; /* only rows of that API key; empty = any */
    enum deferred_action action;
    struct slice actor;
    enum reason reason;
    int64_t now_ms;
    struct deferred
        *rows; /* out: those that changed; ERR_NOT_FOUND: none matches; ERR_CONFLICT: none is waiting any more */
    size_t n;
};

/*
 * The same local time is another instant now: of messages that wait.  One that is not as it was read (released,
 * decided again, at another time) is passed over.
 */
struct deferred_retime {
    uint64_t id;
    int64_t from_ms, to_ms;  /* release_at, as read and as it is to be */
    struct slice local_rule; /* empty: as it was */
};
struct store_deferred_retime {
    struct store_request r;
    const struct deferred_retime *rows;
    size_t n;
    int64_t now_ms;
    size_t changed; /* out */
};

/* The decision as JSON (the API's shape), with its result and the ids of parent and children. */
struct store_decision_get {
    struct store_request r;
    struct arena *arena;
    uint64_t id;
    struct slice json; /* out */
};

struct store_sandbox_list {
    struct store_request r;
    struct arena *arena;
    size_t max;                   /* newest first */
    struct sandbox_message *rows; /* out */
    size_t n;
};

/* Something that belongs into the audit and nowhere else: a passed call, a configuration change, a start. */
struct store_audit_note {
    struct store_request r;
    int64_t now_ms;
    struct slice kind; /* "pass", "start", "policy" */
    struct slice json; /* a JSON object without personal data */
    struct slice path; /* of a call that is passed on, or empty; may name a person: kept where an erasure finds it */
};

/* --- synchronous, for start and for posternctl ------------------------------------- */

/*
 * Every send since since_ms that counts, in order of time, for the rebuild of counters; then the open intents that
 * would count: they may have left, and have no time yet.
 */
struct store_send {
    int64_t at_ms;     /* 0: an open intent */
    uint64_t decision; /* names it within this store */
    uint64_t contact_hash;
    uint32_t subject_id;
    enum channel channel;
    enum message_class class;
    struct slice category; /* borrowed during the call */
    bool counts_in_any_only;
};
enum err store_sends(struct store *s, int64_t since_ms, void (*each)(const struct store_send *, void *arg),
                     void *arg) NODISCARD;
/* Names the store among those that share counters: drawn at its first opening. */
enum err store_identity(struct store *s, uint64_t *out) NODISCARD;

/*
 * The recorded decisions since since_ms and their results, in the order in which they were made durable, as of one
 * moment; each returns false to end.  Borrowed during the call.
 */
struct store_event {
    bool is_result; /* of decision ref; else the decision itself */
    uint64_t ref;
    int64_t at_ms;
    struct slice body;     /* JSON: audit_json.c says which members */
    struct slice personal; /* JSON: recipient, contact; empty: erased */
    uint64_t row, rows;    /* how far: rows to be read in all */
};
typedef bool store_history_cb(const struct store_event *e, void *arg);
enum err store_history(struct store *s, int64_t since_ms, store_history_cb *each, void *arg) NODISCARD;

/* What was known of a recipient at an instant.  Of a store that is read_only only.  ERR_NOT_FOUND: no such contact. */
struct store_profile_at {
    struct arena *arena;
    struct address to;
    struct slice contact_id; /* as the decision recorded it; empty: nobody had the address */
    int64_t at_ms;
    struct profile profile; /* out; of zones only zone_changed_at_ms, as in store_profile_get */
};
enum err store_profile_at(struct store *s, struct store_profile_at *r) NODISCARD;

/* How much waits, per state; release_at of the oldest that is due. */
struct store_queue_depth {
    uint64_t n[DEFERRED_STATE_N];
    int64_t oldest_enqueued_ms; /* 0 = none */
};
struct store_queue_depth
store_queue_depth(const struct store *s); /* kept up to date by the thread; loop thread reads it */

/* Walk the audit chain.  progress may be NULL; called now and then. */
struct audit_verdict {
    bool holds;
    uint64_t rows;      /* read */
    uint64_t first_bad; /* sequence number, when !holds */
    struct errmsg why;  /* "row 17: its hash does not match its content: changed after it was written" */
};
enum err store_audit_verify(struct store *s, void (*progress)(uint64_t rows, uint64_t total, void *arg), void *arg,
                            struct audit_verdict *out) NODISCARD;

#endif

/*
 * SQLite as the store of record, private to store/sqlite*.c.  One connection, owned
 * by the store's thread; every statement of sqlite_statements.def is prepared once.
 *
 * Errors stick, as in postern/buf.h: a failing statement leaves its fault in the
 * backend, a spent arena sets arena_spent; sql_done turns both into an enum err.
 */
#ifndef STORE_SQLITE_H
#define STORE_SQLITE_H

#include <assert.h>
#include <sqlite3.h>

#include "postern/buf.h"
#include "store/audit.h"
#include "store/packed.h"
#include "store/store_ops.h"

/* Enum values stand in the tables: a changed order needs a migration that renumbers, a new last value does not. */
static_assert(CHANNEL_EMAIL == 0 && CHANNEL_SOCIAL == 7, "channels are stored");
static_assert(CLASS_OTP == 0 && CLASS_MARKETING == 5, "classes are stored");
static_assert(PRIORITY_P0 == 0 && PRIORITY_P3 == 3, "priorities are stored");
static_assert(SCOPE_DO_NOT_CONTACT == 0 && SCOPE_TOPIC == 5, "opt-out scopes are stored");
static_assert(SOURCE_CUSTOMER == 0 && SOURCE_ORGANISATION == 6, "sources are stored");
static_assert(AUTHORITY_CONTACT == 0 && AUTHORITY_ORGANISATION == 5, "authorities are stored");
static_assert(CONSENT_GRANTED == 0 && CONSENT_PENDING == 2, "consent states are stored");
static_assert(DEFERRED_WAITING == 0 && DEFERRED_PAUSED == 1 && DEFERRED_LEASED == 2 && DEFERRED_RELEASED == 3 &&
                  DEFERRED_DEAD == 6,
              "deferred states are stored, and the schema's indexes know them");
static_assert(DEFERRED_TIMED == 0 && DEFERRED_RETRY == 3, "deferred kinds are stored, and indexes know them");

enum sql {
#define S(id, text) SQL_##id,
#include "store/sqlite_statements.def"
#undef S
    SQL_N
};

/* An audit row that is in the chain and not yet in the table; its texts are the queue's. */
struct audit_waiting {
    struct audit_row row; /* but personal_digest: */
    struct digest personal_digest, hash;
};
#define AUDIT_WAITING_MAX 8
struct audit_queue {
    struct audit_waiting rows[AUDIT_WAITING_MAX];
    size_t n, used;
    char text[16384];
};

struct intents;
struct gather;

struct backend {
    sqlite3 *db;
    struct gather *gather; /* its files' */
    sqlite3_stmt *statements[SQL_N];
    char *path;
    int lock_fd;
    uint32_t owner; /* of what this process takes; 0 while a store has one process */
    int turn_fd;    /* shared with other processes; -1: not */
    bool has_turn;
    int64_t data_version; /* when chain and depth were read */
    struct arena scratch; /* of the running request */
    struct slice audit_key;
    char *audit_key_bytes;

    struct audit_chain chain, chain_committed, chain_marked;
    struct audit_queue audit_queue;
    struct intents *intents;
    struct packed sends; /* of the running transaction */
    size_t sends_marked;
    struct store_queue_depth depth, depth_marked; /* depth.oldest_enqueued_ms is read again at commit */
    struct store_queue_depth depth_committed;

    enum store_fault fault;
    struct errmsg why;
    bool arena_spent;
    bool stopped;  /* after a fatal fault: the disk is not touched again */
    int wal_pages; /* in the log, by the last commit */
    int checkpoint_at_pages;
};

/* --- schema (sqlite_schema.c, and the generated texts) -------------------------------- */

extern const char *const sqlite_schema[];
extern const size_t sqlite_schema_n;
/* Brings the database to this version, in one transaction; refuses a newer one. */
bool sqlite_migrate(sqlite3 *db, const char *path, bool read_only, struct errmsg *e);
bool sqlite_exec(sqlite3 *db, const char *sql, struct errmsg *e);

/* "path.suffix", to be freed. */
char *sqlite_path_with(const char *path, const char *suffix);

/* --- files (sqlite_gather.c) -------------------------------------------------------------------- */

/* A VFS for one connection, in front of the default one. */
struct gather *gather_new(void);
void gather_free(struct gather **g);
const char *gather_name(const struct gather *g);
/* Around a checkpoint by this connection. */
void gather_checkpoint(struct gather *g, bool runs);

/* --- several processes (sqlite_share.c): each does nothing where a store has one ------------- */

/* The lock of the store's family of processes, as a descriptor; -1 with the reason in e. */
int sqlite_lock(const char *path, struct errmsg *e);
bool sqlite_share_open(struct backend *b, struct errmsg *e);
/* Around each transaction that writes. */
void sqlite_turn_take(struct backend *b);
void sqlite_turn_give(struct backend *b);
/* In a transaction, before anything is done with chain or depth. */
void sqlite_refresh(struct backend *b);
/* The depths as they stand in the database (sqlite.c). */
bool sqlite_read_depth(struct backend *b);

/* --- statements (sqlite_sql.c) ---------------------------------------------------------- */

struct sql_value {
    enum { SQL_INT, SQL_TEXT, SQL_BLOB, SQL_NULL } type;
    int64_t i;
    struct slice s;
};
#define V_INT(v)  ((struct sql_value){.type = SQL_INT, .i = (int64_t)(v)})
#define V_TEXT(v) ((struct sql_value){.type = SQL_TEXT, .s = (v)})
#define V_BLOB(v) ((struct sql_value){.type = SQL_BLOB, .s = (v)})
#define V_NULL    ((struct sql_value){.type = SQL_NULL})

/* Start a statement with its values; then sql_row until it is false.  Values are borrowed until then. */
#define SQL_START(b, id, ...)                                                                                          \
    sql_start((b), (id), (const struct sql_value[]){__VA_ARGS__},                                                      \
              sizeof((const struct sql_value[]){__VA_ARGS__}) / sizeof(struct sql_value))
/* Run a statement that gives no rows. */
#define SQL_RUN(b, id, ...)                                                                                            \
    sql_run((b), (id), (const struct sql_value[]){__VA_ARGS__},                                                        \
            sizeof((const struct sql_value[]){__VA_ARGS__}) / sizeof(struct sql_value))

sqlite3_stmt *sql_start(struct backend *b, enum sql id, const struct sql_value *values, size_t n);
/* True: a row is there.  False: no more rows, or a fault; the statement is reset. */
bool sql_row(struct backend *b, sqlite3_stmt *st);
/* When no further rows are wanted. */
void sql_end(sqlite3_stmt *st);
void sql_run(struct backend *b, enum sql id, const struct sql_value *values, size_t n);
/* The first column of the first row, or otherwise. */
#define SQL_GET(b, id, otherwise, ...)                                                                                 \
    sql_get((b), (id), (otherwise), (const struct sql_value[]){__VA_ARGS__},                                           \
            sizeof((const struct sql_value[]){__VA_ARGS__}) / sizeof(struct sql_value))
int64_t sql_get(struct backend *b, enum sql id, int64_t otherwise, const struct sql_value *values, size_t n);

/* status, unless a statement failed (ERR_UNAVAILABLE) or an arena was spent (ERR_LIMIT). */
enum err sql_done(struct backend *b, enum err status);
void sql_fault(struct backend *b, int rc);
enum store_fault sql_fault_kind(int rc);
int64_t sql_last_id(struct backend *b);

int64_t col_int(sqlite3_stmt *st, int i);
struct slice col_borrow(sqlite3_stmt *st, int i);                                    /* until the next row */
struct slice col_slice(struct backend *b, sqlite3_stmt *st, int i, struct arena *a); /* a copy */
void col_address(sqlite3_stmt *st, int kind, int text, struct address *out);
/* arena_calloc that sets arena_spent. */
void *sql_alloc(struct backend *b, struct arena *a, size_t n, size_t size);

/* An array that grows on an arena; items is valid until the next rows_add. */
struct rows {
    void *items;
    size_t n, cap;
};
void *rows_add(struct backend *b, struct rows *rows, struct arena *a, size_t size);

/* The scratch arena, emptied. */
struct arena *scratch_new(struct backend *b);

/* --- audit (sqlite_audit.c) --------------------------------------------------------------- */

/* False: there is none, or it is misshapen. */
bool audit_head_read(struct backend *b, struct audit_chain *head, struct digest *mac);
/* Reads and checks the head; signs a first one for an empty audit.  In a transaction. */
bool sqlite_audit_open(struct backend *b, bool read_only, struct errmsg *e);
/* Appends; returns the row's number. */
uint64_t audit_append(struct backend *b, int64_t at_ms, const char *kind, uint64_t ref, const struct buf *body,
                      const struct buf *personal);
/* Writes what waits: before the table is read within a transaction, before a mark, before a commit. */
void audit_flush(struct backend *b);
/* Since the last flush nothing was appended after all: rolled back, or undone. */
void audit_drop(struct backend *b);
bool audit_has_result(struct backend *b, uint64_t decision);
/* Signs the head, when it moved; the last statement before a commit. */
void sqlite_audit_sign(struct backend *b);
enum err sqlite_audit_note(struct backend *b, struct store_audit_note *r);
/* A connection of its own in a read transaction, which gives what it reads one instant; NULL: there is none. */
sqlite3 *reader_open(const struct backend *b);
void reader_close(sqlite3 **db);
void statement_free(sqlite3_stmt **st);
enum err sqlite_sends(struct backend *b, int64_t since_ms, void (*each)(const struct store_send *, void *arg),
                      void *arg);
enum err sqlite_identity(struct backend *b, uint64_t *out);
enum err sqlite_history(struct backend *b, int64_t since_ms, store_history_cb *each, void *arg);
enum err sqlite_verify(struct backend *b, void (*progress)(uint64_t rows, uint64_t total, void *arg), void *arg,
                       struct audit_verdict *out);

/* --- records (sqlite_record.c, sqlite_decision.c) -------------------------------------------- */

enum err sqlite_record(struct backend *b, struct store_record *r);
enum err sqlite_result(struct backend *b, struct store_result *r);
/*
 * At open: intents that a crash of this owner left become "unknown"; the releasing owner's leases end.
 * every: whoever left them.
 */
enum err sqlite_recover(struct backend *b, bool every, int64_t now_ms);
enum err sqlite_decision_get(struct backend *b, struct store_decision_get *r);
enum err sqlite_sandbox_list(struct backend *b, struct store_sandbox_list *r);

/* --- intents (sqlite_intent.c) ------------------------------------------------------------------ */

/* In the place of a mail's row: of a release that goes at least once. */
#define MAIL_RELEASED INT64_C(-1)

struct intents *intents_new(void);
void intents_free(struct intents **i);
void intent_open(struct backend *b, const struct packed_message *m);
/* Its result is there: in this transaction, or the next time somebody asks. */
void intent_end(struct backend *b, uint64_t decision);
/* Of any process. */
bool intent_is_open(struct backend *b, uint64_t decision);
bool intent_of_mail_is_open(struct backend *b, int64_t mail);
/* At open: those that this owner left (every: whoever did), in no order; then their rows go. */
typedef void intent_left_cb(struct backend *b, const struct packed_message *m, int64_t now_ms);
void intents_recover(struct backend *b, bool every, intent_left_cb *left, int64_t now_ms);
/* Around transactions: before the commit, after it; a mark and its undo. */
void intents_write(struct backend *b);
void intents_committed(struct backend *b);
void intents_rolled_back(struct backend *b);
void intents_mark(struct backend *b);
void intents_undo(struct backend *b);

/* --- sends (sqlite_send.c) ------------------------------------------------------------------------- */

void send_add(struct backend *b, const struct packed_message *m);
/* Before the commit. */
void sends_write(struct backend *b);

/* --- idempotency keys (sqlite_idempotency.c) ------------------------------------------------- */

enum err sqlite_idempotency_claim(struct backend *b, struct store_idempotency_claim *r);
enum err sqlite_idempotency_sweep(struct backend *b, struct store_idempotency_sweep *r);
/* As part of a record or a result; NULL: nothing. */
void idempotency_settle(struct backend *b, const struct key_settlement *k);
/* That process died (-1: all did): keys without a decision are free again, the others keep the answer that was
 * written with their decisions. */
void idempotency_recover(struct backend *b, int64_t owner);
/* Its row, for intents; ERR_CONFLICT with m's out filled (in a): it is known. */
enum err mail_take(struct backend *b, struct store_mail *m, int64_t now_ms, struct arena *a, int64_t *row) NODISCARD;
void mail_forget(struct backend *b, const struct store_mail *m);
/* What was under way may come again. */
void mail_interrupted(struct backend *b, int64_t row);

/* --- deferred (sqlite_deferred.c, sqlite_release.c) -------------------------------------------- */

/* Inserts a row; *submission_row is made at the first use.  Returns the row's id. */
uint64_t deferred_insert(struct backend *b, const struct deferred *d, const struct message *m, uint64_t decision,
                         const struct stored_submission *s, int64_t *submission_row);
#define DEFERRED_COLUMNS                                                                                               \
    "id, decision, kind, state, message_index, kept_id, key, account, contact_id, to_kind, to_text, channel, "         \
    "category, "                                                                                                       \
    "class, priority, reason, batch_id, collapse_key, topic, sender, local_rule, enqueued_at_ms, updated_at_ms, "      \
    "release_at_ms, expires_at_ms, deferrals, fence, end_reason, submission, attempts"
/* A row of a statement that selects DEFERRED_COLUMNS first; returns the submission's row. */
int64_t deferred_read(struct backend *b, sqlite3_stmt *st, struct arena *a, struct deferred *d);
void deferred_read_submission(struct backend *b, int64_t row, struct arena *a, struct stored_submission *out);
/* The same without a body of more than 64 KiB: for those who are owed a callback, whose requests are forms. */
void deferred_read_small_submission(struct backend *b, int64_t row, struct arena *a, struct stored_submission *out);
/* Header fields as one blob, in the scratch arena; and back. */
struct slice fields_pack(struct backend *b, const struct stored_field *fields, size_t n);
const struct stored_field *fields_unpack(struct backend *b, struct slice packed, struct arena *a, size_t *n);
/* The only place that changes a state: keeps the depths, and drops the body with the last row that may need it. */
void deferred_set_state(struct backend *b, uint64_t id, enum deferred_state from, enum deferred_state to,
                        int64_t now_ms, struct slice end_reason);
/* Cancels, with its audit row; d shows the new state afterwards. */
void deferred_cancel(struct backend *b, struct deferred *d, enum reason reason, struct slice actor, int64_t now_ms);
void deferred_audit(struct backend *b, const struct deferred *d, enum deferred_state from, const char *action,
                    struct slice actor, int64_t now_ms);
enum err sqlite_deferred_claim(struct backend *b, struct store_deferred_claim *r);
enum err sqlite_deferred_list(struct backend *b, struct store_deferred_list *r);
enum err sqlite_deferred_change(struct backend *b, struct store_deferred_change *r);
enum err sqlite_deferred_retime(struct backend *b, struct store_deferred_retime *r);

#define OPT_OUT_COLUMNS                                                                                                \
    "id, scope, any_channel, channel, category, topic, sender, source, at_ms, lifted_at_ms, changed_seq"

/* --- contacts (sqlite_profile.c, sqlite_contact.c, sqlite_consent.c) ------------------------------ */

enum err sqlite_profile_get(struct backend *b, struct store_profile_get *r);
/* As store_profile_at. */
enum err sqlite_profile_at(struct backend *b, struct store_profile_at *r);
enum err sqlite_contact_get(struct backend *b, struct store_contact_get *r);
enum err sqlite_contact_put(struct backend *b, struct store_contact_put *r);
enum err sqlite_consent_add(struct backend *b, struct store_consent_add *r);
enum err sqlite_opt_out_add(struct backend *b, struct store_opt_out_add *r);

/* All addresses of a contact, in the order given. */
struct address *contact_addresses(struct backend *b, int64_t contact, struct arena *a, size_t *n);
/* A contact as it was known at an instant; INT64_MAX: now. */
struct person {
    int64_t contact; /* 0: none */
    int64_t at_ms;
};
const struct preference *contact_preferences(struct backend *b, enum sql id, struct person who, struct arena *a,
                                             size_t *n);
/*
 * Opt-outs in force: by folded address (every scope) and by contact (every scope but that of a single address).
 * Raises in p: version to the latest change, opted_out_at_ms, resubscribed_at_ms.
 */
void opt_outs_read(struct backend *b, struct slice folded, struct person who, struct arena *a, struct profile *p);
/* In force, each once: those of the contact and those of any of its addresses. */
const struct opt_out *opt_outs_of_person(struct backend *b, int64_t contact, struct arena *a, size_t *n);
/* Newest first; in_force: the latest per channel and category, a pending one only where there is no other. */
const struct consent *consents_read(struct backend *b, struct person who, bool in_force, struct arena *a, size_t *n);
/* 0: no contact has it. */
int64_t contact_of_address(struct backend *b, const struct address *address);
int64_t contact_of_id(struct backend *b, struct slice id);

#endif

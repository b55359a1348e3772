/*
 * SQLite behind the store's seam: opening and closing the file, transactions, what
 * a fault means, upkeep of the write-ahead log.  The one idea: WAL with
 * synchronous=FULL makes a commit one append and one fsync, and one connection
 * needs no lock against itself.
 */
#include "store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "postern/limits.h"
#include "postern/secret.h"

#define BUSY_MS 2000 /* how long another program may hold the database before a batch fails */
#define CHECKPOINT_PAGES                                                                                               \
    1000 /* a checkpoint of 2,000 held commits up for 7 to 32 ms, one of 1,000 for 6 to 11, one of 500 no less */
#define AUDIT_KEY_BYTES 32
#define OPENING_SHIFT   40 /* 2^40 decisions per opening, 2^23 openings */
#define KEY_FILE_SUFFIX ".audit-key"
#define SCRATCH_BYTES   LIMIT_ARENA_BYTES

static const char *const statement_texts[] = {
#define S(id, text) [SQL_##id] = (text),
#include "store/sqlite_statements.def"
#undef S
};

static void sqlite_close(struct backend **bp)
{
    struct backend *b = *bp;
    if (b == NULL)
        return;
    for (size_t i = 0; i < SQL_N; i++)
        sqlite3_finalize(b->statements[i]);
    if (b->stopped)
        /* The checkpoint at close would sync again, and could succeed with the data gone. */
        sqlite3_db_config(b->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    ensure(sqlite3_close(b->db) == SQLITE_OK);
    gather_free(&b->gather);
    if (b->lock_fd != -1)
        close(b->lock_fd);
    if (b->turn_fd != -1)
        close(b->turn_fd);
    arena_clear(&b->scratch);
    intents_free(&b->intents);
    packed_clear(&b->sends);
    secret_free(&b->audit_key_bytes);
    free(b->path);
    free(b);
    *bp = NULL;
}

char *sqlite_path_with(const char *path, const char *suffix)
{
    size_t n = strlen(path) + strlen(suffix) + 1;
    char *p = xcalloc(1, n);
    snprintf(p, n, "%s%s", path, suffix);
    return p;
}

static void free_path(char **p)
{
    free(*p);
}

/* SQLite would create it readable for all; its log files take the mode of the database. */
static bool create_private(const char *path, struct errmsg *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd == -1) {
        errmsg_set(e, "%s: cannot open or create: %s", path, strerror(errno));
        return false;
    }
    close(fd);
    return true;
}

static bool write_key_file(const char *path, struct errmsg *e)
{
    uint8_t key[AUDIT_KEY_BYTES];
    char hex[2 * AUDIT_KEY_BYTES + 1];
    hash_random(key, sizeof key);
    hash_hex(key, sizeof key, hex);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd != -1 && write(fd, hex, sizeof hex - 1) == (ssize_t)sizeof hex - 1 && fsync(fd) == 0;
    if (!ok)
        errmsg_set(e, "%s: cannot write the audit key: %s", path, strerror(errno));
    if (!ok && fd != -1)
        ignore(unlink(path)); /* a piece of a key would be taken for one at the next start */
    if (fd != -1)
        close(fd);
    return ok;
}

static bool load_audit_key(struct backend *b, const struct store_options *o, struct errmsg *e)
{
    if (o->audit_key.n > 0) {
        b->audit_key_bytes = xstrndup(o->audit_key.p, o->audit_key.n);
        b->audit_key = (struct slice){b->audit_key_bytes, o->audit_key.n};
        return true;
    }
    AUTO(free_path) char *path = sqlite_path_with(b->path, KEY_FILE_SUFFIX);
    struct stat st;
    if (stat(path, &st) == -1 && errno == ENOENT) {
        bool audit_is_empty = !o->read_only && sql_get(b, SQL_AUDIT_LAST, 0, NULL, 0) == 0;
        if (!audit_is_empty) {
            errmsg_set(e, "%s: missing, and the audit is signed with it: bring it back from a backup", path);
            return false;
        }
        if (!write_key_file(path, e))
            return false;
    }
    AUTO(free_path) char *absolute = realpath(path, NULL);
    if (absolute == NULL) {
        errmsg_set(e, "%s: %s", path, strerror(errno));
        return false;
    }
    AUTO(free_path) char *ref = sqlite_path_with("file:", absolute);
    b->audit_key_bytes = secret_load(ref, e);
    b->audit_key = slice_of(b->audit_key_bytes);
    return b->audit_key_bytes != NULL;
}

static int on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    struct backend *b = arg;
    b->wal_pages = pages;
    return SQLITE_OK;
}

static bool set_pragmas(struct backend *b, struct errmsg *e)
{
    /* The automatic checkpoint hides a failed fsync and tries it again later; ours (sqlite_tend) does not. */
    return sqlite_exec(b->db,
                       "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                       "PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32768;",
                       e);
}

static bool take_place(struct backend *b, enum store_sharing sharing, struct errmsg *e)
{
    switch (sharing) {
    case STORE_ALONE:
        b->lock_fd = sqlite_lock(b->path, e);
        return b->lock_fd != -1;
    case STORE_BEFORE_WORKERS:
        return true;
    case STORE_SHARED:
        return sqlite_share_open(b, e);
    }
    never("a kind of sharing");
}

/* Its own count of what it allocates costs a lock for each allocation; nothing here asks for it. */
static void forgo_statistics(void)
{
    ignore(sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0)); /* refused when another part has opened a database before */
}

static bool open_file(struct backend *b, const struct store_options *o, struct errmsg *e)
{
    bool read_only = o->read_only;
    int flags = SQLITE_OPEN_NOMUTEX | (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (!read_only && (!take_place(b, o->sharing, e) || !create_private(b->path, e)))
        return false;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, forgo_statistics);
    b->gather = gather_new();
    if (sqlite3_open_v2(b->path, &b->db, flags, gather_name(b->gather)) != SQLITE_OK) {
        errmsg_set(e, "%s: %s", b->path, sqlite3_errmsg(b->db));
        return false;
    }
    sqlite3_busy_timeout(b->db, BUSY_MS);
    sqlite3_extended_result_codes(b->db, 1);
    /* In this order: a database that is refused, perhaps another program's, stays as it was. */
    return sqlite_migrate(b->db, b->path, read_only, e) && (read_only || set_pragmas(b, e));
}

static bool prepare_all(struct backend *b, struct errmsg *e)
{
    for (size_t i = 0; i < SQL_N; i++) {
        if (sqlite3_prepare_v3(b->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT, &b->statements[i], NULL) !=
            SQLITE_OK) {
            errmsg_set(e, "%s: %s in \"%.80s\"", b->path, sqlite3_errmsg(b->db), statement_texts[i]);
            return false;
        }
    }
    return true;
}

bool sqlite_read_depth(struct backend *b)
{
    sqlite3_stmt *st = sql_start(b, SQL_DEPTHS, NULL, 0);
    while (sql_row(b, st)) {
        int64_t state = col_int(st, 0);
        if (state >= 0 && state < DEFERRED_STATE_N)
            b->depth.n[state] = (uint64_t)col_int(st, 1);
    }
    b->depth.oldest_enqueued_ms = sql_get(b, SQL_DEFERRED_OLDEST, 0, NULL, 0);
    b->depth_committed = b->depth;
    return sql_done(b, OK) == OK;
}

static void write_depth(struct backend *b)
{
    for (size_t i = 0; i < DEFERRED_STATE_N; i++) {
        if (b->depth.n[i] != b->depth_committed.n[i])
            SQL_RUN(b, SQL_DEPTH_SET, V_INT(i), V_INT(b->depth.n[i]));
    }
    b->depth.oldest_enqueued_ms = sql_get(b, SQL_DEFERRED_OLDEST, 0, NULL, 0);
}

static enum err sqlite_begin(struct backend *b, bool writes)
{
    if (writes)
        sqlite_turn_take(b);
    sql_run(b, writes ? SQL_BEGIN_WRITE : SQL_BEGIN_READ, NULL, 0);
    sqlite_refresh(b);
    return sql_done(b, OK);
}

static void write_pending(struct backend *b)
{
    audit_flush(b);
    intents_write(b);
    sends_write(b);
}

static void forget_pending(struct backend *b)
{
    audit_drop(b);
    b->sends.n = 0;
}

static enum err sqlite_commit(struct backend *b)
{
    write_pending(b);
    bool moved = b->chain.seq != b->chain_committed.seq;
    bool changed = memcmp(&b->depth, &b->depth_committed, sizeof b->depth) != 0;
    if (moved)
        sqlite_audit_sign(b);
    if (changed)
        write_depth(b);
    sql_run(b, SQL_COMMIT, NULL, 0);
    if (b->fault == FAULT_NONE) {
        b->chain_committed = b->chain;
        b->depth_committed = b->depth;
        intents_committed(b);
        forget_pending(b);
        sqlite_turn_give(b);
    }
    return sql_done(b, OK);
}

static void sqlite_rollback(struct backend *b)
{
    for (size_t i = 0; i < SQL_N; i++)
        sqlite3_reset(b->statements[i]);
    /* Some faults have rolled back already; and if this fails too, the fault that led here says more. */
    if (!sqlite3_get_autocommit(b->db))
        ignore(sqlite3_step(b->statements[SQL_ROLLBACK])); /* prepared: it may be memory that is short */
    sqlite3_reset(b->statements[SQL_ROLLBACK]);
    b->chain = b->chain_committed;
    b->depth = b->depth_committed;
    b->arena_spent = false;
    intents_rolled_back(b);
    forget_pending(b);
    sqlite_turn_give(b);
}

static enum err sqlite_mark(struct backend *b)
{
    audit_flush(b); /* rows of the requests before this one are not undone with it */
    intents_mark(b);
    b->sends_marked = b->sends.n;
    b->chain_marked = b->chain;
    b->depth_marked = b->depth;
    sql_run(b, SQL_MARK, NULL, 0);
    return sql_done(b, OK);
}

static enum err sqlite_keep(struct backend *b)
{
    sql_run(b, SQL_KEEP, NULL, 0);
    return sql_done(b, OK);
}

static enum err sqlite_undo(struct backend *b)
{
    sql_run(b, SQL_UNDO, NULL, 0);
    sql_run(b, SQL_KEEP, NULL, 0);
    audit_drop(b);
    intents_undo(b);
    b->sends.n = b->sends_marked;
    b->chain = b->chain_marked;
    b->depth = b->depth_marked;
    return sql_done(b, OK);
}

/* A record of one decision that keeps nothing can fail only before its first write. */
static bool record_may_fail(const struct store_record *r)
{
    return r->settles != 0 || r->n != 1 || r->settlement != NULL || r->decisions[0].deferred != NULL ||
           r->decisions[0].message->collapse_key.n > 0;
}

static bool result_may_fail(const struct store_result *r)
{
    return r->settles != 0 || r->n != 1 || r->settlement != NULL || r->results[0].deferred != NULL;
}

static bool sqlite_may_fail(const struct store_request *r)
{
    switch (r->kind) {
    case STORE_RECORD:
        return record_may_fail((const struct store_record *)(const void *)r);
    case STORE_RESULT:
        return result_may_fail((const struct store_result *)(const void *)r);
    case STORE_PROFILE_GET:
    case STORE_CONTACT_GET:
    case STORE_DEFERRED_LIST:
    case STORE_DECISION_GET:
    case STORE_SANDBOX_LIST:
    case STORE_AUDIT_NOTE:
    case STORE_IDEMPOTENCY_SWEEP:
        return false;
    case STORE_CONTACT_PUT:
    case STORE_CONSENT_ADD:
    case STORE_OPT_OUT_ADD:
    case STORE_DEFERRED_CLAIM:
    case STORE_DEFERRED_CHANGE:
    case STORE_IDEMPOTENCY_CLAIM:
    case STORE_DEFERRED_RETIME:
        return true;
    case STORE_REQUEST_N:
        break;
    }
    never("a kind of request");
}

static enum err sqlite_tend(struct backend *b)
{
    if (b->wal_pages < b->checkpoint_at_pages)
        return OK;
    int in_log, done;
    gather_checkpoint(b->gather, true);
    int rc = sqlite3_wal_checkpoint_v2(b->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &done);
    gather_checkpoint(b->gather, false);
    if (rc != SQLITE_OK && sql_fault_kind(rc) != FAULT_BUSY) {
        sql_fault(b, rc);
        return ERR_UNAVAILABLE;
    }
    /* A reader that holds an old snapshot keeps the log from starting again: try after as many pages more. */
    bool whole = rc == SQLITE_OK && in_log == done;
    b->checkpoint_at_pages = whole ? CHECKPOINT_PAGES : b->wal_pages + CHECKPOINT_PAGES;
    b->wal_pages = 0;
    return OK;
}

static enum store_fault sqlite_fault(struct backend *b, struct errmsg *why)
{
    enum store_fault f = b->fault;
    *why = b->why;
    b->fault = FAULT_NONE;
    return f;
}

static void sqlite_stop_writing(struct backend *b)
{
    b->stopped = true;
    /* Reads go on; that nothing is written is held by store.c, and by SQLite itself when this takes. */
    ignore(sqlite3_exec(b->db, "PRAGMA query_only = ON", NULL, NULL, NULL));
}

static int64_t sqlite_free_bytes(struct backend *b)
{
    struct statvfs v;
    if (statvfs(b->path, &v) == -1)
        return INT64_MAX; /* not known; the writes will tell */
    return (int64_t)((uint64_t)v.f_bavail * v.f_frsize);
}

static int sqlite_lock_url(struct slice where, struct errmsg *e)
{
    AUTO(free_path) char *path = xstrndup(where.p, where.n);
    return sqlite_lock(path, e);
}

static struct slice sqlite_secret(struct backend *b)
{
    return b->audit_key;
}

static struct store_figures sqlite_figures(struct backend *b)
{
    return (struct store_figures){.depth = b->depth_committed, .audit_rows = b->chain_committed.seq};
}

/* The first transaction of an opening: its number, and what a crash left. */
static bool start(struct backend *b, const struct store_options *o, uint64_t *decision_base, struct errmsg *e)
{
    bool ok = sqlite_begin(b, true) == OK && sqlite_audit_open(b, false, e);
    if (ok) {
        *decision_base = (uint64_t)sql_get(b, SQL_OPENING, 0, NULL, 0) << OPENING_SHIFT | 1;
        ok = sqlite_read_depth(b) && sqlite_recover(b, o->sharing != STORE_SHARED, o->now_ms) == OK;
        sqlite_audit_sign(b); /* of an empty audit as well: from now on a missing head is a removed one */
        ok = ok && sqlite_commit(b) == OK;
    }
    if (!ok)
        sqlite_rollback(b);
    return ok;
}

static struct backend *sqlite_open(const struct store_options *o, struct slice where, uint64_t *decision_base,
                                   struct errmsg *e)
{
    struct backend *b = xcalloc(1, sizeof *b);
    b->lock_fd = b->turn_fd = -1;
    b->data_version = -1;
    b->owner = o->owner;
    b->checkpoint_at_pages = CHECKPOINT_PAGES;
    arena_init(&b->scratch, SCRATCH_BYTES);
    b->intents = intents_new();
    b->path = xstrndup(where.p, where.n);
    if (where.n == 0 || slice_starts(where, ":")) {
        errmsg_set(e, "store \"%s\": a file is expected after sqlite:", o->url);
        goto fail;
    }
    if (!open_file(b, o, e) || !prepare_all(b, e) || !load_audit_key(b, o, e))
        goto fail;
    bool started = o->read_only ? sqlite_audit_open(b, true, e) && sqlite_read_depth(b) : start(b, o, decision_base, e);
    if (!started && b->why.text[0] != '\0')
        errmsg_set(e, "%s", b->why.text);
    if (!started)
        goto fail;
    sqlite3_wal_hook(b->db, on_wal, b);
    return b;
fail:
    sqlite_close(&b);
    return NULL;
}

const struct store_ops sqlite_ops = {
    .scheme = "sqlite:",
    .open = sqlite_open,
    .close = sqlite_close,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .may_fail = sqlite_may_fail,
    .mark = sqlite_mark,
    .keep = sqlite_keep,
    .undo = sqlite_undo,
#define X(id, name) .name = sqlite_##name,
    STORE_REQUESTS(X)
#undef X
        .tend = sqlite_tend,
    .fault = sqlite_fault,
    .stop_writing = sqlite_stop_writing,
    .free_bytes = sqlite_free_bytes,
    .figures = sqlite_figures,
    .lock = sqlite_lock_url,
    .secret = sqlite_secret,
    .sends = sqlite_sends,
    .identity = sqlite_identity,
    .history = sqlite_history,
    .profile_at = sqlite_profile_at,
    .verify = sqlite_verify,
};

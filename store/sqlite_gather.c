/*
 * Fewer and larger reads and writes of the write-ahead log.  SQLite writes a frame in two pieces, each with a system
 * call of its own, which follow one another in the file.  This stands between SQLite and the real VFS, holds writes
 * back while each begins where the last one ended, and lets them go before anything else is done with the log: before
 * a sync above all, which is what a commit waits for, and what synchronous=FULL does before any other connection is
 * told of the frames.  A write that fails then fails the sync.  What a rollback leaves behind goes before the log is
 * another's to write.
 *
 * The database itself is written at once: a checkpoint behind a reader tells the others what it has copied without a
 * sync before, so nobody would hear of a write that failed later.
 *
 * While a checkpoint runs, the log is read in large pieces: what it copies cannot change under it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "store/sqlite.h"

#define GATHER_BYTES (120u << 10) /* SQLite's unix VFS takes no 128 KiB at once (os_unix.c: nBuf &= 0x1ffff) */
#define AHEAD_BYTES  (64u << 10)
#define NAME_MAX_    32

struct gather {
    sqlite3_vfs vfs; /* first: SQLite hands it back */
    sqlite3_vfs *real;
    char name[NAME_MAX_];
    uint64_t checkpoints;      /* begun by this connection; */
    bool ahead;                /* the latest is running */
    struct gathered_file *wal; /* its connection's; NULL: not open */
};

struct gathered_file {
    sqlite3_file base;
    sqlite3_file *real;
    struct gather *gather;
    bool is_wal;
    int lost; /* of the running transaction's writes, some: why.  SQLite heard of it in another call, which it may
                 forgive */
    /* What is held: n bytes that belong at `at`, to be written; or n_ahead that were read in a checkpoint. */
    char *bytes; /* GATHER_BYTES, from the first write on */
    size_t n, n_ahead;
    uint64_t checkpoint; /* after it, another process may write where they were read */
    sqlite3_int64 at;
};

static struct gathered_file *of(sqlite3_file *f)
{
    return (struct gathered_file *)(void *)f;
}

/* Written, or gone: SQLite takes a failed write for one that may have left anything. */
static int let_go(struct gathered_file *f)
{
    size_t n = f->n;
    f->n = f->n_ahead = 0;
    int rc = n == 0 ? SQLITE_OK : f->real->pMethods->xWrite(f->real, f->bytes, (int)n, f->at);
    if (rc != SQLITE_OK)
        f->lost = rc;
    return rc;
}

static bool has_room(struct gathered_file *f, size_t n)
{
    if (f->bytes == NULL)
        f->bytes = malloc(GATHER_BYTES); /* none: each write goes by itself */
    return f->bytes != NULL && n <= GATHER_BYTES - f->n;
}

static int gather_write(sqlite3_file *base, const void *p, int n, sqlite3_int64 at)
{
    struct gathered_file *f = of(base);
    if (!f->is_wal)
        return f->real->pMethods->xWrite(f->real, p, n, at);
    bool follows = f->n > 0 && at == f->at + (sqlite3_int64)f->n && has_room(f, (size_t)n);
    if (!follows) {
        int rc = let_go(f);
        if (rc != SQLITE_OK || !has_room(f, (size_t)n))
            return rc != SQLITE_OK ? rc : f->real->pMethods->xWrite(f->real, p, n, at);
        f->at = at;
    }
    memcpy(f->bytes + f->n, p, (size_t)n);
    f->n += (size_t)n;
    return SQLITE_OK;
}

/* Nothing, when the file ends before: then what is wanted is read by itself. */
static int read_ahead(struct gathered_file *f, sqlite3_int64 at)
{
    int rc = f->real->pMethods->xRead(f->real, f->bytes, (int)AHEAD_BYTES, at);
    if (rc != SQLITE_OK)
        return rc == SQLITE_IOERR_SHORT_READ ? SQLITE_OK : rc;
    f->at = at;
    f->n_ahead = AHEAD_BYTES;
    f->checkpoint = f->gather->checkpoints;
    return SQLITE_OK;
}

static int gather_read(sqlite3_file *base, void *p, int n, sqlite3_int64 at)
{
    struct gathered_file *f = of(base);
    bool current = f->gather->ahead && f->checkpoint == f->gather->checkpoints;
    bool held = current && f->n_ahead > 0 && at >= f->at && at + n <= f->at + (sqlite3_int64)f->n_ahead;
    if (!held) {
        int rc = let_go(f);
        if (rc == SQLITE_OK && f->is_wal && f->gather->ahead && has_room(f, AHEAD_BYTES))
            rc = read_ahead(f, at);
        if (rc != SQLITE_OK)
            return rc;
        held = n <= (int)f->n_ahead;
    }
    if (!held)
        return f->real->pMethods->xRead(f->real, p, n, at);
    memcpy(p, f->bytes + (at - f->at), (size_t)n);
    return SQLITE_OK;
}

static int gather_close(sqlite3_file *base)
{
    struct gathered_file *f = of(base);
    ignore(let_go(f)); /* no sync stood behind it: nobody counts on it */
    if (f->is_wal)
        f->gather->wal = NULL;
    free(f->bytes);
    return f->real->pMethods->xClose(f->real);
}

/* All else: what is held goes first. */
#define AFTER_WRITES(f, call)                                                                                          \
    do {                                                                                                               \
        sqlite3_file *real = of(f)->real;                                                                              \
        int rc = let_go(of(f));                                                                                        \
        return rc != SQLITE_OK ? rc : real->pMethods->call;                                                            \
    } while (0)

static int gather_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    AFTER_WRITES(f, xTruncate(real, size));
}
static int gather_sync(sqlite3_file *f, int flags)
{
    if (of(f)->lost != SQLITE_OK)
        return of(f)->lost;
    AFTER_WRITES(f, xSync(real, flags));
}
static int gather_size(sqlite3_file *f, sqlite3_int64 *size)
{
    AFTER_WRITES(f, xFileSize(real, size));
}
static int gather_lock(sqlite3_file *f, int level)
{
    AFTER_WRITES(f, xLock(real, level));
}
static int gather_unlock(sqlite3_file *f, int level)
{
    AFTER_WRITES(f, xUnlock(real, level));
}
static int gather_reserved(sqlite3_file *f, int *out)
{
    AFTER_WRITES(f, xCheckReservedLock(real, out));
}
static int gather_control(sqlite3_file *f, int op, void *arg)
{
    AFTER_WRITES(f, xFileControl(real, op, arg));
}

static int gather_sector(sqlite3_file *f)
{
    return of(f)->real->pMethods->xSectorSize(of(f)->real);
}
static int gather_traits(sqlite3_file *f)
{
    return of(f)->real->pMethods->xDeviceCharacteristics(of(f)->real);
}
static int gather_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **p)
{
    return of(f)->real->pMethods->xShmMap(of(f)->real, page, size, extend, p);
}
/* The lock to write the log is one of these.  Frames that are still held then were rolled back: written or not is one.
 */
static int gather_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    struct gathered_file *wal = of(f)->gather->wal;
    if ((flags & SQLITE_SHM_UNLOCK) != 0 && wal != NULL) {
        ignore(let_go(wal));
        wal->lost = SQLITE_OK;
    }
    return of(f)->real->pMethods->xShmLock(of(f)->real, offset, n, flags);
}
static void gather_shm_barrier(sqlite3_file *f)
{
    of(f)->real->pMethods->xShmBarrier(of(f)->real);
}
static int gather_shm_unmap(sqlite3_file *f, int delete)
{
    return of(f)->real->pMethods->xShmUnmap(of(f)->real, delete);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2, /* without xFetch: nothing is mapped */
    .xClose = gather_close,
    .xRead = gather_read,
    .xWrite = gather_write,
    .xTruncate = gather_truncate,
    .xSync = gather_sync,
    .xFileSize = gather_size,
    .xLock = gather_lock,
    .xUnlock = gather_unlock,
    .xCheckReservedLock = gather_reserved,
    .xFileControl = gather_control,
    .xSectorSize = gather_sector,
    .xDeviceCharacteristics = gather_traits,
    .xShmMap = gather_shm_map,
    .xShmLock = gather_shm_lock,
    .xShmBarrier = gather_shm_barrier,
    .xShmUnmap = gather_shm_unmap,
};

static int gather_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out_flags)
{
    struct gather *g = (struct gather *)(void *)vfs;
    if ((flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) == 0)
        return g->real->xOpen(g->real, name, base, flags, out_flags);
    struct gathered_file *f = of(base);
    *f = (struct gathered_file){
        .real = (sqlite3_file *)(void *)(f + 1), .gather = g, .is_wal = (flags & SQLITE_OPEN_WAL) != 0};
    int rc = g->real->xOpen(g->real, name, f->real, flags, out_flags);
    f->base.pMethods = rc == SQLITE_OK ? &methods : NULL;
    if (rc == SQLITE_OK && f->is_wal)
        g->wal = f;
    return rc;
}

struct gather *gather_new(void)
{
    struct gather *g = xcalloc(1, sizeof *g);
    g->real = sqlite3_vfs_find(NULL);
    ensure(g->real != NULL);
    snprintf(g->name, sizeof g->name, "postern-%p", (void *)g);
    g->vfs = *g->real;
    g->vfs.pNext = NULL;
    g->vfs.zName = g->name;
    g->vfs.szOsFile = (int)sizeof(struct gathered_file) + g->real->szOsFile;
    g->vfs.xOpen = gather_open;
    ensure(sqlite3_vfs_register(&g->vfs, 0) == SQLITE_OK);
    return g;
}

void gather_free(struct gather **gp)
{
    if (*gp != NULL)
        sqlite3_vfs_unregister(&(*gp)->vfs);
    free(*gp);
    *gp = NULL;
}

const char *gather_name(const struct gather *g)
{
    return g->name;
}

void gather_checkpoint(struct gather *g, bool runs)
{
    g->ahead = runs;
    g->checkpoints += runs;
}

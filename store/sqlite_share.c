/*
 * A database that several processes share.  Each has a connection of its own and a thread that owns it, so what one
 * keeps in memory (the head of the chain, the depths of the queue) may be old when its next transaction begins: it is
 * read again when SQLite says that somebody else has committed.  Writers take turns by a lock that blocks in the
 * kernel: SQLite's own waiting sleeps, for milliseconds, and lets whoever comes by go first.
 */
#include "store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_FILE_SUFFIX ".lock"
#define TURN_FILE_SUFFIX ".turn"

/* Bytes of the turn file.  Who waits for the turn holds NEXT: whoever gave the turn back queues behind him. */
enum { TURN_BYTE, NEXT_BYTE };

static void free_path(char **p)
{
    free(*p);
}

static int open_beside(const char *path, const char *suffix, struct errmsg *e)
{
    AUTO(free_path) char *beside = sqlite_path_with(path, suffix);
    int fd = open(beside, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd == -1)
        errmsg_set(e, "%s: cannot create: %s", beside, strerror(errno));
    return fd;
}

/* One family of processes per file: a stranger would take the open intents of the others for a crash's. */
int sqlite_lock(const char *path, struct errmsg *e)
{
    int fd = open_beside(path, LOCK_FILE_SUFFIX, e);
    if (fd == -1 || flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    errmsg_set(e, "%s: in use by another posternd: stop it, or name another file", path);
    close(fd);
    return -1;
}

bool sqlite_share_open(struct backend *b, struct errmsg *e)
{
    b->turn_fd = open_beside(b->path, TURN_FILE_SUFFIX, e);
    return b->turn_fd != -1;
}

/* Of the open file, not of the process: two stores of one process take turns as well, and the end of either frees it.
 */
static void lock_byte(struct backend *b, short type, off_t byte)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int rc;
    do
        rc = fcntl(b->turn_fd, F_OFD_SETLKW, &l);
    while (rc == -1 && errno == EINTR);
    ensure(rc == 0); /* a lock that is not there would cost order, not the data: SQLite has its own */
}

void sqlite_turn_take(struct backend *b)
{
    if (b->turn_fd == -1 || b->has_turn)
        return;
    lock_byte(b, F_WRLCK, NEXT_BYTE);
    lock_byte(b, F_WRLCK, TURN_BYTE);
    lock_byte(b, F_UNLCK, NEXT_BYTE);
    b->has_turn = true;
}

void sqlite_turn_give(struct backend *b)
{
    if (!b->has_turn)
        return;
    b->has_turn = false;
    lock_byte(b, F_UNLCK, TURN_BYTE);
}

/* A head whose signature does not hold is not built on. */
static bool read_chain(struct backend *b)
{
    struct audit_chain head = {0};
    struct digest mac = {0};
    if (!audit_head_read(b, &head, &mac))
        return b->fault == FAULT_NONE; /* none yet */
    struct digest should = audit_head_mac(b->audit_key, &head);
    if (memcmp(&should, &mac, sizeof mac) != 0) {
        b->fault = FAULT_FATAL;
        errmsg_set(&b->why, "%s: the signature of the audit's head does not hold: changed by another program", b->path);
        return false;
    }
    b->chain = b->chain_committed = head;
    return true;
}

void sqlite_refresh(struct backend *b)
{
    if (b->turn_fd == -1)
        return;
    int64_t version = sql_get(b, SQL_DATA_VERSION, 0, NULL, 0);
    if (b->fault != FAULT_NONE || version == b->data_version)
        return;
    if (read_chain(b) && sqlite_read_depth(b))
        b->data_version = version;
}

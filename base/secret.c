/*
 * Secrets by reference.  A value is never in an error text, a file that others
 * can read is refused, and memory is wiped before it is given back.
 */
#include "postern/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char *secret_copy(const char *value, size_t n, const char *ref, struct errmsg *e)
{
    if (n == 0 || n > SECRET_MAX || memchr(value, '\0', n) != NULL) {
        errmsg_set(e, "%s must hold 1 to %d bytes without NUL", ref, SECRET_MAX);
        return NULL;
    }
    return xstrndup(value, n);
}

static void close_fd(int *fd)
{
    if (*fd != -1)
        close(*fd);
}

/* One byte more than a secret may have, and the line end that editors add. */
#define FILE_MAX (SECRET_MAX + 2)

static bool file_is_private(int fd, mode_t allowed, const char *ref, struct errmsg *e)
{
    struct stat st;
    if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        errmsg_set(e, "%s is not a regular file", ref);
        return false;
    }
    if ((st.st_mode & 07777 & ~allowed) != 0) {
        errmsg_set(e, "%s has mode %04o; a secret needs 0600 or stricter", ref, (unsigned)(st.st_mode & 07777));
        return false;
    }
    return true;
}

static char *secret_from_file(const char *path, mode_t allowed, const char *ref, struct errmsg *e)
{
    if (path[0] != '/') {
        errmsg_set(e, "%s needs an absolute path", ref);
        return NULL;
    }
    /* O_NONBLOCK: a FIFO by that name must not hold up the start. */
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd == -1) {
        errmsg_set(e, "%s cannot be opened: %s", ref, strerror(errno));
        return NULL;
    }
    if (!file_is_private(fd, allowed, ref, e))
        return NULL;
    char value[FILE_MAX];
    size_t n = 0;
    ssize_t got;
    while (n < sizeof value && (got = read(fd, value + n, sizeof value - n)) != 0) {
        if (got == -1) {
            errmsg_set(e, "%s cannot be read: %s", ref, strerror(errno));
            explicit_bzero(value, sizeof value);
            return NULL;
        }
        n += (size_t)got;
    }
    if (n > 0 && value[n - 1] == '\n')
        n--;
    char *secret = secret_copy(value, n, ref, e);
    explicit_bzero(value, sizeof value);
    return secret;
}

/*
 * systemd.exec(5), LoadCredential=: the service reads by an ACL, which stat() shows as the group's bits; nobody else
 * can enter the directory.
 */
static char *secret_from_credential(const char *name, const char *ref, struct errmsg *e)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    char path[4096];

    if (name[0] == '\0' || strchr(name, '/') != NULL) {
        errmsg_set(e, "%s needs the name of a credential, without a slash", ref);
        return NULL;
    }
    if (dir == NULL) {
        errmsg_set(e, "%s: systemd gave no credentials; write LoadCredential=%s:/path into the unit", ref, name);
        return NULL;
    }
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof path) {
        errmsg_set(e, "%s: CREDENTIALS_DIRECTORY is too long", ref);
        return NULL;
    }
    return secret_from_file(path, 0640, ref, e);
}

char *secret_load(const char *ref, struct errmsg *e)
{
    struct slice s = slice_of(ref);
    if (slice_starts(s, "file:"))
        return secret_from_file(ref + strlen("file:"), 0600, ref, e);
    if (slice_starts(s, "credential:"))
        return secret_from_credential(ref + strlen("credential:"), ref, e);
    if (!slice_starts(s, "env:"))
        return secret_copy(ref, s.n, "the secret", e);
    const char *value = getenv(ref + strlen("env:"));
    if (value == NULL) {
        errmsg_set(e, "%s: there is no such environment variable", ref);
        return NULL;
    }
    return secret_copy(value, strlen(value), ref, e);
}

void secret_free(char **s)
{
    if (*s != NULL)
        explicit_bzero(*s, strlen(*s));
    free(*s);
    *s = NULL;
}

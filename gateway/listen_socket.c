/*
 * Listening sockets and their addresses.  Knows nothing of what is spoken there.
 * The one idea: sockets that share an address are joined by their makers alone; a stranger's is never joined.
 */
#include "listen_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define ACCEPT_BACKLOG 4096 /* the kernel caps it at net.core.somaxconn */

static bool parse_host(struct slice host, uint16_t port, struct listen_address *out)
{
    char text[INET6_ADDRSTRLEN + 1] = {0};
    if (host.n == 0 || host.n >= sizeof(text)) {
        return false;
    }
    memcpy(text, host.p, host.n);
    *out = (struct listen_address){.n = sizeof(out->v4)};
    if (text[0] != '[') {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        return inet_pton(AF_INET, text, &out->v4.sin_addr) == 1;
    }
    if (text[host.n - 1] != ']') {
        return false;
    }
    text[host.n - 1] = '\0';
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(port);
    out->n = sizeof(out->v6);
    return inet_pton(AF_INET6, text + 1, &out->v6.sin6_addr) == 1;
}

bool listen_address_parse(const char *text, struct listen_address *out, struct errmsg *e)
{
    const char *colon = text == NULL ? NULL : strrchr(text, ':');
    uint64_t port = 0;
    if (colon != NULL && slice_to_u64(slice_of(colon + 1), UINT16_MAX, &port) &&
        parse_host((struct slice){text, (size_t)(colon - text)}, (uint16_t)port, out)) {
        return true;
    }
    errmsg_set(e, "'%s' is no address to listen on; write 127.0.0.1:8080 or [::1]:8080", text == NULL ? "" : text);
    return false;
}

bool listen_address_is_loopback(const struct listen_address *a)
{
    if (a->any.sa_family == AF_INET) {
        return ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
    }
    return IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr);
}

void listen_peer_format(const struct sockaddr *sa, char out[LISTEN_PEER_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)sa;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        snprintf(out, LISTEN_PEER_MAX, "%s:%u", host, ntohs(v4->sin_port));
    } else {
        const struct sockaddr_in6 *v6 = (const void *)sa;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        snprintf(out, LISTEN_PEER_MAX, "[%s]:%u", host, ntohs(v6->sin6_port));
    }
}

/* What a socket is for. */
enum purpose {
    ALONE,  /* nobody else may have the address, so that a stranger's socket is not joined */
    SHARED, /* with others of ours */
    PROBE   /* alone, and it does not listen: is the address free? */
};

/* -1, with errno. */
static int listening_socket(const struct listen_address *a, enum purpose purpose)
{
    int on = 1, fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        (purpose != SHARED || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
        bind(fd, &a->any, a->n) == 0 && (purpose == PROBE || listen(fd, ACCEPT_BACKLOG) == 0))
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int listen_socket_open(const struct listen_address *a, const char *text, struct errmsg *e)
{
    int fd = listening_socket(a, ALONE);
    if (fd == -1)
        errmsg_set(e, "cannot listen on %s: %s", text, strerror(errno));
    return fd;
}

uint16_t listen_socket_port(int fd)
{
    struct listen_address bound = {.n = sizeof(bound.v6)};
    ensure(getsockname(fd, &bound.any, &bound.n) == 0);
    return ntohs(bound.any.sa_family == AF_INET ? bound.v4.sin_port : bound.v6.sin6_port);
}

bool listen_sockets_open(const char *address, int *fds, size_t n, struct errmsg *e)
{
    struct listen_address a;
    if (!listen_address_parse(address, &a, e))
        return false;
    int probe = listening_socket(&a, PROBE);
    bool ok = probe != -1 && getsockname(probe, &a.any, &a.n) == 0; /* of port 0: the one that all shall have */
    if (probe != -1)
        close(probe);
    size_t made = 0;
    while (ok && made < n) {
        fds[made] = listening_socket(&a, SHARED);
        ok = fds[made] != -1;
        made += ok;
    }
    if (ok)
        return true;
    errmsg_set(e, "cannot listen on %s: %s", address, strerror(errno));
    while (made > 0)
        close(fds[--made]);
    return false;
}

/* Linux: a listening socket that is shut down leaves its group and stays bound. */
void listen_socket_pause(int fd)
{
    ensure(shutdown(fd, SHUT_RD) == 0 || errno == ENOTCONN); /* it does not listen already */
}

bool listen_socket_again(int fd)
{
    return listen(fd, ACCEPT_BACKLOG) == 0;
}

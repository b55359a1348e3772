/*
 * Addresses that a listener has, sockets that listen there, and who called: what all listeners share.
 */
#ifndef GATEWAY_LISTEN_SOCKET_H
#define GATEWAY_LISTEN_SOCKET_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "postern/base.h"

struct listen_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t n;
};

/* "127.0.0.1:8080", "[::1]:8080"; port 0: any free one.  False with the reason in e. */
bool listen_address_parse(const char *text, struct listen_address *out, struct errmsg *e) NODISCARD;
bool listen_address_is_loopback(const struct listen_address *a);

#define LISTEN_PEER_MAX 64
/* "192.0.2.1:51324", "[2001:db8::1]:51324" */
void listen_peer_format(const struct sockaddr *sa, char out[LISTEN_PEER_MAX]);

/* A socket that listens there, alone; text is how errors name the address.  -1 with the reason in e. */
int listen_socket_open(const struct listen_address *a, const char *text, struct errmsg *e) NODISCARD;
uint16_t listen_socket_port(int fd);

/*
 * n sockets that listen on one address and share what comes in (SO_REUSEPORT), so that each has a queue that outlives
 * who accepts from it.  False with the reason in e; fds is then left as it was.
 */
bool listen_sockets_open(const char *address, int *fds, size_t n, struct errmsg *e) NODISCARD;
/*
 * Nobody will accept from that socket for a while: who waits in its queue is turned away, and the kernel gives new
 * connections to the others, until it listens again.
 */
void listen_socket_pause(int fd);
bool listen_socket_again(int fd) NODISCARD; /* false, with errno */

#endif

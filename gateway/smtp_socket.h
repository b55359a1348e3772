/*
 * A client's socket as the SMTP listener uses it: bytes in and out without waiting, in the clear or under TLS.
 *
 * A normal case: smtp_socket_write() gives the kernel all of a reply, or OpenSSL as one record.  A bad one: the client
 * does not read: what it did not take is kept (n_unsent), and smtp_socket_flush() tries again when the socket is ready
 * for smtp_socket_wants().
 */
#ifndef GATEWAY_SMTP_SOCKET_H
#define GATEWAY_SMTP_SOCKET_H

#include "postern/base.h"

struct ssl_st; /* OpenSSL's SSL */

struct smtp_socket {
    int fd;             /* -1: closed */
    struct ssl_st *tls; /* NULL: in the clear */
    bool tls_writes;    /* the handshake, or OpenSSL while it reads, waits to write */
    char *unsent;
    size_t n_unsent;
};

enum smtp_io {
    SMTP_IO_OK,
    SMTP_IO_AGAIN, /* nothing now */
    SMTP_IO_END,   /* the other side has shut its direction */
    SMTP_IO_BROKEN
};

/* Up to cap bytes; *n of them came (with SMTP_IO_OK more than 0). */
enum smtp_io smtp_socket_read(struct smtp_socket *s, char *out, size_t cap, size_t *n) NODISCARD;
/* There are bytes of which the kernel will not tell: read on without waiting. */
bool smtp_socket_has_more(const struct smtp_socket *s);
/* OK or BROKEN.  What cannot leave now is copied. */
enum smtp_io smtp_socket_write(struct smtp_socket *s, struct slice bytes) NODISCARD;
enum smtp_io smtp_socket_flush(struct smtp_socket *s) NODISCARD;
/* Takes tls, as the server's side.  Nothing may be unsent. */
void smtp_socket_begin_tls(struct smtp_socket *s, struct ssl_st *tls);
/* OK: done. */
enum smtp_io smtp_socket_handshake(struct smtp_socket *s) NODISCARD;
/* Over TLS: our direction ends here. */
void smtp_socket_farewell(struct smtp_socket *s);
/* The same of the socket. */
void smtp_socket_shut(struct smtp_socket *s);
/* Throw away what came; END or BROKEN: nothing more will. */
enum smtp_io smtp_socket_discard(struct smtp_socket *s, char *scratch, size_t cap) NODISCARD;
void smtp_socket_close(struct smtp_socket *s);

#endif

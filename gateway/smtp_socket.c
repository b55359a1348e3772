/*
 * Bytes of one client, in the clear or under TLS.  Knows nothing of SMTP but that a reply leaves whole: over TLS a
 * reply in two records reaches some clients as two replies, so each write is one SSL_write.  The one idea: no call
 * waits, and OpenSSL works on the socket itself, so that nothing read in the clear can be taken for what TLS protects.
 */
#include "smtp_socket.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* What OpenSSL's answer to a call that did not succeed means. */
static enum smtp_io tls_outcome(struct smtp_socket *s, int rc)
{
    int why = SSL_get_error(s->tls, rc);

    s->tls_writes = why == SSL_ERROR_WANT_WRITE;
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return SMTP_IO_AGAIN;
    bool end = why == SSL_ERROR_ZERO_RETURN ||
               (why == SSL_ERROR_SSL && ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING);
    ERR_clear_error();
    /* Without a close_notify it may have been cut: the final dot tells a whole message from that. */
    return end ? SMTP_IO_END : SMTP_IO_BROKEN;
}

static enum smtp_io tls_read(struct smtp_socket *s, char *out, size_t cap, size_t *n)
{
    size_t piece = 0;
    int rc = 1;

    ERR_clear_error();
    while (*n < cap && (rc = SSL_read_ex(s->tls, out + *n, cap - *n, &piece)) == 1)
        *n += piece;
    enum smtp_io io = rc == 1 ? SMTP_IO_OK : tls_outcome(s, rc);
    return *n > 0 ? SMTP_IO_OK : io; /* what stopped it comes again */
}

static enum smtp_io outcome(ssize_t n)
{
    if (n == 0)
        return SMTP_IO_END;
    if (n == -1)
        return errno == EAGAIN || errno == EINTR ? SMTP_IO_AGAIN : SMTP_IO_BROKEN;
    return SMTP_IO_OK;
}

enum smtp_io smtp_socket_read(struct smtp_socket *s, char *out, size_t cap, size_t *n)
{
    *n = 0;
    if (s->tls != NULL)
        return tls_read(s, out, cap, n);
    ssize_t got = recv(s->fd, out, cap, 0);
    *n = got > 0 ? (size_t)got : 0;
    return outcome(got);
}

bool smtp_socket_has_more(const struct smtp_socket *s)
{
    return s->tls != NULL && SSL_pending(s->tls) > 0;
}

/* *n: how many it took. */
static enum smtp_io send_some(struct smtp_socket *s, struct slice bytes, size_t *n)
{
    *n = 0;
    if (s->tls == NULL) {
        ssize_t sent = send(s->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        *n = sent > 0 ? (size_t)sent : 0;
        return outcome(sent);
    }
    ERR_clear_error();
    int rc = SSL_write_ex(s->tls, bytes.p, bytes.n, n);
    if (rc == 1)
        return SMTP_IO_OK;
    *n = 0;
    return tls_outcome(s, rc);
}

static void keep(struct smtp_socket *s, struct slice bytes)
{
    s->unsent = xrealloc(s->unsent, 1, s->n_unsent + bytes.n);
    memcpy(s->unsent + s->n_unsent, bytes.p, bytes.n);
    s->n_unsent += bytes.n;
}

enum smtp_io smtp_socket_write(struct smtp_socket *s, struct slice bytes)
{
    size_t n = 0;

    if (s->n_unsent == 0) {
        enum smtp_io io = send_some(s, bytes, &n);
        if (io == SMTP_IO_BROKEN || io == SMTP_IO_END)
            return SMTP_IO_BROKEN;
    }
    if (n < bytes.n)
        keep(s, (struct slice){bytes.p + n, bytes.n - n});
    return SMTP_IO_OK;
}

enum smtp_io smtp_socket_flush(struct smtp_socket *s)
{
    size_t n = 0;

    while (s->n_unsent > 0) {
        enum smtp_io io = send_some(s, (struct slice){s->unsent, s->n_unsent}, &n);
        if (io == SMTP_IO_AGAIN)
            return SMTP_IO_OK;
        if (io != SMTP_IO_OK)
            return SMTP_IO_BROKEN;
        s->n_unsent -= n;
        memmove(s->unsent, s->unsent + n, s->n_unsent);
    }
    free(s->unsent);
    s->unsent = NULL;
    return SMTP_IO_OK;
}

void smtp_socket_begin_tls(struct smtp_socket *s, struct ssl_st *tls)
{
    ensure(s->tls == NULL && s->n_unsent == 0);
    s->tls = tls;
    /* The same bytes are written again from where they were kept. */
    SSL_set_mode(tls, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    ensure(SSL_set_fd(tls, s->fd) == 1);
    SSL_set_accept_state(tls);
}

enum smtp_io smtp_socket_handshake(struct smtp_socket *s)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(s->tls);
    if (rc == 1) {
        s->tls_writes = false;
        return SMTP_IO_OK;
    }
    return tls_outcome(s, rc);
}

void smtp_socket_farewell(struct smtp_socket *s)
{
    if (s->tls == NULL || !SSL_is_init_finished(s->tls))
        return;
    ERR_clear_error();
    ignore(SSL_shutdown(s->tls)); /* whether it leaves or not */
    ERR_clear_error();
}

void smtp_socket_shut(struct smtp_socket *s)
{
    ignore(shutdown(s->fd, SHUT_WR)); /* it may be gone */
}

enum smtp_io smtp_socket_discard(struct smtp_socket *s, char *scratch, size_t cap)
{
    return outcome(recv(s->fd, scratch, cap, 0));
}

void smtp_socket_close(struct smtp_socket *s)
{
    SSL_free(s->tls);
    s->tls = NULL;
    free(s->unsent);
    s->unsent = NULL;
    s->n_unsent = 0;
    if (s->fd != -1)
        close(s->fd);
    s->fd = -1;
}

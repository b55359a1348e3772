/*
 * OpenSSL as a client, on a socket of somebody else's: handshake, bytes out and
 * in.  It must not know what the bytes are, nor who waits for the socket.
 *
 * The idea: who is on the other side is settled in the handshake, by chain and
 * name, or there is no connection; a session that passed may be resumed.
 */
#include "upstream_tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

struct upstream_tls {
    SSL_CTX *ctx;
    char *host; /* without brackets */
    bool is_address;
    SSL_SESSION *session; /* the last that the host gave, or NULL */
};

/* A copy: OpenSSL spoils its own when the connection ends without a farewell, which says nothing about the host. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct upstream_tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    SSL_SESSION_free(tls->session);
    tls->session = SSL_SESSION_dup(session);
    return 0; /* session stays OpenSSL's */
}

static char *bare(const char *host)
{
    size_t n = strlen(host);
    return host[0] == '[' ? xstrndup(host + 1, n - 2) : xstrdup(host);
}

static bool is_address(const char *host)
{
    struct in6_addr in;
    return inet_pton(AF_INET, host, &in) == 1 || inet_pton(AF_INET6, host, &in) == 1;
}

struct upstream_tls *upstream_tls_new(const char *host, X509_STORE *trusted)
{
    struct upstream_tls *tls = xcalloc(1, sizeof *tls);
    tls->host = bare(host);
    tls->is_address = is_address(tls->host);
    tls->ctx = SSL_CTX_new(TLS_client_method());
    ensure(tls->ctx && SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION) == 1);
    SSL_CTX_set1_cert_store(tls->ctx, trusted);
    SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_get_security_level(tls->ctx) < 2)
        SSL_CTX_set_security_level(tls->ctx, 2); /* as Debian has it: no key below 112 bits, no SHA-1 */
    SSL_CTX_set_mode(tls->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_app_data(tls->ctx, tls);
    SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(tls->ctx, on_session);
    return tls;
}

void upstream_tls_free(struct upstream_tls **pp)
{
    struct upstream_tls *tls = take(pp);
    if (!tls)
        return;
    SSL_SESSION_free(tls->session);
    SSL_CTX_free(tls->ctx);
    free(tls->host);
    free(tls);
}

SSL *upstream_tls_begin(struct upstream_tls *tls, int fd)
{
    SSL *ssl = SSL_new(tls->ctx);
    ensure(ssl && SSL_set_fd(ssl, fd) == 1);
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (tls->is_address) {
        ensure(X509_VERIFY_PARAM_set1_ip_asc(param, tls->host) == 1);
    } else {
        ensure(SSL_set1_host(ssl, tls->host) == 1);
        ensure(SSL_set_tlsext_host_name(ssl, tls->host) == 1);
    }
    if (tls->session)
        ignore(SSL_set_session(ssl, tls->session)); /* else a full handshake */
    SSL_set_connect_state(ssl);
    return ssl;
}

/* The thread's error queue must be empty before the call that rc is of (SSL_get_error(3)). */
static enum upstream_link_io ended(SSL *ssl, int rc)
{
    switch (SSL_get_error(ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return UPSTREAM_LINK_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return UPSTREAM_LINK_EOF;
    default:                                      /* of OpenSSL's values, not of an enum of ours */
        SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN); /* nothing can be said any more */
        return UPSTREAM_LINK_LOST;
    }
}

void upstream_tls_end(SSL **pp)
{
    SSL *ssl = take(pp);
    ERR_clear_error();
    if (ssl && SSL_is_init_finished(ssl) && SSL_get_shutdown(ssl) == 0)
        ignore(SSL_shutdown(ssl)); /* nobody waits for the answer */
    SSL_free(ssl);
}

static const char *failure(const SSL *ssl)
{
    long verdict = SSL_get_verify_result(ssl);
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    if (verdict != X509_V_OK)
        return X509_verify_cert_error_string(verdict);
    return reason ? reason : "the connection was closed";
}

enum upstream_link_io upstream_tls_handshake(SSL *ssl, bool *want_write, const char **why)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(ssl);
    if (rc == 1)
        return UPSTREAM_LINK_OK;
    *want_write = SSL_want_write(ssl);
    if (ended(ssl, rc) == UPSTREAM_LINK_AGAIN)
        return UPSTREAM_LINK_AGAIN;
    *why = failure(ssl);
    return UPSTREAM_LINK_LOST;
}

enum upstream_link_io upstream_tls_send(SSL *ssl, struct slice bytes, size_t *n)
{
    ERR_clear_error();
    int rc = SSL_write_ex(ssl, bytes.p, bytes.n, n);
    return rc == 1 ? UPSTREAM_LINK_OK : ended(ssl, rc);
}

enum upstream_link_io upstream_tls_recv(SSL *ssl, char *to, size_t cap, size_t *n)
{
    ERR_clear_error();
    int rc = SSL_read_ex(ssl, to, cap, n);
    return rc == 1 ? UPSTREAM_LINK_OK : ended(ssl, rc);
}

/*
 * TLS as all our listeners serve it.  Knows nothing of connections.  The one idea: what is on offer is decided here
 * alone: TLS 1.2 with forward secrecy and 1.3.
 */
#include "listen_tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

/* The context itself, under a name that needs no header of OpenSSL. */
static SSL_CTX *context(struct listen_tls *tls)
{
    return (SSL_CTX *)tls;
}

static void tls_error(struct errmsg *e, const char *what, const char *file)
{
    char text[160] = "";
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
    errmsg_set(e, "%s %s: %s", what, file, text);
    ERR_clear_error();
}

struct listen_tls *listen_tls_new(const char *certificate, const char *key, struct errmsg *e)
{
    ERR_clear_error();
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    ensure(tls != NULL);
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);                          /* idle connections keep no buffers */
    ensure(SSL_CTX_set_cipher_list(tls, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1); /* of TLS 1.2; 1.3 has its own */
    if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1) {
        tls_error(e, "cannot use the TLS certificate", certificate);
    } else if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
        tls_error(e, "cannot use the TLS key", key);
    } else {
        return (struct listen_tls *)tls;
    }
    SSL_CTX_free(tls);
    return NULL;
}

void listen_tls_free(struct listen_tls **tls)
{
    SSL_CTX_free(context(take(tls)));
}

/* As ALPN names them, each behind its length; not const, because OpenSSL hands them to the callback so. */
static unsigned char protocols[][16] = {[LISTEN_HTTP] = "\x08http/1.1", [LISTEN_SMTP] = "\x04smtp"};

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
                           unsigned in_n, void *arg)
{
    const unsigned char *ours = arg;
    unsigned char *chosen = NULL;
    (void)ssl;
    int rc = SSL_select_next_proto(&chosen, out_n, ours, 1u + ours[0], in, in_n);
    *out = chosen;
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

void listen_tls_speaks(struct listen_tls *tls, enum listen_protocol protocol)
{
    SSL_CTX_set_alpn_select_cb(context(tls), choose_protocol, protocols[protocol]);
}

struct ssl_st *listen_tls_session(struct listen_tls *tls)
{
    SSL *ssl = SSL_new(context(tls));
    ensure(ssl != NULL);
    return ssl;
}

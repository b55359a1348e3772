/*
 * A certificate and its key, ready to serve: what all listeners that speak TLS share.
 */
#ifndef GATEWAY_LISTEN_TLS_H
#define GATEWAY_LISTEN_TLS_H

#include "postern/base.h"

struct listen_tls;
struct ssl_st; /* OpenSSL's SSL */

/* PEM files, the certificate with its chain; NULL with the reason in e when they cannot serve.  Any thread. */
struct listen_tls *listen_tls_new(const char *certificate, const char *key, struct errmsg *e) NODISCARD;
void listen_tls_free(struct listen_tls **tls);

/* What is spoken there: who asks for other things only, by ALPN, is refused (RFC 7301 section 3.2). */
enum listen_protocol { LISTEN_HTTP, LISTEN_SMTP };
void listen_tls_speaks(struct listen_tls *tls, enum listen_protocol protocol);
/* For one connection; it holds the certificate.  Never NULL. */
struct ssl_st *listen_tls_session(struct listen_tls *tls) NODISCARD;

#endif

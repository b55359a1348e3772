/*
 * TLS on a socket that is up already, for STARTTLS: libcurl, which brings links up, cannot begin it later.  Only
 * upstream_link.c uses this.  Certificate chain and name are always checked.
 */
#ifndef POSTERN_UPSTREAM_TLS_H
#define POSTERN_UPSTREAM_TLS_H

#include "upstream_link.h"

struct ssl_st;
struct x509_store_st;
struct upstream_tls; /* how one host is spoken to */

/* host: as in the URL, with brackets when it is an IPv6 address.  trusted is kept. */
struct upstream_tls *upstream_tls_new(const char *host, struct x509_store_st *trusted) NODISCARD;
/* Accepts a pointer to NULL. */
void upstream_tls_free(struct upstream_tls **tls);

struct ssl_st *upstream_tls_begin(struct upstream_tls *tls, int fd) NODISCARD;
/* Before the socket is closed.  Sets *ssl to NULL; accepts a pointer to NULL. */
void upstream_tls_end(struct ssl_st **ssl);
/* OK: it is done; AGAIN: when the socket is ready for writing (*want_write) or reading; LOST: *why, a sentence. */
enum upstream_link_io upstream_tls_handshake(struct ssl_st *ssl, bool *want_write, const char **why) NODISCARD;
enum upstream_link_io upstream_tls_send(struct ssl_st *ssl, struct slice bytes, size_t *n) NODISCARD;
enum upstream_link_io upstream_tls_recv(struct ssl_st *ssl, char *to, size_t cap, size_t *n) NODISCARD;

#endif

/* The one host of an upstream, as upstream_links.c reads it and upstream_link.c dials it.  Nobody else includes it. */
#ifndef POSTERN_UPSTREAM_LINKS_H
#define POSTERN_UPSTREAM_LINKS_H

#include "upstream_link.h"

#include <curl/curl.h>
#include <openssl/ssl.h>

struct upstream_tls;

struct upstream_links {
    struct loop *loop;
    char *name;
    char *host;      /* of the Host field */
    char *bare_host; /* without the port */
    CURLU *url;
    struct curl_slist *resolve;
    X509_STORE *trusted;           /* read once, not for each link; NULL: no TLS ever */
    struct upstream_tls *starttls; /* NULL: it is never begun */
    int64_t connect_ms;
    uint16_t port;
    bool allow_private;
    bool tls;      /* from the first byte */
    bool mail;     /* smtp, smtps */
    bool is_local; /* loopback by its name */
};

#endif

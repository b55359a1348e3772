/*
 * The one host that an upstream's links go to: its URL, and whom it is trusted by.
 * It must not know how a link comes up.  The one idea: what cannot be read in one
 * way only is refused when it is configured, not when a message waits.
 */
#include "upstream_links.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "upstream_tls.h"
#include "postern/limits.h"

static bool host_is_literal(const char *host)
{
    struct in_addr in;
    return host[0] == '[' || inet_pton(AF_INET, host, &in) == 1;
}

static bool host_is_local(const char *host)
{
    bool loopback = strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0;
    return strcasecmp(host, "localhost") == 0 || (loopback && host_is_literal(host));
}

static const struct scheme {
    const char *name;
    bool tls, mail;
    uint16_t port;
} schemes[] = {
    {"http", false, false, 80}, {"https", true, false, 443}, {"smtp", false, true, 25}, {"smtps", true, true, 465}};

static const struct scheme *scheme_of(const char *name)
{
    for (size_t i = 0; i < N_ELEMENTS(schemes); i++)
        if (strcmp(name, schemes[i].name) == 0)
            return &schemes[i];
    return NULL;
}

static void set_host(struct upstream_links *links, const char *host, const struct scheme *scheme)
{
    char port[8] = "";
    if (links->port != scheme->port)
        ensure(snprintf(port, sizeof port, ":%u", links->port) > 0);
    size_t n = strlen(host) + strlen(port) + 1;
    links->bare_host = xstrdup(host);
    links->host = xcalloc(1, n);
    ensure(snprintf(links->host, n, "%s%s", host, port) > 0);
}

/* What libcurl connects to is a web server for all it knows. */
static void use_scheme(struct upstream_links *links, const struct scheme *scheme, const char *port)
{
    links->tls = scheme->tls;
    links->mail = scheme->mail;
    ensure(curl_url_set(links->url, CURLUPART_SCHEME, scheme->tls ? "https" : "http", 0) == CURLUE_OK);
    ensure(curl_url_set(links->url, CURLUPART_PORT, port, 0) == CURLUE_OK);
}

/* scheme://host[:port] and no more.  A host that libcurl reads otherwise than it is written (0x7f.1) is refused. */
static enum err read_url(struct upstream_links *links, const char *text, struct errmsg *e)
{
    char *name = NULL, *host = NULL, *port = NULL, *path = NULL, *extra = NULL;
    const struct scheme *scheme = NULL;
    bool good = curl_url_set(links->url, CURLUPART_URL, text, CURLU_DISALLOW_USER) == CURLUE_OK &&
                curl_url_get(links->url, CURLUPART_SCHEME, &name, 0) == CURLUE_OK &&
                curl_url_get(links->url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                curl_url_get(links->url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                curl_url_get(links->url, CURLUPART_PATH, &path, 0) == CURLUE_OK &&
                curl_url_get(links->url, CURLUPART_QUERY, &extra, 0) == CURLUE_NO_QUERY &&
                curl_url_get(links->url, CURLUPART_FRAGMENT, &extra, 0) == CURLUE_NO_FRAGMENT &&
                (scheme = scheme_of(name)) != NULL && strcmp(path, "/") == 0;
    if (good) {
        const char *written = strstr(text, "://") + 3;
        uint64_t number = 0;
        good = strncasecmp(written, host, strlen(host)) == 0 && slice_to_u64(slice_of(port), UINT16_MAX, &number) &&
               number > 0;
        links->port = (uint16_t)number;
        links->allow_private |= host_is_literal(host) || strcasecmp(host, "localhost") == 0;
        links->is_local = host_is_local(host);
    }
    if (good) {
        set_host(links, host, scheme);
        use_scheme(links, scheme, port);
    }
    curl_free(name);
    curl_free(host);
    curl_free(port);
    curl_free(path);
    curl_free(extra);
    if (good)
        return OK;
    errmsg_set(e, "url: \"%s\" should be like https://api.example.com or smtp://127.0.0.1:2525, without path or user",
               text);
    return ERR_SYNTAX;
}

static enum err read_trusted(struct upstream_links *links, const char *ca_file, struct errmsg *e)
{
    links->trusted = X509_STORE_new();
    ensure(links->trusted);
    bool good = ca_file ? X509_STORE_load_file(links->trusted, ca_file) == 1
                        : X509_STORE_set_default_paths(links->trusted) == 1;
    if (good)
        return OK;
    errmsg_set(e, "ca_file: no certificates can be read from \"%s\"", ca_file ? ca_file : "the system's");
    return ERR_SYNTAX;
}

struct upstream_links *upstream_links_new(struct loop *loop, const struct upstream_options *opt, struct errmsg *e)
{
    ensure(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); /* counted; upstream_links_free() gives it back */
    struct upstream_links *links = xcalloc(1, sizeof *links);
    links->loop = loop;
    links->name = xstrdup(opt->name);
    links->connect_ms = opt->connect_ms > 0 ? opt->connect_ms : LIMIT_UPSTREAM_CONNECT_MS;
    links->allow_private = opt->allow_private;
    links->url = curl_url();
    ensure(links->url);
    if (opt->resolve)
        links->resolve = curl_slist_append(NULL, opt->resolve);
    if (read_url(links, opt->url ? opt->url : "", e) != OK)
        goto fail;
    if (opt->ca_file && access(opt->ca_file, R_OK) == -1) {
        errmsg_set(e, "ca_file: cannot read \"%s\": %s", opt->ca_file, strerror(errno));
        goto fail;
    }
    bool later = links->mail && !links->tls && (opt->starttls || !links->is_local);
    if ((links->tls || later) && read_trusted(links, opt->ca_file, e) != OK)
        goto fail;
    if (later)
        links->starttls = upstream_tls_new(links->bare_host, links->trusted);
    return links;
fail:
    upstream_links_free(&links);
    return NULL;
}

void upstream_links_free(struct upstream_links **pp)
{
    struct upstream_links *links = *pp;
    *pp = NULL;
    if (!links)
        return;
    upstream_tls_free(&links->starttls);
    X509_STORE_free(links->trusted);
    curl_url_cleanup(links->url);
    curl_slist_free_all(links->resolve);
    free(links->host);
    free(links->bare_host);
    free(links->name);
    free(links);
    curl_global_cleanup();
}

struct slice upstream_links_host(const struct upstream_links *links)
{
    return slice_of(links->host);
}

bool upstream_links_is_local(const struct upstream_links *links)
{
    return links->is_local;
}

bool upstream_links_is_tls(const struct upstream_links *links)
{
    return links->tls;
}

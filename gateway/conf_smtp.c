/*
 * The SMTP ports: where they listen, under which name, who may log in without TLS.  Runs behind listen and public_url.
 */
#include "conf_build.h"

#define SMTP_HOST_MAX 255 /* of a domain (RFC 5321 section 4.5.3.1.2) */

/* "https://postern.example:8443" -> "postern.example"; an address is named as RFC 5321 section 4.1.3 wants it. */
static const char *host_of(struct conf_build *b, const char *url)
{
    struct slice host = slice_of(strstr(url, "://") + 3);
    bool is_address = true;

    for (size_t i = 0; i < host.n; i++) {
        if (host.p[i] == ':')
            host.n = i;
        else
            is_address &= (host.p[i] >= '0' && host.p[i] <= '9') || host.p[i] == '.';
    }
    return arena_printf(&b->conf->arena, is_address ? "[%.*s]" : "%.*s", SLICE_ARG(host));
}

static enum err build_host(struct conf_build *b)
{
    const char *host = b->yaml->smtp.host;
    struct address as_domain;
    struct errmsg e;
    struct conf *c = b->conf;

    c->smtp_host = c->public_url_given && strchr(c->public_url, '[') == NULL ? host_of(b, c->public_url) : "localhost";
    if (host == NULL)
        return OK;
    c->smtp_host = conf_keep(b, host);
    const char *address = arena_printf(&c->arena, "postmaster@%s", host);
    ensure(address != NULL);
    if (strlen(host) > SMTP_HOST_MAX || address_parse_email(slice_of(address), &as_domain, &e) != OK)
        return REFUSE(b, "smtp.host", "\"%.60s\" is no host name: write the name under which others know this server",
                      host);
    return OK;
}

static enum err build_listeners(struct conf_build *b)
{
    const struct yaml_listen *y = &b->yaml->listen;
    struct conf *c = b->conf;
    bool loopback = true, ignored;

    enum err err = OK;
    if (y->smtp != NULL)
        err = conf_listen_address(b, y->smtp, "listen.smtp", &loopback);
    if (err == OK && y->smtps != NULL)
        err = conf_listen_address(b, y->smtps, "listen.smtps", &ignored);
    if (err != OK)
        return err;
    c->listen_smtp = conf_keep(b, y->smtp);
    c->listen_smtps = conf_keep(b, y->smtps);
    c->smtp_auth_in_clear = loopback && b->yaml->smtp.auth_in_clear != FLAG_FALSE;
    if (!loopback && c->tls_certificate == NULL)
        return REFUSE(b, "listen.smtp",
                      "%s is not on loopback: passwords would cross the network in clear; give listen.tls a "
                      "certificate, then STARTTLS is offered and no login taken without it",
                      y->smtp);
    if (!loopback && b->yaml->smtp.auth_in_clear == FLAG_TRUE)
        return REFUSE(b, "smtp.auth_in_clear", "is for a listen.smtp on loopback, not for %s", y->smtp);
    if (y->smtps != NULL && c->tls_certificate == NULL)
        return REFUSE(b, "listen.smtps", "speaks TLS from the first byte: give listen.tls a certificate and its key");
    return OK;
}

static enum err build_limits(struct conf_build *b)
{
    const struct yaml_smtp *y = &b->yaml->smtp;
    int64_t recipients = 0, connections = 0, of_address = 0;

    enum err err = conf_number(b, y->max_recipients, "smtp.max_recipients", 1, LIMIT_SMTP_RECIPIENTS, &recipients);
    if (err == OK)
        err = conf_number(b, y->max_connections, "smtp.max_connections", 1, 100000, &connections);
    if (err == OK)
        err = conf_number(b, y->max_address_connections, "smtp.max_address_connections", 1, 100000, &of_address);
    b->conf->smtp_max_recipients = (uint32_t)recipients;
    b->conf->smtp_max_connections = (uint32_t)connections;
    b->conf->smtp_max_address_connections = (uint32_t)of_address;
    return err;
}

enum err conf_build_smtp(struct conf_build *b)
{
    enum err err = build_host(b);
    if (err == OK)
        err = build_listeners(b);
    return err == OK ? build_limits(b) : err;
}

/*
 * Through whom is sent.  The sandbox is always there; a relay (kind smtp) carries
 * what came by SMTP.
 */
#include "conf_build.h"

#define SANDBOX "sandbox"

static enum err check_kind(struct conf_build *b, const struct yaml_provider *y, const char *at,
                           const struct connector **connector)
{
    struct conf_guess guess = {.word = y->kind};

    *connector = connector_get(slice_of(y->kind));
    if (*connector != NULL || strcmp(y->kind, SANDBOX) == 0)
        return OK;
    for (size_t i = 0; connectors[i] != NULL; i++)
        conf_guess_offer(&guess, connectors[i]->name);
    conf_guess_offer(&guess, SANDBOX);
    return REFUSE(b, at, "there is no kind of provider \"%.40s\"%s", y->kind, HINT(&guess));
}

static enum err check_login(struct conf_build *b, const struct yaml_provider *y, size_t i,
                            const struct connector *connector)
{
    static const char *const web[2] = {"https", "http"};
    static const char *const relay[2] = {"smtp", "smtps"};
    bool is_relay = connector != NULL && connector->transport == TRANSPORT_SMTP;
    const char *at = AT("providers[%zu]", i);

    if (connector == NULL)
        return OK;
    if (y->url == NULL)
        return REFUSE(b, at, "\"url\" is missing: where %s is reached", y->name);
    if (!is_relay && y->secret == NULL)
        return REFUSE(b, at, "\"secret\" is missing: the API key, best as env:NAME or file:/path");
    if (!is_relay && connector->has_account && y->account == NULL)
        return REFUSE(b, at, "\"account\" is missing: the account that the secret belongs to");
    if (is_relay && (y->secret == NULL) != (y->account == NULL))
        return REFUSE(b, at, "\"account\" and \"secret\" are the relay's user and password: give both, or neither");
    return conf_origin(b, y->url, AT("providers[%zu].url", i), is_relay ? relay : web);
}

#define CALL_MAX_MS (LIMIT_RESERVATION_MS - 10000) /* a slot that is reserved for a call must outlive it */

/* What a provider may be asked in all becomes what each worker may ask of it. */
static enum err share(struct conf_build *b, const char *at, int64_t *n)
{
    int64_t workers = b->conf->workers;

    if (*n != 0 && *n < workers)
        return REFUSE(b, at,
                      "%lld is less than workers: %lld, each of which takes a part of it; raise it, or have fewer",
                      (long long)*n, (long long)workers);
    *n /= workers;
    return OK;
}

static enum err build_pace(struct conf_build *b, const struct yaml_provider *y, size_t i, struct conf_provider *p)
{
    int64_t concurrency = 0, rate = 0;

    enum err err = conf_number(b, y->connect_ms, AT("providers[%zu].connect_ms", i), 1, CALL_MAX_MS, &p->connect_ms);
    if (err == OK)
        err = conf_number(b, y->total_ms, AT("providers[%zu].total_ms", i), 1, CALL_MAX_MS, &p->total_ms);
    if (err == OK)
        err = conf_number(b, y->max_concurrency, AT("providers[%zu].max_concurrency", i), 1, 10000, &concurrency);
    if (err == OK)
        err = conf_number(b, y->rate_per_s, AT("providers[%zu].rate_per_s", i), 1, 1000000, &rate);
    if (err == OK)
        err = share(b, AT("providers[%zu].max_concurrency", i), &concurrency);
    if (err == OK)
        err = share(b, AT("providers[%zu].rate_per_s", i), &rate);
    p->max_concurrency = (uint32_t)concurrency;
    p->rate_per_s = (uint32_t)rate;
    return err;
}

static enum err build_provider(struct conf_build *b, size_t i, struct conf_provider *p)
{
    const struct yaml_provider *y = &b->yaml->providers[i];
    const char *secret = NULL;

    *p = (struct conf_provider){.name = conf_keep(b, y->name)};
    enum err err = conf_name(b, y->name, AT("providers[%zu].name", i));
    if (err == OK)
        err = check_kind(b, y, AT("providers[%zu].kind", i), &p->connector);
    if (err == OK && strcmp(y->name, SANDBOX) == 0 && strcmp(y->kind, SANDBOX) != 0)
        err = REFUSE(b, AT("providers[%zu].name", i), "\"" SANDBOX "\" names the built-in sandbox");
    if (err == OK)
        err = check_login(b, y, i, p->connector);
    if (err == OK)
        err = conf_secret(b, y->secret, AT("providers[%zu].secret", i), &secret);
    if (err == OK)
        err = conf_readable(b, y->ca_file, AT("providers[%zu].ca_file", i));
    if (err == OK)
        err = build_pace(b, y, i, p);
    p->url = conf_keep(b, y->url);
    p->login = (struct provider_login){slice_of(conf_keep(b, y->account)), slice_of(secret)};
    p->ca_file = conf_keep(b, y->ca_file);
    p->allow_private = y->allow_private == FLAG_TRUE;
    p->starttls = y->starttls == FLAG_TRUE;
    return err;
}

/* --- routes -------------------------------------------------------------------------- */

static const struct conf_provider *find_provider(const struct conf *c, const char *name)
{
    for (size_t i = 0; i < c->n_providers; i++) {
        if (strcmp(c->providers[i].name, name) == 0)
            return &c->providers[i];
    }
    return NULL;
}

static enum err refuse_route(struct conf_build *b, const char *name, const char *at)
{
    struct conf_guess guess = {.word = name};

    for (size_t i = 0; i < b->conf->n_providers; i++)
        conf_guess_offer(&guess, b->conf->providers[i].name);
    return REFUSE(b, at, "there is no provider \"%.64s\"%s", name, HINT(&guess));
}

static enum err build_route(struct conf_build *b, const char *name, enum transport transport, enum channel channel,
                            const char *at, const struct conf_provider **out)
{
    const char *to = name != NULL ? name : SANDBOX;
    const struct conf_provider *p = find_provider(b->conf, to);

    if (p == NULL)
        return refuse_route(b, to, at);
    if (p->connector != NULL && p->connector->channel != channel)
        return REFUSE(b, at, "%s carries %s, not %s", to, channel_name(p->connector->channel), channel_name(channel));
    if (p->connector != NULL && p->connector->transport != transport)
        return REFUSE(b, at, "%s is of kind %s, and nothing is translated: %s", to, p->connector->name,
                      transport == TRANSPORT_SMTP ? "routes.smtp wants a provider of kind smtp, or the sandbox"
                                                  : "name it in routes.smtp");
    *out = p;
    return OK;
}

static enum err build_routes(struct conf_build *b)
{
    const struct yaml_routes *y = &b->yaml->routes;

    struct conf *c = b->conf;

    enum err err = build_route(b, y->email, TRANSPORT_HTTP, CHANNEL_EMAIL, "routes.email", &c->route[CHANNEL_EMAIL]);
    if (err == OK)
        err = build_route(b, y->sms, TRANSPORT_HTTP, CHANNEL_SMS, "routes.sms", &c->route[CHANNEL_SMS]);
    if (err == OK)
        err = build_route(b, y->smtp, TRANSPORT_SMTP, CHANNEL_EMAIL, "routes.smtp", &c->route_smtp);
    return err;
}

static const char *provider_name(const struct yaml_conf *y, size_t i)
{
    return y->providers[i].name;
}

enum err conf_build_providers(struct conf_build *b)
{
    const struct yaml_conf *y = b->yaml;
    struct conf_provider *providers = conf_alloc(b, y->providers_count + 1u, sizeof *providers);

    b->conf->providers = providers;
    enum err err = conf_distinct(b, "providers", y->providers_count, provider_name);
    for (size_t i = 0; i < y->providers_count && err == OK; i++) {
        err = build_provider(b, i, &providers[b->conf->n_providers]);
        b->conf->n_providers++;
    }
    if (err != OK)
        return err;
    if (find_provider(b->conf, SANDBOX) == NULL)
        providers[b->conf->n_providers++] = (struct conf_provider){.name = SANDBOX};
    return build_routes(b);
}

const struct conf_provider *conf_route(const struct conf *c, const struct connector *dialect)
{
    const struct conf_provider *p = dialect->transport == TRANSPORT_SMTP ? c->route_smtp : c->route[dialect->channel];

    if (p->connector == NULL || p->connector == dialect)
        return p;
    for (size_t i = 0; i < c->n_providers; i++) {
        if (c->providers[i].connector == dialect)
            return &c->providers[i];
    }
    return NULL;
}

/*
 * Through whom is sent.  The sandbox is always there; a relay (kind smtp) belongs
 * to the SMTP port: it is checked, and kept out of the providers of HTTP.
 */
#include "conf_build.h"

#define SANDBOX    "sandbox"
#define KIND_RELAY "smtp"

/* The kinds that keep an account beside the secret. */
static bool needs_account(const struct connector *c)
{
    return c->channel == CHANNEL_SMS;
}

static enum err check_kind(struct conf_build *b, const struct yaml_provider *y, const char *at,
                           const struct connector **connector)
{
    static const char *const later[] = {"mailgun", "plivo"};
    struct conf_guess guess = {.word = y->kind};

    *connector = connector_get(slice_of(y->kind));
    if (*connector != NULL || strcmp(y->kind, SANDBOX) == 0 || strcmp(y->kind, KIND_RELAY) == 0)
        return OK;
    for (size_t i = 0; i < N_ELEMENTS(later); i++) {
        if (strcmp(y->kind, later[i]) == 0)
            return REFUSE(b, at, "%s is not carried by this build yet", y->kind);
    }
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
    bool is_relay = strcmp(y->kind, KIND_RELAY) == 0;
    const char *at = AT("providers[%zu]", i);

    if (connector == NULL && !is_relay)
        return OK;
    if (y->url == NULL)
        return REFUSE(b, at, "\"url\" is missing: where %s is reached", y->name);
    if (!is_relay && y->secret == NULL)
        return REFUSE(b, at, "\"secret\" is missing: the API key, best as env:NAME or file:/path");
    if (!is_relay && needs_account(connector) && y->account == NULL)
        return REFUSE(b, at, "\"account\" is missing: the account that the secret belongs to");
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

/* The relay of that name, or NULL. */
static const struct yaml_provider *find_relay(const struct yaml_conf *y, const char *name)
{
    for (uint32_t i = 0; i < y->providers_count; i++) {
        if (strcmp(y->providers[i].name, name) == 0 && strcmp(y->providers[i].kind, KIND_RELAY) == 0)
            return &y->providers[i];
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

static enum err build_route(struct conf_build *b, const char *name, enum channel channel, const char *at)
{
    const char *to = name != NULL ? name : SANDBOX;
    const struct conf_provider *p = find_provider(b->conf, to);

    if (p == NULL && find_relay(b->yaml, to) != NULL)
        return REFUSE(b, at, "%s is of kind " KIND_RELAY ": this build routes only smtp to it", to);
    if (p == NULL)
        return refuse_route(b, to, at);
    if (p->connector != NULL && p->connector->channel != channel)
        return REFUSE(b, at, "%s carries %s, not %s", to, channel_name(p->connector->channel), channel_name(channel));
    b->conf->route[channel] = p;
    return OK;
}

static enum err build_routes(struct conf_build *b)
{
    const struct yaml_routes *y = &b->yaml->routes;

    enum err err = build_route(b, y->email, CHANNEL_EMAIL, "routes.email");
    if (err == OK)
        err = build_route(b, y->sms, CHANNEL_SMS, "routes.sms");
    if (err == OK && y->smtp != NULL && find_relay(b->yaml, y->smtp) == NULL && find_provider(b->conf, y->smtp) == NULL)
        err = refuse_route(b, y->smtp, "routes.smtp");
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
        b->conf->n_providers += strcmp(y->providers[i].kind, KIND_RELAY) != 0;
    }
    if (err != OK)
        return err;
    if (find_provider(b->conf, SANDBOX) == NULL)
        providers[b->conf->n_providers++] = (struct conf_provider){.name = SANDBOX};
    return build_routes(b);
}

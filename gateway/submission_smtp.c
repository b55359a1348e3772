/*
 * SMTP transactions as submissions: who logs in, which recipients can be decided
 * before the content is there, what a transaction becomes for its dialect.  Knows
 * nothing of how it is decided, and nothing of the wire.
 */
#include "submission_smtp.h"

#include <stdlib.h>

#include "auth_backoff.h"
#include "postern/log.h"
#include "process.h"
#include "smtp_listen.h"
#include "submission.h"

#define NO_ANSWER SLICE("451 4.3.0 Temporary local problem, message not accepted\r\n")

/* Who has logged in.  Named, not pointed to: the configuration may change while the session lasts. */
struct smtp_login {
    char *key;
    struct digest secret;
    struct smtp_login *next;
};

/* --- logins ---------------------------------------------------------------------------- */

/* One for each key and secret that ever logged in: sessions share it. */
static const struct smtp_login *login_of(struct gateway *g, const struct conf_key *key)
{
    for (struct smtp_login *l = g->smtp_logins; l != NULL; l = l->next) {
        if (strcmp(l->key, key->name) == 0 && memcmp(&l->secret, &key->secret_digest, sizeof(l->secret)) == 0)
            return l;
    }
    struct smtp_login *l = xcalloc(1, sizeof(*l));
    *l = (struct smtp_login){xstrdup(key->name), key->secret_digest, g->smtp_logins};
    g->smtp_logins = l;
    return l;
}

/* The key that logged in, if it is still what it was. */
static const struct conf_key *key_of(const struct gateway *g, const struct smtp_transaction *t)
{
    const struct smtp_login *l = t->login;
    const struct conf_key *key = l != NULL ? conf_key_named(g->conf, slice_of(l->key)) : NULL;

    if (key == NULL || (key->roles & ROLE_SENDER) == 0 ||
        memcmp(&key->secret_digest, &l->secret, sizeof(l->secret)) != 0)
        return NULL;
    return key;
}

static const void *on_login(struct slice user, struct slice secret, const char *peer, void *arg)
{
    struct gateway *g = arg;
    const struct conf_key *key = conf_authenticate_user(g->conf, user, secret);

    if (key == NULL || (key->roles & ROLE_SENDER) == 0) {
        log_line(LOG_INFO, NULL, "smtp", "login_refused", "peer=%s", peer);
        return NULL;
    }
    return login_of(g, key);
}

/* --- recipients -------------------------------------------------------------------------- */

struct early {
    struct smtp_transaction *t;
    struct arena arena; /* a transaction has a thousand recipients, and one arena */
    struct wire_field fields[2];
};

static void on_early(void *arg, const struct wire_reply *w)
{
    struct early *early = arg;

    smtp_transaction_answer(early->t, w != NULL ? w->body : NO_ANSWER);
    arena_clear(&early->arena);
    free(early);
}

static void start_early(struct gateway *g, struct smtp_transaction *t, const struct conf_key *key)
{
    struct early *early = xcalloc(1, sizeof(*early));

    early->t = t;
    arena_init(&early->arena, LIMIT_ARENA_BYTES);
    early->fields[0] = t->fields[0];
    early->fields[1] = (struct wire_field){SLICE("RCPT"), t->rcpt};
    struct submission_ask ask = {
        .connector = connector_get(SLICE("smtp")),
        .key = key,
        .wire = {.method = SLICE("SMTP"), .fields = early->fields, .n_fields = N_ELEMENTS(early->fields)},
        .arena = &early->arena,
        .peer = t->peer,
        .early = true,
        .answered = on_early,
        .arg = early,
    };
    submission_start(g, &ask);
}

static void on_recipient(struct smtp_transaction *t, void *arg)
{
    struct gateway *g = arg;
    const struct conf_key *key = key_of(g, t);

    if (key == NULL)
        smtp_transaction_answer(t, SLICE("421 4.7.0 The key of this session is no longer valid, log in again\r\n"));
    else if (key->n_categories == 1)
        start_early(g, t, key);
    else
        smtp_transaction_answer(t, (struct slice){0});
}

/* --- messages ------------------------------------------------------------------------------ */

static void on_answered(void *arg, const struct wire_reply *w)
{
    smtp_transaction_answer(arg, w != NULL && w->body.n > 0 ? w->body : NO_ANSWER);
}

static void on_message(struct smtp_transaction *t, void *arg)
{
    struct gateway *g = arg;
    const struct conf_key *key = key_of(g, t);

    if (key == NULL) {
        smtp_transaction_answer(t, SLICE("421 4.7.0 The key of this session is no longer valid, log in again\r\n"));
        return;
    }
    struct submission_ask ask = {
        .connector = connector_get(SLICE("smtp")),
        .key = key,
        .wire = {.method = SLICE("SMTP"), .fields = t->fields, .n_fields = t->n_fields, .body = t->content},
        .arena = t->arena,
        .peer = t->peer,
        .answered = on_answered,
        .arg = t,
    };
    submission_start(g, &ask);
}

static const char *on_refuses(bool greeting, void *arg)
{
    struct gateway *g = arg;
    const char *why;

    if (gateway_overloaded(g))
        return greeting ? "421 4.3.2 Service not available: gateway overloaded\r\n"
                        : "451 4.3.2 System not accepting messages: gateway overloaded, try again later\r\n";
    if (greeting)
        return NULL;
    switch (store_health(g->store, &why)) {
    case STORE_OK:
        return NULL;
    case STORE_FULL:
        return "452 4.3.1 Mail system full\r\n";
    case STORE_FAILED:
        return "451 4.3.0 Temporary local problem, message not accepted\r\n";
    }
    never("a health");
}

/* --- listeners ------------------------------------------------------------------------------- */

static struct smtp_listen_options options(struct gateway *g)
{
    const struct conf *c = g->conf;

    return (struct smtp_listen_options){
        .host = c->smtp_host,
        .login = on_login,
        .recipient = on_recipient,
        .message = on_message,
        .refuses = on_refuses,
        .arg = g,
        .backoff = g->smtp_backoff,
        .max_message_bytes = c->max_body_bytes,
        .max_recipients = c->smtp_max_recipients,
        .max_connections = process_smtp_connections(c),
        .max_address_connections = c->smtp_max_address_connections,
        .max_inflight_bytes = c->max_inflight_bytes,
    };
}

bool submission_smtp_open(struct gateway *g, const struct gateway_place *place, struct errmsg *e)
{
    const struct conf *c = g->conf;
    const char *const address[LISTENER_N] = {[LISTENER_SMTP] = c->listen_smtp, [LISTENER_SMTPS] = c->listen_smtps};

    /* The kernel deals a client's connections out to all workers: each allows its part. */
    g->smtp_backoff = auth_backoff_new(c->workers < LIMIT_SMTP_LOGINS_MIN ? LIMIT_SMTP_LOGINS_MIN / c->workers : 1);
    for (size_t i = 0; i < LISTENER_N; i++) {
        struct smtp_listen_options o = options(g);
        if (address[i] == NULL)
            continue;
        o.address = address[i];
        o.fd = place != NULL ? place->listen_fd[i] : 0;
        o.tls_certificate = c->tls_certificate;
        o.tls_key = c->tls_key;
        o.implicit_tls = i == LISTENER_SMTPS;
        o.auth_in_clear = i == LISTENER_SMTP && c->smtp_auth_in_clear;
        g->smtp[i] = smtp_listener_new(g->loop, &o, e);
        if (g->smtp[i] == NULL)
            return false;
    }
    return true;
}

void submission_smtp_set_limits(struct gateway *g)
{
    struct smtp_listen_options o = options(g);

    for (size_t i = 0; i < LISTENER_N; i++) {
        if (g->smtp[i] != NULL)
            smtp_listener_set_limits(g->smtp[i], &o);
    }
}

size_t submission_smtp_drain(struct gateway *g, void (*on_empty)(void *arg), void *arg)
{
    size_t n = 0;

    for (size_t i = 0; i < LISTENER_N; i++) {
        if (g->smtp[i] == NULL)
            continue;
        smtp_listener_drain(g->smtp[i], on_empty, arg);
        n++;
    }
    return n;
}

void submission_smtp_close(struct gateway *g)
{
    for (size_t i = 0; i < LISTENER_N; i++)
        smtp_listener_free(&g->smtp[i]);
    for (struct smtp_login *l = g->smtp_logins, *next; l != NULL; l = next) {
        next = l->next;
        free(l->key);
        free(l);
    }
    g->smtp_logins = NULL;
    auth_backoff_free(&g->smtp_backoff);
}

unsigned submission_smtp_port(const struct gateway *g, enum listener l)
{
    return g->smtp[l] != NULL ? smtp_listener_port(g->smtp[l]) : 0;
}

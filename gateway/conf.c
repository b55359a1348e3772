/*
 * postern.yaml, whole or not at all.  The order: the text becomes a tree
 * (conf_document.c), the tree is held against the keys (conf_check.c,
 * conf_schema.c), and each part gives its values their meaning (conf_process.c and
 * its neighbours).  Also who a client is, which is asked of every request.
 */
#include "conf_build.h"

#include <stdlib.h>

#include "conf_check.h"

#define ARENA_BYTES ((size_t)1 << 30) /* no limit in earnest: files and lists are bounded */

static enum err build(struct conf_build *b)
{
    struct policy *p = &b->conf->policy;

    policy_init(p);
    enum err err = conf_build_process(b);
    if (err == OK)
        err = conf_build_providers(b);
    if (err == OK)
        err = conf_build_categories(b);
    if (err == OK)
        err = conf_build_keys(b);
    if (err == OK)
        err = conf_build_policy(b);
    b->conf->digest = b->digest;
    p->version = (uint32_t)b->digest.b[0] << 24 | (uint32_t)b->digest.b[1] << 16 | (uint32_t)b->digest.b[2] << 8 |
                 b->digest.b[3];
    return err;
}

/* Secrets that stand in the file itself. */
static void wipe_text(char *text)
{
    if (text != NULL)
        explicit_bzero(text, strlen(text));
}

static void wipe_values(const struct yaml_conf *y)
{
    wipe_text(y->audit_key);
    for (uint32_t i = 0; i < y->providers_count; i++)
        wipe_text(y->providers[i].secret);
    for (uint32_t i = 0; i < y->keys_count; i++)
        wipe_text(y->keys[i].secret);
}

static struct conf *compile(const struct conf_document *doc, const struct conf *running, struct errmsg *e)
{
    AUTO(conf_free) struct conf *c = xcalloc(1, sizeof *c);
    void *values = NULL;

    if (conf_values_load(doc, &conf_schema, &values, e) != OK)
        return NULL;
    arena_init(&c->arena, ARENA_BYTES);
    struct conf_build b = {.conf = c, .yaml = values, .doc = doc, .e = e, .digest = hash_sha256(doc->text, doc->n)};
    c->path = conf_keep(&b, doc->path);
    enum err err = build(&b);
    if (err == OK && running != NULL)
        err = conf_check_fixed(&b, running);
    wipe_values(values);
    conf_values_free(&conf_schema, &values);
    return err == OK ? take(&c) : NULL;
}

struct conf *conf_load(const char *path, struct errmsg *e)
{
    AUTO(conf_document_clear) struct conf_document doc = {0};
    return conf_document_load(&doc, path, e) == OK ? compile(&doc, NULL, e) : NULL;
}

struct conf *conf_load_bytes(const char *path, struct slice bytes, const struct conf *running, struct errmsg *e)
{
    AUTO(conf_document_clear) struct conf_document doc = {0};
    return conf_document_parse(&doc, path, bytes, e) == OK ? compile(&doc, running, e) : NULL;
}

char *conf_bytes_read(const char *path, size_t *n, struct errmsg *e)
{
    AUTO(conf_document_clear) struct conf_document doc = {.path = path};

    if (conf_document_read(&doc, e) != OK)
        return NULL;
    *n = doc.n;
    return take(&doc.text);
}

void conf_bytes_free(char **bytes, size_t n)
{
    if (*bytes != NULL)
        explicit_bzero(*bytes, n);
    free(take(bytes));
}

/* The arena's memory is ours to write, though its readers see it const. */
static void wipe_secret(struct slice s)
{
    if (s.n > 0)
        explicit_bzero((char *)s.p, s.n);
}

void conf_free(struct conf **cp)
{
    struct conf *c = take(cp);

    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n_keys; i++)
        wipe_secret(c->keys[i].secret);
    for (size_t i = 0; i < c->n_providers; i++)
        wipe_secret(c->providers[i].login.secret);
    wipe_secret(slice_of(c->audit_key));
    arena_clear(&c->arena);
    free(c);
}

/* --- questions ------------------------------------------------------------------------ */

const struct category *conf_category(const struct conf *c, struct slice name)
{
    for (size_t i = 0; i < c->policy.n_categories; i++) {
        if (slice_eq_cstr(name, c->policy.categories[i].name))
            return &c->policy.categories[i];
    }
    return NULL;
}

const struct conf_key *conf_key_named(const struct conf *c, struct slice name)
{
    for (size_t i = 0; i < c->n_keys; i++) {
        if (slice_eq_cstr(name, c->keys[i].name))
            return &c->keys[i];
    }
    return NULL;
}

bool conf_key_may_use(const struct conf_key *k, const struct category *c)
{
    for (size_t i = 0; i < k->n_categories; i++) {
        if (k->categories[i] == c)
            return true;
    }
    return false;
}

/* The user part of Basic where the provider has no accounts: SendGrid's and Mailgun's word for "the password is the
 * key". */
static bool is_nobody(struct slice account)
{
    return account.n == 0 || slice_eq_cstr(account, "apikey") || slice_eq_cstr(account, "api");
}

/* In a time that tells how long they are, and no more. */
static bool is_same(struct slice given, const char *ours)
{
    return ours != NULL && hash_equal(given, slice_of(ours));
}

/*
 * What follows takes no branch on what fits, so that a user that there is costs no other time than one that there is
 * not: every key is looked at, and which one fits is put together of bits.
 */
struct match {
    size_t at; /* of the last one that fits */
    size_t n;
};

static void note_match(struct match *m, size_t at, bool fits)
{
    m->at ^= (m->at ^ at) & (0 - (size_t)fits);
    m->n += fits;
}

/* A bearer of the secret alone names no account; who names one must name the key's. */
static bool account_fits(const struct conf_key *k, struct slice account)
{
    unsigned own = is_same(account, k->account), login = is_same(account, k->login);
    if (k->account == NULL)
        return is_nobody(account);
    return ((unsigned)(account.n == 0) | own | login) != 0;
}

static const struct conf_key *find_key(const struct conf *c, struct slice account, const struct digest *given)
{
    struct match m = {.at = 0};
    struct slice digest = {(const char *)given->b, sizeof given->b};

    for (size_t i = 0; i < c->n_keys; i++) {
        const struct conf_key *k = &c->keys[i];
        struct slice own = {(const char *)k->secret_digest.b, sizeof k->secret_digest.b};
        unsigned fits = account_fits(k, account), same = hash_equal(digest, own);
        note_match(&m, i, (fits & same) != 0);
    }
    return m.n == 1 ? &c->keys[m.at] : NULL; /* two accounts may share a secret: then the account must be named */
}

const struct conf_key *conf_authenticate(const struct conf *c, struct slice account, struct slice secret)
{
    struct digest given = hash_sha256(secret.p, secret.n);
    return find_key(c, account, &given);
}

const struct conf_key *conf_authenticate_user(const struct conf *c, struct slice user, struct slice secret)
{
    struct digest given = hash_sha256(secret.p, secret.n);
    struct match name = {.at = 0}; /* where there is none, the first key's account is looked for in vain */

    if (c->n_keys == 0)
        return NULL;
    for (size_t i = 0; i < c->n_keys; i++)
        note_match(&name, i, is_same(user, c->keys[i].name));
    const struct conf_key *as_account = find_key(c, user, &given);
    const struct conf_key *as_name = find_key(c, slice_of(c->keys[name.at].account), &given);
    if (as_account != NULL)
        return as_account;
    return name.n > 0 ? as_name : NULL;
}

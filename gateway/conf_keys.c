/*
 * Who may come in: keys, what their labels mean, where callbacks may go.  Two
 * keys that one client could be taken for are refused.
 */
#include "conf_build.h"

#define SECRET_MIN_BYTES 16u /* long enough that guessing needs no back-off */

static enum err build_categories(struct conf_build *b, size_t i, struct conf_key *k)
{
    const struct yaml_key *y = &b->yaml->keys[i];
    const struct category **own = conf_alloc(b, y->categories_count + 1u, sizeof(struct category *));
    size_t n = 0;
    enum err err = OK;

    for (; n < y->categories_count && err == OK; n++)
        err = conf_category_named(b, y->categories[n], AT("keys[%zu].categories[%zu]", i, n), &own[n]);
    if (err == OK && y->default_category != NULL)
        err = conf_category_named(b, y->default_category, AT("keys[%zu].default_category", i), &k->default_category);
    if (err != OK)
        return err;
    if (y->categories_count == 0)
        return OK; /* all: shared by such keys */
    k->categories = own;
    k->n_categories = n;
    if (conf_key_may_use(k, k->default_category))
        return OK;
    if (y->default_category != NULL)
        return REFUSE(b, AT("keys[%zu].default_category", i), "\"%s\" is not among the key's categories",
                      y->default_category);
    own[k->n_categories++] = k->default_category;
    return OK;
}

static enum err build_key(struct conf_build *b, size_t i, const struct conf_key *defaults, struct conf_key *k)
{
    const struct yaml_key *y = &b->yaml->keys[i];
    const char *secret = NULL;

    *k = *defaults;
    k->name = conf_keep(b, y->name);
    k->account = conf_keep(b, y->account);
    k->login = conf_keep(b, y->login);
    k->roles = y->roles;
    k->sender_kind = y->sender_kind == 0 ? SENDER_AUTOMATED : (enum sender_kind)(y->sender_kind - 1);
    k->partial = y->partial == 0 ? PARTIAL_FORWARD : (enum conf_partial)(y->partial - 1);
    k->reports = y->reports == 0 ? REPORTS_DSN : (enum conf_reports)(y->reports - 1);
    enum err err = conf_name(b, y->name, AT("keys[%zu].name", i));
    if (err == OK)
        err = conf_secret(b, y->secret, AT("keys[%zu].secret", i), &secret);
    if (err != OK)
        return err;
    if (k->login != NULL && k->account == NULL)
        return REFUSE(b, AT("keys[%zu].login", i),
                      "needs the account that it belongs to, which stands in the path of calls");
    k->secret = slice_of(secret);
    k->secret_digest = hash_sha256(k->secret.p, k->secret.n);
    if (k->secret.n < SECRET_MIN_BYTES)
        return REFUSE(b, AT("keys[%zu].secret", i), "is shorter than %u bytes; make one with: openssl rand -hex 32",
                      SECRET_MIN_BYTES);
    return build_categories(b, i, k);
}

static bool differ(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) != 0;
}

/* One secret for two keys is told apart only by two accounts, and by two logins where both have one. */
static enum err check_secrets(struct conf_build *b)
{
    const struct conf_key *keys = b->conf->keys;

    for (size_t i = 1; i < b->conf->n_keys; i++) {
        for (size_t j = 0; j < i; j++) {
            bool one_login = keys[i].login != NULL && keys[j].login != NULL && !differ(keys[i].login, keys[j].login);
            bool apart = differ(keys[i].account, keys[j].account) && !one_login;
            if (!apart && memcmp(&keys[i].secret_digest, &keys[j].secret_digest, sizeof(struct digest)) == 0)
                return REFUSE(b, AT("keys[%zu].secret", i), "is the secret of key %s already", keys[j].name);
        }
    }
    return OK;
}

static const char *key_name(const struct yaml_conf *y, size_t i)
{
    return y->keys[i].name;
}

static enum err build_all(struct conf_build *b)
{
    const struct policy *p = &b->conf->policy;
    struct conf_key *keys = conf_alloc(b, b->yaml->keys_count, sizeof *keys);
    const struct category **all = conf_alloc(b, p->n_categories, sizeof(struct category *));

    size_t n = 0;

    for (size_t i = 0; i < p->n_categories; i++) {
        if (strcmp(p->categories[i].name, CONF_REPORTS) != 0)
            all[n++] = &p->categories[i];
    }
    const struct conf_key defaults = {
        .default_category = conf_category(b->conf, SLICE(CONF_UNCLASSIFIED)),
        .categories = all,
        .n_categories = n,
    };
    enum err err = OK;
    for (size_t i = 0; i < b->yaml->keys_count && err == OK; i++)
        err = build_key(b, i, &defaults, &keys[b->conf->n_keys++]);
    b->conf->keys = keys;
    return err;
}

static const char *mapping_label(const struct yaml_conf *y, size_t i)
{
    return y->mappings[i].label;
}

static enum err build_mappings(struct conf_build *b)
{
    const struct yaml_conf *y = b->yaml;
    struct conf_mapping *mappings = conf_alloc(b, y->mappings_count, sizeof *mappings);

    enum err err = conf_distinct(b, "mappings", y->mappings_count, mapping_label);
    for (size_t i = 0; i < y->mappings_count && err == OK; i++) {
        mappings[i].label = conf_keep(b, y->mappings[i].label);
        err = conf_category_named(b, y->mappings[i].category, AT("mappings[%zu].category", i), &mappings[i].category);
    }
    b->conf->mappings = mappings;
    b->conf->n_mappings = y->mappings_count;
    return err;
}

static enum err build_callbacks(struct conf_build *b)
{
    static const char *const web[2] = {"https", "http"};
    const struct yaml_callbacks *y = &b->yaml->callbacks;
    const char **allow = conf_alloc(b, y->allow_count, sizeof *allow);

    enum err err = OK;
    for (size_t i = 0; i < y->allow_count && err == OK; i++) {
        err = conf_origin(b, y->allow[i], AT("callbacks.allow[%zu]", i), web);
        allow[i] = conf_keep(b, y->allow[i]);
    }
    b->conf->callback_allow = allow;
    b->conf->n_callback_allow = y->allow_count;
    return err;
}

enum err conf_build_keys(struct conf_build *b)
{
    enum err err = conf_distinct(b, "keys", b->yaml->keys_count, key_name);
    if (err == OK)
        err = build_all(b);
    if (err == OK)
        err = check_secrets(b);
    if (err == OK)
        err = build_mappings(b);
    return err == OK ? build_callbacks(b) : err;
}

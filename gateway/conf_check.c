/*
 * Keys and types of a document, by libcyaml's own schema tables.
 *
 * libcyaml 1.3.1 refuses unknown keys too, but names the line of the key before
 * them and no path, reads "3x" as 0, "010" as 8, and any word as true.  So the tree
 * is checked here first, and libcyaml then only fills the structs.  The schema
 * bounds the recursion: what is deeper than it knows is refused.
 */
#include "conf_check.h"

#include <stdio.h>

struct check {
    const struct conf_document *doc;
    struct errmsg *e;
};

static const yaml_node_t *node_of(const struct check *c, int id)
{
    return yaml_document_get_node((yaml_document_t *)&c->doc->tree, id); /* the look-up changes nothing */
}

static size_t line_of(const yaml_node_t *node)
{
    return node->start_mark.line + 1;
}

static struct slice text_of(const yaml_node_t *node)
{
    return (struct slice){(const char *)node->data.scalar.value, node->data.scalar.length};
}

/* A value that YAML reads as nothing: "key:", "~", "null". */
static bool is_nothing(const yaml_node_t *node)
{
    static const char *const nothings[] = {"", "~", "null", "Null", "NULL"};

    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < N_ELEMENTS(nothings); i++) {
        if (slice_eq_cstr(text_of(node), nothings[i]))
            return true;
    }
    return false;
}

static enum err refuse_type(const struct check *c, const yaml_node_t *node, const char *at, const char *right)
{
    const char *wrong = node->type == YAML_MAPPING_NODE    ? "keys and values"
                        : node->type == YAML_SEQUENCE_NODE ? "a list"
                        : is_nothing(node)                 ? "nothing"
                                                           : "a single value";
    return conf_refuse_line(c->doc, c->e, line_of(node), at, "must be %s, not %s", right, wrong);
}

/* --- single values ----------------------------------------------------------------- */

static enum err check_text(const struct check *c, const yaml_node_t *node, const char *at)
{
    if (node->data.scalar.length == 0)
        return conf_refuse_line(c->doc, c->e, line_of(node), at, "is empty; leave the key out instead");
    if (!slice_is_clean(text_of(node)))
        return conf_refuse_line(c->doc, c->e, line_of(node), at, "holds control characters");
    return OK;
}

/* One way to write a number: "-12"; no sign +, no leading zeros, no blanks, no other base. */
static enum err check_number(const struct check *c, const yaml_node_t *node, const char *at)
{
    struct slice s = text_of(node);
    uint64_t value = 0;

    if (s.n > 1 && s.p[0] == '-')
        s = (struct slice){s.p + 1, s.n - 1};
    if (slice_to_u64(s, INT64_MAX, &value) && (s.n == 1 || s.p[0] != '0'))
        return OK;
    return conf_refuse_line(c->doc, c->e, line_of(node), at, "must be a whole number, not \"%.40s\"",
                            (const char *)node->data.scalar.value);
}

/* "a, b, c", cut at a whole word when there are many. */
static void list_words(const cyaml_schema_value_t *v, char *out, size_t size)
{
    size_t n = 0;

    out[0] = '\0';
    for (uint32_t i = 0; i < v->enumeration.count; i++) {
        const char *word = v->enumeration.strings[i].str;
        if (n + strlen(word) + sizeof ", ..." > size) {
            snprintf(out + n, size - n, ", ...");
            return;
        }
        n += (size_t)snprintf(out + n, size - n, "%s%s", i == 0 ? "" : ", ", word);
    }
}

static enum err check_word(const struct check *c, const cyaml_schema_value_t *v, const yaml_node_t *node,
                           const char *at)
{
    struct conf_guess guess = {.word = (const char *)node->data.scalar.value};
    char words[96];

    for (uint32_t i = 0; i < v->enumeration.count; i++) {
        if (slice_eq_cstr(text_of(node), v->enumeration.strings[i].str))
            return OK;
        conf_guess_offer(&guess, v->enumeration.strings[i].str);
    }
    list_words(v, words, sizeof words);
    return conf_refuse_line(c->doc, c->e, line_of(node), at, "\"%.40s\" is none of %s%s", guess.word, words,
                            HINT(&guess));
}

static enum err check_scalar(const struct check *c, const cyaml_schema_value_t *v, const yaml_node_t *node,
                             const char *at)
{
    bool text = v->type == CYAML_STRING, number = v->type == CYAML_INT;

    if (node->type != YAML_SCALAR_NODE || is_nothing(node))
        return refuse_type(c, node, at, text ? "a text" : number ? "a whole number" : "a word");
    if (text)
        return check_text(c, node, at);
    return number ? check_number(c, node, at) : check_word(c, v, node, at);
}

/* --- lists and mappings ------------------------------------------------------------ */

static enum err check_value(const struct check *c, const cyaml_schema_value_t *v, const yaml_node_t *node,
                            const char *at);

/* A list of entries, or of words that become bits. */
static enum err check_list(const struct check *c, const cyaml_schema_value_t *v, const yaml_node_t *node,
                           const char *at)
{
    if (node->type != YAML_SEQUENCE_NODE)
        return refuse_type(c, node, at, "a list");
    const yaml_node_item_t *items = node->data.sequence.items.start;
    size_t n = (size_t)(node->data.sequence.items.top - items);
    if (n < (v->type == CYAML_SEQUENCE ? v->sequence.min : 1))
        return conf_refuse_line(c->doc, c->e, line_of(node), at, "is an empty list: name at least one");
    if (v->type == CYAML_SEQUENCE && n > v->sequence.max)
        return conf_refuse_line(c->doc, c->e, line_of(node), at, "has more than %u entries", v->sequence.max);
    enum err err = OK;
    for (size_t i = 0; i < n && err == OK; i++) {
        const yaml_node_t *item = node_of(c, items[i]);
        const char *item_at = AT("%s[%zu]", at, i);
        err = v->type == CYAML_SEQUENCE ? check_value(c, v->sequence.entry, item, item_at)
                                        : check_scalar(c, v, item, item_at);
    }
    return err;
}

static const cyaml_schema_field_t *field_of(const cyaml_schema_value_t *v, const yaml_node_t *key)
{
    for (const cyaml_schema_field_t *f = v->mapping.fields; f->key != NULL; f++) {
        if (key->type == YAML_SCALAR_NODE && slice_eq_cstr(text_of(key), f->key))
            return f;
    }
    return NULL;
}

static enum err refuse_key(const struct check *c, const cyaml_schema_value_t *v, const yaml_node_t *key, const char *at)
{
    if (key->type != YAML_SCALAR_NODE)
        return conf_refuse_line(c->doc, c->e, line_of(key), at, "has a key that is no text");
    if (!slice_is_clean(text_of(key)))
        return conf_refuse_line(c->doc, c->e, line_of(key), at, "a key holds control characters");
    struct conf_guess guess = {.word = (const char *)key->data.scalar.value};
    for (const cyaml_schema_field_t *f = v->mapping.fields; f->key != NULL; f++)
        conf_guess_offer(&guess, f->key);
    return conf_refuse_line(c->doc, c->e, line_of(key), at, "unknown key \"%.40s\"%s", guess.word, HINT(&guess));
}

static bool has_field(const struct check *c, const yaml_node_t *node, const yaml_node_pair_t *end, const char *key)
{
    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < end; p++) {
        if (slice_eq_cstr(text_of(node_of(c, p->key)), key))
            return true;
    }
    return false;
}

static enum err check_pair(const struct check *c, const cyaml_schema_value_t *v, const yaml_node_t *node,
                           const yaml_node_pair_t *pair, const char *at)
{
    const yaml_node_t *key = node_of(c, pair->key);
    const cyaml_schema_field_t *f = field_of(v, key);

    if (f == NULL)
        return refuse_key(c, v, key, at);
    if (has_field(c, node, pair, f->key))
        return conf_refuse_line(c->doc, c->e, line_of(key), at, "key \"%s\" is given twice", f->key);
    return check_value(c, &f->value, node_of(c, pair->value), AT("%s%s%s", at, at[0] != '\0' ? "." : "", f->key));
}

static enum err check_mapping(const struct check *c, const cyaml_schema_value_t *v, const yaml_node_t *node,
                              const char *at)
{
    if (node->type != YAML_MAPPING_NODE)
        return refuse_type(c, node, at, "keys and values");
    enum err err = OK;
    const yaml_node_pair_t *end = node->data.mapping.pairs.top;
    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < end && err == OK; p++)
        err = check_pair(c, v, node, p, at);
    for (const cyaml_schema_field_t *f = v->mapping.fields; f->key != NULL && err == OK; f++) {
        if (!(f->value.flags & CYAML_FLAG_OPTIONAL) && !has_field(c, node, end, f->key))
            err = conf_refuse_line(c->doc, c->e, line_of(node), at, "\"%s\" is missing", f->key);
    }
    return err;
}

static enum err check_value(const struct check *c, const cyaml_schema_value_t *v, const yaml_node_t *node,
                            const char *at)
{
    if (v->type == CYAML_MAPPING)
        return check_mapping(c, v, node, at);
    if (v->type == CYAML_SEQUENCE || v->type == CYAML_FLAGS)
        return check_list(c, v, node, at);
    return check_scalar(c, v, node, at);
}

/* --- loading ----------------------------------------------------------------------- */

static const cyaml_config_t settings = {
    .mem_fn = cyaml_mem,
    .log_level = CYAML_LOG_ERROR,
    .flags = CYAML_CFG_NO_ALIAS,
};

enum err conf_values_load(const struct conf_document *d, const cyaml_schema_value_t *schema, void **out,
                          struct errmsg *e)
{
    const struct check c = {.doc = d, .e = e};
    enum err err = check_value(&c, schema, node_of(&c, 1), "");

    *out = NULL;
    if (err != OK)
        return err;
    cyaml_err_t loaded = cyaml_load_data((const uint8_t *)d->text, d->n, &settings, schema, out, NULL);
    /* What libcyaml still refuses is not foreseen above; it knows no line then. */
    return loaded == CYAML_OK ? OK : conf_refuse_line(d, e, 0, "", "%s", cyaml_strerror(loaded));
}

void conf_values_free(const cyaml_schema_value_t *schema, void **values)
{
    if (*values != NULL)
        ensure(cyaml_free(&settings, schema, *values, 0) == CYAML_OK);
    *values = NULL;
}

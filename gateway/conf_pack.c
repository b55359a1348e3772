/*
 * Rule packs: what the law says, as data files with source, date and confidence.
 * A pack is found by name in the directory rules_dir, else in "rules" beside the
 * configuration, else where the build's own packs are; its holiday calendars in
 * "holidays" there.  What a rule of a pack becomes is in conf_law.c.
 *
 * The one idea: a pack that is named brings its rules of confidence A and B; what
 * is only remembered (C), or what somebody judged otherwise, is switched by name
 * and with a reason, in the configuration, where it is seen.
 */
#include "conf_build.h"

#include <stdio.h>
#include <sys/stat.h>

#include "conf_check.h"

#ifndef POSTERN_RULES_DIR
#define POSTERN_RULES_DIR "/usr/local/share/postern/rules"
#endif

#define PACK_FORMAT 2

static const char *rules_dir(struct conf_build *b)
{
    const char *slash = strrchr(b->conf->path, '/');
    struct stat st;

    if (b->yaml->rules_dir != NULL)
        return b->yaml->rules_dir;
    size_t n = slash == NULL ? 0 : (size_t)(slash - b->conf->path) + 1;
    const char *beside = arena_printf(&b->conf->arena, "%.*srules", (int)n, b->conf->path);
    ensure(beside != NULL);
    return stat(beside, &st) == 0 && S_ISDIR(st.st_mode) ? beside : POSTERN_RULES_DIR;
}

/* --- a file of rules_dir --------------------------------------------------------------- */

/* Asked before the keys are, so that a file of format 1 hears of its format and not of its keys. */
static enum err check_format(const struct conf_document *doc, struct errmsg *e)
{
    yaml_document_t *tree = (yaml_document_t *)&doc->tree; /* the look-ups change nothing */
    const yaml_node_t *root = yaml_document_get_node(tree, 1);

    if (root->type != YAML_MAPPING_NODE)
        return OK;
    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(tree, p->key), *value = yaml_document_get_node(tree, p->value);
        if (key->type == YAML_SCALAR_NODE && strcmp((const char *)key->data.scalar.value, "version") == 0 &&
            value->type == YAML_SCALAR_NODE && strcmp((const char *)value->data.scalar.value, "1") == 0)
            return conf_refuse(doc, e, "version",
                               "is 1, this build reads 2: make each entry of \"hours\" one of \"rules\" with its own "
                               "name, source, as_of, confidence, review_by, and \"country: US\" \"region: [US]\"");
    }
    return OK;
}

struct pack_file {
    struct conf_document doc;
    const struct conf_document *outer; /* what b->doc was */
    const cyaml_schema_value_t *schema;
    void *values;
};

/* The file's values, and b->doc is its own, so that errors name its lines, until file_close. */
static enum err file_open(struct conf_build *b, const char *path, const char *at, struct pack_file *f)
{
    struct errmsg why;

    f->outer = b->doc;
    enum err err = conf_document_load(&f->doc, path, &why);
    if (err != OK)
        return REFUSE(b, at, "%s", why.text);
    const struct slice parts[] = {{(const char *)b->digest.b, sizeof b->digest.b}, {f->doc.text, f->doc.n}};
    b->digest = hash_sha256_parts(parts, N_ELEMENTS(parts));
    b->doc = &f->doc;
    err = check_format(&f->doc, b->e);
    return err == OK ? conf_values_load(&f->doc, f->schema, &f->values, b->e) : err;
}

static void file_close(struct conf_build *b, struct pack_file *f)
{
    b->doc = f->outer;
    conf_values_free(f->schema, &f->values);
    conf_document_clear(&f->doc);
}

static enum err check_about(struct conf_build *b, int64_t version, const char *said, const char *name)
{
    if (version != PACK_FORMAT)
        return REFUSE(b, "version", "is %lld; this build reads rule packs of version %d", (long long)version,
                      PACK_FORMAT);
    if (strcmp(said, name) != 0)
        return REFUSE(b, "name", "\"%.64s\" is not the name of the file", said);
    return OK;
}

/* --- calendars -------------------------------------------------------------------------- */

static enum err build_calendar(struct conf_build *b, const char *name, const struct yaml_calendar *y,
                               struct conf_calendar *out)
{
    *out = (struct conf_calendar){
        .name = conf_keep(b, name),
        .title = conf_keep(b, y->title),
        .source = conf_keep(b, y->source),
        .note = conf_keep(b, y->note),
        .confidence = (char)y->confidence,
    };
    enum err err = check_about(b, y->version, y->name, name);
    if (err == OK)
        err = conf_date(b, y->as_of, "as_of", &out->as_of_days);
    if (err == OK)
        err = conf_date(b, y->review_by, "review_by", &out->review_days);
    return err == OK ? conf_build_calendar(b, name, y->days, y->days_count, "days", &out->days) : err;
}

enum err conf_build_named_calendar(struct conf_build *b, const char *name, const char *at,
                                   const struct holiday_calendar **out)
{
    struct pack_file f = {.schema = &conf_schema_calendar};

    *out = NULL;
    if (name == NULL)
        return OK;
    for (struct conf_calendar *c = b->conf->calendars; c != NULL; c = c->next) {
        if (strcmp(c->name, name) == 0) {
            *out = &c->days;
            return OK;
        }
    }
    enum err err = conf_name(b, name, at);
    if (err != OK)
        return err;
    const char *path = arena_printf(&b->conf->arena, "%s/holidays/%s.yaml", rules_dir(b), name);
    ensure(path != NULL);
    struct conf_calendar *c = conf_alloc(b, 1, sizeof *c);
    err = file_open(b, path, at, &f);
    if (err == OK)
        err = build_calendar(b, name, f.values, c);
    file_close(b, &f);
    c->next = b->conf->calendars;
    b->conf->calendars = c;
    *out = &c->days;
    return err;
}

/* --- packs ------------------------------------------------------------------------------ */

static enum err build_regions(struct conf_build *b, const struct yaml_pack *y, struct conf_pack *out)
{
    struct region *regions = conf_alloc(b, y->region_count, sizeof *regions);
    enum err err = OK;

    for (size_t i = 0; i < y->region_count && err == OK; i++)
        err = conf_region(b, y->region[i], AT("region[%zu]", i), &regions[i]);
    out->regions = regions;
    out->n_regions = y->region_count;
    return err;
}

static enum err build_pack(struct conf_build *b, const char *name, const struct yaml_pack *y, struct conf_pack *out)
{
    struct conf_law *rules = conf_alloc(b, y->rules_count, sizeof *rules);

    *out = (struct conf_pack){
        .name = conf_keep(b, name),
        .title = conf_keep(b, y->title),
        .note = conf_keep(b, y->note),
        .rules = rules,
        .n_rules = y->rules_count,
    };
    enum err err = check_about(b, y->version, y->name, name);
    if (err == OK)
        err = build_regions(b, y, out);
    for (size_t i = 0; i < y->rules_count && err == OK; i++) {
        for (size_t k = 0; k < i && err == OK; k++) {
            if (strcmp(y->rules[k].name, y->rules[i].name) == 0)
                err = REFUSE(b, AT("rules[%zu].name", i), "\"%.64s\" is the name of rules[%zu] already",
                             y->rules[i].name, k);
        }
        if (err == OK)
            err = conf_build_law(b, out, &y->rules[i], i, &rules[i]);
    }
    return err;
}

static enum err load_pack(struct conf_build *b, size_t i, struct conf_pack *out)
{
    struct pack_file f = {.schema = &conf_schema_pack};
    const char *name = b->yaml->policy.packs[i];

    enum err err = conf_name(b, name, AT("policy.packs[%zu]", i));
    if (err != OK)
        return err;
    const char *path = arena_printf(&b->conf->arena, "%s/%s.yaml", rules_dir(b), name);
    ensure(path != NULL);
    err = file_open(b, path, AT("policy.packs[%zu]", i), &f);
    if (err == OK)
        err = build_pack(b, name, f.values, out);
    file_close(b, &f);
    return err;
}

static const char *pack_name(const struct yaml_conf *y, size_t i)
{
    return y->policy.packs[i];
}

static const char *pack_rule_name(const struct yaml_conf *y, size_t i)
{
    return y->policy.pack_rules[i].rule;
}

/* A switch for a rule that no pack has would be an opinion that nobody hears. */
static enum err check_switch(struct conf_build *b, size_t i)
{
    const char *rule = b->yaml->policy.pack_rules[i].rule;
    struct conf_guess guess = {.word = rule};

    for (size_t p = 0; p < b->conf->n_packs; p++) {
        const struct conf_pack *pack = &b->conf->packs[p];
        for (size_t r = 0; r < pack->n_rules; r++) {
            if (strcmp(pack->rules[r].full_name, rule) == 0)
                return OK;
            conf_guess_offer(&guess, pack->rules[r].full_name);
        }
    }
    return REFUSE(b, AT("policy.pack_rules[%zu].rule", i), "no pack in policy.packs has a rule \"%.100s\"%s", rule,
                  HINT(&guess));
}

enum err conf_build_packs(struct conf_build *b)
{
    size_t n = b->yaml->policy.packs_count, n_switches = b->yaml->policy.pack_rules_count;
    struct conf_pack *packs = conf_alloc(b, n, sizeof *packs);

    enum err err = conf_distinct(b, "policy.packs", n, pack_name);
    if (err == OK)
        err = conf_distinct(b, "policy.pack_rules", n_switches, pack_rule_name);
    b->conf->packs = packs;
    for (size_t i = 0; i < n && err == OK; i++) {
        err = load_pack(b, i, &packs[i]);
        b->conf->n_packs = i + 1;
    }
    for (size_t i = 0; i < n_switches && err == OK; i++)
        err = check_switch(b, i);
    b->conf->policy.hours_memo = conf_alloc(b, 1, sizeof *b->conf->policy.hours_memo);
    return err;
}

/* --- questions -------------------------------------------------------------------------- */

static void why_dates(const char *what, int32_t days, char out[CONF_WHY_MAX])
{
    struct date d = date_from_days(days);
    snprintf(out, CONF_WHY_MAX, "%s %04d-%02d-%02d", what, d.year, d.month, d.day);
}

char *conf_law_why_off(const struct conf_law *l, int32_t today, char out[CONF_WHY_MAX])
{
    out[0] = '\0';
    if (!l->on && l->switched != NULL)
        snprintf(out, CONF_WHY_MAX, "switched off: %s", l->switched);
    else if (!l->on)
        snprintf(out, CONF_WHY_MAX, "confidence %c", l->confidence);
    else if (today < l->from_days)
        why_dates("begins", l->from_days, out);
    else if (today >= l->to_days)
        why_dates("ended", l->to_days, out);
    return out;
}

/* The least of a date over the rules that are on; over all when none is. */
static int32_t earliest(const struct conf_pack *p, bool review)
{
    int32_t least = INT32_MAX, least_on = INT32_MAX;

    for (size_t i = 0; i < p->n_rules; i++) {
        int32_t days = review ? p->rules[i].review_days : p->rules[i].as_of_days;
        least = days < least ? days : least;
        least_on = p->rules[i].on && days < least_on ? days : least_on;
    }
    return least_on != INT32_MAX ? least_on : least;
}

int32_t conf_pack_age_days(const struct conf_pack *p, int32_t today)
{
    return today - earliest(p, false);
}

int32_t conf_pack_review_days(const struct conf_pack *p, int32_t today)
{
    return earliest(p, true) - today;
}

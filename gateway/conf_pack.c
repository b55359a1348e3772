/*
 * Rule packs: what the law says, as data files with source, date and confidence.
 * A pack is found by name in the directory rules_dir, else in "rules" beside the
 * configuration, else where the build's own packs are.  A pack that is named is in
 * force: its dates are for the people who review it, so that no rule ends
 * silently at midnight.
 */
#include "conf_build.h"

#include <stdio.h>
#include <sys/stat.h>

#include "conf_check.h"

#ifndef POSTERN_RULES_DIR
#define POSTERN_RULES_DIR "/usr/local/share/postern/rules"
#endif

#define PACK_FORMAT 1

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

static enum err check_date(struct conf_build *b, const char *text, const char *at)
{
    struct holiday date;

    if (text == NULL || (holiday_parse(slice_of(text), &date, NULL) == OK && date.kind == HOLIDAY_DATE))
        return OK;
    return REFUSE(b, at, "\"%.40s\" is no date: write YYYY-MM-DD", text);
}

static enum err check_about(struct conf_build *b, const struct yaml_pack *y, const char *name)
{
    if (y->version != PACK_FORMAT)
        return REFUSE(b, "version", "is %lld; this build reads rule packs of version %d", (long long)y->version,
                      PACK_FORMAT);
    if (strcmp(y->name, name) != 0)
        return REFUSE(b, "name", "\"%.64s\" is not the name of the file", y->name);
    const char *c = y->country;
    bool country = c == NULL || (strlen(c) == 2 && c[0] >= 'A' && c[0] <= 'Z' && c[1] >= 'A' && c[1] <= 'Z');
    if (!country)
        return REFUSE(b, "country", "\"%.40s\" is no country: write two letters, like US, or leave it out", c);
    enum err err = check_date(b, y->as_of, "as_of");
    if (err == OK)
        err = check_date(b, y->review_by, "review_by");
    if (err == OK)
        err = check_date(b, y->effective_from, "effective_from");
    if (err == OK)
        err = check_date(b, y->effective_to, "effective_to");
    return err;
}

static enum err build_hours(struct conf_build *b, const struct yaml_pack *y, size_t i, struct legal_window *w)
{
    const struct yaml_pack_hours *h = &y->hours[i];
    struct holiday_calendar *calendar = NULL;
    enum err err = OK;

    *w = (struct legal_window){
        .pack = conf_keep(b, y->name),
        .classes = h->classes,
        .channels = h->channels,
        .counts_delivery = h->counts_delivery == FLAG_TRUE,
    };
    if (y->country != NULL)
        memcpy(w->country, y->country, 2);
    if (h->holidays_count > 0) {
        calendar = conf_alloc(b, 1, sizeof *calendar);
        err = conf_build_calendar(b, y->name, h->holidays, h->holidays_count, AT("hours[%zu].holidays", i), calendar);
    }
    if (err != OK)
        return err;
    return conf_build_windows(b, h->allowed, AT("hours[%zu].allowed", i), WINDOW_ALLOWED, calendar, &w->set);
}

/* b->doc is the pack's here, so that errors name its lines. */
static enum err build_pack(struct conf_build *b, const char *name, const struct yaml_pack *y, struct conf_pack *out)
{
    struct policy *p = &b->conf->policy;
    struct legal_window *all = conf_alloc(b, p->n_legal + y->hours_count, sizeof *all);

    if (p->n_legal > 0)
        memcpy(all, p->legal, p->n_legal * sizeof *all);
    enum err err = check_about(b, y, name);
    for (size_t i = 0; i < y->hours_count && err == OK; i++)
        err = build_hours(b, y, i, &all[p->n_legal + i]);
    p->legal = all;
    p->n_legal += y->hours_count;
    *out = (struct conf_pack){
        .name = conf_keep(b, y->name),
        .title = conf_keep(b, y->title),
        .source = conf_keep(b, y->source),
        .as_of = conf_keep(b, y->as_of),
        .review_by = conf_keep(b, y->review_by),
        .effective_from = conf_keep(b, y->effective_from),
        .effective_to = conf_keep(b, y->effective_to),
        .confidence = (char)y->confidence,
    };
    return err;
}

static enum err load_pack(struct conf_build *b, const char *dir, size_t i, struct conf_pack *out)
{
    AUTO(conf_document_clear) struct conf_document doc = {0};
    const char *name = b->yaml->policy.packs[i];
    const struct conf_document *outer = b->doc;
    struct errmsg why;
    void *values = NULL;

    enum err err = conf_name(b, name, AT("policy.packs[%zu]", i));
    if (err != OK)
        return err;
    const char *path = arena_printf(&b->conf->arena, "%s/%s.yaml", dir, name);
    ensure(path != NULL);
    err = conf_document_load(&doc, path, &why);
    if (err != OK)
        return REFUSE(b, AT("policy.packs[%zu]", i), "%s", why.text);
    err = conf_values_load(&doc, &conf_schema_pack, &values, b->e);
    if (err == OK) {
        b->doc = &doc;
        err = build_pack(b, name, values, out);
        b->doc = outer;
    }
    conf_values_free(&conf_schema_pack, &values);
    const struct slice parts[] = {{(const char *)b->digest.b, sizeof b->digest.b}, {doc.text, doc.n}};
    b->digest = hash_sha256_parts(parts, N_ELEMENTS(parts));
    return err;
}

static const char *pack_name(const struct yaml_conf *y, size_t i)
{
    return y->policy.packs[i];
}

enum err conf_build_packs(struct conf_build *b)
{
    size_t n = b->yaml->policy.packs_count;
    struct conf_pack *packs = conf_alloc(b, n, sizeof *packs);
    const char *dir = rules_dir(b);

    enum err err = conf_distinct(b, "policy.packs", n, pack_name);
    for (size_t i = 0; i < n && err == OK; i++)
        err = load_pack(b, dir, i, &packs[i]);
    b->conf->packs = packs;
    b->conf->n_packs = n;
    return err;
}

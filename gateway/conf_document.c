/*
 * Reading a YAML file and finding lines in it.  Knows libyaml; knows no key and
 * no type.  The text is read once: libyaml and libcyaml see the same bytes, also
 * when somebody is saving the file at the time.
 */
#include "conf_document.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "postern/spelling.h"

/* --- errors ---------------------------------------------------------------------- */

#define FILE_SHOWN 100 /* of a long path, so that the sentence behind it has room */

static void refuse(const struct conf_document *d, struct errmsg *e, size_t line, const char *at, const char *text)
{
    size_t n = strlen(d->path);
    const char *file = n > FILE_SHOWN ? d->path + (n - FILE_SHOWN) : d->path;
    char number[24] = "";

    if (line > 0)
        snprintf(number, sizeof number, ":%zu", line);
    errmsg_set(e, "%s%s%s: %s%s%s", n > FILE_SHOWN ? "..." : "", file, number, at, at[0] != '\0' ? ": " : "", text);
}

enum err conf_refuse_line(const struct conf_document *d, struct errmsg *e, size_t line, const char *at, const char *fmt,
                          ...)
{
    struct errmsg sentence;
    va_list args;

    va_start(args, fmt);
    vsnprintf(sentence.text, sizeof sentence.text, fmt, args);
    va_end(args);
    refuse(d, e, line, at, sentence.text);
    return ERR_SYNTAX;
}

enum err conf_refuse(const struct conf_document *d, struct errmsg *e, const char *at, const char *fmt, ...)
{
    struct errmsg sentence;
    va_list args;

    va_start(args, fmt);
    vsnprintf(sentence.text, sizeof sentence.text, fmt, args);
    va_end(args);
    refuse(d, e, conf_document_line(d, at), at, sentence.text);
    return ERR_SYNTAX;
}

const char *conf_at(struct conf_at *out, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(out->text, sizeof out->text, fmt, args);
    va_end(args);
    return out->text;
}

/* --- guesses --------------------------------------------------------------------- */

void conf_guess_offer(struct conf_guess *g, const char *word)
{
    unsigned distance = spelling_distance(g->word, word);
    unsigned far = g->best == NULL ? (unsigned)(strlen(g->word) / 3 + 2) : g->distance;

    if (distance < far) {
        g->best = word;
        g->distance = distance;
    }
}

const char *conf_hint(const struct conf_guess *g, struct conf_hint *out)
{
    out->text[0] = '\0';
    if (g->best != NULL)
        snprintf(out->text, sizeof out->text, "; did you mean \"%s\"?", g->best);
    return out->text;
}

/* --- lines ----------------------------------------------------------------------- */

/* Of a mapping the pair whose key begins the path; keys may hold dots, so the longest counts. */
static const yaml_node_t *step_key(const struct conf_document *d, const yaml_node_t *node, const char **at)
{
    yaml_document_t *tree = (yaml_document_t *)&d->tree; /* libyaml's look-ups change nothing */
    const yaml_node_t *found = NULL;
    size_t found_n = 0;

    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(tree, p->key);
        if (key->type != YAML_SCALAR_NODE)
            continue;
        size_t n = key->data.scalar.length;
        const char *text = (const char *)key->data.scalar.value;
        bool begins = n > found_n && strncmp(*at, text, n) == 0 && strchr(".[", (*at)[n]) != NULL;
        if (begins) {
            found = yaml_document_get_node(tree, p->value);
            found_n = n;
        }
    }
    *at += found_n;
    return found;
}

static const yaml_node_t *step_index(const struct conf_document *d, const yaml_node_t *node, const char **at)
{
    const char *close = strchr(*at, ']');
    uint64_t i = 0;

    if (close == NULL || !slice_to_u64((struct slice){*at + 1, (size_t)(close - *at) - 1}, CONF_FILE_BYTES, &i))
        return NULL;
    if (i >= (uint64_t)(node->data.sequence.items.top - node->data.sequence.items.start))
        return NULL;
    *at = close + 1;
    return yaml_document_get_node((yaml_document_t *)&d->tree, node->data.sequence.items.start[i]);
}

size_t conf_document_line(const struct conf_document *d, const char *at)
{
    const yaml_node_t *node = yaml_document_get_root_node((yaml_document_t *)&d->tree);
    const yaml_node_t *last = NULL;

    while (node != NULL) {
        last = node;
        if (*at == '.')
            at++;
        if (*at == '[' && node->type == YAML_SEQUENCE_NODE)
            node = step_index(d, node, &at);
        else if (*at != '\0' && node->type == YAML_MAPPING_NODE)
            node = step_key(d, node, &at);
        else
            node = NULL;
    }
    return last == NULL ? 0 : last->start_mark.line + 1;
}

/* --- reading --------------------------------------------------------------------- */

static void close_file(FILE **f)
{
    if (*f != NULL)
        fclose(*f);
}

/* A reload that finds no memory is refused like any other; a start ends with it. */
static enum err refuse_memory(const struct conf_document *d, struct errmsg *e)
{
    return conf_refuse_line(d, e, 0, "", "there is no memory to read it now");
}

static bool take_text(struct conf_document *d)
{
    d->text = calloc(1, CONF_FILE_BYTES + 1);
    return d->text != NULL;
}

enum err conf_document_read(struct conf_document *d, struct errmsg *e)
{
    AUTO(close_file) FILE *f = fopen(d->path, "re");

    if (f == NULL)
        return conf_refuse_line(d, e, 0, "", "cannot be opened: %s", strerror(errno));
    setbuf(f, NULL); /* no copy of secrets in stdio's buffer */
    if (!take_text(d))
        return refuse_memory(d, e);
    d->n = fread(d->text, 1, CONF_FILE_BYTES + 1, f);
    if (ferror(f))
        return conf_refuse_line(d, e, 0, "", "cannot be read: %s", strerror(errno));
    if (d->n > CONF_FILE_BYTES)
        return conf_refuse_line(d, e, 0, "", "is larger than %u bytes", CONF_FILE_BYTES);
    return OK;
}

static enum err refuse_syntax(const struct conf_document *d, const yaml_parser_t *parser, struct errmsg *e)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return refuse_memory(d, e);
    /* Errors of the reader (bytes that are no UTF-8) know an offset and no mark. */
    size_t line = parser->problem_mark.line + 1;
    for (size_t i = 0; parser->error == YAML_READER_ERROR && i < parser->problem_offset && i < d->n; i++)
        line += d->text[i] == '\n';
    return conf_refuse_line(d, e, line, "", "not YAML: %s%s%s",
                            parser->problem != NULL ? parser->problem : "unreadable",
                            parser->context != NULL ? " " : "", parser->context != NULL ? parser->context : "");
}

/* What an event brings that has no place here; NULL: nothing. */
static const char *unwelcome(const yaml_event_t *event, int *documents)
{
    static const char references[] = "anchors, aliases and tags are not read here: write the value out";
    const yaml_char_t *anchor = NULL, *tag = NULL;

    if (event->type == YAML_DOCUMENT_START_EVENT)
        return ++*documents > 1 ? "a second document begins here: write one" : NULL;
    if (event->type == YAML_ALIAS_EVENT)
        return references;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    return anchor != NULL || tag != NULL ? references : NULL;
}

static enum err check_events(const struct conf_document *d, yaml_parser_t *parser, struct errmsg *e)
{
    int documents = 0;

    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event))
            return refuse_syntax(d, parser, e);
        const char *wrong = unwelcome(&event, &documents);
        size_t line = event.start_mark.line + 1;
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
        if (wrong != NULL)
            return conf_refuse_line(d, e, line, "", "%s", wrong);
    }
    return documents == 1 ? OK : conf_refuse_line(d, e, 0, "", "is empty");
}

static void start_parser(const struct conf_document *d, yaml_parser_t *parser)
{
    ensure(yaml_parser_initialize(parser));
    yaml_parser_set_input_string(parser, (const unsigned char *)d->text, d->n);
}

static enum err parse(struct conf_document *d, struct errmsg *e)
{
    AUTO(yaml_parser_delete) yaml_parser_t events, nodes;
    start_parser(d, &events);
    start_parser(d, &nodes);
    enum err err = check_events(d, &events, e);
    if (err != OK)
        return err;
    if (!yaml_parser_load(&nodes, &d->tree))
        return refuse_syntax(d, &nodes, e);
    d->parsed = true;
    return OK;
}

enum err conf_document_load(struct conf_document *d, const char *path, struct errmsg *e)
{
    *d = (struct conf_document){.path = path};
    enum err err = conf_document_read(d, e);
    return err == OK ? parse(d, e) : err;
}

enum err conf_document_parse(struct conf_document *d, const char *path, struct slice bytes, struct errmsg *e)
{
    *d = (struct conf_document){.path = path};
    if (bytes.n > CONF_FILE_BYTES)
        return conf_refuse_line(d, e, 0, "", "is larger than %u bytes", CONF_FILE_BYTES);
    if (!take_text(d))
        return refuse_memory(d, e);
    if (bytes.n > 0)
        memcpy(d->text, bytes.p, bytes.n);
    d->n = bytes.n;
    return parse(d, e);
}

void conf_document_clear(struct conf_document *d)
{
    if (d->parsed)
        yaml_document_delete(&d->tree);
    if (d->text != NULL)
        explicit_bzero(d->text, CONF_FILE_BYTES + 1);
    free(d->text);
    *d = (struct conf_document){0};
}

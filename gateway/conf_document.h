/*
 * A YAML file as it was written: its text, its tree, and where each value stands.
 * Everything that refuses a value names it by a path ("keys[1].secret") and asks
 * here for the line.
 */
#ifndef GATEWAY_CONF_DOCUMENT_H
#define GATEWAY_CONF_DOCUMENT_H

#include <yaml.h>

#include "postern/base.h"

#define CONF_FILE_BYTES 1048576u /* a configuration of 1 MiB is none that a person wrote */

/* Zero bytes are a valid empty document. */
struct conf_document {
    const char *path; /* borrowed; as errors name it */
    char *text;       /* may hold secrets: wiped when cleared */
    size_t n;
    yaml_document_t tree;
    bool parsed; /* tree is there */
};

/*
 * Read and parse.  Refused: a file over CONF_FILE_BYTES, anything but one document,
 * and anchors, aliases and tags, by which one text could be read two ways.
 */
enum err conf_document_load(struct conf_document *d, const char *path, struct errmsg *e) NODISCARD;
/* The same of bytes that were read before; path says only how errors name it.  The bytes are copied. */
enum err conf_document_parse(struct conf_document *d, const char *path, struct slice bytes, struct errmsg *e) NODISCARD;
/* The text only, of d->path. */
enum err conf_document_read(struct conf_document *d, struct errmsg *e) NODISCARD;
void conf_document_clear(struct conf_document *d);

/* The line, 1.., of the value at that path, or of its nearest parent that is there. */
size_t conf_document_line(const struct conf_document *d, const char *at);

/* e becomes "postern.yaml:12: keys[1].secret: ..."; an empty path is left out.  Returns ERR_SYNTAX. */
enum err conf_refuse(const struct conf_document *d, struct errmsg *e, const char *at, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* The same for a line that is known. */
enum err conf_refuse_line(const struct conf_document *d, struct errmsg *e, size_t line, const char *at, const char *fmt,
                          ...) PRINTF_LIKE(5, 6);

/* A path in the making; AT("keys[%zu].name", i) gives one that lives as long as the block around it. */
struct conf_at {
    char text[160];
};
const char *conf_at(struct conf_at *out, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define AT(...) conf_at(&(struct conf_at){{0}}, __VA_ARGS__)

/* Of many words the one nearest to a misspelt one: start with {.word = ...}, offer each, read best (or NULL). */
struct conf_guess {
    const char *word;
    const char *best;
    unsigned distance;
};
void conf_guess_offer(struct conf_guess *g, const char *word);
/* "; did you mean \"listen\"?" or nothing. */
struct conf_hint {
    char text[96];
};
const char *conf_hint(const struct conf_guess *g, struct conf_hint *out);
#define HINT(guess) conf_hint((guess), &(struct conf_hint){{0}})

#endif

/*
 * Templates and the sandbox's pages as HTML.  Pure: rows in, bytes out; everything
 * that comes from outside is escaped in one place, pages_fill.
 */
#ifndef GATEWAY_PAGES_HTML_H
#define GATEWAY_PAGES_HTML_H

#include "postern/buf.h"
#include "postern/store.h"

/* What stands for {{name}} (escaped) and for {{&name}} (HTML that is already made). */
struct page_value {
    const char *name;
    struct slice value;
};

/* A name that is not among the values is our mistake and aborts. */
void pages_fill(struct buf *b, struct slice template, const struct page_value *values, size_t n);

/* A whole page around main, which is HTML. */
void pages_frame(struct buf *b, const char *title, bool is_sandbox, struct slice main);

/* The inbox: rows are newest first; page is 1.., of PAGES_ROWS each; the row after a full page means that there are
 * older ones. */
#define PAGES_ROWS 25u
void pages_sandbox(struct buf *b, const struct sandbox_message *rows, size_t n, size_t page);
/* Nothing yet: hint says what to do, url is where applications send to. */
void pages_sandbox_empty(struct buf *b, const char *hint, const char *url);
void pages_message(struct buf *b, const struct sandbox_message *m);
void pages_problem(struct buf *b, const char *title, const char *detail);

#endif

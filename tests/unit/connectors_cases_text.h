/* Words taken off the text of a case, and what a connector made put into words: for connectors_cases.c. */
#ifndef CONNECTORS_CASES_TEXT_H
#define CONNECTORS_CASES_TEXT_H

#include <check.h>

#include "postern/buf.h"
#include "postern/connector.h"

static inline struct slice line_take(struct slice *rest)
{
    const char *end = rest->n == 0 ? NULL : memchr(rest->p, '\n', rest->n);
    size_t n = end == NULL ? rest->n : (size_t)(end - rest->p);
    struct slice line = {rest->p, n};
    size_t used = end == NULL ? n : n + 1;
    *rest = (struct slice){rest->p + used, rest->n - used};
    return line;
}

static inline struct slice word_take(struct slice *rest)
{
    *rest = slice_trim(*rest);
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ')
        n++;
    struct slice word = {rest->p, n};
    *rest = slice_trim((struct slice){rest->p + n, rest->n - n});
    return word;
}

static inline struct slice bar_take(struct slice *rest)
{
    const char *bar = rest->n == 0 ? NULL : memchr(rest->p, '|', rest->n);
    size_t n = bar == NULL ? rest->n : (size_t)(bar - rest->p);
    struct slice part = slice_trim((struct slice){rest->p, n});
    size_t used = bar == NULL ? n : n + 1;
    *rest = (struct slice){rest->p + used, rest->n - used};
    return part;
}

static inline int64_t time_of(struct slice s)
{
    int64_t ms;
    ck_assert_msg(rfc3339_parse(s, &ms), "not a time: %.*s", SLICE_ARG(s));
    return ms;
}

static inline void add_text(struct buf *b, const char *name, struct slice s)
{
    if (s.n > 0)
        buf_printf(b, " %s=%.*s", name, SLICE_ARG(s));
}

static inline void add_time(struct buf *b, const char *name, int64_t ms)
{
    char text[RFC3339_MAX];
    if (ms != 0)
        buf_printf(b, " %s=%s", name, rfc3339_format(ms, text));
}

static inline void add_fields(struct buf *b, const struct wire_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%.*s: %.*s\n", SLICE_ARG(fields[i].name), SLICE_ARG(fields[i].value));
}

static inline void add_body(struct buf *b, struct slice body)
{
    if (body.n == 0)
        return;
    buf_add_cstr(b, "\n");
    buf_add_slice(b, body);
    buf_add_cstr(b, "\n");
}

/* Of a mail, and of a reply to it, as it stands in these files: without its CRs. */
static inline void add_lines(struct buf *b, struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != '\r')
            buf_add(b, &text.p[i], 1);
    }
}

static inline void add_envelope(struct buf *b, const struct mail_envelope *e)
{
    buf_printf(b, "MAIL FROM:<%.*s>%s%s", SLICE_ARG(e->from), e->body_8bit ? " BODY=8BITMIME" : "",
               e->smtputf8 ? " SMTPUTF8" : "");
    add_text(b, "RET", e->ret);
    add_text(b, "ENVID", e->envid);
    for (size_t i = 0; i < e->n_recipients; i++) {
        buf_printf(b, "\nRCPT TO:<%.*s>", SLICE_ARG(e->recipients[i].path));
        add_text(b, "NOTIFY", e->recipients[i].notify);
        add_text(b, "ORCPT", e->recipients[i].orcpt);
    }
    buf_add_cstr(b, "\n\n");
}

#endif

/*
 * The header of a MIME text that is sent by messages.mime: Mailgun's orders in it
 * (X-Mailgun-*) and ours.  Nothing else of it is looked at: the envelope is `to`.
 * Programs write such texts with bare LF as well: where no CR stands in the header,
 * no reader parts it elsewhere, so its lines are read as if they ended in CRLF.
 */
#include "mailgun_reading.h"

#include "postern/limits.h"

/* The bytes of a header whose lines end in LF alone, its empty line included; 0: they do not.  content: not empty. */
static size_t lf_head_bytes(struct slice content)
{
    const char *lf = memchr(content.p, '\n', content.n);
    if (lf == NULL || (lf > content.p && lf[-1] == '\r'))
        return 0;
    const char *end = content.p[0] == '\n' ? content.p : memmem(content.p, content.n, "\n\n", 2);
    size_t n = end == NULL ? content.n : (size_t)(end - content.p) + (content.p[0] == '\n' ? 1 : 2);
    return memchr(content.p, '\r', n) == NULL ? n : 0;
}

/* The same with CRLF. */
static enum err with_crlf(struct mailgun_reading *g, struct slice head)
{
    size_t n = head.n;
    if (head.n > LIMIT_MAIL_HEADER_BYTES)
        return wire_fault(g->fault, FAULT_TOO_LARGE, "message", "The header has more than %u bytes",
                          LIMIT_MAIL_HEADER_BYTES);
    for (size_t i = 0; i < head.n; i++)
        n += head.p[i] == '\n';
    char *text = arena_alloc(g->arena, n);
    if (text == NULL)
        return mailgun_out_of_memory(g);
    g->mg->head_text = (struct slice){text, n};
    for (size_t i = 0; i < head.n; i++) {
        if (head.p[i] == '\n')
            *text++ = '\r';
        *text++ = head.p[i];
    }
    return OK;
}

static enum err read_field(struct mailgun_reading *g, const struct mail_field *field, enum mailgun_param which)
{
    if (which == MG_OTHER)
        return OK;
    enum claim claim = which == MG_OWN ? claims_of_field(field->name) : CLAIM_N;
    if (which == MG_OWN && claim == CLAIM_N)
        return OK;
    if (which == MG_RECIPIENT_VARIABLES) {
        const char *origin = g->mg->head_text.p != NULL ? g->mg->head_text.p : g->mg->message->value.p;
        g->mg->variables.at = (size_t)(field->value.p - origin);
        return mailgun_say(g, which, field->value);
    }
    struct slice value = mail_field_text(field, g->arena);
    if (value.p != NULL && (which == MG_OWN || which == MG_O_TAG))
        value = mail_words(value, g->arena); /* composers encode what is not ASCII */
    if (value.p == NULL)
        return mailgun_out_of_memory(g);
    if (which == MG_OWN)
        return claims_say(&g->claims, claim, value, g->fault);
    return which == MG_O_TAG ? mailgun_add_label(g, value) : mailgun_say(g, which, value);
}

enum err mailgun_read_head(struct mailgun_reading *g, struct slice content)
{
    struct mailgun *m = g->mg;
    size_t lf = m->head_lf_bytes = lf_head_bytes(content);
    enum err err = lf > 0 ? with_crlf(g, (struct slice){content.p, lf}) : OK;
    if (err == OK)
        err = mail_head_read(lf > 0 ? m->head_text : content, g->arena, &m->head, g->fault);
    if (err == OK)
        err = mime_check(content, &m->head, g->fault);
    if (err != OK)
        return err;
    m->head_params = arena_calloc(g->arena, m->head.n, sizeof *m->head_params);
    if (m->head_params == NULL)
        return mailgun_out_of_memory(g);
    for (size_t i = 0; i < m->head.n && err == OK; i++) {
        m->head_params[i] = mailgun_header_param(m->head.fields[i].name);
        err = read_field(g, &m->head.fields[i], m->head_params[i]);
    }
    return err;
}

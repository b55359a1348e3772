/*
 * What rules read of a content: found when somebody is there to whom it matters, and recorded when it was read.  A
 * language takes a tenth of a millisecond to guess, several times what the rest of a decision does, and most contacts
 * state none; and a row that holds what no rule asked for is longer for nothing.
 */
#include "submission_parts.h"

#include "connectors/mime.h"
#include "postern/card_number.h"
#include "postern/language.h"

_Static_assert(sizeof(((struct body_facts *)0)->language) == LANGUAGE_MAX, "a code has room");

static void tell(struct gateway *g, struct slice text, uint64_t fingerprint, struct body_facts *body)
{
    struct gateway_language *known = &g->languages[fingerprint % GATEWAY_LANGUAGES];

    if (fingerprint == 0 || known->fingerprint != fingerprint) {
        language_detect(text, body->has_html && !body->has_text, known->code);
        known->fingerprint = fingerprint;
    }
    memcpy(body->language, known->code, sizeof(body->language));
}

void submission_tell_language(struct submission *s, const struct item *item)
{
    const struct body_facts *seen = item->message->body;

    if (s->language_told || seen == NULL || item->facts.preferences.language.n == 0 ||
        item->message->form.language.n > 0)
        return;
    s->language_told = true;
    struct body_facts *body = arena_alloc(s->arena, sizeof(*body));
    if (body == NULL)
        return;
    *body = *seen;
    tell(s->g, s->parsed.text, item->message->fingerprint, body);
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i].message->body == seen)
            s->items[i].message->body = body;
    }
}

/* For people who ask: all of it, whether a rule wants to know or not. */
void submission_look_dry(struct gateway *g, struct submission_dry_run *d)
{
    const struct submission_content *c = &d->content;

    if (c->subject.n + c->text.n + c->html.n == 0)
        return;
    d->message.body = &d->body;
    body_find_card(c->subject, false, &d->body);
    body_look(c->text, false, &d->body);
    body_look(c->html, true, &d->body);
    if (d->message.form.language.n == 0)
        tell(g, c->text.n > 0 ? c->text : c->html, 0, &d->body);
}

void submission_add_content(struct buf *b, const struct item *item)
{
    const struct message *m = item->message;
    const struct preferences *wishes = &item->facts.preferences;
    const struct body_facts *body = m->body;
    const char *before = ",\"body\":{";

    if (body == NULL)
        return;
    if (wishes->format.n > 0 && m->form.format.n == 0 && body->words > 0) {
        buf_printf(b, "%s\"words\":%u%s", before, body->words, body->cut ? ",\"cut\":true" : "");
        before = ",";
    }
    if (wishes->language.n > 0 && m->form.language.n == 0 && body->language[0] != '\0') {
        buf_add_cstr(b, before);
        buf_add_cstr(b, "\"language\":\"");
        buf_add_cstr(b, body->language);
        buf_add_cstr(b, "\"");
        before = ",";
    }
    if (body->has_card_number) {
        buf_printf(b, "%s\"card_number\":true", before);
        before = ",";
    }
    if (before[1] == '\0')
        buf_add_cstr(b, "}");
}

/* For people to see: what cannot be masked for want of memory is not shown. */
static struct slice masked(struct slice text, bool *any, struct arena *a)
{
    struct slice shown = card_number_mask(text, a);

    *any |= shown.p != text.p;
    return shown.p == text.p ? arena_slice(a, text) : shown;
}

void submission_show(const struct submission *s, struct slice body, struct arena *a, struct shown_content *out)
{
    const struct body_facts *seen = s->n_items > 0 ? s->items[0].message->body : NULL;
    bool any = seen != NULL && seen->has_card_number;

    out->subject = masked(s->parsed.subject, &any, a);
    out->text = masked(s->parsed.text, &any, a);
    /* Behind escapes and encodings a number would be missed, or a mark left that is no number's. */
    if (any)
        out->body = SLICE("[not kept: it holds the number of a payment card]");
    else
        out->body = arena_slice(
            a, (struct slice){body.p, body.n < LIMIT_SANDBOX_BODY_BYTES ? body.n : LIMIT_SANDBOX_BODY_BYTES});
}

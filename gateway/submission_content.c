/*
 * What is only looked for in a content when somebody is there to whom it matters.  A language takes a tenth of a
 * millisecond to guess, several times what the rest of a decision does, and most contacts state none.
 */
#include "submission_parts.h"

#include "postern/language.h"

_Static_assert(sizeof(((struct body_facts *)0)->language) == LANGUAGE_MAX, "a code has room");

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
    language_detect(s->parsed.text, seen->has_html && !seen->has_text, body->language);
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i].message->body == seen)
            s->items[i].message->body = body;
    }
}

/*
 * What is in the mail of a mail/send: the text for people, and what can be seen of all of it.  Knows the parts of
 * `content` by their type, and nothing of who gets them.
 */
#include "json_text.h"
#include "mime.h"
#include "postern/card_number.h"
#include "sendgrid_reading.h"

enum content_kind { CONTENT_OTHER, CONTENT_TEXT, CONTENT_HTML };

struct content {
    enum content_kind kind;
    uint32_t value; /* a string, or JSON_NONE */
};

static enum err read_part(struct sendgrid_reading *g, uint32_t node, struct content *out)
{
    const struct json_scan *s = &g->sg->scan;
    uint32_t type = json_scan_member(s, node, "type"), value = json_scan_member(s, node, "value");
    struct slice name = {NULL, 0};
    *out = (struct content){CONTENT_OTHER, JSON_NONE};
    if (json_scan_is(s, type, JSON_KIND_STRING) && !json_scan_text(s, type, g->arena, &name))
        return sendgrid_out_of_memory(g);
    out->kind = wire_is_media_type(name, "text/plain")  ? CONTENT_TEXT
                : wire_is_media_type(name, "text/html") ? CONTENT_HTML
                                                        : CONTENT_OTHER;
    if (json_scan_is(s, value, JSON_KIND_STRING))
        out->value = value;
    return OK;
}

/* shown: the text for people as well, whole and in *out->text. */
static enum err look_at(struct sendgrid_reading *g, const struct content *part, bool shown)
{
    struct body_facts *body = &g->sg->body;
    bool html = part->kind == CONTENT_HTML;
    struct slice text = {0};
    if (shown && !json_scan_text(&g->sg->scan, part->value, g->arena, &g->out->text))
        return sendgrid_out_of_memory(g);
    if (part->kind == CONTENT_OTHER)
        return OK;
    /* Beside a text, only a card's number would be news: mostly the escapes need not be undone. */
    if (!shown && html && body->has_text && !card_number_possible(json_scan_raw(&g->sg->scan, part->value))) {
        body->has_html = true;
        return OK;
    }
    if (shown) {
        body_look(g->out->text, html, body);
        return OK;
    }
    /* Nobody is to see it: its escapes are undone for this look alone. */
    struct arena_mark mark = arena_mark(g->arena);
    bool read = json_scan_text(&g->sg->scan, part->value, g->arena, &text);
    if (read)
        body_look(text, html, body);
    arena_rewind(g->arena, &mark);
    return read ? OK : sendgrid_out_of_memory(g);
}

/* A subject that is no string is refused where it is read for people. */
static enum err look_at_subject(struct sendgrid_reading *g, uint32_t node)
{
    const struct json_scan *s = &g->sg->scan;
    struct slice text;
    if (!json_scan_is(s, node, JSON_KIND_STRING) || !card_number_possible(json_scan_raw(s, node)))
        return OK;
    if (!json_scan_text(s, node, g->arena, &text))
        return sendgrid_out_of_memory(g);
    body_find_card(text, false, &g->sg->body);
    return OK;
}

/* The mail's own, and those of its personalizations. */
static enum err look_at_subjects(struct sendgrid_reading *g)
{
    enum err err = look_at_subject(g, g->sg->root[SG_ROOT_SUBJECT]);
    for (size_t i = 0; i < g->sg->n_envelopes && err == OK; i++)
        err = look_at_subject(g, g->sg->envelopes[i].members[SG_PERSON_SUBJECT]);
    return err;
}

/* For people: the first text/plain part, else the first. */
enum err sendgrid_read_content(struct sendgrid_reading *g)
{
    const struct json_scan *s = &g->sg->scan;
    uint32_t array = g->sg->root[SG_ROOT_CONTENT], attachments = g->sg->root[SG_ROOT_ATTACHMENTS];
    struct content shown = {CONTENT_OTHER, JSON_NONE}, part;
    if (array != JSON_NONE && !json_scan_is(s, array, JSON_KIND_ARRAY))
        return sendgrid_refuse_type(g, "content", array, "an array of {type, value}");
    for (uint32_t c = array + 1; array != JSON_NONE && c < s->nodes[array].next; c = s->nodes[c].next) {
        enum err err = read_part(g, c, &part);
        if (err == OK && part.value == JSON_NONE)
            continue;
        bool better = shown.value == JSON_NONE || (part.kind == CONTENT_TEXT && shown.kind != CONTENT_TEXT);
        if (err == OK)
            err = look_at(g, &part, better);
        if (err != OK)
            return err;
        if (better)
            shown = part;
    }
    g->sg->body.bytes = g->request->body.n;
    if (json_scan_is(s, attachments, JSON_KIND_ARRAY))
        g->sg->body.attachments = (uint32_t)json_scan_count(s, attachments);
    return look_at_subjects(g);
}

/*
 * What leaves for Mailgun: the body as received, less who was decided not to get
 * it, less what is only ours.  The one idea: parse left offsets into values; where a
 * value was decoded, or the header of a MIME text read with other line ends, a walk
 * beside it finds the byte of the body.
 */
#include "mailgun.h"

#include "edit.h"

struct pruning {
    const struct mailgun *m;
    const bool *send;
    int64_t now_ms;
    struct edits edits;
    enum mailgun_param primary; /* the list that stands as `to` when the mail leaves */
};

/* --- offsets ------------------------------------------------------------------- */

/* Where a byte of a field's value stands in the body; walks on only. */
struct place {
    const struct mailgun *m;
    const char *head; /* the offsets count in this copy, which has a CR before each LF; or NULL */
    size_t at, raw;
};

static struct place place_begin(const struct mailgun *m, const struct mailgun_field *field)
{
    const char *head = field == m->message ? m->head_text.p : NULL;
    return (struct place){.m = m, .head = head, .raw = field->value_at};
}

static size_t place_of(struct place *p, size_t offset)
{
    if (p->m->multipart && p->head == NULL)
        return p->raw + offset;
    for (; p->at < offset; p->at++) {
        if (p->head != NULL && p->head[p->at] == '\r')
            continue;
        p->raw += !p->m->multipart && p->m->body.p[p->raw] == '%' ? 3 : 1;
    }
    return p->raw;
}

/* Items of a row in a value. */
struct row {
    struct edit_row edits;
    struct place place;
};

static void row_item(struct row *r, size_t start, size_t end, size_t next_start, bool cut)
{
    size_t raw_start = place_of(&r->place, start), raw_end = place_of(&r->place, end);
    size_t raw_next = next_start == SIZE_MAX ? SIZE_MAX : place_of(&r->place, next_start);
    edit_row_item(&r->edits, raw_start, raw_end, raw_next, cut);
}

/* --- recipients -------------------------------------------------------------------- */

static size_t n_sent(const struct pruning *x, const struct mailgun_field *field)
{
    size_t n = 0;
    for (uint32_t i = 0; i < field->n; i++)
        n += x->send[x->m->places[field->first + i].message];
    return n;
}

static void prune_list(struct pruning *x, const struct mailgun_field *field)
{
    struct row row = {.edits = {.edits = &x->edits}, .place = place_begin(x->m, field)};
    const struct mailgun_place *places = x->m->places + field->first;
    if (field->param != MG_TO && field->param == x->primary)
        edit_replace(&x->edits, field->name_at, field->name_end, SLICE("to"));
    for (uint32_t i = 0; i < field->n; i++)
        row_item(&row, places[i].start, places[i].end, i + 1 < field->n ? places[i + 1].start : SIZE_MAX,
                 !x->send[places[i].message]);
}

/* An object that lost all its members stays: without one each would see all others in To. */
static void prune_variables(struct pruning *x, struct place *place)
{
    const struct mailgun_variables *v = &x->m->variables;
    const struct json_node *nodes = v->scan.nodes;
    struct row row = {.edits = {.edits = &x->edits}, .place = *place};
    size_t i = 0;
    for (uint32_t c = 1; c < nodes[0].next; c = nodes[c].next) {
        uint32_t owner = v->owners[i++], next = nodes[c].next;
        row_item(&row, v->at + nodes[c].key_start, v->at + nodes[c].end,
                 next < nodes[0].next ? v->at + nodes[next].key_start : SIZE_MAX,
                 owner != MAILGUN_NOBODY && !x->send[owner]);
    }
    *place = row.place;
}

/* --- options ------------------------------------------------------------------------ */

/*
 * What is only ours; a time that has passed; and Mailgun's own choice of a time, which nobody here would have asked
 * whether it may be sent then.
 */
static bool is_dropped(const struct pruning *x, enum mailgun_param which)
{
    return which == MG_OWN || which == MG_O_OPTIMIZE || which == MG_O_LOCALIZE ||
           (which == MG_O_DELIVERYTIME && x->m->deliver_at_ms <= x->now_ms);
}

static void prune_message(struct pruning *x, const struct mailgun_field *field)
{
    const struct mailgun *m = x->m;
    struct place place = place_begin(m, field);
    for (size_t i = 0; i < m->head.n; i++) {
        const struct mail_field *line = &m->head.fields[i];
        if (m->head_params[i] == MG_RECIPIENT_VARIABLES)
            prune_variables(x, &place);
        if (!is_dropped(x, m->head_params[i]))
            continue;
        size_t start = place_of(&place, line->start);
        edit_cut(&x->edits, start, place_of(&place, line->end));
    }
}

/* --- the whole ------------------------------------------------------------------------- */

static bool drop_field(const struct pruning *x, const struct mailgun_field *field)
{
    return is_dropped(x, field->param) || (field->n > 0 && n_sent(x, field) == 0);
}

static void prune_field(struct pruning *x, const struct mailgun_field *field)
{
    struct place place = place_begin(x->m, field);
    if (field->param < MG_LISTS)
        prune_list(x, field);
    else if (field->param == MG_RECIPIENT_VARIABLES)
        prune_variables(x, &place);
    else if (field == x->m->message)
        prune_message(x, field);
}

static void prune(struct pruning *x)
{
    const struct mailgun *m = x->m;
    struct edit_row row = {.edits = &x->edits};
    for (size_t i = 0; i < m->n_fields; i++) {
        const struct mailgun_field *field = &m->fields[i];
        bool drop = drop_field(x, field);
        if (!drop)
            prune_field(x, field);
        if (!m->multipart)
            edit_row_item(&row, field->start, field->end, i + 1 < m->n_fields ? m->fields[i + 1].start : SIZE_MAX,
                          drop);
        else if (drop)
            edit_cut(&x->edits, field->start, field->end);
    }
}

size_t mailgun_settle(const struct parsed *p, bool *send)
{
    const struct mailgun *m = p->dialect;
    size_t cleared = 0;
    for (size_t i = 0; i < p->n_messages; i++) {
        if (send[i] && (m->lists[i] & 1u << MG_TO) != 0)
            return 0;
    }
    for (size_t i = 0; i < p->n_messages; i++) {
        cleared += send[i];
        send[i] = false;
    }
    return cleared;
}

/* The first list in which somebody is left: Mailgun sends no copies alone. */
static enum mailgun_param primary_of(const struct parsed *p, const bool *send)
{
    const struct mailgun *m = p->dialect;
    unsigned lists = 0;
    for (size_t i = 0; i < p->n_messages; i++)
        lists |= send[i] ? m->lists[i] : 0u;
    enum mailgun_param which = MG_TO;
    while (which < MG_LISTS && (lists & 1u << which) == 0)
        which++;
    return which;
}

/* The parameters are the contract's.  NOLINTNEXTLINE(readability-function-size) */
enum err mailgun_forward(const struct wire_request *r, const struct route *route, const struct parsed *p,
                         const bool *send, const struct forward_options *options, struct arena *a, struct outgoing *out)
{
    (void)route;
    struct pruning x = {.m = p->dialect,
                        .send = send,
                        .now_ms = options->now_ms,
                        .edits = {.arena = a},
                        .primary = primary_of(p, send)};
    *out = (struct outgoing){.method = SLICE("POST"), .path_and_query = r->path};
    if (x.primary == MG_LISTS)
        return ERR_CONFLICT;
    prune(&x);
    enum err err = edit_apply(&x.edits, r->body, &out->body);
    return err != OK ? err : mailgun_outgoing_fields(r, options->login, a, out);
}

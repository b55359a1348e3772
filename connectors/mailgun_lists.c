/*
 * Who gets a message: to, cc and bcc, each given any number of times, each a list
 * of mailboxes.  "Duplicate addresses are automatically ignored" (documentation.
 * mailgun.com, as of 2026-07): an address is one message, wherever and how often it
 * stands.  The one idea: a table of addresses, for to, cc, bcc and the keys of
 * recipient-variables alike.
 */
#include <stdio.h>

#include "mailbox.h"
#include "json_text.h"
#include "mailgun_reading.h"
#include "postern/limits.h"

static uint64_t address_hash(const struct address *address)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    for (const char *p = address->text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)(*p >= 'A' && *p <= 'Z' ? *p + ('a' - 'A') : *p);
        h = (h ^ c) * UINT64_C(0x100000001B3);
    }
    return h ^ h >> 32;
}

static bool table_init(struct mailgun_table *t, size_t n, struct arena *a)
{
    size_t cap = 2;
    while (cap < 2 * n)
        cap *= 2;
    *t = (struct mailgun_table){arena_calloc(a, cap, sizeof *t->slots), cap - 1};
    return t->slots != NULL;
}

/* Its slot, which may be free. */
static uint32_t *table_at(const struct mailgun_table *t, const struct message *messages, const struct address *address)
{
    size_t i = address_hash(address) & t->mask;
    while (t->slots[i] != 0 && !slice_ieq(slice_of(messages[t->slots[i] - 1].to.text), slice_of(address->text)))
        i = (i + 1) & t->mask;
    return &t->slots[i];
}

enum err mailgun_refuse_address(struct mailgun_reading *g, const char *name, const struct errmsg *why)
{
    return wire_fault(g->fault, FAULT_ADDRESS, name,
                      "%s parameter is not a valid address. please check documentation (%s)", name, why->text);
}

/* --- lists ----------------------------------------------------------------------- */

static enum err count_places(struct mailgun_reading *g, size_t *n)
{
    struct mailgun *m = g->mg;
    bool to = false;
    for (size_t i = 0; i < m->n_fields; i++) {
        struct mailgun_field *field = &m->fields[i];
        struct mailbox_list list = {.text = field->value};
        struct mailbox one;
        struct errmsg why;
        enum err err = ERR_NOT_FOUND;
        field->first = (uint32_t)*n;
        while (field->param < MG_LISTS && *n <= LIMIT_RECIPIENTS && (err = mailbox_next(&list, &one, &why)) == OK)
            ++*n;
        if (err == ERR_SYNTAX)
            return mailgun_refuse_address(g, mailgun_param_name(field->param), &why);
        field->n = (uint32_t)*n - field->first;
        to = to || (field->param == MG_TO && field->n > 0);
    }
    if (*n > LIMIT_RECIPIENTS)
        return wire_fault(g->fault, FAULT_TOO_LONG, "to", "Too many recipients, max is %u", LIMIT_RECIPIENTS);
    return to ? OK : wire_fault(g->fault, FAULT_NO_RECIPIENT, "to", "to parameter is missing");
}

/* A message for the address, or the one that it has. */
static enum err read_recipient(struct mailgun_reading *g, const struct mailgun_field *field, uint32_t nth,
                               const struct mailbox *box, struct mailgun_place *place)
{
    struct parsed *out = g->out;
    struct message *m = &out->messages[out->n_messages];
    struct errmsg why;
    const char *name = mailgun_param_name(field->param);
    if (address_parse_email(box->address, &m->to, &why) != OK)
        return mailgun_refuse_address(g, name, &why);
    uint32_t *slot = table_at(&g->table, out->messages, &m->to);
    if (*slot == 0) {
        struct address to = m->to;
        *m = g->common;
        m->to = to;
        m->index = (uint32_t)out->n_messages++;
        m->to_text = box->address;
        m->field = slice_of(arena_printf(g->arena, "%s.%u", name, nth));
        if (m->field.p == NULL)
            return mailgun_out_of_memory(g);
        *slot = m->index + 1;
    }
    *place = (struct mailgun_place){box->start, box->end, *slot - 1};
    g->mg->lists[*slot - 1] = (uint8_t)(g->mg->lists[*slot - 1] | 1u << field->param);
    return OK;
}

static enum err read_places(struct mailgun_reading *g)
{
    struct mailgun *m = g->mg;
    uint32_t nth[MG_LISTS] = {0};
    enum err err = OK;
    for (size_t i = 0; i < m->n_fields && err == OK; i++) {
        const struct mailgun_field *field = &m->fields[i];
        struct mailbox_list list = {.text = field->value};
        struct mailbox one;
        struct errmsg why;
        for (uint32_t k = 0; field->param < MG_LISTS && k < field->n && err == OK; k++) {
            err = mailbox_next(&list, &one, &why);
            ensure(err == OK); /* it was counted */
            err = read_recipient(g, field, nth[field->param]++, &one, &m->places[field->first + k]);
        }
    }
    return err;
}

enum err mailgun_read_lists(struct mailgun_reading *g)
{
    struct mailgun *m = g->mg;
    size_t n = 0;
    enum err err = count_places(g, &n);
    if (err != OK)
        return err;
    /* One more: an address is read where its message would stand. */
    g->out->messages = arena_calloc(g->arena, n + 1, sizeof *g->out->messages);
    m->places = arena_calloc(g->arena, n, sizeof *m->places);
    m->lists = arena_calloc(g->arena, n, sizeof *m->lists);
    if (g->out->messages == NULL || m->places == NULL || m->lists == NULL || !table_init(&g->table, n, g->arena))
        return mailgun_out_of_memory(g);
    return read_places(g);
}

/* --- recipient-variables ------------------------------------------------------------ */

/* "a@b.test", or as it may stand in a list; what is no address is nobody's. */
static enum err read_owner(struct mailgun_reading *g, uint32_t member, uint32_t *owner)
{
    struct mailbox_list list = {.at = 0};
    struct mailbox one, more;
    struct address address;
    struct errmsg why;
    *owner = MAILGUN_NOBODY;
    if (!json_text_copy(json_text_key(&g->mg->variables.scan, member), g->arena, &list.text))
        return mailgun_out_of_memory(g);
    if (mailbox_next(&list, &one, &why) != OK || mailbox_next(&list, &more, &why) != ERR_NOT_FOUND ||
        address_parse_email(one.address, &address, &why) != OK)
        return OK;
    uint32_t slot = *table_at(&g->table, g->out->messages, &address);
    if (slot != 0)
        *owner = slot - 1;
    return OK;
}

static enum err refuse_variables(struct mailgun_reading *g, const char *why)
{
    return wire_fault(g->fault, FAULT_SYNTAX, mailgun_param_name(MG_RECIPIENT_VARIABLES),
                      "'recipient-variables' parameter is not a valid JSON (%s)", why);
}

static enum err scan_variables(struct mailgun_reading *g, struct json_scan *s)
{
    struct errmsg why;
    s->arena = g->arena;
    enum err err = json_scan_parse(s, g->said[MG_RECIPIENT_VARIABLES], &why);
    if (err == ERR_LIMIT)
        return mailgun_out_of_memory(g);
    if (err != OK)
        return refuse_variables(g, why.text);
    return json_scan_is(s, 0, JSON_KIND_OBJECT) ? OK : refuse_variables(g, "expected an object of addresses");
}

enum err mailgun_read_variables(struct mailgun_reading *g)
{
    struct mailgun_variables *v = &g->mg->variables;
    const struct json_scan *s = &v->scan;
    if (g->said[MG_RECIPIENT_VARIABLES].p == NULL)
        return OK;
    enum err err = scan_variables(g, &v->scan);
    if (err != OK)
        return err;
    size_t n = json_scan_count(s, 0), i = 0;
    if (n > LIMIT_RECIPIENTS)
        return wire_fault(g->fault, FAULT_TOO_LONG, mailgun_param_name(MG_RECIPIENT_VARIABLES),
                          "'recipient-variables' has %zu recipients, max is %u", n, LIMIT_RECIPIENTS);
    v->owners = arena_calloc(g->arena, n, sizeof *v->owners);
    if (v->owners == NULL)
        return mailgun_out_of_memory(g);
    for (uint32_t c = 1; c < s->nodes[0].next && err == OK; c = s->nodes[c].next) {
        err = read_owner(g, c, &v->owners[i]);
        if (err == OK && v->owners[i] != MAILGUN_NOBODY) {
            struct message *m = &g->out->messages[v->owners[i]];
            m->fingerprint = wire_mix(m->fingerprint, json_scan_raw(s, c));
        }
        i++;
    }
    return err;
}

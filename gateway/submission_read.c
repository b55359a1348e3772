/*
 * READ: what a client sent, or what a deferred row holds, becomes messages with
 * a category each.  Nothing is decided here; what can be read two ways, or names
 * a category that the key may not use, is refused.
 */
#include "submission_parts.h"

#include <stdio.h>

#include "connectors/smtp_envelope.h"
#include "postern/clock.h"
#include "postern/log.h"

#define CATEGORY_FIELD "X-Postern-Category" /* wherever it was said */

static enum err wire_of_deferred(const struct deferred *d, struct arena *a, struct wire_request *out)
{
    const struct stored_submission *kept = &d->submission;
    struct wire_field *fields = arena_calloc(a, kept->n_fields, sizeof(*fields));
    if (fields == NULL)
        return ERR_LIMIT;
    for (size_t i = 0; i < kept->n_fields; i++)
        fields[i] = (struct wire_field){kept->fields[i].name, kept->fields[i].value};
    *out = (struct wire_request){kept->method, kept->path, kept->query, fields, kept->n_fields, kept->body};
    return OK;
}

/* The first label of the submission that the configuration maps; NULL when none does. */
static const struct category *mapped_category(const struct submission *s)
{
    const struct conf *conf = s->conf;

    for (size_t l = 0; l < s->parsed.n_labels; l++) {
        for (size_t i = 0; i < conf->n_mappings; i++) {
            if (slice_eq_cstr(s->parsed.labels[l], conf->mappings[i].label))
                return conf->mappings[i].category;
        }
    }
    return NULL;
}

/* Semantics 1: an explicit claim, else a mapping of the dialect's labels, else the key's default. */
static bool category_of(struct submission *s, const struct category **out)
{
    const struct conf *conf = s->conf;
    struct slice claim = s->parsed.category;
    const struct category *mapped;

    *out = s->key->default_category;
    if (s->deferred != NULL)
        claim = s->deferred->category;
    if (s->deferred != NULL && slice_eq_cstr(claim, CONF_REPORTS)) {
        *out = conf_category(conf, claim);
        return true;
    }
    if (claim.n > 0) {
        *out = conf_category(conf, claim);
        if (*out == NULL) {
            submission_fail(s, FAULT_CATEGORY, "");
            errmsg_set(&s->fault.message, "category \"%.*s\" is not configured; use one of the categories of this key",
                       SLICE_ARG(claim));
            snprintf(s->fault.field, sizeof(s->fault.field), "%s", CATEGORY_FIELD);
            return false;
        }
    } else if ((mapped = mapped_category(s)) != NULL) {
        *out = mapped;
    }
    if (conf_key_may_use(s->key, *out))
        return true;
    submission_fail(s, FAULT_CATEGORY, "");
    errmsg_set(&s->fault.message, "category \"%s\" is not allowed for key \"%s\"; add it to the key's categories",
               (*out)->name, s->key->name);
    if (claim.n > 0)
        snprintf(s->fault.field, sizeof(s->fault.field), "%s", CATEGORY_FIELD);
    return false;
}

static bool items_of(struct submission *s, const struct category *category)
{
    size_t first = s->deferred != NULL ? s->deferred->message_index : 0;
    size_t n = s->deferred != NULL ? 1 : s->parsed.n_messages;

    if (first + n > s->parsed.n_messages)
        return false;
    s->items = arena_bytes(s->arena, n * sizeof(*s->items)); /* as many as there are messages: no product wraps */
    if (s->items == NULL)
        return false;
    s->n_items = n;
    for (size_t i = 0; i < n; i++) {
        struct item *item = &s->items[i];
        memset(item, 0, offsetof(struct item, profile));
        memset(&item->decision, 0, offsetof(struct decision, violations)); /* a fault may come before DECIDE */
        item->submission = s;
        item->message = &s->parsed.messages[first + i];
        item->message->category = category;
        item->message->sender_kind = s->key->sender_kind;
        if (s->deferred != NULL) {
            /* It was not due before the sender's own schedule, or a person released it early. */
            s->scheduled_ms = item->message->not_before_ms;
            item->message->not_before_ms = 0;
            item->parent = s->deferred->decision;
            item->message->expires_at_ms = s->deferred->expires_at_ms;
        }
    }
    return true;
}

/* The key and the dialect of a deferred row; both may have left the configuration meanwhile. */
static bool read_deferred(struct submission *s)
{
    const struct conf *conf = s->conf;

    s->key = conf_key_named(conf, s->deferred->key);
    s->connector = connector_get(s->deferred->submission.dialect);
    if (s->key == NULL || s->connector == NULL) {
        submission_fail(s, FAULT_FORBIDDEN, "the API key that sent it is no longer configured");
        return false;
    }
    if (wire_of_deferred(s->deferred, s->arena, &s->wire) != OK ||
        s->connector->match(&s->wire, &s->route) != CALL_SEND) {
        submission_fail(s, FAULT_INTERNAL, "the kept submission cannot be read");
        return false;
    }
    return true;
}

/*
 * Of a mail before its content: its last recipient, in the only category that the key has.  What the content may say
 * yet (topic, language, sender) is not known, and no rule that asks for it can refuse.
 */
static bool read_early(struct submission *s)
{
    struct smtp_rcpt rcpt;
    struct smtp_fault why;
    struct message *m = arena_calloc(s->arena, 1, sizeof(*m));

    if (m == NULL)
        return false;
    s->parsed = (struct parsed){.messages = m, .n_messages = 1};
    if (smtp_rcpt_parse(s->wire.fields[s->wire.n_fields - 1].value, true, &rcpt, &why) != OK ||
        address_parse_email(rcpt.path, &m->to, &s->fault.message) != OK) {
        s->faulted = true;
        s->fault.kind = FAULT_ADDRESS;
        snprintf(s->fault.field, sizeof(s->fault.field), "RCPT");
        return true;
    }
    m->channel = s->connector->channel;
    m->to_text = rcpt.path;
    m->field = SLICE("RCPT");
    m->priority = PRIORITY_P2;
    return items_of(s, s->key->default_category);
}

/* Runs beside the loop when the submission is long: of s only what the dialect reads and fills. */
static void parse(void *arg)
{
    struct submission *s = arg;

    s->faulted =
        s->connector->parse(&s->wire, &s->route, s->read_at_ms, s->arena, &s->parsed, &s->fault) != OK || s->faulted;
}

/* Whose it is, and of which category. */
static enum step_next sort(struct submission *s)
{
    const struct category *category;

    if (s->faulted)
        return STEP_DONE;
    if (conf_route(s->conf, s->connector) == NULL) {
        submission_fail(s, FAULT_FORBIDDEN, "");
        errmsg_set(&s->fault.message, "no provider of kind %s is configured, and nothing is translated into another's",
                   s->connector->name);
        return STEP_DONE;
    }
    if (!category_of(s, &category))
        return STEP_DONE;
    if (!items_of(s, category))
        submission_fail(s, FAULT_TOO_LARGE, "the submission needs more memory than one may have");
    return s->faulted ? STEP_DONE : submission_claim(s);
}

static void on_parsed(void *arg)
{
    struct submission *s = arg;

    ignore(sort(s)); /* a claim that is waited for counts itself */
    submission_resume(s);
}

enum step_next submission_read(struct submission *s)
{
    if (s->deferred != NULL) {
        if (!read_deferred(s))
            return STEP_DONE;
    }
    if (s->early) {
        if (read_early(s))
            return STEP_DONE;
        submission_fail(s, FAULT_TOO_LARGE, "the submission needs more memory than one may have");
        return STEP_DONE;
    }
    /* A kept submission was checked when it came: its times are read as of then. */
    s->read_at_ms = s->deferred != NULL ? s->deferred->enqueued_at_ms : clock_wall_ms();
    if (s->wire.body.n <= LIMIT_READ_BYTES) {
        parse(s);
        return sort(s);
    }
    s->aside = (struct aside_work){.run = parse, .done = on_parsed, .arg = s};
    s->waiting++;
    aside_submit(s->g->aside, &s->aside);
    return STEP_WAIT;
}

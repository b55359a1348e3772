/*
 * Contacts: what is known of a person, and changes to it.
 *
 * A change is made against the version that was read, whole or not at all; when
 * somebody else was faster it is computed anew, a few times.  The caches of all
 * addresses concerned are dropped before the answer.
 */
#include "api_contacts.h"

#include "api_preferences.h"
#include "postern/clock.h"
#include "postern/zone.h"
#include "retime.h"
#include "revocation.h"

#define TRIES_MAX 3

struct contact_call {
    struct api_call *c;
    struct contact contact;
    struct store_contact_get get;
    struct store_contact_put put;
    struct contact_wish wish;
    unsigned tries;
    bool created;
};

/* --- the answer ----------------------------------------------------------------------- */

static void put_addresses(struct buf *b, const struct contact *contact, enum address_kind kind, const char *name)
{
    api_put_in(b, name, '[');
    for (size_t i = 0; i < contact->n_addresses; i++) {
        if (contact->addresses[i].address.kind == kind)
            api_put_item(b, slice_of(contact->addresses[i].address.text));
    }
    api_put_close(b, ']');
}

/* Addresses that bounced or complained: nothing is sent there. */
static void put_invalid(struct buf *b, const struct contact *contact)
{
    api_put_in(b, "invalid_addresses", '[');
    for (size_t i = 0; i < contact->n_addresses; i++) {
        if (!contact->addresses[i].valid)
            api_put_item(b, slice_of(contact->addresses[i].address.text));
    }
    api_put_close(b, ']');
}

static void put_value(struct buf *b, const char *name, const struct preference *p)
{
    api_put_in(b, name, '{');
    api_preference_put(b, p);
    api_put_close(b, '}');
}

static bool is_in_force(const struct contact *contact, const struct preference *p)
{
    return merge_standing(contact->preferences, contact->n_preferences, p, NULL) == p;
}

/* A value that the contact itself shows, beside "preferences". */
static void put_own(struct buf *b, const struct contact *contact, enum preference_key key)
{
    const char *name = preference_key_name(key);

    for (size_t i = 0; i < contact->n_preferences; i++) {
        const struct preference *p = &contact->preferences[i];
        if (p->key == key && p->specificity == SPECIFICITY_ANY && is_in_force(contact, p)) {
            put_value(b, name, p);
            return;
        }
    }
    api_put_word(b, name, NULL);
}

static void put_preferences(struct buf *b, const struct contact *contact)
{
    api_put_in(b, "preferences", '{');
    for (size_t i = 0; i < contact->n_preferences; i++) {
        const struct preference *p = &contact->preferences[i];
        if (p->specificity == SPECIFICITY_ANY && !preference_key_is_place(p->key) && is_in_force(contact, p))
            put_value(b, preference_key_name(p->key), p);
    }
    api_put_close(b, '}');
}

static bool is_first_of_scope(const struct contact *contact, size_t i)
{
    const struct preference *p = contact->preferences;
    for (size_t k = 0; k < i; k++) {
        if (p[k].specificity == p[i].specificity && slice_eq(p[k].scope, p[i].scope))
            return false;
    }
    return true;
}

/* "by_channel": {"sms": {"frequency.max_per_day": {...}}} */
static void put_scoped(struct buf *b, const struct contact *contact, enum specificity specificity, const char *name)
{
    const struct preference *p = contact->preferences;

    api_put_in(b, name, '{');
    for (size_t i = 0; i < contact->n_preferences; i++) {
        if (p[i].specificity != specificity || !is_first_of_scope(contact, i))
            continue;
        api_put_item(b, p[i].scope);
        buf_add_cstr(b, ":{");
        for (size_t k = i; k < contact->n_preferences; k++) {
            if (p[k].specificity == specificity && slice_eq(p[k].scope, p[i].scope) && is_in_force(contact, &p[k]))
                put_value(b, preference_key_name(p[k].key), &p[k]);
        }
        api_put_close(b, '}');
    }
    api_put_close(b, '}');
}

static void put_statement(struct buf *b, const struct preference *p)
{
    static const char *const scopes[] = {[SPECIFICITY_ANY] = "any",
                                         [SPECIFICITY_CHANNEL] = "channel",
                                         [SPECIFICITY_CATEGORY] = "category",
                                         [SPECIFICITY_TOPIC] = "topic"};
    api_put_open(b, '{');
    api_put_word(b, "key", preference_key_name(p->key));
    api_put_word(b, "specificity", scopes[p->specificity]);
    api_put_text(b, "scope", p->scope);
    api_preference_put(b, p);
    api_put_close(b, '}');
}

static void put_history(struct buf *b, const struct contact *contact)
{
    api_put_in(b, "history", '[');
    for (size_t i = 0; i < contact->n_history; i++)
        put_statement(b, &contact->history[i]);
    api_put_close(b, ']');
}

/* What stands beside the values in force, and waits for them to be taken back. */
static void put_others(struct buf *b, const struct contact *contact)
{
    api_put_in(b, "others", '[');
    for (size_t i = 0; i < contact->n_preferences; i++) {
        const struct preference *p = &contact->preferences[i];
        if (p->text.n > 0 && !is_in_force(contact, p))
            put_statement(b, p);
    }
    api_put_close(b, ']');
}

/* What a person should look at: values that contradict each other, hours that leave no time. */
static void put_flagged(struct buf *b, const struct contact *contact)
{
    static const struct category none = {.name = ""};
    struct message any = {.channel = CHANNEL_EMAIL, .category = &none};
    struct preferences p;

    merge_preferences(contact->preferences, contact->n_preferences, &any, &p);
    if (p.hours_known == KNOWN && window_set_is_empty(&p.hours))
        p.flagged |= UINT32_C(1) << PREFERENCE_HOURS;
    for (size_t i = 0; i < contact->n_preferences; i++) {
        bool flagged;
        (void)merge_standing(contact->preferences, contact->n_preferences, &contact->preferences[i], &flagged);
        p.flagged |= (uint32_t)flagged << contact->preferences[i].key;
    }
    api_put_in(b, "flagged", '[');
    for (unsigned key = 0; key < PREFERENCE_N; key++) {
        if (p.flagged >> key & 1)
            api_put_item(b, slice_of(preference_key_name((enum preference_key)key)));
    }
    api_put_close(b, ']');
}

static void put_contact(struct buf *b, const struct contact *contact, bool with_history)
{
    api_put_open(b, '{');
    api_put_text(b, "id", contact->id);
    api_put_text(b, "account", contact->account);
    api_put_number(b, "version", (int64_t)contact->version);
    api_put_time(b, "created_at", contact->created_at_ms);
    api_put_time(b, "updated_at", contact->updated_at_ms);
    api_put_in(b, "addresses", '{');
    put_addresses(b, contact, ADDRESS_EMAIL, "email");
    put_addresses(b, contact, ADDRESS_PHONE, "sms");
    api_put_close(b, '}');
    put_invalid(b, contact);
    put_own(b, contact, PREFERENCE_ZONE);
    put_own(b, contact, PREFERENCE_REGION);
    put_own(b, contact, PREFERENCE_LANGUAGE);
    put_preferences(b, contact);
    put_scoped(b, contact, SPECIFICITY_CHANNEL, "by_channel");
    put_scoped(b, contact, SPECIFICITY_CATEGORY, "by_category");
    put_scoped(b, contact, SPECIFICITY_TOPIC, "by_topic");
    put_others(b, contact);
    put_flagged(b, contact);
    api_put_consents(b, "consents", contact->consents, contact->n_consents);
    api_put_opt_outs(b, "opt_outs", contact->opt_outs, contact->n_opt_outs);
    if (with_history)
        put_history(b, contact);
    api_put_close(b, '}');
}

static void ask(struct contact_call *call, store_cb *cb)
{
    struct api_call *c = call->c;

    call->contact = (struct contact){0};
    call->get = (struct store_contact_get){
        .r = {.kind = STORE_CONTACT_GET, .cb = cb, .arg = call},
        .arena = c->r->arena,
        .id = c->id,
        .with_history = slice_eq_cstr(api_query(c, "history"), "1"),
        .contact = &call->contact,
    };
    store_submit(c->g->store, &call->get.r);
}

static void on_shown(enum err status, void *arg)
{
    struct contact_call *call = arg;
    struct api_call *c = call->c;
    struct buf b;

    if (status == ERR_NOT_FOUND) {
        api_problem(&c, 404, "there is no contact \"%.*s\"", SLICE_ARG(c->id));
        return;
    }
    if (status != OK) {
        api_problem_of_store(&c, status);
        return;
    }
    api_answer_init(c, &b);
    if (api_may(c, ROLE_AGENT | ROLE_ADMIN)) {
        put_contact(&b, &call->contact, call->get.with_history);
    } else { /* a sender may state things of a contact, and does not learn what others stated */
        api_put_open(&b, '{');
        api_put_text(&b, "id", call->contact.id);
        api_put_number(&b, "version", (int64_t)call->contact.version);
        api_put_close(&b, '}');
    }
    api_answer(&c, call->created ? 201 : 200, &b);
}

void api_contact_get(struct api_call *c)
{
    struct contact_call *call = api_state(c, sizeof(*call));

    call->c = c;
    ask(call, on_shown);
}

/* --- the change ----------------------------------------------------------------------- */

static bool states_zone(const struct store_contact_put *put)
{
    for (size_t i = 0; i < put->n_preferences; i++) {
        if (put->preferences[i].key == PREFERENCE_ZONE)
            return true;
    }
    return false;
}

/* Read back, with all that the change brought: what waits for a local time waits for it in the zone of now. */
static void on_changed(enum err status, void *arg)
{
    struct contact_call *call = arg;
    struct gateway *g = call->c->g;
    struct arena *a = call->c->r->arena;

    if (status == OK && states_zone(&call->put)) {
        struct slice name = contact_zone(&call->contact);
        const char *text = arena_strndup(a, name.p, name.n);
        const struct zone *zone = text != NULL ? zone_get(text) : NULL;
        if (zone != NULL)
            retime_contact(g, call->contact.id, zone);
    }
    on_shown(status, arg);
}

static void on_read(enum err status, void *arg);

static void on_in_force(void *arg)
{
    ask(arg, on_changed);
}

static void on_written(enum err status, void *arg)
{
    struct contact_call *call = arg;
    struct api_call *c = call->c;

    if (status == ERR_CONFLICT && call->put.conflict.n > 0) {
        api_problem(&c, 409, "%.*s; an address belongs to one contact", SLICE_ARG(call->put.conflict));
        return;
    }
    if (status == ERR_CONFLICT && call->tries < TRIES_MAX) {
        ask(call, on_read);
        return;
    }
    if (status != OK) {
        api_problem_of_store(&c, status);
        return;
    }
    revocation_in_force(c->g, call->put.touched, call->put.n_touched, on_in_force, call);
}

static void on_read(enum err status, void *arg)
{
    struct contact_call *call = arg;
    struct api_call *c = call->c;
    struct api_fault f = {0};

    if (status != OK && status != ERR_NOT_FOUND) {
        api_problem_of_store(&c, status);
        return;
    }
    call->tries++;
    call->created = status == ERR_NOT_FOUND;
    call->put = (struct store_contact_put){
        .r = {.kind = STORE_CONTACT_PUT, .cb = on_written, .arg = call},
        .arena = c->r->arena,
        .id = c->id,
        .actor = slice_of(c->key->name),
        .expected_version = call->contact.version,
        .now_ms = clock_wall_ms(),
    };
    switch (contact_wish_apply(&call->wish, &call->contact, &call->put, &f)) {
    case CONTACT_CHANGES:
        store_submit(c->g->store, &call->put.r);
        return;
    case CONTACT_SAME:
        on_shown(OK, call);
        return;
    case CONTACT_REFUSED:
        api_problem(&c, 409, "%s%s%s; nothing was changed", f.field, f.field[0] != '\0' ? ": " : "", f.why.text);
        return;
    }
    never("a verdict");
}

void api_contact_put(struct api_call *c)
{
    struct contact_call *call = api_state(c, sizeof(*call));
    struct api_fault f = {0};

    call->c = c;
    if (c->body == NULL)
        api_fault_set(&f, "",
                      "the body is missing: send a JSON object, like {\"addresses\":{\"email\":[\"a@b.example\"]}}");
    if (f.set || !contact_wish_read(c, clock_wall_ms(), &call->wish, &f)) {
        api_problem_of_fault(&c, &f);
        return;
    }
    if (!api_source_allowed(&c, call->wish.source))
        return;
    ask(call, on_read);
}

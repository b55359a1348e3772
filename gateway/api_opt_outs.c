/*
 * Opt-outs: answered once they are in force, for the address and for all that its
 * contact has.
 *
 * An opt-out of a contact is one of each of its addresses: so it outlives the
 * contact, and follows an address to whoever has it next.
 */
#include "api.h"

#include <stdio.h>

#include "api_json.h"
#include "api_law.h"
#include "postern/clock.h"
#include "revocation.h"
#include "zone_guess.h"

struct opt_out_call {
    struct api_call *c;
    struct opt_out opt_out;
    struct slice contact_id, reason;
    struct contact contact;
    struct store_contact_get get;
    struct store_opt_out_add *adds; /* one an address */
    size_t n;
    size_t open; /* not yet back from the store, then: not yet in force everywhere */
    enum err status;
};

static const char *const members[] = {"address", "contact", "scope",  "channel", "category",
                                      "topic",   "sender",  "source", "reason"};

/* --- the body --------------------------------------------------------------------------- */

/* A member that the scope needs, one that it may have, or one that would say something else than the scope. */
enum part { PART_NO, PART_MAY, PART_MUST };

static void check_part(const struct api_object *o, const char *name, enum part part, enum opt_out_scope scope)
{
    const char *scope_name = opt_out_scope_name(scope);

    if (part == PART_MUST && !api_has(o, name))
        api_refuse(o, name, "is missing: scope \"%s\" needs it", scope_name);
    else if (part == PART_NO && api_has(o, name))
        api_refuse(o, name, "does not belong to scope \"%s\": leave it out, or choose a narrower scope", scope_name);
}

static void check_parts(const struct api_object *o, enum opt_out_scope scope)
{
    static const struct {
        enum part channel, category, topic, sender;
    } parts[SCOPE_N] = {
        [SCOPE_CHANNEL] = {PART_MUST, PART_NO, PART_NO, PART_MAY},
        [SCOPE_CATEGORY] = {PART_MAY, PART_MUST, PART_NO, PART_NO},
        [SCOPE_TOPIC] = {PART_MAY, PART_NO, PART_MUST, PART_NO},
    };
    check_part(o, "channel", parts[scope].channel, scope);
    check_part(o, "category", parts[scope].category, scope);
    check_part(o, "topic", parts[scope].topic, scope);
    check_part(o, "sender", parts[scope].sender, scope);
}

static bool read_opt_out(struct opt_out_call *call, struct address *address, struct api_fault *f)
{
    struct api_call *c = call->c;
    struct opt_out *o = &call->opt_out;
    struct api_object top;
    unsigned word;

    api_object_open(&top, c->body, API_WORDS(members), f);
    if (api_has(&top, "address") == api_has(&top, "contact"))
        api_refuse(&top, "address", "either address or contact says who opts out, and not both");
    api_need(&top, "scope", "global, channel, category or topic");
    api_need(&top, "source", "who said it: customer, agent, import, ...");
    if (api_word(&top, "scope", api_scopes, &word)) {
        o->scope = (enum opt_out_scope)word;
        check_parts(&top, o->scope);
    }
    o->any_channel = !api_word(&top, "channel", api_channels, &word);
    if (!o->any_channel)
        o->channel = (enum channel)word;
    const struct category *category = api_category(&top, "category", &c->conf->policy);
    o->category = slice_of(category != NULL ? category->name : NULL);
    o->topic = api_text(&top, "topic", API_NAME_MAX);
    o->sender = api_text(&top, "sender", API_NAME_MAX);
    if (api_word(&top, "source", api_sources, &word))
        o->source = (enum source)word;
    call->reason = api_prose(&top, "reason");
    call->contact_id = api_text(&top, "contact", API_NAME_MAX);
    api_address(&top, "address", address);
    return !f->set;
}

/* --- the way ------------------------------------------------------------------------------ */

/* By when the law of where the recipient may be wants it: for people, as it is in force already. */
static void put_deadlines(struct buf *b, const struct opt_out_call *call)
{
    const struct policy *policy = &call->c->conf->policy;
    const struct opt_out *o = &call->adds[0].opt_out;
    struct profile who = {.preferences = call->contact.preferences, .n_preferences = call->contact.n_preferences};

    zone_guess(&who, &call->adds[0].address, policy->default_zone);
    api_put_deadlines(b, "law", policy, &who, o->any_channel ? 0 : UINT32_C(1) << o->channel, o->at_ms);
}

static void answer(struct opt_out_call *call)
{
    struct api_call *c = call->c;
    const struct store_opt_out_add *first = &call->adds[0];
    size_t cancelled = 0;
    struct buf b;

    for (size_t i = 0; i < call->n; i++)
        cancelled += call->adds[i].n_cancelled;
    api_answer_init(c, &b);
    api_put_open(&b, '{');
    api_put_id(&b, "id", "opt_", first->opt_out_id);
    api_put_in(&b, "ids", '[');
    for (size_t i = 0; i < call->n; i++) {
        char id[32];
        snprintf(id, sizeof(id), "opt_%016llx", (unsigned long long)call->adds[i].opt_out_id);
        api_put_item(&b, slice_of(id));
    }
    api_put_close(&b, ']');
    api_put_word(&b, "scope", opt_out_scope_name(call->opt_out.scope));
    api_put_word(&b, "channel", call->opt_out.any_channel ? NULL : channel_name(call->opt_out.channel));
    api_put_text(&b, "category", call->opt_out.category);
    api_put_text(&b, "topic", call->opt_out.topic);
    api_put_text(&b, "contact", first->contact_id);
    api_put_time(&b, "in_force_at", clock_wall_ms());
    put_deadlines(&b, call);
    api_put_number(&b, "cancelled", (int64_t)cancelled);
    api_put_close(&b, '}');
    api_answer(&c, 201, &b);
}

static void on_in_force(void *arg)
{
    struct opt_out_call *call = arg;

    if (--call->open > 0)
        return;
    if (call->status == OK)
        answer(call);
    else
        api_problem_of_store(&call->c, call->status);
}

static void on_added(enum err status, void *arg)
{
    struct opt_out_call *call = arg;
    struct api_call *c = call->c;

    if (status != OK)
        call->status = status;
    if (--call->open > 0)
        return;
    /* Also when one of several failed: what is durable is in force. */
    call->open = 1;
    for (size_t i = 0; i < call->n; i++) {
        const struct store_opt_out_add *add = &call->adds[i];
        if (add->r.status != OK)
            continue;
        call->open++;
        revocation_in_force(c->g, add->touched, add->n_touched, on_in_force, call);
        revocation_cancelled(c->g, add->cancelled, add->n_cancelled);
        metrics_opt_out(c->g->metrics, add->opt_out.scope, add->opt_out.source);
    }
    on_in_force(call);
}

/* False: the memory is spent. */
static bool start(struct opt_out_call *call, size_t n)
{
    call->adds = arena_calloc(call->c->r->arena, n, sizeof(*call->adds));
    call->n = call->open = n;
    return call->adds != NULL;
}

static void add(struct opt_out_call *call, size_t i, const struct address *address)
{
    struct api_call *c = call->c;
    int64_t now_ms = clock_wall_ms();
    struct store_opt_out_add *r = &call->adds[i];

    *r = (struct store_opt_out_add){
        .r = {.kind = STORE_OPT_OUT_ADD, .cb = on_added, .arg = call},
        .arena = c->r->arena,
        .address = *address,
        .opt_out = call->opt_out,
        .reason = call->reason,
        .actor = slice_of(c->key->name),
        .now_ms = now_ms,
    };
    r->opt_out.at_ms = now_ms;
    store_submit(c->g->store, &r->r);
}

static void on_contact(enum err status, void *arg)
{
    struct opt_out_call *call = arg;
    struct api_call *c = call->c;
    const struct contact *contact = &call->contact;

    if (status == ERR_NOT_FOUND)
        api_problem(&c, 404, "there is no contact \"%.*s\"; an opt-out of an address needs none",
                    SLICE_ARG(call->contact_id));
    else if (status != OK)
        api_problem_of_store(&c, status);
    else if (contact->n_addresses == 0)
        api_problem(&c, 409, "contact \"%.*s\" has no address that could opt out", SLICE_ARG(call->contact_id));
    else if (!start(call, contact->n_addresses))
        api_problem_of_store(&c, ERR_LIMIT);
    else
        for (size_t i = 0; i < contact->n_addresses; i++)
            add(call, i, &contact->addresses[i].address);
}

void api_opt_out_post(struct api_call *c)
{
    struct opt_out_call *call = api_state(c, sizeof(*call));
    struct address address = {0};
    struct api_fault f = {0};

    call->c = c;
    if (!read_opt_out(call, &address, &f)) {
        api_problem_of_fault(&c, &f);
        return;
    }
    if (!api_source_allowed(&c, call->opt_out.source))
        return;
    if (call->contact_id.n == 0) {
        if (start(call, 1))
            add(call, 0, &address);
        else
            api_problem_of_store(&c, ERR_LIMIT);
        return;
    }
    call->get = (struct store_contact_get){
        .r = {.kind = STORE_CONTACT_GET, .cb = on_contact, .arg = call},
        .arena = c->r->arena,
        .id = call->contact_id,
        .contact = &call->contact,
    };
    store_submit(c->g->store, &call->get.r);
}

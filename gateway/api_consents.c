/*
 * Consents: granted, withdrawn, asked for again.
 *
 * Who may lift what is the policy's (change_consent); here the contact becomes
 * the profile that it reads.  A withdrawal is in force before it is answered.  A
 * grant is written only against the version that was read: an opt-out that comes in
 * between is seen, not lifted.
 */
#include "api.h"
#include "api_json.h"
#include "postern/clock.h"
#include "revocation.h"

#define TRIES_MAX 3

struct consent_call {
    struct api_call *c;
    struct consent_change change;
    struct contact contact;
    struct store_contact_get get;
    struct store_consent_add add;
    int64_t confirm_at_ms; /* pending: when the cooling-off is over */
    unsigned tries;
};

static void start(struct consent_call *call);

static const char *const members[] = {
    "channel", "category", "scope", "state", "basis", "evidence", "source", "expires_at", "banner_acknowledged"};
static const char *const scopes[] = {"night"};
static const char *const states[] = {"granted", "revoked"};
static const char *const sources[] = {"customer", "agent", "import", "sync"};

static bool read_change(struct consent_call *call, struct api_fault *f)
{
    struct api_call *c = call->c;
    struct store_consent_add *add = &call->add;
    struct api_object o;
    unsigned word;

    api_object_open(&o, c->body, API_WORDS(members), f);
    api_need(&o, "state", "granted or revoked");
    api_need(&o, "source", "who said it: customer, agent, import or sync");
    add->consent.any_channel = !api_word(&o, "channel", api_channels, &word);
    if (!add->consent.any_channel)
        add->consent.channel = (enum channel)word;
    const struct category *category = api_category(&o, "category", &c->conf->policy);
    add->consent.category = slice_of(category != NULL ? category->name : NULL);
    add->consent.night = api_word(&o, "scope", API_WORDS(scopes), &word);
    if (api_word(&o, "state", API_WORDS(states), &word))
        add->consent.state = word == 0 ? CONSENT_GRANTED : CONSENT_REVOKED;
    if (api_word(&o, "source", API_WORDS(sources), &word))
        ensure(source_parse(slice_of(sources[word]), &add->consent.source));
    add->consent.basis = api_text(&o, "basis", API_NAME_MAX);
    add->evidence = api_prose(&o, "evidence");
    api_time(&o, "expires_at", &add->consent.expires_at_ms);
    if (add->consent.state == CONSENT_GRANTED)
        api_need(&o, "basis", "what the consent rests on, like \"web form\"");
    call->change = (struct consent_change){
        .any_channel = add->consent.any_channel,
        .channel = add->consent.channel,
        .category = add->consent.category,
        .state = add->consent.state,
        .source = add->consent.source,
        .night = add->consent.night,
        .has_evidence = add->evidence.n > 0,
        .banner_acknowledged = api_flag(&o, "banner_acknowledged"),
    };
    return !f->set;
}

/* --- the profile that the policy reads --------------------------------------------------- */

static bool same_scope(const struct consent *a, const struct consent *b)
{
    return a->any_channel == b->any_channel && (a->any_channel || a->channel == b->channel) &&
           slice_eq(a->category, b->category) && a->night == b->night;
}

/* all: newest first.  The latest of each scope stands; a pending one only where nothing else does. */
static bool stands(const struct contact *contact, size_t i)
{
    const struct consent *all = contact->consents;
    for (size_t k = 0; k < contact->n_consents; k++) {
        bool outranks = all[i].state == CONSENT_PENDING ? k < i || all[k].state != CONSENT_PENDING
                                                        : k < i && all[k].state != CONSENT_PENDING;
        if (k != i && outranks && same_scope(&all[k], &all[i]))
            return false;
    }
    return true;
}

static bool profile_of(const struct contact *contact, struct arena *a, struct profile *out)
{
    struct consent *consents = arena_calloc(a, contact->n_consents + 1, sizeof(*consents));

    if (consents == NULL)
        return false;
    *out = (struct profile){.known = KNOWN, .opt_outs = contact->opt_outs, .n_opt_outs = contact->n_opt_outs};
    for (size_t i = 0; i < contact->n_consents; i++) {
        if (stands(contact, i))
            consents[out->n_consents++] = contact->consents[i];
    }
    out->consents = consents;
    for (size_t i = 0; i < contact->n_opt_outs; i++) {
        if (contact->opt_outs[i].at_ms > out->opted_out_at_ms)
            out->opted_out_at_ms = contact->opt_outs[i].at_ms;
    }
    return true;
}

/* The first instant at which the policy would let this change pass, of those at which a cooling-off ends. */
static int64_t passes_at_ms(const struct consent_call *call, const struct profile *p, int64_t cooling_off_s)
{
    int64_t best_ms = 0;
    struct errmsg e;

    for (size_t i = 0; i < p->n_opt_outs + p->n_consents; i++) {
        int64_t at_ms = i < p->n_opt_outs ? p->opt_outs[i].at_ms : p->consents[i - p->n_opt_outs].at_ms;
        int64_t end_ms = at_ms + cooling_off_s * 1000;
        if ((best_ms == 0 || end_ms < best_ms) &&
            change_consent(p, &call->change, end_ms, cooling_off_s, &e) == CHANGE_APPLY)
            best_ms = end_ms;
    }
    return best_ms;
}

/* --- the way ----------------------------------------------------------------------------- */

static void answer(struct consent_call *call)
{
    struct api_call *c = call->c;
    const struct store_consent_add *add = &call->add;
    bool pending = add->consent.state == CONSENT_PENDING;
    struct buf b;

    api_answer_init(c, &b);
    api_put_open(&b, '{');
    api_put_text(&b, "contact", c->id);
    api_put_word(&b, "channel", add->consent.any_channel ? NULL : channel_name(add->consent.channel));
    api_put_text(&b, "category", add->consent.category);
    api_put_word(&b, "scope", add->consent.night ? "night" : NULL);
    api_put_word(&b, "state", api_consent_state(add->consent.state));
    api_put_word(&b, "source", source_name(add->consent.source));
    api_put_time(&b, "at", add->consent.at_ms);
    api_put_time(&b, "expires_at", add->consent.expires_at_ms);
    if (pending) {
        api_put_time(&b, "confirm_from", call->confirm_at_ms);
        api_put_word(&b, "detail",
                     "the recipient opted out less than the cooling-off ago: the customer confirms it later, by the "
                     "same call from confirm_from on; it never activates by itself");
    }
    api_put_number(&b, "lifted", (int64_t)add->n_lifted);
    api_put_number(&b, "cancelled", (int64_t)add->n_cancelled);
    api_put_close(&b, '}');
    api_answer(&c, pending ? 202 : 201, &b);
}

static void on_in_force(void *arg)
{
    answer(arg);
}

static void on_added(enum err status, void *arg)
{
    struct consent_call *call = arg;
    struct api_call *c = call->c;
    const struct store_consent_add *add = &call->add;

    if (status == ERR_CONFLICT && call->tries < TRIES_MAX) {
        start(call);
        return;
    }
    if (status != OK) {
        api_problem_of_store(&c, status);
        return;
    }
    revocation_in_force(c->g, add->touched, add->n_touched, on_in_force, call);
    revocation_cancelled(c->g, add->cancelled, add->n_cancelled);
}

static void decide(struct consent_call *call, const struct profile *p)
{
    struct api_call *c = call->c;
    struct store_consent_add *add = &call->add;
    int64_t now_ms = clock_wall_ms(), cooling_off_s = c->conf->policy.cooling_off_s;
    struct errmsg e = {{0}};

    add->consent.state = call->change.state;
    add->lifts = false;
    switch (change_consent(p, &call->change, now_ms, cooling_off_s, &e)) {
    case CHANGE_REFUSE:
        api_problem(&c, 409, "%s; nothing was changed", e.text);
        return;
    case CHANGE_PENDING:
        add->consent.state = CONSENT_PENDING;
        call->confirm_at_ms = passes_at_ms(call, p, cooling_off_s);
        break;
    case CHANGE_APPLY:
        add->lifts = add->consent.state == CONSENT_GRANTED;
        break;
    }
    add->r = (struct store_request){.kind = STORE_CONSENT_ADD, .cb = on_added, .arg = call};
    add->arena = c->r->arena;
    add->contact_id = c->id;
    add->expected_version = add->consent.state == CONSENT_REVOKED ? 0 : call->contact.version;
    add->consent.at_ms = add->now_ms = now_ms;
    add->actor = slice_of(c->key->name);
    store_submit(c->g->store, &add->r);
}

static void on_contact(enum err status, void *arg)
{
    struct consent_call *call = arg;
    struct api_call *c = call->c;
    struct profile p;

    if (status == ERR_NOT_FOUND)
        api_problem(&c, 404, "there is no contact \"%.*s\": PUT it first", SLICE_ARG(c->id));
    else if (status != OK)
        api_problem_of_store(&c, status);
    else if (!profile_of(&call->contact, c->r->arena, &p))
        api_problem_of_store(&c, ERR_LIMIT);
    else
        decide(call, &p);
}

static void start(struct consent_call *call)
{
    struct api_call *c = call->c;

    call->tries++;
    call->contact = (struct contact){0};
    call->get = (struct store_contact_get){
        .r = {.kind = STORE_CONTACT_GET, .cb = on_contact, .arg = call},
        .arena = c->r->arena,
        .id = c->id,
        .contact = &call->contact,
    };
    store_submit(c->g->store, &call->get.r);
}

void api_consent_post(struct api_call *c)
{
    struct consent_call *call = api_state(c, sizeof(*call));
    struct api_fault f = {0};

    call->c = c;
    if (!read_change(call, &f))
        api_problem_of_fault(&c, &f);
    else if (api_source_allowed(&c, call->change.source))
        start(call);
}

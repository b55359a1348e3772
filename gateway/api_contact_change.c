/*
 * A PUT of a contact: its body as a wish, and what the wish changes of addresses
 * and account (preferences: api_preference_change.c).
 *
 * Who said it decides its authority (semantics 4): the customer's own word, a
 * lock by the organisation, an agent's, what an application inferred
 * (behaviour), what another system holds of the account (import, sync), the
 * organisation's default.
 */
#include "api_contacts.h"

#include <jansson.h>

#include "api_preferences.h"

static const char *const members[] = {"addresses",   "account",    "zone",        "region",   "language",
                                      "preferences", "by_channel", "by_category", "by_topic", "source",
                                      "system",      "confidence", "locked",      "stated_at"};
static const char *const address_kinds[] = {"email", "sms"};

/* What the readers share. */
struct reading {
    struct api_call *c;
    struct api_object top;
    struct contact_wish *wish;
    struct preference form; /* authority, source, ... of every value in this body */
    size_t capacity;        /* of wish->preferences */
};

/* --- addresses ------------------------------------------------------------------------ */

static bool is_listed(const struct contact_wish *w, const struct address *a)
{
    for (size_t i = 0; i < w->n_addresses; i++) {
        if (strcmp(w->addresses[i].text, a->text) == 0)
            return true;
    }
    return false;
}

/* True when the list is given, be it null or empty. */
static bool read_addresses(struct reading *r, const struct api_object *o, const char *name, enum address_kind kind)
{
    const json_t *list = api_member(o, name), *item;
    size_t i;

    if (list != NULL && !json_is_array(list))
        api_refuse(o, name, "must be an array of addresses");
    json_array_foreach(list, i, item)
    {
        struct address a;
        struct errmsg e;
        struct slice s = slice_of(json_string_value(item));
        if (r->wish->n_addresses == CONTACT_ADDRESSES_MAX) {
            api_refuse(o, name, "a contact has at most %u addresses", CONTACT_ADDRESSES_MAX);
            break;
        }
        if ((kind == ADDRESS_EMAIL ? address_parse_email(s, &a, &e) : address_parse_phone(s, &a, &e)) != OK)
            api_refuse(o, name, "item %zu: %s", i, e.text);
        else if (!is_listed(r->wish, &a))
            r->wish->addresses[r->wish->n_addresses++] = a;
    }
    return api_has(o, name);
}

/* --- preferences ----------------------------------------------------------------------- */

static void add_preference(struct reading *r, const struct api_object *o, const char *name, enum preference_key key,
                           enum specificity specificity, struct slice scope)
{
    struct contact_wish *w = r->wish;
    struct slice text = api_preference_read(o, name, key, r->c->r->arena);

    if (o->fault->set)
        return;
    ensure(w->n_preferences < r->capacity);
    struct preference *p = &w->preferences[w->n_preferences++];
    *p = r->form;
    p->key = key;
    p->specificity = specificity;
    p->scope = scope;
    p->text = text;
}

/* The keys of "preferences"; zone and region stand beside them. */
static bool stated_key(const char *name, enum preference_key *key)
{
    return preference_key_parse(slice_of(name), key) && !preference_key_is_place(*key);
}

static void refuse_key(const struct api_object *o, const char *name)
{
    static const char *const keys[] = {
#define X(id, word) word,
        PREFERENCE_KEYS(X)
#undef X
    };
    char list[API_LIST_MAX * 2] = "";
    enum preference_key place;
    size_t n = 0;

    if (preference_key_parse(slice_of(name), &place)) {
        api_refuse(o, name, "is a member of the contact itself: {\"%s\": \"%s\"}", name,
                   place == PREFERENCE_ZONE ? "America/Chicago" : "US-IL");
        return;
    }
    for (size_t i = 0; i < N_ELEMENTS(keys) && n + 32 < sizeof(list); i++) {
        if (preference_key_is_place((enum preference_key)i))
            continue;
        memcpy(list + n, keys[i], strlen(keys[i]));
        n += strlen(keys[i]);
        list[n++] = ' ';
    }
    list[n > 0 ? n - 1 : 0] = '\0';
    api_refuse(o, name, "is no preference; known: %s", list);
}

static void read_preferences(struct reading *r, const struct api_object *o, enum specificity specificity,
                             struct slice scope)
{
    const char *name;
    json_t *value;
    enum preference_key key;

    json_object_foreach(o->json, name, value)
    {
        if (stated_key(name, &key))
            add_preference(r, o, name, key, specificity, scope);
        else
            refuse_key(o, name);
    }
}

static void check_scope(struct reading *r, const struct api_object *o, const char *name, enum specificity specificity)
{
    struct slice s = slice_of(name);
    enum channel channel;
    char list[API_LIST_MAX];

    if (specificity == SPECIFICITY_CHANNEL && !channel_parse(s, &channel))
        api_refuse(o, name, "is not a channel; known: %s", api_list(api_channels, list));
    else if (specificity == SPECIFICITY_CATEGORY && conf_category(r->c->conf, s) == NULL)
        api_refuse(o, name, "is not a category of the configuration");
    else if (s.n == 0 || s.n > API_NAME_MAX || !slice_is_clean(s))
        api_refuse(o, name, "must be 1 to %u bytes without control characters", API_NAME_MAX);
}

/* {"sms": {"frequency.max_per_day": 1}} */
static void read_scoped(struct reading *r, const char *member, enum specificity specificity)
{
    struct api_object scopes, one;
    const char *name;
    json_t *value;

    if (!api_object_in(&r->top, member, &scopes))
        return;
    json_object_foreach(scopes.json, name, value)
    {
        check_scope(r, &scopes, name, specificity);
        if (api_object_in(&scopes, name, &one))
            read_preferences(r, &one, specificity, slice_of(name));
    }
}

static size_t count_in(const json_t *object, unsigned depth)
{
    const char *name;
    json_t *value;
    size_t n = 0;

    json_object_foreach((json_t *)object, name, value) n += depth == 0 ? 1 : count_in(value, depth - 1);
    return n;
}

static enum authority authority_of(enum source s, bool locked)
{
    switch (s) {
    case SOURCE_CUSTOMER:
        return AUTHORITY_CONTACT;
    case SOURCE_AGENT:
        return AUTHORITY_AGENT;
    case SOURCE_BEHAVIOUR:
        return AUTHORITY_BEHAVIOUR;
    case SOURCE_IMPORT:
    case SOURCE_SYNC:
    case SOURCE_PROVIDER:
        return AUTHORITY_ACCOUNT;
    case SOURCE_ORGANISATION:
        return locked ? AUTHORITY_LOCKED : AUTHORITY_ORGANISATION;
    case SOURCE_N:
        break;
    }
    never("a source");
}

/* Who says it, and how sure they are. */
static void read_claim(struct reading *r, int64_t now_ms)
{
    struct contact_wish *w = r->wish;
    unsigned word;

    w->locked = api_flag(&r->top, "locked");
    w->source = w->locked ? SOURCE_ORGANISATION : SOURCE_CUSTOMER;
    if (api_word(&r->top, "source", api_sources, &word))
        w->source = (enum source)word;
    if (w->source == SOURCE_PROVIDER)
        api_refuse(&r->top, "source", "a provider states no preferences");
    if (w->locked && w->source != SOURCE_ORGANISATION)
        api_refuse(&r->top, "locked", "only the organisation locks a value: leave source out");
    r->form = (struct preference){
        .authority = authority_of(w->source, w->locked),
        .source = w->source,
        .system = api_text(&r->top, "system", API_NAME_MAX),
        .confidence = w->source == SOURCE_BEHAVIOUR ? CONFIDENCE_LOW : CONFIDENCE_HIGH,
        .at_ms = now_ms,
    };
    if (api_word(&r->top, "confidence", api_confidences, &word))
        r->form.confidence = (enum confidence)word;
    w->dated = api_time(&r->top, "stated_at", &r->form.at_ms);
    if (w->dated && r->form.at_ms > now_ms)
        api_refuse(&r->top, "stated_at", "is in the future: it says when the values were stated");
}

bool contact_wish_read(struct api_call *c, int64_t now_ms, struct contact_wish *out, struct api_fault *f)
{
    struct reading r = {.c = c, .wish = out};
    struct api_object o;

    *out = (struct contact_wish){0};
    api_object_open(&r.top, c->body, API_WORDS(members), f);
    r.capacity = count_in(c->body, 0) + count_in(api_member(&r.top, "preferences"), 0) +
                 count_in(api_member(&r.top, "by_channel"), 1) + count_in(api_member(&r.top, "by_category"), 1) +
                 count_in(api_member(&r.top, "by_topic"), 1);
    out->preferences = arena_calloc(c->r->arena, r.capacity + 1, sizeof(*out->preferences));
    out->addresses = arena_calloc(c->r->arena, CONTACT_ADDRESSES_MAX, sizeof(*out->addresses));
    if (out->preferences == NULL || out->addresses == NULL)
        api_fault_set(f, "", "the body needs more memory than it may have");
    if (f->set)
        return false;
    out->has_account = api_has(&r.top, "account");
    out->account = api_text(&r.top, "account", API_NAME_MAX);
    read_claim(&r, now_ms);
    if (api_object_in_of(&r.top, "addresses", API_WORDS(address_kinds), &o)) {
        out->has_emails = read_addresses(&r, &o, "email", ADDRESS_EMAIL);
        out->has_phones = read_addresses(&r, &o, "sms", ADDRESS_PHONE);
    }
    if (api_has(&r.top, "zone"))
        add_preference(&r, &r.top, "zone", PREFERENCE_ZONE, SPECIFICITY_ANY, (struct slice){0});
    if (api_has(&r.top, "region"))
        add_preference(&r, &r.top, "region", PREFERENCE_REGION, SPECIFICITY_ANY, (struct slice){0});
    if (api_object_in(&r.top, "preferences", &o)) {
        read_preferences(&r, &o, SPECIFICITY_ANY, (struct slice){0});
        if (api_has(&r.top, "language") && api_has(&o, "language"))
            api_refuse(&r.top, "language", "is given twice: here and in preferences");
    }
    if (api_has(&r.top, "language"))
        add_preference(&r, &r.top, "language", PREFERENCE_LANGUAGE, SPECIFICITY_ANY, (struct slice){0});
    read_scoped(&r, "by_channel", SPECIFICITY_CHANNEL);
    read_scoped(&r, "by_category", SPECIFICITY_CATEGORY);
    read_scoped(&r, "by_topic", SPECIFICITY_TOPIC);
    return !f->set;
}

/* --- what changes ----------------------------------------------------------------------- */

/* Those of one kind: the wish's when it states them, else the contact's.  Returns how many. */
static size_t list_kind(const struct contact_wish *w, const struct contact *before, enum address_kind kind,
                        struct address *out)
{
    bool stated = kind == ADDRESS_EMAIL ? w->has_emails : w->has_phones;
    size_t n = 0;

    for (size_t i = 0; i < (stated ? w->n_addresses : before->n_addresses); i++) {
        const struct address *a = stated ? &w->addresses[i] : &before->addresses[i].address;
        if (a->kind == kind)
            out[n++] = *a;
    }
    return n;
}

/* The whole list, e-mail first.  True when it is another one than before. */
static bool apply_addresses(const struct contact_wish *w, const struct contact *before, struct store_contact_put *put,
                            struct api_fault *f)
{
    struct address *all = arena_calloc(put->arena, w->n_addresses + before->n_addresses + 1, sizeof(*all));

    if (all == NULL) {
        api_fault_set(f, "", "the body needs more memory than it may have");
        return false;
    }
    size_t n = list_kind(w, before, ADDRESS_EMAIL, all);
    n += list_kind(w, before, ADDRESS_PHONE, all + n);
    bool same = n == before->n_addresses;
    for (size_t i = 0; i < n && same; i++)
        same = strcmp(all[i].text, before->addresses[i].address.text) == 0;
    put->addresses = same ? NULL : all;
    put->n_addresses = same ? 0 : n;
    return !same;
}

enum contact_verdict contact_wish_apply(const struct contact_wish *w, const struct contact *before,
                                        struct store_contact_put *put, struct api_fault *f)
{
    bool addresses = (w->has_emails || w->has_phones) && apply_addresses(w, before, put, f);
    bool account = w->has_account && !slice_eq(w->account, before->account);

    put->account = w->has_account ? w->account : before->account;
    if (!contact_preferences_apply(w, before, put, f))
        return CONTACT_REFUSED;
    contact_zone_apply(before, put);
    return addresses || account || put->n_preferences > 0 || before->version == 0 ? CONTACT_CHANGES : CONTACT_SAME;
}

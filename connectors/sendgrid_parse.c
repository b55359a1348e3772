/*
 * mail/send as SendGrid reads it (v3 API, OpenAPI of 2026-01-22; page "Mail Send
 * errors"): each to, cc and bcc of each personalization is a message, and so is the
 * blind copy of mail_settings.bcc.  Only what says who gets it, when, and what it is
 * gets read; everything else stays bytes.  What Go's JSON reader would take for a
 * known key ("CC", "To") but an exact one would not, is refused.
 */
#include "sendgrid.h"

#include <stdio.h>

#include "claims.h"
#include "postern/limits.h"

#define SEND_AT_MAX_MS (72 * INT64_C(3600000))
#define SECONDS_MAX    UINT64_C(99999999999) /* the year 5138 */
#define CATEGORIES_MAX 10u

/* One parse under way. */
struct reading {
    const struct wire_request *request;
    int64_t now_ms;
    struct arena *arena;
    struct sendgrid *sg;
    struct parsed *out;
    struct fault *fault;
    struct claims claims;  /* of the request: HTTP fields */
    struct claims body;    /* and of the body's top level over them */
    struct slice category; /* of the first personalization: all must agree */
    int64_t not_before_ms; /* send_at of the top level */
    uint64_t fingerprint;  /* of the top level */
    uint64_t *addresses;   /* hashes of one personalization's addresses, to find one given twice */
};

static enum err out_of_memory(struct reading *g)
{
    return wire_fault(g->fault, FAULT_TOO_LARGE, NULL, "The request has too many values to be read.");
}

static enum err refuse_type(struct reading *g, const char *field, uint32_t node, const char *expected)
{
    char place[JSON_PLACE_MAX];
    return wire_fault(g->fault, FAULT_SYNTAX, field, "%s at %s must be %s.", field,
                      json_scan_place(g->request->body, g->sg->scan.nodes[node].start, place), expected);
}

/* --- members by name ------------------------------------------------------------- */

#define SENDGRID_NAME_(id, name) name,
static const char *const root_names[] = {SENDGRID_ROOT(SENDGRID_NAME_)};
static const char *const person_names[] = {SENDGRID_PERSON(SENDGRID_NAME_)};
static const char *const setting_names[] = {SENDGRID_SETTING(SENDGRID_NAME_)};
#undef SENDGRID_NAME_
static const char *const address_names[] = {"email"};
static const char *const toggle_names[] = {"enable", "email"};
static const char *const asm_names[] = {"group_id"};

/* Fill nodes[i] with the member called names[i].  path: of the object, for messages; "" on top. */
static enum err find_members(struct reading *g, uint32_t object, const char *path, const char *const *names, size_t n,
                             uint32_t *nodes)
{
    const struct json_scan *s = &g->sg->scan;
    for (size_t i = 0; i < n; i++)
        nodes[i] = JSON_NONE;
    for (uint32_t c = object + 1; c < s->nodes[object].next; c = s->nodes[c].next) {
        for (size_t i = 0; i < n; i++) {
            enum json_key key = json_scan_key(s, c, names[i]);
            if (key == JSON_KEY_OTHER)
                continue;
            if (key == JSON_KEY_FOLDS) {
                char place[JSON_PLACE_MAX];
                return wire_fault(g->fault, FAULT_SYNTAX, path,
                                  "The key at %s is \"%s\" but for upper and lower case; write it so, or remove it.",
                                  json_scan_place(s->text, s->nodes[c].key_start, place), names[i]);
            }
            nodes[i] = c;
            break;
        }
    }
    return OK;
}

#define FIND_MEMBERS(g, object, path, names, nodes) find_members(g, object, path, names, N_ELEMENTS(names), nodes)

/* --- claims ------------------------------------------------------------------------ */

/* Those among the members of `headers` (http) or `custom_args`. */
static enum err read_claims(struct reading *g, uint32_t object, const char *path, bool http, struct claims *c)
{
    const struct json_scan *s = &g->sg->scan;
    if (object == JSON_NONE)
        return OK;
    if (!json_scan_is(s, object, JSON_KIND_OBJECT))
        return refuse_type(g, path, object, "an object");
    const char *prefix = http ? "x-postern-" : "postern_";
    for (uint32_t m = object + 1; m < s->nodes[object].next; m = s->nodes[m].next) {
        if (!json_scan_key_starts(s, m, prefix, http))
            continue;
        for (enum claim claim = 0; claim < CLAIM_N; claim++) {
            enum json_key key = json_scan_key(s, m, http ? claims_field(claim) : claims_key(claim));
            if (key == JSON_KEY_OTHER || (key == JSON_KEY_FOLDS && !http))
                continue;
            struct slice value;
            if (!json_scan_is(s, m, JSON_KIND_STRING))
                return refuse_type(g, path, m, "a string");
            if (!json_scan_text(s, m, g->arena, &value))
                return out_of_memory(g);
            enum err err = claims_say(c, claim, value, g->fault);
            if (err != OK)
                return err;
        }
    }
    return OK;
}

/* over's values where it has any, else under's. */
static struct claims claims_over(const struct claims *over, const struct claims *under)
{
    struct claims both = *under;
    for (enum claim c = 0; c < CLAIM_N; c++) {
        if (over->value[c].p != NULL)
            both.value[c] = over->value[c];
    }
    return both;
}

static enum err read_top_claims(struct reading *g)
{
    enum err err = claims_read_fields(&g->claims, g->request, g->fault);
    g->body = g->claims;
    if (err == OK)
        err = read_claims(g, g->sg->root[SG_ROOT_HEADERS], "headers", true, &g->body);
    if (err == OK)
        err = read_claims(g, g->sg->root[SG_ROOT_CUSTOM_ARGS], "custom_args", false, &g->body);
    return err;
}

/* The item's own win over the body's, as SendGrid merges them; HTTP fields must not be contradicted. */
static enum err read_envelope_claims(struct reading *g, const struct sendgrid_envelope *e, size_t index,
                                     struct claims *out)
{
    char path[FAULT_FIELD_MAX];
    struct claims own = g->claims;
    snprintf(path, sizeof path, "personalizations.%zu.headers", index);
    enum err err = read_claims(g, e->members[SG_PERSON_HEADERS], path, true, &own);
    snprintf(path, sizeof path, "personalizations.%zu.custom_args", index);
    if (err == OK)
        err = read_claims(g, e->members[SG_PERSON_CUSTOM_ARGS], path, false, &own);
    if (err != OK)
        return err;
    *out = claims_over(&own, &g->body);
    if (index == 0) {
        g->out->category = out->value[CLAIM_CATEGORY];
        g->out->idempotency_key = out->value[CLAIM_IDEMPOTENCY_KEY];
    } else if (!slice_eq(g->out->category, out->value[CLAIM_CATEGORY]) ||
               !slice_eq(g->out->idempotency_key, out->value[CLAIM_IDEMPOTENCY_KEY])) {
        return wire_fault(g->fault, FAULT_SYNTAX, path,
                          "personalizations.%zu states another Postern category or idempotency key than "
                          "personalizations.0; send them as two requests.",
                          index);
    }
    return OK;
}

/* --- content ------------------------------------------------------------------------- */

static uint64_t mix_node(const struct json_scan *s, uint64_t h, uint32_t node)
{
    return node == JSON_NONE ? wire_mix(h, SLICE("-")) : wire_mix(h, json_scan_raw(s, node));
}

static void read_fingerprint(struct reading *g)
{
    const struct json_scan *s = &g->sg->scan;
    const uint32_t *root = g->sg->root;
    uint64_t h = mix_node(s, 0, root[SG_ROOT_SUBJECT]);
    h = mix_node(s, h, root[SG_ROOT_CONTENT]);
    h = mix_node(s, h, root[SG_ROOT_TEMPLATE_ID]);
    h = mix_node(s, h, root[SG_ROOT_SECTIONS]);
    /* Attachments may be 30 MiB: their length stands for them. */
    uint64_t n = root[SG_ROOT_ATTACHMENTS] == JSON_NONE ? 0 : json_scan_raw(s, root[SG_ROOT_ATTACHMENTS]).n;
    g->fingerprint = h ^ n;
}

static uint64_t envelope_fingerprint(const struct reading *g, const struct sendgrid_envelope *e)
{
    const struct json_scan *s = &g->sg->scan;
    uint64_t h = mix_node(s, g->fingerprint, e->members[SG_PERSON_SUBJECT]);
    h = mix_node(s, h, e->members[SG_PERSON_DYNAMIC]);
    h = mix_node(s, h, e->members[SG_PERSON_SUBSTITUTIONS]);
    return h == 0 ? 1 : h;
}

/* For people: the first text/plain part, else the first. */
static enum err read_content(struct reading *g)
{
    const struct json_scan *s = &g->sg->scan;
    uint32_t content = g->sg->root[SG_ROOT_CONTENT];
    if (content == JSON_NONE)
        return OK;
    if (!json_scan_is(s, content, JSON_KIND_ARRAY))
        return refuse_type(g, "content", content, "an array of {type, value}");
    uint32_t shown = JSON_NONE;
    for (uint32_t part = content + 1; part < s->nodes[content].next; part = s->nodes[part].next) {
        uint32_t type = json_scan_member(s, part, "type"), value = json_scan_member(s, part, "value");
        bool plain = type != JSON_NONE && slice_eq_cstr(json_scan_raw(s, type), "\"text/plain\"");
        if (shown == JSON_NONE || plain)
            shown = value;
        if (plain)
            break;
    }
    if (json_scan_is(s, shown, JSON_KIND_STRING) && !json_scan_text(s, shown, g->arena, &g->out->text))
        return out_of_memory(g);
    return OK;
}

/* Subject and content as the provider requires them. */
static enum err check_content(struct reading *g)
{
    const struct sendgrid *sg = g->sg;
    if (sg->root[SG_ROOT_TEMPLATE_ID] != JSON_NONE)
        return OK;
    bool subject = sg->root[SG_ROOT_SUBJECT] != JSON_NONE;
    bool each = true;
    for (size_t i = 0; i < sg->n_envelopes; i++)
        each = each && sg->envelopes[i].members[SG_PERSON_SUBJECT] != JSON_NONE;
    if (!subject && !each)
        return wire_fault(g->fault, FAULT_NO_BODY, "subject",
                          "The subject is required. You can get around this requirement if you use a template with a "
                          "subject defined or if every personalization has a subject defined.");
    uint32_t content = sg->root[SG_ROOT_CONTENT];
    if (content == JSON_NONE || json_scan_count(&sg->scan, content) == 0)
        return wire_fault(g->fault, FAULT_NO_BODY, "content",
                          "The content param is required unless you are using a transactional template and have "
                          "defined a template_id.");
    return OK;
}

/* --- time ------------------------------------------------------------------------------ */

bool sendgrid_send_at(const struct json_scan *s, uint32_t node, int64_t *at_ms)
{
    uint64_t seconds;
    if (!json_scan_is(s, node, JSON_KIND_NUMBER) || !slice_to_u64(json_scan_raw(s, node), SECONDS_MAX, &seconds))
        return false;
    *at_ms = (int64_t)seconds * 1000;
    return true;
}

/* 0 in *out when there is none or it has passed: SendGrid then sends at once. */
static enum err read_send_at(struct reading *g, uint32_t node, const char *path, int64_t *out)
{
    if (node == JSON_NONE)
        return OK;
    int64_t at_ms;
    if (!sendgrid_send_at(&g->sg->scan, node, &at_ms))
        return refuse_type(g, path, node, "a whole number of seconds since 1970");
    if (at_ms > g->now_ms + SEND_AT_MAX_MS)
        return wire_fault(g->fault, FAULT_SYNTAX, path, "Scheduling more than 72 hours in advance is forbidden.");
    *out = at_ms > g->now_ms ? at_ms : 0;
    return OK;
}

/* --- recipients -------------------------------------------------------------------------- */

static enum err read_address(struct reading *g, uint32_t node, const char *path, struct slice *text,
                             struct address *out)
{
    char field[FAULT_FIELD_MAX];
    uint32_t email;
    if (!json_scan_is(&g->sg->scan, node, JSON_KIND_OBJECT))
        return refuse_type(g, path, node, "an object {\"email\":...}");
    enum err err = FIND_MEMBERS(g, node, path, address_names, &email);
    if (err != OK)
        return err;
    snprintf(field, sizeof field, "%s.email", path);
    if (email == JSON_NONE)
        return wire_fault(g->fault, FAULT_ADDRESS, field, "The email parameter is required.");
    if (!json_scan_is(&g->sg->scan, email, JSON_KIND_STRING))
        return refuse_type(g, field, email, "a string");
    if (!json_scan_text(&g->sg->scan, email, g->arena, text))
        return out_of_memory(g);
    struct errmsg why;
    err = address_parse_email(*text, out, &why);
    if (err != OK)
        return wire_fault(g->fault, FAULT_ADDRESS, field, "Does not contain a valid address. (%s)", why.text);
    return OK;
}

static uint64_t address_hash(const struct address *address)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    for (const char *p = address->text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)(*p >= 'A' && *p <= 'Z' ? *p + ('a' - 'A') : *p);
        h = (h ^ c) * UINT64_C(0x100000001B3);
    }
    return h;
}

/* first: the personalization's first message; last: the one just read. */
static enum err check_once(struct reading *g, uint32_t first, uint32_t last)
{
    const struct message *messages = g->out->messages;
    const struct message *m = &messages[last];
    g->addresses[last] = address_hash(&m->to);
    for (uint32_t i = first; i < last; i++) {
        if (g->addresses[i] != g->addresses[last] || !slice_ieq(slice_of(messages[i].to.text), slice_of(m->to.text)))
            continue;
        char field[FAULT_FIELD_MAX];
        snprintf(field, sizeof field, "%.*s", SLICE_ARG(m->field));
        return wire_fault(g->fault, FAULT_SYNTAX, field,
                          "Each unique email address in the personalizations array should only be included once. You "
                          "have included [%.*s] more than once.",
                          (int)(m->to_text.n < 80 ? m->to_text.n : 80), m->to_text.p);
    }
    return OK;
}

/* seed: what all recipients of this personalization share. */
static enum err read_recipient(struct reading *g, uint32_t node, const char *path, const struct message *seed)
{
    uint32_t index = (uint32_t)g->out->n_messages;
    struct message *m = &g->out->messages[index];
    *m = *seed;
    m->index = index;
    enum err err = read_address(g, node, path, &m->to_text, &m->to);
    if (err != OK)
        return err;
    m->field = slice_of(arena_printf(g->arena, "%s.email", path));
    if (m->field.p == NULL)
        return out_of_memory(g);
    g->out->n_messages++;
    return OK;
}

static enum err read_list(struct reading *g, struct sendgrid_envelope *e, size_t index, enum sendgrid_person which,
                          const struct message *seed)
{
    const struct json_scan *s = &g->sg->scan;
    uint32_t array = e->members[which];
    struct sendgrid_list *list = &e->lists[which];
    list->first = (uint32_t)g->out->n_messages;
    if (array == JSON_NONE)
        return OK;
    for (uint32_t c = array + 1; c < s->nodes[array].next; c = s->nodes[c].next) {
        char path[FAULT_FIELD_MAX];
        snprintf(path, sizeof path, "personalizations.%zu.%s.%u", index, person_names[which], list->n);
        enum err err = read_recipient(g, c, path, seed);
        if (err == OK)
            err = check_once(g, e->lists[SG_PERSON_TO].first, list->first + list->n);
        if (err != OK)
            return err;
        list->n++;
    }
    return OK;
}

/* The sender of a personalization: its own, else the message's. */
static enum err read_sender(struct reading *g, uint32_t node, const char *path, struct slice *out)
{
    struct address ignored;
    return node == JSON_NONE ? OK : read_address(g, node, path, out, &ignored);
}

static enum err read_envelope(struct reading *g, size_t index)
{
    struct sendgrid_envelope *e = &g->sg->envelopes[index];
    char path[FAULT_FIELD_MAX];
    struct claims claims;
    struct message seed = {.channel = CHANNEL_EMAIL, .sender = g->out->from, .not_before_ms = g->not_before_ms};
    snprintf(path, sizeof path, "personalizations.%zu.from", index);
    enum err err = read_sender(g, e->members[SG_PERSON_FROM], path, &seed.sender);
    snprintf(path, sizeof path, "personalizations.%zu.send_at", index);
    if (err == OK)
        err = read_send_at(g, e->members[SG_PERSON_SEND_AT], path, &seed.not_before_ms);
    if (err == OK)
        err = read_envelope_claims(g, e, index, &claims);
    if (err == OK)
        err = claims_apply(&claims, &seed, g->fault);
    if (err != OK)
        return err;
    seed.fingerprint = envelope_fingerprint(g, e);
    for (enum sendgrid_person which = SG_PERSON_TO; which <= SG_PERSON_BCC && err == OK; which++)
        err = read_list(g, e, index, which, &seed);
    return err;
}

/* The members of a personalization; counts its recipients into *n. */
static enum err open_envelope(struct reading *g, uint32_t node, size_t index, size_t *n)
{
    const struct json_scan *s = &g->sg->scan;
    struct sendgrid_envelope *e = &g->sg->envelopes[index];
    char path[FAULT_FIELD_MAX];
    snprintf(path, sizeof path, "personalizations.%zu", index);
    e->node = node;
    if (!json_scan_is(s, node, JSON_KIND_OBJECT))
        return refuse_type(g, path, node, "an object");
    enum err err = FIND_MEMBERS(g, node, path, person_names, e->members);
    if (err != OK)
        return err;
    for (enum sendgrid_person which = SG_PERSON_TO; which <= SG_PERSON_BCC; which++) {
        uint32_t list = e->members[which];
        snprintf(path, sizeof path, "personalizations.%zu.%s", index, person_names[which]);
        if (list == JSON_NONE)
            continue;
        if (!json_scan_is(s, list, JSON_KIND_ARRAY))
            return refuse_type(g, path, list, "an array of {\"email\":...}");
        *n += json_scan_count(s, list);
    }
    uint32_t to = e->members[SG_PERSON_TO];
    snprintf(path, sizeof path, "personalizations.%zu.to", index);
    if (to == JSON_NONE || json_scan_count(s, to) == 0)
        return wire_fault(g->fault, FAULT_NO_RECIPIENT, path,
                          "The to parameter is required for all personalization objects.");
    return OK;
}

static enum err open_envelopes(struct reading *g, size_t *n_recipients)
{
    struct sendgrid *sg = g->sg;
    const struct json_scan *s = &sg->scan;
    uint32_t array = sg->root[SG_ROOT_PERSONALIZATIONS];
    if (array != JSON_NONE && !json_scan_is(s, array, JSON_KIND_ARRAY))
        return refuse_type(g, "personalizations", array, "an array of objects");
    size_t n = array == JSON_NONE ? 0 : json_scan_count(s, array);
    if (n == 0)
        return wire_fault(g->fault, FAULT_NO_RECIPIENT, "personalizations",
                          "You must have at least one personalization.");
    if (n > LIMIT_RECIPIENTS)
        return wire_fault(g->fault, FAULT_TOO_LONG, "personalizations",
                          "The personalization block is limited to %u personalizations per API request. You have "
                          "provided %zu personalizations.",
                          LIMIT_RECIPIENTS, n);
    sg->envelopes = arena_calloc(g->arena, n, sizeof *sg->envelopes);
    if (sg->envelopes == NULL)
        return out_of_memory(g);
    sg->n_envelopes = n;
    size_t index = 0;
    for (uint32_t c = array + 1; c < s->nodes[array].next; c = s->nodes[c].next) {
        enum err err = open_envelope(g, c, index++, n_recipients);
        if (err != OK)
            return err;
    }
    if (*n_recipients > LIMIT_RECIPIENTS)
        return wire_fault(g->fault, FAULT_TOO_LONG, "personalizations",
                          "There is a limit of %u total recipients (to + cc + bcc) per request. You have provided %zu.",
                          LIMIT_RECIPIENTS, *n_recipients);
    return OK;
}

/* --- settings -------------------------------------------------------------------------------- */

static enum err read_setting(struct reading *g, enum sendgrid_setting which, struct slice *email)
{
    const struct json_scan *s = &g->sg->scan;
    uint32_t node = g->sg->settings[which], members[2];
    char path[FAULT_FIELD_MAX];
    snprintf(path, sizeof path, "mail_settings.%s", setting_names[which]);
    if (node == JSON_NONE)
        return OK;
    if (!json_scan_is(s, node, JSON_KIND_OBJECT))
        return refuse_type(g, path, node, "an object");
    enum err err = FIND_MEMBERS(g, node, path, toggle_names, members);
    if (err != OK)
        return err;
    uint32_t enable = members[0];
    snprintf(path, sizeof path, "mail_settings.%s.enable", setting_names[which]);
    if (enable == JSON_NONE || json_scan_is(s, enable, JSON_KIND_FALSE))
        return OK;
    if (!json_scan_is(s, enable, JSON_KIND_TRUE)) {
        if (which == SG_SETTING_SANDBOX)
            return wire_fault(g->fault, FAULT_SYNTAX, path, "The sandbox mode enable param should be a boolean value.");
        return refuse_type(g, path, enable, "true or false");
    }
    g->sg->enables[which] = enable;
    if (which == SG_SETTING_BCC && json_scan_is(s, members[1], JSON_KIND_STRING) &&
        !json_scan_text(s, members[1], g->arena, email))
        return out_of_memory(g);
    return OK;
}

/* bcc: the address of the legacy blind copy, or empty. */
static enum err read_settings(struct reading *g, struct slice *bcc)
{
    struct sendgrid *sg = g->sg;
    uint32_t object = sg->root[SG_ROOT_MAIL_SETTINGS];
    for (enum sendgrid_setting i = 0; i < SG_SETTING_N; i++)
        sg->enables[i] = JSON_NONE;
    if (object == JSON_NONE)
        return OK;
    if (!json_scan_is(&sg->scan, object, JSON_KIND_OBJECT))
        return refuse_type(g, "mail_settings", object, "an object");
    enum err err = FIND_MEMBERS(g, object, "mail_settings", setting_names, sg->settings);
    for (enum sendgrid_setting i = 0; i < SG_SETTING_N && err == OK; i++)
        err = read_setting(g, i, bcc);
    for (size_t i = 0; i < SG_BYPASSES; i++)
        g->out->bypass_asked = g->out->bypass_asked || sg->enables[i] != JSON_NONE;
    g->out->sandbox_mode = sg->enables[SG_SETTING_SANDBOX] != JSON_NONE;
    return err;
}

/* A copy of every mail of the request goes to mail_settings.bcc.email: a recipient like any other. */
static enum err read_bcc_setting(struct reading *g, struct slice email)
{
    if (g->sg->enables[SG_SETTING_BCC] == JSON_NONE)
        return OK;
    static const char field[] = "mail_settings.bcc.email";
    uint32_t index = (uint32_t)g->out->n_messages;
    struct message *m = &g->out->messages[index];
    struct errmsg why;
    *m = g->out->messages[0];
    m->index = index;
    m->to_text = email;
    m->field = slice_of(field);
    if (address_parse_email(email, &m->to, &why) != OK)
        return wire_fault(g->fault, FAULT_ADDRESS, field, "Does not contain a valid address. (%s)", why.text);
    g->sg->bcc_setting = true;
    g->out->n_messages++;
    return OK;
}

/* --- labels --------------------------------------------------------------------------------------- */

static enum err read_categories(struct reading *g)
{
    const struct json_scan *s = &g->sg->scan;
    uint32_t array = g->sg->root[SG_ROOT_CATEGORIES];
    if (array == JSON_NONE)
        return OK;
    if (!json_scan_is(s, array, JSON_KIND_ARRAY))
        return refuse_type(g, "categories", array, "an array of strings");
    for (uint32_t c = array + 1; c < s->nodes[array].next; c = s->nodes[c].next) {
        if (!json_scan_is(s, c, JSON_KIND_STRING))
            return refuse_type(g, "categories", c, "a string");
        if (g->out->n_labels == CATEGORIES_MAX)
            return wire_fault(g->fault, FAULT_SYNTAX, "categories", "You can only have %u categories per message.",
                              CATEGORIES_MAX);
        if (!json_scan_text(s, c, g->arena, &g->out->labels[g->out->n_labels++]))
            return out_of_memory(g);
    }
    return OK;
}

static enum err read_asm(struct reading *g)
{
    const struct json_scan *s = &g->sg->scan;
    uint32_t object = g->sg->root[SG_ROOT_ASM], id;
    uint64_t number;
    if (object == JSON_NONE)
        return OK;
    if (!json_scan_is(s, object, JSON_KIND_OBJECT))
        return refuse_type(g, "asm", object, "an object");
    enum err err = FIND_MEMBERS(g, object, "asm", asm_names, &id);
    if (err != OK || id == JSON_NONE)
        return err;
    if (!json_scan_is(s, id, JSON_KIND_NUMBER) || !slice_to_u64(json_scan_raw(s, id), INT64_MAX, &number))
        return wire_fault(g->fault, FAULT_SYNTAX, "asm.group_id", "The ASM group ID must be an integer.");
    const char *label = arena_printf(g->arena, "asm:%llu", (unsigned long long)number);
    if (label == NULL)
        return out_of_memory(g);
    g->out->labels[g->out->n_labels++] = slice_of(label);
    return OK;
}

/* A string that is only shown or compared; other types stay the provider's to refuse. */
static enum err read_string(struct reading *g, enum sendgrid_root which, struct slice *out)
{
    uint32_t node = g->sg->root[which];
    if (!json_scan_is(&g->sg->scan, node, JSON_KIND_STRING) || json_scan_text(&g->sg->scan, node, g->arena, out))
        return OK;
    return out_of_memory(g);
}

static enum err read_from(struct reading *g)
{
    uint32_t from = g->sg->root[SG_ROOT_FROM];
    if (from == JSON_NONE || (json_scan_is(&g->sg->scan, from, JSON_KIND_OBJECT) &&
                              json_scan_member(&g->sg->scan, from, "email") == JSON_NONE))
        return wire_fault(g->fault, FAULT_NO_SENDER, "from.email",
                          "The from object must be provided for every email send. It is an object that requires the "
                          "email parameter, but may also contain a name parameter.");
    return read_sender(g, from, "from", &g->out->from);
}

/* --- the whole --------------------------------------------------------------------------------------- */

static enum err read_messages(struct reading *g, size_t n_recipients)
{
    struct slice bcc = {NULL, 0};
    enum err err = read_settings(g, &bcc);
    g->out->messages = arena_calloc(g->arena, n_recipients + 1, sizeof *g->out->messages);
    g->addresses = arena_calloc(g->arena, n_recipients, sizeof *g->addresses);
    if (err == OK && (g->out->messages == NULL || g->addresses == NULL))
        return out_of_memory(g);
    for (size_t i = 0; i < g->sg->n_envelopes && err == OK; i++)
        err = read_envelope(g, i);
    g->sg->n_listed = (uint32_t)g->out->n_messages;
    return err != OK ? err : read_bcc_setting(g, bcc);
}

static enum err read_body(struct reading *g)
{
    size_t n_recipients = 0;
    enum err err = FIND_MEMBERS(g, 0, "", root_names, g->sg->root);
    if (err == OK)
        err = open_envelopes(g, &n_recipients);
    if (err == OK)
        err = read_from(g);
    if (err == OK)
        err = check_content(g);
    if (err == OK)
        err = read_content(g);
    if (err == OK)
        err = read_send_at(g, g->sg->root[SG_ROOT_SEND_AT], "send_at", &g->not_before_ms);
    if (err == OK)
        err = read_top_claims(g);
    if (err != OK)
        return err;
    read_fingerprint(g);
    err = read_messages(g, n_recipients);
    if (err == OK)
        err = read_categories(g);
    if (err == OK)
        err = read_asm(g);
    if (err == OK)
        err = read_string(g, SG_ROOT_SUBJECT, &g->out->subject);
    return err != OK ? err : read_string(g, SG_ROOT_BATCH_ID, &g->out->batch_id);
}

enum err sendgrid_parse(const struct wire_request *r, const struct route *route, int64_t now_ms, struct arena *a,
                        struct parsed *out, struct fault *fault)
{
    (void)route;
    *out = (struct parsed){0};
    *fault = (struct fault){0};
    struct slice type = wire_field_get(r->fields, r->n_fields, "Content-Type");
    if (!wire_is_media_type(type, "application/json"))
        return wire_fault(fault, FAULT_MEDIA_TYPE, NULL, "Content-Type must be application/json; it is \"%.*s\".",
                          (int)(type.n < 80 ? type.n : 80), type.n == 0 ? "" : type.p);
    struct sendgrid *sg = arena_alloc(a, sizeof *sg);
    struct reading g = {.request = r, .now_ms = now_ms, .arena = a, .sg = sg, .out = out, .fault = fault};
    if (sg == NULL)
        return out_of_memory(&g);
    out->dialect = sg;
    sg->scan.arena = a;
    struct errmsg why;
    enum err err = json_scan_parse(&sg->scan, r->body, &why);
    if (err == ERR_LIMIT)
        return out_of_memory(&g);
    if (err != OK)
        return wire_fault(fault, FAULT_SYNTAX, NULL, "Bad Request: %s.", why.text);
    if (!json_scan_is(&sg->scan, 0, JSON_KIND_OBJECT))
        return wire_fault(fault, FAULT_SYNTAX, NULL, "Bad Request: the body must be a JSON object.");
    return read_body(&g);
}

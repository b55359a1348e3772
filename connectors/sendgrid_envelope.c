/*
 * The personalizations of a mail/send: who gets it, and what is claimed for each.
 * Knows the shape of an envelope and nothing of the content.  The one idea: count
 * first, refuse what is too many, then allocate and read.
 */
#include "sendgrid_reading.h"

#include <stdio.h>

#include "postern/limits.h"

#define SENDGRID_NAME_(id, name) name,
static const char *const person_names[] = {SENDGRID_PERSON(SENDGRID_NAME_)};
#undef SENDGRID_NAME_
static const char *const address_names[] = {"email"};

/* "personalizations.N.member" for messages, and only when there is such a member.  Returns its length. */
static size_t member_path(const struct sendgrid_envelope *e, size_t index, enum sendgrid_person which,
                          char out[FAULT_FIELD_MAX])
{
    char digits[U64_TEXT_MAX];
    out[0] = '\0';
    if (e->members[which] == JSON_NONE)
        return 0;
    size_t n = text_add(out, FAULT_FIELD_MAX, 0, SLICE("personalizations."));
    n = text_add(out, FAULT_FIELD_MAX, n, u64_text(index, digits));
    n = text_add(out, FAULT_FIELD_MAX, n, SLICE("."));
    return text_add(out, FAULT_FIELD_MAX, n, slice_of(person_names[which]));
}

/* --- claims ------------------------------------------------------------------------ */

/* A member of `headers` (http) or `custom_args` whose key says that it is ours; CLAIM_N when none of the table. */
static enum claim find_claim(const struct json_scan *s, uint32_t member, bool http)
{
    enum claim claim = 0;
    for (; claim < CLAIM_N; claim++) {
        enum json_key key = json_scan_key(s, member, http ? claims_field(claim) : claims_key(claim));
        if (key == JSON_KEY_SAME || (key == JSON_KEY_FOLDS && http))
            break;
    }
    return claim;
}

bool sendgrid_is_own_header(const struct json_scan *s, uint32_t member)
{
    return json_scan_key_starts(s, member, "x-postern-", true) ||
           json_scan_key(s, member, claims_field(CLAIM_IDEMPOTENCY_KEY)) != JSON_KEY_OTHER;
}

static enum err read_claim(struct sendgrid_reading *g, uint32_t member, const char *path, bool http, struct claims *c)
{
    const struct json_scan *s = &g->sg->scan;
    enum claim claim = find_claim(s, member, http);
    struct slice value;
    if (claim == CLAIM_N)
        return OK;
    if (!json_scan_is(s, member, JSON_KIND_STRING))
        return sendgrid_refuse_type(g, path, member, "a string");
    return json_scan_text(s, member, g->arena, &value) ? claims_say(c, claim, value, g->fault)
                                                       : sendgrid_out_of_memory(g);
}

/* Those among the members of `headers` (http) or `custom_args`. */
static enum err read_claims(struct sendgrid_reading *g, uint32_t object, const char *path, bool http, struct claims *c)
{
    const struct json_scan *s = &g->sg->scan;
    if (object == JSON_NONE)
        return OK;
    if (!json_scan_is(s, object, JSON_KIND_OBJECT))
        return sendgrid_refuse_type(g, path, object, "an object");
    enum err err = OK;
    for (uint32_t m = object + 1; m < s->nodes[object].next && err == OK; m = s->nodes[m].next) {
        if (http ? sendgrid_is_own_header(s, m) : json_scan_key_starts(s, m, "postern_", false))
            err = read_claim(g, m, path, http, c);
    }
    return err;
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

enum err sendgrid_read_top_claims(struct sendgrid_reading *g)
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
static enum err read_envelope_claims(struct sendgrid_reading *g, const struct sendgrid_envelope *e, size_t index,
                                     struct claims *out)
{
    char path[FAULT_FIELD_MAX];
    struct claims own = g->claims;
    member_path(e, index, SG_PERSON_HEADERS, path);
    enum err err = read_claims(g, e->members[SG_PERSON_HEADERS], path, true, &own);
    member_path(e, index, SG_PERSON_CUSTOM_ARGS, path);
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
        snprintf(path, sizeof path, "personalizations.%zu", index);
        return wire_fault(g->fault, FAULT_SYNTAX, path,
                          "personalizations.%zu states another Postern category or idempotency key than "
                          "personalizations.0; send them as two requests.",
                          index);
    }
    return OK;
}

/* --- opening: members and counts --------------------------------------------------- */

/* The members of a personalization; counts its recipients into *n. */
static enum err open_envelope(struct sendgrid_reading *g, uint32_t node, size_t index, size_t *n)
{
    const struct json_scan *s = &g->sg->scan;
    struct sendgrid_envelope *e = &g->sg->envelopes[index];
    char path[FAULT_FIELD_MAX], digits[U64_TEXT_MAX];
    text_add(path, sizeof path, text_add(path, sizeof path, 0, SLICE("personalizations.")), u64_text(index, digits));
    e->node = node;
    if (!json_scan_is(s, node, JSON_KIND_OBJECT))
        return sendgrid_refuse_type(g, path, node, "an object");
    enum err err = SENDGRID_FIND_MEMBERS(g, node, path, person_names, e->members);
    if (err != OK)
        return err;
    for (enum sendgrid_person which = SG_PERSON_TO; which <= SG_PERSON_BCC; which++) {
        uint32_t list = e->members[which];
        member_path(e, index, which, path);
        if (list == JSON_NONE)
            continue;
        if (!json_scan_is(s, list, JSON_KIND_ARRAY))
            return sendgrid_refuse_type(g, path, list, "an array of {\"email\":...}");
        *n += json_scan_count(s, list);
    }
    uint32_t to = e->members[SG_PERSON_TO];
    if (to != JSON_NONE && json_scan_count(s, to) > 0)
        return OK;
    snprintf(path, sizeof path, "personalizations.%zu.to", index);
    return wire_fault(g->fault, FAULT_NO_RECIPIENT, path,
                      "The to parameter is required for all personalization objects.");
}

enum err sendgrid_open_envelopes(struct sendgrid_reading *g, size_t *n_recipients)
{
    struct sendgrid *sg = g->sg;
    const struct json_scan *s = &sg->scan;
    uint32_t array = sg->root[SG_ROOT_PERSONALIZATIONS];
    if (array != JSON_NONE && !json_scan_is(s, array, JSON_KIND_ARRAY))
        return sendgrid_refuse_type(g, "personalizations", array, "an array of objects");
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
        return sendgrid_out_of_memory(g);
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

/* --- recipients -------------------------------------------------------------------------- */

static enum err read_address(struct sendgrid_reading *g, uint32_t node, const char *path, struct slice *text,
                             struct address *out)
{
    char field[FAULT_FIELD_MAX];
    uint32_t email;
    *text = (struct slice){NULL, 0};
    if (!json_scan_is(&g->sg->scan, node, JSON_KIND_OBJECT))
        return sendgrid_refuse_type(g, path, node, "an object {\"email\":...}");
    enum err err = SENDGRID_FIND_MEMBERS(g, node, path, address_names, &email);
    if (err != OK)
        return err;
    struct errmsg why;
    if (json_scan_text(&g->sg->scan, email, g->arena, text) && address_parse_email(*text, out, &why) == OK)
        return OK;
    snprintf(field, sizeof field, "%s.email", path);
    if (email == JSON_NONE)
        return wire_fault(g->fault, FAULT_ADDRESS, field, "The email parameter is required.");
    if (!json_scan_is(&g->sg->scan, email, JSON_KIND_STRING))
        return sendgrid_refuse_type(g, field, email, "a string");
    if (text->p == NULL)
        return sendgrid_out_of_memory(g);
    return wire_fault(g->fault, FAULT_ADDRESS, field, "Does not contain a valid address. (%s)", why.text);
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
static enum err check_once(struct sendgrid_reading *g, uint32_t first, uint32_t last)
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
                          SLICE_HEAD(m->to_text, 80));
    }
    return OK;
}

/* seed: what all recipients of this personalization share. */
static enum err read_recipient(struct sendgrid_reading *g, uint32_t node, const char *path, const struct message *seed)
{
    uint32_t index = (uint32_t)g->out->n_messages;
    struct message *m = &g->out->messages[index];
    *m = *seed;
    m->index = index;
    enum err err = read_address(g, node, path, &m->to_text, &m->to);
    if (err != OK)
        return err;
    m->field = arena_join(g->arena, slice_of(path), SLICE(".email"));
    if (m->field.p == NULL)
        return sendgrid_out_of_memory(g);
    g->out->n_messages++;
    return OK;
}

static enum err read_list(struct sendgrid_reading *g, struct sendgrid_envelope *e, size_t index,
                          enum sendgrid_person which, const struct message *seed)
{
    const struct json_scan *s = &g->sg->scan;
    uint32_t array = e->members[which];
    struct sendgrid_list *list = &e->lists[which];
    list->first = (uint32_t)g->out->n_messages;
    if (array == JSON_NONE)
        return OK;
    char path[FAULT_FIELD_MAX], digits[U64_TEXT_MAX];
    size_t before = text_add(path, sizeof path, member_path(e, index, which, path), SLICE("."));
    for (uint32_t c = array + 1; c < s->nodes[array].next; c = s->nodes[c].next) {
        text_add(path, sizeof path, before, u64_text(list->n, digits));
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
enum err sendgrid_read_sender(struct sendgrid_reading *g, uint32_t node, const char *path, struct slice *out)
{
    struct address ignored;
    return node == JSON_NONE ? OK : read_address(g, node, path, out, &ignored);
}

static uint64_t envelope_fingerprint(const struct sendgrid_reading *g, const struct sendgrid_envelope *e)
{
    const struct json_scan *s = &g->sg->scan;
    uint64_t h = sendgrid_mix_node(s, g->fingerprint, e->members[SG_PERSON_SUBJECT]);
    h = sendgrid_mix_node(s, h, e->members[SG_PERSON_DYNAMIC]);
    h = sendgrid_mix_node(s, h, e->members[SG_PERSON_SUBSTITUTIONS]);
    return h == 0 ? 1 : h;
}

static enum err read_envelope(struct sendgrid_reading *g, size_t index)
{
    struct sendgrid_envelope *e = &g->sg->envelopes[index];
    char path[FAULT_FIELD_MAX];
    struct claims claims;
    struct message seed = {
        .channel = CHANNEL_EMAIL, .sender = g->out->from, .not_before_ms = g->not_before_ms, .body = &g->sg->body};
    member_path(e, index, SG_PERSON_FROM, path);
    enum err err = sendgrid_read_sender(g, e->members[SG_PERSON_FROM], path, &seed.sender);
    member_path(e, index, SG_PERSON_SEND_AT, path);
    if (err == OK)
        err = sendgrid_read_send_at(g, e->members[SG_PERSON_SEND_AT], path, &seed.not_before_ms);
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

enum err sendgrid_read_envelopes(struct sendgrid_reading *g, size_t n_recipients)
{
    /* One more for the blind copy of mail_settings.bcc. */
    g->out->messages = arena_calloc(g->arena, n_recipients + 1, sizeof *g->out->messages);
    g->addresses = arena_calloc(g->arena, n_recipients, sizeof *g->addresses);
    if (g->out->messages == NULL || g->addresses == NULL)
        return sendgrid_out_of_memory(g);
    enum err err = OK;
    for (size_t i = 0; i < g->sg->n_envelopes && err == OK; i++)
        err = read_envelope(g, i);
    g->sg->n_listed = (uint32_t)g->out->n_messages;
    return err;
}

/* A copy of every mail of the request goes to mail_settings.bcc.email: a recipient like any other. */
enum err sendgrid_read_bcc_setting(struct sendgrid_reading *g, struct slice email)
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

/*
 * mail/send as SendGrid reads it (v3 API, OpenAPI of 2026-01-22; page "Mail Send
 * errors"): each to, cc and bcc of each personalization is a message, and so is the
 * blind copy of mail_settings.bcc.  Only what says who gets it, when, and what it is
 * gets read; everything else stays bytes.  What Go's JSON reader would take for a
 * known key ("CC", "To") but an exact one would not, is refused.
 */
#include "sendgrid_reading.h"

#include <stdio.h>

#include "postern/limits.h"

#define SEND_AT_MAX_MS (72 * INT64_C(3600000))
#define SECONDS_MAX    UINT64_C(99999999999) /* the year 5138 */
#define CATEGORIES_MAX 10u

enum err sendgrid_out_of_memory(struct sendgrid_reading *g)
{
    return wire_fault(g->fault, FAULT_TOO_LARGE, NULL, "The request has too many values to be read.");
}

enum err sendgrid_refuse_type(struct sendgrid_reading *g, const char *field, uint32_t node, const char *expected)
{
    char place[JSON_PLACE_MAX];
    return wire_fault(g->fault, FAULT_SYNTAX, field, "%s at %s must be %s.", field,
                      json_scan_place(g->request->body, g->sg->scan.nodes[node].start, place), expected);
}

/* --- members by name ------------------------------------------------------------- */

#define SENDGRID_NAME_(id, name) name,
static const char *const root_names[] = {SENDGRID_ROOT(SENDGRID_NAME_)};
static const char *const setting_names[] = {SENDGRID_SETTING(SENDGRID_NAME_)};
#undef SENDGRID_NAME_
static const char *const toggle_names[] = {"enable", "email"};
static const char *const asm_names[] = {"group_id"};

/* Fill nodes[i] with the member called names[i].  path: of the object, for messages; "" on top. */
enum err sendgrid_find_members(struct sendgrid_reading *g, uint32_t object, const char *path, const char *const *names,
                               size_t n, uint32_t *nodes)
{
    const struct json_scan *s = &g->sg->scan;
    char place[JSON_PLACE_MAX];
    size_t which;
    uint32_t folds = json_scan_members(s, object, names, n, nodes, &which);
    if (folds == JSON_NONE)
        return OK;
    return wire_fault(g->fault, FAULT_SYNTAX, path,
                      "The key at %s is \"%s\" but for upper and lower case; write it so, or remove it.",
                      json_scan_place(s->text, s->nodes[folds].key_start, place), names[which]);
}

/* --- content ------------------------------------------------------------------------- */

uint64_t sendgrid_mix_node(const struct json_scan *s, uint64_t h, uint32_t node)
{
    return node == JSON_NONE ? wire_mix(h, SLICE("-")) : wire_mix(h, json_scan_raw(s, node));
}

static void read_fingerprint(struct sendgrid_reading *g)
{
    const struct json_scan *s = &g->sg->scan;
    const uint32_t *root = g->sg->root;
    uint64_t h = sendgrid_mix_node(s, 0, root[SG_ROOT_SUBJECT]);
    h = sendgrid_mix_node(s, h, root[SG_ROOT_CONTENT]);
    h = sendgrid_mix_node(s, h, root[SG_ROOT_TEMPLATE_ID]);
    h = sendgrid_mix_node(s, h, root[SG_ROOT_SECTIONS]);
    /* Attachments may be 30 MiB: their length stands for them. */
    uint64_t n = root[SG_ROOT_ATTACHMENTS] == JSON_NONE ? 0 : json_scan_raw(s, root[SG_ROOT_ATTACHMENTS]).n;
    g->fingerprint = h ^ n;
}

/* Subject and content as the provider requires them. */
static enum err check_content(struct sendgrid_reading *g)
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
enum err sendgrid_read_send_at(struct sendgrid_reading *g, uint32_t node, const char *path, int64_t *out)
{
    if (node == JSON_NONE)
        return OK;
    int64_t at_ms;
    if (!sendgrid_send_at(&g->sg->scan, node, &at_ms))
        return sendgrid_refuse_type(g, path, node, "a whole number of seconds since 1970");
    if (at_ms > g->now_ms + SEND_AT_MAX_MS)
        return wire_fault(g->fault, FAULT_SYNTAX, path, "Scheduling more than 72 hours in advance is forbidden.");
    *out = at_ms > g->now_ms ? at_ms : 0;
    return OK;
}

/* --- settings -------------------------------------------------------------------------------- */

static enum err read_setting(struct sendgrid_reading *g, enum sendgrid_setting which, struct slice *email)
{
    const struct json_scan *s = &g->sg->scan;
    uint32_t node = g->sg->settings[which], members[2];
    char path[FAULT_FIELD_MAX];
    snprintf(path, sizeof path, "mail_settings.%s", setting_names[which]);
    if (node == JSON_NONE)
        return OK;
    if (!json_scan_is(s, node, JSON_KIND_OBJECT))
        return sendgrid_refuse_type(g, path, node, "an object");
    enum err err = SENDGRID_FIND_MEMBERS(g, node, path, toggle_names, members);
    if (err != OK)
        return err;
    uint32_t enable = members[0];
    snprintf(path, sizeof path, "mail_settings.%s.enable", setting_names[which]);
    if (enable == JSON_NONE || json_scan_is(s, enable, JSON_KIND_FALSE))
        return OK;
    if (!json_scan_is(s, enable, JSON_KIND_TRUE)) {
        if (which == SG_SETTING_SANDBOX)
            return wire_fault(g->fault, FAULT_SYNTAX, path, "The sandbox mode enable param should be a boolean value.");
        return sendgrid_refuse_type(g, path, enable, "true or false");
    }
    g->sg->enables[which] = enable;
    if (which == SG_SETTING_BCC)
        g->sg->bcc_email = members[1];
    if (which == SG_SETTING_BCC && json_scan_is(s, members[1], JSON_KIND_STRING) &&
        !json_scan_text(s, members[1], g->arena, email))
        return sendgrid_out_of_memory(g);
    return OK;
}

/* bcc: the address of the legacy blind copy, or empty. */
static enum err read_settings(struct sendgrid_reading *g, struct slice *bcc)
{
    struct sendgrid *sg = g->sg;
    uint32_t object = sg->root[SG_ROOT_MAIL_SETTINGS];
    for (enum sendgrid_setting i = 0; i < SG_SETTING_N; i++)
        sg->enables[i] = JSON_NONE;
    if (object == JSON_NONE)
        return OK;
    if (!json_scan_is(&sg->scan, object, JSON_KIND_OBJECT))
        return sendgrid_refuse_type(g, "mail_settings", object, "an object");
    enum err err = SENDGRID_FIND_MEMBERS(g, object, "mail_settings", setting_names, sg->settings);
    for (enum sendgrid_setting i = 0; i < SG_SETTING_N && err == OK; i++)
        err = read_setting(g, i, bcc);
    for (size_t i = 0; i < SG_BYPASSES; i++)
        g->out->bypass_asked = g->out->bypass_asked || sg->enables[i] != JSON_NONE;
    g->out->sandbox_mode = sg->enables[SG_SETTING_SANDBOX] != JSON_NONE;
    return err;
}

/* --- labels --------------------------------------------------------------------------------------- */

static enum err read_categories(struct sendgrid_reading *g)
{
    const struct json_scan *s = &g->sg->scan;
    uint32_t array = g->sg->root[SG_ROOT_CATEGORIES];
    if (array == JSON_NONE)
        return OK;
    if (!json_scan_is(s, array, JSON_KIND_ARRAY))
        return sendgrid_refuse_type(g, "categories", array, "an array of strings");
    for (uint32_t c = array + 1; c < s->nodes[array].next; c = s->nodes[c].next) {
        if (!json_scan_is(s, c, JSON_KIND_STRING))
            return sendgrid_refuse_type(g, "categories", c, "a string");
        if (g->out->n_labels == CATEGORIES_MAX)
            return wire_fault(g->fault, FAULT_SYNTAX, "categories", "You can only have %u categories per message.",
                              CATEGORIES_MAX);
        if (!json_scan_text(s, c, g->arena, &g->out->labels[g->out->n_labels++]))
            return sendgrid_out_of_memory(g);
    }
    return OK;
}

static enum err read_asm(struct sendgrid_reading *g)
{
    const struct json_scan *s = &g->sg->scan;
    uint32_t object = g->sg->root[SG_ROOT_ASM], id;
    uint64_t number;
    if (object == JSON_NONE)
        return OK;
    if (!json_scan_is(s, object, JSON_KIND_OBJECT))
        return sendgrid_refuse_type(g, "asm", object, "an object");
    enum err err = SENDGRID_FIND_MEMBERS(g, object, "asm", asm_names, &id);
    if (err != OK || id == JSON_NONE)
        return err;
    if (!json_scan_is(s, id, JSON_KIND_NUMBER) || !slice_to_u64(json_scan_raw(s, id), INT64_MAX, &number))
        return wire_fault(g->fault, FAULT_SYNTAX, "asm.group_id", "The ASM group ID must be an integer.");
    const char *label = arena_printf(g->arena, "asm:%llu", (unsigned long long)number);
    if (label == NULL)
        return sendgrid_out_of_memory(g);
    g->out->labels[g->out->n_labels++] = slice_of(label);
    return OK;
}

/* A string that is only shown or compared; other types stay the provider's to refuse. */
static enum err read_string(struct sendgrid_reading *g, enum sendgrid_root which, struct slice *out)
{
    uint32_t node = g->sg->root[which];
    if (!json_scan_is(&g->sg->scan, node, JSON_KIND_STRING) || json_scan_text(&g->sg->scan, node, g->arena, out))
        return OK;
    return sendgrid_out_of_memory(g);
}

static enum err read_from(struct sendgrid_reading *g)
{
    uint32_t from = g->sg->root[SG_ROOT_FROM];
    if (from == JSON_NONE || (json_scan_is(&g->sg->scan, from, JSON_KIND_OBJECT) &&
                              json_scan_member(&g->sg->scan, from, "email") == JSON_NONE))
        return wire_fault(g->fault, FAULT_NO_SENDER, "from.email",
                          "The from object must be provided for every email send. It is an object that requires the "
                          "email parameter, but may also contain a name parameter.");
    return sendgrid_read_sender(g, from, "from", &g->out->from);
}

/* --- the whole --------------------------------------------------------------------------------------- */

static enum err read_messages(struct sendgrid_reading *g, size_t n_recipients)
{
    struct slice bcc = {NULL, 0};
    enum err err = read_settings(g, &bcc);
    if (err == OK)
        err = sendgrid_read_envelopes(g, n_recipients);
    return err != OK ? err : sendgrid_read_bcc_setting(g, bcc);
}

static enum err read_body(struct sendgrid_reading *g)
{
    size_t n_recipients = 0;
    enum err err = SENDGRID_FIND_MEMBERS(g, 0, "", root_names, g->sg->root);
    if (err == OK)
        err = sendgrid_open_envelopes(g, &n_recipients);
    if (err == OK)
        err = read_from(g);
    if (err == OK)
        err = check_content(g);
    if (err == OK)
        err = sendgrid_read_content(g);
    if (err == OK)
        err = sendgrid_read_send_at(g, g->sg->root[SG_ROOT_SEND_AT], "send_at", &g->not_before_ms);
    if (err == OK)
        err = sendgrid_read_top_claims(g);
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
                          SLICE_HEAD(type, 80));
    struct sendgrid *sg = arena_alloc(a, sizeof *sg);
    struct sendgrid_reading g = {.request = r, .now_ms = now_ms, .arena = a, .sg = sg, .out = out, .fault = fault};
    if (sg == NULL)
        return sendgrid_out_of_memory(&g);
    out->dialect = sg;
    sg->scan.arena = a;
    struct errmsg why;
    enum err err = json_scan_parse(&sg->scan, r->body, &why);
    if (err == ERR_LIMIT)
        return sendgrid_out_of_memory(&g);
    if (err != OK)
        return wire_fault(fault, FAULT_SYNTAX, NULL, "Bad Request: %s.", why.text);
    if (!json_scan_is(&sg->scan, 0, JSON_KIND_OBJECT))
        return wire_fault(fault, FAULT_SYNTAX, NULL, "Bad Request: the body must be a JSON object.");
    return read_body(&g);
}

/*
 * Message create as Plivo reads it (pages "Send a Message" and "Bulk Messaging",
 * seen 2026-11; the SDKs send JSON and nothing else): each number of dst is a
 * message, one that stands there twice is one, as Plivo removes duplicates.  Only
 * what says who gets it, when, and what it is gets read; everything else stays bytes.
 * The numbers of dst are plivo_dst.c.
 */
#include "plivo_reading.h"

#include "claims.h"
#include "mime.h"
#include "postern/limits.h"

#define GSM_MAX      LIMIT_SMS_BODY_CHARS
#define UCS2_MAX     737u
#define WHATSAPP_MAX 4096u
#define EXPIRY_MIN_S 5u /* page "Message Expiry", 2026-11 */
#define EXPIRY_MAX_S 10800u

enum err plivo_out_of_memory(struct fault *fault)
{
    return wire_fault(fault, FAULT_TOO_LARGE, NULL, "the request needs more memory than one may have");
}

/* --- members --------------------------------------------------------------------- */

#define PLIVO_NAME_(id, name) name,
static const char *const root_names[] = {PLIVO_ROOT(PLIVO_NAME_)};
#undef PLIVO_NAME_

enum err plivo_scan(struct slice body, struct arena *a, struct plivo *out, struct fault *fault)
{
    struct json_scan *s = &out->scan;
    struct errmsg why;
    char place[JSON_PLACE_MAX];
    size_t which;
    s->arena = a;
    enum err err = json_scan_parse(s, body, &why);
    if (err == ERR_LIMIT)
        return plivo_out_of_memory(fault);
    if (err != OK)
        return wire_fault(fault, FAULT_SYNTAX, NULL, "the body is no JSON: %s", why.text);
    if (!json_scan_is(s, 0, JSON_KIND_OBJECT))
        return wire_fault(fault, FAULT_SYNTAX, NULL, "the body must be a JSON object");
    uint32_t folds = json_scan_members(s, 0, root_names, N_ELEMENTS(root_names), out->root, &which);
    if (folds == JSON_NONE)
        return OK;
    return wire_fault(fault, FAULT_SYNTAX, root_names[which],
                      "the key at %s is \"%s\" but for upper and lower case; write it so, or remove it",
                      json_scan_place(body, s->nodes[folds].key_start, place), root_names[which]);
}

struct slice plivo_text(const struct plivo *p, enum plivo_root which, struct arena *a)
{
    struct slice text = {NULL, 0};
    if (!json_scan_text(&p->scan, p->root[which], a, &text))
        return (struct slice){NULL, 0};
    return text;
}

struct plivo_callback plivo_callback_of(const struct plivo *p, struct arena *a)
{
    bool get = slice_ieq(plivo_text(p, PLIVO_METHOD, a), SLICE("GET"));
    return (struct plivo_callback){plivo_text(p, PLIVO_URL, a), get ? SLICE("GET") : SLICE("POST")};
}

enum err plivo_read_string(struct plivo_reading *g, enum plivo_root which, struct slice *out)
{
    const struct json_scan *s = &g->plivo->scan;
    uint32_t node = g->plivo->root[which];
    char place[JSON_PLACE_MAX];
    *out = (struct slice){NULL, 0};
    if (node == JSON_NONE || json_scan_is(s, node, JSON_KIND_NULL))
        return OK;
    if (!json_scan_is(s, node, JSON_KIND_STRING))
        return wire_fault(g->fault, FAULT_SYNTAX, root_names[which], "%s at %s must be a string", root_names[which],
                          json_scan_place(s->text, s->nodes[node].start, place));
    if (!json_scan_text(s, node, g->arena, out))
        return plivo_out_of_memory(g->fault);
    return OK;
}

/* --- who: src -------------------------------------------------------------------------- */

/* Plivo strips what is neither letter nor digit; a number is then known by its E.164, as a STOP will name it. */
static struct slice sender_of(struct slice src, struct arena *a)
{
    char *text = arena_bytes(a, src.n + 1);
    size_t n = 1;
    bool number = true;
    if (text == NULL)
        return (struct slice){NULL, 0};
    for (size_t i = 0; i < src.n; i++) {
        unsigned char c = (unsigned char)src.p[i];
        bool digit = c >= '0' && c <= '9', letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (digit || letter)
            text[n++] = (char)c;
        number = number && !letter;
    }
    text[0] = '+';
    bool long_enough = n > 7; /* short codes are no E.164 */
    return number && long_enough ? (struct slice){text, n} : (struct slice){text + 1, n - 1};
}

static enum err read_sender(struct plivo_reading *g, struct message *m)
{
    struct slice src, powerpack, old;
    enum err err = plivo_read_string(g, PLIVO_SRC, &src);
    if (err == OK)
        err = plivo_read_string(g, PLIVO_POWERPACK, &powerpack);
    if (err == OK)
        err = plivo_read_string(g, PLIVO_POWERPACK_OLD, &old);
    if (err != OK)
        return err;
    if (powerpack.n > 0 && old.n > 0)
        return wire_fault(g->fault, FAULT_SYNTAX, "powerpack_uuid", "powerpack_uuid is given in two spellings");
    powerpack = powerpack.n > 0 ? powerpack : old;
    if (src.n > 0 && powerpack.n > 0)
        return wire_fault(g->fault, FAULT_SYNTAX, "src", "src and powerpack_uuid are both given; use one of them");
    m->sender = src.n > 0 ? sender_of(src, g->arena) : powerpack;
    if (m->sender.n == 0)
        return wire_fault(g->fault, FAULT_NO_SENDER, "src", "src or powerpack_uuid is required");
    g->out->from = m->sender;
    g->out->labels[g->out->n_labels++] = m->sender;
    return OK;
}

/* --- what ---------------------------------------------------------------------------------- */

/* Of 3GPP TS 23.038, beyond ASCII; what ASCII has beyond that is one character. */
static const char gsm_others[] = "£¥èéùìòÇØøÅåΔΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà€";

static size_t character_bytes(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* The text has passed the scanner: it is UTF-8. */
static void count_text(struct slice s, size_t *characters, size_t *utf16_units, bool *gsm)
{
    *characters = *utf16_units = 0;
    *gsm = true;
    for (size_t i = 0; i < s.n;) {
        size_t n = character_bytes((unsigned char)s.p[i]);
        bool known = n == 1 ? s.p[i] != '`' : memmem(gsm_others, sizeof gsm_others - 1, s.p + i, n) != NULL;
        *gsm = *gsm && known;
        *utf16_units += n == 4 ? 2 : 1;
        ++*characters;
        i += n;
    }
}

static enum err check_length(struct plivo_reading *g, struct slice text, bool whatsapp)
{
    size_t characters, units;
    bool gsm;
    count_text(text, &characters, &units, &gsm);
    if (whatsapp && characters > WHATSAPP_MAX)
        return wire_fault(g->fault, FAULT_TOO_LONG, "text", "text has %zu characters; WhatsApp takes %u", characters,
                          WHATSAPP_MAX);
    if (!whatsapp && gsm && characters > GSM_MAX)
        return wire_fault(g->fault, FAULT_TOO_LONG, "text", "text has %zu characters of GSM 03.38; at most %u fit",
                          characters, GSM_MAX);
    if (!whatsapp && !gsm && units > UCS2_MAX)
        return wire_fault(g->fault, FAULT_TOO_LONG, "text",
                          "text has %zu characters of UCS-2 (one is not in GSM 03.38); at most %u fit", units,
                          UCS2_MAX);
    return OK;
}

static bool says(const struct plivo_reading *g, enum plivo_root which)
{
    uint32_t node = g->plivo->root[which];
    return node != JSON_NONE && !json_scan_is(&g->plivo->scan, node, JSON_KIND_NULL);
}

/* Media are listed in an array; the pages show a text with commas as well, which is one at least. */
static uint32_t count_media(const struct plivo_reading *g, enum plivo_root which)
{
    const struct json_scan *s = &g->plivo->scan;
    uint32_t node = g->plivo->root[which];
    if (json_scan_is(s, node, JSON_KIND_ARRAY))
        return (uint32_t)json_scan_count(s, node);
    return json_scan_is(s, node, JSON_KIND_STRING);
}

static void look_at_content(struct plivo_reading *g, struct message *m)
{
    struct body_facts *body = &g->plivo->body;
    body_look(g->out->text, false, body);
    body->attachments = count_media(g, PLIVO_MEDIA_URLS) + count_media(g, PLIVO_MEDIA_IDS);
    m->body = body;
}

static enum err add_label(struct plivo_reading *g, const char *prefix, struct slice value)
{
    if (value.n == 0)
        return OK;
    const char *label = arena_printf(g->arena, "%s%.*s", prefix, SLICE_ARG(value));
    if (label == NULL)
        return plivo_out_of_memory(g->fault);
    g->out->labels[g->out->n_labels++] = slice_of(label);
    return OK;
}

static enum err read_content(struct plivo_reading *g, struct message *m)
{
    static const enum plivo_root content[] = {PLIVO_TEXT,     PLIVO_MEDIA_URLS,  PLIVO_MEDIA_IDS,
                                              PLIVO_TEMPLATE, PLIVO_INTERACTIVE, PLIVO_LOCATION};
    struct slice type, dlt;
    enum err err = plivo_read_string(g, PLIVO_TEXT, &g->out->text);
    if (err == OK)
        err = plivo_read_string(g, PLIVO_TYPE, &type);
    if (err == OK)
        err = plivo_read_string(g, PLIVO_DLT_CATEGORY, &dlt);
    if (err == OK)
        err = add_label(g, "type:", type);
    if (err == OK)
        err = add_label(g, "dlt:", dlt);
    if (err == OK)
        look_at_content(g, m);
    bool any = g->out->text.n > 0;
    for (size_t i = 0; i < N_ELEMENTS(content) && err == OK; i++) {
        if (!says(g, content[i]))
            continue;
        any = any || content[i] != PLIVO_TEXT;
        m->fingerprint = wire_mix(m->fingerprint + i + 1, json_scan_raw(&g->plivo->scan, g->plivo->root[content[i]]));
    }
    if (err == OK && !any)
        return wire_fault(g->fault, FAULT_NO_BODY, "text",
                          "text is required, unless media, a template, interactive or "
                          "location is there");
    return err != OK ? err : check_length(g, g->out->text, slice_eq_cstr(type, "whatsapp"));
}

/* --- when ------------------------------------------------------------------------------------ */

static enum err read_expiry(struct plivo_reading *g, struct message *m)
{
    const struct json_scan *s = &g->plivo->scan;
    uint32_t node = g->plivo->root[PLIVO_EXPIRY];
    struct slice text = {NULL, 0};
    uint64_t seconds;
    if (!says(g, PLIVO_EXPIRY))
        return OK;
    if (json_scan_is(s, node, JSON_KIND_NUMBER))
        text = json_scan_raw(s, node);
    else if (!json_scan_text(s, node, g->arena, &text))
        text.n = 0;
    if (!slice_to_u64(text, EXPIRY_MAX_S, &seconds) || seconds < EXPIRY_MIN_S)
        return wire_fault(g->fault, FAULT_SYNTAX, "message_expiry", "message_expiry must be %u to %u seconds",
                          EXPIRY_MIN_S, EXPIRY_MAX_S);
    int64_t at_ms = g->now_ms + (int64_t)seconds * 1000;
    if (m->expires_at_ms == 0 || at_ms < m->expires_at_ms)
        m->expires_at_ms = at_ms;
    return OK;
}

/* --- the whole ------------------------------------------------------------------------------- */

static enum err read_claims(struct plivo_reading *g, struct message *m)
{
    struct claims claims = {0};
    enum err err = claims_read_fields(&claims, g->request, g->fault);
    g->out->category = claims.value[CLAIM_CATEGORY];
    g->out->idempotency_key = claims.value[CLAIM_IDEMPOTENCY_KEY];
    return err != OK ? err : claims_apply(&claims, m, g->fault);
}

/* What is the same for each number. */
static enum err read_common(struct plivo_reading *g, struct message *m)
{
    struct slice url, method;
    enum err err = read_sender(g, m);
    if (err == OK)
        err = read_content(g, m);
    if (err == OK)
        err = read_claims(g, m);
    if (err == OK)
        err = read_expiry(g, m);
    if (err == OK)
        err = plivo_read_string(g, PLIVO_URL, &url);
    if (err == OK)
        err = plivo_read_string(g, PLIVO_METHOD, &method);
    if (err == OK)
        g->out->status_callback = url;
    return err;
}

static enum err make_messages(struct plivo_reading *g, const struct message *common)
{
    for (size_t i = 0; i < g->out->n_messages; i++) {
        struct message *m = &g->messages[i], one = *common;
        const char *field = g->out->n_messages == 1 ? "dst" : arena_printf(g->arena, "dst.%zu", i);
        if (field == NULL)
            return plivo_out_of_memory(g->fault);
        one.index = m->index;
        one.channel = CHANNEL_SMS;
        one.to = m->to;
        one.to_text = m->to_text;
        one.field = slice_of(field);
        *m = one;
    }
    g->out->messages = g->messages;
    return OK;
}

static enum err check_request(const struct wire_request *r, struct fault *fault)
{
    struct slice type = wire_field_get(r->fields, r->n_fields, "Content-Type");
    if (!wire_is_media_type(type, "application/json"))
        return wire_fault(fault, FAULT_MEDIA_TYPE, NULL, "Content-Type must be application/json; it is \"%.*s\"",
                          SLICE_HEAD(type, 80));
    if (r->query.n > 0)
        return wire_fault(fault, FAULT_SYNTAX, NULL, "parameters of a message belong in the body, not in the URL");
    return OK;
}

enum err plivo_parse(const struct wire_request *r, const struct route *route, int64_t now_ms, struct arena *a,
                     struct parsed *out, struct fault *fault)
{
    (void)route;
    *out = (struct parsed){0};
    *fault = (struct fault){0};
    enum err err = check_request(r, fault);
    if (err != OK)
        return err;
    struct plivo *p = arena_alloc(a, sizeof *p);
    struct plivo_reading g = {.request = r, .now_ms = now_ms, .arena = a, .plivo = p, .out = out, .fault = fault};
    struct message common = {0};
    if (p == NULL)
        return plivo_out_of_memory(fault);
    out->dialect = p;
    err = plivo_scan(r->body, a, p, fault);
    if (err == OK)
        err = plivo_read_dst(&g);
    if (err == OK)
        err = read_common(&g, &common);
    if (err == OK)
        err = make_messages(&g, &common);
    if (err != OK)
        out->n_messages = 0;
    return err;
}

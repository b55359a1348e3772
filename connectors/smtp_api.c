/*
 * X-SMTPAPI read.  Knows JSON by offsets and SendGrid's keys; not what a mail is.
 * The one idea: an array that goes with `to` by index must be as long as `to`, or
 * nobody can say whose each element is.
 */
#include "smtp_api.h"

#include "postern/limits.h"
#include "sendgrid.h"

#define FIELD          "X-SMTPAPI"
#define SEND_AT_MAX_MS (72 * INT64_C(3600000))
#define CATEGORIES_MAX 10u

#define SMTP_API_NAME_(id, name) name,
static const char *const root_names[] = {SMTP_API_ROOT(SMTP_API_NAME_)};
static const char *const filter_names[] = {SMTP_API_FILTER(SMTP_API_NAME_)};
#undef SMTP_API_NAME_
static const char *const settings_names[] = {"settings"};
static const char *const enable_names[] = {"enable"};

static enum err out_of_memory(struct fault *f)
{
    return wire_fault(f, FAULT_TOO_LARGE, FIELD, FIELD " has too many values to be read");
}

static enum err refuse_type(const struct smtp_api *api, const char *key, uint32_t node, const char *expected,
                            struct fault *f)
{
    char place[JSON_PLACE_MAX];
    return wire_fault(f, FAULT_SYNTAX, FIELD, FIELD ": \"%s\" at %s must be %s", key,
                      json_scan_place(api->scan.text, api->scan.nodes[node].start, place), expected);
}

static enum err find(const struct smtp_api *api, uint32_t object, const char *const *names, size_t n, uint32_t *nodes,
                     struct fault *f)
{
    char place[JSON_PLACE_MAX];
    size_t which;
    uint32_t member = json_scan_members(&api->scan, object, names, n, nodes, &which);
    if (member == JSON_NONE)
        return OK;
    return wire_fault(f, FAULT_SYNTAX, FIELD,
                      FIELD ": the key at %s is \"%s\" but for upper and lower case; write it so, or remove it",
                      json_scan_place(api->scan.text, api->scan.nodes[member].key_start, place), names[which]);
}
#define FIND(api, object, names, nodes, f) find(api, object, names, N_ELEMENTS(names), nodes, f)

/* --- the text ----------------------------------------------------------------------- */

/* A fold is a CRLF that a blank follows: it goes, the blank stays (RFC 5322 section 2.2.3). */
static bool unfold(struct smtp_api *api, struct arena *a)
{
    struct slice raw = api->field->value;
    api->raw_start = api->field->start + api->field->name.n + 1;
    for (size_t i = 0; i < raw.n; i++)
        api->n_folds += raw.p[i] == '\r';
    api->scan.text = raw;
    if (api->n_folds == 0)
        return true;
    char *text = arena_alloc(a, raw.n);
    size_t *folds = arena_calloc(a, api->n_folds, sizeof *folds);
    if (text == NULL || folds == NULL)
        return false;
    size_t n = 0, k = 0;
    for (size_t i = 0; i < raw.n; i++) {
        if (raw.p[i] == '\r')
            folds[k++] = n;
        else if (raw.p[i] != '\n')
            text[n++] = raw.p[i];
    }
    api->scan.text = (struct slice){text, n};
    api->folds = folds;
    return true;
}

/* Of JSON, or of an address: what a word could hide. */
static size_t signs_in(struct slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '@' || s.p[i] == '<';
    return n;
}

/*
 * nodemailer puts every value that holds quotes into encoded words, unless it is told not to (seen with 6, 7 and 10).
 * Whether SendGrid reads those as JSON is not documented.  Read as if it did, they name whom it would send to; if it
 * does not, it has the envelope, which names one of the same (smtp_forward.c).  Words within JSON must not make other
 * JSON or other addresses of it, and what one says in a character set that is not known here, nobody can tell.
 */
static enum err undo_words(struct smtp_api *api, struct arena *a, struct fault *f)
{
    struct slice text = slice_trim(api->scan.text), decoded = mail_words(text, a);
    bool whole = slice_starts(text, "=?");
    if (decoded.p == NULL)
        return out_of_memory(f);
    if (mail_has_words(decoded) || (!whole && signs_in(decoded) != signs_in(text)))
        return wire_fault(f, FAULT_SYNTAX, FIELD,
                          FIELD ": an encoded word (=?...?=) in it holds quotes, backslashes or an address, or is in "
                                "another character set than UTF-8; write \\u escapes");
    if (whole) {
        api->scan.text = decoded;
        api->encoded = true;
        api->raw_start = api->n_folds = 0;
    }
    return OK;
}

/* --- reading ------------------------------------------------------------------------ */

static enum err read_to(struct smtp_api *api, struct fault *f)
{
    const struct json_scan *s = &api->scan;
    uint32_t to = api->root[SMTP_API_TO];
    if (to == JSON_NONE)
        return OK;
    if (!json_scan_is(s, to, JSON_KIND_ARRAY) || json_scan_count(s, to) == 0)
        return refuse_type(api, "to", to, "an array of at least one address", f);
    api->n_to = json_scan_count(s, to);
    if (api->n_to > LIMIT_RECIPIENTS)
        return wire_fault(f, FAULT_TOO_LONG, FIELD, "Too many recipients: %zu in " FIELD ", at most %u are taken",
                          api->n_to, LIMIT_RECIPIENTS);
    uint32_t *nodes = arena_calloc(s->arena, api->n_to, sizeof *nodes);
    size_t n = 0;
    if (nodes == NULL)
        return out_of_memory(f);
    for (uint32_t c = to + 1; c < s->nodes[to].next; c = s->nodes[c].next) {
        if (!json_scan_is(s, c, JSON_KIND_STRING))
            return refuse_type(api, "to", c, "a string", f);
        nodes[n++] = c;
    }
    api->to = nodes;
    return OK;
}

/* An array that goes with the recipients by index. */
static enum err check_row(const struct smtp_api *api, const char *key, uint32_t array, size_t n_rcpt, struct fault *f)
{
    size_t n = api->n_to == 0 ? n_rcpt : api->n_to;
    if (api->n_to == 0 && n_rcpt > 1)
        return wire_fault(f, FAULT_SYNTAX, FIELD,
                          FIELD ": \"%s\" goes by index with \"to\", and there is none; name the recipients in \"to\"",
                          key);
    if (!json_scan_is(&api->scan, array, JSON_KIND_ARRAY))
        return refuse_type(api, key, array, "an array with a value for each recipient", f);
    if (json_scan_count(&api->scan, array) != n)
        return wire_fault(f, FAULT_SYNTAX, FIELD,
                          FIELD ": an array in \"%s\" has %zu values for %zu recipients; give each one its own", key,
                          json_scan_count(&api->scan, array), n);
    return OK;
}

static enum err read_sub(const struct smtp_api *api, size_t n_rcpt, struct fault *f)
{
    const struct json_scan *s = &api->scan;
    uint32_t sub = api->root[SMTP_API_SUB];
    if (sub == JSON_NONE)
        return OK;
    if (!json_scan_is(s, sub, JSON_KIND_OBJECT))
        return refuse_type(api, "sub", sub, "an object of arrays", f);
    enum err err = OK;
    for (uint32_t c = sub + 1; c < s->nodes[sub].next && err == OK; c = s->nodes[c].next)
        err = check_row(api, "sub", c, n_rcpt, f);
    return err;
}

static enum err check_time(const struct smtp_api *api, const char *key, uint32_t node, struct fault *f)
{
    int64_t at_ms;
    if (!sendgrid_send_at(&api->scan, node, &at_ms))
        return refuse_type(api, key, node, "a whole number of seconds since 1970", f);
    if (at_ms > api->now_ms + SEND_AT_MAX_MS)
        return wire_fault(f, FAULT_SYNTAX, FIELD,
                          FIELD ": \"%s\": scheduling more than 72 hours in advance is forbidden", key);
    return OK;
}

static enum err read_times(const struct smtp_api *api, size_t n_rcpt, struct fault *f)
{
    const struct json_scan *s = &api->scan;
    uint32_t at = api->root[SMTP_API_SEND_AT], each = api->root[SMTP_API_SEND_EACH_AT];
    if (at != JSON_NONE && each != JSON_NONE)
        return wire_fault(f, FAULT_SYNTAX, FIELD, FIELD ": give \"send_at\" or \"send_each_at\", not both");
    enum err err = at == JSON_NONE ? OK : check_time(api, "send_at", at, f);
    if (each == JSON_NONE)
        return err;
    err = check_row(api, "send_each_at", each, n_rcpt, f);
    for (uint32_t c = each + 1; err == OK && c < s->nodes[each].next; c = s->nodes[c].next)
        err = check_time(api, "send_each_at", c, f);
    return err;
}

/* SendGrid's pages write 0 and 1; what is neither of the ways to say no, is taken for a yes. */
static bool is_set(const struct json_scan *s, uint32_t enable)
{
    struct slice raw = json_scan_raw(s, enable);
    return !slice_eq_cstr(raw, "0") && !slice_eq_cstr(raw, "\"0\"") && !slice_eq_cstr(raw, "false");
}

/* The filter's settings.enable when that is set; JSON_NONE. */
static enum err read_enable(const struct smtp_api *api, const char *name, uint32_t filter, uint32_t *out,
                            struct fault *f)
{
    uint32_t settings, enable = JSON_NONE;
    *out = JSON_NONE;
    if (filter == JSON_NONE)
        return OK;
    if (!json_scan_is(&api->scan, filter, JSON_KIND_OBJECT))
        return refuse_type(api, name, filter, "an object", f);
    enum err err = FIND(api, filter, settings_names, &settings, f);
    if (err != OK || settings == JSON_NONE)
        return err;
    if (!json_scan_is(&api->scan, settings, JSON_KIND_OBJECT))
        return refuse_type(api, "settings", settings, "an object", f);
    err = FIND(api, settings, enable_names, &enable, f);
    if (err == OK && enable != JSON_NONE && is_set(&api->scan, enable))
        *out = enable;
    return err;
}

static enum err read_filters(struct smtp_api *api, struct fault *f)
{
    uint32_t filters = api->root[SMTP_API_FILTERS], nodes[SMTP_API_FILTER_N], bcc;
    for (size_t i = 0; i < SMTP_API_BYPASSES; i++)
        api->enables[i] = JSON_NONE;
    if (filters == JSON_NONE)
        return OK;
    if (!json_scan_is(&api->scan, filters, JSON_KIND_OBJECT))
        return refuse_type(api, "filters", filters, "an object", f);
    enum err err = FIND(api, filters, filter_names, nodes, f);
    for (size_t i = 0; i < SMTP_API_BYPASSES && err == OK; i++)
        err = read_enable(api, filter_names[i], nodes[i], &api->enables[i], f);
    if (err == OK)
        err = read_enable(api, "bcc", nodes[SMTP_API_FILTER_BCC], &bcc, f);
    if (err == OK && bcc != JSON_NONE)
        return wire_fault(f, FAULT_SYNTAX, FIELD, FIELD ": the filter \"bcc\" adds a recipient; name it in \"to\"");
    return err;
}

enum err smtp_api_read(const struct mail_field *field, size_t n_rcpt, int64_t now_ms, struct arena *a,
                       struct smtp_api *out, struct fault *f)
{
    *out = (struct smtp_api){.field = field, .scan = {.arena = a}, .now_ms = now_ms};
    struct errmsg why;
    if (!unfold(out, a))
        return out_of_memory(f);
    enum err err = undo_words(out, a, f);
    if (err != OK)
        return err;
    err = json_scan_parse(&out->scan, out->scan.text, &why);
    if (err == ERR_LIMIT)
        return out_of_memory(f);
    if (err != OK)
        return wire_fault(f, FAULT_SYNTAX, FIELD, FIELD ": %s", why.text);
    if (!json_scan_is(&out->scan, 0, JSON_KIND_OBJECT))
        return wire_fault(f, FAULT_SYNTAX, FIELD, FIELD ": must be a JSON object");
    err = FIND(out, 0, root_names, out->root, f);
    if (err == OK)
        err = read_to(out, f);
    if (err == OK)
        err = read_sub(out, n_rcpt, f);
    if (err == OK)
        err = read_times(out, n_rcpt, f);
    return err != OK ? err : read_filters(out, f);
}

/* --- what it says --------------------------------------------------------------------- */

bool smtp_api_to(const struct smtp_api *api, size_t i, struct arena *a, struct slice *out)
{
    return json_scan_text(&api->scan, api->to[i], a, out);
}

static void tell_time(const struct smtp_api *api, uint32_t node, struct message *m)
{
    int64_t at_ms = 0;
    ignore(sendgrid_send_at(&api->scan, node, &at_ms)); /* it was checked when it was read */
    if (at_ms > api->now_ms && at_ms > m->not_before_ms)
        m->not_before_ms = at_ms;
}

static void mix(struct message *m, struct slice s)
{
    m->fingerprint = wire_mix(m->fingerprint, s);
}

/* A row at a time: who looked a message's elements up would walk each row a thousand times. */
void smtp_api_tell(const struct smtp_api *api, struct message *messages, size_t n)
{
    const struct json_scan *s = &api->scan;
    const struct json_node *nodes = s->nodes;
    uint32_t section = api->root[SMTP_API_SECTION], sub = api->root[SMTP_API_SUB];
    uint32_t at = api->root[SMTP_API_SEND_AT], each = api->root[SMTP_API_SEND_EACH_AT];
    for (size_t i = 0; i < n && at != JSON_NONE; i++)
        tell_time(api, at, &messages[i]);
    uint32_t c = each + 1;
    for (size_t i = 0; i < n && each != JSON_NONE; i++, c = nodes[c].next)
        tell_time(api, c, &messages[i]);
    for (size_t i = 0; i < n && section != JSON_NONE; i++)
        mix(&messages[i], json_scan_raw(s, section));
    for (uint32_t row = sub + 1; sub != JSON_NONE && row < nodes[sub].next; row = nodes[row].next) {
        struct slice key = {s->text.p + nodes[row].key_start, nodes[row].key_end - nodes[row].key_start};
        c = row + 1;
        for (size_t i = 0; i < n; i++, c = nodes[c].next) {
            mix(&messages[i], key);
            mix(&messages[i], json_scan_raw(s, c));
        }
    }
}

static enum err add_label(const struct smtp_api *api, uint32_t node, struct arena *a, struct parsed *out,
                          struct fault *f)
{
    if (!json_scan_is(&api->scan, node, JSON_KIND_STRING))
        return refuse_type(api, "category", node, "a string, or an array of strings", f);
    if (out->n_labels == CATEGORIES_MAX)
        return wire_fault(f, FAULT_SYNTAX, FIELD, FIELD ": a message can have %u categories", CATEGORIES_MAX);
    if (!json_scan_text(&api->scan, node, a, &out->labels[out->n_labels++]))
        return out_of_memory(f);
    return OK;
}

static enum err add_categories(const struct smtp_api *api, uint32_t node, struct arena *a, struct parsed *out,
                               struct fault *f)
{
    const struct json_scan *s = &api->scan;
    if (node == JSON_NONE)
        return OK;
    if (!json_scan_is(s, node, JSON_KIND_ARRAY))
        return add_label(api, node, a, out, f);
    enum err err = OK;
    for (uint32_t c = node + 1; c < s->nodes[node].next && err == OK; c = s->nodes[c].next)
        err = add_label(api, c, a, out, f);
    return err;
}

/* The first labels of all: there is room for them. */
enum err smtp_api_labels(const struct smtp_api *api, struct arena *a, struct parsed *out, struct fault *f)
{
    uint32_t asm_group = api->root[SMTP_API_ASM];
    uint64_t number;
    enum err err = add_categories(api, api->root[SMTP_API_CATEGORY], a, out, f);
    if (err == OK)
        err = add_categories(api, api->root[SMTP_API_CATEGORIES], a, out, f);
    if (err != OK || asm_group == JSON_NONE)
        return err;
    if (!json_scan_is(&api->scan, asm_group, JSON_KIND_NUMBER) ||
        !slice_to_u64(json_scan_raw(&api->scan, asm_group), INT64_MAX, &number))
        return refuse_type(api, "asm_group_id", asm_group, "a whole number", f);
    const char *label = arena_printf(a, "asm:%llu", (unsigned long long)number);
    out->labels[out->n_labels++] = slice_of(label);
    return label == NULL ? out_of_memory(f) : OK;
}

bool smtp_api_bypasses(const struct smtp_api *api)
{
    bool any = false;
    for (size_t i = 0; i < SMTP_API_BYPASSES; i++)
        any = any || api->enables[i] != JSON_NONE;
    return any;
}

/*
 * Strict reading and plain writing of the native API's JSON.
 *
 * Knows JSON and the vocabulary's words; knows no resource.  The one idea: the
 * first fault sticks in struct api_fault, so that a resource reads straight
 * through its members without a branch for each.
 */
#include "api_json.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "postern/hash.h"

#define WORD_OF(id, name) name,
static const char *const channel_words[] = {CHANNELS(WORD_OF)};
static const char *const priority_words[] = {PRIORITIES(WORD_OF)};
static const char *const source_words[] = {SOURCES(WORD_OF)};
static const char *const scope_words[] = {OPT_OUT_SCOPES(WORD_OF)};
static const char *const sender_words[] = {SENDERS(WORD_OF)};
#undef WORD_OF

const struct api_words api_channels = {channel_words, N_ELEMENTS(channel_words)};
const struct api_words api_priorities = {priority_words, N_ELEMENTS(priority_words)};
const struct api_words api_sources = {source_words, N_ELEMENTS(source_words)};
const struct api_words api_scopes = {scope_words, N_ELEMENTS(scope_words)};
const struct api_words api_sender_kinds = {sender_words, N_ELEMENTS(sender_words)};

/* --- faults -------------------------------------------------------------------------- */

PRINTF_LIKE(3, 0)
static void fault_set(struct api_fault *f, const char *field, const char *fmt, va_list args)
{
    char text[sizeof(f->why.text)];

    if (f->set)
        return;
    f->set = true;
    snprintf(f->field, sizeof(f->field), "%.*s", (int)sizeof(f->field) - 1, field); /* -O2 warns of a silent cut */
    vsnprintf(text, sizeof(text), fmt, args);
    errmsg_set(&f->why, "%s", text);
}

void api_fault_set(struct api_fault *f, const char *field, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fault_set(f, field, fmt, args);
    va_end(args);
}

void api_refuse(const struct api_object *o, const char *name, const char *fmt, ...)
{
    char field[2 * API_FIELD_MAX];
    va_list args;

    snprintf(field, sizeof(field), "%s%s", o->at, name);
    va_start(args, fmt);
    fault_set(o->fault, field, fmt, args);
    va_end(args);
}

void api_need(const struct api_object *o, const char *name, const char *hint)
{
    if (!api_has(o, name))
        api_refuse(o, name, "is missing: %s", hint);
}

char *api_list(struct api_words words, char out[API_LIST_MAX])
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < words.n; i++) {
        size_t need = strlen(words.word[i]) + 2;
        if (at + need + 4 > API_LIST_MAX) {
            snprintf(out + at, API_LIST_MAX - at, "...");
            break;
        }
        at += (size_t)snprintf(out + at, API_LIST_MAX - at, "%s%s", words.word[i], i + 1 < words.n ? ", " : "");
    }
    return out;
}

static bool find_word(struct api_words words, struct slice s, unsigned *out)
{
    for (unsigned i = 0; i < words.n; i++) {
        if (slice_eq_cstr(s, words.word[i])) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* --- reading ------------------------------------------------------------------------- */

static void check_members(const struct api_object *o, struct api_words known)
{
    const char *name;
    json_t *value;
    char list[API_LIST_MAX];
    unsigned i;

    json_object_foreach(o->json, name, value)
    {
        if (!find_word(known, slice_of(name), &i))
            api_refuse(o, name, "is not known here; known: %s", api_list(known, list));
    }
}

void api_object_open(struct api_object *o, struct json_t *json, struct api_words known, struct api_fault *fault)
{
    *o = (struct api_object){.json = json, .fault = fault};
    check_members(o, known);
}

bool api_object_in(const struct api_object *o, const char *name, struct api_object *out)
{
    json_t *json = api_member(o, name);

    *out = (struct api_object){.fault = o->fault};
    snprintf(out->at, sizeof(out->at), "%.60s%.60s.", o->at, name);
    if (json == NULL)
        return false;
    if (!json_is_object(json)) {
        api_refuse(o, name, "must be an object");
        return false;
    }
    out->json = json;
    return true;
}

bool api_object_in_of(const struct api_object *o, const char *name, struct api_words known, struct api_object *out)
{
    if (!api_object_in(o, name, out))
        return false;
    check_members(out, known);
    return true;
}

bool api_has(const struct api_object *o, const char *name)
{
    return json_object_get(o->json, name) != NULL;
}

struct json_t *api_member(const struct api_object *o, const char *name)
{
    json_t *v = json_object_get(o->json, name);
    return json_is_null(v) ? NULL : v;
}

static struct slice string_of(const struct api_object *o, const char *name, size_t max)
{
    const json_t *v = api_member(o, name);
    struct slice none = {0};

    if (v == NULL)
        return none;
    if (!json_is_string(v)) {
        api_refuse(o, name, "must be a string");
        return none;
    }
    struct slice s = {json_string_value(v), json_string_length(v)};
    if (s.n == 0)
        api_refuse(o, name, "is empty: leave it out instead");
    else if (s.n > max)
        api_refuse(o, name, "is %zu bytes long; at most %zu are taken", s.n, max);
    else
        return s;
    return none;
}

struct slice api_prose(const struct api_object *o, const char *name)
{
    return string_of(o, name, API_PROSE_MAX);
}

struct slice api_document(const struct api_object *o, const char *name, size_t max)
{
    return string_of(o, name, max);
}

struct slice api_text(const struct api_object *o, const char *name, size_t max)
{
    struct slice s = string_of(o, name, max);

    if (s.p == NULL || slice_is_clean(s))
        return s;
    api_refuse(o, name, "holds control characters");
    return (struct slice){0};
}

bool api_word(const struct api_object *o, const char *name, struct api_words words, unsigned *out)
{
    char list[API_LIST_MAX];
    struct slice s = api_text(o, name, API_NAME_MAX);

    if (s.p == NULL)
        return false;
    if (find_word(words, s, out))
        return true;
    api_refuse(o, name, "\"%.*s\" is not one of: %s", s.n < 40 ? (int)s.n : 40, s.p, api_list(words, list));
    return false;
}

bool api_flag(const struct api_object *o, const char *name)
{
    const json_t *v = api_member(o, name);

    if (v != NULL && !json_is_boolean(v))
        api_refuse(o, name, "must be true or false");
    return json_is_true(v);
}

bool api_time(const struct api_object *o, const char *name, int64_t *wall_ms)
{
    struct slice s = api_text(o, name, 64);

    if (s.p == NULL)
        return false;
    if (rfc3339_parse(s, wall_ms))
        return true;
    api_refuse(o, name, "\"%.*s\" is not an RFC 3339 time; write it like 2026-11-22T10:00:00Z", SLICE_ARG(s));
    return false;
}

const struct category *api_category(const struct api_object *o, const char *name, const struct policy *p)
{
    struct slice s = api_text(o, name, API_NAME_MAX);
    char list[API_LIST_MAX] = "";
    size_t at = 0;

    if (s.p == NULL)
        return NULL;
    for (size_t i = 0; i < p->n_categories; i++) {
        const char *known = p->categories[i].name;
        if (slice_eq_cstr(s, known))
            return &p->categories[i];
        if (at + strlen(known) + 3 < sizeof(list))
            at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", at > 0 ? ", " : "", known);
    }
    api_refuse(o, name, "\"%.*s\" is not a category; known: %s", s.n < 40 ? (int)s.n : 40, s.p, list);
    return NULL;
}

bool api_address(const struct api_object *o, const char *name, struct address *out)
{
    struct slice s = api_text(o, name, ADDRESS_TEXT_MAX);
    struct errmsg e;

    if (s.p == NULL)
        return false;
    if (address_parse(s, out, &e) == OK)
        return true;
    api_refuse(o, name, "%s", e.text);
    return false;
}

bool api_id_parse(struct slice text, const char *prefix, uint64_t *out)
{
    size_t n = strlen(prefix);
    uint8_t bytes[8];

    if (!slice_starts(text, prefix) || !hash_unhex((struct slice){text.p + n, text.n - n}, bytes, sizeof(bytes)))
        return false;
    *out = 0;
    for (size_t i = 0; i < sizeof(bytes); i++)
        *out = *out << 8 | bytes[i];
    return true;
}

/* --- writing ------------------------------------------------------------------------- */

/* A value never ends in an opening bracket: strings end in '"'. */
static void comma(struct buf *b)
{
    if (b->n > 0 && b->p[b->n - 1] != '{' && b->p[b->n - 1] != '[' && b->p[b->n - 1] != ':')
        buf_add(b, ",", 1);
}

void api_put_open(struct buf *b, char bracket)
{
    comma(b);
    buf_add(b, &bracket, 1);
}

void api_put_close(struct buf *b, char bracket)
{
    buf_add(b, &bracket, 1);
}

void api_put_name(struct buf *b, const char *name)
{
    comma(b);
    buf_add_json(b, slice_of(name));
    buf_add(b, ":", 1);
}

void api_put_in(struct buf *b, const char *name, char bracket)
{
    api_put_name(b, name);
    buf_add(b, &bracket, 1);
}

void api_put_item(struct buf *b, struct slice text)
{
    comma(b);
    buf_add_json(b, text);
}

void api_put_text(struct buf *b, const char *name, struct slice text)
{
    api_put_name(b, name);
    if (text.n == 0)
        buf_add_cstr(b, "null");
    else
        buf_add_json(b, text);
}

void api_put_word(struct buf *b, const char *name, const char *word)
{
    api_put_text(b, name, slice_of(word));
}

void api_put_number(struct buf *b, const char *name, int64_t value)
{
    api_put_name(b, name);
    buf_printf(b, "%lld", (long long)value);
}

void api_put_flag(struct buf *b, const char *name, bool value)
{
    api_put_name(b, name);
    buf_add_cstr(b, value ? "true" : "false");
}

void api_put_time(struct buf *b, const char *name, int64_t wall_ms)
{
    char text[RFC3339_MAX];
    bool never_ = wall_ms == 0 || wall_ms == INT64_MAX;
    api_put_word(b, name, never_ ? NULL : rfc3339_format(wall_ms, text));
}

void api_put_id(struct buf *b, const char *name, const char *prefix, uint64_t id)
{
    api_put_name(b, name);
    if (id == 0)
        buf_add_cstr(b, "null");
    else
        buf_printf(b, "\"%s%016llx\"", prefix, (unsigned long long)id);
}

static void put_channel(struct buf *b, bool any, enum channel channel)
{
    api_put_word(b, "channel", any ? NULL : channel_name(channel));
}

void api_put_opt_outs(struct buf *b, const char *name, const struct opt_out *o, size_t n)
{
    api_put_in(b, name, '[');
    for (size_t i = 0; i < n; i++) {
        api_put_open(b, '{');
        api_put_word(b, "scope", opt_out_scope_name(o[i].scope));
        put_channel(b, o[i].any_channel || o[i].scope < SCOPE_CHANNEL, o[i].channel);
        api_put_text(b, "category", o[i].category);
        api_put_text(b, "topic", o[i].topic);
        api_put_text(b, "sender", o[i].sender);
        api_put_word(b, "source", source_name(o[i].source));
        api_put_time(b, "at", o[i].at_ms);
        api_put_close(b, '}');
    }
    api_put_close(b, ']');
}

const char *api_consent_state(enum consent_state s)
{
    switch (s) {
    case CONSENT_GRANTED:
        return "granted";
    case CONSENT_REVOKED:
        return "revoked";
    case CONSENT_PENDING:
        return "pending";
    }
    never("a consent's state");
}

void api_put_consents(struct buf *b, const char *name, const struct consent *c, size_t n)
{
    api_put_in(b, name, '[');
    for (size_t i = 0; i < n; i++) {
        api_put_open(b, '{');
        put_channel(b, c[i].any_channel, c[i].channel);
        api_put_text(b, "category", c[i].category);
        api_put_word(b, "scope", c[i].night ? "night" : NULL);
        api_put_text(b, "basis", c[i].basis);
        api_put_word(b, "state", api_consent_state(c[i].state));
        api_put_word(b, "source", source_name(c[i].source));
        api_put_time(b, "at", c[i].at_ms);
        api_put_time(b, "expires_at", c[i].expires_at_ms);
        api_put_close(b, '}');
    }
    api_put_close(b, ']');
}

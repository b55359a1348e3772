/*
 * Values of preferences, JSON to canonical text and back.
 *
 * One row a key says of what form its value is; one function a form reads it and
 * one writes it.  What the values mean is the policy's; only hours are checked by
 * its parser, so that nothing is kept that the rules cannot read.
 */
#include "api_preferences.h"

#include <jansson.h>
#include <stdio.h>

#include "place.h"
#include "postern/zone.h"

#define HOURS_MAX    512u
#define LANGUAGE_MAX 35u /* RFC 5646 section 4.4.1: no registered tag is longer */
#define WORD_MAX     32u

enum form {
    FORM_CHANNEL,
    FORM_CHANNELS,
    FORM_DAYS,
    FORM_HOURS,
    FORM_NUMBER,
    FORM_WORD,
    FORM_LANGUAGE,
    FORM_ZONE,
    FORM_REGION
};

static const char *const digests[] = {"none", "daily", "weekly"};
static const char *const formats[] = {"concise", "detailed"};
static const char *const notifies[] = {"all", "summary", "action"};
static const char *const urgencies[] = {"none", "P0", "P1"};
static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
static const char *const confidences[] = {"low", "medium", "high"};
const struct api_words api_confidences = {confidences, N_ELEMENTS(confidences)};

/* words: those allowed; n == 0: any word */
static const struct {
    enum form form;
    struct api_words words;
} forms[PREFERENCE_N] = {
    [PREFERENCE_CHANNEL_PRIMARY] = {FORM_CHANNEL, {NULL, 0}},
    [PREFERENCE_CHANNEL_FALLBACK] = {FORM_CHANNEL, {NULL, 0}},
    [PREFERENCE_CHANNEL_NEVER] = {FORM_CHANNELS, {NULL, 0}},
    [PREFERENCE_HOURS] = {FORM_HOURS, {NULL, 0}},
    [PREFERENCE_DAYS_NEVER] = {FORM_DAYS, {days, N_ELEMENTS(days)}},
    [PREFERENCE_MAX_PER_DAY] = {FORM_NUMBER, {NULL, 0}},
    [PREFERENCE_MAX_PER_WEEK] = {FORM_NUMBER, {NULL, 0}},
    [PREFERENCE_MAX_PER_MONTH] = {FORM_NUMBER, {NULL, 0}},
    [PREFERENCE_DIGEST] = {FORM_WORD, {digests, N_ELEMENTS(digests)}},
    [PREFERENCE_LANGUAGE] = {FORM_LANGUAGE, {NULL, 0}},
    [PREFERENCE_FORMAT] = {FORM_WORD, {formats, N_ELEMENTS(formats)}},
    [PREFERENCE_FORMALITY] = {FORM_WORD, {NULL, 0}},
    [PREFERENCE_TECHNICAL_DEPTH] = {FORM_WORD, {NULL, 0}},
    [PREFERENCE_NOTIFY] = {FORM_WORD, {notifies, N_ELEMENTS(notifies)}},
    [PREFERENCE_URGENCY_OVERRIDE] = {FORM_WORD, {urgencies, N_ELEMENTS(urgencies)}},
    [PREFERENCE_ZONE] = {FORM_ZONE, {NULL, 0}},
    [PREFERENCE_REGION] = {FORM_REGION, {NULL, 0}},
};

static struct slice nothing(void)
{
    return (struct slice){0};
}

/* --- reading ------------------------------------------------------------------------- */

static struct slice read_word(const struct api_object *o, const char *name, struct api_words words)
{
    struct slice s = api_text(o, name, WORD_MAX);
    unsigned i;

    if (s.p == NULL)
        return nothing();
    if (words.n > 0)
        return api_word(o, name, words, &i) ? s : nothing();
    for (size_t k = 0; k < s.n; k++) {
        if (!((s.p[k] >= 'a' && s.p[k] <= 'z') || (s.p[k] >= '0' && s.p[k] <= '9') || s.p[k] == '-' || s.p[k] == '_')) {
            api_refuse(o, name, "must be a word of a-z, 0-9, - and _");
            return nothing();
        }
    }
    return s;
}

/* The words of an array, each once, in the order of the table, joined by commas. */
static struct slice read_list(const struct api_object *o, const char *name, struct api_words words, struct arena *a)
{
    const json_t *v = api_member(o, name), *item;
    char list[API_LIST_MAX];
    uint32_t set = 0;
    size_t i;
    struct buf b;

    if (!json_is_array(v)) {
        api_refuse(o, name, "must be an array of: %s", api_list(words, list));
        return nothing();
    }
    json_array_foreach(v, i, item)
    {
        unsigned w = 0;
        struct slice s = slice_of(json_string_value(item));
        while (w < words.n && !slice_eq_cstr(s, words.word[w]))
            w++;
        if (w == words.n) {
            api_refuse(o, name, "item %zu is not one of: %s", i, api_list(words, list));
            return nothing();
        }
        set |= 1u << w;
    }
    buf_init(&b, a, 256);
    for (unsigned w = 0; w < words.n; w++) {
        if (set >> w & 1)
            buf_printf(&b, "%s%s", b.n > 0 ? "," : "", words.word[w]);
    }
    return buf_slice(&b);
}

static struct slice read_number(const struct api_object *o, const char *name, struct arena *a)
{
    const json_t *v = api_member(o, name);

    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX) {
        api_refuse(o, name, "must be a whole number, 0 or more (0: none may be sent), or null for no limit");
        return nothing();
    }
    return slice_of(arena_printf(a, "%lld", (long long)json_integer_value(v)));
}

/* RFC 5646, its form only: subtags of 1 to 8 letters or digits, the first of 2 to 8 letters. */
static struct slice read_language(const struct api_object *o, const char *name)
{
    struct slice s = api_text(o, name, LANGUAGE_MAX);
    size_t length = 0, letters = 0, subtag = 0;
    bool good = true;

    for (size_t i = 0; i <= s.n && s.p != NULL; i++) {
        char c = i < s.n ? s.p[i] : '-';
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (c == '-') {
            good = good && length >= 1 && length <= 8 && (subtag > 0 || (letters == length && length >= 2));
            subtag++;
            length = letters = 0;
            continue;
        }
        good = good && (letter || (c >= '0' && c <= '9'));
        length++;
        letters += letter;
    }
    if (good)
        return s;
    api_refuse(o, name, "\"%.*s\" is not a language tag; write it like en, pt-BR or zh-Hant", SLICE_ARG(s));
    return nothing();
}

static struct slice read_zone(const struct api_object *o, const char *name, struct arena *a)
{
    struct slice s = api_text(o, name, ZONE_NAME_MAX - 1);
    const char *text = s.p != NULL ? arena_strndup(a, s.p, s.n) : NULL;

    if (text == NULL)
        return nothing();
    if (zone_get(text) != NULL)
        return s;
    const char *near = zone_suggest(text);
    api_refuse(o, name, "\"%s\" is not a time zone of the IANA database%s%s%s", text,
               near != NULL ? "; did you mean \"" : "", near != NULL ? near : "", near != NULL ? "\"?" : "");
    return nothing();
}

/* As ISO 3166 writes it; a territory that is also part of a country is kept as that part. */
static struct slice read_region(const struct api_object *o, const char *name, struct arena *a)
{
    struct slice s = api_text(o, name, REGION_MAX - 1);
    struct region region;
    char text[REGION_MAX];

    if (s.p == NULL)
        return nothing();
    if (place_region(s, &region))
        return slice_of(arena_printf(a, "%s", region_format(&region, text)));
    api_refuse(o, name, "\"%.*s\" is no region: write a country (FR), or a state or province (US-FL), as ISO 3166 does",
               SLICE_ARG(s));
    return nothing();
}

static bool only_of(struct slice s, const char *allowed)
{
    return s.n > 0 && strspn(s.p, allowed) == s.n; /* jansson's strings end in NUL and hold none */
}

/* One "08:00-12:00" or "none" of a day, after a comma when it is not the day's first. */
static bool add_window(const struct api_object *hours, const char *day, const json_t *v, bool first, struct buf *b)
{
    struct slice s = slice_of(json_string_value(v));

    if (!only_of(s, "0123456789:-,") && !slice_eq_cstr(s, "none")) {
        api_refuse(hours, day, "must be a window like \"08:00-18:00\", an array of such, or \"none\"");
        return false;
    }
    buf_add_cstr(b, first ? " " : ",");
    buf_add_slice(b, s);
    return true;
}

static bool add_day(const struct api_object *hours, const char *day, const json_t *v, struct buf *b)
{
    const json_t *item;
    size_t i;

    if (!only_of(slice_of(day), "abcdefghijklmnopqrstuvwxyz0123456789-,")) {
        api_refuse(hours, day, "is not a day: write mon, a range like mon-fri, several like mon,wed, or holidays");
        return false;
    }
    buf_printf(b, "%s%s", b->n > 0 ? "; " : "", day);
    if (!json_is_array(v))
        return add_window(hours, day, v, true, b);
    json_array_foreach(v, i, item)
    {
        if (!add_window(hours, day, item, i == 0, b))
            return false;
    }
    return true;
}

static struct slice read_hours(const struct api_object *o, const char *name, struct arena *a)
{
    struct api_object hours;
    struct window_set set;
    struct errmsg e;
    struct buf b;
    const char *day;
    json_t *v;

    if (!api_object_in(o, name, &hours))
        return nothing();
    buf_init(&b, a, HOURS_MAX);
    json_object_foreach(hours.json, day, v)
    {
        if (!add_day(&hours, day, v, &b))
            return nothing();
    }
    if (b.failed) {
        api_refuse(o, name, "states more than fits into %u bytes", HOURS_MAX);
        return nothing();
    }
    /* No arena: dates are refused, as the rules cannot read them in a preference. */
    if (window_parse(buf_slice(&b), WINDOW_ALLOWED, NULL, &set, &e) != OK) {
        api_refuse(o, name, "%s", e.text);
        return nothing();
    }
    return buf_slice(&b);
}

struct slice api_preference_read(const struct api_object *o, const char *name, enum preference_key key, struct arena *a)
{
    if (api_member(o, name) == NULL)
        return (struct slice){0};
    switch (forms[key].form) {
    case FORM_CHANNEL:
        return read_word(o, name, api_channels);
    case FORM_CHANNELS:
        return read_list(o, name, api_channels, a);
    case FORM_DAYS:
        return read_list(o, name, forms[key].words, a);
    case FORM_HOURS:
        return read_hours(o, name, a);
    case FORM_NUMBER:
        return read_number(o, name, a);
    case FORM_WORD:
        return read_word(o, name, forms[key].words);
    case FORM_LANGUAGE:
        return read_language(o, name);
    case FORM_ZONE:
        return read_zone(o, name, a);
    case FORM_REGION:
        return read_region(o, name, a);
    }
    never("a form");
}

/* --- writing ------------------------------------------------------------------------- */

static struct slice cut(struct slice *rest, char at)
{
    const char *end = rest->n > 0 ? memchr(rest->p, at, rest->n) : NULL;
    size_t n = end != NULL ? (size_t)(end - rest->p) : rest->n;
    struct slice first = {rest->p, n};
    *rest = end != NULL ? (struct slice){end + 1, rest->n - n - 1} : (struct slice){0};
    return slice_trim(first);
}

static void write_list(struct buf *b, struct slice text)
{
    api_put_open(b, '[');
    while (text.n > 0)
        api_put_item(b, cut(&text, ','));
    api_put_close(b, ']');
}

/* "mon-fri 08:00-12:00,13:00-18:00; sat 09:00-12:00" as {"mon-fri": [...], "sat": "09:00-12:00"} */
static void write_hours(struct buf *b, struct slice text)
{
    api_put_open(b, '{');
    while (text.n > 0) {
        struct slice windows = cut(&text, ';');
        struct slice day = cut(&windows, ' ');
        api_put_item(b, day);
        buf_add(b, ":", 1);
        if (windows.n > 0 && memchr(windows.p, ',', windows.n) != NULL)
            write_list(b, windows);
        else
            buf_add_json(b, windows);
    }
    api_put_close(b, '}');
}

void api_preference_value(struct buf *b, enum preference_key key, struct slice text)
{
    if (text.n == 0) {
        buf_add_cstr(b, "null");
        return;
    }
    switch (forms[key].form) {
    case FORM_CHANNELS:
    case FORM_DAYS:
        write_list(b, text);
        return;
    case FORM_HOURS:
        write_hours(b, text);
        return;
    case FORM_NUMBER:
        buf_add_slice(b, text);
        return;
    case FORM_CHANNEL:
    case FORM_WORD:
    case FORM_LANGUAGE:
    case FORM_ZONE:
    case FORM_REGION:
        buf_add_json(b, text);
        return;
    }
    never("a form");
}

static const char *confidence_name(enum confidence c)
{
    ensure((size_t)c < N_ELEMENTS(confidences));
    return confidences[c];
}

static const char *authority_name(enum authority a)
{
    static const char *const names[] = {
#define X(id, name) name,
        AUTHORITIES(X)
#undef X
    };
    ensure((size_t)a < N_ELEMENTS(names));
    return names[a];
}

void api_preference_put(struct buf *b, const struct preference *p)
{
    api_put_name(b, "value");
    api_preference_value(b, p->key, p->text);
    api_put_word(b, "source", source_name(p->source));
    api_put_text(b, "system", p->system);
    api_put_word(b, "confidence", confidence_name(p->confidence));
    api_put_word(b, "authority", authority_name(p->authority));
    api_put_number(b, "version", p->version);
    api_put_time(b, "updated_at", p->at_ms);
}

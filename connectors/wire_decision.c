/*
 * How a decision is told to an application: fields, the object "postern", one
 * sentence.  Knows no provider's shape.  The one idea: some SDKs keep a single
 * string of an answer, so the sentence alone holds code, reason, prompt and token.
 */
#include "wire.h"

#include <stdio.h>

#include "postern/civil.h"

#define DECISION_IDS_MAX 20 /* in X-Postern-Decision-Id */

static bool is_overridable(const struct answer *a)
{
    return a->decision->outcome == OUTCOME_SOFT_BLOCK && a->decision->overridable;
}

enum wire_fate wire_fate(const struct send_report *r, const struct answer *a)
{
    switch (a->decision->outcome) {
    case OUTCOME_SOFT_BLOCK:
    case OUTCOME_BLOCK:
        return FATE_BLOCKED;
    case OUTCOME_DEFER:
    case OUTCOME_DIGEST:
    case OUTCOME_HOLD:
        return r->partial_reject ? FATE_REFUSED : FATE_KEPT;
    case OUTCOME_FORWARD:
    case OUTCOME_REDIRECT:
    case OUTCOME_N:
        break;
    }
    if (r->partial_reject)
        return FATE_REFUSED;
    if (a->recipient != NULL)
        return a->recipient->code / 100 == 2 ? FATE_FORWARDED : FATE_REFUSED;
    if (r->provider != NULL)
        return r->provider->status < 400 ? FATE_FORWARDED : FATE_REFUSED;
    return r->unknown ? FATE_UNKNOWN : FATE_KEPT;
}

/* How much an answer's voice counts: a refusal speaks for the whole, then what is kept. */
static int fate_rank(enum wire_fate f)
{
    switch (f) {
    case FATE_BLOCKED:
        return 4;
    case FATE_KEPT:
        return 3;
    case FATE_UNKNOWN:
        return 2;
    case FATE_FORWARDED:
        return 1;
    case FATE_REFUSED:
        break;
    }
    return 0;
}

void wire_tally(const struct send_report *r, struct wire_tally *out)
{
    *out = (struct wire_tally){0};
    int rank = -1;
    for (size_t i = 0; i < r->n_answers; i++) {
        const struct answer *a = &r->answers[i];
        enum wire_fate fate = wire_fate(r, a);
        out->forwarded += fate == FATE_FORWARDED;
        out->kept += fate == FATE_KEPT;
        out->unknown += fate == FATE_UNKNOWN;
        out->blocked += fate == FATE_BLOCKED;
        out->refused += fate == FATE_REFUSED;
        out->overridable += fate == FATE_BLOCKED && is_overridable(a);
        int64_t release = fate == FATE_KEPT ? a->decision->release_at_ms : 0;
        if (release != 0 && (out->release_at_ms == 0 || release < out->release_at_ms))
            out->release_at_ms = release;
        int own = fate_rank(fate) + (fate == FATE_BLOCKED && !is_overridable(a));
        if (own > rank) {
            rank = own;
            out->speaks = a;
        }
    }
}

/* --- words ------------------------------------------------------------------------ */

char *wire_code(const struct send_report *r, const struct answer *a, char out[PST_CODE_MAX])
{
    bool passes = a->decision->outcome == OUTCOME_FORWARD || a->decision->outcome == OUTCOME_REDIRECT;
    if (r != NULL && passes && wire_fate(r, a) == FATE_KEPT)
        text_add(out, PST_CODE_MAX, 0, SLICE("PST-UPSTREAM-DOWN"));
    else
        decision_code(a->decision, out);
    return out;
}

static const char *outcome_word(const struct answer *a, enum wire_fate fate)
{
    switch (fate) {
    case FATE_FORWARDED:
        return a->decision->outcome == OUTCOME_REDIRECT ? "redirected" : "forwarded";
    case FATE_KEPT:
        if (a->decision->outcome == OUTCOME_DIGEST)
            return "digest";
        return a->decision->outcome == OUTCOME_HOLD ? "held" : "deferred";
    case FATE_UNKNOWN:
        return "unknown";
    case FATE_BLOCKED:
        return "blocked";
    case FATE_REFUSED:
        return "refused";
    }
    return "refused";
}

/* A soft block beside a hard violation cannot be overridden: to the application it is hard. */
static const char *level_word(const struct answer *a)
{
    bool hard = a->decision->outcome == OUTCOME_SOFT_BLOCK && !a->decision->overridable;
    return level_name(hard ? LEVEL_HARD : a->decision->level);
}

static const char *detail_of(const struct decision *d)
{
    for (size_t i = 0; i < d->n_violations; i++) {
        if (d->violations[i].reason == d->reason && !d->violations[i].shadow)
            return d->violations[i].detail;
    }
    return "";
}

char *wire_reason(const struct answer *a, char out[WIRE_REASON_MAX])
{
    const char *detail = detail_of(a->decision);
    /* DETAIL_MAX and the longest sentence fit. */
    size_t n = text_add(out, WIRE_REASON_MAX, 0, slice_of(reason_sentence(a->decision->reason)));
    n = text_add(out, WIRE_REASON_MAX, n, slice_of(detail[0] == '\0' ? "" : ": "));
    text_add(out, WIRE_REASON_MAX, n, slice_of(detail));
    return out;
}

/* The first n bytes at most, no character cut in two. */
static size_t utf8_cut(const char *s, size_t n)
{
    size_t length = strlen(s);
    if (length <= n)
        return length;
    while (n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80)
        n--;
    return n;
}

char *wire_text(const struct answer *a, char out[WIRE_TEXT_MAX])
{
    static const char before[] = "Blocked by customer preference (", between[] = "): ";
    char code[PST_CODE_MAX], reason[WIRE_REASON_MAX], tail[PROMPT_MAX + TOKEN_MAX + 32] = "";
    wire_code(NULL, a, code);
    wire_reason(a, reason);
    if (is_overridable(a))
        snprintf(tail, sizeof tail, ".%s%s%s%s", a->prompt[0] == '\0' ? "" : " ", a->prompt, /* fits */
                 a->token[0] == '\0' ? "" : " Override token ", a->token);
    size_t n = text_add(out, WIRE_TEXT_MAX, 0, SLICE(before));
    n = text_add(out, WIRE_TEXT_MAX, n, slice_of(code));
    n = text_add(out, WIRE_TEXT_MAX, n, SLICE(between));
    size_t room = WIRE_TEXT_MAX - 1 - n - strlen(tail); /* all but the reason fits */
    n = text_add(out, WIRE_TEXT_MAX, n, (struct slice){reason, utf8_cut(reason, room)});
    text_add(out, WIRE_TEXT_MAX, n, slice_of(tail));
    return out;
}

bool wire_is_overridable(const struct send_report *r, const struct answer *a)
{
    return wire_fate(r, a) == FATE_BLOCKED && is_overridable(a) && a->token[0] != '\0';
}

char *wire_texts(const struct send_report *r, const struct answer *speaks, char out[WIRE_TEXTS_MAX])
{
    size_t named = 0, more = 0, n = strlen(wire_text(speaks, out)), alone = n;
    for (size_t i = 0; i < r->n_answers; i++) {
        const struct answer *a = &r->answers[i];
        if (!wire_is_overridable(r, a))
            continue;
        if (named == WIRE_TOKENS_MAX) {
            more++;
            continue;
        }
        n = text_add(out, WIRE_TEXTS_MAX, n, slice_of(named++ == 0 ? "; for each: " : ", "));
        n = text_add(out, WIRE_TEXTS_MAX, n, a->message->to_text);
        n = text_add(out, WIRE_TEXTS_MAX, n, SLICE(": "));
        n = text_add(out, WIRE_TEXTS_MAX, n, slice_of(a->token));
    }
    if (named + more < 2)
        out[alone] = '\0'; /* the sentence holds the only one */
    else if (more > 0)
        snprintf(out + n, WIRE_TEXTS_MAX - n, " and %zu more", more);
    return out;
}

/* --- the object "postern" ----------------------------------------------------------- */

static void add_string(struct buf *b, const char *name, struct slice value)
{
    buf_add(b, ",\"", 2);
    buf_add_cstr(b, name);
    buf_add(b, "\":", 2);
    buf_add_json(b, value);
}

static void add_time(struct buf *b, const char *name, int64_t wall_ms)
{
    char text[RFC3339_MAX];
    if (wall_ms != 0)
        buf_printf(b, ",\"%s\":\"%s\"", name, rfc3339_format(wall_ms, text));
}

static void add_override(struct buf *b, const struct send_report *r, const struct answer *a)
{
    buf_add_cstr(b, ",\"override\":{\"allowed\":true");
    if (a->token[0] != '\0')
        add_string(b, "token", slice_of(a->token));
    if (r->public_url.n > 0) {
        buf_add_cstr(b, ",\"url\":\"");
        buf_add_slice(b, r->public_url);
        buf_printf(b, "/o/%s\"", a->id);
    }
    add_time(b, "expires", a->token_expires_at_ms);
    add_string(b, "prompt", slice_of(a->prompt));
    buf_add_cstr(b, "}");
}

void wire_add_decision(struct buf *b, const struct send_report *r, const struct answer *a)
{
    char code[PST_CODE_MAX], reason[WIRE_REASON_MAX];
    enum wire_fate fate = wire_fate(r, a);
    buf_add_cstr(b, "{\"decision_id\":");
    buf_add_json(b, slice_of(a->id));
    add_string(b, "outcome", slice_of(outcome_word(a, fate)));
    add_string(b, "level", slice_of(level_word(a)));
    add_string(b, "code", slice_of(wire_code(r, a, code)));
    add_string(b, "recipient", a->message->to_text);
    add_string(b, "reason", slice_of(wire_reason(a, reason)));
    if (fate == FATE_KEPT)
        add_time(b, "release_at", a->decision->release_at_ms);
    if (fate == FATE_BLOCKED && is_overridable(a)) {
        add_time(b, "passes_at", a->decision->release_at_ms);
        add_override(b, r, a);
    }
    buf_add_cstr(b, "}");
}

static void add_list(struct buf *b, const struct send_report *r, const char *name, enum wire_fate fate)
{
    buf_printf(b, ",\"%s\":[", name);
    const char *comma = "";
    for (size_t i = 0; i < r->n_answers; i++) {
        if (wire_fate(r, &r->answers[i]) != fate)
            continue;
        buf_add_cstr(b, comma);
        wire_add_decision(b, r, &r->answers[i]);
        comma = ",";
    }
    buf_add_cstr(b, "]");
}

/* One word when all fared alike, else "partial". */
static const char *whole_word(const struct send_report *r, const struct wire_tally *t)
{
    const char *word = outcome_word(t->speaks, wire_fate(r, t->speaks));
    if (r->partial_reject)
        return word;
    for (size_t i = 0; i < r->n_answers; i++) {
        if (strcmp(word, outcome_word(&r->answers[i], wire_fate(r, &r->answers[i]))) != 0)
            return "partial";
    }
    return word;
}

void wire_add_postern(struct buf *b, const struct send_report *r, const struct wire_tally *t)
{
    if (r->n_answers == 1) {
        wire_add_decision(b, r, t->speaks);
        return;
    }
    char code[PST_CODE_MAX];
    buf_add_cstr(b, "{\"decision_id\":");
    buf_add_json(b, slice_of(t->speaks->id));
    add_string(b, "outcome", slice_of(whole_word(r, t)));
    add_string(b, "level", slice_of(level_word(t->speaks)));
    add_string(b, "code", slice_of(wire_code(r, t->speaks, code)));
    buf_printf(b, ",\"forwarded\":%zu", t->forwarded);
    add_list(b, r, "blocked", FATE_BLOCKED);
    add_list(b, r, "deferred", FATE_KEPT);
    buf_add_cstr(b, "}");
}

/* --- fields ----------------------------------------------------------------------------- */

/* Every value below is put together here, from words of ours. */
static void add_field(struct wire_reply *reply, struct arena *a, const char *name, const char *value)
{
    wire_reply_add(reply, name, arena_slice(a, slice_of(value)));
}

static void add_count(struct wire_reply *reply, struct arena *a, const char *name, size_t n)
{
    char text[24];
    snprintf(text, sizeof text, "%zu", n);
    add_field(reply, a, name, text);
}

static void add_ids(struct wire_reply *reply, const struct send_report *r, struct arena *a)
{
    struct buf ids;
    buf_init(&ids, a, (size_t)DECISION_IDS_MAX * (DECISION_ID_MAX + 1));
    for (size_t i = 0; i < r->n_answers && i < DECISION_IDS_MAX; i++) {
        if (i > 0)
            buf_add(&ids, ",", 1);
        buf_add_cstr(&ids, r->answers[i].id);
    }
    wire_reply_add(reply, "X-Postern-Decision-Id", buf_slice(&ids));
}

/* Of several recipients a list, in their order. */
static void add_tokens(struct wire_reply *reply, const struct send_report *r, struct arena *a)
{
    struct buf tokens;
    buf_init(&tokens, a, (size_t)DECISION_IDS_MAX * (TOKEN_MAX + 1));
    size_t n = 0;
    for (size_t i = 0; i < r->n_answers && n < DECISION_IDS_MAX; i++) {
        if (!wire_is_overridable(r, &r->answers[i]))
            continue;
        if (n++ > 0)
            buf_add(&tokens, ",", 1);
        buf_add_cstr(&tokens, r->answers[i].token);
    }
    wire_reply_add(reply, "X-Postern-Override-Token", buf_slice(&tokens));
}

static void add_override_fields(struct wire_reply *reply, const struct send_report *r, struct arena *a,
                                const struct answer *answer)
{
    char prompt[PROMPT_MAX];
    snprintf(prompt, sizeof prompt, "%s", answer->prompt);
    for (char *p = prompt; *p != '\0'; p++) {
        if (*p < 0x20 || *p > 0x7E)
            *p = '?';
    }
    if (answer->token[0] != '\0')
        add_tokens(reply, r, a);
    add_field(reply, a, "X-Postern-Override-Prompt", prompt);
}

enum err wire_add_fields(struct wire_reply *reply, const struct send_report *r, const struct wire_tally *t,
                         struct arena *a)
{
    char code[PST_CODE_MAX], time[RFC3339_MAX];
    size_t before = reply->n_fields, wanted = 4;
    const char *word = whole_word(r, t);
    add_ids(reply, r, a);
    add_field(reply, a, "X-Postern-Outcome", word);
    add_field(reply, a, "X-Postern-Level", level_word(t->speaks));
    add_field(reply, a, "X-Postern-Code", wire_code(r, t->speaks, code));
    if (is_overridable(t->speaks)) {
        add_override_fields(reply, r, a, t->speaks);
        wanted += t->speaks->token[0] != '\0' ? 2 : 1;
    }
    if (t->release_at_ms != 0) {
        add_field(reply, a, "X-Postern-Release-At", rfc3339_format(t->release_at_ms, time));
        wanted++;
    }
    if (strcmp(word, "partial") == 0) {
        add_count(reply, a, "X-Postern-Forwarded", t->forwarded);
        add_count(reply, a, "X-Postern-Blocked", t->blocked);
        add_count(reply, a, "X-Postern-Deferred", t->kept);
        wanted += 3;
    }
    return reply->n_fields < before + wanted ? ERR_LIMIT : OK;
}

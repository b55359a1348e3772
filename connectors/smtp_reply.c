/*
 * What the client hears, as replies of RFC 5321 section 4.2 with codes of RFC 3463.
 * One reply stands for all recipients, and a client may lose every line of it but
 * the last: so the last line alone says what matters.  Knows nothing of sockets.
 * The one idea: each line is built here, from words that were cleaned to ASCII.
 */
#include "smtp.h"

#include <stdarg.h>
#include <stdio.h>

#include "postern/civil.h"

#define LINE_TEXT_MAX 506u /* RFC 5321 section 4.5.3.1.5: 512 bytes, with the code and CRLF */
#define REPLY_MAX     8192u

/* --- lines ---------------------------------------------------------------------- */

enum line { LINE_MORE, LINE_LAST };

void smtp_add_clean(struct buf *b, struct slice text)
{
    size_t from = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c >= ' ' && c <= 0x7E)
            continue;
        buf_add(b, text.p + from, i - from);
        if ((c & 0xC0) != 0x80)
            buf_add(b, c > 0x7E ? "?" : " ", 1);
        from = i + 1;
    }
    if (text.n > from)
        buf_add(b, text.p + from, text.n - from);
}

static void add_text(struct buf *b, int code, enum line line, struct slice text)
{
    buf_add_u64(b, (uint64_t)code);
    buf_add(b, line == LINE_LAST ? " " : "-", 1);
    smtp_add_clean(b, (struct slice){text.p, text.n < LINE_TEXT_MAX ? text.n : LINE_TEXT_MAX});
    buf_add(b, "\r\n", 2);
}

static void PRINTF_LIKE(4, 5) add_line(struct buf *b, int code, enum line line, const char *fmt, ...)
{
    char text[2 * LINE_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args); /* what does not fit is cut below anyway */
    va_end(args);
    add_text(b, code, line, slice_of(text));
}

static enum err finish(const struct buf *b, int code, struct wire_reply *out)
{
    *out = (struct wire_reply){.status = code, .body = buf_slice(b)};
    return b->failed ? ERR_LIMIT : OK;
}

/* --- what became of each ------------------------------------------------------------ */

struct tally {
    struct wire_tally all;
    size_t forwarded, kept, unknown, refused;
    struct slice id;                 /* what the relay calls it, of the first that it took */
    struct recipient_answer refusal; /* the relay's, when nothing was taken; code 0: it gave none */
};

static bool passes(const struct answer *a)
{
    return a->decision->outcome == OUTCOME_FORWARD || a->decision->outcome == OUTCOME_REDIRECT;
}

/* What the relay said to one that was sent. */
static void count_sent(const struct send_report *r, const struct answer *a, struct tally *t)
{
    const struct recipient_answer *one = a->recipient;
    struct provider_answer answer = *r->provider;
    struct send_result result;
    if (one != NULL)
        answer = (struct provider_answer){.status = one->code, .body = one->text};
    smtp_classify(&answer, SIZE_MAX, &result);
    bool again = result.status == SEND_RETRY && r->kept_id[0] != '\0';
    bool refused = !again && (result.status == SEND_RETRY || result.status == SEND_REFUSED);
    t->forwarded += result.status == SEND_ACCEPTED;
    t->kept += again;
    t->unknown += result.status == SEND_UNKNOWN;
    t->refused += refused;
    if (result.status == SEND_ACCEPTED && t->id.n == 0)
        t->id = result.provider_id;
    if (refused && t->refusal.code == 0)
        t->refusal = (struct recipient_answer){answer.status, answer.body};
}

static void tally_of(const struct send_report *r, struct tally *t)
{
    *t = (struct tally){.forwarded = 0};
    wire_tally(r, &t->all);
    for (size_t i = 0; i < r->n_answers; i++) {
        const struct answer *a = &r->answers[i];
        enum wire_fate fate = wire_fate(r, a);
        if (r->provider != NULL && passes(a))
            count_sent(r, a, t);
        else
            *(fate == FATE_UNKNOWN   ? &t->unknown
              : fate == FATE_REFUSED ? &t->refused
                                     : &t->kept) += fate != FATE_BLOCKED;
    }
}

/* --- accepted ------------------------------------------------------------------------- */

static const char *queue_id(const struct send_report *r, const struct tally *t, struct arena *a)
{
    if (t->id.n > 0)
        return arena_strndup(a, t->id.p, t->id.n);
    return r->kept_id[0] != '\0' ? r->kept_id : t->all.speaks->id;
}

/* "2 forwarded, 1 blocked" */
static const char *counts(const struct tally *t, struct arena *a)
{
    const struct {
        size_t n;
        const char *word;
    } rows[] = {{t->forwarded, "forwarded"},
                {t->kept, "deferred"},
                {t->unknown, "unknown"},
                {t->all.blocked, "blocked"},
                {t->refused, "refused by the relay"}};
    struct buf b;
    buf_init(&b, a, LINE_TEXT_MAX);
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        if (rows[i].n > 0)
            buf_printf(&b, "%s%zu %s", b.n == 0 ? "" : ", ", rows[i].n, rows[i].word);
    }
    return b.p;
}

static void reply_accepted(const struct send_report *r, const struct tally *t, struct arena *a, struct buf *b)
{
    char code[PST_CODE_MAX], time[RFC3339_MAX];
    const char *id = queue_id(r, t, a), *rest = "", *decision = t->all.speaks->id;
    wire_code(r, t->all.speaks, code);
    if (passes(t->all.speaks) && t->kept > 0)
        snprintf(code, sizeof code, "PST-UPSTREAM-DOWN"); /* fits; its 4xx is as good as none */
    if (t->forwarded == r->n_answers)
        rest = "";
    else if (t->kept == r->n_answers && t->all.release_at_ms != 0)
        rest = arena_printf(a, " (deferred until %s, %s)", rfc3339_format(t->all.release_at_ms, time), code);
    else if (t->kept == r->n_answers)
        rest = arena_printf(a, " (kept, and sent as soon as it may be; %s %s)", code, decision);
    else if (t->unknown == r->n_answers)
        rest = arena_printf(a, " (the relay did not say whether it took it; decision %s)", decision);
    else
        rest = arena_printf(a, " (partial: %s; decision %s)", counts(t, a), decision);
    if (id == NULL || rest == NULL) {
        b->failed = true;
        return;
    }
    struct buf text; /* of each mail that is taken: not printed */
    buf_init(&text, a, REPLY_MAX);
    buf_add_cstr(&text, "2.0.0 Ok: queued as ");
    buf_add_cstr(&text, id);
    buf_add_cstr(&text, rest);
    add_text(b, 250, LINE_LAST, buf_slice(&text));
    b->failed |= text.failed;
}

/* --- refused --------------------------------------------------------------------------- */

/* Who may be overridden, each with its token first: a long address is cut, and no token. */
static void add_each(const struct send_report *r, struct buf *b)
{
    size_t named = 0, more = 0;
    char code[PST_CODE_MAX];
    for (size_t i = 0; i < r->n_answers; i++) {
        const struct answer *a = &r->answers[i];
        if (!wire_is_overridable(r, a))
            continue;
        if (named++ < WIRE_TOKENS_MAX)
            add_line(b, 550, LINE_MORE, "5.7.1 %s: %s %s of <%.*s>", a->token, wire_code(r, a, code), a->id,
                     SLICE_HEAD(a->message->to_text, LINE_TEXT_MAX));
        else
            more++;
    }
    if (more > 0)
        add_line(b, 550, LINE_MORE, "5.7.1 and %zu more recipients", more);
}

/* The last line of all: every token that was named before. */
static void add_tokens(const struct send_report *r, struct buf *b)
{
    static const char before[] = "5.7.1 Override allowed: resend with header X-Postern-Override: ";
    char text[LINE_TEXT_MAX + 1];
    size_t n = text_add(text, sizeof text, 0, slice_of(before)), named = 0;
    for (size_t i = 0; i < r->n_answers && named < WIRE_TOKENS_MAX; i++) {
        if (!wire_is_overridable(r, &r->answers[i]))
            continue;
        n = text_add(text, sizeof text, n, slice_of(named++ > 0 ? ", " : ""));
        n = text_add(text, sizeof text, n, slice_of(r->answers[i].token)); /* of 44 bytes: all fit */
    }
    add_text(b, 550, LINE_LAST, slice_of(text));
}

static void reply_soft(const struct send_report *r, const struct tally *t, const char *others, struct buf *b)
{
    char code[PST_CODE_MAX], reason[WIRE_REASON_MAX];
    const struct answer *a = t->all.speaks;
    wire_code(r, a, code);
    add_line(b, 550, LINE_MORE, "5.7.1 Blocked by customer preference: %s %s%s%s%s", code, wire_reason(a, reason),
             others, a->prompt[0] == '\0' ? "" : ". ", a->prompt);
    if (r->public_url.n > 0)
        add_line(b, 550, LINE_MORE, "5.7.1 Decision %.*s/o/%s", SLICE_ARG(r->public_url), a->id);
    else
        add_line(b, 550, LINE_MORE, "5.7.1 Decision %s", a->id);
    if (t->all.overridable > 1)
        add_each(r, b);
    if (a->token[0] != '\0')
        add_tokens(r, b);
    else
        add_line(b, 550, LINE_LAST, "5.7.1 Override allowed: approve decision %s (%s)", a->id, code);
}

static void reply_blocked(const struct send_report *r, const struct tally *t, struct buf *b)
{
    char code[PST_CODE_MAX], reason[WIRE_REASON_MAX], others[96] = "";
    const struct answer *a = t->all.speaks;
    if (t->all.blocked < r->n_answers)
        snprintf(others, sizeof others, "; nothing was sent: %zu of %zu recipients are blocked", /* fits */
                 t->all.blocked, r->n_answers);
    else if (t->all.blocked > 1)
        snprintf(others, sizeof others, "; all %zu recipients are blocked", t->all.blocked); /* fits */
    if (t->all.overridable == t->all.blocked) {
        reply_soft(r, t, others, b);
    } else {
        add_each(r, b); /* beside a hard block: nothing is sent with it, but without it */
        add_line(b, 550, LINE_LAST, "5.7.1 Delivery not authorized: %s (%s %s)%s", wire_reason(a, reason),
                 wire_code(r, a, code), a->id, others);
    }
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

size_t smtp_status_length(int code, struct slice text)
{
    size_t at = 2;
    if (text.n < 6 || text.p[0] != '0' + code / 100 || text.p[1] != '.')
        return 0;
    for (int part = 0; part < 2; part++) {
        size_t digits = 0;
        while (at < text.n && is_digit(text.p[at])) {
            at++;
            digits++;
        }
        if (digits == 0 || digits > 3 || at == text.n || text.p[at] != (part == 0 ? '.' : ' '))
            return 0;
        at++;
    }
    return at - 1;
}

/* The relay's refusal, in its own words. */
static void reply_relay(const struct recipient_answer *one, struct buf *b)
{
    const char *enhanced = smtp_status_length(one->code, one->text) > 0 ? "" : one->code < 500 ? "4.0.0 " : "5.0.0 ";
    add_line(b, one->code, LINE_LAST, "%s%.*s", enhanced, SLICE_HEAD(one->text, LINE_TEXT_MAX));
}

enum err smtp_reply(const struct send_report *report, struct arena *a, struct wire_reply *out)
{
    struct tally t;
    struct buf b;
    int code = 550;
    buf_init(&b, a, REPLY_MAX);
    tally_of(report, &t);
    if (report->early && t.all.blocked == 0) {
        add_line(&b, 250, LINE_LAST, "2.1.5 Ok");
        code = 250;
    } else if (t.forwarded + t.kept + t.unknown > 0) {
        reply_accepted(report, &t, a, &b);
        code = 250;
    } else if (t.refusal.code != 0) {
        reply_relay(&t.refusal, &b);
        code = t.refusal.code;
    } else {
        reply_blocked(report, &t, &b);
    }
    return finish(&b, code, out);
}

enum err smtp_accept(const struct parsed *p, const struct route *route, const char *id, int64_t now_ms, struct arena *a,
                     struct wire_reply *out)
{
    (void)p;
    (void)route;
    (void)now_ms;
    struct buf b;
    buf_init(&b, a, REPLY_MAX);
    add_line(&b, 250, LINE_LAST, "2.0.0 Ok: queued as %s", id);
    return finish(&b, 250, out);
}

/* --- faults --------------------------------------------------------------------------------- */

struct refusal {
    int code;
    const char *enhanced, *text; /* NULL: the fault's own words */
};

static struct refusal refusal_of(const struct fault *f)
{
    switch (f->kind) {
    case FAULT_SYNTAX:
    case FAULT_NO_SENDER:
    case FAULT_NO_BODY:
        return (struct refusal){554, "5.6.0", NULL};
    case FAULT_MEDIA_TYPE:
        return (struct refusal){554, "5.6.1", NULL};
    case FAULT_NO_RECIPIENT:
        return (struct refusal){554, "5.5.1", "No valid recipients"};
    case FAULT_ADDRESS:
        return (struct refusal){553, strcmp(f->field, "MAIL") == 0 ? "5.1.7" : "5.1.3", NULL};
    case FAULT_TOO_LONG:
        return (struct refusal){554, "5.5.3", NULL};
    case FAULT_TOO_LARGE:
        return (struct refusal){552, "5.3.4", NULL};
    case FAULT_AUTH:
        return (struct refusal){535, "5.7.8", "Authentication credentials invalid"};
    case FAULT_FORBIDDEN:
    case FAULT_CATEGORY:
        return (struct refusal){550, "5.7.1", NULL};
    case FAULT_NOT_FOUND:
    case FAULT_KEY_REUSED:
        return (struct refusal){554, "5.5.0", NULL};
    case FAULT_METHOD:
        return (struct refusal){502, "5.5.1", NULL};
    case FAULT_CONFLICT: /* the one that a mail alone can bring: it goes round and round (RFC 5321 section 6.3) */
        return strcmp(f->field, "Received") == 0 ? (struct refusal){554, "5.4.6", NULL}
                                                 : (struct refusal){554, "5.5.0", NULL};
    case FAULT_IN_PROGRESS:
        return (struct refusal){451, "4.3.0", NULL};
    case FAULT_OVERLOAD:
        return (struct refusal){451, "4.3.2", "System not accepting messages: gateway overloaded, try again later"};
    case FAULT_UNAVAILABLE:
        return strcmp(f->field, "disk") == 0
                   ? (struct refusal){452, "4.3.1", "Mail system full"}
                   : (struct refusal){451, "4.3.0", "Temporary local problem, message not accepted"};
    case FAULT_UPSTREAM_DOWN:
        return (struct refusal){451, "4.4.1", "Upstream provider does not answer, try again later"};
    case FAULT_INTERNAL:
        break;
    }
    return (struct refusal){451, "4.3.0", "Temporary local problem, message not accepted"};
}

/* What is said when the fault has no words: only those that are not ours to find come without. */
static const char *fault_text(const struct fault *f)
{
    if (f->message.text[0] != '\0')
        return f->message.text;
    return f->kind == FAULT_TOO_LARGE ? "Message too big for system" : "Message not accepted";
}

enum err smtp_fault_reply(const struct fault *f, const struct route *route, struct arena *a, struct wire_reply *out)
{
    (void)route;
    struct refusal refusal = refusal_of(f);
    const char *code = refusal.text != NULL ? NULL : wire_fault_code(f->kind);
    struct buf b;
    buf_init(&b, a, REPLY_MAX);
    add_line(&b, refusal.code, LINE_LAST, "%s %s%s%s%s", refusal.enhanced,
             refusal.text != NULL ? refusal.text : fault_text(f), code == NULL ? "" : " (", code == NULL ? "" : code,
             code == NULL ? "" : ")");
    return finish(&b, refusal.code, out);
}

/*
 * The numbers of dst (page "Bulk Messaging", seen 2026-11): "<" stands between two, and Plivo strips what people write
 * between digits.  The one idea: one number, however it is spelt, is one message, and each place where it stands is
 * kept, so that forward can cut it out.
 */
#include "plivo_reading.h"

#include "json_text.h"
#include "postern/limits.h"

#define LISTED_MAX 10000u /* numbers of dst, those that stand there twice included */
#define DIGITS_MAX 15u

/* One number of dst under way. */
struct number {
    char digits[DIGITS_MAX + 2]; /* "+", and what was not stripped */
    size_t n;
    bool bracket; /* the character before was one */
};

/* "/ - . + ( )" and blanks are stripped there.  A plus behind a digit, or a bracket before a 0, may be meant otherwise.
 */
static bool number_take(struct number *x, int c)
{
    bool after_bracket = x->bracket;
    x->bracket = c == '(';
    if (c == '+')
        return x->n == 0;
    if (c < '0' || c > '9')
        return strchr("/-. ()", c) != NULL; /* a scanned string has no \\u0000 */
    if ((after_bracket && c == '0') || x->n == DIGITS_MAX)
        return false;
    x->digits[1 + x->n++] = (char)c;
    return true;
}

/* The digits behind a 1: a number that begins with 0 is another one. */
static uint64_t number_value(const struct number *x)
{
    uint64_t value = 1;
    for (size_t i = 1; i <= x->n; i++)
        value = value * 10 + (uint64_t)(x->digits[i] - '0');
    return value;
}

static enum err refuse_number(struct plivo_reading *g, struct slice text, size_t nth)
{
    return wire_fault(g->fault, FAULT_ADDRESS, "dst",
                      "dst: number %zu, \"%.*s\", is not one phone number; write 7 to 15 digits, country code first, "
                      "and < between two numbers",
                      nth + 1, SLICE_HEAD(text, 40));
}

/* The message of this number: one that is there, or a new one. */
static enum err message_of(struct plivo_reading *g, struct number *x, struct slice text, uint32_t *index)
{
    struct message *m = &g->messages[g->out->n_messages];
    uint64_t value = number_value(x);
    struct errmsg why;
    for (*index = 0; *index < g->out->n_messages; (*index)++) {
        if (g->numbers[*index] == value)
            return OK;
    }
    x->digits[0] = '+';
    if (g->out->n_messages == LIMIT_RECIPIENTS)
        return wire_fault(g->fault, FAULT_SYNTAX, "dst", "dst has more than %u numbers; send them in several requests",
                          LIMIT_RECIPIENTS);
    if (address_parse_phone((struct slice){x->digits, x->n + 1}, &m->to, &why) != OK)
        return refuse_number(g, text, g->plivo->n_listed);
    g->numbers[*index] = value;
    m->index = *index;
    m->to_text = text;
    g->out->n_messages++;
    return OK;
}

/* The characters are read through their escapes: Go's encoder writes < as \u003c. */
static enum err read_numbers(struct plivo_reading *g, struct slice raw, char *text)
{
    const char *body = g->request->body.p;
    struct json_text t = json_text_begin((struct slice){raw.p + 1, raw.n - 2});
    struct plivo *p = g->plivo;
    for (int c = '<'; c == '<';) {
        struct plivo_listed *one = &p->listed[p->n_listed];
        struct number x = {.n = 0};
        bool good = true;
        size_t n = 0;
        one->start = (uint32_t)((const char *)t.p - body);
        for (one->end = one->start; (c = json_text_next(&t)) >= 0 && c != '<'; n++) {
            text[n] = (char)c;
            good = number_take(&x, c) && good;
            one->end = (uint32_t)((const char *)t.p - body);
        }
        struct slice written = slice_trim((struct slice){text, n});
        enum err err = good ? message_of(g, &x, written, &one->message) : refuse_number(g, written, p->n_listed);
        if (err != OK)
            return err;
        p->n_listed++;
        text += n;
    }
    return OK;
}

static size_t count_listed(struct slice raw)
{
    struct json_text t = json_text_begin((struct slice){raw.p + 1, raw.n - 2});
    size_t n = 1;
    for (int c = json_text_next(&t); c >= 0; c = json_text_next(&t))
        n += c == '<';
    return n;
}

enum err plivo_read_dst(struct plivo_reading *g)
{
    struct slice dst;
    enum err err = plivo_read_string(g, PLIVO_DST, &dst);
    if (err != OK)
        return err;
    if (dst.n == 0)
        return wire_fault(g->fault, FAULT_NO_RECIPIENT, "dst", "dst is required: the number to send to");
    struct slice raw = json_scan_raw(&g->plivo->scan, g->plivo->root[PLIVO_DST]);
    size_t listed = count_listed(raw), n = listed < LIMIT_RECIPIENTS ? listed : LIMIT_RECIPIENTS;
    if (listed > LISTED_MAX)
        return wire_fault(g->fault, FAULT_SYNTAX, "dst", "dst lists more than %u numbers", LISTED_MAX);
    char *text = arena_bytes(g->arena, raw.n);
    g->plivo->listed = arena_calloc(g->arena, listed, sizeof *g->plivo->listed);
    g->numbers = arena_calloc(g->arena, n, sizeof *g->numbers);
    g->messages = arena_calloc(g->arena, n + 1, sizeof *g->messages); /* one beyond the limit is looked at */
    if (text == NULL || g->plivo->listed == NULL || g->numbers == NULL || g->messages == NULL)
        return plivo_out_of_memory(g->fault);
    return read_numbers(g, raw, text);
}

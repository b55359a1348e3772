/*
 * What of X-SMTPAPI leaves: the same indices are cut out of each array that goes with
 * `to`, bypasses are off, times that have passed are gone.  By bytes of the content;
 * only a field in encoded words is written anew, and only when something is cut.
 */
#include "postern/buf.h"
#include "sendgrid.h"
#include "smtp_api.h"

#define LINE_BYTES 200u /* of a field that is written anew: then the next comma folds it */

/* Of a value's first byte, or behind its last: neither is a fold's blank. */
static size_t raw_offset(const struct smtp_api *api, size_t at)
{
    size_t low = 0, high = api->n_folds;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (api->folds[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return api->raw_start + at + 2 * low;
}

struct pruning {
    const struct smtp_api *api;
    const bool *send;
    int64_t now_ms;
    struct edits *edits;
    size_t i;  /* index of the next element of the array that is walked */
    bool some; /* not all are sent */
};

typedef bool drop_fn(struct pruning *x, uint32_t child);

/* Ask drop for each child; a child that stays may have been edited within by then. */
static void walk(struct pruning *x, uint32_t container, drop_fn *drop)
{
    const struct json_node *nodes = x->api->scan.nodes;
    struct edit_row row = {.edits = x->edits};
    uint32_t behind = nodes[container].next;
    for (uint32_t c = container + 1; c < behind; c = nodes[c].next) {
        uint32_t next = nodes[c].next;
        size_t start = nodes[c].key_end != 0 ? nodes[c].key_start : nodes[c].start, next_start = SIZE_MAX;
        if (next < behind)
            next_start = raw_offset(x->api, nodes[next].key_end != 0 ? nodes[next].key_start : nodes[next].start);
        edit_row_item(&row, raw_offset(x->api, start), raw_offset(x->api, nodes[c].end), next_start, drop(x, c));
    }
}

static bool drop_unsent(struct pruning *x, uint32_t child)
{
    (void)child;
    return !x->send[x->i++];
}

static bool drop_row(struct pruning *x, uint32_t child)
{
    x->i = 0;
    walk(x, child, drop_unsent);
    return false;
}

static bool has_passed(const struct pruning *x, uint32_t node)
{
    int64_t at_ms = 0;
    ignore(sendgrid_send_at(&x->api->scan, node, &at_ms)); /* it is a time: it was read as one */
    return at_ms <= x->now_ms;
}

/* Of those that are sent, and they are sent at once. */
static bool all_have_passed(const struct pruning *x, uint32_t each)
{
    const struct json_node *nodes = x->api->scan.nodes;
    size_t i = 0;
    for (uint32_t c = each + 1; c < nodes[each].next; c = nodes[c].next, i++) {
        if (x->send[i] && !has_passed(x, c))
            return false;
    }
    return true;
}

static bool goes_whole(const struct pruning *x, uint32_t child)
{
    const uint32_t *root = x->api->root;
    return (child == root[SMTP_API_SEND_AT] && has_passed(x, child)) ||
           (child == root[SMTP_API_SEND_EACH_AT] && all_have_passed(x, child));
}

/* A bypass would lift opt-outs that SendGrid knows. */
static bool drop_bypass(struct pruning *x, uint32_t child)
{
    const struct json_node *nodes = x->api->scan.nodes;
    for (size_t i = 0; i < SMTP_API_BYPASSES; i++) {
        uint32_t enable = x->api->enables[i];
        if (enable != JSON_NONE && enable > child && enable < nodes[child].next)
            edit_replace(x->edits, raw_offset(x->api, nodes[enable].start), raw_offset(x->api, nodes[enable].end),
                         SLICE("0"));
    }
    return false;
}

static bool drop_member(struct pruning *x, uint32_t child)
{
    const uint32_t *root = x->api->root;
    if (goes_whole(x, child))
        return true;
    if (x->some && (child == root[SMTP_API_TO] || child == root[SMTP_API_SEND_EACH_AT]))
        drop_row(x, child);
    else if (x->some && child == root[SMTP_API_SUB])
        walk(x, child, drop_row);
    else if (child == root[SMTP_API_FILTERS])
        walk(x, child, drop_bypass);
    return false;
}

/* --- written anew ------------------------------------------------------------------------ */

/* The character at *p, moved behind it; the scanner has passed it. */
static uint32_t take_char(const char **p)
{
    unsigned char c = (unsigned char)*(*p)++;
    if (c < 0x80)
        return c;
    int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
    uint32_t u = c & (0x3Fu >> more);
    while (more-- > 0)
        u = u << 6 | ((unsigned char)*(*p)++ & 0x3F);
    return u;
}

/* SendGrid wants it in ASCII.  A blank between two values may have been a line's end before it was encoded. */
static void add_char(struct buf *b, uint32_t u)
{
    char c = (char)(u <= ' ' ? ' ' : u);
    if (u < 0x7F)
        buf_add(b, &c, 1);
    else if (u < 0x10000)
        buf_printf(b, "\\u%04x", u);
    else
        buf_printf(b, "\\u%04x\\u%04x", 0xD800 + ((u - 0x10000) >> 10), 0xDC00 + (u & 0x3FF));
}

/* The whole field, folded behind commas that no string holds. */
static struct slice write_field(const struct smtp_api *api, struct slice json, struct arena *a)
{
    struct buf b;
    bool in_string = false, escaped = false;
    size_t line = 0;
    buf_init(&b, a, 8 * json.n + 128);
    buf_add_slice(&b, api->field->name);
    buf_add_cstr(&b, ": ");
    for (const char *p = json.p; p < json.p + json.n;) {
        uint32_t u = take_char(&p);
        add_char(&b, u);
        if (u == '"' && !escaped)
            in_string = !in_string;
        escaped = u == '\\' && !escaped;
        if (u != ',' || in_string || b.n - line < LINE_BYTES)
            continue;
        buf_add_cstr(&b, "\r\n ");
        line = b.n;
    }
    buf_add_cstr(&b, "\r\n");
    return b.failed ? (struct slice){NULL, 0} : buf_slice(&b);
}

/* --- the whole ----------------------------------------------------------------------------- */

static void prune_encoded(struct pruning *x)
{
    struct edits own = {.arena = x->edits->arena}, *outer = x->edits;
    struct slice text = x->api->scan.text, pruned;
    x->edits = &own;
    walk(x, 0, drop_member);
    x->edits = outer;
    if (edit_apply(&own, text, &pruned) != OK) {
        outer->failed = true;
        return;
    }
    if (pruned.p == text.p)
        return;
    struct slice field = write_field(x->api, pruned, outer->arena);
    if (field.p == NULL)
        outer->failed = true;
    else
        edit_replace(outer, x->api->field->start, x->api->field->end, field);
}

void smtp_api_prune(const struct smtp_api *api, const bool *send, int64_t now_ms, struct edits *edits)
{
    const struct json_node *nodes = api->scan.nodes;
    struct pruning x = {.api = api, .send = send, .now_ms = now_ms, .edits = edits};
    size_t left = 0, n = json_scan_count(&api->scan, 0);
    for (size_t i = 0; i < api->n_to; i++)
        x.some = x.some || !send[i];
    for (uint32_t c = 1; c < nodes[0].next; c = nodes[c].next)
        left += !goes_whole(&x, c);
    /* Of a folded field nothing but blanks might be left: a line that some take for the end of the header. */
    if (left == 0 && n > 0)
        edit_cut(edits, api->field->start, api->field->end);
    else if (api->encoded)
        prune_encoded(&x);
    else
        walk(&x, 0, drop_member);
}

/*
 * Messages that Postern keeps, under the uuid that it answered: fetch and list (pages
 * "Retrieve a Message", "List all Messages").  To the application they look like
 * records of Plivo's, which have no text.  What is told about them unasked is
 * plivo_callback.c.
 */
#include "plivo.h"

#include <stdio.h>

#include "postern/civil.h"

#define PAGE_SIZE 20 /* Plivo's default, and its most */

/* --- as records -------------------------------------------------------------------- */

const char *plivo_kept_state(const struct kept_message *k)
{
    switch (k->state) {
    case KEPT_WAITING:
    case KEPT_SENDING:
        return "queued";
    case KEPT_SENT:
        return k->relayed ? "queued" : "sent";
    case KEPT_CANCELLED: /* Plivo has no word for it */
    case KEPT_FAILED:
        return "failed";
    }
    return "failed";
}

/* Plivo's page "Error Codes", 2026-11.  Not 200 for all: applications record that as an opt-out. */
const char *plivo_kept_error(const struct kept_message *k)
{
    static const char *const rows[][2] = {
        {"OPTOUT", "200"}, /* blocked by STOP from destination number */
        {"EXPIRY", "420"}, /* message expired */
        {"NONE", "1000"},  /* unknown: Plivo refused it, or nobody knows */
    };
    if (k->state != KEPT_FAILED && k->state != KEPT_CANCELLED)
        return NULL;
    for (size_t i = 0; i < N_ELEMENTS(rows) && k->state == KEPT_FAILED; i++) {
        if (strcmp(reason_family(k->reason), rows[i][0]) == 0)
            return rows[i][1];
    }
    return "300"; /* failed to dispatch */
}

struct slice plivo_number(struct slice phone)
{
    return slice_starts(phone, "+") ? (struct slice){phone.p + 1, phone.n - 1} : phone;
}

/* A sender is a number, a name of letters, or a Powerpack's uuid. */
bool plivo_is_powerpack(struct slice sender)
{
    return sender.n == PLIVO_UUID_BYTES && memchr(sender.p, '-', sender.n) != NULL;
}

struct slice plivo_kept_type(const struct kept_message *k, const struct plivo *p, struct arena *a)
{
    struct slice type = k->body.n == 0 ? (struct slice){NULL, 0} : plivo_text(p, PLIVO_TYPE, a);
    return type.n == 0 ? SLICE("sms") : type;
}

const char *plivo_time(int64_t wall_ms, char out[PLIVO_TIME_MAX])
{
    char text[RFC3339_MAX];
    rfc3339_format(wall_ms / 1000 * 1000, text);
    text[10] = ' ';
    snprintf(out, PLIVO_TIME_MAX, "%.19s.%03d000", text, (int)(wall_ms % 1000));
    return out;
}

static void add_member(struct buf *b, const char *name, struct slice value)
{
    buf_printf(b, ",\"%s\":", name);
    if (value.p == NULL)
        buf_add_cstr(b, "null");
    else
        buf_add_json(b, value);
}

static void add_record(struct buf *b, const struct route *route, const struct kept_message *k, struct slice type)
{
    char time[PLIVO_TIME_MAX];
    struct slice none = {NULL, 0};
    bool powerpack = plivo_is_powerpack(k->from);
    buf_printf(b, "\"error_code\":");
    if (plivo_kept_error(k) == NULL)
        buf_add_cstr(b, "null");
    else
        buf_add_json(b, slice_of(plivo_kept_error(k)));
    add_member(b, "from_number", powerpack ? none : plivo_number(k->from));
    add_member(b, "message_direction", SLICE("outbound"));
    add_member(b, "message_state", slice_of(plivo_kept_state(k)));
    plivo_time(k->created_at_ms, time);
    buf_printf(b, ",\"message_time\":\"%s+00:00\"", time);
    add_member(b, "message_type", type);
    add_member(b, "message_uuid", k->id);
    add_member(b, "powerpack_id", powerpack ? k->from : none);
    buf_printf(b, ",\"resource_uri\":\"/v1/Account/%.*s/Message/%.*s/\"", SLICE_ARG(route->account), SLICE_ARG(k->id));
    add_member(b, "to_number", plivo_number(k->to));
    buf_add_cstr(b, ",\"total_amount\":\"0.00000\",\"total_rate\":\"0.00000\",\"units\":1}");
}

/* The body goes when a message has ended; that it was an SMS is then the best guess. */
static enum err add_kept(struct buf *b, const struct route *route, const struct kept_message *k, struct arena *a)
{
    struct plivo p = {0};
    struct fault why;
    if (k->body.n > 0 && plivo_scan(k->body, a, &p, &why) != OK)
        return why.kind == FAULT_TOO_LARGE ? ERR_LIMIT : ERR_INTERNAL; /* it was read when it came in */
    add_record(b, route, k, plivo_kept_type(k, &p, a));
    return OK;
}

/* --- one ------------------------------------------------------------------------------- */

static enum err reply_one(const struct route *route, const struct kept_message *k, struct arena *a,
                          struct wire_reply *out)
{
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    plivo_add_api_id(&b, k->id, "record");
    buf_add_cstr(&b, ",");
    enum err err = add_kept(&b, route, k, a);
    if (err != OK)
        return err;
    wire_reply_json(out, 200, &b);
    return b.failed ? ERR_LIMIT : OK;
}

static enum err reply_fetch(const struct route *route, const struct kept_message *kept, size_t n,
                            const struct provider_answer *provider, struct arena *a, struct wire_reply *out)
{
    enum err err = wire_kept_fetch(route, kept, n, provider, a, out);
    if (err != ERR_NOT_FOUND)
        return err;
    if (n == 0)
        return plivo_fault_reply(&(struct fault){.kind = FAULT_NOT_FOUND}, route, a, out);
    return reply_one(route, &kept[0], a, out);
}

/* --- lists ------------------------------------------------------------------------------- */

static enum err add_all(struct buf *b, const struct route *route, const struct kept_message *kept, size_t n,
                        struct arena *a)
{
    for (size_t i = 0; i < n; i++) {
        buf_add_cstr(b, i == 0 ? "{" : ",{");
        enum err err = add_kept(b, route, &kept[i], a);
        if (err != OK)
            return err;
    }
    return OK;
}

static enum err reply_own_list(const struct route *route, size_t n, struct slice objects, struct arena *a,
                               struct wire_reply *out)
{
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    plivo_add_api_id(&b, route->account, "list");
    buf_printf(&b, ",\"meta\":{\"limit\":%d,\"next\":null,\"offset\":0,\"previous\":null,\"total_count\":%zu}",
               PAGE_SIZE, n);
    buf_add_cstr(&b, ",\"objects\":[");
    buf_add_slice(&b, objects);
    buf_add_cstr(&b, "]}");
    wire_reply_json(out, 200, &b);
    return b.failed ? ERR_LIMIT : OK;
}

static enum err reply_list(const struct route *route, const struct kept_message *kept, size_t n,
                           const struct provider_answer *provider, struct arena *a, struct wire_reply *out)
{
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    enum err err = add_all(&b, route, kept, n, a);
    if (err != OK || b.failed)
        return err != OK ? err : ERR_LIMIT;
    return provider != NULL ? wire_kept_list(provider, "objects", buf_slice(&b), a, out)
                            : reply_own_list(route, n, buf_slice(&b), a, out);
}

/* Does what waits answer to the filters of a list?  By one that is not among these it is not found. */
static bool passes_filters(const struct form *filters)
{
    static const struct {
        const char *name, *value; /* NULL: any */
    } rows[] = {{"limit", NULL}, {"offset", NULL}, {"message_direction", "outbound"}, {"message_state", "queued"}};
    for (size_t i = 0; i < filters->n; i++) {
        const struct form_field *f = &filters->fields[i];
        bool passes = false;
        for (size_t k = 0; k < N_ELEMENTS(rows); k++)
            passes = passes || (slice_eq_cstr(f->name, rows[k].name) &&
                                (rows[k].value == NULL || slice_eq_cstr(f->value, rows[k].value)));
        if (!passes)
            return false;
    }
    return true;
}

enum err plivo_kept_reply(const struct route *route, const struct kept_message *kept, size_t n,
                          const struct provider_answer *provider, struct arena *a, struct wire_reply *out)
{
    static const char *const none[] = {NULL};
    struct form filters;
    struct errmsg why;
    *out = (struct wire_reply){.status = 204};
    if (route->call != CALL_MESSAGE_LIST)
        return reply_fetch(route, kept, n, provider, a, out);
    enum err err = form_parse(route->query, none, a, &filters, &why);
    if (err == ERR_LIMIT)
        return err;
    /* Filters that cannot be read are the provider's to refuse. */
    if (err != OK || !passes_filters(&filters))
        n = 0;
    return reply_list(route, kept, n, provider, a, out);
}

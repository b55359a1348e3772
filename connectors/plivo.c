/*
 * The Plivo v1 dialect, and Plivo as a provider: which calls are whose, what
 * leaves, what an answer means, ids.  Reading a create is plivo_parse.c, answering
 * plivo_reply.c, messages that we keep plivo_kept.c, what is told about them
 * plivo_callback.c.
 *
 * The one idea: Plivo owes a uuid to each number of a request, and we to each that
 * stays here.  Ours follow from the submission's by a hash, so the answer and the
 * store name the same without asking one another.
 */
#include "plivo.h"

#include "account.h"
#include "edit.h"
#include "postern/hash.h"

#define ACCOUNT_SEGMENT 2 /* /v1/Account/{auth_id} */

static const char *const copied[] = {"Content-Type", "Accept", "User-Agent", NULL};

/* --- calls ---------------------------------------------------------------------- */

static bool has_method(const struct wire_request *r, const char *method)
{
    return slice_eq_cstr(r->method, method);
}

/* What we keep is shown on the first page only; the further ones have an offset. */
static bool is_first_page(struct slice query)
{
    const char *offset = query.n == 0 ? NULL : memmem(query.p, query.n, "offset=", strlen("offset="));
    struct slice rest = {offset, offset == NULL ? 0 : (size_t)(query.p + query.n - offset)};
    return offset == NULL || slice_eq_cstr(rest, "offset=0") || slice_starts(rest, "offset=0&");
}

/* Without the last slash it is no call: Plivo's own answer to that is not documented. */
static enum call match_messages(const struct wire_request *r, const struct wire_path *p, struct route *out)
{
    if (!p->trailing_slash)
        return CALL_NONE;
    if (p->n == 4) {
        if (has_method(r, "POST"))
            return CALL_SEND;
        out->query = r->query;
        return has_method(r, "GET") && is_first_page(r->query) ? CALL_MESSAGE_LIST : CALL_PASS;
    }
    out->id = p->segments[4];
    return p->n == 5 && has_method(r, "GET") ? CALL_MESSAGE_FETCH : CALL_PASS;
}

static enum call plivo_match(const struct wire_request *r, struct route *out)
{
    struct wire_path p;
    *out = (struct route){.call = CALL_NONE};
    if (!wire_path_split(r->path, &p) || p.n < 2 || !slice_eq_cstr(p.segments[0], "v1"))
        return CALL_NONE;
    /* Another spelling of a call that is evaluated must not pass as one that is not. */
    enum wire_match messages = p.n > 3 ? wire_segment_match(p.segments[3], "Message") : WIRE_OTHER;
    if (!slice_eq_cstr(p.segments[1], "Account") || messages == WIRE_LIKE)
        return CALL_NONE;
    if (p.n > ACCOUNT_SEGMENT)
        out->account = p.segments[ACCOUNT_SEGMENT];
    out->call = messages == WIRE_SAME ? match_messages(r, &p, out) : CALL_PASS;
    return out->call;
}

/* --- to the provider ---------------------------------------------------------------- */

struct pruning {
    const struct plivo *plivo;
    const bool *send;
    const struct forward_options *options;
    struct arena *arena;
    struct edits edits;
};

/* The numbers of messages that stay behind go out of dst, in each spelling. */
static void prune_numbers(struct pruning *x)
{
    const struct plivo *p = x->plivo;
    struct edit_row row = {.edits = &x->edits};
    for (size_t i = 0; i < p->n_listed; i++) {
        size_t next = i + 1 < p->n_listed ? p->listed[i + 1].start : SIZE_MAX;
        edit_row_item(&row, p->listed[i].start, p->listed[i].end, next, !x->send[p->listed[i].message]);
    }
}

/* Plivo posts to us, and we to where the application wanted it. */
static bool replace_text(struct pruning *x, uint32_t node, struct slice text)
{
    const struct json_node *n = &x->plivo->scan.nodes[node];
    struct buf b;
    buf_init(&b, x->arena, WIRE_BODY_MAX);
    buf_add_json(&b, text);
    edit_replace(&x->edits, n->start, n->end, buf_slice(&b));
    return !b.failed && text.p != NULL;
}

/* false: the arena is spent. */
static bool edit_member(struct pruning *x, uint32_t node, struct plivo_callback callback, bool *dropped)
{
    const struct forward_options *o = x->options;
    const uint32_t *root = x->plivo->root;
    bool url = node == root[PLIVO_URL], method = node == root[PLIVO_METHOD];
    if (node == root[PLIVO_DST])
        prune_numbers(x);
    if (callback.url.n == 0 || !o->own_callback || !(url || method))
        return true;
    *dropped = o->callback_url.n == 0;
    if (*dropped)
        return true;
    struct slice ours = SLICE("POST");
    if (url)
        ours = plivo_callback_url(o->callback_url, callback, o->login->secret, x->arena);
    return replace_text(x, node, ours);
}

static enum err prune(struct pruning *x)
{
    const struct json_node *nodes = x->plivo->scan.nodes;
    struct plivo_callback callback = plivo_callback_of(x->plivo, x->arena);
    struct edit_row row = {.edits = &x->edits};
    for (uint32_t c = 1; c < nodes[0].next; c = nodes[c].next) {
        uint32_t next = nodes[c].next;
        bool dropped = false;
        if (!edit_member(x, c, callback, &dropped))
            return ERR_LIMIT;
        edit_row_item(&row, nodes[c].key_start, nodes[c].end, next < nodes[0].next ? nodes[next].key_start : SIZE_MAX,
                      dropped);
    }
    return OK;
}

/* The parameters are the contract's.  NOLINTNEXTLINE(readability-function-size) */
static enum err plivo_forward(const struct wire_request *r, const struct route *route, const struct parsed *p,
                              const bool *send, const struct forward_options *options, struct arena *a,
                              struct outgoing *out)
{
    struct pruning x = {.plivo = p->dialect, .send = send, .options = options, .arena = a, .edits = {.arena = a}};
    size_t n = 0;
    for (size_t i = 0; i < p->n_messages; i++)
        n += send[i];
    if (n == 0)
        return ERR_CONFLICT;
    *out = (struct outgoing){.method = SLICE("POST"),
                             .path_and_query = account_target(r, route, ACCOUNT_SEGMENT, options->login, a),
                             .at_most_once = true};
    enum err err = prune(&x);
    if (err == OK)
        err = edit_apply(&x.edits, r->body, &out->body);
    if (err != OK || out->path_and_query.p == NULL)
        return ERR_LIMIT;
    return account_fields(r, copied, options->login, a, out);
}

static enum err plivo_pass(const struct wire_request *r, const struct route *route, const struct provider_login *login,
                           struct arena *a, struct outgoing *out)
{
    *out = (struct outgoing){.method = r->method,
                             .path_and_query = account_target(r, route, ACCOUNT_SEGMENT, login, a),
                             .body = r->body,
                             .at_most_once = !has_method(r, "GET")};
    return out->path_and_query.p == NULL ? ERR_LIMIT : account_fields(r, copied, login, a, out);
}

/* --- what an answer means ------------------------------------------------------------- */

/* What stands between the brackets behind that key, which has its quotes on. */
static struct slice list_named(struct slice body, const char *key)
{
    static const char between[] = {' ', '\t', '\r', '\n', ':'};
    const char *at = body.n == 0 ? NULL : memmem(body.p, body.n, key, strlen(key));
    const char *end = body.p + body.n;
    if (at == NULL)
        return (struct slice){NULL, 0};
    for (at += strlen(key); at < end && memchr(between, *at, sizeof between) != NULL; at++)
        ;
    const char *close = at < end && *at == '[' ? memchr(at, ']', (size_t)(end - at)) : NULL;
    return close == NULL ? (struct slice){NULL, 0} : (struct slice){at + 1, (size_t)(close - at - 1)};
}

/* The next string of a list, without quotes; empty at its end. */
static struct slice string_take(struct slice *list)
{
    const char *open = list->n == 0 ? NULL : memchr(list->p, '"', list->n);
    size_t left = open == NULL ? 0 : (size_t)(list->p + list->n - open - 1);
    const char *close = left == 0 ? NULL : memchr(open + 1, '"', left);
    if (close == NULL) {
        list->n = 0;
        return (struct slice){NULL, 0};
    }
    struct slice s = {open + 1, (size_t)(close - open - 1)};
    *list = (struct slice){close + 1, left - s.n - 1};
    return s;
}

size_t plivo_ids_count(struct slice list)
{
    size_t n = 0;
    while (string_take(&list).p != NULL)
        n++;
    return n;
}

void plivo_ids_begin(const struct provider_answer *answer, struct plivo_ids *out)
{
    *out = (struct plivo_ids){.uuids = list_named(answer->body, "\"message_uuid\""),
                              .invalid = list_named(answer->body, "\"invalid_number\"")};
    out->next_invalid = string_take(&out->invalid);
}

/* The digits of both, whatever stands between them. */
static bool same_number(struct slice a, struct slice b)
{
    size_t k = 0;
    for (size_t i = 0; i < a.n; i++) {
        if (a.p[i] < '0' || a.p[i] > '9')
            continue;
        while (k < b.n && (b.p[k] < '0' || b.p[k] > '9'))
            k++;
        if (k == b.n || b.p[k++] != a.p[i])
            return false;
    }
    while (k < b.n && (b.p[k] < '0' || b.p[k] > '9'))
        k++;
    return k == b.n;
}

bool plivo_ids_next(struct plivo_ids *ids, const struct message *m, struct slice *id)
{
    *id = (struct slice){NULL, 0};
    ids->lost = ids->lost || (ids->next_invalid.n > 0 && m == NULL);
    if (ids->lost)
        return true;
    if (ids->next_invalid.n > 0 && same_number(slice_of(m->to.text), ids->next_invalid)) {
        ids->next_invalid = string_take(&ids->invalid);
        return false;
    }
    *id = string_take(&ids->uuids);
    return true;
}

static bool accepted_id(const struct provider_answer *answer, size_t nth, struct slice *id)
{
    struct plivo_ids ids;
    bool valid = true;
    plivo_ids_begin(answer, &ids);
    for (size_t i = 0; i <= nth; i++)
        valid = plivo_ids_next(&ids, i < answer->n_sent ? answer->sent[i] : NULL, id);
    return valid;
}

static void plivo_classify(const struct provider_answer *answer, size_t nth, struct send_result *out)
{
    *out = (struct send_result){.status = SEND_UNKNOWN};
    if (answer->status >= 200 && answer->status < 300)
        out->status = accepted_id(answer, nth, &out->provider_id) ? SEND_ACCEPTED : SEND_REFUSED;
    else if (answer->status == 429)
        out->status = SEND_RETRY;
    else if (answer->status >= 300 && answer->status < 500)
        out->status = SEND_REFUSED;
}

/* --- ids ---------------------------------------------------------------------------------- */

/* The form of version 4 (RFC 9562, section 5.4), which applications that look at it know. */
static void uuid_format(const uint8_t bytes[16], char out[SID_MAX])
{
    static const size_t groups[] = {4, 2, 2, 2, 6};
    uint8_t b[16];
    memcpy(b, bytes, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0F) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3F) | 0x80);
    const uint8_t *from = b;
    for (size_t i = 0; i < N_ELEMENTS(groups); i++) {
        hash_hex(from, groups[i], out);
        from += groups[i];
        out += 2 * groups[i];
        *out++ = i + 1 < N_ELEMENTS(groups) ? '-' : '\0';
    }
}

void plivo_uuid_of(struct slice id, struct slice name, char out[SID_MAX])
{
    const struct slice parts[] = {id, SLICE("|"), name};
    struct digest d = hash_sha256_parts(parts, N_ELEMENTS(parts));
    uuid_format(d.b, out);
}

static void plivo_mint_id(const struct parsed *p, const uint8_t random[16], char out[SID_MAX])
{
    (void)p;
    uuid_format(random, out);
}

void plivo_message_id(const char kept_id[SID_MAX], uint32_t index, char out[SID_MAX])
{
    uint8_t name[4] = {(uint8_t)(index >> 24), (uint8_t)(index >> 16), (uint8_t)(index >> 8), (uint8_t)index};
    if (index == 0)
        memmove(out, kept_id, strlen(kept_id) + 1);
    else
        plivo_uuid_of(slice_of(kept_id), (struct slice){(const char *)name, sizeof name}, out);
}

const struct connector plivo_connector = {
    .name = "plivo",
    .channel = CHANNEL_SMS,
    .transport = TRANSPORT_HTTP,
    .has_account = true,
    .match = plivo_match,
    .parse = plivo_parse,
    .settle = NULL,
    .forward = plivo_forward,
    .pass = plivo_pass,
    .classify = plivo_classify,
    .reply = plivo_reply,
    .fault_reply = plivo_fault_reply,
    .report = NULL,
    .accept = plivo_accept,
    .mint_id = plivo_mint_id,
    .message_id = plivo_message_id,
    .kept_reply = plivo_kept_reply,
    .change = NULL, /* Plivo has no call that changes a message */
    .callback = plivo_callback,
    .is_genuine = plivo_is_genuine,
    .relay = plivo_relay,
};

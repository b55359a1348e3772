/*
 * What leaves for SendGrid: the body as received, less what was decided not to
 * send, less what is only ours.  The one idea: a walk over the nodes in the order
 * of the text, and for each child one question: does it go?
 */
#include "sendgrid.h"

#include "edit.h"

struct pruning {
    const struct sendgrid *sg;
    const bool *send;
    int64_t now_ms;
    struct edits edits;
    size_t envelope;  /* index of the next personalization */
    uint32_t message; /* index of the next recipient of the list that is walked */
    const char
        *only_bcc; /* the copy of mail_settings.bcc goes alone: "[{"email":...}]", for the first personalization */
    size_t envelopes_left;
};

typedef bool drop_fn(struct pruning *x, uint32_t child);

/* Ask drop for each child; a child that stays may have been edited within by then. */
static void walk(struct pruning *x, uint32_t container, drop_fn *drop)
{
    const struct json_node *nodes = x->sg->scan.nodes;
    struct edit_row row = {.edits = &x->edits};
    uint32_t behind = nodes[container].next;
    for (uint32_t c = container + 1; c < behind; c = nodes[c].next) {
        uint32_t next = nodes[c].next;
        size_t start = nodes[c].key_end != 0 ? nodes[c].key_start : nodes[c].start;
        size_t next_start = SIZE_MAX;
        if (next < behind)
            next_start = nodes[next].key_end != 0 ? nodes[next].key_start : nodes[next].start;
        edit_row_item(&row, start, nodes[c].end, next_start, drop(x, c));
    }
}

static uint32_t n_sent(const struct sendgrid_list *list, const bool *send)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < list->n; i++)
        n += send[list->first + i];
    return n;
}

/* --- what is only ours -------------------------------------------------------------- */

/* Clients copy mail headers into HTTP's and the body's: a token must not reach the recipient. */
static bool drop_own_header(struct pruning *x, uint32_t child)
{
    return sendgrid_is_own_header(&x->sg->scan, child);
}

static bool drop_own_arg(struct pruning *x, uint32_t child)
{
    return json_scan_key_starts(&x->sg->scan, child, "postern_", false);
}

/* --- time ------------------------------------------------------------------------------ */

static bool has_passed(const struct pruning *x, uint32_t send_at)
{
    int64_t at_ms;
    return sendgrid_send_at(&x->sg->scan, send_at, &at_ms) && at_ms <= x->now_ms;
}

/* --- recipients -------------------------------------------------------------------------- */

static bool drop_recipient(struct pruning *x, uint32_t child)
{
    (void)child;
    return !x->send[x->message++];
}

/* SendGrid refuses an empty array: a list that lost all goes as a whole. */
static bool drop_list(struct pruning *x, uint32_t child, const struct sendgrid_list *list)
{
    uint32_t n = n_sent(list, x->send);
    if (n == 0)
        return list->n > 0;
    if (n < list->n) {
        x->message = list->first;
        walk(x, child, drop_recipient);
    }
    return false;
}

/* The list that stands as `to` when the mail leaves: SendGrid sends no copies alone. */
static size_t primary_list(const struct pruning *x, const struct sendgrid_envelope *e)
{
    size_t i = SG_PERSON_TO;
    while (i < SG_LISTS && n_sent(&e->lists[i], x->send) == 0)
        i++;
    return i;
}

static bool drop_one_list(struct pruning *x, uint32_t child, const struct sendgrid_envelope *e, size_t which)
{
    const struct json_node *node = &x->sg->scan.nodes[child];
    if (x->only_bcc != NULL && which == SG_PERSON_TO) {
        edit_replace(&x->edits, node->start, node->end, slice_of(x->only_bcc));
        return false;
    }
    if (which != SG_PERSON_TO && which == primary_list(x, e))
        edit_replace(&x->edits, node->key_start, node->key_end, SLICE("\"to\""));
    return drop_list(x, child, &e->lists[which]);
}

static bool drop_envelope_member(struct pruning *x, uint32_t child)
{
    const struct sendgrid_envelope *e = &x->sg->envelopes[x->envelope];
    for (size_t i = 0; i < SG_LISTS; i++) {
        if (child == e->members[i])
            return drop_one_list(x, child, e, i);
    }
    if (child == e->members[SG_PERSON_SEND_AT])
        return has_passed(x, child);
    if (child == e->members[SG_PERSON_HEADERS])
        walk(x, child, drop_own_header);
    if (child == e->members[SG_PERSON_CUSTOM_ARGS])
        walk(x, child, drop_own_arg);
    return false;
}

static bool drop_envelope(struct pruning *x, uint32_t child)
{
    const struct sendgrid_envelope *e = &x->sg->envelopes[x->envelope];
    bool goes = primary_list(x, e) < SG_LISTS || (x->only_bcc != NULL && x->envelope == 0);
    if (goes) {
        x->envelopes_left++;
        walk(x, child, drop_envelope_member);
    }
    x->envelope++;
    return !goes;
}

/* --- settings --------------------------------------------------------------------------------- */

/* A bypass would lift opt-outs that SendGrid knows; a blind copy that was refused must not be made. */
static bool drop_setting(struct pruning *x, uint32_t child)
{
    const struct sendgrid *sg = x->sg;
    for (size_t i = 0; i < SG_SETTING_N; i++) {
        bool off = i < SG_BYPASSES ||
                   (i == SG_SETTING_BCC && sg->bcc_setting && (x->only_bcc != NULL || !x->send[sg->n_listed]));
        if (child != sg->settings[i] || !off || sg->enables[i] == JSON_NONE)
            continue;
        const struct json_node *enable = &sg->scan.nodes[sg->enables[i]];
        edit_replace(&x->edits, enable->start, enable->end, SLICE("false"));
    }
    return false;
}

static bool drop_root_member(struct pruning *x, uint32_t child)
{
    const uint32_t *root = x->sg->root;
    if (child == root[SG_ROOT_PERSONALIZATIONS])
        walk(x, child, drop_envelope);
    else if (child == root[SG_ROOT_HEADERS])
        walk(x, child, drop_own_header);
    else if (child == root[SG_ROOT_CUSTOM_ARGS])
        walk(x, child, drop_own_arg);
    else if (child == root[SG_ROOT_MAIL_SETTINGS])
        walk(x, child, drop_setting);
    return child == root[SG_ROOT_SEND_AT] && has_passed(x, child);
}

/* --- the whole ----------------------------------------------------------------------------------- */

size_t sendgrid_settle(const struct parsed *p, bool *send)
{
    const struct sendgrid *sg = p->dialect;
    size_t cleared = 0, left = 0;
    for (size_t i = 0; i < sg->n_envelopes; i++) {
        const struct sendgrid_list *lists = sg->envelopes[i].lists;
        bool goes = n_sent(&lists[SG_PERSON_TO], send) > 0;
        left += goes;
        for (size_t which = SG_PERSON_CC; which < SG_LISTS && !goes; which++) {
            cleared += n_sent(&lists[which], send);
            memset(send + lists[which].first, 0, lists[which].n * sizeof *send);
        }
    }
    if (left == 0 && sg->bcc_setting && send[sg->n_listed]) {
        send[sg->n_listed] = false;
        cleared++;
    }
    return cleared;
}

/* Only the copy of mail_settings.bcc is to leave: it becomes the recipient of the first personalization. */
static enum err find_only_bcc(struct pruning *x, struct arena *a)
{
    const struct sendgrid *sg = x->sg;
    for (uint32_t i = 0; i < sg->n_listed; i++) {
        if (x->send[i])
            return OK;
    }
    if (!sg->bcc_setting || !x->send[sg->n_listed])
        return ERR_CONFLICT;
    x->only_bcc = arena_printf(a, "[{\"email\":%.*s}]", SLICE_ARG(json_scan_raw(&sg->scan, sg->bcc_email)));
    return x->only_bcc == NULL ? ERR_LIMIT : OK;
}

/* The parameters are the contract's.  NOLINTNEXTLINE(readability-function-size) */
enum err sendgrid_forward(const struct wire_request *r, const struct route *route, const struct parsed *p,
                          const bool *send, const struct forward_options *options, struct arena *a,
                          struct outgoing *out)
{
    (void)route;
    const struct sendgrid *sg = p->dialect;
    struct pruning x = {.sg = sg, .send = send, .now_ms = options->now_ms, .edits = {.arena = a}};
    *out = (struct outgoing){.method = SLICE("POST"), .path_and_query = wire_target(r->path, r->query, a)};
    enum err err = find_only_bcc(&x, a);
    if (err != OK)
        return err;
    walk(&x, 0, drop_root_member);
    ensure(x.envelopes_left > 0);
    err = edit_apply(&x.edits, r->body, &out->body);
    if (err != OK || out->path_and_query.p == NULL)
        return ERR_LIMIT;
    return sendgrid_outgoing_fields(r, options->login, a, out);
}

/*
 * What waits: look-up, early release, cancelling.
 *
 * An application sees and changes what its own key sent; agents and admins all.
 * A release only makes a message due: it is decided again in full.
 */
#include "api.h"

#include "api_json.h"
#include "callback.h"
#include "postern/clock.h"
#include "release.h"

#define STAFF         (ROLE_AGENT | ROLE_ADMIN)
#define LIMIT_DEFAULT 100
#define LIMIT_MAX     1000
#define WAITING       (1u << DEFERRED_WAITING | 1u << DEFERRED_PAUSED | 1u << DEFERRED_LEASED)

struct deferred_call {
    struct api_call *c;
    struct store_deferred_list list;
    struct store_deferred_change change;
};

static void put_row(struct buf *b, const struct deferred *d)
{
    api_put_open(b, '{');
    api_put_id(b, "id", "def_", d->id);
    api_put_id(b, "decision_id", "dec_", d->decision);
    api_put_text(b, "kept_id", d->kept_id);
    api_put_word(b, "state", deferred_state_name(d->state));
    api_put_word(b, "kind", deferred_kind_name(d->kind));
    api_put_word(b, "reason", reason_name(d->reason));
    api_put_text(b, "end_reason", d->end_reason);
    api_put_time(b, "release_at", d->release_at_ms);
    api_put_time(b, "expires_at", d->expires_at_ms);
    api_put_time(b, "enqueued_at", d->enqueued_at_ms);
    api_put_text(b, "local_rule", d->local_rule);
    api_put_number(b, "deferrals", d->deferrals);
    api_put_word(b, "channel", channel_name(d->channel));
    api_put_text(b, "category", d->category);
    api_put_word(b, "class", class_name(d->class));
    api_put_word(b, "priority", priority_name(d->priority));
    api_put_text(b, "key", d->key);
    api_put_text(b, "contact", d->contact_id);
    api_put_word(b, "to", d->to.text);
    api_put_close(b, '}');
}

/* --- look-up --------------------------------------------------------------------------- */

static bool may_see(const struct api_call *c, const struct deferred *d)
{
    return api_may(c, STAFF) || slice_eq_cstr(d->key, c->key->name);
}

static void on_listed(enum err status, void *arg)
{
    struct deferred_call *call = arg;
    struct api_call *c = call->c;
    const struct store_deferred_list *list = &call->list;
    struct buf b;

    if (status != OK) {
        api_problem_of_store(&c, status);
        return;
    }
    api_answer_init(c, &b);
    api_put_open(&b, '{');
    api_put_in(&b, "deferred", '[');
    for (size_t i = 0; i < list->n; i++) {
        if (may_see(c, &list->rows[i]))
            put_row(&b, &list->rows[i]);
    }
    api_put_close(&b, ']');
    api_put_id(&b, "next_after", "def_", list->n == list->max ? list->rows[list->n - 1].id : 0);
    api_put_close(&b, '}');
    api_answer(&c, 200, &b);
}

static bool read_id(struct api_call *c, const char *name, uint64_t *out, struct api_fault *f)
{
    struct slice s = api_query(c, name);

    if (s.p != NULL && !api_id_parse(s, "def_", out))
        api_fault_set(f, name, "\"%.*s\" is not an id like def_0000000000000001", SLICE_ARG(s));
    return !f->set;
}

/* Bit set of states; what waits when none is named; 0 = any. */
static uint32_t read_states(struct api_call *c, struct api_fault *f)
{
    static const char *const names[] = {
#define X(id, name) name,
        DEFERRED_STATES(X)
#undef X
    };
    struct slice s = api_query(c, "state");
    enum deferred_state state;
    char list[API_LIST_MAX];

    if (s.p == NULL)
        return WAITING;
    if (slice_eq_cstr(s, "any"))
        return 0;
    if (deferred_state_parse(s, &state))
        return 1u << state;
    api_fault_set(f, "state", "\"%.*s\" is not any or one of: %s", s.n < 40 ? (int)s.n : 40, s.p,
                  api_list(API_WORDS(names), list));
    return 0;
}

void api_deferred_get(struct api_call *c)
{
    struct deferred_call *call = api_state(c, sizeof(*call));
    struct store_deferred_list *list = &call->list;
    struct slice address = api_query(c, "address");
    struct api_fault f = {0};
    struct errmsg e;
    uint64_t limit;

    call->c = c;
    list->r = (struct store_request){.kind = STORE_DEFERRED_LIST, .cb = on_listed, .arg = call};
    list->arena = c->r->arena;
    list->contact_id = api_query(c, "contact");
    if (address.p != NULL && address_parse(address, &list->address, &e) != OK)
        api_fault_set(&f, "address", "%s (a '+' in a query is written %%2B)", e.text);
    if (!read_id(c, "id", &list->id, &f) || !read_id(c, "after", &list->after_id, &f)) {
        api_problem_of_fault(&c, &f);
        return;
    }
    list->states = list->id != 0 && api_query(c, "state").p == NULL ? 0 : read_states(c, &f);
    if (!api_query_number(c->r, "limit", LIMIT_MAX, LIMIT_DEFAULT, &limit))
        api_fault_set(&f, "limit", "must be a number from 1 to %d", LIMIT_MAX);
    list->max = (size_t)limit;
    if (f.set)
        api_problem_of_fault(&c, &f);
    else
        store_submit(c->g->store, &list->r);
}

/* --- release and cancel ------------------------------------------------------------------ */

static void on_changed(enum err status, void *arg)
{
    struct deferred_call *call = arg;
    struct api_call *c = call->c;
    struct gateway *g = c->g;
    const struct store_deferred_change *change = &call->change;
    struct buf b;

    if (status == ERR_NOT_FOUND) {
        api_problem(&c, 404, "there is no deferred message \"%.*s\"", SLICE_ARG(c->id));
        return;
    }
    if (status == ERR_CONFLICT) {
        api_problem(&c, 409,
                    "\"%.*s\" is not waiting any more; GET /postern/v1/deferred?id=%.*s says what became of it",
                    SLICE_ARG(c->id), SLICE_ARG(c->id));
        return;
    }
    if (status != OK) {
        api_problem_of_store(&c, status);
        return;
    }
    const struct deferred *row = &change->rows[0];
    if (change->action == DEFERRED_DO_CANCEL) {
        metrics_release(g->metrics, "cancelled");
        callbacks_post(g->callbacks, row, KEPT_CANCELLED, REASON_CANCELLED);
    }
    api_answer_init(c, &b);
    put_row(&b, row);
    api_answer(&c, 200, &b);
    releaser_wake(g->releaser);
}

void api_deferred_post(struct api_call *c)
{
    struct deferred_call *call = api_state(c, sizeof(*call));
    uint64_t id;

    call->c = c;
    if (!api_id_parse(c->id, "def_", &id)) {
        api_problem(&c, 404, "there is no deferred message \"%.*s\": ids look like def_0000000000000001",
                    SLICE_ARG(c->id));
        return;
    }
    call->change = (struct store_deferred_change){
        .r = {.kind = STORE_DEFERRED_CHANGE, .cb = on_changed, .arg = call},
        .arena = c->r->arena,
        .id = id,
        .key = api_may(c, STAFF) ? (struct slice){0} : slice_of(c->key->name),
        .action = slice_eq_cstr(c->action, "cancel") ? DEFERRED_DO_CANCEL : DEFERRED_DO_RELEASE,
        .actor = slice_of(c->key->name),
        .reason = REASON_CANCELLED,
        .now_ms = clock_wall_ms(),
    };
    store_submit(c->g->store, &call->change.r);
}

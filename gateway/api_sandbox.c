/* The sandbox's inbox as JSON: what would have been sent, newest first. */
#include "api.h"

#include "api_json.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX     1000

struct sandbox_call {
    struct api_call *c;
    struct store_sandbox_list list;
};

static void put_message(struct buf *b, const struct sandbox_message *m)
{
    api_put_open(b, '{');
    api_put_time(b, "at", m->at_ms);
    api_put_id(b, "decision_id", "dec_", m->decision);
    api_put_word(b, "channel", channel_name(m->channel));
    api_put_text(b, "category", m->category);
    api_put_text(b, "dialect", m->dialect);
    api_put_text(b, "to", m->to);
    api_put_text(b, "from", m->from);
    api_put_text(b, "subject", m->subject);
    api_put_text(b, "text", m->text);
    api_put_text(b, "body", m->body);
    api_put_close(b, '}');
}

static void on_listed(enum err status, void *arg)
{
    struct sandbox_call *call = arg;
    struct api_call *c = call->c;
    struct buf b;

    if (status != OK) {
        api_problem_of_store(&c, status);
        return;
    }
    api_answer_init(c, &b);
    api_put_open(&b, '{');
    api_put_in(&b, "messages", '[');
    for (size_t i = 0; i < call->list.n; i++)
        put_message(&b, &call->list.rows[i]);
    api_put_close(&b, ']');
    api_put_close(&b, '}');
    api_answer(&c, 200, &b);
}

void api_sandbox_get(struct api_call *c)
{
    struct sandbox_call *call = api_state(c, sizeof(*call));
    uint64_t limit;

    call->c = c;
    if (!api_query_number(c->r, "limit", LIMIT_MAX, LIMIT_DEFAULT, &limit)) {
        api_problem(&c, 400, "limit: must be a number from 1 to %d", LIMIT_MAX);
        return;
    }
    call->list = (struct store_sandbox_list){
        .r = {.kind = STORE_SANDBOX_LIST, .cb = on_listed, .arg = call},
        .arena = c->r->arena,
        .max = (size_t)limit,
    };
    store_submit(c->g->store, &call->list.r);
}

/*
 * Overrides of a soft block.  Tokens are issued with the block; this release does
 * not act on them: the call is checked as it will be, and then says so, so that
 * nobody believes that a message has left.
 */
#include "api.h"

#include <jansson.h>

#include "api_json.h"
#include "postern/json.h"

#define JUSTIFICATION_MIN 10u

struct override_call {
    struct api_call *c;
    struct store_decision_get get;
};

static const char *const members[] = {"token", "agent", "justification"};

static bool read_override(struct api_call *c, struct api_fault *f)
{
    struct api_object o;

    api_object_open(&o, c->body, API_WORDS(members), f);
    api_need(&o, "token", "the override token of the answer that blocked the message");
    api_need(&o, "agent", "who overrides: a person's name or id");
    api_need(&o, "justification", "why the message must go out nevertheless");
    struct slice token = api_text(&o, "token", 512);
    if (token.p != NULL && !slice_starts(token, "ovr_"))
        api_refuse(&o, "token", "does not look like an override token: they start with ovr_");
    (void)api_text(&o, "agent", API_NAME_MAX);
    struct slice why = api_prose(&o, "justification");
    if (why.p != NULL && why.n < JUSTIFICATION_MIN)
        api_refuse(&o, "justification", "must be at least %u characters", JUSTIFICATION_MIN);
    return !f->set;
}

static void on_decision(enum err status, void *arg)
{
    struct override_call *call = arg;
    struct api_call *c = call->c;
    enum outcome outcome = OUTCOME_BLOCK;
    struct errmsg e;

    if (status == ERR_NOT_FOUND) {
        api_problem(&c, 404, "there is no decision \"%.*s\"", SLICE_ARG(c->id));
        return;
    }
    if (status != OK) {
        api_problem_of_store(&c, status);
        return;
    }
    json_t *decision = json_parse(call->get.json, &e);
    bool known = outcome_parse(slice_of(json_string_value(json_object_get(decision, "outcome"))), &outcome);
    json_decref(decision);
    if (!known || outcome != OUTCOME_SOFT_BLOCK)
        api_problem(&c, 409, "decision \"%.*s\" is not a soft block (%s): there is nothing to override",
                    SLICE_ARG(c->id), outcome_name(outcome));
    else
        api_problem(&c, 501,
                    "this release does not act on overrides yet; decision \"%.*s\" stays blocked and nothing "
                    "was sent",
                    SLICE_ARG(c->id));
}

void api_override_post(struct api_call *c)
{
    struct override_call *call = api_state(c, sizeof(*call));
    struct api_fault f = {0};
    uint64_t id;

    call->c = c;
    if (!read_override(c, &f)) {
        api_problem_of_fault(&c, &f);
        return;
    }
    if (!decision_id_parse(c->id, &id)) {
        api_problem(&c, 404, "there is no decision \"%.*s\"", SLICE_ARG(c->id));
        return;
    }
    call->get = (struct store_decision_get){
        .r = {.kind = STORE_DECISION_GET, .cb = on_decision, .arg = call}, .arena = c->r->arena, .id = id};
    store_submit(c->g->store, &call->get.r);
}

/*
 * Decisions: the dry run, which sends and counts nothing, and the look-up of one
 * that was made, with what became of it.
 */
#include "api_decisions.h"

#include <jansson.h>
#include <stdlib.h>

#include "postern/clock.h"
#include "postern/json.h"
#include "submission.h"

#define SUBJECT_MAX  998u    /* a line of a mail (RFC 5322, 2.1.1) */
#define DOCUMENT_MAX 262144u /* of a text or an HTML: more than any rule looks at */

/* --- dry run ---------------------------------------------------------------------------- */

struct dry_call {
    struct api_call *c;
    struct submission_dry_run run;
};

static const char *const members[] = {"to",        "channel",         "category",    "priority", "at",
                                      "topic",     "sender",          "sender_kind", "language", "format",
                                      "formality", "technical_depth", "content"};
static const char *const content_members[] = {"subject", "text", "html"};

static bool fits(enum channel channel, enum address_kind kind)
{
    switch (channel) {
    case CHANNEL_EMAIL:
        return kind == ADDRESS_EMAIL;
    case CHANNEL_SMS:
    case CHANNEL_VOICE:
        return kind == ADDRESS_PHONE;
    case CHANNEL_CHAT:
    case CHANNEL_IN_APP:
    case CHANNEL_PUSH:
    case CHANNEL_POST:
    case CHANNEL_SOCIAL:
        return true;
    case CHANNEL_N:
        break;
    }
    never("a channel");
}

static void read_content(const struct api_object *question, struct submission_content *out)
{
    struct api_object o;

    if (!api_object_in_of(question, "content", API_WORDS(content_members), &o))
        return;
    out->subject = api_text(&o, "subject", SUBJECT_MAX);
    out->text = api_document(&o, "text", DOCUMENT_MAX);
    out->html = api_document(&o, "html", DOCUMENT_MAX);
}

static bool read_question(struct dry_call *call, struct api_fault *f)
{
    struct api_call *c = call->c;
    struct message *m = &call->run.message;
    struct api_object o;
    unsigned word;

    api_object_open(&o, c->body, API_WORDS(members), f);
    api_need(&o, "to", "an e-mail address or a phone number");
    if (api_address(&o, "to", &m->to))
        m->to_text = api_text(&o, "to", ADDRESS_TEXT_MAX);
    m->channel = m->to.kind == ADDRESS_PHONE ? CHANNEL_SMS : CHANNEL_EMAIL;
    if (api_word(&o, "channel", api_channels, &word))
        m->channel = (enum channel)word;
    if (!f->set && !fits(m->channel, m->to.kind))
        api_refuse(&o, "channel", "%s cannot reach %s", channel_name(m->channel),
                   m->to.kind == ADDRESS_PHONE ? "a phone number" : "an e-mail address");
    m->category = c->key->default_category;
    if (m->category == NULL)
        api_need(&o, "category", "this key has no default category");
    const struct category *category = api_category(&o, "category", &c->conf->policy);
    if (category != NULL)
        m->category = category;
    m->priority = api_word(&o, "priority", api_priorities, &word) ? (enum priority)word : PRIORITY_P2;
    m->sender_kind =
        api_word(&o, "sender_kind", api_sender_kinds, &word) ? (enum sender_kind)word : c->key->sender_kind;
    if (!api_time(&o, "at", &call->run.at_ms))
        call->run.at_ms = clock_wall_ms();
    m->topic = api_text(&o, "topic", API_NAME_MAX);
    m->sender = api_text(&o, "sender", API_NAME_MAX);
    m->form = (struct message_form){
        .language = api_text(&o, "language", API_NAME_MAX),
        .format = api_text(&o, "format", API_NAME_MAX),
        .formality = api_text(&o, "formality", API_NAME_MAX),
        .technical_depth = api_text(&o, "technical_depth", API_NAME_MAX),
    };
    read_content(&o, &call->run.content);
    m->field = SLICE("to");
    return !f->set;
}

static void on_decided(enum err status, void *arg)
{
    struct dry_call *call = arg;
    struct api_call *c = call->c;
    struct buf b;

    if (status != OK) {
        api_problem_of_store(&c, status);
        return;
    }
    api_answer_init(c, &b);
    api_decision_put(&b, &call->run.facts, &call->run.decision);
    api_answer(&c, 200, &b);
}

void api_decision_post(struct api_call *c)
{
    struct dry_call *call = api_state(c, sizeof(*call));
    struct api_fault f = {0};

    call->c = c;
    call->run.arena = c->r->arena;
    call->run.policy = &c->conf->policy;
    if (read_question(call, &f))
        submission_dry_run(c->g, &call->run, on_decided, call);
    else
        api_problem_of_fault(&c, &f);
}

/* --- look-up ---------------------------------------------------------------------------- */

struct look_up {
    struct api_call *c;
    struct store_decision_get get;
};

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

/* What became of it, in one word of the API. */
static const char *result_word(const json_t *decision)
{
    const char *status = text_of(decision, "status");

    if (strcmp(status, "sending") == 0)
        return "pending";
    if (strcmp(status, "soft_blocked") == 0)
        return "blocked"; /* the level and the outcome say that it was a soft one */
    if (strcmp(status, "cancelled") == 0 && strcmp(text_of(json_object_get(decision, "deferred"), "end_reason"),
                                                   reason_name(REASON_OPTED_OUT_MEANWHILE)) == 0)
        return reason_name(REASON_OPTED_OUT_MEANWHILE);
    return status;
}

/*
 * The store's row as the API shows it: one word in "result", what is known of the
 * provider beside it, the decisions made later in "children".
 */
static void reshape(json_t *decision)
{
    static const struct {
        const char *from, *to;
    } moved[] = {{"provider", "provider"},
                 {"provider_status", "provider_status"},
                 {"provider_id", "provider_id"},
                 {"detail", "result_detail"},
                 {"at", "result_at"},
                 {"counted", "counted"}};
    const char *word = result_word(decision);
    const json_t *result = json_object_get(decision, "result");

    for (size_t i = 0; i < N_ELEMENTS(moved); i++) {
        json_t *value = json_object_get(result, moved[i].from);
        if (value != NULL)
            json_object_set(decision, moved[i].to, value);
    }
    json_object_set_new(decision, "result", json_string(word));
    json_object_del(decision, "status");
    json_object_set(decision, "children", json_object_get(decision, "child_decisions"));
    json_object_del(decision, "child_decisions");
}

static void on_found(enum err status, void *arg)
{
    struct look_up *call = arg;
    struct api_call *c = call->c;
    struct errmsg e;

    if (status == ERR_NOT_FOUND) {
        api_problem(&c, 404, "there is no decision \"%.*s\"", SLICE_ARG(c->id));
        return;
    }
    json_t *decision = status == OK ? json_parse(call->get.json, &e) : NULL;
    if (decision == NULL) {
        api_problem_of_store(&c, status == OK ? ERR_INTERNAL : status);
        return;
    }
    reshape(decision);
    char *text = json_dumps(decision, JSON_COMPACT);
    ensure(text != NULL);
    api_reply(&c, 200, slice_of(text));
    free(text);
    json_decref(decision);
}

void api_decision_get(struct api_call *c)
{
    struct look_up *call = api_state(c, sizeof(*call));
    uint64_t id;

    call->c = c;
    if (!decision_id_parse(c->id, &id)) {
        api_problem(&c, 404, "there is no decision \"%.*s\": ids look like dec_0000000100000001", SLICE_ARG(c->id));
        return;
    }
    call->get = (struct store_decision_get){
        .r = {.kind = STORE_DECISION_GET, .cb = on_found, .arg = call}, .arena = c->r->arena, .id = id};
    store_submit(c->g->store, &call->get.r);
}

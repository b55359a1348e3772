/*
 * Reading a recorded decision (store/audit_json.c and gateway/submission_record.c
 * write them), and the queue of those that a replay keeps.  Knows no rule.
 */
#include "replay_row.h"

#include <jansson.h>
#include <stdlib.h>

#include "postern/json.h"

#define KEPT_BYTES 65536u /* of one that waits: header fields are short */

static struct slice text(const json_t *object, const char *name)
{
    return slice_of(json_string_value(json_object_get(object, name)));
}

static int64_t number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static bool truth(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

static bool read_message(const json_t *body, const json_t *facts, struct slice recipient, struct message *m)
{
    struct errmsg e;

    *m = (struct message){
        .index = (uint32_t)number(body, "message_index"),
        .topic = text(facts, "topic"),
        .form = {.language = text(facts, "language"),
                 .format = text(facts, "format"),
                 .formality = text(facts, "formality"),
                 .technical_depth = text(facts, "technical_depth")},
        .not_before_ms = number(facts, "not_before_ms"),
        .expires_at_ms = number(facts, "expires_ms"),
        .fingerprint = number(facts, "same_content_ms") != 0, /* a rule asks only whether there is one */
    };
    return channel_parse(text(body, "channel"), &m->channel) && priority_parse(text(body, "priority"), &m->priority) &&
           sender_kind_parse(text(body, "sender_kind"), &m->sender_kind) && address_parse(recipient, &m->to, &e) == OK;
}

/* What rules read of the content; false: nothing. */
static bool read_content(const json_t *facts, struct body_facts *out)
{
    const json_t *body = json_object_get(facts, "body");
    struct slice language = text(body, "language");

    *out = (struct body_facts){
        .words = (uint32_t)number(body, "words"),
        .cut = truth(body, "cut"),
        .has_card_number = truth(body, "card_number"),
    };
    if (language.n < sizeof(out->language))
        memcpy(out->language, language.p != NULL ? language.p : "", language.n);
    return body != NULL;
}

/* By name: a rule that this program does not know is passed over. */
static uint32_t fired(const json_t *body)
{
    const json_t *violations = json_object_get(body, "violations");
    uint32_t out = 0;

    for (size_t i = 0; i < json_array_size(violations); i++) {
        const json_t *v = json_array_get(violations, i);
        enum rule rule;
        if (!truth(v, "shadow") && rule_parse(text(v, "rule"), &rule))
            out |= UINT32_C(1) << rule;
    }
    return out;
}

static bool read_answer(const json_t *body, struct replay_answer *out)
{
    *out = (struct replay_answer){.fired = fired(body), .policy_version = (uint32_t)number(body, "policy_version")};
    if (!rfc3339_parse(text(body, "release_at"), &out->release_at_ms))
        out->release_at_ms = 0; /* null: it was not kept */
    return outcome_parse(text(body, "outcome"), &out->outcome);
}

static bool read_question(const struct store_event *e, const struct replay_row *row, struct replay_question *out)
{
    const json_t *facts = json_object_get(row->body, "facts");

    *out = (struct replay_question){
        .decision = e->ref,
        .contact = text(row->personal, "contact"),
        .at_ms = e->at_ms,
        .deferrals = (uint32_t)number(facts, "deferrals"),
        .sender_known = json_object_get(facts, "sender") != NULL,
        .sender = (uint32_t)number(facts, "sender"),
        .same_content_ms = number(facts, "same_content_ms"),
        .profile_stale = truth(facts, "profile_stale"),
        .counters_down = truth(facts, "counters_down"),
        .sandbox_mode = truth(facts, "sandbox_mode"),
    };
    if (!read_message(row->body, facts, text(row->personal, "recipient"), &out->message))
        return false;
    out->message.body = read_content(facts, &out->content) ? &out->content : NULL;
    return true;
}

enum replay_reading replay_row_read(const struct store_event *e, const struct conf *conf, struct replay_row *out)
{
    struct errmsg why;

    *out = (struct replay_row){0};
    if (e->personal.n == 0)
        return ROW_ERASED;
    out->body = json_parse(e->body, &why);
    out->personal = json_parse(e->personal, &why);
    if (out->body == NULL || out->personal == NULL || !read_answer(out->body, &out->answer) ||
        !read_question(e, out, &out->question))
        return ROW_UNREADABLE;
    out->question.message.category = conf_category(conf, text(out->body, "category"));
    if (!decision_id_parse(text(out->body, "parent_decision"), &out->parent))
        out->parent = 0; /* null: the first */
    out->submission = text(out->body, "submission_id");
    out->key = text(out->body, "key");
    out->field = text(out->body, "field");
    return out->question.message.category != NULL ? ROW_READ : ROW_WITHOUT_CATEGORY;
}

void replay_row_clear(struct replay_row *row)
{
    json_decref(row->body);
    json_decref(row->personal);
}

bool replay_result_may_be_out(const struct store_event *e)
{
    static const enum result out[] = {RESULT_FORWARDED, RESULT_SANDBOX, RESULT_UNKNOWN};
    struct errmsg why;
    json_t *body = json_parse(e->body, &why);
    bool may_be = body == NULL;

    for (size_t i = 0; i < N_ELEMENTS(out); i++)
        may_be |= slice_eq_cstr(text(body, "result"), result_name(out[i]));
    json_decref(body);
    return may_be;
}

/* --- the queue --------------------------------------------------------------------------- */

struct replay_question *replay_question_keep(const struct replay_question *q)
{
    struct replay_question *kept = xcalloc(1, sizeof(*kept));
    struct message *m = &kept->message;
    struct slice *const borrowed[] = {&kept->contact,  &m->topic,          &m->form.language,
                                      &m->form.format, &m->form.formality, &m->form.technical_depth};

    *kept = *q;
    m->body = q->message.body != NULL ? &kept->content : NULL;
    arena_init(&kept->arena, KEPT_BYTES);
    for (size_t i = 0; i < N_ELEMENTS(borrowed); i++) {
        if (borrowed[i]->n > 0)
            *borrowed[i] = arena_slice(&kept->arena, *borrowed[i]);
    }
    return kept;
}

void replay_question_free(struct replay_question **qp)
{
    struct replay_question *q = take(qp);

    if (q != NULL)
        arena_clear(&q->arena);
    free(q);
}

static void swap(struct replay_queue *queue, size_t a, size_t b)
{
    struct replay_question *q = queue->heap[a];
    queue->heap[a] = queue->heap[b];
    queue->heap[b] = q;
}

static bool before(const struct replay_queue *queue, size_t a, size_t b)
{
    return queue->heap[a]->at_ms < queue->heap[b]->at_ms;
}

void replay_queue_add(struct replay_queue *queue, struct replay_question *q)
{
    if (queue->n == queue->cap) {
        queue->cap = queue->cap == 0 ? 64 : queue->cap * 2;
        queue->heap = xrealloc(queue->heap, queue->cap, sizeof(struct replay_question *));
    }
    queue->heap[queue->n] = q;
    for (size_t i = queue->n++; i > 0 && before(queue, i, (i - 1) / 2); i = (i - 1) / 2)
        swap(queue, i, (i - 1) / 2);
}

struct replay_question *replay_queue_take(struct replay_queue *queue, int64_t by_ms)
{
    if (queue->n == 0 || queue->heap[0]->at_ms > by_ms)
        return NULL;
    struct replay_question *first = queue->heap[0];
    queue->heap[0] = queue->heap[--queue->n];
    for (size_t i = 0, child; (child = 2 * i + 1) < queue->n; i = child) {
        if (child + 1 < queue->n && before(queue, child + 1, child))
            child++;
        if (!before(queue, child, i))
            break;
        swap(queue, i, child);
    }
    return first;
}

void replay_queue_clear(struct replay_queue *queue)
{
    for (size_t i = 0; i < queue->n; i++)
        replay_question_free(&queue->heap[i]);
    free(queue->heap);
}

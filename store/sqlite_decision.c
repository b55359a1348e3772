/*
 * A decision as the API shows it: the audit row's text, with what has become of it
 * since: recipient (until erased), result, status, the deferred row, the decisions
 * before and after.
 */
#include "store/sqlite.h"

#include <jansson.h>
#include <stdlib.h>

#include "postern/json.h"
#include "postern/limits.h"

static void json_free(json_t **j)
{
    json_decref(*j);
}

static void set_text(json_t *object, const char *name, const char *text)
{
    json_object_set_new(object, name, text == NULL ? json_null() : json_string(text));
}

static void set_time(json_t *object, const char *name, int64_t wall_ms)
{
    char text[RFC3339_MAX];
    set_text(object, name, rfc3339_format(wall_ms, text));
}

static void set_id(json_t *object, const char *name, const char *prefix, uint64_t id)
{
    char text[32];
    decision_id_format(id, text);
    json_object_set_new(object, name, json_sprintf("%s%s", prefix, text + strlen("dec_")));
}

/* Bodies are our own text; one that does not parse was changed in the table, and `audit verify` names it. */
static json_t *parse(struct slice text)
{
    struct errmsg e;
    return text.n == 0 ? NULL : json_parse(text, &e);
}

static void put_row(json_t **decision, sqlite3_stmt *st)
{
    struct slice kind = col_borrow(st, 0);
    if (slice_eq_cstr(kind, "decision") && *decision == NULL) {
        *decision = parse(col_borrow(st, 2));
        AUTO(json_free) json_t *personal = parse(col_borrow(st, 3));
        if (*decision != NULL)
            set_text(*decision, "recipient", json_string_value(json_object_get(personal, "recipient")));
    } else if (slice_eq_cstr(kind, "result") && *decision != NULL) {
        json_t *result = parse(col_borrow(st, 2));
        if (result == NULL)
            return;
        json_object_del(result, "decision");
        set_time(result, "at", col_int(st, 1));
        json_object_set_new(*decision, "result", result); /* the latest one stands */
    }
}

static void put_children(struct backend *b, uint64_t id, json_t *decision)
{
    json_t *children = json_array();
    sqlite3_stmt *st = SQL_START(b, SQL_CHILDREN, V_INT(id));
    while (sql_row(b, st)) {
        char text[32];
        json_array_append_new(children, json_string(decision_id_format((uint64_t)col_int(st, 0), text)));
    }
    json_object_set_new(decision, "child_decisions", children);
}

static bool waits(enum outcome o)
{
    return o == OUTCOME_DEFER || o == OUTCOME_DIGEST || o == OUTCOME_HOLD;
}

/* Where the row ended that this decision deferred, unless a later decision has taken it over; NULL: it did not. */
static const char *put_deferred(struct backend *b, uint64_t id, enum outcome outcome, json_t *decision)
{
    const char *status = NULL;
    enum reason reason;
    sqlite3_stmt *st = SQL_START(b, SQL_DEFERRED_OF_DECISION, V_INT(id));
    if (!sql_row(b, st))
        return NULL;
    enum deferred_state state = (enum deferred_state)col_int(st, 1);
    json_t *deferred = json_object();
    set_id(deferred, "id", "def_", (uint64_t)col_int(st, 0));
    set_text(deferred, "state", deferred_state_name(state));
    struct slice end_reason = col_borrow(st, 2);
    if (end_reason.n > 0)
        json_object_set_new(deferred, "end_reason", json_stringn(end_reason.p, end_reason.n));
    set_time(deferred, "release_at", col_int(st, 3));
    json_object_set_new(decision, "deferred", deferred);
    if (state == DEFERRED_CANCELLED)
        status = "cancelled";
    else if (state == DEFERRED_DEAD)
        status = "dead";
    else if (state == DEFERRED_ENDED && reason_parse(end_reason, &reason) &&
             (reason == REASON_EXPIRED || waits(outcome)))
        status = reason_name(reason);
    sql_end(st);
    return status;
}

static const char *status_of_outcome(enum outcome outcome, bool intent_is_open)
{
    switch (outcome) {
    case OUTCOME_FORWARD:
    case OUTCOME_REDIRECT:
        return intent_is_open ? "sending" : "not_sent";
    case OUTCOME_DEFER:
        return "deferred";
    case OUTCOME_DIGEST:
        return "digested";
    case OUTCOME_SOFT_BLOCK:
        return "soft_blocked";
    case OUTCOME_HOLD:
        return "held";
    case OUTCOME_BLOCK:
        return "blocked";
    case OUTCOME_N:
        break;
    }
    never("an outcome");
}

/* What has become of it, in one word: its result, else where its deferred row ended, else its outcome. */
static const char *status_of(struct backend *b, uint64_t id, enum outcome outcome, const char *result,
                             const char *ended)
{
    if (result != NULL && strcmp(result, result_name(RESULT_SANDBOX)) == 0)
        return result_name(RESULT_FORWARDED);
    bool was_kept = result != NULL && strcmp(result, result_name(RESULT_DEFERRED)) == 0;
    if (ended != NULL && (result == NULL || was_kept))
        return ended;
    if (result != NULL)
        return result;
    return status_of_outcome(outcome, intent_is_open(b, id));
}

static void put_status(struct backend *b, uint64_t id, json_t *decision)
{
    const char *result = json_string_value(json_object_get(json_object_get(decision, "result"), "result"));
    enum outcome outcome;
    if (!outcome_parse(slice_of(json_string_value(json_object_get(decision, "outcome"))), &outcome))
        outcome = OUTCOME_BLOCK;
    const char *ended = put_deferred(b, id, outcome, decision);
    set_text(decision, "status", status_of(b, id, outcome, result, ended));
}

enum err sqlite_decision_get(struct backend *b, struct store_decision_get *r)
{
    AUTO(json_free) json_t *decision = NULL;
    audit_flush(b);
    sqlite3_stmt *st = SQL_START(b, SQL_AUDIT_OF, V_INT(r->id));
    bool is_there = false;
    while (sql_row(b, st)) {
        is_there = is_there || slice_eq_cstr(col_borrow(st, 0), "decision");
        put_row(&decision, st);
    }
    if (decision == NULL)
        return sql_done(b, is_there ? ERR_INTERNAL : ERR_NOT_FOUND);
    if (json_object_get(decision, "result") == NULL)
        json_object_set_new(decision, "result", json_null());
    put_status(b, r->id, decision);
    put_children(b, r->id, decision);
    char *text = json_dumps(decision, JSON_COMPACT);
    ensure(text != NULL);
    r->json = arena_slice(r->arena, slice_of(text));
    free(text);
    if (r->json.p == NULL)
        b->arena_spent = true;
    return sql_done(b, OK);
}

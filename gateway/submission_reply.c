/*
 * REPLY: the client hears what became of its messages, in its own dialect; a
 * released message's queue hears how it ended.  One log line a submission.
 */
#include "submission_parts.h"

#include <stdio.h>

#include "postern/clock.h"
#include "postern/hash.h"
#include "postern/log.h"

#define TOKEN_LIFE_MS   (15 * MS_PER_MINUTE) /* semantics 8 */
#define TOKEN_MAC_BYTES 16

static const char *fault_name(enum fault_kind kind)
{
    switch (kind) {
    case FAULT_SYNTAX:
        return "syntax";
    case FAULT_NO_RECIPIENT:
        return "no_recipient";
    case FAULT_ADDRESS:
        return "address";
    case FAULT_NO_SENDER:
        return "no_sender";
    case FAULT_NO_BODY:
        return "no_body";
    case FAULT_TOO_LONG:
        return "too_long";
    case FAULT_TOO_LARGE:
        return "too_large";
    case FAULT_MEDIA_TYPE:
        return "media_type";
    case FAULT_AUTH:
        return "auth";
    case FAULT_FORBIDDEN:
        return "forbidden";
    case FAULT_CATEGORY:
        return "category";
    case FAULT_NOT_FOUND:
        return "not_found";
    case FAULT_METHOD:
        return "method";
    case FAULT_CONFLICT:
        return "conflict";
    case FAULT_IN_PROGRESS:
        return "in_progress";
    case FAULT_KEY_REUSED:
        return "key_reused";
    case FAULT_OVERLOAD:
        return "overload";
    case FAULT_UNAVAILABLE:
        return "unavailable";
    case FAULT_UPSTREAM_DOWN:
        return "upstream_down";
    case FAULT_INTERNAL:
        return "internal";
    }
    never("a fault");
}

bool submission_fault_reply(struct gateway *g, const struct submission_refusal *r, struct arena *a,
                            struct wire_reply *out)
{
    struct fault told = *r->fault;
    const char *dialect = r->connector->name, *word = fault_name(told.kind);
    /* What is wrong with an address may quote it, and a log holds none: the field is enough. */
    const char *detail = told.kind == FAULT_ADDRESS ? r->fault->field : r->fault->message.text;

    told.now_ms = clock_wall_ms();
    metrics_fault(g->metrics, dialect, word);
    log_line(LOG_INFO, NULL, "submission", "refused", "dialect=%s fault=%s peer=%s detail=%s", dialect, word, r->peer,
             LOG_Q(slice_of(detail)));
    return r->connector->fault_reply(&told, r->route, a, out) == OK;
}

/*
 * "ovr_" and the hex of expiry (seconds), and a MAC over all that the override is bound to: decision, key,
 * recipient, fingerprint, rules, policy.  Whoever presents it later shows what was soft-blocked, unchanged.
 */
static void token_make(const struct submission *s, const struct item *item, struct answer *a)
{
    char bound[1024];
    int n = snprintf(bound, sizeof(bound), "%016llx|%s|%s|%016llx|%08x|%lld", (unsigned long long)item->id,
                     s->key->name, item->message->to.text, (unsigned long long)item->message->fingerprint,
                     item->decision.policy_version, (long long)a->token_expires_at_ms);
    for (size_t i = 0; i < item->decision.n_violations && n > 0 && (size_t)n < sizeof(bound); i++)
        n += snprintf(bound + n, sizeof(bound) - (size_t)n, "|%s", rule_name(item->decision.violations[i].rule));
    struct slice part = {bound, strlen(bound)};
    struct digest mac =
        hash_hmac_sha256((struct slice){(const char *)s->g->token_key, sizeof(s->g->token_key)}, &part, 1);
    char hex[2 * TOKEN_MAC_BYTES + 1];
    snprintf(a->token, sizeof(a->token), "ovr_%08llx%s", (unsigned long long)(a->token_expires_at_ms / 1000),
             hash_hex(mac.b, TOKEN_MAC_BYTES, hex));
}

static struct answer *answers_of(struct submission *s)
{
    struct answer *answers = arena_calloc(s->arena, s->n_items, sizeof(*answers));

    for (size_t i = 0; answers != NULL && i < s->n_items; i++) {
        struct item *item = &s->items[i];
        struct answer *a = &answers[i];
        a->message = item->message;
        a->decision = &item->decision;
        a->recipient = item->sent.answer;
        decision_id_format(item->id, a->id);
        if (item->decision.outcome != OUTCOME_SOFT_BLOCK)
            continue;
        policy_prompt(&item->decision, item->message, a->prompt);
        if (!item->decision.overridable)
            continue;
        a->token_expires_at_ms = (s->now_ms + TOKEN_LIFE_MS) / 1000 * 1000;
        token_make(s, item, a);
    }
    return answers;
}

static void log_submission(const struct submission *s)
{
    size_t n[OUTCOME_N] = {0};
    char hash[LOG_ADDRESS_MAX] = "", code[PST_CODE_MAX] = "", id[DECISION_ID_MAX] = "";

    if (!log_is_on(LOG_INFO))
        return;
    for (size_t i = 0; i < s->n_items; i++)
        n[s->items[i].decision.outcome]++;
    if (s->n_items > 0) {
        decision_code(&s->items[0].decision, code);
        decision_id_format(s->items[0].id, id);
        log_address(&s->items[0].message->to, hash);
    }
    log_line(
        LOG_INFO, s->id, "submission", s->deferred != NULL ? "released" : "decided",
        "dialect=%s key=%s decision=%s to=%s n=%zu forward=%zu defer=%zu soft_block=%zu block=%zu other=%zu code=%s "
        "provider=%s status=%d%s took_us=%lld",
        s->connector->name, s->key->name, id, hash, s->n_items, n[OUTCOME_FORWARD], n[OUTCOME_DEFER],
        n[OUTCOME_SOFT_BLOCK], n[OUTCOME_BLOCK], n[OUTCOME_DIGEST] + n[OUTCOME_HOLD] + n[OUTCOME_REDIRECT], code,
        s->provider != NULL ? s->provider->name : "-", s->has_answer ? s->answer.status : 0,
        s->unknown ? " unknown=true" : "", (long long)(clock_mono_us() - s->started_us));
}

bool submission_answer(struct submission *s, bool unknown, struct wire_reply *w)
{
    if (s->early && s->items[0].decision.outcome != OUTCOME_BLOCK &&
        s->items[0].decision.outcome != OUTCOME_SOFT_BLOCK) {
        w->status = 250;
        return true;
    }
    struct answer *answers = answers_of(s);
    struct send_report report = {
        .parsed = &s->parsed,
        .route = &s->route,
        .answers = answers,
        .n_answers = s->n_items,
        .provider = s->has_answer ? &s->answer : NULL,
        .queued_now = s->queued_now,
        .unknown = unknown,
        .early = s->early,
        .partial_reject = s->partial_reject,
        .public_url = slice_of(s->conf->public_url),
        .now_ms = s->now_ms,
    };
    text_add(report.kept_id, sizeof(report.kept_id), 0, slice_of(submission_kept_id(s)));
    return answers != NULL && s->connector->reply(&report, s->arena, w) == OK;
}

static bool client_reply(struct submission *s, struct wire_reply *w)
{
    if (s->faulted)
        return submission_fault_reply(s->g, &(struct submission_refusal){s->connector, &s->route, &s->fault, s->peer},
                                      s->arena, w);
    log_submission(s);
    return submission_answer(s, s->unknown, w);
}

/* The client's arena holds the submission's parts and goes with the answer: the submission goes first. */
void submission_send(struct submission *s, bool built)
{
    void (*answered)(void *arg, const struct wire_reply *reply) = s->answered;
    void *arg = s->answered_arg;
    const struct wire_reply *w = built ? s->reply : NULL;

    submission_tell_blocked(s);
    metrics_stage(s->g->metrics, STAGE_REPLY, clock_mono_us() - s->step_us);
    submission_free(&s);
    answered(arg, w);
}

void submission_send_unrecorded(struct submission *s)
{
    struct wire_reply w = {0};

    submission_fail(s, FAULT_UNAVAILABLE, "the store of record cannot write what became of the message");
    bool built = client_reply(s, &w);
    s->reply = &w;
    submission_send(s, built);
}

static void reply_to_client(struct submission *s)
{
    struct wire_reply w = {0};
    bool built = true;

    if (s->faulted || s->reply == NULL) {
        built = client_reply(s, &w);
        s->reply = &w;
    } else if (!s->replayed) {
        log_submission(s);
    }
    if (s->claim != 0 || s->last != NULL || (!s->reported && submission_owes_report(s)))
        submission_post_answer(s, built);
    else
        submission_send(s, built);
}

static void report_release(struct submission *s)
{
    if (s->faulted)
        log_line(LOG_WARN, s->id, "release", "not_released", "reason=%s", LOG_Q(slice_of(s->fault.message.text)));
    else
        log_submission(s);
}

/* What is called too large, or cannot be built, was no fault of the message when the process was short of memory. */
static void look_for_memory(struct submission *s)
{
    bool its_own = s->fault.kind == FAULT_TOO_LARGE || s->fault.kind == FAULT_SYNTAX;

    if (s->faulted && its_own && s->arena->starved)
        submission_fail(s, FAULT_UNAVAILABLE, "there is no memory at this moment; the message was not accepted");
}

enum step_next submission_reply(struct submission *s)
{
    look_for_memory(s);
    if (s->answered != NULL) {
        reply_to_client(s);
        return STEP_END;
    }
    struct gateway *g = s->g;
    submission_released *released = s->released;
    void *arg = s->released_arg;

    if (s->faulted && s->fault.kind != FAULT_CONFLICT && !s->settled)
        submission_give_back(s);
    enum deferred_state end = s->end_state;
    enum reason why = s->end_reason;
    report_release(s);
    submission_free(&s);
    released(g, end, why, arg);
    return STEP_END;
}

/*
 * What the sender of a mail is told of recipients that it did not reach, once
 * Postern has said 250 for it: a message of its own (RFC 3464), kept in the
 * transaction that ends the others, sent by the way that all messages go.  The one
 * idea: whoever was answered with a refusal knows already, and is told nothing.
 */
#include "submission_parts.h"

#include <stdlib.h>

#include "callback.h"
#include "connectors/smtp.h"
#include "postern/hash.h"
#include "release.h"
#include "report.h"

/* "smtp://mx.example:587" -> "mx.example" */
static struct slice host_of(const char *url)
{
    const char *from = strstr(url, "://");
    struct slice rest = slice_of(from != NULL ? from + 3 : url);
    struct slice host = rest;

    for (size_t i = 0; i < rest.n; i++) {
        if (rest.p[i] == ':' && host.n == rest.n)
            host.n = i;
    }
    return host;
}

/* "5.1.1" of "5.1.1 No such user", else of the code. */
static struct slice status_of(const struct recipient_answer *answer)
{
    size_t n = smtp_status_length(answer->code, answer->text);

    if (n > 0)
        return (struct slice){answer->text.p, n};
    return answer->code / 100 == 4 ? SLICE("4.0.0") : answer->code / 100 == 2 ? SLICE("2.0.0") : SLICE("5.0.0");
}

static bool is_blocked(const struct item *item)
{
    return item->decision.outcome == OUTCOME_BLOCK || item->decision.outcome == OUTCOME_SOFT_BLOCK;
}

/* A recipient whom it did not reach and will not. */
static bool has_failed(const struct submission *s, const struct item *item)
{
    if (!item->send)
        return is_blocked(item);
    bool waits = s->deferred != NULL && s->end_state == DEFERRED_WAITING;
    if (item->kept || waits)
        return false;
    return item->sent.result == RESULT_REFUSED || item->sent.result == RESULT_NOT_SENT ||
           s->end_reason == REASON_EXPIRED;
}

/* It went to a relay that will not tell of it, and its sender wants to hear (RFC 3461 section 5.2.2). */
static bool is_receipt(const struct submission *s, const struct item *item)
{
    return item->send && item->sent.result == RESULT_FORWARDED && item->sent.answer != NULL &&
           s->parsed.wants_receipts && !s->relay_reports;
}

static struct report_row row_of(struct submission *s, const struct item *item, struct arena *a)
{
    struct report_row row = {.message = item->message, .action = REPORT_FAILED};
    const struct recipient_answer *answer = item->sent.answer;
    char code[PST_CODE_MAX];

    if (!item->send) {
        row.status = item->decision.reason == REASON_EXPIRED ? SLICE("4.4.7") : SLICE("5.7.1");
        row.diagnostic =
            slice_of(arena_printf(a, "550 5.7.1 Delivery not authorized: %s (%s)",
                                  reason_sentence(item->decision.reason), decision_code(&item->decision, code)));
    } else if (answer != NULL) {
        row.status = status_of(answer);
        row.diagnostic = slice_of(arena_printf(a, "%d %.*s", answer->code, SLICE_ARG(answer->text)));
        row.remote = host_of(s->provider->url);
        row.action = item->sent.result == RESULT_FORWARDED ? REPORT_RELAYED : REPORT_FAILED;
    } else {
        row.status = SLICE("4.4.7");
        row.diagnostic = SLICE("Delivery time expired: the relay did not take it in time");
    }
    return row;
}

/* Was the client told 250 for the whole, although some failed? */
static bool was_accepted(const struct submission *s)
{
    if (s->deferred != NULL)
        return true;
    if (s->faulted || s->early || s->replayed || s->partial_reject)
        return false;
    for (size_t i = 0; i < s->n_items; i++) {
        if (!has_failed(s, &s->items[i]))
            return true;
    }
    return false;
}

static const struct stored_field *fields_of(const struct wire_request *w, struct arena *a)
{
    struct stored_field *fields = arena_calloc(a, w->n_fields, sizeof(*fields));

    for (size_t i = 0; fields != NULL && i < w->n_fields; i++)
        fields[i] = (struct stored_field){w->fields[i].name, w->fields[i].value};
    return fields;
}

/* The one recipient of a report, as its dialect reads it. */
static bool recipient_of(const struct connector *c, const struct wire_request *w, int64_t now_ms, struct arena *a,
                         struct address *to)
{
    struct route route;
    struct parsed p = {0};
    struct fault f;

    if (c->match(w, &route) != CALL_SEND || c->parse(w, &route, now_ms, a, &p, &f) != OK || p.n_messages != 1)
        return false;
    *to = p.messages[0].to;
    return true;
}

struct kept_report *report_build(const struct report_source *source, const struct report_row *rows, size_t n,
                                 struct arena *a)
{
    struct kept_report *report = arena_calloc(a, 1, sizeof(*report));
    struct wire_request w = {0};
    uint8_t random[16];
    char id[2 * sizeof(random) + 1];
    struct report_options options = {
        .now_ms = source->now_ms,
        .arrived_ms = source->arrived_ms,
        .host = source->conf->smtp_host,
        .id = id,
        .kept_id = source->kept_id,
    };

    hash_random(random, sizeof(random));
    hash_hex(random, sizeof(random), id);
    if (report == NULL || source->connector->report(source->wire, source->parsed, rows, n, &options, a, &w) != OK)
        return NULL;
    char *kept_id = arena_calloc(a, 1, SID_MAX);
    if (kept_id == NULL)
        return NULL;
    source->connector->mint_id(source->parsed, random, kept_id);
    *report = (struct kept_report){
        .deferred = {.decision = source->decision,
                     .kind = DEFERRED_RETRY,
                     .state = DEFERRED_WAITING,
                     .kept_id = slice_of(kept_id),
                     .key = arena_slice(a, source->key),
                     .channel = source->connector->channel,
                     .category = SLICE(CONF_REPORTS),
                     .class = CLASS_TRANSACTIONAL,
                     .priority = PRIORITY_P2,
                     .enqueued_at_ms = source->now_ms,
                     .updated_at_ms = source->now_ms,
                     .release_at_ms = source->now_ms,
                     .expires_at_ms = source->now_ms + LIMIT_MAIL_RETRY_MS},
        .submission = {.dialect = slice_of(source->connector->name),
                       .method = w.method,
                       .path = w.path,
                       .query = w.query,
                       .fields = fields_of(&w, a),
                       .n_fields = w.n_fields,
                       .body = w.body},
    };
    if (report->submission.fields == NULL ||
        !recipient_of(source->connector, &w, source->now_ms, a, &report->deferred.to))
        return NULL;
    return report;
}

bool submission_owes_report(const struct submission *s)
{
    if (s->connector == NULL || s->connector->report == NULL || !was_accepted(s))
        return false;
    for (size_t i = 0; i < s->n_items; i++) {
        if (has_failed(s, &s->items[i]) || is_receipt(s, &s->items[i]))
            return true;
    }
    return false;
}

const struct kept_report *submission_report(struct submission *s, struct arena *a)
{
    if (s->reported || !submission_owes_report(s) || s->key->reports == REPORTS_NONE)
        return NULL;
    struct report_row *rows = arena_calloc(a, s->n_items, sizeof(*rows));
    size_t n = 0;
    for (size_t i = 0; rows != NULL && i < s->n_items; i++) {
        if (has_failed(s, &s->items[i]) || is_receipt(s, &s->items[i]))
            rows[n++] = row_of(s, &s->items[i], a);
    }
    if (n == 0)
        return NULL;
    struct report_source source = {
        .conf = s->conf,
        .connector = s->connector,
        .wire = &s->wire,
        .parsed = &s->parsed,
        .key = slice_of(s->key->name),
        .decision = s->items[0].id,
        .now_ms = s->now_ms,
        .arrived_ms = s->deferred != NULL ? s->deferred->enqueued_at_ms : s->now_ms,
        .kept_id = s->deferred != NULL ? s->deferred->kept_id : slice_of(submission_kept_id(s)),
    };
    s->reported = true;
    return report_build(&source, rows, n, a);
}

/* --- where a provider tells it by state callbacks --------------------------------------------- */

void submission_tell_blocked(struct submission *s)
{
    if (s->connector == NULL || s->connector->message_id == NULL || s->parsed.status_callback.n == 0 ||
        s->deferred != NULL || !was_accepted(s))
        return;
    const struct stored_submission *stored = submission_stored(s);
    struct deferred *rows = arena_calloc(s->arena, s->n_items, sizeof(*rows));
    enum reason *reasons = arena_calloc(s->arena, s->n_items, sizeof(*reasons));
    size_t n = 0;
    for (size_t i = 0; stored != NULL && rows != NULL && reasons != NULL && i < s->n_items; i++) {
        const struct item *item = &s->items[i];
        if (!is_blocked(item))
            continue;
        submission_keep(s, item, DEFERRED_TIMED, 0, &rows[n]);
        rows[n].sender = item->message->sender;
        rows[n].submission = *stored;
        reasons[n++] = item->decision.reason;
    }
    if (n > 0)
        callbacks_post_failed(s->g->callbacks, rows, reasons, n);
}

/* --- of messages that end while they wait -------------------------------------------------- */

/*
 * The submission again, and of its messages the one that was kept.  A large one may come without its body: then nobody
 * knows but the row whom it was for.
 */
static struct message *read_again(const struct connector *c, const struct deferred *d, struct arena *a,
                                  struct wire_request *wire, struct parsed *parsed)
{
    const struct stored_submission *kept = &d->submission;
    struct wire_field *fields = arena_calloc(a, kept->n_fields, sizeof(*fields));
    struct route route;
    struct fault f;

    for (size_t i = 0; fields != NULL && i < kept->n_fields; i++)
        fields[i] = (struct wire_field){kept->fields[i].name, kept->fields[i].value};
    *wire = (struct wire_request){kept->method, kept->path, kept->query, fields, kept->n_fields, kept->body};
    if (fields == NULL || c->match(wire, &route) != CALL_SEND ||
        c->parse(wire, &route, d->enqueued_at_ms, a, parsed, &f) != OK)
        return NULL;
    struct message *m = &parsed->messages[d->message_index < parsed->n_messages ? d->message_index : 0];
    if (strcmp(m->to.text, d->to.text) != 0) {
        m->to = d->to;
        m->to_text = slice_of(d->to.text);
    }
    return m;
}

struct kept_report *report_of_ended(const struct conf *conf, const struct deferred *d, const char *why, int64_t now_ms,
                                    struct arena *a)
{
    const struct connector *c = connector_get(d->submission.dialect);
    const struct conf_key *key = conf_key_named(conf, d->key);
    struct wire_request wire;
    struct parsed parsed;

    if (c == NULL || c->report == NULL || key == NULL || key->reports == REPORTS_NONE ||
        slice_eq_cstr(d->category, CONF_REPORTS))
        return NULL;
    struct report_row row = {
        .message = read_again(c, d, a, &wire, &parsed),
        .action = REPORT_FAILED,
        .status = SLICE("5.7.1"),
        .diagnostic = slice_of(arena_printf(a, "550 5.7.1 Delivery not authorized: %s", why)),
    };
    struct report_source source = {
        .conf = conf,
        .connector = c,
        .wire = &wire,
        .parsed = &parsed,
        .key = d->key,
        .decision = d->decision,
        .now_ms = now_ms,
        .arrived_ms = d->enqueued_at_ms,
        .kept_id = d->kept_id,
    };
    return row.message != NULL ? report_build(&source, &row, 1, a) : NULL;
}

struct waiting_report {
    struct gateway *g;
    struct conf *conf; /* held: what is kept names its texts */
    struct arena arena;
    struct store_result result;
};

static void on_kept(enum err status, void *arg)
{
    struct waiting_report *w = arg;

    if (status == OK)
        releaser_notice(w->g->releaser, connector_get(w->result.report->submission.dialect),
                        w->result.report->deferred.release_at_ms);
    confs_drop(&w->conf);
    arena_clear(&w->arena);
    free(w);
}

void report_ended(struct gateway *g, const struct deferred *d, enum reason reason, int64_t now_ms)
{
    struct waiting_report *w = xcalloc(1, sizeof(*w));

    w->g = g;
    w->conf = confs_hold(g->conf);
    arena_init(&w->arena, SIZE_MAX);
    w->result = (struct store_result){
        .r = {.kind = STORE_RESULT, .cb = on_kept, .arg = w},
        .now_ms = now_ms,
        .key = arena_slice(&w->arena, d->key),
        .dialect = arena_slice(&w->arena, d->submission.dialect),
        .report = report_of_ended(w->conf, d, reason_sentence(reason), now_ms, &w->arena),
    };
    if (w->result.report == NULL)
        on_kept(ERR_NOT_FOUND, w);
    else
        store_submit(g->store, &w->result.r);
}

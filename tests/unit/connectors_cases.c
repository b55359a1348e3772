/*
 * Runs tests/connectors/<name>/<file>.case: a request in, what was decided for each
 * message, and byte for byte what must come out.  Sections that are input are read,
 * each other section is compared whole with what the connector made.
 *
 *   === title                a case
 *   --- now                  an RFC 3339 time; 2026-11-22T10:00:00Z when left out
 *   --- request              request line, fields, blank line, body
 *   --- decide               a line a message: outcome [reason [token]] [| detail [| prompt]]
 *   --- report               words: kept=ID queued unknown partial_reject own_callback callback_url=URL
 *                            untold (the answer without the list of what was sent)
 *   --- provider             status, fields, blank line, body; SMTP: a field RCPT for each that was sent, code and text
 *   --- rows                 of a report, a line a recipient: index action status [| diagnostic [| remote [| until]]]
 *   --- kept                 a line a message: id state created updated release [theirs=ID] [from=SENDER] [reason];
 * body: the request's
 *   === out ===
 *   --- route --- messages --- parsed --- settled --- outgoing --- pass --- same_body
 *   --- classify --- reply --- accept --- kept_reply --- change --- callback --- dsn
 *
 * Of SMTP the request line is "SMTP", and the fields are its commands' arguments.  Its lines, and those of multipart,
 * end in CRLF beyond this file.
 *
 * A case whose parse fails has its fault under reply.
 *
 * Each case runs again with less and less memory: what comes out is then the same, or a refusal.
 */
#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors_cases_text.h"

#define SECTIONS_MAX 24
#define FIELDS_MAX   32
#define MESSAGES_MAX 1100

struct section {
    struct slice name, text;
};

struct http {
    struct slice first; /* request line or status */
    struct wire_field fields[FIELDS_MAX];
    size_t n_fields;
    struct slice body;
};

struct run {
    struct arena arena;  /* the connector's */
    struct arena shown;  /* what came out of it, for the comparison */
    bool short_of_bytes; /* the arena is smaller than the case needs */
    const char *file;
    struct slice title;
    struct section sections[SECTIONS_MAX];
    size_t n_sections;

    int64_t now_ms;
    const struct connector *connector;
    struct http http;
    struct wire_request request;
    struct route route;
    struct parsed parsed;
    struct fault fault;
    enum err parse_err;
    struct decision decisions[MESSAGES_MAX];
    struct answer answers[MESSAGES_MAX];
    bool send[MESSAGES_MAX];
    struct http provider_http;
    struct provider_answer provider;
    bool has_provider, own_callback, untold;
    struct slice callback_url;
    struct send_report report;
    struct kept_message kept[8];
    size_t n_kept;
    struct recipient_answer recipients[FIELDS_MAX];
    struct report_row rows[FIELDS_MAX];
    size_t n_rows;
};

static const struct provider_login sendgrid_login = {.secret = {"SG.provider", 11}};
static const struct provider_login twilio_login = {.account = {"AC99999999999999999999999999999999", 34},
                                                   .secret = {"provider-token", 14}};

static int n_failed;

/* --- reading ------------------------------------------------------------------ */

static struct slice section_get(const struct run *r, const char *name)
{
    for (size_t i = 0; i < r->n_sections; i++) {
        if (slice_eq_cstr(r->sections[i].name, name))
            return r->sections[i].text;
    }
    return (struct slice){NULL, 0};
}

static void http_read(struct slice text, struct http *out)
{
    out->first = line_take(&text);
    for (struct slice line = line_take(&text); line.n > 0; line = line_take(&text)) {
        const char *colon = memchr(line.p, ':', line.n);
        ck_assert_msg(colon != NULL && out->n_fields < FIELDS_MAX, "field without colon: %.*s", SLICE_ARG(line));
        size_t n = (size_t)(colon - line.p);
        out->fields[out->n_fields++] =
            (struct wire_field){{line.p, n}, slice_trim((struct slice){line.p + n + 1, line.n - n - 1})};
    }
    out->body = text;
}

static void text_copy(char *out, size_t size, struct slice s)
{
    ck_assert_uint_lt(s.n, size);
    memcpy(out, s.p, s.n);
}

static bool is_multipart(const struct wire_field *fields, size_t n)
{
    return slice_starts(wire_field_get(fields, n, "Content-Type"), "multipart/");
}

/* Lines end in CRLF, the last one too. */
static struct slice content_with_crlf(struct run *r, struct slice text)
{
    struct buf b;
    buf_init(&b, &r->shown, 16u << 20);
    while (text.n > 0) {
        buf_add_slice(&b, line_take(&text));
        buf_add_cstr(&b, "\r\n");
    }
    return buf_slice(&b);
}

static void read_request(struct run *r)
{
    http_read(section_get(r, "request"), &r->http);
    struct slice line = r->http.first;
    r->request.method = word_take(&line);
    struct slice target = word_take(&line);
    const char *query = memchr(target.p, '?', target.n);
    r->request.path = query == NULL ? target : (struct slice){target.p, (size_t)(query - target.p)};
    if (query != NULL)
        r->request.query = (struct slice){query + 1, target.n - r->request.path.n - 1};
    r->request.fields = r->http.fields;
    r->request.n_fields = r->http.n_fields;
    r->request.body = r->http.body;
    bool crlf = slice_eq_cstr(r->request.method, "SMTP") || is_multipart(r->http.fields, r->http.n_fields);
    if (crlf && r->http.body.n > 0)
        r->request.body = content_with_crlf(r, r->http.body);
}

static void read_decision(struct run *r, size_t i, struct slice line)
{
    struct decision *d = &r->decisions[i];
    struct answer *a = &r->answers[i];
    struct slice head = bar_take(&line), detail = bar_take(&line), prompt = bar_take(&line);
    struct slice outcome = word_take(&head), reason = word_take(&head), token = word_take(&head);
    struct slice release = word_take(&head);
    ck_assert_msg(outcome_parse(outcome, &d->outcome), "no outcome: %.*s", SLICE_ARG(outcome));
    ck_assert_msg(reason.n == 0 || reason_parse(reason, &d->reason), "no reason: %.*s", SLICE_ARG(reason));
    bool soft = d->outcome == OUTCOME_SOFT_BLOCK;
    d->level = soft ? LEVEL_SOFT : d->outcome == OUTCOME_FORWARD ? LEVEL_NONE : LEVEL_HARD;
    d->overridable = soft && token.n > 0;
    if (soft && token.n > 0)
        a->token_expires_at_ms = r->now_ms + 900000;
    if (d->overridable)
        text_copy(a->token, sizeof a->token, token);
    d->release_at_ms = release.n > 0 ? time_of(release) : soft || token.n == 0 ? 0 : time_of(token);
    d->violations[0] = (struct violation){.reason = d->reason};
    text_copy(d->violations[0].detail, DETAIL_MAX, detail);
    d->n_violations = 1;
    text_copy(a->prompt, sizeof a->prompt, prompt);
}

static void read_decisions(struct run *r)
{
    struct slice text = section_get(r, "decide");
    for (size_t i = 0; i < r->parsed.n_messages; i++) {
        struct answer *a = &r->answers[i];
        struct slice line = text.n > 0 ? line_take(&text) : SLICE("forward");
        read_decision(r, i, line);
        a->message = &r->parsed.messages[i];
        a->decision = &r->decisions[i];
        snprintf(a->id, sizeof a->id, "dec_%zu", i);
        r->send[i] = a->decision->outcome == OUTCOME_FORWARD;
    }
    ck_assert_msg(text.n == 0, "%s: more decisions than messages", r->file);
}

/* As the gateway does: a relay's answer for each that was sent, beside its decision. */
static void read_recipients(struct run *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->provider_http.n_fields; i++) {
        struct slice text = r->provider_http.fields[i].value;
        uint64_t code;
        ck_assert(slice_to_u64(word_take(&text), 599, &code));
        r->recipients[n++] = (struct recipient_answer){(int)code, text};
    }
    r->provider.n_fields = 0;
    r->provider.recipients = n > 0 ? r->recipients : NULL;
    r->provider.n_recipients = n;
    for (size_t i = 0, k = 0; i < r->parsed.n_messages && k < n; i++) {
        if (r->send[i])
            r->answers[i].recipient = &r->recipients[k++];
    }
}

static void read_report(struct run *r)
{
    r->report = (struct send_report){.parsed = &r->parsed,
                                     .route = &r->route,
                                     .answers = r->answers,
                                     .n_answers = r->parsed.n_messages,
                                     .public_url = SLICE("https://postern.example"),
                                     .now_ms = r->now_ms};
    struct slice words = section_get(r, "report");
    while (words.n > 0) {
        struct slice word = word_take(&words);
        if (slice_starts(word, "kept="))
            text_copy(r->report.kept_id, SID_MAX, (struct slice){word.p + 5, word.n - 5});
        r->report.queued_now = r->report.queued_now || slice_eq_cstr(word, "queued");
        r->report.unknown = r->report.unknown || slice_eq_cstr(word, "unknown");
        r->report.partial_reject = r->report.partial_reject || slice_eq_cstr(word, "partial_reject");
        r->report.early = r->report.early || slice_eq_cstr(word, "early");
        r->own_callback = r->own_callback || slice_eq_cstr(word, "own_callback");
        r->untold = r->untold || slice_eq_cstr(word, "untold");
        if (slice_starts(word, "callback_url="))
            r->callback_url = (struct slice){word.p + 13, word.n - 13};
    }
    struct slice provider = section_get(r, "provider");
    uint64_t status = 0;
    r->has_provider = provider.p != NULL;
    if (!r->has_provider)
        return;
    http_read(provider, &r->provider_http);
    ck_assert(slice_to_u64(r->provider_http.first, 599, &status));
    r->provider = (struct provider_answer){.status = (int)status,
                                           .fields = r->provider_http.fields,
                                           .n_fields = r->provider_http.n_fields,
                                           .body = r->provider_http.body};
    r->report.provider = &r->provider;
    if (r->connector != NULL && r->connector->transport == TRANSPORT_SMTP)
        read_recipients(r);
}

static void read_rows(struct run *r)
{
    static const char *const actions[] = {"failed", "delayed", "relayed"};
    struct slice text = section_get(r, "rows");
    while (text.n > 0) {
        struct slice line = line_take(&text), head = bar_take(&line);
        struct report_row *row = &r->rows[r->n_rows++];
        uint64_t index;
        ck_assert(slice_to_u64(word_take(&head), r->parsed.n_messages - 1, &index));
        *row = (struct report_row){.message = &r->parsed.messages[index]};
        struct slice action = word_take(&head);
        for (size_t i = 0; i < N_ELEMENTS(actions); i++) {
            if (slice_eq_cstr(action, actions[i]))
                row->action = (enum report_action)i;
        }
        row->status = word_take(&head);
        row->diagnostic = bar_take(&line);
        row->remote = bar_take(&line);
        struct slice until = bar_take(&line);
        if (until.n > 0)
            row->will_retry_until_ms = time_of(until);
    }
}

static void read_kept(struct run *r)
{
    static const char *const states[] = {"waiting", "sending", "sent", "cancelled", "failed"};
    struct slice text = section_get(r, "kept");
    while (text.n > 0) {
        struct slice line = line_take(&text);
        struct kept_message *k = &r->kept[r->n_kept++];
        k->id = word_take(&line);
        struct slice state = word_take(&line);
        for (size_t i = 0; i < N_ELEMENTS(states); i++) {
            if (slice_eq_cstr(state, states[i]))
                k->state = (enum kept_state)i;
        }
        k->created_at_ms = time_of(word_take(&line));
        k->updated_at_ms = time_of(word_take(&line));
        k->release_at_ms = time_of(word_take(&line));
        struct slice reason = word_take(&line);
        if (slice_starts(reason, "theirs=")) {
            k->their_id = (struct slice){reason.p + 7, reason.n - 7};
            reason = word_take(&line);
        }
        k->from = SLICE("+15005550006");
        if (slice_starts(reason, "from=")) {
            k->from = (struct slice){reason.p + 5, reason.n - 5};
            reason = word_take(&line);
        }
        ck_assert_msg(reason.n == 0 || reason_parse(reason, &k->reason), "no reason: %.*s", SLICE_ARG(reason));
        k->to = SLICE("+15550100001");
        struct slice body = section_get(r, "kept_body");
        k->body = body.p == NULL ? r->request.body : body;
    }
}

/* --- what came out ----------------------------------------------------------------- */

static void add_reply(const struct run *r, struct buf *b, enum err err, const struct wire_reply *reply)
{
    if (err != OK) {
        buf_printf(b, "error %d\n", (int)err);
        return;
    }
    buf_printf(b, "%d\n", reply->status);
    if (slice_eq_cstr(r->request.method, "SMTP")) {
        add_lines(b, reply->body);
        return;
    }
    add_fields(b, reply->fields, reply->n_fields);
    add_body(b, reply->body);
}

static void add_outgoing(struct buf *b, enum err err, const struct outgoing *out)
{
    if (err != OK) {
        buf_printf(b, "error %d\n", (int)err);
        return;
    }
    if (out->envelope != NULL) {
        add_envelope(b, out->envelope);
        add_lines(b, out->body);
        return;
    }
    buf_printf(b, "%.*s %.*s%s\n", SLICE_ARG(out->method), SLICE_ARG(out->path_and_query),
               out->at_most_once ? " once" : "");
    add_fields(b, out->fields, out->n_fields);
    if (!is_multipart(out->fields, out->n_fields)) {
        add_body(b, out->body);
        return;
    }
    buf_add_cstr(b, "\n");
    add_lines(b, out->body);
}

static void show_messages(struct run *r, struct buf *b)
{
    for (size_t i = 0; i < r->parsed.n_messages; i++) {
        const struct message *m = &r->parsed.messages[i];
        buf_printf(b, "%.*s %s %s", SLICE_ARG(m->field), channel_name(m->channel), m->to.text);
        ck_assert_uint_eq(m->index, i);
        ck_assert(m->fingerprint != 0);
        if (!slice_eq_cstr(m->to_text, m->to.text))
            add_text(b, "written", m->to_text);
        if (m->priority != PRIORITY_P2)
            buf_printf(b, " priority=%s", priority_name(m->priority));
        add_text(b, "sender", m->sender);
        add_text(b, "topic", m->topic);
        add_text(b, "collapse", m->collapse_key);
        add_text(b, "language", m->form.language);
        add_text(b, "format", m->form.format);
        add_text(b, "formality", m->form.formality);
        add_text(b, "depth", m->form.technical_depth);
        add_time(b, "not_before", m->not_before_ms);
        add_time(b, "expires", m->expires_at_ms);
        buf_add_cstr(b, "\n");
    }
}

static void show_parsed(struct run *r, struct buf *b)
{
    const struct parsed *p = &r->parsed;
    const struct {
        const char *name;
        struct slice value;
    } rows[] = {{"category", p->category},
                {"batch_id", p->batch_id},
                {"status_callback", p->status_callback},
                {"idempotency_key", p->idempotency_key},
                {"from", p->from},
                {"subject", p->subject},
                {"text", p->text}};
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        if (rows[i].value.n == 0)
            continue;
        struct slice value = rows[i].value;
        while (value.n > 0 && (value.p[value.n - 1] == '\n' || value.p[value.n - 1] == '\r'))
            value.n--;
        buf_printf(b, "%s ", rows[i].name);
        add_lines(b, value);
        buf_add_cstr(b, "\n");
    }
    for (size_t i = 0; i < p->n_labels; i++)
        buf_printf(b, "label %.*s\n", SLICE_ARG(p->labels[i]));
    if (p->sandbox_mode)
        buf_add_cstr(b, "sandbox_mode\n");
    if (p->mail_key.n > 0)
        buf_add_cstr(b, "mail_key\n");
    if (p->bypass_asked)
        buf_add_cstr(b, "bypass_asked\n");
}

static void show_route(struct run *r, struct buf *b)
{
    static const char *const calls[] = {"none", "send", "fetch", "list", "change", "batch_change", "pass"};
    if (r->connector == NULL) {
        buf_add_cstr(b, "- none\n");
        return;
    }
    buf_printf(b, "%s %s", r->connector->name, calls[r->route.call]);
    add_text(b, "account", r->route.account);
    add_text(b, "id", r->route.id);
    buf_add_cstr(b, "\n");
}

static const struct provider_login *login_of(const struct run *r)
{
    return r->connector->channel == CHANNEL_EMAIL ? &sendgrid_login : &twilio_login;
}

/* As the gateway does: what settle clears of those that pass is blocked. */
static void show_settled(struct run *r, struct buf *b)
{
    bool before[MESSAGES_MAX];
    memcpy(before, r->send, sizeof before);
    size_t cleared = r->connector->settle == NULL ? 0 : r->connector->settle(&r->parsed, r->send);
    buf_printf(b, "%zu:", cleared);
    for (size_t i = 0; i < r->parsed.n_messages; i++) {
        if (before[i] && !r->send[i])
            r->decisions[i] = (struct decision){
                .outcome = OUTCOME_BLOCK, .level = LEVEL_HARD, .reason = REASON_NO_PRIMARY, .n_violations = 0};
        buf_printf(b, " %d", r->send[i]);
    }
    buf_add_cstr(b, "\n");
}

static enum err forward(struct run *r, struct outgoing *out)
{
    struct forward_options options = {
        .login = login_of(r), .now_ms = r->now_ms, .own_callback = r->own_callback, .callback_url = r->callback_url};
    return r->connector->forward(&r->request, &r->route, &r->parsed, r->send, &options, &r->arena, out);
}

static void show_outgoing(struct run *r, struct buf *b)
{
    struct outgoing out;
    enum err err = forward(r, &out);
    add_outgoing(b, err, &out);
}

static void show_same_body(struct run *r, struct buf *b)
{
    struct outgoing out;
    enum err err = forward(r, &out);
    if (err != OK)
        buf_printf(b, "error %d\n", (int)err);
    else
        buf_add_cstr(b, out.body.p == r->request.body.p && out.body.n == r->request.body.n ? "yes\n" : "no\n");
}

static void show_pass(struct run *r, struct buf *b)
{
    struct outgoing out;
    enum err err = r->connector->pass(&r->request, &r->route, login_of(r), &r->arena, &out);
    add_outgoing(b, err, &out);
}

/* A line each for those that were sent, where each has an id of its own. */
static void show_classify(struct run *r, struct buf *b)
{
    static const char *const words[] = {"accepted", "refused", "opted_out", "retry", "unknown"};
    const struct message *sent[MESSAGES_MAX];
    size_t n_sent = 0;
    for (size_t i = 0; i < r->parsed.n_messages; i++) {
        if (r->send[i])
            sent[n_sent++] = &r->parsed.messages[i];
    }
    r->provider.sent = r->untold ? NULL : sent;
    r->provider.n_sent = r->untold ? 0 : n_sent;
    for (size_t i = 0; i < (r->connector->message_id == NULL ? 1 : n_sent); i++) {
        struct send_result result;
        r->connector->classify(&r->provider, i, &result);
        buf_printf(b, "%s", words[result.status]);
        add_text(b, "id", result.provider_id);
        buf_add_cstr(b, "\n");
    }
    r->provider.sent = NULL; /* of this function */
}

static void show_reply(struct run *r, struct buf *b)
{
    struct wire_reply reply;
    enum err err = r->parse_err != OK ? r->connector->fault_reply(&r->fault, &r->route, &r->arena, &reply)
                                      : r->connector->reply(&r->report, &r->arena, &reply);
    add_reply(r, b, err, &reply);
}

static void show_accept(struct run *r, struct buf *b)
{
    struct wire_reply reply;
    enum err err = r->connector->accept(&r->parsed, &r->route, r->report.kept_id, r->now_ms, &r->arena, &reply);
    add_reply(r, b, err, &reply);
}

static void show_kept_reply(struct run *r, struct buf *b)
{
    struct wire_reply reply;
    enum err err = r->connector->kept_reply(&r->route, r->kept, r->n_kept, r->has_provider ? &r->provider : NULL,
                                            &r->arena, &reply);
    add_reply(r, b, err, &reply);
}

static void show_change(struct run *r, struct buf *b)
{
    static const char *const actions[] = {"cancel", "pause", "resume", "redact", "read"};
    struct kept_change change;
    struct wire_reply reply;
    r->parse_err = r->connector->change(&r->request, &r->route, &r->arena, &change, &r->fault);
    if (r->parse_err == OK) {
        buf_printf(b, "%s", actions[change.action]);
        add_text(b, "batch", change.batch_id);
        buf_add_cstr(b, "\n");
        return;
    }
    enum err err = r->connector->fault_reply(&r->fault, &r->route, &r->arena, &reply);
    add_reply(r, b, err, &reply);
}

static void show_callback(struct run *r, struct buf *b)
{
    struct slice url = {NULL, 0};
    struct outgoing out;
    enum err err = r->connector->callback(&r->kept[0], r->route.account, SLICE("app-token"), &r->arena, &url, &out);
    if (err == OK)
        buf_printf(b, "%.*s\n", SLICE_ARG(url));
    add_outgoing(b, err, &out);
}

static void show_dsn(struct run *r, struct buf *b)
{
    struct report_options options = {.now_ms = r->now_ms,
                                     .arrived_ms = r->now_ms - 60000,
                                     .host = "postern.example",
                                     .id = "5f2a",
                                     .kept_id = slice_of(r->report.kept_id)};
    struct wire_request out;
    enum err err = r->connector->report(&r->request, &r->parsed, r->rows, r->n_rows, &options, &r->arena, &out);
    if (err != OK) {
        buf_printf(b, "error %d\n", (int)err);
        return;
    }
    add_fields(b, out.fields, out.n_fields);
    buf_add_cstr(b, "\n");
    add_lines(b, out.body);
}

/* Settled comes before whatever depends on it. */
static const struct {
    const char *name;
    void (*show)(struct run *r, struct buf *b);
} outputs[] = {{"route", show_route},
               {"messages", show_messages},
               {"parsed", show_parsed},
               {"settled", show_settled},
               {"outgoing", show_outgoing},
               {"same_body", show_same_body},
               {"pass", show_pass},
               {"classify", show_classify},
               {"reply", show_reply},
               {"accept", show_accept},
               {"kept_reply", show_kept_reply},
               {"change", show_change},
               {"callback", show_callback},
               {"dsn", show_dsn}};

/* --- running --------------------------------------------------------------------------- */

/* Out of memory, a case is refused: by its parse, or by what makes the bytes; a provider's list passes as it came. */
static bool refused(const struct run *r, struct slice actual)
{
    struct slice theirs = r->provider.body;
    bool unread = r->route.call == CALL_MESSAGE_LIST && theirs.n > 0 && memmem(actual.p, actual.n, theirs.p, theirs.n);
    return r->short_of_bytes && (r->parse_err != OK || slice_starts(actual, "error ") || unread);
}

static void compare(struct run *r, const char *name, struct slice expected, struct slice actual)
{
    if (slice_eq(expected, slice_trim(actual)) ||
        (actual.n > 0 && slice_eq(expected, (struct slice){actual.p, actual.n - 1})) || refused(r, actual))
        return;
    n_failed++;
    printf("@@ %s\n=== %.*s\n--- %s: expected\n%.*s\n--- %s: got\n%.*s@@\n", r->file, SLICE_ARG(r->title), name,
           SLICE_ARG(expected), name, SLICE_ARG(actual));
    fflush(stdout); /* a failed test leaves without it */
}

/* Returns how many bytes the connector used. */
static size_t run_case(struct run *r, size_t arena_bytes)
{
    struct slice now = section_get(r, "now");
    arena_init(&r->arena, arena_bytes);
    arena_init(&r->shown, 16u << 20);
    r->http.n_fields = r->provider_http.n_fields = r->n_kept = r->n_rows = 0;
    r->parsed = (struct parsed){.n_messages = 0};
    r->parse_err = OK;
    r->now_ms = time_of(now.p == NULL ? SLICE("2026-11-22T10:00:00Z") : now);
    read_request(r);
    r->connector = connector_for(&r->request, &r->route);
    if (r->connector != NULL && r->route.call == CALL_SEND) {
        r->parse_err = r->connector->parse(&r->request, &r->route, r->now_ms, &r->arena, &r->parsed, &r->fault);
        if (r->parse_err == OK)
            read_decisions(r);
    }
    read_report(r);
    read_kept(r);
    if (r->parse_err == OK)
        read_rows(r);
    size_t shown = 0;
    for (size_t i = 0; i < N_ELEMENTS(outputs); i++) {
        struct slice expected = section_get(r, outputs[i].name);
        bool unread = r->short_of_bytes && r->parse_err != OK && outputs[i].show != show_reply;
        if (expected.p == NULL || unread)
            continue;
        struct buf b;
        buf_init(&b, &r->shown, 16u << 20);
        ck_assert_msg(r->connector != NULL || i == 0, "%s: %.*s: no connector", r->file, SLICE_ARG(r->title));
        outputs[i].show(r, &b);
        compare(r, outputs[i].name, expected, buf_slice(&b));
        shown++;
    }
    ck_assert_msg(shown > 0 || r->short_of_bytes, "%s: %.*s expects nothing", r->file, SLICE_ARG(r->title));
    size_t used_bytes = r->arena.used_bytes;
    arena_clear(&r->arena);
    arena_clear(&r->shown);
    return used_bytes;
}

/* An arena gives its bytes in steps of 16: of a small case, each allocation fails once. */
static void run_short_of_bytes(struct run *r, size_t used_bytes)
{
    const size_t step = used_bytes < 8192 ? 16 : used_bytes / 512 / 16 * 16;
    r->short_of_bytes = true;
    for (size_t bytes = step; bytes < used_bytes; bytes += step)
        ignore(run_case(r, bytes));
}

/* One section of text ends at the next line that begins with "--- " or "=== ". */
static struct slice section_take(struct slice *rest)
{
    struct slice all = *rest;
    while (rest->n > 0 && !slice_starts(*rest, "--- ") && !slice_starts(*rest, "=== "))
        ignore(line_take(rest));
    size_t n = (size_t)(rest->p - all.p);
    while (n > 0 && all.p[n - 1] == '\n')
        n--;
    return (struct slice){all.p, n};
}

static size_t run_text(const char *file, struct slice text)
{
    size_t n = 0;
    ignore(section_take(&text)); /* what the file says of itself */
    while (text.n > 0) {
        struct run *r = calloc(1, sizeof *r);
        ck_assert(r != NULL);
        struct slice title = line_take(&text);
        r->file = file;
        r->title = (struct slice){title.p + 4, title.n - 4};
        ignore(section_take(&text));
        while (slice_starts(text, "--- ")) {
            struct slice name = line_take(&text);
            ck_assert_uint_lt(r->n_sections, SECTIONS_MAX);
            struct section *s = &r->sections[r->n_sections++];
            s->name = (struct slice){name.p + 4, name.n - 4};
            s->text = section_take(&text);
        }
        run_short_of_bytes(r, run_case(r, 64u << 20));
        free(r);
        n++;
    }
    return n;
}

static size_t run_file(const char *path)
{
    static char text[1u << 20];
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s cannot be read", path);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    ck_assert_uint_lt(n, sizeof text);
    return run_text(path, (struct slice){text, n});
}

/* Each connector has a directory of its own. */
static void run_all(const struct connector *c)
{
    glob_t found;
    size_t n = 0;
    char pattern[256];
    n_failed = 0;
    snprintf(pattern, sizeof pattern, TESTS_DIR "/connectors/%s/*.case", c->name);
    ck_assert_msg(glob(pattern, 0, NULL, &found) == 0, "no case in %s", pattern);
    for (size_t i = 0; i < found.gl_pathc; i++)
        n += run_file(found.gl_pathv[i]);
    globfree(&found);
    ck_assert_msg(n_failed == 0, "%d sections differ in %zu cases of %s", n_failed, n, pattern);
}

START_TEST(cases_of)
{
    run_all(connectors[_i]);
}
END_TEST

static int n_connectors(void)
{
    int n = 0;
    while (connectors[n] != NULL)
        n++;
    return n;
}

int main(void)
{
    Suite *suite = suite_create("connectors_cases");
    TCase *tcase = tcase_create("cases");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, cases_of, 0, n_connectors());
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

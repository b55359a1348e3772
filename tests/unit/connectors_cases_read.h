/* A case as it stands in its file: what was asked, decided and answered.  For connectors_cases.c. */
#ifndef CONNECTORS_CASES_READ_H
#define CONNECTORS_CASES_READ_H

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

#endif

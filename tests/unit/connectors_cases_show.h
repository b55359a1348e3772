/* What a connector makes of a case, section by section, as text to compare.  For connectors_cases.c. */
#ifndef CONNECTORS_CASES_SHOW_H
#define CONNECTORS_CASES_SHOW_H

#include "connectors_cases_read.h"

static const struct provider_login sendgrid_login = {.secret = {"SG.provider", 11}};
static const struct provider_login twilio_login = {.account = {"AC99999999999999999999999999999999", 34},
                                                   .secret = {"provider-token", 14}};

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

#endif

/*
 * A mail's header and X-SMTPAPI: whatever is read, the mail that leaves names exactly the recipients that were to get
 * it and speaks to nobody here; what is said about it is lines of ASCII.  The first byte of the input picks whom, the
 * second how many the envelope has; of the rest each LF is a CRLF, for a mail without any is soon refused.
 */
#include "connectors/mime.h"
#include "postern/connector.h"
#include "postern/buf.h"
#include "postern/limits.h"

extern const struct connector smtp_connector;

#define NOW_MS INT64_C(1795341600000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct wire_field mail = {SLICE_INIT("MAIL"), SLICE_INIT("FROM:<s@x.test> RET=FULL ENVID=a+2Bb")};
static const struct wire_field rcpts[] = {
    {SLICE_INIT("RCPT"), SLICE_INIT("TO:<a@b.c> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+2Bb@c")},
    {SLICE_INIT("RCPT"), SLICE_INIT("TO:<b@b.c>")},
    {SLICE_INIT("RCPT"), SLICE_INIT("TO:<c@b.c> NOTIFY=NEVER")}};

struct trial {
    struct arena arena;
    struct wire_field fields[1 + N_ELEMENTS(rcpts)];
    struct wire_request request;
    struct route route;
    struct parsed parsed;
    bool send[LIMIT_RECIPIENTS];
    size_t n_sent;
};

/* Replies: lines of at most 512 bytes, visible ASCII and blanks, the code and '-' or ' ' in front. */
static void check_reply(const struct wire_reply *reply)
{
    struct slice s = reply->body;
    ensure(s.n > 5 && reply->status >= 200 && reply->status < 600);
    while (s.n > 0) {
        const char *lf = memchr(s.p, '\n', s.n);
        ensure(lf != NULL);
        size_t n = (size_t)(lf - s.p) + 1;
        ensure(n >= 6 && n <= 512 && lf[-1] == '\r' && s.p[0] == '0' + reply->status / 100);
        ensure(s.p[3] == (n == s.n ? ' ' : '-'));
        for (size_t i = 0; i < n - 2; i++)
            ensure(s.p[i] >= ' ' && s.p[i] <= '~');
        s = (struct slice){s.p + n, s.n - n};
    }
}

/* A mail that we make ourselves: every line ends in CRLF and is no longer than 998 bytes. */
static void check_lines(struct slice s)
{
    for (size_t at = 0, n = 0; at < s.n; at++, n++) {
        ensure(s.p[at] != '\0' && s.p[at] != '\n' && n <= 998);
        if (s.p[at] != '\r')
            continue;
        ensure(at + 1 < s.n && s.p[at + 1] == '\n');
        at++;
        n = SIZE_MAX;
    }
}

static void report_on(struct trial *t)
{
    struct report_row rows[3] = {
        {.message = &t->parsed.messages[0],
         .action = REPORT_FAILED,
         .status = SLICE("5.7.1"),
         .diagnostic = t->request.body,
         .remote = t->parsed.subject},
        {.message = &t->parsed.messages[0],
         .action = REPORT_DELAYED,
         .status = SLICE("4.4.1"),
         .diagnostic = t->parsed.subject,
         .will_retry_until_ms = NOW_MS},
        {.message = &t->parsed.messages[t->parsed.n_messages - 1], .action = REPORT_RELAYED, .status = SLICE("2.0.0")}};
    struct report_options options = {.now_ms = NOW_MS, .arrived_ms = NOW_MS - 1, .host = "h.test", .id = "1d"};
    struct wire_request out;
    struct parsed parsed;
    struct fault fault;
    enum err err = smtp_connector.report(&t->request, &t->parsed, rows, N_ELEMENTS(rows), &options, &t->arena, &out);
    ensure(err == OK || err == ERR_LIMIT);
    if (err != OK)
        return;
    check_lines(out.body);
    ensure(smtp_connector.parse(&out, &t->route, NOW_MS, &t->arena, &parsed, &fault) == OK ||
           fault.kind == FAULT_TOO_LARGE);
}

static void reply_to(struct trial *t, uint8_t pick)
{
    static const int codes[] = {250, 450, 550, 554};
    struct answer *answers = arena_calloc(&t->arena, t->parsed.n_messages, sizeof *answers);
    struct decision *decisions = arena_calloc(&t->arena, 2, sizeof *decisions);
    struct provider_answer provider = {.status = codes[pick & 3], .body = t->request.body};
    struct send_report report = {.parsed = &t->parsed,
                                 .route = &t->route,
                                 .answers = answers,
                                 .n_answers = t->parsed.n_messages,
                                 .provider = t->n_sent > 0 ? &provider : NULL};
    struct wire_reply reply;
    if (answers == NULL || decisions == NULL)
        return;
    decisions[1].outcome = OUTCOME_BLOCK;
    for (size_t i = 0; i < t->parsed.n_messages; i++) {
        answers[i].message = &t->parsed.messages[i];
        answers[i].decision = &decisions[!t->send[i]];
    }
    if (smtp_connector.reply(&report, &t->arena, &reply) == OK)
        check_reply(&reply);
}

/* What left, read as SendGrid or another Postern would. */
static void read_again(struct trial *t, const struct outgoing *out)
{
    struct wire_field *fields = arena_calloc(&t->arena, out->envelope->n_recipients + 1, sizeof *fields);
    struct wire_request sent = {.method = SLICE("SMTP"), .fields = fields, .body = out->body};
    struct parsed again;
    struct fault fault;
    if (fields == NULL)
        return;
    fields[sent.n_fields++] = mail;
    for (size_t i = 0; i < out->envelope->n_recipients; i++) {
        const char *to = arena_printf(&t->arena, "TO:<%.*s>", SLICE_ARG(out->envelope->recipients[i].path));
        if (to == NULL)
            return;
        fields[sent.n_fields++] = (struct wire_field){SLICE("RCPT"), slice_of(to)};
    }
    if (smtp_connector.parse(&sent, &t->route, NOW_MS, &t->arena, &again, &fault) != OK) {
        ensure(fault.kind == FAULT_TOO_LARGE || fault.kind == FAULT_ADDRESS || fault.kind == FAULT_SYNTAX);
        /* X-SMTPAPI may name an address that an envelope without SMTPUTF8 cannot; nothing else may differ. */
        ensure(fault.kind == FAULT_TOO_LARGE || strcmp(fault.field, "RCPT") == 0);
        return;
    }
    ensure(again.n_messages == t->n_sent && !again.bypass_asked && again.category.n == 0);
    ensure(again.idempotency_key.n == 0);
    for (size_t i = 0, k = 0; i < t->parsed.n_messages; i++) {
        if (t->send[i])
            ensure(slice_eq(t->parsed.messages[i].to_text, again.messages[k++].to_text));
    }
}

static void forward_some(struct trial *t, uint8_t pick)
{
    static const struct provider_login login;
    struct forward_options options = {.login = &login, .now_ms = NOW_MS};
    struct outgoing out;
    for (size_t i = 0; i < t->parsed.n_messages; i++) {
        t->send[i] = (pick >> (i % 7) & 1) == 0;
        t->n_sent += t->send[i];
    }
    enum err err = smtp_connector.forward(&t->request, &t->route, &t->parsed, t->send, &options, &t->arena, &out);
    ensure(t->n_sent > 0 ? err == OK || err == ERR_LIMIT : err == ERR_CONFLICT);
    if (err == OK)
        read_again(t, &out);
}

static struct slice content_of(struct arena *a, const uint8_t *data, size_t n)
{
    struct buf b;
    buf_init(&b, a, 8u << 20);
    for (size_t i = 0; i < n; i++)
        buf_add(&b, data[i] == '\n' ? "\r\n" : (const char *)&data[i], data[i] == '\n' ? 2 : 1);
    return buf_slice(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct trial t = {.n_sent = 0};
    struct fault fault;
    struct wire_reply reply;
    if (n < 2)
        return 0;
    arena_init(&t.arena, LIMIT_ARENA_BYTES);
    t.fields[0] = mail;
    t.request = (struct wire_request){.method = SLICE("SMTP"), .fields = t.fields, .n_fields = 1};
    for (size_t i = 0; i < 1 + data[1] % N_ELEMENTS(rcpts); i++)
        t.fields[t.request.n_fields++] = rcpts[i];
    t.request.body = content_of(&t.arena, data + 2, n - 2);
    ensure(smtp_connector.match(&t.request, &t.route) == CALL_SEND);
    if (smtp_connector.parse(&t.request, &t.route, NOW_MS, &t.arena, &t.parsed, &fault) == OK) {
        forward_some(&t, data[0]);
        reply_to(&t, data[0]);
        report_on(&t);
    } else {
        ensure(smtp_connector.fault_reply(&fault, &t.route, &t.arena, &reply) == OK || fault.kind == FAULT_TOO_LARGE);
        if (fault.kind != FAULT_TOO_LARGE)
            check_reply(&reply);
    }
    arena_clear(&t.arena);
    return 0;
}

/*
 * The client's machine on the dialogs of tests/smtp_client: what it says, byte for byte, and what it makes of each
 * reply. Each runs whole, cut at line ends, byte by byte, and with writes that take a byte at a time; and each once
 * more for every byte of the server's after which the connection could be lost.
 */
#include "gateway/smtp_client_proto.h"

#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#define DIALOGS_MAX 400
#define LINES_MAX   400
#define BYTES_MAX   400000
#define RCPTS_MAX   1200

struct dialog {
    char name[200];
    char *lines[LINES_MAX];
    size_t n;
};

static struct dialog dialogs[DIALOGS_MAX];
static size_t n_dialogs;

/* --- reading the files --- */

static void read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    struct dialog *d = NULL;
    ensure(f);
    while ((n = getline(&line, &cap, f)) >= 0) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "== ", 3) == 0) {
            ensure(n_dialogs < DIALOGS_MAX);
            d = &dialogs[n_dialogs++];
            snprintf(d->name, sizeof d->name, "%s: %s", strrchr(path, '/') + 1, line + 3);
        } else if (line[0] != '\0' && line[0] != '#') {
            ensure(d && d->n < LINES_MAX);
            d->lines[d->n++] = strdup(line);
        }
    }
    free(line);
    fclose(f);
}

static void read_all(void)
{
    glob_t g;
    ensure(glob(TESTS_DIR "/smtp_client/*.dialog", 0, NULL, &g) == 0);
    for (size_t i = 0; i < g.gl_pathc; i++)
        read_file(g.gl_pathv[i]);
    globfree(&g);
}

/* \r \n \\ \0 \xHH; returns the bytes' number. */
static size_t unescape(const char *s, char *out)
{
    size_t n = 0;
    for (; *s; s++) {
        if (*s != '\\') {
            out[n++] = *s;
            continue;
        }
        switch (*++s) {
        case 'r':
            out[n++] = '\r';
            break;
        case 'n':
            out[n++] = '\n';
            break;
        case '0':
            out[n++] = '\0';
            break;
        case 'x':
            out[n++] = (char)strtoul((char[]){s[1], s[2], 0}, NULL, 16);
            s += 2;
            break;
        default:
            out[n++] = *s;
        }
    }
    return n;
}

/* --- one run --- */

enum cut { CUT_NOT, CUT_LINES, CUT_BYTES, CUT_WRITES, CUT_N };

struct run {
    const struct dialog *d;
    enum cut cut;
    struct smtp_client c;
    struct smtp_client_options opt;
    struct arena arena;
    struct mail_envelope envelope;
    struct mail_recipient rcpts[RCPTS_MAX];
    struct smtp_client_mail mail;
    char *in, *got;
    size_t n_in, at_in, n_got, at_got;
    size_t content_bytes;        /* stuffed, with the dot: what must be taken of the mail that is under way */
    size_t data_from;            /* of got: where the content begins */
    enum smtp_client_event slot; /* told, and not yet expected by the script */
    bool over, sending, whole_only, hold;
    size_t n_writes;
    size_t lose_after; /* server bytes; SIZE_MAX: never */
};

static const char *event_name(enum smtp_client_event e)
{
    static const char *const names[] = {"nothing", "WRITE", "STARTTLS", "READY", "MAY_DATA", "DONE", "CLOSED"};
    return names[e];
}

static void take_out(struct run *r, size_t n)
{
    if (r->n_got + n >= BYTES_MAX)
        ck_abort_msg("%s: too much is said", r->d->name);
    memcpy(r->got + r->n_got, r->c.out.p, n);
    r->n_got += n;
    smtp_client_wrote(&r->c, n);
}

/* Steps, and takes what is written, until there is something else; true when the script must expect it now. */
static bool step_on(struct run *r, struct slice *in)
{
    while ((r->slot = smtp_client_step(&r->c, in)) == SMTP_CLIENT_WRITE) {
        ensure(in->n == 0);
        if (r->hold)
            break;
        r->n_writes++;
        take_out(r, r->cut == CUT_WRITES ? 1 : r->c.out.n);
    }
    if (r->slot == SMTP_CLIENT_WRITE)
        r->slot = SMTP_CLIENT_NONE;
    if (r->slot == SMTP_CLIENT_DONE)
        r->sending = false;
    if (r->slot == SMTP_CLIENT_CLOSED && !r->over && r->c.out.n > 0)
        take_out(r, r->c.out.n);
    r->over |= r->slot == SMTP_CLIENT_CLOSED;
    return r->slot != SMTP_CLIENT_NONE;
}

static size_t piece_bytes(const struct run *r)
{
    size_t left = r->n_in - r->at_in;
    const char *lf;
    switch (r->cut) {
    case CUT_BYTES:
        return left > 0 ? 1 : 0;
    case CUT_LINES:
        lf = left > 0 ? memchr(r->in + r->at_in, '\n', left) : NULL;
        return lf ? (size_t)(lf - r->in) + 1 - r->at_in : left;
    case CUT_NOT:
    case CUT_WRITES:
    case CUT_N:
        break;
    }
    return left;
}

/* As far as it goes: to an event, or until nothing is left to read. */
static void pump(struct run *r)
{
    do {
        struct slice in = {r->in + r->at_in, piece_bytes(r)};
        size_t before = in.n;
        if (r->slot != SMTP_CLIENT_NONE)
            return;
        bool told = step_on(r, &in);
        r->at_in += before - in.n;
        if (told)
            return;
        ensure(in.n == 0);
    } while (r->at_in < r->n_in);
}

static void add_in(struct run *r, const char *text, const char *end)
{
    size_t left = r->lose_after - r->n_in, n;
    ensure(r->n_in + strlen(text) + 2 < BYTES_MAX);
    n = unescape(text, r->in + r->n_in);
    memcpy(r->in + r->n_in + n, end, strlen(end));
    n += strlen(end);
    r->n_in += n < left ? n : left;
}

/* "S# 101 250-line": that line so often; "S~ 3000": so many letters. */
static void add_many(struct run *r, const char *line)
{
    char *rest;
    size_t n = strtoul(line + 3, &rest, 10);
    for (size_t i = 0; i < n; i++)
        add_in(r, line[1] == '#' ? rest + 1 : "x", line[1] == '#' ? "\r\n" : "");
}

static const char *after(const char *line, const char *word)
{
    size_t n = strlen(word);
    return strncmp(line, word, n) == 0 && (line[n] == ' ' || line[n] == '\0') ? line + n + (line[n] == ' ') : NULL;
}

static struct slice keep(struct run *r, const char *text)
{
    char *bytes = arena_alloc(&r->arena, strlen(text) + 1);
    return (struct slice){bytes, unescape(text, bytes)};
}

/* What stuffed content is, the plain way: the oracle. */
static size_t stuffed_bytes(struct slice s)
{
    size_t n = s.n + 3;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '.' && (i == 0 || s.p[i - 1] == '\n');
    return n + (s.n > 0 && s.p[s.n - 1] != '\n' ? 2 : 0);
}

static bool set_mail(struct run *r, const char *line)
{
    const char *v;
    if ((v = after(line, "from"))) {
        r->envelope = (struct mail_envelope){.from = keep(r, v), .recipients = r->rcpts};
    } else if ((v = after(line, "to"))) {
        r->rcpts[r->envelope.n_recipients++] = (struct mail_recipient){.path = keep(r, v)};
    } else if ((v = after(line, "many"))) {
        for (size_t i = strtoul(v, NULL, 10); i > 0; i--)
            r->rcpts[r->envelope.n_recipients++] = (struct mail_recipient){.path = SLICE("many@d.example")};
    } else if ((v = after(line, "notify"))) {
        r->rcpts[r->envelope.n_recipients - 1].notify = keep(r, v);
    } else if ((v = after(line, "orcpt"))) {
        r->rcpts[r->envelope.n_recipients - 1].orcpt = keep(r, v);
    } else if ((v = after(line, "ret"))) {
        r->envelope.ret = keep(r, v);
    } else if ((v = after(line, "envid"))) {
        r->envelope.envid = keep(r, v);
    } else if (after(line, "8bit")) {
        r->envelope.body_8bit = true;
    } else if (after(line, "utf8")) {
        r->envelope.smtputf8 = true;
    } else if ((v = after(line, "content"))) {
        r->mail.content = keep(r, v);
    } else {
        return false;
    }
    return true;
}

static bool set_option(struct run *r, const char *line)
{
    static const char *const tls[] = {"NEVER", "MAY", "MUST", "ON"};
    const char *v;
    if ((v = after(line, "tls"))) {
        for (size_t i = 0; i < N_ELEMENTS(tls); i++)
            if (strcmp(v, tls[i]) == 0)
                r->opt.tls = (enum smtp_client_tls)i;
    } else if ((v = after(line, "user"))) {
        r->opt.user = keep(r, v);
    } else if ((v = after(line, "secret"))) {
        r->opt.secret = keep(r, v);
    } else if ((v = after(line, "long_secret"))) {
        size_t n = strtoul(v, NULL, 10);
        char *s = arena_alloc(&r->arena, n);
        memset(s, 's', n);
        r->opt.secret = (struct slice){s, n};
    } else if (after(line, "in_clear")) {
        r->opt.in_clear = true;
    } else if (after(line, "whole")) {
        r->whole_only = true;
    } else {
        return set_mail(r, line);
    }
    smtp_client_init(&r->c, &r->opt);
    return true;
}

#define WRONG(...) ck_abort_msg(__VA_ARGS__)

static void expect_out(struct run *r, const char *line)
{
    char want[6000];
    size_t n = unescape(line + 3, want);
    if (line[1] == ':') {
        memcpy(want + n, "\r\n", 2);
        n += 2;
    }
    if (r->n_got - r->at_got < n)
        pump(r);
    if (r->n_got - r->at_got < n || memcmp(r->got + r->at_got, want, n) != 0)
        WRONG("%s, cut %d: wanted \"%s\", got \"%.*s\", then %s (%s)", r->d->name, r->cut, line,
              (int)(r->n_got - r->at_got), r->got + r->at_got, event_name(r->slot),
              r->c.result.reason ? r->c.result.reason : "");
    r->at_got += n;
}

static void expect_event(struct run *r, enum smtp_client_event e)
{
    pump(r);
    if (r->slot != e)
        WRONG("%s, cut %d: wanted %s, got %s (%s); said \"%.*s\"", r->d->name, r->cut, event_name(e),
              event_name(r->slot), r->c.result.reason ? r->c.result.reason : "", (int)(r->n_got - r->at_got),
              r->got + r->at_got);
    r->slot = SMTP_CLIENT_NONE;
}

static void expect_text(struct run *r, const char *what, const char *want, const char *got)
{
    if (strcmp(want, got) != 0)
        WRONG("%s, cut %d: %s: wanted \"%s\", got \"%s\"", r->d->name, r->cut, what, want, got);
}

/* "answered 250 text", "not_sent reason", "unknown reason" */
static void expect_result(struct run *r, const char *want, const struct smtp_client_result *result)
{
    static const char *const ends[] = {"answered", "not_sent", "unknown"};
    char got[700];
    if (result->end == SMTP_CLIENT_ANSWERED)
        snprintf(got, sizeof got, "%s %d %.*s", ends[result->end], result->code, SLICE_ARG(result->text));
    else
        snprintf(got, sizeof got, "%s %s", ends[result->end], result->reason);
    expect_text(r, "DONE", want, got);
}

static void expect_closed(struct run *r, const char *want)
{
    char got[700];
    const struct smtp_client_result *result = &r->c.result;
    if (result->code == 0)
        snprintf(got, sizeof got, "%s", result->reason);
    else
        snprintf(got, sizeof got, "%s %d %.*s", result->reason, result->code, SLICE_ARG(result->text));
    if (*want) /* what DONE said is over */
        expect_text(r, "CLOSED", want, got);
}

static size_t expect_recipients(struct run *r, size_t i, const struct smtp_client_result *result)
{
    size_t n = 0;
    for (; i + 1 < r->d->n && r->d->lines[i + 1][0] == '='; i++) {
        const char *want = r->d->lines[i + 1] + 2;
        char got[700];
        if (strcmp(want, "dsn") == 0) {
            ck_assert_msg(result->dsn, "%s: no dsn", r->d->name);
            continue;
        }
        ck_assert_msg(n < result->n_recipients, "%s: fewer recipients", r->d->name);
        snprintf(got, sizeof got, "%d %.*s", result->recipients[n].code, SLICE_ARG(result->recipients[n].text));
        expect_text(r, "recipient", want, got);
        n++;
    }
    ck_assert_msg(n == 0 || n == result->n_recipients, "%s: more recipients", r->d->name);
    return i;
}

static void send_mail(struct run *r)
{
    r->mail.envelope = &r->envelope;
    r->content_bytes = stuffed_bytes(r->mail.content);
    r->data_from = SIZE_MAX;
    r->sending = true;
    smtp_client_send(&r->c, &r->mail, &r->arena);
}

/* False: no such line. */
static bool act(struct run *r, const char *line)
{
    const char *v;
    if (after(line, "SEND")) {
        send_mail(r);
    } else if (after(line, "QUIT")) {
        smtp_client_quit(&r->c);
    } else if ((v = after(line, "MAY_DATA"))) {
        expect_event(r, SMTP_CLIENT_MAY_DATA);
        ck_assert(!smtp_client_sent(&r->c));
        r->data_from = r->n_got;
        smtp_client_data(&r->c, strcmp(v, "no") != 0);
    } else if (after(line, "STARTTLS")) {
        expect_event(r, SMTP_CLIENT_STARTTLS);
        smtp_client_tls_on(&r->c);
    } else if (after(line, "READY")) {
        expect_event(r, SMTP_CLIENT_READY);
    } else if ((v = after(line, "CLOSED"))) {
        expect_event(r, SMTP_CLIENT_CLOSED);
        expect_closed(r, v);
    } else if ((v = after(line, "WRITES"))) {
        pump(r);
        ck_assert_msg(r->cut == CUT_WRITES || r->n_writes == strtoul(v, NULL, 10), "%s: %zu writes", r->d->name,
                      r->n_writes);
        r->n_writes = 0;
    } else if (after(line, "HOLD")) {
        r->hold = true;
    } else if ((v = after(line, "TAKE"))) { /* so many bytes of what is held */
        pump(r);
        take_out(r, strtoul(v, NULL, 10));
    } else if (after(line, "FLOW")) {
        r->hold = false;
    } else {
        return false;
    }
    return true;
}

static struct run *run_new(const struct dialog *d, enum cut cut, size_t lose_after)
{
    static struct run run;
    static char in[BYTES_MAX], got[BYTES_MAX];
    run = (struct run){.d = d, .cut = cut, .lose_after = lose_after, .in = in, .got = got};
    run.opt = (struct smtp_client_options){.host = "postern.example", .tls = SMTP_CLIENT_TLS_MAY};
    run.mail.content = SLICE("Subject: hi\r\n\r\nhello\r\n");
    arena_init(&run.arena, 1 << 22);
    smtp_client_init(&run.c, &run.opt);
    return &run;
}

static void run_free(struct run *r)
{
    arena_clear(&r->arena);
}

static void run_dialog(const struct dialog *d, enum cut cut)
{
    struct run *r = run_new(d, cut, SIZE_MAX);
    for (size_t i = 0; i < d->n; i++) {
        const char *line = d->lines[i], *v;
        if (r->whole_only && cut != CUT_NOT)
            break;
        if (strncmp(line, "S: ", 3) == 0)
            add_in(r, line + 3, "\r\n");
        else if (strncmp(line, "S> ", 3) == 0)
            add_in(r, line + 3, "");
        else if (strncmp(line, "S#", 2) == 0 || strncmp(line, "S~", 2) == 0)
            add_many(r, line);
        else if (strncmp(line, "C: ", 3) == 0 || strncmp(line, "C> ", 3) == 0)
            expect_out(r, line);
        else if ((v = after(line, "DONE"))) {
            expect_event(r, SMTP_CLIENT_DONE);
            expect_result(r, v, &r->c.result);
            i = expect_recipients(r, i, &r->c.result);
        } else if ((v = after(line, "LOST"))) {
            struct smtp_client_result result;
            pump(r);
            smtp_client_lost(&r->c, "connection_lost", &result);
            expect_result(r, v, &result);
            i = expect_recipients(r, i, &result);
            r->slot = SMTP_CLIENT_NONE;
            r->over = true;
        } else
            ck_assert_msg(act(r, line) || set_option(r, line), "%s: %s", d->name, line);
    }
    if (!r->over)
        pump(r);
    ck_assert_msg(r->at_got == r->n_got, "%s, cut %d: said besides: \"%.*s\"", d->name, cut,
                  (int)(r->n_got - r->at_got), r->got + r->at_got);
    ck_assert_msg(r->slot == SMTP_CLIENT_NONE && (r->over || r->at_in == r->n_in), "%s, cut %d: %s", d->name, cut,
                  event_name(r->slot));
    run_free(r);
}

START_TEST(dialogs_hold)
{
    for (enum cut cut = CUT_NOT; cut < CUT_N; cut++)
        run_dialog(&dialogs[_i], cut);
}
END_TEST

/* --- lost at every point --- */

/* Answers what is told as the script would; READY waits for its SEND. */
static void go_on(struct run *r)
{
    for (;;) {
        pump(r);
        enum smtp_client_event e = r->slot;
        if (e == SMTP_CLIENT_NONE || e == SMTP_CLIENT_READY || e == SMTP_CLIENT_CLOSED)
            return;
        r->slot = SMTP_CLIENT_NONE;
        if (e == SMTP_CLIENT_STARTTLS)
            smtp_client_tls_on(&r->c);
        if (e != SMTP_CLIENT_MAY_DATA)
            continue;
        r->data_from = r->n_got;
        smtp_client_data(&r->c, true);
    }
}

/* Returns false when there were fewer bytes than that. */
static bool run_lost(const struct dialog *d, size_t lose_after)
{
    struct run *r = run_new(d, CUT_NOT, lose_after);
    struct smtp_client_result result;
    for (size_t i = 0; i < d->n && r->n_in < lose_after; i++) {
        const char *line = d->lines[i];
        if (strncmp(line, "S: ", 3) == 0)
            add_in(r, line + 3, "\r\n");
        else if (strncmp(line, "S> ", 3) == 0)
            add_in(r, line + 3, "");
        else if (after(line, "SEND") && r->slot == SMTP_CLIENT_READY) {
            r->slot = SMTP_CLIENT_NONE;
            send_mail(r);
        } else
            set_option(r, line);
        go_on(r);
    }
    bool ended = r->sending && r->data_from != SIZE_MAX && r->n_got - r->data_from == r->content_bytes;
    bool sending = r->sending, all = r->n_in == lose_after;
    smtp_client_lost(&r->c, "connection_lost", &result);
    if (!sending)
        ensure(result.end == SMTP_CLIENT_NOT_SENT);
    else if (result.end == SMTP_CLIENT_ANSWERED)
        for (size_t i = 0; i < result.n_recipients; i++)
            ensure(result.recipients[i].code >= 400);
    else if (result.end != (ended ? SMTP_CLIENT_UNKNOWN : SMTP_CLIENT_NOT_SENT))
        WRONG("%s: lost after %zu bytes", d->name, lose_after);
    run_free(r);
    return all;
}

START_TEST(lost_at_every_byte)
{
    for (size_t i = 0; i < n_dialogs; i++)
        for (size_t n = 0; run_lost(&dialogs[i], n) && n < 3000; n++)
            ;
}
END_TEST

/* --- only bytes that were taken count --- */

static void to_data(struct run *r)
{
    add_in(r, "220 hi", "\r\n");
    pump(r);
    add_in(r, "250-hi\\r\\n250 PIPELINING", "\r\n");
    pump(r);
    ck_assert_int_eq(r->slot, SMTP_CLIENT_READY);
    r->slot = SMTP_CLIENT_NONE;
    set_mail(r, "from a@b.example");
    set_mail(r, "to c@d.example");
    send_mail(r);
    pump(r);
    add_in(r, "250 ok\\r\\n250 ok\\r\\n354 go", "\r\n");
    pump(r);
    ck_assert_int_eq(r->slot, SMTP_CLIENT_MAY_DATA);
    r->slot = SMTP_CLIENT_NONE;
}

START_TEST(unknown_only_after_the_last_byte)
{
    static const struct dialog none = {.name = "taken"};
    static char big[40000];
    for (size_t i = 0; i < sizeof big; i += 20)
        memcpy(big + i, "..234567890123456.\r\n", 20);
    size_t total = stuffed_bytes((struct slice){big, sizeof big});
    for (size_t taken = 0; taken <= total; taken += taken + 60 < total && taken > 60 ? 37 : 1) {
        struct run *r = run_new(&none, CUT_NOT, SIZE_MAX);
        struct smtp_client_result result;
        struct slice in = {0};
        r->mail.content = (struct slice){big, sizeof big};
        to_data(r);
        ck_assert(!smtp_client_sent(&r->c));
        smtp_client_data(&r->c, true);
        for (size_t left = taken; smtp_client_step(&r->c, &in) == SMTP_CLIENT_WRITE && left > 0;) {
            size_t n = left < r->c.out.n ? left : r->c.out.n;
            take_out(r, n);
            left -= n;
        }
        ck_assert(smtp_client_sent(&r->c));
        smtp_client_lost(&r->c, "timeout", &result);
        ck_assert_msg(result.end == (taken == total ? SMTP_CLIENT_UNKNOWN : SMTP_CLIENT_NOT_SENT), "%zu of %zu", taken,
                      total);
        run_free(r);
    }
}
END_TEST

/* More commands than one write holds, and replies that come meanwhile. */
START_TEST(a_thousand_recipients)
{
    static const struct dialog none = {.name = "thousand"};
    for (enum cut cut = CUT_NOT; cut < CUT_N; cut++) {
        struct run *r = run_new(&none, cut, SIZE_MAX);
        add_in(r, "220 hi\\r\\n250-hi\\r\\n250 PIPELINING", "\r\n");
        r->at_in = 0;
        size_t all = r->n_in;
        r->n_in = strlen("220 hi\r\n");
        pump(r);
        r->n_in = all;
        pump(r);
        ck_assert_int_eq(r->slot, SMTP_CLIENT_READY);
        r->slot = SMTP_CLIENT_NONE;
        set_mail(r, "from a@b.example");
        set_mail(r, "many 1000");
        r->n_got = 0;
        send_mail(r);
        pump(r);
        ck_assert_uint_eq(r->n_got, 25 + 1000 * strlen("RCPT TO:<many@d.example>\r\n") + 6);
        add_in(r, "250 ok", "\r\n");
        for (int i = 0; i < 1000; i++)
            add_in(r, i % 3 ? "250 ok" : "550 5.1.1 no", "\r\n");
        add_in(r, "354 go", "\r\n");
        pump(r);
        ck_assert_int_eq(r->slot, SMTP_CLIENT_MAY_DATA);
        r->slot = SMTP_CLIENT_NONE;
        smtp_client_data(&r->c, true);
        pump(r);
        add_in(r, "250 queued", "\r\n");
        pump(r);
        ck_assert_int_eq(r->slot, SMTP_CLIENT_DONE);
        ck_assert_uint_eq(r->c.result.n_recipients, 1000);
        for (int i = 0; i < 1000; i++)
            ck_assert(r->c.result.recipients[i].code == (i % 3 ? 250 : 550));
        run_free(r);
    }
}
END_TEST

START_TEST(no_room_for_answers)
{
    static const struct dialog none = {.name = "room"};
    struct run *r = run_new(&none, CUT_NOT, SIZE_MAX);
    struct arena small;
    arena_init(&small, 16);
    to_data(r); /* READY needs a transaction to end */
    smtp_client_data(&r->c, true);
    pump(r);
    add_in(r, "250 ok", "\r\n");
    pump(r);
    r->slot = SMTP_CLIENT_NONE;
    pump(r);
    ck_assert_int_eq(r->slot, SMTP_CLIENT_READY);
    r->slot = SMTP_CLIENT_NONE;
    size_t said = r->n_got;
    smtp_client_send(&r->c, &r->mail, &small);
    pump(r);
    ck_assert_int_eq(r->slot, SMTP_CLIENT_DONE);
    expect_result(r, "not_sent out_of_memory", &r->c.result);
    ck_assert(r->c.result.is_own);
    ck_assert_uint_eq(r->n_got, said);
    arena_clear(&small);
    run_free(r);
}
END_TEST

/* The wire has the content with each line's first dot doubled, nothing else, and one end. */
START_TEST(content_comes_out_as_it_went_in)
{
    static const struct dialog none = {.name = "content"};
    static char content[60000], want[120010];
    uint32_t dice = 7;
    for (int round = 0; round < 330; round++) { /* the last ones end where the buffer does */
        size_t n = 0, want_n = round < 300 ? (size_t)round * 190 : SMTP_CLIENT_BUFFER - 320u + (size_t)round;
        while (n + 2 < want_n) { /* many line ends and dots, lines of all lengths around the buffer's */
            dice = dice * 1664525u + 1013904223u;
            unsigned roll = (dice >> 16) % (round >= 300 ? 60000 : round % 3 == 0 ? 5 : 600);
            if (roll < 2) {
                content[n++] = '\r';
                content[n++] = '\n';
            } else {
                content[n++] = roll < 5 ? '.' : 'x';
            }
        }
        struct run *r = run_new(&none, round % 2 ? CUT_NOT : CUT_WRITES, SIZE_MAX);
        r->mail.content = (struct slice){content, n};
        to_data(r);
        size_t from = r->n_got, at = 0;
        smtp_client_data(&r->c, true);
        pump(r);
        bool starts = true;
        for (size_t i = 0; i < n; i++) {
            if (starts && content[i] == '.')
                want[at++] = '.';
            want[at++] = content[i];
            starts = content[i] == '\n';
        }
        at += (size_t)snprintf(want + at, 6, "%s", starts ? ".\r\n" : "\r\n.\r\n");
        ck_assert_uint_eq(r->n_got - from, at);
        ck_assert(memcmp(r->got + from, want, at) == 0);
        run_free(r);
    }
}
END_TEST

START_TEST(checks_of_content)
{
    static const struct {
        struct slice content;
        bool good;
    } rows[] = {
        {SLICE_INIT(""), true},          {SLICE_INIT("a"), true},
        {SLICE_INIT("\r\n"), true},      {SLICE_INIT("a\r\n.\r\nb\r\n"), true},
        {SLICE_INIT("a\nb\r\n"), false}, {SLICE_INIT("\n"), false},
        {SLICE_INIT("\r"), false},       {SLICE_INIT("a\rb\r\n"), false},
        {SLICE_INIT("a\r\r\n"), false},  {SLICE_INIT("a\r\n\r"), false},
        {SLICE_INIT("a\r\n.\n"), false}, {SLICE_INIT("a\0b\r\n"), false},
        {SLICE_INIT("a\n\r\n"), false},  {SLICE_INIT("\0a"), false},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++)
        ck_assert_msg(smtp_client_check_content(rows[i].content) == rows[i].good, "row %zu", i);
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) /* anywhere in longer content */
        for (size_t before = 0; before < 20; before++) {
            char around[80];
            memset(around, 'a', sizeof around);
            memcpy(around + before, rows[i].content.p, rows[i].content.n);
            for (size_t tail = 0; tail < 20; tail++) {
                struct slice whole = {around, before + rows[i].content.n + tail};
                ck_assert_msg(smtp_client_check_content(whole) == rows[i].good, "row %zu, %zu, %zu", i, before, tail);
            }
        }
    char bytes[40];
    for (size_t n = 1; n <= sizeof bytes; n++)
        for (size_t at = 0; at < n; at++) {
            memset(bytes, 'a', n);
            ck_assert(!smtp_client_has_8bit((struct slice){bytes, n}));
            bytes[at] = (char)0x80;
            ck_assert(smtp_client_has_8bit((struct slice){bytes, n}));
        }
}
END_TEST

int main(void)
{
    read_all();
    Suite *suite = suite_create("gateway_smtp_client_proto");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, dialogs_hold, 0, (int)n_dialogs);
    tcase_add_test(t, lost_at_every_byte);
    tcase_add_test(t, unknown_only_after_the_last_byte);
    tcase_add_test(t, a_thousand_recipients);
    tcase_add_test(t, no_room_for_answers);
    tcase_add_test(t, content_comes_out_as_it_went_in);
    tcase_add_test(t, checks_of_content);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

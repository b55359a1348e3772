/*
 * The SMTP server's machine against dialogs in files (tests/smtp/NAME.dialog).  Each is driven with the client's groups
 * in one piece, line by line, byte by byte and cut at random; what comes out must be what the file says, each time.
 *
 *     == name                 a dialog, to the next one or the end of the file
 *     set max_errors 2        an option; of the bool ones 1
 *     unwaited                the client does not wait where it must: driven in one piece only
 *     early                   the first group is there before the greeting
 *     no handshake            STARTTLS is not followed by one
 *     hello, login, mail      a greeting; and a login (in the clear); MAIL, RCPT and DATA; all answered well, not shown
 *     C: text                 a line from the client; lines that follow each other are one group, sent without waiting
 *     C. text                 likewise without its CRLF
 *     S: text                 a line of a reply; S(fault): of one that refuses
 *     U: MAIL FROM:<a@b.c>    the user is asked: MAIL, RCPT, AUTH, MESSAGE
 *     A: text                 and answers so (a line of a reply; to AUTH ok, wrong, down); without it he agrees
 *     E: close, E: tls        the session ends, the handshake begins
 * In texts \r \n \\ \xHH, and \{N:text}: text again and again, N bytes in all.  What is expected may end with "*": the
 * rest is not looked at; what is shown of a value above 200 bytes is its length.
 */
#include <check.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/smtp_proto.h"
#include "postern/buf.h"
#include "postern/hash.h"

#define FILE_BYTES  (1u << 20)
#define SHOWN_BYTES 200u
#define RANDOM_RUNS 20u

enum cut { CUT_NEVER, CUT_LINES, CUT_BYTES, CUT_RANDOM };
static const char *const cut_names[] = {"in one piece", "line by line", "byte by byte", "cut at random"};

struct dialog {
    const char *file;
    size_t line;       /* of its name */
    struct slice text; /* its lines */
    struct smtp_proto_options options;
    bool unwaited, early, no_handshake;
};

/* One dialog on its way. */
struct run {
    const struct dialog *d;
    enum cut cut;
    unsigned seed;
    struct arena arena;
    struct smtp_proto proto;
    struct slice rest; /* of the dialog's text */
    size_t line;
    struct buf content; /* of the message */
    struct slice in;    /* came, and is not consumed */
    bool closed, quiet;
    unsigned n_messages;
};

static void differ(const struct run *r, const char *what, struct slice want, struct slice got)
{
    ck_abort_msg("%s:%zu, %s: %s\n  want: %.*s\n  got:  %.*s", r->d->file, r->line, cut_names[r->cut], what,
                 SLICE_ARG(want), SLICE_ARG(got));
}

static struct slice read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    ensure(f != NULL);
    char *bytes = xcalloc(1, FILE_BYTES);
    size_t n = fread(bytes, 1, FILE_BYTES, f);
    ensure(n < FILE_BYTES);
    fclose(f);
    return (struct slice){bytes, n};
}

static struct slice take_text_line(struct slice *rest)
{
    const char *end = memchr(rest->p, '\n', rest->n);
    ensure(end != NULL);
    struct slice line = {rest->p, (size_t)(end - rest->p)};
    *rest = (struct slice){end + 1, rest->n - line.n - 1};
    return line;
}

static void unescape(struct slice s, struct buf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '\\') {
            buf_add(out, s.p + i, 1);
            continue;
        }
        char c = s.p[++i];
        if (c == '{') {
            char *colon = NULL;
            size_t total = strtoul(s.p + i + 1, &colon, 10);
            const char *end = memchr(colon, '}', (size_t)(s.p + s.n - colon));
            ensure(*colon == ':' && end != NULL);
            for (size_t goal = out->n + total; out->n < goal;)
                unescape((struct slice){colon + 1, (size_t)(end - colon) - 1}, out);
            i = (size_t)(end - s.p);
        } else if (c == 'x') {
            int byte = hash_hex_digit(s.p[i + 1]) * 16 + hash_hex_digit(s.p[i + 2]);
            buf_add(out, (const char[]){(char)byte}, 1);
            i += 2;
        } else {
            ensure(c == 'r' || c == 'n' || c == '\\');
            buf_add(out, c == 'r' ? "\r" : c == 'n' ? "\n" : "\\", 1);
        }
    }
}

static struct slice unescaped(struct run *r, struct slice s)
{
    struct buf b;
    buf_init(&b, &r->arena, FILE_BYTES);
    unescape(s, &b);
    ensure(!b.failed);
    return buf_slice(&b);
}

static void skip_comments(struct run *r)
{
    while (r->rest.n > 0 && (r->rest.p[0] == '#' || r->rest.p[0] == '\n')) {
        take_text_line(&r->rest);
        r->line++;
    }
}

/* The dialog's next line, when it begins so. */
static bool take_if(struct run *r, const char *prefix, struct slice *line)
{
    skip_comments(r);
    if (r->rest.n == 0 || !slice_starts(r->rest, prefix))
        return false;
    *line = take_text_line(&r->rest);
    r->line++;
    return true;
}

/* What happened must be what the file says next. */
static void expect(struct run *r, struct slice got)
{
    struct slice line;
    if (r->quiet)
        return;
    if (!take_if(r, "", &line) || line.n == 0)
        differ(r, "the dialog is over", SLICE("nothing"), got);
    struct slice want = unescaped(r, line);
    bool open = want.n > 0 && want.p[want.n - 1] == '*';
    if (open)
        want.n--;
    if (open ? got.n < want.n || memcmp(got.p, want.p, want.n) != 0 : !slice_eq(want, got))
        differ(r, "not what was expected", want, got);
}

/* Every line of a reply: three digits, the same, and a blank or, but for the last, a hyphen (RFC 5321 4.2.1). */
static void expect_reply(struct run *r, struct slice reply, const char *fault)
{
    struct slice rest = reply;
    while (rest.n > 0) {
        struct slice line = take_text_line(&rest);
        if (line.n < 5 || line.p[line.n - 1] != '\r' || strspn(line.p, "0123456789") != 3 || line.n > 510 ||
            memcmp(line.p, reply.p, 3) != 0 || line.p[3] != (rest.n > 0 ? '-' : ' '))
            differ(r, "not a reply", SLICE("ddd text CRLF"), line);
        char text[600];
        snprintf(text, sizeof text, fault == NULL ? "S%s: %.*s" : "S(%s): %.*s", fault == NULL ? "" : fault,
                 (int)line.n - 1, line.p);
        expect(r, slice_of(text));
    }
}

static void expect_own_reply(struct run *r)
{
    bool refused = r->proto.fault != SMTP_PROTO_FAULT_NONE;
    expect_reply(r, r->proto.reply, refused ? smtp_proto_fault_label(r->proto.fault) : NULL);
}

static void show(struct buf *b, struct slice value)
{
    if (value.n > SHOWN_BYTES)
        buf_printf(b, "<%zu bytes>", value.n);
    else
        buf_add_slice(b, value);
}

static void expect_question(struct run *r, const char *event, struct slice first, struct slice second)
{
    struct buf b;
    buf_init(&b, &r->arena, FILE_BYTES);
    buf_printf(&b, "U: %s", event);
    if (first.n > 0)
        buf_add_cstr(&b, " ");
    show(&b, first);
    if (second.n > 0)
        buf_add_cstr(&b, " ");
    show(&b, second);
    expect(r, buf_slice(&b));
}

static void answer_auth(struct run *r)
{
    struct slice line = SLICE("A: ok");
    expect_question(r, "AUTH", r->proto.user, r->proto.secret);
    ignore(!r->quiet && take_if(r, "A:", &line)); /* else he agrees */
    smtp_proto_auth(&r->proto, slice_eq_cstr(line, "A: ok")      ? SMTP_AUTH_OK
                               : slice_eq_cstr(line, "A: wrong") ? SMTP_AUTH_WRONG
                                                                 : SMTP_AUTH_DOWN);
    ck_assert_uint_eq(r->proto.user.n + r->proto.secret.n, 0);
    expect_own_reply(r);
}

static void answer(struct run *r, const char *event, struct slice asked, const char *usual)
{
    struct buf b;
    struct slice line;
    expect_question(r, event, asked, (struct slice){NULL, 0});
    buf_init(&b, &r->arena, FILE_BYTES);
    while (!r->quiet && take_if(r, "A: ", &line)) {
        buf_add(&b, line.p + 3, line.n - 3);
        buf_add_cstr(&b, "\r\n");
    }
    smtp_proto_answer(&r->proto, b.n > 0 ? buf_slice(&b) : slice_of(usual));
    ck_assert(r->proto.reply.n > 0);
    expect_reply(r, r->proto.reply, NULL);
}

static void take_event(struct run *r, enum smtp_event event)
{
    struct smtp_proto *p = &r->proto;
    switch (event) {
    case SMTP_NONE:
        ck_assert_uint_eq(r->in.n, 0);
        ck_assert_uint_eq(p->reply.n, 0);
        break;
    case SMTP_AUTH:
        answer_auth(r);
        break;
    case SMTP_MAIL:
        ck_assert(!p->in_mail && p->authenticated && p->client.n > 0);
        answer(r, "MAIL", p->argument, "");
        break;
    case SMTP_RCPT:
        ck_assert(p->in_mail && p->rcpt.path.n > 0);
        answer(r, "RCPT", p->argument, "");
        break;
    case SMTP_DATA:
        ck_assert(p->in_mail);
        buf_init(&r->content, &r->arena, FILE_BYTES);
        expect_own_reply(r);
        break;
    case SMTP_PIECE:
        ck_assert_uint_gt(p->piece.n, 0);
        buf_add_slice(&r->content, p->piece);
        break;
    case SMTP_MESSAGE:
        r->n_messages++;
        answer(r, "MESSAGE", buf_slice(&r->content), "250 2.0.0 Ok: queued as 1\r\n");
        ck_assert(!p->in_mail);
        break;
    case SMTP_STARTTLS:
        expect_own_reply(r);
        expect(r, SLICE("E: tls"));
        if (!r->d->no_handshake)
            smtp_proto_tls_on(p);
        break;
    case SMTP_CLOSE:
        ck_assert(!p->in_mail);
        r->closed = true;
        expect_own_reply(r);
        expect(r, SLICE("E: close"));
        break;
    case SMTP_REPLY:
        expect_own_reply(r);
        break;
    }
}

static void step(struct run *r)
{
    enum smtp_event event;
    do {
        event = smtp_proto_step(&r->proto, &r->in);
        take_event(r, event);
    } while (event != SMTP_NONE && !r->closed);
}

static size_t cut_bytes(struct run *r, struct slice s)
{
    const char *lf = memchr(s.p, '\n', s.n);
    switch (r->cut) {
    case CUT_NEVER:
        return s.n;
    case CUT_LINES:
        return lf == NULL ? s.n : (size_t)(lf - s.p) + 1;
    case CUT_BYTES:
        return 1;
    case CUT_RANDOM:
        return 1 + (size_t)rand_r(&r->seed) % (rand_r(&r->seed) % 2 == 0 ? s.n : s.n < 4 ? s.n : 4);
    }
    return s.n;
}

/* Each piece in a block of its exact size, so that a sanitizer sees a read beyond it. */
static void feed(struct run *r, struct slice group)
{
    while (group.n > 0 && !r->closed) {
        size_t n = cut_bytes(r, group);
        char *piece = malloc(n);
        ensure(piece != NULL);
        memcpy(piece, group.p, n);
        r->in = (struct slice){piece, n};
        step(r);
        free(piece);
        group = (struct slice){group.p + n, group.n - n};
    }
}

static void feed_unseen(struct run *r, const char *text)
{
    r->quiet = true;
    enum cut cut = r->cut;
    r->cut = CUT_LINES;
    feed(r, slice_of(text));
    r->cut = cut;
    r->quiet = false;
    ck_assert(!r->closed);
}

static bool take_group(struct run *r, struct slice *group)
{
    struct buf b;
    struct slice line;
    buf_init(&b, &r->arena, FILE_BYTES);
    while (take_if(r, "C:", &line) || take_if(r, "C.", &line)) {
        size_t at = line.n > 2 ? 3 : 2;
        unescape((struct slice){line.p + at, line.n - at}, &b);
        buf_add_cstr(&b, line.p[1] == ':' ? "\r\n" : "");
    }
    *group = buf_slice(&b);
    return b.n > 0;
}

static bool run_macro(struct run *r)
{
    struct slice line;
    if (take_if(r, "hello\n", &line)) {
        feed_unseen(r, "EHLO client.example\r\n");
    } else if (take_if(r, "login\n", &line)) {
        feed_unseen(r, "EHLO client.example\r\nAUTH PLAIN AGFwcABzZWNyZXQ=\r\n");
        ck_assert(r->proto.authenticated);
        r->proto.n_commands = 0; /* limits are told without it */
    } else if (take_if(r, "mail\n", &line)) {
        feed_unseen(r, "MAIL FROM:<a@b.example>\r\nRCPT TO:<d@e.example>\r\nDATA\r\n");
        ck_assert_int_eq(r->proto.state, SMTP_STATE_DATA);
    } else {
        return false;
    }
    return true;
}

static void run_dialog(const struct dialog *d, enum cut cut, unsigned seed)
{
    struct run *r = xcalloc(1, sizeof *r);
    r->d = d;
    r->cut = cut;
    r->seed = seed;
    r->rest = d->text;
    r->line = d->line;
    arena_init(&r->arena, 16u << 20);
    smtp_proto_init(&r->proto, &d->options);
    if (!d->early) {
        ck_assert_int_eq(smtp_proto_step(&r->proto, &r->in), SMTP_REPLY);
        ck_assert(slice_eq_cstr(r->proto.reply, "220 mx.example ESMTP Postern\r\n"));
    }
    struct slice group = {NULL, 0};
    while (run_macro(r) || take_group(r, &group)) {
        feed(r, group);
        group.n = 0;
    }
    skip_comments(r);
    if (r->rest.n > 0)
        differ(r, "it did not happen", take_text_line(&r->rest), SLICE("nothing"));
    arena_clear(&r->arena);
    free(r);
}

static void set_option(struct smtp_proto_options *o, struct slice line)
{
    char name[40];
    unsigned value;
    char text[80];
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(line));
    ensure(sscanf(text, "set %39s %u", name, &value) == 2);
    if (strcmp(name, "offers_tls") == 0)
        o->offers_tls = true;
    else if (strcmp(name, "tls_on") == 0)
        o->tls_on = true;
    else if (strcmp(name, "auth_in_clear") == 0)
        o->auth_in_clear = true;
    else if (strcmp(name, "max_recipients") == 0)
        o->max_recipients = value;
    else if (strcmp(name, "max_commands") == 0)
        o->max_commands = value;
    else if (strcmp(name, "max_errors") == 0)
        o->max_errors = value;
    else if (strcmp(name, "max_messages") == 0)
        o->max_messages = value;
    else
        never("an option of that name");
}

/* The directives before the first thing that happens. */
static void read_head(struct dialog *d)
{
    for (;;) {
        struct slice rest = d->text;
        struct slice line = rest.n > 0 ? take_text_line(&rest) : (struct slice){NULL, 0};
        if (slice_starts(line, "set "))
            set_option(&d->options, line);
        else if (slice_eq_cstr(line, "unwaited"))
            d->unwaited = true;
        else if (slice_eq_cstr(line, "early"))
            d->early = true;
        else if (slice_eq_cstr(line, "no handshake"))
            d->no_handshake = true;
        else if (slice_eq_cstr(line, "login"))
            break; /* is also run */
        else
            return;
        d->text = rest;
        d->line++;
    }
    d->options.auth_in_clear = true;
}

static void run_cuts(const struct dialog *d)
{
    run_dialog(d, CUT_NEVER, 0);
    if (d->unwaited)
        return;
    run_dialog(d, CUT_LINES, 0);
    run_dialog(d, CUT_BYTES, 0);
    for (unsigned i = 0; i < RANDOM_RUNS; i++)
        run_dialog(d, CUT_RANDOM, i + 1);
}

static const struct smtp_proto_options usual = {.host = "mx.example",
                                                .max_message_bytes = 4096,
                                                .max_recipients = 100,
                                                .max_commands = 200,
                                                .max_errors = 100,
                                                .max_messages = 100};

static size_t run_file(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/smtp/%s", TESTS_DIR, name);
    struct slice text = read_file(path), rest = text;
    size_t n = 0, line = 0;
    while (rest.n > 0) {
        struct slice head = take_text_line(&rest);
        line++;
        if (!slice_starts(head, "== "))
            continue;
        const char *end = memmem(rest.p, rest.n, "\n== ", 4);
        size_t length = end == NULL ? rest.n : (size_t)(end - rest.p) + 1;
        struct dialog d = {.file = name, .line = line, .text = {rest.p, length}, .options = usual};
        read_head(&d);
        run_cuts(&d);
        n++;
    }
    free((char *)text.p);
    return n;
}

START_TEST(dialogs)
{
    DIR *dir = opendir(TESTS_DIR "/smtp");
    ck_assert_ptr_nonnull(dir);
    size_t n_files = 0, n = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.' || strstr(entry->d_name, ".dialog") == NULL)
            continue;
        n_files++;
        n += run_file(entry->d_name);
    }
    closedir(dir);
    ck_assert_uint_ge(n_files, 9);
    ck_assert_uint_ge(n, 120);
}
END_TEST

/* A machine of its own, logged in, with a message under way. */
static void begin_data(struct smtp_proto *p)
{
    static const char *const lines[] = {"",
                                        "EHLO c.example\r\n",
                                        "AUTH PLAIN AGFwcABzZWNyZXQ=\r\n",
                                        "MAIL FROM:<a@b.c>\r\n",
                                        "RCPT TO:<d@e.f>\r\n",
                                        "DATA\r\n"};
    struct smtp_proto_options options = usual;
    options.auth_in_clear = true;
    smtp_proto_init(p, &options);
    for (size_t i = 0; i < N_ELEMENTS(lines); i++) {
        struct slice in = slice_of(lines[i]);
        enum smtp_event event = smtp_proto_step(p, &in);
        if (event == SMTP_AUTH)
            smtp_proto_auth(p, SMTP_AUTH_OK);
        else if (event == SMTP_MAIL || event == SMTP_RCPT)
            smtp_proto_answer(p, (struct slice){NULL, 0});
    }
    ck_assert_int_eq(p->state, SMTP_STATE_DATA);
}

/* What data must come to, read off RFC 5321 in the plainest way. */
struct data_result {
    bool whole, refused;
    size_t used; /* bytes up to the end */
    char content[64];
    size_t n;
};

static struct data_result told_by_the_rfc(struct slice data)
{
    struct data_result o = {.n = 0};
    bool line_start = true, dot = false;
    for (size_t i = 0; i < data.n; i++) {
        struct slice rest = {data.p + i, data.n - i};
        if (line_start && slice_starts(rest, ".\r\n")) {
            o.whole = true;
            o.used = i + 3;
            return o;
        }
        dot = line_start && rest.p[0] == '.';
        bool crlf = slice_starts(rest, "\r\n");
        if (rest.p[0] == '\0' || rest.p[0] == '\n' || (rest.p[0] == '\r' && !crlf)) {
            o.refused = true;
            return o;
        }
        if (!dot)
            o.content[o.n++] = rest.p[0];
        if (crlf)
            o.content[o.n++] = data.p[++i];
        line_start = crlf;
    }
    return o;
}

static struct data_result told_by_the_machine(struct slice data, size_t step)
{
    static struct smtp_proto p;
    struct data_result o = {.n = 0};
    begin_data(&p);
    for (size_t at = 0; at < data.n; at += step) {
        struct slice in = {data.p + at, data.n - at < step ? data.n - at : step};
        enum smtp_event event = SMTP_PIECE;
        while (event == SMTP_PIECE) {
            event = smtp_proto_step(&p, &in);
            if (event == SMTP_PIECE) {
                memcpy(o.content + o.n, p.piece.p, p.piece.n);
                o.n += p.piece.n;
            }
        }
        o.whole = event == SMTP_MESSAGE;
        o.refused = event == SMTP_CLOSE;
        o.used = at + (data.n - at < step ? data.n - at : step) - in.n;
        if (o.whole || o.refused)
            return o;
        ck_assert_int_eq(event, SMTP_NONE);
    }
    return o;
}

/* Every sequence of these bytes, up to a length, before a true end of data. */
static void all_sequences(const char *bytes, size_t n_bytes, size_t max)
{
    char data[16];
    size_t total = 1;
    for (size_t n = 0; n <= max; n++, total *= n_bytes) {
        for (size_t k = 0; k < total; k++) {
            size_t left = k;
            for (size_t i = 0; i < n; i++, left /= n_bytes)
                data[i] = bytes[left % n_bytes];
            memcpy(data + n, "\r\n.\r\n", 5);
            struct slice s = {data, n + 5};
            struct data_result want = told_by_the_rfc(s);
            for (size_t step = 1; step <= s.n; step = step < 3 ? step + 1 : s.n + (step == s.n)) {
                struct data_result got = told_by_the_machine(s, step);
                ck_assert(want.whole == got.whole && want.refused == got.refused && want.whole != want.refused);
                if (want.whole) {
                    ck_assert_uint_eq(want.used, got.used);
                    ck_assert_uint_eq(want.n, got.n);
                    ck_assert_int_eq(memcmp(want.content, got.content, want.n), 0);
                }
            }
        }
    }
}

START_TEST(only_crlf_dot_crlf_ends_the_data)
{
    all_sequences("\r\n.a", 4, 7);
    all_sequences("\r\n.\0 ", 5, 5);
}
END_TEST

static bool holds(const struct smtp_proto *p, const char *text)
{
    return memmem(p, sizeof *p, text, strlen(text)) != NULL;
}

START_TEST(a_login_is_wiped)
{
    static const char *const logins[][3] = {
        {"AUTH PLAIN AGFwcGxlAHNlY3JldHBhc3M=\r\n"},
        {"AUTH PLAIN\r\n", "AGFwcGxlAHNlY3JldHBhc3M=\r\n"},
        {"AUTH LOGIN\r\n", "YXBwbGU=\r\n", "c2VjcmV0cGFzcw==\r\n"},
    };
    for (size_t i = 0; i < N_ELEMENTS(logins); i++) {
        struct smtp_proto *p = xcalloc(1, sizeof *p);
        struct smtp_proto_options options = usual;
        options.tls_on = true;
        smtp_proto_init(p, &options);
        struct slice in = {NULL, 0};
        ck_assert_int_eq(smtp_proto_step(p, &in), SMTP_REPLY);
        in = SLICE("EHLO c.example\r\n");
        ck_assert_int_eq(smtp_proto_step(p, &in), SMTP_REPLY);
        enum smtp_event event = SMTP_REPLY;
        for (size_t j = 0; j < 3 && logins[i][j] != NULL; j++) {
            in = slice_of(logins[i][j]);
            event = smtp_proto_step(p, &in);
        }
        ck_assert_int_eq(event, SMTP_AUTH);
        ck_assert(slice_eq_cstr(p->user, "apple") && slice_eq_cstr(p->secret, "secretpass"));
        ck_assert(holds(p, "secretpass"));
        smtp_proto_auth(p, i == 1 ? SMTP_AUTH_WRONG : SMTP_AUTH_OK);
        ck_assert(p->authenticated == (i != 1));
        ck_assert(!holds(p, "secretpass") && !holds(p, "apple") && !holds(p, "c2VjcmV0") && !holds(p, "cGFzc"));
        ck_assert(!holds(p, "FzczE") && !holds(p, "hc3M"));
        free(p);
    }
}
END_TEST

START_TEST(what_a_drain_lets_finish)
{
    static struct smtp_proto p;
    begin_data(&p);
    ck_assert(!smtp_proto_is_idle(&p));
    struct slice in = SLICE(".\r\n");
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_MESSAGE);
    ck_assert(!smtp_proto_is_idle(&p));
    smtp_proto_answer(&p, SLICE("250 2.0.0 Ok\r\n"));
    ck_assert(smtp_proto_is_idle(&p));
    in = SLICE("N");
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_NONE);
    ck_assert(!smtp_proto_is_idle(&p));
    in = SLICE("OOP\r\n");
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_REPLY);
    ck_assert(smtp_proto_is_idle(&p));
    in = SLICE("\r");
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_NONE);
    ck_assert(!smtp_proto_is_idle(&p));
    in = SLICE("\nMAIL FROM:<a@b.c>\r\n");
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_REPLY);
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_MAIL);
    smtp_proto_answer(&p, (struct slice){NULL, 0});
    ck_assert(!smtp_proto_is_idle(&p));
}
END_TEST

START_TEST(it_stays_closed)
{
    static struct smtp_proto p;
    begin_data(&p);
    struct slice in = SLICE("a\nQUIT\r\n");
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_CLOSE);
    ck_assert_uint_gt(p.reply.n, 0);
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_CLOSE);
    ck_assert_uint_eq(p.reply.n, 0);
    ck_assert_int_eq(p.fault, SMTP_PROTO_FAULT_NONE);
}
END_TEST

START_TEST(nothing_comes_before_the_handshake)
{
    static struct smtp_proto p;
    struct smtp_proto_options options = usual;
    options.offers_tls = true;
    smtp_proto_init(&p, &options);
    struct slice in = {NULL, 0};
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_REPLY);
    in = SLICE("EHLO me.example\r\n");
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_REPLY);
    ck_assert(slice_eq_cstr(p.client, "me.example") && p.is_esmtp);
    in = SLICE("STARTTLS\r\n");
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_STARTTLS);
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_NONE);
    smtp_proto_tls_on(&p);
    ck_assert(p.tls_on && !p.is_esmtp && p.client.n == 0);
}
END_TEST

START_TEST(faults_have_labels)
{
    ck_assert_str_eq(smtp_proto_fault_label(SMTP_PROTO_FAULT_NONE), "none");
    ck_assert_str_eq(smtp_proto_fault_label(SMTP_PROTO_FAULT_TOO_MANY_MESSAGES), "too_many_messages");
}
END_TEST

START_TEST(stepped_before_the_answer)
{
    static struct smtp_proto p;
    begin_data(&p);
    struct slice in = SLICE(".\r\n");
    ck_assert_int_eq(smtp_proto_step(&p, &in), SMTP_MESSAGE);
    ignore(smtp_proto_step(&p, &in));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("smtp_proto");
    TCase *tests = tcase_create("smtp_proto");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, dialogs);
    tcase_add_test(tests, only_crlf_dot_crlf_ends_the_data);
    tcase_add_test(tests, a_login_is_wiped);
    tcase_add_test(tests, what_a_drain_lets_finish);
    tcase_add_test(tests, it_stays_closed);
    tcase_add_test(tests, nothing_comes_before_the_handshake);
    tcase_add_test(tests, faults_have_labels);
    tcase_add_test_raise_signal(tests, stepped_before_the_answer, SIGABRT);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

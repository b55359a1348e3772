/*
 * The SMTP server's machine on arbitrary bytes.  The first byte chooses options and answers.  Fed line by line and byte
 * by byte the events must be the same; cut elsewhere they are until a client is refused that did not wait for a reply.
 * Replies are always whole, and a message is always lines.
 */
#include <stdlib.h>

#include "gateway/smtp_proto.h"

#define MAX_EVENTS 4096u

struct events {
    size_t n;
    uint64_t at[MAX_EVENTS]; /* a sum over each event and what it said */
    bool impatient;          /* the last one refused bytes that did not wait */
};

struct content {
    uint64_t sum, n;
    char last; /* byte */
};

struct run {
    struct smtp_proto proto;
    struct content content;
    struct events *events;
    unsigned choice;
    size_t n_asked;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t add(uint64_t sum, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        sum = (sum ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
    return sum;
}

static void note(struct run *r, unsigned event, struct slice said)
{
    struct events *e = r->events;
    ensure(e->n < MAX_EVENTS);
    e->at[e->n++] = add(add(event + 1469u, said), (struct slice){(const char *)&r->proto.fault, 1});
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "ddd text" CRLF, a hyphen behind the number of each line but the last. */
static void check_reply(struct slice reply)
{
    while (reply.n > 0) {
        const char *end = memmem(reply.p, reply.n, "\r\n", 2);
        ensure(end != NULL && end - reply.p >= 4 && is_digit(reply.p[0]) && is_digit(reply.p[1]) &&
               is_digit(reply.p[2]));
        size_t n = (size_t)(end - reply.p) + 2;
        ensure(reply.p[3] == (n < reply.n ? '-' : ' '));
        for (size_t i = 0; i + 2 < n; i++)
            ensure(reply.p[i] >= ' ' && reply.p[i] < 0x7F);
        reply = (struct slice){reply.p + n, reply.n - n};
    }
}

/* Lines that end in CRLF, without a CR, LF or NUL otherwise; the last byte may be a CR whose LF is still to come. */
static void take_piece(struct content *c, struct slice piece)
{
    for (size_t i = 0; i < piece.n; i++) {
        char b = piece.p[i];
        ensure(b != '\0' && (b == '\n') == (c->last == '\r'));
        c->last = b;
    }
    c->sum = add(c->sum, piece);
    c->n += piece.n;
}

static void answer(struct run *r)
{
    static const char *const replies[] = {"250 2.0.0 Ok\r\n", "250 2.0.0 Ok\r\n",    "550-5.7.1 No\r\n550 5.7.1 No\r\n",
                                          "250 2.0.0 Ok\r\n", "451 4.3.0 Later\r\n", "421 4.3.2 Closing\r\n"};
    unsigned choice = (unsigned)(r->n_asked++ * 7 + r->choice);
    smtp_proto_answer(&r->proto, slice_of(replies[choice % 64 == 63 ? 5 : choice % 5]));
    check_reply(r->proto.reply);
}

static void take_event(struct run *r, enum smtp_event event, struct slice before)
{
    struct smtp_proto *p = &r->proto;
    ensure(!p->in_mail || (p->authenticated && p->client.n > 0));
    switch (event) {
    case SMTP_NONE:
        return;
    case SMTP_PIECE:
        ensure(p->piece.n > 0 && p->piece.p >= before.p && p->piece.p + p->piece.n <= before.p + before.n);
        take_piece(&r->content, p->piece);
        return;
    case SMTP_AUTH:
        ensure(p->user.n > 0 && p->secret.n > 0 && slice_is_clean(p->user));
        note(r, event, p->user);
        note(r, event, p->secret);
        smtp_proto_auth(p, r->choice % 8 == 7 ? SMTP_AUTH_WRONG : SMTP_AUTH_OK);
        ensure(p->reply.n > 0);
        break;
    case SMTP_MAIL:
    case SMTP_RCPT:
        note(r, event, p->argument);
        answer(r);
        break;
    case SMTP_MESSAGE:
        ensure(r->content.n <= p->opt.max_message_bytes && r->content.last == '\n');
        note(r, event, (struct slice){(const char *)&r->content, offsetof(struct content, last)});
        answer(r);
        ensure(!p->in_mail);
        break;
    case SMTP_DATA:
        r->content = (struct content){.last = '\n', .sum = 1};
        r->content.last = '\n';
        break;
    case SMTP_STARTTLS:
        note(r, event, p->reply);
        smtp_proto_tls_on(p);
        return;
    case SMTP_REPLY:
        ensure(p->reply.n > 0);
        break;
    case SMTP_CLOSE:
        ensure(!p->in_mail);
        r->events->impatient = p->fault == SMTP_PROTO_FAULT_PIPELINING || p->fault == SMTP_PROTO_FAULT_TLS_INJECTION;
        break;
    }
    note(r, event, p->reply);
    check_reply(p->reply);
}

static size_t cut(struct slice s, unsigned step)
{
    const char *lf = memchr(s.p, '\n', s.n);
    size_t n = step > 0 ? step : lf == NULL ? s.n : (size_t)(lf - s.p) + 1;
    return n < s.n ? n : s.n;
}

/* step 0: line by line. */
static void drive(struct slice input, unsigned choice, unsigned step, struct events *out)
{
    struct run *r = xcalloc(1, sizeof *r);
    bool small = (choice & 16) != 0;
    struct smtp_proto_options options = {.host = "mx.example",
                                         .offers_tls = (choice & 32) != 0,
                                         .tls_on = (choice & 64) != 0,
                                         .auth_in_clear = (choice & 128) == 0,
                                         .max_message_bytes = small ? 50 : 1000,
                                         .max_recipients = small ? 2 : 100,
                                         .max_commands = small ? 3 : 100,
                                         .max_errors = small ? 2 : 100,
                                         .max_messages = small ? 2 : 100};
    r->events = out;
    r->choice = choice;
    out->n = 0;
    out->impatient = false;
    smtp_proto_init(&r->proto, &options);
    enum smtp_event event = SMTP_NONE;
    struct slice in = {NULL, 0};
    take_event(r, smtp_proto_step(&r->proto, &in), in);
    while (input.n > 0 && event != SMTP_CLOSE) {
        size_t n = cut(input, step);
        in = (struct slice){input.p, n};
        do {
            struct slice before = in;
            event = smtp_proto_step(&r->proto, &in);
            take_event(r, event, before);
        } while (event != SMTP_NONE && event != SMTP_CLOSE);
        input = (struct slice){input.p + n, input.n - n};
    }
    free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct events lines, bytes, pieces;
    if (size < 2 || size > 8192)
        return 0;
    struct slice input = {(const char *)data + 1, size - 1};
    drive(input, data[0], 0, &lines);
    drive(input, data[0], 1, &bytes);
    drive(input, data[0], 2 + data[size - 1] * 4u, &pieces);
    ensure(lines.n == bytes.n && memcmp(lines.at, bytes.at, lines.n * sizeof lines.at[0]) == 0);
    size_t same = pieces.n - (pieces.impatient ? 1 : 0);
    ensure(pieces.impatient ? same <= lines.n : same == lines.n);
    ensure(memcmp(lines.at, pieces.at, same * sizeof lines.at[0]) == 0);
    return 0;
}

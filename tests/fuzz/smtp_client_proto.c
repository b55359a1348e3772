/*
 * The client's machine before a server that says anything.  The first byte chooses what is wanted, the second how
 * replies are cut and how slowly writes are taken.  Whatever comes: what is on the wire is ours, a message is accepted
 * only by what came after its end was out, and a login never leaves in the clear.
 */
#include "gateway/smtp_client_proto.h"

#define WIRE_MAX  8192u
#define MAILS_MAX 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct wire {
    struct smtp_client c;
    char bytes[WIRE_MAX];
    size_t n, from; /* from: where the content of the mail under way begins */
    size_t take;    /* bytes that a write takes; 0: all */
    bool tls, in_data, sending, over;
    int n_mails, n_done;
};

static const struct mail_recipient rcpts[] = {
    {.path = {"c@d.example", 11}, .notify = {"NEVER", 5}},
    {.path = {"\"e f\"@g.example", 15}},
    {.path = {"h@i.example", 11}, .orcpt = {"rfc822;h@i.example", 18}},
};
static const struct mail_envelope envelope = {
    .from = {"a@b.example", 11}, .ret = {"HDRS", 4}, .envid = {"e1", 2}, .recipients = rcpts, .n_recipients = 3};
static const struct smtp_client_mail mail = {.envelope = &envelope,
                                             .content = SLICE_INIT(".dot\r\n.\r\nMAIL FROM:<x@y>\r\nend")};
#define ON_THE_WIRE "..dot\r\n..\r\nMAIL FROM:<x@y>\r\nend\r\n.\r\n"

static bool is_out(const struct wire *w)
{
    return w->in_data && w->n - w->from == sizeof ON_THE_WIRE - 1;
}

static void check_result(const struct wire *w, const struct smtp_client_result *r)
{
    for (size_t i = 0; i < r->text.n; i++)
        ensure(r->text.p[i] >= 0x20 && r->text.p[i] < 0x7F);
    if (r->end != SMTP_CLIENT_ANSWERED) {
        ensure((r->end == SMTP_CLIENT_UNKNOWN) == is_out(w));
        return;
    }
    ensure(r->n_recipients == N_ELEMENTS(rcpts));
    for (size_t i = 0; i < r->n_recipients; i++) {
        ensure(r->recipients[i].code >= 200 && r->recipients[i].code <= 599);
        ensure(r->recipients[i].code >= 400 || is_out(w));
    }
}

static void take_out(struct wire *w)
{
    struct slice out = w->c.out;
    size_t n = w->take > 0 && w->take < out.n ? w->take : out.n;
    ensure(w->n + n <= sizeof w->bytes);
    memcpy(w->bytes + w->n, out.p, n);
    w->n += n;
    smtp_client_wrote(&w->c, n);
}

/* What was said: whole lines of ours, and the content as it must be. */
static void check_wire(const struct wire *w)
{
    static const char *const words[] = {"EHLO me.example\r\n",
                                        "HELO me.example\r\n",
                                        "STARTTLS\r\n",
                                        "AUTH PLAIN AHUAcw==\r\n",
                                        "AUTH LOGIN\r\n",
                                        "AHUAcw==\r\n",
                                        "dQ==\r\n",
                                        "cw==\r\n",
                                        "RSET\r\n",
                                        ".\r\n",
                                        "QUIT\r\n",
                                        "DATA\r\n",
                                        "MAIL FROM:<a@b.example>",
                                        "RCPT TO:<c@d.example>",
                                        "RCPT TO:<\"e f\"@g.example>",
                                        "RCPT TO:<h@i.example>",
                                        " SIZE=31",
                                        " RET=HDRS",
                                        " ENVID=e1",
                                        " NOTIFY=NEVER",
                                        " ORCPT=rfc822;h@i.example",
                                        "\r\n",
                                        ON_THE_WIRE};
    for (size_t at = 0; at < w->n;) {
        size_t n = 0, left = w->n - at;
        for (size_t i = 0; i < N_ELEMENTS(words); i++) {
            size_t word = strlen(words[i]), common = word < left ? word : left;
            if (memcmp(w->bytes + at, words[i], common) == 0 && common > n)
                n = common;
        }
        ensure(n > 0);
        at += n;
    }
}

static void on_event(struct wire *w, enum smtp_client_event e, struct arena *arena, uint8_t flags)
{
    switch (e) {
    case SMTP_CLIENT_NONE:
        break;
    case SMTP_CLIENT_WRITE:
        take_out(w);
        break;
    case SMTP_CLIENT_STARTTLS:
        ensure(!w->tls);
        w->tls = true;
        smtp_client_tls_on(&w->c);
        break;
    case SMTP_CLIENT_READY:
        if (w->n_mails == MAILS_MAX) {
            smtp_client_quit(&w->c);
            break;
        }
        w->n_mails++;
        w->sending = true;
        w->in_data = false;
        smtp_client_send(&w->c, &mail, arena);
        break;
    case SMTP_CLIENT_MAY_DATA:
        ensure(w->sending && !smtp_client_sent(&w->c));
        w->in_data = true;
        w->from = w->n;
        smtp_client_data(&w->c, !(flags & 0x10));
        break;
    case SMTP_CLIENT_DONE:
        ensure(w->sending);
        check_result(w, &w->c.result);
        w->sending = false;
        w->n_done++;
        break;
    case SMTP_CLIENT_CLOSED:
        w->over = true;
        if (w->c.out.n > 0)
            take_out(w);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wire w;
    if (size < 2)
        return 0;
    uint8_t flags = data[0];
    bool logs_in = flags & 0x08;
    struct smtp_client_options opt = {.host = "me.example", .tls = (enum smtp_client_tls)(flags & 3)};
    opt.in_clear = flags & 0x04;
    if (logs_in) {
        opt.user = SLICE("u");
        opt.secret = SLICE("s");
    }
    struct arena arena;
    arena_init(&arena, 1u << 20);
    w = (struct wire){.take = data[1] >> 4, .tls = opt.tls == SMTP_CLIENT_TLS_ON};
    smtp_client_init(&w.c, &opt);
    size_t cut = data[1] & 0x0F ? data[1] & 0x0F : size;
    for (size_t at = 2; at < size && !w.over; at += cut) {
        struct slice in = {(const char *)data + at, size - at < cut ? size - at : cut};
        enum smtp_client_event e;
        do {
            e = smtp_client_step(&w.c, &in);
            bool clear = !w.tls;
            on_event(&w, e, &arena, flags);
            if (clear && !opt.in_clear)
                ensure(!memmem(w.bytes, w.n, "AUTH", 4));
        } while (e != SMTP_CLIENT_NONE && e != SMTP_CLIENT_CLOSED && (e != SMTP_CLIENT_WRITE || w.take == 0));
        ensure(in.n == 0 || w.over);
    }
    if (opt.tls == SMTP_CLIENT_TLS_MUST && !w.tls)
        ensure(w.n_mails == 0);
    ensure(w.n_done + w.sending == w.n_mails);
    if (w.sending) {
        struct smtp_client_result result;
        smtp_client_lost(&w.c, "connection_lost", &result);
        check_result(&w, &result);
    }
    check_wire(&w);
    arena_clear(&arena);
    return 0;
}

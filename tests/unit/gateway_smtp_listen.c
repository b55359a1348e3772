/*
 * The SMTP listener on real sockets: dialogs, replies in order and in one write, STARTTLS, clients that leave,
 * draining, its options.  Deadlines, caps and guesses: gateway_smtp_limits.c.
 */
#include "tests/unit/gateway_smtp_client.h"

#include <netinet/tcp.h>

START_TEST(test_one_message)
{
    start((struct smtp_listen_options){0});
    user.keeps_messages = true;
    struct client *c = client_logged_in();
    TALK(c, MAIL, MAIL_OK);
    TALK(c, RCPT, RCPT_OK);
    TALK(c, "RCPT TO:<e@f.example> NOTIFY=NEVER\r\n", RCPT_OK);
    forget(c);
    say(c, "DATA\r\n");
    WAIT_FOR(c, has(c, "354 "));
    forget(c);
    say(c, "Subject: x\r\n\r\n..dot\r\n.\r\n");
    WAIT(user.n_messages == 1);
    struct smtp_transaction *t = user.messages[0];
    ck_assert_uint_eq(t->n_fields, 4);
    ck_assert(slice_eq_cstr(t->fields[0].name, "MAIL") && slice_eq_cstr(t->fields[0].value, "FROM:<a@b.example>"));
    ck_assert(slice_eq_cstr(t->fields[1].name, "RCPT") && slice_eq_cstr(t->fields[1].value, "TO:<c@d.example>"));
    ck_assert(slice_eq_cstr(t->fields[2].value, "TO:<e@f.example> NOTIFY=NEVER"));
    ck_assert(slice_eq_cstr(t->fields[3].name, "CLIENT") && slice_eq_cstr(t->fields[3].value, "client.example"));
    ck_assert(slice_eq_cstr(t->content, "Subject: x\r\n\r\n.dot\r\n"));
    ck_assert_str_eq(t->login, "the shop");
    ck_assert(!t->tls && strncmp(t->peer, "127.0.0.1:", 10) == 0);
    ck_assert_uint_eq(counters()->unanswered, 1);
    ck_assert_uint_gt(counters()->inflight_bytes, 0);
    smtp_transaction_answer(t, SLICE("250 2.0.0 Ok: queued as <m1>\r\n"));
    WAIT_FOR(c, ends(c, "queued as <m1>\r\n"));
    ck_assert_uint_eq(counters()->unanswered, 0);
    ck_assert_uint_eq(counters()->inflight_bytes, 0);
    TALK(c, "QUIT\r\n", "221 2.0.0 Bye\r\n");
    WAIT_FOR(c, c->closed);
    ck_assert(!c->broken);
    ck_assert_uint_eq(counters()->accepted, 1);
    ck_assert_uint_eq(counters()->open, 0);
    ck_assert_uint_eq(counters()->messages, 1);
    ck_assert_uint_eq(counters()->recipients, 2);
    ck_assert_uint_eq(counters()->logins, 1);
    client_free(c);
    stop();
}
END_TEST

static uint16_t port_of(int fd, int (*name)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_in sa = {0};
    socklen_t n = sizeof(sa);
    return name(fd, (struct sockaddr *)&sa, &n) == 0 && sa.sin_family == AF_INET ? ntohs(sa.sin_port) : 0;
}

/* -1: none. */
static int server_end_of(const struct client *c)
{
    uint16_t port = port_of(c->fd, getsockname);
    for (int fd = 3; fd < 1024; fd++) {
        if (port_of(fd, getpeername) == port)
            return fd;
    }
    return -1;
}

/* The kernel gives a connection the option of the socket that it came by. */
START_TEST(test_replies_leave_at_once)
{
    int on = 0;
    socklen_t n = sizeof(on);
    start((struct smtp_listen_options){0});
    struct client *c = client_logged_in();
    ck_assert_int_eq(getsockopt(server_end_of(c), IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
    ck_assert_int_ne(on, 0);
    client_free(c);
    stop();
}
END_TEST

/* What may be pipelined is answered in order, and in one write. */
START_TEST(test_pipelined)
{
    start((struct smtp_listen_options){0});
    struct client *c = client_logged_in();
    forget(c);
    say(c, MAIL RCPT "RCPT TO:<e@f.example>\r\nDATA\r\n");
    WAIT_FOR(c, has(c, "354 "));
    ck_assert_int_eq(strncmp(c->text, MAIL_OK RCPT_OK RCPT_OK "354 ", strlen(MAIL_OK RCPT_OK RCPT_OK "354 ")), 0);
    ck_assert_uint_eq(c->n_reads, 1);
    TALK(c, CONTENT MAIL RCPT, QUEUED MAIL_OK RCPT_OK); /* the next one behind the dot */
    ck_assert_uint_eq(c->n_reads, 1);
    ck_assert_uint_eq(user.n_recipients, 3);
    client_free(c);
    stop();
}
END_TEST

/* What is behind a question waits for its answer. */
START_TEST(test_pipelined_behind_a_question)
{
    start((struct smtp_listen_options){0});
    user.keeps_recipients = user.keeps_messages = true;
    struct client *c = client_logged_in();
    TALK(c, MAIL RCPT "RCPT TO:<e@f.example>\r\nDATA\r\n", MAIL_OK);
    WAIT(user.n_recipients == 1);
    ck_assert(slice_eq_cstr(user.recipient->rcpt, "TO:<c@d.example>"));
    ck_assert_uint_eq(user.recipient->n_fields, 1);
    forget(c);
    smtp_transaction_answer(user.recipient, SLICE("550 5.7.1 not that one\r\n"));
    WAIT_FOR(c, has(c, "550 5.7.1 not that one\r\n"));
    WAIT(user.n_recipients == 2);
    ck_assert(slice_eq_cstr(user.recipient->rcpt, "TO:<e@f.example>"));
    smtp_transaction_answer(user.recipient, (struct slice){0});
    WAIT_FOR(c, has(c, "354 "));
    forget(c);
    say(c, CONTENT MAIL "RSET\r\nNOOP\r\n");
    WAIT(user.n_messages == 1);
    for (int i = 0; i < 20; i++)
        (void)loop_turn(loop, false);
    client_take(c);
    ck_assert_uint_eq(c->n, 0);
    ck_assert_uint_eq(user.messages[0]->n_fields, 3);
    ck_assert(slice_eq_cstr(user.messages[0]->fields[1].value, "TO:<e@f.example>"));
    smtp_transaction_answer(user.messages[0], SLICE("550-5.7.1 one\r\n550 5.7.1 two\r\n"));
    WAIT_FOR(c, ends(c, "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"));
    ck_assert_int_eq(strncmp(c->text, "550-5.7.1 one\r\n550 5.7.1 two\r\n" MAIL_OK, 44), 0);
    client_free(c);
    stop();
}
END_TEST

/* Of a client that goes on sending while it should wait, no more than a buffer is read. */
START_TEST(test_input_is_bounded)
{
    static char noops[1u << 20];
    size_t sent = 0, before = 1;
    start((struct smtp_listen_options){0});
    user.keeps_recipients = true;
    struct client *c = client_logged_in();
    TALK(c, MAIL RCPT, MAIL_OK);
    memset(noops, 'x', sizeof(noops));
    for (int still = 0; still < 50; still = sent == before ? still + 1 : 0) { /* until the kernel takes no more */
        ssize_t n = send(c->fd, noops, sizeof(noops), MSG_NOSIGNAL);
        before = sent;
        sent += n > 0 ? (size_t)n : 0;
        (void)loop_turn(loop, false);
        ck_assert_uint_lt(sent, 64u << 20);
    }
    smtp_transaction_answer(user.recipient, (struct slice){0}); /* and it goes on */
    WAIT_FOR(c, has(c, RCPT_OK));
    say(c, "\r\n");
    WAIT_FOR(c, has(c, "500 5.5.2 Line too long\r\n"));
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_transactions_do_not_mix)
{
    start((struct smtp_listen_options){0});
    struct client *c = client_logged_in();
    TALK(c, MAIL RCPT "RSET\r\n", MAIL_OK RCPT_OK "250 2.0.0 Ok\r\n");
    user.recipient_reply = "550 5.1.1 no such\r\n";
    TALK(c, "MAIL FROM:<>\r\nRCPT TO:<x@y.example>\r\n", MAIL_OK "550 5.1.1 no such\r\n");
    user.recipient_reply = NULL;
    TALK(c, "RCPT TO:<z@y.example>\r\n", RCPT_OK);
    user.keeps_messages = true;
    forget(c);
    say(c, "DATA\r\n");
    WAIT_FOR(c, has(c, "354 "));
    say(c, ".\r\n");
    WAIT(user.n_messages == 1);
    ck_assert_uint_eq(user.messages[0]->n_fields, 3);
    ck_assert(slice_eq_cstr(user.messages[0]->fields[0].value, "FROM:<>"));
    ck_assert(slice_eq_cstr(user.messages[0]->fields[1].value, "TO:<z@y.example>"));
    ck_assert_uint_eq(user.messages[0]->content.n, 0);
    smtp_transaction_answer(user.messages[0], SLICE(QUEUED));
    WAIT_FOR(c, ends(c, QUEUED));
    user.recipient_reply = "550 5.1.1 no such\r\n";
    TALK(c, MAIL RCPT "DATA\r\n", MAIL_OK "550 5.1.1 no such\r\n554 5.5.1 No valid recipients\r\n");
    client_free(c);
    stop();
}
END_TEST

/* Some clients take a reply that comes in two records for two replies. */
START_TEST(test_replies_are_whole)
{
    char reply[800];
    enum { N = 200 };
    memset(reply, 'r', sizeof(reply));
    memcpy(reply, "250-", 4);
    memcpy(reply + 400, "\r\n250 ", 6);
    memcpy(reply + sizeof(reply) - 3, "\r\n", 3);
    start(with_tls(true));
    user.recipient_reply = reply;
    struct client *c = client_new();
    client_tls(c);
    WAIT_FOR(c, has(c, GREETING));
    forget(c);
    say(c, EHLO);
    WAIT_FOR(c, has(c, "\n250 "));
    ck_assert_uint_eq(c->n_reads, 1);
    ck_assert(!has(c, "STARTTLS") && has(c, "AUTH PLAIN LOGIN"));
    TALK(c, AUTH_RIGHT MAIL, LOGIN_OK MAIL_OK);
    for (int i = 0; i < N; i++)
        say(c, RCPT);
    forget(c);
    size_t before = c->n_reads;
    while (c->n < N * (sizeof(reply) - 1)) {
        WAIT_FOR(c, c->n_reads > before); /* one record */
        before = c->n_reads;
        ck_assert_uint_eq(c->n % (sizeof(reply) - 1), 0);
    }
    ck_assert_uint_lt(c->n_reads, N / 2); /* and they do travel together */
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_starttls)
{
    start(with_tls(false));
    user.keeps_messages = true;
    struct client *c = client_new();
    WAIT_FOR(c, has(c, GREETING));
    forget(c);
    say(c, EHLO);
    WAIT_FOR(c, has(c, "\n250 "));
    ck_assert(has(c, "250-STARTTLS\r\n") || has(c, "250 STARTTLS\r\n"));
    ck_assert(!has(c, "AUTH"));
    TALK(c, "STARTTLS\r\n", "220 2.0.0 Ready to start TLS\r\n");
    client_tls(c);
    TALK(c, MAIL, "503 5.5.1 Send EHLO first\r\n"); /* RFC 3207 section 4.2: forgotten */
    forget(c);
    say(c, EHLO);
    WAIT_FOR(c, has(c, "\n250 "));
    ck_assert(!has(c, "STARTTLS") && has(c, "AUTH PLAIN LOGIN"));
    TALK(c, AUTH_RIGHT, LOGIN_OK);
    TALK(c, MAIL RCPT, MAIL_OK RCPT_OK);
    forget(c);
    say(c, "DATA\r\n");
    WAIT_FOR(c, has(c, "354 "));
    say(c, CONTENT);
    WAIT(user.n_messages == 1);
    ck_assert(user.messages[0]->tls);
    smtp_transaction_answer(user.messages[0], SLICE(QUEUED));
    WAIT_FOR(c, ends(c, QUEUED));
    TALK(c, "QUIT\r\n", "221 2.0.0 Bye\r\n");
    WAIT_FOR(c, c->closed);
    ck_assert_int_eq(SSL_get_shutdown(c->tls) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN); /* a close_notify */
    ck_assert_uint_eq(counters()->tls_handshakes, 1);
    client_free(c);
    stop();
}
END_TEST

static struct client *client_before_tls(void)
{
    struct client *c = client_new();
    WAIT_FOR(c, has(c, GREETING));
    say(c, EHLO);
    WAIT_FOR(c, has(c, "\n250 "));
    forget(c);
    return c;
}

/* What stands in the clear behind STARTTLS is never acted on (CVE-2011-0411). */
START_TEST(test_starttls_injection)
{
    start(with_tls(false));
    struct client *c = client_before_tls();
    say(c, "STARTTLS\r\nEHLO injected\r\n");
    WAIT_FOR(c, c->closed);
    ck_assert(!has(c, "220"));
    ck_assert_uint_eq(counters()->faults[SMTP_PROTO_FAULT_TLS_INJECTION], 1);
    client_free(c);

    c = client_before_tls(); /* the same behind the 220: it is no handshake */
    TALK(c, "STARTTLS\r\n", "220 2.0.0 Ready to start TLS\r\n");
    say(c, "EHLO injected\r\n");
    WAIT_FOR(c, c->closed);
    ck_assert_uint_eq(counters()->tls_failures, 1);
    ck_assert_uint_eq(counters()->open, 0);
    client_free(c);

    c = client_before_tls(); /* and in the clear, what the machine would take for the first command within TLS */
    TALK(c, "STARTTLS\r\n", "220 2.0.0 Ready to start TLS\r\n");
    say(c, "RSET\r\n");
    ck_assert(!client_tls_as(c, NULL));
    ck_assert_uint_eq(counters()->tls_failures, 2);
    ck_assert_uint_eq(counters()->tls_handshakes, 0);
    client_free(c);
    stop();
}
END_TEST

/* A browser that is sent here by a page may not be answered (ALPACA). */
START_TEST(test_other_protocols)
{
    start(with_tls(true));
    struct client *c = client_new();
    ck_assert(!client_tls_as(c, "\x08http/1.1"));
    client_free(c);
    c = client_new();
    ck_assert(client_tls_as(c, "\x04smtp"));
    WAIT_FOR(c, has(c, GREETING));
    client_free(c);
    c = client_new();
    say(c, EHLO); /* in the clear */
    WAIT_FOR(c, c->closed);
    ck_assert_uint_eq(counters()->tls_failures, 2);
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_early_talker)
{
    start((struct smtp_listen_options){0});
    struct client *c = client_new();
    say(c, EHLO MAIL); /* nobody has accepted yet */
    WAIT_FOR(c, c->closed);
    ck_assert(!c->broken && strncmp(c->text, "554 5.5.0 ", 10) == 0);
    ck_assert_uint_eq(counters()->faults[SMTP_PROTO_FAULT_EARLY_TALKER], 1);
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_nothing_taken_now)
{
    start((struct smtp_listen_options){0});
    user.greeting_refusal = "421 4.3.2 Service not available: gateway overloaded\r\n";
    struct client *c = client_new();
    WAIT_FOR(c, c->closed);
    ck_assert_str_eq(c->text, user.greeting_refusal);
    client_free(c);
    user.greeting_refusal = NULL;
    c = client_logged_in();
    user.refusal = "452 4.3.1 Mail system full\r\n";
    TALK(c, MAIL, "452 4.3.1 Mail system full\r\n");
    user.refusal = NULL;
    TALK(c, MAIL, MAIL_OK);
    ck_assert_uint_eq(counters()->open, 1);
    client_free(c);
    stop();
}
END_TEST

/* Whoever asks for the end of the session gets it: with what he says, and nothing behind it. */
START_TEST(test_user_closes)
{
    start((struct smtp_listen_options){0});
    struct client *c = client_logged_in();
    user.recipient_reply = "421 4.7.0 The key is no longer valid\r\n";
    TALK(c, MAIL RCPT RCPT "NOOP\r\n", MAIL_OK "421 4.7.0 The key is no longer valid\r\n");
    WAIT_FOR(c, c->closed);
    ck_assert_str_eq(c->text, MAIL_OK "421 4.7.0 The key is no longer valid\r\n");
    ck_assert_uint_eq(user.n_recipients, 1);
    client_free(c);
    user.recipient_reply = NULL;
    user.message_reply = "421 4.3.0 no\r\n";
    c = client_logged_in();
    TALK(c, MAIL RCPT, MAIL_OK RCPT_OK);
    say(c, "DATA\r\n");
    WAIT_FOR(c, has(c, "354 "));
    TALK(c, CONTENT, "421 4.3.0 no\r\n");
    WAIT_FOR(c, c->closed);
    client_free(c);
    stop();
}
END_TEST

/* --- clients that leave ---------------------------------------------------------------------- */

static struct client *client_in_data(void)
{
    struct client *c = client_logged_in();
    TALK(c, MAIL RCPT, MAIL_OK RCPT_OK);
    say(c, "DATA\r\n");
    WAIT_FOR(c, has(c, "354 "));
    forget(c);
    return c;
}

START_TEST(test_client_leaves)
{
    start((struct smtp_listen_options){0});
    struct client *c = client_in_data();
    say(c, "Subject: x\r\n");
    client_reset(c);
    WAIT(counters()->open == 0);
    ck_assert_uint_eq(user.n_messages, 0);
    ck_assert_uint_eq(counters()->inflight_bytes, 0);

    user.keeps_messages = user.keeps_recipients = true;
    user.keeps_recipients = false;
    c = client_in_data();
    say(c, CONTENT);
    WAIT(user.n_messages == 1);
    client_reset(c);
    WAIT(counters()->open == 0);
    ck_assert(slice_eq_cstr(user.messages[0]->content, "Subject: x\r\n\r\nhello\r\n"));
    ck_assert_uint_eq(counters()->unanswered, 1);
    smtp_transaction_answer(user.messages[0], SLICE(QUEUED));
    ck_assert_uint_eq(counters()->unanswered, 0);
    ck_assert_uint_eq(counters()->inflight_bytes, 0);

    user.keeps_recipients = true;
    c = client_logged_in();
    size_t before = user.n_recipients;
    TALK(c, MAIL RCPT RCPT, MAIL_OK);
    WAIT(user.n_recipients == before + 1);
    client_reset(c);
    WAIT(counters()->open == 0);
    ck_assert(slice_eq_cstr(user.recipient->rcpt, "TO:<c@d.example>"));
    smtp_transaction_answer(user.recipient, (struct slice){0});
    ck_assert_uint_eq(counters()->unanswered, 0);
    ck_assert_uint_eq(user.n_recipients, before + 1); /* the second was never asked about */
    stop();
}
END_TEST

/* It has said all, and waits to hear the rest. */
START_TEST(test_half_closed)
{
    start((struct smtp_listen_options){0});
    user.keeps_messages = true;
    struct client *c = client_in_data();
    say(c, CONTENT "QUIT\r\n");
    shutdown(c->fd, SHUT_WR);
    WAIT(user.n_messages == 1);
    smtp_transaction_answer(user.messages[0], SLICE(QUEUED));
    WAIT_FOR(c, c->closed);
    ck_assert_str_eq(c->text, QUEUED "221 2.0.0 Bye\r\n");
    client_free(c);
    c = client_in_data(); /* within the data: it was no message */
    say(c, "Subject: x\r\n\r\n.\r");
    shutdown(c->fd, SHUT_WR);
    WAIT_FOR(c, c->closed);
    ck_assert_uint_eq(user.n_messages, 1);
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_listener_freed_first)
{
    start((struct smtp_listen_options){0});
    user.keeps_messages = true;
    struct client *c = client_in_data();
    say(c, CONTENT);
    WAIT(user.n_messages == 1);
    smtp_listener_free(&listener);
    ck_assert(slice_eq_cstr(user.messages[0]->content, "Subject: x\r\n\r\nhello\r\n"));
    smtp_transaction_answer(user.messages[0], SLICE(QUEUED));
    client_free(c);
    stop();
}
END_TEST

/* --- drain --------------------------------------------------------------------------------------- */

static void on_empty(void *arg)
{
    ++*(int *)arg;
}

START_TEST(test_drain)
{
    int empty = 0;
    start(with_tls(false));
    struct client *shaking = client_before_tls();
    TALK(shaking, "STARTTLS\r\n", "220 2.0.0 Ready to start TLS\r\n");
    smtp_listener_free(&listener);
    client_free(shaking);

    start((struct smtp_listen_options){0});
    user.keeps_messages = true;
    struct client *idle = client_logged_in(), *typing = client_logged_in(), *data = client_in_data(),
                  *asked = client_in_data();
    say(typing, "NO");
    say(asked, CONTENT);
    WAIT(user.n_messages == 1);
    forget(idle);
    smtp_listener_drain(listener, on_empty, &empty);
    ck_assert_int_eq(empty, 0);
    WAIT_FOR(idle, idle->closed);
    ck_assert_str_eq(idle->text, DRAIN_421);
    forget(typing);
    say(typing, "OP\r\n");
    WAIT_FOR(typing, typing->closed);
    ck_assert_str_eq(typing->text, "250 2.0.0 Ok\r\n" DRAIN_421);
    say(data, CONTENT MAIL);
    WAIT(user.n_messages == 2);
    smtp_transaction_answer(user.messages[1], SLICE(QUEUED));
    WAIT_FOR(data, data->closed);
    ck_assert_str_eq(data->text, QUEUED DRAIN_421);
    ck_assert_int_eq(empty, 0);
    client_reset(asked);
    client_free(idle);
    client_free(typing);
    client_free(data);
    WAIT(counters()->open == 0);
    ck_assert_int_eq(empty, 0); /* the user has it still */
    smtp_transaction_answer(user.messages[0], SLICE(QUEUED));
    ck_assert_int_eq(empty, 0); /* never before the call returns */
    WAIT(empty == 1);
    stop();
}
END_TEST

/* --- options ---------------------------------------------------------------------------------------- */

START_TEST(test_refused_options)
{
    static const struct {
        struct smtp_listen_options o;
        const char *why;
    } bad[] = {
        {{.address = "localhost"}, "is no address to listen on"},
        {{.address = "0.0.0.0:0", .auth_in_clear = true}, "is not on loopback"},
        {{.address = "127.0.0.1:0", .implicit_tls = true}, "both a certificate and a key"},
        {{.address = "127.0.0.1:0", .tls_key = "/dev/null"}, "both a certificate and a key"},
        {{.address = "127.0.0.1:0", .tls_key = "/dev/null", .tls_certificate = "/dev/null"}, "TLS certificate"},
    };
    loop = loop_new();
    for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
        struct smtp_listen_options o = bad[i].o;
        struct errmsg e = {""};
        o.host = "h";
        o.login = on_login;
        o.message = on_message;
        ck_assert_ptr_null(smtp_listener_new(loop, &o, &e));
        ck_assert_msg(strstr(e.text, bad[i].why) != NULL, "%s", e.text);
    }
    start((struct smtp_listen_options){0});
    char taken[64];
    struct errmsg e = {""};
    snprintf(taken, sizeof(taken), "127.0.0.1:%u", smtp_listener_port(listener));
    struct smtp_listen_options o = {.address = taken, .host = "h", .login = on_login, .message = on_message};
    ck_assert_ptr_null(smtp_listener_new(loop, &o, &e));
    ck_assert_msg(strstr(e.text, "cannot listen on 127.0.0.1") != NULL, "%s", e.text);
    stop();
}
END_TEST

static long serial_of(struct client *c)
{
    X509 *x = SSL_get1_peer_certificate(c->tls);
    long serial = ASN1_INTEGER_get(X509_get_serialNumber(x));
    X509_free(x);
    return serial;
}

/* A new certificate is for new connections; who has the old one goes on. */
START_TEST(test_new_certificate)
{
    struct errmsg e;
    make_certificate(1);
    start(with_tls(true));
    struct client *before = client_new();
    client_tls(before);
    WAIT_FOR(before, has(before, GREETING));
    make_certificate(2);
    struct listen_tls *tls = listen_tls_new(certificate_file, key_file, &e);
    ck_assert_ptr_nonnull(tls);
    smtp_listener_set_tls(listener, &tls);
    ck_assert_ptr_null(tls);
    struct client *after = client_new();
    client_tls(after);
    ck_assert_int_eq(serial_of(before), 1);
    ck_assert_int_eq(serial_of(after), 2);
    TALK(before, "NOOP\r\n", "250 2.0.0 Ok\r\n");
    client_free(before);
    client_free(after);
    stop();
}
END_TEST

START_TEST(test_both_families)
{
    start((struct smtp_listen_options){.address = "[::1]:0"});
    struct sockaddr_in6 to = {
        .sin6_family = AF_INET6, .sin6_port = htons(smtp_listener_port(listener)), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct client *c = xcalloc(1, sizeof(*c));
    c->text = xstrdup("");
    c->fd = socket(AF_INET6, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(c->fd, (struct sockaddr *)&to, sizeof(to)), 0);
    ck_assert_int_eq(fcntl(c->fd, F_SETFL, O_NONBLOCK), 0);
    WAIT_FOR(c, has(c, GREETING));
    client_free(c);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_one_message,
                                  test_replies_leave_at_once,
                                  test_pipelined,
                                  test_pipelined_behind_a_question,
                                  test_input_is_bounded,
                                  test_transactions_do_not_mix,
                                  test_replies_are_whole,
                                  test_starttls,
                                  test_starttls_injection,
                                  test_other_protocols,
                                  test_early_talker,
                                  test_nothing_taken_now,
                                  test_user_closes,
                                  test_client_leaves,
                                  test_half_closed,
                                  test_listener_freed_first,
                                  test_drain,
                                  test_refused_options,
                                  test_new_certificate,
                                  test_both_families};
    make_certificate(1);
    int status = run_tests("gateway_smtp_listen", tests, N_ELEMENTS(tests));
    remove_certificate();
    return status;
}

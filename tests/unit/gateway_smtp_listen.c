/*
 * The SMTP listener on real sockets: dialogs, replies in order and in one write, STARTTLS, clients that leave,
 * draining, its options.  Deadlines, caps and guesses: gateway_smtp_limits.c.
 */
#include "tests/unit/gateway_smtp_client.h"

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

int main(void)
{
    const TTest *const tests[] = {test_one_message};
    return run_tests("gateway_smtp_listen", tests, N_ELEMENTS(tests));
}

/*
 * The SMTP listener's caps, each at its limit and one beyond; deadlines, also under load; logins that are guesses.
 */
#include <sys/resource.h>

#include "postern/hash.h"
#include "tests/unit/gateway_smtp_client.h"
#include "tests/unit/own_time.h"

#define OVERLOADED  "421 4.3.2 Service not available: too many connections\r\n"
#define TOO_MANY_OF "421 4.7.0 Too many connections from your address\r\n"
#define NO_ROOM     "451 4.3.2 System not accepting messages: too many bytes in flight, try again later\r\n"

/* --- connections -------------------------------------------------------------------------------- */

static struct client *greeted(unsigned x)
{
    struct client *c = client_from(x);
    WAIT_FOR(c, c->n > 0 || c->closed);
    return c;
}

START_TEST(test_connections)
{
    enum { MAX = 4 };
    struct client *c[MAX];
    start((struct smtp_listen_options){.max_connections = MAX});
    for (size_t i = 0; i < MAX; i++) {
        c[i] = greeted(1);
        ck_assert_str_eq(c[i]->text, GREETING);
    }
    struct client *one_more = greeted(1);
    ck_assert_str_eq(one_more->text, OVERLOADED);
    WAIT_FOR(one_more, one_more->closed);
    client_free(one_more);
    ck_assert_uint_eq(counters()->refused_connections, 1);
    client_free(c[0]);
    WAIT(counters()->open == MAX - 1);
    c[0] = greeted(1);
    ck_assert_str_eq(c[0]->text, GREETING);
    for (size_t i = 0; i < MAX; i++)
        client_free(c[i]);
    stop();
}
END_TEST

/* Who is refused holds a descriptor until he has heard it: that many at a time, others hear nothing. */
START_TEST(test_refused_connections)
{
    struct client *c[1 + LIMIT_SMTP_REFUSED_CONNECTIONS];
    start((struct smtp_listen_options){.max_connections = 1});
    for (size_t i = 0; i < N_ELEMENTS(c); i++)
        c[i] = greeted(1);
    ck_assert_str_eq(c[0]->text, GREETING);
    ck_assert_str_eq(c[LIMIT_SMTP_REFUSED_CONNECTIONS]->text, OVERLOADED);
    struct client *deaf = greeted(1);
    ck_assert(deaf->closed && deaf->n == 0);
    client_free(deaf);
    ck_assert_uint_eq(counters()->refused_connections, LIMIT_SMTP_REFUSED_CONNECTIONS + 1);
    ck_assert_uint_eq(counters()->open, LIMIT_SMTP_REFUSED_CONNECTIONS + 1);
    for (size_t i = 0; i < N_ELEMENTS(c); i++)
        client_free(c[i]);
    WAIT(counters()->open == 0);
    stop();
}
END_TEST

START_TEST(test_connections_of_an_address)
{
    start((struct smtp_listen_options){.max_address_connections = 2});
    struct client *a = greeted(2), *b = greeted(2), *beyond = greeted(2), *other = greeted(3);
    ck_assert_str_eq(a->text, GREETING);
    ck_assert_str_eq(b->text, GREETING);
    ck_assert_str_eq(beyond->text, TOO_MANY_OF);
    ck_assert_str_eq(other->text, GREETING);
    client_free(beyond);
    client_free(a);
    WAIT(counters()->open == 2);
    a = greeted(2);
    ck_assert_str_eq(a->text, GREETING);
    client_free(a);
    client_free(b);
    client_free(other);
    stop();
}
END_TEST

/* With TLS there is no handshake only to say no. */
START_TEST(test_refused_without_handshake)
{
    struct smtp_listen_options o = with_tls(true);
    o.max_connections = 1;
    start(o);
    struct client *c = client_new(), *beyond = client_new();
    client_tls(c);
    ck_assert(!client_tls_as(beyond, NULL));
    ck_assert_uint_eq(counters()->tls_failures, 0);
    client_free(c);
    client_free(beyond);
    stop();
}
END_TEST

/* Nothing spins, and who waits in the queue is served when there is room again. */
START_TEST(test_descriptors_run_out)
{
    struct rlimit few, all;
    struct client *c[8];
    start((struct smtp_listen_options){0});
    for (size_t i = 0; i < N_ELEMENTS(c); i++)
        c[i] = client_new(); /* in the queue */
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
    few = all;
    few.rlim_cur = (rlim_t)c[7]->fd + 1 + 4;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    WAIT(counters()->refused_connections == 1);
    ck_assert_uint_eq(counters()->open, 4);
    uint64_t turns = loop_turns(loop);
    for (int64_t until_ms = clock_mono_ms() + 50; clock_mono_ms() < until_ms;)
        (void)loop_turn(loop, false);
    ck_assert_uint_lt(loop_turns(loop) - turns, 10); /* of which something ran */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &all), 0);
    WAIT(counters()->open == 8);
    for (size_t i = 0; i < N_ELEMENTS(c); i++) {
        WAIT_FOR(c[i], has(c[i], GREETING));
        client_free(c[i]);
    }
    stop();
}
END_TEST

/* --- sizes ---------------------------------------------------------------------------------------- */

static void to_data(struct client *c)
{
    TALK(c, MAIL RCPT, MAIL_OK RCPT_OK);
    forget(c);
    say(c, "DATA\r\n");
    WAIT_FOR(c, has(c, "354 "));
    forget(c);
}

static void say_content(struct client *c, size_t n)
{
    char *content = xcalloc(1, n + 1);
    memset(content, 'c', n);
    for (size_t i = 76; i + 2 <= n; i += 78)
        memcpy(content + i, "\r\n", 2);
    memcpy(content + n - 2, "\r\n", 2);
    if (content[n - 3] == '\r')
        content[n - 3] = 'c';
    say_bytes(c, content, n);
    say(c, ".\r\n");
    free(content);
}

START_TEST(test_message_bytes)
{
    enum { MAX = 300000 };
    start((struct smtp_listen_options){.max_message_bytes = MAX});
    struct client *c = client_logged_in();
    to_data(c);
    say_content(c, MAX);
    WAIT_FOR(c, has(c, QUEUED));
    to_data(c);
    int64_t since_ms = own_ms();
    say_content(c, MAX + 1);
    WAIT_FOR(c, has(c, "552 5.3.4 "));
    ck_assert_int_lt(own_ms() - since_ms, 50); /* it takes 2 */
    ck_assert_uint_eq(user.n_messages, 1);
    ck_assert_uint_eq(counters()->faults[SMTP_PROTO_FAULT_TOO_LARGE], 1);
    ck_assert_uint_eq(counters()->inflight_bytes, 0);
    to_data(c); /* and the session goes on */
    TALK(c, CONTENT, QUEUED);
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_recipients)
{
    start((struct smtp_listen_options){.max_recipients = 2});
    struct client *c = client_logged_in();
    TALK(c, MAIL RCPT RCPT RCPT, MAIL_OK RCPT_OK RCPT_OK "452 4.5.3 Too many recipients\r\n");
    ck_assert_uint_eq(user.n_recipients, 2);
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_bytes_in_flight)
{
    start((struct smtp_listen_options){.max_inflight_bytes = 200000, .max_message_bytes = 1000000});
    user.keeps_messages = true;
    struct client *c = client_logged_in(), *other = client_logged_in();
    TALK(c, "MAIL FROM:<a@b.example> SIZE=200001\r\n", NO_ROOM); /* said before it is sent */
    to_data(c);
    say_content(c, 100000);
    WAIT(user.n_messages == 1);
    to_data(other);
    say_content(other, 190000); /* not announced: room is taken as bytes come */
    WAIT_FOR(other, has(other, NO_ROOM));
    ck_assert_uint_eq(user.n_messages, 1);
    to_data(other); /* a small one has room */
    say(other, CONTENT);
    WAIT(user.n_messages == 2);
    smtp_transaction_answer(user.messages[1], SLICE(QUEUED));
    smtp_transaction_answer(user.messages[0], SLICE(QUEUED));
    ck_assert_uint_eq(counters()->inflight_bytes, 0);
    WAIT_FOR(c, has(c, QUEUED));
    WAIT_FOR(other, has(other, QUEUED));
    to_data(other);
    say_content(other, 100000);
    WAIT(user.n_messages == 3);
    smtp_transaction_answer(user.messages[2], SLICE(QUEUED));
    client_free(c);
    client_free(other);
    stop();
}
END_TEST

START_TEST(test_limits_may_change)
{
    start((struct smtp_listen_options){.max_recipients = 1});
    struct client *before = client_logged_in();
    smtp_listener_set_limits(listener, &(struct smtp_listen_options){.max_recipients = 2, .max_connections = 2});
    struct client *after = client_logged_in(), *beyond = greeted(1);
    TALK(after, MAIL RCPT RCPT, MAIL_OK RCPT_OK RCPT_OK);
    TALK(before, MAIL RCPT RCPT, MAIL_OK RCPT_OK "452 4.5.3 Too many recipients\r\n");
    ck_assert_str_eq(beyond->text, OVERLOADED);
    client_free(before);
    client_free(after);
    client_free(beyond);
    stop();
}
END_TEST

/* --- deadlines -------------------------------------------------------------------------------------- */

/* A byte every few ms is a client that never stops and never gets anywhere. */
static int64_t drip_until_closed(struct client *c)
{
    int64_t since_ms = clock_mono_ms(), last_ms = 0;

    while (!c->closed && clock_mono_ms() - since_ms < GUARD_MS) {
        if (clock_mono_ms() - last_ms >= 5) {
            last_ms = clock_mono_ms();
            ignore(send(c->fd, "x", 1, MSG_NOSIGNAL)); /* it may be closed */
        }
        (void)loop_turn(loop, false);
        client_take(c);
    }
    return clock_mono_ms() - since_ms;
}

START_TEST(test_slow_command)
{
    start((struct smtp_listen_options){.command_ms = 100});
    struct client *idle = greeted(1), *drips = greeted(1);
    forget(drips);
    ck_assert_int_ge(drip_until_closed(drips), 50);
    ck_assert_str_eq(drips->text, LATE_421);
    forget(idle);
    WAIT_FOR(idle, idle->closed);
    ck_assert_str_eq(idle->text, LATE_421);
    ck_assert_uint_eq(counters()->timeouts, 2);
    client_free(idle);
    client_free(drips);
    stop();
}
END_TEST

START_TEST(test_slow_data)
{
    start((struct smtp_listen_options){.data_ms = 100, .data_window_ms = 300});
    struct client *c = client_logged_in();
    to_data(c); /* nothing for a while */
    WAIT_FOR(c, c->closed);
    ck_assert_str_eq(c->text, LATE_421);
    client_free(c);
    c = client_logged_in();
    to_data(c); /* each piece in time, all of them too slow: 5 ms a byte is 200 a second */
    smtp_listener_free(&listener);
    client_free(c);
    start((struct smtp_listen_options){.data_ms = 10 * GUARD_MS, .data_window_ms = 100});
    c = client_logged_in();
    to_data(c);
    say(c, "x");
    WAIT_FOR(c, c->closed);
    ck_assert_str_eq(c->text, LATE_421);
    ck_assert_uint_eq(user.n_messages, 0);
    client_free(c);
    stop();
}
END_TEST

/* 26 bytes a window are wanted, 200 come: a machine that stands still for a third of a second is borne. */
START_TEST(test_slow_but_fast_enough)
{
    start((struct smtp_listen_options){.data_ms = 1000, .data_window_ms = 400});
    struct client *c = client_logged_in();
    to_data(c);
    say_content(c, 500);
    WAIT_FOR(c, has(c, QUEUED));
    to_data(c);
    for (int i = 0; i < 100; i++) {
        say(c, "slow.");
        for (int64_t until_ms = clock_mono_ms() + 10; clock_mono_ms() < until_ms;)
            (void)loop_turn(loop, false);
    }
    TALK(c, "\r\n.\r\n", QUEUED);
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_slow_handshake)
{
    struct smtp_listen_options o = with_tls(true);
    o.handshake_ms = 80;
    start(o);
    struct client *c = client_new();
    drip_until_closed(c);
    ck_assert(c->closed);
    client_free(c);
    c = client_new();
    WAIT(counters()->open == 1);
    WAIT_FOR(c, c->closed);
    ck_assert_uint_eq(counters()->open, 0);
    ck_assert_uint_ge(counters()->timeouts, 1);
    client_free(c);
    stop();
}
END_TEST

/* The client that does not read, and the one that does not go. */
START_TEST(test_ends_are_bounded)
{
    static char reply[8192];
    start((struct smtp_listen_options){.write_ms = 100, .linger_ms = 100, .command_ms = 100});
    memset(reply, 'r', sizeof(reply) - 1);
    memcpy(reply, "550 5.7.1 ", 10);
    memcpy(reply + sizeof(reply) - 3, "\r\n", 3);
    user.recipient_reply = reply;
    struct client *c = client_logged_in();
    TALK(c, MAIL, MAIL_OK);
    for (int i = 0; i < 999; i++)
        say(c, RCPT);
    WAIT(counters()->timeouts == 1);
    ck_assert_uint_eq(counters()->open, 0);
    ck_assert_uint_lt(user.n_recipients, 999); /* who does not read is not worked for */
    client_free(c);
    c = greeted(1);
    WAIT_FOR(c, has(c, LATE_421));
    WAIT(counters()->open == 0); /* the client's own side is open still */
    client_free(c);
    stop();
}
END_TEST

/* As long as it is we who are waited for, no client is late. */
START_TEST(test_waiting_is_not_late)
{
    start((struct smtp_listen_options){.command_ms = 150, .data_ms = 150, .load_ms = 150});
    user.keeps_messages = user.keeps_recipients = true;
    struct client *c = client_logged_in();
    TALK(c, MAIL RCPT, MAIL_OK);
    for (int64_t until_ms = clock_mono_ms() + 350; clock_mono_ms() < until_ms;)
        (void)loop_turn(loop, false);
    smtp_transaction_answer(user.recipient, (struct slice){0});
    forget(c);
    WAIT_FOR(c, c->n > 0);
    ck_assert_str_eq(c->text, RCPT_OK);
    say(c, "DATA\r\n");
    WAIT_FOR(c, has(c, "354 "));
    say(c, CONTENT);
    WAIT(user.n_messages == 1);
    for (int64_t until_ms = clock_mono_ms() + 350; clock_mono_ms() < until_ms;)
        (void)loop_turn(loop, false);
    forget(c);
    smtp_transaction_answer(user.messages[0], SLICE(QUEUED));
    WAIT_FOR(c, c->n > 0);
    ck_assert_str_eq(c->text, QUEUED);
    ck_assert_uint_eq(counters()->timeouts, 0);
    client_free(c);
    stop();
}
END_TEST

/* Two thirds of the connections are taken: who does nothing gives way, who errs is not listened to for long. */
START_TEST(test_under_load)
{
    start((struct smtp_listen_options){.max_connections = 6, .load_ms = 250});
    struct client *c[4];
    for (size_t i = 0; i < 4; i++)
        c[i] = client_logged_in();
    for (int64_t until_ms = clock_mono_ms() + 500; clock_mono_ms() < until_ms;)
        (void)loop_turn(loop, false);
    ck_assert_uint_eq(counters()->timeouts, 0); /* four of six: not yet */
    struct client *fifth = client_logged_in();
    TALK(fifth, "NONSENSE\r\n", "502 5.5.1 Unknown command\r\n");
    TALK(fifth, "NONSENSE\r\n", "421 4.7.0 Too many errors, closing transmission channel\r\n");
    client_free(fifth);
    fifth = greeted(1);
    forget(c[0]);
    WAIT_FOR(c[0], c[0]->closed);
    ck_assert_str_eq(c[0]->text, LATE_421);
    for (size_t i = 0; i < 4; i++)
        client_free(c[i]);
    client_free(fifth);
    stop();
}
END_TEST

/* --- guesses ------------------------------------------------------------------------------------------ */

static struct client *said_hello(unsigned x)
{
    struct client *c = greeted(x);
    say(c, EHLO);
    WAIT_FOR(c, has(c, "\n250 "));
    return c;
}

static void guess(unsigned x, unsigned i)
{
    AUTO(arena_clear) struct arena a = {0};
    char line[128], plain[32];
    struct client *c = said_hello(x);

    arena_init(&a, 4096);
    int n = snprintf(plain, sizeof(plain), "%cshop%cwrong-%u", 0, 0, i);
    snprintf(line, sizeof(line), "AUTH PLAIN %s\r\n", hash_base64(&a, (const uint8_t *)plain, (size_t)n));
    TALK(c, line, "535 5.7.8 Authentication credentials invalid\r\n");
    client_free(c);
}

START_TEST(test_guesses)
{
    start((struct smtp_listen_options){.login_ms = 1});
    struct client *known = client_logged_in_from(2);
    client_free(known);
    user.n_logins = 0;
    for (unsigned i = 0; i < 500; i++)
        guess(2, i);
    ck_assert_uint_ge(user.n_logins, 5);
    ck_assert_uint_le(user.n_logins, LIMIT_SMTP_LOGINS_MIN);
    ck_assert_uint_eq(counters()->logins_wrong, user.n_logins);
    ck_assert_uint_eq(counters()->logins_throttled, 500 - user.n_logins);
    client_free(client_logged_in_from(2)); /* what was right before is no guess */
    client_free(client_logged_in_from(3)); /* and elsewhere nobody has guessed */
    stop();
}
END_TEST

/* Nothing tells a wrong login from one that was not looked at: the same words, as late. */
START_TEST(test_wrong_logins_look_alike)
{
    start((struct smtp_listen_options){.login_ms = 40});
    for (unsigned i = 0; i < 10; i++) {
        int64_t since_ms = clock_mono_ms();
        guess(2, i);
        ck_assert_int_ge(clock_mono_ms() - since_ms, 40);
    }
    ck_assert_uint_gt(counters()->logins_throttled, 0);
    struct client *c = said_hello(3); /* in one session it takes longer and longer */
    int64_t since_ms = clock_mono_ms();
    TALK(c, AUTH_WRONG, "535 5.7.8 Authentication credentials invalid\r\n");
    TALK(c, AUTH_WRONG, "535 5.7.8 Authentication credentials invalid\r\n");
    TALK(c, AUTH_WRONG, "535 5.7.8 Authentication credentials invalid\r\n");
    ck_assert_int_ge(clock_mono_ms() - since_ms, 40 + 80 + 160);
    ck_assert_uint_eq(counters()->faults[SMTP_PROTO_FAULT_AUTH_FAILED], 13);
    TALK(c, AUTH_RIGHT, LOGIN_OK);
    client_free(c);
    stop();
}
END_TEST

/* A wrong login that waits for its answer holds up neither the listener's end nor the client's. */
START_TEST(test_leaves_while_it_waits)
{
    start((struct smtp_listen_options){.login_ms = 60000});
    struct client *c = said_hello(2), *other = said_hello(3);
    say(c, AUTH_WRONG);
    say(other, AUTH_WRONG);
    WAIT(counters()->logins_wrong == 2);
    client_reset(c);
    WAIT(counters()->open == 1);
    client_free(other);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_connections,
                                  test_refused_connections,
                                  test_connections_of_an_address,
                                  test_refused_without_handshake,
                                  test_descriptors_run_out,
                                  test_message_bytes,
                                  test_recipients,
                                  test_bytes_in_flight,
                                  test_limits_may_change,
                                  test_slow_command,
                                  test_slow_data,
                                  test_slow_but_fast_enough,
                                  test_slow_handshake,
                                  test_ends_are_bounded,
                                  test_waiting_is_not_late,
                                  test_under_load,
                                  test_guesses,
                                  test_wrong_logins_look_alike,
                                  test_leaves_while_it_waits};
    make_certificate(1);
    int status = run_tests("gateway_smtp_limits", tests, N_ELEMENTS(tests));
    remove_certificate();
    return status;
}

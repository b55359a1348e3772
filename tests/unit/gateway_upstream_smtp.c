/*
 * SMTP out: what a relay sees and how often, and what the caller is told about it: connections kept and bounded,
 * deadlines, the one try on a fresh connection, and when "unknown" is the word.
 */
#include "gateway_upstream_relay.h"

/* --- what goes out, what comes back --- */

START_TEST(one_connection_carries_several)
{
    struct upstream *u = PLAIN(.host = "postern.example");
    for (int i = 1; i <= 3; i++) {
        struct seen s;
        send_and_wait(u, mail_to(&one, HELLO), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 250);
        ck_assert_str_eq(s.text, "2.0.0 queued");
        ck_assert_uint_eq(s.n_recipients, 1);
        ck_assert_int_eq(s.codes[0], 250);
        ck_assert_str_eq(s.texts[0], "2.0.0 queued");
        ck_assert(s.dsn);
        ck_assert_int_eq(relay.n_messages, i);
    }
    ck_assert_int_eq(relay.n_connections, 1);
    ck_assert_str_eq(relay.said, "EHLO postern.example\n"
                                 "MAIL FROM:<a@b.example> SIZE=22\nRCPT TO:<c@d.example>\nDATA\n"
                                 "MAIL FROM:<a@b.example> SIZE=22\nRCPT TO:<c@d.example>\nDATA\n"
                                 "MAIL FROM:<a@b.example> SIZE=22\nRCPT TO:<c@d.example>\nDATA\n");
    upstream_free(&u);
    UNTIL(relay.n_quit == 1);
}
END_TEST

START_TEST(each_recipient_has_a_result)
{
    struct upstream *u = PLAIN(0);
    struct seen s;
    relay.offers = "";
    send_and_wait(u, mail_to(&three, HELLO), &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 250);
    ck_assert(!s.dsn);
    ck_assert_uint_eq(s.n_recipients, 3);
    ck_assert_int_eq(s.codes[0], 250);
    ck_assert_int_eq(s.codes[1], 550);
    ck_assert_str_eq(s.texts[1], "5.1.1 nobody");
    ck_assert_int_eq(s.codes[2], 250);
    upstream_free(&u);
}
END_TEST

START_TEST(large_content_arrives_as_it_is)
{
    static char content[6000000];
    relay_takes_little();
    for (size_t i = 0; i < sizeof content; i += 20)
        memcpy(content + i, i % 3 ? "x2345678901234567.\r\n" : ".2345678901234567.\r\n", 20);
    struct upstream *u = PLAIN(0);
    struct upstream_request req = mail_to(&one, "");
    struct seen s;
    req.body = (struct slice){content, sizeof content};
    send_and_wait(u, req, &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 250);
    const char *got = (const char *)evbuffer_pullup(relay.content, -1);
    for (size_t i = 0; i < sizeof content; i += 20, got += 20) {
        got += content[i] == '.';
        if (memcmp(got, content + i, 20) != 0)
            ck_abort_msg("differs at %zu", i);
    }
    ck_assert_int_eq(memcmp(got, ".\r\n", 3), 0);
    upstream_free(&u);
}
END_TEST

static bool count(void *arg)
{
    return ++*(int *)arg < 99;
}

START_TEST(asked_before_the_envelope_and_the_content)
{
    struct upstream *u = PLAIN(0);
    struct upstream_request req = mail_to(&one, HELLO);
    struct upstream_state state;
    struct seen s;
    int asked = 0;
    req.may_write = count;
    req.may_write_arg = &asked;
    send_and_wait(u, req, &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 250);
    ck_assert_int_eq(asked, 2);
    for (int i = 0; i < 12; i++) { /* no before the envelope: nothing is said, the connection stays */
        asked = 98;
        send_and_wait(u, req, &s);
        expect(&s, UPSTREAM_NOT_SENT, "withdrawn", 0);
        ck_assert_int_eq(asked, 99);
    }
    asked = 97; /* no before the content: the connection goes, the content with it */
    send_and_wait(u, req, &s);
    expect(&s, UPSTREAM_NOT_SENT, "withdrawn", 0);
    ck_assert_int_eq(asked, 99);
    asked = 0;
    send_and_wait(u, req, &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 250);
    ck_assert_int_eq(relay.n_messages, 2);
    ck_assert_int_eq(relay.n_connections, 2);
    upstream_state(u, &state);
    ck_assert_int_eq(state.breaker, UPSTREAM_BREAKER_CLOSED);
    upstream_free(&u);
}
END_TEST

START_TEST(what_cannot_go_out_is_not_said)
{
    static const struct mail_recipient evil[] = {{.path = {"c@d>\r\nRCPT TO:<x@y", 19}}};
    static const struct mail_envelope injected = {.from = {"a@b", 3}, .recipients = evil, .n_recipients = 1};
    struct upstream *u = PLAIN(0);
    struct upstream_state state;
    struct seen s;
    send_and_wait(u, mail_to(&one, HELLO), &s);
    for (int i = 0; i < 4; i++) {
        send_and_wait(u, mail_to(&injected, HELLO), &s);
        expect(&s, UPSTREAM_NOT_SENT, "bad_request", 0);
        send_and_wait(u, mail_to(&one, "a\n.\r\nb\r\n"), &s);
        expect(&s, UPSTREAM_NOT_SENT, "bad_request", 0);
        send_and_wait(u, mail_to(NULL, HELLO), &s);
        expect(&s, UPSTREAM_NOT_SENT, "bad_request", 0);
    }
    send_and_wait(u, mail_to(&one, HELLO), &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 250);
    ck_assert_int_eq(relay.n_connections, 1);
    ck_assert_ptr_null(strstr(relay.said, "x@y"));
    upstream_state(u, &state);
    ck_assert_int_eq(state.breaker, UPSTREAM_BREAKER_CLOSED);
    upstream_free(&u);
}
END_TEST

/* --- connections --- */

START_TEST(connections_are_bounded)
{
    enum { MAILS = 12, BOUND = 3 };
    struct upstream *u = PLAIN(.pace.max_concurrency = BOUND);
    struct seen s[MAILS];
    relay.at = AT_DOT;
    relay.deed = DEED_STALL;
    for (int i = 0; i < MAILS; i++)
        send_one(u, mail_to(&one, HELLO), &s[i]);
    UNTIL(relay.n_waiting == BOUND);
    run_for(20);
    ck_assert_int_eq(relay.n_waiting, BOUND);
    relay_release("250 2.0.0 queued\r\n");
    for (int i = 0; i < MAILS; i++) {
        UNTIL(s[i].calls == 1);
        expect(&s[i], UPSTREAM_ANSWERED, "answered", 250);
    }
    ck_assert_int_eq(relay.n_connections, BOUND);
    ck_assert_int_eq(relay.n_messages, MAILS);
    upstream_free(&u);
}
END_TEST

/* A connection that is still tidied up gives way: the bound holds, and nobody waits. */
START_TEST(bound_holds_while_one_is_tidied_up)
{
    static const struct mail_recipient no[] = {{.path = {"no@d.example", 12}}};
    static const struct mail_envelope refused = {.from = {"a@b", 3}, .recipients = no, .n_recipients = 1};
    struct upstream *u = PLAIN(.pace.max_concurrency = 1);
    struct seen s;
    relay.at = AT_RSET;
    relay.deed = DEED_STALL;
    for (int i = 0; i < 5; i++) {
        send_and_wait(u, mail_to(&refused, HELLO), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 550);
    }
    run_for(10);
    ck_assert_int_eq(relay.n_open, 1);
    ck_assert_int_eq(relay.n_connections, 5);
    ck_assert_int_eq(relay.n_messages, 0);
    upstream_free(&u);
}
END_TEST

START_TEST(idle_connections_are_closed)
{
    struct upstream *u = PLAIN(.idle_ms = 400, .pace.max_concurrency = 4);
    struct seen s[4];
    for (int i = 0; i < 4; i++)
        send_one(u, mail_to(&one, HELLO), &s[i]);
    UNTIL(s[0].calls && s[1].calls && s[2].calls && s[3].calls);
    ck_assert_int_eq(relay.n_open, 4);
    run_for(100); /* then two are busy, and stay; one is used again, and stays longer than the last */
    relay.at = AT_DOT;
    relay.deed = DEED_STALL;
    relay.left = 2;
    send_one(u, mail_to(&one, HELLO), &s[1]);
    send_one(u, mail_to(&one, HELLO), &s[2]);
    UNTIL(relay.n_waiting == 2);
    send_and_wait(u, mail_to(&one, HELLO), &s[0]);
    UNTIL(relay.n_quit == 1);
    ck_assert_int_eq(relay.n_open, 3);
    UNTIL(relay.n_quit == 2);
    relay_release("250 ok\r\n");
    UNTIL(s[1].calls && s[2].calls);
    ck_assert_int_eq(relay.n_connections, 4);
    UNTIL(relay.n_quit == 4);
    upstream_free(&u);
}
END_TEST

START_TEST(a_connection_carries_500)
{
    struct upstream *u = PLAIN(0);
    struct seen s;
    for (int i = 0; i < 501; i++) {
        send_and_wait(u, mail_to(&one, HELLO), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 250);
    }
    ck_assert_int_eq(relay.n_connections, 2);
    ck_assert_int_eq(relay.n_messages, 501);
    UNTIL(relay.n_quit == 1);
    upstream_free(&u);
}
END_TEST

/* --- a kept connection that is closed --- */

START_TEST(closed_while_idle_and_noticed)
{
    struct upstream *u = PLAIN(0);
    struct seen s;
    for (int i = 1; i <= 3; i++) {
        send_and_wait(u, mail_to(&one, HELLO), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 250);
        if (i == 2) {
            relay.says = "421 4.4.2 idle\r\n";
            relay_do(&relay.connections[i - 1], DEED_SAY_AND_CLOSE);
        } else {
            relay_close(&relay.connections[i - 1], i == 1);
        }
        run_for(5);
    }
    ck_assert_int_eq(relay.n_connections, 3);
    ck_assert_int_eq(relay.n_messages, 3);
    upstream_free(&u);
}
END_TEST

/* The relay closes, or says 421, when MAIL comes on a kept connection: once more on a fresh one, and only once. */
START_TEST(closed_while_idle_and_not_noticed)
{
    static const enum deed deeds[] = {DEED_CLOSE, DEED_RESET, DEED_SAY_AND_CLOSE};
    for (size_t i = 0; i < N_ELEMENTS(deeds); i++) {
        struct upstream *u = PLAIN(0);
        struct seen s;
        relay.at = AT_MAIL;
        relay.deed = deeds[i];
        relay.says = "421 4.4.2 idle\r\n";
        relay.from_mail = 2;
        int before = relay.n_messages, connections = relay.n_connections;
        for (int n = 1; n <= 4; n++) {
            send_and_wait(u, mail_to(&one, HELLO), &s);
            expect(&s, UPSTREAM_ANSWERED, "answered", 250);
            ck_assert_int_eq(relay.n_messages, before + n);
        }
        ck_assert_int_eq(relay.n_connections, connections + 4);
        upstream_free(&u);
    }
}
END_TEST

START_TEST(a_fresh_one_is_not_tried_again)
{
    static const struct {
        enum at at;
        enum deed deed;
        enum upstream_status status;
        const char *reason;
        int code;
    } rows[] = {
        {AT_GREETING, DEED_CLOSE, UPSTREAM_NOT_SENT, "connection_lost", 0},
        {AT_EHLO, DEED_CLOSE, UPSTREAM_NOT_SENT, "connection_lost", 0},
        {AT_MAIL, DEED_CLOSE, UPSTREAM_NOT_SENT, "connection_lost", 0},
        {AT_MAIL, DEED_SAY_AND_CLOSE, UPSTREAM_ANSWERED, "answered", 421},
        {AT_RCPT, DEED_CLOSE, UPSTREAM_NOT_SENT, "connection_lost", 0},
        {AT_DATA, DEED_RESET, UPSTREAM_NOT_SENT, "connection_lost", 0},
        {AT_DOT, DEED_CLOSE, UPSTREAM_UNKNOWN, "connection_lost", 0},
        {AT_DOT, DEED_RESET, UPSTREAM_UNKNOWN, "connection_lost", 0},
        {AT_DOT, DEED_SAY_AND_CLOSE, UPSTREAM_ANSWERED, "answered", 421},
        {AT_GREETING, DEED_SAY_AND_CLOSE, UPSTREAM_NOT_SENT, "greeting_refused", 421},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct upstream *u = PLAIN(0);
        struct seen s;
        int connections = relay.n_connections, messages = relay.n_messages;
        relay.at = rows[i].at;
        relay.deed = rows[i].deed;
        relay.says = "421 4.3.2 down\r\n";
        send_and_wait(u, mail_to(&one, HELLO), &s);
        ck_assert_msg(strcmp(s.reason, rows[i].reason) == 0, "row %zu: %s", i, s.reason);
        expect(&s, rows[i].status, rows[i].reason, rows[i].code);
        ck_assert_int_eq(relay.n_connections, connections + 1);
        ck_assert_int_eq(relay.n_messages, messages + (rows[i].at == AT_DOT));
        upstream_free(&u);
    }
}
END_TEST

/* Once a reply came, the relay knew of it: that is for the caller to repeat. */
START_TEST(lost_after_a_reply_is_not_tried_again)
{
    struct upstream *u = PLAIN(0);
    struct seen s;
    send_and_wait(u, mail_to(&one, HELLO), &s);
    relay.at = AT_RCPT;
    relay.deed = DEED_SAY_AND_CLOSE;
    relay.says = "250-2.1.5 o";
    send_and_wait(u, mail_to(&one, HELLO), &s);
    expect(&s, UPSTREAM_NOT_SENT, "connection_lost", 0);
    ck_assert_int_eq(relay.n_connections, 1);
    upstream_free(&u);
}
END_TEST

/* --- deadlines --- */

START_TEST(stalls_end_at_the_deadline)
{
    static const struct {
        enum at at;
        enum upstream_status status;
        bool sent;
    } rows[] = {
        {AT_GREETING, UPSTREAM_NOT_SENT, false}, {AT_EHLO, UPSTREAM_NOT_SENT, false},
        {AT_MAIL, UPSTREAM_NOT_SENT, false},     {AT_RCPT, UPSTREAM_NOT_SENT, false},
        {AT_DATA, UPSTREAM_NOT_SENT, false},     {AT_DOT, UPSTREAM_UNKNOWN, true},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct upstream *u = PLAIN(0);
        struct upstream_request req = mail_to(&one, HELLO);
        struct seen s;
        relay.at = rows[i].at;
        relay.deed = DEED_STALL;
        relay.n_waiting = 0;
        req.deadline_ms = 200;
        struct upstream_op *op = send_one(u, req, &s);
        UNTIL(relay.n_waiting == 1);
        ck_assert_int_eq(upstream_op_sent(op), rows[i].sent);
        UNTIL(s.calls == 1);
        expect(&s, rows[i].status, "timeout", 0);
        upstream_free(&u);
    }
}
END_TEST

static struct slice large_content(void)
{
    static char content[10000000];
    for (size_t i = 0; i < sizeof content; i += 20)
        memcpy(content + i, "x23456789012345678\r\n", 20);
    return (struct slice){content, sizeof content};
}

/* The relay says 354 and does not read: what is stuck on the way is not sent, for its end never left. */
static void get_stuck(struct upstream *u, int64_t deadline_ms, struct seen *s)
{
    struct upstream_request req = mail_to(&one, "");
    relay_takes_little();
    relay.at = AT_DATA;
    relay.deed = DEED_SAY;
    relay.says = "354 go\r\n";
    req.body = large_content();
    req.deadline_ms = deadline_ms;
    struct upstream_op *op = send_one(u, req, s);
    UNTIL(s->calls > 0 || strstr(relay.said, "DATA"));
    bufferevent_disable(relay.connections[0].bev, EV_READ);
    UNTIL(s->calls > 0 || upstream_op_sent(op));
    run_for(30);
}

START_TEST(unread_content_is_not_sent)
{
    struct upstream *u = PLAIN(0);
    struct seen s;
    get_stuck(u, 500, &s);
    UNTIL(s.calls == 1);
    expect(&s, UPSTREAM_NOT_SENT, "timeout", 0);
    upstream_free(&u);
}
END_TEST

START_TEST(lost_in_the_content_is_not_sent)
{
    struct upstream *u = PLAIN(0);
    struct seen s;
    get_stuck(u, 0, &s);
    relay_close(&relay.connections[0], _i);
    UNTIL(s.calls == 1);
    expect(&s, UPSTREAM_NOT_SENT, "connection_lost", 0);
    upstream_free(&u);
}
END_TEST

START_TEST(refused_in_the_content_is_answered)
{
    struct upstream *u = PLAIN(0);
    struct seen s;
    get_stuck(u, 0, &s);
    relay_say(&relay.connections[0], "552 5.3.4 too big\r\n");
    UNTIL(s.calls == 1);
    expect(&s, UPSTREAM_ANSWERED, "answered", 552);
    ck_assert_int_eq(s.codes[0], 552);
    upstream_free(&u);
}
END_TEST

START_TEST(cancelled_ones_do_not_call)
{
    static const enum at stages[] = {AT_GREETING, AT_MAIL, AT_DOT};
    for (size_t i = 0; i < N_ELEMENTS(stages); i++) {
        struct upstream *u = PLAIN(0);
        struct seen s;
        relay.at = stages[i];
        relay.deed = DEED_STALL;
        relay.n_waiting = 0;
        struct upstream_op *op = send_one(u, mail_to(&one, HELLO), &s);
        UNTIL(relay.n_waiting == 1);
        ck_assert_int_eq(upstream_op_sent(op), stages[i] == AT_DOT);
        upstream_op_cancel(&op);
        run_for(5);
        ck_assert_int_eq(s.calls, 0);
        ck_assert_int_eq(relay.n_open, 0);
        relay.at = AT_NOTHING;
        send_and_wait(u, mail_to(&one, HELLO), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 250);
        upstream_free(&u);
    }
}
END_TEST

/* --- pace --- */

START_TEST(refusals_say_nothing_bad_about_the_relay)
{
    static const char *const replies[] = {"550 5.7.1 no\r\n", "451 4.3.0 later\r\n"};
    static const enum at stages[] = {AT_MAIL, AT_RCPT, AT_DATA, AT_DOT};
    struct upstream *u = PLAIN(0);
    struct upstream_state state;
    struct seen s;
    relay.deed = DEED_SAY;
    for (size_t i = 0; i < N_ELEMENTS(stages) * 4; i++) {
        relay.at = stages[i / 4];
        relay.says = replies[i % 2];
        send_and_wait(u, mail_to(&one, HELLO), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", i % 2 ? 451 : 550);
        ck_assert_int_eq(s.codes[0], i % 2 ? 451 : 550);
    }
    upstream_state(u, &state);
    ck_assert_int_eq(state.breaker, UPSTREAM_BREAKER_CLOSED);
    upstream_free(&u);
}
END_TEST

START_TEST(closing_opens_the_breaker)
{
    static const enum at stages[] = {AT_GREETING, AT_MAIL, AT_DOT};
    for (size_t i = 0; i < N_ELEMENTS(stages); i++) {
        struct upstream *u = PLAIN(0);
        struct upstream_state state;
        struct seen s;
        relay.at = stages[i];
        relay.deed = DEED_SAY_AND_CLOSE;
        relay.says = "421 4.3.2 down\r\n";
        for (int n = 0; n < 5; n++)
            send_and_wait(u, mail_to(&one, HELLO), &s);
        upstream_state(u, &state);
        ck_assert_int_eq(state.breaker, UPSTREAM_BREAKER_OPEN);
        send_and_wait(u, mail_to(&one, HELLO), &s);
        expect(&s, UPSTREAM_NOT_SENT, "breaker_open", 0);
        upstream_free(&u);
    }
}
END_TEST

START_TEST(nothing_listens)
{
    struct upstream *u = PLAIN(0);
    struct seen s;
    evconnlistener_free(relay.listener);
    relay.listener = NULL;
    send_and_wait(u, mail_to(&one, HELLO), &s);
    expect(&s, UPSTREAM_NOT_SENT, "connect_failed", 0);
    upstream_free(&u);
}
END_TEST

/* --- logins and options --- */

START_TEST(logs_in_once_a_connection)
{
    relay.offers = "250-AUTH PLAIN LOGIN\r\n";
    struct upstream *u = PLAIN(.user = SLICE("apikey"), .secret = SLICE("SG.secret"));
    struct seen s;
    for (int i = 0; i < 2; i++) {
        send_and_wait(u, mail_to(&one, HELLO), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 250);
    }
    ck_assert_ptr_nonnull(strstr(relay.said, "EHLO localhost\nAUTH PLAIN AGFwaWtleQBTRy5zZWNyZXQ=\nMAIL"));
    ck_assert_int_eq(relay.n_connections, 1);
    relay.at = AT_AUTH;
    relay.deed = DEED_SAY;
    relay.says = "535 5.7.8 wrong\r\n";
    upstream_free(&u);
    u = PLAIN(.user = SLICE("apikey"), .secret = SLICE("SG.secret"));
    send_and_wait(u, mail_to(&one, HELLO), &s);
    expect(&s, UPSTREAM_NOT_SENT, "auth_refused", 535);
    ck_assert_str_eq(s.text, "5.7.8 wrong");
    upstream_free(&u);
}
END_TEST

START_TEST(no_login_in_the_clear)
{
    static const char *const hosts[] = {"relay.test", "127.relay.test", "localhost.relay.test"};
    relay.offers = "250-AUTH PLAIN LOGIN\r\n";
    for (size_t i = 0; i < N_ELEMENTS(hosts); i++) {
        struct upstream *u =
            upstream_to("smtp", hosts[i], (struct upstream_options){.user = SLICE("u"), .secret = SLICE("s")});
        struct seen s;
        send_and_wait(u, mail_to(&one, HELLO), &s);
        expect(&s, UPSTREAM_NOT_SENT, "login_needs_tls", 0);
        ck_assert_ptr_null(strstr(relay.said, "AUTH"));
        upstream_free(&u);
    }
}
END_TEST

START_TEST(options_are_checked)
{
    static char long_text[5000];
    memset(long_text, 'a', sizeof long_text - 1);
    struct upstream_options rows[] = {
        {.url = "smtp://u@h.example"},
        {.url = "smtp://h.example/path"},
        {.url = "smtp://h.example?x=1"},
        {.url = "smtp://"},
        {.url = "smtp:h.example"},
        {.url = "smtp://h.example:0"},
        {.url = "smtp://h.example", .host = "a b"},
        {.url = "smtp://h.example", .host = "a\r\nMAIL"},
        {.url = "smtp://h.example", .host = ""},
        {.url = "smtp://h.example", .host = long_text},
        {.url = "smtp://h.example", .user = {long_text, 4097}},
        {.url = "smtp://h.example", .user = SLICE("u"), .secret = {long_text, 4097}},
        {.url = "smtp://h.example", .ca_file = "/nonexistent"},
        {.url = "smtps://h.example", .ca_file = "/dev/null"},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct errmsg e = {{0}};
        rows[i].name = "x";
        struct upstream *u = upstream_new(loop, &rows[i], &e);
        ck_assert_msg(u == NULL && e.text[0] != '\0', "row %zu", i);
    }
    static const char *const good[] = {"smtp://h.example", "SMTP://h.example:587", "smtps://h.example",
                                       "smtp://[::1]:25"};
    for (size_t i = 0; i < N_ELEMENTS(good); i++) {
        struct errmsg e = {{0}};
        struct upstream *u = upstream_new(loop, &(struct upstream_options){.name = "x", .url = good[i]}, &e);
        ck_assert_msg(u != NULL, "%s: %s", good[i], e.text);
        upstream_free(&u);
    }
}
END_TEST

/* --- chaos --- */

/* Whatever the relay does: answered with 250 means seen once, not sent means never seen, unknown never means twice. */
START_TEST(chaos_never_sends_twice)
{
    struct upstream *u =
        PLAIN(.pace.breaker_failures = UINT32_MAX, .pace.max_concurrency = 16, .max_queue = CHAOS_MAILS);
    static struct seen seen[CHAOS_MAILS];
    static char contents[CHAOS_MAILS][40];
    int n[3] = {0};
    relay.chaos = true;
    for (int i = 0; i < CHAOS_MAILS; i++) {
        snprintf(contents[i], sizeof contents[i], "%d\r\nx\r\n", i);
        send_one(u, mail_to(&one, contents[i]), &seen[i]);
    }
    for (int i = 0; i < CHAOS_MAILS; i++) {
        UNTIL(seen[i].calls > 0);
        n[seen[i].status]++;
    }
    run_for(20);
    for (int i = 0; i < CHAOS_MAILS; i++) {
        bool accepted = seen[i].status == UPSTREAM_ANSWERED && seen[i].codes[0] == 250;
        bool at_end = seen[i].status == UPSTREAM_ANSWERED && seen[i].code == 421; /* perhaps to the data */
        int low = accepted, high = accepted || at_end || seen[i].status == UPSTREAM_UNKNOWN;
        ck_assert_int_eq(seen[i].calls, 1);
        ck_assert_msg(relay.seen[i] >= low && relay.seen[i] <= high, "mail %d: %s, seen %d times", i, seen[i].reason,
                      relay.seen[i]);
    }
    /* Each kind of ending came about, else this proves nothing. */
    ck_assert_int_gt(n[UPSTREAM_ANSWERED], CHAOS_MAILS / 2);
    ck_assert_int_gt(n[UPSTREAM_NOT_SENT], CHAOS_MAILS / 100);
    ck_assert_int_gt(n[UPSTREAM_UNKNOWN], CHAOS_MAILS / 100);
    upstream_free(&u);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        one_connection_carries_several,
        each_recipient_has_a_result,
        large_content_arrives_as_it_is,
        asked_before_the_envelope_and_the_content,
        what_cannot_go_out_is_not_said,
        connections_are_bounded,
        bound_holds_while_one_is_tidied_up,
        idle_connections_are_closed,
        a_connection_carries_500,
        closed_while_idle_and_noticed,
        closed_while_idle_and_not_noticed,
        a_fresh_one_is_not_tried_again,
        lost_after_a_reply_is_not_tried_again,
        stalls_end_at_the_deadline,
        unread_content_is_not_sent,
        refused_in_the_content_is_answered,
        cancelled_ones_do_not_call,
        refusals_say_nothing_bad_about_the_relay,
        closing_opens_the_breaker,
        nothing_listens,
        logs_in_once_a_connection,
        no_login_in_the_clear,
        options_are_checked,
        chaos_never_sends_twice,
    };
    log_set_level(LOG_ERROR_);
    Suite *suite = suite_create("gateway_upstream_smtp");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup, teardown);
    for (size_t i = 0; i < N_ELEMENTS(tests); i++)
        tcase_add_test(t, tests[i]);
    tcase_add_loop_test(t, lost_in_the_content_is_not_sent, 0, 2);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/*
 * The connection to Redis against a scripted server in the test's own loop: slow,
 * half, reset, loading, garbage.  Each has its outcome, in its time, and nothing crashes.
 */
#include <check.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/loop.h"
#include "gateway/redis.h"
#include "postern/clock.h"
#include "postern/log.h"
#include "tests/unit/own_time.h"

#define DEADLINE_MS 10
#define PONG        "+PONG\r\n"

/* --- the scripted server ---------------------------------------------------------------- */

static struct {
    struct evconnlistener *listener;
    struct bufferevent *bev;
    uint16_t port;
    const char *greeting; /* to PING */
    const char *reply;    /* to every other command; NULL: none */
    size_t reply_n;
    bool drip, reset; /* a byte a turn; reset instead of a reply */
    int connections, commands, reads;
} fake;

static struct loop *loop;
static struct redis *redis;
static int went_up, went_down;

static void drip(void *arg)
{
    size_t at = (size_t)(uintptr_t)arg;
    if (fake.bev == NULL || at >= fake.reply_n)
        return;
    bufferevent_write(fake.bev, fake.reply + at, 1);
    (void)loop_defer(loop, drip, (void *)(uintptr_t)(at + 1));
}

static void fake_hang_up(void)
{
    struct linger now = {.l_onoff = 1};
    if (fake.bev == NULL)
        return;
    setsockopt(bufferevent_getfd(fake.bev), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    bufferevent_free(fake.bev);
    fake.bev = NULL;
}

/* Commands are counted by their "*" lines: none of these tests sends one in an argument. */
static void fake_read(struct bufferevent *bev, void *arg)
{
    static char text[1 << 20];
    size_t n = bufferevent_read(bev, text, sizeof text - 1);
    bool pinged = false;
    int asked = 0;

    (void)arg;
    text[n] = '\0';
    fake.reads++;
    for (char *p = text; (p = strchr(p, '*')) != NULL; p++)
        asked++;
    pinged = strstr(text, "PING") != NULL;
    if (pinged && fake.greeting != NULL)
        bufferevent_write(bev, fake.greeting, strlen(fake.greeting));
    asked -= pinged;
    fake.commands += asked;
    for (int i = 0; i < asked && fake.bev == bev; i++) {
        if (fake.reset)
            fake_hang_up();
        else if (fake.drip)
            drip(NULL);
        else if (fake.reply != NULL)
            bufferevent_write(bev, fake.reply, fake.reply_n);
    }
}

static void fake_event(struct bufferevent *bev, short what, void *arg)
{
    (void)what;
    (void)arg;
    if (fake.bev == bev)
        fake.bev = NULL;
    bufferevent_free(bev);
}

static void fake_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int n, void *arg)
{
    (void)l;
    (void)sa;
    (void)n;
    (void)arg;
    fake_hang_up();
    fake.connections++;
    fake.bev = bufferevent_socket_new(loop_base(loop), fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(fake.bev, fake_read, NULL, fake_event, NULL);
    bufferevent_enable(fake.bev, EV_READ | EV_WRITE);
}

static void fake_listen(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(fake.port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    fake.listener =
        evconnlistener_new_bind(loop_base(loop), fake_accept, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 16,
                                (struct sockaddr *)&a, (int)n);
    ck_assert_ptr_nonnull(fake.listener);
    getsockname(evconnlistener_get_fd(fake.listener), (struct sockaddr *)&a, &n);
    fake.port = ntohs(a.sin_port);
}

static void fake_says(const char *reply)
{
    fake.reply = reply;
    fake.reply_n = reply != NULL ? strlen(reply) : 0;
}

/* --- turns and answers --------------------------------------------------------------------- */

static void on_tick(void *arg)
{
    *(bool *)arg = true;
}

/* Turns until it is so; false when it is not within ms. */
static bool turns(int64_t ms, bool (*so)(void))
{
    int64_t end = clock_mono_ms() + ms;
    while (!so() && clock_mono_ms() < end) {
        bool ticked = false;
        struct loop_task *t = loop_after(loop, 1, on_tick, &ticked);
        loop_turn(loop, true);
        if (!ticked)
            loop_cancel(&t);
    }
    return so();
}

static bool is_up(void)
{
    return redis_is_up(redis) && went_up > went_down;
}
static bool is_down(void)
{
    return went_down > 0;
}
static bool is_never(void)
{
    return false;
}

struct seen {
    int calls;
    enum err status;
    enum redis_kind kind;
    int64_t number, at_ms;
    char text[64];
    size_t n;
};
static struct seen seen[400];
static int n_seen;

static void on_reply(enum err status, const struct redis_reply *r, void *arg)
{
    struct seen *s = arg;
    s->calls++;
    n_seen++;
    s->status = status;
    s->at_ms = clock_mono_ms();
    ck_assert((status == OK) == (r != NULL));
    if (r == NULL)
        return;
    s->kind = r->kind;
    s->number = r->number;
    s->n = r->n;
    snprintf(s->text, sizeof s->text, "%.*s", (int)r->text.n, r->text.p != NULL ? r->text.p : "");
}

static struct redis_op *ask(struct seen *s)
{
    return redis_ask(redis, (struct slice[]){SLICE("GET"), SLICE("k")}, 2, 0, on_reply, s);
}

static int wanted;
static bool all_seen(void)
{
    return n_seen >= wanted;
}

static void ask_one(void)
{
    wanted = n_seen + 1;
    seen[0].calls = 0;
    (void)ask(&seen[0]);
    ck_assert_int_eq(seen[0].calls, 0); /* never before it returns */
    ck_assert_msg(turns(1000, all_seen), "no answer");
    ck_assert_int_eq(seen[0].calls, 1);
}

static void on_state(bool up, void *arg)
{
    (void)arg;
    went_up += up;
    went_down += !up;
}

static void connect_with(const char *username, const char *password, int db)
{
    struct errmsg e;
    struct redis_options o = {.host = "127.0.0.1",
                              .port = fake.port,
                              .db = db,
                              .username = username,
                              .password = password,
                              .deadline_ms = DEADLINE_MS,
                              .on_state = on_state};
    redis = redis_new(loop, &o, &e);
    ck_assert_ptr_nonnull(redis);
}

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_ERROR_);
    memset(&fake, 0, sizeof fake);
    fake.greeting = PONG;
    went_up = went_down = n_seen = 0;
    memset(seen, 0, sizeof seen);
    loop = loop_new();
    fake_listen();
}

static void setup_connected(void)
{
    setup();
    connect_with(NULL, NULL, 0);
    ck_assert_msg(turns(2000, is_up), "no connection");
}

static void teardown(void)
{
    redis_free(&redis);
    fake_hang_up();
    if (fake.listener != NULL)
        evconnlistener_free(fake.listener);
    loop_free(&loop);
}

/* --- outcomes -------------------------------------------------------------------------------- */

#define DEEP "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"

static const struct {
    const char *reply; /* NULL: none */
    enum err status;
    enum redis_kind kind;
    bool drops; /* the connection is of no use any more */
} outcomes[] = {
    {"+OK\r\n", OK, REDIS_TEXT, false},
    {":-7\r\n", OK, REDIS_NUMBER, false},
    {"$-1\r\n", OK, REDIS_NOTHING, false},
    {"$0\r\n\r\n", OK, REDIS_TEXT, false},
    {"*0\r\n", OK, REDIS_LIST, false},
    {"*-1\r\n", OK, REDIS_NOTHING, false},
    {"*3\r\n$1\r\na\r\n:2\r\n*1\r\n$-1\r\n", OK, REDIS_LIST, false},
    {"-NOSCRIPT No matching script.\r\n", OK, REDIS_ERROR, false},
    {"-OOM command not allowed\r\n", OK, REDIS_ERROR, false},
    {"-WRONGTYPE Operation against a key\r\n", OK, REDIS_ERROR, false},
    {"-ERR unknown command\r\n", OK, REDIS_ERROR, false},
    {"-LOADING Redis is loading the dataset in memory\r\n", ERR_UNAVAILABLE, 0, true},
    {"-READONLY You can't write against a read only replica.\r\n", ERR_UNAVAILABLE, 0, true},
    {"-BUSY Redis is busy running a script.\r\n", ERR_UNAVAILABLE, 0, true},
    {"-NOAUTH Authentication required.\r\n", ERR_UNAVAILABLE, 0, true},
    {"HTTP/1.1 400 Bad Request\r\n\r\n", ERR_UNAVAILABLE, 0, true},
    {"\r\n", ERR_UNAVAILABLE, 0, true},
    {"$abc\r\n", ERR_UNAVAILABLE, 0, true},
    {"*5000\r\n", ERR_UNAVAILABLE, 0, true},
    {"*2147483647\r\n", ERR_UNAVAILABLE, 0, true},
    {"*1\r\n*99999\r\n", ERR_UNAVAILABLE, 0, true},
    {"$9223372036854775807\r\n", ERR_TIMEOUT, 0, true}, /* waits for it, as long as it is let */
    {DEEP, ERR_UNAVAILABLE, 0, true},
    {":1\r\n:2\r\n", OK, REDIS_NUMBER, true},
    {NULL, ERR_TIMEOUT, 0, true},
    {"$10\r\nabc", ERR_TIMEOUT, 0, true},
    {"*2\r\n:1\r\n", ERR_TIMEOUT, 0, true},
};

START_TEST(each_reply_has_its_outcome)
{
    fake_says(outcomes[_i].reply);
    ask_one();
    ck_assert_msg(seen[0].status == outcomes[_i].status, "%s: status %d", outcomes[_i].reply, seen[0].status);
    if (seen[0].status == OK)
        ck_assert_int_eq(seen[0].kind, outcomes[_i].kind);
    if (!outcomes[_i].drops) {
        ck_assert(redis_is_up(redis));
        ck_assert_int_eq(went_down, 0);
        return;
    }
    ck_assert_msg(turns(500, is_down), "%s: the connection stays", outcomes[_i].reply);
    fake_says(":5\r\n");
    ck_assert_msg(turns(2000, is_up), "%s: no new connection", outcomes[_i].reply);
    ask_one();
    ck_assert_int_eq(seen[0].status, OK);
    ck_assert_int_eq(seen[0].number, 5);
}
END_TEST

START_TEST(replies_may_come_byte_by_byte)
{
    fake_says("*2\r\n$5\r\nhello\r\n:42\r\n");
    fake.drip = true;
    wanted = 1;
    /* Each byte is a turn of this loop: time enough is another deadline. */
    (void)redis_ask(redis, (struct slice[]){SLICE("GET")}, 1, 1000, on_reply, &seen[0]);
    ck_assert(turns(1000, all_seen));
    ck_assert_int_eq(seen[0].status, OK);
    ck_assert_uint_eq(seen[0].n, 2);
}
END_TEST

START_TEST(a_reply_without_end_is_cut)
{
    static char endless[(2u << 20) + 16];
    size_t n = (size_t)snprintf(endless, sizeof endless, "$400000000\r\n");
    memset(endless + n, 'x', sizeof endless - n - 1);
    fake_says(endless);
    wanted = 1;
    (void)redis_ask(redis, (struct slice[]){SLICE("GET")}, 1, 5000, on_reply, &seen[0]);
    ck_assert(turns(2000, all_seen));
    ck_assert_int_eq(seen[0].status, ERR_UNAVAILABLE);
}
END_TEST

START_TEST(a_reset_ends_all_that_wait)
{
    fake.reset = true;
    wanted = 50;
    for (int i = 0; i < 50; i++)
        (void)ask(&seen[i]);
    ck_assert(turns(1000, all_seen));
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(seen[i].status, ERR_UNAVAILABLE);
    ask_one(); /* without a connection: at the end of the turn */
    ck_assert_int_eq(seen[0].status, ERR_UNAVAILABLE);
}
END_TEST

START_TEST(commands_of_one_turn_go_out_together)
{
    fake_says(":1\r\n");
    int reads = fake.reads;
    wanted = 200;
    for (int i = 0; i < 200; i++)
        (void)ask(&seen[i]);
    ck_assert(turns(1000, all_seen));
    ck_assert_int_eq(fake.commands, 200);
    ck_assert_int_eq(fake.reads - reads, 1);
    for (int i = 0; i < 200; i++)
        ck_assert_int_eq(seen[i].status, OK);
}
END_TEST

START_TEST(deadlines_pass_and_the_breaker_opens_within_100_ms)
{
    int64_t began = clock_mono_ms(), own_began = own_ms();
    wanted = 100;
    for (int i = 0; i < 100; i++)
        (void)ask(&seen[i]);
    ck_assert(turns(1000, all_seen));
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(seen[i].status, ERR_TIMEOUT);
        ck_assert_int_ge(seen[i].at_ms - began, DEADLINE_MS - 1);
    }
    ck_assert_int_le(own_ms() - own_began, 50);
    ck_assert(redis_is_up(redis));
    ck_assert(turns(1000, is_down));
    ck_assert_int_le(own_ms() - own_began, 100);
    ck_assert_uint_eq(redis_counters(redis).timeouts, 100);
}
END_TEST

START_TEST(a_late_reply_is_nobody_elses)
{
    wanted = 1;
    (void)ask(&seen[0]);
    ck_assert(turns(1000, all_seen));
    ck_assert_int_eq(seen[0].status, ERR_TIMEOUT);
    bufferevent_write(fake.bev, ":1\r\n", 4); /* to the first */
    fake_says(":2\r\n");
    wanted = 2;
    (void)ask(&seen[1]);
    ck_assert(turns(1000, all_seen));
    ck_assert_int_eq(seen[1].status, OK);
    ck_assert_int_eq(seen[1].number, 2);
    ck_assert_int_eq(seen[0].calls, 1);
}
END_TEST

START_TEST(who_cancels_hears_nothing)
{
    fake_says(":1\r\n");
    struct redis_op *op = ask(&seen[0]);
    redis_op_cancel(&op);
    ck_assert_ptr_null(op);
    wanted = 1;
    (void)ask(&seen[1]);
    ck_assert(turns(1000, all_seen));
    ck_assert_int_eq(seen[0].calls, 0);
    redis_reconnect(redis, "a test");
    op = ask(&seen[0]);
    redis_op_cancel(&op);
    (void)turns(20, is_never);
    ck_assert_int_eq(seen[0].calls, 0);
}
END_TEST

static bool three_connections(void)
{
    return fake.connections >= 3;
}

START_TEST(a_greeting_that_fails_is_tried_again)
{
    static const char *const greetings[] = {"-LOADING Redis is loading\r\n", "-NOAUTH Authentication required.\r\n",
                                            "garbage", "-ERR max number of clients reached\r\n"};
    fake.greeting = greetings[_i];
    connect_with(NULL, NULL, 0);
    ck_assert(turns(3000, three_connections));
    ck_assert_int_eq(went_up, 0);
    fake.greeting = PONG;
    ck_assert(turns(2000, is_up));
}
END_TEST

START_TEST(a_server_that_does_not_greet_is_given_a_second)
{
    fake.greeting = NULL;
    connect_with(NULL, NULL, 0);
    int64_t began = clock_mono_ms();
    ck_assert(turns(6000, three_connections));
    ck_assert_int_ge(clock_mono_ms() - began, 2000);
    fake.greeting = PONG;
    ck_assert(turns(2000, is_up));
}
END_TEST

START_TEST(password_and_database_come_first)
{
    fake.greeting = "+OK\r\n+OK\r\n" PONG;
    connect_with("ann", "s3cret", 7);
    ck_assert(turns(2000, is_up));
    ck_assert_int_eq(fake.commands, 2);
}
END_TEST

START_TEST(it_comes_back_within_two_seconds)
{
    fake_hang_up();
    evconnlistener_free(fake.listener);
    fake.listener = NULL;
    ck_assert(turns(1000, is_down));
    (void)turns(1500, is_never);
    fake_listen();
    int64_t began = own_ms();
    ck_assert(turns(3000, is_up));
    ck_assert_int_le(own_ms() - began, 2000);
}
END_TEST

START_TEST(freed_with_all_under_way)
{
    for (int i = 0; i < 10; i++)
        (void)ask(&seen[i]);
    redis_reconnect(redis, "a test");
    for (int i = 10; i < 20; i++)
        (void)ask(&seen[i]);
    redis_free(&redis);
    (void)turns(20, is_never);
    ck_assert_int_eq(n_seen, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway/redis");
    TCase *connected = tcase_create("connected"), *greeting = tcase_create("greeting");

    tcase_add_checked_fixture(connected, setup_connected, teardown);
    tcase_add_loop_test(connected, each_reply_has_its_outcome, 0, (int)N_ELEMENTS(outcomes));
    tcase_add_test(connected, replies_may_come_byte_by_byte);
    tcase_add_test(connected, a_reply_without_end_is_cut);
    tcase_add_test(connected, a_reset_ends_all_that_wait);
    tcase_add_test(connected, commands_of_one_turn_go_out_together);
    tcase_add_test(connected, deadlines_pass_and_the_breaker_opens_within_100_ms);
    tcase_add_test(connected, a_late_reply_is_nobody_elses);
    tcase_add_test(connected, who_cancels_hears_nothing);
    tcase_add_test(connected, it_comes_back_within_two_seconds);
    tcase_add_test(connected, freed_with_all_under_way);
    suite_add_tcase(suite, connected);
    tcase_add_checked_fixture(greeting, setup, teardown);
    tcase_add_loop_test(greeting, a_greeting_that_fails_is_tried_again, 0, 4);
    tcase_add_test(greeting, a_server_that_does_not_greet_is_given_a_second);
    tcase_add_test(greeting, password_and_database_come_first);
    tcase_set_timeout(greeting, 20);
    suite_add_tcase(suite, greeting);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

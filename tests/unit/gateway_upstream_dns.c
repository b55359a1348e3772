/*
 * Name look-ups that take long or lie.  getaddrinfo is this file's own: libcurl
 * calls it, from a thread, in place of the C library's.
 */
#include "gateway/upstream.h"

#include <arpa/inet.h>
#include <check.h>
#include <netdb.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/loop.h"
#include "postern/clock.h"
#include "postern/log.h"
#include "tests/unit/own_time.h"

static struct loop *loop;
static sem_t slow_may_go, slow_went;

/* "slow.test" hangs until it may go; every name stands for 127.0.0.1. */
int getaddrinfo(const char *restrict name, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict out)
{
    (void)service;
    (void)hints;
    if (strcmp(name, "slow.test") == 0) {
        sem_wait(&slow_may_go);
        sem_post(&slow_went);
        return EAI_FAIL;
    }
    struct found {
        struct addrinfo entry;
        struct sockaddr_in in;
    } *found = xcalloc(1, sizeof *found);
    found->in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    found->entry = (struct addrinfo){.ai_family = AF_INET,
                                     .ai_socktype = SOCK_STREAM,
                                     .ai_protocol = IPPROTO_TCP,
                                     .ai_addrlen = sizeof found->in,
                                     .ai_addr = (struct sockaddr *)&found->in};
    *out = &found->entry;
    return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
    free(found);
}

struct seen {
    int calls;
    enum upstream_status status;
    char reason[32];
};

static void on_result(void *arg, const struct upstream_result *r)
{
    struct seen *s = arg;
    s->calls++;
    s->status = r->status;
    snprintf(s->reason, sizeof s->reason, "%s", r->reason);
}

static struct upstream *upstream_to(const char *url)
{
    struct errmsg e;
    struct upstream *u = upstream_new(loop, &(struct upstream_options){.name = "dns", .url = url}, &e);
    ck_assert_ptr_nonnull(u);
    return u;
}

static struct upstream_op *send_one(struct upstream *u, int64_t deadline_ms, struct seen *s)
{
    struct upstream_request req = {.method = "POST", .path_and_query = SLICE("/"), .deadline_ms = deadline_ms};
    *s = (struct seen){0};
    return upstream_send(u, &req, on_result, s);
}

static void setup(void)
{
    loop = loop_new();
    sem_init(&slow_may_go, 0, 0);
    sem_init(&slow_went, 0, 0);
}

static void teardown(void)
{
    loop_free(&loop);
}

START_TEST(slow_look_up_holds_nobody)
{
    struct upstream *u = upstream_to("http://slow.test");
    struct seen late, cancelled;
    struct upstream_op *op = send_one(u, 0, &cancelled);
    int64_t began_ms = own_ms();
    ck_assert_ptr_nonnull(send_one(u, 50, &late));
    while (!late.calls)
        loop_turn(loop, true);
    ck_assert_str_eq(late.reason, "timeout");
    ck_assert_int_eq(late.status, UPSTREAM_NOT_SENT);
    upstream_op_cancel(&op);
    upstream_free(&u);
    ck_assert_int_lt(own_ms() - began_ms, 1000);
    ck_assert_int_lt(loop_take_longest_turn_ms(loop), 500);
    ck_assert_int_eq(cancelled.calls, 0);
    for (int i = 0; i < 2; i++) {
        sem_post(&slow_may_go);
        sem_wait(&slow_went);
    }
}
END_TEST

START_TEST(lying_name_server)
{
    struct upstream *u = upstream_to("http://provider.test");
    struct seen s;
    ck_assert_ptr_nonnull(send_one(u, 0, &s));
    while (!s.calls)
        loop_turn(loop, true);
    ck_assert_str_eq(s.reason, "address_refused");
    ck_assert_int_eq(s.status, UPSTREAM_NOT_SENT);
    upstream_free(&u);
}
END_TEST

int main(void)
{
    log_set_level(LOG_ERROR_);
    Suite *suite = suite_create("gateway_upstream_dns");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 20);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, slow_look_up_holds_nobody);
    tcase_add_test(t, lying_name_server);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

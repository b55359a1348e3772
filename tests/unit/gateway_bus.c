/*
 * The bus: messages arrive whole and in order however the stream is cut, a flood is bounded, and the lease of a worker
 * runs from the instant at which the parent spoke, not from that at which it was heard.
 */
#include <check.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/bus.h"
#include "gateway/bus_pipe.h"
#include "gateway/loop.h"
#include "postern/clock.h"

static int ends[2];

static void pair(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
}

/* --- framing ------------------------------------------------------------------------------ */

struct heard {
    size_t n;
    enum bus_kind kind[64];
    uint64_t id[64];
    char first[64];
    size_t bytes[64];
};

static void hear(const struct bus_message *m, void *arg)
{
    struct heard *h = arg;
    ck_assert_uint_lt(h->n, 64);
    ck_assert_uint_eq((uintptr_t)m->body.p % 8, 0);
    h->kind[h->n] = m->kind;
    h->id[h->n] = m->id;
    h->bytes[h->n] = m->body.n;
    h->first[h->n] = m->body.n > 0 ? m->body.p[0] : '-';
    h->n++;
}

START_TEST(messages_arrive_whole_whatever_the_cut)
{
    /* Taken from a pipe as bytes, and given to another one byte by byte. */
    struct heard h = {0};
    char bytes[4096];
    pair();
    struct bus_pipe *out = bus_pipe_new(ends[0]);
    ck_assert(bus_pipe_send(out, &(struct bus_message){BUS_CHANGED, 7, SLICE("abc")}));
    ck_assert(bus_pipe_send(out, &(struct bus_message){BUS_PING, 8, {0}}));
    ck_assert(bus_pipe_send(out, &(struct bus_message){BUS_DUE, 9, SLICE("12345678")}));
    ssize_t n = read(ends[1], bytes, sizeof bytes);
    ck_assert_int_gt(n, 0);
    close(ends[1]);
    bus_pipe_free(&out);
    pair();
    struct bus_pipe *in = bus_pipe_new(ends[0]);
    for (ssize_t i = 0; i < n; i++) {
        ck_assert_int_eq(write(ends[1], &bytes[i], 1), 1);
        ck_assert(bus_pipe_read(in, hear, &h));
    }
    ck_assert_uint_eq(h.n, 3);
    ck_assert(h.kind[0] == BUS_CHANGED && h.id[0] == 7 && h.bytes[0] == 3 && h.first[0] == 'a');
    ck_assert(h.kind[1] == BUS_PING && h.id[1] == 8 && h.bytes[1] == 0);
    ck_assert(h.kind[2] == BUS_DUE && h.id[2] == 9 && h.bytes[2] == 8 && h.first[2] == '1');
    close(ends[1]);
    ck_assert(!bus_pipe_read(in, hear, &h));
    ck_assert(!bus_pipe_send(in, &(struct bus_message){BUS_PING, 1, {0}}) || !bus_pipe_flush(in));
    bus_pipe_free(&in);
}
END_TEST

START_TEST(what_is_none_of_ours_ends_the_pipe)
{
    static const uint32_t bad[][4] = {{BUS_KIND_N, 0, 0, 0}, {BUS_PING, BUS_BODY_MAX + 1, 0, 0}};
    for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
        struct heard h = {0};
        pair();
        struct bus_pipe *in = bus_pipe_new(ends[0]);
        ck_assert_int_eq(write(ends[1], bad[i], sizeof bad[i]), sizeof bad[i]);
        ck_assert(!bus_pipe_read(in, hear, &h));
        ck_assert_uint_eq(h.n, 0);
        bus_pipe_free(&in);
        close(ends[1]);
    }
}
END_TEST

START_TEST(a_large_message_passes_in_pieces)
{
    struct heard h = {0};
    char *body = calloc(1, BUS_BODY_MAX);
    body[0] = 'x';
    pair();
    struct bus_pipe *out = bus_pipe_new(ends[0]), *in = bus_pipe_new(ends[1]);
    ck_assert(bus_pipe_send(out, &(struct bus_message){BUS_RELOAD, 1, {body, BUS_BODY_MAX}}));
    ck_assert(bus_pipe_is_full(out));
    while (h.n == 0) {
        ck_assert(bus_pipe_flush(out));
        ck_assert(bus_pipe_read(in, hear, &h));
    }
    ck_assert_uint_eq(h.bytes[0], BUS_BODY_MAX);
    ck_assert_int_eq(h.first[0], 'x');
    ck_assert(!bus_pipe_is_full(out));
    bus_pipe_free(&out);
    bus_pipe_free(&in);
    free(body);
}
END_TEST

START_TEST(who_does_not_read_is_given_up)
{
    char body[65536] = {0};
    size_t sent = 0;
    pair();
    struct bus_pipe *out = bus_pipe_new(ends[0]);
    while (bus_pipe_send(out, &(struct bus_message){BUS_CHANGED, sent, {body, sizeof body}}))
        ck_assert_uint_lt(sent++, 1000);
    ck_assert_uint_ge(sent, BUS_QUEUE_MAX / sizeof body - 1);
    close(ends[1]);
    bus_pipe_free(&out);
}
END_TEST

/* --- a worker's end -------------------------------------------------------------------------- */

static struct {
    uint64_t hashes[4];
    size_t n, drains, dues;
    int64_t clock_ms;
    int called;
} seen;

static void on_changed(void *arg, const uint64_t *hashes, size_t n)
{
    (void)arg;
    seen.n = n;
    memcpy(seen.hashes, hashes, n * sizeof *hashes);
}

static void on_clock(void *arg, int64_t now_ms)
{
    (void)arg;
    seen.clock_ms = now_ms;
}

static void on_due(void *arg, const struct bus_due *due)
{
    (void)arg;
    seen.dues += due->at_ms == 17 && due->nth == 1;
}

static void on_drain(void *arg, bool at_once)
{
    (void)arg;
    (void)at_once;
    seen.drains++;
}

static int64_t on_stuck(void *arg)
{
    (void)arg;
    return 42;
}

static const struct bus_user user = {
    .changed = on_changed, .clock = on_clock, .due = on_due, .drain = on_drain, .stuck_ms = on_stuck};

static void on_done(void *arg)
{
    (void)arg;
    seen.called++;
}

static struct loop *loop;
static struct bus *bus;
static struct bus_pipe *parent;
static struct heard heard;

static void setup(void)
{
    seen.n = seen.drains = seen.dues = 0;
    seen.called = 0;
    heard.n = 0;
    loop = loop_new();
    pair();
    bus = bus_new(loop, ends[0], &user, NULL);
    parent = bus_pipe_new(ends[1]);
}

static void teardown(void)
{
    bus_free(&bus);
    bus_pipe_free(&parent);
    loop_free(&loop);
}

static void say(enum bus_kind kind, uint64_t id, const void *body, size_t n)
{
    ck_assert(bus_pipe_send(parent, &(struct bus_message){kind, id, {body, n}}));
    loop_turn(loop, true);
    ck_assert(bus_pipe_read(parent, hear, &heard));
}

static void ping(int64_t sent_ms)
{
    say(BUS_PING, 0, &sent_ms, sizeof sent_ms);
}

START_TEST(the_lease_runs_from_when_the_parent_spoke)
{
    int64_t now = clock_mono_ms();
    ck_assert(!bus_fresh(bus)); /* nobody has spoken yet */
    ping(now);
    ck_assert(bus_fresh(bus));
    ck_assert(heard.kind[0] == BUS_PONG && heard.bytes[0] == 8 && heard.first[0] == 42);
    /* Read late: the process was stopped meanwhile. */
    ping(now - BUS_LEASE_MS);
    ck_assert(!bus_fresh(bus));
    ping(clock_mono_ms() - BUS_LEASE_MS + 30);
    ck_assert(bus_fresh(bus));
    usleep(40000);
    ck_assert(!bus_fresh(bus));
}
END_TEST

START_TEST(a_change_is_applied_before_it_is_said)
{
    uint64_t hashes[] = {1, UINT64_MAX};
    say(BUS_CHANGED, 5, hashes, sizeof hashes);
    ck_assert_uint_eq(seen.n, 2);
    ck_assert_uint_eq(seen.hashes[1], UINT64_MAX);
    ck_assert(heard.n == 1 && heard.kind[0] == BUS_APPLIED && heard.id[0] == 5);
    int64_t now_ms = 12345;
    say(BUS_CLOCK, 6, &now_ms, sizeof now_ms);
    ck_assert_int_eq(seen.clock_ms, 12345);
    ck_assert(heard.n == 2 && heard.kind[1] == BUS_APPLIED && heard.id[1] == 6);
    struct bus_due due = {.at_ms = 17, .nth = 1};
    say(BUS_DUE, 0, &due, sizeof due);
    ck_assert_uint_eq(seen.dues, 1);
}
END_TEST

START_TEST(who_asks_hears_when_it_is_in_force)
{
    uint64_t hash = 3;
    bus_changed(bus, &hash, 1, on_done, NULL);
    bus_changed(bus, &hash, 1, on_done, NULL);
    ck_assert(bus_pipe_read(parent, hear, &heard));
    ck_assert(heard.n == 2 && heard.kind[0] == BUS_CHANGED && heard.id[0] != heard.id[1]);
    loop_turn(loop, false);
    ck_assert_int_eq(seen.called, 0);
    say(BUS_IN_FORCE, heard.id[1], NULL, 0);
    ck_assert_int_eq(seen.called, 1);
    say(BUS_IN_FORCE, heard.id[1], NULL, 0);
    ck_assert_int_eq(seen.called, 1);
    say(BUS_IN_FORCE, heard.id[0], NULL, 0);
    ck_assert_int_eq(seen.called, 2);
}
END_TEST

START_TEST(without_its_parent_a_worker_ends)
{
    ping(clock_mono_ms());
    bus_pipe_free(&parent);
    loop_turn(loop, true);
    ck_assert_uint_eq(seen.drains, 1);
    ck_assert(!bus_fresh(bus));
    bus_changed(bus, &(uint64_t){1}, 1, on_done, NULL); /* nobody can say that it is in force */
    ck_assert_int_eq(seen.called, 0);
}
END_TEST

START_TEST(alone_there_is_nobody_to_tell)
{
    struct bus *alone = bus_new(loop, -1, &user, NULL);
    ck_assert(bus_fresh(alone));
    bus_ready(alone);
    bus_due(alone, &(struct bus_due){.any = 1});
    bus_changed(alone, &(uint64_t){1}, 1, on_done, NULL);
    ck_assert_int_eq(seen.called, 0);
    loop_turn(loop, false);
    ck_assert_int_eq(seen.called, 1);
    bus_clock(alone, 1, on_done, NULL);
    bus_free(&alone);
    loop_turn(loop, false);
    ck_assert_int_eq(seen.called, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gateway_bus");
    TCase *t = tcase_create("framing");
    tcase_add_test(t, messages_arrive_whole_whatever_the_cut);
    tcase_add_test(t, what_is_none_of_ours_ends_the_pipe);
    tcase_add_test(t, a_large_message_passes_in_pieces);
    tcase_add_test(t, who_does_not_read_is_given_up);
    suite_add_tcase(s, t);
    t = tcase_create("worker");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_lease_runs_from_when_the_parent_spoke);
    tcase_add_test(t, a_change_is_applied_before_it_is_said);
    tcase_add_test(t, who_asks_hears_when_it_is_in_force);
    tcase_add_test(t, without_its_parent_a_worker_ends);
    tcase_add_test(t, alone_there_is_nobody_to_tell);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

/*
 * What the store's tests share: a directory of their own, a store in it, requests
 * that are waited for, and a decision with all its parts.  Header only, as each
 * test file is a program.
 */
#ifndef TESTS_STORE_HARNESS_H
#define TESTS_STORE_HARNESS_H

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "postern/policy.h"
#include "postern/store.h"

#define NOW    INT64_C(1800000000000) /* 2027-01-15T08:00:00Z */
#define HOUR   INT64_C(3600000)
#define UNUSED __attribute__((unused))

static char harness_dir[64];
static char harness_url[128];
static char harness_path[96];
static struct store *store;
static struct arena arena; /* of requests */

/* How often a test repeats itself: the environment's say, else as often as CI can afford. */
UNUSED static size_t harness_count(const char *name, size_t count)
{
    const char *text = getenv(name);
    return text == NULL ? count : (size_t)strtoul(text, NULL, 10);
}

UNUSED static void harness_open(int64_t reserve_bytes)
{
    struct errmsg e = {{0}};
    struct store_options o = {.url = harness_url, .reserve_bytes = reserve_bytes, .now_ms = NOW};
    store = store_open(&o, &e);
    ck_assert_msg(store != NULL, "%s", e.text);
}

UNUSED static void harness_new_dir(void)
{
    /* In memory where there is such a disk: thousands of commits, and what is proved is above the disk. */
    snprintf(harness_dir, sizeof harness_dir, "%s/postern-store-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(harness_dir));
    snprintf(harness_path, sizeof harness_path, "%s/postern.db", harness_dir);
    /* Another backend: POSTERN_STORE_URL names an empty database of it. */
    const char *url = getenv("POSTERN_STORE_URL");
    if (url != NULL)
        snprintf(harness_url, sizeof harness_url, "%s", url);
    else
        snprintf(harness_url, sizeof harness_url, "sqlite:%s", harness_path);
}

UNUSED static void harness_remove_dir(void)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock", ".audit-key"};
    for (size_t i = 0; i < N_ELEMENTS(suffixes); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", harness_path, suffixes[i]);
        unlink(path);
    }
    rmdir(harness_dir);
}

UNUSED static void harness_setup(void)
{
    harness_new_dir();
    arena_init(&arena, 64u << 20);
    harness_open(0);
}

UNUSED static void harness_teardown(void)
{
    store_close(&store);
    arena_clear(&arena);
    harness_remove_dir();
}

UNUSED static void harness_reopen(void)
{
    store_close(&store);
    harness_open(0);
}

struct wait {
    int calls;
    enum err status;
};

UNUSED static void on_done(enum err status, void *arg)
{
    struct wait *w = arg;
    w->calls++;
    w->status = status;
}

UNUSED static void poll_store(void)
{
    struct pollfd p = {.fd = store_fd(store), .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, 10000), 1);
    store_poll(store);
}

/* Hand it over and wait for its callback. */
UNUSED static enum err ask(struct store_request *r, enum store_request_kind kind)
{
    struct wait w = {0};
    r->kind = kind;
    r->cb = on_done;
    r->arg = &w;
    store_submit(store, r);
    ck_assert_int_eq(w.calls, 0);
    while (w.calls == 0)
        poll_store();
    ck_assert_int_eq(w.calls, 1);
    return w.status;
}

#define ASK(request, KIND)    ask(&(request)->r, STORE_##KIND)
#define ASK_OK(request, KIND) ck_assert_int_eq(ASK(request, KIND), OK)

UNUSED static struct address address_of(const char *text)
{
    struct address a;
    struct errmsg e;
    ck_assert_int_eq(address_parse(slice_of(text), &a, &e), OK);
    return a;
}

UNUSED static struct category newsletter = {
    .name = "newsletter", .class = CLASS_MARKETING, .obeys_cap = true, .counts = COUNTS_EVERYWHERE};
UNUSED static struct category invoice = {.name = "invoice", .class = CLASS_TRANSACTIONAL, .counts = COUNTS_IN_ANY};
UNUSED static struct category otp = {.name = "code", .class = CLASS_OTP, .counts = COUNTS_NOWHERE};

/* A decision with all that it points to. */
struct sample {
    struct message message;
    struct decision decision;
    struct deferred deferred;
    struct stored_submission submission;
    struct record_decision row;
    struct store_record record;
};

UNUSED static void sample_init(struct sample *s, const char *to, struct category *category, enum outcome outcome)
{
    *s = (struct sample){0};
    s->message.to = address_of(to);
    s->message.channel = s->message.to.kind == ADDRESS_PHONE ? CHANNEL_SMS : CHANNEL_EMAIL;
    s->message.category = category;
    s->message.priority = PRIORITY_P2;
    s->message.field = SLICE("personalizations.0.to.0.email");
    s->decision.outcome = s->decision.would_have = outcome;
    s->decision.policy_version = 7;
    s->row = (struct record_decision){.id = store_decision_id(store),
                                      .message = &s->message,
                                      .decision = &s->decision,
                                      .contact_hash = 0xfedcba9876543210u,
                                      .facts = SLICE("{\"profile_version\":3}")};
    s->record = (struct store_record){.submission_id = SLICE("sub_1"),
                                      .key = SLICE("shop"),
                                      .dialect = SLICE("sendgrid"),
                                      .now_ms = NOW,
                                      .decisions = &s->row,
                                      .n = 1};
    if (outcome == OUTCOME_FORWARD)
        s->row.intent = true;
}

/* Sends of one commit, to one contact; 0: of as many contacts.  Decisions, and those contacts: first, first + 1, ... */
UNUSED static void put_sends_to(uint64_t contact_hash, uint64_t first, size_t n, int64_t at_ms)
{
    struct record_result *results = calloc(n, sizeof *results);
    for (size_t i = 0; i < n; i++)
        results[i] = (struct record_result){.decision = first + i,
                                            .result = RESULT_FORWARDED,
                                            .counts = true,
                                            .contact_hash = contact_hash != 0 ? contact_hash : first + i,
                                            .subject_id = 7,
                                            .channel = CHANNEL_EMAIL,
                                            .class = CLASS_MARKETING,
                                            .category = SLICE("news")};
    struct store_result r = {.now_ms = at_ms, .results = results, .n = n};
    ASK_OK(&r, RESULT);
    free(results);
}

UNUSED static void put_sends(uint64_t first, size_t n, int64_t at_ms)
{
    put_sends_to(0, first, n, at_ms);
}

static const struct stored_field sample_fields[] = {{{"Content-Type", 12}, {"application/json", 16}},
                                                    {{"X-Empty", 7}, {"", 0}}};

/* Deferred until release_at_ms, with its submission. */
UNUSED static void sample_defer(struct sample *s, int64_t release_at_ms)
{
    s->row.intent = false;
    s->decision.outcome = s->decision.would_have = OUTCOME_DEFER;
    s->decision.reason = REASON_QUIET_HOURS;
    s->decision.level = LEVEL_HARD;
    s->decision.release_at_ms = release_at_ms;
    s->deferred = (struct deferred){.kind = DEFERRED_TIMED,
                                    .state = DEFERRED_WAITING,
                                    .kept_id = SLICE("SM0123"),
                                    .key = SLICE("shop"),
                                    .to = s->message.to,
                                    .channel = s->message.channel,
                                    .category = slice_of(s->message.category->name),
                                    .class = s->message.category->class,
                                    .priority = s->message.priority,
                                    .reason = REASON_QUIET_HOURS,
                                    .local_rule = SLICE("fri 08:00 America/New_York"),
                                    .enqueued_at_ms = NOW,
                                    .release_at_ms = release_at_ms,
                                    .deferrals = 1};
    s->submission = (struct stored_submission){.dialect = SLICE("sendgrid"),
                                               .method = SLICE("POST"),
                                               .path = SLICE("/v3/mail/send"),
                                               .fields = sample_fields,
                                               .n_fields = 2,
                                               .body = {"{\"a\":\0\"b\"}", 10}};
    s->row.deferred = &s->deferred;
    s->record.submission = &s->submission;
}

UNUSED static uint64_t put_contact(const char *id, const char *const *addresses, size_t n, uint64_t expected)
{
    struct address list[4];
    for (size_t i = 0; i < n; i++)
        list[i] = address_of(addresses[i]);
    struct store_contact_put put = {.arena = &arena,
                                    .id = slice_of(id),
                                    .account = SLICE("acme"),
                                    .actor = SLICE("admin"),
                                    .expected_version = expected,
                                    .now_ms = NOW,
                                    .addresses = list,
                                    .n_addresses = n};
    ASK_OK(&put, CONTACT_PUT);
    return expected + 1;
}

UNUSED static struct audit_verdict verify(void)
{
    struct audit_verdict v;
    ck_assert_int_eq(store_audit_verify(store, NULL, NULL, &v), OK);
    return v;
}

UNUSED static void assert_chain_holds(void)
{
    struct audit_verdict v = verify();
    ck_assert_msg(v.holds, "%s", v.why.text);
}

UNUSED static const char *decision_json(uint64_t id)
{
    struct store_decision_get get = {.arena = &arena, .id = id};
    ASK_OK(&get, DECISION_GET);
    return get.json.p;
}

#define ASSERT_HAS(text, part) ck_assert_msg(strstr((text), (part)) != NULL, "%s not in %s", (part), (text))

#endif

/*
 * The cache of profiles over a real store: what is cached, what drops it, what it costs.
 */
#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/loop.h"
#include "gateway/profiles.h"
#include "postern/zone.h"

static char dir[64];
static struct loop *loop;
static struct store *store;
static struct profiles *profiles;
static struct arena arena;

static void open_all(size_t cache_bytes)
{
    struct errmsg e;
    char url[128];
    snprintf(dir, sizeof(dir), "/tmp/postern-profiles-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(url, sizeof(url), "sqlite:%s/p.db", dir);
    store = store_open(&(struct store_options){.url = url, .audit_key = SLICE("key"), .now_ms = 1}, &e);
    ck_assert_msg(store != NULL, "%s", e.text);
    loop = loop_new();
    profiles = profiles_new(loop, store, cache_bytes, zone_get("America/New_York"));
    arena_init(&arena, 64u << 20);
}

static void setup(void)
{
    open_all(1u << 20);
}

static void teardown(void)
{
    char command[128];
    static const char *const names[] = {"p.db", "p.db-wal", "p.db-shm", "p.db.key"};
    profiles_free(&profiles);
    store_close(&store);
    loop_free(&loop);
    arena_clear(&arena);
    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        snprintf(command, sizeof(command), "%s/%s", dir, names[i]);
        unlink(command);
    }
    rmdir(dir);
}

static void on_done(enum err status, void *arg)
{
    *(int *)arg = status == OK ? 1 : -1;
}

static void wait_for(int *done)
{
    for (int i = 0; i < 10000 && *done == 0; i++) {
        struct pollfd p = {store_fd(store), POLLIN, 0};
        poll(&p, 1, 1);
        store_poll(store);
        loop_turn(loop, false);
    }
    ck_assert_int_eq(*done, 1);
}

static struct address email(const char *text)
{
    struct address a;
    struct errmsg e;
    ck_assert_int_eq(address_parse(slice_of(text), &a, &e), OK);
    return a;
}

static struct profile fetch(const char *text)
{
    struct address to = email(text);
    struct profile p;
    int done = 0;
    (void)profiles_fetch(profiles, &to, &arena, &p, on_done, &done);
    ck_assert_int_eq(done, 0); /* never before it returns */
    wait_for(&done);
    return p;
}

static void opt_out(const char *text)
{
    int done = 0;
    struct store_opt_out_add add = {
        .r = {.kind = STORE_OPT_OUT_ADD, .cb = on_done, .arg = &done},
        .arena = &arena,
        .address = email(text),
        .opt_out = {.scope = SCOPE_GLOBAL, .any_channel = true, .source = SOURCE_CUSTOMER, .at_ms = 5},
        .now_ms = 5,
    };
    store_submit(store, &add.r);
    wait_for(&done);
    for (size_t i = 0; i < add.n_touched; i++)
        profiles_drop(profiles, profiles_hash(&add.touched[i]));
}

START_TEST(nobody_is_cached_too)
{
    struct address to = email("ann@example.com");
    struct profile p;
    ck_assert(!profiles_get(profiles, &to, &arena, &p));
    p = fetch("ann@example.com");
    ck_assert_int_eq(p.known, UNKNOWN);
    ck_assert(profiles_get(profiles, &to, &arena, &p));
    ck_assert_uint_eq(profiles_state(profiles).entries, 1);
    ck_assert_str_eq(p.zones[0]->name, "America/New_York");
}
END_TEST

START_TEST(an_opt_out_is_seen_at_once_in_every_spelling)
{
    static const char *const spellings[] = {"ann@example.com", "Ann@Example.com", "ann+news@example.com"};
    for (size_t i = 0; i < N_ELEMENTS(spellings); i++)
        ck_assert_uint_eq(fetch(spellings[i]).n_opt_outs, 0);
    uint64_t before = profiles_epoch(profiles);
    opt_out("ANN@example.com");
    for (size_t i = 0; i < N_ELEMENTS(spellings); i++) {
        struct address to = email(spellings[i]);
        struct profile p;
        ck_assert(profiles_dropped_since(profiles, &to, before));
        ck_assert(!profiles_get(profiles, &to, &arena, &p));
        p = fetch(spellings[i]);
        ck_assert_uint_eq(p.n_opt_outs, 1);
        ck_assert_int_eq(p.opt_outs[0].scope, SCOPE_GLOBAL);
    }
    struct address other = email("bob@example.com");
    ck_assert(!profiles_dropped_since(profiles, &other, before));
}
END_TEST

START_TEST(a_contact_comes_back_from_the_cache_as_it_was)
{
    int done = 0;
    struct address to = email("ann@example.com");
    struct preference wishes[] = {
        {.key = PREFERENCE_ZONE,
         .text = SLICE("Asia/Kathmandu"),
         .source = SOURCE_CUSTOMER,
         .confidence = CONFIDENCE_HIGH,
         .at_ms = 7},
        {.key = PREFERENCE_MAX_PER_DAY,
         .specificity = SPECIFICITY_CHANNEL,
         .scope = SLICE("email"),
         .text = SLICE("2"),
         .source = SOURCE_AGENT,
         .authority = AUTHORITY_AGENT,
         .at_ms = 8},
    };
    struct store_contact_put put = {
        .r = {.kind = STORE_CONTACT_PUT, .cb = on_done, .arg = &done},
        .arena = &arena,
        .id = SLICE("c1"),
        .account = SLICE("acme"),
        .now_ms = 9,
        .addresses = &to,
        .n_addresses = 1,
        .preferences = wishes,
        .n_preferences = N_ELEMENTS(wishes),
    };
    store_submit(store, &put.r);
    wait_for(&done);
    (void)fetch("ann@example.com");
    struct profile p;
    ck_assert(profiles_get(profiles, &to, &arena, &p));
    ck_assert_int_eq(p.known, KNOWN);
    ck_assert(slice_eq_cstr(p.contact_id, "c1"));
    ck_assert(slice_eq_cstr(p.account, "acme"));
    ck_assert_uint_eq(p.n_preferences, 2);
    ck_assert_uint_eq(p.n_zones, 1);
    ck_assert_str_eq(p.zones[0]->name, "Asia/Kathmandu");
    for (size_t i = 0; i < p.n_preferences; i++) {
        const struct preference *v = &p.preferences[i];
        if (v->key != PREFERENCE_MAX_PER_DAY)
            continue;
        ck_assert_int_eq(v->specificity, SPECIFICITY_CHANNEL);
        ck_assert(slice_eq_cstr(v->scope, "email"));
        ck_assert(slice_eq_cstr(v->text, "2"));
        ck_assert_int_eq(v->authority, AUTHORITY_AGENT);
        ck_assert_int_eq(v->at_ms, 8);
    }
}
END_TEST

START_TEST(a_cancelled_fetch_never_calls)
{
    struct address to = email("ann@example.com");
    struct profile p;
    int cancelled = 0;
    struct profiles_op *op = profiles_fetch(profiles, &to, &arena, &p, on_done, &cancelled);
    profiles_cancel(&op);
    (void)fetch("bob@example.com"); /* the store answers in order: the cancelled one came back before */
    ck_assert_int_eq(cancelled, 0);
}
END_TEST

START_TEST(memory_is_bounded_and_the_used_ones_stay)
{
    char text[64];
    (void)fetch("often@example.com");
    for (int i = 0; i < 20000; i++) {
        struct address often = email("often@example.com");
        struct profile p;
        snprintf(text, sizeof(text), "user%d@example.com", i);
        (void)fetch(text);
        ck_assert(profiles_get(profiles, &often, &arena, &p));
        if (i % 1000 == 0) {
            arena_clear(&arena);
            arena_init(&arena, 64u << 20);
        }
    }
    struct profiles_state s = profiles_state(profiles);
    ck_assert_uint_le(s.bytes, 1u << 20);
    ck_assert_uint_gt(s.evictions, 0);
    ck_assert_uint_gt(s.entries, 4000);
}
END_TEST

START_TEST(a_number_says_its_country_and_the_zones_it_may_mean)
{
    static const struct {
        const char *number, *country, *zone;
        size_t at_least;
    } rows[] = {
        {"+15550100001", "US", "Pacific/Honolulu", 7},    {"+442071838750", "GB", "Europe/London", 1},
        {"+33123456789", "FR", "Europe/Paris", 1},        {"+61291234567", "AU", "Australia/Perth", 6},
        {"+27111234567", "ZA", "Africa/Johannesburg", 1}, {"+821012345678", "KR", "Asia/Seoul", 1},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct profile p = fetch(rows[i].number);
        bool found = false;
        for (size_t z = 0; z < p.n_zones; z++)
            found |= strcmp(p.zones[z]->name, rows[i].zone) == 0;
        ck_assert_msg(found, "%s: %s", rows[i].number, rows[i].zone);
        ck_assert_uint_ge(p.n_zones, rows[i].at_least);
        ck_assert_str_eq(p.n_regions == 0 ? "" : p.regions[0].country, rows[i].country);
        ck_assert_int_eq(p.zone_basis, ZONE_BASIS_COUNTRY);
    }
}
END_TEST

START_TEST(all_can_be_dropped_at_once)
{
    struct profile p;
    char text[32];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 200; i++) {
            snprintf(text, sizeof text, "p%d@example.com", i);
            (void)fetch(text);
        }
        ck_assert_uint_eq(profiles_state(profiles).entries, 200);
        uint64_t before = profiles_epoch(profiles);
        profiles_drop_all(profiles);
        ck_assert_uint_eq(profiles_state(profiles).entries, 0);
        for (int i = 0; i < 200; i++) {
            snprintf(text, sizeof text, "p%d@example.com", i);
            struct address to = email(text);
            ck_assert(profiles_dropped_since(profiles, &to, before));
            ck_assert(!profiles_get(profiles, &to, &arena, &p));
        }
    }
}
END_TEST

/* Another process commits between our store's read and its end: what was read must not be cached. */
START_TEST(what_is_dropped_while_it_is_read_is_read_again)
{
    struct address to = email("ann@example.com");
    struct profile p;
    int done = 0;
    (void)profiles_fetch(profiles, &to, &arena, &p, on_done, &done);
    struct pollfd fd = {store_fd(store), POLLIN, 0};
    ck_assert_int_eq(poll(&fd, 1, 5000), 1); /* it was read, as it is now; nobody has looked at it yet */
    int added = 0;
    struct store_opt_out_add add = {
        .r = {.kind = STORE_OPT_OUT_ADD, .cb = on_done, .arg = &added},
        .arena = &arena,
        .address = to,
        .opt_out = {.scope = SCOPE_GLOBAL, .any_channel = true, .source = SOURCE_CUSTOMER, .at_ms = 5},
        .now_ms = 5,
    };
    profiles_drop(profiles, profiles_hash(&to));
    store_submit(store, &add.r);
    wait_for(&done);
    ck_assert_uint_eq(p.n_opt_outs, 1);
    wait_for(&added);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway/profiles");
    TCase *t = tcase_create("cache");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, nobody_is_cached_too);
    tcase_add_test(t, an_opt_out_is_seen_at_once_in_every_spelling);
    tcase_add_test(t, a_contact_comes_back_from_the_cache_as_it_was);
    tcase_add_test(t, a_cancelled_fetch_never_calls);
    tcase_add_test(t, memory_is_bounded_and_the_used_ones_stay);
    tcase_add_test(t, all_can_be_dropped_at_once);
    tcase_add_test(t, what_is_dropped_while_it_is_read_is_read_again);
    tcase_add_test(t, a_number_says_its_country_and_the_zones_it_may_mean);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

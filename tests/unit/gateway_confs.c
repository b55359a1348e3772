/* Configurations in use: who holds one keeps it, providers with the same settings are shared, fixed keys are refused.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/confs.h"
#include "gateway/loop.h"

#define LISTEN "listen: { http: \"127.0.0.1:8080\" }\n"
#define REST                                                                                                           \
    "categories: [{ name: news, class: marketing }]\n"                                                                 \
    "keys: [{ name: shop, secret: 0123456789abcdef0123, roles: [sender] }]\n"
#define MAIL(secret, ms)                                                                                               \
    "providers: [{ name: mail, kind: sendgrid, url: \"http://127.0.0.1:1\", secret: " secret ", total_ms: " ms " }]\n" \
    "routes: { email: mail }\n"

static struct conf *load(const char *text, const struct conf *running)
{
    struct errmsg e;
    struct conf *c = conf_load_bytes("postern.yaml", slice_of(text), running, &e);
    ck_assert_msg(c != NULL, "%s", e.text);
    return c;
}

static struct upstream *mail_of(const struct conf *c)
{
    return confs_upstream(c, c->route[CHANNEL_EMAIL]);
}

START_TEST(users)
{
    struct loop *loop = loop_new();
    struct confs *confs = confs_new(loop);
    struct errmsg e;
    struct conf *first = load(LISTEN REST MAIL("\"0123456789\"", "1000"), NULL);
    ck_assert_int_eq(confs_open(confs, first, NULL, &e), OK);
    struct conf *held = confs_hold(first), *same = load(LISTEN REST MAIL("\"9876543210\"", "1000"), first);
    struct upstream *mail = mail_of(first);
    ck_assert_int_eq(confs_open(confs, same, first, &e), OK);
    ck_assert_ptr_eq(mail_of(same), mail); /* another login is no other provider */
    struct conf *other = load(LISTEN REST MAIL("\"9876543210\"", "2000"), same);
    ck_assert_int_eq(confs_open(confs, other, same, &e), OK);
    ck_assert_ptr_ne(mail_of(other), mail);
    ck_assert_uint_eq(confs_count(confs), 3);

    confs_drop(&first);
    loop_turn(loop, false);
    ck_assert_uint_eq(confs_count(confs), 3); /* somebody holds it */
    confs_drop(&held);
    ck_assert_uint_eq(confs_count(confs), 3); /* until the end of the turn */
    loop_turn(loop, false);
    ck_assert_uint_eq(confs_count(confs), 2);
    ck_assert_ptr_eq(mail_of(same), mail);
    confs_drop(&same);
    loop_turn(loop, false);
    ck_assert_uint_eq(confs_count(confs), 1);
    ck_assert(first == NULL && held == NULL && same == NULL);
    confs_free(&confs); /* the last one with it */
    loop_free(&loop);
}
END_TEST

/* A relay's connections log in: they are kept only while login and starttls stay. */
START_TEST(relays)
{
#define RELAY(secret, more)                                                                                            \
    LISTEN REST                                                                                                        \
        "providers: [{ name: mx, kind: smtp, url: \"smtp://127.0.0.1:1\", account: apikey, secret: " secret more       \
        " }]\nroutes: { smtp: mx }\n"
    static const char *const changed[] = {
        RELAY("\"9876543210\"", ""),
        RELAY("\"0123456789\"", ", starttls: true"),
    };
    struct loop *loop = loop_new();
    struct confs *confs = confs_new(loop);
    struct errmsg e;
    struct conf *first = load(RELAY("\"0123456789\"", ""), NULL);
    ck_assert_int_eq(confs_open(confs, first, NULL, &e), OK);
    struct conf *same = load(RELAY("\"0123456789\"", "") "log_level: debug\n", first);
    ck_assert_int_eq(confs_open(confs, same, first, &e), OK);
    ck_assert_ptr_eq(confs_upstream(same, same->route_smtp), confs_upstream(first, first->route_smtp));
    for (size_t i = 0; i < N_ELEMENTS(changed); i++) {
        struct conf *other = load(changed[i], first);
        ck_assert_int_eq(confs_open(confs, other, first, &e), OK);
        ck_assert_msg(confs_upstream(other, other->route_smtp) != confs_upstream(first, first->route_smtp), "%zu", i);
    }
    confs_free(&confs);
    loop_free(&loop);
}
END_TEST

START_TEST(a_provider_that_cannot_be_opened)
{
    struct loop *loop = loop_new();
    struct confs *confs = confs_new(loop);
    struct errmsg e = {{0}};
    struct conf *c = load(LISTEN REST MAIL("\"0123456789\"", "1000"), NULL);
    ((struct conf_provider *)c->route[CHANNEL_EMAIL])->ca_file = "/nonexistent";
    ck_assert_int_ne(confs_open(confs, c, NULL, &e), OK);
    ck_assert_msg(strstr(e.text, "/nonexistent") != NULL, "%s", e.text);
    ck_assert_uint_eq(confs_count(confs), 0);
    conf_free(&c);
    confs_free(&confs);
    loop_free(&loop);
}
END_TEST

START_TEST(fixed)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"listen: { http: \"127.0.0.1:8081\" }\n" REST, "postern.yaml:1: listen.http: "},
        {"listen: { http: \"127.0.0.1:8080\", smtp: \"127.0.0.1:25\" }\n" REST, "postern.yaml:1: listen.smtp: "},
        {LISTEN REST "store: \"sqlite:other.db\"\n", "postern.yaml:4: store: "},
        {LISTEN REST "clock: settable\n", "postern.yaml:4: clock: "},
        {LISTEN REST "audit_key: 0123456789abcdef0123456789abcdef\n", "postern.yaml:4: audit_key: "},
        {LISTEN REST "counters: \"redis://127.0.0.1/0\"\n", "postern.yaml:4: counters: "},
        {LISTEN REST "counters: \"redis://127.0.0.1/0\"\nworkers: 2\n", "postern.yaml:5: workers: "},
    };
    struct conf *running = load(LISTEN REST, NULL);
    struct errmsg e;
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        ck_assert(conf_load_bytes("postern.yaml", slice_of(rows[i].text), running, &e) == NULL);
        ck_assert_msg(strncmp(e.text, rows[i].why, strlen(rows[i].why)) == 0, "%s", e.text);
        ck_assert_msg(strstr(e.text, "restart to change it") != NULL, "%s", e.text);
        struct conf *fresh = load(rows[i].text, NULL); /* at a start it is good */
        conf_free(&fresh);
    }
    struct conf *same =
        load(LISTEN REST "log_level: debug\nlimits: { head_ms: 5000, cache_bytes: 2000000 }\n", running);
    conf_free(&same);
    conf_free(&running);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("confs");
    TCase *tc = tcase_create("confs");
    tcase_add_test(tc, users);
    tcase_add_test(tc, relays);
    tcase_add_test(tc, a_provider_that_cannot_be_opened);
    tcase_add_test(tc, fixed);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

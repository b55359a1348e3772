/*
 * Configurations that are refused, and with which words: the cases of tests/conf.
 */
#include "gateway_conf.h"

static void check_refused(const char *want)
{
    struct errmsg e = {""};
    struct conf *c = conf_load(file, &e);
    ck_assert_msg(c == NULL, "was taken; expected %s", want);
    ck_assert_str_eq(e.text, want);
}

struct refusal {
    char text[2048];
    char error[512]; /* what stands behind the file's name */
};

/* Copies src with $BASE replaced. */
static void fill(char *out, size_t size, const char *src, size_t n, const char *base)
{
    const char *mark = n >= 5 && strncmp(src, "$BASE", 5) == 0 ? base : "";
    size_t skip = mark[0] != '\0' ? strlen("$BASE\n") : 0;
    int written = snprintf(out, size, "%s%.*s", mark, (int)(n - skip), src + skip);
    ck_assert_int_lt(written, (int)size);
}

/* The case that begins at "=== "; returns where it ends. */
static const char *read_case(const char *at, const char *base, struct refusal *out)
{
    const char *text = strchr(at, '\n') + 1;
    const char *error = strstr(text - 1, "\n--- ");
    ck_assert_msg(error != NULL, "no error after: %.60s", at);
    error++;
    const char *end = strchr(error, '\n');
    fill(out->text, sizeof out->text, text, (size_t)(error - text), base);
    snprintf(out->error, sizeof out->error, "%.*s", (int)(end - error) - 4, error + 4);
    return end;
}

static void each_case(const char *cases, const char *base, void (*check)(const struct refusal *))
{
    char path[256];
    static char all[65536];
    size_t count = 0;

    snprintf(path, sizeof path, TESTS_DIR "/conf/%s", cases);
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s cannot be opened", path);
    size_t n = fread(all, 1, sizeof all - 1, f);
    fclose(f);
    ck_assert_uint_lt(n, sizeof all - 1);
    all[n] = '\0';
    for (const char *at = strstr(all, "\n=== "); at != NULL; at = strstr(at, "\n=== ")) {
        struct refusal r;
        at = read_case(at + 1, base, &r);
        check(&r);
        count++;
    }
    ck_assert_uint_gt(count, 10);
}

static void check_configuration(const struct refusal *r)
{
    char want[640];
    write_file(file, r->text);
    snprintf(want, sizeof want, "%s%s", file, r->error);
    check_refused(want);
}

static void check_pack(const struct refusal *r)
{
    char want[640];
    write_file(pack, r->text);
    snprintf(want, sizeof want, "%s%s", pack, r->error);
    check_refused(want);
}

START_TEST(refused)
{
    each_case("refused.cases", "listen: { http: 127.0.0.1:0 }\n# BASE\n", check_configuration);
}
END_TEST

/* A pack whose last rule is not finished: what is one of hours, cap, ... comes next. */
START_TEST(packs_refused)
{
    write_file(file, "listen: { http: 127.0.0.1:0 }\npolicy: { packs: [test] }\n");
    each_case("packs_refused.cases", PACK_BASE, check_pack);
}
END_TEST

START_TEST(pack_that_is_not_there)
{
    char want[320];
    write_file(file, "listen: { http: 127.0.0.1:0 }\npolicy:\n  packs: [us-federal]\n");
    snprintf(want, sizeof want, "%s:3: policy.packs[0]: %s/rules/us-federal.yaml: cannot be opened: %s", file, dir,
             "No such file or directory");
    check_refused(want);
}
END_TEST

START_TEST(files_refused)
{
    char want[320];

    snprintf(want, sizeof want, "%s: cannot be opened: No such file or directory", file);
    check_refused(want);

    /* A good beginning does not help a file that is too large. */
    FILE *f = fopen(file, "w");
    ck_assert_ptr_nonnull(f);
    fputs("listen: { http: 127.0.0.1:0 }\n", f);
    for (int i = 0; i < 1048576 / 16; i++)
        fputs("# 3456789012345\n", f);
    fclose(f);
    snprintf(want, sizeof want, "%s: is larger than 1048576 bytes", file);
    check_refused(want);

    write_file(file, "listen: { http: 127.0.0.1:0 }\nstore: \"sqlite:\xff\"\n");
    snprintf(want, sizeof want, "%s:2: not YAML: invalid leading UTF-8 octet", file);
    check_refused(want);

    struct errmsg e = {""};
    ck_assert_ptr_null(conf_load(dir, &e));
    snprintf(want, sizeof want, "%s: cannot be read: Is a directory", dir);
    ck_assert_str_eq(e.text, want);

    /* Of a long path the end is shown: the error behind it has room. */
    char path[300];
    snprintf(path, sizeof path, "/nonexistent/%0200d/postern.yaml", 7);
    ck_assert_ptr_null(conf_load(path, &e));
    ck_assert_msg(slice_starts(slice_of(e.text), "...000"), "%s", e.text);
    ck_assert_ptr_nonnull(strstr(e.text, "7/postern.yaml: cannot be opened: No such file or directory"));
}
END_TEST

START_TEST(bytes_refused)
{
    static char large[1048577];
    struct errmsg e;
    ck_assert_ptr_null(conf_load_bytes("x.yaml", (struct slice){NULL, 0}, NULL, &e));
    ck_assert_str_eq(e.text, "x.yaml: is empty");
    memset(large, '#', sizeof large);
    ck_assert_ptr_null(conf_load_bytes("x.yaml", (struct slice){large, sizeof large}, NULL, &e));
    ck_assert_str_eq(e.text, "x.yaml: is larger than 1048576 bytes");
}
END_TEST

START_TEST(secrets_with_controls)
{
    struct errmsg e;
    setenv("POSTERN_TEST_NOTHING", "a secret\x01with a control", 1);
    write_file(file, "listen: { http: 127.0.0.1:0 }\nkeys:\n"
                     "  - { name: a, secret: \"env:POSTERN_TEST_NOTHING\", roles: [sender] }\n");
    ck_assert_ptr_null(conf_load(file, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "keys[0].secret: the secret holds control characters"));
    unsetenv("POSTERN_TEST_NOTHING");
}
END_TEST

START_TEST(no_secret_in_errors)
{
    struct errmsg e = {""};
    write_file(file, "listen: { http: 127.0.0.1:0 }\nkeys:\n"
                     "  - { name: a, secret: hunter2hunter2hunter2, roles: [sender] }\n"
                     "  - { name: b, secret: hunter2hunter2hunter2, roles: [sender] }\n");
    ck_assert_ptr_null(conf_load(file, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "keys[1].secret"));
    ck_assert_ptr_null(strstr(e.text, "hunter2"));
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("conf");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, refused);
    tcase_add_test(t, packs_refused);
    tcase_add_test(t, pack_that_is_not_there);
    tcase_add_test(t, files_refused);
    tcase_add_test(t, no_secret_in_errors);
    tcase_add_test(t, bytes_refused);
    tcase_add_test(t, secrets_with_controls);
    Suite *s = suite_create("gateway_conf_refused");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

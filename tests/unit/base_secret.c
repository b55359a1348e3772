/* Secrets: the three kinds of reference, what is refused, and that no error text holds the value. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/secret.h"

static char path[64];
static char ref[80];

static void setup(void)
{
    snprintf(path, sizeof path, "/tmp/postern_secret_XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ne(fd, -1);
    close(fd);
    snprintf(ref, sizeof ref, "file:%s", path);
}

static void teardown(void)
{
    unlink(path);
}

static void fill(const void *bytes, size_t n, mode_t mode)
{
    ck_assert_int_eq(chmod(path, 0600), 0);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(chmod(path, mode), 0);
}

static void check_refused(const char *reference, const char *says)
{
    struct errmsg e = {""};
    char *s = secret_load(reference, &e);
    ck_assert_msg(s == NULL, "%s was taken", reference);
    ck_assert_msg(strstr(e.text, says) != NULL, "%s: %s", reference, e.text);
    ck_assert_ptr_null(strstr(e.text, "hunter2"));
}

static void check_loaded(const char *reference, const char *want)
{
    struct errmsg e = {""};
    AUTO(secret_free) char *s = secret_load(reference, &e);
    ck_assert_msg(s != NULL, "%s", e.text);
    ck_assert_str_eq(s, want);
}

START_TEST(files)
{
    fill("hunter2\n", 8, 0600);
    check_loaded(ref, "hunter2");
    fill("hunter2", 7, 0400);
    check_loaded(ref, "hunter2");
    fill(" hunter2 \n\n", 11, 0600);
    check_loaded(ref, " hunter2 \n");
    fill("hunter2", 7, 0640);
    check_refused(ref, "mode 0640");
    fill("hunter2", 7, 0604);
    check_refused(ref, "0600 or stricter");
    fill("hunter2", 7, 0700);
    check_refused(ref, "mode 0700");
    fill("", 0, 0600);
    check_refused(ref, "1 to 4096");
    fill("\n", 1, 0600);
    check_refused(ref, "1 to 4096");
    fill("hunter2\0x", 9, 0600);
    check_refused(ref, "without NUL");
}
END_TEST

START_TEST(file_sizes)
{
    char text[SECRET_MAX + 100];
    memset(text, 'x', sizeof text);
    text[SECRET_MAX] = '\n';
    fill(text, SECRET_MAX + 1, 0600);
    text[SECRET_MAX] = '\0';
    check_loaded(ref, text);
    text[SECRET_MAX] = 'x';
    fill(text, SECRET_MAX + 1, 0600);
    check_refused(ref, "1 to 4096");
    fill(text, sizeof text, 0600);
    check_refused(ref, "1 to 4096");
}
END_TEST

START_TEST(no_file)
{
    check_refused("file:/nonexistent/secret", "No such file");
    check_refused("file:relative", "absolute");
    check_refused("file:", "absolute");
    check_refused("file:/tmp", "regular file");
    unlink(path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    check_refused(ref, "regular file");
}
END_TEST

START_TEST(credentials)
{
    char name[64];
    snprintf(name, sizeof name, "credential:%s", strrchr(path, '/') + 1);
    check_refused(name, "LoadCredential=");
    ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", "/tmp", 1), 0);
    fill("hunter2", 7, 0440);
    check_loaded(name, "hunter2");
    check_refused(ref, "mode 0440");
    fill("hunter2", 7, 0444);
    check_refused(name, "mode 0444");
    check_refused("credential:nonexistent-postern", "No such file");
    check_refused("credential:../tmp/x", "without a slash");
    check_refused("credential:", "without a slash");
    unsetenv("CREDENTIALS_DIRECTORY");
}
END_TEST

START_TEST(environment_and_value)
{
    ck_assert_int_eq(setenv("POSTERN_TEST_SECRET", "hunter2", 1), 0);
    check_loaded("env:POSTERN_TEST_SECRET", "hunter2");
    ck_assert_int_eq(setenv("POSTERN_TEST_SECRET", "", 1), 0);
    check_refused("env:POSTERN_TEST_SECRET", "1 to 4096");
    ck_assert_int_eq(unsetenv("POSTERN_TEST_SECRET"), 0);
    check_refused("env:POSTERN_TEST_SECRET", "no such environment variable");
    check_refused("env:", "no such environment variable");
    check_loaded("hunter2", "hunter2");
    check_refused("", "1 to 4096");
    char *none = NULL;
    secret_free(&none);
    ck_assert_ptr_null(none);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("secret");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, files);
    tcase_add_test(tests, file_sizes);
    tcase_add_test(tests, no_file);
    tcase_add_test(tests, credentials);
    tcase_add_test(tests, environment_and_value);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

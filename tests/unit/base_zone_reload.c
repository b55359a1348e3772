/* tzdata changes while zones are held: in a directory of its own, written by zic(8) as a package would. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "postern/zone.h"

static char dir[] = "/tmp/postern-zones-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[256], fresh[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(fresh, sizeof fresh, "%s/.fresh", dir);
    FILE *f = fopen(fresh, "w");
    ck_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
    ck_assert_int_eq(rename(fresh, path), 0);
}

static void compile(const char *source)
{
    write_file("source", source);
    pid_t pid = fork();
    if (pid == 0) {
        char path[256];
        snprintf(path, sizeof path, "%s/source", dir);
        execl("/usr/sbin/zic", "zic", "-d", dir, path, (char *)NULL);
        _exit(127);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

/* The names are tzdata.zi's; zic writes the files. */
static void install(const char *version, const char *names, const char *source)
{
    char text[512];
    snprintf(text, sizeof text, "# version %s\nZ UTC 0 - UTC\n%s", version, names);
    compile(source);
    write_file("tzdata.zi", text);
}

static void adopt(void)
{
    struct zone_tables *t = zone_data_read();
    ck_assert(t != NULL);
    zone_data_adopt(&t);
    ck_assert(t == NULL && !zone_data_changed());
}

#define UTC_ZONE "Zone UTC 0 - UTC\n"

START_TEST(zones_follow)
{
    install("2025b", "Z Here/City -8 - PST\nZ Gone/City 1 - CET\nL Here/City Here/Alias\n",
            UTC_ZONE "Zone Here/City -8 - PST\nZone Gone/City 1 - CET\nLink Here/City Here/Alias\n");
    ck_assert_uint_eq(zone_load_all(), 4);
    const struct zone *city = zone_get("Here/City"), *alias = zone_get("Here/Alias"), *gone = zone_get("Gone/City");
    ck_assert(city != NULL && alias != NULL && gone != NULL && zone_get("New/City") == NULL);
    ck_assert_int_eq(zone_offset_s(city, 1800000000), -8 * 3600);
    ck_assert(!zone_data_changed());

    install("2026f", "Z Here/City -7 - MST\nZ New/City 3 - MSK\nL Here/City Here/Alias\n",
            UTC_ZONE "Zone Here/City -7 - MST\nZone New/City 3 - MSK\nLink Here/City Here/Alias\n");
    ck_assert(zone_data_changed());
    ck_assert_str_eq(zone_data_version(), "2025b");
    adopt();
    ck_assert_str_eq(zone_data_version(), "2026f");
    ck_assert_ptr_eq(zone_get("Here/City"), city);
    ck_assert_ptr_eq(zone_get("Here/Alias"), alias);
    ck_assert_ptr_eq(zone_get("Gone/City"), gone);
    ck_assert_int_eq(zone_offset_s(city, 1800000000), -7 * 3600);
    ck_assert_int_eq(zone_offset_s(alias, 1800000000), -7 * 3600);
    ck_assert_int_eq(zone_offset_s(gone, 1800000000), 3600);
    ck_assert_int_eq(zone_offset_s(zone_get("New/City"), 1800000000), 3 * 3600);

    /* A file of a name goes: who holds the zone keeps its last table. */
    char path[256];
    snprintf(path, sizeof path, "%s/New/City", dir);
    const struct zone *fresh = zone_get("New/City");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert(zone_data_changed());
    adopt();
    ck_assert_ptr_eq(zone_get("New/City"), fresh);
    ck_assert_int_eq(zone_offset_s(fresh, 1800000000), 3 * 3600);
}
END_TEST

START_TEST(nothing_there)
{
    char path[256];
    install("2025b", "Z Here/City -8 - PST\n", UTC_ZONE "Zone Here/City -8 - PST\n");
    ck_assert_uint_ge(zone_load_all(), 2);
    snprintf(path, sizeof path, "%s/tzdata.zi", dir);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert(zone_data_changed());
    struct zone_tables *t = zone_data_read();
    zone_data_free(&t);
    ck_assert(zone_get("Here/City") != NULL);
}
END_TEST

int main(void)
{
    if (mkdtemp(dir) == NULL || setenv("TZDIR", dir, 1) != 0)
        return EXIT_FAILURE;
    Suite *suite = suite_create("zone_reload");
    TCase *tc = tcase_create("zone_reload");
    tcase_add_test(tc, zones_follow);
    tcase_add_test(tc, nothing_there);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    char command[64];
    snprintf(command, sizeof command, "%s", dir);
    execl("/bin/rm", "rm", "-rf", failed == 0 ? command : "/nonexistent", (char *)NULL);
    return EXIT_FAILURE;
}

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

/* As somebody edited it by hand, or as a version to come may be: what cannot be read is passed over. */
START_TEST(odd_lines)
{
#define LONG_NAME "Long/NameNameNameNameNameNameNameNameNameNameNameNameNameNameNameNameNameNameNameNameName"
    install("2026a",
            "# version 2026b\n# redo posix_only\nZ\nL\nL UTC\nZ Factory 0 - -00\nZ " LONG_NAME " 0 - X\nL " LONG_NAME
            " Some/Alias\nZ Here/City -8 - PST\nZ Not/Installed 1 - CET\nL Here/City A/City\nL A/City B/City\n"
            "L Not/Installed Also/Not\nL Here/City There/City\n",
            UTC_ZONE
            "Zone Here/City -8 - PST\nLink Here/City A/City\nLink Here/City B/City\nLink Here/City There/City\n");
    write_file("zone.tab", "# comment\nXX\t+1-1\nXX\t+1-1\t" LONG_NAME "\nXXX\t+1-1\tHere/City\n"
                           "XX\t+1-1\tNot/Installed\nXX\t+1-1\tHere/City\tcomment\n");
    ck_assert(!zone_data_changed()); /* nobody has looked yet */
    const struct zone *zones[4];
    ck_assert_str_eq(zone_data_version(), "2026a");
    ck_assert_int_gt(zone_data_made_ms(), 0);
    ck_assert_uint_eq(zone_of_country("XX", zones, 4), 1);
    ck_assert_str_eq(zones[0]->name, "Here/City");
    ck_assert_uint_eq(zone_of_country("XX", zones, 0), 0);
    ck_assert(zone_get("Factory") == NULL && zone_get("Some/Alias") == NULL && zone_get(LONG_NAME) == NULL);
    ck_assert(zone_get("Also/Not") == NULL && zone_get("Not/Installed") == NULL);
    const struct zone *of_link = zone_get("B/City");
    ck_assert(of_link != NULL && zone_offset_s(of_link, 1800000000) == -8 * 3600);
    /* Of names that are as near, one of a zone comes before a link's, and one that is installed before one that is not.
     */
    ck_assert_str_eq(zone_suggest("City"), "Here/City");
    ck_assert_ptr_null(zone_suggest("Not/Instaled"));
    ck_assert_ptr_null(zone_suggest("Cxxy"));
    ck_assert_ptr_null(zone_suggest(NULL));
    ck_assert_ptr_null(zone_suggest(""));
    adopt();
    ck_assert_ptr_eq(zone_get("B/City"), of_link);
}
END_TEST

/* Without tzdata.zi the names are those of zone.tab; without either there is UTC. */
START_TEST(fewer_files)
{
    char path[256];
    install("2026a", "", UTC_ZONE "Zone Here/City -8 - PST\n");
    snprintf(path, sizeof path, "%s/tzdata.zi", dir);
    ck_assert_int_eq(unlink(path), 0);
    write_file("zone.tab", "XX\t+1-1\tHere/City\n");
    ck_assert(zone_get("Here/City") != NULL && zone_get("UTC") != NULL && zone_get("B/City") == NULL);
    ck_assert_str_eq(zone_data_version(), "unknown");
    ck_assert_int_eq(zone_data_made_ms(), 0);
    struct zone_tables *none = NULL;
    zone_data_free(&none);
}
END_TEST

/* A list that does not name UTC is half a list. */
START_TEST(no_utc)
{
    install("2026a", "", UTC_ZONE "Zone Here/City -8 - PST\n");
    write_file("tzdata.zi", "# version 2026a\nZ Here/City -8 - PST\n");
    ck_assert_ptr_null(zone_data_read());
}
END_TEST

/* A zone that changes its clock, and one that never did, keep their tables when their files go. */
START_TEST(files_that_go)
{
    char path[256];
    const char *names = "Z Here/City -8 - PST\nZ Two/Clocks -8 - PST\n";
    const char *source = UTC_ZONE "Zone Here/City -8 - PST\nZone Two/Clocks -8 - PST 2030\n\t-7 - MST\n";
    install("2026a", names, source);
    const struct zone *one = zone_get("Here/City"), *two = zone_get("Two/Clocks");
    ck_assert_uint_eq(one->n, 0);
    ck_assert_uint_eq(two->n, 1);
    snprintf(path, sizeof path, "%s/Here/City", dir);
    ck_assert_int_eq(unlink(path), 0);
    snprintf(path, sizeof path, "%s/Two/Clocks", dir);
    ck_assert_int_eq(unlink(path), 0);
    adopt();
    ck_assert(zone_get("Here/City") == one && zone_offset_s(one, 1800000000) == -8 * 3600);
    ck_assert(zone_get("Two/Clocks") == two && zone_offset_s(two, 1800000000) == -8 * 3600);
    ck_assert_int_eq(zone_offset_s(two, 1900000000), -7 * 3600);
}
END_TEST

/* Where TZDIR leads nowhere there are no zones; without it they are where the system keeps them. */
START_TEST(directories)
{
    static char far[5000];
    memset(far, 'a', sizeof far - 1);
    far[0] = '/';
    setenv("TZDIR", far, 1);
    ck_assert_ptr_null(zone_get("Europe/Paris"));
    ck_assert_str_eq(zone_data_version(), "unknown");
    unsetenv("TZDIR");
    ck_assert(zone_data_changed());
    adopt();
    ck_assert_ptr_nonnull(zone_get("Europe/Paris"));
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
    tcase_add_test(tc, odd_lines);
    tcase_add_test(tc, fewer_files);
    tcase_add_test(tc, no_utc);
    tcase_add_test(tc, files_that_go);
    tcase_add_test(tc, directories);
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

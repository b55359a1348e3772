/* The address guard by a table: every kind of address that is not a provider's, and the neighbours that are. */
#include "gateway/upstream_guard.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/un.h>

enum may { NEVER, PRIVATE, PUBLIC };

static const struct {
    const char *address;
    enum may may;
} rows[] = {
    {"8.8.8.8", PUBLIC},
    {"167.89.118.83", PUBLIC},
    {"0.0.0.0", NEVER},
    {"0.1.2.3", NEVER},
    {"1.0.0.0", PUBLIC},
    {"9.255.255.255", PUBLIC},
    {"10.0.0.0", PRIVATE},
    {"10.255.255.255", PRIVATE},
    {"11.0.0.0", PUBLIC},
    {"100.63.255.255", PUBLIC},
    {"100.64.0.0", PRIVATE},
    {"100.127.255.255", PRIVATE},
    {"100.128.0.0", PUBLIC},
    {"127.0.0.1", PRIVATE},
    {"127.255.255.254", PRIVATE},
    {"128.0.0.0", PUBLIC},
    {"169.253.255.255", PUBLIC},
    {"169.254.0.0", NEVER},
    {"169.254.169.254", NEVER},
    {"169.255.0.0", PUBLIC},
    {"172.15.255.255", PUBLIC},
    {"172.16.0.0", PRIVATE},
    {"172.31.255.255", PRIVATE},
    {"172.32.0.0", PUBLIC},
    {"192.0.0.170", NEVER},
    {"192.0.1.0", PUBLIC},
    {"192.0.2.1", NEVER},
    {"192.168.1.1", PRIVATE},
    {"192.169.0.0", PUBLIC},
    {"198.17.255.255", PUBLIC},
    {"198.18.0.0", PRIVATE},
    {"198.19.255.255", PRIVATE},
    {"198.20.0.0", PUBLIC},
    {"198.51.100.1", NEVER},
    {"203.0.113.1", NEVER},
    {"223.255.255.255", PUBLIC},
    {"224.0.0.1", NEVER},
    {"239.255.255.250", NEVER},
    {"240.0.0.1", NEVER},
    {"255.255.255.255", NEVER},
    {"2a00:1450:4001:80b::200e", PUBLIC},
    {"::", NEVER},
    {"::1", PRIVATE},
    {"::2", NEVER},        /* v4-compatible 0.0.0.2 */
    {"::7f00:1", PRIVATE}, /* v4-compatible loopback */
    {"::ffff:127.0.0.1", PRIVATE},
    {"::ffff:169.254.169.254", NEVER},
    {"::ffff:0.0.0.0", NEVER},
    {"::ffff:10.1.1.1", PRIVATE},
    {"::ffff:8.8.8.8", PUBLIC},
    {"64:ff9b::7f00:1", PRIVATE}, /* NAT64 */
    {"64:ff9b::a9fe:a9fe", NEVER},
    {"64:ff9b::808:808", PUBLIC},
    {"64:ff9b:1::a00:1", PRIVATE},
    {"2002:7f00:1::", PRIVATE}, /* 6to4 of 127.0.0.1 */
    {"2002:a9fe:a9fe::1", NEVER},
    {"2002:808:808::1", PUBLIC},
    {"2001::1", NEVER}, /* Teredo */
    {"2001:1ff::1", NEVER},
    {"2001:200::1", PUBLIC},
    {"2001:db8::1", NEVER},
    {"100::1", NEVER},
    {"3fff::1", NEVER},
    {"fbff::1", PUBLIC},
    {"fc00::1", PRIVATE},
    {"fdff::1", PRIVATE},
    {"fe80::1", NEVER},
    {"febf::1", NEVER},
    {"fec0::1", PRIVATE},
    {"ff02::1", NEVER},
};

static const char *refuses(const char *address, uint16_t dialled, uint16_t port, bool allow_private)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(dialled)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(dialled)};
    if (inet_pton(AF_INET, address, &in.sin_addr) == 1)
        return upstream_guard_refuses((const struct sockaddr *)&in, port, allow_private);
    ck_assert_int_eq(inet_pton(AF_INET6, address, &in6.sin6_addr), 1);
    return upstream_guard_refuses((const struct sockaddr *)&in6, port, allow_private);
}

START_TEST(addresses)
{
    const char *address = rows[_i].address;
    ck_assert_msg((refuses(address, 443, 443, false) == NULL) == (rows[_i].may == PUBLIC), "%s", address);
    ck_assert_msg((refuses(address, 443, 443, true) == NULL) == (rows[_i].may != NEVER), "%s, private allowed",
                  address);
    ck_assert_ptr_nonnull(refuses(address, 22, 443, true));
}
END_TEST

START_TEST(other_families)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/run/x.sock"};
    ck_assert_ptr_nonnull(upstream_guard_refuses((const struct sockaddr *)&un, 443, true));
}
END_TEST

START_TEST(too_large_a_head)
{
    static char value[70000];
    memset(value, 'v', sizeof value);
    struct upstream_field fields[101];
    for (size_t i = 0; i < N_ELEMENTS(fields); i++)
        fields[i] = (struct upstream_field){SLICE("X"), SLICE("y")};
    struct upstream_request req = {.method = "POST", .path_and_query = SLICE("/"), .headers = fields, .n_headers = 100};
    ck_assert_int_eq(upstream_guard_request(&req), OK);
    req.n_headers = 101;
    ck_assert_int_eq(upstream_guard_request(&req), ERR_LIMIT);
    req.n_headers = 1;
    fields[0].value = (struct slice){value, sizeof value};
    ck_assert_int_eq(upstream_guard_request(&req), ERR_LIMIT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gateway_upstream_guard");
    TCase *t = tcase_create("all");
    tcase_add_loop_test(t, addresses, 0, (int)N_ELEMENTS(rows));
    tcase_add_test(t, other_families);
    tcase_add_test(t, too_large_a_head);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/* Digests and MACs against published vectors; encodings both ways; ids. */
#include <check.h>
#include <stdlib.h>

#include "postern/hash.h"

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, 1u << 20);
}

static void teardown(void)
{
    arena_clear(&arena);
}

static const char *hex_of(const uint8_t *p, size_t n)
{
    static char text[2 * SHA256_BYTES + 1];
    return hash_hex(p, n, text);
}

START_TEST(sha256)
{
    /* FIPS 180-4 examples. */
    ck_assert_str_eq(hex_of(hash_sha256("abc", 3).b, SHA256_BYTES),
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert_str_eq(hex_of(hash_sha256("", 0).b, SHA256_BYTES),
                     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    ck_assert_str_eq(hex_of(hash_sha256(NULL, 0).b, SHA256_BYTES),
                     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    const struct slice parts[] = {SLICE("a"), {NULL, 0}, SLICE("bc")};
    ck_assert_mem_eq(hash_sha256_parts(parts, 3).b, hash_sha256("abc", 3).b, SHA256_BYTES);
}
END_TEST

START_TEST(hmac_sha256)
{
    /* RFC 4231, test cases 2 and 6. */
    const struct slice parts[] = {SLICE("what do ya want "), SLICE("for nothing?")};
    ck_assert_str_eq(hex_of(hash_hmac_sha256(SLICE("Jefe"), parts, 2).b, SHA256_BYTES),
                     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    char key[131];
    memset(key, 0xAA, sizeof key);
    const struct slice large = SLICE("Test Using Larger Than Block-Size Key - Hash Key First");
    ck_assert_str_eq(hex_of(hash_hmac_sha256((struct slice){key, sizeof key}, &large, 1).b, SHA256_BYTES),
                     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    /* Empty key and message. */
    ck_assert_str_eq(hex_of(hash_hmac_sha256((struct slice){NULL, 0}, NULL, 0).b, SHA256_BYTES),
                     "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}
END_TEST

START_TEST(hmac_sha1_as_twilio_signs)
{
    /* twilio.com/docs/usage/security, the example of X-Twilio-Signature. */
    uint8_t mac[SHA1_BYTES];
    hash_hmac_sha1(SLICE("12345"),
                   SLICE("https://mycompany.com/myapp.php?foo=1&bar=2CallSidCA1234567890ABCDECaller+12349013030"
                         "Digits1234From+12349013030To+18005551212"),
                   mac);
    ck_assert_str_eq(hash_base64(&arena, mac, sizeof mac), "0/KCTR6DLpKmkAf8muzZqo1nDgQ=");
}
END_TEST

START_TEST(siphash)
{
    uint8_t bytes[40] = {0};
    uint64_t seen[41];
    for (size_t n = 0; n <= sizeof bytes; n++) {
        seen[n] = hash_siphash(bytes, n);
        ck_assert_uint_eq(seen[n], hash_siphash(bytes, n));
        for (size_t i = 0; i < n; i++)
            ck_assert_uint_ne(seen[i], seen[n]);
    }
    for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] = (uint8_t)(1u << bit % 8);
        ck_assert_uint_ne(hash_siphash(bytes, sizeof bytes), seen[sizeof bytes]);
        bytes[bit / 8] = 0;
    }
    /* Unaligned input is the same input. */
    char text[] = "xann@example.com", copy[] = "ann@example.com";
    ck_assert_uint_eq(hash_siphash(text + 1, 15), hash_siphash(copy, 15));
}
END_TEST

START_TEST(hex)
{
    uint8_t out[3];
    ck_assert(hash_unhex(SLICE("00fFa5"), out, 3));
    ck_assert_str_eq(hex_of(out, 3), "00ffa5");
    ck_assert(!hash_unhex(SLICE("00ff"), out, 3));
    ck_assert(!hash_unhex(SLICE("00ffa"), out, 3));
    ck_assert(!hash_unhex(SLICE("00ffa55"), out, 3));
    ck_assert(!hash_unhex(SLICE("00ffag"), out, 3));
    ck_assert(!hash_unhex(SLICE("0x ffa"), out, 3));
}
END_TEST

START_TEST(base64)
{
    /* RFC 4648 section 10. */
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        size_t n = strlen(rows[i][0]);
        ck_assert_str_eq(hash_base64(&arena, (const uint8_t *)rows[i][0], n), rows[i][1]);
        struct slice back = hash_unbase64(&arena, slice_of(rows[i][1]));
        ck_assert_ptr_nonnull(back.p);
        ck_assert(slice_eq_cstr(back, rows[i][0]));
    }
    const uint8_t high[] = {0xfb, 0xff, 0xfe, 0xff};
    ck_assert_str_eq(hash_base64(&arena, high, 4), "+//+/w==");
}
END_TEST

START_TEST(base64_is_strict)
{
    static const char *const bad[] = {"Zg",       "Zg=",  "Zg===",  "Z",    "=",    "====",  "Zh==",     "Zm9=",
                                      "Zg==Zg==", "Zm 9", "Zm9v\n", "Zm-_", "Z=g=", " Zm9v", "Zm9v====", "===="};
    for (size_t i = 0; i < N_ELEMENTS(bad); i++)
        ck_assert_msg(hash_unbase64(&arena, slice_of(bad[i])).p == NULL, "%s was read", bad[i]);
    struct arena small;
    arena_init(&small, 1);
    ck_assert_ptr_null(hash_unbase64(&small, SLICE("Zm9v")).p);
    ck_assert_ptr_null(hash_base64(&small, (const uint8_t *)"foo", 3));
    arena_clear(&small);
}
END_TEST

START_TEST(random_ids)
{
    char a[32], b[32];
    ck_assert_ptr_eq(hash_random_id("dec_", 12, a, sizeof a), a);
    hash_random_id("dec_", 12, b, sizeof b);
    ck_assert_uint_eq(strlen(a), 4 + 24);
    ck_assert_int_eq(strncmp(a, "dec_", 4), 0);
    ck_assert_uint_eq(strspn(a + 4, "0123456789abcdef"), 24);
    ck_assert_str_ne(a, b);
}
END_TEST

START_TEST(equal)
{
    ck_assert(hash_equal(SLICE("abc"), SLICE("abc")));
    ck_assert(!hash_equal(SLICE("abc"), SLICE("abd")));
    ck_assert(!hash_equal(SLICE("abc"), SLICE("ab")));
    ck_assert(hash_equal((struct slice){NULL, 0}, SLICE("")));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hash");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, sha256);
    tcase_add_test(tests, hmac_sha256);
    tcase_add_test(tests, hmac_sha1_as_twilio_signs);
    tcase_add_test(tests, siphash);
    tcase_add_test(tests, hex);
    tcase_add_test(tests, base64);
    tcase_add_test(tests, base64_is_strict);
    tcase_add_test(tests, random_ids);
    tcase_add_test(tests, equal);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

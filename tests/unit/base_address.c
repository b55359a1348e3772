/* Addresses: address.cases row by row; limits, masks and what an error text must not say. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "postern/address.h"

#define LINE_MAX_BYTES 1024

/* Undo \xHH, \uHHHH and the doubled backslash. */
static struct slice unescape(const char *in, char *out)
{
    size_t n = 0;
    while (*in != '\0') {
        if (in[0] == '\\' && in[1] == '\\') {
            out[n++] = '\\';
            in += 2;
        } else if (in[0] == '\\' && (in[1] == 'x' || in[1] == 'u')) {
            size_t digits = in[1] == 'x' ? 2 : 4;
            char hex[5] = {0};
            memcpy(hex, in + 2, digits);
            unsigned long c = strtoul(hex, NULL, 16);
            if (digits == 2 || c < 0x80) {
                out[n++] = (char)c;
            } else if (c < 0x800) {
                out[n++] = (char)(0xC0 | c >> 6);
                out[n++] = (char)(0x80 | (c & 0x3F));
            } else {
                out[n++] = (char)(0xE0 | c >> 12);
                out[n++] = (char)(0x80 | (c >> 6 & 0x3F));
                out[n++] = (char)(0x80 | (c & 0x3F));
            }
            in += 2 + digits;
        } else {
            out[n++] = *in++;
        }
    }
    out[n] = '\0';
    return (struct slice){out, n};
}

static enum err parse_as(const char *kind, struct slice s, struct address *a, struct errmsg *e)
{
    if (strcmp(kind, "email") == 0)
        return address_parse_email(s, a, e);
    if (strcmp(kind, "phone") == 0)
        return address_parse_phone(s, a, e);
    ck_assert_str_eq(kind, "any");
    return address_parse(s, a, e);
}

static void check_refusal(int row, const char *want, const char *word, enum err err, const struct address *a,
                          const struct errmsg *e)
{
    enum err want_err = strcmp(want, "!limit") == 0 ? ERR_LIMIT : ERR_SYNTAX;
    ck_assert_msg(err == want_err, "line %d: err %d, address %s", row, (int)err, a->text);
    ck_assert_msg(a->kind == ADDRESS_NONE && a->text[0] == '\0', "line %d: a refused address is left behind", row);
    ck_assert_msg(word != NULL && strstr(e->text, word) != NULL, "line %d: \"%s\"", row, e->text);
}

static void check_address(int row, const char *want, const char *want_fold, const struct address *a)
{
    ck_assert_msg(strcmp(a->text, want) == 0, "line %d: %s, not %s", row, a->text, want);
    struct address again, fold;
    struct errmsg e;
    ck_assert_msg(address_parse(slice_of(a->text), &again, &e) == OK && strcmp(again.text, a->text) == 0 &&
                      again.kind == a->kind,
                  "line %d: the canonical text is not stable", row);
    address_fold(a, &fold);
    ck_assert_msg(strcmp(fold.text, want_fold) == 0, "line %d: fold %s, not %s", row, fold.text, want_fold);
    ck_assert_int_eq(fold.kind, a->kind);
}

START_TEST(cases)
{
    FILE *f = fopen(TESTS_DIR "/unit/address.cases", "r");
    ck_assert_ptr_nonnull(f);
    char line[LINE_MAX_BYTES];
    int rows = 0;
    for (int row = 1; fgets(line, sizeof line, f) != NULL; row++) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#' || line[0] == '\0')
            continue;
        char *rest = line;
        const char *kind = strsep(&rest, "\t");
        const char *input = strsep(&rest, "\t");
        const char *want = strsep(&rest, "\t");
        const char *more = strsep(&rest, "\t");
        ck_assert_msg(want != NULL && rest == NULL, "line %d: 3 or 4 columns", row);
        char in[LINE_MAX_BYTES], canonical[LINE_MAX_BYTES], fold[LINE_MAX_BYTES];
        struct address a;
        struct errmsg e = {""};
        enum err err = parse_as(kind, unescape(input, in), &a, &e);
        rows++;
        if (want[0] == '!') {
            check_refusal(row, want, more, err, &a, &e);
            continue;
        }
        ck_assert_msg(err == OK, "line %d: %s", row, e.text);
        unescape(want, canonical);
        unescape(more == NULL ? want : more, fold);
        check_address(row, canonical, fold, &a);
    }
    fclose(f);
    ck_assert_int_gt(rows, 100);
}
END_TEST

START_TEST(errors_do_not_echo)
{
    static const char *const inputs[] = {"secret.person@bad_domain.example", "secret person@example.com", "+1555SECRET",
                                         "tel:+15550100001", "secret@xn--a.example"};
    for (size_t i = 0; i < N_ELEMENTS(inputs); i++) {
        struct address a;
        struct errmsg e = {""};
        ck_assert_int_ne(address_parse(slice_of(inputs[i]), &a, &e), OK);
        ck_assert_ptr_null(strcasestr(e.text, "secret"));
        ck_assert_ptr_null(strstr(e.text, "1555"));
        ck_assert_uint_gt(strlen(e.text), 20);
        ck_assert_uint_lt(strlen(e.text), sizeof e.text - 1); /* not cut off */
    }
}
END_TEST

/* "a...a@" and a domain of labels, n bytes in all. */
static struct slice long_address(char *out, size_t local_n, size_t n)
{
    memset(out, 'a', n);
    out[local_n] = '@';
    for (size_t i = local_n + 51; i < n - 1; i += 51)
        out[i] = '.';
    return (struct slice){out, n};
}

START_TEST(total_length)
{
    char text[2000];
    struct address a;
    struct errmsg e;
    ck_assert_int_eq(address_parse_email(long_address(text, 64, 254), &a, &e), OK);
    ck_assert_uint_eq(strlen(a.text), 254);
    ck_assert_int_eq(address_parse_email(long_address(text, 64, 255), &a, &e), ERR_LIMIT);
    ck_assert_int_eq(address_parse_email(long_address(text, 64, 1999), &a, &e), ERR_LIMIT);
    ck_assert_int_eq(address_parse_email(long_address(text, 1, 1 + 1 + 254), &a, &e), ERR_LIMIT);
    ck_assert(strstr(e.text, "domain longer than 253") != NULL);
}
END_TEST

/* In ASCII an international domain is longer than it was written, and composed characters may be too. */
START_TEST(lengths_after_conversion)
{
    char text[1100] = "a@\xC3\xBC";
    struct address a;
    struct errmsg e;
    struct slice s = {text, 4 + 62};
    memset(text + 4, 'a', sizeof text - 4); /* xn--...: 64 bytes become 70 */
    ck_assert_int_eq(address_parse_email(s, &a, &e), ERR_LIMIT);
    ck_assert(strstr(e.text, "63 bytes") != NULL);
    snprintf(text + 4 + 62, sizeof text - 4 - 62, ".\xC3\xBC.example");
    memcpy(text + 2, "aaaaaa", 6); /* a long one in ASCII, beside one that is not */
    ck_assert_int_eq(address_parse_email((struct slice){text, strlen(text)}, &a, &e), ERR_LIMIT);

    memset(text + 4, 'a', sizeof text - 4);
    memcpy(text + 2, "\xC3\xBC", 2);
    for (size_t i = 4 + 30; i < 300; i += 31) /* labels of 30 */
        text[i] = '.';
    for (s.n = 4 + 200; s.n < 4 + 300; s.n++) { /* whichever of libidn2's limits and ours comes first */
        enum err err = s.p[s.n - 1] == '.' ? ERR_SYNTAX : address_parse_email(s, &a, &e);
        ck_assert_msg(err != OK || strlen(a.text) <= 254, "%zu bytes", s.n);
        ck_assert_msg(err == ERR_SYNTAX || (err == OK) == (s.n <= 248), "%zu bytes", s.n);
    }

    static const char breve[] = "\xF0\x9D\x85\xA0"; /* U+1D160: NFC makes twelve bytes of its four */
    for (size_t i = 0; i < 250; i++)
        memcpy(text + 4 * i, breve, 4);
    memcpy(text + 1000, "@b.example", 10);
    ck_assert_int_eq(address_parse_email((struct slice){text, 1010}, &a, &e), ERR_LIMIT);
}
END_TEST

START_TEST(fold_of_growing_text)
{
    /* U+FDFA becomes 33 bytes by NFKC: the fold of 21 of them and a long domain is a digest, and still a key. */
    static const char ligature[] = {'\xEF', '\xB7', '\xBA'};
    char text[400] = "";
    for (size_t i = 0; i < 21; i++)
        memcpy(text + 3 * i, ligature, sizeof ligature);
    struct address a, b, fold_a, fold_b;
    struct errmsg e;
    memcpy(text + 63, "@example.com", sizeof "@example.com");
    ck_assert_int_eq(address_parse_email(slice_of(text), &a, &e), OK);
    address_fold(&a, &fold_a);
    ck_assert_uint_eq(strlen(fold_a.text), 64 + strlen("@example.com"));
    text[2] = '\xBB'; /* U+FDFB */
    ck_assert_int_eq(address_parse_email(slice_of(text), &b, &e), OK);
    address_fold(&b, &fold_b);
    ck_assert_str_ne(fold_a.text, fold_b.text);
}
END_TEST

START_TEST(fold_may_be_in_place)
{
    struct address a;
    struct errmsg e;
    ck_assert_int_eq(address_parse(SLICE("Ann+x@example.com"), &a, &e), OK);
    address_fold(&a, &a);
    ck_assert_str_eq(a.text, "ann@example.com");
}
END_TEST

START_TEST(masks)
{
    static const struct {
        const char *address;
        const char *mask;
    } rows[] = {
        {"jane@example.com", "j***@example.com"},
        {"j@example.com", "j***@example.com"},
        {"\xC3\x84nne@example.com", "\xC3\x84***@example.com"},
        {"+15550100001", "+1555***0001"},
        {"+1234567", "+12***67"},
        {"+1234567890", "+1234***90"},
        {"+123456789012345", "+1234***2345"},
    };
    char out[ADDRESS_MASKED_MAX];
    struct errmsg e;
    struct address a;
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        ck_assert_int_eq(address_parse(slice_of(rows[i].address), &a, &e), OK);
        ck_assert_str_eq(address_mask(&a, out), rows[i].mask);
    }
    char text[300];
    ck_assert_int_eq(address_parse(long_address(text, 10, 254), &a, &e), OK);
    ck_assert_int_eq(strncmp(address_mask(&a, out), "a***@...", 8), 0);
    ck_assert_uint_lt(strlen(out), ADDRESS_MASKED_MAX);
    ck_assert_str_eq(address_mask(&(struct address){.kind = ADDRESS_NONE}, out), "***");
    /* A number too short for its middle to hide anything shows nothing. */
    ck_assert_str_eq(address_mask(&(struct address){.kind = ADDRESS_PHONE, .text = "+12345"}, out), "***");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("address");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, cases);
    tcase_add_test(tests, errors_do_not_echo);
    tcase_add_test(tests, total_length);
    tcase_add_test(tests, fold_of_growing_text);
    tcase_add_test(tests, fold_may_be_in_place);
    tcase_add_test(tests, lengths_after_conversion);
    tcase_add_test(tests, masks);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

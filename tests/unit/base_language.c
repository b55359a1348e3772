/* Languages that are told, texts that are too little or too like another's; and texts of pages. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "postern/language.h"
#include "postern/markup.h"

static const struct {
    const char *text, *code;
} rows[] = {
    {"Your order has left our warehouse today, and we expect that it will reach you within the next three days.", "en"},
    {"Sehr geehrte Kundin, Ihre Bestellung wurde heute versandt und wird in drei Tagen bei Ihnen eintreffen.", "de"},
    {"Cher client, votre commande a \xC3\xA9t\xC3\xA9 exp\xC3\xA9"
     "di\xC3\xA9"
     "e aujourd'hui et arrivera dans les trois prochains jours.",
     "fr"},
    {"Estimado cliente, su pedido ha sido enviado hoy y llegar\xC3\xA1 en los pr\xC3\xB3ximos tres d\xC3\xAD"
     "as a su casa.",
     "es"},
    {"Beste klant, uw bestelling is vandaag verzonden en komt binnen drie dagen aan op uw adres in de stad.", "nl"},
    /* Numbers, links and addresses are no words, however many. */
    {"12345 67890 1,234.50 https://shop.example/your/order/today ann@example.test 2026-11-22 A-17 B-18 C-19 "
     "support@example.test www.shop.example/and/that/is/all 10:00:00 +14155550100",
     ""},
    /* Too short, however clear. */
    {"Ihre Bestellung ist da.", ""},
    {"", ""},
    /* Danish and Norwegian. */
    {"K\xC3\xA6re kunde, din ordre er afsendt i dag og ankommer inden for de n\xC3\xA6ste tre dage til din adresse.",
     ""},
    /* Two at once. */
    {"Your order has left our warehouse today, and will reach you. Sehr geehrte Kundin, Ihre Bestellung wurde heute "
     "versandt und wird bald bei Ihnen eintreffen.",
     ""},
};

START_TEST(languages_are_told)
{
    char code[LANGUAGE_MAX];
    struct errmsg e;
    ck_assert_int_eq(language_open(&e), OK);
    language_detect(slice_of(rows[_i].text), false, code);
    ck_assert_msg(strcmp(code, rows[_i].code) == 0, "\"%s\" for \"%.40s\"", code, rows[_i].text);
    language_close();
}
END_TEST

/* "uk the text": a case a line. */
START_TEST(cyrillic_is_told_by_its_letters)
{
    char line[1024], code[LANGUAGE_MAX];
    struct errmsg e;
    FILE *f = fopen(TESTS_DIR "/unit/cyrillic.cases", "re");
    unsigned n = 0;
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(language_open(&e), OK);
    while (fgets(line, sizeof(line), f) != NULL) {
        char *blank = strchr(line, ' ');
        ck_assert_ptr_nonnull(blank);
        *blank = '\0';
        if (strcmp(line, "#") == 0)
            continue;
        language_detect(slice_of(blank + 1), false, code);
        ck_assert_msg(strcmp(code, line[0] == '-' ? "" : line) == 0, "\"%s\", not %s: %s", code, line, blank + 1);
        n++;
    }
    ck_assert_uint_gt(n, 20);
    fclose(f);
    language_close();
}
END_TEST

START_TEST(of_a_page_the_text_is_read)
{
    char code[LANGUAGE_MAX], page[4096];
    struct errmsg e;
    ck_assert_int_eq(language_open(&e), OK);
    snprintf(page, sizeof(page), "<html><head><title>%s</title><style>%s</style></head><body>%s</body></html>",
             rows[0].text, rows[0].text, rows[1].text);
    language_detect(slice_of(page), true, code);
    ck_assert_str_eq(code, "de");
    language_detect(SLICE("<p>Hello</p>"), true, code);
    ck_assert_str_eq(code, "");
    language_close();
}
END_TEST

/* What is behind the first kilobyte does not count, and is not waited for. */
START_TEST(a_kilobyte_is_read)
{
    char code[LANGUAGE_MAX], text[8192], page[8192];
    struct errmsg e;
    size_t n = 0;
    ck_assert_int_eq(language_open(&e), OK);
    while (n < 1200)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s ", rows[1].text);
    while (n < 4000)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s ", rows[0].text);
    language_detect((struct slice){text, n}, false, code);
    ck_assert_str_eq(code, "de");
    n = (size_t)snprintf(page, sizeof(page), "<p>%s</p><p>More</p>", text);
    language_detect((struct slice){page, n}, true, code);
    ck_assert_str_eq(code, "de");
    /* One word that is longer than that. */
    memset(text, 'a', sizeof(text));
    language_detect((struct slice){text, sizeof(text)}, false, code);
    ck_assert(strlen(code) <= 2);
    language_close();
}
END_TEST

START_TEST(closed_it_tells_nothing)
{
    char code[LANGUAGE_MAX];
    language_close();
    language_detect(slice_of(rows[0].text), false, code);
    ck_assert_str_eq(code, "");
}
END_TEST

/* --- pages: pieces, "|" between --------------------------------------------------------- */

static const struct {
    const char *html, *pieces;
} pages[] = {
    {"Hello", "Hello"},
    {"<p>Hello <b>Ann</b>!</p>", "Hello |Ann|!"},
    {"a < b, c <3, d<", "a < b, c <3, d<"},
    {"<!-- a <b>c</b> -->d<!-- e", "d"},
    {"<!doctype html><?xml?>a", "a"},
    {"<style>a</style>b<STYLE type=x>c</STYLE >d<script>e</scrip></script>f<title>g", "b|d|f"},
    {"<styled>a</styled>", "a"},
    {"&nbsp;<td> &#160; </td>\n<td>&zwnj;&nbsp;</td>&nbsp; a;", "&nbsp; a;"},
    {"<a href='x", ""},
    {"<", "<"},
    {"<{a <1 <~", "<{a <1 <~"},
    {"a<style", "a"},
    {"a<!--", "a"},
    {"&copy 2026", "&copy 2026"},
    {"", ""},
};

START_TEST(pieces_of_pages)
{
    struct slice html = slice_of(pages[_i].html), piece;
    char got[256] = "";
    size_t n = 0;
    while (markup_next(&html, &piece))
        n += (size_t)snprintf(got + n, sizeof(got) - n, "%s%.*s", n > 0 ? "|" : "", SLICE_ARG(piece));
    ck_assert_str_eq(got, pages[_i].pieces);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("language");
    TCase *c = tcase_create("language");
    tcase_add_loop_test(c, languages_are_told, 0, N_ELEMENTS(rows));
    tcase_add_test(c, cyrillic_is_told_by_its_letters);
    tcase_add_test(c, of_a_page_the_text_is_read);
    tcase_add_test(c, a_kilobyte_is_read);
    tcase_add_test(c, closed_it_tells_nothing);
    tcase_add_loop_test(c, pieces_of_pages, 0, N_ELEMENTS(pages));
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

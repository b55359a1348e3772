/*
 * Pages as HTML: templates are filled, everything from outside is escaped, pages
 * of the inbox begin and end where they should.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/pages_html.h"

static struct arena arena;
static struct buf page;

static void setup(void)
{
    arena_init(&arena, 32u << 20);
    buf_init(&page, &arena, 8u << 20);
}

static void teardown(void)
{
    arena_clear(&arena);
}

static bool has(const char *text)
{
    return strstr(page.p, text) != NULL;
}

static size_t count(const char *text)
{
    size_t n = 0;
    for (const char *p = page.p; (p = strstr(p, text)) != NULL; p += strlen(text))
        n++;
    return n;
}

static struct sandbox_message mail(uint64_t decision)
{
    return (struct sandbox_message){
        .at_ms = INT64_C(1926000000123),
        .decision = decision,
        .dialect = SLICE("sendgrid"),
        .category = SLICE("newsletter"),
        .channel = CHANNEL_EMAIL,
        .to = SLICE("ada@mail.example"),
        .from = SLICE("news@shop.example"),
        .subject = SLICE("Spring & <b>summer</b>"),
        .text = SLICE("Hello from the shop"),
        .body = SLICE("{\"a\":1}"),
    };
}

START_TEST(a_template_escapes_and_does_not)
{
    const struct page_value values[] = {{"a", SLICE("<&\">")}, {"b", SLICE("<i>")}, {"c", {NULL, 0}}};
    pages_fill(&page, SLICE("x{{a}}y{{&b}}z{{c}}."), values, N_ELEMENTS(values));
    ck_assert_str_eq(page.p, "x&lt;&amp;&quot;&gt;y<i>z.");
}
END_TEST

START_TEST(a_value_is_not_a_template)
{
    const struct page_value values[] = {{"a", SLICE("{{b}}")}, {"b", SLICE("secret")}};
    pages_fill(&page, SLICE("{{a}}"), values, N_ELEMENTS(values));
    ck_assert_str_eq(page.p, "{{b}}");
}
END_TEST

START_TEST(an_unknown_name_aborts)
{
    pages_fill(&page, SLICE("{{nobody}}"), NULL, 0);
}
END_TEST

START_TEST(the_inbox_shows_a_message_escaped)
{
    struct sandbox_message m = mail(0x1234);
    pages_sandbox(&page, &m, 1, 1);
    ck_assert(!page.failed);
    ck_assert(has("<!DOCTYPE html>"));
    ck_assert(has("<html lang=\"en\">"));
    ck_assert(has("<a href=\"/sandbox/dec_0000000000001234\">Spring &amp; &lt;b&gt;summer&lt;/b&gt;</a>"));
    ck_assert(has("Hello from the shop"));
    ck_assert(has("<time datetime=\"2031-01-12T16:00:00.123Z\">2031-01-12 16:00:00 UTC</time>"));
    ck_assert(!has("<b>summer"));
    ck_assert(!has("{{"));
    ck_assert(!has("class=\"pager\""));
}
END_TEST

START_TEST(a_message_without_subject_is_known_by_its_words)
{
    struct sandbox_message m = mail(1);
    char text[400];
    memset(text, 'a', sizeof text);
    memcpy(text + 88, "\xC3\xBC\xC3\xBC", 4); /* the cut at 90 bytes falls between two characters, never into one */
    text[3] = '\n';
    m.subject = (struct slice){NULL, 0};
    m.text = (struct slice){text, sizeof text};
    pages_sandbox(&page, &m, 1, 1);
    ck_assert(has(">aaa aaaa"));
    ck_assert(has("a\xC3\xBC\xE2\x80\xA6</a>"));
    m.text = (struct slice){NULL, 0};
    page.n = 0;
    pages_sandbox(&page, &m, 1, 1);
    ck_assert(has("(no subject)"));
}
END_TEST

START_TEST(a_page_holds_its_rows_and_says_what_lies_around)
{
    struct sandbox_message rows[2 * PAGES_ROWS + 1];
    for (size_t i = 0; i < N_ELEMENTS(rows); i++)
        rows[i] = mail(i + 1);
    static const struct {
        size_t n, page, shown;
        bool newer, older;
    } cases[] = {
        {1, 1, 1, false, false},
        {PAGES_ROWS, 1, PAGES_ROWS, false, false},
        {PAGES_ROWS + 1, 1, PAGES_ROWS, false, true},
        {2 * PAGES_ROWS + 1, 2, PAGES_ROWS, true, true},
        {2 * PAGES_ROWS, 2, PAGES_ROWS, true, false},
        {3, 2, 0, true, false},
    };
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        page.n = 0;
        pages_sandbox(&page, rows, cases[i].n, cases[i].page);
        ck_assert(!page.failed);
        ck_assert_uint_eq(count("<article>"), cases[i].shown);
        ck_assert_msg(has(">Newer<") == cases[i].newer, "case %zu", i);
        ck_assert_msg(has(">Older<") == cases[i].older, "case %zu", i);
    }
}
END_TEST

START_TEST(a_message_shows_all_of_it)
{
    struct sandbox_message m = mail(1);
    pages_message(&page, &m);
    ck_assert(has("<h1>Spring &amp; &lt;b&gt;summer&lt;/b&gt;</h1>"));
    ck_assert(has("<title>Spring &amp; &lt;b&gt;summer&lt;/b&gt; "));
    ck_assert(has("{&quot;a&quot;:1}"));
    ck_assert(has("the sendgrid interface"));
    ck_assert(!has("{{"));
}
END_TEST

START_TEST(a_huge_body_is_cut_and_says_so)
{
    struct sandbox_message m = mail(1);
    size_t n = 1u << 20;
    char *body = xcalloc(n, 1);
    memset(body, '<', n);
    m.body = (struct slice){body, n};
    pages_message(&page, &m);
    ck_assert(!page.failed);
    ck_assert(has("The first 65536 of 1048576 bytes."));
    ck_assert_uint_lt(page.n, 400000);
    free(body);
}
END_TEST

START_TEST(nothing_yet_says_what_to_do)
{
    pages_sandbox_empty(&page, "Do <this>", "http://127.0.0.1:8080");
    ck_assert(has("No messages yet"));
    ck_assert(has("Do &lt;this&gt;"));
    ck_assert(has("curl http://127.0.0.1:8080/v3/mail/send"));
}
END_TEST

START_TEST(a_problem_is_a_whole_page)
{
    pages_problem(&page, "No such <thing>", "Because & so");
    ck_assert(has("<h1>No such &lt;thing&gt;</h1>"));
    ck_assert(has("Because &amp; so"));
    ck_assert(has("</html>"));
}
END_TEST

START_TEST(what_does_not_fit_fails)
{
    struct sandbox_message m = mail(1);
    struct buf small;
    buf_init(&small, &arena, 100);
    pages_sandbox(&small, &m, 1, 1);
    ck_assert(small.failed);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gateway_pages");
    TCase *t = tcase_create("pages");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_template_escapes_and_does_not);
    tcase_add_test(t, a_value_is_not_a_template);
    tcase_add_test_raise_signal(t, an_unknown_name_aborts, 6 /* SIGABRT */);
    tcase_add_test(t, the_inbox_shows_a_message_escaped);
    tcase_add_test(t, a_message_without_subject_is_known_by_its_words);
    tcase_add_test(t, a_page_holds_its_rows_and_says_what_lies_around);
    tcase_add_test(t, a_message_shows_all_of_it);
    tcase_add_test(t, a_huge_body_is_cut_and_says_so);
    tcase_add_test(t, nothing_yet_says_what_to_do);
    tcase_add_test(t, a_problem_is_a_whole_page);
    tcase_add_test(t, what_does_not_fit_fails);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

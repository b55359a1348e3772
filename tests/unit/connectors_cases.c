/*
 * Runs tests/connectors/<name>/<file>.case: a request in, what was decided for each
 * message, and byte for byte what must come out.  Sections that are input are read,
 * each other section is compared whole with what the connector made.
 *
 *   === title                a case
 *   --- now                  an RFC 3339 time; 2026-11-22T10:00:00Z when left out
 *   --- request              request line, fields, blank line, body
 *   --- decide               a line a message: outcome [reason [token]] [| detail [| prompt]]
 *   --- report               words: kept=ID queued unknown partial_reject own_callback callback_url=URL
 *                            untold (the answer without the list of what was sent)
 *   --- provider             status, fields, blank line, body; SMTP: a field RCPT for each that was sent, code and text
 *   --- rows                 of a report, a line a recipient: index action status [| diagnostic [| remote [| until]]]
 *   --- kept                 a line a message: id state created updated release [theirs=ID] [from=SENDER] [reason];
 * body: the request's
 *   === out ===
 *   --- route --- messages --- parsed --- settled --- outgoing --- pass --- same_body
 *   --- classify --- reply --- accept --- kept_reply --- change --- callback --- dsn
 *
 * Of SMTP the request line is "SMTP", and the fields are its commands' arguments.  Its lines, and those of multipart,
 * end in CRLF beyond this file.
 *
 * A case whose parse fails has its fault under reply.
 *
 * Each case runs again with less and less memory: what comes out is then the same, or a refusal.
 */
#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "connectors_cases_show.h"

static int n_failed;

/* --- running --------------------------------------------------------------------------- */

/* Out of memory, a case is refused: by its parse, or by what makes the bytes; a provider's list passes as it came. */
static bool refused(const struct run *r, struct slice actual)
{
    struct slice theirs = r->provider.body;
    bool unread = r->route.call == CALL_MESSAGE_LIST && theirs.n > 0 && memmem(actual.p, actual.n, theirs.p, theirs.n);
    return r->short_of_bytes && (r->parse_err != OK || slice_starts(actual, "error ") || unread);
}

static void compare(struct run *r, const char *name, struct slice expected, struct slice actual)
{
    if (slice_eq(expected, slice_trim(actual)) ||
        (actual.n > 0 && slice_eq(expected, (struct slice){actual.p, actual.n - 1})) || refused(r, actual))
        return;
    n_failed++;
    printf("@@ %s\n=== %.*s\n--- %s: expected\n%.*s\n--- %s: got\n%.*s@@\n", r->file, SLICE_ARG(r->title), name,
           SLICE_ARG(expected), name, SLICE_ARG(actual));
    fflush(stdout); /* a failed test leaves without it */
}

/* Returns how many bytes the connector used. */
static size_t run_case(struct run *r, size_t arena_bytes)
{
    struct slice now = section_get(r, "now");
    arena_init(&r->arena, arena_bytes);
    arena_init(&r->shown, 16u << 20);
    r->http.n_fields = r->provider_http.n_fields = r->n_kept = r->n_rows = 0;
    r->parsed = (struct parsed){.n_messages = 0};
    r->parse_err = OK;
    r->now_ms = time_of(now.p == NULL ? SLICE("2026-11-22T10:00:00Z") : now);
    read_request(r);
    r->connector = connector_for(&r->request, &r->route);
    if (r->connector != NULL && r->route.call == CALL_SEND) {
        r->parse_err = r->connector->parse(&r->request, &r->route, r->now_ms, &r->arena, &r->parsed, &r->fault);
        if (r->parse_err == OK)
            read_decisions(r);
    }
    read_report(r);
    read_kept(r);
    if (r->parse_err == OK)
        read_rows(r);
    size_t shown = 0;
    for (size_t i = 0; i < N_ELEMENTS(outputs); i++) {
        struct slice expected = section_get(r, outputs[i].name);
        bool unread = r->short_of_bytes && r->parse_err != OK && outputs[i].show != show_reply;
        if (expected.p == NULL || unread)
            continue;
        struct buf b;
        buf_init(&b, &r->shown, 16u << 20);
        ck_assert_msg(r->connector != NULL || i == 0, "%s: %.*s: no connector", r->file, SLICE_ARG(r->title));
        outputs[i].show(r, &b);
        compare(r, outputs[i].name, expected, buf_slice(&b));
        shown++;
    }
    ck_assert_msg(shown > 0 || r->short_of_bytes, "%s: %.*s expects nothing", r->file, SLICE_ARG(r->title));
    size_t used_bytes = r->arena.used_bytes;
    arena_clear(&r->arena);
    arena_clear(&r->shown);
    return used_bytes;
}

/* An arena gives its bytes in steps of 16: of a small case, each allocation fails once. */
static void run_short_of_bytes(struct run *r, size_t used_bytes)
{
    const size_t step = used_bytes < 8192 ? 16 : used_bytes / 512 / 16 * 16;
    r->short_of_bytes = true;
    for (size_t bytes = step; bytes < used_bytes; bytes += step)
        ignore(run_case(r, bytes));
}

/* One section of text ends at the next line that begins with "--- " or "=== ". */
static struct slice section_take(struct slice *rest)
{
    struct slice all = *rest;
    while (rest->n > 0 && !slice_starts(*rest, "--- ") && !slice_starts(*rest, "=== "))
        ignore(line_take(rest));
    size_t n = (size_t)(rest->p - all.p);
    while (n > 0 && all.p[n - 1] == '\n')
        n--;
    return (struct slice){all.p, n};
}

static size_t run_text(const char *file, struct slice text)
{
    size_t n = 0;
    ignore(section_take(&text)); /* what the file says of itself */
    while (text.n > 0) {
        struct run *r = calloc(1, sizeof *r);
        ck_assert(r != NULL);
        struct slice title = line_take(&text);
        r->file = file;
        r->title = (struct slice){title.p + 4, title.n - 4};
        ignore(section_take(&text));
        while (slice_starts(text, "--- ")) {
            struct slice name = line_take(&text);
            ck_assert_uint_lt(r->n_sections, SECTIONS_MAX);
            struct section *s = &r->sections[r->n_sections++];
            s->name = (struct slice){name.p + 4, name.n - 4};
            s->text = section_take(&text);
        }
        run_short_of_bytes(r, run_case(r, 64u << 20));
        free(r);
        n++;
    }
    return n;
}

static size_t run_file(const char *path)
{
    static char text[1u << 20];
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s cannot be read", path);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    ck_assert_uint_lt(n, sizeof text);
    return run_text(path, (struct slice){text, n});
}

/* Each connector has a directory of its own. */
static void run_all(const struct connector *c)
{
    glob_t found;
    size_t n = 0;
    char pattern[256];
    n_failed = 0;
    snprintf(pattern, sizeof pattern, TESTS_DIR "/connectors/%s/*.case", c->name);
    ck_assert_msg(glob(pattern, 0, NULL, &found) == 0, "no case in %s", pattern);
    for (size_t i = 0; i < found.gl_pathc; i++)
        n += run_file(found.gl_pathv[i]);
    globfree(&found);
    ck_assert_msg(n_failed == 0, "%d sections differ in %zu cases of %s", n_failed, n, pattern);
}

START_TEST(cases_of)
{
    run_all(connectors[_i]);
}
END_TEST

static int n_connectors(void)
{
    int n = 0;
    while (connectors[n] != NULL)
        n++;
    return n;
}

int main(void)
{
    Suite *suite = suite_create("connectors_cases");
    TCase *tcase = tcase_create("cases");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, cases_of, 0, n_connectors());
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

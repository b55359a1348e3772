/*
 * What leaves is read a second time, by readers that are not ours: tests/oracle/reader.py makes requests that are odd,
 * broken and hostile, this program reads and prunes them, and Python's email, json and urllib say whom the rest names.
 * With "-" it is that program: requests on stdin, what became of them on stdout, both in frames of a length (4 bytes,
 * little endian) and so many bytes; within a frame the same for each text.  Nobody whose address holds "blocked" is
 * sent to.  Longer: READER_CASES=1000000; READER_SEED repeats a run.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "postern/buf.h"
#include "postern/connector.h"
#include "postern/limits.h"

extern const struct connector smtp_connector, mailgun_connector, plivo_connector;
static const struct connector *const dialects[] = {&smtp_connector, &mailgun_connector, &plivo_connector};

#define NOW_MS     INT64_C(1795341600000)
#define FIELDS_MAX 1200u

struct frame {
    const uint8_t *p;
    size_t n;
};

static uint32_t take_u32(struct frame *f)
{
    ensure(f->n >= 4);
    uint32_t v = (uint32_t)f->p[0] | (uint32_t)f->p[1] << 8 | (uint32_t)f->p[2] << 16 | (uint32_t)f->p[3] << 24;
    *f = (struct frame){f->p + 4, f->n - 4};
    return v;
}

static struct slice take_text(struct frame *f)
{
    uint32_t n = take_u32(f);
    ensure(f->n >= n);
    struct slice s = {(const char *)f->p, n};
    *f = (struct frame){f->p + n, f->n - n};
    return s;
}

static void put_u32(struct buf *b, size_t v)
{
    char bytes[4] = {(char)(v & 0xFF), (char)(v >> 8 & 0xFF), (char)(v >> 16 & 0xFF), (char)(v >> 24 & 0xFF)};
    buf_add(b, bytes, sizeof bytes);
}

static void put_text(struct buf *b, struct slice s)
{
    put_u32(b, s.n);
    buf_add_slice(b, s);
}

/* Messages, each with its verdict, then the paths of the envelope, then the body. */
static void put_outcome(struct buf *b, const struct parsed *p, const bool *send, const struct outgoing *out)
{
    const struct mail_envelope *e = out->envelope;
    put_u32(b, p->n_messages);
    for (size_t i = 0; i < p->n_messages; i++) {
        put_u32(b, send[i]);
        put_text(b, slice_of(p->messages[i].to.text));
    }
    put_u32(b, e == NULL ? 0 : e->n_recipients);
    for (size_t i = 0; e != NULL && i < e->n_recipients; i++)
        put_text(b, e->recipients[i].path);
    put_text(b, out->body);
}

/* An empty answer: refused, or nobody is left. */
static void run_one(struct frame f, struct arena *a, struct buf *b)
{
    static const struct provider_login login = {.account = SLICE_INIT("MA1"), .secret = SLICE_INIT("key")};
    struct forward_options options = {.login = &login, .now_ms = NOW_MS};
    struct wire_field fields[FIELDS_MAX];
    const struct connector *c = dialects[take_u32(&f) % N_ELEMENTS(dialects)];
    struct wire_request r = {.method = take_text(&f), .path = take_text(&f), .fields = fields};
    struct route route;
    struct parsed p;
    struct fault fault;
    struct outgoing out;
    bool any = false;
    r.n_fields = take_u32(&f);
    ensure(r.n_fields <= FIELDS_MAX);
    for (size_t i = 0; i < r.n_fields; i++)
        fields[i] = (struct wire_field){take_text(&f), take_text(&f)};
    r.body = take_text(&f);
    if (c->match(&r, &route) != CALL_SEND || c->parse(&r, &route, NOW_MS, a, &p, &fault) != OK)
        return;
    bool *send = arena_calloc(a, p.n_messages, sizeof *send);
    ensure(send != NULL);
    for (size_t i = 0; i < p.n_messages; i++)
        any |= send[i] =
            strstr(p.messages[i].to.text, "blocked") == NULL && strstr(p.messages[i].to.text, "666") == NULL;
    if (any && c->forward(&r, &route, &p, send, &options, a, &out) == OK)
        put_outcome(b, &p, send, &out);
}

static int run_all(void)
{
    uint8_t head[4];
    while (fread(head, 1, 4, stdin) == 4) {
        struct frame f = {head, 4};
        struct arena a;
        struct buf b;
        size_t n = take_u32(&f);
        uint8_t *bytes = malloc(n + 1);
        ensure(bytes != NULL && fread(bytes, 1, n, stdin) == n);
        arena_init(&a, 4 * (size_t)LIMIT_ARENA_BYTES);
        buf_init(&b, &a, 2 * (size_t)LIMIT_ARENA_BYTES);
        put_u32(&b, 0);
        run_one((struct frame){bytes, n}, &a, &b);
        ensure(!b.failed);
        n = b.n - 4;
        struct buf size;
        buf_init(&size, &a, 64);
        put_u32(&size, n);
        memcpy(b.p, size.p, 4);
        ensure(fwrite(b.p, 1, b.n, stdout) == b.n && fflush(stdout) == 0);
        arena_clear(&a);
        free(bytes);
    }
    return 0;
}

START_TEST(names_the_same)
{
    const char *cases = getenv("READER_CASES");
    pid_t child = fork();
    ck_assert_int_ne(child, -1);
    if (child == 0) {
        char self[512];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        ensure(n > 0);
        self[n] = '\0';
        execl("/usr/bin/python3", "python3", TESTS_DIR "/oracle/reader.py", self, cases != NULL ? cases : "6000", NULL);
        _exit(127);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "reader.py ended with status %d", status);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "-") == 0)
        return run_all();
    Suite *s = suite_create("connectors_second_reader");
    TCase *tc = tcase_create("second_reader");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, names_the_same);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

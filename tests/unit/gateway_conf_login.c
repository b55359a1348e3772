/*
 * Whether a key or a user exists is not told by the time that a login takes: the same is hashed and compared for names
 * that there are and for others, which is counted here.  POSTERN_LOGIN_TIMING=1 takes the time as well: Welch's t over
 * a million logins of two kinds that take turns.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gateway/conf.h"
#include "postern/hash.h"

#define LOGINS 1000000u
#define T_MAX  4.5 /* beyond it chance is out of the question: dudect's bound */

static struct work {
    unsigned hashed, hashed_bytes, compared, compared_bytes;
} work;

struct digest __real_hash_sha256(const void *p, size_t n);
struct digest __wrap_hash_sha256(const void *p, size_t n);
bool __real_hash_equal(struct slice a, struct slice b);
bool __wrap_hash_equal(struct slice a, struct slice b);

struct digest __wrap_hash_sha256(const void *p, size_t n)
{
    work.hashed++;
    work.hashed_bytes += (unsigned)n;
    return __real_hash_sha256(p, n);
}

bool __wrap_hash_equal(struct slice a, struct slice b)
{
    work.compared++;
    work.compared_bytes += a.n == b.n ? (unsigned)a.n : 0;
    return __real_hash_equal(a, b);
}

/* Accounts and names of one length each. */
static const char text[] = "listen: { http: 127.0.0.1:0 }\nkeys:\n"
                           "  - { name: shop, account: AC00000000000000000000000000000001, secret: "
                           "SG.shop.123456789abcdef, roles: [sender] }\n"
                           "  - { name: desk, account: AC00000000000000000000000000000002, secret: "
                           "SG.desk.123456789abcdef, roles: [sender] }\n"
                           "  - { name: bill, account: AC00000000000000000000000000000003, secret: "
                           "SG.bill.123456789abcdef, roles: [sender] }\n";

static struct conf *conf;

static void setup(void)
{
    char path[] = "/tmp/postern-login-XXXXXX";
    struct errmsg e;
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    ck_assert_int_eq(fclose(f), 0);
    conf = conf_load(path, &e);
    ck_assert_msg(conf != NULL, "%s", e.text);
    remove(path);
}

static void teardown(void)
{
    conf_free(&conf);
}

typedef const struct conf_key *login(const struct conf *c, struct slice user, struct slice secret);

static const struct row {
    login *in;
    const char *user, *secret;
    const char *key; /* NULL: nobody */
} rows[] = {
    /* HTTP, with an account */
    {conf_authenticate, "AC00000000000000000000000000000009", "SG.none.123456789abcdef", NULL},
    {conf_authenticate, "AC00000000000000000000000000000001", "SG.none.123456789abcdef", NULL},
    {conf_authenticate, "AC00000000000000000000000000000003", "SG.none.123456789abcdef", NULL},
    {conf_authenticate, "AC00000000000000000000000000000001", "SG.shop.123456789abcdeg", NULL},
    {conf_authenticate, "AC00000000000000000000000000000001", "SG.desk.123456789abcdef", NULL},
    {conf_authenticate, "AC00000000000000000000000000000001", "SG.shop.123456789abcdef", "shop"},
    /* HTTP, a bearer */
    {conf_authenticate, "", "SG.none.123456789abcdef", NULL},
    {conf_authenticate, "", "SG.shop.123456789abcdeg", NULL},
    {conf_authenticate, "", "SG.bill.123456789abcdef", "bill"},
    /* SMTP, by account */
    {conf_authenticate_user, "AC00000000000000000000000000000009", "SG.none.123456789abcdef", NULL},
    {conf_authenticate_user, "AC00000000000000000000000000000001", "SG.none.123456789abcdef", NULL},
    {conf_authenticate_user, "AC00000000000000000000000000000003", "SG.bill.123456789abcdef", "bill"},
    /* by the key's own name */
    {conf_authenticate_user, "none", "SG.none.123456789abcdef", NULL},
    {conf_authenticate_user, "shop", "SG.none.123456789abcdef", NULL},
    {conf_authenticate_user, "shop", "SG.desk.123456789abcdef", NULL},
    {conf_authenticate_user, "bill", "SG.bill.123456789abcdef", "bill"},
};
static const size_t kinds[] = {0, 6, 9, 12, N_ELEMENTS(rows)}; /* rows of one kind cost the same */

static struct work work_of(const struct row *r)
{
    work = (struct work){0};
    const struct conf_key *k = r->in(conf, slice_of(r->user), slice_of(r->secret));
    ck_assert_msg(r->key == NULL ? k == NULL : k != NULL && strcmp(k->name, r->key) == 0, "%s %s", r->user, r->secret);
    return work;
}

START_TEST(the_same_work)
{
    struct work first = work_of(&rows[kinds[_i]]);
    ck_assert_uint_eq(first.hashed, 1);
    ck_assert_uint_gt(first.compared, 2); /* every key */
    for (size_t i = kinds[_i]; i < kinds[_i + 1]; i++) {
        struct work w = work_of(&rows[i]);
        ck_assert_msg(memcmp(&w, &first, sizeof(w)) == 0, "%s %s", rows[i].user, rows[i].secret);
    }
}
END_TEST

/* --- the time ------------------------------------------------------------------------------ */

struct sample {
    double n, mean, m2; /* Welford's */
};

static void add(struct sample *s, double x)
{
    double d = x - s->mean;
    s->n++;
    s->mean += d / s->n;
    s->m2 += d * (x - s->mean);
}

static double nanoseconds(const struct row *r)
{
    static char user[64], secret[64]; /* at one place for both: what they cost is to differ by what they are */
    struct timespec a, b;
    snprintf(user, sizeof(user), "%s", r->user);
    snprintf(secret, sizeof(secret), "%s", r->secret);
    struct slice u = slice_of(user), s = slice_of(secret);
    clock_gettime(CLOCK_MONOTONIC, &a);
    const struct conf_key *volatile k = r->in(conf, u, s);
    (void)k;
    clock_gettime(CLOCK_MONOTONIC, &b);
    return (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
}

/* Longer ones were interrupted. */
static double bound_of(const struct row *r)
{
    double least = INFINITY;
    for (unsigned i = 0; i < 10000; i++)
        least = fmin(least, nanoseconds(r));
    return 2 * least;
}

static double welch_t(const struct row *a, const struct row *b)
{
    struct sample s[2] = {{.n = 0}, {.n = 0}};
    double most = bound_of(a);
    uint64_t bits = 0;
    for (unsigned i = 0; i < LOGINS; i++) {
        if (i % 64 == 0)
            hash_random((uint8_t *)&bits, sizeof(bits));
        unsigned which = (unsigned)(bits >> i % 64 & 1);
        double ns = nanoseconds(which == 0 ? a : b);
        if (ns <= most)
            add(&s[which], ns);
    }
    double v = s[0].m2 / (s[0].n - 1) / s[0].n + s[1].m2 / (s[1].n - 1) / s[1].n;
    printf("%s %s, %s %s: %.1f ns, %.1f ns, t = %.2f\n", a->user, a->secret, b->user, b->secret, s[0].mean, s[1].mean,
           (s[0].mean - s[1].mean) / sqrt(v));
    fflush(stdout); /* the case may end in an assertion */
    return (s[0].mean - s[1].mean) / sqrt(v);
}

START_TEST(the_same_time)
{
    size_t first = kinds[_i];
    if (getenv("POSTERN_LOGIN_TIMING") == NULL)
        return;
    ck_assert(fabs(welch_t(&rows[first], &rows[first + 1])) < T_MAX);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gateway_conf_login");
    TCase *c = tcase_create("login");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, the_same_work, 0, (int)N_ELEMENTS(kinds) - 1);
    tcase_add_loop_test(c, the_same_time, 0, (int)N_ELEMENTS(kinds) - 1);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

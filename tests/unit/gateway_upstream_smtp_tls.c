/*
 * TLS to a relay, by STARTTLS and from the first byte: with a certificate that is right it is used, with one that is
 * wrong in any way nothing is sent, and no login leaves.
 */
#include "gateway_upstream_relay.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#define HOST "relay.test"
#define DAY  86400L

/* How a certificate is wrong; zero is right. */
struct flaw {
    const char *name;
    long from_s, to_s; /* from now; both 0: yesterday to tomorrow */
    const char *san;   /* NULL: the host's; "": none, its name is in the subject only */
    const char *usage; /* extended; NULL: any */
    int issuer;        /* AUTHORITY, or: */
    int rsa_bits;      /* 0: P-256 */
    int max_version;   /* of the server; 0: any */
};
enum { AUTHORITY, ITSELF, STRANGER, NO_AUTHORITY };

struct pair {
    EVP_PKEY *key;
    X509 *cert;
};

static struct pair authority, stranger, no_authority;
static char ca_file[40];

static void add_extension(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    ck_assert_ptr_nonnull(ext);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

/* by == NULL: signed by itself. */
static struct pair make(const char *cn, const struct flaw *f, bool is_ca, const struct pair *by)
{
    static long serial = 1;
    bool dated = f->from_s != 0 || f->to_s != 0;
    struct pair p = {f->rsa_bits ? EVP_RSA_gen((unsigned)f->rsa_bits) : EVP_EC_gen("P-256"), X509_new()};
    ck_assert(p.key && p.cert);
    X509_set_version(p.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(p.cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(p.cert), dated ? f->from_s : -DAY);
    X509_gmtime_adj(X509_getm_notAfter(p.cert), dated ? f->to_s : DAY);
    X509_set_pubkey(p.cert, p.key);
    X509_NAME *name = X509_get_subject_name(p.cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(p.cert, by ? X509_get_subject_name(by->cert) : name);
    add_extension(p.cert, NID_basic_constraints, is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    const char *san = f->san ? f->san : "DNS:" HOST;
    if (!is_ca && *san)
        add_extension(p.cert, NID_subject_alt_name, san);
    if (f->usage)
        add_extension(p.cert, NID_ext_key_usage, f->usage);
    ck_assert(X509_sign(p.cert, by ? by->key : p.key, EVP_sha256()) > 0);
    return p;
}

static void pair_free(struct pair *p)
{
    EVP_PKEY_free(p->key);
    X509_free(p->cert);
    *p = (struct pair){0};
}

static void use_certificate(const struct flaw *f)
{
    const struct pair *const issuers[] = {&authority, NULL, &stranger, &no_authority};
    struct pair p = make(HOST, f, false, issuers[f->issuer]);
    SSL_CTX_free(relay.tls);
    relay.tls = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_security_level(relay.tls, 0);
    if (f->max_version)
        SSL_CTX_set_max_proto_version(relay.tls, f->max_version);
    ck_assert_int_eq(SSL_CTX_use_certificate(relay.tls, p.cert), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(relay.tls, p.key), 1);
    if (f->issuer == NO_AUTHORITY)
        SSL_CTX_add1_chain_cert(relay.tls, no_authority.cert);
    pair_free(&p);
}

static void setup_tls(void)
{
    static const struct flaw none = {0};
    setup();
    authority = make("authority", &none, true, NULL);
    stranger = make("authority", &none, true, NULL); /* of the same name, even */
    no_authority = make("no authority", &none, false, &authority);
    snprintf(ca_file, sizeof ca_file, "/tmp/postern_relay_XXXXXX");
    FILE *out = fdopen(mkstemp(ca_file), "w");
    ck_assert(out && PEM_write_X509(out, authority.cert) == 1);
    fclose(out);
    use_certificate(&none);
    relay.offers = OFFERS "250-AUTH PLAIN\r\n";
}

static void teardown_tls(void)
{
    pair_free(&authority);
    pair_free(&stranger);
    pair_free(&no_authority);
    unlink(ca_file);
    teardown();
}

#define LOGIN .user = SLICE("apikey"), .secret = SLICE("SG.secret")

static struct upstream *to_relay(bool implicit, const char *host, const char *ca)
{
    relay.implicit = implicit;
    return upstream_to(implicit ? "smtps" : "smtp", host, (struct upstream_options){LOGIN, .ca_file = ca});
}

START_TEST(right_certificates_are_used)
{
    static const struct flaw addressed = {.san = "IP:127.0.0.1"};
    static const char *const hosts[] = {HOST, "127.0.0.1"};
    bool implicit = _i & 1, by_address = _i & 2;
    if (by_address)
        use_certificate(&addressed);
    relay.implicit = implicit;
    struct upstream *u = upstream_to(implicit ? "smtps" : "smtp", hosts[by_address],
                                     (struct upstream_options){LOGIN, .ca_file = ca_file, .starttls = true});
    for (int i = 1; i <= 3; i++) {
        struct seen s;
        send_and_wait(u, mail_to(&one, HELLO), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 250);
        ck_assert_int_eq(relay.n_messages, i);
    }
    ck_assert_int_eq(relay.n_connections, 1);
    ck_assert_ptr_nonnull(strstr(relay.said, implicit ? "EHLO localhost\nAUTH" : "STARTTLS\nEHLO localhost\nAUTH"));
    upstream_free(&u);
}
END_TEST

START_TEST(a_session_is_resumed)
{
    struct upstream *u = to_relay(false, HOST, ca_file);
    struct seen s;
    for (int i = 1; i <= 3; i++) {
        send_and_wait(u, mail_to(&one, HELLO), &s);
        expect(&s, UPSTREAM_ANSWERED, "answered", 250);
        relay_close(&relay.connections[i - 1], false);
        run_for(5);
    }
    ck_assert_int_eq(relay.n_connections, 3);
    ck_assert_int_eq(relay.n_resumed, 2);
    upstream_free(&u);
}
END_TEST

START_TEST(large_content_passes)
{
    static char content[3000000];
    relay_takes_little();
    for (size_t i = 0; i < sizeof content; i += 20)
        memcpy(content + i, "x23456789012345678\r\n", 20);
    struct upstream *u = to_relay(_i, HOST, ca_file);
    struct upstream_request req = mail_to(&one, "");
    struct seen s;
    req.body = (struct slice){content, sizeof content};
    send_and_wait(u, req, &s);
    expect(&s, UPSTREAM_ANSWERED, "answered", 250);
    ck_assert_uint_eq(evbuffer_get_length(relay.content), sizeof content + 3);
    ck_assert_int_eq(memcmp(evbuffer_pullup(relay.content, -1), content, sizeof content), 0);
    upstream_free(&u);
}
END_TEST

static const struct flaw flaws[] = {
    {.name = "expired", .from_s = -2 * DAY, .to_s = -DAY},
    {.name = "not yet valid", .from_s = DAY, .to_s = 2 * DAY},
    {.name = "another name", .san = "DNS:other.test"},
    {.name = "a name that only begins so", .san = "DNS:" HOST ".evil.test"},
    {.name = "a wildcard too wide", .san = "DNS:*.test"},
    {.name = "an address, not the name", .san = "IP:127.0.0.1"},
    {.name = "signed by itself", .issuer = ITSELF},
    {.name = "another authority of that name", .issuer = STRANGER},
    {.name = "issued by one who is no authority", .issuer = NO_AUTHORITY},
    {.name = "for clients", .usage = "clientAuth"},
    {.name = "a weak key", .rsa_bits = 1024},
    {.name = "TLS 1.1", .max_version = TLS1_1_VERSION},
    {.name = "no alternative name", .san = ""}, /* last: libcurl 7.88 takes the subject then */
};

START_TEST(wrong_certificates_are_refused)
{
    const struct flaw *f = &flaws[_i];
    for (int implicit = 0; implicit < (f->san && !*f->san ? 1 : 2); implicit++) {
        use_certificate(f);
        struct upstream *u = to_relay(implicit, HOST, ca_file);
        struct seen s;
        send_and_wait(u, mail_to(&one, HELLO), &s);
        ck_assert_msg(s.status == UPSTREAM_NOT_SENT && strcmp(s.reason, "tls_failed") == 0, "%s, %s: %s", f->name,
                      implicit ? "smtps" : "STARTTLS", s.reason);
        upstream_free(&u);
    }
    ck_assert_ptr_null(strstr(relay.said, "AUTH"));
    ck_assert_ptr_null(strstr(relay.said, "MAIL"));
}
END_TEST

START_TEST(the_system_does_not_know_our_authority)
{
    struct upstream *u = to_relay(_i, HOST, NULL);
    struct seen s;
    send_and_wait(u, mail_to(&one, HELLO), &s);
    expect(&s, UPSTREAM_NOT_SENT, "tls_failed", 0);
    upstream_free(&u);
}
END_TEST

START_TEST(no_tls_where_it_must_be)
{
    struct seen s;
    SSL_CTX_free(relay.tls); /* not offered */
    relay.tls = NULL;
    struct upstream *u = upstream_to("smtp", "127.0.0.1", (struct upstream_options){.starttls = true});
    send_and_wait(u, mail_to(&one, HELLO), &s);
    expect(&s, UPSTREAM_NOT_SENT, "tls_not_offered", 0);
    ck_assert_ptr_null(strstr(relay.said, "MAIL"));
    upstream_free(&u);
}
END_TEST

/* The relay says 220 and then something that is no TLS, or nothing. */
START_TEST(a_broken_handshake_ends)
{
    static const struct {
        enum deed deed;
        const char *says, *reason;
    } rows[] = {{DEED_SAY, "220 go\r\n", "connect_timeout"},
                {DEED_SAY_AND_CLOSE, "220 go\r\n", "tls_failed"},
                {DEED_SAY, "220 go\r\n250 injected\r\n", "tls_injection"},
                {DEED_SAY, "454 4.7.0 not now\r\n", "tls_refused"}};
    relay.at = AT_STARTTLS;
    relay.deed = rows[_i].deed;
    relay.says = rows[_i].says;
    struct upstream *u = upstream_to(
        "smtp", HOST, (struct upstream_options){LOGIN, .ca_file = ca_file, .starttls = true, .connect_ms = 80});
    struct seen s;
    send_and_wait(u, mail_to(&one, HELLO), &s);
    ck_assert_str_eq(s.reason, rows[_i].reason);
    ck_assert_int_eq(s.status, UPSTREAM_NOT_SENT);
    ck_assert_ptr_null(strstr(relay.said, "AUTH"));
    upstream_free(&u);
}
END_TEST

START_TEST(cancelled_in_the_handshake)
{
    relay.at = AT_STARTTLS;
    relay.deed = DEED_SAY;
    relay.says = "220 go\r\n";
    struct upstream *u = to_relay(false, HOST, ca_file);
    struct seen s;
    struct upstream_op *op = send_one(u, mail_to(&one, HELLO), &s);
    UNTIL(strstr(relay.said, "STARTTLS"));
    run_for(5);
    upstream_op_cancel(&op);
    run_for(5);
    ck_assert_int_eq(relay.n_open, 0);
    ck_assert_int_eq(s.calls, 0);
    upstream_free(&u);
}
END_TEST

int main(void)
{
    log_set_level(LOG_ERROR_);
    Suite *suite = suite_create("gateway_upstream_smtp_tls");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup_tls, teardown_tls);
    tcase_add_loop_test(t, right_certificates_are_used, 0, 4);
    tcase_add_test(t, a_session_is_resumed);
    tcase_add_loop_test(t, large_content_passes, 0, 2);
    tcase_add_loop_test(t, wrong_certificates_are_refused, 0, N_ELEMENTS(flaws));
    tcase_add_loop_test(t, the_system_does_not_know_our_authority, 0, 2);
    tcase_add_test(t, no_tls_where_it_must_be);
    tcase_add_loop_test(t, a_broken_handshake_ends, 0, 4);
    tcase_add_test(t, cancelled_in_the_handshake);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

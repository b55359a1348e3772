/* HTTPS out: the certificate is always verified, chain and name, and a failure is surely not sent. */
#include "gateway/upstream.h"

#include <check.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/loop.h"
#include "postern/log.h"

static struct loop *loop;
static SSL_CTX *tls;
static struct evconnlistener *listener;
static struct bufferevent *connections[8];
static size_t n_connections;
static int n_requests;
static char port[8];
static char ca_file[32];

static void on_read(struct bufferevent *bev, void *arg)
{
    (void)arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    if (evbuffer_search(in, "\r\n\r\nhello", 9, NULL).pos < 0)
        return;
    n_requests++;
    evbuffer_drain(in, evbuffer_get_length(in));
    evbuffer_add_printf(bufferevent_get_output(bev), "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok");
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int n, void *arg)
{
    (void)l;
    (void)sa;
    (void)n;
    (void)arg;
    ck_assert(n_connections < N_ELEMENTS(connections));
    struct bufferevent *bev = bufferevent_openssl_socket_new(loop_base(loop), fd, SSL_new(tls),
                                                             BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(bev, on_read, NULL, NULL, NULL);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
    connections[n_connections++] = bev;
}

/* Self-signed, for 127.0.0.1 and provider.test; written to ca_file as its own authority. */
static void make_certificate(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    ck_assert(key && cert);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1,DNS:provider.test");
    X509_add_ext(cert, san, -1);
    X509_EXTENSION_free(san);
    ck_assert(X509_sign(cert, key, EVP_sha256()) > 0);
    tls = SSL_CTX_new(TLS_server_method());
    ck_assert_int_eq(SSL_CTX_use_certificate(tls, cert), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(tls, key), 1);
    snprintf(ca_file, sizeof ca_file, "/tmp/postern_tls_XXXXXX");
    FILE *out = fdopen(mkstemp(ca_file), "w");
    ck_assert(out && PEM_write_X509(out, cert) == 1);
    fclose(out);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void setup(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    loop = loop_new();
    n_connections = 0;
    n_requests = 0;
    make_certificate();
    listener = evconnlistener_new_bind(loop_base(loop), on_accept, NULL, LEV_OPT_CLOSE_ON_FREE, 8,
                                       (struct sockaddr *)&in, sizeof in);
    ck_assert_ptr_nonnull(listener);
    ck_assert_int_eq(getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&in, &n), 0);
    snprintf(port, sizeof port, "%u", ntohs(in.sin_port));
}

static void teardown(void)
{
    for (size_t i = 0; i < n_connections; i++)
        bufferevent_free(connections[i]);
    evconnlistener_free(listener);
    SSL_CTX_free(tls);
    loop_free(&loop);
    unlink(ca_file);
}

struct seen {
    bool done;
    enum upstream_status status;
    int http_status;
    char reason[32];
};

static void on_result(void *arg, const struct upstream_result *r)
{
    struct seen *s = arg;
    s->done = true;
    s->status = r->status;
    s->http_status = r->http_status;
    snprintf(s->reason, sizeof s->reason, "%s", r->reason);
}

/* One request to https://host:port, where host stands for 127.0.0.1. */
static struct seen ask(const char *host, bool trusted, int times)
{
    char base[80], resolve[80];
    struct seen s = {0};
    struct errmsg e;
    snprintf(base, sizeof base, "https://%s:%s", host, port);
    snprintf(resolve, sizeof resolve, "%s:%s:127.0.0.1", host, port);
    struct upstream_options opt = {.name = "tls",
                                   .url = base,
                                   .resolve = resolve,
                                   .allow_private = true,
                                   .total_ms = 5000,
                                   .ca_file = trusted ? ca_file : NULL};
    struct upstream *u = upstream_new(loop, &opt, &e);
    ck_assert_ptr_nonnull(u);
    for (int i = 0; i < times; i++) {
        s.done = false;
        struct upstream_request req = {.method = "POST", .path_and_query = SLICE("/"), .body = SLICE("hello")};
        ck_assert_ptr_nonnull(upstream_send(u, &req, on_result, &s));
        while (!s.done)
            loop_turn(loop, true);
    }
    upstream_free(&u);
    return s;
}

START_TEST(trusted)
{
    static const char *const hosts[] = {"127.0.0.1", "provider.test"};
    for (size_t i = 0; i < N_ELEMENTS(hosts); i++) {
        struct seen s = ask(hosts[i], true, 3);
        ck_assert_str_eq(s.reason, "answered");
        ck_assert_int_eq(s.http_status, 202);
    }
    ck_assert_int_eq(n_requests, 6);
    ck_assert_uint_eq(n_connections, 2);
}
END_TEST

START_TEST(not_trusted)
{
    struct seen s = ask("127.0.0.1", false, 1);
    ck_assert_str_eq(s.reason, "tls_failed");
    ck_assert_int_eq(s.status, UPSTREAM_NOT_SENT);
    s = ask("other.test", true, 1);
    ck_assert_str_eq(s.reason, "tls_failed");
    ck_assert_int_eq(s.status, UPSTREAM_NOT_SENT);
    ck_assert_int_eq(n_requests, 0);
}
END_TEST

int main(void)
{
    log_set_level(LOG_ERROR_);
    Suite *suite = suite_create("gateway_upstream_tls");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 20);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, trusted);
    tcase_add_test(t, not_trusted);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/*
 * What the tests of the SMTP listener share: a listener with its user, and clients, plain sockets that do not wait.
 * A test waits for what it expects, and fails after GUARD_MS.  Header only, as each test file is a program.
 */
#ifndef TESTS_GATEWAY_SMTP_CLIENT_H
#define TESTS_GATEWAY_SMTP_CLIENT_H

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/auth_backoff.h"
#include "gateway/loop.h"
#include "gateway/smtp_listen.h"
#include "postern/clock.h"

#define GUARD_MS 5000
#define UNUSED   __attribute__((unused))

/* AUTH PLAIN of "shop" and "right", and of "shop" and "wrong". */
#define AUTH_RIGHT "AUTH PLAIN AHNob3AAcmlnaHQ=\r\n"
#define AUTH_WRONG "AUTH PLAIN AHNob3AAd3Jvbmc=\r\n"
#define EHLO       "EHLO client.example\r\n"
#define MAIL       "MAIL FROM:<a@b.example>\r\n"
#define RCPT       "RCPT TO:<c@d.example>\r\n"
#define CONTENT    "Subject: x\r\n\r\nhello\r\n.\r\n"

/* The application side of the test: keeps what it is asked, or answers at once. */
struct user {
    bool keeps_recipients, keeps_messages;
    const char *recipient_reply, *message_reply, *refusal, *greeting_refusal;
    struct smtp_transaction *recipient, *messages[64];
    size_t n_recipients, n_messages, n_logins; /* asked so far */
};

struct client {
    int fd;
    SSL *tls;
    char *text; /* all that came, NUL-terminated */
    size_t n;
    size_t n_reads; /* how many times something came: over TLS, records */
    bool closed, broken;
};

static struct loop *loop;
static struct smtp_listener *listener;
static struct user user;

UNUSED static const void *on_login(struct slice name, struct slice secret, const char *peer, void *arg)
{
    ck_assert_ptr_eq(arg, &user);
    ck_assert_int_eq(strncmp(peer, "127.0.0.", 8), 0);
    user.n_logins++;
    return slice_eq_cstr(name, "shop") && slice_eq_cstr(secret, "right") ? "the shop" : NULL;
}

UNUSED static void on_recipient(struct smtp_transaction *t, void *arg)
{
    (void)arg;
    user.n_recipients++;
    user.recipient = t;
    if (!user.keeps_recipients)
        smtp_transaction_answer(t, slice_of(user.recipient_reply));
}

UNUSED static void on_message(struct smtp_transaction *t, void *arg)
{
    (void)arg;
    ck_assert_uint_lt(user.n_messages, N_ELEMENTS(user.messages));
    user.messages[user.n_messages++] = t;
    if (!user.keeps_messages)
        smtp_transaction_answer(t, user.message_reply == NULL ? SLICE("250 2.0.0 Ok: queued as 1\r\n")
                                                              : slice_of(user.message_reply));
}

UNUSED static const char *on_refuses(bool greeting, void *arg)
{
    (void)arg;
    return greeting ? user.greeting_refusal : user.refusal;
}

UNUSED static void start(struct smtp_listen_options o)
{
    struct errmsg e = {""};

    if (loop == NULL)
        loop = loop_new();
    o.address = o.address == NULL ? "127.0.0.1:0" : o.address;
    o.host = "postern.example";
    o.login = on_login;
    o.recipient = on_recipient;
    o.message = on_message;
    o.refuses = on_refuses;
    o.arg = &user;
    o.auth_in_clear = o.tls_key == NULL;
    o.login_ms = o.login_ms == 0 ? 1 : o.login_ms;
    listener = smtp_listener_new(loop, &o, &e);
    ck_assert_msg(listener != NULL, "%s", e.text);
}

UNUSED static void stop(void)
{
    smtp_listener_free(&listener);
    ck_assert_ptr_null(listener);
    loop_free(&loop);
    user = (struct user){0};
}

UNUSED static const struct smtp_counters *counters(void)
{
    return smtp_listener_counters(listener);
}

/* From 127.0.0.x: all of these are this machine. */
UNUSED static struct client *client_from(unsigned x)
{
    struct client *c = xcalloc(1, sizeof(*c));
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000000u + x)};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(smtp_listener_port(listener)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    c->text = xstrdup("");
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(c->fd, (struct sockaddr *)&from, sizeof(from)), 0);
    ck_assert_int_eq(connect(c->fd, (struct sockaddr *)&to, sizeof(to)), 0);
    ck_assert_int_eq(fcntl(c->fd, F_SETFL, O_NONBLOCK), 0);
    return c;
}

UNUSED static struct client *client_new(void)
{
    return client_from(1);
}

UNUSED static void client_free(struct client *c)
{
    SSL_free(c->tls);
    close(c->fd);
    free(c->text);
    free(c);
}

/* Leave with a RST: a FIN alone could be a client that still waits for its reply. */
UNUSED static void client_reset(struct client *c)
{
    struct linger reset = {.l_onoff = 1};
    ck_assert_int_eq(setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    client_free(c);
}

UNUSED static void say_bytes(struct client *c, const char *bytes, size_t n)
{
    if (c->tls != NULL) {
        ck_assert_int_eq(SSL_write(c->tls, bytes, (int)n), (int)n);
        return;
    }
    while (n > 0) {
        ssize_t sent = send(c->fd, bytes, n, MSG_NOSIGNAL);
        if (sent == -1 && errno == EAGAIN) {
            (void)loop_turn(loop, false);
            continue;
        }
        if (sent == -1)
            return; /* closed: what it said before is still to be read */
        bytes += sent;
        n -= (size_t)sent;
    }
}

UNUSED static void say(struct client *c, const char *text)
{
    say_bytes(c, text, strlen(text));
}

/* Take what is there, one read at a time, so that reads can be counted. */
UNUSED static void client_take(struct client *c)
{
    char bytes[65536];
    ssize_t n = 0;

    if (c->closed)
        return;
    if (c->tls != NULL) {
        ERR_clear_error();
        n = SSL_read(c->tls, bytes, sizeof(bytes));
        int why = n > 0 ? 0 : SSL_get_error(c->tls, (int)n);
        c->closed = why != 0 && why != SSL_ERROR_WANT_READ;
    } else {
        n = recv(c->fd, bytes, sizeof(bytes), 0);
        c->broken = n == -1 && errno != EAGAIN;
        c->closed = n == 0 || c->broken;
    }
    if (n <= 0)
        return;
    c->text = xrealloc(c->text, 1, c->n + (size_t)n + 1);
    memcpy(c->text + c->n, bytes, (size_t)n);
    c->n += (size_t)n;
    c->text[c->n] = '\0';
    c->n_reads++;
}

/* Turn the loop, without waiting for it, until cond holds: clients are polled. */
#define WAIT_FOR(who, cond)                                                                                            \
    do {                                                                                                               \
        int64_t until_ms_ = clock_mono_ms() + GUARD_MS;                                                                \
        struct client *client_ = (who);                                                                                \
        while (!(cond) && clock_mono_ms() < until_ms_) {                                                               \
            (void)loop_turn(loop, false);                                                                              \
            if (client_ != NULL)                                                                                       \
                client_take(client_);                                                                                  \
        }                                                                                                              \
        ck_assert_msg((cond), "waited too long for " #cond "; heard: %s", client_ != NULL ? client_->text : "");       \
    } while (0)
#define WAIT(cond) WAIT_FOR((struct client *)NULL, cond)

UNUSED static bool has(const struct client *c, const char *text)
{
    return strstr(c->text, text) != NULL;
}

UNUSED static bool ends(const struct client *c, const char *text)
{
    size_t n = strlen(text);
    return c->n >= n && memcmp(c->text + c->n - n, text, n) == 0;
}

UNUSED static void forget(struct client *c)
{
    c->n = c->n_reads = 0;
    c->text[0] = '\0';
}

/* Say that, and hear exactly this. */
#define TALK(who, said, heard)                                                                                         \
    do {                                                                                                               \
        forget(who);                                                                                                   \
        say(who, said);                                                                                                \
        WAIT_FOR(who, (who)->n >= strlen(heard) || (who)->closed);                                                     \
        ck_assert_str_eq((who)->text, heard);                                                                          \
    } while (0)

#define GREETING  "220 postern.example ESMTP Postern\r\n"
#define LOGIN_OK  "235 2.7.0 Authentication successful\r\n"
#define MAIL_OK   "250 2.1.0 Ok\r\n"
#define RCPT_OK   "250 2.1.5 Ok\r\n"
#define QUEUED    "250 2.0.0 Ok: queued as 1\r\n"
#define DRAIN_421 "421 4.3.2 Service not available, closing transmission channel\r\n"
#define LATE_421  "421 4.4.2 Timeout, closing transmission channel\r\n"

/* Greeted, has said EHLO and logged in. */
UNUSED static struct client *client_logged_in_from(unsigned x)
{
    struct client *c = client_from(x);
    WAIT_FOR(c, c->n > 0);
    ck_assert_str_eq(c->text, GREETING);
    say(c, EHLO);
    WAIT_FOR(c, has(c, "\n250 "));
    TALK(c, AUTH_RIGHT, LOGIN_OK);
    return c;
}

UNUSED static struct client *client_logged_in(void)
{
    return client_logged_in_from(1);
}

/* --- TLS ------------------------------------------------------------------------------------ */

static char certificate_file[128], key_file[128];

UNUSED static void remove_certificate(void)
{
    unlink(certificate_file);
    unlink(key_file);
}

/* A fresh pair; serial tells them apart. */
UNUSED static void make_certificate(long serial)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"postern.example", -1, -1, 0);
    X509_set_issuer_name(x, name);
    ensure(X509_sign(x, key, EVP_sha256()) != 0);

    if (certificate_file[0] == '\0') { /* else a test replaces it, for the process that it runs in and the others */
        snprintf(certificate_file, sizeof(certificate_file), "/tmp/postern-smtp-%d.crt", (int)getpid());
        snprintf(key_file, sizeof(key_file), "/tmp/postern-smtp-%d.key", (int)getpid());
    }
    FILE *f = fopen(certificate_file, "wb");
    ensure(f != NULL && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
    f = fopen(key_file, "wb");
    ensure(f != NULL && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(f) == 0);
    X509_free(x);
    EVP_PKEY_free(key);
}

UNUSED static struct smtp_listen_options with_tls(bool implicit)
{
    return (struct smtp_listen_options){
        .tls_certificate = certificate_file, .tls_key = key_file, .implicit_tls = implicit};
}

/* False: refused. */
UNUSED static bool client_tls_as(struct client *c, const char *alpn)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    int64_t until_ms = clock_mono_ms() + GUARD_MS;
    int rc = 0, why = SSL_ERROR_WANT_READ;

    c->tls = SSL_new(tls);
    SSL_CTX_free(tls);
    SSL_set_fd(c->tls, c->fd);
    if (alpn != NULL)
        SSL_set_alpn_protos(c->tls, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    while (why == SSL_ERROR_WANT_READ && clock_mono_ms() < until_ms) {
        ERR_clear_error();
        rc = SSL_connect(c->tls);
        why = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(c->tls, rc);
        (void)loop_turn(loop, false);
    }
    return rc == 1;
}

UNUSED static void client_tls(struct client *c)
{
    ck_assert(client_tls_as(c, NULL));
}

static int run_tests(const char *name, const TTest *const *list, size_t n)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *s = suite_create(name);
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 30);
    for (size_t i = 0; i < n; i++)
        tcase_add_test(t, list[i]);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

#endif

/*
 * The HTTP listener on real sockets: requests and replies in order, refusals, clients
 * that leave, draining, TLS, its options.  Deadlines and caps: gateway_http_limits.c.
 */
#include "tests/unit/gateway_http_client.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

START_TEST(test_one_request)
{
    start((struct http_listen_options){0});
    struct client *c = client_new();
    say(c, "POST /v3/mail/send?x=1 HTTP/1.1\r\nHost: h\r\nA: 1\r\na: 2\r\nContent-Length: 5\r\n\r\nhel");
    WAIT(http_listener_counters(listener)->open == 1);
    say(c, "lo");
    WAIT(user.n == 1);
    struct http_request *r = user.kept[0];
    ck_assert_int_eq(r->method, HTTP_POST);
    ck_assert(slice_eq_cstr(r->path, "/v3/mail/send"));
    ck_assert(slice_eq_cstr(r->query, "x=1"));
    ck_assert(slice_eq_cstr(r->body, "hello"));
    ck_assert(slice_eq_cstr(http_request_header(r, "A"), "1"));
    ck_assert_uint_eq(http_request_header_count(r, "a"), 2);
    ck_assert_ptr_null(http_request_header(r, "B").p);
    ck_assert(r->loopback_listener && !r->tls && !r->was_gzip);
    ck_assert_int_eq(strncmp(r->peer, "127.0.0.1:", 10), 0);
    struct http_header extra = {SLICE("X-Message-Id"), SLICE("m1")};
    http_reply(r, &(struct http_reply){.status = 202, .headers = &extra, .n_headers = 1});
    WAIT(has(c, "\r\n\r\n"));
    ck_assert(has(c, "HTTP/1.1 202 Accepted\r\nDate: "));
    ck_assert(has(c, "X-Message-Id: m1\r\nContent-Length: 0\r\n\r\n"));
    ck_assert(!has(c, "Connection:"));
    say(c, GET); /* the connection is still good */
    WAIT(user.n == 2);
    reply_text(user.kept[1], 200, "second");
    WAIT(has(c, "Content-Length: 6\r\n\r\nsecond"));
    ck_assert_uint_eq(http_listener_counters(listener)->accepted, 1);
    ck_assert_uint_eq(http_listener_counters(listener)->replies, 2);
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_no_body_for_head_and_204)
{
    start((struct http_listen_options){0});
    struct client *c = client_new();
    say(c, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" GET GET);
    WAIT(user.n == 3);
    reply_text(user.kept[0], 200, "not for HEAD");
    reply_text(user.kept[1], 204, "not for 204");
    reply_text(user.kept[2], 200, "body");
    WAIT(has(c, "\r\n\r\nbody"));
    ck_assert(!has(c, "not for"));
    ck_assert(has(c, "Content-Length: 12\r\n"));
    ck_assert_uint_eq(count_of(c, "Content-Length"), 2);
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_pipelined_in_order)
{
    start((struct http_listen_options){0});
    struct client *c = client_new();
    say(c, GET GET GET);
    WAIT(user.n == 3);
    reply_text(user.kept[2], 200, "third");
    reply_text(user.kept[1], 200, "second");
    ck_assert_uint_eq(c->n, 0);
    reply_text(user.kept[0], 200, "first");
    WAIT(has(c, "third"));
    ck_assert(strstr(c->text, "first") < strstr(c->text, "second"));
    ck_assert(strstr(c->text, "second") < strstr(c->text, "third"));
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_pipeline_limit)
{
    start((struct http_listen_options){0});
    struct client *c = client_new();
    for (unsigned i = 0; i < LIMIT_HTTP_PIPELINE + 8; i++) {
        say(c, GET);
    }
    WAIT(user.n == LIMIT_HTTP_PIPELINE);
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_uint_eq(user.n, LIMIT_HTTP_PIPELINE); /* reading pauses */
    reply_text(user.kept[0], 200, "r0.");
    WAIT(user.n == LIMIT_HTTP_PIPELINE + 1);
    for (size_t i = 1; i < LIMIT_HTTP_PIPELINE + 1; i++) {
        reply_text(user.kept[i], 200, "r.");
    }
    WAIT(user.n == LIMIT_HTTP_PIPELINE + 8);
    for (size_t i = LIMIT_HTTP_PIPELINE + 1; i < user.n; i++) {
        reply_text(user.kept[i], 200, "r.");
    }
    WAIT(count_of(c, "HTTP/1.1 200 OK") == LIMIT_HTTP_PIPELINE + 8);
    client_free(c);
    stop();
}
END_TEST

/* Answered inside on_request: no recursion, however many come at once. */
START_TEST(test_many_at_once)
{
    user.at_once = true;
    start((struct http_listen_options){0});
    struct client *c = client_new();
    say(c, GET);
    WAIT(has(c, "\r\n\r\nok"));
    size_t one = c->n;
    for (int i = 1; i < 5000; i++) {
        say(c, GET);
    }
    WAIT(c->n == 5000 * one);
    ck_assert_uint_eq(user.n, 5000);
    ck_assert_uint_eq(count_of(c, "\r\n\r\nok"), 5000);
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_expect_continue)
{
    static const char head[] = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    start((struct http_listen_options){0});
    struct client *c = client_new();
    say(c, head);
    WAIT(has(c, "HTTP/1.1 100 Continue\r\n\r\n"));
    say(c, "hi");
    WAIT(user.n == 1);
    say(c, head); /* while the first is unanswered: its reply comes first */
    WAIT(evbuffer_get_length(bufferevent_get_output(c->bev)) == 0);
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_uint_eq(count_of(c, "100 Continue"), 1);
    reply_text(user.kept[0], 200, "first");
    WAIT(count_of(c, "100 Continue") == 2);
    ck_assert(strstr(c->text, "first") < strstr(strstr(c->text, "Continue") + 1, "Continue"));
    say(c, "ho");
    WAIT(user.n == 2);
    reply_text(user.kept[1], 200, "done");
    WAIT(has(c, "done"));
    client_free(c);
    stop();
}
END_TEST

START_TEST(test_refused_with_problem_details)
{
    start((struct http_listen_options){0});
    struct client *c = client_new();
    say(c, GET "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n" GET);
    WAIT(user.n == 1);
    reply_text(user.kept[0], 200, "first");
    WAIT(c->closed);
    const char *second = strstr(c->text, "HTTP/1.1 400 Bad Request");
    ck_assert_ptr_nonnull(second);
    ck_assert(strstr(c->text, "first") < second);
    ck_assert(has(c, "Connection: close\r\n"));
    ck_assert(has(c, "Content-Type: application/problem+json\r\n"));
    ck_assert(has(c, "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"reason\":\"bare_lf\","
                     "\"detail\":\"LF without CR; lines end with CRLF (at byte 23 of the request)\"}"));
    ck_assert_uint_eq(user.n, 1); /* nothing after it is read */
    ck_assert_uint_eq(faults(HTTP_FAULT_BARE_LF), 1);
    client_free(c);
    stop();
}
END_TEST

static char *read_text(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    char *text = xcalloc(1, 1u << 20);
    *n = fread(text, 1, (1u << 20) - 1, f);
    fclose(f);
    return text;
}

/* Send one file of tests/http; line is what expected.txt says about it: "event | event | ...". */
static void send_raw_file(const char *name, char *line)
{
    char path[512], status[32] = "";
    size_t n = 0;
    snprintf(path, sizeof(path), "%s/http/%s.raw", TESTS_DIR, name);
    char *raw = read_text(path, &n);
    size_t n_accepted = 0;
    for (char *event = line; event != NULL; event = strstr(event, " | ")) {
        event += strncmp(event, " | ", 3) == 0 ? 3 : 0;
        n_accepted += strncmp(event, "body ", 5) == 0;
        if (event[0] >= '4' && event[0] <= '5') {
            snprintf(status, sizeof(status), "HTTP/1.1 %.3s ", event);
        }
    }
    struct client *c = client_new();
    size_t asked_before = user.n;
    bufferevent_write(c->bev, raw, n);
    WAIT(evbuffer_get_length(bufferevent_get_output(c->bev)) == 0);
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    WAIT(c->closed);
    ck_assert_msg(user.n - asked_before == n_accepted, "%s: %zu requests accepted", name, user.n - asked_before);
    ck_assert_msg(count_of(c, "HTTP/1.1 200 OK") == n_accepted, "%s: %s", name, c->text);
    ck_assert_msg(status[0] == '\0' || has(c, status), "%s: not %s but %s", name, status, c->text);
    ck_assert_msg(status[0] != '\0' || count_of(c, "HTTP/1.1 4") + count_of(c, "HTTP/1.1 5") == 0, "%s", name);
    client_free(c);
    free(raw);
}

/* What the parser refuses gets that answer on the wire, and nothing of it reaches the user. */
START_TEST(test_raw_files)
{
    user.at_once = true;
    start((struct http_listen_options){.max_body_bytes = 4096});
    size_t n = 0;
    char *text = read_text(TESTS_DIR "/http/expected.txt", &n);
    for (char *line = text, *next = NULL; *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        *next++ = '\0';
        char *gap = strstr(line, "  ");
        ck_assert_ptr_nonnull(gap);
        *gap = '\0';
        send_raw_file(line, gap + 2);
    }
    free(text);
    stop();
}
END_TEST

static bool shape(enum http_fault fault, const char *detail, struct slice path, struct arena *arena,
                  struct http_reply *reply, void *arg)
{
    ck_assert_ptr_eq(arg, &user);
    ck_assert_int_eq(fault, HTTP_FAULT_BODY_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(detail, "too large"));
    if (!slice_eq_cstr(path, "/v3/mail/send")) {
        return false;
    }
    reply->content_type = "application/json";
    reply->body = slice_of(arena_printf(arena, "{\"errors\":[{\"message\":\"%s\"}]}", http_fault_text(fault)));
    return true;
}

START_TEST(test_shaped_errors)
{
    start((struct http_listen_options){.shape_error = shape, .max_body_bytes = 10});
    struct client *a = client_new(), *b = client_new();
    say(a, "POST /v3/mail/send HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
    say(b, "POST /other HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n");
    WAIT(a->closed && b->closed);
    ck_assert(has(a, "HTTP/1.1 413 Content Too Large\r\n"));
    ck_assert(has(a, "{\"errors\":[{\"message\":\"the body is too large\"}]}"));
    ck_assert(!has(a, "100 Continue"));
    ck_assert(has(b, "application/problem+json"));
    client_free(a);
    client_free(b);
    stop();
}
END_TEST

START_TEST(test_client_leaves)
{
    start((struct http_listen_options){0});
    struct client *c = client_new();
    say(c, GET GET "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf");
    WAIT(user.n == 2);
    client_reset(c);
    WAIT(http_listener_counters(listener)->open == 0);
    ck_assert_uint_eq(faults(HTTP_FAULT_CLIENT_LEFT), 1);
    ck_assert_uint_eq(http_listener_counters(listener)->unanswered, 2);
    ck_assert(slice_eq_cstr(user.kept[1]->path, "/")); /* still whole */
    reply_text(user.kept[1], 200, "to nobody");
    reply_text(user.kept[0], 200, "to nobody");
    ck_assert_uint_eq(http_listener_counters(listener)->unanswered, 0);
    ck_assert_uint_eq(http_listener_counters(listener)->replies, 0);
    stop();
}
END_TEST

/* A client that has only shut its sending side still waits. */
START_TEST(test_half_closed_client)
{
    start((struct http_listen_options){0});
    struct client *c = client_new();
    say(c, GET);
    WAIT(user.n == 1);
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_uint_eq(http_listener_counters(listener)->open, 1);
    reply_text(user.kept[0], 200, "still here");
    WAIT(c->closed);
    ck_assert(has(c, "still here"));
    client_free(c);
    WAIT(http_listener_counters(listener)->open == 0);
    ck_assert_uint_eq(faults(HTTP_FAULT_CLIENT_LEFT), 0);
    stop();
}
END_TEST

START_TEST(test_close_on_request)
{
    start((struct http_listen_options){0});
    struct client *a = client_new(), *b = client_new(), *c = client_new();
    say(a, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET);
    WAIT(user.n == 1);
    say(b, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    WAIT(user.n == 2);
    say(c, GET GET);
    WAIT(user.n == 4);
    reply_text(user.kept[0], 200, "bye");
    reply_text(user.kept[1], 200, "more");
    user.reply_closes = true;
    reply_text(user.kept[2], 200, "last");
    reply_text(user.kept[3], 200, "dropped");
    WAIT(a->closed && c->closed && has(b, "more"));
    ck_assert_uint_eq(count_of(a, "HTTP/1.1"), 1);
    ck_assert(has(a, "Connection: close\r\n"));
    ck_assert(has(b, "Connection: keep-alive\r\n") && !b->closed);
    ck_assert(has(c, "last") && !has(c, "dropped"));
    ck_assert_uint_eq(user.n, 4);
    client_free(a);
    client_free(b);
    client_free(c);
    stop();
}
END_TEST

static int n_empty;

static void on_empty(void *arg)
{
    ck_assert_ptr_eq(arg, &n_empty);
    n_empty++;
}

START_TEST(test_drain)
{
    start((struct http_listen_options){0});
    struct client *idle = client_new(), *busy = client_new(), *half = client_new(), *gone = client_new();
    say(busy, GET);
    WAIT(user.n == 1);
    say(gone, GET);
    WAIT(user.n == 2);
    client_reset(gone);
    say(half, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n1");
    WAIT(http_listener_counters(listener)->open == 3 && http_listener_counters(listener)->inflight_bytes > 0);
    struct sockaddr_in to = listener_address();
    http_listener_drain(listener, on_empty, &n_empty);
    ck_assert_int_eq(n_empty, 0);
    WAIT(idle->closed);
    ck_assert_uint_eq(idle->n, 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), -1);
    close(fd);
    say(half, "2");
    WAIT(user.n == 3);
    reply_text(user.kept[0], 200, "one");
    reply_text(user.kept[2], 200, "three");
    WAIT(busy->closed && half->closed);
    ck_assert(has(busy, "one") && has(busy, "Connection: close\r\n"));
    ck_assert(has(half, "three") && has(half, "Connection: close\r\n"));
    client_free(idle);
    client_free(busy);
    client_free(half);
    WAIT(http_listener_counters(listener)->open == 0);
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(n_empty, 0); /* one request is unanswered, though its client left */
    reply_text(user.kept[1], 200, "to nobody");
    ck_assert_int_eq(n_empty, 0); /* never inside a call */
    WAIT(n_empty == 1);
    stop();
}
END_TEST

START_TEST(test_drain_when_empty)
{
    start((struct http_listen_options){0});
    http_listener_drain(listener, on_empty, &n_empty);
    ck_assert_int_eq(n_empty, 0);
    WAIT(n_empty == 1);
    stop();
}
END_TEST

START_TEST(test_freed_while_asked)
{
    start((struct http_listen_options){0});
    struct client *c = client_new();
    say_body(c, 100000, false);
    WAIT(user.n == 1);
    http_listener_free(&listener);
    ck_assert_uint_eq(user.kept[0]->body.n, 100000);
    reply_text(user.kept[0], 200, "to nobody");
    WAIT(c->closed);
    client_free(c);
    stop();
}
END_TEST

/* A self-signed certificate for an hour, in two files. */
static void write_certificate(const char *certificate, const char *key)
{
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, pkey);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"h", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    ck_assert_int_gt(X509_sign(x, pkey, EVP_sha256()), 0);
    FILE *f = fopen(certificate, "w");
    ck_assert_int_eq(PEM_write_X509(f, x), 1);
    fclose(f);
    f = fopen(key, "w");
    ck_assert_int_eq(PEM_write_PrivateKey(f, pkey, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(pkey);
}

START_TEST(test_tls)
{
    char dir[] = "/tmp/postern-http-XXXXXX", certificate[64], key[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(certificate, sizeof(certificate), "%s/cert.pem", dir);
    snprintf(key, sizeof(key), "%s/key.pem", dir);
    write_certificate(certificate, key);
    start((struct http_listen_options){.tls_certificate = certificate, .tls_key = key, .head_ms = 150});
    unlink(certificate);
    unlink(key);
    rmdir(dir);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    struct client *c = client_new_tls(ssl);
    say(c, GET);
    WAIT(user.n == 1);
    ck_assert(user.kept[0]->tls);
    reply_text(user.kept[0], 200, "over TLS");
    WAIT(has(c, "over TLS"));
    ck_assert_int_ge(SSL_version(ssl), TLS1_2_VERSION);
    say(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    WAIT(user.n == 2);
    reply_text(user.kept[1], 200, "bye");
    WAIT(c->closed);
    ck_assert(has(c, "bye"));
    client_free(c);
    WAIT(http_listener_counters(listener)->open == 0);

    SSL *old = SSL_new(ctx);
    SSL_set_security_level(old, 0);
    SSL_set_max_proto_version(old, TLS1_1_VERSION);
    struct client *too_old = client_new_tls(old);
    WAIT(too_old->closed);
    struct client *silent = client_new(); /* no handshake at all */
    WAIT(silent->closed);
    struct client *plain = client_new();
    say(plain, GET);
    WAIT(plain->closed);
    WAIT(faults(HTTP_FAULT_HANDSHAKE_FAILED) == 3);
    ck_assert_uint_eq(user.n, 2);
    client_free(too_old);
    client_free(silent);
    client_free(plain);
    SSL_CTX_free(ctx);
    stop();
}
END_TEST

START_TEST(test_bad_options)
{
    static const struct {
        const char *address, *certificate, *key, *says;
    } rows[] = {
        {NULL, NULL, NULL, "no address"},
        {"", NULL, NULL, "no address"},
        {"8080", NULL, NULL, "'8080' is no address to listen on; write 127.0.0.1:8080 or [::1]:8080"},
        {":8080", NULL, NULL, "no address"},
        {"127.0.0.1:", NULL, NULL, "no address"},
        {"127.0.0.1:65536", NULL, NULL, "no address"},
        {"127.0.0.1:+80", NULL, NULL, "no address"},
        {"127.0.0.256:80", NULL, NULL, "no address"},
        {"::1:80", NULL, NULL, "no address"},
        {"[::1:80", NULL, NULL, "no address"},
        {"[", NULL, NULL, "no address"},
        {"[:1", NULL, NULL, "no address"},
        {"192.0.2.1:80", NULL, NULL, "cannot listen on 192.0.2.1:80: Cannot assign requested address"},
        {"127.0.0.1:0", "/no/such.pem", NULL, "both"},
        {"127.0.0.1:0", "/no/such.pem", "/no/such.key", "cannot use the TLS certificate /no/such.pem: "},
    };
    base = event_base_new();
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct errmsg e = {""};
        struct http_listen_options o = {.address = rows[i].address,
                                        .tls_certificate = rows[i].certificate,
                                        .tls_key = rows[i].key,
                                        .on_request = on_request};
        ck_assert_ptr_null(http_listener_new(base, &o, &e));
        ck_assert_msg(strstr(e.text, rows[i].says) != NULL, "row %zu: %s", i, e.text);
    }
    start((struct http_listen_options){.address = "[::1]:0"});
    char taken[32];
    snprintf(taken, sizeof(taken), "[::1]:%u", http_listener_port(listener));
    struct errmsg e = {""};
    struct http_listen_options o = {.address = taken, .on_request = on_request};
    ck_assert_ptr_null(http_listener_new(base, &o, &e));
    ck_assert_msg(strstr(e.text, "Address already in use") != NULL, "%s", e.text);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const list[] = {test_one_request,
                                 test_no_body_for_head_and_204,
                                 test_pipelined_in_order,
                                 test_pipeline_limit,
                                 test_many_at_once,
                                 test_expect_continue,
                                 test_refused_with_problem_details,
                                 test_raw_files,
                                 test_shaped_errors,
                                 test_client_leaves,
                                 test_half_closed_client,
                                 test_close_on_request,
                                 test_drain,
                                 test_drain_when_empty,
                                 test_freed_while_asked,
                                 test_tls,
                                 test_bad_options};
    return run_tests("gateway_http_listen", list, N_ELEMENTS(list));
}

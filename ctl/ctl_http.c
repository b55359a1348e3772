/*
 * A small HTTP client on libcurl for one server: the posternd of the configuration.
 * It talks to the listener itself, never through a proxy.  Over TLS the address
 * dialled is not the name in the certificate, so the certificate's own key is what
 * is checked: it answers to exactly the key that the configuration names.
 */
#include "ctl_http.h"

#include <curl/curl.h>
#include <jansson.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "../gateway/conf.h"
#include "postern/hash.h"
#include "postern/json.h"
#include "postern/limits.h"

#define CONNECT_MS      3000L
#define TOTAL_MS        30000L
#define REPLY_MAX_BYTES 67108864u /* 64 MiB: the longest list is far below */
#define PIN_ARENA_BYTES 1024u

struct http_link {
    struct conf *conf;
    const char *conf_path;
    char *origin; /* "http://127.0.0.1:8080" */
    char *pin;    /* "sha256//..." or NULL */
    const struct conf_key *key;
    CURL *curl;
    struct curl_slist *headers;
};

struct received {
    char *p;
    size_t n;
};

static char *joined(const char *a, const char *b, const char *c)
{
    size_t size = strlen(a) + strlen(b) + strlen(c) + 1;
    char *text = xcalloc(1, size);
    snprintf(text, size, "%s%s%s", a, b, c);
    return text;
}

/* Where to dial a listener: one on every address answers on loopback. */
static char *dial_origin(const char *listen, bool tls)
{
    static const char *const wildcards[][2] = {{"0.0.0.0:", "127.0.0.1:"}, {"*:", "127.0.0.1:"}, {"[::]:", "[::1]:"}};
    const char *scheme = tls ? "https://" : "http://";

    for (size_t i = 0; i < N_ELEMENTS(wildcards); i++) {
        size_t n = strlen(wildcards[i][0]);
        if (strncmp(listen, wildcards[i][0], n) == 0)
            return joined(scheme, wildcards[i][1], listen + n);
    }
    return joined(scheme, listen, "");
}

static const struct conf_key *find_admin(const struct conf *conf)
{
    for (size_t i = 0; i < conf->n_keys; i++)
        if ((conf->keys[i].roles & ROLE_ADMIN) != 0)
            return &conf->keys[i];
    return NULL;
}

/* libcurl's pin of the certificate's public key (CURLOPT_PINNEDPUBLICKEY); NULL when the file cannot be read. */
static char *pin_of(const char *certificate)
{
    FILE *file = fopen(certificate, "re");
    X509 *x509 = file != NULL ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    uint8_t *der = NULL;
    char *pin = NULL;
    int n = x509 != NULL ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &der) : -1;

    if (n > 0) {
        struct arena arena;
        arena_init(&arena, PIN_ARENA_BYTES);
        struct digest digest = hash_sha256(der, (size_t)n);
        const char *base64 = hash_base64(&arena, digest.b, sizeof digest.b);
        ensure(base64 != NULL);
        pin = joined("sha256//", base64, "");
        arena_clear(&arena);
    }
    OPENSSL_free(der);
    X509_free(x509);
    if (file != NULL)
        fclose(file);
    return pin;
}

static bool read_settings(struct http_link *link)
{
    struct errmsg e;

    link->conf = conf_load(link->conf_path, &e);
    if (link->conf == NULL) {
        ctl_complain("%s", e.text);
        return false;
    }
    const struct conf *conf = link->conf;
    link->key = find_admin(conf);
    if (link->key == NULL) {
        ctl_complain("%s: no key has the role admin: add one to keys: { name: admin, secret: ..., roles: [admin] }, "
                     "and restart posternd",
                     link->conf_path);
        return false;
    }
    link->origin = dial_origin(conf->listen_http, conf->tls_certificate != NULL);
    if (conf->tls_certificate == NULL)
        return true;
    link->pin = pin_of(conf->tls_certificate);
    if (link->pin == NULL)
        ctl_complain("%s: cannot be read as a PEM certificate: run posternctl as a user who may read it",
                     conf->tls_certificate);
    return link->pin != NULL;
}

static size_t on_bytes(char *p, size_t size, size_t n, void *arg)
{
    struct received *r = arg;
    size_t more = size * n;
    if (more > REPLY_MAX_BYTES - r->n)
        return 0;
    r->p = xrealloc(r->p, r->n + more, 1);
    memcpy(r->p + r->n, p, more);
    r->n += more;
    return more;
}

static void add_header(struct http_link *link, const char *line)
{
    link->headers = curl_slist_append(link->headers, line);
    ensure(link->headers != NULL);
}

/* What is the same for every call. */
static void set_up(struct http_link *link)
{
    CURL *curl = link->curl;
    char *secret = xstrndup(link->key->secret.p, link->key->secret.n);
    char *line = joined("Authorization: Bearer ", secret, "");

    add_header(link, line);
    add_header(link, "Content-Type: application/json");
    add_header(link, "Expect:");
    free(line);
    free(secret);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, link->headers);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TOTAL_MS);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "posternctl/" POSTERN_VERSION);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    if (link->pin != NULL) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, link->conf->tls_certificate);
        curl_easy_setopt(curl, CURLOPT_PINNEDPUBLICKEY, link->pin);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L); /* the pin says more than the name */
    }
}

struct http_link *http_link_new(const char *conf_path)
{
    struct http_link *link = xcalloc(1, sizeof *link);
    link->conf_path = conf_path;
    if (!read_settings(link)) {
        http_link_free(&link);
        return NULL;
    }
    ensure(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    link->curl = curl_easy_init();
    ensure(link->curl != NULL);
    set_up(link);
    return link;
}

void http_link_free(struct http_link **link)
{
    struct http_link *l = *link;
    if (l == NULL)
        return;
    curl_easy_cleanup(l->curl);
    curl_slist_free_all(l->headers);
    free(l->origin);
    free(l->pin);
    conf_free(&l->conf);
    free(l);
    *link = NULL;
}

static void complain_of_transport(const struct http_link *link, CURLcode code)
{
    const char *where = link->conf->listen_http;

    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        ctl_complain("posternd does not answer on %s: start it with: posternd -c %s", where, link->conf_path);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        ctl_complain("posternd on %s did not answer in time: see its log, and %s/readyz", where, link->origin);
    else if (code == CURLE_SSL_PINNEDPUBKEYNOTMATCH || code == CURLE_PEER_FAILED_VERIFICATION)
        ctl_complain("what answers on %s does not show the certificate of %s (%s): restart posternd if the file was "
                     "renewed",
                     where, link->conf->tls_certificate, curl_easy_strerror(code));
    else
        ctl_complain("no usable answer from %s (%s): is that posternd, started with: posternd -c %s?", where,
                     curl_easy_strerror(code), link->conf_path);
}

/* An answer that no command can use is told here, once. */
static bool usable(const struct http_link *link, const struct http_reply *reply)
{
    if (reply->status == 401 || reply->status == 403) {
        ctl_complain("posternd on %s refuses the key \"%s\" (%ld): it runs with another configuration than %s; restart "
                     "it, or name its own with -c",
                     link->conf->listen_http, link->key->name, reply->status, link->conf_path);
        return false;
    }
    if (reply->body == NULL && reply->status != 204) {
        ctl_complain("what answers on %s is not posternd (status %ld, no JSON object): is another server on that port?",
                     link->conf->listen_http, reply->status);
        return false;
    }
    if (reply->status >= 500) {
        ctl_complain("posternd cannot answer now (%ld): %s", reply->status, http_problem(reply));
        return false;
    }
    return true;
}

static struct json_t *object_of(const struct received *r)
{
    struct errmsg e;
    json_t *body = r->n > 0 ? json_parse((struct slice){r->p, r->n}, &e) : NULL;
    if (body != NULL && !json_is_object(body)) {
        json_decref(body);
        return NULL;
    }
    return body;
}

static struct http_reply perform(struct http_link *link, const char *target)
{
    struct http_reply reply = {0, NULL};
    struct received received = {NULL, 0};
    char *url = joined(link->origin, target, "");

    curl_easy_setopt(link->curl, CURLOPT_URL, url);
    curl_easy_setopt(link->curl, CURLOPT_WRITEDATA, &received);
    CURLcode code = curl_easy_perform(link->curl);
    if (code != CURLE_OK) {
        complain_of_transport(link, code);
    } else {
        curl_easy_getinfo(link->curl, CURLINFO_RESPONSE_CODE, &reply.status);
        reply.body = object_of(&received);
        if (!usable(link, &reply))
            http_reply_clear(&reply);
    }
    free(received.p);
    free(url);
    return reply;
}

struct http_reply http_get(struct http_link *link, const char *target)
{
    curl_easy_setopt(link->curl, CURLOPT_HTTPGET, 1L);
    return perform(link, target);
}

struct http_reply http_post(struct http_link *link, const char *target, const struct json_t *body)
{
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : xstrdup("");
    ensure(text != NULL);
    curl_easy_setopt(link->curl, CURLOPT_POST, 1L);
    curl_easy_setopt(link->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(text));
    curl_easy_setopt(link->curl, CURLOPT_POSTFIELDS, text);
    struct http_reply reply = perform(link, target);
    free(text);
    return reply;
}

void http_reply_clear(struct http_reply *reply)
{
    json_decref(reply->body);
    *reply = (struct http_reply){0, NULL};
}

bool http_succeeded(const struct http_reply *reply)
{
    return reply->status >= 200 && reply->status < 300;
}

const char *http_problem(const struct http_reply *reply)
{
    const char *detail = json_string_value(json_object_get(reply->body, "detail"));
    const char *title = json_string_value(json_object_get(reply->body, "title"));
    if (detail != NULL && detail[0] != '\0')
        return detail;
    return title != NULL ? title : "no reason was given";
}

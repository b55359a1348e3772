/*
 * Links, by libcurl's multi interface with CURLOPT_CONNECT_ONLY: it looks names
 * up in a thread, tries addresses in turn, sets TLS up and checks the peer.  With
 * upstream_links.c all of the gateway that knows libcurl; neither knows HTTP or SMTP.
 *
 * The idea: each link has a multi handle of its own.  In a shared one libcurl
 * would weed out, whenever it dials, connections that it takes for idle (7.88.1);
 * ours look idle to it.
 */
#include "upstream_link.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "loop.h"
#include "upstream_guard.h"
#include "upstream_links.h"
#include "upstream_tls.h"
#include "postern/limits.h"
#include "postern/log.h"

/* Only for options that fail for our mistakes or want of memory. */
#define SET(easy, option, value) ensure(curl_easy_setopt((easy), (option), (value)) == CURLE_OK)

/* A descriptor that libcurl wants watched while it connects. */
struct dial_sock {
    int fd;
    struct loop_watch *watch;
    struct dial_sock *next;
};

struct upstream_link {
    struct upstream_links *links;
    upstream_link_fn *fn;
    void *arg;
    CURLM *multi;
    CURL *easy;
    struct loop_task *timer;  /* libcurl's, then the handshake's deadline */
    struct dial_sock *socks;  /* until it is up */
    struct loop_watch *watch; /* from then on */
    int fd;
    SSL *ssl;        /* begun on a plain link; or NULL */
    bool shaking;    /* its handshake is not over */
    const char *why; /* a reason of ours, or the failure's */
};

static const char *reason_of(CURLcode rc)
{
    /* libcurl has a hundred codes; these are what connecting ends with. */
    static const struct {
        CURLcode rc;
        const char *reason;
    } rows[] = {
        {CURLE_COULDNT_RESOLVE_HOST, "resolve_failed"}, {CURLE_COULDNT_CONNECT, "connect_failed"},
        {CURLE_OPERATION_TIMEDOUT, "connect_timeout"},  {CURLE_SSL_CONNECT_ERROR, "tls_failed"},
        {CURLE_PEER_FAILED_VERIFICATION, "tls_failed"}, {CURLE_SSL_CACERT_BADFILE, "tls_failed"},
        {CURLE_SSL_CERTPROBLEM, "tls_failed"},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++)
        if (rows[i].rc == rc)
            return rows[i].reason;
    return "connect_failed";
}

/* --- while it connects ------------------------------------------------------------ */

static void drop_socks(struct upstream_link *l)
{
    for (struct dial_sock *s = l->socks, *next; s; s = next) {
        next = s->next;
        loop_watch_free(&s->watch);
        free(s);
    }
    l->socks = NULL;
    loop_cancel(&l->timer);
}

static void shake(struct upstream_link *l);

static void on_ready(int fd, unsigned ready, void *arg)
{
    struct upstream_link *l = arg;
    (void)fd;
    if (l->shaking)
        shake(l);
    else
        l->fn(l->arg, ready & LOOP_READ ? UPSTREAM_LINK_READABLE : UPSTREAM_LINK_WRITABLE);
}

static void dialled(struct upstream_link *l, CURLcode rc)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    drop_socks(l);
    if (rc == CURLE_OK)
        ensure(curl_easy_getinfo(l->easy, CURLINFO_ACTIVESOCKET, &fd) == CURLE_OK);
    l->fd = fd;
    if (fd == CURL_SOCKET_BAD) {
        l->why = l->why ? l->why : reason_of(rc);
        l->fn(l->arg, UPSTREAM_LINK_FAILED);
        return;
    }
    l->watch = loop_watch_fd(l->links->loop, fd, LOOP_READ, on_ready, l);
    l->fn(l->arg, UPSTREAM_LINK_UP);
}

static void drive(struct upstream_link *l, curl_socket_t fd, int ready)
{
    int running, left;
    ensure(curl_multi_socket_action(l->multi, fd, ready, &running) == CURLM_OK);
    CURLMsg *msg = curl_multi_info_read(l->multi, &left);
    if (msg)
        dialled(l, msg->data.result);
}

static void on_timer(void *arg)
{
    struct upstream_link *l = arg;
    l->timer = NULL;
    drive(l, CURL_SOCKET_TIMEOUT, 0);
}

static int on_want_timer(CURLM *multi, long ms, void *arg)
{
    struct upstream_link *l = arg;
    (void)multi;
    loop_cancel(&l->timer);
    if (ms == 0)
        l->timer = loop_defer(l->links->loop, on_timer, l);
    else if (ms > 0)
        l->timer = loop_after(l->links->loop, ms, on_timer, l);
    return 0;
}

static void on_sock(int fd, unsigned ready, void *arg)
{
    drive(arg, fd, (ready & LOOP_READ ? CURL_CSELECT_IN : 0) | (ready & LOOP_WRITE ? CURL_CSELECT_OUT : 0));
}

static void sock_drop(struct upstream_link *l, curl_socket_t fd)
{
    for (struct dial_sock **at = &l->socks; *at; at = &(*at)->next) {
        struct dial_sock *s = *at;
        if (s->fd != fd)
            continue;
        *at = s->next;
        loop_watch_free(&s->watch);
        free(s);
        return;
    }
}

static int on_want_sock(CURL *easy, curl_socket_t fd, int what, void *arg, void *sockp)
{
    struct upstream_link *l = arg;
    (void)easy;
    (void)sockp;
    sock_drop(l, fd);
    if (what == CURL_POLL_REMOVE || what == CURL_POLL_NONE)
        return 0;
    unsigned want = what == CURL_POLL_IN || what == CURL_POLL_INOUT ? LOOP_READ : LOOP_NONE;
    want |= what == CURL_POLL_OUT || what == CURL_POLL_INOUT ? LOOP_WRITE : LOOP_NONE;
    struct dial_sock *s = xcalloc(1, sizeof *s);
    *s = (struct dial_sock){.fd = fd, .next = l->socks};
    s->watch = loop_watch_fd(l->links->loop, fd, want, on_sock, l);
    l->socks = s;
    return 0;
}

/* The address is the resolved one, so no spelling of a host and no change of DNS gets past it. */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct upstream_link *l = arg;
    const struct upstream_links *links = l->links;
    const char *why = upstream_guard_refuses(&address->addr, links->port, links->allow_private);
    if (purpose != CURLSOCKTYPE_IPCXN || why) {
        l->why = "address_refused";
        log_line(LOG_WARN, NULL, "upstream", "address_refused", "name=%s why=%s", links->name,
                 LOG_Q(slice_of(why ? why : "not a connection")));
        return CURL_SOCKET_BAD;
    }
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    return fd == -1 ? CURL_SOCKET_BAD : fd;
}

static CURLcode on_tls(CURL *easy, void *ssl_ctx, void *arg)
{
    const struct upstream_links *links = arg;
    (void)easy;
    SSL_CTX_set1_cert_store(ssl_ctx, links->trusted);
    return CURLE_OK;
}

static void set_up(struct upstream_link *l)
{
    const struct upstream_links *links = l->links;
    CURL *easy = l->easy;
    SET(easy, CURLOPT_CURLU, links->url);
    SET(easy, CURLOPT_CONNECT_ONLY, 1L);
    SET(easy, CURLOPT_RESOLVE, links->resolve);
    SET(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* what TLS offers (ALPN) */
    SET(easy, CURLOPT_SSL_ENABLE_ALPN, links->mail ? 0L : 1L);
    SET(easy, CURLOPT_PROXY, ""); /* "" also shuts off the proxy variables of the environment */
    SET(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(easy, CURLOPT_NOSIGNAL, 1L);
    SET(easy, CURLOPT_QUICK_EXIT, 1L); /* else giving up during a name look-up waits for its thread */
    SET(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    SET(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(easy, CURLOPT_CAINFO, NULL); /* on_tls brings what is trusted */
    SET(easy, CURLOPT_CAPATH, NULL);
    if (links->tls) {
        SET(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls);
        SET(easy, CURLOPT_SSL_CTX_DATA, (void *)links);
    }
    SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)links->connect_ms);
    SET(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    SET(easy, CURLOPT_OPENSOCKETDATA, l);
}

struct upstream_link *upstream_link_dial(struct upstream_links *links, upstream_link_fn *fn, void *arg)
{
    struct upstream_link *l = xcalloc(1, sizeof *l);
    *l = (struct upstream_link){.links = links, .fn = fn, .arg = arg, .fd = -1};
    l->multi = curl_multi_init();
    l->easy = curl_easy_init();
    ensure(l->multi && l->easy);
    curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, on_want_sock);
    curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
    curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, on_want_timer);
    curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l);
    set_up(l);
    ensure(curl_multi_add_handle(l->multi, l->easy) == CURLM_OK);
    return l;
}

void upstream_link_free(struct upstream_link **lp)
{
    struct upstream_link *l = *lp;
    *lp = NULL;
    if (!l)
        return;
    loop_watch_free(&l->watch);
    drop_socks(l);
    upstream_tls_end(&l->ssl);
    ensure(curl_multi_remove_handle(l->multi, l->easy) == CURLM_OK);
    curl_easy_cleanup(l->easy);
    curl_multi_cleanup(l->multi);
    drop_socks(l); /* libcurl may have asked once more on its way out */
    free(l);
}

const char *upstream_link_why(const struct upstream_link *l)
{
    return l->why ? l->why : "";
}

/* --- up ------------------------------------------------------------------------------ */

bool upstream_link_is_tls(const struct upstream_link *l)
{
    return l->links->tls || l->ssl;
}

static enum upstream_link_io of_errno(void)
{
    return errno == EAGAIN || errno == EINTR ? UPSTREAM_LINK_AGAIN : UPSTREAM_LINK_LOST;
}

static enum upstream_link_io of_curl(CURLcode rc, const size_t *n)
{
    if (rc == CURLE_OK)
        return *n > 0 ? UPSTREAM_LINK_OK : UPSTREAM_LINK_EOF;
    return rc == CURLE_AGAIN ? UPSTREAM_LINK_AGAIN : UPSTREAM_LINK_LOST;
}

/* --- TLS that begins later ------------------------------------------------------------- */

static void shaken(struct upstream_link *l, enum upstream_link_event event)
{
    loop_cancel(&l->timer);
    loop_watch_want(l->watch, event == UPSTREAM_LINK_UP ? LOOP_READ : LOOP_NONE);
    l->shaking = false;
    l->fn(l->arg, event);
}

static void shake(struct upstream_link *l)
{
    bool want_write = false;
    const char *why = NULL;
    switch (upstream_tls_handshake(l->ssl, &want_write, &why)) {
    case UPSTREAM_LINK_OK:
        shaken(l, UPSTREAM_LINK_UP);
        return;
    case UPSTREAM_LINK_AGAIN:
        loop_watch_want(l->watch, want_write ? LOOP_WRITE : LOOP_READ);
        return;
    case UPSTREAM_LINK_EOF:
    case UPSTREAM_LINK_LOST:
        l->why = "tls_failed";
        log_line(LOG_WARN, NULL, "upstream", "tls_failed", "name=%s why=%s", l->links->name, LOG_Q(slice_of(why)));
        shaken(l, UPSTREAM_LINK_FAILED);
        return;
    }
}

static void on_late(void *arg)
{
    struct upstream_link *l = arg;
    l->timer = NULL;
    l->why = "connect_timeout";
    shaken(l, UPSTREAM_LINK_FAILED);
}

/* The first flight leaves when the loop finds the socket ready: fn does not run before this returns. */
void upstream_link_start_tls(struct upstream_link *l)
{
    ensure(l->links->starttls && !l->ssl);
    l->ssl = upstream_tls_begin(l->links->starttls, l->fd);
    l->shaking = true;
    l->timer = loop_after(l->links->loop, l->links->connect_ms, on_late, l);
    loop_watch_want(l->watch, LOOP_WRITE);
}

/* --- bytes ------------------------------------------------------------------------------- */

/* Plain links go past libcurl: nothing is between us and the socket. */
enum upstream_link_io upstream_link_send(struct upstream_link *l, struct slice bytes, size_t *n)
{
    *n = 0;
    if (l->ssl)
        return upstream_tls_send(l->ssl, bytes, n);
    if (l->links->tls)
        return of_curl(curl_easy_send(l->easy, bytes.p, bytes.n, n), n);
    ssize_t sent = send(l->fd, bytes.p, bytes.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == -1)
        return of_errno();
    *n = (size_t)sent;
    return UPSTREAM_LINK_OK;
}

enum upstream_link_io upstream_link_recv(struct upstream_link *l, char *to, size_t cap, size_t *n)
{
    *n = 0;
    if (l->ssl)
        return upstream_tls_recv(l->ssl, to, cap, n);
    if (l->links->tls)
        return of_curl(curl_easy_recv(l->easy, to, cap, n), n);
    ssize_t got = recv(l->fd, to, cap, MSG_DONTWAIT);
    if (got == -1)
        return of_errno();
    *n = (size_t)got;
    return got > 0 ? UPSTREAM_LINK_OK : UPSTREAM_LINK_EOF;
}

void upstream_link_want_write(struct upstream_link *l, bool on)
{
    loop_watch_want(l->watch, on ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

bool upstream_link_is_quiet(struct upstream_link *l)
{
    char byte;
    size_t n;
    if (upstream_link_is_tls(l)) /* reading takes in what TLS itself says, session tickets */
        return upstream_link_recv(l, &byte, 1, &n) == UPSTREAM_LINK_AGAIN;
    return recv(l->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == -1 && errno == EAGAIN;
}

/*
 * HTTP out, over libcurl's multi interface, driven by the loop.  The only file
 * that knows libcurl; it must not know of queues, breakers, messages, providers.
 *
 * The idea: libcurl re-sends a request, a POST too, when a reused connection
 * dies without an answer (seen with 7.88.1).  It asks on_about_to_write() before
 * each time that it writes a request, so that is where a second time is refused
 * once a byte of the first one was written.  CURLINFO_REQUEST_SIZE counts the
 * bytes that the kernel or TLS took, so it also tells "not sent" from "unknown".
 */
#include "upstream_http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"
#include "upstream_guard.h"
#include "postern/limits.h"
#include "postern/log.h"

/* Below the 60 s after which common load balancers close an idle connection: fewer races with their close. */
#define IDLE_MAX_S 50L

/* Only for options that fail for our mistakes or want of memory. */
#define SET(easy, option, value) ensure(curl_easy_setopt((easy), (option), (value)) == CURLE_OK)

struct upstream_head {
    const char *method;
    const char *target;
    struct curl_slist *lines;
    bool bodyless;   /* GET or HEAD: nothing is said about a body when there is none */
    bool may_repeat; /* GET or HEAD that was not forbidden to */
    bool (*may_write)(void *arg);
    void *may_write_arg;
};

/* A lane: an easy handle, kept from request to request. */
struct upstream_transfer {
    struct upstream_http *http;
    CURL *easy;
    void *arg;
    const struct upstream_head *head; /* NULL: free */
    struct upstream_answer *answer;
    const char *why;  /* our own reason for breaking off, or NULL */
    bool write_began; /* on_about_to_write() was called */
    bool withdrawn;   /* may_write() said no */
    long size_before; /* request size then */
    struct upstream_transfer *next_free;
};

/* What we know of a descriptor that libcurl uses; indexed by fd. */
struct sock {
    struct loop_watch *watch;
    bool ours; /* opened by on_open, so on_close will tell its end; else (name look-up) it may vanish */
    bool idle; /* libcurl is done with it, our watch is still there: the next request takes it over as it is */
};

struct upstream_http {
    struct loop *loop;
    upstream_end_fn *on_end;
    char *name;
    char *ca_file;
    int64_t connect_ms;
    CURLM *multi;
    CURLU *url;
    struct curl_slist *resolve;
    uint16_t port;
    bool allow_private;
    struct upstream_transfer *lanes; /* max_lanes of them; addresses are kept by libcurl */
    uint32_t max_lanes, n_lanes;
    struct upstream_transfer *free_lanes;
    struct sock *socks;
    size_t n_socks;
    struct loop_task *timer; /* libcurl's */
};

/* Behind each request's own fields: an empty value tells libcurl not to add its own.  Expect would cost a second. */
static struct curl_slist no_expect = {.data = (char[]){"Expect:"}};
static struct curl_slist no_accept = {.data = (char[]){"Accept:"}, .next = &no_expect};
static struct curl_slist no_defaults = {.data = (char[]){"Content-Type:"}, .next = &no_accept};

static const char *reason_of(CURLcode rc)
{
    /* libcurl has a hundred codes; those that no row names are told apart by status alone. */
    static const struct {
        CURLcode rc;
        const char *reason;
    } rows[] = {
        {CURLE_COULDNT_RESOLVE_HOST, "resolve_failed"}, {CURLE_COULDNT_CONNECT, "connect_failed"},
        {CURLE_OPERATION_TIMEDOUT, "connect_timeout"},  {CURLE_SSL_CONNECT_ERROR, "tls_failed"},
        {CURLE_PEER_FAILED_VERIFICATION, "tls_failed"}, {CURLE_SSL_CACERT_BADFILE, "tls_failed"},
        {CURLE_SSL_CERTPROBLEM, "tls_failed"},          {CURLE_ABORTED_BY_CALLBACK, "connection_lost"},
        {CURLE_GOT_NOTHING, "connection_lost"},         {CURLE_SEND_ERROR, "connection_lost"},
        {CURLE_RECV_ERROR, "connection_lost"},          {CURLE_PARTIAL_FILE, "answer_cut_short"},
        {CURLE_WEIRD_SERVER_REPLY, "bad_answer"},       {CURLE_UNSUPPORTED_PROTOCOL, "bad_answer"},
    };
    for (size_t i = 0; i < N_ELEMENTS(rows); i++)
        if (rows[i].rc == rc)
            return rows[i].reason;
    return "transfer_failed";
}

static long request_size(const struct upstream_transfer *t)
{
    long size = 0;
    ensure(curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &size) == CURLE_OK);
    return size;
}

bool upstream_http_wrote(const struct upstream_transfer *t)
{
    return t->write_began && request_size(t) != t->size_before;
}

/* Take the transfer from libcurl and free its lane.  Never from within libcurl's callbacks. */
static void lane_clear(struct upstream_transfer *t, CURLcode rc, struct upstream_end *out)
{
    struct upstream_http *http = t->http;
    long http_status = 0;
    ensure(curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http_status) == CURLE_OK);
    *out = (struct upstream_end){.whole = rc == CURLE_OK, .wrote = upstream_http_wrote(t), .withdrawn = t->withdrawn};
    out->http_status = out->wrote ? (int)http_status : 0;
    out->reason = rc == CURLE_OK ? "answered" : t->why ? t->why : reason_of(rc);
    ensure(curl_multi_remove_handle(http->multi, t->easy) == CURLM_OK);
    t->head = NULL;
    t->next_free = http->free_lanes;
    http->free_lanes = t;
}

static void take_finished(struct upstream_http *http)
{
    int left;
    CURLMsg *msg;
    while ((msg = curl_multi_info_read(http->multi, &left))) {
        struct upstream_transfer *t = NULL;
        struct upstream_end end;
        CURLcode rc = msg->data.result;
        ensure(msg->msg == CURLMSG_DONE);
        ensure(curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t) == CURLE_OK);
        lane_clear(t, rc, &end);
        http->on_end(t->arg, &end);
    }
}

static void drive(struct upstream_http *http, curl_socket_t fd, int ready)
{
    int running;
    ensure(curl_multi_socket_action(http->multi, fd, ready, &running) == CURLM_OK);
    take_finished(http);
}

static void on_timer(void *arg)
{
    struct upstream_http *http = arg;
    http->timer = NULL;
    drive(http, CURL_SOCKET_TIMEOUT, 0);
}

static int on_want_timer(CURLM *multi, long ms, void *arg)
{
    struct upstream_http *http = arg;
    (void)multi;
    loop_cancel(&http->timer);
    if (ms == 0)
        http->timer = loop_defer(http->loop, on_timer, http);
    else if (ms > 0)
        http->timer = loop_after(http->loop, ms, on_timer, http);
    return 0;
}

static struct sock *sock_at(struct upstream_http *http, curl_socket_t fd)
{
    size_t at = (size_t)fd;
    if (at >= http->n_socks) {
        size_t n = at + 64;
        http->socks = xrealloc(http->socks, n, sizeof *http->socks);
        memset(http->socks + http->n_socks, 0, (n - http->n_socks) * sizeof *http->socks);
        http->n_socks = n;
    }
    return &http->socks[at];
}

static void on_sock(int fd, unsigned ready, void *arg)
{
    struct upstream_http *http = arg;
    struct sock *s = sock_at(http, fd);
    if (s->idle) {
        loop_watch_free(&s->watch); /* the provider closed it; libcurl will see that before its next use */
        return;
    }
    drive(http, fd, (ready & LOOP_READ ? CURL_CSELECT_IN : 0) | (ready & LOOP_WRITE ? CURL_CSELECT_OUT : 0));
}

/* An idle connection of ours stays watched: saves two epoll_ctl for each request (measured: 2.4 us). */
static int on_want_sock(CURL *easy, curl_socket_t fd, int what, void *arg, void *sockp)
{
    struct upstream_http *http = arg;
    struct sock *s = sock_at(http, fd);
    (void)easy;
    (void)sockp;
    s->idle = what == CURL_POLL_REMOVE && s->ours;
    if (what == CURL_POLL_REMOVE && !s->ours) {
        loop_watch_free(&s->watch);
        return 0;
    }
    unsigned want = s->idle ? LOOP_READ : LOOP_NONE;
    want |= what == CURL_POLL_IN || what == CURL_POLL_INOUT ? LOOP_READ : LOOP_NONE;
    want |= what == CURL_POLL_OUT || what == CURL_POLL_INOUT ? LOOP_WRITE : LOOP_NONE;
    if (s->watch)
        loop_watch_want(s->watch, want);
    else if (!s->idle)
        s->watch = loop_watch_fd(http->loop, fd, want, on_sock, http);
    return 0;
}

/* The address is the resolved one, so no spelling of a host and no change of DNS gets past it. */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct upstream_transfer *t = arg;
    struct upstream_http *http = t->http;
    const char *why = upstream_guard_refuses(&address->addr, http->port, http->allow_private);
    if (purpose != CURLSOCKTYPE_IPCXN || why) {
        t->why = "address_refused";
        log_line(LOG_WARN, NULL, "upstream", "address_refused", "name=%s why=%s", http->name,
                 LOG_Q(slice_of(why ? why : "not a connection")));
        return CURL_SOCKET_BAD;
    }
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd == -1)
        return CURL_SOCKET_BAD;
    *sock_at(http, fd) = (struct sock){.ours = true};
    return fd;
}

/* May come long after the request that opened it, so arg is the upstream. */
static int on_close(void *arg, curl_socket_t fd)
{
    struct sock *s = sock_at(arg, fd);
    loop_watch_free(&s->watch);
    *s = (struct sock){0};
    return close(fd);
}

/* libcurl is about to write the request, for the first time or again.  See the head of this file. */
static int on_about_to_write(void *arg, char *remote, char *local, int remote_port, int local_port)
{
    struct upstream_transfer *t = arg;
    (void)remote;
    (void)local;
    (void)remote_port;
    (void)local_port;
    if (upstream_http_wrote(t) && !t->head->may_repeat) {
        t->why = "connection_lost";
        return CURL_PREREQFUNC_ABORT;
    }
    t->withdrawn = t->head->may_write != NULL && !t->head->may_write(t->head->may_write_arg);
    if (t->withdrawn) {
        t->why = "withdrawn";
        return CURL_PREREQFUNC_ABORT;
    }
    if (!t->write_began)
        t->size_before = request_size(t);
    t->write_began = true;
    return CURL_PREREQFUNC_OK;
}

static size_t on_head(char *bytes, size_t size, size_t n, void *arg)
{
    struct upstream_transfer *t = arg;
    if (upstream_answer_line(t->answer, (struct slice){bytes, size * n}) == OK)
        return size * n;
    t->why = "answer_too_big";
    return 0;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct upstream_transfer *t = arg;
    if (upstream_answer_body(t->answer, (struct slice){bytes, size * n}) == OK)
        return size * n;
    t->why = "answer_too_big";
    return 0;
}

/* Everything that is the same for each request of this upstream. */
static void lane_set_up(struct upstream_transfer *t)
{
    struct upstream_http *http = t->http;
    CURL *easy = t->easy;
    SET(easy, CURLOPT_CURLU, http->url);
    SET(easy, CURLOPT_RESOLVE, http->resolve);
    SET(easy, CURLOPT_PRIVATE, t);
    SET(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* h2 of 7.88.1 loses answers */
    SET(easy, CURLOPT_FOLLOWLOCATION, 0L);
    SET(easy, CURLOPT_PROXY, ""); /* "" also shuts off the proxy variables of the environment */
    SET(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(easy, CURLOPT_NOSIGNAL, 1L);
    SET(easy, CURLOPT_QUICK_EXIT, 1L); /* else giving up during a name look-up waits for its thread */
    SET(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    SET(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (http->ca_file)
        SET(easy, CURLOPT_CAINFO, http->ca_file);
    SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)http->connect_ms);
    SET(easy, CURLOPT_MAXAGE_CONN, IDLE_MAX_S);
    SET(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    SET(easy, CURLOPT_OPENSOCKETDATA, t);
    SET(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    SET(easy, CURLOPT_CLOSESOCKETDATA, http);
    SET(easy, CURLOPT_PREREQFUNCTION, on_about_to_write);
    SET(easy, CURLOPT_PREREQDATA, t);
    SET(easy, CURLOPT_HEADERFUNCTION, on_head);
    SET(easy, CURLOPT_HEADERDATA, t);
    SET(easy, CURLOPT_WRITEFUNCTION, on_body);
    SET(easy, CURLOPT_WRITEDATA, t);
}

static struct upstream_transfer *lane_take(struct upstream_http *http)
{
    struct upstream_transfer *t = http->free_lanes;
    if (t) {
        http->free_lanes = t->next_free;
        return t;
    }
    ensure(http->n_lanes < http->max_lanes);
    t = &http->lanes[http->n_lanes++];
    t->http = http;
    t->easy = curl_easy_init();
    ensure(t->easy);
    lane_set_up(t);
    return t;
}

static bool host_is_literal(const char *host)
{
    struct in_addr in;
    return host[0] == '[' || inet_pton(AF_INET, host, &in) == 1;
}

/* scheme://host[:port] and no more.  A host that libcurl reads otherwise than it is written (0x7f.1) is refused. */
static enum err read_url(struct upstream_http *http, const char *text, struct errmsg *e)
{
    char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL, *extra = NULL;
    bool good = curl_url_set(http->url, CURLUPART_URL, text, CURLU_DISALLOW_USER) == CURLUE_OK &&
                curl_url_get(http->url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                curl_url_get(http->url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                curl_url_get(http->url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                curl_url_get(http->url, CURLUPART_PATH, &path, 0) == CURLUE_OK &&
                curl_url_get(http->url, CURLUPART_QUERY, &extra, 0) == CURLUE_NO_QUERY &&
                curl_url_get(http->url, CURLUPART_FRAGMENT, &extra, 0) == CURLUE_NO_FRAGMENT &&
                (strcmp(scheme, "https") == 0 || strcmp(scheme, "http") == 0) && strcmp(path, "/") == 0;
    if (good) {
        const char *written = strstr(text, "://") + 3;
        uint64_t number = 0;
        good = strncasecmp(written, host, strlen(host)) == 0 && slice_to_u64(slice_of(port), UINT16_MAX, &number) &&
               number > 0;
        http->port = (uint16_t)number;
        http->allow_private |= host_is_literal(host) || strcasecmp(host, "localhost") == 0;
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(path);
    curl_free(extra);
    if (good)
        return OK;
    errmsg_set(e, "url: \"%s\" should be like https://api.example.com or http://127.0.0.1:8025, without path or user",
               text);
    return ERR_SYNTAX;
}

struct upstream_http *upstream_http_new(struct loop *loop, const struct upstream_options *opt, uint32_t max_transfers,
                                        upstream_end_fn *on_end, struct errmsg *e)
{
    ensure(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); /* counted; upstream_http_free() gives it back */
    struct upstream_http *http = xcalloc(1, sizeof *http);
    http->loop = loop;
    http->on_end = on_end;
    http->name = xstrdup(opt->name);
    http->connect_ms = opt->connect_ms > 0 ? opt->connect_ms : LIMIT_UPSTREAM_CONNECT_MS;
    http->allow_private = opt->allow_private;
    http->max_lanes = max_transfers;
    http->lanes = xcalloc(max_transfers, sizeof *http->lanes);
    http->url = curl_url();
    http->multi = curl_multi_init();
    ensure(http->url && http->multi);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_want_sock);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_want_timer);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)max_transfers);
    if (opt->resolve)
        http->resolve = curl_slist_append(NULL, opt->resolve);
    if (read_url(http, opt->url ? opt->url : "", e) != OK)
        goto fail;
    if (opt->ca_file && access(opt->ca_file, R_OK) == -1) {
        errmsg_set(e, "ca_file: cannot read \"%s\": %s", opt->ca_file, strerror(errno));
        goto fail;
    }
    http->ca_file = opt->ca_file ? xstrdup(opt->ca_file) : NULL;
    return http;
fail:
    upstream_http_free(&http);
    return NULL;
}

void upstream_http_free(struct upstream_http **pp)
{
    struct upstream_http *http = *pp;
    if (!http)
        return;
    for (uint32_t i = 0; i < http->n_lanes; i++) {
        if (http->lanes[i].head)
            curl_multi_remove_handle(http->multi, http->lanes[i].easy);
        curl_easy_cleanup(http->lanes[i].easy);
    }
    curl_multi_cleanup(http->multi); /* closes the idle connections, through on_close */
    loop_cancel(&http->timer);
    for (size_t fd = 0; fd < http->n_socks; fd++)
        loop_watch_free(&http->socks[fd].watch);
    curl_url_cleanup(http->url);
    curl_slist_free_all(http->resolve);
    free(http->socks);
    free(http->lanes);
    free(http->ca_file);
    free(http->name);
    free(http);
    *pp = NULL;
    curl_global_cleanup();
}

/* A node of the header list, in the arena, in front of tail. */
static struct curl_slist *line_new(struct arena *arena, const struct upstream_field *f, struct curl_slist *tail)
{
    struct slice value = slice_trim(f->value);
    struct curl_slist *line = arena_alloc(arena, sizeof *line);
    /* "Name;" is how libcurl is told to send an empty value. */
    char *text = value.n > 0 ? arena_printf(arena, "%.*s: %.*s", SLICE_ARG(f->name), SLICE_ARG(value))
                             : arena_printf(arena, "%.*s;", SLICE_ARG(f->name));
    if (!line || !text)
        return NULL;
    *line = (struct curl_slist){.data = text, .next = tail};
    return line;
}

struct upstream_head *upstream_http_head(struct arena *arena, const struct upstream_request *req)
{
    if (upstream_guard_request(req) != OK)
        return NULL;
    struct upstream_head *head = arena_alloc(arena, sizeof *head);
    if (!head)
        return NULL;
    head->method = arena_strndup(arena, req->method, strlen(req->method));
    head->target = arena_strndup(arena, req->path_and_query.p, req->path_and_query.n);
    head->bodyless = strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0;
    head->may_repeat = head->bodyless && !req->at_most_once;
    head->may_write = req->may_write;
    head->may_write_arg = req->may_write_arg;
    head->lines = &no_defaults;
    for (size_t i = req->n_headers; i-- > 0 && head->lines;)
        if (upstream_guard_passes(req, req->headers[i].name))
            head->lines = line_new(arena, &req->headers[i], head->lines);
    return head->method && head->target && head->lines ? head : NULL;
}

struct upstream_transfer *upstream_http_begin(struct upstream_http *http, const struct upstream_head *head,
                                              struct slice body, struct upstream_answer *answer, void *arg)
{
    struct upstream_transfer *t = lane_take(http);
    t->arg = arg;
    t->head = head;
    t->answer = answer;
    t->why = NULL;
    t->write_began = t->withdrawn = false;
    if (head->bodyless && body.n == 0) {
        SET(t->easy, CURLOPT_HTTPGET, 1L);
        SET(t->easy, CURLOPT_NOBODY, strcmp(head->method, "HEAD") == 0 ? 1L : 0L);
        SET(t->easy, CURLOPT_CUSTOMREQUEST, NULL);
    } else {
        SET(t->easy, CURLOPT_POST, 1L);
        SET(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
        SET(t->easy, CURLOPT_POSTFIELDS, body.n > 0 ? body.p : ""); /* borrowed, not copied */
        SET(t->easy, CURLOPT_CUSTOMREQUEST, head->method);
    }
    SET(t->easy, CURLOPT_REQUEST_TARGET, head->target);
    SET(t->easy, CURLOPT_HTTPHEADER, head->lines);
    ensure(curl_multi_add_handle(http->multi, t->easy) == CURLM_OK);
    return t;
}

void upstream_http_kick(struct upstream_http *http)
{
    drive(http, CURL_SOCKET_TIMEOUT, 0);
}

void upstream_http_stop(struct upstream_transfer *t, struct upstream_end *out)
{
    lane_clear(t, CURLE_OPERATION_TIMEDOUT, out);
}

/*
 * The bench's client: keep-alive HTTP/1.1 connections, each with one request at a
 * time, for a number of seconds or messages; prints one line of JSON.
 *
 * The one idea: the request is one template; a run of '@' in it is the recipient's
 * number, patched in place, so that a message costs one send and one recv.
 * Closed loop (--rate 0): each connection sends as soon as it was answered.  Open
 * loop: messages are due at even intervals, and latency counts from when a message
 * was due, not from when a connection was free for it.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define MAX_CONNECTIONS 4096
#define ANSWER_BYTES    65536
#define SLOTS           8 /* runs of '@' in a template */
#define QUEUE           (1 << 20)

struct connection {
    int fd;
    bool busy;
    int64_t due_ns;
    size_t got;
    char in[ANSWER_BYTES];
};

static struct {
    int port, connections, seconds;
    uint64_t messages, rate, first, people;
    bool in_order;
    const char *head, *body;
} opt = {.connections = 64, .seconds = 5, .people = 20000};

static char request[1 << 20];
static size_t request_n;
static char *slots[SLOTS];
static int slot_digits[SLOTS], n_slots;

static struct connection *connections;
static int epoll_fd;
static int idle[MAX_CONNECTIONS], n_idle;
static int64_t *queue; /* due times of messages for which no connection was free */
static uint64_t queue_head, queue_tail;

static uint64_t next_person(void)
{
    if (opt.in_order)
        return opt.first + started % opt.people;
    return opt.first + random_below(opt.people);
}

static void patch(uint64_t person)
{
    for (int i = 0; i < n_slots; i++) {
        uint64_t v = person;
        for (int d = slot_digits[i]; d-- > 0; v /= 10)
            slots[i][d] = (char)('0' + v % 10);
    }
}

static void begin(struct connection *c, int64_t due_ns)
{
    patch(next_person());
    c->busy = true;
    c->due_ns = due_ns;
    c->got = 0;
    started++;
    if (send(c->fd, request, request_n, MSG_NOSIGNAL) != (ssize_t)request_n)
        die("send");
}

static void note(struct connection *c, int64_t at_ns)
{
    int class = c->in[9] - '0';
    note_answer(class >= 1 && class <= 5 ? class : 0, at_ns - c->due_ns);
}

/* Whole once head and Content-Length (or the last chunk) are here. */
static bool whole(struct connection *c)
{
    c->in[c->got] = '\0';
    char *end = strstr(c->in, "\r\n\r\n");
    if (end == NULL)
        return false;
    char *length = strcasestr(c->in, "\r\ncontent-length:");
    if (length != NULL && length < end)
        return c->got >= (size_t)(end + 4 - c->in) + strtoul(length + 17, NULL, 10);
    char *chunked = strcasestr(c->in, "\r\ntransfer-encoding:");
    if (chunked == NULL || chunked > end)
        return true;
    return c->got >= 5 && memcmp(c->in + c->got - 5, "0\r\n\r\n", 5) == 0;
}

static bool more_to_send(int64_t end_ns)
{
    return opt.messages > 0 ? started < opt.messages : now_ns() < end_ns;
}

static void on_readable(struct connection *c, int64_t end_ns)
{
    ssize_t n = recv(c->fd, c->in + c->got, ANSWER_BYTES - 1 - c->got, MSG_DONTWAIT);
    if (n == -1 && errno == EAGAIN)
        return;
    if (n <= 0)
        die("the server closed a connection");
    c->got += (size_t)n;
    if (!whole(c))
        return;
    int64_t at = now_ns();
    note(c, at);
    c->busy = false;
    if (opt.rate == 0 && more_to_send(end_ns))
        begin(c, at);
    else if (queue_head != queue_tail)
        begin(c, queue[queue_head++ % QUEUE]);
    else
        idle[n_idle++] = (int)(c - connections);
}

static void open_connection(struct connection *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd == -1 || connect(c->fd, (struct sockaddr *)&to, sizeof to) == -1)
        die("connect");
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e) == -1)
        die("epoll_ctl");
}

/* Open loop: all that is due by now goes, or queues.  Returns when the next is due. */
static int64_t release(int64_t start_ns, int64_t end_ns, uint64_t *released)
{
    int64_t now = now_ns(), due = 0;
    while ((due = start_ns + (int64_t)(*released * UINT64_C(1000000000) / opt.rate)) <= now && due < end_ns) {
        (*released)++;
        if (n_idle > 0)
            begin(&connections[idle[--n_idle]], due);
        else if (queue_tail - queue_head < QUEUE)
            queue[queue_tail++ % QUEUE] = due;
        else
            die("the server is too slow for this rate");
    }
    return due;
}

static void run(void)
{
    struct epoll_event events[256];
    uint64_t released = 0;
    int64_t start = now_ns();
    int64_t end = opt.messages > 0 ? INT64_MAX : start + opt.seconds * INT64_C(1000000000);
    int64_t next = INT64_MAX;
    for (int i = opt.connections; opt.rate == 0 && i-- > 0 && more_to_send(end);)
        begin(&connections[idle[--n_idle]], now_ns());
    for (;;) {
        if (opt.rate > 0)
            next = release(start, end, &released);
        bool over = opt.rate > 0 ? next >= end : !more_to_send(end);
        if (over && started == answered && queue_head == queue_tail)
            break;
        int64_t wait = next == INT64_MAX || over ? 100000000 : next - now_ns();
        struct timespec ts = {.tv_sec = 0, .tv_nsec = wait > 0 ? wait % 1000000000 : 0};
        int n = epoll_pwait2(epoll_fd, events, 256, &ts, NULL);
        if (n == -1 && errno != EINTR)
            die("epoll_pwait2");
        for (int i = 0; i < n; i++)
            on_readable(events[i].data.ptr, end);
        if (over && now_ns() > end + INT64_C(20000000000) && opt.messages == 0)
            die("answers are missing");
    }
    print_figures(start);
}

static char *file_read(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 1 << 20);
    if (f == NULL || fread(text, 1, (1 << 20) - 1, f) == 0)
        die(path);
    fclose(f);
    return text;
}

/* head: a request line and fields, a line each, without the blank line; Content-Length is added. */
static void build(void)
{
    char *at = request, *end = request + sizeof request;
    char *head = file_read(opt.head), *body = opt.body != NULL ? file_read(opt.body) : (char[]){""};
    for (size_t n; (n = strcspn(head, "\n")) > 0; head += n + (head[n] != '\0'))
        at += snprintf(at, (size_t)(end - at), "%.*s\r\n", (int)n, head);
    at += snprintf(at, (size_t)(end - at), "Host: 127.0.0.1:%d\r\nContent-Length: %zu\r\n\r\n%s", opt.port,
                   strlen(body), body);
    request_n = (size_t)(at - request);
    for (char *p = request; (p = strstr(p, "@@")) != NULL && n_slots < SLOTS; p += slot_digits[n_slots++]) {
        slots[n_slots] = p;
        slot_digits[n_slots] = (int)strspn(p, "@");
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"port", 1, NULL, 'p'}, {"connections", 1, NULL, 'c'}, {"seconds", 1, NULL, 's'}, {"messages", 1, NULL, 'n'},
        {"rate", 1, NULL, 'r'}, {"people", 1, NULL, 'P'},      {"first", 1, NULL, 'f'},   {"in-order", 0, NULL, 'o'},
        {"head", 1, NULL, 'H'}, {"body", 1, NULL, 'B'},        {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 'p':
            opt.port = (int)strtol(optarg, NULL, 10);
            break;
        case 'c':
            opt.connections = (int)strtol(optarg, NULL, 10);
            break;
        case 's':
            opt.seconds = (int)strtol(optarg, NULL, 10);
            break;
        case 'n':
            opt.messages = strtoull(optarg, NULL, 10);
            break;
        case 'r':
            opt.rate = strtoull(optarg, NULL, 10);
            break;
        case 'P':
            opt.people = strtoull(optarg, NULL, 10);
            break;
        case 'f':
            opt.first = strtoull(optarg, NULL, 10);
            break;
        case 'o':
            opt.in_order = true;
            break;
        case 'H':
            opt.head = optarg;
            break;
        case 'B':
            opt.body = optarg;
            break;
        default:
            exit(2);
        }
    }
    if (opt.port == 0 || opt.head == NULL || opt.people == 0 || opt.connections > MAX_CONNECTIONS) {
        fprintf(stderr,
                "usage: blast --port N --head FILE [--body FILE] [--connections 64] [--seconds 5 | --messages N]\n"
                "             [--rate 0] [--people 20000] [--first 0] [--in-order]\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    build();
    seed += (uint64_t)now_ns();
    queue = calloc(QUEUE, sizeof *queue);
    connections = calloc((size_t)opt.connections, sizeof *connections);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < opt.connections; i++) {
        open_connection(&connections[i]);
        idle[n_idle++] = i;
    }
    run();
    return 0;
}
